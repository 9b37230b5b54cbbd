"""Long short-term memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..core.record import describe
from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import split
from .gates import BlockCell


class LSTMState(NamedTuple):
    """Hidden and cell state, each of shape (batch, hidden_size)."""

    h: Any
    c: Any


class LSTM(BlockCell):
    """LSTM with forget gate (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000).

    i, f, o = sigmoid(W x + b + U h + b'), g = tanh(...); c' = f * c + i * g; h' = o * tanh(c'); the output is h'.

    Weights are in PyTorch's layout (`nn.LSTM`): blocks in the order i, f, g, o. The forget gate's bias starts at 1.
    """

    gates = 4

    def __init__(self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.bias_ih.data = init.forget_bias(self.bias_ih.numpy(), hidden_size)

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros for h and c."""
        return LSTMState(self.zeros(batch_size, self.hidden_size), self.zeros(batch_size, self.hidden_size))

    def forward(self, x: Any, state: Any) -> Any:
        """One step: (batch, input_size) and (h, c) to the output and the new (h, c)."""
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise ShapeError(f"LSTM: the state is (h, c); found {describe(state)}")
        self.check(x)
        h, c = state
        gates = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
        i, f, g, o = split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, LSTMState(h, c)
