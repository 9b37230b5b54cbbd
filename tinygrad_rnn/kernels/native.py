"""LLVM modules as functions that Python calls: optimised, kept as object code, loaded, wrapped.

numba's dispatcher and its typing of Python take two thirds of the time in which a module of loops
is compiled, and half a microsecond of each call. Loops that stand in the loop language have their
types already, so `loops/machine.py` writes LLVM's instructions at once, and this file does with
them what numba does at its end. What Python calls is written here too (`python_entry`): it looks at
the arguments, so that no array of another dtype, rank or order is read as what it is not.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from . import scalar
from .scalar import declared

INT = ir.IntType(64)
SHORT = ir.IntType(32)
BYTE = ir.IntType(8)
POINTER = BYTE.as_pointer()
ENTRY = "python_"  # what Python calls has a name of this beginning
NDARRAY = "tinygrad_rnn_ndarray"
CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400  # flags of an array
METH_FASTCALL = 0x80
# where the parts of an object, an array and a dtype are, in bytes
TYPE, DATA, RANK, DESCRIPTION, FLAGS = 8, 16, 24, 56, 64
ORDER, NUMBER = 26, 28
SWAPPED = ord(">" if sys.byteorder == "little" else "<")


class Given(NamedTuple):
    """An array that a function is given.

    Attributes
    ----------
    dtype : dtype
    axes : int
        Its elements stand without gaps, row by row.
    written : bool
        Whether the function writes to it.
    """

    dtype: np.dtype[Any]
    axes: int
    written: bool


def llvm_type(dtype: np.dtype[Any]) -> Any:
    """Return the type in which memory holds a number."""
    if dtype.kind == "f":
        return ir.FloatType() if dtype.itemsize == 4 else ir.DoubleType()
    return ir.IntType(8 * dtype.itemsize)


# --- what Python calls ----------------------------------------------------------------------------


def named(module: Any, name: str) -> Any:
    """Return a variable of this process, such as Python's `PyExc_TypeError`."""
    return module.globals.get(name) or ir.GlobalVariable(module, POINTER, name)


def _text(module: Any, text: str) -> Any:
    """Return a pointer to a text of C."""
    content = bytearray(text.encode() + b"\0")
    kind = ir.ArrayType(BYTE, len(content))
    name = f"text_{sum(isinstance(g, ir.GlobalVariable) for g in module.globals.values())}"
    found = ir.GlobalVariable(module, kind, name)
    found.initializer, found.global_constant = ir.Constant(kind, content), True
    found.linkage = "internal"
    return found.bitcast(POINTER)


def python_entry(
    function: Any, sizes: int, arrays: Sequence[Given], errors: Sequence[tuple[str, str]]
) -> None:
    """Write what Python calls: a function of `sizes` integers and of arrays, that returns None.

    Parameters
    ----------
    function : llvmlite.ir.Function
        It takes the integers and a pointer for each array, and returns 0, or the number of an error
        and 1. The GIL is released while it runs.
    sizes : int
    arrays : sequence of Given
    errors : sequence of (str, str)
        The exceptions and their messages.
    """
    module = function.module
    kind = ir.FunctionType(POINTER, [POINTER, POINTER.as_pointer(), INT])
    entry = ir.Function(module, kind, f"{ENTRY}{function.name}")
    builder = ir.IRBuilder(entry.append_basic_block())
    wrong = entry.append_basic_block("wrong")
    which = ir.IRBuilder(wrong).phi(INT)
    count = sizes + len(arrays)

    right_count = builder.icmp_signed("==", entry.args[2], ir.Constant(INT, count))
    before, after = builder.block, entry.append_basic_block("given")
    builder.cbranch(right_count, after, wrong)
    which.add_incoming(ir.Constant(INT, -1), before)
    builder.position_at_end(after)
    given = [builder.load(builder.gep(entry.args[1], [ir.Constant(INT, k)])) for k in range(count)]
    read = declared(module, "PyLong_AsLongLong", INT, POINTER)
    passed = [builder.call(read, [size]) for size in given[:sizes]]
    first: Any = ir.Constant(INT, 0)  # the first argument that is not what it should be
    for k, array in reversed(list(enumerate(arrays, sizes))):
        told = [ir.Constant(SHORT, n) for n in wanted(array)]
        data = builder.call(data_of(module), [given[k], *told])
        passed.insert(sizes, builder.bitcast(data, function.args[k].type))
        none = builder.icmp_unsigned("==", data, ir.Constant(POINTER, None))
        first = builder.select(none, ir.Constant(INT, k), first)
    after = entry.append_basic_block("arrays")
    which.add_incoming(first, builder.block)
    builder.cbranch(builder.icmp_signed("==", first, ir.Constant(INT, 0)), after, wrong)
    builder.position_at_end(after)
    occurred = builder.call(declared(module, "PyErr_Occurred", POINTER), [])
    failed = builder.icmp_unsigned("!=", occurred, ir.Constant(POINTER, None))
    with builder.if_then(failed, likely=False):
        builder.ret(ir.Constant(POINTER, None))
    thread = builder.call(declared(module, "PyEval_SaveThread", POINTER), [])
    status = builder.call(function, passed)
    builder.call(declared(module, "PyEval_RestoreThread", ir.VoidType(), POINTER), [thread])
    tell = declared(module, "PyErr_SetString", ir.VoidType(), POINTER, POINTER)
    for number, (error, message) in enumerate(errors, 1):
        holds = builder.icmp_signed("==", status, ir.Constant(status.type, number))
        with builder.if_then(holds, likely=False):
            builder.call(
                tell, [builder.load(named(module, f"PyExc_{error}")), _text(module, message)]
            )
            builder.ret(ir.Constant(POINTER, None))
    none = named(module, "_Py_NoneStruct").bitcast(POINTER)
    builder.call(declared(module, "Py_IncRef", ir.VoidType(), POINTER), [none])
    builder.ret(none)
    builder = ir.IRBuilder(wrong)
    message = f"{function.name}: argument %lld (-1: their number) is not what the code takes"
    form = declared(module, "PyErr_Format", POINTER, POINTER, POINTER, INT)
    error = builder.load(named(module, "PyExc_TypeError"))
    builder.ret(builder.call(form, [error, _text(module, message), which]))


def _part(builder: Any, thing: Any, place: int, kind: Any) -> Any:
    """Load what stands some bytes behind a pointer."""
    there = builder.gep(thing, [ir.Constant(INT, place)])
    return builder.load(builder.bitcast(there, kind.as_pointer()), align=1)


def wanted(array: Given) -> tuple[int, int, int]:
    """Return what `data_of` is told of an array: its rank, its flags, and the numbers of its dtype as bits."""
    flags = CONTIGUOUS | ALIGNED | (WRITEABLE if array.written else 0)
    numbers = sum(1 << number for number in _numbers(array.dtype))
    return array.axes, flags, numbers


def data_of(module: Any) -> Any:
    """Return the function that finds where the elements of an array are; 0 if it is another thing."""
    function = module.globals.get("data_of")
    if function is not None:
        return function
    kind = ir.FunctionType(POINTER, [POINTER, SHORT, SHORT, SHORT])
    function = ir.Function(module, kind, "data_of")
    function.linkage = "internal"
    function.attributes.add("noinline")
    thing, axes, flags, numbers = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    ndarray = builder.ptrtoint(named(module, NDARRAY), INT)
    with builder.if_then(builder.icmp_signed("!=", _part(builder, thing, TYPE, INT), ndarray)):
        builder.ret(ir.Constant(POINTER, None))
    found = builder.and_(_part(builder, thing, FLAGS, SHORT), flags)
    description = _part(builder, thing, DESCRIPTION, POINTER)
    number = _part(builder, description, NUMBER, SHORT)
    known = builder.icmp_unsigned("<", number, ir.Constant(SHORT, 32))  # dtypes of others have more
    number = builder.shl(ir.Constant(SHORT, 1), builder.and_(number, ir.Constant(SHORT, 31)))
    order = _part(builder, description, ORDER, BYTE)
    conditions = (
        known,
        builder.icmp_signed("==", found, flags),
        builder.icmp_signed("==", _part(builder, thing, RANK, SHORT), axes),
        builder.icmp_signed("!=", builder.and_(number, numbers), ir.Constant(SHORT, 0)),
        builder.icmp_signed("!=", order, ir.Constant(BYTE, SWAPPED)),
    )
    holds = functools.reduce(builder.and_, conditions)
    data = _part(builder, thing, DATA, POINTER)
    builder.ret(builder.select(holds, data, ir.Constant(POINTER, None)))
    return function


def _numbers(dtype: np.dtype[Any]) -> list[int]:
    """Return the numbers under which NumPy knows a dtype: C may have two names for one."""
    return sorted({np.dtype(c).num for c in "?bBhHiIlLqQfd" if np.dtype(c) == dtype})


# --- compiling and loading ------------------------------------------------------------------------


class _Machine(NamedTuple):
    target: Any
    engine: Any
    layout: str


@functools.cache
def _machine() -> _Machine:
    """Return LLVM for this processor, as numba sets it up."""
    from numba.core.registry import cpu_target

    generator: Any = cpu_target.target_context.codegen()
    _, name, features = generator.magic_tuple()
    kind = llvm.Target.from_triple(llvm.get_process_triple())
    options = {"cpu": name, "features": features, "opt": 3, "jit": True, "codemodel": "jitdefault"}
    if kind.name.startswith("x86"):
        options["reloc"] = "static"
    target = kind.create_target_machine(**options)
    own = kind.create_target_machine(**options)
    return _Machine(target, llvm.create_lljit_compiler(own), str(target.target_data))


def object_code(module: Any) -> bytes:
    """Return the machine code of a module, optimised.

    Parameters
    ----------
    module : llvmlite.ir.Module
    """
    machine = _machine()
    module.triple, module.data_layout = llvm.get_process_triple(), machine.layout
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.slp_vectorization = True, False
    with scalar.interleaving():
        passes = llvm.create_pass_builder(machine.target, options)
        passes.getModulePassManager().run(parsed, passes)
        found: bytes = machine.target.emit_object(parsed)
    return found


_count = itertools.count()
_loaded: list[Any] = []  # libraries: they live as long as we


class _Method(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def loaded(code: bytes, names: Sequence[str], symbols: Mapping[str, int]) -> Any:
    """Return an object with the functions of some machine code as its attributes.

    Its `addresses` are those of the functions as other machine code calls them: with the sizes and
    a pointer for each array.

    Parameters
    ----------
    code : bytes
    names : sequence of str
        Of the functions.
    symbols : mapping of str to int
        Addresses of what the code calls by name, beside the functions of this process.
    """
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name, address in {NDARRAY: id(np.ndarray), **symbols}.items():
        builder.import_symbol(name, address)
    for name in names:
        builder.export_symbol(name)
        builder.export_symbol(f"{ENTRY}{name}")
    library = builder.link(_machine().engine, f"tinygrad_rnn_{next(_count)}")
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p] * 3
    keep = ctypes.pythonapi.Py_IncRef
    keep.restype, keep.argtypes = None, [ctypes.py_object]
    found = types.SimpleNamespace(addresses={name: library[name] for name in names})
    methods = [
        _Method(name.encode(), library[f"{ENTRY}{name}"], METH_FASTCALL, None) for name in names
    ]
    for name, method in zip(names, methods, strict=True):
        keep(method)  # for ever: a function that outlives this module, at Python's end, reads it
        setattr(found, name, make(ctypes.addressof(method), None, None))
    _loaded.append(library)
    return found
