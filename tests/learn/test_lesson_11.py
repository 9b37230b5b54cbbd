from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg

from .mistakes import Mistake

NUMBERS = {"products forward": 2, "kept": 3, "products backward": 1, "products sunk": 2}


def right(u, h, c):
    u = tg.sigmoid(u)
    return u * h + (1 - u) * tg.tanh(c)


def cell(
    state,
    before=lambda h: h,
    result=lambda new, h: (new, new),
    bias=lambda b: b,
    weight=lambda U: U,
):
    """A class of cells whose new state is `state(u, h, c)`."""

    class Mixer(tg.Cell):
        def __init__(self, input_size, hidden_size):
            rng = np.random.default_rng(0)
            self.hidden_size = hidden_size
            self.W = tg.Parameter(tg.init.xavier_uniform((input_size, 2 * hidden_size), rng=rng))
            self.U = tg.Parameter(tg.init.orthogonal((hidden_size, 2 * hidden_size), rng=rng))
            self.b = tg.Parameter(np.zeros(2 * hidden_size, np.float32))

        def forward(self, x, h):
            h = before(h)
            u, c = tg.split(x @ self.W + h @ weight(self.U) + bias(self.b), 2, axis=-1)
            return result(state(u, h, c), h)

    return Mixer  # fmt: skip


def mixer(hint, *given, **options):
    return Mistake("a-cell-of-your-own", hint, cell(*given, **options))


MISTAKES = [
    mixer("The state is unchanged", lambda u, h, c: h),
    mixer("wrong way round", lambda u, h, c: right(-u, h, c)),
    mixer("The candidate goes through tanh", lambda u, h, c: tg.sigmoid(u) * h + (1 - tg.sigmoid(u)) * c),
    mixer("The gate goes through the sigmoid", lambda u, h, c: u * h + (1 - u) * tg.tanh(c)),
    mixer("weighted by 1 - u", lambda u, h, c: tg.sigmoid(u) * h + tg.tanh(c)),
    mixer("of the old state, is missing", lambda u, h, c: (1 - tg.sigmoid(u)) * tg.tanh(c)),
    mixer("The first half is the gate", lambda u, h, c: right(c, h, u)),
    mixer("The bias b is missing", right, bias=lambda b: 0.0),
    mixer("the output, and the new state", right, result=lambda new, h: new),
    mixer("the output, and the new state", right, result=lambda new, h: None),
    mixer("1 - u is made of the sum", lambda u, h, c: tg.sigmoid(u) * h + (1 - u) * tg.tanh(c)),
    mixer("u * h is made of the sum", lambda u, h, c: u * h + (1 - tg.sigmoid(u)) * tg.tanh(c)),
    mixer("The gate goes through the sigmoid", lambda u, h, c: tg.tanh(u) * h + (1 - tg.tanh(u)) * tg.tanh(c)),
    mixer("The output is the new state", lambda u, h, c: tg.tanh(c)),
    Mistake("a-cell-of-your-own", "Hand over the class", cell(right)(3, 4)),
    mixer("is the old one", right, result=lambda new, h: (new, h)),
    mixer("something is cut", right, before=lambda h: h.detach()),
    mixer("taken out of the tape", right, weight=lambda U: U.detach()),
    Mistake("choose-without-if", "one decision for the whole array", lambda u, h, c: tg.tanh(c) if u.mean() > 0 else h),
    Mistake("choose-without-if", "one decision for the whole array", lambda u, h, c: tg.tanh(c) if u > 0 else h),
    Mistake("choose-without-if", "wrong way round", lambda u, h, c: tg.where(u > 0, h, tg.tanh(c))),
    Mistake("choose-without-if", "is tanh(c), not c", lambda u, h, c: tg.where(u > 0, c, h)),
    Mistake("choose-without-if", "there are zeros", lambda u, h, c: tg.where(u > 0, tg.tanh(c), 0.0)),
    Mistake("choose-without-if", "asks about u", lambda u, h, c: tg.where(h > 0, tg.tanh(c), h)),
    Mistake("choose-without-if", "> and not >=", lambda u, h, c: tg.where(u >= 0, tg.tanh(c), h)),
    Mistake("choose-without-if", "decides for all elements", lambda u, h, c: tg.where(u.mean() > 0, tg.tanh(c), h)),
    Mistake("choose-without-if", "One of them is to be chosen", lambda u, h, c: h + tg.sigmoid(u) * (tg.tanh(c) - h)),
    Mistake("choose-without-if", "something is cut", lambda u, h, c: tg.where(u > 0, tg.tanh(c), h.detach())),
    Mistake("read-the-program", "made by two products", {**NUMBERS, "products forward": 1}),
    Mistake("read-the-program", "states are kept too", {**NUMBERS, "kept": 2}),
    Mistake("read-the-program", "is the sum of the others", {**NUMBERS, "kept": 4}),
    Mistake("read-the-program", "not made in each step", {**NUMBERS, "products backward": 3}),
    Mistake("read-the-program", "it is no product", {**NUMBERS, "products sunk": 3}),
    Mistake("read-the-program", "Count the calls", {"kept": 3}),
    Mistake("read-the-program", "Hand over the dict", 2),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
