"""The programs of an ordinary function as lists of values.

What forward and backward compute, and what one leaves for the other.

A `Value` is a node of a traced program, with operations such as softmax replaced by those that they
are made of (so that their elementwise parts can join their neighbours), and equal operations on
equal operands computed once. Nothing is changed otherwise.

Slices, transposes, repetitions and reshapes are no work where another look at the same memory has
their elements. Whether that is so follows from the strides of what they look at, and from nothing
else: a `Layout` says at which place of an array each element of a value is. A reshape for which
there are no such strides (of a transposed value, for example) is a copy, as it is in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..core.primitive import Primitive, Spec
from ..core.tape import Leaf, Node
from ..core.trace import trace
from .lower import COSTLY
from .step import SIMPLER, simpler
from .views import basic, index_parts

# elements below which a loop is left to NumPy: it would be quicker by a few microseconds, and takes
# a second to compile
SMALL = 64


class Layout(NamedTuple):
    """Where the elements of a value are in a flat array.

    The place of the first one, and for each axis how far apart neighbours are.
    """

    offset: int
    strides: tuple[int, ...]


def contiguous(shape: Sequence[int]) -> Layout:
    """That of an array without gaps."""
    strides: list[int] = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return Layout(0, tuple(reversed(strides)))


def spread(layout: Layout, shape: Sequence[int], wanted: Sequence[int]) -> Layout:
    """That of the same elements repeated along new leading axes, and along axes of size 1."""
    lead = len(wanted) - len(shape)
    strides = [
        step if n == m else 0
        for step, n, m in zip(layout.strides, shape, wanted[lead:], strict=True)
    ]
    return Layout(layout.offset, (*[0] * lead, *strides))


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
    layout : Layout
        Where its elements are: of a view in the array of what it looks at (`base`), of another
        value in an array of its own.
    view : bool
        It is another look at the memory of its only input.
    """

    __slots__ = ("dtype", "inputs", "layout", "node", "params", "primitive", "shape", "view")

    def __init__(
        self,
        primitive: Primitive | None,
        inputs: list[Any],
        params: dict[str, Any],
        shape: tuple[int, ...],
        dtype: Any,
        node: Node,
    ) -> None:
        self.primitive, self.inputs, self.params = primitive, inputs, params
        self.shape, self.dtype, self.node = shape, dtype, node
        found: Layout | None = (
            seen_through(self, inputs[0].layout)
            if inputs and isinstance(inputs[0], Value)
            else None
        )
        self.view = found is not None
        self.layout: Layout = found or contiguous(shape)

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


def base(value: Value) -> Value:
    """What a view looks at."""
    while value.view:
        value = value.inputs[0]
    return value


def seen_through(value: Value, layout: Layout) -> Layout | None:
    """Where the elements of an operation's result are if those of its input are so.

    None if it is not another look at them.
    """
    source = value.inputs[0]
    if (
        value.primitive is None
        or source.dtype != value.dtype
        or 0 in value.shape
        or 0 in source.shape
    ):
        return None
    if value.op in ("positive", "stop_gradient"):
        return layout
    if value.op == "transpose":
        return Layout(layout.offset, tuple([layout.strides[a] for a in value.params["axes"]]))
    if value.op == "broadcast_to":
        return spread(layout, source.shape, value.shape)
    if value.op == "getitem":
        return _sliced(value, layout) if basic(value) else None
    return _reshaped(source.shape, value.shape, layout) if value.op == "reshape" else None


def _sliced(value: Value, layout: Layout) -> Layout:
    axes = iter(zip(value.inputs[0].shape, layout.strides, strict=True))
    offset, strides = layout.offset, []
    for part in index_parts(value, value.inputs[0]):
        if part is None:
            strides.append(0)
            continue
        n, step = next(axes)
        if isinstance(part, slice):
            start, _, stride = part.indices(n)
            strides.append(step * stride)
        else:
            start = part % n
        offset += start * step
    return Layout(offset, tuple(strides))


def _reshaped(old: Sequence[int], new: Sequence[int], layout: Layout) -> Layout | None:
    """In the smallest groups of old and new axes with equal numbers of elements, the old ones have to be walked as one, from the last to the first."""
    there = [(n, step) for n, step in zip(old, layout.strides, strict=True) if n != 1]
    wanted = [n for n in new if n != 1]
    steps: list[int] = []
    while wanted:
        n, step = there.pop()
        many = 1
        while many != n:
            if many < n:
                steps.append(step * many)
                many *= wanted.pop()
            else:
                outer, further = there.pop()
                if further != step * n:
                    return None
                n *= outer
    return Layout(layout.offset, tuple([0 if n == 1 else steps.pop() for n in new]))


class Builder:
    """Turns the nodes of programs into values.

    Those of several programs about the same nodes fit together.
    """

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
            # as texts, in which 0.0 is not -0.0, 1 not True
            operands = tuple([i if isinstance(i, Value) else repr(i) for i in inputs])
            key: Any = (node.primitive, operands, params)
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
        large = (
            max(
                (math.prod(i.shape) for i in (*node.inputs, node) if isinstance(i, Node)), default=0
            )
            >= SMALL
        )
        return large and (primitive.body is not None or primitive.name in SIMPLER)

    def _simpler(self, node: Node, inputs: list[Any], out: list[Value], line: Node) -> None:
        numbers = [None if isinstance(i, Node) else i for i in node.inputs]
        made: Any = simpler(node)

        def run(*xs: Any) -> Any:
            values = iter(xs)
            return made(*[next(values) if i is None else i for i in numbers], **node.params)

        program = trace(run, *[Spec(i.shape, i.dtype) for i in node.inputs if isinstance(i, Node)])
        self.known.update(
            zip(program.inputs, [i for i in inputs if isinstance(i, Value)], strict=True)
        )
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
    forward: Sequence[Value],
    backward: Sequence[Value],
    outputs: Iterable[Value],
    gradients: Iterable[Value],
) -> tuple[list[Value], list[Value], dict[Value, Value]]:
    """What the forward program is to leave for the backward one, the whole backward program, and which of its values stand for those of both lists.

    The latter computes some forward values again. Views, and what is cheap to compute from values
    that are there anyway (given ones, matrix products, kept ones), are computed again: in a loop
    that waits for memory that costs nothing, and keeping them would. Everything else that is read
    is kept.
    """
    place = {value: k for k, value in enumerate(forward)}
    results = set(outputs)
    read = {i for v in backward for i in v.sources if i in place}
    there: set[Value] = {v for v in forward if not _again(v)} | results
    keep: set[Value] = {g for g in gradients if g in place}

    # what is known to be computed from what is there, for a value of this size or a larger one
    cheap: dict[Value, int] = {}

    def from_what_is_there(value: Value, size: int) -> bool:
        stack = list(value.sources)
        seen: set[Value] = set()
        while stack:
            v = stack.pop()
            if (
                v in seen
                or v not in place
                or v in there
                or v in keep
                or v.size * 8 <= size
                or cheap.get(v, size + 1) <= size
            ):
                continue
            if not _again(v):
                return False
            seen.add(v)
            stack += v.sources
        cheap.update(dict.fromkeys(seen, size))
        return True

    again: list[Value] = []
    for value in sorted(read, key=place.__getitem__):
        if value.view or (
            _again(value) and value not in results and from_what_is_there(value, value.size)
        ):
            again.append(value)
        else:
            keep.add(value)
    program: list[Value] = []
    wanted = set(again)
    # what the values that are computed again need: kept, or computed again too
    for value in reversed(forward):
        if value in wanted and value not in keep:
            for source in value.sources:
                if source in place and source not in keep:
                    if (
                        (source.view or _again(source))
                        and source not in results
                        and source.size * 8 > value.size
                    ):
                        wanted.add(source)
                    else:
                        keep.add(source)
    kept = sorted(keep, key=place.__getitem__)
    names = {v: Value(None, [], {}, v.shape, v.dtype, v.node) for v in kept}
    # made anew: other values are there to look at
    for value in [*(v for v in forward if v in wanted and v not in keep), *backward]:
        inputs = [names.get(i, i) if isinstance(i, Value) else i for i in value.inputs]
        names[value] = copy = Value(
            value.primitive, inputs, value.params, value.shape, value.dtype, value.node
        )
        program.append(copy)
    return kept, program, names


def _again(value: Value) -> bool:
    """Whether it is cheap to compute."""
    return value.view or (
        value.primitive is not None
        and value.primitive.scalar is not None
        and value.op not in COSTLY
    )
