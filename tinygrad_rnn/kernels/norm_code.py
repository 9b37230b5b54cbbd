"""Norms of many steps at once, in double precision.

The text of this file is compiled once for each kind of number by `norms`, with BITS set; it is not
imported.
"""
# mypy: ignore-errors

import numpy as np
from numba import njit, types

BITS = 32
FLOAT = types.float32 if BITS == 32 else types.float64
DOUBLE = types.float64
# sums may be taken in another order, so that they go through vector registers
options = {
    "nogil": True,
    "error_model": "numpy",
    "cache": True,
    "fastmath": {"reassoc", "contract"},
}


@njit(types.void(FLOAT[:, ::1], DOUBLE[::1]), **options)
def squares(values, out):
    """The sum of the squares of each row of (steps, numbers)."""
    for t in range(values.shape[0]):
        total = 0.0
        for k in range(values.shape[1]):
            v = np.float64(values[t, k])
            total += v * v
        out[t] = total


@njit(types.void(types.Array(FLOAT, 4, "A"), DOUBLE[:, :, :, ::1]), **options)
def gram(values, out):
    """The products of the columns of (steps, slices, rows, columns) with each other."""
    steps, slices, rows, columns = values.shape
    even = columns + columns % 2
    turned = np.zeros((even, rows))
    for t in range(steps):
        for s in range(slices):
            for j in range(columns):
                for r in range(rows):
                    turned[j, r] = values[t, s, r, j]
            for i in range(0, even, 2):
                for j in range(0, i + 1, 2):
                    a, b, c, d = 0.0, 0.0, 0.0, 0.0
                    for r in range(rows):
                        a += turned[i, r] * turned[j, r]
                        b += turned[i, r] * turned[j + 1, r]
                        c += turned[i + 1, r] * turned[j, r]
                        d += turned[i + 1, r] * turned[j + 1, r]
                    out[t, s, i, j] = out[t, s, j, i] = a
                    if i + 1 < columns:
                        out[t, s, i + 1, j] = out[t, s, j, i + 1] = c
                    if j + 1 < columns:
                        out[t, s, i, j + 1] = out[t, s, j + 1, i] = b
                        if i + 1 < columns:
                            out[t, s, i + 1, j + 1] = out[t, s, j + 1, i + 1] = d
