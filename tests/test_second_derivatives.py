"""Second and mixed derivatives by every sort of tensor that a compiled cell, a checkpoint or a compiled function uses, beside the plain steps."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from .interpreted import interpreting

# the batch is no other size, or a tensor with as many rows would be taken for one of the batch
T, BATCH, SIZE = 3, 3, 2


@pytest.fixture(autouse=True)
def _as_python() -> Any:
    with interpreting():
        yield


def drawn(seed: int = 0) -> tuple[dict[str, np.ndarray], np.random.Generator]:
    rng = np.random.default_rng(seed)
    shapes = {
        "w": (SIZE, SIZE),
        "b": (SIZE,),
        "r": (BATCH, SIZE),
        "x": (T, BATCH, SIZE),
        "h": (BATCH, SIZE),
    }
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
    made = tg.unroll(
        tg.jit(lambda x, h: (tg.tanh(h @ w + x), tg.tanh(h @ w + x))),
        np.ones((2, SIZE, SIZE)) * 0.3,
        w,
    )[1]
    return lambda x, h: step(x, h, made, b, r)


HOLDERS = [closed_over, computed, computed_of_each_other, Attributes, Names, of_an_unrolling]


# --- how it is run: each makes the sum of random weights times outputs and last state ----------------------------------------------


def plainly(cell: Any, x: Any, h: Any) -> Any:
    return tg.unroll(cell, x, h)


def jitted(cell: Any, x: Any, h: Any) -> Any:
    return tg.unroll(tg.jit(cell), x, h)


def segments(cell: Any, x: Any, h: Any) -> Any:
    return tg.unroll(cell, x, h, checkpoint=2)


def jitted_segments(cell: Any, x: Any, h: Any) -> Any:
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


WAYS = [jitted, segments, jitted_segments, checkpointed, checkpointed_jit, function, step_function]


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
    found["third"] = tg.grad(
        lambda w, b: (tg.grad(lambda b: inner(0, w, b, *values[2:]))(b) * directions[1]).sum()
    )(*values[:2])

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


@pytest.mark.parametrize(
    "holder",
    [pytest.param(h, marks=pytest.mark.full) if k % 2 else h for k, h in enumerate(HOLDERS)],
    ids=lambda h: h.__name__,
)
@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.__name__)
def test_second_derivatives_by_each_tensor_are_those_of_the_plain_steps(
    way: Any, holder: Any
) -> None:
    if holder not in _plain:
        with tg.eager():
            _plain[holder] = everything(plainly, holder)
    expected, found = _plain[holder], everything(way, holder)
    for name, value in expected.items():
        for a, b in zip(
            value if isinstance(value, tuple) else [value],
            found[name] if isinstance(value, tuple) else [found[name]],
            strict=True,
        ):
            assert np.abs(a.numpy()).max() > 1e-6, name  # or there would be nothing to see
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-9, atol=1e-10, err_msg=name)


# --- how it is unrolled ------------------------------------------------------------------------------------------------------------

HOWS: dict[str, dict[str, Any]] = {
    "reverse": {"reverse": True},
    "lengths": {"lengths": [2, 3, 1]},
    "resets": {"resets": np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]], bool)},
    "states": {"return_states": True},
    "all": {
        "reverse": True,
        "lengths": [2, 3, 1],
        "resets": np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]], bool),
        "return_states": True,
    },
}


@pytest.mark.parametrize("checkpoint", [None, 2])
@pytest.mark.parametrize("how", HOWS)
def test_second_derivatives_of_sequences_with_lengths_resets_and_all_states(
    how: str, checkpoint: int | None
) -> None:
    arrays, rng = drawn(1)
    values = [tg.tensor(a) for a in arrays.values()]
    directions = [tg.tensor(rng.normal(size=a.shape)) for a in arrays.values()]

    def second(compiled: bool) -> Any:
        def f(w: Any, b: Any, r: Any, x: Any, h: Any) -> Any:
            cell = computed(w, b, r)
            ys, last = tg.unroll(
                tg.jit(cell) if compiled else cell,
                x,
                h,
                **HOWS[how],
                checkpoint=checkpoint if compiled else None,
            )
            return (ys * ys).sum() + (last * last * last).sum()

        return tg.jvp(tg.grad(f, list(range(5))), values, directions)[1]

    for name, a, b in zip(arrays, second(False), second(True), strict=True):
        assert np.abs(a.numpy()).max() > 1e-6
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-9, atol=1e-10, err_msg=name)


def test_what_is_not_differentiated_stays_constant_in_a_second_run() -> None:
    """Results of a transform hang on nothing, if what it was given does not.

    Also where x is an array and one output a constant.
    """

    def f(w: Any, way: Any) -> Any:
        ones = tg.tensor(np.ones((BATCH, SIZE)))
        (y, fixed), last = way(
            lambda x, h: ((h * w + x, ones), h * w),
            np.ones((T, BATCH, SIZE)),
            tg.tensor(np.ones((BATCH, SIZE))),
        )
        return (y * fixed).sum() + (last * last).sum()

    w, v = tg.tensor(np.array([0.5, -1.5])), tg.tensor(np.array([1.0, 2.0]))
    for way in (jitted, segments, checkpointed):
        expected, found = (tg.hvp(lambda w, u=u: f(w, u), w, v) for u in (plainly, way))
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)
        assert (
            not found.requires_grad
            and not tg.grad(tg.grad(lambda w, way=way: f(w, way).sum() * 1.0))(
                tg.tensor(np.array(0.5))
            ).requires_grad
        )


# --- what a graph finds of a computed tensor that a cell uses --------------------------------------------------------------------------


@pytest.mark.parametrize("way", [jitted, segments, function], ids=lambda w: w.__name__)
def test_a_computed_tensor_that_a_cell_uses_keeps_its_gradient_and_runs_its_hooks(way: Any) -> None:
    def run(way: Any) -> list[np.ndarray]:
        w = tg.tensor(np.array([0.5, -1.5]), requires_grad=True)
        double = w * 2
        double.retain_grad()
        double.register_hook(lambda g: g * 10)
        ys, _ = way(
            lambda x, h: (h * double + x, h * double),
            np.ones((T, BATCH, SIZE)),
            tg.tensor(np.ones((BATCH, SIZE))),
        )
        (ys * ys).sum().backward()
        return [w.grad.numpy(), double.grad.numpy()]

    np.testing.assert_allclose(run(way), run(plainly), rtol=1e-12)


def test_the_values_of_a_computed_tensor_are_those_that_it_has_though_its_leaf_has_others_by_now() -> (
    None
):
    w = tg.tensor(np.array([0.5, -1.5]), requires_grad=True)
    made = tg.unroll(
        tg.jit(lambda x, h: (x, h * w)), np.ones((2, SIZE, SIZE)), tg.tensor(np.ones((SIZE, SIZE)))
    )[1]
    w.data = np.array([7.0, 7.0])
    x, h = np.ones((T, BATCH, SIZE)), tg.tensor(np.ones((BATCH, SIZE)))
    for way in (jitted, function):
        np.testing.assert_allclose(
            way(lambda x, h: (x, h @ made), x, h)[1].numpy(),
            plainly(lambda x, h: (x, h @ made), x, h)[1].numpy(),
            rtol=1e-12,
        )


def test_a_tensor_that_another_compiled_cell_computed_and_that_an_object_holds() -> None:
    def gradient(wrapped: Any) -> Any:
        w = tg.tensor(np.array([0.5, -1.5]), requires_grad=True)
        held = types.SimpleNamespace(
            w=tg.unroll(
                wrapped(lambda x, h: (x, h * w)),
                np.ones((2, SIZE, SIZE)),
                tg.tensor(np.ones((SIZE, SIZE))),
            )[1]
        )
        ys, _ = tg.unroll(
            wrapped(lambda x, h: (x, h @ held.w)),
            np.ones((T, BATCH, SIZE)),
            tg.tensor(np.ones((BATCH, SIZE))),
        )
        _, last = tg.unroll(
            wrapped(lambda x, h: (x, h @ held.w)), ys, tg.tensor(np.ones((BATCH, SIZE)))
        )
        (last**2).sum().backward()
        return w.grad.numpy()

    np.testing.assert_allclose(gradient(tg.jit), gradient(lambda cell: cell), rtol=1e-12)


def test_a_parameter_that_is_made_when_it_is_first_needed_gets_its_gradient_from_a_checkpoint() -> (
    None
):
    made: list[Any] = []

    def f(x: Any) -> Any:
        if not made:
            made.append(tg.tensor(np.array([2.0, 3.0]), requires_grad=True))
        return (x * made[0]).sum()

    tg.checkpoint(f, tg.tensor(np.array([1.0, 4.0]), requires_grad=True)).backward()
    assert made[0].grad.tolist() == [1.0, 4.0]


# --- what was changed in between ----------------------------------------------------------------------------------------------------


def test_steps_that_are_run_again_refuse_a_cell_that_was_changed() -> None:
    x, h = np.ones((T, BATCH, SIZE)), tg.tensor(np.ones((BATCH, SIZE)))

    class Scaled(tg.Cell):
        def __init__(self) -> None:
            self.w, self.scale, self.several = (
                tg.Parameter(np.array([0.5, -1.5])),
                2.0,
                [tg.tensor(np.ones(SIZE), requires_grad=True)],
            )

        def forward(self, x: Any, h: Any) -> Any:
            h = h * self.w * self.scale * self.several[0] + x
            return h, h

    def change_number(cell: Any) -> None:
        cell.scale = 3.0

    def change_tensor(cell: Any) -> None:
        cell.several[0] = tg.tensor(np.ones(SIZE), requires_grad=True)

    def change_array(cell: Any) -> None:
        cell.scale = np.array([1.0, 2.0])

    for change in (change_number, change_tensor, change_array):
        cell = Scaled()
        total = (tg.unroll(tg.jit(cell), x, h)[0] ** 2).sum()
        change(cell)
        with pytest.raises(
            tg.GraphError,
            match=r"run the steps of 'Scaled' again, but .* is not what it was when they ran compiled",
        ):
            total.backward(create_graph=True)
        total.backward()  # the compiled backward has kept what it needs
        expected = cell.w.grad
        cell = Scaled()
        (tg.unroll(cell, x, h)[0] ** 2).sum().backward()
        np.testing.assert_allclose(expected.numpy(), cell.w.grad.numpy(), rtol=1e-12)


def test_a_checkpoint_whose_function_uses_another_tensor_when_it_is_run_again_is_refused() -> None:
    x = tg.tensor(np.array([1.0, 4.0]), requires_grad=True)
    several = [tg.tensor(np.array([2.0, 3.0]), requires_grad=True)]
    y = tg.checkpoint(lambda x: (x * several[0]).sum(), x)
    several[0] = tg.tensor(np.array([2.0, 3.0]), requires_grad=True)
    with pytest.raises(
        tg.GraphError, match=r"was the tensor .* in the first run and the tensor .* in the second"
    ):
        y.backward()
