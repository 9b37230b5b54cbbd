"""From a tape to what is to be drawn: boxes and arrows, and what is left out of a long tape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any, NamedTuple

from ..core.tape import Node
from ..ops.source import turned
from ..recurrent.moments import Lane, Moment
from ..recurrent.pieces import is_checkpoint
from .boxes import Box, Family, Role, Sketch
from .detail import Detail, check_order, describe_cell, describe_gate, heads_of
from .fold import Kinds
from .graph import Graph
from .labels import Groups, Labels, folded_notes, relative, span, without_step
from .rulewords import EXPLAINED, RuleWords
from .selection import Counts, Request, Show, chosen_steps, nearest
from .survey import Survey
from .wiring import Ends, Wiring


def sketch(
    x: Any,
    *,
    title: str = "",
    steps: int | None = None,
    limit: int = 250,
    show: Show = None,
    fold: bool = False,
) -> Sketch:
    """Choose what of a Tape or a Program is drawn, and describe it."""
    return sketch_graph(Graph(x), Request(steps, limit, show, fold), title)


def sketch_graph(
    graph: Graph, request: Request, title: str = "", survey: Survey | None = None
) -> Sketch:
    """Choose what of a graph is drawn, and describe it.

    `survey` is that of the whole graph, where this is a part of it or was drawn before.
    """
    survey = survey or Survey(graph)
    counts, outside = survey.counts, survey.outside
    if request.detail == Detail.CELL:  # of each step one box is drawn
        counts = {lane: Counter(dict.fromkeys(c, 1)) for lane, c in counts.items()}
    needed = request.fold or any(len(c) > 1 for c in counts.values())
    kinds = survey.kinds if needed else None
    groups, note = _groups(graph, kinds, counts, request, outside)
    kept = _kept(graph, groups, kinds.beyond if request.fold and kinds is not None else ())
    visible = set(kept)
    most = request.limit
    if request.show is not None or request.fold:
        steps = sum(c[g[0]] for lane, c in counts.items() for g in groups[lane])
        most = max(most, outside + steps)
    drawn = len(kept)
    if request.detail == Detail.CELL:
        drawn = len({graph.moments[n] if n in graph.framed else n for n in kept})
    if drawn > most:
        if graph.hidden:
            return sketch_graph(graph.unabridged(), request, title)
        kept, visible = graph.nodes, nearest(graph, request.limit)
        note = (
            f"{len(kept) - len(visible):,} of {len(kept):,} nodes are not drawn, "
            f"the farthest from the result (limit={request.limit})."
        )
    made = _Builder(graph, set(kept), visible, groups, kinds, request.detail)
    notes = [note] if note else []
    if request.fold and kinds is not None:
        made.fold()
        notes += folded_notes(kinds, groups)
    if made.rules is not None and request.detail == Detail.GATE:
        notes.append(EXPLAINED)
    wiring = made.wire()
    of = {n: b for n, b in made.boxes.items() if isinstance(n, Node)}
    if request.detail != Detail.OP:
        check_order(wiring.arrows)
        for b in of.values():
            b.tooltip += f"\nreads {', '.join(dict.fromkeys(b.reads))}" if b.reads else ""
        if not request.weights:
            of = {n: b for n, b in of.items() if b.role != Role.SHARED or wiring.leads_on(b)}
    of = {n: b for n, b in of.items() if not b.port or wiring.leads_on(b)}
    left_out = set(made.boxes.values()) - set(of.values())
    boxes = [b for b in [*made.boxes.values(), *wiring.added] if b.gap or b not in left_out]
    states = made.states
    return Sketch(boxes, wiring.arrows, title, " ".join(notes), list(of), of, states=states)


def _groups(
    graph: Graph, kinds: Kinds | None, counts: Counts, request: Request, outside: int
) -> tuple[Groups, str]:
    """Return the steps of each lane that are drawn, in groups of one drawn step, and a note.

    The note says what is left out; it is empty if nothing is.
    """
    if request.fold:
        assert kinds is not None
        return {lane: kinds.runs(lane) for lane in counts}, ""
    chosen, why = chosen_steps(graph, counts, request, request.limit - outside)
    groups = {lane: [[s] for s in chosen[lane]] for lane in counts}
    drawn = {s for c in chosen.values() for s in c}
    every = {s for c in counts.values() for s in c}
    if drawn == every:
        return groups, ""
    why = why or f"limit={request.limit}"
    return groups, f"{len(every - drawn):,} of {len(every):,} time steps are not drawn ({why})."


def _kept(graph: Graph, groups: Groups, beyond: Collection[Node]) -> list[Node]:
    """Return the nodes outside of time and those of the drawn steps, and the leaves they read."""
    shown = {Moment(lane, g[0]) for lane, found in groups.items() for g in found}
    kept = [n for n in graph.nodes if (m := graph.moments[n]) is None or m in shown or n in beyond]
    if len(kept) < len(graph.nodes):
        read = {i for n in kept for i in graph.inputs[n]} | graph.roots
        kept = [n for n in kept if n in read or not graph.is_leaf(n)]
    return kept


class _Hidden(NamedTuple):
    """A run of steps that are not drawn; in the picture it is a gap."""

    lane: Lane
    number: int  # of runs in this lane
    framed: bool


FAR = "far"  # stands for all nodes that are not drawn because they are far from the result


class _Builder:
    """The boxes and arrows for what is visible, and for what stands in the place of the rest.

    Attributes
    ----------
    stands : dict of Node to key
        What stands for each node: itself, FAR, a run of hidden steps, or, in a folded picture, the
        same node of the step that is drawn.
    boxes : dict of key to Box
    """

    def __init__(
        self,
        graph: Graph,
        kept: Collection[Node],
        visible: Collection[Node],
        groups: Groups,
        kinds: Kinds | None,
        detail: Detail,
    ) -> None:
        self.graph, self.groups, self.kinds, self.detail = graph, groups, kinds, detail
        self.kept, self.visible = kept, visible
        # of steps that are drawn as one: the one that is drawn, and the steps that it stands for
        self.folded = {
            Moment(lane, g[0]): tuple(g)
            for lane, found in groups.items()
            for g in found
            if len(g) > 1
        }
        self.drawn = {
            Moment(lane, s): g[0] for lane, found in groups.items() for g in found for s in g
        }
        self.boxes: dict[Any, Box] = {}
        self.stands: dict[Node, Any] = {}
        self._make_boxes()
        for count, box in enumerate(self.boxes.values()):
            box.name, box.order = f"n{count}", count
        for box in self.boxes.values():
            if (
                box.holds > 1 and not box.cell and not box.recorded_by_backward
            ):  # its second line says what it computes
                box.title = box.variable or box.title

    def _make_boxes(self) -> None:
        """Make a box for each node that is drawn, and the gaps for the others."""
        graph = self.graph
        shown = [n for n in graph.nodes if n in self.visible]
        labels = Labels(graph, self._named())
        self._join(shown, labels)
        runs = self._hidden_runs()
        occurrences: Counter[Any] = Counter()
        missing: Counter[Any] = Counter()
        hidden: dict[_Hidden, set[int]] = {}
        for n in graph.nodes:
            if n in self.visible:
                self.keys[n] = self._key(n, occurrences)
                self.stands[n] = self.heads.get(n, n)
                if self.stands[n] is n:
                    self.boxes[n] = self._box(n, labels)
                continue
            key = self._stand_in(n, runs)
            if key is None:
                continue
            self.stands[n] = key
            if isinstance(key, Node):
                continue
            moment = None if key == FAR else graph.moments[n]
            if moment is not None:
                hidden.setdefault(key, set()).add(moment.step)
            if key not in self.boxes:
                self.boxes[key] = Box("", "not drawn", Family.GAP, moment, n in graph.framed)
                self.boxes[key].key = ("gap", key != FAR)
            missing[key] += 1
        for h in graph.hidden:
            lane, steps = graph.lane_of(h), h.steps
            if Moment(lane, steps[0]) in self.drawn:  # as part of a folded step
                continue
            key = _Hidden(lane, runs[lane][steps[0]], True)  # there is no drawn step among them
            hidden[key].update(steps)
            assert self.kinds is not None
            missing[key] += len(steps) * len(self.kinds.steps[lane][h.like.step])
        for key, number in missing.items():
            self._describe_gap(key, sorted(hidden.get(key, ())), number)

    def _named(self) -> list[Node]:
        """Return the nodes whose names are looked for: what is drawn, and what its rules read."""
        graph, back = self.graph, self.graph.back
        named = [n for n in graph.nodes if n in self.visible or n.name]
        if back is None:
            return named
        read = [i for n in self.visible if n in back.made for i in back.made[n][:2]]
        steps = {graph.moments.get(i) for i in read}
        also = {*named}
        return [n for n in graph.nodes if n in also or graph.moments[n] in steps]

    def _join(self, shown: list[Node], labels: Labels) -> None:
        """Find the operations that are drawn as one box, and the names of the states of each lane."""
        named = {n for n in labels.names if n.primitive is not None}
        self.states: dict[tuple[Lane, Any], str] = {}
        for state, made in self.kinds.makers.items() if self.kinds is not None else ():
            named.update(made.values())
            names = [labels.names.get(n) or n.name for n in made.values() if n in self.visible]
            self.states[state] = without_step(next(filter(None, names), ""))
        self.heads = heads_of(self.graph, shown, self.detail, named)
        self.held = Counter(self.heads.values())
        self.again = {self.heads.get(n, n) for n in shown if is_checkpoint(n)}
        self.turned = {} if self.graph.back is None else turned(shown)
        back = self.graph.back if self.detail != Detail.OP else None
        self.rules = None if back is None else RuleWords(back, labels, self.heads)
        self.rooted = {self.heads.get(n, n) for n in self.graph.roots}
        self.keys: dict[Node, Any] = {}
        # operations of a step that is folded -> the same ones of the step that is drawn
        self.twins: dict[Node, Node] = {}
        # inputs of boxes for several operations: the operation and the place there -> a number
        self.places: dict[Any, int] = {}

    def _box(self, n: Node, labels: Labels) -> Box:
        """Make the box of a node, or of the operations of which it is the head."""
        box = labels.box(n)
        box.key, box.holds, box.root = self.keys[n], self.held[n], n in self.rooted
        moment = self.graph.moments[n]
        cell = self.detail == Detail.CELL and n in self.heads and n in self.graph.framed
        if cell and moment is not None:
            forward = moment.lane._replace(backward=False)
            names = {name: None for (lane, _), name in self.states.items() if lane == forward}
            describe_cell(box, moment, [*filter(None, names)], box.holds, box.detail)
            box.key = "cell"
            if n in self.again:  # several steps, of which the last one is known
                box.detail = box.detail.replace("t = ", "up to t = ") + ", run again"
        elif self.rules is not None and self.graph.of_backward(n):
            self.rules.describe(box, n)
        elif box.holds > 1:
            describe_gate(box, n)
        box.recorded_by_backward = self.graph.of_backward(n)
        whole = self.boxes.get(self.stands.get(self.turned[n])) if n in self.turned else None
        if whole is not None:  # it is drawn in the forward
            box.source, box.family, box.title = whole, Family.SAVED, f"{whole.title}.T"
            box.detail, box.framed = "", True
            box.key = ("turned", *box.key)
        return box

    def _place(self, n: Node, k: int) -> int:
        """Return the place of an input of a node among the inputs of its box."""
        n = self.twins.get(n, n)
        if self.held[self.heads.get(n, n)] < 2:
            return k
        return self.places.setdefault((self.keys[n], k), len(self.places))

    def _leaves_box(self, head: Node, i: Node, n: Node) -> bool:
        """Whether an edge inside of one box is drawn: in a folded picture, from step to step."""
        return bool(self.folded) and (
            self.held[head] < 2 or self.graph.step(i) != self.graph.step(n)
        )

    def _key(self, n: Node, occurrences: Counter[Any]) -> Any:
        """Return what is the same for the same operation in every step."""
        graph = self.graph
        moment, place = graph.moments[n], graph.place(n)
        if n.primitive is None:
            same: Any = ("leaf", moment, n.shape)
            key = ("leaf", n.shape, occurrences[same])
        else:
            same = (n.op, moment, n in graph.framed, place)
            key = (n.op, place, occurrences[same])
        occurrences[same] += 1
        return key

    def _hidden_runs(self) -> dict[Lane, dict[int, int]]:
        """Return for each step that is not drawn the number of its run."""
        runs: dict[Lane, dict[int, int]] = {}
        for lane, found in self.groups.items():
            shown = {s for g in found for s in g}
            every = sorted({*shown, *(self.kinds.kind[lane] if self.kinds else ())})
            runs[lane], number = {}, 0
            for before, step in zip([None, *every], every, strict=False):
                number += before in shown
                if step not in shown:
                    runs[lane][step] = number
        return runs

    def _stand_in(self, n: Node, runs: dict[Lane, dict[int, int]]) -> Any:
        """Return what stands for a node that is not drawn; None if nothing does."""
        graph, kinds = self.graph, self.kinds
        moment = graph.moments[n]
        if n in self.kept:
            return FAR
        if moment is None or (graph.is_leaf(n) and n not in graph.framed):
            return None
        if self.folded and moment in self.drawn:
            if kinds is None or n not in kinds.number:
                return None
            nodes = kinds.steps[moment.lane][self.drawn[moment]]
            twin = self.twins[n] = nodes[kinds.number[n]]
            return self.heads.get(twin, twin)
        if n.primitive is None:
            return None
        lane = moment.lane
        return _Hidden(lane, runs[lane].get(moment.step, 0), n in graph.framed)

    def _describe_gap(self, key: Any, steps: list[int], number: int) -> None:
        """Write into a gap what it stands for: so many nodes of these steps."""
        box, many = self.boxes[key], f"{number:,} nodes"
        if key == FAR:
            box.title, box.tooltip = f"… {many}", many
            return
        several = len(steps) > 1
        kinds = self.kinds.count(key.lane, steps) if self.kinds is not None and several else 0
        box.moment, box.hides = Moment(key.lane, steps[0]), tuple(steps)
        box.title = f"⋯ {len(steps):,} {'identical ' * (kinds == 1)}step{'s' * several}"
        box.detail = span(steps)
        box.tooltip = f"{box.detail}: {many}"
        if kinds > 1:
            box.tooltip += f"; {kinds} kinds of steps"

    def fold(self) -> None:
        """Let the boxes of a step that stands for several say so."""
        kinds = self.kinds
        assert kinds is not None
        for n, box in self.boxes.items():
            if not isinstance(n, Node) or box.moment is None:
                continue
            if n in kinds.beyond:
                box.moment = box.moment._replace(step=self.drawn[box.moment])
            elif box.moment in self.folded and self._in_step(n):
                box.hides = self.folded[box.moment]
                box.title = without_step(box.title)
                if box.recorded_by_backward and box.step is not None:
                    box.title = relative(box.title, box.step)
                    box.detail = relative(box.detail, box.step)
                if box.cell:
                    box.detail = box.detail.replace(f"t = {box.step}", span(box.hides))

    def _in_step(self, n: Node) -> bool:
        """Whether what is drawn for a node of a folded step stands for all its steps."""
        graph = self.graph
        return n.primitive is not None or n in graph.framed or graph.of_backward(n)

    def wire(self) -> Wiring:
        """Make the arrows, and the ports and delays that take the place of some of them."""
        ends: Ends = {}
        # in a folded picture: from step to step
        returning: Ends = {}
        graph, stands, boxes = self.graph, self.stands, self.boxes
        beyond = self.kinds.beyond if self.kinds is not None else set()
        times = {} if self.folded else self._times()
        for n, key in stands.items():
            head = boxes[key]
            head.needs = head.needs or n.requires_grad
            for k, i in enumerate(map(graph.like, graph.inputs[n])):
                before = stands.get(i)
                if before is None or (
                    before == key and not (isinstance(key, Node) and self._leaves_box(key, i, n))
                ):
                    continue
                k = self._place(n, k)
                tail = boxes[before]
                through = (
                    self.folded
                    and n not in beyond
                    and tail.moment is not None
                    and tail.moment == head.moment
                    and graph.step(i) != graph.step(n)
                )
                found = (returning if through else ends).setdefault((tail, head), [])
                if not self.folded or k not in found:
                    found += [k] * times.get(n, 1)
        wiring = Wiring(boxes, ends, returning)
        wiring.find_roles()
        wiring.make_ports()
        if self.folded:
            wiring.make_delays()
        return wiring

    def _times(self) -> dict[Node, int]:
        """Return how often edges to operations count: those of steps that stand for some left out."""
        whole = self.graph.whole
        return {
            n: 1 + len(h.steps) for h in self.graph.hidden for n in whole[h.like.begin : h.like.end]
        }
