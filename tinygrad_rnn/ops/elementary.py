"""Further elementwise functions: trigonometric, hyperbolic, logarithms of other bases, rounding.

They are loaded when first used. Conventions at ties, zeros and infinities are PyTorch's and are
stated where there is something to state.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..core.errors import DtypeError
from .define import numpys, pointwise
from .elementwise import (
    isnan,
    log,
    logical_and,
    logical_not,
    logical_or,
    sign,
    sqrt,
    where,
    zeros_like,
)

LN2, LN10 = math.log(2.0), math.log(10.0)

# --- trigonometric and hyperbolic functions -------------------------------------------------------


@pointwise(
    "tan(x)", lambda g, out: g + g * out * out, numpy=np.tan, floating=True, domain=(-1.2, 1.2)
)
def tan(x: Any) -> Any:
    """Return the tangent; x is in radians."""


@pointwise("sinh(x)", lambda g, x: g * cosh(x), numpy=np.sinh, floating=True)
def sinh(x: Any) -> Any:
    """Return the hyperbolic sine."""


@pointwise("cosh(x)", lambda g, x: g * sinh(x), numpy=np.cosh, floating=True)
def cosh(x: Any) -> Any:
    """Return the hyperbolic cosine."""


@pointwise(
    "arcsin(x)",
    lambda g, x: g / sqrt((1.0 - x) * (1.0 + x)),
    numpy=np.arcsin,
    floating=True,
    domain=(-0.9, 0.9),
)
def arcsin(x: Any) -> Any:
    """Return the angle of a sine, from -pi/2 to pi/2; nan outside [-1, 1], whose ends have gradient inf."""


@pointwise(
    "arccos(x)",
    lambda g, x: -g / sqrt((1.0 - x) * (1.0 + x)),
    numpy=np.arccos,
    floating=True,
    domain=(-0.9, 0.9),
)
def arccos(x: Any) -> Any:
    """Return the angle of a cosine, from 0 to pi; nan outside [-1, 1], whose ends have gradient -inf."""


@pointwise("arctan(x)", lambda g, x: g / (1.0 + x * x), numpy=np.arctan, floating=True)
def arctan(x: Any) -> Any:
    """Return the angle of a tangent, from -pi/2 to pi/2."""


@pointwise("arcsinh(x)", lambda g, x: g / hypot(x, 1.0), numpy=np.arcsinh, floating=True)
def arcsinh(x: Any) -> Any:
    """Return the inverse of sinh."""


@pointwise(
    "arccosh(x)",
    lambda g, x: g / (sqrt(x - 1.0) * sqrt(x + 1.0)),
    numpy=np.arccosh,
    floating=True,
    domain=(1.2, 4.0),
)
def arccosh(x: Any) -> Any:
    """Return the inverse of cosh; nan below 1, where the gradient is inf."""


@pointwise(
    "arctanh(x)",
    lambda g, x: g / ((1.0 - x) * (1.0 + x)),
    numpy=np.arctanh,
    floating=True,
    domain=(-0.9, 0.9),
)
def arctanh(x: Any) -> Any:
    """Return the inverse of tanh; infinite at -1 and 1, nan outside."""


def _arctan2_a(g: Any, a: Any, b: Any) -> Any:
    length = hypot(a, b)
    return g * (b / length) / length


def _arctan2_b(g: Any, a: Any, b: Any) -> Any:
    length = hypot(a, b)
    return -g * (a / length) / length


@pointwise(
    "arctan2(a, b)",
    _arctan2_a,
    _arctan2_b,
    numpy=np.arctan2,
    floating=True,
    domain=(0.3, 2.0),
    signed=True,
)
def arctan2(a: Any, b: Any) -> Any:
    """Return the angle of the point (b, a), from -pi to pi; its gradient at the origin is nan."""


@pointwise(
    "hypot(a, b)",
    lambda g, out, a: g * (a / where(out == 0, 1.0, out)),
    lambda g, out, b: g * (b / where(out == 0, 1.0, out)),
    numpy=np.hypot,
    floating=True,
    domain=(0.3, 2.0),
    signed=True,
)
def hypot(a: Any, b: Any) -> Any:
    """Return sqrt(a * a + b * b) without overflow; the gradient at the origin is 0."""


# --- logarithms and powers of other bases ---------------------------------------------------------


@pointwise("log2(x)", lambda g, x: g / (x * LN2), numpy=np.log2, floating=True, domain=(0.3, 3.0))
def log2(x: Any) -> Any:
    """Return the logarithm of base 2; it is -inf at 0 (with gradient inf), nan below."""


@pointwise(
    "log10(x)", lambda g, x: g / (x * LN10), numpy=np.log10, floating=True, domain=(0.3, 3.0)
)
def log10(x: Any) -> Any:
    """Return the logarithm of base 10; it is -inf at 0 (with gradient inf), nan below."""


@pointwise("exp2(x)", lambda g, out: g * out * LN2, numpy=np.exp2, floating=True)
def exp2(x: Any) -> Any:
    """Return 2 ** x."""


def _xlogy_x(g: Any, x: Any, y: Any) -> Any:
    if isinstance(y, (int, float)):  # a choice between two numbers would have no dtype
        y = zeros_like(x) + y
    return g * log(where(logical_and(x == 0, y <= 0), 1.0, y))


@pointwise(
    "select(x == 0, select(y != y, y, 0), x * log(y))",
    _xlogy_x,
    lambda g, x, y: g * (x / where(logical_and(x == 0, y == 0), 1.0, y)),
    floating=True,
    domain=[(-2.0, 2.0), (0.3, 3.0)],
)
def xlogy(x: Any, y: Any) -> Any:
    """Return x * log(y), and 0 where x is 0 and y no nan.

    Where x is 0 and y not positive the gradient by x is 0; by y it is 0 where both are 0.
    """
    x, y = (np.asarray(v, np.result_type(x, y)) for v in (x, y))
    zero = np.equal(x, 0)
    out = x * np.log(np.where(zero, np.ones_like(y), y))
    return np.where(zero, np.where(np.isnan(y), y, np.zeros_like(out)), out)


# --- rounding and signs ---------------------------------------------------------------------------


@pointwise("ceil(x)", lambda g: zeros_like(g), numpy=np.ceil, domain=(0.2, 0.8), signed=True)
def ceil(x: Any) -> Any:
    """Return the smallest integer not below x; the gradient is 0 everywhere."""


@pointwise("trunc(x)", lambda g: zeros_like(g), numpy=np.trunc, domain=(0.2, 0.8), signed=True)
def trunc(x: Any) -> Any:
    """Return x without its fraction; the gradient is 0 everywhere."""


@numpys()
@pointwise("round(x)", lambda g: zeros_like(g), domain=(0.6, 1.4), signed=True)
def round(x: Any) -> Any:
    """Return the nearest integer, of two that are as near the even one; the gradient is 0 everywhere.

    ``tg.round(x * 100) / 100`` keeps two digits.
    """
    x = np.asarray(x)
    return np.rint(x) if x.dtype.kind == "f" else x


@pointwise(
    "floor_divide(a, b)",
    lambda g: zeros_like(g),
    lambda g: zeros_like(g),
    numpy=np.floor_divide,
    domain=[(2.3, 2.9), (1.05, 1.1)],
    signed=True,
    formula="a // b",
)
def floor_divide(a: Any, b: Any) -> Any:
    """Return a / b, rounded down; the gradient is 0 everywhere.

    Floats divided by 0 give inf or nan, integers 0, as in NumPy.
    """


def _copysign_a(g: Any, a: Any, b: Any) -> Any:
    own = sign(a)
    return g * own * copysign(own, b)


@pointwise(
    "copysign(a, b)",
    _copysign_a,
    lambda g: zeros_like(g),
    numpy=np.copysign,
    floating=True,
    domain=(0.2, 2.0),
    signed=True,
)
def copysign(a: Any, b: Any) -> Any:
    """Return the magnitude of a with the sign of b, which a zero has, too.

    The gradient by a is 0 at a = 0; that by b is 0 everywhere.
    """


def _chosen(g: Any, tie: Any, taken: Any) -> Any:
    return where(tie, 0.5 * g, where(taken, g, 0.0))


@pointwise(
    "select(b != b, a, select(a >= b, a, b))",
    lambda g, a, b: _chosen(g, a == b, logical_or(a > b, isnan(b))),
    lambda g, a, b: _chosen(
        g, a == b, logical_or(a < b, logical_and(isnan(a), logical_not(isnan(b))))
    ),
)
def fmax(a: Any, b: Any) -> Any:
    """Return the larger of a and b; where one is nan it is the other, which gets the gradient.

    At a tie each gets half of the gradient.
    """
    return np.where(np.logical_or(np.not_equal(b, b), np.greater_equal(a, b)), a, b)


@pointwise(
    "select(b != b, a, select(a <= b, a, b))",
    lambda g, a, b: _chosen(g, a == b, logical_or(a < b, isnan(b))),
    lambda g, a, b: _chosen(
        g, a == b, logical_or(a > b, logical_and(isnan(a), logical_not(isnan(b))))
    ),
)
def fmin(a: Any, b: Any) -> Any:
    """Return the smaller of a and b; where one is nan it is the other, which gets the gradient.

    At a tie each gets half of the gradient.
    """
    return np.where(np.logical_or(np.not_equal(b, b), np.less_equal(a, b)), a, b)


@pointwise("absolute(x) == inf", numpy=np.isinf, boolean=True)
def isinf(x: Any) -> Any:
    """Return True where x is infinite; no gradient."""


# --- bits of integers -----------------------------------------------------------------------------


def _of_integers(symbol: str, *operands: Any) -> None:
    if any(getattr(x, "dtype", np.dtype(type(x))).kind == "f" for x in operands):
        raise DtypeError(
            f"{symbol} is for booleans and integers. Compare first, as in (t > 0), or convert with .astype(int)"
        )


def _bits(symbol: str, scalar: str, ufunc: Any, text: str) -> Any:
    def binary(a: Any, b: Any) -> Any:
        _of_integers(symbol, a, b)
        return ufunc(a, b)

    binary.__name__ = binary.__qualname__ = ufunc.__name__
    binary.__doc__ = text
    return _refusing(symbol, pointwise(scalar, formula=f"a {symbol} b")(binary))


def _refusing(symbol: str, op: Any) -> Any:
    """Let the shape rule refuse floats too, so that they are found where a function is recorded."""
    rule = op.primitive.shape

    def checked(*specs: Any) -> Any:
        _of_integers(symbol, *specs)
        return rule(*specs)

    op.primitive.shape = checked
    return op


bitwise_and = _bits(
    "&", "bit_and(a, b)", np.bitwise_and, "Return the bits that both integers have; no gradient."
)
bitwise_or = _bits(
    "|", "bit_or(a, b)", np.bitwise_or, "Return the bits that one of two integers has; no gradient."
)
bitwise_xor = _bits(
    "^", "bit_xor(a, b)", np.bitwise_xor, "Return the bits that only one integer has; no gradient."
)
left_shift = _bits(
    "<<", "shift_left(a, b)", np.left_shift, "Return the bits of a moved up by b; no gradient."
)
right_shift = _bits(
    ">>", "shift_right(a, b)", np.right_shift, "Return the bits of a moved down by b; no gradient."
)


@functools.partial(_refusing, "~")
@pointwise("bit_not(x)", formula="~x")
def bitwise_not(x: Any) -> Any:
    """Return the bits that an integer has not; of booleans the negation; no gradient."""
    _of_integers("~", x)
    return np.invert(x)
