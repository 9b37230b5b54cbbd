"""Handwritten digits as sequences of rows or of pixels.

They stand beside logistic regression on the whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...cells.classic import IRNN
from ...core.primitive import Array
from ...core.tape import no_grad
from ...module import Module
from ...nn.layers import Linear
from ...nn.losses import cross_entropy
from ...recurrent import unroll
from .epochs import Plan, run_epochs, shuffled
from .task import Arm, Result, Run, Task, make_cell, needed

__all__ = ["TASKS", "Classifier", "Images", "accuracy", "images", "sequences"]

CLASSES = 10
HELD_OUT = 360


class Images(NamedTuple):
    """Images, float32 of shape (n, 8, 8) from 0 to 1, and their digits, shape (n,).

    Attributes
    ----------
    training, training_digits : ndarray
        What is trained on.
    held_out, held_out_digits : ndarray
        What is held out.
    """

    training: Array
    training_digits: Array
    held_out: Array
    held_out_digits: Array


def images(seed: int) -> Images:
    """Return the 1,797 images of scikit-learn in random order; the first 360 are held out.

    Raises
    ------
    TaskError
        If scikit-learn is not installed.
    """
    data = _sklearn("sklearn.datasets").load_digits()
    order = np.random.default_rng([seed, 0]).permutation(len(data.target))
    pictures, digits = (data.images[order] / 16).astype(np.float32), data.target[order]
    return Images(pictures[HELD_OUT:], digits[HELD_OUT:], pictures[:HELD_OUT], digits[:HELD_OUT])


def _sklearn(name: str = "sklearn") -> Any:
    """Import scikit-learn, or a module of it."""
    return needed(name, "the digits come with scikit-learn", "tasks")


def sequences(pictures: Array, features: int) -> Array:
    """Return images (n, 8, 8) as sequences (64 / features, n, features).

    With 8 features they are the rows from the top, with 1 the pixels row by row.
    """
    return np.ascontiguousarray(pictures.reshape(len(pictures), -1, features).swapaxes(0, 1))


# --- the models -----------------------------------------------------------------------------------


class Classifier(Module):
    """A cell that reads a sequence, and a linear layer on its last output that tells the class."""

    def __init__(self, cell: Any, *, rng: Any = None) -> None:
        self.cell = cell
        self.output = Linear(cell.hidden_size, CLASSES, rng=rng)

    def forward(self, xs: Any) -> Any:
        """Return logits of shape (batch, 10) for sequences of shape (T, batch, features)."""
        ys, _ = unroll(self.cell, xs)
        return self.output(ys[-1])


def accuracy(logits: Array, digits: Array) -> float:
    """Return the share of rows whose largest logit is at the digit."""
    return float((logits.argmax(-1) == digits).mean())


def linear(data: Images) -> float:
    """Return the accuracy of logistic regression on all 64 pixels, with scikit-learn's defaults."""
    model = _sklearn("sklearn.linear_model").LogisticRegression(max_iter=1000)
    model.fit(data.training.reshape(-1, 64), data.training_digits)
    return float(model.score(data.held_out.reshape(-1, 64), data.held_out_digits))


def train(
    run: Run, features: int, plan: Plan, make: Callable[[int, int, np.random.Generator], Any]
) -> Result:
    """Train a cell, and compare it with logistic regression on the same images."""
    data = images(run.seed)
    rng = np.random.default_rng([run.seed, 1])
    model = Classifier(make(features, plan.hidden, rng), rng=rng)
    xs = sequences(data.training, features)

    def loss(chosen: Array) -> tuple[Any, int]:
        return cross_entropy(model(xs[:, chosen]), data.training_digits[chosen]), len(xs)

    used = run_epochs(
        run, model, plan, len(data.training), shuffled(len(data.training), plan, rng), loss
    )
    with no_grad():
        score = accuracy(model(sequences(data.held_out, features)).numpy(), data.held_out_digits)
    bar = linear(data)
    return Result(
        score, score > bar, *used, note=f"logistic regression on the same images: {bar:.4f}"
    )


# --- the tasks ------------------------------------------------------------------------------------


def _regression(run: Run) -> Result:
    """Run the arm of logistic regression."""
    data = images(run.seed)
    return Result(linear(data), None, len(data.training), 0, run.seconds)


def _arms(
    features: int, plan: Plan, irnn_plan: Plan, published: dict[str, str]
) -> Callable[[str | None], list[Arm]]:
    """Return the arms of a task: the cells and logistic regression."""

    def arms(cell: str | None) -> list[Arm]:
        name = cell or "LSTM"
        found = [
            Arm(
                name,
                lambda run: train(
                    run, features, plan, lambda f, h, rng: make_cell(name, f, h, rng=rng)
                ),
                published.get(name, ""),
            )
        ]
        if cell is None:
            found.append(
                Arm(
                    "IRNN",
                    lambda run: train(
                        run, features, irnn_plan, lambda f, h, rng: IRNN(f, h, rng=rng)
                    ),
                    published.get("IRNN", ""),
                )
            )
        return [*found, Arm("logistic regression", _regression)]

    return arms


ROWS, ROWS_IRNN = (
    Plan(hidden=128, batch=32, epochs=40, lr=1e-2),
    Plan(hidden=128, batch=32, epochs=80, lr=1e-3),
)
PIXELS, PIXELS_IRNN = (
    Plan(hidden=64, batch=32, epochs=40, lr=1e-2),
    Plan(hidden=128, batch=32, epochs=40, lr=3e-4),
)

_ABOUT = (
    "The 1,797 images of handwritten digits that scikit-learn contains, 8 by 8 pixels; 360 of them, drawn by the seed, are held out. "
    "Logistic regression sees all pixels at once; a run is called solved if the network does better on the same images."
)
_SOURCE = "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998"

TASKS = [
    Task(
        "digits-rows",
        "Handwritten digits, one row of pixels at a step",
        f"{_ABOUT} The network reads 8 rows of 8 pixels.",
        _SOURCE,
        "accuracy on 360 held-out images",
        _arms(8, ROWS, ROWS_IRNN, {}),
        budget=60.0,
        ready=_sklearn,
    ),
    Task(
        "digits-pixels",
        "Handwritten digits, one pixel at a step",
        f"{_ABOUT} The network reads 64 steps of one pixel. The published figures are for another data set, MNIST, with 784 steps.",
        f"{_SOURCE}; as a sequence of pixels after Q. V. Le, N. Jaitly and G. E. Hinton, 2015, arXiv:1504.00941",
        "accuracy on 360 held-out images",
        _arms(
            1,
            PIXELS,
            PIXELS_IRNN,
            {
                "LSTM": "MNIST: 0.872 (Bai, Kolter and Koltun 2018)",
                "GRU": "MNIST: 0.962 (Bai, Kolter and Koltun 2018)",
                "IRNN": "MNIST: 0.93 after 900 epochs (Keras example mnist_irnn)",
            },
        ),
        budget=120.0,
        ready=_sklearn,
    ),
]
