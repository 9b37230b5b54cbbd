"""What becomes of windows in pools: their largest elements, and sums along one axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.memory import empty
from ..core.primitive import Primitive, Spec
from ..core.tensor import Tensor
from ..kernels import places
from .define import axis_of, primitive
from .reductions import argmax
from .shaping import broadcast_to, expand_dims, squeeze
from .taking import add_along_axis, take_along_axis
from .windows import unwindows, windows, windows_shape

# --- the largest element of each window -----------------------------------------------------------


def largest(parts: Any, axis: int = -1) -> Any:
    """Return the largest elements along an axis; the first of equal ones gets the gradient."""
    first = expand_dims(argmax(parts, axis), axis)
    if isinstance(first, Tensor) and first.node is None:  # an index, which is not recorded
        first.name = "place of the largest"
    return squeeze(take_along_axis(parts, first, axis), axis)


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
    return largest(_in_row(windows(x, size, stride, dilation), len(size)))


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


def taken(x: Any, found: Any, k: int) -> Any:
    """Return the elements of x at places that are counted along its last k axes."""
    return take_along_axis(_in_row(x, k), _in_row(found, k), -1).reshape(found.shape)


def given_back(g: Any, x: Any, found: Any, k: int) -> Any:
    """Return zeros like x, with g added at the places: the transpose of `taken`."""
    zeros = np.zeros((*x.shape[:-k], math.prod(x.shape[-k:])), g.dtype)
    return add_along_axis(zeros, _in_row(found, k), _in_row(g, k), -1).reshape(x.shape)


@primitive(
    lambda g, x, size, stride, dilation: given_back(
        g, x, window_argmax(x, size, stride, dilation), len(size)
    ),
    shape=_window_shape,
    tangent=lambda t, out, x, size, stride, dilation: taken(
        t, window_argmax(x, size, stride, dilation), len(size)
    ),
    name="window_max",
    examples=WINDOWS,
    decomposition=_window_max_of_others,
    rule_in_words="The first of the largest elements of a window gets its gradient.",
)
def _window_max(x: Any, *, size: Any, stride: Any, dilation: Any) -> Any:
    return taken(x, window_argmax(x, size, stride, dilation), len(size))


# --- sums of windows along one axis ---------------------------------------------------------------


def resized(x: Any, axis: int, size: int) -> Spec:
    """Return the Spec of x with another size on an axis."""
    a = axis_of(axis, x.ndim)
    return Spec((*x.shape[:a], size, *x.shape[a + 1 :]), x.dtype)


SEVERAL = 16  # elements of a window up to which all first ones are added, then all second ones


def _summed_shape(x: Any, *, axis: int, size: int, stride: int, dilation: int) -> Spec:
    length, span = x.shape[axis_of(axis, x.ndim)], dilation * (size - 1) + 1
    count = (length - span) // stride + 1
    if count < 1:
        raise ShapeError(
            f"a window of size {size} with dilation {dilation} covers {span} places; axis {axis} of shape {x.shape} has {length}"
        )
    return resized(x, axis, count)


def _spread_shape(x: Any, *, axis: int, length: int, size: int, stride: int, dilation: int) -> Spec:
    return resized(x, axis, length)


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
    examples=[
        ([(2, 7)], {"axis": -1, "size": 3, "stride": 2, "dilation": 1}),
        ([(6, 2)], {"axis": 0, "size": 2, "stride": 1, "dilation": 3}),
    ],
    decomposition=_summed_of_others,
    rule_in_words="Each element gets the gradients of all windows that it is in.",
)
def window_sum(x: Any, *, axis: int, size: int, stride: int, dilation: int) -> Any:
    """Return the sums of windows along an axis."""
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
    lambda g, axis, size, stride, dilation: window_sum(g, axis, size, stride, dilation),
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
    out = empty(resized(x, axis, length).shape, x.dtype)
    out[...] = 0
    for part in _each(out, axis, x.shape[axis], size, stride, dilation):
        part += x
    return out


WINDOW_MAX: Primitive = _window_max.primitive
