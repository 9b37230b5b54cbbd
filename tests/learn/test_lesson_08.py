from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg

from .mistakes import Mistake


def length(arrays):
    return np.sqrt(sum((g * g).sum() for g in arrays))


def scaled(factor):
    """Return an answer that scales by a function of the gradients and the limit."""
    return lambda gs, limit: [factor(gs, limit) * g for g in gs]


def unit_rows(size, rng):
    drawn = rng.standard_normal((size, size))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


MISTAKES = [
    Mistake("clip", "yours is made longer", scaled(lambda gs, limit: limit / length(gs))),
    Mistake("clip", "Nothing was scaled", lambda gs, limit: gs),
    Mistake("clip", "another direction", lambda gs, limit: [np.clip(g, -limit, limit) for g in gs]),
    Mistake(
        "clip",
        "each array by itself",
        lambda gs, limit: [min(1.0, limit / length([g])) * g for g in gs],
    ),
    Mistake(
        "clip", "the root is missing", scaled(lambda gs, limit: min(1.0, limit / length(gs) ** 2))
    ),
    Mistake(
        "clip",
        "do not add up",
        scaled(lambda gs, limit: min(1.0, limit / sum(length([g]) for g in gs))),
    ),
    Mistake("clip", "one length", scaled(lambda gs, limit: 0.5)),
    Mistake("clip", "whatever the limit", scaled(lambda gs, limit: 1 / length(gs) if length(gs) > limit else 1)),
    Mistake("clip", "the other way round", scaled(lambda gs, limit: length(gs) / limit)),
    Mistake("clip", "one long array", lambda gs, limit: np.concatenate([np.ravel(g) for g in gs])),
    Mistake("orthogonal-start", "perpendicular. Try", lambda size, rng: np.linalg.eig(rng.standard_normal((size, size)))[1]),
    Mistake("orthogonal-start", "and not from np.random", lambda size, rng: np.linalg.qr(np.random.default_rng().standard_normal((size, size)))[0]),
    Mistake("orthogonal-start", "Is there a return", lambda size, rng: None),
    Mistake("orthogonal-start", "not random", lambda size, rng: np.eye(size)),
    Mistake(
        "orthogonal-start", "Try np.linalg.qr", lambda size, rng: rng.standard_normal((size, size))
    ),
    Mistake(
        "orthogonal-start",
        "On average lengths stay",
        lambda size, rng: rng.standard_normal((size, size)) / size**0.5,
    ),
    Mistake("orthogonal-start", "not perpendicular", unit_rows),
    Mistake(
        "orthogonal-start",
        "R is the triangle",
        lambda size, rng: np.linalg.qr(rng.standard_normal((size, size)))[1],
    ),
    Mistake(
        "orthogonal-start",
        "Return the first",
        lambda size, rng: np.linalg.qr(rng.standard_normal((size, size))),
    ),
]  # fmt: skip


def in_place(gradients, limit):
    factor = min(1.0, limit / length(gradients))
    for g in gradients:
        g *= factor
    return gradients


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)


@pytest.mark.parametrize(
    "exercise, answer",
    [("clip", in_place), ("orthogonal-start", lambda size, rng: rng.permutation(np.eye(size)))],
)
def test_other_right_answers(exercise, answer) -> None:
    assert tg.learn.check(exercise, answer)
