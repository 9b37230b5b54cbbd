"""The plan of a loop nest: which loops a fusion group needs, and where each value is.

Loops run over the axes of the group in the order of memory, adjacent ones as one where every array
allows it. The innermost loop is the one that becomes vector instructions. A reduction that is used
again in the same row cuts the row into phases: a loop for the sum, then what is computed of the
sum, then the next loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..loops.ir import Array, Role
from ..loops.linear import Linear, product
from ..ops.facts import facts_of
from .fusion import Axes, FusionGroup, contraction
from .layout import Where
from .value import B, Value


class Place(NamedTuple):
    """Where a value lies in an array: where it begins, and a stride for each axis of the group."""

    array: Array
    offset: Linear
    strides: tuple[Linear, ...]


class NestPlan:
    """What each loop of a group runs over, and where everything is.

    Parameters
    ----------
    group : FusionGroup
    find : callable
        Where a value is that is read; it is told whether that is to be repeated for each row of the
        batch.
    targets : mapping of Value to list of Where
        Where members are stored.
    base : dtype
        The floating dtype of the module.
    names : iterator of int
        Numbers for names; no two loops of a function share a name, which numba would tell apart.
    shared : bool
        Whether threads share the first loop: it then runs from `lo` to `hi`, in blocks if it is flat.

    Attributes
    ----------
    outer, inner : list of list of int
        The axes of the group that each loop runs over, outside of a row and inside.
    flat : bool
        Whether there is a single loop and no row.
    blocked : bool
        Whether it is a flat loop that threads share: it then runs in blocks.
    phase : dict of Value to int
        After which loops of the row each member can be computed.
    count : Linear
        Length of the first loop.
    """

    def __init__(
        self,
        group: FusionGroup,
        find: Callable[[Value, bool], Where],
        targets: Mapping[Value, Sequence[Where]],
        base: np.dtype[Any],
        names: Iterator[int],
        *,
        shared: bool = False,
    ) -> None:
        self.group, self.base, self.names, self.shared = group, base, names, shared
        self.rank = len(group.shape)
        self.operands: dict[tuple[Value, int], Place] = {}
        self.places: dict[Value, list[tuple[Place, bool]]] = {}
        self.buffers: dict[Value, Place] = {}  # for rows of what later phases read
        self._find_operands(find)
        for member, several in targets.items():
            axes = group.axes[member]
            self.places[member] = [(self._place(t, axes, member), t.adds) for t in several]
        self._plan_loops()
        self._plan_phases()

    # --- where things are -------------------------------------------------------------------------

    def _find_operands(self, find: Callable[[Value, bool], Where]) -> None:
        group = self.group
        by_rows = bool(group.live) and group.shape[group.live[-1]] == B
        for member in group.members:
            for k, source in enumerate(member.sources):
                if group.reads(source):
                    found = find(source, by_rows)
                    place = self._place(found, self._axes(member, k, source), source)
                    if by_rows and found.array.role is Role.REPLICATED:
                        last, strides = group.live[-1], place.strides
                        strides = (*strides[:last], Linear.of(1), *strides[last + 1 :])
                        place = place._replace(strides=strides)
                    self.operands[member, k] = place

    def _place(self, found: Where, axes: Axes, value: Value) -> Place:
        """Return where a value is, from the axes of the group that its own axes are."""
        strides = [Linear()] * self.rank
        for a, step, n in zip(axes, found.layout.strides, value.shape, strict=True):
            if a is not None and n != 1:
                strides[a] = step
        return Place(found.array, found.layout.offset, tuple(strides))

    def _axes(self, member: Value, k: int, source: Value) -> Axes:
        """Return the axes of the group that the axes of an operand are."""
        group = self.group
        if member in group.labels:
            labels = contraction(member)
            assert labels is not None
            place = group.labels[member]
            return tuple(place.get(label) for label in labels.terms[k])
        if self._collects(member):
            return group.where(source) or group.whole
        own = group.axes[member]
        return own[len(own) - len(source.shape) :]

    def _collects(self, member: Value) -> bool:
        """Whether a member collects elements: it is a reduction or a contraction."""
        return member in self.group.labels or facts_of(member.primitive).reduction is not None

    def _plan_loops(self) -> None:
        """Find which axes of the group each loop runs over."""
        group, shape = self.group, self.group.shape
        places = [
            *self.operands.values(),
            *(p for several in self.places.values() for p, _ in several),
        ]
        loops: list[list[int]] = []
        for rank, a in enumerate(group.live):
            joined = bool(loops) and rank != group.split
            if joined and all(p.strides[loops[-1][-1]] == p.strides[a] * shape[a] for p in places):
                loops[-1].append(a)
            else:
                loops.append([a])
        self.flat = group.split is None and len(loops) <= 1
        if self.flat:
            count = 0
        elif group.split is None:
            count = len(loops) - 1
        else:
            count = len([axes for axes in loops if group.rank(axes[0]) < group.split])
        self.outer, self.inner = loops[:count], loops[count:]
        self.blocked = self.flat and self.shared and bool(loops)
        self.length = [product(shape[a] for a in axes) for axes in loops]
        self.indices = [f"i{next(self.names)}" for _ in loops]
        self.inner_axes = {a for axes in self.inner for a in axes}
        self.row = product(n for k, n in enumerate(self.length) if k >= count)
        self.count = self.length[0] if self.length and (self.flat or self.outer) else Linear.of(1)

    def _inside(self, value: Value) -> bool:
        """Whether a member depends on where in the row it is."""
        return any(a in self.inner_axes for a in self.group.axes[value])

    def _member(self, source: Value) -> Value | None:
        """Return the member that a value is or looks at, if the group may use it."""
        if self.group.where(source) is None:
            return None
        while source not in self.group.axes:
            source = source.inputs[0]
        return source

    def _plan_phases(self) -> None:
        """Find after which loops of the row each member can be computed."""
        self.phase: dict[Value, int] = {}
        for member in self.group.members:
            phases = [self.phase[m] for s in member.sources if (m := self._member(s)) is not None]
            after = self._collects(member) and self._source_inside(member)
            last = member in self.group.last
            self.phase[member] = max(phases, default=0) + (after and not last)

    def _source_inside(self, reduction: Value) -> bool:
        if reduction in self.group.labels:
            return True
        member = self._member(reduction.inputs[0])
        return self._inside(member) if member is not None else True
