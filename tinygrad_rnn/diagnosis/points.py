"""Fixed points and slow points of a map, found from many starts at once, and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..kernels.blas import single
from .step_map import StepMap

_SHOWN = 20  # rows of a table
_BLOCK = 1_000_000  # numbers in the matrices that are solved at once: they stay in the cache


@dataclass(frozen=True)
class Points:
    """Points at which a cell rests, or nearly so; the printed form is a table.

    Fixed points come first, stable ones before others, then slow points; within these, the one that
    most starts led to first. ``points[mask]`` and ``points[2:5]`` are points again.

    Attributes
    ----------
    cell : str
        The name of the cell.
    states : tree of ndarrays
        The points as states of the cell; a row for each.
    q : ndarray, shape (points,)
        Half the squared length of the step from each point, 1/2 |F(h) - h|^2.
    kind : ndarray of str, shape (points,)
        "stable": all eigenvalues are inside the unit circle; "saddle": some are outside, and
        "unstable": all are; "marginal": none is outside, but the largest is on the circle, as near
        as the dtype can tell; "slow": no fixed point, but a minimum of q.
    jacobians : ndarray, shape (points, n, n)
        dF/dh at each point, components of the state one after the other.
    eigenvalues : ndarray of complex, shape (points, n)
        Those of the Jacobians, the largest first.
    starts : ndarray of int, shape (points,)
        How many starts led to each.
    lost : int
        How many starts led to none of them.
    """

    cell: str
    states: Any
    rows: Array
    q: Array
    kind: Array
    jacobians: Array
    eigenvalues: Array
    starts: Array
    lost: int
    _step_map: StepMap

    @property
    def speed(self) -> Array:
        """The length of the step from each point, |F(h) - h|."""
        return np.asarray(np.sqrt(2 * self.q))

    @property
    def stable(self) -> Array:
        """Which of them are stable fixed points."""
        return np.asarray(self.kind == "stable")

    @property
    def unstable(self) -> Array:
        """How many eigenvalues are outside the unit circle, at each."""
        return np.asarray((np.abs(self.eigenvalues) > 1 + _margin(self.rows.dtype)).sum(1))

    def __len__(self) -> int:
        return len(self.q)

    def __getitem__(self, which: Any) -> Points:
        at = np.atleast_1d(np.arange(len(self))[which])
        rows = self.rows[at]
        return Points(
            cell=self.cell,
            states=self._step_map.tree(rows),
            rows=rows,
            q=self.q[at],
            kind=self.kind[at],
            jacobians=self.jacobians[at],
            eigenvalues=self.eigenvalues[at],
            starts=self.starts[at],
            lost=self.lost + int(self.starts.sum() - self.starts[at].sum()),
            _step_map=self._step_map,
        )

    def __repr__(self) -> str:
        head = f"{self.cell}: {len(self)} points of {self._step_map.size} numbers"
        found = int(self.starts.sum())
        lines = [
            f"{head}; {found} of {found + self.lost} starts led to them",
            f"{'':>4}  {'kind':<8} {'q':>8} {'speed':>8} {'starts':>6} {'outside':>7}  largest eigenvalues",
        ]
        for k in range(min(len(self), _SHOWN)):
            lines.append(
                f"{k:>4}  {self.kind[k]:<8} {self.q[k]:>8.1e} {self.speed[k]:>8.1e} {self.starts[k]:>6} {self.unstable[k]:>7}  "
                + _leading(self.eigenvalues[k])
            )
        if len(self) > _SHOWN:
            lines.append(f"{'':>4}  and {len(self) - _SHOWN} more")
        return "\n".join(line.rstrip() for line in lines)


def _leading(values: Array) -> str:
    """Return the three largest eigenvalues as text; a conjugate pair counts as one."""
    upper = [v for v in values if v.imag >= 0][:3]
    return ", ".join(f"{v.real:.3f} ± {v.imag:.3f}i" if v.imag else f"{v.real:.3f}" for v in upper)


def _margin(dtype: Any) -> float:
    """Return how near to the unit circle an eigenvalue has to be so that no side is known."""
    return float(np.sqrt(np.finfo(dtype).eps))


@dataclass(frozen=True)
class Search:
    """How points are looked for; see `Dynamics.points`."""

    method: str
    descent: int
    rate: float
    newton: int
    tolerance: float | None
    slow: float
    apart: float

    def run(self, step_map: StepMap, starts: Array) -> Points:
        """Go from each start to where it leads, and return the different points."""
        # the matrices are small, and many; a step that goes too far is not taken
        with single, np.errstate(over="ignore", invalid="ignore"):
            return self._run(step_map, starts)

    def _run(self, step_map: StepMap, starts: Array) -> Points:
        h = starts
        if self.method == "descent":
            h = step_map.descend(h, self.descent, self.rate)
        like = np.arange(len(h))  # which row each start has come to; -1: to none
        at, like = self._merged(h, like, np.asarray(np.isfinite(h).all(1)))
        h = h[at]
        h, like = self._newton(step_map, h, like)
        q = 0.5 * (_rest(step_map, h) ** 2).sum(1)
        fixed = q <= self._limit(step_map, h)
        at, like = self._merged(h, like, fixed | (q <= self.slow), np.lexsort((q, ~fixed)))
        h, q, fixed = h[at], q[at], fixed[at]
        jacobians = step_map.finite(step_map.jacobians(h), "points")
        keep = fixed | _is_minimum(step_map, h, jacobians)
        counts = np.bincount(like[like >= 0], minlength=len(h))
        return self._points(
            step_map, h[keep], q[keep], fixed[keep], jacobians[keep], counts[keep], len(starts)
        )

    def _points(
        self,
        step_map: StepMap,
        h: Array,
        q: Array,
        fixed: Array,
        jacobians: Array,
        counts: Array,
        starts: int,
    ) -> Points:
        """Return the points in order, each with its eigenvalues and its kind."""
        values = np.linalg.eigvals(jacobians.astype(np.float64)).astype(np.complex128)
        order = np.argsort(-np.abs(values), axis=1, kind="stable")
        values = np.take_along_axis(values, order, axis=1)
        size, margin = np.abs(values), _margin(step_map.dtype)
        kind = np.select(
            [~fixed, size[:, 0] < 1 - margin, size[:, 0] <= 1 + margin, size[:, -1] > 1 + margin],
            ["slow", "stable", "marginal", "unstable"],
            "saddle",
        )
        rank = np.select([kind == "stable", kind != "slow"], [0, 1], 2)
        at = np.lexsort((q, -counts, rank))
        h, counts = h[at], counts[at]
        return Points(
            step_map.name,
            step_map.tree(h),
            h,
            q[at],
            kind[at],
            jacobians[at],
            values[at],
            counts,
            int(starts - counts.sum()),
            step_map,
        )

    def _limit(self, step_map: StepMap, h: Array) -> Array:
        """Return the largest q of a fixed point: what a few roundings in each component make."""
        if self.tolerance is not None:
            return np.full(len(h), self.tolerance)
        roundings = 16 * np.finfo(step_map.dtype).eps * np.maximum(1, np.abs(h.astype(np.float64)))
        return np.asarray(0.5 * (roundings**2).sum(1))

    def _newton(self, step_map: StepMap, h: Array, like: Array) -> tuple[Array, Array]:
        """Return rows after Newton's method on F(h) = h, damped after Levenberg and Marquardt.

        The damping is mu |F(h) - h|^2: with a small one this is Newton's step, with a large one
        gradient descent on q. It goes with the residual, so that convergence is quadratic also along
        lines of fixed points (N. Yamashita and M. Fukushima, On the Rate of Convergence of the
        Levenberg-Marquardt Method, 2001). mu falls where q falls, and grows where it does not.
        """
        h, r = h.astype(np.float64), _rest(step_map, h)
        q, mu = 0.5 * (r * r).sum(1), np.ones(len(h))
        going = np.arange(len(h))
        for k in range(self.newton):
            if k % 4 == 3:  # many starts are on their way to the same points
                at, like = self._merged(h, like, np.isfinite(q), np.argsort(q))
                h, r, q, mu, going = h[at], r[at], q[at], mu[at], np.flatnonzero(np.isin(at, going))
            if not len(going):
                break
            blocks = np.array_split(going, -(-len(going) * step_map.size**2 // _BLOCK))
            gain = np.concatenate([_better(step_map, h, r, q, mu, block) for block in blocks])
            near = q[going] <= self._limit(step_map, h[going])
            # a row whose steps were all refused goes on with more damping, while that changes it
            refused = (gain == 0) & ~near & (mu[going] * q[going] < 100)
            going = going[refused | (gain > np.where(near, 0.5, 1e-3))]
        return h.astype(step_map.dtype), like

    def _merged(
        self, h: Array, like: Array, keep: Array, order: Array | None = None
    ) -> tuple[Array, Array]:
        """Return which rows stand for all that are to be kept, and which of these each start is at.

        The first in the order stand for those that are near them in every component.
        """
        near = self.apart * np.maximum(1, np.abs(h).max(1, initial=0))
        leader = np.where(keep, -2, -1)
        chosen: list[int] = []
        for k in range(len(h)) if order is None else order:
            if leader[k] == -2:
                free = np.flatnonzero(leader == -2)
                leader[free[np.abs(h[free] - h[k]).max(1) <= near[k]]] = len(chosen)
                chosen.append(int(k))
        return np.array(chosen, int), np.where(like < 0, -1, leader[like])


def _better(step_map: StepMap, h: Array, r: Array, q: Array, mu: Array, going: Array) -> Array:
    """Make one step of some rows in place, and return by what part of it q fell in each."""
    diagonal = np.arange(step_map.size)
    a = step_map.jacobians(h[going].astype(step_map.dtype)).astype(np.float64)
    a[:, diagonal, diagonal] -= 1
    normal, slope = a.swapaxes(1, 2) @ a, (r[going][:, None] @ a)[:, 0]
    waiting, gain = np.arange(len(going)), np.zeros(len(going))
    for _ in range(4):
        rows = going[waiting]
        damped = normal[waiting]
        damped[:, diagonal, diagonal] += (mu[rows] * np.minimum(2 * q[rows], 1) + 1e-14)[:, None]
        move = -np.linalg.solve(damped, slope[waiting][..., None])[..., 0]
        # in the dtype of the cell, so that q is that of the point which is returned
        tried = (h[rows] + move).astype(step_map.dtype)
        rest = _rest(step_map, tried)
        found = 0.5 * (rest * rest).sum(1)
        better = found < q[rows]
        mu[rows] *= np.where(better, 0.1, 10.0)
        to = rows[better]
        gain[waiting[better]] = 1 - found[better] / q[to]
        h[to], r[to], q[to] = tried[better], rest[better], found[better]
        waiting = waiting[~better]
        if not len(waiting):
            break
    return gain


def _rest(step_map: StepMap, h: Array) -> Array:
    """Return F(h) - h of rows in float64."""
    return step_map.step(h).astype(np.float64) - h if len(h) else np.zeros(h.shape)


def _is_minimum(step_map: StepMap, h: Array, jacobians: Array) -> Array:
    """Whether q is as small as it gets around each row: its slope is small beside the step itself."""
    r = _rest(step_map, h)
    slope = (r[:, None] @ (jacobians - np.eye(step_map.size)))[:, 0]
    return np.asarray(np.linalg.norm(slope, axis=1) <= 0.03 * np.linalg.norm(r, axis=1))
