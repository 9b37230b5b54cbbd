"""Index maps: which element of its inputs each element of a result is.

A slice, a transpose, a repetition or a reshape computes nothing: every element of its result is one
of its source. A `View` says which: for each axis of the source, the index there is an affine form
of the indices on the axes of the result. One description serves every reader. Code that loops over
indices puts its own forms into `at`; code that knows where arrays lie in memory puts offset and
strides into `layout`; a test puts in arrays of indices.

A reshape that joins axes, such as (2, 3) to (6,), has no affine form (it would take a division). It
is a `Regrouped`: the axes of both sides in groups, within which elements are in the same order.

What is put together of its inputs (a concatenation, the gradient of a slice) has a `Piece` for each
of them: a box in the result, and the view through which the input is read there.

A size may be a symbol in place of an int, for a batch of any size: any object that is equal to
itself alone. Nothing is computed with it; a map that would have to raises `SizeUnknown`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Size = Any  # an int, or a symbol that stands for one


class SizeUnknown(Exception):
    """An index map would have to compute with a size that is known by its symbol alone.

    Attributes
    ----------
    how : str
        "one": a single place of that axis is meant; "some": some of its places are, or they are
        moved; "mixed": it becomes one axis with others, or one of several.
    """

    def __init__(self, how: str) -> None:
        self.how = how
        super().__init__(f"a size that is known only when the program runs: {how}")


class Axis(NamedTuple):
    """Where on one axis of the source an element is read.

    Attributes
    ----------
    terms : tuple of (int, int)
        Axes of the result, each with the step that one place on it is worth.
    offset : int
        The place where all indices of the result are 0.
    """

    terms: tuple[tuple[int, int], ...] = ()
    offset: int = 0


@dataclass(frozen=True)
class View:
    """An affine index map.

    Attributes
    ----------
    axes : tuple of Axis
        For each axis of the source.
    rank : int
        The number of axes of the result.
    """

    axes: tuple[Axis, ...]
    rank: int

    def at(self, index: Sequence[Any]) -> tuple[Any, ...]:
        """Return the index in the source for an index in the result.

        The elements may be ints, arrays, or forms of whatever kind that can be multiplied by an int
        and added to one.
        """
        return tuple(
            sum((index[axis] * step for axis, step in terms), offset) for terms, offset in self.axes
        )

    def layout(self, offset: Any, strides: Sequence[Any]) -> tuple[Any, tuple[Any, ...]]:
        """Return offset and strides of the result, where the source has the given ones."""
        found = [0] * self.rank
        for (terms, begin), stride in zip(self.axes, strides, strict=True):
            offset += begin * stride
            for axis, step in terms:
                found[axis] += step * stride
        return offset, tuple(found)

    def whole_axes(
        self, source: Sequence[Size], shape: Sequence[Size]
    ) -> tuple[int | None, ...] | None:
        """Return for each axis of the result the axis of the source that it is.

        None for an axis along which elements repeat; in place of all of them, if the view does more
        than to permute, add, drop (of size 1) and repeat axes.

        Parameters
        ----------
        source, shape : sequence of Size
            Of source and result.
        """
        found: list[int | None] = [None] * self.rank
        for k, (terms, _) in enumerate(self.axes):
            if not terms and source[k] == 1:
                continue
            if len(terms) != 1 or terms[0][1] != 1:
                return None
            axis = terms[0][0]
            if found[axis] is not None or source[k] != shape[axis]:
                return None
            found[axis] = k
        return tuple(found)

    def permutation(self, source: Sequence[Size], shape: Sequence[Size]) -> tuple[int, ...] | None:
        """Return for each axis of the result the axis of the source that it is.

        None if the view does more than to bring all axes into an order, which may be the old one.
        """
        found = self.whole_axes(source, shape)
        if found is None or len(source) != self.rank or None in found:
            return None
        return tuple(k for k in found if k is not None)


@dataclass(frozen=True)
class Regrouped:
    """The index map of a reshape that joins axes of different sizes.

    Attributes
    ----------
    source, shape : tuple of Size
        The shapes of both sides.
    groups : tuple of (tuple of int, tuple of int)
        Axes of the result and axes of the source with as many elements, which are in the same order
        of memory.
    """

    source: tuple[Size, ...]
    shape: tuple[Size, ...]
    groups: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    @property
    def rank(self) -> int:
        """Number of axes of the result."""
        return len(self.shape)

    def at(self, index: Sequence[Any]) -> tuple[Any, ...]:
        """Return the index in the source for an index in the result, in ints or arrays of ints."""
        found: list[Any] = [0] * len(self.source)
        for here, there in self.groups:
            number: Any = 0
            for k in here:
                number = number * self.shape[k] + index[k] if len(here) > 1 else index[k]
            for k in reversed(there):
                found[k] = number % self.source[k] if len(there) > 1 else number
                number = number // self.source[k] if len(there) > 1 else 0
        return tuple(found)

    def layout(self, offset: Any, strides: Sequence[Any]) -> tuple[Any, tuple[Any, ...]] | None:
        """Return offset and strides of the result, where the source has the given ones.

        None if its elements do not lie there at equal distances: then only a copy has this shape.
        """
        found = [0] * self.rank
        for here, there in self.groups:
            inner = [(self.source[k], strides[k]) for k in there if self.source[k] != 1]
            for (_, outer), (n, stride) in itertools.pairwise(inner):
                if outer != n * stride:
                    return None
            step, ours = inner[-1][1] if inner else 0, [k for k in here if self.shape[k] != 1]
            for k in reversed(ours):
                found[k] = step
                if k != ours[0]:
                    step *= self.shape[k]
        return offset, tuple(found)


class Piece(NamedTuple):
    """An input of what is put together.

    Attributes
    ----------
    operand : int
        Which of the inputs.
    box : tuple of (int, int) or None
        Where it lies on each axis of the result, from a place to before a place; None: on all of
        the axis.
    view : View
        From an index in the result, inside the box, to one in the input.
    """

    operand: int
    box: tuple[tuple[int, int] | None, ...]
    view: View


# --- views that several entries have --------------------------------------------------------------


def unmoved(params: dict[str, Any], source: Sequence[Size], shape: Sequence[Size]) -> View:
    """Return the view of what has every element where its source has it."""
    return View(tuple(Axis(((k, 1),)) for k in range(len(shape))), len(shape))


def index_parts(index: Any, rank: int) -> list[Any]:
    """Return a slice or number for each axis of what is indexed, and None for each new axis.

    Parameters
    ----------
    index
        Of ints, slices, None and Ellipsis, as in ``x[index]``.
    rank : int
        The number of axes of x.
    """
    given = index if isinstance(index, tuple) else (index,)
    missing = [slice(None)] * (rank - sum(i is not None and i is not Ellipsis for i in given))
    at = next((k for k, i in enumerate(given) if i is Ellipsis), None)
    return [*given, *missing] if at is None else [*given[:at], *missing, *given[at + 1 :]]


def is_affine(index: Any) -> bool:
    """Whether an index has ints, slices, None and Ellipsis alone.

    True and False, which are ints to Python, are masks to NumPy.
    """
    return all(
        i is None
        or i is Ellipsis
        or (isinstance(i, int | np.integer | slice) and not isinstance(i, bool))
        for i in (index if isinstance(index, tuple) else (index,))
    )


def start_and_step(part: Any, n: Size) -> tuple[int, int]:
    """Return where a part of an index begins on an axis, and its step; step 0 for a number.

    Raises
    ------
    SizeUnknown
        If the size of the axis is a symbol, and the part is not all of it.
    """
    if is_known(n):
        if not isinstance(part, slice):
            return int(part % n), 0
        start, _, step = part.indices(n)
        return start, step
    if not isinstance(part, slice):
        raise SizeUnknown("one")
    if part not in (slice(None), slice(0, n)):
        raise SizeUnknown("some")
    return 0, 1


def bounds_of(part: slice, n: Size) -> tuple[int, int] | None:
    """Return the bounds of a slice in steps of 1; None: it is all of the axis."""
    if not is_known(n):
        return None
    start, stop, _ = part.indices(n)
    return None if (start, stop) == (0, n) else (start, stop)


def is_known(n: Size) -> bool:
    """Whether a size is a number."""
    return isinstance(n, int | np.integer)


def known_size(n: Size) -> int:
    """Return the size if it is a number, and raise SizeUnknown if it is a symbol."""
    if not is_known(n):
        raise SizeUnknown("some")
    return int(n)


def on_axis(rank: int, axis: int, bounds: tuple[int, int]) -> tuple[tuple[int, int] | None, ...]:
    """Return the box of all that lies within two bounds on one axis."""
    return tuple([bounds if k == axis else None for k in range(rank)])


def shifted(operand: int, rank: int, axis: int, bounds: tuple[int, int], offset: int) -> Piece:
    """Return the piece of an input that is moved along one axis.

    Parameters
    ----------
    operand, rank, axis : int
        Which input it is, the number of axes, and the one along which it is moved.
    bounds : (int, int)
        Where the piece lies on that axis of the result.
    offset : int
        What leads from there to the place in the input.
    """
    axes = [Axis(((k, 1),), offset if k == axis else 0) for k in range(rank)]
    return Piece(operand, on_axis(rank, axis, bounds), View(tuple(axes), rank))


def groups(here: Sequence[Size], there: Sequence[Size]) -> list[tuple[list[int], list[int]]]:
    """Return the axes of two shapes in the smallest groups with equal numbers of elements.

    A size that is a symbol is in a group by itself, with its like; next to it, and at the ends,
    axes of size 1 may be in a group without a partner.

    Raises
    ------
    SizeUnknown
        If an axis whose size is a symbol becomes one with others.
    """
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(here) or j < len(there):
        left, right = here[i : i + 1], there[j : j + 1]
        if left and right and not all(map(is_known, (*left, *right))):
            if left == right:
                found.append(([i], [j]))
                i, j = i + 1, j + 1
            elif left[0] == 1:
                found.append(([i], []))
                i += 1
            elif right[0] == 1:
                found.append(([], [j]))
                j += 1
            else:
                raise SizeUnknown("mixed")
            continue
        group, i, j = _group(here, there, i, j)
        found.append(group)
    return found


def _group(
    here: Sequence[Size], there: Sequence[Size], i: int, j: int
) -> tuple[tuple[list[int], list[int]], int, int]:
    """The group that begins with axis i of one shape and axis j of the other, and the next axes."""
    ours: list[int] = []
    theirs: list[int] = []

    def known(shape: Sequence[Size], k: int) -> bool:
        return k < len(shape) and is_known(shape[k])

    m = n = 1
    while not (ours and theirs and m == n):
        if (m <= n or not known(there, j)) and known(here, i):
            m *= here[i]
            ours.append(i)
            i += 1
        elif known(there, j):
            n *= there[j]
            theirs.append(j)
            j += 1
        else:
            break
    if m != n or not (ours or theirs):
        raise SizeUnknown("mixed")
    return (ours, theirs), i, j


def reshaped(source: Sequence[Size], shape: Sequence[Size]) -> View | Regrouped:
    """Return the index map from one shape to another with as many elements."""
    axes: list[Axis] = [Axis()] * len(source)
    found = groups(shape, source) if 0 not in shape else []  # of no elements none is read
    for here, there in found:
        ours, theirs = [k for k in here if shape[k] != 1], [k for k in there if source[k] != 1]
        if [shape[k] for k in ours] == [source[k] for k in theirs]:
            for k, axis in zip(theirs, ours, strict=True):
                axes[k] = Axis(((axis, 1),))
        elif len(theirs) == 1:  # one axis becomes several
            steps = [math.prod(shape[a] for a in ours[k + 1 :]) for k in range(len(ours))]
            axes[theirs[0]] = Axis(tuple(zip(ours, steps, strict=True)))
        else:
            every = tuple((tuple(here), tuple(there)) for here, there in found)
            return Regrouped(tuple(source), tuple(shape), every)
    return View(tuple(axes), len(shape))
