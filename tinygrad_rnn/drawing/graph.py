"""The nodes of a tape that can be drawn, the edges between them, and where in time they belong."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

from ..core.primitive import Spec
from ..core.tape import Leaf, Node, reachable
from ..core.trace import Program
from ..ops.repeats import marks_of, own_marks
from ..ops.source import Places
from ..recurrent.moments import Lane, Moment, moments_of
from .backprop import Backprop, readers_of
from .facts import element_of, stacks
from .shorten import Hidden, shortened


class Graph:
    """The drawable part of a tape, of a program, or of several results.

    Numbers and unnamed 0-d constants are not drawn: they are written into the operations that use
    them. Nor is a stack whose parts are taken out again one by one, as from one layer to the next:
    these are the parts themselves.

    Parameters
    ----------
    x : Tape, Program, sequence of Node or Backprop
    given : collection of Node
        What is drawn as an input though it was computed: the first state that a cell was given.
    ends : int, optional
        Of steps that follow each other and are the same keep so many at each end, and leave out
        those between them, where there are many.

    Attributes
    ----------
    nodes : list of Node
    whole : sequence of Node
        The same with what was left out.
    hidden : list of Hidden
        The steps that were left out.
    alike : set of Moment
        Steps that are known to be the same as the one before.
    roots : set of Node
        The results.
    inputs : dict of Node to list of Node
        What is drawn before each, be it left out or not.
    moments : dict of Node to Moment or None
        The lane and the step of each; None outside of time.
    framed : set of Node
        Those that were made in a step, and do not just stand next to it.
    place : Places
        The expression in the source that made a node.
    back : Backprop or None
        The backward that was recorded to be drawn.
    """

    def __init__(self, x: Any, given: Collection[Node] = (), ends: int | None = None) -> None:
        self._made_of = x, given
        self.given: Collection[Node] = set(given)
        self.back = x if isinstance(x, Backprop) else None
        x = x if self.back is None else self.back.roots
        if isinstance(x, Program):
            self.given, self.roots = set(x.inputs), {o for o in x.outputs if isinstance(o, Node)}
            nodes: Sequence[Node] = sorted(
                {*x.inputs, *x.constants, *x.nodes}, key=lambda n: n.index
            )
        elif isinstance(x, Sequence) and not hasattr(x, "root"):
            self.roots, nodes = set(x), reachable(x, every=True)
        else:
            self.roots, nodes = {x.root}, x.nodes
        self.place = Places()
        own = own_marks(nodes)
        marks = marks_of(nodes, self.place, own)
        self.whole, self.hidden = nodes, list[Hidden]()
        alike: Sequence[Node] = ()
        if ends is not None:
            nodes, self.hidden, alike = shortened(nodes, self.roots, own, marks, ends)
        literals = {
            n for n in nodes if n.primitive is None and n not in self.roots and self.is_literal(n)
        }
        self.nodes = [n for n in nodes if n not in literals]
        self.inputs = {
            n: []
            if n in self.given
            else [i for i in n.inputs if isinstance(i, Node) and i not in literals]
            for n in self.nodes
        }
        self._unstack()
        self.unadded: set[Node] = set()  # sums of gradients, one of which is zero and not drawn
        if self.back is not None:
            self._add_up(self.back)
            self._unstack_gradients(self.back)
        derived = {} if self.back is None else self.back.derived(self.inputs)
        self.moments, self.framed = moments_of(
            self.nodes, self.inputs, self.is_leaf, self.place, marks, derived
        )
        self._take_in()
        self.alike = {self.moments[n] for n in alike}

    def unabridged(self) -> Graph:
        """Return the graph with all that was left out."""
        return Graph(*self._made_of)

    def restricted(self, wanted: Callable[[Moment | None], bool]) -> Graph:
        """Return the same graph with the nodes of these moments alone."""
        made = copy.copy(self)
        moments = self.moments
        known = {m: wanted(m) for m in set(moments.values())}
        made.nodes = [n for n in self.nodes if known[moments[n]]]
        return made

    def sources(self, n: Node) -> Sequence[Any]:
        """Return the inputs of a node, with numbers and in order: nodes as they are drawn."""
        if n in self.unstacked:
            return (self.unstacked[n],)
        added = self.back is not None and (n in self.back.parts or n in self.unadded)
        return self.inputs[n] if added else n.inputs

    def is_literal(self, n: Any) -> bool:
        """Whether this input of an operation is written into its label."""
        if not isinstance(n, Leaf):
            return not isinstance(n, Node)
        return (
            n.shape == ()
            and not n.requires_grad
            and n.name is None
            and n not in self.given
            and not isinstance(n.value, Spec)
        )

    def is_leaf(self, n: Node) -> bool:
        """Whether nothing is drawn before it."""
        return n.primitive is None or n in self.given

    def is_backward(self, n: Node) -> bool:
        """Whether it belongs to the steps of a backward."""
        moment = self.moments[n]
        return moment is not None and moment.lane.backward

    @cached_property
    def every_moment(self) -> Mapping[Node, Moment | None]:
        """The moments also of what was left out."""
        found = dict(self.moments)
        for h in self.hidden:
            like = self.lane_of(h)
            for g in h.groups:
                moment = Moment(like, g.step)
                found.update(dict.fromkeys(self.whole[g.begin : g.end], moment))
        return found

    def like(self, n: Node) -> Node:
        """Return a node, or of one that was left out the same in a step that is there."""
        if n in self.moments or not self.hidden:
            return n
        begins, first = self._begins
        k = bisect_right(begins, n.index) - 1
        return first[k].get(n.index - begins[k], n) if k >= 0 else n

    @cached_property
    def _begins(self) -> tuple[list[int], list[dict[int, Node]]]:
        """Where the steps begin that were left out, and the nodes of the one like each of them."""
        whole, found = self.whole, []
        for h in self.hidden:
            first = whole[h.like.begin].index
            like = {n.index - first: n for n in whole[h.like.begin : h.like.end]}
            found += [(whole[g.begin].index, like) for g in h.groups]
        found.sort(key=itemgetter(0))
        return [begin for begin, _ in found], [like for _, like in found]

    def lane_of(self, h: Hidden) -> Lane:
        """Return the lane of steps that were left out."""
        moment = next(
            self.moments[n] for n in self.whole[h.like.begin : h.like.end] if n in self.framed
        )
        assert moment is not None
        return moment.lane

    def step(self, n: Node) -> int | None:
        """Return the time step to which it belongs."""
        moment = self.moments[n]
        return None if moment is None else moment.step

    def elsewhere(self, n: Node, other: Node) -> str:
        """Return " (t=3)" if a node was made in that step, and the other stands in another."""
        moment = self.moments.get(n)
        if moment is None or n not in self.framed or self.step(other) == moment.step:
            return ""
        return f" (t={moment.step})"

    def of_backward(self, n: Node) -> bool:
        """Whether it belongs to the backward that was recorded to be drawn."""
        return self.back is not None and n in self.back.made

    def _add_up(self, back: Backprop) -> None:
        """Let the sum of the gradients that arrive at a node be one operation."""
        for n, parts in back.parts.items():
            self.inputs[n] = parts
        for n in back.partial:
            del self.inputs[n]
        self.nodes = [n for n in self.nodes if n in self.inputs]

    def _unstack_gradients(self, back: Backprop) -> None:
        """Lead the gradients of the parts of a stack to the steps that these come from.

        What reads one part of a stack has a gradient of the stack that is zero elsewhere, and the
        rule of the stack takes the parts out again: these are the gradients themselves, or zeros,
        which are not drawn where they are added to others.
        """
        readers = readers_of(self.nodes, self.inputs)
        for n in self.nodes:
            made, index = back.results.get(n), element_of(n)
            if made is None or made.rule is None or index is None or not stacks(made.by):
                continue
            (whole,) = self.inputs[n]
            arriving = back.put_in(whole, self.inputs[whole] if back.is_sum(whole) else [whole])
            found = None if arriving is None else arriving.get(index % whole.shape[0], [])
            if found is None or len(found) > 1:
                continue
            if found:
                self.inputs[n] = [found[0]]
                self.unstacked[n] = found[0]
            elif all(back.is_sum(r) and len(self.inputs[r]) > 1 for r in readers.get(n, ())):
                for r in readers.get(n, ()):
                    self.inputs[r] = [i for i in self.inputs[r] if i is not n]
                    self.unadded.add(r)
        self._leave_unread(back)

    def _leave_unread(self, back: Backprop) -> None:
        """Leave out what nothing of a backward reads any more."""
        read = set(self.roots)
        for n in reversed(self.nodes):
            if n in read or n not in back.made:
                read.update(self.inputs[n])
        self.nodes = [n for n in self.nodes if n in read or n not in back.made]
        self.inputs = {n: self.inputs[n] for n in self.nodes}

    def _unstack(self) -> None:
        """Lead what is taken out of a stack of the outputs of steps to where it came from."""
        whole = set()
        self.unstacked: dict[Node, Node] = {}  # what is taken out of a stack -> where it came from
        for n in self.nodes:
            index = element_of(n)
            if index is None or n in self.given:
                continue
            source = self.inputs[n][0] if self.inputs[n] else n
            if not stacks(source) or source.params["axis"] != 0:
                continue
            parts = source.inputs
            if -len(parts) <= index < len(parts) and not self.is_literal(parts[index]):
                self.inputs[n] = [parts[index]]
                self.unstacked[n] = parts[index]
                whole.add(source)
        if whole:
            read = {i for inputs in self.inputs.values() for i in inputs}
            self.nodes = [n for n in self.nodes if n not in whole or n in read or n in self.roots]

    def _take_in(self) -> None:
        """Let what is taken out of an array for one step of a backward belong to that step.

        An example is the gradient of the step's output.
        """
        readers: dict[Node, list[Node]] = {}
        for n in self.nodes:
            for i in self.inputs[n]:
                if i.primitive is not None and i not in self.framed and element_of(i) is not None:
                    readers.setdefault(i, []).append(n)
        for i, found in readers.items():
            if (
                len(found) == 1
                and found[0] in self.framed
                and i not in self.roots
                and self.is_backward(found[0])
            ):
                self.moments[i] = self.moments[found[0]]
                self.framed.add(i)
