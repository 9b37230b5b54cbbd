"""One foreign call for a whole program: a table of calls, and the function that makes them.

A program of fixed shapes is a list of calls of compiled loops, each with sizes and addresses that
are known beforehand, except those of the arrays that a call of the program is given. `drive` (in
`driver.py`) takes the table of a program and these arrays: it looks at each array, puts its address
where the table wants it, and makes the calls one after the other, without Python in between.

A table is an array of int64:

- the number of arrays, the place where the calls begin, and the number of calls;
- for each array its rank, the flags and the dtypes that it has to have (bits), the number of places
  for its address, its shape, and each place with the bytes that are added;
- for each call the address of the function, whether its result says that something is wrong, the
  number of its arguments, and these. There are zeros behind them up to a multiple of `EIGHT`: what a
  function is given besides its arguments it does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

EIGHT, MOST = 8, 120  # arguments of a function at most
HEAD = 3  # numbers at the beginning of a table


class Call(NamedTuple):
    """A call of a function.

    Attributes
    ----------
    address : int
    checked : bool
        Whether it returns a number that is 0 if all is well.
    arguments : sequence of int or Place
        Each is a number, or the address of what a `Place` names.
    """

    address: int
    checked: bool
    arguments: Sequence[Any]


class Place(NamedTuple):
    """Bytes of an array that is given: the number of the array, and where in it they begin."""

    array: int
    begin: int = 0


class Inside(NamedTuple):
    """Numbers that stand in the table itself; an argument is then the address of the first."""

    numbers: Sequence[Any]


class Given(NamedTuple):
    """What a given array has to be: without gaps, row by row."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    written: bool


class Table:
    """The calls of a program, to be made with arrays by `driver.make_calls`.

    Parameters
    ----------
    given : sequence of Given
    calls : sequence of Call
    """

    def __init__(self, given: Sequence[Given], calls: Sequence[Call]) -> None:
        from . import native  # here, since without numba there are no tables

        places: list[list[tuple[int, int]]] = [[] for _ in given]
        own: list[tuple[int, int]] = []  # where an address of the table itself goes, and of which
        body: list[int] = []
        inside: list[Any] = []
        head = HEAD + sum(4 + len(g.shape) for g in given)
        calls = [c._replace(arguments=_padded(c.arguments)) for c in calls]
        every = [a for c in calls for a in c.arguments]
        every += [n for a in every if isinstance(a, Inside) for n in a.numbers]
        head += 2 * sum(isinstance(a, Place) for a in every)
        length = head + sum(3 + len(c.arguments) for c in calls)
        for call in calls:
            body += [call.address, int(call.checked), len(call.arguments)]
            for argument in call.arguments:
                if isinstance(argument, Inside):
                    own.append((head + len(body), length + len(inside)))
                    inside += argument.numbers
                    argument = 0
                body.append(_put(argument, head + len(body), places))
        body += [_put(n, length + k, places) for k, n in enumerate(inside)]
        found = [len(given), head, len(calls)]
        for g, several in zip(given, places, strict=True):
            rank, flags, numbers = native.wanted(native.Given(g.dtype, len(g.shape), g.written))
            found += [rank, flags, numbers, len(several), *g.shape]
            for place, begin in several:
                found += [place, begin]
        assert len(found) == head
        self.numbers = np.array([*found, *body], np.int64)
        self.own = own

    def copy(self) -> np.ndarray[Any, Any]:
        """Return a table of its own for one call at a time."""
        found = self.numbers.copy()
        begin = found.ctypes.data
        for place, inside in self.own:
            found[place] = begin + 8 * inside
        return found


def _padded(arguments: Sequence[Any]) -> list[Any]:
    assert len(arguments) <= MOST
    return [*arguments, *[0] * (-len(arguments) % EIGHT)]


def _put(argument: Any, place: int, places: list[list[tuple[int, int]]]) -> int:
    if isinstance(argument, Place):
        places[argument.array].append((place, argument.begin))
        return 0
    return int(argument)
