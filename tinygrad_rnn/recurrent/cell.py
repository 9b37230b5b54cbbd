"""The cell contract: ``(x, state) -> (output, state)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tensor import Tensor
from ..nn.module import Module


class Cell(Module):
    """One step of a recurrent network.

    A subclass defines ``forward(x, state) -> (output, new_state)`` for one step, where x has shape (batch, input_size), and
    ``initial_state(batch_size)``. A state is a Tensor or a tuple, named tuple or dict of them, of any shapes. Any plain function
    with this signature is a cell too, if it is given its first state.
    """

    hidden_size: int

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first step; by default zeros of shape (batch_size, hidden_size)."""
        if not hasattr(self, "hidden_size"):
            raise TinygradError(f"{type(self).__name__} has no hidden_size; set it, or define initial_state(batch_size)")
        return self.zeros(batch_size, self.hidden_size)

    def zeros(self, *shape: int) -> Tensor:
        """Zeros in the dtype of the cell's parameters."""
        dtype = next((p.dtype for p in self.parameters()), np.dtype(np.float32))
        return Tensor(np.zeros(shape, dtype))
