"""Values as arrays: as the caller has them, rows first, and as the code has them, the batch last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..core.tape import Node
from ..core.tensor import Tensor
from ..loops import ir
from ..loops.expression import BatchNumber
from ..recurrent.captured import owner_of, value_of
from .value import Value


def needed(program: Sequence[Value], ends: Iterable[Value]) -> list[Value]:
    """Return what is computed once, in order, from constants up to these values of a program."""
    wanted: set[Value] = set()
    stack = list(ends)
    while stack:
        v = stack.pop()
        if v not in wanted and v.inputs:
            wanted.add(v)
            stack += v.sources
    return [v for v in program if v in wanted and not v.varies and v.batch is None]


def elements(value: Value, rows: int) -> int:
    """Return how many numbers a value has."""
    return value.size * (rows if value.batch is not None else 1)


def inner_dtype(value: Value) -> np.dtype[Any]:
    """Return in which dtype the code has a value: integers are int64."""
    return np.dtype(np.int64) if value.dtype.kind in "iu" else value.dtype


def has_code(value: Value) -> bool:
    """Return whether code may have a value: its integers are int64, which uint64 does not fit."""
    if value.dtype.kind == "f":
        return value.dtype in ir.FLOATS
    return value.dtype.kind in "iub" and value.dtype != np.uint64


def pack_rows(value: Value, given: Array, steps: bool, lo: int, hi: int, place: Array) -> None:
    """Put some rows of a value where the code has them: flat, the batch last.

    `steps`: whether an axis over the steps stands before those of the value.
    """
    if value.batch is not None:
        given = np.moveaxis(given, value.batch + steps, -1)[..., lo:hi]
    place[: given.size].reshape(given.shape)[...] = given


def unpack_rows(value: Value, values: Array, steps: bool, lo: int, hi: int, place: Array) -> None:
    """Put what the code has into the rows of an array as the caller wants it."""
    if value.batch is not None:
        place = np.moveaxis(place, value.batch + steps, -1)[..., lo:hi]
    place[...] = values[: place.size].reshape(place.shape)


def compute(value: Value, known: Mapping[Value, Any], batch: int) -> Array:
    """Compute an operation that is done once for a whole sequence."""
    assert value.primitive is not None
    inputs = [
        known[i] if isinstance(i, Value) else i.at(batch) if isinstance(i, BatchNumber) else i
        for i in value.inputs
    ]
    return np.asarray(value.primitive.forward(*inputs, **value.params))


def flat(array: Array) -> Array:
    """Return an array in one row; compiled code wants arrays that could be written to."""
    found = array.ravel()
    return found if found.flags.writeable else found.copy()


def owner(node: Node, computed: Mapping[Node, Array]) -> Tensor:
    """Return the tensor that a constant of a recording belongs to.

    A leaf's, with its values as they are now; of one that was computed, with those that it has.
    """
    found = owner_of(node)
    return Tensor(value_of(node, computed), node) if found is None else found
