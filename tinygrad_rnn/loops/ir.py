"""The loop language: programs of loops as plain data, before they are text.

The compiler decides everything on these objects: which array a value is in, which loop it belongs
to, what is read at which place. `writer` turns them into text for numba, and only there does text
begin. Whatever writes another language, counts work or memory, or explains the code reads the same
objects.

The grammar, with ``*`` for any number of them::

    module    = Module title dtype function*
    function  = Function name size-name* array* statement*
    statement = Define name linear                 an integer, such as the time of a step
              | Load name access                   a number from an array
              | Let name scalar                    a number, computed
              | Set name scalar                    a number again, under a name that it has already
              | Store access scalar
              | Accumulate access combine scalar   access = combine(access, scalar)
              | Loop index start stop kind statement*
              | Branch scalar statement* statement*    the first ones if it holds, else the others
              | Call routine (address | linear)*   a matrix kernel, or a function of the module
              | Buffer array                       an array that lives while the function runs
              | Fail message                       an index that is out of range
    access    = Access array linear                one element of a flat array
    address   = Address array linear               where an element is, for a call
    scalar    = Var name | Index linear | Number value kind | SizeNumber ... kind
              | Apply function scalar* | Convert kind dtype scalar
    linear    = a sum of products of an integer and names (of sizes, loop indices, integers)

A name is given once in a function, and after that read; only `Set` gives one again, and loops that
stand one after the other may have the same index. All arrays are
flat, and all places are linear forms, so what a loop does to a place can be read off: the
coefficient of its index is the stride. `kind` says of a number how the code holds it, see `Kind`.

A statement has an `origin`: the operation that it comes from, with its node on the tape and
therefore the line of the user's source.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.tape import Node
from .linear import NOWHERE, Linear


class Kind(enum.Enum):
    """How code holds a number: in the floating dtype of the module or in the other one.

    Integers of all dtypes are held as int64, and booleans as booleans.
    """

    FLOAT = "F"
    OTHER_FLOAT = "D"
    INTEGER = "I"
    BOOLEAN = "Q"


COLUMNS = 1024  # steps times rows of a span
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def kind_of(dtype: np.dtype[Any], base: np.dtype[Any]) -> Kind:
    """Return the kind of numbers of a dtype in a module whose floating dtype is `base`."""
    if dtype.kind == "b":
        return Kind.BOOLEAN
    if dtype.kind in "iu":
        return Kind.INTEGER
    return Kind.FLOAT if dtype == base else Kind.OTHER_FLOAT


def dtype_of(kind: Kind, base: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which code holds numbers of a kind."""
    if kind is Kind.BOOLEAN:
        return np.dtype(np.bool_)
    if kind is Kind.INTEGER:
        return np.dtype(np.int64)
    return base if kind is Kind.FLOAT else FLOATS[base == FLOATS[0]]


class Role(enum.Enum):
    """What an array is for. It is said once, when the array is made, and asked wherever it matters."""

    INPUT = "input"  # x_t, as the loop reads it
    STATE = "state"  # the states of all steps, the first one included
    FIXED = "fixed"  # given once for a sequence, with a row for each of the batch
    OUTPUT = "output"
    EMITTED = "emitted"  # values of steps that are wanted outside, such as statistics
    RESIDUAL = "residual"  # what forward leaves for backward
    SCRATCH = "scratch"  # of one step
    PACKED = "packed"  # a matrix in the order in which the tiles of a product read it
    HOISTED = "hoisted"  # a constant, or computed once from constants
    REPLICATED = "replicated"  # the same, repeated for each row of the batch
    TABLE = "table"  # integers that are known when the code is made
    CALLER = "caller"  # an array of the caller, rows first
    COTANGENT = "cotangent"  # a gradient that comes in
    GRADIENT = "gradient"  # a gradient that goes out
    COLLECTED = "collected"  # a sum over steps
    DEFERRED = "deferred"  # kept for a product over the steps of a span


class Steps(enum.Enum):
    """For which steps of a sequence an array has room; it is worked through span by span."""

    ONCE = "one value"
    EACH = "a value for each step"
    BETWEEN = "a value before each step and after the last"
    TWO = "the values of two steps, in turn"
    SPAN = "a value for each step of a span"


def span(T: int, B: int) -> int:
    """Return how many of T steps of B rows are a span.

    They are enough for the products over all of them to be quick.
    """
    return min(T, max(1, COLUMNS // max(B, 1)))


# --- arrays -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Array:
    """A flat array of the code.

    Attributes
    ----------
    name : str
    kind : Kind
        How the code holds its numbers.
    role : Role
    size : int
        Elements for one step and one row of the batch, or for one step where it has no rows.
    rows : bool
        Whether it has a value for each row of the batch, which is then its last axis.
    steps : Steps
    padding : int
        Rows that it has room for besides those of the batch.
    axes : int
        How many axes it has where the code is given it; in the code it is flat.
    written : bool
        Whether the code writes to it.
    dtype : dtype or None
        Of its elements in memory, where that is not the dtype in which the code holds them.
    """

    name: str
    kind: Kind
    role: Role
    size: int = 1
    rows: bool = False
    steps: Steps = Steps.ONCE
    padding: int = 0
    axes: int = 1
    written: bool = True
    dtype: np.dtype[Any] | None = None

    def elements(self, T: int, B: int) -> int:
        """Return the total number of elements for T steps of B rows."""
        many = {Steps.EACH: T, Steps.BETWEEN: T + 1, Steps.TWO: 2, Steps.SPAN: span(T, B)}
        return self.size * (B + self.padding if self.rows else 1) * many.get(self.steps, 1)

    def in_memory(self, base: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of its elements in memory, in a module whose floating dtype is `base`."""
        return self.dtype if self.dtype is not None else dtype_of(self.kind, base)

    @property
    def block(self) -> Linear:
        """How many elements the value of one step has."""
        return Linear.of("B") * self.size if self.rows else Linear.of(self.size)


@dataclass(frozen=True, slots=True)
class Access:
    """One element of an array."""

    array: Array
    place: Linear


@dataclass(frozen=True, slots=True)
class Address:
    """Where an element of an array is in memory."""

    array: Array
    place: Linear = NOWHERE


# --- numbers --------------------------------------------------------------------------------------


class Scalar:
    """A number that code computes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Var(Scalar):
    """The number that has a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Index(Scalar):
    """An integer that follows from sizes and loop indices."""

    value: Linear


@dataclass(frozen=True, slots=True)
class Number(Scalar):
    """A number that is known when the code is made."""

    value: Any
    kind: Kind


@dataclass(frozen=True, slots=True)
class SizeNumber(Scalar):
    """A number that depends on a size: factor * (size + offset) ** power."""

    factor: float
    size: str
    offset: float
    power: float
    kind: Kind


@dataclass(frozen=True, slots=True)
class Apply(Scalar):
    """An operator, or a function of `kernels/scalar.py` or `kernels/integers.py`, of numbers."""

    function: str
    inputs: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Convert(Scalar):
    """A number as one of another kind; an integer that is brought into the range of a dtype."""

    kind: Kind
    value: Scalar
    dtype: np.dtype[Any] | None = None


# --- statements -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Origin:
    """The operation that a statement comes from.

    Attributes
    ----------
    operation : str
        Its name.
    node : Node or None
        Its node on the tape, with the line of the user's source.
    value : object
        What the compiler has for it; the loop language does not look inside.
    """

    operation: str
    node: Node | None = None
    value: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Statement:
    """A step of a program."""

    origin: Origin | None = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Define(Statement):
    """An integer gets a name: a linear form, or its remainder."""

    name: str
    value: Linear
    modulo: int | None = None


@dataclass(frozen=True, slots=True)
class Load(Statement):
    """A number is read."""

    name: str
    access: Access


@dataclass(frozen=True, slots=True)
class Let(Statement):
    """A number is computed."""

    name: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class Set(Statement):
    """A name that is there gets another number."""

    name: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class Store(Statement):
    """A number is written."""

    access: Access
    value: Scalar


@dataclass(frozen=True, slots=True)
class Accumulate(Statement):
    """A number is combined with the one that stands there: by an operator, or a scalar function."""

    access: Access
    combine: str
    value: Scalar
    dtype: np.dtype[Any] | None = None  # an integer dtype into whose range the result is brought


class LoopKind(enum.Enum):
    """What a loop runs over."""

    TIME = "time"
    AXES = "axes"  # of a value, one step at a time
    LANES = "lanes"  # the innermost one, which becomes vector instructions


@dataclass(frozen=True, slots=True)
class Loop(Statement):
    """Statements for each index from `start` up to, not including, `stop`; or downwards."""

    index: str
    stop: Linear
    body: tuple[Statement, ...]
    kind: LoopKind = LoopKind.AXES
    start: Linear = NOWHERE
    descending: bool = False
    # the index grows by so much, or by this size; `rest` is the name of what is left up to that
    block: int | str = 1
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Branch(Statement):
    """Statements that run if a condition holds, and others that run if not."""

    condition: Scalar
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()


# matrix kernels, and how many arguments each has
ROUTINES = {"pack": 7, "multiply": 8, "transpose": 9, "gradient": 13}
ROUTINES |= {"pack_slices": 10, "multiply_slices": 13, "gradient_slices": 17}


@dataclass(frozen=True, slots=True)
class Call(Statement):
    """A call of a matrix kernel, or of a function of the module."""

    routine: str
    arguments: tuple[Address | Linear | Array, ...]


@dataclass(frozen=True, slots=True)
class Buffer(Statement):
    """An array that the function makes for itself."""

    array: Array
    length: Linear


@dataclass(frozen=True, slots=True)
class Fail(Statement):
    """The end, with an IndexError."""

    message: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the module.

    Attributes
    ----------
    name : str
    sizes : tuple of str
        Names of the integers that it is given, in order.
    arrays : tuple of Array
        What it is given besides, in order.
    body : tuple of Statement
    size_table, number_table : tuple of str, or None
        Names of further integers and numbers, each handed over as one array of them behind the
        sizes, so that one text serves all their values.
    inner : bool
        Whether it is called by other functions of the module only.
    packed : bool
        Whether its arrays are handed over as one array of addresses.
    """

    name: str
    sizes: tuple[str, ...]
    arrays: tuple[Array, ...]
    body: tuple[Statement, ...]
    size_table: tuple[str, ...] | None = None
    number_table: tuple[str, ...] | None = None
    inner: bool = False
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Module:
    """Functions that are compiled together; `title` says what they are, `dtype` is what F stands for."""

    title: str
    dtype: np.dtype[Any]
    functions: tuple[Function, ...]


# --- reading --------------------------------------------------------------------------------------


def walk(statements: Iterable[Statement]) -> Iterator[Statement]:
    """Go through statements and those inside them, in the order in which they stand."""
    for statement in statements:
        yield statement
        yield from walk(inside(statement))


def inside(statement: Statement) -> tuple[Statement, ...]:
    """Return the statements that stand inside another."""
    if isinstance(statement, Loop):
        return statement.body
    return (*statement.then, *statement.otherwise) if isinstance(statement, Branch) else ()


def accesses(statement: Statement) -> list[Access]:
    """Return the elements that a statement itself reads or writes."""
    return [statement.access] if isinstance(statement, (Load, Store, Accumulate)) else []


def arrays(statements: Iterable[Statement]) -> list[Array]:
    """Return the arrays in statements, each once, in order."""
    found: dict[Array, None] = {}
    for statement in walk(statements):
        for access in accesses(statement):
            found.setdefault(access.array)
        if isinstance(statement, Call):
            for argument in statement.arguments:
                if isinstance(argument, (Address, Array)):
                    found.setdefault(argument if isinstance(argument, Array) else argument.array)
    return list(found)


def scalars(value: Scalar) -> Iterator[Scalar]:
    """Go through a number and those that it is computed from."""
    yield value
    if isinstance(value, Apply):
        for part in value.inputs:
            yield from scalars(part)
    elif isinstance(value, Convert):
        yield from scalars(value.value)


def numbers(statement: Statement) -> list[Scalar]:
    """Return the numbers that a statement itself computes."""
    if isinstance(statement, (Let, Set, Store, Accumulate)):
        return [statement.value]
    return [statement.condition] if isinstance(statement, Branch) else []


def forms(statement: Statement) -> list[Linear]:
    """Return the linear forms in a statement itself."""
    found = [access.place for access in accesses(statement)]
    found += [s.value for n in numbers(statement) for s in scalars(n) if isinstance(s, Index)]
    if isinstance(statement, Define):
        found.append(statement.value)
    elif isinstance(statement, Loop):
        found += [statement.start, statement.stop]
    elif isinstance(statement, Buffer):
        found.append(statement.length)
    elif isinstance(statement, Call):
        found += [a.place for a in statement.arguments if isinstance(a, Address)]
        found += [a for a in statement.arguments if isinstance(a, Linear)]
    return found
