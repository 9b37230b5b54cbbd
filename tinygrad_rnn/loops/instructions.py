"""Numbers of the loop language as LLVM's instructions: literals, operators, functions, conversions.

A number has the type that its kind says: a float or a double, an integer of 64 bits, or one bit for
a condition. Numbers of two types become ones of the wider type, as numba has it, so that text and
machine code mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir as llvm

from ..kernels import integers, scalar
from ..kernels.native import llvm_type
from . import ir

BIT, INT = llvm.IntType(1), llvm.IntType(64)
FLOAT, DOUBLE = llvm.FloatType(), llvm.DoubleType()
CONTRACT = ("contract",)
COMPARED = ("<", "<=", ">", ">=", "==", "!=")
ARITHMETIC = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}
OF_INTEGERS = {"+": "add", "-": "sub", "*": "mul"}


class NoInstructions(Exception):
    """There are no instructions for a part of a number; the message says for which."""


class Numbers:
    """What computes numbers where a builder stands.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    base : dtype
        The floating dtype of the module.
    fail : callable
        Is given an exception and a message, and writes how the function ends with it.
    exact : bool
        No product and sum become one instruction, which would not round the product.
    """

    def __init__(
        self,
        builder: Any,
        base: np.dtype[Any],
        fail: Callable[[str, str], None],
        *,
        exact: bool = False,
    ) -> None:
        self.builder, self.fail = builder, fail
        self.flags = () if exact else CONTRACT
        self.kinds = {
            ir.Kind.FLOAT: llvm_type(base),
            ir.Kind.OTHER_FLOAT: llvm_type(ir.dtype_of(ir.Kind.OTHER_FLOAT, base)),
            ir.Kind.INTEGER: INT,
            ir.Kind.BOOLEAN: BIT,
        }

    def number(self, n: ir.Number) -> Any:
        """Return a number that is known."""
        kind = self.kinds[n.kind]
        if n.kind in (ir.Kind.INTEGER, ir.Kind.BOOLEAN):
            return llvm.Constant(kind, int(n.value))
        with np.errstate(over="ignore"):
            number = float(n.value)
            return llvm.Constant(kind, float(np.float32(number)) if kind is FLOAT else number)

    def size_number(self, n: ir.SizeNumber, size: Any) -> Any:
        """Return a number that depends on a size."""
        builder = self.builder
        if n.kind is ir.Kind.INTEGER:
            total = builder.add(size, llvm.Constant(INT, int(n.offset)))
            return builder.mul(total, llvm.Constant(INT, int(n.factor)))
        total = builder.fadd(builder.sitofp(size, DOUBLE), llvm.Constant(DOUBLE, float(n.offset)))
        power = scalar.declared(builder.module, "llvm.pow.f64", DOUBLE, DOUBLE, DOUBLE)
        found = builder.call(power, [total, llvm.Constant(DOUBLE, float(n.power))])
        return self.converted(
            builder.fmul(found, llvm.Constant(DOUBLE, float(n.factor))), self.kinds[n.kind]
        )

    def cut(self, value: Any, dtype: np.dtype[Any]) -> Any:
        """Return an integer that is brought into the range of a narrow dtype."""
        value = self.converted(value, INT)
        if dtype.itemsize == 8:
            return value
        small = self.builder.trunc(value, llvm_type(dtype))
        return (self.builder.zext if dtype.kind == "u" else self.builder.sext)(small, INT)

    def converted(self, value: Any, kind: Any) -> Any:
        """Return a number as one of another type."""
        have, builder = value.type, self.builder
        if have == kind:
            return value
        if kind == BIT:
            raise NoInstructions("a number stands where a condition is wanted")
        if kind == INT:
            return builder.zext(value, INT) if have == BIT else builder.fptosi(value, INT)
        if have == BIT:
            return builder.uitofp(value, kind)
        if have == INT:
            return builder.sitofp(value, kind)
        return (builder.fpext if kind is DOUBLE else builder.fptrunc)(value, kind)

    def _common(self, values: Sequence[Any]) -> tuple[list[Any], bool]:
        """Return numbers as ones of one type, and whether that is floating."""
        kinds = {v.type for v in values}
        if kinds == {FLOAT}:
            return list(values), True
        if FLOAT in kinds or DOUBLE in kinds:
            return [self.converted(v, DOUBLE) for v in values], True
        return [self.converted(v, INT) for v in values], False

    def applied(self, name: str, values: list[Any]) -> Any:
        """Return what an operator or a function makes of numbers."""
        builder = self.builder
        if name in ("and", "or", "not"):
            if any(v.type != BIT for v in values):
                raise NoInstructions(f"expected conditions for '{name}'")
            if name == "not":
                return builder.not_(values[0])
            found = values[0]
            for v in values[1:]:
                found = (builder.and_ if name == "and" else builder.or_)(found, v)
            return found
        if name == "neg":
            return builder.neg(values[0]) if values[0].type == INT else builder.fneg(values[0])
        if name in COMPARED:
            return self._compared(name, values)
        if name in ARITHMETIC:
            values, floating = self._common(values)
            if name == "/" and not floating:
                values, floating = [self.converted(v, DOUBLE) for v in values], True
            found = values[0]
            for v in values[1:]:
                if floating:
                    found = getattr(builder, ARITHMETIC[name])(found, v, flags=self.flags)
                else:
                    found = getattr(builder, OF_INTEGERS[name])(found, v)
            return found
        if name in integers.FUNCTIONS:
            return self._of_integers(name, values)
        return self._function(name, values)

    def _compared(self, sign: str, values: Sequence[Any]) -> Any:
        (a, b), floating = self._common(values)
        if not floating:
            return self.builder.icmp_signed(sign, a, b)
        compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return compare(sign, a, b, flags=CONTRACT)

    def _of_integers(self, name: str, values: list[Any]) -> Any:
        if name not in ("int_select", "int64_of", "int32_of"):
            values = [self.converted(v, INT) for v in values]
        if (refusal := integers.REFUSALS.get(name)) is not None:
            with self.builder.if_then(refusal.holds(self.builder, *values), likely=False):
                self.fail("ValueError", refusal.message)
        return integers.FUNCTIONS[name](self.builder, *values)

    def _function(self, name: str, values: list[Any]) -> Any:
        found = scalar.FORMULAS.get(name)
        if found is None:
            raise NoInstructions(f"there is no function '{name}'")
        condition = []
        if name == "select":
            condition, values = values[:1], values[1:]
            if condition[0].type != BIT:
                raise NoInstructions("expected a condition for 'select'")
        if any(v.type == BIT for v in values):
            raise NoInstructions(f"expected numbers for '{name}', found a condition")
        kind = DOUBLE if any(v.type == DOUBLE for v in values) else FLOAT
        if all(v.type == INT for v in values):
            kind = DOUBLE
        return found(self.builder, *condition, *(self.converted(v, kind) for v in values))
