"""Tensors of random numbers. `rng` is a NumPy generator, a seed, or None (fresh entropy).

There is no global seed. A generator moves on with each call, a seed gives the same numbers again::

    rng = np.random.default_rng(0)
    x = tg.random.normal((2, 3), rng=rng)

What is drawn is a constant, also where a function is recorded for `tg.jit`: there draw outside, and
hand the numbers over.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .core.errors import TinygradError
from .core.primitive import Array
from .core.tensor import Tensor, tensor
from .init import generator
from .ops.checks import flag, floating, number, size
from .ops.making import shape_of

__all__ = ["bernoulli", "integers", "normal", "permutation", "uniform"]


def _floats(values: Array, dtype: Any, requires_grad: bool, what: str) -> Tensor:
    asked = flag(requires_grad, f"{what}: requires_grad")
    return tensor(values, floating(dtype, f"{what}: dtype"), requires_grad=asked)


def normal(
    shape: Any,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    rng: Any = None,
    dtype: Any = np.float32,
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers of a normal distribution.

    Parameters
    ----------
    shape : int or tuple of int
    mean, std : float
        The mean and the standard deviation.
    rng : Generator or int, optional
    dtype : dtype
        float32 or float64.
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    sizes = shape_of((shape,), "random.normal")
    middle = number(mean, "random.normal: mean")
    width = number(std, "random.normal: std", "[0, inf)")
    values = middle + width * generator(rng).standard_normal(sizes)
    return _floats(np.asarray(values), dtype, requires_grad, "random.normal")


def uniform(
    shape: Any,
    low: float = 0.0,
    high: float = 1.0,
    *,
    rng: Any = None,
    dtype: Any = np.float32,
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers that are uniform on [low, high).

    Rounded to float32, a number may be `high` itself.

    Parameters
    ----------
    shape : int or tuple of int
    low, high : float
        The ends of the interval.
    rng : Generator or int, optional
    dtype : dtype
        float32 or float64.
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    sizes = shape_of((shape,), "random.uniform")
    first, last = number(low, "random.uniform: low"), number(high, "random.uniform: high")
    if last < first:
        raise TinygradError(f"random.uniform: high must be at least low; found {low} and {high}")
    values = generator(rng).uniform(first, last, sizes)
    return _floats(np.asarray(values), dtype, requires_grad, "random.uniform")


def integers(low: int, high: int | None = None, *, shape: Any = (), rng: Any = None) -> Tensor:
    """Return whole numbers from low to high - 1, or from 0 to low - 1, as int64.

    Parameters
    ----------
    low : int
    high : int, optional
        It does not belong to them.
    shape : int or tuple of int
    rng : Generator or int, optional
    """
    first = 0 if high is None else size(low, "random.integers: low", -(2**63))
    last = size(*((low, "random.integers: low") if high is None else (high, "random.integers: high")), first + 1)  # fmt: skip
    values = generator(rng).integers(first, last, shape_of((shape,), "random.integers"))
    return tensor(np.asarray(values))


def bernoulli(shape: Any, p: float = 0.5, *, rng: Any = None, dtype: Any = np.float32) -> Tensor:
    """Return numbers that are 1 with a probability, and 0 otherwise.

    Parameters
    ----------
    shape : int or tuple of int
    p : float
        The probability of 1.
    rng : Generator or int, optional
    dtype : dtype
        float32 or float64.
    """
    sizes = shape_of((shape,), "random.bernoulli")
    chance = number(p, "random.bernoulli: p", "[0, 1]")
    return _floats(
        np.asarray(generator(rng).random(sizes) < chance), dtype, False, "random.bernoulli"
    )


def permutation(n: int, *, rng: Any = None) -> Tensor:
    """Return the whole numbers from 0 to n - 1 in a random order, as int64."""
    return tensor(generator(rng).permutation(size(n, "random.permutation: n", 0)).astype(np.int64))
