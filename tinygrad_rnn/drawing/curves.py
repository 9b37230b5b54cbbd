"""A small curve of a figure over all the steps that are not drawn.

What is left out of a long picture is often what it is about: how a gradient decays on its way back.
So in a row of figures there is, where steps are hidden, no number but a curve over all of them. Its
axis is logarithmic for norms, and the same for all curves of a row. Many steps share a place along
it; there the curve is a band from the least of them to the largest, so no single step is lost. Zero,
NaN, infinity and what is missing have no place on such an axis, and are marked where they occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..core.primitive import Array
from .boxes import Curve, Mark
from .scale import Number

BINS = 100  # places along a curve
FEWEST = 3  # of fewer steps there is no curve


class Axis:
    """What is common to the curves of a row: from the least figure to the largest.

    Parameters
    ----------
    numbers : iterable of number or None
    logarithmic : bool
        If not, the axis begins at 0.
    """

    def __init__(self, numbers: Iterable[Number], *, logarithmic: bool) -> None:
        self.logarithmic = logarithmic
        found = self._levels(_array(numbers))
        found = found[np.isfinite(found)]
        self.low = float(found.min()) if found.size and logarithmic else 0.0
        self.high = float(found.max()) if found.size else 1.0

    def _levels(self, numbers: Array) -> Array:
        """Return the numbers as the axis counts them; what has no place on it is not finite."""
        if not self.logarithmic:
            return numbers
        with np.errstate(all="ignore"):
            return np.where(numbers > 0, np.log10(np.abs(numbers)), np.nan)

    def curve(self, numbers: Sequence[Number]) -> Curve:
        """Return the curve of some numbers, in the order of time."""
        array = _array(numbers)
        count = min(len(array), BINS)
        edges = np.linspace(0, len(array), count + 1).astype(int)
        levels = self._levels(array)
        finite = np.isfinite(levels)
        room = self.high - self.low
        parts = (levels - self.low) / room if room > 0 else np.where(finite, 0.5, np.nan)
        least = np.minimum.reduceat(np.where(finite, parts, np.inf), edges[:-1])
        most = np.maximum.reduceat(np.where(finite, parts, -np.inf), edges[:-1])
        points = [
            (k / max(count - 1, 1), float(least[k]), float(most[k]))
            if least[k] <= most[k]
            else None
            for k in range(count)
        ]
        missing = np.array([v is None for v in numbers])
        masks = {
            "0": (array == 0) & self.logarithmic,
            "NaN": np.isnan(array) & ~missing,
            "infinite": np.isinf(array),
            "no gradient": missing,
        }
        marks = [
            Mark(begin / count, end / count, what)
            for what, mask in masks.items()
            for begin, end in _stretches(np.logical_or.reduceat(mask, edges[:-1]))
        ]
        return Curve(tuple(_pieces(points)), tuple(marks), self.logarithmic)


def _array(numbers: Iterable[Number]) -> Array:
    return np.array([np.nan if v is None else v for v in numbers], np.float64)


def _stretches(mask: Array) -> list[tuple[int, int]]:
    """Return from where to where a mask is true."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]


def _pieces(
    points: Sequence[tuple[float, float, float] | None],
) -> list[tuple[tuple[float, float, float], ...]]:
    """Return the points that follow each other without a hole."""
    found: list[list[tuple[float, float, float]]] = [[]]
    for p in points:
        if p is not None:
            found[-1].append(p)
        elif found[-1]:
            found.append([])
    return [tuple(piece) for piece in found if piece]
