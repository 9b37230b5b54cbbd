"""The code of a whole sequence: a forward and a backward function, with the loop over time inside.

``forward`` runs the step for s = 0, 1, ..., T - 1; the input of step s is that of time t, which is
``last + way * s``: s, or T - 1 - s in reverse. ``backward`` runs down. Both work through spans of
steps: inputs are brought in, and products over steps are done, span by span. What depends on parameters
alone is computed once before; what the gradients of parameters are sums of leaves the loop, see
`sink.py`.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..loops import ir
from ..loops.linear import NOWHERE, Linear, linears
from ..loops.share import shared
from ..loops.style import SEQUENCES
from ..loops.writer import Text, write
from ..ops.facts import CHEAP, COSTLY
from .arrays import SOME, Arrays
from .contractions import arrange
from .forms import Outer, outer_of
from .functions import SIZES, Around, FunctionCode, Turns
from .lower import Lowered, Stored, When, repeated
from .marshal import has_code
from .prepare import collect, drop_zeros, hoist
from .products import join
from .remat import remade, residuals
from .sink import sink
from .step import StepProgram
from .value import Value, unsupported

MANY = 96  # arrays; of more an array of their addresses is handed over
Places = defaultdict[Value, list[Stored]]
LOOPED = 512  # columns more than the batch that the scratch of a product over steps has


class SequenceCode:
    """The code for one step, over whole sequences.

    Attributes
    ----------
    functions : dict of str to FunctionCode
        "forward" and "backward".
    module : Module
        Both of them.
    xs, states, outputs, emitted, d_outputs, d_states : list of Array
        For each value of the step, or its gradient, the array that holds it.
    d_inputs, d_fixed : dict of int to Value
        Which inputs, and which values that are fixed, have a gradient here; and that gradient.
    constants : list of Value
        Which constants have one.
    sunk : Sunk
        What is done after the loop over time; `summed` has for each value that is summed over the
        steps its array, and `transposed` the products that are computed the other way round.
    """

    turns = Turns(ir.Steps.TWO, When.TURN, When.OTHER)  # where gradients of states are
    deferred = (ir.Steps.SPAN, When.SPAN)  # what waits for what is done after the loop

    def __init__(self, step: StepProgram, dtype: np.dtype[Any], wanted: set[Value]) -> None:
        self.step, self.dtype, self.wanted_gradients = step, dtype, wanted
        for v in [*step.xs, *step.states, *step.fixed, *step.forward, *step.backward]:
            if not has_code(v):
                raise unsupported(
                    v,
                    f"it is {v.dtype}; compiled are float32, float64, integers up to int64, and bool",
                )
        drop_zeros(step.backward)
        hoist((step.forward, step.backward))
        self.emitted_values = [v for several in step.emitted for v in several]
        ends = [*step.outputs, *step.new_states, *self.emitted_values]
        ends += [g for g in step.gradients.values() if g is not None]
        arrange((step.forward, step.backward), ends, dtype)
        join((step.forward, step.backward), ends, dtype)
        outers = [o[0] for v in step.backward if (o := outer_of(v, dtype)) is not None]
        collect(step.backward, ends, {side for outer in outers for side in outer[:2]})
        hoist((step.forward, step.backward))
        self.arrays = Arrays(dtype)
        self.originals: dict[Value, Value] = {}  # of what stands for values in the code
        self._forward()
        self._backward()
        functions = tuple(f.function for f in self.functions.values())
        self.module = ir.Module(self._title(), dtype, functions)

    @property
    def program(self) -> list[Value]:
        """All values of the step, forward and backward, in order."""
        return [*self.step.forward, *self.step.backward]

    # --- forward ----------------------------------------------------------------------------------

    def _forward(self) -> None:
        step = self.step
        xs = self._in_spans("x", ir.Role.INPUT, step.xs)
        states = self._stored("s", ir.Role.STATE, step.states, When.THIS, ir.Steps.BETWEEN)
        fixed = self._stored("f", ir.Role.FIXED, step.fixed, When.ONCE, ir.Steps.ONCE)
        given = dict(zip(step.xs, xs, strict=True))
        given |= zip(step.states, states, strict=True)
        given |= zip(step.fixed, fixed, strict=True)
        self.xs, self.states = [s.array for s in xs], [s.array for s in states]
        wanted: Places = defaultdict(list)
        for v, state in zip(step.new_states, self.states, strict=True):
            wanted[v].append(Stored(state, When.NEXT))
        self.outputs: list[ir.Array] = []
        for k, v in enumerate(step.outputs):
            if v in step.new_states:
                self.outputs.append(self.states[step.new_states.index(v)])
                continue
            self.outputs.append(self.arrays.new(f"y{k}", ir.Role.OUTPUT, v, ir.Steps.EACH))
            wanted[v].append(Stored(self.outputs[-1], When.TIME))
        emitted = self._stored("l", ir.Role.EMITTED, self.emitted_values, When.TIME)
        self.emitted = [s.array for s in emitted]
        for v, stored in zip(self.emitted_values, emitted, strict=True):
            wanted[v].append(stored)
        known = {*step.forward, *given}
        read = [
            i for v in step.backward if not v.leaf for i in v.sources if i in known and i.varies
        ]
        kept = residuals(dict.fromkeys(read), {*given, *wanted}, CHEAP, COSTLY)
        places = self._stored("k", ir.Role.RESIDUAL, kept, When.THIS)
        for v, stored in zip(kept, places, strict=True):
            wanted[v].append(stored)
        self.given, self.wanted = given, wanted
        lowered = self._lowered(step.forward, given, wanted)
        before = [
            self.arrays.into(f"first{k}", v, ir.Address(a))
            for k, (v, a) in enumerate(zip(step.states, self.states, strict=True))
            if self.row_major(v)
        ]
        brought = self._rows_in("in", step.xs, self.xs, lowered.touched)
        around = Around(before, brought, [], self._results())
        self.functions = {"forward": self._function("forward", lowered, around)}

    def _stored(
        self,
        letter: str,
        role: ir.Role,
        values: Sequence[Value],
        when: When,
        steps: ir.Steps = ir.Steps.EACH,
    ) -> list[Stored]:
        """Return a place for each of several values, in arrays with a letter and a number as names."""
        return [
            Stored(self.arrays.new(f"{letter}{k}", role, v, steps), when)
            for k, v in enumerate(values)
        ]

    def _in_spans(self, letter: str, role: ir.Role, values: Sequence[Value]) -> list[Stored]:
        """Return places for what the caller gives or gets at each step.

        What comes and goes in rows is brought into order span by span, what does not outside.
        """
        return [
            Stored(self.arrays.new(f"{letter}{k}", role, v, ir.Steps.SPAN), When.SPAN)
            if self.row_major(v)
            else Stored(self.arrays.new(f"{letter}{k}", role, v, ir.Steps.EACH), When.TIME)
            for k, v in enumerate(values)
        ]

    def _lowered(
        self, values: Sequence[Value], given: Mapping[Value, Stored], wanted: Places
    ) -> Lowered:
        """Return the statements of a program; they are made of copies, which lowering changes."""
        computed = [v for v in given if v.given is None]
        program, names = remade(values, computed, wanted.keys())
        self.originals.update({copy: v for v, copy in names.items()})
        found = {names.get(v, v): stored for v, stored in given.items()}
        stores = {names.get(v, v): places for v, places in wanted.items()}
        own = {names[v] for v in self.step.backward if v in names}
        lowered = Lowered(program, found, stores, own, self.arrays)
        originals = self.originals
        originals.update((c, originals.get(v, v)) for c, v in lowered.repeated.items())
        return lowered

    def _results(self) -> list[ir.Statement]:
        """After the loop: outputs and last states, as the caller wants them."""
        found = [
            self.arrays.out(f"out{k}", v, ir.Address(a, _first_result(a)), steps="T")
            for k, (v, a) in enumerate(zip(self.step.outputs, self.outputs, strict=True))
            if self.row_major(v)
        ]
        found += [
            self.arrays.out(f"last{k}", v, ir.Address(a, Linear.of("T") * a.block))
            for k, (v, a) in enumerate(zip(self.step.states, self.states, strict=True))
            if self.row_major(v)
        ]
        return found

    # --- backward ---------------------------------------------------------------------------------

    def _backward(self) -> None:
        step = self.step
        # what the backward walk finds
        found = {v: places[0] for v, places in self.wanted.items()} | self.given
        d_outputs = self._in_spans("dy", ir.Role.COTANGENT, step.d_outputs)
        d_states = self._stored(
            "ds", ir.Role.COTANGENT, step.states, self.turns.read, self.turns.steps
        )
        found |= zip(step.d_outputs, d_outputs, strict=True)
        found |= zip(step.d_states, d_states, strict=True)
        self.d_outputs, self.d_states = [s.array for s in d_outputs], [s.array for s in d_states]
        wanted: Places = defaultdict(list)
        for v, d_state in zip(step.states, self.d_states, strict=True):
            if (gradient := step.gradients.get(v)) is not None:
                wanted[gradient].append(Stored(d_state, self.turns.written))
        self.d_inputs = self._wanted_of(step.xs)
        d_xs = self._in_spans("dx", ir.Role.GRADIENT, step.xs)
        self.d_xs = {k: d_xs[k].array for k in self.d_inputs}
        for k, gradient in self.d_inputs.items():
            wanted[gradient].append(d_xs[k])
        self.d_fixed = self._wanted_of(step.fixed)
        for k, gradient in self.d_fixed.items():
            df = self.arrays.new(f"df{k}", ir.Role.GRADIENT, step.fixed[k])
            wanted[gradient].append(Stored(df, When.ONCE, adds=True))
        self._sink(found, wanted)
        self._lower_backward(found, wanted)

    def _wanted_of(self, values: Sequence[Value]) -> dict[int, Value]:
        gradients = ((k, v, self.step.gradients.get(v)) for k, v in enumerate(values))
        return {k: g for k, v, g in gradients if g is not None and v in self.wanted_gradients}

    def _sink(self, found: Mapping[Value, Stored], wanted: Places) -> None:
        """Find what leaves the loop, and where the values of all steps are for that."""
        step = self.step
        has_gradient = (v for v in step.constants if v in self.wanted_gradients)
        self.constants = [v for v in has_gradient if step.gradients.get(v) is not None]
        self.sides: dict[Value, Stored] = {}

        def keep(v: Value) -> None:
            self._keep(v, found, wanted)

        order = {v: k for k, v in enumerate(step.backward)}
        gradients = [step.gradients[v] for v in self.constants]
        self.sunk = sink(gradients, order, self.dtype, keep)
        self.summed: dict[Value, ir.Array] = {}
        for k, v in enumerate(self.sunk.collected):
            self.summed[v] = b = self.arrays.new(f"b{k}", ir.Role.COLLECTED, v)
            wanted[v].append(Stored(b, When.ONCE, adds=True))

    def _keep(self, v: Value, found: Mapping[Value, Stored], wanted: Places) -> None:
        """Keep a value of all steps of a span, if no array has it yet."""
        places = [*([found[v]] if v in found else []), *wanted.get(v, ())]
        kept = next((s for s in places if s.of_all_steps and not s.adds), None)
        if kept is None:
            steps, when = self.deferred
            count = sum(s.array.role is ir.Role.DEFERRED for s in self.sides.values())
            kept = Stored(self.arrays.new(f"g{count}", ir.Role.DEFERRED, v, steps), when)
            wanted[v].insert(0, kept)
        self.sides[v] = kept

    def _lower_backward(self, found: Mapping[Value, Stored], wanted: Places) -> None:
        step = self.step
        lowered = self._lowered(self.program, found, wanted)
        after, leaving = self._gradients()
        read = [*lowered.touched, *ir.arrays([*after, *leaving])]
        brought = self._rows_in("in", step.xs, self.xs, read)
        brought += self._rows_in("dout", step.outputs, self.d_outputs, read)
        each = self.turns.steps is ir.Steps.BETWEEN
        turn = Linear.of("T" if each else "last_turn")
        before: list[ir.Statement] = [
            self.arrays.into(f"dlast{k}", v, ir.Address(a, turn * a.block))
            for k, (v, a) in enumerate(zip(step.states, self.d_states, strict=True))
            if a in read and self.row_major(v)
        ]
        if before and not each:
            before.insert(0, ir.Define("last_turn", Linear.of("T") + 1, modulo=2))
        added = (s.array for places in wanted.values() for s in places if s.adds)
        before += [self.arrays.filled(array, Linear()) for array in added]
        zeros = [
            self.arrays.filled(d_state, self.turns.written.index * d_state.block)
            for v, d_state in zip(step.states, self.d_states, strict=True)
            if d_state in lowered.touched
            if v.dtype.kind == "f" and step.gradients.get(v) is None
        ]
        around = Around(before, brought, leaving, after)
        self.functions["backward"] = self._function("backward", lowered, around, zeros)

    def _gradients(self) -> tuple[list[ir.Statement], list[ir.Statement]]:
        """Gradients as the caller wants them.

        Those of first states, after all steps; and those of inputs and matrices, after a span.
        """
        step = self.step
        after = [
            self.arrays.out(f"dfirst{k}", v, ir.Address(d_state, d_state.block * self.turns.first))
            for k, (v, d_state) in enumerate(zip(step.states, self.d_states, strict=True))
            if self.row_major(v) and step.gradients.get(v) is not None
        ]
        leaving = [
            self.arrays.span_out(f"din{k}", step.xs[k], dx)
            for k, dx in self.d_xs.items()
            if self.row_major(step.xs[k])
        ]
        return after, leaving + self._products()

    def _products(self) -> list[ir.Statement]:
        """After a span: the products over its steps."""
        found: list[ir.Statement] = []
        # of the products those of which the transpose is computed
        self.transposed: list[Value] = []
        sums = self.sunk.sums
        waiting = [s for v, s in sums.items() if s is not v and s not in self.summed]
        given = [v for v in self.step.xs if self.row_major(v)]
        for k, (v, product) in enumerate(self.sunk.products.items()):
            (left, right), plain = product[:2], product.slices == product.places == 1
            by_rows = given if plain else []  # which need not be turned
            prefers = left not in waiting and left in by_rows and right not in by_rows
            if right in waiting or prefers:
                product = product.turned
                left, right = product.left, product.right
                self.transposed.append(v)
            total: ir.Address | Linear = Linear()
            if left in waiting:
                waiting = [s for s in waiting if s is not left]
                b = self.arrays.new(f"b{len(self.summed)}", ir.Role.COLLECTED, left)
                self.summed[left] = b
                total = ir.Address(b)
            found.append(self._product(k, v, product, total, right in by_rows))
        return found

    def _product(
        self, k: int, v: Value, product: Outer, total: ir.Address | Linear, turned: bool
    ) -> ir.Statement:
        """Return the call of one product over the steps of a span, added to those of others."""
        left, right, M, N, slices, many = product
        a, b = (self.sides[side] for side in (left, right))
        places, steps = [ir.Address(s.array, s.begin) for s in (a, b)], [a.stride, b.stride]
        if turned:
            caller = self.arrays.caller(f"in{self.step.xs.index(right)}", right)
            begin, steps[1] = self.arrays.span_of_caller(right)
            places[1] = ir.Address(caller, begin)
        dw = ir.Array(f"dw{k}", ir.Kind.FLOAT, ir.Role.CALLER, product.size)
        size = max(max(x.size, y.size) for x, y, *_ in self.sunk.products.values())
        scratch = ir.Array("h0", ir.Kind.FLOAT, ir.Role.SCRATCH, size, True, padding=LOOPED)
        arguments: list[Any] = [places[0], steps[0], places[1], steps[1]]
        arguments += [Linear.of(int(turned)), ir.Address(dw), total, ir.Address(scratch)]
        columns = Linear.of("B") * many
        arguments += linears(SOME, M, N, columns, "done")
        return repeated(
            "gradient", arguments, v, slices, columns * M, columns * N, Linear.of(M * N)
        )

    # --- functions --------------------------------------------------------------------------------

    def row_major(self, value: Value) -> bool:
        """Whether a value comes and goes as (batch, features) of the module's dtype.

        Others are brought into order outside.
        """
        return value.batch == 0 and value.dtype == self.dtype

    def _rows_in(
        self,
        caller: str,
        values: Sequence[Value],
        arrays: Sequence[ir.Array],
        read: Collection[ir.Array],
    ) -> list[ir.Statement]:
        """Before a span: what the caller gave, features by batch, in those arrays that are read."""
        return [
            self.arrays.span_into(f"{caller}{k}", v, a)
            for k, (v, a) in enumerate(zip(values, arrays, strict=True))
            if a in read and self.row_major(v)
        ]

    def _function(
        self, name: str, lowered: Lowered, around: Around, first: Sequence[ir.Statement] = ()
    ) -> FunctionCode:
        forward = name == "forward"
        T, s, done, some = (Linear.of(n) for n in ("T", "s", "done", SOME))
        body: list[ir.Statement] = [ir.Define("t", Linear.of("last") + Linear.of("way") * s)]
        body.append(ir.Define("here", s + Linear.of("first") * -1))
        if not forward:
            body += [ir.Define("turn", s, modulo=2), ir.Define("other", Linear.of("turn") * -1 + 1)]
        body += [*first, *lowered.statements]
        begin = Linear.of("first")
        loop = ir.Loop(
            "s", begin + some, tuple(body), ir.LoopKind.TIME, begin, descending=not forward
        )
        begin = done if forward else T + done * -1 + some * -1
        span = (ir.Define("first", begin), *around.brought, loop, *around.leaving)
        spans = ir.Loop("done", T, span, ir.LoopKind.TIME, block="span", rest=SOME)
        statements = (*lowered.packs, *around.before, spans, *around.after)
        arrays = ir.arrays(statements)
        own = [a for a in arrays if a.role not in NOT_OWN]
        if forward:  # the states are there, also of a step that changes nothing
            own += [s.array for places in self.wanted.values() for s in places]
        own = sorted(dict.fromkeys(own), key=_order)
        caller = [a for a in arrays if a.role is ir.Role.CALLER]
        hoisted = [(key, a) for key, a in self.arrays.all_hoisted.items() if a in arrays]
        tables = [(a, numbers) for a, numbers in self.arrays.tables if a in arrays]
        every = (*own, *caller, *(a for _, a in hoisted), *(a for a, _ in tables))
        packed = len(every) > MANY
        function = ir.Function(name, SIZES, every, statements, packed=packed)
        keys, numbers = [key for key, _ in hoisted], [n for _, n in tables]
        held = dict(self.arrays.held)  # scratch of the two functions may have the same names
        return FunctionCode(function, own, caller, keys, numbers, held)

    # --- text -------------------------------------------------------------------------------------

    def text(self, *, sharing: bool = False, **readers: Any) -> Text:
        """Return the text.

        Where it is not to be read but compiled, loops that do the same are one function, and many
        arrays are handed over as one array of addresses.
        """
        module = shared(self.module) if sharing else unpacked(self.module)
        return write(module, SEQUENCES, **readers)

    def _title(self) -> str:
        """Return what `tinygrad-rnn info --cache` says: the cell, and its inputs and states."""
        name = re.sub(r"[^\w .:<>()-]", "?", self.step.name)[:60]
        xs, states = (
            ", ".join("x".join(map(str, v.features)) or "1" for v in values)
            for values in (self.step.xs, self.step.states)
        )
        return (
            f"{name} over a whole sequence; x: {xs}, state: {states}, {self.dtype.name}. "
            "Forward and backward; values are laid out (features, batch)"
        )


def _first_result(array: ir.Array) -> Linear:
    """Return where the outputs of the first step are: its states are those before it."""
    return array.block if array.role is ir.Role.STATE else NOWHERE


NOT_OWN = (ir.Role.CALLER, ir.Role.HOISTED, ir.Role.REPLICATED, ir.Role.TABLE)


def unpacked(module: ir.Module) -> ir.Module:
    """Return a module whose functions are given each array by itself, for readers."""
    functions = tuple(dataclasses.replace(f, packed=False) for f in module.functions)
    return ir.Module(module.title, module.dtype, functions)


def _order(array: ir.Array) -> tuple[str, int]:
    name = array.name.rstrip("0123456789")
    return name, int(array.name[len(name) :] or 0)
