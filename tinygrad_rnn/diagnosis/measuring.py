"""The reverse walk by which the flow of gradients is measured: norms at states and at leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..core.tape import Leaf, Node
from ..recurrent.ledger import Visit
from ..recurrent.moments import Lane, Moment
from .curve import Collected, Curve
from .runs import Passed, Runs, Walk
from .steps import State


class Measuring:
    """One walk back from a gradient of the loss, and what is found on the way.

    Parameters
    ----------
    runs : Runs
    names : mapping of Node to str
        A name for each leaf.
    seed : array
        The gradient of the loss by itself.

    Attributes
    ----------
    states : dict of str to Curve
        For each component of the state, the norm of the gradient by it.
    entering : dict of Lane to Curve
        For each run, the norm of what comes into a step from outside of it.
    parameters : dict of str to Leaf
        What gets a gradient.
    shares : dict of str to Curve
        For each of these, the norm of what each step adds to its gradient.
    gradients : dict of str to array
        The gradients.
    totals : dict of str to float
        The norm of each.
    """

    def __init__(self, runs: Runs, names: Mapping[Node, str], seed: Array) -> None:
        self.runs, self.names = runs, names
        self.walk = Walk(runs, shares=True)
        self.parameters: dict[str, Leaf] = {}
        self.gradients: dict[str, Array] = {}
        self.totals: dict[str, float] = {}
        self._states = {title_of(runs, s): Collected() for s in runs.steps.states}
        self._entering = {lane: Collected() for lane in runs.times}
        self._adding = _Adding()
        nodes = runs.tape.nodes
        with np.errstate(all="ignore"):
            self._go({runs.tape.root: seed}, nodes)
        falling = {lane: runs.falls(lane) for lane in runs.times}
        lanes = {title_of(runs, s): s.lane for s in runs.steps.states}
        self.states = {t: c.curve(falling[lanes[t]]) for t, c in self._states.items()}
        self.entering = {lane: c.curve(falling[lane]) for lane, c in self._entering.items()}
        self.shares = {names[leaf]: c for leaf, c in self._adding.curves().items()}

    def _go(self, gradients: dict[Node, Array], nodes: list[Node]) -> None:
        runs, moments = self.runs, self.runs.steps.moments
        wanted = states_by_node(runs)
        outside, parts = self.walk.outside, runs.parts
        if runs.tape.root in parts:
            self.walk.note(runs.tape.root, None, gradients[runs.tape.root])
        for visit in self.walk.visits(gradients, reversed(nodes)):
            if isinstance(visit, Passed):
                self._passed(visit)
                continue
            node = visit.node
            if node in wanted:
                title, t = wanted[node]
                self._states[title].add(t, norm(visit.gradient))
            here = moments.get(node)
            if outside and (entering := outside.pop(node, None)) is not None and here is not None:
                self._entering[here.lane].add(here.step, norm(entering))
            for share in visit.shares:
                source = share.source
                there = moments.get(source)
                if source.primitive is None:
                    if there is None:  # no input of a step
                        self._adding.add(source, here, share.share)
                elif (there is None and source in parts) or (
                    there is not None and there is not here
                ):
                    self.walk.note(source, None if here is None else here.lane, share.share)
            self._leaf(visit)

    def _leaf(self, visit: Visit) -> None:
        node = visit.node
        if isinstance(node, Leaf) and node not in self.runs.steps.moments:
            name = self.names[node]
            self.parameters[name], self.gradients[name] = node, visit.gradient
            self.totals[name] = norm(visit.gradient)

    def _passed(self, passed: Passed) -> None:
        """Note what was found in a compiled sequence."""
        run, found, times = passed.run, passed.found, passed.run.times
        for state, steps, norms in passed.states():
            self._states[title_of(self.runs, state)].add_all(steps, norms)
        if found.entering is not None:
            norms, reached = found.entering
            self._entering[run.lane].add_all(times[reached], norms[reached])
        for k, (norms, reached) in found.shares.items():
            self._adding.add_all(run.node.inputs[k], times[reached], norms[reached])


def title_of(runs: Runs, state: State) -> str:
    """Return what a state is called where there are several runs."""
    return runs.steps.title(state.lane, state.name)


def states_by_node(runs: Runs, lane: Lane | None = None) -> dict[Node, tuple[str, int]]:
    """Return what states single steps hand on, with title and step; those of one run if it is given."""
    states = [(title_of(runs, s), s) for s in runs.steps.states if lane in (None, s.lane)]
    return {n: (title, t) for title, s in states for t, n in s.makers.items()}


class _Adding:
    """Collects what each step adds to leaves, of which only the norms are kept."""

    def __init__(self) -> None:
        self.open: dict[Node, tuple[Moment, Array]] = {}
        self.outside: dict[Node, Array] = {}
        self.found: dict[Node, Collected] = {}

    def add(self, leaf: Node, here: Moment | None, share: Array) -> None:
        """Add what one operation gives to a leaf."""
        if here is None:
            before = self.outside.get(leaf)
            self.outside[leaf] = share if before is None else before + share
            return
        last = self.open.get(leaf)
        if last is not None and (last[0] is here or last[0] == here):
            self.open[leaf] = (here, last[1] + share)
            return
        if last is not None:
            self._close(leaf, *last)
        self.open[leaf] = (here, share)

    def add_all(self, leaf: Node, steps: Array, norms: Array) -> None:
        """Add the norms of what each step of a compiled sequence gives to a leaf."""
        self.found.setdefault(leaf, Collected()).add_all(steps, norms)

    def _close(self, leaf: Node, here: Moment, total: Array) -> None:
        self.found.setdefault(leaf, Collected()).add(here.step, norm(total))

    def curves(self) -> dict[Node, Curve]:
        """Return the norm of what each step has added to each leaf."""
        for leaf, last in self.open.items():
            self._close(leaf, *last)
        for leaf, total in self.outside.items():
            self.found.setdefault(leaf, Collected()).outside = norm(total)
        return {leaf: found.curve() for leaf, found in self.found.items()}


def norm(array: Any) -> float:
    """Return the Euclidean norm, computed in double precision."""
    flat = array.ravel().astype(np.float64, copy=False)
    return math.sqrt(flat.dot(flat))
