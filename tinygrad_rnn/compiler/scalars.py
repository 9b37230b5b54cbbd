"""The scalar expression of an operation as code of a certain type.

Code knows four kinds of numbers: F, the floating dtype of the module; D, the other one; I,
integers, which are held as int64 whatever their dtype; and Q, booleans. NumPy decides in which
dtype an operation is computed, and that dtype decides what its expression means: a float beside
floats is a literal of their kind; among integers a sum wraps around in their dtype, a quotient
rounds down, and a literal is an integer; among booleans a sum is "or" and a product is "and". A
comparison is computed in the dtype that its operands have in common, and no cast makes two
different numbers equal.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..kernels.fused import _expression, _literal
from .op import Op
from .step import Sized
from .views import unsupported

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
INT64 = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)
COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
ARITHMETIC = {ast.Add: "int_add", ast.Sub: "int_subtract", ast.Mult: "int_multiply"}
OF_BOOLS = {ast.Add: "or", ast.Mult: "and"}  # others NumPy does not have
# of kernels/integers.py
OF_INTEGERS = (
    "int_absolute",
    "int_sign",
    "int_mod",
    "int_power",
    "int_maximum",
    "int_minimum",
    "int_select",
)
LEAST, MOST = -(2**63), 2**63 - 1


def kind_of(dtype: np.dtype[Any], base: np.dtype[Any]) -> str:
    """How the code calls a type.

    F the floating one of the module, D the other, I an integer, Q a boolean.
    """
    return (
        "Q" if dtype.kind == "b" else "I" if dtype.kind in "iu" else "F" if dtype == base else "D"
    )


def literal(value: Any, kind: str) -> str:
    """A number as code."""
    if kind == "I":
        # of which Python would make -(2 ** 63)
        return str(int(value)) if value > LEAST else f"({int(value) + 1} - 1)"
    return str(bool(value)) if kind == "Q" else kind + _literal(value)[1:]


def wrapped(text: str, dtype: np.dtype[Any]) -> str:
    """An integer expression brought into the range of its dtype, where narrow ones wrap around."""
    return text if dtype == INT64 else f"I(np.{dtype.name}({text}))"


def converted(
    text: str, source: np.dtype[Any], target: np.dtype[Any], base: np.dtype[Any]
) -> tuple[str, set[str]]:
    """A variable of one dtype as code of another, and the functions that it calls."""
    have, want = kind_of(source, base), kind_of(target, base)
    if want == "Q":
        return (text if have == "Q" else f"({text} != 0)"), set()
    if want != "I":
        return (text if have == want else f"{want}({text})"), set()
    if have == "Q":
        return f"I({text})", set()
    if have == "I":
        return (text if np.can_cast(source, target) else wrapped(text, target)), set()
    whole = "int64_of" if target in (INT64, np.dtype(np.uint32)) else "int32_of"
    found = f"{whole}({text})"
    return (found if target == np.int32 else wrapped(found, target)), {whole}


class Operand(NamedTuple):
    """An operand of an expression: a variable with its dtype.

    Or a number, or a `Sized` one, without.
    """

    value: Any
    dtype: np.dtype[Any] | None


def expression(op: Op, operands: Sequence[Operand], base: np.dtype[Any]) -> tuple[str, set[str]]:
    """The expression of an operation, and the functions that it calls.

    Parameters
    ----------
    op : Op
        An elementwise one.
    operands : sequence of Operand
        In the order of its inputs.
    base : dtype
        The floating dtype of the module.
    """
    primitive: Any = op.node.primitive
    dtype = _computed_in(op, operands)
    conditions = set(range(len(operands))) - set(range(len(operands))[primitive.promotes])
    texts = [_operand(o, BOOL if k in conditions else dtype, base) for k, o in enumerate(operands)]
    called = {name for _, names in texts for name in names}
    if dtype.kind == "f":
        kind = kind_of(dtype, base)
        inputs = [
            _Named(text) if text else o.value for (text, _), o in zip(texts, operands, strict=True)
        ]
        names = {i: i.text for i in inputs if isinstance(i, _Named)}

        def put(value: Any) -> str:
            return literal(value, kind)

        text, more = _expression(_Stand(primitive, op.node.params, inputs), names, put, put)
        return text, called | more
    named = {
        name: text or o.value
        for name, (text, _), o in zip(primitive.inputs, texts, operands, strict=True)
    }
    typed = _Typed(op, dtype, named | op.node.params)
    text = typed.text(_parsed(primitive.scalar))
    return (wrapped(text, op.dtype) if op.dtype.kind in "iu" else text), called | typed.called


def _computed_in(op: Op, operands: Sequence[Operand]) -> np.dtype[Any]:
    """In which dtype NumPy computes an operation.

    A comparison in one that its operands have in common, others in that of the result.
    """
    primitive: Any = op.node.primitive
    tree = _parsed(primitive.scalar)
    if isinstance(tree, (ast.BoolOp, ast.UnaryOp)) and op.dtype == BOOL:
        return BOOL
    if isinstance(tree, ast.Compare):
        return next(
            (o.dtype for o in operands if o.dtype is not None and o.dtype.kind == "f"), INT64
        )
    return op.dtype


def _operand(operand: Operand, dtype: np.dtype[Any], base: np.dtype[Any]) -> tuple[str, set[str]]:
    """An operand as code of a dtype, and what it calls.

    No code for a number, of which the place decides what it is.
    """
    if operand.dtype is not None:
        return converted(operand.value, operand.dtype, dtype, base)
    return (
        operand.value.code(kind_of(dtype, base)) if isinstance(operand.value, Sized) else ""
    ), set()


class _Named:
    """In place of an operand that has code."""

    def __init__(self, text: str) -> None:
        self.text = text


class _Stand(NamedTuple):
    """A node whose operands are numbers, or have code."""

    primitive: Any
    params: dict[str, Any]
    inputs: list[Any]


@functools.cache
def _parsed(scalar: str) -> ast.expr:
    return ast.parse(scalar, mode="eval").body


class _Typed:
    """An expression among integers, or among booleans.

    Attributes
    ----------
    called : set of str
        The functions that the text calls.
    """

    def __init__(self, op: Op, dtype: np.dtype[Any], named: dict[str, Any]) -> None:
        self.op, self.kind, self.named = op, "Q" if dtype == BOOL else "I", named
        self.called: set[str] = set()

    def text(self, tree: Any) -> str:
        """The code of an expression."""
        value = self.value(tree)
        return value if isinstance(value, str) else literal(value, self.kind)

    def value(self, tree: Any) -> Any:
        """The code, or a number; None for a bound that is not there."""
        if isinstance(tree, ast.Name):
            return np.inf if tree.id == "inf" else self.named[tree.id]
        if isinstance(tree, ast.Constant):
            return tree.value
        if isinstance(tree, ast.Compare):
            return self._compared(tree)
        if isinstance(tree, ast.BoolOp):
            return (" and " if isinstance(tree.op, ast.And) else " or ").join(
                self.text(part) for part in tree.values
            )
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
            return f"not {self.text(tree.operand)}"
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub) and self.kind == "I":
            self.called.add("int_negative")
            return f"int_negative({self.text(tree.operand)})"
        sign = (
            (ARITHMETIC if self.kind == "I" else OF_BOOLS).get(type(tree.op))
            if isinstance(tree, ast.BinOp)
            else None
        )
        if sign is not None and self.kind == "I":
            self.called.add(sign)
            return f"{sign}({self.text(tree.left)}, {self.text(tree.right)})"
        if sign is not None:
            return f"{self.text(tree.left)} {sign} {self.text(tree.right)}"
        if isinstance(tree, ast.Call):
            return self._called(tree)
        raise self._unknown(ast.unparse(tree))

    def _compared(self, tree: ast.Compare) -> str:
        """A comparison of exact numbers.

        One with a number that no int64 can hold is decided by any number on its side.
        """
        sides = [self.value(tree.left), self.value(tree.comparators[0])]
        for k, side in enumerate(sides):
            if not isinstance(side, str) and not LEAST <= side <= MOST:
                sides[k], sides[1 - k] = int(side > 0), int(side < 0)
        left, right = (
            side if isinstance(side, str) else literal(side, self.kind) for side in sides
        )
        return f"{left} {COMPARE[type(tree.ops[0])]} {right}"

    def _called(self, tree: Any) -> str:
        name: str = tree.func.id
        parts: list[Any] = [self.value(a) for a in tree.args]
        parts = [p if isinstance(p, str) else literal(p, self.kind) for p in parts if p is not None]
        if (len(parts) == 1 and name in ("maximum", "minimum", "floor")) or (
            name == "absolute" and self.kind == "Q"
        ):
            return str(parts[0])  # one bound is not there; nothing is to be done
        if self.kind == "Q" and name in ("maximum", "minimum"):
            return (" or " if name == "maximum" else " and ").join(parts)
        if f"int_{name}" not in OF_INTEGERS or (self.kind == "Q" and name != "select"):
            raise self._unknown(name)
        self.called.add(f"int_{name}")
        return f"int_{name}({', '.join(parts)})"

    def _unknown(self, what: str) -> Exception:
        return unsupported(
            self.op,
            f"there is no code for {what} of {'booleans' if self.kind == 'Q' else 'integers'}; convert them with .astype",
        )
