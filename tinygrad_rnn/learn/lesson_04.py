"""The exercises of lesson 4, through time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .exercise import Function, exercise, expect

_STEPS = (3, 2, 1, 0)


@exercise("three-steps", "dE/dw for 4 networks of one unit")
def three_steps(answer: Function) -> None:
    """Compare with the chain rule through three steps."""
    for w, u, x, target in (
        (0.7, 0.9, [0.8, 1.0, -0.4], 0.5),
        (-1.2, 0.6, [0.3, -0.9, 0.5], -0.2),
        (1.5, -0.8, [1.0, 0.2, 0.7], 0.9),
        (0.4, 1.1, [-0.6, 0.4, 0.9], 0.0),
    ):
        s0 = math.tanh(u * x[0])
        s1 = math.tanh(u * x[1] + w * s0)
        s2 = math.tanh(u * x[2] + w * s1)
        error, outer, inner = s2 - target, 1 - s2 * s2, 1 - s1 * s1
        both = s1 + w * inner * s0
        expect(
            answer(w, u, x, target),
            error * outer * both,
            f"w = {w}, u = {u}, x = {x}, target = {target}",
            (
                error * outer * s1,
                "This takes s_1 as a constant. But w stands in s_1 too: w s_1 is a product, and its "
                "derivative by w is s_1 + w ds_1/dw.",
            ),
            (
                error * outer * w * inner * s0,
                "This is the way through s_1 alone. w also stands beside s_1 in step 2: the product "
                "w s_1 has the derivative s_1 + w ds_1/dw.",
            ),
            (
                error * outer * (s1 + inner * s0),
                "On its way from s_2 to s_1 the derivative passes the weight: ds_1/dw is multiplied "
                "by w.",
            ),
            (
                error * both,
                "The outermost tanh is missing: s_2 is a tanh, with the derivative 1 - s_2².",
            ),
            (error * outer * (s1 + w * s0), "s_1 is a tanh too: ds_1/dw is (1 - s_1²) s_0."),
            (
                outer * both,
                "This is the derivative of s_2. E = (s_2 - target)² / 2 comes after it.",
            ),
            (
                -error * outer * both,
                "The sign is wrong: the derivative of (s_2 - target)² / 2 by s_2 is s_2 - target.",
            ),
            (
                error * outer * (x[2] + w * inner * (x[1] + w * (1 - s0 * s0) * x[0])),
                "This is the derivative by u. The one by w is asked for.",
            ),
            (
                2 * error * outer * both,
                "Twice too large: the 2 of the square and the 1/2 before it cancel.",
            ),
            hint="Go from outside: E by s_2, s_2 by the sum inside its tanh, and that sum by w, where "
            "w s_1 gives two terms.",
        )


def _terms(s: dict[int, Any], W: Any, g: Any, mistake: str = "") -> dict[int, Any]:
    """Return the terms of dE_3/dW, with a mistake in it if one is named."""
    found = {}
    for k in _STEPS:
        slope = 1 - s[k - 1 if mistake == "slope of the state before" else k] ** 2
        inside = g if mistake == "no slope" else g * slope
        before = s[k] if mistake == "this state" else s[k - 1]
        term = np.outer(before, inside)
        found[k] = term.T if mistake == "transposed" else term
        if mistake == "slope left behind":
            g = g @ W.T
        elif mistake == "slope last":
            g = (g @ W.T) * slope
        elif mistake == "no weight":
            g = inside
        elif mistake != "not carried":
            g = inside @ (W if mistake == "W" else W.T)
    return found


_MISTAKES = (
    (
        "not carried",
        "Every term has the gradient that arrives at s_3. After each term carry g back one "
        "step, from s_k to s_(k-1): g = g @ J_k.",
    ),
    (
        "slope left behind",
        "On the way back from s_k the gradient passes the tanh before it comes to W: J_k has "
        "the factor 1 - s_k² as well.",
    ),
    (
        "no slope",
        "The tanh is missing: what arrives at s_k is multiplied by 1 - s_k² before it is at "
        "the sum in which W stands.",
    ),
    (
        "W",
        "Carried back with W, not with its transpose. s_(k-1) @ W goes forward; the gradient "
        "goes back through W.T.",
    ),
    (
        "no weight",
        "The gradient was carried back through the tanh only. From the sum to s_(k-1) it passes "
        "the weight too: @ W.T.",
    ),
    (
        "slope last",
        "The two factors of J_k are the wrong way round: from s_k the gradient passes the tanh "
        "first, with 1 - s_k², and then W.T.",
    ),
    (
        "slope of the state before",
        "The slope of step k is that of its own tanh, which gave s_k: 1 - s[k] ** 2.",
    ),
    (
        "transposed",
        "Each term is transposed: W[i, j] leads from element i of s_(k-1) to element j of "
        "s_k, so the rows belong to s_(k-1).",
    ),
    ("this state", "W is multiplied by the state before: the term of step k has s_(k-1), not s_k."),
)


@exercise(
    "four-terms", "the terms of 3 networks with 2, 3 and 4 units, and that they are {k: matrix}"
)
def four_terms(answer: Function) -> None:
    """Compare with the terms, and with those of typical mistakes."""
    rng = np.random.default_rng(4)
    for n in (2, 3, 4):
        W = rng.normal(size=(n, n))
        g = rng.normal(size=n)
        s = {-1: np.zeros(n)} | {k: np.tanh(rng.normal(size=n)) for k in reversed(_STEPS)}
        right = _terms(s, W, g)
        found = answer(dict(s), W.copy(), g.copy())
        expect(
            found,
            right,
            f"a state of {n} numbers",
            *((_terms(s, W, g, mistake), hint) for mistake, hint in _MISTAKES),
            (
                lambda found: isinstance(found, dict) and found.keys() != set(_STEPS),
                "The dict has to have an entry for each of k = 3, 2, 1, 0.",
            ),
            (
                lambda found: (
                    isinstance(found, dict) and any(np.ndim(term) != 2 for term in found.values())
                ),
                "Each term is a matrix with a row for each element of s_(k-1), and a column for each of "
                "s_k: np.outer(s[k - 1], ...).",
            ),
            (sum(right.values()), "This is their sum. Return the four terms, as {k: term}."),
            (list(right.values()), "The terms are right; return them as a dict {k: term}."),
            hint="For each k: the row g * (1 - s[k]²), its outer product with s[k - 1], and then "
            "that row @ W.T as the new g.",
        )
