"""The cell that a search over architectures found."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.shaping import split
from .base import LSTMState, PublishedCell

__all__ = ["NAS"]


class NAS(PublishedCell):
    """The cell that a search by reinforcement learning found for language: a tree of combinations.

    There are eight of them.

        a1, ..., a8 = the blocks of W x
        b1, ..., b8 = the blocks of U h + b
        l1 = tanh(c + tanh(sigmoid(a1 + b1) * relu(a2 + b2)))
        l2 = tanh(sigmoid(a3 + b3) + relu(a4 * b4))
        l3 = tanh(tanh(a5 + b5) * sigmoid(a6 + b6))
        l4 = sigmoid(tanh(a7 + b7) + sigmoid(a8 + b8))
        c' = l1 * l2
        h' = tanh(c' * tanh(l3 + l4))

    The output is h'; the state is (h, c), each (batch, H). W (8H, I), U (8H, H), b (8H,).

    B. Zoph and Q. V. Le, Neural Architecture Search with Reinforcement Learning, ICLR 2017,
    arXiv:1611.01578: the cell found without max and sin.

    a4 and b4 are multiplied, as in the authors' `NASCell` of TensorFlow; ports that add them are
    another cell. The bias is part of b4.

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
        self.W, self.U, self.b = self.inputs(8), self.recurrent(8), self.bias(8)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        a1, a2, a3, a4, a5, a6, a7, a8 = split(self.from_input(x, self.W), 8, axis=-1)
        b1, b2, b3, b4, b5, b6, b7, b8 = split(self.from_state(h, self.U) + self.b, 8, axis=-1)
        l1 = tanh(c + tanh(sigmoid(a1 + b1) * relu(a2 + b2)))
        l2 = tanh(sigmoid(a3 + b3) + relu(a4 * b4))
        l3 = tanh(tanh(a5 + b5) * sigmoid(a6 + b6))
        l4 = sigmoid(tanh(a7 + b7) + sigmoid(a8 + b8))
        c = l1 * l2
        h = tanh(c * tanh(l3 + l4))
        return h, LSTMState(h, c)
