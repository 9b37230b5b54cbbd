"""Are the steps of a sequence the same? The proof behind "94 identical steps" and folded pictures.

Two steps are of one kind if their nodes, in the order in which they were made, agree one by one:
primitive, parameters, shape, dtype and source line, and each input is the same thing seen from the
step: a number, the node with the same place in the step, the same weight, the same place in the
step before (a state), the input of that step. In the first step a state may come from anywhere: it
is the initial one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ..core.tape import Leaf, Node
from ..recurrent.moments import Lane, Moment
from .facts import index_of, joins
from .graph import Graph

LONGEST = 3  # differences that are told one by one

Key = Any  # of an operation: the same in every step
Input = tuple[Lane, int, int]  # the place of a node in its step, and of the input at that node


class Kinds:
    """The kinds of steps of each lane.

    Attributes
    ----------
    steps : dict of Lane to dict of int to list of Node
        The operations of each step, but for those that the graph has left out.
    number : dict of Node to int
        The place of a node in its step.
    beyond : set of Node
        What brings steps together, and what follows from it: no part of the last step.
    kind : dict of Lane to dict of int to int
        The kind of each step, as a number.
    states : dict of (Lane, place of a node, place of an input) to (int, key)
        The inputs that are states: how many steps back, and what made it.
    makers : dict of (Lane, key) to dict of int to Node
        The operations that make states, by step.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.number: dict[Node, int] = {}
        self.beyond: set[Node] = set()
        self.steps: dict[Lane, dict[int, list[Node]]] = {}
        self._collect()
        self._end()
        self.states: dict[Input, tuple[int, Key]] = {}
        self.makers: dict[tuple[Lane, Key], dict[int, Node]] = {}
        # inputs that are no states, but one thing that an early step computed for all
        self.once: set[Input] = set()
        self._keys: dict[Node, Key] = {}
        self._find_states()
        self.kind: dict[Lane, dict[int, int]] = {}
        self._moving: dict[tuple[Lane, int], bool] = {}
        known: dict[Any, int] = {}
        for lane, steps in self.steps.items():
            kinds = self.kind[lane] = {}
            before: list[Node] = []
            kind = -1
            for step, nodes in steps.items():
                if not self._is_as_before(lane, step, before, nodes):
                    found = (lane, *(self.describe(n, lane, step) for n in nodes))
                    kind = known.setdefault(found, len(known))
                kinds[step], before = kind, nodes
        self._add_hidden()

    def _is_as_before(
        self, lane: Lane, step: int, before: Sequence[Node], nodes: Sequence[Node]
    ) -> bool:
        """Whether the graph has found a step to be the same as that before, with all that is in it."""
        framed = self.graph.framed
        return Moment(lane, step) in self.graph.alike and all(
            n in framed for n in itertools.chain(before, nodes)
        )

    def _add_hidden(self) -> None:
        """Add the kinds, and what makes the states, of the steps that the graph has left out."""
        graph = self.graph
        for h in graph.hidden:
            lane = graph.lane_of(h)
            like, steps = h.like.step, h.steps
            self.kind[lane].update(dict.fromkeys(steps, self.kind[lane][like]))
            for (other, _), made in self.makers.items():
                n = made.get(like)
                if other == lane and n is not None:
                    place = graph.whole.index(n, h.like.begin, h.like.end) - h.like.begin
                    begins = (g.begin + place for g in h.groups)
                    made.update(zip(steps, map(graph.whole.__getitem__, begins), strict=True))

    def _collect(self) -> None:
        """Number the operations of each step."""
        graph, last = self.graph, None
        nodes: list[Node] = []
        for n in graph.nodes:
            moment = graph.moments[n]
            if moment is None:
                continue
            if moment is not last:
                last = moment
                nodes = self.steps.setdefault(moment.lane, {}).setdefault(moment.step, [])
            if not graph.is_leaf(n) and not (n not in graph.framed and self._is_beyond(n)):
                self.number[n] = len(nodes)
                nodes.append(n)

    def _is_beyond(self, n: Node) -> bool:
        """Whether an operation outside of the frames brings steps together; note it if so."""
        graph = self.graph
        inputs = graph.inputs[n]
        found = joins(n) or any(i in self.beyond for i in inputs)
        if not found and len(inputs) > 1:
            read = {graph.step(i) for i in inputs if i in graph.framed and i.primitive is not None}
            found = len(read) > 1
        if found:
            self.beyond.add(n)
        return found

    def _end(self) -> None:
        """Take out of the steps what follows only one of them: it is no part of it."""
        framed = self.graph.framed
        for steps in self.steps.values():
            followed = [step for step, nodes in steps.items() if nodes and nodes[-1] not in framed]
            if len(followed) == 1 < len(steps):
                nodes = steps[followed[0]]
                for n in [n for n in nodes if n not in framed]:
                    self.beyond.add(n)
                    del self.number[n]
                nodes[:] = [n for n in nodes if n in framed]
                self.number.update((n, k) for k, n in enumerate(nodes))

    def _find_states(self) -> None:
        """Find the inputs that come from another step of the same lane, and what makes them."""
        number, framed = self.number, self.graph.framed
        before: dict[Input, tuple[int, Node]] = {}
        read: list[tuple[Input, int, Node]] = []
        for lane, steps in self.steps.items():
            for step, nodes in steps.items():
                for n in nodes:
                    if n not in framed:
                        continue
                    for place, i in enumerate(self.graph.sources(n)):
                        moment = self.graph.moments[i] if i in number and i in framed else None
                        if moment is None or moment.step == step or moment.lane != lane:
                            continue
                        here = (lane, number[n], place)
                        first, source = before.setdefault(here, (step, i))
                        if source is i and first != step:
                            self.once.add(here)
                        read.append((here, step - moment.step, i))
        for here, back, i in read:
            if here not in self.once:
                key = self.key(i)
                self.states.setdefault(here, (back, key))
                self.makers.setdefault((here[0], key), {})[self.graph.step(i) or 0] = i
        self._find_unread()

    def _find_unread(self) -> None:
        """Find what makes a state also where nothing reads it any more, as in the last step."""
        for (lane, key), made in self.makers.items():
            for step, nodes in self.steps[lane].items():
                if step in made:
                    continue
                for n in nodes:
                    if (n.primitive, self.graph.place(n)) == key[:2] and self.key(n) == key:
                        made[step] = n
                        break

    def key(self, n: Node) -> Key:
        """Return the operation, its source, and which of several from there it is in its step."""
        if n not in self._keys:
            moment, place = self.graph.moments[n], self.graph.place(n)
            assert moment is not None
            same = [
                m
                for m in self.steps[moment.lane][moment.step]
                if m.primitive is n.primitive and self.graph.place(m) == place
            ]
            for k, m in enumerate(same):
                self._keys[m] = (m.primitive, place, k)
        return self._keys[n]

    def describe(self, n: Node, lane: Lane, step: int) -> Any:
        """Return what has to agree: a tuple of operation, source, shape, parameters and inputs."""
        moments, number, graph = self.graph.moments, self.number, self.graph
        inputs: list[Any] = []
        inside = True
        for place, i in enumerate(graph.sources(n)):
            found: Any
            if i in number:
                moment = moments[i]
                assert moment is not None
                back = step - moment.step
                if moment.lane == lane:
                    once = back and (lane, number[n], place) in self.once
                    found = (
                        ("once", i.index) if once else (back, self.key(i)) if back else number[i]
                    )
                else:
                    inside = False
                    first = self._first(lane, number[n], place, step)
                    found = first or (moment.lane, number[i], back)
            elif isinstance(i, Leaf) and i in moments:
                inside = False
                first = self._first(lane, number[n], place, step)
                found = first or (
                    ("input", i.shape) if moments[i] is not None else ("leaf", i.index)
                )
            elif isinstance(i, Node) and i in moments:  # from outside of time
                inside = False
                found = self._first(lane, number[n], place, step) or ("node", i.index)
            else:
                found = ("number", i.value.item() if isinstance(i, Leaf) else i)
            inputs.append(found)
        params: Any = None
        if n.params:
            index = index_of(n)
            params = (
                ("t", index - step)
                if type(index) is int and not inside and self._follows(lane, number[n])
                else tuple([_shown(v) for v in n.params.values()])
            )
        return (n.primitive, graph.place(n), n.op, n.shape, n.dtype, params, *inputs)

    def _follows(self, lane: Lane, number: int) -> bool:
        """Whether the index of an operation moves with the steps, as that of a sequence does."""
        if (lane, number) not in self._moving:
            found = [
                nodes[number]
                for nodes in itertools.islice(self.steps[lane].values(), 2)
                if number < len(nodes)
            ]
            self._moving[lane, number] = len(found) < 2 or index_of(found[0]) != index_of(found[1])
        return self._moving[lane, number]

    def _first(self, lane: Lane, node: int, place: int, step: int) -> tuple[int, Key] | None:
        """Return the state that would stand here, if this is a first step."""
        state = self.states.get((lane, node, place))
        return state if state is not None and step - state[0] not in self.steps[lane] else None

    def runs(self, lane: Lane) -> list[list[int]]:
        """Return the steps of a lane; those of one kind that follow each other are one list."""
        found: list[list[int]] = []
        for step in sorted(self.kind[lane]):
            if found and self.kind[lane][step] == self.kind[lane][found[-1][0]]:
                found[-1].append(step)
            else:
                found.append([step])
        return found

    def count(self, lane: Lane, steps: list[int]) -> int:
        """Return how many kinds there are among these steps."""
        return len({self.kind[lane][s] for s in steps})

    def differences(self, lane: Lane, step: int, other: int) -> list[str]:
        """Say in words how a step differs from another."""
        a, b = self.steps[lane][step], self.steps[lane][other]
        said: list[str] = []
        for n, m in zip(a, b, strict=False):
            one, two = self.describe(n, lane, step), self.describe(m, lane, other)
            if one == two:
                continue
            if n.primitive is not m.primitive:
                said.append(f"{n.op} in place of {m.op}{n.where.described()}")
                break
            if n.shape != m.shape or n.dtype != m.dtype:
                said.append(f"{n.op} gives {n.shape} {n.dtype} in place of {m.shape} {m.dtype}")
            elif one[5] != two[5]:
                said.append(f"{n.op} has other parameters")
            else:
                where = next(
                    (k for k, (x, y) in enumerate(zip(one[6:], two[6:], strict=False)) if x != y),
                    None,
                )
                cut = (
                    where is not None
                    and isinstance(n.inputs[where], Leaf)
                    and (lane, self.number[n], where) in self.states
                )
                said.append(
                    f"{n.op} begins anew from a constant: the state was cut"
                    if cut
                    else f"{n.op} reads another input"
                )
        if len(a) != len(b) and not said:
            said.append(f"{len(a)} operations in place of {len(b)}")
        return said[:LONGEST]


def _shown(value: Any) -> Any:
    """Return a parameter as something that can be compared."""
    if isinstance(value, (int, float, str, bool, type(None))):
        return value
    return (
        repr(value)
        if isinstance(value, (tuple, list, slice, type(...)))
        else f"{type(value).__name__} {getattr(value, 'shape', '')}"
    )
