"""From the program of one step to statements: where each value is stored, and what computes it.

A value is stored if something reads it outside of the loops that compute it: a product, another
group of loops, the next step, the backward walk. Everything else stays in registers.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ..loops import ir
from ..loops.linear import Linear, linears
from ..ops.facts import AtIndices, Scatter, facts_of
from .arrays import TIME_OF_FIRST, Arrays
from .fusion import FusionGroup, Rules, fuse, read_outside
from .gather import Gathers, is_gather
from .internal import AFFINE, ASSEMBLED, COPY, ZEROS
from .layout import Layout, Where, base, contiguous, layout_of
from .nest import Nest, collecting_of
from .prepare import copy_of, prepared
from .products import factors
from .repeat import repeat
from .value import B, Given, Refused, Value, alive, unsupported

WAY_OUT = "there is no code for it. Compute it outside the step and hand the result over in x"
BY_LIBRARY = (
    "{0} computes it as a whole, and compiled steps call no library. Compute it outside the step: in x, or, if it is made of parameters "
    "alone, before the unrolling, as an attribute of the cell"
)


class When(enum.Enum):
    """Which value of an array a step means, if the array has one for each of several steps."""

    THIS = "of this step, in the order in which they run"
    SPAN = "of this step, of those of its span"
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
        names = {When.TIME: "t", When.SPAN: "here", When.TURN: "turn", When.OTHER: "other"}
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
        """Whether the values of all steps of a span are there, or one that is the same at all."""
        if self.array.role is ir.Role.FIXED:
            return True
        return self.when in (When.THIS, When.NEXT, When.TIME, When.SPAN)

    @property
    def begin(self) -> Linear:
        """Where the value of the first step of the span begins; the step `first`."""
        names = {When.ONCE: Linear(), When.SPAN: Linear(), When.TIME: TIME_OF_FIRST}
        first = names.get(self.when, Linear.of("first"))
        return (first + 1 if self.when is When.NEXT else first) * self.array.block

    @property
    def stride(self) -> Linear:
        """How far the values of two steps that follow each other are apart."""
        steps = {When.ONCE: Linear(), When.TIME: Linear.of("way")}
        return steps.get(self.when, Linear.of(1)) * self.array.block


def _has_loop(value: Value) -> bool:
    """Whether a value is computed element by element."""
    if value.leaf or 0 in value.shape:
        return False
    return value.scalar or facts_of(value.primitive).casts


def _is_reduction(value: Value) -> bool:
    if value.leaf or facts_of(value.primitive).reduction is None:
        return False
    return 0 not in value.shape and 0 not in value.inputs[0].shape


RULES = Rules(
    _has_loop, _is_reduction, lambda _: None, any_last=True, contracts=True, repeats=False
)


class Lowered:
    """The program of one step as statements.

    Parameters
    ----------
    program : sequence of Value
        In order.
    given : mapping of Value to Stored
        What is there.
    wanted : mapping of Value to sequence of Stored
        Where values have to be stored.
    own : collection of Value
        Values of the backward program itself.
    arrays : Arrays

    Attributes
    ----------
    statements : list of Statement
    packs : list of Call
        What is done once before the loop over time.
    touched : list of Array
        All arrays in these.
    repeated : dict of Value to Value
        The values that are computed again in other loops, each with the value that it is like.

    Raises
    ------
    CompileError
        If there is no code for an operation.
    """

    def __init__(
        self,
        program: Sequence[Value],
        given: Mapping[Value, Stored],
        wanted: Mapping[Value, Sequence[Stored]],
        own: Collection[Value],
        arrays: Arrays,
    ) -> None:
        self.arrays, self.stored = arrays, dict(given)
        self.wanted: dict[Value, list[Stored]] = {}
        self.packs: list[ir.Call] = []
        self.packed: dict[Any, ir.Array] = {}
        self.count = itertools.count()
        whole = list(program)
        for v, places in wanted.items():
            if v.leaf or facts_of(v.primitive).view is not None:  # others look at the same array
                v = copy_of(v)
                whole.append(v)
            self.wanted[v] = list(places)
        program = alive(prepared(whole, self.wanted.keys(), own), self.wanted)
        units = fuse(program, RULES)
        self.repeated = repeat(units, self.wanted.keys())
        self.read = read_outside(units)
        for v in program:
            if v.primitive is ASSEMBLED:
                self._give_array(v)
        self.gathers = Gathers(self._find, arrays)
        self.statements: list[ir.Statement] = []
        for unit in units:
            if isinstance(unit, FusionGroup):
                self.statements += self._group(unit)
            elif 0 not in unit.shape:
                self.statements += self._whole(unit)
        self.touched = ir.arrays([*self.packs, *self.statements])

    # --- where things are -------------------------------------------------------------------------

    def _array_of(self, value: Value) -> Stored:
        """Choose where a value is stored for whoever reads it: where it is wanted, or by itself."""
        plain = (s for s in self.wanted.get(value, ()) if not s.adds)
        found = next(plain, None)
        if found is None:
            array = self.arrays.new(f"m{next(self.count)}", ir.Role.SCRATCH, value)
            found = Stored(array, When.ONCE)
        self.stored[value] = found
        return found

    def _give_array(self, value: Value) -> None:
        """Choose where a value is stored, unless it is only added to others."""
        if value in self.read or not all(s.adds for s in self.wanted.get(value, ())):
            self._array_of(value)

    def _places(self, value: Value) -> list[Stored]:
        """Return everywhere that a value is stored."""
        places, own = list(self.wanted.get(value, ())), self.stored.get(value)
        return places if own is None or own in places else [*places, own]

    def _find(self, value: Value, by_rows: bool = False) -> Where:
        """Return where the elements of a value are."""
        source, layout = base(value), layout_of(value)
        if source in self.stored:
            stored = self.stored[source]
            return Where(stored.array, layout.moved(stored.place))
        if source.hoisted or source.given is Given.CONSTANT:
            repeated = by_rows and source.size > 1
            array = self.arrays.hoisted(source, repeated)
            if repeated:
                layout = Layout(layout.offset * B, tuple(n * B for n in layout.strides))
            return Where(array, layout)
        raise unsupported(source, "it is read before it is stored")

    # --- groups -----------------------------------------------------------------------------------

    def _group(self, group: FusionGroup) -> list[ir.Statement]:
        targets: dict[Value, list[Where]] = {}
        before: list[ir.Statement] = []
        after: list[ir.Statement] = []
        for m in group.members:
            if m in group.last:
                stored = self._array_of(m)
                targets[m] = [_target(m, stored)]
                before.append(self._begun(m, stored))
                after += self._copies(m, stored)
            elif m.primitive is COPY and "into" in m.params:
                targets[m] = self._into(m)
            else:
                self._give_array(m)
                if places := self._places(m):
                    targets[m] = [_target(m, s) for s in places]
        try:
            nest = Nest(group, self._find, targets, self.arrays.dtype, self.arrays.names)
        except Refused as refused:
            error = refused.__cause__
            why = f"the code for it is refused ({type(error).__name__}: {error})"
            raise unsupported(refused.value, why) from error
        return [*before, *nest.statements, *after]

    def _into(self, copy: Value) -> list[Where]:
        """Return where a part of a value that is put together goes."""
        whole, box, adds = (copy.params[name] for name in ("into", "box", "adds"))
        layout = contiguous(whole.shape)
        begin = Linear()
        for bound, stride in zip(box, layout.strides, strict=True):
            begin = begin + stride * (0 if bound is None else bound[0])
        return [
            Where(s.array, layout.moved(s.place + begin), s.adds or adds)
            for s in self._places(whole)
        ]

    def _begun(self, value: Value, stored: Stored) -> ir.Statement:
        """Return the loop with which a collection begins."""
        start = collecting_of(value, self.arrays.dtype).start
        return self.arrays.filled(stored.array, stored.place, start.value)

    def _copies(self, value: Value, stored: Stored) -> list[ir.Statement]:
        """Return the copies of a stored value to all other places where it is wanted."""
        source = ir.Address(stored.array, stored.place)
        return [
            self.arrays.copied(value, source, ir.Address(s.array, s.place), adds=s.adds, read=value)
            for s in self.wanted.get(value, ())
            if s != stored
        ]

    # --- operations on whole arrays ---------------------------------------------------------------

    def _whole(self, value: Value) -> list[ir.Statement]:
        if value.primitive is ASSEMBLED:
            return []
        if value.primitive is ZEROS:
            places = (s for s in self._places(value.params["into"]) if not s.adds)
            return [self.arrays.filled(s.array, s.place) for s in places]
        if self._is_only_added(value):
            sums = [_target(value, s) for s in self.wanted[value]]
            return [s for out in sums for s in self.gathers.added(value, out)]
        stored = self._array_of(value)
        if value.primitive is AFFINE:
            found = self._products(value, stored)
        elif is_gather(value):
            found = self.gathers.statements(value, _target(value, stored))
        elif facts_of(value.primitive).reduction is not None:  # of nothing
            found = [self._begun(value, stored)]
        else:
            library = facts_of(value.primitive).library
            raise unsupported(value, BY_LIBRARY.format(library) if library else WAY_OUT)
        return [*found, *self._copies(value, stored)]

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
            columns, matrices = Linear.of(B) * f.places, f.slices if f.apart else 1
            key = (matrix.name, f.N, f.K, f.row, f.column, f.places, matrices, f.apart)
            room = (f.N + 16) * f.K
            if key not in self.packed:
                kind = stored.array.kind
                packed = ir.Array(f"z{len(self.packed)}", kind, ir.Role.PACKED, room * matrices)
                self.packed[key] = packed
                sizes = linears(f.N, f.K, f.row, f.column, columns)
                arguments: tuple[Any, ...] = (ir.Address(matrix), *sizes, ir.Address(packed))
                self.packs.append(
                    repeated("pack", arguments, f.matrix, matrices, *linears(f.apart, room))
                )
            moving = self._find(f.moving)
            begin: ir.Address | Linear = Linear()
            if bias is not None and not k:
                begin = ir.Address(self.arrays.hoisted(bias, False))
            given: tuple[Any, ...] = (
                ir.Address(self.packed[key]),
                ir.Address(moving.array, moving.layout.offset),
                ir.Address(stored.array, stored.place),
                *linears(f.K, f.N, columns),
                begin,
                Linear.of(min(k, 1)),
            )
            own = (room, f.N) if f.apart else (0, 0)
            steps = linears(own[0], columns * f.K, columns * f.N, own[1])
            found.append(repeated("multiply", given, value, f.slices, *steps))
        return found


def repeated(
    routine: str, arguments: Sequence[Any], value: Value, slices: int, *steps: Linear
) -> ir.Call:
    """Return the call of a matrix kernel, or of the one that runs it for several slices."""
    if slices == 1:
        return ir.Call(routine, tuple(arguments), origin=value.origin())
    every = (*arguments, Linear.of(slices), *steps)
    return ir.Call(f"{routine}_slices", every, origin=value.origin())


def _target(value: Value, stored: Stored) -> Where:
    """Return where the elements of a value are that is stored without gaps."""
    return Where(stored.array, contiguous(value.shape).moved(stored.place), stored.adds)
