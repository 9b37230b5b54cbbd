"""How much memory the steps of a sequence take: a state, and what a recorded step keeps."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.tape import Leaf, Node, Older, context, reachable, setting
from ..core.tensor import Tensor
from ..core.tree import leaves, tree_map
from .cell import CompiledCell
from .context import SequenceContext, sequence_context

NODE = 1000  # bytes that a node takes besides its arrays, about


class Footprint(NamedTuple):
    """The memory of a step, in bytes.

    Attributes
    ----------
    state : int
        What has to be kept to begin from a step.
    step : int
        What each step more keeps while it is recorded.
    """

    state: int
    step: int


def footprint(sequence: Any, reverse: bool, return_states: bool) -> Footprint:
    """Return the memory of the steps of a `Sequence`.

    A compiled cell knows it. Of others some steps are run for it, as steps are that run again: they
    draw what they will draw, and move no statistics.
    """
    state = sum(s.array.nbytes for s in leaves(sequence.first))
    T, cell = sequence.T, sequence.cell
    compiled = isinstance(cell, CompiledCell) and not context().eager
    step = cell.step_bytes(sequence.span(reverse, return_states)) if compiled else None
    if step is None:
        starts = {0, T - 1, _first_reset(sequence)}  # where rows end or begin, more may be kept
        step = max(_of_step(sequence, start, reverse, return_states) for start in starts)
    return Footprint(state, step)


def _first_reset(sequence: Any) -> int:
    return 0 if sequence.resets is None else int(np.argmax(sequence.resets.any(axis=1)))


def _of_step(sequence: Any, start: int, reverse: bool, return_states: bool) -> int:
    """Return what a step keeps: what two steps keep, less what one of them does.

    What steps share, such as a weight that was computed, is not among it.
    """
    one = _kept(sequence, start, start + 1, reverse, return_states)
    if sequence.T == 1:
        return one
    lo = min(start, sequence.T - 2)
    return _kept(sequence, lo, lo + 2, reverse, return_states) - one


def _kept(sequence: Any, start: int, stop: int, reverse: bool, return_states: bool) -> int:
    """Return the bytes that recorded steps keep, with their outputs."""
    scope = sequence_context() or SequenceContext()
    around = scope.running_generators()
    older = Older()
    given = tree_map(_constant, (sequence.parts, sequence.first))
    with (
        scope.segment(
            scope.begun,
            lambda rng: copy.deepcopy(rng if around is None else around(rng)),
            again=True,
        ),
        setting(grad_enabled=True, origin=None, sequence=scope),
    ):
        found = leaves(sequence.steps(*given, start, stop, reverse, return_states))
    return saved_bytes([y for y in found if isinstance(y, Tensor)], leaves(given), older)


def _constant(t: Tensor) -> Tensor:
    """Return a tensor with the same values and a node of its own."""
    made = Tensor(t.array)
    made.leaf(t.requires_grad)
    return made.handle()


def saved_bytes(results: list[Tensor], given: list[Tensor], older: Older) -> int:
    """Return the bytes that results keep: the arrays that nodes have saved, nodes, and their own.

    Parameters
    ----------
    results, given : list of Tensor
        The results, and what was there before: its arrays do not count.
    older : Older
        Nodes from before, whose values do not count either.
    """
    nodes = reachable([y.node for y in results if y.node is not None], every=True)
    seen = {id(owner(t.array)) for t in given}
    seen |= {id(owner(n.value)) for n in nodes if isinstance(n, Leaf) and n in older}
    made: list[Node] = [n for n in nodes if n not in older]
    kept = [*[y.array for y in results], *[n.saved for n in made]]
    return new_bytes(kept, seen) + NODE * len(made)


def new_bytes(saved: Any, seen: set[int]) -> int:
    """Return the bytes of the arrays in nested tuples, lists and dicts, each counted once.

    `seen` has the ids of the arrays that own memory which does not count; it gets those of these.
    """
    size = 0
    for whole in map(owner, _arrays_in(saved)):
        if id(whole) not in seen:
            seen.add(id(whole))
            size += whole.nbytes
    return size


def owner(array: Any) -> Any:
    """Return the array that owns the memory of an array."""
    while isinstance(getattr(array, "base", None), np.ndarray):
        array = array.base
    return array


def _arrays_in(saved: Any) -> Iterator[Any]:
    """Yield the arrays in nested tuples, lists and dicts, and what else knows its size in bytes."""
    stack = [saved]
    while stack:
        found = stack.pop()
        if isinstance(found, dict):
            stack += found.values()
        elif isinstance(found, (tuple, list)):
            stack += found
        elif hasattr(found, "nbytes"):
            yield found
