"""In which order of axes a contraction is one matrix product, or one for each slice of the operands.

The axes of a contraction of two values are of four kinds, by where their labels stand: *slices*
(in both operands and in the result: heads, groups of channels), *summed* ones (in both operands),
and those of one operand and the result: *rows* of a matrix that does not vary, *places* of a value
of the batch (positions of an image, elements of a sequence). With slices first and places and batch
last, each slice is one product of (rows, summed) by (summed, places * batch).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ops.shaping import TRANSPOSE
from .fusion import contraction, sizes_of
from .layout import in_memory, view_of
from .value import B, Value, put_before

Term = tuple[str | None, ...]  # the label of each axis; None where it has one element that repeats


class Labels(NamedTuple):
    """The labels of a contraction of two values, and the size of what each stands for."""

    terms: tuple[Term, ...]
    result: Term
    sizes: dict[str, Any]

    def number(self, labels: Iterable[str]) -> int:
        """Return how many elements there are over several axes."""
        return math.prod(self.sizes[label] for label in labels)


def labels_of(value: Value, dtype: np.dtype[Any]) -> Labels | None:
    """Return the labels of a contraction of two values in this dtype; None for other values.

    One of nothing is left to loops, which do not run.
    """
    found, sources = contraction(value), value.sources
    if found is None or len(sources) != 2 or len(value.inputs) != 2:
        return None
    if any(0 in v.shape for v in (value, *sources)):
        return None
    if any(len(set(t)) != len(t) for t in (*found.terms, found.result)):
        return None
    if any(v.dtype != dtype for v in (value, *sources)):
        return None
    sizes = sizes_of(found, value)
    terms = [
        tuple(label if n == sizes[label] else None for label, n in zip(t, s.shape, strict=True))
        for t, s in zip(found.terms, sources, strict=True)
    ]
    return Labels(tuple(terms), tuple(found.result), sizes)


def order_of(shape: Sequence[Any], term: Term, wanted: Sequence[str]) -> tuple[int, ...] | None:
    """Return in which order axes have to stand for their labels to be in a wanted order, the batch last.

    None if they do as they are: the batch is last in memory wherever it stands, and axes of one
    element are anywhere.
    """
    place = {label: k for k, label in enumerate(wanted)}
    rank = [
        len(place) if n == B else place.get(t or "", -1) for n, t in zip(shape, term, strict=True)
    ]
    features = [r for r, n in zip(rank, shape, strict=True) if n not in (1, B)]
    if features == sorted(features):
        return None
    return tuple(sorted(range(len(shape)), key=rank.__getitem__))


def turned(value: Value, order: tuple[int, ...] | None, program: list[Value], at: Value) -> Value:
    """Return a value with its axes in another order, which is put into a program before `at`."""
    if order is None:
        return value
    shape = [value.shape[k] for k in order]
    return put_before(at, program, TRANSPOSE, [value], {"axes": order}, shape, like=value)


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """Return the order that undoes another one."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def untransposed(value: Value) -> tuple[Value, tuple[int, ...]]:
    """Return what lies under transposes of a matrix, and for each axis of the value the axis there."""
    order = tuple(range(len(value.shape)))
    while value.primitive is not None:
        view = view_of(value, hoisted=True)
        if view is None or value.inputs[0].dtype != value.dtype:
            break
        source = value.inputs[0]
        permutation = getattr(view, "permutation", None)
        found = None if permutation is None else permutation(source.shape, value.shape)
        if found is None:
            break
        value, order = source, tuple(found[k] for k in order)
    return value, order


class Form(NamedTuple):
    """A product of a value of the batch with a matrix that does not vary.

    Attributes
    ----------
    moving, fixed : Value
    into, out : tuple of int, or None
        The order in which the axes of the moving value and of the result have to stand, see
        `order_of`.
    matrix : tuple of int
        The axes of the matrix: those of slices, rows, and what is summed over.
    N, K, slices, places : int
        Rows, summed elements, products, and columns for each row of the batch.
    own : bool
        Whether each slice has a matrix of its own; if not, the slices are places.
    counts : tuple of int
        How many axes of the matrix are slices, rows and summed over.
    rows : tuple of int
        The axes of the result that are slices with a matrix of their own, or rows.
    """

    moving: Value
    fixed: Value
    into: tuple[int, ...] | None
    out: tuple[int, ...] | None
    matrix: tuple[int, ...]
    N: int
    K: int
    slices: int
    places: int
    own: bool
    counts: tuple[int, int, int]
    rows: tuple[int, ...]

    @property
    def result(self) -> tuple[Any, ...]:
        """What is the same for products that are added up in one place."""
        return self.out, self.N, self.slices, self.places, self.own

    @property
    def matrix_order(self) -> tuple[int, ...]:
        """All axes of the matrix: those that the product reads, after those of one element."""
        rest = (k for k in range(len(self.fixed.shape)) if k not in self.matrix)
        return (*rest, *self.matrix)


def form_of(value: Value, dtype: np.dtype[Any]) -> Form | None:
    """Return how a value is a product with a matrix that does not vary; None for other values."""
    labels = labels_of(value, dtype)
    if labels is None or value.batch is None:
        return None
    sources = value.sources
    k = next((k for k, v in enumerate(sources) if v.varies and v.batch is not None), None)
    if k is None or sources[1 - k].varies or sources[1 - k].batch is not None:
        return None
    moving, fixed = sources[k], sources[1 - k]
    here = [t for t in labels.terms[k] if t is not None]
    there = [t for t in labels.terms[1 - k] if t is not None]
    batch = labels.terms[k][moving.batch or 0]
    result = [t for t in labels.result if t is not None]
    if labels.sizes[batch or ""] != B or batch not in result:
        return None
    if any((t in here) + (t in there) + (t in result) < 2 for t in labels.sizes):
        return None
    slices = [t for t in result if t in here and t in there]
    summed = [t for t in here if t in there and t not in result]
    rows = [t for t in result if t not in here]
    places = [t for t in result if t not in there and t != batch]
    if not summed:
        return None
    if (lies := in_memory(moving)) is not None:  # as it lies there, if that will do
        there_first = [t for a in lies if (t := labels.terms[k][a]) is not None]
        rest = [t for t in here if t not in there_first and t != batch]  # of one element
        in_order = [*rest, *there_first]
        slices, summed, places = (
            sorted(several, key=in_order.index) for several in (slices, summed, places)
        )
        first = min(in_order.index(t) for t in summed)
        outside = [] if slices else [t for t in places if in_order.index(t) < first]
    else:
        outside = []
    inside = [t for t in places if t not in outside]
    lead = slices or outside
    fixed_term = labels.terms[1 - k]
    return Form(
        moving,
        fixed,
        order_of(moving.shape, labels.terms[k], [*lead, *summed, *inside]),
        order_of(value.shape, labels.result, [*lead, *rows, *inside]),
        tuple(fixed_term.index(t) for t in (*slices, *rows, *summed)),
        labels.number(rows),
        labels.number(summed),
        labels.number(lead),
        labels.number(inside),
        bool(slices),
        (len(slices), len(rows), len(summed)),
        tuple(labels.result.index(t) for t in (*slices, *rows)),
    )


def _joined(sizes: Sequence[int], strides: Sequence[int]) -> int | None:
    """Return the stride of several axes as one; None if they are none."""
    pairs = [(n, step) for n, step in zip(sizes, strides, strict=True) if n != 1]
    if any(outer != n * step for (_, outer), (n, step) in itertools.pairwise(pairs)):
        return None
    return pairs[-1][1] if pairs else 1


def strides_of(form: Form) -> tuple[Value, tuple[int, int, int]] | None:
    """Return the matrix that a form reads, and its strides from slice to slice, row and column.

    None if it has no such strides.
    """
    matrix, order = untransposed(form.fixed)
    steps = [math.prod(matrix.shape[axis + 1 :]) for axis in order]
    found, begin = [], 0
    for count in form.counts:
        axes = form.matrix[begin : begin + count]
        begin += count
        found.append(_joined([form.fixed.shape[a] for a in axes], [steps[a] for a in axes]))
    apart, row, column = found
    if apart is None or row is None or column is None:
        return None
    return matrix, (apart, row, column)


class Outer(NamedTuple):
    """A product of two values of the batch that is summed over the batch.

    Attributes
    ----------
    left, right : Value
        Rows and columns of the result; in memory slices, rows, places, batch.
    M, N, slices, places : int
        Rows and columns of each product, their number, and places for each row of the batch.
    """

    left: Value
    right: Value
    M: int
    N: int
    slices: int
    places: int

    @property
    def size(self) -> int:
        """How many numbers the result has."""
        return self.slices * self.M * self.N

    @property
    def turned(self) -> Outer:
        """The product the other way round."""
        return self._replace(left=self.right, right=self.left, M=self.N, N=self.M)

    def on_memory(self) -> Outer:
        """Return the same of what the sides look at, where only the batch stands elsewhere."""
        sides = []
        for side in self[:2]:
            value, order = untransposed(side)
            features = [k for k in order if value.shape[k] not in (1, B)]
            sides.append(value if features == sorted(features) else side)
        return self._replace(left=sides[0], right=sides[1])


def outer_of(value: Value, dtype: np.dtype[Any]) -> tuple[Outer, Orders, int] | None:
    """Return how a value is a product that is summed over the batch, and orders of axes for it.

    None for other values. The orders are those of left, right and result, see `order_of`; the number
    says which of the operands is the left side.
    """
    labels = labels_of(value, dtype)
    if labels is None or value.batch is not None or any(v.batch is None for v in value.sources):
        return None
    terms = labels.terms
    batch = {t[v.batch or 0] for t, v in zip(terms, value.sources, strict=True)}
    if len(batch) > 1 or any(
        (t in terms[0]) + (t in terms[1]) + (t in labels.result) < 2 for t in labels.sizes
    ):
        return None
    result = [t for t in labels.result if t is not None]
    slices = [t for t in result if t in terms[0] and t in terms[1]]
    places = [
        t
        for t in terms[0]
        if t is not None and t in terms[1] and t not in result and t not in batch
    ]
    rest = [t for t in result if t not in slices]
    first = next((k for k, t in enumerate(terms) if rest and rest[0] in t), 0)
    rows = [t for t in rest if t in terms[first]]
    columns = [t for t in rest if t not in rows]
    left, right = value.sources[first], value.sources[1 - first]
    orders = (
        order_of(left.shape, terms[first], [*slices, *rows, *places]),
        order_of(right.shape, terms[1 - first], [*slices, *columns, *places]),
        order_of(value.shape, labels.result, [*slices, *rows, *columns]),
    )
    numbers = [labels.number(several) for several in (rows, columns, slices, places)]
    return Outer(left, right, *numbers), orders, first


Orders = tuple[tuple[int, ...] | None, ...]
