"""Cells and time: the cell contract, unrolling, checkpoints, truncated backpropagation."""

from .cell import Cell
from .checkpoint import checkpoint
from .truncated import Window, tbptt
from .unroll import unroll

__all__ = ["Cell", "Window", "checkpoint", "tbptt", "unroll"]
