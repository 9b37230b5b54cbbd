"""Where the boxes of one step stand.

Rows, the order within a row, and places, for the union of all steps of a cell.

K. Sugiyama, S. Tagawa and M. Toda, Methods for visual understanding of hierarchical system
structures, IEEE Trans. SMC 11 (1981): rows by longest paths, order by barycentres, and here places
by least squares with minimal distances (pool adjacent violators). The steps of a sequence are
alike, so one plan serves all of them, and the work does not grow with their number.

Depth grows from what is given to what is computed, in rows; across is the other axis. A line that
passes a row does so straight, at a place of its own, and turns between rows only: so no line can
run behind a box.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

FOOT = 27.0  # below the lowest row of a frame: lines that come in from the side, and the label
APART, SLIM = 13.0, 9.0  # between boxes of a row; room of a line that passes a row
SWEEPS = 24  # over the rows; of a large plan fewer, so that EFFORT bounds the work
# boxes and lines that are looked at for the order; plans in which neighbours are exchanged one by
# one
EFFORT, SMALL = 100_000, 150

Key = Any
Point = tuple[float, float]


class Item(NamedTuple):
    """A box as the plan sees it."""

    wide: float  # its extent across
    deep: float
    low: bool  # it stands below the frame: an input of the step
    late: bool  # it stands next to what reads it: ports and leaves
    left: bool  # a state arrives from the left, so it prefers that side
    right: bool


class Spot(NamedTuple):
    """One thing in a row: a box, or the place where a line passes."""

    # of a box; for a passing line a tuple ("pass", tail, row), shared by all lines of one tail
    key: Key
    wide: float
    real: bool


class CellPlan:
    """Places for boxes, relative to the middle of the cell and the lowest row.

    Attributes
    ----------
    row : dict of key to int
        -1 is the row below the frame.
    at : dict of key to (across, depth)
        The middle of each box.
    left, right : float
        Extent across.
    base, top, floor : float
        Depth of the lowest edge of all boxes, of the highest, and of the lowest edge inside the
        frame.
    """

    def __init__(
        self,
        items: dict[Key, Item],
        edges: Iterable[tuple[Key, Key]],
        ups: Iterable[Key],
        downs: Iterable[Key],
        gap: float,
    ) -> None:
        self.items, self.gap = items, gap
        self.edges = [e for e in dict.fromkeys(edges) if e[0] in items and e[1] in items]
        self.ups, self.downs = dict.fromkeys(ups), dict.fromkeys(downs)
        self.before: dict[Key, list[Key]] = {k: [] for k in items}
        self.after: dict[Key, list[Key]] = {k: [] for k in items}
        for a, b in self.edges:
            self.before[b].append(a)
            self.after[a].append(b)
        self._rows()
        self._passing()
        self._arrange()
        self._depths()

    def _rows(self) -> None:
        """Longest paths from below; what only serves something stands right below it."""
        waiting = {k: len(self.before[k]) for k in self.items}
        ready = [k for k in self.items if not waiting[k]]
        order: list[Key] = []
        for k in ready:
            order.append(k)
            for h in self.after[k]:
                waiting[h] -= 1
                if not waiting[h]:
                    ready.append(h)
        if len(order) < len(self.items):
            raise ValueError("a circle")
        row: dict[Key, int] = {}
        for k in order:
            below = [row[p] + 1 for p in self.before[k] if not self.items[p].low]
            row[k] = -1 if self.items[k].low else max(below, default=0)
        for k in reversed(order):
            if self.items[k].late and not self.items[k].low and self.after[k]:
                row[k] = min(row[h] for h in self.after[k]) - 1
        if any(r < -1 for r in row.values()):
            row = {k: -1 if self.items[k].low else r + 1 for k, r in row.items()}
        lowest = min((r for k, r in row.items() if not self.items[k].low), default=0)
        if lowest > 0 or lowest < 0:
            row = {k: r if self.items[k].low else r - lowest for k, r in row.items()}
        self.row = row
        self.first = min(row.values(), default=0)
        self.last = max(row.values(), default=0)

    def _passing(self) -> None:
        """Add to the rows what passes them.

        Lines to the next rows, up out of the cell, and in from below.
        """
        self.rows: dict[int, list[Spot]] = {r: [] for r in range(self.first - 1, self.last + 2)}
        for k, item in self.items.items():
            self.rows[self.row[k]].append(Spot(k, item.wide, True))
        self.near: dict[Key, list[tuple[Key, float]]] = {}
        seen: set[Any] = set()

        def link(a: Key, b: Key, weight: float) -> None:
            if (a, b) not in seen:
                seen.add((a, b))
                self.near.setdefault(a, []).append((b, weight))
                self.near.setdefault(b, []).append((a, weight))

        def through(tail: Key, start: int, stop: int) -> Key:
            last = tail
            for r in range(start, stop):
                key = ("pass", tail, r)
                if key not in seen:
                    seen.add(key)
                    self.rows[r].append(Spot(key, SLIM, False))
                link(last, key, 8.0 if last != tail else 2.0)
                last = key
            return last

        for a, b in self.edges:
            link(through(a, self.row[a] + 1, self.row[b]), b, 1.0)
        for k in self.ups:
            through(k, self.row[k] + 1, self.last + 2)
        for k in self.downs:
            last = k
            for r in range(self.row[k] - 1, self.first - 2, -1):
                key = ("in", k, r)
                if key not in seen:
                    seen.add(key)
                    self.rows[r].append(Spot(key, SLIM, False))
                link(last, key, 8.0 if last != k else 2.0)
                last = key
        self.level = {s.key: r for r, spots in self.rows.items() for s in spots}

    def _side(self, s: Spot) -> int:
        if not s.real:
            return 0
        item = self.items[s.key]
        return -1 if item.left and not item.right else 1 if item.right and not item.left else 0

    def _crossings(self) -> int:
        """How many pairs of lines cross between rows."""
        place = {s.key: k for spots in self.rows.values() for k, s in enumerate(spots)}
        total = 0
        for r in self.rows:
            ends = sorted(
                (place[s.key], place[n])
                for s in self.rows[r]
                for n, _ in self.near.get(s.key, ())
                if self.level[n] == r + 1
            )
            # heads so far, in order: those behind a new one belong to lines that cross its line
            seen: list[int] = []
            for _, head in ends:
                at = bisect.bisect_right(seen, head)
                total += len(seen) - at
                seen.insert(at, head)
        return total

    def _arrange(self) -> None:
        """The order in each row with fewest crossings that sweeping finds, then places."""
        order = sorted(self.rows)
        for r in order:
            self.rows[r].sort(key=self._side)
        self.sweeps = max(2, min(SWEEPS, EFFORT // max(len(self.level), 1)))
        best, fewest = {r: list(s) for r, s in self.rows.items()}, self._crossings()
        for sweep in range(self.sweeps):
            place = {
                s.key: k + 0.5 - len(spots) / 2
                for spots in self.rows.values()
                for k, s in enumerate(spots)
            }
            up = sweep % 2 == 0
            for r in order if up else reversed(order):
                wish = {}
                for s in self.rows[r]:
                    seen = [
                        (place[n], w)
                        for n, w in self.near.get(s.key, ())
                        if (self.level[n] < r) == up
                    ] or [(place[s.key], 1.0)]
                    wish[s.key] = sum(p * w for p, w in seen) / sum(w for _, w in seen)
                half = sweep < self.sweeps - 6
                self.rows[r].sort(key=lambda s: (self._side(s) if half else 0, wish[s.key]))
                if not half:
                    self._keep_sides(self.rows[r])
                for k, s in enumerate(self.rows[r]):
                    place[s.key] = k + 0.5 - len(self.rows[r]) / 2
            crossed = self._crossings()
            if crossed < fewest:
                best, fewest = {r: list(s) for r, s in self.rows.items()}, crossed
            if not fewest:
                break
        self.rows = best
        if fewest and len(self.level) < SMALL:
            self._exchange(fewest)
        self._places()

    def _keep_sides(self, spots: list[Spot]) -> None:
        """What receives states to the left of other boxes, what gives them to the right.

        Passing lines where they are.
        """
        real = sorted((s for s in spots if s.real), key=self._side)
        k = 0
        for i, s in enumerate(spots):
            if s.real:
                spots[i] = real[k]
                k += 1

    def _exchange(self, fewest: int) -> None:
        """Exchange neighbours in rows as long as that saves crossings."""
        for _ in range(4):
            before = fewest
            for spots in self.rows.values():
                for k in range(len(spots) - 1):
                    if (
                        self._side(spots[k]) < self._side(spots[k + 1])
                        and spots[k].real
                        and spots[k + 1].real
                    ):
                        continue
                    spots[k], spots[k + 1] = spots[k + 1], spots[k]
                    crossed = self._crossings()
                    if crossed < fewest:
                        fewest = crossed
                    else:
                        spots[k], spots[k + 1] = spots[k + 1], spots[k]
            if fewest == before:
                break

    def _places(self) -> None:
        """Near to the neighbours.

        Rows are moved one after the other, weighted by how straight a line should be.
        """
        x: dict[Key, float] = {}
        for spots in self.rows.values():
            x.update(
                zip(
                    [s.key for s in spots],
                    spread([0.0] * len(spots), [1.0] * len(spots), [s.wide for s in spots]),
                    strict=True,
                )
            )
        order = sorted(self.rows)
        for sweep in range(3 * self.sweeps):
            for r in order if sweep % 2 == 0 else reversed(order):
                spots = self.rows[r]
                wish, weight = [], []
                for s in spots:
                    seen = self.near.get(s.key, ())
                    if sweep < self.sweeps // 2:
                        seen = [
                            (n, w) for n, w in seen if (self.level[n] < r) == (sweep % 2 == 0)
                        ] or seen
                    total = sum(w for _, w in seen)
                    wish.append(sum(x[n] * w for n, w in seen) / total if total else x[s.key])
                    weight.append((total or 0.1) * (1.0 if s.real else 3.0))
                x.update(
                    zip(
                        [s.key for s in spots],
                        spread(wish, weight, [s.wide for s in spots]),
                        strict=True,
                    )
                )
        self._straighten(x)
        lows = [x[s.key] - s.wide / 2 for spots in self.rows.values() for s in spots if s.real]
        highs = [x[s.key] + s.wide / 2 for spots in self.rows.values() for s in spots if s.real]
        middle = (min(lows, default=0.0) + max(highs, default=0.0)) / 2
        self.x = {k: v - middle for k, v in x.items()}
        ends = [
            (self.x[s.key] - s.wide / 2, self.x[s.key] + s.wide / 2)
            for spots in self.rows.values()
            for s in spots
        ]
        self.left, self.right = (
            min((a for a, _ in ends), default=0.0),
            max((b for _, b in ends), default=0.0),
        )

    def _straighten(self, x: dict[Key, float]) -> None:
        """Move what has room to where most of its lines are upright.

        Then lines that pass several rows are made of long upright parts.
        """
        for sweep in range(10):
            for r in sorted(self.rows, reverse=sweep % 2 == 1):
                for k, s in enumerate(self.rows[r]):
                    low, high = self._room(x, r, k)
                    seen = sorted(
                        x[n] for n, w in self.near.get(s.key, ()) for _ in range(round(w))
                    )
                    if seen and low < high:
                        wish = (
                            seen[len(seen) // 2]
                            if len(seen) % 2
                            else (seen[len(seen) // 2 - 1] + seen[len(seen) // 2]) / 2
                        )
                        x[s.key] = min(max(wish, low), high)
        place = {s.key: (r, k) for r, spots in self.rows.items() for k, s in enumerate(spots)}
        chains: dict[Key, list[Key]] = {}
        for key in place:
            if (
                isinstance(key, tuple)
                and len(key) == 3
                and key[0] in ("pass", "in")
                and key not in self.items
            ):
                chains.setdefault(key[:2], []).append(key)
        for chain in chains.values():
            chain.sort(key=lambda key: self.level[key])
            while chain:
                low, high, count = -1e9, 1e9, 0
                for key in chain:
                    a, b = self._room(x, *place[key])
                    if max(low, a) > min(high, b):
                        break
                    low, high, count = max(low, a), min(high, b), count + 1
                if count:
                    ends = [
                        x[n]
                        for key in (chain[0], chain[count - 1])
                        for n, _ in self.near.get(key, ())
                        if n not in chain[:count]
                    ]
                    own = sum(x[key] for key in chain[:count]) / count
                    wish = min(ends, key=lambda e: abs(e - own)) if ends else own
                    x.update(dict.fromkeys(chain[:count], min(max(wish, low), high)))
                chain = chain[max(count, 1) :]

    def _room(self, x: dict[Key, float], r: int, k: int) -> tuple[float, float]:
        """From where to where a spot may be moved."""
        spots = self.rows[r]
        low, high = -1e9, 1e9
        for other, sign in ((k - 1, -1), (k + 1, 1)):
            if 0 <= other < len(spots):
                apart = APART if min(spots[k].wide, spots[other].wide) > SLIM else APART / 2
                edge = x[spots[other].key] - sign * (
                    (spots[k].wide + spots[other].wide) / 2 + apart
                )
                low, high = (max(low, edge), high) if sign < 0 else (low, min(high, edge))
        return low, high

    def _depths(self) -> None:
        """The depth of the rows, and the places of the lines at the boxes."""
        self.middle: dict[int, float] = {}
        self.reach: dict[int, float] = {}  # half the depth of a row
        depth = 0.0
        for r in range(self.first, self.last + 1):
            deep = max((self.items[s.key].deep for s in self.rows[r] if s.real), default=0.0)
            depth += self.gap * (r > self.first) + (
                FOOT - self.gap + 12.0 if r == 0 and self.first < 0 else 0.0
            )
            self.reach[r] = deep / 2
            self.middle[r] = depth + deep / 2
            depth += deep
        self.base, self.top = 0.0, depth
        inner = min((r for r in range(self.first, self.last + 1) if r >= 0), default=self.first)
        self.floor = self.middle.get(inner, 0.0) - self.reach.get(inner, 0.0)
        self.at = {k: (self.x[k], self.middle[self.row[k]]) for k in self.items}
        self._hold()

    def _hold(self) -> None:
        """Where on a box its lines begin and end: side by side, in the order of where they lead."""
        outs: dict[Key, list[Key]] = {k: [] for k in self.items}
        ins: dict[Key, list[Key]] = {k: [] for k in self.items}
        for a, b in self.edges:
            first = ("pass", a, self.row[a] + 1) if self.row[b] > self.row[a] + 1 else b
            if first not in outs[a]:
                outs[a].append(first)
            last = ("pass", a, self.row[b] - 1) if self.row[b] > self.row[a] + 1 else a
            if last not in ins[b]:
                ins[b].append(last)
        for k in self.ups:
            first = ("pass", k, self.row[k] + 1)
            if first not in outs[k]:
                outs[k].append(first)
        for k in self.downs:
            ins[k].append(("in", k, self.row[k] - 1))
        self.hold: dict[tuple[Key, Key], float] = {}
        for k, item in self.items.items():
            for found in (outs[k], ins[k]):
                found.sort(key=lambda n: self.x[n])
                room = min(10.0, item.wide * 0.7 / max(len(found) - 1, 1))
                for j, n in enumerate(found):
                    self.hold[k, n] = self.x[k] + (j - (len(found) - 1) / 2) * room

    # --- lines ----------------------------------------------------------------------------------------------------------------

    def line(self, tail: Key, head: Key) -> list[Point]:
        """From the upper edge of a box to the lower edge of another."""
        a, b = self.row[tail], self.row[head]
        passes = [("pass", tail, r) for r in range(a + 1, b)]
        return self._through(tail, passes, head)

    def up(self, tail: Key) -> list[Point]:
        """From the upper edge of a box to the top of the cell."""
        return self._through(
            tail, [("pass", tail, r) for r in range(self.row[tail] + 1, self.last + 2)], None
        )

    def down(self, head: Key) -> list[Point]:
        """From below the cell to the lower edge of a box."""
        return self._through(
            None, [("in", head, r) for r in range(self.first - 1, self.row[head])], head
        )

    def _through(self, tail: Key, passes: Sequence[Key], head: Key) -> list[Point]:
        """Points.

        Where a line leaves a box, enters and leaves each row that it passes, and arrives.
        """
        points: list[Point] = []
        if tail is not None:
            x, y = self.at[tail]
            points.append(
                (self.hold[tail, passes[0] if passes else head], y + self.items[tail].deep / 2)
            )
            if self.items[tail].deep / 2 < self.reach[self.row[tail]]:
                points.append((points[0][0], y + self.reach[self.row[tail]]))
        for key in passes:
            r = self.level[key]
            if r in self.middle:
                points += [
                    (self.x[key], self.middle[r] - self.reach[r]),
                    (self.x[key], self.middle[r] + self.reach[r]),
                ]
            else:  # above or below all rows
                points.append((self.x[key], self.top if r > self.last else self.base))
        if head is not None:
            x, y = self.at[head]
            x = self.hold[head, passes[-1] if passes else tail]
            if self.items[head].deep / 2 < self.reach[self.row[head]]:
                points.append((x, y - self.reach[self.row[head]]))
            points.append((x, y - self.items[head].deep / 2))
        return points

    def entering(self) -> list[tuple[float, float]]:
        """From where to where lines turn below the lowest row of the frame."""
        found = []
        for a, b in self.edges:
            if self.items[a].low and not self.items[b].low:
                xs = [x for x, _ in self.line(a, b)[:3]]
                found.append((min(xs), max(xs)))
        for k in self.downs:
            if not self.items[k].low:
                xs = [x for x, d in self.down(k) if d <= self.floor]
                found.append((min(xs), max(xs)))
        return found

    def beside(self, key: Key, side: int) -> bool:
        """Whether there is no box between a box and the edge of the cell."""
        return not any(
            s.real and s.key != key and (self.x[s.key] - self.x[key]) * side > 0
            for s in self.rows[self.row[key]]
        )

    def between(self, key: Key, side: int) -> float:
        """The depth of the room between the row of a box and the one above (1) or below it (-1)."""
        r = self.row[key]
        if side < 0 and r == 0:
            return self.floor - 7.0
        return self.middle[r] + side * (self.reach[r] + self.gap / 2)


def spread(wish: Sequence[float], weight: Sequence[float], wide: Sequence[float]) -> list[float]:
    """Places as near to the wishes as they can be without touching: weighted least squares."""
    offset, offsets = 0.0, []
    for k, w in enumerate(wide):
        if k:
            offset += (wide[k - 1] + w) / 2 + (APART if min(w, wide[k - 1]) > SLIM else APART / 2)
        offsets.append(offset)
    blocks: list[list[float]] = []  # sum of weighted wishes, weight, members
    for x, w, o in zip(wish, weight, offsets, strict=True):
        blocks.append([(x - o) * w, w, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            a, b, c = blocks.pop()
            blocks[-1] = [blocks[-1][0] + a, blocks[-1][1] + b, blocks[-1][2] + c]
    places = [total / w for total, w, count in blocks for _ in range(int(count))]
    return [p + o for p, o in zip(places, offsets, strict=True)]


def smooth(points: Sequence[Point]) -> list[Point]:
    """A path of cubic curves through points of rising depth, upright at each."""
    path = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        if (x0, y0) == (x1, y1):
            continue
        path += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
    return path
