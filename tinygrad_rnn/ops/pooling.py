"""Pooling: the largest element or the mean of each window, or of as many parts as are asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError
from ..core.record import apply
from .checks import flag
from .define import operand
from .parts import PARTS_MAX, parts_mean
from .pooled import WINDOW_MAX, window_sum
from .windows import bordered, fit, settings_of


def max_pool1d(
    x: Any,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    """Return the largest element of each window along the last axis.

    Of several, the first gets the gradient, as in PyTorch.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, length)
    size : int
    stride : int, optional
        The size by default: windows that do not overlap.
    padding : int
        Places at both ends that are never the largest; at most half the size.
    dilation : int
    ceil_mode : bool
        Whether a last window that begins on x or on the padding before it may reach beyond the end.

    Returns
    -------
    Tensor, shape (batch, channels, (length + 2 * padding - dilation * (size - 1) - 1) // stride +
    1)
        With `ceil_mode` the quotient is rounded up.
    """
    return _max_pool("max_pool1d", 1, x, size, stride, padding, dilation, ceil_mode)


def max_pool2d(
    x: Any,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    """Return the largest element of each window over height and width.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, height, width)
    size, stride, padding, dilation : int or (int, int)
    ceil_mode : bool
        See `max_pool1d`.
    """
    return _max_pool("max_pool2d", 2, x, size, stride, padding, dilation, ceil_mode)


def avg_pool1d(
    x: Any,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Any:
    """Return the mean of each window along the last axis.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, length)
    size : int
    stride : int, optional
        The size by default: windows that do not overlap.
    padding : int
        Zeros at both ends; at most half the size.
    count_include_pad : bool
        Whether these zeros count (as in PyTorch they do by default); if not, the mean is over the
        elements of x alone.
    ceil_mode : bool
        See `max_pool1d`. What lies beyond the padding never counts.

    Returns
    -------
    Tensor, shape (batch, channels, (length + 2 * padding - size) // stride + 1)
    """
    return _avg_pool("avg_pool1d", 1, x, size, stride, padding, count_include_pad, ceil_mode)


def avg_pool2d(
    x: Any,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Any:
    """Return the mean of each window over height and width.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, height, width)
    size, stride, padding : int or (int, int)
    count_include_pad, ceil_mode : bool
        See `avg_pool1d`.
    """
    return _avg_pool("avg_pool2d", 2, x, size, stride, padding, count_include_pad, ceil_mode)


def adaptive_avg_pool1d(x: Any, size: Any) -> Any:
    """Return the means of as many parts of the last axis as are asked for.

    Part i is from ``i * n // size`` to ``ceil((i + 1) * n / size)`` of the n places, as in PyTorch:
    parts may share a place.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, length)
    size : int
        How many parts.

    Returns
    -------
    Tensor, shape (batch, channels, size)
    """
    return _adaptive("adaptive_avg_pool1d", 1, x, size, False)


def adaptive_avg_pool2d(x: Any, size: Any) -> Any:
    """Return the means of as many parts of height and width as are asked for.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, height, width)
    size : int or (int, int)
        How many parts along each; see `adaptive_avg_pool1d`.
    """
    return _adaptive("adaptive_avg_pool2d", 2, x, size, False)


def adaptive_max_pool1d(x: Any, size: Any) -> Any:
    """Return the largest elements of as many parts of the last axis as are asked for.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, length)
    size : int
        How many parts; see `adaptive_avg_pool1d`.
    """
    return _adaptive("adaptive_max_pool1d", 1, x, size, True)


def adaptive_max_pool2d(x: Any, size: Any) -> Any:
    """Return the largest elements of as many parts of height and width as are asked for.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, height, width)
    size : int or (int, int)
        How many parts along each; see `adaptive_avg_pool1d`.
    """
    return _adaptive("adaptive_max_pool2d", 2, x, size, True)


# --- how they are done ----------------------------------------------------------------------------


def _checked(name: str, k: int, x: Any) -> Any:
    """Return x, which has a batch, channels and k axes."""
    x = operand(x, name)
    if x.ndim != k + 2:
        axes = "length" if k == 1 else "height, width"
        raise ShapeError(
            f"{name}: expected x of shape (batch, channels, {axes}); found {tuple(x.shape)}"
        )
    return x


class _Pool:
    """The settings of a pool of k axes on x, checked.

    Attributes
    ----------
    beyond : list of int
        What `ceil_mode` adds behind the padding of each axis.
    widths : list of (int, int)
        The padding of each axis, with that.
    """

    def __init__(
        self,
        name: str,
        k: int,
        x: Any,
        size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: Any,
    ) -> None:
        self.name, self.k, self.x = name, k, _checked(name, k, x)
        self.size = settings_of(name, k, size=size)["size"]
        steps = settings_of(
            name, k, stride=self.size if stride is None else stride, dilation=dilation
        )
        self.stride, self.dilation = steps["stride"], steps["dilation"]
        self.padding = settings_of(name, k, least=0, padding=padding)["padding"]
        if any(p > n // 2 for p, n in zip(self.padding, self.size, strict=True)):
            raise ShapeError(
                f"{name}: padding {self.padding} is more than half of size {self.size}, so a window might lie on padding alone"
            )
        self.beyond = [0] * k
        if flag(ceil_mode, f"{name}: ceil_mode"):
            self.beyond = [self._beyond(axis) for axis in range(k)]
        self.widths = [(p, p + b) for p, b in zip(self.padding, self.beyond, strict=True)]

    def _beyond(self, axis: int) -> int:
        """Return by how much a last window reaches beyond the end of an axis and its padding."""
        n, p, step = self.x.shape[2 + axis], self.padding[axis], self.stride[axis]
        span = self.dilation[axis] * (self.size[axis] - 1) + 1
        last = -((span - n - 2 * p) // step)  # rounded up
        if last * step >= n + p:  # it would begin behind the last element
            last -= 1
        beyond: int = last * step + span - n - 2 * p
        return max(0, beyond)

    def counts(self, with_padding: bool) -> Any:
        """Return how many elements of x each window has, or of x and its padding."""
        found = np.ones((), self.x.dtype)
        for axis, (n, p, size) in enumerate(
            zip(self.x.shape[2:], self.padding, self.size, strict=True)
        ):
            places = (n + sum(self.widths[axis]) - size) // self.stride[axis] + 1
            starts = np.arange(places) * self.stride[axis] - p
            low, high = (-p, n + p) if with_padding else (0, n)
            each = np.minimum(starts + size, high) - np.maximum(starts, low)
            found = np.multiply.outer(found, each.astype(found.dtype))
        return found

    def bordered(self, border: float) -> tuple[Any, dict[str, tuple[int, ...]]]:
        """Return x in a border, on which a window fits, and size, stride and dilation."""
        padded = bordered(self.x, self.widths, border)
        steps = {"size": self.size, "stride": self.stride, "dilation": self.dilation}
        fit(self.name, self.x, padded, steps)
        return padded, steps


def _floating(name: str, x: Any) -> None:
    if x.dtype.kind != "f":
        raise DtypeError(f"{name}: expected floating numbers; found {x.dtype}")


def _max_pool(
    name: str, k: int, x: Any, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any
) -> Any:
    x = operand(x, name)
    _floating(name, x)
    pool = _Pool(name, k, x, size, stride, padding, dilation, ceil_mode)
    padded, steps = pool.bordered(-math.inf)
    return apply(WINDOW_MAX, (padded,), steps)


def _avg_pool(
    name: str,
    k: int,
    x: Any,
    size: Any,
    stride: Any,
    padding: Any,
    count_include_pad: Any,
    ceil_mode: Any,
) -> Any:
    x = operand(x, name)
    # sums of small integers would not fit their dtype
    x = x if x.dtype.kind == "f" else x.astype(np.float32)
    pool = _Pool(name, k, x, size, stride, padding, 1, ceil_mode)
    with_padding = flag(count_include_pad, f"{name}: count_include_pad")
    padded, steps = pool.bordered(0.0)
    total = padded
    for axis in range(k):
        total = window_sum(
            total, axis - k, *[steps[s][axis] for s in ("size", "stride", "dilation")]
        )
    if with_padding and not any(pool.beyond):
        return total / math.prod(pool.size)
    return total / pool.counts(with_padding)


def _adaptive(name: str, k: int, x: Any, size: Any, largest: bool) -> Any:
    x = _checked(name, k, x)
    _floating(name, x)
    counts = settings_of(name, k, size=size)["size"]
    if 0 in x.shape[2:]:
        raise ShapeError(f"{name}: there is nothing to pool in shape {tuple(x.shape)}")
    if largest:
        return apply(PARTS_MAX, (x,), {"counts": counts})
    for axis, count in enumerate(counts, 2):
        x = parts_mean(x, axis, count)
    return x
