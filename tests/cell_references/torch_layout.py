"""Elman, GRU and LSTM in PyTorch's layout."""

from __future__ import annotations

import math
from typing import Any

from .numbers import dot, relu, sigma


def sums(p: Any, x: Any, h: Any, row: int) -> tuple[float, float]:
    """The input's and the state's part of one row."""
    biases = (p["bias_ih"][row], p["bias_hh"][row]) if "bias_ih" in p else (0.0, 0.0)
    return dot(p["weight_ih"][row], x) + biases[0], dot(p["weight_hh"][row], h) + biases[1]


def elman(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    nonlinearity = relu if cell.nonlinearity == "relu" else math.tanh
    new = [nonlinearity(sum(sums(p, x, h, j))) for j in range(len(h))]
    return new, [new]


def lstm(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    new_h, new_c = [], []
    for j in range(n):
        i, f, g, o = (sum(sums(p, x, h, block * n + j)) for block in range(4))
        new_c.append(sigma(f) * c[j] + sigma(i) * math.tanh(g))
        new_h.append(sigma(o) * math.tanh(new_c[j]))
    return new_h, [new_h, new_c]


def lstm_with_projection(p: Any, x: Any, state: Any, cell: Any) -> Any:
    wide, (_, c) = lstm(p, x, state, cell)
    h = [dot(row, wide) for row in p["weight_hr"]]
    return h, [h, c]


def gru(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    new = []
    for j in range(n):
        (xr, hr), (xz, hz), (xn, hn) = (sums(p, x, h, block * n + j) for block in range(3))
        r, z = sigma(xr + hr), sigma(xz + hz)
        new.append((1 - z) * math.tanh(xn + r * hn) + z * h[j])
    return new, [new]


def gru_reset_before(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    gated = [sigma(sum(sums(p, x, h, j))) * h[j] for j in range(n)]
    new = []
    for j in range(n):
        z = sigma(sum(sums(p, x, h, n + j)))
        candidate = math.tanh(sum(sums(p, x, gated, 2 * n + j)))
        new.append((1 - z) * candidate + z * h[j])
    return new, [new]


REFERENCES = {
    "Elman": elman,
    "LSTM": lstm,
    "LSTMP": lstm_with_projection,
    "GRU": gru,
    "GRUResetBefore": gru_reset_before,
}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "Elman": [{}, {"options": {"nonlinearity": "relu", "bias": False}}],
    "LSTM": [{}, {"options": {"bias": False}}],
    "LSTMP": [{"sizes": (2, 3, 2)}],
    "GRU": [{}, {"options": {"bias": False}}],
    "GRUResetBefore": [{}, {"options": {"bias": False}}],
}
