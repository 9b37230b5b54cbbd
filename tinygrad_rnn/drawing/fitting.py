"""The level of detail and the number of steps with which a picture fits a width.

The finest level whose letters can be read at that width is taken; if there is none, fewer time
steps are drawn, each as one box. How wide a picture becomes is known only when it has been laid
out, so that is what is done for one level after the other. What is certain to be too wide, because
of the number of its steps, is not tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .boxes import Sketch
from .detail import Detail
from .errors import DrawingError
from .graph import Graph
from .layout import Layout
from .selection import Request
from .svg import pixels

FEWEST = 3  # time steps that are drawn though they do not fit

Made = tuple[Sketch, Layout]


def fitting(
    graph: Graph,
    request: Request,
    detail: Detail | None,
    width: int,
    make: Callable[[Request], Made],
) -> Made:
    """Make the picture that is wanted, or without a wish for a level the finest that fits.

    Parameters
    ----------
    graph : Graph
    request : Request
    detail : Detail or None
        The level that is wanted.
    width : int
        Pixels.
    make : callable
        Describes what is asked for, and lays it out.
    """
    if detail is not None:
        return make(request._replace(detail=detail))
    if not graph.framed:
        return make(request)
    made: Made | None = None
    for tried in _requests(request):
        try:
            made = make(tried)
        except DrawingError:
            if tried.detail != Detail.CELL:
                raise
            break
        if pixels(made[1], width) <= width:
            return made
    return make(request) if made is None else made


def _requests(request: Request) -> Iterator[Request]:
    """Yield what is tried, the finest first."""
    for detail in Detail:
        yield request._replace(detail=detail)
    if request.show is None and request.steps is None:
        for steps in range(6, FEWEST - 1, -1):
            yield request._replace(detail=Detail.CELL, steps=steps)
