"""One text for arrays of all sizes: sizes, strides and numbers become arguments of a function."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from . import ir
from .linear import Linear

SHORT = 64  # innermost loops of at most this many elements have their length in the text
PLAIN = (
    0.0,
    0.5,
    1.0,
    2.0,
    3.0,
    4.0,
    math.inf,
)  # numbers that stand in the text, with their negatives


class Lifted:
    """A function whose sizes and numbers are arguments, and the values of these arguments.

    Attributes
    ----------
    function : Function
    sizes : array of int64
    numbers : array of the module's dtype
    """

    def __init__(self, function: ir.Function, dtype: np.dtype[Any]) -> None:
        self._sizes: dict[Any, tuple[str, int]] = {}
        self._numbers: dict[float, str] = {}
        body = tuple(self._statement(s) for s in function.body)
        names = tuple(name for name, _ in self._sizes.values())
        self.function = dataclasses.replace(
            function, body=body, size_table=names, number_table=tuple(self._numbers.values())
        )
        self.sizes = np.array([n for _, n in self._sizes.values()], np.int64)
        with np.errstate(over="ignore"):  # in float32 a large number is infinite
            self.numbers = np.array(list(self._numbers), dtype)

    def _size(self, key: Any, value: int) -> str:
        """Return the name of a size; those of other places have other names, also if they are equal."""
        key = (key, value)
        if key not in self._sizes:
            self._sizes[key] = f"n{len(self._sizes)}", value
        return self._sizes[key][0]

    def _place(self, access: ir.Access) -> ir.Access:
        found = Linear()
        for names, n in access.place.terms:
            if n == 1 and names:
                found = found + Linear(((names, 1),))
            else:
                found = found + Linear.of(self._size((access.array.name, names), n)) * _of(names)
        return ir.Access(access.array, found)

    def _statement(self, s: ir.Statement) -> ir.Statement:
        if isinstance(s, ir.Loop):
            stop, n = s.stop, s.stop.constant
            if n is not None and (n > SHORT or s.kind is not ir.LoopKind.LANES):
                stop = Linear.of(self._size(("loop", s.index), n))
            return dataclasses.replace(s, stop=stop, body=tuple(self._statement(b) for b in s.body))
        if isinstance(s, ir.Buffer):
            n = s.length.constant
            assert n is not None
            return dataclasses.replace(s, length=Linear.of(self._size(("buffer", s.array.name), n)))
        if isinstance(s, ir.Load):
            return dataclasses.replace(s, access=self._place(s.access))
        if isinstance(s, (ir.Store, ir.Accumulate)):
            return dataclasses.replace(s, access=self._place(s.access), value=self._scalar(s.value))
        assert isinstance(s, (ir.Let, ir.Set))
        return dataclasses.replace(s, value=self._scalar(s.value))

    def _scalar(self, value: ir.Scalar) -> ir.Scalar:
        if isinstance(value, ir.Apply):
            return ir.Apply(value.function, tuple(self._scalar(v) for v in value.inputs))
        if isinstance(value, ir.Convert):
            return dataclasses.replace(value, value=self._scalar(value.value))
        if not isinstance(value, ir.Number) or value.kind is not ir.Kind.FLOAT:
            return value
        number = float(value.value)
        if abs(number) in PLAIN or number != number:
            return value
        return ir.Var(self._numbers.setdefault(number, f"c{len(self._numbers)}"))


def _of(names: tuple[str, ...]) -> Linear:
    return Linear(((names, 1),))
