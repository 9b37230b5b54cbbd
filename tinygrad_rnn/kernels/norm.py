"""The joint norm of several arrays, and their products with a number: what clipping computes.

The squares of an array are summed in float64, in a fixed order: each of `LANES` sums takes every
`LANES`-th element, and these are added one after the other. So NumPy and machine code agree to the
bit, and a step is the same whichever of them did it.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..core.primitive import Array
from . import runtime

LANES = 16
LARGE = 16_384  # elements from which on machine code is loaded, if nothing else is compiled
BLOCK = LANES * 1024  # elements that NumPy converts at a time
# between these the squares of gradients of any dtype neither overflow nor vanish
LEAST, MOST = 1e-20, math.inf


def squares(array: Array) -> float:
    """Return the sum of the squares of all elements; without warnings where it overflows."""
    flat = array.ravel()
    if runtime.is_in_use() or (flat.size >= LARGE and runtime.available()):
        try:
            call = getattr(library(), f"squares_{8 * flat.itemsize}")
        except OSError as error:
            runtime.complain(error)
        else:
            found = np.empty(1)
            call(flat.size, flat if flat.flags.aligned else flat.copy(), found)
            return float(found[0])
    return _squares(flat)


def _squares(flat: Array) -> float:
    """Return the sum of the squares, by NumPy."""
    sums = np.zeros(LANES)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for begin in range(0, flat.size, BLOCK):
            part = flat[begin : begin + BLOCK].astype(np.float64)
            rows = np.zeros((1 - (-part.size // LANES), LANES))
            rows[0] = sums
            np.multiply(part, part, out=rows.reshape(-1)[LANES : LANES + part.size])
            sums = np.add.reduce(rows, axis=0)
    total = 0.0
    for one in sums.tolist():  # Python's own sum would correct its roundings
        total += one
    return total


@functools.cache
def library() -> Any:
    """Return the functions, compiled; `addresses` says where they are.

    - ``squares_BITS(size, array, found)``: the sum of the squares;
    - ``clipping(count, sums, most, norm, scale)``: from sums of squares the joint norm, and by what
      gradients are to be multiplied so that it is at most most[0]. It returns 1, and says nothing,
      where the squares are not in the range in which the norm is the root of their sum, or where
      the scale is below most[1];
    - ``scaled_BITS(size, array, scale, found)``: the array times the number, in its own dtype.
    """
    from . import driver, norm_code  # here, since without numba there is none

    make = functools.partial(norm_code.written, LANES, LEAST, MOST)
    translation = runtime.Translation(
        norm_code.NAMES, make, (norm_code.__file__, driver.__file__), {}
    )
    return runtime.native(f'"""the norm of gradients"""\n{LANES} {LEAST} {MOST}', translation)


def address(name: str) -> int:
    """Return where machine code finds a function of the library."""
    addresses: dict[str, int] = library().addresses
    return addresses[name]
