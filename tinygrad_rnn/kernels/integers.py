"""Arithmetic of integers and booleans for generated code, equal to NumPy's to the bit.

Generated code holds every integer as int64, whatever its dtype; what is left to do for a narrow
dtype is to cut off the upper bits. The functions here are for what Python or numba does otherwise
than NumPy: division by zero, the smallest number divided by -1, floats that no integer can hold,
and all arithmetic that wraps around. For signed numbers numba tells LLVM that sums, differences and
products do not overflow, and LLVM draws conclusions from that: it takes a * a >= 0 to be true,
though NumPy's product may be negative. So these are computed on the same bits as unsigned numbers.
The functions are ordinary Python, which numba compiles into the kernel that calls them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

SMALLEST = -9223372036854775808


@register_jitable
def _bits(x: Any) -> Any:
    """Return the bits of an integer as an unsigned number."""
    return np.uint64(np.int64(x))


@register_jitable
def int_add(a: Any, b: Any) -> Any:
    """Return a + b, which wraps around."""
    return np.int64(_bits(a) + _bits(b))


@register_jitable
def int_subtract(a: Any, b: Any) -> Any:
    """Return a - b, which wraps around."""
    return np.int64(_bits(a) - _bits(b))


@register_jitable
def int_multiply(a: Any, b: Any) -> Any:
    """Return a * b, which wraps around."""
    return np.int64(_bits(a) * _bits(b))


@register_jitable
def int_negative(x: Any) -> Any:
    """Return -x; for the smallest number that is the number itself."""
    return np.int64(np.uint64(0) - _bits(x))


@register_jitable
def int_absolute(x: Any) -> Any:
    """Return the magnitude; for the smallest number that is the number itself."""
    return np.int64(x) if x >= 0 else int_negative(x)


@register_jitable
def int_sign(x: Any) -> Any:
    """Return the sign: -1, 0 or 1."""
    return np.int64(x > 0) - np.int64(x < 0)


@register_jitable
def int_maximum(a: Any, b: Any) -> Any:
    """Return the larger of two numbers."""
    return np.int64(a) if a > b else np.int64(b)


@register_jitable
def int_minimum(a: Any, b: Any) -> Any:
    """Return the smaller of two numbers."""
    return np.int64(a) if a < b else np.int64(b)


@register_jitable
def int_select(condition: Any, a: Any, b: Any) -> Any:
    """Return `a` where the condition holds, else `b`. They may be booleans too."""
    return a if condition else b


@register_jitable
def int_mod(a: Any, b: Any) -> Any:
    """Return the remainder of a / b, with the sign of b.

    It is 0 for b = 0, and for b = -1, by which the smallest number cannot be divided.
    """
    if b == 0 or b == -1:
        return np.int64(0)
    return np.int64(a) % np.int64(b)


@register_jitable
def int_power(a: Any, b: Any) -> Any:
    """Return a ** b, which wraps around, by squaring; raise a ValueError for a negative b."""
    if b < 0:
        raise ValueError("Integers to negative integer powers are not allowed.")
    found, square, left = np.int64(1), np.int64(a), np.int64(b)
    while left > 0:
        if left & 1:
            found = int_multiply(found, square)
        square = int_multiply(square, square)
        left = left >> 1
    return found


@register_jitable
def int64_of(x: Any) -> Any:
    """Return a float as int64.

    A float that is none, such as nan, gives the smallest number, as x86 processors have it.
    """
    if x >= -9223372036854775808.0 and x < 9223372036854775808.0:
        return np.int64(x)
    return np.int64(SMALLEST)


@register_jitable
def int32_of(x: Any) -> Any:
    """Return a float as int32 in the same way; NumPy makes narrower integers of that."""
    if x > -2147483649.0 and x < 2147483648.0:
        return np.int64(x)
    return np.int64(-2147483648)
