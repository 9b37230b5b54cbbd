"""Where everything stands: the coordinates of bands, columns, channels, gaps and boxes.

All lengths are in points. The code speaks of u, along time, and d, the depth, which grows upwards
on the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .boxes import HEIGHT, Arrow, Box, Role, Sketch
from .grid import Grid, Slot
from .lines import Lines
from .plans import Plans
from .routes import Side, routes_of
from .stepplan import FOOT, Point

MARGIN = 11.0  # between a frame and its boxes
BETWEEN, LINE = 11.0, 6.0  # beside the lines of a channel; from line to line


class Places:
    """The places of a sketch.

    Attributes
    ----------
    grid : Grid
    routes : dict of Arrow to Route
    plans : Plans
    at : dict of Box to (float, float)
        The middle of each box, as (u, d).
    middle : list of float
        u of the middle of each column.
    base, floor, tall : list of float
        For each band: d of its lowest row, and above that the lower edge of its frames and the
        upper edge of its boxes.
    """

    def __init__(self, sketch: Sketch, turned: bool) -> None:
        self.turned = turned
        self.grid = Grid(sketch, turned)
        self.routes = routes_of(self.grid)
        self.plans = Plans(self.grid, self.routes)
        self.lines = Lines(self.routes, self.plans)
        self._find_columns()
        self._find_bands()
        self.at: dict[Box, Point] = {}
        for slot, found in self.grid.slots.items():
            plan = self.plans.plan[slot]
            for b in found:
                if not b.run:
                    (self.at[b],) = self.moved(slot, [plan.at[self.plans.key[b]]])
        self._place_gaps()
        self._place_first_states()
        self._place_rail()

    def foot(self, slot: Slot) -> float:
        """Return d of the lower edge of all boxes of a slot: frames side by side are level."""
        return self.base[slot[0]] + self.floor[slot[0]] - self.plans.plan[slot].floor

    def moved(self, slot: Slot, points: Sequence[Point]) -> list[Point]:
        """Move points of the plan of a slot to where the slot is."""
        u, d = self.middle[slot[1]], self.foot(slot)
        return [(x + u, y + d) for x, y in points]

    # --- bands, columns, and the room between them ------------------------------------------------

    def _find_columns(self) -> None:
        """Find the columns, and the channels between them."""
        grid, count = self.grid, self.grid.count
        margin = 0.0 if any(b.cell for b in grid.boxes) else MARGIN  # whole steps have no frames
        low, high = [0.0] * count, [0.0] * count
        for slot, plan in self.plans.plan.items():
            c = slot[1]
            if any(not b.run for b in grid.slots[slot]):
                low[c], high[c] = min(low[c], plan.left), max(high[c], plan.right)
        for (_, c), found in [*grid.slots.items(), *grid.beside.items()]:
            wide = max(
                (grid.wide(b) / 2 for b in found if b.run or b.role == Role.INITIAL), default=0.0
            )
            low[c], high[c] = min(low[c], -wide), max(high[c], wide)
        self._channel: list[float] = []
        self.middle = [0.0] * count
        u = 0.0
        for c in range(count + 1):
            self._channel.append(u + BETWEEN)
            lines = self.lines.columns(c)
            if lines or 0 < c < count:
                u += 2 * BETWEEN + LINE * max(lines - 1, 0)
            if c < count:
                u += margin
                self.middle[c] = u - low[c]
                u += high[c] - low[c] + margin

    def _find_bands(self) -> None:
        """Find the bands, and the gaps between them."""
        count = len(self.grid.bands)
        self.base, self.floor, self.tall = [0.0] * count, [0.0] * count, [0.0] * count
        self._gap = [0.0] * (count + 1)
        # the bands from which lines go up
        left = {self.grid.slot_of[a.tail][0] for a, r in self.routes.items() if r.out is Side.ABOVE}
        d = 0.0
        for (_, follows), k in self.grid.bands.items():
            plans = [p for slot, p in self.plans.plan.items() if slot[0] == k]
            foot = (MARGIN if self.turned else FOOT) * (not follows)
            self.base[k] = d
            self.floor[k] = max((p.floor for p in plans), default=0.0)
            tops = [p.top + self.floor[k] - p.floor for p in plans]
            # what stands for hidden steps may extend further than a step
            tops += [
                self.floor[k] + self.grid.deep(b)
                for slot, found in self.grid.slots.items()
                for b in found
                if slot[0] == k and b.run
            ]
            self.tall[k] = max(tops, default=HEIGHT) or HEIGHT
            if not self.floor[k]:
                self.base[k] = d = d + foot
            d += self.tall[k] + (0.0 if follows else MARGIN)
            used = self.lines.rows(k)
            self._gap[k] = d + BETWEEN + 4
            if used:
                d += 2 * BETWEEN + 8 + LINE * max(used - 1, 0)
            else:
                d += 26.0 if k in left and k + 1 < count else 18.0

    def along(self, arrow: Arrow, gap: int) -> float:
        """Return d of the line of an arrow in a gap."""
        return self._gap[gap] + LINE * self.lines.level[gap][self.routes[arrow].key]

    def beside(self, arrow: Arrow, channel: int) -> float:
        """Return u of the line of an arrow in a channel."""
        return self._channel[channel] + LINE * self.lines.upright[channel][self.routes[arrow].key]

    # --- what has no place in a plan --------------------------------------------------------------

    def _place_gaps(self) -> None:
        """Make what stands for hidden steps as tall as a step."""
        for (band, column), found in self.grid.slots.items():
            for b in found:
                if b.run:
                    low = self.base[band] + self.floor[band]
                    high = self.base[band] + self.tall[band]
                    if not self.turned and b.framed:
                        b.tall = high - low
                    self.at[b] = (self.middle[column], (low + high) / 2)

    def _place_first_states(self) -> None:
        """Put initial states where they enter; of those at one height, one above the other."""
        for (_, column), found in self.grid.beside.items():
            heights = [self.entry(self.grid.heads[b][0])[0][1] for b in found]
            edge = -math.inf
            for y, k in sorted((y, k) for k, y in enumerate(heights)):
                half = self.grid.deep(found[k]) / 2
                y = max(y, edge + half)
                self.at[found[k]] = (self.middle[column], y)
                edge = y + half + 6

    def _place_rail(self) -> None:
        """Put the shared leaves in a row along the depth, before everything."""
        grid = self.grid
        if not grid.rail:
            return
        left = min((self.at[b][0] - grid.wide(b) / 2 for b in self.at), default=0.0)
        reader: dict[Box, int] = {}  # the band of the first port
        for b in grid.boxes:
            if b.source is not None:
                reader.setdefault(b.source, grid.slot_of[b][0])
        groups: dict[int, list[Box]] = {}
        for b in grid.rail:
            groups.setdefault(reader.get(b, 0), []).append(b)
        u = left - MARGIN - BETWEEN - 14.0 - max(grid.wide(b) for b in grid.rail) / 2
        edge = -math.inf
        for band, group in sorted(groups.items()):
            total = math.fsum(grid.deep(b) + 8 for b in group) - 8
            d = max(self.base[band] + (self.floor[band] + self.tall[band] - total) / 2, edge)
            for b in reversed(group):
                self.at[b] = (u, d + grid.deep(b) / 2)
                d += grid.deep(b) + 8
            edge = d + 6

    # --- from a box to the edge of its slot -------------------------------------------------------

    def side(self, b: Box, sign: int) -> Point:
        """Return the middle of the left (-1) or right (1) edge of a box."""
        return (self.at[b][0] + sign * self.grid.wide(b) / 2, self.at[b][1])

    def departure(self, a: Arrow) -> list[Point]:
        """Return the line from the tail of an arrow to the edge of its slot."""
        b, route = a.tail, self.routes[a]
        if route.out is Side.ABOVE:
            if b.run:
                return [(self.at[b][0], self.at[b][1] + self.grid.deep(b) / 2)]
            slot = self.grid.slot_of[b]
            return self.moved(slot, self.plans.plan[slot].up(self.plans.key[b]))
        if b.run or b.role == Role.INITIAL:
            return [self.side(b, route.out.sign)]
        return self._aside(b, route.out.sign, 1)

    def arrival(self, a: Arrow) -> list[Point]:
        """Return the line from the edge of the slot of an arrow's head to the head."""
        b = a.head
        if self.routes[a].into is not Side.BELOW:
            return self.entry(a)
        if b.run:
            return [(self.at[b][0], self.at[b][1] - self.grid.deep(b) / 2)]
        slot = self.grid.slot_of[b]
        return self.moved(slot, self.plans.plan[slot].down(self.plans.key[b]))

    def entry(self, a: Arrow) -> list[Point]:
        """Return the line from the side of the slot of an arrow's head to the head."""
        sign = self.routes[a].into.sign
        if a.head.run:
            return [self.side(a.head, sign)]
        return self._aside(a.head, sign, -1)[::-1]

    def _aside(self, b: Box, sign: int, way: int) -> list[Point]:
        """Return the line from a box to the side of its slot.

        It is straight, or goes through the room above (1) or below (-1) the row of the box.
        """
        u, d = self.at[b]
        slot = self.grid.slot_of[b]
        plan, key = self.plans.plan[slot], self.plans.key[b]
        if plan.beside(key, sign):
            return [self.side(b, sign)]
        y = self.foot(slot) + plan.between(key, way)
        x = u + sign * max(self.grid.wide(b) / 2 - 8, 0.0)
        return [(x, d + way * self.grid.deep(b) / 2), (x, y)]
