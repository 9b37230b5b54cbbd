"""Runs of elementwise nodes as one loop.

A `Chain` holds a program whose nodes are all elementwise. It is evaluated node by node with NumPy,
or, on large arrays, by a numba kernel into which the scalar expressions of the nodes are
substituted. A single operation, a derivative rule and a function of the user's are all chains.
"""

from __future__ import annotations

import functools
import math
import pickle
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.memory import empty
from ..core.primitive import LARGE, Array, Primitive, Spec
from ..core.record import apply
from ..core.tape import Node
from ..core.trace import Program, trace
from . import runtime

SHARED = 131_072  # from this many elements on the work is shared among threads
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
VARIANTS = (
    # kernels of one rule for different numbers in it; after these NumPy does the work, so that a
    # schedule does not compile for ever
    16
)
Pattern = tuple[tuple[bool, bool], ...]
NO_BOUND = {"low": -np.inf, "high": np.inf}  # what None stands for as a parameter


class Chain:
    """A callable made from a program of elementwise nodes.

    Parameters
    ----------
    program : Program
        Traced on 0-d specs; it is applied to arrays of any shapes that broadcast.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._kernels: dict[tuple[Any, ...], Any] = {}
        self._out_dtypes = [self._dtype(o, FLOATS[0]) for o in program.outputs]
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
                kernel(*arrays, *outs)
                return list(outs)
        dtype = next(
            (a.dtype for a in arrays if isinstance(a, np.ndarray) and a.dtype in FLOATS), FLOATS[0]
        )
        shape, rows, cols, views, pattern = _layout(arrays, dtype)
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
            kernel(rows, cols, *views, *flat)
            return list(outs)
        jobs = [_part(rows, cols, views, pattern, flat, i, parts) for i in range(parts)]
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

    def _dtype(self, output: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return output.dtype if isinstance(output, Node) and output.dtype == np.bool_ else dtype

    def source(self, dtype: np.dtype[Any], pattern: Pattern | int) -> str:
        """The module that computes this chain: readable Python for numba.

        `pattern` as for `kernel`.
        """
        ndim = pattern if isinstance(pattern, int) else 0
        moves = ((True, False),) * len(self.program.inputs) if isinstance(pattern, int) else pattern
        names: dict[Any, str] = {
            n: f"{'v' if p[0] else 'b'}{i}"
            for i, (n, p) in enumerate(zip(self.program.inputs, moves, strict=True))
        }
        lines, used = [], {"wide_vectors"}
        for i, node in enumerate(self.program.nodes):
            text, functions = _expression(node, names)
            used |= functions
            names[node] = f"t{i}"
            lines.append(f"t{i} = {text}  # {node.op}")
        outputs = [
            names[o] if isinstance(o, Node) else f"F({float(o)!r})" for o in self.program.outputs
        ]
        ins, outs, kind = range(len(moves)), range(len(outputs)), dtype.name
        kinds = ["boolean" if p[1] else kind for p in moves]
        results = [
            self._dtype(o, dtype).name.replace("bool", "boolean") for o in self.program.outputs
        ]
        if ndim:  # contiguous arrays of one shape: one flat loop
            args = [*(f"x{i}" for i in ins), *(f"y{k}" for k in outs)]
            types = [f"Array(types.{t}, {ndim}, 'C', readonly=True)" for t in kinds] + [
                f"Array(types.{t}, {ndim}, 'C')" for t in results
            ]
            body = ["wide_vectors()", "size = y0.size"]
            body += [f"a{i} = x{i}.reshape(size)" for i in ins] + [
                f"o{k} = y{k}.reshape(size)" for k in outs
            ]
            depth, count = 0, "size"
        else:  # rows of flat arrays, s0, s1, ... elements apart (0: the same row again)
            args = ["rows", "cols", *(f"x{i}, s{i}" for i in ins), *(f"y{k}" for k in outs)]
            types = [
                "types.int64",
                "types.int64",
                *(f"Array(types.{t}, 1, 'C', readonly=True), types.int64" for t in kinds),
            ]
            types += [f"Array(types.{t}, 1, 'C')" for t in results]
            body = ["wide_vectors()", "for i in range(rows):"]
            body += [
                f"    a{i} = x{i}[i * s{i} : i * s{i} + cols]"
                if moves[i][0]
                else f"    b{i} = x{i}[i * s{i}]"
                for i in ins
            ]
            body += [f"    o{k} = y{k}[i * cols : (i + 1) * cols]" for k in outs]
            depth, count = 4, "cols"
        loop = [f"for j in range({count}):", *(f"    v{i} = a{i}[j]" for i in ins if moves[i][0])]
        loop += [f"    {line}" for line in lines] + [
            f"    o{k}[j] = {name}" for k, name in enumerate(outputs)
        ]
        head = [
            '"""Generated: one loop for '
            + (", ".join(n.op for n in self.program.nodes) or "nothing")
            + '."""',
            "from numba import njit, types",
            f"from numpy import {kind} as F, inf",
            f"from tinygrad_rnn.kernels.scalar import {', '.join(sorted(used))}",
            "",
            "Array = types.Array",
            f"signature = types.void({', '.join(types)})",
            "",
            "",
            '@njit(signature, error_model="numpy", fastmath={"contract"}, nogil=True, cache=True)',
            f"def kernel({', '.join(args)}):",
        ]
        return "\n".join(
            [
                *head,
                *(f"    {line}" for line in body),
                *(" " * (4 + depth) + line for line in loop),
                "",
            ]
        )


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


_WORD = re.compile(r"(?<![\w.])([A-Za-z_]\w*)|(?<![\w.])(\d+\.?\d*(?:e-?\d+)?)")


def _literal(value: Any) -> str:
    text = repr(float(value))
    return f"F({text.replace('nan', 'inf * 0')})"


def _expression(
    node: Any,
    names: dict[Any, str],
    literal: Callable[[Any], str] = _literal,
    fixed: Callable[[Any], str] = _literal,
) -> tuple[str, set[str]]:
    """The node's scalar expression with its operands put in, and the scalar functions that it calls.

    `names` has the variables of the inputs; those that are not in it are numbers, which `literal`
    turns into code, as `fixed` does with the numbers of the expression itself.
    """
    primitive = node.primitive
    numbers = range(len(node.inputs))[primitive.promotes]  # the others are conditions
    values = {
        name: names[n] if n in names else literal(n) if i in numbers else repr(bool(n))
        for i, (name, n) in enumerate(zip(primitive.inputs, node.inputs, strict=True))
    }
    values |= {name: literal(NO_BOUND[name] if v is None else v) for name, v in node.params.items()}
    called: set[str] = set()

    def put(match: re.Match[str]) -> str:
        word, number = match.groups()
        if number:
            return fixed(float(number))
        if word in values:
            return values[word]
        if word not in ("and", "or", "not", "inf", "F"):
            called.add(word)
        return word

    assert primitive.scalar is not None
    return _WORD.sub(put, primitive.scalar), called


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
) -> tuple[Any, int, int, list[Any], Pattern]:
    """The inputs as flat contiguous views with a stride between rows, for the fewest rows that allow it.

    Returns the broadcast shape, rows, columns, ``[x0, s0, x1, s1, ...]`` and for each input (moves
    along a row, is bool).
    """
    arrays = [a if isinstance(a, np.ndarray) else np.full((), a, dtype) for a in arrays]
    shapes = {a.shape for a in arrays if a.shape}
    shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*(a.shape for a in arrays))
    views: list[Any] = []
    pattern = []
    if all(not a.shape or (a.shape == shape and a.flags.c_contiguous) for a in arrays):
        for a in arrays:
            views += [a.reshape(-1), 0]
            pattern.append((a.size > 1, a.dtype == np.bool_))
        return shape, 1, math.prod(shape), views, tuple(pattern)
    spread = [np.broadcast_to(a, shape) for a in arrays]
    best: tuple[int, int, list[tuple[int, int] | None]] | None = None
    for split in range(len(shape) + 1):
        plan: list[tuple[int, int] | None] = []
        for a in spread:
            outer = _stride(a.strides[:split], shape[:split], a.itemsize)
            inner = _stride(a.strides[split:], shape[split:], a.itemsize)
            plan.append(None if outer is None or inner not in (0, 1) else (outer, inner))
        copies = sum(p is None for p in plan)
        if best is None or copies < best[0]:
            best = (copies, split, plan)
    assert best is not None
    _, split, plan = best
    rows, cols = math.prod(shape[:split]), math.prod(shape[split:])
    for a, found in zip(spread, plan, strict=True):
        if found is None:
            a, found = np.ascontiguousarray(a), (cols, 1)
        outer, inner = found
        if cols == 1:
            inner = 0
        length = (rows - 1) * outer + ((cols - 1) * inner) + 1
        views += [
            np.lib.stride_tricks.as_strided(a, (length,), (a.itemsize,), writeable=False),
            outer,
        ]
        pattern.append((inner == 1, a.dtype == np.bool_))
    return shape, rows, cols, views, tuple(pattern)


def _part(
    rows: int, cols: int, views: list[Any], pattern: Any, outs: list[Array], i: int, parts: int
) -> tuple[Any, ...]:
    """The arguments for the i-th of `parts` shares of the work.

    Some of the rows, or of the columns of the only row.
    """
    taken: list[Any] = []
    if rows >= parts:
        lo, hi = rows * i // parts, rows * (i + 1) // parts
        for x, stride in zip(views[::2], views[1::2], strict=True):
            taken += [x[lo * stride :], stride]
        return (hi - lo, cols, *taken, *(o[lo * cols : hi * cols] for o in outs))
    if rows == 1:
        lo, hi = cols * i // parts, cols * (i + 1) // parts
        for k, (x, stride) in enumerate(zip(views[::2], views[1::2], strict=True)):
            taken += [x[lo:hi] if pattern[k][0] else x, stride]
        return (1, hi - lo, *taken, *(o[lo:hi] for o in outs))
    return (rows if i == 0 else 0, cols, *views, *outs)


def dispatching(
    primitive: Primitive, forward: Callable[..., Any], threshold: int
) -> Callable[..., Any]:
    """The forward function of one operation.

    NumPy's, or from `threshold` elements on the kernel of its scalar expression.
    """
    chains: dict[tuple[Any, ...], Chain] = {}

    def large(*arrays: Any, **params: Any) -> Any:
        key = tuple(map(repr, params.values()))  # -0.0 is equal to 0.0, and 1 to True
        if key not in chains:
            chains[key] = Chain(
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
        self.chains: dict[tuple[Any, ...], Chain | None] = {}

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

    def _chain(self, values: Sequence[Any]) -> Chain | None:
        """The rule traced.

        None where one NumPy call does it, or where it is not made of elementwise operations.
        """
        places = [i for i, v in enumerate(values) if isinstance(v, np.ndarray)]

        def of_arrays(*arrays: Any) -> Any:
            full = list(values)
            for i, a in zip(places, arrays, strict=True):
                full[i] = a
            return self.function(*full)

        chain = Chain(trace(of_arrays, *[Spec((), values[i].dtype) for i in places]))
        return chain if chain.fusable and len(chain.program.nodes) > 1 else None
