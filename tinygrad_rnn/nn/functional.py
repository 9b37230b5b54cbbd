"""Losses and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.tensor import Tensor, tensor
from ..ops.along import log_softmax
from ..ops.checks import array, flag, number
from ..ops.define import operand
from ..ops.elementwise import isfinite, logical_and, logical_or, softplus, where
from ..ops.reductions import all
from ..ops.taking import integers, take, take_along_axis, within
from .masks import drawing, floating


def mse_loss(prediction: Any, target: Any) -> Any:
    """Return the mean of the squared differences; the shapes must be equal.

    Raises
    ------
    ShapeError
        If they differ: broadcasting here is nearly always a mistake.
    """
    prediction, target = (
        _tensor("mse_loss: prediction", prediction),
        _array("mse_loss: target", target),
    )
    if tuple(prediction.shape) != tuple(target.shape):
        raise ShapeError(
            f"mse_loss: prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}; expected equal shapes"
        )
    _some("mse_loss", prediction)
    difference = prediction - target
    return (difference * difference).mean()


def cross_entropy(logits: Any, targets: Any, mask: Any = None) -> Any:
    """Return the mean negative log-likelihood of integer classes, in nats.

    Parameters
    ----------
    logits : Tensor, shape (..., classes)
        What the softmax makes probabilities of.
    targets : integer Tensor or array, shape (...)
        The true classes.
    mask : array, shape (...), optional
        The weight of each position, at least 0: the loss is sum(mask * values) / sum(mask), so with
        zeros and ones the mean over the ones. Where it is 0, logits and targets may be anything,
        nan and inf too: they add 0 to the loss and get the gradient 0.
    """
    logits, targets = (
        _tensor("cross_entropy: logits", logits),
        integers(targets, "cross_entropy: targets"),
    )
    if not logits.ndim or tuple(targets.shape) != tuple(logits.shape[:-1]):
        raise ShapeError(
            f"cross_entropy: logits have shape {tuple(logits.shape)}, so targets need {tuple(logits.shape[:-1])}; found {tuple(targets.shape)}"
        )
    _some("cross_entropy", targets)
    classes = logits.shape[-1]
    weights = None if mask is None else _weights("cross_entropy", mask, targets.shape)
    if weights is not None:
        counts = weights != 0
        if targets.dtype.kind == "i":
            targets = where(logical_or(counts, targets >= 0), targets, 0)
        targets = where(logical_or(counts, targets.astype(np.int64) < classes), targets, 0)
        logits = _sound(logits, counts.reshape((*counts.shape, 1)))
    targets = within(targets, classes, "cross_entropy: targets", "classes")
    likelihood = take_along_axis(log_softmax(logits, -1), targets.reshape((*targets.shape, 1)), -1)
    return -_mean(likelihood.reshape(targets.shape), weights)


def bce_with_logits(logits: Any, targets: Any, mask: Any = None) -> Any:
    """Return the mean binary cross entropy of sigmoid(logits), in nats.

    It neither overflows nor loses small values.

    Parameters
    ----------
    logits : Tensor, shape (...)
        What the sigmoid makes probabilities of.
    targets : Tensor or array, shape (...)
        Probabilities of 1: zeros and ones, or anything between.
    mask : array, shape (...), optional
        The weight of each position, as in `cross_entropy`: where it is 0, logits and targets may be
        anything.
    """
    logits, targets = (
        _tensor("bce_with_logits: logits", logits),
        _array("bce_with_logits: targets", targets),
    )
    if tuple(logits.shape) != tuple(targets.shape):
        raise ShapeError(
            f"bce_with_logits: logits have shape {tuple(logits.shape)}, targets {tuple(targets.shape)}; expected equal shapes"
        )
    _some("bce_with_logits", targets)
    weights = None if mask is None else _weights("bce_with_logits", mask, targets.shape)
    if weights is not None:
        logits, targets = _sound(logits, weights != 0), _sound(targets, weights != 0)
    return _mean(targets * softplus(-logits) + (1 - targets) * softplus(logits), weights)


def _weights(name: str, mask: Any, shape: Any) -> Any:
    mask = _array(f"{name}: the mask", mask)
    if tuple(mask.shape) != tuple(shape):
        raise ShapeError(
            f"{name}: expected a mask of shape {tuple(shape)}, a weight for each position; found {tuple(mask.shape)}"
        )
    known = mask.array if isinstance(mask, Tensor) else mask
    if isinstance(known, np.ndarray) and not _unknown(mask):
        if not (np.isfinite(known) & (known >= 0)).all():
            raise ShapeError(
                f"{name}: the weights in the mask must be finite numbers of at least 0; found {known.min()} to {known.max()}"
            )
        if not known.sum() > 0:
            raise ShapeError(
                f"{name}: the weights in the mask add up to {known.sum()}, so there is nothing to take the mean of"
            )
    return mask


def _unknown(weights: Any) -> bool:
    return isinstance(weights, Tensor) and weights.unknown


def _some(name: str, values: Any) -> None:
    if not values.size:
        raise ShapeError(
            f"{name}: the shape {tuple(values.shape)} holds no numbers, so there is nothing to take the mean of"
        )


def _sound(x: Any, counts: Any) -> Any:
    """Return x with 0 in place of what is not finite where it does not count.

    The rest stays, though its weight is 0: the gradient by a weight asks for the value there.
    """
    return where(logical_or(counts, isfinite(x)), x, 0)


def _mean(values: Any, weights: Any) -> Any:
    if weights is None:
        return values.mean()
    total = weights.sum()
    # while tracing: weights that are none fail in a look-up
    if _unknown(weights):
        total = take(
            total.reshape(1),
            where(logical_and(total > 0, all(logical_and(weights >= 0, isfinite(weights)))), 0, 1),
        )
    return (_sound(values, weights != 0) * weights).sum() / total


def _array(what: str, given: Any) -> Any:
    """Return numbers as a Tensor or an array."""
    return given if isinstance(given, Tensor) else array(given, what)


def _tensor(what: str, given: Any) -> Any:
    """Return a floating Tensor, or an array as a constant."""
    found = _array(what, given)
    return found if isinstance(found, Tensor) else tensor(found)


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
