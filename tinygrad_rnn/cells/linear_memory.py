"""Cells whose memory is linear in its own past."""

from __future__ import annotations

from operator import matmul
from typing import Any, NamedTuple

import numpy as np

from .. import init
from ..core.errors import TinygradError
from ..core.primitive import Array
from ..module import Parameter
from ..ops.elementwise import cos, exp, expm1, log_sigmoid, maximum, sigmoid, sin, sqrt, tanh
from ..ops.linalg import expm
from ..ops.shaping import split
from .base import PublishedCell

__all__ = ["LMU", "LRU", "RGLRU", "ComplexState", "LMUState"]


class LMUState(NamedTuple):
    """Hidden state h (batch, hidden_size) and memory m (batch, memory_size)."""

    h: Any
    m: Any


class ComplexState(NamedTuple):
    """Real and imaginary part of a complex state, each of shape (batch, hidden_size)."""

    real: Any
    imag: Any


def legendre_memory(size: int, theta: float) -> tuple[Array, Array]:
    """Return the matrices of an `LMU`: A_bar (size, size) and B_bar (size,), float64.

    For i, j = 0, ..., size - 1: A[i, j] = (2 i + 1) * (-1 if i < j else (-1) ** (i - j + 1)), B[i]
    = (2 i + 1) * (-1) ** i. The equation theta dm/dt = A m + B u, with u constant for a time of 1,
    gives m' = A_bar m + B_bar u: A_bar = expm(A / theta), B_bar = A^-1 (A_bar - I) B.
    """
    i, j = np.indices((size, size))
    # [[A, B], [0, 0]]: its exponential is [[A_bar, B_bar], [0, 1]]
    whole = np.zeros((size + 1, size + 1))
    whole[:size, :size] = (2 * i + 1) * np.where(i < j, -1, (-1.0) ** (i - j + 1))
    whole[:size, size] = (2 * i[:, 0] + 1) * (-1.0) ** i[:, 0]
    whole = expm(whole / theta)
    return whole[:size, :size], whole[:size, size]


class LMU(PublishedCell):
    """Legendre memory unit: it remembers a sliding window of one number by orthogonal polynomials.

        u  = e_x . x + e_h . h + e_m . m
        m' = A_bar m + B_bar u
        h' = tanh(W_x x + W_h h + W_m m')

    The output is h'. u is one number for each sequence of the batch. The state is (h, m), of shapes
    (batch, hidden_size) and (batch, memory_size). W_x (hidden_size, input_size), W_h (hidden_size,
    hidden_size), W_m (hidden_size, memory_size), e_x (input_size,), e_h (hidden_size,), e_m
    (memory_size,), which starts at zero. A_bar and B_bar are constant, from `legendre_memory`; m
    holds the last theta values of u as coefficients of Legendre polynomials.

    A. R. Voelker, I. Kajic and C. Eliasmith, Legendre Memory Units: Continuous-Time Representation
    in Recurrent Neural Networks, NeurIPS 2019. A_bar and B_bar are discretised by a zero-order
    hold; the paper also names Euler's method.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    memory_size : int
        How many polynomials there are, at least 1.
    theta : float
        The length of the window in steps, above 0.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = LMUState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        memory_size: int = 8,
        theta: float = 32.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if memory_size < 1 or theta <= 0:
            raise TinygradError(
                f"LMU: memory_size and theta must be positive; found memory_size={memory_size}, theta={theta}"
            )
        self.memory_size, self.theta = memory_size, theta
        self.A_bar, self.B_bar = (
            a.astype(self._dtype) for a in legendre_memory(memory_size, theta)
        )
        self.W_x, self.W_h, self.W_m = (
            self.inputs(),
            self.recurrent(),
            self.inputs(columns=memory_size),
        )
        e_x, e_h = (
            init.uniform((n,), (3 / n) ** 0.5, rng=self._rng, dtype=dtype)
            for n in (input_size, hidden_size)
        )
        self.e_x, self.e_h, self.e_m = (
            Parameter(e_x),
            Parameter(e_h),
            Parameter(init.zeros((memory_size,), dtype=dtype)),
        )

    def initial_state(self, batch_size: int) -> LMUState:
        """Return zeros as the first state."""
        return LMUState(
            self.zeros(batch_size, self.hidden_size), self.zeros(batch_size, self.memory_size)
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, m)."""
        h, m = state
        u = (
            x @ self.e_x
            + self.from_state(h, self.e_h, matmul)
            + self.from_state(m, self.e_m, matmul, name="m")
        )
        m = m @ self.A_bar.T + u[:, None] * self.B_bar
        h = tanh(
            self.from_input(x, self.W_x)
            + self.from_state(h, self.W_h)
            + self.from_state(m, self.W_m, name="m")
        )
        return h, LMUState(h, m)


def multiplied(z: ComplexState, w: Any) -> ComplexState:
    """Return the product w z of complex numbers, each given by its real and imaginary part."""
    real, imag = w
    return ComplexState(real * z.real - imag * z.imag, real * z.imag + imag * z.real)


class LRU(PublishedCell):
    """Linear recurrent unit: a complex diagonal recurrence.

        s' = lambda * s + exp(gamma_log) * (B x)
        y  = Re(C s') + D x

    The output is y. lambda = exp(-exp(nu_log) + i exp(theta_log)), and s, B and C are complex.

    The state is (real, imag) of s, each (batch, hidden_size). nu_log, theta_log, gamma_log
    (hidden_size,); B (2 * hidden_size, input_size) has the blocks real, imaginary; C_real and
    C_imag (hidden_size, hidden_size), D (hidden_size, input_size). At the start lambda is uniform
    on the ring r_min <= |lambda| <= r_max with phases up to max_phase, gamma is sqrt(1 -
    |lambda|^2); B and C are normal with variances 1 / (2 input_size) and 1 / hidden_size for each
    part.

    A. Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, ICML 2023,
    arXiv:2303.06349. There the input is as wide as the output, and D is a vector; here D is a
    matrix, because the widths may differ. Only the recurrent layer is here, not the block around
    it.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    r_min, r_max : float
        The ring in which lambda starts: 0 <= r_min < r_max <= 1.
    max_phase : float
        The largest phase of lambda at the start, in radians.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = ComplexState
    joined = ("real", "imag")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * np.pi,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if not 0 <= r_min < r_max <= 1:
            raise TinygradError(
                f"LRU: expected 0 <= r_min < r_max <= 1; found r_min={r_min}, r_max={r_max}"
            )
        square = self._rng.uniform(r_min**2, r_max**2, hidden_size)  # |lambda|^2: uniform by area
        self.nu_log = Parameter(np.log(-0.5 * np.log(square)).astype(self._dtype))
        self.theta_log = Parameter(
            np.log(max_phase * (1 - self._rng.random(hidden_size))).astype(self._dtype)
        )
        self.gamma_log = Parameter((0.5 * np.log(1 - square)).astype(self._dtype))
        self.B = self._normal(2 * hidden_size, input_size, (2 * input_size) ** -0.5)
        self.C_real = self._normal(hidden_size, hidden_size, hidden_size**-0.5)
        self.C_imag, self.D = (
            self._normal(hidden_size, hidden_size, hidden_size**-0.5),
            self.inputs(),
        )

    def _normal(self, rows: int, columns: int, deviation: float) -> Parameter:
        return Parameter(
            (self._rng.standard_normal((rows, columns)) * deviation).astype(self._dtype)
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (real, imag)."""
        modulus, phase, gamma = exp(-exp(self.nu_log)), exp(self.theta_log), exp(self.gamma_log)
        turned = self.from_state(
            ComplexState(*state), (modulus * cos(phase), modulus * sin(phase)), multiplied, name="s"
        )
        x_real, x_imag = split(self.from_input(x, self.B), 2, axis=-1)
        real, imag = turned.real + gamma * x_real, turned.imag + gamma * x_imag
        y = real @ self.C_real.T - imag @ self.C_imag.T + x @ self.D.T
        return y, ComplexState(real, imag)


class RGLRU(PublishedCell):
    """Real-gated linear recurrent unit.

        v  = W x
        r  = sigmoid(W_r v + b_r)
        i  = sigmoid(W_i v + b_i)
        a  = sigmoid(Lambda) ** (c * r)
        h' = a * h + sqrt(1 - a^2) * (i * v)

    The output is h'. The state is h, shape (batch, hidden_size). W (hidden_size, input_size); W_ri
    (2 * hidden_size, hidden_size) and b (2 * hidden_size,) have the blocks r, i; Lambda
    (hidden_size,). c = 8 is constant. Lambda starts where sigmoid(Lambda) ** c is uniform on [0.9,
    0.999].

    S. De et al., Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient
    Language Models (2024), arXiv:2402.19427, where v is the input x itself, W_r is W_a, and W_i is
    W_x; the linear layer W stands for the one that precedes the cell in the paper's block. The
    gates' matrices are full here, block-diagonal in the authors' models. log a is computed as c * r
    * log_sigmoid(Lambda); equation (6) of the paper and its code have -softplus(Lambda) in place of
    log_sigmoid(Lambda), which belongs to sigmoid(-Lambda). The authors' code leaves out the factor
    sqrt(1 - a^2) at the first step of a sequence; here it stays.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    c = 8.0

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.W_ri, self.b = self.inputs(), self.inputs(2, columns=hidden_size), self.bias(2)
        a = self._rng.uniform(0.9, 0.999, hidden_size) ** (1 / self.c)
        self.Lambda = Parameter(np.log(a / (1 - a)).astype(self._dtype))

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        v = x @ self.W.T
        r, i = split(sigmoid(self.from_input(v, self.W_ri) + self.b), 2, axis=-1)
        log_a = self.c * r * log_sigmoid(self.Lambda)
        # where r has gone to 0, sqrt has no derivative
        scale = sqrt(maximum(-expm1(2 * log_a), self.tiny))
        h = exp(log_a) * h + scale * (i * v)
        return h, h
