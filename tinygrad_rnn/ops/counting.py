"""Sums without nan, different values, places in a sorted row, and counts. Loaded when first used."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from ..core.errors import NotDifferentiableError, ShapeError, TraceError
from ..core.primitive import Spec
from ..core.tape import Where, caller
from ..core.tensor import Tensor, tensor
from .checks import array, flag, of_kind, shown, size
from .define import axis_of, numpys, operand, primitive
from .elementwise import isnan, logical_not, logical_or, where
from .reductions import EMPTY, SHAPES, _of, _spread, _sum_shape, mean, summed
from .reductions import sum as total
from .shaping import broadcast_to, expand_dims
from .taking import index_add, integers, take


def _sum_of_others(x: Any, axis: Any, keepdims: bool) -> Any:
    return total(where(isnan(x), 0.0, x) if x.dtype.kind == "f" else x, axis, keepdims)


@primitive(
    lambda g, x, axis, keepdims: where(
        isnan(x), 0.0, broadcast_to(_spread(g, x, axis, keepdims), x.shape)
    ),
    shape=_sum_shape,
    tangent=lambda t, out, x, axis, keepdims: total(where(isnan(x), 0.0, t), axis, keepdims),
    examples=[*SHAPES, EMPTY, ([np.array([1.5, np.nan, -2.0])], {"axis": 0})],
    decomposition=_sum_of_others,
    rule_in_words="Every element that was summed gets the gradient of the sum.",
)
def nansum(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the sum over axes of what is not nan; it is 0 where all are. A nan has the gradient 0.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    found = summed(x, axis, keepdims)
    if found.dtype.kind != "f" or not np.isnan(found).any():
        return found  # so no element was nan
    return np.nansum(x, axis=_of(x, axis), keepdims=keepdims)


@numpys()
def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean over axes of what is not nan; it is nan where all are.

    A nan has the gradient 0. Integers become float32.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    x = operand(x, "nanmean")
    if x.dtype.kind != "f":
        return mean(x, axis, keepdims)
    count = total(logical_not(isnan(x)), axis, keepdims).astype(x.dtype)
    return nansum(x, axis, keepdims) / count


def unique(
    x: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
) -> Any:
    """Return the different values in ascending order, as `numpy.unique`; no gradient.

    Parameters
    ----------
    x : Tensor, array or number
        Without gradients: if equal elements moved apart, there would be more values.
    return_index, return_inverse, return_counts : bool
        Whether a tuple is returned, with the place of the first of each; with the places of all
        elements among the values; with how many there are of each.
    axis : int, optional
        Rows along this axis are compared as wholes; by default single elements.
    """
    if isinstance(x, Tensor) and x.requires_grad:
        raise NotDifferentiableError(
            "unique: the different values have no gradient, since how many there are changes where equal elements move; "
            f"give x.detach(), or sort with tg.sort{Where(*caller()).described()}"
        )
    if isinstance(x, Tensor) and isinstance(x.array, Spec):
        raise TraceError(
            f"unique: how many different values there are is not known while a function is traced or compiled{Where(*caller()).described()}"
        )
    several = [
        flag(return_index, "unique: return_index"),
        flag(return_inverse, "unique: return_inverse"),
        flag(return_counts, "unique: return_counts"),
    ]
    x = operand(x, "unique")
    axis = None if axis is None else axis_of(axis, x.ndim)
    found: Any = np.unique(array(x, "unique: x"), *several, axis=axis)  # type: ignore[call-overload]
    return tuple(map(tensor, found)) if any(several) else tensor(found)


# --- places and counts ----------------------------------------------------------------------------


def _search_shape(a: Any, v: Any, *, right: bool = False) -> Spec:
    if a.ndim != 1:
        raise ShapeError(f"expected one row of numbers to search in; found shape {tuple(a.shape)}")
    return Spec(v.shape, np.int64)


def _search_of_others(a: Any, v: Any, right: bool) -> Any:
    """Count what stands in front of each value."""
    one = expand_dims(v, v.ndim)
    before = a <= one if right else a < one
    if a.dtype.kind == "f":  # nan stands behind all numbers
        behind = logical_or(logical_not(isnan(a)), np.array(right))
        before = where(isnan(one), behind, before)
    return total(before.astype(np.int64), -1)


@primitive(
    shape=_search_shape,
    name="searchsorted",
    examples=[
        ([np.array([1, 2, 2, 5]), (2, 3)], {}),
        ([np.array([1, 2, 2, 5]), np.array([0, 1, 2, 9])], {"right": True}),
        ([np.array([3]), ()], {}),
    ],
    decomposition=_search_of_others,
    left_to_numpy=True,
)
def _searchsorted(a: Any, v: Any, *, right: bool = False) -> Any:
    _search_shape(a, v)
    if (a[1:] < a[:-1]).any() or (a.dtype.kind == "f" and np.isnan(a[:-1]).any() > np.isnan(a[-1:]).any()):  # fmt: skip
        raise ShapeError("expected numbers in ascending order, with nan at the end; tg.sort(a) is")
    return np.searchsorted(a, v, "right" if right else "left")


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """Return where in a sorted row values would have to stand to keep it sorted; int64, no gradient.

    Parameters
    ----------
    a : Tensor or array, one axis
        In ascending order; another one is an error.
    v : Tensor, array or number
        The values, of any shape.
    side : str
        Where there are equal ones: "left" of them or "right" of them.
    sorter : integer Tensor or array, optional
        The places of the elements of a in ascending order, as `argsort` gives them.
    """
    of_kind(side, ["str"], "searchsorted: side")
    if side not in ("left", "right"):
        raise ShapeError(f"searchsorted: side must be 'left' or 'right'; found {shown(side)}")
    a, v = operand(a, "searchsorted: a"), operand(v, "searchsorted: v")
    a = a if sorter is None else take(a, sorter)
    return _searchsorted(a, v, right=side == "right")


def _known(name: str, x: Any, what: str) -> Any:
    """Return numbers whose values are known, as an array; others and those with gradients are refused."""
    x = operand(x, name)
    if isinstance(x, Tensor) and isinstance(x.array, Spec):
        raise TraceError(
            f"{name}: {what} is not known while a function is traced or compiled{Where(*caller()).described()}"
        )
    if isinstance(x, Tensor) and x.requires_grad:
        raise NotDifferentiableError(
            f"{name}: counts have no gradient, and edges that follow from the values would lose theirs; give x.detach()"
            f"{Where(*caller()).described()}"
        )
    return array(x, name)


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """Return how often each number from 0 on occurs, or the sum of the weights that belong to it.

    Parameters
    ----------
    x : integer Tensor or array, one axis
        None of them below 0.
    weights : Tensor or array, optional
        One for each element of x; they get gradients.
    minlength : int
        How many numbers are counted at least.
    """
    x = integers(x, "bincount: x")
    found = _known("bincount", x, "how many numbers there are")
    least = size(minlength, "bincount: minlength", 0)
    if found.ndim != 1 or (found.size and found.min() < 0):
        raise ShapeError(
            "bincount: expected whole numbers of at least 0 along one axis; found "
            + (f"shape {found.shape}" if found.ndim != 1 else f"{found.min()}")
        )
    length = builtins.max(least, int(found.max(initial=-1)) + 1)
    if weights is None:
        return tensor(np.bincount(found.astype(np.int64), minlength=length))
    weights = operand(weights, "bincount: weights")
    if tuple(weights.shape) != found.shape:
        raise ShapeError(
            f"bincount: expected a weight for each of the {found.size} elements; found shape {tuple(weights.shape)}"
        )
    weights = weights if weights.dtype.kind == "f" else weights.astype(np.float64)
    return index_add(tensor(np.zeros(length, weights.dtype)), found.astype(np.int64), weights)


def histogram(
    x: Any, bins: Any = 10, range: Any = None, density: bool = False, weights: Any = None
) -> Any:
    """Return how many elements fall between edges, and the edges, as `numpy.histogram`; no gradient.

    Parameters
    ----------
    x : Tensor or array
        Without gradients.
    bins : int, str, or sequence of float
        How many bins of equal width, one of NumPy's rules, or their edges.
    range : (float, float), optional
        The first and the last edge; by default the smallest and the largest element.
    density : bool
        Whether the counts are divided so that the area below them is 1.
    weights : Tensor or array, optional
        What each element counts.
    """
    values = _known("histogram", x, "how the values lie")
    given = None if weights is None else _known("histogram: weights", weights, "how they lie")
    if isinstance(bins, bool) or (np.ndim(bins) == 1 and len(bins) < 2):
        raise ShapeError(
            f"histogram: bins must be a number, or two edges or more; found {shown(bins)}"
        )
    edges = (
        bins if isinstance(bins, (int, str)) else _known("histogram: bins", bins, "where they lie")
    )
    try:
        found = np.histogram(values, edges, range, flag(density, "histogram: density"), given)
    except (ValueError, TypeError) as error:
        raise ShapeError(f"histogram: {error}") from None
    return tuple(map(tensor, found))
