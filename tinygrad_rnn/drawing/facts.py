"""What the pictures know of single operations.

All of it is asked of an operation's entry (`ops/facts.py`): no operation has a name here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.tape import Node
from ..ops.facts import facts_of, infix, is_join
from ..recurrent.pieces import is_result


def symbol(node: Node) -> str:
    """Return the sign for an operation in the label of a box; its name, if it has no sign."""
    return facts_of(node.primitive).symbol or node.op


def formula_of(node: Node) -> str | None:
    """Return an operation as an expression of its inputs, if its entry has one."""
    return facts_of(node.primitive).formula


def rule_in_words(node: Node) -> str | None:
    """Return what the derivative of an operation does, as a sentence, if its entry has one."""
    return facts_of(node.primitive).rule_in_words


def is_power(node: Node) -> bool:
    """Whether an operation is written as its first input with the second one as exponent."""
    return infix(node.primitive) == "**"


def takes_part(node: Node) -> bool:
    """Whether an operation takes out the part of an array that its parameter `index` names."""
    found = node.primitive
    return found is not None and len(found.inputs) == 1 and [*found.defaults] == ["index"]


def index_of(node: Node) -> Any:
    """Return the parameter `index` of a node; of a tuple with one element, the element."""
    index = node.params.get("index")
    return index[0] if isinstance(index, tuple) and len(index) == 1 else index


def joins(node: Node) -> bool:
    """Whether an operation puts several arrays side by side, along a new axis or an old one."""
    return is_join(node.primitive)


def stacks(node: Node) -> bool:
    """Whether an operation puts several arrays side by side along a new axis."""
    return joins(node) and node.ndim > np.ndim(node.inputs[0])


def transposes(node: Node) -> bool:
    """Whether an operation puts the axes of an array in another order."""
    return node.primitive is not None and [*node.primitive.defaults] == ["axes"]


def cuts_gradient(node: Node) -> bool:
    """Whether an operation passes a value on unchanged, and no gradient back."""
    found = node.primitive
    return found is not None and [found.scalar] == found.inputs and not any(found.rules)


def contracts(node: Node) -> bool:
    """Whether an operation multiplies arrays and sums the products over shared axes."""
    found = node.primitive
    return found is not None and found.linear == "each" and not found.elementwise


def reduces(node: Node) -> bool:
    """Whether an operation makes one number of all that stand along an axis."""
    return node.primitive is not None and "keepdims" in node.primitive.defaults


def moves(node: Node) -> bool:
    """Whether an operation moves values about and computes none."""
    facts = facts_of(node.primitive)
    if node.primitive is None or node.primitive.scalar is not None or is_result(node):
        return False
    return bool(facts.view or facts.pieces or facts.moves)


def element_of(n: Node) -> int | None:
    """Return which element of the first axis a node takes out of an array; None if it does not."""
    index = index_of(n)
    return index if type(index) is int and takes_part(n) else None
