"""Whether a function that is run again does what it did at first.

Backward of a segment has to be that of the function as it ran. The function is run again for it, so
the second run has to do the same as the first: the same operations on the same operands, with the
same numbers, settings and constant arrays. `rows` writes these down for a run, a row for each
operation; steps that do the same share their rows. A constant array is compared by a checksum, so
that it need not be kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from ..core.errors import GraphError
from ..core.record import describe
from ..core.tape import Leaf, Node
from ..core.tensor import Tensor
from ..ops.custom import READS

# the primitive, its operands and settings; for a function of the user's also what it read
Row = tuple[Any, ...]


class Repeatable:
    """Something that is run again in backward, such as a segment within a segment."""

    def did(self) -> Any:
        """Return what it did, to be compared with what another one did."""
        raise NotImplementedError


class Number(tuple[str, ...]):
    """A Python number among the operands, as its type and its text.

    So -0.0 is not 0.0, and 1 is not True.
    """

    __slots__ = ()


class Constant(tuple[Any, ...]):
    """An array, as its shape, dtype and checksum; if it has only one element, also as its text."""

    __slots__ = ()


def rows(nodes: Sequence[Node], given: Sequence[Tensor], outside: Container[Node]) -> list[Row]:
    """Return what a run did: a row for each operation, in the order in which they were made.

    Parameters
    ----------
    nodes : sequence of Node
        The operations of the run.
    given : sequence of Tensor
        What the function was given; in the rows these are called by their place.
    outside : container of Node
        Nodes from before the run; in the rows they stand themselves.
    """
    place = {n: k for k, n in enumerate(nodes)}
    known: dict[Any, Any] = {
        t.node: ("given", k) for k, t in enumerate(given) if t.node is not None
    }
    # by operation and operands, as steps repeat them: the latest, and the same to be compared
    settings: dict[Any, Any] = {}
    made: list[Row] = []
    shared: dict[Row, Row] = {}
    for k, n in enumerate(nodes):
        operands: list[Any] = []
        for i in n.inputs:
            p = place.get(i)
            if p is not None:
                operands.append(k - p)
            elif not isinstance(i, Node):
                operands.append(Number((type(i).__name__, repr(i))))
            else:
                if i not in known:
                    known[i] = (
                        summary(i.value)
                        if isinstance(i, Leaf) and not i.requires_grad and i not in outside
                        else i
                    )
                operands.append(known[i])
        key = (n.primitive, tuple(operands))
        if n.params:
            latest = settings.get(key)
            if latest is None or not _equal(latest[0], n.params):
                latest = settings[key] = (n.params, tuple([_frozen(v) for v in n.params.values()]))
            row: Row = (*key, latest[1])
        else:
            row = (*key, ())
        guards = READS.get(n.primitive)
        if guards is not None:
            row += (guards.now().key,)
        made.append(shared.setdefault(row, row))
    return made


def _equal(one: dict[str, Any], two: dict[str, Any]) -> bool:
    try:
        return one == two
    except ValueError:  # arrays, which are equal element by element
        return False


def check_same(
    first: Sequence[Row], second: Sequence[Row], nodes: Sequence[Node], reads: str
) -> None:
    """Raise a GraphError that says where a second run did something else than the first.

    Parameters
    ----------
    first, second : sequence of Row
        The rows of both runs.
    nodes : sequence of Node
        The operations of the second run.
    reads : str
        What backward does, for the message.
    """
    if first == second:
        return
    for one, two, node in zip(first, second, nodes, strict=False):
        if one != two:
            raise GraphError(_text(_difference(one, two, node), reads))
    end = nodes[-1].where.described() if nodes else ""
    raise GraphError(
        _text(
            f"it made {len(first)} operations in the first run and {len(second)} in the second{end}",
            reads,
        )
    )


def _text(difference: str, reads: str) -> str:
    return (
        f"backward {reads} what it did at first, but {difference}. What it reads must not change before backward: hand over as an argument what does, "
        "draw random numbers outside of it (those of tg.nn are drawn again as they were), or keep the graph (without checkpoint)."
    )


def _difference(one: Row, two: Row, node: Node) -> str:
    name, place = one[0].name.rpartition(".")[2], node.where.described()
    if one[0].name != two[0].name:
        return f"{name} of the first run was {node.op} in the second{place}"
    for k, (a, b) in enumerate(zip(one[1], two[1], strict=False)):
        if a != b:
            return f"operand {k} of {name}{place} was {_shown(a)} in the first run and {_shown(b)} in the second"
    for what, a, b in zip(node.params, one[2], two[2], strict=False):
        if a != b:
            if what == "segment":
                return f"what ran inside {name}{place} was not the same in both runs"
            return f"'{what}' of {name}{place} was {_setting(a)} in the first run and {_setting(b)} in the second"
    return f"what the function of {name}{place} reads is not what it was in the first run"


def _setting(value: Any) -> str:
    return _shown(value) if isinstance(value, (Number, Constant)) else repr(value)


def _shown(value: Any) -> str:
    if isinstance(value, Number):
        return value[1]
    if isinstance(value, Constant):
        shape, dtype, sum_, text = value
        return text or f"an array {dtype}{shape} of checksum {sum_:08x}"
    if isinstance(value, Node):
        return f"the tensor {describe(value)}{value.where.described()}"
    if isinstance(value, tuple) and value and value[0] == "given":
        return f"tensor {value[1]} of its arguments"
    return (
        f"the result of the operation {value} before it" if isinstance(value, int) else repr(value)
    )


def summary(array: Any) -> Constant:
    """Return what stands for an array in a row."""
    data = np.ascontiguousarray(array)
    text = repr(array.item()) if array.size == 1 else ""
    return Constant(
        (
            array.shape,
            str(array.dtype),
            zlib.crc32(data.reshape(-1).view(np.uint8).data) if data.size else 0,
            text,
        )
    )


def _frozen(value: Any) -> Any:
    """Return a setting of an operation in a form that can be compared."""
    kind = type(value)
    if kind in (tuple, list):
        return tuple(map(_frozen, value))
    if kind is slice:
        return (slice, value.start, value.stop, value.step)
    if isinstance(value, np.ndarray):
        return summary(value)
    if isinstance(value, Repeatable):  # a segment inside the segment
        return value.did()
    return Number((kind.__name__, repr(value))) if kind is float else value
