"""The exercises of lesson 9: a step of an LSTM, and a forget bias for a range."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.primitive import Array
from .exercise import Function, exercise, expect


def _sigmoid(z: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-z))
    return found


@exercise("lstm-step", "output and memory at 3 sizes, from memories that are not zero")
def lstm_step(answer: Function) -> None:
    rng = np.random.default_rng(9)
    for batch, units in ((1, 1), (2, 3), (5, 2)):
        sums, old = rng.standard_normal((batch, 4 * units)), 2 * rng.standard_normal((batch, units))
        zi, zf, zg, zo = np.split(sums, 4, axis=-1)
        c = _sigmoid(zf) * old + _sigmoid(zi) * np.tanh(zg)
        expect(
            answer(sums.copy(), old.copy()),
            (_sigmoid(zo) * np.tanh(c), c),
            f"{batch} row{'s' if batch > 1 else ''}, {units} memory cell{'s' if units > 1 else ''}",
            *_mistaken_steps(sums, old),
            hint="c = f * c + i * g, then o * tanh(c); i, f and o are sigmoids of their sums, g is a tanh.",
        )


def _mistaken_steps(sums: Array, old: Array) -> list[tuple[Any, str]]:
    """Return what typical mistakes give, with their hints."""
    return [*_mistaken_outputs(sums, old), *_mistaken_memories(sums, old)]


def _step(i: Array, f: Array, g: Array, o: Array, old: Array) -> tuple[Array, Array]:
    """Return output and memory for gates and a new value."""
    c = f * old + i * g
    return o * np.tanh(c), c


def _mistaken_outputs(sums: Array, old: Array) -> list[tuple[Any, str]]:
    """Return mistakes in what is made of the right memory."""
    zi, zf, zg, zo = np.split(sums, 4, axis=-1)
    i, f, g, o = _sigmoid(zi), _sigmoid(zf), np.tanh(zg), _sigmoid(zo)
    right = _step(i, f, g, o, old)
    c = right[1]
    return [
        (
            lambda found: not isinstance(found, (tuple, list)) or len(found) != 2,
            "Return two arrays: the output, and the new memory.",
        ),
        (right[::-1], "Both are right, in the other order: the output first, then the memory."),
        ((o * c, c), "The memory is right. For the output it goes through tanh: o * tanh(c)."),
        (
            (np.tanh(c), c),
            "The memory is right. The output gate has no effect in your step: o * tanh(c).",
        ),
        (
            (o * np.tanh(old), c),
            "The memory is right. The output is made of the new memory, and yours of the old one.",
        ),
        ((zo * np.tanh(c), c), "The memory is right. The output gate is the sigmoid of its sum."),
    ]


def _mistaken_memories(sums: Array, old: Array) -> list[tuple[Any, str]]:
    """Return mistakes in the gates, and in the memory."""
    zi, zf, zg, zo = np.split(sums, 4, axis=-1)
    i, f, g, o = _sigmoid(zi), _sigmoid(zf), np.tanh(zg), _sigmoid(zo)
    return [
        (
            _step(i, f, _sigmoid(zg), o, old),
            "The new value g goes through tanh, so that it may be negative. It is no gate.",
        ),
        (_step(i, f, zg, o, old), "The new value g is the tanh of its sum."),
        (
            _step(f, i, g, o, old),
            "The gates i and f have changed places: f multiplies the old memory, i the new value.",
        ),
        (
            _step(i, f, np.tanh(zo), _sigmoid(zg), old),
            "The order of the sums is i, f, g, o; you have g and o the other way round.",
        ),
        (
            _step(i, np.ones_like(f), g, o, old),
            "The old memory is added as it is. The forget gate has to multiply it.",
        ),
        (_step(i, np.zeros_like(f), g, o, old), "The old memory has no effect: f * c is missing."),
        (_step(np.ones_like(i), f, g, o, old), "The input gate has no effect: i * g is added."),
        (
            _step(zi, zf, g, o, old),
            "The gates i and f are the sigmoids of their sums, so that they are between 0 and 1.",
        ),
        (_step(i, 1 - i, g, o, old), "The forget gate has a sum of its own; it is not 1 - i."),
        (_step(1 - f, f, g, o, old), "The input gate has a sum of its own; it is not 1 - f."),
    ]


@exercise("forget-bias", "half a memory after 1, 2, 5, 20, 100 and 1000 steps")
def forget_bias(answer: Function) -> None:
    for steps in (1, 2, 5, 20, 100, 1000):
        f = 0.5 ** (1 / steps)
        expect(
            answer(steps),
            np.log(f / (1 - f)),
            f"{steps} step{'s' if steps > 1 else ''}",
            (
                f,
                "That is what the gate has to be. The bias goes through the sigmoid: which one makes the sigmoid this large?",
            ),
            (
                np.log(0.5**steps / (1 - 0.5**steps)),
                "Your gate is 0.5 ** steps, which is what a gate of a half leaves. It is f ** steps that has to be 1/2.",
            ),
            (np.log2(f / (1 - f)), "The sigmoid is made of e: take np.log and not np.log2."),
            (np.log(f), "log undoes exp. What undoes the sigmoid is log(f / (1 - f))."),
            (
                -np.log(f / (1 - f)),
                "The sign is the other one: a gate that keeps more has a larger bias.",
            ),
            (
                np.log(steps),
                "The gate is steps / (steps + 1) then, and about 1/e of the memory is left, not a half. "
                "Begin with f ** steps = 1/2.",
            ),
            (
                np.log(2 * steps - 1),
                "A memory does not shrink by the same amount in each step, but by the same factor. Begin with f ** steps = 1/2.",
            ),
            hint="First the gate: f ** steps = 1/2. Then the bias of which it is the sigmoid: log(f / (1 - f)).",
        )
