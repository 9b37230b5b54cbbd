"""Singular values of the Jacobian of a state by an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..core.errors import GraphError
from ..core.primitive import Array
from ..core.tape import Node
from ..kernels.runtime import without_collection
from ..recurrent.ledger import walk_back
from ..recurrent.moments import Lane
from .runs import Runs
from .steps import State, Steps


class Spectrum(NamedTuple):
    """The singular values of a product of Jacobians.

    Attributes
    ----------
    start, stop : int
        It is the derivative of the state after step `stop` by that after step `start`.
    states : tuple of str
        The components of the state: those that are on the tape after both steps. What nothing reads
        any more, as a component after the last step may be, is not.
    values : array (rows, size of the state)
        The singular values of each row of the batch, the largest first.
    apart : bool
        Whether the rows do not depend on each other. Where they do, as by batch normalisation,
        `values` are of the derivative of the sum over the rows.
    """

    start: int
    stop: int
    states: tuple[str, ...]
    values: Array
    apart: bool

    @property
    def rate(self) -> float:
        """The factor per step that the largest singular value implies, the median of the rows.

        A gradient vanishes if it is below 1, and may explode if it is above.
        """
        largest = float(np.median(self.values[:, 0]))
        return float(largest ** (1 / abs(self.stop - self.start)))


def spectrum_of(
    runs: Runs, opened: Callable[[], Steps], start: int, stop: int, lane: Lane | None
) -> Spectrum:
    """Walk back from each element of the state after `stop` to the state after `start`.

    `opened` returns all as single steps, where it is needed.
    """
    lane = next(iter(runs.times)) if lane is None else lane
    if lane not in runs.times:
        raise GraphError(f"spectrum: there is no run {lane}; there are {list(runs.times)}")
    order = runs.times[lane]
    if start not in order or stop not in order or order.index(start) >= order.index(stop):
        raise GraphError(
            f"spectrum: expected two steps of {lane.described()}, the earlier first, which runs from {order[0]} to {order[-1]}; found {start} and {stop}"
        )
    compiled = any(run.lane == lane for run in runs.compiled.values())
    steps = (runs.between(lane, start, stop) or opened()) if compiled else runs.steps
    if lane not in steps.lanes:  # of these steps alone
        lane = next(iter(steps.lanes))
    states = [s for s in steps.states if s.lane == lane]
    states = [s for s in states if start in s.makers and stop in s.makers]
    if not states:
        raise GraphError(
            f"spectrum: steps {start} and {stop} of {lane.described()} hand on no state"
        )
    ends, begins = [s.makers[stop] for s in states], [s.makers[start] for s in states]
    between = list(order[order.index(start) + 1 : order.index(stop) + 1])
    nodes = [n for t in reversed(between) for n in reversed(steps.lanes[lane][t])]
    rows = _rows(states, stop)
    with without_collection(), np.errstate(all="ignore"):
        parts = [_jacobian_rows(nodes, n, begins, rows) for n in ends]
        apart = rows == 1 or _apart(nodes, ends, begins)
    jacobian = np.concatenate(parts, axis=1)
    finite = bool(np.isfinite(jacobian).all())
    found = np.linalg.svd(jacobian, compute_uv=False) if finite else jacobian[:, :, 0] * np.nan
    return Spectrum(start, stop, tuple([s.name for s in states]), found, apart)


def _rows(states: list[State], step: int) -> int:
    """Return the number of rows of a batch, 1 if the components have no axis in common."""
    shapes = [s.makers[step].shape for s in states]
    first = {shape[0] if len(shape) > 1 else 0 for shape in shapes}
    return first.pop() if len(first) == 1 and 0 not in first else 1


def _jacobian_rows(nodes: list[Node], end: Node, begins: list[Node], rows: int) -> Array:
    """Return (rows of the batch, elements of one component, elements of the earlier state)."""
    size = int(np.prod(end.shape)) // rows
    found = []
    for k in range(size):
        seed = np.zeros((rows, size), end.dtype)
        seed[:, k] = 1
        found.append(_pulled(nodes, {end: seed.reshape(end.shape)}, begins, rows))
    return np.stack(found, axis=1)


def _pulled(
    nodes: list[Node], gradients: dict[Node, Array], begins: list[Node], rows: int
) -> Array:
    """Return the gradient by the earlier state, of (rows, elements)."""
    for _ in walk_back(nodes, gradients):
        pass
    parts = [gradients.get(n, np.zeros(n.shape, n.dtype)).reshape(rows, -1) for n in begins]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _apart(nodes: list[Node], ends: list[Node], begins: list[Node]) -> bool:
    """Whether the gradient of the first row reaches the first row alone."""
    gradients = {}
    for n in ends:
        gradients[n] = np.zeros(n.shape, n.dtype)
        gradients[n][0] = 1
    rows = ends[0].shape[0]
    return not _pulled(nodes, gradients, begins, rows)[1:].any()
