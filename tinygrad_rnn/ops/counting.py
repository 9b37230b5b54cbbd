"""Sums without nan, and different values. Loaded when first used."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import NotDifferentiableError, TraceError
from ..core.primitive import Spec
from ..core.tape import Where, caller
from ..core.tensor import Tensor, tensor
from .checks import array, flag
from .define import axis_of, numpys, operand, primitive
from .elementwise import isnan, logical_not, where
from .reductions import EMPTY, SHAPES, _of, _spread, _sum_shape, mean, summed
from .reductions import sum as total
from .shaping import broadcast_to


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
