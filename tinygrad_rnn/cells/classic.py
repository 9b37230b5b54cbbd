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

__all__ = ["IRNN", "SCRN", "ClockworkRNN", "ClockworkState", "IndRNN", "Jordan", "SCRNState"]


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

    U starts as `scale` times the identity, b at 0, W normal with standard deviation 0.001.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    scale : float
        What U starts from, times the identity: 1 in the paper, 0.01 for its speech task.
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
        self.W, self.b = self.inputs(), self.bias()
        self.u = Parameter(self._rng.uniform(0.0, 1.0, hidden_size).astype(dtype))

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        h = relu(self.from_input(x, self.W) + self.from_state(h, self.u, scaled) + self.b)
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
    S = `context_size`. A (H, I), B (S, I), P (H, S), R (H, H), U (H, H), V (H, S); no biases.

    T. Mikolov, A. Joulin, S. Chopra, M. Mathieu and M. Ranzato, Learning Longer Memory in Recurrent
    Neural Networks (2014), arXiv:1412.7753, with alpha = 0.95.

    In the paper y has the size of the vocabulary and goes through a softmax; here y has H features,
    and what follows is a layer of its own.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    context_size : int, optional
        S, the number of context units, at least 1; hidden_size by default.
    alpha : float
        How much of s stays at each step; it is not trained.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
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
    period: unit k = 0 ... H - 1 is in module floor(k G / H), with that module's period. M, shape (H,
    H), is the constant mask with M[j, k] = 1 where T[k] >= T[j], else 0: a unit hears its own
    module and the slower ones, which makes U block upper triangular.

    J. Koutnik, K. Greff, F. Gomez and J. Schmidhuber, A Clockwork RNN, ICML 2014, arXiv:1402.3511.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    periods : sequence of int
        The periods of the G modules: increasing, the first at least 1.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
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
