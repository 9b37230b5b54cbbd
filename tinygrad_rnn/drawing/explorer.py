"""`explore`: one page in which a learner steps through a recorded graph, forward and backward.

The page holds all it shows: places of the boxes (from `layout`), the numbers (from `ledger`), the
rules in words (from `rules`) and the user's source lines (from `source`). What it does with them is
in ``page/``: ``state.js`` the steps of the two walks, ``scene.js`` the graph, ``panel.js`` the
numbers of the node in hand, ``app.js`` keys and controls. Nothing is loaded from anywhere.
"""

from __future__ import annotations

import base64
import json
import linecache
import os
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import GraphError
from ..core.primitive import Array, Rule
from ..core.tape import Node
from ..core.tensor import Tensor
from ..core.trace import Program
from ..core.walks import like
from ..files import replace_file
from ..ops.table import Tape
from ..recurrent.source import expressions, spot_of, variables
from .boxes import Arrow, Box, Family, Sketch
from .errors import DrawingError
from .facts import RULES_IN_WORDS
from .frames import Frame
from .graph import Graph
from .layout import Layout, place
from .ledger import Visit, check_walkable, reverse, values
from .moments import Moment
from .opened import opened
from .rules import formula, names_of, rule_text, source_of
from .sketch import sketch
from .style import FILLS

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("state.js", "scene.js", "panel.js", "app.js")
FOLDABLE, FLAT = 3000, 500  # nodes that are shown of a graph with time steps, and of one without
AROUND = 6  # source lines before and after that of a node
# numbers in a page, about; the blocks that are shown of large arrays shrink to keep it
CELLS = 1_500_000
TERMS, WORK = 24, 60_000  # losses whose own reach is computed, and the visits that this may take


def explore(
    x: Any,
    path: str | os.PathLike[str],
    *,
    gradient: Any = None,
    title: str | None = None,
    limit: int | None = None,
) -> Path:
    """Write a page in which one can step through the computation of a tensor and through its reverse-mode differentiation.

    The page is one file that needs no network and no server: graph, values, gradients, derivative
    rules with numbers, source lines. The gradients are computed for it: `.grad`, hooks and the
    graph itself are left alone, so `backward` can follow. A gradient hook that changes gradients is
    not applied; the page marks its node. What ran compiled is run again for it, step by step.

    Parameters
    ----------
    x : Tensor or Tape
        A recorded result, usually a loss.
    path : str or path
        The file to write, such as ``explore.html``.
    gradient : array or Tensor, optional
        The gradient that arrives at `x`, as for `backward`; needed if `x` is not one number.
    title : str, optional
        Stands over the page.
    limit : int, optional
        Show about so many nodes at most (default: 3000, and 500 of a graph without time steps,
        which cannot be folded). Of more, the time steps in the middle, or what is farthest from
        `x`, are one box, and the page says so. The numbers take all of them into account.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    GraphError
        If the tensor was not recorded, or a backward has released what its graph saved.
    DrawingError
        If `x` is neither, or is traced and so has no numbers.
    """
    if isinstance(x, Program):
        raise DrawingError(
            "explore: a traced Program has shapes and no numbers; run the function on tensors and explore its result"
        )
    if limit is not None and limit < 1:
        raise DrawingError(
            f"explore: limit counts the nodes that are shown, so it is at least 1 (limit={limit})"
        )
    if isinstance(x, Tape):
        root = x.root
        # backward asks for no more than shape and dtype
        x = Tensor(np.zeros(root.shape, root.dtype), root)
    if not isinstance(x, Tensor):
        raise DrawingError(
            f"explore: expected a Tensor or a Tape; found a {type(x).__name__}. What is explored is how a result was computed: run the "
            "cell, ys, state = tg.unroll(cell, xs), make one number of it, and explore that: tg.explore((ys * ys).mean(), 'explore.html')"
        )
    if x.node is None or not x.node.requires_grad:
        raise GraphError(
            "explore: this tensor was not recorded: nothing it was made from requires gradients. Set requires_grad=True on an input, or "
            "use a module's parameters, outside of tg.no_grad()."
        )
    if gradient is None and x.size != 1:
        raise GraphError(
            f"explore: a tensor of shape {x.shape} is not one number; sum it, or pass gradient= of that shape."
        )
    seed = like(
        x, np.ones(x.shape) if gradient is None else gradient, "explore: the gradient"
    ).array
    tape = Tape(x.node)
    check_walkable(tape)
    tape = opened(tape, measured=True)
    path = Path(path)
    replace_file(
        path, _html(_Contents(tape, seed, title or "", limit).data(), title or "Explore a graph")
    )
    return path


def _html(data: dict[str, Any], title: str) -> str:
    """The page: the files of ``page/`` in one, with the data."""

    def read(name: str) -> str:
        return (PAGE / name).read_text(encoding="utf-8")

    light = "".join(
        f"--{family}: {inside}; --{family}-edge: {outline}; "
        for family, (inside, outline) in FILLS.items()
    )
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    parts = {
        "TITLE": escape(title),
        "STYLE": f":root {{ {light}}}\n{read('style.css')}",
        "SCRIPT": "\n".join(map(read, SCRIPTS)),
        "DATA": text.replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029"),
    }
    return re.sub(r"@(TITLE|STYLE|SCRIPT|DATA)@", lambda found: parts[found[1]], read("page.html"))


class _Arrays:
    """The numbers of the page.

    Of every array its measures, and its first rows and columns, each distinct block once.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.found: dict[Any, int] = {}
        self.facts: list[list[Any]] = []
        self.pools: dict[str, list[bytes]] = {"f4": [], "f8": []}
        self.sizes = {"f4": 0, "f8": 0}

    def add(self, array: Array) -> int:
        """Its place in `facts`.

        Shape, pool, offset, rows and columns there, smallest, largest, mean, norm, zeros, NaNs,
        infinities.
        """
        array = np.asarray(array)
        pool = "f4" if array.dtype in (np.float32, np.bool_) else "f8"
        flat = array.reshape((-1, array.shape[-1])) if array.ndim else array.reshape((1, 1))
        rows, columns = self.side, self.side if len(flat) > 1 else self.side * 4
        block = np.ascontiguousarray(
            flat[:rows, :columns], np.float32 if pool == "f4" else np.float64
        )
        wide = array.astype(np.float64)
        finite = wide[np.isfinite(wide)]
        measures = [finite.min(), finite.max(), finite.mean()] if finite.size else [0.0, 0.0, 0.0]
        measures.append(np.sqrt(np.square(finite).sum()))
        counts = [int((wide == 0).sum()), int(np.isnan(wide).sum()), int(np.isinf(wide).sum())]
        key = (array.shape, pool, block.tobytes(), *measures, *counts)
        if key not in self.found:
            self.found[key] = len(self.facts)
            self.facts.append(
                [
                    list(array.shape),
                    pool,
                    self.sizes[pool],
                    *block.shape,
                    *(_short(m) for m in measures),
                    *counts,
                ]
            )
            self.pools[pool].append(block.tobytes())
            self.sizes[pool] += block.size
        return self.found[key]

    def data(self) -> dict[str, Any]:
        """For the page."""
        pools = {
            name: base64.b64encode(
                b"".join(np.frombuffer(p, f"={name}").astype(f"<{name}").tobytes() for p in parts)
            ).decode()
            for name, parts in self.pools.items()
        }
        return {"facts": self.facts, **pools}


def _short(number: float) -> float:
    """Seven digits: what a colour or a caption needs."""
    return float(f"{number:.7g}")


class _Contents:
    """What the page is told, as lists and numbers.

    Nodes are known by their places in a list: no address gets out.
    """

    def __init__(self, tape: Tape, seed: Array, title: str, limit: int | None) -> None:
        self.tape, self.seed = tape, seed
        self.graph = Graph(tape)
        if limit is None:
            limit = (
                FOLDABLE if any(self.graph.step(n) is not None for n in self.graph.nodes) else FLAT
            )
        self.sketch = sketch(tape, steps=len(tape), limit=limit)  # all steps, if there is room
        self.names, self.whole = variables(tape.nodes), expressions(tape.nodes)
        self.places = {n: k for k, n in enumerate(tape)}  # as `tg.tape` numbers them
        self.title = title
        self._boxes(self.sketch)
        self.layout: Layout = place(self.sketch)
        side = next((s for s in (16, 12, 8, 6) if len(self.sketch.of) * 3.5 * s * s < CELLS), 4)
        self.arrays = _Arrays(side)
        self.rules: dict[Any, int] = {}
        self.files: dict[str, int] = {}
        self.lines: list[dict[int, str]] = []

    def _boxes(self, sketch: Sketch) -> None:
        """Number the boxes, find the one in which each node is shown, and name boxes as the user's code does."""
        self.number = {b: k for k, b in enumerate(sketch.boxes)}
        self.box_of: dict[Node, Box] = dict(sketch.of)
        self.node_of = {b: n for n, b in sketch.of.items()}
        gaps: dict[Any, list[Box]] = {}
        for b in sketch.boxes:
            if b.gap:
                gaps.setdefault(b.moment.lane if b.moment else None, []).append(b)
        for n in self.graph.nodes:
            if n in self.box_of or not gaps or self.graph.is_leaf(n):
                continue
            moment = self.graph.moments[n]
            found = gaps.get(None) or gaps.get(moment.lane if moment else None, [])
            # a gap begins with the step that it is marked with
            before = [b for b in found if (b.step or 0) <= (moment.step if moment else 0)]
            if before or found:
                self.box_of[n] = max(before, key=lambda b: b.step or 0) if before else found[0]
        for b, n in self.node_of.items():
            name = self.names.get(n)
            if name and not n.name and b.title != name and not b.title.startswith(f"{name} = "):
                b.title = f"{name} = {b.title}"

    def at(self, n: Node) -> int:
        """The number of the box in which a node is shown; -1 for what is shown nowhere."""
        return self.number[self.box_of[n]] if n in self.box_of else -1

    def data(self) -> dict[str, Any]:
        """Everything."""
        value = {}
        for n, array in values(self.tape):
            if n in self.box_of and not self.box_of[n].gap:
                value[n] = self.arrays.add(array)
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
            "reach": self._reach(),
            "rules": list(self.rules),
            "words": {
                k: v for k, v in RULES_IN_WORDS.items() if any(b.get("op") == k for b in boxes)
            },
            "files": [
                {"name": os.path.basename(p), "lines": self.lines[k]} for p, k in self.files.items()
            ],
            "arrays": self.arrays.data(),
        }

    # --- boxes and arrows -----------------------------------------------------------------------------------------------

    def _box(self, b: Box, value: dict[Node, int]) -> dict[str, Any]:
        size = [_point(v) for v in (b.x, b.y, b.width, b.height)]
        place = {"title": b.title, "detail": b.detail, "family": b.family, "at": size}
        n = self.node_of.get(b)
        if n is None:
            return (
                {**place, "port": self.number[b.source]}
                if b.source
                else {**place, "gap": b.tooltip}
            )
        found: dict[str, Any] = {
            **place,
            "name": n.name or self.names.get(n) or "",
            "tape": self.places[n],
            "op": n.op if n.primitive else "",
            "kind": "operation" if n.primitive else "parameter" if n.requires_grad else "input",
            "shape": list(n.shape),
            "dtype": str(n.dtype),
            "value": value[n],
            "framed": b.framed,
            "hook": any(not hasattr(h, "keeps_for") for h in n.hooks or ()),
            "needs": n.requires_grad,
        }
        mark = n.where.mark
        if b.framed and b.moment is not None:
            found.update(_moment(b.moment))
        elif mark.step is not None:
            found.update(step=mark.step, cell=mark.cell, layer=mark.layer)
        if n.primitive is not None:
            found["inputs"] = [self._input(i) for i in n.inputs]
            found["names"] = names_of(n.primitive, n)
            found["formula"] = formula(n)
            found["elementwise"] = n.primitive.elementwise
            found["params"] = {k: _plain(v) for k, v in n.params.items()}
            spot = spot_of(n)
            if spot is not None:
                found["code"], found["spot"] = (
                    spot.text(),
                    [self._file(spot.path, spot.range), *spot.range],
                )
                found["whole"] = n in self.whole
        return found

    def _input(self, i: Any) -> Any:
        """The number of its box; a list with the text of a literal."""
        if isinstance(i, Node) and not self.graph.is_literal(i):
            return self.at(i) if i in self.box_of else ["not shown"]
        number = i.value.item() if isinstance(i, Node) else i  # type: ignore[attr-defined]
        return [f"{number:.7g}" if isinstance(number, float) else str(number)]

    def _arrow(self, arrow: Arrow, path: Iterable[tuple[float, float]]) -> list[Any]:
        kind = (
            "state"
            if arrow in self.layout.states
            else "parameter"
            if arrow.tail.family == Family.PARAMETER
            else ""
        )
        return [
            self.number[arrow.tail],
            self.number[arrow.head],
            kind,
            [_point(v) for p in path for v in p],
        ]

    def _frame(self, f: Frame) -> dict[str, Any]:
        corners = (f.left, f.top, f.right, f.bottom)
        moment = f.boxes[0].moment
        return {
            "label": [f.label],
            "begin": _point(f.label_x - f.left),
            **_moment(moment),
            "at": [_point(v) for v in corners],
            "boxes": [self.number[b] for b in f.boxes],
        }

    def _file(self, path: str, lines: tuple[int, ...]) -> int:
        number = self.files.setdefault(path, len(self.files))
        if number == len(self.lines):
            self.lines.append({})
        for k in range(max(1, lines[0] - AROUND), lines[1] + AROUND + 1):
            if text := linecache.getline(path, k).rstrip():
                self.lines[number][k] = text
        return number

    # --- the two walks --------------------------------------------------------------------------------------------------

    def _forward(self) -> list[Any]:
        """The boxes in the order in which they are computed.

        Of the nodes of a gap, which come one after the other, the first.
        """
        order = [
            k for n in self.graph.nodes if not self.graph.is_leaf(n) and (k := self.at(n)) >= 0
        ]
        return [k for i, k in enumerate(order) if i == 0 or k != order[i - 1]]

    def _backward(self) -> list[dict[str, Any]]:
        """The visits of the reverse walk; those of a gap that follow each other are one."""
        found: list[dict[str, Any]] = []
        # where the visits of the gap that is being walked have added to, and the sums there
        # afterwards
        hidden: dict[Node, Array] = {}
        for visit in reverse(self.tape, self.seed):
            if self.graph.is_literal(visit.node):
                continue
            at = self.at(visit.node)
            if at < 0:
                continue
            if found and found[-1]["box"] != at:
                self._add_hidden(found[-1], hidden)
            if self.box_of[visit.node].gap:
                if not found or found[-1]["box"] != at:
                    found.append({"box": at, "shares": []})
                hidden.update(
                    (s.source, s.total)
                    for s in visit.shares
                    if s.source in self.box_of and not self.box_of[s.source].gap
                )
                continue
            shares = []
            for s in visit.shares:
                share = {
                    "to": self.at(s.source),
                    "place": s.position,
                    "rule": self._rule(visit, s.position, s.rule),
                    "share": self.arrays.add(s.share),
                    "norm": _norm(s.total),
                }
                if s.given.shape != s.share.shape:
                    share["given"] = self.arrays.add(s.given)
                if s.source in self.box_of and not self.box_of[s.source].gap:
                    shares.append(share)
                else:
                    shares.append({**share, "to": self.at(s.source), "away": True})
            found.append({"box": at, "gradient": self.arrays.add(visit.gradient), "shares": shares})
        if found:
            self._add_hidden(found[-1], hidden)
        return found

    def _add_hidden(self, visit: dict[str, Any], hidden: dict[Node, Array]) -> None:
        for n, total in hidden.items():
            visit["shares"].append(
                {"to": self.at(n), "total": self.arrays.add(total), "norm": _norm(total)}
            )
        hidden.clear()

    def _rule(self, visit: Visit, position: int, rule: Rule) -> int:
        text = rule_text(visit.node, position, rule, visit.gradient)
        key = text or "\n".join(source_of(rule.function))
        return self.rules.setdefault(key, len(self.rules))

    def _reach(self) -> dict[int, list[Any]]:
        """For each loss that the root adds up.

        The boxes that it depends on, and the norms of its own gradients there.
        """
        terms, stack, seen = [], [self.tape.root], set()
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
        found: dict[int, list[Any]] = {}
        work = 0
        for n in sorted(terms, key=lambda n: n.index):
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


def _norm(array: Array) -> float:
    """The Euclidean norm; -1 for one that is not finite, which JSON cannot say."""
    norm = float(np.sqrt(np.square(array.astype(np.float64)).sum()))
    return _short(norm) if np.isfinite(norm) else -1.0


def _moment(moment: Moment | None) -> dict[str, Any]:
    if moment is None:
        return {"step": None, "cell": "", "layer": None}
    return {"step": moment.step, "cell": moment.lane.title, "layer": moment.lane.layer}


def _point(v: float) -> float:
    return round(float(v), 1)


def _plain(value: Any) -> str:
    """A parameter of an operation, as text that is the same in every run."""
    if isinstance(value, slice):
        parts = [
            "" if part is None else str(part) for part in (value.start, value.stop, value.step)
        ]
        return ":".join(parts if value.step is not None else parts[:2])
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_plain, value))}{',' * (len(value) == 1)})"
    if isinstance(value, np.ndarray) and value.size:
        return f"array of shape {value.shape}"
    if value is None or isinstance(value, (bool, int, float, str, np.dtype, np.generic)):
        return str(value)
    return "..." if value is ... else f"a {type(value).__name__}"
