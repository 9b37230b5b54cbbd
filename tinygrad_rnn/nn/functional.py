"""Losses and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError
from ..core.tensor import Tensor, as_array
from ..ops.elementwise import softplus, where
from ..ops.reductions import log_softmax
from ..ops.shaping import take_along_axis
from .masks import drawing


def mse_loss(prediction: Any, target: Any) -> Any:
    """Mean of the squared differences; the shapes must be equal.

    Raises
    ------
    ShapeError
        If they differ: broadcasting here is nearly always a mistake.
    """
    target = target if isinstance(target, Tensor) else as_array(target)
    if tuple(prediction.shape) != tuple(target.shape):
        raise ShapeError(f"mse_loss: prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}; expected equal shapes")
    difference = prediction - target
    return (difference * difference).mean()


def cross_entropy(logits: Any, targets: Any, mask: Any = None) -> Any:
    """Mean negative log-likelihood of integer classes, in nats.

    Parameters
    ----------
    logits : Tensor, shape (..., classes)
    targets : integer Tensor or array, shape (...)
    mask : array, shape (...), optional
        The weight of each position: the loss is sum(mask * values) / sum(mask), so with zeros and ones the mean over the ones. Targets
        where it is 0 may be anything.
    """
    targets = targets if isinstance(targets, Tensor) else as_array(targets)
    if targets.dtype.kind not in "iu":
        raise DtypeError(f"cross_entropy: targets must be integers; found {targets.dtype}")
    if tuple(targets.shape) != tuple(logits.shape[:-1]):
        raise ShapeError(
            f"cross_entropy: logits have shape {tuple(logits.shape)}, so targets need {tuple(logits.shape[:-1])}; found {tuple(targets.shape)}"
        )
    weights = None if mask is None else _weights("cross_entropy", mask, targets.shape)
    if weights is not None:
        targets = where(weights != 0, targets, 0)
    known = targets if isinstance(targets, np.ndarray) else targets.array
    if isinstance(known, np.ndarray) and known.size and (known.min() < 0 or known.max() >= logits.shape[-1]):
        raise ShapeError(
            f"cross_entropy: targets from {known.min()} to {known.max()}; expected 0 to {logits.shape[-1] - 1}, one of the {logits.shape[-1]} classes"
        )
    if not isinstance(known, np.ndarray):  # while tracing: what is out of range is to fail when it is looked up
        targets = where(targets < 0, logits.shape[-1], targets)
    likelihood = take_along_axis(log_softmax(logits, -1), targets.reshape((*targets.shape, 1)), -1)
    return -_mean(likelihood.reshape(targets.shape), weights)


def bce_with_logits(logits: Any, targets: Any, mask: Any = None) -> Any:
    """Mean binary cross entropy of sigmoid(logits), in nats, without overflow or loss of small values.

    Parameters
    ----------
    logits : Tensor, shape (...)
    targets : Tensor or array, shape (...)
        Probabilities of 1: zeros and ones, or anything between.
    mask : array, shape (...), optional
        The weight of each position, as in `cross_entropy`.
    """
    targets = targets if isinstance(targets, Tensor) else as_array(targets)
    if tuple(logits.shape) != tuple(targets.shape):
        raise ShapeError(f"bce_with_logits: logits have shape {tuple(logits.shape)}, targets {tuple(targets.shape)}; expected equal shapes")
    weights = None if mask is None else _weights("bce_with_logits", mask, targets.shape)
    return _mean(targets * softplus(-logits) + (1 - targets) * softplus(logits), weights)


def _weights(name: str, mask: Any, shape: Any) -> Any:
    mask = mask if isinstance(mask, Tensor) else as_array(mask)
    if tuple(mask.shape) != tuple(shape):
        raise ShapeError(f"{name}: expected a mask of shape {tuple(shape)}, a weight for each position; found {tuple(mask.shape)}")
    known = mask.array if isinstance(mask, Tensor) else mask
    if isinstance(known, np.ndarray) and not known.sum() > 0:
        raise ShapeError(f"{name}: the weights in the mask add up to {known.sum()}, so there is nothing to take the mean of")
    return mask


def _mean(values: Any, weights: Any) -> Any:
    return values.mean() if weights is None else (values * weights).sum() / weights.sum()


def dropout(x: Any, p: float, *, training: bool = True, rng: Any = None) -> Any:
    """Each element zero with probability p, the others scaled by 1 / (1 - p); the mask is drawn anew at each call."""
    if not 0 <= p < 1:
        raise ShapeError(f"dropout: p must be in [0, 1); found {p}")
    if not training or p == 0:
        return x.handle() if isinstance(x, Tensor) else x
    dtype = x.dtype
    mask = drawing(rng, x.shape, dtype, lambda made, shape: (made.random(shape) >= p).astype(dtype) / np.asarray(1 - p, dtype))
    return x * mask
