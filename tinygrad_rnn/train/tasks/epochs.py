"""Training for a fixed number of epochs: Adam, clipped gradients, a rate that falls to zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ...core.primitive import Array
from ...module import Module
from ...optim import Adam, clip_grad_norm
from .task import Run

__all__ = ["Plan", "Used", "run_epochs", "shuffled"]

_CLIP = 1.0  # largest norm of the gradient
_RISING = 50  # training steps over which the rate rises at first


class Plan(NamedTuple):
    """Sizes and rates of a training run.

    Attributes
    ----------
    hidden : int
        Size of the cell.
    batch : int
        Sequences in a training step.
    epochs : int
        How often each sequence is seen.
    lr : float
        The rate at its height.
    """

    hidden: int
    batch: int
    epochs: int
    lr: float


class Used(NamedTuple):
    """What training used: the fields are those of `Result`."""

    sequences: int
    steps: int
    seconds: float


def shuffled(count: int, plan: Plan, rng: np.random.Generator) -> Iterator[Array]:
    """Yield the numbers of the sequences in each training step, anew in each epoch."""
    for _ in range(plan.epochs):
        order = rng.permutation(count)
        yield from (order[k : k + plan.batch] for k in range(0, count, plan.batch))


def run_epochs(
    run: Run,
    model: Module,
    plan: Plan,
    count: int,
    batches: Iterable[Any],
    loss: Callable[[Any], tuple[Any, int]],
    after_epoch: Callable[[], object] = lambda: None,
) -> Used:
    """Train a model until the epochs or the budget are used up.

    The rate falls to zero with the share of the epochs that is done; the clock has no part in it.
    If the loss is not finite, training ends there.

    Parameters
    ----------
    run : Run
        The run, with its budget.
    model : Module
        What is trained.
    plan : Plan
        Sizes and rates.
    count : int
        Sequences in an epoch.
    batches : iterable
        A batch for each training step.
    loss : callable
        A function of a batch that returns the loss, and the number of time steps in one sequence.
    after_epoch : callable, optional
        It is called after each epoch.

    Returns
    -------
    Used
        What training used.
    """
    optimizer = Adam(model.parameters(), lr=plan.lr)
    in_epoch = math.ceil(count / plan.batch)
    total = plan.epochs * in_epoch
    sequences = steps = 0
    recent = math.nan
    for done, batch in enumerate(batches):
        if not run.go_on(
            f"epoch {done * plan.epochs // total + 1} of {plan.epochs}, loss {recent:.4f}"
        ):
            break
        optimizer.lr = plan.lr * min(1.0, (done + 1) / _RISING) * max(1 - done / total, 0.0)
        value, length = loss(batch)
        if not math.isfinite(value.item()):
            break
        model.zero_grad()
        value.backward()
        clip_grad_norm(model.parameters(), _CLIP)
        optimizer.step()
        recent = value.item() if math.isnan(recent) else 0.9 * recent + 0.1 * value.item()
        sequences += len(batch)
        steps += len(batch) * length
        if (done + 1) % in_epoch == 0:
            after_epoch()
    return Used(sequences, steps, run.seconds)
