"""Training rules as one loop: whatever a rule reads, a step gives what NumPy gives, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim
from tinygrad_rnn.kernels import runtime
from tinygrad_rnn.optim.optimizer import Optimizer

SHARED = {"scale": 1.0}
COUNT = [0.0]
Step = Callable[[Any, int], None]


@pytest.fixture(autouse=True)
def in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "is_in_use", lambda: True)


class Rule(Optimizer):
    elementwise = True
    scale: Any = 1.0


class Rate(Rule):
    """The learning rate itself, and not the one that `rates` gives."""

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-self.lr * g,)


class Setting(Rule):
    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-rates[0] * self.scale * g,)


class Global(Rule):
    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-rates[0] * SHARED["scale"] * g,)


def twice(self: Any) -> Any:
    return 2.0 * self.scale


class Class(Rule):
    """By way of a method, of a property, of the class and of its base."""

    scale = 1.0

    part = twice

    @property
    def half(self) -> Any:
        return self.scale / 2

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-rates[0] * (self.part() + self.half + Class.scale) * g,)


class OfType(Class):
    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-rates[0] * type(self).scale * g,)


class Derived(Class):
    def part(self) -> Any:
        return super().part() * super().scale


class Steps(Rule):
    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-rates[0] / (1 + self.steps[0]) * g,)


class Drawn(Rule):
    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr)
        self.generator = np.random.default_rng(3)

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-rates[0] * float(self.generator.normal()) * g,)


class DrawnByAll(Rule):
    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-rates[0] * np.random.normal() * g,)


class Counting(Rule):
    scale = 0

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        self.scale += 1
        return (-rates[0] * self.scale * g,)


class CountingOutside(Rule):
    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        COUNT[0] += 1
        return (-rates[0] * COUNT[0] * g,)


class Numbers(Rule):
    """What is computed of numbers alone is exact before it meets an array."""

    def rates(self, count: int) -> tuple[float, ...]:
        return self.lr, 0.99999999**count

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-rates[0] * 1e-8 / (1 - rates[1]) * g,)


class NumbersOfNumpy(Rule):
    def rates(self, count: int) -> tuple[Any, ...]:
        return (np.sqrt(self.lr / 3),)

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        return (-rates[0] * g * 1.1,)


def nothing(rule: Any, k: int) -> None:
    pass


def lower(rule: Any, k: int) -> None:
    rule.lr = 0.1 / (k + 1)


def scale(number: Callable[[int], Any], owner: Any = None) -> Step:
    def step(rule: Any, k: int) -> None:
        (owner or rule).scale = number(k)

    return step


def begin(rule: Any, k: int) -> None:
    if k == 0:
        np.random.seed(3)
        COUNT[0] = 0.0


def share(rule: Any, k: int) -> None:
    SHARED["scale"] = 1.0 + k


def another_method(rule: Any, k: int) -> None:
    Class.part = lambda self: 3.0 + k  # type: ignore[method-assign]


def another_change(rule: Any, k: int) -> None:
    if k == 2:
        rule.change = lambda g, rates, *buffers: (g * rates[0], *buffers)


def another_list(rule: Any, k: int) -> None:
    if k == 1:
        rule.betas = [0.5, 0.9]
    if k > 1:
        rule.betas[0] = 0.1 * k


RULES: dict[str, tuple[type, Step]] = {
    "the rate": (Rate, lower),
    "an integer": (Setting, scale(lambda k: k)),
    "a number of NumPy": (Setting, scale(np.float64)),
    "numbers and truths that are equal": (Setting, scale(lambda k: (1, 1.0, True, -0.0, 0.0)[k])),
    "a global": (Global, share),
    "a class": (Class, scale(lambda k: 1.0 + k, Class)),
    "a class of a class": (Derived, scale(lambda k: 1.0 + k, Class)),
    "a class by its type": (OfType, scale(lambda k: 1.0 + k, Class)),
    "an object in place of its class": (Derived, scale(lambda k: 1.0 + k)),
    "another method": (Class, another_method),
    **{
        name: (kind, lambda rule, step: None)
        for name, kind in {
            "NAdam": optim.NAdam,
            "NAdam decoupled": lambda ps, lr: optim.NAdam(
                ps, lr, weight_decay=0.1, decoupled_weight_decay=True
            ),
            "RAdam": lambda ps, lr: optim.RAdam(ps, lr, betas=(0.9, 0.6)),
            "Lion": lambda ps, lr: optim.Lion(ps, lr, weight_decay=0.1),
            "nesterov": lambda ps, lr: optim.SGD(ps, lr, momentum=0.9, nesterov=True),
        }.items()
    },
    "another change": (optim.Adam, another_change),
    "a list": (optim.Adam, another_list),
    "the steps": (Steps, nothing),
    "a generator": (Drawn, nothing),
    "a generator of all": (DrawnByAll, begin),
    "what it counts": (Counting, nothing),
    "what it counts outside": (CountingOutside, begin),
    "numbers alone": (Numbers, nothing),
    "numbers of NumPy": (NumbersOfNumpy, nothing),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RULES)
def test_whatever_a_rule_reads(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, between = RULES[name]

    def trained() -> list[Any]:
        SHARED["scale"] = Class.scale = 1.0
        Class.part = twice  # type: ignore[method-assign]
        rng = np.random.default_rng(5)
        parameters = [tg.Parameter(rng.normal(size=s).astype(dtype)) for s in ((3,), (2, 4))]
        rule, found = kind(parameters, 0.1), []
        for k in range(5):
            for p in parameters:
                p.grad = tg.tensor(rng.normal(size=p.shape).astype(dtype))
            between(rule, k)
            rule.step()
            found += [p.numpy() for p in parameters]
        return found

    found = trained()
    monkeypatch.setattr(runtime, "available", lambda: False)
    for a, b in zip(found, trained(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_rule_of_plain_settings_is_one_loop() -> None:
    p = tg.Parameter(np.ones(3))
    rule = Class([p], 0.1)
    for k in range(4):
        p.grad = tg.tensor(np.ones(3))
        lower(rule, k)
        rule.step()
    (loops,) = rule._updates.values()
    assert [one.found is not None for one in loops._known] == [True]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [optim.NAdam, optim.RAdam, optim.Lion])
def test_further_rules_are_loops(kind: Any, dtype: Any) -> None:
    p = tg.Parameter(np.ones(3, dtype))
    rule = kind([p], 0.1)
    p.grad = tg.tensor(np.ones(3, dtype))
    rule.step()
    (loops,) = rule._updates.values()
    assert [one.found is not None for one in loops._known] == [True]


def test_joined_arrays_of_many_subsets_are_not_kept() -> None:
    """Where other parameters have a gradient at each step, as those of experts."""
    parameters = [tg.Parameter(np.ones(3)) for _ in range(8)]
    rule = optim.Adam(parameters)
    for k in range(1, 128):
        for bit, p in enumerate(parameters):
            p.grad = tg.tensor(np.ones(3)) if k >> bit & 1 else None
        rule.step()
        assert len(rule._vectors) <= 16
