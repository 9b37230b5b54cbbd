"""A backward that is recorded to be drawn, and what each of its operations is there for.

Drawn by hand, backpropagation through time has a box for each derivative rule, a sum wherever
several gradients arrive, and one sum for each weight, to which every step adds its part. A tape has
operations. So while the backward is recorded, each operation is noted with the *forward* node whose
rule made it, or whose gradients it adds up:

* what the rule of a node made stands in the time step of that node, in the backward row;
* what adds up the gradients that arrive at a node stands in the time step of *that* node, though it
  was recorded when the last of them arrived, in the step after;
* the gradient of a weight is one sum, of all its parts, beside the steps.

A value is called by what it is the gradient of: ∂L/∂h is the whole gradient of h, complete and about
to be passed on. In the words for a rule, δ is the gradient that arrives.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Rule
from ..core.tape import Leaf, Node, Older, reachable, setting
from ..core.tensor import Tensor
from ..core.walks import pull_back
from ..ops.table import Tape
from .facts import element_of, moves, stacks, transposes


class Made(NamedTuple):
    """What made some operations of a backward.

    Attributes
    ----------
    by : Node
        The forward node whose rule it is, or whose gradients are added up.
    source : Node
        The forward node to whose gradient the result is added: of a sum, the same.
    position : int
        Which input of `by` that is; -1 for a sum.
    rule : Rule or None
        None for a sum.
    """

    by: Node
    source: Node
    position: int = -1
    rule: Rule | None = None


class Backprop:
    """A recorded backward.

    Parameters
    ----------
    whole : Tape
        The forward, in single steps.

    Attributes
    ----------
    roots : list of Node
        The gradients of the leaves, and the root of the forward.
    made : dict of Node to Made
        What made each operation of the backward.
    results : dict of Node to Made
        The same for the operations that are the results of rules and sums: a rule for all inputs at
        once has several.
    gradient_of : dict of Node to list of Node
        The forward nodes whose whole gradient a node is; the one that has it first comes first.
    parts : dict of Node to list of Node
        Of each complete sum of three or more gradients: what it adds up. The partial sums are not
        drawn.
    partial : set of Node
        These partial sums.
    """

    def __init__(self, whole: Tape) -> None:
        root = whole.root
        targets = [n for n in reachable([root]) if isinstance(n, Leaf)]
        seed = Tensor(np.ones(root.shape, root.dtype))
        notes = _Notes()
        with setting(watch=notes):
            found = pull_back([root], [seed], targets=targets, create_graph=True)
        gradients = [found[n].node for n in targets if n in found]
        self.roots = [g for g in gradients if g is not None and g.index > root.index]
        self.roots.append(root)
        nodes = [n for n in reachable(self.roots, every=True) if n.index > root.index]
        self.made = {n: made for n in nodes if (made := notes.at(n)) is not None}
        self.results: dict[Node, Made] = {}
        for t, made in notes.results:
            if t.node in self.made:
                self.results.setdefault(t.node, made)
        self.gradient_of: dict[Node, list[Node]] = {}
        for n, g in notes.whole.items():
            if isinstance(g, Tensor) and g.node is not None and g.node in self.made:
                self.gradient_of.setdefault(g.node, []).append(n)
        self.parts: dict[Node, list[Node]] = {}
        self.partial: set[Node] = set()
        for n in self.gradient_of:
            if self.is_sum(n):
                self._collect(n)

    def derived(self, drawn: Collection[Node]) -> dict[Node, Node]:
        """Return, for each operation that is drawn, the forward node in whose step it belongs.

        What the rule of a stack takes out for one step is of that step.
        """
        found = {n: made.by for n, made in self.made.items() if n in drawn}
        for n, made in self.results.items():
            if n in found and made.rule is not None and stacks(made.by):
                found[n] = made.source
        return found

    def put_in(self, whole: Node, parts: Sequence[Node]) -> dict[int, list[Node]] | None:
        """Return what the parts of a gradient put at each place of its first axis.

        None if not all of them are gradients of single elements.
        """
        found: dict[int, list[Node]] = {}
        for n in parts:
            made = self.results.get(n)
            index = None if made is None or made.rule is None else element_of(made.by)
            if index is None or len(n.inputs) != 1 or not isinstance(n.inputs[0], Node):
                return None
            found.setdefault(index % whole.shape[0], []).append(n.inputs[0])
        return found

    def is_sum(self, n: Node) -> bool:
        """Whether an operation adds up gradients that arrive at one node."""
        made = self.made.get(n)
        return made is not None and made.rule is None and n.primitive is not None

    def heads(self, shown: Sequence[Node], inputs: Mapping[Node, Sequence[Node]]) -> set[Node]:
        """Return the operations that give a box of one rule, or of one sum, its name.

        The rule of a transpose is in one box with the rule that it alone reads, and what takes a
        part out of a gradient with the sum that alone reads it.
        """
        readers = readers_of(shown, inputs)
        found = {n for n in shown if n in self.results and n.primitive is not None}
        for n in [*found]:
            if len(readers.get(n, [])) == 1:
                (reader,) = readers[n]
                if self._transposes(reader) or (moves(n) and self.is_sum(reader)):
                    found.discard(n)
        return found

    def _transposes(self, n: Node) -> bool:
        """Whether an operation is the result of the rule of a transpose."""
        made = self.results.get(n)
        return made is not None and made.rule is not None and transposes(made.by)

    def _collect(self, n: Node) -> None:
        """Find what a complete sum adds up."""
        parts: list[Node] = []
        between: list[Node] = []
        last: Any = n
        while self.is_sum(last) and self.made[last].by is self.made[n].by:
            between.append(last)
            last, part = last.inputs
            parts.append(part)
        if len(between) > 1 and all(isinstance(i, Node) and i.shape for i in [last, *parts]):
            self.parts[n] = [last, *reversed(parts)]
            self.partial.update(between[1:])

    def names(
        self, names: Mapping[Node, str], elsewhere: Callable[[Node, Node], str]
    ) -> dict[Node, str]:
        """Return what the whole gradients are called, such as "∂L/∂h", from what the values are.

        `elsewhere` says of which step a value is, for another that stands in another step.
        """
        found: dict[Node, str] = {}
        for n, forward in self.gradient_of.items():
            named = next((f for f in forward if f in names), None)
            if named is not None:
                name = names[named]
                name = f"({name})" if name.endswith(".T") else name
                found[n] = f"∂L/∂{name}{elsewhere(named, n)}"
        return found


def readers_of(
    nodes: Sequence[Node], inputs: Mapping[Node, Sequence[Node]]
) -> dict[Node, list[Node]]:
    """Return which of some nodes read a node, for each that is read."""
    found: dict[Node, list[Node]] = {}
    for n in nodes:
        for i in inputs[n]:
            found.setdefault(i, []).append(n)
    return found


class _Notes:
    """What is noted of a walk back while it is recorded; it stands in the place of a watch."""

    def __init__(self) -> None:
        self.ends: list[int] = []  # up to which index nodes were made by what stands in `calls`
        self.calls: list[Made] = []
        self.results: list[tuple[Tensor, Made]] = []
        self.whole: dict[Node, Any] = {}
        self.gradients: Any = None  # those of the walk, once it has begun
        self.rule_gives: Callable[..., Any] = Older

    def at(self, n: Node) -> Made | None:
        """Return what made a node; None for what was made before all calls."""
        k = bisect.bisect_right(self.ends, n.index)
        return self.calls[k] if k < len(self.calls) else None

    def backward(
        self, gradients: Any, rule_gives: Any, roots: Sequence[Node]
    ) -> tuple[Any, Callable[..., Any]]:
        """Return what stands in place of these two in the walk.

        A walk inside of a rule, such as that of a checkpoint, is of the rule.
        """
        if self.gradients is not None:
            return gradients, rule_gives
        self.gradients, self.rule_gives = gradients, rule_gives
        return self, self.gradient

    def result(self, *_: Any) -> None:
        """Let every operation be."""

    def ran(self, *_: Any) -> None:
        """Let what compiled code gave be."""

    def _note(self, made: Made, result: Any) -> None:
        self.ends.append(Older().index)
        self.calls.append(made)
        if isinstance(result, Tensor):
            self.results.append((result, made))

    def add(self, node: Node, gradient: Any) -> None:
        """Add a gradient to what a node has collected."""
        self.gradients.add(node, gradient)
        self._note(Made(node, node), self.gradients.get(node))

    def pop(self, node: Node, default: Any) -> Any:
        """Return the whole gradient of a node."""
        self.whole[node] = g = self.gradients.pop(node, default)
        return g

    def gradient(
        self, rule: Any, g: Any, saved: Any, node: Node, source: Node, position: int
    ) -> Any:
        """Return the gradient of one input, by its rule."""
        found = self.rule_gives(rule, g, saved, node, source, position)
        self._note(Made(node, source, position, rule), found)
        return found
