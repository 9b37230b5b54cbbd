"""Diagonals: they are read as views, put into zeros, and summed. Loaded when first used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Spec
from .checks import of_kind, size
from .define import axis_of, numpys, operand, primitive
from .facts import FREE, Scatter
from .shaping import as_view
from .views import Axis, Size, View, known_size


def _plane(shape: Sequence[Size], axis1: Any, axis2: Any) -> tuple[int, int]:
    """Return the two axes of the matrices, as places from 0."""
    rank = len(shape)
    a, b = (axis_of(axis, rank) for axis in (axis1, axis2))
    if a == b:
        raise ShapeError(f"expected two axes; found {axis1} and {axis2}, which are one")
    return a, b


def _length(rows: int, columns: int, offset: int) -> int:
    """Return how many elements a diagonal has."""
    return max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)


def _diagonal_shape(x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Spec:
    if x.ndim < 2:
        raise ShapeError(f"expected two axes or more; found shape {x.shape}")
    a, b = _plane(x.shape, axis1, axis2)
    rest = [n for k, n in enumerate(x.shape) if k not in (a, b)]
    return Spec([*rest, _length(x.shape[a], x.shape[b], offset)], x.dtype)


def _diagonal_view(params: dict[str, Any], source: Sequence[Size], shape: Sequence[Size]) -> View:
    a, b = _plane(source, params["axis1"], params["axis2"])
    known_size(source[a]), known_size(source[b])  # of an unknown number of rows there is none
    offset, last = params["offset"], len(shape) - 1
    begins = {a: max(-offset, 0), b: max(offset, 0)}
    others = iter(range(last))
    axes = [
        Axis(((last, 1),), begins[k]) if k in begins else Axis(((next(others), 1),))
        for k in range(len(source))
    ]
    return View(tuple(axes), len(shape))


@primitive(
    lambda g, like_x, offset, axis1, axis2: undiagonal(g, like_x.shape, offset, axis1, axis2),
    shape=_diagonal_shape,
    linear="jointly",
    name="diagonal",
    examples=[
        ([(3, 3)], {}),
        ([(2, 3)], {"offset": 1}),
        ([(3, 2)], {"offset": -1}),
        ([(2, 3, 4)], {"axis1": 2, "axis2": 0}),
        ([(2, 3, 2)], {"offset": -1, "axis1": 1, "axis2": -1}),
        ([(0, 3)], {}),
    ],
    cost=FREE,
    view=_diagonal_view,
    rule_in_words="Zeros, with g on the diagonal that was read.",
)
def _diagonal(x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return np.diagonal(x, offset, axis1, axis2)


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the diagonal of a matrix, or of each in a stack; it stands on the last axis.

    Parameters
    ----------
    x : Tensor or array
        Of two axes or more.
    offset : int
        Which diagonal: above 0 one that begins further right, below 0 one that begins further down.
    axis1, axis2 : int
        The axes of the rows and of the columns.
    """
    x = operand(x, "diagonal")
    return as_view(x, _diagonal(x, offset, axis1, axis2))


def _places(whole: Any, params: dict[str, Any], shape: Any = None) -> Any:
    """Return the diagonal that the parameters name, of an array to which may be written."""
    found = np.diagonal(whole, params["offset"], params["axis1"], params["axis2"])
    found.flags.writeable = True
    return found


def _undiagonal_shape(
    x: Any, *, shape: Any, offset: int = 0, axis1: int = 0, axis2: int = 1
) -> Spec:
    expected = _diagonal_shape(Spec(shape, x.dtype), offset=offset, axis1=axis1, axis2=axis2).shape
    if tuple(x.shape) != expected:
        raise ShapeError(f"expected the diagonal of {tuple(shape)}, {expected}; found {x.shape}")
    return Spec(shape, x.dtype)


@primitive(
    lambda g, offset, axis1, axis2: diagonal(g, offset, axis1, axis2),
    shape=_undiagonal_shape,
    linear="jointly",
    examples=[
        ([(2,)], {"shape": (2, 2)}),
        ([(2,)], {"shape": (2, 3), "offset": 1}),
        ([(3, 2)], {"shape": (2, 3, 4), "axis1": 2, "axis2": 0}),
        ([(2, 1)], {"shape": (2, 3, 2), "offset": -2, "axis1": 1, "axis2": -1}),
        ([(0,)], {"shape": (2, 0)}),
    ],
    moves=Scatter(_places),
    rule_in_words="The diagonal of g.",
)
def undiagonal(x: Any, *, shape: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return zeros of a shape with x on a diagonal: the transpose of `diagonal`."""
    _undiagonal_shape(x, shape=shape, offset=offset, axis1=axis1, axis2=axis2)
    out = np.zeros(shape, x.dtype)
    if x.size:
        _places(out, {"offset": offset, "axis1": axis1, "axis2": axis2})[...] = x
    return out


def diag(x: Any, k: int = 0) -> Any:
    """Return the diagonal of a matrix, or the square matrix with a vector on its diagonal.

    Parameters
    ----------
    x : Tensor or array
        Of one axis or of two.
    k : int
        Which diagonal, as `offset` of `diagonal`.
    """
    x = operand(x, "diag")
    of_kind(k, ["int"], "diag: k")
    if x.ndim not in (1, 2):
        raise ShapeError(
            f"diag: expected a vector or a matrix; found shape {tuple(x.shape)}. "
            "tg.diagonal takes the diagonals of stacks"
        )
    if x.ndim == 2:
        return diagonal(x, k)
    n = x.shape[0] + size(abs(k), "diag: k", 0)
    return undiagonal(x, (n, n), k)


@numpys()
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the sum of a diagonal.

    Parameters
    ----------
    x : Tensor or array
        Of two axes or more.
    offset, axis1, axis2 : int
        Which, as in `diagonal`.
    """
    return diagonal(operand(x, "trace"), offset, axis1, axis2).sum(axis=-1)
