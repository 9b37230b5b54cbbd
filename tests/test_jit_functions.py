"""`tg.jit` of ordinary functions: the numbers and gradients of the function as it is.

Random programs are checked in large numbers with the generated loops run by Python itself, and a few of them compiled.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import tinygrad_rnn as tg
from tinygrad_rnn.compiler import function as functions
from tinygrad_rnn.compiler import line, values
from tinygrad_rnn.compiler.function import JittedFunction
from tinygrad_rnn.core.tree import leaves
from tinygrad_rnn.kernels import runtime

SEEDS = range(150)
COMPILED = (3, 8, 21)

# --- loops run by Python -------------------------------------------------------------------------------------------------------

SCALAR = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "sqrt": np.sqrt, "power": np.power, "erf": scipy.special.erf, "floor": np.floor,
    "sigmoid": scipy.special.expit, "softplus": lambda x: np.logaddexp(x, 0), "log_sigmoid": lambda x: -np.logaddexp(-x, 0),
    "log1p": np.log1p, "expm1": np.expm1, "logaddexp": np.logaddexp, "sin": np.sin, "cos": np.cos, "mod": np.mod,
    "maximum": np.maximum, "minimum": np.minimum, "largest": np.maximum, "smallest": np.minimum, "plus": np.add, "sign": np.sign,
    "absolute": np.abs, "select": lambda c, a, b: a if c else b, "wide_vectors": lambda: None,
}  # fmt: skip


def interpreted(source: str, *, distinct: bool = False) -> Any:
    """What `runtime.load` returns, without numba."""

    class Module:
        pass

    kind = np.float32 if "float32 as F" in source else np.float64
    scope: dict[str, Any] = {**SCALAR, "F": kind, "D": np.float64, "inf": np.inf, "empty": np.empty}
    exec(source[source.index("def kernel(") :], scope)
    module = Module()
    module.kernel = scope["kernel"]  # type: ignore[attr-defined]
    return module


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops for arrays of any size."""
    for module in (values, line):
        monkeypatch.setattr(module, "SMALL", 1)


@pytest.fixture
def by_python(monkeypatch: pytest.MonkeyPatch, everywhere: None) -> None:
    """No compilation: Python runs the loops."""
    monkeypatch.setattr(runtime, "load", interpreted)


# --- random programs ------------------------------------------------------------------------------------------------------------

UNARY: list[Callable[[Any], Any]] = [
    tg.tanh, tg.sigmoid, lambda x: tg.exp(x * 0.3), lambda x: tg.sqrt(x * x + 0.7), lambda x: -x, lambda x: x**2, lambda x: x**3,
    tg.relu, tg.softplus, tg.gelu, tg.silu, lambda x: tg.clip(x, -0.5, 0.9), lambda x: 1.3 - x, tg.abs, tg.sin, lambda x: x / 1.7,
    lambda x: tg.log(x * x + 1.1), lambda x: tg.leaky_relu(x, 0.2), lambda x: tg.stop_gradient(x) * x, lambda x: (x > 0.1).astype(x.dtype) * x,
]  # fmt: skip
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / (b * b + 1.2), tg.maximum, tg.minimum, tg.logaddexp,
    lambda a, b: tg.where(a > b, a, 0.5 * b), lambda a, b: tg.where(tg.logical_and(a < 0.3, b > -0.2), a * b, a),
]  # fmt: skip
SHAPES: list[tuple[int, ...]] = [(5, 4), (4,), (5, 1), (), (3, 5, 4), (3, 1, 4), (1, 4)]


def program(seed: int) -> tuple[Callable[..., Any], list[np.ndarray]]:
    """A function of several tensors to several tensors, and arrays for it."""
    rng = np.random.default_rng(seed)
    shapes = [SHAPES[k] for k in rng.integers(len(SHAPES), size=3)]
    arrays = [rng.normal(size=s) for s in shapes]
    length = int(rng.integers(4, 16))

    def f(*xs: Any) -> list[Any]:
        rng = np.random.default_rng(seed + 1000)
        pool = list(xs)
        for _ in range(length):
            x = pool[rng.integers(max(0, len(pool) - 4), len(pool))]
            kind = rng.random()
            if kind < 0.3:
                y = UNARY[rng.integers(len(UNARY))](x)
            elif kind < 0.65:
                other = pool[rng.integers(len(pool))]
                try:
                    np.broadcast_shapes(x.shape, other.shape)
                except ValueError:
                    continue
                y = BINARY[rng.integers(len(BINARY))](x, other)
            elif x.ndim == 0:
                y = x * 0.9
            else:
                axis: Any = int(rng.integers(x.ndim)) if rng.random() < 0.7 else None
                keep = bool(rng.random() < 0.5)
                choice = int(rng.integers(13))
                axes = (-2, -1) if x.ndim > 2 and rng.random() < 0.5 else (0, 2) if x.ndim > 2 and rng.random() < 0.2 else axis
                if choice < 3:
                    y = x.sum(axis=axes, keepdims=keep) * 0.3
                elif choice < 5:
                    y = x.mean(axis=axes, keepdims=keep)
                elif choice < 6:
                    y = (tg.max if rng.random() < 0.5 else tg.min)(x, axis=axes, keepdims=keep)
                elif choice < 7:
                    y = tg.logsumexp(x, axis=axis, keepdims=keep)
                elif choice < 8:
                    y = tg.softmax(x, -1 if axis is None else axis)
                elif choice < 9:
                    y = tg.log_softmax(x, -1 if axis is None else axis)
                elif choice < 10:
                    y = x.reshape((*x.shape[:1], 1, *x.shape[1:]))
                elif choice < 11:
                    y = x.T
                elif choice < 12:
                    y = x[..., : max(1, x.shape[-1] - 1)]
                else:
                    y = (x - x.mean(axis=-1, keepdims=True)) / tg.sqrt(tg.var(x, axis=-1, keepdims=True) + 0.3)
            if y.size <= 400:
                pool.append(y)
        return pool[-3:]

    return f, arrays


def outcome(f: Callable[..., Any], arrays: list[np.ndarray], dtype: Any = np.float64, order: int = 1) -> list[np.ndarray]:
    """Results, gradients of a random sum of them, and for order 2 gradients of a random sum of those."""
    rng = np.random.default_rng(5)
    xs = [tg.tensor(a, dtype, requires_grad=True) for a in arrays]
    results = f(*xs)
    found = list(results)
    total = sum((y * rng.normal(size=y.shape)).sum() for y in results)
    if getattr(total, "requires_grad", False):
        total.backward(create_graph=order > 1)
        first = [x.grad for x in xs]
        found += [x for x in first if x is not None]
        if order > 1:
            for x in xs:
                x.grad = None
            again = sum(((g * rng.normal(size=g.shape)).sum() for g in first if g is not None and g.requires_grad), tg.tensor(0.0, dtype))
            if again.requires_grad:
                again.backward()
                found += [x.grad for x in xs if x.grad is not None]
    return [y.numpy() for y in found]


def same(f: Callable[..., Any], fast: Callable[..., Any], arrays: list[np.ndarray], dtype: Any = np.float64, order: int = 1) -> None:
    expected, found = outcome(f, arrays, dtype, order), outcome(fast, arrays, dtype, order)
    assert len(expected) == len(found)
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        scale = np.abs(b).max(initial=1.0)
        rtol = 1e-12 if dtype == np.float64 else 1e-6
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 10 * scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_programs(by_python: None, seed: int) -> None:
    f, arrays = program(seed)
    same(f, tg.jit(f), arrays, order=2 if seed % 3 == 0 else 1)


@pytest.mark.parametrize("seed", COMPILED)
def test_random_programs_compiled(everywhere: None, seed: int) -> None:
    f, arrays = program(seed)
    same(f, tg.jit(f), arrays)
