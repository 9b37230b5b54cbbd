"""What has to be copied, and what is put together, made explicit before values are fused.

After this a program has values of four kinds only: views; elementwise values and reductions, which
loops compute; operations on whole arrays; and values that are put together (`ASSEMBLED`), of copies
that each loop writes straight into its place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from ..ops.elementwise import add, positive
from ..ops.facts import facts_of, signs
from ..ops.indexing import scatter
from ..ops.shaping import RESHAPE
from ..ops.views import Axis, Piece, Regrouped, View
from .gather import is_gather
from .internal import AFFINE, ASSEMBLED, COPY, PART, ZEROS
from .layout import as_it_is, is_view, pieces_of, view_of
from .value import B, Value

POSITIVE, ADD, SCATTER = positive.primitive, add.primitive, scatter.primitive
Box = tuple[tuple[int, int] | None, ...]


def copy_of(value: Value) -> Value:
    """Return a copy of a value, in an array of its own."""
    made = Value(COPY, [value], {}, value.shape, value.node, dtype=value.dtype)
    made.varies = value.varies
    return made


def drop_zeros(program: Iterable[Value]) -> None:
    """Make sums with zeros the other summand; gradients of parts have many such sums.

    In what the user wrote even a zero that is added counts: it makes 0.0 of -0.0. So this is for
    backward programs.
    """
    for v in program:
        sign = signs(v.primitive)
        if v.leaf or sign not in ((1, 1), (1, -1)) or v.dtype.kind != "f":
            continue
        a, b = v.inputs
        for x, zero in ((a, b), (b, a)):
            if not isinstance(x, Value) or not isinstance(zero, Value) or not zero.zero:
                continue
            if x.shape == v.shape and x.dtype == v.dtype and (x is a or sign == (1, 1)):
                v.change(POSITIVE, [x], {})
                break


def collect(program: list[Value], ends: Iterable[Value], apart: Collection[Value]) -> None:
    """Make a sum of sums one sum, and so with other operations that can be done once after adding.

    A parameter that each of many components reads has a gradient of so many sums over the batch:
    the components are added first, in the loop that has them, and summed together.

    Parameters
    ----------
    program : list of Value
        A backward program, which is changed in place.
    ends : iterable of Value
        What somebody else reads.
    apart : collection of Value
        What is summed at no cost as it is, since a product reads it.
    """
    uses = Counter(i for v in program for i in v.sources)
    uses.update(ends)
    found: list[Value] = []
    gone: set[Value] = set()

    def visit(v: Value) -> None:
        a, b = (*v.sources, v, v)[:2]
        if (
            v.primitive is ADD
            and a.primitive
            and _are_alike(a, b, apart)
            and uses[a] == uses[b] == 1
        ):
            inner = Value(
                ADD, [*a.sources, *b.sources], {}, a.inputs[0].shape, v.node, dtype=v.dtype
            )
            gone.update((a, b))
            v.change(a.primitive, [inner], a.params)
            uses[inner] = 1
            visit(inner)
        found.append(v)

    for v in program:
        visit(v)
    program[:] = [v for v in found if v not in gone]


def _are_alike(a: Value, b: Value, apart: Collection[Value]) -> bool:
    """Whether two values are the same linear operation on what can be added."""
    if a is b or a.primitive is not b.primitive or a.merged or b.merged:
        return False
    facts = facts_of(a.primitive)
    summed = facts.reduction is not None and facts.reduction.additive
    if not summed and a.primitive not in (RESHAPE, SCATTER):
        return False
    x, y = a.inputs[0], b.inputs[0]
    return (
        (x.shape, x.dtype, a.shape, a.dtype) == (y.shape, y.dtype, b.shape, b.dtype)
        and x.varies == y.varies
        and x.dtype == a.dtype
        and x.dtype.kind == "f"
        and not (x.merged or y.merged)
        and not (summed and (x in apart or y in apart))
        and repr(a.params) == repr(b.params)
        and "array(" not in repr(a.params)
    )


def hoist(programs: Iterable[Sequence[Value]]) -> None:
    """Mark what is the same in all steps and rows: it is computed once, before the loop over time."""
    for program in programs:
        for v in program:
            v.hoisted = not v.varies and v.batch is None


def prepared(
    program: Sequence[Value], wanted: Collection[Value], own: Collection[Value]
) -> list[Value]:
    """Return a program in which copies and what is put together are explicit.

    Parameters
    ----------
    program : sequence of Value
        In order.
    wanted : collection of Value
        What is stored for others.
    own : collection of Value
        Values of the backward program itself, in which sums of parts are put together.
    """
    found = _Assembly(program, wanted, own).program
    return _with_copies(found)


class _Part(NamedTuple):
    """A part of a value that is put together."""

    source: Value
    box: Box
    view: View


class _Terms(NamedTuple):
    """What a value is the sum of: whole values, and parts; and the values in between."""

    plain: list[Value]
    parts: list[_Part]
    inner: list[Value]


class _Assembly:
    """Values that are put together: by one operation, or as a sum (the gradient of slices)."""

    def __init__(
        self, program: Sequence[Value], wanted: Collection[Value], own: Collection[Value]
    ) -> None:
        self.uses = Counter(i for v in program if not v.leaf for i in v.sources)
        self.wanted, self.own = wanted, own
        self.program: list[Value] = []
        readers: dict[Value, Value] = {}
        for v in program:
            for i in v.sources if not v.leaf else ():
                readers[i] = v
        self.absorbed = {
            v
            for v in program
            if self.uses[v] == 1
            and v not in wanted
            and self._sums(readers[v])
            and v.shape == readers[v].shape
            and (self._sums(v) or self._pieces(v) is not None)
        }
        tops = (v for v in program if v not in self.absorbed)
        # sums of whole values alone stay as they are
        terms = {v: t for v in tops if (t := self._terms(v)) is not None}
        self.absorbed = {v for t in terms.values() for v in t.inner}
        for v in program:
            if v in terms:
                self._assemble(v, *terms[v][:2])
            elif v not in self.absorbed:
                self.program.append(v)

    def _sums(self, v: Value) -> bool:
        return v in self.own and not v.leaf and v.dtype.kind == "f" and signs(v.primitive) == (1, 1)

    def _pieces(self, v: Value) -> tuple[Piece, ...] | None:
        return None if is_view(v) or 0 in v.shape else pieces_of(v)

    def _terms(self, top: Value) -> _Terms | None:
        """Return what a value is the sum of; None if there are no parts in it."""
        found, has_parts = _Terms([], [], []), False
        stack = [top]
        while stack:
            v = stack.pop()
            if v in self.absorbed:
                found.inner.append(v)
            joined = v is top or v in self.absorbed
            pieces = self._pieces(v) if joined else None
            if pieces is not None:
                has_parts = True
                found.parts.extend(_parts_of(v, pieces))
            elif joined and self._sums(v):
                stack += reversed(v.sources)
            else:
                found.plain.append(v)
        return found if has_parts else None

    def _assemble(self, top: Value, plain: list[Value], parts: list[_Part]) -> None:
        """Put the copies of all parts into the program, and change a value into what they make."""
        parts = [part for part in parts if not part.source.zero]
        adds = bool(plain) or not _disjoint(parts)
        copies: list[Value] = []
        upon: list[Value] = []
        if plain:
            whole = plain[0]
            for other in plain[1:]:
                whole = Value(
                    top.primitive, [whole, other], {}, top.shape, top.node, dtype=top.dtype
                )
                self.program.append(whole)
            upon.append(self._copy(top, whole, tuple([None] * len(top.shape)), adds=False, upon=[]))
            copies += upon
        elif adds or not _covers(parts, top.shape):
            upon.append(Value(ZEROS, [], {"into": top}, top.shape, top.node, dtype=top.dtype))
            upon[0].varies = top.varies
            self.program += upon
            copies += upon
        for part in parts:
            shape = tuple(
                n if bound is None else bound[1] - bound[0]
                for n, bound in zip(top.shape, part.box, strict=True)
            )
            source = part.source
            piece = Value(
                PART, [source], {"view": part.view}, shape, source.node, dtype=source.dtype
            )
            self.program.append(piece)
            copies.append(self._copy(top, piece, part.box, adds=adds, upon=upon))
        top.change(ASSEMBLED, list(copies), {})
        self.program.append(top)

    def _copy(self, top: Value, source: Value, box: Box, *, adds: bool, upon: list[Value]) -> Value:
        params = {"into": top, "box": box, "adds": adds, "upon": list(upon)}
        made = Value(COPY, [source], params, source.shape, source.node, dtype=top.dtype)
        made.varies = top.varies
        self.program.append(made)
        return made


def _parts_of(value: Value, pieces: Sequence[Piece]) -> list[_Part]:
    """Return the parts of a value; the view of each is from an index in its box."""
    found = []
    for piece in pieces:
        lows = [0 if bound is None else bound[0] for bound in piece.box]
        axes = tuple(
            Axis(terms, offset + sum(step * lows[axis] for axis, step in terms))
            for terms, offset in piece.view.axes
        )
        source = value.sources[piece.operand]
        found.append(_Part(source, piece.box, View(axes, len(value.shape))))
    return found


def _disjoint(parts: Sequence[_Part]) -> bool:
    def apart(a: Box, b: Box) -> bool:
        return any(
            m is not None and n is not None and (m[1] <= n[0] or n[1] <= m[0])
            for m, n in zip(a, b, strict=True)
        )

    return all(apart(a.box, b.box) for k, a in enumerate(parts) for b in parts[:k])


def _covers(parts: Sequence[_Part], shape: Sequence[Any]) -> bool:
    """Whether disjoint parts leave no element out."""

    def size(box: Box) -> int:
        sides = zip(box, shape, strict=True)
        return math.prod((1 if n == B else n) if b is None else b[1] - b[0] for b, n in sides)

    return bool(sum(size(part.box) for part in parts) == math.prod(n for n in shape if n != B))


def _with_copies(program: Sequence[Value]) -> list[Value]:
    """Insert copies of what would be read in a way that its layout does not allow."""
    found: list[Value] = []
    copies: dict[Value, Value] = {}

    def copied(v: Value) -> Value:
        if v not in copies:
            copies[v] = copy_of(v)
            found.append(copies[v])
        return copies[v]

    for v in program:
        v._layout = None  # what it looks at may have changed
    for v in program:
        if v.leaf:
            found.append(v)
            continue
        if not is_view(v) and isinstance(view_of(v), Regrouped) and 0 not in v.shape:
            # of a transposed value, for example
            v.change(v.primitive, [copied(v.inputs[0])], v.params)  # type: ignore[arg-type]
        elif v.primitive is AFFINE:
            last = len(v.inputs) - len(v.inputs) % 2
            moving = range(0, last, 2)
            inputs = [
                copied(i) if k in moving and not as_it_is(i) else i for k, i in enumerate(v.inputs)
            ]
            v.change(AFFINE, inputs, v.params)
        elif is_gather(v):
            inputs = [
                copied(i) if isinstance(i, Value) and not as_it_is(i) else i for i in v.inputs
            ]
            v.change(v.primitive, inputs, v.params)  # type: ignore[arg-type]
        found.append(v)
    return found
