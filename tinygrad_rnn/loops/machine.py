"""From the loop language to LLVM's instructions.

A function of the loop language becomes two of LLVM: one that takes its sizes and a pointer to each
array, which are told not to overlap, and one that Python calls (`kernels/native.py`). What stands in
the text that `writer` makes for people stands here in the same order: a statement of the language
is a few instructions, and a number keeps the type that its kind says. `tests/test_loops.py` runs
both and compares.

Exceptions leave a function as a number, that of the message in the list of its module and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from llvmlite import ir as llvm

from ..kernels import scalar
from ..kernels.integers import modulo
from ..kernels.native import Given, llvm_type, python_entry
from ..kernels.products import symbol
from ..kernels.scalar import declared
from . import ir
from .instructions import Numbers
from .linear import Linear
from .style import Style

BIT, BYTE, STATUS, INT = llvm.IntType(1), llvm.IntType(8), llvm.IntType(32), llvm.IntType(64)
BOOLEAN = np.dtype(np.bool_)


class Untranslated(Exception):
    """A statement has no translation; the cause says why.

    Attributes
    ----------
    statement : Statement
    """

    def __init__(self, statement: ir.Statement) -> None:
        super().__init__(type(statement).__name__)
        self.statement = statement


def translated(module: ir.Module, style: Style) -> Any:
    """Return a module as one of LLVM.

    Parameters
    ----------
    module : ir.Module
    style : Style
        Its `open_extents` and `exact` count here.

    Raises
    ------
    Untranslated
        If a statement has a part that is not known (a `NoInstructions` is the cause), or there is a
        fault in here.
    """
    made = llvm.Module("loops")
    errors: list[tuple[str, str]] = []
    functions: dict[str, Any] = {}
    for function in module.functions:
        written = _Function(module, function, style, made, functions, errors)
        functions[function.name] = written.made
        if not function.inner:
            python_entry(written.made, len(function.sizes), written.given(), errors)
    return made


class _Scope:
    """Names and places that are known in a block, and all that are known around it."""

    def __init__(self, around: _Scope | None = None) -> None:
        self.around = around
        self.names: dict[str, Any] = {}
        self.forms: dict[Any, Any] = {}

    def find(self, key: Any, which: str) -> Any:
        scope: _Scope | None = self
        while scope is not None:
            found = getattr(scope, which).get(key)
            if found is not None:
                return found
            scope = scope.around
        return None


class _Function:
    """The instructions of one function."""

    def __init__(
        self,
        module: ir.Module,
        function: ir.Function,
        style: Style,
        made: Any,
        functions: dict[str, Any],
        errors: list[tuple[str, str]],
    ) -> None:
        self.module, self.function, self.style = module, function, style
        self.functions, self.errors = functions, errors
        self.set = {s.name for s in ir.walk(function.body) if isinstance(s, ir.Set)}
        self.scope = _Scope()
        self.arrays: dict[str, Any] = {}
        self.lane = ""  # the index of the loop over lanes that is being written
        self.made = self._declared(made)
        self.builder = llvm.IRBuilder(self.made.append_basic_block("entry"))
        scalar.prefer_wide_vectors(self.builder)
        self.numbers = Numbers(self.builder, module.dtype, self._fail, exact=style.exact)
        self._read_arguments()
        self.allocas = self.builder.block
        pointer = BYTE.as_pointer()
        self.buffers: dict[str, Any] = {}  # room for the addresses of the arrays that are made here
        for s in ir.walk(function.body):
            if isinstance(s, ir.Buffer):
                slot = self.buffers[s.array.name] = self.builder.alloca(pointer)
                self.builder.store(llvm.Constant(pointer, None), slot)
        body = self.made.append_basic_block("body")
        self.builder.position_at_end(body)
        self._block(function.body)
        self._leave(0)
        self.builder.position_at_end(self.allocas)
        self.builder.branch(body)

    # --- the frame --------------------------------------------------------------------------------

    def given(self) -> list[Given]:
        """Return the arrays that Python gives, in order."""
        f, found = self.function, []
        if f.size_table is not None:
            found.append(Given(np.dtype(np.int64), 1, False))
        if f.number_table is not None:
            found.append(Given(self.module.dtype, 1, False))
        if f.packed:
            return [*found, Given(np.dtype(np.int64), 1, False)]
        return [*found, *(Given(self._dtype(a), a.axes, a.written) for a in f.arrays)]

    def _dtype(self, array: ir.Array) -> np.dtype[Any]:
        """Return the dtype of the elements of an array in memory."""
        return array.in_memory(self.module.dtype)

    def _memory(self, array: ir.Array) -> Any:
        dtype = self._dtype(array)
        return BYTE if dtype == BOOLEAN else llvm_type(dtype)

    def _declared(self, made: Any) -> Any:
        f = self.function
        tables = [] if f.size_table is None else [INT]
        tables += [] if f.number_table is None else [llvm_type(self.module.dtype)]
        pointers = [*tables, *([INT] if f.packed else [self._memory(a) for a in f.arrays])]
        kinds = [INT] * len(f.sizes) + [p.as_pointer() for p in pointers]
        found = llvm.Function(made, llvm.FunctionType(STATUS, kinds), f.name)
        if f.inner:
            found.linkage = "internal"
        found.attributes.add("nounwind")
        found.attributes.add("noinline")
        for argument in found.args[len(f.sizes) :]:
            argument.add_attribute("noalias")
        return found

    def _read_arguments(self) -> None:
        f, builder = self.function, self.builder
        arguments = iter(self.made.args)
        self.scope.names.update((name, next(arguments)) for name in f.sizes)
        for table in (f.size_table, f.number_table):
            if table is None:
                continue
            pointer = next(arguments)
            for k, name in enumerate(table):
                place = builder.gep(pointer, [llvm.Constant(INT, k)], inbounds=True)
                self.scope.names[name] = builder.load(place)
        places = next(arguments) if f.packed else None
        for k, array in enumerate(f.arrays):
            if places is None:
                self.arrays[array.name] = next(arguments)
            else:
                place = builder.gep(places, [llvm.Constant(INT, k)], inbounds=True)
                kind = self._memory(array).as_pointer()
                self.arrays[array.name] = builder.inttoptr(builder.load(place), kind)

    def _leave(self, status: Any) -> None:
        """End the function, with a number that says why."""
        pointer = BYTE.as_pointer()
        free = (
            declared(self.made.module, "free", llvm.VoidType(), pointer) if self.buffers else None
        )
        for slot in self.buffers.values():
            self.builder.call(free, [self.builder.load(slot)])
        self.builder.ret(llvm.Constant(STATUS, status) if isinstance(status, int) else status)

    def _fail(self, error: str, message: str) -> None:
        if (error, message) not in self.errors:
            self.errors.append((error, message))
        self._leave(self.errors.index((error, message)) + 1)

    def _slot(self, kind: Any) -> Any:
        """Return room for a number that changes."""
        here = self.builder.block
        self.builder.position_at_end(self.allocas)
        found = self.builder.alloca(kind)
        self.builder.position_at_end(here)
        return found

    # --- statements -------------------------------------------------------------------------------

    def _inside(self, statements: Iterable[ir.Statement]) -> None:
        """Write statements whose names are known among themselves alone."""
        self.scope = _Scope(self.scope)
        self._block(statements)
        assert self.scope.around is not None
        self.scope = self.scope.around

    def _block(self, statements: Iterable[ir.Statement]) -> None:
        for statement in statements:
            try:
                WRITTEN[type(statement)](self, statement)
            except (Untranslated, MemoryError):
                raise
            except Exception as error:
                raise Untranslated(statement) from error

    def _define(self, s: ir.Define) -> None:
        value = self._linear(s.value)
        if s.modulo is not None:  # as in Python it has the sign of the divisor
            value = modulo(self.builder, value, llvm.Constant(INT, s.modulo))
        self.scope.names[s.name] = value

    def _load(self, s: ir.Load) -> None:
        self._name(s.name, self._read(s.access))

    def _let(self, s: ir.Let) -> None:
        self._name(s.name, self._scalar(s.value))

    def _name(self, name: str, value: Any) -> None:
        if name not in self.set:
            self.scope.names[name] = value
            return
        slot = self.scope.names[name] = self._slot(value.type)
        self.builder.store(value, slot)

    def _set(self, s: ir.Set) -> None:
        slot = self.scope.find(s.name, "names")
        self.builder.store(self.numbers.converted(self._scalar(s.value), slot.type.pointee), slot)

    def _store(self, s: ir.Store) -> None:
        self._write(s.access, self._scalar(s.value))

    def _accumulate(self, s: ir.Accumulate) -> None:
        place = self._place(s.access)
        self.scope.names[""] = self._loaded(s.access.array, place)
        value = self._scalar(ir.Apply(s.combine, (ir.Var(""), s.value)))
        del self.scope.names[""]
        dtype = s.dtype
        if dtype is not None and dtype.kind in "iu" and dtype != np.int64:
            value = self.numbers.cut(value, dtype)
        self._put(s.access.array, place, value)

    def _branch(self, s: ir.Branch) -> None:
        condition = self._scalar(s.condition)
        then, after = (self.made.append_basic_block() for _ in range(2))
        otherwise = self.made.append_basic_block() if s.otherwise else after
        self.builder.cbranch(condition, then, otherwise)
        for block, statements in ((then, s.then), (otherwise, s.otherwise)):
            if block is after:
                continue
            self.builder.position_at_end(block)
            self._inside(statements)
            if not self.builder.block.is_terminated:
                self.builder.branch(after)
        self.builder.position_at_end(after)

    def _buffer(self, s: ir.Buffer) -> None:
        kind = self._memory(s.array)
        size = llvm.Constant(INT, self._dtype(s.array).itemsize)
        pointer = BYTE.as_pointer()
        allocate = declared(self.made.module, "malloc", pointer, INT)
        bytes_ = self.builder.mul(self._linear(s.length), size)
        found = self.builder.call(allocate, [self.builder.add(bytes_, llvm.Constant(INT, 64))])
        slot = self.buffers[s.array.name]
        free = declared(self.made.module, "free", llvm.VoidType(), pointer)
        self.builder.call(free, [self.builder.load(slot)])  # of an earlier turn of the loop around
        self.builder.store(found, slot)
        none = self.builder.icmp_unsigned("==", found, llvm.Constant(pointer, None))
        with self.builder.if_then(none, likely=False):
            self._fail("MemoryError", "there is no room for the numbers of a row")
        self.arrays[s.array.name] = self.builder.bitcast(found, kind.as_pointer())

    def _failure(self, s: ir.Fail) -> None:
        self._fail("IndexError", s.message)

    def _call(self, s: ir.Call) -> None:
        arguments = [self._argument(a) for a in s.arguments]
        function = self.functions.get(s.routine)
        if function is None:
            name = symbol(s.routine, self.module.dtype)
            routine = declared(self.made.module, name, llvm.VoidType(), *[INT] * len(arguments))
            self.builder.call(routine, arguments)
            return
        arrays = sum(
            isinstance(a, ir.Array) for a in s.arguments
        )  # in the language they come first
        status = self.builder.call(function, [*arguments[arrays:], *arguments[:arrays]])
        wrong = self.builder.icmp_signed("!=", status, llvm.Constant(STATUS, 0))
        with self.builder.if_then(wrong, likely=False):
            self._leave(status)

    def _argument(self, argument: ir.Address | Linear | ir.Array) -> Any:
        if isinstance(argument, ir.Array):
            return self.arrays[argument.name]
        if isinstance(argument, Linear):
            return self._linear(argument)
        pointer, place = self.arrays[argument.array.name], self._linear(argument.place)
        return self.builder.ptrtoint(self.builder.gep(pointer, [place]), INT)

    # --- loops ------------------------------------------------------------------------------------

    def _loop(self, loop: ir.Loop) -> None:
        builder, one = self.builder, self._linear(Linear.of(loop.block))
        start, stop = self._linear(loop.start), self._stop(loop)
        inside, after = (self.made.append_basic_block() for _ in range(2))
        before = self.made.append_basic_block()
        builder.cbranch(builder.icmp_signed("<", start, stop), before, after)
        builder.position_at_end(before)
        self.scope = _Scope(self.scope)
        if loop.kind is ir.LoopKind.LANES:
            self._ready(loop)
            self.lane = loop.index
        before = builder.block
        builder.branch(inside)
        builder.position_at_end(inside)
        count = builder.phi(INT)
        count.add_incoming(start, before)
        self.scope = _Scope(self.scope)
        index: Any = count
        if loop.descending:
            index = builder.sub(builder.add(start, stop), builder.add(count, one))
        self.scope.names[loop.index] = index
        if loop.rest:
            left = builder.sub(stop, index, flags=("nsw",))
            whole = builder.icmp_signed("<", one, left)
            self.scope.names[loop.rest] = builder.select(whole, one, left)
        self._block(s for s in loop.body if not (isinstance(s, ir.Load) and self._steady(s, loop)))
        following = builder.add(count, one, flags=("nsw",))
        count.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, stop), inside, after)
        builder.position_at_end(after)
        self.lane = ""
        assert self.scope.around is not None and self.scope.around.around is not None
        self.scope = self.scope.around.around

    @staticmethod
    def _steady(load: ir.Load, loop: ir.Loop) -> bool:
        """Whether a number is the same in all lanes."""
        return loop.kind is ir.LoopKind.LANES and not load.access.place.stride(loop.index)

    def _ready(self, loop: ir.Loop) -> None:
        """Write what a loop over lanes has to know before it begins."""
        for statement in loop.body:
            if isinstance(statement, ir.Load) and self._steady(statement, loop):
                self._load(statement)
            for access in ir.accesses(statement):
                self._start(access.array, access.place.without(loop.index))

    def _stop(self, loop: ir.Loop) -> Any:
        stop = self._linear(loop.stop)
        if loop.stop.constant is not None and self.style.open_extents:
            return self.builder.mul(stop, self.scope.find("one", "names"), flags=("nsw",))
        return stop

    # --- places -----------------------------------------------------------------------------------

    def _linear(self, form: Linear) -> Any:
        """Return an integer; one that was computed already is not computed again."""
        if form.constant is not None:
            return llvm.Constant(INT, form.constant)
        found = self.scope.find(form, "forms")
        if found is None:
            for names, n in form.terms:
                term: Any = None if n == 1 and names else llvm.Constant(INT, n)
                for name in names:
                    factor = self._named(name)
                    term = (
                        factor if term is None else self.builder.mul(term, factor, flags=("nsw",))
                    )
                found = term if found is None else self.builder.add(found, term, flags=("nsw",))
            if not form.names & self.set:
                self.scope.forms[form] = found
        return found

    def _named(self, name: str) -> Any:
        """Return the number that has a name now."""
        found = self.scope.find(name, "names")
        return self.builder.load(found) if name in self.set else found

    def _start(self, array: ir.Array, place: Linear) -> Any:
        """Return a pointer to an element whose place is known before the loop."""
        pointer = self.arrays[array.name]
        if not place:
            return pointer
        key = (array.name, place)
        found = self.scope.find(key, "forms")
        if found is None:
            found = self.builder.gep(pointer, [self._linear(place)], inbounds=True)
            self.scope.forms[key] = found
        return found

    def _place(self, access: ir.Access) -> Any:
        """Return a pointer to an element: in a loop over lanes, from where that begins."""
        pointer, place = self.arrays[access.array.name], access.place
        if self.lane and (stride := place.stride(self.lane)):
            pointer = self._start(access.array, place.without(self.lane))
            place = stride * self.lane
        return self.builder.gep(pointer, [self._linear(place)], inbounds=True)

    def _read(self, access: ir.Access) -> Any:
        return self._loaded(access.array, self._place(access))

    def _loaded(self, array: ir.Array, place: Any) -> Any:
        value, dtype = self.builder.load(place), self._dtype(array)
        if dtype == BOOLEAN:
            return self.builder.trunc(value, BIT)
        if dtype.kind in "iu" and dtype.itemsize < 8:
            return (self.builder.zext if dtype.kind == "u" else self.builder.sext)(value, INT)
        return self.numbers.converted(value, self.numbers.kinds[array.kind])

    def _write(self, access: ir.Access, value: Any) -> None:
        self._put(access.array, self._place(access), value)

    def _put(self, array: ir.Array, place: Any, value: Any) -> None:
        dtype = self._dtype(array)
        value = self.numbers.converted(
            value, self.numbers.kinds[ir.kind_of(dtype, self.module.dtype)]
        )
        if dtype == BOOLEAN:
            value = self.builder.zext(value, BYTE)
        elif dtype.kind in "iu" and dtype.itemsize < 8:
            value = self.builder.trunc(value, llvm_type(dtype))
        self.builder.store(value, place)

    # --- numbers ----------------------------------------------------------------------------------

    def _scalar(self, value: ir.Scalar) -> Any:
        if isinstance(value, ir.Var):
            return self._named(value.name)
        if isinstance(value, ir.Number):
            return self.numbers.number(value)
        if isinstance(value, ir.Index):
            return self._linear(value.value)
        if isinstance(value, ir.SizeNumber):
            return self.numbers.size_number(value, self._named(value.size))
        if isinstance(value, ir.Convert):
            inner = self._scalar(value.value)
            if value.dtype is not None and value.dtype != np.int64:
                return self.numbers.cut(inner, value.dtype)
            return self.numbers.converted(inner, self.numbers.kinds[value.kind])
        assert isinstance(value, ir.Apply)
        return self.numbers.applied(value.function, [self._scalar(v) for v in value.inputs])


WRITTEN: dict[type, Callable[[Any, Any], None]] = {
    ir.Define: _Function._define,
    ir.Load: _Function._load,
    ir.Let: _Function._let,
    ir.Set: _Function._set,
    ir.Store: _Function._store,
    ir.Accumulate: _Function._accumulate,
    ir.Loop: _Function._loop,
    ir.Branch: _Function._branch,
    ir.Call: _Function._call,
    ir.Buffer: _Function._buffer,
    ir.Fail: _Function._failure,
}
