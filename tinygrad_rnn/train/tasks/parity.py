"""Parity: whether a sequence of bits has an odd number of ones.

Networks are trained on short sequences and tested on long ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...optim import Adam
from .fit import Batch, Reader, error_rate, fit, streams
from .task import Arm, Result, Run, Task

__all__ = ["TASKS", "Curriculum", "parity"]

LONGEST, TESTED = 40, (41, 64, 96, 128, 160, 192, 224, 256)
HIDDEN, BATCH = 32, 64
RATES, RATE = {"Elman": 0.005}, 0.01  # learning rates; the last that of all other cells
SOLVED = 0.01  # error rate on test sequences


def parity(rng: np.random.Generator, batch: int, length: int) -> Batch:
    """Draw random bits, one-hot, with class 1 for each sequence that has an odd number of ones."""
    bits = rng.integers(0, 2, (length, batch))
    return Batch(np.eye(2, dtype=np.float32)[bits], bits.sum(axis=0) % 2)


class Curriculum:
    """The lengths to train on: from 1 to a longest, which grows.

    It begins with 3, and grows by a third whenever it is mastered.

    Parameters
    ----------
    model : Reader
        What is trained.
    training, validation : numpy Generator
        What the bits are drawn from.
    """

    def __init__(
        self, model: Reader, training: np.random.Generator, validation: np.random.Generator
    ) -> None:
        self.model, self.training, self.validation = model, training, validation
        self.longest = 3
        self.masters = 0

    def draw(self) -> Batch:
        """Draw a batch of one length."""
        return parity(self.training, BATCH, int(self.training.integers(1, self.longest + 1)))

    def validate(self) -> float:
        """Return the error rate on lengths up to `LONGEST`.

        It is 1 as long as training has not come to them. An error rate of 0 counts only the second
        time.
        """
        if self.longest < LONGEST:
            if error_rate(self.model, [parity(self.validation, 128, self.longest)]) < 0.02:
                self.longest = min(LONGEST, self.longest + max(1, self.longest // 3))
            return 1.0
        error = error_rate(
            self.model,
            [parity(self.validation, 128, length) for length in range(4, LONGEST + 1, 4)],
        )
        self.masters = self.masters + 1 if error == 0 else 0
        return error if self.masters >= 2 else max(error, 0.001)


def _train(cell: str) -> Callable[[Run], Result]:
    """Return the run of an arm: a cell is trained on short sequences and tested on long ones."""

    def run(run: Run) -> Result:
        weights, training, validation, test = streams(run.seed)
        model = Reader(cell, 2, HIDDEN, 2, rng=weights)
        course = Curriculum(model, training, validation)
        optimizer = Adam(model.parameters(), lr=RATES.get(cell, RATE))
        done = fit(run, model, optimizer, course.draw, course.validate, 0.0, every=25, unit="error")
        score = error_rate(model, [parity(test, 256, length) for length in TESTED])
        return done.result(
            score,
            score < SOLVED,
            "" if course.longest == LONGEST else f"training came to length {course.longest}",
        )

    return run


def _arms(cell: str | None) -> Sequence[Arm]:
    """Return the arms: guessing and the cells."""
    cells = [cell] if cell else ["Elman", "LSTM"]
    return [
        Arm("guess", lambda run: Result(0.5), "0.5", exact=True),
        *(
            Arm(c, _train(c), "about 0 at lengths 41 to 500" if c in ("Elman", "LSTM") else "")
            for c in cells
        ),
    ]


TASKS = [
    Task(
        name="parity",
        title=f"parity of up to {TESTED[-1]} bits, learnt from up to {LONGEST}",
        about=f"To say at the end of a sequence of bits whether the number of ones is odd. Training begins with lengths 1 to 3; whenever the longest "
        f"is mastered (an error rate below 2 % on validation data) the lengths grow by a third, up to {LONGEST}. Tested on {len(TESTED)} lengths from "
        f"{TESTED[0]} to {TESTED[-1]}, where the paper goes to 500. Solved: an error rate below {SOLVED:.0%}. {HIDDEN} units, Adam with rate {RATE:g} (Elman "
        f"{RATES['Elman']:g}), batches of {BATCH}, gradients clipped to norm 1.",
        source="G. Delétang et al., Neural Networks and the Chomsky Hierarchy, ICLR 2023, arXiv:2207.02098: recurrent networks and LSTMs generalise "
        "on parity where Transformers do not; trained on lengths up to 40, tested on 41 to 500.",
        metric=f"the error rate on {256 * len(TESTED):,} test sequences, longer than all that were trained on",
        arms=_arms,
        budget=60,
    )
]
