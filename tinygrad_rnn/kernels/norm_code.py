"""The functions of `norm.py` as LLVM's instructions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir

from .native import INT, SHORT, Given, llvm_type, python_entry
from .scalar import declared

DOUBLE = ir.DoubleType()
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
NAMES = ("clipping", *[f"{n}_{8 * d.itemsize}" for n in ("squares", "scaled") for d in FLOATS])


def written(lanes: int, least: float, most: float) -> Any:
    """Return the module.

    Parameters
    ----------
    lanes : int
        How many sums of squares there are.
    least, most : float
        Between these a sum of squares has to be.
    """
    module = ir.Module("norm")
    double = Given(FLOATS[1], 1, True)
    for dtype in FLOATS:
        array = Given(dtype, 1, False)
        python_entry(_squares(module, dtype, lanes), 1, [array, double], [])
        made = array._replace(written=True)
        python_entry(_scaled(module, dtype), 1, [array, double, made], [])
    wrong = [("ArithmeticError", "the norm is not the root of the sum of the squares")]
    python_entry(_clipping(module, least, most), 1, [double] * 4, wrong)
    return module


class _Function:
    """A function of a number of elements and of pointers, which is being written."""

    def __init__(self, module: Any, name: str, kinds: list[Any]) -> None:
        pointers = [kind.as_pointer() for kind in kinds]
        self.function = ir.Function(module, ir.FunctionType(SHORT, [INT, *pointers]), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.size, *self.pointers = self.function.args

    def variable(self, value: Any) -> Any:
        """Return room for a value, to which it is set."""
        with self.builder.goto_entry_block():
            found = self.builder.alloca(value.type)
        self.builder.store(value, found)
        return found

    def at(self, pointer: Any, place: Any) -> Any:
        """Return a pointer to an element."""
        return self.builder.gep(pointer, [place])

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1) -> Iterator[Any]:
        """Write what is done for each number from a start up to a stop."""
        b, k = self.builder, self.variable(start)
        test, body, after = (self.function.append_basic_block() for _ in range(3))
        b.branch(test)
        b.position_at_end(test)
        b.cbranch(b.icmp_signed("<", b.load(k), stop), body, after)
        b.position_at_end(body)
        yield b.load(k)
        b.store(b.add(b.load(k), ir.Constant(INT, step)), k)
        b.branch(test)
        b.position_at_end(after)

    def end(self) -> Any:
        """Return the function, which says that all is well."""
        self.builder.ret(ir.Constant(SHORT, 0))
        return self.function


def _wide(b: Any, value: Any, kind: Any) -> Any:
    return value if value.type == kind else b.fpext(value, kind)


def _squares(module: Any, dtype: np.dtype[Any], lanes: int) -> Any:
    """Write `squares_BITS`. No instruction allows other roundings, so the order stays."""
    kind = llvm_type(dtype)
    code = _Function(module, f"squares_{8 * dtype.itemsize}", [kind, DOUBLE])
    b, (array, found) = code.builder, code.pointers
    wide = ir.VectorType(DOUBLE, lanes)
    sums = code.variable(ir.Constant(wide, None))
    whole = b.sub(code.size, b.srem(code.size, ir.Constant(INT, lanes)))
    with code.loop(ir.Constant(INT, 0), whole, lanes) as k:
        place = b.bitcast(code.at(array, k), ir.VectorType(kind, lanes).as_pointer())
        value = _wide(b, b.load(place, align=dtype.itemsize), wide)
        b.store(b.fadd(b.load(sums), b.fmul(value, value)), sums)
    several = b.bitcast(sums, DOUBLE.as_pointer())
    with code.loop(whole, code.size) as k:
        value = _wide(b, b.load(code.at(array, k)), DOUBLE)
        place = code.at(several, b.sub(k, whole))
        b.store(b.fadd(b.load(place), b.fmul(value, value)), place)
    total: Any = ir.Constant(DOUBLE, 0.0)
    for k in range(lanes):
        total = b.fadd(total, b.load(code.at(several, ir.Constant(INT, k))))
    b.store(total, found)
    return code.end()


def _clipping(module: Any, smallest: float, largest: float) -> Any:
    code = _Function(module, "clipping", [DOUBLE] * 4)
    b, (sums, most, norm, scale) = code.builder, code.pointers
    total = code.variable(ir.Constant(DOUBLE, 0.0))
    with code.loop(ir.Constant(INT, 0), code.size) as k:
        b.store(b.fadd(b.load(total), b.load(code.at(sums, k))), total)
    whole = b.load(total)
    above = b.fcmp_ordered(">", whole, ir.Constant(DOUBLE, smallest))
    below = b.fcmp_ordered("<", whole, ir.Constant(DOUBLE, largest))
    with b.if_then(b.not_(b.and_(above, below)), likely=False):
        b.ret(ir.Constant(SHORT, 1))
    root = b.call(declared(module, "llvm.sqrt.f64", DOUBLE, DOUBLE), [whole])
    limit, least = b.load(most), b.load(code.at(most, ir.Constant(INT, 1)))
    beyond = b.fcmp_ordered(">", root, limit)
    found = b.select(beyond, b.fdiv(limit, root), ir.Constant(DOUBLE, 1.0))
    with b.if_then(b.fcmp_ordered("<", found, least), likely=False):
        b.ret(ir.Constant(SHORT, 1))
    b.store(root, norm)
    b.store(found, scale)
    return code.end()


def _scaled(module: Any, dtype: np.dtype[Any]) -> Any:
    kind = llvm_type(dtype)
    code = _Function(module, f"scaled_{8 * dtype.itemsize}", [kind, DOUBLE, kind])
    b, (array, scale, found) = code.builder, code.pointers
    factor = b.load(scale)
    factor = factor if kind == DOUBLE else b.fptrunc(factor, kind)
    with code.loop(ir.Constant(INT, 0), code.size) as k:
        b.store(b.fmul(b.load(code.at(array, k)), factor), code.at(found, k))
    return code.end()
