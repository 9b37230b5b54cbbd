"""Whether a program of loops makes sense. Tests switch this on, and then it runs after every pass."""

from __future__ import annotations

from collections.abc import Iterable

from .ir import (
    ROUTINES,
    Accumulate,
    Address,
    Array,
    Branch,
    Buffer,
    Call,
    Define,
    Function,
    Let,
    Load,
    Loop,
    LoopKind,
    Module,
    Role,
    Set,
    SizeNumber,
    Statement,
    Store,
    Var,
    accesses,
    forms,
    numbers,
    scalars,
)

enabled = False
# what code never writes to, and what it only hands over to matrix kernels
READ_ONLY = (Role.HOISTED, Role.REPLICATED, Role.TABLE)
OPAQUE = (Role.PACKED, Role.CALLER)
SIMPLE = (Let, Load, Set, Store, Accumulate)  # what may stand in a loop over lanes


class WrongProgram(AssertionError):
    """A program of loops breaks a rule of the language; the message says where."""


def checked(module: Module) -> Module:
    """Return a module, after a check where that is switched on.

    Raises
    ------
    WrongProgram
        If a name is read before it is there or given twice, if an array is not among those that a
        function is given, if something is written that code only reads, if a loop over lanes has
        more inside than reading, computing and writing at places that its index alone moves, or if
        a call does not give what its routine takes.
    """
    if enabled:
        for function in module.functions:
            _Check(module, function)
    return module


class _Check:
    """The check of one function."""

    def __init__(self, module: Module, function: Function) -> None:
        self.function = function
        self.arrays = set(function.arrays)
        self.functions = {f.name: f for f in module.functions}
        self.given: set[str] = set()  # every name that was given so far, in scope or not
        names = {*function.sizes, *(function.size_table or ()), *(function.number_table or ())}
        if len({a.name for a in function.arrays}) != len(function.arrays):
            raise self._wrong(None, "two arrays have one name")
        self._block(function.body, set(names), lanes=False)

    def _wrong(self, statement: Statement | None, what: str) -> WrongProgram:
        origin = None if statement is None else statement.origin
        node = None if origin is None else origin.node
        where = f" ({origin.operation}{node.where.described() if node else ''})" if origin else ""
        kind = "" if statement is None else f" in a {type(statement).__name__}"
        return WrongProgram(f"{self.function.name}: {what}{kind}{where}")

    def _block(self, statements: Iterable[Statement], names: set[str], *, lanes: bool) -> None:
        """Check statements in order; `names` gets what they give."""
        for s in statements:
            if lanes and not isinstance(s, SIMPLE):
                raise self._wrong(s, "it stands inside of a loop over lanes")
            self._reads(s, names)
            self._writes(s)
            if isinstance(s, (Define, Let, Load)):
                self._give(s, s.name, names)
            elif isinstance(s, Set) and s.name not in names:
                raise self._wrong(s, f"'{s.name}' is set before it is there")
            elif isinstance(s, Buffer):
                self.arrays.add(s.array)
            elif isinstance(s, Call):
                self._called(s)
            elif isinstance(s, Loop):
                self._loop(s, names)
            elif isinstance(s, Branch):
                self._block(s.then, set(names), lanes=False)
                self._block(s.otherwise, set(names), lanes=False)

    def _loop(self, loop: Loop, names: set[str]) -> None:
        if {loop.index, loop.rest} & names:  # loops one after the other may have the same index
            raise self._wrong(loop, f"'{loop.index}' is given twice")
        inner = names | {loop.index} | ({loop.rest} if loop.rest else set())
        if loop.kind is LoopKind.LANES:
            for s in loop.body:
                moved = sorted({n for a in accesses(s) for n in a.place.names} - inner)
                if moved:  # the writer computes before the loop where it begins
                    raise self._wrong(s, f"{moved} are read for a place before they are there")
        self._block(loop.body, inner, lanes=loop.kind is LoopKind.LANES)

    def _called(self, call: Call) -> None:
        function, count = self.functions.get(call.routine), ROUTINES.get(call.routine)
        if function is not None:
            count = len(function.arrays) + len(function.sizes)
        if count is None:
            raise self._wrong(call, f"'{call.routine}' is called, and there is no such routine")
        if len(call.arguments) != count:
            raise self._wrong(
                call, f"'{call.routine}' is given {len(call.arguments)} arguments, not {count}"
            )
        for k, array in enumerate(() if function is None else function.arrays):
            given = call.arguments[k]
            if not isinstance(given, Array) or given.kind is not array.kind:
                raise self._wrong(call, f"'{call.routine}' is not given an array as '{array.name}'")

    def _give(self, statement: Statement, name: str, names: set[str]) -> None:
        if name in self.given or name in names:
            raise self._wrong(statement, f"'{name}' is given twice")
        self.given.add(name)
        names.add(name)

    def _reads(self, s: Statement, names: set[str]) -> None:
        read = {name for form in forms(s) for name in form.names}
        inner = [n for v in numbers(s) for n in scalars(v)]
        read |= {n.name for n in inner if isinstance(n, Var)}
        read |= {n.size for n in inner if isinstance(n, SizeNumber)}
        missing = sorted(read - names)
        if missing:
            raise self._wrong(s, f"{missing} are read before they are there")

    def _writes(self, s: Statement) -> None:
        touched: list[Array] = [a.array for a in accesses(s)]
        if isinstance(s, Call):
            touched += [
                a if isinstance(a, Array) else a.array
                for a in s.arguments
                if isinstance(a, (Address, Array))
            ]
        for array in touched:
            if array not in self.arrays:
                raise self._wrong(s, f"the array '{array.name}' is not given to the function")
        written = isinstance(s, (Store, Accumulate))
        for access in accesses(s):
            role = access.array.role
            if written and (role in READ_ONLY or not access.array.written):
                raise self._wrong(s, f"'{access.array.name}' is written, and is {role.value}")
            if role in OPAQUE:
                raise self._wrong(s, f"an element of '{access.array.name}', which is {role.value}")
