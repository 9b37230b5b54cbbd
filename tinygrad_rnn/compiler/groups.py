"""Which values of a program share a loop.

A `Group` is a nest of loops over the axes of one shape. Its members are elementwise values, each of
which depends on some of the axes, and reductions of them:

- over the last axes, where the result may be used again by the same row (softmax and layer
  normalisation are one nest, row by row);
- over any axes, where the group leaves a sum to others (a loss, the gradient of a bias).

A value joins a group that has room for it, first of all one that computes its operands, unless one
of its other operands has to wait for that group; otherwise it begins a group of its own. What is
used outside a group is stored; all else stays in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops.define import axes_of
from .values import Value, base

# for each axis of a value the axis of its group; None where it has one element, or repeats one
Axes = tuple[int | None, ...]
LIMIT = 120  # members of a group: very long loops run out of registers, and take long to compile
RECENT = 8  # groups that a value may join besides those that compute its operands
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
LOGICAL = ("logical_and", "logical_or", "logical_not")
REDUCTIONS = ("sum", "max", "min")


class Group:
    """Values that are computed in one nest of loops.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
        Of all floating values in it.
    members : list of Value
        In order.
    axes : dict of Value to Axes
        Of the members.
    last : set of Value
        The sums that are complete only when the group is done.
    split : int or None
        From which axis on the loops are those of a row, if a reduction over rows is used within the
        group.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self.members: list[Value] = []
        self.axes: dict[Value, Axes] = {}
        self.last: set[Value] = set()
        self.split: int | None = None
        self.live = {a for a, n in enumerate(shape) if n > 1}

    def where(self, value: Value) -> Axes | None:
        """The axes of a value that is a member, or a view of one that only adds, drops, repeats or permutes axes."""
        if value in self.axes:
            return None if value in self.last else self.axes[value]
        if not value.view:
            return None
        source = value.inputs[0]
        axes = self.where(source)
        if axes is None or value.op == "getitem":
            return None
        if value.op == "transpose":
            return tuple([axes[a % len(axes)] for a in value.params["axes"]])
        if value.op == "broadcast_to":
            return (*[None] * (len(value.shape) - len(axes)), *axes)
        if value.op == "reshape":
            if [n for n in value.shape if n != 1] != [n for n in source.shape if n != 1]:
                return None
            rest = iter([a for a, n in zip(axes, source.shape, strict=True) if n != 1])
            return tuple([None if n == 1 else next(rest) for n in value.shape])
        return axes

    def of_elementwise(self, value: Value) -> Axes | None:
        """The axes that an elementwise value would have here, or None if it does not fit."""
        found: list[int | None] = [None] * len(value.shape)
        outside, inside = [], 0
        for source in value.sources:
            axes = self.where(source)
            if axes is None:
                outside.append(source)
                continue
            inside += 1
            for k, a in enumerate(axes, len(value.shape) - len(axes)):
                if a is not None and found[k] not in (None, a):
                    return None
                found[k] = a if a is not None else found[k]
        if not inside:
            return self.whole if value.shape == self.shape else None
        for source in outside:
            for k, n in enumerate(source.shape, len(value.shape) - len(source.shape)):
                if n > 1 and found[k] is None:
                    a = len(self.shape) - len(value.shape) + k
                    if a < 0 or self.shape[a] != n:
                        return None
                    found[k] = a
        used = [a for a in found if a is not None]
        return tuple(found) if len(set(used)) == len(used) else None

    def of_reduction(self, value: Value) -> tuple[Axes | None, bool]:
        """The axes that a reduction of a member would have here, and whether it is complete only at the end; no axes if it does not fit."""
        source = value.inputs[0]
        axes = self.where(source)
        if axes is None and source.shape == self.shape:
            axes = self.whole
        over = () if axes is None else axes_of(_axis(value), len(axes))
        if axes is None or any(axes[k] is None and source.shape[k] > 1 for k in over):
            return None, False
        reduced = {a for k in over if (a := axes[k]) is not None}
        keep = value.params["keepdims"]
        kept = tuple(
            [None if k in over else a for k, a in enumerate(axes) if keep or k not in over]
        )
        depends = {a for a in axes if a is not None}
        rows = {a for a in self.live if self.split is not None and a >= self.split}
        if reduced == self.live:  # the rest of the loop would have to wait for it
            return (kept, True) if value.op == "sum" and reduced else (None, False)
        if (
            reduced
            and reduced <= depends
            and reduced == (rows or set(sorted(self.live)[-len(reduced) :]))
        ):
            return kept, False
        if (
            value.op == "sum"
            and reduced
            and (depends == self.live or (rows and depends == self.live - rows))
        ):
            return kept, True
        return None, False

    def add(self, value: Value, axes: Axes, last: bool = False) -> None:
        """Make a value a member."""
        self.members.append(value)
        self.axes[value] = axes
        if last:
            self.last.add(value)
        elif value.op in REDUCTIONS and self.split is None:
            source = self.where(value.inputs[0]) or self.whole
            self.split = min(a for a in source if a is not None and a not in axes)

    @property
    def whole(self) -> Axes:
        """The axes of a value of the group's own shape."""
        return tuple([a if n > 1 else None for a, n in enumerate(self.shape)])


def _axis(value: Value) -> Any:
    axis = value.params["axis"]
    return tuple(axis) if isinstance(axis, list) else axis


def fusable(value: Value) -> bool:
    """Whether there is code for an elementwise operation on these dtypes."""
    if value.primitive is None or 0 in value.shape:
        return False
    kinds = [i.dtype for i in value.sources]
    floats = {d for d in (*kinds, value.dtype) if d in FLOATS}
    if len(floats) != 1 or any(d not in FLOATS and d != np.bool_ for d in (*kinds, value.dtype)):
        return False
    if value.op == "astype":
        return value.dtype in FLOATS
    if value.primitive.scalar is None:
        return False
    if value.op in LOGICAL:
        return all(d == np.bool_ for d in kinds)
    numeric = range(len(value.inputs))[value.primitive.promotes]  # the others are conditions
    return all(
        (i.dtype in FLOATS if k in numeric else i.dtype == np.bool_)
        for k, i in enumerate(value.inputs)
        if isinstance(i, Value)
    )


def reducible(value: Value) -> bool:
    """Whether it is a reduction of floating values for which there is code."""
    return (
        value.primitive is not None
        and value.primitive.name in REDUCTIONS
        and value.inputs[0].dtype in FLOATS
        and value.inputs[0].size > 0
    )


def arrange(values: Sequence[Value]) -> list[Group | Value]:
    """Groups and the other operations (views excepted), in an order in which they can be run."""
    units: list[Group | Value] = []
    home: dict[Value, int] = {}  # which of the units computes a value
    before: list[int] = []  # for each unit those that have to be run before it, as bits
    unit_of: dict[Group, int] = {}

    def outside(value: Value, group: Group | None) -> int:
        """The units from which a value takes what it cannot take from within the group, as bits."""
        found = 0
        for source in value.sources:
            if (group is None or group.where(source) is None) and base(source) in home:
                found |= 1 << home[base(source)]
        return found

    def after(bits: int) -> int:
        """These units, and all that have to be run before them."""
        found = bits
        for k, others in enumerate(before):
            if bits >> k & 1:
                found |= others
        return found

    def new(unit: Group | Value) -> int:
        units.append(unit)
        before.append(0)
        return len(units) - 1

    for value in values:
        if value.view:
            continue
        if not (fusable(value) or reducible(value)):
            home[value] = k = new(value)
            before[k] = after(outside(value, None))
            continue
        dtype = next(d for d in (value.dtype, *(i.dtype for i in value.sources)) if d in FLOATS)
        open_groups = [g for g in unit_of if g.dtype == dtype and len(g.members) < LIMIT]
        choices = [g for g in open_groups if any(g.where(i) is not None for i in value.sources)]
        choices += [g for g in open_groups[-RECENT:] if g not in choices]
        fresh = Group(value.inputs[0].shape if reducible(value) else value.shape, dtype)
        for group in [*choices, fresh]:
            needed = after(outside(value, group))
            if group is not fresh and needed >> unit_of[group] & 1:
                continue
            axes, last = (
                group.of_reduction(value)
                if reducible(value)
                else (group.of_elementwise(value), False)
            )
            if axes is None:
                continue
            group.add(value, axes, last)
            if group is fresh:
                unit_of[group] = new(group)
            home[value] = place = unit_of[group]
            before[place] |= needed
            for k, others in enumerate(before):
                if others >> place & 1:
                    before[k] |= before[place]
            break
        else:
            # a reduction for which a loop of its own would be no better
            home[value] = k = new(value)
            before[k] = after(outside(value, None))
    return [units[k] for k in sorted(range(len(units)), key=lambda k: (before[k].bit_count(), k))]
