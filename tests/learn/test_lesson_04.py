from __future__ import annotations

import math

import numpy as np
import pytest

from .mistakes import Mistake


def slope(error=1.0, outer=1.0, weight=1.0, inner=1.0, beside=1.0):
    """The right slope; a factor of None is left out, and `beside` of 0 leaves out a term."""

    def answer(w, u, x, target):
        s0 = math.tanh(u * x[0])
        s1 = math.tanh(u * x[1] + w * s0)
        s2 = math.tanh(u * x[2] + w * s1)
        through = (w if weight else 1) * (1 - s1**2 if inner else 1) * s0
        if weight == 0:
            through = 0
        by_w = (1 - s2**2 if outer else 1) * (beside * s1 + through)
        return by_w * (error * (s2 - target) if error else 1)

    return answer


def by_u(w, u, x, target):
    s0 = math.tanh(u * x[0])
    s1 = math.tanh(u * x[1] + w * s0)
    s2 = math.tanh(u * x[2] + w * s1)
    s1_by_u = (1 - s1**2) * (x[1] + w * (1 - s0**2) * x[0])
    return (s2 - target) * (1 - s2**2) * (x[2] + w * s1_by_u)


def terms(change):
    """The four terms, where `change` makes what is added and what is carried back of each step."""

    def answer(s, W, g):
        found = {}
        for k in (3, 2, 1, 0):
            found[k], g = change(s[k - 1], s[k], W, g)
        return found

    return answer


def right(before, s, W, g):
    inside = g * (1 - s**2)
    return np.outer(before, inside), inside @ W.T


MISTAKES = [
    Mistake("three-steps", "takes s_1 as a constant", slope(weight=0)),
    Mistake("three-steps", "the way through s_1 alone", slope(beside=0.0)),
    Mistake("three-steps", "is multiplied by w", slope(weight=None)),
    Mistake("three-steps", "The outermost tanh is missing", slope(outer=None)),
    Mistake("three-steps", "s_1 is a tanh too", slope(inner=None)),
    Mistake("three-steps", "the derivative of s_2", slope(error=None)),
    Mistake("three-steps", "The sign is wrong", slope(error=-1.0)),
    Mistake("three-steps", "Twice too large", slope(error=2.0)),
    Mistake("three-steps", "The one by w is asked for", by_u),
    Mistake("three-steps", "Go from outside", slope(error=3.0)),
    Mistake("three-steps", "Is there a return", lambda w, u, x, target: None),
    Mistake("four-terms", "carry g back", terms(lambda b, s, W, g: (right(b, s, W, g)[0], g))),
    Mistake(
        "four-terms",
        "the gradient passes the tanh before it comes to W",
        terms(lambda b, s, W, g: (right(b, s, W, g)[0], g @ W.T)),
    ),
    Mistake(
        "four-terms", "The tanh is missing", terms(lambda b, s, W, g: (np.outer(b, g), g @ W.T))
    ),
    Mistake(
        "four-terms",
        "not with its transpose",
        terms(lambda b, s, W, g: (right(b, s, W, g)[0], g * (1 - s**2) @ W)),
    ),
    Mistake(
        "four-terms",
        "Each term is transposed",
        terms(lambda b, s, W, g: (right(b, s, W, g)[0].T, right(b, s, W, g)[1])),
    ),
    Mistake(
        "four-terms",
        "has s_(k-1), not s_k",
        terms(lambda b, s, W, g: (right(s, s, W, g)[0], right(b, s, W, g)[1])),
    ),
    Mistake(
        "four-terms", "an entry for each of k", lambda s, W, g: {3: right(s[2], s[3], W, g)[0]}
    ),
    Mistake(
        "four-terms", "Return the four terms", lambda s, W, g: sum(terms(right)(s, W, g).values())
    ),
    Mistake(
        "four-terms", "as a dict {k: term}", lambda s, W, g: list(terms(right)(s, W, g).values())
    ),
    Mistake(
        "four-terms",
        "passes the weight too",
        terms(lambda b, s, W, g: (right(b, s, W, g)[0], g * (1 - s**2))),
    ),
    Mistake(
        "four-terms",
        "the tanh first",
        terms(lambda b, s, W, g: (right(b, s, W, g)[0], (g @ W.T) * (1 - s**2))),
    ),
    Mistake(
        "four-terms",
        "which gave s_k",
        terms(lambda b, s, W, g: (np.outer(b, g * (1 - b**2)), g * (1 - b**2) @ W.T)),
    ),
    Mistake(
        "four-terms",
        "Each term is a matrix",
        terms(lambda b, s, W, g: (b * right(b, s, W, g)[1], right(b, s, W, g)[1])),
    ),
    Mistake("four-terms", "For each k", terms(lambda b, s, W, g: (np.outer(b, s), g))),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
