"""Options and spellings that people bring with them, and what is said where something would be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

rng = np.random.default_rng(0)
X = rng.normal(size=(3, 4))
LOW, HIGH = np.full(4, -0.5), np.array([0.1, 0.2, -0.9, 0.4])


@pytest.mark.parametrize(
    ("call", "kinds"),
    [
        (lambda: tg.tensor(X)[5], (IndexError, ValueError, tg.ShapeError)),
        (lambda: tg.tensor(X)[np.array([7])], (IndexError, tg.ShapeError)),
        (lambda: tg.take(X, [9]), (IndexError, tg.ShapeError)),
        (lambda: tg.take_along_axis(X, np.full((3, 1), 4)), (IndexError, tg.ShapeError)),
        (lambda: tg.tensor(X).sum(axis=2), (IndexError, ValueError, tg.ShapeError)),
        (lambda: tg.one_hot([3], 3), (IndexError, tg.ShapeError)),
        (lambda: tg.nn.Embedding(3, 2, rng=0)(np.array([3])), (IndexError, tg.ShapeError)),
        (lambda: tg.optim.SGD([tg.Parameter([1.0])], lr=-1), (ValueError, tg.TinygradError)),
        (lambda: tg.nn.Linear(2.0, 3), (TypeError, tg.TinygradError)),
        (lambda: tg.tensor(X).sum(keepdims=2), (TypeError, tg.TinygradError)),
    ],
)  # fmt: skip
def test_errors_are_of_the_kinds_that_python_expects(
    call: Callable[[], Any], kinds: tuple[Any, ...]
) -> None:
    for kind in kinds:
        with pytest.raises(kind):
            call()


def test_sizes_that_do_not_fit_are_no_index_error() -> None:
    """It would end a loop over an object that has items and no iterator."""
    with pytest.raises(tg.ShapeError) as found:
        tg.tensor(X) @ tg.tensor(X)
    assert not isinstance(found.value, IndexError)


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [(LOW, HIGH), (LOW, None), (None, HIGH), (-0.5, HIGH), (X[:, :1], 0.3), (np.float64(-0.5), 0.5)])  # fmt: skip
def test_bounds_may_be_tensors(bounds: Any) -> None:
    low, high = (tg.tensor(b) if isinstance(b, np.ndarray) else b for b in bounds)
    expected = np.clip(X, *bounds)
    whole = lambda t: tg.clip(t, low, high) * 1.0  # noqa: E731
    for found in (
        tg.clip(tg.tensor(X), low, high), tg.clip(X, *bounds), tg.tensor(X).clip(min=low, max=high),
        np.clip(tg.tensor(X), low, high), tg.jit(whole)(tg.tensor(X)), tg.trace(whole, tg.tensor(X))(tg.tensor(X))[0],
    ):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(found), expected)


def test_derivatives_of_bounds() -> None:
    tg.gradcheck(lambda x, a, b: (tg.clip(x, a, b) ** 2).sum(), X, LOW, HIGH + 1, order=2)
    x, a, b = (tg.tensor(v, requires_grad=True) for v in ([1.0, 2.0, 0.0], [1.0, 1.0, 1.0], 1.5))
    (tg.clip(x, a, b) * np.array([1, 2, 4], np.float32)).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 0])  # on a bound it is that of x
    np.testing.assert_array_equal(a.grad.numpy(), [0, 0, 4])
    np.testing.assert_array_equal(b.grad.numpy(), 2)


def test_nan_among_values_and_bounds() -> None:
    x, low = np.array([np.nan, 1.0, 2.0]), np.array([0.0, np.nan, 3.0])
    np.testing.assert_array_equal(tg.clip(x, low, None), np.clip(x, low, None))
    np.testing.assert_array_equal(tg.clip(x, None, low), np.clip(x, None, low))
    with pytest.raises(tg.ShapeError, match="given twice"):
        tg.clip(X, 0.0, min=1.0)


# --- values at indices ----------------------------------------------------------------------------


@pytest.mark.parametrize("index", [np.array([0, 0, 1]), [0, 0], (np.array([1, 1]), 2), tg.tensor([2, 2])])  # fmt: skip
def test_what_would_be_lost_of_an_addition_is_said(index: Any) -> None:
    t = tg.tensor(X)
    with pytest.raises(tg.ShapeError, match=r"tg\.index_add\(t, i, v, axis=0\)"):
        t[index] += 1.0
    with pytest.raises(tg.ShapeError, match="more than once"):
        t[index] *= t[index]
    np.testing.assert_array_equal(t.numpy(), X)
    t[index] = 2.0  # of which the last counts, and all are equal
    t[np.array([0, 2])] += 1.0
    t[:2] -= 1.0


def test_what_the_message_says_adds_all() -> None:
    t, i, v = tg.tensor(X), np.array([0, 2, 0]), rng.normal(size=(3, 4))
    expected = X.copy()
    np.add.at(expected, i, v)
    np.testing.assert_allclose(tg.index_add(t, i, v, axis=0).numpy(), expected)
    np.testing.assert_allclose((t + tg.scatter(v, index=i, shape=t.shape)).numpy(), expected)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_scatter_reduce(reduce: str, include: bool, axis: int) -> None:
    indices = rng.integers(0, X.shape[axis], (3, 4))
    values = rng.normal(size=(3, 4))
    expected = np.zeros(X.shape)
    for place in np.ndindex(X.shape):
        found = [values[at] for at in np.ndindex(3, 4)
                 if tuple(indices[at] if k == axis else at[k] for k in (0, 1)) == place]  # fmt: skip
        several = ([X[place]] if include or not found else []) + found
        expected[place] = np.sum(several) if reduce == "sum" else np.mean(several)

    def f(x: Any, v: Any) -> Any:
        return tg.scatter_reduce(x, indices, v, axis, reduce, include)

    given = tg.tensor(X), tg.tensor(values)
    for result in (
        f(*given),
        tg.jit(lambda x, v: f(x, v) * 1.0)(*given),
        tg.trace(f, *given)(*given)[0],
    ):
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-13)
    tg.gradcheck(lambda x, v: (f(x, v) ** 2).sum(), X, values, order=2)


def test_other_reductions_are_refused() -> None:
    with pytest.raises(tg.ShapeError, match="'sum' or 'mean'; found 'amax'"):
        tg.scatter_reduce(X, np.zeros((3, 1), int), 1.0, reduce="amax")
