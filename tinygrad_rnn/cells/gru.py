"""Gated recurrent unit."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import split
from .base import PublishedCell

__all__ = ["GRU", "GRUResetBefore"]


class GRU(PublishedCell):
    """Gated recurrent unit; the reset gate acts after the product with the state.

        r  = sigmoid(W_r x + b_r + U_r h + b'_r)
        z  = sigmoid(W_z x + b_z + U_z h + b'_z)
        n  = tanh(W_n x + b_n + r * (U_n h + b'_n))
        h' = (1 - z) * n + z * h

    The output is h'.

    K. Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
    Translation (2014), arXiv:1406.1078v1: the reset gate after the product, as in cuDNN and
    PyTorch. `GRUResetBefore` is the form of the paper's third version.

    The state is h, shape (batch, hidden_size). Weights are in PyTorch's layout (`nn.GRU`): blocks
    in the order r, z, n.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    bias : bool
        Whether there are biases.
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
        bias: bool = True,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.torch_layout(3, bias)
        # the candidate is normalised by itself, as by Ba et al. (2016)
        self.cuts = (2 * hidden_size,)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        a, b = (
            self.from_input(x, self.weight_ih, cuts=self.cuts),
            self.from_state(h, self.weight_hh, cuts=self.cuts),
        )
        if self.bias_ih is not None:
            a, b = a + self.bias_ih, b + self.bias_hh
        xr, xz, xn = split(a, 3, axis=-1)
        hr, hz, hn = split(b, 3, axis=-1)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = tanh(xn + r * hn)
        h = n + z * (h - n)
        return h, h


class GRUResetBefore(GRU):
    """Gated recurrent unit; the reset gate acts before the product with the state.

        r  = sigmoid(W_r x + b_r + U_r h + b'_r)
        z  = sigmoid(W_z x + b_z + U_z h + b'_z)
        n  = tanh(W_n x + b_n + U_n (r * h) + b'_n)
        h' = (1 - z) * n + z * h

    The output is h'.

    K. Cho et al. (2014), arXiv:1406.1078v3; J. Chung et al. (2014), arXiv:1412.3555: the reset gate
    before the product. Keras calls it ``reset_after=False``, ONNX ``linear_before_reset=0``. In
    both papers z and 1 - z stand the other way round in some versions; here, as in PyTorch, z keeps
    the old state.

    The state is h, shape (batch, hidden_size). Weights are laid out as in `GRU`.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    bias : bool
        Whether there are biases.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        H = self.hidden_size
        a = self.from_input(x, self.weight_ih, cuts=self.cuts)
        a = a if self.bias_ih is None else a + (self.bias_ih + self.bias_hh)
        r, z = split(
            sigmoid(a[:, : 2 * H] + self.from_state(h, self.weight_hh[: 2 * H])), 2, axis=-1
        )
        n = tanh(a[:, 2 * H :] + self.from_state(r * h, self.weight_hh[2 * H :]))
        h = n + z * (h - n)
        return h, h
