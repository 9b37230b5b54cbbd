"""Cells whose input comes with a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .numbers import dot, sigma


def cfc(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    features, t = (x[0], x[1][0]) if isinstance(x, tuple) else (x, 1.0)
    backbone = [
        math.tanh(dot(p["W"][k], features) + dot(p["U"][k], h) + p["b"][k])
        for k in range(len(p["b"]))
    ]
    new = []
    for j in range(n):
        f, g, k = (
            dot(p["V"][block * n + j], backbone) + p["c"][block * n + j] for block in range(3)
        )
        early = 1 / (1 + math.exp(f * t))
        new.append(early * math.tanh(g) + (1 - early) * math.tanh(k))
    return new, [new]


def openness(t: float, tau: float, s: float, r: float, leak: float) -> float:
    """The time gate of a phased LSTM."""
    periods = (t - s) / tau
    phase = periods - math.floor(periods)
    if phase < r / 2:
        return phase / (r / 2)
    if phase < r:
        return (r - phase) / (r / 2)
    return leak * phase


def phased_lstm(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (features, (t,)), (h, c) = x, state
    n = len(h)
    new_h, new_c = [], []
    for j in range(n):
        i, f, g, o = (
            dot(p["W"][b * n + j], features) + dot(p["U"][b * n + j], h) + p["b"][b * n + j]
            for b in range(4)
        )
        k = openness(t, p["tau"][j], p["s"][j], cell.r, cell.leak if cell.training else 0.0)
        proposed = sigma(f + p["p"][n + j] * c[j]) * c[j] + sigma(i + p["p"][j] * c[j]) * math.tanh(
            g
        )
        new_c.append(k * proposed + (1 - k) * c[j])
        new_h.append(
            k * sigma(o + p["p"][2 * n + j] * new_c[j]) * math.tanh(proposed) + (1 - k) * h[j]
        )
    return new_h, [new_h, new_c]


REFERENCES = {"CfC": cfc, "PhasedLSTM": phased_lstm}


def growing(rng: np.random.Generator) -> Any:
    """Features, and time stamps that grow."""
    return rng.normal(size=(3, 2, 2)), np.cumsum(rng.uniform(0.3, 1.1, size=(3, 2, 1)), axis=0)


PHASED = {"options": {"r": 0.6, "leak": 0.1}, "inputs": growing, "positive": ("tau",)}
SPECIAL: dict[str, list[dict[str, Any]]] = {
    "CfC": [
        {},
        {
            "inputs": lambda rng: (rng.normal(size=(3, 2, 2)), rng.uniform(0.3, 2, size=(3, 2, 1))),
            "options": {"backbone_size": 4},
        },
    ],
    "PhasedLSTM": [PHASED, {**PHASED, "training": False}],
}
