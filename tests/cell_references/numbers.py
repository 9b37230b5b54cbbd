"""Sums and functions of plain numbers that the references use."""

from __future__ import annotations

import math
from typing import Any


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def relu(x: float) -> float:
    return x if x > 0 else 0.0


def dot(a: Any, b: Any) -> float:
    total = 0.0
    for k in range(len(b)):
        total += a[k] * b[k]
    return total


def times(matrix: Any, vector: Any, first: int = 0, count: int | None = None) -> list[float]:
    """The product of `count` rows of a matrix, from row `first` on, with a vector."""
    return [
        dot(matrix[first + j], vector)
        for j in range(len(matrix) - first if count is None else count)
    ]
