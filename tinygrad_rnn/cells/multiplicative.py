"""Cells in which the input and the state are multiplied.

In the docstrings I is input_size, H hidden_size; what has a ' is new.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import split
from .base import LSTMState, PublishedCell

__all__ = [
    "MRNN",
    "MultiplicativeIntegrationLSTM",
    "MultiplicativeIntegrationRNN",
    "MultiplicativeLSTM",
]


class MRNN(PublishedCell):
    """Multiplicative recurrent network: the input chooses the transition matrix.

        f  = (W_fx x) * (W_fh h)
        h' = tanh(W_hf f + W_hx x + b)

    The output is h', and h, shape (batch, H), is the state. With F = `factors`: W_fx (F, I), W_fh
    (F, H), W_hf (H, F), W_hx (H, I), b (H,).

    I. Sutskever, J. Martens and G. Hinton, Generating Text with Recurrent Neural Networks, ICML
    2011.

    The bias is that of the paper's plain network; the equation of the multiplicative one leaves it
    out.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    factors : int, optional
        F, at least 1; hidden_size by default.
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
        factors: int | None = None,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        factors = hidden_size if factors is None else factors
        if factors < 1:
            raise ShapeError(f"MRNN: factors must be at least 1; found {factors}")
        self.W_fx = self.xavier(factors, input_size)
        self.W_fh = self.xavier(factors, hidden_size)
        self.W_hf, self.W_hx, self.b = self.inputs(columns=factors), self.inputs(), self.bias()

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        f = self.from_input(x, self.W_fx) * self.from_state(h, self.W_fh)
        h = tanh(self.from_state(f, self.W_hf, name=None) + self.from_input(x, self.W_hx) + self.b)
        return h, h


class MultiplicativeIntegrationRNN(PublishedCell):
    """Simple recurrent network with multiplicative integration of input and state.

        h' = tanh(alpha * (W x) * (U h) + beta_1 * (U h) + beta_2 * (W x) + b)

    The output is h', and h, shape (batch, H), is the state. W (H, I), U (H, H); alpha, beta_1,
    beta_2 and b (H,).

    Y. Wu, S. Zhang, Y. Zhang, Y. Bengio and R. Salakhutdinov, On Multiplicative Integration with
    Recurrent Neural Networks, NIPS 2016, arXiv:1606.06630, in its general form (equation 4).

    alpha, beta_1 and beta_2 start at 1.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U, self.b = self.inputs(), self.recurrent(), self.bias()
        self.alpha, self.beta_1, self.beta_2 = (self.bias(value=1.0) for _ in range(3))

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        Wx, Uh = self.from_input(x, self.W), self.from_state(h, self.U)
        h = tanh(self.alpha * Wx * Uh + self.beta_1 * Uh + self.beta_2 * Wx + self.b)
        return h, h


class MultiplicativeIntegrationLSTM(PublishedCell):
    """LSTM with multiplicative integration of input and state.

        a = alpha * (W x) * (U h) + beta_1 * (U h) + beta_2 * (W x) + b, cut into i, f, g, o
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')

    The output is h'; the state is (h, c), each (batch, H). W (4H, I), U (4H, H); alpha, beta_1,
    beta_2 and b (4H,): blocks in the order i, f, g, o. alpha, beta_1 and beta_2 start at 1, as does
    b_f.

    Y. Wu, S. Zhang, Y. Zhang, Y. Bengio and R. Salakhutdinov, On Multiplicative Integration with
    Recurrent Neural Networks, NIPS 2016, arXiv:1606.06630: each of the LSTM's four sums in the
    general form (equation 4).

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
        self.alpha, self.beta_1, self.beta_2 = (self.bias(4, 1.0) for _ in range(3))
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        Wx, Uh = self.from_input(x, self.W), self.from_state(h, self.U)
        a = self.alpha * Wx * Uh + self.beta_1 * Uh + self.beta_2 * Wx + self.b
        i, f, g, o = split(a, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(self.to_output(c))
        return h, LSTMState(h, c)


class MultiplicativeLSTM(PublishedCell):
    """LSTM in which the input chooses the transition matrix (mLSTM).

        m  = (W_m x) * (U_m h)
        a  = W x + U m + b, cut into i, f, g, o
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = tanh(sigmoid(o) * c')

    The output is h'; the state is (h, c), each (batch, H). W_m (H, I), U_m (H, H); W (4H, I), U
    (4H, H), b (4H,): blocks in the order i, f, g, o. b_f starts at 1.

    B. Krause, L. Lu, I. Murray and S. Renals, Multiplicative LSTM for Sequence Modelling, ICLR 2017
    workshop, arXiv:1609.07959.

    The output gate stands inside the last tanh, as in the paper; many implementations put it
    outside, as in the usual LSTM. The paper writes no biases. The mLSTM of xLSTM (2024) is another
    cell.

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
        self.W_m, self.U_m = self.inputs(), self.recurrent()
        self.W, self.U, self.b = self.inputs(4), self.recurrent(4), self.bias(4)
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        m = self.from_input(x, self.W_m) * self.from_state(h, self.U_m)
        i, f, g, o = split(
            self.from_input(x, self.W) + self.from_state(m, self.U, name=None) + self.b, 4, axis=-1
        )
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = tanh(sigmoid(o) * self.to_output(c))
        return h, LSTMState(h, c)
