"""From a tape to what is to be drawn.

Boxes, arrows and groups, and what is left out of a long tape.

Every node that is drawn has one box. Beside these there are *ports*: what many steps read (a
weight, a value that the backward reads again) is drawn once, and where a step reads it stands a
small box with its name in place of a line across the picture. Steps that are not drawn have a box,
the gap, in their place; the arrows that enter and leave it are those of the tape.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Spec
from ..core.tape import Leaf, Mark, Node, reachable
from ..core.trace import Program
from ..recurrent.source import spot_of, variables
from .fold import Kinds, index_of
from .rules import formula, rule_text

# The families of boxes. Those of operations that are not elementwise follow from the file of ops/
# that defines them.
ARITHMETIC, FUNCTION, LINEAR, REDUCTION, SHAPING, PARAMETER, INPUT, GAP, SAVED, DELAY = (
    "arithmetic",
    "function",
    "linear",
    "reduction",
    "shaping",
    "parameter",
    "input",
    "gap",
    "saved",
    "delay",
)
FILES = {"linear": LINEAR, "reductions": REDUCTION, "shaping": SHAPING, "indexing": SHAPING}
# parameters of operations that belong into the picture; the tooltip has all
IN_LABEL = ("axis", "subscripts", "shift", "dtype")
LONGEST = 28  # characters of a label
HEIGHT, PORT = 32.0, 18.0  # of a box, of a port
# roles of leaves: read by many steps; a first state; read in one
SHARED, INITIAL, LOCAL, SEQUENCE = "shared", "initial", "local", "sequence"
# place; of which each step takes a part
# before the name of a cell: the nodes that its backward recorded
GRADIENT = "\N{PARTIAL DIFFERENTIAL} "


@dataclass(eq=False)
class Box:
    """One thing with an outline.

    An operation, a leaf, a port, or what stands for nodes that are not drawn.
    """

    title: str
    detail: str
    family: str
    # the cell, layer and step to which it belongs; None: it is outside of time
    mark: Mark | None = None
    framed: bool = False  # it was made in that step, and is not just next to it
    tooltip: str = ""
    root: bool = False  # it is a result
    name: str = ""  # from a counter, so it is the same in every process
    key: Any = None  # the same for what is the same operation in every step
    of: str = ""  # of a port: the name of the box that it stands for
    role: str = ""  # of a leaf: see SHARED
    hides: tuple[int, ...] = ()  # of a gap: the steps
    reads: tuple[str, ...] = ()  # of a gap: the shared leaves that it reads
    back: bool = False  # it was recorded by a backward
    cut: str = ""  # why no gradient goes through it; empty: one does, or none was wanted
    # its width is not less: that of the same operation in other steps; set by the layout
    least: float = 0.0
    tall: float = 0.0  # its height where that is not the usual one; set by the layout
    fill: str = ""  # a colour in place of that of its family: a measured figure
    hatch: bool = False  # what was to be measured there is not there
    bars: tuple[float, ...] = ()  # a small chart in it
    x: float = 0.0  # the middle, in points; set by the layout
    y: float = 0.0

    @property
    def step(self) -> int | None:
        """Its time step."""
        return None if self.mark is None else self.mark.step

    @property
    def lane(self) -> tuple[str, int | None] | None:
        """The cell and layer in whose frame it stands."""
        return self.mark[:2] if self.mark and (self.framed or self.run) else None

    @property
    def gap(self) -> bool:
        """Whether it stands for nodes that are not drawn."""
        return self.family == GAP

    @property
    def run(self) -> bool:
        """Whether it stands for time steps that are not drawn."""
        return self.family == GAP and self.mark is not None

    @property
    def leaf(self) -> bool:
        """Whether it is an array that was given."""
        return self.family in (PARAMETER, INPUT) and not self.of

    @property
    def port(self) -> bool:
        """Whether it stands for a box somewhere else."""
        return bool(self.of)

    @property
    def above(self) -> bool:
        """Whether it is given to one time step."""
        return self.leaf and self.mark is not None and not self.framed

    @property
    def width(self) -> float:
        """Room for the label, in whatever font stands in for Helvetica."""
        if self.port:
            return max(12 + 5.4 * len(self.title), self.least)
        return max(
            self.least,
            14 + 6.6 * len(self.title),
            12 + 5.0 * len(self.detail),
            34.0,
            (3.4 * len(self.bars) + 14) * bool(self.bars),
        )

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.tall or (PORT if self.port else HEIGHT + 22.0 * bool(self.bars))


class Arrow(NamedTuple):
    """One or more edges of the tape, from one box to another."""

    tail: Box
    head: Box
    places: tuple[int, ...]  # which inputs of the head they are

    @property
    def through_time(self) -> bool:
        """Whether it leads from inside one time step into another."""
        return (
            self.tail.lane is not None
            and self.head.lane is not None
            and not self.tail.leaf
            and self.tail.step != self.head.step
        )


@dataclass
class Strip:
    """A row of figures under the time axis, one for each step.

    Attributes
    ----------
    title : str
        What they are.
    cells : dict
        (cell, layer) and step to a colour (or "") and a text.
    """

    title: str
    cells: dict[tuple[Any, int], tuple[str, str]] = field(default_factory=dict)


@dataclass
class Sketch:
    """A picture before it is laid out."""

    boxes: list[Box]
    arrows: list[Arrow]
    title: str = ""
    note: str = ""
    nodes: Sequence[Node] = ()  # those that have a box of their own, in the order of the boxes
    of: dict[Node, Box] = field(default_factory=dict)
    strips: list[Strip] = field(default_factory=list)
    legend: Any = None


class Graph:
    """The nodes of a tape or a program that can be drawn, the edges between them, and where in time they belong.

    Numbers and unnamed 0-d constants are not among them: they are written into the operations that
    use them. Nor is a stack whose parts are taken out again one by one, as from one layer to the
    next: these are the parts themselves.

    Attributes
    ----------
    nodes : list of Node
    inputs : dict of Node to list of Node
        What is drawn before each.
    marks : dict of Node to Mark or None
        The cell, layer and step. A cell that was run twice, and what its backward recorded, have
        names of their own.
    framed : set of Node
        Those that were made in a step, and are not just next to it.
    """

    def __init__(self, x: Any, given: Collection[Node] = ()) -> None:
        # nodes that are inputs: of a program, or the first state that a cell was given
        self.given: Collection[Node] = set(given)
        if isinstance(x, Program):
            self.given, self.roots = set(x.inputs), {o for o in x.outputs if isinstance(o, Node)}
            nodes: Sequence[Node] = sorted(
                {*x.inputs, *x.constants, *x.nodes}, key=lambda n: n.index
            )
        elif isinstance(x, Sequence) and not hasattr(x, "root"):
            self.roots, nodes = set(x), reachable(x, every=True)
        else:
            self.roots, nodes = {x.root}, x.nodes
        self._places: dict[tuple[int, int], Any] = {}
        self._codes: dict[int, int] = {}
        literals = {
            n for n in nodes if n.primitive is None and n not in self.roots and self.is_literal(n)
        }
        self.nodes = [n for n in nodes if n not in literals]
        known = self.given
        self.inputs = {
            n: []
            if n in known
            else [i for i in n.inputs if isinstance(i, Node) and i not in literals]
            for n in self.nodes
        }
        self._unstack()
        own = self._passes()
        self.framed = {n for n in self.nodes if own[n].step is not None}
        self.marks = self._marks(own)
        self._take_in()

    def sources(self, n: Node) -> Sequence[Any]:
        """Inputs of a node with numbers, in order: nodes as they are drawn."""
        if n in self.unstacked:
            return (self.unstacked[n],)
        return n.inputs

    def is_literal(self, n: Any) -> bool:
        """Whether this input of an operation is written into its label."""
        if not isinstance(n, Leaf):
            return not isinstance(n, Node)
        return (
            n.shape == ()
            and not n.requires_grad
            and n.name is None
            and n not in self.given
            and not isinstance(n.value, Spec)
        )

    def is_leaf(self, n: Node) -> bool:
        """Whether nothing is drawn before it."""
        return n.primitive is None or n in self.given

    def place(self, n: Node) -> Any:
        """The expression in the source that made a node; the same in every step.

        The offset in a node's origin is not: the interpreter replaces instructions by faster ones
        while it runs.
        """
        code, offset, _ = n.origin
        found = self._places.get((id(code), offset))
        if found is None:
            number = self._codes.setdefault(id(code), len(self._codes))
            spot = spot_of(n)
            found = self._places[id(code), offset] = (
                number,
                offset if spot is None else spot.range,
            )
        return found

    def step(self, n: Node) -> int | None:
        """The time step to which it belongs."""
        mark = self.marks[n]
        return None if mark is None else mark.step

    def _take_in(self) -> None:
        """What is taken out of an array for one step alone belongs to that step, as in a backward the gradient of its output."""
        readers: dict[Node, list[Node]] = {}
        for n in self.nodes:
            for i in self.inputs[n]:
                if (
                    i.primitive is not None
                    and i not in self.framed
                    and i.op == "getitem"
                    and type(index_of(i)) is int
                ):
                    readers.setdefault(i, []).append(n)
        for i, found in readers.items():
            mark = self.marks[found[0]]
            if (
                len(found) == 1
                and found[0] in self.framed
                and i not in self.roots
                and mark is not None
                and mark.cell.startswith(GRADIENT)
            ):
                self.marks[i] = mark
                self.framed.add(i)

    def _unstack(self) -> None:
        """Lead what is taken out of a stack of the outputs of steps to where it came from."""
        whole = set()
        self.unstacked: dict[Node, Node] = {}  # what is taken out of a stack -> where it came from
        for n in self.nodes:
            index = n.params.get("index") if n.op == "getitem" else None
            index = index[0] if isinstance(index, tuple) and len(index) == 1 else index
            if (
                type(index) is int
                and n not in self.given
                and (source := self.inputs[n][0] if self.inputs[n] else n).op == "stack"
            ):
                parts = source.inputs
                if (
                    source.params.get("axis") == 0
                    and -len(parts) <= index < len(parts)
                    and not self.is_literal(parts[index])
                ):
                    self.inputs[n] = [parts[index]]
                    self.unstacked[n] = self.inputs[n][0]
                    whole.add(source)
        if whole:
            read = {i for inputs in self.inputs.values() for i in inputs}
            self.nodes = [n for n in self.nodes if n not in whole or n in read or n in self.roots]

    def _passes(self) -> dict[Node, Mark]:
        """The own mark of each node, where those of several runs of one cell, and of its backward, are told apart.

        Nodes are numbered as they are made. A run goes through its steps in one direction; where a
        step is entered again, or the direction changes, another run has begun. What runs
        differently at the same source lines is a backward, which takes over the lines.
        """
        own: dict[Node, Mark] = {}
        tick, last, into = 0, None, []
        runs: dict[Any, list[dict[int, list[Node]]]] = {}
        at: dict[Any, tuple[int, int]] = {}
        for n in self.nodes:
            mark = own[n] = n.origin[2]
            if n.primitive is None:
                continue
            if mark is last:
                into.append(n)
                continue
            step = mark[2]
            if step is None:
                tick, last = tick + 1, None
                continue
            lane = mark[:2]
            if at.get(lane) != (step, tick):
                at[lane] = (step, tick)
                found = runs.setdefault(lane, [{}])
                steps = found[-1]
                if step in steps or (
                    len(steps) > 1 and _turns((next(reversed(steps)), next(iter(steps))), step)
                ):
                    found.append({step: []})
                else:
                    steps[step] = []
            last, into = mark, runs[lane][-1][step]
            into.append(n)
        for (cell, layer), found in runs.items():
            first: set[Any] = set()
            if len(found) > 1:
                first = {
                    (self.place(n), n.op)
                    for nodes in [*found[0].values()][: max(len(found[0]) - 1, 1)]
                    for n in nodes
                }
                self._split_last(found, first)
            count: Counter[bool] = Counter()
            for k, run in enumerate(found):
                made = (
                    {(self.place(n), n.op) for nodes in run.values() for n in nodes} if k else first
                )
                backward = len(made - first) > 0.3 * len(made)
                count[backward] += 1
                if k:
                    number = f" ({count[backward]})" if count[backward] > 1 else ""
                    name = f"{GRADIENT * backward}{cell}{number}"
                    for step, nodes in run.items():
                        own.update(dict.fromkeys(nodes, Mark(name, layer, step)))
        if any(len(found) > 1 for found in runs.values()):  # leaves go with what reads them first
            seen: set[Node] = set()
            for n in self.nodes:
                for i in self.inputs[n]:
                    if i.primitive is None and i not in seen and own[i].step is not None:
                        seen.add(i)
                        if own[i][1:] == own[n][1:]:
                            own[i] = own[n]
        return own

    def _split_last(self, found: list[dict[int, list[Node]]], first: set[Any]) -> None:
        """Where a backward has begun in the very step that was made last, with nothing in between.

        Give it what it made there.
        """
        step, nodes = [*found[0].items()][-1]
        odd = next((k for k, n in enumerate(nodes) if (self.place(n), n.op) not in first), None)
        made = {(self.place(n), n.op) for run in found[1].values() for n in run}
        if (
            len(found[0]) > 1
            and odd
            and step not in found[1]
            and len(made - first) > 0.3 * len(made)
        ):
            found[0][step] = nodes[:odd]
            found[1] = {step: nodes[odd:], **found[1]}

    def _marks(self, own: dict[Node, Mark]) -> dict[Node, Mark | None]:
        """The mark of each node.

        Where it carries none: that of the latest operation it reads, or of the one step that reads
        it.

        A parameter does not belong to the step that reads it, though it may to what comes after
        one.
        """
        found: dict[Node, Mark | None] = {}
        readers: dict[Node, dict[Any, Mark | None]] = {}
        outlets: dict[Node, set[Node]] = {}
        for n in self.nodes:
            mark: Mark | None = own[n]
            marked = mark is not None and mark.step is not None
            inputs = self.inputs[n]
            if not marked:
                before = [i for i in inputs if not self.is_leaf(i) and found[i] is not None]
                mark = found[max(before, key=lambda i: i.index)] if before else None
            found[n] = mark
            for i in inputs:
                if i.primitive is None:
                    if found[i] is None:
                        readers.setdefault(i, {})[
                            "inside" if marked and i.requires_grad else mark and mark.step
                        ] = mark
                elif found[i] is None:
                    outlets.setdefault(i, set()).add(n)
        # what only prepares something for an operation after the last step stands with that
        # operation
        for n in reversed(self.nodes):
            if found[n] is None and not self.is_leaf(n) and len(outlets.get(n, ())) == 1:
                (reader,) = outlets[n]
                place = found[reader]
                if own[reader].step is None and place is not None:
                    found[n] = place
                    for i in self.inputs[n]:
                        if None in readers.get(i, ()):
                            readers[i][place.step] = place
                            del readers[i][None]
        found.update(
            (leaf, next(iter(marks.values())))
            for leaf, marks in readers.items()
            if len(marks) == 1 and "inside" not in marks
        )
        return found


def _turns(ends: Sequence[int], step: int) -> bool:
    """Whether a run that has come from the second of these steps to the first would turn round with this one."""
    return (ends[0] - ends[1]) * (step - ends[0]) < 0


def sketch(
    x: Any,
    *,
    title: str = "",
    steps: int | None = None,
    limit: int = 250,
    show: Sequence[str] | str | None = None,
    fold: bool = False,
) -> Sketch:
    """Choose what of a Tape or a Program is drawn, and describe it."""
    return sketch_graph(Graph(x), title=title, steps=steps, limit=limit, show=show, fold=fold)


def sketch_graph(
    graph: Graph,
    *,
    title: str = "",
    steps: int | None = None,
    limit: int = 250,
    show: Sequence[str] | str | None = None,
    fold: bool = False,
) -> Sketch:
    """The same of a Graph."""
    counts: dict[Any, Counter[int]] = {}
    outside = 0
    for n in graph.nodes:
        mark = graph.marks[n]
        if mark is None or mark.step is None:
            outside += 1
        else:
            counts.setdefault(mark[:2], Counter())[mark.step] += 1
    notes = []
    kinds = Kinds(graph) if fold or any(len(c) > 1 for c in counts.values()) else None
    if fold:
        assert kinds is not None
        kinds.folding = True
        groups = {lane: kinds.runs(lane) for lane in counts}
    else:
        order = _order(graph, counts)
        chosen, why = _chosen(counts, order, steps, limit - outside, show)
        groups = {lane: [[s] for s in chosen[lane]] for lane in counts}
        drawn, every = (
            {s for c in chosen.values() for s in c},
            {s for c in counts.values() for s in c},
        )
        if drawn != every:
            notes.append(
                f"{len(every - drawn):,} of {len(every):,} time steps are not drawn ({why or f'limit={limit}'})."
            )
    beyond = kinds.beyond if fold and kinds is not None else ()
    shown = {lane: {g[0] for g in found} for lane, found in groups.items()}
    kept = [
        n
        for n in graph.nodes
        if (m := graph.marks[n]) is None or m[2] is None or m[2] in shown[m[0], m[1]] or n in beyond
    ]
    if len(kept) < len(graph.nodes):
        read = {i for n in kept for i in graph.inputs[n]} | graph.roots
        kept = [n for n in kept if n in read or not graph.is_leaf(n)]
    visible = set(kept)
    most = max(
        limit,
        outside + sum(sum(c[g[0]] for g in groups[lane]) for lane, c in counts.items())
        if show is not None or fold
        else 0,
    )
    if len(kept) > most:
        kept, visible = graph.nodes, _nearest(graph, limit)
        notes = [
            f"{len(kept) - len(visible):,} of {len(kept):,} nodes are not drawn, the farthest from the result (limit={limit})."
        ]
    made = _Boxes(graph, set(kept), visible, groups, kinds)
    if fold and kinds is not None:
        notes += made.folded_notes
    of = {n: b for n, b in made.boxes.items() if isinstance(n, Node)}
    return Sketch(made.all, made.arrows, title, " ".join(notes), list(of), of)


def _order(graph: Graph, counts: dict[Any, Counter[int]]) -> dict[Any, list[int]]:
    """The steps of each lane.

    First those of results, which have to be seen, then from both ends.
    """
    roots = sorted(graph.roots, key=lambda n: n.index)
    ends = {
        lane: [
            m.step
            for n in roots
            if (m := graph.marks[n]) is not None and m.step is not None and m.step in c
        ]
        for lane, c in counts.items()
    }
    return {
        lane: list(dict.fromkeys([*ends[lane], *_from_both_ends(sorted(c))]))
        for lane, c in counts.items()
    }


MANY = 12  # what more operations read stands once, and has ports where they read it
FEW, SOME = 8, 5  # so many steps are all drawn; of more, so many


def _chosen(
    counts: dict[Any, Counter[int]],
    order: dict[Any, list[int]],
    steps: int | None,
    room: int,
    show: Sequence[str] | str | None,
) -> tuple[dict[Any, list[int]], str]:
    """The steps of each lane that are drawn, and what decided it; nothing where it was the room."""
    if show is not None:
        return {
            lane: sorted(shown_steps(show, sorted(c))) for lane, c in counts.items()
        }, f"show={show!r}"
    most = max(map(len, counts.values()), default=0)
    number, why = (
        (steps, f"steps={steps}")
        if steps is not None
        else (FEW if most <= FEW else SOME, "show='all' draws them")
    )
    while (
        number > 2 and sum(c[s] for lane, c in counts.items() for s in order[lane][:number]) > room
    ):
        number, why = min(number, most) - 1, ""
    return {lane: sorted(order[lane][:number]) for lane in counts}, why


def shown_steps(show: Sequence[str] | str, steps: Sequence[int]) -> set[int]:
    """The steps that ``show`` names.

    "all", or "t=3", "t=0:3", "t=-2:" in Python's way of slicing, or several of these.
    """
    if show == "all":
        return set(steps)
    found: set[int] = set()
    end = max(steps, default=-1) + 1
    for text in (show,) if isinstance(show, str) else show:
        first, colon, last = text.removeprefix("t=").partition(":")
        if colon:
            found.update(
                range(
                    *slice(int(first) if first else None, int(last) if last else None).indices(end)
                )
            )
        else:
            found.add(int(first) + end * (int(first) < 0))
    return found & set(steps)


def _from_both_ends(order: Sequence[int]) -> Iterator[int]:
    """First, last, second, last but one, ..."""
    for k in range(len(order)):
        yield order[k // 2] if k % 2 == 0 else order[-1 - k // 2]


def _nearest(graph: Graph, count: int) -> set[Node]:
    """The `count` nodes that are fewest edges away from a result; of equally far ones, the latest.

    With each of them what reads it: so the rest is only read, and one box for it stands in no
    circle.
    """
    readers = Counter(i for n in graph.nodes for i in set(graph.inputs[n]))
    found: set[Node] = set()
    ready = [(0, -n.index, n) for n in graph.nodes if n in graph.roots and not readers[n]]
    heapq.heapify(ready)
    while ready and len(found) < count:
        away, _, n = heapq.heappop(ready)
        found.add(n)
        for i in set(graph.inputs[n]):
            readers[i] -= 1
            if not readers[i]:
                heapq.heappush(ready, (away + 1, -i.index, i))
    return found


class _Boxes:
    """The boxes and arrows for what is visible, and for what stands in the place of the rest."""

    def __init__(
        self,
        graph: Graph,
        kept: Collection[Node],
        visible: Collection[Node],
        groups: dict[Any, list[list[int]]],
        kinds: Kinds | None,
    ) -> None:
        self.graph, self.groups, self.kinds = graph, groups, kinds
        self.folded = {
            (lane, g[0]): g for lane, found in groups.items() for g in found if len(g) > 1
        }
        self.folded_notes: list[str] = []
        self.boxes: dict[Any, Box] = {}
        # node -> key of its box: itself, "far", the run of hidden steps, or the same node of
        # another step
        self.stands: dict[Node, Any] = {}
        self.words = Words(graph, [n for n in graph.nodes if n in visible])
        self._stand_ins(kept, visible)
        self._folds()
        self._link()
        self._roles()
        self._ports()
        if self.folded:
            self._delays()
        for box in self.ports:
            self.boxes[box] = box
        self.all = list(self.boxes.values())

    def _stand_ins(self, kept: Collection[Node], visible: Collection[Node]) -> None:
        graph = self.graph
        missing: Counter[Any] = Counter()
        hidden: dict[Any, set[int]] = {}
        last: Any = None
        into: Any = None
        representative: dict[Any, Node] = {}
        runs: dict[Any, dict[int, int]] = {}  # lane -> hidden step -> number of its run
        for lane, found in self.groups.items():
            shown, number = {s for g in found for s in g}, 0
            runs[lane] = {}
            every = sorted({*(shown), *(self.kinds.steps[lane] if self.kinds else ())})
            for before, step in zip([None, *every], every, strict=False):
                number += before in shown
                if step not in shown:
                    runs[lane][step] = number
            if self.folded and self.kinds:
                for g in found:
                    for k, n in enumerate(self.kinds.steps[lane][g[0]]):
                        representative[lane, g[0], k] = n
        first = (
            {(lane, s): g[0] for lane, found in self.groups.items() for g in found for s in g}
            if self.folded
            else {}
        )
        occurrences: Counter[Any] = Counter()
        for n in graph.nodes:
            mark = graph.marks[n]
            if n in visible:
                self.stands[n], last = n, None
                box = self.boxes[n] = self.words.box(n)
                place = graph.place(n)
                key = (
                    (n.op, mark, n in graph.framed, place)
                    if n.primitive is not None
                    else ("leaf", mark, n.shape)
                )
                box.key = (
                    (n.op, place, occurrences[key])
                    if n.primitive is not None
                    else ("leaf", n.shape, occurrences[key])
                )
                occurrences[key] += 1
                continue
            if n in kept:
                self.stands[n], mark, last = "far", None, None
            elif mark is None or mark.step is None or (graph.is_leaf(n) and n not in graph.framed):
                continue
            elif (mark[:2], mark.step) in first:  # folded: the same node of the step that is drawn
                if self.kinds and n in self.kinds.number:
                    self.stands[n] = representative[
                        mark[:2], first[mark[:2], mark.step], self.kinds.number[n]
                    ]
                continue
            elif n.primitive is None:
                continue
            else:
                framed = n in graph.framed
                if (mark, framed) != last:
                    last = (mark, framed)
                    lane = mark[:2]
                    into = (lane, runs[lane].get(mark.step, 0), framed)
                    hidden.setdefault(into, set()).add(mark.step)
                self.stands[n] = into
            key = self.stands[n]
            if key not in self.boxes:
                self.boxes[key] = Box(
                    "", "not drawn", GAP, mark, framed=n in graph.framed, key=("gap", key != "far")
                )
            missing[key] += 1
        for key, number in missing.items():
            steps = sorted(hidden.get(key, ()))
            box, many = self.boxes[key], f"{number:,} nodes"
            if key == "far":
                box.title = f"… {many}"
                box.tooltip = many
                continue
            box.mark, box.hides = Mark(key[0][0], key[0][1], steps[0]), tuple(steps)
            plural = "s" * (len(steps) > 1)
            alike = (
                self.kinds is not None and len(steps) > 1 and self.kinds.count(key[0], steps) == 1
            )
            box.title = f"⋯ {len(steps):,} {'identical ' * alike}step{plural}"
            box.detail = f"t = {steps[0]}" + f" … {steps[-1]}" * (len(steps) > 1)
            box.tooltip = f"{box.detail}: {many}"
            if not alike and self.kinds is not None and len(steps) > 1:
                box.tooltip += f"; {self.kinds.count(key[0], steps)} kinds of steps"
        for count, box in enumerate(self.boxes.values()):
            box.name = f"n{count}"
        self._name_states()

    def _name_states(self) -> None:
        """The last step's operation h_6 is called h in every step, where no variable has its name already."""
        known: dict[Any, str] = {}
        for n, box in self.boxes.items():
            found = (
                re.fullmatch(r"([^\W\d]\w*?)_\d+", n.name)
                if isinstance(n, Node) and n.name and box.framed and not box.leaf
                else None
            )
            if found and box.title.startswith(f"{n.name} = "):
                known[box.lane, box.key] = found[1]
        for box in self.boxes.values():
            name = known.get((box.lane, box.key)) if known and box.framed else None
            if name is not None:
                call = box.title.rpartition(" = ")[2]
                if box.title == call or re.match(rf"{re.escape(name)}_\d+ = ", box.title):
                    box.title = f"{name} = {call}"

    def _folds(self) -> None:
        """Names without numbers of steps, and what to say of the steps that differ."""
        kinds = self.kinds
        if kinds is None or not kinds.folding:
            return
        first = {(lane, s): g[0] for lane, found in self.groups.items() for g in found for s in g}
        read_first = {
            n
            for n in self.boxes
            if isinstance(n, Node) and n.primitive is None and n not in self.graph.framed
        }
        for n, box in self.boxes.items():
            if (
                isinstance(n, Node)
                and box.mark is not None
                and box.step is not None
                and n in kinds.beyond
            ):
                box.mark = box.mark._replace(step=first[box.mark[:2], box.step or 0])
            elif (
                isinstance(n, Node)
                and box.mark is not None
                and (box.mark[:2], box.step) in self.folded
                and n not in read_first
            ):
                box.hides = tuple(self.folded[box.mark[:2], box.step or 0])
                box.title = re.sub(
                    r"^([^\W\d]\w*?)_\d+\b", r"\1", re.sub(r"\[\d+\]$", "[t]", box.title)
                )
        for lane, found in self.groups.items():
            counts = Counter(kinds.kind[lane][s] for g in found for s in g)
            usual = counts.most_common(1)[0][0]
            like = next(g[0] for g in found if kinds.kind[lane][g[0]] == usual)
            name = " ".join(
                str(part)
                for part in (lane[0], "" if lane[1] is None else f"layer {lane[1]}")
                if part
            )
            alike = f"{counts[usual]:,} of {sum(counts.values()):,} steps are the same node by node"
            if counts[usual] == 1:
                alike = (
                    f"no two of {len(counts):,} steps are the same node by node"
                    if len(counts) > 1
                    else "one step"
                )
            text = f"{name + ': ' if name else ''}{alike}"
            others = [s for g in found for s in g if kinds.kind[lane][s] != usual]
            told = [f"t = {s}: {'; '.join(kinds.differences(lane, s, like))}" for s in others[:4]]
            self.folded_notes.append(
                ". ".join([text, *told])
                + ("." if len(others) <= 4 else f"; {len(others) - 4:,} more differ.")
            )

    def _link(self) -> None:
        """The arrows, and of a folded run those that go from step to step."""
        places: dict[tuple[Box, Box], list[int]] = {}
        self.back: dict[tuple[Box, Box], list[int]] = {}
        graph, stands, boxes = self.graph, self.stands, self.boxes
        beyond = self.kinds.beyond if self.kinds is not None else set()
        for n, key in stands.items():
            head = boxes[key]
            for k, i in enumerate(graph.inputs[n]):
                if i not in stands or (
                    stands[i] == key and not (self.folded and isinstance(key, Node))
                ):
                    continue
                tail = boxes[stands[i]]
                through = (
                    self.folded
                    and n not in beyond
                    and tail.mark is not None
                    and tail.mark == head.mark
                    and graph.step(i) != graph.step(n)
                )
                found = (self.back if through else places).setdefault((tail, head), [])
                if not self.folded or k not in found:
                    found.append(k)
        self.arrows = [Arrow(*ends, tuple(found)) for ends, found in places.items()]
        self.heads: dict[Box, list[Arrow]] = {}
        for a in self.arrows:
            self.heads.setdefault(a.tail, []).append(a)

    def _roles(self) -> None:
        """Which leaves are initial states, which are cuts."""
        states = {
            (a.head.lane, a.head.key, k)
            for a in self.arrows
            if a.through_time and not a.head.gap
            for k in a.places
        }
        states |= {
            (head.lane, head.key, k) for (_, head), found in self.back.items() for k in found
        }
        ends: dict[Any, list[int]] = {}
        backward = set()
        for b in self.boxes.values():
            if b.lane and b.step is not None and not b.leaf:
                ends.setdefault(b.lane, []).append(b.step)
        for a in self.arrows:
            if (
                a.through_time
                and a.head.lane == a.tail.lane
                and (a.head.step or 0) < (a.tail.step or 0)
            ):
                backward.add(a.head.lane)
        for b in self.boxes.values():
            heads = [
                a
                for a in self.heads.get(b, ())
                if a.head.lane and not a.head.lane[0].startswith(GRADIENT) and not a.head.gap
            ]
            if (
                not b.leaf
                or not heads
                or not all((a.head.lane, a.head.key, k) in states for a in heads for k in a.places)
            ):
                continue
            lane, step = heads[0].head.lane, heads[0].head.step
            steps = ends[lane]
            first = step == (max(steps) if lane in backward else min(steps))
            b.mark = heads[0].head.mark
            b.role = INITIAL if first else LOCAL
            b.framed = not first
            b.key = (b.role, *b.key)
            if (
                b.family == INPUT
                and not b.title.endswith("_0")
                and (not first or (step != 0 and lane not in backward))
            ):
                b.cut = "the gradient ends here: " + (
                    "the state was detached" if not first else f"the graph begins at t = {step}"
                )
                b.detail = "cut" if first else "detached"
        for b in self.boxes.values():
            if isinstance(b.key, tuple) and b.key[0] == "stop_gradient":
                b.cut = "the gradient ends here: stop_gradient"

    def _ports(self) -> None:
        """Boxes with the name of what is drawn elsewhere, in place of lines across the picture."""
        self.ports: list[Box] = []
        gone: set[Arrow] = set()
        new: list[Arrow] = []
        columns: dict[Box, set[Any]] = {}
        taken = {
            b
            for n, b in self.boxes.items()
            if isinstance(n, Node) and n.op == "getitem" and type(index_of(n)) is int
        }
        for a in self.arrows:
            if a.head.lane or a.head.mark:
                columns.setdefault(a.tail, set()).add((a.head.mark, a.head.framed))
        for tail, arrows in self.heads.items():
            if tail.gap:
                continue
            shared = (
                tail.leaf
                and tail.mark is None
                and (
                    len(columns.get(tail, ())) > 1
                    or len(arrows) > MANY
                    or (tail.family == PARAMETER and any(a.head.lane for a in arrows))
                )
            )
            parts = [a.head.step for a in arrows if a.head in taken]
            if (
                shared
                and len(set(parts)) > 1
                and len(set(parts)) == len(parts) == sum(not a.head.gap for a in arrows)
            ):
                tail.role, shared = SEQUENCE, False
            if shared:
                tail.role = SHARED
            forward = tail.mark is not None and not tail.mark.cell.startswith(GRADIENT)
            far = (
                tail.lane is not None
                and not tail.leaf
                and len(
                    {a.head.step for a in arrows if a.head.lane and a.head.lane[0] == tail.lane[0]}
                )
                > 2
            )
            for arrow in arrows:
                head = arrow.head
                if head.gap:
                    if shared:
                        gone.add(arrow)
                        head.reads = (*head.reads, tail.title)
                    continue
                saved = (
                    forward
                    and head.mark is not None
                    and head.mark.cell.startswith(GRADIENT)
                    and (head.lane is not None or tail.lane is not None)
                )
                away = far and head.step != tail.step and head.lane is not None
                if not (shared or saved or away):
                    continue
                gone.add(arrow)
                if (
                    shared
                    and isinstance(head.key, tuple)
                    and head.key[0] == "transpose"
                    and head.framed
                    and not head.root
                ):
                    head.family, head.of, head.title, head.detail = (
                        PARAMETER,
                        tail.name,
                        f"{tail.title}.T",
                        "",
                    )
                    continue
                family = tail.family if shared and not saved else SAVED
                words = tail.title.split(" = ")[0] if tail.title else tail.title
                port = Box(
                    _short(words),
                    "",
                    family,
                    head.mark,
                    head.framed,
                    f"{words}: drawn once, as {tail.name}\n{tail.tooltip}",
                )
                port.of, port.name, port.key = (
                    tail.name,
                    f"p{len(self.ports)}",
                    ("port", tail.title if shared else tail.key, head.key, arrow.places),
                )
                self.ports.append(port)
                new.append(Arrow(port, head, arrow.places))
        self.arrows = [a for a in self.arrows if a not in gone] + new
        self.heads = {}
        for a in self.arrows:
            self.heads.setdefault(a.tail, []).append(a)

    def _delays(self) -> None:
        """In a folded picture, a box z^-1 on the way of each state from one step to the next."""
        made: dict[Box, Box] = {}
        for (tail, head), found in self.back.items():
            if tail.port or head.port:
                continue
            delay = made.get(tail)
            if delay is None:
                word = tail.title.split(" = ")[0] if " = " in tail.title else ""
                mark = tail.mark
                delay = made[tail] = Box(
                    "z⁻¹", word, DELAY, mark, False, f"the value of the step before of {tail.title}"
                )
                delay.name, delay.key = f"z{len(made) - 1}", ("delay", tail.key)
                self.ports.append(delay)
                self.arrows.append(Arrow(tail, delay, (0,)))
            self.arrows.append(Arrow(delay, head, tuple(found)))


# --- words ------------------------------------------------------------------------------------------------------------


SYMBOLS = {
    "add": "+",
    "subtract": "\N{MINUS SIGN}",
    "multiply": "\N{MULTIPLICATION SIGN}",
    "divide": "\N{DIVISION SIGN}",
    "sigmoid": "\N{GREEK SMALL LETTER SIGMA}",
}


class Words:
    """What boxes say of nodes."""

    def __init__(self, graph: Graph, nodes: Sequence[Node]) -> None:
        self.graph = graph
        self.variables = variables(
            [n for n in nodes if n not in graph.given and not _is_gradient(graph, n)]
        )
        self._rules: dict[Any, str] = {}

    def box(self, n: Node) -> Box:
        """The box of a node."""
        graph = self.graph
        shape = _times(n.shape) or "scalar"
        mark, framed, root = graph.marks[n], n in graph.framed, n in graph.roots
        facts = f"{shape} {n.dtype}"
        if graph.is_leaf(n):
            kind = "input" if n in graph.given else PARAMETER if n.requires_grad else "constant"
            name = n.name or (n.op if n.primitive else kind)
            what = f"{kind} {name}" if name != kind else kind
            return Box(
                _short(name),
                shape,
                PARAMETER if kind == PARAMETER else INPUT,
                mark,
                framed,
                f"{what}\n{facts}",
                root,
            )
        family = _family(n)
        variable = self.variables.get(n)
        call = _call(graph, n)
        if n.name and (variable is None or not re.fullmatch(rf"{re.escape(variable)}_\d+", n.name)):
            variable = n.name
        title = (
            call if variable is None else variable if n.op == "getitem" else f"{variable} = {call}"
        )
        if n.op == "checkpoint":
            shape = "not kept, run again"
        return Box(
            _short(title),
            shape,
            family,
            mark,
            framed,
            "\n".join(filter(None, [*self._what(n), facts, self._where(n)])),
            root,
        )

    def _where(self, n: Node) -> str:
        return n.where.described().strip(" ()")

    def _what(self, n: Node) -> list[str]:
        """The operation with its parameters, and its derivative."""
        params = ", ".join(
            f"{key}={_text(value)}" for key, value in n.params.items() if key != "segment"
        )
        key = (n.primitive, n.origin[:2], params, len(n.edges), len(n.shape))
        if key not in self._rules:
            what, said = _op(n), formula(n)
            if params:
                what += f"({params})"
            elif not said.startswith(f"{what}("):
                what += f": {said}"
            self._rules[key] = what + "".join(
                _derivative(n, position, rule) for _, position, rule in n.edges[:4]
            )
        return [self._rules[key]]


def _derivative(n: Node, position: int, rule: Any) -> str:
    """The rule for one input, as a line."""
    g = np.broadcast_to(np.zeros((), n.dtype), n.shape)
    bare = SimpleNamespace(  # without the saved values, which a backward may have released
        primitive=n.primitive,
        params=n.params,
        inputs=n.inputs,
        op=n.op,
        shape=n.shape,
        dtype=n.dtype,
        ndim=n.ndim,
        saved=[None] * (2 if n.primitive.variadic else len(n.inputs) + 1),
    )
    try:
        text = rule_text(bare, position, rule, g)  # type: ignore[arg-type]
    except Exception:  # a rule that cannot be read is not shown
        return ""
    inputs = n.primitive.inputs
    name = (
        f"input {position}" if n.primitive.variadic or position >= len(inputs) else inputs[position]
    )
    return f"\nd {name} = {text}" if text else ""


def _is_gradient(graph: Graph, n: Node) -> bool:
    mark = graph.marks[n]
    return mark is not None and mark.cell.startswith(GRADIENT)


def _op(n: Node) -> str:
    """The name of the operation, without that of the module it is from."""
    return n.op.rpartition(".")[2] or n.op


def _call(graph: Graph, n: Node) -> str:
    """The operation with the numbers in it: ``x + 1``, ``getitem[…, 0:4]``, ``sum(axis=0)``."""
    op = _op(n)
    if "index" in n.params and len(n.inputs) == 1:
        return (
            f"[{_text(n.params['index'])}]"
            if op == "getitem"
            else f"{op}[{_text(n.params['index'])}]"
        )
    symbol = SYMBOLS.get(op, op)
    arguments = []
    if any(map(graph.is_literal, n.inputs)):
        values = (
            i.value.item() if isinstance(i, Leaf) and graph.is_literal(i) else i for i in n.inputs
        )
        arguments = ["·" if isinstance(v, Node) else _text(v) for v in values]
        if op == "power" and len(arguments) == 2 and arguments[0] == "·":
            return "x²" if arguments[1] == "2" else f"x^{arguments[1]}"
        if symbol != op and len(arguments) == 2:
            return f"{arguments[0]} {symbol} {arguments[1]}"
    defaults = n.primitive.defaults
    arguments += [
        f"{k}={_text(v)}" for k, v in n.params.items() if k in IN_LABEL and v is not defaults.get(k)
    ]
    return f"{symbol}({', '.join(arguments)})" if arguments else symbol


def _text(value: Any) -> str:
    """A literal or a parameter, in few characters."""
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, slice):
        parts = [
            "" if part is None else str(part) for part in (value.start, value.stop, value.step)
        ]
        return ":".join(parts if value.step is not None else parts[:2])
    if hasattr(value, "shape") and value.shape:
        return f"array {_times(value.shape)}"
    return "…" if value is ... else f"{value:.6g}" if isinstance(value, float) else str(value)


def _times(shape: Sequence[int]) -> str:
    return "\N{MULTIPLICATION SIGN}".join(map(str, shape))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _family(n: Node) -> str:
    primitive = n.primitive
    if primitive.elementwise:
        call = primitive.scalar is None or "(" in primitive.scalar
        return FUNCTION if call and len(primitive.inputs) == 1 else ARITHMETIC
    family = FILES.get(primitive.forward.__module__.rpartition(".")[2], FUNCTION)
    keeps = (
        family == REDUCTION and isinstance(n.inputs[0], Node) and n.inputs[0].shape == n.shape != ()
    )
    return FUNCTION if keeps else family  # softmax, cumsum
