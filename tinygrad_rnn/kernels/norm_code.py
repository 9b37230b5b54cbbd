"""The functions of `norm.py` as LLVM's instructions."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from .driver import Code, number
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


class _Function(Code):
    """A function of a number of elements and of pointers, which is being written."""

    def __init__(self, module: Any, name: str, kinds: list[Any]) -> None:
        pointers = [kind.as_pointer() for kind in kinds]
        super().__init__(ir.Function(module, ir.FunctionType(SHORT, [INT, *pointers]), name))
        self.size, *self.pointers = self.function.args

    def at(self, pointer: Any, place: Any) -> Any:
        """Return a pointer to an element."""
        return self.builder.gep(pointer, [place])

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
    whole = b.sub(code.size, b.srem(code.size, number(lanes)))
    with code.loop(whole, step=lanes) as k:
        place = b.bitcast(code.at(array, k), ir.VectorType(kind, lanes).as_pointer())
        value = _wide(b, b.load(place, align=dtype.itemsize), wide)
        b.store(b.fadd(b.load(sums), b.fmul(value, value)), sums)
    several = b.bitcast(sums, DOUBLE.as_pointer())
    with code.loop(code.size, whole) as k:
        value = _wide(b, b.load(code.at(array, k)), DOUBLE)
        place = code.at(several, b.sub(k, whole))
        b.store(b.fadd(b.load(place), b.fmul(value, value)), place)
    total: Any = ir.Constant(DOUBLE, 0.0)
    for k in range(lanes):
        total = b.fadd(total, b.load(code.at(several, number(k))))
    b.store(total, found)
    return code.end()


def _clipping(module: Any, smallest: float, largest: float) -> Any:
    code = _Function(module, "clipping", [DOUBLE] * 4)
    b, (sums, most, norm, scale) = code.builder, code.pointers
    total = code.variable(ir.Constant(DOUBLE, 0.0))
    with code.loop(code.size) as k:
        b.store(b.fadd(b.load(total), b.load(code.at(sums, k))), total)
    whole = b.load(total)
    above = b.fcmp_ordered(">", whole, ir.Constant(DOUBLE, smallest))
    below = b.fcmp_ordered("<", whole, ir.Constant(DOUBLE, largest))
    with b.if_then(b.not_(b.and_(above, below)), likely=False):
        b.ret(ir.Constant(SHORT, 1))
    root = b.call(declared(module, "llvm.sqrt.f64", DOUBLE, DOUBLE), [whole])
    limit, least = b.load(most), b.load(code.at(most, number(1)))
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
    with code.loop(code.size) as k:
        b.store(b.fmul(b.load(code.at(array, k)), factor), code.at(found, k))
    return code.end()
