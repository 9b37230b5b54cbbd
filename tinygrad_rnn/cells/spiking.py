"""Spiking cells: outputs are 0 or 1, and gradients pass through a smooth surrogate."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ops.custom import custom_vjp
from ..ops.elementwise import abs
from .base import PublishedCell

__all__ = ["LIF", "LIFState"]

SLOPE = 10.0


@custom_vjp
def spike(v: Any) -> Any:
    """Return 1 where v > 0, otherwise 0.

    In place of its derivative stands 1 / (1 + 10 |v|)^2 (SuperSpike, Zenke and Ganguli 2018).
    """
    return v > 0


@spike.vjp
def _(g: Any, v: Any) -> Any:
    return g / (1 + SLOPE * abs(v)) ** 2


@spike.jvp
def _(t: Any, out: Any, v: Any) -> Any:
    return t / (1 + SLOPE * abs(v)) ** 2


class LIFState(NamedTuple):
    """Spikes s (0 or 1) and membrane potential u, each of shape (batch, hidden_size)."""

    s: Any
    u: Any


class LIF(PublishedCell):
    """Leaky integrate-and-fire neurons, which spike when their potential passes a threshold.

        u' = beta * u + W x + U s + b - threshold * s
        s' = 1 where u' > threshold, otherwise 0

    The output is s'.

    The state is (s, u), each (batch, hidden_size). W (hidden_size, input_size), U (hidden_size,
    hidden_size), b (hidden_size,). In derivatives s' = `spike` (u' - threshold) has the surrogate
    slope 1 / (1 + 10 |u' - threshold|)^2 in place of the true one, which is zero; also on the path
    through the reset.

    E. O. Neftci, H. Mostafa and F. Zenke, Surrogate Gradient Learning in Spiking Neural Networks,
    IEEE Signal Processing Magazine 36 (2019), arXiv:1901.09948; the slope of F. Zenke and S.
    Ganguli, SuperSpike, Neural Computation 30 (2018), arXiv:1705.11146. A spike lowers the
    potential by the threshold in the next step, as in the first paper, which also filters the
    synaptic current; here the current acts at once. Implementations differ in whether gradients
    pass through the reset.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    beta : float
        How much of the potential stays at each step, exp(-dt / tau) of the membrane; not trained.
    threshold : float
        The potential above which a unit spikes; not trained.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = LIFState
    bookkeeping = ("s",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        beta: float = 0.9,
        threshold: float = 1.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.beta, self.threshold = beta, threshold
        self.W, self.U, self.b = self.inputs(), self.recurrent(), self.bias()

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (s, u)."""
        s, u = state
        u = (
            self.beta * u
            + self.from_input(x, self.W)
            + self.from_state(s, self.U, name="s")
            + self.b
            - self.threshold * s
        )
        s = spike(u - self.threshold)
        return s, LIFState(s, u)
