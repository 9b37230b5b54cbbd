"""Initialisers: functions that return arrays. `rng` is a numpy Generator, a seed, or None."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .core.errors import ShapeError, TinygradError
from .core.primitive import Array
from .ops.checks import array, floating, number, shown, size


def generator(rng: Any = None) -> np.random.Generator:
    """Return a random generator from a generator, a seed or None (fresh entropy)."""
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(
            None
            if rng is None
            else size(rng, "rng", 0)
            if np.ndim(rng) == 0 and not hasattr(rng, "spawn")
            else rng
        )
    except (TypeError, ValueError):
        raise TinygradError(
            f"rng must be a seed (a whole number of at least 0), a NumPy generator or None; found {shown(rng)}"
        ) from None


def uniform(
    shape: tuple[int, ...], bound: float, *, rng: Any = None, dtype: Any = np.float32
) -> Array:
    """Return an array that is uniform on [-bound, bound].

    Parameters
    ----------
    shape : tuple of int
    bound : float
        At least 0.
    rng : numpy Generator or int, optional
        Where the numbers come from.
    dtype : dtype
        float32 or float64.
    """
    bound = number(bound, "uniform: bound", AMOUNT)
    values: Array = (
        generator(rng)
        .uniform(-bound, bound, _shape(shape, "uniform"))
        .astype(_dtype(dtype, "uniform"))
    )
    return values


def normal(
    shape: tuple[int, ...], std: float = 1.0, *, rng: Any = None, dtype: Any = np.float32
) -> Array:
    """Return an array that is normal with mean 0 and standard deviation `std`.

    Parameters
    ----------
    shape : tuple of int
    std : float
        The standard deviation, at least 0.
    rng : numpy Generator or int, optional
        Where the numbers come from.
    dtype : dtype
        float32 or float64.
    """
    std = number(std, "normal: std", AMOUNT)
    values: Array = (generator(rng).standard_normal(_shape(shape, "normal")) * std).astype(
        _dtype(dtype, "normal")
    )
    return values


def zeros(shape: tuple[int, ...], *, dtype: Any = np.float32) -> Array:
    """Return an array of zeros."""
    return np.zeros(_shape(shape, "zeros"), _dtype(dtype, "zeros"))


def xavier_uniform(
    shape: tuple[int, int],
    gain: float = 1.0,
    *,
    blocks: int = 1,
    rng: Any = None,
    dtype: Any = np.float32,
) -> Array:
    """Return an array uniform on ±gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).

    Parameters
    ----------
    shape : (int, int)
        (out, in) of a weight.
    gain : float
        A factor for all values.
    blocks : int
        How many gates stand one upon the other in the rows; fan_out is that of one, rows / blocks.
    rng : numpy Generator or int, optional
        Where the numbers come from.
    dtype : dtype
        float32 or float64.
    """
    return uniform(
        shape,
        number(gain, "xavier_uniform: gain", AMOUNT)
        * (6.0 / _fans(shape, blocks, "xavier_uniform")) ** 0.5,
        rng=rng,
        dtype=dtype,
    )


def xavier_normal(
    shape: tuple[int, int],
    gain: float = 1.0,
    *,
    blocks: int = 1,
    rng: Any = None,
    dtype: Any = np.float32,
) -> Array:
    """Return a normal array of standard deviation gain * sqrt(2 / (fan_in + fan_out)).

    Glorot and Bengio 2010.

    Parameters
    ----------
    shape : (int, int)
        (out, in) of a weight.
    gain : float
        A factor for all values.
    blocks : int
        As in `xavier_uniform`.
    rng : numpy Generator or int, optional
        Where the numbers come from.
    dtype : dtype
        float32 or float64.
    """
    return normal(
        shape,
        number(gain, "xavier_normal: gain", AMOUNT)
        * (2.0 / _fans(shape, blocks, "xavier_normal")) ** 0.5,
        rng=rng,
        dtype=dtype,
    )


def he_uniform(
    shape: tuple[int, ...], gain: float = 2.0**0.5, *, rng: Any = None, dtype: Any = np.float32
) -> Array:
    """Return an array uniform on ±gain * sqrt(3 / fan_in), for layers before a relu.

    He et al. 2015. fan_in is the product of all sizes but the first.

    Parameters
    ----------
    shape : tuple of int
        (out, in), or (out, in, size, ...) for a convolution.
    gain : float
        A factor for all values.
    rng : numpy Generator or int, optional
        Where the numbers come from.
    dtype : dtype
        float32 or float64.
    """
    return uniform(
        shape,
        number(gain, "he_uniform: gain", AMOUNT) * (3.0 / _fan_in(shape, "he_uniform")) ** 0.5,
        rng=rng,
        dtype=dtype,
    )


def he_normal(
    shape: tuple[int, ...], gain: float = 2.0**0.5, *, rng: Any = None, dtype: Any = np.float32
) -> Array:
    """Return a normal array of standard deviation gain / sqrt(fan_in), for layers before a relu.

    He et al. 2015; fan_in is as in `he_uniform`.

    Parameters
    ----------
    shape : tuple of int
        (out, in), or (out, in, size, ...) for a convolution.
    gain : float
        A factor for all values.
    rng : numpy Generator or int, optional
        Where the numbers come from.
    dtype : dtype
        float32 or float64.
    """
    return normal(
        shape,
        number(gain, "he_normal: gain", AMOUNT) * _fan_in(shape, "he_normal") ** -0.5,
        rng=rng,
        dtype=dtype,
    )


def identity(shape: tuple[int, int], scale: float = 1.0, *, dtype: Any = np.float32) -> Array:
    """Return a matrix with `scale` on the diagonal and 0 elsewhere.

    As a recurrent weight it keeps its state at first (Le, Jaitly and Hinton 2015). The paper uses
    it with relu units: scale 1 for long memory, 0.01 for short.

    Parameters
    ----------
    shape : (int, int)
        (out, in) of a weight.
    scale : float
        What stands on the diagonal.
    dtype : dtype
        float32 or float64.
    """
    rows, columns = _two(shape, "identity")
    values: Array = number(scale, "identity: scale") * np.eye(
        rows, columns, dtype=_dtype(dtype, "identity")
    )
    return values


def orthogonal(
    shape: tuple[int, int], gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32
) -> Array:
    """Return a random matrix with orthonormal rows or columns, whichever are fewer.

    Saxe et al. 2014.

    Parameters
    ----------
    shape : (int, int)
        (out, in) of a weight.
    gain : float
        A factor for all values.
    rng : numpy Generator or int, optional
        Where the numbers come from.
    dtype : dtype
        float32 or float64.
    """
    rows, cols = _two(shape, "orthogonal")
    q, r = np.linalg.qr(generator(rng).standard_normal((max(rows, cols), min(rows, cols))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # makes the distribution uniform
    values: Array = (number(gain, "orthogonal: gain") * (q if rows >= cols else q.T)).astype(
        _dtype(dtype, "orthogonal")
    )
    return values


def forget_bias(
    bias: Array, hidden_size: int, value: float | Array = 1.0, *, gate: int = 1, gates: int = 4
) -> Array:
    """Return a copy of a gate bias with the forget gate's part set to `value`.

    Gers et al. 2000; Jozefowicz et al. 2015.

    Parameters
    ----------
    bias : array, shape (gates * hidden_size,)
        The bias of all gates.
    hidden_size : int
        The number of units.
    value : float, or array of shape (hidden_size,)
        What the part of the forget gate becomes.
    gate : int
        The forget gate's place among the blocks: 1 in the order i, f, g, o.
    gates : int
        The number of blocks.
    """
    hidden_size, gate, gates = (
        size(hidden_size, "forget_bias: hidden_size"),
        size(gate, "forget_bias: gate", 0),
        size(gates, "forget_bias: gates"),
    )
    if not isinstance(bias, np.ndarray) or bias.shape != (gates * hidden_size,):
        raise ShapeError(
            f"forget_bias: expected a bias of shape ({gates * hidden_size},); found {bias.shape if isinstance(bias, np.ndarray) else shown(bias)}"
        )
    if gate >= gates:
        raise ShapeError(
            f"forget_bias: gate must be below {gates}, the number of gates; found {gate}"
        )
    if (
        np.shape(value) not in ((), (hidden_size,))
        or not np.isfinite(array(value, "forget_bias: value")).all()
    ):
        raise ShapeError(
            f"forget_bias: value must be a finite number, or an array of {hidden_size} of them; found {shown(value)}"
        )
    out = bias.copy()
    out[gate * hidden_size : (gate + 1) * hidden_size] = value
    return out


def chrono(
    bias: Array,
    hidden_size: int,
    longest: float,
    *,
    forget: int = 1,
    enter: int | None = 0,
    gates: int = 4,
    rng: Any = None,
) -> Array:
    """Return a copy of a gate bias whose units remember for 1 to `longest` - 1 steps.

    Tallec and Ollivier 2018. The forget gate's part is log(u) with u uniform on [1, longest - 1],
    and the input gate's part its negative. Where a cell adds two biases, give one of them this and
    set the other to zero.

    Parameters
    ----------
    bias : array, shape (gates * hidden_size,)
        The bias of all gates.
    hidden_size : int
        The number of units.
    longest : float
        The longest range, in steps, at which the data depend on each other (T_max in the paper); at
        least 2.
    forget, enter : int
        Places of the forget gate and of the input gate among the `gates` blocks: 1 and 0 in the
        order i, f, g, o. ``enter=None`` for a cell without an input gate of its own, such as
        `cells.JANET` (``forget=0, enter=None, gates=2``).
    gates : int
        The number of blocks.
    rng : numpy Generator or int, optional
        Where u comes from.
    """
    if not 2 <= number(longest, "chrono: longest", "(-inf, inf]") < math.inf:
        raise TinygradError(f"chrono: the longest range must be at least 2 steps; found {longest}")
    if not isinstance(bias, np.ndarray):
        raise ShapeError(
            f"chrono: expected a bias of shape (gates * hidden_size,); found {shown(bias)}"
        )
    values = np.log(
        generator(rng).uniform(1.0, longest - 1, size(hidden_size, "chrono: hidden_size"))
    ).astype(bias.dtype)
    out = forget_bias(bias, hidden_size, values, gate=forget, gates=gates)
    return out if enter is None else forget_bias(out, hidden_size, -values, gate=enter, gates=gates)


AMOUNT = "[0, inf)"


def _dtype(dtype: Any, name: str) -> Any:
    """Return a floating dtype: of random numbers others would hold only what is left of them."""
    return floating(dtype, f"{name}: dtype")


def _shape(shape: Any, name: str) -> tuple[int, ...]:
    """Return a tuple of sizes."""
    if not isinstance(shape, (tuple, list)):
        raise ShapeError(f"{name}: shape must be a tuple of sizes; found {shown(shape)}")
    return tuple(size(n, f"{name}: a size in shape {shown(shape)}", 0) for n in shape)


def _two(shape: Any, name: str) -> tuple[int, int]:
    found = _shape(shape, name)
    if len(found) != 2 or 0 in found:
        raise ShapeError(
            f"{name}: expected a matrix shape (out, in), without empty axes; found {found}"
        )
    return found[0], found[1]


def _fan_in(shape: Any, name: str) -> int:
    found = _shape(shape, name)
    if len(found) < 2 or 0 in found:
        raise ShapeError(
            f"{name}: expected the shape (out, in, ...) of a weight, without empty axes; found {found}"
        )
    return math.prod(found[1:])


def _fans(shape: Any, blocks: int, name: str) -> float:
    """Return fan_in + fan_out of each of the blocks."""
    rows, columns = _two(shape, name)
    if rows % size(blocks, f"{name}: blocks"):
        raise ShapeError(f"{name}: {rows} rows are not {blocks} blocks of one size")
    return rows / blocks + columns
