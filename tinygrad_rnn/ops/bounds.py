"""Bounds of values, which may be numbers or tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.tape import Where, caller
from ..core.tensor import Tensor
from . import elementwise
from .define import numpys, operand
from .elementwise import logical_or, where


@numpys()
def clip(x: Any, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """Bring x into [low, high].

    The gradient of x is 1 inside and on the bounds, 0 outside. There it goes to the bound, if that
    is a tensor. Where low is above high, the result is high.

    Parameters
    ----------
    x : Tensor, array or number
    low, high : float, Tensor or array, optional
        The bounds, which belong to the interval; None is no bound. Tensors and arrays are broadcast.
    min, max : float, Tensor or array, optional
        Other names of the bounds, which NumPy and PyTorch have.
    """
    if (min is not None and low is not None) or (max is not None and high is not None):
        raise ShapeError("clip: a bound was given twice: low is called min as well, and high max")
    low, high = low if min is None else min, high if max is None else max
    if not any(isinstance(bound, (Tensor, np.ndarray)) for bound in (low, high)):
        return elementwise.clip(x, low, high)
    x = operand(x, "clip")
    if low is not None:
        low = _bound(low, x, "low")
        x = where(logical_or(x < low, low != low), low, x)
    if high is not None:
        high = _bound(high, x, "high")
        x = where(logical_or(x > high, high != high), high, x)
    return x


def _bound(given: Any, x: Any, name: str) -> Any:
    """Return a bound as a Tensor or an array that broadcasts with x."""
    bound = operand(given, f"clip: {name}")
    try:
        np.broadcast_shapes(tuple(x.shape), tuple(bound.shape))
    except ValueError:
        raise ShapeError(
            f"clip: {name} of shape {tuple(bound.shape)} does not broadcast with x of shape {tuple(x.shape)}; expected sizes that are equal, "
            f"or 1{Where(*caller()).described()}"
        ) from None
    return bound
