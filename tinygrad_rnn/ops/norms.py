"""Norms of vectors and matrices, of every order that NumPy has. They are loaded when first used."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError
from .arranging import moveaxis
from .checks import flag, of_kind, shown
from .decompositions import svdvals
from .define import operand
from .elementwise import abs, power, stop_gradient, where
from .reductions import max, min, sum
from .reductions import norm as euclidean
from .shaping import expand_dims


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the norm of vectors or matrices, of any of NumPy's orders.

    Parameters
    ----------
    x : Tensor or array
    ord : int, float, "fro" or "nuc", optional
        By default the root of the sum of squares.
    axis : int or tuple of int, optional
        One axis of vectors, or two of matrices; by default those that x has.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    x, keep = operand(x, "norm"), flag(keepdims, "norm: keepdims")
    if ord is None:
        return euclidean(x, axis, keep)
    if not isinstance(ord, str):
        of_kind(ord, ["int", "float"], "norm: ord")
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(range(x.ndim)) if axis is None else axes
    if len(axes) == 1:
        return _of_vectors(x, ord, axes[0], keep)
    if len(axes) != 2:
        raise ShapeError(
            f"norm: ord={shown(ord)} is of vectors or matrices: expected one axis or two; found axis={axis} for shape {tuple(x.shape)}"
        )
    return _of_matrices(x, ord, axes, keep)


def _of_vectors(x: Any, ord: Any, axis: int, keep: bool) -> Any:
    if isinstance(ord, str):
        raise ShapeError(f"norm: ord={ord!r} is of matrices; found vectors along axis {axis}")
    if ord == 2:
        return euclidean(x, axis, keep)
    size = abs(x)
    if ord == np.inf:
        return max(size, axis, keep)
    if ord == -np.inf:
        return min(size, axis, keep)
    if ord == 0:
        return sum((x != 0).astype(x.dtype), axis, keep)
    if ord == 1:
        return sum(size, axis, keep)
    return _of_order(size, ord, axis, keep)


def _of_order(size: Any, ord: float, axis: int, keep: bool) -> Any:
    """Return (the sum of size ** ord) ** (1 / ord); from order 1 on what is 0 has the gradient 0.

    Divided by the largest one before, so that no power is too large or too small.
    """
    if ord < 1:
        return power(sum(power(size, ord), axis, keep), 1 / ord)
    top = stop_gradient(max(size, axis, True))
    unit = where(top > 0, top, 1.0)
    zero = size == 0
    powers = where(zero, 0.0, power(where(zero, 1.0, size / unit), ord))
    total = sum(powers, axis, True)
    found = where(top > 0, power(where(top > 0, total, 1.0), 1 / ord) * unit, 0.0)
    return found if keep else found.sum(axis=axis)


def _of_matrices(x: Any, ord: Any, axes: tuple[int, ...], keep: bool) -> Any:
    if ord == "fro":
        return euclidean(x, axes, keep)
    if ord not in (1, -1, 2, -2, np.inf, -np.inf, "nuc"):
        raise ShapeError(
            f"norm: expected ord 1, -1, 2, -2, inf, -inf, 'fro' or 'nuc' of matrices; found {shown(ord)}"
        )
    y = moveaxis(x, axes, (-2, -1))
    if ord in (2, -2, "nuc"):
        values = svdvals(y)
        found = sum(values, -1) if ord == "nuc" else values[..., 0 if ord == 2 else -1]
    else:
        sums = sum(abs(y), -2 if ord in (1, -1) else -1)
        found = max(sums, -1) if ord in (1, np.inf) else min(sums, -1)
    return expand_dims(found, tuple(a % x.ndim for a in axes)) if keep else found
