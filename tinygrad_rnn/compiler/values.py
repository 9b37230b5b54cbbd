"""The programs of an ordinary function as lists of values: what forward and backward compute, and what one leaves for the other.

A `Value` is a node of a traced program, with operations such as softmax replaced by those that they are made of (so that their elementwise
parts can join their neighbours), and equal operations on equal operands computed once. Nothing is changed otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Primitive, Spec
from ..core.tape import Leaf, Node
from ..core.trace import trace
from .lower import COSTLY
from .step import SIMPLER, simpler
from .views import VIEWS

SMALL = 64  # elements below which a loop is left to NumPy: it would be quicker by a few microseconds, and takes a second to compile


class Value:
    """One array that a program computes or is given.

    Attributes
    ----------
    primitive : Primitive or None
        None for what is given.
    inputs : list of Value or number
    params : dict
    shape, dtype
    node : Node
        Which it is or belongs to, for source lines; of a constant, with its array.
    view : bool
        It is another look at the memory of its only input.
    """

    __slots__ = ("dtype", "inputs", "node", "params", "primitive", "shape", "view")

    def __init__(self, primitive: Primitive | None, inputs: list[Any], params: dict[str, Any], shape: tuple[int, ...], dtype: Any, node: Node) -> None:
        self.primitive, self.inputs, self.params = primitive, inputs, params
        self.shape, self.dtype, self.node = shape, dtype, node
        self.view = primitive is not None and primitive.name in VIEWS and _is_view(self)

    @property
    def op(self) -> str:
        """The name of the operation."""
        return "given" if self.primitive is None else self.primitive.name.rpartition(".")[2]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def sources(self) -> list[Value]:
        """The inputs that are values."""
        return [i for i in self.inputs if isinstance(i, Value)]

    def __repr__(self) -> str:
        return f"<{self.op} {self.shape} {self.dtype}>"


def given(node: Node) -> Value:
    """The value of an input, a constant or a cotangent."""
    return Value(None, [], {}, node.shape, node.dtype, node)


def look(value: Value, array: Any) -> Any:
    """A view, of an array in place of its input."""
    assert value.primitive is not None
    return value.primitive.forward(array, **value.params)


def _is_view(value: Value) -> bool:
    """Whether NumPy gives a view of a contiguous input, found by trying it."""
    source = value.inputs[0]
    if not isinstance(source, Value) or source.dtype != value.dtype:
        return False
    sample = np.empty(source.shape, source.dtype)
    return bool(sample.size) and np.may_share_memory(look(value, sample), sample)


class Builder:
    """Turns the nodes of programs into values; those of several programs about the same nodes fit together."""

    def __init__(self) -> None:
        self.known: dict[Node, Value] = {}
        self._same: dict[Any, Value] = {}

    def add(self, nodes: Iterable[Node], out: list[Value], line: Node | None = None) -> None:
        """Append the values of these nodes to a list; `line` is the node that they stand for, if they stand for one."""
        for node in nodes:
            inputs = [self.value(i) if isinstance(i, Node) else i for i in node.inputs]
            if self._made_of_others(node):
                self._simpler(node, inputs, out, line or node)
                continue
            value = Value(node.primitive, inputs, node.params, node.shape, node.dtype, line or node)
            params = repr(list(node.params.values()))
            key: Any = (node.primitive, tuple((type(i), i) for i in inputs), params)
            key = value if "array(" in params else key  # long arrays are not written out
            before = self._same.setdefault(key, value)
            self.known[node] = before
            if before is value:
                out.append(value)

    def value(self, node: Node) -> Value:
        """That of a node; of a leaf that was not given it is a constant."""
        if node not in self.known:
            assert isinstance(node, Leaf)
            self.known[node] = given(node)
        return self.known[node]

    def _made_of_others(self, node: Node) -> bool:
        primitive = node.primitive
        large = max((math.prod(i.shape) for i in (*node.inputs, node) if isinstance(i, Node)), default=0) >= SMALL
        return large and (primitive.body is not None or primitive.name in SIMPLER)

    def _simpler(self, node: Node, inputs: list[Any], out: list[Value], line: Node) -> None:
        numbers = [None if isinstance(i, Node) else i for i in node.inputs]
        made: Any = simpler(node)

        def run(*xs: Any) -> Any:
            values = iter(xs)
            return made(*[next(values) if i is None else i for i in numbers], **node.params)

        program = trace(run, *[Spec(i.shape, i.dtype) for i in node.inputs if isinstance(i, Node)])
        self.known.update(zip(program.inputs, [i for i in inputs if isinstance(i, Value)], strict=True))
        self.add(program.nodes, out, line)
        self.known[node] = self.value(program.outputs[0])


def alive(values: Sequence[Value], outputs: Iterable[Value]) -> list[Value]:
    """Those of the values that the outputs depend on."""
    wanted = set(outputs)
    for value in reversed(values):
        if value in wanted:
            wanted.update(value.sources)
    return [v for v in values if v in wanted]


def divide(
    forward: Sequence[Value], backward: Sequence[Value], outputs: Iterable[Value], gradients: Iterable[Value]
) -> tuple[dict[Value, Value], list[Value]]:
    """What the forward program is to leave for the backward one, with what stands for it there, and the whole backward program.

    The latter computes some forward values again. Views, and what is cheap to compute from values that are there anyway (given ones, matrix products, kept ones), are computed again: in
    a loop that waits for memory that costs nothing, and keeping them would. Everything else that is read is kept.
    """
    place = {value: k for k, value in enumerate(forward)}
    results = set(outputs)
    read = {i for v in backward for i in v.sources if i in place}
    there: set[Value] = {v for v in forward if not _again(v)} | results
    keep: set[Value] = {g for g in gradients if g in place}

    def from_what_is_there(value: Value, size: int) -> bool:
        stack = list(value.sources)
        while stack:
            v = stack.pop()
            if v not in place or v in there or v in keep or v.size * 8 <= size:
                continue
            if not _again(v):
                return False
            stack += v.sources
        return True

    again: list[Value] = []
    for value in sorted(read, key=place.__getitem__):
        if value.view or (_again(value) and value not in results and from_what_is_there(value, value.size)):
            again.append(value)
        else:
            keep.add(value)
    program: list[Value] = []
    wanted = set(again)
    for value in reversed(forward):  # what the values that are computed again need: kept, or computed again too
        if value in wanted and value not in keep:
            for source in value.sources:
                if source in place and source not in keep:
                    if (source.view or _again(source)) and source not in results and source.size * 8 > value.size:
                        wanted.add(source)
                    else:
                        keep.add(source)
    kept = {v: Value(None, [], {}, v.shape, v.dtype, v.node) for v in sorted(keep, key=place.__getitem__)}
    names = dict(kept)
    for value in forward:
        if value in wanted and value not in keep:
            names[value] = copy = Value(value.primitive, _renamed(value, names), value.params, value.shape, value.dtype, value.node)
            program.append(copy)
    for value in backward:
        value.inputs = _renamed(value, names)
    return kept, [*program, *backward]


def _renamed(value: Value, names: dict[Value, Value]) -> list[Any]:
    return [names.get(i, i) if isinstance(i, Value) else i for i in value.inputs]


def _again(value: Value) -> bool:
    """Whether it is cheap to compute."""
    return value.view or (value.primitive is not None and value.primitive.scalar is not None and value.op not in COSTLY)


