"""The outlines of the time steps, and the rows of figures under the time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..recurrent.moments import Lane, Moment
from .boxes import Box, Curve, Strip
from .grid import Slot
from .places import MARGIN, Places
from .stepplan import FOOT, StepPlan

DEEP = 15.0  # depth of a row of figures
CURVE = 34.0  # and of the curves in one


class Frame(NamedTuple):
    """The outline of a time step.

    Attributes
    ----------
    label : str
    boxes : list of Box
        What stands inside.
    left, top, right, bottom : float
    label_x, label_y : float
        Where the label begins (in the plan of places: from the left edge), and its middle from
        above.
    """

    label: str
    boxes: list[Box]
    left: float
    top: float
    right: float
    bottom: float
    label_x: float = 0.0
    label_y: float = 0.0


class Figure(NamedTuple):
    """One figure of a strip: a rectangle, known by its middle, with a colour and a text.

    One with a curve has its text above the curve.
    """

    x: float
    y: float
    width: float
    height: float
    fill: str
    text: str
    curve: Curve | None = None


class Word(NamedTuple):
    """A text that ends at x, and has its middle at y."""

    text: str
    x: float
    y: float


def frames_of(places: Places) -> tuple[list[Frame], list[Word]]:
    """Return the outlines of the steps, and the names of lanes that have no room in them.

    The first frame of a lane says what the lane is called.
    """
    made: list[Frame] = []
    names: list[Word] = []
    shown: set[Lane] = set()
    for slot, found in sorted(places.grid.slots.items(), key=lambda item: item[0]):
        boxes = [b for b in found if b.framed]
        if any(b.cell for b in boxes):  # it says itself what and when it is
            continue
        moment = _moment(boxes)
        if moment is None:
            continue
        frame = _outline(places, slot, [b for b in boxes if not places.plans.is_input(b)])
        steps = max((b.hides for b in boxes), key=len, default=())
        label = f"t = {moment.step} … {steps[-1]}" if len(steps) > 1 else f"t = {moment.step}"
        name = "" if moment.lane in shown else moment.lane.described(" · ")
        shown.add(moment.lane)
        if name and 5.2 * (len(name) + len(label) + 3) < frame.right - frame.left - 16:
            label += f" · {name}"
        elif name:
            names.append(Word(name, frame.left - 8, frame.bottom + 8))
        plan, middle = places.plans.plan[slot], places.middle[slot[1]]
        made.append(frame._replace(label=label, label_x=_label_x(frame, label, plan, middle)))
    return sorted(made, key=lambda f: min(b.order for b in f.boxes if b.order is not None)), names


def _moment(boxes: Sequence[Box]) -> Moment | None:
    """Return the moment of a frame with these boxes; None if there is none to be drawn."""
    if not any(not b.leaf and not b.port and not b.run for b in boxes):
        return None
    return next(b.moment for b in boxes if b.moment and not b.port and not b.leaf)


def _outline(places: Places, slot: Slot, boxes: list[Box]) -> Frame:
    """Return the frame of a slot, without a label."""
    (band, column), plan = slot, places.plans.plan[slot]
    foot = MARGIN if places.turned else FOOT
    return Frame(
        "",
        boxes,
        left=places.middle[column] + plan.left - MARGIN / 2 - 2,
        top=places.base[band] + places.tall[band] + MARGIN,
        right=places.middle[column] + plan.right + MARGIN / 2 + 2,
        bottom=places.base[band] + places.floor[band] - foot,
    )


def _label_x(frame: Frame, label: str, plan: StepPlan, middle: float) -> float:
    """Return how far from the left edge of a frame its label begins, free of lines."""
    wide = 5.0 * len(label) + 6
    lines = [(middle + a - 4, middle + b + 4) for a, b in plan.entering()]
    first = frame.left + 8
    for k in range(int(max(frame.right - frame.left - 12 - wide, 0) // 6) + 1):
        x = first + k * 6
        if not any(x < b and a < x + wide for a, b in lines):
            return x - frame.left
    return first - frame.left


def figures_of(places: Places, strips: Sequence[Strip]) -> tuple[list[Figure], list[Word]]:
    """Return the rows of figures, and their names.

    They stand below everything, a figure in each column that has one.
    """
    figures: list[Figure] = []
    words: list[Word] = []
    if not strips or not places.at:
        return figures, words
    lowest = min(d - places.grid.deep(b) / 2 for b, (_, d) in places.at.items())
    feet = [base + floor - 20 for base, floor in zip(places.base, places.floor, strict=True)]
    bottom = min([lowest, *feet]) - 12
    extents = _extents(places)
    for strip in strips:
        curves = {} if places.turned else strip.curves
        deep = _across(strip) if places.turned else DEEP + CURVE * bool(curves)
        y = bottom - deep / 2
        bottom -= deep + 3
        for place, (fill, text) in strip.cells.items():
            if place in extents:
                (a, b), curve = extents[place], curves.get(place)
                fill = "" if curve else fill
                size = (deep, b - a) if places.turned else (b - a, deep)
                figures.append(Figure((a + b) / 2, y, *size, fill, text, curve))
        left = min((a for a, _ in extents.values()), default=0.0)
        said = ", log" if any(c.logarithmic for c in curves.values()) else ""
        # a word ends where it is said to: here at the right edge of a row that runs downwards
        words.append(Word(strip.title + said, left - 8, y + deep / 2 * places.turned))
    return figures, words


def _across(strip: Strip) -> float:
    """Return the width of a row of figures that runs downwards: that of its widest text."""
    return max([5.4 * len(strip.title), *(8 + 4.8 * len(text) for _, text in strip.cells.values())])


def _extents(places: Places) -> dict[tuple[Lane | None, int], tuple[float, float]]:
    """Return from where to where each step of a lane extends along time."""
    found: dict[tuple[Lane | None, int], tuple[float, float]] = {}
    for slot, boxes in places.grid.slots.items():
        moment = next((b.moment for b in boxes if b.framed and b.moment and not b.leaf), None)
        if moment is None or moment.lane.backward:
            continue
        plan, middle = places.plans.plan[slot], places.middle[slot[1]]
        gaps = [places.grid.wide(b) / 2 for b in boxes if b.run]
        ends = (-max(gaps), max(gaps)) if gaps else (plan.left, plan.right)
        found.setdefault((moment.lane, moment.step), (middle + ends[0], middle + ends[1]))
    return found
