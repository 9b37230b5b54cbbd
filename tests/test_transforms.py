"""grad, vjp, jvp, jacobian, hessian, hvp and gradcheck against closed forms and against each other."""

from __future__ import annotations

import threading
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import interpreting

State = namedtuple("State", "h c")


def t64(values: Any) -> tg.Tensor:
    return tg.tensor(np.asarray(values, np.float64))


def close(found: Any, expected: Any, **options: Any) -> None:
    found = found.numpy() if isinstance(found, tg.Tensor) else found
    np.testing.assert_allclose(found, expected, **{"rtol": 1e-10, "atol": 1e-12, **options})


# functions of the user's own, used throughout


@tg.elementwise
def swish(x: Any) -> Any:
    return x / (1 + tg.exp(-x))


@tg.elementwise
def blend(x: Any, y: Any) -> Any:
    return x * tg.sin(y) + x * x * y


@tg.custom_vjp
def cubed(x: Any) -> Any:
    return x**3


@cubed.vjp
def _(g: Any, x: Any) -> Any:
    return g * 3 * x * x


@cubed.jvp
def _(t: Any, out: Any, x: Any) -> Any:
    return t * 3 * x * x


@tg.custom_vjp
def scaled_product(x: Any, y: Any) -> Any:
    return 2 * x * y


@scaled_product.vjp
def _(g: Any, x: Any, y: Any) -> Any:
    return 2 * g * y, 2 * g * x


@scaled_product.jvp
def _(t: Any, out: Any, x: Any, y: Any) -> Any:
    tx, ty = t
    return 2 * ((0.0 if tx is None else tx * y) + (0.0 if ty is None else x * ty))


# from one vector to one vector: f, Jacobian, and for each output component the Hessian, in closed
# form
MATRIX = np.random.default_rng(5).normal(size=(3, 4))


def sigma(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _tanh_layer(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y = np.tanh(MATRIX @ x)
    slope = 1 - y * y
    return slope[:, None] * MATRIX, (-2 * y * slope)[:, None, None] * MATRIX[:, :, None] * MATRIX[
        :, None, :
    ]


def _diagonal(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(first)
    hessian = np.zeros((n, n, n))
    hessian[np.arange(n), np.arange(n), np.arange(n)] = second
    return np.diag(first), hessian


def _softmax(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s, n = np.exp(x) / np.exp(x).sum(), len(x)
    eye = np.eye(n)
    jacobian = s[:, None] * (eye - s[None, :])
    hessian = (
        np.einsum("ik,ij->ijk", jacobian, eye - s[None, :])
        - s[:, None, None] * jacobian[None, :, :]
    )
    return jacobian, hessian


def _norm(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r = np.sqrt((x * x).sum())
    return (x / r)[None], ((np.eye(len(x)) - np.outer(x, x) / r**2) / r)[None]


def _shuffle(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    jacobian = np.zeros((5, 4))
    jacobian[[0, 1, 2, 3, 4], [2, 0, 2, 3, 1]] = [1, 1, 1, 2, 2]
    return jacobian, np.zeros((5, 4, 4))


def _swish(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = sigma(x)
    return _diagonal(s + x * s * (1 - s), s * (1 - s) * (2 + x * (1 - 2 * s)))


CLOSED: dict[str, tuple[Any, Any]] = {
    "tanh layer": (lambda x: tg.tanh(MATRIX @ x), _tanh_layer),
    "polynomial": (lambda x: x**3 - 2 * x * x + 4, lambda x: _diagonal(3 * x**2 - 4 * x, 6 * x - 4)),
    "softmax": (lambda x: tg.softmax(x), _softmax),
    "norm": (lambda x: tg.norm(x).reshape(1), _norm),
    "moving about": (lambda x: tg.concatenate([x[np.array([2, 0, 2])], 2 * tg.flip(x)[np.array([0, 2])]]), _shuffle),
    "elementwise": (swish, _swish),
    "elementwise of two": (lambda x: blend(x, x), lambda x: _diagonal(
        np.sin(x) + x * np.cos(x) + 3 * x**2, 2 * np.cos(x) - x * np.sin(x) + 6 * x)),
    "custom_vjp": (cubed, lambda x: _diagonal(3 * x**2, 6 * x)),
    "custom_vjp of two": (lambda x: scaled_product(x, tg.exp(x)), lambda x: _diagonal(2 * np.exp(x) * (1 + x), 2 * np.exp(x) * (2 + x))),
    "cumprod": (lambda x: tg.cumprod(x)[-1:], lambda x: (
        np.array([[np.prod(np.delete(x, i)) for i in range(4)]]),
        np.array([[[0.0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(4)] for i in range(4)]]))),
    "assignment": (lambda x: _assigned(x), lambda x: _diagonal(np.array([4 * x[0] ** 3, *2 * x[1:]]), np.array([12 * x[0] ** 2, 2, 2, 2]))),
}  # fmt: skip


def _assigned(x: Any) -> Any:
    y = x * x
    y[0] = y[0] * y[0]
    return y


@pytest.fixture(params=CLOSED)
def case(request: pytest.FixtureRequest, rng: np.random.Generator) -> Any:
    f, closed = CLOSED[request.param]
    x = rng.uniform(0.3, 1.2, 4)
    return f, x, *closed(x)


# --- first order ------------------------------------------------------------------------------------------------------------------


def test_jacobian(case: Any) -> None:
    f, x, jacobian, _ = case
    close(tg.jacobian(f)(t64(x)), jacobian)


def test_vjp_and_its_pull_back_used_twice(case: Any, rng: np.random.Generator) -> None:
    f, x, jacobian, _ = case
    y, pull = tg.vjp(f, x)
    close(y, f(t64(x)).numpy())
    assert not y.requires_grad
    for _ in range(2):
        v = rng.normal(size=y.shape)
        (g,) = pull(v)
        close(g, v @ jacobian)
        close(pull(tg.tensor(v))[0], v @ jacobian)


def test_jvp(case: Any, rng: np.random.Generator) -> None:
    f, x, jacobian, _ = case
    v = rng.normal(size=x.shape)
    y, t = tg.jvp(f, (x,), (v,))
    close(y, f(t64(x)).numpy())
    close(t, jacobian @ v)
    assert not y.requires_grad and not t.requires_grad


def test_grad_and_value_and_grad(case: Any, rng: np.random.Generator) -> None:
    f, x, jacobian, _ = case
    weights = rng.normal(size=jacobian.shape[0])

    def number(x: Any) -> Any:
        return (f(x) * weights).sum()

    close(tg.grad(number)(x), weights @ jacobian)
    value, g = tg.value_and_grad(number)(t64(x))
    close(value, number(t64(x)).item())
    close(g, weights @ jacobian)


# --- second order, in every way of nesting -----------------------------------------------------------------------------------------


def test_hessians_and_products(case: Any, rng: np.random.Generator) -> None:
    f, x, _, hessian = case
    weights, v = rng.normal(size=hessian.shape[0]), rng.normal(size=4)
    expected = np.einsum("k,kij->ij", weights, hessian)

    def number(x: Any) -> Any:
        return (f(x) * weights).sum()

    def directional(x: Any) -> Any:
        return tg.jvp(number, (x,), (v,))[1]

    close(tg.hessian(number)(x), expected)
    close(tg.hvp(number, x, v), expected @ v)  # jvp of grad
    close(tg.grad(lambda x: (tg.grad(number)(x) * v).sum())(x), expected @ v)  # grad of grad
    close(tg.grad(directional)(x), expected @ v)  # grad of jvp
    close(tg.jvp(directional, (x,), (v,))[1], v @ expected @ v)  # jvp of jvp
    close(tg.vjp(tg.grad(number), x)[1](v)[0], v @ expected)


def test_jacobian_of_jacobian(case: Any) -> None:
    f, x, _, hessian = case
    close(tg.jacobian(tg.jacobian(f))(x), hessian)


def test_third_derivatives(rng: np.random.Generator) -> None:
    x, v = rng.normal(size=3), rng.normal(size=3)

    def number(x: Any) -> Any:
        return (x**4).sum() + (x[0] * x[1] * x[2])

    third = np.zeros((3, 3, 3))
    for i in range(3):
        third[i, i, i] = 24 * x[i]
    for i, j, k in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
        third[i, j, k] = 1
    close(tg.jacobian(tg.hessian(number))(x), third)
    close(tg.jacobian(lambda x: tg.hvp(number, x, v))(x), third @ v)
    close(tg.jvp(lambda x: tg.hvp(number, x, v), (x,), (v,))[1], third @ v @ v)


def test_recurrent_hessian_product(rng: np.random.Generator) -> None:
    """Forward mode over the gradient of an unrolled net, against the derivative of the gradient by differences."""
    xs, w, v = rng.normal(size=(4, 2, 3)), rng.normal(size=(3, 3)) * 0.4, rng.normal(size=(3, 3))

    def loss(w: Any) -> Any:
        ys, _ = tg.unroll(lambda x, h: (h * 1, tg.tanh(x + h @ w)), xs, t64(np.zeros((2, 3))))
        return (ys * ys).sum()

    g, eps = tg.grad(loss), 1e-6
    expected = (g(w + eps * v).numpy() - g(w - eps * v).numpy()) / (2 * eps)
    close(tg.hvp(loss, w, v), expected, atol=1e-7, rtol=1e-6)
    assert np.abs(expected).max() > 0.1


# --- perturbation confusion ---------------------------------------------------------------------------------------------------------


def d(f: Any) -> Any:
    """Derivative of a function of a number by forward mode."""
    return lambda x: tg.jvp(f, (x,), (1.0,))[1]


@pytest.mark.parametrize("outer", [tg.grad, d])
@pytest.mark.parametrize("inner", [tg.grad, d])
def test_no_confusion_of_perturbations(outer: Any, inner: Any) -> None:
    """The examples of Siskind and Pearlmutter (2005), in all four combinations of modes."""
    assert outer(lambda x: x * inner(lambda y: x + y)(1.0))(1.0).item() == 1
    assert outer(lambda x: x * inner(lambda y: x * y)(2.0))(3.0).item() == 6
    assert outer(lambda x: inner(lambda y: x * x * y * y)(2.0))(3.0).item() == 24
    assert outer(lambda x: inner(lambda y: x * y)(x))(3.0).item() == 1
    assert outer(lambda x: inner(lambda y: y * y * y)(x * x))(2.0).item() == 4 * 3 * 8
    assert outer(lambda x: inner(lambda y: x)(1.0) + x)(2.0).item() == 1
    assert outer(lambda x: outer(lambda y: inner(lambda z: x * y * z)(y))(x) * x)(2.0).item() == 4


def test_no_confusion_in_a_curried_function() -> None:
    """Manzyuk et al. (2019): a derivative that returns a function of what was perturbed."""

    def shifted(u: Any) -> Any:
        return lambda f: lambda x: f(x + u)

    def twice(f: Any) -> Any:
        return tg.grad(lambda u: shifted(u)(f)(1.5))(0.0)

    outer = tg.grad(
        lambda v: shifted(v)(lambda x: tg.grad(lambda u: shifted(u)(tg.exp)(x))(0.0))(1.5)
    )(0.0)
    close(twice(tg.exp), np.exp(1.5), rtol=1e-6)
    close(outer, np.exp(1.5), rtol=1e-6)


# --- nests and arguments -------------------------------------------------------------------------------------------------------------


def test_nests_come_back_as_they_were(rng: np.random.Generator) -> None:
    a, b, c, e = (rng.normal(size=n) for n in (2, 3, 2, 3))

    def f(tree: Any) -> Any:
        return (
            (tree["s"].h * tree["s"].c).sum() * 2
            + (tree["t"][0] ** 2).sum()
            + (tree["t"][1][0] * tree["s"].h[0]).sum()
            + 0 * a[0]
        )

    tree = {"s": State(t64(a), c), "t": (b, [e], None)}
    g = tg.grad(f)(tree)
    assert (
        list(g) == ["s", "t"]
        and type(g["s"]) is State
        and type(g["t"]) is tuple
        and type(g["t"][1]) is list
        and g["t"][2] is None
    )
    expected = 2 * c
    expected[0] += e.sum()
    close(g["s"].h, expected)
    close(g["s"].c, 2 * a)
    close(g["t"][0], 2 * b)
    close(g["t"][1][0], np.full(3, a[0]))

    y, pull = tg.vjp(lambda s: {"x": s.h * s.c, "y": (s.h,)}, State(a, c))
    assert list(y) == ["x", "y"]
    v, u = rng.normal(size=2), rng.normal(size=2)
    (back,) = pull({"y": (u,), "x": v})  # the order of keys does not matter
    assert type(back) is State
    close(back.h, v * c + u)
    close(back.c, v * a)

    out, t = tg.jvp(
        lambda s: State(s["b"] * s["a"], (s["a"],)), ({"a": a, "b": c},), ({"b": v, "a": u},)
    )
    assert type(out) is State and type(t) is State
    close(t.h, u * c + v * a)
    close(t.c[0], u)


def test_argnums(rng: np.random.Generator) -> None:
    a, b, c = (rng.normal(size=3) for _ in range(3))

    def f(x: Any, y: Any, z: Any, *, scale: float = 1.0) -> Any:
        return (x * y * y * z).sum() * scale

    close(tg.grad(f, 1)(a, b, c), 2 * a * b * c)
    close(tg.grad(f, -1)(a, b, c, scale=3.0), 3 * a * b * b)
    g = tg.grad(f, (2, 0))(a, b, c)
    assert type(g) is tuple
    close(g[0], a * b * b)
    close(g[1], b * b * c)
    value, (only,) = tg.value_and_grad(f, argnums=[1])(a, b, c)
    close(only, 2 * a * b * c)
    assert value.shape == ()
    for k in (1, -2):
        close(tg.jacobian(lambda x, y, z: x * y * y, k)(a, b, c), np.diag(2 * a * b))
    close(tg.jacobian(lambda x, y, z: x * z * z, -1)(a, b, c), np.diag(2 * a * c))
    close(tg.hessian(f, 1)(a, b, c), np.diag(2 * a * c))
    close(tg.hessian(f, -2)(a, b, c), np.diag(2 * a * c))


def test_integer_arguments_pass_by(rng: np.random.Generator) -> None:
    table, ids = rng.normal(size=(4, 2)), np.array([1, 1, 3])
    g = tg.grad(lambda t, i: tg.take(t, i, 0).sum())(table, ids)
    assert g.numpy()[:, 0].tolist() == [0, 2, 0, 1]


def test_python_numbers_become_float32() -> None:
    g = tg.grad(lambda x: x * x)(3.0)
    assert g.dtype == np.float32 and g.item() == 6
    assert tg.grad(lambda x: x * x)(np.float64(3.0)).dtype == np.float64


def test_matrices(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))
    jacobian = tg.jacobian(lambda x: x @ b)(a)
    assert jacobian.shape == (2, 2, 2, 3)
    close(jacobian, np.einsum("ik,lj->ijkl", np.eye(2), b))
    hessian = tg.hessian(lambda x: ((x @ b) ** 2).sum())(a)
    close(hessian, 2 * np.einsum("ik,jm,lm->ijkl", np.eye(2), b, b))


# --- surroundings --------------------------------------------------------------------------------------------------------------------


def test_transforms_work_inside_no_grad_and_leave_it_on() -> None:
    x, w = np.array([1.0, 2.0]), tg.Parameter(np.array([3.0, 4.0]))
    with tg.no_grad():
        close(tg.grad(lambda x: (x * x).sum())(x), 2 * x)
        close(tg.jvp(lambda x: x * x, (x,), (x,))[1], 2 * x * x)
        close(tg.hessian(lambda x: (x**3).sum())(x), np.diag(6 * x))
        assert not (w * 2).requires_grad
    assert (w * 2).requires_grad


def test_no_grad_inside_a_function_cuts() -> None:
    def f(x: Any) -> Any:
        with tg.no_grad():
            c = x * x
        return (c * x).sum()

    close(tg.grad(f)(np.array([3.0])), [9.0])
    close(tg.jvp(f, (np.array([3.0]),), (np.array([1.0]),))[1], 9.0)


def test_parameters_closed_over_are_constants(rng: np.random.Generator) -> None:
    w = tg.Parameter(rng.normal(size=3))
    (w * 2).sum().backward()
    before, node = w.grad, w.node
    x = rng.normal(size=3)
    close(tg.grad(lambda x: (w * x * x).sum())(x), 2 * w.numpy() * x)
    close(tg.hessian(lambda x: (w * x * x).sum())(x), np.diag(2 * w.numpy()))
    close(tg.jvp(lambda x: w * x, (x,), (x,))[1], w.numpy() * x)
    tg.vjp(lambda x: w * x, x)[1](x)
    assert w.grad is before and w.node is node


def test_parameters_may_be_the_arguments(rng: np.random.Generator) -> None:
    w = tg.Parameter(rng.normal(size=3))
    close(tg.grad(lambda w: (w * w).sum())(w), 2 * w.numpy())
    assert w.grad is None
    close(
        tg.grad(lambda v: (v * w).sum())(w),
        w.numpy(),
        err_msg="the argument, not the parameter that it came from",
    )


def test_the_arguments_are_not_touched() -> None:
    x = tg.tensor(np.array([1.0, 2.0]), requires_grad=True, name="x")
    array = np.array([1.0, 2.0])
    tg.grad(lambda x, y: (x * y).sum(), (0, 1))(x, array)
    assert x.grad is None and x.name == "x" and x.is_leaf and array.tolist() == [1, 2]


@pytest.mark.parametrize(
    "constant", [3.0, 2, np.array(1.5), np.float32(2.0), tg.tensor(2.0), tg.tensor(4)]
)
def test_functions_that_return_constants(constant: Any) -> None:
    x, v = np.array([1.0, 2.0]), np.array([3.0, 1.0])
    for nested in (False, True):

        def f(y: Any, nested: bool = nested) -> Any:
            return tg.grad(lambda z: constant)(y).sum() if nested else constant

        close(tg.grad(f)(x), [0, 0])
        close(tg.jvp(f, (x,), (v,))[1], 0.0)
        close(tg.vjp(f, x)[1](1)[0], [0, 0])
        close(tg.jacobian(f)(x), [0, 0])
        close(tg.hessian(f)(x), np.zeros((2, 2)))
        close(tg.hvp(f, x, v), [0, 0])


def test_outputs_that_do_not_depend_on_some_inputs() -> None:
    x, y = np.array([1.0, 2.0]), np.array([3.0])
    g, h = tg.grad(lambda x, y: (x * x).sum(), (0, 1))(x, y)
    close(g, 2 * x)
    close(h, [0.0])
    _, t = tg.jvp(lambda x, y: (x, y * 2, 5.0), (x, y), (x, y))
    close(t[0], x)
    close(t[1], 2 * y)
    close(t[2], 0.0)


def test_identity_and_repeated_outputs(rng: np.random.Generator) -> None:
    x, u, v = (rng.normal(size=3) for _ in range(3))
    y, pull = tg.vjp(lambda x: (x, x, x * 2), x)
    close(pull((u, v, u))[0], 3 * u + v)
    v_before = v.copy()
    _, t = tg.jvp(lambda x: x, (x,), (v,))
    v[:] = 0
    close(t, v_before)
    close(tg.jacobian(lambda x: x)(x), np.eye(3))
    close(y[0], x)


def test_empty_inputs_and_outputs() -> None:
    empty, x = np.zeros(0), np.array([1.0, 2.0])
    assert tg.grad(lambda e: (e * 2).sum())(empty).shape == (0,)
    assert tg.jacobian(lambda e: e * e)(empty).shape == (0, 0)
    assert tg.jacobian(lambda x: x[:0])(x).shape == (0, 2)
    assert tg.hessian(lambda e: (e * e).sum())(empty).shape == (0, 0)
    assert tg.jvp(lambda e: e * 2, (empty,), (empty,))[1].shape == (0,)
    close(tg.grad(lambda x: x[:0].sum() + x.sum())(x), [1, 1])
    assert tg.hvp(lambda e: (e**3).sum(), empty, empty).shape == (0,)


def test_graphs_outside_are_left_alone(rng: np.random.Generator) -> None:
    w = tg.Parameter(rng.normal(size=3))
    h = tg.tanh(w * 2)  # recorded outside
    close(tg.grad(lambda x: (x * h * h).sum())(rng.normal(size=3)), h.numpy() ** 2)
    h.sum().backward()
    close(w.grad, 2 * (1 - h.numpy() ** 2))


# --- messages --------------------------------------------------------------------------------------------------------------------------


X = np.array([1.0, 2.0])
MISUSE: dict[str, tuple[Any, type[Exception], str]] = {
    "grad of a vector": (lambda: tg.grad(lambda x: x * 2)(X), tg.ShapeError, r"must return one number; it returned \(2,\)"),
    "grad of a tuple": (lambda: tg.grad(lambda x: (x.sum(), x))(X), tg.ShapeError, r"must return one number"),
    "grad of nothing": (lambda: tg.grad(lambda x: None)(X), tg.ShapeError, r"must return one number; it returned None"),
    "argnums": (lambda: tg.grad(lambda x: x.sum(), 1)(X), tg.GraphError, r"argnums=1.*with 1 arguments"),
    "jacobian argnums": (lambda: tg.jacobian(lambda x: x, 2)(X), tg.GraphError, r"jacobian: argnums=2.*with 1 arguments"),
    "jacobian of a number": (lambda: tg.jacobian(lambda x: (x, "x"))(X), tg.TinygradError, "dtype <U1"),
    "integers": (lambda: tg.grad(lambda x: x.sum())(np.array([1, 2])), tg.DtypeError, r"float32 or float64; this tensor is int64"),
    "too few directions": (lambda: tg.jvp(lambda x, y: x * y, (X, X), (X,)), tg.ShapeError, r"jvp.*'\[0\]', '\[1\]'.*found \['\[0\]'\]"),
    "other keys": (lambda: tg.jvp(lambda p: p["a"], ({"a": X},), ({"b": X},)), tg.ShapeError, r"expected.*\['a'\].*found.*\['b'\]"),
    "direction of another shape": (lambda: tg.jvp(lambda x: x, (X,), (X[:1],)), tg.ShapeError, r"direction has shape \(1,\); expected \(2,\)"),
    "direction of another dtype": (lambda: tg.jvp(lambda x: x, (X,), (tg.tensor([1.0, 2.0]),)), tg.DtypeError, r"float32; expected float64"),
    "gradient of another shape": (lambda: tg.vjp(lambda x: x * 2, X)[1](1.0), tg.ShapeError, r"gradient has shape \(\); expected \(2,\)"),
    "gradient that would broadcast": (lambda: tg.vjp(lambda x: x * 2, X)[1](np.ones((3, 2))), tg.ShapeError, r"\(3, 2\); expected \(2,\)"),
    "gradients of another number": (lambda: tg.vjp(lambda x: (x, x), X)[1]((X,)), tg.ShapeError, r"vjp.*'\[0\]', '\[1\]'.*found \['\[0\]'\]"),
    "gradients for one output": (lambda: tg.vjp(lambda x: x, X)[1]((X, X)), tg.ShapeError, r"expected the components \['one tensor'\]"),
    "gradient of another dtype": (lambda: tg.vjp(lambda x: x, X)[1](tg.tensor([1.0, 2.0])), tg.DtypeError, r"float32; expected float64"),
    "only a vjp": (lambda: tg.jvp(_only_vjp, (X,), (X,)), tg.NotDifferentiableError, r"forward mode reached '_only_vjp'.*@_only_vjp\.jvp"),
}  # fmt: skip


@tg.custom_vjp
def _only_vjp(x: Any) -> Any:
    return x * 2


_only_vjp.vjp(lambda g: g * 2)


@pytest.mark.parametrize("name", MISUSE)
def test_messages(name: str) -> None:
    misuse, kind, text = MISUSE[name]
    with pytest.raises(kind, match=text):
        misuse()


# --- gradcheck ----------------------------------------------------------------------------------------------------------------------------


def with_rule(forward: Any, *rules: Any, tangent: Any = None) -> Any:
    """An operation with stated derivatives, of one or two inputs."""
    if len(rules) == 1:
        op = tg.custom_vjp(lambda x: forward(x))
        op.vjp(rules[0])
        op.jvp(tangent or (lambda t, out, x: rules[0](t, out, x)))
        return op
    op = tg.custom_vjp(lambda x, y: forward(x, y))
    op.vjp(lambda g, out, x, y: (rules[0](g, out, x, y), rules[1](g, out, x, y)))
    op.jvp(tangent)
    return op


right = with_rule(np.sin, lambda g, out, x: g * tg.cos(x))
A, B = (
    np.random.default_rng(1).uniform(0.5, 1.5, (2, 3)),
    np.random.default_rng(2).uniform(0.5, 1.5, (3, 3)),
)


def test_gradcheck_accepts_what_is_right() -> None:
    assert tg.gradcheck(right, A, order=2)
    assert tg.gradcheck(lambda s: {"a": s.h * s.c, "b": [tg.exp(s.h)]}, State(A, A + 1), order=2)
    assert tg.gradcheck(lambda x, ids: tg.take(x, ids, 0), B, np.array([0, 0, 2]), order=2)
    assert tg.gradcheck(lambda x: x @ B, A.astype(np.float32), order=2)
    assert tg.gradcheck(lambda x: x[:0], A)
    assert tg.gradcheck(lambda x: x.sum() * 0.0 + 3.0, A)


# fault, function, the input or output that is named, the cause in words, modes in which it shows
FAULTS: dict[str, tuple[Any, tuple[Any, ...], str, str, tuple[str, ...]]] = {
    "sign": (with_rule(np.sin, lambda g, out, x: -g * tg.cos(x)), (A,), r"input\[0\]", "a wrong sign", ("reverse", "forward")),
    "factor": (with_rule(np.sin, lambda g, out, x: 1.5 * g * tg.cos(x)), (A,), r"input\[0\]", "a wrong constant factor", ("reverse", "forward")),
    "term": (with_rule(lambda x: x * np.exp(x), lambda g, out, x: g * tg.exp(x)), (A,), r"input\[0\]", "wrong term", ("reverse", "forward")),
    "nan": (with_rule(lambda x: x * 2.0, lambda g, out, x: g * 2 + tg.log(0.7 - x) * 0), (A,), r"input\[0\]", "not finite", ("reverse", "forward")),
    "transpose": (with_rule(lambda x: x.T @ B, lambda g, out, x: g @ B.T, tangent=lambda t, out, x: t @ B), (B,), r"input\[0\]", "a missing transpose",
                  ("reverse",)),
    "cut": (lambda x: (x.detach() * 2).sum() + 0 * x.sum(), (A,), r"input\[0\]", "the path is cut", ("reverse", "forward")),
    "sum": (with_rule(lambda x: np.broadcast_to(x, (4, *x.shape)), lambda g, out, x: g.mean(0), tangent=lambda t, out, x: tg.broadcast_to(t, out.shape)),
            (A,), r"input\[0\]", "a missing sum over a broadcast axis", ("reverse",)),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_gradcheck_names_faults(name: str, mode: str) -> None:
    f, inputs, place, cause, modes = FAULTS[name]
    if mode not in modes:
        pytest.skip("the tangent is right here")
    where = place if mode == "reverse" else r"output\[0\]"
    with pytest.raises(
        tg.GradcheckError,
        match=rf"{mode} mode, order 1: worst at {where}.*computed .*differences.*Likely cause: .*{cause}",
    ):
        tg.gradcheck(f, *inputs, modes=(mode,))


def test_gradcheck_says_missing_sum_when_one_row_stands_for_all() -> None:
    op = with_rule(
        lambda x: np.full((4,), x.sum()),
        lambda g, out, x: g.mean() + 0 * x,
        tangent=lambda t, out, x: t.sum() + tg.zeros_like(out),
    )
    with pytest.raises(
        tg.GradcheckError,
        match=r"a missing sum over a broadcast axis, a mean in place of a sum, .*\(4 times too small\)",
    ):
        tg.gradcheck(op, A, modes=("reverse",))


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_gradcheck_finds_faults_of_the_second_order(mode: str) -> None:
    """The first derivative is right in value, but one factor of it is cut off from its input."""
    op = with_rule(
        lambda x: x**3,
        lambda g, out, x: g * 3 * x * x.detach() if isinstance(x, tg.Tensor) else g * 3 * x * x,
    )
    assert tg.gradcheck(op, A, modes=(mode,))
    with pytest.raises(
        tg.GradcheckError,
        match=rf"{mode} mode, order 2: worst at (input|output)\[0\].*wrong constant factor",
    ):
        tg.gradcheck(op, A, modes=(mode,), order=2)


def test_gradcheck_names_the_path_of_a_nested_input() -> None:
    wrong = with_rule(np.sin, lambda g, out, x: -g * tg.cos(x))
    with pytest.raises(tg.GradcheckError, match=r"worst at input\[1\]\['b'\]\.c\[\d+, \d+\]: "):
        tg.gradcheck(
            lambda x, p: (x * 2).sum() + wrong(p["b"].c).sum(),
            A,
            {"a": A, "b": State(A, A)},
            modes=("reverse",),
        )
    with pytest.raises(
        tg.GradcheckError, match=r"forward mode, order 1: worst at output\[1\]\[\d+, \d+\]"
    ):
        tg.gradcheck(lambda x: (x * 2, wrong(x)), A, modes=("forward",))


def test_gradcheck_names_the_worst_element() -> None:
    def rule(g: Any, out: Any, x: Any) -> Any:
        fault = np.zeros(A.shape)
        fault[1, 2] = 0.25
        return g * (tg.cos(x) + fault)

    with pytest.raises(tg.GradcheckError, match=r"worst at input\[0\]\[1, 2\]: computed"):
        tg.gradcheck(with_rule(np.sin, rule), A, modes=("reverse",))


def test_gradcheck_error_is_an_assertion_and_an_error_of_the_package() -> None:
    assert issubclass(tg.GradcheckError, AssertionError) and issubclass(
        tg.GradcheckError, tg.TinygradError
    )


@pytest.mark.parametrize(("f", "at"), [
    (tg.relu, [0.0, 1.0]),
    (lambda x: tg.where(x >= 1, x + 1, x), [1.0, 2.0]),
    (lambda x: tg.leaky_relu(x, 0.1) + tg.abs(x), [0.0, -1.0]),
], ids=["relu", "jump", "both"])  # fmt: skip
def test_gradcheck_says_where_a_function_has_a_kink(f: Any, at: list[float]) -> None:
    for mode in ("reverse", "forward"):
        with pytest.raises(
            tg.GradcheckError, match=r"the function has a kink or a jump at this point"
        ):
            tg.gradcheck(f, np.array(at), modes=(mode,))
        assert tg.gradcheck(f, np.add(at, [0.25, 0.5]), modes=(mode,))


# --- results stay on the tape of what was given ---------------------------------------------------------------------------------


def cube(v: Any) -> Any:
    return v * v * v


def total(v: Any) -> Any:
    return cube(v).sum()


# of the vector h, in which each element is on its own: the results, and what they are of an element
ATTACHED: dict[str, tuple[Any, Any]] = {
    "grad": (lambda h: tg.grad(total)(h), lambda h: 3 * h**2),
    "value_and_grad": (lambda h: sum(tg.value_and_grad(total)(h)), lambda h: tg.sum(h**3) + 3 * h**2),
    "vjp": (lambda h: tg.vjp(cube, h)[1](np.array([2.0, 3.0]))[0], lambda h: 3 * h**2 * np.array([2.0, 3.0])),
    "vjp, the value": (lambda h: tg.vjp(cube, h)[0], lambda h: h**3),
    "vjp, the cotangent": (lambda h: tg.vjp(cube, h.detach())[1](h)[0], lambda h: 3 * h.detach() ** 2 * h),
    "vjp, twice": (lambda h: twice_pulled(h), lambda h: 6 * h**2 + 3 * h**3),
    "jvp": (lambda h: tg.jvp(cube, (h,), (np.array([2.0, 3.0]),))[1], lambda h: 3 * h**2 * np.array([2.0, 3.0])),
    "jvp, the value": (lambda h: tg.jvp(cube, (h,), (np.ones(2),))[0], lambda h: h**3),
    "jvp, the direction": (lambda h: tg.jvp(cube, (h.detach(),), (h,))[1], lambda h: 3 * h.detach() ** 2 * h),
    "jvp, both": (lambda h: tg.jvp(cube, (h,), (h,))[1], lambda h: 3 * h**3),
    "jacobian": (lambda h: tg.jacobian(cube)(h), lambda h: 3 * h**2 * np.eye(2)),
    "hessian": (lambda h: tg.hessian(total)(h), lambda h: 6 * h * np.eye(2)),
    "hvp": (lambda h: tg.hvp(total, h, h), lambda h: 6 * h**2),
    "a nest": (lambda h: tg.grad(lambda d: (cube(d["a"]) * d["b"][0]).sum())({"a": h, "b": (2 * h, None)})["b"][0], lambda h: h**3),
    "a grad of a grad": (lambda h: tg.grad(lambda v: tg.grad(total)(v).sum())(h), lambda h: 6 * h),
    "two arguments": (lambda h: sum(tg.grad(lambda a, b: (a * a * b).sum(), (0, 1))(h, h)), lambda h: 3 * h**2),
}  # fmt: skip


def twice_pulled(h: Any) -> Any:
    _, pull = tg.vjp(cube, h)
    return pull(2 * tg.tensor(np.ones(2)))[0] + pull(h)[0]


@pytest.mark.parametrize("name", ATTACHED)
def test_results_are_differentiated_by_what_was_given(name: str, rng: np.random.Generator) -> None:
    """In an ordinary computation, with create_graph, and inside another transform, as the formula is."""
    found, formula = ATTACHED[name]
    x, weights = rng.uniform(0.5, 1.5, 2), rng.normal(size=2)
    for transform in (found, formula):
        w = t64(x)
        w.requires_grad = True
        h = w * w
        y = transform(h) + h
        assert y.requires_grad
        (y * weights).sum().backward(create_graph=True)
        first, w.grad = w.grad, None
        (first * first).sum().backward()
        if transform is found:
            results = [y.numpy(), first.numpy(), w.grad.numpy()]
    for a, b in zip(results, [y, first, w.grad], strict=True):
        close(a, b.numpy())
    assert np.any(results[1]) and np.any(results[2])
    inside = [
        tg.grad(lambda w, f=f: ((f(w * w) + w * w) * weights).sum())(t64(x))
        for f in (found, formula)
    ]
    close(inside[0], inside[1].numpy())
    close(inside[0], results[1])


@pytest.mark.parametrize("name", ATTACHED)
def test_without_recording_results_are_constants(name: str) -> None:
    w = t64([0.5, 1.5])
    w.requires_grad = True
    found, formula = ATTACHED[name]
    with tg.no_grad():
        y = found(w)
    assert not y.requires_grad
    close(y, formula(w).numpy())
    if name not in ("vjp, the cotangent", "jvp, the direction"):
        assert not found(t64([0.5, 1.5])).requires_grad


def test_pull_may_be_called_without_recording_and_elsewhere() -> None:
    w = t64([0.5, 1.5])
    w.requires_grad = True
    _, pull = tg.vjp(cube, w)
    with tg.no_grad():
        assert not pull(w)[0].requires_grad
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(pull(np.ones(2))[0]))
    thread.start()
    thread.join()
    found[0].sum().backward()
    close(w.grad, 6 * w.numpy())


def test_a_step_may_take_a_gradient(rng: np.random.Generator) -> None:
    def step(x: Any, h: Any) -> Any:
        h = h - 0.1 * tg.grad(lambda v: (v * v * v).sum())(h) + x
        return h, h

    def formula(x: Any, h: Any) -> Any:
        h = h - 0.3 * h * h + x
        return h, h

    xs, start, results = rng.normal(size=(4, 2, 3)) * 0.3, rng.normal(size=(2, 3)) * 0.3, []
    with interpreting():
        for cell in (step, tg.jit(step), formula):
            h, x = tg.tensor(start, requires_grad=True), tg.tensor(xs, requires_grad=True)
            ys, _ = tg.unroll(cell, x, h)
            (ys * ys).sum().backward()
            results.append((ys.numpy(), h.grad.numpy(), x.grad.numpy()))
    for found in results[:2]:
        for a, b in zip(found, results[2], strict=True):
            close(a, b)


def test_the_given_tensor_in_place_of_the_argument_is_refused() -> None:
    cell, x = tg.cells.Elman(2, 3, rng=0), np.ones((1, 2), np.float32)

    def loss(_: Any) -> Any:
        return (cell(x)[0] ** 2).sum()

    given = list(cell.parameters())
    for transform in (
        tg.grad(loss),
        tg.value_and_grad(loss),
        lambda p: tg.jacobian(loss)(p[0]),
        lambda p: tg.vjp(loss, p),
        lambda p: tg.jvp(loss, (p,), (p,)),
    ):
        with pytest.raises(
            tg.GraphError,
            match=r"uses weight_ih float32\(3, 2\) itself, as a variable from outside.*functional_call",
        ):
            transform(given)
    w = t64(2.0)
    w.requires_grad = True
    close(tg.grad(lambda v: v * v * w)(w), 8)  # as a variable of its own beside the argument
    with pytest.raises(tg.GraphError, match=r"grad: the function reaches 'weight_ih' of the Elman"):
        tg.grad(loss)(cell)
    with pytest.raises(tg.DtypeError, match=r"grad: an argument to differentiate by is a object"):
        tg.grad(loss)(object())
