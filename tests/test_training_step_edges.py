"""Training steps in `tg.jit` at their edges: the same numbers as without it, or a refusal.

Each case is a program that is called several times; the reference is the same program as it is, with
new objects of its own. Compared are results, gradients, parameters and states of optimisers.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import interpreting
from tinygrad_rnn.core.tree import leaves

nn, optim = tg.nn, tg.optim


@pytest.fixture(autouse=True)
def by_python() -> Iterator[None]:
    with interpreting():
        yield


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def leaf(*values: float) -> Any:
    return tg.tensor(np.array(values, float), requires_grad=True)


def given(*values: float) -> Any:
    return tg.tensor(np.array(values, float))


def linear() -> Any:
    return nn.Linear(3, 2, rng=1, dtype=np.float64)


X = normal(4, 3)

# A case gets `jit`, which is tg.jit or leaves the function as it is, and returns what is compared.
Case = Callable[[Any], Any]
EQUAL: list[Case] = []
REFUSED: dict[Case, str] = {}


def equal(case: Case) -> Case:
    EQUAL.append(case)
    return case


def refused(words: str) -> Callable[[Case], Case]:
    def decorate(case: Case) -> Case:
        REFUSED[case] = words
        return case

    return decorate


def numbers(found: Any) -> list[Any]:
    return [np.asarray(x.numpy() if isinstance(x, tg.Tensor) else x, float) for x in leaves(found)]


@refused("was computed")
def computed_argument(jit: Any) -> Any:
    w = leaf(1, 2, 3)

    def f(x: Any) -> Any:
        loss = (x**2).sum()
        loss.backward()
        return loss

    return [jit(f)(w * 3), w.grad]


@refused("in one of the two ways")
def argument_that_is_a_parameter(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.1)

    def f(w: Any, x: Any) -> Any:
        o.zero_grad()
        loss = ((x @ w.T) ** 2).mean() + (m(x) ** 2).mean()
        loss.backward()
        o.step()
        return loss

    run = jit(f)
    return [run(m.weight, tg.tensor(X)), m.weight.grad]


@refused("of an argument")
def gradient_of_an_argument_set(jit: Any) -> Any:
    def f(x: Any) -> Any:
        x.grad = None
        (x**2).sum().backward()
        return x.sum()

    x = leaf(1, 2)
    return [jit(f)(x), x.grad]


@refused("of an argument")
def gradient_of_an_argument_read(jit: Any) -> Any:
    x = leaf(1, 2)
    x.grad = given(2, 4)
    return jit(lambda x: x * 2 if x.grad is None else x.grad * 10)(x)


@equal
def gradients_that_are_constants(jit: Any) -> Any:
    """Of a sum they do not depend on the parameters; added up, and in an optimiser."""
    model, shift = linear(), leaf(0.5, 1.5)
    optimizer = optim.SGD([*model.parameters(), shift], lr=0.1)

    @jit
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (model(x) + shift).sum()
        loss.backward(retain_graph=True)
        (shift * 2.0).sum().backward()
        optimizer.step()
        return loss

    return [[step(X + k), shift.grad, *model.parameters(), shift.detach()] for k in range(3)]


@equal
def hooks_of_parameters(jit: Any) -> Any:
    w, found = leaf(1, 2), []

    def f(x: Any) -> Any:
        w.grad = None
        ((w * x) ** 2).sum().backward()

    run = jit(f)
    scale = [100.0]
    run(given(1, 3))
    found.append(w.grad.numpy())
    remove = w.register_hook(lambda g: g * scale[0])
    run(given(1, 3))
    found.append(w.grad.numpy())
    scale[0] = 7.0
    run(given(1, 3))
    found.append(w.grad.numpy())
    remove()
    run(given(1, 3))
    return [*found, w.grad]


@refused("SGD.lr, which step changes")
def rate_read_after_a_schedule(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.5)
    s = optim.Schedule(o, lambda k: 0.5 / (k + 1))

    def f(x: Any) -> Any:
        o.zero_grad()
        loss = (m(x) ** 2).mean()
        loss.backward()
        o.step()
        s.step()
        return loss, o.lr

    return jit(f)(tg.tensor(X))


@refused("SGD.state, which step changes")
def state_read_after_a_step(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.5, momentum=0.9)

    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        o.step()
        return tg.tensor(o.state["velocity"][0]) * 1.0

    return jit(f)(tg.tensor(X))


@refused("sets SGD.lr")
def rate_set_inside(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.5)

    def f(x: Any, rate: float) -> Any:
        setattr(o, "lr", rate)  # noqa: B010
        (m(x) ** 2).mean().backward()
        o.step()

    run = jit(f)
    return [run(tg.tensor(X), r) for r in (0.1, 0.2, 0.1)]


@refused("sets SGD")
def state_loaded_inside(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.5, momentum=0.9)
    z = o.state_dict()

    def f(x: Any) -> Any:
        o.load_state_dict(z)
        (m(x) ** 2).mean().backward()
        o.step()

    return jit(f)(tg.tensor(X))


@equal
def plateau_of_a_number(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.1)
    r = optim.ReduceOnPlateau(o, patience=0)

    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        o.step()
        r.step(1.0)

    run, rates = jit(f), []
    for _ in range(4):
        run(tg.tensor(X))
        rates.append(o.lr)
    return [rates, *m.parameters()]


@refused("hand it what it changes from outside, and numbers")
def plateau_of_a_loss(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.1)
    r = optim.ReduceOnPlateau(o, patience=0)

    def f(x: Any) -> Any:
        loss = (m(x) ** 2).mean()
        r.step(loss)
        return loss

    return jit(f)(tg.tensor(X))


@refused("clip_grad_norm")
def whether_there_is_a_gradient_after_clipping(jit: Any) -> Any:
    m, unused = linear(), leaf(1, 2)
    ps = [*m.parameters(), unused]

    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        tg.clip_grad_norm(ps, 0.1)
        return sum(p.grad is not None for p in ps)

    return jit(f)(tg.tensor(X))


@equal
def mask_in_a_checkpoint(jit: Any) -> Any:
    w, d = leaf(1, 2, 3, 4), nn.Dropout(0.5, rng=3)
    rng = np.random.default_rng(4)
    h = jit(lambda x: nn.dropout(d(x * w), 0.3, rng=rng))
    for _ in range(3):
        y = tg.checkpoint(lambda x: (h(x) * w) * x, leaf(3, 4, 5, 6))
        (y**2).sum().backward()
    return w.grad


@equal
def mask_in_the_model_of_an_object_whose_method_is_compiled(jit: Any) -> Any:
    class Net(tg.Module):
        def __init__(self) -> None:
            self.linear, self.dropout = linear(), nn.Dropout(0.4, rng=3)

        def forward(self, x: Any) -> Any:
            return self.dropout(self.linear(x))

    class Trainer:
        def __init__(self) -> None:
            self.net, self.losses = Net(), []  # type: ignore[var-annotated]
            self.optimizer = optim.Adam(self.net.parameters(), lr=0.1)
            self.learn = jit(self.step)

        def step(self, x: Any) -> Any:
            self.optimizer.zero_grad()
            loss = (self.net(x) ** 2).mean()
            loss.backward()
            self.optimizer.step()
            return loss

        def run(self, training: bool) -> None:
            self.net.train(training)
            self.losses.append(self.learn(tg.tensor(X)).item())

    trainer = Trainer()
    for training in (True, True, False, False, True):
        trainer.run(training)
    return [*trainer.losses, *trainer.net.parameters()]


@equal
def mask_held_for_a_sequence_around(jit: Any) -> Any:
    c = nn.VariationalDropout(
        tg.cells.LSTM(3, 4, rng=1, dtype=np.float64), input=0.5, output=0.5, rng=2
    )
    z = nn.Zoneout(tg.cells.GRU(3, 4, rng=1, dtype=np.float64), 0.4, rng=5)
    one, two = jit(lambda x, s: c(x, s)), jit(lambda x, s: z(x, s))
    xs = tg.tensor(normal(5, 2, 3))
    found = []
    for _ in range(2):
        found.append(tg.unroll(lambda x, s: one(x, s), xs, c.initial_state(2))[0])
        found.append(tg.unroll(lambda x, s: two(x, s), xs, z.initial_state(2))[0])
    return found


def walked() -> tuple[Any, Any]:
    w = leaf(1, 2, 3)

    def f(x: Any) -> Any:
        y = w * x
        loss = (y**2).sum()
        loss.backward()
        return loss, y

    return w, f


@refused("released")
def derivative_of_what_was_walked_back(jit: Any) -> Any:
    _, f = walked()
    run = jit(f)
    return tg.grad(lambda x: run(x)[0])(given(1, 2, 3))


@refused("released")
def tangent_of_what_was_walked_back(jit: Any) -> Any:
    _, f = walked()
    run = jit(f)
    return tg.jvp(lambda x: run(x)[0], (given(1, 2, 3),), (given(1, 1, 1),))


@refused("released")
def second_loss_of_what_was_walked_back(jit: Any) -> Any:
    w, f = walked()
    _, y = jit(f)(given(1, 2, 3))
    ((y * y).sum() + (w**2).sum()).backward()
    return w.grad


@refused("use tg.grad inside")
def graph_of_a_gradient(jit: Any) -> Any:
    w = leaf(1, 2, 3)

    def f(x: Any) -> Any:
        w.grad = None
        ((w * x) ** 3).sum().backward(create_graph=True)

    jit(f)(given(1, 2, 3))
    (w.grad**2).sum().backward()
    return w.grad


@refused("register it outside")
def retained_gradient_of_a_result(jit: Any) -> Any:
    w = leaf(1, 2, 3)

    def f(x: Any) -> Any:
        h = w * x
        h.retain_grad()
        return h, (h**2).sum()

    h, loss = jit(f)(given(1, 2, 3))
    loss.backward()
    return h.grad


@equal
def retained_gradient_inside(jit: Any) -> Any:
    w = leaf(1, 2, 3)

    def f(x: Any) -> Any:
        h = w * x
        h.retain_grad()
        (h**3).sum().backward()
        return h.grad * 1.0

    return [jit(f)(given(1, 2, 3)), w.grad]


@refused("hooks of its argument")
def hook_of_an_argument(jit: Any) -> Any:
    x = leaf(1, 2)
    x.register_hook(lambda g: g * 10)
    jit(lambda x: (x**2).sum().backward())(x)
    return x.grad


@equal
def mask_of_a_step_in_checkpoints(jit: Any) -> Any:
    rng, w = np.random.default_rng(3), leaf(1, 2, 3)
    step = jit(lambda x, h: tg.tanh(nn.dropout(x * w + h, 0.5, rng=rng)))

    def cell(x: Any, h: Any) -> Any:
        h = step(x, h)
        return h, h

    for _ in range(2):
        ys, _ = tg.unroll(cell, tg.tensor(normal(6, 2, 3)), np.zeros((2, 3)), checkpoint=2)
        (ys**2).sum().backward()
    return [w.grad, rng.normal()]


@refused("clip_grad_norm may have changed")
def gradient_written_in_place_after_clipping(jit: Any) -> Any:
    m = linear()

    def f(x: Any) -> Any:
        m.zero_grad()
        (m(x) ** 2).mean().backward()
        tg.clip_grad_norm(m.parameters(), 0.1)
        m.weight.grad *= 0.5

    return jit(f)(tg.tensor(X))


@refused("step may have changed")
def copy_of_a_parameter_after_a_step(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.1)

    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        o.step()
        return m.weight.detach() * 1.0

    return jit(f)(tg.tensor(X))


@equal
def parameters_of_no_axes(jit: Any) -> Any:
    p = tg.tensor(np.asarray(0.5), requires_grad=True)
    o = optim.Adam([p], lr=0.1)

    def f(x: Any) -> Any:
        o.zero_grad()
        (p * p * x).sum().backward()
        o.step()

    run = jit(f)
    for _ in range(3):
        run(given(1, 2))
    assert isinstance(p.numpy(), np.ndarray)
    return [p, p.item()]


@refused("is not known")
def copy_of_a_parameter(jit: Any) -> Any:
    m = linear()
    return jit(lambda x: copy.copy(m.weight) * 1.0 + x.sum())(tg.tensor(X))


@refused("changes")
def hook_registered_inside(jit: Any) -> Any:
    w = leaf(1, 2)

    def f(x: Any) -> Any:
        w.register_hook(lambda g: g * 3)
        ((w * x) ** 2).sum().backward()

    try:
        return jit(f)(given(1, 2))
    finally:
        assert not w.node.hooks


@refused("did not make the same calls")
def number_of_a_call_that_changes(jit: Any) -> Any:
    m = linear()

    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        tg.clip_grad_norm(m.parameters(), time.perf_counter())

    return jit(f)(tg.tensor(X))


@refused("expected a tensor")
def number_as_gradient(jit: Any) -> Any:
    m = linear()

    def f(x: Any) -> Any:
        m.weight.grad = 3.0

    return jit(f)(tg.tensor(X))


@equal
def loss_of_parameters_alone(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.1)
    fixed = tg.tensor(X)

    def f() -> Any:
        o.zero_grad()
        loss = (m(fixed) ** 2).mean() + (m.weight**2).sum()
        loss.backward()
        o.step()
        return loss

    run = jit(f)
    return [[run() for _ in range(3)], *m.parameters(), *(p.grad for p in m.parameters())]


@equal
def failing_call_and_masks(jit: Any) -> Any:
    g = np.random.default_rng(4)
    d = nn.Dropout(0.5, rng=3)
    run = jit(lambda x, i: tg.take(d(nn.dropout(x, 0.5, rng=g)), i, 0))
    x, found = given(1, 2, 3, 4, 5, 6), []
    for i in ([0, 1, 2, 3], [0, 5, 4, 3], [1, 1, 1, 1]):
        found.append(run(x, np.array(i)))
    return found


@equal
def arguments_of_a_call_that_change_after_it(jit: Any) -> Any:
    m = linear()

    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        ps = [m.weight]
        r = tg.clip_grad_norm(ps, 0.1)
        ps.append(m.bias)
        return r, tg.clip_grad_norm(ps, 0.05)

    return [jit(f)(tg.tensor(X)), m.weight.grad, m.bias.grad]


@equal
def gradients_are_constants(jit: Any) -> Any:
    w, found = leaf(1, 2, 3), []

    def once(x: Any) -> Any:
        w.grad = None
        ((w * x) ** 3).sum().backward()
        g = w.grad
        w.grad = None
        (w * g).sum().backward()
        return g * 1.0

    run = jit(once)
    for k in range(2):
        g = run(given(1, 2, 3 + k))
        found += [g, w.grad.numpy(), float(g.requires_grad)]
    w.grad = None
    (w * g).sum().backward()
    return [*found, w.grad]


@equal
def gradients_written_in_place(jit: Any) -> Any:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.1)
    ps = list(m.parameters())

    def f(x: Any) -> Any:
        o.zero_grad()
        (m(x) ** 2).mean().backward()
        with tg.no_grad():
            for p in ps:
                p.grad *= 0.5
        o.step()

    run = jit(f)
    for _ in range(3):
        run(tg.tensor(X))
    return [*ps, *(p.grad for p in ps)]


@refused("from before the call|to which one was added")
def gradients_that_grow_written_in_place(jit: Any) -> Any:
    m = linear()
    ps = list(m.parameters())

    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        with tg.no_grad():
            for p in ps:
                p.grad *= 0.5

    run = jit(f)
    return [run(tg.tensor(X)) for _ in range(2)]


@refused("released")
def two_walks_of_one_graph(jit: Any) -> Any:
    w = leaf(1, 2)

    def f(x: Any) -> Any:
        loss = ((w * x) ** 2).sum()
        loss.backward()
        loss.backward()

    jit(f)(given(1, 2))
    return w.grad


@equal
def two_walks_of_one_graph_that_is_kept(jit: Any) -> Any:
    w = leaf(1, 2)

    def f(x: Any) -> Any:
        loss = ((w * x) ** 2).sum()
        loss.backward(retain_graph=True)
        loss.backward()

    run = jit(f)
    run(given(1, 2)), run(given(3, 2))
    return w.grad


@refused("no_grad|require gradients")
def backward_where_nothing_is_recorded(jit: Any) -> Any:
    w = leaf(1, 2)
    run = jit(lambda x: ((w * x) ** 2).sum().backward())
    with tg.no_grad():
        run(given(1, 2))
    return w.grad


@equal
def a_rule_that_is_not_elementwise(jit: Any) -> Any:
    class Norm(optim.Optimizer):
        def change(self, g: Any, rates: Any, *buffers: Any) -> Any:
            return (-self.lr * g / np.linalg.norm(g),)

    m = linear()
    before = [p.numpy() for p in m.parameters()]
    o = Norm(m.parameters(), lr=0.1)

    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        o.step()

    jit(f)(tg.tensor(X))
    moved = [np.linalg.norm(p.numpy() - b) for p, b in zip(m.parameters(), before, strict=True)]
    np.testing.assert_allclose(moved, 0.1, rtol=1e-6)
    return moved


@equal
def masks_in_sequences_of_one_step(jit: Any) -> Any:
    z = nn.Zoneout(tg.cells.GRU(3, 4, rng=1, dtype=np.float64), 0.4, rng=5)
    v = nn.VariationalDropout(tg.cells.GRU(3, 4, rng=1, dtype=np.float64), input=0.4, rng=6)
    one = jit(lambda x: tg.unroll(z, x)[0].sum() + tg.unroll(v, x)[0].sum())
    five = jit(lambda x: tg.unroll(z, x, checkpoint=2)[0].sum())
    return [
        f(tg.tensor(normal(steps, 2, 3))) for f, steps in ((one, 1), (five, 5)) for _ in range(3)
    ]


@equal
def two_networks_in_turns(jit: Any) -> Any:
    a, b = linear(), nn.Linear(2, 3, rng=2, dtype=np.float64)
    oa, ob = optim.Adam(a.parameters(), lr=0.1), optim.SGD(b.parameters(), lr=0.1, momentum=0.5)

    def f(x: Any) -> Any:
        oa.zero_grad()
        ob.zero_grad()
        y = a(x)
        first = ((b(y) - x) ** 2).mean()
        second = (b(y.detach()) ** 2).mean()
        first.backward()
        for p in b.parameters():
            p.grad = None
        second.backward()
        oa.step()
        ob.step()
        return first, second

    run = jit(f)
    return [[run(tg.tensor(X)) for _ in range(3)], *a.parameters(), *b.parameters(),
            *(p.grad for p in b.parameters())]  # fmt: skip


@equal
def frozen_and_shared_parameters(jit: Any) -> Any:
    m = linear()
    m.bias.requires_grad = False
    tied = nn.Linear(3, 2, rng=3, dtype=np.float64)
    tied.weight = m.weight
    o = optim.AdamW([m.weight, tied.bias], lr=0.1)

    def f(x: Any) -> Any:
        o.zero_grad()
        loss = (m(x) * tied(x)).mean()
        loss.backward()
        o.step()
        return loss

    run = jit(f)
    found = [run(tg.tensor(X)) for _ in range(3)]
    return [found, m.weight, tied.bias, m.weight.grad]


def outcome(case: Case, compiled: bool) -> Any:
    if compiled:
        return numbers(case(tg.jit))
    with tg.eager():
        return numbers(case(lambda f: f))


@pytest.mark.parametrize("case", EQUAL, ids=lambda c: c.__name__)
def test_equal(case: Case) -> None:
    found, expected = outcome(case, True), outcome(case, False)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.__name__)
def test_refused(case: Case) -> None:
    with pytest.raises(tg.TinygradError, match=REFUSED[case]):
        outcome(case, True)


def test_a_failing_call_moves_no_generator() -> None:
    g, z = np.random.default_rng(4), nn.Zoneout(tg.cells.GRU(3, 4, rng=1), 0.4, rng=5)
    v = nn.VariationalDropout(tg.cells.GRU(3, 4, rng=1), input=0.4, rng=5)

    def drawn(x: Any, i: Any) -> Any:
        ys = tg.unroll(z, nn.dropout(x, 0.5, rng=g))[0] * tg.unroll(v, x)[0]
        return tg.take(ys, i, 0)

    run, x = tg.jit(drawn), tg.tensor(normal(4, 2, 3).astype(np.float32))
    first = run(x, np.array([0, 1])).numpy()
    before = g.bit_generator.state, z.masks._count, v.masks._count
    with pytest.raises(tg.TinygradError):
        run(x, np.array([0, 9]))
    assert (g.bit_generator.state, z.masks._count, v.masks._count) == before
    assert not np.array_equal(run(x, np.array([0, 1])).numpy(), first)


def test_another_thread_sees_nothing_of_a_recording() -> None:
    m = linear()
    o = optim.SGD(m.parameters(), lr=0.1)
    recorded, looked = threading.Event(), threading.Event()
    found: list[Any] = []

    def look() -> None:
        recorded.wait(10)
        found.extend([m(tg.tensor(X)).numpy(), m.weight.grad, type(o), o.lr])
        looked.set()

    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        o.step()
        recorded.set()
        looked.wait(10)

    before = m(tg.tensor(X)).numpy()
    other = threading.Thread(target=look)
    other.start()
    tg.jit(f)(tg.tensor(X))
    other.join()
    np.testing.assert_array_equal(found[0], before)
    assert found[1] is None and found[3] == 0.1


def test_what_a_rule_returns_is_checked() -> None:
    class Wide(optim.Optimizer):
        def change(self, g: Any, rates: Any, *buffers: Any) -> Any:
            return (-np.float64(self.lr) * np.asarray(g, np.float64),)

    class Long(optim.Optimizer):
        def change(self, g: Any, rates: Any, *buffers: Any) -> Any:
            return (np.stack([g, g]),)

    m = nn.Linear(3, 2, rng=1)
    (m(tg.tensor(X.astype(np.float32))) ** 2).mean().backward()
    Wide(m.parameters(), lr=0.1).step()
    assert all(p.dtype == np.float32 for p in m.parameters())
    with pytest.raises(tg.ShapeError, match=r"Long\.change"):
        Long(m.parameters(), lr=0.1).step()


def test_a_failing_call_keeps_the_objects_of_an_optimiser() -> None:
    m = linear()
    o = optim.Adam(m.parameters(), lr=0.1)
    schedule = optim.Schedule(o, lambda k: 0.1 if k < 2 else -1.0)

    @tg.jit
    def f(x: Any) -> Any:
        (m(x) ** 2).mean().backward()
        o.step()
        schedule.step()

    f(tg.tensor(X))
    held = o.parameters, o.state, o.steps, o.state["first"]
    before = [np.array(a) for a in o.state["first"]]
    with pytest.raises(tg.TinygradError, match="lr"):
        f(tg.tensor(X))
    assert all(
        a is b
        for a, b in zip(held, (o.parameters, o.state, o.steps, o.state["first"]), strict=True)
    )
    for a, b in zip(before, o.state["first"], strict=True):
        np.testing.assert_array_equal(a, b)
    (m(tg.tensor(X)) ** 2).mean().backward()  # the parameters are not said to be replaced
