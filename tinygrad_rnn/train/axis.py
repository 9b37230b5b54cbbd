"""Ranges, ticks and labels of a chart: the numbers and texts, before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["padded", "round_ticks", "short", "spread", "text_width", "tick_texts"]

_FONT = 13.0  # pixels
_GROUPED_FROM = 10_000  # thousands are set apart from here on: a year is 1959


def padded(low: float, high: float, fraction: float) -> tuple[float, float]:
    """Widen an interval by a fraction of its length.

    One of no length is widened by more, so that it can be divided by its length.
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.5 if low == 0 else abs(low) * 0.1
    else:
        margin = (high - low) * fraction
    return low - margin, high + margin


def round_ticks(low: float, high: float, wanted: int, whole: bool = False) -> list[float]:
    """Return at most `wanted` + 1 round numbers in an interval.

    They are 1, 2 or 5 times a power of ten apart, and `whole` numbers on an axis of years or counts.
    """
    rough = (high - low) / wanted
    if whole:
        rough = max(rough, 1.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step + 0.0 for i in range(first, last + 1)]


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Return ticks as text, with the decimals that their distance needs."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1.0
    largest = max(abs(t) for t in ticks)
    if largest >= 1e9 or step < 1e-5:
        digits = math.ceil(math.log10(largest / step) + 1e-9) + 1 if largest else 1
        return [_grouped(f"{t:.{digits}g}") for t in ticks]
    decimals = max(0, -math.floor(math.log10(step * (1 + 1e-9))))
    comma = "," if largest >= _GROUPED_FROM else ""
    return [_grouped(f"{t:{comma}.{decimals}f}") for t in ticks]


def _grouped(text: str) -> str:
    """Return a number as text with thin spaces in place of commas, and a true minus."""
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")


def short(value: float, whole: bool = False) -> str:
    """Return a value as it stands beside a label.

    It has two decimals, or three significant digits where they say more; on an axis of `whole`
    numbers a whole one has no decimals.
    """
    if 0.1 <= abs(value) < 1e6 or value == 0:
        comma = "," if abs(value) >= _GROUPED_FROM else ""
        return _grouped(f"{value:{comma}.{0 if whole and value.is_integer() else 2}f}")
    return _grouped(f"{value:.3g}")


def text_width(text: str) -> float:
    """Estimate the width of a text in pixels, rather too wide than too narrow.

    The widths are those of DejaVu Sans, the widest of the fonts that a reader is likely to have.
    """
    widths = dict.fromkeys(" .,", 0.32) | dict.fromkeys("ijl", 0.28) | dict.fromkeys("tf", 0.4)
    widths |= dict.fromkeys("r-", 0.42) | dict.fromkeys("mMW", 1.0) | {"w": 0.82}
    ems = sum(
        widths.get(c, 0.64 if c.islower() or c.isdigit() else 1.0 if ord(c) > 0x2E80 else 0.84)
        for c in text
    )
    return ems * _FONT


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions as little as possible so that neighbours are `gap` apart.

    They stay between `low` and `high` if they fit there. Positions that collide are joined to a
    block centred on their mean, until no blocks overlap.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, list[int]]] = []  # centre, members

    def centre(members: list[int]) -> float:
        half = gap * (len(members) - 1) / 2
        mean = sum(wanted[i] for i in members) / len(members)
        return max(min(mean, high - half), low + half)

    for i in order:
        members = [i]
        at = centre(members)
        while blocks and at - blocks[-1][0] < gap * (len(members) + len(blocks[-1][1])) / 2:
            members = blocks.pop()[1] + members
            at = centre(members)
        blocks.append((at, members))
    result = [0.0] * len(wanted)
    for at, members in blocks:
        for j, i in enumerate(members):
            result[i] = at + gap * (j - (len(members) - 1) / 2)
    return result
