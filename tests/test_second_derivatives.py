"""Second and mixed derivatives by every sort of tensor that a compiled cell, a checkpoint or a compiled function uses, beside the plain steps."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from .interpreted import interpreting

T, BATCH, SIZE = 3, 3, 2  # the batch is no other size, or a tensor with as many rows would be taken for one of the batch


@pytest.fixture(autouse=True)
def _as_python() -> Any:
    with interpreting():
        yield


def drawn(seed: int = 0) -> tuple[dict[str, np.ndarray], np.random.Generator]:
    rng = np.random.default_rng(seed)
    shapes = {"w": (SIZE, SIZE), "b": (SIZE,), "r": (BATCH, SIZE), "x": (T, BATCH, SIZE), "h": (BATCH, SIZE)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}, rng


# --- where a cell has its tensors from: each makes a cell of w (SIZE, SIZE), b (SIZE,) and r (BATCH, SIZE) ------------------------


def step(x: Any, h: Any, w: Any, b: Any, r: Any) -> Any:
    h = tg.tanh(h @ w + b * x) + h * r * r
    return h * b, h


def closed_over(w: Any, b: Any, r: Any) -> Callable[..., Any]:
    return lambda x, h: step(x, h, w, b, r)


def computed(w: Any, b: Any, r: Any) -> Callable[..., Any]:
    w, b, r = w * w, tg.sin(b), r + 0.5 * r
    return lambda x, h: step(x, h, w, b, r)


def computed_of_each_other(w: Any, b: Any, r: Any) -> Callable[..., Any]:
    b = b * w.sum()
    r = r * b
    return lambda x, h: step(x, h, w, b, r)


class Attributes(tg.Cell):
    def __init__(self, w: Any, b: Any, r: Any) -> None:
        self.w, self.several, self.by_name = w * 1.5, [b], {"r": r, "others": (b * b,)}

    def initial_state(self, batch_size: int) -> Any:
        return tg.tensor(np.zeros((batch_size, SIZE)))

    def forward(self, x: Any, h: Any) -> Any:
        return step(x, h, self.w, self.several[0] + self.by_name["others"][0], self.by_name["r"])


class Names(tg.Cell):
    """In an object whose attributes are not looked at."""

    def __init__(self, w: Any, b: Any, r: Any) -> None:
        self.held = types.SimpleNamespace(w=w * w, b=b)
        self.r = r

    def initial_state(self, batch_size: int) -> Any:
        return tg.tensor(np.zeros((batch_size, SIZE)))

    def forward(self, x: Any, h: Any) -> Any:
        return step(x, h, self.held.w, self.held.b, self.r)


def of_an_unrolling(w: Any, b: Any, r: Any) -> Callable[..., Any]:
    """Made by another compiled cell, from which the steps of this one take a state."""
    made = tg.unroll(tg.jit(lambda x, h: (tg.tanh(h @ w + x), tg.tanh(h @ w + x))), np.ones((2, SIZE, SIZE)) * 0.3, w)[1]
    return lambda x, h: step(x, h, made, b, r)


HOLDERS = [closed_over, computed, computed_of_each_other, Attributes, Names, of_an_unrolling]


# --- how it is run: each makes the sum of random weights times outputs and last state ----------------------------------------------


def plainly(cell: Any, x: Any, h: Any) -> Any:
    return tg.unroll(cell, x, h)


def jitted(cell: Any, x: Any, h: Any) -> Any:
    return tg.unroll(tg.jit(cell), x, h)


def stretches(cell: Any, x: Any, h: Any) -> Any:
    return tg.unroll(cell, x, h, checkpoint=2)


def jitted_stretches(cell: Any, x: Any, h: Any) -> Any:
    return tg.unroll(tg.jit(cell), x, h, checkpoint=2)


def checkpointed(cell: Any, x: Any, h: Any) -> Any:
    return tg.checkpoint(lambda x, h: tg.unroll(cell, x, h), x, h)


def checkpointed_jit(cell: Any, x: Any, h: Any) -> Any:
    fast = tg.jit(cell)
    return tg.checkpoint(lambda h: tg.unroll(fast, x, h), h)


def function(cell: Any, x: Any, h: Any) -> Any:
    return tg.jit(lambda x, h: tg.unroll(cell, x, h))(x, h)


def step_function(cell: Any, x: Any, h: Any) -> Any:
    fast, ys = tg.jit(lambda x, h: cell(x, h)), []
    for t in range(T):
        y, h = fast(x[t], h)
        ys.append(y)
    return tg.stack(ys), h


WAYS = [jitted, stretches, jitted_stretches, checkpointed, checkpointed_jit, function, step_function]


def loss(way: Any, holder: Any, weights: Any, w: Any, b: Any, r: Any, x: Any, h: Any) -> Any:
    ys, last = way(holder(w, b, r), x, h)
    return (ys * ys * weights[0]).sum() + (last * weights[1]).sum()


def everything(way: Any, holder: Any, seed: int = 0) -> dict[str, Any]:
    """Derivatives of second order, by each pair of w, b, r, x and h, in several ways."""
    arrays, rng = drawn(seed)
    weights = rng.normal(size=(T, BATCH, SIZE)), rng.normal(size=(BATCH, SIZE))
    names, values = list(arrays), [tg.tensor(a) for a in arrays.values()]
    directions = [tg.tensor(rng.normal(size=a.shape)) for a in arrays.values()]
    count = range(len(names))

    def f(*given: Any) -> Any:
        return loss(way, holder, weights, *given)

    def inner(of: int, *given: Any) -> Any:
        """A direction of the first derivative by one of them, as a function of all."""
        return (tg.grad(f, of)(*given) * directions[of]).sum()

    found: dict[str, Any] = {}
    for i in count:
        mixed = tg.grad(lambda *given, i=i: inner(i, *given), list(count))(*values)
        found |= {f"d{names[i]} d{names[j]}": g for j, g in enumerate(mixed)}
        only = lambda z, i=i: f(*values[:i], z, *values[i + 1 :])  # noqa: E731
        found[f"hvp {names[i]}"] = tg.hvp(only, values[i], directions[i])
        found[f"jvp {names[i]}"] = tg.jvp(only, (values[i],), (directions[i],))[1]
    found["hessian b"] = tg.hessian(f, 1)(*values)
    found["hessian h"] = tg.hessian(f, 4)(*values)
    found["all at once"] = tg.jvp(tg.grad(f, list(count)), values, directions)[1]
    found["third"] = tg.grad(lambda w, b: (tg.grad(lambda b: inner(0, w, b, *values[2:]))(b) * directions[1]).sum())(*values[:2])

    leaves = [tg.tensor(a, requires_grad=True) for a in arrays.values()]
    f(*leaves).backward(create_graph=True)
    first = [leaf.grad for leaf in leaves]
    found |= {f"backward {name}": g for name, g in zip(names, first, strict=True)}
    for leaf in leaves:
        leaf.grad = None
    total = sum(((g * d).sum() for g, d in zip(first, directions, strict=True)), 0.0)
    total.backward()
    found |= {f"backward twice {name}": leaf.grad for name, leaf in zip(names, leaves, strict=True)}
    return found


_plain: dict[Any, dict[str, Any]] = {}


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda h: h.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.__name__)
def test_second_derivatives_by_each_tensor_are_those_of_the_plain_steps(way: Any, holder: Any) -> None:
    if holder not in _plain:
        with tg.eager():
            _plain[holder] = everything(plainly, holder)
    expected, found = _plain[holder], everything(way, holder)
    for name, value in expected.items():
        for a, b in zip(value if isinstance(value, tuple) else [value], found[name] if isinstance(value, tuple) else [found[name]], strict=True):
            assert np.abs(a.numpy()).max() > 1e-6, name  # or there would be nothing to see
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-9, atol=1e-10, err_msg=name)
