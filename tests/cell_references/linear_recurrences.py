"""Cells that are linear in their state."""

from __future__ import annotations

import math
from typing import Any

from .numbers import dot, sigma

HIGHWAY_BIAS = {2: 0.0, 3: -1.5}  # by the size of the input, which tells the variants below apart


def sru(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (c,) = state
    n = len(c)
    alpha = math.sqrt(1 + 2 * math.exp(HIGHWAY_BIAS[len(x)]))
    y, new = [], []
    for j in range(n):
        f = sigma(dot(p["W"][n + j], x) + p["v_f"][j] * c[j] + p["b_f"][j])
        r = sigma(dot(p["W"][2 * n + j], x) + p["v_r"][j] * c[j] + p["b_r"][j])
        new.append(f * c[j] + (1 - f) * dot(p["W"][j], x))
        shortcut = x[j] if len(x) == n else dot(p["W"][3 * n + j], x)
        y.append(r * new[j] + alpha * (1 - r) * shortcut)
    return y, [new]


def qrnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    c, earlier = state
    n = len(c)
    window = [*earlier, x]
    seen = [value for row in window for value in row]

    def gate(block: int, j: int) -> float:
        return float(dot(p["W"][block * n + j], seen) + p["b"][block * n + j])

    y, new = [], []
    for j in range(n):
        z, f = math.tanh(gate(0, j)), sigma(gate(1, j))
        i = sigma(gate(3, j)) if cell.pooling == "ifo" else 1 - f
        new.append(f * c[j] + i * z)
        y.append(new[j] if cell.pooling == "f" else sigma(gate(2, j)) * new[j])
    return y, [new, window[1:]]


def candidate(a: float, log_space: bool) -> float:
    if not log_space:
        return a
    return a + 0.5 if a >= 0 else sigma(a)


def minimal_gru(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    new = []
    for j in range(n):
        z = sigma(dot(p["W"][j], x) + p["b"][j])
        new.append(
            (1 - z) * h[j] + z * candidate(dot(p["W"][n + j], x) + p["b"][n + j], cell.log_space)
        )
    return new, [new]


def minimal_lstm(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    new = []
    for j in range(n):
        f, i, a = (dot(p["W"][block * n + j], x) + p["b"][block * n + j] for block in range(3))
        new.append(
            (sigma(f) * h[j] + sigma(i) * candidate(a, cell.log_space)) / (sigma(f) + sigma(i))
        )
    return new, [new]


REFERENCES = {"SRU": sru, "QRNN": qrnn, "MinGRU": minimal_gru, "MinLSTM": minimal_lstm}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "SRU": [
        {},
        {
            "sizes": (3, 3),
            "options": {"highway_bias": -1.5},
            "inputs": lambda rng: rng.normal(size=(3, 2, 3)),
        },
    ],
    "QRNN": [
        {},
        {"options": {"window": 3, "pooling": "f"}},
        {"options": {"window": 1, "pooling": "ifo"}},
        {
            "options": {"window": 3, "pooling": "ifo"},
            "sizes": (3, 2),
            "inputs": lambda rng: rng.normal(size=(3, 2, 3)),
        },
    ],
    "MinGRU": [{}, {"options": {"log_space": True}}],
    "MinLSTM": [{}, {"options": {"log_space": True}}],
}

BATCH = "only the size of the batch is read, which all of these have"
EQUIVALENT = {("QRNN", f"name: x -> {other}"): BATCH for other in ("c", "inputs", "X")}
