"""The exercises of lesson 1: one expression, all its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .exercise import Function, Wrong, exercise, expect

CURVES: list[tuple[str, Function, Function]] = [
    ("x ** 3", lambda x: x**3, lambda x: 3 * x * x),
    ("sin(x)", math.sin, math.cos),
    ("exp(x)", math.exp, math.exp),
]


@exercise("slope", "3 curves at 3 points, to six digits")
def slope(slope: Function) -> None:
    for name, f, derivative in CURVES:
        for x in (0.5, -1.0, 2.0):
            right = derivative(x)

            def times(factor: float, right: float = right) -> Function:
                return lambda found: abs(found / right - factor) < 1e-2

            expect(
                slope(f, x),
                right,
                f"{name} at x = {x:g}",
                (lambda found: abs(found) < 1e-3, "Divide by how far x was moved. (If you do: a step as small as 1e-15 is lost in the rounding of x + h.)"),
                (times(2.0), "From x - h to x + h it is two steps of h."),
                (times(0.5), "From x to x + h it is one step of h."),
                (times(-1.0), "The sign is the other way round: f(x + h) - f(x - h)."),
                (times(1.0), "Nearly. Take f(x + h) - f(x - h), and an h of about 1e-5: the error falls with its square."),
                near=1e-6,
            )  # fmt: skip


def _boxes(
    found: Any,
    right: dict[str, float],
    hints: dict[tuple[str, float], str],
    general: dict[str, str],
) -> None:
    """Raise `Wrong` at the first box with a wrong number, from the end of the expression.

    Parameters
    ----------
    found : dict
        The reader's numbers.
    right : dict
        The right ones, in the order in which one finds them.
    hints : dict
        For a box and a wrong number, the hint.
    general : dict
        For a box, the hint for other wrong numbers.
    """
    if not isinstance(found, Mapping):
        raise Wrong(f"found a {type(found).__name__}.", "Hand over the dict from names to numbers.")
    for name, number in right.items():
        case = f"the gradient of {name}"
        if found.get(name) is None:
            raise Wrong(f"{case} is not filled in.", general[name])
        known = [(n, hint) for (box, n), hint in hints.items() if box == name]
        expect(found[name], number, case, *known, hint=general[name])


_OTHER = "In a product each factor gets what arrives times the other factor."
_SUM = "A sum hands on what arrives, unchanged."


@exercise("fill-in-the-boxes", "7 gradients")
def fill_in_the_boxes(gradients: Any) -> None:
    _boxes(
        gradients,
        {"L": 1.0, "f": 4.0, "e": -2.0, "c": -2.0, "d": -2.0, "b": -4.0, "a": 6.0},
        {
            ("L", -8.0): "That is the value of L. L moves as much as L does.",
            ("f", -2.0): "That is f itself. " + _OTHER,
            ("e", 4.0): "That is e itself. " + _OTHER,
            ("c", 1.0): "1 is what a sum does by itself; what arrives at e goes through it.",
            ("d", 1.0): "1 is what a sum does by itself; what arrives at e goes through it.",
            ("b", 2.0): "2 is how d moves with b. Multiply by what arrives at d.",
            ("b", 6.0): "That is what a gets: b gets what arrives times a.",
            ("a", -3.0): "-3 is how d moves with a. Multiply by what arrives at d.",
            ("a", -4.0): "That is what b gets: a gets what arrives times b.",
        },
        {"L": "L moves as much as L does.", "f": _OTHER, "e": _OTHER, "c": _SUM, "d": _SUM, "b": _OTHER, "a": _OTHER},
    )  # fmt: skip


@exercise("two-ways", "5 gradients, of which two arrive in two ways")
def two_ways(gradients: Any) -> None:
    _boxes(
        gradients,
        {"L": 1.0, "r": -8.0, "q": -8.0, "b": -16.0, "a": 16.0},
        {
            ("L", 16.0): "That is the value of L. L moves as much as L does.",
            ("r", -4.0): "That is one of two ways: r is the first factor, and the second as well.",
            ("r", 16.0): "What arrives in two ways is added, not multiplied.",
            ("q", -4.0): _SUM,
            ("b", 2.0): "2 is how q moves with b. Multiply by what arrives at q.",
            ("a", 24.0): "That is the way through q. a is also added to q, directly.",
            ("a", -8.0): "That is the direct way. a also makes q.",
            ("a", -192.0): "What arrives in two ways is added, not multiplied.",
        },
        {
            "L": "L moves as much as L does.",
            "r": "r is both factors of L: add what it gets as the first and as the second.",
            "q": _SUM,
            "b": _OTHER,
            "a": "Add what comes through q, and what comes directly from r.",
        },
    )


@exercise("neuron", "y and four gradients, at 4 points")
def neuron(neuron: Function) -> None:
    for w1, x1, w2, x2, b in ((0.5, 1.0, -0.3, 2.0, 0.4), (1.0, -2.0, 0.7, 0.4, -0.5), (0.2, 3.0, 0.9, -1.0, 0.0), (-1.5, 0.3, 0.8, 0.6, 0.2)):  # fmt: skip
        s = w1 * x1 + w2 * x2 + b
        y = math.tanh(s)
        ds = 1 - y * y

        def answer(
            ds: float, y: float = y, by: tuple[float, ...] = (x1, x2, 1.0, w1)
        ) -> list[float]:
            return [y, *(ds * factor for factor in by)]

        expect(
            neuron(w1, x1, w2, x2, b),
            answer(ds),
            f"w1 = {w1}, x1 = {x1}, w2 = {w2}, x2 = {x2}, b = {b}",
            ([y, 0.0, 0.0, 0.0, 0.0], "y is right. What arrives at the sum is 1 - y * y; where does it go on to?"),
            (answer(1.0), "The sum is differentiated; the tanh is not. What arrives at the sum is 1 - y * y."),
            (answer(1 - y), "The slope of tanh is 1 - y * y: the square is missing."),
            (answer(1 - s * s), "1 - y * y: the y that tanh gave, and not what went into it."),
            (answer(y), "What arrives at the sum is the slope of tanh, 1 - y * y, and not y."),
            (answer(ds, by=(w1, w2, 1.0, x1)), "The factors are the wrong way round: w1 gets what arrives times x1, and x1 times w1."),
            (answer(ds, by=(x1, x2, b, w1)), "b is added, so it gets what arrives, unchanged."),
            (answer(ds, by=(x1, x2, 1.0, w1 + w2)), "x1 meets w1 only."),
            (lambda found: not isinstance(found, (tuple, list)) or len(found) != 5, "Return five numbers: y, and the gradients by w1, w2, b and x1."),
            hint="From ds = 1 - y * y, which arrives at the sum: w1 and w2 get it times x1 and x2, b gets it as it is, and x1 times w1.",
        )  # fmt: skip
