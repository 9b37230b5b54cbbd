"""Fusion: which values of a program share a loop nest.

A `FusionGroup` is a loop nest over the axes of one shape. Its members are elementwise values, each
of which depends on some of the axes, and reductions of them:

- over the last axes in memory, where the result may be used again by the same row (softmax and
  layer normalisation of rows are one nest, row by row);
- over any axes, where the group leaves the result to others (a loss, the gradient of a bias, a mean
  over features where the batch is last in memory).

A value joins a group that has room for it, first of all one that computes its operands, unless one
of its other operands has to wait for that group; otherwise it begins a group of its own. What is
used outside a group is stored; all else stays in registers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops.define import axes_of
from ..ops.facts import Contraction, Cost, facts_of
from ..ops.views import View
from .internal import ASSEMBLED, COPY
from .layout import base, is_view, view_of
from .value import B, Value

# for each axis of a value the axis of its group; None where it has one element, or repeats one
Axes = tuple[int | None, ...]
LIMIT = 120  # members of a group: very long loops run out of registers, and take long to compile
RECENT = 8  # groups that a value may join besides those that compute its operands


@dataclass(frozen=True)
class Rules:
    """What a kind of program can have in loops.

    Attributes
    ----------
    elementwise : callable
        Whether there is code for an elementwise value.
    reducible : callable
        Whether there is code for a reduction.
    apart : callable
        From a value to what all floating members of its group have in common, such as a dtype.
    any_last : bool
        Whether every reduction may be left to others, and not sums alone: parts that several
        threads have made are added up.
    contracts : bool
        Whether products of values are loops, where no matrix kernel computes them.
    repeats : bool
        Whether a value may be stored with fewer elements than it has, which it repeats.
    """

    elementwise: Callable[[Value], bool]
    reducible: Callable[[Value], bool]
    apart: Callable[[Value], Any]
    any_last: bool
    contracts: bool
    repeats: bool


def reduction_axes(value: Value) -> tuple[int, ...]:
    """Return the axes of its input over which a reduction goes."""
    axis = value.params["axis"]
    return axes_of(tuple(axis) if isinstance(axis, list) else axis, len(value.inputs[0].shape))


def contraction(value: Value) -> Contraction | None:
    """Return the labels of a product that is summed over axes, or None for other values."""
    found = facts_of(value.primitive).contraction
    if found is None or value.leaf:
        return None
    return found(value.params, [len(v.shape) for v in value.sources])


class FusionGroup:
    """Values that are computed in one loop nest.

    Attributes
    ----------
    shape : tuple of int or B
    apart : object
        What all members have in common, see `Rules`.
    members : list of Value
        In order.
    axes : dict of Value to Axes
        Of the members.
    last : set of Value
        The reductions that are complete only when the group is done.
    split : int or None
        From which axis in memory on the loops are those of a row, if a reduction over rows is used
        within the group.
    labels : dict of Value to dict of str to int
        For each contraction the axis of the group that a label is.
    """

    def __init__(self, shape: tuple[Any, ...], apart: Any) -> None:
        self.shape, self.apart = shape, apart
        self.members: list[Value] = []
        self.axes: dict[Value, Axes] = {}
        self.last: set[Value] = set()
        self.split: int | None = None
        self.labels: dict[Value, dict[str, int]] = {}
        # in the order of memory: the batch is last
        self.live = sorted(
            (a for a, n in enumerate(shape) if n != 1), key=lambda a: (shape[a] == B, a)
        )

    @property
    def has_room(self) -> bool:
        """Whether other values may become members."""
        return len(self.members) < LIMIT and not self.labels

    def rank(self, axis: int) -> int:
        """Return where an axis stands in the order of memory."""
        return self.live.index(axis)

    def where(self, value: Value) -> Axes | None:
        """Return the axes of a value that the group may use.

        A member, or a view of one that only adds, drops, repeats or permutes axes.
        """
        chain = []
        while value not in self.axes:
            if not is_view(value):
                return None
            view = view_of(value)
            whole = None
            if isinstance(view, View):
                whole = view.whole_axes(value.inputs[0].shape, value.shape)
            if whole is None:
                return None
            chain.append(whole)
            value = value.inputs[0]
        if value in self.last:
            return None
        axes = self.axes[value]
        for whole in reversed(chain):
            axes = tuple(None if k is None else axes[k] for k in whole)
        return axes

    def reads(self, source: Value) -> bool:
        """Whether what a member reads is an array, which the group does not compute."""
        return self.where(source) is None and not source.zero

    def of_elementwise(self, value: Value) -> Axes | None:
        """Return the axes that an elementwise value would have here, or None if it does not fit."""
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
                if n != 1 and found[k] is None:
                    a = len(self.shape) - len(value.shape) + k
                    if a < 0 or self.shape[a] != n:
                        return None
                    found[k] = a
        used = [a for a in found if a is not None]
        if len(set(used)) != len(used):
            return None
        return tuple(found) if self._pays(value, used) else None

    def _pays(self, value: Value, used: Sequence[int]) -> bool:
        """Whether a value is computed here no more often than it has elements, or for next to nothing."""
        ranks = sorted(self.rank(a) for a in used)
        return ranks == list(range(len(ranks))) or facts_of(value.primitive).cost <= Cost.CHEAP

    def of_reduction(self, value: Value, any_last: bool) -> tuple[Axes | None, bool]:
        """Return the axes that a reduction of a member would have here, and if it is complete last.

        No axes if it does not fit.
        """
        source = value.inputs[0]
        axes = self.where(source)
        if axes is None and source.shape == self.shape:
            axes = self.whole
        over = () if axes is None else reduction_axes(value)
        if axes is None or any(axes[k] is None and source.shape[k] != 1 for k in over):
            return None, False
        reduced = {a for k in over if (a := axes[k]) is not None}
        keep = value.params["keepdims"]
        kept = tuple(
            [None if k in over else a for k, a in enumerate(axes) if keep or k not in over]
        )
        depends = {a for a in axes if a is not None}
        live = set(self.live)
        rows = set() if self.split is None else set(self.live[self.split :])
        reduction = facts_of(value.primitive).reduction
        may_be_last = any_last or (reduction is not None and reduction.additive)
        if not reduced:  # over axes of one element
            return (kept, True) if any_last and depends == live else (None, False)
        if reduced == live:  # the rest of the loop would have to wait for it
            return (kept, True) if may_be_last else (None, False)
        if reduced <= depends and reduced == (rows or set(self.live[-len(reduced) :])):
            return kept, False
        fits = depends == live or (rows and depends == live - rows)
        return (kept, True) if may_be_last and fits else (None, False)

    def add(self, value: Value, axes: Axes, last: bool = False) -> None:
        """Make a value a member."""
        self.members.append(value)
        self.axes[value] = axes
        if last:
            self.last.add(value)
        elif facts_of(value.primitive).reduction is not None and self.split is None:
            source = self.where(value.inputs[0]) or self.whole
            self.split = min(self.rank(a) for a in source if a is not None and a not in axes)

    @property
    def whole(self) -> Axes:
        """The axes of a value of the group's own shape."""
        return tuple([a if n != 1 else None for a, n in enumerate(self.shape)])


def sizes_of(labels: Contraction, value: Value) -> dict[str, Any]:
    """Return the size of what each label of a contraction stands for; an axis of one repeats."""
    sizes: dict[str, Any] = {}
    for term, source in zip(labels.terms, value.sources, strict=True):
        for label, n in zip(term, source.shape, strict=True):
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    return sizes


def of_contraction(value: Value, labels: Contraction, apart: Any) -> FusionGroup:
    """Return a group for a product that is summed over axes: one axis for each label."""
    sizes = sizes_of(labels, value)
    order = [*labels.result, *(label for label in sizes if label not in labels.result)]
    group = FusionGroup(tuple(sizes[label] for label in order), apart)
    place = {label: k if sizes[label] != 1 else None for k, label in enumerate(order)}
    group.labels[value] = {label: k for label, k in place.items() if k is not None}
    group.add(value, tuple(place[label] for label in labels.result), last=True)
    return group


def _is_whole(axes: Axes, value: Value) -> bool:
    """Whether a group has an element for each element of a value."""
    return all(a is not None or n == 1 for a, n in zip(axes, value.shape, strict=True))


class _Arrangement:
    """Groups and other values, and which of them have to wait for which."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.units: list[FusionGroup | Value] = []
        self.before: list[int] = []  # for each unit those that have to be run before it, as bits
        self.place_of: dict[Value, int] = {}  # which of the units computes a value
        self.unit_of: dict[FusionGroup, int] = {}
        self.open: list[FusionGroup] = []  # those that have room

    def place(self, value: Value) -> None:
        """Find a place for a value."""
        rules = self.rules
        labels = contraction(value) if rules.contracts else None
        if labels is not None:
            self._alone(value, of_contraction(value, labels, rules.apart(value)))
        elif rules.elementwise(value) or rules.reducible(value):
            self._join(value)
        else:
            self._alone(value, value)

    def _alone(self, value: Value, unit: FusionGroup | Value) -> None:
        self._enter(value, self._new(unit), self._after(self._outside(value, None)))

    def _join(self, value: Value) -> None:
        """Put a value into the first group that has room for it, or into a new one."""
        rules, reducible = self.rules, self.rules.reducible(value)
        apart = rules.apart(value)
        choices = [g for g in self._homes(value) if g.apart == apart]
        recent = (g for g in reversed(self.open) if g.apart == apart)
        choices += [g for g in list(itertools.islice(recent, RECENT))[::-1] if g not in choices]
        fresh = FusionGroup(value.inputs[0].shape if reducible else value.shape, apart)
        for group in [*choices, fresh]:
            needed = self._after(self._outside(value, group))
            if group is not fresh and needed >> self.unit_of[group] & 1:
                continue
            axes, last = (
                group.of_reduction(value, rules.any_last)
                if reducible
                else (group.of_elementwise(value), False)
            )
            if axes is None or not (rules.repeats or _is_whole(axes, value)):
                continue
            group.add(value, axes, last)
            self._enter(value, self._new(group) if group is fresh else self.unit_of[group], needed)
            return
        self._alone(value, value)  # a reduction for which a loop of its own would be no better

    def _homes(self, value: Value) -> list[FusionGroup]:
        """Return the groups with room that compute what a value reads, in order."""
        places = {base(i) for i in value.sources}
        units = sorted({self.place_of[v] for v in places if v in self.place_of})
        found = (self.units[k] for k in units)
        return [g for g in found if isinstance(g, FusionGroup) and g.has_room]

    def _new(self, unit: FusionGroup | Value) -> int:
        self.units.append(unit)
        self.before.append(0)
        if isinstance(unit, FusionGroup):
            self.unit_of[unit] = len(self.units) - 1
            if unit.has_room:
                self.open.append(unit)
        return len(self.units) - 1

    def _enter(self, value: Value, unit: int, needed: int) -> None:
        self.place_of[value] = unit
        if needed & ~self.before[unit]:
            self.before[unit] |= needed
            for k, others in enumerate(self.before):
                if others >> unit & 1:
                    self.before[k] |= self.before[unit]
        group = self.units[unit]
        if isinstance(group, FusionGroup) and not group.has_room and group in self.open:
            self.open.remove(group)

    def _outside(self, value: Value, group: FusionGroup | None) -> int:
        """Return the units from which a value takes what it cannot take from within the group."""
        found = 0
        for source in value.sources:
            if group is None or group.where(source) is None:
                found |= self._bit(base(source))
        if value.primitive is COPY:  # what it is put upon has to be there
            for other in value.params.get("upon", ()):
                found |= self._bit(other)
        return found

    def _bit(self, value: Value) -> int:
        place = self.place_of.get(value)
        return 0 if place is None else 1 << place

    def _after(self, bits: int) -> int:
        """Return these units, and all that have to be run before them."""
        found = rest = bits
        while rest:
            k = rest.bit_length() - 1
            found |= self.before[k]
            rest ^= 1 << k
        return found


def fuse(values: Iterable[Value], rules: Rules) -> list[FusionGroup | Value]:
    """Return groups and the other operations, in an order in which they can be run.

    Views and what is given or hoisted need no work and are no part of it.
    """
    found = _Arrangement(rules)
    for value in values:
        if not value.leaf and not is_view(value):
            found.place(value)
    before = found.before
    order = sorted(range(len(found.units)), key=lambda k: (before[k].bit_count(), k))
    return [found.units[k] for k in order]


def read_outside(units: Iterable[FusionGroup | Value]) -> set[Value]:
    """Return the values that are read outside of the loops that compute them."""
    found: set[Value] = set()
    for unit in units:
        if isinstance(unit, FusionGroup):
            found.update(base(i) for m in unit.members for i in m.sources if unit.reads(i))
        elif unit.primitive is not ASSEMBLED:  # whose inputs stand in it already
            found.update(base(i) for i in unit.sources)
    return found


def dtypes_of(value: Value) -> list[np.dtype[Any]]:
    """Return the dtypes of a value and of its inputs."""
    return [value.dtype, *(i.dtype for i in value.sources)]
