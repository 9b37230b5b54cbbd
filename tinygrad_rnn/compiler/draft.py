"""A program that is being put together of values and native functions; see `straight.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.tape import Leaf
from ..core.tensor import Tensor
from ..loops import ir
from ..loops.expression import BatchNumber
from ..ops.custom import READS
from ..ops.facts import facts_of
from ..ops.linear import matmul
from ..ops.shaping import RESHAPE, TRANSPOSE
from .contracted import CONTRACT
from .fusion import reduction_axes
from .layout import layout_of
from .natives import Native, Product, Side, Unfit, is_whole
from .prepare import copy_of
from .program import Builder, decomposition, made_of
from .value import Given, Value


class Draft:
    """Values and native functions, in order, to which others are appended.

    Attributes
    ----------
    order : list of Value or Native
    known : dict of Value to Value
        What values of the program as it was recorded are here.
    inside : dict of Value to (Value, int)
        Values that stand in others, with the byte where they begin.
    tensors : list of Tensor
        Whose arrays are given besides the inputs, as they are at a call; `held_by` are their values.
    """

    def __init__(self) -> None:
        self.order: list[Value | Native] = []
        self.known: dict[Value, Value] = {}
        self.inside: dict[Value, tuple[Value, int]] = {}
        self.tensors: list[Tensor] = []
        self.held_by: list[Value] = []

    def given(self, v: Value) -> Value:
        """Return a value that is given and is like another."""
        return Value(None, [], {}, v.shape, v.node, dtype=v.dtype, given=Given.INPUT)

    def of(self, value: Value) -> Value:
        """Return what a value of the recorded program is here."""
        if value not in self.known:
            if not value.leaf:
                self.known[value] = self.made(value)
            else:
                kind = Given.CONSTANT
                made = Value(None, [], {}, value.shape, value.node, dtype=value.dtype, given=kind)
                self.known[value] = made
        return self.known[value]

    def made(self, v: Value) -> Value:
        """Append what computes a value of the recorded program, and return it."""
        return self.clone(v, self.known)

    def inputs_of(self, v: Value) -> list[Value]:
        """Return the values that one reads, as they are here."""
        return [self.of(i) for i in v.sources]

    def clone(self, v: Value, known: Mapping[Value, Value], batch: int = 0) -> Value:
        """Append a value that is like one of another program, of whose values some are known.

        `batch` is the size of the batch, where its inputs depend on that.
        """
        inputs: list[Any] = []
        for i in v.inputs:
            if isinstance(i, Value):
                inputs.append(known[i] if i in known else self.of(i))
            else:
                inputs.append(i.at(batch) if isinstance(i, BatchNumber) else i)
        if v.primitive in (matmul.primitive, CONTRACT):
            return self._product(v, inputs)
        if facts_of(v.primitive).left_to_numpy:
            raise Unfit(f"{v.op} is left to NumPy")
        if v.primitive is v.node.primitive and decomposition(v.node) is not None:
            return self._made_of(v, [i for i in inputs if isinstance(i, Value)])
        return self.computed(v.primitive, inputs, v.params, v.shape, v)

    def _made_of(self, v: Value, inputs: Sequence[Value]) -> Value:
        """Append what a value is made of: Python has small ones as one operation."""
        if v.node.primitive in READS:
            raise Unfit(f"{v.op} may be another function at each call")
        made, parts = made_of(v.node), list[Value]()
        builder = Builder()
        builder.known.update(zip(made.inputs, inputs, strict=True))
        builder.add(made.nodes, parts)
        known: dict[Value, Value] = {i: i for i in inputs}
        for part in parts:
            known[part] = self.clone(part, known)
        output = builder.value(made.outputs[0])
        return known[output] if output in known else self.of(output)

    def computed(
        self,
        primitive: Any,
        inputs: list[Any],
        params: Mapping[str, Any],
        shape: Sequence[int],
        like: Value | None = None,
    ) -> Value:
        """Append a value that an operation computes."""
        like = like or next(i for i in inputs if isinstance(i, Value))
        made = Value(primitive, inputs, dict(params), shape, like.node, dtype=like.dtype)
        if 0 in made.shape:
            raise Unfit(f"{made.op} without elements")
        facts = facts_of(primitive)
        if facts.reduction is not None:
            one = all(inputs[0].shape[axis] == 1 for axis in reduction_axes(made))
            if one and inputs[0].dtype == made.dtype:
                return self.reshaped(inputs[0], shape)
            if made.dtype.kind != "f" or inputs[0].dtype.kind != "f":
                raise Unfit(f"{made.op} of {inputs[0].dtype}")
        if (facts.scan or facts.extreme) and not inputs[0].shape:
            raise Unfit(f"{made.op} of a number")
        self.order.append(made)
        return made

    def reshaped(self, value: Value, shape: Sequence[int]) -> Value:
        """Return a value in another shape."""
        if value.shape == tuple(shape):
            return value
        return self.computed(RESHAPE, [value], {"shape": tuple(shape)}, shape)

    def transposed(self, value: Value, axes: Sequence[int]) -> Value:
        """Return a value with its axes in another order."""
        shape = [value.shape[a] for a in axes]
        return self.computed(TRANSPOSE, [value], {"axes": tuple(axes)}, shape)

    def whole(self, value: Value) -> Value:
        """Return a value without gaps: itself, or a copy."""
        if is_whole(value):
            return value
        copy = copy_of(value)
        self.order.append(copy)
        return copy

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
        """Return zeros."""
        held = Leaf(np.zeros(shape, dtype))
        return Value(None, [], {}, shape, held, dtype=dtype, given=Given.CONSTANT)

    def held(self, owner: Tensor, v: Value) -> Value:
        """Return the value of a tensor, as it is at a call."""
        made = self.given(v)
        self.tensors.append(owner)
        self.held_by.append(made)
        return made

    # --- products ---------------------------------------------------------------------------------

    def _product(self, v: Value, given: Sequence[Value]) -> Value:
        a, b = given
        if a.dtype != v.dtype or b.dtype != v.dtype or v.dtype not in ir.FLOATS:
            raise Unfit(f"{v.op} of {a.dtype} and {b.dtype}")
        if v.primitive is CONTRACT:
            rank = len(a.shape)
            a = self.transposed(a, (rank - 2, *range(rank - 2), rank - 1))
            left, right = (a.shape[0], a.size // a.shape[0]), (b.size // b.shape[-1], b.shape[-1])
        else:
            if len(b.shape) > 2 or not a.shape or not b.shape:
                raise Unfit(f"{v.op} of {a.shape} and {b.shape}")
            right = b.shape if len(b.shape) == 2 else (b.shape[0], 1)
            left = (a.size // a.shape[-1], a.shape[-1])
        out = Value(None, [], {}, (left[0], right[1]), v.node, dtype=v.dtype, given=Given.RESIDUAL)
        one, other = self._side(a, left), self._side(b, right)
        if not other.in_order and other.row != 1:
            other = self._side(self.whole(b), right)
        self.order.append(Product(one, other, out))
        return self.reshaped(out, v.shape)

    def _side(self, value: Value, shape: tuple[int, int]) -> Side:
        """Return a value as a matrix of this shape; a copy, if it has other gaps than a matrix."""
        found = _steps(value, shape)
        if found is None:
            value = self.whole(value)
            found = shape[1], 1
        return Side(value, *shape, *found)


def _steps(value: Value, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Return how far rows and columns are apart, if a value is seen as a matrix; or None."""
    strides = [s.constant or 0 for s in layout_of(value).strides]
    axes = [(n, s) for n, s in zip(value.shape, strides, strict=True) if n != 1]
    found: list[int] = []
    for wanted in reversed(shape):
        step, size, length = 1, 1, 1
        while size < wanted and axes:
            n, stride = axes.pop()
            if size == 1:
                step = stride
            elif stride != length:
                return None
            size, length = size * n, stride * n
        if size != wanted or step < 0:
            return None
        found.append(step)
    return None if axes else (found[1], found[0])
