"""Values that are put together at indices along an axis. Loaded when first used."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Spec
from .checks import flag, of_kind
from .define import axis_of, operand, primitive
from .elementwise import logical_and, maximum, where
from .reductions import end_of, plain_zero, prod
from .reductions import max as largest_of
from .reductions import min as smallest_of
from .shaping import broadcast_to, concatenate, expand_dims
from .taking import _flat, _places, _valued_shape, add_along_axis, put_along_axis, take_along_axis

REDUCE = ("sum", "mean", "prod", "max", "min")
SYNONYMS = {"amax": "max", "amin": "min"}


def scatter_reduce(
    x: Any,
    indices: Any,
    values: Any,
    axis: int = -1,
    reduce: str = "sum",
    include_self: bool = True,
) -> Any:
    """Return a copy of x in which the values for each element are put together with it.

    Of equal largest or smallest ones all share the gradient, as in `max`; the gradient of a product
    is exact at zeros. A product looks at each pair of an element and a value.

    Parameters
    ----------
    x : Tensor or array
    indices : Tensor or array of int
        As in `take_along_axis`: where along the axis each value goes.
    values : Tensor, array or number
        Of the shape of the indices, or one that is broadcast to it.
    axis : int
        Along which axis.
    reduce : str
        "sum", "mean", "prod", "max" or "min"; PyTorch's "amax" and "amin" are the last two.
    include_self : bool
        Whether the element of x is one of those that are put together. If not, it counts only where
        there is no value for it.
    """
    of_kind(reduce, ["str"], "scatter_reduce: reduce")
    reduce = SYNONYMS.get(reduce, reduce)
    if reduce not in REDUCE:
        raise ShapeError(
            f"scatter_reduce: reduce must be one of {', '.join(REDUCE)}; found {reduce!r}. The last of several values is taken by "
            "tg.put_along_axis"
        )
    x, indices = operand(x, "scatter_reduce"), _places("scatter_reduce", x, indices)
    values = operand(values, "scatter_reduce: values")
    if tuple(values.shape) != tuple(indices.shape):
        values = broadcast_to(values, indices.shape)
    own = flag(include_self, "scatter_reduce: include_self")
    if reduce in ("max", "min"):
        return _extreme(x, indices, values, axis, reduce == "max", own)
    if not own:
        begin = int(reduce == "prod")
        x = put_along_axis(x, indices, float(begin) if x.dtype.kind == "f" else begin, axis)
    if reduce == "prod":
        return _product(x, indices, values, axis)
    found = add_along_axis(x, indices, values, axis)
    if reduce == "sum":
        return found
    count = maximum(_hits(x, indices, axis, int(own)), 1)
    return found / count.astype(found.dtype if found.dtype.kind == "f" else np.float32)


def _hits(x: Any, indices: Any, axis: int, begin: int = 0) -> Any:
    """Return how many values there are for each element, counted from `begin`."""
    ones = np.ones(tuple(indices.shape), np.int64)
    return add_along_axis(np.full(tuple(x.shape), begin, np.int64), indices, ones, axis)


def _pairs(x: Any, indices: Any, values: Any, axis: int, neutral: Any) -> tuple[Any, int]:
    """Return each element and behind it the values for it, along a new axis, and that axis."""
    a = axis_of(axis, x.ndim)
    n = x.shape[a]
    numbers = np.arange(n).reshape((n, 1) + (1,) * (x.ndim - 1 - a))
    here = expand_dims(where(indices < 0, indices + n, indices), a) == numbers
    return concatenate(
        [expand_dims(x, a + 1), where(here, expand_dims(values, a), neutral)], a + 1
    ), a + 1


def _product(x: Any, indices: Any, values: Any, axis: int) -> Any:
    """Return the products; indices that are out of range are found where they are counted."""
    pairs, a = _pairs(x, indices, values, axis, 1.0 if x.dtype.kind == "f" else 1)
    return where(_hits(x, indices, axis) > 0, prod(pairs, a).astype(x.dtype), x)


# --- the largest and the smallest -----------------------------------------------------------------


def _begun(x: Any, indices: Any, axis: int, largest: bool, own: bool) -> Any:
    """Return that with which the values are compared."""
    return x if own else put_along_axis(x, indices, end_of(x.dtype, largest), axis)


def _extreme_of_pairs(
    x: Any, indices: Any, values: Any, axis: int, largest: bool, own: bool
) -> Any:
    begun = _begun(x, indices, axis, largest, own)
    pairs, a = _pairs(begun, indices, values, axis, end_of(x.dtype, largest))
    return (largest_of if largest else smallest_of)(pairs, a)


def _shares_of_equal(
    out: Any, x: Any, indices: Any, values: Any, axis: int, own: bool
) -> tuple[Any, Any]:
    """Return the share of each element and of each value in what it is equal to."""
    mine, theirs = x == out, values == take_along_axis(out, indices, axis)
    if not own:
        mine = logical_and(mine, _hits(x, indices, axis) == 0)
    mine, theirs = mine.astype(x.dtype), theirs.astype(x.dtype)
    count = add_along_axis(mine, indices, theirs, axis)
    return mine / count, theirs / take_along_axis(count, indices, axis)


def _meeting_rule(g: Any, out: Any, x: Any, indices: Any, values: Any, axis: int, own: bool) -> Any:
    mine, theirs = _shares_of_equal(out, x, indices, values, axis, own)
    return g * mine, None, take_along_axis(g, indices, axis) * theirs


def _meeting_tangent(
    t: Any, out: Any, x: Any, indices: Any, values: Any, axis: int, largest: bool, own: bool
) -> Any:
    mine, theirs = _shares_of_equal(out, x, indices, values, axis, own)
    by_x = mine * 0 if t[0] is None else mine * t[0]
    return by_x if t[2] is None else add_along_axis(by_x, indices, theirs * t[2], axis)


def _extreme_shape(
    x: Any, indices: Any, values: Any, *, axis: int = -1, largest: bool = True, own: bool = True
) -> Spec:
    return _valued_shape(x, indices, values, axis=axis)


@primitive(
    _meeting_rule,
    joint=True,
    shape=_extreme_shape,
    tangent=_meeting_tangent,
    promotes=slice(0, 3, 2),
    name="extreme_along_axis",
    examples=[
        ([(2, 3), np.array([[2, 2, 1], [0, 1, 0]]), (2, 3)], {"axis": 1}),
        ([(3, 2), np.array([[0, 0], [-2, 0]]), (2, 2)], {"axis": 0, "largest": False}),
        ([(3,), np.array([0, 2, 0, 2, 2]), (5,)], {"axis": 0, "own": False}),
        ([(2, 2, 3), np.array([[[1, 0, 1]], [[0, -1, 0]]]), (2, 1, 3)], {"axis": 1, "own": False}),
        ([(2, 0), np.zeros((2, 0), int), (2, 0)], {"axis": 1}),
    ],
    decomposition=_extreme_of_pairs,
    left_to_numpy=True,
    rule_in_words="The gradient goes to what is the largest or smallest; equal ones share it.",
)
def _extreme(
    x: Any, indices: Any, values: Any, *, axis: int = -1, largest: bool = True, own: bool = True
) -> Any:
    """Return the largest (or smallest) of each element and the values for it."""
    out = np.array(_begun(x, indices, axis, largest, own), order="C")
    places = _flat(indices, x.shape, axis).reshape(-1)
    (np.maximum if largest else np.minimum).at(out.reshape(-1), places, values.reshape(-1))
    return plain_zero(out)
