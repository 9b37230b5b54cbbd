"""In which row of a step each box stands, and in which order.

K. Sugiyama, S. Tagawa and M. Toda, Methods for visual understanding of hierarchical system
structures, IEEE Trans. SMC 11 (1981): rows by longest paths, order by barycentres.

A line that passes a row does so straight, at a place of its own, and turns between rows only: so no
line can run behind a box.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import DrawingError

SLIM = 9.0  # room of a line that passes a row
SWEEPS = 24  # over the rows; of a large plan fewer, so that EFFORT bounds the work
# boxes and lines that are looked at for the order; plans in which neighbours are exchanged one by
# one
EFFORT, SMALL = 100_000, 150

Key = Any


class Item(NamedTuple):
    """A box as the plan of a step sees it.

    Attributes
    ----------
    wide, deep : float
        Its extent across, and in depth.
    low : bool
        It stands below the frame: an input of the step.
    late : bool
        It stands next to what reads it: a port or a leaf.
    left, right : bool
        A state arrives or leaves on this side, so it prefers the side.
    lift : int
        So many rows higher than it could stand.
    """

    wide: float
    deep: float
    low: bool
    late: bool
    left: bool
    right: bool
    lift: int = 0

    def joined(self, other: Item) -> Item:
        """Return the same box with the room that it needs here and in another step."""
        return self._replace(
            wide=max(self.wide, other.wide),
            deep=max(self.deep, other.deep),
            low=self.low or other.low,
            left=self.left or other.left,
            right=self.right or other.right,
        )

    @property
    def side(self) -> int:
        """The side that it prefers: -1 for left, 1 for right, 0 for none or both."""
        return self.right - self.left


class Pass(NamedTuple):
    """The place where the lines of one box pass a row.

    Attributes
    ----------
    box : Key
    row : int
    entering : bool
        They come in from below the step, to the box; otherwise they come from the box.
    """

    box: Key
    row: int
    entering: bool = False


class Spot(NamedTuple):
    """One thing in a row: a box, or the place where a line passes."""

    key: Key  # of a box, or a Pass
    wide: float

    @property
    def real(self) -> bool:
        """Whether it is a box."""
        return not isinstance(self.key, Pass)


class Rows:
    """The rows of a step, with few crossings between them.

    Parameters
    ----------
    items : mapping of key to Item
    edges : sequence of (key, key)
        The lines inside the step.
    ups, downs : iterable of keys
        The boxes from which a line leads out at the top, and to which one leads from below.

    Attributes
    ----------
    row : dict of key to int
        -1 is the row below the frame.
    first, last : int
        The lowest and the highest row.
    spots : dict of int to list of Spot
        What stands in each row, from the left. There is an empty row for lines below the first one
        and above the last one.
    near : dict of key to list of (key, float)
        The neighbours of each spot, and how straight the line to them should be.
    level : dict of key to int
        The row of each spot.
    sweeps : int
        How often the rows are gone through.

    Raises
    ------
    DrawingError
        If the edges form a circle.
    """

    def __init__(
        self,
        items: Mapping[Key, Item],
        edges: Sequence[tuple[Key, Key]],
        ups: Iterable[Key],
        downs: Iterable[Key],
    ) -> None:
        self.items, self.edges = items, edges
        self.row = self._rows()
        self.first = min(self.row.values(), default=0)
        self.last = max(self.row.values(), default=0)
        self.near: dict[Key, list[tuple[Key, float]]] = {}
        self.spots: dict[int, list[Spot]] = {r: [] for r in range(self.first - 1, self.last + 2)}
        for k, item in items.items():
            self.spots[self.row[k]].append(Spot(k, item.wide))
        self._add_passes(ups, downs)
        self.level = {s.key: r for r, spots in self.spots.items() for s in spots}
        self.sweeps = max(2, min(SWEEPS, EFFORT // max(len(self.level), 1)))
        self._arrange()

    def _rows(self) -> dict[Key, int]:
        """Return the row of each box, by longest paths from below.

        What only serves another box stands right below it.
        """
        items = self.items
        before: dict[Key, list[Key]] = {k: [] for k in items}
        after: dict[Key, list[Key]] = {k: [] for k in items}
        for a, b in self.edges:
            before[b].append(a)
            after[a].append(b)
        waiting = {k: len(before[k]) for k in items}
        order = [k for k in items if not waiting[k]]
        for k in order:  # it grows meanwhile
            for h in after[k]:
                waiting[h] -= 1
                if not waiting[h]:
                    order.append(h)
        if len(order) < len(items):
            raise DrawingError("draw: operations of one step lead back to each other in a circle")
        row: dict[Key, int] = {}
        for k in order:
            below = [row[p] + 1 for p in before[k] if not items[p].low]
            row[k] = -1 if items[k].low else max(below, default=0) + items[k].lift
        for k in reversed(order):
            if items[k].late and not items[k].low and after[k]:
                row[k] = min(row[h] for h in after[k]) - 1
        lowest = min((r for k, r in row.items() if not items[k].low), default=0)
        return {k: r if items[k].low else r - lowest for k, r in row.items()}

    def _add_passes(self, ups: Iterable[Key], downs: Iterable[Key]) -> None:
        """Add to the rows the places where lines pass, and find the neighbours of each spot."""
        linked: set[tuple[Key, Key]] = set()
        made: set[Pass] = set()

        def link(a: Key, b: Key, weight: float) -> None:
            if (a, b) not in linked:
                linked.add((a, b))
                self.near.setdefault(a, []).append((b, weight))
                self.near.setdefault(b, []).append((a, weight))

        def through(box: Key, rows: range, entering: bool = False) -> Key:
            """Lead a line from a box through these rows; return the last spot."""
            last = box
            for r in rows:
                key = Pass(box, r, entering)
                if key not in made:
                    made.add(key)
                    self.spots[r].append(Spot(key, SLIM))
                link(last, key, 8.0 if last != box else 2.0)
                last = key
            return last

        row = self.row
        for a, b in self.edges:
            link(through(a, range(row[a] + 1, row[b])), b, 1.0)
        for k in ups:
            through(k, range(row[k] + 1, self.last + 2))
        for k in downs:
            through(k, range(row[k] - 1, self.first - 2, -1), entering=True)

    # --- the order in the rows --------------------------------------------------------------------

    def _side(self, s: Spot) -> int:
        return self.items[s.key].side if s.real else 0

    def _crossings(self) -> int:
        """Return how many pairs of lines cross between rows."""
        place = {s.key: k for spots in self.spots.values() for k, s in enumerate(spots)}
        total = 0
        for r, spots in self.spots.items():
            ends = sorted(
                (place[s.key], place[n])
                for s in spots
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
        """Put each row in the order with the fewest crossings that sweeping finds."""
        for spots in self.spots.values():
            spots.sort(key=self._side)
        best, fewest = {r: list(s) for r, s in self.spots.items()}, self._crossings()
        for sweep in range(self.sweeps):
            self._sweep(upwards=sweep % 2 == 0, strict=sweep < self.sweeps - 6)
            crossed = self._crossings()
            if crossed < fewest:
                best, fewest = {r: list(s) for r, s in self.spots.items()}, crossed
            if not fewest:
                break
        self.spots = best
        if fewest and len(self.level) < SMALL:
            self._exchange(fewest)

    def _sweep(self, *, upwards: bool, strict: bool) -> None:
        """Order each row by the places of the neighbours in the row before it.

        If it is strict, what prefers a side stands there; otherwise it only stands on that side of
        the other boxes.
        """
        place = {
            s.key: k + 0.5 - len(spots) / 2
            for spots in self.spots.values()
            for k, s in enumerate(spots)
        }
        for r in sorted(self.spots, reverse=not upwards):
            spots = self.spots[r]
            wish = {}
            for s in spots:
                seen = [
                    (place[n], w)
                    for n, w in self.near.get(s.key, ())
                    if (self.level[n] < r) == upwards
                ] or [(place[s.key], 1.0)]
                wish[s.key] = math.fsum(p * w for p, w in seen) / math.fsum(w for _, w in seen)
            spots.sort(key=lambda s: (self._side(s) if strict else 0, wish[s.key]))
            if not strict:
                self._keep_sides(spots)
            for k, s in enumerate(spots):
                place[s.key] = k + 0.5 - len(spots) / 2

    def _keep_sides(self, spots: list[Spot]) -> None:
        """Put the boxes in the order of their sides, and leave passing lines where they are."""
        real = iter(sorted((s for s in spots if s.real), key=self._side))
        spots[:] = [next(real) if s.real else s for s in spots]

    def _exchange(self, fewest: int) -> None:
        """Exchange neighbours in rows as long as that saves crossings."""
        for _ in range(4):
            before = fewest
            for spots in self.spots.values():
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
