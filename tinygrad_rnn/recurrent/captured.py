"""What a function uses besides its arguments: parameters, and tensors that were computed before.

Such nodes are found after the function has run. A node has a running number, so of the nodes on
which a result depends, those that the function captured are older than its run.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

import numpy as np

from ..core.errors import GraphError
from ..core.record import describe
from ..core.tape import Leaf, Node, Older, setting
from ..core.tensor import Tensor
from ..core.trace import Program


def captured(results: Iterable[Any], older: Older, inputs: Container[Node]) -> list[Node]:
    """Return the nodes with gradients that a function used without being given them.

    What lies behind such a node is not looked at: it is part of the graph around the function,
    whether the node is a leaf or was computed.

    Parameters
    ----------
    results : iterable of Node or None
        The nodes of the results.
    older : Older
        The nodes from before the function ran. A newer leaf is captured as well if it is that of a
        tensor which outlives the function (a parameter that is made when it is first needed).
    inputs : container of Node
        What the function was given.

    Returns
    -------
    list of Node
        In the order in which they were made.
    """
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = [n for n in results if isinstance(n, Node)]
    while stack:
        node = stack.pop()
        if node in seen or node in inputs:
            continue
        seen.add(node)
        if node.requires_grad and (node in older or owner_of(node) is not None):
            found.add(node)
        else:
            stack += [n for n in node.inputs if isinstance(n, Node)]
    return sorted(found, key=lambda n: n.index)


def owner_of(node: Any) -> Tensor | None:
    """Return the tensor to which a leaf belongs, if somebody holds it; None for any other node."""
    found: Tensor | None = (
        node.tensor() if isinstance(node, Leaf) and node.tensor is not None else None
    )
    return found


def value_of(node: Node, known: Mapping[Node, Any]) -> Any:
    """Return the value that a node had when it was made.

    It is a known one, that of a leaf, or one that is computed again from those.

    Raises
    ------
    GraphError
        Where steps would have to be run again for it, with parameters that may be others by now.
    """
    if node in known:
        return known[node]
    if isinstance(node, Leaf):
        return node.value
    program = Program([n for n in known if n is not node], [node])
    for n in program.nodes:
        if "segment" in n.params:
            raise GraphError(
                f"a function uses {describe(node)}{node.where.described()}, which was computed from the result of {n.op}{n.where.described()}, and "
                "holds it where it is not found: hand it over as an argument, or keep it in an attribute of a module, a list, a dict or a variable."
            )
    with setting(grad_enabled=False):
        value = program(*[a for n, a in known.items() if n is not node])[0]
    return np.asarray(getattr(value, "array", value))
