"""What all losses share: what they are given, the weights in a mask, and `reduction`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.tensor import Tensor, tensor
from ..ops.checks import array, shown
from ..ops.elementwise import isfinite, logical_and, logical_or, where
from ..ops.reductions import all
from ..ops.taking import take

REDUCTIONS = ("mean", "sum", "none")


def numbers(what: str, given: Any) -> Any:
    """Return numbers as a Tensor or an array."""
    return given if isinstance(given, Tensor) else array(given, what)


def floats(what: str, given: Any) -> Any:
    """Return a floating Tensor, or an array as a constant."""
    found = numbers(what, given)
    return found if isinstance(found, Tensor) else tensor(found)


def beside(x: Any, what: str, given: Any) -> Any:
    """Return numbers as a Tensor, or as an array with the dtype of the tensor that they meet."""
    found = numbers(what, given)
    return found if isinstance(found, Tensor) else found.astype(x.dtype)


def alike(name: str, first: str, a: Any, second: str, b: Any) -> tuple[Any, Any]:
    """Return two things of equal shape, the first as a tensor.

    Raises
    ------
    ShapeError
        If the shapes differ: broadcasting in a loss is nearly always a mistake.
    """
    a, b = floats(f"{name}: {first}", a), numbers(f"{name}: {second}", b)
    if tuple(a.shape) != tuple(b.shape):
        verb = "have" if first.endswith("s") else "has"
        raise ShapeError(
            f"{name}: {first} {verb} shape {tuple(a.shape)}, {second} {tuple(b.shape)}; expected equal shapes"
        )
    return a, b


def of_known(given: Any) -> Any:
    """Return the array of what is known, or None while it stands for the values of a later call."""
    if isinstance(given, Tensor):
        return None if given.unknown or not isinstance(given.array, np.ndarray) else given.array
    return given if isinstance(given, np.ndarray) else None


def weights_of(name: str, mask: Any, shape: Any, what: str = "the mask") -> Any:
    """Return the weight of each position, or None where no mask is given."""
    if mask is None:
        return None
    mask = numbers(f"{name}: {what}", mask)
    if tuple(mask.shape) != tuple(shape):
        raise ShapeError(
            f"{name}: expected a mask of shape {tuple(shape)}, a weight for each position; found {tuple(mask.shape)}"
        )
    known = of_known(mask)
    if known is not None and not (np.isfinite(known) & (known >= 0)).all():
        raise ShapeError(
            f"{name}: the weights in the mask must be finite numbers of at least 0; found {known.min()} to {known.max()}"
        )
    return mask


def not_below_zero(what: str, given: Any, weights: Any, hint: str = "") -> None:
    """Raise a ShapeError for a known number below 0 that counts."""
    known, counting = of_known(given), None if weights is None else of_known(weights)
    if known is None or (weights is not None and counting is None):
        return
    wrong = known < 0 if counting is None else (known < 0) & (counting != 0)
    if wrong.any():
        raise ShapeError(f"{what} at least 0; found {known[wrong].min()}{hint}")


def sound(x: Any, counts: Any) -> Any:
    """Return x with 0 in place of what is not finite where it does not count.

    The rest stays, though its weight is 0: the gradient by a weight asks for the value there.
    """
    return where(logical_or(counts, isfinite(x)), x, 0)


def sounds(weights: Any, *values: Any) -> tuple[Any, ...]:
    """Return several things, each `sound` where the weights are not 0.

    They have the shape of the weights, or the classes as one axis more.
    """
    if weights is None:
        return values
    counts = weights != 0
    return tuple(
        [
            sound(x, counts if x.ndim == counts.ndim else counts.reshape((*counts.shape, 1)))
            for x in values
        ]
    )


def reduced(name: str, values: Any, weights: Any, reduction: str, shares: Any = None) -> Any:
    """Return the mean, the sum, or each of the values of a loss, times their weights.

    Parameters
    ----------
    name : str
        The loss, for messages.
    values : Tensor
        The loss at each position.
    weights : Tensor or array, optional
        The weight of each position, which `weights_of` gave.
    reduction : {"mean", "sum", "none"}
    shares : Tensor or array, optional
        What the mean is divided by is the sum of these, times the weights; by default of ones.
    """
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise TinygradError(
            f"{name}: reduction must be 'mean', 'sum' or 'none'; found {shown(reduction)}"
        )
    if weights is not None:
        values = sound(values, weights != 0) * weights
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    if not values.size:
        raise ShapeError(
            f"{name}: the shape {tuple(values.shape)} holds no numbers, so there is nothing to take the mean of"
        )
    if weights is None and shares is None:
        return values.mean()
    return values.sum() / _total(name, weights, shares)


def _total(name: str, weights: Any, shares: Any) -> Any:
    each = shares if weights is None else weights if shares is None else shares * weights
    known, total = of_known(each), each.sum()
    if known is not None and not known.sum() > 0:
        of = "in the mask" if shares is None else "of the classes, times those of the positions,"
        raise ShapeError(
            f"{name}: the weights {of} add up to {known.sum()}, so there is nothing to take the mean of"
        )
    if isinstance(each, Tensor) and each.unknown:  # weights that are none fail in a look-up
        right = total > 0
        if weights is not None:
            right = logical_and(right, all(logical_and(weights >= 0, isfinite(weights))))
        total = take(total.reshape(1), where(right, 0, 1))
    return total
