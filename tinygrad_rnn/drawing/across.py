"""Where the boxes of a step stand across: near to their neighbours, lines as straight as can be.

Places are found by least squares with minimal distances (pool adjacent violators), row by row. Sums are exact ones (fsum), so places are the same with every version of Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .rows import SLIM, Key, Pass, Rows, Spot

APART = 13.0  # between boxes of a row
FAR = 1e9  # beyond all places


def places_across(rows: Rows) -> dict[Key, float]:
    """Return the middle of each spot; 0 is the middle of all boxes."""
    x: dict[Key, float] = {}
    for spots in rows.spots.values():
        _put(x, spots, [0.0] * len(spots), [1.0] * len(spots))
    for sweep in range(3 * rows.sweeps):
        upwards = sweep % 2 == 0
        for r in sorted(rows.spots, reverse=not upwards):
            spots = rows.spots[r]
            wish, weight = [], []
            for s in spots:
                seen = rows.near.get(s.key, [])
                if sweep < rows.sweeps // 2:
                    seen = [(n, w) for n, w in seen if (rows.level[n] < r) == upwards] or seen
                total = math.fsum(w for _, w in seen)
                wish.append(math.fsum(x[n] * w for n, w in seen) / total if total else x[s.key])
                weight.append((total or 0.1) * (1.0 if s.real else 3.0))
            _put(x, spots, wish, weight)
    _straighten_spots(rows, x)
    _straighten_lines(rows, x)
    real = [s for spots in rows.spots.values() for s in spots if s.real]
    low = min((x[s.key] - s.wide / 2 for s in real), default=0.0)
    high = max((x[s.key] + s.wide / 2 for s in real), default=0.0)
    middle = (low + high) / 2
    return {k: v - middle for k, v in x.items()}


def _put(
    x: dict[Key, float], spots: Sequence[Spot], wish: Sequence[float], weight: Sequence[float]
) -> None:
    """Put the spots of a row as near to their wishes as they can be."""
    found = _spread(wish, weight, [s.wide for s in spots])
    x.update(zip([s.key for s in spots], found, strict=True))


def _apart(a: float, b: float) -> float:
    """Return the distance between the middles of two neighbours of these widths."""
    return (a + b) / 2 + (APART if min(a, b) > SLIM else APART / 2)


def _spread(wish: Sequence[float], weight: Sequence[float], wide: Sequence[float]) -> list[float]:
    """Return places as near to the wishes as they can be without touching.

    They have the least sum of weighted squares of distances.
    """
    offset, offsets = 0.0, []
    for k, w in enumerate(wide):
        if k:
            offset += _apart(wide[k - 1], w)
        offsets.append(offset)
    blocks: list[list[float]] = []  # sum of weighted wishes, weight, members
    for x, w, o in zip(wish, weight, offsets, strict=True):
        blocks.append([(x - o) * w, w, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            a, b, c = blocks.pop()
            blocks[-1] = [blocks[-1][0] + a, blocks[-1][1] + b, blocks[-1][2] + c]
    places = [total / w for total, w, count in blocks for _ in range(int(count))]
    return [p + o for p, o in zip(places, offsets, strict=True)]


def _straighten_spots(rows: Rows, x: dict[Key, float]) -> None:
    """Move what has room to where most of its lines are upright."""
    for sweep in range(10):
        for r in sorted(rows.spots, reverse=sweep % 2 == 1):
            for k, s in enumerate(rows.spots[r]):
                low, high = _room(rows, x, r, k)
                seen = sorted(x[n] for n, w in rows.near.get(s.key, ()) for _ in range(round(w)))
                if seen and low < high:
                    half = len(seen) // 2
                    wish = seen[half] if len(seen) % 2 else (seen[half - 1] + seen[half]) / 2
                    x[s.key] = min(max(wish, low), high)


def _straighten_lines(rows: Rows, x: dict[Key, float]) -> None:
    """Make lines that pass several rows of long upright parts."""
    chains: dict[tuple[Key, bool], list[Pass]] = {}
    place: dict[Key, tuple[int, int]] = {}
    for r, spots in rows.spots.items():
        for k, s in enumerate(spots):
            place[s.key] = (r, k)
            if isinstance(s.key, Pass):
                chains.setdefault((s.key.entering, s.key.box), []).append(s.key)
    for chain in chains.values():
        chain.sort(key=lambda key: key.row)
        while chain:
            low, high, count = -FAR, FAR, 0
            for key in chain:
                a, b = _room(rows, x, *place[key])
                if max(low, a) > min(high, b):
                    break
                low, high, count = max(low, a), min(high, b), count + 1
            if count:
                part = chain[:count]
                ends = [
                    x[n]
                    for key in (part[0], part[-1])
                    for n, _ in rows.near.get(key, ())
                    if n not in part
                ]
                own = math.fsum(x[key] for key in part) / count
                wish = min(ends, key=lambda e: abs(e - own)) if ends else own
                x.update(dict.fromkeys(part, min(max(wish, low), high)))
            chain = chain[max(count, 1) :]


def _room(rows: Rows, x: dict[Key, float], r: int, k: int) -> tuple[float, float]:
    """Return from where to where a spot may be moved."""
    spots = rows.spots[r]
    low, high = -FAR, FAR
    if k > 0:
        low = max(low, x[spots[k - 1].key] + _apart(spots[k].wide, spots[k - 1].wide))
    if k + 1 < len(spots):
        high = min(high, x[spots[k + 1].key] - _apart(spots[k].wide, spots[k + 1].wide))
    return low, high
