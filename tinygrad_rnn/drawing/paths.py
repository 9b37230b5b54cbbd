"""The ways of the arrows, as curves.

A path is its start and then, three by three, the points of cubic Bezier curves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from .boxes import Arrow, Box
from .places import Places
from .routes import Route, Side
from .stepplan import Point

CORNER = 6.0  # radius of the bends of a line
SEVERAL = 3  # an operation that uses one thing so often has so many lines to it


def paths_of(places: Places, arrow: Arrow) -> list[list[Point]]:
    """Return the ways of an arrow: one, or for an operation like x * x, two side by side."""
    tail, head, used = arrow
    route = places.routes.get(arrow)
    single = (
        tail.run
        or head.run
        or tail.port
        or head.holds > 1
        or len(tail.hides) > 1
        or len(used) > SEVERAL
        or (route is not None and route.out is not Side.ABOVE)
    )
    copies = 1 if single else len(used)
    path = _path(places, arrow, route)
    return [
        [(u + 7.0 * k, d) for u, d in path] for k in (i - (copies - 1) / 2 for i in range(copies))
    ]


def _path(places: Places, arrow: Arrow, route: Route | None) -> list[Point]:
    """Return one way of an arrow."""
    if route is None:
        slot, key = places.grid.slot_of[arrow.tail], places.plans.key
        line = places.plans.plan[slot].line(key[arrow.tail], key[arrow.head])
        return smooth(places.moved(slot, line))
    return (_upwards if route.out is Side.ABOVE else _sideways)(places, arrow, route)


def _upwards(places: Places, arrow: Arrow, route: Route) -> list[Point]:
    """Return the way of an arrow that leaves its slot at the top."""
    out, into = places.departure(arrow), places.arrival(arrow)
    if route.start is None and route.gap is None:
        return smooth([*out, *into])
    y = places.along(arrow, places.grid.slot_of[arrow.tail][0])
    corners = [(out[-1][0], y)]
    if route.start is None:
        corners += [(into[0][0], y)]
    else:
        x = places.beside(arrow, route.start)
        z = places.along(arrow, places.grid.slot_of[arrow.head][0] - 1)
        corners += [(x, y), (x, z), (into[0][0], z)]
    middle = _rounded([out[-1], *corners, into[0]])
    return [*smooth(out), *middle[1:], *smooth(into)[1:]]


def _sideways(places: Places, arrow: Arrow, route: Route) -> list[Point]:
    """Return the way of an arrow that leaves its slot at a side."""
    assert route.start is not None
    out, into = places.departure(arrow), places.arrival(arrow)
    x = places.beside(arrow, route.start)
    if arrow.tail.run:
        edge, _ = places.side(arrow.tail, route.out.sign)
        out = [(edge, _clamped(places, arrow.tail, into[0][1]))]
    if arrow.head.run:
        edge, _ = places.side(arrow.head, route.into.sign)
        into = [(edge, _clamped(places, arrow.head, out[-1][1]))]
    if route.gap is None:
        return _rounded([*out, (x, out[-1][1]), (x, into[0][1]), *into])
    assert route.stop is not None
    y, z = places.along(arrow, route.gap), places.beside(arrow, route.stop)
    return _rounded([*out, (x, out[-1][1]), (x, y), (z, y), (z, into[0][1]), *into])


def _clamped(places: Places, b: Box, d: float) -> float:
    """Return the depth on the side of a box that is nearest to this one."""
    half = max(places.grid.deep(b) / 2 - 8, 0.0)
    return min(max(d, places.at[b][1] - half), places.at[b][1] + half)


def smooth(points: Sequence[Point]) -> list[Point]:
    """Return a path of cubic curves through points of rising depth, upright at each."""
    path = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        if (x0, y0) != (x1, y1):
            path += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
    return path


def _rounded(points: Sequence[Point]) -> list[Point]:
    """Return straight lines through points, with round corners."""
    points = [p for k, p in enumerate(points) if k == 0 or p != points[k - 1]]
    path = [points[0]]
    for k in range(1, len(points)):
        (x, y), end = points[k], k + 1 == len(points)
        before = math.dist(points[k - 1], points[k])
        after = math.inf if end else math.dist(points[k], points[k + 1])
        radius = 0.0 if end else min(CORNER, before / 2, after / 2)
        start, stop = path[-1], _towards(points[k], points[k - 1], radius)
        path += [
            _towards(start, stop, math.dist(start, stop) / 3),
            _towards(stop, start, math.dist(start, stop) / 3),
            stop,
        ]
        if not end:
            leave = _towards((x, y), points[k + 1], radius)
            path += [
                _towards(stop, (x, y), radius * 0.55),
                _towards(leave, (x, y), radius * 0.55),
                leave,
            ]
    return path


def _towards(start: Point, end: Point, distance: float) -> Point:
    """Return the point at this distance from the start, on the way to the end."""
    part = distance / (math.dist(start, end) or 1.0)
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part
