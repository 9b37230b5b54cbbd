"""Memory of large arrays, which is used again when they are gone.

The C library gives large blocks back to the system at once, and fresh ones are mapped page by page when they are first touched: that takes as
long as the arithmetic of a large elementwise operation. A few blocks that are free wait here for the next array of their size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SMALL = 1 << 17  # bytes below which the C library keeps blocks itself
LIMIT = 1 << 28  # bytes of free blocks that are kept
_free: dict[int, list[Any]] = {}
_waiting = 0  # bytes of free blocks


class _Block:
    """The owner of an array's memory: when the last view of it is gone, the memory is free."""

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.memory = memory
        place = memory.__array_interface__["data"][0]
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (place + -place % 64, False)}

    def __del__(self) -> None:
        global _waiting
        size = self.memory.size
        if _waiting + size <= LIMIT:
            _waiting += size
            _free.setdefault(size, []).append(self.memory)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """An array with any numbers in it, as `numpy.empty`."""
    global _waiting
    needed = math.prod(shape) * dtype.itemsize
    if needed < SMALL:
        return np.empty(shape, dtype)
    grain = 1 << (needed.bit_length() - 4)  # sizes in steps of at most an eighth, so that a block fits arrays of nearly one size
    size = (needed + grain - 1) // grain * grain + 64
    try:
        memory = _free[size].pop()
        _waiting -= size
    except (KeyError, IndexError):
        memory = np.empty(size, np.uint8)
    return np.asarray(_Block(memory, shape, dtype))


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """An array of zeros."""
    if math.prod(shape) * dtype.itemsize < SMALL:
        return np.zeros(shape, dtype)
    out = empty(shape, dtype)
    out.fill(0)
    return out
