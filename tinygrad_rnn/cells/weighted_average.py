"""The cell that averages over everything it has seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ops.elementwise import exp, maximum, tanh, where
from ..ops.shaping import broadcast_to, split
from .base import EMPTY, PublishedCell

__all__ = ["RWA", "RWAState"]


class RWAState(NamedTuple):
    """Output h, numerator n, denominator d, largest exponent m so far; each (batch, hidden_size).

    n and d are in units of exp(m).
    """

    h: Any
    n: Any
    d: Any
    m: Any


class RWA(PublishedCell):
    """Recurrent weighted average over all that was seen, with weights that the cell learns to give.

        u  = W_u x + b_u
        g  = W_g x + U_g h + b_g
        a  = W_a x + U_a h
        n' = n + (u * tanh(g)) * exp(a)
        d' = d + exp(a)
        h' = tanh(n' / d')

    The output is h'. W (3H, I): blocks in the order u, g, a; U (2H, H): g, a; b_u, b_g and s_0
    (H,). The first h is tanh(s_0), and s_0 is learned. The state is (h, n, d, m), each (batch, H).
    It keeps n and d divided by exp(m), so that nothing overflows; h' does not depend on m:

        m' = max(m, a), or a where d is 0
        n' = n * exp(m - m') + (u * tanh(g)) * exp(a - m')
        d' = d * exp(m - m') + exp(a - m')

    n, d and m start at zero; a first state that is given needs d > 0, or n = d = 0.

    J. Ostmeyer and L. Cowell, Machine Learning on Sequential Data Using a Recurrent Weighted
    Average, Neurocomputing 331 (2019), arXiv:1703.01253.

    a has no bias: it would cancel. The authors' code starts m at -1e38 and takes the largest of m
    and a always, which is the same.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = RWAState
    bookkeeping = ("n", "d", "m")

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U = self.inputs(3), self.recurrent(2)
        self.b_u, self.b_g, self.s_0 = self.bias(), self.bias(), self.bias()

    def initial_state(self, batch_size: int) -> RWAState:
        """Return h = tanh(s_0), so that s_0 is learned, and zeros for the rest."""
        zeros = [self.zeros(batch_size, self.hidden_size) for _ in range(3)]
        return RWAState(broadcast_to(tanh(self.s_0), shape=(batch_size, self.hidden_size)), *zeros)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, n, d, m)."""
        h, n, d, m = state
        u, g, a = split(self.from_input(x, self.W), 3, axis=-1)
        h_g, h_a = split(self.from_state(h, self.U), 2, axis=-1)
        z = (u + self.b_u) * tanh(g + h_g + self.b_g)
        a = a + h_a
        m = where(d == 0, EMPTY, m)
        m_new = maximum(m, a)
        old, new = exp(m - m_new), exp(a - m_new)
        n, d = n * old + z * new, d * old + new
        h = tanh(n / d)
        return h, RWAState(h, n, d, m_new)
