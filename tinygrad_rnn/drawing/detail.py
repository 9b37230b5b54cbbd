"""Levels of detail: how much of a time step is drawn.

* "op": each operation is a box.
* "gate": each value that the source names is a box, and so is what several of these read. What leads
  to one of them alone is part of its box.
* "cell": each step of each cell and layer is one box, with the names of its states. Weights that only
  such steps read are not drawn.

Of a backward that was recorded to be drawn, each derivative rule is one box at the level "gate", and
so is each sum of gradients (`backprop`).

What else stands outside of the time steps is drawn operation by operation at each level. A box that
stands for several operations is that of the last of them, its *head*: what leaves the box is, of a
gate, what the head computes, and of a cell its states and outputs.

Without a wish of the caller, `picture` takes the finest level that fits the width at which people
look, with letters that can be read.
"""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Sequence
from enum import StrEnum

from ..core.tape import Node
from ..ops.source import spot_of
from ..recurrent.moments import Moment
from .boxes import Arrow, Box, Family
from .errors import DrawingError
from .graph import Graph
from .labels import short


class Detail(StrEnum):
    """How much of a time step is drawn."""

    OP = "op"
    GATE = "gate"
    CELL = "cell"


def heads_of(
    graph: Graph, shown: Sequence[Node], detail: Detail, named: Collection[Node]
) -> dict[Node, Node]:
    """Return, for each operation that is drawn as part of a box with several, the head of that box.

    Parameters
    ----------
    graph : Graph
    shown : sequence of Node
        What is drawn, in the order in which it was made.
    detail : Detail
    named : collection of Node
        The operations whose values have names in the source.
    """
    if detail == Detail.OP:
        return {}
    operations = [n for n in shown if not graph.is_leaf(n)]
    inside = [n for n in operations if n in graph.framed or graph.of_backward(n)]
    heads: dict[Node, Node] = {}
    if detail == Detail.CELL:
        steps = [n for n in inside if n in graph.framed]
        last = {graph.moments[n]: n for n in steps}
        heads = {n: last[graph.moments[n]] for n in steps}
        inside = [n for n in inside if n not in heads]
    if graph.back is not None:
        forward = {n for n in named if not graph.of_backward(n)}
        named = forward | graph.back.heads(shown, graph.inputs)
    return {**_gates(graph, shown, inside, named), **heads}


def _gates(
    graph: Graph, shown: Sequence[Node], inside: Sequence[Node], named: Collection[Node]
) -> dict[Node, Node]:
    """Return the heads of the operations of gates.

    All that reads an operation without a name is in the box of one head, or it has a box of its own.
    So lines leave a box from its head alone, and no boxes stand in a circle.
    """
    readers: dict[Node, list[Node]] = {n: [] for n in inside}
    for n in shown:
        for i in graph.inputs[n]:
            if i in readers:
                readers[i].append(n)
    heads: dict[Node, Node] = {}
    for n in reversed(inside):
        found = {heads.get(r, r) for r in readers[n]}
        alone = len(found) == 1 and n not in named and n not in graph.roots
        (head,) = found if alone else (n,)
        together = head in heads and graph.moments[head] == graph.moments[n]
        together = together and (head in graph.framed) == (n in graph.framed)
        heads[n] = head if together else n
    return heads


def describe_cell(box: Box, moment: Moment, states: Sequence[str], count: int, shape: str) -> None:
    """Write into the box of a step what it is: the cell, its states, the layer and the time."""
    lane = moment.lane
    title = lane.title or "step"
    box.title = f"{', '.join(states)} = {title}" if states else title
    box.detail = f"t = {moment.step}"
    if lane.layer is not None:
        box.detail = f"layer {lane.layer} · {box.detail}"
    if lane.backward and states:
        states = [f"∂L/∂{name}" for name in states]
        box.title, box.detail = ", ".join(states), f"{title} · {box.detail}"
    box.family, box.takes_part, box.cut = Family.CELL, False, ""
    what = f"{lane.described()}: one step, {count:,} operations".removeprefix(": ")
    box.tooltip = f"{what}\nstates: {', '.join(states) or 'none'}\n{shape}"


def describe_gate(box: Box, head: Node) -> None:
    """Write into the box of a gate the expression that it computes, as it stands in the source."""
    spot = spot_of(head)
    box.tooltip = f"{box.detail}\n{box.holds} operations; the last one: {box.tooltip}"
    if spot is not None:
        box.tooltip = f"{spot.text()}\n{box.tooltip}"
        box.detail = short(spot.text())


def check_order(arrows: Sequence[Arrow]) -> None:
    """Raise a DrawingError if boxes for several operations depend on each other in a circle."""
    before: dict[Box, set[Box]] = {}
    for a in arrows:
        if not a.tail.gap and not a.head.gap and not a.tail.delay and not a.head.delay:
            before.setdefault(a.head, set()).add(a.tail)
    try:
        graphlib.TopologicalSorter(before).prepare()
    except graphlib.CycleError as error:
        found = ", ".join(dict.fromkeys(b.title for b in error.args[1]))
        raise DrawingError(
            f"draw: detail='cell' needs steps that are computed one after the other; found steps that read "
            f"each other's values in both directions ({found}); detail='op' draws them"
        ) from None
