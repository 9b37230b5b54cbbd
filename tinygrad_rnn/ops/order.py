"""Order: sort, argsort, topk, median, quantile. Loaded when first used.

Equal elements keep the order in which they stand, whichever way is sorted, and nan comes after all
numbers (first, where the order is descending). So the order is one and the same for NumPy, for
compiled steps and for derivatives.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ShapeError
from ..core.memory import empty
from ..core.primitive import Spec
from ..core.tensor import FLOAT32, Tensor
from .along import _one_axis
from .checks import flag, number, of_kind, shown, size
from .define import axes_of, axis_of, numpys, operand, primitive
from .elementwise import isnan, logical_and, logical_not, logical_or, stop_gradient, where
from .reductions import max as largest
from .reductions import plain_zero
from .reductions import sum as total
from .shaping import expand_dims, reshape, stack, transpose
from .taking import put_along_axis, take_along_axis

# --- sorting --------------------------------------------------------------------------------------

SELECTED = 128  # elements of a row from which on a few of them are looked for without sorting it
SMALL = 2_048  # elements below which a stable sort costs less than to look for equal ones
MANY = 4_096  # elements of all rows from which on to look for places costs less than to sort


def _part_shape(
    x: Any, *, axis: int = -1, descending: bool = False, start: int = 0, stop: int | None = None
) -> Spec:
    _one_axis(x, axis=axis)
    if not x.ndim:
        return Spec((), x.dtype)
    a = axis % x.ndim
    n = x.shape[a]
    last = n if stop is None else stop
    if not 0 <= start <= last <= n:
        raise ShapeError(f"places {start} to {last} of {n} elements on axis {axis} of {x.shape}")
    return Spec([last - start if k == a else m for k, m in enumerate(x.shape)], x.dtype)


def _places_shape(x: Any, **params: Any) -> Spec:
    return Spec(_part_shape(x, **params).shape, np.int64)


def _bounds(n: int, descending: bool, start: int, stop: int | None) -> tuple[int, int]:
    """Return from where to where elements stand in a row of n that is sorted upwards."""
    last = n if stop is None else stop
    return (n - last, n - start) if descending else (start, last)


def _few(n: int, low: int, high: int) -> bool:
    """Whether it is quicker to look for some elements of a row of n than to sort it."""
    return n >= SELECTED and 0 < 4 * (high - low) <= n


def _stable(rows: Any) -> Any:
    """Return the places of the elements of each row in ascending order, equal ones as they stand.

    NumPy's quick sort of numbers is several times as fast as its stable one, and mixes equal
    elements. These are put in order afterwards, by whole numbers that hold both group and place.
    """
    n = rows.shape[-1]
    if rows.size < SMALL or rows.dtype.itemsize < 4:
        return np.argsort(rows, axis=-1, kind="stable")
    order = np.argsort(rows, axis=-1)
    found = np.take_along_axis(rows, order, -1)
    equal = found[..., 1:] == found[..., :-1]
    if rows.dtype.kind == "f" and np.isnan(found[..., -1]).any():
        equal |= np.isnan(found[..., :-1])
    if equal.any():
        begins = np.ones((*order.shape[:-1], n + 1), np.bool_)  # of groups of equal ones
        np.logical_not(equal, out=begins[..., 1:-1])
        places = np.nonzero(~(begins[..., :-1] & begins[..., 1:]).reshape(-1))[0]
        groups = np.cumsum(begins[..., :-1].reshape(-1)[places], dtype=np.int64) * n
        keys = order.reshape(-1)[places] + groups
        keys.sort()
        order.reshape(-1)[places] = keys - groups
    return order


def _parted(rows: Any, low: int, high: int) -> Any:
    """Return the elements that stand from low to high in each sorted row, the least one first.

    The others are in no order.
    """
    n = rows.shape[-1]
    if n - low < high:  # fewer are left behind low than before high
        rows = np.partition(rows, low, axis=-1)[..., low:]
        low, high = 0, high - low
    if high < rows.shape[-1]:
        rows = np.partition(rows, high - 1, axis=-1)[..., :high]
    return np.partition(rows, low, axis=-1)[..., low:]


def _selected(rows: Any, low: int, high: int) -> Any:
    """Return the places of the elements that stand from low to high in each sorted row."""
    count = high - low
    parted = _parted(rows, low, high)
    first, last = parted[..., :1], parted.max(axis=-1, keepdims=True)
    inside = rows >= first
    inside &= rows <= last
    flat, n = np.flatnonzero(inside), rows.shape[-1]
    ends = np.searchsorted(flat, np.arange(len(rows) + 1) * n)
    # of several that are equal to the first or the last only some may be meant; nan is none of them
    sure = np.flatnonzero(np.diff(ends) == count)
    chosen = flat[ends[sure, None] + np.arange(count)] - (sure * n)[:, None]
    values = np.take_along_axis(rows if len(sure) == len(rows) else rows[sure], chosen, -1)
    found = np.empty((len(rows), count), np.int64)
    found[sure] = np.take_along_axis(chosen, _stable(values), -1)
    for k in np.setdiff1d(np.arange(len(rows)), sure):
        found[k] = _among_equal(rows[k], first[k, 0], last[k, 0], low, high)
    return found


def _among_equal(row: Any, first: Any, last: Any, low: int, high: int) -> Any:
    """Return these places of a row where the first or the last of the elements occurs repeatedly."""
    if last != last:  # nan is among them
        return _stable(row)[low:high]
    places = [np.flatnonzero((row > first) & (row < last))]
    for edge in (first, last) if first < last else (first,):
        below = int(np.count_nonzero(row < edge))
        places.append(np.flatnonzero(row == edge)[low - below if low > below else 0 : high - below])
    chosen = np.sort(np.concatenate(places))
    return chosen[_stable(row[chosen])]


def _argsort_of_others(x: Any, axis: int, descending: bool, start: int, stop: int | None) -> Any:
    """Count for each element how many stand in front of it; that is quick for the rows of steps."""
    if not x.ndim:
        return total(x != x).astype(np.int64) * 0
    a = axis % x.ndim
    n = x.shape[a]
    one, other = expand_dims(x, a + 1), expand_dims(x, a)  # each, and all that may be before it
    earlier = np.arange(n)[:, None] > np.arange(n)
    earlier = earlier.reshape((n, n) + (1,) * (x.ndim - 1 - a))
    ahead, equal = other > one if descending else other < one, other == one
    if x.dtype.kind == "f":
        both = logical_and(isnan(one), isnan(other))
        alone = logical_and(isnan(other if descending else one), logical_not(both))
        ahead, equal = logical_or(ahead, alone), logical_or(equal, both)
    before = logical_or(ahead, logical_and(equal, earlier))
    rank = total(before.astype(np.int64), a + 1)
    numbers = np.arange(n).reshape((n,) + (1,) * (x.ndim - 1 - a))
    places = put_along_axis(rank * 0, rank, rank * 0 + numbers, a)
    last = n if stop is None else stop
    return places if last - start == n else places[(slice(None),) * a + (slice(start, last),)]


PARTS = [
    ([(5,)], {}),
    ([(2, 4)], {"axis": 0}),
    ([(2, 3, 2)], {"axis": 1, "descending": True}),
    ([(3, 5)], {"start": 1, "stop": 4}),
    ([(5, 2)], {"axis": 0, "descending": True, "stop": 2}),
    ([(0, 3)], {"axis": -1}),
]


@primitive(
    shape=_places_shape,
    name="argsort",
    examples=PARTS,
    decomposition=_argsort_of_others,
    left_to_numpy=True,
)
def _argsort(
    x: Any, *, axis: int = -1, descending: bool = False, start: int = 0, stop: int | None = None
) -> Any:
    _part_shape(x, axis=axis, descending=descending, start=start, stop=stop)
    if not x.ndim:
        return np.zeros((), np.int64)
    rows = np.moveaxis(x, axis, -1)
    rows = np.ascontiguousarray(rows[..., ::-1] if descending else rows)
    n = rows.shape[-1]
    low, high = _bounds(n, descending, start, stop)
    if rows.size >= MANY and _few(n, low, high):
        places = _selected(rows.reshape(-1, n), low, high).reshape((*rows.shape[:-1], high - low))
    else:
        places = _stable(rows)[..., low:high]
    places = n - 1 - places[..., ::-1] if descending else places
    return np.ascontiguousarray(np.moveaxis(places, -1, axis))


def _sort_of_others(x: Any, axis: int, descending: bool, start: int, stop: int | None) -> Any:
    if not x.ndim:
        return plain_zero(x)
    places = _argsort(x, axis, descending, start, stop)
    return plain_zero(take_along_axis(x, places, axis))


def _sort_rule(g: Any, x: Any, axis: int, descending: bool, start: int, stop: int | None) -> Any:
    if not g.ndim:
        return g
    places = _argsort(x, axis, descending, start, stop)
    return put_along_axis(np.zeros(x.shape, g.dtype), places, g, axis)


def _sort_tangent(
    t: Any, out: Any, x: Any, *, axis: int, descending: bool, start: int, stop: int | None
) -> Any:
    if not t.ndim:
        return t
    return take_along_axis(t, _argsort(x, axis, descending, start, stop), axis)


@primitive(
    _sort_rule,
    shape=_part_shape,
    tangent=_sort_tangent,
    name="sort",
    examples=[*PARTS, ([()], {"axis": 0})],
    decomposition=_sort_of_others,
    left_to_numpy=True,
    rule_in_words="Each element gets the gradient of the place to which it was sorted.",
)
def _sort(
    x: Any, *, axis: int = -1, descending: bool = False, start: int = 0, stop: int | None = None
) -> Any:
    _part_shape(x, axis=axis, descending=descending, start=start, stop=stop)
    if not x.ndim:
        return plain_zero(x)
    a = axis % x.ndim
    low, high = _bounds(x.shape[a], descending, start, stop)
    if _few(x.shape[a], low, high):
        part = np.moveaxis(np.sort(_parted(np.moveaxis(x, a, -1), low, high), axis=-1), -1, a)
    else:
        whole = empty(x.shape, x.dtype)
        np.copyto(whole, x)
        whole.sort(axis=a)
        part = whole[(slice(None),) * a + (slice(low, high),)]
    if x.dtype.kind == "f":
        part += 0.0  # no -0.0: which of equal zeros comes first would depend on how they are sorted
    return part[(slice(None),) * a + (slice(None, None, -1),)] if descending else part


def sort(x: Any, axis: int | None = -1, descending: bool = False) -> Any:
    """Return the elements in ascending order along an axis; nan comes last.

    Of equal elements the first is the first, and has its gradient. 0.0 stands for -0.0.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int, optional
        Along which axis; with None the elements of all axes are sorted, as one row.
    descending : bool
        The largest first, and nan before all.
    """
    x, axis = _row(x, axis, "sort")
    return _sort(x, axis, flag(descending, "sort: descending"))


def argsort(x: Any, axis: int | None = -1, descending: bool = False) -> Any:
    """Return the places of the elements in the order of `sort`; int64, no gradient.

    Parameters
    ----------
    x : Tensor, array or number
    axis : int, optional
        Along which axis; with None the elements of all axes are sorted, as one row.
    descending : bool
        The largest first, and nan before all.
    """
    x, axis = _row(x, axis, "argsort")
    return _argsort(x, axis, flag(descending, "argsort: descending"))


def _row(x: Any, axis: Any, name: str) -> tuple[Any, int]:
    """Return a tensor and one of its axes; without an axis all elements stand in one row."""
    x = operand(x, name)
    return (reshape(x, -1), 0) if axis is None else (x, axis)


class TopK(NamedTuple):
    """The largest (or smallest) elements and their places."""

    values: Any
    indices: Any


def topk(x: Any, k: int, axis: int = -1, largest: bool = True) -> TopK:
    """Return the k largest elements along an axis, the largest first, and their places.

    Of equal elements the first is taken first, and has its gradient; nan is larger than any number.

    Parameters
    ----------
    x : Tensor, array or number
    k : int
        How many.
    axis : int
        Along which axis.
    largest : bool
        False: the k smallest, the smallest first.
    """
    x = operand(x, "topk")
    a, count = axis_of(axis, x.ndim), size(k, "topk: k", 0)
    if count > x.shape[a]:
        raise ShapeError(f"topk: k={k} of axis {axis} of shape {tuple(x.shape)}")
    places = _argsort(x, a, flag(largest, "topk: largest"), 0, count)
    return TopK(take_along_axis(x, places, a), places)


# --- quantiles ------------------------------------------------------------------------------------

METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


@numpys()
def quantile(
    x: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear"
) -> Any:
    """Return what a share q of the elements does not exceed; it is nan where one element is.

    Its gradient goes to the one or two elements between which it lies, by their weights.

    Parameters
    ----------
    x : Tensor, array or number
        Integers become float32.
    q : float, or a sequence of float
        From 0 to 1. For several the results stand along a new first axis.
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    method : str
        "linear" between two elements; "lower", "higher" or "nearest" of them; "midpoint".
    """
    x, several = operand(x, "quantile"), isinstance(q, (list, tuple, np.ndarray)) and np.ndim(q) > 0
    if isinstance(q, Tensor):
        raise ShapeError(
            "quantile: q must be a number or a list of them, not a tensor; use q.numpy()"
        )
    if np.ndim(q) > 1:
        raise ShapeError(f"quantile: q must be a number or a list of them; found {shown(q)}")
    of_kind(method, ["str"], "quantile: method")
    if method not in METHODS:
        raise ShapeError(f"quantile: method must be one of {', '.join(METHODS)}; found {method!r}")
    shares = [
        number(v.item() if isinstance(v, np.generic) else v, "quantile: q", "[0, 1]")
        for v in (q if several else [q])
    ]
    rows, a, shape = _one_row(x, axis, flag(keepdims, "quantile: keepdims"))
    n = rows.shape[a] if rows.ndim else 1
    if not n:
        raise ShapeError(
            f"quantile: an axis of shape {tuple(x.shape)} is empty, so there is nothing to choose from"
        )
    weights = [_neighbours(share * (n - 1), method) for share in shares]
    start, stop = 0, n
    if len(shares) == 1:
        start, stop = weights[0][0], weights[0][1] + 1
    part = _sort(rows, a, False, start, stop)
    found = [reshape(_between(part, a, w, start), shape) for w in weights]
    if rows.dtype.kind == "f":
        top = largest(stop_gradient(rows), a, True)
        factor = reshape(where(isnan(top), math.nan, 1.0), shape).astype(rows.dtype)
        found = [y * factor for y in found]
    return stack(found) if several else found[0]


def _one_row(x: Any, axis: Any, keepdims: bool) -> tuple[Any, int, tuple[int, ...]]:
    """Return the elements along one axis, that axis, and the shape of what is left of them."""
    if x.dtype.kind != "f":
        x = x.astype(FLOAT32)
    axes = axes_of(axis, x.ndim)
    shape = [1 if k in axes else n for k, n in enumerate(x.shape) if keepdims or k not in axes]
    if not x.ndim:
        return reshape(x, 1), 0, ()
    if len(axes) == 1:
        return x, axes[0], tuple(shape)
    rest = [k for k in range(x.ndim) if k not in axes]
    rows = reshape(
        transpose(x, (*rest, *axes)),
        (*(x.shape[k] for k in rest), math.prod(x.shape[k] for k in axes)),
    )
    return rows, len(rest), tuple(shape)


def _neighbours(place: float, method: str) -> tuple[int, int, float]:
    """Return the places of two elements, and the weight of the second."""
    low, high = math.floor(place), math.ceil(place)
    if method in ("lower", "higher", "nearest"):
        one = {"lower": low, "higher": high, "nearest": round(place)}[method]
        return one, one, 0.0
    return low, high, place - low if method == "linear" else 0.5


def _between(part: Any, a: int, weights: tuple[int, int, float], start: int) -> Any:
    """Return an element of each sorted row, or what lies between two."""
    low, high, weight = weights
    lead = (slice(None),) * a
    first = part[(*lead, slice(low - start, low - start + 1))]
    if low == high or not weight:
        return first
    second = part[(*lead, slice(high - start, high - start + 1))]
    return first * (1.0 - weight) + second * weight


@numpys()
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the middle element over axes, or the mean of the two in the middle.

    It is nan where one element is. Its gradient goes to these elements.

    Parameters
    ----------
    x : Tensor, array or number
        Integers become float32.
    axis : int or tuple of int, optional
        Over which axes; over all by default.
    keepdims : bool
        Whether the axes stay, with size 1.
    """
    return quantile(operand(x, "median"), 0.5, axis, keepdims)
