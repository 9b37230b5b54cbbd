"""One recorded step, with the size of the batch left open.

The cell is traced twice, with batches of two different sizes. Where the two recordings differ, a size is the batch: so the axes, settings
and numbers that stand for it are found, and the program that is left serves a batch of any size. Nothing is recorded that the tape does
not record for everybody; an `Op` is a node in which the batch has a name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.primitive import Spec
from ..core.tape import Leaf, Node, at_step, setting
from ..core.trace import Program, trace
from ..core.tree import leaves, tree_map
from ..ops.elementwise import exp, isfinite, log, sqrt, square, where
from ..ops.reductions import _count
from ..ops.reductions import max as largest
from ..ops.reductions import sum as total

SIZES = (11, 13)  # of the two batches; a size that is 11 in one recording and 13 in the other is the batch's
B = "B"  # the size of the batch, in shapes

Size = Any  # an int, or B


class CompileError(TinygradError, NotImplementedError):
    """A step that cannot be compiled: the message names the operation, its line, and why."""


class Op:
    """A node of one step.

    Attributes
    ----------
    op : str
        The primitive's name; "x", "state", "constant", "cotangent" for what is given.
    inputs : list of Op or number
    params : dict
    shape : tuple of int or B
    dtype : dtype
    batch : int or None
        Which axis is the batch.
    features : tuple of int
        The sizes of the other axes.
    size : int
        Elements of one row.
    node : Node
        Of the first recording: for names, lines and values of constants.
    varies : bool
        It depends on what changes from step to step; otherwise it is computed once for a whole sequence.
    """

    __slots__ = ("batch", "dtype", "features", "inputs", "node", "op", "params", "place", "shape", "size", "varies")

    def __init__(self, op: str, node: Node, shape: tuple[Size, ...], inputs: list[Any], params: dict[str, Any]) -> None:
        self.op, self.node, self.shape, self.inputs, self.params = op, node, shape, inputs, params
        self.dtype = node.dtype
        self.place = 0
        self.batch = shape.index(B) if B in shape else None
        self.features = tuple(n for n in shape if n != B)
        self.size = math.prod(self.features)
        self.varies: bool = op in ("x", "state", "cotangent") or any(isinstance(i, Op) and i.varies for i in inputs)

    @property
    def elementwise(self) -> bool:
        """Whether its primitive has a scalar expression."""
        return self.op == self.node.op and self.node.primitive is not None and self.node.primitive.scalar is not None

    def __repr__(self) -> str:
        return f"<{self.op} {'x'.join(map(str, self.shape))}>"


class Step:
    """The forward and the backward program of one step.

    Attributes
    ----------
    xs, states, constants : list of Op
        What the step is given.
    outputs, new_states : list of Op
    forward, backward : list of Op
        In order.
    d_outputs, d_states : list of Op
        Cotangents of the outputs and of the new states.
    gradients : dict of Op to Op or None
        For each floating input and constant with a gradient.
    """

    def __init__(self, cell: Callable[..., Any], x: Any, state: Any, name: str) -> None:
        (first, back, wrt), (second, back2, _) = [_record(cell, _sized(x, n), _sized(state, n), name) for n in SIZES]
        self.name = name
        self.known: dict[Node, Op] = {}
        self.forward: list[Op] = []
        self.backward: list[Op] = []
        count = len(leaves(x))
        given = list(zip(first.inputs, second.inputs, strict=True))
        self.xs = [self._given("x", a, b, i) for i, (a, b) in enumerate(given[:count])]
        self.states = [self._given("state", a, b, i) for i, (a, b) in enumerate(given[count:])]
        self.constants: list[Op] = []
        for a, b in zip(_constants(first), _constants(second), strict=True):
            self._constant(a, b)
        self._programs(first, second, self.forward)
        outputs = [self._output(o) for o in first.outputs]
        split = len(outputs) - len(self.states)
        self.outputs, self.new_states = outputs[:split], outputs[split:]
        reads = len(back.inputs) - len(outputs)
        pairs = list(zip(back.inputs[reads:], back2.inputs[reads:], strict=True))
        cotangents = [self._given("cotangent", a, b, i) for i, (a, b) in enumerate(pairs)]
        self.d_outputs, self.d_states = cotangents[:split], cotangents[split:]
        for a, b in zip(_constants(back), _constants(back2), strict=True):
            if a not in self.known:
                self._constant(a, b)
        self._programs(back, back2, self.backward)
        self.gradients = {self.known[n]: None if g is None else self.known[g] for n, g in zip(wrt, back.outputs, strict=True)}

    def _output(self, o: Any) -> Op:
        if not isinstance(o, Node):
            raise CompileError("an output of the step is a plain number; make it a tensor of the batch")
        return self.known[o]

    def _given(self, kind: str, a: Node, b: Node, place: int) -> Op:
        op = self.known[a] = Op(kind, a, _shape(a, b), [], {})
        op.place = place
        return op

    def _constant(self, a: Leaf, b: Leaf) -> None:
        if a is not b and not np.array_equal(a.value, b.value):
            raise CompileError(f"a constant of shape {a.shape} depends on the size of the batch{a.where.described()}")
        self.constants.append(self._given("constant", a, b, len(self.constants)))

    def _programs(self, one: Program, two: Program, out: list[Op]) -> None:
        if [n.op for n in one.nodes] != [n.op for n in two.nodes]:
            raise CompileError("the operations of the step depend on the size of the batch")
        for a, b in zip(one.nodes, two.nodes, strict=True):
            inputs = [self.known[i] if isinstance(i, Node) else _number(i, j, a) for i, j in zip(a.inputs, b.inputs, strict=True)]
            if simpler(a) is not None:
                self.known[a] = self._simpler(a, b, inputs, out)
                continue
            params = {k: _param(v, b.params[k], a) for k, v in a.params.items()}
            self.known[a] = op = Op(a.op, a, _shape(a, b), inputs, params)
            out.append(op)

    def _simpler(self, a: Node, b: Node, inputs: list[Any], out: list[Op]) -> Op:
        """In place of an operation those that it is made of."""
        programs = []
        for node in (a, b):
            numbers = [None if isinstance(i, Node) else i for i in node.inputs]

            def run(*xs: Any, node: Node = node, numbers: list[Any] = numbers) -> Any:
                given = iter(xs)
                made: Any = simpler(node)
                return made(*[next(given) if i is None else i for i in numbers], **node.params)

            programs.append(trace(run, *[Spec(i.shape, i.dtype) for i in node.inputs if isinstance(i, Node)]))
        for source, op in zip(programs[0].inputs, [i for i in inputs if isinstance(i, Op)], strict=True):
            self.known[source] = op
        for c, d in zip(_constants(programs[0]), _constants(programs[1]), strict=True):
            self._constant(c, d)
        self._programs(programs[0], programs[1], out)
        return self.known[programs[0].outputs[0]]


def _record(cell: Any, x: Any, state: Any, name: str) -> tuple[Program, Program, list[Node]]:
    with setting(sequence=None), at_step(None, name):  # no step of a sequence: what differs from step to step cannot be recorded
        program = trace(lambda x, state: [leaf for part in cell(x, state) for leaf in leaves(part)], x, state)
    wrt = [n for n in [*program.inputs, *program.constants] if n.requires_grad]
    return program, program.backward(wrt), wrt


def _constants(program: Program) -> list[Leaf]:
    """In the order in which they are read: a tensor becomes a leaf where it is first used, an array has a new leaf in each recording."""
    read = [i for n in program.nodes for i in n.inputs] + program.outputs
    known = set(program.constants)
    return [leaf for leaf in dict.fromkeys(i for i in read if isinstance(i, Leaf)) if leaf in known]


def _sized(tree: Any, batch: int) -> Any:
    return tree_map(lambda s: Spec((batch, *s.shape[1:]), s.dtype), tree)


def _shape(a: Node, b: Node) -> tuple[Size, ...]:
    return tuple(_same(m, n, a) for m, n in zip(a.shape, b.shape, strict=True))


def _same(m: Any, n: Any, node: Node) -> Any:
    if type(m) is type(n) and m == n:
        return m
    if (m, n) == SIZES:
        return B
    raise CompileError(f"{node.op} mixes the batch with other axes (sizes {m} and {n} for batches of {SIZES}){node.where.described()}")


def _number(m: Any, n: Any, node: Node) -> Any:
    if m == n or (m != m and n != n):
        return m
    raise CompileError(
        f"a number in {node.op} was {m} in one recording of the step and {n} in the other: it depends on the size of the batch (recorded with "
        f"{SIZES[0]} and {SIZES[1]} rows), or on how often the step was run; what changes from step to step belongs in the state{node.where.described()}"
    )


def _param(m: Any, n: Any, node: Node) -> Any:
    if isinstance(m, (tuple, list)):
        return type(m)(_param(a, b, node) for a, b in zip(m, n, strict=True))
    if isinstance(m, slice):
        return slice(*(_param(a, b, node) for a, b in ((m.start, n.start), (m.stop, n.stop), (m.step, n.step))))
    if isinstance(m, np.ndarray):
        if not np.array_equal(m, n):
            raise CompileError(f"an index in {node.op} depends on the size of the batch{node.where.described()}")
        return m
    return _same(m, n, node)


# --- operations that are made of others ---------------------------------------------------------------------------------------


def _mean(x: Any, axis: Any, keepdims: bool) -> Any:
    return total(x, axis, keepdims) * (1.0 / _count(x, axis))


def _logsumexp(x: Any, axis: Any, keepdims: bool) -> Any:
    top = largest(x, axis, True)
    top = where(isfinite(top), top, 0.0)
    out = log(total(exp(x - top), axis, True)) + top
    return out if keepdims else out.reshape(total(x, axis, keepdims).shape)


def _softmax(x: Any, axis: int) -> Any:
    e = exp(x - largest(x, axis, True))
    return e / total(e, axis, True)


def _log_softmax(x: Any, axis: int) -> Any:
    shifted = x - largest(x, axis, True)
    return shifted - log(total(exp(shifted), axis, True))


SIMPLER: dict[str, Callable[..., Any]] = {
    "mean": _mean,
    "logsumexp": _logsumexp,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "norm": lambda x, axis, keepdims: sqrt(total(square(x), axis, keepdims)),
}


def simpler(node: Node) -> Callable[..., Any] | None:
    """What an operation is made of, as a function of tensors; None if it is a simple one."""
    primitive = node.primitive
    assert primitive is not None
    if primitive.body is not None:  # tg.elementwise
        body = primitive.body
        return lambda *xs: body()(*xs)[0]
    function = getattr(primitive.forward, "__wrapped__", None)
    if function is not None and primitive.scalar is None and not hasattr(primitive.forward, "names"):  # tg.custom_vjp

        def as_floats(*xs: Any, **params: Any) -> Any:
            y = function(*xs, **params)
            return y.astype(node.dtype) if y.dtype != node.dtype else y

        return as_floats
    return SIMPLER.get(node.op)
