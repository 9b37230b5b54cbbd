"""What is measured on a graph: gradients of states and weights, and memory, step by step.

The reverse walk is made on the side (`ledger.reverse`): it runs no hook, frees nothing and fills no
`.grad`.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..core.tape import Freed, Leaf, Node
from ..ops.table import Tape
from ..recurrent.footprint import new_bytes, owner
from ..recurrent.ledger import first_released, gradients_at, reverse
from ..recurrent.moments import Lane
from .errors import DrawingError
from .fold import Key, Kinds
from .graph import Graph
from .scale import Number
from .survey import Survey

State = tuple[Lane, Key]


class Gradients:
    """What reverse walks from the root of a tape pass by, each when it is asked for."""

    def __init__(self, tape: Tape, graph: Graph, kinds: Kinds) -> None:
        self._tape, self._graph, self._kinds = tape, graph, kinds
        self._seed = np.ones(tape.root.shape, tape.root.dtype)

    @cached_property
    def norms(self) -> dict[State, dict[int, Number]]:
        """The norm of the gradient of each state in each step; None if none arrives there."""
        wanted: dict[Node, tuple[State, int]] = {}
        norms: dict[State, dict[int, Number]] = {}
        for state, made in self._kinds.makers.items():
            if any(map(self._graph.of_backward, made.values())):
                continue
            wanted.update((n, (state, step)) for step, n in made.items())
        for state, step in wanted.values():
            norms.setdefault(state, {})[step] = None
        with np.errstate(all="ignore"):
            for n, gradient in gradients_at(self._tape, self._seed, wanted):
                state, step = wanted[n]
                norms[state][step] = _norm(gradient)
        return norms

    @cached_property
    def shares(self) -> dict[Leaf, dict[int, float]]:
        """For each leaf, the norm of what each step adds to its gradient."""
        moments = self._graph.every_moment
        shares: dict[Leaf, dict[int, float]] = {}
        # what the step that the walk is in has added so far
        adding: dict[Leaf, tuple[int, Any]] = {}

        def close(leaf: Leaf) -> None:
            step, total = adding.pop(leaf)
            shares.setdefault(leaf, {})[step] = _norm(total)

        with np.errstate(all="ignore"):
            for visit in reverse(self._tape, self._seed):
                here = moments.get(visit.node)
                if here is None:
                    continue
                for share in visit.shares:
                    leaf = share.source
                    if not isinstance(leaf, Leaf):
                        continue
                    if leaf in adding and adding[leaf][0] == here.step:
                        adding[leaf] = (here.step, adding[leaf][1] + share.share)
                    else:
                        if leaf in adding:
                            close(leaf)
                        adding[leaf] = (here.step, share.share)
            for leaf in list(adding):
                close(leaf)
        return shares


class Memory(NamedTuple):
    """What the tape keeps for the backward, in bytes.

    Attributes
    ----------
    own, total : dict of Lane to dict of int to float
        What each step keeps, and what all nodes up to its end keep.
    peak : int
        What is kept at the end of the forward.
    freed : bool
        Whether a backward has released something.
    """

    own: dict[Lane, dict[int, float]]
    total: dict[Lane, dict[int, float]]
    peak: int
    freed: bool


class Measured:
    """A graph, and what is measured on it, each thing when it is asked for.

    Attributes
    ----------
    survey : Survey
    graph : Graph
    tape : Tape or None
        What was recorded, in single steps; None for what has no numbers.
    """

    def __init__(self, survey: Survey, tape: Tape | None) -> None:
        self.survey, self.graph, self._tape = survey, survey.graph, tape

    @property
    def tape(self) -> Tape:
        """What was recorded, in single steps."""
        assert self._tape is not None
        return self._tape

    @property
    def kinds(self) -> Kinds:
        """The kinds of steps."""
        return self.survey.kinds

    @cached_property
    def memory(self) -> Memory:
        """What the tape keeps for the backward."""
        return measure_memory(self.graph)

    @cached_property
    def gradients(self) -> Gradients:
        """What the reverse walk passes by."""
        return Gradients(self.tape, self.graph, self.kinds)


def check_walkable(tape: Tape, what: str) -> None:
    """Raise a DrawingError if a backward has freed what the reverse walk needs."""
    node = first_released(tape)
    if node is not None:
        raise DrawingError(
            f"draw: {what} needs the values that {node.op}{node.where.described()} saved, and a backward at {node.saved.where} released "
            f"them. Draw before the backward, or keep the graph: backward(retain_graph=True)."
        )


def _norm(array: Any) -> float:
    """Return the Euclidean norm, computed in double precision."""
    flat = np.asarray(array, np.float64).ravel()
    return math.sqrt(flat @ flat)


def measure_memory(graph: Graph) -> Memory:
    """Count the bytes of the arrays that nodes saved, each once and without those of leaves."""
    seen = {
        id(owner(n.value))
        for n in graph.whole
        if isinstance(n, Leaf) and isinstance(n.value, np.ndarray)
    }
    own: dict[Lane, dict[int, float]] = {}
    total: dict[Lane, dict[int, float]] = {}
    freed, peak = False, 0
    moments = graph.every_moment
    for n in graph.whole:
        if n.primitive is None or n not in moments:
            continue
        if type(n.saved) is Freed:
            freed = True
            continue
        size = new_bytes(n.saved, seen)
        peak += size
        moment = moments[n] if n in graph.framed or n not in graph.moments else None
        if moment is not None:
            steps = own.setdefault(moment.lane, {})
            steps[moment.step] = steps.get(moment.step, 0) + size
            total.setdefault(moment.lane, {})[moment.step] = peak
    return Memory(own, total, peak, freed)
