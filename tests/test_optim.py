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
    "RMSprop all": lambda p: optim.RMSprop(
        p, lr=0.02, alpha=0.8, eps=1e-3, momentum=0.7, centered=True, weight_decay=0.1
    ),
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


def rmsprop(
    p: float,
    gradients: list[float],
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    centered: bool,
    decay: float,
) -> float:
    square = mean = v = 0.0
    for g in gradients:
        g += decay * p
        square = alpha * square + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        v = momentum * v + g / (math.sqrt(square - mean**2 if centered else square) + eps)
        p -= lr * v
    return p


def adagrad(
    p: float, gradients: list[float], lr: float, lr_decay: float, eps: float, decay: float
) -> float:
    total = 0.0
    for t, g in enumerate(gradients):
        g += decay * p
        total += g**2
        p -= lr / (1 + t * lr_decay) * g / (math.sqrt(total) + eps)
    return p


def adam(
    p: float,
    gradients: list[float],
    b1: float,
    b2: float,
    eps: float,
    decay: float,
    decoupled: float,
) -> float:
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
    """The second parameter has no gradient in some steps.

    It is left alone there, by weight decay too.
    """
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
            np.testing.assert_allclose(
                p.numpy(),
                TORCH[f"optim/{name}/{t}/{i}"],
                rtol=1e-9,
                atol=1e-12,
                err_msg=f"step {t}, parameter {i}",
            )
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
    for _ in range(100):  # Adagrad's steps become short
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
        np.testing.assert_array_equal(
            p.grad.numpy(),
            np.where(g > 0.4, np.float32(0.4), np.where(g < -0.4, np.float32(-0.4), g)),
        )
        assert p.grad.dtype == np.float32 and p.grad.shape == p.shape
        np.testing.assert_array_equal(old.numpy(), g)
    assert parameters[2].grad is None
    parameters[0].grad = tg.tensor([[np.nan, -np.inf], [np.inf, 0.1], [0.0, -9.0]])
    tg.clip_grad_value(parameters[0], 1.0)
    np.testing.assert_array_equal(
        parameters[0].grad.numpy(), np.array([[np.nan, -1], [1, 0.1], [0, -1]], np.float32)
    )


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
        assert cosine(t) == pytest.approx(
            0.01 if t > 12 else 0.01 + 0.39 * math.cos(math.pi * t / 24) ** 2
        )
        assert warmup(t) == pytest.approx(0.1 + 0.075 * t if t < 4 else 0.4 * 0.8 ** (t - 4))
    assert [optim.linear_warmup(4, 0.8)(t) for t in range(7)] == pytest.approx(
        [0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8]
    )
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
    # the rate is below that already and must not rise
    low = optim.ReduceOnPlateau(optimizer, 0.5, 0, smallest=0.3)
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
    "clip": (lambda: tg.clip_grad_value(one(), -1.0), r"clip_grad_value: max_value must be in \[0, inf\]; found -1\.0"),
    "clip what": (lambda: tg.clip_grad_value(3, 1.0), r"clip_grad_value needs parameters, such as module\.parameters\(\); found one int"),
    "step_decay": (lambda: optim.step_decay(0.1, 0), r"step_decay: size must be at least 1; found 0"),
    "cosine": (lambda: optim.cosine(0.1, 0), r"cosine: steps must be at least 1; found 0"),
    "linear_warmup": (lambda: optim.linear_warmup(0, 0.1), r"linear_warmup: steps must be at least 1; found 0"),
    "negative rate": (lambda: optim.Schedule(optim.SGD(one()), lambda t: -1.0), r"Schedule: lr, after 0 steps, must be .* found -1\.0"),
    "factor": (lambda: optim.ReduceOnPlateau(optim.SGD(one()), 1.0), r"ReduceOnPlateau: factor must be in \[0, 1\)"),
    "patience": (lambda: optim.ReduceOnPlateau(optim.SGD(one()), patience=-1), r"ReduceOnPlateau: patience must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    make, message = ERRORS[name]
    with pytest.raises(tg.TinygradError, match=message):
        make()


def test_what_is_shown() -> None:
    parameters = [
        tg.Parameter(np.zeros((40, 30), np.float32)),
        tg.Parameter(np.zeros(3, np.float32)),
    ]
    assert (
        repr(tg.optim.Adam(parameters, lr=0.002)) == "Adam(lr=0.002, 2 parameters of 1,203 numbers)"
    )


# --- parameters and gradients that are given --------------------------------------------------------------------------------


def test_parameters_that_were_used_up_are_refused() -> None:
    net = tg.nn.Linear(2, 1, rng=0)
    takers: list[Callable[[Any], Any]] = [
        optim.SGD, optim.Adam, lambda ps: tg.clip_grad_norm(ps, 1.0), lambda ps: tg.clip_grad_value(ps, 1.0),
    ]  # fmt: skip
    for take in takers:
        used = net.parameters()
        list(used)
        with pytest.raises(
            tg.TinygradError, match=r"the iterator is at its end.*list\(module\.parameters\(\)\)"
        ):
            take(used)
        with pytest.raises(tg.TinygradError, match="was given no parameters"):
            take([])
        with pytest.raises(
            tg.TinygradError,
            match=r"needs parameters, such as module\.parameters.*found one Linear",
        ):
            take(net)
        with pytest.raises(tg.TinygradError, match="among them found a tuple"):
            take(net.named_parameters())
        take(dict(net.named_parameters()))


def test_a_joint_norm_counts_each_gradient_once() -> None:
    p = tg.Parameter([0.0, 0.0])
    p.grad = tg.tensor([3.0, 4.0])
    assert tg.clip_grad_norm([p, p], 1.0) == 5
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [-300, -40, -25, -12, 12, 25, 37, 300])
def test_clipping_of_gradients_of_any_magnitude(dtype: Any, power: int) -> None:
    if dtype == np.float32 and abs(power) > 40:
        pytest.skip("not a float32")
    p, q = tg.Parameter(np.zeros(2, dtype)), tg.Parameter(np.zeros((), dtype))
    given = np.array([3, 4], np.float64) * 10.0**power, np.array(12.0 * 10.0**power)
    for most in (10.0**power, 26 * 10.0**power, 1e-3):
        for t, g in zip((p, q), given, strict=True):
            t.grad = tg.tensor(g.astype(dtype))
        expected = math.hypot(*(float(x) for t in (p, q) for x in t.grad.numpy().reshape(-1)))
        before = [t.grad.numpy().astype(np.float64) for t in (p, q)]
        found = tg.clip_grad_norm([p, q], most)
        rtol = 1e-6 if dtype == np.float32 else 1e-14
        assert math.isclose(found, expected, rel_tol=rtol)
        scale = min(1.0, most / expected)
        for t, g in zip((p, q), before, strict=True):
            np.testing.assert_allclose(
                t.grad.numpy(),
                g * scale,
                rtol=rtol,
                atol=2 * float(np.finfo(dtype).smallest_subnormal),
            )


BAD_GRADIENTS: dict[str, tuple[Any, str]] = {
    "shape": (
        lambda: tg.tensor([1.0, 2.0, 3.0]),
        r"the \.grad of weight float32\(2, 3\) has shape \(3,\); expected \(2, 3\)",
    ),
    "number": (lambda: tg.tensor(1.0), r"has shape \(\); expected \(2, 3\)"),
    "dtype": (lambda: tg.tensor(np.ones((2, 3))), r"is float64; expected float32"),
    "array": (lambda: np.ones((2, 3), np.float32), r"is a ndarray; expected a tensor"),
}


@pytest.mark.parametrize("name", BAD_GRADIENTS)
def test_a_gradient_set_by_hand_has_to_fit(name: str) -> None:
    make, message = BAD_GRADIENTS[name]
    p, q = tg.Parameter(np.zeros((2, 3), np.float32), "weight"), tg.Parameter([1.0])
    optimizer = optim.SGD([q, p], lr=1.0)
    takers: list[Callable[[], Any]] = [
        optimizer.step,
        lambda: tg.clip_grad_norm([q, p], 1e-3),
        lambda: tg.clip_grad_value([q, p], 1e-3),
    ]
    for take in takers:
        q.grad, p.grad = tg.tensor([1.0]), make()
        with pytest.raises(tg.TinygradError, match=message):
            take()
        assert (
            q.tolist() == [1.0]
            and q.grad.tolist() == [1.0]
            and not p.numpy().any()
            and optimizer.steps == [0, 0]
        ), "nothing is done by half"


# --- states that are put back -----------------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda ps: optim.SGD(ps, lr=0.1),
    "momentum": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9),
    "RMSprop": lambda ps: optim.RMSprop(ps, lr=0.1),
    "centered": lambda ps: optim.RMSprop(ps, lr=0.1, centered=True),
    "RMSprop momentum": lambda ps: optim.RMSprop(ps, lr=0.1, momentum=0.9),
    "Adagrad": lambda ps: optim.Adagrad(ps, lr=0.1),
    "Adam": lambda ps: optim.Adam(ps, lr=0.1),
}


def stepped(kind: str, *shapes: tuple[int, ...], dtype: Any = np.float32) -> optim.Optimizer:
    """An optimiser that has made two steps."""
    parameters = [tg.Parameter(np.ones(s, dtype)) for s in shapes]
    optimizer = KINDS[kind](parameters)
    for k in (1, 2):
        for p in parameters:
            p.grad = tg.tensor(np.arange(1.0, p.size + 1).reshape(p.shape).astype(dtype) / k)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_on_where_it_was(kind: str) -> None:
    first, second = (
        stepped(kind, (2, 3), (4,)),
        KINDS[kind]([tg.Parameter(np.ones(s, np.float32)) for s in ((2, 3), (4,))]),
    )
    for p, q in zip(first.parameters, second.parameters, strict=True):
        q.data = p.data
    state = first.state_dict()
    second.load_state_dict({**state})
    for value in state.values():
        value[...] = 7  # what was loaded is a copy
    for optimizer in (first, second):
        for p in optimizer.parameters:
            p.grad = tg.tensor(np.full(p.shape, 0.3, np.float32))
        optimizer.step()
    for p, q in zip(first.parameters, second.parameters, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_state_of_another_rule_is_refused(kind: str, other: str) -> None:
    optimizer, state = stepped(kind, (3,)), stepped(other, (3,)).state_dict()
    if kind == other:
        optimizer.load_state_dict(state)
        return
    with pytest.raises(
        tg.TinygradError, match=r"load_state_dict: (missing|after 2 steps there must be)"
    ):
        optimizer.load_state_dict(state)


def changed(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {
        **state,
        **{name.replace("_", "."): value for name, value in changes.items()},
    }


BAD_STATES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no dict": (lambda s: list(s), r"Adam\.load_state_dict: expected what state_dict\(\) gave, a dict of arrays; found a list"),
    "a shape that broadcasts": (changed(first_0=np.ones(3, np.float32)), r"'first\.0' has shape \(3,\); parameter 0 has \(2, 3\)"),
    "a number": (changed(second_1=np.float32(1)), r"'second\.1' has shape \(\); parameter 1 has \(4,\)"),
    "dtype": (changed(first_1=np.ones(4)), r"'first\.1' is float64; parameter 1 is float32"),
    "text": (changed(first_1="abcd"), r"'first\.1' must be numbers; found <U4"),
    "one less": (lambda s: {k: v for k, v in s.items() if k != "second.1"}, r"missing \['second\.1'\], unknown nothing"),
    "one more": (changed(first_2=np.ones(4, np.float32)), r"unknown \['first\.2'\]"),
    "no steps": (lambda s: {k: v for k, v in s.items() if k != "steps"}, r"missing \['steps'\]"),
    "steps of another number": (changed(steps=np.array([2])), r"'steps' has shape \(1,\); expected \(2,\)"),
    "steps as floats": (changed(steps=np.array([2.0, 2.5])), r"'steps' must be whole numbers of at least 0; found \[2\.0, 2\.5\]"),
    "steps below zero": (changed(steps=np.array([2, -1])), r"'steps' must be whole numbers of at least 0"),
    "a negative mean of squares": (changed(second_1=np.float32([1, 2, -3, 4])), r"'second\.1' holds sums of squares, of which none is below 0; found -3"),
    "of a module": (lambda s: {"weight": np.ones(3), "steps": s["steps"]}, r"unknown \['weight'\]"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(name: str) -> None:
    change, message = BAD_STATES[name]
    optimizer = stepped("Adam", (2, 3), (4,))
    before = optimizer.state_dict()
    with pytest.raises(tg.TinygradError, match=message):
        optimizer.load_state_dict(change({k: v + 1 for k, v in before.items()}))
    after = optimizer.state_dict()
    assert before.keys() == after.keys() and all((before[k] == after[k]).all() for k in before)


def test_states_of_schedules_have_to_fit() -> None:
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=0.5)
    schedule, plateau = optim.Schedule(optimizer, lambda t: 0.25), optim.ReduceOnPlateau(optimizer)
    good = plateau.state_dict()
    bad: list[tuple[Any, Any]] = [
        (schedule, {}), (schedule, {"count": 1.5}), (schedule, {"count": -1}), (schedule, {"count": [1, 2]}), (schedule, {"count": "x"}),
        (schedule, {"count": 1, "lr": 2.0}), (schedule, 3), (plateau, {**good, "lr": np.nan}), (plateau, {**good, "lr": -1.0}),
        (plateau, {**good, "best": np.nan}), (plateau, {**good, "bad": 0.5}), (plateau, {"lr": 1.0}),
    ]  # fmt: skip
    for target, state in bad:
        with pytest.raises(tg.TinygradError, match="load_state_dict"):
            target.load_state_dict(state)
    assert (schedule.count, plateau.best, plateau.bad, optimizer.lr) == (0, math.inf, 0, 0.25)


def test_settings_are_checked_when_they_are_set() -> None:
    optimizer = optim.RMSprop([tg.Parameter([1.0])], lr=0.5)
    for name, values in {
        "lr": (-1.0, math.nan, math.inf, 1j, "x", None, True, tg.tensor(0.1)),
        "alpha": (1.0, -0.1),
        "momentum": (1.5,),
        "eps": (-1,),
    }.items():
        kept = getattr(optimizer, name)
        for value in values:
            with pytest.raises(tg.TinygradError, match=f"RMSprop: {name} must be"):
                setattr(optimizer, name, value)
        assert getattr(optimizer, name) == kept
    optimizer.lr = np.float64(0.25)
    assert type(optimizer.lr) is float
