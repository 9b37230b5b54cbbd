"""Arithmetic of integers and booleans for generated code, equal to NumPy's to the bit.

Generated code holds every integer as int64, whatever its dtype; what is left to do for a narrow
dtype is to cut off the upper bits. The functions here are for what Python or numba does otherwise
than NumPy: division by zero, the smallest number divided by -1, floats that no integer can hold,
and all arithmetic that wraps around, of which LLVM must not be told that it does not overflow. Each
is a formula, as those of `scalar`: it writes its instructions where it is called, and exists only
inside jitted code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

SMALLEST = -9223372036854775808
INT = ir.IntType(64)
FUNCTIONS: dict[str, Callable[..., Any]] = {}  # ``write(builder, *arguments)``, by name


def _constant(value: int) -> Any:
    return ir.Constant(INT, value)


class Refusal(NamedTuple):
    """For which arguments a function is a ValueError in place of a number.

    Attributes
    ----------
    holds : callable
        ``holds(builder, *arguments)`` writes the condition.
    message : str
        In NumPy's words.
    """

    holds: Callable[..., Any]
    message: str


REFUSALS = {
    "int_power": Refusal(
        lambda builder, a, b: builder.icmp_signed("<", b, _constant(0)),
        "Integers to negative integer powers are not allowed.",
    )
}


def _integers(count: int) -> Callable[[Callable[..., Any]], Any]:
    """Make a numba intrinsic of what writes a function of so many integers."""

    def make(write: Callable[..., Any]) -> Any:
        name = write.__name__
        FUNCTIONS[name] = write

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            if (refusal := REFUSALS.get(name)) is not None:
                with builder.if_then(refusal.holds(builder, *arguments), likely=False):
                    context.call_conv.return_user_exc(builder, ValueError, (refusal.message,))
            return write(builder, *arguments)

        signature = types.int64(*[types.int64] * count)

        def of_one(typing_context: Any, x: Any) -> Any:
            return signature, generate

        def of_two(typing_context: Any, a: Any, b: Any) -> Any:
            return signature, generate

        typer = of_one if count == 1 else of_two
        typer.__name__, typer.__doc__ = name, write.__doc__
        return intrinsic(typer)

    return make


@_integers(2)
def int_add(builder: Any, a: Any, b: Any) -> Any:
    """Return a + b, which wraps around."""
    return builder.add(a, b)


@_integers(2)
def int_subtract(builder: Any, a: Any, b: Any) -> Any:
    """Return a - b, which wraps around."""
    return builder.sub(a, b)


@_integers(2)
def int_multiply(builder: Any, a: Any, b: Any) -> Any:
    """Return a * b, which wraps around."""
    return builder.mul(a, b)


@_integers(1)
def int_negative(builder: Any, x: Any) -> Any:
    """Return -x; for the smallest number that is the number itself."""
    return builder.sub(_constant(0), x)


@_integers(1)
def int_absolute(builder: Any, x: Any) -> Any:
    """Return the magnitude; for the smallest number that is the number itself."""
    negative = builder.icmp_signed("<", x, _constant(0))
    return builder.select(negative, builder.sub(_constant(0), x), x)


@_integers(1)
def int_sign(builder: Any, x: Any) -> Any:
    """Return the sign: -1, 0 or 1."""
    above = builder.zext(builder.icmp_signed(">", x, _constant(0)), INT)
    return builder.sub(above, builder.zext(builder.icmp_signed("<", x, _constant(0)), INT))


@_integers(2)
def int_maximum(builder: Any, a: Any, b: Any) -> Any:
    """Return the larger of two numbers."""
    return builder.select(builder.icmp_signed(">", a, b), a, b)


@_integers(2)
def int_minimum(builder: Any, a: Any, b: Any) -> Any:
    """Return the smaller of two numbers."""
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def modulo(builder: Any, a: Any, b: Any) -> Any:
    """Return the remainder of a / b, with the sign of b, which is neither 0 nor -1."""
    rest = builder.srem(a, b)
    other = builder.icmp_signed("<", builder.xor(rest, b), _constant(0))
    moved = builder.and_(other, builder.icmp_signed("!=", rest, _constant(0)))
    return builder.select(moved, builder.add(rest, b), rest)


@_integers(2)
def int_mod(builder: Any, a: Any, b: Any) -> Any:
    """Return the remainder of a / b, with the sign of b.

    It is 0 for b = 0, and for b = -1, by which the smallest number cannot be divided.
    """
    zero = builder.icmp_signed("==", b, _constant(0))
    none = builder.or_(zero, builder.icmp_signed("==", b, _constant(-1)))
    return builder.select(
        none, _constant(0), modulo(builder, a, builder.select(none, _constant(1), b))
    )


@_integers(2)
def int_floor_divide(builder: Any, a: Any, b: Any) -> Any:
    """Return a / b, rounded down.

    It is 0 for b = 0; the smallest number divided by -1 is the number itself.
    """
    zero, minus = (builder.icmp_signed("==", b, _constant(n)) for n in (0, -1))
    safe = builder.select(builder.or_(zero, minus), _constant(1), b)
    rest = builder.srem(a, safe)
    other = builder.icmp_signed("<", builder.xor(rest, safe), _constant(0))
    below = builder.and_(other, builder.icmp_signed("!=", rest, _constant(0)))
    found = builder.sub(builder.sdiv(a, safe), builder.zext(below, INT))
    negative = builder.sub(_constant(0), a)
    return builder.select(zero, _constant(0), builder.select(minus, negative, found))


@_integers(2)
def int_bit_and(builder: Any, a: Any, b: Any) -> Any:
    """Return the bits that both have."""
    return builder.and_(a, b)


@_integers(2)
def int_bit_or(builder: Any, a: Any, b: Any) -> Any:
    """Return the bits that one has."""
    return builder.or_(a, b)


@_integers(2)
def int_bit_xor(builder: Any, a: Any, b: Any) -> Any:
    """Return the bits that only one has."""
    return builder.xor(a, b)


@_integers(1)
def int_bit_not(builder: Any, x: Any) -> Any:
    """Return the bits that it has not."""
    return builder.xor(x, _constant(-1))


def _within(builder: Any, count: Any) -> tuple[Any, Any]:
    """Return whether bits can be moved by so many places, and a number for which they can."""
    fits = builder.icmp_unsigned("<", count, _constant(64))
    return fits, builder.select(fits, count, _constant(0))


@_integers(2)
def int_shift_left(builder: Any, a: Any, b: Any) -> Any:
    """Return the bits moved up; by more places than there are, or fewer than 0, that is 0."""
    fits, count = _within(builder, b)
    return builder.select(fits, builder.shl(a, count), _constant(0))


@_integers(2)
def int_shift_right(builder: Any, a: Any, b: Any) -> Any:
    """Return the bits moved down, with the sign repeated above; beyond all places that is 0 or -1."""
    fits, count = _within(builder, b)
    return builder.ashr(a, builder.select(fits, count, _constant(63)))


@_integers(2)
def int_power(builder: Any, a: Any, b: Any) -> Any:
    """Return a ** b, which wraps around, by squaring; b is not negative (see `REFUSALS`)."""
    before = builder.block
    head, inside, after = (
        builder.append_basic_block(f"power.{name}") for name in ("head", "body", "end")
    )
    builder.branch(head)
    builder.position_at_end(head)
    found, square, left = (builder.phi(INT) for _ in range(3))
    for phi, start in ((found, _constant(1)), (square, a), (left, b)):
        phi.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed(">", left, _constant(0)), inside, after)
    builder.position_at_end(inside)
    odd = builder.icmp_signed("!=", builder.and_(left, _constant(1)), _constant(0))
    more = builder.select(odd, builder.mul(found, square), found)
    found.add_incoming(more, builder.block)
    square.add_incoming(builder.mul(square, square), builder.block)
    left.add_incoming(builder.ashr(left, _constant(1)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return found


@intrinsic
def int_select(typing_context: Any, condition: Any, a: Any, b: Any) -> Any:
    """Return `a` where the condition holds, else `b`. They may be booleans too."""
    kind = types.boolean if a == b == types.boolean else types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _select(builder, *arguments)

    return kind(types.boolean, kind, kind), generate


def _select(builder: Any, condition: Any, a: Any, b: Any) -> Any:
    if a.type != b.type:
        a, b = (v if v.type == INT else builder.zext(v, INT) for v in (a, b))
    return builder.select(condition, a, b)


FUNCTIONS["int_select"] = _select


def _floats(write: Callable[..., Any]) -> Any:
    """Make a numba intrinsic of what writes a function of one float to an integer."""
    FUNCTIONS[write.__name__] = write

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return write(builder, *arguments)

    def typer(typing_context: Any, x: Any) -> Any:
        return types.int64(x if isinstance(x, types.Float) else types.float64), generate

    typer.__name__, typer.__doc__ = write.__name__, write.__doc__
    return intrinsic(typer)


def _inside(builder: Any, x: Any, low: str, least: float, most: float, otherwise: int) -> Any:
    """Return a float as an integer if it is within bounds, else another number."""
    x = builder.fpext(x, ir.DoubleType()) if isinstance(x.type, ir.FloatType) else x
    above = builder.fcmp_ordered(low, x, ir.Constant(x.type, least))
    holds = builder.and_(above, builder.fcmp_ordered("<", x, ir.Constant(x.type, most)))
    safe = builder.select(holds, x, ir.Constant(x.type, 0.0))
    return builder.select(holds, builder.fptosi(safe, INT), _constant(otherwise))


@_floats
def int64_of(builder: Any, x: Any) -> Any:
    """Return a float as int64.

    A float that is none, such as nan, gives the smallest number, as x86 processors have it.
    """
    return _inside(builder, x, ">=", float(SMALLEST), -float(SMALLEST), SMALLEST)


@_floats
def int32_of(builder: Any, x: Any) -> Any:
    """Return a float as int32 in the same way; NumPy makes narrower integers of that."""
    return _inside(builder, x, ">", -2147483649.0, 2147483648.0, -2147483648)
