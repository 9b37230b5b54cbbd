from __future__ import annotations

import numpy as np
import pytest

from .mistakes import Mistake


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def step(order="ifgo", gates=sigmoid, value=np.tanh, memory=None, output=None):
    """Return an answer that differs from the right one in what is given."""

    def answer(sums, old):
        z = dict(zip(order, np.split(sums, 4, axis=-1), strict=True))
        i, f, g = gates(z["i"]), gates(z["f"]), value(z["g"])
        c = memory(i, f, g, old) if memory else f * old + i * g
        return output(sigmoid(z["o"]), z["o"], c, old) if output else sigmoid(z["o"]) * np.tanh(
            c
        ), c

    return answer


MISTAKES = [
    Mistake("lstm-step", "Return two arrays", lambda sums, c: step()(sums, c)[0]),
    Mistake("lstm-step", "in the other order", lambda sums, c: step()(sums, c)[::-1]),
    Mistake("lstm-step", "it goes through tanh", step(output=lambda o, zo, c, old: o * c)),
    Mistake("lstm-step", "no effect in your step", step(output=lambda o, zo, c, old: np.tanh(c))),
    Mistake(
        "lstm-step", "yours of the old one", step(output=lambda o, zo, c, old: o * np.tanh(old))
    ),
    Mistake(
        "lstm-step", "is the sigmoid of its sum", step(output=lambda o, zo, c, old: zo * np.tanh(c))
    ),
    Mistake("lstm-step", "It is no gate", step(value=sigmoid)),
    Mistake("lstm-step", "is the tanh of its sum", step(value=lambda z: z)),
    Mistake("lstm-step", "changed places", step(order="figo")),
    Mistake("lstm-step", "the other way round", step(order="ifog")),
    Mistake("lstm-step", "has to multiply it", step(memory=lambda i, f, g, old: old + i * g)),
    Mistake("lstm-step", "f * c is missing", step(memory=lambda i, f, g, old: i * g)),
    Mistake("lstm-step", "i * g is added", step(memory=lambda i, f, g, old: f * old + g)),
    Mistake("lstm-step", "so that they are between 0 and 1", step(gates=lambda z: z)),
    Mistake("lstm-step", "not 1 - i", step(memory=lambda i, f, g, old: (1 - i) * old + i * g)),
    Mistake("lstm-step", "not 1 - f", step(memory=lambda i, f, g, old: f * old + (1 - f) * g)),
    Mistake("lstm-step", "g is a tanh", step(order="ogif")),
    Mistake("forget-bias", "the sigmoid this large", lambda steps: 0.5 ** (1 / steps)),
    Mistake("forget-bias", "What undoes the sigmoid", lambda steps: np.log(0.5) / steps),
    Mistake("forget-bias", "The sign is the other one", lambda steps: np.log(2 ** (1 / steps) - 1)),
    Mistake("forget-bias", "about 1/e", lambda steps: np.log(steps)),
    Mistake("forget-bias", "by the same factor", lambda steps: np.log(2 * steps - 1)),
    Mistake("forget-bias", "has to be 1/2", lambda steps: np.log(0.5**steps / (1 - 0.5**steps))),
    Mistake("forget-bias", "not np.log2", lambda steps: -np.log2(2 ** (1 / steps) - 1)),
    Mistake("forget-bias", "First the gate", lambda steps: 0.0),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
