"""Losses: of numbers, of probabilities, and of classes.

All of them take weights in `mask=` and say by `reduction=` what becomes of the values: their mean
(weighted: sum(mask * values) / sum(mask)), their sum (of mask * values), or each of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.record import describe
from ..ops.along import log_softmax
from ..ops.checks import flag, number, shown
from ..ops.define import broadcasts_to
from ..ops.elementwise import abs, exp, log, maximum, softplus, stop_gradient, where
from ..ops.penalties import huber
from ..ops.shaping import broadcast_to
from ..ops.taking import integers, take, take_along_axis, within
from .weighting import alike, beside, floats, not_below_zero, of_known, reduced, sounds, weights_of

# --- of numbers -----------------------------------------------------------------------------------


def mse_loss(prediction: Any, target: Any, mask: Any = None, *, reduction: str = "mean") -> Any:
    """Return the mean of the squared differences.

    Parameters
    ----------
    prediction : Tensor
    target : Tensor or array
        Of the same shape.
    mask : array, optional
        The weight of each number, as in `cross_entropy`.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ShapeError
        If the shapes differ: broadcasting here is nearly always a mistake.
    """
    difference, weights = _difference("mse_loss", prediction, target, mask)
    return reduced("mse_loss", difference * difference, weights, reduction)


def l1_loss(prediction: Any, target: Any, mask: Any = None, *, reduction: str = "mean") -> Any:
    """Return the mean of the absolute differences; the gradient at a difference of 0 is 0.

    Parameters
    ----------
    prediction, target, mask, reduction
        As in `mse_loss`.
    """
    difference, weights = _difference("l1_loss", prediction, target, mask)
    return reduced("l1_loss", abs(difference), weights, reduction)


def huber_loss(
    prediction: Any, target: Any, mask: Any = None, *, delta: float = 1.0, reduction: str = "mean"
) -> Any:
    """Return the mean of d * d / 2 of small differences d, and delta * (|d| - delta / 2) of large ones.

    Huber 1964.

    Parameters
    ----------
    prediction, target, mask, reduction
        As in `mse_loss`.
    delta : float
        Where the small differences end; positive.
    """
    delta = number(delta, "huber_loss: delta", "(0, inf)")
    difference, weights = _difference("huber_loss", prediction, target, mask)
    return reduced("huber_loss", huber(difference, delta=delta), weights, reduction)


def smooth_l1_loss(
    prediction: Any, target: Any, mask: Any = None, *, beta: float = 1.0, reduction: str = "mean"
) -> Any:
    """Return the mean of d * d / (2 * beta) of small differences d, and |d| - beta / 2 of large ones.

    Girshick 2015. It is `huber_loss` divided by beta.

    Parameters
    ----------
    prediction, target, mask, reduction
        As in `mse_loss`.
    beta : float
        Where the small differences end; 0 gives `l1_loss`.
    """
    beta = number(beta, "smooth_l1_loss: beta", "[0, inf)")
    difference, weights = _difference("smooth_l1_loss", prediction, target, mask)
    values = huber(difference, delta=beta) if beta else abs(difference)
    values = values if beta in (0, 1) else values / beta
    return reduced("smooth_l1_loss", values, weights, reduction)


def _difference(name: str, prediction: Any, target: Any, mask: Any) -> tuple[Any, Any]:
    prediction, target = alike(name, "prediction", prediction, "target", target)
    weights = weights_of(name, mask, prediction.shape)
    prediction, target = sounds(weights, prediction, target)
    return prediction - target, weights


def gaussian_nll_loss(
    mean: Any,
    target: Any,
    variance: Any,
    mask: Any = None,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Any:
    """Return the mean negative log-likelihood of targets under normal distributions, in nats.

    The values are (log(variance) + (mean - target)**2 / variance) / 2.

    Parameters
    ----------
    mean : Tensor
        What is predicted.
    target : Tensor or array
        Of the same shape.
    variance : Tensor, array or number
        At least 0. Of the shape of the mean, or with 1 as its last axis, or without the last axis.
    mask, reduction
        As in `mse_loss`.
    full : bool
        Whether to add the constant log(2 * pi) / 2.
    eps : float
        A smaller variance counts as this one. Its gradient is as though it were this one, so that it
        can grow again.
    """
    name = "gaussian_nll_loss"
    eps = number(eps, f"{name}: eps", "(0, inf)")
    mean, target = alike(name, "mean", mean, "target", target)
    variance = beside(mean, f"{name}: variance", variance)
    if tuple(variance.shape) == tuple(mean.shape[:-1]) and mean.ndim and variance.ndim:
        variance = variance.reshape((*variance.shape, 1))
    if tuple(variance.shape) not in ((), tuple(mean.shape), (*mean.shape[:-1], 1)):
        raise ShapeError(
            f"{name}: expected a variance of shape {tuple(mean.shape)}, or with 1 as its last axis, or one number; found {tuple(variance.shape)}"
        )
    weights = weights_of(name, mask, mean.shape)
    if weights is not None:
        variance = broadcast_to(variance, mean.shape)
    not_below_zero(f"{name}: a variance is", variance, weights)
    mean, target, variance = sounds(weights, mean, target, variance)
    # one that is not known yet may be negative
    variance = where(variance < 0, math.nan, variance + maximum(eps - stop_gradient(variance), 0))
    difference = mean - target
    values = 0.5 * (log(variance) + difference * difference / variance)
    if flag(full, f"{name}: full"):
        values = values + 0.5 * math.log(2 * math.pi)
    return reduced(name, values, weights, reduction)


# --- of probabilities -----------------------------------------------------------------------------


def bce_with_logits(
    logits: Any, targets: Any, mask: Any = None, *, pos_weight: Any = None, reduction: str = "mean"
) -> Any:
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
    pos_weight : Tensor, array or number, optional
        How much ones count, where zeros count 1; at least 0. Of a shape that broadcasts to that of
        the logits: one for each class, say.
    reduction : {"mean", "sum", "none"}
    """
    name = "bce_with_logits"
    logits, targets = alike(name, "logits", logits, "targets", targets)
    weights = weights_of(name, mask, targets.shape)
    logits, targets = sounds(weights, logits, targets)
    ones, zeros = targets * softplus(-logits), (1 - targets) * softplus(logits)
    if pos_weight is not None:
        factor = _amounts(f"{name}: pos_weight", pos_weight, logits)
        if not broadcasts_to(factor.shape, logits.shape):
            raise ShapeError(
                f"{name}: expected a pos_weight that broadcasts to the shape {tuple(logits.shape)} of the logits; found {tuple(factor.shape)}"
            )
        ones = factor * ones
    return reduced(name, ones + zeros, weights, reduction)


def kl_div(
    log_probabilities: Any,
    target: Any,
    mask: Any = None,
    *,
    log_target: bool = False,
    reduction: str = "mean",
) -> Any:
    """Return the mean of target * (log(target) - log_probabilities), in nats.

    Its sum over the classes is the divergence of Kullback and Leibler, of the target from what is
    predicted. The mean over the first axis of these, which the mathematics asks for, is
    ``reduction="batchmean"``.

    Parameters
    ----------
    log_probabilities : Tensor
        What is predicted, such as `log_softmax` gives.
    target : Tensor or array
        Probabilities, of the same shape; where one is 0 the value is 0.
    mask : array, optional
        The weight of each number, as in `cross_entropy`.
    log_target : bool
        Whether the target holds logarithms of probabilities.
    reduction : {"mean", "batchmean", "sum", "none"}
    """
    from ..ops.elementary import xlogy

    name = "kl_div"
    found, target = alike(name, "log_probabilities", log_probabilities, "target", target)
    weights = weights_of(name, mask, found.shape)
    found, target = sounds(weights, found, target)
    if flag(log_target, f"{name}: log_target"):
        share = exp(target)
        values = share * (where(share > 0, target, 0) - where(share > 0, found, 0))
    else:
        hint = ". Of logarithms say log_target=True"
        not_below_zero(f"{name}: target holds probabilities,", target, weights, hint)
        values = xlogy(target, target) - target * where(target > 0, found, 0)
    if isinstance(reduction, str) and reduction == "batchmean":
        if not found.ndim or not found.shape[0]:
            raise ShapeError(
                f"{name}: reduction 'batchmean' needs a first axis of size 1 or more; found shape {tuple(found.shape)}"
            )
        return reduced(name, values, weights, "sum") / found.shape[0]
    return reduced(name, values, weights, reduction)


# --- of classes -----------------------------------------------------------------------------------


def cross_entropy(
    logits: Any,
    targets: Any,
    mask: Any = None,
    *,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Any:
    """Return the mean negative log-likelihood of classes, in nats.

    Parameters
    ----------
    logits : Tensor, shape (..., classes)
        What the softmax makes probabilities of.
    targets : integer Tensor or array, shape (...), or floating, shape (..., classes)
        The true classes; or soft ones, the probability of each class.
    mask : array, shape (...), optional
        The weight of each position, at least 0: the loss is sum(mask * values) / sum(mask), so with
        zeros and ones the mean over the ones. Where it is 0, logits and targets may be anything,
        nan and inf too: they add 0 to the loss and get the gradient 0.
    weight : Tensor or array, shape (classes,), optional
        How much each class counts. The mean is divided by the weights of the true classes, as in
        PyTorch; with soft targets by the number of positions.
    ignore_index : int, optional
        Positions with this target do not count, as with the weight 0 in the mask.
    label_smoothing : float
        In [0, 1]: this share of each target is spread evenly over all classes (Szegedy et al. 2016).
    reduction : {"mean", "sum", "none"}
    """
    name = "cross_entropy"
    smoothing = number(label_smoothing, f"{name}: label_smoothing", "[0, 1]")
    logits = floats(f"{name}: logits", logits)
    soft = getattr(targets, "dtype", np.dtype(int)).kind == "f"
    if soft and logits.ndim and targets.ndim == logits.ndim:
        if ignore_index is not None:
            raise TinygradError(
                f"{name}: ignore_index is a class, and soft targets have none; give positions that do not count the weight 0 in mask="
            )
        return _soft(name, logits, targets, mask, weight, smoothing, reduction)
    targets, weights = _classes(name, "logits", logits, targets, mask, ignore_index)
    (logits,) = sounds(weights, logits)
    likelihoods = log_softmax(logits, -1)
    factor = _class_weights(name, weight, logits)
    values, shares = _chosen(name, likelihoods, targets, factor)
    if smoothing:
        every = (likelihoods if factor is None else likelihoods * factor).sum(axis=-1)
        values = (1 - smoothing) * values - (smoothing / logits.shape[-1]) * every
    return reduced(name, values, weights, reduction, shares)


def nll_loss(
    log_probabilities: Any,
    targets: Any,
    mask: Any = None,
    *,
    weight: Any = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    """Return the mean of minus the log-probabilities of integer classes.

    Parameters
    ----------
    log_probabilities : Tensor, shape (..., classes)
        Such as `log_softmax` gives; of logits `cross_entropy` is the loss.
    targets : integer Tensor or array, shape (...)
        The true classes.
    mask, weight, ignore_index, reduction
        As in `cross_entropy`.
    """
    name = "nll_loss"
    found = floats(f"{name}: log_probabilities", log_probabilities)
    targets, weights = _classes(name, "log_probabilities", found, targets, mask, ignore_index)
    (found,) = sounds(weights, found)
    values, shares = _chosen(name, found, targets, _class_weights(name, weight, found))
    return reduced(name, values, weights, reduction, shares)


def _soft(
    name: str, logits: Any, targets: Any, mask: Any, weight: Any, smoothing: float, reduction: str
) -> Any:
    """Return the cross entropy of soft targets."""
    logits, targets = alike(name, "logits", logits, "targets", targets)
    weights = weights_of(name, mask, logits.shape[:-1])
    logits, targets = sounds(weights, logits, targets)
    likelihoods = log_softmax(logits, -1)
    factor = _class_weights(name, weight, logits)
    likelihoods = likelihoods if factor is None else likelihoods * factor
    values = (targets * where(targets != 0, likelihoods, 0)).sum(axis=-1)
    if smoothing:
        even = smoothing / logits.shape[-1]
        values = (1 - smoothing) * values + even * likelihoods.sum(axis=-1)
    return reduced(name, -values, weights, reduction)


def _classes(
    name: str, what: str, scores: Any, targets: Any, mask: Any, ignore_index: Any
) -> tuple[Any, Any]:
    """Return integer targets, which are 0 where they do not count, and the weight of each position."""
    targets = integers(targets, f"{name}: targets")
    if not scores.ndim or tuple(targets.shape) != tuple(scores.shape[:-1]):
        raise ShapeError(
            f"{name}: {what} have shape {tuple(scores.shape)}, so targets need {tuple(scores.shape[:-1])}; found {tuple(targets.shape)}"
        )
    classes = scores.shape[-1]
    weights = weights_of(name, mask, targets.shape)
    if ignore_index is not None:
        if not isinstance(ignore_index, (int, np.integer)) or isinstance(ignore_index, bool):
            raise TinygradError(
                f"{name}: ignore_index must be a whole number or None; found {shown(ignore_index)}"
            )
        counted = targets != ignore_index
        weights = where(counted, 1 if weights is None else weights, 0)
    if weights is not None:
        counts = weights != 0
        if targets.dtype.kind == "i":
            targets = where(counts | (targets >= 0), targets, 0)
        targets = where(counts | (targets.astype(np.int64) < classes), targets, 0)
    return within(targets, classes, f"{name}: targets", "classes"), weights


def _chosen(name: str, scores: Any, targets: Any, factor: Any) -> tuple[Any, Any]:
    """Return minus the score of each target times the weight of its class, and these weights."""
    found = take_along_axis(scores, targets.reshape((*targets.shape, 1)), -1)
    values = -found.reshape(targets.shape)
    if factor is None:
        return values, None
    shares = take(factor, targets)
    return values * shares, shares


def _class_weights(name: str, weight: Any, scores: Any) -> Any:
    if weight is None:
        return None
    factor, expected = _amounts(f"{name}: weight", weight, scores), (scores.shape[-1],)
    if tuple(factor.shape) != expected:
        raise ShapeError(
            f"{name}: expected a weight of shape {expected}, one for each class; found {tuple(factor.shape)}. Weights of positions are given in mask="
        )
    return factor


def _amounts(what: str, given: Any, scores: Any) -> Any:
    found = beside(scores, what, given)
    known = of_known(found)
    if known is not None and not (np.isfinite(known) & (known >= 0)).all():
        raise DtypeError(
            f"{what} must be finite numbers of at least 0; found {describe(found)} from {known.min()} to {known.max()}"
        )
    return found
