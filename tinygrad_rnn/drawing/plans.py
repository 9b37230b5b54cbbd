"""The plans of the slots: one for all steps of a band, unless these have little in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .boxes import Arrow, Box, Family, Role
from .errors import DrawingError
from .grid import Grid, Slot
from .routes import Route, Side
from .rows import Item
from .stepplan import StepPlan

DOWN = 24.0  # between rows
ABREAST = 2  # results in one row; of more, as the gradients of many weights, there are several rows

Routes = Mapping[Arrow, Route]


class Plans:
    """Where the boxes of each slot stand.

    Attributes
    ----------
    plan : dict of Slot to StepPlan
    key : dict of Box to key
        By which a plan knows a box.
    """

    def __init__(self, grid: Grid, routes: Routes) -> None:
        self.grid, self.routes = grid, routes
        self.plan: dict[Slot, StepPlan] = {}
        self.key: dict[Box, Any] = {}
        by_band: dict[int, list[Slot]] = {}
        for slot in grid.slots:
            by_band.setdefault(slot[0], []).append(slot)
        self._arrows: dict[Slot, list[Arrow]] = {slot: [] for slot in grid.slots}
        for a in grid.arrows:
            if a.tail.role != Role.SHARED and a not in routes:
                self._arrows[grid.slot_of[a.head]].append(a)
        for slots in by_band.values():
            boxes = {slot: [b for b in grid.slots[slot] if not b.run] for slot in slots}
            if not self._together(boxes):
                for slot, found in boxes.items():
                    own = {b: b for b in found}
                    self.plan[slot] = self._plan({slot: found}, own)
                    self.key.update(own)

    def _together(self, boxes: Mapping[Slot, Sequence[Box]]) -> bool:
        """Make one plan for all slots of a band, if they have enough in common."""
        most = max(map(len, boxes.values()))
        keys = {b: b.key for found in boxes.values() for b in found}
        if len(boxes) < 2 or len(set(keys.values())) > 2.5 * most + 8:
            return False
        if any(len({keys[b] for b in found}) < len(found) for found in boxes.values()):
            return False
        try:
            plan = self._plan(boxes, keys)
        except DrawingError:  # what one step computes from another, another computes in reverse
            return False
        self.plan.update(dict.fromkeys(boxes, plan))
        self.key.update(keys)
        return True

    def _plan(self, boxes: Mapping[Slot, Sequence[Box]], keys: Mapping[Box, Any]) -> StepPlan:
        """Make a plan for the union of these slots."""
        items: dict[Any, Item] = {}
        edges: dict[tuple[Any, Any], None] = {}
        ups: dict[Any, None] = {}
        downs: dict[Any, None] = {}
        for slot, found in boxes.items():
            ends = [b for b in found if not (b.framed or b.leaf or b.port or self.grid.heads[b])]
            for b in found:
                item, old = self._item(b), items.get(keys[b])
                if b in ends:
                    rows = math.ceil(len(ends) / ABREAST)
                    item = item._replace(lift=ends.index(b) % rows)
                items[keys[b]] = item if old is None else item.joined(old)
                if Side.BELOW in self._entered(b):
                    downs[keys[b]] = None
                if Side.ABOVE in self._left(b):
                    ups[keys[b]] = None
            for a in self._arrows[slot]:
                if not a.tail.run and not a.head.run:
                    edges[keys[a.tail], keys[a.head]] = None
        for found in boxes.values():
            for b in found:
                item = items[keys[b]]
                across, deep = (item.wide, item.deep)[:: -1 if self.grid.turned else 1]
                b.least = across
                if b.halves:  # the maps in it may be larger in another step
                    b.tall = deep
        return StepPlan(items, edges, ups, downs, DOWN)

    def _entered(self, b: Box) -> set[Side]:
        """Return the sides on which arrows to a box enter its slot."""
        return {self.routes[a].into for a in self.grid.tails[b] if a in self.routes}

    def _left(self, b: Box) -> set[Side]:
        """Return the sides on which arrows from a box leave its slot."""
        return {self.routes[a].out for a in self.grid.heads[b] if a in self.routes}

    def _item(self, b: Box) -> Item:
        """Return a box as its plan sees it."""
        sides = self._entered(b) | self._left(b)
        return Item(
            self.grid.wide(b),
            self.grid.deep(b),
            low=self.is_input(b),
            late=b.leaf or b.port,
            left=Side.LEFT in sides,
            right=Side.RIGHT in sides,
        )

    def is_input(self, b: Box) -> bool:
        """Whether a box stands below the frame of its step: it is what the step is given."""
        grid = self.grid
        if b.port:
            return False
        if b.lane is None:
            reader = grid.heads[b][0].head if grid.heads[b] else None
            if not (b.leaf and b.moment and reader and reader.lane):
                return False
        if b.leaf:
            return not b.role and b.family != Family.PARAMETER
        into = [self.routes[a].into if a in self.routes else None for a in grid.tails[b]]
        return b.takes_part and bool(into) and all(side is Side.BELOW for side in into)

    def level(self, b: Box) -> float:
        """Return where in the stack of bands a box stands: the number of the band and a part."""
        slot = self.grid.slot_of[b]
        plan = self.plan.get(slot)
        if b not in self.key or plan is None:
            return slot[0] + 0.5
        return (
            slot[0]
            + 0.1
            + 0.8 * (plan.row[self.key[b]] - plan.first) / (plan.last - plan.first + 1)
        )
