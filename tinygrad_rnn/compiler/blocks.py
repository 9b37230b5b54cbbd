"""The backward that leaves what each step finds, run block by block from the last steps on.

A block is some steps that follow each other. What they find is read while it is in the cache, and the
next block has the same memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Array
from ..kernels import runtime
from ..kernels.row_norms import NUMBERS, Side, norms_of_products, norms_of_sums, product, step_norms
from ..loops import ir, workspace
from ..loops.ir import COLUMNS
from .calls import Arguments, CompiledFunction, Residuals, Shard
from .every import EveryStep
from .functions import sizes_of
from .lower import Stored, When
from .runner import Runner, is_sum_of_rows
from .terms import Term, Terms
from .value import Given, Value

OUTLASTING = (ir.Role.RESIDUAL, ir.Role.STATE, ir.Role.OUTPUT, ir.Role.FIXED)
IN_ORDER = (ir.Role.RESIDUAL, ir.Role.STATE)  # kept by step, in the order in which these ran
BLOCK = 1 << 22  # bytes of what the steps of a block leave
LEAST = 64  # steps of a block
FEW = 256  # steps of the first block, where a gradient may vanish


class StepRunner(Runner):
    """Runs the backward that leaves what each step finds.

    Parameters
    ----------
    runner : Runner
        The one that ran forward, whose residuals are read.
    shares : bool
        Whether gradients of inputs and parameters are wanted, and not of states alone.

    Attributes
    ----------
    complete : bool
        Whether all that it reads of the forward pass is kept.
    """

    code: EveryStep

    def __init__(self, runner: Runner, shares: bool) -> None:
        vars(self).update(vars(runner))
        self.number, self.stepwise = next(workspace.numbers), {}
        self.code = EveryStep(runner.code, shares)
        self._backward = CompiledFunction(self.code, "backward", self._compiled())
        kept = {a.name for a in runner.kept}
        self.own = [a for a in self._backward.own if a.name not in kept]
        self.complete = all(a.role not in OUTLASTING for a in self.own)
        self._plan()
        # what is brought into order outside is so for all steps at once
        turned = any(v.given is not Given.FIXED for _, v in self.turned)
        self.whole = turned or bool(self.turned_ends)

    def run(
        self,
        left: Residuals,
        gradients: Sequence[Array | None],
        look: Callable[[Block], None],
        until: int | None = None,
    ) -> dict[Value, Array]:
        """Run backward, and look at what each block of steps has found, the last ones first.

        Parameters
        ----------
        left : Residuals
        gradients : sequence of array or None
            Those of outputs and last states.
        look : callable
            Is given each block.
        until : int, optional
            How many steps something comes into, if it comes into the last of these alone; there is
            no need to go on where nothing is left of it.

        Returns
        -------
        dict of Value to array
            The gradients, as `backward` returns them.
        """
        T, batch = left.shape
        found, caller = self.caller_of(left, gradients)
        arguments = Arguments(caller, self._backward.constants(left.constants, batch))
        sums: list[dict[Value, Array]] = []
        fixed = {v: np.zeros_like(g) for v, g in found.items() if v.given is Given.FIXED}
        count = most = T if self.whole else self._steps_at_a_time(T, batch)
        hi = T if until is None or self.whole else until
        if until is not None and not self.whole:  # it may be over soon
            count = min(most, FEW)
        while True:
            lo = max(0, hi - count)
            jobs = [_Job(left, shard, arguments, found, gradients, lo, hi) for shard in left.shards]
            given = [(job,) for job in jobs]
            runtime.share(self._run, given) if len(jobs) > 1 else self._run(jobs[0])
            try:
                look(Block(self, left, gradients, (lo, hi), [job.found for job in jobs]))
            finally:
                for job in jobs:
                    workspace.pool.give(job.own[0])
            sums += [job.sums for job in jobs]
            for v, total in fixed.items():
                total += found[v]
            if not lo or (until is not None and self._is_over(left, caller, lo)):
                break
            self._hand_on(caller, batch)
            hi, count = lo, min(2 * count, most)
        return found | fixed | self.completed_sums(left, sums)

    def _steps_at_a_time(self, T: int, batch: int) -> int:
        """Return how many steps are a block."""
        size = self.bytes_of(self.own, batch, COLUMNS)
        return min(T, max(LEAST, BLOCK * COLUMNS // max(size, 1)))

    def _run(self, job: _Job) -> None:
        """Run a block for some rows of the batch."""
        left, (lo, hi, kept), steps = job.left, job.shard, job.hi - job.lo
        own = self._workspace("own", steps, hi - lo)
        job.own.append(own)
        there = _Shifted(self, kept, job.lo, hi - lo)
        arrays = there.arrays | own.arrays
        self._bring_in(left, job.shard, job.gradients, arrays)
        sizes = sizes_of(*left.shape, lo, hi, left.reverse, (job.lo, job.hi))
        self._backward.run(sizes, (there, own), self.with_products(job.arguments, job.sums))
        self._bring_out(job.shard, arrays, job.gradient)
        self._sum_rows(hi - lo, arrays, job.sums)
        job.arrays.update(arrays)

    def _hand_on(self, caller: dict[str, Array], batch: int) -> None:
        """Let the gradients of the first states of a block be those of the last ones of the next."""
        for k, v in enumerate(self.step.states):
            if self.step.gradients.get(v) is not None:
                caller[f"dlast{k}"] = caller[f"dfirst{k}"]
            elif f"dlast{k}" in caller:
                caller[f"dlast{k}"] = np.zeros_like(caller[f"dlast{k}"])

    def _is_over(self, left: Residuals, caller: dict[str, Array], lo: int) -> bool:
        """Whether nothing is left of a gradient before some step, and all that it would meet is finite."""
        if any(caller[name].any() for name, v in self.gradients if v.given is Given.STATE):
            return False
        met = [caller[a.name] for a in self._backward.caller if a.name.startswith("in")]
        for shard in left.shards:
            rows = shard.hi - shard.lo
            for a in self.kept:
                end = lo * a.size * (rows if a.rows else 1) if a.role in IN_ORDER else None
                met.append(shard.kept.arrays[a.name][:end])
        met += self._backward.constants(left.constants, left.shape[1])
        with np.errstate(all="ignore"):
            return all(np.isfinite(a.sum()) for a in met if a.dtype.kind == "f")


def states_again(runner: Runner, left: Residuals, given: Mapping[Value, Array]) -> Residuals:
    """Return what a forward pass leaves, with the states of all steps; it is run again if need be."""
    names = {a.name for a in runner.kept}
    if all(a.name in names for a in runner.code.states):
        return left
    again = Runner.__new__(Runner)
    vars(again).update(vars(runner))
    again.number, again.stepwise = next(workspace.numbers), {}
    more = {a.name for a in runner.code.states} - names
    again.kept = [*runner.kept, *(a for a in runner.fleeting if a.name in more)]
    again.fleeting = [a for a in runner.fleeting if a.name not in more]
    shapes = runner.shapes(*left.shape)
    values = [*runner.ends, *runner.emitted]
    out = [np.empty(shape, v.dtype) for shape, v in zip(shapes, values, strict=True)]
    return again.forward(given, left.shape[1], left.reverse, out)


class _Job:
    """A block of steps, for some rows of the batch."""

    def __init__(
        self,
        left: Residuals,
        shard: Shard,
        arguments: Arguments,
        gradient: dict[Value, Array],
        gradients: Sequence[Array | None],
        lo: int,
        hi: int,
    ) -> None:
        self.left, self.shard, self.arguments = left, shard, arguments
        self.gradient, self.gradients, self.lo, self.hi = gradient, gradients, lo, hi
        self.sums: dict[Value, Array] = {}
        self.own: list[Any] = []
        self.arrays: dict[str, Array] = {}

    @property
    def found(self) -> Rows:
        """What the steps have found."""
        return Rows(self.shard.lo, self.shard.hi, self.arrays)


class Rows(NamedTuple):
    """The arrays of the code for the rows `lo` to `hi` of a batch."""

    lo: int
    hi: int
    arrays: dict[str, Array]


class _Shifted:
    """What forward has left, from a step on."""

    def __init__(self, runner: Runner, kept: Any, first: int, rows: int) -> None:
        self.arrays, self.addresses = dict(kept.arrays), dict(kept.addresses)
        for a in runner.kept:
            if a.role in IN_ORDER:
                begin = first * a.size * (rows if a.rows else 1)
                whole = kept.arrays[a.name]
                self.arrays[a.name] = whole[begin:]
                self.addresses[a.name] += begin * whole.itemsize


class Block:
    """What some steps that follow each other have found, in the order in which they ran.

    Attributes
    ----------
    lo, hi : int
        From which step to which, counted in that order.
    """

    def __init__(
        self,
        runner: StepRunner,
        left: Residuals,
        gradients: Sequence[Array | None],
        steps: tuple[int, int],
        arrays: list[Rows],
    ) -> None:
        self.code, self.left, self.gradients = runner.code, left, gradients
        self.lo, self.hi = steps
        self.arrays = arrays  # of each part of the batch
        self._sides: dict[tuple[Value, int, int], Side] = {}
        self._norms: dict[Value, Array] = {}

    def of(self, value: Value) -> Array:
        """Return a value of all steps: (steps, elements, rows); rows are 1 if it has none."""
        stored = self.code.sides[value]
        parts = [self._part(value, stored, *part) for part in self.arrays]
        if len(parts) == 1:
            return parts[0]
        # what has no rows is a sum over them
        return np.concatenate(parts, axis=-1) if value.batch is not None else np.sum(parts, axis=0)

    def _part(
        self, value: Value, stored: Stored, lo: int, hi: int, arrays: dict[str, Array]
    ) -> Array:
        array, when, T, size = stored.array, stored.when, self.hi - self.lo, value.size
        rows = hi - lo if value.batch is not None else 1
        if not size:
            return np.empty((T, 0, rows), self.code.dtype)
        if when is When.SPAN:  # the caller has it, rows first and in the order of time
            given = self._given(array).reshape(self.left.shape[0], self.left.shape[1], size)
            return self._of_times(given)[:, lo:hi].swapaxes(1, 2)
        whole = arrays[array.name]
        if when is When.ONCE:
            return np.broadcast_to(whole[: size * rows].reshape(1, size, rows), (T, size, rows))
        if when is When.TIME:
            return self._of_times(whole.reshape(-1, size, rows))
        first = int(when is When.NEXT)
        return whole[first * size * rows : (first + T) * size * rows].reshape(T, size, rows)

    def _of_times(self, values: Array) -> Array:
        """Return of values in the order of time those of these steps."""
        return (values[::-1] if self.left.reverse else values)[self.lo : self.hi]

    def _given(self, array: ir.Array) -> Array:
        """Return what the caller has given for an input, or a gradient of an output."""
        code = self.code
        if array in code.xs:
            return self.left.caller[f"in{code.xs.index(array)}"]
        found = self.gradients[code.d_outputs.index(array)]
        assert found is not None
        return found

    def side(self, value: Value, slices: int, rows: int) -> Side:
        """Return one side of a product that is summed over the batch."""
        key = (value, slices, rows)
        if key not in self._sides:
            found = self.of(value)
            columns = found.shape[1] * found.shape[2] // max(slices * rows, 1)
            self._sides[key] = Side(found.reshape(len(found), slices, rows, columns))
        return self._sides[key]

    def norms(self, terms: Terms, size: int) -> Array:
        """Return the norm of a sum of products and sums over the batch, of each step.

        `size` is that of the whole.
        """
        if terms.apart:
            several = [self._norms_of(group) for group in terms.groups]
            return functools.reduce(np.hypot, several)
        found = np.empty(self.hi - self.lo)
        many = max(1, NUMBERS // max(size, 1))
        for k in range(0, len(found), many):
            here = slice(k, min(k + many, len(found)))
            whole = np.zeros((here.stop - k, size))
            for term in (term for group in terms.groups for term in group):
                part = self.value(term.source, here).reshape(len(whole), -1)
                whole[:, term.places] += term.factor * part
            found[here] = step_norms(whole)
        return found

    def _norms_of(self, group: Sequence[Term]) -> Array:
        """Return the norms of a sum of what goes to the same places."""
        sunk, first = self.code.sunk, group[0]
        if len(group) == 1:
            return abs(first.factor) * self._norms_alone(first.source)
        outers = [sunk.products.get(term.source) for term in group]
        alike = {(o.slices, o.M, o.N) if o else None for o in outers}
        if len(alike) == 1 and None not in alike:  # it is one product
            lefts, rights = zip(*(self.sides(term.source) for term in group), strict=True)
            for one, other in ((lefts, rights), (rights, lefts)):
                if all(side is one[0] for side in one):
                    return norms_of_products(one[0], Side(_sum(group, other)))
            scaled = [t.factor * side.values for t, side in zip(group, lefts, strict=True)]
            right = _side_by_side([side.values for side in rights])
            return norms_of_products(_side_by_side(scaled), right)
        every = slice(0, self.hi - self.lo)
        several = [t.factor * self.value(t.source, every) for t in group]
        return step_norms(functools.reduce(np.add, several))

    def _norms_alone(self, v: Value) -> Array:
        """Return the norm of a product or a sum over the batch, of each step."""
        sunk = self.code.sunk
        if v in sunk.products:
            return norms_of_products(*self.sides(v))
        source = sunk.sums[v]
        # gradients of several biases may be the same sum
        if source is v or not is_sum_of_rows(v, source):
            return step_norms(self.value(v, slice(0, self.hi - self.lo)))
        if source not in self._norms:
            self._norms[source] = norms_of_sums(self.side(source, 1, source.size))
        return self._norms[source]

    def value(self, v: Value, steps: slice) -> Array:
        """Return a product or a sum over the batch, of some steps."""
        if v in self.code.sunk.products:
            found = product(*self.sides(v), steps)
            return found.reshape(len(found), *v.shape)
        return self._summed(v, self.code.sunk.sums[v], steps)

    def sides(self, v: Value) -> tuple[Side, Side]:
        """Return the sides of a product over the batch."""
        outer = self.code.sunk.products[v]
        left = self.side(outer.left, outer.slices, outer.M)
        return left, self.side(outer.right, outer.slices, outer.N)

    def _summed(self, v: Value, source: Value, block: slice) -> Array:
        """Return a sum over the batch, of some steps."""
        found = self.of(source)[block]
        if source is v:
            return found.reshape(len(found), *v.shape)
        if is_sum_of_rows(v, source):
            total = self.side(source, 1, source.size).sums(block)
            return total.astype(found.dtype).reshape(len(found), *v.shape)
        axes = v.params["axis"]
        whole = np.moveaxis(
            found.reshape(len(found), *source.features, -1), -1, (source.batch or 0) + 1
        )
        several = range(len(source.shape)) if axes is None else np.atleast_1d(axes)
        axis = tuple([int(a) % len(source.shape) + 1 for a in several])
        return np.asarray(whole.sum(axis=axis)).reshape(len(found), *v.shape)


def _sum(group: Sequence[Term], sides: Sequence[Side]) -> Array:
    """Return the sum of sides, each with the factor of its term."""
    several = [
        side.values if term.factor == 1 else term.factor * side.values
        for term, side in zip(group, sides, strict=True)
    ]
    found: Array = functools.reduce(np.add, several)
    return found


def _side_by_side(several: Sequence[Array]) -> Side:
    """Return the columns of several sides as those of one."""
    turned = [
        values.swapaxes(-1, -2) for values in several
    ]  # where columns stand one after the other
    return Side(np.concatenate(turned, axis=-2).swapaxes(-1, -2))
