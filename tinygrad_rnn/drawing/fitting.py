"""The level of detail and the number of steps with which a picture fits a width.

The finest level whose letters can be read at that width is taken; if there is none, fewer time
steps are drawn, each as one box. How wide a picture becomes is known only when it has been laid
out, so that is what is done for one level after the other: first without the middle of a long
sequence, which costs the same for any length, and where that fits, with everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from .boxes import Sketch
from .detail import Detail
from .errors import DrawingError
from .graph import Graph
from .layout import Layout
from .selection import FEW, SOME, Request, shown_steps
from .style import SMALL
from .survey import Survey
from .svg import READABLE, pixels

FEWEST = 2  # time steps that are drawn though they do not fit
NARROWEST = 50.0  # points from one step to the next, at the least, if time runs to the right

Made = tuple[Sketch, Layout]


def fitting_either_way(
    survey: Survey,
    request: Request,
    detail: Detail | None,
    width: int,
    direction: str | None,
    make: Callable[[str, Graph, Request], Made],
) -> Made:
    """Make the picture in a direction, or without a wish for one in that which fits.

    That is to the right; for a graph without time steps downwards, if it is narrower so. The
    arguments are those of `fitting`, and `make` is told the direction first.
    """
    ways = [direction] if direction else ["LR"] if survey.graph.framed else ["LR", "TB"]
    tried: list[Made] = []
    for way in ways:
        tried.append(fitting(survey, request, detail, width, way == "LR", partial(make, way)))
        if fits(tried[-1], width):
            break
    return min(tried, key=lambda made: pixels(made[1], width))


def ends_for(request: Request) -> int:
    """Return how many steps at each end are enough to draw what is asked for."""
    return max(FEW, request.steps or 0)


def fitting(
    survey: Survey,
    request: Request,
    detail: Detail | None,
    width: int,
    along: bool,
    make: Callable[[Graph, Request], Made],
) -> Made:
    """Make the picture that is wanted, or without a wish for a level the finest that fits.

    The finest that is tried is that of the request.

    Parameters
    ----------
    survey : Survey
        Of the graph.
    request : Request
    detail : Detail or None
        The level that is wanted.
    width : int
        Pixels.
    along : bool
        Whether time runs along the width.
    make : callable
        Describes what is asked for of a graph, and lays it out.
    """
    graph = survey.graph
    if detail is not None:
        return make(graph, request._replace(detail=detail))
    if not graph.framed:
        return make(graph, request)
    ends = graph if request.show is not None else survey.without_middle(ends_for(request))
    crowded = False
    if request.show is not None and along:
        shown = max(len(shown_steps(request.show, sorted(c))) for c in survey.counts.values())
        crowded = shown * NARROWEST * READABLE / SMALL > width
    made: Made | None = None
    for tried in _requests(request, survey, crowded):
        try:
            if ends is not graph and not fits(make(ends, tried), width):
                continue
            made = make(graph, tried)
            if tried.detail == Detail.GATE and _one_each(made[0]):
                continue
        except DrawingError:
            if tried.detail != Detail.CELL:
                raise
            return made or make(graph, request)
        if fits(made, width):
            return made
    return made or make(graph, tried)


def _one_each(sketch: Sketch) -> bool:
    """Whether each step is one box, which says less than that of a cell."""
    steps = [b.moment for b in sketch.boxes if b.framed and not (b.leaf or b.port or b.gap)]
    return len(set(steps)) == len(steps)


def fits(made: Made, width: int) -> bool:
    """Return whether the letters of a picture can be read at a width."""
    return pixels(made[1], width) <= width


def _requests(request: Request, survey: Survey, crowded: bool) -> Iterator[Request]:
    """Yield what is tried, the finest first; of very many steps on a line only whole ones."""
    levels = [*Detail]
    for detail in [Detail.CELL] if crowded else levels[levels.index(request.detail) :]:
        yield request._replace(detail=detail)
    longest = max(len(c) for c in survey.counts.values())
    if request.show is None and request.steps is None:
        most = min(
            longest - 1, SOME if longest > FEW else FEW
        )  # the box of one hidden step is as wide
        for steps in range(most - 1, FEWEST - 1, -1):
            yield request._replace(detail=Detail.CELL, steps=steps, narrowed=True)
