"""Initialisers: functions that return arrays. `rng` is a numpy Generator, a seed, or None."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .core.errors import ShapeError, TinygradError
from .core.primitive import Array


def generator(rng: Any = None) -> np.random.Generator:
    """A random generator from a generator, a seed or None (fresh entropy)."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def uniform(shape: tuple[int, ...], bound: float, *, rng: Any = None, dtype: Any = np.float32) -> Array:
    """Uniform on [-bound, bound]."""
    values: Array = generator(rng).uniform(-bound, bound, shape).astype(dtype)
    return values


def normal(shape: tuple[int, ...], std: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> Array:
    """Normal with mean 0 and standard deviation `std`."""
    values: Array = (generator(rng).standard_normal(shape) * std).astype(dtype)
    return values


def zeros(shape: tuple[int, ...], *, dtype: Any = np.float32) -> Array:
    """All zeros."""
    return np.zeros(shape, dtype)


def xavier_uniform(shape: tuple[int, int], gain: float = 1.0, *, blocks: int = 1, rng: Any = None, dtype: Any = np.float32) -> Array:
    """Uniform on ±gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).

    With `blocks` the matrix holds those of several gates one upon the other, and fan_out is that of one: rows / blocks.
    """
    return uniform(shape, gain * (6.0 / _fans(shape, blocks, "xavier_uniform")) ** 0.5, rng=rng, dtype=dtype)


def xavier_normal(shape: tuple[int, int], gain: float = 1.0, *, blocks: int = 1, rng: Any = None, dtype: Any = np.float32) -> Array:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010); `blocks` as in `xavier_uniform`."""
    return normal(shape, gain * (2.0 / _fans(shape, blocks, "xavier_normal")) ** 0.5, rng=rng, dtype=dtype)


def he_uniform(shape: tuple[int, ...], gain: float = 2.0**0.5, *, rng: Any = None, dtype: Any = np.float32) -> Array:
    """Uniform on ±gain * sqrt(3 / fan_in), for layers before a relu (He et al. 2015).

    fan_in is the product of all sizes but the first: of (out, in), or of (out, in, size, ...) for a convolution.
    """
    return uniform(shape, gain * (3.0 / _fan_in(shape, "he_uniform")) ** 0.5, rng=rng, dtype=dtype)


def he_normal(shape: tuple[int, ...], gain: float = 2.0**0.5, *, rng: Any = None, dtype: Any = np.float32) -> Array:
    """Normal with standard deviation gain / sqrt(fan_in), for layers before a relu (He et al. 2015); fan_in as in `he_uniform`."""
    return normal(shape, gain * _fan_in(shape, "he_normal") ** -0.5, rng=rng, dtype=dtype)


def identity(shape: tuple[int, int], scale: float = 1.0, *, dtype: Any = np.float32) -> Array:
    """`scale` on the diagonal and 0 elsewhere: a recurrent weight that keeps its state at first (Le, Jaitly and Hinton 2015).

    The paper uses it with relu units: scale 1 for long memory, 0.01 for short.
    """
    rows, columns = _two(shape, "identity")
    values: Array = scale * np.eye(rows, columns, dtype=dtype)
    return values


def orthogonal(shape: tuple[int, int], gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> Array:
    """A random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014)."""
    rows, cols = _two(shape, "orthogonal")
    q, r = np.linalg.qr(generator(rng).standard_normal((max(rows, cols), min(rows, cols))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # makes the distribution uniform
    values: Array = (gain * (q if rows >= cols else q.T)).astype(dtype)
    return values


def forget_bias(bias: Array, hidden_size: int, value: float | Array = 1.0, *, gate: int = 1, gates: int = 4) -> Array:
    """A copy of a gate bias with the forget gate's part set to `value` (Gers et al. 2000; Jozefowicz et al. 2015).

    `gate` is the forget gate's place among the `gates` blocks of `hidden_size`: 1 in the order i, f, g, o.
    """
    if bias.shape != (gates * hidden_size,):
        raise ShapeError(f"forget_bias: expected a bias of shape ({gates * hidden_size},); found {bias.shape}")
    out = bias.copy()
    out[gate * hidden_size : (gate + 1) * hidden_size] = value
    return out


def chrono(
    bias: Array, hidden_size: int, longest: float, *, forget: int = 1, enter: int | None = 0, gates: int = 4, rng: Any = None
) -> Array:
    """A copy of a gate bias whose units remember for 1 to `longest` - 1 steps (Tallec and Ollivier 2018).

    The forget gate's part is log(u) with u uniform on [1, longest - 1], and the input gate's part its negative. Where a cell
    adds two biases, give one of them this and set the other to zero.

    Parameters
    ----------
    bias : array, shape (gates * hidden_size,)
    hidden_size : int
    longest : float
        The longest range, in steps, at which the data depend on each other (T_max in the paper); at least 2.
    forget, enter : int
        Places of the forget gate and of the input gate among the `gates` blocks: 1 and 0 in the order i, f, g, o. ``enter=None`` for a
        cell without an input gate of its own, such as `cells.JANET` (``forget=0, enter=None, gates=2``).
    gates : int
    rng : numpy Generator or int, optional
    """
    if not 2 <= longest < math.inf:
        raise TinygradError(f"chrono: the longest range must be at least 2 steps; found {longest}")
    values = np.log(generator(rng).uniform(1.0, longest - 1, hidden_size)).astype(bias.dtype)
    out = forget_bias(bias, hidden_size, values, gate=forget, gates=gates)
    return out if enter is None else forget_bias(out, hidden_size, -values, gate=enter, gates=gates)


def _two(shape: tuple[int, ...], name: str) -> tuple[int, int]:
    if len(shape) != 2:
        raise ShapeError(f"{name}: expected a matrix shape (out, in); found {tuple(shape)}")
    return shape[0], shape[1]


def _fans(shape: tuple[int, ...], blocks: int, name: str) -> float:
    """fan_in + fan_out of each of the blocks."""
    rows, columns = _two(shape, name)
    if blocks < 1 or rows % blocks:
        raise ShapeError(f"{name}: {rows} rows are not {blocks} blocks of one size")
    return rows / blocks + columns


def _fan_in(shape: tuple[int, ...], name: str) -> int:
    if len(shape) < 2 or 0 in shape:
        raise ShapeError(f"{name}: expected the shape (out, in, ...) of a weight, without empty axes; found {tuple(shape)}")
    return math.prod(shape[1:])
