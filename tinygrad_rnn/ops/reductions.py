"""Reductions: sums, means, extremes, norms. `axis` is None (all axes), an int or a tuple."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Spec
from .checks import flag, number
from .define import axes_of, numpys, operand, primitive
from .elementwise import abs, exp, isfinite, log, sqrt, square, where
from .facts import ALL_HOLD, LARGEST, ONE_HOLDS, SMALLEST, SUM

SHAPES = [
    ([(2, 3)], {}),
    ([(2, 3, 2)], {"axis": 1}),
    ([(2, 3)], {"axis": (0, 1), "keepdims": True}),
    ([()], {}),
    ([(3, 4)], {"axis": -1, "keepdims": True}),
]
EMPTY = ([(0, 3)], {"axis": 0})
PLACES = [
    ([(2, 3)], {}),
    ([(2, 3, 2)], {"axis": 1}),
    ([(3, 4)], {"axis": -1, "keepdims": True}),
    ([()], {}),
]


def _reduced(x: Any, *, axis: Any = None, keepdims: bool = False, **_: Any) -> Spec:
    axes = axes_of(axis, x.ndim)
    kept = [1 if i in axes else n for i, n in enumerate(x.shape)]
    return Spec(kept if keepdims else [n for i, n in enumerate(kept) if i not in axes], x.dtype)


def _reduced_nonempty(x: Any, *, axis: Any = None, keepdims: bool = False) -> Spec:
    if 0 in [x.shape[a] for a in axes_of(axis, x.ndim)]:
        raise ShapeError(f"an axis of shape {x.shape} is empty, so there is nothing to choose from")
    return _reduced(x, axis=axis, keepdims=keepdims)


def _of(x: Any, axis: Any) -> Any:
    """Return the axis argument for NumPy's functions.

    Not all of them take axis 0 of no dimensions.
    """
    return None if axis is None else axes_of(axis, len(x.shape))


def _spread(reduced: Any, like_x: Any, axis: Any, keepdims: bool) -> Any:
    """Put back the axes that a reduction removed, with size 1."""
    if keepdims:
        return reduced
    axes = axes_of(axis, like_x.ndim)
    return reduced.reshape(tuple([1 if i in axes else n for i, n in enumerate(like_x.shape)]))


def _count(like_x: Any, axis: Any) -> int:
    return math.prod(like_x.shape[a] for a in axes_of(axis, like_x.ndim))


ROWS, COLUMNS = 16, 4096  # of blocks whose rows are added as vectors


def summed(x: Any, axis: Any, keepdims: bool) -> Any:
    """Return the sum of an array over axes.

    NumPy adds up a row without vector instructions, in blocks of 16 and these in pairs. In a long
    row 16 shorter ones that lie behind one another are added first, so that the error is as small.
    """
    block = ROWS * COLUMNS
    if axis is not None or keepdims or x.size < 4 * block or x.dtype.kind != "f":
        return x.sum(_of(x, axis), keepdims=keepdims)
    if not x.flags.c_contiguous:
        return x.sum()
    flat, whole = x.reshape(-1), x.size // block * block
    rows = flat[:whole].reshape(-1, ROWS, COLUMNS).sum(axis=1)
    return rows.sum() + flat[whole:].sum()


def _sum_shape(x: Any, *, axis: Any = None, keepdims: bool = False) -> Spec:
    spec = _reduced(x, axis=axis, keepdims=keepdims)
    return Spec(spec.shape, np.sum(np.zeros(0, x.dtype)).dtype)


@primitive(
    lambda g, like_x, axis, keepdims: broadcast_to(
        _spread(g, like_x, axis, keepdims), like_x.shape
    ),
    shape=_sum_shape,
    linear="jointly",
    examples=[*SHAPES, EMPTY],
    reduction=SUM,
    rule_in_words="Every element that was summed gets the gradient of the sum.",
)
def sum(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the sum over axes; it is 0 over an empty one.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    return summed(x, axis, keepdims)


def _mean_of_others(x: Any, axis: Any, keepdims: bool) -> Any:
    # nan for an empty axis
    return sum(x, axis, keepdims) * (1.0 / (_count(x, axis) or math.nan))


@primitive(
    lambda g, like_x, axis, keepdims: broadcast_to(
        _spread(g, like_x, axis, keepdims) / _count(like_x, axis), like_x.shape
    ),
    shape=_reduced,
    linear="jointly",
    floating=True,
    examples=SHAPES,
    decomposition=_mean_of_others,
    rule_in_words="Every element gets the gradient of the mean, divided by their number.",
)
def mean(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean over axes; it is nan over an empty one. Integers become float32.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    total, count = summed(x, axis, keepdims), _count(x, axis)
    return total / count if count else x.mean(_of(x, axis), keepdims=keepdims)


def end_of(dtype: Any, least: bool) -> Any:
    """Return the smallest or the largest number of a dtype."""
    if dtype.kind == "f":
        return -np.inf if least else np.inf
    if dtype.kind == "b":
        return not least
    return int(np.iinfo(dtype).min if least else np.iinfo(dtype).max)


def _ties(out: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """Return 1 / (number of maxima) at each maximum, and 0 elsewhere."""
    top = (x == _spread(out, x, axis, keepdims)).astype(x.dtype)
    return top / top.sum(axis=_of(x, axis), keepdims=True)


def _extreme_rule(g: Any, out: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return _spread(g, x, axis, keepdims) * _ties(out, x, axis, keepdims)


def _extreme_tangent(t: Any, out: Any, x: Any, *, axis: Any, keepdims: bool) -> Any:
    return (t * _ties(out, x, axis, keepdims)).sum(axis=_of(x, axis), keepdims=keepdims)


def plain_zero(out: Any) -> Any:
    """Replace -0.0 by 0.0.

    Where zeros of both signs tie, the sign would follow from the order in which they are compared.
    """
    return out + 0.0 if out.dtype.kind == "f" else out


@primitive(
    _extreme_rule,
    shape=_reduced_nonempty,
    tangent=_extreme_tangent,
    examples=SHAPES,
    reduction=LARGEST,
)
def max(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the largest element over axes (PyTorch's amax).

    Elements that tie share the gradient equally. It is nan if one is nan, and 0.0 in place of -0.0.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    return plain_zero(x.max(_of(x, axis), keepdims=keepdims))


@primitive(
    _extreme_rule,
    shape=_reduced_nonempty,
    tangent=_extreme_tangent,
    examples=SHAPES,
    reduction=SMALLEST,
)
def min(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the smallest element over axes (PyTorch's amin).

    Elements that tie share the gradient equally. It is nan if one is nan, and 0.0 in place of -0.0.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    return plain_zero(x.min(_of(x, axis), keepdims=keepdims))


def _logsumexp_of_others(x: Any, axis: Any, keepdims: bool) -> Any:
    top = max(x, axis, True)
    top = where(isfinite(top), top, 0.0)
    out = log(sum(exp(x - top), axis, True)) + top
    return out if keepdims else out.reshape(sum(x, axis, keepdims).shape)


@primitive(
    lambda g, out, x, axis, keepdims: (
        _spread(g, x, axis, keepdims) * exp(x - _spread(out, x, axis, keepdims))
    ),
    shape=_reduced_nonempty,
    floating=True,
    examples=SHAPES,
    tangent=lambda t, out, x, axis, keepdims: (t * exp(x - _spread(out, x, axis, keepdims))).sum(
        axis=_of(x, axis), keepdims=keepdims
    ),
    decomposition=_logsumexp_of_others,
)
def logsumexp(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Return log(sum(exp(x))) over axes without overflow; it is -inf where all are -inf.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    top = x.max(_of(x, axis), keepdims=True)
    top = np.where(np.isfinite(top), top, np.zeros((), x.dtype))
    with np.errstate(divide="ignore"):
        out = np.log(np.exp(x - top).sum(_of(x, axis), keepdims=True)) + top
    return out if keepdims else np.squeeze(out, axis=axes_of(axis, x.ndim))


def _powers(dtype: Any) -> tuple[float, float, float, float]:
    """Return the magnitudes below and above which squares do not fit a dtype, and two factors.

    The factors bring numbers to where their squares fit. They are powers of two, so nothing
    else changes by them.
    """
    return (
        (2.0**-50, 2.0**50, 2.0**96, 2.0**-96)
        if dtype == np.float32
        else (2.0**-450, 2.0**450, 2.0**600, 2.0**-600)
    )


def _norm_slope(out: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    length = _spread(out, x, axis, keepdims)
    return x / where(length == 0, 1.0, length)


def scaled_norm(x: Any, axis: Any, keepdims: bool) -> Any:
    """Return the norm of numbers of any magnitude."""
    low, high, up, down = _powers(x.dtype)
    if 0 in x.shape:
        return sqrt(sum(square(x), axis, keepdims))
    top = max(abs(x), axis, True)
    x = where(top > high, x * down, where(top < low, x * up, x))
    length = sqrt(sum(square(x), axis, keepdims))
    top = top.reshape(length.shape)
    return where(top > high, length * up, where(top < low, length * down, length))


@primitive(
    lambda g, out, x, axis, keepdims: (
        _spread(g, x, axis, keepdims) * _norm_slope(out, x, axis, keepdims)
    ),
    shape=_reduced,
    floating=True,
    examples=SHAPES,
    tangent=lambda t, out, x, axis, keepdims: (t * _norm_slope(out, x, axis, keepdims)).sum(
        axis=_of(x, axis), keepdims=keepdims
    ),
    decomposition=scaled_norm,
)
def norm(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the Euclidean norm over axes.

    It is sqrt(sum(x * x)), also where the squares are too large or too small for the dtype. The
    gradient at 0 is 0.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    if x.dtype.kind != "f":  # of arrays alone
        x = x.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        squares = (x * x).sum(_of(x, axis), keepdims=keepdims)
    low, high, _, _ = _powers(x.dtype)
    if squares.size and not (squares.min() >= low * low and squares.max() <= high * high):
        with np.errstate(all="ignore"):  # of what is not chosen
            return scaled_norm(x, axis, keepdims)
    return np.sqrt(squares)


@numpys()
def var(x: Any, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Any:
    """Return the variance over axes: the sum of squared deviations over (count - correction).

    It is recorded as mean, subtract, square, sum, divide.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    correction : float
        What is taken from the count: 0 as in NumPy and the array API (PyTorch's default is 1).
        Where it is not below the count, the sum is divided by 0, which gives inf or nan.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    x = operand(x, "var")
    return square(x - mean(x, axis, True)).sum(axis=axis, keepdims=keepdims) / _freedom(
        "var", x, axis, correction
    )


def _freedom(name: str, x: Any, axis: Any, correction: float) -> float:
    """Return the count less the correction, and not less than 0, as in NumPy."""
    return builtins.max(_count(x, axis) - number(correction, f"{name}: correction"), 0.0)


@numpys()
def std(x: Any, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Any:
    """Return the standard deviation over axes, as the norm of the deviations.

    The gradient where all are equal is 0.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    correction : float
        As in `var`.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    x = operand(x, "std")
    return (
        norm(x - mean(x, axis, True), axis, keepdims) / _freedom("std", x, axis, correction) ** 0.5
    )


@numpys()
def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the product over axes; it is 1 over an empty one.

    It is recorded as about log2(n) multiplications of halves. No division occurs, so gradients of
    every order are exact at zeros.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    x, keepdims = operand(x, "prod"), flag(keepdims, "prod: keepdims")
    axes = axes_of(axis, x.ndim)
    shape = _reduced(x, axis=axis, keepdims=keepdims).shape
    rest = [i for i in range(x.ndim) if i not in axes]
    kept, n = [x.shape[i] for i in rest], _count(x, axis)
    y = x.transpose((*rest, *axes)).reshape((*kept, n))
    if n == 0:
        return y.sum(axis=-1).reshape(shape) + 1
    while n > 1:
        half = n // 2
        tail = [y[..., 2 * half :]] if n % 2 else []
        y = concatenate([y[..., :half] * y[..., half : 2 * half], *tail], axis=-1)
        n = n - half
    return y.reshape(shape)


def _arg_shape(x: Any, *, axis: Any = None, keepdims: bool = False) -> Spec:
    if isinstance(axis, (tuple, list)):
        raise ShapeError(f"axis {axis}: expected None or one axis")
    return Spec(_reduced_nonempty(x, axis=axis, keepdims=keepdims).shape, np.int64)


@primitive(shape=_arg_shape, examples=PLACES, extreme=">")
def argmax(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the index of the (first) largest element; int64, no gradient.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int, optional
        Along which axis; by default the index is into all elements in a row.
    keepdims : bool
        Whether the axis stays, with size 1.
    """
    return np.argmax(x, axis=axis, keepdims=keepdims)


@primitive(shape=_arg_shape, examples=PLACES, extreme="<")
def argmin(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the index of the (first) smallest element; int64, no gradient.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int, optional
        Along which axis; by default the index is into all elements in a row.
    keepdims : bool
        Whether the axis stays, with size 1.
    """
    return np.argmin(x, axis=axis, keepdims=keepdims)


def _any_shape(x: Any, *, axis: Any = None, keepdims: bool = False) -> Spec:
    return Spec(_reduced(x, axis=axis, keepdims=keepdims).shape, bool)


@primitive(shape=_any_shape, examples=[*SHAPES, EMPTY], reduction=ONE_HOLDS)
def any(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether some element is true; no gradient.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    return x.any(_of(x, axis), keepdims=keepdims)


@primitive(shape=_any_shape, examples=[*SHAPES, EMPTY], reduction=ALL_HOLD)
def all(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether every element is true; no gradient.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    return x.all(_of(x, axis), keepdims=keepdims)


from .shaping import broadcast_to, concatenate  # noqa: E402  (shaping uses sums, sums use broadcasting)
