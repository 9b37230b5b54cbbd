"""Where the batch stands: in shapes, numbers and parameters of two recordings of one step.

The recordings are for batches of two different sizes, `PROBE_BATCHES`. Where they differ, the size
of the batch is meant.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.tape import Node
from ..loops.expression import BatchNumber
from .value import B, CompileError

# a size that is the first of them in one recording and the second in the other is the batch's
PROBE_BATCHES = (11, 13)


def mixed(node: Node, why: str) -> CompileError:
    """Return the error for what cannot be done with an axis made of the batch and others."""
    return CompileError(
        f"tg.jit: {node.op} mixes the batch with other axes: {why}{node.where.described()}"
    )


def sized(shape: tuple[Any, ...], batch: int) -> tuple[int, ...]:
    """Return a shape with a number in place of B."""
    return tuple([batch if n == B else n for n in shape])


def equal(a: Any, b: Any) -> bool:
    """Whether two arrays are the same to the bit: nan is equal to nan, and -0 is not 0."""
    return bool(a.shape == b.shape and a.tobytes() == b.tobytes())


def shape_of(a: Node, b: Node) -> tuple[Any, ...]:
    """Return the shape of a node, from its nodes in two recordings."""
    return tuple(size_of(m, n, a) for m, n in zip(a.shape, b.shape, strict=True))


def size_of(m: Any, n: Any, node: Node) -> Any:
    """Return a size, or the batch, from the sizes in two recordings."""
    if type(m) is type(n) and m == n:
        return m
    if (m, n) == PROBE_BATCHES:
        return B
    raise mixed(node, f"sizes {m} and {n} for batches of {PROBE_BATCHES}")


def number_of(m: Any, n: Any, node: Node) -> Any:
    """Return a number, or how it depends on the size of the batch."""
    if repr(m) == repr(n):
        return m
    for sized in numbers_of(m, n):
        # of an integer nothing is rounded
        if type(m) is not int or (sized.power == 1 and float(sized.factor).is_integer()):
            return sized
    raise CompileError(
        f"a number in {node.op} was {m} in one recording of the step and {n} in the other: it depends on the size of the batch (recorded with "
        f"{PROBE_BATCHES[0]} and {PROBE_BATCHES[1]} rows), or on how often the step was run; what changes from step to step belongs in the state{node.where.described()}"
    )


def numbers_of(m: float, n: float) -> list[BatchNumber]:
    """What a number may be as a function of the size of the batch, by the two that were recorded."""
    one, two = PROBE_BATCHES
    found = [BatchNumber(m / (one + o) ** p, o, p) for p in (1, -1, 0.5, -0.5) for o in (0, -1)]
    # such as the count less a correction, and its root
    found += [BatchNumber(1.0, m**q - one, 1 / q) for q in (1, 2)]
    return [sized for sized in found if math.isclose(sized.at(two), n, rel_tol=1e-13)]


def param_of(m: Any, n: Any, node: Node) -> Any:
    """Return a parameter of an operation, with the batch in place of its sizes."""
    if isinstance(m, (tuple, list)):
        return type(m)(param_of(a, b, node) for a, b in zip(m, n, strict=True))
    if isinstance(m, slice):
        return slice(
            *(
                param_of(a, b, node)
                for a, b in ((m.start, n.start), (m.stop, n.stop), (m.step, n.step))
            )
        )
    if isinstance(m, np.ndarray):
        if not np.array_equal(m, n):
            raise CompileError(
                f"an index in {node.op} depends on the size of the batch{node.where.described()}"
            )
        return m
    return size_of(m, n, node)


def at_size(value: Any, batch: int) -> Any:
    """Settings of an operation with a number in place of B."""
    if isinstance(value, dict):
        return {k: at_size(v, batch) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(at_size(v, batch) for v in value)
    if isinstance(value, slice):
        return slice(*(at_size(v, batch) for v in (value.start, value.stop, value.step)))
    return batch if isinstance(value, str) and value == B else value
