"""Cells whose memory is linear in its own past."""

from __future__ import annotations

import cmath
import math
from typing import Any

from .numbers import dot, sigma, times


def lmu(p: Any, x: Any, state: Any, cell: Any) -> Any:
    """The memory's equation theta dm/dt = A m + B u is solved by its Taylor series in time, from 0 to 1."""
    h, m = state
    u = dot(p["e_x"], x) + dot(p["e_h"], h) + dot(p["e_m"], m)
    order = range(len(m))
    matrix = [
        [(2 * i + 1) * (-1.0 if i < j else (-1.0) ** (i - j + 1)) for j in order] for i in order
    ]
    derivative = [(dot(matrix[i], m) + (2 * i + 1) * (-1) ** i * u) / cell.theta for i in order]
    new_m = list(m)
    for n in range(1, 80):
        new_m = [new_m[i] + derivative[i] / math.factorial(n) for i in order]
        derivative = [dot(matrix[i], derivative) / cell.theta for i in order]
    new_h = [
        math.tanh(dot(p["W_x"][j], x) + dot(p["W_h"][j], h) + dot(p["W_m"][j], new_m))
        for j in range(len(h))
    ]
    return new_h, [new_h, new_m]


def lru(p: Any, x: Any, state: Any, cell: Any) -> Any:
    real, imag = state
    n = len(real)
    new = []
    for j in range(n):
        eigenvalue = cmath.exp(complex(-math.exp(p["nu_log"][j]), math.exp(p["theta_log"][j])))
        fed = complex(dot(p["B"][j], x), dot(p["B"][n + j], x))
        new.append(eigenvalue * complex(real[j], imag[j]) + math.exp(p["gamma_log"][j]) * fed)
    y = []
    for j in range(n):
        seen = sum(complex(p["C_real"][j][k], p["C_imag"][j][k]) * new[k] for k in range(n))
        y.append(seen.real + dot(p["D"][j], x))
    return y, [[s.real for s in new], [s.imag for s in new]]


def rg_lru(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    n = len(h)
    v = times(p["W"], x)
    new = []
    for j in range(n):
        r, i = (
            sigma(dot(p["W_ri"][block * n + j], v) + p["b"][block * n + j]) for block in range(2)
        )
        a = sigma(p["Lambda"][j]) ** (8 * r)
        new.append(a * h[j] + math.sqrt(1 - a * a) * i * v[j])
    return new, [new]


REFERENCES = {"LMU": lmu, "LRU": lru, "RGLRU": rg_lru}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "LMU": [{}, {"options": {"memory_size": 3, "theta": 2.5}}],
    "RGLRU": [{}, {"scale": 1.5}],
}
