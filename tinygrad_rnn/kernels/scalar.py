"""Scalar mathematics for generated kernels, in a form that LLVM vectorises.

A call such as ``np.tanh(x)`` inside a jitted loop becomes one call of the C library per element.
The functions of this module are instead formulas of additions, multiplications, selections and bit
operations, without branches and without calls, so that LLVM turns a loop over contiguous arrays
into vector instructions::

    @njit(error_model="numpy", fastmath={"contract"}, nogil=True)
    def kernel(x, out):
        for j in range(x.size):
            out[j] = tanh(x[j])

How it is built
---------------
A formula is a Python function over `_Value`, a thin wrapper of an LLVM value with Python's
operators.  `_unary` and `_binary` make a numba intrinsic of it: when numba compiles a call, the
formula runs once and writes its instructions straight into the calling kernel.  Nothing is left to
type inference, inlining or fast-math licence: a float32 argument is computed with float32 constants
and gives a float32 result, and compiling a call takes a millisecond or so.

Rules for callers
-----------------
* The functions exist only inside jitted code.
* An argument is float32 or float64; the wider of two float types wins, and integers take the type
  of the float beside them, or float64.  A Python float literal is float64: in float32 kernels write
  ``np.float32(0.5)``.
* The results follow NumPy for NaN, infinities, signed zeros, overflow and subnormal numbers.
* Compile with ``fastmath={"contract"}`` or without fast-math: ``fastmath=True`` allows LLVM to
  assume that there are no NaNs.  Use ``error_model="numpy"`` if the kernel itself divides.
* The instructions are part of the compiled kernel.  A cache of kernels must include the text of
  this file in its key.

Errors
------
The errors stated are the largest seen, in units in the last place (ulp) of the exact result,
against references of higher precision on a machine with fused multiply-add.
"""

from __future__ import annotations

import contextlib
import functools
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import TypingError
from numba.extending import intrinsic

__all__ = [
    "absolute",
    "ceil",
    "copysign",
    "cos",
    "erf",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "interleaving",
    "largest",
    "log",
    "log1p",
    "log_sigmoid",
    "logaddexp",
    "maximum",
    "minimum",
    "mod",
    "plus",
    "polygamma",
    "power",
    "round",
    "scipy_addresses",
    "select",
    "sigmoid",
    "sign",
    "sin",
    "smallest",
    "softplus",
    "sqrt",
    "tanh",
    "trunc",
    "wide_vectors",
]


# --- Number formats and their constants -----------------------------------------------------------


@dataclass(frozen=True)
class _Format:
    """A binary floating-point format, the constants that belong to it, and its polynomials.

    Every polynomial is a minimax fit: its coefficients, lowest degree first, come from the Remez
    exchange algorithm run with 50 digits, minimising the relative error of the function it serves,
    and are then rounded to the format.

    Attributes
    ----------
    bits, fraction : int
        Bits in all, and explicit bits of the significand.
    ln2_high, ln2_low : float
        ln 2 in two parts.  The low bits of the first are zero, so its product with any exponent is
        exact.
    exp_low, exp_high : float
        Arguments at which exp has reached zero and infinity.
    erf_one, tanh_one : float
        Arguments from which the result rounds to one.
    expm1_poly : tuple of float
        P in expm1(r) = r + r**2 P(r) for abs(r) <= ln 2.
    log_poly : tuple of float
        P in log(1 + f) = f - f**2 / 2 + f**3 P(f) for sqrt(1/2) <= 1 + f <= sqrt(2).
    erf_slope, erf_poly : float, tuple of float
        c and P in log(1 - erf(a)) = a (c + P(a)) for 0 <= a <= `erf_one`; c is -2 / sqrt(pi)
        rounded to the format, and its rounding error begins P.
    sin_poly, cos_poly : tuple of float
        P in sin(r) = r + r**3 P(r**2) and in cos(r) = 1 - r**2 / 2 + r**4 P(r**2), for abs(r) <= pi
        / 4.
    tanh_ratio : pair of tuple of float, or None
        P and Q in tanh(a / 2) = a P(a**2) / Q(a**2) for 0 <= a <= `tanh_one`; None if tanh comes
        from expm1.  Found by reweighted least squares; the error matters less and less as tanh(a)
        nears one.  Both carry a factor, 59 / 32, that keeps them for small a in the upper part of a
        binade, where the relative rounding errors are smallest.
    """

    bits: int
    fraction: int
    ln2_high: float
    ln2_low: float
    exp_low: float
    exp_high: float
    tanh_one: float
    erf_one: float
    erf_slope: float
    expm1_poly: tuple[float, ...]
    log_poly: tuple[float, ...]
    erf_poly: tuple[float, ...]
    sin_poly: tuple[float, ...]
    cos_poly: tuple[float, ...]
    tanh_ratio: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def bias(self) -> int:
        """The number added to an exponent to store it."""
        return int((1 << (self.bits - self.fraction - 2)) - 1)

    @property
    def type(self) -> Any:
        """The LLVM type of a number."""
        return ir.FloatType() if self.bits == 32 else ir.DoubleType()

    @property
    def int_type(self) -> Any:
        """The LLVM type of an integer of the same width."""
        return ir.IntType(self.bits)


# fmt: off
_FLOAT32 = _Format(
    bits=32,
    fraction=23,
    ln2_high=0.693115234375,
    ln2_low=3.194618498673663e-05,
    exp_low=-104.0,
    exp_high=89.0,
    tanh_one=9.1,
    erf_one=3.95,
    erf_slope=-1.128379225730896,
    expm1_poly=(
        0.5, 0.16666672, 0.04166662, 0.008332629, 0.0013890426, 0.00020095769, 2.4781159e-05,
    ),
    log_poly=(
        0.3333333, -0.2500082, 0.20001227, -0.16623357, 0.14201757, -0.13160181, 0.1276158, -0.07634503,
    ),
    erf_poly=(
        5.863538e-08, -0.6366198, -0.102771275, 0.019117694, 0.00025306115, -0.001799354, 0.00074068597, -0.00016748098,
        2.1354595e-05, -1.1932983e-06,
    ),
    sin_poly=(-0.16666655, 0.00833216, -0.00019515218),
    cos_poly=(0.041666646, -0.0013887315, 2.4433082e-05),
    tanh_ratio=(
        (0.921875, 0.027349863, 0.00010324599),
        (1.84375, 0.2083454, 0.0022041597, 2.1806547e-06),
    ),
)

_FLOAT64 = _Format(
    bits=64,
    fraction=52,
    ln2_high=0.6931471803691238,
    ln2_low=1.9082149292705877e-10,
    exp_low=-746.0,
    exp_high=710.0,
    tanh_one=20.0,
    erf_one=5.95,
    erf_slope=-1.1283791670955126,
    expm1_poly=(
        0.5, 0.1666666666666666, 0.041666666666666824, 0.008333333333336428, 0.0013888888888862513,
        0.0001984126983706966, 2.4801587319901062e-05, 2.7557321840091e-06, 2.7557313428796093e-07,
        2.5051285764475543e-08, 2.0877499605434297e-09, 1.61860897052102e-10, 1.1468732158345052e-11,
    ),
    log_poly=(
        0.3333333333333335, -0.25000000000000366, 0.1999999999999395, -0.1666666666654787, 0.14285714286573595,
        -0.12500000014552262, 0.11111111058678036, -0.0999999907573858, 0.09090910478628642, -0.0833336753163242,
        0.07692305042060664, -0.07142088392525574, 0.0666589861340123, -0.0626036867129305, 0.05902506007053324,
        -0.054794664113618385, 0.05027921060684169, -0.051892022144150805, 0.06052911371294885, -0.054097249340395545,
        0.02248401513047162,
    ),
    erf_poly=(
        -1.533545961316588e-17, -0.6366197723675836, -0.10277260330178872, 0.019128447005069632, 0.0002091946948498391,
        -0.001696206385791291, 0.0005901255530847359, -2.5878604816917393e-05, -6.44918598148715e-05,
        2.972404486067894e-05, -3.407264660200513e-06, -2.8351399814837048e-06, 1.7415463281927581e-06,
        -3.363633688736643e-07, -1.3718296024464935e-07, 1.4176233139045257e-07, -6.573361446717167e-08,
        2.0962685519967288e-08, -4.997712489088542e-09, 9.0822470735227e-10, -1.2484142015329453e-10,
        1.2611070988227582e-11, -8.845653824918354e-13, 3.850577763872442e-14, -7.834333090250842e-16,
    ),
    sin_poly=(
        -0.1666666666666663, 0.008333333333322108, -0.0001984126982958019, 2.7557313618026055e-06,
        -2.5050747219582266e-08, 1.5896197716822588e-10,
    ),
    cos_poly=(
        0.041666666666666595, -0.001388888888887304, 2.4801587288841397e-05, -2.755731417623869e-07,
        2.087570041585682e-09, -1.135851393866547e-11,
    ),
)
# fmt: on

_LN2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476
_HALF_PI = 1.5707963267948966


def declared(module: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Return a function that a module calls by name: one of LLVM's, or found when code is loaded."""
    kind = ir.FunctionType(result, arguments)
    return module.globals.get(name) or ir.Function(module, kind, name)


# --- Values ---------------------------------------------------------------------------------------


class _Value:
    """An LLVM value with Python's operators.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where the instructions go.
    fmt : _Format
        The float format of the formula.
    raw : llvmlite.ir.Value
        A float of that format, an integer of the same width, or a condition (i1).

    Notes
    -----
    Python numbers beside a value are constants of the value's type.  Products and sums are fused
    only where a formula asks for it (`times_plus`, `fused`).
    """

    __slots__ = ("builder", "format", "raw")

    def __init__(self, builder: Any, fmt: _Format, raw: Any) -> None:
        self.builder = builder
        self.format = fmt
        self.raw = raw

    @property
    def is_float(self) -> bool:
        """Whether this is a float rather than an integer or a condition."""
        return isinstance(self.raw.type, (ir.FloatType, ir.DoubleType))

    def wrap(self, raw: Any) -> _Value:
        """Return another LLVM value with this builder and format."""
        return _Value(self.builder, self.format, raw)

    def constant(self, number: float) -> _Value:
        """Return a constant of this value's type."""
        return self.wrap(ir.Constant(self.raw.type, number))

    def lift(self, other: _Value | float) -> _Value:
        """Return `other`, made a constant of this value's type if it is a Python number."""
        return other if isinstance(other, _Value) else self.constant(other)

    def call(self, name: str, *others: _Value | float) -> _Value:
        """Call the LLVM intrinsic llvm.`name` with this value and `others`, all of one type."""
        values = [self.raw] + [self.lift(other).raw for other in others]
        full_name, kind = f"llvm.{name}.f{self.format.bits}", self.raw.type
        function = declared(self.builder.module, full_name, kind, *[kind] * len(values))
        return self.wrap(self.builder.call(function, values))

    def _arithmetic(self, name: str, other: _Value | float) -> _Value:
        # numba gives the fast-math flags of the kernel to every instruction that has none.  To keep
        # these as written, each gets one flag that means nothing to it.
        right = self.lift(other).raw
        if self.is_float:
            flag = "contract" if name == "div" else "arcp"
            return self.wrap(getattr(self.builder, f"f{name}")(self.raw, right, flags=(flag,)))
        return self.wrap(getattr(self.builder, name)(self.raw, right))

    def __add__(self, other: _Value | float) -> _Value:
        return self._arithmetic("add", other)

    def __sub__(self, other: _Value | float) -> _Value:
        return self._arithmetic("sub", other)

    def __rsub__(self, other: float) -> _Value:
        return self.constant(other) - self

    def __mul__(self, other: _Value | float) -> _Value:
        return self._arithmetic("mul", other)

    def __truediv__(self, other: _Value | float) -> _Value:
        return self._arithmetic("div", other)

    def __mod__(self, other: _Value) -> _Value:
        return self._arithmetic("rem", other)

    def __neg__(self) -> _Value:
        return self.wrap(self.builder.fneg(self.raw))

    def __abs__(self) -> _Value:
        return self.call("fabs")

    def __lshift__(self, count: int) -> _Value:
        return self.wrap(self.builder.shl(self.raw, self.constant(count).raw))

    def __rshift__(self, count: int) -> _Value:
        return self.wrap(self.builder.ashr(self.raw, self.constant(count).raw))

    def __and__(self, other: _Value | int) -> _Value:
        return self.wrap(self.builder.and_(self.raw, self.lift(other).raw))

    def __or__(self, other: _Value | int) -> _Value:
        return self.wrap(self.builder.or_(self.raw, self.lift(other).raw))

    def __xor__(self, other: _Value | int) -> _Value:
        return self.wrap(self.builder.xor(self.raw, self.lift(other).raw))

    def compare(self, operator: str, other: _Value | float) -> _Value:
        """Return the condition `self operator other`; with a NaN it is false, except for ``!=``."""
        right = self.lift(other).raw
        if not self.is_float:
            return self.wrap(self.builder.icmp_signed(operator, self.raw, right))
        if operator == "!=":
            return self.wrap(
                self.builder.fcmp_unordered(operator, self.raw, right, flags=("contract",))
            )
        return self.wrap(self.builder.fcmp_ordered(operator, self.raw, right, flags=("contract",)))

    def __lt__(self, other: _Value | float) -> _Value:
        return self.compare("<", other)

    def __gt__(self, other: _Value | float) -> _Value:
        return self.compare(">", other)

    def negated(self) -> _Value:
        """Return the condition that holds where this does not."""
        return self.wrap(self.builder.not_(self.raw))

    def equals(self, other: _Value | float) -> _Value:
        """Return the condition `self == other`."""
        return self.compare("==", other)

    def is_nan(self) -> _Value:
        """Return the condition that this is a NaN."""
        return self.compare("!=", self)

    def where(self, condition: _Value, otherwise: _Value | float) -> _Value:
        """Return this value where `condition` holds and `otherwise` elsewhere, without a branch."""
        return self.wrap(self.builder.select(condition.raw, self.raw, self.lift(otherwise).raw))

    def at_least(self, limit: float) -> _Value:
        """Return the larger of this and `limit`; a NaN stays."""
        return self.constant(limit).where(self < limit, self)

    def at_most(self, limit: float) -> _Value:
        """Return the smaller of this and `limit`; a NaN stays."""
        return self.constant(limit).where(self > limit, self)

    def with_sign(self, other: _Value) -> _Value:
        """Return this magnitude with the sign of `other`."""
        return self.call("copysign", other)

    def times_plus(self, factor: _Value | float, term: _Value | float) -> _Value:
        """Return self * factor + term, rounded once if the processor can do it in one instruction."""
        return self.call("fmuladd", factor, term)

    def fused(self, factor: _Value | float, term: _Value | float) -> _Value:
        """Return self * factor + term, always rounded once.

        Slow where the processor has no such instruction.
        """
        return self.call("fma", factor, term)

    def to_bits(self) -> _Value:
        """Return the bit pattern of a float as an integer."""
        return self.wrap(self.builder.bitcast(self.raw, self.format.int_type))

    def from_bits(self) -> _Value:
        """Return the float of which this integer is the bit pattern."""
        return self.wrap(self.builder.bitcast(self.raw, self.format.type))

    def to_float(self) -> _Value:
        """Return an integer as a float."""
        return self.wrap(self.builder.sitofp(self.raw, self.format.type))

    def to_format(self, fmt: _Format) -> _Value:
        """Return this float in another format."""
        convert = self.builder.fpext if fmt.bits > self.format.bits else self.builder.fptrunc
        return _Value(self.builder, fmt, convert(self.raw, fmt.type))


def _horner(x: _Value, coefficients: Sequence[float]) -> _Value:
    """Evaluate a polynomial, lowest degree first, by Horner's rule."""
    value = x.constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value.times_plus(x, coefficient)
    return value


def _polynomial(x: _Value, coefficients: Sequence[float]) -> _Value:
    """Evaluate a polynomial, lowest degree first.

    A long one is split into its even and its odd terms, each summed by Horner's rule in x**2.  The
    two sums do not wait for each other, which halves the chain of dependent steps for one
    multiplication more.
    """
    if len(coefficients) <= 4:
        return _horner(x, coefficients)
    square = x * x
    return _horner(square, coefficients[1::2]).times_plus(x, _horner(square, coefficients[0::2]))


def _bits_of(number: float, fmt: _Format) -> int:
    """Return the bit pattern of a number in a format."""
    float_code, int_code = ("f", "i") if fmt.bits == 32 else ("d", "q")
    return int(struct.unpack(int_code, struct.pack(float_code, number))[0])


# --- Making intrinsics of formulas ----------------------------------------------------------------


def prefer_wide_vectors(builder: Any) -> None:
    """Let LLVM use 512-bit vectors in the function being built, if the processor has them.

    For many processors LLVM limits itself to half of that, which costs up to a third of the speed
    here.  The preference is an attribute of the one function and changes nothing elsewhere.
    """
    # llvmlite checks names against a list that lacks this attribute; the set below the check takes
    # it.
    set.add(builder.function.attributes, '"prefer-vector-width"="512"')


def _float_type(*arguments: Any) -> Any:
    """Return the float type in which a call with arguments of these numba types is computed."""
    floats = [argument for argument in arguments if isinstance(argument, types.Float)]
    others = [
        argument for argument in arguments if not isinstance(argument, (types.Float, types.Integer))
    ]
    if others or any(argument.bitwidth not in (32, 64) for argument in floats):
        raise TypingError(
            f"expected float32, float64 or integer arguments, got {', '.join(map(str, arguments))}"
        )
    return max(floats, key=lambda argument: int(argument.bitwidth), default=types.float64)


# How each function of this module is written, by its name: ``write(builder, *arguments)`` puts the
# instructions where the builder stands and returns the result. All arguments are floats of one
# format; `select` has a condition before them.
FORMULAS: dict[str, Callable[..., Any]] = {}


def _emit(formula: Callable[..., _Value]) -> Callable[..., Any]:
    """Return the code generator, as numba calls it, of a formula over floats of one format."""

    def write(builder: Any, *arguments: Any) -> Any:
        fmt = _FLOAT64 if isinstance(arguments[0].type, ir.DoubleType) else _FLOAT32
        return formula(*[_Value(builder, fmt, argument) for argument in arguments]).raw

    return _generator(formula.__name__, write)


def _generator(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
    """Return the code generator, as numba calls it, of what `write` writes; remember it by name."""
    FORMULAS[name] = write

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        prefer_wide_vectors(builder)
        return write(builder, *arguments)

    return generate


def _unary(formula: Callable[[_Value], _Value]) -> Any:
    """Make a numba intrinsic of a formula of one argument."""
    generate = _emit(formula)

    @functools.wraps(formula)
    def typer(typing_context: Any, x: Any) -> Any:
        float_type = _float_type(x)
        return float_type(float_type), generate

    del typer.__wrapped__  # numba looks at the signature
    return intrinsic(typer)


def _binary(formula: Callable[[_Value, _Value], _Value]) -> Any:
    """Make a numba intrinsic of a formula of two arguments."""
    generate = _emit(formula)

    @functools.wraps(formula)
    def typer(typing_context: Any, a: Any, b: Any) -> Any:
        float_type = _float_type(a, b)
        return float_type(float_type, float_type), generate

    del typer.__wrapped__
    return intrinsic(typer)


def _wide_vectors(typing_context: Any) -> Any:
    """Let LLVM use 512-bit vectors in the kernel that calls this, if the processor has them.

    The functions of this module do so by themselves where they are called; a kernel that calls none
    of them directly may call this.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        prefer_wide_vectors(builder)
        return context.get_dummy_value()

    return types.void(), generate


wide_vectors = intrinsic(_wide_vectors)


@contextlib.contextmanager
def interleaving() -> Iterator[None]:
    """Let LLVM interleave iterations of long loops in the kernels compiled inside the ``with`` block.

    A formula of this module is one long chain of dependent instructions.  LLVM works on several
    vectors at once only in loops it holds to be short; with a higher limit the kernels here take 10
    to 35 % less time.  The limit is global to the process: it is raised while the compiler lock is
    held, and then restored.  Kernels loaded from a cache keep what they were compiled with.
    """
    with global_compiler_lock:
        llvmlite.binding.set_option("", "-small-loop-cost=400")
        try:
            yield
        finally:
            llvmlite.binding.set_option("", "-small-loop-cost=20")  # LLVM's default


# --- Exponential family ---------------------------------------------------------------------------


def _reduce_exp(x: _Value, polynomial: Sequence[float] | None = None) -> tuple[_Value, _Value]:
    """Write exp(x) as (1 + q) * s**2 with s = 2**m and q = expm1(r), where r = x - m ln 4 and abs(r) <= ln 2.

    The square keeps s a normal number even where exp(x) is subnormal or just overflows.  Rounding
    to an integer is done by adding a large number whose unit in the last place is one; as the low
    bits of the sum hold m plus the exponent bias, a shift makes s of them.

    Parameters
    ----------
    x : _Value
        Between the format's `exp_low` and `exp_high`, or NaN.
    polynomial : sequence of float, optional
        In place of the format's `expm1_poly`.

    Returns
    -------
    q, s : _Value
    """
    fmt = x.format
    whole = 1.5 * 2.0**fmt.fraction + fmt.bias
    shifted = x.times_plus(0.5 / _LN2, whole)
    s = (shifted.to_bits() << fmt.fraction).from_bits()
    m = shifted - whole
    r = m.times_plus(-2.0 * fmt.ln2_low, m.times_plus(-2.0 * fmt.ln2_high, x))
    q = (r * r).times_plus(_polynomial(r, polynomial or fmt.expm1_poly), r)
    return q, s


def _exp_of(x: _Value, polynomial: Sequence[float] | None = None) -> _Value:
    """Return exp(x) for x not above the format's `exp_high`, or NaN."""
    q, s = _reduce_exp(x.at_least(x.format.exp_low), polynomial)
    return (q + 1.0) * s * s


def _expm1_of(x: _Value) -> _Value:
    """Return exp(x) - 1 = s (s q + (s - 1/s)) for x between the format's `exp_low` and `exp_high`, or NaN."""
    q, s = _reduce_exp(x)
    inverse = (2 * _bits_of(1.0, x.format) - s.to_bits()).from_bits()
    return s * s.times_plus(q, s - inverse)


@_unary
def exp(x: _Value) -> _Value:
    """Exponential: exp(r) 2**2m.  Error: float32 1.6 ulp, float64 1.4 ulp."""
    return _exp_of(x.at_most(x.format.exp_high))


@_unary
def expm1(x: _Value) -> _Value:
    """Exponential less one, without cancellation.  Error: float32 1.6 ulp, float64 1.6 ulp."""
    return _expm1_of(x.at_least(x.format.exp_low).at_most(x.format.exp_high)).with_sign(x)


@_unary
def tanh(x: _Value) -> _Value:
    """Hyperbolic tangent.

    In float32 it is 2 n d / (d**2 + n**2), where n / d = tanh(abs(x) / 2) is a ratio of short
    polynomials; doubling the argument damps the rounding errors of n and d near one.  In float64 it
    is E / (E + 2) with E = exp(2 abs(x)) - 1. Error: float32 3.5 ulp (over all arguments), float64
    2.3 ulp.
    """
    magnitude = abs(x).at_most(x.format.tanh_one)
    if x.format.tanh_ratio:
        square = magnitude * magnitude
        n, d = (_polynomial(square, coefficients) for coefficients in x.format.tanh_ratio)
        n = n * magnitude
        result = ((n + n) * d / n.times_plus(n, d * d)).at_most(1.0)
    else:
        e = _expm1_of(magnitude + magnitude)
        result = e / (e + 2.0)
    return result.with_sign(x)


@_unary
def sigmoid(x: _Value) -> _Value:
    """Logistic function 1 / (1 + exp(-x)).

    With z = exp(-abs(x)) it is 1 / (1 + z) or z / (1 + z), so nothing overflows and the smallest
    results are right too. Error: float32 3.4 ulp, float64 3.1 ulp.
    """
    z = _exp_of(-abs(x))
    return z.where(x < 0.0, 1.0) / (z + 1.0)


@_unary
def erf(x: _Value) -> _Value:
    """Error function, 1 - exp(log(1 - erf(x))) with a polynomial for the logarithm.

    Error: float32 2.0 ulp, float64 1.7 ulp.
    """
    magnitude = abs(x).at_most(x.format.erf_one)
    small = magnitude * _polynomial(magnitude, x.format.erf_poly)
    return _expm1_of(magnitude.times_plus(x.format.erf_slope, small)).with_sign(x)


# --- Logarithm family -----------------------------------------------------------------------------


def _split(x: _Value) -> tuple[_Value, _Value]:
    """Write a positive normal x as 2**e (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2).

    Return the integer e, and f.
    """
    fmt = x.format
    base = _bits_of(_SQRT_HALF, fmt)
    offset = x.to_bits() - base
    significand = (offset & ((1 << fmt.fraction) - 1)) + base
    return offset >> fmt.fraction, significand.from_bits() - 1.0


def _join_log(e: _Value, f: _Value, polynomial: Sequence[float] | None = None) -> _Value:
    """Return e ln 2 + log(1 + f), adding the small parts first."""
    square = f * f
    small = (square * f).times_plus(
        _polynomial(f, polynomial or f.format.log_poly), e * f.format.ln2_low
    )
    return e.times_plus(f.format.ln2_high, f + square.times_plus(-0.5, small))


def _log1p_of(x: _Value) -> _Value:
    """Return log(1 + x) for finite x > -1.

    The error of rounding u = 1 + x, scaled by the power of two taken out of u, is added back to f.
    """
    fmt = x.format
    u = x + 1.0
    e, f = _split(u)
    twice_scale = (_bits_of(2.0, fmt) - (e << fmt.fraction)).from_bits()
    error = x - (u - 1.0)
    return _join_log(e.to_float(), (error * twice_scale).times_plus(0.5, f))


def _log_limits(x: _Value, zero: float, inner: _Value) -> _Value:
    """Return `inner`, but the limits of a logarithm where its argument is zero (x = `zero`), less, infinite or NaN."""
    outer = x.constant(-math.inf).where(x.equals(zero), math.nan)
    return inner.where(x < math.inf, x).where(x > zero, outer)


@_unary
def log(x: _Value) -> _Value:
    """Natural logarithm; -inf at zero, NaN below.  Error: float32 0.9 ulp, float64 0.8 ulp."""
    fmt = x.format
    subnormal = x < 2.0 ** (1 - fmt.bias)
    e, f = _split((x * 2.0**fmt.fraction).where(subnormal, x))
    shift = x.constant(-float(fmt.fraction)).where(subnormal, 0.0)
    return _log_limits(x, 0.0, _join_log(e.to_float() + shift, f))


@_unary
def log1p(x: _Value) -> _Value:
    """Logarithm of 1 + x without cancellation; -inf at -1, NaN below.

    Error: float32 1.5 ulp, float64 1.4 ulp.
    """
    return _log_limits(x, -1.0, _log1p_of(x).with_sign(x))


@_unary
def softplus(x: _Value) -> _Value:
    """Logarithm of 1 + exp(x), as max(x, 0) + log(1 + exp(-abs(x))).

    Error: float32 2.8 ulp, float64 2.4 ulp.
    """
    return x.at_least(0.0) + _log1p_of(_exp_of(-abs(x)))


@_unary
def log_sigmoid(x: _Value) -> _Value:
    """Logarithm of sigmoid(x), as min(x, 0) - log(1 + exp(-abs(x))).

    Error: float32 2.8 ulp, float64 2.4 ulp.
    """
    return x.at_most(0.0) - _log1p_of(_exp_of(-abs(x)))


@_binary
def logaddexp(a: _Value, b: _Value) -> _Value:
    """Logarithm of exp(a) + exp(b), as max(a, b) + log(1 + exp(-abs(a - b))).

    Error: 3 ulp of the largest of abs(a), abs(b) and the result; near zero the two terms cancel, as
    in NumPy.
    """
    larger = a.where(a > b, b)
    return (a + _LN2).where(a.equals(b), larger + _log1p_of(_exp_of(-abs(a - b))))


# --- Sine and cosine ------------------------------------------------------------------------------

_TURN_PRECISION = 1400  # bits after the point: enough for the last part of the last row


@functools.cache
def _two_over_pi() -> int:
    """Return 2 / pi in fixed point, from Machin's formula pi / 4 = 4 arctan(1/5) - arctan(1/239)."""
    one = 1 << (_TURN_PRECISION + 64)

    def arctan_of_inverse(n: int) -> int:
        power, total, divisor = one // n, 0, 1
        while power:
            total += power // divisor if divisor % 4 == 1 else -(power // divisor)
            power //= n * n
            divisor += 2
        return total

    half_pi = 8 * arctan_of_inverse(5) - 2 * arctan_of_inverse(239)
    return (one << _TURN_PRECISION) // half_pi


def _turn_parts(k: int, count: int) -> list[float]:
    """Return the number in [-2, 2) that equals 2**k (2 / pi) modulo 4, as a sum of `count` floats of falling size."""
    one = 1 << _TURN_PRECISION
    rest = ((_two_over_pi() << k) + 2 * one) % (4 * one) - 2 * one
    parts = []
    for _ in range(count):
        parts.append(rest / one)
        numerator, denominator = parts[-1].as_integer_ratio()
        rest -= numerator * one // denominator
    return parts


def _turn_rows(x: _Value) -> tuple[_Value, list[_Value]]:
    """Write the float64 x (2 / pi) modulo 4 as x 2**-k times a sum of four parts, looked up in a table of all k.

    Where k = exponent(x) - 52 is positive, x 2**-k is a whole number, so whole turns can be left
    out of the other factor; elsewhere k is zero.
    """
    builder, fmt = x.builder, x.format
    rows, parts = fmt.bias + 2 - fmt.fraction, 4
    table_type = ir.ArrayType(ir.DoubleType(), rows * parts)
    name = "tinygrad_rnn.turns"
    table = builder.module.globals.get(name)
    if table is None:
        table = ir.GlobalVariable(builder.module, table_type, name)
        table.initializer = ir.Constant(
            table_type, [part for k in range(rows) for part in _turn_parts(k, parts)]
        )
        table.global_constant = True
        table.linkage = "internal"
    exponent = (abs(x).to_bits() >> fmt.fraction) - (fmt.bias + fmt.fraction)
    k = exponent.where(exponent > 0, 0)
    scale = ((fmt.bias - k) << fmt.fraction).from_bits()
    zero = ir.Constant(fmt.int_type, 0)
    places = [(k * parts + part).raw for part in range(parts)]
    return x * scale, [
        x.wrap(builder.load(builder.gep(table, [zero, place], inbounds=True))) for place in places
    ]


def _turn_groups(x: _Value) -> tuple[_Value, list[_Value]]:
    """Write the float32 x (2 / pi) modulo 4 as x 2**-k times a sum of two float64 parts, for k = 0, 21, 42, 63 or 84.

    A float32 has so few bits that x 2**-k may be a whole number of up to 45 bits, so five rows of
    the table do.
    """
    magnitude = abs(x)
    first, *others = [[2.0**-k, *_turn_parts(k, 2)] for k in (0, 21, 42, 63, 84)]
    wide = x.to_format(_FLOAT64)
    chosen = [wide.constant(number) for number in first]
    for limit, row in zip((2.0**45, 2.0**66, 2.0**87, 2.0**108), others, strict=True):
        chosen = [
            old.where(magnitude < limit, number) for old, number in zip(chosen, row, strict=True)
        ]
    scale, *parts = chosen
    return wide * scale, parts


def _two_sum(a: _Value, b: _Value) -> tuple[_Value, _Value]:
    """Return a + b as its rounded value and the rounding error."""
    total = a + b
    a_part = total - b
    return total, (a - a_part) + (b - (total - a_part))


def _reduce_angle(x: _Value) -> tuple[_Value, _Value]:
    """Write x as r + n pi / 2 with abs(r) <= pi / 4.

    Return r, and an integer that equals n modulo 4.

    The method is that of Payne and Hanek: only those digits of 2 / pi are used which decide the
    angle within a turn. A float32 is reduced in float64, where two parts do.
    """
    whole = 1.5 * 2.0**52
    if x.format is _FLOAT32:
        scaled, (first, second) = _turn_groups(x)
        product = scaled * first
        rest = scaled.times_plus(second, scaled.fused(first, -product))
        shifted = (product + rest) + whole
        turns = (product - (shifted - whole)) + rest
        n = shifted.to_bits()
        narrow = x.builder.trunc(n.raw, x.format.int_type)
        r = (turns * _HALF_PI).to_format(x.format)
        return x.where(abs(x) < 0.78, r), x.wrap(narrow)

    scaled, parts = _turn_rows(x)
    products = [scaled * part for part in parts]
    errors = [
        scaled.fused(part, -product) for part, product in zip(parts[:3], products, strict=False)
    ]
    quarters = products[0] - (products[0] * 0.25).call("rint") * 4.0
    shifted = (quarters + (errors[0] + products[1])) + whole
    # From here on the sum may cancel to nearly nothing, so every rounding error is kept.
    total, tail = _two_sum(quarters - (shifted - whole), errors[0])
    for term in (products[1], errors[1], products[2]):
        total, error = _two_sum(total, term)
        tail = tail + error
    turns = total + (tail + (errors[2] + products[3]))
    return x.where(abs(x) < 0.78, turns * _HALF_PI), shifted.to_bits()


def _sine_at(r: _Value, n: _Value) -> _Value:
    """Return sin(r + n pi / 2) for abs(r) <= pi / 4."""
    fmt = r.format
    square = r * r
    sine = (r * square).times_plus(_polynomial(square, fmt.sin_poly), r).with_sign(r)
    cosine = (square * square).times_plus(
        _polynomial(square, fmt.cos_poly), square.times_plus(-0.5, 1.0)
    )
    value = sine.where((n & 1).equals(0), cosine)
    return (value.to_bits() ^ ((n & 2) << (fmt.bits - 2))).from_bits()


@_unary
def sin(x: _Value) -> _Value:
    """Sine, for arguments of any size.  Error: float32 1.6 ulp, float64 2.3 ulp."""
    return _sine_at(*_reduce_angle(x))


@_unary
def cos(x: _Value) -> _Value:
    """Cosine, for arguments of any size.  Error: float32 1.6 ulp, float64 2.3 ulp."""
    r, n = _reduce_angle(x)
    return _sine_at(r, n + 1)


# --- Powers and roots -----------------------------------------------------------------------------


@_unary
def sqrt(x: _Value) -> _Value:
    """Square root, correctly rounded."""
    return x.call("sqrt")


# As `log_poly`, in float64 with an error of 2**-38 only.
# fmt: off
_SHORT_LOG_POLY = (
    0.3333333339918564, -0.2500000112570931, 0.1999998926005879, -0.1666653245952339, 0.14286179145928882,
    -0.12505713575533467, 0.1110547066167499, -0.09889383981943388, 0.09040201521642144, -0.09286954409971288,
    0.09115752757306071, -0.04822599896241535,
)
# fmt: on


@_binary
def power(a: _Value, b: _Value) -> _Value:
    """Power, as C's pow: where a is negative and b is not whole, it is NaN.

    Where b is 0.5 it is the square root: of -0.0 -0.0, of -inf NaN.

    In float32 it is exp(b log(abs(a))) computed in float64; in float64 it is the C library's
    function, called for one element at a time.  Error: float32 0.6 ulp, float64 as the library.
    """
    root, half = a.call("sqrt"), b.equals(0.5)
    if a.format is _FLOAT64:
        return root.where(half, a.call("pow", b))
    magnitude = abs(a).to_format(_FLOAT64)
    e, f = _split(magnitude)
    logarithm = _log_limits(magnitude, 0.0, _join_log(e.to_float(), f, _SHORT_LOG_POLY))
    exponent = b.to_format(_FLOAT64) * logarithm
    result = _exp_of(exponent.at_most(_FLOAT64.exp_high), _FLOAT32.expm1_poly).to_format(a.format)
    middle = b * 0.5
    whole = b.call("floor").equals(b)
    odd = whole & (middle.call("floor").compare("!=", middle))
    result = result.with_sign(a).where(odd, result)
    result = a.constant(math.nan).where((a < 0.0) & (a > -math.inf) & whole.negated(), result)
    infinite_root_of_one = abs(a).equals(1.0) & abs(b).equals(math.inf)
    return root.where(
        half, a.constant(1.0).where(b.equals(0.0) | a.equals(1.0) | infinite_root_of_one, result)
    )


# --- Functions of libraries -----------------------------------------------------------------------


def _called(x: _Value, function: str, *others: _Value, switch: bool = False) -> _Value:
    """Call a function of doubles by its name, for one element at a time; float32 goes by float64.

    With a `switch` it takes a whole number besides, which is 0.
    """
    values = [v.to_format(_FLOAT64) if v.format is _FLOAT32 else v for v in (x, *others)]
    kinds = [_FLOAT64.type] * len(values)
    raw = [v.raw for v in values]
    if switch:
        kinds.append(ir.IntType(32))
        raw.append(ir.Constant(ir.IntType(32), 0))
    known = declared(x.builder.module, function, _FLOAT64.type, *kinds)
    known.attributes.add("nounwind")
    found = _Value(x.builder, _FLOAT64, x.builder.call(known, raw))
    return found.to_format(x.format) if x.format is _FLOAT32 else found


# The C library's functions, by our names. Error: float32 0.6 ulp, float64 as the library.
LIBRARY = {
    "tan": "tan",
    "sinh": "sinh",
    "cosh": "cosh",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "log2": "log2",
    "log10": "log10",
    "exp2": "exp2",
    "arctan2": "atan2",
    "hypot": "hypot",
}
# SciPy's functions, of which `loops/launch.py` says where they are. Error: as SciPy's.
OF_SCIPY = {"erfc": "erfc", "erfinv": "erfinv", "lgamma": "gammaln", "digamma": "psi"}


def _library(name: str, function: str, *, pair: bool = False, switch: bool = False) -> Any:
    def one(x: _Value) -> _Value:
        return _called(x, function, switch=switch)

    def two(a: _Value, b: _Value) -> _Value:
        return _called(a, function, b)

    formula: Any = two if pair else one
    formula.__name__ = formula.__qualname__ = name
    formula.__doc__ = f"`{function}` of a library."
    return _binary(formula) if pair else _unary(formula)


def symbol(name: str) -> str:
    """Return the name by which machine code finds a function of SciPy's."""
    return f"tinygrad_rnn_scipy_{name}"


for _name, _function in LIBRARY.items():
    globals()[_name] = _library(_name, _function, pair=_name in ("arctan2", "hypot"))
_intrinsics = {name: _library(name, symbol(name), switch=True) for name in OF_SCIPY}


def __getattr__(name: str) -> Any:
    """Return an intrinsic that calls SciPy, when code that uses it is compiled or loaded.

    numba finds what it calls among LLVM's symbols, so SciPy is loaded then.
    """
    if name not in _intrinsics:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    for found, address in scipy_addresses().items():
        llvmlite.binding.add_symbol(found, address)
    return _intrinsics[name]


@functools.cache
def scipy_addresses() -> dict[str, int]:
    """Return where SciPy's functions are, by their symbols."""
    import ctypes

    from scipy.special import cython_special

    name_of, address_of = (
        getattr(ctypes.pythonapi, f"PyCapsule_Get{part}") for part in ("Name", "Pointer")
    )
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address_of.restype, address_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    offered, found = cython_special.__pyx_capi__, {}
    for ours, name in OF_SCIPY.items():
        for capsule in (offered.get(f"{start}{name}") for start in ("", *_FUSED)):
            kind = b"" if capsule is None else name_of(capsule)
            if kind == b"double (double, int __pyx_skip_dispatch)":
                found[symbol(ours)] = address_of(capsule, kind)
    return found


_FUSED = ("__pyx_fuse_0", "__pyx_fuse_1")


@_binary
def polygamma(x: _Value, n: _Value) -> _Value:
    """Derivative of order n of the digamma function, for a whole n of at least 1.

    It is (-1)**(n + 1) n! times the sum of (x + k)**(-n - 1) over k = 0, 1, ...: the terms up to
    x + k = 10 one by one, and the rest by the formula of Euler and Maclaurin. At 0, -1, ... it is
    infinite, as SciPy's. Computed in float64.
    """
    if x.format is _FLOAT32:
        wide = polygamma_wide(x.to_format(_FLOAT64), n.to_format(_FLOAT64))
        return wide.to_format(_FLOAT32)
    return polygamma_wide(x, n)


# B(2j) / (2j)! of the Bernoulli numbers
_BERNOULLI = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
    1 / 74724249600, -3617 / 10670622842880000,
)  # fmt: skip


def polygamma_wide(x: _Value, n: _Value) -> _Value:
    """Write `polygamma` of float64; the first terms are a loop."""
    builder, power = x.builder, -(n + 1.0)
    before = builder.block
    head, body, after = (
        builder.append_basic_block(f"polygamma.{name}") for name in ("head", "body", "end")
    )
    pole = x.call("floor").equals(x) & (x < 0.5)
    start = x.constant(1.0).where(pole, x)
    builder.branch(head)
    builder.position_at_end(head)
    place, total = (x.wrap(builder.phi(_FLOAT64.type)) for _ in range(2))
    place.raw.add_incoming(start.raw, before)
    total.raw.add_incoming(x.constant(0.0).raw, before)
    builder.cbranch((place < 10.0).raw, body, after)
    builder.position_at_end(body)
    place.raw.add_incoming((place + 1.0).raw, builder.block)
    total.raw.add_incoming((total + place.call("pow", power)).raw, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    term = place.call("pow", power)
    rest = term * place / n + term * 0.5
    factor, term = n + 1.0, term / place
    for j, number in enumerate(_BERNOULLI):
        rest = rest + term * factor * number
        factor = factor * (n + (2.0 * j + 2.0)) * (n + (2.0 * j + 3.0))
        term = term / (place * place)
    rest = x.constant(0.0).where(x.equals(math.inf), rest)
    size = x.constant(math.inf).where(pole, (total + rest) * _called(n + 1.0, "tgamma"))
    half = n * 0.5
    return (-size).where(half.call("floor").equals(half), size)


# --- Rounding, signs and choices ------------------------------------------------------------------


@_unary
def floor(x: _Value) -> _Value:
    """Largest whole number not above x."""
    return x.call("floor")


@_unary
def ceil(x: _Value) -> _Value:
    """Smallest whole number not below x."""
    return x.call("ceil")


@_unary
def trunc(x: _Value) -> _Value:
    """Whole number next to x on the side of zero."""
    return x.call("trunc")


@_unary
def round(x: _Value) -> _Value:
    """Nearest whole number; of two that are as near, the even one."""
    return x.call("rint")


@_binary
def copysign(a: _Value, b: _Value) -> _Value:
    """Magnitude of a with the sign of b."""
    return a.with_sign(b)


@_binary
def floor_divide(a: _Value, b: _Value) -> _Value:
    """Whole number of times that b goes into a, as np.floor_divide; not vectorised.

    It is the floor of the exact quotient, where a / b may be rounded up to a whole number.
    """
    rest = a % b
    quotient = (a - rest) / b
    other = (rest < 0.0) ^ (b < 0.0)
    quotient = (quotient - 1.0).where(rest.compare("!=", 0.0) & other, quotient)
    floor = quotient.call("floor")
    nearest = (floor + 1.0).where((quotient - floor) > 0.5, floor)
    whole = a.constant(0.0).with_sign(a / b).where(quotient.equals(0.0), nearest)
    return (a / b).where(b.equals(0.0), whole)


@_binary
def mod(a: _Value, b: _Value) -> _Value:
    """Remainder with the sign of b, as np.mod; exact, but not vectorised."""
    remainder = a % b
    wrapped = (remainder + b).where((remainder < 0.0) ^ (b < 0.0), remainder)
    zero = b.constant(0.0).with_sign(b)
    return zero.where(remainder.equals(0.0), wrapped)


@_unary
def sign(x: _Value) -> _Value:
    """-1, 0 or 1; NaN of NaN."""
    return x.constant(1.0).with_sign(x).where(abs(x) > 0.0, x + 0.0)


@_unary
def absolute(x: _Value) -> _Value:
    """Magnitude."""
    return abs(x)


@_binary
def minimum(a: _Value, b: _Value) -> _Value:
    """Smaller of two numbers; NaN if either is."""
    return a.where((a < b) | a.is_nan(), b)


@_binary
def maximum(a: _Value, b: _Value) -> _Value:
    """Larger of two numbers; NaN if either is."""
    return a.where((a > b) | a.is_nan(), b)


def _select(typing_context: Any, condition: Any, a: Any, b: Any) -> Any:
    """Return `a` where the boolean `condition` holds and `b` elsewhere, without a branch."""
    if not isinstance(condition, types.Boolean):
        raise TypingError(f"expected a boolean condition, got {condition}")
    float_type = _float_type(a, b)
    return float_type(types.boolean, float_type, float_type), _choose


_choose = _generator("select", lambda builder, condition, a, b: builder.select(condition, a, b))


select = intrinsic(_select)


# --- Reductions -----------------------------------------------------------------------------------


def _reduction(name: str, write: Callable[[Any, Any, Any], Any]) -> Any:
    """Make the intrinsic of one step of a reduction over a loop, in a form that LLVM turns into one over vectors."""
    generate = _generator(name, write)

    def typer(typing_context: Any, total: Any, x: Any) -> Any:
        float_type = _float_type(total, x)
        return float_type(float_type, float_type), generate

    return intrinsic(typer)


def _extreme(name: str) -> Callable[[Any, Any, Any], Any]:
    def write(builder: Any, a: Any, b: Any) -> Any:
        function = builder.module.declare_intrinsic(
            name, [a.type], ir.FunctionType(a.type, [a.type, a.type])
        )
        return builder.call(function, [a, b])

    return write


# In a sum with `plus` LLVM may change the order of the additions, of these alone; `largest` and
# `smallest` are NaN if an element is.
plus = _reduction("plus", lambda builder, a, b: builder.fadd(a, b, flags=("reassoc",)))
largest = _reduction("largest", _extreme("llvm.maximum"))
smallest = _reduction("smallest", _extreme("llvm.minimum"))
