"""The legend of a picture: what its boxes and lines mean, of those that occur in it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ..palette import MEANINGS
from .boxes import Arrow, Sketch
from .style import BACK, CARRIED, CUT, STATE, kind

SWATCH, ROW, LETTER = 16.0, 14.0, 4.8  # points: a sign, a row of the legend, a letter of it
FEW = 8  # boxes; a picture of fewer explains itself
LARGEST = 0.15  # of the height of the picture that the legend may have, unless it is asked for
LINES = (STATE, BACK, CUT)


class Sign(NamedTuple):
    """A sign of the legend: what it is, what it means, its left end and its middle from above."""

    name: str
    words: str
    x: float
    y: float

    @property
    def family(self) -> str:
        """The family of boxes whose colours it has."""
        return {"port": "parameter", "root": "input"}.get(self.name, self.name)

    @property
    def height(self) -> float:
        """The extent of its box from top to bottom."""
        return 6.0 if self.name == "port" else 10.0


def signs_of(
    sketch: Sketch, states: Collection[Arrow], width: float, height: float, asked: bool | None
) -> list[Sign]:
    """Return the legend, from x = 0 and y = 0 on.

    Parameters
    ----------
    sketch : Sketch
    states : collection of Arrow
        Those that carry a state.
    width : float
        Room for a row.
    height : float
        That of the picture.
    asked : bool or None
        Whether it is wanted; None if nothing was said: then small pictures have none.
    """
    drawn = sum(not b.port for b in sketch.boxes)
    if asked is False or (asked is None and drawn < FEW):
        return []
    found = _names(sketch, states)
    signs: list[Sign] = []
    x = y = 0.0
    for name, words in MEANINGS.items():
        if name in found:
            wide = SWATCH + 5 + LETTER * len(words)
            if x and x + wide > width:
                x, y = 0.0, y + ROW
            signs.append(Sign(name, words, x, y + ROW / 2))
            x += wide + 12
    return [] if asked is None and y + ROW > LARGEST * height else signs


def _names(sketch: Sketch, states: Collection[Arrow]) -> set[str]:
    """Return what occurs: families of boxes, ports, results, kinds of lines."""
    found: set[str] = {b.family for b in sketch.boxes if not (b.fill or b.hatch)}
    found |= {"port"} if any(b.port for b in sketch.boxes) else set()
    found |= {"root"} if any(b.root for b in sketch.boxes) else set()
    kinds = {kind(arrow, states) for arrow in sketch.arrows}
    return found | {BACK if k == CARRIED else k for k in kinds if k in (*LINES, CARRIED)}
