"""What the published cells share: their sizes, and the values that their parameters start from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import init
from ..core.tensor import Tensor
from ..module import Parameter
from ..ops.checks import sizes
from ..recurrent.cell import Cell, dtype_of

__all__ = ["LSTMState", "PublishedCell"]


class LSTMState(NamedTuple):
    """Hidden state h and cell state c, each of shape (batch, hidden_size)."""

    h: Any
    c: Any


# as the exponent of a weight that stands for nothing: exp(EMPTY - a) is 0 for every a, in float32
# too
EMPTY = -1e38


class PublishedCell(Cell):
    """A cell of the zoo: ``Name(input_size, hidden_size, *, rng=None, dtype=float32, ...)``.

    A subclass makes its parameters in ``__init__`` with the methods here and states one step in
    ``forward``. Parameters of several gates with the same inputs stand in one block matrix, rows of
    `hidden_size` for each gate, and are cut apart with `split`.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.

    Attributes
    ----------
    State : type or None
        The named tuple of the state's components, each of shape (batch, hidden_size); None: the
        state is one tensor h.
    """

    State: Any = None

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        self.input_size: int
        self.input_size, self.hidden_size = sizes(
            type(self).__name__, input_size=input_size, hidden_size=hidden_size
        )
        self._rng = init.generator(rng)
        self.converted(np.dtype(dtype))

    def converted(self, dtype: np.dtype[Any]) -> None:
        """See `Module`."""
        self._dtype = dtype
        self.tiny = float(np.finfo(dtype).tiny)  # the smallest number with full precision

    def initial_state(self, batch_size: int) -> Any:
        """Return zeros as the first state."""
        if self.State is None:
            return super().initial_state(batch_size)
        return self.State(*[self.zeros(batch_size, self.hidden_size) for _ in self.State._fields])

    def zeros(self, *shape: int) -> Tensor:
        """Return zeros in the dtype of the cell's parameters.

        A cell without any has the dtype with which it was made.
        """
        return Tensor(np.zeros(shape, dtype_of(self) or self._dtype))

    def inputs(self, blocks: int = 1, columns: int | None = None) -> Parameter:
        """Return weights for products with the input, each block Xavier uniform.

        They have shape (blocks * hidden_size, input_size or `columns`).
        """
        return self.xavier(blocks * self.hidden_size, columns or self.input_size or 0, blocks)

    def xavier(self, rows: int, columns: int, blocks: int = 1) -> Parameter:
        """Return weights (rows, columns) of `blocks` gates, each block Xavier uniform.

        Parameters
        ----------
        rows, columns : int
            The shape; `columns` is fan_in.
        blocks : int
            How many gates stand one upon the other in the rows; it divides them.
        """
        return Parameter(
            init.xavier_uniform((rows, columns), blocks=blocks, rng=self._rng, dtype=self._dtype)
        )

    def recurrent(self, blocks: int = 1) -> Parameter:
        """Return weights (blocks * hidden_size, hidden_size) for products with the state.

        Each block is orthogonal.
        """
        size = (self.hidden_size, self.hidden_size)
        return Parameter(
            np.concatenate(
                [init.orthogonal(size, rng=self._rng, dtype=self._dtype) for _ in range(blocks)]
            )
        )

    def bias(self, blocks: int = 1, value: float = 0.0) -> Parameter:
        """Return a vector (blocks * hidden_size,) of one value."""
        return Parameter(np.full(blocks * self.hidden_size, value, self._dtype))

    def vector(self, bound: float = 0.1, blocks: int = 1) -> Parameter:
        """Return a vector (blocks * hidden_size,), uniform on [-bound, bound].

        It is for products element by element, such as peepholes.
        """
        return Parameter(
            init.uniform((blocks * self.hidden_size,), bound, rng=self._rng, dtype=self._dtype)
        )

    def scalar(self, value: float) -> Parameter:
        """Return one number, shape ()."""
        return Parameter(np.full((), value, self._dtype))

    def torch_layout(self, gates: int, bias: bool) -> None:
        """Make PyTorch's parameters: weight_ih, weight_hh, bias_ih, bias_hh; None for no biases."""
        self.weight_ih, self.weight_hh = self.inputs(gates), self.recurrent(gates)
        self.bias_ih: Parameter | None = self.bias(gates) if bias else None
        self.bias_hh: Parameter | None = self.bias(gates) if bias else None

    def torch_sum(self, x: Any, h: Any) -> Any:
        """Return W_ih x + b_ih + W_hh h + b_hh."""
        if self.bias_ih is None:
            return self.from_input(x, self.weight_ih) + self.from_state(h, self.weight_hh)
        return (
            self.from_input(x, self.weight_ih)
            + self.bias_ih
            + self.from_state(h, self.weight_hh)
            + self.bias_hh
        )
