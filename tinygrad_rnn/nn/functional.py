"""Functions of which layers are made: dropout, and attention by scaled products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import DtypeError, ShapeError
from ..core.record import describe
from ..core.tensor import Tensor
from ..ops.along import softmax
from ..ops.checks import flag, number
from ..ops.define import broadcasts_to, operand
from ..ops.elementwise import logical_and, where
from ..ops.linear import matmul
from .losses import bce_with_logits, cross_entropy, mse_loss
from .masks import drawing, floating
from .weighting import of_known

__all__ = [
    "bce_with_logits",
    "cross_entropy",
    "dropout",
    "mse_loss",
    "scaled_dot_product_attention",
]


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


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    *,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    rng: Any = None,
) -> Any:
    """Return for each query the mean of the values, weighted by softmax(query . key * scale).

    Vaswani et al. 2017.

    Parameters
    ----------
    query : Tensor, shape (..., queries, features)
    key : Tensor, shape (..., places, features)
    value : Tensor, shape (..., places, values)
    mask : bool array, or floating, optional
        Of a shape that broadcasts to (..., queries, places): true where a query may look, or what is
        added to the scores.
    dropout_p : float
        The share of the weights that are zeroed, in [0, 1); give 0 in evaluation.
    is_causal : bool
        Whether query i looks at the places 0 to i alone.
    scale : float, optional
        By default 1 / sqrt(features).
    rng : numpy Generator or int, optional
        Where the mask of the dropout comes from.

    Returns
    -------
    Tensor, shape (..., queries, values)
    """
    name = "scaled_dot_product_attention"
    weights, value = attention_weights(name, query, key, value, mask, is_causal, scale)
    return matmul(
        dropout(weights, number(dropout_p, f"{name}: dropout_p", "[0, 1)"), rng=rng), value
    )


def attention_weights(
    name: str, query: Any, key: Any, value: Any, mask: Any, is_causal: Any, scale: Any
) -> tuple[Any, Any]:
    """Return the weights (..., queries, places) of scaled products, and the values.

    The parameters are those of `scaled_dot_product_attention`; `name` is for messages.
    """
    query, key, value = (
        operand(x, f"{name}: {what}")
        for what, x in (("query", query), ("key", key), ("value", value))
    )
    if (
        min(query.ndim, key.ndim, value.ndim) < 2
        or query.shape[-1] != key.shape[-1]
        or key.shape[-2] != value.shape[-2]
    ):
        raise ShapeError(
            f"{name}: expected a query (..., queries, features), keys (..., places, features) and values (..., places, values); found "
            f"{describe(query)}, {describe(key)} and {describe(value)}"
        )
    features, shape = query.shape[-1], (query.shape[-2], key.shape[-2])
    factor = features**-0.5 if scale is None else number(scale, f"{name}: scale", "(0, inf)")
    scores = matmul(query * factor, key.swapaxes(-1, -2))
    allowed = None
    if flag(is_causal, f"{name}: is_causal"):
        allowed = np.arange(shape[0])[:, None] >= np.arange(shape[1])
    if mask is not None:
        mask = operand(mask, f"{name}: mask")
        if mask.dtype.kind not in "bf":
            raise DtypeError(
                f"{name}: expected a mask of bools, true where a query may look, or of what is added to scores; found {describe(mask)}"
            )
        if not broadcasts_to(mask.shape, scores.shape):
            raise ShapeError(
                f"{name}: expected a mask that broadcasts to {tuple(scores.shape)}, (..., queries, places); found {describe(mask)}"
            )
        if mask.dtype.kind == "f":
            scores = scores + mask
        else:
            allowed = mask if allowed is None else logical_and(mask, allowed)
    if allowed is not None:
        known = of_known(allowed)
        if known is not None and known.size and not known.any(axis=-1).all():
            raise ShapeError(
                f"{name}: the mask leaves a query no place to look at; expected at least one for each"
            )
        scores = where(allowed, scores, -np.inf)
    return softmax(scores, -1), value


if not TYPE_CHECKING:  # a type checker shall not believe that every name exists

    def __getattr__(name: str) -> Any:
        raise AttributeError(
            f"module '{__name__}' has no attribute '{name}'; activations, convolutions and pools are in tg, as tg.relu, and losses in tg.nn, as tg.nn.mse_loss"
        )
