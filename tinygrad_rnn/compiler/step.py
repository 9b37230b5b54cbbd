"""One recorded step, with the size of the batch left open.

The cell is traced twice, with batches of two different sizes. Where the two recordings differ, a
size is the batch: so the axes, settings and numbers that stand for it are found, and the program
that is left serves a batch of any size. Whether it does is checked for each size at its first use,
by another recording (`check_batch`): Python code may do something else with one row. Nothing is
recorded that the tape does not record for everybody; an `Op` is a node in which the batch has a
name.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Spec
from ..core.tape import Leaf, Node, Older, at_origin, at_step, setting
from ..core.tensor import Tensor
from ..core.trace import Program, trace
from ..core.tree import leaves, tree_map
from ..ops.elementwise import exp, isfinite, log, where
from ..ops.reductions import _count, scaled_norm
from ..ops.reductions import max as largest
from ..ops.reductions import sum as total
from ..ops.shaping import broadcast_to
from ..recurrent.captured import captured, owner_of
from ..recurrent.context import SequenceContext
from .effects import B, Drawn, Recorder
from .merged import Merged, is_merged, mixed
from .op import SIZES, CompileError, Op, own_faults


class Step:
    """The forward and the backward program of one step.

    Attributes
    ----------
    name : str
        Of the cell.
    xs, states, fixed, constants : list of Op
        What the step is given: anew at each step, from step to step, for the whole sequence with
        and without rows.
    lent : int
        How many of the fixed inputs are tensors that the cell holds; they come first.
    drawn : list of (Drawn, Op)
        What it draws from outside, each an input of one of these kinds.
    receivers, emitted : lists
        Who receives values of the step, and the values.
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
        Values of the backward program, each with the one of the forward program whose gradient it
        is.
    """

    def __init__(
        self,
        cell: Callable[..., Any],
        x: Any,
        state: Any,
        name: str,
        rows: Sequence[bool],
        lent: Sequence[Tensor],
        after_run: Callable[[], None],
    ) -> None:
        self.name = name
        recorded = []
        for n in SIZES:
            recorded.append(_record(cell, x, state, name, rows, lent, n))
            after_run()
        one, two = self.recorded = recorded
        self.batches = {*SIZES}  # of which it is known that the step does the same
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
        self.states = [
            self._given("state", a, b, i) for i, (a, b) in enumerate(given[count : count + states])
        ]
        self.fixed = [
            self._given("fixed", a, b, i)
            for i, (a, b) in enumerate(given[count + states : count + states + lent])
        ]
        self.lent = lent
        self.drawn: list[tuple[Drawn, Op]] = []
        for found, _ in one.drawn:
            self._drawn(found, *given[count + states + self.lent + len(self.drawn)])
        if one.captured != two.captured:
            raise CompileError(
                "the step did not use the same tensors from outside in its two recordings"
            )
        self.constants += [self._given("constant", n, n, k) for k, n in enumerate(one.captured)]
        self.receivers = [receive for receive, _ in one.emitted]
        for a, b in zip(constants(first), constants(second), strict=True):
            self._constant(a, b, self.forward)
        self._programs(first, second, self.forward)
        outputs = [self._output(o) for o in first.outputs]
        counts = [len(values) for _, values in one.emitted]
        split = len(outputs) - states - sum(counts)
        self.outputs, self.new_states = outputs[:split], outputs[split : split + states]
        ends = {op.node: op for op in (*self.xs, *self.states, *self.fixed, *self.constants)}
        self.reaches = [
            {ends[n] for n in _sources(o, ends)} for o in first.outputs[: split + states]
        ]
        rest = iter(outputs[split + states :])
        self.emitted = [[next(rest) for _ in range(n)] for n in counts]
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
        self.gradients = {
            self.known[n]: None if g is None else self.known[g]
            for n, g in zip(one.wrt, back.outputs, strict=True)
        }

    def _output(self, o: Any) -> Op:
        if self.known[o].groups:
            raise mixed(o, "an output of the step has an axis that is made of the batch and others")
        return self.known[o]

    def _given(self, kind: str, a: Node, b: Node, place: int) -> Op:
        op = self.known[a] = Op(kind, a, _shape(a, b), [], {})
        op.place = place
        return op

    def _drawn(self, drawn: Drawn, a: Node, b: Node) -> None:
        """What is drawn at each step is one more input.

        What holds for the sequence is fixed, or without rows a constant that is asked for.
        """
        shape = _shape(a, b)
        kind = "x" if drawn.per == "step" else "fixed" if B in shape else "constant"
        several = {"x": self.xs, "fixed": self.fixed, "constant": []}[kind]
        op = self._given(kind, a, b, len(several))
        several.append(op)
        self.drawn.append((drawn._replace(shape=shape), op))

    def _constant(self, a: Leaf, b: Leaf, out: list[Op]) -> None:
        """An array or tensor from outside the step.

        One with equal rows, such as zeros, is one row that is repeated.
        """
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
        if not (
            _equal(np.broadcast_to(row, a.shape), a.value)
            and _equal(np.broadcast_to(row, b.shape), b.value)
        ):
            raise CompileError(
                f"a constant of shape {a.shape} depends on the size of the batch, and its rows differ{a.where.described()}"
            )
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
            inputs = [
                self.known[i] if isinstance(i, Node) else _number(i, j, a)
                for i, j in zip(a.inputs, b.inputs, strict=True)
            ]
            if simpler(a) is not None:
                self.known[a] = self._simpler(a, b, inputs, out)
                continue
            if is_merged(a, b) or any(isinstance(i, Op) and i.groups for i in inputs):
                self.known[a] = Merged(out, self.sizes).op(a, b, inputs, _param)
                continue
            params = {k: _param(v, b.params[k], a) for k, v in a.params.items()}
            self.known[a] = op = Op(a.op, a, _shape(a, b), inputs, params)
            if op.shape.count(B) > 1:
                raise CompileError(
                    f"tg.jit: {a.op} {a.shape} cannot be compiled: its result has the batch on two axes{a.where.described()}"
                )
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

            programs.append(
                trace(run, *[Spec(i.shape, i.dtype) for i in node.inputs if isinstance(i, Node)])
            )
        for source, op in zip(
            programs[0].inputs, [i for i in inputs if isinstance(i, Op)], strict=True
        ):
            self.known[source] = op
        for c, d in zip(constants(programs[0]), constants(programs[1]), strict=True):
            self._constant(c, d, out)
        self._programs(programs[0], programs[1], out)
        return self.known[programs[0].outputs[0]]


def check_batch(
    step: Step,
    cell: Any,
    x: Any,
    state: Any,
    rows: Sequence[bool],
    lent: Sequence[Tensor],
    batch: int,
) -> None:
    """Raise a CompileError if the cell does with so many rows something else than what was recorded; the arguments as for `Step`."""
    if batch in step.batches:
        return
    found = _record(cell, x, state, step.name, rows, lent, batch)
    one, two = step.recorded
    same = [id(_owner(n)) for n in one.captured] == [id(_owner(n)) for n in found.captured]
    different = (
        _different(one.program, two.program, found.program, batch)
        if same
        else "it uses other tensors from outside"
    )
    if not different and batch > 1:
        different = _different(one.backward, two.backward, found.backward, batch)
    elif not different:  # what is spread over rows need not be summed over one
        of_one, of_many = (
            [n.op for n in r.backward.nodes if n.op not in SPREADING] for r in (found, one)
        )
        different = "" if of_one == of_many else "its backward has other operations"
    if different:
        raise CompileError(
            f"the step of '{step.name}' does with a batch of {batch} something else than with {SIZES[0]} and {SIZES[1]} rows, with which it was recorded to "
            f"serve any: {different}. Python code that decides by the size of the batch is not compiled"
        )
    step.batches.add(batch)


def _owner(node: Node) -> Any:
    """The tensor that a leaf is of, which has a new leaf for other values.

    Of other nodes the node itself.
    """
    found = owner_of(node)
    return node if found is None else found


SPREADING = ("sum", "reshape", "broadcast_to")


def _different(one: Program, two: Program, found: Program, batch: int) -> str:
    """In what a recording with another size of the batch differs from what two others lead to expect; empty if in nothing."""
    programs = (one, two, found)
    read = [constants(p) for p in programs]
    for a, b, c in zip(*read, strict=False):
        if not _fits(a.shape, b.shape, c.shape, batch) or a.dtype != c.dtype:
            return f"a constant of shape {c.shape}{c.where.described()}"
        if isinstance(_owner(c), Tensor) and _owner(a) is _owner(c):
            continue  # a parameter, which may have other values by now
        alike = a.shape == b.shape
        expected = (
            a.value
            if alike
            else a.value.take(
                [0],
                next(k for k, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n),
            )
        )
        if not np.array_equal(
            np.broadcast_to(expected, c.shape), c.value, equal_nan=c.dtype.kind == "f"
        ):
            return f"a constant of shape {c.shape} has other values{c.where.described()}"
    places = [
        {n: k for k, n in enumerate([*p.inputs, *leaves_, *p.nodes])}
        for p, leaves_ in zip(programs, read, strict=True)
    ]
    for a, b, c in zip(*(p.nodes for p in programs), strict=False):
        if a.op != c.op:
            return f"{c.op} in place of {a.op}{c.where.described()}"
        operands = [
            [(place[i],) if isinstance(i, Node) else i for i in n.inputs]
            for place, n in zip(places, (a, b, c), strict=True)
        ]
        if len(a.inputs) != len(c.inputs) or any(
            (type(m) is tuple) != (type(n) is tuple) or (type(m) is tuple and m != n)
            for m, n in zip(operands[0], operands[2], strict=True)
        ):
            return f"{c.op} has other operands{c.where.described()}"
        for m, n, o in [
            *zip(*operands, strict=True),
            (a.shape, b.shape, c.shape),
            *[(a.params[k], b.params[k], v) for k, v in c.params.items()],
        ]:
            if not _fits(m, n, o, batch):
                return f"{c.op} has {_plain(o)} where {_plain(m)} and {_plain(n)} were recorded{c.where.described()}"
    if len(one.nodes) != len(found.nodes) or len(read[0]) != len(read[2]):
        return f"it has {len(found.nodes)} operations in place of {len(one.nodes)}"
    ends = [
        [place.get(o) if isinstance(o, Node) else o for o in p.outputs]
        for place, p in zip(places, programs, strict=True)
    ]
    return "" if ends[0] == ends[2] else "it returns other values"


def _plain(value: Any) -> str:
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else repr(value)


def _fits(m: Any, n: Any, found: Any, batch: int) -> bool:
    """Whether a setting or number is the one that those of two other sizes of the batch lead to expect."""
    if isinstance(m, (tuple, list)):
        return (
            isinstance(found, (tuple, list))
            and len(m) == len(found)
            and all(_fits(*each, batch) for each in zip(m, n, found, strict=True))
        )
    if isinstance(m, slice):
        return isinstance(found, slice) and all(
            _fits(getattr(m, part), getattr(n, part), getattr(found, part), batch)
            for part in ("start", "stop", "step")
        )
    if isinstance(m, np.ndarray):
        return isinstance(found, np.ndarray) and np.array_equal(m, found)
    if type(m) is int and type(n) is int and m != n:
        return type(found) is int and 2 * (found - m) == (n - m) * (batch - SIZES[0])
    if isinstance(m, float) and m != n and not (m != m and n != n):
        return isinstance(found, float) and any(
            math.isclose(s.at(batch), found, rel_tol=1e-12) for s in _numbers(m, n)
        )
    return type(m) is type(found) and repr(m) == repr(found)


class _Recorded(NamedTuple):
    program: Program
    backward: Program
    wrt: list[Node]
    # tensors from outside that were computed: what they were computed from is no part of the step
    captured: list[Node]
    drawn: list[tuple[Drawn, Leaf]]
    emitted: list[tuple[Callable[..., None], list[Any]]]
    gradients: list[tuple[Node, Node]]  # a gradient, and the value whose gradient it is


def _record(
    cell: Any,
    x: Any,
    state: Any,
    name: str,
    rows: Sequence[bool],
    lent: Sequence[Tensor],
    batch: int,
) -> _Recorded:
    """The programs for a batch of one size; `lent` are tensors that the cell holds and that have a row for each of the batch."""
    recorder, flags = Recorder(), iter(rows)
    own = [(t.array, t.node) for t in lent]
    borrowed = [
        Leaf(Spec((batch, *t.shape[1:]), t.dtype), t.requires_grad, t.name or "captured")
        for t in lent
    ]

    def run(x: Any, state: Any) -> Any:
        found = [leaf for part in cell(x, state) for leaf in leaves(part)]
        return [*found, *(v for _, values in recorder.emitted for v in values)]

    older = Older()
    try:
        for t, leaf in zip(lent, borrowed, strict=True):
            t.array, t.node = leaf.value, leaf
        # no step of a sequence: what differs from step to step is drawn
        with setting(sequence=SequenceContext(effects=recorder)), at_step(None, name):
            x, state = (
                tree_map(
                    lambda s: Spec((batch, *s.shape[1:]) if next(flags) else s.shape, s.dtype), part
                )
                for part in (x, state)
            )
            traced = trace(run, x, state)
    finally:
        for t, (array, node) in zip(lent, own, strict=True):
            t.array, t.node = array, node
    inputs = [*traced.inputs, *borrowed, *(leaf for _, leaf in recorder.drawn)]
    outside = [n for n in captured(traced.outputs, older, set(inputs)) if not isinstance(n, Leaf)]
    program = Program([*inputs, *outside], traced.outputs, traced.structure)
    # not by age: new values of a parameter are a new leaf
    wrt = [n for n in [*program.inputs, *constants(program)] if n.requires_grad]
    gradients: list[tuple[Node, Node]] = []
    for n in program.nodes:
        n.hooks = [*(n.hooks or []), functools.partial(_note, gradients, n)]
    back = program.backward(wrt)
    gradients += [(g, n) for n, g in zip(wrt, back.outputs, strict=True) if g is not None]
    return _Recorded(program, back, wrt, outside, recorder.drawn, recorder.emitted, gradients)


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
    """The constants of a program in the order in which they are read.

    A tensor becomes a leaf where it is first used, an array has a new leaf in each recording.
    """
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
    if repr(m) == repr(n):
        return m
    for sized in _numbers(m, n):
        # of an integer nothing is rounded
        if type(m) is not int or (sized.power == 1 and float(sized.factor).is_integer()):
            return sized
    raise CompileError(
        f"a number in {node.op} was {m} in one recording of the step and {n} in the other: it depends on the size of the batch (recorded with "
        f"{SIZES[0]} and {SIZES[1]} rows), or on how often the step was run; what changes from step to step belongs in the state{node.where.described()}"
    )


def _numbers(m: float, n: float) -> list[Sized]:
    """What a number may be as a function of the size of the batch, by the two that were recorded."""
    one, two = SIZES
    found = [Sized(m / (one + o) ** p, o, p) for p in (1, -1, 0.5, -0.5) for o in (0, -1)]
    # such as the count less a correction, and its root
    found += [Sized(1.0, m**q - one, 1 / q) for q in (1, 2)]
    return [sized for sized in found if math.isclose(sized.at(two), n, rel_tol=1e-13)]


def _param(m: Any, n: Any, node: Node) -> Any:
    if isinstance(m, (tuple, list)):
        return type(m)(_param(a, b, node) for a, b in zip(m, n, strict=True))
    if isinstance(m, slice):
        return slice(
            *(
                _param(a, b, node)
                for a, b in ((m.start, n.start), (m.stop, n.stop), (m.step, n.step))
            )
        )
    if isinstance(m, np.ndarray):
        if not np.array_equal(m, n):
            raise CompileError(
                f"an index in {node.op} depends on the size of the batch{node.where.described()}"
            )
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
    # tg.custom_vjp
    if (
        function is not None
        and primitive.scalar is None
        and not hasattr(primitive.forward, "names")
    ):

        def as_floats(*xs: Any, **params: Any) -> Any:
            y = function(*xs, **params)
            return y.astype(node.dtype) if y.dtype != node.dtype else y

        return as_floats
    return SIMPLER.get(node.op)
