"""Further products: tensordot, inner, dot, vdot, matvec, vecmat, kron, cross.

But for `cross` each is a composition of `matmul`, `einsum` and shapes, so its derivatives of any
order, its compiled form and its pictures are theirs. They are loaded when first used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.memory import empty
from ..core.primitive import Spec
from ..core.record import apply
from .define import axes_of, axis_of, broadcast, numpys, operand, primitive
from .linear import EINSUM, LETTERS, matmul
from .shaping import expand_dims, reshape, stack, whole_numbers

# --- sums over chosen axes ------------------------------------------------------------------------


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Return the sum of products over axes of both operands; the other axes stay, those of a first.

    Parameters
    ----------
    a, b : Tensor, array or number
    axes : int, or a pair of int or of sequences of int
        A number n: the last n axes of a with the first n of b. A pair: the axes of a, and those of
        b that are summed with them.
    """
    a, b = operand(a, "tensordot: a"), operand(b, "tensordot: b")
    ours, theirs = _summed_axes(a, b, axes)
    if a.ndim and (ours, theirs) == ((a.ndim - 1,), (0,)) and b.ndim <= 2:
        return matmul(a, b)
    return _summed(a, b, ours, theirs, "tensordot")


def _summed_axes(a: Any, b: Any, axes: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of both operands that are summed over, as places from 0."""
    if isinstance(axes, (int, np.integer)) and not isinstance(axes, bool):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ShapeError(
                f"tensordot: axes={axes} of shapes {tuple(a.shape)} and {tuple(b.shape)}; expected 0 to {min(a.ndim, b.ndim)}"
            )
        return tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    if not isinstance(axes, (tuple, list)) or len(axes) != 2:
        raise ShapeError(
            f"tensordot: axes must be a whole number, or a pair: axes of a and axes of b; found {axes!r}"
        )
    found = []
    for x, given in zip((a, b), axes, strict=True):
        named = whole_numbers((given,), "tensordot: axes")
        axes_of(named, x.ndim)
        found.append(tuple(n % (x.ndim or 1) for n in named))
    ours, theirs = found
    if len(ours) != len(theirs):
        raise ShapeError(f"tensordot: expected as many axes of a as of b; found {axes!r}")
    return ours, theirs


def _summed(a: Any, b: Any, ours: Sequence[int], theirs: Sequence[int], name: str) -> Any:
    """Return the einsum that sums over pairs of axes, and keeps the others in their order."""
    for k, m in zip(ours, theirs, strict=True):
        if a.shape[k] != b.shape[m]:
            raise ShapeError(
                f"{name}: axis {k} of a has size {a.shape[k]}, and axis {m} of b size {b.shape[m]} "
                f"(shapes {tuple(a.shape)} and {tuple(b.shape)}); expected equal ones"
            )
    if a.ndim + b.ndim - len(ours) > len(LETTERS):
        raise ShapeError(f"{name}: expected at most {len(LETTERS)} axes")
    left = list(LETTERS[: a.ndim])
    right = list(LETTERS[a.ndim : a.ndim + b.ndim])
    for k, m in zip(ours, theirs, strict=True):
        right[m] = left[k]
    kept = [c for c in left if c not in right] + [c for c in right if c not in left]
    subscripts = f"{''.join(left)},{''.join(right)}->{''.join(kept)}"
    return apply(EINSUM, (a, b), {"subscripts": subscripts})


@numpys(2)
def dot(a: Any, b: Any) -> Any:
    """Multiply as ``np.dot`` does: over the last axis of a, and the last but one of b.

    Parameters
    ----------
    a, b : Tensor, array or number
        A number multiplies every element.
    """
    a, b = operand(a, "dot: a"), operand(b, "dot: b")
    if a.ndim and b.ndim > 2:
        return _summed(a, b, (a.ndim - 1,), (b.ndim - 2,), "dot")
    return matmul(a, b) if a.ndim and b.ndim else a * b


def inner(a: Any, b: Any) -> Any:
    """Return the sums of products over the last axis of both; a number multiplies every element.

    Parameters
    ----------
    a, b : Tensor, array or number
    """
    a, b = operand(a, "inner: a"), operand(b, "inner: b")
    if not a.ndim or not b.ndim:
        return a * b
    if b.ndim == 1 and a.shape[-1] == b.shape[0]:
        return matmul(a, b)
    return _summed(a, b, (a.ndim - 1,), (b.ndim - 1,), "inner")


def vdot(a: Any, b: Any) -> Any:
    """Return the sum of the products of all elements of two tensors of one size.

    Parameters
    ----------
    a, b : Tensor, array or number
    """
    a, b = operand(a, "vdot: a"), operand(b, "vdot: b")
    if a.size != b.size:
        raise ShapeError(
            f"vdot: expected as many elements in both; found shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return matmul(*(x if x.ndim == 1 else reshape(x, -1) for x in (a, b)))


def matvec(a: Any, x: Any) -> Any:
    """Return the product of each matrix and vector: shape (..., m) of (..., m, n) and (..., n).

    Parameters
    ----------
    a : Tensor or array
        Matrices; axes in front of the last two broadcast.
    x : Tensor or array
        Vectors, on the last axis.
    """
    a, x = operand(a, "matvec: a"), operand(x, "matvec: x")
    if a.ndim < 2 or not x.ndim or a.shape[-1] != x.shape[-1]:
        raise ShapeError(
            f"matvec: expected shapes (..., m, n) and (..., n); found {tuple(a.shape)} and {tuple(x.shape)}"
        )
    return matmul(a, x) if x.ndim == 1 else matmul(a, expand_dims(x, -1))[..., 0]


def vecmat(x: Any, a: Any) -> Any:
    """Return the product of each vector and matrix: shape (..., n) of (..., m) and (..., m, n).

    Parameters
    ----------
    x : Tensor or array
        Vectors, on the last axis.
    a : Tensor or array
        Matrices; axes in front of the last two broadcast.
    """
    x, a = operand(x, "vecmat: x"), operand(a, "vecmat: a")
    if a.ndim < 2 or not x.ndim or a.shape[-2] != x.shape[-1]:
        raise ShapeError(
            f"vecmat: expected shapes (..., m) and (..., m, n); found {tuple(x.shape)} and {tuple(a.shape)}"
        )
    return matmul(x, a) if a.ndim == 2 or x.ndim == 1 else matmul(expand_dims(x, -2), a)[..., 0, :]


def kron(a: Any, b: Any) -> Any:
    """Return the Kronecker product: b once for each element of a, multiplied by it.

    Parameters
    ----------
    a, b : Tensor, array or number
        The one of fewer axes gets axes of size 1 in front.
    """
    a, b = operand(a, "kron: a"), operand(b, "kron: b")
    rank = max(a.ndim, b.ndim)
    left, right = ((1,) * (rank - x.ndim) + tuple(x.shape) for x in (a, b))
    apart = reshape(a, [n for size in left for n in (size, 1)])
    spread = reshape(b, [n for size in right for n in (1, size)])
    whole = [m * n for m, n in zip(left, right, strict=True)]
    return reshape(apart * spread, whole)


# --- cross ----------------------------------------------------------------------------------------


def _cross_shape(a: Any, b: Any, *, axis: int = -1) -> Spec:
    shape = broadcast(tuple(a.shape), tuple(b.shape))
    k = axis_of(axis, len(shape)) - len(shape)
    for x in (a, b):
        if -k > x.ndim or x.shape[k] != 3:
            raise ShapeError(
                f"expected vectors of 3 numbers along axis {axis}; found shapes {a.shape} and {b.shape}"
            )
    return Spec(shape, _product_dtype(a, b))


def _product_dtype(a: Any, b: Any) -> Any:
    """Return the dtype of differences of products; booleans count as 0 and 1."""
    found = np.result_type(a.dtype, b.dtype)
    return np.dtype(np.int64) if found == np.bool_ else found


def _parts(x: Any, axis: int, rank: int) -> list[Any]:
    """Return the three numbers of each vector; the axis is one of `rank` axes, aligned at the end."""
    behind = (rank - 1 - axis % rank) * (slice(None),)
    return [x[(..., k, *behind)] for k in range(3)]


def _cross_of_parts(a: Any, b: Any, axis: int) -> Any:
    rank = max(a.ndim, b.ndim)
    (a0, a1, a2), (b0, b1, b2) = (_parts(x, axis, rank) for x in (a, b))
    found = [a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0]
    return stack(found, axis=axis % rank)


@primitive(
    lambda g, b, axis: _cross(b, g, axis),
    lambda g, a, axis: _cross(g, a, axis),
    shape=_cross_shape,
    linear="each",
    broadcasts=True,
    name="cross",
    examples=[
        ([(3,), (3,)], {}),
        ([(2, 3), (2, 3)], {}),
        ([(3, 2), (3, 2)], {"axis": 0}),
        ([(2, 3, 1), (2, 3, 4)], {"axis": 1}),
        ([(1, 3), (2, 3)], {}),
        ([(0, 3), (0, 3)], {}),
    ],
    decomposition=_cross_of_parts,
    symbol="\N{VECTOR OR CROSS PRODUCT}",
)
def _cross(a: Any, b: Any, *, axis: int = -1) -> Any:
    made_as = _cross_shape(a, b, axis=axis)
    rank, out = made_as.ndim, empty(made_as.shape, made_as.dtype)
    a, b = a.astype(out.dtype, copy=False), b.astype(out.dtype, copy=False)
    ours, theirs, made = _parts(a, axis, rank), _parts(b, axis, rank), _parts(out, axis, rank)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        np.multiply(ours[i], theirs[j], out=made[k])
        made[k][...] -= ours[j] * theirs[i]
    return out


def cross(a: Any, b: Any, axis: int = -1) -> Any:
    """Return the cross product of vectors of three numbers.

    Parameters
    ----------
    a, b : Tensor or array
        Their other axes broadcast.
    axis : int
        Along which axis of the result the vectors stand.
    """
    return _cross(operand(a, "cross: a"), operand(b, "cross: b"), axis)
