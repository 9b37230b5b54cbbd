"""Cells that read a hidden state of several steps ago. Their state is the list of the last ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tensor import Tensor
from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import concatenate, split
from .base import PublishedCell

__all__ = ["DilatedRNN", "TauGRU"]


class DilatedRNN(PublishedCell):
    """Dilated recurrent network: what is fed back is the state of several steps ago.

        h_t = tanh(W x_t + U h_(t - dilation) + b)

    The output is h_t. The state has shape (batch, dilation, hidden_size): h_(t - dilation), ...,
    h_(t - 1), the oldest first; a step drops the oldest and appends the new one. W (hidden_size,
    input_size), U (hidden_size, hidden_size), b (hidden_size,).

    S. Chang et al., Dilated Recurrent Neural Networks, NeurIPS 2017, arXiv:1710.02224: one layer,
    with the simple cell. The paper stacks layers of dilation 1, 2, 4, ..., and also takes LSTM and
    GRU for the cell.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    dilation : int
        How many steps ago the state is read, at least 1; with 1 the cell is `Elman`.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    bookkeeping = ("past",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dilation: int = 2,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if dilation < 1:
            raise TinygradError(f"DilatedRNN: dilation must be at least 1; found {dilation}")
        self.dilation = dilation
        self.W, self.U, self.b = self.inputs(), self.recurrent(), self.bias()

    def initial_state(self, batch_size: int) -> Tensor:
        """Return zeros as the first state."""
        return self.zeros(batch_size, self.dilation, self.hidden_size)

    def forward(self, x: Any, past: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        h = tanh(self.from_input(x, self.W) + self.from_state(past[:, 0], self.U) + self.b)
        return h, concatenate([past[:, 1:], h[:, None]], axis=1)


class TauGRU(PublishedCell):
    """A gated recurrent unit with weighted feedback of a delayed state.

        u       = tanh(W_u h_n + U_u x)
        z       = tanh(W_z h_(n - delay) + U_z x)
        g       = sigmoid(W_g h_n + U_g x)
        a       = sigmoid(W_a h_n + U_a x)
        h_(n+1) = (1 - g) * h_n + g * (u + a * z)

    The output is h_(n+1). Each product with x has its bias.

    The state has shape (batch, delay + 1, hidden_size): h_(n - delay), ..., h_n, the oldest first; a
    step drops the oldest and appends the new one. U (4 * hidden_size, input_size) and b (4 *
    hidden_size,) have the blocks u, z, g, a; W (3 * hidden_size, hidden_size) the blocks u, g, a,
    which multiply h_n; W_z (hidden_size, hidden_size) multiplies h_(n - delay).

    N. B. Erichson, S. H. Lim and M. W. Mahoney, Gated Recurrent Neural Networks with Weighted
    Time-Delay Feedback (2022), arXiv:2212.00228, where the blocks are numbered 1 to 4 in the order
    u, z, g, a. The paper's equations leave the biases out.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    delay : int
        How many steps older than h_n the delayed state is, at least 1.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    bookkeeping = ("past",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        delay: int = 5,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if delay < 1:
            raise TinygradError(f"TauGRU: delay must be at least 1; found {delay}")
        self.delay = delay
        self.U, self.b, self.W, self.W_z = (
            self.inputs(4),
            self.bias(4),
            self.recurrent(3),
            self.recurrent(),
        )

    def initial_state(self, batch_size: int) -> Tensor:
        """Return zeros as the first state."""
        return self.zeros(batch_size, self.delay + 1, self.hidden_size)

    def forward(self, x: Any, past: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        h = past[:, -1]
        x_u, x_z, x_g, x_a = split(self.from_input(x, self.U) + self.b, 4, axis=-1)
        h_u, h_g, h_a = split(self.from_state(h, self.W, name="h"), 3, axis=-1)
        u, z = tanh(h_u + x_u), tanh(self.from_state(past[:, 0], self.W_z, name="h") + x_z)
        g, a = sigmoid(h_g + x_g), sigmoid(h_a + x_a)
        h = (1 - g) * h + g * (u + a * z)
        return h, concatenate([past[:, 1:], h[:, None]], axis=1)
