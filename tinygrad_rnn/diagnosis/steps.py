"""The time steps on a tape, and the states that one hands to the next.

A state is what a step reads and an earlier step of the same run has computed. It is known by the
expression that makes it, which is the same in every step, and called as the cell's code calls it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.tape import Node
from ..ops.source import spot_of, variables
from ..recurrent.moments import Lane, Moment, Runs

Key = tuple[Any, ...]  # an operation, its place in the source, which one of several it is


class Read(NamedTuple):
    """A place in a step at which something from before is read: a node, and which input."""

    lane: Lane
    reader: Key
    position: int


class State(NamedTuple):
    """A component of the state of one run of a cell.

    Attributes
    ----------
    lane : Lane
        The run.
    name : str
        What the cell's code calls it.
    makers : dict of int to Node
        What computes it, by step.
    """

    lane: Lane
    name: str
    makers: dict[int, Node]


class _Inputs(dict[Node, list[Node]]):
    """The inputs of each node, which are found when they are asked for."""

    def __missing__(self, n: Node) -> list[Node]:
        return [i for i in n.inputs if isinstance(i, Node)]


class Steps:
    """What stands in which step.

    Parameters
    ----------
    nodes : sequence of Node
        A tape on which what ran compiled has been opened.

    Attributes
    ----------
    moments : dict of Node to Moment
        Of the nodes that were made in a step.
    lanes : dict of Lane to dict of int to list of Node
        The nodes of each step of each run, steps in the order in which they ran.
    states : list of State
    reads : dict of Read to dict of int to Node
        Where states are read: what stood there in each step, be it a state or not.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._places: dict[tuple[int, int], int] = {}
        self._spots: dict[Any, int] = {}
        made = Runs(nodes, self._place).moments(_Inputs())
        self.moments: dict[Node, Moment] = {
            n: moment
            for n, moment in made.items()
            if moment is not None and not moment.lane.backward
        }
        self.lanes: dict[Lane, dict[int, list[Node]]] = {}
        self._keys: dict[Node, Key] = {}
        self._number()
        self.reads: dict[Read, dict[int, Node]] = {}
        self.states = self._named(self._find())

    def _place(self, n: Node) -> int:
        """Return a number for the expression that made a node; it is the same in every step."""
        code, offset, _ = n.origin
        found = self._places.get((id(code), offset))
        if found is None:
            spot = spot_of(n)
            key = (id(code), offset if spot is None else spot.range)
            found = self._spots.setdefault(key, len(self._spots))
            self._places[id(code), offset] = found
        return found

    def _number(self) -> None:
        """Put the nodes into their steps, and number those of one expression in each step."""
        last: Moment | None = None
        # a leaf may be made before the steps; a step begins with an operation
        waiting: dict[Moment, list[Node]] = {}
        counts: dict[Moment, dict[Any, int]] = {}
        kinds: dict[Any, tuple[int, int]] = {}
        for n, moment in self.moments.items():
            if n.primitive is None and moment.step not in self.lanes.get(moment.lane, ()):
                waiting.setdefault(moment, []).append(n)
                continue
            if moment is not last:
                last = moment
                steps = self.lanes.setdefault(moment.lane, {})
                into = steps.setdefault(moment.step, waiting.pop(moment, []))
                count = counts.setdefault(moment, {})
            into.append(n)
            if n.primitive is not None:
                code, offset, _ = n.origin
                made = (id(n.primitive), id(code), offset)
                kind = kinds.get(made)
                if kind is None:
                    kind = kinds[made] = (id(n.primitive), self._place(n))
                k = count[kind] = count.get(kind, 0) + 1
                self._keys[n] = (kind, k)

    def _find(self) -> list[tuple[Lane, dict[int, Node]]]:
        """Find what makes states, and note where they are read."""
        moments, keys = self.moments, self._keys
        found: dict[Read, list[tuple[int, Node]]] = {}
        for n, key in keys.items():
            moment = moments[n]
            for position, i in enumerate(n.inputs):
                other = moments.get(i)
                if other is None or other is moment or i.primitive is None:
                    continue
                if other.step != moment.step and other.lane == moment.lane:
                    read = Read(moment.lane, key, position)
                    found.setdefault(read, []).append((moment.step, i))
        groups: list[tuple[Lane, set[Key]]] = []
        for read, sources in found.items():
            if len({step for step, _ in sources}) > 1 and len({i for _, i in sources}) == 1:
                continue  # what an early step has computed for all
            made = {keys[i] for _, i in sources}
            self.reads[read] = {}
            for g in [g for g in groups if g[0] == read.lane and g[1] & made]:
                made |= g[1]
                groups.remove(g)
            groups.append((read.lane, made))
        places: dict[Key, list[Read]] = {}
        for read in self.reads:
            places.setdefault(read.reader, []).append(read)
        for n, key in keys.items():
            for read in places.get(key, ()):
                if read.lane == moments[n].lane:
                    self.reads[read][moments[n].step] = n.inputs[read.position]
        return self._makers(groups)

    def _makers(self, groups: list[tuple[Lane, set[Key]]]) -> list[tuple[Lane, dict[int, Node]]]:
        """Return for each group of expressions what they made in each step, the last of several."""
        of: dict[tuple[Lane, Key], int] = {
            (lane, key): k for k, (lane, keys) in enumerate(groups) for key in keys
        }
        made: list[tuple[Lane, dict[int, Node]]] = [(lane, {}) for lane, _ in groups]
        for n, key in self._keys.items():
            moment = self.moments[n]
            k = of.get((moment.lane, key))
            if k is not None:
                made[k][1][moment.step] = n
        return made

    def _named(self, found: list[tuple[Lane, dict[int, Node]]]) -> list[State]:
        """Give each state the name that the cell's code has for it."""
        states: list[State] = []
        for lane, makers in found:
            made = set(makers.values())
            around = [*makers.values()]
            for read, nodes in self.reads.items():
                if read.lane == lane and not made.isdisjoint(nodes.values()):
                    around += nodes.values()  # the first state has a name
            name, taken = _name(around), {s.name for s in states if s.lane == lane}
            k, whole = 2, name
            while whole in taken:
                whole, k = f"{name} ({k})", k + 1
            states.append(State(lane, whole, makers))
        return states

    def key(self, n: Node) -> Key:
        """Return what an operation in a step has in common with the same one in other steps."""
        return self._keys[n]

    def title(self, lane: Lane, name: str = "") -> str:
        """Return what a run, or a state of it, is called where there are several runs."""
        if len(self.lanes) == 1:
            return name or lane.described()
        return f"{lane.described()}: {name}" if name else lane.described()


def _name(nodes: Sequence[Node]) -> str:
    """Return the name of a state: that of a tensor of it, or of the variable in a step."""
    for n in reversed(nodes):
        found = re.fullmatch(r"(.+)_\d+", n.name or "") if isinstance(n, Node) else None
        if found:
            return found[1]
    return variables(nodes[:1]).get(nodes[0], "state")


def is_input(n: Node) -> bool:
    """Whether a node is what a step takes from the sequence; that has a name such as x[3]."""
    return re.fullmatch(r".+\[\d+\]", n.name or "") is not None
