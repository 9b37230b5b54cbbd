"""Echo state networks: a fixed random recurrent matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..ops.checks import number
from ..ops.elementwise import tanh
from .base import PublishedCell

__all__ = ["EchoState"]


class EchoState(PublishedCell):
    """Echo state network: a fixed random recurrent matrix, and leaky units.

        h' = (1 - leak) * h + leak * tanh(W x + U h + b)

    The output is h'. The state is h, shape (batch, hidden_size). U (hidden_size, hidden_size) is a
    constant array, not a parameter: it is normal, scaled so that its largest absolute eigenvalue is
    `spectral_radius`. W (hidden_size, input_size), uniform on [-scale, scale], and b
    (hidden_size,), zeros, are parameters.

    H. Jaeger, The "echo state" approach to analysing and training recurrent neural networks, GMD
    Report 148 (2001); the leaky form as in M. Lukosevicius, A Practical Guide to Applying Echo
    State Networks (2012). In these papers W and b are fixed too, and only a linear readout is
    trained: leave the cell's parameters out of the optimiser for that. U is not part of
    ``state_dict()``; the same `rng` seed makes the same U. It is dense here, often sparse
    elsewhere.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    spectral_radius : float
        The largest absolute eigenvalue of U, at least 0.
    leak : float
        In (0, 1]: how much of a unit is new at each step.
    scale : float
        The bound of W at the start, at least 0.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        spectral_radius: float = 0.9,
        leak: float = 0.3,
        scale: float = 0.5,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if not 0 < leak <= 1:
            raise TinygradError(f"EchoState: leak must be in (0, 1]; found {leak}")
        scale, spectral_radius = (
            number(scale, "EchoState: scale", "[0, inf)"),
            number(spectral_radius, "EchoState: spectral_radius", "[0, inf)"),
        )
        U = self._rng.standard_normal((hidden_size, hidden_size))
        self.U = (U * (spectral_radius / np.abs(np.linalg.eigvals(U)).max())).astype(self._dtype)
        self.leak = leak
        self.W, self.b = self.inputs(), self.bias()
        self.W.data = self._rng.uniform(-scale, scale, self.W.shape).astype(self._dtype)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        h = (1 - self.leak) * h + self.leak * tanh(
            self.from_input(x, self.W) + self.from_state(h, self.U) + self.b
        )
        return h, h
