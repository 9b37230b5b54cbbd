"""Tensors that are made of sizes, numbers and random numbers, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

DTYPES = [np.float32, np.float64, np.int32, np.int64, np.bool_]
LIKE = np.arange(6.0).reshape(2, 3)[:, ::2]

# ours, and what NumPy makes
MADE: dict[str, tuple[Callable[..., tg.Tensor], Callable[..., Any]]] = {
    "zeros": (lambda d: tg.zeros((2, 3), dtype=d), lambda d: np.zeros((2, 3), d)),
    "zeros one by one": (lambda d: tg.zeros(2, 3, dtype=d), lambda d: np.zeros((2, 3), d)),
    "zeros empty": (lambda d: tg.zeros(0, 3, dtype=d), lambda d: np.zeros((0, 3), d)),
    "zeros 0-d": (lambda d: tg.zeros((), dtype=d), lambda d: np.zeros((), d)),
    "ones": (lambda d: tg.ones(3, dtype=d), lambda d: np.ones(3, d)),
    "full": (lambda d: tg.full((2, 2), 1, dtype=d), lambda d: np.full((2, 2), 1, d)),
    "full spread": (lambda d: tg.full((2, 2), [1, 0], dtype=d), lambda d: np.full((2, 2), [1, 0], d)),
    "ones_like": (lambda d: tg.ones_like(LIKE, dtype=d), lambda d: np.ones_like(LIKE, d)),
    "full_like": (lambda d: tg.full_like(LIKE, 1, dtype=d), lambda d: np.full_like(LIKE, 1, d)),
    "eye": (lambda d: tg.eye(3, dtype=d), lambda d: np.eye(3, dtype=d)),
    "eye above": (lambda d: tg.eye(2, 4, 1, dtype=d), lambda d: np.eye(2, 4, 1, d)),
    "arange": (lambda d: tg.arange(2, dtype=d), lambda d: np.arange(2, dtype=d)),
}  # fmt: skip
DEFAULT: dict[str, tuple[Callable[[], tg.Tensor], Any]] = {
    "zeros": (lambda: tg.zeros(2), np.zeros(2, np.float32)),
    "ones": (lambda: tg.ones(2), np.ones(2, np.float32)),
    "empty": (lambda: tg.empty(2), np.full(2, np.nan, np.float32)),
    "empty_like": (lambda: tg.empty_like(np.ones(2, int)), np.zeros(2, int)),
    "full of floats": (lambda: tg.full(2, 0.1), np.full(2, 0.1, np.float32)),
    "full of integers": (lambda: tg.full(2, 3), np.full(2, 3)),
    "full of nan": (lambda: tg.full(2, np.nan), np.full(2, np.nan, np.float32)),
    "full of bools": (lambda: tg.full((2,), True), np.full(2, True)),
    "ones_like": (lambda: tg.ones_like(LIKE), np.ones_like(LIKE)),
    "full_like": (lambda: tg.full_like(tg.tensor([1.0, 2.0]), 7), np.full(2, 7, np.float32)),
    "eye": (lambda: tg.eye(2), np.eye(2, dtype=np.float32)),
    "arange": (lambda: tg.arange(5), np.arange(5)),
    "arange down": (lambda: tg.arange(5, 0, -2), np.arange(5, 0, -2)),
    "arange of none": (lambda: tg.arange(3, 1), np.arange(3, 1)),
    "arange of floats": (lambda: tg.arange(0, 1, 0.1), np.arange(0, 1, 0.1).astype(np.float32)),
    "linspace": (lambda: tg.linspace(0, 1, 7), np.linspace(0, 1, 7).astype(np.float32)),
    "linspace open": (lambda: tg.linspace(0, 1, 4, endpoint=False), np.linspace(0, 1, 4, False).astype(np.float32)),
    "linspace of one": (lambda: tg.linspace(2, 3, 1), np.array([2], np.float32)),
    "linspace of none": (lambda: tg.linspace(2, 3, 0), np.zeros(0, np.float32)),
}  # fmt: skip


def same(found: tg.Tensor, expected: Any) -> None:
    assert isinstance(found, tg.Tensor) and not found.requires_grad
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MADE)
def test_with_a_dtype(name: str, dtype: Any) -> None:
    ours, expected = MADE[name]
    same(ours(dtype), expected(dtype))


@pytest.mark.parametrize("name", DEFAULT)
def test_without_a_dtype(name: str) -> None:
    ours, expected = DEFAULT[name]
    same(ours(), expected)


def test_gradients_come_back_where_they_are_asked_for() -> None:
    x = tg.ones(2, 3, requires_grad=True)
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 2.0, np.float32))
    with pytest.raises(tg.DtypeError):
        tg.zeros(2, dtype=int, requires_grad=True)


@pytest.mark.parametrize("make", [
    lambda **s: tg.zeros(2, **s), lambda **s: tg.ones(2, **s), lambda **s: tg.empty(2, **s), lambda **s: tg.full(2, 1.5, **s), lambda **s: tg.eye(2, **s),
    lambda **s: tg.arange(2.0, **s), lambda **s: tg.linspace(0, 1, 3, **s), lambda **s: tg.ones_like(LIKE, **s),
    lambda **s: tg.full_like(LIKE, 2.0, **s), lambda **s: tg.empty_like(LIKE, **s),
])  # fmt: skip
def test_every_maker_takes_requires_grad(make: Callable[..., tg.Tensor]) -> None:
    x = make(requires_grad=True)
    (2 * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(x.shape, 2.0))
    assert not make(requires_grad=False).requires_grad
    with pytest.raises(tg.TinygradError, match="requires_grad must be True or False"):
        make(requires_grad=1)
    with pytest.raises(tg.DtypeError):
        make(requires_grad=True, dtype=np.int64)


@pytest.mark.parametrize("make", [
    lambda d: tg.init.uniform((2,), 1.0, dtype=d), lambda d: tg.init.normal((2,), dtype=d), lambda d: tg.init.xavier_uniform((2, 3), dtype=d),
    lambda d: tg.init.he_normal((2, 3), dtype=d), lambda d: tg.init.orthogonal((2, 2), dtype=d),
])  # fmt: skip
def test_first_values_are_floats(make: Callable[[Any], Any]) -> None:
    """Of a number from -1 to 1 an integer holds nothing."""
    assert make(np.float64).any()
    for dtype in (np.int64, bool):
        with pytest.raises(tg.DtypeError, match="dtype must be float32 or float64"):
            make(dtype)


def test_no_gradient_is_cut_off_unseen() -> None:
    x = tg.tensor(2.0, requires_grad=True)
    for make in (lambda: tg.full((2,), x), lambda: tg.full_like(np.ones(2), x), lambda: tg.linspace(0, x, 3)):  # fmt: skip
        with pytest.raises(tg.TinygradError):
            make()


def test_what_is_made_is_its_own() -> None:
    a = np.array([1.0, 2.0])
    made = tg.full((2, 2), a)
    a[0] = 9
    made[0, 0] = 5.0
    np.testing.assert_array_equal(made.numpy(), [[5, 2], [1, 2]])


@pytest.mark.parametrize("batch", [1, 4])
def test_in_a_compiled_step(batch: int) -> None:
    """The size of the batch may be one of the sizes."""

    def step(x: Any, h: Any) -> Any:
        h = 0.5 * h + x * tg.ones(x.shape[0], 1) + tg.full_like(h, 0.25) * tg.arange(3, dtype=x.dtype)  # fmt: skip
        return h, h

    xs = np.random.default_rng(0).normal(size=(4, batch, 3)).astype(np.float32)
    plain = tg.unroll(step, xs, tg.zeros(batch, 3))[0]
    fast = tg.unroll(tg.jit(step), xs, tg.zeros(batch, 3))[0]
    np.testing.assert_allclose(fast.numpy(), plain.numpy(), rtol=1e-6, atol=1e-6)


# --- random numbers -------------------------------------------------------------------------------

DRAWN: dict[str, Callable[..., tg.Tensor]] = {
    "normal": lambda rng: tg.random.normal((40, 50), 2.0, 3.0, rng=rng),
    "uniform": lambda rng: tg.random.uniform((40, 50), -1.0, 3.0, rng=rng),
    "integers": lambda rng: tg.random.integers(3, 7, shape=(40, 50), rng=rng),
    "bernoulli": lambda rng: tg.random.bernoulli((40, 50), 0.25, rng=rng),
    "permutation": lambda rng: tg.random.permutation(2000, rng=rng),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_seed_gives_the_same_numbers_and_a_generator_moves_on(name: str) -> None:
    draw, rng = DRAWN[name], np.random.default_rng(5)
    first, second = draw(rng).numpy(), draw(rng).numpy()
    np.testing.assert_array_equal(draw(5).numpy(), first)
    assert (first != second).any() and (draw(None).numpy() != first).any()


def test_moments_and_bounds() -> None:
    found = {name: draw(0).numpy() for name, draw in DRAWN.items()}
    assert abs(found["normal"].mean() - 2) < 0.3 and abs(found["normal"].std() - 3) < 0.3
    assert found["uniform"].min() >= -1 and found["uniform"].max() <= 3
    assert abs(found["uniform"].mean() - 1) < 0.15
    assert set(found["integers"].ravel().tolist()) == {3, 4, 5, 6}
    assert set(found["bernoulli"].ravel().tolist()) == {0.0, 1.0}
    assert abs(found["bernoulli"].mean() - 0.25) < 0.05
    np.testing.assert_array_equal(np.sort(found["permutation"]), np.arange(2000))
    for name in ("normal", "uniform", "bernoulli"):
        assert found[name].dtype == np.float32 and found[name].shape == (40, 50)
    for name in ("integers", "permutation"):
        assert found[name].dtype == np.int64
    assert tg.random.normal(3, rng=0, dtype=np.float64, requires_grad=True).requires_grad


@pytest.mark.parametrize("rng", [None, "generator"])
def test_compiled_code_does_not_draw_once_for_all_calls(rng: Any) -> None:
    """Random numbers of a recording would be the same at each call."""
    rng = np.random.default_rng(0) if rng else None
    noisy = tg.jit(lambda x: x * tg.random.normal(x.shape, rng=rng))
    with pytest.raises(tg.TraceError):
        noisy(tg.ones(3))
