"""Norms of what each of many steps adds to a gradient, without the arrays of all steps."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ..core.primitive import Array
from . import runtime

NUMBERS = 1 << 15  # that are worked on at a time, so that they stay in the cache
LOST = 1e3  # times the result is the largest sum of terms of which enough digits are left
CODE = Path(__file__).with_name("row_norms_code.py")


@functools.cache
def _library(dtype: np.dtype[Any]) -> Any:
    """Return the functions of row_norms_code.py, compiled for a kind of number."""
    text = CODE.read_text(encoding="utf-8")
    return runtime.load(text.replace("BITS = 32", f"BITS = {8 * dtype.itemsize}"))


def step_norms(values: Array) -> Array:
    """Return the Euclidean norm of each step, in double precision."""
    flat = np.ascontiguousarray(values.reshape(len(values), -1))
    found = np.empty(len(flat))
    _library(flat.dtype).squares(flat, found)
    return np.sqrt(found)


class Side:
    """One side of products over the batch: (steps, slices, rows of the product, columns).

    Where a product has few columns, what it needs of a side is how its columns lie to each other.
    """

    def __init__(self, values: Array) -> None:
        self.values = values

    @functools.cached_property
    def gram(self) -> Array:
        """The products of columns with each other, of each step and slice, in double precision."""
        steps, slices, rows, columns = self.values.shape
        if columns == 1:
            alone = step_norms(self.values.reshape(steps * slices, rows)) ** 2
            return alone.reshape(steps, slices, 1, 1)
        found = np.empty((steps, slices, columns, columns))
        _library(self.values.dtype).gram(self.values, found)
        return found

    @functools.cached_property
    def lengths(self) -> Array:
        """The norm of each column, of each step and slice."""
        found: Array = np.sqrt(np.einsum("tsii->tsi", self.gram))
        return found

    def sums(self, steps: slice) -> Array:
        """Return the sums over the columns of some steps, in double precision."""
        values = self.values[steps]
        many = max(1, NUMBERS // max(values[0].size, 1)) if len(values) else 1
        found = np.empty(values.shape[:-1])
        ones = np.ones(values.shape[-1])
        for k in range(0, len(values), many):
            found[k : k + many] = values[k : k + many].astype(np.float64) @ ones
        return found


def product(left: Side, right: Side, steps: slice) -> Array:
    """Return the products of some steps: (steps, slices, rows, columns of the result)."""
    found: Array = np.matmul(left.values[steps], right.values[steps].swapaxes(-1, -2))
    return found


def norms_of_products(left: Side, right: Side) -> Array:
    """Return the norm of the product of each step.

    With few columns it follows from how these lie to each other: the square of the norm of X G' is
    the sum of (X' X) * (G' G). Where that has lost digits, the product itself is computed.
    """
    steps, slices, M, columns = left.values.shape
    N = right.values.shape[2]

    def whole(begin: int, end: int) -> Array:
        part, double = slice(begin, end), np.float64
        a, b = (Side(side.values[part].astype(double)) for side in (left, right))
        return step_norms(product(a, b, slice(None)))

    if columns * (M + N) > M * N:
        many = max(1, NUMBERS // max(slices * max(M * N, (M + N) * columns), 1))
        parts = [whole(k, k + many) for k in range(0, steps, many)]
        return np.concatenate(parts) if parts else np.empty(0)
    if columns == 1:
        alone: Array = np.sqrt((left.gram * right.gram).sum(axis=(1, 2, 3)))
        return alone
    found = np.einsum("tsij,tsij->t", left.gram, right.gram)
    most = np.einsum("tsi,tsi->t", left.lengths, right.lengths) ** 2
    total = np.sqrt(found)
    for t in np.flatnonzero(~(most <= LOST * found)):
        total[t] = whole(int(t), int(t) + 1)[0]
    return np.asarray(total)


def norms_of_sums(side: Side) -> Array:
    """Return the norm of the sum over the columns of each step."""
    if side.values.shape[3] == 1:
        return step_norms(side.values)
    if "gram" not in vars(side):
        return step_norms(side.sums(slice(None)))
    found = side.gram.sum(axis=(1, 2, 3))
    most = (side.lengths.sum(axis=2) ** 2).sum(axis=1)
    total = np.sqrt(found)
    for t in np.flatnonzero(~(most <= LOST * found)):
        total[t] = step_norms(side.sums(slice(t, t + 1)))[0]
    return np.asarray(total)
