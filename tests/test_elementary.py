"""The further elementwise functions against NumPy, SciPy and mpmath, plain and compiled."""

from __future__ import annotations

import itertools
import operator
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import runtime

special = pytest.importorskip("scipy.special")
mp = pytest.importorskip("mpmath")

nan, inf = np.nan, np.inf
FLOATS = [np.float32, np.float64]
needs_numba = pytest.mark.skipif(not runtime.available(), reason="needs a compiler")
# ours, an independent reference, and where both are tried
ONE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tan": (tg.tan, np.tan), "sinh": (tg.sinh, np.sinh), "cosh": (tg.cosh, np.cosh), "arcsin": (tg.arcsin, np.arcsin), "arccos": (tg.arccos, np.arccos),
    "arctan": (tg.arctan, np.arctan), "arcsinh": (tg.arcsinh, np.arcsinh), "arccosh": (tg.arccosh, np.arccosh), "arctanh": (tg.arctanh, np.arctanh),
    "log2": (tg.log2, np.log2), "log10": (tg.log10, np.log10), "exp2": (tg.exp2, np.exp2), "ceil": (tg.ceil, np.ceil), "trunc": (tg.trunc, np.trunc),
    "round": (tg.round, np.rint), "isinf": (tg.isinf, np.isinf), "erfc": (tg.erfc, special.erfc), "erfinv": (tg.erfinv, special.erfinv),
    "lgamma": (tg.lgamma, special.gammaln), "digamma": (tg.digamma, special.psi), "sinc": (tg.sinc, np.sinc),
    "trigamma": (lambda x: tg.polygamma(1, x), lambda x: special.polygamma(1, x).astype(x.dtype)),
    "polygamma 2": (lambda x: tg.polygamma(2, x), lambda x: special.polygamma(2, x).astype(x.dtype)),
}  # fmt: skip
TWO: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "arctan2": (tg.arctan2, np.arctan2), "hypot": (tg.hypot, np.hypot), "copysign": (tg.copysign, np.copysign), "floor_divide": (tg.floor_divide, np.floor_divide),
    "fmax": (tg.fmax, np.fmax), "fmin": (tg.fmin, np.fmin), "xlogy": (tg.xlogy, special.xlogy),
}  # fmt: skip
ODD = [
    0.0,
    -0.0,
    0.25,
    -0.25,
    0.5,
    -0.5,
    1.0,
    -1.0,
    1.5,
    2.5,
    -2.5,
    3.0,
    7.25,
    -7.25,
    30.0,
    1e-30,
    -1e-30,
    1e30,
    -1e30,
    inf,
    -inf,
    nan,
]


def same(found: Any, expected: Any, ulps: float, signs: bool = True) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    if found.dtype == np.bool_:
        return np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    there = ~np.isnan(expected)
    f, e = found[there], expected[there]
    np.testing.assert_array_equal(np.isinf(f), np.isinf(e))
    if signs:
        np.testing.assert_array_equal(np.signbit(f), np.signbit(e))
    finite = np.isfinite(e)
    unit = np.spacing(np.maximum(np.abs(e[finite]), np.finfo(e.dtype).tiny))
    assert (np.abs(f[finite] - e[finite]) / unit).max(initial=0) <= ulps
    return None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ONE)
def test_of_one_number(name: str, dtype: Any) -> None:
    ours, reference = ONE[name]
    x = np.array([*ODD, *np.linspace(-3.9, 4.1, 41)], dtype)
    same(ours(tg.tensor(x)).numpy(), reference(x), 4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", TWO)
def test_of_two_numbers(name: str, dtype: Any) -> None:
    ours, reference = TWO[name]
    a, b = np.array(list(itertools.product(ODD, ODD)), dtype).T
    # at a tie of zeros NumPy's answer follows from how the array lies in memory
    same(
        ours(tg.tensor(a), tg.tensor(b)).numpy(),
        reference(a, b),
        4,
        signs=name not in ("fmax", "fmin"),
    )


@needs_numba
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
def test_compiled_code_gives_the_same(dtype: Any) -> None:
    """All in one function: the same nan, infinities and signs, up to roundings."""
    x = tg.tensor(np.array([*ODD, *np.linspace(-3.9, 4.1, 401)], dtype))
    a, b = (tg.tensor(v) for v in np.array(list(itertools.product(ODD, ODD)), dtype).T)

    def everything(x: Any, a: Any, b: Any) -> Any:
        return [f(x) for f, _ in ONE.values()] + [f(a, b) for f, _ in TWO.values()]

    for name, f, e in zip(
        [*ONE, *TWO], tg.jit(everything)(x, a, b), everything(x, a, b), strict=True
    ):
        try:
            same(f.numpy(), e.numpy(), 64 if "gamma" in name else 8)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def derivatives(f: Callable[..., Any], x: float, count: int) -> list[float]:
    """The value and the first derivatives at a place, by reverse mode over and over."""
    found, at = [], tg.tensor(np.float64(x))
    for _ in range(count):
        found.append(float(f(at).numpy()))
        f = tg.grad(f)
    return found


@pytest.mark.parametrize("x", [0.0, 1e-9, 0.3, -0.499999, 0.5, 0.75, -2.2])
def test_the_derivatives_of_sinc(x: float) -> None:
    with mp.workdps(60):
        exact = [mp.diff(lambda t: mp.sinc(mp.pi * t), mp.mpf(x), k) for k in range(4)]
    np.testing.assert_allclose(
        derivatives(tg.sinc, x, 4), [float(v) for v in exact], rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize("x", [0.3, 1.0, 4.5, 20.0, -0.3, -2.7])
def test_the_derivatives_of_lgamma(x: float) -> None:
    exact = [float(mp.log(abs(mp.gamma(x)))), *(float(mp.polygamma(k, x)) for k in range(4))]
    np.testing.assert_allclose(derivatives(tg.lgamma, x, 5), exact, rtol=1e-11)


def test_the_parts_of_erfc_and_erfinv_that_are_small() -> None:
    x = np.array([0.5, 3.0, 5.5, 9.0, 20.0])
    np.testing.assert_allclose(tg.erfc(x), [float(mp.erfc(v)) for v in x], rtol=1e-13)
    y = np.array([1e-300, 1e-9, 0.3, 0.99, 1 - 2**-50])
    np.testing.assert_allclose(tg.erfinv(y), [float(mp.erfinv(mp.mpf(v))) for v in y], rtol=1e-13)


# --- whole numbers --------------------------------------------------------------------------------

BITS = [
    operator.and_,
    operator.or_,
    operator.xor,
    operator.lshift,
    operator.rshift,
    operator.floordiv,
]
KINDS = [np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_]


def whole(dtype: Any) -> tuple[Any, Any]:
    if dtype is np.bool_:
        pairs = list(itertools.product([False, True], repeat=2))
    else:
        info = np.iinfo(dtype)
        some = [
            0,
            1,
            2,
            3,
            7,
            9,
            31,
            70,
            info.max,
            info.max - 1,
            info.min,
            max(info.min, -1),
            max(info.min, -5),
        ]
        pairs = list(itertools.product(some, some))
    a, b = np.array(pairs, dtype).T
    return a, b


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", KINDS)
def test_whole_numbers_are_those_of_numpy(dtype: Any) -> None:
    a, b = whole(dtype)
    operations = [*BITS, lambda x, y: ~x, lambda x, y: tg.ceil(x) if isinstance(x, tg.Tensor) else x,
                  lambda x, y: tg.round(x) if isinstance(x, tg.Tensor) else x]  # fmt: skip

    def everything(x: Any, y: Any) -> Any:
        return [f(x, y) for f in operations]

    expected = everything(a, b)
    found = [everything(tg.tensor(a), tg.tensor(b))]
    if runtime.available() and dtype is not np.bool_:
        found.append(tg.jit(everything)(tg.tensor(a), tg.tensor(b)))
    for several in found:
        for k, (f, e) in enumerate(zip(several, expected, strict=True)):
            assert f.dtype == e.dtype, k
            np.testing.assert_array_equal(f.numpy(), e, str(k))


def test_bits_beside_numbers_arrays_and_in_place() -> None:
    t = tg.tensor(np.arange(8))
    np.testing.assert_array_equal((t & 3).numpy(), np.arange(8) & 3)
    np.testing.assert_array_equal((1 << t).numpy(), 1 << np.arange(8))
    np.testing.assert_array_equal((np.arange(8) ^ t).numpy(), np.zeros(8))
    np.testing.assert_array_equal((9 // (t + 1)).numpy(), 9 // (np.arange(8) + 1))
    t >>= 1
    t |= 8
    t //= 3
    np.testing.assert_array_equal(t.numpy(), ((np.arange(8) >> 1) | 8) // 3)
    m = tg.tensor([True, False])
    assert (m & ~m).dtype == bool and (m ^ np.array([True, True])).dtype == bool


def test_bits_of_floats_are_refused() -> None:
    x, n = tg.tensor([1.0]), tg.tensor([1])
    for call in (
        lambda: x & n,
        lambda: ~x,
        lambda: n << 1.5,
        lambda: n | x,
        lambda: tg.jit(lambda t: t ^ t)(x),
    ):
        with pytest.raises(tg.DtypeError, match=r"is for booleans and integers"):
            call()


# --- NumPy's own functions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["tan", "arcsinh", "log2", "trunc", "isinf", "sinc", "rint", "round"]
)
def test_numpy_s_functions_are_recorded(name: str) -> None:
    x = np.array([0.3, 1.7], np.float32)
    found = getattr(np, name)(tg.tensor(x, requires_grad=True))
    assert isinstance(found, tg.Tensor) and (found.requires_grad or found.dtype == bool)
    np.testing.assert_allclose(found.numpy(), getattr(np, name)(x), rtol=1e-6)


def test_a_pickled_graph_loads_the_operations_that_it_needs() -> None:
    x = tg.tensor([0.3], requires_grad=True)
    kept = pickle.dumps((x, tg.digamma(tg.tan(x))))
    command = "import pickle, sys; x, y = pickle.loads(sys.stdin.buffer.read()); y.backward(); print(float(x.grad.numpy()[0]))"
    found = subprocess.run(
        [sys.executable, "-c", command], input=kept, capture_output=True, check=True
    )
    tan = np.tan(0.3)
    assert float(found.stdout) == pytest.approx((1 + tan**2) * special.polygamma(1, tan), rel=1e-5)


def test_other_names_are_told() -> None:
    for name, ours in (("asin", "arcsin"), ("atan2", "arctan2"), ("gammaln", "lgamma")):
        with pytest.raises(AttributeError, match=f"it is called tg.{ours} here"):
            getattr(tg, name)
