from __future__ import annotations

import math

import pytest

from .mistakes import Mistake

BOXES = {"L": 1.0, "f": 4.0, "e": -2.0, "c": -2.0, "d": -2.0, "b": -4.0, "a": 6.0}
WAYS = {"L": 1.0, "r": -8.0, "q": -8.0, "b": -16.0, "a": 16.0}


def difference(h, divided_by, back=True):
    def slope(f, x):
        return (f(x + h) - f(x - h if back else x)) / divided_by

    return slope


def neuron(slope=lambda s, y: 1 - y * y, by=lambda w1, x1, w2, x2, b: (x1, x2, 1.0, w1)):
    def function(w1, x1, w2, x2, b):
        s = w1 * x1 + w2 * x2 + b
        y = math.tanh(s)
        return [y, *(slope(s, y) * factor for factor in by(w1, x1, w2, x2, b))]

    return function


MISTAKES = [
    Mistake("slope", "Nearly", difference(1e-3, 1e-3, back=False)),
    Mistake("slope", "it is two steps", difference(1e-5, 1e-5)),
    Mistake("slope", "it is one step", difference(1e-5, 2e-5, back=False)),
    Mistake("slope", "The sign", difference(1e-5, -2e-5)),
    Mistake("slope", "Divide by how far", difference(1e-5, 1.0)),
    Mistake("slope", "lost in the rounding", difference(1e-17, 2e-17)),
    Mistake("slope", "Is there a return", lambda f, x: None),
    Mistake("fill-in-the-boxes", "as much as L does", {**BOXES, "L": -8.0}),
    Mistake("fill-in-the-boxes", "That is f itself", {**BOXES, "f": -2.0}),
    Mistake("fill-in-the-boxes", "That is e itself", {**BOXES, "e": 4.0}),
    Mistake("fill-in-the-boxes", "what arrives at e goes through", {**BOXES, "c": 1.0}),
    Mistake("fill-in-the-boxes", "Multiply by what arrives at d", {**BOXES, "a": -3.0}),
    Mistake("fill-in-the-boxes", "That is what b gets", {**BOXES, "a": -4.0, "b": -4.0}),
    Mistake("fill-in-the-boxes", "That is what a gets", {**BOXES, "b": 6.0}),
    Mistake("fill-in-the-boxes", "A sum hands on", {**BOXES, "d": None}),
    Mistake("fill-in-the-boxes", "Hand over the dict", [1.0, 4.0]),
    Mistake("two-ways", "one of two ways", {**WAYS, "r": -4.0}),
    Mistake("two-ways", "added, not multiplied", {**WAYS, "r": 16.0}),
    Mistake("two-ways", "the way through q", {**WAYS, "a": 24.0}),
    Mistake("two-ways", "a also makes q", {**WAYS, "a": -8.0}),
    Mistake("two-ways", "Add what comes through q", {**WAYS, "a": 3.0}),
    Mistake("neuron", "where does it go on", neuron(by=lambda *_: (0.0,) * 4)),
    Mistake("neuron", "the tanh is not", neuron(lambda s, y: 1.0)),
    Mistake("neuron", "the square is missing", neuron(lambda s, y: 1 - y)),
    Mistake("neuron", "not what went into it", neuron(lambda s, y: 1 - s * s)),
    Mistake("neuron", "and not y", neuron(lambda s, y: y)),
    Mistake(
        "neuron", "the wrong way round", neuron(by=lambda w1, x1, w2, x2, b: (w1, w2, 1.0, x1))
    ),
    Mistake("neuron", "b is added", neuron(by=lambda w1, x1, w2, x2, b: (x1, x2, b, w1))),
    Mistake("neuron", "meets w1 only", neuron(by=lambda w1, x1, w2, x2, b: (x1, x2, 1, w1 + w2))),
    Mistake("neuron", "b gets it as it is", neuron(by=lambda w1, x1, w2, x2, b: (x1, x2, 0.0, w1))),
    Mistake("neuron", "Return five numbers", lambda *numbers: 0.5),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
