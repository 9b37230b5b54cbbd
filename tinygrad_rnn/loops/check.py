"""Whether a program of loops makes sense. Tests switch this on, and then it runs after every pass."""

from __future__ import annotations

from collections.abc import Iterable

from .ir import (
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


class WrongProgram(AssertionError):
    """A program of loops breaks a rule of the language; the message says where."""


def checked(module: Module) -> Module:
    """Return a module, after a check where that is switched on.

    Raises
    ------
    WrongProgram
        If a name is read before it is there or given twice, if an array is not among those that a
        function is given, if something is written that code only reads, or if the loop over lanes
        is not the innermost.
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
            self._reads(s, names)
            self._writes(s)
            if isinstance(s, (Define, Let, Load)):
                self._give(s, s.name, names)
            elif isinstance(s, Set) and s.name not in names:
                raise self._wrong(s, f"'{s.name}' is set before it is there")
            elif isinstance(s, Buffer):
                self.arrays.add(s.array)
            elif isinstance(s, Loop):
                if lanes:
                    raise self._wrong(s, "a loop inside of a loop over lanes")
                if {s.index, s.rest} & names:  # loops one after the other may have the same index
                    raise self._wrong(s, f"'{s.index}' is given twice")
                inner = names | {s.index} | ({s.rest} if s.rest else set())
                self._block(s.body, inner, lanes=s.kind is LoopKind.LANES)
            elif isinstance(s, Branch):
                self._block(s.then, set(names), lanes=lanes)
                self._block(s.otherwise, set(names), lanes=lanes)

    def _give(self, statement: Statement, name: str, names: set[str]) -> None:
        if name in self.given or name in names:
            raise self._wrong(statement, f"'{name}' is given twice")
        self.given.add(name)
        names.add(name)

    def _reads(self, s: Statement, names: set[str]) -> None:
        read = {name for form in forms(s) for name in form.names}
        read |= {n.name for v in numbers(s) for n in scalars(v) if isinstance(n, Var)}
        inside = {s.index} if isinstance(s, Loop) else set()
        missing = sorted(read - names - inside)
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
