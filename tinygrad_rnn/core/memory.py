"""The memory of large arrays, which is used again when they are gone.

The C library gives large blocks back to the system at once, and fresh ones are mapped page by page
when they are first touched: that takes as long as the arithmetic of a large elementwise operation.
A few free blocks wait here for the next array of their size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# in bytes; the C library itself keeps smaller blocks, and a larger one is too much to keep
SMALL, LARGEST = 1 << 17, 1 << 24
KEPT = 16  # free blocks, at most
_free: dict[int, Any] = {}


class _Block:
    """The owner of an array's memory: when the last view of it is gone, the memory is free."""

    def __init__(self, memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.memory, place = memory, memory.__array_interface__["data"][0]
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (place + -place % 64, False),
        }

    def __del__(self) -> None:
        if self.memory.size <= LARGEST:
            _free[id(self.memory)] = self.memory
            for key in list(_free)[:-KEPT]:
                _free.pop(key, None)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return an array with any numbers in it, as `numpy.empty` does.

    A large one is made from a free block, if one fits.
    """
    needed = math.prod(shape) * dtype.itemsize
    if needed < SMALL:
        return np.empty(shape, dtype)
    # sizes in steps of at most an eighth: a block fits arrays of nearly one size
    grain = 1 << (needed.bit_length() - 4)
    size = (needed + grain - 1) // grain * grain + 64
    # this is None, too, if another thread was quicker
    memory = _free.pop(next((key for key, m in list(_free.items()) if m.size == size), 0), None)
    return np.asarray(_Block(np.empty(size, np.uint8) if memory is None else memory, shape, dtype))


def copied(array: Any) -> Any:
    """Return a copy of an array, row by row in memory."""
    out = empty(array.shape, array.dtype)
    out[...] = array
    return out
