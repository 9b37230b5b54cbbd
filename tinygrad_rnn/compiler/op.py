"""An operation of a recorded step, in which the batch has a name."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from ..core.errors import TinygradError
from ..core.tape import Node
from .effects import B
from .value import CompileError, own_faults

# of the two batches; a size that is 11 in one recording and 13 in the other is the batch's
SIZES = (11, 13)

Size = Any  # an int, or B


class Op:
    """A node of one step.

    Attributes
    ----------
    op : str
        The primitive's name; "x", "state", "fixed", "constant", "cotangent" for what is given.
    inputs : list of Op or number
    params : dict
    shape : tuple of int or B
    dtype : dtype
    batch : int or None
        Which axis is the batch.
    features : tuple of int
        The sizes of the other axes.
    size : int
        Elements of one row.
    node : Node
        Of the first recording: for names, lines and values of constants.
    groups : list of list of int, or None
        Where an axis of the node is made of several axes of the op: see `merged.py`.
    varies : bool
        It depends on what changes from step to step; otherwise it is computed once for a whole
        sequence.
    """

    __slots__ = (
        "batch",
        "dtype",
        "features",
        "groups",
        "inputs",
        "node",
        "op",
        "params",
        "place",
        "shape",
        "size",
        "varies",
    )

    def __init__(
        self,
        op: str,
        node: Node,
        shape: tuple[Size, ...],
        inputs: list[Any],
        params: dict[str, Any],
    ) -> None:
        self.op, self.node, self.shape, self.inputs, self.params = op, node, shape, inputs, params
        self.dtype = node.dtype
        self.place = 0
        self.batch: int | None = shape.index(B) if B in shape else None
        self.features = tuple(n for n in shape if n != B)
        self.size: int = math.prod(self.features)
        self.groups: list[list[int]] | None = None
        self.varies: bool = op in ("x", "state", "fixed", "cotangent") or any(
            isinstance(i, Op) and i.varies for i in inputs
        )

    @property
    def elementwise(self) -> bool:
        """Whether its primitive has a scalar expression."""
        return (
            self.op == self.node.op
            and self.node.primitive is not None
            and self.node.primitive.scalar is not None
        )

    def __repr__(self) -> str:
        return f"<{self.op} {'x'.join(map(str, self.shape))}>"
