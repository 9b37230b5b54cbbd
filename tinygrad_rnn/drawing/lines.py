"""Which of the lines of a channel or a gap each arrow takes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .plans import Plans, Routes
from .routes import Key, Side

Intervals = dict[int, dict[Key, list[float]]]


class Lines:
    """The lines that run between the slots.

    Attributes
    ----------
    upright : dict of int to dict of Key to int
        For each channel, the line that each key has there, counted from the left.
    level : dict of int to dict of Key to int
        For each gap, the same, counted from below.
    """

    def __init__(self, routes: Routes, plans: Plans) -> None:
        upright: Intervals = {}
        level: Intervals = {}
        slot_of = plans.grid.slot_of
        for a, r in routes.items():
            tail, head = plans.level(a.tail), plans.level(a.head)
            (band, column), (above, other) = slot_of[a.tail], slot_of[a.head]
            if r.out is Side.ABOVE:
                if r.start is None:
                    if r.gap is not None:
                        _use(level, r.gap, r.key, column, other)
                else:
                    _use(level, band, r.key, column, r.start - 0.5)
                    _use(upright, r.start, r.key, band + 0.95, above - 0.05)
                    _use(level, above - 1, r.key, r.start - 0.5, other)
            elif r.gap is None:
                assert r.start is not None
                _use(upright, r.start, r.key, tail, head)
            else:
                assert r.start is not None and r.stop is not None
                _use(upright, r.start, r.key, tail, r.gap + 0.95)
                _use(level, r.gap, r.key, r.start - 0.5, r.stop - 0.5)
                _use(upright, r.stop, r.key, r.gap + 0.95, head)
        self.upright = {k: _packed(found) for k, found in upright.items()}
        self.level = {k: _packed(found) for k, found in level.items()}

    def columns(self, channel: int) -> int:
        """Return the number of lines of a channel."""
        return _count(self.upright, channel)

    def rows(self, gap: int) -> int:
        """Return the number of lines of a gap."""
        return _count(self.level, gap)


def _count(lines: Mapping[int, Mapping[Key, int]], k: int) -> int:
    return max(lines[k].values()) + 1 if k in lines else 0


def _use(where: Intervals, k: int, key: Key, *ends: float) -> None:
    """Note that a line runs from the smallest of the ends to the largest."""
    found = where.setdefault(k, {}).setdefault(key, [math.inf, -math.inf])
    found[0], found[1] = min(found[0], *ends), max(found[1], *ends)


def _packed(found: Mapping[Key, list[float]]) -> dict[Key, int]:
    """Return a line for each key, so that keys whose intervals overlap are on different lines."""
    ends: list[float] = []
    lines: dict[Key, int] = {}
    for key, (low, high) in sorted(
        found.items(), key=lambda item: (item[1][0], item[1][1] - item[1][0])
    ):
        k = next((k for k, end in enumerate(ends) if end < low), len(ends))
        if k == len(ends):
            ends.append(high)
        ends[k] = high
        lines[key] = k
    return lines
