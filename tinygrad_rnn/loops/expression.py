"""The scalar expression of an operation as a number of the loop language.

NumPy decides in which dtype an operation is computed, and that dtype decides what its expression
means. Among floating numbers it means what it says. Among integers a sum wraps around in their
dtype, a quotient rounds down, and a literal is an integer; among booleans a sum is "or" and a
product is "and". A comparison is computed in the dtype that its operands have in common, and no
conversion makes two different numbers equal.
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .ir import Apply, Convert, Kind, Number, Scalar, SizeNumber, kind_of

INT64 = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)
LEAST, MOST = -(2**63), 2**63 - 1
SIGNS: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.And: "and",
    ast.Or: "or",
    ast.Not: "not",
    ast.USub: "neg",
}
OF_INTEGERS = {"+": "int_add", "-": "int_subtract", "*": "int_multiply", "neg": "int_negative"}
INTEGER_FUNCTIONS = (
    "absolute",
    "sign",
    "mod",
    "floor_divide",
    "power",
    "maximum",
    "minimum",
    "select",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bit_not",
    "shift_left",
    "shift_right",
)
ROUNDING = ("floor", "ceil", "trunc", "round")
OF_BOOLEANS = {"+": "or", "*": "and"}  # NumPy has no others
BITS_OF_BOOLEANS = {"bit_and": "and", "bit_or": "or", "bit_xor": "!=", "bit_not": "not"}


class NoExpression(Exception):
    """An expression has no meaning in the dtype of its operands; the message says which part."""


class UnknownPart(LookupError):
    """An expression has a part that its language does not know."""


class BatchNumber(NamedTuple):
    """A number that depends on the size of the batch: factor * (B + offset) ** power."""

    factor: float
    offset: float
    power: float

    def at(self, batch: int) -> float:
        """Return the number for a batch."""
        return float(self.factor * (batch + self.offset) ** self.power)


class Operand(NamedTuple):
    """An operand of an expression.

    A number of the code with its dtype; or a number, or a `BatchNumber`, which takes the dtype of
    the others and has none itself.
    """

    value: Any
    dtype: np.dtype[Any] | None


def expression(
    primitive: Any,
    params: Mapping[str, Any],
    operands: Sequence[Operand],
    dtype: np.dtype[Any],
    base: np.dtype[Any],
) -> Scalar:
    """Return the expression of an elementwise operation with its operands put in.

    Parameters
    ----------
    primitive : Primitive
    params : mapping
        The parameters of the operation.
    operands : sequence of Operand
        In the order of its inputs.
    dtype : dtype
        Of the result.
    base : dtype
        The floating dtype of the module.

    Raises
    ------
    NoExpression
        If the expression has no meaning among integers or booleans.
    SyntaxError, LookupError
        If it is no expression of the language at all.
    """
    tree = parsed(primitive.scalar)
    several = _small_power(primitive, operands, dtype, base)
    if several is not None:
        return several
    inner = _computed_in(tree, operands, dtype)
    conditions = set(range(len(operands))) - set(range(len(operands))[primitive.promotes])
    named = dict(params)
    for k, (name, operand) in enumerate(zip(primitive.inputs, operands, strict=True)):
        named[name] = _operand(operand, BOOL if k in conditions else inner, base)
        if k in conditions and not isinstance(named[name], Scalar):
            named[name] = Number(bool(named[name]), Kind.BOOLEAN)
    found = _Expression(kind_of(inner, base), named).scalar(tree)
    return Convert(Kind.INTEGER, found, dtype) if _is_narrow(dtype) else found


def _small_power(
    primitive: Any, operands: Sequence[Operand], dtype: np.dtype[Any], base: np.dtype[Any]
) -> Scalar | None:
    """Return a power with a small whole exponent as a product, which takes fewer instructions."""
    if primitive.scalar != "power(a, b)" or dtype.kind != "f":
        return None
    first, exponent = operands
    if exponent.dtype is not None or isinstance(exponent.value, BatchNumber):
        return None
    if first.dtype is None or exponent.value not in (2, 3, 4):
        return None
    found = value = converted(first.value, first.dtype, dtype, base)
    for _ in range(int(exponent.value) - 1):
        found = Apply("*", (found, value))
    return found


def converted(
    value: Scalar, source: np.dtype[Any], target: np.dtype[Any], base: np.dtype[Any]
) -> Scalar:
    """Return a number of one dtype as one of another."""
    have, want = kind_of(source, base), kind_of(target, base)
    if want is Kind.BOOLEAN:
        return value if have is want else Apply("!=", (value, Number(0, have)))
    if want is not Kind.INTEGER:
        return value if have is want else Convert(want, value)
    if have is Kind.BOOLEAN:
        return Convert(want, value)
    if have is Kind.INTEGER:
        return value if np.can_cast(source, target) else wrapped(value, target)
    whole = "int64_of" if target in (INT64, np.dtype(np.uint32)) else "int32_of"
    found = Apply(whole, (value,))
    return found if target == np.int32 else wrapped(found, target)


def wrapped(value: Scalar, dtype: np.dtype[Any]) -> Scalar:
    """Return an integer brought into the range of its dtype, where narrow ones wrap around."""
    return value if dtype == INT64 else Convert(Kind.INTEGER, value, dtype)


class Collecting(NamedTuple):
    """How elements are collected into one number.

    Attributes
    ----------
    start : Number
    combine : str
        An operator or function of what is collected and an element, in memory.
    in_register : str
        The same for a number that a loop keeps in a register: there the order does not count, and
        LLVM may use vectors.
    """

    start: Number
    combine: str
    in_register: str


def collecting(start: float, step: str, dtype: np.dtype[Any], base: np.dtype[Any]) -> Collecting:
    """Return how elements of a dtype are collected, from the start and the step of a reduction."""
    kind = kind_of(dtype, base)
    tree: Any = parsed(step)
    name = _called_name(tree) if isinstance(tree, ast.Call) else SIGNS[type(tree.op)]
    if kind is Kind.BOOLEAN:  # the smallest says whether all hold; all else whether one does
        every = name in ("and", "minimum")
        return Collecting(Number(every, kind), "and" if every else "or", "")
    if kind is Kind.INTEGER:
        first = start if abs(start) <= MOST else MOST if start > 0 else LEAST
        return Collecting(Number(first, kind), OF_INTEGERS.get(name, f"int_{name}"), "")
    return Collecting(Number(start, kind), name, REGISTERS.get(name, ""))


REGISTERS = {"+": "plus", "maximum": "largest", "minimum": "smallest"}


@functools.cache
def parsed(scalar: str) -> Any:
    """Return the tree of a scalar expression."""
    return ast.parse(scalar, mode="eval").body


def _called_name(tree: ast.Call) -> str:
    name: str = tree.func.id  # type: ignore[attr-defined]
    return name


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" and dtype != INT64


def _computed_in(
    tree: ast.expr, operands: Sequence[Operand], dtype: np.dtype[Any]
) -> np.dtype[Any]:
    """Return the dtype in which NumPy computes an operation whose result has a dtype.

    A comparison is computed in one that its operands have in common, others in that of the result.
    """
    if isinstance(tree, (ast.BoolOp, ast.UnaryOp)) and dtype == BOOL:
        return BOOL
    if isinstance(tree, ast.Compare):
        dtypes = [o.dtype for o in operands if o.dtype is not None]
        return next((d for d in dtypes if d.kind == "f"), INT64)
    return dtype


def _operand(operand: Operand, dtype: np.dtype[Any], base: np.dtype[Any]) -> Any:
    """Return an operand as a number of a dtype; a bare number stays one until its place is known."""
    if operand.dtype is not None:
        return converted(operand.value, operand.dtype, dtype, base)
    if isinstance(operand.value, BatchNumber):
        factor, offset, power = operand.value
        return SizeNumber(factor, "B", offset, power, kind_of(dtype, base))
    return operand.value


class _Expression:
    """An expression among numbers of one kind."""

    def __init__(self, kind: Kind, named: Mapping[str, Any]) -> None:
        self.kind, self.named = kind, named

    def scalar(self, tree: Any) -> Scalar:
        """Return the number that a part of the expression stands for."""
        value = self.value(tree)
        return value if isinstance(value, Scalar) else Number(value, self.kind)

    def value(self, tree: Any) -> Any:
        """Return a part of the expression: computed, or a number, or None for an absent bound."""
        if isinstance(tree, ast.Name):
            return math.inf if tree.id == "inf" else self.named[tree.id]
        if isinstance(tree, ast.Constant):
            return tree.value
        if isinstance(tree, ast.Compare):
            return self._compared(tree)
        if isinstance(tree, ast.Call):
            return self._called(_called_name(tree), [self.value(a) for a in tree.args])
        if isinstance(tree, ast.BoolOp):
            parts = tree.values
        elif isinstance(tree, (ast.BinOp, ast.UnaryOp)):
            parts = [tree.operand] if isinstance(tree, ast.UnaryOp) else [tree.left, tree.right]
        else:
            raise UnknownPart(f"{ast.unparse(tree)} is no part of a scalar expression")
        return self._operator(SIGNS[type(tree.op)], tuple(self.scalar(part) for part in parts))

    def _operator(self, sign: str, inputs: tuple[Scalar, ...]) -> Scalar:
        if self.kind is Kind.INTEGER and sign in OF_INTEGERS:
            return Apply(OF_INTEGERS[sign], inputs)
        if self.kind is Kind.BOOLEAN and sign in OF_BOOLEANS:
            return Apply(OF_BOOLEANS[sign], inputs)
        if self.kind in (Kind.INTEGER, Kind.BOOLEAN) and sign not in ("and", "or", "not"):
            raise self._unknown(sign)
        return Apply(sign, inputs)

    def _compared(self, tree: ast.Compare) -> Scalar:
        """Return a comparison of exact numbers.

        One with a number that no int64 can hold is decided by any number on its side.
        """
        sides = [self.value(tree.left), self.value(tree.comparators[0])]
        if self.kind in (Kind.INTEGER, Kind.BOOLEAN):
            for k, side in enumerate(sides):
                if not isinstance(side, Scalar) and not LEAST <= side <= MOST:
                    sides[k], sides[1 - k] = int(side > 0), int(side < 0)
        both = [side if isinstance(side, Scalar) else Number(side, self.kind) for side in sides]
        return Apply(SIGNS[type(tree.ops[0])], tuple(both))

    def _called(self, name: str, inputs: list[Any]) -> Any:
        there = [
            v if isinstance(v, Scalar) else Number(v, self.kind) for v in inputs if v is not None
        ]
        bound = name in ("maximum", "minimum")
        exact = self.kind in (Kind.INTEGER, Kind.BOOLEAN)
        if len(there) == 1 and (bound or (name in ROUNDING and exact)):
            return there[0]  # one bound is not there; an integer is whole already
        if self.kind is Kind.BOOLEAN and (bound or name == "absolute"):
            sign = "or" if name == "maximum" else "and"
            return there[0] if len(there) == 1 else Apply(sign, tuple(there))
        if self.kind is Kind.INTEGER and name in INTEGER_FUNCTIONS:
            return Apply(f"int_{name}", tuple(there))
        if self.kind is Kind.BOOLEAN and name in BITS_OF_BOOLEANS:
            return Apply(BITS_OF_BOOLEANS[name], tuple(there))
        if self.kind is Kind.BOOLEAN and name == "select":
            return Apply("int_select", tuple(there))
        if exact:
            raise self._unknown(name)
        return Apply(name, tuple(there))

    def _unknown(self, what: str) -> NoExpression:
        among = "booleans" if self.kind is Kind.BOOLEAN else "integers"
        return NoExpression(f"there is no code for {what} of {among}; convert them with .astype")
