"""A tape on which compiled sequences are measured as they are, and others step by step.

What a compiled sequence is called, its run and the components of its state, is found out by its first
steps, which are run once more as single ones; what its steps find in a reverse walk it tells itself
(`recurrent.measured`). A sequence that cannot tell is opened.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import GraphError, TinygradError
from ..core.primitive import Array
from ..core.tape import Leaf, Mark, Node, Older, reachable
from ..ops.table import Tape
from ..recurrent.ledger import Visit, walk_back
from ..recurrent.measured import Measurable, Walked
from ..recurrent.moments import Lane
from ..recurrent.opened import opened, steps_again
from ..recurrent.pieces import PIECE, is_piece, is_result, is_sequence
from .steps import State, Steps

FIRST = (2, 4)  # steps by which a compiled sequence is known; what has no more is opened

Parts = dict[int, Array]  # gradients of results of a compiled sequence


class Handed(NamedTuple):
    """A component of the state that steps hand on.

    Attributes
    ----------
    state : State
    since : int
        So many steps pass before it needs a gradient, as where the first state is a constant.
    """

    state: State
    since: int


class Run(NamedTuple):
    """A compiled sequence.

    Attributes
    ----------
    node : Node
    measured : Measurable
    lane : Lane
    shown : int
        How many of its steps stand among the single steps.
    read : set of int
        Which outputs and last states are on the tape.
    late : list of int
        For each output and component of the state, after how many steps it needs a gradient.
    states : list of Handed or None
        For each component of the state what the steps hand on; None for what is none.
    """

    node: Node
    measured: Measurable
    lane: Lane
    shown: int
    read: set[int]
    late: list[int]
    states: list[Handed | None]

    @property
    def times(self) -> Array:
        """The steps, in the order in which they ran."""
        times = self.measured.times
        return np.arange(times.start, times.stop, times.step)

    def from_the_first(self, k: int, g: Array) -> Array:
        """Return the gradient of a result with zeros for the first steps, which need none."""
        late = self.late[self.measured.live[k]]
        if not late or k >= self.measured.outputs:
            return g
        g = g.copy()
        g[slice(-late, None) if self.measured.times.step < 0 else slice(late)] = 0
        return g

    def needed(self, made: Sequence[Node], results: Sequence[Any]) -> list[Node]:
        """Return of what a step has made what is needed for what is read of the sequence."""
        count = len(results) - len(self.states)
        handed = {count + k for k, state in enumerate(self.states) if state is not None}
        roots = [results[k].node for k in sorted(self.read | handed)]
        older = Older(min((n.index for n in made), default=0))
        found = {*reachable([n for n in roots if n is not None], older, every=True)}
        return [n for n in made if n in found]

    def is_output(self, part: Node) -> bool:
        """Whether a result of it is an output of all steps, and no last state."""
        measured = self.measured
        return measured.begins.index(part.params["begin"]) < measured.outputs


class Passed(NamedTuple):
    """The reverse walk through a compiled sequence."""

    run: Run
    parts: Parts
    found: Walked

    def states(self) -> Iterator[tuple[State, Array, Array]]:
        """Yield states with the steps that a gradient reaches, and its norms."""
        times = self.run.times
        for handed, figures in zip(self.run.states, self.found.states, strict=True):
            if handed is not None and figures is not None:
                norms, reached = figures
                reached = reached & (np.arange(len(times)) >= handed.since)
                yield handed.state, times[reached], norms[reached]


class Shown(NamedTuple):
    """Single steps to look at.

    Attributes
    ----------
    steps : Steps
    known : dict of Node to array
        The values of what the shown steps of compiled sequences give and hand on.
    """

    steps: Steps
    known: dict[Node, Array]


class Runs:
    """What stands in which step, with compiled sequences as they are.

    Parameters
    ----------
    whole : Tape
    what : str
        Who asks, for messages.

    Attributes
    ----------
    tape : Tape
        The same result; on it stand the nodes of compiled sequences and of single steps.
    steps : Steps
        The single steps, and the first ones of compiled sequences.
    compiled : dict of Node to Run
    times : dict of Lane to sequence of int
        The steps of each run, in the order in which they ran.
    """

    def __init__(self, whole: Tape, what: str) -> None:
        self._known: dict[Any, Measurable | None] = {}
        while not self._found_in(whole, what):
            pass

    def _found_in(self, whole: Tape, what: str) -> bool:
        """Open what has to be, and find the runs; False if something else has to be opened too."""
        self.tape = opened(whole, measured=True, segments=True, closed=self._measurable)
        closed = next((n for n in self.tape.nodes if is_piece(n) and not self._found(n)), None)
        if closed is not None:
            raise _cannot_run(closed, what)
        self.parts = {
            n: n.inputs[0]
            for n in self.tape.nodes
            if is_result(n) and isinstance(n.inputs[0], Node) and self._found(n.inputs[0])
        }
        return self._find(what)

    def _measurable(self, node: Node) -> bool:
        return self._found(node) is not None

    def _found(self, node: Node) -> Measurable | None:
        """Return what tells of the steps of a compiled sequence, if there is something."""
        if not is_sequence(node):
            return None
        piece = node.params[PIECE]
        if piece not in self._known:
            found = piece.measured()
            self._known[piece] = found if found and len(found.times) > FIRST[-1] else None
        return self._known[piece]

    def _find(self, what: str) -> bool:
        """Find runs and states, by the first steps of each compiled sequence."""
        nodes: list[Node] = []
        known: dict[Node, tuple[Measurable, list[Node], list[list[Node | None]]]] = {}
        for n in self.tape.nodes:
            if n in self.parts:
                continue
            measured = self._found(n)
            if measured is None:
                nodes.append(n)
                continue
            n.params[PIECE].check_captured()
            found = self._first_steps(n, measured, what)
            if found is None:
                self._known[n.params[PIECE]] = None
                return False
            known[n] = (measured, *found)
            nodes += _as_run(found[0], measured.times, len(found[1]))
        self.steps = Steps(nodes)
        self.compiled: dict[Node, Run] = {}
        for n, (measured, made, results) in known.items():
            lane = self.steps.moments[next(m for m in made if _is_in_step(m))].lane
            states = self._states(lane, results, measured)
            late = [
                sum(r is None or not r.requires_grad for r in several)
                for several in zip(*results, strict=True)
            ]
            parts = [part for part, whole in self.parts.items() if whole is n]
            read = {measured.live[measured.begins.index(part.params["begin"])] for part in parts}
            self.compiled[n] = Run(n, measured, lane, len(results), read, late, states)
        self.times = self._times()
        return True

    def shown(self, count: int) -> Shown:
        """Return the single steps, and so many first ones of each compiled sequence."""
        if not self.compiled:
            return Shown(self.steps, {})
        nodes: list[Node] = []
        known: dict[Node, Array] = {}
        for n in self.tape.nodes:
            if n in self.compiled:
                times = self.compiled[n].measured.times
                made, steps = steps_again(n, times[:count])
                nodes += _as_run(made, times, count)
                known.update((y.node, y.array) for step in steps for y in step if y.node)
            elif n not in self.parts:
                nodes.append(n)
        return Shown(Steps(nodes), known)

    def between(self, lane: Lane, start: int, stop: int) -> Steps | None:
        """Return the steps of a compiled sequence from one to another; None if it is not one."""
        for run in self.compiled.values():
            times = run.measured.times
            if run.lane == lane and start in times and stop in times:
                some = times[times.index(start) : times.index(stop) + 1]
                states = [s[0] for s in run.measured.states([start])]
                made, _ = steps_again(run.node, some, [*run.measured.inputs, *states])
                return Steps(made)
        return None

    def _first_steps(
        self, node: Node, measured: Measurable, what: str
    ) -> tuple[list[Node], list[list[Node | None]]] | None:
        """Return what some first steps make, and the nodes of outputs and state of each.

        They are so many that the last two have gradients by the same results; None if no such are
        found.
        """
        for count in FIRST:
            try:
                made, run = steps_again(node, measured.times[:count])
            except TinygradError as error:
                raise _cannot_run(node, what) from error
            results = [[y.node for y in step] for step in run]
            *_, before, last = [[r is not None and r.requires_grad for r in s] for s in results]
            if before == last:
                return made, results
        return None

    def _states(
        self, lane: Lane, results: list[list[Node | None]], measured: Measurable
    ) -> list[Handed | None]:
        """Return what the components of a state are: what single steps hand on and a gradient passes."""
        count = len(results[0]) - measured.components
        found: list[Handed | None] = []
        for several in zip(*(step[count:] for step in results), strict=True):
            made = [
                (t, n)
                for t, n in zip(measured.times, several, strict=False)
                if n is not None and n.requires_grad
            ]
            same = (
                s
                for s in self.steps.states
                if s.lane == lane and made and all(s.makers.get(t) is n for t, n in made)
            )
            state = next(same, None)
            found.append(None if state is None else Handed(state, len(several) - len(made)))
        return found

    def falls(self, lane: Lane) -> bool:
        """Whether a run goes from later steps to earlier ones."""
        times = self.times[lane]
        return times[-1] < times[0]

    def _times(self) -> dict[Lane, Sequence[int]]:
        firsts = {(run.lane, run.measured.times[0]): run for run in self.compiled.values()}
        known = {
            (run.lane, t)
            for run in self.compiled.values()
            for t in (*run.measured.times[: run.shown], run.measured.times[-1])
        }
        found: dict[Lane, Sequence[int]] = {}
        for lane, steps in self.steps.lanes.items():
            parts: list[Sequence[int]] = []
            for t in steps:
                if (lane, t) in firsts:
                    parts.append(firsts[lane, t].measured.times)
                elif (lane, t) not in known:
                    parts.append([t])
            found[lane] = parts[0] if len(parts) == 1 else [*itertools.chain(*parts)]
        return found


class Walk:
    """A reverse walk over a tape with compiled sequences.

    Parameters
    ----------
    runs : Runs
    shares : bool
        Whether gradients of leaves are wanted, and not of states alone.
    lane : Lane, optional
        The only run that is walked through.
    begun : (int, mapping of Node to array), optional
        A step, and what comes into it and into no other: later steps get nothing.

    Attributes
    ----------
    outside : dict of Node to array
        What has come from outside of a run into what it has made, until this is visited.
    into : dict of Node to array
        The same of the results of compiled sequences that were visited.
    """

    def __init__(
        self,
        runs: Runs,
        shares: bool = False,
        lane: Lane | None = None,
        begun: tuple[int, Mapping[Node, Array]] | None = None,
    ) -> None:
        self.runs, self.shares, self.lane, self.begun = runs, shares, lane, begun
        self.outside: dict[Node, Array] = {}
        self.arrived: dict[Node, Parts] = {}
        self.entering: dict[Node, Parts] = {}
        self.into: dict[Node, Array] = {}

    def visits(
        self, gradients: dict[Node, Array], nodes: Iterable[Node]
    ) -> Iterator[Visit | Passed]:
        """Return visits of nodes, and passes through compiled sequences, one after the other.

        Parameters
        ----------
        gradients : dict of Node to array
            What has arrived so far.
        nodes : iterable of Node
            What is visited, the newest first.
        """
        if not self.runs.compiled:
            return walk_back(nodes, gradients)
        return self._visits(gradients, nodes)

    def _visits(
        self, gradients: dict[Node, Array], nodes: Iterable[Node]
    ) -> Iterator[Visit | Passed]:
        walked: list[Passed] = []
        for visit in walk_back(self._between(nodes, gradients, walked), gradients):
            yield from walked
            walked.clear()
            yield visit
        yield from walked

    def _between(
        self, nodes: Iterable[Node], gradients: dict[Node, Array], walked: list[Passed]
    ) -> Iterator[Node]:
        """Yield the nodes of single operations; go through compiled sequences on the way."""
        runs = self.runs
        for n in nodes:
            if n in runs.parts:
                self._arrive(n, gradients)
            elif n in runs.compiled:
                self._pass(runs.compiled[n], gradients, walked)
            else:
                yield n

    def _arrive(self, part: Node, gradients: dict[Node, Array]) -> None:
        """Take the gradient of a result of a compiled sequence."""
        g = gradients.pop(part, None)
        if g is None:
            return
        whole = self.runs.parts[part]
        k = self.runs.compiled[whole].measured.begins.index(part.params["begin"])
        self.arrived.setdefault(whole, {})[k] = g
        if (entering := self.outside.pop(part, None)) is not None:
            run = self.runs.compiled[whole]
            self.into[part] = entering
            self.entering.setdefault(whole, {})[k] = run.from_the_first(k, entering)

    def _pass(self, run: Run, gradients: dict[Node, Array], walked: list[Passed]) -> None:
        """Walk back through a compiled sequence."""
        node, parts = run.node, self.arrived.pop(run.node, None)
        if parts is None or (self.lane is not None and run.lane != self.lane):
            return
        leaves = [k for source, k, _ in node.edges if isinstance(source, Leaf)]
        entering = self.entering.pop(node, None)
        wanted = leaves if self.shares else None
        found = run.measured.walked(parts, entering, wanted, self._last(parts))
        for source, k, _ in node.edges:
            share = found.gradients[k]
            if share is None:
                continue
            before = gradients.get(source)
            gradients[source] = share if before is None else before + share
            self.note(source, run.lane, share)
        walked.append(Passed(run, parts, found))

    def _last(self, parts: Parts) -> int | None:
        """Return the only step into which gradients of results come, where that is known."""
        if self.begun is None:
            return None
        step, seeds = self.begun
        return step if all(any(g is s for s in seeds.values()) for g in parts.values()) else None

    def note(self, source: Node, lane: Lane | None, share: Array) -> None:
        """Note what comes to a node from somewhere, if that is outside of its run."""
        moment = self.runs.steps.moments.get(source)
        if moment is not None:
            there = moment.lane if source.primitive is not None else None
        elif source in self.runs.parts:
            there = self.runs.compiled[self.runs.parts[source]].lane
        else:
            return
        if there is not None and there != lane:
            before = self.outside.get(source)
            self.outside[source] = share if before is None else before + share


def _as_run(made: Sequence[Node], times: range, count: int) -> list[Node]:
    """Return the nodes of some first steps, as they stand for a run through all of its steps.

    It is told from others by its last step, and by what is done outside of steps.
    """
    first = next(m for m in made if _is_in_step(m))
    outside = in_step(first, None)
    last = [in_step(first, times[-1])] if count < len(times) else []
    return [outside, *made, *last, outside]


def _is_in_step(node: Node) -> bool:
    return node.primitive is not None and node.origin[2].step is not None


def in_step(node: Node, step: int | None) -> Node:
    """Return an operation, or one like it that stands in another step, or in none."""
    mark: Mark = node.origin[2]
    if mark.step == step:
        return node
    origin = (*node.origin[:2], Mark(mark.cell, mark.layer, step))
    return Node(
        node.primitive, node.inputs, (), node.params, None, node, node.requires_grad, origin
    )


def _cannot_run(node: Node, what: str) -> GraphError:
    return GraphError(
        f"{what}: the steps inside of {node.op}{node.where.described()} cannot be run once more, as a change of what they use, such as an attribute of "
        "the cell, has come in between. Call it before the cell is changed, or unroll again."
    )
