"""Value and gradient of each box, side by side.

A number is written out. Of an array the norm is, and a map of colours, if it is small: blue above
zero, brown below it, pale near to it, each array on a scale of its own. It is laid out as the
explorer does: the last axis runs to the right, all others down.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..core.primitive import Array
from ..core.tape import reachable
from ..palette import LIGHT
from ..recurrent.ledger import reverse, values
from .boxes import Half, Sketch
from .measures import Measured
from .overlays import Overlay, free_detail, value_said

ROWS, COLUMNS = 6, 12  # of a map, at most
TONES = LIGHT.signs  # the least, zero, and the greatest
ODD = LIGHT.text  # no number, or no finite one
BARS = "\N{DOUBLE VERTICAL LINE}"  # of a norm
EMPTY = Half("\N{EN DASH}")  # there is no gradient
NOTE = "In each box: its value | the gradient of the result by it; of arrays the norm."


class ValueAndGradient(Overlay):
    """The value of each box, and beside it the gradient that arrives there."""

    name: ClassVar[str] = "values"
    walks: ClassVar[bool] = True
    recorded: ClassVar[bool] = True

    def lay(self, sketch: Sketch, measured: Measured) -> None:
        """Write both into the boxes; a gradient that is drawn as a box has a value alone."""
        tape, graph = measured.tape, measured.graph
        boxes = {n: b for n, b in sketch.of.items() if not b.port and not b.cell}
        arrived: dict[Any, Half] = {}
        with np.errstate(all="ignore"):
            for visit in reverse(tape, np.ones(tape.root.shape, tape.root.dtype)):
                if visit.node in boxes:
                    arrived[visit.node] = half(visit.gradient)
                    said = value_said(visit.gradient, 1)
                    boxes[visit.node].tooltip += f"\ngradient {said}"
            for node, value in values(reachable(graph.roots, every=True)):
                box = boxes.get(node)
                if box is None:
                    continue
                free_detail(box)
                one = half(value)
                alone = graph.of_backward(node)
                box.halves = (one,) if alone else (one, arrived.get(node, EMPTY))
                box.detail = " | ".join(h.text for h in box.halves)
                box.tooltip += f"\nvalue {value_said(value, 1)}"
        sketch.note = " ".join(filter(None, [sketch.note, NOTE]))


def half(array: Array) -> Half:
    """Return what is shown of an array: its number, or its norm and a map of it."""
    array = np.asarray(array)
    if array.size == 1:
        return Half(f"{array.reshape(()).item():.3g}")
    wide = array.astype(np.float64)
    flat = wide.reshape((-1, array.shape[-1]))
    small = 0 < len(flat) <= ROWS and 0 < flat.shape[1] <= COLUMNS
    norm = f"{np.sqrt(np.square(wide).sum()):.3g}"
    return Half(f"{BARS}{norm}{BARS}", tuple(_tones(flat)) if small else ())


def _tones(rows: Array) -> list[tuple[str, ...]]:
    """Return the colours of numbers, row by row."""
    finite = rows[np.isfinite(rows)]
    most = float(np.abs(finite).max()) if finite.size else 0.0
    return [tuple(_tone(v / most if most else v) for v in row.tolist()) for row in rows]


def _tone(u: float) -> str:
    """Return the colour of a number between -1 and 1."""
    if not -1 <= u <= 1:
        return ODD
    end, part = TONES[0 if u < 0 else 2], abs(u) ** 0.8
    mixed = [
        round(int(TONES[1][k : k + 2], 16) * (1 - part) + int(end[k : k + 2], 16) * part)
        for k in (1, 3, 5)
    ]
    return "#" + "".join(f"{v:02x}" for v in mixed)
