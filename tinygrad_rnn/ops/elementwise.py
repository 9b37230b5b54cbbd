"""Elementwise operations.

Each entry is: the expression on scalars (for kernels), the derivative rule of each input, and the
NumPy function, either named (`numpy=`) or written out. Conventions at ties, zeros and infinities
are PyTorch's and are stated where there is something to state.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.primitive import Spec
from ..core.record import apply
from ..core.tensor import check_dtype
from ..loops.elementwise import NO_BOUND
from .define import operand, pointwise, primitive
from .facts import CHEAP, ORDINARY
from .views import unmoved
from .weak import of_numbers

# Elements from which on a kernel beats NumPy (measured by `make bench`):
SEVERAL = 8_192  # where NumPy needs several passes, or has no vector code
VECTOR = 32_768  # where NumPy has a vector loop of its own

# --- arithmetic ----------------------------------------------------------------------------------


@pointwise("x", lambda g: g, numpy=np.positive, view=unmoved)
def positive(x: Any) -> Any:
    """Return the same values, as a new node."""


@pointwise("-x", lambda g: -g, numpy=np.negative)
def neg(x: Any) -> Any:
    """Return -x."""


@pointwise("a + b", lambda g: g, lambda g: g, numpy=np.add, symbol="+")
def add(a: Any, b: Any) -> Any:
    """Return a + b, with broadcasting."""


@pointwise("a - b", lambda g: g, lambda g: -g, numpy=np.subtract, symbol="\N{MINUS SIGN}")
def subtract(a: Any, b: Any) -> Any:
    """Return a - b, with broadcasting."""


@pointwise(
    "a * b",
    lambda g, b: g * b,
    lambda g, a: g * a,
    numpy=np.multiply,
    symbol="\N{MULTIPLICATION SIGN}",
)
def multiply(a: Any, b: Any) -> Any:
    """Return a * b elementwise, with broadcasting."""


@pointwise(
    "a / b",
    lambda g, b: g / b,
    lambda g, out, b: -g * out / b,
    numpy=np.true_divide,
    floating=True,
    domain=[(-2.0, 2.0), (0.5, 2.0)],
    signed=True,
    symbol="\N{DIVISION SIGN}",
)
def divide(a: Any, b: Any) -> Any:
    """Return a / b; integers become float32.

    Division by zero gives inf or nan, as IEEE 754 has it.
    """


def _power_a(g: Any, a: Any, b: Any) -> Any:
    if isinstance(b, (int, float)):
        return (
            zeros_like(g)
            if b == 0
            else g
            if b == 1
            else g * (b * a)
            if b == 2
            else g * (b * a ** (b - 1))
        )
    return g * (b * where(logical_and(a == 0, b == 0), 1.0, a) ** (b - 1))


def _power_b(g: Any, out: Any, a: Any, b: Any) -> Any:
    if isinstance(a, (int, float)):
        return (
            g * where(b >= 0, 0.0, -out)
            if a == 0
            else g * out * (math.log(a) if a > 0 else math.nan)
        )
    return g * out * log(where(logical_and(a == 0, b >= 0), 1.0, a))


@pointwise("power(a, b)", _power_a, _power_b, domain=[(0.5, 2.0), (-2.0, 2.0)], formula="a ** b")
def power(a: Any, b: Any) -> Any:
    """Return a ** b.

    Where b is 0.5 it is the square root (so -0.0 stays -0.0 and -inf gives nan), otherwise what C's
    pow gives. The gradient by a is 0 where b is 0 (also at a = 0); the gradient by b is 0 where a
    is 0 (and b not negative), and nan where a is negative.
    """
    root = b == 0.5  # for which NumPy takes the root or not as the memory lies
    if root is True:
        return np.sqrt(a)
    out = np.power(a, b)
    return np.where(root, np.sqrt(a, dtype=out.dtype), out) if np.any(root) else out


@pointwise("x * x", lambda g, x: g * (2.0 * x), numpy=np.square, cost=ORDINARY)
def square(x: Any) -> Any:
    """Return x * x."""


@pointwise("1 / x", lambda g, out: -g * (out * out), floating=True, domain=(0.5, 2.0), signed=True)
def reciprocal(x: Any) -> Any:
    """Return 1 / x; at 0 it is inf, with gradient -inf."""
    return np.true_divide(1, x)


@pointwise(
    "sqrt(x)", lambda g, out: g / (2.0 * out), numpy=np.sqrt, floating=True, domain=(0.3, 2.0)
)
def sqrt(x: Any) -> Any:
    """Return the square root.

    The gradient at 0 is inf (and 0 * inf = nan if what arrives there is 0).
    """


@pointwise("absolute(x)", lambda g, x: g * sign(x), numpy=np.abs, domain=(0.2, 2.0), signed=True)
def abs(x: Any) -> Any:
    """Return the absolute value; the gradient at 0 is 0."""


@pointwise("sign(x)", lambda g: zeros_like(g), numpy=np.sign, domain=(0.2, 2.0), signed=True)
def sign(x: Any) -> Any:
    """Return the sign, -1, 0 or 1; the gradient is 0 everywhere."""


@pointwise("floor(x)", lambda g: zeros_like(g), numpy=np.floor, domain=(0.2, 0.8), signed=True)
def floor(x: Any) -> Any:
    """Return the largest integer not above x; the gradient is 0 everywhere."""


@pointwise(
    "mod(a, b)",
    lambda g: g,
    lambda g, a, b: -g * floor(a / b),
    numpy=np.mod,
    domain=[(2.3, 2.9), (1.05, 1.1)],
    signed=True,
)
def mod(a: Any, b: Any) -> Any:
    """Return a - b * floor(a / b): the remainder with the sign of b.

    The gradient by a is 1, by b it is -floor(a / b).
    """


# --- exponentials and logarithms ----------------------------------------------------------------


@pointwise("exp(x)", lambda g, out: g * out, numpy=np.exp, floating=True, kernel=VECTOR)
def exp(x: Any) -> Any:
    """Return e ** x."""


@pointwise(
    "expm1(x)", lambda g, out: g * (out + 1.0), numpy=np.expm1, floating=True, kernel=SEVERAL
)
def expm1(x: Any) -> Any:
    """Return e ** x - 1, accurate near 0."""


@pointwise(
    "log(x)", lambda g, x: g / x, numpy=np.log, floating=True, kernel=VECTOR, domain=(0.3, 3.0)
)
def log(x: Any) -> Any:
    """Return the natural logarithm; it is -inf at 0 (with gradient inf), nan below."""


@pointwise(
    "log1p(x)",
    lambda g, x: g / (1.0 + x),
    numpy=np.log1p,
    floating=True,
    kernel=SEVERAL,
    domain=(-0.5, 2.0),
)
def log1p(x: Any) -> Any:
    """Return log(1 + x), accurate near 0."""


@pointwise(
    "logaddexp(a, b)",
    lambda g, a, b: g * sigmoid(a - b),
    lambda g, a, b: g * sigmoid(b - a),
    numpy=np.logaddexp,
    floating=True,
    kernel=SEVERAL,
)
def logaddexp(a: Any, b: Any) -> Any:
    """Return log(exp(a) + exp(b)) without overflow."""


@pointwise("sin(x)", lambda g, x: g * cos(x), numpy=np.sin, floating=True)
def sin(x: Any) -> Any:
    """Return the sine; x is in radians."""


@pointwise("cos(x)", lambda g, x: -g * sin(x), numpy=np.cos, floating=True)
def cos(x: Any) -> Any:
    """Return the cosine; x is in radians."""


@pointwise(
    "erf(x)", lambda g, x: g * (2 / np.pi**0.5 * exp(-(x * x))), floating=True, kernel=SEVERAL
)
def erf(x: Any) -> Any:
    """Return the error function, 2 / sqrt(pi) times the integral of exp(-t * t) from 0 to x."""
    from scipy.special import erf as scipy_erf

    return scipy_erf(x)


# --- the non-linearities of recurrent networks --------------------------------------------------


@pointwise("tanh(x)", lambda g, out: g - g * out * out, numpy=np.tanh, floating=True, kernel=VECTOR)
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""


def _sigmoid_rule(g: Any, out: Any) -> Any:
    slope = g * out
    return slope - slope * out


@pointwise(
    "sigmoid(x)",
    _sigmoid_rule,
    floating=True,
    kernel=SEVERAL,
    symbol="\N{GREEK SMALL LETTER SIGMA}",
)
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)), the logistic function."""
    z = np.exp(-np.abs(x))  # at most 1, so nothing overflows and small values keep their digits
    return np.where(x < 0, z, 1) / (1 + z)


@pointwise("log_sigmoid(x)", lambda g, x: g * sigmoid(-x), floating=True, kernel=SEVERAL)
def log_sigmoid(x: Any) -> Any:
    """Return log(sigmoid(x)) without overflow."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@pointwise("softplus(x)", lambda g, x: g * sigmoid(x), floating=True, kernel=SEVERAL)
def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)) without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@pointwise("maximum(x, 0)", lambda g, out: where(out <= 0, 0.0, g), domain=(0.2, 2.0), signed=True)
def relu(x: Any) -> Any:
    """Return max(x, 0); the gradient at 0 is 0."""
    return np.maximum(x, 0)


@pointwise(
    "select(x > 0, x, negative_slope * x)",
    lambda g, x, negative_slope: where(x > 0, g, negative_slope * g),
    floating=True,
    domain=(0.2, 2.0),
    signed=True,
    examples=[([(3, 4)], {"negative_slope": 0.3}), ([(3, 4)], {"negative_slope": -0.5})],
)
def leaky_relu(x: Any, *, negative_slope: float = 0.01) -> Any:
    """Return x where x > 0, else negative_slope * x; the gradient at 0 is negative_slope."""
    return np.where(x > 0, x, negative_slope * x)


@pointwise(
    "select(x > 0, x, alpha * expm1(minimum(x, 0)))",
    lambda g, x, alpha: where(x > 0, g, g * (alpha * exp(minimum(x, 0.0)))),
    floating=True,
    kernel=SEVERAL,
    domain=(0.2, 2.0),
    signed=True,
    examples=[([(3, 4)], {"alpha": 1.7})],
)
def elu(x: Any, *, alpha: float = 1.0) -> Any:
    """Return x where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2015)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@pointwise(
    "minimum(maximum(0.2 * x + 0.5, 0), 1)",
    lambda g, x: where(abs(x) < 2.5, 0.2 * g, 0.0),
    floating=True,
    domain=(0.2, 3.0),
    signed=True,
)
def hard_sigmoid(x: Any) -> Any:
    """Return clip(0.2 x + 0.5, 0, 1), the piecewise linear gate of older Keras.

    The gradient at x = -2.5 and 2.5 is 0.

    PyTorch's hardsigmoid has slope 1/6; write ``tg.clip(x / 6 + 0.5, 0, 1)`` for it.
    """
    return np.clip(0.2 * x + 0.5, 0, 1)


# --- choices and comparisons --------------------------------------------------------------------


def _share(lost: Any, tie: Any, g: Any) -> Any:
    return where(lost, 0.0, where(tie, 0.5 * g, g))


@pointwise(
    "maximum(a, b)",
    lambda g, a, b: _share(a < b, a == b, g),
    lambda g, a, b: _share(b < a, a == b, g),
    numpy=np.maximum,
)
def maximum(a: Any, b: Any) -> Any:
    """Return the larger of a and b; it is nan if one is nan.

    At a tie each gets half of the gradient, beside a nan each gets all of it.
    """


@pointwise(
    "minimum(a, b)",
    lambda g, a, b: _share(a > b, a == b, g),
    lambda g, a, b: _share(b > a, a == b, g),
    numpy=np.minimum,
)
def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of a and b; it is nan if one is nan.

    At a tie each gets half of the gradient, beside a nan each gets all of it.
    """


def _clip_rule(g: Any, x: Any, low: Any, high: Any) -> Any:
    g = g if low is None else where(x >= low, g, 0.0)
    return g if high is None else where(x <= high, g, 0.0)


@pointwise(
    "minimum(high, maximum(low, x))",
    _clip_rule,
    domain=(0.2, 3.0),
    signed=True,
    examples=[
        ([(3, 4)], {"low": -1.0, "high": 1.5}),
        ([(3, 4)], {"low": -1.0}),
        ([(3, 4)], {"high": 0.1}),
    ],
)
def clip(x: Any, *, low: float | None = None, high: float | None = None) -> Any:
    """Bring x into [low, high].

    The gradient is 1 inside and on the bounds, 0 outside.

    Parameters
    ----------
    x : Tensor, array or number
    low, high : float, optional
        The bounds, which belong to the interval; None is no bound.
    """
    if x.dtype.kind != "f" and (type(low) is float or type(high) is float):
        x = x.astype(np.float32)
    # with two bounds NumPy keeps the sign of a zero that is on one of them, with one it does not
    if x.dtype.kind == "f":
        low, high = (
            NO_BOUND["low"] if low is None else low,
            NO_BOUND["high"] if high is None else high,
        )
    return x + 0 if low is None and high is None else np.clip(x, low, high)


@of_numbers
@pointwise(
    "select(condition, a, b)",
    None,
    lambda g, condition: where(condition, g, 0.0),
    lambda g, condition: where(condition, 0.0, g),
    promotes=slice(1, 3),
    examples=[([np.array([True, False, True]), (3,), (2, 3)], {})],
)
def where(condition: Any, a: Any, b: Any) -> Any:
    """Return a where the condition holds, else b.

    Of two Python floats the result is float32, and takes the floating dtype of what it meets.

    Both branches are differentiated, and a gradient of 0 times an infinite derivative is nan: the
    gradient of ``where(x > 0, sqrt(x), 0)`` at 0 is nan, as in PyTorch. Make the argument safe
    instead: ``sqrt(where(x > 0, x, 1))`` inside the `where`.

    Parameters
    ----------
    condition, a, b : Tensor, array or number
        They are broadcast together. A condition that is no bool holds where it is not 0.
    """
    for number, other in ((a, b), (b, a)):
        if type(number) is int and hasattr(other, "dtype") and other.dtype.kind in "iu":
            # an OverflowError where it has no room, which not every NumPy raises in `where`
            other.dtype.type(number)
    out = np.where(condition, a, b)
    return (
        out
        if hasattr(a, "dtype") or hasattr(b, "dtype") or out.dtype.kind != "f"
        else out.astype(np.float32)
    )


def _comparison(name: str, scalar: str, ufunc: Any) -> Any:
    def compare(a: Any, b: Any) -> Any: ...

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"Return {scalar} elementwise, as a bool tensor; no gradient."
    return pointwise(scalar, numpy=ufunc, boolean=True)(compare)


equal = _comparison("equal", "a == b", np.equal)
not_equal = _comparison("not_equal", "a != b", np.not_equal)
less = _comparison("less", "a < b", np.less)
less_equal = _comparison("less_equal", "a <= b", np.less_equal)
greater = _comparison("greater", "a > b", np.greater)
greater_equal = _comparison("greater_equal", "a >= b", np.greater_equal)
logical_and = _comparison("logical_and", "a and b", np.logical_and)
logical_or = _comparison("logical_or", "a or b", np.logical_or)


@pointwise("not x", numpy=np.logical_not, boolean=True)
def logical_not(x: Any) -> Any:
    """Return True where x is zero; no gradient."""


@pointwise("x != x", numpy=np.isnan, boolean=True)
def isnan(x: Any) -> Any:
    """Return True where x is nan; no gradient."""


@pointwise("absolute(x) < inf", numpy=np.isfinite, boolean=True)
def isfinite(x: Any) -> Any:
    """Return True where x is neither infinite nor nan; no gradient."""


# --- constants and conversions ------------------------------------------------------------------


@pointwise("x", view=unmoved)
def stop_gradient(x: Any) -> Any:
    """Return the same values as a constant: no gradient passes."""
    return x


@pointwise("0", numpy=np.zeros_like)
def zeros_like(x: Any) -> Any:
    """Return zeros of the shape and dtype of x; a constant."""


def _cast_shape(x: Any, *, dtype: Any) -> Spec:
    return Spec(x.shape, dtype)


@primitive(
    lambda g, like_x: astype(g, like_x.dtype),
    shape=_cast_shape,
    linear="jointly",
    promotes=slice(0, 0),
    name="astype",
    cost=CHEAP,
    casts=True,
    examples=[([(2, 3)], {"dtype": np.dtype(np.float64)})],
)
def _astype(x: Any, *, dtype: Any) -> Any:
    return x.astype(dtype)


def astype(x: Any, dtype: Any) -> Any:
    """Return the values in another dtype; the gradient comes back in the dtype of x."""
    return apply(
        _astype.primitive,
        (operand(x, "astype"),),
        {"dtype": check_dtype("" if dtype is None else dtype)},
    )
