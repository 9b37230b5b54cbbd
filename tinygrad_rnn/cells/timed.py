"""Cells that know the time: of a sample, or since the last one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError, TinygradError
from ..core.record import describe
from ..module import Parameter
from ..ops import checks
from ..ops.elementwise import mod, sigmoid, tanh, where
from ..ops.shaping import split
from .base import LSTMState, PublishedCell

__all__ = ["CfC", "PhasedLSTM"]


class TimedCell(PublishedCell):
    """A cell whose x is (features, time), of shapes (batch, input_size) and (batch, 1)."""

    def example_input(self, batch_size: int) -> Any:
        """Return zeros for both."""
        return super().example_input(batch_size), self.zeros(batch_size, 1)

    def check(self, x: Any) -> None:
        """Raise a ShapeError if x is not one step of input with its time."""
        super().check(x)
        if (
            not isinstance(x, tuple)
            or len(x) != 2
            or tuple(getattr(x[1], "shape", ())) != (x[0].shape[0], 1)
        ):
            found = ", ".join(describe(v) for v in x) if isinstance(x, tuple) else describe(x)
            raise ShapeError(
                f"{type(self).__name__}: expected x = (features, time) of shapes (batch, {self.input_size}) and (batch, 1); found {found}. "
                f"To unroll, give a tuple of sequences, (T, batch, {self.input_size}) and (T, batch, 1)."
            )


class CfC(TimedCell):
    """Closed-form continuous-time cell.

        z  = tanh(W x + U h + b)
        f  = V_f z + c_f
        g  = tanh(V_g z + c_g)
        k  = tanh(V_k z + c_k)
        h' = sigmoid(-f * t) * g + (1 - sigmoid(-f * t)) * k

    The output is h'. x is a tuple (features, t), t of shape (batch, 1) the time since the last
    step; or the features alone, and t is 1. The state is h, shape (batch, hidden_size). W
    (backbone_size, input_size), U (backbone_size, hidden_size), b (backbone_size,); V (3 *
    hidden_size, backbone_size) and c (3 * hidden_size,) have the blocks f, g, k.

    R. Hasani et al., Closed-form continuous-time neural networks, Nature Machine Intelligence 4
    (2022), arXiv:2106.13898, where k is called h. The backbone z is the layer that f, g and h
    share. The authors' code has a second layer beside f for an offset inside the sigmoid, and a
    scaled tanh in the backbone; here the equation of the paper and tanh.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    backbone_size : int, optional
        Units of the layer z; hidden_size by default.
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
        backbone_size: int | None = None,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        size = (
            hidden_size
            if backbone_size is None
            else checks.size(backbone_size, "CfC: backbone_size")
        )
        self.W = self.xavier(size, input_size)
        self.U = self.xavier(size, hidden_size)
        self.b = Parameter(init.zeros((size,), dtype=dtype))
        self.V, self.c = self.inputs(3, columns=size), self.bias(3)

    def check(self, x: Any) -> None:
        """Raise a ShapeError if x is not one step of input, with its time or without."""
        if isinstance(x, tuple):
            super().check(x)
        else:
            PublishedCell.check(self, x)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x and the state.

        x is (batch, input_size), or a tuple of it and the time (batch, 1).
        """
        x, t = x if isinstance(x, tuple) else (x, 1.0)
        z = tanh(self.from_input(x, self.W) + self.from_state(h, self.U) + self.b)
        f, g, k = split(z @ self.V.T + self.c, 3, axis=-1)
        gate = sigmoid(-f * t)
        h = gate * tanh(g) + (1 - gate) * tanh(k)
        return h, h


class PhasedLSTM(TimedCell):
    """An LSTM whose units are updated only in the open phase of a rhythm of their own.

        i  = sigmoid(W_i x + U_i h + p_i * c + b_i)
        f  = sigmoid(W_f x + U_f h + p_f * c + b_f)
        g  = tanh(W_g x + U_g h + b_g)
        c~ = f * c + i * g
        c' = k * c~ + (1 - k) * c
        o  = sigmoid(W_o x + U_o h + p_o * c' + b_o)
        h~ = o * tanh(c~)
        h' = k * h~ + (1 - k) * h

    The output is h'. k is the time gate:

        phi = mod(t - s, tau) / tau
        k   = 2 phi / r            if phi < r / 2
        k   = 2 - 2 phi / r        if r / 2 <= phi < r
        k   = leak * phi           otherwise

    x is a tuple (features, t), t of shape (batch, 1) the time stamp of the sample, in the units of
    tau. The state is (h, c), each (batch, hidden_size). W (4 * hidden_size, input_size), U (4 *
    hidden_size, hidden_size) and b (4 * hidden_size,) have the blocks i, f, g, o; p (3 *
    hidden_size,) the blocks i, f, o; tau and s (hidden_size,) are trained. log tau starts uniform
    on [0, max_log_period], s on [0, tau], b_f at 1.

    D. Neil, M. Pfeiffer and S.-C. Liu, Phased LSTM: Accelerating Recurrent Network Training for
    Long or Event-based Sequences, NeurIPS 2016, arXiv:1610.09513, where r is r_on, the leak alpha,
    and p are the peepholes w_c. The output gate's peephole reads c', as the paper's equations say;
    in the authors' code it reads c~.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    r : float
        In (0, 1]: which part of a period is open; not trained.
    leak : float
        What gets through in the closed phase while training; 0 after ``eval()``. Not trained.
    max_log_period : float
        The largest log tau at the start, at least 0.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        r: float = 0.05,
        leak: float = 0.001,
        max_log_period: float = 3.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if not 0 < r <= 1:
            raise TinygradError(
                f"PhasedLSTM: r, the open part of a period, must be in (0, 1]; found {r}"
            )
        self.r, self.leak, max_log_period = (
            r,
            leak,
            checks.number(max_log_period, "PhasedLSTM: max_log_period", "[0, inf)"),
        )
        self.W, self.U, self.p = self.inputs(4), self.recurrent(4), self.vector(blocks=3)
        self.b = Parameter(init.forget_bias(self.bias(4).numpy(), hidden_size))
        tau = np.exp(self._rng.uniform(0, max_log_period, hidden_size))
        self.tau, self.s = (
            Parameter(tau.astype(self._dtype)),
            Parameter(self._rng.uniform(0, tau).astype(self._dtype)),
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x, the tuple of (batch, input_size) and (batch, 1), and (h, c)."""
        (x, t), (h, c) = x, state
        leak = self.leak if self.training else 0.0
        phi = mod(t - self.s, self.tau) / self.tau
        rise, fall = 2 * phi / self.r, 2 - 2 * phi / self.r
        k = where(phi < self.r / 2, rise, where(phi < self.r, fall, leak * phi))
        i, f, g, o = split(
            self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 4, axis=-1
        )
        p_i, p_f, p_o = split(self.p, 3, axis=-1)
        c_tilde = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
        c = k * c_tilde + (1 - k) * c
        h_tilde = sigmoid(o + p_o * c) * tanh(self.to_output(c_tilde))
        h = k * h_tilde + (1 - k) * h
        return h, LSTMState(h, c)
