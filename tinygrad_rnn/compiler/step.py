"""One recorded step, with the size of the batch left open.

The cell is traced twice, with batches of two different sizes. Where the two recordings differ, a size is the batch: so the axes, settings
and numbers that stand for it are found, and the program that is left serves a batch of any size. Nothing is recorded that the tape does
not record for everybody; an `Op` is a node in which the batch has a name.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Spec
from ..core.tape import Leaf, Node, at_origin, at_step, setting
from ..core.tensor import Tensor
from ..core.trace import Program, trace
from ..core.tree import leaves, tree_map
from ..ops.elementwise import exp, isfinite, log, where
from ..ops.reductions import _count, scaled_norm
from ..ops.reductions import max as largest
from ..ops.reductions import sum as total
from ..ops.shaping import broadcast_to
from ..recurrent.checkpoint import captured, moment
from ..recurrent.outside import KEY
from .exchange import B, Recorder, Taken
from .merged import Merged, is_merged, mixed
from .op import SIZES, CompileError, Op, own_faults


class Step:
    """The forward and the backward program of one step.

    Attributes
    ----------
    name : str
        Of the cell.
    xs, states, fixed, constants : list of Op
        What the step is given: anew at each step, from step to step, for the whole sequence with and without rows.
    lent : int
        How many of the fixed inputs are tensors that the cell holds; they come first.
    taken : list of (Taken, Op)
        What it takes from outside, each an input of one of these kinds.
    left, told : lists
        Who wants values of the step, and the values.
    outputs, new_states : list of Op
    forward, backward : list of Op
        In order.
    d_outputs, d_states : list of Op
        Cotangents of the outputs and of the new states.
    reaches : list of set of Op
        For each output and new state, from which of what the step is given a gradient comes to it.
    gradients : dict of Op to Op or None
        For each floating input and constant with a gradient.
    nodes : list of Node
        As they were recorded, for the names in the source.
    gradient_of : list of (Op, Op)
        Values of the backward program, each with the one of the forward program whose gradient it is.
    """

    def __init__(self, cell: Callable[..., Any], x: Any, state: Any, name: str, rows: Sequence[bool], lent: Sequence[Tensor] = ()) -> None:
        self.name = name
        one, two = (_record(cell, x, state, name, rows, lent, n) for n in SIZES)
        with own_faults(name):
            self._join(one, two, len(leaves(x)), len(leaves(state)), len(lent))

    def _join(self, one: _Recorded, two: _Recorded, count: int, states: int, lent: int) -> None:
        """One step of two recordings, with so many inputs, components of the state and tensors that are lent."""
        first, second, back, back2 = one.program, two.program, one.backward, two.backward
        self.known: dict[Node, Op] = {}
        self.forward: list[Op] = []
        self.backward: list[Op] = []
        self.constants: list[Op] = []
        self.sizes: dict[int, tuple[Any, ...]] = {}  # of axes that are made of the batch and others
        given = list(zip(first.inputs, second.inputs, strict=True))
        self.xs = [self._given("x", a, b, i) for i, (a, b) in enumerate(given[:count])]
        self.states = [self._given("state", a, b, i) for i, (a, b) in enumerate(given[count : count + states])]
        self.fixed = [self._given("fixed", a, b, i) for i, (a, b) in enumerate(given[count + states : count + states + lent])]
        self.lent = lent
        self.taken: list[tuple[Taken, Op]] = []
        for found, _ in one.taken:
            self._taken(found, *given[count + states + self.lent + len(self.taken)])
        if one.captured != two.captured:
            raise CompileError("the step did not use the same tensors from outside in its two recordings")
        self.constants += [self._given("constant", n, n, k) for k, n in enumerate(one.captured)]
        self.left = [keep for keep, _ in one.left]
        for a, b in zip(constants(first), constants(second), strict=True):
            self._constant(a, b, self.forward)
        self._programs(first, second, self.forward)
        outputs = [self._output(o) for o in first.outputs]
        told = [len(values) for _, values in one.left]
        split = len(outputs) - states - sum(told)
        self.outputs, self.new_states = outputs[:split], outputs[split : split + states]
        ends = {op.node: op for op in (*self.xs, *self.states, *self.fixed, *self.constants)}
        self.reaches = [{ends[n] for n in _sources(o, ends)} for o in first.outputs[: split + states]]
        rest = iter(outputs[split + states :])
        self.told = [[next(rest) for _ in range(n)] for n in told]
        reads = len(back.inputs) - len(outputs)
        pairs = list(zip(back.inputs[reads:], back2.inputs[reads:], strict=True))
        cotangents = [self._given("cotangent", a, b, i) for i, (a, b) in enumerate(pairs)]
        self.d_outputs, self.d_states = cotangents[:split], cotangents[split : split + states]
        for a, b in zip(constants(back), constants(back2), strict=True):
            if a not in self.known:
                self._constant(a, b, self.backward)
        self._programs(back, back2, self.backward)
        self.nodes = first.nodes
        pairs_of = [(self.known.get(a), self.known.get(b)) for a, b in one.gradients]
        self.gradient_of = [(a, b) for a, b in pairs_of if a is not None and b is not None]
        self.gradients = {self.known[n]: None if g is None else self.known[g] for n, g in zip(one.wrt, back.outputs, strict=True)}

    def _output(self, o: Any) -> Op:
        if self.known[o].groups:
            raise mixed(o, "an output of the step has an axis that is made of the batch and others")
        return self.known[o]

    def _given(self, kind: str, a: Node, b: Node, place: int) -> Op:
        op = self.known[a] = Op(kind, a, _shape(a, b), [], {})
        op.place = place
        return op

    def _taken(self, taken: Taken, a: Node, b: Node) -> None:
        """What is taken at each step is one more input; what holds for the sequence is fixed, or without rows a constant that is asked for."""
        shape = _shape(a, b)
        kind = "x" if taken.per == "step" else "fixed" if B in shape else "constant"
        several = {"x": self.xs, "fixed": self.fixed, "constant": []}[kind]
        op = self._given(kind, a, b, len(several))
        several.append(op)
        self.taken.append((taken._replace(shape=shape), op))

    def _constant(self, a: Leaf, b: Leaf, out: list[Op]) -> None:
        """An array or tensor from outside the step; one with equal rows, such as zeros, is one row that is repeated."""
        if a is b or _equal(a.value, b.value):
            self.constants.append(self._given("constant", a, b, len(self.constants)))
            return
        shape = _shape(a, b)
        if B not in shape:
            raise CompileError(
                f"an array of shape {a.shape} that the step makes was not the same in its two recordings: random numbers of NumPy, or a count of how "
                f"often the step was run. Draw them outside and hand them over in x, or use tg.nn's masks{a.where.described()}"
            )
        axis = shape.index(B)
        row = a.value.take([0], axis)
        if not (_equal(np.broadcast_to(row, a.shape), a.value) and _equal(np.broadcast_to(row, b.shape), b.value)):
            raise CompileError(f"a constant of shape {a.shape} depends on the size of the batch, and its rows differ{a.where.described()}")
        leaf = Leaf(row)
        one = self._given("constant", leaf, leaf, len(self.constants))
        self.constants.append(one)
        node = trace(lambda x: broadcast_to(x, shape=a.shape), row).nodes[0]
        self.known[a] = op = Op("broadcast_to", node, shape, [one], {"shape": shape})
        out.append(op)

    def _programs(self, one: Program, two: Program, out: list[Op]) -> None:
        if [n.op for n in one.nodes] != [n.op for n in two.nodes]:
            raise CompileError("the operations of the step depend on the size of the batch")
        for a, b in zip(one.nodes, two.nodes, strict=True):
            inputs = [self.known[i] if isinstance(i, Node) else _number(i, j, a) for i, j in zip(a.inputs, b.inputs, strict=True)]
            if simpler(a) is not None:
                self.known[a] = self._simpler(a, b, inputs, out)
                continue
            if is_merged(a, b) or any(isinstance(i, Op) and i.groups for i in inputs):
                self.known[a] = Merged(out, self.sizes).op(a, b, inputs, _param)
                continue
            params = {k: _param(v, b.params[k], a) for k, v in a.params.items()}
            self.known[a] = op = Op(a.op, a, _shape(a, b), inputs, params)
            if op.shape.count(B) > 1:
                raise CompileError(f"tg.jit: {a.op} {a.shape} cannot be compiled: its result has the batch on two axes{a.where.described()}")
            out.append(op)

    def _simpler(self, a: Node, b: Node, inputs: list[Any], out: list[Op]) -> Op:
        """In place of an operation those that it is made of."""
        programs = []
        for node in (a, b):
            numbers = [None if isinstance(i, Node) else i for i in node.inputs]

            def run(*xs: Any, node: Node = node, numbers: list[Any] = numbers) -> Any:
                given = iter(xs)
                made: Any = simpler(node)
                at_origin(node)
                return made(*[next(given) if i is None else i for i in numbers], **node.params)

            programs.append(trace(run, *[Spec(i.shape, i.dtype) for i in node.inputs if isinstance(i, Node)]))
        for source, op in zip(programs[0].inputs, [i for i in inputs if isinstance(i, Op)], strict=True):
            self.known[source] = op
        for c, d in zip(constants(programs[0]), constants(programs[1]), strict=True):
            self._constant(c, d, out)
        self._programs(programs[0], programs[1], out)
        return self.known[programs[0].outputs[0]]


class _Recorded(NamedTuple):
    program: Program
    backward: Program
    wrt: list[Node]
    captured: list[Node]  # tensors from outside that were computed: what they were computed from is no part of the step
    taken: list[tuple[Taken, Leaf]]
    left: list[tuple[Callable[..., None], list[Any]]]
    gradients: list[tuple[Node, Node]]  # a gradient, and the value whose gradient it is


def _record(cell: Any, x: Any, state: Any, name: str, rows: Sequence[bool], lent: Sequence[Tensor], batch: int) -> _Recorded:
    """The programs for a batch of one size; `lent` are tensors that the cell holds and that have a row for each of the batch."""
    recorder, flags = Recorder(), iter(rows)
    own = [(t.array, t.node) for t in lent]
    borrowed = [Leaf(Spec((batch, *t.shape[1:]), t.dtype), t.requires_grad, t.name or "captured") for t in lent]

    def run(x: Any, state: Any) -> Any:
        found = [leaf for part in cell(x, state) for leaf in leaves(part)]
        return [*found, *(v for _, values in recorder.left for v in values)]

    begin = moment()
    try:
        for t, leaf in zip(lent, borrowed, strict=True):
            t.array, t.node = leaf.value, leaf
        with setting(sequence={KEY: recorder}), at_step(None, name):  # no step of a sequence: what differs from step to step is taken
            x, state = (tree_map(lambda s: Spec((batch, *s.shape[1:]) if next(flags) else s.shape, s.dtype), part) for part in (x, state))
            traced = trace(run, x, state)
    finally:
        for t, (array, node) in zip(lent, own, strict=True):
            t.array, t.node = array, node
    inputs = [*traced.inputs, *borrowed, *(leaf for _, leaf in recorder.taken)]
    outside = [n for n in captured(traced.outputs, begin, set(inputs)) if not isinstance(n, Leaf)]
    program = Program([*inputs, *outside], traced.outputs, traced.structure)
    wrt = [n for n in [*program.inputs, *program.constants] if n.requires_grad]
    gradients: list[tuple[Node, Node]] = []
    for n in program.nodes:
        n.hooks = [*(n.hooks or []), functools.partial(_note, gradients, n)]
    back = program.backward(wrt)
    gradients += [(g, n) for n, g in zip(wrt, back.outputs, strict=True) if g is not None]
    return _Recorded(program, back, wrt, outside, recorder.taken, recorder.left, gradients)


def _sources(output: Any, ends: Container[Node]) -> set[Node]:
    """Those of `ends` to which the gradient of a recorded value goes."""
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = [output]
    while stack:
        node = stack.pop()
        if node in seen or not isinstance(node, Node) or not node.requires_grad:
            continue
        seen.add(node)
        if node in ends:
            found.add(node)
        else:
            stack += [n for n, *_ in node.edges]
    return found


def _note(gradients: list[tuple[Node, Node]], node: Node, gradient: Tensor) -> None:
    """A hook: of which node a gradient is."""
    if gradient.node is not None:
        gradients.append((gradient.node, node))


def constants(program: Program) -> list[Leaf]:
    """The constants of a program in the order in which they are read: a tensor becomes a leaf where it is first used, an array has a new leaf in each recording."""
    read = [i for n in program.nodes for i in n.inputs] + program.outputs
    known = set(program.constants)
    return [leaf for leaf in dict.fromkeys(i for i in read if isinstance(i, Leaf)) if leaf in known]


def _equal(a: Any, b: Any) -> bool:
    """Whether two arrays are the same to the bit, so that nan is equal to nan, and -0 is not 0."""
    return bool(a.shape == b.shape and a.tobytes() == b.tobytes())


def _shape(a: Node, b: Node) -> tuple[Any, ...]:
    return tuple(_same(m, n, a) for m, n in zip(a.shape, b.shape, strict=True))


def _same(m: Any, n: Any, node: Node) -> Any:
    if type(m) is type(n) and m == n:
        return m
    if (m, n) == SIZES:
        return B
    raise mixed(node, f"sizes {m} and {n} for batches of {SIZES}")


class Sized(NamedTuple):
    """A number that depends on the size of the batch: factor * (B + offset) ** power."""

    factor: float
    offset: float
    power: float

    def at(self, batch: int) -> float:
        """The number for a batch."""
        return float(self.factor * (batch + self.offset) ** self.power)

    def code(self, kind: str) -> str:
        """The number as code of a kind; see `scalars`."""
        if kind == "I":
            return f"({int(self.factor)} * (B + {int(self.offset)}))"
        return f"{kind}({float(self.factor)!r} * (B + {float(self.offset)!r}) ** {float(self.power)!r})"


def _number(m: Any, n: Any, node: Node) -> Any:
    if m == n or (m != m and n != n):
        return m
    one, two = SIZES
    found = [Sized(m / (one + o) ** p, o, p) for p in (1, -1, 0.5, -0.5) for o in (0, -1)]
    found += [Sized(1.0, m**q - one, 1 / q) for q in (1, 2)]  # such as the count less a correction, and its root
    for sized in found:
        exact = type(m) is not int or (sized.power == 1 and float(sized.factor).is_integer())  # of an integer nothing is rounded
        if exact and math.isclose(sized.at(two), n, rel_tol=1e-13):
            return sized
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


def at_size(value: Any, batch: int) -> Any:
    """Settings of an operation with a number in place of B."""
    if isinstance(value, dict):
        return {k: at_size(v, batch) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(at_size(v, batch) for v in value)
    if isinstance(value, slice):
        return slice(*(at_size(v, batch) for v in (value.start, value.stop, value.step)))
    return batch if isinstance(value, str) and value == B else value


# --- operations that are made of others ---------------------------------------------------------------------------------------


def _mean(x: Any, axis: Any, keepdims: bool) -> Any:
    return total(x, axis, keepdims) * (1.0 / (_count(x, axis) or math.nan))  # nan for an empty axis


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
    "norm": scaled_norm,
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
