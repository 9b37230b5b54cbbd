"""As many parts of axes as are asked for: their means and their largest elements.

Part i of `count` is from ``i * n // count`` to ``ceil((i + 1) * n / count)`` of the n places of an
axis, as in PyTorch: parts may share a place.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ..core.memory import empty
from ..core.primitive import Primitive, Spec
from ..kernels import places
from .define import primitive
from .pooled import given_back, largest, resized, taken
from .reductions import argmax
from .shaping import broadcast_to, stack
from .shifting import pad
from .taking import take


def _places_of(n: int, count: int) -> list[slice]:
    """Return the parts of an axis of n places."""
    return [slice(k * n // count, -(-(k + 1) * n // count)) for k in range(count)]


def _each(whole: Any, axis: int, count: int) -> list[Any]:
    lead = (slice(None),) * (axis % whole.ndim)
    return [whole[(*lead, part)] for part in _places_of(whole.shape[axis], count)]


# --- means ----------------------------------------------------------------------------------------


def _mean_shape(x: Any, *, axis: int, count: int) -> Spec:
    return resized(x, axis, count)


def _spread_shape(x: Any, *, axis: int, length: int) -> Spec:
    return resized(x, axis, length)


def _mean_of_others(x: Any, axis: int, count: int) -> Any:
    n, a = x.shape[axis], axis % x.ndim
    if n % count == 0:  # parts that do not meet
        parts = x.reshape((*x.shape[:a], count, n // count, *x.shape[a + 1 :]))
        return parts.mean(axis=a + 1)
    return stack([part.mean(axis=a) for part in _each(x, a, count)], a)


def _spread_of_others(x: Any, axis: int, length: int) -> Any:
    a, total = axis % x.ndim, 0.0
    for k, part in enumerate(_places_of(length, x.shape[a])):
        size = part.stop - part.start
        one = x[(*(slice(None),) * a, slice(k, k + 1))] / size
        whole = broadcast_to(one, (*x.shape[:a], size, *x.shape[a + 1 :]))
        around = [(0, 0)] * x.ndim
        around[a] = (part.start, length - part.stop)
        total = total + pad(whole, tuple(around))
    return total


@primitive(
    lambda g, like_x, axis: parts_spread(g, axis, like_x.shape[axis]),
    shape=_mean_shape,
    linear="jointly",
    floating=True,
    examples=[([(2, 7)], {"axis": -1, "count": 3}), ([(6, 2)], {"axis": 0, "count": 2})],
    decomposition=_mean_of_others,
    rule_in_words="Each element gets the gradients of the means that it is in, divided by their counts.",
)
def parts_mean(x: Any, *, axis: int, count: int) -> Any:
    """Return the means of as many parts of an axis as are asked for."""
    axis = axis % x.ndim
    out = empty(resized(x, axis, count).shape, x.dtype)
    made = np.moveaxis(out, axis, 0)
    for k, part in enumerate(_each(x, axis, count)):
        np.divide(part.sum(axis=axis), part.shape[axis], out=made[k])
    return out


@primitive(
    lambda g, like_x, axis: parts_mean(g, axis, like_x.shape[axis]),
    shape=_spread_shape,
    linear="jointly",
    floating=True,
    examples=[([(2, 3)], {"axis": -1, "length": 7}), ([(2, 2)], {"axis": 0, "length": 6})],
    decomposition=_spread_of_others,
)
def parts_spread(x: Any, *, axis: int, length: int) -> Any:
    """Give each number, divided by their count, to all elements of its part: the transpose of `parts_mean`."""
    axis = axis % x.ndim
    out = empty(resized(x, axis, length).shape, x.dtype)
    out[...] = 0
    for k, part in enumerate(_each(out, axis, x.shape[axis])):
        part += x[(*(slice(None),) * axis, slice(k, k + 1))] / part.shape[axis]
    return out


# --- the largest elements -------------------------------------------------------------------------


def _max_shape(x: Any, *, counts: Any) -> Spec:
    return Spec((*x.shape[: -len(counts)], *counts), x.dtype)


def _argmax_shape(x: Any, *, counts: Any) -> Spec:
    return Spec(_max_shape(x, counts=counts).shape, np.int64)


def _max_of_others(x: Any, counts: Any) -> Any:
    # the last axis first, so that of equal elements the first in the order of rows is found
    for a, count in reversed(list(enumerate(counts, x.ndim - len(counts)))):
        n = x.shape[a]
        if n % count == 0:  # parts that do not meet
            x = largest(x.reshape((*x.shape[:a], count, n // count, *x.shape[a + 1 :])), a + 1)
        else:
            x = stack([largest(part, a) for part in _each(x, a, count)], a)
    return x


EXAMPLES = [([(2, 7)], {"counts": (3,)}), ([(1, 2, 5, 6)], {"counts": (2, 3)})]


def _argmax_of_others(x: Any, counts: Any) -> Any:
    k, found = len(counts), []
    numbers = np.arange(math.prod(x.shape[-k:])).reshape(x.shape[-k:])
    parts = (_places_of(n, count) for n, count in zip(x.shape[-k:], counts, strict=True))
    for part in itertools.product(*parts):
        row = x[(..., *part)]
        first = argmax(row.reshape((*row.shape[:-k], math.prod(row.shape[-k:]))), -1)
        found.append(take(numbers[part].reshape(-1), first))
    return stack(found, -1).reshape((*x.shape[:-k], *counts))


@primitive(shape=_argmax_shape, examples=EXAMPLES, decomposition=_argmax_of_others)
def parts_argmax(x: Any, *, counts: Any) -> Any:
    """Return where the first of the largest elements of each part is, counted along the last axes."""
    k, out = len(counts), empty(_argmax_shape(x, counts=counts).shape, np.dtype(np.int64))
    if k <= 2 and out.size:
        images = x.reshape((-1, *(1,) * (2 - k), *x.shape[-k:]))
        if places.largest_of_parts(images, out.reshape((-1, *(1,) * (2 - k), *counts))):
            return out
    return _argmax_of_others(x, counts)


@primitive(
    lambda g, x, counts: given_back(g, x, parts_argmax(x, counts), len(counts)),
    shape=_max_shape,
    tangent=lambda t, out, x, counts: taken(t, parts_argmax(x, counts), len(counts)),
    examples=EXAMPLES,
    decomposition=_max_of_others,
    rule_in_words="The first of the largest elements of a part gets its gradient.",
)
def parts_max(x: Any, *, counts: Any) -> Any:
    """Return the largest elements of as many parts of the last axes as are asked for."""
    return taken(x, parts_argmax(x, counts), len(counts))


PARTS_MAX: Primitive = parts_max.primitive
