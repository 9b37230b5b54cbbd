"""The vectorised scalar functions against references of higher precision."""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

numba = pytest.importorskip("numba")
mp = pytest.importorskip("mpmath")
if numba.config.DISABLE_JIT:
    pytest.skip("the functions exist only in compiled code", allow_module_level=True)

from tinygrad_rnn.kernels import scalar  # noqa: E402

FLOATS = [np.float32, np.float64]
LIMIT = 4.0  # ulp
_kernels: dict[tuple[str, int], Any] = {}


def kernel(name: str, arity: int = 1) -> Any:
    """Return a compiled loop over flat arrays that applies a function of the module."""
    if (name, arity) not in _kernels:
        inputs = "abc"[:arity]
        call = f"f({', '.join(f'{letter}[j]' for letter in inputs)})"
        source = f"def loop({', '.join(inputs)}, out):\n    for j in range(out.size):\n        out[j] = {call}\n"
        namespace = {"f": getattr(scalar, name)}
        exec(source, namespace)
        compiled = numba.njit(error_model="numpy", fastmath={"contract"}, nogil=True)(
            namespace["loop"]
        )
        _kernels[name, arity] = compiled
    return _kernels[name, arity]


def apply(name: str, *arrays: np.ndarray) -> np.ndarray:
    """Apply a function of the module to arrays of one type and return that type."""
    out = np.empty_like(arrays[-1])
    kernel(name, len(arrays))(*arrays, out)
    return out


def stable_sigmoid(x: np.ndarray) -> np.ndarray:
    z = np.exp(-np.abs(x))
    return np.where(x < 0, z, 1) / (1 + z)


# What NumPy computes, at the precision of its argument.
NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": stable_sigmoid,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "log_sigmoid": lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    "erf": lambda x: np.array([math.erf(v) for v in x.tolist()], dtype=x.dtype),
    "sin": np.sin,
    "cos": np.cos,
}
EXACT: dict[str, Callable[..., np.ndarray]] = {
    "sqrt": np.sqrt,
    "floor": np.floor,
    "sign": np.sign,
    "absolute": np.absolute,
}
MPMATH: dict[str, Callable[[Any], Any]] = {
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "tanh": mp.tanh,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "log_sigmoid": lambda x: -mp.log1p(mp.exp(-x)),
    "erf": mp.erf,
    "sin": mp.sin,
    "cos": mp.cos,
}


def ulp_errors(result: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Return the errors of float32 results in units in the last place of the float64 reference."""
    exponent = np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-126)))
    return np.asarray(np.abs(result - exact) / np.exp2(exponent - 23))


def special_values(dtype: type) -> np.ndarray:
    info = np.finfo(dtype)
    values = [0, 0.5, 1, 2, 2.5, 3, 7, 1e-10, 1e4, 100001, 88.9, 103, 710, 745, info.eps]
    values += [info.max, info.tiny, info.smallest_subnormal, np.inf]
    positive = np.array(values, dtype)
    return np.concatenate([positive, -positive, np.array([np.nan], dtype)])


def assert_same(result: np.ndarray, expected: np.ndarray, signs: bool = True) -> None:
    """Check equality within the limit, with the same NaNs, infinities and, if asked for, signs."""
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    there = ~np.isnan(expected)
    if signs:
        np.testing.assert_array_equal(np.signbit(result[there]), np.signbit(expected[there]))
    np.testing.assert_array_equal(result[np.isinf(expected)], expected[np.isinf(expected)])
    finite = np.isfinite(expected)
    assert np.all(
        np.abs(result[finite] - expected[finite]) <= LIMIT * np.spacing(np.abs(expected[finite]))
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NUMPY)
def test_float32_over_all_bit_patterns(name: str) -> None:
    patterns = np.arange(0, 2**32, 16411 if name == "erf" else 4099, dtype=np.uint64).astype(
        np.uint32
    )
    x = patterns.view(np.float32)
    result, exact = apply(name, x), NUMPY[name](x.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(result), np.isnan(exact))
    finite = np.isfinite(exact.astype(np.float32)) & np.isfinite(x)
    assert np.all(np.isfinite(result[finite]))
    assert ulp_errors(result[finite], exact[finite]).max() <= LIMIT


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NUMPY)
def test_float32_over_usual_arguments(name: str) -> None:
    x = (
        np.random.default_rng(1).standard_normal(100_000 if name == "erf" else 1_000_000) * 3
    ).astype(np.float32)
    if name in ("log", "log1p"):
        x = np.abs(x)
    result, exact = apply(name, x), NUMPY[name](x.astype(np.float64))
    assert ulp_errors(result, exact).max() <= LIMIT


def float64_samples(name: str, count: int = 400) -> np.ndarray:
    """Return arguments over the whole useful range of a function."""
    rng = np.random.default_rng(2)

    def spread(low: int, high: int) -> np.ndarray:
        return np.asarray(np.ldexp(rng.uniform(1, 2, count), rng.integers(low, high, count)))

    both = np.concatenate(
        [rng.standard_normal(count) * 3, rng.uniform(-1, 1, count), spread(-60, 4), -spread(-60, 4)]
    )
    if name == "log":
        near_one = 1 + rng.uniform(-1, 1, count) * spread(-50, -1)
        return np.concatenate([np.abs(both), spread(-1070, 1023), near_one])
    if name == "log1p":
        return np.concatenate(
            [np.abs(both), rng.uniform(-1, 0.5, count), spread(-900, 1000), -spread(-900, -1)]
        )
    if name in ("exp", "expm1", "sigmoid"):
        return np.concatenate([both, rng.uniform(-745, 709, count)])
    if name in ("softplus", "log_sigmoid"):
        return np.concatenate([both, rng.uniform(-80, 80, count)])
    if name in ("sin", "cos"):
        # The last number is the closest of all to a multiple of pi / 2.
        near_zeros = np.arange(1, count + 1) * np.pi / 2
        return np.concatenate([both, spread(0, 1023), near_zeros, [6381956970095103.0 * 2.0**797]])
    return both


@pytest.mark.parametrize("name", MPMATH)
def test_float64_against_mpmath(name: str) -> None:
    x = float64_samples(name)
    worst = 0.0
    with mp.workprec(1300 if name in ("sin", "cos") else 300):
        for argument, value in zip(x.tolist(), apply(name, x).tolist(), strict=True):
            exact = MPMATH[name](mp.mpf(argument))
            if exact:
                unit = mp.mpf(2) ** (max(mp.frexp(exact)[1] - 1, -1022) - 52)
                worst = max(worst, float(abs(value - exact) / unit))
            else:
                assert value == 0
    assert worst <= LIMIT


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [*NUMPY, *EXACT])
def test_special_values(name: str, dtype: type) -> None:
    x = special_values(dtype)
    assert_same(apply(name, x), (NUMPY | EXACT)[name](x))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", EXACT)
def test_exact_functions(name: str, dtype: type) -> None:
    x = (np.random.default_rng(3).standard_normal(10_000) * 10).astype(dtype)
    if name == "sqrt":
        x = np.abs(x)
    np.testing.assert_array_equal(apply(name, x), EXACT[name](x))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["power", "mod", "minimum", "maximum", "logaddexp"])
def test_binary_special_values(name: str, dtype: type) -> None:
    values = special_values(dtype)
    a, b = (grid.ravel().copy() for grid in np.meshgrid(values, values))
    expected = getattr(np, name)(a, b)
    expected = np.where(b == 0.5, np.sqrt(a), expected) if name == "power" else expected
    assert_same(apply(name, a, b), expected, signs=name in ("power", "mod"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_power_float32() -> None:
    rng = np.random.default_rng(4)
    a = np.ldexp(rng.uniform(1, 2, 500_000), rng.integers(-140, 127, 500_000)).astype(np.float32)
    b = (rng.uniform(-104, 89, a.size) / np.log(a.astype(np.float64))).astype(np.float32)
    result, exact = apply("power", a, b), np.power(a.astype(np.float64), b.astype(np.float64))
    finite = np.isfinite(exact.astype(np.float32))
    assert ulp_errors(result[finite], exact[finite]).max() <= LIMIT


@pytest.mark.parametrize("dtype", FLOATS)
def test_power_of_negative_base(dtype: type) -> None:
    a = np.array([-2, -2, -0.5, -3, -1.5], dtype)
    b = np.array([3, 4, -3, 0, 5], dtype)
    np.testing.assert_allclose(
        apply("power", a, b), [-8, 16, -8, 1, -7.59375], rtol=4 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_mod_is_exact(dtype: type) -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal((2, 10_000)) * [[1e3], [1]]).astype(dtype)
    np.testing.assert_array_equal(apply("mod", a, b), np.mod(a, b))


@pytest.mark.parametrize("dtype", FLOATS)
def test_logaddexp(dtype: type) -> None:
    a, b = (np.random.default_rng(6).standard_normal((2, 10_000)) * 10).astype(dtype)
    result = apply("logaddexp", a, b)
    exact = np.logaddexp(a.astype(np.longdouble), b.astype(np.longdouble))
    scale = np.maximum.reduce([np.abs(a), np.abs(b), np.abs(result)])
    assert np.all(np.abs(result - exact) <= LIMIT * np.spacing(scale))


@pytest.mark.parametrize("dtype", FLOATS)
def test_tanh_and_sigmoid_stay_in_range(dtype: type) -> None:
    x = np.linspace(-50, 50, 1_000_001).astype(dtype)
    assert np.abs(apply("tanh", x)).max() == 1
    assert apply("sigmoid", x).min() > 0
    assert apply("sigmoid", x).max() == 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_select(dtype: type) -> None:
    a, b = np.random.default_rng(7).standard_normal((2, 1001)).astype(dtype)
    a[3] = np.nan
    np.testing.assert_array_equal(apply("select", a > b, a, b), np.where(a > b, a, b))


def test_argument_types() -> None:
    @numba.njit
    def mixed(x: Any, y: Any) -> Any:
        return (
            scalar.exp(x),
            scalar.maximum(x, y),
            scalar.maximum(x, 1),
            scalar.sqrt(4),
            scalar.select(x > y, x, 0),
        )

    float32, float64 = numba.float32, numba.float64
    assert mixed(np.float32(0), np.float64(2)) == (1, 2, 1, 2, 0)
    assert mixed.nopython_signatures[0].return_type.types == (
        float32,
        float64,
        float32,
        float64,
        float32,
    )


def test_other_types_are_refused() -> None:
    with pytest.raises(numba.TypingError, match="expected float32, float64 or integer"):
        numba.njit(lambda x: scalar.exp(x))(1j)
    with pytest.raises(numba.TypingError, match="expected a boolean condition"):
        numba.njit(lambda x: scalar.select(x, x, x))(1.0)


def test_results_do_not_depend_on_the_length() -> None:
    # The last elements of an array are computed by a scalar loop.
    x = (np.random.default_rng(8).standard_normal(1000) * 3).astype(np.float32)
    for name in ("tanh", "exp", "sigmoid", "sin"):
        np.testing.assert_array_equal(apply(name, x)[:37], apply(name, x[:37].copy()))


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="knows x86 instructions only"
)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "name", ["tanh", "exp", "log", "sigmoid", "expm1", "log1p", "softplus", "erf"]
)
def test_loops_are_vectorised(name: str, dtype: type) -> None:
    apply(name, np.ones(3, dtype))
    loop = kernel(name)
    array = numba.types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    letter = "s" if dtype is np.float32 else "d"
    packed = rf"\s(v?mulp{letter}|vfn?m(add|sub)\d+p{letter})\s"
    assert len(re.findall(packed, loop.inspect_asm((array, array)))) >= 5


def test_interleaving_compiles_the_same_function() -> None:
    x = (np.random.default_rng(9).standard_normal(1000) * 3).astype(np.float32)
    plain = apply("tanh", x)
    del _kernels["tanh", 1]
    with scalar.interleaving():
        np.testing.assert_array_equal(apply("tanh", x), plain)


CACHED_MODULE = """
from numba import njit

from tinygrad_rnn.kernels.scalar import exp, power, sin, tanh, wide_vectors


@njit(error_model="numpy", fastmath={"contract"}, nogil=True, cache=True)
def kernel(x, out):
    wide_vectors()
    for j in range(x.size):
        out[j] = tanh(x[j]) + exp(x[j]) + sin(x[j]) + power(x[j], x[j])
"""

CACHE_USER = """
import numpy as np
import cached_kernel

x = np.linspace(0.5, 2, 101)
out = np.empty_like(x)
cached_kernel.kernel(x, out)
np.testing.assert_allclose(out, np.tanh(x) + np.exp(x) + np.sin(x) + x**x, rtol=1e-14)
print(sum(cached_kernel.kernel.stats.cache_hits.values()))
"""


def test_kernels_load_from_the_cache_on_disk(tmp_path: Path) -> None:
    (tmp_path / "cached_kernel.py").write_text(CACHED_MODULE)
    root = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([root, str(tmp_path)]),
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    for hits in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", CACHE_USER],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip() == hits
