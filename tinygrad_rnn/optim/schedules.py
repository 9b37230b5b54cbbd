"""Schedules of the learning rate.

A schedule is a function from the number of steps done so far to a learning rate; `Schedule` applies
one to an optimiser. `ReduceOnPlateau` goes by a loss in place of the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tensor import Tensor
from ..ops import checks
from ..ops.checks import number, shown
from ..ops.postponed import postponed
from .given import AMOUNT, FRACTION, check_entries, scalar
from .optimizer import Optimizer


def step_decay(lr: float, size: int, factor: float = 0.1) -> Callable[[int], float]:
    """Return a schedule: `lr`, multiplied by `factor` after every `size` steps.

    Parameters
    ----------
    lr : float
        The learning rate of the first `size` steps.
    size : int
        After how many steps it falls.
    factor : float
        What it is multiplied by then.
    """
    lr, factor = number(lr, "step_decay: lr", AMOUNT), number(factor, "step_decay: factor", AMOUNT)
    every = checks.size(size, "step_decay: size")
    return lambda step: lr * factor ** (step // every)


def exponential_decay(lr: float, factor: float) -> Callable[[int], float]:
    """Return a schedule: `lr`, multiplied by `factor` after every step."""
    lr, factor = (
        number(lr, "exponential_decay: lr", AMOUNT),
        number(factor, "exponential_decay: factor", AMOUNT),
    )
    return lambda step: lr * factor**step


def cosine(lr: float, steps: int, last: float = 0.0) -> Callable[[int], float]:
    """Return a schedule from `lr` down to `last` along half a cosine (Loshchilov and Hutter 2017).

    Parameters
    ----------
    lr : float
        The learning rate at step 0.
    steps : int
        How many steps it takes to get down.
    last : float
        Where it ends, and stays from then on.
    """
    lr, last, count = (
        number(lr, "cosine: lr", AMOUNT),
        number(last, "cosine: last", AMOUNT),
        checks.size(steps, "cosine: steps"),
    )
    return lambda step: last + (lr - last) * (1 + math.cos(math.pi * min(step / count, 1.0))) / 2


def linear_warmup(
    steps: int, then: float | Callable[[int], float], first: float = 0.0
) -> Callable[[int], float]:
    """Return a schedule that goes in a straight line up to where `then` begins, and follows it.

    Parameters
    ----------
    steps : int
        The steps of the line.
    then : float or callable
        A learning rate or a schedule, whose steps count from the end of the line:
        ``linear_warmup(100, cosine(0.01, 900))``.
    first : float
        Where the line begins.
    """
    count, first = (
        checks.size(steps, "linear_warmup: steps"),
        number(first, "linear_warmup: first", AMOUNT),
    )
    rate = (
        None
        if callable(then) and not isinstance(then, type)
        else number(then, "linear_warmup: then, if it is no schedule,", AMOUNT)
    )
    after: Any = then if callable(then) else lambda step: rate
    return lambda step: (
        first + (after(0) - first) * step / count if step < count else after(step - count)
    )


class Schedule:
    """What sets the learning rate of an optimiser by a function of the number of steps.

    Call ``step()`` after each ``optimizer.step()`` (or after each epoch: what a step is, is the
    caller's choice).

    Parameters
    ----------
    optimizer : Optimizer
        Its rate is set at once, to ``function(0)``.
    function : callable
        A schedule: from the number of steps done so far to a learning rate.
    """

    def __init__(self, optimizer: Optimizer, function: Callable[[int], float]) -> None:
        if isinstance(function, type) or not callable(function):
            raise TinygradError(
                f"Schedule: expected a function from the number of steps to a rate; found {shown(function)}"
            )
        self.optimizer, self.function, self.count = (_optimizer("Schedule", optimizer), function, 0)
        self._apply()

    @postponed(lambda self: [self, self.optimizer])
    def step(self) -> None:
        """Count a step and set the rate for the next one."""
        self.count += 1
        self._apply()

    def _apply(self) -> None:
        self.optimizer.lr = number(
            self.function(self.count), f"Schedule: lr, after {self.count} steps,", AMOUNT
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the count of steps, for a checkpoint."""
        return {"count": np.asarray(self.count)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, and set the rate."""
        what = "Schedule.load_state_dict"
        check_entries(what, state, ["count"])
        self.count = checks.size(scalar(what, state, "count"), f"{what}: 'count'", 0)
        self._apply()


class ReduceOnPlateau:
    """What multiplies the learning rate of an optimiser by a factor when a loss stops falling.

    Parameters
    ----------
    optimizer : Optimizer
        Its rate is changed.
    factor : float
        In [0, 1).
    patience : int
        So many calls in a row without an improvement are borne; the next one lowers the rate.
    threshold : float
        A loss is an improvement if it is below the best one by more than this share of it (as in
        PyTorch, for losses above 0).
    smallest : float
        The rate is not lowered further than this.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        smallest: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.optimizer, self.factor = (
            _optimizer(name, optimizer),
            number(factor, f"{name}: factor", FRACTION),
        )
        self.patience, self.threshold = (
            checks.size(patience, f"{name}: patience", 0),
            number(threshold, f"{name}: threshold", AMOUNT),
        )
        self.smallest = number(smallest, f"{name}: smallest", AMOUNT)
        self.best, self.bad = math.inf, 0

    @postponed(lambda self, loss: [self, self.optimizer])
    def step(self, loss: float) -> None:
        """Note the loss of an epoch or an evaluation, and lower the rate if it is time.

        A nan counts as no improvement.
        """
        if isinstance(loss, (Tensor, np.ndarray)) and loss.size == 1:
            loss = (loss.numpy() if isinstance(loss, Tensor) else loss).item()
        loss = (
            loss
            if loss != loss
            else number(loss, f"{type(self).__name__}.step: the loss", "[-inf, inf]")
        )
        if loss < self.best - self.threshold * abs(self.best) or (loss < self.best == math.inf):
            self.best, self.bad = loss, 0
        else:
            self.bad += 1
        if self.bad > self.patience:
            self.optimizer.lr, self.bad = (
                min(self.optimizer.lr, max(self.optimizer.lr * self.factor, self.smallest)),
                0,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the best loss, the calls without an improvement and the rate, for a checkpoint."""
        return {
            "best": np.asarray(self.best),
            "bad": np.asarray(self.bad),
            "lr": np.asarray(self.optimizer.lr),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, and set the rate."""
        what = f"{type(self).__name__}.load_state_dict"
        check_entries(what, state, ["best", "bad", "lr"])
        best = number(scalar(what, state, "best"), f"{what}: 'best'", "[-inf, inf]")
        bad = checks.size(scalar(what, state, "bad"), f"{what}: 'bad'", 0)
        self.optimizer.lr = number(scalar(what, state, "lr"), f"{what}: 'lr'", AMOUNT)
        self.best, self.bad = best, bad


def _optimizer(what: str, given: Any) -> Optimizer:
    """Return an optimiser that was given."""
    if not isinstance(given, Optimizer):
        raise TinygradError(
            f"{what}: expected an optimiser, such as tg.optim.Adam(...); found {shown(given)}"
        )
    return given
