"""The code of a whole sequence: a forward and a backward function, with the loop over time inside.

``forward`` runs the step for s = 0, 1, ..., T - 1; the input of step s is that of time t, which is
``last + way * s``: s, or T - 1 - s in reverse. ``backward`` runs down. What depends on parameters
alone is computed once before; what the gradients of parameters are sums of leaves the loop, see
`sink.py`.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..loops import ir
from ..loops.linear import Linear, linears
from ..loops.share import shared
from ..loops.writer import SEQUENCES, Text, write
from ..ops.facts import CHEAP
from .arrays import Arrays
from .lower import Lowered, Stored, When
from .prepare import drop_zeros, hoist
from .products import join
from .remat import remade, residuals
from .sink import sink
from .step import StepProgram
from .value import Value, unsupported

MANY = 96  # arrays; of more an array of their addresses is handed over
SIZES = ("T", "B", "batch", "row", "last", "way", "one")
LOOPED = 512  # columns more than the batch that the scratch of a product over steps has


class FunctionCode(NamedTuple):
    """One of the two functions, and what it is given.

    Attributes
    ----------
    function : Function
    lowered : Lowered
        Its step.
    own : list of Array
        Arrays of the code's own: of workspaces.
    caller : list of Array
        Arrays of the caller.
    hoisted : list of (Value, bool)
        What is computed once, and whether it is repeated for each row.
    tables : list of array
        Of integers.
    held : dict of Array to Value
        What arrays have room for, for readers.
    """

    function: ir.Function
    lowered: Lowered
    own: list[ir.Array]
    caller: list[ir.Array]
    hoisted: list[tuple[Value, bool]]
    tables: list[np.ndarray[Any, Any]]
    held: dict[ir.Array, Value]


class SequenceCode:
    """The code for one step, over whole sequences.

    Attributes
    ----------
    functions : dict of str to FunctionCode
        "forward" and "backward".
    module : Module
        Both of them.
    d_inputs, d_fixed : dict of int to Value
        Which inputs, and which values that are fixed, have a gradient here; and that gradient.
    constants : list of Value
        Which constants have one.
    sunk : Sunk
        What is done after the loop over time; `summed` has for each value that is summed over the
        steps its array, and `transposed` the products that are computed the other way round.
    """

    def __init__(self, step: StepProgram, dtype: np.dtype[Any], wanted: set[Value]) -> None:
        self.step, self.dtype, self.wanted_gradients = step, dtype, wanted
        for v in [*step.xs, *step.states, *step.fixed, *step.forward, *step.backward]:
            other_float = v.dtype.kind == "f" and v.dtype not in ir.FLOATS
            if other_float or v.dtype.kind not in "fiub" or v.dtype == np.uint64:
                raise unsupported(
                    v,
                    f"it is {v.dtype}; compiled are float32, float64, integers up to int64, and bool",
                )
        drop_zeros(step.backward)
        hoist((step.forward, step.backward))
        ends = [*step.outputs, *step.new_states, *(v for several in step.emitted for v in several)]
        ends += [g for g in step.gradients.values() if g is not None]
        join((step.forward, step.backward), ends, dtype)
        hoist((step.forward, step.backward))
        self.arrays = Arrays(dtype)
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
        array, given = self.arrays.new, dict[Value, Stored]()
        states = [
            array(f"s{k}", ir.Role.STATE, v, ir.Steps.BETWEEN) for k, v in enumerate(step.states)
        ]
        for k, v in enumerate(step.xs):
            given[v] = Stored(array(f"x{k}", ir.Role.INPUT, v, ir.Steps.EACH), When.TIME)
        for v, state in zip(step.states, states, strict=True):
            given[v] = Stored(state, When.THIS)
        for k, v in enumerate(step.fixed):
            given[v] = Stored(array(f"f{k}", ir.Role.FIXED, v), When.ONCE)
        wanted: dict[Value, list[Stored]] = {}
        for v, state in zip(step.new_states, states, strict=True):
            wanted.setdefault(v, []).append(Stored(state, When.NEXT))
        # for each output the array that holds it
        self.outputs: list[ir.Array] = []
        for k, v in enumerate(step.outputs):
            if v in step.new_states:
                self.outputs.append(states[step.new_states.index(v)])
                continue
            y = array(f"y{k}", ir.Role.OUTPUT, v, ir.Steps.EACH)
            wanted.setdefault(v, []).append(Stored(y, When.TIME))
            self.outputs.append(y)
        self.emitted = []
        for k, v in enumerate(v for several in step.emitted for v in several):
            self.emitted.append(array(f"l{k}", ir.Role.EMITTED, v, ir.Steps.EACH))
            wanted.setdefault(v, []).append(Stored(self.emitted[-1], When.TIME))
        known = {*step.forward, *given}
        read = [
            i for v in step.backward if not v.leaf for i in v.sources if i in known and i.varies
        ]
        self.residuals = residuals(dict.fromkeys(read), {*given, *wanted}, CHEAP)
        for k, v in enumerate(self.residuals):
            kept = array(f"k{k}", ir.Role.RESIDUAL, v, ir.Steps.EACH)
            wanted[v] = [Stored(kept, When.THIS)]
        self.given, self.wanted, self.states = given, wanted, states
        # lowering changes the values that it is given, and backward needs these as they are
        program, names = remade(step.forward, (), wanted.keys())
        self.originals = {copy: v for v, copy in names.items()}
        stores = {names.get(v, v): places for v, places in wanted.items()}
        lowered = Lowered(program, given, stores, set(), self.arrays)
        before = self._rows_in(step.xs, "in", "x", {a.name: a for a in lowered.touched})
        before += self._first_states(lowered)
        self.functions = {"forward": self._function("forward", lowered, before, self._results())}

    def _first_states(self, lowered: Lowered) -> list[ir.Statement]:
        return [
            self.arrays.into(f"first{k}", v, state, steps=1)
            for k, (v, state) in enumerate(zip(self.step.states, self.states, strict=True))
            if self.row_major(v)
        ]

    def _results(self) -> list[ir.Statement]:
        """After the loop: outputs and last states, as the caller wants them."""
        found: list[ir.Statement] = []
        last, row, batch = Linear.of("last"), Linear.of("row"), Linear.of("batch")
        for k, (v, array) in enumerate(zip(self.step.outputs, self.outputs, strict=True)):
            n = v.size
            if not self.row_major(v):
                continue
            if array.role is ir.Role.STATE:  # that of the first step is no output
                to = (last * batch + row) * n
                way = Linear.of("way") * batch * n
                found.append(self.arrays.out(f"out{k}", v, array, array.block, to, "T", way))
            else:  # in the order of time
                found.append(
                    self.arrays.out(f"out{k}", v, array, Linear(), row * n, "T", batch * n)
                )
        for k, (v, array) in enumerate(zip(self.step.states, self.states, strict=True)):
            if self.row_major(v):
                end = Linear.of("T") * array.block
                found.append(self.arrays.out(f"last{k}", v, array, end, row * v.size, 1, Linear()))
        return found

    # --- backward ---------------------------------------------------------------------------------

    def _backward(self) -> None:
        step, array = self.step, self.arrays.new
        # what the backward walk finds
        found = {v: places[0] for v, places in self.wanted.items()} | self.given
        for k, v in enumerate(step.d_outputs):
            found[v] = Stored(array(f"dy{k}", ir.Role.COTANGENT, v, ir.Steps.EACH), When.TIME)
        d_states = [
            array(f"ds{k}", ir.Role.COTANGENT, v, ir.Steps.TWO) for k, v in enumerate(step.states)
        ]
        for v, d_state in zip(step.d_states, d_states, strict=True):
            found[v] = Stored(d_state, When.TURN)
        wanted: dict[Value, list[Stored]] = {}
        zeros: list[ir.Array] = []
        for v, d_state in zip(step.states, d_states, strict=True):
            gradient = step.gradients.get(v)
            if gradient is not None:
                wanted.setdefault(gradient, []).append(Stored(d_state, When.OTHER))
            elif v.dtype.kind == "f":
                zeros.append(d_state)
        self.d_inputs = self._wanted_of(step.xs)
        for k, gradient in self.d_inputs.items():
            dx = array(f"dx{k}", ir.Role.GRADIENT, step.xs[k], ir.Steps.EACH)
            wanted.setdefault(gradient, []).append(Stored(dx, When.TIME))
        self.d_fixed = self._wanted_of(step.fixed)
        added: list[ir.Array] = []
        for k, gradient in self.d_fixed.items():
            df = array(f"df{k}", ir.Role.GRADIENT, step.fixed[k])
            added.append(df)
            wanted.setdefault(gradient, []).append(Stored(df, When.ONCE, adds=True))
        added += self._sink(found, wanted)
        self._lower_backward(found, wanted, d_states, zeros, added)

    def _wanted_of(self, values: Sequence[Value]) -> dict[int, Value]:
        gradients = ((k, v, self.step.gradients.get(v)) for k, v in enumerate(values))
        return {k: g for k, v, g in gradients if g is not None and v in self.wanted_gradients}

    def _sink(
        self, found: dict[Value, Stored], wanted: dict[Value, list[Stored]]
    ) -> list[ir.Array]:
        """Find what leaves the loop, and return the arrays in which sums are collected."""
        step = self.step
        has_gradient = (v for v in step.constants if v in self.wanted_gradients)
        self.constants = [v for v in has_gradient if step.gradients.get(v) is not None]
        count = itertools.count()

        def keep(v: Value) -> None:
            """Keep a value of all steps, if no array has it yet."""
            stored = found.get(v)
            if stored is not None and stored.of_all_steps:
                return
            if any(s.of_all_steps and not s.adds for s in wanted.get(v, [])):
                return
            g = self.arrays.new(f"g{next(count)}", ir.Role.DEFERRED, v, ir.Steps.EACH)
            wanted.setdefault(v, []).insert(0, Stored(g, When.THIS))

        order = {v: k for k, v in enumerate(step.backward)}
        gradients = [step.gradients[v] for v in self.constants]
        self.sunk = sink(gradients, order, self.dtype, keep)
        self.summed: dict[Value, ir.Array] = {}
        for k, v in enumerate(self.sunk.collected):
            self.summed[v] = b = self.arrays.new(f"b{k}", ir.Role.COLLECTED, v)
            wanted.setdefault(v, []).append(Stored(b, When.ONCE, adds=True))
        return list(self.summed.values())

    def _lower_backward(
        self,
        found: dict[Value, Stored],
        wanted: dict[Value, list[Stored]],
        d_states: list[ir.Array],
        zeros: list[ir.Array],
        added: list[ir.Array],
    ) -> None:
        step = self.step
        computed = [v for v in found if v.given is None]
        values = [*step.forward, *step.backward]
        program, names = remade(values, computed, wanted.keys())
        self.originals.update({copy: v for v, copy in names.items()})
        given = {names.get(v, v): stored for v, stored in found.items()}
        stores = {names.get(v, v): places for v, places in wanted.items()}
        own = {names[v] for v in step.backward if v in names}
        lowered = Lowered(program, given, stores, own, self.arrays)
        sides = dict.fromkeys(v for pair in self.sunk.products.values() for v in pair)
        self.sides = {v: _of_all_steps(v, found, wanted) for v in sides}
        after = self._gradients(d_states)
        read = {a.name: a for a in (*lowered.touched, *ir.arrays(after))}
        before = self._rows_in(step.xs, "in", "x", read)
        before += self._rows_in(step.outputs, "dout", "dy", read)
        turn = Linear.of("last_turn")
        begin: list[ir.Statement] = []
        for k, (v, d_state) in enumerate(zip(step.states, d_states, strict=True)):
            if d_state.name in read and self.row_major(v):
                begin.append(
                    self.arrays.into(f"dlast{k}", v, d_state, steps=1, to=turn * d_state.block)
                )
        if begin:
            before += [ir.Define("last_turn", Linear.of("T") + 1, modulo=2), *begin]
        before += [self.arrays.filled(array, Linear()) for array in added]
        other = [
            self.arrays.filled(array, When.OTHER.index * array.block)
            for array in zeros
            if array in lowered.touched
        ]
        self.functions["backward"] = self._function("backward", lowered, before, after, other)

    def _gradients(self, d_states: list[ir.Array]) -> list[ir.Statement]:
        """After the loop: gradients of first states, inputs and matrices, as the caller wants them."""
        step, row, batch = self.step, Linear.of("row"), Linear.of("batch")
        found: list[ir.Statement] = []
        for k, (v, d_state) in enumerate(zip(step.states, d_states, strict=True)):
            if self.row_major(v) and step.gradients.get(v) is not None:
                place = d_state.block
                found.append(
                    self.arrays.out(f"dfirst{k}", v, d_state, place, row * v.size, 1, Linear())
                )
        for k in self.d_inputs:
            v = step.xs[k]
            if self.row_major(v):
                dx = self.arrays.new(f"dx{k}", ir.Role.GRADIENT, v, ir.Steps.EACH)
                found.append(
                    self.arrays.out(f"din{k}", v, dx, Linear(), row * v.size, "T", batch * v.size)
                )
        return found + self._products()

    def _products(self) -> list[ir.Statement]:
        """After the loop: the products over all steps."""
        found: list[ir.Statement] = []
        self.transposed: list[
            Value
        ] = []  # of the products, those of which the transpose is computed
        sums = self.sunk.sums
        waiting = [s for v, s in sums.items() if s is not v and s not in self.summed]
        by_rows = [v for v in self.step.xs if self.row_major(v)]  # they need not be turned
        for k, (v, (left, right)) in enumerate(self.sunk.products.items()):
            prefers = left not in waiting and left in by_rows and right not in by_rows
            if right in waiting or prefers:
                left, right = right, left
                self.transposed.append(v)
            total: ir.Address | Linear = Linear()
            if left in waiting:
                waiting = [s for s in waiting if s is not left]
                b = self.arrays.new(f"b{len(self.summed)}", ir.Role.COLLECTED, left)
                self.summed[left] = b
                total = ir.Address(b)
            found.append(self._product(k, v, left, right, total, right in by_rows))
        return found

    def _product(
        self, k: int, v: Value, left: Value, right: Value, total: ir.Address | Linear, turned: bool
    ) -> ir.Statement:
        """Return the call of one product over all steps."""
        row, batch = Linear.of("row"), Linear.of("batch")
        a, b = (self.sides[side] for side in (left, right))
        arrays = [a.array, b.array]
        starts = [s.array.block if s.when is When.NEXT else Linear() for s in (a, b)]
        steps = [s.array.block if s.moves else Linear() for s in (a, b)]
        if turned:
            arrays[1] = self.arrays.caller(f"in{self.step.xs.index(right)}", right)
            starts[1], steps[1] = row * right.size, batch * right.size
        for side, (one, other) in enumerate(((a, b), (b, a))):
            if one.when is When.TIME and other.moves and other.when is not When.TIME:
                starts[side] = starts[side] + Linear.of("last") * steps[side]
                steps[side] = Linear.of("way") * steps[side]
        dw = ir.Array(f"dw{k}", ir.Kind.FLOAT, ir.Role.CALLER, left.size * right.size)
        size = max(max(x.size, y.size) for x, y in self.sunk.products.values())
        scratch = ir.Array("h0", ir.Kind.FLOAT, ir.Role.SCRATCH, size, True, padding=LOOPED)
        arguments: list[Any] = [ir.Address(arrays[0], starts[0]), steps[0]]
        arguments += [
            ir.Address(arrays[1], starts[1]),
            steps[1],
            Linear.of(int(turned)),
            ir.Address(dw),
        ]
        arguments += [total, ir.Address(scratch), *linears("T", left.size, right.size, "B")]
        return ir.Call("gradient", tuple(arguments), origin=v.origin())

    # --- functions --------------------------------------------------------------------------------

    def row_major(self, value: Value) -> bool:
        """Whether a value comes and goes as (batch, features) of the module's dtype.

        Others are brought into order outside.
        """
        return value.batch == 0 and value.dtype == self.dtype

    def _rows_in(
        self, values: Sequence[Value], caller: str, own: str, read: dict[str, ir.Array]
    ) -> list[ir.Statement]:
        """Before the loop: what the caller gave for all steps, features by batch."""
        found = []
        for k, v in enumerate(values):
            array = read.get(f"{own}{k}")
            if array is not None and self.row_major(v):
                found.append(self.arrays.into(f"{caller}{k}", v, array))
        return found

    def _function(
        self,
        name: str,
        lowered: Lowered,
        before: list[ir.Statement],
        after: list[ir.Statement],
        first: Iterable[ir.Statement] = (),
    ) -> FunctionCode:
        forward = name == "forward"
        T, s = Linear.of("T"), Linear.of("s")
        body: list[ir.Statement] = [ir.Define("t", Linear.of("last") + Linear.of("way") * s)]
        if not forward:
            body += [ir.Define("turn", s, modulo=2), ir.Define("other", Linear.of("turn") * -1 + 1)]
        body += [*first, *lowered.statements]
        loop = ir.Loop("s", T, tuple(body), ir.LoopKind.TIME, descending=not forward)
        statements = (*lowered.packs, *before, loop, *after)
        arrays = ir.arrays(statements)
        own = [a for a in arrays if a.role not in NOT_OWN]
        if forward:  # the states are there, also of a step that changes nothing
            own += [a for a in self.states if a not in own]
            own += [
                s.array for several in self.wanted.values() for s in several if s.array not in own
            ]
        own = sorted(dict.fromkeys(own), key=_order)
        caller = [a for a in arrays if a.role is ir.Role.CALLER]
        hoisted = [(key, a) for key, a in self.arrays.all_hoisted.items() if a in arrays]
        tables = [(a, numbers) for a, numbers in self.arrays.tables if a in arrays]
        every = (*own, *caller, *(a for _, a in hoisted), *(a for a, _ in tables))
        packed = len(every) > MANY
        function = ir.Function(name, SIZES, every, statements, packed=packed)
        keys, numbers = [key for key, _ in hoisted], [n for _, n in tables]
        held = dict(self.arrays.held)  # scratch of the two functions may have the same names
        return FunctionCode(function, lowered, own, caller, keys, numbers, held)

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


def _of_all_steps(
    value: Value, found: dict[Value, Stored], wanted: dict[Value, list[Stored]]
) -> Stored:
    """Return where the values of all steps are."""
    places = [*([found[value]] if value in found else []), *wanted.get(value, [])]
    return next(s for s in places if s.of_all_steps and not s.adds)


NOT_OWN = (ir.Role.CALLER, ir.Role.HOISTED, ir.Role.REPLICATED, ir.Role.TABLE)


def unpacked(module: ir.Module) -> ir.Module:
    """Return a module whose functions are given each array by itself, for readers."""
    functions = tuple(dataclasses.replace(f, packed=False) for f in module.functions)
    return ir.Module(module.title, module.dtype, functions)


def _order(array: ir.Array) -> tuple[str, int]:
    name = array.name.rstrip("0123456789")
    return name, int(array.name[len(name) :] or 0)
