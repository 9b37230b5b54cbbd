"""Further operations on shapes: repeat, tile, stacks along given axes, diff, and the like.

Each is a composition of the operations beside it, so its derivatives of any order, its compiled
form and its pictures are theirs. They are loaded when first used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.tensor import Tensor
from .checks import of_kind, shown, size
from .define import axes_of, axis_of, numpys, operand
from .elementwise import not_equal, positive, subtract
from .shaping import (
    broadcast_to,
    concatenate,
    expand_dims,
    reshape,
    split,
    swapaxes,
    transpose,
    whole_numbers,
)
from .shifting import flip
from .taking import take


def ravel(x: Any) -> Any:
    """Return the values along one axis, row by row."""
    return reshape(operand(x, "ravel"), -1)


def flatten(x: Any, start_axis: int = 0, end_axis: int = -1) -> Any:
    """Join axes to one: all of them, or those from start_axis to end_axis.

    Parameters
    ----------
    x : Tensor, array or number
    start_axis, end_axis : int
        The first and the last that are joined.
    """
    x = operand(x, "flatten")
    if not x.ndim:
        return reshape(x, 1)
    first, last = axis_of(start_axis, x.ndim), axis_of(end_axis, x.ndim)
    if last < first:
        raise ShapeError(f"flatten: end_axis {end_axis} lies before start_axis {start_axis}")
    joined = int(np.prod(x.shape[first : last + 1]))
    return reshape(x, (*x.shape[:first], joined, *x.shape[last + 1 :]))


def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Move axes to other places; the others keep their order.

    Parameters
    ----------
    x : Tensor or array
    source, destination : int or tuple of int
        Which axes, and where they stand in the result.
    """
    x = operand(x, "moveaxis")
    given = [whole_numbers((a,), "moveaxis: axes") for a in (source, destination)]
    for axes in given:
        axes_of(axes, x.ndim)
    (old, new) = ([a % (x.ndim or 1) for a in axes] for axes in given)
    if len(old) != len(new) or not x.ndim:
        raise ShapeError(
            f"moveaxis: expected as many places as axes; found {source} and {destination} for shape {tuple(x.shape)}"
        )
    order = [a for a in range(x.ndim) if a not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return transpose(x, order)


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Repeat each element along an axis, as NumPy's repeat (PyTorch's repeat_interleave).

    Parameters
    ----------
    x : Tensor, array or number
    repeats : int or sequence of int
        How often; one for all elements, or one for each place on the axis.
    axis : int, optional
        Along which axis; by default along the flattened tensor.
    """
    x = operand(x, "repeat")
    counts = whole_numbers((repeats,), "repeat: repeats")
    if any(n < 0 for n in counts):
        raise ShapeError(f"repeat: repeats must be at least 0; found {shown(repeats)}")
    if axis is None or not x.ndim:
        x, axis = reshape(x, -1), 0
    a = axis_of(axis, x.ndim)
    if len(counts) != 1:
        if len(counts) != x.shape[a]:
            raise ShapeError(
                f"repeat: {len(counts)} numbers of repeats for axis {axis} of shape {tuple(x.shape)}"
            )
        return take(x, np.repeat(np.arange(x.shape[a]), counts), a)
    spread = broadcast_to(expand_dims(x, a + 1), (*x.shape[: a + 1], counts[0], *x.shape[a + 1 :]))
    return reshape(spread, (*x.shape[:a], x.shape[a] * counts[0], *x.shape[a + 1 :]))


def tile(x: Any, reps: Any) -> Any:
    """Put copies of the whole beside each other, as NumPy's tile (PyTorch's Tensor.repeat).

    Parameters
    ----------
    x : Tensor, array or number
    reps : int or sequence of int
        How many along each axis, aligned at the last one.
    """
    x = operand(x, "tile")
    counts = whole_numbers((reps,), "tile: reps")
    if any(n < 0 for n in counts):
        raise ShapeError(f"tile: reps must be at least 0; found {shown(reps)}")
    rank = max(x.ndim, len(counts))
    counts = (1,) * (rank - len(counts)) + counts
    sizes = (1,) * (rank - x.ndim) + tuple(x.shape)
    apart = [n for size in sizes for n in (1, size)]
    spread = [n for pair in zip(counts, sizes, strict=True) for n in pair]
    whole = [n * m for n, m in zip(counts, sizes, strict=True)]
    return reshape(broadcast_to(reshape(x, apart), spread), whole)


# --- joining and cutting --------------------------------------------------------------------------


def _each(tensors: Any, name: str, made: Callable[[Any], Any]) -> list[Any]:
    """Return each of several tensors, brought to the number of axes that is joined along."""
    given = list(tensors) if isinstance(tensors, (Tensor, np.ndarray)) else tensors
    if not isinstance(given, (list, tuple)) or not given:
        raise ShapeError(f"{name}: expected a list of tensors; found {shown(tensors)}")
    return [made(operand(t, name)) for t in given]


def _at_least(x: Any, axes: int) -> Any:
    x = operand(x, f"atleast_{axes}d")
    if x.ndim >= axes:
        return x
    if axes < 3 or x.ndim == 0:
        return reshape(x, (1,) * (axes - x.ndim) + tuple(x.shape))
    return reshape(x, (1, x.shape[0], 1) if x.ndim == 1 else (*x.shape, 1))


def atleast_1d(x: Any) -> Any:
    """Return x with an axis, if it has none."""
    return _at_least(x, 1)


def atleast_2d(x: Any) -> Any:
    """Return x with axes of size 1 in front, so that there are two at least."""
    return _at_least(x, 2)


def atleast_3d(x: Any) -> Any:
    """Return x with three axes at least: of shape (n,) it becomes (1, n, 1), of (m, n) (m, n, 1)."""
    return _at_least(x, 3)


@numpys()
def vstack(tensors: Sequence[Any]) -> Any:
    """Join tensors as rows: along axis 0, vectors being rows of one each."""
    return concatenate(_each(tensors, "vstack", atleast_2d), 0)


@numpys()
def hstack(tensors: Sequence[Any]) -> Any:
    """Join tensors side by side: along axis 1, vectors along their only axis."""
    found = _each(tensors, "hstack", atleast_1d)
    return concatenate(found, 0 if found[0].ndim == 1 else 1)


def dstack(tensors: Sequence[Any]) -> Any:
    """Join tensors along their third axis."""
    return concatenate(_each(tensors, "dstack", atleast_3d), 2)


def column_stack(tensors: Sequence[Any]) -> Any:
    """Join tensors along axis 1; vectors are columns."""
    found = _each(tensors, "column_stack", lambda t: reshape(t, (-1, 1)) if t.ndim < 2 else t)
    return concatenate(found, 1)


def append(x: Any, values: Any, axis: int | None = None) -> Any:
    """Join values to the end of x, along an axis, or both flattened.

    Parameters
    ----------
    x, values : Tensor, array or number
    axis : int, optional
    """
    return concatenate([operand(x, "append"), operand(values, "append: values")], axis)


def array_split(x: Any, parts: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Cut a tensor into parts that are as equal as can be: the first may be longer by one.

    Parameters
    ----------
    x : Tensor
    parts : int or sequence of int
        A number of parts, or the indices at which to cut.
    axis : int
        Along which axis.
    """
    x = operand(x, "array_split")
    if isinstance(parts, (int, np.integer)) and not isinstance(parts, bool):
        count, n = size(parts, "array_split: parts"), x.shape[axis_of(axis, x.ndim)]
        sizes = [n // count + (k < n % count) for k in range(count)]
        parts = [int(cut) for cut in np.cumsum(sizes)[:-1]]
    return split(x, parts, axis)


def unstack(x: Any, axis: int = 0) -> list[Any]:
    """Return the parts of x at each place of an axis, which they do not have."""
    x = operand(x, "unstack")
    a = axis_of(axis, x.ndim)
    return [x[(slice(None),) * a + (k,)] for k in range(x.shape[a])]


# --- turning, differences, grids ------------------------------------------------------------------


def rot90(x: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Turn by 90 degrees in the plane of two axes, from the first to the second.

    Parameters
    ----------
    x : Tensor or array
    k : int
        How many times; below 0 the other way.
    axes : tuple of int
        The two axes.
    """
    x = operand(x, "rot90")
    of_kind(k, ["int"], "rot90: k")
    plane = whole_numbers((axes,), "rot90: axes")
    if len(plane) != 2 or len(axes_of(plane, x.ndim)) != 2:
        raise ShapeError(f"rot90: expected two axes of shape {tuple(x.shape)}; found {shown(axes)}")
    a, b = plane
    if k % 4 == 0:
        return positive(x)
    if k % 4 == 2:
        return flip(flip(x, a), b)
    return swapaxes(flip(x, b), a, b) if k % 4 == 1 else flip(swapaxes(x, a, b), b)


@numpys()
def diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    """Return the differences of neighbours along an axis; of booleans, whether they differ.

    Parameters
    ----------
    x : Tensor or array
    n : int
        How many times differences are taken.
    axis : int
        Along which axis.
    """
    x = operand(x, "diff")
    times, a = size(n, "diff: n", 0), axis_of(axis, x.ndim)
    lead = (slice(None),) * a
    for _ in range(times):
        op = not_equal if x.dtype == np.bool_ else subtract
        x = op(x[(*lead, slice(1, None))], x[(*lead, slice(None, -1))])
    return x


def meshgrid(*tensors: Any, indexing: str = "xy") -> list[Any]:
    """Return for each one-dimensional tensor its values spread over the grid of all of them.

    Parameters
    ----------
    *tensors : Tensor, array or number
        The coordinates along each axis.
    indexing : str
        "xy": the first varies along axis 1, the second along axis 0, as in NumPy; "ij": the k-th
        varies along axis k.
    """
    of_kind(indexing, ["str"], "meshgrid: indexing")
    if indexing not in ("xy", "ij"):
        raise ShapeError(f"meshgrid: indexing must be 'xy' or 'ij'; found {indexing!r}")
    found = [operand(x, "meshgrid") for x in tensors]
    if any(x.ndim > 1 for x in found):
        shapes = [tuple(x.shape) for x in found]
        raise ShapeError(f"meshgrid: expected tensors of one axis; found shapes {shapes}")
    order = list(range(len(found)))
    if indexing == "xy" and len(found) > 1:
        order[:2] = [1, 0]
    whole = [0] * len(found)
    for x, axis in zip(found, order, strict=True):
        whole[axis] = x.size
    return [
        broadcast_to(reshape(x, [-1 if k == axis else 1 for k in range(len(found))]), whole)
        for x, axis in zip(found, order, strict=True)
    ]
