"""The statements of the loop language as text, for whoever wants to see what the compiler has decided.

    from tests.loop_language import printed, program_of
    print(printed(program_of(tg.jit(cell), xs).module.functions[0]))

It is a way to look at them and no second writer: nothing reads this text, and it does not run.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Iterator
from typing import Any

from tinygrad_rnn.compiler.sequence import SequenceCode
from tinygrad_rnn.loops import ir

from .interpreted import interpreting


def program_of(fast: Any, xs: Any, state: Any = None) -> SequenceCode:
    """Return the code of a compiled cell for a sequence, as data; numba is not asked."""
    with interpreting():
        code: SequenceCode = fast._recording(xs, state).code
    return code


def printed(program: ir.Function | Iterable[ir.Statement]) -> str:
    """Return a function, its arrays first, or some statements, with the lines of the user's source."""
    if isinstance(program, ir.Function):
        head = [f"Function {program.name} ({', '.join(program.sizes)})"]
        return "\n".join([*head, *map(array, program.arrays), *_lines(program.body, 1)])
    return "\n".join(_lines(program, 0))


def array(a: ir.Array) -> str:
    """Return what an array is for, and how many elements it has for which steps."""
    many = f"{a.size} * {'B' if not a.padding else f'(B + {a.padding})'}" if a.rows else a.size
    return f"    Array {a.name:<7} {a.role.value:<10} {a.kind.name:<6} {many}, {a.steps.value}"


def _lines(statements: Iterable[ir.Statement], depth: int) -> Iterator[str]:
    pad, said = "    " * depth, ""
    for s in statements:
        source = _source(s)
        if source and source != said:
            yield f"{pad}# {source}"
            said = source
        text = pad + statement(s)
        named = isinstance(s, ir.Let) and s.origin is not None
        yield f"{text:<50}  # {s.origin.operation}" if named and s.origin else text
        if isinstance(s, ir.Branch) and s.otherwise:
            yield from _lines(s.then, depth + 1)
            yield f"{pad}otherwise"
            yield from _lines(s.otherwise, depth + 1)
        else:
            yield from _lines(ir.inside(s), depth + 1)


def _source(s: ir.Statement) -> str:
    """Return the line of the user's source that a statement comes from."""
    where = None if s.origin is None or s.origin.node is None else s.origin.node.where
    if where is None or where.code is None or not where.line:
        return ""
    return linecache.getline(where.code.co_filename, where.line).strip()


def statement(s: ir.Statement) -> str:
    """Return the first line of a statement."""
    kind = type(s).__name__
    if isinstance(s, ir.Loop):
        way = "down " if s.descending else ""
        step = f" by {s.block}, {s.rest} left" if s.rest else ""
        return f"{kind} {s.index} {way}from {s.start} to {s.stop}{step}, {s.kind.value}"
    if isinstance(s, ir.Define):
        rest = "" if s.modulo is None else f" modulo {s.modulo}"
        return f"{kind} {s.name} = {s.value}{rest}"
    if isinstance(s, ir.Load):
        return f"{kind} {s.name} = {_element(s.access)}"
    if isinstance(s, ir.Let | ir.Set):
        return f"{kind} {s.name} = {scalar(s.value)}"
    if isinstance(s, ir.Store):
        return f"{kind} {_element(s.access)} = {scalar(s.value)}"
    if isinstance(s, ir.Accumulate):
        return f"{kind} {_element(s.access)} by {s.combine} with {scalar(s.value)}"
    if isinstance(s, ir.Call):
        return f"{kind} {s.routine} ({', '.join(map(_argument, s.arguments))})"
    if isinstance(s, ir.Branch):
        return f"{kind} {scalar(s.condition)}"
    if isinstance(s, ir.Buffer):
        return f"{kind} {s.array.name}, {s.length}"
    assert isinstance(s, ir.Fail)
    return f"{kind} {s.message}"


def _element(access: ir.Access) -> str:
    return f"{access.array.name}[{access.place}]"


def _argument(a: Any) -> str:
    return (
        f"&{a.array.name}[{a.place}]" if isinstance(a, ir.Address) else getattr(a, "name", str(a))
    )


def scalar(value: ir.Scalar) -> str:
    """Return a number as an expression; what is no name or number is a function of its parts."""
    if isinstance(value, ir.Var):
        return value.name
    if isinstance(value, ir.Index):
        return f"({value.value})"
    if isinstance(value, ir.Number):
        return str(value.value)
    if isinstance(value, ir.SizeNumber):
        return f"{value.factor} * ({value.size} + {value.offset}) ** {value.power}"
    if isinstance(value, ir.Convert):
        return f"{value.kind.name if value.dtype is None else value.dtype}({scalar(value.value)})"
    assert isinstance(value, ir.Apply)
    parts = [scalar(v) for v in value.inputs]
    if value.function.isidentifier() or len(parts) != 2:
        return f"{value.function}({', '.join(parts)})"
    return f"({parts[0]} {value.function} {parts[1]})"
