"""Whether a recorded step serves a batch of another size.

Python code may do something else with one row, so each size is checked at its first use, by another
recording.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.tape import Node
from ..core.tensor import Tensor
from ..core.trace import Program
from ..ops.reductions import sum as total
from ..ops.shaping import BROADCAST_TO, RESHAPE
from ..recurrent.captured import owner_of
from .recording import constants, record
from .sizes import PROBE_BATCHES, numbers_of
from .step import StepProgram
from .value import CompileError


def check_batch(
    step: StepProgram,
    cell: Any,
    x: Any,
    state: Any,
    rows: Sequence[bool],
    lent: Sequence[Tensor],
    batch: int,
) -> None:
    """Raise a CompileError if the cell does something else with so many rows than what was recorded.

    The arguments are those of `StepProgram`.
    """
    if batch in step.batches:
        return
    found = record(cell, x, state, step.name, rows, lent, batch)
    one, two = step.recorded
    same = [id(_owner(n)) for n in one.captured] == [id(_owner(n)) for n in found.captured]
    different = (
        _different(one.program, two.program, found.program, batch)
        if same
        else "it uses other tensors from outside"
    )
    if not different and batch > 1:
        different = _different(one.backward, two.backward, found.backward, batch)
    elif not different:  # what is spread over rows need not be summed over one
        of_one, of_many = (
            [n.op for n in r.backward.nodes if n.primitive not in SPREADING] for r in (found, one)
        )
        different = "" if of_one == of_many else "its backward has other operations"
    if different:
        raise CompileError(
            f"the step of '{step.name}' does with a batch of {batch} something else than with {PROBE_BATCHES[0]} and {PROBE_BATCHES[1]} rows, with which it was recorded to "
            f"serve any: {different}. Python code that decides by the size of the batch is not compiled"
        )
    step.batches.add(batch)


def _owner(node: Node) -> Any:
    """The tensor that a leaf is of, which has a new leaf for other values.

    Of other nodes the node itself.
    """
    found = owner_of(node)
    return node if found is None else found


# what spreads a gradient over rows, or sums it over them
SPREADING = (total.primitive, RESHAPE, BROADCAST_TO)


def _different(one: Program, two: Program, found: Program, batch: int) -> str:
    """In what a recording with another size of the batch differs from what two others lead to expect; empty if in nothing."""
    programs = (one, two, found)
    read = [constants(p) for p in programs]
    for a, b, c in zip(*read, strict=False):
        if not _fits(a.shape, b.shape, c.shape, batch) or a.dtype != c.dtype:
            return f"a constant of shape {c.shape}{c.where.described()}"
        if isinstance(_owner(c), Tensor) and _owner(a) is _owner(c):
            continue  # a parameter, which may have other values by now
        alike = a.shape == b.shape
        expected = (
            a.value
            if alike
            else a.value.take(
                [0],
                next(k for k, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n),
            )
        )
        if not np.array_equal(
            np.broadcast_to(expected, c.shape), c.value, equal_nan=c.dtype.kind == "f"
        ):
            return f"a constant of shape {c.shape} has other values{c.where.described()}"
    places = [
        {n: k for k, n in enumerate([*p.inputs, *leaves_, *p.nodes])}
        for p, leaves_ in zip(programs, read, strict=True)
    ]
    for a, b, c in zip(*(p.nodes for p in programs), strict=False):
        if a.op != c.op:
            return f"{c.op} in place of {a.op}{c.where.described()}"
        operands = [
            [(place[i],) if isinstance(i, Node) else i for i in n.inputs]
            for place, n in zip(places, (a, b, c), strict=True)
        ]
        if len(a.inputs) != len(c.inputs) or any(
            (type(m) is tuple) != (type(n) is tuple) or (type(m) is tuple and m != n)
            for m, n in zip(operands[0], operands[2], strict=True)
        ):
            return f"{c.op} has other operands{c.where.described()}"
        for m, n, o in [
            *zip(*operands, strict=True),
            (a.shape, b.shape, c.shape),
            *[(a.params[k], b.params[k], v) for k, v in c.params.items()],
        ]:
            if not _fits(m, n, o, batch):
                return f"{c.op} has {_plain(o)} where {_plain(m)} and {_plain(n)} were recorded{c.where.described()}"
    if len(one.nodes) != len(found.nodes) or len(read[0]) != len(read[2]):
        return f"it has {len(found.nodes)} operations in place of {len(one.nodes)}"
    ends = [
        [place.get(o) if isinstance(o, Node) else o for o in p.outputs]
        for place, p in zip(places, programs, strict=True)
    ]
    return "" if ends[0] == ends[2] else "it returns other values"


def _plain(value: Any) -> str:
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else repr(value)


def _fits(m: Any, n: Any, found: Any, batch: int) -> bool:
    """Whether a setting or number is the one that those of two other sizes of the batch lead to expect."""
    if isinstance(m, (tuple, list)):
        return (
            isinstance(found, (tuple, list))
            and len(m) == len(found)
            and all(_fits(*each, batch) for each in zip(m, n, found, strict=True))
        )
    if isinstance(m, slice):
        return isinstance(found, slice) and all(
            _fits(getattr(m, part), getattr(n, part), getattr(found, part), batch)
            for part in ("start", "stop", "step")
        )
    if isinstance(m, np.ndarray):
        return isinstance(found, np.ndarray) and np.array_equal(m, found)
    if type(m) is int and type(n) is int and m != n:
        return type(found) is int and 2 * (found - m) == (n - m) * (batch - PROBE_BATCHES[0])
    if isinstance(m, float) and m != n and not (m != m and n != n):
        return isinstance(found, float) and any(
            math.isclose(s.at(batch), found, rel_tol=1e-12) for s in numbers_of(m, n)
        )
    return type(m) is type(found) and repr(m) == repr(found)
