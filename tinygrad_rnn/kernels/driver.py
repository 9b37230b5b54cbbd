"""What makes the calls of a table (see `table.py`): written as LLVM's instructions, called by Python."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir

from . import native, runtime
from .native import ENTRY, INT, POINTER, SHORT
from .scalar import declared
from .table import EIGHT, MOST

DIMENSIONS = 32  # where the shape of an array is, in bytes


@functools.cache
def drive() -> Callable[..., int]:
    """Return the function that makes the calls of a table.

    It takes the table and the arrays, and returns 0 if all was well; otherwise the number of the
    array that is not what the table says and 1, negative, or the number of the call that went wrong
    and 1. Arrays that were to be written may then hold anything.
    """
    names = ("drive",)
    translation = runtime.Translation(names, _written, (__file__, native.__file__), {})
    found: Callable[..., int] = runtime.native(
        f'"""calls from a table"""\n{MOST}', translation
    ).drive
    return found


def make_calls(tables: Sequence[np.ndarray[Any, Any]], arrays: Sequence[Any]) -> bool:
    """Make the calls of several tables with the same arrays, which threads share among them.

    Returns
    -------
    bool
        Whether something was wrong: see `drive`.
    """
    call = drive()
    if len(tables) == 1:
        return bool(call(tables[0], *arrays))
    results: list[int] = []

    def one(table: np.ndarray[Any, Any]) -> None:
        results.append(call(table, *arrays))

    runtime.share(one, [(table,) for table in tables])
    return any(results)


class Code:
    """Helps to write the instructions of a function: variables and loops."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.builder = ir.IRBuilder(function.append_basic_block())

    def variable(self, value: Any) -> Any:
        """Return room for a value, to which it is set."""
        with self.builder.goto_entry_block():
            found = self.builder.alloca(value.type)
        self.builder.store(value, found)
        return found

    def add(self, variable: Any, value: Any) -> None:
        """Add to a variable."""
        b = self.builder
        b.store(b.add(b.load(variable), value), variable)

    def take(self, table: Any, variable: Any) -> Any:
        """Return the number of a table at which a variable stands, which moves on."""
        b = self.builder
        found = b.load(b.gep(table, [b.load(variable)]))
        self.add(variable, number(1))
        return found

    @contextmanager
    def loop(self, stop: Any, start: Any = None, step: int = 1) -> Iterator[Any]:
        """Write what is done for each number from a start, or 0, up to a stop."""
        b, k = self.builder, self.variable(number(0) if start is None else start)
        test, body, after = (self.function.append_basic_block() for _ in range(3))
        b.branch(test)
        b.position_at_end(test)
        b.cbranch(b.icmp_signed("<", b.load(k), stop), body, after)
        b.position_at_end(body)
        yield b.load(k)
        self.add(k, number(step))
        b.branch(test)
        b.position_at_end(after)


def number(n: int) -> Any:
    """Return an integer as a constant."""
    return ir.Constant(INT, n)


def _written() -> Any:
    """Return the module with what Python calls."""
    module = ir.Module("driver")
    call = _caller(module)
    kind = ir.FunctionType(POINTER, [POINTER, POINTER.as_pointer(), INT])
    entry = ir.Function(module, kind, f"{ENTRY}drive")
    code = Code(entry)
    b = code.builder
    python = declared(module, "PyLong_FromLongLong", POINTER, INT)

    def fail(condition: Any, value: Any) -> None:
        with b.if_then(condition, likely=False):
            b.ret(b.call(python, [value]))

    fail(b.icmp_signed("<", entry.args[2], number(1)), number(-1))
    own = native.wanted(native.Given(np.dtype(np.int64), 1, True))
    data_of = native.data_of(module)
    first = b.load(entry.args[1])
    data = b.call(data_of, [first, *[ir.Constant(SHORT, n) for n in own]])
    none = ir.Constant(POINTER, None)
    fail(b.icmp_unsigned("==", data, none), number(-1))
    table = b.bitcast(data, INT.as_pointer())
    at = code.variable(number(0))
    count, begin, calls = (code.take(table, at) for _ in range(3))
    right = b.icmp_signed("==", b.add(count, number(1)), entry.args[2])
    fail(b.not_(right), number(-1))
    with code.loop(count) as k:
        which = b.sub(number(-2), k)  # the table is the first
        thing = b.load(b.gep(entry.args[1], [b.add(k, number(1))]))
        rank, flags, numbers, places = (code.take(table, at) for _ in range(4))
        short = [b.trunc(n, SHORT) for n in (rank, flags, numbers)]
        data = b.call(data_of, [thing, *short])
        fail(b.icmp_unsigned("==", data, none), which)
        place = b.gep(thing, [number(DIMENSIONS)])
        shape = b.load(b.bitcast(place, INT.as_pointer().as_pointer()))
        with code.loop(rank) as axis:
            found = b.load(b.gep(shape, [axis]))
            fail(b.icmp_signed("!=", found, code.take(table, at)), which)
        where = b.ptrtoint(data, INT)
        with code.loop(places):
            target, extra = code.take(table, at), code.take(table, at)
            b.store(b.add(where, extra), b.gep(table, [target]))
    save = declared(module, "PyEval_SaveThread", POINTER)
    thread = b.call(save, [])
    status = b.call(call, [table, begin, calls])
    restore = declared(module, "PyEval_RestoreThread", ir.VoidType(), POINTER)
    b.call(restore, [thread])
    b.ret(b.call(python, [status]))
    return module


def _caller(module: Any) -> Any:
    """Write the function that makes the calls; it returns the number of the one that fails and 1."""
    kind = ir.FunctionType(INT, [INT.as_pointer(), INT, INT])
    function = ir.Function(module, kind, "drive")
    code = Code(function)
    b, (table, begin, calls) = code.builder, function.args
    at = code.variable(begin)
    with code.loop(calls) as k:
        address, checked, count = (code.take(table, at) for _ in range(3))
        arguments = b.gep(table, [b.load(at)])
        wrong, after = (function.append_basic_block() for _ in range(2))
        which = b.switch(count, wrong)
        results = []
        for n in range(0, MOST + 1, EIGHT):
            block = function.append_basic_block()
            which.add_case(number(n), block)
            b.position_at_end(block)
            passed = [b.load(b.gep(arguments, [number(i)])) for i in range(n)]
            called = b.inttoptr(address, ir.FunctionType(SHORT, [INT] * n).as_pointer())
            results.append((b.call(called, passed), block))
            b.branch(after)
        b.position_at_end(wrong)
        b.ret(b.add(k, number(1)))
        b.position_at_end(after)
        status = b.phi(SHORT)
        for found, block in results:
            status.add_incoming(found, block)
        bad = b.icmp_signed("!=", status, ir.Constant(SHORT, 0))
        checks = b.icmp_signed("!=", checked, number(0))
        with b.if_then(b.and_(bad, checks), likely=False):
            b.ret(b.add(k, number(1)))
        code.add(at, count)
    b.ret(number(0))
    return function
