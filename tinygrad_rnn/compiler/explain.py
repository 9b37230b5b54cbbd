"""What became of a cell when it was compiled.

Where each of its operations is computed, what it costs, and what is kept for backward.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..kernels import runtime
from .affine import products
from .effects import B
from .lower import REDUCTIONS, Loop
from .module import Schedule
from .op import Op
from .readable import Reader, held, loops
from .run import Runner
from .views import PIECES, VIEWS

# functions of one value that are linear: they need no argument kept
NOT_BENT = ("neg", "positive", "astype", "zeros_like", "stop_gradient")


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
    """A loop, product or other part of the generated code.

    Flops and bytes read and written per step and row.

    Of matrices the bytes do not count: they are shared by all rows.
    """

    walk: str
    name: str
    does: str
    flops: int
    bytes: int


class Kept(NamedTuple):
    """An array that waits for backward.

    Bytes per step and row, and those that it has in addition per row, once.
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

    def __init__(
        self, runner: Runner, reader: Reader, steps: int | None, batch: int | None
    ) -> None:
        self.runner, self.reader = runner, reader
        step, module = runner.step, runner.module
        self.name, self.dtype, self.steps, self.batch = step.name, runner.dtype, steps, batch
        self.threads, self.divisible = runtime.threads(), runner.divisible
        self.wide = [reader.label(op) for op, wide in module.once_ops if wide]
        self.kept = self._kept()
        self.units = [*self._units("forward"), *self._units("backward")]
        self.operations = [*self._operations("forward"), *self._operations("backward")]
        bent = {
            op.inputs[0]
            for op in step.forward
            if op.elementwise and len(op.inputs) == 1 and op.op not in NOT_BENT
        }
        bent -= {*step.new_states, *step.states, *step.xs}
        needed = [
            op
            for op in [*dict.fromkeys(step.new_states), *bent]
            if isinstance(op, Op) and op.varies and op.batch is not None and op.dtype.kind == "f"
        ]
        self.formula = sum(op.size * op.dtype.itemsize for op in needed)

    # --- figures ----------------------------------------------------------------------------------------------------------------

    def flops(self, walk: str, kind: str) -> int:
        """Per step and row; walk: "forward" or "backward"; kind: "products" or "elementwise"."""
        return sum(
            u.flops
            for u in self.units
            if u.walk == walk and (u.name.startswith(("product", "after"))) == (kind == "products")
        )

    @property
    def kept_bytes(self) -> int:
        """Kept between forward and backward, per step and row."""
        return sum(k.bytes for k in self.kept)

    @property
    def ratio(self) -> float:
        """What is kept, divided by `formula`."""
        return self.kept_bytes / self.formula if self.formula else float("nan")

    def memory(self, steps: int, batch: int) -> int:
        """Bytes kept between forward and backward of so many steps and rows."""
        return sum((k.bytes * steps + k.once) * batch for k in self.kept)

    def _kept(self) -> list[Kept]:
        found = []
        for slot in self.runner.kept:
            if not slot.batch:  # of size without rows: as if of one row
                continue
            n = slot.size * self.runner.dtypes[slot.kind].itemsize
            what = self.reader.array("forward", slot.name, slot)[0].removesuffix(
                ", kept for backward"
            )
            found.append(
                Kept(
                    slot.name,
                    what,
                    n if slot.times in ("all", "states") else 0,
                    0 if slot.times == "all" else n,
                )
            )
        return found

    def _units(self, walk: str) -> list[Unit]:
        module, reader = self.runner.module, self.reader
        schedule: Schedule = getattr(module, f"{walk}_schedule")
        names, found, count = reader.scalars(schedule), [], 0
        item = self.dtype.itemsize
        for _, op, part in schedule.notes:
            if isinstance(part, Loop):
                if not part.writes:
                    continue
                count += 1
                size = features(part.domain)
                made = dict.fromkeys(names[v] for *_, v, _ in part.writes if v in names)
                moved = len(part.writes) + len(part.streams)
                found.append(
                    Unit(
                        walk,
                        f"loop {count}",
                        ", ".join(made) or reader.label(op),
                        len(part.lines) * size,
                        moved * size * item,
                    )
                )
            elif op.op in ("matmul", "affine") and part and part[0].startswith("multiply("):
                pairs, _ = products(op)
                flops = sum(2 * moving.size * op.size for moving, _ in pairs)
                moved = (op.size * len(pairs) + sum(moving.size for moving, _ in pairs)) * item
                target = reader.names.get(op) or schedule.block.stores[op].name
                terms = [
                    reader.product(
                        moving, fixed, op.inputs[2 * k if op.op == "affine" else 0] is moving
                    )
                    for k, (moving, fixed) in enumerate(pairs)
                ]
                found.append(Unit(walk, "product", f"{target} = {' + '.join(terms)}", flops, moved))
        if walk == "backward":
            for op, (left, right) in module.products.items():
                text = f"{reader.weight_of(op)}, over all steps"
                found.append(
                    Unit(
                        walk,
                        "after",
                        text,
                        2 * left.size * right.size,
                        (left.size + right.size) * item,
                    )
                )
        return found

    def _operations(self, walk: str) -> list[Operation]:
        runner, module, reader = self.runner, self.runner.module, self.reader
        step = runner.step
        schedules: dict[str, Schedule] = {
            w: getattr(module, f"{w}_schedule") for w in ("forward", "backward")
        }
        where = {w: computed_in(schedule) for w, schedule in schedules.items()}
        own = {
            w: {op: part for _, op, part in schedule.notes if not isinstance(part, Loop)}
            for w, schedule in schedules.items()
        }
        hoisted = {*runner._forward.needed, *runner._backward.needed}
        saved = {
            op: store.name
            for op, places in module.forward_wanted.items()
            for store, _ in places
            if store.name[0] in "ksy"
        }
        kept = {k.name: k.bytes for k in self.kept}
        same = {
            op for loop in loops(schedules[walk]) for ops in held(loop).values() for op in ops[1:]
        }

        def unused(op: Op) -> str:
            """A matrix is packed as it is turned."""
            return "an index, no work" if op.op == "transpose" and not op.varies else "not needed"

        found = []
        for op in step.forward if walk == "forward" else step.backward:
            flops = sum(
                n * size for loops_of in where.values() for n, size in loops_of.get(op, {}).values()
            )
            if not op.varies and op.batch is None:
                became = (
                    "computed once per sequence"
                    if op in hoisted
                    else "computed once, after backward"
                    if op in runner.after
                    else unused(op)
                )
            elif op in module.products:
                left, right = module.products[op]
                flops, became = (
                    2 * left.size * right.size,
                    "gradient product, sunk: one product over all steps",
                )
            elif op in module.sums:
                became = "sum, sunk: over all steps and rows at the end"
            elif op in module.post:
                became = "after the loop, once"
            elif op in own[walk] and own[walk][op] and own[walk][op][0].startswith("multiply("):
                pairs, bias = products(op)
                flops = sum(2 * moving.size * op.size for moving, _ in pairs)
                became = (
                    "product with a packed matrix"
                    if len(pairs) == 1
                    else f"{len(pairs)} products with packed matrices"
                )
                became += (
                    f"{' and the bias' if bias is not None else ''}, one sum"
                    if len(pairs) > 1 or bias is not None
                    else ""
                )
            elif op in own[walk]:
                became = f"a {'reduction' if op.op in (*REDUCTIONS, 'matmul', 'einsum') else 'loop'} of its own"
                flops = op.inputs[0].size if op.inputs and isinstance(op.inputs[0], Op) else op.size
            elif op in where[walk]:
                became = "fused into loop " + ", ".join(str(k) for k in sorted(where[walk][op]))
            elif op.op in (*VIEWS, *PIECES, "zeros_like") or op in same:
                became = "an index, no work"
            else:
                became = unused(op)
            held_bytes = 0
            if walk == "forward":
                if op in saved and saved[op] in kept:
                    held_bytes = kept[saved[op]]
                    became += f"; kept as {saved[op]}"
                elif op in where["backward"]:
                    became += "; again in backward"
            found.append(
                Operation(
                    walk,
                    reader.names.get(op, ""),
                    op.op,
                    str(op.node.where) if op.node.origin[:2] in reader.own else "",
                    became,
                    flops,
                    held_bytes,
                )
            )
        return found

    # --- text -------------------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        parts = []
        if self.divisible:
            shards = (
                ""
                if self.batch is None
                else f": {self.batch} rows in {len(self.runner.shards(self.batch))}"
            )
            threads = f"the batch is divided among up to {self.threads} thread{'s' if self.threads > 1 else ''}{shards}"
        else:
            threads = "the batch is not divided among threads: rows depend on each other"
        parts.append(f"{self.name}, {self.dtype}; {threads}")
        if self.wide:
            parts.append(f"repeated for each row: {', '.join(self.wide)}")
        for walk in ("forward", "backward"):
            rows = [
                [o.name, o.op, o.line, o.became, _count(o.flops), _count(o.kept)]
                for o in self.operations
                if o.walk == walk
            ]
            last = ["kept bytes"] if walk == "forward" else []
            head = ["value", "operation", "line", f"what became of it, {walk}", "flops", *last]
            parts.append(table(head, [row[: len(head)] for row in rows], right=(4, 5)))
        rows = [[u.walk, u.name, u.does, _count(u.flops), _count(u.bytes)] for u in self.units]
        for walk in ("forward", "backward"):
            rows.append(
                [
                    walk,
                    "in all",
                    f"products {self.flops(walk, 'products')}, elementwise {self.flops(walk, 'elementwise')}",
                    _count(sum(u.flops for u in self.units if u.walk == walk)),
                    _count(sum(u.bytes for u in self.units if u.walk == walk)),
                ]
            )
        parts.append(table(["what runs", "", "", "flops", "bytes"], rows, right=(3, 4)))
        rows = [[k.name, k.what, _count(k.bytes)] for k in self.kept]
        rows.append(
            [
                "in all",
                f"{self.ratio:.3f} times the {self.formula} bytes of new states and gates"
                if self.formula
                else "",
                str(self.kept_bytes),
            ]
        )
        if self.steps is not None and self.batch is not None:
            rows.append(
                [
                    "",
                    f"for {self.steps} steps of {self.batch} rows",
                    str(self.memory(self.steps, self.batch)),
                ]
            )
        parts.append(table(["kept", "for backward", "bytes"], rows, right=(2,)))
        return "\n\n".join(
            [*parts, "Figures are per step and row of the batch, where nothing else is said."]
        )

    __repr__ = __str__


def computed_in(schedule: Schedule) -> dict[Op, dict[int, tuple[int, int]]]:
    """In which loops, by number, each operation is computed.

    How often, and for how many elements of a row.
    """
    found: dict[Op, dict[int, tuple[int, int]]] = {}
    for k, loop in enumerate(loops(schedule), start=1):
        read = set(loop.streams.values())
        for var, ops in held(loop).items():
            # others are the same number: an index, or put together of it and zeros
            for op in ops[:1]:
                if var not in read and (op.elementwise or op.op == "astype"):
                    n = found.setdefault(op, {}).get(k, (0, 0))[0]
                    found[op][k] = (n + 1, features(loop.domain))
    return found


def features(domain: Iterable[Any]) -> int:
    """How many elements of a row a loop goes over."""
    return int(np.prod([n for n in domain if n != B], dtype=int))


def _count(n: int) -> str:
    return str(n) if n else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as text; those in `right` are numbers."""
    every = [head, *rows]
    widths = [max(len(row[k]) for row in every) for k in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if k in right else cell.ljust(w)
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in every
    )
