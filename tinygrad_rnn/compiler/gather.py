"""Gathers, scatters, scans: what is read and written at places that no affine form gives.

Their sources are stored, and each is a nest of plain loops over the features, with the rows of the
batch innermost. Where a place is known beforehand (an index of numbers, windows, a roll over several
axes) it stands in a table, which is found by asking NumPy: the operation is run on the numbers of
the elements. Where a place is a value of the step (a token, the result of argmax) the loop reads it,
and checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..loops import ir
from ..loops.expression import collecting, converted
from ..loops.linear import Linear
from ..ops.define import axes_of
from ..ops.facts import Assign, AtIndices, Gather, OneHot, Scatter, facts_of
from .arrays import Arrays, written
from .layout import Where
from .sizes import at_size, sized
from .value import B, Value, unsupported

ZERO = ir.Number(0, ir.Kind.INTEGER)
MOVED = "it takes some rows of the batch, or moves them; give it whole rows"


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
    arrays : Arrays
        Of the code.
    """

    def __init__(self, find: Callable[[Value], Where], arrays: Arrays) -> None:
        self.find, self.arrays = find, arrays

    def statements(self, value: Value, out: Where) -> list[ir.Statement]:
        """Return the loops that store a value."""
        facts, moves = facts_of(value.primitive), facts_of(value.primitive).moves
        if isinstance(moves, Gather):
            return self._gather(value, out, moves)
        if isinstance(moves, Scatter):
            return [self._zeros(value, out), *self._scatter(value, out, moves)]
        if isinstance(moves, Assign):
            return [self._copy(value, out), *self._assign(value, out)]
        if isinstance(moves, AtIndices):
            if moves.adds or moves.puts:
                return [self._copy(value, out), *self._add(value, out, moves)]
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
        return f"{letter}{next(self.arrays.names)}"

    def _number(self, number: Any, value: Value) -> ir.Number:
        return ir.Number(number, ir.kind_of(value.dtype, self.arrays.dtype))

    def _converted(self, number: ir.Scalar, source: Value, value: Value) -> ir.Scalar:
        return converted(number, source.dtype, value.dtype, self.arrays.dtype)

    def _rows(
        self, value: Value, make: Callable[[Linear], Sequence[ir.Statement]]
    ) -> list[ir.Statement]:
        """Return statements for each row of the batch; `make` is given the place of the row."""
        if value.batch is None:
            return list(make(Linear()))
        lane = self._name("q")
        return [ir.Loop(lane, Linear.of(B), tuple(make(Linear.of(lane))), ir.LoopKind.LANES)]

    def _feature(self, value: Value, where: Where, number: str, row: Linear) -> ir.Access:
        """Return a row of a feature, of an array whose rows are those of a value."""
        begin = Linear.of(number) * B if value.batch is not None else Linear.of(number)
        return ir.Access(where.array, where.layout.offset + begin + row)

    def _moved(
        self, value: Value, source: Where, here: str, out: Where, there: str, *, adds: bool = False
    ) -> list[ir.Statement]:
        """Return the copy of one feature in all rows, or its sum with what stands there."""

        def make(row: Linear) -> list[ir.Statement]:
            name = self._name("v")
            read = self._feature(value, source, here, row)
            write = self._feature(value, out, there, row)
            origin = None if adds else value.origin()  # the sum is the value, not what is added
            store = written(value, write, ir.Var(name), adds=adds)
            return [ir.Load(name, read, origin=origin), store]

        return self._rows(value, make)

    def _set(self, value: Value, out: Where, feature: str, number: ir.Scalar) -> list[ir.Statement]:
        """Return the statements that set one feature in all rows."""
        return self._rows(
            value, lambda row: [written(value, self._feature(value, out, feature, row), number)]
        )

    def _zeros(self, value: Value, out: Where) -> ir.Statement:
        return self.arrays.filled(out.array, out.layout.offset, 0, value.origin())

    def _copy(self, value: Value, out: Where) -> ir.Statement:
        x = value.inputs[0]
        if x.batch != value.batch:
            raise unsupported(
                value, "a value of the batch is put into one without rows; broadcast that first"
            )
        if x.zero:
            return self._zeros(value, out)
        source = self.find(x)
        return self.arrays.copied(
            value,
            ir.Address(source.array, source.layout.offset),
            ir.Address(out.array, out.layout.offset),
        )

    # --- places that are known beforehand ---------------------------------------------------------

    def _gather(self, value: Value, out: Where, moves: Gather) -> list[ir.Statement]:
        source = value.inputs[0]
        if (source.batch is None) != (value.batch is None):
            raise unsupported(value, "it takes single rows of the batch")
        primitive: Any = value.primitive

        def numbers(batch: int) -> Array:
            return moves.numbers(primitive, numbered(source, batch), at_size(value.params, batch))

        places = _places(value, numbers, value)
        i, j, loaded = self._numbers(places)
        body = self._moved(value, self.find(source), j, out, i)
        if not places.all():
            constant = self._number(moves.constant(value.params), value)
            missing = ir.Apply("<", (ir.Var(j), ZERO))
            body = [ir.Branch(missing, tuple(self._set(value, out, i, constant)), tuple(body))]
        return [ir.Loop(i, Linear.of(value.size), (loaded, *body))]

    def _numbers(self, places: Array) -> tuple[str, str, ir.Statement]:
        """Return the names of a feature and of the number in a table for it, which is read."""
        i, j = self._name("i"), self._name("j")
        return i, j, ir.Load(j, ir.Access(self.arrays.table(places - 1), Linear.of(i)))

    def _scatter(self, value: Value, out: Where, moves: Scatter) -> list[ir.Statement]:
        source = value.inputs[0]
        if (source.batch is None) != (value.batch is None):
            raise unsupported(value, "it fills single rows of the batch")

        def numbers(batch: int) -> Array:
            params, shape = at_size(value.params, batch), sized(source.shape, batch)
            return moves.numbers(numbered(value, batch), params, shape)

        places = _places(value, numbers, source)
        i, j, loaded = self._numbers(places)
        body = self._moved(value, self.find(source), i, out, j, adds=True)
        return [ir.Loop(i, Linear.of(source.size), (loaded, *body))]

    def _assign(self, value: Value, out: Where) -> list[ir.Statement]:
        """Return the loops that put some elements from elsewhere on the copy that is there."""
        given, primitive = value.inputs[1], value.primitive
        assert primitive is not None

        def numbers(batch: int) -> Array:
            zeros = np.zeros(sized(value.shape, batch), int)
            filled = numbered(given, batch) if isinstance(given, Value) else 1
            found: Array = primitive.forward(zeros, filled, **at_size(value.params, batch))
            return np.asarray(found)

        by_rows = isinstance(given, Value) and given.batch is not None
        if by_rows:
            places = _places(value, numbers, value)
        else:
            places = _flat(value, numbers(1))
            repeated = np.repeat(places, 2 if value.batch is not None else 1)
            if not np.array_equal(repeated, _flat(value, numbers(2))):
                raise unsupported(value, "it fills single rows of the batch")
        i, j, loaded = self._numbers(places)
        there = ir.Apply(">=", (ir.Var(j), ZERO))
        if by_rows:
            body = self._moved(value, self.find(given), j, out, i)
        elif isinstance(given, Value) and not given.zero:
            source, name = self.find(given), self._name("v")
            read = ir.Load(name, ir.Access(source.array, source.layout.offset + j))
            number = self._converted(ir.Var(name), given, value)
            body = [read, *self._set(value, out, i, number)]
        else:
            constant = 0 if isinstance(given, Value) else given
            body = self._set(value, out, i, self._number(constant, value))
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
        k, size = ir.Var(name), ir.Number(n, ir.Kind.INTEGER)
        below = ir.Apply("<", (k, ZERO))
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
        number = self._converted(ir.Var(name), of, value)
        return [ir.Load(name, access, origin=of.origin())], number

    def _looked_up(
        self, value: Value, moves: AtIndices, names: list[str]
    ) -> tuple[list[ir.Statement], list[str]]:
        """Return the statements that read an index, and the place in the first input with it."""
        x, indices = value.inputs[:2]
        axis, wide = self._axis(value, x), 1 if moves.aligned else len(indices.shape)
        k, which = self._name("at"), names if moves.aligned else names[axis : axis + wide]
        read = self.find(indices).at(which, indices.shape)
        body = self._checked(read, x.shape[axis], k, wraps=True)
        return body, [*names[:axis], k, *names[axis + wide :]]

    def _take(self, value: Value, out: Where, moves: AtIndices) -> list[ir.Statement]:
        x, names = value.inputs[0], self._indices(value.shape)
        body, place = self._looked_up(value, moves, names)
        loads, number = self._source(value, self.find(x).at(place, x.shape), x)
        store = written(value, out.at(names, value.shape), number)
        return self._loops(value.shape, [*body, *loads, store], names)

    def _add(self, value: Value, out: Where, moves: AtIndices) -> list[ir.Statement]:
        """Return the loops that add values at indices to the copy that is there, or write them."""
        given = value.inputs[2]
        names = self._indices(given.shape)
        body, place = self._looked_up(value, moves, names)
        if given.zero and moves.adds:
            return []
        loads: list[ir.Statement] = []
        number: ir.Scalar = self._number(0, value)
        if not given.zero:
            loads, number = self._source(value, self.find(given).at(names, given.shape), given)
        add = written(value, out.at(place, value.shape), number, adds=moves.adds)
        return self._loops(given.shape, [*body, *loads, add], names)

    def _one_hot(self, value: Value, out: Where) -> list[ir.Statement]:
        indices, n = value.inputs[0], value.shape[-1]
        names, k = self._indices(indices.shape), self._name("at")
        body = self._checked(self.find(indices).at(names, indices.shape), n, k, wraps=False)
        store = written(value, out.at([*names, k], value.shape), self._number(1, value))
        return [self._zeros(value, out), *self._loops(indices.shape, [*body, store], names)]

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
            ir.Let(best, ZERO),
            ir.Load(top, at(0)),
            ir.Loop(
                k,
                Linear.of(count),
                (ir.Load(v, at(k)), ir.Branch(better, found)),
                start=Linear.of(1),
            ),
        ]
        kept = [n for a, n in enumerate(names) if a not in axes or value.params["keepdims"]]
        body.append(written(value, out.at(kept, value.shape), ir.Var(best)))
        return self._loops(source.shape, body, names, axes)

    def _scan(self, value: Value, out: Where) -> list[ir.Statement]:
        source, scan = value.inputs[0], facts_of(value.primitive).scan
        assert scan is not None
        axis = self._axis(value, source)
        names = self._indices(value.shape)
        before: list[Any] = list(names)
        before[axis] = Linear.of(names[axis]) + -1
        loads, number = self._source(value, self.find(source).at(names, source.shape), source)
        if scan.plain_zero and value.dtype.kind == "f":
            number = ir.Apply("+", (number, self._number(0.0, value)))
        here, old = out.at(names, value.shape), self._name("v")
        first = written(value, here, number)
        if value.shape[axis] == 1:
            return self._loops(value.shape, [*loads, first], names)
        combine = collecting(scan.start, scan.step, value.dtype, self.arrays.dtype).combine
        next_: ir.Scalar = ir.Apply(combine, (ir.Var(old), number))
        if value.dtype.kind in "iu":
            next_ = converted(next_, np.dtype(np.int64), value.dtype, self.arrays.dtype)
        following = (ir.Load(old, out.at(before, value.shape)), written(value, here, next_))
        begins = ir.Apply("==", (ir.Index(Linear.of(names[axis])), ZERO))
        body = [*loads, ir.Branch(begins, (first,), following)]
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
