"""Cells whose gates do not see the last output.

The products with weights need the input alone and can be made for all steps at once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..module import Parameter
from ..ops.elementwise import log_sigmoid, sigmoid, tanh, where
from ..ops.shaping import concatenate, expand_dims, split
from ..recurrent.products import scaled
from .base import PublishedCell

__all__ = ["QRNN", "SRU", "MinGRU", "MinLSTM", "QRNNState"]


class SRU(PublishedCell):
    """Simple recurrent unit: the gates see the state element by element only.

        f  = sigmoid(W_f x + v_f * c + b_f)
        r  = sigmoid(W_r x + v_r * c + b_r)
        c' = f * c + (1 - f) * (W_c x)
        y  = r * c' + alpha * (1 - r) * x,  alpha = sqrt(1 + 2 exp(highway_bias))

    The output is y; the state is c, both (batch, H). W (3H, I): blocks in the order c, f, r. v_f,
    v_r, b_f and b_r (H,). Where I differs from H, W_h x takes the place of x in y, and W (4H, I)
    has W_h as its fourth block. W_c and W_h start uniform with variance 1 / I, W_f and W_r with
    half of it, v_f and v_r with variance 1 / 2, as in the authors' code: alpha keeps the variance
    from level to level for this start.

    T. Lei, Y. Zhang, S. I. Wang, H. Dai and Y. Artzi, Simple Recurrent Units for Highly
    Parallelizable Recurrence, EMNLP 2018, arXiv:1709.02755v5.

    The paper's first versions have neither v_f, v_r nor alpha, and tanh(c') in the place of c'. The
    authors' code does not scale W_h x by alpha, but the values that W_h starts from.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    highway_bias : float
        Where b_r starts.
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
        highway_bias: float = 0.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.blocks = 3 if input_size == hidden_size else 4
        # variances 1 / I, half of it for gates
        bounds = np.sqrt(np.array([3.0, 1.5, 1.5, 3.0])[: self.blocks] / input_size)
        self.W = Parameter(
            (
                self._rng.uniform(-1, 1, (self.blocks * hidden_size, input_size))
                * np.repeat(bounds, hidden_size)[:, None]
            ).astype(dtype)
        )
        self.v_f, self.v_r = self.vector(bound=1.5**0.5), self.vector(bound=1.5**0.5)
        self.b_f, self.b_r = self.bias(), self.bias(value=highway_bias)
        self.alpha = math.sqrt(1 + 2 * math.exp(highway_bias))

    def forward(self, x: Any, c: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        u, f, r, *projected = split(self.from_input(x, self.W), self.blocks, axis=-1)
        highway = projected[0] if projected else x
        f = sigmoid(f + self.from_state(c, self.v_f, scaled, name="c") + self.b_f)
        r = sigmoid(r + self.from_state(c, self.v_r, scaled, name="c") + self.b_r)
        c = f * c + (1 - f) * u
        return r * c + self.alpha * (1 - r) * highway, c


class QRNNState(NamedTuple):
    """The pooled state, and the last inputs.

    c has shape (batch, hidden_size); the last window - 1 inputs (batch, window - 1, input_size)
    stand with the oldest first.
    """

    c: Any
    inputs: Any


class QRNN(PublishedCell):
    """Quasi-recurrent network: a convolution through time, then a recurrence without weights.

        X  = [x_{t-k+1}, ..., x_{t-1}, x_t], zeros before the first input
        z  = tanh(W_z X + b_z)
        f  = sigmoid(W_f X + b_f)
        o  = sigmoid(W_o X + b_o)
        c' = f * c + (1 - f) * z
        y  = o * c'

    The output is y, shape (batch, H). The state is (c, inputs), of shapes (batch, H) and (batch, k
    - 1, I): the last k - 1 inputs, the oldest first. W (3H, k I), b (3H,): blocks in the order z,
    f, o. With ``pooling="f"`` there are only the blocks z, f, and the output is c'. With
    ``pooling="ifo"`` the blocks are z, f, o, i, with i = sigmoid(W_i X + b_i) and c' = f * c + i *
    z.

    J. Bradbury, S. Merity, C. Xiong and R. Socher, Quasi-Recurrent Neural Networks, ICLR 2017,
    arXiv:1611.01576.

    The paper writes no biases; public code has them, and they start at zero here.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    window : int
        k, at least 1: how many inputs the convolution reads, the newest included.
    pooling : {"f", "fo", "ifo"}
        Which gates there are.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = QRNNState
    bookkeeping = ("inputs",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        window: int = 2,
        pooling: str = "fo",
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if pooling not in ("f", "fo", "ifo"):
            raise TinygradError(f"QRNN: pooling must be 'f', 'fo' or 'ifo'; found {pooling!r}")
        if window < 1:
            raise ShapeError(f"QRNN: window must be at least 1, the input itself; found {window}")
        self.window, self.pooling, self.blocks = window, pooling, len(pooling) + 1
        self.W = self.inputs(self.blocks, columns=window * input_size)
        self.b = self.bias(self.blocks)

    def initial_state(self, batch_size: int) -> QRNNState:
        """Return zeros as the first state."""
        return QRNNState(
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.window - 1, self.input_size or 0),
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (c, inputs)."""
        c, inputs = state
        X = concatenate([inputs, expand_dims(x, 1)], axis=1)
        gates = self.from_input(X.reshape((x.shape[0], -1)), self.W) + self.b
        z, f, *rest = split(gates, self.blocks, axis=-1)
        z, f, rest = tanh(z), sigmoid(f), [sigmoid(gate) for gate in rest]
        c = f * c + (rest[1] if self.pooling == "ifo" else 1 - f) * z
        return rest[0] * c if rest else c, QRNNState(c, X[:, 1:])


def positive_content(x: Any) -> Any:
    """Return g(x) = x + 1/2 where x >= 0, else sigmoid(x).

    It is the positive and continuous function of Feng et al. (2024), appendix B.
    """
    return where(x >= 0, x + 0.5, sigmoid(x))


class MinGRU(PublishedCell):
    """Minimal GRU without the old state in its gate: a linear recurrence.

        z  = sigmoid(W_z x + b_z)
        n  = W_n x + b_n
        h' = (1 - z) * h + z * n

    The output is h', and h, shape (batch, H), is the state. W (2H, I), b (2H,): blocks in the order
    z, n. With ``log_space=True`` n = g(W_n x + b_n), where g(a) = a + 1/2 for a >= 0 and sigmoid(a)
    for a < 0.

    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, Were RNNs All We Needed? (2024),
    arXiv:2410.01201.

    The default is the paper's equations; its computation in log space, and most public code, have
    g.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    log_space : bool
        Whether n is that of the computation in log space.
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
        log_space: bool = False,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.log_space = log_space
        self.W, self.b = self.inputs(2), self.bias(2)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        z, n = split(self.from_input(x, self.W) + self.b, 2, axis=-1)
        z, n = sigmoid(z), positive_content(n) if self.log_space else n
        h = (1 - z) * h + z * n
        return h, h


class MinLSTM(PublishedCell):
    """Minimal LSTM without the old state in its gates: a linear recurrence.

        f  = sigmoid(W_f x + b_f)
        i  = sigmoid(W_i x + b_i)
        n  = W_n x + b_n
        h' = (f * h + i * n) / (f + i)

    The output is h', and h, shape (batch, H), is the state. W (3H, I), b (3H,): blocks in the order
    f, i, n. With ``log_space=True`` n = g(W_n x + b_n) as in `MinGRU`. b_f starts at 1.

    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, Were RNNs All We Needed? (2024),
    arXiv:2410.01201.

    f / (f + i) is computed as sigmoid(log f - log i), which does not divide 0 by 0 where both gates
    are shut.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    log_space : bool
        Whether n is that of the computation in log space.
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
        log_space: bool = False,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.log_space = log_space
        self.W, self.b = self.inputs(3), self.bias(3)
        self.b.data = np.repeat([1.0, 0.0, 0.0], hidden_size).astype(dtype)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        f, i, n = split(self.from_input(x, self.W) + self.b, 3, axis=-1)
        f = sigmoid(log_sigmoid(f) - log_sigmoid(i))
        n = positive_content(n) if self.log_space else n
        h = f * h + (1 - f) * n
        return h, h
