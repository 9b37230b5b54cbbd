"""Gathers, scatters, scans: what is read and written at places that no affine form gives.

Their sources are stored, and each is a nest of plain loops over the features, with the rows of the
batch innermost. Where a place is known beforehand (an index of numbers, windows, a roll over several
axes) it stands in a table, which is found by asking NumPy: the operation is run on the numbers of
the elements. Where a place is a value of the step (a token, the result of argmax) the loop reads it,
and checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Array
from ..loops import ir
from ..loops.expression import collecting, converted
from ..loops.linear import Linear
from ..ops.define import axes_of
from ..ops.facts import Assign, AtIndices, Gather, OneHot, Scatter, facts_of
from .layout import Layout, layout_of
from .sizes import at_size
from .value import B, Value, unsupported

MOVED = "it takes some rows of the batch, or moves them; give it whole rows"


class Where(NamedTuple):
    """A stored value: its array, and where in that its elements are."""

    array: ir.Array
    layout: Layout

    def at(self, indices: Sequence[Linear | str], shape: Sequence[Any]) -> ir.Access:
        """Return an element by the index on each axis; an axis of size 1 stands still."""
        place = self.layout.offset
        for index, stride, n in zip(indices, self.layout.strides, shape, strict=True):
            if n != 1:
                place = place + Linear.of(index) * stride
        return ir.Access(self.array, place)


def is_gather(value: Value) -> bool:
    """Whether a value is computed by the loops of this file."""
    facts = facts_of(value.primitive)
    return bool(facts.moves or facts.scan or facts.extreme)


class Gathers:
    """Makes the loops.

    Parameters
    ----------
    find : callable
        Where a source is stored.
    table : callable
        From an array of integers to the array of the code that holds them.
    base : dtype
        The floating dtype of the module.
    names : iterator of int
        Numbers for names.
    """

    def __init__(
        self,
        find: Callable[[Value], Where],
        table: Callable[[Array], ir.Array],
        base: np.dtype[Any],
        names: Iterator[int],
    ) -> None:
        self.find, self.table, self.base, self.names = find, table, base, names

    def statements(self, value: Value, out: Where) -> list[ir.Statement]:
        """Return the loops that store a value."""
        facts, moves = facts_of(value.primitive), facts_of(value.primitive).moves
        if isinstance(moves, Gather):
            return self._gather(value, out, moves)
        if isinstance(moves, Scatter):
            zeros = self._filled(value, out, self._number(0, value))
            return [*zeros, *self._scatter(value, out, moves)]
        if isinstance(moves, Assign):
            return [*self._copy(value, out), *self._assign(value, out)]
        if isinstance(moves, AtIndices):
            if moves.adds:
                return [*self._copy(value, out), *self._add(value, out, moves)]
            return self._take(value, out, moves)
        if isinstance(moves, OneHot):
            return self._one_hot(value, out)
        return self._scan(value, out) if facts.scan is not None else self._extreme(value, out)

    def added(self, value: Value, out: Where) -> list[ir.Statement]:
        """Return the loops that add what a value scatters to what stands there."""
        moves = facts_of(value.primitive).moves
        if isinstance(moves, Scatter):
            return self._scatter(value, out, moves)
        assert isinstance(moves, AtIndices)
        return self._add(value, out, moves)

    # --- parts ------------------------------------------------------------------------------------

    def _name(self, letter: str) -> str:
        return f"{letter}{next(self.names)}"

    def _number(self, number: Any, value: Value) -> ir.Number:
        return ir.Number(number, ir.kind_of(value.dtype, self.base))

    def _rows(
        self, value: Value, make: Callable[[Linear], list[ir.Statement]]
    ) -> list[ir.Statement]:
        """Return statements for each row of the batch; `make` is given the place of the row."""
        if value.batch is None:
            return make(Linear())
        lane = self._name("q")
        return [ir.Loop(lane, Linear.of(B), tuple(make(Linear.of(lane))), ir.LoopKind.LANES)]

    def _block(self, value: Value, number: str) -> Linear:
        """Return where the rows of a feature begin."""
        return Linear.of(number) * B if value.batch is not None else Linear.of(number)

    def _moved(
        self, value: Value, source: Where, here: str, out: Where, there: str
    ) -> list[ir.Statement]:
        """Return the copy of one feature, in all rows."""

        def make(row: Linear) -> list[ir.Statement]:
            name = self._name("v")
            read = source.layout.offset + self._block(value, here) + row
            write = out.layout.offset + self._block(value, there) + row
            return [
                ir.Load(name, ir.Access(source.array, read), origin=value.origin()),
                ir.Store(ir.Access(out.array, write), ir.Var(name), origin=value.origin()),
            ]

        return self._rows(value, make)

    def _filled(
        self, value: Value, out: Where, number: ir.Scalar, feature: str = ""
    ) -> list[ir.Statement]:
        """Return the statements that set all elements, or those of one feature."""
        begin = out.layout.offset
        if feature:
            begin = begin + self._block(value, feature)
            return self._rows(
                value,
                lambda row: [
                    ir.Store(ir.Access(out.array, begin + row), number, origin=value.origin())
                ],
            )
        lane = self._name("q")
        store = ir.Store(ir.Access(out.array, begin + lane), number, origin=value.origin())
        size = Linear.of(B) * value.size if value.batch is not None else Linear.of(value.size)
        return [ir.Loop(lane, size, (store,), ir.LoopKind.LANES)]

    def _copy(self, value: Value, out: Where) -> list[ir.Statement]:
        x = value.inputs[0]
        if x.batch != value.batch:
            raise unsupported(
                value, "a value of the batch is put into one without rows; broadcast that first"
            )
        lane, name = self._name("q"), self._name("v")
        size = Linear.of(B) * value.size if value.batch is not None else Linear.of(value.size)
        write = ir.Access(out.array, out.layout.offset + lane)
        if x.zero:
            body: list[ir.Statement] = [
                ir.Store(write, self._number(0, value), origin=value.origin())
            ]
        else:
            source = self.find(x)
            read = ir.Load(name, ir.Access(source.array, source.layout.offset + lane))
            body = [read, ir.Store(write, ir.Var(name), origin=value.origin())]
        return [ir.Loop(lane, size, tuple(body), ir.LoopKind.LANES)]

    # --- places that are known beforehand ---------------------------------------------------------

    def _gather(self, value: Value, out: Where, moves: Gather) -> list[ir.Statement]:
        source = value.inputs[0]
        if (source.batch is None) != (value.batch is None):
            raise unsupported(value, "it takes single rows of the batch")
        primitive: Any = value.primitive

        def numbers(batch: int) -> Array:
            return moves.numbers(primitive, numbered(source, batch), at_size(value.params, batch))

        places = _places(value, numbers, value)
        i, j = self._name("i"), self._name("j")
        loaded = ir.Load(j, ir.Access(self.table(places - 1), Linear.of(i)))
        body = self._moved(value, self.find(source), j, out, i)
        if not places.all():
            constant = self._number(moves.constant(value.params), value)
            missing = ir.Apply("<", (ir.Var(j), ir.Number(0, ir.Kind.INTEGER)))
            body = [ir.Branch(missing, tuple(self._filled(value, out, constant, i)), tuple(body))]
        return [ir.Loop(i, Linear.of(value.size), (loaded, *body))]

    def _scatter(self, value: Value, out: Where, moves: Scatter) -> list[ir.Statement]:
        source = value.inputs[0]
        if (source.batch is None) != (value.batch is None):
            raise unsupported(value, "it fills single rows of the batch")

        def numbers(batch: int) -> Array:
            shape = [batch if n == B else n for n in source.shape]
            return moves.numbers(numbered(value, batch), at_size(value.params, batch), shape)

        places = _places(value, numbers, source)
        i, j = self._name("i"), self._name("j")
        given = self.find(source)

        def make(row: Linear) -> list[ir.Statement]:
            name = self._name("v")
            read = ir.Access(given.array, given.layout.offset + self._block(value, i) + row)
            write = ir.Access(out.array, out.layout.offset + self._block(value, j) + row)
            return [ir.Load(name, read), self._added(value, write, ir.Var(name))]

        loaded = ir.Load(j, ir.Access(self.table(places - 1), Linear.of(i)))
        return [ir.Loop(i, Linear.of(source.size), (loaded, *self._rows(value, make)))]

    def _added(self, value: Value, access: ir.Access, number: ir.Scalar) -> ir.Statement:
        combine = {"f": "+", "b": "or"}.get(value.dtype.kind, "int_add")
        return ir.Accumulate(access, combine, number, value.dtype, origin=value.origin())

    def _assign(self, value: Value, out: Where) -> list[ir.Statement]:
        """Return the loops that put some elements from elsewhere on the copy that is there."""
        given, primitive = value.inputs[1], value.primitive
        assert primitive is not None

        def numbers(batch: int) -> Array:
            shape = [batch if n == B else n for n in value.shape]
            filled = numbered(given, batch) if isinstance(given, Value) else 1
            params = at_size(value.params, batch)
            found: Array = np.asarray(primitive.forward(np.zeros(shape, int), filled, **params))
            return found

        by_rows = isinstance(given, Value) and given.batch is not None
        if by_rows:
            places = _places(value, numbers, value)
        else:
            places = _flat(value, numbers(1))
            repeated = np.repeat(places, 2 if value.batch is not None else 1)
            if not np.array_equal(repeated, _flat(value, numbers(2))):
                raise unsupported(value, "it fills single rows of the batch")
        i, j = self._name("i"), self._name("j")
        loaded = ir.Load(j, ir.Access(self.table(places - 1), Linear.of(i)))
        there = ir.Apply(">=", (ir.Var(j), ir.Number(0, ir.Kind.INTEGER)))
        if by_rows:
            body = self._moved(value, self.find(given), j, out, i)
        elif isinstance(given, Value) and not given.zero:
            source, name = self.find(given), self._name("v")
            place = source.layout.offset + j
            number = converted(ir.Var(name), given.dtype, value.dtype, self.base)
            read = ir.Load(name, ir.Access(source.array, place))
            body = [read, *self._filled(value, out, number, i)]
        else:
            constant = 0 if isinstance(given, Value) else given
            body = self._filled(value, out, self._number(constant, value), i)
        return [ir.Loop(i, Linear.of(value.size), (loaded, ir.Branch(there, tuple(body))))]

    # --- places that are values of the step -------------------------------------------------------

    def _loops(
        self,
        shape: Sequence[Any],
        body: Sequence[ir.Statement],
        indices: Sequence[str],
        skip: Sequence[int] = (),
    ) -> list[ir.Statement]:
        """Return loops over axes around statements, the batch innermost."""
        order = sorted((k for k in range(len(shape)) if k not in skip), key=lambda k: shape[k] == B)
        found = list(body)
        for k in reversed(order):
            found = [ir.Loop(indices[k], Linear.of(shape[k]), tuple(found))]
        return found

    def _indices(self, shape: Sequence[Any]) -> list[str]:
        return [self._name("i") for _ in shape]

    def _checked(self, access: ir.Access, n: int, name: str, *, wraps: bool) -> list[ir.Statement]:
        """Return the statements that read an index: inside the axis, and from its end if negative."""
        k, zero, size = ir.Var(name), ir.Number(0, ir.Kind.INTEGER), ir.Number(n, ir.Kind.INTEGER)
        below = ir.Apply("<", (k, zero))
        outside = ir.Apply("or", (below, ir.Apply(">=", (k, size))))
        found: list[ir.Statement] = [ir.Load(name, access)]
        if wraps:
            found.append(ir.Branch(below, (ir.Set(name, ir.Apply("+", (k, size))),)))
        return [*found, ir.Branch(outside, (ir.Fail("out of range"),))]

    def _axis(self, value: Value, source: Value) -> int:
        axis = int(value.params["axis"]) % len(source.shape)
        if source.shape[axis] == B:
            raise unsupported(
                value, "its axis is the batch: rows of other places in the batch would be read"
            )
        return axis

    def _source(
        self, value: Value, access: ir.Access, of: Value
    ) -> tuple[list[ir.Statement], ir.Scalar]:
        name = self._name("v")
        number = converted(ir.Var(name), of.dtype, value.dtype, self.base)
        return [ir.Load(name, access, origin=of.origin())], number

    def _take(self, value: Value, out: Where, moves: AtIndices) -> list[ir.Statement]:
        x, indices = value.inputs
        axis, wide = self._axis(value, x), 1 if moves.aligned else len(indices.shape)
        names, k = self._indices(value.shape), self._name("at")
        which = names if moves.aligned else names[axis : axis + wide]
        body = self._checked(
            self.find(indices).at(which, indices.shape), x.shape[axis], k, wraps=True
        )
        place = [*names[:axis], k, *names[axis + wide :]]
        loads, number = self._source(value, self.find(x).at(place, x.shape), x)
        store = ir.Store(out.at(names, value.shape), number, origin=value.origin())
        return self._loops(value.shape, [*body, *loads, store], names)

    def _add(self, value: Value, out: Where, moves: AtIndices) -> list[ir.Statement]:
        """Return the loops that add values at indices onto the copy that is there."""
        x, indices, given = value.inputs
        axis, wide = self._axis(value, x), 1 if moves.aligned else len(indices.shape)
        names, k = self._indices(given.shape), self._name("at")
        which = names if moves.aligned else names[axis : axis + wide]
        body = self._checked(
            self.find(indices).at(which, indices.shape), x.shape[axis], k, wraps=True
        )
        place = [*names[:axis], k, *names[axis + wide :]]
        if given.zero:
            return []
        loads, number = self._source(value, self.find(given).at(names, given.shape), given)
        add = self._added(value, out.at(place, value.shape), number)
        return self._loops(given.shape, [*body, *loads, add], names)

    def _one_hot(self, value: Value, out: Where) -> list[ir.Statement]:
        indices, n = value.inputs[0], value.shape[-1]
        names, k = self._indices(indices.shape), self._name("at")
        body = self._checked(self.find(indices).at(names, indices.shape), n, k, wraps=False)
        one = self._number(1, value)
        store = ir.Store(out.at([*names, k], value.shape), one, origin=value.origin())
        zeros = self._filled(value, out, self._number(0, value))
        return [*zeros, *self._loops(indices.shape, [*body, store], names)]

    def _extreme(self, value: Value, out: Where) -> list[ir.Statement]:
        """Return the loops that find the first element ahead of all others; a nan is ahead."""
        source, ahead = value.inputs[0], facts_of(value.primitive).extreme
        assert ahead is not None
        axes = axes_of(value.params["axis"], len(source.shape))
        if any(source.shape[a] == B for a in axes):
            raise unsupported(value, "it looks for an element over the rows of the batch")
        names, where = self._indices(source.shape), self.find(source)
        k, best, top, v = (self._name(letter) for letter in ("at", "best", "top", "v"))
        if len(axes) > 1 and len(axes) < len(source.shape):
            raise unsupported(
                value, "it looks for an element over several axes of the rows; give it one axis"
            )

        def at(index: str | int) -> ir.Access:
            if len(axes) != 1:  # all of the value
                return ir.Access(where.array, where.layout.offset + index)
            here: list[Any] = list(names)
            here[axes[0]] = Linear.of(index)
            return where.at(here, source.shape)

        count = int(np.prod([source.shape[a] for a in axes]))
        first, other = ir.Var(top), ir.Var(v)
        is_nan = ir.Apply("and", (ir.Apply("!=", (other, other)), ir.Apply("==", (first, first))))
        better = ir.Apply("or", (ir.Apply(ahead, (other, first)), is_nan))
        found = (ir.Set(best, ir.Index(Linear.of(k))), ir.Set(top, other))
        body: list[ir.Statement] = [
            ir.Let(best, ir.Number(0, ir.Kind.INTEGER)),
            ir.Load(top, at(0)),
            ir.Loop(
                k,
                Linear.of(count),
                (ir.Load(v, at(k)), ir.Branch(better, found)),
                start=Linear.of(1),
            ),
        ]
        kept = [n for a, n in enumerate(names) if a not in axes or value.params["keepdims"]]
        body.append(ir.Store(out.at(kept, value.shape), ir.Var(best), origin=value.origin()))
        return self._loops(source.shape, body, names, axes)

    def _scan(self, value: Value, out: Where) -> list[ir.Statement]:
        source, scan = value.inputs[0], facts_of(value.primitive).scan
        assert scan is not None
        axis = self._axis(value, source)
        names = self._indices(value.shape)
        before: list[Any] = list(names)
        before[axis] = Linear.of(names[axis]) + -1
        loads, number = self._source(value, self.find(source).at(names, source.shape), source)
        here, old = out.at(names, value.shape), self._name("v")
        combine = collecting(scan.start, scan.step, value.dtype, self.base).combine
        next_ = ir.Apply(combine, (ir.Var(old), number))
        wrapped = converted(next_, np.dtype(np.int64), value.dtype, self.base)
        following: list[ir.Statement] = [
            ir.Load(old, out.at(before, value.shape)),
            ir.Store(here, wrapped if value.dtype.kind in "iu" else next_, origin=value.origin()),
        ]
        if value.shape[axis] == 1:
            return self._loops(value.shape, [*loads, ir.Store(here, number)], names)
        begins = ir.Apply("==", (ir.Index(Linear.of(names[axis])), ir.Number(0, ir.Kind.INTEGER)))
        first = ir.Store(here, number, origin=value.origin())
        body = [*loads, ir.Branch(begins, (first,), tuple(following))]
        return self._loops(value.shape, body, names)


# --- numbers of elements --------------------------------------------------------------------------


def numbered(value: Value, batch: int) -> Array:
    """Return the numbers of a value's elements, from 1, where the rows of one stand side by side."""
    rows = [batch] if value.batch is not None else []
    count = value.size * (batch if rows else 1)
    whole = np.arange(1, count + 1).reshape((*value.features, *rows))
    return whole if value.batch is None else np.moveaxis(whole, -1, value.batch)


def _flat(value: Value, values: Array) -> Array:
    flat: Array = values if value.batch is None else np.moveaxis(values, value.batch, -1)
    return flat.reshape(-1)


def _places(value: Value, run: Callable[[int], Array], like: Value) -> Array:
    """Return for each feature of `like` the number that `run` finds, the same for every row; or 0."""
    one, two = (run(batch) for batch in (1, 2))
    expected = [like.size * (b if like.batch is not None else 1) for b in (1, 2)]
    if one.size != expected[0] or two.size != expected[1]:
        raise unsupported(value, MOVED)
    places = _flat(like, one)
    if like.batch is not None:
        rows = 2 * (places[:, None] - 1) + 1 + np.arange(2)
        wanted = np.where(places[:, None] > 0, rows, 0)
        if not np.array_equal(_flat(like, two).reshape(-1, 2), wanted):
            raise unsupported(value, MOVED)
    return places


def stored(array: ir.Array, value: Value, offset: Linear) -> Where:
    """Return where a value is whose array begins at a place with the base of the value."""
    layout = layout_of(value)
    return Where(array, Layout(layout.offset + offset, layout.strides))
