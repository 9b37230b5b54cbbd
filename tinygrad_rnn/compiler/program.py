"""The program of an ordinary function: its traced nodes as values.

Operations such as softmax are replaced by those that they are made of, so that their elementwise
parts can join their neighbours, and equal operations on equal operands are computed once. Nothing
is changed otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Spec
from ..core.tape import Leaf, Node, at_origin
from ..core.trace import Program, trace
from ..ops.custom import READS
from ..ops.facts import facts_of
from .value import Given, Value

# elements below which a loop is left to NumPy: it would be quicker by a few microseconds, and takes
# a second to compile
SMALL = 64


def given(node: Node, kind: Given = Given.INPUT) -> Value:
    """Return the value of an input, a constant or a cotangent."""
    return Value(None, [], {}, node.shape, node, given=kind)


def decomposition(node: Node, in_steps: bool = False) -> Callable[..., Any] | None:
    """Return what an operation is made of, as a function of tensors; None if it is a simple one.

    `in_steps` asks for what it is made of in the steps of a cell, which call no library.
    """
    facts = facts_of(node.primitive)
    found = (in_steps and facts.in_steps) or facts.decomposition
    if found is None or node.primitive not in READS:
        return found

    def of_one_dtype(*xs: Any, **params: Any) -> Any:
        """Compute what a user's function does, in the dtype that the recording has."""
        y = found(*xs, **params)
        return y.astype(node.dtype) if y.dtype != node.dtype else y

    return of_one_dtype


def made_of(node: Node, in_steps: bool = False) -> Program:
    """Return the program of what an operation is made of, with the numbers that it was given."""
    made: Any = decomposition(node, in_steps)
    numbers = [None if isinstance(i, Node) else i for i in node.inputs]

    def run(*xs: Any) -> Any:
        at_origin(node)
        values = iter(xs)
        return made(*[next(values) if i is None else i for i in numbers], **node.params)

    return trace(run, *[Spec(i.shape, i.dtype) for i in node.inputs if isinstance(i, Node)])


class Builder:
    """Makes values of nodes.

    Parameters
    ----------
    special : callable, optional
        ``special(node, inputs, line, out)`` appends the values that a node stands for, and returns
        that of the node; None for an ordinary one.
    """

    def __init__(self, special: Callable[..., Value | None] | None = None) -> None:
        self._special = special
        self.known: dict[Node, Value] = {}
        self._same: dict[Any, Value] = {}

    def add(self, nodes: Sequence[Node], out: list[Value], line: Node | None = None) -> None:
        """Append the values of these nodes to a list.

        `line` is the node that they stand for, if they stand for one.
        """
        for node in nodes:
            inputs = [self.value(i) if isinstance(i, Node) else i for i in node.inputs]
            special = self._special
            found = None if special is None else special(node, inputs, line or node, out)
            if found is not None:
                self.known[node] = found
                continue
            if self._is_made_of_others(node):
                self._replace(node, inputs, out, line or node)
                continue
            value = Value(
                node.primitive, inputs, node.params, node.shape, line or node, dtype=node.dtype
            )
            before = self._same.setdefault(self._key(value), value)
            self.known[node] = before
            if before is value:
                out.append(value)

    def value(self, node: Node) -> Value:
        """Return the value of a node; a leaf that was not given is a constant."""
        if node not in self.known:
            assert isinstance(node, Leaf)
            self.known[node] = given(node, Given.CONSTANT)
        return self.known[node]

    def _key(self, value: Value) -> Any:
        """Return what two values have in common that are computed once."""
        params = repr(list(value.params.values()))
        if "array(" in params:  # long arrays are not written out
            return value
        # numbers as texts, in which 0.0 is not -0.0, and 1 is not True
        operands = tuple([i if isinstance(i, Value) else repr(i) for i in value.inputs])
        return (value.primitive, operands, params)

    def _is_made_of_others(self, node: Node) -> bool:
        sizes = (math.prod(i.shape) for i in (*node.inputs, node) if isinstance(i, Node))
        # a function of the user's is called anew each time
        if max(sizes, default=0) < SMALL or node.primitive in READS:
            return False
        return decomposition(node) is not None and not facts_of(node.primitive).left_to_numpy

    def _replace(self, node: Node, inputs: list[Any], out: list[Value], line: Node) -> None:
        program = made_of(node)
        values = [i for i in inputs if isinstance(i, Value)]
        self.known.update(zip(program.inputs, values, strict=True))
        self.add(program.nodes, out, line)
        self.known[node] = self.value(program.outputs[0])


def constant_of(value: Value) -> np.ndarray[Any, Any]:
    """Return the array of a constant that a recording holds."""
    assert isinstance(value.node, Leaf)
    return np.asarray(value.node.value, order="C")
