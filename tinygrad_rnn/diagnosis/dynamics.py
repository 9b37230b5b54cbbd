"""A trained cell as a dynamical system: where it rests, how it behaves there, whether it is chaotic.

The maps, their Jacobians and the search are in `step_map` and `points`, the picture in `portrait`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.primitive import Array
from ..core.tree import leaves, tree_map
from ..init import generator
from ..kernels.blas import single
from ..ops.checks import array, number, shown, size
from .points import Points, Search
from .portrait import Portrait, portrait
from .step_map import StepMap

METHODS = ("newton", "descent")


def dynamics(cell: Any, x: Any = None, *, state: Any = None) -> Dynamics:
    """Look at a cell with a constant input as a dynamical system, h -> F(h).

    Parameters
    ----------
    cell : Cell or callable
        ``(x, state) -> (output, state)``, with the parameters that it has when a method is called. Its
        state may be any tree of floating tensors of one dtype; what is computed has this dtype, so a cell of float64
        with the same parameters gives more digits.
    x : array or Tensor, optional
        The input at every step: one row, without the axis of the batch; or a tuple of such. By
        default zeros, as `Cell.example_input` gives them.
    state : tree of tensors, optional
        The state around which starts are drawn, one row (a first axis of 1). By default the cell's
        first state; a function has to be given one.

    Returns
    -------
    Dynamics
        With the methods `points`, `jacobians`, `lyapunov` and `portrait`.

    Raises
    ------
    TinygradError
        If `cell` is none; if its steps are no map (they draw masks, or mix the rows of a batch); or
        if its derivative rules are not the derivatives of its steps (surrogates, cut gradients).
    ShapeError, DtypeError
        If the input or the state does not fit, or the state has integers.

    References
    ----------
    D. Sussillo and O. Barak, Opening the Black Box, Neural Computation 25 (2013). M. D. Golub and D.
    Sussillo, FixedPointFinder, JOSS 3 (2018).

    Examples
    --------
    >>> cell = tg.cells.Elman(2, 8, rng=0)
    >>> points = tg.dynamics(cell).points(count=50)
    >>> points.states.shape[1:], points.eigenvalues.shape[1:]
    ((8,), (8,))
    """
    return Dynamics(StepMap(cell, x, state))


class Dynamics:
    """A cell as a map of its states, made by `dynamics`."""

    def __init__(self, step_map: StepMap) -> None:
        self._step_map = step_map

    def __repr__(self) -> str:
        step_map = self._step_map
        inputs = ", ".join(str(a.shape) for a in leaves(step_map.x))
        return f"dynamics of {step_map.name}: states of {step_map.size} numbers ({', '.join(step_map.names)}), {step_map.dtype}; a constant input of {inputs}"

    def points(
        self,
        starts: Any = None,
        *,
        count: int | None = None,
        noise: float | None = None,
        method: str = "newton",
        descent: int = 500,
        rate: float = 0.02,
        newton: int = 30,
        tolerance: float | None = None,
        slow: float = 1e-4,
        apart: float = 0.01,
        rng: Any = 0,
    ) -> Points:
        """Find fixed points and slow points from many starts at once.

        Parameters
        ----------
        starts : tree of arrays or tensors, optional
            States to start from; components may have any axes before their own, such as (T, batch,
            ...) as ``tg.unroll(..., return_states=True)`` gives them. Without it they are drawn
            around the first state.
        count : int, optional
            How many of the starts to take, drawn at random; by default all, or 1,000.
        noise : float, optional
            Standard deviation of what is added to each number of a start: by default 0, and 1 where
            no starts are given.
        method : {"newton", "descent"}
            Newton's method, damped so that it goes over into gradient descent on q where a step
            would not make q smaller; or gradient descent (Adam) before that, which goes to nearer
            points, and finds more slow ones and saddles.
        descent, rate : int, float
            Steps of gradient descent, and the size of the first ones.
        newton : int
            Steps of Newton's method at most.
        tolerance : float, optional
            The largest q of a fixed point. By default what 16 roundings in each number make.
        slow : float
            The largest q of a slow point.
        apart : float
            Points nearer than this in every number, relative to the largest number where that is
            above 1, are one.
        rng : seed or Generator

        Returns
        -------
        Points

        Notes
        -----
        A search proves that its points are there, but not that there are no others.
        """
        rng = generator(rng)
        if method not in METHODS:
            raise TinygradError(
                f"points: method must be 'newton' or 'descent'; found {shown(method)}"
            )
        search = Search(
            method,
            size(descent, "points: descent"),
            number(rate, "points: rate", "(0, inf)"),
            size(newton, "points: newton"),
            None if tolerance is None else number(tolerance, "points: tolerance", "(0, inf)"),
            number(slow, "points: slow", "[0, inf)"),
            number(apart, "points: apart", "(0, inf)"),
        )
        return search.run(self._step_map, self._starts(starts, count, noise, rng))

    def _starts(self, starts: Any, count: Any, noise: Any, rng: Any) -> Array:
        """Return the rows to start from."""
        step_map = self._step_map
        count = None if count is None else size(count, "points: count")
        spread = (
            float(starts is None) if noise is None else number(noise, "points: noise", "[0, inf)")
        )
        if starts is None:
            rows = np.repeat(
                step_map.rows(step_map.first, "points: the first state"), count or 1000, axis=0
            )
        else:
            rows = step_map.rows(starts, "points: starts").reshape(-1, step_map.size)
            if not len(rows):
                raise ShapeError("points: expected at least one start; found none")
            if count is not None:
                rows = rows[rng.choice(len(rows), count, replace=count > len(rows))]
        return np.asarray(rows + spread * rng.standard_normal(rows.shape), step_map.dtype)

    def jacobians(self, states: Any) -> Array:
        """Return the Jacobians dF/dh at states, by reverse mode.

        Parameters
        ----------
        states : tree of arrays or tensors
            Components may have any axes before their own.

        Returns
        -------
        ndarray, shape (..., n, n)
            In [..., i, j] the derivative of number i of the next state by number j of the state;
            the components follow each other, each in its order in memory.
        """
        step_map = self._step_map
        rows = step_map.rows(states, "jacobians: states")
        found = step_map.finite(step_map.jacobians(rows.reshape(-1, step_map.size)), "jacobians")
        return np.asarray(found.reshape(*rows.shape, step_map.size))

    def lyapunov(
        self,
        xs: Any = None,
        *,
        steps: int | None = None,
        state: Any = None,
        warmup: int = 0,
        k: int | None = None,
    ) -> Lyapunov:
        """Return Lyapunov exponents along sequences, by repeated QR decomposition.

        Parameters
        ----------
        xs : array or Tensor, shape (T, batch, ...), optional
            The inputs, or a tuple of such. Without them the input is the constant one.
        steps : int, optional
            How many steps to make with the constant input (1,000).
        state : tree of arrays or tensors, optional
            The state before the first step: rows of a batch, or one for all. By default the first
            state.
        warmup : int
            Steps at the beginning that turn the directions, which are random at first, but are not
            counted. Without them exponents are off by about 1 / T; their sum is not, if all are
            computed.
        k : int, optional
            How many exponents, the largest ones; by default all n.

        Returns
        -------
        Lyapunov

        References
        ----------
        R. Engelken, F. Wolf and L. F. Abbott, Lyapunov spectra of chaotic recurrent neural networks
        (2020), arXiv:2006.02427. R. Vogt, M. Puelma Touzel, E. Shlizerman and G. Lajoie, On Lyapunov
        Exponents for RNNs (2020), arXiv:2006.14123.
        """
        step_map = self._step_map
        k = step_map.size if k is None else size(k, "lyapunov: k")
        if k > step_map.size:
            raise ShapeError(
                f"lyapunov: k must be at most {step_map.size}, the numbers of a state; found {k}"
            )
        first = step_map.rows(step_map.first if state is None else state, "lyapunov: state")
        if first.ndim != 2:
            raise ShapeError(
                f"lyapunov: state has axes {first.shape[:-1]}; expected one, of the batch"
            )
        xs, first = self._driven(xs, steps, first)
        T, batch = leaves(xs)[0].shape[:2]
        warmup = size(warmup, "lyapunov: warmup", 0)
        if warmup >= T:
            raise ShapeError(
                f"lyapunov: warmup must be below {T}, the number of steps; found {warmup}"
            )
        states = np.concatenate([first[None], step_map.run(first, xs)])
        if not np.isfinite(states).all():
            raise TinygradError(
                "lyapunov: the states became nan or inf, so there are no exponents along them"
            )
        rates = np.empty((T, batch, k))
        with single, np.errstate(divide="ignore"):  # a step that forgets a direction has -inf
            # random directions: those of the units may be ones that the map keeps to themselves
            q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((batch, step_map.size, k)))
            block = max(1_000_000 // (batch * step_map.size**2), 1)
            for a in range(0, T, block):
                h = states[a : min(a + block, T)]
                end = a + len(h)
                inputs = tree_map(lambda v, a=a, end=end: v[a:end].reshape(-1, *v.shape[2:]), xs)
                found = step_map.finite(
                    step_map.jacobians(h.reshape(-1, step_map.size), inputs), "lyapunov"
                )
                for t, jacobian in enumerate(found.reshape(*h.shape, step_map.size), a):
                    q, r = np.linalg.qr(jacobian.astype(np.float64) @ q)
                    rates[t] = np.log(np.abs(np.diagonal(r, axis1=1, axis2=2)))
        return Lyapunov(step_map.name, rates[warmup:].mean(0), step_map.size)

    def _driven(self, xs: Any, steps: Any, first: Array) -> tuple[Any, Array]:
        """Return the inputs as arrays (T, batch, ...) and the first state of each row of the batch."""
        step_map = self._step_map
        if xs is None:
            T = 1000 if steps is None else size(steps, "lyapunov: steps")
            return step_map.constant(T, len(first)), first
        if steps is not None:
            raise TinygradError(
                "lyapunov: steps says how often the constant input comes; with xs their length does. Give one of them"
            )
        made = tree_map(lambda a: step_map.floating(array(a, "lyapunov: xs")), xs)
        lead = {a.shape[:2] for a in leaves(made)}
        T, batch = (*lead.pop(), 0, 0)[:2] if len(lead) == 1 else (0, 0)
        if not T or not batch or len(first) not in (1, batch):
            shapes = ", ".join(str(a.shape) for a in leaves(made))
            rows = f" and a batch of {len(first)}, as in the state" if len(first) > 1 else ""
            raise ShapeError(
                f"lyapunov: xs has shape {shapes}; expected (T, batch, ...) with at least one step and one row{rows}"
            )
        step_map.check_input(made, "lyapunov: xs", (T, batch))
        return made, np.repeat(first, batch, axis=0) if len(first) == 1 else first

    def portrait(self, points: Points, paths: Any = None, *, steps: int = 40) -> Portrait:
        """Draw points, and paths that lead past them, in the plane of the first two principal components.

        Parameters
        ----------
        points : Points
            Of this cell; at least one.
        paths : tree of arrays or tensors, optional
            Sequences of states (T, batch, ...), as ``tg.unroll(..., return_states=True)`` gives
            them. By default 48 of `steps` steps with the constant input, which begin near the
            points.
        steps : int

        Returns
        -------
        Portrait
            A picture: ``.svg`` is its text, ``.save(path)`` writes it; notebooks show it.
        """
        step_map = self._step_map
        if (
            not isinstance(points, Points)
            or not len(points)
            or points.rows.shape[1] != step_map.size
        ):
            found = (
                f"{len(points)} of {points.rows.shape[1]} numbers"
                if isinstance(points, Points)
                else shown(points)
            )
            raise TinygradError(
                f"portrait: expected points of {step_map.size} numbers, at least one; found {found}"
            )
        if paths is None:
            rng = np.random.default_rng(0)
            rows = points.rows[rng.integers(len(points), size=48)]
            spread = 0.5 * max(float(points.rows.std(0).mean()), 0.1)
            h = (rows + spread * rng.standard_normal(rows.shape)).astype(step_map.dtype)
            xs = step_map.constant(size(steps, "portrait: steps"), len(h))
            lines = np.concatenate([h[None], step_map.run(h, xs)])
        else:
            lines = step_map.rows(paths, "portrait: paths")
            if lines.ndim != 3 or not lines.size:
                raise ShapeError(
                    f"portrait: paths have axes {lines.shape[:-1]}; expected (T, batch)"
                )
        return portrait(step_map.name, points, lines)


@dataclass(frozen=True)
class Lyapunov:
    """Lyapunov exponents, natural logarithms for each step; the printed form is a table.

    Attributes
    ----------
    cell : str
        The name of the cell.
    each : ndarray, shape (batch, k)
        The exponents along each sequence, as QR gives them. Where all n were computed, their sum is
        the mean of log |det dF/dh| along it.
    size : int
        n, how many numbers a state has.
    """

    cell: str
    each: Array
    size: int

    @property
    def exponents(self) -> Array:
        """The means over the batch, the largest first."""
        return -np.sort(-self.each.mean(0))

    @property
    def entropy(self) -> float:
        """The sum of the positive ones, which bounds the rate at which the system makes entropy."""
        return float(np.maximum(self.exponents, 0).sum())

    @property
    def dimension(self) -> float:
        """The dimension of the attractor after Kaplan and Yorke; nan where too few were computed."""
        sums = np.cumsum(self.exponents)
        j = int((sums >= 0).sum())
        if j == len(sums):
            return float(self.size if j == self.size else "nan")
        return float(j + (sums[j - 1] / -self.exponents[j] if j else 0.0))

    def __repr__(self) -> str:
        values, errors = self.exponents, self._errors()
        lines = [
            f"{self.cell}: {len(values)} of {self.size} exponents, {len(self.each)} sequences; "
            f"entropy {self.entropy:.4g} for each step, dimension {self.dimension:.4g}",
            f"{'':>4}  {'exponent':>10} {'± of the mean':>14}",
        ]
        for k in range(min(len(values), 10)):
            error = f"{errors[k]:>14.5f}" if errors is not None else ""
            lines.append(f"{k:>4}  {values[k]:>10.5f} {error}")
        if len(values) > 10:
            lines.append(f"{'':>4}  and {len(values) - 10} more, down to {values[-1]:.5f}")
        return "\n".join(line.rstrip() for line in lines)

    def _errors(self) -> Array | None:
        """Return the standard errors of the means over the batch; None for one sequence."""
        if len(self.each) < 2:
            return None
        order = np.argsort(-self.each.mean(0), kind="stable")
        with np.errstate(invalid="ignore"):  # -inf in all of them
            return np.asarray(self.each[:, order].std(0, ddof=1) / np.sqrt(len(self.each)))
