"""Which products of a step a wrapper sees, and the search for those that the cell does not name."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any
from weakref import WeakSet

from ..core.errors import TinygradError
from ..core.tape import Node, Older, context
from ..core.tensor import Tensor
from ..core.tree import leaves
from ..ops.facts import FREE, facts_of, infix
from ..recurrent.products import Around, around
from .wrappers import Wrapper


class NamedProducts(Around):
    """A wrapper that acts on products, and notes those that pass through it.

    Attributes
    ----------
    named : set of Node, or None
        The products of the step so far; None: nobody wants to know.
    """

    named: set[Node] | None = None

    def acted(self) -> bool:
        """Whether the step named what the wrapper acts on.

        A step that did not is refused as such.
        """
        return True

    def product(self, kind: str, value: Any, cuts: Sequence[int]) -> Any:
        """See `Around.product`."""
        # what is shown is also carried, and made of other products
        if self.named is not None and kind != "output":
            self.named.update(
                t.node for t in leaves(value) if isinstance(t, Tensor) and t.node is not None
            )
        return value


_checked: WeakSet[Wrapper] = WeakSet()  # not attributes, which a recorded step may not change


def checked_step(wrapper: Wrapper, inside: NamedProducts, x: Any, state: Any) -> Any:
    """Make a step of the cell of `wrapper` within `inside`.

    The first steps that are recorded are searched for recurrent products without a name.

    Parameters
    ----------
    wrapper : Wrapper
        Its cell makes the step.
    inside : NamedProducts
        What acts on the products of the step.
    x, state
        What the cell is given.

    Raises
    ------
    TinygradError
        If the step has such a product, so that the wrapper would act on a part of them alone.
    """
    if wrapper in _checked and not context().tracing:
        with around(inside):
            return wrapper.cell(x, state)
    before = [s for s in leaves(state) if isinstance(s, Tensor)]
    for s in before:
        if s.node is None:
            s.leaf()
    older, inside.named = Older(), set[Node]()
    with around(inside):
        y, new = wrapper.cell(x, state)
    nodes, given = (
        {t.node for t in leaves(tree) if isinstance(t, Tensor) and t.node is not None}
        for tree in (new, x)
    )
    search = UnnamedProduct({s.node for s in before}, given, inside.named, older)
    found = search.among(nodes)
    if found is not None and inside.acted():
        raise TinygradError(
            f"{wrapper.name}: the step multiplies a component of the state {tuple(found.inputs[0].shape)} by weights without naming the product, so the wrapper "
            "would act on a part of the recurrent products alone. In all of them write self.from_state(h, self.U) in place of h @ self.U.T (name=None "
            f"there: dropout is not to mask it){found.where.described()}"
        )
    # a constant state has no record of its views
    if any(s.requires_grad for s in before) and not context().tracing:
        _checked.add(wrapper)
    return y, new


class UnnamedProduct:
    """The search for a product of the state with weights that the cell does not name.

    Parameters
    ----------
    carried : container of Node
        The components of the state from which the step was made.
    inputs : container of Node
        The input of the step.
    named : container of Node
        The products that were named.
    older : container of Node
        The nodes from before the step.
    """

    def __init__(
        self,
        carried: Container[Any],
        inputs: Container[Any],
        named: Container[Any],
        older: Container[Any],
    ) -> None:
        self.carried, self.inputs, self.named, self.older = carried, inputs, named, older

    def among(self, new: Iterable[Any]) -> Node | None:
        """Return an unnamed product on which the new state depends, or None."""
        stack, seen = list(new), set[Any]()
        while stack:
            node = stack.pop()
            if (
                not isinstance(node, Node)
                or node in seen
                or node in self.carried
                or node in self.inputs
                or node in self.named
                or node in self.older
            ):
                continue
            seen.add(node)
            if infix(node.primitive) == "@" and any(
                self.is_carried(a) and self.is_weight(b)
                for a, b in (node.inputs, node.inputs[::-1])
            ):
                return node
            stack += node.inputs
        return None

    def is_carried(self, node: Any) -> bool:
        """Whether a node is a component of the state, a view of one, or a product as r * h."""
        stack, seen = [node], set[Any]()
        while stack:
            n = stack.pop()
            if n in self.carried:
                return True
            if not isinstance(n, Node) or n in seen or n in self.older or n in self.named:
                continue
            seen.add(n)
            if _is_another_look(n):
                stack.append(n.inputs[0])
            elif infix(n.primitive) == "*":
                stack += n.inputs
        return False

    def is_weight(self, node: Any) -> bool:
        """Whether a node is made of leaves alone, of which one at least requires gradients."""
        leaf_nodes, stack, seen = list[Node](), [node], set[Any]()
        while stack:
            n = stack.pop()
            if not isinstance(n, Node) or n in seen:
                continue
            seen.add(n)
            if (
                n in self.carried
                or n in self.inputs
                or n in self.named
                or (n.primitive is not None and n in self.older)
            ):
                return False
            leaf_nodes += [n] if n.primitive is None else []
            stack += n.inputs
        return any(n.requires_grad for n in leaf_nodes)


def _is_another_look(node: Node) -> bool:
    """Whether a node has elements of its input as they lie in memory, in another shape or order."""
    found, facts = node.primitive, facts_of(node.primitive)
    moves = found is not None and not found.elementwise
    return moves and facts.view is not None and facts.cost is FREE
