"""Gated recurrent unit."""

from __future__ import annotations

from typing import Any

from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import split
from .gates import BlockCell


class GRU(BlockCell):
    """GRU with the reset gate after the product (Cho et al. 2014, first version; cuDNN and PyTorch).

    r, z = sigmoid(W x + b + U h + b'); n = tanh(W_n x + b_n + r * (U_n h + b'_n)); h' = (1 - z) * n + z * h; the output is h'.

    The state is h, shape (batch, hidden_size). Weights are in PyTorch's layout (`nn.GRU`): blocks in the order r, z, n.
    """

    gates = 3

    def forward(self, x: Any, state: Any) -> Any:
        """One step: (batch, input_size) and the state to the output and the new state."""
        self.check(x)
        xr, xz, xn = split(x @ self.weight_ih.T + self.bias_ih, 3, axis=-1)
        hr, hz, hn = split(state @ self.weight_hh.T + self.bias_hh, 3, axis=-1)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = tanh(xn + r * hn)
        h = n + z * (state - n)
        return h, h
