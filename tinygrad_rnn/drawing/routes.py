"""How arrows get from one slot of the grid to another.

Between columns are channels, between bands gaps; nothing stands in them but lines. A line leaves
its slot upwards into the gap above it, or sideways into the channel beside it, and reaches the
other slot through channels and gaps. So no line runs behind a box.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from .boxes import Arrow, Box, Role
from .grid import Grid

FEW = 2  # if more arrows lead to one box, they are joined where they arrive, not where they leave


class Side(Enum):
    """A side of a slot."""

    LEFT = "left"
    RIGHT = "right"
    BELOW = "below"
    ABOVE = "above"

    @property
    def sign(self) -> int:
        """The direction along time in which a line leaves on this side: -1, 0 or 1."""
        return (self is Side.RIGHT) - (self is Side.LEFT)


Key = tuple[bool, Box]


class Route(NamedTuple):
    """How an arrow gets from one slot to another.

    Attributes
    ----------
    out, into : Side
        Where it leaves the slot of its tail and enters that of its head.
    start : int or None
        The channel beside the tail.
    gap : int or None
        The gap that it runs along.
    stop : int or None
        The channel beside the head.
    key : (bool, Box)
        Lines with one key are one line: those that come from a box (False) or lead to it (True).
    """

    out: Side
    into: Side
    start: int | None
    gap: int | None
    stop: int | None
    key: Key


def routes_of(grid: Grid) -> dict[Arrow, Route]:
    """Return the routes of the arrows that lead from one slot to another."""
    found = {a: _route(grid, a) for a in grid.arrows if a.tail.role != Role.SHARED}
    return {a: route for a, route in found.items() if route is not None}


def _route(grid: Grid, a: Arrow) -> Route | None:
    """Return the route of an arrow; None within a slot."""
    (band, column), (above, other) = grid.slot_of[a.tail], grid.slot_of[a.head]
    if (band, column) == (above, other) and not _returns(grid, a):
        return None
    if _leads_aside(grid, a):
        key = (False, a.tail)
        if column == other:
            if a.head.lane in grid.backward:
                return Route(Side.RIGHT, Side.RIGHT, column + 1, None, None, key)
            return Route(Side.LEFT, Side.LEFT, column, None, None, key)
        if column < other:
            out, into, start, stop = Side.RIGHT, Side.LEFT, column + 1, other
        else:
            out, into, start, stop = Side.LEFT, Side.RIGHT, column, other + 1
        if start == stop:
            return Route(out, into, start, None, None, key)
        return Route(out, into, start, min(band, above), stop, key)
    many = len(grid.tails[a.head]) > FEW
    key = (True, a.head) if many else (False, a.tail)
    if above == band + 1:
        straight = column == other and not many
        return Route(Side.ABOVE, Side.BELOW, None, None if straight else band, None, key)
    side = column + 1 if other >= column else column
    return Route(Side.ABOVE, Side.BELOW, side, band, None, key)


def _returns(grid: Grid, a: Arrow) -> bool:
    """Whether an arrow inside a slot brings a state back to where it was made: it goes around."""
    slot = grid.slot_of[a.head]
    return a.tail.delay and any(grid.slot_of[b.tail] == slot for b in grid.tails[a.tail])


def _leads_aside(grid: Grid, a: Arrow) -> bool:
    """Whether an arrow leaves its slot sideways: along time, downwards, or as a state."""
    (band, column), (above, other) = grid.slot_of[a.tail], grid.slot_of[a.head]
    return (
        a.tail.role == Role.INITIAL
        or (a.tail.delay and not a.tail.framed)
        or (band == above and column != other)
        or above < band
        or (grid.enters(a) and a.head.lane is not None and column != other and not a.head.run)
    )
