"""Integers and booleans in compiled cells.

NumPy's numbers to the bit, as the plain steps give them, or a clear error.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import interpreting
from tinygrad_rnn.compiler import CompileError
from tinygrad_rnn.core.errors import DtypeError
from tinygrad_rnn.core.tree import leaves

DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
RNG = np.random.default_rng(11)
BORDERS = [
    0,
    1,
    -1,
    2,
    3,
    -3,
    7,
    100,
    127,
    128,
    -128,
    255,
    256,
    2**15,
    2**31 - 1,
    2**31,
    -(2**31),
    2**32 + 5,
    2**53 + 1,
    -(2**53) - 1,
    2**62,
    2**63 - 1,
    -(2**63),
]
F4 = np.zeros((3, 2, 4), np.float32)


def numbers(dtype: str, *shape: int) -> Any:
    """Random integers, many of them at the borders of the types."""
    return np.where(
        RNG.random(shape) < 0.5, RNG.choice(np.array(BORDERS), shape), RNG.integers(-10, 10, shape)
    ).astype(dtype)


def same(cell: Any, xs: Any, state: Any, *, compiled: bool = False, **options: Any) -> None:
    """The compiled cell gives the bits and the dtypes of the plain one."""
    with np.errstate(all="ignore"):
        expected = leaves(tg.unroll(cell, xs, state, **options))
        with contextlib.nullcontext() if compiled else interpreting():
            found = leaves(tg.unroll(tg.jit(cell), xs, state, **options))
    for k, (a, b) in enumerate(zip(expected, found, strict=True)):
        a, b = a.numpy(), b.numpy()
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), (
            f"result {k}: {a!r} and {b!r}"
        )


# --- the functions of generated code ----------------------------------------------------------------------------------------------


def called(function: Any) -> Any:
    """Return a function of generated code as one that Python calls, through numba."""
    import numba

    one = function.__name__ in ("int_absolute", "int_sign")
    return numba.njit((lambda x: function(x)) if one else (lambda a, b: function(a, b)))


def test_integer_functions_are_numpys() -> None:
    from tinygrad_rnn.kernels import integers

    pairs = [np.array(p) for p in zip(*itertools.product(BORDERS, BORDERS), strict=True)]
    with np.errstate(all="ignore"):
        for ours, numpys in (
            (integers.int_mod, np.mod),
            (integers.int_maximum, np.maximum),
            (integers.int_minimum, np.minimum),
        ):
            function = called(ours)
            np.testing.assert_array_equal(
                [function(a, b) for a, b in zip(*pairs, strict=True)], numpys(*pairs)
            )
        for ours, numpys in ((integers.int_absolute, np.abs), (integers.int_sign, np.sign)):
            function = called(ours)
            np.testing.assert_array_equal([function(a) for a in pairs[0]], numpys(pairs[0]))
        exponents = np.array([0, 1, 2, 3, 5, 17, 63, 64])
        function = called(integers.int_power)
        for b in exponents:
            np.testing.assert_array_equal(
                [function(a, b) for a in np.array(BORDERS)], np.power(np.array(BORDERS), b)
            )
        with pytest.raises(ValueError, match="negative"):
            function(np.int64(2), np.int64(-1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_become_the_integers_that_numpy_makes(dtype: str) -> None:
    inside = np.array([0.0, -0.0, 0.9, -0.9, 1.5, -2.5, 100.7, -100.7, 126.9], dtype)
    xs = np.stack([inside, -np.abs(inside), np.abs(inside)])[:, None]
    same(lambda x, s: ((x.astype("int8"), x.astype("int16"), x.astype("int32"), x.astype("int64"), abs(x).astype("uint8"), abs(x).astype("uint32"), x.astype(bool)), s),
         xs, np.zeros((1, 1), dtype))  # fmt: skip
    wide = np.array(
        [2.0**31, -(2.0**31), 2.0**53, -(2.0**62), 1e18, 2.0**63, -1e30, np.inf, -np.inf, np.nan],
        dtype,
    )[None, None]
    for compiled in (False, True):  # out of range NumPy has what the processor gives
        same(
            lambda x, s: ((x.astype("int64"), x.astype("int32"), x.astype(bool)), s),
            wide,
            np.zeros((1, 1), dtype),
            compiled=compiled,
        )


# --- arithmetic in steps ----------------------------------------------------------------------------------------------------------


def arithmetic(x: Any, s: Any) -> Any:
    """Of two states of integers."""
    a, b = s
    small = b % 5
    out = [
        a + b,
        a - b,
        a * b,
        a % b,
        b % a,
        -a,
        abs(a),
        tg.sign(a),
        tg.square(a),
        tg.maximum(a, b),
        tg.minimum(a, b),
        tg.relu(b),
        tg.floor(a),
        +a,
    ]
    out += [
        a + 1,
        3 - a,
        a * 7,
        a % 3,
        100 % a,
        a**0,
        a**2,
        a**3,
        a**5,
        2**small,
        small**small,
        tg.clip(a, 2, 100),
        tg.clip(a, 3),
        tg.clip(a, high=9),
        a + True,
    ]
    out += [
        a < b,
        a <= b,
        a > b,
        a >= b,
        a == b,
        a != b,
        a < 100,
        a < 50,
        a == 7,
        a != -1,
        a < 2**40,
        a > -(2**40),
        a == 2**70,
        a < 2**70,
        a > -(2**70),
        a >= 2**63,
    ]
    out += [
        tg.where(a > b, a, b),
        tg.where(a > 0, a, 5),
        tg.where(a > 0, 1, a),
        tg.where(a > b, 1, 0),
        tg.isnan(a),
        tg.isfinite(a),
    ]
    out += [
        tg.max(a, axis=1),
        tg.min(a, axis=1),
        tg.argmax(a, axis=1),
        tg.logical_and(a, b),
        tg.logical_not(a),
        a / 4 - a / 4,
        a * 0.5 < 3.0,
    ]
    out += [a.astype(d) for d in (*DTYPES, "bool", "float32", "float64")]
    return tuple(out), (a * 3 + b, b - a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_of_integers_is_numpys(dtype: str) -> None:
    same(arithmetic, F4, (numbers(dtype, 2, 6), numbers(dtype, 2, 6)))


@pytest.mark.parametrize(
    ("one", "two"), [p for p in itertools.product(DTYPES, DTYPES) if p[0] < p[1]]
)
def test_integers_of_two_dtypes_are_promoted_as_in_numpy(one: str, two: str) -> None:
    def step(x: Any, s: Any) -> Any:
        a, b = s
        return (
            a + b,
            a * b,
            a - b,
            b % a,
            a < b,
            a == b,
            tg.maximum(a, b),
            tg.where(a > 0, a, b),
            a ** (b % 4),
        ), (a + b.astype(a.dtype), b * 3)

    same(step, F4, (numbers(one, 2, 6), numbers(two, 2, 6)))


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.full)])
def test_a_generator_of_random_numbers_in_the_state(compiled: bool) -> None:
    def step(x: Any, s: Any) -> Any:
        wide, narrow = s
        return ((wide % 1000).astype(np.float32), narrow % 100), (
            (wide * 1103515245 + 12345) % 2**31,
            narrow * 1664525 + 1013904223,
        )

    state = (np.array([[1, 2**31 - 1, 2**53 + 1, 7]]), np.array([[1, 2**31 - 1, -5, 0]], np.int32))
    same(step, np.zeros((50, 1, 1), np.float32), state, compiled=compiled)


def test_compiled_code_has_the_same_integers() -> None:
    """What numba makes of each kind of text; the tests above run the text itself."""

    def step(x: Any, s: Any) -> Any:
        a, n, u = s
        out = (a * 1103515245 + 12345, a % 7, 9 % a, a % n, abs(a), a**3, tg.maximum(a, 2**53 + 1), tg.where(a > n, a, 3), a == 2**70, a.astype("float32"),
               n * 3, -n, n % a, u * 200, u - 1, tg.max(a, axis=1), tg.sum(n, axis=1), n.astype("int8"), tg.sign(a), (n < u) ^ (a > 0))  # fmt: skip
        return out, (a * 3 - n, n * 5 + 1, u + 77)

    same(
        step,
        np.zeros((5, 2, 1), np.float32),
        (numbers("int64", 2, 8), numbers("int32", 2, 8), numbers("uint8", 2, 8)),
        compiled=True,
    )


def test_the_compiler_does_not_conclude_that_integers_never_overflow() -> None:
    """Of signed numbers LLVM may take a * a >= 0 and a + 1 > a for true, if it is told that nothing overflows."""

    def step(x: Any, s: Any) -> Any:
        square = s * s
        out = (square % 7, square >= 0, s + 1 > s, s - 1 < s, s * 2 >= s, tg.maximum(square, 0), tg.clip(square, 0, 100), tg.sign(square), tg.where(square < 0, 1, 2),
               s**2 >= 0, tg.square(s) >= 0, abs(square), -s <= 0, tg.sum(s, axis=1, keepdims=True) >= s, tg.cumsum(s, axis=1) >= s,
               s @ np.array([[3, 1], [1, 5]]) >= 0, tg.einsum("bi,bi->b", s, s) >= 0, tg.index_add(s, np.array([0, 0]), s, axis=1) >= s)  # fmt: skip
        return out, s * 3

    ends = [2**62 - 1, 2**63 - 1, -(2**63), 2**40, -(2**31), 2**32 - 1]
    same(
        step,
        np.zeros((3, 6, 1), np.float32),
        np.array([[a, 2**62 - 1] for a in ends]),
        compiled=True,
    )


def test_sums_and_products_of_integers() -> None:
    table = RNG.integers(-100, 100, (6, 3))

    def step(x: Any, s: Any) -> Any:
        wide, narrow = s
        places = np.array([0, 0, 1, 5, 5, 5])
        out = (tg.sum(wide, axis=1), tg.sum(narrow, axis=1), tg.cumsum(narrow, axis=1), wide @ table, narrow @ table.astype("int8"), tg.prod(narrow, axis=1),
               tg.einsum("bi,bj->bij", narrow, narrow), tg.einsum("bi,bi->b", wide, wide), tg.index_add(narrow, places, narrow, axis=1),
               tg.pad(narrow, ((0, 0), (1, 2)), 7), tg.one_hot(narrow % 4, 4), tg.cumsum(narrow > 0, axis=1), tg.sum(narrow > 0, axis=1))  # fmt: skip
        return out, (wide * 3, narrow * 3)

    same(step, F4, (numbers("int64", 2, 6), numbers("int8", 2, 6)))


def test_numbers_that_a_dtype_has_no_room_for() -> None:
    narrow = numbers("int8", 2, 4)
    for step in (lambda x, s: (s, s + 300), lambda x, s: (s, tg.maximum(s, -129)), lambda x, s: (s, 2**63 - s), lambda x, s: (s, s % 1000),
                 lambda x, s: (tg.where(s > 0, s, 300), s)):  # fmt: skip
        for cell in (step, tg.jit(step)):
            with pytest.raises(
                (ArithmeticError, ValueError), match=r"out of bounds for int8|too large to convert"
            ):
                tg.unroll(cell, F4, narrow)
    for cell in (lambda x, s: (s, s**-1), tg.jit(lambda x, s: (s, s**-1))):
        with pytest.raises((ArithmeticError, ValueError), match="negative integer powers"):
            tg.unroll(cell, F4, narrow)


def test_a_negative_exponent_among_the_values() -> None:
    def step(x: Any, s: Any) -> Any:
        return s**x, s

    xs = np.array([[[1, 2]], [[3, -1]]])
    for compiled in (False, True):
        with (
            contextlib.nullcontext() if compiled else interpreting(),
            pytest.raises(
                (ArithmeticError, ValueError), match=r"negative integer powers.*step t=1"
            ),
        ):
            tg.unroll(tg.jit(step), xs, np.array([[2, 3]]))


def test_counts_of_rows_among_integers() -> None:
    same(lambda x, s: (s * x.shape[0], s + 3 * x.shape[0] - 1), F4, numbers("int64", 2, 4))
    with (
        interpreting(),
        pytest.raises(
            CompileError, match=r"5 in one recording of the step and 6 in the other.*tg\.eager"
        ),
    ):
        tg.unroll(tg.jit(lambda x, s: (s * (x.shape[0] // 2), s)), F4, numbers("int64", 2, 4))


def test_unsigned_numbers_of_64_bits_are_refused() -> None:
    for step, state in (
        (lambda x, s: (s, s + 1), "uint64"),
        (lambda x, s: (tg.sum(s, axis=1), s), "uint8"),
    ):
        with (
            interpreting(),
            pytest.raises(
                CompileError, match=r"it is uint64; compiled are .*integers up to int64.*tg\.eager"
            ),
        ):
            tg.unroll(tg.jit(step), F4, np.ones((2, 4), state))


# --- booleans ---------------------------------------------------------------------------------------------------------------------


def logic(x: Any, s: Any) -> Any:
    """Of two states of booleans, and floats."""
    m, n = s
    out = [
        m | False,
        m & True,
        m ^ n,
        m ^ True,
        ~m,
        m & n,
        m | n,
        tg.where(m, True, False),
        tg.where(m, n, False),
        tg.where(m, True, n),
        tg.where(m, n, m),
    ]
    out += [
        tg.where(m, x > 0, x < 1),
        tg.logical_and(m, n),
        tg.logical_or(m, x),
        tg.logical_or(False, m),
        tg.logical_not(m),
        m == n,
        m != n,
        m < n,
        m >= n,
    ]
    out += [
        m == True,  # noqa: E712
        m == 1,
        m < 2,
        tg.maximum(m, n),
        tg.minimum(m, n),
        m + n,
        m * n,
        abs(m),
        tg.any(m, axis=1),
        tg.all(m, axis=1),
        tg.max(m, axis=1),
    ]
    out += [
        tg.min(m, axis=1),
        tg.argmax(m, axis=1),
        tg.sum(m, axis=1),
        tg.cumsum(m, axis=1),
        m * x,
        x + m,
        m * 1.5,
        m + 1,
        m - 1,
        m * 3,
        tg.where(m, 1, 0),
    ]
    out += [
        tg.where(m, 1.0, 0.0),
        tg.where(m, 5, True),
        m / 2,
        tg.maximum(x, m),
        m @ np.eye(4, dtype=bool),
        m.astype("int8"),
        m**2,
        m % 2,
        tg.square(m),
    ]
    out += [
        tg.concatenate([m, n], axis=1),
        tg.stack([m, n], axis=1),
        m[:, ::-1],
        m[:, [0, 0, 2]],
        tg.pad(m, ((0, 0), (1, 0))),
        tg.roll(m, 1, axis=1),
        tg.isnan(m),
    ]
    return tuple(out), (m ^ n, tg.where(x > 0, ~n, m))


@pytest.mark.parametrize("options", [{}, {"lengths": [1, 3]}, {"resets": np.array([[0, 1], [1, 0], [0, 0]], bool)}, {"reverse": True, "return_states": True}],
                         ids=["plain", "lengths", "resets", "states"])  # fmt: skip
def test_booleans_are_numpys(options: dict[str, Any]) -> None:
    xs = RNG.normal(size=(3, 2, 4)).astype(np.float32)
    same(logic, xs, (RNG.random((2, 4)) < 0.5, RNG.random((2, 4)) < 0.5), **options)


def test_compiled_code_has_the_same_booleans() -> None:
    def step(x: Any, s: Any) -> Any:
        out = (s | False, s ^ (x > 0), tg.where(s, True, False), tg.where(s, x > 0, x < 1), ~s, s + (x > 1), tg.max(s, axis=1), tg.any(s, axis=1), s * x,
               tg.where(s, 5, True), s @ np.eye(4, dtype=bool), tg.logical_or(s, x), s < (x > 0))  # fmt: skip
        return out, tg.where(x > 0, ~s, s)

    xs = RNG.normal(size=(3, 2, 4)).astype(np.float32)
    for options in ({}, {"lengths": [2, 3], "resets": np.array([[0, 1], [1, 0], [0, 0]], bool)}):
        same(step, xs, RNG.random((2, 4)) < 0.5, compiled=True, **options)


def test_exclusive_or() -> None:
    m, n = np.array([True, True, False]), np.array([True, False, False])
    t = tg.tensor(m)
    for found, expected in (
        (t ^ tg.tensor(n), m ^ n),
        (t ^ n, m ^ n),
        (n ^ t, m ^ n),
        (t ^ True, ~m),
        (True ^ t, ~m),
        (n & t, n & m),
        (np.bitwise_or(n, t), n | m),
    ):
        assert isinstance(found, tg.Tensor)
        np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_array_equal((t ^ tg.tensor([1, 2, 3])).numpy(), m ^ np.array([1, 2, 3]))
    with pytest.raises(DtypeError, match=r"\^ is for booleans and integers"):
        t ^ 0.5


def test_negative_powers_of_no_integers() -> None:
    """Of one there is none, and the error says so; of an empty tensor NumPy makes an empty one."""
    empty, one = tg.tensor(np.zeros((0, 3), int)), tg.tensor(np.ones((1, 3), int))
    for f in (lambda x: x**-1, tg.jit(lambda x: x**-1)):
        found = f(empty)
        assert found.shape == (0, 3) and found.dtype == np.int64
        with pytest.raises(ValueError, match="negative integer powers"):
            f(one)
    assert tg.trace(lambda x: x**-1, empty).outputs[0].shape == (0, 3)
