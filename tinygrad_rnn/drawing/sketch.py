"""From a tape to what is to be drawn: boxes, arrows and groups, and what is left out of a long tape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.primitive import Spec
from ..core.tape import Leaf, Mark, Node
from ..core.trace import Program

# The families of boxes. Those of operations that are not elementwise follow from the file of ops/ that defines them.
ARITHMETIC, FUNCTION, LINEAR, REDUCTION, SHAPING, PARAMETER, INPUT, GAP = FAMILIES = (
    "arithmetic", "function", "linear", "reduction", "shaping", "parameter", "input", "gap",
)  # fmt: skip
FILES = {"linear": LINEAR, "reductions": REDUCTION, "shaping": SHAPING}
IN_LABEL = ("axis", "subscripts", "shift", "dtype")  # parameters of operations that belong into the picture; the tooltip has all
LONGEST = 28  # characters of a label


@dataclass(eq=False)
class Box:
    """One thing with an outline: an operation, a leaf, or what stands for nodes that are not drawn."""

    title: str
    detail: str
    family: str
    mark: Mark | None = None  # the cell, layer and step to which it belongs; None: it is outside of time
    framed: bool = False  # it was made in that step, and is not just next to it
    tooltip: str = ""
    root: bool = False  # it is a result
    name: str = ""  # from a counter, so it is the same in every process
    of: str = ""  # of a port, a small box that stands for another where that is read: the name of the other
    x: float = 0.0  # the middle, in points; set by the layout
    y: float = 0.0

    @property
    def step(self) -> int | None:
        """Its time step."""
        return None if self.mark is None else self.mark.step

    @property
    def lane(self) -> tuple[str, int | None] | None:
        """The cell and layer in whose frame it stands."""
        return self.mark[:2] if self.mark and (self.framed or self.gap) else None

    @property
    def gap(self) -> bool:
        """Whether it stands for nodes that are not drawn."""
        return self.family == GAP

    @property
    def leaf(self) -> bool:
        """Whether it is an array that was given."""
        return self.family in (PARAMETER, INPUT)

    @property
    def above(self) -> bool:
        """Whether it is given to one time step."""
        return self.leaf and self.mark is not None and not self.framed

    @property
    def height(self) -> float:
        """From top to bottom, in points."""
        return 32.0

    @property
    def width(self) -> float:
        """Room for the label, in whatever font stands in for Helvetica."""
        return max(14 + 6.8 * len(self.title), 14 + 5.4 * len(self.detail), 44.0)


class Arrow(NamedTuple):
    """One or more edges of the tape, from one box to another."""

    tail: Box
    head: Box
    places: tuple[int, ...]  # which inputs of the head they are

    @property
    def through_time(self) -> bool:
        """Whether it leads from inside one time step into another."""
        return self.tail.lane is not None and self.head.lane is not None and not self.tail.leaf and self.tail.step != self.head.step


@dataclass
class Sketch:
    """A picture before it is laid out."""

    boxes: list[Box]
    arrows: list[Arrow]
    title: str = ""
    note: str = ""
    of: dict[Node, Box] = field(default_factory=dict)  # the boxes of the nodes that have one of their own


class Graph:
    """The nodes of a tape or a program that can be drawn, the edges between them, and where in time they belong.

    Numbers and unnamed 0-d constants are not among them: they are written into the operations that use them.
    """

    def __init__(self, x: Any) -> None:
        self.given: Collection[Node] = set()  # nodes of a program that are its inputs
        if isinstance(x, Program):
            self.given, self.roots = set(x.inputs), {o for o in x.outputs if isinstance(o, Node)}
            nodes: Sequence[Node] = sorted({*x.inputs, *x.constants, *x.nodes}, key=lambda n: n.index)
        else:
            self.roots, nodes = {x.root}, x.nodes
        self.nodes = [n for n in nodes if n in self.roots or not self.is_literal(n)]
        self.inputs = {n: [] if n in self.given else [i for i in n.inputs if not self.is_literal(i)] for n in self.nodes}
        self.marks = self._marks()

    def is_literal(self, n: Any) -> bool:
        """Whether this input of an operation is written into its label."""
        if not isinstance(n, Leaf):
            return not isinstance(n, Node)
        return n.shape == () and not n.requires_grad and n.name is None and n not in self.given and not isinstance(n.value, Spec)

    def is_leaf(self, n: Node) -> bool:
        """Whether nothing is drawn before it."""
        return n.primitive is None or n in self.given

    def step(self, n: Node) -> int | None:
        """The time step to which it belongs."""
        mark = self.marks[n]
        return None if mark is None else mark.step

    def _marks(self) -> dict[Node, Mark | None]:
        """The mark of each node. Where it carries none: that of the latest operation it reads, or of the one step that reads it.

        A parameter does not belong to the step that reads it, though it may to what comes after one.
        """
        found: dict[Node, Mark | None] = {}
        readers: dict[Node, dict[Any, Mark | None]] = {}
        outlets: dict[Node, set[Node]] = {}
        for n in self.nodes:
            mark: Mark | None = n.where.mark
            marked = mark is not None and mark.step is not None
            if not marked:
                before = [i for i in self.inputs[n] if not self.is_leaf(i) and found[i] is not None]
                mark = found[max(before, key=lambda i: i.index)] if before else None
            found[n] = mark
            for i in self.inputs[n]:
                outlets.setdefault(i, set()).add(n)
                if i.primitive is None and found[i] is None:
                    readers.setdefault(i, {})["inside" if marked and i.requires_grad else mark and mark.step] = mark
        for n in reversed(self.nodes):  # what only prepares something for an operation after the last step stands with that operation
            if found[n] is None and not self.is_leaf(n) and len(outlets.get(n, ())) == 1:
                (reader,) = outlets[n]
                place = found[reader]
                if reader.where.mark.step is None and place is not None:
                    found[n] = place
                    for i in self.inputs[n]:
                        if None in readers.get(i, ()):
                            readers[i][place.step] = place
                            del readers[i][None]
        found.update((leaf, next(iter(marks.values()))) for leaf, marks in readers.items() if len(marks) == 1 and "inside" not in marks)
        return found


def sketch(x: Any, *, title: str = "", steps: int | None = None, limit: int = 250) -> Sketch:
    """Choose what of a Tape or a Program is drawn, and describe it."""
    graph = Graph(x)
    kept, note = graph.nodes, ""
    size = Counter(step for n in kept if (step := graph.step(n)) is not None)
    order = [step for n in sorted(graph.roots, key=lambda n: n.index) if (step := graph.step(n)) is not None]  # the result has to be seen
    shown = list(dict.fromkeys([*order, *_from_both_ends(sorted(size))]))[:steps]
    why = f"steps={steps}"
    room = limit - (len(kept) - sum(size.values())) - sum(size[step] for step in shown)
    while room < 0 and len(shown) > 2:
        room += size[shown.pop()]
        why = f"limit={limit}"
    if len(shown) < len(size):
        note = f"{len(size) - len(shown):,} of {len(size):,} time steps are not drawn ({why})."
        drawn = {None, *shown}
        kept = [n for n in kept if graph.step(n) in drawn]
        read = {i for n in kept for i in graph.inputs[n]} | graph.roots
        kept = [n for n in kept if n in read or not graph.is_leaf(n)]
    visible = set(kept)
    if len(kept) > limit:
        kept, visible = graph.nodes, _nearest(graph, limit)
        note = f"{len(kept) - len(visible):,} of {len(kept):,} nodes are not drawn, the farthest from the result (limit={limit})."
    boxes, arrows = _boxes_and_arrows(graph, set(kept), visible)
    own = zip([n for n in graph.nodes if n in visible], [b for b in boxes if not b.gap], strict=True)
    return Sketch(boxes, arrows, title, note, dict(own))


def _from_both_ends(order: Sequence[int]) -> Iterator[int]:
    """First, last, second, last but one, ..."""
    for k in range(len(order)):
        yield order[k // 2] if k % 2 == 0 else order[-1 - k // 2]


def _nearest(graph: Graph, count: int) -> set[Node]:
    """The `count` nodes that are fewest edges away from a result; of equally far ones, the latest."""
    found: set[Node] = set()
    level = set(graph.roots)
    while level and len(found) < count:
        found.update(sorted(level, key=lambda n: -n.index)[: count - len(found)])
        level = {i for n in level for i in graph.inputs[n] if i not in found}
    return found


def _boxes_and_arrows(graph: Graph, kept: Collection[Node], visible: Collection[Node]) -> tuple[list[Box], list[Arrow]]:
    """Boxes for what is visible, one for the far part of what was kept, and one for each cell and layer of the hidden steps."""
    boxes: dict[Any, Box] = {}
    stands: dict[Node, Any] = {}  # node -> key of its box: itself, "far", or cell and layer
    missing: dict[Any, list[Node]] = {}
    for n in graph.nodes:
        mark = graph.marks[n]
        if n in visible:
            stands[n] = n
            boxes[n] = _box(graph, n)
            continue
        if n in kept:
            stands[n], mark = "far", None
        elif graph.is_leaf(n) or mark is None:  # what is given to hidden steps only
            continue
        else:
            stands[n] = mark[:2]
        boxes.setdefault(stands[n], Box("", "not drawn", GAP, mark))
        missing.setdefault(stands[n], []).append(n)
    for key, nodes in missing.items():
        steps = sorted({graph.step(n) or 0 for n in nodes})
        box, many = boxes[key], f"{len(nodes):,} nodes"
        box.title = f"… {many}" if key == "far" else f"… {len(steps):,} step{'s' * (len(steps) > 1)}"
        box.tooltip = many if key == "far" else f"t = {steps[0]} to {steps[-1]}: {many}"
    for count, box in enumerate(boxes.values()):
        box.name = f"n{count}"
    places: dict[tuple[Box, Box], list[int]] = {}
    for n in stands:
        for k, i in enumerate(graph.inputs[n]):
            if i in stands and stands[i] != stands[n]:
                places.setdefault((boxes[stands[i]], boxes[stands[n]]), []).append(k)
    return list(boxes.values()), [Arrow(*ends, tuple(found)) for ends, found in places.items()]


# --- words ------------------------------------------------------------------------------------------------------------


def _box(graph: Graph, n: Node) -> Box:
    shape = _times(n.shape) or "scalar"
    mark, framed, root = graph.marks[n], n.where.mark.step is not None, n in graph.roots
    facts = f"{shape} {n.dtype}"
    if graph.is_leaf(n):
        kind = "input" if n in graph.given else PARAMETER if n.requires_grad else "constant"
        name = n.name or (n.op if n.primitive else kind)
        what = f"{kind} {name}" if name != kind else kind
        return Box(_short(name), shape, PARAMETER if kind == PARAMETER else INPUT, mark, framed, f"{what}\n{facts}", root)
    params = ", ".join(f"{key}={_text(value)}" for key, value in n.params.items())
    what = _op(n)
    if params:
        what += f"({params})"
    elif n.primitive.scalar and not n.primitive.scalar.startswith(what):
        what += f": {n.primitive.scalar}"
    parts = [what, facts, n.where.described().strip(" ()")]
    title = f"{n.name} = {_call(graph, n)}" if n.name else _call(graph, n)
    return Box(_short(title), shape, _family(n), mark, framed, "\n".join(filter(None, parts)), root)


def _op(n: Node) -> str:
    """The name of the operation, without that of the module it is from."""
    return n.op.rpartition(".")[2] or n.op


def _call(graph: Graph, n: Node) -> str:
    """The operation with the numbers in it: ``subtract(1, ·)``, ``getitem[…, 0:4]``, ``sum(axis=0)``."""
    if "index" in n.params and len(n.inputs) == 1:
        return f"{_op(n)}[{_text(n.params['index'])}]"
    arguments = []
    if any(map(graph.is_literal, n.inputs)):
        values = (i.value.item() if isinstance(i, Leaf) and graph.is_literal(i) else i for i in n.inputs)
        arguments = ["·" if isinstance(v, Node) else _text(v) for v in values]
    defaults = n.primitive.defaults
    arguments += [f"{k}={_text(v)}" for k, v in n.params.items() if k in IN_LABEL and v is not defaults.get(k)]
    return f"{_op(n)}({', '.join(arguments)})" if arguments else _op(n)


def _text(value: Any) -> str:
    """A literal or a parameter, in few characters."""
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, slice):
        parts = ["" if part is None else str(part) for part in (value.start, value.stop, value.step)]
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
    keeps = family == REDUCTION and isinstance(n.inputs[0], Node) and n.inputs[0].shape == n.shape != ()
    return FUNCTION if keeps else family  # softmax, cumsum
