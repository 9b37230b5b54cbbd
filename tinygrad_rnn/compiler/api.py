"""`tg.jit`: which of the two front ends compiles what it is given, `cell` or `function`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..module import Module as Layer
from ..recurrent.cell import Cell, no_cell
from .cell import Jitted
from .function import JittedFunction
from .value import CompileError


def jit(cell: Callable[..., Any]) -> Jitted:
    """Compile a cell for whole sequences, or an ordinary function of tensors.

    The same call, numbers, and gradients of any order.

    The first `unroll` of a compiled cell records one step of it, derives its backward by the
    ordinary rules, and compiles one function forward and one backward with the loop over time
    inside. They serve any length and any batch, and are kept on disk.

    The first call of a compiled function records it for the shapes that it was given, derives its
    backward, and makes loops of the runs of elementwise operations and reductions in both. Matrix
    products, indexing and the rest are done by NumPy. A function of (x, state) is both: called it
    is a function, unrolled it is a cell.

    Parameters
    ----------
    cell : Cell, module or callable
        A cell or a function ``(x, state) -> (output, state)``; or any function of nests of tensors,
        arrays and other arguments, to a nest of tensors. Without `if` on values.

    Returns
    -------
    Jitted
        Its method `source` gives the generated code.

    Raises
    ------
    CompileError
        For a layer that runs over whole sequences. On first use, for a step that cannot be
        compiled: the operation, its line, and why. Within ``with tg.eager():`` such a cell runs
        step by step.
    TraceError
        On first use, for a function or step that looks at a number, for a function that draws a
        random mask, and for a step that draws one in a sequence inside the step.

    Notes
    -----
    What a function or cell reads is looked at again at each `unroll`, or call, and where anything
    of it differs, it is recorded again: what it closes over, its globals and defaults and those of
    functions that it calls, attributes of modules, objects and classes, and what stands in lists,
    dicts, sets, arrays, views of them, buffers and files in memory. So are modules that are
    imported inside, contexts of decimals and ``np.geterr()``. The limit is what Python cannot look
    into: the memory of extensions and memory at an address (a pointer of ctypes that was made from
    a number), objects of other processes, locks and queues of threads, files on disk, the clock,
    random numbers, other settings of the process (its locale), and modules that are imported by a
    name that is computed. What gives another number in a second recording, or draws from a
    generator, is refused. So is a function or step that changes what is outside of it (``self.last
    = h``, ``seen.append(x)``): the change would be made once, in the recording.

    While a function or step is recorded every floating tensor says that it requires gradients, and
    its name is that of the recording: code that decides by `requires_grad` or `name` of its
    arguments is not what runs afterwards.

    Random masks of cells are those that the plain steps would draw. A tensor from outside the step,
    no parameter, may have a row for each of the batch, on its first axis. Cells are not compiled if
    they read or move single rows of the batch, have values with the batch on two axes or of uint64,
    or index into an axis that is made of the batch and another. Integers and booleans are those of
    NumPy to the bit.

    A function is recorded anew for other shapes, dtypes, needed gradients, and for other numbers:
    what changes from call to call is better a tensor. After 64 recordings other calls run as if it
    were not compiled. Arrays among the arguments arrive as tensors.
    """
    if isinstance(cell, Jitted):
        return cell
    if (
        isinstance(cell, Layer)
        and not isinstance(cell, Cell)
        and any(isinstance(m, Cell) or hasattr(m, "cell") for _, m in cell.named_modules())
    ):
        raise CompileError(
            f"tg.jit: {type(cell).__name__} is a layer, which runs over whole sequences (RNN, LSTM and GRU of tg.nn are compiled without tg.jit); "
            "what is compiled is one step, a cell as in tg.cells: tg.jit(tg.cells.LSTM(...)), and tg.unroll of it"
        )
    if isinstance(cell, type) or not callable(cell):
        raise CompileError(f"tg.jit: expected a function, or a cell; found {no_cell(cell)}")
    if isinstance(cell, Cell):
        return Jitted(cell)
    return JittedFunction(cell)
