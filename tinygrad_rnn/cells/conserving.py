"""The LSTM that neither makes nor loses mass."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..module import Parameter
from ..ops.along import softmax
from ..ops.elementwise import abs, sigmoid, where
from ..ops.linear import einsum
from ..ops.shaping import split
from .base import PublishedCell

__all__ = ["MassConservingLSTM"]


class MassConservingLSTM(PublishedCell):
    """LSTM that neither makes nor loses mass: sum(c') + sum(y) = sum(c) + sum(m).

        m, a = x, cut into the mass (M) and what steers (A)
        p  = W a + U c / sum(|c|) + b, with 0 for c / sum(|c|) where c = 0
        o  = sigmoid(the first H numbers of p)
        J  = softmax over the first axis of the next H M numbers as (H, M), row after row
        R  = softmax over the first axis of the last H H numbers as (H, H), row after row
        t  = R c + J m
        c' = (1 - o) * t
        y  = o * t

    The output is y; the state is c, both (batch, H). M = `mass_size`, A = I - M. W ((1 + M + H) H,
    A), U ((1 + M + H) H, H), b ((1 + M + H) H,). b starts at -3 for o, at 0 for J, and at 3 + log(H
    - 1) on the diagonal of R, 0 beside it: by the biases alone a unit keeps 0.95 of its mass in R,
    and 0.95 of that is not put out, for any H > 1.

    P.-J. Hoedt, F. Kratzert, D. Klotz, C. Halmich, M. Holzleitner, G. Nearing, S. Hochreiter and G.
    Klambauer, MC-LSTM: Mass-Conserving LSTM, ICML 2021, arXiv:2101.05186.

    J is the paper's input gate i. R is the form that depends on time, with the softmax as the
    function that makes columns sum to 1.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    mass_size : int
        M, from 1 to input_size - 1: how many features of the input, the first ones, are masses.
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
        mass_size: int = 1,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if not 1 <= mass_size < input_size:
            raise ShapeError(
                f"MassConservingLSTM: mass_size must be from 1 to input_size - 1 = {input_size - 1}; found {mass_size}"
            )
        self.mass_size, d = mass_size, hidden_size
        self.W, self.U = (
            self.inputs(mass_size + d + 1, columns=input_size - mass_size),
            self.recurrent(mass_size + d + 1),
        )
        start = [
            np.full(d, -3.0),
            np.zeros(d * mass_size),
            (3.0 + np.log(max(d - 1, 1))) * np.eye(d).reshape(-1),
        ]
        self.b = Parameter(np.concatenate(start).astype(dtype))

    def forward(self, x: Any, c: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        d, M = self.hidden_size, self.mass_size
        m, a = x[:, :M], x[:, M:]
        total = abs(c).sum(axis=-1, keepdims=True)
        p = (
            self.from_input(a, self.W)
            + self.from_state(c / where(total == 0, 1.0, total), self.U, name="c")
            + self.b
        )
        o, W, R = split(p, [d, d + d * M], axis=-1)
        o, W, R = (
            sigmoid(o),
            softmax(W.reshape((-1, d, M)), axis=1),
            softmax(R.reshape((-1, d, d)), axis=1),
        )
        t = einsum("bij,bj->bi", R, c) + einsum("bim,bm->bi", W, m)
        return o * t, (1 - o) * t
