"""The LSTM whose cells are ordered by how long they keep their content."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..module import Parameter
from ..ops.along import cumsum, softmax
from ..ops.elementwise import sigmoid, tanh
from ..ops.shaping import broadcast_to, expand_dims, split
from .base import LSTMState, PublishedCell

__all__ = ["ONLSTM"]


def cumax(x: Any) -> Any:
    """Return cumsum(softmax(x)) over the last axis, which rises from near 0 to 1."""
    return cumsum(softmax(x, axis=-1), axis=-1)


class ONLSTM(PublishedCell):
    """LSTM with ordered neurons: master gates say from which unit on the content is long-lived.

        f, i, o = sigmoid(W x + U h + b), g = tanh(W_g x + U_g h + b_g)
        F  = cumax(V_F x + R_F h + d_F)
        J  = 1 - cumax(V_J x + R_J h + d_J),  cumax(a) = cumsum(softmax(a))
        w  = F * J
        c' = (f * w + F - w) * c + (i * w + J - w) * g
        h' = o * tanh(c')

    The output is h'; the state is (h, c), each (batch, H). W (4H, I), U (4H, H), b (4H,): blocks in
    the order f, i, o, g. The master gates have D = H / `chunk_size` elements: unit u takes element
    u // chunk_size. V (2D, I), R (2D, H), d (2D,): blocks in the order F, J. b_f starts at 1.

    Y. Shen, S. Tan, A. Sordoni and A. Courville, Ordered Neurons: Integrating Tree Structures into
    Recurrent Neural Networks, ICLR 2019, arXiv:1810.09536.

    F and J are the paper's f and i with a tilde, J the master input gate. The authors' code has the
    master gates in the order J, F, before the others.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    chunk_size : int
        How many neighbours share an element of the master gates; it divides hidden_size.
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
        chunk_size: int = 1,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if chunk_size < 1 or hidden_size % chunk_size:
            raise ShapeError(
                f"ONLSTM: chunk_size must divide hidden_size = {hidden_size}; found {chunk_size}"
            )
        self.chunk_size, rows = chunk_size, 2 * hidden_size // chunk_size
        self.W, self.U, self.b = self.inputs(4), self.recurrent(4), self.bias(4)
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size, gate=0)
        self.V = self.xavier(rows, input_size, 2)
        self.R = self.xavier(rows, hidden_size, 2)
        self.d = Parameter(init.zeros((rows,), dtype=dtype))

    def spread(self, gate: Any) -> Any:
        """Return x (batch, D) with each element `chunk_size` times: (batch, hidden_size)."""
        return broadcast_to(expand_dims(gate, -1), shape=(*gate.shape, self.chunk_size)).reshape(
            (-1, self.hidden_size)
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        f, i, o, g = split(
            self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 4, axis=-1
        )
        f, i, o, g = sigmoid(f), sigmoid(i), sigmoid(o), tanh(g)
        master_f, master_i = split(
            self.from_input(x, self.V) + self.from_state(h, self.R) + self.d, 2, axis=-1
        )
        master_f, master_i = self.spread(cumax(master_f)), self.spread(1 - cumax(master_i))
        overlap = master_f * master_i
        c = (f * overlap + (master_f - overlap)) * c + (i * overlap + (master_i - overlap)) * g
        h = o * tanh(self.to_output(c))
        return h, LSTMState(h, c)
