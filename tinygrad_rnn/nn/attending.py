"""A cell that attends to a memory at each step: the decoder of a translation model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import init
from ..core.errors import ShapeError, TinygradError
from ..core.tensor import Tensor, tensor
from ..module import Parameter
from ..ops import checks
from ..ops.elementwise import tanh
from ..ops.shaping import concatenate
from ..recurrent.cell import Cell, dtype_of, name_of, no_cell, plain_of
from .attention import Attention, attention_mask, check_memory, masked


class AttentionState(NamedTuple):
    """The state of a cell that attends to a memory.

    Attributes
    ----------
    inner : tree of tensors
        The inner cell's state.
    attended : Tensor, shape (batch, attended_size)
        What was attended to.
    weights : Tensor, shape (batch, S)
        The weights with which it was attended to.
    """

    inner: Any
    attended: Any
    weights: Any


class AttentionCell(Cell):
    """Any cell with attention and input feeding; `attending` binds it to a memory.

    y, state' = cell([x; a], state); context = attention(y, memory); a' = tanh(W [context; y]); the
    output is a'.

    M.-T. Luong, H. Pham and C. D. Manning, Effective Approaches to Attention-based Neural Machine
    Translation, EMNLP 2015, arXiv:1508.04025, equation 5 and section 3.3 (input feeding).

    The cell bound to a memory is used like any other::

        decoder = AttentionCell(LSTM(features + hidden, hidden), LuongAttention(hidden, hidden))
        memory, last = unroll(encoder, xs)
        bound = decoder.attending(memory.swapaxes(0, 1), lengths)
        outputs, state = unroll(bound, ys, bound.initial_state(batch, last))

    The memory is a tensor that the bound cell holds, so gradients reach the encoder. The weights of
    each step are in the state.

    Parameters
    ----------
    cell : Cell
        Its input_size is that of the new cell plus `attended_size`.
    attention : Attention
        Its query_size is the size of the inner cell's output.
    attended_size : int, optional
        Of the output; by default the cell's hidden_size. A cell without one needs it.
    rng : numpy Generator or int, optional

    Raises
    ------
    TinygradError
        If no attended_size is given and the cell has no hidden_size.
    ShapeError
        If the cell's input_size leaves nothing for x.

    Attributes
    ----------
    weight : Parameter, shape (attended_size, memory_size + query_size)
        W.
    """

    def __init__(
        self, cell: Cell, attention: Attention, attended_size: int | None = None, *, rng: Any = None
    ) -> None:
        if isinstance(cell, type) or not callable(cell) or not isinstance(attention, Attention):
            raise TinygradError(
                f"AttentionCell: expected a cell and an attention, such as tg.nn.LuongAttention(...); found {no_cell(cell)} and {no_cell(attention)}"
            )
        self.cell, self.attention = cell, attention
        attended_size = (
            getattr(cell, "hidden_size", None) if attended_size is None else attended_size
        )
        if attended_size is None:
            raise TinygradError(
                f"AttentionCell: '{name_of(cell)}' has no hidden_size, so say how many features are attended to: attended_size=..."
            )
        self.attended_size = checks.size(attended_size, "AttentionCell: attended_size")
        if (reads := getattr(cell, "input_size", None)) is not None:
            self.input_size = reads - self.attended_size
            if self.input_size < 1:
                raise ShapeError(
                    f"AttentionCell: the inner cell reads x and the {self.attended_size} features that were attended to before, so its "
                    f"input_size must be more than {self.attended_size}; found {cell.input_size}"
                )
        size = (self.attended_size, attention.memory_size + attention.query_size)
        self.weight = Parameter(
            init.xavier_uniform(size, rng=rng, dtype=dtype_of(cell) or np.float32)
        )

    def attending(self, memory: Any, mask: Any = None) -> Attending:
        """Return the cell that attends to `memory` (batch, S, memory_size).

        `mask` is as in `Attention`, such as lengths (batch,).
        """
        return Attending(self, memory, mask)

    def initial_state(self, batch_size: int, inner: Any = None) -> Any:
        """Raise an error that says how to bind the cell to a memory, since it has none."""
        raise _unbound()

    def forward(self, x: Any, state: Any) -> Any:
        """Raise an error that says how to bind the cell to a memory, since it has none."""
        raise _unbound()


class Attending(Cell):
    """An `AttentionCell` bound to a memory; made by its method `attending`.

    The state is an `AttentionState`.
    """

    def __init__(self, cell: AttentionCell, memory: Any, mask: Any) -> None:
        self.cell, self.input_size = cell, cell.input_size
        self.memory = memory if isinstance(memory, Tensor) else tensor(memory, cell.weight.dtype)
        check_memory(cell.attention, self.memory)
        self.mask = None if mask is None else Tensor(attention_mask(mask, *self.memory.shape[:2]))
        self.memory = masked(self.memory, self.mask)
        self.keys = cell.attention.keys(self.memory)

    def initial_state(self, batch_size: int, inner: Any = None) -> AttentionState:
        """Return the first state, in which nothing was attended to yet.

        Parameters
        ----------
        batch_size : int
            The size of the batch.
        inner : tree of tensors, optional
            The first state of the inner cell, such as the encoder's last state; by default the
            cell's own.
        """
        batch, places = self.memory.shape[:2]
        if batch_size != batch:
            raise ShapeError(
                f"Attending: the memory has a batch of {batch}, the sequence one of {batch_size}; expected equal numbers"
            )
        if inner is None and not isinstance(self.cell.cell, Cell):
            raise TinygradError(
                f"AttentionCell: '{name_of(self.cell.cell)}' has no first state of its own; give one: initial_state(batch, inner)"
            )
        first = self.cell.cell.initial_state(batch_size) if inner is None else inner
        attended, weights = (
            Tensor(np.zeros((batch_size, n), self.memory.dtype))
            for n in (self.cell.attended_size, places)
        )
        return AttentionState(first, attended, weights)

    def mask_places(self, state: Any) -> list[int]:
        """Return the mask places of the inner cell.

        What was attended to is memory as well, the weights are not.
        """
        inner: list[int] = plain_of(self.cell.cell).mask_places(state[0])
        return [*inner, len(inner), -1]

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size); the output has shape (batch, attended_size)."""
        inner, attended, _ = state
        y, inner = self.cell.cell(concatenate([x, attended], -1), inner)
        context, weights = self.cell.attention(y, self.memory, self.mask, keys=self.keys)
        attended = tanh(concatenate([context, y], -1) @ self.cell.weight.T)
        return attended, AttentionState(inner, attended, weights)


def _unbound() -> TinygradError:
    return TinygradError(
        "AttentionCell has no memory to attend to; use the cell that cell.attending(memory, lengths) gives"
    )
