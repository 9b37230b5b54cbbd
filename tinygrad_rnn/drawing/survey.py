"""What pictures of one graph at several levels of detail have in common; each is found once."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

from ..recurrent.moments import Lane
from .fold import Kinds
from .graph import Graph


class Survey:
    """A graph from above: how many nodes each step has, and which steps are alike.

    Attributes
    ----------
    graph : Graph
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def kinds(self) -> Kinds:
        """The kinds of steps."""
        return Kinds(self.graph)

    @cached_property
    def counts(self) -> dict[Lane, Counter[int]]:
        """The number of nodes in each step of each lane."""
        found: dict[Lane, Counter[int]] = {}
        moments = Counter(self.graph.moments[n] for n in self.graph.nodes)
        for moment, number in moments.items():
            if moment is not None:
                found.setdefault(moment.lane, Counter())[moment.step] = number
        for h in self.graph.hidden:
            steps = found[self.graph.lane_of(h)]
            steps.update(dict.fromkeys(h.steps, steps[h.like.step]))
        return found

    @cached_property
    def outside(self) -> int:
        """The number of nodes outside of time."""
        return sum(self.graph.moments[n] is None for n in self.graph.nodes)

    def without_middle(self, ends: int) -> Graph:
        """Return the graph without the steps that are far from both ends and from the results.

        Parameters
        ----------
        ends : int
            So many of the first steps of each lane are there, and so many of the last ones.
        """
        steps = {lane: sorted(c) for lane, c in self.counts.items()}
        kept = {lane: {*found[:ends], *found[-ends:]} for lane, found in steps.items()}
        for n in self.graph.roots:
            moment = self.graph.moments[n]
            if moment is not None:
                kept[moment.lane].add(moment.step)
        if all(len(kept[lane]) == len(steps[lane]) for lane in steps):
            return self.graph
        return self.graph.restricted(lambda m: m is None or m.step in kept[m.lane])
