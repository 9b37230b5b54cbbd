"""Whether objects are still in their places: comparisons by identity, as one foreign call.

A guard (`ops/guards/`) compares some hundred objects with those that were found, at each call of
what it guards. In Python that takes 25 ns for each; here it takes 3.

The places are rows of four numbers, addresses of objects or of tables of such addresses:

====  =================================================================================
0     getattr(a, b) is c; 0 in place of c: there is none
1     dict.get(a, b) is c; 0 in place of c: there is none
2     type(a) is c
3     the `__dict__` of a is c
4     the list a has b elements, those in the table c
5     the dict a has b entries, whose keys are those in the table c
6     the dict a has b entries, whose values are those in the table c
====  =================================================================================
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from . import driver, native, runtime
from .driver import Code, number
from .native import ENTRY, INT, POINTER, SHORT, TYPE, named
from .scalar import declared

ATTRIBUTE, VALUE, KIND, OWN, ELEMENTS, KEYS, VALUES = range(7)


class Places:
    """Objects, and what was found in them, which they are to have still.

    Parameters
    ----------
    missing : object
        Stands for what was not found.
    """

    def __init__(self, missing: Any) -> None:
        self.missing = missing
        self._rows: list[tuple[int, Any, Any, Any]] = []

    def add(self, kind: int, value: Any, name: Any, there: Any) -> None:
        """Let a place count.

        Parameters
        ----------
        kind : int
            `ATTRIBUTE` to `VALUES`.
        value : object
        name : object
            The name or the key, if there is one.
        there : object
            What was found: an object, or a list of them.
        """
        self._rows.append((kind, value, name, there))

    def compiled(self) -> Callable[[], bool]:
        """Return a function that says whether all is in its place."""
        check, table = _check(), [len(self._rows)]
        tables: list[np.ndarray[Any, Any]] = []
        for kind, value, name, there in self._rows:
            if kind >= ELEMENTS:
                tables.append(np.array([*map(id, there)], np.int64))
                table += [kind, id(value), len(there), int(tables[-1].ctypes.data)]
            else:
                table += [kind, id(value), id(name), 0 if there is self.missing else id(there)]
        # the code looks at the first argument; the other one holds what the addresses are of
        return functools.partial(check, np.array(table, np.int64), (self._rows, tables))


@functools.cache
def _check() -> Callable[..., bool]:
    files = (__file__, driver.__file__)
    translation = runtime.Translation(("same",), _written, files, {})
    found: Callable[..., bool] = runtime.native('"""comparisons of objects"""', translation).same
    return found


def _written() -> Any:
    """Return the module with what Python calls."""
    module = ir.Module("identity")
    same = _same(module)
    kind = ir.FunctionType(POINTER, [POINTER, POINTER.as_pointer(), INT])
    entry = ir.Function(module, kind, f"{ENTRY}same")
    b = ir.IRBuilder(entry.append_basic_block())
    own = native.wanted(native.Given(np.dtype(np.int64), 1, False))
    table = b.call(
        native.data_of(module), [b.load(entry.args[1]), *[ir.Constant(SHORT, n) for n in own]]
    )
    none = b.icmp_unsigned("==", table, ir.Constant(POINTER, None))
    with b.if_then(none, likely=False):
        b.ret(b.call(declared(module, "PyBool_FromLong", POINTER, INT), [number(0)]))
    found = b.call(same, [b.bitcast(table, INT.as_pointer())])
    b.ret(b.call(declared(module, "PyBool_FromLong", POINTER, INT), [found]))
    return module


def _same(module: Any) -> Any:
    """Write the function that takes the rows, and returns 1 if all is in its place."""
    function = ir.Function(module, ir.FunctionType(INT, [INT.as_pointer()]), "same")
    code = Code(function)
    b, (table,) = code.builder, function.args
    at = code.variable(number(0))
    rows = code.take(table, at)
    with code.loop(rows):
        kind, a, name, there = (code.take(table, at) for _ in range(4))
        thing = b.inttoptr(a, POINTER)
        after, wrong = (function.append_basic_block() for _ in range(2))
        which = b.switch(kind, wrong)
        writers = (_attribute, _value, _kind, _own, _elements, _keys, _values)
        for k, write in enumerate(writers):
            block = function.append_basic_block()
            which.add_case(number(k), block)
            b.position_at_end(block)
            write(code, thing, name, there)
            b.branch(after)
        b.position_at_end(wrong)
        b.ret(number(0))
        b.position_at_end(after)
    b.ret(number(1))
    return function


def _unless(code: Code, condition: Any) -> None:
    """Return 0 if a condition does not hold."""
    b = code.builder
    with b.if_then(b.not_(condition), likely=False):
        b.ret(number(0))


def _is(code: Code, found: Any, there: Any) -> Any:
    b = code.builder
    return b.icmp_signed("==", b.ptrtoint(found, INT), there)


def _attribute(code: Code, thing: Any, name: Any, there: Any) -> None:
    b, module = code.builder, code.function.module
    look = declared(module, "PyObject_GetAttr", POINTER, POINTER, POINTER)
    found = b.call(look, [thing, b.inttoptr(name, POINTER)])
    none = b.icmp_unsigned("==", found, ir.Constant(POINTER, None))
    with b.if_else(none, likely=False) as (gone, got):
        with gone:
            error = b.load(named(module, "PyExc_AttributeError"))
            matches = declared(module, "PyErr_ExceptionMatches", SHORT, POINTER)
            expected = b.icmp_signed("!=", b.call(matches, [error]), ir.Constant(SHORT, 0))
            b.call(declared(module, "PyErr_Clear", ir.VoidType()), [])
            missing = b.icmp_signed("==", there, number(0))
            _unless(code, b.and_(expected, missing))
        with got:
            b.call(declared(module, "Py_DecRef", ir.VoidType(), POINTER), [found])
            _unless(code, _is(code, found, there))


def _value(code: Code, thing: Any, name: Any, there: Any) -> None:
    b, module = code.builder, code.function.module
    look = declared(module, "PyDict_GetItemWithError", POINTER, POINTER, POINTER)
    found = b.call(look, [thing, b.inttoptr(name, POINTER)])
    _unless(code, _is(code, found, there))
    with b.if_then(b.icmp_signed("==", there, number(0))):
        error = b.call(declared(module, "PyErr_Occurred", POINTER), [])
        failed = b.icmp_unsigned("!=", error, ir.Constant(POINTER, None))
        with b.if_then(failed, likely=False):
            b.call(declared(module, "PyErr_Clear", ir.VoidType()), [])
            b.ret(number(0))


def _kind(code: Code, thing: Any, name: Any, there: Any) -> None:
    b = code.builder
    place = b.gep(thing, [number(TYPE)])
    _unless(code, b.icmp_signed("==", b.load(b.bitcast(place, INT.as_pointer())), there))


def _own(code: Code, thing: Any, name: Any, there: Any) -> None:
    b, module = code.builder, code.function.module
    look = declared(module, "PyObject_GenericGetDict", POINTER, POINTER, POINTER)
    found = b.call(look, [thing, ir.Constant(POINTER, None)])
    none = b.icmp_unsigned("==", found, ir.Constant(POINTER, None))
    with b.if_then(none, likely=False):
        b.call(declared(module, "PyErr_Clear", ir.VoidType()), [])
        b.ret(number(0))
    b.call(declared(module, "Py_DecRef", ir.VoidType(), POINTER), [found])
    _unless(code, _is(code, found, there))


def _elements(code: Code, thing: Any, count: Any, there: Any) -> None:
    b, module = code.builder, code.function.module
    size = b.call(declared(module, "PyList_Size", INT, POINTER), [thing])
    _unless(code, b.icmp_signed("==", size, count))
    table = b.inttoptr(there, INT.as_pointer())
    look = declared(module, "PyList_GetItem", POINTER, POINTER, INT)
    with code.loop(count) as k:
        _unless(code, _is(code, b.call(look, [thing, k]), b.load(b.gep(table, [k]))))


def _keys(code: Code, thing: Any, count: Any, there: Any) -> None:
    _entries(code, thing, count, there, values=False)


def _values(code: Code, thing: Any, count: Any, there: Any) -> None:
    _entries(code, thing, count, there, values=True)


def _entries(code: Code, thing: Any, count: Any, there: Any, *, values: bool) -> None:
    b, module = code.builder, code.function.module
    size = b.call(declared(module, "PyDict_Size", INT, POINTER), [thing])
    _unless(code, b.icmp_signed("==", size, count))
    table = b.inttoptr(there, INT.as_pointer())
    place = code.variable(number(0))
    null = ir.Constant(POINTER, None)
    key, value = code.variable(null), code.variable(null)
    pointers = [POINTER, INT.as_pointer(), POINTER.as_pointer(), POINTER.as_pointer()]
    step = declared(module, "PyDict_Next", SHORT, *pointers)
    b.store(number(0), place)  # the room is one for all rows
    with code.loop(count) as k:
        more = b.call(step, [thing, place, key, value])
        _unless(code, b.icmp_signed("!=", more, ir.Constant(SHORT, 0)))
        found = b.load(value if values else key)
        _unless(code, _is(code, found, b.load(b.gep(table, [k]))))
