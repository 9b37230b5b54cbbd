"""The parts of the code of a step, as readers see them: loops, products, products over all steps.

`readable` writes a comment on each part, and `explain` says what it costs. Both read the statements
of the loop language, each of which knows the value that it comes from.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..loops import ir
from ..ops.facts import facts_of
from .forms import Outer
from .fusion import contraction
from .gather import is_gather
from .internal import AFFINE, COPY, PART
from .layout import is_view
from .products import Factor, factors
from .sequence import SequenceCode
from .value import Value

OUT = 2  # which argument of a product is the address where its result goes
OVER_STEPS_OUT = 5  # and of one over all steps
SHARED = (ir.Role.HOISTED, ir.Role.TABLE, ir.Role.PACKED)  # arrays that all rows of the batch share


class Placed(NamedTuple):
    """A statement with the loops that it stands in, below the loop over time."""

    statement: ir.Statement
    loops: tuple[ir.Loop, ...]

    @property
    def runs(self) -> int:
        """How often it runs for one row of the batch, in one step."""
        return math.prod(per_row(loop) for loop in self.loops)

    def moved(self, access: ir.Access) -> int:
        """Return how many elements of an array it goes over, for one row of the batch."""
        moving = (loop for loop in self.loops if access.place.stride(loop.index))
        return math.prod(per_row(loop) for loop in moving)

    @property
    def flops(self) -> int:
        """How many numbers it computes; what it only passes on is not counted."""
        if isinstance(self.statement, ir.Accumulate):
            return self.runs
        computed = (isinstance(n, (ir.Apply, ir.Convert)) for n in ir.numbers(self.statement))
        return self.runs if any(computed) and not isinstance(self.statement, ir.Branch) else 0


def per_row(loop: ir.Loop) -> int:
    """Return how many times the body of a loop runs for one row of the batch."""
    length = loop.stop + loop.start * -1
    return sum(n for _, n in length.terms)  # the only name in it is that of the batch


def placed(statements: Iterable[ir.Statement], loops: tuple[ir.Loop, ...] = ()) -> Iterator[Placed]:
    """Go through statements and those inside them; of two ways to go on the longer one counts."""
    for s in statements:
        yield Placed(s, loops)
        if isinstance(s, ir.Loop):
            yield from placed(s.body, (*loops, s))
        elif isinstance(s, ir.Branch):
            yield from placed(s.otherwise if len(s.otherwise) > len(s.then) else s.then, loops)


@dataclass(frozen=True)
class LoopPart:
    """A loop nest of the step, or numbers that are computed outside of loops.

    Attributes
    ----------
    number : int
        Loops are counted from 1, in the order in which they run.
    statements : tuple of Statement
    computed : dict of Value to int
        The values that it computes, each with its flops per row of the batch.
    stored : list of Value
    assembled : list of Value
        The values that are put together of what it stores.
    bytes : int
        Bytes that it reads and writes per row of the batch; what all rows share does not count.
    alone : Value or None
        The one value that it is for, if that is one which moves elements (see `gather`), or
        collects what no other value of the loop has computed.
    """

    number: int
    statements: tuple[ir.Statement, ...]
    computed: dict[Value, int]
    stored: list[Value]
    assembled: list[Value]
    bytes: int
    alone: Value | None

    @property
    def flops(self) -> int:
        """Flops per row of the batch."""
        return sum(self.computed.values())


@dataclass(frozen=True)
class ProductPart:
    """Products of the batch with packed matrices, added up in one array.

    Attributes
    ----------
    value : Value
        The sum.
    calls : tuple of Call
        One for each product.
    factors : list of Factor
    bias : Value or None
    target : Array
    """

    value: Value
    calls: tuple[ir.Call, ...]
    factors: list[Factor]
    bias: Value | None
    target: ir.Array

    @property
    def flops(self) -> int:
        """Flops per row of the batch."""
        return sum(2 * f.N * f.K * f.slices * f.places for f in self.factors)

    @property
    def bytes(self) -> int:
        """Bytes that are read and written per row of the batch; matrices do not count."""
        moved = sum(self.value.size + f.moving.size for f in self.factors)
        return moved * self.value.dtype.itemsize


@dataclass(frozen=True)
class OverStepsPart:
    """A product over all steps, after the loop over time.

    Attributes
    ----------
    value : Value
    call : Call
    product : Outer
        As it is computed.
    """

    value: Value
    call: ir.Call
    product: Outer

    @property
    def target(self) -> ir.Array:
        """The array where the result goes."""
        return _array_at(self.call, OVER_STEPS_OUT)

    @property
    def flops(self) -> int:
        """Flops per step and row of the batch."""
        p = self.product
        return 2 * p.size * p.places

    @property
    def bytes(self) -> int:
        """Bytes that are read per step and row of the batch."""
        return (self.product.left.size + self.product.right.size) * self.value.dtype.itemsize


Part = LoopPart | ProductPart | OverStepsPart


class Parts:
    """The parts of both functions of a sequence.

    Attributes
    ----------
    of : dict of str to list of Part
        In the order in which they run, for "forward" and "backward".
    """

    def __init__(self, code: SequenceCode) -> None:
        self.code = code
        self._recorded = {*code.step.forward, *code.step.backward}
        self.of = {which: self._parts(f.function) for which, f in code.functions.items()}

    def loops(self, which: str) -> list[LoopPart]:
        """Return the loops of a function."""
        return [part for part in self.of[which] if isinstance(part, LoopPart)]

    def original(self, value: Value) -> Value:
        """Return the value of the recorded program that a value of the code stands for."""
        value = self.code.originals.get(value, value)
        while value.primitive in (COPY, PART):
            value = self.code.originals.get(value.inputs[0], value.inputs[0])
        if value.leaf or value in self._recorded:
            return value
        return self.code.step.known.get(value.node, value)  # a sum that a value is put together on

    def value_of(self, statement: ir.Statement) -> Value | None:
        """Return the recorded value that a statement comes from."""
        return None if statement.origin is None else self.original(statement.origin.value)

    def _parts(self, function: ir.Function) -> list[Part]:
        found: list[Part] = []
        for s in around_steps(function.body):
            if isinstance(s, ir.Loop) and s.kind is ir.LoopKind.TIME:
                found += self._of_step(s.body)
            elif isinstance(s, ir.Call) and (value := self.value_of(s)) in self.code.sunk.products:
                assert value is not None
                product = self.code.sunk.products[value]
                if value in self.code.transposed:
                    product = product.turned
                found.append(OverStepsPart(value, s, product))
        return found

    def _of_step(self, body: Sequence[ir.Statement]) -> list[Part]:
        found: list[Part] = []
        loops = 0
        for (kind, value), run in itertools.groupby(body, self._belongs_to):
            statements = tuple(run)
            if kind is ProductPart:
                calls = tuple(s for s in statements if isinstance(s, ir.Call))
                target = _array_at(calls[0], OUT)
                found.append(ProductPart(value, calls, *factors(value), target))
            elif kind is LoopPart:
                part = self._loop(loops + 1, statements)
                if part.stored or part.computed:  # and not zeros that begin a sum
                    found.append(part)
                    loops += 1
        return found

    def _belongs_to(self, s: ir.Statement) -> tuple[Any, Any]:
        """Return the kind of part that a statement of a step is in, and what tells parts apart."""
        if isinstance(s, ir.Loop):
            return LoopPart, id(s)
        if isinstance(
            s, (ir.Load, ir.Let, ir.Set, ir.Store, ir.Accumulate, ir.Branch)
        ):  # one run of them is a part
            return LoopPart, None
        value = self.value_of(s)
        if isinstance(s, ir.Call) and value is not None and value.primitive is AFFINE:
            return ProductPart, value
        return None, None

    def _loop(self, number: int, statements: tuple[ir.Statement, ...]) -> LoopPart:
        inside = list(placed(statements))
        stored: dict[Value, None] = {}
        assembled: dict[Value, None] = {}
        gathered: list[Value] = []
        for p in inside:
            written = isinstance(p.statement, (ir.Store, ir.Accumulate))
            if written and p.statement.origin is not None:
                own = p.statement.origin.value
                stored[self.original(own)] = None
                if own.primitive is COPY and "into" in own.params:
                    assembled[self.original(own.params["into"])] = None
                elif is_gather(own) and not is_view(own):
                    gathered.append(self.original(own))
        computed: dict[Value, int] = {}
        moved = 0
        for p in inside:
            value = self.value_of(p.statement) or next(iter(stored), None)
            if value is not None and p.flops:
                computed[value] = computed.get(value, 0) + p.flops
            for access in ir.accesses(p.statement):
                if access.array.role not in SHARED:
                    dtype = ir.dtype_of(access.array.kind, self.code.dtype)
                    moved += p.moved(access) * dtype.itemsize
        alone = gathered[0] if gathered else None
        if len(computed) == 1 and _collects(next(iter(computed))):
            alone = next(iter(computed))
        return LoopPart(number, statements, computed, list(stored), list(assembled), moved, alone)


def around_steps(statements: Iterable[ir.Statement]) -> Iterator[ir.Statement]:
    """Go through the statements of a function, and of its spans; the steps are a loop among them."""
    for s in statements:
        if isinstance(s, ir.Loop) and s.rest and s.kind is ir.LoopKind.TIME:
            yield from around_steps(s.body)
        else:
            yield s


def _array_at(call: ir.Call, k: int) -> ir.Array:
    """Return the array whose address is an argument of a call."""
    address = call.arguments[k]
    assert isinstance(address, ir.Address)
    return address.array


def _collects(value: Value) -> bool:
    return facts_of(value.primitive).reduction is not None or contraction(value) is not None
