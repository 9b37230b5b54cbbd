"""Relatives of the gated recurrent unit."""

from __future__ import annotations

import math
from typing import Any

from .numbers import dot, relu, sigma


def mut1(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    r = [sigma(dot(p["W"][n + k], x) + dot(p["U_r"][k], h) + p["b"][n + k]) for k in range(n)]
    new = []
    for j in range(n):
        z = sigma(dot(p["W"][j], x) + p["b"][j])
        kept = sum(p["U_h"][j][k] * r[k] * h[k] for k in range(n))
        new.append(
            math.tanh(kept + math.tanh(dot(p["W"][2 * n + j], x)) + p["b"][2 * n + j]) * z
            + h[j] * (1 - z)
        )
    return new, [new]


def mut2(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    r = [sigma(dot(p["W"][n + k], x) + dot(p["U"][n + k], h) + p["b"][n + k]) for k in range(n)]
    new = []
    for j in range(n):
        z = sigma(dot(p["W"][j], x) + dot(p["U"][j], h) + p["b"][j])
        kept = sum(p["U_h"][j][k] * r[k] * h[k] for k in range(n))
        new.append(
            math.tanh(kept + dot(p["W"][2 * n + j], x) + p["b"][2 * n + j]) * z + h[j] * (1 - z)
        )
    return new, [new]


def mut3(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    r = [sigma(dot(p["W"][n + k], x) + dot(p["U_r"][k], h) + p["b"][n + k]) for k in range(n)]
    new = []
    for j in range(n):
        z = sigma(
            dot(p["W"][j], x) + sum(p["U_z"][j][k] * math.tanh(h[k]) for k in range(n)) + p["b"][j]
        )
        kept = sum(p["U_h"][j][k] * r[k] * h[k] for k in range(n))
        new.append(
            math.tanh(kept + dot(p["W"][2 * n + j], x) + p["b"][2 * n + j]) * z + h[j] * (1 - z)
        )
    return new, [new]


def minimal_gated_unit(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    f = [sigma(dot(p["W"][k], x) + dot(p["U_f"][k], h) + p["b"][k]) for k in range(n)]
    new = []
    for j in range(n):
        kept = sum(p["U_h"][j][k] * f[k] * h[k] for k in range(n))
        new.append(
            (1 - f[j]) * h[j] + f[j] * math.tanh(dot(p["W"][n + j], x) + kept + p["b"][n + j])
        )
    return new, [new]


def light_gru(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    new = []
    for j in range(n):
        z, candidate = (
            dot(p["W"][row], x) + dot(p["U"][row], h) + p["b"][row] for row in (j, n + j)
        )
        new.append(sigma(z) * h[j] + (1 - sigma(z)) * relu(candidate))
    return new, [new]


REFERENCES = {
    "MUT1": mut1,
    "MUT2": mut2,
    "MUT3": mut3,
    "MGU": minimal_gated_unit,
    "LiGRU": light_gru,
}
