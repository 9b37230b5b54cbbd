"""Training until a criterion is met on fresh data: what the synthetic tasks share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import init
from ...cells import GRU, LSTM
from ...core.primitive import Array
from ...core.tape import no_grad
from ...nn import Linear, Module, cross_entropy, mse_loss
from ...optim import Optimizer, clip_grad_norm
from ...recurrent import unroll
from ...recurrent.cell import plain_of
from .task import Result, Run, make_cell

__all__ = ["Batch", "Fit", "Reader", "error_rate", "fit", "long_memory", "streams"]


class Batch(NamedTuple):
    """Sequences, and what is to be said about them.

    Attributes
    ----------
    xs : array, shape (time, batch, features)
        The sequences.
    targets : array
        Shape (batch,) if the last output is read, (time, batch) if every one is; integers for
        classes.
    """

    xs: Array
    targets: Array


class Reader(Module):
    """A cell, and a linear layer that reads its last output or every one.

    Parameters
    ----------
    cell : str
        The name of a class in `tinygrad_rnn.cells`.
    input_size, hidden_size : int
        The sizes of the cell.
    outputs : int
        The number of classes, or 1 for a number.
    every : bool
        Whether the outputs of all steps are read.
    memory : int, optional
        Steps over which values have to be kept: see `long_memory`.
    rng : numpy Generator or int
        Generator or seed of the weights.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        outputs: int,
        *,
        every: bool = False,
        memory: int | None = None,
        rng: Any = None,
    ) -> None:
        rng = init.generator(rng)
        self.cell = make_cell(cell, input_size, hidden_size, rng=rng)
        with no_grad():
            y, _ = self.cell(np.zeros((1, input_size), np.float32))
        self.out = Linear(y.shape[-1], outputs, rng=rng)
        self.every = every
        if memory is not None:
            long_memory(self.cell, memory, rng=rng)

    def forward(self, xs: Array) -> Any:
        """Return (batch, outputs), or (time, batch, outputs), for (time, batch, features)."""
        ys, _ = unroll(self.cell, xs)
        return self.out(ys if self.every else ys[-1])

    def loss(self, batch: Batch) -> Any:
        """Return the cross entropy in nats for classes, or else the mean squared error."""
        y = self(batch.xs)
        return (
            cross_entropy(y, batch.targets)
            if batch.targets.dtype.kind in "iu"
            else mse_loss(y[..., 0], batch.targets)
        )

    def evaluate(self, batches: list[Batch]) -> float:
        """Return the mean of the loss over batches of one size; nothing is recorded."""
        with no_grad():
            return float(np.mean([self.loss(batch).numpy() for batch in batches]))


def long_memory(cell: Any, steps: int, *, rng: Any = None) -> None:
    """Start the gates of an LSTM or GRU so that units forget over 1 to `steps` steps.

    Other cells stay as they are. C. Tallec and Y. Ollivier, Can Recurrent Neural Networks Warp
    Time? (2018), arXiv:1804.11188: the bias of what is kept is log(u) with u uniform on [1, steps],
    and that of an LSTM's input gate is its negative.
    """
    kind = type(plain_of(cell))
    if kind is LSTM:
        cell.bias_ih.data = init.chrono(cell.bias_ih.numpy(), cell.hidden_size, steps + 1, rng=rng)
    elif kind is GRU:  # its update gate keeps the old state
        cell.bias_ih.data = init.chrono(
            cell.bias_ih.numpy(), cell.hidden_size, steps + 1, enter=None, gates=3, rng=rng
        )


def error_rate(model: Reader, batches: list[Batch]) -> float:
    """Return the share of the targets whose class does not get the largest output."""
    with no_grad():
        wrong = [model(batch.xs).numpy().argmax(-1) != batch.targets for batch in batches]
    return float(np.mean([w.mean() for w in wrong]))


def streams(seed: int) -> list[np.random.Generator]:
    """Return independent generators for weights, training, validation and test."""
    return [np.random.default_rng([seed, part]) for part in range(4)]


class Fit(NamedTuple):
    """What training used, and how it ended.

    Attributes
    ----------
    sequences, steps, seconds
        As in `Result`.
    validation : float
        The last figure on validation data; nan if training diverged.
    """

    sequences: int
    steps: int
    seconds: float
    validation: float

    def result(self, score: float, solved: bool | None, note: str = "") -> Result:
        """Return a `Result` with the score on test data."""
        return Result(score, solved, self.sequences, self.steps, self.seconds, note)


def fit(
    run: Run,
    model: Reader,
    optimizer: Optimizer,
    draw: Callable[[], Batch],
    validate: Callable[[], float],
    goal: float,
    *,
    clip: float | None = 1.0,
    most: float = math.inf,
    every: int = 100,
    unit: str = "",
) -> Fit:
    """Train on fresh batches until the figure on validation data is good enough.

    Training also ends when the budget is used, or when it diverges.

    Parameters
    ----------
    run : Run
        The run, with its budget.
    model : Reader
        What is trained.
    optimizer : Optimizer
        The rule, with the parameters of the model.
    draw : callable
        A function that gives the next batch.
    validate : callable
        A function that gives the figure. It is called every `every` steps, and at the end.
    goal : float
        The figure that is good enough; less is better.
    clip : float, optional
        Largest norm of the gradient; None leaves the gradient as it is.
    most : float
        A number of training sequences after which the run ends too.
    every : int
        Training steps between two figures.
    unit : str
        What the figure is, for the progress bar.

    Returns
    -------
    Fit
        What training used, and the last figure.
    """
    sequences = steps = count = 0
    figure, checked = math.inf, False
    while (
        figure > goal
        and sequences < most
        and run.go_on(f"{unit} {figure:.4f}" if count >= every else "")
    ):
        batch = draw()
        loss = model.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            clip_grad_norm(optimizer.parameters, clip)
        optimizer.step()
        count += 1
        sequences += batch.xs.shape[1]
        steps += batch.xs.shape[0] * batch.xs.shape[1]
        checked = count % every == 0
        if not math.isfinite(float(loss.numpy())):
            return Fit(sequences, steps, run.seconds, math.nan)
        if checked:
            figure = validate()
    return Fit(sequences, steps, run.seconds, figure if checked else validate())
