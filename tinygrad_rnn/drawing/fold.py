"""Are the steps of a sequence the same? The proof behind "94 identical steps" and behind the folded picture.

Two steps are of one kind if their nodes, in the order in which they were made, agree one by one:
primitive, parameters, shape, dtype and source line, and each input is the same thing seen from the
step: a number, the node with the same place in the step, the same weight, the same place in the
step before (a state), the input of that step. In the first step a state may come from anywhere: it
is the initial one.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ..core.tape import Leaf, Node

if TYPE_CHECKING:
    from .sketch import Graph

Lane = Any  # cell and layer
LONGEST = 3  # differences that are told one by one


class Kinds:
    """The kinds of steps of each cell and layer.

    Attributes
    ----------
    number : dict of Node to int
        The place of a node in its step.
    kind : dict of lane to dict of step to int
    states : dict of (lane, place of a node, place of an input) to (int, key)
        The inputs that are states: how many steps back, and what made it.
    makers : dict of (lane, key) to dict of step to Node
        The operations that make states. A key is the same in every step.
    """

    folding = False  # whether steps that are alike are drawn as one

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.number: dict[Node, int] = {}
        # what brings steps together, and what follows from it: no part of the last step
        self.beyond: set[Node] = set()
        self.steps: dict[Lane, dict[int, list[Node]]] = {}
        last, nodes = None, []
        for n in graph.nodes:
            mark = graph.marks[n]
            if mark is None or mark[2] is None:
                continue
            if mark is not last:
                last, nodes = (
                    mark,
                    self.steps.setdefault((mark[0], mark[1]), {}).setdefault(mark[2], []),
                )
            if (
                n.primitive is not None
                and n not in graph.given
                and not (n not in graph.framed and self._is_beyond(n))
            ):
                self.number[n] = len(nodes)
                nodes.append(n)
        self._end()
        self.states: dict[tuple[Lane, int, int], tuple[int, Any]] = {}
        self.makers: dict[tuple[Lane, Any], dict[int, Node]] = {}
        # inputs that are no states, but one thing that an early step computed for all
        self.once: set[tuple[Lane, int, int]] = set()
        self._keys: dict[Node, Any] = {}
        self._find_states()
        self.kind: dict[Lane, dict[int, int]] = {}
        self._moving: dict[tuple[Lane, int], bool] = {}
        known: dict[Any, int] = {}
        for lane, steps in self.steps.items():
            self.kind[lane] = {
                step: known.setdefault(
                    (lane, *(self.describe(n, lane, step) for n in nodes)), len(known)
                )
                for step, nodes in steps.items()
            }

    def _is_beyond(self, n: Node) -> bool:
        graph, marks = self.graph, self.graph.marks
        inputs = graph.inputs[n]
        found = n.op in ("stack", "concatenate") or any(i in self.beyond for i in inputs)
        if not found and len(inputs) > 1:
            found = (
                len(
                    {
                        m[2]
                        for i in inputs
                        if i in graph.framed
                        and i.primitive is not None
                        and (m := marks[i]) is not None
                    }
                )
                > 1
            )
        if found:
            self.beyond.add(n)
        return found

    def _end(self) -> None:
        """What follows only one of the steps is no part of it."""
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
        marks, number, states, framed = (
            self.graph.marks,
            self.number,
            self.states,
            self.graph.framed,
        )
        before: dict[Any, tuple[int, Node]] = {}
        read: list[tuple[tuple[Lane, int, int], int, Node]] = []
        for lane, steps in self.steps.items():
            for step, nodes in steps.items():
                for n in nodes:
                    if n not in framed:
                        continue
                    for place, i in enumerate(self.graph.sources(n)):
                        if i in number and i in framed:
                            mark = marks[i]
                            if mark is not None and mark[2] != step and (mark[0], mark[1]) == lane:
                                here = (lane, number[n], place)
                                if (
                                    before.setdefault(here, (step, i))[1] is i
                                    and before[here][0] != step
                                ):
                                    self.once.add(here)
                                read.append((here, step - (mark[2] or 0), i))
        for here, back, i in read:
            if here not in self.once:
                key = self.key(i)
                states.setdefault(here, (back, key))
                self.makers.setdefault((here[0], key), {})[self.graph.step(i) or 0] = i
        # also where nothing reads it any more, as in the last step
        for (lane, key), made in self.makers.items():
            for step, nodes in self.steps[lane].items():
                if step not in made:
                    found = next(
                        (
                            n
                            for n in nodes
                            if n.primitive is key[0]
                            and self.graph.place(n) == key[1]
                            and self.key(n) == key
                        ),
                        None,
                    )
                    if found is not None:
                        made[step] = found

    def key(self, n: Node) -> Any:
        """The operation and its source, and which one of several from there it is in its step."""
        found = self._keys.get(n)
        if found is None:
            mark = self.graph.marks[n]
            assert mark is not None and mark[2] is not None
            place = self.graph.place(n)
            same = [
                m
                for m in self.steps[mark[0], mark[1]][mark[2]]
                if m.primitive is n.primitive and self.graph.place(m) == place
            ]
            for k, m in enumerate(same):
                self._keys[m] = (m.primitive, place, k)
            found = self._keys[n]
        return found

    def describe(self, n: Node, lane: Lane, step: int) -> Any:
        """What has to agree."""
        marks, number, graph = self.graph.marks, self.number, self.graph
        inputs: list[Any] = []
        inside = True
        for place, i in enumerate(graph.sources(n)):
            found: Any
            if i in number:
                mark = marks[i]
                assert mark is not None
                if (mark[0], mark[1]) == lane:
                    back = step - (mark[2] or 0)
                    once = back and (lane, number[n], place) in self.once
                    found = (
                        ("once", i.index) if once else (back, self.key(i)) if back else number[i]
                    )
                else:
                    inside = False
                    first = self._first(lane, number[n], place, step)
                    found = first or (mark[0], mark[1], number[i], step - (mark[2] or 0))
            elif isinstance(i, Leaf) and i in marks:
                inside = False
                first = self._first(lane, number[n], place, step)
                found = first or (("input", i.shape) if marks[i] is not None else ("leaf", i.index))
            elif isinstance(i, Node) and i in marks:  # from outside of time
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
        """Whether the index that is taken out moves with the steps, as of a sequence, and is not always the same."""
        if (lane, number) not in self._moving:
            found = [
                nodes[number]
                for nodes in itertools.islice(self.steps[lane].values(), 2)
                if number < len(nodes)
            ]
            self._moving[lane, number] = len(found) < 2 or index_of(found[0]) != index_of(found[1])
        return self._moving[lane, number]

    def _first(self, lane: Lane, node: int, place: int, step: int) -> tuple[int, Any] | None:
        """The state that would stand here, if this is a first step."""
        state = self.states.get((lane, node, place))
        return state if state is not None and step - state[0] not in self.steps[lane] else None

    def runs(self, lane: Lane) -> list[list[int]]:
        """The steps, those of one kind that follow each other in one list."""
        found: list[list[int]] = []
        for step in sorted(self.steps[lane]):
            if found and self.kind[lane][step] == self.kind[lane][found[-1][0]]:
                found[-1].append(step)
            else:
                found.append([step])
        return found

    def count(self, lane: Lane, steps: list[int]) -> int:
        """How many kinds there are among these steps."""
        return len({self.kind[lane][s] for s in steps})

    def differences(self, lane: Lane, step: int, other: int) -> list[str]:
        """How a step differs from another, in words."""
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


def index_of(n: Node) -> Any:
    """What is taken out of an array, where it is one number."""
    index = n.params.get("index")
    return index[0] if isinstance(index, tuple) and len(index) == 1 else index


def _shown(value: Any) -> Any:
    """A parameter as something that can be compared."""
    if isinstance(value, (int, float, str, bool, type(None))):
        return value
    return (
        repr(value)
        if isinstance(value, (tuple, list, slice, type(...)))
        else f"{type(value).__name__} {getattr(value, 'shape', '')}"
    )
