"""Relatives of the gated recurrent unit.

In the docstrings I is input_size, H hidden_size, h the old state and h' the new one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.shaping import split
from .base import PublishedCell

__all__ = ["MGU", "MUT1", "MUT2", "MUT3", "LiGRU"]


class MUT1(PublishedCell):
    """First of three units that a search over architectures found.

        z  = sigmoid(W_z x + b_z)
        r  = sigmoid(W_r x + U_r h + b_r)
        h' = tanh(U_h (r * h) + tanh(W_h x) + b_h) * z + h * (1 - z)

    The output is h', and h, shape (batch, H), is the state. W (3H, I) is W_z, W_r, W_h; U_r and U_h
    (H, H); b (3H,) is b_z, b_r, b_h.

    R. Jozefowicz, W. Zaremba and I. Sutskever, An Empirical Exploration of Recurrent Network
    Architectures, ICML 2015.

    The paper adds tanh(x), without a matrix, to a vector of H units, which is defined only where x
    has H features; W_h takes x there for any size.

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
        self.W, self.U_r, self.U_h, self.b = (
            self.inputs(3),
            self.recurrent(),
            self.recurrent(),
            self.bias(3),
        )

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        xz, xr, xh = split(self.from_input(x, self.W), 3, axis=-1)
        b_z, b_r, b_h = split(self.b, 3, axis=-1)
        z = sigmoid(xz + b_z)
        r = sigmoid(xr + self.from_state(h, self.U_r) + b_r)
        h = tanh(self.from_state(r * h, self.U_h) + tanh(xh) + b_h) * z + h * (1.0 - z)
        return h, h


class MUT2(PublishedCell):
    """Second of three units that a search over architectures found.

        z  = sigmoid(W_z x + U_z h + b_z)
        r  = sigmoid(W_r x + U_r h + b_r)
        h' = tanh(U_h (r * h) + W_h x + b_h) * z + h * (1 - z)

    The output is h', and h, shape (batch, H), is the state. W (3H, I) is W_z, W_r, W_h; U (2H, H)
    is U_z, U_r; U_h (H, H); b (3H,) is b_z, b_r, b_h.

    R. Jozefowicz, W. Zaremba and I. Sutskever, An Empirical Exploration of Recurrent Network
    Architectures, ICML 2015.

    In the paper r = sigmoid(x + U_r h + b_r), x without a matrix, which is defined only where x has
    H features; W_r takes x there for any size. With it this is a GRU (reset before the product) in
    which z and 1 - z stand the other way round.

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
        self.W, self.U, self.U_h, self.b = (
            self.inputs(3),
            self.recurrent(2),
            self.recurrent(),
            self.bias(3),
        )

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        xz, xr, xh = split(self.from_input(x, self.W) + self.b, 3, axis=-1)
        hz, hr = split(self.from_state(h, self.U), 2, axis=-1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = tanh(self.from_state(r * h, self.U_h) + xh) * z + h * (1.0 - z)
        return h, h


class MUT3(PublishedCell):
    """Third of three units that a search over architectures found.

        z  = sigmoid(W_z x + U_z tanh(h) + b_z)
        r  = sigmoid(W_r x + U_r h + b_r)
        h' = tanh(U_h (r * h) + W_h x + b_h) * z + h * (1 - z)

    The output is h', and h, shape (batch, H), is the state. W (3H, I) is W_z, W_r, W_h; U_z, U_r
    and U_h (H, H); b (3H,) is b_z, b_r, b_h.

    R. Jozefowicz, W. Zaremba and I. Sutskever, An Empirical Exploration of Recurrent Network
    Architectures, ICML 2015.

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
        self.W, self.b = self.inputs(3), self.bias(3)
        self.U_z, self.U_r, self.U_h = self.recurrent(), self.recurrent(), self.recurrent()

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        xz, xr, xh = split(self.from_input(x, self.W) + self.b, 3, axis=-1)
        z = sigmoid(xz + self.from_state(tanh(h), self.U_z))
        r = sigmoid(xr + self.from_state(h, self.U_r))
        h = tanh(self.from_state(r * h, self.U_h) + xh) * z + h * (1.0 - z)
        return h, h


class MGU(PublishedCell):
    """Minimal gated unit: one gate both resets and updates.

        f  = sigmoid(W_f x + U_f h + b_f)
        n  = tanh(W_h x + U_h (f * h) + b_h)
        h' = (1 - f) * h + f * n

    The output is h', and h, shape (batch, H), is the state. W (2H, I) is W_f, W_h; U_f and U_h (H,
    H); b (2H,) is b_f, b_h. The paper writes n as h with a tilde.

    G.-B. Zhou, J. Wu, C.-L. Zhang and Z.-H. Zhou, Minimal Gated Unit for Recurrent Neural Networks,
    International Journal of Automation and Computing 13 (2016), arXiv:1603.09420.

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
        self.W, self.U_f, self.U_h, self.b = (
            self.inputs(2),
            self.recurrent(),
            self.recurrent(),
            self.bias(2),
        )

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        xf, xh = split(self.from_input(x, self.W) + self.b, 2, axis=-1)
        f = sigmoid(xf + self.from_state(h, self.U_f))
        n = tanh(xh + self.from_state(f * h, self.U_h))
        h = (1.0 - f) * h + f * n
        return h, h


class LiGRU(PublishedCell):
    """Light GRU: no reset gate, and relu.

        z  = sigmoid(W_z x + U_z h + b_z)
        n  = relu(W_n x + U_n h + b_n)
        h' = z * h + (1 - z) * n

    The output is h', and h, shape (batch, H), is the state. W (2H, I) is W_z, W_n; U (2H, H) is
    U_z, U_n; b (2H,) is b_z, b_n.

    M. Ravanelli, P. Brakel, M. Omologo and Y. Bengio, Light Gated Recurrent Units for Speech
    Recognition, IEEE Transactions on Emerging Topics in Computational Intelligence 2 (2018),
    arXiv:1803.10225.

    In the paper W_z x and W_n x pass through batch normalisation, whose shift takes the place of
    the biases, and which keeps the relu units from growing; here there is none, so long sequences
    want small steps or clipped gradients.

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
        self.W, self.U, self.b = self.inputs(2), self.recurrent(2), self.bias(2)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        z, n = split(self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 2, axis=-1)
        z, n = sigmoid(z), relu(n)
        h = z * h + (1.0 - z) * n
        return h, h
