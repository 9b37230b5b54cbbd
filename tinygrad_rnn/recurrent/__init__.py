"""Cells and time: the cell contract, and unrolling."""

from .cell import Cell
from .unroll import unroll

__all__ = ["Cell", "unroll"]
