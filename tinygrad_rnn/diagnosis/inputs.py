"""What steps read: states that were cut from the tape, inputs that are ignored or constant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..core.primitive import Array
from ..core.tape import Leaf, Node
from ..ops.facts import facts_of
from ..ops.table import Tape
from ..recurrent.ledger import values
from ..recurrent.moments import Lane
from .steps import Steps, is_input

LOOKED_AT = 64  # steps of a run at most, from the first one on
FEW = 4  # steps from which on an input can be constant


class Cut(NamedTuple):
    """A constant that is the state of the step before: the operation that reads it, and when."""

    reader: Node
    steps: list[int]


def cuts(tape: Tape, steps: Steps) -> list[Cut]:
    """Find constants that steps read and that are what the step before them has computed."""
    found: dict[tuple[Lane, object], Cut] = {}
    suspects = [*_suspects(steps)]
    if not suspects:
        return []
    wanted = {n for _, _, before, _ in suspects for n in before}
    known = {n: value for n, value in values(tape) if n in wanted}
    for reader, leaf, before, t in suspects:
        if any(_same(leaf.value, known[n]) for n in before if n in known):
            key = (steps.moments[reader].lane, steps.key(reader))
            cut = found.setdefault(key, Cut(reader, []))
            if t not in cut.steps:
                cut.steps.append(t)
    firsts: dict[Lane, Cut] = {}
    for (lane, _), cut in found.items():  # one state may be read at several places
        firsts.setdefault(lane, cut)
    return [*firsts.values()]


def _suspects(steps: Steps) -> Iterator[tuple[Node, Leaf, list[Node], int]]:
    """Yield readers and constants without a name, with the operations of the step before."""
    places = {read.reader for read in steps.reads}
    for found in steps.lanes.values():
        order = list(found)
        for k, t in enumerate(order[1:], 1):
            for n in found[t]:
                if k > LOOKED_AT and (n.primitive is None or steps.key(n) not in places):
                    continue
                for leaf in n.inputs:
                    if (
                        isinstance(leaf, Leaf)
                        and not leaf.requires_grad
                        and leaf.name is None
                        and np.size(leaf.value) > 1
                    ):
                        same = [m for m in found[order[k - 1]] if m.shape == leaf.shape]
                        yield n, leaf, [m for m in same if m.primitive is not None], t


def _same(one: Array, two: Array) -> bool:
    """Whether two arrays are equal, and not of one number throughout, which says nothing."""
    return bool(np.array_equal(one, two) and np.ptp(one) > 0)


def ignored_inputs(steps: Steps) -> Iterator[Node]:
    """Yield an operation of each run of which no step reads an input, or all multiply it by zeros."""
    for found in steps.lanes.values():
        if len(found) < FEW:
            continue
        chosen = dict(list(found.items())[1 : LOOKED_AT + 1])
        read: Counter[Node] = Counter()
        for nodes in chosen.values():
            outside = {i for n in nodes for i in n.inputs if isinstance(i, Node)} - set(nodes)
            read.update(outside)
            read.update(n for n in nodes if n.primitive is None)
        states = {n for s in steps.states for n in s.makers.values()}
        inputs = {n for n, count in read.items() if count == 1 and n not in states}
        readers = [n for nodes in chosen.values() for n in nodes if not inputs.isdisjoint(n.inputs)]
        if all(_by_zeros(n, inputs) for n in readers):
            yield readers[0] if readers else next(n for n in nodes if n.primitive is not None)


def _by_zeros(node: Node, inputs: set[Node]) -> bool:
    """Whether an operation multiplies an input by a parameter that is zero throughout."""
    if node.primitive.linear != "each":
        return False
    others = [i for i in node.inputs if isinstance(i, Node) and i not in inputs]
    found = [_constant(i) for i in others]
    return bool(found) and any(v is not None and not v.any() for v in found)


def _constant(node: Node) -> Array | None:
    """Return the value of a leaf, or of what only looks at a leaf in another order."""
    while node.primitive is not None and facts_of(node.primitive).view and node.inputs:
        node = node.inputs[0]
    return node.value if isinstance(node, Leaf) else None


def constant_inputs(steps: Steps) -> Iterator[Node]:
    """Yield an operation of each run that reads the same input in all steps and rows."""
    for found in steps.lanes.values():
        chosen = list(found.values())[:LOOKED_AT]
        leaves = [n for nodes in chosen for n in nodes if isinstance(n, Leaf) and is_input(n)]
        if len(leaves) < FEW or len(chosen) < FEW:
            continue
        first = leaves[0].value
        row = first if first.ndim < 2 else first[:1]
        if all(
            np.array_equal(np.broadcast_to(row, n.shape), n.value)
            for n in leaves
            if n.shape == first.shape
        ):
            yield next(n for nodes in chosen for n in nodes if leaves[0] in n.inputs)
