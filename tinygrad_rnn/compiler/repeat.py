"""Cheap values that several groups of loops read: computed again, or stored.

To store a number and to read it again costs two movements. Where it is a few sums and products of
numbers that are there anyway, a loop that reads it computes it faster than it finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ..ops.facts import Cost, facts_of
from .fusion import FusionGroup
from .internal import ASSEMBLED, COPY
from .layout import base, is_view
from .value import Value


def repeat(units: Sequence[FusionGroup | Value], wanted: Collection[Value]) -> dict[Value, Value]:
    """Compute what is cheap again in a group that reads it, in place of storing it for that group.

    Parameters
    ----------
    units : sequence of FusionGroup or Value
        In order. The groups are changed.
    wanted : collection of Value
        What is stored in any case.

    Returns
    -------
    dict of Value to Value
        The copies, each with the value that it is computed like.
    """
    groups = [u for u in units if isinstance(u, FusionGroup)]
    # in order
    home = {m: g for g in groups if g.split is None for m in g.members if m not in g.last}
    readers: dict[Value, set[FusionGroup | Value]] = {}
    for unit in units:
        for v in unit.members if isinstance(unit, FusionGroup) else [unit]:
            for i in v.sources:
                readers.setdefault(base(i), set()).add(unit)
                readers.setdefault(i, set()).add(unit)

    def stored(value: Value) -> bool:
        """Whether an array has the value, whatever one of its readers does."""
        if value in wanted or value not in home:
            return True
        return len(readers.get(value, set()) - {home[value]}) > 1

    found: dict[Value, Value] = {}
    for group in groups:
        if group.split is None and not group.labels and not group.last and group.has_room:
            repeats = _Repeats(group, home, stored)
            if repeats.values and repeats.pays:
                found |= {copy: v for v, copy in repeats.copies().items()}
    if found:
        _drop_unread(units, wanted)
    return found


class _Repeats:
    """What one group reads of others and may compute again, from arrays that are there anyway."""

    def __init__(
        self, reader: FusionGroup, home: dict[Value, FusionGroup], stored: Callable[[Value], bool]
    ) -> None:
        self.reader, self.home, self.stored = reader, home, stored
        self.here = {i for m in reader.members for i in m.sources if reader.reads(i)}
        self.again: set[Value] = set()
        self.arrays: set[Value] = set()
        unsaved = (i for i in self.here if i in home and not stored(i))
        self.values = [v for v in unsaved if self._follow(v)]

    def _follow(self, top: Value) -> bool:
        """Whether a value is made of arrays by cheap operations alone; notes both."""
        again: set[Value] = set()
        arrays: set[Value] = set()
        stack = [top]
        while stack:
            v = stack.pop()
            if v.leaf or is_view(v) or self.stored(v) or v not in self.home:
                if not base(v).leaf and not self.stored(base(v)):
                    return False
                arrays.add(v)
            elif v not in again:
                group = self.home[v]
                fits = group.shape == self.reader.shape and group.axes[v] == group.whole
                if not fits or v.primitive is COPY or facts_of(v.primitive).cost > Cost.CHEAP:
                    return False
                again.add(v)
                stack += v.sources
        self.again |= again
        self.arrays |= arrays
        return True

    @property
    def pays(self) -> bool:
        """Whether less is read and written so, for a few operations more."""
        moved = 2 * len(self.values)  # each is written once and read once now
        return len(self.arrays - self.here) < moved and len(self.again) <= 4 * moved

    def copies(self) -> dict[Value, Value]:
        """Put copies into the group, and let its members read them; return which is of what."""
        made: dict[Value, Value] = {}
        for v in [v for v in self.home if v in self.again]:
            inputs = [made.get(i, i) if isinstance(i, Value) else i for i in v.inputs]
            made[v] = Value(v.primitive, inputs, v.params, v.shape, v.node, dtype=v.dtype)
            made[v].varies = v.varies
        for m in self.reader.members:
            m.inputs[:] = [made.get(i, i) if isinstance(i, Value) else i for i in m.inputs]
        self.reader.members[:0] = made.values()
        self.reader.axes.update((copy, self.reader.whole) for copy in made.values())
        return made


def _drop_unread(units: Sequence[FusionGroup | Value], wanted: Collection[Value]) -> None:
    """Take out of groups what nothing reads any more."""
    read = set(wanted)
    for unit in reversed(units):
        if not isinstance(unit, FusionGroup):
            read.update(() if unit.primitive is ASSEMBLED else map(base, unit.sources))
            continue
        for m in reversed(unit.members):
            if m in read or m in unit.last or m.primitive is COPY:
                read.update(map(base, m.sources))
            else:
                del unit.axes[m]
        unit.members[:] = [m for m in unit.members if m in unit.axes]
