"""What the pictures know of single operations.

Everything else in this folder asks an operation's entry (`core.primitive.Primitive`). What stands
here are facts that the entries do not state yet: this is the only file of the folder in which
operations have names.
"""

from __future__ import annotations

import numpy as np

from ..core.tape import Node
from ..recurrent.checkpoint import CHECKPOINT

# signs in place of names, in the labels of boxes
SYMBOLS = {
    "add": "+",
    "subtract": "\N{MINUS SIGN}",
    "multiply": "\N{MULTIPLICATION SIGN}",
    "divide": "\N{DIVISION SIGN}",
    "sigmoid": "\N{GREEK SMALL LETTER SIGMA}",
}
# operations that are written as expressions of their inputs, in tooltips and in the explorer
FORMULAS = {"matmul": "a @ b", "getitem": "x[index]"}
# what the rules of operations that move values about do
RULES_IN_WORDS = {
    "sum": "Every element that was summed gets the gradient of the sum.",
    "mean": "Every element gets the gradient of the mean, divided by their number.",
    "getitem": "Zeros, with g at the places that were taken.",
    "stack": "The part of g at the place where this input stands.",
    "concatenate": "The part of g at the place where this input stands.",
    "part": "Zeros, with g at the places that were taken.",
    "transpose": "The axes back in their old order.",
    "reshape": "The same numbers in the shape of x.",
    "broadcast_to": "g, summed over the axes along which x was spread.",
    "take": "Zeros, to which each row of g is added at the index that it was taken from.",
    "checkpoint": "The stretch is run again, recorded, and walked back.",
}
# operations that move values about and compute none, as far as they have the colour of these
MOVING = frozenset(
    [
        "reshape",
        "transpose",
        "broadcast_to",
        "concatenate",
        "stack",
        "roll",
        "pad",
        "tril",
        "triu",
        "getitem",
        "scatter",
        "setitem",
        "take",
        "index_add",
        "take_along_axis",
        "add_along_axis",
        "one_hot",
    ]
)
# the parameter in which an operation that runs a piece of the user's code again holds that piece
PIECE = "stretch"


def symbol(node: Node) -> str:
    """Return the sign for an operation in the label of a box; its name, if it has no sign."""
    return SYMBOLS.get(node.primitive.name, node.op)


def is_power(node: Node) -> bool:
    """Whether an operation is written as its first input with the second one as exponent."""
    return node.op == "power"


def takes_part(node: Node) -> bool:
    """Whether an operation takes out the part of an array that its parameter `index` names."""
    found = node.primitive
    return found is not None and len(found.inputs) == 1 and [*found.defaults] == ["index"]


def joins(node: Node) -> bool:
    """Whether an operation puts several arrays side by side, along a new axis or an old one."""
    found = node.primitive
    return found is not None and found.variadic and [*found.defaults] == ["axis"]


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
    return node.op in MOVING


def is_checkpoint(node: Node) -> bool:
    """Whether a node is a piece of code whose steps backward runs again."""
    return node.primitive is CHECKPOINT


def is_compiled(node: Node) -> bool:
    """Whether a node is a piece of code that ran compiled: a sequence or a function."""
    return PIECE in node.params and not is_checkpoint(node)


def is_sequence(node: Node) -> bool:
    """Whether a node is a cell that ran compiled over a whole sequence."""
    return node.op == "unroll"


def is_result(node: Node) -> bool:
    """Whether a node takes one result out of the vector of all results of a piece of code."""
    return "begin" in node.params
