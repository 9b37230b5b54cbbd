"""Where the elements of a value are in memory, and which operations are no work because of it.

Slices, transposes, repetitions and reshapes are views: another look at the same array. Whether that
is so follows from the strides of what they look at, and from nothing else. A reshape for which there
are no such strides (of a transposed value, for example) is a copy, as it is in NumPy.

An array of a program has its features in order and the batch as its last axis, where there is one:
a gate is then one contiguous piece of the sums of all gates, elementwise work is one flat loop, and
a product with a weight needs no transpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..loops.ir import Access, Array
from ..loops.linear import NOWHERE, Linear
from ..ops.facts import facts_of
from ..ops.views import Piece, Regrouped, SizeUnknown, View
from .value import B, Value, unsupported

REFUSED = {  # why a view of the batch is none, by what would have to be known of its size
    "one": "it takes single rows of the batch",
    "some": "it takes some rows of the batch, or moves them; give it whole rows",
    "mixed": "it mixes the batch with other axes",
}
FILLED = {
    "one": "it fills single rows of the batch",
    "some": "it fills some rows of the batch",
    "mixed": "it mixes the batch with other axes",
}


class Layout(NamedTuple):
    """Where the elements of a value are: the place of the first, and a stride for each axis."""

    offset: Linear
    strides: tuple[Linear, ...]

    def moved(self, place: Linear) -> Layout:
        """Return the layout of the same elements in an array that has them from a place on."""
        return Layout(self.offset + place, self.strides)


class Where(NamedTuple):
    """Where a value is stored: its array, and where in that its elements are.

    `adds`: what is written there is added to what stands there already.
    """

    array: Array
    layout: Layout
    adds: bool = False

    def at(self, indices: Sequence[Linear | str], shape: Sequence[Any]) -> Access:
        """Return an element by the index on each axis; an axis of size 1 stands still."""
        place = self.layout.offset
        for index, stride, n in zip(indices, self.layout.strides, shape, strict=True):
            if n != 1:
                place = place + Linear.of(index) * stride
        return Access(self.array, place)


def contiguous(shape: Sequence[Any]) -> Layout:
    """Return the layout of an array of its own: without gaps, the batch last."""
    strides: list[Linear] = []
    step = Linear.of(B) if B in shape else Linear.of(1)
    for n in reversed(shape):
        strides.append(Linear.of(1) if n == B else step)
        step = step * (1 if n == B else max(n, 1))
    return Layout(NOWHERE, tuple(reversed(strides)))


def spread(layout: Layout, shape: Sequence[Any], wanted: Sequence[Any]) -> Layout:
    """Return the layout of the same elements repeated along new axes, and along axes of size 1."""
    lead = len(wanted) - len(shape)
    strides = [
        step if n == m else NOWHERE
        for step, n, m in zip(layout.strides, shape, wanted[lead:], strict=True)
    ]
    return Layout(layout.offset, (*[NOWHERE] * lead, *strides))


def layout_of(value: Value) -> Layout:
    """Return where the elements of a value are in the array of its `base`."""
    return _found(value)[1]


def is_view(value: Value) -> bool:
    """Whether a value is another look at the memory of its only input."""
    return _found(value)[0]


def base(value: Value) -> Value:
    """Return the value whose array a view looks at; of another value itself."""
    while is_view(value):
        value = value.inputs[0]
    return value


def _found(value: Value) -> tuple[bool, Layout]:
    if value._layout is None:
        chain = [value]  # views of views may be many, so this is no recursion
        while chain[-1]._layout is None and _may_be_view(chain[-1]):
            chain.append(chain[-1].inputs[0])
        for here in reversed(chain):
            if here._layout is None:
                found = None
                if _may_be_view(here):
                    found = seen_through(here, here.inputs[0]._layout[1])
                here._layout = (found is not None, found or contiguous(here.shape))
    found_before: tuple[bool, Layout] = value._layout
    return found_before


def _may_be_view(value: Value) -> bool:
    return not value.leaf and facts_of(value.primitive).view is not None


def seen_through(value: Value, layout: Layout) -> Layout | None:
    """Return where the elements of a result are if those of its input have a layout.

    None if it is not another look at them.

    Raises
    ------
    CompileError
        If it takes the batch apart.
    """
    source = value.inputs[0]
    if source.dtype != value.dtype or 0 in value.shape or 0 in source.shape:
        return None
    index_map = view_of(value)
    found = None if index_map is None else index_map.layout(layout.offset, layout.strides)
    if found is None:
        return None
    return Layout(Linear.of(found[0]), tuple(Linear.of(stride) for stride in found[1]))


def view_of(value: Value, *, hoisted: bool = False) -> View | Regrouped | None:
    """Return the index map of a value from its input, or None if it has none.

    A value that is hoisted is an array of its own; `hoisted` asks for its map all the same.
    """
    view = facts_of(value.primitive).view
    if view is None or (value.leaf and not hoisted):
        return None
    try:
        return view(value.params, value.inputs[0].shape, value.shape)
    except SizeUnknown as unknown:
        raise unsupported(value, REFUSED[unknown.how]) from None


def pieces_of(value: Value) -> tuple[Piece, ...] | None:
    """Return where the inputs of a value lie in it, or None if it is not put together of them."""
    pieces = facts_of(value.primitive).pieces
    if pieces is None or value.leaf:
        return None
    try:
        return pieces(value.params, [v.shape for v in value.sources], value.shape)
    except SizeUnknown as unknown:
        raise unsupported(value, FILLED[unknown.how]) from None


def in_memory(value: Value) -> list[int] | None:
    """Return the axes of the features in the order of memory; None if there are gaps between them.

    Axes of one element are left out.
    """
    strides = layout_of(value).strides
    left = [k for k, n in enumerate(value.shape) if n not in (1, B)]
    if value.batch is not None and strides[value.batch] != Linear.of(1):
        return None
    step = Linear.of(1 if value.batch is None else B)
    found: list[int] = []
    while left:
        axis = next((k for k in left if strides[k] == step), None)
        if axis is None:
            return None
        left.remove(axis)
        found.append(axis)
        step = step * value.shape[axis]
    return found[::-1]


def as_it_is(value: Value) -> bool:
    """Whether a value lies without gaps, as an array of its own does."""
    order = in_memory(value)
    return 0 in value.shape or (order is not None and order == sorted(order))
