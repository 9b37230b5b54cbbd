"""Training rules, clipping by value and schedules: plain loops, and recorded figures of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim

TORCH = np.load(Path(__file__).parent / "data" / "torch_layers.npz")
STEPS = 8

RULES: dict[str, Callable[[Any], optim.Optimizer]] = {
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
    "SGD decay": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.2),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.02),
    "RMSprop all": lambda p: optim.RMSprop(p, lr=0.02, alpha=0.8, eps=1e-3, momentum=0.7, centered=True, weight_decay=0.1),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "Adagrad all": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.3, eps=1e-3, weight_decay=0.1),
    "Adam decay": lambda p: optim.Adam(p, lr=0.05, weight_decay=0.3),
    "AdamW": lambda p: optim.AdamW(p, lr=0.05),
    "AdamW all": lambda p: optim.AdamW(p, lr=0.05, betas=(0.6, 0.8), eps=1e-3, weight_decay=0.4),
}


def sgd(p: float, gradients: list[float], lr: float, momentum: float, decay: float) -> float:
    """With Nesterov's step where there is momentum."""
    v = 0.0
    for g in gradients:
        g += decay * p
        v = momentum * v + g
        p -= lr * (g + momentum * v if momentum else v)
    return p


def rmsprop(p: float, gradients: list[float], lr: float, alpha: float, eps: float, momentum: float, centered: bool, decay: float) -> float:
    square = mean = v = 0.0
    for g in gradients:
        g += decay * p
        square = alpha * square + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        v = momentum * v + g / (math.sqrt(square - mean**2 if centered else square) + eps)
        p -= lr * v
    return p


def adagrad(p: float, gradients: list[float], lr: float, lr_decay: float, eps: float, decay: float) -> float:
    total = 0.0
    for t, g in enumerate(gradients):
        g += decay * p
        total += g**2
        p -= lr / (1 + t * lr_decay) * g / (math.sqrt(total) + eps)
    return p


def adam(p: float, gradients: list[float], b1: float, b2: float, eps: float, decay: float, decoupled: float) -> float:
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        g += decay * p
        p *= 1 - 0.05 * decoupled
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        p -= 0.05 * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
    return p


BY_HAND: dict[str, Callable[[float, list[float]], float]] = {
    "nesterov": lambda p, gs: sgd(p, gs, 0.1, 0.9, 0.05),
    "SGD decay": lambda p, gs: sgd(p, gs, 0.1, 0.0, 0.2),
    "RMSprop": lambda p, gs: rmsprop(p, gs, 0.02, 0.99, 1e-8, 0.0, False, 0.0),
    "RMSprop all": lambda p, gs: rmsprop(p, gs, 0.02, 0.8, 1e-3, 0.7, True, 0.1),
    "Adagrad": lambda p, gs: adagrad(p, gs, 0.1, 0.0, 1e-10, 0.0),
    "Adagrad all": lambda p, gs: adagrad(p, gs, 0.1, 0.3, 1e-3, 0.1),
    "Adam decay": lambda p, gs: adam(p, gs, 0.9, 0.999, 1e-8, 0.3, 0.0),
    "AdamW": lambda p, gs: adam(p, gs, 0.9, 0.999, 1e-8, 0.0, 0.01),
    "AdamW all": lambda p, gs: adam(p, gs, 0.6, 0.8, 1e-3, 0.0, 0.4),
}


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_rules_against_torch_and_by_hand(name: str, interrupted: bool) -> None:
    """The second parameter has no gradient in some steps: it is left alone there, by weight decay too."""
    parameters = [tg.Parameter(TORCH[f"optim/first{i}"]) for i in range(2)]
    optimizer = RULES[name](parameters)
    given: list[list[np.ndarray]] = [[], []]
    for t in range(STEPS):
        for i, p in enumerate(parameters):
            missing = i == 1 and t in (0, 1, 2, 5)
            p.grad = None if missing else tg.tensor(TORCH[f"optim/gradient{t}/{i}"])
            if not missing:
                given[i].append(TORCH[f"optim/gradient{t}/{i}"])
        optimizer.step()
        if interrupted and t in (1, 4):  # as after a checkpoint
            state = {k: np.array(v) for k, v in optimizer.state_dict().items()}
            optimizer = RULES[name](parameters)
            optimizer.load_state_dict(state)
        for i, p in enumerate(parameters):
            np.testing.assert_allclose(p.numpy(), TORCH[f"optim/{name}/{t}/{i}"], rtol=1e-9, atol=1e-12, err_msg=f"step {t}, parameter {i}")
    for i, p in enumerate(parameters):
        first = TORCH[f"optim/first{i}"]
        for at in np.ndindex(first.shape):
            expected = BY_HAND[name](float(first[at]), [float(g[at]) for g in given[i]])
            np.testing.assert_allclose(p.numpy()[at], expected, rtol=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_rules_keep_dtype_and_shape(name: str) -> None:
    p, scalar = tg.Parameter([1.0, 2.0]), tg.Parameter(3.0)
    optimizer = RULES[name]([p, scalar])
    optimizer.lr = np.float64(0.125)  # a schedule of the user's may give one
    for _ in range(3):
        optimizer.zero_grad()
        ((p * p).sum() * scalar).backward()
        gradients = [p.grad.numpy().copy(), scalar.grad.numpy().copy()]
        optimizer.step()
        np.testing.assert_array_equal(p.grad.numpy(), gradients[0])
        np.testing.assert_array_equal(scalar.grad.numpy(), gradients[1])
    assert p.dtype == scalar.dtype == np.float32 and p.is_leaf and p.requires_grad
    assert p.tolist() != [1, 2] and scalar.item() != 3 and scalar.shape == ()


@pytest.mark.parametrize("name", RULES)
def test_rules_lower_a_loss(name: str, rng: np.random.Generator) -> None:
    target, w = rng.normal(size=4), tg.Parameter(np.zeros(4))
    optimizer = RULES[name]([w])
    before = ((w - target) ** 2).sum().item()
    for _ in range(50):
        optimizer.zero_grad()
        ((w - target) ** 2).sum().backward()
        optimizer.step()
    assert ((w - target) ** 2).sum().item() < 0.5 * before


def test_clipping_by_value(rng: np.random.Generator) -> None:
    parameters = [tg.Parameter(np.zeros(s, np.float32)) for s in ((3, 2), (), (4,))]
    gradients = [rng.normal(size=p.shape).astype(np.float32) for p in parameters[:2]]
    for p, g in zip(parameters, gradients, strict=False):
        p.grad = tg.tensor(g)
    before = [p.grad for p in parameters]
    tg.clip_grad_value((p for p in parameters), 0.4)
    for p, g, old in zip(parameters, gradients, before, strict=False):
        np.testing.assert_array_equal(p.grad.numpy(), np.where(g > 0.4, np.float32(0.4), np.where(g < -0.4, np.float32(-0.4), g)))
        assert p.grad.dtype == np.float32 and p.grad.shape == p.shape
        np.testing.assert_array_equal(old.numpy(), g)
    assert parameters[2].grad is None
    parameters[0].grad = tg.tensor([[np.nan, -np.inf], [np.inf, 0.1], [0.0, -9.0]])
    tg.clip_grad_value(parameters[0], 1.0)
    np.testing.assert_array_equal(parameters[0].grad.numpy(), np.array([[np.nan, -1], [1, 0.1], [0, -1]], np.float32))


# --- schedules ------------------------------------------------------------------------------------------------------------

SCHEDULES: dict[str, Callable[[int], float]] = {
    "step_decay": optim.step_decay(0.4, 3, 0.5),
    "exponential_decay": optim.exponential_decay(0.4, 0.9),
    "cosine": optim.cosine(0.4, 12, 0.01),
    "linear_warmup": optim.linear_warmup(4, optim.exponential_decay(0.4, 0.8), first=0.1),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_against_torch(name: str) -> None:
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=9.0)
    schedule = optim.Schedule(optimizer, SCHEDULES[name])
    found = []
    for t in range(13):
        if t in (2, 7):  # as after a checkpoint
            state = {k: np.array(v) for k, v in schedule.state_dict().items()}
            optimizer = optim.SGD([tg.Parameter([1.0])], lr=9.0)
            schedule = optim.Schedule(optimizer, SCHEDULES[name])
            schedule.load_state_dict(state)
        found.append(optimizer.lr)
        schedule.step()
    np.testing.assert_allclose(found, TORCH[f"schedule/{name}"], rtol=1e-9, atol=1e-12)


def test_schedules_by_hand() -> None:
    step, exponential, cosine, warmup = SCHEDULES.values()
    for t in range(30):
        assert step(t) == pytest.approx(0.4 * math.prod([0.5] * (t // 3)))
        assert exponential(t) == pytest.approx(0.4 * math.prod([0.9] * t))
        assert cosine(t) == pytest.approx(0.01 if t > 12 else 0.01 + 0.39 * math.cos(math.pi * t / 24) ** 2)
        assert warmup(t) == pytest.approx(0.1 + 0.075 * t if t < 4 else 0.4 * 0.8 ** (t - 4))
    assert [optim.linear_warmup(4, 0.8)(t) for t in range(7)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    optimizer = optim.Adam([tg.Parameter([1.0])])
    optim.Schedule(optimizer, lambda step: 0.25)
    assert optimizer.lr == 0.25


@pytest.mark.parametrize("interrupted", [False, True])
def test_plateau_against_torch(interrupted: bool) -> None:
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=0.4)
    plateau = optim.ReduceOnPlateau(optimizer, 0.5, 1, 1e-3, 0.12)
    found = []
    for t, loss in enumerate(TORCH["plateau/losses"]):
        plateau.step(tg.tensor(float(loss)) if t % 2 else loss)
        found.append(optimizer.lr)
        if interrupted:  # as after a checkpoint, at every place
            state = {k: np.array(v) for k, v in plateau.state_dict().items()}
            optimizer = optim.SGD([tg.Parameter([1.0])], lr=9.0)
            plateau = optim.ReduceOnPlateau(optimizer, 0.5, 1, 1e-3, 0.12)
            plateau.load_state_dict(state)
    np.testing.assert_allclose(found, TORCH["plateau/rates"], rtol=1e-12)
    assert len(set(found)) > 2


def test_plateau_with_nan_negative_losses_and_a_low_rate() -> None:
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=1.0)
    plateau = optim.ReduceOnPlateau(optimizer, 0.5, 1, threshold=0.1)
    rates = []
    for loss in (math.nan, -1.0, -1.05, -1.05, -1.2, math.nan, math.nan):
        plateau.step(loss)
        rates.append(optimizer.lr)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    low = optim.ReduceOnPlateau(optimizer, 0.5, 0, smallest=0.3)  # the rate is below that already and must not rise
    low.step(1.0)
    low.step(1.0)
    assert optimizer.lr == 0.25


# --- errors ---------------------------------------------------------------------------------------------------------------


def one() -> list[Any]:
    return [tg.Parameter([1.0])]


ERRORS: dict[str, tuple[Any, str]] = {
    "lr": (lambda: optim.SGD(one(), lr=-0.1), r"SGD: lr must be a finite number of at least 0; found -0\.1"),
    "lr nan": (lambda: optim.Adam(one(), lr=math.nan), r"Adam: lr must be .* found nan"),
    "momentum": (lambda: optim.SGD(one(), momentum=1.0), r"SGD: momentum must be in \[0, 1\); found 1\.0"),
    "nesterov": (lambda: optim.SGD(one(), nesterov=True), r"nesterov looks ahead by the momentum, which is 0"),
    "decay": (lambda: optim.AdamW(one(), weight_decay=-1.0), r"AdamW: weight_decay must be .* found -1\.0"),
    "first beta": (lambda: optim.Adam(one(), betas=(1.0, 0.9)), r"Adam: betas\[0\] must be in \[0, 1\); found 1\.0"),
    "second beta": (lambda: optim.AdamW(one(), betas=(0.9, -0.1)), r"AdamW: betas\[1\] must be in \[0, 1\); found -0\.1"),
    "betas": (lambda: optim.Adam(one(), betas=(0.9,)), r"Adam: betas must be two numbers; found \(0\.9,\)"),
    "eps": (lambda: optim.RMSprop(one(), eps=-1e-8), r"RMSprop: eps must be"),
    "alpha": (lambda: optim.RMSprop(one(), alpha=1.5), r"RMSprop: alpha must be in \[0, 1\)"),
    "rms momentum": (lambda: optim.RMSprop(one(), momentum=-0.5), r"RMSprop: momentum must be in \[0, 1\)"),
    "lr_decay": (lambda: optim.Adagrad(one(), lr_decay=-1.0), r"Adagrad: lr_decay must be"),
    "clip": (lambda: tg.clip_grad_value(one(), -1.0), r"clip_grad_value: max_value must be at least 0; found -1\.0"),
    "clip what": (lambda: tg.clip_grad_value(3, 1.0), r"clip_grad_value: expected tensors, such as module\.parameters\(\); found int"),
    "step_decay": (lambda: optim.step_decay(0.1, 0), r"step_decay: expected at least one step; found 0"),
    "cosine": (lambda: optim.cosine(0.1, 0), r"cosine: expected at least one step; found 0"),
    "linear_warmup": (lambda: optim.linear_warmup(0, 0.1), r"linear_warmup: expected at least one step; found 0"),
    "negative rate": (lambda: optim.Schedule(optim.SGD(one()), lambda t: -1.0), r"Schedule: lr must be .* found -1\.0"),
    "factor": (lambda: optim.ReduceOnPlateau(optim.SGD(one()), 1.0), r"ReduceOnPlateau: factor must be in \[0, 1\)"),
    "patience": (lambda: optim.ReduceOnPlateau(optim.SGD(one()), patience=-1), r"ReduceOnPlateau: patience must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    make, message = ERRORS[name]
    with pytest.raises(tg.TinygradError, match=message):
        make()


def test_what_is_shown() -> None:
    parameters = [tg.Parameter(np.zeros((40, 30), np.float32)), tg.Parameter(np.zeros(3, np.float32))]
    assert repr(tg.optim.Adam(parameters, lr=0.002)) == "Adam(lr=0.002, 2 parameters of 1,203 numbers)"
