"""Baselines to read the figures of recurrent networks against."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError, TinygradError
from ..core.primitive import Array
from ..core.record import describe
from ..core.tensor import Tensor
from ..module import Module
from ..ops.checks import size, sizes
from ..ops.elementwise import tanh
from ..ops.shaping import reshape, swapaxes
from .architectures import floats
from .layers import Linear


class WindowMLP(Module):
    """A network without memory: linear, tanh, linear on the last steps of a sequence.

    It is the baseline of forecasting. F. Gers, D. Eck and J. Schmidhuber, Applying LSTM to Time
    Series Predictable through Time-Window Approaches, ICANN 2001, advise to use LSTM only where
    this fails. A. Weigend, D. Rumelhart and B. Huberman, Generalization by Weight-Elimination with
    Application to Forecasting, NeurIPS 1990, predict sunspots with such a network.

    Parameters
    ----------
    window : int
        How many steps it sees.
    hidden, output : int
        Units, and numbers in the output.
    features : int
        Features of a step.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        The dtype of the parameters.
    """

    def __init__(
        self,
        window: int,
        hidden: int,
        output: int = 1,
        features: int = 1,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        sizes("WindowMLP", window=window, hidden=hidden, output=output, features=features)
        rng = init.generator(rng)
        self.window, self.features = window, features
        self.hidden = Linear(window * features, hidden, rng=rng, dtype=dtype)
        self.output = Linear(hidden, output, rng=rng, dtype=dtype)

    def forward(self, xs: Any) -> Any:
        """Read sequences (T, batch, features), T at least `window`, and return (batch, output)."""
        xs = floats(self, xs)
        if xs.ndim != 3 or xs.shape[2] != self.features or xs.shape[0] < self.window:
            raise ShapeError(
                f"WindowMLP: expected a sequence of shape (T, batch, {self.features}) with T at least window={self.window}; found {describe(xs)}"
            )
        last = swapaxes(xs[xs.shape[0] - self.window :], 0, 1)
        return self.output(
            tanh(self.hidden(reshape(last, (xs.shape[1], self.window * self.features))))
        )


class LinearAutoregression:
    """Each value of a series as a weighted sum of those before it, fitted by least squares.

    y[t] = intercept + coefficients[0] y[t - 1] + ... + coefficients[order - 1] y[t - order]. The
    fit is conditional on the first `order` values and computed in float64; there is nothing to
    train and nothing random. G. U. Yule, On a Method of Investigating Periodicities in Disturbed
    Series, with Special Reference to Wolfer's Sunspot Numbers, Philosophical Transactions A 226
    (1927).

    Parameters
    ----------
    order : int
        How many values are looked at.

    Attributes
    ----------
    coefficients : float64 array, shape (order,)
        The weights, that of the latest value first.
    intercept : float
        The intercept.
    """

    coefficients: Array
    intercept: float

    def __init__(self, order: int) -> None:
        self.order = size(order, "LinearAutoregression: order")

    def fit(self, series: Any) -> LinearAutoregression:
        """Fit to a series of shape (n,), n at least 2 * order + 1, and return the object itself."""
        series = self._checked(series, 2 * self.order + 1, "to fit")
        rows = np.concatenate(
            [self._rows(series[:-1]), np.ones((len(series) - self.order, 1))], axis=1
        )
        solution = np.linalg.lstsq(rows, series[self.order :], rcond=None)[0]
        self.coefficients, self.intercept = solution[:-1], float(solution[-1])
        return self

    def predict(self, series: Any) -> Array:
        """Return the value that follows, at every place of a series where `order` values are known.

        Parameters
        ----------
        series : array, shape (n,)
            The values, n at least `order`.

        Returns
        -------
        float64 array, shape (n - order + 1,)
            Element k is the prediction of value order + k from the true values before it; the last
            one is of the value after the end.
        """
        self._check_fitted()
        predicted: Array = (
            self._rows(self._checked(series, self.order, "to predict")) @ self.coefficients
            + self.intercept
        )
        return predicted

    def forecast(self, series: Any, steps: int) -> Array:
        """Return the next `steps` values after the end of a series, shape (steps,).

        Each prediction is the next one's latest value.
        """
        self._check_fitted()
        known = self._checked(series, self.order, "to forecast").tolist()
        for _ in range(steps):
            known.append(float(self.predict(known[-self.order :])[-1]))
        return np.array(known[len(known) - steps :])

    def _rows(self, series: Array) -> Array:
        """Return the `order` values up to each place, the latest first."""
        return np.lib.stride_tricks.sliding_window_view(series, self.order)[:, ::-1]

    def _checked(self, series: Any, least: int, what: str) -> Array:
        values = np.asarray(series.numpy() if isinstance(series, Tensor) else series, np.float64)
        if values.ndim != 1 or len(values) < least:
            raise ShapeError(
                f"LinearAutoregression: {what} with order {self.order}, expected a series of shape (n,) with n at least {least}; "
                f"found shape {values.shape}"
            )
        if not np.isfinite(values).all():
            raise TinygradError(
                f"LinearAutoregression: the series has a value that is no number at {int(np.argmin(np.isfinite(values)))}"
            )
        return values

    def _check_fitted(self) -> None:
        if not hasattr(self, "coefficients"):
            raise TinygradError(
                "LinearAutoregression has no coefficients yet; call fit(series) first"
            )
