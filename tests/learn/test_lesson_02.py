from __future__ import annotations

import numpy as np
import pytest

from .mistakes import Mistake


def undo(g, shape):
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    axes = tuple(i for i, size in enumerate(shape) if size == 1)
    return g.sum(axis=axes, keepdims=True)


def by_hand(x, b, dy=lambda y: 2 * y / y.size, db=lambda dy: dy.sum(axis=0)):
    given = dy(x + b)
    return given, db(given)


MISTAKES = [
    Mistake("undo-broadcasting", "did not have all of these axes", lambda g, shape: g),
    Mistake(
        "undo-broadcasting",
        "do not take the mean",
        lambda g, shape: undo(g, shape) * np.prod(shape) / g.size,
    ),
    Mistake(
        "undo-broadcasting",
        "is spread too",
        lambda g, shape: g.sum(axis=tuple(range(g.ndim - len(shape)))),
    ),
    Mistake("undo-broadcasting", "whatever the shapes", lambda g, shape: g.sum(axis=0)),
    Mistake("undo-broadcasting", "keepdims=True", lambda g, shape: undo(g, shape).squeeze()),
    Mistake("undo-broadcasting", "Is there a return", lambda g, shape: None),
    Mistake("mean-of-squares", "1/n of what arrives", lambda x, b: by_hand(x, b, lambda y: 2 * y)),
    Mistake("mean-of-squares", "is 2 * y", lambda x, b: by_hand(x, b, lambda y: y / y.size)),
    Mistake(
        "mean-of-squares",
        "not by the number of rows",
        lambda x, b: by_hand(x, b, lambda y: 2 * y / len(y)),
    ),
    Mistake("mean-of-squares", "Begin at the end", lambda x, b: (x + b, x + b)),
    Mistake("mean-of-squares", "with undo", lambda x, b: by_hand(x, b, db=lambda dy: dy)),
    Mistake(
        "mean-of-squares",
        "sum over the rows",
        lambda x, b: by_hand(x, b, db=lambda dy: dy.mean(axis=0)),
    ),
    Mistake(
        "mean-of-squares",
        "which is axis 0",
        lambda x, b: by_hand(x, b, db=lambda dy: dy.sum(axis=1)),
    ),
    Mistake("mean-of-squares", "b its sum", lambda x, b: by_hand(x, b, lambda y: -y)),
    Mistake("mean-of-squares", "Return two arrays", lambda x, b: by_hand(x, b)[0]),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
