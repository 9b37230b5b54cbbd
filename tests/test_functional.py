"""`tg.functional_call`.

A module as a function of its parameters, plain and compiled, under every transform.
"""

from __future__ import annotations

import collections
import copy
import functools
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


class Model(tg.Module):
    """A cell and a head over a sequence; float64."""

    def __init__(self, seed: int, *, compiled: bool = False, checkpoint: bool = False) -> None:
        cell = tg.cells.GRU(3, 4, rng=seed, dtype="f8")
        self.cell: Any = tg.jit(cell) if compiled else cell
        self.heads = {"a": tg.nn.Linear(4, 2, rng=seed, dtype="f8")}
        self.checkpoint = checkpoint
        self.calls = 0

    def forward(self, xs: Any) -> Any:
        self.calls += 1
        ys, _ = tg.unroll(self.cell, xs, checkpoint=self.checkpoint or None)
        return self.heads["a"](ys[-1])


def others(module: tg.Module, rng: np.random.Generator) -> dict[str, Any]:
    """Random values for every parameter."""
    return {name: tg.tensor(rng.standard_normal(p.shape)) for name, p in module.named_parameters()}


def with_values(module: tg.Module, values: dict[str, Any]) -> Any:
    """Another module that has these values as its own."""
    made = copy.deepcopy(module)
    made.load_state_dict({name: value.numpy() for name, value in values.items()})
    return made


def gradients(module: tg.Module) -> dict[str, np.ndarray]:
    return {name: p.grad.numpy() for name, p in module.named_parameters() if p.grad is not None}


KINDS = pytest.mark.parametrize(
    "kind", [{}, {"compiled": True}, {"checkpoint": True}], ids=["plain", "compiled", "checkpoint"]
)


@KINDS
def test_values_and_gradients_are_those_of_a_module_with_these_parameters(
    kind: dict[str, bool], rng: np.random.Generator
) -> None:
    model, xs = Model(0, **kind), rng.standard_normal((5, 2, 3))
    values = others(model, rng)
    before = model.state_dict()
    y, g = tg.value_and_grad(lambda p: (tg.functional_call(model, p, xs) ** 2).sum())(values)
    reference = with_values(Model(0), values)
    expected = (reference(xs) ** 2).sum()
    expected.backward()
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-12)
    assert g.keys() == gradients(reference).keys() == values.keys()
    for name, e in gradients(reference).items():
        np.testing.assert_allclose(g[name].numpy(), e, rtol=1e-9, atol=1e-12, err_msg=name)
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@KINDS
def test_gradients_reach_leaves_after_the_call(
    kind: dict[str, bool], rng: np.random.Generator
) -> None:
    """Steps that run again in the backward pass find the given tensors, not the module's own."""
    model, xs = Model(0, **kind), rng.standard_normal((6, 2, 3))
    values = others(model, rng)
    for value in values.values():
        value.requires_grad = True
    (tg.functional_call(model, values, xs) ** 3).sum().backward()
    reference = with_values(Model(0), values)
    (reference(xs) ** 3).sum().backward()
    for name, e in gradients(reference).items():
        np.testing.assert_allclose(
            values[name].grad.numpy(), e, rtol=1e-9, atol=1e-12, err_msg=name
        )


@KINDS
def test_gradients_of_gradients(kind: dict[str, bool], rng: np.random.Generator) -> None:
    """An inner step of learning by gradients, differentiated as a whole, and Hessian products.

    Against finite differences.
    """
    model, xs = Model(1, **kind), rng.standard_normal((3, 2, 3))
    values = others(model, rng)
    directions = others(model, rng)

    def loss(p: Any) -> Any:
        return (tg.functional_call(model, p, xs) ** 2).sum()

    def after_a_step(p: Any) -> Any:
        g = tg.grad(loss)(p)
        return loss({name: p[name] - 0.1 * g[name] for name in p})

    def moved(h: float) -> dict[str, Any]:
        return {
            name: tg.tensor(values[name].numpy() + h * directions[name].numpy()) for name in values
        }

    found = tg.grad(after_a_step)(values)
    along = sum((found[name] * directions[name]).sum().item() for name in values)
    eps = 1e-5
    expected = (after_a_step(moved(eps)).item() - after_a_step(moved(-eps)).item()) / (2 * eps)
    # differences of numbers of about 100, which divide the roundings by 2e-5
    np.testing.assert_allclose(along, expected, rtol=1e-5)
    product = tg.hvp(loss, values, directions)
    ends = [tg.grad(loss)(moved(s * eps)) for s in (1, -1)]
    for name in values:
        np.testing.assert_allclose(
            product[name].numpy(),
            (ends[0][name] - ends[1][name]).numpy() / (2 * eps),
            rtol=1e-5,
            atol=1e-6,
            err_msg=name,
        )


def test_gradcheck_by_parameters(rng: np.random.Generator) -> None:
    model, xs = Model(2), rng.standard_normal((2, 2, 3))
    assert tg.gradcheck(lambda p: tg.functional_call(model, p, xs), others(model, rng), order=2)


@pytest.mark.parametrize("make", [
    lambda: tg.nn.LSTM(3, 4, num_layers=2, bidirectional=True, rng=0, dtype="f8"),
    lambda: tg.nn.Zoneout(tg.cells.LSTM(3, 4, rng=0, dtype="f8"), 0.2, rng=0).eval(),
], ids=["layer", "wrapper"])  # fmt: skip
def test_layers_and_wrappers(make: Any, rng: np.random.Generator) -> None:
    module, xs = make(), rng.standard_normal((4, 2, 3))
    values = others(module, rng)
    if isinstance(module, tg.Cell):
        holder = tg.Module()
        holder.cell = module
        holder.forward = lambda xs: tg.unroll(holder.cell, xs)  # type: ignore[method-assign]  (it closes over the module)
        module, values = holder, {f"cell.{name}": value for name, value in values.items()}
    found = tg.grad(lambda p: (tg.functional_call(module, p, xs)[0] ** 2).sum())(values)
    reference = with_values(
        make(), {name.removeprefix("cell."): value for name, value in values.items()}
    )
    ys = tg.unroll(reference, xs)[0] if isinstance(reference, tg.Cell) else reference(xs)[0]
    (ys**2).sum().backward()
    for name, e in gradients(reference).items():
        key = name if name in found else f"cell.{name}"
        np.testing.assert_allclose(found[key].numpy(), e, rtol=1e-9, atol=1e-12, err_msg=name)


def test_everything_through_which_a_module_reaches_a_parameter() -> None:
    """Closures, bound methods, partial functions, defaults, and plain objects that hold the parameter or the module."""

    class Helper:
        def __init__(self, owner: Any) -> None:
            self.owner = owner

    class Slots:
        __slots__ = ("w",)

        def __init__(self, w: Any) -> None:
            self.w = w

    class Odd(tg.Module):
        def __init__(self) -> None:
            self.w = tg.Parameter([2.0])
            self.same = [self.w]  # a second place of one parameter
            w = self.w
            self.ways = {
                "closure": lambda: w * 1,
                "self": lambda: self.w * 1,
                "method": self.get,
                "partial": functools.partial(lambda t: t * 1, self.w),
                "default": lambda t=w: t * 1,
                "nested": lambda: (lambda: w * 1)(),
            }
            array = np.empty(2, object)
            array[0] = w
            self.places = [
                collections.deque([w], 3),
                frozenset([w]),
                {w},
                array,
                weakref.ref(self),
                Slots(w),
            ]
            self.helper = Helper(self)

        def get(self) -> Any:
            return self.w * 1

        def forward(self) -> Any:
            found = [way() for way in self.ways.values()] + [
                self.helper.owner.w,
                self.helper.owner.helper.owner.w,
                self.same[0],
            ]
            line, frozen, several, array, reference, slots = self.places
            found += [line[0], *frozen, *several, array[0], reference().w, slots.w]
            return tg.stack([f[0] for f in found])

    odd = Odd()
    np.testing.assert_array_equal(
        tg.functional_call(odd, {"w": tg.tensor([5.0])}).numpy(), np.full(15, 5.0)
    )
    np.testing.assert_array_equal(
        tg.functional_call(odd, {"same.0": tg.tensor([6.0])}).numpy(), np.full(15, 6.0)
    )
    np.testing.assert_array_equal(odd().numpy(), np.full(15, 2.0))
    with pytest.raises(tg.TinygradError, match=r"'w' and 'same\.0' are one tensor"):
        tg.functional_call(odd, {"w": tg.tensor([1.0]), "same.0": tg.tensor([2.0])})


def test_names_that_are_missing_are_the_modules_own(rng: np.random.Generator) -> None:
    model, xs = Model(0), rng.standard_normal((3, 2, 3))
    bias = tg.tensor(rng.standard_normal(2))
    found = tg.functional_call(model, {"heads.a.bias": bias}, xs)
    np.testing.assert_allclose(
        (found - model(xs)).numpy(),
        np.broadcast_to((bias - model.heads["a"].bias).numpy(), (2, 2)),
        rtol=1e-9,
    )


def test_what_forward_assigns_stays() -> None:
    model, xs = Model(0), np.zeros((2, 1, 3))
    tg.functional_call(model, {}, xs)
    tg.functional_call(model, {"heads.a.bias": np.ones(2)}, xs)
    assert model.calls == 2
    norm = tg.nn.BatchNorm(3, dtype="f8")
    tg.functional_call(norm, {"weight": np.full(3, 2.0)}, tg.tensor(np.arange(12.0).reshape(4, 3)))
    assert norm.state_dict()["running_mean"].any()
    np.testing.assert_array_equal(norm.state_dict()["weight"], np.ones(3))


def test_parameters_of_another_precision_take_the_first_state_with_them(
    rng: np.random.Generator,
) -> None:
    class Run(tg.Module):
        def __init__(self) -> None:
            self.cell = tg.cells.LSTM(3, 4, rng=0)

        def forward(self, xs: Any) -> Any:
            return tg.unroll(self.cell, xs)[0]

    run = Run()
    assert (
        tg.functional_call(run, others(run, rng), rng.standard_normal((3, 2, 3))).dtype
        == np.float64
    )
    assert run(np.zeros((3, 2, 3), np.float32)).dtype == np.float32
    for name, p in list(vars(run.cell).items()):  # tensors put in place by hand
        if isinstance(p, tg.Parameter):
            vars(run.cell)[name] = tg.tensor(p.numpy().astype(np.float64))
    assert run(rng.standard_normal((3, 2, 3))).dtype == np.float64


def test_other_threads_and_failures_leave_the_module_as_it_is(rng: np.random.Generator) -> None:
    model, xs = Model(0), rng.standard_normal((4, 2, 3))
    expected = model(xs).numpy()
    wrong: list[Any] = []

    def own() -> None:
        wrong.extend(1 for _ in range(30) if not np.array_equal(model(xs).numpy(), expected))

    def other() -> None:
        values = others(model, np.random.default_rng(3))
        reference = with_values(Model(0), values)(xs).numpy()
        wrong.extend(
            1
            for _ in range(30)
            if not np.array_equal(tg.functional_call(model, values, xs).numpy(), reference)
        )

    threads = [threading.Thread(target=target) for target in (own, other, own, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    with pytest.raises(tg.ShapeError):
        tg.functional_call(model, others(model, rng), xs[..., :2])
    np.testing.assert_array_equal(model(xs).numpy(), expected)


@pytest.mark.parametrize(("module", "parameters", "message"), [
    (lambda x: x, {}, "expected a module; found a function"),
    (tg.nn.Linear(2, 1, rng=0), [np.ones((1, 2))], "are a mapping of names to tensors"),
    (tg.nn.Linear(2, 1, rng=0), {"wieght": np.ones((1, 2))}, r"has no \['wieght'\]; it has \['weight', 'bias'\]"),
    (tg.nn.Linear(2, 1, rng=0), {"weight": np.ones((2, 1))}, r"'weight' has shape \(1, 2\); found \(2, 1\)"),
    (tg.nn.Linear(2, 1, rng=0), {"weight": np.ones((1, 2), int)}, "'weight' is float32; found int64"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(module: Any, parameters: Any, message: str) -> None:
    with pytest.raises(tg.TinygradError, match=message):
        tg.functional_call(module, parameters, np.ones((1, 2), np.float32))


def test_a_parameter_that_is_not_reached_through_the_module_is_refused() -> None:
    model = tg.nn.Linear(2, 1, rng=0)

    class Around(tg.Module):
        def __init__(self) -> None:
            self.inner = model

        def forward(self, x: Any) -> Any:
            return x @ KEPT[0].weight.T

    KEPT[:] = [model]
    with pytest.raises(
        tg.GraphError,
        match=r"the forward of Around reaches 'inner\.weight' of the Around itself on a way on which it is not replaced",
    ):
        tg.functional_call(
            Around(),
            {"inner.weight": tg.tensor(np.ones((1, 2), np.float32), requires_grad=True)},
            np.ones((1, 2), np.float32),
        )


KEPT: list[Any] = []


def test_what_was_computed_from_a_parameter() -> None:
    """A cached property is computed anew and stays in the copy.

    An attribute that would keep old values is refused.
    """

    class Cached(tg.Module):
        def __init__(self) -> None:
            self.w = tg.Parameter([2.0])

        @functools.cached_property
        def double(self) -> Any:
            return self.w * 2

        def forward(self, x: float) -> Any:
            return self.double * x

    model = Cached()
    for _ in range(2):
        assert tg.functional_call(model, {"w": tg.tensor([3.0])}, 5.0).item() == 30.0
        assert (
            tg.grad(lambda w: tg.functional_call(model, {"w": w}, 5.0).sum())(
                tg.tensor([3.0])
            ).item()
            == 10.0
        )
        assert model(5.0).item() == 20.0
    model.view = model.w[0:]
    with pytest.raises(
        tg.GraphError,
        match="computed from a parameter that is replaced, and would keep its old values",
    ):
        tg.functional_call(model, {"w": tg.tensor([3.0])}, 5.0)
