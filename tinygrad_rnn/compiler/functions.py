"""What the two functions of a sequence are made of, and what they are given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..loops import ir
from .lower import When
from .value import Value

SIZES = ("T", "B", "batch", "row", "last", "way", "span", "one")


def sizes_of(
    T: int, batch: int, lo: int, hi: int, reverse: bool, steps: tuple[int, int] | None = None
) -> tuple[int, ...]:
    """Return the numbers that `SIZES` names, for the rows `lo` to `hi` of a batch.

    `steps`: from which step to which, counted as they run. Default: all.
    """
    rows, (first, stop) = hi - lo, steps or (0, T)
    last, way = (T - 1 - first, -1) if reverse else (first, 1)
    count = stop - first
    return count, rows, batch, lo, last, way, ir.span(count, rows), min(rows, 1)


class FunctionCode(NamedTuple):
    """One of the two functions, and what it is given.

    Attributes
    ----------
    function : Function
    own : list of Array
        Arrays of the code's own: of workspaces.
    caller : list of Array
        Arrays of the caller.
    hoisted : list of (Value, bool)
        What is computed once, and whether it is repeated for each row.
    tables : list of array
        Of integers.
    held : dict of Array to Value
        What arrays have room for, for readers.
    """

    function: ir.Function
    own: list[ir.Array]
    caller: list[ir.Array]
    hoisted: list[tuple[Value, bool]]
    tables: list[np.ndarray[Any, Any]]
    held: dict[ir.Array, Value]


class Around(NamedTuple):
    """What stands around the loop over time, in the order in which it is done.

    Attributes
    ----------
    before : list of Statement
        Before all steps.
    brought, leaving : list of Statement
        Before the steps of each span, and after them.
    after : list of Statement
        After all steps.
    """

    before: list[ir.Statement]
    brought: list[ir.Statement]
    leaving: list[ir.Statement]
    after: list[ir.Statement]


class Turns(NamedTuple):
    """In which arrays the gradients of states are: for which steps, where a step reads and writes."""

    steps: ir.Steps
    read: When
    written: When

    def last(self, T: int) -> int:
        """Return the number of the value that the last of T steps reads."""
        return T if self.steps is ir.Steps.BETWEEN else (T - 1) % 2

    @property
    def first(self) -> int:
        """The number of the value that the first step writes."""
        return int(self.steps is ir.Steps.TWO)
