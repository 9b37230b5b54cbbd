"""How tensors are copied and pickled.

A computed tensor takes its tape along, as a flat list of rows, so that its depth does not matter.
The copied tape ends in copies of the leaves. They get the gradients if they are copied together
with it, as happens with the module whose parameters they are. A gradient for a leaf that nobody
holds is an error.
"""

from __future__ import annotations

import copy
import weakref
from typing import Any

from ..core.errors import GraphError
from ..core.primitive import REGISTRY, Array, Primitive, Spec
from ..core.record import describe
from ..core.tape import Freed, Leaf, Mark, Node, context, reachable
from ..core.tensor import Tensor, attach, tensor
from ..ops.numbers import depends_on_inputs


def _check_uncut(t: Tensor, what: str) -> None:
    """Raise a GraphError if a copy would be cut off from the inputs of a transform or a trace."""
    if t.requires_grad and (context().tracing or depends_on_inputs(t)):
        raise GraphError(
            f"{what}: inside a transform or a recording a copy of {describe(t)} would be cut off from its arguments, and gradients through it "
            "would be lost. Use the tensor itself, t + 0, or the values alone: t.detach()"
        )


def _reduce(self: Tensor) -> Any:
    """Return the function that makes a tensor again, and its arguments, as pickle asks for them."""
    _check_uncut(self, "pickle")
    if self.node is None or isinstance(self.node, Leaf):
        grad = None if self.grad is None else self.grad.detach()
        return _restore_leaf, (type(self), self.numpy(), self.requires_grad, self.name, grad)
    nodes = reachable([self.node], every=True)
    number = {node: i for i, node in enumerate(nodes)}
    rows: list[Any] = []
    for node in nodes:
        if isinstance(node, Leaf):
            rows.append(_owner(node))
        else:
            inputs = [
                ("node", number[n]) if isinstance(n, Node) else ("number", n) for n in node.inputs
            ]
            mark = tuple(node.where.mark)
            rows.append(
                (
                    node.primitive.name,
                    inputs,
                    node.params,
                    Freed(node.saved.root, str(node.saved.where))
                    if isinstance(node.saved, Freed)
                    else node.saved,
                    node.requires_grad,
                    node.name,
                    node.shape,
                    str(node.dtype),
                    mark,
                )
            )
    return _restore, (self.numpy(), rows)


def _owner(leaf: Leaf) -> Tensor:
    """Return the tensor whose leaf this is.

    So a parameter stays one object with the module that is pickled beside it.
    """
    owner = leaf.tensor() if leaf.tensor is not None else None
    if owner is None or owner.node is not leaf:
        owner = Tensor(leaf.value)
        owner.leaf(leaf.requires_grad, leaf.name)
    return owner


def _primitive(name: str) -> Primitive:
    """Return an operation by its name; some families are loaded when first used."""
    if name not in REGISTRY:
        from ..nn import ctc  # noqa: F401  (for the registry)
        from ..ops import (  # noqa: F401
            activations,
            contracting,
            counting,
            determinants,
            diagonals,
            elementary,
            fourier,
            order,
            penalties,
            special,
            windows,
        )
    if name not in REGISTRY:
        raise GraphError(
            f"unpickling: no operation named '{name}' is registered; import the module that defines it first"
        )
    return REGISTRY[name]


def _restore_leaf(
    kind: type[Tensor], array: Array, requires_grad: bool, name: str | None, grad: Tensor | None
) -> Tensor:
    """Make a leaf again."""
    made = kind.__new__(kind)
    Tensor.__init__(made, tensor(array).array)
    if requires_grad or name:
        made.leaf(requires_grad, name)
    made.grad = grad
    return made


def _restore(array: Array, rows: list[Any]) -> Tensor:
    """Make a computed tensor again, with the tape that the rows describe."""
    nodes: list[Node] = []
    owners: list[Tensor] = []  # kept alive until the nodes that need them exist
    for row in rows:
        if isinstance(row, Tensor):
            owners.append(row)
            nodes.append(row.node or row.leaf())
            if isinstance(nodes[-1], Leaf) and row.requires_grad:
                nodes[-1].tensor = _CopiedTensor(row)
            continue
        op, inputs, params, saved, requires_grad, name, shape, dtype, mark = row
        primitive = _primitive(op)
        links = tuple(nodes[value] if kind == "node" else value for kind, value in inputs)
        edges = primitive.edges(links) if requires_grad else ()
        out, origin = Spec(shape, dtype), (None, 0, Mark(*mark))
        node = Node(primitive, links, edges, params, saved, out, requires_grad, origin)
        node.name = name
        nodes.append(node)
    return Tensor(tensor(array).array, nodes[-1])


class _CopiedTensor(weakref.ref[Tensor]):
    """The reference from a leaf of a copied tape to its tensor, which says if that is gone.

    `walks.backward` asks for it to accumulate the gradient.
    """

    lost = "it was copied, or unpickled, with the tape of a computed tensor, but not as a tensor. Copy both together: deepcopy((leaf, computed))"


def _copy(self: Tensor) -> Tensor:
    """Return another tensor on the same tape; a copy of a leaf is a leaf of its own."""
    twin = self.handle()
    # What a transform differentiates by stays on its tape, and what a recording asks for an input.
    kept = self.node in context().inputs or self.node in context().asked
    if isinstance(self.node, Leaf) and not kept:
        if context().tracing:  # the copy would keep the values of this moment
            _check_uncut(self, "copy")
        twin.leaf(self.node.requires_grad, self.node.name)
    return twin


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """Return a copy of a tensor and of its tape."""
    _check_uncut(self, "deepcopy")
    if (
        not memo
        and self.requires_grad
        and not isinstance(self.node, Leaf)
        and context().grad_enabled
    ):
        raise GraphError(
            "deepcopy: this tensor was computed of tensors that require gradients, and its copy would be cut off from them. Copy them together, "
            "as in copy.deepcopy((leaves, t)), or the values alone, t.detach(); copy.copy(t) is another tensor on the same tape"
        )
    restore, values = _reduce(self)
    return restore(*copy.deepcopy(values, memo))  # type: ignore[no-any-return]


attach(Tensor, __reduce__=_reduce, __copy__=_copy, __deepcopy__=_deepcopy)
