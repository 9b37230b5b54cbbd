"""The arrays of the code for one step, and the names in it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..loops import ir
from ..loops.linear import Linear, linears
from .value import Value

SOME = "some"  # the name of the number of steps in a span
# the time of the first step of a span
TIME_OF_FIRST = Linear.of("last") + Linear.of("way") * "first"


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
        self.tables: list[tuple[ir.Array, np.ndarray[Any, Any]]] = []
        self.all_hoisted: dict[tuple[Value, bool], ir.Array] = {}
        self.held: dict[ir.Array, Value] = {}

    def new(
        self,
        name: str,
        role: ir.Role,
        value: Value,
        steps: ir.Steps = ir.Steps.ONCE,
        rows: bool | None = None,
    ) -> ir.Array:
        """Return an array with room for a value."""
        by_rows = value.batch is not None if rows is None else rows
        made = ir.Array(name, ir.kind_of(value.dtype, self.dtype), role, value.size, by_rows, steps)
        self.held[made] = value
        return made

    def table(self, places: np.ndarray[Any, Any]) -> ir.Array:
        """Return the array of the code that holds integers; equal ones are one array."""
        for array, known in self.tables:
            if np.array_equal(known, places):
                return array
        array = ir.Array(f"n{len(self.tables)}", ir.Kind.INTEGER, ir.Role.TABLE, places.size)
        self.tables.append((array, np.ascontiguousarray(places, np.int64)))
        return array

    def hoisted(self, value: Value, repeated: bool) -> ir.Array:
        """Return where a value stands that is computed once, or repeated for each row besides."""
        key = (value, repeated)
        if key not in self.all_hoisted:
            role = ir.Role.REPLICATED if repeated else ir.Role.HOISTED
            name = f"{'wide' if repeated else 'c'}{len(self.all_hoisted)}"
            self.all_hoisted[key] = self.new(name, role, value, rows=repeated)
        return self.all_hoisted[key]

    def filled(
        self, array: ir.Array, begin: Linear, number: float = 0.0, origin: ir.Origin | None = None
    ) -> ir.Statement:
        """Return the loop that sets all elements of one step."""
        lane = f"q{next(self.names)}"
        access, value = ir.Access(array, begin + lane), ir.Number(number, array.kind)
        store = ir.Store(access, value, origin=origin)
        return ir.Loop(lane, array.block, (store,), ir.LoopKind.LANES)

    def copied(
        self,
        value: Value,
        source: ir.Address,
        target: ir.Address,
        *,
        adds: bool = False,
        read: Value | None = None,
    ) -> ir.Statement:
        """Return the loop that stores in one step for a value, or adds, what stands elsewhere.

        `read` is the value that stands there, where that is known.
        """
        lane, name = f"q{next(self.names)}", f"v{next(self.names)}"
        there = ir.Access(source.array, source.place + lane)
        load = ir.Load(name, there, origin=None if read is None else read.origin())
        access = ir.Access(target.array, target.place + lane)
        write = written(value, access, ir.Var(name), adds=adds)
        return ir.Loop(lane, target.array.block, (load, write), ir.LoopKind.LANES)

    def caller(self, name: str, value: Value) -> ir.Array:
        """Return an array of the caller, in which rows come first."""
        return ir.Array(name, ir.kind_of(value.dtype, self.dtype), ir.Role.CALLER, value.size)

    def into(self, source: str, v: Value, target: ir.Address) -> ir.Statement:
        """Return the call that turns rows of a part of the batch into features by rows."""
        given = ir.Address(self.caller(source, v), Linear.of("row") * v.size)
        sizes = (*linears(1, "B", v.size), Linear(), Linear.of(v.size), Linear(), Linear.of("B"))
        return ir.Call("transpose", (given, target, *sizes), origin=v.origin())

    def span_into(self, source: str, v: Value, target: ir.Array) -> ir.Statement:
        """Return the call that does the same for the steps of a span."""
        n, B = v.size, Linear.of("B")
        begin, stride = self.span_of_caller(v)
        given = (ir.Address(self.caller(source, v), begin), ir.Address(target))
        sizes = (*linears(SOME, "B", n), stride, Linear.of(n), B * n, B)
        return ir.Call("transpose", (*given, *sizes), origin=v.origin())

    def span_out(self, target: str, v: Value, source: ir.Array) -> ir.Statement:
        """Return the call that turns the values of a span into rows, for the caller."""
        n, B = v.size, Linear.of("B")
        begin, stride = self.span_of_caller(v)
        given = (ir.Address(source), ir.Address(self.caller(target, v), begin))
        sizes = (*linears(SOME, n, "B"), B * n, B, stride, Linear.of(n))
        return ir.Call("transpose", (*given, *sizes), origin=v.origin())

    @staticmethod
    def span_of_caller(v: Value) -> tuple[Linear, Linear]:
        """Return where the caller has the first step of a span, and how far steps are apart."""
        step = Linear.of("batch") * v.size
        return Linear.of("row") * v.size + TIME_OF_FIRST * step, Linear.of("way") * step

    def out(
        self, target: str, v: Value, source: ir.Address, *, steps: int | str = 1
    ) -> ir.Statement:
        """Return the call that turns features by rows into rows, for the caller, in the order of time.

        Only states stand in the order in which the steps ran.
        """
        n, B, many = v.size, Linear.of("B"), steps == "T"
        to, way = Linear.of("row") * n, Linear.of("batch") * n if many else Linear()
        if many and source.array.role is ir.Role.STATE:
            to, way = to + Linear.of("last") * way, Linear.of("way") * way
        arguments: list[Any] = [
            source,
            ir.Address(self.caller(target, v), to),
            *linears(steps, n, "B"),
            B * n if many else Linear(),
            B,
            way,
            Linear.of(n),
        ]
        return ir.Call("transpose", tuple(arguments), origin=v.origin())


def written(
    value: Value, access: ir.Access, number: ir.Scalar, *, adds: bool = False
) -> ir.Statement:
    """Return the statement that stores a number of a value, or adds it to what stands there."""
    if not adds:
        return ir.Store(access, number, origin=value.origin())
    combine = {"f": "+", "b": "or"}.get(value.dtype.kind, "int_add")
    return ir.Accumulate(access, combine, number, value.dtype, origin=value.origin())
