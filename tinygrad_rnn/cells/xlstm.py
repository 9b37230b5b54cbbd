"""The two cells of the extended LSTM.

Exponential gates, kept finite by a running maximum of their exponents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import init
from ..core.errors import TinygradError
from ..module import Parameter
from ..ops.elementwise import abs, exp, log_sigmoid, maximum, minimum, sigmoid, tanh, where
from ..ops.linear import einsum
from ..ops.shaping import split
from .base import EMPTY, PublishedCell

__all__ = ["MLSTM", "SLSTM", "MLSTMState", "SLSTMState"]


class SLSTMState(NamedTuple):
    """Output h, cell c, normaliser n and stabiliser m, each (batch, hidden_size).

    c and n are in units of exp(m).
    """

    h: Any
    c: Any
    n: Any
    m: Any


class _ExponentialGates(PublishedCell):
    """What the two cells share: the choice of the forget gate and the stabiliser."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_gate: str = "sigmoid",
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if forget_gate not in ("sigmoid", "exp"):
            raise TinygradError(
                f"{type(self).__name__}: forget_gate must be 'sigmoid' or 'exp'; found {forget_gate!r}"
            )
        self.forget_gate = forget_gate

    def stabilised(self, i: Any, f: Any, m: Any) -> Any:
        """Return the two gates in units of exp(m'), and m', from their preactivations and m."""
        log_f = log_sigmoid(f) if self.forget_gate == "sigmoid" else f
        m_new = maximum(log_f + m, i)
        return exp(i - m_new), exp(log_f + m - m_new), m_new


class SLSTM(_ExponentialGates):
    """xLSTM's cell with scalar memories: exponential gates and a normaliser.

        a  = W x + U h + b, of the blocks a_i, a_f, a_z, a_o
        i  = exp(a_i)
        f  = sigmoid(a_f), or exp(a_f) with ``forget_gate="exp"``
        z  = tanh(a_z)
        o  = sigmoid(a_o)
        c' = f * c + i * z
        n' = f * n + i
        h' = o * c' / n'

    The output is h'. W (4H, I), U (4H, H), b (4H,): blocks in the order i, f, z, o. The state is
    (h, c, n, m), each (batch, H). It keeps c and n divided by exp(m), so that nothing overflows; h'
    does not depend on m:

        m' = max(log f + m, a_i), or a_i where n is 0
        c' = exp(log f + m - m') * c + exp(a_i - m') * z
        n' = exp(log f + m - m') * n + exp(a_i - m')

    All components start at zero; a first state that is given needs n > 0, or n = c = 0. b_f starts
    at 3 for the sigmoid and at 0 for exp.

    M. Beck, K. Pöppel, M. Spanring, A. Auer, O. Prudnikova, M. Kopp, G. Klambauer, J. Brandstetter
    and S. Hochreiter, xLSTM: Extended Long Short-Term Memory, NeurIPS 2024, arXiv:2405.04517. One
    head, and not the block around the cell.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    forget_gate : {"sigmoid", "exp"}
        The function of the forget gate's sum.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = SLSTMState
    bookkeeping = ("c", "n", "m")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_gate: str = "sigmoid",
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, forget_gate=forget_gate, rng=rng, dtype=dtype)
        self.W, self.U = self.inputs(4), self.recurrent(4)
        start = 3.0 if forget_gate == "sigmoid" else 0.0  # exp(3) would let the old content grow
        self.b = Parameter(
            init.forget_bias(init.zeros((4 * hidden_size,), dtype=dtype), hidden_size, start)
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c, n, m)."""
        h, c, n, m = state
        i, f, z, o = split(
            self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 4, axis=-1
        )
        i, f, m = self.stabilised(i, f, where(n == 0, EMPTY, m))
        c = f * c + i * tanh(z)
        n = f * n + i
        h = sigmoid(o) * c / n
        return h, SLSTMState(h, c, n, m)


class MLSTMState(NamedTuple):
    """Memory C, normaliser n and stabiliser m.

    C (batch, hidden_size, hidden_size) and n (batch, hidden_size) are in units of exp(m); m has
    shape (batch, 1).
    """

    C: Any
    n: Any
    m: Any


class MLSTM(_ExponentialGates):
    """xLSTM's cell with a matrix memory: keys and values are stored as outer products.

        q, k, v = W_q x + b_q, (W_k x) / sqrt(H) + b_k, W_v x + b_v
        o  = sigmoid(W_o x + b_o)
        i  = exp(w_i . x + b_i), a number
        f  = sigmoid(w_f . x + b_f), a number, or its exp with ``forget_gate="exp"``
        C' = f C + i v k^T
        n' = f n + i k
        y  = o * (C' q) / max(|n' . q|, 1)

    The output is y, shape (batch, H). W (4H, I), b (4H,): blocks in the order q, k, v, o. W_if (2,
    I), b_if (2,): rows in the order i, f. The state is (C, n, m), of shapes (batch, H, H), (batch,
    H) and (batch, 1); the first axis of C is that of v. It keeps C and n divided by exp(m), so that
    nothing overflows; y does not depend on m:

        m' = max(log f + m, log i), or log i where C and n are 0
        C' = exp(log f + m - m') C + exp(log i - m') v k^T
        n' = exp(log f + m - m') n + exp(log i - m') k
        y  = o * (C' q) / max(|n' . q|, exp(-m'))    with both parts times exp(min(m', 0)), so that
        exp(-m') does not overflow

    All components start at zero. b_f starts at 3 for the sigmoid and at 0 for exp.

    M. Beck, K. Pöppel, M. Spanring, A. Auer, O. Prudnikova, M. Kopp, G. Klambauer, J. Brandstetter
    and S. Hochreiter, xLSTM: Extended Long Short-Term Memory, NeurIPS 2024, arXiv:2405.04517. One
    head, and not the block around the cell.

    Some code keeps 1 in the maximum beside the stabilised n'; only exp(-m') gives the paper's
    equations.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    forget_gate : {"sigmoid", "exp"}
        The function of the forget gate's sum.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = MLSTMState
    bookkeeping = ("C", "n", "m")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_gate: str = "sigmoid",
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, forget_gate=forget_gate, rng=rng, dtype=dtype)
        self.W, self.b = self.inputs(4), self.bias(4)
        self.W_if = self.xavier(2, input_size, 2)
        self.b_if = Parameter(np.array([0.0, 3.0 if forget_gate == "sigmoid" else 0.0], dtype))

    def initial_state(self, batch_size: int) -> MLSTMState:
        """Return zeros as the first state."""
        d = self.hidden_size
        return MLSTMState(
            self.zeros(batch_size, d, d), self.zeros(batch_size, d), self.zeros(batch_size, 1)
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (C, n, m)."""
        C, n, m = state
        q, k, v, o = split(self.from_input(x, self.W), 4, axis=-1)
        b_q, b_k, b_v, b_o = split(self.b, 4, axis=-1)
        q, k, v, o = q + b_q, k / self.hidden_size**0.5 + b_k, v + b_v, sigmoid(o + b_o)
        i, f = split(self.from_input(x, self.W_if) + self.b_if, 2, axis=-1)
        content = abs(C).sum(axis=(1, 2)) + abs(n).sum(axis=1)
        i, f, m = self.stabilised(i, f, where(content == 0, EMPTY, m[:, 0])[:, None])
        C = f[..., None] * C + einsum("bi,bj->bij", i * v, k)
        n = f * n + i * k
        unit = exp(minimum(m, 0.0))
        # which is not 0 where exp(-m) underflows and q is 0
        least = maximum(exp(-maximum(m, 0.0)), self.tiny)
        size = maximum(abs((n * q).sum(axis=-1, keepdims=True)) * unit, least)
        return o * einsum("bij,bj->bi", C, q) * unit / size, MLSTMState(C, n, m)
