"""When a node was made: in which run of which cell, and in which of its time steps.

The mark on a node (`core.tape.Mark`) says the cell, the layer and the step. That is not enough to
draw it: a cell may have been run twice over the same steps, and a backward that was recorded marks
its nodes as the forward did. Here they are told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.tape import Mark, Node

NEW = 0.3  # of the operations of a backward, more than this part does not occur in its forward


class Lane(NamedTuple):
    """One run of one cell over its time steps: a row of frames in the picture.

    Attributes
    ----------
    cell : str
    layer : int or None
    run : int
        Which one of several runs of this cell it is, from 1. Runs forward and backward are counted
        separately.
    backward : bool
        Whether a backward recorded it.
    """

    cell: str = ""
    layer: int | None = None
    run: int = 1
    backward: bool = False

    @property
    def title(self) -> str:
        """What it is called without its layer, such as "GRU", "GRU (2)" or "∂ GRU"."""
        sign = "\N{PARTIAL DIFFERENTIAL} " if self.backward else ""
        return f"{sign}{self.cell}{f' ({self.run})' if self.run > 1 else ''}"

    def described(self, apart: str = " ") -> str:
        """Return the title and the layer, as far as there are any."""
        layer = "" if self.layer is None else f"layer {self.layer}"
        return apart.join(filter(None, [self.title, layer]))


class Moment(NamedTuple):
    """A time step of a lane."""

    lane: Lane
    step: int


Inputs = Mapping[Node, Sequence[Node]]
Operation = tuple[Any, str]  # the place in the source and the name of the operation there
Steps = dict[int, list[Node]]  # of one run: the nodes of each step


def moments_of(
    nodes: Sequence[Node],
    inputs: Inputs,
    is_leaf: Callable[[Node], bool],
    place: Callable[[Node], Any],
) -> tuple[dict[Node, Moment | None], set[Node]]:
    """Find the moment to which each node belongs.

    Parameters
    ----------
    nodes : sequence of Node
        In the order in which they were made.
    inputs : mapping of Node to sequence of Node
        What is drawn before each.
    is_leaf : callable
        Whether nothing is drawn before a node.
    place : callable
        The expression in the source that made a node.

    Returns
    -------
    moments : dict of Node to Moment or None
        None for what stands outside of time.
    framed : set of Node
        The nodes that were made in their moment, and do not just stand next to it.
    """
    own = Runs(nodes, place).moments(inputs)
    framed = {n for n in nodes if own[n] is not None}
    return _with_neighbours(nodes, inputs, is_leaf, own), framed


class Runs:
    """The runs of each cell and layer.

    Nodes are numbered as they are made. A run goes through its steps in one direction; where a
    step is entered again, or the direction changes, another run has begun. A run that differs from
    the first at the same source lines is a backward, which takes over the lines of its forward.
    """

    def __init__(self, nodes: Sequence[Node], place: Callable[[Node], Any]) -> None:
        self.nodes, self.place = nodes, place
        self.runs: dict[tuple[str, int | None], list[Steps]] = {}
        self._find()

    def _find(self) -> None:
        """Divide the operations that have a step into runs."""
        # changes where operations outside of time stand between two steps
        tick = 0
        last: Mark | None = None
        into: list[Node] = []
        at: dict[Any, tuple[int, int]] = {}
        for n in self.nodes:
            if n.primitive is None:
                continue
            mark: Mark = n.origin[2]
            if mark is last:
                into.append(n)
                continue
            if mark.step is None:
                tick, last = tick + 1, None
                continue
            cell = (mark.cell, mark.layer)
            found = self.runs.setdefault(cell, [{}])
            if at.get(cell) != (mark.step, tick):
                at[cell] = (mark.step, tick)
                steps = found[-1]
                if mark.step in steps or _turns(steps, mark.step):
                    found.append({})
                found[-1][mark.step] = []
            last, into = mark, found[-1][mark.step]
            into.append(n)

    def moments(self, inputs: Inputs) -> dict[Node, Moment | None]:
        """Return the moment in which each node was made."""
        own: dict[Node, Moment | None] = {}
        known: dict[Mark, Moment] = {}
        for n in self.nodes:
            mark: Mark = n.origin[2]
            if mark.step is None:
                own[n] = None
            else:
                own[n] = known.get(mark) or known.setdefault(
                    mark, Moment(Lane(mark.cell, mark.layer), mark.step)
                )
        for (cell, layer), found in self.runs.items():
            for lane, run in self._named(cell, layer, found):
                for step, nodes in run.items():
                    own.update(dict.fromkeys(nodes, Moment(lane, step)))
        if any(len(found) > 1 for found in self.runs.values()):
            _move_leaves(self.nodes, inputs, own)
        return own

    def _named(
        self, cell: str, layer: int | None, found: list[Steps]
    ) -> Iterable[tuple[Lane, Steps]]:
        """Yield each run after the first with its lane."""
        if len(found) == 1:
            return
        first = self._operations([*found[0].values()][: max(len(found[0]) - 1, 1)])
        self._split_last(found, first)
        count = Counter({False: 1})
        for run in found[1:]:
            backward = _is_backward(self._operations(run.values()), first)
            count[backward] += 1
            yield Lane(cell, layer, count[backward], backward), run

    def _operations(self, steps: Iterable[list[Node]]) -> set[Operation]:
        return {(self.place(n), n.op) for nodes in steps for n in nodes}

    def _split_last(self, found: list[Steps], first: set[Operation]) -> None:
        """Take from the first run what a backward has recorded in its last step.

        A backward begins in the very step that was made last, if nothing stands in between.
        """
        step, nodes = [*found[0].items()][-1]
        odd = next((k for k, n in enumerate(nodes) if (self.place(n), n.op) not in first), None)
        if (
            len(found[0]) > 1
            and odd
            and step not in found[1]
            and _is_backward(self._operations(found[1].values()), first)
        ):
            found[0][step] = nodes[:odd]
            found[1] = {step: nodes[odd:], **found[1]}


def _is_backward(made: set[Operation], first: set[Operation]) -> bool:
    """Whether a run with these operations is a backward of one with the first ones."""
    return len(made - first) > NEW * len(made)


def _turns(steps: Steps, step: int) -> bool:
    """Whether a run that came through these steps would turn round with this one."""
    if len(steps) < 2:
        return False
    first, last = next(iter(steps)), next(reversed(steps))
    return (last - first) * (step - last) < 0


def _move_leaves(nodes: Sequence[Node], inputs: Inputs, own: dict[Node, Moment | None]) -> None:
    """Give each leaf of a step the run of the first operation in that step which reads it."""
    seen: set[Node] = set()
    for n in nodes:
        reader = own[n]
        for i in inputs[n]:
            moment = own.get(i)  # what is none of the nodes has none
            if i.primitive is None and i not in seen and moment is not None:
                seen.add(i)
                if reader is not None and (moment.lane.layer, moment.step) == (
                    reader.lane.layer,
                    reader.step,
                ):
                    own[i] = reader


def _with_neighbours(
    nodes: Sequence[Node],
    inputs: Inputs,
    is_leaf: Callable[[Node], bool],
    own: Mapping[Node, Moment | None],
) -> dict[Node, Moment | None]:
    """Place also what was made in no step.

    It stands at the moment of the latest operation that it reads, or of the one step that reads
    it. A parameter does not belong to the step that reads it, though it may belong to what comes
    after one.
    """
    found: dict[Node, Moment | None] = {}
    # of a leaf: who reads it, by step; "inside" stands for a parameter that is read in a step
    readers: dict[Node, dict[Any, Moment | None]] = {}
    outlets: dict[Node, set[Node]] = {}
    for n in nodes:
        moment = own[n]
        inside = moment is not None
        if moment is None:
            before = [i for i in inputs[n] if not is_leaf(i) and found[i] is not None]
            moment = found[max(before, key=lambda i: i.index)] if before else None
        found[n] = moment
        for i in inputs[n]:
            if found[i] is not None:
                continue
            if i.primitive is None:
                step = "inside" if inside and i.requires_grad else moment and moment.step
                readers.setdefault(i, {})[step] = moment
            else:
                outlets.setdefault(i, set()).add(n)
    # what only prepares something for an operation after the last step stands with that operation
    for n in reversed(nodes):
        if found[n] is None and not is_leaf(n) and len(outlets.get(n, ())) == 1:
            (reader,) = outlets[n]
            moment = found[reader]
            if own[reader] is None and moment is not None:
                found[n] = moment
                for i in inputs[n]:
                    if None in readers.get(i, ()):
                        readers[i][moment.step] = moment
                        del readers[i][None]
    for leaf, moments in readers.items():
        if len(moments) == 1 and "inside" not in moments:
            found[leaf] = next(iter(moments.values()))
    return found
