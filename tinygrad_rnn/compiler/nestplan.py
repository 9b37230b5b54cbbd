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
from .layout import Layout
from .value import B, Value


class Place(NamedTuple):
    """Where a value lies in an array: where it begins, and a stride for each axis of the group."""

    array: Array
    offset: Linear
    strides: tuple[Linear, ...]


class Target(NamedTuple):
    """Where a member is stored; `adds`: what stands there already is added to it."""

    array: Array
    layout: Layout
    adds: bool


class Shared(NamedTuple):
    """How a nest is shared among threads: its first loop runs from `lo` to `hi`, in blocks if flat."""

    lo: str
    hi: str


def split_axes(layout: Layout, axes: Axes, shape: Sequence[Any], rank: int) -> tuple[Linear, ...]:
    """Return the stride for each axis of a group, from the strides of a value's own axes."""
    strides = [Linear()] * rank
    for a, step, n in zip(axes, layout.strides, shape, strict=True):
        if a is not None and n != 1:
            strides[a] = step
    return tuple(strides)


class NestPlan:
    """What each loop of a group runs over, and where everything is.

    Parameters
    ----------
    group : FusionGroup
    find : callable
        From a value that is read, and whether it is to be repeated for each row of the batch, to
        its array and its layout in that.
    targets : mapping of Value to list of Target
        Where members are stored.
    base : dtype
        The floating dtype of the module.
    names : iterator of int
        Numbers for names; no two loops of a function share a name, which numba would tell apart.
    shared : Shared, optional
        If the first loop is shared among threads.

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
        find: Callable[[Value, bool], tuple[Array, Layout]],
        targets: Mapping[Value, Sequence[Target]],
        base: np.dtype[Any],
        names: Iterator[int],
        shared: Shared | None = None,
    ) -> None:
        self.group, self.base, self.names, self.shared = group, base, names, shared
        self.rank = len(group.shape)
        self.operands: dict[tuple[Value, int], Place] = {}
        self.places: dict[Value, list[tuple[Place, bool]]] = {}
        self.buffers: dict[Value, Place] = {}  # for rows of what later phases read
        self._find_operands(find)
        for member, several in targets.items():
            axes = group.axes[member]
            self.places[member] = [
                (
                    Place(
                        t.array,
                        t.layout.offset,
                        split_axes(t.layout, axes, member.shape, self.rank),
                    ),
                    t.adds,
                )
                for t in several
            ]
        self._plan_loops()
        self._plan_phases()

    # --- where things are -------------------------------------------------------------------------

    def _find_operands(self, find: Callable[[Value, bool], tuple[Array, Layout]]) -> None:
        group = self.group
        by_rows = bool(group.live) and group.shape[group.live[-1]] == B
        for member in group.members:
            for k, source in enumerate(member.sources):
                if group.where(source) is None and not source.zero:
                    array, layout = find(source, by_rows)
                    strides = self._strides(member, k, source, layout)
                    if by_rows and array.role is Role.REPLICATED:
                        last = group.live[-1]
                        strides = (*strides[:last], Linear.of(1), *strides[last + 1 :])
                    self.operands[member, k] = Place(array, layout.offset, strides)

    def _strides(self, member: Value, k: int, source: Value, layout: Layout) -> tuple[Linear, ...]:
        """Return the strides of an operand along the axes of the group."""
        group = self.group
        if member in group.labels:
            labels = contraction(member)
            assert labels is not None
            place = group.labels[member]
            axes: Axes = tuple(place.get(label) for label in labels.terms[k])
        elif self._collects(member):
            axes = group.where(source) or group.whole
        else:
            own = group.axes[member]
            axes = own[len(own) - len(source.shape) :]
        return split_axes(layout, axes, source.shape, self.rank)

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
        self.blocked = self.flat and self.shared is not None and bool(loops)
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
