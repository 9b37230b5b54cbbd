"""Cells that read a hidden state of several steps ago."""

from __future__ import annotations

import math
from typing import Any

from .numbers import dot, sigma


def dilated_rnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (past,) = state
    h = past[0]
    new = [math.tanh(dot(p["W"][j], x) + dot(p["U"][j], h) + p["b"][j]) for j in range(len(h))]
    return new, [[*past[1:], new]]


def tau_gru(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (past,) = state
    delayed, h = past[0], past[-1]
    n = len(h)
    new = []
    for j in range(n):
        from_x = [dot(p["U"][block * n + j], x) + p["b"][block * n + j] for block in range(4)]
        u = math.tanh(dot(p["W"][j], h) + from_x[0])
        z = math.tanh(dot(p["W_z"][j], delayed) + from_x[1])
        g = sigma(dot(p["W"][n + j], h) + from_x[2])
        a = sigma(dot(p["W"][2 * n + j], h) + from_x[3])
        new.append(h[j] - g * h[j] + g * u + g * a * z)
    return new, [[*past[1:], new]]


REFERENCES = {"DilatedRNN": dilated_rnn, "TauGRU": tau_gru}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "DilatedRNN": [{}, {"options": {"dilation": 1}}, {"options": {"dilation": 4}}],
    "TauGRU": [{"options": {"delay": 2}}, {"options": {"delay": 1}}, {}],
}
