"""Saturated gates and dead units: operations whose derivative is next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import TinygradError
from ..core.primitive import Array, Primitive
from ..core.tape import Node
from ..ops.elementwise import hard_sigmoid, relu, sigmoid, tanh
from ..ops.source import variables
from ..recurrent.ledger import values
from ..recurrent.moments import Lane
from ..recurrent.opened import steps_again
from .runs import Run, Runs, in_step

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


def units_of(runs: Runs) -> list[Unit]:
    """Look at the bounded operations of at most 256 steps of each run."""
    found: dict[tuple[Lane, object], list[Piece]] = {}
    compiled = {run.lane for run in runs.compiled.values()}
    chosen: dict[Node, tuple[Lane, int]] = {}
    for lane, every in runs.times.items():
        order = every[:: -1 if runs.falls(lane) else 1]
        places = np.unique(np.linspace(0, len(order) - 1, LOOKED_AT).round().astype(int))
        times = [order[k] for k in places]
        if lane not in compiled:
            nodes = ((n, t) for t in times for n in runs.steps.lanes[lane][t])
            chosen.update((n, (lane, t)) for n, t in nodes if n.primitive in _ENDS)
            continue
        rest = times
        for run in (run for run in runs.compiled.values() if run.lane == lane):
            own = [t for t in times if t in run.measured.times]
            rest = [t for t in rest if t not in run.measured.times]
            for key, piece in _of_compiled(run, own) if own else ():
                found.setdefault((lane, key), []).append(piece)
        for t in rest:  # which did not run compiled
            bounded = [n for n in runs.steps.lanes[lane][t] if n.primitive in _ENDS]
            for k, n in enumerate(bounded):
                found.setdefault((lane, k), []).append(Piece(n, [t], _value(n)[None]))
    known = {n: n.saved[0] for n in chosen if n.saved[0] is not None}
    if len(known) < len(chosen):
        known.update((n, value) for n, value in values(runs.tape) if n in chosen)
    for n, (lane, t) in chosen.items():
        found.setdefault((lane, runs.steps.key(n)), []).append(Piece(n, [t], known[n][None]))
    return [_unit(lane, pieces) for (lane, _), pieces in found.items()]


class Piece(NamedTuple):
    """The values that an operation had in some steps, (steps, ...)."""

    node: Node
    times: list[int]
    values: Array


def _of_compiled(run: Run, times: list[int]) -> Iterator[tuple[int, Piece]]:
    """Yield the bounded operations of some steps of a compiled sequence, numbered as in each step."""
    nodes = _together(run, times) if run.measured.separable else None
    if nodes is not None:
        for k, n in enumerate(nodes):
            value = _value(n).reshape(len(times), n.shape[0] // len(times), *n.shape[1:])
            yield k, Piece(n, times, value)
        return
    states = run.measured.states(times)
    for j, t in enumerate(times):
        given = [*run.measured.inputs, *(s[j] for s in states)]
        made, (results,) = steps_again(run.node, [t], given)
        for k, n in enumerate(n for n in run.needed(made, results) if n.primitive in _ENDS):
            yield k, Piece(n, [t], _value(n)[None])


def _together(run: Run, times: list[int]) -> list[Node] | None:
    """Run some steps of a compiled sequence as rows of one batch, and return bounded operations.

    None if something else comes out than in the compiled steps.
    """
    measured = run.measured
    places = np.array(times) - measured.first
    inputs = [_as_rows(x[places])[None] for x in measured.inputs]
    before, after = ([_as_rows(s) for s in measured.states(times, k)] for k in (0, 1))
    try:
        made, (results,) = steps_again(run.node, [measured.first], [*inputs, *before])
    except TinygradError:
        return None
    for y, expected in zip(results[-len(after) :], after, strict=True):
        if y.shape != expected.shape or not _close(y.array, expected):
            return None
    nodes = [n for n in run.needed(made, results) if n.primitive in _ENDS]
    return nodes if all(n.shape[:1] == after[0].shape[:1] for n in nodes) else None


def _as_rows(several: Array) -> Array:
    """Return values of steps, (steps, rows, ...), as rows of one batch."""
    steps, rows, *rest = several.shape
    return several.reshape(steps * rows, *rest)


def _value(node: Node) -> Array:
    """Return the value of an operation whose rule reads it, or what it is computed from."""
    out, *inputs = node.saved
    return np.asarray(node.primitive.forward(*inputs, **node.params) if out is None else out)


def _close(one: Array, two: Array) -> bool:
    """Whether two arrays differ by roundings."""
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, two))
    least = np.sqrt(np.finfo(one.dtype).eps)
    return bool(np.allclose(one, two, rtol=least, atol=least, equal_nan=True))


def _unit(lane: Lane, pieces: list[Piece]) -> Unit:
    low, high = _ENDS[pieces[0].node.primitive]
    of = {t: piece.node for piece in pieces for t in piece.times}
    if len({piece.values.shape[1:] for piece in pieces}) == 1:  # all at once
        every = [t for piece in pieces for t in piece.times]
        whole = np.concatenate([piece.values for piece in pieces])
        pieces = [Piece(pieces[0].node, every, whole)]
    total = up = down = 0
    saturated: dict[int, float] = {}
    always: Any = True
    for _, times, value in pieces:
        above, below = value > high, value <= low
        flat = above | below
        total, up, down = total + value.size, up + int(above.sum()), down + int(below.sum())
        shares = flat.reshape(len(times), -1).mean(axis=1) if value.size else np.zeros(len(times))
        saturated.update(zip(times, shares.tolist(), strict=True))
        always = always & flat.reshape(-1, flat.shape[-1] if flat.ndim > 1 else 1).all(axis=0)
    worst = max(saturated, key=lambda t: saturated[t])
    node = in_step(of[worst], worst)
    name = variables([node]).get(node, node.op)
    count = max(total, 1)
    dead = float(np.mean(always))
    return Unit(lane, name, node, len(saturated), saturated, up / count, down / count, dead)


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
