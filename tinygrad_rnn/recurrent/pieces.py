"""Nodes that stand for a piece of the user's code: what ran compiled, and what backward runs again."""

from __future__ import annotations

from ..core.tape import Node
from .checkpoint import CHECKPOINT

# the parameter in which an operation that runs a piece of the user's code again holds that piece
PIECE = "segment"


def is_piece(node: Node) -> bool:
    """Whether a node stands for a piece of code."""
    return PIECE in node.params


def is_checkpoint(node: Node) -> bool:
    """Whether a node is a piece of code whose steps backward runs again."""
    return node.primitive is CHECKPOINT


def is_compiled(node: Node) -> bool:
    """Whether a node is a piece of code that ran compiled: a sequence or a function."""
    return is_piece(node) and not is_checkpoint(node)


def is_sequence(node: Node) -> bool:
    """Whether a node is a cell that ran compiled over a whole sequence."""
    return is_piece(node) and node.params[PIECE].of_sequence


def is_result(node: Node) -> bool:
    """Whether a node takes one result out of the vector of all results of a piece of code."""
    return "begin" in node.params
