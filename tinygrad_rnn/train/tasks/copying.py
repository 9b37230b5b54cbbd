"""The copying problem, in which ten symbols are said again after a long pause."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ...core.primitive import Array
from ...optim import Adam
from .fit import Batch, Reader, error_rate, fit, streams
from .task import Arm, Result, Run, Task

__all__ = ["TASKS", "baseline", "copying"]

SYMBOLS, COPIED = 8, 10
BLANK, DELIMITER = SYMBOLS, SYMBOLS + 1
PAUSE = 30
BATCH, HIDDEN = 32, 64
RATES, RATE = {"Elman": 0.001}, 0.005  # learning rates; the last that of all other cells
MOST = 150_000  # training sequences of a run
VALIDATED, TESTED = 256, 1024  # sequences


def copying(rng: np.random.Generator, batch: int, pause: int) -> Batch:
    """Draw ten random symbols of eight, then `pause` - 1 blanks, a delimiter, and ten blanks.

    The targets are blanks, and at the end the ten symbols.
    """
    symbols = rng.integers(0, SYMBOLS, (COPIED, batch))
    read = np.full((pause + 2 * COPIED, batch), BLANK)
    targets = read.copy()
    read[:COPIED] = targets[-COPIED:] = symbols
    read[-COPIED - 1] = DELIMITER
    return Batch(_one_hot(read, SYMBOLS + 2), targets)


def _one_hot(ids: Array, size: int) -> Array:
    """Return ids as one-hot vectors of a size."""
    vectors: Array = np.eye(size, dtype=np.float32)[ids]
    return vectors


def baseline(pause: int) -> float:
    """Return the cross entropy, in nats for a step, of a model that remembers nothing.

    It is sure of every blank, and knows of the ten symbols only that they are among eight.
    """
    return COPIED * math.log(SYMBOLS) / (pause + 2 * COPIED)


def _train(cell: str) -> Callable[[Run], Result]:
    """Return the run of an arm: a cell is trained on fresh sequences and tested on others."""

    def run(run: Run) -> Result:
        weights, training, validation, test = streams(run.seed)
        model = Reader(
            cell,
            SYMBOLS + 2,
            HIDDEN,
            SYMBOLS + 1,
            every=True,
            memory=PAUSE + 2 * COPIED,
            rng=weights,
        )
        optimizer = Adam(model.parameters(), lr=RATES.get(cell, RATE))
        held = [copying(validation, VALIDATED, PAUSE)]
        done = fit(
            run,
            model,
            optimizer,
            lambda: copying(training, BATCH, PAUSE),
            lambda: model.evaluate(held),
            0.01 * baseline(PAUSE),
            most=MOST,
            unit="nats",
        )
        batches = [copying(test, 256, PAUSE) for _ in range(TESTED // 256)]
        score = model.evaluate(batches)
        right = 1 - error_rate(model, batches) * (PAUSE + 2 * COPIED) / COPIED
        return done.result(
            score, score < 0.1 * baseline(PAUSE), f"{max(right, 0):.1%} of the symbols right"
        )

    return run


def _arms(cell: str | None) -> Sequence[Arm]:
    """Return the arms: the baseline and the cells."""
    cells = [cell] if cell else ["LSTM", "GRU", "Elman"]
    return [
        Arm(
            "remember nothing",
            lambda run: Result(baseline(PAUSE)),
            "10 ln 8 / (T + 20)",
            exact=True,
        ),
        *(Arm(c, _train(c)) for c in cells),
    ]


TASKS = [
    Task(
        name="copying",
        title=f"the copying problem, T = {PAUSE}",
        about=f"To say {COPIED} symbols again, {PAUSE} steps after they were read: at first blanks are to be said, and after a delimiter the "
        f"symbols. Solved: less than a tenth of the cross entropy of what remembers nothing. {HIDDEN} units, Adam with rate {RATE:g} (Elman "
        f"{RATES['Elman']:g}), batches of {BATCH}, gradients clipped to norm 1; the gates of LSTM and GRU start so that units remember over 1 to "
        f"{PAUSE + 2 * COPIED} steps (Tallec and Ollivier 2018); the recurrent weights of all three are orthogonal at first. A run ends at a "
        f"hundredth of that cross entropy, after {MOST:,} sequences or with its budget.",
        source="M. Arjovsky, A. Shah and Y. Bengio, Unitary Evolution Recurrent Neural Networks, ICML 2016, for pauses of 100 and more, where "
        "their LSTM stays near the baseline; S. Bai, J. Z. Kolter and V. Koltun (2018), arXiv:1803.01271: at T = 1000 LSTM 0.0204 and GRU 0.0197, "
        "the baseline being 0.0204.",
        metric=f"the cross entropy for a step on {TESTED:,} test sequences, in nats",
        arms=_arms,
        budget=120,
    )
]
