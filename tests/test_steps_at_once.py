"""Training steps whose clipping and updates are part of the one call: equal to the noted steps, to the bit.

The noted steps, which are done one after the other where the one call cannot be, are the reference;
another is the plain function.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.test_straight import recordings, spoilt  # noqa: F401  (memory in which what is wrong is found)
from tinygrad_rnn.compiler import whole
from tinygrad_rnn.compiler.recorded import Recording
from tinygrad_rnn.core.tree import leaves
from tinygrad_rnn.optim import step_code

nn, optim = tg.nn, tg.optim
STEPS = 50
RULES: dict[str, Callable[..., Any]] = {
    "SGD": lambda ps: optim.SGD(ps, lr=0.1, weight_decay=0.01),
    "momentum": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda ps: optim.Adam(ps, lr=0.01, weight_decay=0.1),
    "AdamW": lambda ps: optim.AdamW(ps, lr=0.01),
    "RMSprop": lambda ps: optim.RMSprop(ps, lr=0.003, momentum=0.5, centered=True),
    "Adagrad": lambda ps: optim.Adagrad(ps, lr=0.05, lr_decay=0.01),
}


class Done(list[bool]):
    """For each call whether it was done at once."""


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    found, at_once = Done(), Recording.at_once

    def noted(self: Recording, tensors: Any) -> Any:
        result = at_once(self, tensors)
        assert self._wholes is None or "fault" not in self._wholes.unfit, self._wholes.unfit
        found.append(result is not None)
        return result

    monkeypatch.setattr(Recording, "at_once", noted)
    return found


@contextlib.contextmanager
def one_by_one() -> Iterator[None]:
    """Within, the noted steps are done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recording, "at_once", lambda self, tensors: None)
        yield


class Tagger(tg.Module):
    """A sequence of vectors to a class each."""

    def __init__(self, dtype: Any, dropout: float = 0.0) -> None:
        self.lstm = nn.LSTM(3, 5, rng=0, dtype=dtype)
        self.drop = nn.Dropout(dropout, rng=1)
        self.out = nn.Linear(5, 4, rng=2, dtype=dtype)

    def forward(self, xs: Any) -> Any:
        return self.out(self.drop(self.lstm(xs)[0]))


class Training:
    """A model, its optimisers and a step; `state` is all that it changes."""

    def __init__(self, rule: str = "Adam", dtype: Any = np.float64, **settings: Any) -> None:
        self.model = Tagger(dtype, settings.get("dropout", 0.0))
        self.optimizer = RULES[rule](self.model.parameters())
        self.most = settings.get("most", 0.5)
        rng = np.random.default_rng(0)
        self.data = [
            (
                tg.tensor(rng.normal(size=(6, 2, 3)).astype(dtype)),
                tg.tensor(rng.integers(0, 4, (6, 2))),
            )
            for _ in range(5)
        ]
        self.parameters = list(self.model.parameters())

    def step(self, xs: Any, targets: Any) -> Any:
        self.optimizer.zero_grad()
        loss = nn.cross_entropy(self.model(xs), targets)
        loss.backward()
        norm = tg.clip_grad_norm(self.parameters, self.most) if self.most is not None else 0.0
        self.optimizer.step()
        return loss, norm

    def state(self) -> list[Any]:
        o = self.optimizer
        grads = [None if p.grad is None else p.grad.numpy() for p in self.parameters]
        kept = [a for _, several in sorted(o.state.items()) for a in several]
        return [*[p.numpy() for p in self.parameters], *grads, *kept, np.array(o.steps)]


Each = Callable[[int, Training], None]


def trained(
    make: Callable[[], Any],
    run: Callable[[Any], Any] = tg.jit,
    steps: int = STEPS,
    between: Each = lambda k, t: None,
) -> list[Any]:
    """Return what each step gives and leaves."""
    training = make()
    call, found = run(training.step), []
    for k in range(steps):
        between(k, training)
        found += [np.asarray(_number(x)) for x in leaves(call(*training.data[k % 5]))]
        found += training.state()
    return found


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, tg.Tensor) else x


def compare(make: Callable[[], Any], *args: Any, tolerance: float = 1e-10, **how: Any) -> None:
    found = trained(make, tg.jit, *args, **how)
    with one_by_one():
        same(found, trained(make, tg.jit, *args, **how))
    with tg.eager():
        near(found, trained(make, lambda f: f, *args, **how), tolerance)


def same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype and a.shape == b.shape
            assert a.tobytes() == b.tobytes()


def near(found: list[Any], expected: list[Any], tolerance: float) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
def test_rules(rule: str, dtype: Any, done: Done) -> None:
    tolerance = 1e-10 if dtype == np.float64 else 1e-3
    compare(lambda: Training(rule, dtype), tolerance=tolerance)
    assert done == [True] * STEPS


def test_the_text_tells_of_it() -> None:
    training = Training()
    run = tg.jit(training.step)
    run.compile(*training.data[0])
    before = training.state()
    text = run.source()
    assert "clip_grad_norm of 6 gradients" in text and "Adam step of 6 parameters" in text
    same(training.state(), before)


def test_masks_are_those_of_the_noted_steps(done: Done) -> None:
    compare(lambda: Training(dropout=0.3))
    assert all(done)


@pytest.mark.parametrize("most", [None, 1e-3, 1e3, math.inf])
def test_norms(most: float | None, done: Done) -> None:
    compare(lambda: Training(most=most), steps=10)
    assert all(done)


def _rate(k: int, t: Training) -> None:
    t.optimizer.lr = 0.01 / (1 + k)


def _loaded(k: int, t: Training) -> None:
    if k == 3:
        other = RULES["Adam"](t.parameters)
        other.load_state_dict(t.optimizer.state_dict())
        t.optimizer.load_state_dict(other.state_dict())


def _by_hand(k: int, t: Training) -> None:
    if k == 4:
        t.parameters[0].data = np.asfortranarray(t.parameters[0].numpy() * 0.5)
        t.parameters[1].grad = tg.tensor(np.ones(t.parameters[1].shape))


def _betas(k: int, t: Training) -> None:
    t.optimizer.betas = (0.9, 0.99 if k in (3, 4, 8) else 0.999)


def _decay(k: int, t: Training) -> None:
    t.optimizer.weight_decay = 0.1 if k < 5 else 0.0


def _forgotten(k: int, t: Training) -> None:
    if k == 5:
        t.optimizer.state.clear()


def _counts(k: int, t: Training) -> None:
    if k == 5:
        t.optimizer.steps[1] += 2


def _threads(k: int, t: Training) -> None:
    tg.set_num_threads(1 + k % 2)


def _shapes(k: int, t: Training) -> None:
    xs, targets = t.data[k % 5]
    if k % 5 == 2:
        t.data[2] = tg.tensor(xs.numpy()[:, :1]), tg.tensor(targets.numpy()[:, :1])


def _hooks(k: int, t: Training) -> None:
    if k == 3:
        remove = t.parameters[2].register_hook(lambda g: g * 0.5)
        t.__dict__["remove"] = remove
    if k == 6:
        t.__dict__.pop("remove")()


def _frozen(k: int, t: Training) -> None:
    t.parameters[3].requires_grad = not 3 <= k < 6


CHANGES: dict[str, tuple[Each, set[int]]] = {  # and the calls that are not done at once
    "rate": (_rate, set()),
    "loaded": (_loaded, set()),
    "by hand": (_by_hand, {4}),
    "betas": (_betas, set()),
    "decay": (_decay, set()),
    "forgotten": (_forgotten, set()),
    "counts": (_counts, set()),
    "threads": (_threads, set()),
    "shapes": (_shapes, set()),
    "hooks": (_hooks, set()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_between_calls(name: str, done: Done) -> None:
    change, noted = CHANGES[name]
    threads = tg.kernels.runtime.threads()
    try:
        compare(lambda: Training("Adam"), steps=12, between=change)
    finally:
        tg.set_num_threads(threads)
    assert {k for k, at_once in enumerate(done) if not at_once} == noted


def test_a_parameter_that_is_frozen_for_a_while(done: Done) -> None:
    compare(lambda: Training("Adam", most=None), steps=12, between=_frozen)


# --- what is unusual ------------------------------------------------------------------------------


def _nan(k: int, t: Training) -> None:
    xs = np.random.default_rng(k).normal(size=(6, 2, 3))
    t.data[k % 5] = tg.tensor(xs * (np.nan if k == 3 else 1.0)), t.data[k % 5][1]


@pytest.mark.parametrize("most", [0.0, 1e-310, 0.5])
def test_unusual_norms_are_left_to_the_noted_steps(most: float, done: Done) -> None:
    def saved(k: int, t: Training) -> None:
        if k == 4:  # after the gradients that were no numbers
            for p in t.parameters:
                p.data = np.ones(p.shape)
        _nan(k, t)

    with np.errstate(all="ignore"):
        compare(lambda: Training("SGD", most=most), steps=8, between=saved)
    assert done == ([k != 3 for k in range(8)] if most == 0.5 else [False] * 8)


class Weights(Training):
    """Some tensors, whose step is that of a function."""

    def __init__(self, step: Callable[[Any, Any], Any], rule: str = "Adam") -> None:
        rng = np.random.default_rng(0)
        self.parameters = [tg.tensor(rng.normal(size=3), requires_grad=True) for _ in range(3)]
        self.optimizer = RULES[rule](self.parameters)
        self.other = RULES["momentum"](self.parameters[2:])
        self.first = RULES["AdamW"](self.parameters[:2])
        self.said: list[float] = []
        self.data = [(tg.tensor(rng.normal(size=(2, 3))), tg.tensor([k])) for k in range(5)]
        self.step = lambda xs, k: step(self, xs)  # type: ignore[method-assign]

    def loss(self, xs: Any, count: int = 3) -> Any:
        found = sum((tg.tanh(xs * p) ** 2).sum() for p in self.parameters[:count])
        return found + (self.parameters[0] * xs).sum()

    def state(self) -> list[Any]:
        several = (self.optimizer, self.other, self.first)
        kept = [a for o in several for _, s in sorted(o.state.items()) for a in s]
        counts = [np.array(o.steps) for o in several]
        grads = [None if p.grad is None else p.grad.numpy() for p in self.parameters]
        return [*[p.numpy() for p in self.parameters], *grads, *kept, *counts]


def without_a_gradient(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = t.loss(xs, 2)
    loss.backward()
    norm = tg.clip_grad_norm(t.parameters, 0.3)
    t.optimizer.step()
    return loss, norm


def twice_in_the_norm(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = t.loss(xs)
    loss.backward()
    norm = tg.clip_grad_norm([*t.parameters, *t.parameters], 0.3)
    t.optimizer.step()
    return norm, loss


def two_optimisers(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = t.loss(xs)
    loss.backward()
    tg.clip_grad_norm(t.parameters[:2], 0.3)
    tg.clip_grad_norm(t.parameters[1:], 0.3)
    t.first.step()
    t.other.step()
    return loss


def two_losses(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = t.loss(xs)
    loss.backward()
    (t.loss(xs * 2) * 0.1).backward()
    tg.clip_grad_norm(t.parameters, 0.3)
    t.optimizer.step()
    return loss


def emptied_at_the_end(t: Any, xs: Any) -> Any:
    loss = t.loss(xs)
    loss.backward()
    t.optimizer.step()
    t.optimizer.zero_grad()
    return loss


def a_gradient_that_is_returned(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = t.loss(xs)
    loss.backward()
    g = t.parameters[1].grad
    tg.clip_grad_norm(t.parameters, 0.3)
    t.optimizer.step()
    return g.sum(), loss.detach() * 2, None, 3.0


def only_gradients(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = t.loss(xs)
    loss.backward()
    return loss


def a_gradient_that_is_changed(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = t.loss(xs)
    loss.backward()
    t.parameters[0].grad = t.parameters[0].grad * 0.5
    t.optimizer.step()
    return loss


def gradients_that_are_one_tensor(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = ((t.parameters[0] + t.parameters[1] + t.parameters[2]) * xs).sum()
    loss.backward()
    tg.clip_grad_norm(t.parameters, 0.3)
    t.optimizer.step()
    return loss


AT_ONCE = [
    without_a_gradient, twice_in_the_norm, two_optimisers, two_losses, emptied_at_the_end, only_gradients,
    a_gradient_that_is_returned, a_gradient_that_is_changed, gradients_that_are_one_tensor,
]  # fmt: skip


@pytest.mark.parametrize("step", AT_ONCE, ids=lambda f: f.__name__)
def test_steps_that_are_done_at_once(step: Any, done: Done) -> None:
    compare(lambda: Weights(step), steps=12)
    assert all(done)


def added_to(t: Any, xs: Any) -> Any:
    loss = t.loss(xs)
    loss.backward()
    t.optimizer.step()
    return loss


def one_parameter_in_two_optimisers(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = t.loss(xs)
    loss.backward()
    t.optimizer.step()
    t.other.step()
    return loss


def by_value(t: Any, xs: Any) -> Any:
    t.optimizer.zero_grad()
    loss = t.loss(xs)
    loss.backward()
    tg.clip_grad_value(t.parameters, 0.1)
    t.optimizer.step()
    return loss


@pytest.mark.parametrize(
    "step", [added_to, one_parameter_in_two_optimisers, by_value], ids=lambda f: f.__name__
)
def test_steps_that_are_not(step: Any, done: Done) -> None:
    compare(lambda: Weights(step), steps=8)
    assert not any(done[1:])


def test_masks_are_drawn_once_where_the_noted_steps_follow(done: Done) -> None:
    with np.errstate(all="ignore"):
        compare(lambda: Training("SGD", dropout=0.3, most=0.0), steps=6)
    assert not any(done)


class Rounded(optim.Optimizer):
    """A rule of the user's."""

    elementwise = True

    def change(self, g: Any, rates: Any, *buffers: Any) -> Any:
        return (-rates[0] * g / (1 + g * g),)


class Own(Rounded):
    """With rates of its own, which count how often they are asked for."""

    asked = 0

    def rates(self, count: int) -> tuple[float, ...]:
        self.asked += 1
        return (self.lr / self.asked,)


@pytest.mark.parametrize("kind", [Rounded, Own])
def test_rules_of_the_users(kind: Any, done: Done) -> None:
    def make() -> Any:
        training = Training("SGD")
        training.optimizer = kind(training.parameters, 0.1)
        return training

    compare(make, steps=8)
    assert done == [kind is Rounded] * 8


def test_a_schedule_inside_is_noted(done: Done) -> None:
    class Scheduled(Training):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = optim.Schedule(self.optimizer, optim.cosine(0.05, 8))

        def step(self, xs: Any, targets: Any) -> Any:
            found = super().step(xs, targets)
            self.schedule.step()
            return found

    compare(Scheduled, steps=8)
    assert not any(done)


def test_windows_of_a_long_sequence(done: Done) -> None:
    class Windows(Training):
        """Its state goes from one call to the next."""

        def __init__(self) -> None:
            super().__init__()
            self.carried = self.model.lstm(self.data[0][0])[1]
            self.carried = tg.detach(self.carried)

            def inside(xs: Any, targets: Any, state: Any) -> Any:
                self.optimizer.zero_grad()
                ys, state = self.model.lstm(xs, state)
                loss = nn.cross_entropy(self.model.out(ys), targets)
                loss.backward()
                norm = tg.clip_grad_norm(self.parameters, 0.5)
                self.optimizer.step()
                return loss, norm, tg.detach(state)

            self.inside = inside

    def over(training: Any, run: Any) -> list[Any]:
        call, found, state = run(training.inside), [], training.carried
        for k in range(12):
            loss, norm, state = call(*training.data[k % 5], state)
            found += [loss.numpy(), np.array(norm), *[s.numpy() for s in leaves(state)]]
            found += training.state()
        return found

    found = over(Windows(), tg.jit)
    with one_by_one():
        same(found, over(Windows(), tg.jit))
    with tg.eager():
        near(found, over(Windows(), lambda f: f), 1e-10)
    assert all(done)


# --- errors, and what others see ------------------------------------------------------------------


def test_an_error_leaves_all_as_it_was(done: Done) -> None:
    training = Training(dropout=0.3)
    run = tg.jit(training.step)
    xs, targets = training.data[0]
    run(xs, targets)
    drop = training.model.drop
    before, rng = training.state(), drop.rng.bit_generator.state
    with pytest.raises(tg.TinygradError, match="targets"):
        run(xs, tg.tensor(np.full(targets.shape, 9)))
    same(training.state(), before)
    assert drop.rng.bit_generator.state == rng
    run(xs, targets)
    assert done == [True, False, True]


@pytest.mark.parametrize("when", range(6))
def test_an_interrupt_leaves_no_half_of_a_step(when: int, monkeypatch: pytest.MonkeyPatch) -> None:
    training, other = Training(), Training()
    run = tg.jit(training.step)
    for _ in range(2):
        run(*training.data[0])
    calls: list[int] = []

    def give(*given: Any) -> None:
        calls.append(1)
        if len(calls) == when + 1:
            raise KeyboardInterrupt
        assignment_give(*given)

    assignment_give = step_code.give
    monkeypatch.setattr(step_code, "give", give)
    with pytest.raises(KeyboardInterrupt):
        run(*training.data[0])
    monkeypatch.undo()
    call = tg.jit(other.step)
    for _ in range(3):
        call(*other.data[0])
    same(training.state(), other.state())
    run(*training.data[1])
    call(*other.data[1])
    same(training.state(), other.state())


def test_threads_train_by_themselves() -> None:
    expected = trained(Training, steps=20)
    found: list[Any] = [None] * 4

    def work(k: int) -> None:
        found[k] = trained(Training, steps=20)

    several = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in several:
        t.start()
    for t in several:
        t.join()
    for one in found:
        same(one, expected)


def test_threads_that_share_a_step_lose_updates_and_nothing_else() -> None:
    training = Training()
    run = tg.jit(training.step)
    run(*training.data[0])
    wrong: list[Any] = []

    def work(k: int) -> None:
        for _ in range(50):
            loss, norm = run(*training.data[k])
            if not (math.isfinite(loss.item()) and 0 < norm < 10):
                wrong.append((loss, norm))

    several = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in several:
        t.start()
    for t in several:
        t.join()
    assert not wrong
    assert all(np.isfinite(a).all() for a in training.state() if a is not None)


def test_anomalies_are_looked_for_in_the_noted_steps(done: Done) -> None:
    training = Training()
    run = tg.jit(training.step)
    run(*training.data[0])
    with tg.detect_anomaly():
        run(*training.data[0])
    assert done == [True]
    with np.errstate(all="raise"):
        run(*training.data[0])
    assert done == [True] and training.optimizer.steps == [3] * 6


def test_lists_of_the_optimiser_stay_the_same_objects(done: Done) -> None:
    training = Training()
    run = tg.jit(training.step)
    run(*training.data[0])
    o = training.optimizer
    state, first, steps = o.state, o.state["first"], o.steps
    before = [a.copy() for a in first]
    run(*training.data[1])
    assert o.state is state and o.state["first"] is first and o.steps is steps == [2] * 6
    assert all((a != b).any() for a, b in zip(first, before, strict=True))
    assert all(done)


def test_a_graph_from_before_a_step_is_found_out() -> None:
    training = Training()
    run = tg.jit(training.step)
    run(*training.data[0])
    loss = (training.parameters[0] ** 2).sum()
    run(*training.data[0])
    with pytest.raises(tg.GraphError, match="test_steps_at_once"):
        loss.backward()


def test_what_a_step_gave_stays(done: Done) -> None:
    training = Training()
    run = tg.jit(training.step)
    loss, _ = run(*training.data[0])
    kept = [(p.numpy(), p.numpy().copy()) for p in training.parameters]
    kept += [(p.grad.numpy(), p.grad.numpy().copy()) for p in training.parameters]
    value = loss.item()
    for k in range(3):
        run(*training.data[k])
    assert all((a == b).all() for a, b in kept) and loss.item() == value
    with pytest.raises(tg.GraphError):
        loss.backward()


@pytest.mark.parametrize("rule", ["momentum", "Adam"])
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_share_large_updates(
    threads: int, rule: str, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "SHARED", 1)
    before = tg.kernels.runtime.threads()
    tg.set_num_threads(threads)
    try:
        training = Training(rule)
        run = tg.jit(training.step).compile(*training.data[0])
        (recording,) = recordings(run)
        tables = recording._wholes._known[0].straight.tables
        assert [len(phase) for phase in tables] == [1, threads, threads]
        compare(lambda: Training(rule), steps=10)
    finally:
        tg.set_num_threads(before)
    assert all(done)


def test_a_trial_of_a_function_around_it_changes_nothing() -> None:
    training = Training()
    run = tg.jit(training.step)
    xs, targets = training.data[0]
    run(xs, targets)
    before = training.state()

    def around(xs: Any, targets: Any) -> Any:
        loss, _ = run(xs, targets)
        return loss, xs @ tg.tensor(np.ones((7, 2)))

    with pytest.raises(tg.ShapeError):
        tg.jit(around)(xs, targets)
    same(training.state(), before)
