"""Saturated gates and dead units: operations whose derivative is next to nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Array, Primitive
from ..core.tape import Node
from ..ops.elementwise import hard_sigmoid, relu, sigmoid, tanh
from ..ops.source import variables
from ..ops.table import Tape
from ..recurrent.ledger import values
from ..recurrent.moments import Lane
from .steps import Steps

LOOKED_AT = 256  # steps at most, evenly spaced
FLAT = 0.01  # of the largest derivative: below it a unit counts as saturated


class Unit(NamedTuple):
    """One bounded operation of a step, such as a gate, over the steps that were looked at.

    Attributes
    ----------
    lane : Lane
    name : str
        The variable that holds its result, or the operation.
    node : Node
        The operation in the step in which most is saturated or dead.
    steps : int
        How many steps were looked at.
    saturated : dict of int to float
        By step, the share of elements whose derivative is below 1 % of the largest possible. For a
        ReLU, the share of zeros.
    high, low : float
        The share of all elements that are saturated at the upper and at the lower end.
    dead : float
        The share of units (elements of the last axis) that are saturated in all rows and steps.
    """

    lane: Lane
    name: str
    node: Node
    steps: int
    saturated: dict[int, float]
    high: float
    low: float
    dead: float

    @property
    def share(self) -> float:
        """The share of elements that are saturated."""
        return self.high + self.low


def _primitive(function: object) -> Primitive:
    found = function.primitive  # type: ignore[attr-defined]
    assert isinstance(found, Primitive)
    return found


def units_of(tape: Tape, steps: Steps) -> list[Unit]:
    """Look at the bounded operations of at most 256 steps of each run."""
    chosen: dict[Node, tuple[Lane, int, int]] = {}
    for lane, found in steps.lanes.items():
        order = sorted(found)
        places = np.unique(np.linspace(0, len(order) - 1, LOOKED_AT).round().astype(int))
        for t in (order[k] for k in places):
            bounded = [n for n in found[t] if n.primitive in _ENDS]
            chosen.update((n, (lane, t, k)) for k, n in enumerate(bounded))
    groups: dict[tuple[Lane, object], list[tuple[int, Node, Array]]] = {}
    known = {n: n.saved[0] for n in chosen if n.saved[0] is not None}
    if len(known) < len(chosen):
        known.update((n, value) for n, value in values(tape) if n in chosen)
    for n, (lane, t, _) in chosen.items():
        groups.setdefault((lane, steps.key(n)), []).append((t, n, known[n]))
    return [_unit(lane, found) for (lane, _), found in groups.items()]


def _unit(lane: Lane, found: list[tuple[int, Node, Array]]) -> Unit:
    node = found[0][1]
    low, high = _ENDS[node.primitive]
    total = up = down = 0
    saturated: dict[int, float] = {}
    always: Any = True
    for t, _, value in found:
        above, below = value > high, value <= low
        flat = above | below
        total, up, down = total + value.size, up + int(above.sum()), down + int(below.sum())
        saturated[t] = float(flat.mean()) if value.size else 0.0
        always = always & flat.reshape(-1, flat.shape[-1] if flat.ndim else 1).all(axis=0)
    worst = max(saturated, key=lambda t: saturated[t])
    node = next(n for t, n, _ in found if t == worst)
    name = variables([node]).get(node, node.op)
    count = max(total, 1)
    dead = float(np.mean(always))
    return Unit(lane, name, node, len(found), saturated, up / count, down / count, dead)


def _ends(flat: float) -> dict[Primitive, tuple[float, float]]:
    """Return where the derivative has fallen to this share of the largest one."""
    gate = (1 - np.sqrt(1 - flat)) / 2  # 4 p (1 - p) = flat
    edge = float(np.sqrt(1 - flat))  # 1 - y * y = flat
    return {
        _primitive(tanh): (-edge, edge),
        _primitive(sigmoid): (gate, 1 - gate),
        _primitive(hard_sigmoid): (0.0, 1 - 1e-7),
        _primitive(relu): (0.0, np.inf),
    }


_ENDS = _ends(FLAT)
