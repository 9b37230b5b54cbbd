"""The tape and the reverse walk.

What is accumulated, kept, freed and reported, and what it costs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import importlib
import itertools
import re
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tape import ENGINE_FILES, Freed, Leaf, context
from tinygrad_rnn.ops.checks import OutOfRangeError


def leaf(values: Any, name: str | None = None) -> tg.Tensor:
    return tg.tensor(np.asarray(values, np.float64), requires_grad=True, name=name)


def line() -> int:
    """The number of the line that calls."""
    return sys._getframe(1).f_lineno


# --- what backward gives ----------------------------------------------------------------------------------------------------


def test_gradients_accumulate_over_backwards() -> None:
    x = leaf([2.0, 3.0])
    (x * x).sum().backward()
    first = x.grad
    (x * x * x).sum().backward()
    assert x.grad.tolist() == [4 + 12, 6 + 27]
    assert first.tolist() == [4, 6], "the gradient that was handed out is not written to"
    x.grad = None
    (x * 5).sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_the_gradient_is_a_constant_tensor_of_the_same_dtype() -> None:
    for dtype in (np.float32, np.float64):
        x = tg.tensor(np.ones((2, 3), dtype), requires_grad=True)
        tg.tanh(x * 2.5).mean().backward()
        assert (
            type(x.grad) is tg.Tensor
            and x.grad.dtype == dtype
            and x.grad.shape == (2, 3)
            and not x.grad.requires_grad
        )


@pytest.mark.parametrize(
    "f, df",
    [
        (lambda x: x * x, lambda x: 2 * x),
        (lambda x: x + x, lambda x: 2 + 0 * x),
        (lambda x: x - x, lambda x: 0 * x),
        (lambda x: x / x, lambda x: 0 * x),
        (lambda x: tg.where(x > 0, x, x) * x, lambda x: 2 * x),
        (lambda x: tg.concatenate([x, x, x]), lambda x: 3 + 0 * x),
        (lambda x: tg.stack([x, x * x, x]), lambda x: 2 + 2 * x),
        (lambda x: tg.einsum("i,i,i->i", x, x, x), lambda x: 3 * x * x),
        (lambda x: x.reshape(1, -1) @ x.reshape(-1, 1), lambda x: 2 * x),
        (lambda x: x**x, lambda x: x**x * (np.log(x) + 1)),
        (lambda x: tg.maximum(x, x), lambda x: 1 + 0 * x),
    ],
)
def test_a_tensor_used_twice_in_one_operation(f: Any, df: Any, rng: np.random.Generator) -> None:
    x = leaf(rng.uniform(0.5, 2.0, 4))
    f(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), df(x.numpy()), rtol=1e-12, atol=1e-12)


def test_diamonds(rng: np.random.Generator) -> None:
    x = leaf(rng.normal(size=3))
    y = x
    expected = np.ones(3)
    for _ in range(12):  # 4096 paths
        a, b = y * 0.5, y * 0.7
        y, expected = a + b, expected * 1.2
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-12)


def test_paths_of_different_length_and_shared_leaves(rng: np.random.Generator) -> None:
    w, x = leaf(rng.normal(size=(3, 3))), leaf(rng.normal(size=(2, 3)))
    h = x @ w
    y = (h @ w + h) @ w
    weights = rng.normal(size=(2, 3))
    (y * weights).sum().backward()
    a, b = w.numpy(), x.numpy()
    d = weights @ a.T
    dh = d @ a.T + d
    np.testing.assert_allclose(
        w.grad.numpy(), (b @ a @ a + b @ a).T @ weights + (b @ a).T @ d + b.T @ dh, rtol=1e-12
    )
    np.testing.assert_allclose(x.grad.numpy(), dh @ a.T, rtol=1e-12)


def test_a_gradient_that_arrives_many_times_is_not_shared_with_other_leaves(
    rng: np.random.Generator,
) -> None:
    """What add hands to both of its inputs is one array: collecting must not write into it."""
    a, b, c = (leaf(rng.normal(size=3)) for _ in range(3))
    ab = a + b
    y = ab + c + ab + a + ab + ab * 2.0
    y.sum().backward()
    assert (a.grad.tolist(), b.grad.tolist(), c.grad.tolist()) == ([6.0] * 3, [5.0] * 3, [1.0] * 3)


def test_backward_of_a_tensor_with_many_elements() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    with pytest.raises(
        tg.GraphError, match=r"shape \(2,\) is not one number; sum it, or pass backward\(gradient\)"
    ):
        y.backward()
    y.backward([10.0, 1.0])
    assert x.grad.tolist() == [20, 4]
    x.grad = None
    (x * x).reshape(1, 2)[:, :1].backward()
    assert x.grad.tolist() == [2, 0]


def test_backward_of_a_leaf() -> None:
    x = leaf(3.0)
    x.backward()
    x.backward(2.0)
    assert x.grad.item() == 3


def test_gradients_pass_through_no_constant() -> None:
    x, c = leaf([1.0, 2.0]), tg.tensor(np.array([3.0, 4.0]))
    y = x * c + (x * 2).detach() * x + tg.floor(x) * 0 + (x > 1).astype(np.float64)
    y.sum().backward()
    assert x.grad.tolist() == [3 + 2, 4 + 4] and c.grad is None


def test_branches_without_gradient_are_no_obstacle() -> None:
    x, unused = leaf([1.0]), leaf([1.0])
    (x * 2).sum().backward()
    assert unused.grad is None
    y = tg.split(x * tg.tensor(np.array([1.0, 2.0])), 2)
    y[0].sum().backward()
    assert x.grad.tolist() == [3]


# --- walking again ------------------------------------------------------------------------------------------------------------


def test_retain_graph() -> None:
    x = leaf([2.0])
    y = (x**3).sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [36]
    with pytest.raises(tg.GraphError):
        y.backward()


def test_the_second_backward_says_what_was_freed_and_by_what() -> None:
    x = leaf([2.0, 1.0])
    y = tg.tanh(x)
    y_line = line() - 1
    loss = (y * y).sum()
    loss.backward()
    freed_line = line() - 1
    with pytest.raises(tg.GraphError) as caught:
        (y * 3).sum().backward()
    text = str(caught.value)
    assert re.search(rf"the result of tanh .*\(2,\) \(at test_tape\.py:{y_line}\)", text), text
    assert f"released by the backward of 'sum' at test_tape.py:{freed_line}" in text
    assert ".detach()" in text and "retain_graph=True" in text


def test_a_hidden_state_that_was_carried_over_is_named(rng: np.random.Generator) -> None:
    cell = tg.cells.Elman(2, 3, rng=0)
    h = cell.initial_state(1)
    with pytest.raises(tg.GraphError) as caught:
        for _ in range(2):
            ys, h = tg.unroll(cell, rng.normal(size=(4, 1, 2)), h)
            h.name = "hidden"
            loss = ys.sum()
            loss.name = "loss"
            loss.backward()
    text = str(caught.value)
    assert (
        "'hidden', computed by tanh" in text
        and "cell 'Elman', step t=3" in text
        and "backward of 'loss'" in text
    )
    assert "detach(" in text
    for _ in range(2):  # the way out
        ys, h = tg.unroll(cell, rng.normal(size=(4, 1, 2)), h.detach())
        ys.sum().backward()


def test_other_branches_of_a_freed_graph_can_still_be_walked() -> None:
    x = leaf([2.0])
    a, b = x * 3, x * x
    a.sum().backward()
    b.sum().backward()
    assert x.grad.tolist() == [7]


# --- values that were replaced --------------------------------------------------------------------------------------------------


def test_a_parameter_replaced_before_backward_is_found_out(rng: np.random.Generator) -> None:
    w = tg.Parameter(rng.normal(size=(2, 2)), name="w")
    x = leaf(rng.normal(size=(1, 2)))
    optimizer = tg.optim.SGD([w], 0.1)
    first, second = (x @ w).sum(), ((x @ w) ** 2).sum()
    w_line = line() - 1
    first.backward()
    optimizer.step()
    step_line = line() - 1
    with pytest.raises(tg.GraphError) as caught:
        second.backward()
    assert f"the value that w float64(2, 2) had in matmul (at test_tape.py:{w_line})" in str(
        caught.value
    )
    assert f"replaced at test_tape.py:{step_line}" in str(caught.value)
    assert "Call backward before" in str(caught.value)


def test_setting_data_before_backward_is_found_out_where_the_value_matters() -> None:
    x = leaf([1.0, 2.0], "x")
    y = (x * x).sum()
    x.data = [5.0, 6.0]
    with pytest.raises(
        tg.GraphError,
        match=r"value that x float64\(2,\) had in multiply .*replaced at test_tape\.py",
    ):
        y.backward()
    z = (x * 3 + x).sum()  # no rule reads x here
    x.data = [7.0, 8.0]
    z.backward()
    assert x.grad.tolist() == [4, 4]
    (x * x).sum().backward()
    assert x.grad.tolist() == [4 + 14, 4 + 16], "graphs of the new value are not affected"


def test_a_parameter_replaced_before_backward_is_found_out_behind_a_transpose(
    rng: np.random.Generator,
) -> None:
    linear = tg.nn.Linear(2, 2, rng=0)
    x = tg.tensor(rng.normal(size=(1, 2)).astype(np.float32), requires_grad=True)
    first, second = linear(x).sum(), (linear(x) ** 2).sum()
    optimizer = tg.optim.SGD(linear.parameters(), 0.1)
    first.backward()
    optimizer.step()
    with pytest.raises(tg.GraphError):
        second.backward()


# --- recording on and off ---------------------------------------------------------------------------------------------------------


def test_no_grad_and_enable_grad() -> None:
    x = leaf([1.0])
    with tg.no_grad():
        assert not (x * 2).requires_grad
        with tg.enable_grad():
            assert (x * 2).requires_grad
            with tg.no_grad():
                assert not tg.tanh(x).requires_grad
        assert not (x @ x).requires_grad
    assert (x * 2).requires_grad


def test_an_exception_restores_recording() -> None:
    x = leaf([1.0])
    with pytest.raises(ValueError, match="stop"), tg.no_grad():
        raise ValueError("stop")
    assert (x * 2).requires_grad


def test_one_object_may_be_entered_again() -> None:
    x, off = leaf([1.0]), tg.no_grad()
    with off:
        with off:
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with off:
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_backward_works_inside_no_grad() -> None:
    x = leaf([3.0])
    y = (x * x).sum()
    with tg.no_grad():
        y.backward()
    assert x.grad.tolist() == [6]


def test_each_thread_has_its_own_setting(rng: np.random.Generator) -> None:
    x = leaf(rng.normal(size=3))
    entered, leave, found = threading.Event(), threading.Event(), []

    def other() -> None:
        found.append((x * 2).requires_grad)
        with tg.no_grad(), tg.at_step(7):
            entered.set()
            leave.wait(10)
            found.append((x * 2).requires_grad)

    with tg.no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(10)
    y = x * 2
    assert y.requires_grad and y.node.where.mark.step is None, (
        "the other thread's setting does not reach this one"
    )
    leave.set()
    thread.join()
    assert found == [True, False]


def test_threads_walk_their_own_graphs(rng: np.random.Generator) -> None:
    xs = [leaf(rng.normal(size=20)) for _ in range(4)]

    def work(x: tg.Tensor) -> None:
        y = x
        for _ in range(200):
            y = tg.tanh(y * 1.1)
        y.sum().backward()

    threads = [threading.Thread(target=work, args=(x,)) for x in xs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    together = [x.grad.numpy() for x in xs]
    for x, expected in zip(xs, together, strict=True):
        x.grad = None
        work(x)
        np.testing.assert_array_equal(x.grad.numpy(), expected)


# --- hooks ----------------------------------------------------------------------------------------------------------------------


def test_hooks_see_and_replace_gradients() -> None:
    x = leaf([1.0, 2.0])
    y = x * 3
    seen = []
    remove = y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(g.tolist()))
    (y * y).sum().backward()
    assert seen == [[6, 12], [60, 120]], (
        "called once each, in order, with the gradient that has collected"
    )
    assert x.grad.tolist() == [180, 360]
    remove()
    remove()
    (x * 3).sum().backward()


def test_a_hook_runs_once_with_the_sum_of_all_paths() -> None:
    x = leaf([1.0])
    y = x * 2
    calls = []
    y.register_hook(lambda g: calls.append(g.item()))
    (y + y * 3 + y * y).sum().backward()
    assert calls == [1 + 3 + 4]


def test_hooks_on_leaves_stay_when_the_values_are_replaced() -> None:
    w = tg.Parameter([1.0])
    calls = []
    remove = w.register_hook(lambda g: calls.append(1))
    optimizer = tg.optim.SGD([w], 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
    w.data = [3.0]
    (w * 2).sum().backward()
    assert len(calls) == 4
    remove()
    (w * 2).sum().backward()
    assert len(calls) == 4


def test_a_hook_that_returns_the_wrong_shape_is_named() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2
    y.register_hook(lambda g: g.sum())
    with pytest.raises(
        tg.RuleError,
        match=r"a hook on <multiply \(2,\).* returned float64\(\); expected shape \(2,\)",
    ):
        y.sum().backward()


def test_hooks_need_gradients() -> None:
    with pytest.raises(tg.GraphError, match="does not require gradients"):
        tg.tensor([1.0]).register_hook(lambda g: None)
    with pytest.raises(tg.GraphError, match="does not require gradients"):
        tg.tensor([1.0]).retain_grad()


def test_hooks_are_recorded_under_create_graph() -> None:
    x = leaf([2.0])
    y = x * x
    y.register_hook(lambda g: g * x)  # the gradient becomes 2 x * x
    y.sum().backward(create_graph=True)
    g, x.grad = x.grad, None
    assert g.tolist() == [8]
    g.sum().backward()
    assert x.grad.tolist() == [8]


def test_retain_grad() -> None:
    x = leaf([1.0, 2.0])
    y = x * 3
    y.retain_grad()
    z = y * y
    z.sum().backward(retain_graph=True)
    assert y.grad.tolist() == [6, 12] and z.grad is None
    z.sum().backward()
    assert y.grad.tolist() == [12, 24]
    x.retain_grad()
    assert x.grad.tolist() == [36, 72]


def test_retain_grad_of_a_handle_whose_predecessor_has_gone() -> None:
    y = leaf([1.0, 2.0]) * 3
    y.handle().retain_grad()  # nobody holds it; the next one gets its place in memory
    second = y.handle()
    second.retain_grad()
    second.retain_grad()  # says nothing new
    (y * y).sum().backward()
    assert second.grad.tolist() == [6, 12] and y.grad is None


# --- higher orders ------------------------------------------------------------------------------------------------------------------


ORDERS: dict[str, tuple[Callable[[Any], Any], list[Callable[[Any], Any]]]] = {
    "power": (
        lambda x: x**5,
        [lambda x: 5 * x**4, lambda x: 20 * x**3, lambda x: 60 * x**2, lambda x: 120 * x],
    ),
    "exp": (lambda x: tg.exp(2 * x), [lambda x, k=k: 2**k * np.exp(2 * x) for k in (1, 2, 3, 4)]),
    "sin": (lambda x: tg.sin(x), [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin]),
    "log": (
        lambda x: tg.log(x),
        [lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3, lambda x: -6 / x**4],
    ),
    "tanh": (
        lambda x: tg.tanh(x),
        [
            lambda x: 1 - np.tanh(x) ** 2,
            lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
            lambda x: (1 - np.tanh(x) ** 2) * (6 * np.tanh(x) ** 2 - 2),
            lambda x: (1 - np.tanh(x) ** 2) * np.tanh(x) * (16 - 24 * np.tanh(x) ** 2),
        ],
    ),
    "quotient": (
        lambda x: 1 / x,
        [lambda x: -1 / x**2, lambda x: 2 / x**3, lambda x: -6 / x**4, lambda x: 24 / x**5],
    ),
    "product of itself": (
        lambda x: x * x * x,
        [lambda x: 3 * x**2, lambda x: 6 * x, lambda x: 6 + 0 * x, lambda x: 0 * x],
    ),
}


@pytest.mark.parametrize("case", ORDERS.values(), ids=ORDERS)
def test_create_graph_up_to_the_fourth_order(case: Any, rng: np.random.Generator) -> None:
    f, expected = case
    x = leaf(rng.uniform(0.5, 1.5, 3))
    y = f(x).sum()
    for k, closed in enumerate(expected):
        x.grad = None
        if not y.requires_grad:  # the derivative before was a constant
            assert np.all(closed(x.numpy()) == 0)
            break
        y.backward(create_graph=True)
        np.testing.assert_allclose(
            x.grad.numpy(), closed(x.numpy()), rtol=1e-10, atol=1e-12, err_msg=f"order {k + 1}"
        )
        y = x.grad.sum()


def test_create_graph_through_matrices(rng: np.random.Generator) -> None:
    """The gradient of the squared norm of a gradient, against its closed form."""
    a, x = leaf(rng.normal(size=(3, 3))), leaf(rng.normal(size=3))
    (x @ a @ x).backward(create_graph=True)
    g, x.grad, a.grad = x.grad, None, None
    (g * g).sum().backward()  # g = (A + A') x
    s = a.numpy() + a.numpy().T
    v = 2 * s @ x.numpy()
    np.testing.assert_allclose(x.grad.numpy(), s @ v, rtol=1e-12)
    np.testing.assert_allclose(
        a.grad.numpy(), np.outer(v, x.numpy()) + np.outer(x.numpy(), v), rtol=1e-12
    )


def test_create_graph_without_retain_graph() -> None:
    x = leaf([2.0])
    y = (x**3).sum()
    y.backward(create_graph=True)
    g, x.grad = x.grad, None
    (g * g).sum().backward()
    assert x.grad.tolist() == [2 * 12 * 12]


# --- what is kept, and for how long ---------------------------------------------------------------------------------------------------


def alive(arrays: list[weakref.ref[Any]]) -> list[bool]:
    return [r() is not None for r in arrays]


def test_only_what_the_rules_read_is_saved(rng: np.random.Generator) -> None:
    x = leaf(rng.uniform(0.5, 1.5, 5))

    def saved_of(y: tg.Tensor) -> list[bool]:
        return [v is not None for v in y.node.saved]

    c = tg.tensor(rng.normal(size=5))
    assert saved_of(x + c) == saved_of(x - c) == [False] * 3
    assert saved_of(x * c) == [False, False, True], "the other factor only"
    assert saved_of(c * x) == [False, True, False]
    assert saved_of(x * x) == [False, True, True]
    assert saved_of(tg.tanh(x)) == [True, False] == saved_of(tg.exp(x))
    assert saved_of(tg.log(x)) == [False, True]
    assert saved_of(x.sum()) == saved_of(x.reshape(1, 5)) == saved_of(x[1:]) == [False, False]
    assert saved_of(x / c) == [False, False, True]


def test_values_that_no_rule_reads_are_freed_at_once(rng: np.random.Generator) -> None:
    x = leaf(rng.normal(size=5))
    kept: list[weakref.ref[Any]] = []

    def build() -> tg.Tensor:
        a = x + 1.0  # nothing reads a
        b = tg.tanh(a)  # tanh reads b
        c = b * 2.0  # nothing reads c
        kept.extend(weakref.ref(v.array) for v in (a, b, c))
        return c.sum()

    y = build()
    assert alive(kept) == [False, True, False]
    y.backward()
    assert alive(kept) == [False, False, False], "backward releases what it has read"


def test_saved_values_are_freed_in_reverse_time_order(rng: np.random.Generator) -> None:
    x, steps, counts = leaf(rng.normal(size=4)), 6, []
    kept: list[weakref.ref[Any]] = []
    h = x
    for t in range(steps):
        with tg.at_step(t):
            h = tg.tanh(h)
        h.register_hook(lambda g: counts.append(alive(kept)))
        kept.append(weakref.ref(h.array))
    loss = (h * 1.5).sum()
    del h
    loss.backward()
    assert len(counts) == steps
    # the hook of step - 1 - k; the walk still holds what it has just read
    for k, found in enumerate(counts):
        assert found[: steps - k] == [True] * (steps - k) and not any(found[steps - k + 1 :]), (
            k,
            found,
        )
    assert not any(alive(kept))


def test_retain_graph_keeps_the_values(rng: np.random.Generator) -> None:
    x = leaf(rng.normal(size=4))
    y = tg.tanh(x)
    kept = [weakref.ref(y.array)]
    y = y.sum()
    y.backward(retain_graph=True)
    assert alive(kept) == [True]
    del y
    assert alive(kept) == [False]


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_dropping_the_last_handle_frees_the_graph(
    without_collector: None, rng: np.random.Generator
) -> None:
    x = leaf(rng.normal(size=4))
    y = tg.softmax(tg.tanh(x * 2) @ tg.tensor(rng.normal(size=(4, 4))))
    node, array = weakref.ref(y), weakref.ref(y.array)
    y.sum()
    y.retain_grad()
    del y
    assert node() is None and array() is None


def training_step(cell: tg.Cell, optimizer: Any, xs: np.ndarray) -> None:
    optimizer.zero_grad()
    ys, _ = tg.unroll(cell, xs)
    loss = (ys * ys).mean()
    loss.retain_grad()
    loss.backward()
    tg.clip_grad_norm(cell.parameters(), 1.0)
    optimizer.step()


def second_order_step(cell: tg.Cell, optimizer: Any, xs: np.ndarray) -> None:
    optimizer.zero_grad()
    ys, _ = tg.unroll(cell, xs)
    ys.sum().backward(create_graph=True)
    penalty = sum(((p.grad * p.grad).sum() for p in cell.parameters()), tg.tensor(0.0))
    for p in cell.parameters():
        p.grad = None
    penalty.backward()


def failing_forward(cell: tg.Cell, optimizer: Any, xs: np.ndarray) -> None:
    with pytest.raises(tg.ShapeError):
        tg.unroll(cell, xs[..., :1])
    with pytest.raises(tg.ShapeError):
        cell(xs[0], cell.initial_state(4))[0] @ cell.weight_ih


@tg.custom_vjp
def breaks(x: Any) -> Any:
    return x * 2


@breaks.vjp
def _(g: Any, x: Any) -> Any:
    raise LookupError("no derivative today")


def failing_backward(cell: tg.Cell, optimizer: Any, xs: np.ndarray) -> None:
    ys, _ = tg.unroll(cell, xs)
    with pytest.raises(tg.RuleError):
        breaks(ys).sum().backward()


def freed_twice(cell: tg.Cell, optimizer: Any, xs: np.ndarray) -> None:
    ys, _ = tg.unroll(cell, xs)
    loss = ys.sum()
    loss.backward()
    with pytest.raises(tg.GraphError):
        loss.backward()


def transforms(cell: tg.Cell, optimizer: Any, xs: np.ndarray) -> None:
    x = xs[0, 0].astype(np.float64)
    tg.hessian(lambda v: (v * v * v).sum())(x)
    tg.hvp(lambda v: tg.tanh(v).sum(), x, x)


@pytest.mark.parametrize(
    "step",
    [training_step, second_order_step, failing_forward, failing_backward, freed_twice, transforms],
)
def test_nothing_grows_without_the_collector(
    step: Any, without_collector: None, rng: np.random.Generator
) -> None:
    cell, xs = tg.cells.LSTM(3, 8, rng=0), rng.normal(size=(5, 4, 3)).astype(np.float32)
    optimizer = tg.optim.Adam(cell.parameters())
    tracemalloc.start()
    for _ in range(5):  # free lists of the interpreter, caches
        step(cell, optimizer, xs)
    objects, (memory, _) = len(gc.get_objects()), tracemalloc.get_traced_memory()
    for _ in range(20):
        step(cell, optimizer, xs)
    grown, (memory_after, _) = len(gc.get_objects()) - objects, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 40, f"{grown} objects more after 20 steps"
    # the interpreter keeps up to 2000 small tuples of each length for reuse; the graph of one step
    # is some 100 kB
    assert memory_after - memory < 200_000, f"{memory_after - memory} bytes more after 20 steps"


# --- cost -----------------------------------------------------------------------------------------------------------------------------


def calls(work: Callable[[], Any]) -> int:
    """The number of Python and C function calls, and of lines run, while working."""
    count = 0

    def on_event(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += 1

    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def chain(n: int) -> tg.Tensor:
    y = leaf([1.0, 2.0])
    for _ in range(n):
        y = y * 1.0001
    return y


def triple(n: int) -> tg.Tensor:
    """Each value is used three times, also two steps later."""
    before = now = leaf([1.0, 2.0])
    for _ in range(n // 3):
        before, now = now, tg.tanh(now + now + before) * now
    return now


@pytest.mark.parametrize("graph", [chain, triple])
def test_building_and_walking_cost_is_linear(graph: Any) -> None:
    graph(10).sum().backward()
    small, large = 300, 3000
    built = {n: calls(lambda n=n: graph(n)) for n in (small, large)}
    walked = {n: calls(graph(n).sum().backward) for n in (small, large)}
    recorded = {
        n: calls(lambda n=n: graph(n).sum().backward(create_graph=True)) for n in (small, large)
    }
    for found in (built, walked, recorded):
        ratio = found[large] / found[small]
        assert 7 < ratio < 13, f"ten times the nodes, {ratio:.1f} times the calls"
    assert walked[large] / large < 60, "calls for each node"


def test_tables_show_the_head_of_a_long_tape_only() -> None:
    y = chain(3000)
    table = str(tg.tape(y))
    assert len(table.splitlines()) < 50 and "more nodes" in table
    assert tg.tape(y).table(limit=None).count("\n") == 3001


DEEP = """
    import resource, sys, threading
    import numpy as np
    import tinygrad_rnn as tg

    sys.setrecursionlimit(120)

    def work():
        x = tg.tensor(np.ones(1), requires_grad=True)
        y = x
        for _ in range(100_000):
            y = y * 1.0 + 0.0
        print(str(tg.tape(y)).splitlines()[1].split()[:2], len(tg.tape(y)))
        y.backward(np.ones(1), retain_graph=True)
        y.backward(np.ones(1), create_graph=True)
        print(x.grad.item())
        g = x.grad
        x.grad = None
        del g
        del y
        print("freed")

    # CPython bounds the depth to which it frees nested objects; from 3.12 on it takes up to 1 MB of stack for that, whatever the length
    threading.stack_size((256 if sys.version_info < (3, 12) else 2048) * 1024)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""


def test_a_chain_of_two_hundred_thousand_nodes_with_a_small_stack() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DEEP)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["['%0', 'leaf'] 200001", "2.0", "freed"], (
        done.stdout + done.stderr
    )


# --- where nodes were made --------------------------------------------------------------------------------------------------------------


def made_at(y: tg.Tensor) -> set[int | None]:
    """The lines on which the nodes of a tensor were made, all of them in this file."""
    nodes = [n for n in tg.tape(y) if n.primitive is not None]
    assert nodes and all(n.where.code.co_filename == __file__ for n in nodes), [
        str(n.where) for n in nodes
    ]
    return {n.where.line for n in nodes}


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * 2 + 1,
        lambda x: x @ x,
        lambda x: -x,
        lambda x: 2 / x,
        lambda x: x.reshape(4, 1),
        lambda x: x.T,
        lambda x: x.mean(axis=0),
        lambda x: x.tanh(),
        lambda x: tg.sigmoid(x),
        lambda x: tg.where(x > 0, x, 0.0),
        lambda x: np.tanh(x) + np.ones(2),
        lambda x: np.ones(2) * x,
        lambda x: np.concatenate([x, x]),
        lambda x: np.sum(x, axis=1),
        lambda x: tg.var(x),
        lambda x: tg.std(x, axis=0),
        lambda x: tg.prod(x),
        lambda x: tg.cumprod(x),
        lambda x: tg.split(x, 2)[1],
        lambda x: tg.einsum("ii->i", x),
        lambda x: tg.flip(x),
        lambda x: x.swapaxes(0, 1),
        lambda x: tg.silu(x),
        lambda x: x[0],
        lambda x: next(iter(x)),
        lambda x: abs(x),
        lambda x: x**2,
        lambda x: tg.outer(x[0], x[1]),
        lambda x: x.norm(),
    ],
)
def test_nodes_name_the_line_of_the_user(f: Any, rng: np.random.Generator) -> None:
    x = leaf(rng.uniform(0.5, 1.5, (2, 2)))
    assert made_at(f(x)) == {f.__code__.co_firstlineno}


def test_nodes_of_a_sequence_name_the_line_of_the_cell_or_of_the_user() -> None:
    """The folders of the engine are passed over; cells are not of the engine, wherever they stand."""
    folder = Path(tg.__file__).parent
    cell = tg.cells.LSTM(2, 3)
    with tg.eager():
        ys, _ = tg.unroll(cell, np.ones((4, 1, 2), np.float32))
    nodes = [n for n in tg.tape(ys) if n.primitive is not None]
    stepped = {n.where.code.co_filename for n in nodes if n.where.mark.step is not None}
    assert str(folder / "cells" / "lstm.py") in stepped
    assert {Path(name).parent for name in stepped} <= {folder / "cells", Path(__file__).parent}
    late = ("compiler", "diagnosis")  # which join them when they are first needed
    for name in late:
        importlib.import_module(f"tinygrad_rnn.{name}")
    engine = [folder / name for name in ("core", "ops", "recurrent", *late)]
    assert {Path(name).parent for name in ENGINE_FILES} == set(engine)


@pytest.mark.parametrize("place", ["examples/made_up.py", "tinygrad_rnn/cells/made_up.py"])
def test_code_in_examples_and_in_cells_is_named(place: str) -> None:
    file = Path(tg.__file__).parents[1] / place
    space = {"x": leaf([1.0])}
    exec(compile("\n\ny = x * 2", str(file), "exec"), space)
    where = space["y"].node.where
    assert (where.code.co_filename, where.line) == (str(file), 3)


def test_assignment_names_its_line() -> None:
    x = leaf([1.0, 2.0]) * 1
    x[0] = 5.0
    assert x.node.where.line == line() - 1
    x += 1
    assert x.node.where.line == line() - 1


def test_each_node_has_its_own_line_and_mark() -> None:
    x = leaf([1.0])
    with tg.at_step(3, cell="enc", layer=1):
        y = tg.tanh(x * 2)
    z = y + 1
    first = y.node.where
    assert first.mark == ("enc", 1, 3) and z.node.where.mark == ("", None, None)
    assert first.described() == f" (in cell 'enc', layer 1, step t=3, at test_tape.py:{first.line})"
    assert z.node.where.line == line() - 4


def test_backward_nodes_carry_the_line_and_mark_of_their_forward_node(
    rng: np.random.Generator,
) -> None:
    x = leaf(rng.normal(size=3))
    with tg.at_step(5, cell="mine"):
        h = tg.tanh(x)
        h_line = line() - 1
    y = (h * h).sum()
    y_line = line() - 1
    y.backward(create_graph=True)
    forward = {n.index for n in tg.tape(y)}
    born = [n for n in tg.tape(x.grad) if n.primitive is not None and n.index not in forward]
    assert {n.where.line for n in born} == {h_line, y_line}
    assert {n.where.mark.step for n in born if n.where.line == h_line} == {5}
    assert {n.where.mark.step for n in born if n.where.line == y_line} == {None}


# --- the table ----------------------------------------------------------------------------------------------------------------------------


def test_table(rng: np.random.Generator) -> None:
    x, w = leaf(rng.normal(size=(2, 3)), "x"), leaf(rng.normal(size=(3, 4)), "w")
    with tg.at_step(2, cell="cell"):
        h = tg.tanh(x @ w)
        at = line() - 1
    loss = (h * 2.0).sum()
    loss.name = "loss"
    rows = [row.split() for row in str(tg.tape(loss)).splitlines()]
    assert rows[0] == ["t", "cell", "op", "inputs", "shape", "name", "line"]
    assert rows[1:3] == [["%0", "leaf", "2x3", "x"], ["%1", "leaf", "3x4", "w"]]
    assert rows[3] == ["%2", "2", "cell", "matmul", "%0", "%1", "2x4", f"test_tape.py:{at}"]
    assert rows[4] == ["%3", "2", "cell", "tanh", "%2", "2x4", "h", f"test_tape.py:{at}"]
    assert rows[5] == ["%4", "multiply", "%3", "2.0", "2x4", f"test_tape.py:{at + 2}"]
    assert rows[6] == ["%5", "sum", "%4", "scalar", "loss", f"test_tape.py:{at + 2}"]
    assert len(rows) == 7 and len(tg.tape(loss)) == 6


def test_backward_table(rng: np.random.Generator) -> None:
    x, c = leaf(rng.normal(size=3), "x"), tg.tensor(rng.normal(size=3))
    loss = (tg.tanh(x) * c * x).sum()
    rows = [row.split() for row in tg.tape(loss).backward_table().splitlines()]
    assert [row[1] for row in rows[1:]] == ["sum", "multiply", "multiply", "tanh", "leaf"]
    assert rows[1][1:4] == ["sum", "%4", "scalar"]
    assert rows[2][1:7] == ["multiply", "%3", "%0", "3", "a", "b"], (
        "adds to both inputs, reads both"
    )
    assert rows[3][1:5] == ["multiply", "%1", "3", "b"], (
        "the constant gets nothing; the rule reads it"
    )
    assert rows[4][1:5] == ["tanh", "%0", "3", "out"]
    assert rows[5][1:4] == ["leaf", ".grad", "3"]


def test_tape_is_a_sequence_of_nodes_in_the_order_in_which_they_were_made(
    rng: np.random.Generator,
) -> None:
    x = leaf(rng.normal(size=3))
    tape = tg.tape(tg.tanh(x) * x)
    assert [n.op for n in tape] == ["leaf", "tanh", "multiply"] == [tape[i].op for i in range(3)]
    assert tape[-1].inputs == (tape[1], tape[0]) and len(tape[1:]) == 2
    assert [n.index for n in tape] == sorted(n.index for n in tape)
    assert isinstance(tape[0], Leaf)


def test_a_freed_tape_can_still_be_shown() -> None:
    x = leaf([1.0])
    y = (x * x).sum()
    y.backward()
    assert (
        isinstance(y.node.saved, Freed)
        and "multiply" in str(tg.tape(y))
        and "multiply" in tg.tape(y).backward_table()
    )


def test_a_constant_has_no_tape() -> None:
    with pytest.raises(tg.GraphError, match=r"was not recorded.*requires_grad=True"):
        tg.tape(tg.tensor([1.0]) * 2)


# --- settings that end in another order, in threads and tasks -------------------------------------------------------------------


def recording() -> bool:
    return (tg.tensor([1.0], requires_grad=True) * 2).requires_grad


def held(make: Any) -> Any:
    with make():
        yield


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_settings_that_generators_hold_end_in_any_order(order: tuple[int, ...]) -> None:
    for makes in itertools.product(
        [tg.no_grad, tg.enable_grad, lambda: tg.at_step(4, "mine")], repeat=3
    ):
        held_open = [held(make) for make in makes]
        for g in held_open:
            next(g)
        open_still = list(range(3))
        for k in order:
            held_open[k].close()
            open_still.remove(k)
            wanted = [makes[i] for i in open_still if makes[i] in (tg.no_grad, tg.enable_grad)]
            assert recording() == (not wanted or wanted[-1] is tg.enable_grad)
            assert (context().mark.step == 4) == any(
                makes[i] not in (tg.no_grad, tg.enable_grad) for i in open_still
            )
        assert recording() and context().mark.step is None


def test_a_setting_that_ends_late_leaves_no_trace() -> None:
    before = context()
    for _ in range(3):
        a, b = held(tg.no_grad), held(tg.no_grad)
        next(a), next(b)
        with tg.eager():
            a.close()
            assert not recording()
        b.close()
    assert context() is before


def test_one_setting_may_be_entered_several_times() -> None:
    off = tg.no_grad()
    with off:
        with off, tg.enable_grad(), off:
            assert not recording()
        assert not recording()
    assert recording()
    with pytest.raises(KeyError), off:
        raise KeyError
    assert recording()


def test_a_decorated_function_may_run_in_several_threads() -> None:
    barrier, found = threading.Barrier(8), []

    @tg.no_grad()
    def run(depth: int) -> None:
        barrier.wait()
        found.append(recording())
        if depth:
            run(depth - 1)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(run, [3] * 8))
        assert found == [False] * 32 and all(pool.map(lambda _: recording(), range(8)))


def test_a_setting_may_end_in_another_thread() -> None:
    g = held(tg.no_grad)
    next(g)
    thread = threading.Thread(target=g.close)
    thread.start()
    thread.join()
    assert recording()


def test_tasks_have_settings_of_their_own() -> None:
    async def one(k: int) -> bool:
        with tg.no_grad() if k % 2 else tg.enable_grad():
            await asyncio.sleep(0)
            inside = recording() == (k % 2 == 0)
        await asyncio.sleep(0)
        return inside and recording()

    async def every() -> list[bool]:
        return await asyncio.gather(*map(one, range(6)))

    assert all(asyncio.run(every())) and recording()


# --- gradients are nobody else's tensors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "same",
    [
        lambda x: +x,
        lambda x: x + 0.0,
        lambda x: x.reshape(2),
        lambda x: x.astype(np.float32),
        lambda x: tg.broadcast_to(x, (2,)),
        lambda x: x[:],
    ],
)
def test_a_gradient_is_not_shared(same: Any, create_graph: bool) -> None:
    x, y, g = (
        tg.tensor([1.0, 2.0], requires_grad=True),
        tg.tensor([1.0, 2.0], requires_grad=True),
        tg.tensor([3.0, 4.0]),
    )
    z = same(x) + same(y)
    z.retain_grad()
    seen: list[Any] = []
    z.register_hook(lambda h: seen.append(h))
    z.backward(g, create_graph=create_graph)
    tensors = [g, x.grad, y.grad, z.grad, *seen]
    assert len({id(t) for t in tensors}) == 5
    for k, t in enumerate(tensors):
        t[0] = 10.0 + k
        t += 1.0
    assert [t.numpy().tolist() for t in tensors] == [[11.0 + k, 5.0] for k in range(5)]


def test_a_gradient_does_not_share_an_array_of_the_callers() -> None:
    x, g = tg.tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0], np.float32)
    (+x).backward(g)
    g[:] = 0
    assert x.grad.tolist() == [3, 4]
    _, t = tg.jvp(lambda v: v, (x.detach(),), (v := tg.tensor([1.0, 1.0]),))
    t += 1.0
    assert v.tolist() == [1, 1]


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_may_change_its_gradient_in_place(create_graph: bool) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * x

    def halved(g: Any) -> None:
        g *= 0.5

    y.register_hook(halved)
    y.sum().backward(create_graph=create_graph)
    assert x.grad.detach().tolist() == [1, 2]


# --- errors keep their kind -----------------------------------------------------------------------------------------------------


def test_errors_that_are_not_about_shapes_keep_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tg.tensor([-1.0, 0.0], requires_grad=True)
    line = r"test_tape\.py:\d+"
    with np.errstate(all="raise"):
        for use in (
            lambda: tg.log(x),
            lambda: 1.0 / x,
            lambda: np.log(x),
            lambda: x / tg.tensor([1.0, 0.0]),
        ):
            with pytest.raises(
                FloatingPointError, match=rf"(log|divide)\(.*float32\(2,\).*encountered in.*{line}"
            ):
                use()
        y = tg.sqrt(tg.tensor([0.0], requires_grad=True))
        with pytest.raises(FloatingPointError, match=rf"derivative rule of sqrt.*{line}"):
            y.backward()
    cases: list[tuple[type[Exception], Any, str]] = [
        (
            ValueError,
            lambda: tg.tensor([1, 2]) ** -1,
            r"power\(int64\(2,\), -1\): Integers to negative",
        ),
        (MemoryError, lambda: tg.broadcast_to(x[:1], (10**9, 10**9)) + 1, r"add\("),
        (OutOfRangeError, lambda: tg.take(x, np.array([5])), r"take\("),
        (tg.DtypeError, lambda: -tg.tensor([True]), r"neg\(bool\(1,\)\)"),
    ]
    for kind, use, words in cases:
        with pytest.raises(kind, match=rf"{words}.*{line}") as caught:
            use()
        assert type(caught.value) is kind
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(
        ImportError, match=rf"erf\(float32\(2,\)\): .*scipy.*Install what is missing.*{line}"
    ):
        tg.erf(x)


def test_what_an_operation_of_the_user_raises_keeps_its_kind() -> None:
    class Mine(LookupError):
        pass

    for error in (
        ZeroDivisionError("a"),
        OverflowError("a"),
        KeyError("a"),
        RecursionError("a"),
        Mine("a"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "a"),
    ):

        @tg.custom_vjp
        def broken(x: Any) -> Any:
            raise error  # noqa: B023

        broken.vjp(lambda g: g)
        with pytest.raises(type(error), match="a") as caught:
            broken(tg.tensor([1.0], requires_grad=True))
        assert type(caught.value) is type(error)
        assert "broken(float32(1,))" in str(caught.value) + "".join(
            getattr(caught.value, "__notes__", [])
        )
