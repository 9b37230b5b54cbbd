"""FastRNN and FastGRNN: small cells with a weighted residual connection."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.elementwise import sigmoid, tanh
from .base import PublishedCell

__all__ = ["FastGRNN", "FastRNN"]


class FastRNN(PublishedCell):
    """A residual connection around a simple recurrent network, weighted by two learnt numbers.

        h~ = tanh(W x + U h + b)
        h' = sigmoid(alpha) * h~ + sigmoid(beta) * h

    The output is h'. The state is h, shape (batch, hidden_size). W (hidden_size, input_size), U
    (hidden_size, hidden_size), b (hidden_size,); alpha and beta are single numbers, shape (), and
    start from -3 and 3: h' is then close to h.

    A. Kusupati et al., FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent
    Neural Network, NeurIPS 2018, arXiv:1901.02358. The paper's alpha and beta, between 0 and 1, are
    the sigmoids of the parameters here. It allows any nonlinearity for h~; here it is tanh.

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
        self.alpha, self.beta = self.scalar(-3.0), self.scalar(3.0)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        h_tilde = tanh(self.from_input(x, self.W) + self.from_state(h, self.U) + self.b)
        h = sigmoid(self.alpha) * h_tilde + sigmoid(self.beta) * h
        return h, h


class FastGRNN(PublishedCell):
    """A gated form of `FastRNN` whose gate shares its matrices with the candidate.

        z  = sigmoid(W x + U h + b_z)
        h~ = tanh(W x + U h + b_h)
        h' = (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * h~ + z * h

    The output is h'. The state is h, shape (batch, hidden_size). W (hidden_size, input_size) and U
    (hidden_size, hidden_size) are shared by z and h~; b_z and b_h (hidden_size,) start from 1; zeta
    and nu are single numbers, shape (), and start from 1 and -4.

    A. Kusupati et al., FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent
    Neural Network, NeurIPS 2018, arXiv:1901.02358. The paper's zeta and nu, between 0 and 1, are
    the sigmoids of the parameters here. The paper's further steps, W and U as products of thin
    matrices, sparse, and in 8-bit integers, are not part of the cell here.

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
        self.W, self.U = self.inputs(), self.recurrent()
        self.b_z, self.b_h = self.bias(value=1.0), self.bias(value=1.0)
        self.zeta, self.nu = self.scalar(1.0), self.scalar(-4.0)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        a = self.from_input(x, self.W) + self.from_state(h, self.U)
        z = sigmoid(a + self.b_z)
        h_tilde = tanh(a + self.b_h)
        h = (sigmoid(self.zeta) * (1 - z) + sigmoid(self.nu)) * h_tilde + z * h
        return h, h
