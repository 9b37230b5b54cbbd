"""One recorded step, with the size of the batch left open.

The cell is recorded twice, with batches of two different sizes. Where the two recordings differ, a
size is the batch: so the axes, parameters and numbers that stand for it are found, and the program
that is left serves a batch of any size. Whether it does is checked for each size at its first use
(`batches.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.tape import Leaf, Node
from ..core.tensor import Tensor
from ..core.trace import Program, trace
from ..core.tree import leaves
from ..ops.shaping import BROADCAST_TO, broadcast_to
from .effects import Drawn
from .merged import Merged, is_merged
from .program import decomposition, made_of
from .recording import Recording, constants, record, sources_of
from .sizes import PROBE_BATCHES, equal, mixed, number_of, param_of, shape_of
from .value import B, CompileError, Given, Value, own_faults


class StepProgram:
    """The forward and the backward program of one step.

    Attributes
    ----------
    name : str
        Of the cell.
    xs, states, fixed, constants : list of Value
        What the step is given: anew at each step, from step to step, for the whole sequence with
        and without rows.
    lent : int
        How many of the fixed inputs are tensors that the cell holds; they come first.
    drawn : list of (Drawn, Value)
        What it draws from outside, each an input of one of these kinds.
    receivers, emitted : lists
        Who receives values of the step, and the values.
    changes : list of Tensor
        What the receivers give other values.
    outputs, new_states : list of Value
    forward, backward : list of Value
        In order.
    d_outputs, d_states : list of Value
        Cotangents of the outputs and of the new states.
    reaches : list of set of Value
        For each output and new state, from which of what the step is given a gradient comes to it.
    gradients : dict of Value to Value or None
        For each floating input and constant with a gradient.
    nodes : list of Node
        As they were recorded, for the names in the source.
    gradient_of : list of (Value, Value)
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
        for n in PROBE_BATCHES:
            recorded.append(record(cell, x, state, name, rows, lent, n))
            after_run()
        one, two = self.recorded = recorded
        self.batches = {*PROBE_BATCHES}  # of which it is known that the step does the same
        with own_faults(name):
            self._join(one, two, len(leaves(x)), len(leaves(state)), len(lent))

    def _join(self, one: Recording, two: Recording, count: int, states: int, lent: int) -> None:
        """One step of two recordings, with so many inputs, components of the state and tensors that are lent."""
        first, second, back, back2 = one.program, two.program, one.backward, two.backward
        self.known: dict[Node, Value] = {}
        self.forward: list[Value] = []
        self.backward: list[Value] = []
        self.constants: list[Value] = []
        self.sizes: dict[int, tuple[Any, ...]] = {}  # of axes that are made of the batch and others
        given = iter(list(zip(first.inputs, second.inputs, strict=True)))
        self.xs = self._several(Given.INPUT, itertools.islice(given, count))
        self.states = self._several(Given.STATE, itertools.islice(given, states))
        self.fixed = self._several(Given.FIXED, itertools.islice(given, lent))
        self.lent = lent
        self.drawn: list[tuple[Drawn, Value]] = []
        for (found, _), (a, b) in zip(one.drawn, given, strict=False):
            self._draw(found, a, b)
        if one.captured != two.captured:
            raise CompileError(
                "the step did not use the same tensors from outside in its two recordings"
            )
        self.constants += [self._given(Given.CONSTANT, n, n, k) for k, n in enumerate(one.captured)]
        self.receivers = [receive for receive, _ in one.emitted]
        self.changes = one.changes
        self._constants(first, second, self.forward)
        self._programs(first, second, self.forward)
        outputs = [self._output(o) for o in first.outputs]
        counts = [len(values) for _, values in one.emitted]
        split = len(outputs) - states - sum(counts)
        self.outputs, self.new_states = outputs[:split], outputs[split : split + states]
        ends = {op.node: op for op in (*self.xs, *self.states, *self.fixed, *self.constants)}
        self.reaches = [
            {ends[n] for n in sources_of(o, ends)} for o in first.outputs[: split + states]
        ]
        rest = iter(outputs[split + states :])
        self.emitted = [[next(rest) for _ in range(n)] for n in counts]
        reads = len(back.inputs) - len(outputs)
        pairs = zip(back.inputs[reads:], back2.inputs[reads:], strict=True)
        cotangents = self._several(Given.COTANGENT, pairs)
        self.d_outputs, self.d_states = cotangents[:split], cotangents[split : split + states]
        self._constants(back, back2, self.backward)
        self._programs(back, back2, self.backward)
        self.nodes = first.nodes
        pairs_of = [(self.known.get(a), self.known.get(b)) for a, b in one.gradients]
        self.gradient_of = [(a, b) for a, b in pairs_of if a is not None and b is not None]
        self.gradients = {
            self.known[n]: None if g is None else self.known[g]
            for n, g in zip(one.wrt, back.outputs, strict=True)
        }

    def _output(self, o: Any) -> Value:
        if self.known[o].merged:
            raise mixed(o, "an output of the step has an axis that is made of the batch and others")
        return self.known[o]

    def _given(self, kind: Given, a: Node, b: Node, place: int) -> Value:
        value = self.known[a] = Value(None, [], {}, shape_of(a, b), a, given=kind, place=place)
        return value

    def _several(self, kind: Given, pairs: Iterable[tuple[Node, Node]]) -> list[Value]:
        return [self._given(kind, a, b, k) for k, (a, b) in enumerate(pairs)]

    def _draw(self, drawn: Drawn, a: Node, b: Node) -> None:
        """Make an input of what the step draws.

        What is drawn at each step is one more input. What holds for the sequence is fixed, or
        without rows a constant that is asked for.
        """
        shape = shape_of(a, b)
        several: list[Value] = []
        if drawn.per == "step":
            kind, several = Given.INPUT, self.xs
        elif B in shape:
            kind, several = Given.FIXED, self.fixed
        else:
            kind = Given.CONSTANT
        value = self._given(kind, a, b, len(several))
        several.append(value)
        self.drawn.append((drawn._replace(shape=shape), value))

    def _constants(self, one: Program, two: Program, out: list[Value]) -> None:
        """Make values of the arrays that two programs read, where there is none yet."""
        for a, b in zip(constants(one), constants(two), strict=True):
            if a not in self.known:
                self._constant(a, b, out, next((n for n in one.nodes if a in n.inputs), a))

    def _constant(self, a: Leaf, b: Leaf, out: list[Value], reader: Node) -> None:
        """Make a value of an array or tensor from outside the step.

        One with equal rows, such as zeros, is one row that is repeated.
        """
        if a is b or equal(a.value, b.value):
            self.constants.append(self._given(Given.CONSTANT, a, b, len(self.constants)))
            return
        shape = shape_of(a, b)
        if B not in shape:
            raise CompileError(
                f"an array of shape {a.shape} that the step makes was not the same in its two recordings: random numbers of NumPy, or a count of how "
                f"often the step was run. Draw them outside and hand them over in x, or use tg.nn's masks{reader.where.described()}"
            )
        axis = shape.index(B)
        row = a.value.take([0], axis)
        if not (
            equal(np.broadcast_to(row, a.shape), a.value)
            and equal(np.broadcast_to(row, b.shape), b.value)
        ):
            raise CompileError(
                f"tg.jit: {reader.op} reads a constant of shape {a.shape} that depends on the size of the batch, and whose rows differ{reader.where.described()}"
            )
        leaf = Leaf(row)
        one = self._given(Given.CONSTANT, leaf, leaf, len(self.constants))
        self.constants.append(one)
        node = trace(lambda x: broadcast_to(x, shape=a.shape), row).nodes[0]
        self.known[a] = value = Value(BROADCAST_TO, [one], {"shape": shape}, shape, node)
        out.append(value)

    def _programs(self, one: Program, two: Program, out: list[Value]) -> None:
        """Append the values of two programs that are the same but for the size of the batch."""
        if [n.op for n in one.nodes] != [n.op for n in two.nodes]:
            raise CompileError("the operations of the step depend on the size of the batch")
        for a, b in zip(one.nodes, two.nodes, strict=True):
            inputs = [
                self.known[i] if isinstance(i, Node) else number_of(i, j, a)
                for i, j in zip(a.inputs, b.inputs, strict=True)
            ]
            if decomposition(a, in_steps=True) is not None:
                self.known[a] = self._decomposed(a, b, inputs, out)
                continue
            if is_merged(a, b) or any(isinstance(i, Value) and i.merged for i in inputs):
                self.known[a] = Merged(out, self.sizes).value(a, b, inputs, param_of)
                continue
            params = {k: param_of(v, b.params[k], a) for k, v in a.params.items()}
            self.known[a] = value = Value(a.primitive, inputs, params, shape_of(a, b), a)
            if value.shape.count(B) > 1:
                raise CompileError(
                    f"tg.jit: {a.op} {a.shape} cannot be compiled: its result has the batch on two "
                    f"axes{a.where.described()}"
                )
            out.append(value)

    def _decomposed(self, a: Node, b: Node, inputs: list[Any], out: list[Value]) -> Value:
        """Append what an operation is made of, and return the last of it."""
        one, two = made_of(a, in_steps=True), made_of(b, in_steps=True)
        values = [i for i in inputs if isinstance(i, Value)]
        self.known.update(zip(one.inputs, values, strict=True))
        self._constants(one, two, out)
        self._programs(one, two, out)
        return self.known[one.outputs[0]]
