"""What the explorer's page is told, as lists and numbers."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core.primitive import Array, Rule
from ..core.tape import Node
from ..core.tensor import KeepGrad
from ..ops.source import expressions, names_of, spot_of
from ..ops.table import Tape
from ..palette import CIVIDIS, MEANINGS
from ..recurrent.ledger import Share, Visit, reverse, values
from ..recurrent.moments import Lane, Moment
from .arrays import Arrays, short
from .boxes import Arrow, Box, Family
from .facts import rule_in_words
from .frames import Frame
from .graph import Graph
from .labels import slice_text
from .layout import place
from .rules import formula, rule_text, source_of
from .rules import names_of as names_of_operands
from .selection import Request
from .sketch import sketch_graph
from .style import STATE

FOLDABLE, FLAT = 3000, 500  # nodes that are shown of a graph with time steps, and of one without
NUMBERS = 66.0  # width of a box in which value and gradient stand side by side
AROUND = 6  # source lines before and after that of a node
# numbers in a page, about; the blocks that are shown of large arrays shrink to keep it
CELLS = 1_500_000
TERMS, WORK = 24, 60_000  # losses whose own reach is computed, and the visits that this may take


class Contents:
    """What the page is told about a tape.

    Nodes are known by their places in a list: no address gets out.

    Parameters
    ----------
    tape : Tape
        In single steps, with all that its nodes saved.
    seed : array
        The gradient of its root.
    title : str
    limit : int or None
        Show about so many nodes at most. The default depends on whether there are time steps.
    """

    def __init__(self, tape: Tape, seed: Array, title: str, limit: int | None) -> None:
        self.tape, self.seed, self.title = tape, seed, title
        self.graph = Graph(tape)
        if limit is None:
            limit = FOLDABLE if any(self.graph.moments.values()) else FLAT
        # all steps, if there is room
        self.sketch = sketch_graph(self.graph, Request(steps=len(tape), limit=limit))
        self.names, self.whole = names_of(tape.nodes), expressions(tape.nodes)
        self.places = {n: k for k, n in enumerate(tape)}  # as `tg.tape` numbers them
        self.number = {b: k for k, b in enumerate(self.sketch.boxes)}
        self.node_of = {b: n for n, b in self.sketch.of.items()}
        self.box_of: dict[Node, Box] = {**self.sketch.of, **self._in_gaps()}
        for b in self.sketch.boxes:
            b.least = 0.0 if b.port or b.gap else NUMBERS
        self.layout = place(self.sketch)
        side = next((s for s in (16, 12, 8, 6) if len(self.sketch.of) * 3.5 * s * s < CELLS), 4)
        self.arrays = Arrays(side)
        self.rules: dict[str, int] = {}
        self.files: dict[str, int] = {}
        self.lines: list[dict[int, str]] = []

    def _in_gaps(self) -> dict[Node, Box]:
        """Return the gap that stands for each node which is not drawn."""
        gaps: dict[Lane | None, list[Box]] = {}
        for b in self.sketch.boxes:
            if b.gap:
                gaps.setdefault(b.moment.lane if b.moment else None, []).append(b)
        found: dict[Node, Box] = {}
        for n in self.graph.nodes if gaps else ():
            if n in self.sketch.of or self.graph.is_leaf(n):
                continue
            moment = self.graph.moments[n]
            here = gaps.get(None) or gaps.get(moment.lane if moment else None, [])
            # a gap begins with the step that it is marked with
            before = [b for b in here if (b.step or 0) <= (moment.step if moment else 0)]
            if here:
                found[n] = max(before, key=lambda b: b.step or 0) if before else here[0]
        return found

    def at(self, n: Node) -> int:
        """Return the number of the box in which a node is shown; -1 if it is shown nowhere."""
        return self.number[self.box_of[n]] if n in self.box_of else -1

    def _drawn(self, n: Node) -> bool:
        """Whether a node has a box of its own."""
        return n in self.box_of and not self.box_of[n].gap

    def data(self) -> dict[str, Any]:
        """Return everything."""
        value = {n: self.arrays.add(array) for n, array in values(self.tape) if self._drawn(n)}
        forward = self._forward()
        backward = self._backward()
        boxes = [self._box(b, value) for b in self.sketch.boxes]
        layout = self.layout
        return {
            "title": self.title,
            "note": self.sketch.note,
            "total": len(self.graph.nodes),
            "size": [_point(layout.width), _point(layout.height)],
            "boxes": boxes,
            "arrows": [self._arrow(arrow, path) for arrow, path in layout.paths],
            "frames": [self._frame(f) for f in layout.frames],
            "forward": forward,
            "backward": backward,
            "root": self.at(self.tape.root),
            "ramp": CIVIDIS,
            "meanings": self._meanings(),
            "reach": self._reach(),
            "rules": list(self.rules),
            "words": self._words(boxes),
            "files": [
                {"name": os.path.basename(p), "lines": self.lines[k]} for p, k in self.files.items()
            ],
            "arrays": self.arrays.data(),
        }

    def _words(self, boxes: list[dict[str, Any]]) -> dict[str, str]:
        """Return what the rules of the operations do that are drawn, in words."""
        drawn = {box.get("op") for box in boxes}
        said = {node.op: rule_in_words(node) for node in self.graph.nodes if node.op in drawn}
        return {op: words for op, words in sorted(said.items()) if words is not None}

    def _meanings(self) -> dict[str, str]:
        """Return what the colours of boxes and of the lines of states mean, of those that occur."""
        found = {b.family for b in self.sketch.boxes} | ({STATE} if self.layout.states else set())
        return {name: words for name, words in MEANINGS.items() if name in found}

    # --- boxes and arrows -------------------------------------------------------------------------

    def _box(self, b: Box, value: dict[Node, int]) -> dict[str, Any]:
        """Return what the page is told of a box."""
        size = [_point(v) for v in (b.x, b.y, b.width, b.height)]
        place = {"title": b.title, "detail": b.detail, "family": b.family, "at": size}
        n = self.node_of.get(b)
        if b.source is not None and n is None:
            return {**place, "port": self.number[b.source]}
        if n is None:
            return {**place, "gap": b.tooltip}
        found: dict[str, Any] = {
            **place,
            "name": self.names.get(n, ""),
            "tape": self.places[n],
            "op": n.op if n.primitive else "",
            "kind": "operation" if n.primitive else "parameter" if n.requires_grad else "input",
            "shape": list(n.shape),
            "dtype": str(n.dtype),
            "value": value[n],
            "framed": b.framed,
            "hook": any(not isinstance(h, KeepGrad) for h in n.hooks or ()),
            "needs": n.requires_grad,
        }
        mark = n.where.mark
        if b.framed and b.moment is not None:
            found.update(_moment(b.moment))
        elif mark.step is not None:
            found.update(step=mark.step, cell=mark.cell, layer=mark.layer)
        if n.primitive is not None:
            found.update(self._operation(n))
        return found

    def _operation(self, n: Node) -> dict[str, Any]:
        """Return what the page is told of an operation, besides what it is told of any node."""
        found: dict[str, Any] = {
            "inputs": [self._input(i) for i in n.inputs],
            "names": names_of_operands(n.primitive, n),
            "formula": formula(n),
            "elementwise": n.primitive.elementwise,
            "params": {k: _plain(v) for k, v in n.params.items()},
        }
        spot = spot_of(n)
        if spot is not None:
            found["code"] = spot.text()
            found["spot"] = [self._file(spot.path, spot.range), *spot.range]
            found["whole"] = n in self.whole
        return found

    def _input(self, i: Any) -> Any:
        """Return the number of the box of an input, or a list with the text of a literal."""
        if isinstance(i, Node) and not self.graph.is_literal(i):
            return self.at(i) if i in self.box_of else ["not shown"]
        number = i.value.item() if isinstance(i, Node) else i  # type: ignore[attr-defined]
        return [f"{number:.7g}" if isinstance(number, float) else str(number)]

    def _arrow(self, arrow: Arrow, path: Iterable[tuple[float, float]]) -> list[Any]:
        """Return what the page is told of an arrow: its ends, its kind, its path."""
        kind = "parameter" if arrow.tail.family == Family.PARAMETER else ""
        if arrow in self.layout.states:
            kind = "state"
        points = [_point(v) for p in path for v in p]
        return [self.number[arrow.tail], self.number[arrow.head], kind, points]

    def _frame(self, f: Frame) -> dict[str, Any]:
        """Return what the page is told of the outline of a step."""
        return {
            "label": [f.label],
            "begin": _point(f.label_x - f.left),
            **_moment(f.boxes[0].moment),
            "at": [_point(v) for v in (f.left, f.top, f.right, f.bottom)],
            "boxes": [self.number[b] for b in f.boxes],
        }

    def _file(self, path: str, lines: tuple[int, ...]) -> int:
        """Add lines of a source file, and those around them; return the number of the file."""
        number = self.files.setdefault(path, len(self.files))
        if number == len(self.lines):
            self.lines.append({})
        for k in range(max(1, lines[0] - AROUND), lines[1] + AROUND + 1):
            if text := linecache.getline(path, k).rstrip():
                self.lines[number][k] = text
        return number

    # --- the two walks ----------------------------------------------------------------------------

    def _forward(self) -> list[int]:
        """Return the boxes in the order in which they are computed.

        The nodes of a gap come one after the other; the gap stands where the first one does.
        """
        order = [
            k for n in self.graph.nodes if not self.graph.is_leaf(n) and (k := self.at(n)) >= 0
        ]
        return [k for i, k in enumerate(order) if i == 0 or k != order[i - 1]]

    def _backward(self) -> list[dict[str, Any]]:
        """Return the visits of the reverse walk; those of a gap that follow each other are one."""
        found: list[dict[str, Any]] = []
        # where the visits of the gap that is being walked have added to, and the sums there
        # afterwards
        hidden: dict[Node, Array] = {}
        for visit in reverse(self.tape, self.seed):
            at = self.at(visit.node)
            if at < 0 or self.graph.is_literal(visit.node):
                continue
            if found and found[-1]["box"] != at:
                self._add_hidden(found[-1], hidden)
            if self._drawn(visit.node):
                shares = [self._share(visit, s) for s in visit.shares]
                gradient = self.arrays.add(visit.gradient)
                found.append({"box": at, "gradient": gradient, "shares": shares})
                continue
            if not found or found[-1]["box"] != at:
                found.append({"box": at, "shares": []})
            hidden.update((s.source, s.total) for s in visit.shares if self._drawn(s.source))
        if found:
            self._add_hidden(found[-1], hidden)
        return found

    def _share(self, visit: Visit, s: Share) -> dict[str, Any]:
        """Return what the page is told of what a visit adds to the gradient of one input."""
        share = {
            "to": self.at(s.source),
            "place": s.position,
            "rule": self._rule(visit, s.position, s.rule),
            "share": self.arrays.add(s.share),
            "norm": _norm(s.total),
        }
        if s.given.shape != s.share.shape:
            share["given"] = self.arrays.add(s.given)
        return share if self._drawn(s.source) else {**share, "away": True}

    def _add_hidden(self, visit: dict[str, Any], hidden: dict[Node, Array]) -> None:
        """Add to a visit of a gap the sums that are there after its last node."""
        for n, total in hidden.items():
            visit["shares"].append(
                {"to": self.at(n), "total": self.arrays.add(total), "norm": _norm(total)}
            )
        hidden.clear()

    def _rule(self, visit: Visit, position: int, rule: Rule) -> int:
        """Return the number of the text of a rule."""
        text = rule_text(visit.node, position, rule, visit.gradient)
        key = text or "\n".join(source_of(rule.function))
        return self.rules.setdefault(key, len(self.rules))

    def _reach(self) -> dict[int, list[Any]]:
        """Return what each loss depends on, if the root adds up several.

        For the box of each loss these are the boxes, and the norms of the loss's own gradients
        there.
        """
        found: dict[int, list[Any]] = {}
        work = 0
        for n in sorted(self._terms(), key=lambda n: n.index):
            own = Tape(n)
            work += len(own)
            if len(found) >= TERMS or work > WORK:
                break
            norms = [
                (self.at(v.node), _norm(v.gradient))
                for v in reverse(own, np.ones(n.shape, n.dtype))
            ]
            found[self.at(n)] = [
                [k for k, _ in norms if k >= 0],
                [norm for k, norm in norms if k >= 0],
            ]
        found.pop(-1, None)
        return found

    def _terms(self) -> list[Node]:
        """Return the numbers that are put together to the root, each of something larger."""
        terms: list[Node] = []
        seen: set[Node] = set()
        stack = [self.tape.root]
        while stack:
            n = stack.pop()
            inputs = [i for i, _, _ in n.edges]
            if n in seen or n.primitive is None:
                continue
            seen.add(n)
            if inputs and all(i.shape in ((), (1,)) for i in inputs):
                stack.extend(inputs)
            elif n is not self.tape.root:
                terms.append(n)
        return terms


def _norm(array: Array) -> float:
    """Return the Euclidean norm; -1 if it is not finite, which JSON cannot say."""
    norm = float(np.sqrt(np.square(array.astype(np.float64)).sum()))
    return short(norm) if np.isfinite(norm) else -1.0


def _moment(moment: Moment | None) -> dict[str, Any]:
    """Return a moment as the page is told it."""
    if moment is None:
        return {"step": None, "cell": "", "layer": None}
    return {"step": moment.step, "cell": moment.lane.title, "layer": moment.lane.layer}


def _point(v: float) -> float:
    return round(float(v), 1)


def _plain(value: Any) -> str:
    """Return a parameter of an operation as a text that is the same in every run."""
    if isinstance(value, slice):
        return slice_text(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_plain, value))}{',' * (len(value) == 1)})"
    if isinstance(value, np.ndarray) and value.size:
        return f"array of shape {value.shape}"
    if value is None or isinstance(value, (bool, int, float, str, np.dtype, np.generic)):
        return str(value)
    return "..." if value is ... else f"a {type(value).__name__}"
