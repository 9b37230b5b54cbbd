"""Loops of a module that are the same but for the arrays they work on, as one function.

Compiling takes a time that grows with the code, and a step that repeats itself (sub-steps of an
integration, a stack of layers of one kind) has the same loops again and again. Two loops are the
same if they are equal with their names numbered in the order in which they occur, and with the
places where their arrays begin as arguments. Arrays are handed over as pointers to their first
elements, which costs a call of a few nanoseconds; so a loop that occurs once, and short ones, stay
where they are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from . import ir
from .linear import Linear

SAVED = 24  # statements that have to be saved at least for a loop to be shared


def shared(module: ir.Module) -> ir.Module:
    """Return a module in which loops that occur several times are functions of their own.

    In a function whose arrays are handed over as addresses all loops become functions: its arrays
    are no arguments, and of arguments alone LLVM is told that they do not overlap. A loop that works on numbers from outside of it, such as the
    sum of a row that is the only one, stays where it is.
    """
    found: dict[Any, list[_Renamed]] = {}
    for function in module.functions:
        for loop in _loops(function.body):
            renamed = _Renamed(loop, function)
            if renamed.closed:
                found.setdefault(renamed.key, []).append(renamed)
    functions: list[ir.Function] = []
    calls: dict[int, ir.Call] = {}
    for several in found.values():
        first = several[0]
        saved = (len(several) - 1) * first.length
        if saved < SAVED and not any(r.function.packed for r in several):
            continue
        name = f"loop{len(functions)}"
        functions.append(first.as_function(name))
        for r in several:
            calls[id(r.loop)] = ir.Call(name, r.arguments, origin=r.loop.origin)
    changed = [dataclasses.replace(f, body=_with_calls(f.body, calls)) for f in module.functions]
    return dataclasses.replace(module, functions=(*functions, *changed))


def _loops(statements: tuple[ir.Statement, ...]) -> list[ir.Loop]:
    """Return the outermost loops of a function, below the loop over time."""
    found: list[ir.Loop] = []
    for s in statements:
        if isinstance(s, ir.Loop):
            found += _loops(s.body) if s.kind is ir.LoopKind.TIME else [s]
    return found


def _with_calls(
    statements: tuple[ir.Statement, ...], calls: dict[int, ir.Call]
) -> tuple[ir.Statement, ...]:
    found: list[ir.Statement] = []
    for s in statements:
        if id(s) in calls:
            found.append(calls[id(s)])
        elif isinstance(s, ir.Loop) and s.kind is ir.LoopKind.TIME:
            found.append(dataclasses.replace(s, body=_with_calls(s.body, calls)))
        else:
            found.append(s)
    return tuple(found)


class _Renamed:
    """A loop with names of its own, and what they stand for."""

    def __init__(self, loop: ir.Loop, function: ir.Function) -> None:
        self.loop, self.function = loop, function
        self.length = sum(1 for _ in ir.walk([loop]))
        self.names: dict[str, str] = {}  # of numbers and indices
        self.arrays: dict[ir.Array, ir.Array] = {}
        self.places: dict[Linear, str] = {}  # where arrays begin, and sizes
        inner = [s for s in ir.walk([loop]) if isinstance(s, (ir.Loop, ir.Load, ir.Let, ir.Define))]
        self.own = {s.index if isinstance(s, ir.Loop) else s.name for s in inner}
        self.body = self._statement(loop)
        every = (n for s in ir.walk([loop]) for value in ir.numbers(s) for n in ir.scalars(value))
        exact = tuple(
            repr(n.value) for n in every if isinstance(n, ir.Number)
        )  # -0.0 is equal to 0.0
        self.key = (self.body, tuple(self.arrays.values()), tuple(self.places.values()), exact)
        self.closed = self.names.keys() <= self.own  # whether all its numbers are its own

    def as_function(self, name: str) -> ir.Function:
        """Return the function that does what the loop does."""
        sizes = tuple(self.places.values())
        assert isinstance(self.body, ir.Loop)
        return ir.Function(
            name, (*sizes, "one"), tuple(self.arrays.values()), (self.body,), inner=True
        )

    @property
    def arguments(self) -> tuple[ir.Array | Linear, ...]:
        """What the function is called with: arrays, and places."""
        return (*self.arrays, *self.places, Linear.of("one"))

    def _name(self, name: str) -> str:
        return self.names.setdefault(name, f"v{len(self.names)}")

    def _array(self, array: ir.Array) -> ir.Array:
        if array not in self.arrays:
            name = f"{array.kind.value.lower()}{len(self.arrays)}"
            self.arrays[array] = ir.Array(name, array.kind, ir.Role.SCRATCH)
        return self.arrays[array]

    def _linear(self, form: Linear) -> Linear:
        """Return a form in which what comes from outside of the loop is one argument."""
        found = outside = Linear()
        for names, n in form.terms:
            inside = [name for name in names if name in self.own]
            if not inside:
                outside = outside + Linear(((names, n),))
                continue
            rest = Linear(((tuple(name for name in names if name not in self.own), n),))
            factor = rest if rest.constant is not None else self._place(rest)
            part = factor
            for name in inside:
                part = part * self._name(name)
            found = found + part
        if not outside:
            return found
        return found + (
            outside if outside.constant is not None and not form.names else self._place(outside)
        )

    def _place(self, form: Linear) -> Linear:
        return Linear.of(self.places.setdefault(form, f"p{len(self.places)}"))

    def _access(self, access: ir.Access) -> ir.Access:
        return ir.Access(self._array(access.array), self._linear(access.place))

    def _scalar(self, value: ir.Scalar) -> ir.Scalar:
        if isinstance(value, ir.Var):
            return ir.Var(self._name(value.name))
        if isinstance(value, ir.Index):
            return ir.Index(self._linear(value.value))
        if isinstance(value, ir.Apply):
            return ir.Apply(value.function, tuple(self._scalar(v) for v in value.inputs))
        if isinstance(value, ir.Convert):
            return dataclasses.replace(value, value=self._scalar(value.value))
        if isinstance(value, ir.SizeNumber):
            place = self._place(Linear.of(value.size))
            return dataclasses.replace(value, size=str(place))
        assert isinstance(value, ir.Number)
        return value

    def _statement(self, s: ir.Statement) -> ir.Statement:
        if isinstance(s, ir.Loop):
            start, stop = self._linear(s.start), self._linear(s.stop)
            index, body = self._name(s.index), tuple(self._statement(b) for b in s.body)
            return dataclasses.replace(s, index=index, start=start, stop=stop, body=body)
        if isinstance(s, ir.Load):
            access = self._access(s.access)
            return dataclasses.replace(s, name=self._name(s.name), access=access)
        if isinstance(s, (ir.Let, ir.Set)):
            value = self._scalar(s.value)
            return dataclasses.replace(s, name=self._name(s.name), value=value)
        if isinstance(s, (ir.Store, ir.Accumulate)):
            access, value = self._access(s.access), self._scalar(s.value)
            return dataclasses.replace(s, access=access, value=value)
        if isinstance(s, ir.Branch):
            then = tuple(self._statement(b) for b in s.then)
            otherwise = tuple(self._statement(b) for b in s.otherwise)
            condition = self._scalar(s.condition)
            return dataclasses.replace(s, condition=condition, then=then, otherwise=otherwise)
        return s
