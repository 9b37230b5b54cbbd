"""Bistable cells.

A unit that feeds back on itself strongly enough keeps one of two values for as long as it has to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import split
from ..recurrent.products import scaled
from .base import PublishedCell

__all__ = ["BRC", "NBRC"]


class BRC(PublishedCell):
    """Bistable recurrent cell: a unit sees of the state only itself, and may be bistable.

        a  = 1 + tanh(U_a x + w_a * h)
        c  = sigmoid(U_c x + w_c * h)
        h' = c * h + (1 - c) * tanh(U_h x + a * h)

    The output is h'. The state is h, shape (batch, hidden_size). U (3 * hidden_size, input_size)
    has the blocks U_a, U_c, U_h; w (2 * hidden_size,) has the blocks w_a, w_c. Where a is greater
    than 1 a unit has two stable values.

    N. Vecoven, D. Ernst and G. Drion, A bio-inspired bistable recurrent cell allows for
    long-lasting memory, PLOS ONE 16 (2021), arXiv:2006.05252; U_h is called U there. The paper's
    equations have no biases, and nor has this cell; the authors' code adds one to a and one to c.

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
        self.U, self.w = self.inputs(3), self.vector(bound=1.0, blocks=2)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        x_a, x_c, x_h = split(self.from_input(x, self.U), 3, axis=-1)
        w_a, w_c = split(self.w, 2, axis=-1)
        a = 1 + tanh(x_a + self.from_state(h, w_a, scaled))
        c = sigmoid(x_c + self.from_state(h, w_c, scaled))
        h = c * h + (1 - c) * tanh(x_h + a * h)
        return h, h


class NBRC(PublishedCell):
    """Neuromodulated bistable recurrent cell: other units say whether a unit is bistable.

        a  = 1 + tanh(U_a x + W_a h)
        c  = sigmoid(U_c x + W_c h)
        h' = c * h + (1 - c) * tanh(U_h x + a * h)

    The output is h'. The state is h, shape (batch, hidden_size). U (3 * hidden_size, input_size)
    has the blocks U_a, U_c, U_h; W (2 * hidden_size, hidden_size) has the blocks W_a, W_c.

    N. Vecoven, D. Ernst and G. Drion, A bio-inspired bistable recurrent cell allows for
    long-lasting memory, PLOS ONE 16 (2021), arXiv:2006.05252: the neuromodulated cell. There are no
    biases, as in `BRC`.

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
        self.U, self.W = self.inputs(3), self.recurrent(2)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        x_a, x_c, x_h = split(self.from_input(x, self.U), 3, axis=-1)
        h_a, h_c = split(self.from_state(h, self.W), 2, axis=-1)
        a = 1 + tanh(x_a + h_a)
        c = sigmoid(x_c + h_c)
        h = c * h + (1 - c) * tanh(x_h + a * h)
        return h, h
