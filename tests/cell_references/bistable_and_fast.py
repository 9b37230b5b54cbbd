"""FastRNN and FastGRNN, and the two bistable cells."""

from __future__ import annotations

import math
from typing import Any

from .numbers import dot, sigma


def fast_rnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    new = []
    for j, old in enumerate(h):
        candidate = math.tanh(dot(p["W"][j], x) + dot(p["U"][j], h) + p["b"][j])
        new.append(sigma(p["alpha"]) * candidate + sigma(p["beta"]) * old)
    return new, [new]


def fast_grnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    zeta, nu = sigma(p["zeta"]), sigma(p["nu"])
    new = []
    for j, old in enumerate(h):
        shared = dot(p["W"][j], x) + dot(p["U"][j], h)
        z = sigma(shared + p["b_z"][j])
        new.append((zeta * (1 - z) + nu) * math.tanh(shared + p["b_h"][j]) + z * old)
    return new, [new]


def bistable(p: Any, x: Any, h: Any, fed_back: Any) -> Any:
    """One step, where fed_back(block, j) is what the state adds to the feedback (block 0) and the gate (block 1) of unit j."""
    n = len(h)
    new = []
    for j, old in enumerate(h):
        a = 1 + math.tanh(dot(p["U"][j], x) + fed_back(0, j))
        c = sigma(dot(p["U"][n + j], x) + fed_back(1, j))
        new.append(c * old + (1 - c) * math.tanh(dot(p["U"][2 * n + j], x) + a * old))
    return new, [new]


def brc(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    return bistable(p, x, h, lambda block, j: p["w"][block * len(h) + j] * h[j])


def nbrc(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    return bistable(p, x, h, lambda block, j: dot(p["W"][block * len(h) + j], h))


REFERENCES = {"FastRNN": fast_rnn, "FastGRNN": fast_grnn, "BRC": brc, "NBRC": nbrc}
