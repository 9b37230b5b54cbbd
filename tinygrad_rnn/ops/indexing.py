"""Indexing: parts of a tensor are taken out, put in, or added up (`scatter`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, TraceError
from ..core.primitive import Spec
from ..core.tape import Where, caller
from ..core.tensor import Tensor, as_array
from .checks import OutOfRangeError
from .define import broadcast, of_one, primitive
from .facts import FREE, Assign, Gather, Scatter
from .shaping import as_view, whole_numbers
from .taking import take
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
        raise OutOfRangeError(
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


_picked = of_one(_getitem.primitive)


def getitem(x: Any, index: Any) -> Any:
    """Return x[index], with basic and advanced indexing as in NumPy.

    An integer tensor as the only index is `take` along axis 0.
    """
    if type(index) not in _PLAIN:
        if isinstance(index, Tensor) and index.dtype.kind in "iu" and index.ndim:
            return take(x, index, 0)
        index = plain_index(index)
    return as_view(x, _picked(x, {"index": index}), index)


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

    Parameters
    ----------
    x : Tensor
        Of the shape of ``zeros[index]``, or one that is broadcast to it.
    index : int, slice, array, or a tuple of them
        What may stand in ``t[index]``.
    shape : tuple of int
        The shape of the result.
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
