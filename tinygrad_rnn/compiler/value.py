"""A value of a recorded program: what one operation computes, or what the program is given.

A `Value` is a node of the tape as the compiler works with it. In the program of a cell one size is
not known, that of the batch, and stands in shapes and parameters as `B`. In the program of a
function all sizes are numbers. Nothing else is different, so both go through the same compiler.
"""

from __future__ import annotations

import contextlib
import enum
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.primitive import Primitive
from ..core.tape import Leaf, Node
from ..loops.ir import Let, Origin, Statement
from ..ops.facts import facts_of, is_zero

B = "B"  # the size of the batch, where it is not known
Size = Any  # an int, or B


class CompileError(TinygradError, NotImplementedError):
    """A program cannot be compiled: the message names the operation, its line, and why."""


class Refused(Exception):
    """The expression of an operation cannot be written; the cause says why."""

    def __init__(self, value: Value) -> None:
        super().__init__(value)
        self.value = value


@contextlib.contextmanager
def own_faults(name: str) -> Iterator[None]:
    """Turn what goes wrong inside into a CompileError that says the fault is the compiler's.

    What the machine lacks, such as memory, passes as it is.
    """
    try:
        yield
    except (TinygradError, OSError, MemoryError):
        raise
    except Exception as error:
        raise CompileError(
            f"tg.jit: no code could be made of '{name}'; the fault is the compiler's "
            f"({type(error).__name__}: {error}). Within tg.eager() it runs as if it were not compiled."
        ) from error


class Given(enum.Enum):
    """What a program is given, as opposed to what it computes."""

    INPUT = "x"  # anew at each step; of a function, an argument
    STATE = "state"  # from step to step
    FIXED = "fixed"  # for a whole sequence, with rows
    CONSTANT = "constant"  # for a whole sequence, without rows
    COTANGENT = "cotangent"  # the gradient of an output or of a new state
    RESIDUAL = "residual"  # a value of the forward program, in the backward one


class Value:
    """One array that a program computes or is given.

    Attributes
    ----------
    primitive : Primitive or None
        None for what is given.
    given : Given or None
        None for what is computed.
    inputs : list of Value or number
    params : dict
    shape : tuple of int or B
    batch : int or None
        Which axis is the batch.
    features : tuple of int
        The sizes of the other axes.
    size : int
        Number of elements of one row of the batch.
    dtype : dtype
    node : Node
        The node that it is, or that it helps to compute: for names, lines and values of constants.
    place : int
        Its place among the values that are given in the same way.
    merged : list of list of int, or None
        Where an axis of the node is made of several axes of the value, see `merged.py`.
    varies : bool
        Whether it depends on what changes from step to step; otherwise it is hoisted.
    hoisted : bool
        Whether it is computed once, before all loops, so that the loops find it as an array.
    """

    __slots__ = (
        "_layout",
        "batch",
        "dtype",
        "features",
        "given",
        "hoisted",
        "inputs",
        "merged",
        "node",
        "params",
        "place",
        "primitive",
        "shape",
        "size",
        "varies",
    )

    def __init__(
        self,
        primitive: Primitive | None,
        inputs: list[Any],
        params: dict[str, Any],
        shape: Sequence[Size],
        node: Node,
        *,
        dtype: np.dtype[Any] | None = None,
        given: Given | None = None,
        place: int = 0,
    ) -> None:
        self.primitive, self.inputs, self.params = primitive, inputs, params
        self.shape, self.node, self.given, self.place = tuple(shape), node, given, place
        self.batch = self.shape.index(B) if B in self.shape else None
        self.features: tuple[int, ...] = tuple([n for n in self.shape if n != B])
        self.size = math.prod(self.features)
        self.dtype: np.dtype[Any] = node.dtype if dtype is None else dtype
        self.merged: list[list[int]] | None = None
        self.varies: bool = given not in (None, Given.CONSTANT) or any(
            v.varies for v in self.sources
        )
        self.hoisted = False
        self._layout: Any = None  # found by `layout.py` when it is first asked for

    def change(self, primitive: Primitive, inputs: list[Any], params: dict[str, Any]) -> None:
        """Compute the same value in another way."""
        self.primitive, self.inputs, self.params, self._layout = primitive, inputs, params, None

    @property
    def op(self) -> str:
        """The name of the operation, for people; of what is given the word for that."""
        if self.primitive is not None:
            return self.primitive.name.rpartition(".")[2]
        return "value" if self.given is None else self.given.value

    @property
    def leaf(self) -> bool:
        """Whether the loops find it as an array: it is given or hoisted."""
        return self.primitive is None or self.hoisted

    @property
    def sources(self) -> list[Value]:
        """The inputs that are values."""
        return [i for i in self.inputs if isinstance(i, Value)]

    @property
    def nbytes(self) -> int:
        """Bytes of one row of the batch."""
        return self.size * self.dtype.itemsize

    @property
    def scalar(self) -> bool:
        """Whether its primitive has a scalar expression."""
        return self.primitive is not None and self.primitive.scalar is not None

    @property
    def zero(self) -> bool:
        """Whether it is known to be zero, or has no elements; -0.0 is no such zero."""
        value = self
        while True:
            if 0 in value.shape or is_zero(value.primitive):
                return True
            if value.given is Given.CONSTANT:
                node = value.node
                if not isinstance(node, Leaf) or node.tensor is not None:
                    return False
                return isinstance(node.value, np.ndarray) and not any(node.value.tobytes())
            if value.given is not None or facts_of(value.primitive).view is None:
                return False
            value = value.inputs[0]

    def origin(self) -> Origin:
        """Return what a statement says of where it comes from."""
        return Origin(self.op, self.node, self)

    def __repr__(self) -> str:
        return f"<{self.op} {'x'.join(map(str, self.shape))} {self.dtype}>"


def alive(values: Sequence[Value], outputs: Iterable[Value]) -> list[Value]:
    """Return those of the values that the outputs depend on, in order."""
    wanted = set(outputs)
    for value in reversed(values):
        if value in wanted and not value.leaf:
            wanted.update(value.sources)
    return [v for v in values if v in wanted]


def unsupported(value: Any, why: str) -> CompileError:
    """Return the error that names an operation and its line."""
    shape = "x".join(map(str, value.shape)) or "scalar"
    where = value.node.where.described()
    return CompileError(f"tg.jit: {value.op} (of shape {shape}) cannot be compiled: {why}{where}")


def uses_of(programs: Iterable[list[Value]], ends: Iterable[Value]) -> Counter[Value]:
    """Return how often values are read in programs; what somebody else reads as well counts twice more."""
    uses = Counter(i for program in programs for v in program for i in v.sources)
    uses.update(list(ends) * 2)
    return uses


def put_before(
    at: Value,
    program: list[Value],
    primitive: Any,
    inputs: Any,
    params: Any,
    shape: Sequence[Any],
    *,
    like: Value | None = None,
) -> Value:
    """Return a new value, which is put into a program before another one.

    It has the dtype, and the line of the source, of that one or of the value that it is `like`.
    """
    like = like or at
    made = Value(primitive, inputs, params, shape, like.node, dtype=like.dtype)
    made.hoisted = not made.varies and made.batch is None
    program.insert(program.index(at), made)
    return made


def operations(line_of: Callable[[Value], str]) -> Callable[[Statement], list[str]]:
    """Return what to write beside statements: the operation that each is of, and its line."""

    def beside(statement: Statement) -> list[str]:
        origin = statement.origin if isinstance(statement, Let) else None
        value = None if origin is None else origin.value
        return [f"{value.op}{line_of(value)}"] if isinstance(value, Value) else []

    return beside
