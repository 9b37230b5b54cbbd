"""A small program of fixed shapes as one foreign call.

Where arrays are small, a line of Python around each loop takes longer than the loop. All sizes of a
recorded function are known, and so is where each value stands: so its program becomes a table of
calls (`kernels/driver.py`) of three kinds:

- the functions of a module in which everything stands that is computed element by element, moved or
  summed, as `lower.py` makes it for a step;
- matrix products, by the register tiles that sequences use;
- the forward and backward functions of compiled sequences, with what is computed once before and
  after them as part of the program.

Values stand one behind the other in one block of memory, which calls use again and again. What the
caller is given has arrays of its own.

Not every program is one: `Unfit` says why, and then Python runs it line by line (`host.py`). That is
so too for arrays that are not as they were when it was made, and where a call says that something is
wrong: running the lines tells what.
"""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.memory import SMALL, empty
from ..core.primitive import Array
from ..kernels import blas, runtime, table
from ..kernels.table import Call
from ..loops import ir, workspace
from ..loops.launch import CodeRefused, compiled
from ..loops.style import KERNELS
from ..loops.writer import Text, write
from .arrays import Arrays
from .layout import base, is_view
from .lower import Lowered, Stored, When
from .marshal import has_code, inner_dtype
from .natives import ENOUGH, Memory, Native, OverTime, Product, Unfit, is_whole
from .prepare import copy_of
from .straightened import Program
from .value import CompileError, Given, Value, alive, operations

ROOM = 1 << 26  # bytes of memory up to which a program may be one call
VALUES = 1000  # of more the loops are compiled one by one
# where there are several threads: elements of a value, and multiplications of a product, which the
# lines of a program share among them if there are more
ELEMENTS, MULTIPLICATIONS = 1 << 19, blas.SPLIT


class Left(NamedTuple):
    """What a sequence leaves for the program that has its backward function."""

    arrays: tuple[Array, ...]


class Frame:
    """What one call at a time works with: tables of its own, and a block of memory.

    Between calls it waits in the pool of workspaces (`loops/workspace.py`).
    """

    __slots__ = ("key", "memory", "owner", "size", "tables")

    def __init__(self, straight: Straight) -> None:
        self.key, self.owner = straight.key, weakref.ref(straight)
        self.size = straight.memory.size
        self.memory = empty((self.size,), np.dtype(np.uint8))
        self.tables = [[one.copy() for one in phase] for phase in straight.tables]


class Straight:
    """A program as one call of arrays to arrays.

    Parameters
    ----------
    values, inputs, outputs : sequence of Value
        The program, which stays as it is.
    extend : callable, optional
        Is given the program, and may append what is done behind it, with further inputs.

    Raises
    ------
    Unfit
        If it cannot be one, or is not small.
    """

    def __init__(
        self,
        values: Sequence[Value],
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        extend: Callable[[Program], None] | None = None,
    ) -> None:
        program = Program(values, inputs, outputs)
        if extend is not None:
            extend(program)
        every = _values(program)
        for v in every:
            for one in (v, *v.sources):
                if not has_code(one):
                    raise Unfit(f"{one.op} is {one.dtype}")
        size = sum(v.size * inner_dtype(v).itemsize for v in every)
        count = sum(isinstance(v, Value) for v in program.order)
        if size > ROOM or count > VALUES:
            raise Unfit(f"{count} values and {size:,} bytes")
        if runtime.threads() > 1:
            elements = max((v.size for v in program.order if isinstance(v, Value)), default=0)
            work = max((n.work for n in program.order if isinstance(n, Product)), default=0)
            if elements > ELEMENTS or work > MULTIPLICATIONS:
                raise Unfit(f"{elements:,} elements of a value, {work:,} multiplications")
        outs = self._outs(program)
        self.tensors, self._taken, self._leaves = program.tensors, program.taken, program.leaves
        self._takes = any(n is not None for n in program.taken)
        self._shapes, self._dtypes = [o.shape for o in outs], [inner_dtype(o) for o in outs]
        self._small = all(o.size * inner_dtype(o).itemsize < SMALL for o in outs)
        arrays = [*program.inputs, *program.held_by, *outs]
        if any(0 in v.shape for v in arrays):
            raise Unfit("an array without elements")
        read = arrays[: len(arrays) - len(outs)]
        # integers of other dtypes than the one in which code has them
        self._narrow = {k: v.dtype for k, v in enumerate(read) if v.dtype != inner_dtype(v)}
        self._narrow_outs = [(k, o.dtype) for k, o in enumerate(outs) if o.dtype != inner_dtype(o)]
        places = {base(v): k for k, v in enumerate(arrays)}
        self.memory = Memory(places, len(arrays), program.inside)
        for native in program.order:
            if isinstance(native, Native):
                self.memory.look((*native.reads, *native.makes))
        floats = [v.dtype for v in _values(program) if v.dtype in ir.FLOATS]  # with copies
        self.dtype = floats[0] if floats else ir.FLOATS[0]
        self.steps = self._steps(program, outs)
        phases = self._phases(self._compiled())
        block = table.Given((self.memory.size,), np.dtype(np.uint8), True)
        given = [table.Given(v.shape, inner_dtype(v), k >= len(read)) for k, v in enumerate(arrays)]
        self.tables = [[table.Table([*given, block], calls) for calls in p] for p in phases]
        from ..kernels import driver  # here, since it needs numba

        driver.drive()  # compiled now: what the machine lacks shows before a call
        self._make_calls = driver.make_calls
        self.key = (next(workspace.numbers), "frame")

    def __del__(self) -> None:
        # it was made, and the program does not end
        if hasattr(self, "key") and workspace.pool is not None:
            workspace.pool.drop(self.key[0])

    def __call__(self, arrays: Sequence[Any]) -> tuple[Any, ...] | None:
        """Return new arrays; None if the arrays are not what they were, or something is wrong."""
        given = arrays
        if self._takes:
            given = []
            for a, count in zip(arrays, self._taken, strict=True):
                if count is None:
                    given.append(a)
                elif type(a) is Left:
                    given += a.arrays
                elif count:
                    return None
        if self.tensors:
            given = [*given, *[t.array for t in self.tensors]]
        if self._narrow:
            given = [
                a.astype(np.int64) if k in self._narrow and a.dtype == self._narrow[k] else a
                for k, a in enumerate(given)
            ]
        outs = self.fresh()
        frame = workspace.pool.take(self.key, lambda find: Frame(self))
        try:
            wrong = self._run(frame.tables, (*given, *outs, frame.memory))
        finally:
            workspace.pool.give(frame)
        if wrong:
            return None
        for k, dtype in self._narrow_outs:
            outs[k] = outs[k].astype(dtype)
        return self._results(outs, given) if self._passed else tuple(outs)

    def fresh(self) -> list[Array]:
        """Return new arrays for the outputs."""
        # of small ones `empty` makes the same, and takes as long again to find it out
        return list(map(np.empty if self._small else empty, self._shapes, self._dtypes))

    def _run(self, tables: list[list[Array]], arrays: tuple[Array, ...]) -> bool:
        """Make all calls; return whether something is wrong."""
        return any(self._make_calls(phase, arrays) for phase in tables)

    def _results(self, outs: Sequence[Array], given: Sequence[Array]) -> tuple[Any, ...]:
        """Return arrays as the program gives them: several are one that a sequence leaves."""
        every = iter([outs[k] if mine else given[k] for mine, k in self._passed])
        return tuple(
            [
                next(every) if n is None else Left(tuple([next(every) for _ in range(n)]))
                for n in self._leaves
            ]
        )

    # --- how it is made ---------------------------------------------------------------------------

    def _outs(self, program: Program) -> list[Value]:
        """Return values that have arrays of their own, from which the outputs are taken.

        `_passed` says which array each output is, if there is one that a sequence leaves: that may
        be one of the program's own, with True, or one that was given.
        """
        found: list[Value] = []
        taken: set[Value] = set()
        left = [n is not None for n in program.leaves for _ in range(1 if n is None else n)]
        passed: list[tuple[bool, int]] = []
        for o, leaves in zip(program.outputs, left, strict=True):
            source = base(o)
            fits = is_whole(o) and source.size == o.size and source.dtype == o.dtype
            if leaves and fits and source.shape == o.shape and source in program.inputs:
                passed.append((False, program.inputs.index(source)))
                continue
            same = [k for k, v in enumerate(found) if base(v) is source and v.shape == o.shape]
            if leaves and same and fits:
                passed.append((True, same[0]))
                continue
            own = source.given in (None, Given.RESIDUAL) and source not in taken
            if not own or not fits or source in program.inside:
                o = source = copy_of(o)
                program.order.append(o)
            taken.add(source)
            passed.append((True, len(found)))
            found.append(o)
        self._passed = passed if any(left) else []
        return found

    def _steps(self, program: Program, outs: Sequence[Value]) -> list[_Part | Native]:
        """Return parts and native functions in the order in which they run."""
        done = {*program.inputs, *program.held_by}
        done.update(v for v, (whole, _) in program.inside.items() if whole in done)
        rest = list(program.order)
        rounds: list[tuple[list[Value], list[Native]]] = []
        while rest:
            values: list[Value] = []
            later: list[Value | Native] = []
            for entry in rest:
                if isinstance(entry, Value) and _are_there(entry.sources, done):
                    values.append(entry)
                    done.add(entry)
                else:
                    later.append(entry)
            natives = [n for n in later if isinstance(n, Native) and _are_there(n.reads, done)]
            done.update(v for n in natives for v in n.makes)
            rest = [e for e in later if e not in natives]
            rounds.append((values, natives))
            assert natives or not rest
        # steps of the same number may run at the same time
        self._together: dict[Any, int] = {}
        for k, (_, natives) in enumerate(rounds):
            large = [n for n in natives if isinstance(n, OverTime) and n.work >= ENOUGH // 2]
            if len(large) > 1 and runtime.threads() > 1:
                self._together.update((n, k) for n in large)
                natives.sort(key=lambda n: n not in large)
        read: set[Value] = {base(v) for v in outs}
        found: list[_Part | Native] = []
        for values, natives in reversed(rounds):
            read.update(base(v) for n in natives for v in n.reads)
            found += reversed(natives)
            wanted = [v for v in values if v in read and not is_view(v)]
            if wanted:
                part = _Part(values, wanted, self.dtype)
                found.append(part)
                read.update(part.given)
        found = found[::-1]
        self.parts = [step for step in found if isinstance(step, _Part)]
        for k, part in enumerate(self.parts, 1):
            part.function = dataclasses.replace(part.function, name=f"part{k}")
        return found

    def _phases(self, addresses: Mapping[str, int]) -> list[list[list[Call]]]:
        """Return the calls one after the other; where there are several lists, threads share them."""
        found: list[list[list[Call]]] = [[[]]]

        def add(phase: list[list[Call]]) -> None:
            if len(phase) == len(found[-1]) == 1:
                found[-1][0].extend(phase[0])
            else:
                found.append(phase)

        for _, several in itertools.groupby(self.steps, key=self._together.get):
            steps = list(several)
            if self._together.get(steps[0]) is None:
                for step in steps:
                    if isinstance(step, _Part):
                        address = addresses[step.function.name]
                        add([[Call(address, True, step.places(self.memory))]])
                    else:
                        for phase in step.phases(self.memory):
                            add(phase)
            else:
                calls = [step.calls(self.memory) for step in steps if isinstance(step, Native)]
                threads = min(runtime.threads(), len(calls))
                parts = [calls[k::threads] for k in range(threads)]
                found.append([list(itertools.chain.from_iterable(part)) for part in parts])
        return [phase for phase in found if any(phase)]

    def _text(self, line_of: Callable[[Value], str] | None) -> Text | None:
        """Return the module of the parts; `line_of` gives the place in the user's code."""
        if not self.parts:
            return None
        functions = tuple(part.function for part in self.parts)
        module = ir.Module("the loops of a small program", self.dtype, functions)
        return write(module, KERNELS, beside=None if line_of is None else operations(line_of))

    def source(self, name: str, line_of: Callable[[Value], str]) -> str:
        """Return the calls in their order, and the text of the loops."""
        lines = [
            step.function.name if isinstance(step, _Part) else step.described(line_of)
            for step in self.steps
        ]
        calls = "\n".join([f"# {k}. {line}" for k, line in enumerate(lines, 1)])
        text = self._text(line_of)
        loops = "" if text is None else "\n\n" + text.text.partition("\n\n\n")[2]
        return f"# {name} is one call, which makes these one after the other:\n{calls}{loops}"

    def _compiled(self) -> dict[str, int]:
        """Return where the functions of the parts begin."""
        text = self._text(None)
        if text is None:
            return {}
        try:
            found: dict[str, int] = compiled(text).addresses
        except CodeRefused as refused:
            raise Unfit(f"the code is refused: {refused.reason}") from refused
        return found


def _values(program: Program) -> list[Value]:
    """Return all values that stand in memory, and views of them."""
    made = [v for n in program.order if isinstance(n, Native) for v in n.makes]
    return [*program.inputs, *(v for v in program.order if isinstance(v, Value)), *made]


def _are_there(values: Collection[Value], done: Collection[Value]) -> bool:
    bases = [base(v) for v in values]
    return all(b in done or b.given is Given.CONSTANT for b in bases)


class _Part:
    """Values between native functions, as a function of the program's module.

    Parameters
    ----------
    values : list of Value
        In order.
    wanted : list of Value
        Those that others read.
    dtype : dtype
        The floating dtype of the module.

    Attributes
    ----------
    given : list of Value
        What it reads.
    """

    def __init__(self, values: list[Value], wanted: list[Value], dtype: np.dtype[Any]) -> None:
        self.arrays = Arrays(dtype)
        own = set(values)
        program = alive(values, wanted)
        read = [base(i) for v in program for i in v.sources]
        given = [b for b in read if b not in own and b.given is not Given.CONSTANT]
        self.given = list(dict.fromkeys(given))
        self.held: dict[ir.Array, Value] = {}
        stored = {v: self._stored("g", ir.Role.INPUT, k, v) for k, v in enumerate(self.given)}
        targets = {v: [self._stored("o", ir.Role.OUTPUT, k, v)] for k, v in enumerate(wanted)}
        try:
            lowered = Lowered(program, stored, targets, (), self.arrays)
        except CompileError as error:
            raise Unfit(str(error)) from error
        if lowered.packs:
            raise Unfit("a product that is not one of two matrices")
        touched = tuple(lowered.touched)
        if len(touched) > table.MOST:
            raise Unfit(f"{len(touched)} arrays in one function")
        self.function = ir.Function("part", (), touched, tuple(lowered.statements))

    def _stored(self, letter: str, role: ir.Role, k: int, value: Value) -> Stored:
        array = self.arrays.new(f"{letter}{k}", role, value)
        self.held[array] = value
        return Stored(array, When.ONCE)

    def places(self, memory: Memory) -> list[Any]:
        """Return where its arrays are."""
        constants = {array: v for (v, _), array in self.arrays.all_hoisted.items()}
        tables = dict(self.arrays.tables)
        found = []
        for array in self.function.arrays:
            if (value := self.held.get(array) or constants.get(array)) is not None:
                found.append(memory.of(value))
            elif array in tables:
                found.append(memory.constant(tables[array]))
            else:
                size = array.elements(1, 1) * array.in_memory(self.arrays.dtype).itemsize
                found.append(memory.room(size))
        return found
