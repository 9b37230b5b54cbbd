"""The LSTM with a shortcut from its input to its output."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import split
from .base import LSTMState, PublishedCell

__all__ = ["ResidualLSTM"]


class ResidualLSTM(PublishedCell):
    """LSTM with a shortcut from its input to its output, for deep stacks.

        i  = sigmoid(W_i x + U_i h + p_i * c + b_i)
        f  = sigmoid(W_f x + U_f h + p_f * c + b_f)
        g  = tanh(W_g x + U_g h + b_g)
        c' = f * c + i * g
        o  = sigmoid(W_o x + U_o h + p_o * c' + b_o)
        h' = o * (W_p tanh(c') + x)

    The output is h'; the state is (h, c), each (batch, H). W (4H, I), U (4H, H), b (4H,): blocks in
    the order i, f, g, o. p (3H,): blocks in the order i, f, o. W_p (H, H). Where I differs from H,
    W_h x takes the place of x in h', with W_h (H, I). b_f starts at 1.

    J. Kim, M. El-Khamy and J. Lee, Residual LSTM: Design of a Deep Recurrent Architecture for
    Distant Speech Recognition, Interspeech 2017, arXiv:1701.03360.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = LSTMState

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U, self.b = self.inputs(4), self.recurrent(4), self.bias(4)
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size)
        self.p = self.vector(blocks=3)
        self.W_p = self.recurrent()
        self.W_h = None if input_size == hidden_size else self.inputs()

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        i, f, g, o = split(
            self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 4, axis=-1
        )
        p_i, p_f, p_o = split(self.p, 3, axis=-1)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
        o = sigmoid(o + p_o * c)
        shortcut = x if self.W_h is None else x @ self.W_h.T
        h = o * (tanh(self.to_output(c)) @ self.W_p.T + shortcut)
        return h, LSTMState(h, c)
