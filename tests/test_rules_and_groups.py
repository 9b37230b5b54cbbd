"""Lion, NAdam and RAdam, groups of parameters, rates in states: recorded figures of PyTorch, and by hand."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim

TORCH = np.load(Path(__file__).parent / "data" / "torch_vocabulary.npz")
STEPS = 20
RULES: dict[str, Callable[[Any], optim.Optimizer]] = {
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    "NAdam": lambda p: optim.NAdam(p, lr=0.05),
    "NAdam all": lambda p: optim.NAdam(
        p, 0.05, betas=(0.7, 0.9), eps=1e-3, weight_decay=0.2, momentum_decay=0.1, decoupled_weight_decay=True
    ),
    "NAdam decay": lambda p: optim.NAdam(p, lr=0.05, weight_decay=0.3),
    "RAdam": lambda p: optim.RAdam(p, lr=0.05),
    "RAdam all": lambda p: optim.RAdam(
        p, 0.05, betas=(0.7, 0.9), eps=1e-3, weight_decay=0.2, decoupled_weight_decay=True
    ),
    "RAdam decay": lambda p: optim.RAdam(p, lr=0.05, weight_decay=0.3),
    "groups": lambda p: optim.AdamW(
        [{"params": p[:1]}, {"params": p[1:], "lr": 0.2, "betas": (0.5, 0.6), "weight_decay": 0.0}],
        lr=0.05,
    ),
    "groups of SGD": lambda p: optim.SGD(
        [{"params": p[:1], "momentum": 0.5}, {"params": p[1:], "lr": 0.01}], lr=0.1, momentum=0.9
    ),
}  # fmt: skip


def first(dtype: Any = np.float64) -> list[Any]:
    return [tg.Parameter(TORCH[f"rules/first{i}"].astype(dtype)) for i in range(2)]


def give(parameters: list[Any], t: int) -> None:
    """The gradients of a step; the second parameter has none in some."""
    for i, p in enumerate(parameters):
        g = TORCH[f"rules/gradients{i}"][t].astype(p.dtype)
        p.grad = None if i == 1 and t in (0, 1, 2, 5) else tg.tensor(g)


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_rules_against_torch(name: str, interrupted: bool) -> None:
    parameters = first()
    optimizer = RULES[name](parameters)
    for t in range(STEPS):
        if t == 10:
            optimizer.lr /= 4
        give(parameters, t)
        optimizer.step()
        if interrupted and t in (4, 12):  # as after a checkpoint, which has the rates too
            state = {k: np.array(v) for k, v in optimizer.state_dict().items()}
            optimizer = RULES[name](parameters)
            optimizer.load_state_dict(state)
        for i, p in enumerate(parameters):
            np.testing.assert_allclose(p.numpy(), TORCH[f"rules/{name}/{i}"][t], rtol=1e-9, atol=1e-12, err_msg=f"step {t}, parameter {i}")  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_compiled_step_does_the_same(name: str) -> None:
    plain, fast = first(np.float32), first(np.float32)
    one, other = RULES[name](plain), RULES[name](fast)

    def loss(ps: list[Any]) -> Any:
        return (ps[0] ** 2).sum() + (ps[1] ** 2).sum() * 3.0

    @tg.jit
    def step() -> Any:
        other.zero_grad()
        value = loss(fast)
        value.backward()
        other.step()
        return value

    for t in range(6):
        if t == 3:
            one.lr, other.lr = 0.01, 0.01
        one.zero_grad()
        loss(plain).backward()
        one.step()
        step()
        for p, q in zip(plain, fast, strict=True):
            np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=2e-6, atol=1e-7)
    assert one.steps == other.steps == [6, 6]


def lion(p: float, gradients: list[float], lr: float, b1: float, b2: float, decay: float) -> float:
    """As in the paper."""
    m = 0.0
    for g in gradients:
        c = b1 * m + (1 - b1) * g
        p -= lr * ((c > 0) - (c < 0) + decay * p)
        m = b2 * m + (1 - b2) * g
    return p


@pytest.mark.parametrize("settings", [{}, {"betas": (0.5, 0.8), "weight_decay": 0.3, "lr": 0.1}])
def test_lion_by_hand(settings: dict[str, Any]) -> None:
    parameters = first()
    optimizer = optim.Lion(parameters, **settings)
    b1, b2 = settings.get("betas", (0.9, 0.99))
    for t in range(STEPS):
        give(parameters, t)
        optimizer.step()
    for i, p in enumerate(parameters):
        steps = [t for t in range(STEPS) if i == 0 or t not in (0, 1, 2, 5)]
        for at in np.ndindex(p.shape):
            gradients = [float(TORCH[f"rules/gradients{i}"][t][at]) for t in steps]
            expected = lion(float(TORCH[f"rules/first{i}"][at]), gradients, settings.get("lr", 1e-4), b1, b2, settings.get("weight_decay", 0.0))  # fmt: skip
            assert p.numpy()[at] == pytest.approx(expected, rel=1e-12)


# --- groups ---------------------------------------------------------------------------------------


def grouped(**settings: Any) -> Any:
    a, b = tg.Parameter([1.0]), tg.Parameter([2.0, 3.0])
    return optim.Adam([{"params": [a]}, {"params": b, **settings}], lr=0.1)


def test_rates_of_groups_follow() -> None:
    o = grouped(lr=0.3)
    one, two = o.groups
    assert [g.lr for g in o.groups] == [0.1, 0.3] and [len(g.parameters) for g in o.groups] == [
        1,
        1,
    ]
    schedule = optim.Schedule(o, optim.linear_warmup(2, 0.2))
    assert (o.lr, one.lr, two.lr) == (0, 0, 0)
    schedule.step()
    schedule.step()
    assert (o.lr, one.lr) == (0.2, 0.2) and two.lr == pytest.approx(0.6)
    two.lr = 0.5
    assert o.lr == 0.2 and two.lr == 0.5
    o.lr = 0.1
    assert two.lr == pytest.approx(0.25)
    for lr in (0.0, 0.1):
        o.lr = lr
    assert (one.lr, two.lr) == (0.1, pytest.approx(0.25))


def test_settings_of_groups() -> None:
    o = grouped(eps=1e-3, betas=(0.5, 0.5))
    one, two = o.groups
    o.weight_decay, o.eps = 0.5, 1e-5  # for all, but those that have their own
    assert (one.weight_decay, two.weight_decay, one.eps, two.eps) == (0.5, 0.5, 1e-5, 1e-3)
    two.weight_decay = 0.25
    o.weight_decay = 0.1
    assert (one.weight_decay, two.weight_decay) == (0.1, 0.25)
    assert one.betas == (0.9, 0.999) and two.betas == (0.5, 0.5)
    assert repr(o) == "Adam(lr=0.1, 2 parameters of 3 numbers, 2 groups)"
    assert repr(two) == "Group(lr=0.1, 1 parameters of 2 numbers)"
    assert optim.SGD([tg.Parameter([1.0])]).groups == []


@pytest.mark.parametrize("settings", [{"lr": 0.3}, {"betas": (0.5, 0.6)}, {"weight_decay": 0.5}])
def test_a_group_is_an_optimiser_of_its_own(settings: dict[str, Any]) -> None:
    """Also where all parameters were updated equally often, so that others are computed as one."""
    groups, apart = first(), first()
    together = optim.Adam([{"params": groups[:1]}, {"params": groups[1:], **settings}], lr=0.1)
    each = [optim.Adam(apart[:1], lr=0.1), optim.Adam(apart[1:], **{"lr": 0.1, **settings})]
    for t in range(6, 12):
        for parameters in (groups, apart):
            give(parameters, t)
        for optimizer in (together, *each):
            optimizer.step()
    for p, q in zip(groups, apart, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_groups_are_copied_and_saved() -> None:
    o = grouped(lr=0.3)
    for twin in (copy.deepcopy(o), pickle.loads(pickle.dumps(o))):
        for p in twin.parameters:
            p.grad = tg.tensor(np.ones(p.shape, np.float32))
        twin.step()
        assert twin.steps == [1, 1] and twin.state_dict()["first.1"].tolist() == pytest.approx(
            [0.1, 0.1]
        )
        twin.lr = 0.05
        assert [g.lr for g in twin.groups] == [0.05, pytest.approx(0.15)]
    assert o.steps == [0, 0] and o.state == {} and o.groups[1].lr == 0.3
    state = twin.state_dict()
    assert state["lr"].tolist() == pytest.approx([0.05, 0.05, 0.15])
    o.load_state_dict(state)
    assert [o.lr, *(g.lr for g in o.groups)] == pytest.approx([0.05, 0.05, 0.15])
    added = o.would_add([np.ones(1), np.ones(2)])
    assert added[1] == pytest.approx(3 * added[0][0], rel=1e-5) and o.steps == [1, 1]  # type: ignore[index]


ONE = tg.Parameter([1.0])
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no parameters": (lambda: optim.SGD([{"lr": 0.1}]), "each is a dict with 'params' and settings"),
    "a tensor among groups": (lambda: optim.SGD([{"params": [ONE]}, ONE]), "each is a dict with 'params' and settings"),
    "none in a group": (lambda: optim.SGD([{"params": []}]), "a group of the optimiser was given no parameters"),
    "unknown setting": (lambda: optim.SGD([{"params": [ONE], "betas": (0.1, 0.2)}]), r"SGD: a group has 'params' and the settings \['lr', 'momentum', 'nesterov', 'weight_decay'\]; found 'betas'"),
    "setting out of range": (lambda: optim.SGD([{"params": [ONE], "lr": -1.0}]), "SGD: lr must be a finite number of at least 0"),
    "twice": (lambda: optim.SGD([{"params": [ONE]}, {"params": [ONE]}]), "was given a parameter twice"),
    "rate of 0": (lambda: optim.SGD([{"params": [ONE], "lr": 0.1}], lr=0.0), "in proportion to that of the optimiser, which is 0"),
    "other arrays": (lambda: optim.SGD([{"params": [ONE]}, {"params": [tg.Parameter([1.0])], "momentum": 0.5}]), "all groups have to keep the same arrays"),
    "set unknown": (lambda: setattr(grouped().groups[0], "rate", 0.1), "Adam: a group has the settings .* found 'rate'"),
    "set wrong": (lambda: setattr(grouped().groups[0], "lr", "x"), "Adam: lr must be a finite number"),
    "rates of a state": (lambda: grouped().load_state_dict({"steps": np.zeros(2, int), "lr": np.array([0.1])}), r"'lr' must be 3 finite number\(s\) of at least 0.*found \[0.1\]"),
    "a rate that is none": (lambda: optim.SGD([ONE]).load_state_dict({"steps": np.zeros(1, int), "lr": np.array([math.nan])}), r"'lr' must be 1 finite number"),
    "Lion": (lambda: optim.Lion([ONE], betas=(1.0, 0.9)), r"Lion: betas\[0\] must be in \[0, 1\)"),
    "NAdam": (lambda: optim.NAdam([ONE], momentum_decay=-1.0), "NAdam: momentum_decay must be"),
    "RAdam": (lambda: optim.RAdam([ONE], decoupled_weight_decay=1), "RAdam: decoupled_weight_decay must be True or False"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(tg.TinygradError, match=words):
        call()


def test_the_rate_is_in_the_state() -> None:
    o, other = (optim.SGD([tg.Parameter([1.0])], lr=lr) for lr in (0.5, 0.1))
    other.load_state_dict(o.state_dict())
    assert other.lr == 0.5


def test_gradients_are_accumulated(rng: np.random.Generator) -> None:
    """Several backwards before a step are one batch, where each loss is divided by their number."""
    xs, ys = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))
    nets = [tg.nn.Linear(3, 1, rng=0, dtype=np.float64) for _ in range(2)]
    whole, parts = (optim.SGD(net.parameters(), lr=0.1) for net in nets)
    tg.nn.mse_loss(nets[0](xs), ys).backward()
    whole.step()
    for k in range(4):
        (tg.nn.mse_loss(nets[1](xs[2 * k : 2 * k + 2]), ys[2 * k : 2 * k + 2]) / 4).backward()
    parts.step()
    for p, q in zip(whole.parameters, parts.parameters, strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-12)
