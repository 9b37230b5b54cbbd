"""Operations that move elements along axes, or put constants in: flip, roll, pad, tril, triu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.memory import empty
from ..core.primitive import Spec
from .checks import shown
from .define import axes_of, operand, primitive
from .facts import Gather
from .shaping import whole_numbers
from .views import Axis, Piece, Size, View, is_known, known_size, shifted


def flip(x: Any, axis: Any = None) -> Any:
    """Reverse the order along axes (all by default)."""
    x = operand(x, "flip")
    axes = axes_of(axis, x.ndim)
    return x[tuple([slice(None, None, -1) if i in axes else slice(None) for i in range(x.ndim)])]


def _roll_shape(x: Any, *, shift: Any, axis: Any = None) -> Spec:
    axes_of(axis, x.ndim)
    return Spec(x.shape, x.dtype)


def _roll_rule(g: Any, shift: Any, axis: Any) -> Any:
    return roll(g, tuple(-s for s in shift) if isinstance(shift, tuple) else -shift, axis)


def _roll_pieces(
    params: dict[str, Any], sources: Sequence[Sequence[Size]], shape: Sequence[Size]
) -> tuple[Piece, ...] | None:
    axes = axes_of(params["axis"], len(shape))
    one = params["axis"] is not None and isinstance(params["shift"], int | np.integer)
    if not one or len(axes) != 1 or not is_known(shape[axes[0]]):
        return None
    rank, n = len(shape), shape[axes[0]]
    shift = int(params["shift"]) % (n or 1)
    return (
        shifted(0, rank, axes[0], (shift, n), -shift),
        shifted(0, rank, axes[0], (0, shift), n - shift),
    )


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
    pieces=_roll_pieces,
    moves=Gather(),
)
def roll(x: Any, *, shift: Any, axis: Any = None) -> Any:
    """Move values along axes; what falls off one end comes in at the other.

    Parameters
    ----------
    x : Tensor, array or number
    shift : int or tuple of int
        By how many places, to larger indices; one for each axis.
    axis : int or tuple of int, optional
        Along which axes; by default along the flattened tensor.
    """
    whole_numbers((shift,), "roll: shift")
    # an axis may be named twice
    axes_of(tuple(dict.fromkeys(axis, 0)) if isinstance(axis, (tuple, list)) else axis, x.ndim)
    return np.roll(x, shift, axis)


def pairs_of(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    """Return for each axis how much is put before and after it."""
    if type(pad_width) is tuple and len(pad_width) == ndim and set(map(type, pad_width)) == {tuple}:
        pairs = [
            pair for pair in pad_width if len(pair) == 2 and type(pair[0]) is type(pair[1]) is int
        ]
        if len(pairs) == ndim:
            return pairs
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
    pairs = pairs_of(pad_width, x.ndim)
    if any(n < 0 for pair in pairs for n in pair):
        raise ShapeError(f"pad_width {pad_width} has a negative entry")
    return Spec([n + a + b for n, (a, b) in zip(x.shape, pairs, strict=True)], x.dtype)


def _inside(shape: tuple[int, ...], pad_width: Any) -> tuple[slice, ...]:
    pairs = pairs_of(pad_width, len(shape))
    return tuple([slice(a, a + n) for n, (a, _) in zip(shape, pairs, strict=True)])


def _pad_rule(g: Any, like_x: Any, pad_width: Any) -> Any:
    return g[_inside(like_x.shape, pad_width)]


def _pad_pieces(
    params: dict[str, Any], sources: Sequence[Sequence[Size]], shape: Sequence[Size]
) -> tuple[Piece, ...] | None:
    if params["value"]:
        return None
    pairs = pairs_of(params["pad_width"], len(shape))
    box = tuple(
        [
            (a, a + known_size(n)) if a or b else None
            for (a, b), n in zip(pairs, sources[0], strict=True)
        ]
    )
    axes = [Axis(((k, 1),), -a) for k, (a, _) in enumerate(pairs)]
    return (Piece(0, box, View(tuple(axes), len(shape))),)


@primitive(
    _pad_rule,
    shape=_pad_shape,
    tangent=lambda t, out, x, pad_width, value: pad(t, pad_width),
    examples=[
        ([(2, 3)], {"pad_width": 1}),
        ([(2, 3)], {"pad_width": ((0, 1), (2, 0)), "value": 1.5}),
        ([(0,)], {"pad_width": (1, 1)}),
    ],
    pieces=_pad_pieces,
    moves=Gather(fill="value"),
    linear_if=lambda params: not params["value"],
)
def pad(x: Any, *, pad_width: Any, value: Any = 0.0) -> Any:
    """Put a border of a constant around a tensor.

    Parameters
    ----------
    x : Tensor, array or number
    pad_width : int, (int, int), or a pair for each axis
        How many places are put before and after: a number for both ends of all axes, or a pair
        (before, after).
    value : float
        What stands there; it may be nan.
    """
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TinygradError(f"pad: value must be a number; found {shown(value)}")
    out = empty(_pad_shape(x, pad_width=pad_width).shape, x.dtype)
    if out.size > x.size:
        out[...] = value
    out[_inside(x.shape, pad_width)] = x
    return out


def _triangle_shape(x: Any, *, k: int = 0) -> Spec:
    if x.ndim < 2:
        raise ShapeError(f"expected at least two axes; found shape {x.shape}")
    return Spec(x.shape, x.dtype)


@primitive(
    lambda g, k: tril(g, k),
    shape=_triangle_shape,
    linear="jointly",
    examples=[([(3, 3)], {}), ([(2, 2, 3)], {"k": -1})],
    moves=Gather(),
)
def tril(x: Any, *, k: int = 0) -> Any:
    """Set what is above the k-th diagonal of the last two axes to zero."""
    _triangle_shape(x)
    return np.tril(x, k)


@primitive(
    lambda g, k: triu(g, k),
    shape=_triangle_shape,
    linear="jointly",
    examples=[([(3, 3)], {}), ([(2, 2, 3)], {"k": 1})],
    moves=Gather(),
)
def triu(x: Any, *, k: int = 0) -> Any:
    """Set what is below the k-th diagonal of the last two axes to zero."""
    _triangle_shape(x)
    return np.triu(x, k)
