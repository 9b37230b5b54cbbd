"""The cell that learns when to leave its state alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..module import Parameter
from ..ops.custom import custom_vjp
from ..ops.elementwise import minimum, sigmoid
from .gru import GRU

__all__ = ["SkipRNN", "SkipRNNState"]


class SkipRNNState(NamedTuple):
    """Hidden state h (batch, hidden_size) and u (batch, 1).

    u is the accumulated probability of an update.
    """

    h: Any
    u: Any


@custom_vjp
def binarize(u: Any) -> Any:
    """Return 1 where u > 1/2, else 0.

    The gradient passes as if it were u itself (the straight-through estimate).
    """
    return u > 0.5


@binarize.vjp
def _straight_through(g: Any) -> Any:
    return g


@binarize.jvp
def _tangent_straight_through(t: Any, out: Any, u: Any) -> Any:
    return t


class SkipRNN(GRU):
    """GRU that learns when to leave its state alone.

        k  = 1 if u > 1/2 else 0
        h' = k * GRU(x, h) + (1 - k) * h
        p  = sigmoid(W_p h' + b_p)
        u' = k * p + (1 - k) * (u + min(p, 1 - u))

    The output is h'. The state is (h, u), of shapes (batch, H) and (batch, 1). GRU(x, h) is the h'
    of `GRU`, with its parameters weight_ih, weight_hh, bias_ih and bias_hh; W_p (1, H), b_p (1,).
    The derivative of k by u is taken to be 1. u starts at 1, so that the first step is an update;
    b_p starts at 1. To make updates rare, add `binarize` of u, over all steps, to the loss at a
    small price.

    V. Campos, B. Jou, X. Giró-i-Nieto, J. Torres and S.-F. Chang, Skip RNN: Learning to Skip State
    Updates in Recurrent Neural Networks, ICLR 2018, arXiv:1708.06834.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = SkipRNNState
    bookkeeping = ("u",)

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W_p = self.xavier(1, hidden_size)
        self.b_p = Parameter(np.ones(1, dtype))

    def initial_state(self, batch_size: int) -> SkipRNNState:
        """Return h = 0, u = 1."""
        return SkipRNNState(self.zeros(batch_size, self.hidden_size), self.zeros(batch_size, 1) + 1)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, u)."""
        h, u = state
        k = binarize(u)
        updated, _ = super().forward(x, h)
        h = k * updated + (1 - k) * h
        p = sigmoid(h @ self.W_p.T + self.b_p)
        u = k * p + (1 - k) * (u + minimum(p, 1 - u))
        return h, SkipRNNState(h, u)
