"""The tunable unitary network, with its matrix multiplied out."""

from __future__ import annotations

import cmath
import math
from typing import Any

from .numbers import dot


def product(a: Any, b: Any) -> Any:
    n = len(a)
    return [[sum(a[i][k] * b[k][j] for k in range(n)) for j in range(n)] for i in range(n)]


def unitary_matrix(p: Any, n: int) -> Any:
    """D F_1 F_2 ... F_L."""
    matrix = [[cmath.exp(1j * p["omega"][i]) if i == j else 0j for j in range(n)] for i in range(n)]
    place, first = 0, 0
    while place < len(p["theta"]):  # for two units an even l has no pair
        layer = [[1 + 0j if i == j else 0j for j in range(n)] for i in range(n)]
        for a in range(first, n - 1, 2):
            theta, phi = p["theta"][place], p["phi"][place]
            place += 1
            layer[a][a], layer[a][a + 1] = (
                cmath.exp(1j * phi) * math.cos(theta),
                -cmath.exp(1j * phi) * math.sin(theta),
            )
            layer[a + 1][a], layer[a + 1][a + 1] = (
                complex(math.sin(theta)),
                complex(math.cos(theta)),
            )
        matrix, first = product(matrix, layer), 1 - first
    return matrix


def eurnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    real, imag = state
    n = len(real)
    h = [complex(real[j], imag[j]) for j in range(n)]
    matrix = unitary_matrix(p, n)
    new = []
    for j in range(n):
        z = dot(matrix[j], h) + complex(dot(p["V"][j], x), dot(p["V"][n + j], x))
        r = math.sqrt(z.real**2 + z.imag**2 + 1e-5)
        new.append(z / r * max(r + p["b"][j], 0.0))
    parts = [[z.real for z in new], [z.imag for z in new]]
    return parts[0] + parts[1], parts


REFERENCES = {"EURNN": eurnn}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "EURNN": [{"sizes": (2, 4)}, {"sizes": (2, 5), "options": {"capacity": 3}}, {"sizes": (2, 2)}]
}
