"""Recording one step of a cell: its forward and its backward program for a batch of one size.

A step is recorded for two batches of different sizes, and joined in `step.py`. Recording uses the
ordinary tape.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..core.primitive import Spec
from ..core.tape import Leaf, Node, Older, at_step, setting
from ..core.tensor import Tensor
from ..core.trace import Program, trace
from ..core.tree import leaves, tree_map
from ..recurrent.captured import captured
from ..recurrent.context import SequenceContext
from .effects import Drawn, Recorder


class Recording(NamedTuple):
    """The programs of one step for a batch of one size.

    Attributes
    ----------
    program, backward : Program
    wrt : list of Node
        For which the backward program has a gradient.
    captured : list of Node
        Tensors from outside that were computed: what they were computed from is no part of the step.
    drawn : list of (Drawn, Leaf)
        What the step draws from outside.
    emitted : list of (callable, list of Tensor)
        Who receives which values.
    gradients : list of (Node, Node)
        A gradient, and the value whose gradient it is.
    changes : list of Tensor
        What the receivers give other values.
    """

    program: Program
    backward: Program
    wrt: list[Node]
    captured: list[Node]
    drawn: list[tuple[Drawn, Leaf]]
    emitted: list[tuple[Callable[..., None], list[Any]]]
    gradients: list[tuple[Node, Node]]  # a gradient, and the value whose gradient it is
    changes: list[Tensor]


def record(
    cell: Any,
    x: Any,
    state: Any,
    name: str,
    rows: Sequence[bool],
    lent: Sequence[Tensor],
    batch: int,
) -> Recording:
    """The programs for a batch of one size; `lent` are tensors that the cell holds and that have a row for each of the batch."""
    recorder, flags = Recorder(), iter(rows)
    borrowed = [
        Leaf(Spec((batch, *t.shape[1:]), t.dtype), t.requires_grad, t.name or "captured")
        for t in lent
    ]

    def run(x: Any, state: Any) -> Any:
        found = [leaf for part in cell(x, state) for leaf in leaves(part)]
        return [*found, *(v for _, values in recorder.emitted for v in values)]

    older = Older()
    with (
        standing_for((t, leaf.value, leaf) for t, leaf in zip(lent, borrowed, strict=True)),
        # no step of a sequence: what differs from step to step is drawn
        setting(sequence=SequenceContext(effects=recorder)),
        at_step(None, name),
    ):
        x, state = (
            tree_map(
                lambda s: Spec((batch, *s.shape[1:]) if next(flags) else s.shape, s.dtype), part
            )
            for part in (x, state)
        )
        traced = trace(run, x, state)
    inputs = [*traced.inputs, *borrowed, *(leaf for _, leaf in recorder.drawn)]
    outside = [n for n in captured(traced.outputs, older, set(inputs)) if not isinstance(n, Leaf)]
    program = Program([*inputs, *outside], traced.outputs, traced.structure)
    # not by age: new values of a parameter are a new leaf
    wrt = [n for n in [*program.inputs, *constants(program)] if n.requires_grad]
    gradients: list[tuple[Node, Node]] = []
    for n in program.nodes:
        n.hooks = [*(n.hooks or []), functools.partial(_note, gradients, n)]
    back = program.backward(wrt)
    gradients += [(g, n) for n, g in zip(wrt, back.outputs, strict=True) if g is not None]
    return Recording(
        program, back, wrt, outside, recorder.drawn, recorder.emitted, gradients, recorder.changes
    )


@contextlib.contextmanager
def standing_for(others: Iterable[tuple[Tensor, Any, Node | None]]) -> Iterator[None]:
    """Within, tensors have other values and nodes: each is given with those."""
    others = list(others)
    before = [(t, t.array, t.node) for t, *_ in others]
    try:
        for t, array, node in others:
            t.array, t.node = array, node
        yield
    finally:
        for t, array, node in before:
            t.array, t.node = array, node


def sources_of(output: Any, ends: Container[Node]) -> set[Node]:
    """Those of `ends` to which the gradient of a recorded value goes."""
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = [output]
    while stack:
        node = stack.pop()
        if node in seen or not isinstance(node, Node) or not node.requires_grad:
            continue
        seen.add(node)
        if node in ends:
            found.add(node)
        else:
            stack += [n for n, *_ in node.edges]
    return found


def _note(gradients: list[tuple[Node, Node]], node: Node, gradient: Tensor) -> None:
    """A hook: of which node a gradient is."""
    if gradient.node is not None:
        gradients.append((gradient.node, node))


def constants(program: Program) -> list[Leaf]:
    """The constants of a program in the order in which they are read.

    A tensor becomes a leaf where it is first used, an array has a new leaf in each recording.
    """
    read = [i for n in program.nodes for i in n.inputs] + program.outputs
    known = set(program.constants)
    return [leaf for leaf in dict.fromkeys(i for i in read if isinstance(i, Leaf)) if leaf in known]
