"""The arrays of the code for one step, and the names in it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..loops.ir import (
    Access,
    Array,
    Kind,
    Loop,
    LoopKind,
    Number,
    Role,
    Statement,
    Steps,
    Store,
    kind_of,
)
from ..loops.linear import Linear
from .value import Value


class Arrays:
    """Makes arrays and names, and knows what each array is for.

    Parameters
    ----------
    dtype : dtype
        The floating dtype of the module.

    Attributes
    ----------
    names : iterator of int
        Numbers for names: no two functions of a module share one.
    tables : list of (Array, array)
        Arrays of integers that are known when the code is made.
    all_hoisted : dict of (Value, bool) to Array
        What is computed once, and whether it is repeated for each row.
    held : dict of Array to Value
        The value for which an array has room.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.names = itertools.count()
        self.tables: list[tuple[Array, np.ndarray[Any, Any]]] = []
        self.all_hoisted: dict[tuple[Value, bool], Array] = {}
        self.held: dict[Array, Value] = {}

    def new(
        self,
        name: str,
        role: Role,
        value: Value,
        steps: Steps = Steps.ONCE,
        rows: bool | None = None,
    ) -> Array:
        """Return an array with room for a value."""
        by_rows = value.batch is not None if rows is None else rows
        made = Array(name, kind_of(value.dtype, self.dtype), role, value.size, by_rows, steps)
        self.held[made] = value
        return made

    def table(self, places: np.ndarray[Any, Any]) -> Array:
        """Return the array of the code that holds integers; equal ones are one array."""
        for array, known in self.tables:
            if np.array_equal(known, places):
                return array
        array = Array(f"n{len(self.tables)}", Kind.INTEGER, Role.TABLE, places.size)
        self.tables.append((array, np.ascontiguousarray(places, np.int64)))
        return array

    def hoisted(self, value: Value, repeated: bool) -> Array:
        """Return where a value stands that is computed once, or repeated for each row besides."""
        key = (value, repeated)
        if key not in self.all_hoisted:
            role = Role.REPLICATED if repeated else Role.HOISTED
            name = f"{'wide' if repeated else 'c'}{len(self.all_hoisted)}"
            self.all_hoisted[key] = self.new(name, role, value, rows=repeated)
        return self.all_hoisted[key]

    def filled(self, array: Array, begin: Linear, number: float = 0.0) -> list[Statement]:
        """Return the statements that set all elements of one step."""
        lane = f"q{next(self.names)}"
        store = Store(Access(array, begin + lane), Number(number, array.kind))
        return [Loop(lane, array.block, (store,), LoopKind.LANES)]
