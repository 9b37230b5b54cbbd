"""The update of a training rule as one loop over the elements of all parameters.

The loop is compiled without numba's help. Sums, products, quotients, roots and squares in it are
rounded as NumPy rounds them, and the rules of this package have no others, so that it does not show
which of the two has done a step; exp, tanh and other powers may differ in the last digit.
Parameters that are updated together are one call: a table says where the gradient of each is
(`kernels/driver.py`).
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.memory import empty
from ..core.primitive import Array, Spec
from ..core.tape import Node
from ..core.trace import Program, trace
from ..kernels import runtime
from ..kernels.table import Call, Given, Place, Table
from ..loops import ir
from ..loops.elementwise import SHARED, computed
from ..loops.launch import CodeRefused, compiled
from ..loops.linear import Linear
from ..loops.style import EXACT
from ..loops.writer import write
from ..ops.as_code import shares
from ..ops.elementwise import add, divide, multiply, neg, subtract

# operations of which NumPy's numbers are not different
BY_PYTHON: dict[Any, Callable[..., Any]] = {
    neg.primitive: operator.neg,
    add.primitive: operator.add,
    subtract.primitive: operator.sub,
    multiply.primitive: operator.mul,
    divide.primitive: operator.truediv,
}
KEPT = 16  # tables, and joined arrays, for different parameters that have a gradient


class NoLoop(Exception):
    """A rule cannot be a loop over elements."""


class Update:
    """What a rule does to a parameter, for elements of one dtype.

    Parameters
    ----------
    rule : callable
        From numbers and arrays to arrays, the first of which are the new values.
    numbers, arrays : int
        How many it takes. The first array holds the values, the second their gradient.
    dtype : dtype

    Raises
    ------
    NoLoop, OSError
        If the rule is not made of elementwise operations, or cannot be compiled.
    """

    def __init__(
        self, rule: Callable[..., Any], numbers: int, arrays: int, dtype: np.dtype[Any]
    ) -> None:
        self.dtype, self.arrays = dtype, arrays
        program = trace(rule, *[Spec(())] * (numbers + arrays))
        if program.constants or any(n.primitive.scalar is None for n in program.nodes):
            raise NoLoop("the rule is not made of elementwise operations")
        self._alone, every = _apart(program, numbers)
        self.count = len(every)  # of the numbers that the loop reads
        program = Program(every + program.inputs[-arrays:], program.outputs)
        self.made = len(program.outputs)
        text = write(
            ir.Module("the update of a training rule", dtype, (_loop(program, len(every), dtype),)),
            EXACT,
        )
        try:
            self.address: int = compiled(text).addresses["update"]
        except CodeRefused as refused:
            raise NoLoop(refused.reason) from refused
        self._tables: dict[Any, list[list[Array]]] = {}

    def __call__(
        self,
        numbers: Sequence[float],
        value: Array,
        gradients: Sequence[Array],
        buffers: Sequence[Array],
    ) -> list[Array] | None:
        """Return new values and buffers, each in one array like that of the values.

        None if machine code cannot read an array, which stands at an odd place in memory, say.

        Parameters
        ----------
        numbers : sequence of float
        value : array
        gradients : sequence of array
            One after the other they have as many elements as the values.
        buffers : sequence of array
            Like the values.
        """
        from ..kernels import driver

        given = [self.numbers(numbers), value, *gradients, *buffers]
        given = [a if a.flags.c_contiguous else np.ascontiguousarray(a) for a in given]
        outs = [empty(value.shape, self.dtype) for _ in range(self.made)]
        parts = min(runtime.threads(), value.size) if value.size >= SHARED else 1
        key = (parts, *[a.shape for a in given])
        idle = self._tables.get(key)
        if idle is None:
            if len(self._tables) >= KEPT:
                self._tables = {}
            idle = self._tables[key] = []
        try:
            tables = idle.pop()
        except IndexError:
            tables = self._made(given, outs, len(gradients), parts)
        wrong = driver.make_calls(tables, (*given, *outs))
        idle.append(tables)
        return None if wrong else outs

    def numbers(self, numbers: Sequence[float]) -> Array:
        """Return all numbers that the loop reads: those of the rule, and what it makes of them."""
        every = [*numbers]
        for operation, inputs in self._alone:
            every.append(operation(*[every[i] if own else i for own, i in inputs]))
        return np.array(every, self.dtype)

    def _made(
        self, given: Sequence[Array], outs: Sequence[Array], pieces: int, parts: int
    ) -> list[Array]:
        """Return for each thread the table of its calls."""
        size, total = self.dtype.itemsize, given[1].size
        arrays = [Given(a.shape, a.dtype, k >= len(given)) for k, a in enumerate((*given, *outs))]
        ends = list(itertools.accumulate([g.size for g in given[2 : 2 + pieces]], initial=0))
        found = []
        for lo, hi in shares(total, parts):
            calls = []
            for k in range(pieces):
                first, last = max(lo, ends[k]), min(hi, ends[k + 1])
                if first >= last:
                    continue
                at = [Place(1, first * size), Place(2 + k, (first - ends[k]) * size)]
                at += [Place(n, first * size) for n in range(2 + pieces, len(arrays))]
                calls.append(Call(self.address, True, [last - first, Place(0), *at]))
            found.append(Table(arrays, calls).copy())
        return found


def _apart(program: Program, numbers: int) -> tuple[list[Any], list[Node]]:
    """Return what a rule computes of numbers alone, and the nodes of all its numbers.

    Python does that, in float64: of float32 numbers 1 - 0.99999999 would be 0. Of each operation
    there is what does it and for each input whether it is one of the numbers, and which.
    """
    found = program.inputs[:numbers]
    operations = []
    for node in program.nodes:
        if any(isinstance(i, Node) and i not in found for i in node.inputs):
            continue
        operation = BY_PYTHON.get(node.primitive)
        if operation is None:
            raise NoLoop(f"the rule computes {node.op} of numbers alone")
        inputs = [
            (True, found.index(i)) if isinstance(i, Node) else (False, i) for i in node.inputs
        ]
        operations.append((operation, inputs))
        found.append(node)
    return operations, found


def _loop(program: Program, numbers: int, dtype: np.dtype[Any]) -> ir.Function:
    """Return a loop over `size` elements, with the numbers as one array."""
    names = tuple(f"c{k}" for k in range(numbers))
    lane = Linear.of("j")
    values: dict[Any, ir.Scalar] = dict(zip(program.inputs, map(ir.Var, names), strict=False))
    body: list[ir.Statement] = []
    ins: list[ir.Array] = []
    for k, node in enumerate(program.inputs[numbers:]):
        ins.append(ir.Array(f"x{k}", ir.Kind.FLOAT, ir.Role.INPUT, written=False))
        body.append(ir.Load(f"v{k}", ir.Access(ins[-1], lane)))
        values[node] = ir.Var(f"v{k}")
    body += computed(program, values, dtype)
    outs = [ir.Array(f"y{k}", ir.Kind.FLOAT, ir.Role.OUTPUT) for k in range(len(program.outputs))]
    for out, o in zip(outs, program.outputs, strict=True):
        value = values[o] if isinstance(o, Node) else ir.Number(float(o), ir.Kind.FLOAT)
        body.append(ir.Store(ir.Access(out, lane), value))
    loop = ir.Loop("j", Linear.of("size"), tuple(body), ir.LoopKind.LANES)
    return ir.Function("update", ("size",), (*ins, *outs), (loop,), number_table=names)
