"""What became of a cell when it was compiled.

Where each of its operations is computed, what it costs, and what is kept for backward.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..kernels import runtime
from ..loops.ir import Role, Steps, dtype_of
from ..ops.facts import facts_of, is_identity, is_zero, linear_groups
from ..ops.table import columns
from .fusion import contraction
from .gather import is_gather
from .internal import ASSEMBLED
from .names import ValueNames
from .parts import LoopPart, OverStepsPart, Part, ProductPart
from .readable import Legend
from .runner import Runner
from .value import Value

LASTING = (Role.RESIDUAL, Role.STATE, Role.OUTPUT)  # arrays of forward that backward may read
MOVED = "an index, no work"


class Operation(NamedTuple):
    """An operation of the recorded step, or of its backward.

    Attributes
    ----------
    walk : str
        "forward" or "backward".
    name : str
        As in `Jitted.source`; "" for values without one.
    op : str
    line : str
        Where the user's code made it, or that whose derivative it is part of.
    became : str
    flops : int
        Per step and row, in all places where it is computed.
    kept : int
        Bytes kept for backward, per step and row.
    """

    walk: str
    name: str
    op: str
    line: str
    became: str
    flops: int
    kept: int


class Unit(NamedTuple):
    """A loop, product or other part of the generated code, with its figures per step and row.

    Of matrices the bytes do not count: they are shared by all rows.

    Attributes
    ----------
    walk : str
        "forward" or "backward".
    name : str
        "loop" and its number, "product", or "after" for a product over all steps.
    does : str
    flops : int
    bytes : int
        Bytes read and written.
    """

    walk: str
    name: str
    does: str
    flops: int
    bytes: int


class Kept(NamedTuple):
    """An array that waits for backward.

    Attributes
    ----------
    name : str
        As in `Jitted.source`.
    what : str
    bytes : int
        Bytes per step and row.
    once : int
        Bytes that it has in addition per row, once.
    """

    name: str
    what: str
    bytes: int
    once: int


class Explanation:
    """What `Jitted.explain` gives; it prints as tables.

    Attributes
    ----------
    name : str
        Of the cell.
    dtype : dtype
    operations : list of Operation
    units : list of Unit
        In the order in which they run. Those of backward that are named "after" are done once for
        all steps; their figures are per step.
    kept : list of Kept
        Inputs are not among them: they are read again from the caller's array.
    formula : int
        Bytes per step and row of the new states and of the arguments of the functions that are not
        linear (the gates, before sigmoid and tanh): what the formulas of an LSTM or GRU need.
    steps, batch : int or None
        Of the example.
    threads : int
    divisible : bool
        Whether the batch is divided among them; not if rows depend on each other.
    wide : list of str
        What does not vary, and is repeated for each row to be read along with what does.
    """

    def __init__(self, runner: Runner, steps: int | None, batch: int | None) -> None:
        self.runner, self.steps, self.batch = runner, steps, batch
        self.names = names = ValueNames(runner)
        self.name, self.dtype = runner.step.name, runner.dtype
        self.threads, self.divisible = runtime.threads(), runner.divisible
        once = dict.fromkeys(key for f in runner.code.functions.values() for key in f.hoisted)
        self.wide = [names.label(v) for v, repeated in once if repeated]
        self.kept = self._kept()
        self.units = [
            self._unit(walk, part) for walk, parts in names.parts.of.items() for part in parts
        ]
        fates = _Fates(names, {k.name: k.bytes for k in self.kept})
        self.operations = fates.operations()
        self.formula = self._formula()

    # --- figures ----------------------------------------------------------------------------------

    def flops(self, walk: str, kind: str) -> int:
        """Return the flops per step and row.

        Parameters
        ----------
        walk : str
            "forward" or "backward".
        kind : str
            "products" or "elementwise".
        """
        units = [u for u in self.units if u.walk == walk]
        wanted = kind == "products"
        return sum(u.flops for u in units if (u.name in ("product", "after")) == wanted)

    @property
    def kept_bytes(self) -> int:
        """Bytes kept between forward and backward, per step and row."""
        return sum(k.bytes for k in self.kept)

    @property
    def ratio(self) -> float:
        """What is kept, divided by `formula`."""
        return self.kept_bytes / self.formula if self.formula else float("nan")

    def memory(self, steps: int, batch: int) -> int:
        """Return the bytes kept between forward and backward of so many steps and rows."""
        return sum((k.bytes * steps + k.once) * batch for k in self.kept)

    def _kept(self) -> list[Kept]:
        found = []
        legend, forward = Legend(self.names), self.runner.code.functions["forward"].function
        for array in self.runner.kept:
            if not array.rows:  # of a size without rows: not counted by row
                continue
            n = array.size * dtype_of(array.kind, self.dtype).itemsize
            what = legend.array(forward, array)[0].removesuffix(", kept for backward")
            each = array.steps in (Steps.EACH, Steps.BETWEEN)
            once = 0 if array.steps is Steps.EACH else n
            found.append(Kept(array.name, what, n if each else 0, once))
        return found

    def _formula(self) -> int:
        step, original = self.runner.step, self.names.parts.original
        bent = {
            original(v.inputs[0])
            for v in step.forward
            if v.scalar and len(v.inputs) == 1 and not linear_groups(v.primitive, v.params, 1)
        }
        bent -= {*step.new_states, *step.states, *step.xs}
        needed = [*dict.fromkeys(step.new_states), *bent]
        counted = (v for v in needed if v.varies and v.batch is not None and v.dtype.kind == "f")
        return sum(v.nbytes for v in counted)

    def _unit(self, walk: str, part: Part) -> Unit:
        names = self.names
        if isinstance(part, LoopPart):
            name = f"loop {part.number}"
            # numbers outside of loops may be read by the next loop alone, and not be stored
            first = next(iter([*part.stored, *part.computed]))
            does = ", ".join(names.stored(part)) or names.label(first)
        elif isinstance(part, ProductPart):
            name, target = "product", names.names.get(part.value) or part.target.name
            does = f"{target} = {' + '.join(names.product(f) for f in part.factors)}"
        else:
            name, does = "after", f"{names.weight_of(part.value)}, over all steps"
        return Unit(walk, name, does, part.flops, part.bytes)

    # --- text -------------------------------------------------------------------------------------

    def __str__(self) -> str:
        parts = [f"{self.name}, {self.dtype}; {self._divided()}"]
        if self.wide:
            parts.append(f"repeated for each row: {', '.join(self.wide)}")
        parts += [self._operations_table("forward"), self._operations_table("backward")]
        parts += [self._units_table(), self._kept_table()]
        parts.append("Figures are per step and row of the batch, where nothing else is said.")
        return "\n\n".join(parts)

    __repr__ = __str__

    def _divided(self) -> str:
        """Say how the batch is divided among threads."""
        if not self.divisible:
            return "the batch is not divided among threads: rows depend on each other"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        text = f"the batch is divided among up to {threads}"
        if self.batch is None:
            return text
        return f"{text}: {self.batch} rows in {len(self.runner.shards(self.batch))}"

    def _operations_table(self, walk: str) -> str:
        rows = [
            [o.name, o.op, o.line, o.became, _count(o.flops), _count(o.kept)]
            for o in self.operations
            if o.walk == walk
        ]
        last = ["kept bytes"] if walk == "forward" else []
        head = ["value", "operation", "line", f"what became of it, {walk}", "flops", *last]
        return table(head, [row[: len(head)] for row in rows], right=(4, 5))

    def _units_table(self) -> str:
        rows = [[u.walk, u.name, u.does, _count(u.flops), _count(u.bytes)] for u in self.units]
        for walk in ("forward", "backward"):
            units = [u for u in self.units if u.walk == walk]
            products, others = (self.flops(walk, kind) for kind in ("products", "elementwise"))
            does = f"products {products}, elementwise {others}"
            figures = [_count(sum(u.flops for u in units)), _count(sum(u.bytes for u in units))]
            rows.append([walk, "in all", does, *figures])
        return table(["what runs", "", "", "flops", "bytes"], rows, right=(3, 4))

    def _kept_table(self) -> str:
        rows = [[k.name, k.what, _count(k.bytes)] for k in self.kept]
        needed = f"{self.ratio:.3f} times the {self.formula} bytes of new states and gates"
        rows.append(["in all", needed if self.formula else "", str(self.kept_bytes)])
        if self.steps is not None and self.batch is not None:
            memory = self.memory(self.steps, self.batch)
            rows.append(["", f"for {self.steps} steps of {self.batch} rows", str(memory)])
        return table(["kept", "for backward", "bytes"], rows, right=(2,))


class _Fates:
    """What became of each operation.

    Parameters
    ----------
    names : ValueNames
    kept : dict of str to int
        The bytes of each array that is kept for backward.
    """

    def __init__(self, names: ValueNames, kept: dict[str, int]) -> None:
        self.names, self.code, self.kept = names, names.code, kept
        self.runner, parts = names.runner, names.parts
        self.loops = {walk: parts.loops(walk) for walk in parts.of}
        self.where = {walk: _computed_in(loops) for walk, loops in self.loops.items()}
        self.products = {
            part.value: part
            for several in parts.of.values()
            for part in several
            if isinstance(part, (ProductPart, OverStepsPart))
        }
        self.hoisted = {*self.runner._forward.needed, *self.runner._backward.needed}
        self.saved = {
            parts.original(v): stored.array.name
            for v, places in self.code.wanted.items()
            for stored in places
            if stored.array.role in LASTING
        }
        needed = {*_below(self.code.wanted), *self.code.originals.values()}
        self.needed = {parts.original(v) for v in needed}

    def operations(self) -> list[Operation]:
        """Return all operations, in the order in which they were recorded."""
        step = self.runner.step
        return [
            self._operation(walk, v)
            for walk, values in (("forward", step.forward), ("backward", step.backward))
            for v in values
        ]

    def _operation(self, walk: str, value: Value) -> Operation:
        names, became, kept = self.names, self._became(walk, value), 0
        if walk == "forward":
            array = self.saved.get(value, "")
            if array in self.kept:
                kept = self.kept[array]
                became += f"; kept as {array}"
            elif value in self.where["backward"]:
                became += "; again in backward"
        line = str(value.node.where) if names.in_source(value.node) else ""
        name, flops = names.names.get(value, ""), self._flops(value)
        return Operation(walk, name, names.operation(value), line, became, flops, kept)

    def _flops(self, value: Value) -> int:
        product = self.products.get(value)
        inside = sum(part.computed.get(value, 0) for loops in self.loops.values() for part in loops)
        return inside + (0 if product is None else product.flops)

    def _became(self, walk: str, value: Value) -> str:
        sunk, part = self.code.sunk, self.products.get(value)
        if not value.varies and value.batch is None:
            return self._once(value)
        if isinstance(part, OverStepsPart):
            return "gradient product, sunk: one product over all steps"
        if value in sunk.sums:
            return "sum, sunk: over all steps and rows at the end"
        if value in sunk.after:
            return "after the loop, once"
        if isinstance(part, ProductPart):
            return _of_products(part)
        if value in self.where[walk]:
            return self._in_loops(value, self.where[walk][value])
        return MOVED if self._is_moved(value) else "not needed"

    def _once(self, value: Value) -> str:
        """Say what became of a value that is the same in all steps and rows."""
        if value in self.hoisted:
            return "computed once per sequence"
        if value in self.runner.after:
            return "computed once, after backward"
        # a matrix is packed as it is turned
        return MOVED if facts_of(value.primitive).view is not None else "not needed"

    def _in_loops(self, value: Value, loops: list[LoopPart]) -> str:
        numbers = ", ".join(str(part.number) for part in loops)
        if any(part.alone is not value for part in loops):
            return f"fused into loop {numbers}"
        if contraction(value) is not None:  # a matrix that varies is not worth packing
            return f"a product whose both sides vary, number by number: loop {numbers}"
        kind = "loop" if is_gather(value) else "reduction"
        return f"a {kind} of its own: loop {numbers}"

    def _is_moved(self, value: Value) -> bool:
        """Whether a value is made of others without any work: by where they are read or written."""
        facts = facts_of(value.primitive)
        if facts.view is not None or facts.pieces is not None or value.primitive is ASSEMBLED:
            return True
        same = is_zero(value.primitive) or is_identity(value.primitive)
        return same or value in self.needed  # a sum of parts, each written into its place


def _below(ends: Iterable[Value]) -> set[Value]:
    """Return all values that some are computed from, and these."""
    found: set[Value] = set()
    stack = list(ends)
    while stack:
        v = stack.pop()
        if v not in found:
            found.add(v)
            stack += v.sources
    return found


def _computed_in(loops: Iterable[LoopPart]) -> dict[Value, list[LoopPart]]:
    """Return for each value the loops in which it is computed."""
    found: dict[Value, list[LoopPart]] = {}
    for part in loops:
        alone = [] if part.alone is None else [part.alone]  # it may be moved without arithmetic
        for v in dict.fromkeys([*part.computed, *alone]):
            found.setdefault(v, []).append(part)
    return found


def _of_products(part: ProductPart) -> str:
    """Say what became of a sum of products."""
    count = len(part.factors)
    if count > 1:
        found = f"{count} products with packed matrices"
    else:
        found = "product with a packed matrix"
    found += "" if part.bias is None else " and the bias"
    return found if count == 1 and part.bias is None else f"{found}, one sum"


def _count(n: int) -> str:
    return str(n) if n else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return columns as text; those in `right` are numbers."""
    return "\n".join(columns([head, *rows], right))
