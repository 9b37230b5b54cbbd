"""Operations on shapes: reshape, transpose, join, split, roll, pad. All of them are linear."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any
from weakref import ref

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Primitive, Spec
from ..core.record import apply
from ..core.tensor import Tensor
from .checks import shown
from .define import axes_of, axis_of, broadcast, further, numpys, of_one, operand, primitive
from .facts import FREE, Gather
from .views import Axis, Piece, Regrouped, Size, View, known_size, on_axis, reshaped, shifted

# --- shape ---------------------------------------------------------------------------------------


def as_view(x: Any, made: Any, index: Any = None) -> Any:
    """Let a result remember of what it is a view, and return it.

    In NumPy a write to it would show in the other; `assignment` refuses writes that would be lost.
    """
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


def _reshape_view(
    params: dict[str, Any], source: Sequence[Size], shape: Sequence[Size]
) -> View | Regrouped:
    return reshaped(source, shape)


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
    cost=FREE,
    view=_reshape_view,
    moves=Gather(),
    rule_in_words="The same numbers in the shape of x.",
)
def _reshape(x: Any, *, shape: Any) -> Any:
    return x.reshape(shape)


_regrouped = of_one(_reshape.primitive)


INT = frozenset((int,))  # of which bool is none


def whole_numbers(given: tuple[Any, ...], what: str) -> tuple[int, ...]:
    """Return whole numbers that were given one by one or as one sequence."""
    found = given[0] if len(given) == 1 and not isinstance(given[0], (int, np.integer)) else given
    if type(found) is tuple and INT.issuperset(map(type, found)):
        return found
    if not isinstance(found, (tuple, list, range, np.ndarray)) or not all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in found
    ):
        raise ShapeError(f"{what} must be whole numbers; found {shown(found)}")
    return tuple(int(n) for n in found)


def reshape(x: Any, *shape: Any, **others: Any) -> Any:
    """Return the same values in another shape; one size may be -1.

    Parameters
    ----------
    x : Tensor, array or number
    *shape : int
        The sizes, one by one or as one tuple.
    **others
        The shape by its name, and `order` and `copy`, which have NumPy's defaults.
    """
    if others:
        return further(reshape, "reshape", (x, *shape), {}, others)
    x = operand(x, "reshape")
    return as_view(x, _regrouped(x, {"shape": whole_numbers(shape, "reshape: shape")}))


def _transpose_shape(x: Any, *, axes: Any) -> Spec:
    if sorted(a % x.ndim if x.ndim else a for a in axes) != list(range(x.ndim)):
        raise ShapeError(f"axes {axes} are no permutation of the {x.ndim} axes")
    return Spec([x.shape[a] for a in axes], x.dtype)


def _transpose_view(params: dict[str, Any], source: Sequence[Size], shape: Sequence[Size]) -> View:
    axes = [a % len(shape) for a in params["axes"]]
    return View(tuple([Axis(((axes.index(k), 1),)) for k in range(len(axes))]), len(axes))


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
    cost=FREE,
    view=_transpose_view,
    rule_in_words="The axes back in their old order.",
)
def _transpose(x: Any, *, axes: Any) -> Any:
    return x.transpose(axes)


_reordered = of_one(_transpose.primitive)


def transpose(x: Any, *axes: Any, **others: Any) -> Any:
    """Bring the axes into another order; without `axes`, reverse them.

    Parameters
    ----------
    x : Tensor, array or number
    *axes : int
        All axes in their new order, one by one or as one tuple.
    **others
        The axes by their name.
    """
    if others:
        return further(transpose, "transpose", (x, *axes), {}, others)
    x = operand(x, "transpose")
    given = () if len(axes) == 1 and axes[0] is None else whole_numbers(axes, "transpose: axes")
    return as_view(x, _reordered(x, {"axes": given or tuple(range(x.ndim)[::-1])}))


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Exchange two axes.

    Parameters
    ----------
    x : Tensor, array or number
    axis1, axis2 : int
        Which; negative ones count from the last.
    """
    x = operand(x, "swapaxes")
    axes = list(range(x.ndim))
    a, b = axis_of(axis1, x.ndim), axis_of(axis2, x.ndim)
    axes[a], axes[b] = b, a
    return transpose(x, axes)


def expand_dims(x: Any, axis: Any) -> Any:
    """Insert axes of size 1, at places that are given in the result."""
    x = operand(x, "expand_dims")
    if axis is None:
        raise ShapeError("expand_dims: axis must be an int or a tuple of them; found None")
    axes = axes_of(axis, x.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1))
    sizes = iter(x.shape)
    return reshape(x, [1 if i in axes else next(sizes) for i in range(x.ndim + len(axes))])


def squeeze(x: Any, axis: Any = None) -> Any:
    """Remove the axes of size 1: all of them, or those that are named."""
    x = operand(x, "squeeze")
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else axes_of(axis, x.ndim)
    if any(x.shape[a] != 1 for a in axes):
        raise ShapeError(f"squeeze: expected size 1 on axis {axis}; found shape {x.shape}")
    return reshape(x, [n for i, n in enumerate(x.shape) if i not in axes])


def _broadcast_shape(x: Any, *, shape: Any) -> Spec:
    shape = whole_numbers((shape,), "the shape")
    if broadcast(x.shape, tuple(shape)) != tuple(shape):
        raise ShapeError(f"shape {x.shape} cannot be spread to {tuple(shape)}")
    return Spec(shape, x.dtype)


def _broadcast_view(params: dict[str, Any], source: Sequence[Size], shape: Sequence[Size]) -> View:
    lead = len(shape) - len(source)
    axes = [Axis() if n == 1 else Axis(((k, 1),)) for k, n in enumerate(source, lead)]
    return View(tuple(axes), len(shape))


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
    cost=FREE,
    view=_broadcast_view,
    rule_in_words="g, summed over the axes along which x was spread.",
)
def _broadcast_to(x: Any, *, shape: Any) -> Any:
    shape = whole_numbers((shape,), "the shape")
    if x.size == 1 and x.ndim <= len(shape):  # what sums bring back, in a quarter of the time
        found = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
        found.setflags(write=False)
        return found
    return np.broadcast_to(x, shape)


def broadcast_to(x: Any, shape: Any) -> Any:
    """Repeat x along axes of size 1 and new leading axes, without copying."""
    return as_view(x, _broadcast_to(x, shape))


# --- joining and repeating ----------------------------------------------------------------------


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


def _concatenate_pieces(
    params: dict[str, Any], sources: Sequence[Sequence[Size]], shape: Sequence[Size]
) -> tuple[Piece, ...]:
    axis, start, found = params["axis"] % len(shape), 0, []
    for k, source in enumerate(sources):
        stop = start + known_size(source[axis])
        found.append(shifted(k, len(shape), axis, (start, stop), -start))
        start = stop
    return tuple(found)


@primitive(
    _concatenate_rule,
    shape=_concatenate_shape,
    linear="jointly",
    name="concatenate",
    examples=[([(2, 3), (1, 3)], {"axis": 0}), ([(2, 3), (2, 1), (2, 0)], {"axis": -1})],
    pieces=_concatenate_pieces,
    rule_in_words="The part of g at the place where this input stands.",
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


def concatenate(tensors: Sequence[Any], axis: int | None = 0, **others: Any) -> Any:
    """Join tensors along an axis that they have; with axis None they are flattened first.

    Parameters
    ----------
    tensors : list of Tensor or array
    axis : int, optional
        Along which axis.
    **others
        NumPy's `dtype`, to which all are converted first.
    """
    if others:
        return further(concatenate, "concatenate", (tensors,), {"axis": axis}, others)
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


def _stack_pieces(
    params: dict[str, Any], sources: Sequence[Sequence[Size]], shape: Sequence[Size]
) -> tuple[Piece, ...]:
    rank, axis = len(shape), params["axis"] % len(shape)
    view = View(tuple([Axis(((k, 1),)) for k in range(rank) if k != axis]), rank)
    return tuple([Piece(k, on_axis(rank, axis, (k, k + 1)), view) for k in range(len(sources))])


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
    pieces=_stack_pieces,
    rule_in_words="The part of g at the place where this input stands.",
)
def _stack(*tensors: Any, axis: int) -> Any:
    return np.stack(tensors, axis=axis)


def stack(tensors: Sequence[Any], axis: int = 0, **others: Any) -> Any:
    """Join tensors of one shape along a new axis.

    Parameters
    ----------
    tensors : list of Tensor or array
    axis : int
        Which axis of the result is the new one.
    **others
        NumPy's `dtype`, to which all are converted first.
    """
    if others:
        return further(stack, "stack", (tensors,), {"axis": axis}, others)
    found = _several(tensors, "stack")
    return apply(
        _stack.primitive,
        found,
        {"axis": axis_of(axis, np.ndim(found[0]) + 1) if isinstance(axis, bool) else axis},
    )


@numpys()
def split(x: Any, parts: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Cut a tensor into consecutive parts along an axis.

    Parameters
    ----------
    x : Tensor
    parts : int or sequence of int
        A number of equal parts, or the indices at which to cut, as in NumPy.
    axis : int
        Along which axis.
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
        cuts = [0, *whole_numbers((parts,), "split: parts"), n]
    lead = (slice(None),) * a
    return [x[(*lead, slice(start, stop))] for start, stop in itertools.pairwise(cuts)]


RESHAPE: Primitive = _reshape.primitive
TRANSPOSE: Primitive = _transpose.primitive
BROADCAST_TO: Primitive = _broadcast_to.primitive
CONCATENATE: Primitive = _concatenate.primitive
