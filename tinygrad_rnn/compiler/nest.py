"""From a fusion group to statements.

What a later phase of a row reads of an earlier one is computed again if it is cheap, and otherwise
stored, in a buffer as long as a row. Reductions that are left to others are collected in their
arrays.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..loops import ir
from ..loops.expression import Collecting, NoExpression, Operand, collecting, converted, expression
from ..loops.linear import Linear, linears
from ..ops.facts import Cost, facts_of, is_identity
from .arrays import written
from .nestplan import NestPlan, Place
from .value import Refused, Value, unsupported

BLOCK = 4_096  # elements of a flat loop that are summed in the dtype of the elements
LONG = 32_768  # rows of more elements than this are summed in float64
BOUNDS = ("lo", "hi")  # from where to where a thread runs the first loop, where threads share it
LO, HI = linears(*BOUNDS)


def collecting_of(value: Value, base: np.dtype[Any]) -> Collecting:
    """Return how a reduction or a contraction collects its elements."""
    reduction = facts_of(value.primitive).reduction
    start, step = (0.0, "a + x") if reduction is None else (reduction.start, reduction.step)
    return collecting(start, step, value.dtype, base)


class Nest(NestPlan):
    """The loops of one group, as statements; see `NestPlan` for the parameters.

    Attributes
    ----------
    statements : list of Statement
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.outer_loops = range(len(self.outer))
        self.statements = self._write()

    def _write(self) -> list[ir.Statement]:
        while True:
            self.row_names: dict[Any, ir.Scalar] = {}
            self.computed: dict[Value, set[int]] = {}
            body = self._body()
            twice = [
                m
                for m, phases in self.computed.items()
                if len(phases) > 1 and self._is_costly(m) and m not in self.buffers
            ]
            if not twice:
                buffers = [ir.Buffer(p.array, self.row) for p in self.buffers.values()]
                return [*buffers, *body]
            for m in twice:
                self._give_buffer(m)

    def _is_costly(self, value: Value) -> bool:
        stored = any(not adds for _, adds in self.places.get(value, ()))
        return facts_of(value.primitive).cost is Cost.COSTLY and not stored

    def _give_buffer(self, value: Value) -> None:
        strides, step = [Linear()] * self.rank, Linear.of(1)
        for a in sorted(self.inner_axes, key=self.group.rank, reverse=True):
            if a in self.group.axes[value]:
                strides[a] = step
                step = step * self.group.shape[a]
        name = f"w{next(self.names)}"
        array = ir.Array(name, ir.kind_of(value.dtype, self.base), ir.Role.SCRATCH)
        self.buffers[value] = Place(array, Linear(), tuple(strides))

    def _access(self, place: Place, loops: Iterable[int]) -> ir.Access:
        """Return the element of an array at which some of the loops stand."""
        found = place.offset
        every = [*self.outer, *self.inner]
        for k in loops:
            stride = place.strides[every[k][-1]]
            if stride:
                found = found + stride * self._index(k)
        return ir.Access(place.array, found)

    def _index(self, k: int) -> Linear:
        if self.blocked and k == 0:  # where the block begins, and in it
            return Linear.of(self.indices[0]) + self.lane
        return Linear.of(self.indices[k])

    def _body(self) -> list[ir.Statement]:
        if self.shared and not self.inner and not self.outer:  # one element, for one thread
            inside = tuple(self._phases())
            return [ir.Loop(f"i{next(self.names)}", HI, inside, start=LO)]
        if self.blocked:
            self.lane, rest = f"j{next(self.names)}", f"m{next(self.names)}"
            self.lanes = (self.lane, Linear.of(rest))
            inside = tuple(self._phases())
            return [ir.Loop(self.indices[0], HI, inside, start=LO, block=BLOCK, rest=rest)]
        if self.inner:
            self.lanes = (self.indices[-1], self.length[-1])
        return self._around(self._phases())

    def _around(self, statements: list[ir.Statement]) -> list[ir.Statement]:
        """Return the outer loops around the statements of a row."""
        for k in reversed(self.outer_loops):
            start, stop = (LO, HI) if k == 0 and self.shared else (Linear(), self.length[k])
            statements = [ir.Loop(self.indices[k], stop, tuple(statements), start=start)]
        return statements

    def _phases(self) -> list[ir.Statement]:
        """Return the statements of one row, phase by phase."""
        lines: list[ir.Statement] = []
        last = self.group.last
        for phase in range(max(self.phase.values(), default=0) + 1):
            for member in self.group.members:
                if self.phase[member] != phase:
                    continue
                collects = self._collects(member)
                if not self._inside(member) and (not collects or member in last):
                    lines += self._of_row(member)
                elif collects and member not in last and member in self.places:
                    lines += self._stores(member, self.row_names[member], self.outer_loops)
            lines += self._phase(phase)
        return lines

    def _of_row(self, member: Value) -> list[ir.Statement]:
        """Return the statements for a member that is one number for the whole row."""
        if member in self.group.last:
            if self._source_inside(member):
                return []
            source = self._member(member.inputs[0])
            assert source is not None
            number = self.prepared(member, self.row_names[source])
            return self._collected(member, number, self.outer_loops)
        lines: list[ir.Statement] = []

        def read(k: int, source: Value) -> ir.Scalar:
            inner = self._member(source)
            if inner is not None:
                return self.row_names[inner]
            if source.zero:
                return self._zero(source)
            place = self.operands[member, k]
            if place not in self.row_names:
                name = f"v{next(self.names)}"
                access = self._access(place, self.outer_loops)
                lines.append(ir.Load(name, access, origin=source.origin()))
                self.row_names[place] = ir.Var(name)
            return self.row_names[place]

        value, more = self._computed(member, read)
        self.row_names[member] = value
        return [*lines, *more, *self._stores(member, value, self.outer_loops)]

    def _phase(self, phase: int) -> list[ir.Statement]:
        """Return the loop of one phase over the row."""
        writes, sums, adds = self._work(phase)
        if not (writes or sums or adds):
            return []
        return _Row(self, phase, writes, sums, adds).statements()

    def _work(self, phase: int) -> tuple[list[Value], list[Value], list[Value]]:
        """Return what a phase stores, what it collects in registers, and what in arrays."""
        writes: list[Value] = []
        sums: list[Value] = []
        adds: list[Value] = []
        for member in self.group.members:
            if self._collects(member):
                source = None if member in self.group.labels else self._member(member.inputs[0])
                at = 0 if source is None else self.phase[source]
                if at == phase and self._source_inside(member):
                    moves = member in self.group.last and self._moves(member)
                    in_register = not moves and collecting_of(member, self.base).in_register
                    (sums if in_register else adds).append(member)
            elif self.phase[member] == phase and self._inside(member) and self._is_written(member):
                writes.append(member)
        return writes, sums, adds

    def _is_written(self, member: Value) -> bool:
        return member in self.places or member in self.buffers

    def _moves(self, member: Value) -> bool:
        """Whether the place where a member is collected moves along the innermost loop."""
        last = self.inner[-1][-1]
        return any(place.strides[last] for place, _ in self.places[member])

    def _zero(self, value: Value) -> ir.Scalar:
        return ir.Number(0, ir.kind_of(value.dtype, self.base))

    def _computed(
        self, member: Value, read: Callable[[int, Value], ir.Scalar]
    ) -> tuple[ir.Scalar, list[ir.Statement]]:
        """Return the number of a member, and the statement that computes it.

        `read` gives the numbers of its sources, by their place.
        """
        primitive, places = member.primitive, itertools.count()
        operands = [
            Operand(read(next(places), i), i.dtype) if isinstance(i, Value) else Operand(i, None)
            for i in member.inputs
        ]
        if facts_of(primitive).casts:
            source = member.inputs[0].dtype
            value = converted(operands[0].value, source, member.dtype, self.base)
        elif is_identity(primitive):
            return operands[0].value, []
        else:
            try:
                value = expression(primitive, member.params, operands, member.dtype, self.base)
            except NoExpression as missing:
                raise unsupported(member, str(missing)) from None
            except (SyntaxError, LookupError) as error:
                raise Refused(member) from error
        if isinstance(value, ir.Var):
            return value, []
        name = f"v{next(self.names)}"
        return ir.Var(name), [ir.Let(name, value, origin=member.origin())]

    def _stores(self, member: Value, value: ir.Scalar, loops: range) -> list[ir.Statement]:
        return [
            written(member, self._access(place, loops), value, adds=adds)
            for place, adds in self.places.get(member, ())
        ]

    def _collected(self, member: Value, value: ir.Scalar, loops: range) -> list[ir.Statement]:
        """Return the statements that collect a number in the arrays of a reduction."""
        combine = collecting_of(member, self.base).combine
        return [
            ir.Accumulate(
                self._access(place, loops), combine, value, member.dtype, origin=member.origin()
            )
            for place, _ in self.places[member]
        ]

    def prepared(self, member: Value, value: ir.Scalar) -> ir.Scalar:
        """Return an element as a reduction takes it: 0.0 for -0.0, where zeros have no order."""
        reduction = facts_of(member.primitive).reduction
        if reduction is None:
            return value
        source = member.inputs[0].dtype
        if isinstance(reduction.start, bool) and source.kind != "b":
            return converted(value, source, np.dtype(np.bool_), self.base)
        if member.dtype.kind == "f" and source.kind == "f" and reduction.plain_zero:
            return ir.Apply("+", (value, ir.Number(0.0, ir.kind_of(member.dtype, self.base))))
        return converted(value, source, member.dtype, self.base)


class _Row:
    """The loop of one phase of a row."""

    def __init__(
        self, nest: Nest, phase: int, writes: list[Value], sums: list[Value], adds: list[Value]
    ) -> None:
        self.nest, self.phase = nest, phase
        self.writes, self.sums, self.adds = writes, sums, adds
        self.loops = range(len(nest.length))
        self.known: dict[Place, str] = {}
        self.names: dict[Any, ir.Scalar] = {}
        # reads come first and writes last, so that LLVM has nothing to keep apart
        self.reads: list[ir.Statement] = []
        self.computed: list[ir.Statement] = []
        self.written: list[ir.Statement] = []

    def statements(self) -> list[ir.Statement]:
        """Return the loop, with what comes before and after it."""
        nest = self.nest
        for w in self.writes:
            value = self._value(w)
            self.written += nest._stores(w, value, self.loops)
            if w in nest.buffers:
                access = nest._access(nest.buffers[w], self.loops)
                self.written.append(ir.Store(access, value, origin=w.origin()))
        for s in self.adds:
            number = nest.prepared(s, self._collected(s))
            self.written += nest._collected(s, number, self.loops)
        totals = {s: self._total(s) for s in self.sums}
        body = (*self.reads, *self.computed, *self.written)
        if not nest.inner:
            return list(body)
        lane, stop = nest.lanes
        found: list[ir.Statement] = [ir.Loop(lane, stop, body, ir.LoopKind.LANES)]
        last = [s for s in self.sums if s in nest.group.last]
        rows = [s for s in self.sums if s not in nest.group.last]
        found = [*(self._start(s, totals[s]) for s in last), *found]
        for s in last:
            found += nest._collected(s, ir.Var(totals[s]), self.loops[:-1])
        for k in reversed(self.loops[len(nest.outer) : -1]):
            found = [ir.Loop(nest.indices[k], nest.length[k], tuple(found))]
        found = [*(self._start(s, totals[s]) for s in rows), *found]
        for s in rows:
            found += self._finished(s, totals[s])
        return found

    def _kind(self, s: Value) -> ir.Kind:
        """Return the kind in which a sum is collected: rows that are long in float64."""
        kind = ir.kind_of(s.dtype, self.nest.base)
        row = self.nest.row.constant
        long = row is not None and row > LONG and not self.nest.flat
        narrow = kind is ir.Kind.FLOAT and self.nest.base == np.float32
        return ir.Kind.OTHER_FLOAT if long and narrow else kind

    def _start(self, s: Value, total: str) -> ir.Statement:
        start = collecting_of(s, self.nest.base).start
        return ir.Let(total, ir.Number(start.value, self._kind(s)))

    def _total(self, s: Value) -> str:
        total = f"a{next(self.nest.names)}"
        value = self._collected(s)
        kind = self._kind(s)
        if kind is not ir.kind_of(s.dtype, self.nest.base):
            value = ir.Convert(kind, value)
        combine = collecting_of(s, self.nest.base).in_register
        combined = ir.Apply(combine, (ir.Var(total), value))
        self.computed.append(ir.Set(total, combined, origin=s.origin()))
        return total

    def _finished(self, s: Value, total: str) -> list[ir.Statement]:
        """Return the statement that makes a sum of a row a number that the row uses."""
        kind = ir.kind_of(s.dtype, self.nest.base)
        value: ir.Scalar = ir.Var(total)
        if self._kind(s) is not kind:
            value = ir.Convert(kind, value)
        reduction = facts_of(s.primitive).reduction
        if reduction is not None and reduction.plain_zero:  # the largest and smallest have no -0.0
            value = ir.Apply("+", (value, ir.Number(0.0, kind)))
        name = f"r{next(self.nest.names)}"
        self.nest.row_names[s] = ir.Var(name)
        return [ir.Let(name, value, origin=s.origin())]

    def _collected(self, s: Value) -> ir.Scalar:
        """Return the number that a reduction or contraction collects."""
        nest = self.nest
        if s not in nest.group.labels:
            return self._source(s, 0, s.inputs[0])
        parts = [
            converted(self._source(s, k, source), source.dtype, s.dtype, nest.base)
            for k, source in enumerate(s.sources)
        ]
        sign = {"f": "*", "b": "and"}.get(s.dtype.kind, "int_multiply")
        found = parts[0]
        for part in parts[1:]:
            found = ir.Apply(sign, (found, part))
        if len(parts) == 1:
            return found
        name = f"v{next(nest.names)}"
        self.computed.append(ir.Let(name, found, origin=s.origin()))
        return ir.Var(name)

    def _source(self, member: Value, k: int, source: Value) -> ir.Scalar:
        """Return the number of an operand: of a member, or read from an array."""
        nest = self.nest
        if member not in nest.group.labels:
            m = nest._member(source)
            if m is not None:
                return self._value(m)
        if source.zero:
            return nest._zero(source)
        return self._load(nest.operands[member, k], source)

    def _load(self, place: Place, source: Value) -> ir.Scalar:
        if place not in self.known:
            self.known[place] = name = f"v{next(self.nest.names)}"
            access = self.nest._access(place, self.loops)
            self.reads.append(ir.Load(name, access, origin=source.origin()))
        return ir.Var(self.known[place])

    def _value(self, m: Value) -> ir.Scalar:
        """Return the number of a member at a place of the row."""
        nest = self.nest
        if not nest._inside(m):
            return nest.row_names[m]
        if m not in self.names:
            stored = [p for p, adds in nest.places.get(m, ()) if not adds]
            stored += [nest.buffers[m]] if m in nest.buffers else []
            if stored and nest.phase[m] < self.phase:
                self.names[m] = self._load(stored[0], m)
            else:
                nest.computed.setdefault(m, set()).add(self.phase)
                self.names[m], more = nest._computed(m, functools.partial(self._source, m))
                self.computed += more
        return self.names[m]
