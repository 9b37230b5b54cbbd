"""Where the boxes of one step stand, and its lines, for the union of all steps of a lane.

The steps of a sequence are alike, so one plan serves all of them, and the work does not grow with
their number. Depth grows from what is given to what is computed, in rows (`rows`); across is the
other axis (`across`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .across import places_across
from .rows import Item, Key, Pass, Rows

FOOT = 27.0  # below the lowest row of a frame: lines that come in from the side, and the label

Point = tuple[float, float]


class StepPlan:
    """Places for boxes, relative to the middle of the slot and the lowest row.

    Parameters
    ----------
    items : dict of key to Item
    edges : iterable of (key, key)
        The lines inside the step.
    ups, downs : iterable of keys
        The boxes from which a line leads out at the top, and to which one leads from below.
    gap : float
        Between rows.

    Attributes
    ----------
    row : dict of key to int
        -1 is the row below the frame.
    first, last : int
        The lowest and the highest row.
    at : dict of key to (across, depth)
        The middle of each box.
    left, right : float
        Extent across.
    top, floor : float
        Depth of the highest edge of all boxes, and of the lowest edge inside the frame. The lowest
        edge of all is at 0.

    Raises
    ------
    DrawingError
        If the edges form a circle.
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
        rows = Rows(items, self.edges, self.ups, self.downs)
        self.spots, self.row = rows.spots, rows.row
        self.first, self.last = rows.first, rows.last
        self.x = places_across(rows)
        every = [s for spots in self.spots.values() for s in spots]
        self.left = min((self.x[s.key] - s.wide / 2 for s in every), default=0.0)
        self.right = max((self.x[s.key] + s.wide / 2 for s in every), default=0.0)
        self._find_depths()
        self.at = {k: (self.x[k], self.middle[self.row[k]]) for k in items}
        self._find_holds()

    def _find_depths(self) -> None:
        """Find the depth of the rows."""
        self.middle: dict[int, float] = {}
        self.reach: dict[int, float] = {}  # half the depth of a row
        depth = 0.0
        for r in range(self.first, self.last + 1):
            deep = max((self.items[s.key].deep for s in self.spots[r] if s.real), default=0.0)
            depth += self.gap * (r > self.first) + (
                FOOT - self.gap + 12.0 if r == 0 and self.first < 0 else 0.0
            )
            self.reach[r] = deep / 2
            self.middle[r] = depth + deep / 2
            depth += deep
        self.top = depth
        inner = min((r for r in range(self.first, self.last + 1) if r >= 0), default=self.first)
        self.floor = self.middle.get(inner, 0.0) - self.reach.get(inner, 0.0)

    def _find_holds(self) -> None:
        """Find where on a box its lines begin and end.

        They stand side by side, in the order of where they lead.
        """
        outs: dict[Key, list[Key]] = {k: [] for k in self.items}
        ins: dict[Key, list[Key]] = {k: [] for k in self.items}
        for a, b in self.edges:
            spots = [a, *self._passes(a, b), b]
            if spots[1] not in outs[a]:
                outs[a].append(spots[1])
            if spots[-2] not in ins[b]:
                ins[b].append(spots[-2])
        for k in self.ups:
            first = Pass(k, self.row[k] + 1)
            if first not in outs[k]:
                outs[k].append(first)
        for k in self.downs:
            ins[k].append(Pass(k, self.row[k] - 1, entering=True))
        self.hold: dict[tuple[Key, Key], float] = {}
        for k, item in self.items.items():
            for found in (outs[k], ins[k]):
                found.sort(key=lambda n: self.x[n])
                room = min(10.0, item.wide * 0.7 / max(len(found) - 1, 1))
                for j, n in enumerate(found):
                    self.hold[k, n] = self.x[k] + (j - (len(found) - 1) / 2) * room

    # --- lines ------------------------------------------------------------------------------------

    def _passes(self, tail: Key, head: Key) -> list[Pass]:
        """Return where a line inside the step passes rows."""
        return [Pass(tail, r) for r in range(self.row[tail] + 1, self.row[head])]

    def line(self, tail: Key, head: Key) -> list[Point]:
        """Return the line from the upper edge of a box to the lower edge of another."""
        return self._through(tail, self._passes(tail, head), head)

    def up(self, tail: Key) -> list[Point]:
        """Return the line from the upper edge of a box to the top of the slot."""
        passes = [Pass(tail, r) for r in range(self.row[tail] + 1, self.last + 2)]
        return self._through(tail, passes, None)

    def down(self, head: Key) -> list[Point]:
        """Return the line from below the slot to the lower edge of a box."""
        passes = [Pass(head, r, entering=True) for r in range(self.first - 1, self.row[head])]
        return self._through(None, passes, head)

    def _through(self, tail: Key, passes: Sequence[Pass], head: Key) -> list[Point]:
        """Return where a line leaves a box, enters and leaves each row on its way, and arrives."""
        points: list[Point] = []
        if tail is not None:
            y = self.at[tail][1]
            x = self.hold[tail, passes[0] if passes else head]
            points.append((x, y + self.items[tail].deep / 2))
            if self.items[tail].deep / 2 < self.reach[self.row[tail]]:
                points.append((x, y + self.reach[self.row[tail]]))
        for key in passes:
            r = key.row
            if r in self.middle:
                points += [
                    (self.x[key], self.middle[r] - self.reach[r]),
                    (self.x[key], self.middle[r] + self.reach[r]),
                ]
            else:  # above or below all rows
                points.append((self.x[key], self.top if r > self.last else 0.0))
        if head is not None:
            y = self.at[head][1]
            x = self.hold[head, passes[-1] if passes else tail]
            if self.items[head].deep / 2 < self.reach[self.row[head]]:
                points.append((x, y - self.reach[self.row[head]]))
            points.append((x, y - self.items[head].deep / 2))
        return points

    def entering(self) -> list[tuple[float, float]]:
        """Return from where to where lines turn below the lowest row of the frame."""
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
        """Whether there is no box between a box and the edge of the slot."""
        return not any(
            s.real and s.key != key and (self.x[s.key] - self.x[key]) * side > 0
            for s in self.spots[self.row[key]]
        )

    def between(self, key: Key, way: int) -> float:
        """Return the depth of the room above (1) or below (-1) the row of a box."""
        r = self.row[key]
        if way < 0 and r == 0:
            return self.floor - 7.0
        if way > 0 and r == self.last:  # the frame has its edge there
            return self.top + 5.0
        return self.middle[r] + way * (self.reach[r] + self.gap / 2)
