"""The simple recurrent network."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..ops.elementwise import relu, tanh
from .base import PublishedCell

__all__ = ["Elman"]


class Elman(PublishedCell):
    """The simple recurrent network.

        h' = tanh(W_ih x + b_ih + W_hh h + b_hh)

    The output is h'. With ``nonlinearity="relu"`` relu takes the place of tanh.

    J. L. Elman, Finding Structure in Time, Cognitive Science 14 (1990).

    The state is h, shape (batch, hidden_size). Weights are in PyTorch's layout (`nn.RNN`).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    nonlinearity : {"tanh", "relu"}
        The function of the sum.
    bias : bool
        Whether there are biases.
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
        nonlinearity: str = "tanh",
        bias: bool = True,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if nonlinearity not in ("tanh", "relu"):
            raise TinygradError(
                f"Elman: nonlinearity must be 'tanh' or 'relu'; found {nonlinearity!r}"
            )
        self.nonlinearity = nonlinearity
        self.torch_layout(1, bias)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        a = self.torch_sum(x, h)
        h = tanh(a) if self.nonlinearity == "tanh" else relu(a)
        return h, h
