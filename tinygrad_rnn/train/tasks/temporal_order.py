"""The temporal-order problem: which two symbols came, and in which order.

It is run with and without clipping of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...cells import Elman
from ...optim import SGD
from .fit import Batch, Reader, error_rate, fit, streams
from .task import Arm, Result, Run, Task

__all__ = ["TASKS", "temporal_order"]

LENGTH = 50
HIDDEN, BATCH, RATE, CLIP = 50, 64, 0.1, 1.0
# of Xavier's bound for the input weights: tanh is nearly linear at first, and the units keep what
# they hold
INPUTS = 0.3
MOST = 1_000_000  # training sequences of a run
VALIDATED, TESTED = 1000, 10_000  # sequences
SOLVED = 0.01  # error rate on test sequences
SYMBOLS = 6  # A, B, and four that mean nothing


def temporal_order(rng: np.random.Generator, batch: int, length: int) -> Batch:
    """Draw sequences of one-hot symbols with classes 2 * first + second, where A is 0 and B is 1.

    Symbols are drawn from four that mean nothing; at one place from length/10 to 2 length/10, and
    at one from 4 length/10 to 5 length/10, stands A or B instead.
    """
    symbols, row = rng.integers(2, SYMBOLS, (length, batch)), np.arange(batch)
    places = [
        rng.integers(low * length // 10, (low + 1) * length // 10 + 1, batch) for low in (1, 4)
    ]
    first, second = rng.integers(0, 2, (2, batch))
    symbols[places[0], row], symbols[places[1], row] = first, second
    return Batch(np.eye(SYMBOLS, dtype=np.float32)[symbols], 2 * first + second)


def _train(cell: str, clip: float | None) -> Callable[[Run], Result]:
    """Return the run of an arm: a cell is trained with or without clipping."""

    def run(run: Run) -> Result:
        weights, training, validation, test = streams(run.seed)
        model = Reader(cell, SYMBOLS, HIDDEN, 4, rng=weights)
        if isinstance(model.cell, Elman):
            model.cell.weight_ih.data = model.cell.weight_ih.numpy() * np.float32(INPUTS)
        held = [temporal_order(validation, VALIDATED, LENGTH)]
        done = fit(
            run,
            model,
            SGD(model.parameters(), lr=RATE),
            lambda: temporal_order(training, BATCH, LENGTH),
            lambda: error_rate(model, held),
            SOLVED / 4,
            clip=clip,
            most=MOST,
            every=100,
            unit="error",
        )
        score = error_rate(model, [temporal_order(test, TESTED, LENGTH)])
        return done.result(score, score < SOLVED)

    return run


def _arms(cell: str | None) -> Sequence[Arm]:
    """Return the arms: guessing, and a cell with clipping and without."""
    name = cell or "Elman"
    return [
        Arm("guess", lambda run: Result(0.75), exact=True),
        Arm(f"{name}, clipped", _train(name, CLIP)),
        Arm(f"{name}, not clipped", _train(name, None)),
    ]


TASKS = [
    Task(
        name="temporal-order",
        title=f"the temporal-order problem, length {LENGTH}, with and without clipping",
        about=f"Two of {LENGTH} symbols are A or B, one near the beginning and one near the middle; the other symbols mean nothing. At the end "
        f"the network has to say which of AA, AB, BA, BB it was. Solved: an error rate below {SOLVED:.0%}. {HIDDEN} tanh units, whose recurrent "
        f"weights are orthogonal and whose input weights are small at first ({INPUTS:g} of Xavier's); plain SGD with rate {RATE:g}, batches of {BATCH}. "
        f"The two arms differ in nothing but the clipping of the gradient to norm {CLIP:g}. A run ends when at most {SOLVED / 4:.2%} of "
        f"{VALIDATED:,} validation sequences are wrong, after {MOST:,} sequences or with its budget.",
        source="R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013, section 4.1: 50 units, "
        "SGD with rate 0.01, batches of 20, up to 5 million updates, for lengths from 50; the share of successful runs is given as curves over "
        "the length. With clipping and a regulariser, which is no arm here, all runs succeed up to length 200.",
        metric=f"the error rate on {TESTED:,} test sequences",
        arms=_arms,
        seeds=5,
        budget=120,
    )
]
