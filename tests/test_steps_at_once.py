"""Training steps whose clipping and updates are part of the one call: equal to the noted steps, to the bit.

The noted steps, which are done one after the other where the one call cannot be, are the reference;
another is the plain function.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.test_straight import spoilt  # noqa: F401  (memory in which what is wrong is found)
from tinygrad_rnn.compiler.recorded import Recording

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
        found += [np.asarray(x) for x in map(_number, call(*training.data[k % 5]))]
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
