"""Cells without gates.

In the docstrings I is input_size, H hidden_size, h the old state and h' the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ShapeError
from ..module import Parameter
from ..ops.checks import shown, size
from ..ops.elementwise import equal, floor, mod, relu, sigmoid, tanh, where
from ..recurrent.products import scaled
from .base import PublishedCell

__all__ = [
    "IRNN",
    "MRNN",
    "SCRN",
    "ClockworkRNN",
    "ClockworkState",
    "IndRNN",
    "Jordan",
    "MultiplicativeIntegrationRNN",
    "SCRNState",
]


class Jordan(PublishedCell):
    """Jordan network: what is fed back is the output.

        h  = tanh(W x + U y + b_h)
        y' = tanh(V h + b_y)

    The output is y', and y, shape (batch, H), is the state. W (H, I), U (H, H), V (H, H), b_h (H,),
    b_y (H,).

    M. I. Jordan, Serial Order: A Parallel Distributed Processing Approach, ICS Report 8604,
    University of California, San Diego (1986).

    Jordan's units are logistic, and his state units add a decaying trace of the outputs before the
    last; here, as in most later accounts, the units are tanh and the state is the last output. The
    hidden layer h is as wide as the output.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U, self.V = self.inputs(), self.recurrent(), self.recurrent()
        self.b_h, self.b_y = self.bias(), self.bias()

    def forward(self, x: Any, y: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        h = tanh(self.from_input(x, self.W) + self.from_state(y, self.U, name="y") + self.b_h)
        y = tanh(h @ self.V.T + self.b_y)
        return y, y


class IRNN(PublishedCell):
    """Rectified recurrent network that starts from the identity.

        h' = relu(W x + U h + b)

    The output is h', and h, shape (batch, H), is the state. W (H, I), U (H, H), b (H,).

    Q. V. Le, N. Jaitly and G. E. Hinton, A Simple Way to Initialize Recurrent Networks of Rectified
    Linear Units (2015), arXiv:1504.00941.

    U starts as `scale` times the identity (1 in the paper; 0.01 for its speech task), b at 0, W
    normal with standard deviation 0.001.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        scale: float = 1.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W = Parameter(self._rng.normal(0.0, 0.001, (hidden_size, input_size)).astype(dtype))
        self.U = Parameter(scale * np.eye(hidden_size, dtype=dtype))
        self.b = self.bias()

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        h = relu(self.from_input(x, self.W) + self.from_state(h, self.U) + self.b)
        return h, h


class IndRNN(PublishedCell):
    """Independently recurrent network: each unit sees only its own past.

        h' = relu(W x + u * h + b)

    The output is h', and h, shape (batch, H), is the state. W (H, I), u (H,), b (H,).

    S. Li, W. Li, C. Cook, C. Zhu and Y. Gao, Independently Recurrent Neural Network (IndRNN):
    Building A Longer and Deeper RNN, CVPR 2018, arXiv:1803.04831.

    u starts uniform on [0, 1]. For sequences of length T the paper also keeps abs(u) at or below
    gamma ** (1 / T) while training, gamma a constant; here nothing does.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.b = self.inputs(), self.bias()
        self.u = Parameter(self._rng.uniform(0.0, 1.0, hidden_size).astype(dtype))

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        h = relu(self.from_input(x, self.W) + self.from_state(h, self.u, scaled) + self.b)
        return h, h


class MRNN(PublishedCell):
    """Multiplicative recurrent network: the input chooses the transition matrix.

        f  = (W_fx x) * (W_fh h)
        h' = tanh(W_hf f + W_hx x + b)

    The output is h', and h, shape (batch, H), is the state. With F = factors (default: H): W_fx (F,
    I), W_fh (F, H), W_hf (H, F), W_hx (H, I), b (H,).

    I. Sutskever, J. Martens and G. Hinton, Generating Text with Recurrent Neural Networks, ICML
    2011.

    The bias is that of the paper's plain network; the equation of the multiplicative one leaves it
    out.
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


class SCRNState(NamedTuple):
    """Hidden units (batch, hidden_size) and context units (batch, context_size)."""

    h: Any
    s: Any


class SCRN(PublishedCell):
    """Structurally constrained recurrent network: beside the hidden units some that change slowly.

    These context units are s.

        s' = (1 - alpha) * (B x) + alpha * s
        h' = sigmoid(P s' + A x + R h)
        y  = U h' + V s'

    The output is y, shape (batch, H); the state is (h, s), shapes (batch, H) and (batch, S), where
    S = context_size (default: H). A (H, I), B (S, I), P (H, S), R (H, H), U (H, H), V (H, S); no
    biases. alpha is a constant.

    T. Mikolov, A. Joulin, S. Chopra, M. Mathieu and M. Ranzato, Learning Longer Memory in Recurrent
    Neural Networks (2014), arXiv:1412.7753, with alpha = 0.95.

    In the paper y has the size of the vocabulary and goes through a softmax; here y has H features,
    and what follows is a layer of its own.
    """

    State = SCRNState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        context_size: int | None = None,
        alpha: float = 0.95,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.context_size = hidden_size if context_size is None else context_size
        if self.context_size < 1:
            raise ShapeError(f"SCRN: context_size must be at least 1; found {context_size}")
        self.alpha = alpha
        self.A, self.R = self.inputs(), self.recurrent()
        self.B = self.xavier(self.context_size, input_size)
        self.P, self.U, self.V = (
            self.inputs(columns=self.context_size),
            self.recurrent(),
            self.inputs(columns=self.context_size),
        )

    def initial_state(self, batch_size: int) -> SCRNState:
        """Return zeros as the first state."""
        return SCRNState(
            self.zeros(batch_size, self.hidden_size), self.zeros(batch_size, self.context_size)
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, s)."""
        h, s = state
        s = (1.0 - self.alpha) * (self.from_input(x, self.B)) + self.alpha * s
        h = sigmoid(
            self.from_state(s, self.P, name="s")
            + self.from_input(x, self.A)
            + self.from_state(h, self.R)
        )
        return h @ self.U.T + s @ self.V.T, SCRNState(h, s)


class ClockworkState(NamedTuple):
    """Hidden units (batch, hidden_size), and the number of steps done so far (batch, 1)."""

    h: Any
    t: Any


class ClockworkRNN(PublishedCell):
    """Clockwork network: modules of units with clocks of their own.

        a  = tanh(W x + (U * M) h + b)
        h' = where(t mod T == 0, a, h)
        t' = t + 1

    The output is h'; the state is (h, t), shapes (batch, H) and (batch, 1): t counts the steps done
    before this one and starts at 0, so that all modules act on the first step (a t that is not
    whole is rounded for the comparison). W (H, I), U (H, H), b (H,). T, shape (H,), is each unit's
    period: `periods` has G increasing whole numbers, and unit k = 0 ... H - 1 is in module floor(k
    G / H), with that module's period. M, shape (H, H), is the constant mask with M[j, k] = 1 where
    T[k] >= T[j], else 0: a unit hears its own module and the slower ones, which makes U block upper
    triangular.

    J. Koutnik, K. Greff, F. Gomez and J. Schmidhuber, A Clockwork RNN, ICML 2014, arXiv:1402.3511.
    """

    State = ClockworkState
    bookkeeping = ("t",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        periods: Sequence[int] = (1, 2, 4, 8),
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        given = (
            []
            if not isinstance(periods, Sequence)
            else [size(p, "ClockworkRNN: a period") for p in periods]
        )
        if not given or sorted(set(given)) != given:
            raise ShapeError(
                f"ClockworkRNN: periods must be increasing whole numbers from 1; found {shown(periods)}"
            )
        self.W, self.U, self.b = self.inputs(), self.recurrent(), self.bias()
        self.periods = np.array(periods, self._dtype)[
            np.arange(hidden_size) * len(periods) // hidden_size
        ]
        self.mask = (self.periods >= self.periods[:, None]).astype(self._dtype)

    def initial_state(self, batch_size: int) -> ClockworkState:
        """Return zeros as the first state."""
        return ClockworkState(self.zeros(batch_size, self.hidden_size), self.zeros(batch_size, 1))

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, t)."""
        h, t = state
        a = tanh(self.from_input(x, self.W) + self.from_state(h, self.U * self.mask) + self.b)
        h = where(equal(mod(floor(t + 0.5), self.periods), 0.0), a, h)
        return h, ClockworkState(h, t + 1.0)
