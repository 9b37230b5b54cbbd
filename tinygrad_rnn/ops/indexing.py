"""Operations that take parts of a tensor out, put them in, or add them up, at indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, TraceError
from ..core.primitive import Spec
from ..core.record import apply, describe
from ..core.tape import Where, caller
from ..core.tensor import Tensor, as_array, check_dtype, tensor
from .checks import shown, size
from .define import axis_of, broadcast, operand, primitive, same_shape
from .elementwise import where
from .facts import FREE, Assign, AtIndices, Gather, OneHot, Scatter
from .shaping import as_view, whole_numbers
from .views import Axis, Piece, Size, View, bounds_of, index_parts, is_affine, start_and_step

# --- indexing ------------------------------------------------------------------------------------


_PLAIN = {int, slice, type(None), type(Ellipsis)}


def plain_index(index: Any) -> Any:
    """Return an index with arrays in place of the tensors in it."""
    if type(index) in _PLAIN:
        return index
    if isinstance(index, Tensor):
        if index.dtype.kind not in "iub":
            raise DtypeError(f"an index must be integers or booleans; found a {index.dtype} tensor")
        if isinstance(index.array, Spec):
            raise TraceError(
                f"an index whose values are not known ({index.array}): the function is being traced. tg.take(x, i, axis) and "
                f"tg.take_along_axis(x, i, axis) take such indices, tg.where such conditions.{Where(*caller()).described()}"
            )
        return index.numpy()
    if isinstance(index, tuple):
        return tuple([plain_index(i) for i in index])
    if isinstance(index, list):
        return np.asarray(index) if index else np.zeros(0, np.intp)
    # the node keeps it, and the caller may write into his own
    return as_array(index).copy() if isinstance(index, np.ndarray) else index


def _getitem_shape(x: Any, *, index: Any) -> Spec:
    try:
        return Spec(np.broadcast_to(np.zeros((), x.dtype), x.shape)[index].shape, x.dtype)
    except IndexError as error:
        raise ShapeError(
            f"index {show_index(index)} does not fit shape {x.shape}: {error}"
        ) from None


def show_index(index: Any) -> str:
    """Return an index as messages show it."""
    parts = index if isinstance(index, tuple) else (index,)
    names = [
        f"array{i.shape}" if isinstance(i, np.ndarray) else "..." if i is Ellipsis else i
        for i in parts
    ]
    shown = [
        ":".join(
            "" if n is None else str(n)
            for n in (i.start, i.stop, i.step)[: 2 + (i.step is not None)]
        )
        if isinstance(i, slice)
        else str(i)
        for i in names
    ]
    return f"[{', '.join(shown)}]"


def is_basic(index: Any) -> bool:
    """Whether NumPy returns a view for an index, and not a copy."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or isinstance(i, (int, np.integer, slice)) for i in parts)


INDICES: list[Any] = [
    (0,),
    (slice(None), 1),
    (Ellipsis, slice(0, 3, 2)),
    (np.array([0, 1, 0]),),
    (None, 1),
    (np.array([[1], [0]]), np.array([0, 2])),
]


def _add_at(total: Any, g: Any, *, index: Any) -> None:
    if is_basic(index) or getattr(index, "dtype", None) == np.bool_:
        total[index] += g
    else:
        np.add.at(total, index, g)


def _getitem_view(
    params: dict[str, Any], source: Sequence[Size], shape: Sequence[Size]
) -> View | None:
    if not is_affine(params["index"]):
        return None
    axes: list[Axis] = []
    sizes, rank = iter(source), 0
    for part in index_parts(params["index"], len(source)):
        if part is None:
            rank += 1
        elif isinstance(part, slice):
            start, step = start_and_step(part, next(sizes))
            axes.append(Axis(((rank, step),), start))
            rank += 1
        else:
            axes.append(Axis((), start_and_step(part, next(sizes))[0]))
    return View(tuple(axes), rank)


@primitive(
    lambda g, like_x, index: scatter(g, index, like_x.shape),
    shape=_getitem_shape,
    linear="jointly",
    name="getitem",
    examples=[([(2, 3)], {"index": i}) for i in INDICES]
    + [([(3,)], {"index": np.array([True, False, True])}), ([(0, 3)], {"index": slice(None)})],
    cost=FREE,
    view=_getitem_view,
    moves=Gather(),
    add_into=_add_at,
    formula="x[index]",
    rule_in_words="Zeros, with g at the places that were taken.",
)
def _getitem(x: Any, *, index: Any) -> Any:
    return x[index]


def getitem(x: Any, index: Any) -> Any:
    """Return x[index], with basic and advanced indexing as in NumPy.

    An integer tensor as the only index is `take` along axis 0.
    """
    if type(index) not in _PLAIN:
        if isinstance(index, Tensor) and index.dtype.kind in "iu" and index.ndim:
            return take(x, index, 0)
        index = plain_index(index)
    return as_view(x, apply(_getitem.primitive, (x,), {"index": index}), index)


def _scatter_shape(x: Any, *, index: Any, shape: Any) -> Spec:
    return Spec(whole_numbers((shape,), "the shape"), x.dtype)


def _scatter_pieces(
    params: dict[str, Any], sources: Sequence[Sequence[Size]], shape: Sequence[Size]
) -> tuple[Piece, ...] | None:
    if not is_affine(params["index"]):
        return None
    parts = index_parts(params["index"], len(shape))
    if any(isinstance(p, slice) and p.step not in (None, 1) for p in parts):
        return None
    axes: list[Axis] = []
    box: list[tuple[int, int] | None] = []
    for part in parts:
        if part is None:
            axes.append(Axis())
            continue
        k, n = len(box), shape[len(box)]
        start, step = start_and_step(part, n)
        if not step:
            box.append((start, start + 1))
            continue
        axes.append(Axis(((k, 1),), -start))
        box.append(bounds_of(part, n))
    return (Piece(0, tuple(box), View(tuple(axes), len(shape))),)


@primitive(
    lambda g, index: g[index],
    shape=_scatter_shape,
    linear="jointly",
    examples=[
        ([(3,)], {"index": (0,), "shape": (2, 3)}),
        ([(3,)], {"index": (np.array([0, 1, 0]),), "shape": (2,)}),
    ],
    pieces=_scatter_pieces,
    moves=Scatter(lambda whole, params, shape: whole[params["index"]]),
)
def scatter(x: Any, *, index: Any, shape: Any) -> Any:
    """Return zeros of a shape, with x added at an index: the transpose of indexing.

    What is added to an element that the index names twice adds up.
    """
    out = np.zeros(whole_numbers((shape,), "the shape"), x.dtype)
    if is_basic(index) or getattr(index, "dtype", None) == np.bool_:
        out[index] = x
    else:
        np.add.at(out, index, x)
    return out


def _shape(value: Any) -> tuple[int, ...]:
    return getattr(value, "shape", ())


def _setitem_shape(x: Any, value: Any, *, index: Any) -> Spec:
    part = _getitem_shape(x, index=index).shape
    if broadcast(part, _shape(value)) != part:
        raise ShapeError(
            f"a value of shape {_shape(value)} does not fit {show_index(index)}, which has shape {part}"
        )
    return Spec(x.shape, x.dtype)


@primitive(
    lambda g, index: setitem(g, 0.0, index),
    lambda g, index: g[index],
    shape=_setitem_shape,
    linear="jointly",
    broadcasts=True,
    examples=[
        ([(2, 3), (3,)], {"index": (0,)}),
        ([(2, 3), ()], {"index": (slice(None), 1)}),
        ([(3,), (2,)], {"index": np.array([2, 0])}),
        ([(2, 3), (1, 3)], {"index": np.array([True, False])}),
    ],
    moves=Assign(),
)
def setitem(x: Any, value: Any, *, index: Any) -> Any:
    """Return a copy of x with value at an index: what ``x[index] = value`` records.

    An element that the index names twice gets one of the values.
    """
    out = np.array(x)
    out[index] = value
    return out


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
    if known.size and (known.min() < 0 or known.max() >= count):
        raise ShapeError(
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
        raise ShapeError(f"indices from {indices.min()} to {indices.max()} on an axis of size {n}")


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
    return np.take(x, indices, axis_of(axis, x.ndim))


def take(x: Any, indices: Any, axis: int = 0) -> Any:
    """Return x at integer indices along an axis; negative ones count from its end.

    The gradients of elements that are taken twice add up.
    """
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
    return np.take_along_axis(x, indices, axis_of(axis, x.ndim))


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """Return the elements at indices along an axis, where each row has its own indices.

    It is `numpy.take_along_axis`.
    """
    return apply(
        _take_along_axis.primitive,
        (operand(x, "take_along_axis"), _places("take_along_axis", x, indices)),
        {"axis": axis},
    )


@primitive(
    lambda g: g,
    None,
    lambda g, out, indices, axis: take_along_axis(g, indices, axis),
    promotes=slice(0, 3, 2),
    name="add_along_axis",
    shape=same_shape,
    tangent=lambda t, out, x, indices, value, axis: _added(add_along_axis, t, indices, out, axis),
    examples=[([(2, 3), np.array([[2, 2], [0, 1]]), (2, 2)], {"axis": 1})],
    moves=AtIndices(adds=True, aligned=True),
    linear_if=lambda params: True,
)
def add_along_axis(x: Any, indices: Any, value: Any, *, axis: int = -1) -> Any:
    """Return x with a value added where `take_along_axis` would read with these indices."""
    out = np.array(x)
    places = [
        np.arange(n).reshape([-1 if k == i else 1 for k in range(x.ndim)])
        for i, n in enumerate(indices.shape)
    ]
    places[axis] = indices
    np.add.at(out, tuple(places), value)
    return out


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
        raise ShapeError(f"indices from {indices.min()} to {indices.max()} for {classes} classes")
    return np.eye(classes, dtype=dtype)[indices]


def one_hot(indices: Any, classes: int, dtype: Any = np.float32) -> Any:
    """Return 1 at the index and 0 elsewhere, along a new last axis; no gradient.

    `classes` is the size of that axis.
    """
    params = {
        "classes": size(classes, "one_hot: classes"),
        "dtype": check_dtype("" if dtype is None else dtype),
    }
    return apply(_one_hot.primitive, (integers(indices, "one_hot: the indices"),), params)
