"""The simple recurrent network."""

from __future__ import annotations

from typing import Any

from ..ops.elementwise import tanh
from .gates import BlockCell


class Elman(BlockCell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh); the output is h' (Elman 1990, Finding Structure in Time).

    The state is h, shape (batch, hidden_size). Weights are in PyTorch's layout (`nn.RNN`).
    """

    def forward(self, x: Any, state: Any) -> Any:
        """One step: (batch, input_size) and the state to the output and the new state."""
        self.check(x)
        h = tanh(x @ self.weight_ih.T + self.bias_ih + state @ self.weight_hh.T + self.bias_hh)
        return h, h
