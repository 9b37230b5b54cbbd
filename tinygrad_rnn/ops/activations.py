"""Further activations: softplus with a slope, GELU by tanh, hardswish, SELU, mish, softsign, GLU, PReLU.

They are loaded when first used. Each is one elementwise entry, or made of those that there are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from . import custom, elementwise
from .checks import number, shown
from .define import axis_of, operand, pointwise
from .elementwise import SEVERAL, abs, clip, exp, minimum, sigmoid, tanh, where
from .shaping import reshape, split

# of SELU: the values for which mean 0 and variance 1 are a fixed point
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
GELU_SLOPE, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715


def softplus(x: Any, beta: float = 1.0) -> Any:
    """Return log(1 + exp(beta * x)) / beta without overflow.

    Parameters
    ----------
    x : Tensor, array or number
    beta : float
        How steep the bend is; positive. It is exact for large x, where PyTorch takes x itself from
        ``beta * x > 20`` on.
    """
    if type(beta) is float and beta == 1.0:
        return elementwise.softplus(x)
    beta = number(beta, "softplus: beta", "(0, inf)")
    return elementwise.softplus(beta * operand(x, "softplus")) / beta


def gelu(x: Any, approximate: str = "none") -> Any:
    """Return x times the standard normal distribution function of x (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    x : Tensor, array or number
    approximate : {"none", "tanh"}
        Exact, by erf, or by a tanh as in GPT-2.
    """
    if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
        raise TinygradError(
            f"gelu: approximate must be 'none' or 'tanh'; found {shown(approximate)}"
        )
    return custom.gelu(x) if approximate == "none" else gelu_tanh(x)


def _gelu_tanh_rule(g: Any, x: Any) -> Any:
    # beyond these bounds the tanh is flat, and the cube of x may overflow
    near = clip(x, -30.0, 30.0)
    bent = tanh(GELU_SLOPE * near * (1.0 + GELU_CUBIC * near * near))
    slope = GELU_SLOPE * (1.0 + 3.0 * GELU_CUBIC * near * near)
    return g * (0.5 * (1.0 + bent) + 0.5 * near * (1.0 - bent * bent) * slope)


@pointwise(
    f"0.5 * x * (1.0 + tanh({GELU_SLOPE!r} * (x + {GELU_CUBIC!r} * x * x * x)))",
    _gelu_tanh_rule,
    floating=True,
    kernel=SEVERAL,
)
def gelu_tanh(x: Any) -> Any:
    """Return x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, which is near to GELU."""
    bent = x * x
    bent *= GELU_CUBIC * GELU_SLOPE
    bent += GELU_SLOPE
    return 0.5 * x * (1.0 + np.tanh(bent * x))


@pointwise(
    "x * (minimum(maximum(x + 3.0, 0.0), 6.0) / 6.0)",
    lambda g, x: where(x >= 3.0, g, where(x > -3.0, g * (x / 3.0 + 0.5), 0.0)),
    floating=True,
    kernel=SEVERAL,
    domain=(0.2, 4.0),
    signed=True,
)
def hardswish(x: Any) -> Any:
    """Return x * clip(x + 3, 0, 6) / 6 (Howard et al. 2019).

    The gradient at -3 is 0, and at 3 it is 1.
    """
    return x * (np.clip(x + 3.0, 0.0, 6.0) / 6.0)


@pointwise(
    f"select(x > 0, {SELU_SCALE!r} * x, {SELU_SCALE * SELU_ALPHA!r} * expm1(minimum(x, 0)))",
    lambda g, x: where(x > 0, SELU_SCALE * g, g * (SELU_SCALE * SELU_ALPHA * exp(minimum(x, 0.0)))),
    floating=True,
    kernel=SEVERAL,
    domain=(0.2, 2.0),
    signed=True,
)
def selu(x: Any) -> Any:
    """Return 1.0507 x where x > 0, else 1.7581 (exp(x) - 1) (Klambauer et al. 2017)."""
    return np.where(x > 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(x, 0)))


def _mish_rule(g: Any, x: Any) -> Any:
    bent = tanh(elementwise.softplus(x))
    return g * (bent + x * sigmoid(x) * (1.0 - bent * bent))


@pointwise("x * tanh(softplus(x))", _mish_rule, floating=True, kernel=SEVERAL)
def mish(x: Any) -> Any:
    """Return x * tanh(softplus(x)) (Misra 2019)."""
    return x * np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def _softsign_rule(g: Any, x: Any) -> Any:
    size = 1.0 + abs(x)
    return g / size / size


@pointwise("x / (1.0 + absolute(x))", _softsign_rule, floating=True, domain=(0.2, 2.0), signed=True)
def softsign(x: Any) -> Any:
    """Return x / (1 + |x|)."""
    return x / (1.0 + np.abs(x))


@pointwise(
    "select(x > 0, x, slope * x)",
    lambda g, x, slope: where(x > 0, g, slope * g),
    lambda g, x: where(x > 0, 0.0, g * x),
    floating=True,
    kernel=SEVERAL,
    domain=(0.2, 2.0),
    signed=True,
)
def sloped(x: Any, slope: Any) -> Any:
    """Return x where x > 0, else slope * x."""
    return np.where(x > 0, x, slope * x)


def prelu(x: Any, weight: Any) -> Any:
    """Return x where x > 0, else weight * x (He et al. 2015); the gradient at 0 is the weight.

    Parameters
    ----------
    x : Tensor, array or number
    weight : Tensor or array, shape () or (channels,)
        One slope, or one for each place on axis 1 of x, as in PyTorch.
    """
    x, weight = operand(x, "prelu"), operand(weight, "prelu: weight")
    count = weight.shape[0] if weight.ndim == 1 else 1
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or count not in (1, channels):
        raise ShapeError(
            f"prelu: expected one weight, or one for each of the {channels} channels on axis 1 of shape {tuple(x.shape)}; found shape {tuple(weight.shape)}"
        )
    # along the axis of channels, and the axes after it
    shape = (count, *[1] * (x.ndim - 2)) if count > 1 else ()
    return sloped(x, reshape(weight, shape))


def glu(x: Any, axis: int = -1) -> Any:
    """Return the first half along an axis times the sigmoid of the second (Dauphin et al. 2017).

    Parameters
    ----------
    x : Tensor or array
    axis : int
        Along which axis; its size is even.
    """
    x = operand(x, "glu")
    n = x.shape[axis_of(axis, x.ndim)]
    if n % 2:
        raise ShapeError(
            f"glu: expected an even size on axis {axis}, of which each half is one side; found {n} in shape {tuple(x.shape)}"
        )
    value, gate = split(x, 2, axis)
    return value * sigmoid(gate)
