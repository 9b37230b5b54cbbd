"""A long tape without the middle of its equal steps.

Of 100,000 steps five are drawn, and what stands in the picture for the others are their number and
the arrows at their ends. So where steps follow each other that are the same node by node, those in
the middle are left out at once, in one walk over the tape; all else sees what is left.

Two neighbouring steps are the same here if they agree as `fold` has it, and their nodes stand
equally far from each other in the order of recording. What is not seen to be so is kept: it costs
time, and `fold` looks at it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Container, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.tape import Leaf, Mark, Node
from ..ops.repeats import runs_of
from .facts import index_of, joins, stacks

_NODES = frozenset({Node, Leaf})
FEWEST = 4  # so many steps are left out at least, or none


class Group(NamedTuple):
    """The nodes of one step of one cell, which follow each other on the tape."""

    mark: Mark
    begin: int
    end: int

    @property
    def step(self) -> int:
        """The number of the step."""
        return self.mark.step or 0


class Hidden(NamedTuple):
    """Steps that are left out, all the same as one that is not.

    Attributes
    ----------
    like : Group
        The step before the first of them.
    groups : list of Group
    steps : list of int
        Their numbers.
    """

    like: Group
    groups: list[Group]
    steps: list[int]


class Short(NamedTuple):
    """A tape without the middle of equal steps.

    Attributes
    ----------
    nodes : sequence of Node
        Those that are left.
    hidden : list of Hidden
    alike : list of Node
        The first nodes of steps that are left and the same as the step before.
    """

    nodes: Sequence[Node]
    hidden: list[Hidden]
    alike: list[Node]


def shortened(
    nodes: Sequence[Node],
    roots: Collection[Node],
    own: Sequence[Mark],
    marks: Mapping[Node, Mark],
    ends: int,
) -> Short:
    """Leave out the middle of equal steps.

    Parameters
    ----------
    nodes : sequence of Node
        In the order in which they were made.
    roots : collection of Node
    own : sequence of Mark
        The marks that the nodes have.
    marks : mapping of Node to Mark
        Those that they are given, where that is another.
    ends : int
        Of equal steps that follow each other so many are kept at each end.
    """
    groups = _groups(nodes, own, marks)
    hidden, alike = _equal(_Compare(nodes, groups, marks), groups, ends)
    left = _left(nodes, _Gone(nodes, hidden), roots, alike) if hidden else None
    if left is None:
        return Short(nodes, [], [])
    return Short(left, hidden, [nodes[g.begin] for g in alike])


def _groups(nodes: Sequence[Node], own: Sequence[Mark], marks: Mapping[Node, Mark]) -> list[Group]:
    """Return the steps; a constant without a step belongs to the step that is made next."""
    found: list[Group] = []
    if marks:
        own = [marks.get(n) or mark for n, mark in zip(nodes, own, strict=True)]
    last: Any = None  # the mark of the step that is not at its end
    begin = 0
    loose: int | None = None  # where constants begin that stand before the next operation
    for first, beyond in runs_of(own):
        mark = own[first]
        if mark is last:
            loose = None
            continue
        for k in range(first, beyond if mark.step is None else first + 1):
            n = nodes[k]
            if mark.step is None and n.primitive is None and not n.requires_grad:
                loose = k if loose is None else loose
                continue
            end, loose = k if loose is None else loose, None
            if last is not None:
                found.append(Group(last, begin, end))
            last, begin = (None if mark.step is None else mark), end
    if last is not None:
        found.append(Group(last, begin, len(nodes) if loose is None else loose))
    return found


def _equal(
    compare: _Compare, groups: Sequence[Group], ends: int
) -> tuple[list[Hidden], list[Group]]:
    """Return the steps to be left out, and those besides that are the same as the one before."""
    last: dict[Any, Group] = {}
    # of each cell: how far its latest steps are apart, and those that are the same as one before
    runs: dict[Any, tuple[int | None, list[Group]]] = {}
    done: list[list[Group]] = []
    for g in groups:
        cell = g.mark[:2]
        before, (shift, run) = last.get(cell), runs.get(cell, (None, []))
        moved = compare(before, g) if before is not None else None
        if moved is not None and moved == shift:
            run.append(g)
        elif before is not None:
            runs[cell] = (moved, run := [])
            done.append(run)
        last[cell] = g
    hidden: list[Hidden] = []
    alike: list[Group] = []
    for run in done:
        if len(run) < 2 * ends + FEWEST:
            continue
        inner = run[ends:-ends]
        hidden.append(Hidden(run[ends - 1], inner, [g.step for g in inner]))
        alike += [*run[:ends], *run[-ends:]]
    return hidden, alike


class _Compare:
    """The comparison of two steps of one cell that follow each other."""

    def __init__(
        self, nodes: Sequence[Node], groups: Sequence[Group], marks: Mapping[Node, Mark]
    ) -> None:
        self.nodes, self._marks = nodes, marks
        self._first = {g.mark: nodes[g.begin].index for g in groups}

    def __call__(self, a: Group, b: Group) -> int | None:
        """Return how far the steps are apart, if they are the same; else None."""
        nodes = self.nodes
        if b.end - b.begin != a.end - a.begin:
            return None
        shift = nodes[b.begin].index - nodes[a.begin].index
        steps = b.step - a.step
        least = nodes[a.begin].index - shift  # of what the steps can read of their own cell
        # a loop in which nothing is called: most of the time for a long tape is spent here
        for m, n in zip(nodes[a.begin : a.end], nodes[b.begin : b.end], strict=True):
            p, q = m.origin, n.origin
            if (
                m.primitive is not n.primitive
                or n.index - m.index != shift
                or p[1] != q[1]
                or p[0] is not q[0]
                or m.shape != n.shape
                or m.dtype is not n.dtype
                or m.requires_grad is not n.requires_grad
                or (m.params is not n.params and not self._params(m, n, steps))
                or (m.primitive is None and not _leaves(m, n))
            ):
                return None
            for i, j in zip(m.inputs, n.inputs, strict=True):
                if i is j or (
                    type(j) is type(i)
                    and type(j) in _NODES
                    and j.index - i.index == shift
                    and i.index >= least
                    and i.primitive is j.primitive
                ):
                    continue
                if not self._moves(i, j, steps):
                    return None
        return shift

    def _params(self, m: Node, n: Node, steps: int) -> bool:
        """Whether two operations have the same parameters; what they take out may move on."""
        try:
            if m.params == n.params:
                return True
        except ValueError:  # there are arrays among them
            return False
        parts = self._parts(m, n, steps)
        return parts is not None and (parts[0] is parts[1] or self._moves(*parts, steps))

    def _moves(self, i: Any, j: Any, steps: int) -> bool:
        """Whether an input of a step and that of the next stand at the same place in their steps."""
        if not isinstance(i, Node) or not isinstance(j, Node):
            return type(i) is type(j) and bool(i == j)
        p, q = self._marks.get(i) or i.origin[2], self._marks.get(j) or j.origin[2]
        if p.step is None or q.step is None or q.step - p.step != steps or p[:2] != q[:2]:
            return False
        return j.index - i.index == self._first.get(q, 0) - self._first.get(p, 0)

    def _parts(self, m: Node, n: Node, steps: int) -> tuple[Any, Any] | None:
        """Return what two operations take out of one array or one stack, if it moves with time."""
        k, later = index_of(m), index_of(n)
        if (
            type(k) is not int
            or type(later) is not int
            or later - k != steps
            or m.inputs != n.inputs
        ):
            return None
        source = m.inputs[0]
        if not (stacks(source) and source.params["axis"] == 0):
            return source, source
        count = len(source.inputs)
        inside = -count <= k < count and -count <= later < count
        return (source.inputs[k], source.inputs[later]) if inside else None


def _leaves(m: Any, n: Any) -> bool:
    """Whether two arrays are inputs of their steps; a number has to be the same."""
    if m.requires_grad:
        return False
    if m.shape or type(m.value) is not type(n.value):
        return bool(m.shape)
    return bool(m.value == n.value) and m.name is n.name is None


class _Gone(Container[Node]):
    """What is left out, as ranges of a tape: two million nodes of it are not put into a set."""

    def __init__(self, nodes: Sequence[Node], hidden: Sequence[Hidden]) -> None:
        self.ranges = sorted((g.begin, g.end) for h in hidden for g in h.groups)
        self._firsts = [nodes[begin].index for begin, _ in self.ranges]
        self._lasts = [nodes[end - 1].index for _, end in self.ranges]

    def __contains__(self, n: object) -> bool:
        if not isinstance(n, Node):
            return False
        k = bisect_right(self._firsts, n.index) - 1
        return k >= 0 and n.index <= self._lasts[k]

    def others(self, nodes: Sequence[Node]) -> list[Node]:
        """Return what is not left out."""
        found: list[Node] = []
        last = 0
        for begin, end in [*self.ranges, (len(nodes), 0)]:
            if begin > last:
                found += nodes[last:begin]
            last = end
        return found


def _left(
    nodes: Sequence[Node], gone: _Gone, roots: Collection[Node], alike: Sequence[Group]
) -> list[Node] | None:
    """Return what is left; None if something of it would miss what is left out.

    A step that is the same as the one before may read steps that are left out, and so may what puts
    all of them side by side.
    """
    if any(n in gone for n in roots):
        return None
    same = {n for g in alike for n in nodes[g.begin : g.end]}
    left = gone.others(nodes)
    for n in left:
        if n in same or joins(n):
            continue
        index, source = index_of(n), n.inputs[0] if n.inputs else n
        part = type(index) is int and isinstance(source, Node) and stacks(source)
        if any(i in gone for i in ([source.inputs[index]] if part else n.inputs)):
            return None
    return left
