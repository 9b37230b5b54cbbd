"""NumPy called with tensors.

What records, what refuses, and that nothing cuts the tape in silence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

X = np.array([[0.3, -1.2, 0.8], [1.7, 0.4, -0.6]])
Y = np.array([[1.1, 0.2, -0.7], [0.5, -1.4, 0.9]])
P = np.abs(X) + 0.5  # positive


def values_and_gradients(f: Callable[..., Any], *arrays: Any) -> list[Any]:
    """The outputs of `f` and the gradients of their sum with random weights.

    Fails if something was not recorded.
    """
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    out = f(*xs)
    outs = list(out) if isinstance(out, (list, tuple)) else [out]
    for i, y in enumerate(outs):
        assert isinstance(y, tg.Tensor), type(y)
        assert y.requires_grad
        y.backward(np.random.default_rng(i).standard_normal(y.shape), retain_graph=True)
    return [y.numpy() for y in outs] + [x.grad.numpy() for x in xs if x.grad is not None]


def same(of_numpy: Callable[..., Any], of_tg: Callable[..., Any], *arrays: Any) -> None:
    """Both give tensors with the values that NumPy has for arrays, and equal gradients."""
    found, expected = values_and_gradients(of_numpy, *arrays), values_and_gradients(of_tg, *arrays)
    assert len(found) == len(expected)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(f, e)
    plain = of_numpy(*arrays)
    for f, e in zip(found, plain if isinstance(plain, (list, tuple)) else [plain], strict=False):
        np.testing.assert_allclose(f, e, rtol=1e-14)


UNARY = [
    "abs",
    "cos",
    "exp",
    "expm1",
    "positive",
    "reciprocal",
    "sign",
    "sin",
    "square",
    "tanh",
    "floor",
]


@pytest.mark.parametrize("name", [*UNARY, "log", "log1p", "sqrt"])
def test_unary_ufuncs(name: str) -> None:
    same(getattr(np, name), getattr(tg, name), P if name in ("log", "log1p", "sqrt") else X)


def test_negative_and_absolute() -> None:
    same(np.negative, tg.neg, X)
    same(np.absolute, tg.abs, X)


BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "true_divide",
    "maximum",
    "minimum",
    "logaddexp",
    "mod",
    "remainder",
]


@pytest.mark.parametrize("name", [*BINARY, "power"])
def test_binary_ufuncs(name: str) -> None:
    ours = getattr(tg, {"true_divide": "divide", "remainder": "mod"}.get(name, name))
    a = P if name == "power" else X
    same(getattr(np, name), ours, a, Y)
    same(lambda t: getattr(np, name)(t, Y[0]), lambda t: ours(t, Y[0]), a)
    same(lambda t: getattr(np, name)(P, t), lambda t: ours(P, t), Y)
    same(lambda t: getattr(np, name)(2.5, t), lambda t: ours(2.5, t), Y)
    same(lambda t: getattr(np, name)(np.float64(2.5), t), lambda t: ours(2.5, t), Y)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b, "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
}  # fmt: skip


@pytest.mark.parametrize("symbol", OPERATORS)
def test_operators_with_an_array_on_either_side(symbol: str) -> None:
    op = OPERATORS[symbol]
    for constant in (
        P,
        P[0],
        P[:, :1],
        P[0, 0],
        np.float64(1.5),
        np.float32(1.5),
        np.int64(2),
        P.astype(np.float32),
        np.array([1, 2, 3]),
    ):
        both = values_and_gradients(op, constant.astype(float), Y)
        left, right = values_and_gradients(lambda t: op(constant, t), Y), both  # noqa: B023
        np.testing.assert_allclose(left[0], right[0], rtol=1e-6)
        np.testing.assert_allclose(left[1], right[-1], rtol=1e-6)
        np.testing.assert_allclose(left[0], op(constant, Y), rtol=1e-6)
        both = values_and_gradients(op, P, constant.astype(float))
        left, right = values_and_gradients(lambda t: op(t, constant), P), both  # noqa: B023
        np.testing.assert_allclose(left[0], right[0], rtol=1e-6)
        np.testing.assert_allclose(left[1], right[1], rtol=1e-6)


def test_matrix_products_with_an_array_on_either_side() -> None:
    same(lambda t: X @ t, lambda t: tg.matmul(X, t), Y.T)
    same(lambda t: t @ X, lambda t: tg.matmul(t, X), Y.T)
    same(np.matmul, tg.matmul, X, Y.T)
    same(np.dot, tg.matmul, X, Y.T)
    same(np.dot, tg.matmul, X[0], Y[0])
    same(lambda t: np.dot(X, t), lambda t: tg.matmul(X, t), Y[0])
    same(np.outer, tg.outer, X[0], Y[1])


@pytest.mark.parametrize(
    "name", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
)
def test_comparisons(name: str) -> None:
    t = tg.tensor(X, requires_grad=True)
    signs: dict[str, Callable[[Any, Any], Any]] = {
        "equal": lambda a, b: a == b, "not_equal": lambda a, b: a != b, "less": lambda a, b: a < b, "less_equal": lambda a, b: a <= b,
        "greater": lambda a, b: a > b, "greater_equal": lambda a, b: a >= b,
    }  # fmt: skip
    other = np.where(Y > 0, X, Y)
    for found, expected in [
        (getattr(np, name)(t, other), getattr(np, name)(X, other)), (signs[name](other, t), signs[name](other, X)),
        (signs[name](t, other), signs[name](X, other)), (signs[name](0.3, t), signs[name](0.3, X)),
        (signs[name](np.float64(0.3), t), signs[name](0.3, X)),
    ]:  # fmt: skip
        assert isinstance(found, tg.Tensor)
        assert found.dtype == bool
        assert not found.requires_grad
        np.testing.assert_array_equal(found.numpy(), expected)


def test_logical_functions() -> None:
    t = tg.tensor(X)
    np.testing.assert_array_equal(np.logical_not(t > 0).numpy(), ~(X > 0))
    np.testing.assert_array_equal(np.logical_and(t > 0, Y > 0).numpy(), (X > 0) & (Y > 0))
    np.testing.assert_array_equal(np.logical_or(X > 0, t > 1).numpy(), (X > 0) | (X > 1))
    np.testing.assert_array_equal(((t > 0) & (t < 1)).numpy(), (X > 0) & (X < 1))
    np.testing.assert_array_equal((~(t > 0)).numpy(), ~(X > 0))
    np.testing.assert_array_equal(np.isnan(t).numpy(), np.isnan(X))
    np.testing.assert_array_equal(np.isfinite(t).numpy(), np.isfinite(X))


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "std"])
@pytest.mark.parametrize(
    "options", [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 1)}], ids=str
)
def test_reductions(name: str, options: dict[str, Any]) -> None:
    same(lambda t: getattr(np, name)(t, **options), lambda t: getattr(tg, name)(t, **options), X)


def test_reductions_by_their_other_names() -> None:
    same(lambda t: np.sum(t, 1), lambda t: tg.sum(t, axis=1), X)
    same(np.amax, tg.max, X)
    same(np.amin, tg.min, X)
    same(lambda t: np.std(t, ddof=1), lambda t: tg.std(t, correction=1), X)
    same(lambda t: np.var(t, axis=1, ddof=1), lambda t: tg.var(t, axis=1, correction=1), X)
    same(lambda t: np.cumsum(t, axis=1), lambda t: tg.cumsum(t, axis=1), X)
    same(lambda t: np.cumprod(t, axis=0), lambda t: tg.cumprod(t, axis=0), X)
    same(np.linalg.norm, tg.norm, X)
    same(lambda t: np.linalg.norm(t, axis=1), lambda t: tg.norm(t, axis=1), X)
    same(
        lambda t: np.linalg.norm(t, axis=1, keepdims=True),
        lambda t: tg.norm(t, axis=1, keepdims=True),
        X,
    )


def test_cumulative_functions_without_an_axis() -> None:
    """NumPy flattens there, and `tg` works along the last axis.

    The NumPy spelling means what NumPy means.
    """
    same(np.cumsum, lambda t: tg.cumsum(t.reshape(-1)), X)
    same(np.cumprod, lambda t: tg.cumprod(t.reshape(-1)), X)
    same(lambda t: np.cumsum(t, 0), lambda t: tg.cumsum(t, 0), X)
    same(
        lambda t: np.take(t, np.array([4, 0])),
        lambda t: tg.take(t.reshape(-1), np.array([4, 0])),
        X,
    )
    same(lambda t: np.take(t, np.array([1, 0]), 0), lambda t: tg.take(t, np.array([1, 0]), 0), X)


@pytest.mark.parametrize(
    ("ufunc", "ours"),
    [(np.add, tg.sum), (np.multiply, tg.prod), (np.maximum, tg.max), (np.minimum, tg.min)],
)
def test_reduce_of_ufuncs(ufunc: Any, ours: Any) -> None:
    same(ufunc.reduce, lambda t: ours(t, axis=0), X)
    same(lambda t: ufunc.reduce(t, axis=1), lambda t: ours(t, axis=1), X)
    same(lambda t: ufunc.reduce(t, axis=None), ours, X)
    same(
        lambda t: ufunc.reduce(t, axis=(0, 1), keepdims=True),
        lambda t: ours(t, axis=(0, 1), keepdims=True),
        X,
    )


def test_arg_functions() -> None:
    t = tg.tensor(X, requires_grad=True)
    for name in ("argmax", "argmin"):
        for axis in (None, 0, 1):
            found = getattr(np, name)(t, axis=axis)
            assert isinstance(found, tg.Tensor)
            np.testing.assert_array_equal(found.numpy(), getattr(np, name)(X, axis=axis))
    assert np.any(t > 0).item() is True
    assert np.all(t > 0).item() is False


def test_joining() -> None:
    same(lambda a, b: np.concatenate([a, b]), lambda a, b: tg.concatenate([a, b]), X, Y)
    same(
        lambda a, b: np.concatenate((a, b), axis=1),
        lambda a, b: tg.concatenate([a, b], axis=1),
        X,
        Y,
    )
    same(lambda a: np.concatenate([Y, a]), lambda a: tg.concatenate([Y, a]), X)
    same(lambda a, b: np.stack([a, b], axis=1), lambda a, b: tg.stack([a, b], axis=1), X, Y)
    same(lambda a: np.stack([a, Y, a]), lambda a: tg.stack([a, Y, a]), X)
    same(lambda a: np.split(a, 3, axis=1), lambda a: tg.split(a, 3, axis=1), X)
    same(lambda a: np.split(a, [1], axis=1), lambda a: tg.split(a, [1], axis=1), X)


def test_shapes() -> None:
    same(lambda t: np.reshape(t, (3, 2)), lambda t: tg.reshape(t, (3, 2)), X)
    same(lambda t: np.reshape(t, -1), lambda t: tg.reshape(t, -1), X)
    same(np.transpose, tg.transpose, X)
    same(lambda t: np.transpose(t, (1, 0)), lambda t: tg.transpose(t, (1, 0)), X)
    same(lambda t: np.swapaxes(t, 0, 1), lambda t: tg.swapaxes(t, 0, 1), X)
    same(lambda t: np.expand_dims(t, 1), lambda t: tg.expand_dims(t, 1), X)
    same(lambda t: np.expand_dims(t, axis=(0, -1)), lambda t: tg.expand_dims(t, (0, -1)), X)
    same(np.squeeze, tg.squeeze, X[:1])
    same(lambda t: np.squeeze(t, axis=0), lambda t: tg.squeeze(t, axis=0), X[:1])
    same(lambda t: np.broadcast_to(t, (4, 2, 3)), lambda t: tg.broadcast_to(t, (4, 2, 3)), X)
    same(np.flip, tg.flip, X)
    same(lambda t: np.flip(t, axis=1), lambda t: tg.flip(t, axis=1), X)
    same(lambda t: np.roll(t, 1), lambda t: tg.roll(t, 1), X)
    same(lambda t: np.roll(t, 2, axis=1), lambda t: tg.roll(t, 2, axis=1), X)
    same(np.tril, tg.tril, X)
    same(lambda t: np.triu(t, k=1), lambda t: tg.triu(t, k=1), X)


def test_padding() -> None:
    same(lambda t: np.pad(t, 1), lambda t: tg.pad(t, 1), X)
    same(lambda t: np.pad(t, ((0, 1), (2, 0))), lambda t: tg.pad(t, ((0, 1), (2, 0))), X)
    same(lambda t: np.pad(t, (1, 2), "constant"), lambda t: tg.pad(t, (1, 2)), X)
    same(
        lambda t: np.pad(t, 1, mode="constant", constant_values=3.0),
        lambda t: tg.pad(t, 1, value=3.0),
        X,
    )
    same(lambda t: np.pad(t, 1, mode="reflect"), lambda t: tg.pad(t, 1, mode="reflect"), X)
    same(lambda t: np.pad(t, 1, "edge"), lambda t: tg.pad(t, 1, mode="edge"), X)
    with pytest.raises(tg.TinygradError, match="pad: mode must be"):
        np.pad(tg.tensor(X), 1, "linear_ramp")


def test_choosing_and_indexing() -> None:
    same(lambda a, b: np.where(X > 0, a, b), lambda a, b: tg.where(X > 0, a, b), X, Y)
    same(lambda a: np.where(a > 0, a, 0.0), lambda a: tg.where(a > 0, a, 0.0), X)
    same(lambda a: np.clip(a, -0.5, 1.0), lambda a: tg.clip(a, -0.5, 1.0), X)
    same(lambda a: np.clip(a, a_min=-0.5, a_max=1.0), lambda a: tg.clip(a, -0.5, 1.0), X)
    same(lambda a: np.clip(a, None, 1.0), lambda a: tg.clip(a, high=1.0), X)
    same(lambda a: np.clip(a, a_min=-0.5, a_max=None), lambda a: tg.clip(a, low=-0.5), X)
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        same(lambda a: np.clip(a, min=-0.5, max=1.0), lambda a: tg.clip(a, -0.5, 1.0), X)
        same(lambda a: np.clip(a, max=0.5), lambda a: tg.clip(a, high=0.5), X)
    same(
        lambda a: np.take(a, np.array([1, 0, 1]), axis=1),
        lambda a: tg.take(a, np.array([1, 0, 1]), axis=1),
        X,
    )
    index = np.array([[0, 2], [1, 1]])
    same(
        lambda a: np.take_along_axis(a, index, axis=1),
        lambda a: tg.take_along_axis(a, index, axis=1),
        X,
    )
    same(lambda a, b: np.einsum("ij,kj->ik", a, b), lambda a, b: tg.einsum("ij,kj->ik", a, b), X, Y)
    same(lambda a: np.einsum("ij,kj->ik", Y, a), lambda a: tg.einsum("ij,kj->ik", Y, a), X)


def test_functions_that_look_at_shapes_or_compare() -> None:
    t = tg.tensor(X, requires_grad=True)
    assert np.shape(t) == (2, 3)
    assert np.ndim(t) == 2
    assert np.size(t) == 6
    assert np.array_equal(t, X)
    assert np.allclose(t, X + 1e-12)
    assert np.isclose(t, X).all()
    assert np.result_type(t, np.float32) == np.float64
    for f in (np.zeros_like, np.ones_like, lambda a: np.full_like(a, 2.0)):
        np.testing.assert_array_equal(np.asarray(f(t)), f(X))


def test_mixed_expression_records_throughout() -> None:
    def f(np_or_tg: Any, a: Any, b: Any) -> Any:
        h = np_or_tg.tanh(a @ Y.T + np.ones(2)) * np.arange(1.0, 3.0)
        return np_or_tg.sum(np_or_tg.concatenate([h, 2.0 - np_or_tg.exp(b)], axis=1) ** 2, axis=0)

    same(lambda a, b: f(np, a, b), lambda a, b: f(tg, a, b), X, Y)
    tg.gradcheck(lambda a, b: f(np, a, b), X, Y, order=2)


# --- what refuses --------------------------------------------------------------------------------------------------------

UNKNOWN: list[tuple[str, Callable[[Any], Any]]] = [
    ("fft.fft", np.fft.fft), ("linalg.eig", np.linalg.eig), ("linalg.lstsq", lambda t: np.linalg.lstsq(t, t)), ("convolve", lambda t: np.convolve(t[0], np.ones(2))),
    ("partition", lambda t: np.partition(t, 1)),
    ("interp", lambda t: np.interp(t, [0, 1], [0, 1])),
    ("logaddexp2", lambda t: np.logaddexp2(t, t)), ("cbrt", np.cbrt), ("heaviside", lambda t: np.heaviside(t, 0.5)), ("spacing", np.spacing),
    ("subtract.accumulate", np.subtract.accumulate), ("add.outer", lambda t: np.add.outer(t, t)), ("subtract.reduce", np.subtract.reduce),
    ("add.at", lambda t: np.add.at(t, 0, 1.0)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function"), UNKNOWN, ids=[n for n, _ in UNKNOWN])
def test_unknown_functions_refuse_and_name_the_way_out(
    name: str, function: Callable[[Any], Any]
) -> None:
    for requires_grad in (True, False):
        t = tg.tensor(np.eye(3) + 0.1, requires_grad=requires_grad)
        with pytest.raises(tg.NotDifferentiableError) as caught:
            function(t)
        text = str(caught.value)
        assert f"np.{name}" in text
        assert "numpy()" in text
        assert "detach()" in text


def test_a_ufunc_that_could_be_registered_says_so() -> None:
    with pytest.raises(tg.NotDifferentiableError, match="register_ufunc"):
        np.cbrt(tg.tensor(X))


def test_conversion_of_a_tensor_that_requires_gradients_refuses() -> None:
    t = tg.tensor(X, requires_grad=True)
    for convert in (np.asarray, np.array, lambda a: np.asarray(a, dtype=np.float32), lambda a: np.asarray(a * 2),
                    lambda a: np.asarray([a, a])):  # fmt: skip
        with pytest.raises(tg.GraphError, match="detach"):
            convert(t)
    np.testing.assert_array_equal(np.asarray(t.detach()), X)
    np.testing.assert_array_equal(np.asarray(tg.tensor(X)), X)
    np.testing.assert_array_equal(t.numpy(), X)
    copied = np.array(tg.tensor(X))
    copied[0, 0] = 9.0  # its own memory


@pytest.mark.parametrize("operator", ["+=", "-=", "*=", "/=", "**=", "%=", "@="])
def test_in_place_operators_on_an_array_refuse(operator: str) -> None:
    scope = {"a": np.eye(3) + 1.0, "t": tg.tensor(np.eye(3), requires_grad=True)}
    before = scope["a"].copy()
    with pytest.raises(tg.NotDifferentiableError, match="existing array"):
        exec(f"a {operator} t", scope)
    np.testing.assert_array_equal(scope["a"], before)


def test_out_refuses() -> None:
    t = tg.tensor(X, requires_grad=True)
    for f in (lambda: np.add(t, 1.0, out=np.empty((2, 3))), lambda: np.tanh(t, out=np.empty((2, 3))),
              lambda: np.add.reduce(t, out=np.empty(3)), lambda: np.sum(t, axis=0, out=np.empty(3)), lambda: np.add(X, 1.0, out=t),
              lambda: np.clip(t, 0, 1, out=np.empty((2, 3))), lambda: np.concatenate([t, t], out=np.empty((4, 3)))):  # fmt: skip
        with pytest.raises(tg.NotDifferentiableError):
            f()


def test_options_that_cannot_be_recorded_refuse() -> None:
    t = tg.tensor(X, requires_grad=True)
    for f in (lambda: np.add(t, 1.0, where=X > 0), lambda: np.add(t, 1.0, dtype=np.float32), lambda: np.linalg.pinv(t, hermitian=True)):  # fmt: skip
        with pytest.raises(tg.NotDifferentiableError):
            f()


# --- ufuncs of others ----------------------------------------------------------------------------------------------------


def test_registered_numpy_ufunc() -> None:
    with pytest.raises(tg.NotDifferentiableError, match="deg2rad"):
        np.deg2rad(tg.tensor(X))
    tg.register_ufunc(np.deg2rad, lambda g: g * (np.pi / 180))
    tg.gradcheck(lambda x: np.deg2rad(x), X, order=2)
    np.testing.assert_array_equal(np.deg2rad(tg.tensor(X)).numpy(), np.deg2rad(X))


def test_registered_ufunc_of_two_inputs() -> None:
    op = tg.register_ufunc(np.hypot, lambda g, out, a: g * a / out, lambda g, out, b: g * b / out)
    tg.gradcheck(np.hypot, P, Y[0], order=2)
    tg.gradcheck(op, P, Y[:, :1], order=2)
    assert np.hypot(tg.tensor(P.astype(np.float32)), 2.0).dtype == np.float32
    assert np.hypot(P.astype(np.float32), tg.tensor(P.astype(np.float32))).dtype == np.float32
    with pytest.raises(tg.RuleError, match="2 inputs"):
        tg.register_ufunc(np.copysign, lambda g: g)


def test_numba_ufunc() -> None:
    numba = pytest.importorskip("numba")

    @numba.vectorize
    def cube(x: Any) -> Any:
        return x * x * x

    @numba.vectorize(["float32(float32, float32)", "float64(float64, float64)"])
    def blend(a: Any, b: Any) -> Any:
        return a * a * b

    tg.register_ufunc(cube, lambda g, x: g * 3.0 * x * x)
    tg.register_ufunc(blend, lambda g, a, b: g * 2.0 * a * b, lambda g, a: g * a * a)
    tg.gradcheck(lambda x: cube(x), X, order=2)
    tg.gradcheck(lambda a, b: blend(a, b), X, Y[0], order=2)
    x = tg.tensor(X.astype(np.float32), requires_grad=True)
    for y in (cube(x), blend(x, X), blend(X, x), blend(x, 2.0)):
        assert isinstance(y, tg.Tensor)
        assert y.requires_grad
        assert y.dtype == np.float32
    np.testing.assert_array_equal(cube(X), X * X * X)


def test_unregistered_numba_ufunc_refuses() -> None:
    numba = pytest.importorskip("numba")

    @numba.vectorize(["float64(float64)"])
    def mystery(x: Any) -> Any:
        return x + 1

    with pytest.raises(tg.NotDifferentiableError, match="register_ufunc"):
        mystery(tg.tensor(X, requires_grad=True))


# --- the same call by position and by name ------------------------------------------------------------------------------------

A = np.random.default_rng(7).standard_normal((2, 3))
MASK = A > 0
SQUARE = A.T @ A + np.eye(3)
CALLS: dict[str, list[tuple[Any, ...]]] = {
    "sort": [(A,), (A, 0), (A, None)], "argsort": [(A,), (A, 0)], "median": [(A,), (A, 1)], "quantile": [(A, 0.3), (A, [0.2, 0.9], 0)], "percentile": [(A, 30, 1), (A, [10, 90])],
    "searchsorted": [(np.array([-0.5, 0.1, 0.7]), A), (np.array([-0.5, 0.1, 0.7]), A, "right")], "bincount": [(np.array([0, 2, 2]),), (np.array([0, 2, 2]), A[0], 5)],
    "histogram": [(A,), (A, 4, (-1.0, 1.0)), (A, [-1.0, 0.0, 2.0])], "nansum": [(A, 1)], "nanmean": [(A,)], "unique": [(A,)],
    "tensordot": [(A, A), (A, A, 0), (A, A, ([1], [1]))], "inner": [(A, A)], "vdot": [(A, A)], "kron": [(A, A[0])], "cross": [(A, A[::-1] + 1)], "diagonal": [(A,), (A, 1, 1, 0)],
    "diag": [(A,), (A[0], 1)], "trace": [(A,), (A, 1, 1, 0)],
    "round": [(A,)], "sinc": [(A,)], "ravel": [(A,)], "moveaxis": [(A, 0, 1)], "repeat": [(A, 2), (A, 2, 1)], "tile": [(A, 2)], "vstack": [((A, A),)], "hstack": [((A, A),)],
    "dstack": [((A, A),)], "column_stack": [((A, A),)], "append": [(A, A), (A, A, 0)], "array_split": [(A, 2, 1)], "rot90": [(A,), (A, 2, (1, 0))], "diff": [(A,), (A, 1, 0)], "clip": [(A, -0.5, 0.5)], "where": [(MASK, A, -A)], "sum": [(A,), (A, 1)], "prod": [(A, 0)], "mean": [(A,), (A, (0, 1))],
    "std": [(A, 1)], "var": [(A, 1)], "max": [(A, 0)], "min": [(A, 1)], "amax": [(A,)], "amin": [(A, 0)], "all": [(MASK, 1)], "any": [(MASK, 0)],
    "argmax": [(A,), (A, 1)], "argmin": [(A, 0)], "cumsum": [(A,), (A, 0)], "cumprod": [(A,), (A, 1)], "outer": [(A[0], A[1])],
    "dot": [(A, A.T), (A, 2.0)], "norm": [(A,), (A, None, 1), (A, "fro"), (A[0], 2), (A, None, 1, True)], "broadcast_to": [(A, (4, 2, 3))],
    "concatenate": [((A, A), 1), ((A, A), None)], "stack": [((A, A), -1)], "expand_dims": [(A, 1)], "squeeze": [(A[:1], 0), (A[:1],)],
    "flip": [(A,), (A, 1)], "roll": [(A, 2), (A, (1, -1), (0, 1))], "pad": [(A, ((1, 0), (0, 2)))], "reshape": [(A, (3, 2)), (A, -1), (A, 6)],
    "transpose": [(A,), (A, (1, 0)), (A, None)], "swapaxes": [(A, 0, -1)], "split": [(A, 3, 1), (A, [1], 0)], "take": [(A, [1, 0, 1]), (A, [[2], [0]], 1)],
    **{f"linalg.{n}": [(SQUARE,)] for n in ("inv", "pinv", "det", "slogdet", "cholesky", "eigh", "eigvalsh", "svd", "svdvals", "qr")},
    "linalg.solve": [(SQUARE, A[0]), (SQUARE, A.T)], "linalg.matrix_power": [(SQUARE, 3), (SQUARE, -2), (SQUARE, 0)],
    "take_along_axis": [(A, np.array([[1], [0]]), 1)], "tril": [(A, -1)], "triu": [(A,), (A, 1)],
}  # fmt: skip
MORE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("sum", (A, 0, None, None, True), {}), ("sum", (A,), {"keepdims": True, "out": None, "dtype": None}), ("mean", (A, 1, None, None, True), {}),
    ("var", (A, 1, None, None, 1), {}), ("var", (A,), {"correction": 1, "axis": 0}), ("std", (A,), {"ddof": 1, "keepdims": True}),
    ("max", (A, 0, None, True), {}), ("argmax", (A, 1), {"keepdims": True}), ("clip", (A,), {"min": -0.1, "max": 0.2}), ("clip", (A,), {"a_min": None, "a_max": 0.2}),
    ("pad", (A, 1, "constant"), {"constant_values": 2.5}), ("reshape", (A, (3, 2), "C"), {}), ("take", (A, [1], 0, None, "raise"), {}),
    ("stack", ((A, A),), {"axis": 1, "out": None}), ("concatenate", ((A, A), 0, None), {}), ("cumsum", (A,), {"axis": 1, "dtype": None}),
    ("broadcast_to", (A, (2, 2, 3), False), {}), ("norm", (A,), {"ord": "fro", "keepdims": True}), ("norm", (A, 1, 0, True), {}), ("norm", (A, "nuc"), {}),
    ("linalg.svd", (A, False), {"compute_uv": True}), ("linalg.svd", (A,), {"compute_uv": False}), ("linalg.qr", (A,), {"mode": "r"}),
    ("linalg.eigh", (SQUARE, "U"), {}), ("linalg.eigvalsh", (SQUARE,), {"UPLO": "U"}), ("linalg.cholesky", (SQUARE,), {"upper": True}),
    ("sort", (A, 0, "stable"), {}), ("argsort", (A,), {"kind": "mergesort", "axis": 0}), ("median", (A, 0, None, False, True), {}), ("quantile", (A, 0.5), {"method": "nearest", "keepdims": True}),
    ("cross", (A, A + 1), {"axis": -1}), ("cross", (A, A + 1, -1, -1, -1), {}), ("trace", (A,), {"offset": -1, "out": None}),
]  # fmt: skip


def theirs(name: str) -> Any:
    space = np.linalg if name == "norm" or name.startswith("linalg.") else np
    return getattr(space, name.removeprefix("linalg."))


def tensors_of(args: Any) -> Any:
    """The call's floating arrays as tensors, wherever they stand."""
    if isinstance(args, np.ndarray):
        return tg.tensor(args)
    return type(args)(map(tensors_of, args)) if isinstance(args, tuple) else args


def equals(found: Any, expected: Any) -> None:
    found, expected = (list(x) if isinstance(x, (list, tuple)) else [x] for x in (found, expected))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert isinstance(a, tg.Tensor) and a.shape == np.shape(b)
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-13)


def test_every_function_is_called_here() -> None:
    from tinygrad_rnn.ops.dispatch import _TAKEN

    assert {f.__name__ for f in _TAKEN} == {theirs(name).__name__ for name in CALLS} | {"rfft"}


@pytest.mark.parametrize("name", CALLS)
def test_functions_by_position_and_by_name(name: str) -> None:
    function = theirs(name)
    try:
        found = inspect.signature(function).parameters.values()
    except ValueError:
        pytest.skip("this NumPy does not say the names")
    names = [p.name for p in found if p.kind is not p.VAR_KEYWORD]
    fixed = sum(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in found)
    for args in CALLS[name]:
        expected = function(*args)
        given = tensors_of(args)
        equals(function(*given), expected)
        # so many by position, the rest by name
        for count in range(min(fixed, len(args)), len(args) + 1):
            equals(
                function(
                    *given[:count],
                    **dict(zip(names[count : len(args)], given[count:], strict=True)),
                ),
                expected,
            )


@pytest.mark.parametrize("name, args, settings", MORE)
def test_functions_with_all_their_parameters(
    name: str, args: Any, settings: dict[str, Any]
) -> None:
    equals(theirs(name)(*tensors_of(args), **settings), theirs(name)(*args, **settings))


@pytest.mark.parametrize("call", [
    lambda t: np.linalg.pinv(t, hermitian=True), lambda t: np.fft.rfft(t, out=np.zeros(3)), lambda t: np.clip(t, 0.0, 1.0, max=0.5), lambda t: np.var(t, ddof=1, correction=0), lambda t: np.einsum("ij->i", t, dtype=np.float32),
])  # fmt: skip
def test_what_is_not_taken_says_so(call: Any) -> None:
    with pytest.raises(
        (tg.NotDifferentiableError, ValueError), match=r"has no derivative here|ddof and correction"
    ):
        call(tg.tensor(A))


def test_einsum_with_numbers_as_labels() -> None:
    t, u = tg.tensor(A), tg.tensor(np.stack([A, 2 * A, A**2]))
    B = u.numpy()
    for args in [("t", [0, 1], [1, 0]), ("t", [1, 0]), ("t", [0, 1], "t", [2, 1], [0, 2]), ("u", [2, 0, 1], "t", [0, 1]), ("u", [..., 1], "t", [0, 1], [..., 0]),
                 ("t", [30, 7], [7]), ("u", [Ellipsis, 0], [Ellipsis])]:  # fmt: skip
        ours = [{"t": t, "u": u}[a] if isinstance(a, str) else a for a in args]
        plain = [{"t": A, "u": B}[a] if isinstance(a, str) else a for a in args]
        expected = np.einsum(*plain)
        equals(np.einsum(*ours), expected)
        equals(tg.einsum(*ours), expected)
        equals(np.einsum(*ours, optimize=True), expected)
    tg.gradcheck(lambda a, b: tg.einsum(a, [0, 1], b, [2, 1], [2, 0]), A, A, order=2)
