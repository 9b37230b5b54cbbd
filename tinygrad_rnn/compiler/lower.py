"""From the program of one step to statements: where each value is stored, and what computes it.

A value is stored if something reads it outside of the loops that compute it: a product, another
group of loops, the next step, the backward walk. Everything else stays in registers.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..loops import ir
from ..loops.expression import Collecting, collecting
from ..loops.linear import Linear, linears
from ..ops.facts import AtIndices, Scatter, facts_of
from .arrays import Arrays
from .fusion import FusionGroup, Rules, fuse
from .gather import Gathers, Where, is_gather
from .internal import AFFINE, ASSEMBLED, COPY, ZEROS
from .layout import Layout, base, contiguous, layout_of
from .nest import Nest
from .nestplan import Target
from .prepare import copy_of, prepared
from .products import factors
from .value import B, Given, Refused, Value, alive, unsupported

WAY_OUT = "there is no code for it. Compute it outside the step and hand the result over in x"


class When(enum.Enum):
    """Which value of an array a step means, if the array has one for each of several steps."""

    THIS = "of this step, in the order in which they run"
    NEXT = "of the next step"
    TIME = "of the time of this step"
    TURN = "of the two, that of this step"
    OTHER = "of the two, the other one"
    ONCE = "the only one"

    @property
    def index(self) -> Linear:
        """The number of the value in its array."""
        if self is When.ONCE:
            return Linear()
        names = {When.TIME: "t", When.TURN: "turn", When.OTHER: "other"}
        found = Linear.of(names.get(self, "s"))
        return found + 1 if self is When.NEXT else found


class Stored(NamedTuple):
    """Where a value is stored; `adds`: it is added to what stands there."""

    array: ir.Array
    when: When
    adds: bool = False

    @property
    def place(self) -> Linear:
        """Where the value of a step begins."""
        return self.when.index * self.array.block

    @property
    def moves(self) -> bool:
        """Whether each step has a value of its own."""
        return self.when is not When.ONCE

    @property
    def of_all_steps(self) -> bool:
        """Whether the array has the values of all steps, or one that is the same at all."""
        if self.array.role is ir.Role.FIXED:
            return True
        return self.when in (When.THIS, When.NEXT, When.TIME)


class Lowered(NamedTuple):
    """The statements of a step.

    Attributes
    ----------
    statements : list of Statement
    packs : list of Statement
        What is done once before the loop over time.
    arrays : list of Array
        All that they touch.
    """

    statements: list[ir.Statement]
    packs: list[ir.Statement]
    arrays: list[ir.Array]


def _has_loop(value: Value) -> bool:
    """Whether a value is computed element by element."""
    if value.leaf or 0 in value.shape:
        return False
    return value.scalar or facts_of(value.primitive).casts


def _is_reduction(value: Value) -> bool:
    if value.leaf or facts_of(value.primitive).reduction is None:
        return False
    return 0 not in value.shape and 0 not in value.inputs[0].shape


def lower(
    program: Sequence[Value],
    given: Mapping[Value, Stored],
    wanted: Mapping[Value, Sequence[Stored]],
    own: Iterable[Value],
    arrays: Arrays,
) -> Lowered:
    """Return the statements that compute and store what is wanted of a program.

    Parameters
    ----------
    program : sequence of Value
        In order.
    given : mapping of Value to Stored
        What is there.
    wanted : mapping of Value to sequence of Stored
        Where values have to be stored.
    own : iterable of Value
        Values of the backward program itself.
    arrays : Arrays

    Raises
    ------
    CompileError
        If there is no code for an operation.
    """
    found = _Lowering(program, given, wanted, set(own), arrays)
    statements = found.statements()
    every = ir.arrays([*found.packs.values(), *statements])
    return Lowered(statements, list(found.packs.values()), every)


class _Lowering:
    """One program on its way to statements."""

    def __init__(
        self,
        program: Sequence[Value],
        given: Mapping[Value, Stored],
        wanted: Mapping[Value, Sequence[Stored]],
        own: set[Value],
        arrays: Arrays,
    ) -> None:
        self.arrays, self.stored = arrays, dict(given)
        self.wanted: dict[Value, list[Stored]] = {}
        self.packs: dict[Any, ir.Call] = {}
        self.packed: dict[Any, ir.Array] = {}
        self.count = 0
        whole = list(program)
        for v, places in wanted.items():
            if v.leaf or facts_of(v.primitive).view is not None:  # others look at the same array
                v = copy_of(v)
                whole.append(v)
            self.wanted[v] = list(places)
        program = alive(prepared(whole, self.wanted.keys(), own), self.wanted)
        self.gathers = Gathers(self._where, arrays.table, arrays.dtype, arrays.names)
        rules = Rules(
            _has_loop, _is_reduction, lambda _: None, any_last=True, contracts=True, repeats=False
        )
        self.units = fuse(program, rules)
        self.read = self._read()
        for v in program:
            if v.primitive is ASSEMBLED:
                self._give_array(v)

    def _read(self) -> set[Value]:
        """Return the values that are read outside of the loops that compute them."""
        found: set[Value] = set()
        for unit in self.units:
            if isinstance(unit, Value):
                if unit.primitive is not ASSEMBLED:
                    found.update(base(i) for i in unit.sources)
                continue
            for member in unit.members:
                outside = (i for i in member.sources if unit.where(i) is None and not i.zero)
                found.update(base(i) for i in outside)
        return found

    def statements(self) -> list[ir.Statement]:
        """Return the statements of the step, in an order in which they can run."""
        found: list[ir.Statement] = []
        for unit in self.units:
            if isinstance(unit, FusionGroup):
                found += self._group(unit)
            elif 0 not in unit.shape:
                found += self._whole(unit)
        return found

    # --- where things are -------------------------------------------------------------------------

    def _temporary(self, value: Value) -> Stored:
        self.count += 1
        array = self.arrays.new(f"m{self.count - 1}", ir.Role.SCRATCH, value)
        return Stored(array, When.ONCE)

    def _give_array(self, value: Value) -> Stored | None:
        """Find where a value is stored, for whoever reads it; None if it is only added to others."""
        plain = [s for s in self.wanted.get(value, ()) if not s.adds]
        if not plain and value not in self.read:
            return None
        self.stored[value] = plain[0] if plain else self._temporary(value)
        return self.stored[value]

    def _find(self, value: Value, by_rows: bool) -> tuple[ir.Array, Layout]:
        """Return the array of a value, and where in it its elements are."""
        source, layout = base(value), layout_of(value)
        if source in self.stored:
            stored = self.stored[source]
            return stored.array, Layout(layout.offset + stored.place, layout.strides)
        if source.hoisted or source.given is Given.CONSTANT:
            repeated = by_rows and source.size > 1
            array = self.arrays.hoisted(source, repeated)
            if repeated:
                layout = Layout(layout.offset * B, tuple(n * B for n in layout.strides))
            return array, layout
        raise unsupported(source, "it is read before it is stored")

    def _where(self, value: Value) -> Where:
        return Where(*self._find(value, False))

    # --- groups -----------------------------------------------------------------------------------

    def _group(self, group: FusionGroup) -> list[ir.Statement]:
        targets: dict[Value, list[Target]] = {}
        before: list[ir.Statement] = []
        after: list[ir.Statement] = []
        for m in group.members:
            if m in group.last:
                stored = self._give_array(m) or self._temporary(m)
                self.stored[m] = stored
                targets[m] = [self._target(m, stored)]
                before += self._begun(m, stored)
                after += self._copies(m, stored)
            elif m.primitive is COPY and "into" in m.params:
                targets[m] = self._into(m)
            else:
                own = self._give_array(m)
                places = list(self.wanted.get(m, ()))
                if own is not None and own not in places:
                    places.append(own)
                if places:
                    targets[m] = [self._target(m, s) for s in places]
        try:
            nest = Nest(group, self._find, targets, self.arrays.dtype, self.arrays.names)
        except Refused as refused:
            error = refused.__cause__
            why = f"the code for it is refused ({type(error).__name__}: {error})"
            raise unsupported(refused.value, why) from error
        return [*before, *nest.statements, *after]

    def _target(self, value: Value, stored: Stored) -> Target:
        layout = contiguous(value.shape)
        return Target(stored.array, Layout(stored.place, layout.strides), stored.adds)

    def _into(self, copy: Value) -> list[Target]:
        """Return where a part of a value that is put together goes."""
        whole, box = copy.params["into"], copy.params["box"]
        places = list(self.wanted.get(whole, ()))
        if whole in self.stored and self.stored[whole] not in places:
            places.append(self.stored[whole])
        layout = contiguous(whole.shape)
        begin = Linear()
        for bound, stride in zip(box, layout.strides, strict=True):
            begin = begin + stride * (0 if bound is None else bound[0])
        return [
            Target(s.array, Layout(s.place + begin, layout.strides), s.adds or copy.params["adds"])
            for s in places
        ]

    def _begun(self, value: Value, stored: Stored) -> list[ir.Statement]:
        """Return the statements with which a collection begins."""
        start = self._collecting(value).start.value
        return self.arrays.filled(stored.array, stored.place, start)

    def _collecting(self, value: Value) -> Collecting:
        reduction = facts_of(value.primitive).reduction
        start, step = (0.0, "a + x") if reduction is None else (reduction.start, reduction.step)
        return collecting(start, step, value.dtype, self.arrays.dtype)

    def _copies(self, value: Value, stored: Stored) -> list[ir.Statement]:
        """Return the copies of a stored value to all other places where it is wanted."""
        found: list[ir.Statement] = []
        for other in self.wanted.get(value, ()):
            if other is stored or other == stored:
                continue
            lane, name = f"q{next(self.arrays.names)}", f"v{next(self.arrays.names)}"
            read = ir.Load(
                name, ir.Access(stored.array, stored.place + lane), origin=value.origin()
            )
            access = ir.Access(other.array, other.place + lane)
            write: ir.Statement = ir.Store(access, ir.Var(name), origin=value.origin())
            if other.adds:
                combine = "+" if value.dtype.kind == "f" else "int_add"
                write = ir.Accumulate(
                    access, combine, ir.Var(name), value.dtype, origin=value.origin()
                )
            found.append(ir.Loop(lane, stored.array.block, (read, write), ir.LoopKind.LANES))
        return found

    # --- operations on whole arrays ---------------------------------------------------------------

    def _whole(self, value: Value) -> list[ir.Statement]:
        if value.primitive is ASSEMBLED:
            return []
        if value.primitive is ZEROS:
            whole = value.params["into"]
            plain = [s for s in self.wanted.get(whole, ()) if not s.adds]
            plain = plain or [self.stored[whole]] if whole in self.stored else plain
            return [s for p in plain for s in self.arrays.filled(p.array, p.place)]
        if self._is_only_added(value):
            return [
                statement
                for s in self.wanted[value]
                for statement in self.gathers.added(value, Where(s.array, self._layout(value, s)))
            ]
        stored = self._give_array(value) or self._temporary(value)
        self.stored[value] = stored
        if value.primitive is AFFINE:
            found = self._products(value, stored)
        elif is_gather(value):
            found = self.gathers.statements(value, Where(stored.array, self._layout(value, stored)))
        elif facts_of(value.primitive).reduction is not None:  # of nothing
            found = self._begun(value, stored)
        else:
            raise unsupported(value, WAY_OUT)
        return [*found, *self._copies(value, stored)]

    def _layout(self, value: Value, stored: Stored) -> Layout:
        layout = contiguous(value.shape)
        return Layout(layout.offset + stored.place, layout.strides)

    def _is_only_added(self, value: Value) -> bool:
        """Whether a value is scattered right into sums, so that nothing can read it."""
        moves = facts_of(value.primitive).moves
        onto_zeros = isinstance(moves, Scatter)
        if isinstance(moves, AtIndices) and moves.adds:
            onto_zeros = value.inputs[0].zero
        places = self.wanted.get(value, ())
        return onto_zeros and value not in self.read and all(s.adds for s in places)

    def _products(self, value: Value, stored: Stored) -> list[ir.Statement]:
        """Return the calls for products of the batch with matrices, added up in one place."""
        found: list[ir.Statement] = []
        several, bias = factors(value)
        for k, f in enumerate(several):
            matrix = self.arrays.hoisted(f.matrix, False)
            key = (matrix.name, f.N, f.K, f.row, f.column)
            if key not in self.packed:
                kind = stored.array.kind
                packed = ir.Array(f"z{len(self.packed)}", kind, ir.Role.PACKED, (f.N + 16) * f.K)
                self.packed[key] = packed
                sizes = linears(f.N, f.K, f.row, f.column, B)
                arguments: tuple[Any, ...] = (ir.Address(matrix), *sizes, ir.Address(packed))
                self.packs[key] = ir.Call("pack", arguments, origin=f.matrix.origin())
            array, layout = self._find(f.moving, False)
            begin: ir.Address | Linear = Linear()
            if bias is not None and not k:
                begin = ir.Address(self.arrays.hoisted(bias, False))
            given: tuple[Any, ...] = (
                ir.Address(self.packed[key]),
                ir.Address(array, layout.offset),
                ir.Address(stored.array, stored.place),
                *linears(f.K, f.N, B),
                begin,
                Linear.of(min(k, 1)),
            )
            found.append(ir.Call("multiply", given, origin=value.origin()))
        return found
