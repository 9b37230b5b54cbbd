"""Cells with gates of their own kind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .numbers import dot, relu, sigma


def total(p: Any, x: Any, h: Any, row: int) -> float:
    """The sum of one row: W x + U h + b."""
    value: float = dot(p["W"][row], x) + dot(p["U"][row], h) + p["b"][row]
    return value


def recurrent_highway(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (s,) = state
    n = len(s)
    for layer in range(cell.depth):
        first = 2 * layer * n
        new = []
        for j in range(n):
            candidate = dot(p["R"][first + j], s) + p["b"][first + j]
            transform = dot(p["R"][first + n + j], s) + p["b"][first + n + j]
            if layer == 0:
                candidate += dot(p["W"][j], x)
                transform += dot(p["W"][n + j], x)
            t = sigma(transform)
            new.append(math.tanh(candidate) * t + s[j] * (1 - t))
        s = new
    return s, [s]


def minimal(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    z = [math.tanh(dot(p["W"][j], x) + p["b_z"][j]) for j in range(len(h))]
    new = []
    for j in range(len(h)):
        u = sigma(dot(p["U"][j], h) + dot(p["V"][j], z) + p["b_u"][j])
        new.append(u * h[j] + (1 - u) * z[j])
    return new, [new]


def update_gate(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    new = []
    for j in range(n):
        g = sigma(total(p, x, h, n + j))
        new.append(g * h[j] + (1 - g) * math.tanh(total(p, x, h, j)))
    return new, [new]


def intersection(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    if len(x) != n:
        x = [dot(row, x) for row in p["W_x"]]
    y, new = [], []
    for j in range(n):
        through_depth, through_time = (
            sigma(total(p, x, h, 2 * n + j)),
            sigma(total(p, x, h, 3 * n + j)),
        )
        y.append(through_depth * x[j] + (1 - through_depth) * relu(total(p, x, h, j)))
        new.append(through_time * h[j] + (1 - through_time) * math.tanh(total(p, x, h, n + j)))
    return y, [new]


def additive(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    new = [
        sigma(total(p, x, h, j)) * dot(p["W"][2 * n + j], x) + sigma(total(p, x, h, n + j)) * c[j]
        for j in range(n)
    ]
    out = [math.tanh(v) for v in new]
    return out, [out, new]


def chaos_free(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    new = []
    for j in range(n):
        theta, eta = (
            sigma(dot(p["V"][row], x) + dot(p["U"][row], h) + p["b"][row]) for row in (j, n + j)
        )
        new.append(theta * math.tanh(h[j]) + eta * math.tanh(dot(p["W"][j], x)))
    return new, [new]


def twin_gated(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    new = []
    for j in range(len(h)):
        wx, uh = dot(p["W"][j], x), dot(p["U"][j], h)
        new.append(sigma(wx + uh) * wx + sigma(wx - uh) * h[j])
    return new, [new]


def stackable(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    new = []
    for j in range(n):
        k = sigma(dot(p["W"][j], x) + dot(p["U"][j], h) + p["b"][j])
        z = math.tanh(dot(p["W"][n + j], x) + p["b"][n + j])
        new.append(math.tanh((1 - k) * h[j] + k * z))
    return new, [new]


def typed(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    new = []
    for j in range(n):
        f = sigma(dot(p["W"][n + j], x) + p["b"][j])
        new.append(f * h[j] + (1 - f) * dot(p["W"][j], x))
    return new, [new]


def as_wide_as_the_state(rng: np.random.Generator) -> Any:
    return rng.normal(size=(3, 2, 3))


REFERENCES = {
    "RecurrentHighway": recurrent_highway,
    "MinimalRNN": minimal,
    "UGRNN": update_gate,
    "IntersectionRNN": intersection,
    "RAN": additive,
    "CFN": chaos_free,
    "ATR": twin_gated,
    "STAR": stackable,
    "TypedRNN": typed,
}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "RecurrentHighway": [{"options": {"depth": 1}}, {"options": {"depth": 3}}],
    "IntersectionRNN": [{}, {"sizes": (3, 3), "inputs": as_wide_as_the_state}],
}
