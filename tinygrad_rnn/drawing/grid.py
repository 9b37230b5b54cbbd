"""In which band and in which column of the picture each box stands.

A column is a time step; a band is a row of frames, one for each step of a lane, or the operations
outside of time that follow it. Where a band and a column cross is a *slot*. Bands are stacked from
what is given to what is computed: inputs below, losses above.
"""

from __future__ import annotations

from typing import Any

from ..recurrent.moments import Lane
from .boxes import Arrow, Box, Role, Sketch

Slot = tuple[int, int]  # band and column
Band = tuple[int, bool]  # the number of a lane, and whether it is what follows the lane


class Grid:
    """The bands and columns of a sketch.

    Parameters
    ----------
    sketch : Sketch
    turned : bool
        Whether time runs downwards.

    Attributes
    ----------
    boxes, arrows : list
    heads, tails : dict of Box to list of Arrow
        The arrows that leave a box, and those that enter it.
    states : set of Arrow
        The arrows that carry a state from step to step, or into the first one.
    backward : set of Lane
        The lanes in which time runs from right to left.
    rail : list of Box
        The shared leaves. They stand in no slot, but beside the grid.
    bands : dict of Band to int
        The bands that are used, from below.
    count : int
        The number of columns.
    slots : dict of Slot to list of Box
    beside : dict of Slot to list of Box
        The initial states, which stand in a column beside the first step.
    slot_of : dict of Box to Slot
        Of all boxes but those of the rail.
    """

    def __init__(self, sketch: Sketch, turned: bool) -> None:
        self.boxes, self.arrows, self.turned = sketch.boxes, sketch.arrows, turned
        self.heads: dict[Box, list[Arrow]] = {b: [] for b in self.boxes}
        self.tails: dict[Box, list[Arrow]] = {b: [] for b in self.boxes}
        for a in self.arrows:
            self.heads[a.tail].append(a)
            self.tails[a.head].append(a)
        self._find_states()
        self.lanes = list(
            dict.fromkeys(
                b.lane for b in self.boxes if b.framed and b.lane and not b.leaf and not b.port
            )
        )
        self.number = {lane: k for k, lane in enumerate(self.lanes)}
        self.rail = [b for b in self.boxes if b.role == Role.SHARED]
        bands = self._bands()
        self.bands = {band: k for k, band in enumerate(sorted(set(bands.values())))}
        columns = self._columns()
        index = {c: k for k, c in enumerate(sorted(set(columns.values())))}
        self.count = len(index)
        self.slots: dict[Slot, list[Box]] = {}
        self.beside: dict[Slot, list[Box]] = {}
        self.slot_of: dict[Box, Slot] = {}
        for b in self.boxes:
            if b.role == Role.SHARED:
                continue
            slot = self.slot_of[b] = (self.bands[bands[b]], index[columns[b]])
            (self.beside if b.role == Role.INITIAL else self.slots).setdefault(slot, []).append(b)

    def wide(self, b: Box) -> float:
        """Return the extent of a box along time."""
        return b.height if self.turned else b.width

    def deep(self, b: Box) -> float:
        """Return the extent of a box along depth."""
        return b.width if self.turned else b.height

    # --- states -----------------------------------------------------------------------------------

    def _find_states(self) -> None:
        """Find the arrows that carry states; an input is a state if it is one in any step."""
        through = [a for a in self.arrows if a.through_time and a.tail.lane == a.head.lane]
        first = [a for a in self.arrows if a.tail.role == Role.INITIAL or a.tail.delay]
        self._entering: set[tuple[Lane | None, Any, int]] = {
            (a.head.lane, a.head.key, k)
            for a in [*(a for a in through if not a.head.run), *first]
            for k in a.places
        }
        self.backward = {a.head.lane for a in through if (a.head.step or 0) < (a.tail.step or 0)}
        self.states = {a for a in self.arrows if self._is_state(a)}

    def _is_state(self, a: Arrow) -> bool:
        if (
            a.tail.role == Role.INITIAL
            or (a.through_time and a.tail.lane == a.head.lane)
            or a.tail.delay
            or a.head.delay
        ):
            return True
        return (
            a.head.lane is not None
            and not a.tail.leaf
            and not a.head.run
            and self.enters(a)
            and a.tail.moment != a.head.moment
        )

    def enters(self, a: Arrow) -> bool:
        """Whether an arrow gives an operation the state that its step begins with."""
        return any((a.head.lane, a.head.key, k) in self._entering for k in a.places)

    # --- bands and columns ------------------------------------------------------------------------

    def _goes_along(self, b: Box) -> bool:
        """Whether a box is only read, and so stands where its first reader does."""
        return (b.leaf or b.port) and bool(self.heads[b]) and b.role != Role.SEQUENCE

    def _bands(self) -> dict[Box, Band]:
        """Return the band of each box: one for each lane, and one for what follows it.

        The band -1 is before all lanes.
        """
        after: dict[Box, int] = {}
        found: dict[Box, Band] = {}
        for b in self.boxes:
            framed = b.framed and b.lane in self.number
            if framed and b.lane is not None:
                after[b] = self.number[b.lane]
            else:
                own = self.number.get(b.moment.lane, -1) if b.moment and not b.leaf else -1
                after[b] = max([own, *(after.get(a.tail, -1) for a in self.tails[b])])
            if b.role != Role.SHARED:
                found[b] = (after[b], not framed)
        for b in reversed(self.boxes):
            if b in found and self._goes_along(b):
                found[b] = found[self.heads[b][0].head]
        return found

    def _columns(self) -> dict[Box, int]:
        """Return the column of each box; columns may be left empty."""
        steps: dict[Lane, list[int]] = {lane: [] for lane in self.lanes}
        for b in self.boxes:
            if b.framed and b.lane in steps and b.step is not None:
                steps[b.lane].append(b.step)
        ends = {lane: (min(found), max(found)) for lane, found in steps.items()}
        offset: dict[Lane, int] = dict.fromkeys(self.lanes, 0)
        for lane in self.lanes:
            offset[lane] = self._offset(lane, ends, offset)
        first = [ends[lane][lane in self.backward] + offset[lane] for lane in self.lanes]
        before = min(first, default=0) - 1
        columns: dict[Box, int] = {}
        for b in self.boxes:
            if b.role != Role.SHARED:
                columns[b] = b.moment.step + offset.get(b.moment.lane, 0) if b.moment else before
        for b in reversed(self.boxes):
            if b in columns and self._goes_along(b):
                head = self.heads[b][0].head
                columns[b] = columns[head]
                if b.role == Role.INITIAL:
                    columns[b] += 1 if head.lane in self.backward else -1
        return columns

    def _offset(
        self, lane: Lane, ends: dict[Lane, tuple[int, int]], offset: dict[Lane, int]
    ) -> int:
        """Return by how many columns a lane is moved to the right.

        A lane that starts from what another one ends with begins to the right of it; a backward
        stands over its forward.
        """
        forward = Lane(lane.cell, lane.layer)
        if lane.backward and forward in offset:
            return offset[forward]
        first, last = ends[lane]
        begins = last if lane in self.backward else first
        least = 0
        for b in self.boxes:
            if b.lane != lane or b.leaf or b.port or b.run:
                continue
            for a in self.tails[b]:
                tail = a.tail
                other = (
                    tail.moment.lane if tail.moment and not tail.leaf and not tail.port else None
                )
                if other is None or other == lane:
                    continue
                if self.number.get(other, len(self.lanes)) > self.number[lane]:
                    continue
                end = ends[other][1]
                if self.enters(a) and b.step == begins and tail.step == end:
                    least = max(least, offset[other] + end + 1 - first)
                elif tail.framed and tail.step == b.step:
                    least = max(least, offset[other])
        return least
