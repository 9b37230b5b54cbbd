"""From what the user wants to see, a tensor, a cell or a module, to the nodes that are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import TinygradError
from ..core.tape import Node, enable_grad
from ..core.tensor import Tensor
from ..core.trace import Program
from ..core.tree import leaves, tree_map
from ..module import Module
from ..ops.table import Tape, tape
from ..recurrent.cell import Cell, name_of, name_state, plain_of
from ..recurrent.unroll import unroll
from .errors import DrawingError

STEPS, BATCH = 4, 2  # of the sequence on which a cell is run to be drawn


class Subject(NamedTuple):
    """What is drawn.

    Attributes
    ----------
    what : Tape, Program or list of Node
    folded : bool
        Whether it is folded if nobody says otherwise.
    name : str
        The title of the picture if there is no other; it may be empty.
    given : list of Node
        The first state of a cell, if it was made here.
    """

    what: Tape | Program | list[Node]
    folded: bool = False
    name: str = ""
    given: Sequence[Node] = ()


def subject(x: Any, inputs: Sequence[Any]) -> Subject:
    """Return what is drawn of `x`, a cell or a module being called with the inputs."""
    if isinstance(x, (Tape, Program)):
        return Subject(x)
    if isinstance(x, Tensor):
        return Subject(tape(x))
    x = plain_of(x)
    if isinstance(x, type):
        raise DrawingError(
            f"draw: {x.__name__} is a class; make one of it, such as {x.__name__}(3, 4), and draw that"
        )
    if isinstance(x, Cell) or (callable(x) and not isinstance(x, Module) and len(inputs) >= 2):
        return _cell(x, inputs)
    if isinstance(x, Module):
        return Subject(_roots(_run_module(x, inputs), x), False, type(x).__name__)
    raise DrawingError(
        f"draw: expected a Tensor, a Tape, a Program, a cell or a module; found a {type(x).__name__}. What is drawn is how a result was "
        "computed: run the cell, ys, state = tg.unroll(cell, xs), and draw one tensor of it, tg.draw(ys)"
    )


def _cell(cell: Any, inputs: Sequence[Any]) -> Subject:
    """Run a cell on a sequence.

    Its first state takes part in the tape, so that the first step has all operations that others
    have.
    """
    if len(inputs) > 2:
        raise DrawingError(
            f"draw: a cell takes a sequence and a first state, tg.draw(cell, xs, state); found {len(inputs)} inputs"
        )
    xs = inputs[0] if inputs else None
    if xs is None:
        size = getattr(cell, "input_size", None)
        if not isinstance(size, int):
            raise DrawingError(
                f"draw: {name_of(cell)} does not say its input_size; pass a sequence too: tg.draw(cell, xs), xs of shape (time, batch, ...)"
            )
        xs = np.random.default_rng(0).standard_normal((STEPS, BATCH, size)).astype(_dtype(cell))
    given: list[Node] = []

    def recorded(s: Any) -> Any:
        if not isinstance(s, Tensor) or s.dtype.kind != "f" or s.requires_grad:
            return s
        made = Tensor(s.array)
        given.append(made.leaf(True))
        return made

    def run() -> Any:
        first = inputs[1] if len(inputs) > 1 else None
        if isinstance(cell, Cell):
            batch = leaves(xs)[0].shape[1] if getattr(leaves(xs)[0], "ndim", 0) > 1 else 1
            first = cell.initial_state(batch) if first is None else first
        first = tree_map(recorded, first)
        name_state(cell, first, 0)
        return unroll(cell, xs, first)

    return Subject(_roots(_explained(run, cell, bool(inputs)), cell), True, name_of(cell), given)


def _run_module(module: Any, inputs: Sequence[Any]) -> Any:
    if not inputs:
        size = getattr(module, "input_size", None)
        if not isinstance(size, int):
            raise DrawingError(
                f"draw: pass what the module {type(module).__name__} is called with: tg.draw(module, x)"
            )
        inputs = (
            np.random.default_rng(0).standard_normal((STEPS, BATCH, size)).astype(_dtype(module)),
        )
    result = _explained(lambda: module(*inputs), module, True)
    return result[0] if isinstance(result, tuple) else result


def _dtype(module: Any) -> Any:
    return (
        next((p.dtype for p in module.parameters()), np.dtype(np.float32))
        if isinstance(module, Module)
        else np.float32
    )


def _explained(run: Callable[[], Any], x: Any, given: bool) -> Any:
    try:
        with enable_grad():
            return run()
    except (TinygradError, NotImplementedError):
        raise
    except Exception as error:
        way = (
            ""
            if given
            else f". Pass an input of the right shape: tg.draw({type(x).__name__.lower()}, xs)"
        )
        raise DrawingError(
            f"draw: running {name_of(x)} failed: {type(error).__name__}: {error}{way}"
        ) from error


def _roots(result: Any, x: Any) -> Tape | list[Node]:
    found = [t.node for t in leaves(result) if isinstance(t, Tensor) and t.node is not None]
    if not found:
        raise DrawingError(
            f"draw: nothing of what {name_of(x)} returned was recorded: it has no parameters that require gradients"
        )
    return Tape(found[0]) if len(found) == 1 else found
