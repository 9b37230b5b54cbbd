"""What of a step is kept for its backward.

What the backward reads, or less from which that is cheap to compute again.

Memory costs more than arithmetic: a number that is kept is written and read again long after, while
a sum or product of numbers that are kept anyway is one more instruction in a loop that reads them.
So sums, products with one operation an element, and slices are computed again, where that does not
make more to be kept; functions such as tanh, reductions and matrix products are not.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from .op import Op
from .views import VIEWS, symbolic

CHEAP = (
    "add",
    "subtract",
    "multiply",
    "neg",
    "zeros_like",
    "maximum",
    "minimum",
    "relu",
    "abs",
    "sign",
)
# operations that are looked at, at most, to find less: of steps with thousands of them the first
# choice stays
WORK = 200_000


def kept(read: Iterable[Op], there: Container[Op]) -> list[Op]:
    """The values to be kept, for what the backward reads of the forward program; `there` are those that it finds in any case."""
    roots = list(read)
    whole: set[Op] = set()  # kept, though they could be computed again
    found, again = _reached(roots, there, whole)
    total = _bytes(found)
    if len(again) * (len(again) + len(found)) > WORK:
        return list(found)
    slices = [
        readers
        for op, readers in found.items()
        if op not in readers and all(r.op == "getitem" and symbolic(r) for r in readers)
    ]
    for group in [*slices, *([op] for op in again)]:
        others, _ = _reached(roots, there, whole | set(group))
        if _bytes(others) < total:
            whole |= set(group)
            found, total = others, _bytes(others)
    return list(found)


def _reached(
    roots: list[Op], there: Container[Op], whole: set[Op]
) -> tuple[dict[Op, list[Op]], list[Op]]:
    """What has to be kept, each with those that read it (itself.

    The backward does), and what is computed again.
    """
    found: dict[Op, list[Op]] = {}
    again: dict[Op, None] = {}
    stack = [(op, op) for op in roots]
    seen: set[tuple[Op, Op]] = set()
    while stack:
        op, reader = stack.pop()
        if (op, reader) in seen or op in there:
            continue
        seen.add((op, reader))
        cheap = (
            op.op in (*VIEWS, "astype")
            or op.dtype.kind == "b"
            or (op.elementwise and op.op in CHEAP)
        )
        if not cheap or op in whole:
            found.setdefault(op, []).append(reader)
        elif op not in again:
            again[op] = None
            stack += [(i, op) for i in op.inputs if isinstance(i, Op) and i.varies]
    return found, list(again)


def _bytes(ops: Iterable[Op]) -> int:
    return sum(op.size * op.dtype.itemsize for op in ops)
