"""Which time steps and which nodes of a graph are drawn."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..core.tape import Node
from ..recurrent.moments import Lane
from .detail import Detail
from .graph import Graph

FEW, SOME = 8, 5  # so many steps are all drawn; of more, so many

Show = Sequence[str] | str | None
Counts = Mapping[Lane, Counter[int]]  # the number of nodes in each step of each lane


class Request(NamedTuple):
    """What the caller wants to see.

    Attributes
    ----------
    steps : int or None
        At most so many time steps.
    limit : int
        About so many nodes at most, if nothing else decides.
    show : str, sequence of str or None
        See `shown_steps`.
    fold : bool
        Steps that are the same are drawn once.
    detail : Detail
        How much of a step is drawn.
    weights : bool
        Draw shared leaves also where only whole cells read them.
    narrowed : bool
        Whether `steps` was chosen to fit a width, and not by the caller.
    """

    steps: int | None = None
    limit: int = 250
    show: Show = None
    fold: bool = False
    detail: Detail = Detail.OP
    weights: bool = False
    narrowed: bool = False


def chosen_steps(
    graph: Graph, counts: Counts, request: Request, room: int
) -> tuple[dict[Lane, list[int]], str]:
    """Choose the steps of each lane that are drawn.

    Parameters
    ----------
    graph : Graph
    counts : mapping
        The number of nodes in each step of each lane.
    request : Request
    room : int
        The steps may have so many nodes.

    Returns
    -------
    chosen : dict of Lane to list of int
    why : str
        What decided it; empty if it was the room.
    """
    show, steps = request.show, request.steps
    if show is not None:
        named = {lane: sorted(shown_steps(show, sorted(c))) for lane, c in counts.items()}
        return named, f"show={show!r}"
    order = _order(graph, counts)
    most = max(map(len, counts.values()), default=0)
    if steps is not None:
        number = steps
        why = "to fit the width; show='all' draws them" if request.narrowed else f"steps={steps}"
    else:
        number, why = FEW if most <= FEW else SOME, "show='all' draws them"
    while (
        number > 2 and sum(c[s] for lane, c in counts.items() for s in order[lane][:number]) > room
    ):
        number, why = min(number, most) - 1, ""
    return {lane: sorted(order[lane][:number]) for lane in counts}, why


def _order(graph: Graph, counts: Counts) -> dict[Lane, list[int]]:
    """Return the steps of each lane in the order in which they are wanted.

    First come those of results, which have to be seen, then the others from both ends.
    """
    moments = [graph.moments[n] for n in sorted(graph.roots, key=lambda n: n.index)]
    return {
        lane: list(
            dict.fromkeys(
                [
                    *[m.step for m in moments if m is not None and m.step in c],
                    *_from_both_ends(sorted(c)),
                ]
            )
        )
        for lane, c in counts.items()
    }


def shown_steps(show: Sequence[str] | str, steps: Sequence[int]) -> set[int]:
    """Return the steps that ``show`` names.

    It is "all", or "t=3", "t=0:3", "t=-2:" in Python's way of slicing, or several of these.
    """
    if show == "all":
        return set(steps)
    found: set[int] = set()
    end = max(steps, default=-1) + 1
    for text in (show,) if isinstance(show, str) else show:
        first, colon, last = text.removeprefix("t=").partition(":")
        if colon:
            part = slice(int(first) if first else None, int(last) if last else None)
            found.update(range(*part.indices(end)))
        else:
            found.add(int(first) + end * (int(first) < 0))
    return found & set(steps)


def _from_both_ends(order: Sequence[int]) -> Iterator[int]:
    """Yield the first, the last, the second, the last but one, and so on."""
    for k in range(len(order)):
        yield order[k // 2] if k % 2 == 0 else order[-1 - k // 2]


def nearest(graph: Graph, count: int) -> set[Node]:
    """Return the `count` nodes that are fewest edges away from a result.

    Of those that are equally far it takes the latest. With each of them comes what reads it: so the rest is only read, and one box for it stands in
    no circle.
    """
    readers = Counter(i for n in graph.nodes for i in set(graph.inputs[n]))
    found: set[Node] = set()
    ready = [(0, -n.index, n) for n in graph.nodes if n in graph.roots and not readers[n]]
    heapq.heapify(ready)
    while ready and len(found) < count:
        away, _, n = heapq.heappop(ready)
        found.add(n)
        for i in set(graph.inputs[n]):
            readers[i] -= 1
            if not readers[i]:
                heapq.heappush(ready, (away + 1, -i.index, i))
    return found
