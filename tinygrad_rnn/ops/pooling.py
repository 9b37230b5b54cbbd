"""Pooling: the largest element or the mean of each window, or of as many parts as are asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError
from ..core.memory import empty
from ..core.primitive import Spec
from ..core.record import apply
from ..core.tensor import Tensor
from ..kernels import places
from .checks import flag
from .define import axis_of, operand, primitive
from .reductions import argmax
from .shaping import broadcast_to, expand_dims, squeeze, stack
from .taking import add_along_axis, take_along_axis
from .windows import bordered, fit, settings_of, unwindows, windows, windows_shape


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


# --- the largest element of each window -----------------------------------------------------------


def _window_shape(x: Any, *, size: Any, stride: Any, dilation: Any) -> Spec:
    steps = {"size": size, "stride": stride, "dilation": dilation}
    return Spec(windows_shape(x, **steps).shape[: -len(size)], x.dtype)


def _places_shape(x: Any, *, size: Any, stride: Any, dilation: Any) -> Spec:
    return Spec(_window_shape(x, size=size, stride=stride, dilation=dilation).shape, np.int64)


def _in_row(x: Any, k: int) -> Any:
    """Return x with its last k axes as one."""
    return x.reshape((*x.shape[:-k], math.prod(x.shape[-k:])))


def _places_of_others(x: Any, size: Any, stride: Any, dilation: Any) -> Any:
    k = len(size)
    numbers = np.arange(math.prod(x.shape[-k:])).reshape(x.shape[-k:])
    each = _in_row(windows(numbers, size, stride, dilation), k)
    first = argmax(_in_row(windows(x, size, stride, dilation), k), -1)
    each = broadcast_to(each, (*first.shape, each.shape[-1]))
    return squeeze(take_along_axis(each, expand_dims(first, -1), -1), -1)


def _window_max_of_others(x: Any, size: Any, stride: Any, dilation: Any) -> Any:
    return _largest(_in_row(windows(x, size, stride, dilation), len(size)))


WINDOWS = [
    ([(2, 7)], {"size": (3,), "stride": (2,), "dilation": (1,)}),
    ([(1, 2, 5, 6)], {"size": (2, 3), "stride": (1, 2), "dilation": (2, 1)}),
]


@primitive(shape=_places_shape, examples=WINDOWS, decomposition=_places_of_others)
def window_argmax(x: Any, *, size: Any, stride: Any, dilation: Any) -> Any:
    """Return where the first of the largest elements of each window is, counted along its axes."""
    steps = {"size": size, "stride": stride, "dilation": dilation}
    k, out = len(size), empty(_places_shape(x, **steps).shape, np.dtype(np.int64))
    if k > 2 or not out.size:
        return _places_of_others(x, **steps)
    images = x.reshape((-1, *(1,) * (2 - k), *x.shape[-k:]))
    counts = out.reshape((-1, *(1,) * (2 - k), *out.shape[-k:]))
    each = [n for given in steps.values() for n in ((1,) * (2 - k) + tuple(given))]
    return out if places.largest(images, tuple(each), counts) else _places_of_others(x, **steps)


def _window_max_rule(g: Any, x: Any, size: Any, stride: Any, dilation: Any) -> Any:
    k, found = len(size), window_argmax(x, size, stride, dilation)
    zeros = np.zeros((*x.shape[:-k], math.prod(x.shape[-k:])), g.dtype)
    return add_along_axis(zeros, _in_row(found, k), _in_row(g, k), -1).reshape(x.shape)


def _window_max_tangent(t: Any, out: Any, x: Any, *, size: Any, stride: Any, dilation: Any) -> Any:
    k, found = len(size), window_argmax(x, size, stride, dilation)
    return take_along_axis(_in_row(t, k), _in_row(found, k), -1).reshape(found.shape)


@primitive(
    _window_max_rule,
    shape=_window_shape,
    tangent=_window_max_tangent,
    name="window_max",
    examples=WINDOWS,
    decomposition=_window_max_of_others,
    rule_in_words="The first of the largest elements of a window gets its gradient.",
)
def _window_max(x: Any, *, size: Any, stride: Any, dilation: Any) -> Any:
    found = window_argmax(x, size, stride, dilation)
    k = len(size)
    return take_along_axis(_in_row(x, k), _in_row(found, k), -1).reshape(found.shape)


# --- sums of windows along one axis ---------------------------------------------------------------

SEVERAL = (
    16  # elements of a window up to which adding all first ones, all second ones, ... is quicker
)


def _summed_shape(x: Any, *, axis: int, size: int, stride: int, dilation: int) -> Spec:
    a = axis_of(axis, x.ndim)
    count = (x.shape[a] - dilation * (size - 1) - 1) // stride + 1
    if count < 1:
        raise ShapeError(f"no window of {size} fits on axis {axis} of shape {x.shape}")
    return Spec((*x.shape[:a], count, *x.shape[a + 1 :]), x.dtype)


def _spread_shape(x: Any, *, axis: int, length: int, size: int, stride: int, dilation: int) -> Spec:
    a = axis_of(axis, x.ndim)
    return Spec((*x.shape[:a], length, *x.shape[a + 1 :]), x.dtype)


def _each(whole: Any, axis: int, count: int, size: int, stride: int, dilation: int) -> list[Any]:
    """Return the first elements of all windows, the second ones, and so on."""
    lead = (slice(None),) * (axis % whole.ndim)
    starts = range(0, dilation * size, dilation)
    return [whole[(*lead, slice(s, s + stride * (count - 1) + 1, stride))] for s in starts]


def _summed_of_others(x: Any, axis: int, size: int, stride: int, dilation: int) -> Any:
    parts = windows(x.swapaxes(axis, -1), size, stride, dilation)
    return parts.sum(axis=-1).swapaxes(axis, -1)


def _spread_of_others(x: Any, axis: int, length: int, size: int, stride: int, dilation: int) -> Any:
    g = expand_dims(x.swapaxes(axis, -1), -1)
    g = unwindows(broadcast_to(g, (*g.shape[:-1], size)), length, stride, dilation)
    return g.swapaxes(axis, -1)


@primitive(
    lambda g, like_x, axis, size, stride, dilation: _spread(
        g, axis, like_x.shape[axis], size, stride, dilation
    ),
    shape=_summed_shape,
    linear="jointly",
    name="window_sum",
    examples=[
        ([(2, 7)], {"axis": -1, "size": 3, "stride": 2, "dilation": 1}),
        ([(6, 2)], {"axis": 0, "size": 2, "stride": 1, "dilation": 3}),
    ],
    decomposition=_summed_of_others,
    rule_in_words="Each element gets the gradients of all windows that it is in.",
)
def _summed(x: Any, *, axis: int, size: int, stride: int, dilation: int) -> Any:
    shape = _summed_shape(x, axis=axis, size=size, stride=stride, dilation=dilation).shape
    if size > SEVERAL:
        return _summed_of_others(x, axis, size, stride, dilation)
    first, *others = _each(x, axis, shape[axis], size, stride, dilation)
    out = empty(shape, x.dtype)
    if not others:
        np.copyto(out, first)
        return out
    np.add(first, others[0], out=out)
    for other in others[1:]:
        out += other
    return out


@primitive(
    lambda g, axis, size, stride, dilation: _summed(g, axis, size, stride, dilation),
    shape=_spread_shape,
    linear="jointly",
    name="window_spread",
    examples=[
        ([(2, 3)], {"axis": -1, "length": 8, "size": 3, "stride": 2, "dilation": 1}),
        ([(3, 2)], {"axis": 0, "length": 6, "size": 2, "stride": 1, "dilation": 3}),
    ],
    decomposition=_spread_of_others,
)
def _spread(x: Any, *, axis: int, length: int, size: int, stride: int, dilation: int) -> Any:
    """Add each number to all elements of its window: the transpose of `window_sum`."""
    out = empty((*x.shape[: axis % x.ndim], length, *x.shape[axis % x.ndim + 1 :]), x.dtype)
    out[...] = 0
    for part in _each(out, axis, x.shape[axis], size, stride, dilation):
        part += x
    return out


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


def _largest(parts: Any, axis: int = -1) -> Any:
    first = expand_dims(argmax(parts, axis), axis)
    if isinstance(first, Tensor) and first.node is None:  # an index, which is not recorded
        first.name = "place of the largest"
    return squeeze(take_along_axis(parts, first, axis), axis)


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
    return apply(_window_max.primitive, (padded,), steps)


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
    pool = _Pool(name, k, x, size, stride, padding, 1, ceil_mode)
    with_padding = flag(count_include_pad, f"{name}: count_include_pad")
    padded, steps = pool.bordered(0.0)
    total = padded
    for axis in range(k):
        total = _summed(total, axis - k, *[steps[s][axis] for s in ("size", "stride", "dilation")])
    if with_padding and not any(pool.beyond):
        return total * (1.0 / math.prod(pool.size))
    return total / pool.counts(with_padding)


def _adaptive(name: str, k: int, x: Any, size: Any, largest: bool) -> Any:
    x = _checked(name, k, x)
    _floating(name, x)
    counts = settings_of(name, k, size=size)["size"]
    if 0 in x.shape[2:]:
        raise ShapeError(f"{name}: there is nothing to pool in shape {tuple(x.shape)}")
    # the last axis first, so that of equal elements the first in the order of rows is found
    for axis, count in reversed(list(enumerate(counts, 2))):
        x = _pooled(x, axis, count, largest)
    return x


def _pooled(x: Any, axis: int, count: int, largest: bool) -> Any:
    """Return x with parts of an axis made to one element each."""
    n = x.shape[axis]
    if n % count == 0:  # parts that do not meet
        parts = x.reshape((*x.shape[:axis], count, n // count, *x.shape[axis + 1 :]))
        return _largest(parts, axis + 1) if largest else parts.mean(axis=axis + 1)
    found = []
    for k in range(count):
        place = slice(k * n // count, -(-(k + 1) * n // count))
        part = x[(*[slice(None)] * axis, place)]
        found.append(_largest(part, axis) if largest else part.mean(axis=axis))
    return stack(found, axis)
