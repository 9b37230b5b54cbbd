"""What the gated cells of PyTorch's layout share: blocks of weights, two biases."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..core.tape import Where, caller
from ..nn.module import Parameter
from ..recurrent.cell import Cell


class BlockCell(Cell):
    """A cell whose weights for all gates stand in blocks of `hidden_size` rows.

    Attributes
    ----------
    weight_ih : Parameter, shape (gates * hidden_size, input_size)
    weight_hh : Parameter, shape (gates * hidden_size, hidden_size)
    bias_ih, bias_hh : Parameter, shape (gates * hidden_size,)
    """

    gates = 1

    def __init__(self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32) -> None:
        if input_size < 1 or hidden_size < 1:
            raise ShapeError(f"{type(self).__name__}: sizes must be at least 1; found input_size={input_size}, hidden_size={hidden_size}")
        rng = init.generator(rng)
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = self.gates * hidden_size
        blocks = [init.orthogonal((hidden_size, hidden_size), rng=rng, dtype=dtype) for _ in range(self.gates)]
        self.weight_ih = Parameter(init.xavier_uniform((rows, input_size), rng=rng, dtype=dtype))
        self.weight_hh = Parameter(np.concatenate(blocks))
        self.bias_ih = Parameter(init.zeros((rows,), dtype=dtype))
        self.bias_hh = Parameter(init.zeros((rows,), dtype=dtype))

    def check(self, x: Any) -> None:
        """Raise a ShapeError if x is not one step of input."""
        if len(x.shape) != 2 or x.shape[1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: expected one step of shape (batch, {self.input_size}); found {tuple(x.shape)}. A sequence "
                f"has shape (time, batch, {self.input_size}); a single one gets its batch axis with xs[:, None].{Where(*caller()).described()}"
            )
