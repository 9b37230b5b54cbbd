"""Dropout as a function."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..ops.checks import flag, number
from ..ops.define import operand
from .masks import drawing, floating


def dropout(x: Any, p: float, *, training: bool = True, rng: Any = None) -> Any:
    """Return x with each element zero with probability p, and the others scaled by 1 / (1 - p).

    The mask is drawn anew at each call.

    Parameters
    ----------
    x : Tensor
        Of any shape, with a floating dtype.
    p : float
        The probability, in [0, 1).
    training : bool
        False: nothing is dropped.
    rng : numpy Generator or int, optional
        Where the mask comes from.
    """
    x, p = floating(operand(x, "dropout"), "dropout"), number(p, "dropout: p", "[0, 1)")
    if not flag(training, "dropout: training") or p == 0:
        return x.handle() if isinstance(x, Tensor) else x
    dtype = x.dtype
    mask = drawing(
        rng,
        x.shape,
        dtype,
        lambda made, shape: (made.random(shape) >= p).astype(dtype) / np.asarray(1 - p, dtype),
    )
    return x * mask
