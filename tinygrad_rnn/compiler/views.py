"""Where a value is read when it is a view of another, or is put together of others.

By index, without work.

Slices, transposes and reshapes lead from an index of the result to one of their source. What is put
together (a concatenation, the gradient of a slice) has pieces, each with a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ops.define import axes_of
from ..ops.shaping import pad_pairs
from .effects import B
from .op import CompileError, Op

# (variable of the loop nest or None, step, offset) for each axis of a value: where it is read
Place = tuple[int | None, int, int]
Index = tuple[Place, ...]

VIEWS = ("getitem", "transpose", "reshape", "broadcast_to", "positive", "stop_gradient")
PIECES = ("scatter", "concatenate", "stack", "pad", "roll")


def view(op: Op, index: Index) -> tuple[Op, Index]:
    """One step through a view: its input, and where that is read."""
    source = op.inputs[0]
    if op.op in ("positive", "stop_gradient"):
        return source, index
    if op.op == "transpose":
        out: list[Place] = [(None, 1, 0)] * len(index)
        for place, axis in zip(index, op.params["axes"], strict=True):
            out[axis % len(index)] = place
        return source, tuple(out)
    if op.op == "broadcast_to":
        lead = len(op.shape) - len(source.shape)
        return source, tuple(
            (None, 1, 0) if n == 1 else p for p, n in zip(index[lead:], source.shape, strict=True)
        )
    if op.op == "getitem":
        return source, _through_getitem(op, source, index)
    return source, _through_reshape(op, source, index)


def _through_getitem(op: Op, source: Op, index: Index) -> Index:
    out: list[Place] = []
    places = iter(index)
    for part, n in zip(index_parts(op, source), _kept(op, source), strict=True):
        if part is None:
            next(places)
        elif isinstance(part, slice):
            var, step, offset = next(places)
            if n == B and part != slice(None):
                raise unsupported(
                    op, "it takes some rows of the batch, or moves them; give it whole rows"
                )
            start, _, stride = (0, n, 1) if n == B and part == slice(None) else part.indices(n)
            out.append((var, step * stride, start + stride * offset))
        elif n == B:
            raise unsupported(op, "it takes single rows of the batch")
        else:
            out.append((None, 1, part % n))
    return tuple(out)


def basic(op: Any) -> bool:
    """Whether its index has slices and numbers alone (True and False, which are numbers to Python, are masks)."""
    index = op.params["index"]
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        i is None
        or i is Ellipsis
        or (isinstance(i, (int, np.integer, slice)) and not isinstance(i, bool))
        for i in parts
    )


def symbolic(op: Op) -> bool:
    """Whether a view, or a value that is put together, can be followed by index.

    Otherwise it is stored as a whole.
    """
    if op.op == "getitem":
        return basic(op)
    if op.op == "scatter":
        return basic(op) and all(
            not isinstance(p, slice) or p.step in (None, 1) for p in index_parts(op, op)
        )
    if op.op == "roll":
        axes = axes_of(op.params["axis"], len(op.shape))
        return (
            op.params["axis"] is not None
            and len(axes) == 1
            and isinstance(op.params["shift"], (int, np.integer))
            and op.shape[axes[0]] != B
        )
    return op.op != "pad" or not op.params["value"]


def index_parts(op: Any, source: Any) -> list[Any]:
    """The index of a getitem or scatter.

    A slice or number for each axis of the source, and None for each new one.
    """
    given = op.params["index"]
    given = given if isinstance(given, tuple) else (given,)
    missing = len(source.shape) - sum(i is not None and i is not Ellipsis for i in given)
    if Ellipsis in given:
        at = given.index(Ellipsis)
        given = (*given[:at], *[slice(None)] * missing, *given[at + 1 :])
    else:
        given = (*given, *[slice(None)] * missing)
    return [slice(None) if isinstance(i, slice) and i == slice(0, B) else i for i in given]


def _kept(op: Op, source: Op) -> list[Any]:
    sizes = iter(source.shape)
    return [None if part is None else next(sizes) for part in index_parts(op, source)]


def _through_reshape(op: Op, source: Op, index: Index) -> Index:
    """The axes of both sides in groups of equal size.

    In each the place is one number, or runs along equal axes.
    """
    out: list[Place] = []
    for here, there in groups(op.shape, source.shape, op):
        sizes, places = [op.shape[i] for i in here], [index[i] for i in here]
        wanted = [source.shape[i] for i in there]
        if [n for n in sizes if n != 1] == [n for n in wanted if n != 1]:
            moving = iter([p for p, n in zip(places, sizes, strict=True) if n != 1])
            out += [(None, 1, 0) if n == 1 else next(moving) for n in wanted]
            continue
        # several axes become one: only along the last of them
        if len([n for n in wanted if n != 1]) == 1:
            stride, step, offset, var = 1, 0, 0, None
            for n, (v, s, o) in zip(reversed(sizes), reversed(places), strict=True):
                if v is not None:
                    if var is not None:
                        raise Restore(source)
                    var, step = v, s * stride
                offset += o * stride
                stride *= n
            out += [(None, 1, 0) if n == 1 else (var, step or 1, offset) for n in wanted]
            continue
        raise Restore(source)
    return tuple(out)


class Restore(Exception):
    """Values, mostly one, have to be stored before they can be read in this way."""

    def __init__(self, op: Op, *others: Op) -> None:
        self.op, self.ops = op, (op, *others)


def groups(a: Sequence[Any], b: Sequence[Any], op: Op) -> list[tuple[list[int], list[int]]]:
    """The axes of two shapes in the smallest groups with equal numbers of elements."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        here, there = [], []
        if i < len(a) and j < len(b) and (a[i] == B or b[j] == B):
            if a[i] != b[j]:
                if a[i] == 1:
                    here.append(i)
                    i += 1
                elif b[j] == 1:
                    there.append(j)
                    j += 1
                else:
                    raise unsupported(op, "it mixes the batch with other axes")
            else:
                here.append(i)
                there.append(j)
                i, j = i + 1, j + 1
            found.append((here, there))
            continue
        m, n = 1, 1
        while True:
            if here and there and m == n:
                break
            if (m <= n or j >= len(b) or b[j] == B) and i < len(a) and a[i] != B:
                m *= a[i]
                here.append(i)
                i += 1
            elif j < len(b) and b[j] != B:
                n *= b[j]
                there.append(j)
                j += 1
            else:
                break
        if m != n:
            raise unsupported(op, "it mixes the batch with other axes")
        found.append((here, there))
    return found


def unsupported(op: Op, why: str) -> CompileError:
    """The error that names an operation and its line."""
    shape = "x".join(map(str, op.shape)) or "scalar"
    return CompileError(
        f"tg.jit: {op.op} (of shape {shape}) cannot be compiled: {why}{op.node.where.described()}"
    )


class Bound(NamedTuple):
    """On one axis of a value that is put together.

    Where a piece lies, and whether the source has the axis, from which place on.
    """

    start: int
    stop: int
    kept: bool = True
    begin: int = 0


class Piece(NamedTuple):
    """A part of a value.

    Its source, where it lies (for each axis a Bound, or None for all of it), and axes that only the
    source has.
    """

    source: Op
    bounds: list[Bound | None]
    inserted: tuple[int, ...] = ()

    def place(self, index: Index) -> Index:
        """Where the source is read for an index of the whole."""
        out: list[Place] = []
        for (var, step, offset), bound in zip(index, self.bounds, strict=True):
            if bound is None:
                out.append((var, step, offset))
            elif bound.kept:
                out.append((var, step, offset - bound.start + bound.begin))
        for at in self.inserted:
            out.insert(at, (None, 1, 0))
        return tuple(out)


def pieces(op: Op) -> list[Piece]:
    """The parts of a value that is put together."""
    rank = len(op.shape)

    def only(axis: int, bound: Bound) -> list[Bound | None]:
        return [bound if i == axis else None for i in range(rank)]

    if op.op == "concatenate":
        axis, start, found = op.params["axis"] % rank, 0, []
        for source in op.inputs:
            n = source.shape[axis]
            found.append(Piece(source, only(axis, Bound(start, start + n))))
            start += n
        return found
    if op.op == "stack":
        axis = op.params["axis"] % rank
        return [
            Piece(source, only(axis, Bound(k, k + 1, kept=False)))
            for k, source in enumerate(op.inputs)
        ]
    source = op.inputs[0]
    if op.op == "roll":
        axes = axes_of(op.params["axis"], rank)
        n = source.shape[axes[0]]
        shift = op.params["shift"] % n
        return [
            Piece(source, only(axes[0], Bound(shift, n))),
            Piece(source, only(axes[0], Bound(0, shift, begin=n - shift))),
        ]
    if op.op == "pad":
        widths = pad_pairs(op.params["pad_width"], rank)
        bounds = [
            None if not (a or b) else Bound(a, a + n)
            for (a, b), n in zip(widths, source.shape, strict=True)
        ]
        return [Piece(source, bounds)]
    parts: list[Bound | None] = []
    sizes = iter(op.shape)
    inserted: list[int] = []
    for part in index_parts(op, op):
        if part is None:
            inserted.append(len([p for p in parts if p is None or p.kept]) + len(inserted))
            continue
        n = next(sizes)
        if n == B and part != slice(None):
            raise unsupported(op, "it fills some rows of the batch")
        if not isinstance(part, slice):
            parts.append(Bound(part % n, part % n + 1, kept=False))
        elif n == B:
            parts.append(None)
        else:
            lo, hi, _ = part.indices(n)
            parts.append(None if (lo, hi) == (0, n) else Bound(lo, hi))
    return [Piece(source, parts, tuple(inserted))]
