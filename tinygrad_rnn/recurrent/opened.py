"""What ran compiled is one node on the tape; here it is opened, to show the steps inside.

Its steps are run once more, one by one and recorded, on the values that the node was given, as is
done for gradients of gradients. The recorded nodes hang on the inputs of the node, and what read a
part of its output reads the step that made it. So that nothing of the user's graph changes, the
nodes that lead from there to the result are copied. What comes out is a tape like that of
`tg.eager()`: gradients, values, and what each node keeps are those of the single steps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import TinygradError
from ..core.primitive import Array
from ..core.tape import ENGINE_FILES, Freed, Mark, Node, Older, reachable
from ..core.tensor import Tensor
from ..ops.table import Tape
from .captured import owner_of
from .ledger import values
from .pieces import PIECE, is_checkpoint, is_compiled, is_piece, is_result, is_sequence

Wanted = Callable[[Node], bool]  # whether a node is to be opened

# what the engine does for the steps is said to come from here, which `_again` finds and replaces
ENGINE_FILES.discard(__file__)


def opened(
    whole: Tape,
    *,
    measured: bool = False,
    segments: bool = False,
    closed: Callable[[Node], bool] | None = None,
) -> Tape:
    """Return a tape of the same result, computed step by step.

    Parameters
    ----------
    whole : Tape
    measured : bool
        Whether numbers will be read. If not, the graph can be had even if a backward has released
        them, or parameters have new values.
    segments : bool
        Whether checkpointed segments are opened too.
    closed : callable, optional
        Says which nodes stay as they are.

    Raises
    ------
    GraphError
        If numbers will be read, and a parameter that a compiled node used was given other values
        since.
    """
    kind = is_piece if segments else is_compiled

    def found(node: Node) -> bool:
        return kind(node) and not (closed and closed(node))

    if not any(found(n) for n in whole.nodes):
        return whole
    return Tape(_all([whole.root], measured, found)[0])


def opened_all(roots: list[Node], *, measured: bool = False) -> list[Node]:
    """Return the nodes of the same results, computed step by step; see `opened`."""
    return _all(roots, measured, is_compiled)


def _all(roots: list[Node], measured: bool, wanted: Wanted) -> list[Node]:
    inside = True
    while inside:  # inside a step there may be others
        roots, inside = _opened(roots, measured, wanted)
    return roots


def _opened(roots: list[Node], measured: bool, wanted: Wanted) -> tuple[list[Node], bool]:
    """Return the results with the wanted nodes opened, and whether there are others in these."""
    nodes = reachable(roots, every=True)
    compiled = [n for n in nodes if wanted(n)]
    if not compiled:
        return roots, False
    if measured:
        for node in compiled:
            node.params[PIECE].check_captured()
    given = _given(nodes, compiled)
    now: dict[Node, Node] = {}  # what is read in place of a node
    # the values of what is read in place of the output of an opened node
    held: dict[Node, Array] = {}
    inside = False
    # of an opened node: what stands at which place of its output
    starts: dict[Node, dict[int, Node]] = {}
    for node in nodes:
        whole = node.inputs[0] if is_result(node) else None
        if node in given and (found := _again(node, given[node], now, held, wanted)) is not None:
            results, more = found
            inside = inside or more
            if node.shape == results[0].shape and len(results) == 1:
                now[node] = results[0]
            begins = itertools.accumulate((math.prod(r.shape) for r in results), initial=0)
            starts[node] = dict(zip(begins, results, strict=False))
        elif whole in starts:
            now[node] = starts[whole][node.params["begin"]]
        elif any(i in now for i in node.inputs if isinstance(i, Node)):
            now[node] = _copy(node, now, held)
        if node in now:
            now[node].hooks, now[node].name = node.hooks, node.name or now[node].name
    return [now.get(n, n) for n in roots], inside


def _given(nodes: Sequence[Node], compiled: Sequence[Node]) -> dict[Node, list[Array]]:
    """Return the values that each compiled node was given.

    It saved them; if they were released, they are computed again from the leaves.
    """
    found: dict[Node, list[Array]] = {}
    missing: set[Node] = set()
    for node in compiled:
        if type(node.saved) is Freed:
            missing.update(node.inputs)
        else:
            found[node] = list(node.saved[1])
    held = {n: value for n, value in values(nodes) if n in missing} if missing else {}
    found.update((n, [held[i] for i in n.inputs]) for n in compiled if n not in found)
    return found


def _again(
    node: Node,
    given: Sequence[Array],
    now: dict[Node, Node],
    held: dict[Node, Array],
    wanted: Wanted,
) -> tuple[list[Node], bool] | None:
    """Run the steps of a compiled node, recorded.

    Return the nodes of the results, and whether a node inside is wanted too; None if the steps
    cannot be run.
    """
    segment = node.params[PIECE]
    handles = [
        Tensor(value, now.get(i, i))
        for value, i in zip(given[: segment.count], node.inputs, strict=False)
    ]
    older = Older()
    try:
        run: list[Any] = segment.run(handles, record=True)
    except TinygradError:
        return None
    results = [run[k].node for k in segment.live]
    if not results or any(r is None for r in results):
        return None
    held.update((run[k].node, run[k].array) for k in segment.live)
    # the leaf of a parameter that has new values is another one; what was computed with the old is
    # shown there
    for leaf in segment.captured:
        tensor = owner_of(leaf)
        if tensor is not None and tensor.node is not leaf:
            now[tensor.node] = leaf  # type: ignore[index]
    mark = segment.mark
    inside = False
    outer = Mark() if mark.layer is None else Mark(mark.cell, mark.layer)
    for made in reachable(results, older, every=True):
        if made in older or made.primitive is None:
            continue
        inside = inside or wanted(made)
        if now:
            made.inputs, made.edges = _read_now(made, now)
        if type(node.saved) is Freed:
            made.saved = node.saved
        # what the engine did for the steps, as taking out their inputs
        if made.origin[0] is _again.__code__:
            made.origin = (*node.origin[:2], made.origin[2])
        # what brings the steps together is in none of them
        if is_sequence(node) and made.origin[2] is mark:
            made.origin = (*node.origin[:2], outer)
        elif not is_sequence(node) and not is_checkpoint(node) and mark.step is not None:
            # it was recorded in some step, and called in this one
            made.origin = (*made.origin[:2], mark)
    return results, inside


def steps_again(
    node: Node, times: Sequence[int], given: Sequence[Array] | None = None
) -> tuple[list[Node], list[list[Any]]]:
    """Run steps of a compiled sequence once more, recorded, from a state on.

    Parameters
    ----------
    node : Node
    times : sequence of int
        The steps, in the order in which they ran.
    given : sequence of array, optional
        The inputs, from the first step of the sequence on, and the state. Default: those of the
        sequence, as for its first steps.

    Returns
    -------
    nodes : list of Node
        What they have made, in order.
    results : list of list of Tensor
        Of each step outputs and state.

    Raises
    ------
    TinygradError
        If the steps cannot be run once more.
    """
    segment = node.params[PIECE]
    older = Older()
    if given is None:
        own = zip(node.saved[1][: segment.count], node.inputs, strict=False)
        handles = [Tensor(value, i) for value, i in own]
    else:
        handles = [Tensor(value) for value in given]
        for handle in handles:
            handle.leaf(handle.dtype.kind == "f")
    found = segment.run(handles, record=True, times=times)
    roots = [y.node for step in found for y in step if y.node is not None]
    nodes = [n for n in reachable(roots, older, every=True) if n not in older]
    for made in nodes:
        if made.origin[0] is steps_again.__code__:
            made.origin = (*node.origin[:2], made.origin[2])
    return [n for n in nodes if n.origin[2] is not segment.mark], found


def _read_now(node: Node, now: dict[Node, Node]) -> tuple[Any, Any]:
    """Return the inputs and the edges of a node, with what is read in place of other nodes."""
    inputs = tuple([now.get(i, i) if isinstance(i, Node) else i for i in node.inputs])
    edges = tuple([(now.get(source, source), place, rule) for source, place, rule in node.edges])
    return inputs, edges


def _copy(node: Node, now: dict[Node, Node], held: dict[Node, Array]) -> Node:
    """Copy a node, with the inputs that are to be read now and their values."""
    inputs, edges = _read_now(node, now)
    saved = node.saved
    if type(saved) is not Freed and any(i in held for i in inputs if isinstance(i, Node)):
        kept = saved[1] if node.primitive.variadic else saved[1:]
        kept = tuple(
            [
                held.get(i, v) if v is not None and isinstance(i, Node) else v
                for v, i in zip(kept or (), inputs, strict=False)
            ]
        )
        saved = (
            (saved[0], (kept if saved[1] is not None else None))
            if node.primitive.variadic
            else (saved[0], *kept)
        )
    return Node(
        node.primitive, inputs, edges, node.params, saved, node, node.requires_grad, node.origin
    )
