"""Values that are put together at indices: against PyTorch, NumPy's loops and differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

RECORDED = np.load(Path(__file__).parent / "data" / "torch_vocabulary.npz")
PLACES = np.array([[0, 0, -1, 2], [1, 1, 1, 0]])
LOOPS = {"sum": np.sum, "mean": np.mean, "prod": np.prod, "max": np.max, "min": np.min}


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("reduce", ["sum", "mean", "prod", "amax", "amin"])
def test_as_in_pytorch(reduce: str, own: bool) -> None:
    """Values, and gradients where values are equal to each other and to what was there."""
    data = {
        k: RECORDED[f"scatter_reduce/{reduce}/{own}/{k}"]
        for k in ("x", "values", "out", "seed", "d x", "d values")
    }
    for compiled in (False, True):
        x, v = (tg.tensor(data[k], requires_grad=True) for k in ("x", "values"))
        function = lambda x, v: tg.scatter_reduce(x, PLACES, v, 1, reduce, own)  # noqa: E731
        out = (tg.jit(function) if compiled else function)(x, v)
        np.testing.assert_allclose(out.numpy(), data["out"], rtol=1e-15)
        out.backward(data["seed"])
        np.testing.assert_allclose(x.grad.numpy(), data["d x"], rtol=1e-12)
        np.testing.assert_allclose(v.grad.numpy(), data["d values"], rtol=1e-12)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("reduce", list(LOOPS))
@pytest.mark.parametrize("shapes", [((4,), (6,), 0), ((2, 3), (2, 5), 1), ((3, 2, 2), (4, 2, 2), 0), ((2, 0), (2, 0), 1), ((2, 3), (2, 0), 1)])  # fmt: skip
def test_against_a_loop(shapes: Any, reduce: str, own: bool) -> None:
    shape, many, axis = shapes
    rng = np.random.default_rng(3)
    x, v, places = (
        rng.normal(size=shape),
        rng.normal(size=many),
        rng.integers(0, max(shape[axis], 1), many),
    )
    expected = x.copy()
    rows = np.moveaxis(expected, axis, -1)
    for at in np.ndindex(rows.shape):
        mine = np.moveaxis(v, axis, -1)[at[:-1]][np.moveaxis(places, axis, -1)[at[:-1]] == at[-1]]
        whole = np.append(mine, rows[at]) if own or not len(mine) else mine
        rows[at] = LOOPS[reduce](whole)
    found = tg.scatter_reduce(tg.tensor(x), places, tg.tensor(v), axis, reduce, own)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    tg.gradcheck(
        lambda a, b: tg.scatter_reduce(a, places, b, axis, reduce, own) ** 2, x, v, order=2
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_value_is_one_of_those_that_were_given() -> None:
    """Also where the mean of equal ones would differ by a rounding, and where it is infinite."""
    x = tg.tensor([0.1, -np.inf, np.inf, 1.0], dtype=np.float64, requires_grad=True)
    v = tg.tensor([0.1, 0.1, -np.inf, np.inf, np.inf], dtype=np.float64, requires_grad=True)
    out = tg.scatter_reduce(x, np.array([0, 0, 1, 2, 2]), v, 0, "max")
    np.testing.assert_array_equal(out.numpy(), x.numpy())
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1 / 3, 0.5, 1 / 3, 1.0])
    np.testing.assert_allclose(v.grad.numpy(), [1 / 3, 1 / 3, 0.5, 1 / 3, 1 / 3])


def test_integers_and_one_zero_of_a_product() -> None:
    x, v, places = tg.tensor([1, 2]), tg.tensor([5, 3]), np.array([0, 0])
    for reduce, expected in [("max", [5, 2]), ("min", [1, 2]), ("prod", [15, 2]), ("sum", [9, 2])]:
        found = tg.scatter_reduce(x, places, v, 0, reduce)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found.numpy(), expected)
    y = tg.tensor([0.0, 2.0, 3.0], requires_grad=True)
    tg.scatter_reduce(tg.ones(1), np.zeros(3, int), y, 0, "prod").backward()
    np.testing.assert_array_equal(y.grad.numpy(), [6.0, 0.0, 0.0])


@pytest.mark.parametrize("reduce", ["max", "min", "prod", "mean"])
def test_in_a_step(reduce: str) -> None:
    def step(x: Any, h: Any) -> Any:
        h = tg.scatter_reduce(0.5 * h, (x > 0).astype(np.int64), x, 1, reduce)
        return h, h

    xs = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    found = []
    for function in (step, tg.jit(step)):
        t = tg.tensor(xs, requires_grad=True)
        ys, _ = tg.unroll(function, t, tg.zeros(2, 2))
        (ys * ys).sum().backward()
        found.append((ys.numpy(), t.grad.numpy()))
    for plain, fast in zip(*found, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-6, atol=1e-7)


def test_what_is_refused() -> None:
    x, v = tg.ones(2), tg.ones(2)
    with pytest.raises(
        tg.ShapeError, match="reduce must be one of sum, mean, prod, max, min; found 'median'"
    ):
        tg.scatter_reduce(x, np.array([0, 1]), v, 0, "median")
    for reduce in LOOPS:
        with pytest.raises(tg.ShapeError, match="indices from 0 to 2 on an axis of size 2"):
            tg.scatter_reduce(x, np.array([0, 2]), v, 0, reduce)
