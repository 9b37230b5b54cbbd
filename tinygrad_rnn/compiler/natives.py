"""What a straight program calls besides loops of its own, and where its values stand; see `straight.py`."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Array
from ..kernels import products
from ..kernels.table import Call, Inside, Place
from ..ops.as_code import behind
from .calls import CompiledFunction
from .layout import base, layout_of
from .marshal import inner_dtype
from .program import constant_of
from .value import Given, Value

LINE = 64  # bytes at which values begin
ENOUGH = 1 << 20  # multiplications of a sequence from which on a second thread is worth while


class Unfit(Exception):
    """A program cannot be one call; the message says why."""


class Native(abc.ABC):
    """A call of a function that is no loop of the program's own module.

    Attributes
    ----------
    reads : list of Value
        Their arrays have no gaps.
    makes : list of Value
        Given to the rest of the program.
    """

    def __init__(self, reads: list[Value], makes: list[Value]) -> None:
        self.reads, self.makes = reads, makes

    @abc.abstractmethod
    def calls(self, memory: Memory) -> list[Call]:
        """Return the calls, when it is known where everything stands."""

    def phases(self, memory: Memory) -> list[list[list[Call]]]:
        """Return the calls one phase after the other: in each, those of threads that share it."""
        return [[self.calls(memory)]]

    @abc.abstractmethod
    def described(self, line_of: Callable[[Value], str]) -> str:
        """Say what it computes; `line_of` gives the place in the user's code."""


class Memory:
    """Where values stand: in what the program is given, in constants, or in its own memory.

    Parameters
    ----------
    given : mapping of Value to int
        The numbers of the arrays that the program is given.
    block : int
        The number of the array that is its own memory.
    inside : mapping of Value to (Value, int)
        Values that stand in others, with the byte where they begin.
    """

    def __init__(
        self, given: Mapping[Value, int], block: int, inside: Mapping[Value, tuple[Value, int]]
    ) -> None:
        self.inside = inside
        self.seen: dict[Value, tuple[Value, int]] = {}
        self.places: dict[Value, Any] = {v: Place(k) for v, k in given.items()}
        self.block, self.size = block, 0
        self.held: list[Array] = []  # constants whose addresses are in the table

    def room(self, size: int) -> Place:
        """Return a new place for so many bytes."""
        found = Place(self.block, self.size)
        self.size += -(-size // LINE) * LINE
        return found

    def constant(self, array: Array) -> int:
        """Return the address of an array that stays as it is."""
        array = np.ascontiguousarray(array)
        self.held.append(array)
        return int(array.ctypes.data)

    def of(self, value: Value) -> Any:
        """Return where the array of a value begins, which is no view."""
        if value not in self.places:
            if value in self.inside:
                whole, begin = self.inside[value]
                self.places[value] = behind(self.of(whole), begin)
            elif value.given is Given.CONSTANT:
                array = np.asarray(constant_of(value), inner_dtype(value))
                self.places[value] = self.constant(array)
            else:
                self.places[value] = self.room(value.size * inner_dtype(value).itemsize)
        return self.places[value]

    def look(self, values: Iterable[Value]) -> None:
        """Find where values begin that have no gaps; they may be views.

        This is before loops are made of the program, which changes what a value is a view of.
        """
        for v in values:
            begin = layout_of(v).offset.constant
            assert begin is not None
            self.seen[v] = base(v), begin * inner_dtype(v).itemsize

    def at(self, value: Value) -> Any:
        """Return where a value begins that was looked at."""
        source, begin = self.seen[value]
        return behind(self.of(source), begin)


def is_whole(value: Value) -> bool:
    """Whether a value has no gaps."""
    step = 1
    strides = [s.constant for s in layout_of(value).strides]
    for n, stride in zip(reversed(value.shape), reversed(strides), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True


# --- matrix products ------------------------------------------------------------------------------


class Side(NamedTuple):
    """A matrix in memory: rows, columns, and how far they are apart."""

    value: Value
    rows: int
    columns: int
    row: int
    column: int

    @property
    def in_order(self) -> bool:
        """Whether its rows stand one behind the other, without gaps."""
        return (self.column == 1 or self.columns == 1) and (
            self.row == self.columns or self.rows == 1
        )


class Product(Native):
    """left (M, K) @ right (K, N)."""

    def __init__(self, left: Side, right: Side, out: Value) -> None:
        super().__init__([left.value, right.value], [out])
        self.left, self.right, self.out = left, right, out
        self.work = left.rows * left.columns * right.columns

    def calls(self, memory: Memory) -> list[Call]:
        """See `Native`."""
        dtype, left, right = self.out.dtype, self.left, self.right
        size, M, K, N = dtype.itemsize, left.rows, left.columns, right.columns
        products.library(dtype)
        at = products.addresses()
        found: list[Call] = []
        values = memory.at(right.value)
        if not right.in_order:  # it stands by columns
            there, values = values, memory.room(K * N * size)
            turn = [there, values, 1, N, K, 0, right.column, 0, N]
            found.append(Call(at[products.symbol("transpose", dtype)], False, turn))
        packed = memory.room((M + 16) * K * size)
        pack = [memory.at(left.value), M, K, left.row, left.column, N, packed]
        found.append(Call(at[products.symbol("pack", dtype)], False, pack))
        multiply = [packed, values, memory.of(self.out), K, M, N, 0, 0]
        return [*found, Call(at[products.symbol("multiply", dtype)], False, multiply)]

    def described(self, line_of: Callable[[Value], str]) -> str:
        """See `Native`."""
        left, right = self.left, self.right
        sizes = f"({left.rows}, {left.columns}) @ ({right.rows}, {right.columns})"
        return f"{sizes}{line_of(self.out)}"


# --- sequences ------------------------------------------------------------------------------------


class OverTime(Native):
    """One of the two functions of a compiled sequence, with all that it is given.

    Parameters
    ----------
    name : str
        For readers.
    function : CompiledFunction
    sizes : sequence of int
    own : mapping of str to Value
        Its arrays by their names, of which both functions of a run have some in common.
    caller : mapping of str to Value
        What the caller gives and gets.
    hoisted : list of Value
    makes : list of Value
    """

    def __init__(
        self,
        name: str,
        function: CompiledFunction,
        sizes: Sequence[int],
        own: Mapping[str, Value],
        caller: Mapping[str, Value],
        hoisted: list[Value],
        makes: list[Value],
    ) -> None:
        arrays = [own[name] for name in function.names]
        given = [caller[a.name] for a in function.caller]
        made = set(makes)
        super().__init__([v for v in (*arrays, *given, *hoisted) if v not in made], makes)
        self.name, self.function, self.sizes = name, function, sizes
        self.arrays = [*arrays, *given, *hoisted]
        self.work = sizes[0] * sizes[1] * sum(v.size for v in hoisted)
        assert all(map(is_whole, self.arrays))

    def calls(self, memory: Memory) -> list[Call]:
        """See `Native`."""
        function = self.function
        places = [memory.at(v) for v in self.arrays]
        places += [memory.constant(table) for table in function.tables]
        given = [Inside(places)] if function.packed else places
        return [Call(function.address, True, [*self.sizes, *given])]

    def described(self, line_of: Callable[[Value], str]) -> str:
        """See `Native`."""
        T, batch = self.sizes[0], self.sizes[2]
        rows = self.sizes[1]
        part = f"{rows} of {batch} rows" if rows < batch else f"{batch} rows"
        return f"{self.name}, {T} steps of {part}{line_of(self.makes[0])}"
