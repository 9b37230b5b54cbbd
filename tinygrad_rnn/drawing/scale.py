"""Figures as colours.

The scale is logarithmic, because gradients through time shrink and grow by factors. Zero, NaN, infinity and a figure that is not there have
marks of their own, since they are no small or large numbers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from ..palette import CIVIDIS, ODD
from .boxes import HATCH, Legend

MARKS = dict(zip(("0", "NaN", "infinite", "no gradient"), (*ODD, HATCH), strict=True))
WIDEST = 1e12  # from the largest to the smallest number of a scale
NARROWEST = 0.3  # in decades
SHADES = 30  # of the legend

Number = float | None  # None where there is none


class Scale:
    """A logarithmic scale of colours, wide enough for some numbers."""

    def __init__(self, numbers: Iterable[Number]) -> None:
        every = list(numbers)
        found = [v for v in every if v is not None and math.isfinite(v) and v > 0]
        top = max(found, default=1.0)
        self.high = math.log10(top)
        self.low = min(math.log10(max(min(found, default=1.0), top / WIDEST)), self.high)
        if self.high - self.low < NARROWEST:
            self.low, self.high = self.low - NARROWEST / 2, self.high + NARROWEST / 2
        self._marks = {_mark(v) for v in every}

    def colour(self, v: Number) -> str:
        """Return the colour of a number; HATCH if there is none."""
        mark = _mark(v)
        if mark or v is None:
            return MARKS[mark]
        part = (math.log10(v) - self.low) / (self.high - self.low)
        part = min(max(part, 0.0), 1.0) * (len(CIVIDIS) - 1)
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
        """Return the scale, and the marks that occur."""
        colours = [
            self.colour(10 ** (self.low + (self.high - self.low) * (k + 0.5) / SHADES))
            for k in range(SHADES)
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
        marks = [(colour, mark) for mark, colour in MARKS.items() if mark in self._marks]
        return Legend(title, colours, ticks, marks)

    def cell(self, v: Number) -> tuple[str, str]:
        """Return the colour and the text of a number."""
        return self.colour(v), figure(v)

    def joint_cell(self, numbers: Sequence[Number]) -> tuple[str, str]:
        """Return the colour of the median of some numbers, and from least to most as a text.

        If some are not there or NaN, these are counted instead.
        """
        plain = [v for v in numbers if v is not None and not math.isnan(v)]
        if len(plain) < len(numbers) or not plain:
            odd = next((v for v in numbers if v is None or math.isnan(v)), None)
            return self.colour(odd), f"{len(numbers) - len(plain)} are {figure(odd)}"
        return self.colour(statistics.median(plain)), f"{figure(min(plain))} … {figure(max(plain))}"


def _mark(v: Number) -> str:
    """Return which of MARKS a number gets; empty if it has a place on the scale."""
    if v is None:
        return "no gradient"
    return "NaN" if math.isnan(v) else "infinite" if math.isinf(v) else "0" if v == 0 else ""


def together(norms: Iterable[Number]) -> Number:
    """Return the norm of several arrays from the norm of each; None if none is there."""
    found = [v for v in norms if v is not None]
    return math.hypot(*found) if found else None


def figure(v: Number) -> str:
    """Return a number as a text of few characters."""
    if v is None:
        return "none"
    return "NaN" if math.isnan(v) else "∞" if math.isinf(v) else "0" if v == 0 else f"{v:.2g}"
