"""What comes from a loss into time steps, and walks back from there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.primitive import Array
from ..core.tape import Leaf, Node
from ..recurrent.ledger import walk_back
from ..recurrent.moments import Lane
from .runs import Passed, Run, Runs, Walk


class Seeds:
    """What comes from the loss itself into the steps.

    Parameters
    ----------
    runs : Runs
    seed : array
        The gradient of the loss by itself.
    arrived : dict of Node to array
        What has come from outside into results of compiled sequences: if there is one run alone, it
        comes from the loss.

    Attributes
    ----------
    steps : array
        The steps into which something comes that is not zero, in rising order.
    lanes : set of Lane
        The runs of these.
    """

    def __init__(self, runs: Runs, seed: Array, arrived: dict[Node, Array]) -> None:
        self.runs = runs
        moments = runs.steps.moments
        every_step = {sum(map(len, runs.times.values()))}
        alone = every_step == {len(run.measured.times) for run in runs.compiled.values()}
        gradients = arrived if alone else self._walked(seed)
        # of single operations, and of results of compiled sequences with the steps they come into
        self._single: dict[int, dict[Node, Array]] = {}
        self._parts: list[tuple[Node, Run, Array, Array]] = []
        for n, g in gradients.items():
            if n in runs.parts:
                run = runs.compiled[runs.parts[n]]
                steps = self._entered(run, n, g)
                if len(steps):
                    self._parts.append((n, run, g, steps))
            elif n in moments and n.primitive is not None and g.any():
                self._single.setdefault(moments[n].step, {})[n] = g
        every = [np.array(sorted(self._single), int), *(steps for *_, steps in self._parts)]
        found = [steps for steps in every if len(steps)]
        self.steps = found[0] if len(found) == 1 else np.unique(np.concatenate(every))
        self.lanes = {moments[n].lane for found in self._single.values() for n in found}
        self.lanes |= {run.lane for _, run, _, _ in self._parts}

    def _walked(self, seed: Array) -> dict[Node, Array]:
        """Return what arrives in the steps by a walk that ends there."""
        runs = self.runs
        gradients: dict[Node, Array] = {runs.tape.root: seed}
        inside = {*runs.steps.moments, *runs.parts, *runs.compiled}
        outside = (n for n in reversed(runs.tape.nodes) if n not in inside)
        with np.errstate(all="ignore"):
            for _ in walk_back(outside, gradients):
                pass
        return gradients

    @staticmethod
    def _entered(run: Run, part: Node, g: Array) -> Array:
        """Return the steps of a compiled sequence into which a gradient comes by one of its results."""
        times = run.measured.times
        if not run.is_output(part):
            return np.array([times[-1]] if g.any() else [], int)
        return np.flatnonzero((g.reshape(len(g), -1) != 0).any(axis=1)) + run.measured.first

    def last(self, lane: Lane) -> int:
        """Return the last step of a run, in the order in which they ran, into which something comes."""
        moments = self.runs.steps.moments
        entered = [t for t, of in self._single.items() if any(moments[n].lane == lane for n in of)]
        for _, run, _, steps in self._parts:
            if run.lane == lane:
                entered += [int(steps[0]), int(steps[-1])]
        return min(entered) if self.runs.falls(lane) else max(entered)

    def at(self, step: int, lane: Lane | None = None) -> dict[Node, Array]:
        """Return what comes into a step, of all runs or of one."""
        moments = self.runs.steps.moments
        single = self._single.get(step, {}).items()
        found = {n: g for n, g in single if lane in (None, moments[n].lane)}
        for n, run, g, steps in self._parts:
            if lane not in (None, run.lane) or step not in steps:
                continue
            found[n] = g
            if run.is_output(n):
                found[n] = np.zeros_like(g)
                k = step - run.measured.first
                found[n][k] = g[k]
        return found


class Contributions(Walk):
    """A walk that looks at what steps add to the gradient of one leaf."""

    def __init__(self, runs: Runs, leaf: Leaf) -> None:
        super().__init__(runs, shares=True)
        self.leaf = leaf

    def shares_of(self, gradients: dict[Node, Array]) -> Iterator[tuple[int | None, Array]]:
        """Yield steps, each with what an operation in it adds; None stands for those outside of steps."""
        moments = self.runs.steps.moments
        for visit in self.visits(gradients, reversed(self.runs.tape.nodes)):
            if isinstance(visit, Passed):
                for k, source in enumerate(visit.run.node.inputs):
                    if source is self.leaf:
                        yield from visit.run.measured.contributions(visit.parts, k)
                continue
            for share in visit.shares:
                if share.source is self.leaf:
                    here = moments.get(visit.node)
                    yield None if here is None else here.step, share.share
