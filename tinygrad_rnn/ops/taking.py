"""Operations by whole numbers along an axis: take, index_add, take_along_axis, put_along_axis, one_hot."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError
from ..core.memory import copied, empty
from ..core.primitive import Spec
from ..core.record import apply, describe
from ..core.tape import Where, caller
from ..core.tensor import Tensor, check_dtype, tensor
from ..kernels.places import at_places
from .checks import OutOfRangeError, shown, size
from .define import axis_of, broadcast, further, operand, primitive
from .elementwise import where
from .facts import AtIndices, OneHot
from .shaping import broadcast_to


def integers(given: Any, what: str) -> Any:
    """Return indices as a Tensor or an array.

    They may be given as a number, nested lists, an array or a tensor of integers.
    """
    made: Any
    try:
        made = given if isinstance(given, (Tensor, np.ndarray, Spec)) else tensor(given)
    except DtypeError:
        raise DtypeError(
            f"{what} must be integers; found {shown(given)}{Where(*caller()).described()}"
        ) from None
    if made.size == 0 and isinstance(given, (list, tuple)):
        made = made.astype(np.int64)  # an empty list has no dtype of its own
    if made.dtype.kind not in "iu":
        raise DtypeError(
            f"{what} must be integers; found {made.dtype}{Where(*caller()).described()}"
        )
    return made


def within(ids: Any, count: int, what: str, names: str) -> Any:
    """Return integers, which are checked to be from 0 to count - 1.

    Those of a trace are checked when they are looked up, for which a negative one becomes `count`.
    """
    known = ids.array if isinstance(ids, Tensor) else ids
    if isinstance(known, Spec) or getattr(ids, "unknown", False):
        return ids if ids.dtype.kind == "u" else where(ids < 0, count, ids.astype(np.int64))
    # a negative one is a very large one without its sign: one look at all of them is enough
    bits = known.view(f"u{known.itemsize}")
    if known.size and not bits.max() < count and (known.min() < 0 or known.max() >= count):
        raise OutOfRangeError(
            f"{what} from {known.min()} to {known.max()}; expected 0 to {count - 1}, one of the {count} {names}"
        )
    return ids


def _places(name: str, x: Any, indices: Any) -> Any:
    """Return indices in a dtype that NumPy takes: it refuses uint64."""
    if isinstance(indices, (Tensor, np.ndarray, Spec)) and indices.dtype.kind == "i":
        return indices
    found: Any = integers(indices, f"{name}({describe(x)}, indices): the indices")
    return found.astype(np.int64) if found.dtype == np.uint64 else found


def _fits(indices: Any, n: int) -> bool:
    """Whether all indices stand for a place on an axis of n."""
    return not indices.size or bool(-n <= indices.min() and indices.max() < n)


def _in_range(indices: Any, n: int) -> None:
    if isinstance(indices, np.ndarray) and not _fits(indices, n):
        raise OutOfRangeError(
            f"indices from {indices.min()} to {indices.max()} on an axis of size {n}"
        )


def _take_shape(x: Any, indices: Any, *, axis: int = 0) -> Spec:
    a = axis_of(axis, x.ndim)
    _in_range(indices, x.shape[a])
    return Spec([*x.shape[:a], *indices.shape, *x.shape[a + 1 :]], x.dtype)


@primitive(
    lambda g, indices, like_x, axis: index_add(
        np.zeros(like_x.shape, like_x.dtype), indices, g, axis
    ),
    None,
    shape=_take_shape,
    linear="each",
    promotes=slice(0, 1),
    name="take",
    examples=[
        ([(3, 2), np.array([0, 2, 0])], {"axis": 0}),
        ([(2, 3), np.array([[1], [-1]])], {"axis": 1}),
    ],
    moves=AtIndices(adds=False, aligned=False),
    rule_in_words="Zeros, to which each row of g is added at the index that it was taken from.",
)
def _take(x: Any, indices: Any, *, axis: int = 0) -> Any:
    try:
        return np.take(x, indices, axis_of(axis, x.ndim))
    except IndexError as error:
        raise OutOfRangeError(str(error)) from None


def take(x: Any, indices: Any, axis: int = 0, **others: Any) -> Any:
    """Return x at integer indices along an axis; negative ones count from its end.

    The gradients of elements that are taken twice add up.

    Parameters
    ----------
    x : Tensor
    indices : int, or Tensor or array of int
        Of any shape, which takes the place of the axis in the result; from -n to n - 1, n its size.
    axis : int
        Along which axis.
    **others
        NumPy's `mode` for indices beyond the axis: "raise" an error, or "wrap" or "clip" them.
    """
    if others:
        return further(take, "take", (x, indices), {"axis": axis}, others)
    return apply(_take.primitive, (operand(x, "take"), _places("take", x, indices)), {"axis": axis})


def _added(add: Any, tangents: Any, indices: Any, out: Any, axis: int) -> Any:
    """Return the tangent of adding at indices.

    It is the same addition of the tangents (`out` is saved for its shape).
    """
    onto, _, value = tangents
    return (
        onto
        if value is None
        else add(np.zeros(out.shape, out.dtype) if onto is None else onto, indices, value, axis)
    )


def _index_add_shape(x: Any, indices: Any, value: Any, *, axis: int = 0) -> Spec:
    expected = _take_shape(x, indices, axis=axis).shape
    if tuple(value.shape) != expected:
        raise ShapeError(f"expected values of shape {expected}; found {value.shape}")
    return Spec(x.shape, x.dtype)


@primitive(
    lambda g: g,
    None,
    lambda g, out, indices, axis: take(g, indices, axis),
    shape=_index_add_shape,
    promotes=slice(0, 3, 2),
    tangent=lambda t, out, x, indices, value, axis: _added(index_add, t, indices, out, axis),
    name="index_add",
    examples=[
        ([(3, 2), np.array([0, 2, 0]), (3, 2)], {"axis": 0}),
        ([(2, 3), np.array([1]), (2, 1)], {"axis": 1}),
    ],
    moves=AtIndices(adds=True, aligned=False),
    linear_if=lambda params: True,
)
def _index_add(x: Any, indices: Any, value: Any, *, axis: int = 0) -> Any:
    out, axis = np.array(x), axis % x.ndim
    few = np.size(value) < SORTED or value.size == indices.size
    if axis or few or value.dtype.kind != "f" or not _fits(indices, len(x)):
        np.add.at(out, (slice(None),) * axis + (indices,), value)
        return out
    flat = indices.ravel() % len(x)
    order = np.argsort(flat, kind="stable")
    begins = np.flatnonzero(np.diff(flat[order], prepend=-1))
    # sums of the rows for each index, of which there is one then
    sums = np.add.reduceat(value.reshape(flat.size, -1)[order], begins, axis=0)
    out.reshape(len(x), -1)[flat[order[begins]]] += sums
    return out


SORTED = 2_048  # elements from which on sorting rows by their index is faster than `add.at`


def index_add(x: Any, indices: Any, value: Any, axis: int = 0) -> Any:
    """Return a copy of x with value added at integer indices along an axis.

    What is added at an index that repeats adds up.

    Parameters
    ----------
    x : Tensor
    indices : array of int, of any shape
        From -n to n - 1, n the size of the axis.
    value : Tensor
        Of the shape of `take` with these indices, or one that is broadcast to it.
    axis : int
    """
    return apply(
        _index_add.primitive,
        (operand(x, "index_add"), _places("index_add", x, indices), value),
        {"axis": axis},
    )


def _along_shape(x: Any, indices: Any, *, axis: int = -1) -> Spec:
    a = axis_of(axis, x.ndim)
    if x.ndim != indices.ndim or any(
        m != n for k, (m, n) in enumerate(zip(x.shape, indices.shape, strict=True)) if k != a
    ):
        raise ShapeError(
            f"expected indices of shape {x.shape} except on axis {axis}; found {indices.shape}"
        )
    _in_range(indices, x.shape[a])
    return Spec(indices.shape, x.dtype)


@primitive(
    lambda g, indices, like_x, axis: add_along_axis(
        np.zeros(like_x.shape, like_x.dtype), indices, g, axis
    ),
    None,
    shape=_along_shape,
    linear="each",
    promotes=slice(0, 1),
    name="take_along_axis",
    examples=[
        ([(2, 3), np.array([[2], [0]])], {"axis": 1}),
        ([(2, 3), np.array([[1, 1, 0]])], {"axis": 0}),
    ],
    moves=AtIndices(adds=False, aligned=True),
)
def _take_along_axis(x: Any, indices: Any, *, axis: int = -1) -> Any:
    out = empty(indices.shape, x.dtype)
    if _in_one_pass("take", x, indices, out, axis):
        return out
    places = _flat(indices, x.shape, axis)
    # which are in range: "clip" does not look once more
    return np.take(x.reshape(-1), places, out=out, mode="clip") if x.size else out


def _in_one_pass(name: str, array: Any, indices: Any, other: Any, axis: int) -> bool | None:
    """Whether machine code took, added or put at the indices; what it does not do is for NumPy.

    It takes indices with the sizes of the array except on the axis. Beyond the axis it stops; then
    NumPy says what is wrong.
    """
    a, shape, given = axis_of(axis, array.ndim), array.shape, indices.shape
    fits = given == other.shape and (*shape[:a], *given[a : a + 1], *shape[a + 1 :]) == given
    return at_places(name, array, indices, other, a) if fits else None


def _flat(indices: Any, shape: tuple[int, ...], axis: int) -> Any:
    """Return the numbers of elements at indices along an axis, of an array of this shape.

    One index for all elements is several times as quick as one for each axis.
    """
    a = axis_of(axis, len(shape))
    _along_shape(Spec(shape), indices, axis=a)
    n, inner = shape[a], math.prod(shape[a + 1 :])
    if indices.size and indices.min() < 0:
        indices = np.where(indices < 0, indices + n, indices)
    rest = [n for n in (*shape[:a], *shape[a + 1 :]) if n != 1]
    if not rest:
        return indices
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    steps = [
        (np.arange(n) * stride).reshape([-1 if m == k else 1 for m in range(len(shape))])
        for k, (n, stride) in enumerate(zip(shape, strides, strict=True))
        if k != a and n != 1
    ]
    out = empty(indices.shape, np.dtype(np.int64))
    if inner == 1:
        return np.add(indices, functools.reduce(np.add, steps), out=out)
    np.multiply(indices, inner, out=out)
    for step in steps:
        out += step
    return out


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """Return the elements at indices along an axis, where each row has its own indices.

    It is `numpy.take_along_axis`.

    Parameters
    ----------
    x : Tensor
    indices : Tensor or array of int
        With as many axes as x. Except on `axis` both are broadcast to common sizes.
    axis : int
        Along which axis.
    """
    x, indices = operand(x, "take_along_axis"), _places("take_along_axis", x, indices)
    return apply(_take_along_axis.primitive, _aligned(x, indices, axis), {"axis": axis})


def _aligned(x: Any, indices: Any, axis: Any) -> tuple[Any, Any]:
    """Return an operand and indices of the same sizes except on an axis.

    What does not broadcast is left as it is: the operation says what does not fit.
    """
    ours, theirs = tuple(x.shape), tuple(indices.shape)
    if len(ours) != len(theirs) or not ours:
        return x, indices
    a = axis_of(axis, len(ours))
    if ours[:a] == theirs[:a] and ours[a + 1 :] == theirs[a + 1 :]:
        return x, indices
    try:
        lead, rest = broadcast(ours[:a], theirs[:a]), broadcast(ours[a + 1 :], theirs[a + 1 :])
    except ShapeError:
        return x, indices
    return (
        broadcast_to(x, (*lead, ours[a], *rest)),
        broadcast_to(indices, (*lead, theirs[a], *rest)),
    )


def _valued_shape(x: Any, indices: Any, value: Any, *, axis: int = -1) -> Spec:
    expected = _along_shape(x, indices, axis=axis).shape
    if tuple(value.shape) != expected:
        raise ShapeError(f"expected values of shape {expected}; found {tuple(value.shape)}")
    return Spec(x.shape, x.dtype)


@primitive(
    lambda g: g,
    None,
    lambda g, out, indices, axis: take_along_axis(g, indices, axis),
    promotes=slice(0, 3, 2),
    name="add_along_axis",
    shape=_valued_shape,
    tangent=lambda t, out, x, indices, value, axis: _added(add_along_axis, t, indices, out, axis),
    examples=[([(2, 3), np.array([[2, 2], [0, 1]]), (2, 2)], {"axis": 1})],
    moves=AtIndices(adds=True, aligned=True),
    linear_if=lambda params: True,
)
def add_along_axis(x: Any, indices: Any, value: Any, *, axis: int = -1) -> Any:
    """Return x with a value added where `take_along_axis` would read with these indices."""
    out = copied(x)
    if not _in_one_pass("add", out, indices, value, axis):
        places = _flat(indices, x.shape, axis).reshape(-1)
        np.add.at(out.reshape(-1), places, np.broadcast_to(value, indices.shape).reshape(-1))
    return out


def _put(tangents: Any, indices: Any, out: Any, axis: int) -> Any:
    """Return the tangent of writing at indices: tangents are written alike.

    `out` is saved for its shape.
    """
    onto, _, value = tangents
    if value is None:
        value = np.zeros(indices.shape, onto.dtype)
    elif onto is None:
        onto = np.zeros(out.shape, out.dtype)
    return _put_along_axis(onto, indices, value, axis)


def _last(g: Any, indices: Any, out: Any, axis: int) -> Any:
    """Return the gradients of values that were written: 0 for those that another one replaced."""
    a = axis % len(indices.shape)
    numbers = np.arange(indices.shape[a]).reshape((-1,) + (1,) * (len(indices.shape) - 1 - a))
    numbers = np.broadcast_to(numbers, indices.shape)
    there = _put_along_axis(np.zeros(out.shape, np.int64), indices, numbers, axis)
    return where(
        take_along_axis(there, indices, axis) == numbers, take_along_axis(g, indices, axis), 0.0
    )


@primitive(
    lambda g, indices, axis: _put_along_axis(g, indices, np.zeros(indices.shape, g.dtype), axis),
    None,
    lambda g, indices, out, axis: _last(g, indices, out, axis),
    promotes=slice(0, 3, 2),
    name="put_along_axis",
    shape=_valued_shape,
    tangent=lambda t, out, x, indices, value, axis: _put(t, indices, out, axis),
    examples=[
        ([(2, 3), np.array([[2, 0, 2], [0, 1, 0]]), (2, 3)], {"axis": 1}),
        ([(3, 2), np.array([[1, 0], [1, 2], [1, 2]]), (3, 2)], {"axis": 0}),
        ([(4,), np.array([-1, 1]), (2,)], {"axis": 0}),
    ],
    moves=AtIndices(adds=False, aligned=True, puts=True),
    linear_if=lambda params: True,
    rule_in_words="The elements of g at the indices; 0 for a value that a later one replaced.",
)
def _put_along_axis(x: Any, indices: Any, value: Any, *, axis: int = -1) -> Any:
    out = copied(x)
    if not _in_one_pass("put", out, indices, value, axis):
        out.reshape(-1)[_flat(indices, x.shape, axis)] = value
    return out


def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1) -> Any:
    """Return a copy of x with values at indices along an axis, where each row has its own indices.

    Of several values for one element the last one counts, and has the gradient.

    Parameters
    ----------
    x : Tensor
    indices : Tensor or array of int
        As in `take_along_axis`.
    values : Tensor, array or number
        Of the shape of the indices, or one that is broadcast to it.
    axis : int
        Along which axis.
    """
    x, indices = operand(x, "put_along_axis"), _places("put_along_axis", x, indices)
    values = operand(values, "put_along_axis: values")
    if tuple(values.shape) != tuple(indices.shape):
        values = broadcast_to(values, indices.shape)
    return apply(_put_along_axis.primitive, (x, indices, values), {"axis": axis})


def _one_hot_shape(indices: Any, *, classes: int, dtype: Any = np.float32) -> Spec:
    return Spec((*indices.shape, classes), dtype)


@primitive(
    shape=_one_hot_shape,
    name="one_hot",
    examples=[
        ([np.array([[0], [2]])], {"classes": 3}),
        ([np.array([], int)], {"classes": 2, "dtype": np.float64}),
    ],
    moves=OneHot(),
)
def _one_hot(indices: Any, *, classes: int, dtype: Any = np.float32) -> Any:
    if indices.size and (indices.min() < 0 or indices.max() >= classes):
        raise OutOfRangeError(
            f"indices from {indices.min()} to {indices.max()} for {classes} classes"
        )
    return np.eye(classes, dtype=dtype)[indices]


def one_hot(indices: Any, classes: int, dtype: Any = np.float32) -> Any:
    """Return 1 at the index and 0 elsewhere, along a new last axis; no gradient.

    Parameters
    ----------
    indices : int, or Tensor or array of int
        From 0 to classes - 1; a negative one is an error.
    classes : int
        The size of the new axis.
    dtype : dtype
        Of the result.
    """
    params = {
        "classes": size(classes, "one_hot: classes"),
        "dtype": check_dtype("" if dtype is None else dtype),
    }
    return apply(_one_hot.primitive, (integers(indices, "one_hot: the indices"),), params)
