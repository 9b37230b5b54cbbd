"""Running the code of a sequence on arrays.

With several threads each takes a part of the batch, in workspaces of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.memory import empty
from ..core.primitive import Array
from ..core.tape import Node
from ..kernels import products, runtime
from ..loops import ir, workspace
from ..loops.expression import BatchNumber
from ..loops.ir import COLUMNS, Role, dtype_of
from ..loops.launch import CodeRefused, compiled
from ..loops.workspace import LINE, Workspace
from .calls import Arguments, CompiledFunction, Residuals, Shard
from .functions import sizes_of
from .marshal import compute, elements, flat, needed, owner, pack_rows, unpack_rows
from .sequence import SequenceCode
from .sizes import sized
from .value import CompileError, Given, Value, unsupported
from .variant import Variant

# combinations of sizes, or of needed gradients, about which something is remembered
REMEMBERED = 64

ByValue = Mapping[Value, Array]
Gradients = Sequence[Array | None]


class Runner:
    """A compiled step, to be run over sequences.

    Parameters
    ----------
    code : SequenceCode
    variant : Variant
        The step.
    structure : (nest, nest)
        How outputs and states were nested.
    computed : mapping of Node to array
        The values of tensors from outside that were computed.

    Attributes
    ----------
    source : str
        The generated module, in which all loops stand where they are run.
    """

    def __init__(
        self, code: SequenceCode, variant: Variant, structure: Any, computed: Mapping[Node, Array]
    ) -> None:
        self.code, self.step, self.dtype = code, code.step, code.dtype
        self.variant, self.structure = variant, structure
        self.source = code.text().text
        products.library(self.dtype)  # whose functions the module calls by name
        module = self._compiled()
        self._forward = CompiledFunction(code, "forward", module)
        self._backward = CompiledFunction(code, "backward", module)
        self._divide_arrays()
        self.number = next(workspace.numbers)
        self.stepwise: dict[bool, Any] = {}  # see `measured.py`
        self.owners = {v: owner(v.node, computed) for v in self.step.constants}
        self.wanted = [self.owners[v] for v in code.constants]  # to which gradients go
        self._shapes: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        self._live: dict[Any, list[int]] = {}
        self._plan()

    def _divide_arrays(self) -> None:
        """Find which arrays of forward backward reads, and which it has besides."""
        read = {a.name for a in self._backward.own}
        outlasting = (Role.RESIDUAL, Role.STATE, Role.OUTPUT, Role.FIXED)
        self.kept = [a for a in self._forward.own if a.role in outlasting and a.name in read]
        kept = {a.name for a in self.kept}
        self.fleeting = [a for a in self._forward.own if a.name not in kept]
        self.own = [a for a in self._backward.own if a.name not in kept]

    def _plan(self) -> None:
        """Find what is the same at each call."""
        step, code = self.step, self.code
        self.emitted = [v for several in step.emitted for v in several]
        self.ends = [*step.outputs, *step.states]
        self.lasts = range(len(step.outputs), len(self.ends))  # which of them are states
        floats = [v.dtype for v in self.ends if v.dtype.kind == "f"]  # which may have gradients
        # they are written where they stand one after the other
        self.one = all(dtype == self.dtype for dtype in floats)
        self.widest = np.result_type(*floats, np.float32)  # in which they stand otherwise
        # names of arrays of the caller
        self.firsts = [f"first{k}" for k in range(len(step.states))]
        self.results = [f"out{k}" for k in range(len(step.outputs))]
        self.results += [f"last{k}" for k in range(len(step.states))]
        firsts = zip(self.firsts, step.states, strict=True)
        self.gradients = [(f"d{f}", v) for f, v in firsts if step.gradients.get(v) is not None]
        self.gradients += [(f"din{k}", step.xs[k]) for k in code.d_inputs]
        self.gradients += [(f"dfixed{k}", step.fixed[k]) for k in code.d_fixed]
        self.row_major_xs = [(f"in{k}", v) for k, v in enumerate(step.xs) if code.row_major(v)]
        # what is brought into order here and not by the code, with the array that the code has
        given = [(f"x{k}", v) for k, v in enumerate(step.xs)]
        given += [(f"s{k}", v) for k, v in enumerate(step.states)]
        self.turned = [(name, v) for name, v in given if not code.row_major(v)]
        self.turned += [(f"f{k}", v) for k, v in enumerate(step.fixed)]
        arrays = zip(self.ends, [*code.outputs, *code.states], strict=True)
        self.turned_ends = [
            (k, v, array) for k, (v, array) in enumerate(arrays) if not code.row_major(v)
        ]
        self.asked = [v for _, v in step.drawn if v.given is Given.CONSTANT]
        gradients = ((v, step.gradients[v]) for v in code.constants)
        self.constants = {v: g for v, g in gradients if g is not None}  # and their gradients
        ends = [g for g in self.constants.values() if not g.varies]
        ends += [i for v in code.sunk.after for i in v.sources if not i.varies]
        self.after = [*needed(code.program, ends), *code.sunk.after]
        rows = [*step.xs, *step.states, *step.fixed, *(v for v in step.forward if v.varies)]
        self.divisible = all(
            v.batch is not None and not any(isinstance(i, BatchNumber) for i in v.inputs)
            for v in rows
        )

    def _compiled(self) -> Any:
        """Compile the module; a CompileError names the operation that has no code."""
        try:
            return compiled(self.code.text(sharing=True))
        except CodeRefused as refused:
            why, statement = f"the code for it is refused ({refused.reason})", refused.statement
            if statement is None or statement.origin is None:
                raise CompileError(f"tg.jit: {self.step.name}: {why}") from refused
            raise unsupported(statement.origin.value, why) from refused

    def _workspace(self, which: str, T: int, rows: int) -> Workspace:
        key = (self.number, which, T, rows)
        arrays = getattr(self, which)
        return workspace.pool.take(
            key, lambda find: Workspace(arrays, T, rows, self, key, self.dtype, find)
        )

    def __del__(self) -> None:
        # it was made, and the program does not end
        if hasattr(self, "number") and workspace.pool is not None:
            workspace.pool.drop(self.number)

    def function(self, which: str) -> CompiledFunction:
        """Return one of the two functions, "forward" or "backward"."""
        return self._forward if which == "forward" else self._backward

    # --- what a call has to know ------------------------------------------------------------------

    def shapes(self, T: int, batch: int) -> list[tuple[int, ...]]:
        """Return the shapes of outputs over all steps, last states, and what the steps emit."""
        found = self._shapes.get((T, batch))
        if found is None:
            if len(self._shapes) > REMEMBERED:
                self._shapes = {}
            of_one = [sized(v.shape, batch) for v in (*self.ends, *self.emitted)]
            found = self._shapes[T, batch] = [
                shape if k in self.lasts else (T, *shape) for k, shape in enumerate(of_one)
            ]
        return found

    def step_bytes(self, batch: int) -> int:
        """Return the bytes that one step more takes, of what is kept, worked on, and given."""
        size = self.bytes_of((*self.kept, *self.fleeting, *self.own), batch, 1)
        given = (*self.step.outputs, *self.emitted)
        return size + sum(math.prod(sized(v.shape, batch)) * v.dtype.itemsize for v in given)

    def bytes_of(self, arrays: Iterable[ir.Array], batch: int, steps: int) -> int:
        """Return the bytes that so many steps more of some arrays take."""
        many = COLUMNS  # steps, which are more than a span
        return sum(
            (a.elements(many + steps, batch) - a.elements(many, batch))
            * dtype_of(a.kind, self.dtype).itemsize
            for a in arrays
        )

    def live(self, needs: tuple[bool, ...], xs: int, lent: int, T: int) -> list[int]:
        """Return which outputs and last states have a gradient after T steps.

        `needs` says of the first `xs` inputs, the first states, as many borrowed tensors as `lent`,
        and the constants whether they have one.
        """
        key = (needs, xs, lent, T)
        found = self._live.get(key)
        if found is None:
            if len(self._live) > REMEMBERED:
                self._live = {}
            step = self.step
            places = [*step.xs[:xs], *step.states, *step.fixed[:lent], *self.owners]
            given = {v for v, needed_ in zip(places, needs, strict=True) if needed_}
            found = self._live[key] = self._reached(given, T)
        return found

    def _reached(self, given: set[Value], T: int) -> list[int]:
        """Return the outputs and last states to which a gradient leads from these."""
        count, states = len(self.step.outputs), self.step.states
        outputs: set[int] = set()
        carried = {v for v in states if v in given}
        rest = given - carried
        for _ in range(T):
            here = rest | carried
            found = [k for k, ends in enumerate(self.step.reaches) if not ends.isdisjoint(here)]
            outputs.update(k for k in found if k < count)
            before, carried = carried, {states[k - count] for k in found if k >= count}
            if carried == before:
                break
        return [*sorted(outputs), *(count + k for k, v in enumerate(states) if v in carried)]

    def shards(self, batch: int) -> list[tuple[int, int]]:
        """Return the parts of the batch that threads take; one, if rows depend on each other."""
        lanes = LINE // self.dtype.itemsize  # rows that cost as much as one
        blocks = -(-batch // lanes)
        count = max(1, min(runtime.threads(), blocks)) if self.divisible else 1
        bounds = [min(blocks * k // count * lanes, batch) for k in range(count + 1)]
        return list(itertools.pairwise(bounds))

    # --- forward ----------------------------------------------------------------------------------

    def forward(self, given: ByValue, batch: int, reverse: bool, out: Sequence[Array]) -> Residuals:
        """Run all steps.

        Parameters
        ----------
        given : mapping of Value to array
            Inputs (T, batch, ...), first states (batch, ...), and what is the same at each step:
            with rows (batch, ...), or constants that are found anew for each sequence. Constants
            that belong to tensors are read there, unless they are given.
        out : arrays
            Where the outputs (T, batch, ...), the last states (batch, ...) and what the steps emit
            (T, batch, ...) go.
        """
        step, T = self.step, given[self.step.xs[0]].shape[0]
        known: dict[Value, Any] = {v: given.get(v, o.array) for v, o in self.owners.items()}
        known.update((v, given[v]) for v in self.asked)
        constants = self._forward.constants(known, batch)
        left = Residuals(T, batch, reverse, known)
        left.caller = {name: flat(given[v]) for name, v in self.row_major_xs}
        left.turned = {v: given[v] for _, v in self.turned if v.given is Given.INPUT}
        # in order, so that gradients are added up in the same order each time
        left.shards = [
            Shard(lo, hi, self._workspace("kept", T, hi - lo)) for lo, hi in self.shards(batch)
        ]
        caller = dict(left.caller)
        caller.update(zip(self.firsts, [flat(given[v]) for v in step.states], strict=True))
        # these were made here, so they have no gaps
        caller.update(zip(self.results, [a.reshape(-1) for a in out], strict=False))
        arguments = Arguments(caller, constants)
        jobs = [(left, shard, arguments, given, out) for shard in left.shards]
        runtime.share(self._forward_rows, jobs) if len(jobs) > 1 else self._forward_rows(*jobs[0])
        return left

    def _forward_rows(
        self,
        left: Residuals,
        shard: Shard,
        arguments: Arguments,
        given: ByValue,
        out: Sequence[Array],
    ) -> None:
        """Run `forward` on some rows of the batch."""
        T, (lo, hi, kept) = left.shape[0], shard
        fleeting = self._workspace("fleeting", T, hi - lo)
        arrays = kept.arrays | fleeting.arrays
        for name, v in self.turned:
            if name in arrays:
                pack_rows(v, given[v], v.given is Given.INPUT, lo, hi, arrays[name])
        sizes = sizes_of(*left.shape, lo, hi, left.reverse)
        self._forward.run(sizes, (kept, fleeting), arguments)
        for k, v, array in self.turned_ends:
            last, state = k in self.lasts, array.role is Role.STATE
            # states of all steps are in the order in which they run, after the first one
            place = out[k][::-1] if state and not last and left.reverse else out[k]
            begin = (T if last else int(state)) * elements(v, hi - lo)
            unpack_rows(v, arrays[array.name][begin:], not last, lo, hi, place)
        emitted = zip(self.emitted, self.code.emitted, out[len(self.ends) :], strict=True)
        for v, array, place in emitted:
            unpack_rows(v, arrays[array.name], True, lo, hi, place)
        workspace.pool.give(fleeting)

    # --- backward ---------------------------------------------------------------------------------

    def completed(
        self, parts: Mapping[int, Array], shapes: Sequence[tuple[int, ...]]
    ) -> list[Array | None]:
        """Return a gradient for each output and last state, zeros where none is given.

        None for those that have none, which are no floats.
        """
        found: list[Array | None] = []
        for k, (v, shape) in enumerate(zip(self.ends, shapes, strict=False)):
            if v.dtype.kind != "f":
                found.append(None)
            elif k in parts:
                found.append(parts[k].astype(v.dtype, copy=False))
            else:
                found.append(np.zeros(shape, v.dtype))
        return found

    def backward(self, left: Residuals, gradients: Gradients) -> dict[Value, Array]:
        """Return the gradients of the wanted inputs, states, fixed inputs and constants.

        From those of the outputs and last states; None for what has none.
        """
        found, caller = self.caller_of(left, gradients)
        arguments = Arguments(caller, self._backward.constants(left.constants, left.shape[1]))
        parts: list[dict[Value, Array]] = [{} for _ in left.shards]
        jobs = [
            (left, shard, arguments, gradients, found, part)
            for shard, part in zip(left.shards, parts, strict=True)
        ]
        runtime.share(self._backward_rows, jobs) if len(jobs) > 1 else self._backward_rows(*jobs[0])
        return found | self.completed_sums(left, parts)

    def caller_of(
        self, left: Residuals, gradients: Gradients
    ) -> tuple[dict[Value, Array], dict[str, Array]]:
        """Return arrays for the gradients, and all arrays of the caller by their names."""
        T, batch = left.shape
        arriving = zip(self.results, gradients, strict=True)
        caller = {**left.caller, **{f"d{name}": flat(g) for name, g in arriving if g is not None}}
        found: dict[Value, Array] = {}
        for name, v in self.gradients:
            shape = sized(v.shape, batch)
            found[v] = empty((T, *shape) if v.given is Given.INPUT else shape, v.dtype)
            caller[name] = found[v].reshape(-1)
        return found, caller

    def completed_sums(
        self, left: Residuals, parts: Sequence[Mapping[Value, Array]]
    ) -> dict[Value, Array]:
        """Return the gradients of constants, from what was summed in several parts."""
        known = {**left.constants, **parts[0]}
        for part in parts[1:]:
            for v, value in part.items():
                known[v] = known[v] + value
        batch = left.shape[1]
        for v in [*self.after, *self.constants.values()]:
            if v not in known:
                known[v] = compute(v, known, batch)
        # ascontiguousarray would give a number an axis
        return {v: np.asarray(known[gradient], order="C") for v, gradient in self.constants.items()}

    def _backward_rows(
        self,
        left: Residuals,
        shard: Shard,
        arguments: Arguments,
        gradients: Gradients,
        found: dict[Value, Array],
        sums: dict[Value, Array],
    ) -> None:
        """Run `backward` on some rows of the batch; `sums` gets what is summed over all steps."""
        kept, rows = shard.kept, shard.hi - shard.lo
        own = self._workspace("own", left.shape[0], rows)
        arrays = kept.arrays | own.arrays
        self._bring_in(left, shard, gradients, arrays)
        sizes = sizes_of(*left.shape, shard.lo, shard.hi, left.reverse)
        self._backward.run(sizes, (kept, own), self.with_products(arguments, sums))
        self._bring_out(shard, arrays, found)
        self._sum_rows(rows, arrays, sums)
        workspace.pool.give(own)

    def with_products(self, arguments: Arguments, sums: dict[Value, Array]) -> Arguments:
        """Return arguments with arrays for products over the steps, which `sums` gets too."""
        caller, code = dict(arguments.caller), self.code
        for k, (v, p) in enumerate(code.sunk.products.items()):
            caller[f"dw{k}"] = out = empty((p.size,), self.dtype)
            if v in code.transposed:
                out = out.reshape(p.slices, p.N, p.M).swapaxes(1, 2)
            sums[v] = out.reshape(v.shape)
        return Arguments(caller, arguments.constants)

    def _bring_in(
        self, left: Residuals, shard: Shard, gradients: Gradients, arrays: dict[str, Array]
    ) -> None:
        """Bring inputs and gradients into the order in which the code has them."""
        T, (lo, hi, _) = left.shape[0], shard
        for name, v in self.turned:
            if v in left.turned and name in arrays:
                pack_rows(v, left.turned[v], True, lo, hi, arrays[name])
        for k, v, _ in self.turned_ends:
            last, g = k in self.lasts, gradients[k]
            name = f"ds{k - self.lasts.start}" if last else f"dy{k}"
            if name in arrays and g is not None:
                begin = self.code.turns.last(T) * elements(v, hi - lo) if last else 0
                pack_rows(v, g, not last, lo, hi, arrays[name][begin:])

    def _bring_out(
        self, shard: Shard, arrays: dict[str, Array], found: Mapping[Value, Array]
    ) -> None:
        """Bring gradients of what was given into the order in which the caller has them."""
        lo, hi, _ = shard
        for name, v in self.turned:
            if v in found and f"d{name}" in arrays:
                # of the first states it is where step 0 wrote it
                first = self.code.turns.first if v.given is Given.STATE else 0
                values = arrays[f"d{name}"][elements(v, hi - lo) * first :]
                unpack_rows(v, values, v.given is Given.INPUT, lo, hi, found[v])

    def _sum_rows(self, rows: int, arrays: dict[str, Array], sums: dict[Value, Array]) -> None:
        """Add up over the rows what was collected for each of them."""
        code = self.code
        over_rows: dict[Value, Array] = {}
        for v, source in code.sunk.sums.items():
            total = arrays[code.summed[source].name]
            if source is v:  # added up as it stands
                sums[v] = total.reshape(v.shape).copy()
                continue
            if is_sum_of_rows(v, source):
                if source not in over_rows:
                    over_rows[source] = total.reshape(-1, rows).sum(axis=1)
                sums[v] = over_rows[source].reshape(v.shape)
            else:
                total = np.moveaxis(total.reshape((*source.features, rows)), -1, source.batch or 0)
                axes = v.params["axis"]
                axis = tuple(axes) if isinstance(axes, list) else axes
                sums[v] = total.sum(axis=axis, keepdims=v.params["keepdims"])


def is_sum_of_rows(v: Value, source: Value) -> bool:
    """Whether a sum is one over the rows of the batch alone."""
    return v.shape == source.features and v.params["axis"] in (source.batch, (source.batch,))
