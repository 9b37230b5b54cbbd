"""Loops that a learner wrote: which operations of a tape are the steps of one.

What `unroll` and cells record says to which time step it belongs (`core.tape.Mark`). What a loop of
the user's own records does not; but it is a list of operations that repeats, and each repetition
reads what the one before has made. Such a list is found here by its *period*, and proved:

* the operations of one step are those of the next, one by one: primitive, place in the source,
  parameters, shape, dtype;
* each input is the same thing seen from the step: the same weight or number, another array of the
  same shape, or a node which is as far from its counterpart of the step before as in all other
  steps. In the first step, what others take from the step before may come from anywhere.

A step has to read the step before otherwise than to add to a sum, and it has to be a single one: no
operation reads at the same place what the step itself has made, and what the step before has. Three
such steps are the fewest. What is not proved so keeps its mark.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from operator import is_not
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Array
from ..core.tape import Derived, Leaf, Mark, Node
from .facts import infix
from .source import Places, repeats

FEWEST = 3  # steps
TRIED = 24  # periods, the most frequent ones


class Loop(NamedTuple):
    """Operations that repeat.

    Attributes
    ----------
    begin, end : int
        From where to where they stand among all operations; the last step may lack its end.
    period : int
        Operations of a step.
    """

    begin: int
    end: int
    period: int

    @property
    def steps(self) -> int:
        """The number of whole steps."""
        return (self.end - self.begin) // self.period


def marks_of(
    nodes: Sequence[Node], place: Places | None = None, own: Sequence[Mark] | None = None
) -> dict[Node, Mark]:
    """Return marks for the operations in loops of the user's own, which have no step.

    Steps are numbered from 0. A loop has the name of the function that it stands in; of two loops
    of one name the second has a number.

    Parameters
    ----------
    nodes : sequence of Node
        A tape, in the order in which it was made.
    place : Places, optional
        Where operations stand in the source, as far as it was looked up before.
    own : sequence of Mark, optional
        The marks that the nodes have, if they were collected before.
    """
    place = place or Places()
    own = own or own_marks(nodes)
    found: dict[Node, Mark] = {}
    names: dict[str, int] = {}
    for part in _parts(nodes, own):
        for loop, first in _Operations(part, place).numbered():
            name = _function(part[loop.begin : loop.begin + loop.period])
            names[name] = names.get(name, 0) + 1
            if names[name] > 1:
                name = f"{name or 'loop'} {names[name]}"
            marks: list[Mark] = []
            for k, n in enumerate(part[loop.begin : loop.end]):
                if k % loop.period == 0:
                    marks.append(Mark(name, None, first + len(marks)))
                found[n] = marks[-1]
    return {**found, **_derived(nodes, found)} if found else found


def _derived(nodes: Sequence[Node], found: Mapping[Node, Mark]) -> dict[Node, Mark]:
    """Return marks for what derivative rules made of the operations in loops.

    A backward visits the operations from the last to the first, and what it makes there stands at
    their lines. It is a backward of these loops if what it reads of them is of the same step, or of
    the one before.
    """
    places: dict[Any, list[int]] = {}
    for k, n in enumerate(nodes):
        if _is_free(n):
            places.setdefault(n.origin[:2], []).append(k)
    made: dict[Node, Mark] = {}
    at = len(nodes)
    for n in nodes:
        if type(n.origin[2]) is not Derived or n.origin[2].step is not None:
            continue
        same = places.get(n.origin[:2], [])
        k = bisect_right(same, at)
        if not k:
            continue
        at = same[k - 1]
        mark = found.get(nodes[at])
        if mark is None or mark.step is None:
            continue
        for i in n.inputs:
            read = found.get(i)
            if (
                read is not None
                and read[:2] == mark[:2]
                and read.step not in (mark.step, mark.step - 1)
            ):
                return {}
        made[n] = Derived(*mark)
    return made


def _parts(nodes: Sequence[Node], marks: Sequence[Mark]) -> Iterator[list[Node]]:
    """Yield the operations without a step that follow each other, where they are enough."""
    free: list[int] = []
    for begin, end in runs_of(marks):
        if marks[begin].step is None:
            free += [k for k in range(begin, end) if _is_free(nodes[k])]
    part: list[Node] = []
    last = -1
    for k in free:
        if any(n.primitive is not None for n in nodes[last + 1 : k]):
            if len(part) >= FEWEST:
                yield part
            part = []
        part.append(nodes[k])
        last = k
    if len(part) >= FEWEST:
        yield part


def own_marks(nodes: Sequence[Node]) -> list[Mark]:
    """Return the mark with which each node was recorded."""
    return [n.origin[2] for n in nodes]


def runs_of(marks: Sequence[Mark]) -> Iterator[tuple[int, int]]:
    """Return from where to where the same mark stands; a long tape has few for its length."""
    if not marks:
        return iter(())
    changed = np.fromiter(map(is_not, itertools.islice(marks, 1, None), marks), bool)
    return itertools.pairwise([0, *(np.flatnonzero(changed) + 1).tolist(), len(marks)])


def _is_free(n: Node) -> bool:
    """Whether an operation belongs to no step, and was made by the user's own code."""
    code, _, mark = n.origin
    known = n.primitive is not None and code is not None
    return known and mark.step is None and type(mark) is not Derived


def _function(step: Sequence[Node]) -> str:
    """Return the name of the function whose code made all operations of a step; or ""."""
    codes = {n.origin[0] for n in step}
    name = next(iter(codes)).co_name if len(codes) == 1 else ""
    return name if name.isidentifier() else ""


class _Operations:
    """Operations that follow each other, as numbers, and the loops among them.

    Attributes
    ----------
    weak : array of int
        The same for operations that agree in all but their inputs.
    strict : array of int
        The same for those that also read the same weights.
    first, source : array of int
        Where the inputs of each operation begin in `source`, which has the number of an operation,
        or a negative number for what else is read.
    """

    def __init__(self, operations: Sequence[Node], place: Places) -> None:
        self.operations, self.place = operations, place
        number = {n: k for k, n in enumerate(operations)}
        weak, strict, sources, first = [], [], [], [0]
        codes: dict[Any, int] = {}
        for n in operations:
            weights = []
            for i in n.inputs:
                if i in number:
                    sources.append(number[i])
                    continue
                if isinstance(i, Leaf) and i.requires_grad:
                    weights.append(i)
                sources.append(-2 - codes.setdefault(_other(i), len(codes)))
            first.append(len(sources))
            same = self._same(n)
            weak.append(codes.setdefault(same, len(codes)))
            strict.append(codes.setdefault((same, *weights), len(codes)) if weights else weak[-1])
        self.weak, self.strict = np.array(weak, np.int64), np.array(strict, np.int64)
        self.first, self.source = np.array(first, np.int64), np.array(sources, np.int64)

    def _same(self, n: Node) -> Any:
        """Return what operations of two steps have to have in common."""
        params = tuple([(key, _shown(key, value)) for key, value in n.params.items()])
        return (n.primitive, self.place(n), n.shape, n.dtype, len(n.inputs), params)

    def numbered(self) -> list[tuple[Loop, int]]:
        """Return the loops with the numbers of their first steps.

        Steps that differ may stand before the others: where the same line of a loop was run before,
        it counts. If such steps stand between others, it is not known how many they are, and
        nothing of that loop is proved.
        """
        loops = self.loops()
        places = [self.place(n) for n in self.operations]
        first: dict[Any, list[int]] = {}
        end = 0
        for loop in loops:
            last = self.operations[loop.begin + loop.period - 1]
            odd = places[end : loop.begin].count(self.place(last)) if repeats(last) else 0
            first.setdefault(self.place(last), []).append(odd)
            end = loop.end
        found = []
        for loop in loops:
            odds = first[places[loop.begin + loop.period - 1]]
            if not any(odds[1:]):
                found.append((loop, odds.pop(0) if len(odds) > 1 else odds[0]))
        return found

    def loops(self) -> list[Loop]:
        """Return the loops, in the order in which they ran."""
        found: list[Loop] = []
        parts: list[Any] = [(0, len(self.strict))]
        while parts:
            begin, end = parts.pop()
            best = self._best(begin, end)
            if not best:
                continue
            found += best
            edges = [begin, *(v for loop in best for v in (loop.begin, loop.end)), end]
            parts += zip(edges[::2], edges[1::2], strict=True)
        return sorted(found)

    def _best(self, begin: int, end: int) -> list[Loop]:
        """Return the loops of one period within a part of the operations.

        Of the periods whose loops cover nearly as much as any others do, it is the one with the
        longest loop: where loops stand in each other, that is time.
        """
        tried = [
            loops
            for period in _periods(self.strict[begin:end])
            if (loops := self._of_period(begin, end, int(period)))
        ]
        if not tried:
            return []
        covers = [sum(loop.end - loop.begin for loop in loops) for loops in tried]
        large = [
            loops for loops, cover in zip(tried, covers, strict=True) if 2 * cover >= max(covers)
        ]
        return max(large, key=lambda loops: max(loop.steps for loop in loops))

    def _of_period(self, begin: int, end: int, period: int) -> list[Loop]:
        """Return the loops of a period."""
        codes = self.strict[begin:end]
        if len(codes) < FEWEST * period:
            return []
        alike = np.concatenate([[False], codes[period:] == codes[:-period], [False]])
        edges = np.flatnonzero(np.diff(alike.astype(np.int8)))
        found = []
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - start < (FEWEST - 2) * period:  # the first step may differ
                continue
            run = Loop(begin + int(start), begin + int(stop) + period, period)
            loop = self._proved(run, begin)
            if loop is not None:
                found.append(loop)
        return found

    def _proved(self, run: Loop, least: int) -> Loop | None:
        """Return the steps in a run of repeating operations, if they are steps."""
        period = run.period
        # the first step may read other weights, such as a state that is learned
        alike = self.weak[least : run.begin] == self.weak[least + period : run.begin + period]
        more = len(alike) if alike.all() else int(np.argmin(alike[::-1]))
        begin = self._start(run._replace(begin=run.begin - more), least)
        if begin is None:
            return None
        loop = Loop(begin, run.end, period)
        if loop.steps < FEWEST:
            return None
        ends = begin + loop.steps * period
        rows = [
            self.source[self.first[k] : self.first[k + period]] for k in range(begin, ends, period)
        ]
        if len({len(row) for row in rows}) > 1:
            return None
        table = np.stack(rows)
        heads = np.repeat(np.arange(period), np.diff(self.first[begin : begin + period + 1]))
        if not self._regular(table, begin, period) or not self._recurrent(table[2], heads, loop):
            return None
        rest = self.source[self.first[ends] : self.first[run.end]]
        next_ = 2 * table[-1, : len(rest)] - table[-2, : len(rest)]
        whole = np.where(table[-1, : len(rest)] < 0, table[-1, : len(rest)], next_)
        return loop if (rest == whole).all() else Loop(begin, ends, period)

    def _regular(self, table: Array, begin: int, period: int) -> bool:
        """Whether each input is the same thing in all steps; a row of `table` is that of a step."""
        moves = np.diff(table, axis=0)
        steady = (moves[1:] == moves[-1]).all(axis=0)
        nodes = (table[1:] >= 0).all(axis=0)
        same = (table[1:] == table[1]).all(axis=0)
        if not (same | (steady & nodes)).all():
            return False
        read = table[1:][:, nodes]
        if not (self.weak[read] == self.weak[read[-1]]).all():
            return False
        # in the first step a state comes from elsewhere
        carried = (moves[-1] == period) & (table[1] < begin + period) & (table[1] >= begin)
        return bool((carried | (moves[0] == moves[-1])).all())

    def _recurrent(self, row: Array, heads: Array, loop: Loop) -> bool:
        """Whether a step reads the step before, not only for sums, and is no more than one step.

        `row` has the inputs of the third step, `heads` the operations in it that read them.
        """
        begin = loop.begin + 2 * loop.period
        inside = row >= begin
        carried = ~inside & (row >= begin - loop.period)
        slots = np.arange(len(row)) - np.searchsorted(heads, heads)

        def places(which: Array) -> set[tuple[int, int]]:
            readers = self.weak[begin + heads[which]].tolist()
            return set(zip(readers, slots[which].tolist(), strict=True))

        # what reads the state of the step before also reads one that was made in between
        handed = self._handed(loop)
        if places(inside) & places(carried) and min(handed[1:]) <= handed[0]:
            return False
        return any(
            row[k] != begin - loop.period + heads[k]
            or infix(self.operations[begin + heads[k]].primitive) != "+"
            for k in np.flatnonzero(carried)
        )

    def _start(self, run: Loop, least: int) -> int | None:
        """Return where the first whole step of a run begins; None if that cannot be told.

        Where one piece of code makes all operations, it is where the code is entered anew; if there
        are loops in the step, where it hands on least. Otherwise it is where the run begins, unless
        some of its operations were made just before.
        """
        step = self.operations[run.begin : run.begin + run.period]
        if len({n.origin[0] for n in step}) > 1:
            places = {self.place(n) for n in step}
            before = self.operations[max(least, run.begin - run.period) : run.begin]
            return run.begin if places.isdisjoint(map(self.place, before)) else None
        order = [self.place.order(n) for n in step]
        first = [k for k in range(len(step)) if order[k] == min(order) and order[k - 1] > order[k]]
        handed = self._handed(run)
        return run.begin + min(first or [0], key=lambda k: handed[k])

    def _handed(self, run: Loop) -> list[int]:
        """Return how many values would be handed on if steps began at an operation, for each."""
        period, middle = run.period, run.begin + run.period
        far: dict[int, int] = {}  # from an operation to the last that reads it
        for k in range(middle, min(middle + period, run.end)):
            for i in self.source[self.first[k] : self.first[k + 1]].tolist():
                if run.begin <= i:
                    tail = (i - run.begin) % period
                    far[tail] = max(far.get(tail, 0), k - i)
        change = np.zeros(2 * period + 1, np.int64)
        for tail, distance in far.items():
            change[tail + 1] += 1
            change[tail + 1 + min(distance, period)] -= 1
        handed = np.cumsum(change)
        return [int(v) for v in handed[:period] + handed[period : 2 * period]]


def _periods(codes: Array) -> Iterator[int]:
    """Yield the distances from one operation to the next of its kind, the most frequent first."""
    order = np.argsort(codes, kind="stable")
    gaps = np.diff(order)[np.diff(codes[order]) == 0]
    found, counts = np.unique(gaps, return_counts=True)
    yield from found[np.argsort(-counts, kind="stable")][:TRIED].tolist()


def _other(i: Any) -> Any:
    """Return what an input has to be in all steps that is no operation."""
    if not isinstance(i, Leaf):
        return ("number", type(i), i) if not isinstance(i, Node) else ("node", i)
    if i.requires_grad:
        return ("weight", i)
    if i.shape == () and isinstance(i.value, np.ndarray | np.generic):
        return ("number", i.dtype, i.value.item())
    return ("array", i.shape, i.dtype)


def _shown(name: str, value: Any) -> Any:
    """Return a parameter as what has to agree; what is taken out of an array may move on."""
    if name == "index" and (type(value) is int or (type(value) is tuple and len(value) == 1)):
        return "an index"
    if isinstance(value, int | float | str | type(None)):
        return value
    if isinstance(value, tuple | list | slice | type(...)):
        return repr(value)
    return type(value).__name__, getattr(value, "shape", ())
