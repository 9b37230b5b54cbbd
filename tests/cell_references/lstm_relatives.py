"""Cells with the two states of an LSTM, or with one that is left alone or conserved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .numbers import dot, relu, sigma
from .torch_layout import gru


def gates(p: Any, x: Any, h: Any, unit: int, blocks: int) -> list[float]:
    """The sums W x + U h + b of one unit in each block."""
    rows = range(unit, blocks * len(h), len(h))
    return [dot(p["W"][row], x) + dot(p["U"][row], h) + p["b"][row] for row in rows]


def searched(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(h)
    new_h, new_c = [], []
    for j in range(n):
        a = [0.0, *(dot(p["W"][block * n + j], x) for block in range(8))]  # counted from 1
        b = [0.0, *(dot(p["U"][block * n + j], h) + p["b"][block * n + j] for block in range(8))]
        first = math.tanh(c[j] + math.tanh(sigma(a[1] + b[1]) * relu(a[2] + b[2])))
        second = math.tanh(sigma(a[3] + b[3]) + relu(a[4] * b[4]))
        third = math.tanh(math.tanh(a[5] + b[5]) * sigma(a[6] + b[6]))
        fourth = sigma(math.tanh(a[7] + b[7]) + sigma(a[8] + b[8]))
        new_c.append(first * second)
        new_h.append(math.tanh(new_c[j] * math.tanh(third + fourth)))
    return new_h, [new_h, new_c]


def ordered_neurons(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(h)
    masters = n // cell.chunk_size

    def up_to(first: int, k: int) -> float:
        """The share of exp in elements 0 to k of the block that starts at row `first`."""
        weights = [
            math.exp(dot(p["V"][row], x) + dot(p["R"][row], h) + p["d"][row])
            for row in range(first, first + masters)
        ]
        return sum(weights[: k + 1]) / sum(weights)

    new_h, new_c = [], []
    for unit in range(n):
        f, i, o, g = gates(p, x, h, unit, 4)
        keep, write = up_to(0, unit // cell.chunk_size), 1 - up_to(masters, unit // cell.chunk_size)
        both = keep * write
        new_c.append(
            (sigma(f) * both + keep - both) * c[unit]
            + (sigma(i) * both + write - both) * math.tanh(g)
        )
        new_h.append(sigma(o) * math.tanh(new_c[unit]))
    return new_h, [new_h, new_c]


def residual(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(h)
    new_c, opened = [], []
    for j in range(n):
        i, f, g, o = gates(p, x, h, j, 4)
        new_c.append(
            sigma(f + p["p"][n + j] * c[j]) * c[j] + sigma(i + p["p"][j] * c[j]) * math.tanh(g)
        )
        opened.append(sigma(o + p["p"][2 * n + j] * new_c[j]))
    content = [math.tanh(value) for value in new_c]
    new_h = []
    for j in range(n):
        shortcut = x[j] if len(x) == n else dot(p["W_h"][j], x)
        new_h.append(opened[j] * (dot(p["W_p"][j], content) + shortcut))
    return new_h, [new_h, new_c]


def convolutional(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n, height, width = len(h), len(h[0]), len(h[0][0])
    size = len(p["W"][0][0])
    middle = (size - 1) // 2

    def seen(weights: Any, image: Any, row: int, column: int) -> float:
        total = 0.0
        for channel in range(len(image)):
            for a in range(size):
                for b in range(size):
                    r, s = row + a - middle, column + b - middle
                    if 0 <= r < height and 0 <= s < width:
                        total += weights[channel][a][b] * image[channel][r][s]
        return total

    new_h = [[[0.0] * width for _ in range(height)] for _ in range(n)]
    new_c = [[[0.0] * width for _ in range(height)] for _ in range(n)]
    for j in range(n):
        for r in range(height):
            for s in range(width):
                i, f, g, o = (
                    seen(p["W"][k], x, r, s) + seen(p["U"][k], h, r, s) + p["b"][k]
                    for k in (j, n + j, 2 * n + j, 3 * n + j)
                )
                p_i, p_f, p_o = (p["p"][k][r][s] for k in (j, n + j, 2 * n + j))
                old = c[j][r][s]
                new = sigma(f + p_f * old) * old + sigma(i + p_i * old) * math.tanh(g)
                new_c[j][r][s] = new
                new_h[j][r][s] = sigma(o + p_o * new) * math.tanh(new)
    return new_h, [new_h, new_c]


def mass_conserving(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (c,) = state
    n, masses = len(c), cell.mass_size
    mass, steering = x[:masses], x[masses:]
    size = sum(abs(value) for value in c)
    share = [value / size if size else 0.0 for value in c]
    numbers = [
        dot(p["W"][k], steering) + dot(p["U"][k], share) + p["b"][k] for k in range(len(p["b"]))
    ]
    received = [0.0] * n
    for source in range(masses):
        weights = [math.exp(numbers[n + j * masses + source]) for j in range(n)]
        for j in range(n):
            received[j] += weights[j] / sum(weights) * mass[source]
    for source in range(n):
        weights = [math.exp(numbers[n + n * masses + j * n + source]) for j in range(n)]
        for j in range(n):
            received[j] += weights[j] / sum(weights) * c[source]
    new, y = [], []
    for j in range(n):
        o = sigma(numbers[j])
        y.append(o * received[j])
        new.append((1 - o) * received[j])
    return y, [new]


def skipping(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, (u,) = state
    new = gru(p, x, [h], cell)[0] if u > 0.5 else h
    probability = sigma(dot(p["W_p"][0], new) + p["b_p"][0])
    return new, [new, [probability if u > 0.5 else u + min(probability, 1 - u)]]


def some_skip(rng: np.random.Generator, first: Any) -> list[Any]:
    """One row updates, the other does not yet."""
    return [0.5 * rng.normal(size=first.h.shape), np.array([[0.9], [0.1]])]


def almost_full(rng: np.random.Generator, first: Any) -> list[Any]:
    """u just below 1/2, where 1 - u is the smaller one for most probabilities.

    And u on 1/2, where there is no update.
    """
    return [0.5 * rng.normal(size=first.h.shape), np.array([[0.45], [0.5]])]


def images(*size: int) -> Any:
    """Sequences of images of (channels, height, width)."""
    return lambda rng: rng.normal(size=(3, 2, *size))


def one_empty(rng: np.random.Generator, first: Any) -> list[Any]:
    c = rng.normal(size=first.shape)
    c[0] = 0
    return [c]


def three_inputs(rng: np.random.Generator) -> Any:
    return rng.normal(size=(3, 2, 3))


REFERENCES = {
    "NAS": searched,
    "ONLSTM": ordered_neurons,
    "ResidualLSTM": residual,
    "ConvLSTM": convolutional,
    "MassConservingLSTM": mass_conserving,
    "SkipRNN": skipping,
}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "ONLSTM": [{}, {"sizes": (2, 4), "options": {"chunk_size": 2}}],
    "ResidualLSTM": [{}, {"sizes": (3, 3), "inputs": three_inputs}],
    "ConvLSTM": [
        {"sizes": (1, 1), "options": {"image_size": (3, 2)}, "inputs": images(1, 3, 2)},
        {
            "sizes": (2, 2),
            "options": {"image_size": (1, 2), "kernel_size": 1},
            "inputs": images(2, 1, 2),
        },
    ],
    "MassConservingLSTM": [
        {},
        {"sizes": (3, 2), "options": {"mass_size": 2}, "inputs": three_inputs},
        {"sizes": (3, 3), "state": one_empty, "smooth": False, "inputs": three_inputs},
    ],
    "SkipRNN": [{"state": some_skip, "smooth": False}, {"state": almost_full, "smooth": False}],
}

EQUIVALENT = {
    (
        "MassConservingLSTM",
        "name: total -> c",
    ): "a component that is 0 has the share 0, whatever it is divided by",
    ("SkipRNN", "name: updated -> _"): "the output of a GRU is its state",
    ("SkipRNN", "swap: updated and _"): "the output of a GRU is its state",
}

FIRST = {"SkipRNN": lambda p, cell: [[0.0] * cell.hidden_size, [1.0]]}
