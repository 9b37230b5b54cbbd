"""Cells and time: the cell contract, unrolling, checkpoints, truncated backpropagation."""

from ..core.tape import add_to_engine
from .cell import Cell
from .checkpoint import checkpoint
from .truncated import Window, tbptt
from .unroll import unroll

__all__ = ["Cell", "Window", "checkpoint", "tbptt", "unroll"]

add_to_engine(__path__)
