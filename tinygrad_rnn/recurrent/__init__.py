"""Cells and time: the cell contract, unrolling, truncated backpropagation through time."""

from .cell import Cell
from .unroll import unroll

__all__ = ["Cell", "unroll"]
