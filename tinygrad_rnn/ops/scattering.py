"""Values that are put together at indices along an axis. Loaded when first used."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError
from .checks import flag, of_kind
from .define import operand
from .elementwise import maximum
from .shaping import broadcast_to
from .taking import _places, add_along_axis, put_along_axis


def scatter_reduce(
    x: Any,
    indices: Any,
    values: Any,
    axis: int = -1,
    reduce: str = "sum",
    include_self: bool = True,
) -> Any:
    """Return a copy of x in which the values for each element are added up, or averaged.

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
        "sum" or "mean".
    include_self : bool
        Whether the element of x is one of those that are put together. If not, it counts only where
        there is no value for it.
    """
    of_kind(reduce, ["str"], "scatter_reduce: reduce")
    if reduce not in ("sum", "mean"):
        raise ShapeError(
            f"scatter_reduce: reduce must be 'sum' or 'mean'; found {reduce!r}. The last of several values is taken by tg.put_along_axis"
        )
    x, indices = operand(x, "scatter_reduce"), _places("scatter_reduce", x, indices)
    values = operand(values, "scatter_reduce: values")
    if tuple(values.shape) != tuple(indices.shape):
        values = broadcast_to(values, indices.shape)
    if not flag(include_self, "scatter_reduce: include_self"):
        x = put_along_axis(x, indices, 0.0 if x.dtype.kind == "f" else 0, axis)
    found = add_along_axis(x, indices, values, axis)
    if reduce == "sum":
        return found
    begin = np.full(tuple(x.shape), int(include_self), np.int64)
    count = add_along_axis(begin, indices, np.ones(tuple(indices.shape), np.int64), axis)
    return found / maximum(count, 1).astype(found.dtype if found.dtype.kind == "f" else np.float32)
