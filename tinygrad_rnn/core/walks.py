"""The two walks over the tape: backward with gradients, forward with tangents.

Neither is recursive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .errors import DtypeError, GraphError, RuleError, ShapeError, TinygradError, restated
from .memory import empty
from .primitive import LARGE
from .record import apply, describe
from .tape import Freed, Leaf, Node, Where, at_origin, caller, reachable, setting
from .tensor import Tensor, tensor


def backward(
    outputs: Sequence[Tensor],
    gradients: Sequence[Any],
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradients of the outputs to `.grad` of every leaf that they depend on.

    Parameters
    ----------
    outputs : sequence of Tensor
    gradients : sequence of Tensor, array or None
        The gradient that arrives at each output; None for an output with one element means 1.
    retain_graph : bool, optional
        Keep the saved values, so that the graph can be walked again. Default: only with
        `create_graph`.
    create_graph : bool
        Record the walk itself, so that the gradients can be differentiated.
    """
    nodes, seeds = [], []
    for y, gradient in zip(outputs, gradients, strict=True):
        if y.node is None or not y.node.requires_grad:
            raise GraphError(
                "backward: this tensor does not require gradients: nothing it was made from has requires_grad=True."
            )
        if gradient is None and y.size != 1:
            raise GraphError(
                f"backward: a tensor of shape {y.shape} is not one number; sum it, or pass backward(gradient) of that shape."
            )
        nodes.append(y.node)
        seeds.append(
            like(y, np.ones(y.shape) if gradient is None else gradient, "backward: the gradient")
        )
    for leaf, g in pull_back(
        nodes, seeds, retain_graph=retain_graph, create_graph=create_graph
    ).items():
        owner = leaf.tensor() if isinstance(leaf, Leaf) and leaf.tensor is not None else None
        if owner is None and hasattr(getattr(leaf, "tensor", None), "lost"):
            raise GraphError(
                f"backward: nobody holds the tensor that the gradient of {describe(leaf)} is for: {leaf.tensor.lost}"  # type: ignore[attr-defined]
            )
        if owner is not None:
            owner.grad = g if owner.grad is None else owner.grad + g


def like(y: Tensor, given: Any, what: str) -> Tensor:
    """A gradient or tangent of `y`, from what the caller gave.

    Of its shape and dtype, and no array of the caller's.
    """
    found = given if isinstance(given, Tensor) else tensor(given, y.dtype)
    if found.shape != y.shape:
        raise ShapeError(f"{what} has shape {found.shape}; expected {y.shape}.")
    if found.dtype != y.dtype:
        raise DtypeError(
            f"{what} is {found.dtype}; expected {y.dtype}. Convert it with .astype(...)."
        )
    return found


def pull_back(
    roots: Sequence[Node],
    seeds: Sequence[Tensor],
    *,
    targets: Iterable[Node] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> dict[Node, Tensor]:
    """The reverse walk.

    Gradients of ``sum(seed * root)`` with respect to the leaves, or to the `targets`, where it
    ends.

    With `create_graph` the gradients are tensors all the way and every rule is recorded; otherwise
    the rules run on bare arrays. Either way they are the same rules.
    """
    retain_graph = create_graph if retain_graph is None else retain_graph
    kept = frozenset(targets or ())
    order = reachable(roots, kept)
    wanted = None if targets is None else _leading_to(kept, order)
    stale = [node for node in order if isinstance(node, Leaf) and node.replaced]
    freed = None if retain_graph else Freed(roots[0].name or roots[0].op, Where(*caller()))
    gradients: dict[Node, Any] = {}
    # whose collected gradient is a fresh array of ours, so that we may add to it in place
    owned: set[Node] = set()
    results: dict[Node, Tensor] = {}
    if wanted is not None:  # the rest is somebody else's graph: neither walked nor freed
        order = [node for node in order if node in wanted]

    with setting(grad_enabled=create_graph, origin=None):
        for root, seed in zip(roots, seeds, strict=True):
            seed = seed if create_graph else seed.array
            gradients[root] = gradients[root] + seed if root in gradients else seed
        while order:
            node = order.pop()
            g = gradients.pop(node, None)
            if g is None:
                continue
            primitive = node.primitive
            end = node in kept
            if node.hooks and not end:  # those of a target are run by the walk that goes on from it
                g = _run_hooks(node, g)
            if primitive is None or end:
                # nobody else's tensor
                results[node] = g.handle() if isinstance(g, Tensor) else Tensor(np.asarray(g))
                continue
            saved, whole = node.saved, None
            if type(saved) is Freed:
                raise _freed_error(node, saved)
            if create_graph:
                saved = _as_tensors(node)
                at_origin(node)
            for source, position, rule in node.edges:
                if wanted is not None and source not in wanted:
                    continue
                if stale:
                    check_replaced(node, rule.needs, stale)
                # many small parts of one large array: no array for each
                if primitive.add_into is not None and not create_graph:
                    if source not in owned:
                        owned.add(source)
                        before = gradients.get(source)
                        gradients[source] = total = empty(source.shape, source.dtype)
                        total[...] = 0 if before is None else before
                    primitive.add_into(gradients[source], g, **node.params)
                    continue
                try:
                    if primitive.joint:
                        whole = rule(g, saved, node, position) if whole is None else whole
                        gradient = whole[position]
                    elif rule.simple and rule.pick is not None and g.size < LARGE:
                        # what rule(...) does, without the call
                        gradient = rule.function(g, *rule.pick(saved))
                    else:
                        gradient = rule(g, saved, node, position)
                except Exception as error:
                    # a joint rule stands for other operations, and its error names the one
                    if isinstance(error, GraphError) or (
                        primitive.joint and isinstance(error, TinygradError)
                    ):
                        raise
                    text = _rule_text(node, position, f"raised {type(error).__name__}: {error}")
                    numeric = isinstance(
                        error,
                        (
                            FloatingPointError,
                            OverflowError,
                            MemoryError,
                            ImportError,
                            RecursionError,
                        ),
                    )
                    raise (restated(error, text) if numeric else RuleError(text)) from error
                if gradient is None:
                    continue
                try:
                    fits = gradient.shape == source.shape
                except AttributeError:
                    fault = f"returned a {type(gradient).__name__}; expected an array of shape {source.shape}"
                    raise RuleError(_rule_text(node, position, fault)) from None
                if not fits:
                    gradient = sum_to(gradient, node, source, position)
                if gradient.dtype is not source.dtype and gradient.dtype != source.dtype:
                    raise RuleError(
                        _rule_text(
                            node, position, f"returned {gradient.dtype}; expected {source.dtype}"
                        )
                    )
                before = gradients.get(source)
                if before is None:
                    gradients[source] = gradient
                elif source in owned:
                    np.add(before, gradient, before)
                else:
                    bare = type(before) is np.ndarray and type(gradient) is np.ndarray
                    gradients[source] = (
                        np.add(before, gradient, out=empty(before.shape, before.dtype))
                        if bare
                        else before + gradient
                    )
                    owned |= {source} if bare else set()
            if freed is not None:
                node.saved = freed
    return results


def push_forward(
    roots: Sequence[Node], tangents: dict[Node, Any], *, create_graph: bool = False
) -> dict[Node, Any]:
    """The forward walk.

    From the tangents of some nodes to those of all nodes that depend on them.
    """
    with setting(grad_enabled=create_graph, origin=None):
        for node in reachable(roots, tangents):
            if node in tangents or not any(
                isinstance(n, Node) and n in tangents for n in node.inputs
            ):
                continue
            if type(node.saved) is Freed:
                raise _freed_error(node, node.saved)
            primitive, saved = node.primitive, _as_tensors(node) if create_graph else node.saved
            if create_graph:
                at_origin(node)
            arriving = [tangents.get(n) if isinstance(n, Node) else None for n in node.inputs]
            values = saved[1] if primitive.variadic and saved[1] is not None else saved[1:]
            parts = []
            if primitive.tangent is not None:
                parts.append(
                    primitive.tangent(
                        arriving[0] if len(arriving) == 1 else tuple(arriving),
                        saved[0],
                        *values,
                        **node.params,
                    )
                )
            elif primitive.linear == "jointly":
                nothing = [np.zeros(getattr(n, "shape", ()), node.dtype) for n in node.inputs]
                filled = [z if t is None else t for t, z in zip(arriving, nothing, strict=True)]
                parts.append(apply(primitive, filled, node.params))
            elif primitive.linear == "each":
                for i, t in enumerate(arriving):
                    if t is not None:
                        parts.append(
                            apply(primitive, [*values[:i], t, *values[i + 1 :]], node.params)
                        )
            else:
                # elementwise: the rule multiplies what it is given by the derivative, gradient or
                # tangent
                for i, t in enumerate(arriving):
                    if t is not None and (rule := primitive.rules[i]) is not None:
                        spread = (
                            t + np.zeros(node.shape, node.dtype) if t.shape != node.shape else t
                        )
                        parts.append(rule(spread, saved, node, i))
            parts = [p for p in parts if p is not None]
            if parts:
                tangents[node] = sum(parts[1:], parts[0])
    return tangents


def _as_tensors(node: Node) -> list[Any]:
    """The saved values as handles on the nodes that they belong to."""
    out, *rest = node.saved

    def handle(value: Any, source: Any) -> Any:
        return Tensor(value, source) if value is not None and isinstance(source, Node) else value

    if node.primitive.variadic:
        inputs = (
            None
            if rest[0] is None
            else tuple(handle(v, n) for v, n in zip(rest[0], node.inputs, strict=True))
        )
        return [handle(out, node), inputs]
    return [handle(out, node), *(handle(v, n) for v, n in zip(rest, node.inputs, strict=True))]


def _leading_to(targets: Iterable[Node], order: list[Node]) -> set[Node]:
    """The nodes through which the targets reach the roots, and the targets themselves."""
    found = set(targets)
    for node in order:
        if node not in found and any(n in found for n, _, _ in node.edges):
            found.add(node)
    return found


def sum_to(gradient: Any, node: Node, source: Node, position: int) -> Any:
    """Undo broadcasting: what was spread over an axis is summed over it."""
    lead = len(gradient.shape) - len(source.shape)
    shape = gradient.shape
    fits = (
        node.primitive.broadcasts
        and lead >= 0
        and all(s in (1, n) for n, s in zip(shape[lead:], source.shape, strict=True))
    )
    if not fits:
        raise RuleError(
            _rule_text(node, position, f"returned shape {tuple(shape)}; expected {source.shape}")
        )
    axes = (
        *range(lead),
        *(i + lead for i, n in enumerate(source.shape) if n == 1 and shape[i + lead] != 1),
    )
    total = gradient.sum(axis=axes)
    return total if total.shape == source.shape else total.reshape(source.shape)


def _run_hooks(node: Node, g: Any) -> Any:
    for hook in list(node.hooks or ()):
        given = g.handle() if isinstance(g, Tensor) else Tensor(np.asarray(g))
        back = hook(given)
        # it may have changed what it was given
        back = given if back is None else back if isinstance(back, Tensor) else tensor(back)
        if back.shape != node.shape or back.dtype != node.dtype:
            raise RuleError(
                f"a hook on {node} returned {describe(back)}; expected shape {node.shape}, {node.dtype}"
            )
        g = back.handle() if isinstance(g, Tensor) else back.array
    return g


def _rule_text(node: Node, position: int, fault: str) -> str:
    primitive = node.primitive
    name = f"input {position}" if primitive.variadic else f"'{primitive.inputs[position]}'"
    operands = ", ".join(describe(n) for n in node.inputs)
    return f"the derivative rule of {primitive.name}({operands}) for {name} {fault}{node.where.described()}"


def _freed_error(node: Node, freed: Freed) -> GraphError:
    name = f"'{node.name}', computed by {node.op}," if node.name else f"the result of {node.op}"
    if node.where.mark.step is None:
        way_out = "To walk one graph twice, pass retain_graph=True to the first backward; to start anew from a value, use its .detach()."
    else:
        way_out = "It was made in a step of a sequence: if a state is carried over, cut it first with state = tg.detach(state)."
    return GraphError(
        f"backward reached {name} of shape {node.shape}{node.where.described()}, whose saved values were released by the backward of "
        f"'{freed.root}' at {freed.where}. {way_out}"
    )


def check_replaced(node: Node, needs: tuple[int, ...], stale: list[Leaf]) -> None:
    """Raise if a value that a rule needs is (a view of) an array that its tensor has since replaced."""
    for k in needs:
        for value in node.saved[k] if isinstance(node.saved[k], tuple) else (node.saved[k],):
            for leaf in stale:
                if isinstance(value, np.ndarray) and np.may_share_memory(value, leaf.value):
                    raise GraphError(
                        f"backward needs the value that {describe(leaf)} had in {node.op}{node.where.described()}, but its array was "
                        f"replaced at {leaf.replaced}. Call backward before the parameters are changed."
                    )
