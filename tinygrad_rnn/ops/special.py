"""Functions of statistics and physics: erfc, erfinv, lgamma, digamma, polygamma, sinc.

They are loaded when first used. The values are SciPy's, also in compiled code.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.record import apply
from .checks import size
from .custom import elementwise
from .define import operand, pointwise
from .elementwise import abs, exp, sin, where


@pointwise("erfc(x)", lambda g, x: g * (-2 / np.pi**0.5 * exp(-(x * x))), floating=True)
def erfc(x: Any) -> Any:
    """Return 1 - erf(x), accurate where that is near 0."""
    from scipy.special import erfc as scipy_erfc

    return scipy_erfc(x)


@pointwise(
    "erfinv(x)",
    lambda g, out: g * (np.pi**0.5 / 2 * exp(out * out)),
    floating=True,
    domain=(-0.9, 0.9),
)
def erfinv(x: Any) -> Any:
    """Return the inverse of erf; infinite at -1 and 1, nan outside."""
    from scipy.special import erfinv as scipy_erfinv

    return scipy_erfinv(x)


@pointwise("lgamma(x)", lambda g, x: g * digamma(x), floating=True, domain=(0.3, 4.0))
def lgamma(x: Any) -> Any:
    """Return the logarithm of the magnitude of the gamma function; inf at 0, -1, -2, ..."""
    from scipy.special import gammaln

    return gammaln(x)


@pointwise("digamma(x)", lambda g, x: g * polygamma(1, x), floating=True, domain=(0.3, 4.0))
def digamma(x: Any) -> Any:
    """Return the derivative of lgamma; -inf at 0, inf at -0.0, nan at -1, -2, ..."""
    from scipy.special import psi

    return psi(x)


@pointwise(
    "polygamma(x, n)",
    lambda g, x, n: g * polygamma(n + 1, x),
    floating=True,
    domain=(0.5, 4.0),
    name="polygamma",
    examples=[([(3, 4)], {"n": 2}), ([(3, 4)], {"n": 3})],
)
def _polygamma(x: Any, *, n: int = 1) -> Any:
    from scipy.special import polygamma as scipy_polygamma

    return scipy_polygamma(n, x).astype(x.dtype)


def polygamma(n: int, x: Any) -> Any:
    """Return the derivative of order n of `digamma`.

    Parameters
    ----------
    n : int
        At least 0; 0 is digamma itself, 1 the trigamma function.
    x : Tensor, array or number
    """
    order = size(n, "polygamma: n", 0)
    x = operand(x, "polygamma")
    return apply(_polygamma.primitive, (x,), {"n": order}) if order else digamma(x)


# sin(r) / r = sum of these times r ** (2 k)
_SINC = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(14))


@elementwise
def sinc(x: Any) -> Any:
    """Return sin(pi x) / (pi x), and 1 at 0, as NumPy's; all derivatives at 0 are right."""
    near = abs(x) < 0.5
    small = np.pi * where(near, x, 0.0)
    square = small * small
    series = _SINC[-1] * square + _SINC[-2]
    for number in _SINC[-3::-1]:
        series = series * square + number
    r = np.pi * where(near, 1.0, x)
    return where(near, series, sin(r) / r)
