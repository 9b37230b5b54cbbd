"""Long short-term memory in PyTorch's layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import split
from .base import LSTMState, PublishedCell

__all__ = ["LSTM", "LSTMP"]


class LSTM(PublishedCell):
    """Long short-term memory.

        i  = sigmoid(W_i x + b_i + U_i h + b'_i)
        f  = sigmoid(W_f x + b_f + U_f h + b'_f)
        g  = tanh(W_g x + b_g + U_g h + b'_g)
        o  = sigmoid(W_o x + b_o + U_o h + b'_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    The output is h'.

    S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997), with the
    forget gate of F. Gers, J. Schmidhuber and F. Cummins, Learning to Forget, Neural Computation 12
    (2000).

    The state is (h, c), each (batch, hidden_size). Weights are in PyTorch's layout (`nn.LSTM`):
    blocks in the order i, f, g, o. The forget gate's bias starts at 1.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    bias : bool
        Whether there are biases.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.torch_layout(4, bias)
        if self.bias_ih is not None:
            self.bias_ih.data = init.forget_bias(self.bias_ih.numpy(), hidden_size)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        i, f, g, o = split(self.torch_sum(x, h), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(self.to_output(c))
        return h, LSTMState(h, c)


class LSTMP(LSTM):
    """Long short-term memory whose output is projected to fewer features.

        i, f, g, o and c' as in `LSTM`
        h' = W_hr (o * tanh(c'))

    The output is h'.

    H. Sak, A. Senior and F. Beaufays, Long Short-Term Memory Based Recurrent Neural Network
    Architectures for Large Vocabulary Speech Recognition (2014), arXiv:1402.1128, without
    peepholes, as in PyTorch (``proj_size``).

    The state is (h, c), of shapes (batch, proj_size) and (batch, hidden_size). Weights as in
    `LSTM`, and weight_hr (proj_size, hidden_size).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    proj_size : int
        Features of the output, from 1 to hidden_size - 1.
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
        proj_size: int,
        *,
        bias: bool = True,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        if not 1 <= proj_size < hidden_size:
            raise ShapeError(
                f"LSTMP: proj_size must be from 1 to hidden_size - 1 = {hidden_size - 1}; found {proj_size}"
            )
        super().__init__(input_size, hidden_size, bias=bias, rng=rng, dtype=dtype)
        self.proj_size = self.output_size = proj_size
        self.weight_hh = self.xavier(4 * hidden_size, proj_size, 4)
        self.weight_hr = self.xavier(proj_size, hidden_size)

    def initial_state(self, batch_size: int) -> LSTMState:
        """Return zeros as the first state."""
        return LSTMState(
            self.zeros(batch_size, self.proj_size), self.zeros(batch_size, self.hidden_size)
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        y, state = super().forward(x, state)
        h = y @ self.weight_hr.T
        return h, LSTMState(h, state.c)
