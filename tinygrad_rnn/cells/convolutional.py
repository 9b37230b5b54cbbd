"""The LSTM over images."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..core.record import describe
from ..module import Parameter
from ..ops.checks import sizes
from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import split
from ..ops.windows import conv2d
from .base import LSTMState, PublishedCell

__all__ = ["ConvLSTM"]


def kernels(out: int, channels: int, size: int, rng: Any, dtype: Any) -> Parameter:
    """Return weights (4 * out, channels, size, size) of four gates, each Xavier uniform."""
    bound = (6 / (size * size * (channels + out))) ** 0.5
    return Parameter(init.uniform((4 * out, channels, size, size), bound, rng=rng, dtype=dtype))


def convolved(images: Any, weight: Any) -> Any:
    """Convolve with an odd kernel that keeps the size of the images: the product of this cell."""
    return conv2d(images, weight, padding=weight.shape[-1] // 2)


class ConvLSTM(PublishedCell):
    """LSTM over images: convolutions in the place of products with matrices, and peepholes.

        i  = sigmoid(conv(x, W_i) + conv(h, U_i) + p_i * c + b_i)
        f  = sigmoid(conv(x, W_f) + conv(h, U_f) + p_f * c + b_f)
        g  = tanh(conv(x, W_g) + conv(h, U_g) + b_g)
        c' = f * c + i * g
        o  = sigmoid(conv(x, W_o) + conv(h, U_o) + p_o * c' + b_o)
        h' = o * tanh(c')

    x is (batch, I, height, width). The output is h'; the state is (h, c), each (batch, H, height,
    width); (height, width) is `image_size`. conv is the cross-correlation with (K - 1) / 2 zeros on
    each side, K = `kernel_size`. W (4H, I, K, K), U (4H, H, K, K), b (4H,): blocks in the order i,
    f, g, o. p (3H, height, width), a weight of its own for each place: blocks in the order i, f, o.
    b_f starts at 1, p at zero.

    X. Shi, Z. Chen, H. Wang, D.-Y. Yeung, W.-K. Wong and W.-C. Woo, Convolutional LSTM Network: A
    Machine Learning Approach for Precipitation Nowcasting, NIPS 2015, arXiv:1506.04214.

    Much code, Keras' included, leaves the peepholes out.

    Parameters
    ----------
    input_size, hidden_size : int
        Channels of the input and of the state.
    image_size : (int, int)
        Height and width of the images, which must be known because of the peepholes.
    kernel_size : int
        K, odd, so that images keep their size.
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
        image_size: tuple[int, int] = (8, 8),
        kernel_size: int = 3,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ShapeError(
                f"ConvLSTM: kernel_size must be odd, so that images keep their size; found {kernel_size}"
            )
        self.image_size, self.kernel_size = (
            sizes("ConvLSTM", height=image_size[0], width=image_size[1]),
            kernel_size,
        )
        self.W = kernels(hidden_size, input_size, kernel_size, self._rng, dtype)
        self.U = kernels(hidden_size, hidden_size, kernel_size, self._rng, dtype)
        self.b = Parameter(
            init.forget_bias(init.zeros((4 * hidden_size,), dtype=dtype), hidden_size)
        )
        self.p = Parameter(init.zeros((3 * hidden_size, *image_size), dtype=dtype))

    def initial_state(self, batch_size: int) -> LSTMState:
        """Return zeros as the first state."""
        return LSTMState(
            *[self.zeros(batch_size, self.hidden_size, *self.image_size) for _ in range(2)]
        )

    def example_input(self, batch_size: int) -> Any:
        """Return images of zeros."""
        return self.zeros(batch_size, self.input_size or 0, *self.image_size)

    def check(self, x: Any) -> None:
        """Raise a ShapeError if x is not one step of images."""
        expected = (self.input_size, *self.image_size)
        if tuple(getattr(x, "shape", ()))[1:] != expected:
            raise ShapeError(
                f"ConvLSTM: expected one step of shape (batch, {', '.join(map(str, expected))}); found {describe(x)}"
            )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size, height, width) and (h, c)."""
        h, c = state
        a = (
            self.from_input(x, self.W, convolved)
            + self.from_state(h, self.U, convolved)
            + self.b[:, None, None]
        )
        i, f, g, o = split(a, 4, axis=1)
        p_i, p_f, p_o = split(self.p, 3, axis=0)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
        h = sigmoid(o + p_o * c) * tanh(self.to_output(c))
        return h, LSTMState(h, c)
