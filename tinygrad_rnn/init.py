"""Initialisers: functions that return arrays. `rng` is a numpy Generator, a seed, or None."""

from __future__ import annotations

from typing import Any

import numpy as np

from .core.errors import ShapeError
from .core.primitive import Array


def generator(rng: Any = None) -> np.random.Generator:
    """A random generator from a generator, a seed or None (fresh entropy)."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def uniform(shape: tuple[int, ...], bound: float, *, rng: Any = None, dtype: Any = np.float32) -> Array:
    """Uniform on [-bound, bound]."""
    values: Array = generator(rng).uniform(-bound, bound, shape).astype(dtype)
    return values


def zeros(shape: tuple[int, ...], *, dtype: Any = np.float32) -> Array:
    """All zeros."""
    return np.zeros(shape, dtype)


def xavier_uniform(shape: tuple[int, int], gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> Array:
    """Uniform on ±gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    _two(shape, "xavier_uniform")
    return uniform(shape, gain * (6.0 / sum(shape)) ** 0.5, rng=rng, dtype=dtype)


def xavier_normal(shape: tuple[int, int], gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> Array:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    _two(shape, "xavier_normal")
    values: Array = (generator(rng).standard_normal(shape) * gain * (2.0 / sum(shape)) ** 0.5).astype(dtype)
    return values


def orthogonal(shape: tuple[int, int], gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> Array:
    """A random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014)."""
    rows, cols = _two(shape, "orthogonal")
    q, r = np.linalg.qr(generator(rng).standard_normal((max(rows, cols), min(rows, cols))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # makes the distribution uniform
    values: Array = (gain * (q if rows >= cols else q.T)).astype(dtype)
    return values


def forget_bias(bias: Array, hidden_size: int, value: float = 1.0, *, gate: int = 1, gates: int = 4) -> Array:
    """A copy of a gate bias with the forget gate's part set to `value` (Gers et al. 2000; Jozefowicz et al. 2015).

    `gate` is the forget gate's place among the `gates` blocks of `hidden_size`: 1 in the order i, f, g, o.
    """
    if bias.shape != (gates * hidden_size,):
        raise ShapeError(f"forget_bias: expected a bias of shape ({gates * hidden_size},); found {bias.shape}")
    out = bias.copy()
    out[gate * hidden_size : (gate + 1) * hidden_size] = value
    return out


def _two(shape: tuple[int, ...], name: str) -> tuple[int, int]:
    if len(shape) != 2:
        raise ShapeError(f"{name}: expected a matrix shape (out, in); found {tuple(shape)}")
    return shape[0], shape[1]
