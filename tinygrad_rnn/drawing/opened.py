"""A compiled unrolling is one node on the tape; here it is opened, to show the steps inside.

Its steps are run once more, one by one and recorded, on the inputs that the node saved. The recorded nodes then stand where the one node
stood: what they read are its inputs, and who read a part of its output reads the step that made it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from ..core.errors import TinygradError
from ..core.tape import Leaf, Node, reachable
from ..core.tensor import Tensor

COMPILED = "unroll"  # the primitive of such nodes


def open_compiled(nodes: Sequence[Node]) -> tuple[list[Node], dict[Node, Node], set[Node]]:
    """The nodes in an order in which inputs come first, what is to be read in place of some, and which belong to no step.

    The mark of a compiled unrolling is that of its first step; what brings the steps together has it too.
    """
    order: list[Node] = list(nodes)
    instead: dict[Node, Node] = {}
    outside: set[Node] = set()
    for node in nodes:
        if node.op != COMPILED or not isinstance(node.saved, list):
            continue
        inner = _steps(node)
        if inner is None:
            continue
        made, given, results = inner
        instead.update(given)
        mark = node.params["stretch"].mark
        for n in made:
            if n.origin[2] is mark:
                n.origin = node.origin
                outside.add(n)
        outside.update(i for i in node.inputs if isinstance(i, Leaf) and i.origin[2] is mark)
        starts = dict(zip(itertools.accumulate((math.prod(r.shape) for r in results), initial=0), results, strict=False))
        for part in nodes:
            start = _begin(part, node)
            if start in starts:
                instead[part] = starts[start]
        place = order.index(node)
        known = set(order)
        order[place:place] = [n for n in made if n not in known]
    return order, instead, outside


def _begin(part: Node, whole: Node) -> int | None:
    """Where in the packed output of `whole` the result begins that this node takes out; None for other nodes."""
    if part.inputs[:1] == (whole,) and "begin" in part.params:
        begin: int = part.params["begin"]
        return begin
    piece = part.inputs[0] if part.op == "reshape" else None
    if isinstance(piece, Node) and piece.op == "getitem" and piece.inputs[0] is whole:  # a slice, and a reshape of it
        index = piece.params["index"]
        return (index[0] if isinstance(index, tuple) else index).start or 0
    return None


def _steps(node: Node) -> tuple[list[Node], dict[Node, Node], list[Node]] | None:
    """The nodes of the steps, their inputs with what these stand for, and the results; None where that cannot be done."""
    stretch = node.params["stretch"]
    values = node.saved[1]
    if values is None:
        return None
    try:
        handles: list[Tensor] = stretch.handles(values, False)
        found: list[Any] = stretch.run(handles, record=True)
    except TinygradError:
        return None
    results = [found[k].node for k in stretch.live]
    if any(r is None for r in results):
        return None
    given = {h.node: i for h, i in zip(handles, node.inputs, strict=False) if h.node is not None and isinstance(i, Node)}
    made = [n for n in reachable(results, given, every=True) if n not in given and n.index > node.index]
    return made, given, results
