"""Figures that are laid over a picture: heat, the ledger of each weight, memory, values.

*Heat* is a number for each step, as a colour: by default the norm of the gradient of the loss with
respect to each state. The *ledger* is what each step adds to the gradient of a weight. *Memory* is
what the tape keeps for the backward, step by step. *Values* are the numbers in the boxes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..core.tape import reachable
from ..recurrent.ledger import values
from ..recurrent.moments import Lane
from .boxes import HATCH, Box, Role, Sketch, Strip
from .curves import FEWEST, Axis
from .errors import DrawingError
from .labels import short
from .measures import Measured, State
from .scale import Number, Scale, figure, together

CURVED = 150.0  # width of what stands for hidden steps over a curve
BARS = 40  # at most so many in the chart of a weight
CLAIM = "‖∂L/∂state‖"  # "state" is replaced by the name of the state
WRONG_HEAT = "draw: heat is 'grad', a mapping from step to number, or a number for each step; found"


class Overlay(ABC):
    """Figures to be laid over a picture.

    Attributes
    ----------
    name : str
        The argument of `draw` that asks for it.
    walks : bool
        Whether it needs the reverse walk.
    recorded : bool
        Whether it needs a recorded tensor, which has numbers.
    """

    name: ClassVar[str]
    walks: ClassVar[bool] = False
    recorded: ClassVar[bool] = False

    @abstractmethod
    def lay(self, sketch: Sketch, measured: Measured) -> None:
        """Write the figures into the boxes of a sketch, and add rows and a legend."""


class GradientHeat(Overlay):
    """The norm of the gradient that reaches each state, as the colour of the box that makes it."""

    name, walks, recorded = "heat", True, True

    def lay(self, sketch: Sketch, measured: Measured) -> None:
        """Colour the boxes that make states, and add a row for each state under the time axis."""
        norms = measured.gradients.norms
        if not norms:
            raise DrawingError(
                "draw: heat colours states that one time step hands to the next, and there are none on this tape: "
                + _without_states(measured)
            )
        scale = Scale(v for steps in norms.values() for v in steps.values())
        several = len({lane for lane, _ in norms}) > 1
        for state, steps in norms.items():
            title = self._colour(sketch, measured, state, scale)
            lane = state[0]
            title += f" · {lane.described()}" if several else ""
            sketch.strips.append(_strip(sketch, title, lane, steps, scale.joint_cell, scale.cell))
        self._colour_cells(sketch, measured, scale)
        sketch.legend = scale.legend(CLAIM)

    def _colour_cells(self, sketch: Sketch, measured: Measured, scale: Scale) -> None:
        """Colour the boxes of whole steps by the gradients of all their states together."""
        norms = measured.gradients.norms
        for box in sketch.boxes:
            if box.cell and box.moment is not None and not box.recorded_by_backward:
                lane, step = box.moment
                found = [
                    steps[step] for (of, _), steps in norms.items() if of == lane and step in steps
                ]
                _fill(box, together(found), scale, CLAIM)

    def _colour(self, sketch: Sketch, measured: Measured, state: State, scale: Scale) -> str:
        """Colour the boxes of one state; return what its figures are."""
        steps = measured.gradients.norms[state]
        title = CLAIM.replace("state", sketch.states.get(state) or "state")
        makers = measured.kinds.makers[state]
        for n, box in sketch.of.items():
            step = box.step
            if step is not None and makers.get(step) is n and not box.cell and step in steps:
                _fill(box, steps[step], scale, title)
        return title


def _fill(box: Box, v: Number, scale: Scale, title: str) -> None:
    """Colour a box by a number, and write the number into its tooltip."""
    colour = scale.colour(v)
    box.hatch, box.fill = colour == HATCH, "" if colour == HATCH else colour
    box.tooltip += f"\n{title} = {figure(v)}"


def _without_states(measured: Measured) -> str:
    """Say why there are no states."""
    count = len({m.step for m in measured.graph.every_moment.values() if m is not None})
    if count == 0:
        return "it has no time steps"
    if count == 1:
        return "it has one time step; take two or more"
    return f"its {count} time steps hand nothing on"


class GivenHeat(Overlay):
    """Figures that the caller has: a mapping from step to number, or one number for each step."""

    name = "heat"

    def __init__(self, given: Any) -> None:
        self.given = given

    def lay(self, sketch: Sketch, measured: Measured) -> None:
        """Add a row of the figures under the time axis."""
        kinds = measured.kinds
        lanes = [lane for lane in kinds.kind if not lane.backward]
        numbers = self._numbers(sorted({s for lane in lanes for s in kinds.kind[lane]}))
        scale = Scale(numbers.values())
        lane = lanes[0] if lanes else None
        sketch.strips.append(_strip(sketch, self.name, lane, numbers, scale.joint_cell, scale.cell))
        sketch.legend = scale.legend(self.name)

    def _numbers(self, steps: Sequence[int]) -> dict[int, Number]:
        """Return the number for each step."""
        given = self.given
        if isinstance(given, Mapping):
            return {s: None if given.get(s) is None else float(given[s]) for s in steps}
        try:
            found = np.asarray(getattr(given, "array", given), np.float64).ravel()
        except (TypeError, ValueError):
            raise DrawingError(f"{WRONG_HEAT} {given!r}") from None
        if len(found) != len(steps):
            raise DrawingError(
                f"draw: heat has {len(found)} numbers; the picture has {len(steps)} steps"
            )
        return {s: float(v) for s, v in zip(steps, found, strict=True)}


class Ledger(Overlay):
    """At each shared weight a bar for each step: the norm of what it adds to the gradient."""

    name, walks, recorded = "ledger", True, True

    def lay(self, sketch: Sketch, measured: Measured) -> None:
        """Draw a small chart into the boxes of the shared weights."""
        for leaf, steps in measured.gradients.shares.items():
            box = sketch.of.get(leaf)
            if box is None or box.role != Role.SHARED:
                continue
            first, last = min(steps), max(steps)
            line = [steps.get(s, 0.0) for s in range(first, last + 1)]
            per = math.ceil(len(line) / BARS)
            box.bars = tuple(max(line[k : k + per]) for k in range(0, len(line), per))
            box.detail = f"t = {first} … {last}"
            top = max(steps, key=lambda s: steps[s])
            box.tooltip += (
                f"\nsteps add to its gradient, by norm: {figure(min(steps.values()))} to "
                f"{figure(steps[top])}, most t = {top}"
            )


class Saved(Overlay):
    """Bytes that each step keeps for the backward, and all so far."""

    name = "memory"

    def lay(self, sketch: Sketch, measured: Measured) -> None:
        """Add two rows for each lane under the time axis, and a note with the peak."""
        found = measured.memory
        rows: list[tuple[str, Any, Callable[[Sequence[float]], float]]] = [
            ("saved for backward", found.own, sum),
            ("so far", found.total, max),
        ]
        for word, lanes, combine in rows:
            for lane, steps in lanes.items():
                if lane.backward:
                    continue
                title = f"{word} · {lane.described()}" if len(lanes) > 1 else word
                joint = _bytes_of(combine)
                sketch.strips.append(
                    _strip(sketch, title, lane, steps, joint, _bytes_cell, logarithmic=False)
                )
        outside = found.peak - sum(sum(steps.values()) for steps in found.own.values())
        beside = f", {_bytes(outside)} of it outside of the steps" if outside else ""
        peak = (
            "released by a backward"
            if found.freed and not found.peak
            else f"{_bytes(found.peak)} at the end of the forward, the peak{beside}"
        )
        sketch.note = " ".join(filter(None, [sketch.note, f"Saved for the backward: {peak}."]))


def _bytes_cell(size: float) -> tuple[str, str]:
    return "", _bytes(size)


def _bytes_of(
    combine: Callable[[Sequence[float]], float],
) -> Callable[[Sequence[float]], tuple[str, str]]:
    """Return the function that makes a figure of the sizes of several steps."""
    return lambda sizes: _bytes_cell(combine(sizes))


def _bytes(size: float) -> str:
    """Return a number of bytes as a text."""
    unit = "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"


class Values(Overlay):
    """Numbers in place of shapes: of a larger array the mean and the standard deviation.

    Parameters
    ----------
    numbers : bool
        Write out all numbers of up to six.
    """

    name, recorded = "values", True

    def __init__(self, *, numbers: bool) -> None:
        self.most = 6 if numbers else 1

    def lay(self, sketch: Sketch, measured: Measured) -> None:
        """Write the values into the boxes, and shorter into their tooltips."""
        for node, value in values(reachable(measured.graph.roots, every=True)):
            box = sketch.of.get(node)
            if box is not None and not box.port:
                free_detail(box)
                box.detail = value_said(value, self.most)
                box.tooltip += f"\n{value_said(value, 1)}"


def free_detail(box: Box) -> None:
    """Make room for a value in the second line: a rule that stands there moves into the title."""
    if box.said:
        box.title = short(f"{box.title} = {box.said}")


def value_said(value: Any, most: int) -> str:
    """Return an array as a text: up to so many numbers, of more what they have in common."""
    flat = value.ravel()
    if flat.size == 0:
        return "empty"
    if flat.size <= most:
        return ", ".join(f"{v:.3g}" for v in flat)
    if flat.dtype.kind != "f":
        return f"{flat.min()} … {flat.max()}"
    return f"{flat.mean():.2g} ± {flat.std():.2g}"


def _strip(
    sketch: Sketch,
    title: str,
    lane: Lane | None,
    steps: Mapping[int, Any],
    joint: Callable[[list[Any]], tuple[str, str]],
    one: Callable[[Any], tuple[str, str]],
    *,
    logarithmic: bool = True,
) -> Strip:
    """Make a row of figures for the columns of a lane.

    `one` makes the figure of one step, `joint` that of several steps which are not drawn; a curve
    shows all of them.
    """
    runs = [b for b in sketch.boxes if b.run and b.framed and b.moment and b.moment.lane == lane]
    gaps = {b.step: [steps[s] for s in b.hides if s in steps] for b in runs}
    covered = {s for b in runs for s in b.hides}
    axis = Axis((v for found in gaps.values() for v in found), logarithmic=logarithmic)
    strip = Strip(title)
    for b in runs:
        if b.step is None:
            continue
        found = gaps[b.step]
        strip.cells[lane, b.step] = joint(found)
        if len(found) >= FEWEST:
            strip.curves[lane, b.step] = axis.curve(found)
            b.least = CURVED
    strip.cells.update({(lane, s): one(v) for s, v in steps.items() if s not in covered})
    return strip
