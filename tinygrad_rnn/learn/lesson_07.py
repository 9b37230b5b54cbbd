"""The exercises of lesson 7, vanishing and exploding."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.primitive import Array
from .exercise import Function, exercise, expect, shape_of

_STEPS = 5


def _lengths(W: Any, g: Any, how: str = "") -> list[float]:
    """Return the lengths of the gradient further and further back, with a mistake if one is named."""
    found = []
    for _ in range(_STEPS + 1):
        found.append(float(np.abs(g).sum() if how == "sum" else np.linalg.norm(g)))
        g = g @ W if how == "forward" else g * W if how == "each" else g * np.diag(W) if how == "elements" else g @ W.T  # fmt: skip
    return found


@exercise("how-large-further-back", f"3 matrices, {_STEPS} steps back")
def how_large_further_back(answer: Function) -> None:
    """Compare with the products."""
    rng = np.random.default_rng(7)
    for n in (2, 3, 4):
        W, g = rng.normal(size=(n, n)), rng.normal(size=n)
        expect(
            answer(W.copy(), g.copy(), _STEPS),
            _lengths(W, g),
            f"a matrix of {n} rows, {_STEPS} steps",
            *_mistaken_lengths(W, g),
            hint="Begin with g; again and again note its length, and then g = g @ W.T.",
        )


def _mistaken_lengths(W: Array, g: Array) -> list[tuple[Any, str]]:
    """Return what typical mistakes give, with their hints."""
    right, largest = _lengths(W, g), float(np.linalg.norm(W, 2))
    return [
        (
            _lengths(W, g, "forward"),
            "This is g @ W, the way of a state forward. The gradient goes back through W.T.",
        ),
        (right[1:], "The last state itself is missing: the first number is the length of g."),
        (
            right[:-1],
            "The last number is missing: steps + 1 numbers, g itself and each of the steps.",
        ),
        (right[::-1], "These are in the order of time. Begin with the last state."),
        (
            [right[0]] * (_STEPS + 1),
            "The length does not change: put the product back into g, as in g = g @ W.T.",
        ),
        (
            [right[0]] + [right[1]] * _STEPS,
            "Every step begins with the same g: put the product back into g, as in g = g @ W.T.",
        ),
        (
            lambda found: _one_number(found, right),
            "The list has one number only. Is the return inside of the loop?",
        ),
        (
            lambda found: (shape_of(found) or ())[1:] == g.shape,
            "These are the gradients. Their lengths are asked for: np.linalg.norm.",
        ),
        (
            [right[0] * largest**k for k in range(_STEPS + 1)],
            "This is the largest that it can be, by the largest singular value. Multiply g by the "
            "matrix, and take the length then.",
        ),
        (
            [right[0] * float(np.linalg.norm(W)) ** k for k in range(_STEPS + 1)],
            "Lengths of a matrix and of a row do not multiply to the length of the product. "
            "Multiply g by the matrix, and take the length then.",
        ),
        (
            _lengths(W, g, "elements"),
            "W acts as a matrix: g @ W.T and not a product of single elements.",
        ),
        (
            _lengths(W, g, "each"),
            "W acts as a matrix: g @ W.T and not a product of single elements.",
        ),
        (_lengths(W, g, "sum"), "The length is the root of the sum of squares: np.linalg.norm."),
        ([v**2 for v in right], "These are the squares of the lengths."),
        (right[-1], "This is the last of them. Return the list of all."),
    ]


def _one_number(found: Any, right: list[float]) -> bool:
    """Whether a list has the first or the second length alone."""
    return shape_of(found) == (1,) and bool(np.isclose(found[0], right[:2]).any())


@exercise("share-of-saturated", "outputs of 5 arrays, at both ends of the tanh")
def share_of_saturated(answer: Function) -> None:
    """Compare with the shares."""
    rng = np.random.default_rng(8)
    for scale, shape in (
        (1.0, (50,)),
        (3.0, (7, 9)),
        (6.0, (4, 5, 6)),
        (20.0, (100,)),
        (0.0, (8,)),
    ):
        s = np.tanh(scale * (rng.normal(size=shape) + 0.2))
        s.flat[:5] = 0.0  # so that no two mistakes give the same share
        if not scale:
            s[:] = np.tanh([1.5, -1.5, 2.0, 3.5, -3.5, 4.0, 4.5, 5.0])  # no slope here is large
        flat = 1 - s**2 < 0.01
        expect(
            answer(s.copy()),
            flat.mean(),
            f"an array of shape {shape}, outputs of a tanh",
            (
                (flat & (s > 0)).mean(),
                "A tanh has two flat ends: outputs near -1 are saturated as well.",
            ),
            (
                (1 - s < 0.01).mean(),
                "The slope is 1 - s², with a square. Without it outputs near -1 do not count.",
            ),
            ((1 - np.abs(s) < 0.01).mean(), "The slope is 1 - s², and not 1 - |s|."),
            (
                (1 - np.tanh(s) ** 2 < 0.01).mean(),
                "s is the output of the tanh already: the slope is 1 - s².",
            ),
            ((np.abs(s) < 0.01).mean(), "It is the slope that is small there, and not the output."),
            (
                (1 - s**2 < 0.01 * (1 - s**2).max()).mean(),
                "The largest slope is that of the tanh, 1, and not the largest in this array.",
            ),
            ((1 - s**2 < 0.1).mean(), "1 % is 0.01, and not 0.1."),
            ((1 - s**2).mean(), "This is the mean slope. Which elements have a slope below 0.01?"),
            (
                flat.sum() / len(s),
                "len(s) counts rows. An array has s.size elements; or take np.mean.",
            ),
            ((~flat).mean(), "This is the share of units that are not saturated."),
            (flat.sum(), "This is their number. Divide by how many elements there are."),
            (100 * flat.mean(), "A share is from 0 to 1, not from 0 to 100."),
            (flat, "This says of each element whether it is saturated. Take the mean."),
            hint="Which elements have a slope 1 - s² below 0.01? The mean of that is the share.",
        )
