"""Operations that move values about: shapes, joining, indexing. All of them are linear."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any
from weakref import ref

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError, TraceError
from ..core.primitive import Spec
from ..core.record import apply, describe
from ..core.tape import Where, caller
from ..core.tensor import Tensor, as_array, check_dtype, tensor
from .checks import shown, size
from .define import axes_of, axis_of, broadcast, operand, primitive, same_shape
from .elementwise import where

# --- shape ----------------------------------------------------------------------------------------------------------------


def _view(x: Any, made: Any, index: Any = None) -> Any:
    """A result that is a view in NumPy, which remembers of what: `assignment` refuses writes that would be lost."""
    if made.__class__ is Tensor and isinstance(x, Tensor):
        made.viewed = (ref(x), index, getattr(x, "viewed", None))
    return made


def _reshape_shape(x: Any, *, shape: Any) -> Spec:
    known = math.prod(n for n in shape if n != -1)
    unknown = sum(n == -1 for n in shape)
    fits = x.size == known if not unknown else unknown == 1 and known and x.size % known == 0
    if not fits:
        raise ShapeError(f"shape {x.shape} has {x.size} elements and cannot become {tuple(shape)}")
    return Spec([x.size // known if n == -1 else n for n in shape], x.dtype)


@primitive(
    lambda g, like_x: g.reshape(like_x.shape),
    shape=_reshape_shape,
    linear="jointly",
    name="reshape",
    examples=[
        ([(2, 3)], {"shape": (3, 2)}),
        ([(2, 3)], {"shape": (-1,)}),
        ([()], {"shape": (1, 1)}),
        ([(0, 3)], {"shape": (3, 0)}),
    ],
)
def _reshape(x: Any, *, shape: Any) -> Any:
    return np.reshape(x, shape)


def _numbers(given: tuple[Any, ...], what: str) -> tuple[int, ...]:
    """Whole numbers, given one by one or as one sequence."""
    found = given[0] if len(given) == 1 and not isinstance(given[0], (int, np.integer)) else given
    if not isinstance(found, (tuple, list, range, np.ndarray)) or not all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in found
    ):
        raise ShapeError(f"{what} must be whole numbers; found {shown(found)}")
    return tuple(int(n) for n in found)


def reshape(x: Any, *shape: Any) -> Any:
    """The same values in another shape; one size may be -1."""
    x = operand(x, "reshape")
    return _view(x, apply(_reshape.primitive, (x,), {"shape": _numbers(shape, "reshape: shape")}))


def _transpose_shape(x: Any, *, axes: Any) -> Spec:
    if sorted(a % x.ndim if x.ndim else a for a in axes) != list(range(x.ndim)):
        raise ShapeError(f"axes {axes} are no permutation of the {x.ndim} axes")
    return Spec([x.shape[a] for a in axes], x.dtype)


@primitive(
    lambda g, axes: transpose(g, np.argsort([a % len(axes) for a in axes])),
    shape=_transpose_shape,
    linear="jointly",
    name="transpose",
    examples=[
        ([(2, 3)], {"axes": (1, 0)}),
        ([(2, 3, 4)], {"axes": (2, 0, 1)}),
        ([()], {"axes": ()}),
    ],
)
def _transpose(x: Any, *, axes: Any) -> Any:
    return np.transpose(x, axes)


def transpose(x: Any, *axes: Any) -> Any:
    """The axes in another order; without `axes` reversed."""
    x = operand(x, "transpose")
    given = () if len(axes) == 1 and axes[0] is None else _numbers(axes, "transpose: axes")
    return _view(
        x, apply(_transpose.primitive, (x,), {"axes": given or tuple(range(x.ndim)[::-1])})
    )


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged."""
    x = operand(x, "swapaxes")
    axes = list(range(x.ndim))
    a, b = axis_of(axis1, x.ndim), axis_of(axis2, x.ndim)
    axes[a], axes[b] = b, a
    return transpose(x, axes)


def expand_dims(x: Any, axis: Any) -> Any:
    """New axes of size 1, at places given in the result."""
    x = operand(x, "expand_dims")
    if axis is None:
        raise ShapeError("expand_dims: axis must be an int or a tuple of them; found None")
    axes = axes_of(axis, x.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1))
    sizes = iter(x.shape)
    return reshape(x, [1 if i in axes else next(sizes) for i in range(x.ndim + len(axes))])


def squeeze(x: Any, axis: Any = None) -> Any:
    """Without the axes of size 1 (all of them, or those named)."""
    x = operand(x, "squeeze")
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else axes_of(axis, x.ndim)
    if any(x.shape[a] != 1 for a in axes):
        raise ShapeError(f"squeeze: expected size 1 on axis {axis}; found shape {x.shape}")
    return reshape(x, [n for i, n in enumerate(x.shape) if i not in axes])


def _broadcast_shape(x: Any, *, shape: Any) -> Spec:
    shape = _numbers((shape,), "the shape")
    if broadcast(x.shape, tuple(shape)) != tuple(shape):
        raise ShapeError(f"shape {x.shape} cannot be spread to {tuple(shape)}")
    return Spec(shape, x.dtype)


@primitive(
    lambda g: g,
    shape=_broadcast_shape,
    linear="jointly",
    broadcasts=True,
    name="broadcast_to",
    examples=[
        ([(1, 3)], {"shape": (2, 3)}),
        ([()], {"shape": (2, 2)}),
        ([(3,)], {"shape": (2, 3)}),
        ([(1, 3)], {"shape": (0, 3)}),
    ],
)
def _broadcast_to(x: Any, *, shape: Any) -> Any:
    return np.broadcast_to(x, _numbers((shape,), "the shape"))


def broadcast_to(x: Any, shape: Any) -> Any:
    """x repeated along axes of size 1 and new leading axes, without copying."""
    return _view(x, _broadcast_to(x, shape))


# --- joining and repeating ------------------------------------------------------------------------------------------------


def _concatenate_shape(*tensors: Any, axis: int) -> Spec:
    a = axis_of(axis, tensors[0].ndim)
    for i, t in enumerate(tensors):
        if t.ndim != tensors[0].ndim or any(
            t.shape[k] != tensors[0].shape[k] for k in range(t.ndim) if k != a
        ):
            raise ShapeError(
                f"operand {i} has shape {t.shape}; expected {tensors[0].shape} except on axis {axis}"
            )
    shape = list(tensors[0].shape)
    shape[a] = sum(t.shape[a] for t in tensors)
    return Spec(shape, np.result_type(*(t.dtype for t in tensors)))


def _concatenate_rule(g: Any, like_inputs: Any, axis: int, position: int) -> Any:
    axis = axis % g.ndim
    start = sum(n.shape[axis] for n in like_inputs[:position])
    return g[(slice(None),) * axis + (slice(start, start + like_inputs[position].shape[axis]),)]


@primitive(
    _concatenate_rule,
    shape=_concatenate_shape,
    linear="jointly",
    name="concatenate",
    examples=[([(2, 3), (1, 3)], {"axis": 0}), ([(2, 3), (2, 1), (2, 0)], {"axis": -1})],
)
def _concatenate(*tensors: Any, axis: int) -> Any:
    return np.concatenate(tensors, axis=axis)


def _several(tensors: Any, name: str) -> tuple[Any, ...]:
    if isinstance(tensors, (Tensor, np.ndarray)) and tensors.ndim:
        tensors = list(tensors)
    if not isinstance(tensors, (list, tuple)):
        raise ShapeError(f"{name}: expected a list of tensors; found {shown(tensors)}")
    found = tuple(tensors)
    if not found:
        raise ShapeError(f"{name}: expected at least one tensor; the list is empty")
    return found


def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Any:
    """Tensors joined along an axis that they have; axis None: flattened first, as in NumPy."""
    found = _several(tensors, "concatenate")
    if axis is None:
        found, axis = tuple([reshape(t, -1) for t in found]), 0
    return apply(_concatenate.primitive, found, {"axis": axis})


def _stack_shape(*tensors: Any, axis: int) -> Spec:
    for i, t in enumerate(tensors):
        if t.shape != tensors[0].shape:
            raise ShapeError(
                f"operand {i} has shape {t.shape}; expected {tensors[0].shape} as the first"
            )
    a = axis_of(axis, tensors[0].ndim + 1)
    shape = list(tensors[0].shape)
    return Spec([*shape[:a], len(tensors), *shape[a:]], np.result_type(*(t.dtype for t in tensors)))


@primitive(
    lambda g, axis, position: g[(slice(None),) * (axis % g.ndim) + (position,)],
    shape=_stack_shape,
    linear="jointly",
    name="stack",
    examples=[
        ([(2, 3), (2, 3)], {"axis": 0}),
        ([(2,), (2,)], {"axis": -1}),
        ([(), ()], {"axis": 0}),
    ],
)
def _stack(*tensors: Any, axis: int) -> Any:
    return np.stack(tensors, axis=axis)


def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Tensors of one shape joined along a new axis."""
    found = _several(tensors, "stack")
    return apply(
        _stack.primitive,
        found,
        {"axis": axis_of(axis, np.ndim(found[0]) + 1) if isinstance(axis, bool) else axis},
    )


def split(x: Any, parts: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Consecutive parts along an axis.

    A number of equal ones, or the indices at which to cut (as in NumPy).
    """
    x = operand(x, "split")
    a = axis_of(axis, x.ndim)
    n = x.shape[a]
    if isinstance(parts, (int, np.integer)) and not isinstance(parts, bool):
        if parts < 1 or n % parts:
            raise ShapeError(
                f"split: axis {axis} of shape {tuple(x.shape)} has size {n}, which {parts} equal parts do not divide"
            )
        cuts = [i * (n // parts) for i in range(parts + 1)]
    else:
        cuts = [0, *_numbers((parts,), "split: parts"), n]
    lead = (slice(None),) * a
    return [x[(*lead, slice(start, stop))] for start, stop in itertools.pairwise(cuts)]


def flip(x: Any, axis: Any = None) -> Any:
    """The order reversed along axes (all by default)."""
    x = operand(x, "flip")
    axes = axes_of(axis, x.ndim)
    return x[tuple([slice(None, None, -1) if i in axes else slice(None) for i in range(x.ndim)])]


def _roll_shape(x: Any, *, shift: Any, axis: Any = None) -> Spec:
    axes_of(axis, x.ndim)
    return Spec(x.shape, x.dtype)


def _roll_rule(g: Any, shift: Any, axis: Any) -> Any:
    return roll(g, tuple(-s for s in shift) if isinstance(shift, tuple) else -shift, axis)


@primitive(
    _roll_rule,
    shape=_roll_shape,
    linear="jointly",
    examples=[
        ([(4,)], {"shift": 1}),
        ([(2, 3)], {"shift": (1, 2), "axis": (0, 1)}),
        ([(2, 3)], {"shift": -1}),
        ([(4,)], {"shift": (1, 2), "axis": 0}),
    ],
)
def roll(x: Any, *, shift: Any, axis: Any = None) -> Any:
    """Values moved along axes; what falls off one end comes in at the other. axis None.

    Over the flattened tensor.
    """
    _numbers((shift,), "roll: shift")
    # an axis may be named twice
    axes_of(tuple(dict.fromkeys(axis, 0)) if isinstance(axis, (tuple, list)) else axis, x.ndim)
    return np.roll(x, shift, axis)


def _pairs(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    try:
        given = np.asarray(pad_width)
        if given.dtype.kind not in "iu":
            raise ValueError
        return [(int(a), int(b)) for a, b in np.broadcast_to(given, (ndim, 2))]
    except ValueError:
        raise ShapeError(
            f"pad_width {pad_width} is no number, pair, or pair for each of {ndim} axes"
        ) from None


def _pad_shape(x: Any, *, pad_width: Any, value: float = 0.0) -> Spec:
    pairs = _pairs(pad_width, x.ndim)
    if any(n < 0 for pair in pairs for n in pair):
        raise ShapeError(f"pad_width {pad_width} has a negative entry")
    return Spec([n + a + b for n, (a, b) in zip(x.shape, pairs, strict=True)], x.dtype)


def _pad_rule(g: Any, like_x: Any, pad_width: Any) -> Any:
    return g[
        tuple(
            [
                slice(a, a + n)
                for n, (a, _) in zip(like_x.shape, _pairs(pad_width, like_x.ndim), strict=True)
            ]
        )
    ]


@primitive(
    _pad_rule,
    shape=_pad_shape,
    tangent=lambda t, out, x, pad_width, value: pad(t, pad_width),
    examples=[
        ([(2, 3)], {"pad_width": 1}),
        ([(2, 3)], {"pad_width": ((0, 1), (2, 0)), "value": 1.5}),
        ([(0,)], {"pad_width": (1, 1)}),
    ],
)
def pad(x: Any, *, pad_width: Any, value: Any = 0.0) -> Any:
    """A border of a constant, a number (nan, too): `pad_width` is a number, a pair (before, after), or a pair for each axis."""
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TinygradError(f"pad: value must be a number; found {shown(value)}")
    return (
        np.array(x) if not x.ndim else np.pad(x, _pairs(pad_width, x.ndim), constant_values=value)
    )


def _triangle_shape(x: Any, *, k: int = 0) -> Spec:
    if x.ndim < 2:
        raise ShapeError(f"expected at least two axes; found shape {x.shape}")
    return Spec(x.shape, x.dtype)


@primitive(
    lambda g, k: tril(g, k),
    shape=_triangle_shape,
    linear="jointly",
    examples=[([(3, 3)], {}), ([(2, 2, 3)], {"k": -1})],
)
def tril(x: Any, *, k: int = 0) -> Any:
    """Zero above the k-th diagonal of the last two axes."""
    _triangle_shape(x)
    return np.tril(x, k)


@primitive(
    lambda g, k: triu(g, k),
    shape=_triangle_shape,
    linear="jointly",
    examples=[([(3, 3)], {}), ([(2, 2, 3)], {"k": 1})],
)
def triu(x: Any, *, k: int = 0) -> Any:
    """Zero below the k-th diagonal of the last two axes."""
    _triangle_shape(x)
    return np.triu(x, k)


# --- indexing -------------------------------------------------------------------------------------------------------------


_PLAIN = {int, slice, type(None), type(Ellipsis)}


def plain_index(index: Any) -> Any:
    """An index without tensors in it."""
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
    """An index as messages show it."""
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
    """Whether NumPy gives a view for an index, not a copy."""
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


@primitive(
    lambda g, like_x, index: scatter(g, index, like_x.shape),
    shape=_getitem_shape,
    linear="jointly",
    name="getitem",
    examples=[([(2, 3)], {"index": i}) for i in INDICES]
    + [([(3,)], {"index": np.array([True, False, True])}), ([(0, 3)], {"index": slice(None)})],
)
def _getitem(x: Any, *, index: Any) -> Any:
    return x[index]


def _add_at(total: Any, g: Any, *, index: Any) -> None:
    if is_basic(index) or getattr(index, "dtype", None) == np.bool_:
        total[index] += g
    else:
        np.add.at(total, index, g)


_getitem.primitive.add_into = _add_at


def getitem(x: Any, index: Any) -> Any:
    """x[index]: basic and advanced indexing as in NumPy.

    An integer tensor as the only index is `take` along axis 0.
    """
    if type(index) not in _PLAIN:
        if isinstance(index, Tensor) and index.dtype.kind in "iu" and index.ndim:
            return take(x, index, 0)
        index = plain_index(index)
    return _view(x, apply(_getitem.primitive, (x,), {"index": index}), index)


def _scatter_shape(x: Any, *, index: Any, shape: Any) -> Spec:
    return Spec(_numbers((shape,), "the shape"), x.dtype)


@primitive(
    lambda g, index: g[index],
    shape=_scatter_shape,
    linear="jointly",
    examples=[
        ([(3,)], {"index": (0,), "shape": (2, 3)}),
        ([(3,)], {"index": (np.array([0, 1, 0]),), "shape": (2,)}),
    ],
)
def scatter(x: Any, *, index: Any, shape: Any) -> Any:
    """Zeros of a shape, with x added at an index: the transpose of indexing.

    Elements named twice add up.
    """
    out = np.zeros(_numbers((shape,), "the shape"), x.dtype)
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
)
def setitem(x: Any, value: Any, *, index: Any) -> Any:
    """A copy of x with value at an index: what ``x[index] = value`` records.

    Elements named twice get one of the values.
    """
    out = np.array(x)
    out[index] = value
    return out


def integers(given: Any, what: str) -> Any:
    """Indices as a Tensor or an array.

    From a number, nested lists, an array or a tensor of integers.
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
    """Integers, checked to be from 0 to count - 1.

    Those of a trace when they are looked up, for which a negative one becomes `count`.
    """
    known = ids.array if isinstance(ids, Tensor) else ids
    if isinstance(known, Spec):
        return ids if ids.dtype.kind == "u" else where(ids < 0, count, ids.astype(np.int64))
    if known.size and (known.min() < 0 or known.max() >= count):
        raise ShapeError(
            f"{what} from {known.min()} to {known.max()}; expected 0 to {count - 1}, one of the {count} {names}"
        )
    return ids


def _places(name: str, x: Any, indices: Any) -> Any:
    """Indices as an array that NumPy takes, which refuses uint64."""
    if isinstance(indices, (Tensor, np.ndarray, Spec)) and indices.dtype.kind == "i":
        return indices
    found: Any = integers(indices, f"{name}({describe(x)}, indices): the indices")
    return found.astype(np.int64) if found.dtype == np.uint64 else found


def _in_range(indices: Any, n: int) -> None:
    if (
        isinstance(indices, np.ndarray)
        and indices.size
        and not (-n <= indices.min() and indices.max() < n)
    ):
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
)
def _take(x: Any, indices: Any, *, axis: int = 0) -> Any:
    return np.take(x, indices, axis_of(axis, x.ndim))


def take(x: Any, indices: Any, axis: int = 0) -> Any:
    """x at integer indices along an axis, negative ones from its end.

    The gradients of elements taken twice add up.
    """
    return apply(_take.primitive, (operand(x, "take"), _places("take", x, indices)), {"axis": axis})


def _added(add: Any, tangents: Any, indices: Any, out: Any, axis: int) -> Any:
    """Tangent of adding at indices.

    The same addition of the tangents (`out` is saved for its shape).
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
)
def _index_add(x: Any, indices: Any, value: Any, *, axis: int = 0) -> Any:
    out = np.array(x)
    np.add.at(out, (slice(None),) * (axis % x.ndim) + (indices,), value)
    return out


def index_add(x: Any, indices: Any, value: Any, axis: int = 0) -> Any:
    """A copy of x with value added at integer indices along an axis; indices that repeat add up."""
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
    lambda g, indices, like_x, axis: _add_along_axis(
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
)
def _take_along_axis(x: Any, indices: Any, *, axis: int = -1) -> Any:
    return np.take_along_axis(x, indices, axis_of(axis, x.ndim))


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """For each row along an axis, the elements at that row's own indices (as `numpy.take_along_axis`)."""
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
    tangent=lambda t, out, x, indices, value, axis: _added(_add_along_axis, t, indices, out, axis),
    examples=[([(2, 3), np.array([[2, 2], [0, 1]]), (2, 2)], {"axis": 1})],
)
def _add_along_axis(x: Any, indices: Any, value: Any, *, axis: int = -1) -> Any:
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
)
def _one_hot(indices: Any, *, classes: int, dtype: Any = np.float32) -> Any:
    if indices.size and (indices.min() < 0 or indices.max() >= classes):
        raise ShapeError(f"indices from {indices.min()} to {indices.max()} for {classes} classes")
    return np.eye(classes, dtype=dtype)[indices]


def one_hot(indices: Any, classes: int, dtype: Any = np.float32) -> Any:
    """1 at the index and 0 elsewhere along a new last axis of size `classes`; no gradient."""
    params = {
        "classes": size(classes, "one_hot: classes"),
        "dtype": check_dtype("" if dtype is None else dtype),
    }
    return apply(_one_hot.primitive, (integers(indices, "one_hot: the indices"),), params)
