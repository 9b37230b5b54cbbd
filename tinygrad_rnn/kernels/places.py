"""Machine code for what goes by places along an axis, beside which NumPy takes several passes.

Each function does its work and returns True, or says by False or None that NumPy has to do it:
where numba is missing, for other kinds of numbers, and for few elements as long as nothing else was
compiled.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..core.memory import copied
from ..core.primitive import Array
from . import runtime

LARGE = 16_384  # elements from which on machine code is loaded, if nothing else is compiled
MOST = 1 << 31  # elements of an image, whose places are counted in 32 bits
CODE = Path(__file__).with_name("places_code.py")
_WHOLE = np.dtype(np.int64)
_KINDS = frozenset((np.dtype(np.float32), np.dtype(np.float64), _WHOLE))


@functools.cache
def _library(dtype: np.dtype[Any]) -> Any:
    """Return the functions of places_code.py for a kind of number, or None if they cannot be had."""
    from numba.core.errors import NumbaError

    text = CODE.read_text(encoding="utf-8").replace("types.float32", f"types.{dtype}")
    try:
        return runtime.load(text)
    except (NumbaError, ImportError, OSError, RuntimeError) as error:
        runtime.complain(error)
        return None


def library(array: Array, size: int) -> Any:
    """Return the functions for numbers like those of an array, or None where NumPy does the work."""
    if array.dtype not in _KINDS or not (
        runtime.is_in_use() or (size >= LARGE and runtime.available())
    ):
        return None
    return _library(array.dtype)


def parted(array: Array, axis: int) -> Array:
    """Return an array as (before, along, behind), row by row in memory."""
    shape, flags = array.shape, array.flags
    if not (flags.c_contiguous and flags.aligned):
        array = copied(array)
    if axis == len(shape) - 1:
        return array.reshape(math.prod(shape[:axis]), shape[axis], 1)
    return array.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))


def running(x: Array, out: Array, axis: int, largest: bool) -> bool:
    """Write the running maximum, or minimum, along an axis, if it is the last one with elements."""
    found = library(x, x.size)
    if found is None or not x.size or math.prod(x.shape[axis + 1 :]) != 1:
        return False
    found.running(parted(x, axis), parted(out, axis), largest)
    return True


def holders(out: Array, places: Array, axis: int) -> bool:
    """Write at which place each of the running extremes `out` along an axis begins."""
    found = library(out, out.size)
    if found is None or not out.size:
        return False
    found.holders(parted(out, axis), parted(places, axis))
    return True


def largest(x: Array, windows: tuple[int, ...], out: Array) -> bool:
    """Write where in each image of x the first of the largest elements of each window is.

    Parameters
    ----------
    x : ndarray, shape (images, rows, columns)
    windows : tuple of int
        Their size, stride and dilation, of rows and of columns.
    out : ndarray of int64
        A number for each window.
    """
    found = library(x, x.size)
    if found is None or math.prod(x.shape[1:]) >= MOST:
        return False
    found.largest(np.ascontiguousarray(x), windows, out)
    return True


def largest_of_parts(x: Array, out: Array) -> bool:
    """Write where in each image of x the first of the largest elements of each part is.

    Parameters
    ----------
    x : ndarray, shape (images, rows, columns)
    out : ndarray of int64
        A number for each part.
    """
    found = library(x, x.size)
    if found is None:
        return False
    found.largest_of_parts(np.ascontiguousarray(x), out)
    return True


def at_places(name: str, array: Array, places: Array, other: Array, axis: int) -> bool | None:
    """Call `take`, `add` or `put`: whether all places were on the axis, or None if it did nothing.

    Parameters
    ----------
    name : str
    array, places, other : ndarray
        As the function has them: `array` is what the places are of.
    axis : int
        Not negative. The other axes of all three have the same sizes.
    """
    found = library(array, places.size)
    if found is None or other.dtype != array.dtype or not array.size or not places.size:
        return None
    whole = places if places.dtype is _WHOLE else places.astype(np.int64)
    loop = getattr(found, name)
    done: bool = loop(parted(array, axis), parted(whole, axis), parted(other, axis))
    return done
