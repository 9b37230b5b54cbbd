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
from .runs import Shown
from .steps import Steps, is_input

LOOKED_AT = 64  # steps of a run at most, from the first one on
FEW = 4  # steps from which on an input can be constant


class Cut(NamedTuple):
    """A constant that is the state of the step before: the operation that reads it, and when."""

    reader: Node
    steps: list[int]


def cuts(tape: Tape, shown: Shown) -> list[Cut]:
    """Find constants that steps read and that are what the step before them has computed."""
    steps = shown.steps
    found: dict[tuple[Lane, object], Cut] = {}
    suspects = [*_suspects(steps)]
    if not suspects:
        return []
    on_tape = {*tape.nodes}
    wanted = {n for _, _, before, _ in suspects for n in before if n in on_tape}
    known = {n: value for n, value in values(tape) if n in wanted} if wanted else {}
    known |= shown.known
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
    states = {n for s in steps.states for n in s.makers.values()}
    for found in steps.lanes.values():
        if len(found) < FEW:
            continue
        chosen = list(found.values())[1 : LOOKED_AT + 1]
        read: Counter[Node] = Counter()
        for nodes in chosen:
            own = set(nodes)
            outside = {i for n in nodes for i in n.inputs if isinstance(i, Node) and i not in own}
            read.update(outside)
            read.update(n for n in nodes if n.primitive is None or is_input(n))
        inputs = {n for n, count in read.items() if count == 1 and n not in states}
        readers = [n for nodes in chosen for n in nodes if not inputs.isdisjoint(n.inputs)]
        if all(_by_zeros(n, inputs) for n in readers):
            yield readers[0] if readers else next(n for n in chosen[0] if n.primitive is not None)


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
    """Yield an operation of each run whose inputs are the same in all steps and rows."""
    for found in steps.lanes.values():
        chosen = list(found.values())[:LOOKED_AT]
        given = [[n for n in nodes if is_input(n)] for nodes in chosen]
        if len(given) >= FEW and given[0] and all(map(_alike, [given[0]] * len(given), given)):
            yield next(n for nodes in chosen for n in nodes if given[0][0] in n.inputs)


def _alike(first: list[Node], other: list[Node]) -> bool:
    """Whether the inputs of a step are in all rows those of the first row of the first step."""
    return len(first) == len(other) and all(
        isinstance(a, Leaf)
        and isinstance(b, Leaf)
        and a.shape == b.shape
        and np.array_equal(
            np.broadcast_to(a.value if a.ndim < 2 else a.value[:1], b.shape), b.value
        )
        for a, b in zip(first, other, strict=True)
    )
