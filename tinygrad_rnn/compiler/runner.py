"""Running the code of a sequence on arrays.

With several threads each takes a part of the batch, in workspaces of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.memory import empty
from ..core.primitive import Array
from ..core.tape import Node
from ..kernels import products, runtime
from ..loops import workspace
from ..loops.expression import BatchNumber
from ..loops.ir import Role
from ..loops.launch import CodeRefused, compiled
from ..loops.workspace import LINE, Workspace
from .calls import CompiledFunction, Residuals
from .marshal import compute, elements, flat, needed, owner, pack_rows, unpack_rows
from .sequence import SequenceCode
from .sizes import sized
from .value import CompileError, Value, unsupported

REMEMBERED = (
    64  # combinations of sizes, or of needed gradients, about which something is remembered
)


class Runner:
    """A compiled step, to be run over sequences.

    Attributes
    ----------
    source : str
        The generated module, in which all loops stand where they are run.
    """

    def __init__(self, code: SequenceCode, computed: Mapping[Node, Array]) -> None:
        self.code, self.step, self.dtype = code, code.step, code.dtype
        self.structure: Any = None  # how outputs and states were nested
        self.source = code.text().text
        products.library(self.dtype)  # whose functions the module calls by name
        module = self._compiled()
        self._forward = CompiledFunction(code, "forward", module.forward)
        self._backward = CompiledFunction(code, "backward", module.backward)
        self._divide_arrays()
        self.number = next(workspace.numbers)
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
        self.row_major_xs = [(f"in{k}", k) for k, v in enumerate(step.xs) if code.row_major(v)]
        self.firsts = [f"first{k}" for k in range(len(step.states))]
        self.results = [
            *(f"out{k}" for k in range(len(step.outputs))),
            *(f"last{k}" for k in range(len(step.states))),
        ]
        self.emitted = [v for several in step.emitted for v in several]
        self.ends = [*step.outputs, *step.states]
        floats = [v.dtype for v in self.ends if v.dtype.kind == "f"]  # which may have gradients
        # they are written where they stand one after the other
        self.one = all(dtype == self.dtype for dtype in floats)
        self.widest = np.result_type(*floats, np.float32)  # in which they stand otherwise
        # what is brought into order here and not by the code
        self.turned_xs = [(k, v) for k, v in enumerate(step.xs) if not code.row_major(v)]
        self.turned_states = [(k, v) for k, v in enumerate(step.states) if not code.row_major(v)]
        self.turned_outputs = [(k, v) for k, v in enumerate(step.outputs) if not code.row_major(v)]
        gradients = (step.gradients[v] for v in code.constants)
        ends = [g for g in gradients if g is not None and not g.varies]
        ends += [i for v in code.sunk.after for i in v.sources if not i.varies]
        self.after = [*needed(code.program, ends), *code.sunk.after]
        rows = [*step.xs, *step.states, *step.fixed, *(v for v in step.forward if v.varies)]
        self.divisible = all(
            v.batch is not None and not any(isinstance(i, BatchNumber) for i in v.inputs)
            for v in rows
        )

    def _compiled(self) -> Any:
        """Compile the module; a CompileError names the operation that numba does not take."""
        try:
            return compiled(self.code.text(sharing=True), self.code.text())
        except CodeRefused as refused:
            why, statement = f"the code for it is refused ({refused.reason})", refused.statement
            if statement is None or statement.origin is None:
                raise CompileError(f"tg.jit: {self.step.name}: {why}") from refused
            raise unsupported(statement.origin.value, why) from refused

    def _workspace(self, which: str, T: int, rows: int) -> Workspace:
        key = (self.number, which, T, rows)
        found = workspace.pool.take(key)
        if found is not None:
            return found
        return Workspace(getattr(self, which), T, rows, self, key, self.dtype)

    def __del__(self) -> None:
        # it was made, and the program does not end
        if hasattr(self, "number") and workspace.pool is not None:
            workspace.pool.drop(self.number)

    # --- what a call has to know ------------------------------------------------------------------

    def shapes(self, T: int, batch: int) -> list[tuple[int, ...]]:
        """Return the shapes of outputs over all steps, last states, and what the steps emit."""
        found = self._shapes.get((T, batch))
        if found is None:
            if len(self._shapes) > REMEMBERED:
                self._shapes = {}
            of_one = [sized(v.shape, batch) for v in (*self.ends, *self.emitted)]
            split = range(len(self.step.outputs), len(self.results))
            found = self._shapes[T, batch] = [
                shape if k in split else (T, *shape) for k, shape in enumerate(of_one)
            ]
        return found

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
        most = batch * self.dtype.itemsize // LINE
        count = max(1, min(runtime.threads(), most)) if self.divisible else 1
        bounds = [batch * k // count for k in range(count + 1)]
        return list(itertools.pairwise(bounds))

    def _sizes(self, T: int, lo: int, hi: int, batch: int, reverse: bool) -> tuple[int, ...]:
        last, way = (T - 1, -1) if reverse else (0, 1)
        return T, hi - lo, batch, lo, last, way, min(hi - lo, 1)

    # --- forward ----------------------------------------------------------------------------------

    def forward(
        self,
        xs: Sequence[Array],
        states: Sequence[Array],
        fixed: Sequence[Array],
        asked: Mapping[Value, Array],
        batch: int,
        reverse: bool,
        out: Sequence[Array],
    ) -> Residuals:
        """Run all steps.

        Parameters
        ----------
        xs : arrays (T, batch, ...)
        states : arrays (batch, ...)
        fixed : arrays (batch, ...)
            What is the same at each step.
        asked : mapping of Value to array
            Values of constants that are found anew for each sequence.
        out : arrays
            Where the outputs (T, batch, ...), the last states (batch, ...) and what the steps emit
            (T, batch, ...) go.
        """
        T = xs[0].shape[0]
        known: dict[Value, Any] = {v: owner.array for v, owner in self.owners.items()}
        known.update(asked)
        constants = self._forward.constants(known, batch)
        left = Residuals(T, batch, reverse, xs, known)
        left.caller = {name: flat(xs[k]) for name, k in self.row_major_xs}
        caller = dict(left.caller)
        for names, arrays in ((self.firsts, states), (self.results, out)):
            caller.update(zip(names, [flat(a) for a in arrays], strict=False))
        arguments = [caller[a.name] for a in self._forward.caller]
        shards = self.shards(batch)
        # in order, so that gradients are added up in the same order each time
        left.shards = [None] * len(shards)
        given = (xs, states, fixed)
        jobs = [
            (left, k, lo, hi, given, arguments, constants, out) for k, (lo, hi) in enumerate(shards)
        ]
        runtime.share(self._forward_rows, jobs) if len(jobs) > 1 else self._forward_rows(*jobs[0])
        return left

    def _forward_rows(
        self,
        left: Residuals,
        number: int,
        lo: int,
        hi: int,
        given: Sequence[Sequence[Array]],
        arguments: list[Array],
        constants: list[Array],
        out: Sequence[Array],
    ) -> None:
        """Run `forward` on some rows of the batch."""
        (T, batch), rows = left.shape, hi - lo
        kept, fleeting = self._workspace("kept", T, rows), self._workspace("fleeting", T, rows)
        arrays = {**kept.arrays, **fleeting.arrays}
        fixed = list(enumerate(self.step.fixed))
        for letter, turned, several, lead in (
            ("x", self.turned_xs, given[0], 1),
            ("s", self.turned_states, given[1], 0),
            ("f", fixed, given[2], 0),
        ):
            for k, v in turned:
                if f"{letter}{k}" in arrays:
                    pack_rows(v, several[k], lead, lo, hi, arrays[f"{letter}{k}"])
        constants = self._forward.repeated(constants, rows)
        sizes = self._sizes(T, lo, hi, batch, left.reverse)
        self._forward.run(sizes, (kept, fleeting), [*arguments, *constants])
        for k, v in self.turned_outputs:
            array = self.code.outputs[k]
            own, place = arrays[array.name], out[k]
            if array.role is Role.STATE:  # in the order of the steps, after the first state
                own = own[elements(v, rows) :]
                place = place[::-1] if left.reverse else place
            unpack_rows(v, own, 1, lo, hi, place)
        for k, v in self.turned_states:
            last = arrays[f"s{k}"][T * elements(v, rows) :]
            unpack_rows(v, last, 0, lo, hi, out[len(self.step.outputs) + k])
        for v, array, place in zip(
            self.emitted, self.code.emitted, out[len(self.results) :], strict=True
        ):
            unpack_rows(v, arrays[array.name], 1, lo, hi, place)
        workspace.pool.give(fleeting)
        left.shards[number] = (lo, hi, kept)

    # --- backward ---------------------------------------------------------------------------------

    def backward(self, left: Residuals, gradients: Sequence[Array | None]) -> dict[Value, Array]:
        """Return the gradients of the wanted inputs, states, fixed inputs and constants.

        From those of the outputs and last states; None for what has none.
        """
        T, batch = left.shape
        code, step = self.code, self.step
        constants = self._backward.constants(left.constants, batch)
        arriving = zip(self.results, gradients, strict=True)
        caller = {**left.caller, **{f"d{name}": flat(g) for name, g in arriving if g is not None}}
        found: dict[Value, Array] = {}
        for name, v in zip(self.firsts, step.states, strict=True):
            if step.gradients.get(v) is not None:
                found[v] = empty(sized(v.shape, batch), v.dtype)
                caller[f"d{name}"] = found[v].reshape(-1)
        for k in code.d_inputs:
            v = step.xs[k]
            found[v] = empty((T, *sized(v.shape, batch)), v.dtype)
            caller[f"din{k}"] = found[v].reshape(-1)
        for k in code.d_fixed:
            v = step.fixed[k]
            found[v] = empty(sized(v.shape, batch), v.dtype)
        shards = [shard for shard in left.shards if shard is not None]
        parts: list[dict[Value, Array]] = [{} for _ in shards]
        jobs = [
            (left, *shard, gradients, caller, constants, found, part)
            for shard, part in zip(shards, parts, strict=True)
        ]
        runtime.share(self._backward_rows, jobs) if len(jobs) > 1 else self._backward_rows(*jobs[0])
        known = {**left.constants, **parts[0]}
        for part in parts[1:]:
            for v, value in part.items():
                known[v] = known[v] + value
        for v in self.after:
            if v not in known:
                known[v] = compute(v, known, batch)
        for v in code.constants:
            gradient = step.gradients[v]
            assert gradient is not None
            if gradient not in known:
                known[gradient] = compute(gradient, known, batch)
            # ascontiguousarray would give a number an axis
            found[v] = np.asarray(known[gradient], order="C")
        return found

    def _backward_rows(
        self,
        left: Residuals,
        lo: int,
        hi: int,
        kept: Workspace,
        gradients: Sequence[Array | None],
        caller: dict[str, Array],
        constants: list[Array],
        found: dict[Value, Array],
        sums: dict[Value, Array],
    ) -> None:
        """Run `backward` on some rows of the batch; `sums` gets what is summed over all steps."""
        (T, batch), rows, code = left.shape, hi - lo, self.code
        own = self._workspace("own", T, rows)
        arrays = {**kept.arrays, **own.arrays}
        self._bring_in(left, lo, hi, gradients, arrays)
        caller = dict(caller)
        for k, (v, (a, b)) in enumerate(code.sunk.products.items()):
            caller[f"dw{k}"] = out = empty((a.size * b.size,), self.dtype)
            turned = v in code.transposed
            sums[v] = out.reshape(b.size, a.size).T if turned else out.reshape(a.size, b.size)
        others = [caller[a.name] for a in self._backward.caller]
        others += self._backward.repeated(constants, rows)
        self._backward.run(self._sizes(T, lo, hi, batch, left.reverse), (kept, own), others)
        for k, v in self.turned_states:
            if v in found and f"ds{k}" in arrays:  # where step 0 wrote it
                values = arrays[f"ds{k}"][elements(v, rows) :]
                unpack_rows(v, values, 0, lo, hi, found[v])
        for k, v in self.turned_xs:
            if k in code.d_inputs and f"dx{k}" in arrays:
                unpack_rows(v, arrays[f"dx{k}"], 1, lo, hi, found[v])
        for k in code.d_fixed:
            v = self.step.fixed[k]
            if f"df{k}" in arrays:
                unpack_rows(v, arrays[f"df{k}"], 0, lo, hi, found[v])
        self._sum_rows(rows, arrays, sums)
        workspace.pool.give(own)

    def _bring_in(
        self,
        left: Residuals,
        lo: int,
        hi: int,
        gradients: Sequence[Array | None],
        arrays: dict[str, Array],
    ) -> None:
        """Bring inputs and gradients into the order in which the code has them."""
        T, rows, count = left.shape[0], hi - lo, len(self.step.outputs)
        for k, v in self.turned_xs:
            if f"x{k}" in arrays:
                pack_rows(v, left.xs[k], 1, lo, hi, arrays[f"x{k}"])
        for k, v in self.turned_outputs:
            g = gradients[k]
            if f"dy{k}" in arrays and g is not None:
                pack_rows(v, g, 1, lo, hi, arrays[f"dy{k}"])
        for k, v in self.turned_states:
            g = gradients[count + k]
            if f"ds{k}" in arrays and g is not None:
                last = (T - 1) % 2 * elements(v, rows)
                pack_rows(v, g, 0, lo, hi, arrays[f"ds{k}"][last:])

    def _sum_rows(self, rows: int, arrays: dict[str, Array], sums: dict[Value, Array]) -> None:
        """Add up over the rows what was collected for each of them."""
        code = self.code
        over_rows: dict[Value, Array] = {}
        for v, source in code.sunk.sums.items():
            total = arrays[code.summed[source].name]
            if source is v:  # added up as it stands
                sums[v] = total.reshape(v.shape).copy()
                continue
            axes = v.params["axis"]
            if v.shape == source.features and axes in (source.batch, (source.batch,)):
                if source not in over_rows:
                    over_rows[source] = total.reshape(-1, rows).sum(axis=1)
                sums[v] = over_rows[source].reshape(v.shape)
            else:
                total = np.moveaxis(total.reshape((*source.features, rows)), -1, source.batch or 0)
                axis = tuple(axes) if isinstance(axes, list) else axes
                sums[v] = total.sum(axis=axis, keepdims=v.params["keepdims"])
