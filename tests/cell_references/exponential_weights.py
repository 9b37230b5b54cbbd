"""Cells that keep weights exp(a) in units of the largest so far.

Here without that, and turned into its units at the end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .numbers import dot, sigma


def forget(a: float, cell: Any) -> float:
    return math.exp(a) if cell.forget_gate == "exp" else sigma(a)


def scalar_memory(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c, n, m = state
    size = len(h)
    new: list[list[float]] = [[], [], [], []]
    for j in range(size):
        a_i, a_f, a_z, a_o = (
            dot(p["W"][row], x) + dot(p["U"][row], h) + p["b"][row]
            for row in range(j, 4 * size, size)
        )
        i, f, unit = math.exp(a_i), forget(a_f, cell), math.exp(m[j])
        content = f * c[j] * unit + i * math.tanh(a_z)
        normaliser = f * n[j] * unit + i
        largest = max(f * unit, i) if n[j] else i
        for component, value in zip(
            new,
            (
                sigma(a_o) * content / normaliser,
                content / largest,
                normaliser / largest,
                math.log(largest),
            ),
            strict=True,
        ):
            component.append(value)
    return new[0], new


def matrix_memory(p: Any, x: Any, state: Any, cell: Any) -> Any:
    memory, n, (m,) = state
    size = len(n)
    q, k, v, o = ([dot(p["W"][block * size + j], x) for j in range(size)] for block in range(4))
    for j in range(size):
        q[j] += p["b"][j]
        k[j] = k[j] / math.sqrt(size) + p["b"][size + j]
        v[j] += p["b"][2 * size + j]
        o[j] = sigma(o[j] + p["b"][3 * size + j])
    i = math.exp(dot(p["W_if"][0], x) + p["b_if"][0])
    f = forget(dot(p["W_if"][1], x) + p["b_if"][1], cell)
    unit = math.exp(m)
    new_memory = [
        [f * unit * memory[a][b] + i * v[a] * k[b] for b in range(size)] for a in range(size)
    ]
    new_n = [f * unit * n[b] + i * k[b] for b in range(size)]
    divisor = max(abs(dot(new_n, q)), 1.0)
    y = [o[a] * dot(new_memory[a], q) / divisor for a in range(size)]
    largest = max(f * unit, i) if any(n) or any(map(any, memory)) else i
    return y, [
        [[value / largest for value in row] for row in new_memory],
        [value / largest for value in new_n],
        [math.log(largest)],
    ]


def weighted_average(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, n, d, m = state
    size = len(h)
    new: list[list[float]] = [[], [], [], []]
    for j in range(size):
        u = dot(p["W"][j], x) + p["b_u"][j]
        g = dot(p["W"][size + j], x) + dot(p["U"][j], h) + p["b_g"][j]
        a = dot(p["W"][2 * size + j], x) + dot(p["U"][size + j], h)
        numerator = n[j] * math.exp(m[j]) + u * math.tanh(g) * math.exp(a)
        denominator = d[j] * math.exp(m[j]) + math.exp(a)
        top = max(m[j], a) if d[j] else a
        values = (
            math.tanh(numerator / denominator),
            numerator / math.exp(top),
            denominator / math.exp(top),
            top,
        )
        for component, value in zip(new, values, strict=True):
            component.append(value)
    return new[0], new


def positive_third(rng: np.random.Generator, first: Any) -> list[Any]:
    """Four vectors, of which the third, that divides, is positive."""
    a, b, c, d = (0.5 * rng.normal(size=s.shape) for s in first)
    return [a, b, abs(c) + 0.5, d]


def large_memory(rng: np.random.Generator, first: Any) -> list[Any]:
    """So that |n . q| is above its bound in the first row, and below it at times in the others."""
    memory, n, m = (rng.normal(size=s.shape) for s in first)
    n[0] = 8 + abs(n[0])
    return [memory, n, 0.5 * m]


def emptied(rng: np.random.Generator, first: Any) -> list[Any]:
    """Nothing in the first row, whose unit is large all the same.

    In the second nothing but the normaliser.
    """
    h, c, n, m = (0.5 * rng.normal(size=s.shape) for s in first)
    return [h, 0 * c, (abs(n) + 0.5) * [[0.0], [1.0]], m + 3]


def emptied_memory(rng: np.random.Generator, first: Any) -> list[Any]:
    """The same; the unit of the second row is so large that exp(-m) counts."""
    memory, n, m = (0.5 * rng.normal(size=s.shape) for s in first)
    return [0 * memory, 0.01 * n * [[0.0], [1.0]], 0 * m + [[3.0], [2.0]]]


def without_normaliser(rng: np.random.Generator, first: Any) -> list[Any]:
    """A memory whose normaliser has gone to zero; in the second row the two are of one size."""
    memory, n, m = (rng.normal(size=s.shape) for s in first)
    memory[1], n = 0 * memory[1], 0 * n
    memory[1, 0, 1] = n[1, 1] = 2
    return [memory, n, 0 * m + 4]


REFERENCES = {"SLSTM": scalar_memory, "MLSTM": matrix_memory, "RWA": weighted_average}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "SLSTM": [
        {"state": positive_third},
        {"state": positive_third, "options": {"forget_gate": "exp"}},
        {"state": emptied, "smooth": False},
    ],
    "MLSTM": [
        {"state": large_memory},
        {"state": large_memory, "options": {"forget_gate": "exp"}},
        {"state": emptied_memory, "smooth": False},
        {"state": without_normaliser, "smooth": False},
    ],
    "RWA": [{"state": positive_third}, {"state": emptied, "smooth": False}],
}

FIRST = {
    "RWA": lambda p, cell: [
        [math.tanh(s) for s in p["s_0"]],
        *([0.0] * cell.hidden_size for _ in range(3)),
    ]
}
