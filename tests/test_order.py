"""Order: sort, argsort, topk, median, quantile, running extremes and logarithms, sums without nan, unique.

Against NumPy and SciPy, and element by element; plain, compiled, and in the steps of a cell.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import order

mp = pytest.importorskip("mpmath")
nan, inf = np.nan, np.inf
rng = np.random.default_rng(0)
A = rng.normal(size=(3, 4, 5))
TIES = rng.integers(-2, 3, (4, 30)).astype(float)
ODD = np.array(
    [[2.0, nan, -inf, 0.0, -0.0, inf, nan, 2.0], [0.0, -0.0, 1.0, 1.0, -inf, -inf, inf, inf]]
)
LAYOUTS = [A, A[:, ::2, ::-1], np.asfortranarray(A), A.transpose(2, 0, 1), A[:0], A[0, 0], TIES, np.float64(1.5)]  # fmt: skip
LONG = rng.integers(-300, 300, (2, 5_000)).astype(np.float32)  # rows in which few are looked for
KINDS = [np.float32, np.float64, np.int64, np.int32, np.int8, np.uint8, np.bool_]


def exact_order(row: Any, descending: bool = False) -> list[int]:
    """The places of a row in the order of the convention: nan last, or first; ties as they stand."""
    sign = -1 if descending else 1

    def key(k: int) -> tuple[float, float, int]:
        return (sign * float(row[k] != row[k]), sign * float(row[k]) if row[k] == row[k] else 0, k)

    return sorted(range(len(row)), key=key)


def same(found: Any, expected: Any) -> None:
    """Equal to the bit, but for the sign of zeros: 0.0 stands for -0.0."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    if found.dtype.kind == "f":
        assert not np.signbit(found[found == 0]).any()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", KINDS)
def test_orders_of_all_dtypes(dtype: Any, descending: bool) -> None:
    for x in (A * 3, TIES, ODD, LONG):
        x = (
            np.nan_to_num(x, posinf=9, neginf=-9).astype(dtype)
            if dtype not in KINDS[:2]
            else x.astype(dtype)
        )
        for axis in range(x.ndim) if x is not LONG and x.size < 1_000 else (-1,):
            rows = np.moveaxis(x, axis, -1)
            places = np.apply_along_axis(exact_order, -1, rows, descending).astype(np.int64)
            expected = np.moveaxis(places, -1, axis)
            found = tg.argsort(tg.tensor(x), axis, descending)
            np.testing.assert_array_equal(found.numpy(), expected)
            assert found.dtype == np.int64
            values = np.take_along_axis(x, expected, axis)
            same(
                tg.sort(tg.tensor(x), axis, descending).numpy(),
                values + 0 if dtype is not np.bool_ else values,
            )
            same(tg.sort(x, axis, descending), values + 0 if dtype is not np.bool_ else values)
            for k in (0, 1, min(3, x.shape[axis])):
                top = tg.topk(tg.tensor(x), k, axis, largest=descending)
                head = (slice(None),) * axis + (slice(0, k),) if axis >= 0 else (..., slice(0, k))
                np.testing.assert_array_equal(top.indices.numpy(), expected[head])
                np.testing.assert_array_equal(top.values.numpy(), values[head])  # fmt: skip


@pytest.mark.parametrize("kind", ["plain", "nan", "equal", "two", "sorted"])
def test_a_few_of_a_long_row_are_those_of_the_sorted_row(kind: str) -> None:
    n = order.SELECTED + 7
    x = {
        "plain": rng.normal(size=n), "nan": np.where(rng.random(n) < 0.999, nan, rng.normal(size=n)), "equal": np.ones(n),
        "two": rng.integers(0, 2, n).astype(float), "sorted": np.arange(n) // 3 * 1.0,
    }[kind]  # fmt: skip
    for descending in (False, True):
        expected = exact_order(x, descending)
        for start, stop in ((0, 1), (0, 5), (n // 2, n // 2 + 2), (n - 3, n), (7, 7), (0, n // 4)):
            found = order._argsort(x, -1, descending, start, stop)
            np.testing.assert_array_equal(found, expected[start:stop])
            part = order._sort(x, -1, descending, start, stop)
            np.testing.assert_array_equal(part, x[expected[start:stop]])


NUMPY: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "sort": (lambda n, x: n.sort(x, axis=-1) if np.ndim(x) else n.add(x, 0), LAYOUTS), "sort 0": (lambda n, x: n.sort(x, axis=0), LAYOUTS[:-1]), "sort none": (lambda n, x: n.sort(x, axis=None), LAYOUTS),
    "median": (lambda n, x: n.median(x), [x for x in LAYOUTS if np.size(x)]), "median axis": (lambda n, x: n.median(x, axis=0), [x for x in LAYOUTS if np.size(x)][:-1]),
    "median axes": (lambda n, x: n.median(x, axis=(0, -1), keepdims=True), [A, TIES, A[:, ::2]]),
    **{f"quantile {q} {method}": (lambda n, x, q=q, method=method: n.quantile(x, q, axis=-1, method=method), [A, TIES, A[:, ::2, ::-1], LONG.astype(float)])
       for q in (0.0, 0.3, 0.5, 1.0) for method in order.METHODS},
    "quantiles": (lambda n, x: n.quantile(x, [0.25, 0.5, 1.0], axis=0, keepdims=True), [A, TIES]), "quantiles of all": (lambda n, x: n.quantile(x, [0.1, 0.9]), [A, TIES, A[0, 0]]),
    "nansum": (lambda n, x: n.nansum(x, axis=-1) if np.ndim(x) else n.add(x, 0), [*LAYOUTS, ODD]), "nansum all": (lambda n, x: n.nansum(x, keepdims=True), LAYOUTS),
    "nanmean": (lambda n, x: n.nanmean(x, axis=0), [A, A[:, ::2, ::-1], ODD, TIES]), "nanmean all": (lambda n, x: n.nanmean(x), [A, np.where(A > 0, nan, A)]),
}  # fmt: skip
EACH = [(name, k) for name, (_, inputs) in NUMPY.items() for k in range(len(inputs))]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "k"), EACH)
def test_values(name: str, k: int) -> None:
    function, inputs = NUMPY[name]
    x = np.asarray(inputs[k])
    expected = np.asarray(function(np, x))
    given = tg.tensor(x)
    [traced] = tg.trace(lambda t: [function(tg, t)], given)(given)
    for found in (function(tg, given), function(tg, x), traced, function(np, given)):
        assert found.shape == expected.shape and found.dtype == expected.dtype
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("name", "k"), EACH)
def test_derivatives(name: str, k: int) -> None:
    function, inputs = NUMPY[name]
    x = np.asarray(inputs[k], np.float64)
    if x.size > 1_000 or not np.isfinite(x).all():
        return
    # no two are equal: there neither side has a slope of its own
    x = x + 0.9 / max(x.size, 1) * np.random.default_rng(1).permutation(x.size).reshape(x.shape)

    def summed(t: Any) -> Any:
        y = function(tg, t)
        return (y * y * np.cos(np.arange(y.size)).reshape(y.shape)).sum()

    tg.gradcheck(summed, x, order=2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NUMPY)
def test_compiled(name: str) -> None:
    function, inputs = NUMPY[name]
    for x in (inputs[0], inputs[-1]):
        t = tg.tensor(np.asarray(x), requires_grad=True)
        whole = lambda t: function(tg, t) * 2  # noqa: E731
        found = []
        for f in (whole, tg.jit(whole)):
            y = f(t)
            y.sum().backward()
            found.append((y.numpy(), t.grad.numpy()))
            t.grad = None
        for plain, compiled in zip(*found, strict=True):
            np.testing.assert_allclose(compiled, plain, rtol=1e-13)


# --- in the steps of a cell -----------------------------------------------------------------------

STEPS: dict[str, Callable[[Any], Any]] = {
    "sort": lambda x: tg.sort(x), "sort down": lambda x: tg.sort(x, 1, descending=True), "argsort": lambda x: tg.argsort(x) * x, "topk": lambda x: tg.topk(x, 2).values,
    "the smallest": lambda x: tg.topk(x, 3, largest=False).values, "the places": lambda x: tg.topk(x, 2).indices * x[:, :2], "median": lambda x: tg.median(x, axis=1, keepdims=True),
    "quantile": lambda x: tg.quantile(x, 0.3, axis=1, keepdims=True), "quantiles": lambda x: tg.quantile(x, [0.2, 0.9], axis=1).T, "cummin": lambda x: tg.cummin(x),
    "logcumsumexp": lambda x: tg.logcumsumexp(x), "nansum": lambda x: tg.nansum(x, 1, True), "nanmean": lambda x: tg.nanmean(x, axis=1, keepdims=True),
    "put": lambda x: tg.put_along_axis(x, tg.argsort(x)[:, :2], x[:, 2:4] * 2, 1), "put twice": lambda x: tg.put_along_axis(x, tg.argsort(x) // 2, x * x, 1),
    "put a number": lambda x: tg.put_along_axis(x, tg.argmax(x, axis=1, keepdims=True), 0.0, 1),
}  # fmt: skip


def values_and_gradients(step: Any, xs: Any) -> list[Any]:
    x = tg.tensor(xs, requires_grad=True)
    h = tg.tensor(np.full((xs.shape[1], 1), 0.4, xs.dtype), requires_grad=True)
    ys, last = tg.unroll(step, x, h)
    loss = (ys * np.cos(np.arange(ys.size)).reshape(ys.shape)).sum() + last.sum()
    loss.backward()
    return [ys.numpy(), last.numpy(), x.grad.numpy(), h.grad.numpy()]


@pytest.mark.parametrize("name", STEPS)
def test_in_a_step(name: str) -> None:
    function = STEPS[name]

    def cell(x: Any, h: Any) -> Any:
        y = function(x * (1 + h * h))
        return y, tg.tanh(h + 0.1 * y.sum(axis=1, keepdims=True))

    fast = tg.jit(cell)
    for xs in (
        rng.normal(size=(3, 5, 6)),
        rng.integers(-2, 2, (3, 5, 6)).astype(float),  # ties
        rng.normal(size=(2, 1, 6)),
    ):
        for plain, compiled in zip(
            values_and_gradients(cell, xs), values_and_gradients(fast, xs), strict=True
        ):
            np.testing.assert_allclose(compiled, plain, rtol=1e-11, atol=1e-12)


def test_odd_numbers_have_the_same_order_in_a_step() -> None:
    def cell(x: Any, h: Any) -> Any:
        return (tg.argsort(x), tg.argsort(x, 1, True), tg.sort(x), tg.cummin(x)), h

    xs, h = tg.tensor(np.stack([ODD, ODD[::-1]])), tg.tensor(np.zeros(2))
    for plain, compiled in zip(
        tg.unroll(cell, xs, h)[0], tg.unroll(tg.jit(cell), xs, h)[0], strict=True
    ):
        np.testing.assert_array_equal(compiled.numpy(), plain.numpy())
        np.testing.assert_array_equal(np.signbit(compiled.numpy()), np.signbit(plain.numpy()))


def test_the_batch_is_not_sorted_in_a_compiled_step() -> None:
    fast = tg.jit(lambda x, h: (tg.sort(x, 0), h))
    with pytest.raises(tg.CompileError, match="the batch"):
        tg.unroll(fast, np.ones((2, 3, 4), np.float32), tg.tensor(np.zeros(3, np.float32)))


# --- conventions ----------------------------------------------------------------------------------


def gradient(function: Callable[[Any], Any], x: Any) -> Any:
    t = tg.tensor(np.asarray(x, np.float64), requires_grad=True)
    y = function(t)
    (y * np.arange(1, y.size + 1).reshape(y.shape)).sum().backward()
    return t.grad.numpy()


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (tg.sort, [2.0, 1.0, 2.0, 1.0], [3, 1, 4, 2]),
        (lambda t: tg.sort(t, descending=True), [2.0, 1.0, 2.0, 1.0], [1, 3, 2, 4]),
        (tg.sort, [nan, 1.0, nan, 0.0], [3, 2, 4, 1]),
        (lambda t: tg.topk(t, 2).values, [1.0, 3.0, 3.0, 3.0], [0, 1, 2, 0]),
        (lambda t: tg.topk(t, 2).values, [1.0, nan, 3.0, 2.0], [0, 1, 2, 0]),
        (tg.median, [1.0, 1.0, 1.0, 1.0], [0, 0.5, 0.5, 0]),
        (tg.median, [3.0, 1.0, 2.0], [0, 0, 1]),
        (lambda t: tg.quantile(t, 0.25), [5.0, 1.0, 2.0], [0, 0.5, 0.5]),
        (lambda t: tg.quantile(t, 0.25, method="nearest"), [5.0, 1.0, 2.0], [0, 1, 0]),
        (tg.cummin, [2.0, 1.0, 1.0, 3.0, 0.0, 0.0], [1, 9, 0, 0, 11, 0]),
        (tg.cummin, [2.0, nan, 1.0], [1, 5, 0]),
        (tg.nansum, [nan, 1.0], [0, 1]),
        (tg.nanmean, [nan, 1.0, 2.0], [0, 0.5, 0.5]),
        (tg.logcumsumexp, [-inf, -inf, 0.0, 0.0], [0, 0, 3 + 2.0, 2.0]),
    ],
)  # fmt: skip
def test_gradients_at_ties_and_nan(function: Any, x: Any, expected: Any) -> None:
    np.testing.assert_allclose(gradient(function, x), expected, rtol=1e-15)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_at_nan_and_infinities() -> None:
    x = tg.tensor(np.array([[1.0, nan, 2.0], [1.0, inf, inf], [-inf, -inf, 5.0]]))
    np.testing.assert_array_equal(tg.median(x, axis=1).numpy(), [nan, inf, -inf])
    np.testing.assert_array_equal(tg.quantile(x, 0.5, axis=1).numpy(), [nan, inf, -inf])
    np.testing.assert_array_equal(tg.quantile(x, 0.75, axis=1).numpy(), [nan, inf, -inf])
    np.testing.assert_array_equal(
        tg.quantile(x, [0.0, 1.0], axis=1).numpy(), [[nan, 1, -inf], [nan, inf, 5]]
    )
    assert np.isnan(gradient(tg.median, [1.0, nan, 2.0])).sum() == 1
    np.testing.assert_array_equal(tg.nanmean(np.array([[nan, nan], [nan, 4.0]]), axis=1), [nan, 4])
    np.testing.assert_array_equal(tg.nansum(np.array([nan, nan])), 0)
    np.testing.assert_array_equal(tg.cummin(np.array([3.0, -0.0, 0.0, nan, 1.0])), [3, 0, 0, nan, nan])  # fmt: skip


# --- running logarithms of sums -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logcumsumexp(dtype: Any) -> None:
    x = np.array([[0.0, 700.0, -700.0, 3.0], [-1e4, -1e4, 1e4, 0.0], [-inf, 1.0, -inf, 2.0]], dtype)
    with mp.workdps(30):
        exact = [[mp.log(mp.fsum(mp.exp(mp.mpf(float(v))) for v in row[: k + 1])) if np.isfinite(row[: k + 1]).any() else -inf
                  for k in range(len(row))] for row in x]  # fmt: skip
    found = tg.logcumsumexp(tg.tensor(x))
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found.numpy(), np.array(exact, float), rtol=1e-6 if dtype == np.float32 else 1e-14
    )
    assert tg.logcumsumexp(tg.tensor([1, 2])).dtype == np.float32


@pytest.mark.parametrize("n", [1, 2, 3, 8, 13])
def test_derivatives_of_logcumsumexp(n: int) -> None:
    """By its definition, in exact numbers, as far as the third."""
    x = np.random.default_rng(n).normal(size=n) * 3
    g = np.cos(np.arange(n))
    direction = np.sin(np.arange(n) + 1.0)

    def loss(t: Any) -> Any:
        return (tg.logcumsumexp(t) * g).sum()

    def along(k: int) -> float:
        f: Any = loss
        for _ in range(k):
            f = functools.partial(lambda h, t: (tg.grad(h)(t) * direction).sum(), f)
        return float(f(tg.tensor(x)).numpy())

    def exact(s: Any) -> Any:
        terms = [mp.exp(mp.mpf(a) + s * mp.mpf(d)) for a, d in zip(x, direction, strict=True)]
        return mp.fsum(mp.mpf(w) * mp.log(mp.fsum(terms[: k + 1])) for k, w in enumerate(g))

    with mp.workdps(60):
        expected = [float(mp.diff(exact, 0, k)) for k in range(4)]
    np.testing.assert_allclose([along(k) for k in range(4)], expected, rtol=1e-10, atol=1e-12)


def test_running_functions_of_numpy_are_recorded() -> None:
    t = tg.tensor(A, requires_grad=True)
    for ufunc in (np.add, np.multiply, np.maximum, np.minimum, np.logaddexp):
        for settings in ({}, {"axis": 1}):
            found = ufunc.accumulate(t, **settings)
            assert found.requires_grad
            np.testing.assert_allclose(found.numpy(), ufunc.accumulate(A, **settings), rtol=1e-13)


# --- writing along an axis ------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_put_along_axis(axis: int) -> None:
    indices = np.moveaxis(np.argsort(rng.normal(size=(3, 4, 5)), axis)[:, :, :], 0, 0)
    indices = np.take(indices, [0, 2], axis) - (indices.shape[axis] if axis else 0)
    values = rng.normal(size=indices.shape)
    expected = A.copy()
    np.put_along_axis(expected, indices, values, axis)
    x, v = tg.tensor(A), tg.tensor(values)
    np.testing.assert_array_equal(tg.put_along_axis(x, indices, v, axis).numpy(), expected)
    np.testing.assert_array_equal(x.numpy(), A)
    np.put_along_axis(expected, indices, 2.5, axis)
    np.testing.assert_array_equal(tg.put_along_axis(A, indices, 2.5, axis), expected)
    tg.gradcheck(lambda a, b: tg.put_along_axis(a, indices, b, axis) ** 2, A, values, order=2)


def test_of_two_values_for_one_element_the_last_counts() -> None:
    indices = np.array([[0, 2, 0, -1]])
    x, v = (tg.tensor(np.ones((1, k)) * k, requires_grad=True) for k in (3, 4))
    y = tg.put_along_axis(x, indices, v * np.arange(4.0), 1)
    np.testing.assert_array_equal(y.numpy(), [[8, 3, 12]])
    (y * y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 6, 0]])
    np.testing.assert_array_equal(v.grad.numpy(), [[0, 0, 32, 72]])


# --- different values -----------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"return_index": True}, {"return_inverse": True, "return_counts": True}, {"axis": 0}])  # fmt: skip
def test_unique(settings: dict[str, Any]) -> None:
    for x in (TIES, np.array([[3, 1], [3, 1], [0, 2]]), TIES[:, ::-2], TIES[:0]):
        expected = np.unique(x, **settings)
        for found in (tg.unique(tg.tensor(x), **settings), np.unique(tg.tensor(x), **settings)):
            pairs = (
                zip(found, expected, strict=True)
                if isinstance(expected, tuple)
                else [(found, expected)]
            )
            for f, e in pairs:
                assert isinstance(f, tg.Tensor) and f.dtype == e.dtype
                np.testing.assert_array_equal(f.numpy(), e)  # fmt: skip


def test_different_values_have_no_gradient() -> None:
    with pytest.raises(tg.NotDifferentiableError, match=r"x\.detach\(\)"):
        tg.unique(tg.tensor(TIES, requires_grad=True))
    with pytest.raises(tg.TraceError, match="how many different values"):
        tg.trace(tg.unique, tg.tensor([1, 2]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.topk(A, 6), "k=6 of axis -1"),
        (lambda: tg.topk(A, -1), "k must be at least 0"),
        (lambda: tg.sort(A, 3), "axis 3 is out of range"),
        (lambda: tg.sort(A, (0, 1)), "axis must be a whole number"),
        (lambda: tg.median(A[:0]), "is empty"),
        (lambda: tg.quantile(A, 1.5), r"q must be in \[0, 1\]"),
        (lambda: tg.quantile(A, tg.tensor(0.5)), "not a tensor"),
        (lambda: tg.quantile(A, [[0.5]]), "a number or a list"),
        (lambda: tg.quantile(A, 0.5, method="hazen"), "method must be one of"),
        (lambda: tg.put_along_axis(A, np.array([0]), 1.0), "expected indices of shape"),
        (lambda: tg.put_along_axis(A[0, 0], np.array([5]), 1.0), "indices from 5 to 5"),
        (lambda: tg.put_along_axis(A[0, 0], np.array([1]), np.ones(2)), "spread"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(tg.TinygradError, match=words):
        call()
