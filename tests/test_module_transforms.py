"""Transforms that are given modules and trees of them: plain and compiled, to second order.

Meta-learning through inner steps, ensembles, Hessians by the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

XS = np.random.default_rng(0).normal(size=(5, 2, 3))


class Net(tg.Module):
    """A cell over time and a layer, in float64."""

    def __init__(self, compiled: bool = False, seed: int = 0) -> None:
        cell = tg.cells.GRU(3, 2, rng=seed, dtype=np.float64)
        self.cell = tg.jit(cell) if compiled else cell
        self.head = tg.nn.Linear(2, 1, rng=seed + 1, dtype=np.float64)

    def forward(self, xs: Any) -> Any:
        return self.head(tg.unroll(self.cell, xs)[0])


def loss(model: Any, xs: Any) -> Any:
    return (model(xs) ** 2).mean()


def by_backward(model: Any, loss: Callable[[Any, Any], Any] = loss) -> dict[str, Any]:
    for p in model.parameters():
        p.grad = None
    loss(model, XS).backward()
    found = {name: p.grad.numpy() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = None
    return found


def same(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    assert list(found) == list(expected)
    for name, e in expected.items():
        np.testing.assert_allclose(np.asarray(found[name].detach()), e, rtol=rtol, atol=1e-12)


@pytest.fixture(params=[False, True], ids=["plain", "compiled"])
def model(request: pytest.FixtureRequest) -> Net:
    return Net(request.param)


def test_gradients_are_those_of_backward(model: Net) -> None:
    expected = by_backward(model)
    ways: dict[str, Callable[[], Any]] = {
        "grad": lambda: tg.grad(loss)(model, XS),
        "value_and_grad": lambda: tg.value_and_grad(loss)(model, XS)[1],
        "grad of a compiled function": lambda: tg.grad(tg.jit(loss))(model, XS),
        "a compiled gradient": lambda: tg.jit(tg.grad(loss))(model, XS),
        "vjp": lambda: tg.vjp(lambda m: loss(m, XS), model)[1](1.0)[0],
        "by argnums": lambda: tg.grad(lambda xs, m: loss(m, xs), argnums=1)(XS, model),
        "in a list": lambda: tg.grad(lambda ms: loss(ms[0], XS))([model])[0],
        "by their dict": lambda: tg.grad(lambda p: loss(lambda xs: tg.functional_call(model, p, xs), XS))(
            model.parameters_dict()
        ),
    }  # fmt: skip
    for way, compute in ways.items():
        same(compute(), expected)
        assert all(p.grad is None for p in model.parameters()), way
    np.testing.assert_allclose(tg.value_and_grad(loss)(model, XS)[0].item(), loss(model, XS).item())


class Counting(Net):
    """A module that counts its calls."""

    calls = 0

    def forward(self, xs: Any) -> Any:
        self.calls += 1
        return super().forward(xs)


def test_the_module_is_changed_as_its_forward_changes_it() -> None:
    model = Counting()
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    tg.grad(loss)(model, XS)
    assert model.calls == 1
    same(model.parameters_dict(), before)


def test_a_compiled_gradient_reads_the_parameters_as_they_are(model: Net) -> None:
    gradient = tg.jit(tg.grad(loss))
    gradient(model, XS)
    for p in model.parameters():
        p.data = p.data * 0.5
    same(gradient(model, XS), by_backward(model))
    model.head.weight = tg.Parameter(np.ones((1, 2)))
    same(gradient(model, XS), by_backward(model))


def test_directions_and_second_derivatives(model: Net) -> None:
    rng = np.random.default_rng(1)
    v = {name: rng.normal(size=p.shape) for name, p in model.named_parameters()}
    slope = by_backward(model)
    expected = sum((slope[name] * v[name]).sum() for name in v)
    moved = tg.jvp(lambda m: loss(m, XS), (model,), (v,))[1]
    np.testing.assert_allclose(moved.item(), expected, rtol=1e-9)
    whole = tg.hessian(loss)(model, XS)
    by_hand = {a: sum(np.tensordot(whole[a][b].numpy(), v[b], v[b].ndim) for b in v) for a in v}
    for f in (loss, tg.jit(loss)):
        same(tg.hvp(f, model, v, XS), by_hand, 1e-8)
    eps = 1e-6
    for sign in (1, -1):
        for name, p in model.named_parameters():
            p.data = p.data + sign * eps * v[name] * (1 if sign > 0 else 2)
        if sign > 0:
            ahead = by_backward(model)
    behind = by_backward(model)
    same(tg.grad(loss)(model, XS), behind)
    for name, p in model.named_parameters():
        p.data = p.data + eps * v[name]
    for name in v:
        difference = (ahead[name] - behind[name]) / (2 * eps)
        np.testing.assert_allclose(by_hand[name], difference, rtol=1e-5, atol=1e-8)


def test_jacobians_of_trees() -> None:
    model = tg.nn.Linear(2, 3, rng=0, dtype=np.float64)
    x = np.array([1.5, -2.0])
    found = tg.jacobian(lambda m: {"y": m(x), "half": 0.5 * m(x)[0]})(model)
    np.testing.assert_allclose(found["y"]["bias"].numpy(), np.eye(3))
    np.testing.assert_allclose(found["y"]["weight"].numpy(), np.eye(3)[:, :, None] * x)
    np.testing.assert_allclose(found["half"]["bias"].numpy(), [0.5, 0.0, 0.0])
    second = tg.hessian(lambda p: (p["a"] ** 2 * p["b"]).sum())({"a": x, "b": np.array(3.0)})
    np.testing.assert_allclose(second["a"]["a"].numpy(), 6.0 * np.eye(2))
    np.testing.assert_allclose(second["a"]["b"].numpy(), 2 * x)
    np.testing.assert_allclose(second["b"]["a"].numpy(), 2 * x)
    assert second["b"]["b"].item() == 0.0
    empty = tg.jacobian(lambda p: p["a"][:0])({"a": x})
    assert empty["a"].shape == (0, 2)


def test_gradcheck_by_parameters(model: Net) -> None:
    tg.gradcheck(lambda m: m(XS), model)
    tg.gradcheck(loss, tg.nn.Linear(3, 1, rng=0), XS[0], order=2)

    @tg.custom_vjp
    def wrong(x: Any) -> Any:
        return x * x

    wrong.vjp(lambda g, x: g * x)
    with pytest.raises(tg.GradcheckError, match=r"weight"):
        tg.gradcheck(lambda m: wrong(m(XS[0])), tg.nn.Linear(3, 1, rng=0), modes=("reverse",))


def adapted(model: Any, xs: Any, steps: int = 2, rate: float = 0.3) -> Any:
    """The loss after steps of gradient descent, as a function of where they begin."""
    parameters = model.parameters_dict()
    for _ in range(steps):
        gradient = tg.grad(lambda p: loss(lambda xs: tg.functional_call(model, p, xs), xs))(parameters)  # fmt: skip
        parameters = {name: p - rate * gradient[name] for name, p in parameters.items()}
    return loss(lambda xs: tg.functional_call(model, parameters, xs), xs)


def test_learning_through_steps_of_learning(model: Net) -> None:
    """The gradient goes through the inner steps, which are themselves gradients."""
    expected = by_backward(model, adapted)
    for f in (tg.grad(adapted), tg.grad(tg.jit(adapted)), tg.jit(tg.grad(adapted))):
        same(f(model, XS), expected)
    name, p = "head.bias", model.head.bias
    ends = []
    for step in (1e-6, -2e-6):
        p.data = p.data + step
        ends.append(adapted(model, XS).item())
    np.testing.assert_allclose(expected[name][0], (ends[0] - ends[1]) / 2e-6, rtol=1e-5)


def test_ensembles() -> None:
    """Several models at once, as a list of modules or as one module with a list of parameters."""
    models = [Net(seed=seed) for seed in range(3)]

    def together(models: Any, xs: Any) -> Any:
        return (sum(m(xs) for m in models) ** 2).mean()

    expected = []
    together(models, XS).backward()
    for m in models:
        expected.append({name: p.grad.numpy() for name, p in m.named_parameters()})
        for p in m.parameters():
            p.grad = None
    several = [m.parameters_dict() for m in models]

    def of_parameters(several: Any, xs: Any) -> Any:
        return (sum(tg.functional_call(models[0], p, xs) for p in several) ** 2).mean()

    for found in (
        tg.grad(together)(models, XS),
        tg.jit(tg.grad(together))(models, XS),
        tg.grad(of_parameters)(several, XS),
        tg.jit(tg.grad(of_parameters))(several, XS),
    ):
        for f, e in zip(found, expected, strict=True):
            same(f, e)


def test_parameters_of_other_modules_stay() -> None:
    frozen, model = tg.nn.Linear(3, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    x = XS[0].astype(np.float32)
    found = tg.grad(lambda model, frozen: model(frozen(x)).sum())(model, frozen)
    assert list(found) == ["weight", "bias"]
    both = tg.grad(lambda model, frozen: model(frozen(x)).sum(), argnums=(0, 1))(model, frozen)
    same(both[0], {name: g.numpy() for name, g in found.items()})
    assert list(both[1]) == ["weight", "bias"]


@pytest.mark.parametrize("transform", [
    lambda f, m: tg.grad(f)(m), lambda f, m: tg.vjp(f, m), lambda f, m: tg.jvp(f, (m,), (m,)), lambda f, m: tg.hvp(f, m, m),
    lambda f, m: tg.jacobian(f)(m), lambda f, m: tg.hessian(f)(m),
])  # fmt: skip
def test_a_module_from_outside_is_refused(transform: Callable[[Any, Any], Any]) -> None:
    """In place of the argument: the gradient would be zero."""
    model = tg.nn.Linear(3, 1, rng=0, dtype=np.float64)
    with pytest.raises(tg.GraphError, match=r"the function reaches 'weight' of the Linear itself"):
        transform(lambda m: (model(XS[0]) ** 2).sum(), model)
