"""Cells that are time steps of differential equations."""

from __future__ import annotations

import math
from typing import Any

from .numbers import dot, sigma


def antisymmetric(p: Any, h: Any, j: int, gamma: float) -> Any:
    """Row j of (W - W^T - gamma I) h."""
    return sum(
        (p["W"][j][k] - p["W"][k][j] - (gamma if j == k else 0)) * h[k] for k in range(len(h))
    )


def antisymmetric_rnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    new = []
    for j, old in enumerate(h):
        new.append(
            old
            + cell.epsilon
            * math.tanh(antisymmetric(p, h, j, cell.gamma) + dot(p["V"][j], x) + p["b"][j])
        )
    return new, [new]


def gated_antisymmetric_rnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    new = []
    for j, old in enumerate(h):
        a = antisymmetric(p, h, j, cell.gamma)
        z = sigma(a + dot(p["V"][j], x) + p["b"][j])
        new.append(old + cell.epsilon * z * math.tanh(a + dot(p["V"][n + j], x) + p["b"][n + j]))
    return new, [new]


def co_rnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    y, z = state
    new_y, new_z = [], []
    for j in range(len(y)):
        force = math.tanh(dot(p["W"][j], y) + dot(p["W_z"][j], z) + dot(p["V"][j], x) + p["b"][j])
        acceleration = force - cell.gamma * y[j] - cell.epsilon * z[j]
        new_z.append(z[j] + cell.dt * acceleration)
        new_y.append(y[j] + cell.dt * new_z[j])
    return new_y, [new_y, new_z]


def unicornn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    y, z = state
    new_y, new_z = [], []
    for j in range(len(y)):
        dt = cell.dt * (0.5 + 0.5 * math.tanh(p["c"][j] / 2))
        new_z.append(
            z[j]
            - dt * math.tanh(p["w"][j] * y[j] + dot(p["V"][j], x) + p["b"][j])
            - dt * cell.alpha * y[j]
        )
        new_y.append(y[j] + dt * new_z[j])
    return new_y, [new_y, new_z]


def lem(p: Any, x: Any, state: Any, cell: Any) -> Any:
    y, z = state
    n = len(y)

    def fed(block: int, j: int) -> Any:
        return dot(p["V"][block * n + j], x) + p["b"][block * n + j]

    new_z = []
    for j in range(n):
        dt = cell.dt * sigma(dot(p["W"][j], y) + fed(0, j))
        new_z.append((1 - dt) * z[j] + dt * math.tanh(dot(p["W"][2 * n + j], y) + fed(2, j)))
    new_y = []
    for j in range(n):
        dt = cell.dt * sigma(dot(p["W"][n + j], y) + fed(1, j))
        new_y.append((1 - dt) * y[j] + dt * math.tanh(dot(p["W_y"][j], new_z) + fed(3, j)))
    return new_y, [new_y, new_z]


def ltc(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    dt = cell.dt / cell.unfolds
    for _ in range(cell.unfolds):
        new = []
        for j, old in enumerate(h):
            f = sigma(dot(p["W"][j], x) + dot(p["U"][j], h) + p["b"][j])
            rate = math.log(1 + math.exp(p["rho"][j]))
            new.append((old + dt * f * p["A"][j]) / (1 + dt * rate + dt * f))
        h = new
    return h, [h]


REFERENCES = {
    "AntisymmetricRNN": antisymmetric_rnn,
    "GatedAntisymmetricRNN": gated_antisymmetric_rnn,
    "CoRNN": co_rnn,
    "UnICORNN": unicornn,
    "LEM": lem,
    "LTC": ltc,
}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "AntisymmetricRNN": [{}, {"options": {"epsilon": 0.3, "gamma": 0.4}}],
    "GatedAntisymmetricRNN": [{}, {"options": {"epsilon": 0.3, "gamma": 0.4}}],
    "CoRNN": [{}, {"options": {"dt": 0.3, "gamma": 0.7, "epsilon": 1.2}}],
    "UnICORNN": [{}, {"options": {"dt": 0.4, "alpha": 0.7}}],
    "LEM": [{}, {"options": {"dt": 0.4}}],
    "LTC": [{"options": {"unfolds": 3, "dt": 0.8}}, {"options": {"unfolds": 1}}],
}
