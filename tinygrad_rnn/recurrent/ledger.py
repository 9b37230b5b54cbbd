"""What every node of a tape holds, and what the reverse walk does at each of them.

These are the numbers that the explorer shows, that pictures measure and of which `gradient_flow` is
made. The walk is the one of `core.walks.pull_back`, with everything in the open. It writes to no
`.grad`, calls no hook and frees nothing, so the user's graph is afterwards what it was before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..core.errors import GraphError
from ..core.primitive import Array, Rule
from ..core.tape import Freed, Leaf, Node, setting
from ..core.walks import Gradients, check_replaced, joint_edges, leading_to, sum_to
from ..ops.table import Tape


class Share(NamedTuple):
    """What one visit adds to the gradient of one input.

    Attributes
    ----------
    source : Node
        The input.
    position : int
        Which input of the visited node this is.
    rule : Rule
        The derivative rule.
    given : array
        What the rule returned.
    share : array
        The same, summed over the axes along which the input was spread. This is added.
    total : array
        The gradient of the input afterwards.
    """

    source: Node
    position: int
    rule: Rule
    given: Array
    share: Array
    total: Array


class Visit(NamedTuple):
    """The reverse walk at one node: the gradient that has arrived there, and what it passes on."""

    node: Node
    gradient: Array
    shares: list[Share]


def check_walkable(tape: Tape, what: str) -> None:
    """Raise a GraphError, which begins with `what`, if a graph cannot be walked any more.

    A backward has freed saved values, or a parameter has new ones.
    """
    node = first_released(tape)
    if node is not None:
        raise GraphError(
            f"{what}: the values that {_named(node)} of shape {node.shape}{node.where.described()} saved were released by the backward "
            f"of '{node.saved.root}' at {node.saved.where}. Call it before the backward, or keep the graph: "
            f"backward(retain_graph=True)."
        )
    stale = [node for node in tape if isinstance(node, Leaf) and node.replaced]
    for node in tape if stale else ():
        for _, _, rule in node.edges:
            check_replaced(node, rule.needs, stale)


def first_released(tape: Sequence[Node]) -> Node | None:
    """Return the first node whose saved values a backward has released; None if there is none."""
    return next((node for node in tape if type(node.saved) is Freed), None)


def _named(node: Node) -> str:
    return f"'{node.name}', computed by {node.op}," if node.name else f"the result of {node.op}"


def values(tape: Sequence[Node]) -> Iterator[tuple[Node, Array]]:
    """Yield every node with its value, in the order of the tape.

    The tape keeps what the rules read and no more. The rest is computed again from the inputs; an
    array is held until its last reader has been computed.
    """
    kept: dict[Node, Array] = {}
    last: dict[Node, int] = {}
    for k, node in enumerate(tape):
        if isinstance(node, Leaf):
            kept[node] = node.value
        elif isinstance(node.saved, (tuple, list)):
            inputs = (node.saved[1] or ()) if node.primitive.variadic else node.saved[1:]
            for value, source in [(node.saved[0], node), *zip(inputs, node.inputs, strict=False)]:
                if isinstance(value, np.ndarray) and isinstance(source, Node):
                    kept[source] = value
        last.update(dict.fromkeys((i for i in node.inputs if isinstance(i, Node)), k))
    with setting(grad_enabled=False, tracing=False):
        for k, node in enumerate(tape):
            if node not in kept:
                inputs = [kept[i] if isinstance(i, Node) else i for i in node.inputs]
                kept[node] = np.asarray(node.primitive.forward(*inputs, **node.params))
            yield node, kept[node]
            for i in {i for i in node.inputs if isinstance(i, Node) and last[i] == k}:
                del kept[i]


def reverse(tape: Tape, seed: Array) -> Iterator[Visit]:
    """Yield the visits of the reverse walk from the root of a tape, whose gradient is `seed`.

    Leaves are visited too, and pass nothing on.
    """
    return walk_back(reversed(tape.nodes), {tape.root: seed})


def gradients_at(tape: Tape, seed: Array, wanted: Collection[Node]) -> Iterator[tuple[Node, Array]]:
    """Yield some nodes of a tape with their gradients, the newest first.

    It is the walk of `reverse`, but goes only to what leads to these nodes, and says nothing of its
    way: of a long tape without the gradients of parameters.
    """
    leads = leading_to(wanted, tape.nodes)
    gradients = Gradients()
    gradients.add(tape.root, seed)
    with setting(grad_enabled=False, origin=None):
        for node in reversed(tape.nodes):
            g = gradients.pop(node, None)
            if g is None:
                continue
            if node in wanted:
                yield node, g
            primitive = node.primitive
            if primitive is None or node not in leads:
                continue
            if primitive.add_into is not None:
                if node.edges[0][0] in leads:
                    gradients.add_part(node, g, primitive.add_into)
                continue
            for source, position, rule in joint_edges(node) if primitive.joint else node.edges:
                if source not in leads:
                    continue
                given = rule(g, node.saved, node, position)
                if given is not None and given.shape != source.shape:
                    given = sum_to(given, node, source, position)
                gradients.add(source, given)


def walk_back(nodes: Iterable[Node], gradients: dict[Node, Array]) -> Iterator[Visit]:
    """Yield the visits of a reverse walk through some nodes, the newest first.

    Parameters
    ----------
    nodes : iterable of Node
        What is visited, if a gradient arrives there.
    gradients : dict of Node to array
        What has arrived so far. That of a visited node is taken out; afterwards there is left what
        arrived at other nodes.
    """
    with setting(grad_enabled=False, origin=None):
        for node in nodes:
            g = gradients.pop(node, None)
            if g is None:
                continue
            shares, whole = [], None
            for source, position, rule in node.edges:
                if node.primitive.joint:
                    whole = rule(g, node.saved, node, position) if whole is None else whole
                    given = whole[position]
                else:
                    given = rule(g, node.saved, node, position)
                if given is None:
                    continue
                share = (
                    given if given.shape == source.shape else sum_to(given, node, source, position)
                )
                before = gradients.get(source)
                gradients[source] = total = share if before is None else before + share
                shares.append(Share(source, position, rule, given, share, total))
            yield Visit(node, g, shares)
