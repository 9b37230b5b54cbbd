"""Whether two recordings of a function are the same.

What is drawn or counted inside a function would be the same at each call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import is_
from typing import Any

import numpy as np

from ..core.errors import TraceError
from ..core.tape import Leaf, Node
from ..core.trace import Program
from ..ops.guards import Guards


def check_same(one: Program, two: Program) -> None:
    """Raise a TraceError if two recordings of a function differ."""

    def words(program: Program) -> Iterator[tuple[Node, Any]]:
        """What is done, in order, with each constant where it is first used.

        Nodes by their place in this list.
        """
        known = {n: k for k, n in enumerate(program.inputs)}

        def place(node: Any) -> Iterator[tuple[Node, Any]]:
            if isinstance(node, Leaf) and node not in known:
                known[node] = len(known)
                yield node, node.value

        for node in program.nodes:
            for i in node.inputs:
                yield from place(i)
            yield (
                node,
                (
                    node.op,
                    [known[i] if isinstance(i, Node) else i for i in node.inputs],
                    list(node.params.values()),
                ),
            )
            known[node] = len(known)
        for o in program.outputs:
            yield from place(o)
            yield o, known[o]

    for (a, left), (_, right) in zip(words(one), words(two), strict=False):
        if not _equal(left, right):
            raise TraceError(
                f"tg.jit: a number or an array{a.where.described()} was not the same in two recordings of the function: random numbers of NumPy, the "
                "time, or a count of calls. Hand over what changes from call to call as an argument."
            )
    if len(one.nodes) != len(two.nodes):
        raise TraceError(
            "tg.jit: the function did not do the same in two recordings; it may not depend on how often it was called"
        )


def _equal(a: Any, b: Any) -> bool:
    """Whether two settings are the same.

    Objects that are neither numbers nor arrays count as such.
    """
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is b or (
            type(a) is type(b)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.tobytes() == b.tobytes()
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, slice):
        return _equal((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    return repr(a) == repr(b) or not isinstance(a, (bool, int, float, str, np.generic, np.dtype))


def parts_of(nest: Any) -> list[Any]:
    """Return what a list, tuple or dict holds: of a dict the keys and then the values."""
    return [*nest, *nest.values()] if type(nest) is dict else list(nest)


def same_objects(one: list[Any], two: list[Any]) -> bool:
    """Whether two lists hold the very same objects."""
    return len(one) == len(two) and all(map(is_, one, two))


def check_result(one: Sequence[Any], two: Sequence[Any], what: str) -> None:
    """Raise a TraceError if what is no tensor in a result differs between two recordings, or hides tensors."""
    for a, b in zip(one, two, strict=False):
        if a is None and b is None:
            continue
        found = Guards(a).now().traced()
        if found:
            raise TraceError(
                f"{what} returns tensors inside a {type(a).__name__} ({found}); return them in tuples, lists or dicts"
            )
        if not _equal(a, b):
            raise TraceError(
                f"{what} returned {a!r} in one recording and {b!r} in the other: a recording gives the same at each call"
            )
