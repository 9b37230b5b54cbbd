"""The two walks over the tape: backward with gradients, forward with tangents.

Neither is recursive. Both rely on the order in which nodes are made: a node is newer than its
inputs, so falling index is an order in which every gradient is complete before it is passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .errors import (
    DtypeError,
    GraphError,
    NotDifferentiableError,
    RuleError,
    ShapeError,
    TinygradError,
    restated,
)
from .memory import empty
from .record import apply, describe
from .tape import Derived, Freed, Leaf, Node, Where, caller, context, reachable, setting
from .tensor import Tensor, attach, tensor


def backward(
    self: Tensor,
    gradient: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradient of this tensor to `.grad` of every leaf that it depends on.

    Parameters
    ----------
    gradient : Tensor, array or None
        The gradient that arrives at this tensor; for one element, None means 1.
    retain_graph : bool, optional
        Keep the saved values, so that the graph can be walked again. Default: only with
        `create_graph`.
    create_graph : bool
        Record the walk itself, so that the gradients can be differentiated.

    Raises
    ------
    GraphError
        If the tensor does not require gradients, if the graph was freed by another backward, or if
        a value that is needed was replaced.
    ShapeError, DtypeError
        If `gradient` is not like the tensor.
    """
    if self.node is None or not self.node.requires_grad:
        raise GraphError(
            "backward: this tensor does not require gradients: nothing it was made from has requires_grad=True."
        )
    if gradient is None and self.size != 1:
        raise GraphError(
            f"backward: a tensor of shape {self.shape} is not one number; sum it, or pass backward(gradient) of that shape."
        )
    given = Tensor(np.ones(self.shape, self.dtype)) if gradient is None else gradient
    seed = like(self, given, "backward: the gradient")
    now = context()
    if now.tracing and now.effects is None:
        raise GraphError(
            f"backward fills .grad, which the record of a function does not: use tg.grad{Where(*caller()).described()}"
        )
    create = create_graph or now.tracing
    found = pull_back([self.node], [seed], retain_graph=retain_graph, create_graph=create)
    if now.effects is not None:
        keeps = create_graph if retain_graph is None else retain_graph
        now.effects.fill(self.node, found, create_graph=create_graph, keeps=keeps)
        return
    for leaf, g in found.items():
        reference: Any = leaf.tensor if isinstance(leaf, Leaf) else None
        owner = None if reference is None else reference()
        if owner is not None:
            owner.grad = g if owner.grad is None else owner.grad + g
        elif hasattr(reference, "lost"):
            raise GraphError(
                f"backward: nobody holds the tensor that the gradient of {describe(leaf)} is for: {reference.lost}"
            )


attach(Tensor, backward=backward)


def like(y: Tensor, given: Any, what: str) -> Tensor:
    """Return what the caller gave as a gradient or tangent of `y`: a tensor of its shape and dtype.

    An array is copied, since the caller may write to it later.
    """
    found = given if isinstance(given, Tensor) else tensor(given, y.dtype)
    if found.shape != y.shape:
        raise ShapeError(f"{what} has shape {found.shape}; expected {y.shape}.")
    if found.dtype != y.dtype:
        raise DtypeError(f"{what} is {found.dtype}; expected {y.dtype}. Use .astype(...).")
    return found


# --- backward -------------------------------------------------------------------------------------


def pull_back(
    roots: Sequence[Node],
    seeds: Sequence[Tensor],
    *,
    targets: Iterable[Node] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> dict[Node, Tensor]:
    """Walk backward: the gradients of ``sum(seed * root)`` by the leaves, or by the `targets`.

    The walk ends at the targets: what lies behind them or beside the paths to them is somebody
    else's graph, and is neither walked nor freed.

    With `create_graph` the gradients are tensors all the way and every rule is recorded; otherwise
    the rules run on bare arrays. Either way they are the same rules.
    """
    keep = create_graph if retain_graph is None else retain_graph
    freed = None if keep else Freed(roots[0].name or roots[0].op, Where(*caller()))
    ends = frozenset(targets or ())
    order = reachable(roots, ends)
    stale = [node for node in order if isinstance(node, Leaf) and node.replaced]
    paths = None if targets is None else leading_to(ends, order)
    if paths is not None:
        order = [node for node in order if node in paths]
    gradients, rule_gives, results = Gradients(), _gradient, {}
    if (watch := context().watch) is not None:
        gradients, rule_gives = watch.backward(gradients, rule_gives, roots)

    with setting(grad_enabled=create_graph, origin=None):
        for root, seed in zip(roots, seeds, strict=True):
            gradients.add(root, seed if create_graph else seed.array)
        while order:
            node = order.pop()
            g, primitive = gradients.pop(node, None), node.primitive
            if g is None:
                continue
            end = node in ends
            if node.hooks and not end:  # a target's are run by the walk that goes on from it
                g = _run_hooks(node, g)
            if primitive is None or end:
                results[node] = _handle(g)
                continue
            if type(node.saved) is Freed:
                raise _freed_error(node, node.saved)
            if primitive.add_into is not None and not create_graph:
                gradients.add_part(node, g, primitive.add_into)
            else:
                saved = _as_tensors(node) if create_graph else node.saved
                for source, position, rule in joint_edges(node) if primitive.joint else node.edges:
                    if paths is not None and source not in paths:
                        continue
                    if stale:
                        check_replaced(node, rule.needs, stale)
                    gradients.add(source, rule_gives(rule, g, saved, node, source, position))
            if freed is not None:
                node.saved = freed
    return results


class Gradients(dict[Node, Any]):
    """The gradient that each node has collected so far.

    A first gradient is taken as it is: it may be an array that somebody else holds. The sum with a
    second one is a new array, and to that all others are added in place.
    """

    __slots__ = ("own",)

    def __init__(self) -> None:
        self.own: set[Node] = set()  # the nodes whose array was made here

    def add(self, node: Node, gradient: Any) -> None:
        """Add a gradient to what the node has collected; None is no gradient."""
        if gradient is None:
            return
        if (before := self.get(node)) is None:
            self[node] = gradient
        elif node in self.own:
            np.add(before, gradient, before)
        elif type(before) is np.ndarray and type(gradient) is np.ndarray:
            self[node] = np.add(before, gradient, out=empty(before.shape, before.dtype))
            self.own.add(node)
        else:
            self[node] = before + gradient

    def add_part(self, node: Node, g: Any, add_into: Callable[..., None]) -> None:
        """Add the gradient of a part to that of the whole, in place.

        A large array is read in many small parts; an array of its size for each would make the walk
        quadratic.
        """
        ((source, _, _),) = node.edges
        if source not in self.own:
            before = self.get(source)
            self[source] = total = empty(source.shape, source.dtype)
            total[...] = 0 if before is None else before
            self.own.add(source)
        add_into(self[source], g, **node.params)


def joint_edges(node: Node) -> list[tuple[Node, int, _Joint]]:
    """Return the edges of a node whose one rule gives the gradients for all inputs at once."""
    rule = _Joint(node.primitive.rules[0])
    return [(source, position, rule) for source, position, _ in node.edges]


class _Joint:
    """A joint rule at one node of a walk: called for several inputs, it is computed once."""

    def __init__(self, rule: Any) -> None:
        self.rule, self.needs, self.whole = rule, rule.needs, None

    def __call__(self, g: Any, saved: Sequence[Any], node: Node, position: int) -> Any:
        """Return the gradient of one input."""
        if self.whole is None:
            self.whole = self.rule(g, saved, node, position)
        return self.whole[position]  # type: ignore[index]


# errors that a rule which is right can meet
_KNOWN = (ArithmeticError, MemoryError, ImportError, RecursionError, NotDifferentiableError)


def _gradient(rule: Any, g: Any, saved: Any, node: Node, source: Node, position: int) -> Any:
    """Return the gradient of one input by its rule, checked to be like the input; or None.

    An error of the rule becomes one that says which rule it was, of which operation, where.
    """
    try:
        gradient = rule.__call__(g, saved, node, position)  # faster than rule(...)
    except Exception as error:
        # a joint rule stands for other operations, and its error names the one
        if isinstance(error, GraphError) or (
            node.primitive.joint and isinstance(error, TinygradError)
        ):
            raise
        text = _rule_text(node, position, f"raised {type(error).__name__}: {error}")
        raise (restated(error, text) if isinstance(error, _KNOWN) else RuleError(text)) from error
    if getattr(gradient, "shape", None) == source.shape and gradient.dtype is source.dtype:
        return gradient
    if gradient is None:
        return None
    if not hasattr(gradient, "shape"):
        fault = f"returned a {type(gradient).__name__}; expected an array of shape {source.shape}"
        raise RuleError(_rule_text(node, position, fault))
    if gradient.shape != source.shape:
        gradient = sum_to(gradient, node, source, position)
    if gradient.dtype != source.dtype:
        fault = f"returned {gradient.dtype}; expected {source.dtype}"
        raise RuleError(_rule_text(node, position, fault))
    return gradient


def leading_to(targets: Iterable[Node], order: Iterable[Node]) -> set[Node]:
    """Find the nodes through which the targets reach the roots; the targets are among them."""
    found = set(targets)
    for node in order:
        if any(source in found for source, _, _ in node.edges):
            found.add(node)
    return found


def sum_to(gradient: Any, node: Node, source: Node, position: int) -> Any:
    """Undo broadcasting: sum a gradient over the axes along which the input was spread.

    Raises
    ------
    RuleError
        If the shapes differ otherwise.
    """
    shape, wanted = gradient.shape, source.shape
    lead = len(shape) - len(wanted)
    if not (
        node.primitive.broadcasts
        and lead >= 0
        and all(n in (1, size) for size, n in zip(shape[lead:], wanted, strict=True))
    ):
        fault = f"returned shape {tuple(shape)}; expected {wanted}"
        raise RuleError(_rule_text(node, position, fault))
    spread = (i + lead for i, n in enumerate(wanted) if n == 1 and shape[i + lead] != 1)
    total = gradient.sum(axis=(*range(lead), *spread))
    return total if total.shape == wanted else total.reshape(wanted)


def _run_hooks(node: Node, g: Any) -> Any:
    """Call the hooks of a node with its gradient, and return what they make of it."""
    for hook in list(node.hooks or ()):
        given = _handle(g)
        back = hook(given)
        if back is None:
            back = given  # to which the hook may have written
        elif not isinstance(back, Tensor):
            back = tensor(back)
        if back.shape != node.shape or back.dtype != node.dtype:
            raise RuleError(
                f"a hook on {node} returned {describe(back)}; expected shape {node.shape}, {node.dtype}"
            )
        g = back.handle() if isinstance(g, Tensor) else back.array
    return g


def _handle(g: Any) -> Tensor:
    """Return a gradient as a tensor that nobody else has."""
    return g.handle() if isinstance(g, Tensor) else Tensor(np.asarray(g))


# --- forward --------------------------------------------------------------------------------------


def push_forward(
    roots: Sequence[Node], tangents: dict[Node, Any], *, create_graph: bool = False
) -> dict[Node, Any]:
    """Walk forward: from the tangents of some nodes to those of all that lie before the roots.

    With `create_graph` the tangents are tensors, and the walk is recorded.
    """
    watch = context().watch
    tangent = _tangent if watch is None else watch.forward(_tangent)
    with setting(grad_enabled=create_graph, origin=None):
        for node in reachable(roots, tangents):
            if node in tangents or tangents.keys().isdisjoint(node.inputs):
                continue
            arriving = [tangents.get(n) if isinstance(n, Node) else None for n in node.inputs]
            if type(node.saved) is Freed:
                raise _freed_error(node, node.saved)
            saved = _as_tensors(node) if create_graph else node.saved
            if (found := tangent(node, arriving, saved)) is not None:
                tangents[node] = found
    return tangents


def _tangent(node: Node, arriving: list[Any], saved: Sequence[Any]) -> Any:
    """Return the tangent of a node from those that arrive at its inputs; None stands for zero."""
    primitive, params = node.primitive, node.params
    values = saved[1] if primitive.variadic and saved[1] is not None else saved[1:]
    if primitive.tangent is not None:
        t = arriving[0] if len(arriving) == 1 else tuple(arriving)
        return primitive.tangent(t, saved[0], *values, **params)
    if primitive.linear == "jointly":
        filled = [
            np.zeros(getattr(n, "shape", ()), node.dtype) if t is None else t
            for t, n in zip(arriving, node.inputs, strict=True)
        ]
        return apply(primitive, filled, params)
    parts = []
    for i, t in enumerate(arriving):
        if t is None:
            continue
        if primitive.linear == "each":
            parts.append(apply(primitive, [*values[:i], t, *values[i + 1 :]], params))
        elif (rule := primitive.rules[i]) is not None:
            # Elementwise: the rule multiplies what it is given by the derivative, be it a gradient
            # or a tangent.
            spread = t + np.zeros(node.shape, node.dtype) if t.shape != node.shape else t
            parts.append(rule(spread, saved, node, i))
    parts = [p for p in parts if p is not None]
    return sum(parts[1:], parts[0]) if parts else None


# --- what both walks read -------------------------------------------------------------------------


def _as_tensors(node: Node) -> list[Any]:
    """Return the saved values of a node as tensors on the tape, for a walk that is recorded.

    What is made from them is then said to come from where the node came from, and to be derived.
    """
    code, offset, mark = node.origin
    context().origin = (code, offset, Derived(*mark))
    out, *rest = node.saved

    def handle(value: Any, source: Any) -> Any:
        return Tensor(value, source) if value is not None and isinstance(source, Node) else value

    values = rest[0] if node.primitive.variadic else rest
    if values is not None:
        values = tuple(handle(v, n) for v, n in zip(values, node.inputs, strict=True))
    return [handle(out, node), *([values] if node.primitive.variadic else values)]


def check_replaced(node: Node, needs: tuple[int, ...], stale: list[Leaf]) -> None:
    """Raise if a value that a rule needs is (a view of) an array that was replaced since."""
    for k in needs:
        for value in node.saved[k] if isinstance(node.saved[k], tuple) else (node.saved[k],):
            for leaf in stale:
                if isinstance(value, np.ndarray) and np.may_share_memory(value, leaf.value):
                    raise GraphError(
                        f"backward needs the value that {describe(leaf)} had in {node.op}{node.where.described()}, but its array was "
                        f"replaced at {leaf.replaced}. Call backward before the parameters are changed."
                    )


def _freed_error(node: Node, freed: Freed) -> GraphError:
    """Make the error for a node whose saved values another backward has released."""
    name = f"'{node.name}', computed by {node.op}," if node.name else f"the result of {node.op}"
    if node.where.mark.step is None:
        way_out = "To walk one graph twice, pass retain_graph=True to the first backward; to start anew from a value, use its .detach()."
    else:
        way_out = "It was made in a step of a sequence: if a state is carried over, cut it first with state = tg.detach(state)."
    return GraphError(
        f"backward reached {name} of shape {node.shape}{node.where.described()}, whose saved values were released by the backward of "
        f"'{freed.root}' at {freed.where}. {way_out}"
    )


def _rule_text(node: Node, position: int, fault: str) -> str:
    """Say of which rule something is a fault, and where its operation was recorded."""
    primitive = node.primitive
    name = f"input {position}" if primitive.variadic else f"'{primitive.inputs[position]}'"
    operands = ", ".join(describe(n) for n in node.inputs)
    return f"the derivative rule of {primitive.name}({operands}) for {name} {fault}{node.where.described()}"
