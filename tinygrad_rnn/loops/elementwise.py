"""The eager kernels: a run of elementwise nodes as one loop.

An `ElementwiseKernel` holds a program whose nodes are all elementwise. It is evaluated node by node
with NumPy, or, on large arrays, by a numba kernel into which the scalar expressions of the nodes are
substituted. A single operation, a derivative rule and a function of the user's are all of this kind.
"""

from __future__ import annotations

import functools
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.memory import empty
from ..core.primitive import LARGE, Array, Primitive, Spec
from ..core.record import apply
from ..core.tape import Node
from ..core.trace import Program, trace
from ..kernels import runtime
from .expression import Operand, expression
from .ir import (
    FLOATS,
    Access,
    Function,
    Let,
    Load,
    Loop,
    LoopKind,
    Module,
    Number,
    Origin,
    Role,
    Scalar,
    Statement,
    Store,
    Var,
    kind_of,
)
from .ir import Array as Buffer
from .linear import Linear

SHARED = 131_072  # from this many elements on the work is shared among threads
VARIANTS = (
    # kernels of one rule for different numbers in it; after these NumPy does the work, so that a
    # schedule does not compile for ever
    16
)
Pattern = tuple[tuple[bool, bool], ...]
NO_BOUND = {"low": -np.inf, "high": np.inf}  # what None stands for as a parameter


class ElementwiseKernel:
    """A callable made from a program of elementwise nodes.

    Parameters
    ----------
    program : Program
        Traced on 0-d specs; it is applied to arrays of any shapes that broadcast.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._kernels: dict[tuple[Any, ...], Any] = {}
        self._out_dtypes = [dtype_in(o, FLOATS[0]) for o in program.outputs]
        self.fusable = (
            all(n.primitive.scalar is not None for n in program.nodes) and not program.constants
        )

    def __call__(self, *arrays: Any) -> list[Any]:
        """The outputs for these inputs, as arrays."""
        if self.fusable and _large(arrays) and runtime.available():
            try:
                return self.run(*arrays)
            except runtime_errors() as error:
                self.fusable = False
                runtime.complain(error)
        return self._evaluate(arrays)

    def _evaluate(self, arrays: Sequence[Any]) -> list[Any]:
        """Node by node with NumPy."""
        known: dict[Any, Any] = dict(zip(self.program.inputs, arrays, strict=True))
        dtype = next(
            (
                a.dtype
                for a in arrays
                if isinstance(a, (np.ndarray, np.generic)) and a.dtype in FLOATS
            ),
            FLOATS[0],
        )
        for node in self.program.nodes:
            values = [known[n] if isinstance(n, Node) else n for n in node.inputs]
            places = range(len(values))[node.primitive.promotes]
            # a choice between two numbers: in the dtype of the chain
            if not any(hasattr(values[i], "dtype") for i in places):
                for i in places:
                    values[i] = dtype.type(values[i])
            known[node] = node.primitive.forward(*values, **node.params)
        outs = [known[o] if isinstance(o, Node) else o for o in self.program.outputs]
        shape = np.broadcast_shapes(*(np.shape(a) for a in arrays))
        # one may ignore an input
        return [o if np.shape(o) == shape else np.array(np.broadcast_to(o, shape)) for o in outs]

    def run(
        self, *arrays: Any, out: Sequence[Array] | None = None, threads: int | None = None
    ) -> list[Array]:
        """Evaluate with the numba kernel, whatever the size.

        Parameters
        ----------
        *arrays : ndarray or number
        out : sequence of contiguous ndarray, optional
            Where to write; new arrays otherwise.
        threads : int, optional
            How many threads share the work; default by size.
        """
        first = arrays[0]
        if type(first) is np.ndarray and (threads == 1 or first.size < SHARED) and first.ndim:
            shape, dtype = first.shape, first.dtype
            for a in arrays:  # the usual case, kept short: it is paid at every call
                if (
                    type(a) is not np.ndarray
                    or a.shape != shape
                    or a.dtype is not dtype
                    or not a.flags.c_contiguous
                ):
                    break
            else:
                kernel = self._kernels.get((dtype.num, len(shape))) or self.kernel(
                    dtype, len(shape)
                )
                outs = (
                    out
                    if out is not None
                    else [empty(shape, dtype if o == FLOATS[0] else o) for o in self._out_dtypes]
                )
                kernel(first.size, *arrays, *outs)
                return list(outs)
        dtype = next(
            (a.dtype for a in arrays if isinstance(a, np.ndarray) and a.dtype in FLOATS), FLOATS[0]
        )
        shape, rows, cols, strides, views, pattern = _layout(arrays, dtype)
        kernel = self.kernel(dtype, pattern)
        outs = (
            out
            if out is not None
            else [empty(shape, dtype if o == FLOATS[0] else o) for o in self._out_dtypes]
        )
        flat = [o.reshape(-1) for o in outs]
        size = rows * cols
        parts = 1 if size < SHARED and threads is None else threads or runtime.threads()
        if parts == 1 or size < parts:
            kernel(rows, cols, *strides, *views, *flat)
            return list(outs)
        jobs = [_part(rows, cols, strides, views, pattern, flat, i, parts) for i in range(parts)]
        runtime.share(kernel, jobs)
        return list(outs)

    def kernel(self, dtype: np.dtype[Any], pattern: Pattern | int) -> Callable[..., Any]:
        """The compiled function for a floating dtype and a pattern.

        For each input, (moves along a row, is bool).

        A number stands for the usual case, where all inputs are floating, contiguous and of one
        shape with so many axes.
        """
        key = (dtype.num, pattern)
        if key not in self._kernels:
            self._kernels[key] = runtime.load(self.source(dtype, pattern)).kernel
        found: Callable[..., Any] = self._kernels[key]
        return found

    def source(self, dtype: np.dtype[Any], pattern: Pattern | int) -> str:
        """Return the module that computes this: readable Python for numba.

        `pattern` as for `kernel`.
        """
        from .style import KERNELS
        from .writer import write

        inputs, outputs = self.program.inputs, self.program.outputs
        axes = pattern if isinstance(pattern, int) else 1
        moves = ((True, False),) * len(inputs) if isinstance(pattern, int) else pattern
        ins = [
            _array(f"x{i}", np.dtype(bool) if is_bool else dtype, dtype, axes, Role.INPUT)
            for i, (_, is_bool) in enumerate(moves)
        ]
        outs = [
            _array(f"y{k}", dtype_in(o, dtype), dtype, axes, Role.OUTPUT)
            for k, o in enumerate(outputs)
        ]
        lane, row = Linear.of("j"), Linear.of("i")
        of_rows = not isinstance(pattern, int)
        body: list[Statement] = []
        values: dict[Any, Scalar] = {}
        for i, (node, array) in enumerate(zip(inputs, ins, strict=True)):
            place = row * f"s{i}" if of_rows else Linear()
            place = place + lane if moves[i][0] else place
            body.append(Load(f"v{i}", Access(array, place)))
            values[node] = Var(f"v{i}")
        body += computed(self.program, values, dtype)
        for o, array in zip(outputs, outs, strict=True):
            value = values[o] if isinstance(o, Node) else Number(float(o), array.kind)
            place = row * "cols" + lane if of_rows else lane
            body.append(Store(Access(array, place), value))
        sizes: tuple[str, ...] = ("size",)
        loop = Loop("j", Linear.of("cols" if of_rows else "size"), tuple(body), LoopKind.LANES)
        if of_rows:  # rows of flat arrays, s0, s1, ... elements apart (0: the same row again)
            sizes = ("rows", "cols", *(f"s{i}" for i in range(len(ins))))
            loop = Loop("i", Linear.of("rows"), (loop,))
        title = "one loop for " + (", ".join(n.op for n in self.program.nodes) or "nothing")
        function = Function("kernel", sizes, (*ins, *outs), (loop,))
        return write(Module(title, dtype, (function,)), KERNELS).text


def computed(program: Program, values: dict[Any, Scalar], dtype: np.dtype[Any]) -> list[Statement]:
    """Return the statements of the nodes of a program; `values` gets their numbers."""
    found: list[Statement] = []
    for i, node in enumerate(program.nodes):
        operands = [
            Operand(values[n], dtype_in(n, dtype)) if isinstance(n, Node) else Operand(n, None)
            for n in node.inputs
        ]
        value = expression(node.primitive, node.params, operands, dtype_in(node, dtype), dtype)
        found.append(Let(f"t{i}", value, origin=Origin(node.op, node)))
        values[node] = Var(f"t{i}")
    return found


def dtype_in(output: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that an output of a program has where floating values have this one."""
    return output.dtype if isinstance(output, Node) and output.dtype == np.bool_ else dtype


def _array(name: str, own: np.dtype[Any], base: np.dtype[Any], axes: int, role: Role) -> Buffer:
    return Buffer(name, kind_of(own, base), role, axes=axes, written=role is Role.OUTPUT)


@functools.cache
def runtime_errors() -> tuple[type[Exception], ...]:
    """What a failed compilation raises."""
    from numba.core.errors import NumbaError

    return (
        NumbaError,
        OSError,
        ImportError,
        RuntimeError,
        AttributeError,
        SyntaxError,
        EOFError,
        pickle.UnpicklingError,
    )


def _large(arrays: Sequence[Any], threshold: int = LARGE) -> bool:
    size, dtype = 0, None
    for a in arrays:
        if isinstance(a, np.ndarray):
            size = max(size, a.size)
            if a.dtype in FLOATS:
                if dtype is not None and a.dtype != dtype:
                    return False
                dtype = a.dtype
            elif a.dtype != np.bool_:
                return False
        elif not isinstance(a, (int, float)):
            return False
    return size >= threshold and dtype is not None and not runtime.raising()


def _stride(strides: Sequence[int], shape: Sequence[int], item: int) -> int | None:
    """The one stride, in elements, by which these axes can be walked as a single axis.

    None if there is none.
    """
    step, expected = None, None
    for stride, n in zip(reversed(strides), reversed(shape), strict=True):
        if n == 1:
            continue
        if step is None:
            step = stride
        elif stride != expected:
            return None
        expected = stride * n
    return 0 if step is None else step // item if step >= 0 and step % item == 0 else None


def _layout(
    arrays: Sequence[Any], dtype: np.dtype[Any]
) -> tuple[Any, int, int, list[int], list[Array], Pattern]:
    """Return the inputs as flat contiguous arrays of rows, for the fewest rows that allow it.

    Returns the broadcast shape, rows, columns, for each input the stride between its rows, the
    inputs, and for each input (moves along a row, is bool).
    """
    arrays = [a if isinstance(a, np.ndarray) else np.full((), a, dtype) for a in arrays]
    shapes = {a.shape for a in arrays if a.shape}
    shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*(a.shape for a in arrays))
    if all(not a.shape or (a.shape == shape and a.flags.c_contiguous) for a in arrays):
        pattern = tuple([(a.size > 1, a.dtype == np.bool_) for a in arrays])
        flat = [a.reshape(-1) for a in arrays]
        return shape, 1, math.prod(shape), [0] * len(arrays), flat, pattern
    spread = [np.broadcast_to(a, shape) for a in arrays]
    split, plan = _split(spread)
    rows, cols = math.prod(shape[:split]), math.prod(shape[split:])
    strides: list[int] = []
    views: list[Array] = []
    moves: list[tuple[bool, bool]] = []
    for a, found in zip(spread, plan, strict=True):
        if found is None:
            a, found = np.ascontiguousarray(a), (cols, 1)
        outer, inner = found
        if cols == 1:
            inner = 0
        length = (rows - 1) * outer + ((cols - 1) * inner) + 1
        strides.append(outer)
        views.append(np.lib.stride_tricks.as_strided(a, (length,), (a.itemsize,), writeable=False))
        moves.append((inner == 1, a.dtype == np.bool_))
    return shape, rows, cols, strides, views, tuple(moves)


def _split(arrays: Sequence[Array]) -> tuple[int, list[tuple[int, int] | None]]:
    """Return how many leading axes are those of the rows, and the strides of rows and columns.

    None in place of the strides of an array that has to be copied; as few as possible have to be.
    """
    best: tuple[int, int, list[tuple[int, int] | None]] | None = None
    shape = arrays[0].shape
    for split in range(len(shape) + 1):
        plan: list[tuple[int, int] | None] = []
        for a in arrays:
            outer = _stride(a.strides[:split], shape[:split], a.itemsize)
            inner = _stride(a.strides[split:], shape[split:], a.itemsize)
            plan.append(None if outer is None or inner not in (0, 1) else (outer, inner))
        copies = sum(p is None for p in plan)
        if best is None or copies < best[0]:
            best = (copies, split, plan)
    assert best is not None
    return best[1], best[2]


def _part(
    rows: int,
    cols: int,
    strides: list[int],
    views: list[Array],
    pattern: Any,
    outs: list[Array],
    i: int,
    parts: int,
) -> tuple[Any, ...]:
    """Return the arguments for the i-th of `parts` shares of the work.

    Some of the rows, or of the columns of the only row.
    """
    if rows >= parts:
        lo, hi = rows * i // parts, rows * (i + 1) // parts
        taken = [x[lo * stride :] for x, stride in zip(views, strides, strict=True)]
        return (hi - lo, cols, *strides, *taken, *(o[lo * cols : hi * cols] for o in outs))
    if rows == 1:
        lo, hi = cols * i // parts, cols * (i + 1) // parts
        taken = [x[lo:hi] if pattern[k][0] else x for k, x in enumerate(views)]
        return (1, hi - lo, *strides, *taken, *(o[lo:hi] for o in outs))
    return (rows if i == 0 else 0, cols, *strides, *views, *outs)


def dispatching(
    primitive: Primitive, forward: Callable[..., Any], threshold: int
) -> Callable[..., Any]:
    """The forward function of one operation.

    NumPy's, or from `threshold` elements on the kernel of its scalar expression.
    """
    chains: dict[tuple[Any, ...], ElementwiseKernel] = {}

    def large(*arrays: Any, **given: Any) -> Any:
        params = primitive.defaults | given
        key = tuple(map(repr, params.values()))  # -0.0 is equal to 0.0, and 1 to True
        if key not in chains:
            chains[key] = ElementwiseKernel(
                trace(lambda *xs: apply(primitive, xs, params), *[Spec(()) for _ in arrays])
            )
        return chains[key](*arrays)[0]

    def either(*arrays: Any, **params: Any) -> Any:
        if _large(arrays, threshold) and runtime.available():
            return large(*arrays, **params)
        return forward(*arrays, **params)

    def of_one(x: Any) -> Any:
        return (
            either(x)
            if isinstance(x, np.ndarray) and x.size >= threshold
            else forward(np.asarray(x))
        )

    return of_one if len(primitive.inputs) == 1 and not primitive.defaults else either


class LargeRule:
    """A derivative rule of an elementwise operation for large arrays.

    Fused into one kernel where that pays.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.chains: dict[tuple[Any, ...], ElementwiseKernel | None] = {}

    def __call__(self, *values: Any) -> Any:
        """The gradient, from g and what the rule asks for."""
        if type(values[0]) is not np.ndarray:
            return self.function(*values)
        key = tuple(
            v.dtype
            if isinstance(v, np.ndarray)
            else repr(v)
            if isinstance(v, (int, float, type(None)))
            else "like"
            for v in values
        )
        if key not in self.chains:
            if len(self.chains) >= VARIANTS:
                return self.function(*values)
            self.chains[key] = self._chain(values)
        chain = self.chains[key]
        return (
            self.function(*values)
            if chain is None
            else chain(*[v for v in values if isinstance(v, np.ndarray)])[0]
        )

    def _chain(self, values: Sequence[Any]) -> ElementwiseKernel | None:
        """The rule traced.

        None where one NumPy call does it, or where it is not made of elementwise operations.
        """
        places = [i for i, v in enumerate(values) if isinstance(v, np.ndarray)]

        def of_arrays(*arrays: Any) -> Any:
            full = list(values)
            for i, a in zip(places, arrays, strict=True):
                full[i] = a
            return self.function(*full)

        chain = ElementwiseKernel(trace(of_arrays, *[Spec((), values[i].dtype) for i in places]))
        return chain if chain.fusable and len(chain.program.nodes) > 1 else None
