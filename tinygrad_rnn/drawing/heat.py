"""Figures over time, laid over a picture: heat, the ledger of each weight, memory, values.

*Heat* is a number for each step, as a colour: by default the norm of the gradient of the loss with
respect to each state. The scale is logarithmic, because gradients through time shrink and grow by
factors; the colours are cividis (J. R. Nunez, C. R. Anderton and R. S. Renslow, PLOS ONE 13 (2018)
e0199239), which readers of all kinds of colour vision see alike. Zero, NaN, infinity and a gradient
that is not there have marks of their own, since they are no small or large numbers.

The *ledger* is what each step adds to the gradient of a weight. *Memory* is what the tape keeps for
the backward, step by step.

The reverse walk is made on the side (`ledger.reverse`): it runs no hook, frees nothing and fills no
`.grad`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tape import Freed, Leaf, Node
from ..ops.table import Tape
from .boxes import HATCH, Box, Legend, Role, Sketch, Strip
from .fold import Kinds
from .graph import Graph
from .ledger import reverse, values
from .moments import Lane

CIVIDIS = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)
ZERO, BROKEN, ENDLESS, MISSING = "#ffffff", "#c0392b", "#8e44ad", HATCH
WIDEST = 1e12  # from the largest to the smallest number of a scale
BARS = 40

Numbers = dict[Any, dict[int, float | None]]  # (what, lane) -> step -> number; None: there is none


class DrawingError(TinygradError, RuntimeError):
    """A picture that cannot be made here, or not in this format."""


class Scale:
    """A logarithmic scale of colours."""

    def __init__(self, numbers: Sequence[float | None]) -> None:
        found = [v for v in numbers if v is not None and math.isfinite(v) and v > 0]
        top = max(found, default=1.0)
        self.high = math.log10(top)
        self.low = min(math.log10(max(min(found, default=1.0), top / WIDEST)), self.high)
        if self.high - self.low < 0.3:
            self.low, self.high = self.low - 0.15, self.high + 0.15
        self.kinds = {_kind(v) for v in numbers}

    def colour(self, v: float | None) -> str:
        """Of a number; "hatch" for none."""
        kind = _kind(v)
        if kind:
            return {"0": ZERO, "NaN": BROKEN, "infinite": ENDLESS, "no gradient": MISSING}[kind]
        assert v is not None
        part = min(max((math.log10(v) - self.low) / (self.high - self.low), 0.0), 1.0) * (
            len(CIVIDIS) - 1
        )
        k = min(int(part), len(CIVIDIS) - 2)
        mix = [
            round(
                int(CIVIDIS[k][i : i + 2], 16) * (k + 1 - part)
                + int(CIVIDIS[k + 1][i : i + 2], 16) * (part - k)
            )
            for i in (1, 3, 5)
        ]
        return "#" + "".join(f"{c:02x}" for c in mix)

    def legend(self, title: str) -> Legend:
        """The scale, and the marks that occur."""
        colours = [
            self.colour(10 ** (self.low + (self.high - self.low) * (k + 0.5) / 30))
            for k in range(30)
        ]
        every = max(1, math.ceil((self.high - self.low) / 4))
        decades = [
            k for k in range(math.ceil(self.low), math.floor(self.high) + 1) if k % every == 0
        ]
        if len(decades) < 2:
            ticks = [(0.0, f"{10**self.low:.2g}"), (1.0, f"{10**self.high:.2g}")]
        else:
            ticks = [
                ((k - self.low) / (self.high - self.low), f"1e{k}" if k else "1") for k in decades
            ]
        marks = {"0": ZERO, "NaN": BROKEN, "infinite": ENDLESS, "no gradient": MISSING}
        return Legend(
            title, colours, ticks, [(marks[kind], kind) for kind in marks if kind in self.kinds]
        )


def _kind(v: float | None) -> str:
    """Which mark a number gets; empty: a place on the scale."""
    if v is None:
        return "no gradient"
    return "NaN" if math.isnan(v) else "infinite" if math.isinf(v) else "0" if v == 0 else ""


# --- measuring ----------------------------------------------------------------------------------------------------------------


def check_walkable(tape: Tape, what: str) -> None:
    """Raise a DrawingError if the reverse walk cannot be made."""
    for node in tape.nodes:
        if type(node.saved) is Freed:
            raise DrawingError(
                f"draw: {what} needs the values that {node.op}{node.where.described()} saved, and a backward at {node.saved.where} released "
                f"them. Draw before the backward, or keep the graph: backward(retain_graph=True)."
            )


def measure(tape: Tape, graph: Graph, kinds: Kinds) -> tuple[Numbers, dict[Leaf, dict[int, float]]]:
    """Norms of the gradients of all states, and for each weight the norm of what each step adds to its gradient."""
    wanted: dict[Node, tuple[tuple[Any, Any], int]] = {}
    for key, made in kinds.makers.items():
        wanted.update((n, (key, step)) for step, n in made.items())
    norms: Numbers = {}
    for key, step in wanted.values():
        norms.setdefault(key, {})[step] = None
    shares: dict[Leaf, dict[int, float]] = {}
    open_: dict[Leaf, tuple[int, Any]] = {}

    def close(leaf: Leaf) -> None:
        step, total = open_.pop(leaf)
        shares.setdefault(leaf, {})[step] = _norm(total)

    with np.errstate(all="ignore"):
        for visit in reverse(tape, np.ones(tape.root.shape, tape.root.dtype)):
            if visit.node in wanted:
                key, step = wanted[visit.node]
                norms[key][step] = _norm(visit.gradient)
            here = graph.moments.get(visit.node)
            for share in visit.shares:
                if isinstance(share.source, Leaf) and here is not None:
                    before = open_.get(share.source)
                    if before is not None and before[0] == here.step:
                        open_[share.source] = (here.step, before[1] + share.share)
                    else:
                        if before is not None:
                            close(share.source)
                        open_[share.source] = (here.step, share.share)
        for leaf in list(open_):
            close(leaf)
    return norms, shares


def _norm(array: Any) -> float:
    return float(np.sqrt(np.sum(np.square(np.asarray(array, np.float64)))))


# --- laying over ----------------------------------------------------------------------------------------------------------------


def lay_heat(sketch: Sketch, kinds: Kinds, numbers: Numbers, title: str) -> None:
    """Colour the boxes that make states, and add a row for each state under the time axis."""
    scale = Scale([v for steps in numbers.values() for v in steps.values()])
    lanes = {lane for lane, _ in numbers}
    boxes = sketch.of
    for (lane, key), steps in numbers.items():
        nodes = kinds.makers[lane, key]
        name = next((b.variable for n in nodes.values() if (b := boxes.get(n)) and b.variable), "")
        for step, n in nodes.items():
            box = boxes.get(n)
            if box is not None and step in steps:
                colour = scale.colour(steps[step])
                box.hatch, box.fill = colour == MISSING, "" if colour == MISSING else colour
                box.tooltip += (
                    f"\n{title.replace('state', name or 'state')} = {_figure(steps[step])}"
                )
        words = title.replace("state", name or "state")
        strip = Strip(words + _lane_words(lane, len(lanes) > 1))
        _fill(
            sketch,
            strip,
            lane,
            steps,
            lambda found: _hidden(found, scale),
            lambda v: (scale.colour(v), _figure(v)),
        )
        sketch.strips.append(strip)
    sketch.legend = scale.legend(title)


def _lane_words(lane: Lane, several: bool) -> str:
    return " · " + lane.described() if several else ""


def _fill(
    sketch: Sketch,
    strip: Strip,
    lane: Any,
    steps: Mapping[int, Any],
    hidden: Callable[[list[Any]], tuple[str, str]],
    one: Callable[[Any], tuple[str, str]],
) -> None:
    """A cell of a strip for each column of a lane."""
    gaps = {
        b.step: b.hides
        for b in sketch.boxes
        if b.run and b.framed and b.moment and b.moment.lane == lane
    }
    covered = {s for found in gaps.values() for s in found}
    for first, found in gaps.items():
        if first is not None:
            strip.cells[lane, first] = hidden([steps[s] for s in found if s in steps])
    strip.cells.update({(lane, s): one(v) for s, v in steps.items() if s not in covered})


def _hidden(found: list[float | None], scale: Scale) -> tuple[str, str]:
    """Of steps that are not drawn: the colour of the median, and from least to most."""
    plain = [v for v in found if v is not None and not math.isnan(v)]
    if len(plain) < len(found) or not plain:
        odd = next((v for v in found if v is None or math.isnan(v)), None)
        return scale.colour(odd), f"{len(found) - len(plain)} are {_figure(odd)}"
    return scale.colour(statistics.median(plain)), f"{_figure(min(plain))} … {_figure(max(plain))}"


def _figure(v: float | None) -> str:
    if v is None:
        return "none"
    return "NaN" if math.isnan(v) else "∞" if math.isinf(v) else "0" if v == 0 else f"{v:.2g}"


def lay_given(sketch: Sketch, kinds: Kinds, given: Any, title: str) -> None:
    """Heat of figures that the caller has.

    A mapping from step to number, or one number for each step.
    """
    numbers: dict[int, float | None] = {}
    lanes = [lane for lane in kinds.steps if not lane.backward]
    steps = sorted({s for lane in lanes for s in kinds.steps[lane]})
    if isinstance(given, Mapping):
        numbers = {s: None if given.get(s) is None else float(given[s]) for s in steps}
    else:
        try:
            found = np.asarray(getattr(given, "array", given), np.float64).ravel()
        except (TypeError, ValueError):
            raise DrawingError(
                f"draw: heat is 'grad', a mapping from step to number, or a number for each step; found {given!r}"
            ) from None
        if len(found) != len(steps):
            raise DrawingError(
                f"draw: heat has {len(found)} numbers; the picture has {len(steps)} steps"
            )
        numbers = {s: float(v) for s, v in zip(steps, found, strict=True)}
    scale = Scale(list(numbers.values()))
    lane = lanes[0] if lanes else None
    strip = Strip(title)
    _fill(
        sketch,
        strip,
        lane,
        numbers,
        lambda found: _hidden(found, scale),
        lambda v: (scale.colour(v), _figure(v)),
    )
    sketch.strips.append(strip)
    sketch.legend = scale.legend(title)


def lay_ledger(sketch: Sketch, shares: dict[Leaf, dict[int, float]]) -> None:
    """At each shared weight, a bar for each step."""
    for leaf, steps in shares.items():
        box = sketch.of.get(leaf)
        if box is None or box.role != Role.SHARED:
            continue
        first, last = min(steps), max(steps)
        line = [steps.get(s, 0.0) for s in range(first, last + 1)]
        per = math.ceil(len(line) / BARS)
        box.bars = tuple(max(line[k : k + per]) for k in range(0, len(line), per))
        box.detail = f"t = {first} … {last}"
        top = max(steps, key=lambda s: steps[s])
        box.tooltip += f"\nsteps add to its gradient, by norm: {_figure(min(steps.values()))} to {_figure(steps[top])}, most t = {top}"


def lay_memory(sketch: Sketch, graph: Graph, kinds: Kinds) -> None:
    """Bytes that each step keeps for the backward, and all so far."""
    given = {
        id(_base(n.value))
        for n in graph.nodes
        if isinstance(n, Leaf) and isinstance(n.value, np.ndarray)
    }
    seen: set[int] = set()
    own: dict[Any, dict[int, float]] = {}
    total: dict[Any, dict[int, float]] = {}
    freed = False
    running = 0
    for n in graph.nodes:
        if n.primitive is None:
            continue
        if type(n.saved) is Freed:
            freed = True
            continue
        size = 0
        for array in _arrays(n.saved):
            base = _base(array)
            if id(base) not in seen and id(base) not in given:
                seen.add(id(base))
                size += base.nbytes
        running += size
        mark = graph.moments[n]
        if n in graph.framed and mark is not None:
            steps = own.setdefault(mark.lane, {})
            steps[mark.step] = steps.get(mark.step, 0) + size
            total.setdefault(mark.lane, {})[mark.step] = running
    for word, found, combine in (("saved for backward", own, sum), ("so far", total, max)):
        for lane, steps in found.items():
            if lane.backward:
                continue
            strip = Strip(word + _lane_words(lane, len(found) > 1))
            _fill(
                sketch,
                strip,
                lane,
                steps,
                lambda v, combine=combine: ("", _bytes(combine(v))),  # type: ignore[misc]
                lambda v: ("", _bytes(v)),
            )
            sketch.strips.append(strip)
    peak = (
        "released by a backward"
        if freed and not running
        else f"{_bytes(running)} at the end of the forward, the peak"
    )
    sketch.note = " ".join(filter(None, [sketch.note, f"Saved for the backward: {peak}."]))


def _base(array: Any) -> Any:
    """The array that owns the memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _arrays(saved: Any) -> list[Any]:
    found: list[Any] = []
    stack = [saved]
    while stack:
        value = stack.pop()
        if isinstance(value, np.ndarray):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            stack += value
        elif isinstance(value, dict):
            stack += value.values()
    return found


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.3g} {unit}"
        size /= 1000
    return ""


def lay_values(sketch: Sketch, tape: Tape, how: str | bool) -> None:
    """In place of shapes: numbers, of a larger array their mean and standard deviation."""
    wanted: dict[Node, Box] = dict(sketch.of)
    for node, value in values(tape):
        box = wanted.get(node)
        if box is not None and not box.port:
            box.detail = _value(value, how)
            box.tooltip += f"\n{_value(value, True)}"


def _value(value: Any, how: str | bool) -> str:
    if value.size == 0:
        return "empty"
    flat = value.ravel()
    if value.size <= (6 if how == "numbers" else 1):
        return ", ".join(f"{v:.3g}" for v in flat)
    if value.dtype.kind != "f":
        return f"{flat.min()} … {flat.max()}"
    return f"{flat.mean():.2g} ± {flat.std():.2g}"
