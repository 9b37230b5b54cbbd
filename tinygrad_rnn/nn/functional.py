"""Losses and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError
from ..core.tensor import Tensor
from ..init import generator
from ..ops.reductions import log_softmax
from ..ops.shaping import take_along_axis


def mse_loss(prediction: Any, target: Any) -> Any:
    """Mean of the squared differences; the shapes must be equal.

    Raises
    ------
    ShapeError
        If they differ: broadcasting here is nearly always a mistake.
    """
    target = target if isinstance(target, Tensor) else np.asarray(target)
    if tuple(prediction.shape) != tuple(target.shape):
        raise ShapeError(f"mse_loss: prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}; expected equal shapes")
    difference = prediction - target
    return (difference * difference).mean()


def cross_entropy(logits: Any, targets: Any) -> Any:
    """Mean negative log-likelihood of integer classes, in nats.

    Parameters
    ----------
    logits : Tensor, shape (..., classes)
    targets : integer Tensor or array, shape (...)
    """
    targets = targets if isinstance(targets, Tensor) else np.asarray(targets)
    if targets.dtype.kind not in "iu":
        raise DtypeError(f"cross_entropy: targets must be integers; found {targets.dtype}")
    if tuple(targets.shape) != tuple(logits.shape[:-1]):
        raise ShapeError(
            f"cross_entropy: logits have shape {tuple(logits.shape)}, so targets need {tuple(logits.shape[:-1])}; found {tuple(targets.shape)}"
        )
    known = targets if isinstance(targets, np.ndarray) else targets.array
    if isinstance(known, np.ndarray) and known.size and (known.min() < 0 or known.max() >= logits.shape[-1]):
        raise ShapeError(
            f"cross_entropy: targets from {known.min()} to {known.max()}; expected 0 to {logits.shape[-1] - 1}, one of the {logits.shape[-1]} classes"
        )
    return -take_along_axis(log_softmax(logits, -1), targets.reshape((*targets.shape, 1)), -1).mean()


def dropout(x: Any, p: float, *, training: bool = True, rng: Any = None) -> Any:
    """Each element zero with probability p, the others scaled by 1 / (1 - p); the mask is drawn anew at each call."""
    if not 0 <= p < 1:
        raise ShapeError(f"dropout: p must be in [0, 1); found {p}")
    if not training or p == 0:
        return x
    mask = (generator(rng).random(x.shape) >= p).astype(x.dtype) / np.asarray(1 - p, x.dtype)
    return x * mask
