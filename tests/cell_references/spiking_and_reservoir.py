"""The leaky integrate-and-fire cell and the echo state network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .numbers import dot


def lif(p: Any, x: Any, state: Any, cell: Any) -> Any:
    s, u = state
    new_s, new_u = [], []
    for j in range(len(u)):
        current = dot(p["W"][j], x) + dot(p["U"][j], s) + p["b"][j]
        new_u.append(cell.beta * u[j] + current - (cell.threshold if s[j] else 0.0))
        new_s.append(1.0 if new_u[j] > cell.threshold else 0.0)
    return new_s, [new_s, new_u]


def echo_state(p: Any, x: Any, state: Any, cell: Any) -> Any:
    """The recurrent matrix is random and fixed, so it is read from the cell."""
    (h,) = state
    matrix = cell.U.tolist()
    new = []
    for j, old in enumerate(h):
        new.append(
            old + cell.leak * (math.tanh(dot(p["W"][j], x) + dot(matrix[j], h) + p["b"][j]) - old)
        )
    return new, [new]


REFERENCES = {"LIF": lif, "EchoState": echo_state}


def spikes_and_potentials(rng: np.random.Generator, first: Any) -> Any:
    shape = first.u.shape
    return [np.array(rng.random(shape) < 0.5, float), rng.normal(size=shape)]


LIF_CASE = {"smooth": False, "state": spikes_and_potentials, "scale": 1.0}
SPECIAL: dict[str, list[dict[str, Any]]] = {
    "LIF": [LIF_CASE, {**LIF_CASE, "options": {"beta": 0.6, "threshold": 0.5}}],
    "EchoState": [{}, {"options": {"leak": 0.8, "spectral_radius": 1.3}}],
}
