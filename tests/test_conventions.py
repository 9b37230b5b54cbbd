"""Values and gradients where conventions differ between libraries.

Ties, zeros, infinities, empty arrays, dtypes.

The numbers were recorded from PyTorch 2.13 (in float64), but for `hard_sigmoid`, whose slope is
that of older Keras and whose gradient at the bounds is, as in PyTorch's own, 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy import inf, nan

import tinygrad_rnn as tg
from tinygrad_rnn.core.primitive import REGISTRY
from tinygrad_rnn.ops import activations, penalties

FLOATS = [np.dtype(np.float32), np.dtype(np.float64)]

Row = tuple[str, str, Callable[..., Any], list[Any], Any, list[Any]]

# operation, what is special, function, inputs, value, gradients of the sum of the value
CONVENTIONS: list[Row] = [
    ("maximum", "ties", tg.maximum,
     [[1.0, 2.0, 3.0, 0.0], [1.0, 3.0, 2.0, -0.0]], [1.0, 3.0, 3.0, 0.0], [[0.5, 0.0, 1.0, 0.5], [0.5, 1.0, 0.0, 0.5]]),
    ("minimum", "ties", tg.minimum, [[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]], [1.0, 2.0, 2.0], [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]),
    ("maximum", "nan", tg.maximum, [[nan, 1.0], [1.0, nan]], [nan, nan], [[1.0, 1.0], [1.0, 1.0]]),
    ("max", "ties", lambda x: tg.max(x), [[3.0, 1.0, 3.0, 3.0]], 3.0, [[0.333333333, 0.0, 0.333333333, 0.333333333]]),
    ("max", "ties in rows", lambda x: tg.max(x, axis=1), [[[2.0, 2.0], [1.0, 5.0]]], [2.0, 5.0], [[[0.5, 0.5], [0.0, 1.0]]]),
    ("min", "ties", lambda x: tg.min(x), [[3.0, 1.0, 1.0, 3.0]], 1.0, [[0.0, 0.5, 0.5, 0.0]]),
    ("cummax", "ties", lambda x: tg.cummax(x), [[1.0, 3.0, 3.0, 2.0, 3.0]], [1.0, 3.0, 3.0, 3.0, 3.0], [[1.0, 4.0, 0.0, 0.0, 0.0]]),
    ("cummax", "zeros", lambda x: tg.cummax(x), [[-0.0, 0.0, -0.0]], [0.0, 0.0, 0.0], [[3.0, 0.0, 0.0]]),
    ("cummax", "nan", lambda x: tg.cummax(x), [[1.0, nan, 5.0, nan]], [1.0, nan, nan, nan], [[1.0, 3.0, 0.0, 0.0]]),
    ("cummax", "inf", lambda x: tg.cummax(x), [[-inf, -inf, inf, inf]], [-inf, -inf, inf, inf], [[2.0, 0.0, 2.0, 0.0]]),
    ("cummin", "ties", lambda x: tg.cummin(x), [[2.0, 1.0, 1.0, 3.0, 0.0]], [2.0, 1.0, 1.0, 1.0, 0.0], [[1.0, 3.0, 0.0, 0.0, 1.0]]),
    ("cummin", "nan", lambda x: tg.cummin(x), [[1.0, nan, 0.0]], [1.0, nan, nan], [[1.0, 2.0, 0.0]]),
    ("logcumsumexp", "zero", lambda x: tg.logcumsumexp(x), [[-inf, -inf, 0.0, 0.0]], [-inf, -inf, 0.0, 0.69314718056], [[0.0, 0.0, 1.5, 0.5]]),
    ("logcumsumexp", "zero before a small one", lambda x: tg.logcumsumexp(x), [[-inf, -1000.0]], [-inf, -1000.0], [[0.0, 1.0]]),
    ("logcumsumexp", "the slope at zero", lambda x: tg.grad(lambda t: tg.logcumsumexp(t)[2:].sum())(x), [[-inf, -inf, 0.0, 0.0]], [0.0, 0.0, 1.5, 0.5], [[0.0, 0.0, 0.0, 0.0]]),
    ("logcumsumexp", "the slope before a small one", lambda x: tg.grad(lambda t: tg.logcumsumexp(t)[1:].sum())(x), [[-inf, -1000.0]], [0.0, 1.0], [[0.0, 0.0]]),
    ("logcumsumexp", "zero between", lambda x: tg.logcumsumexp(x), [[0.0, -inf, 0.0]], [0.0, 0.0, 0.69314718056], [[2.5, 0.0, 0.5]]),
    ("extreme_along_axis", "ties", lambda x, v: tg.scatter_reduce(x, np.array([0, 0, 1, 2, 2, 2]), v, 0, "max"), [[5.0, 2.0, 1.0, -1.0], [5.0, 5.0, 2.0, 3.0, 3.0, 0.0]],
     [5.0, 2.0, 3.0, -1.0], [[1 / 3, 0.5, 0.0, 1.0], [1 / 3, 1 / 3, 0.5, 0.5, 0.5, 0.0]]),
    ("extreme_along_axis", "ties, of the values alone", lambda x, v: tg.scatter_reduce(x, np.array([0, 0, 1]), v, 0, "min", False) * np.array([1.0, 2.0, 3.0]),
     [[5.0, 2.0, 0.0], [5.0, 5.0, inf]], [5.0, inf, 0.0], [[0.0, 0.0, 3.0], [0.5, 0.5, 2.0]]),
    ("sort", "ties", lambda x: tg.sort(x) * np.array([1.0, 2.0, 3.0, 4.0]), [[2.0, 1.0, 2.0, 1.0]], [1.0, 2.0, 6.0, 8.0], [[3.0, 1.0, 4.0, 2.0]]),
    ("nansum", "nan", lambda x: tg.nansum(x), [[nan, 1.0, 2.0]], 3.0, [[0.0, 1.0, 1.0]]),
    ("max", "inf", lambda x: tg.max(x), [[inf, 1.0, inf]], inf, [[0.5, 0.0, 0.5]]),
    ("abs", "zero", tg.abs, [[-2.0, 0.0, -0.0, 3.0, -inf]], [2.0, 0.0, 0.0, 3.0, inf], [[-1.0, 0.0, 0.0, 1.0, -1.0]]),
    ("sign", "zero", tg.sign, [[-2.0, 0.0, 3.0]], [-1.0, 0.0, 1.0], [[0.0, 0.0, 0.0]]),
    ("relu", "zero", tg.relu, [[-2.0, 0.0, 3.0, nan]], [0.0, 0.0, 3.0, nan], [[0.0, 0.0, 1.0, 1.0]]),
    ("leaky_relu", "zero", lambda x: tg.leaky_relu(x, negative_slope=0.1), [[-2.0, 0.0, 3.0]], [-0.2, 0.0, 3.0], [[0.1, 0.1, 1.0]]),
    ("elu", "zero", tg.elu, [[-1000.0, 0.0, 3.0]], [-1.0, 0.0, 3.0], [[0.0, 1.0, 1.0]]),
    ("elu", "zero, alpha", lambda x: tg.elu(x, alpha=2.0), [[-1000.0, 0.0, 3.0]], [-2.0, 0.0, 3.0], [[0.0, 2.0, 1.0]]),
    ("clip", "at the bounds", lambda x: tg.clip(x, -1.0, 1.0),
     [[-2.0, -1.0, 0.0, 1.0, 2.0]], [-1.0, -1.0, 0.0, 1.0, 1.0], [[0.0, 1.0, 1.0, 1.0, 0.0]]),
    ("clip", "bounds crossed", lambda x: tg.clip(x, 1.0, -1.0), [[-2.0, 0.0, 2.0]], [-1.0, -1.0, -1.0], [[0.0, 0.0, 0.0]]),
    ("floor", "integers", tg.floor, [[-1.5, -1.0, 0.0, 2.7]], [-2.0, -1.0, 0.0, 2.0], [[0.0, 0.0, 0.0, 0.0]]),
    ("mod", "signs", tg.mod,
     [[5.5, -5.5, 5.5, -5.5], [2.0, 2.0, -2.0, -2.0]], [1.5, 0.5, -0.5, -1.5], [[1.0, 1.0, 1.0, 1.0], [-2.0, 3.0, 3.0, -2.0]]),
    ("sqrt", "zero", tg.sqrt, [[0.0, 4.0, -1.0]], [0.0, 2.0, nan], [[inf, 0.25, nan]]),
    ("where", "sqrt beside a mask", lambda x: tg.where(x > 0, tg.sqrt(x), 0.0), [[0.0, 4.0]], [0.0, 2.0], [[nan, 0.25]]),
    ("where", "made safe", lambda x: tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), 0.0), [[0.0, 4.0]], [0.0, 2.0], [[0.0, 0.25]]),
    ("norm", "zero", lambda x: tg.norm(x), [[0.0, 0.0]], 0.0, [[0.0, 0.0]]),
    ("norm", "zero rows", lambda x: tg.norm(x, axis=1), [[[0.0, 0.0], [3.0, 4.0]]], [0.0, 5.0], [[[0.0, 0.0], [0.6, 0.8]]]),
    ("std", "constants", lambda x: tg.std(x), [[2.0, 2.0, 2.0]], 0.0, [[0.0, 0.0, 0.0]]),
    ("var", "constants", lambda x: tg.var(x), [[2.0, 2.0, 2.0]], 0.0, [[0.0, 0.0, 0.0]]),
    ("power", "0**0", tg.power, [[0.0], [0.0]], [1.0], [[0.0], [0.0]]),
    ("power", "0**2", tg.power, [[0.0], [2.0]], [0.0], [[0.0], [0.0]]),
    ("power", "0**1", tg.power, [[0.0], [1.0]], [0.0], [[1.0], [0.0]]),
    ("power", "0**0.5", tg.power, [[0.0], [0.5]], [0.0], [[inf], [0.0]]),
    ("power", "0**-1", tg.power, [[0.0], [-1.0]], [inf], [[-inf], [-inf]]),
    ("power", "negative base", tg.power, [[-2.0, -2.0, -2.0], [2.0, 3.0, 0.0]], [4.0, -8.0, 1.0], [[-4.0, 12.0, 0.0], [nan, nan, nan]]),
    ("power", "negative base, fraction", tg.power, [[-2.0], [0.5]], [nan], [[nan], [nan]]),
    ("power", "b==0", tg.power, [[3.0, inf], [0.0, 0.0]], [1.0, 1.0], [[0.0, 0.0], [1.09861229, inf]]),
    ("power", "number 0", lambda x: tg.power(x, 0.0), [[0.0, 3.0]], [1.0, 1.0], [[0.0, 0.0]]),
    ("power", "number 1", lambda x: tg.power(x, 1.0), [[0.0, -3.0]], [0.0, -3.0], [[1.0, 1.0]]),
    ("power", "number 2", lambda x: tg.power(x, 2), [[0.0, -3.0]], [0.0, 9.0], [[0.0, -6.0]]),
    ("power", "number 0.5", lambda x: tg.power(x, 0.5), [[0.0, 4.0]], [0.0, 2.0], [[inf, 0.25]]),
    ("power", "of a number", lambda x: tg.power(2.0, x), [[0.0, 3.0]], [1.0, 8.0], [[0.693147181, 5.54517744]]),
    ("power", "of zero", lambda x: tg.power(0.0, x), [[0.0, 3.0]], [1.0, 0.0], [[0.0, 0.0]]),
    ("power", "of zero, negative exponent", lambda x, w: w * tg.power(0.0, x),
     [[-1.0, -1.0, 3.0], [-2.0, 3.0, 3.0]], [-inf, inf, 0.0], [[inf, -inf, 0.0], [inf, inf, 0.0]]),
    ("hypot", "origin", tg.hypot, [[0.0, 3.0, 1.0, 0.0], [0.0, 4.0, 0.0, 1.0]], [0.0, 5.0, 1.0, 1.0], [[0.0, 0.6, 1.0, 0.0], [0.0, 0.8, 0.0, 1.0]]),
    ("fmax", "ties and nan", tg.fmax, [[1.0, 2.0, nan, 1.0, nan], [1.0, 1.0, 1.0, nan, nan]], [1.0, 2.0, 1.0, 1.0, nan],
     [[0.5, 1.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.0, 0.0, 0.0]]),
    ("fmin", "ties and nan", tg.fmin, [[1.0, 2.0, nan, 1.0, nan], [1.0, 1.0, 1.0, nan, nan]], [1.0, 1.0, 1.0, 1.0, nan],
     [[0.5, 0.0, 0.0, 1.0, 1.0], [0.5, 1.0, 1.0, 0.0, 0.0]]),
    ("xlogy", "small and negative", tg.xlogy, [[0.0, 1.0], [0.5, -1.0]], [0.0, nan], [[-0.693147181, nan], [0.0, -1.0]]),
    ("xlogy", "zeros", tg.xlogy, [[0.0, 0.0, 0.0, 2.0, 0.0, 1.0], [0.0, -1.0, 3.0, 0.0, nan, 1.0]], [0.0, 0.0, 0.0, -inf, nan, 0.0],
     [[0.0, 0.0, 1.09861229, -inf, nan, 0.0], [0.0, 0.0, 0.0, inf, nan, 1.0]]),
    ("copysign", "zeros", tg.copysign, [[0.0, 2.0, 2.0, -2.0], [-1.0, -0.0, 0.0, -3.0]], [-0.0, -2.0, 2.0, -2.0], [[0.0, -1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]),
    ("round", "halves", tg.round, [[0.5, 1.5, -0.5, 2.5]], [0.0, 2.0, 0.0, 2.0], [[0.0, 0.0, 0.0, 0.0]]),
    ("floor_divide", "zero", tg.floor_divide, [[1.0, -1.0, 0.0, 7.0], [0.0, 0.0, 0.0, -2.0]], [inf, -inf, nan, -4.0], [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]),
    ("arcsin", "ends", tg.arcsin, [[-1.0, 1.0, 2.0]], [-1.57079633, 1.57079633, nan], [[inf, inf, nan]]),
    ("sinc", "zero", tg.sinc, [[0.0, 0.5]], [1.0, 0.636619772], [[0.0, -1.27323954]]),
    ("pad", "values", lambda x: tg.pad(x, ((0, 1), (2, 0)), 5.0), [[[1.0, 2.0]]],
     [[5.0, 5.0, 1.0, 2.0], [5.0, 5.0, 5.0, 5.0]], [[[1.0, 1.0]]]),
    ("power", "of a negative number", lambda x: tg.power(-2.0, x), [[2.0, 3.0]], [4.0, -8.0], [[nan, nan]]),
    ("log", "zero", tg.log, [[0.0, 1.0, -1.0]], [-inf, 0.0, nan], [[inf, 1.0, -1.0]]),
    ("log1p", "-1", tg.log1p, [[-1.0, 0.0]], [-inf, 0.0], [[inf, 1.0]]),
    ("divide", "zero", tg.divide, [[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]], [inf, nan, -inf], [[inf, inf, inf], [-inf, nan, inf]]),
    ("reciprocal", "zero", tg.reciprocal, [[0.0, 2.0]], [inf, 0.5], [[-inf, -0.25]]),
    ("exp", "extremes", tg.exp, [[-1000.0, 0.0, 1000.0]], [0.0, 1.0, inf], [[0.0, 1.0, inf]]),
    ("tanh", "extremes", tg.tanh, [[-1000.0, 0.0, 1000.0]], [-1.0, 0.0, 1.0], [[0.0, 1.0, 0.0]]),
    ("sigmoid", "extremes", tg.sigmoid, [[-1000.0, 0.0, 1000.0]], [0.0, 0.5, 1.0], [[0.0, 0.25, 0.0]]),
    ("softplus", "extremes", tg.softplus, [[-1000.0, 0.0, 1000.0]], [0.0, 0.693147181, 1000.0], [[0.0, 0.5, 1.0]]),
    ("log_sigmoid", "extremes", tg.log_sigmoid, [[-1000.0, 0.0, 1000.0]], [-1000.0, -0.693147181, 0.0], [[1.0, 0.5, 0.0]]),
    ("logaddexp", "extremes", tg.logaddexp,
     [[1000.0, -1000.0, 0.0], [0.0, 0.0, 0.0]], [1000.0, 0.0, 0.693147181], [[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]),
    ("logaddexp", "-inf", tg.logaddexp, [[-inf, -inf], [0.0, -inf]], [0.0, -inf], [[0.0, nan], [1.0, nan]]),
    ("hard_sigmoid", "at the bounds", tg.hard_sigmoid,
     [[-3.0, -2.5, 0.0, 2.5, 3.0]], [0.0, 0.0, 0.5, 1.0, 1.0], [[0.0, 0.0, 0.2, 0.0, 0.0]]),
    ("softmax", "-inf", lambda x: tg.softmax(x), [[-inf, 0.0, 0.0]], [0.0, 0.5, 0.5], [[0.0, 0.0, 0.0]]),
    ("softmax", "large", lambda x: tg.softmax(x), [[1000.0, 0.0, 1000.0]], [0.5, 0.0, 0.5], [[0.0, 0.0, 0.0]]),
    ("softmax", "all -inf", lambda x: tg.softmax(x), [[-inf, -inf]], [nan, nan], [[nan, nan]]),
    ("log_softmax", "-inf", lambda x: tg.log_softmax(x), [[-inf, 0.0, 0.0]], [-inf, -0.693147181, -0.693147181], [[1.0, -0.5, -0.5]]),
    ("log_softmax", "large", lambda x: tg.log_softmax(x), [[1000.0, 0.0, -1000.0]], [0.0, -1000.0, -2000.0], [[-2.0, 1.0, 1.0]]),
    ("logsumexp", "-inf", lambda x: tg.logsumexp(x), [[-inf, 0.0]], 0.0, [[0.0, 1.0]]),
    ("logsumexp", "all -inf", lambda x: tg.logsumexp(x), [[-inf, -inf]], -inf, [[nan, nan]]),
    ("logsumexp", "inf", lambda x: tg.logsumexp(x), [[inf, 0.0]], inf, [[nan, 0.0]]),
    ("logsumexp", "large", lambda x: tg.logsumexp(x), [[1000.0, 1000.0]], 1000.69315, [[0.5, 0.5]]),
    ("sum", "empty", lambda x: tg.sum(x), [[]], 0.0, [[]]),
    ("mean", "empty", lambda x: tg.mean(x), [[]], nan, [[]]),
    ("prod", "empty", lambda x: tg.prod(x), [[]], 1.0, [[]]),
    ("prod", "zero", lambda x: tg.prod(x), [[2.0, 0.0, 3.0]], 0.0, [[0.0, 6.0, 0.0]]),
    ("cumprod", "zero", lambda x: tg.cumprod(x), [[2.0, 0.0, 3.0]], [2.0, 0.0, 0.0], [[1.0, 8.0, 0.0]]),
    ("silu", "extremes", tg.silu, [[-1000.0, 0.0, 1000.0]], [-0.0, 0.0, 1000.0], [[-0.0, 0.5, 1.0]]),
    ("gelu", "extremes", tg.gelu, [[-1000.0, 0.0, 1000.0]], [-0.0, 0.0, 1000.0], [[0.0, 0.5, 1.0]]),
    ("gelu_tanh", "extremes", lambda x: tg.gelu(x, "tanh"), [[-1e30, 0.0, 1000.0, 1e30]], [-0.0, 0.0, 1000.0, 1e30], [[0.0, 0.5, 1.0, 1.0]]),
    ("mish", "extremes", tg.mish, [[-1000.0, 0.0, 1000.0]], [-0.0, 0.0, 1000.0], [[0.0, 0.6, 1.0]]),
    ("selu", "extremes", tg.selu, [[-1000.0, 0.0, 1000.0]], [-1.75809934, 0.0, 1050.70099], [[0.0, 1.75809934, 1.05070099]]),
    ("hardswish", "at the bounds", tg.hardswish, [[-4.0, -3.0, 0.0, 3.0, 4.0]], [-0.0, -0.0, 0.0, 3.0, 4.0], [[0.0, 0.0, 0.5, 1.0, 1.0]]),
    ("softsign", "extremes", tg.softsign, [[-1e30, 0.0, 1e30]], [-1.0, 0.0, 1.0], [[0.0, 1.0, 0.0]]),
    ("sloped", "zero", activations.sloped, [[0.0, -2.0, 2.0], [0.5, 0.5, 0.5]], [0.0, -1.0, 2.0], [[0.5, 0.5, 1.0], [0.0, -2.0, 0.0]]),
    ("huber", "at the bounds", penalties.huber, [[-1.0, 0.0, 1.0]], [0.5, 0.0, 0.5], [[-1.0, 0.0, 1.0]]),
]  # fmt: skip


def check_convention(row: Row, dtype: Any) -> None:
    _, _, function, inputs, value, gradients = row
    tolerance = {"rtol": 1e-4 if dtype == np.float32 else 1e-8, "atol": 1e-30}
    with np.errstate(all="ignore"):
        xs = [tg.tensor(np.array(x, dtype), requires_grad=True) for x in inputs]
        out = function(*xs)
        out.backward(np.ones(out.shape, dtype))
    assert out.dtype == dtype
    np.testing.assert_allclose(out.numpy(), np.array(value, dtype), **tolerance)
    for x, expected in zip(xs, gradients, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), np.array(expected, dtype), **tolerance)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("row", CONVENTIONS, ids=lambda r: f"{r[0]}-{r[1].replace(' ', '-')}")
def test_convention(row: Row, dtype: Any) -> None:
    check_convention(row, dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("row", CONVENTIONS, ids=lambda r: f"{r[0]}-{r[1].replace(' ', '-')}")
def test_gradients_recorded_for_higher_orders_are_the_same(row: Row) -> None:
    """With `create_graph` the rules run on tensors, and choose the same branches."""
    _, _, function, inputs, _, gradients = row
    xs = [tg.tensor(np.array(x, np.float64), requires_grad=True) for x in inputs]
    out = function(*xs)
    out.backward(np.ones(out.shape), create_graph=True)
    for x, expected in zip(xs, gradients, strict=True):
        np.testing.assert_allclose(
            x.grad.numpy(), np.array(expected, np.float64), rtol=1e-8, atol=1e-30
        )


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_large_arrays_follow_the_same_conventions() -> None:
    """The kernels that serve large arrays choose the same values and the same side at kinks."""
    for row in CONVENTIONS:
        name, label, function, inputs, value, gradients = row
        pointwise = name in REGISTRY and REGISTRY[name].elementwise
        if np.ndim(inputs[0]) != 1 or np.ndim(value) != 1 or not pointwise:
            continue
        for dtype in FLOATS:
            times = 10_000 // len(inputs[0])
            xs = [tg.tensor(np.tile(np.array(x, dtype), times), requires_grad=True) for x in inputs]
            out = function(*xs)
            out.backward(np.ones(out.shape, dtype))
            for found, expected in zip(
                [out, *(x.grad for x in xs)], [value, *gradients], strict=True
            ):
                found = found.numpy().reshape(times, -1)
                for part in (found[0], found[-1]):
                    np.testing.assert_allclose(
                        part,
                        np.array(expected, dtype),
                        rtol=1e-4,
                        atol=1e-30,
                        err_msg=f"{name} {label} {dtype}",
                    )


# --- what has no derivative --------------------------------------------------------------------------

L = tg.linalg
TWINS = np.diag([1.0, 2.0, 2.0])
THREE = np.arange(3.0)
TURN = np.linalg.qr(np.arange(1.0, 10.0).reshape(3, 3) + np.eye(3))[0]


def turned(*values: float) -> Any:
    """A symmetric matrix with these eigenvalues, and vectors of no special direction."""
    return TURN @ np.diag(values) @ TURN.T


# entry, what is special, a function of a matrix, and where it has no derivative
REFUSED: list[tuple[str, str, Callable[[Any], Any], Any]] = [
    ("eigh", "vectors", lambda x: (L.eigh(x)[1][0] * THREE).sum(), TWINS),
    # the parts of the gradient cancel, and the limit is not what is left
    ("eigh", "a function of a matrix", lambda x: ((L.eigh(x)[1] * tg.exp(L.eigh(x)[0])) @ L.eigh(x)[1].T * TWINS).sum(), np.eye(3)),
    ("eigh", "up to roundings", lambda x: (L.eigh(x)[1][0] * THREE).sum(), 1e9 * (TWINS + 1e-16 * np.arange(9).reshape(3, 3))),
    ("eigh", "the upper triangle", lambda x: (L.eigh(x, "U")[1][0] * THREE).sum(), TWINS),
    ("eigh", "in one matrix of several", lambda x: (L.eigh(x)[1] * THREE).sum(), np.stack([np.diag([1.0, 2.0, 3.0]), TWINS])),
    ("eigh", "the first of two", lambda x: L.eigh(x)[1][1, 1] ** 2, np.diag([1.0, 2.0, 2.0, 3.0])),
    ("svd", "vectors", lambda x: (L.svd(x)[0] * TWINS).sum(), np.eye(3)),
    ("svd", "right vectors", lambda x: (L.svd(x)[2] * TWINS).sum(), np.eye(3)),
    ("svd", "polar decomposition", lambda x: (L.svd(x)[0] @ L.svd(x)[2] * TWINS).sum(), np.eye(3)),
    ("svd", "a value of 0", lambda x: (L.svd(x, full_matrices=False)[0] * THREE[:2]).sum(), np.eye(3, 2) * [1, 0]),
    ("svd", "a value of 0, wide", lambda x: (L.svd(x, full_matrices=False)[2] * THREE).sum(), np.eye(2, 3) * [[1], [0]]),
    ("svd", "two values of 0", lambda x: (L.svd(x)[0] * TWINS).sum(), np.diag([1.0, 0.0, 0.0])),
    ("svd", "up to roundings", lambda x: (L.svd(x)[0] * TWINS).sum(), 1e9 * (np.eye(3) + 1e-16 * np.arange(9).reshape(3, 3))),
    ("eigh", "of no special direction", lambda x: (L.eigh(x)[1] * TURN).sum(), 1e9 * turned(1.0, 2.0, 2.0)),
    ("svd", "of no special direction", lambda x: (L.svd(x)[0] * TURN).sum(), 1e9 * turned(2.0, 2.0, 1.0)),
    ("qr", "dependent columns", lambda x: (L.qr(x)[1] * TWINS).sum(), np.ones((3, 3))),
]  # fmt: skip
# vectors that turn in no direction in which values are far apart, and have no derivative all the same
NEARLY_TWINS = 1e9 * np.diag([1.0, 2.0, 2.0 + 4.5e-16, 3.0])
WIDE = np.eye(2, 3)
REFUSED_ALONE: list[tuple[str, Callable[[Any], Any], Any, Any]] = [
    ("eigh", lambda x: L.eigh(x)[1][1, 1] ** 2, NEARLY_TWINS, np.eye(4)),
    ("svd", lambda x: L.svd(x)[0][1, 1] ** 2, NEARLY_TWINS[::-1, ::-1], np.eye(4)),
    ("svd", lambda x: L.svd(x)[2][1, 1] ** 2, NEARLY_TWINS[::-1, ::-1], np.eye(4)),
    ("svd", lambda x: L.svd(x, full_matrices=False)[2][0, 2], WIDE, np.eye(2, 3, 2)),
    ("svd", lambda x: L.svd(x, full_matrices=False)[0][2, 0], WIDE.T, np.eye(2, 3, 2).T),
]
REFUSED_AGAIN: list[tuple[str, Callable[[Any], Any], Any]] = [
    ("eigvalsh", lambda x: (L.eigvalsh(x) ** 3).sum(), TWINS),
    ("eigvalsh", lambda x: (L.eigvalsh(x) ** 3).sum(), 1e9 * turned(1.0, 2.0, 2.0)),
    ("eigh", lambda x: (L.eigh(x)[0] ** 3).sum(), 1e9 * turned(1.0, 2.0, 2.0)),
    ("svdvals", lambda x: L.svdvals(x).sum(), np.eye(2)),
    ("svdvals", lambda x: L.svdvals(x).sum(), 1e9 * turned(2.0, 2.0, 1.0)),
]
# values that lie apart, though near, or are small
APART: list[tuple[str, Callable[[Any], Any], Any]] = [
    ("eigh", lambda x: (L.eigh(x)[1] ** 2 * THREE).sum(), 1e-20 * np.diag([1.0, 2.0, 3.0])),
    ("eigh", lambda x: (L.eigh(x)[1] ** 2 * THREE).sum(), np.diag([1.0, 2.0, 2.0 + 1e-12])),
    ("svd", lambda x: (L.svd(x)[0] ** 2 * THREE).sum(), 1e-20 * np.diag([3.0, 2.0, 1.0])),
    ("svd", lambda x: (L.svd(x)[0] ** 2 * THREE).sum(), np.diag([3.0, 2.0 + 1e-12, 2.0])),
    ("eigh", lambda x: (L.eigh(x)[1] ** 2 * THREE).sum(), turned(1.0, 2.0, 2.001)),
    ("svd", lambda x: (L.svd(x)[0] ** 2 * THREE).sum(), turned(2.001, 2.0, 1.0)),
    ("svd", lambda x: L.svd(x)[1].sum(), np.diag([3.0, 2.0, 0.0])),
]


def refuses(label: str, derivative: Callable[..., Any], *given: Any) -> None:
    """Fail, by an AssertionError, unless there is said to be no such derivative."""
    with pytest.raises(tg.NotDifferentiableError, match=r"not determined|dependent"):
        derivative(*given)
        raise AssertionError(f"{label}: not refused")


def check_refusals(name: str) -> None:
    """Derivatives that do not exist are refused in both modes, and those that do are not."""
    for entry, label, function, x in REFUSED:
        if name in (entry, "determined", "over_gaps", "solve_triangular"):
            direction = np.cos(np.arange(x.size)).reshape(x.shape)
            refuses(f"{entry}, {label}", tg.grad(function), x)
            refuses(f"{entry}, {label}", tg.jvp, function, (x,), (direction,))
    for entry, function, x, direction in REFUSED_ALONE:
        if name in (entry, "determined", "over_gaps"):
            refuses(f"{entry}, alone", tg.grad(function), x)
            refuses(f"{entry}, alone", tg.jvp, function, (x,), (direction,))
    for entry, function, x in REFUSED_AGAIN:
        if name in (entry, "eigh", "svd"):
            tg.grad(function)(x)
            refuses(f"{entry}, twice", tg.hessian(function), x)
    for entry, function, x in APART:
        if name in (entry, "over_gaps", "determined"):
            assert np.isfinite(tg.grad(function)(x).numpy()).all()
            assert np.isfinite(tg.jvp(function, (x,), (x + 1e-30,))[1].numpy()).all()


@pytest.mark.parametrize("name", ["eigh", "svd", "qr", "eigvalsh", "svdvals", "over_gaps"])
def test_what_has_no_derivative_is_refused(name: str) -> None:
    check_refusals(name)


@pytest.mark.parametrize(
    ("entry", "label", "function", "x"), REFUSED, ids=lambda v: v if isinstance(v, str) else ""
)
def test_compiled_functions_refuse_it(entry: str, label: str, function: Any, x: Any) -> None:
    with pytest.raises(tg.NotDifferentiableError, match=r"not determined|dependent"):
        tg.grad(tg.jit(function))(x)


@pytest.mark.parametrize("name", ["max", "min", "logsumexp", "argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0])
def test_nothing_to_choose_from(name: str, axis: Any) -> None:
    x = tg.tensor(np.zeros((0, 3), np.float32))
    with pytest.raises(tg.ShapeError, match="is empty"):
        getattr(tg, name)(x, axis=axis)
    assert getattr(tg, name)(x, axis=1).shape == (0,)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_empty_reductions_over_an_axis() -> None:
    x = tg.tensor(np.zeros((0, 2), np.float32), requires_grad=True)
    np.testing.assert_array_equal(tg.sum(x, axis=0).numpy(), [0, 0])
    np.testing.assert_array_equal(tg.prod(x, axis=0).numpy(), [1, 1])
    np.testing.assert_array_equal(tg.mean(x, axis=0).numpy(), [nan, nan])
    np.testing.assert_array_equal(tg.norm(x, axis=0).numpy(), [0, 0])
    assert tg.any(x).item() is False
    assert tg.all(x).item() is True
    assert tg.softmax(x, axis=1).shape == (0, 2)
    y = tg.mean(x, axis=0).sum() + tg.prod(x, axis=0).sum()
    y.backward()
    assert x.grad.shape == (0, 2)


# --- dtypes (docs/design.md, "Numbers") ----------------------------------------------------------------------------------

FLOATING = ["exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "sigmoid", "erf", "softplus", "log_sigmoid", "elu",
            "hard_sigmoid", "leaky_relu", "reciprocal", "silu", "gelu", "mean", "norm",
            "softmax", "log_softmax", "logsumexp", "std", "var"]  # fmt: skip


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, bool])
@pytest.mark.parametrize("name", FLOATING)
def test_floating_operations_make_integers_float32(name: str, kind: Any) -> None:
    out = getattr(tg, name)(tg.tensor(np.ones(3, kind)))
    assert out.dtype == np.float32
    expected = getattr(tg, name)(tg.tensor(np.ones(3, np.float32)))
    np.testing.assert_array_equal(out.numpy(), expected.numpy())


def test_integers_stay_integers_elsewhere() -> None:
    x = tg.tensor([1, 2, 3])
    assert x.dtype == np.int64
    for y in (x + x, x * 2, x - 1, x**2, x % 2, -x, abs(x), tg.sum(x), tg.maximum(x, 2), tg.clip(x, 1, 2), tg.square(x), tg.sign(x),
              tg.cumsum(x), tg.cummax(x)):  # fmt: skip
        assert y.dtype == np.int64
    assert tg.sum(x > 1).dtype == np.int64
    assert (x > 1).dtype == bool


def test_division_of_integers_is_float32() -> None:
    x = tg.tensor([1, 2])
    for y in (x / x, x / 2, 2 / x, tg.divide(x, x), x / tg.tensor(2)):
        assert y.dtype == np.float32
    np.testing.assert_array_equal((x / 2).numpy(), [0.5, 1.0])


def test_floats_beside_integer_tensors_give_float32() -> None:
    x = tg.tensor([1, 2, 3])
    for y in (x * 2.5, 2.5 * x, x + 0.5, x - 0.5, x**0.5, 0.5**x, x / 2.5, x % 1.5, tg.maximum(x, 1.5), tg.clip(x, 1.5, 2.5),
              tg.clip(x, high=2.5)):  # fmt: skip
        assert y.dtype == np.float32
    np.testing.assert_array_equal(tg.clip(x, 1.5, 2.5).numpy(), [1.5, 2.0, 2.5])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_what_stands_beside_a_floating_tensor_takes_its_dtype(dtype: Any) -> None:
    x = tg.tensor(np.ones(3, dtype), requires_grad=True)
    others: list[Any] = [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(3), np.ones(3), np.ones(3, np.float32), np.ones(3, int),
                         np.ones(()), tg.tensor([1, 2, 3]), tg.tensor([True, False, True]), np.ones((2, 3))]  # fmt: skip
    for other in others:
        for y in (x * other, other * x, x + other, other + x, x / other, other - x, x**other, other**x, tg.maximum(x, other),
                  tg.maximum(other, x)):  # fmt: skip
            assert y.dtype == dtype, f"{dtype} beside {other!r}"
            assert y.requires_grad
        x.grad = None
        (x * other).sum().backward()
        assert x.grad.dtype == dtype
        x.grad = None
        (other * x).sum().backward()
        assert x.grad.dtype == dtype


def test_matrix_products_with_arrays_take_the_dtype_of_the_tensor() -> None:
    x, a = tg.tensor(np.ones((2, 2), np.float32), requires_grad=True), np.ones((2, 2))
    for y in (
        x @ a,
        a @ x,
        tg.einsum("ij,jk->ik", a, x),
        tg.concatenate([a, x]),
        tg.stack([a, x]),
        tg.concatenate([x, a]),
    ):
        assert y.dtype == np.float32


def test_float32_and_float64_tensors_do_not_mix() -> None:
    single, double = (
        tg.tensor(np.ones(2, np.float32), name="left"),
        tg.tensor(np.ones(2), name="right"),
    )
    for f in (lambda: single + double, lambda: double * single, lambda: tg.where(tg.tensor([True, False]), single, double),
              lambda: tg.concatenate([single, double]), lambda: single @ double, lambda: tg.maximum(double, single)):  # fmt: skip
        with pytest.raises(tg.DtypeError, match=r"float32.*float64|float64.*float32"):
            f()
    with pytest.raises(tg.DtypeError, match="left"):
        single + double
    assert (single.astype(np.float64) + double).dtype == np.float64


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_where_with_numbers(dtype: Any) -> None:
    condition = tg.tensor([True, False])
    x = tg.tensor(np.ones(2, dtype), requires_grad=True)
    for y in (tg.where(condition, x, 0.0), tg.where(condition, 0.0, x), tg.where(x > 0, x, 1),
              tg.where(np.array([True, False]), x, np.zeros(2))):  # fmt: skip
        assert y.dtype == dtype
        y.sum().backward()
        assert x.grad.dtype == dtype
    assert tg.where(condition, 1.0, 0.0).dtype == np.float32
    assert tg.where(condition, 1, 0).dtype == np.int64
    np.testing.assert_array_equal(tg.where(x, x, 5.0).numpy(), [1, 1])


def test_dtypes_of_made_tensors() -> None:
    assert tg.tensor(1.5).dtype == np.float32
    assert tg.tensor([1.5, 2]).dtype == np.float32
    assert tg.tensor(np.ones(2)).dtype == np.float64
    assert tg.tensor([1, 2]).dtype == np.int64
    assert tg.tensor([True]).dtype == bool
    assert tg.tensor([1, 2], dtype=np.float64).dtype == np.float64
    for bad in (np.ones(2, np.complex128), np.ones(2, np.float16), np.array(["a"])):
        with pytest.raises(tg.DtypeError):
            tg.tensor(bad)
    with pytest.raises(tg.DtypeError):
        tg.tensor([1, 2], requires_grad=True)


def test_gradient_of_astype_comes_back_in_the_dtype_of_its_input() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    (y * np.array([3.0, 4.0])).sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad.numpy(), [3, 4])


def test_comparisons_are_boolean_and_have_no_gradient() -> None:
    x = tg.tensor([1.0, nan, -inf], requires_grad=True)
    for y in (x > 0, x >= 0, x < 0, x <= 0, x == 1, x != 1, tg.isnan(x), tg.isfinite(x), tg.logical_not(x), tg.logical_and(x, x),
              tg.logical_or(x, 0)):  # fmt: skip
        assert y.dtype == bool
        assert not y.requires_grad
    np.testing.assert_array_equal(tg.isnan(x).numpy(), [False, True, False])
    np.testing.assert_array_equal(tg.isfinite(x).numpy(), [True, False, False])
