"""The adding problem, in its two definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...core.tape import no_grad
from ...optim import Adam
from .fit import Batch, Fit, Reader, fit, streams
from .task import Arm, Result, Run, Task

__all__ = ["TASKS", "adding_1997", "adding_unit", "mean_squared_error_1997"]

LENGTH = 100
BATCH, HIDDEN = 32, 32
RATES, RATE = {"Elman": 0.001}, 0.01  # learning rates; the last that of all other cells
MOST = 74_000  # training sequences of a run: as many as were published for the LSTM of 1997
GOAL = 0.001  # mean squared error that counts as solved
CORRECT = 0.04  # largest error of a sequence that counts as right in 1997
VALIDATED, TESTED = 512, 2560  # sequences; tested as in 1997

Draw = Callable[[np.random.Generator, int, int], Batch]


def adding_1997(rng: np.random.Generator, batch: int, length: int) -> Batch:
    """Draw pairs of a value and a marker, as Hochreiter and Schmidhuber (1997) defined them.

    The batch has one length from `length`, at least 22, to 1.1 `length`. Values are uniform on [-1,
    1]. One of the first ten pairs is marked by 1, then one of the first length/2 - 1 that is not
    marked yet; the first and the last pair have marker -1, the others 0. The target is 0.5 + (X1 +
    X2)/4; where the first pair was chosen, it keeps -1 and its X counts as zero.
    """
    steps = int(rng.integers(length, length + length // 10 + 1))
    values = rng.uniform(-1, 1, (steps, batch))
    first = rng.integers(0, 10, batch)
    second = rng.integers(0, length // 2 - 2, batch)
    second += second >= first
    markers, row = np.zeros((steps, batch)), np.arange(batch)
    markers[first, row] = markers[second, row] = 1
    markers[0] = markers[-1] = -1
    sums = np.where(first > 0, values[first, row], 0.0) + np.where(
        second > 0, values[second, row], 0.0
    )
    return Batch(
        np.stack([values, markers], axis=-1).astype(np.float32), (0.5 + sums / 4).astype(np.float32)
    )


def mean_squared_error_1997(length: int) -> float:
    """Return the mean squared error of predicting the mean, 0.5.

    It is the variance of (X1 + X2)/4, where each X has variance 1/3 unless the first pair was
    chosen for it.
    """
    first_is_zero = 1 / 10
    second_is_zero = (1 - first_is_zero) / (length // 2 - 2)
    return (2 - first_is_zero - second_is_zero) / 3 / 16


def adding_unit(rng: np.random.Generator, batch: int, length: int) -> Batch:
    """Draw pairs of a value and a marker, as Le et al. (2015) and Arjovsky et al. (2016) do.

    Values are uniform on [0, 1]; one marker is 1 in each half of the sequence, the others are 0.
    The target is the sum of the two marked values.
    """
    values = rng.uniform(0, 1, (length, batch))
    first, second = rng.integers(0, length // 2, batch), rng.integers(length // 2, length, batch)
    markers, row = np.zeros((length, batch)), np.arange(batch)
    markers[first, row] = markers[second, row] = 1
    sums = values[first, row] + values[second, row]
    return Batch(np.stack([values, markers], axis=-1).astype(np.float32), sums.astype(np.float32))


def _train(cell: str, draw: Draw, goal: float) -> Callable[[Run], Result]:
    """Return the run of an arm: a cell is trained on fresh sequences and tested on others."""

    def run(run: Run) -> Result:
        weights, training, validation, test = streams(run.seed)
        model = Reader(cell, 2, HIDDEN, 1, memory=LENGTH, rng=weights)
        optimizer = Adam(model.parameters(), lr=RATES.get(cell, RATE))
        held = [draw(validation, VALIDATED // 2, LENGTH) for _ in range(2)]
        done = fit(
            run,
            model,
            optimizer,
            lambda: draw(training, BATCH, LENGTH),
            lambda: model.evaluate(held),
            goal,
            most=MOST,
            unit="MSE",
        )
        return _test(
            model,
            done,
            [draw(test, 256, LENGTH) for _ in range(TESTED // 256)],
            draw is adding_1997,
        )

    return run


def _test(model: Reader, done: Fit, batches: list[Batch], count: bool) -> Result:
    """Return the mean squared error; for the definition of 1997 count the wrong sequences too."""
    with no_grad():
        errors = np.concatenate(
            [model(batch.xs).numpy()[:, 0] - batch.targets for batch in batches]
        )
    score = float(np.mean(errors**2))
    note = f"{np.sum(np.abs(errors) >= CORRECT):,} of {errors.size:,} wrong" if count else ""
    return done.result(score, score < GOAL, note)


def _arms(
    draw: Draw, baseline: float, cells: list[str], published: dict[str, str], goal: float
) -> Callable[[str | None], Sequence[Arm]]:
    """Return the arms of a task: the baseline, the cells, and a plain recurrent network."""

    def arms(cell: str | None) -> Sequence[Arm]:
        return [
            Arm(
                "predict the mean",
                lambda run: Result(baseline),
                published.get("mean", ""),
                exact=True,
            ),
            *(
                Arm(c, _train(c, draw, goal), published.get(c, ""))
                for c in dict.fromkeys([*([cell] if cell else cells), "Elman"])
            ),
        ]

    return arms


_TRAINING = (
    f"{HIDDEN} units, Adam with rate {RATE:g} (Elman {RATES['Elman']:g}), batches of {BATCH}, gradients clipped to norm 1; the gates of LSTM and GRU start so that units "
    f"remember over 1 to {LENGTH} steps (Tallec and Ollivier 2018). A run ends when the validation error is low enough, after {MOST:,} sequences "
    "or with its budget, whichever comes first."
)

TASKS = [
    Task(
        name="adding",
        title=f"the adding problem of 1997, T = {LENGTH}",
        about=f"To add two numbers that are marked in a long sequence of numbers from [-1, 1], and to say half of their mean plus 0.5 at "
        f"its end. Lengths are from {LENGTH} to {LENGTH * 11 // 10}. Solved: a mean squared error below {GOAL:g}. A sequence counts as right "
        f"if the error is below {CORRECT:g}. {_TRAINING} The paper trains 2 blocks of 2 cells each, without forget gates, one "
        "sequence at a time.",
        source="S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997), experiment 4.",
        metric=f"the mean squared error on {TESTED:,} test sequences",
        arms=_arms(
            adding_1997,
            mean_squared_error_1997(LENGTH),
            ["LSTM", "LSTM1997"],
            {"LSTM1997": "learnt from 74,000 sequences (2 blocks of 2 cells)"},
            0.0002,
        ),
        budget=120,
        decimals=5,
    ),
    Task(
        name="adding-unit",
        title=f"the adding problem with values in [0, 1], T = {LENGTH}",
        about=f"To add two numbers that are marked, one in each half of a sequence of {LENGTH} numbers from [0, 1]. Solved: a mean squared "
        f"error below {GOAL:g}. {_TRAINING}",
        source="Q. V. Le, N. Jaitly and G. E. Hinton (2015), arXiv:1504.00941; M. Arjovsky, A. Shah and Y. Bengio, Unitary Evolution "
        "Recurrent Neural Networks, ICML 2016, which give the baseline; their curves are for longer training.",
        metric=f"the mean squared error on {TESTED:,} test sequences",
        arms=_arms(adding_unit, 1 / 6, ["LSTM"], {"mean": "0.167"}, 0.0006),
        budget=120,
        decimals=5,
    ),
]
