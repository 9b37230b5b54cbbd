"""`tg.jit`, and what it makes of a cell: one that is compiled for whole sequences.

For functions see `function`.
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import GraphError, ShapeError, TraceError
from ..core.memory import empty
from ..core.primitive import Array, Primitive
from ..core.record import describe
from ..core.tape import Node, context, no_grad, setting
from ..core.tensor import Tensor
from ..core.tree import flatten, leaves, pairs, tree_map, unflatten
from ..kernels.runtime import available, raising
from ..module import Module as Layer
from ..module import Parameter
from ..ops.elementwise import where
from ..ops.guards import Changes, Guard, Guards, Key
from ..recurrent.cell import Cell, CompiledCell, name_of, no_cell, own, returned
from ..recurrent.context import SequenceContext, sequence_context
from ..recurrent.packing import cut
from ..recurrent.rerun import summary
from ..recurrent.segment import Segment, as_primitive
from ..recurrent.sequence import Sequence
from .batches import check_batch
from .effects import Player, draw_all, emit_all
from .runner import Runner
from .sequence import SequenceCode
from .sizes import PROBE_BATCHES
from .step import StepProgram
from .value import CompileError, Given, Value, own_faults

if TYPE_CHECKING:
    from .explain import Explanation
    from .names import ValueNames

KEPT = 64  # recordings of one cell: for other shapes, settings, or values that it closes over


EAGER = "Within 'with tg.eager():' the steps run one by one, not compiled."


class Jitted(CompiledCell):
    """A cell that `unroll` and `tbptt` run as one compiled function for the whole sequence.

    Made by `jit`.

    It is the cell itself with another way to run: both have one set of attributes, so parameters,
    their names and settings are the same, and a change of one is a change of the other. Calling it
    computes one ordinary step.

    Attributes
    ----------
    plain : Cell or callable
        The cell that was given.
    """

    __slots__ = ("_guards", "_runners")

    _runners: dict[Any, Runner]
    _guards: Guards

    def __init__(self, cell: Callable[..., Any]) -> None:
        object.__setattr__(self, "plain", cell)
        object.__setattr__(self, "_runners", {})
        object.__setattr__(self, "_guards", Guards(cell))
        if isinstance(cell, Layer):
            object.__setattr__(self, "__dict__", vars(cell))

    @property
    def input_size(self) -> int | None:  # type: ignore[override]
        """That of the cell, which may be an attribute of its class."""
        return getattr(self.plain, "input_size", None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.plain, name)

    def initial_state(self, batch_size: int) -> Any:
        """That of the cell."""
        return (
            self.plain.initial_state(batch_size)
            if isinstance(self.plain, Cell)
            else super().initial_state(batch_size)
        )

    def check(self, x: Any) -> None:
        """As the cell does."""
        if isinstance(self.plain, Cell):
            self.plain.check(x)

    def forward(self, x: Any, state: Any) -> Any:
        """One step, not compiled."""
        return self.plain(x, state)

    def copied(
        self, convert: Callable[[Any], Any], announce: Callable[[Layer], None]
    ) -> tuple[Jitted, dict[str, Any]]:
        """See `Module.copied`; what it is made of is copied, and gives the copy its attributes."""
        made = type(self)(convert(self.plain))
        return made, dict(vars(made))

    def __copy__(self) -> Jitted:
        return Jitted(copy.copy(self.plain))  # which has attributes of its own

    def __reduce__(self) -> Any:
        # for deep copies and pickles: the code is made anew where it runs
        return Jitted, (self.plain,)

    def source(self, xs: Any = None, state: Any = None) -> str:
        """Return the generated module, as Python that can be read and run.

        It has the names of the cell's own source, and comments.

        Parameters
        ----------
        xs : Tensor or array, shape (T, batch, ...), optional
            As for `unroll`: the module for such inputs, which is made now if it was not yet.
            Default: that of the latest recording.
        state : Tensor or nest, optional
            The first state.

        Raises
        ------
        CompileError
            Without xs, if the cell was not unrolled yet.
        """
        try:
            from .readable import readable
        except ImportError:
            return Jitted.recording(self, xs, state)[0].source  # TEMPORARY

        return readable(Jitted.reader(self, xs, state)[1])

    def explain(self, xs: Any = None, state: Any = None) -> Explanation:
        """Return what became of each operation of the cell, its cost, and what backward needs.

        It prints as tables.

        Parameters
        ----------
        xs, state : optional
            As for `source`; with xs the memory for so many steps and rows is among the figures.

        Raises
        ------
        CompileError
            Without xs, if the cell was not unrolled yet.
        """
        try:
            from .explain import Explanation
        except ImportError:
            return "TEMPORARY"  # type: ignore[return-value]

        runner, names = Jitted.reader(self, xs, state)
        parts = [] if xs is None else leaves(xs if isinstance(xs, tuple) else (xs,))
        steps, batch = np.shape(parts[0])[:2] if parts else (None, None)
        return Explanation(runner, names, steps, batch)

    def reader(self, xs: Any, state: Any) -> tuple[Runner, ValueNames]:
        """Return the code for a sequence, or the latest, and what the cell's source calls its values."""
        from .names import ValueNames

        runner, (takes_tuple, masked, resets, _) = Jitted.recording(self, xs, state)
        first = runner.structure[1]
        return runner, ValueNames(runner.code, self.plain, first, takes_tuple, masked, resets)

    def recording(self, xs: Any, state: Any) -> tuple[Runner, tuple[bool, ...]]:
        """Return the compiled code for a sequence, or the latest, and how the step is given things.

        That is whether x is a tuple, lengths and resets are given, and all states wanted.
        """
        if xs is not None:
            sequence = Sequence(self, xs, state, None, None)
            variant = _Variant(self.plain, sequence.tuple, False, False, False)
            runner, *_ = Jitted.runner(
                self, variant, list(sequence.parts), sequence.first, sequence.parts[0].shape[1]
            )
            return runner, variant.flags
        if not self._runners:
            raise CompileError(
                f"tg.jit: '{name_of(self)}' was not unrolled yet, so nothing is compiled; give an example: fast.source(xs)"
            )
        (_, shapes, _), runner = list(self._runners.items())[-1]
        return runner, shapes[0]

    # --- compiled -----------------------------------------------------------------------------------------------------------------

    def steps(
        self,
        sequence: Sequence,
        parts: Any,
        state: Any,
        start: int,
        stop: int,
        reverse: bool,
        all_states: bool,
        offset: int,
    ) -> Any:
        """Steps `start` to `stop` of a sequence as one node on the tape; see `Sequence.steps`."""
        # without numba, of which a warning has told, step by step
        if context().tracing or not available() or raising():
            return sequence.with_cell(self.plain).steps(
                parts, state, start, stop, reverse, all_states, offset=offset
            )
        xs = [
            p
            if (start - offset, stop - offset) == (0, p.shape[0])
            else p[start - offset : stop - offset]
            for p in parts
        ]
        valid = None if sequence.valid is None else sequence.valid[start:stop]
        # in place of padding, which may hold anything, the row's last step, as in the plain loop
        if valid is not None:
            xs = [
                where(valid.reshape((*valid.shape, *[1] * (x.ndim - 2))), x, p[sequence.ends])
                for x, p in zip(xs, sequence.parts, strict=True)
            ]
        resets = None if sequence.resets is None else sequence.resets[start:stop]
        if resets is not None and valid is not None:  # a row that has ended does not begin anew
            resets = resets & valid
        extra = [Tensor(m) for m in (valid, resets) if m is not None]
        carried = state if resets is None else (state, sequence.first)
        variant = _Variant(
            self.plain, sequence.tuple, valid is not None, resets is not None, all_states
        )
        inputs, states = [*xs, *extra], leaves(carried)
        batch = (
            xs[0].shape[1] if xs[0].ndim > 1 else next((s.shape[0] for s in states if s.ndim), 1)
        )
        name, layer = name_of(self), context().mark.layer
        try:
            runner, lent, guard = Jitted.runner(self, variant, inputs, carried, batch)
        except TraceError:
            raise
        except Exception as error:
            # a step of the cell itself says what is wrong with the shapes that were given
            with no_grad():
                first, end = (stop - 1, stop) if reverse else (start, start + 1)
                sequence.with_cell(self.plain).steps(
                    parts, state, first, end, reverse, offset=offset
                )
            if isinstance(error, CompileError):
                raise CompileError(f"{error}. {EAGER}") from error
            if not isinstance(error, ShapeError):
                raise
            raise CompileError(
                f"tg.jit: a step of '{name_of(self)}' is recorded with batches of {PROBE_BATCHES[0]} and {PROBE_BATCHES[1]} rows, to serve any, and does not run "
                f"with them: {error}. What has a row for each of the batch and is used from outside the step has to be a tensor, no array of NumPy and no "
                f"parameter, and the batch its first axis (held so by the cell, it may be transposed inside the step); else hand it over in x or in the state. {EAGER}"
            ) from error

        step, times = runner.step, range(stop - 1, start - 1, -1) if reverse else range(start, stop)
        found = (
            draw_all([t for t, _ in step.drawn], times, batch, name, layer) if step.drawn else []
        )

        def again(*handles: Tensor) -> list[Tensor]:
            """The same steps, one by one on the tape: for gradients of gradients, and tangents."""
            if not guard.still(self._guards):
                changed = guard.difference(self._guards.now())
                raise GraphError(
                    f"tg.jit: gradients of gradients, tangents and pictures run the steps of '{name}' again, but {changed} is not what it was when they ran "
                    "compiled. Compute them before the cell is changed, or unroll again."
                )
            widest = runner.widest
            given, first = (
                list(handles[: len(inputs)]),
                unflatten(carried, list(handles[len(inputs) :])),
            )
            plain = sequence.with_cell(variant)
            plain.tuple, plain.valid, plain.resets = True, None, None
            player = Player([t for t, _ in step.drawn], found, times)
            running = sequence_context() or SequenceContext()
            with setting(sequence=running.with_effects(player)):
                ys, _, last = plain.steps(tuple(given), first, start, stop, reverse, offset=start)
            return [
                y.astype(widest) if y.dtype.kind == "f" and y.dtype != widest else y
                for y in (*leaves(ys), *leaves(last))
            ]

        segment = _Unrolled(
            runner,
            again,
            inputs,
            states,
            lent,
            batch,
            reverse,
            {op: v for (_, op), v in zip(step.drawn, found, strict=True)},
        )
        try:
            flat = segment.outputs()
        except (IndexError, ValueError):
            # of a place that is out of range; of a power with a negative exponent
            # which says where
            sequence.with_cell(self.plain).steps(parts, state, start, stop, reverse, offset=offset)
            raise
        if step.receivers:
            emit_all(step.receivers, segment.emitted, times, batch, name, layer)
        count = len(runner.step.outputs)
        y_tree, state_tree = runner.structure
        ys = unflatten(y_tree, flat[:count])
        last = unflatten(state_tree, flat[count:])
        if resets is not None:
            last = last[0]
        if all_states:
            return ys[0], ys[1], last
        return ys, None, last

    def runner(
        self, variant: _Variant, inputs: list[Tensor], state: Any, batch: int
    ) -> tuple[Runner, list[Tensor], Guard]:
        """The compiled code for inputs and states of these shapes, whatever the batch and the length.

        Also the tensors that the cell holds and that have a row for each of the batch, which is
        found by recording; and the guard of what it reads. That the step does the same with this
        size of the batch is checked when it first comes.
        """
        rows = [
            *(x.shape[1:2] == (batch,) for x in inputs),
            *(s.shape[:1] == (batch,) for s in leaves(state)),
        ]
        runner, lent, guard = found = Jitted._compiled_for(
            self, variant, inputs, state, batch, rows
        )
        if batch not in runner.step.batches:
            changes = Changes(self._guards, guard, f"tg.jit: the step of '{name_of(self)}'", runs=1)
            try:
                check_batch(
                    runner.step,
                    variant,
                    tuple(Tensor(x.array[0]) for x in inputs),
                    state,
                    rows,
                    lent,
                    batch,
                )
                changes.after_run()
            except BaseException:
                changes.restore()
                raise
        return found

    def _compiled_for(
        self, variant: _Variant, inputs: list[Tensor], state: Any, batch: int, rows: list[bool]
    ) -> tuple[Runner, list[Tensor], Guard]:
        gradients = tuple([x.requires_grad for x in inputs])
        shapes = (
            variant.flags,
            tuple([(x.shape[1 + r :], r, x.dtype) for x, r in zip(inputs, rows, strict=False)]),
            tuple(
                [
                    (path, s.shape[r:], r, s.dtype)
                    for (path, s), r in zip(flatten(state), rows[len(inputs) :], strict=True)
                ]
            ),
        )
        guard = self._guards.now()
        for settled, borrowed in _keys(guard, batch):
            if (known := self._runners.get((gradients, shapes, settled))) is not None:
                return known, borrowed, guard
            if not context().grad_enabled:  # the code of training serves, and is there already
                for other, known in list(self._runners.items()):
                    if other[1:] == (shapes, settled):
                        return known, borrowed, guard
        # so that the code is that of training, under other settings such as those of eval()
        if not context().grad_enabled:
            gradients = next(
                (known[0] for known in reversed(list(self._runners)) if known[1] == shapes),
                gradients,
            )
        if len(self._runners) >= KEPT:  # of what changes at every call, each recording would stay
            self._runners.pop(next(iter(self._runners)), None)
        x = tuple(Tensor(x.array[0]) for x in inputs)

        def made(borrowed: list[Tensor]) -> tuple[Runner, list[Tensor], Guard]:
            changes = Changes(self._guards, guard, f"tg.jit: the step of '{name_of(self)}'")
            try:
                runner = compiled(
                    variant, x, state, gradients, rows, guard.computed, borrowed, changes
                )
            except BaseException:
                changes.restore()
                raise
            kept = changes.kept()
            self._runners[
                gradients, shapes, _lending(kept, _lent(kept, batch)) if borrowed else kept.key
            ] = runner
            return runner, borrowed, kept

        try:
            return made([])
        except (ShapeError, CompileError) as error:
            lent = _lent(guard, batch)
            if not lent:
                raise
            try:
                return made([t for _, t in lent])
            except ShapeError:
                raise error from None


def _keys(guard: Guard, batch: int) -> Iterator[tuple[Any, list[Tensor]]]:
    """The keys under which a recording may be kept, each with the tensors that are borrowed.

    The usual one comes first, since others cost time.
    """
    yield guard.key, []
    lent = _lent(guard, batch)
    if lent:
        yield _lending(guard, lent), [t for _, t in lent]


def _lent(guard: Guard, batch: int) -> list[tuple[int, Tensor]]:
    """The tensors that a cell holds and that may have a row for each of the batch.

    No parameters, and the first axis is the batch.
    """
    found = {
        id(t): (place, t)
        for place, t in reversed(guard.tensors)
        if t.shape[:1] == (batch,) and not isinstance(t, Parameter)
    }
    return sorted(found.values(), key=lambda one: one[0])


def _lending(guard: Guard, lent: list[tuple[int, Tensor]]) -> Any:
    """The key in which these tensors count by their shape alone."""
    items, order = list(guard.key.items), {id(t): k for k, (_, t) in enumerate(lent)}
    for place, t in guard.tensors:
        if id(t) in order:
            items[place] = ("lent", order[id(t)], t.shape[1:], t.dtype, t.requires_grad)
    return Key(items)


def compiled(
    variant: _Variant,
    x: Any,
    state: Any,
    x_gradients: tuple[bool, ...],
    rows: list[bool],
    computed: Mapping[Node, Array],
    lent: Iterable[Tensor],
    changes: Changes,
) -> Runner:
    """Record one step, plan it, and compile it.

    `rows` says which inputs and states have a row for each of the batch, as those of `lent` have;
    `computed` has values of tensors from outside.
    """
    structure: list[Any] = []

    def record(x: Any, state: Any) -> Any:
        result = variant(x, state)
        structure.append(tree_map(lambda _: 0, result))
        return result

    step = StepProgram(record, x, state, variant.__name__, rows, list(lent), changes.after_run)
    wanted: set[Value] = {op for op, needed in zip(step.xs, x_gradients, strict=False) if needed}
    wanted |= {op for op in [*step.constants, *step.fixed] if op.node.requires_grad}
    floats = [v.dtype for v in [*leaves([state, x]), *step.outputs] if v.dtype.kind == "f"]
    with own_faults(variant.__name__):
        runner = Runner(
            SequenceCode(step, floats[0] if floats else np.dtype(np.float32), wanted), computed
        )
    runner.structure = structure[0]
    return runner


class _Variant:
    """The step that is compiled.

    The cell's, with padding, resets and the states as further outputs where they are asked for.
    """

    def __init__(
        self,
        cell: Callable[..., Any],
        takes_tuple: bool,
        masked: bool,
        resets: bool,
        all_states: bool,
    ) -> None:
        self.cell, self.flags = cell, (takes_tuple, masked, resets, all_states)
        self.__name__ = name_of(cell)
        if not resets:
            # whose variables name the parts of the state
            self.__wrapped__ = cell.forward if isinstance(cell, Layer) else cell

    def __call__(self, x: tuple[Any, ...], state: Any) -> Any:
        takes_tuple, masked, resets, all_states = self.flags
        parts, first = list(x), None
        if resets:
            begin, (state, first) = parts.pop(), state
            state = tree_map(lambda s, f: where(_rows(begin, s), f, s), state, first)
        valid = parts.pop() if masked else None
        result = self.cell(*own(tuple(parts) if takes_tuple else parts[0], state))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ShapeError(
                f"tg.jit: the cell must return (output, new_state); it returned {returned(result)}"
            )
        y, new = result
        for a, b in pairs(state, new, "tg.jit: the state changed over a step"):
            if (tuple(a.shape), a.dtype) != (
                tuple(getattr(b, "shape", ())),
                getattr(b, "dtype", None),
            ):
                raise ShapeError(
                    f"tg.jit: a component of the state changed over a step: it was {describe(a)}, now {describe(b)}"
                )
        new = _in_order(state, new)
        if masked:
            y = tree_map(lambda a: where(_rows(valid, a), a, 0.0 if a.dtype.kind == "f" else 0), y)
            new = tree_map(lambda a, b: where(_rows(valid, a), a, b), new, state)
        return ((y, new) if all_states else y), ((new, first) if resets else new)


def _in_order(state: Any, new: Any) -> Any:
    """The new state with the entries of dicts in the order of the old one."""
    if isinstance(state, dict):
        return {key: _in_order(state[key], new[key]) for key in state}
    if isinstance(state, (tuple, list)):
        parts = [_in_order(a, b) for a, b in zip(state, new, strict=True)]
        return type(new)(*parts) if hasattr(new, "_fields") else type(new)(parts)
    return new


def _rows(flags: Any, like: Any) -> Any:
    """Flags (batch,) for values of another rank."""
    return flags.reshape((flags.shape[0], *[1] * (len(like.shape) - 1)))


class _Unrolled(Segment):
    """A compiled unrolling as a node on the tape."""

    reads = "goes through a compiled cell, which needs"

    def __init__(
        self,
        runner: Runner,
        again: Callable[..., list[Tensor]],
        xs: list[Tensor],
        states: list[Tensor],
        lent: list[Tensor],
        batch: int,
        reverse: bool,
        drawn: dict[Value, Array],
    ) -> None:
        super().__init__(again, len(xs) + len(states))
        self.runner, self.xs, self.states, self.batch, self.reverse = (
            runner,
            xs,
            states,
            batch,
            reverse,
        )
        self.lent, self.drawn, self.drawn_values = lent, drawn, list(drawn.values())
        self.emitted: list[list[Array]] = []
        # a weak reference, since it belongs to the node: with the node's saved values it is
        # released
        self.saved: Any = None

    def outputs(self) -> list[Tensor]:
        """Run forward; the floating outputs hang on one node."""
        runner, step, drawn = self.runner, self.runner.step, self.drawn
        tensors = [*self.xs, *self.states]
        xs = [*[t.array for t in self.xs], *[drawn[op] for op in step.xs[len(self.xs) :]]]
        fixed = [*[t.array for t in self.lent], *[drawn[op] for op in step.fixed[step.lent :]]]
        shapes = runner.shapes(xs[0].shape[0], self.batch)
        ends, count, one = runner.ends, len(runner.ends), runner.one
        needs = tuple(
            [
                t.requires_grad
                for several in (tensors, self.lent, runner.owners.values())
                for t in several
            ]
        )
        self.live = (
            runner.live(needs, len(self.xs), len(self.lent), xs[0].shape[0])
            if context().grad_enabled and any(needs)
            else []
        )
        live = [shapes[k] for k in self.live]
        packed = empty((sum([math.prod(shape) for shape in live]),), runner.dtype) if one else None
        written = dict(zip(self.live, cut(packed, live), strict=True)) if one else {}
        found = [
            written[k] if k in written else np.empty(shapes[k], op.dtype)
            for k, op in enumerate(ends)
        ]
        emitted = [
            np.empty(shape, op.dtype)
            for shape, op in zip(shapes[count:], runner.emitted, strict=True)
        ]
        rest = iter(emitted)
        self.emitted = [[next(rest) for _ in several] for several in step.emitted]
        asked = {op: value for op, value in drawn.items() if op.given is Given.CONSTANT}
        results = [*found, *emitted]
        saved = runner.forward(
            xs, [t.array for t in self.states], fixed, asked, self.batch, self.reverse, results
        )
        self.reached = [
            *runner.code.constants,
            *(op for op, t in zip(step.fixed, self.lent, strict=False) if t.requires_grad),
        ]
        self.captured = [
            o.node
            for o in [*runner.wanted, *(t for t in self.lent if t.requires_grad)]
            if o.node is not None
        ]
        self.xs, self.states, self.lent, self.drawn = [], [], [], {}
        if not self.live:
            return [Tensor(a if k < len(step.outputs) else a.copy()) for k, a in enumerate(found)]
        whole = self.on_tape(
            UNROLL,
            tensors,
            packed if one else self.pack([found[k].astype(runner.widest) for k in self.live]),
        )
        assert whole.node is not None
        whole.node.saved[0] = saved  # in place of the output, which no rule reads
        self.saved = weakref.ref(saved)
        outputs = sum(k < len(step.outputs) for k in self.live)
        parts = dict(zip(self.live, cut(whole, live, outputs), strict=True))
        return [
            Tensor(a)
            if k not in parts
            else parts[k]
            if a.dtype == whole.dtype
            else parts[k].astype(a.dtype)
            for k, a in enumerate(found)
        ]

    def did(self) -> Any:
        """See `Segment.did`."""
        constants = [
            owner.array for owner in self.runner.owners.values() if not owner.requires_grad
        ]
        return (
            self.runner.source,
            self.reverse,
            self.batch,
            *map(summary, (*constants, *self.drawn_values)),
        )

    def gradients(self, g: Any, values: Any) -> tuple[Any, ...]:
        """For each input of the node.

        By the compiled function, or by the steps one by one where the walk itself is recorded.
        """
        if isinstance(g, Tensor):
            return super().gradients(g, values)
        self.check_captured()
        step = self.runner.step
        saved = self.saved()
        shapes = self.runner.shapes(*saved.shape)
        parts = dict(zip(self.live, cut(g, [shapes[k] for k in self.live]), strict=True))
        for k, op in enumerate(self.runner.ends):
            if op.dtype.kind == "f":
                parts[k] = (
                    parts[k].astype(op.dtype, copy=False)
                    if k in parts
                    else np.zeros(shapes[k], op.dtype)
                )
        found = self.runner.backward(saved, [parts.get(k) for k in range(len(self.runner.ends))])
        own = step.xs[: self.count - len(step.states)]
        return tuple([found.get(op) for op in (*own, *step.states, *self.reached)])


UNROLL: Primitive = as_primitive("unroll")


def jit(cell: Callable[..., Any]) -> Jitted:
    """Compile a cell for whole sequences, or an ordinary function of tensors.

    The same call, numbers, and gradients of any order.

    The first `unroll` of a compiled cell records one step of it, derives its backward by the
    ordinary rules, and compiles one function forward and one backward with the loop over time
    inside. They serve any length and any batch, and are kept on disk.

    The first call of a compiled function records it for the shapes that it was given, derives its
    backward, and makes loops of the runs of elementwise operations and reductions in both. Matrix
    products, indexing and the rest are done by NumPy. A function of (x, state) is both: called it
    is a function, unrolled it is a cell.

    Parameters
    ----------
    cell : Cell, module or callable
        A cell or a function ``(x, state) -> (output, state)``; or any function of nests of tensors,
        arrays and other arguments, to a nest of tensors. Without `if` on values.

    Returns
    -------
    Jitted
        Its method `source` gives the generated code.

    Raises
    ------
    CompileError
        For a layer that runs over whole sequences. On first use, for a step that cannot be
        compiled: the operation, its line, and why. Within ``with tg.eager():`` such a cell runs
        step by step.
    TraceError
        On first use, for a function or step that looks at a number, for a function that draws a
        random mask, and for a step that draws one in a sequence inside the step.

    Notes
    -----
    What a function or cell reads is looked at again at each `unroll`, or call, and where anything
    of it differs, it is recorded again: what it closes over, its globals and defaults and those of
    functions that it calls, attributes of modules, objects and classes, and what stands in lists,
    dicts, sets, arrays, views of them, buffers and files in memory. So are modules that are
    imported inside, contexts of decimals and ``np.geterr()``. The limit is what Python cannot look
    into: the memory of extensions and memory at an address (a pointer of ctypes that was made from
    a number), objects of other processes, locks and queues of threads, files on disk, the clock,
    random numbers, other settings of the process (its locale), and modules that are imported by a
    name that is computed. What gives another number in a second recording, or draws from a
    generator, is refused. So is a function or step that changes what is outside of it (``self.last
    = h``, ``seen.append(x)``): the change would be made once, in the recording.

    While a function or step is recorded every floating tensor says that it requires gradients, and
    its name is that of the recording: code that decides by `requires_grad` or `name` of its
    arguments is not what runs afterwards.

    Random masks of cells are those that the plain steps would draw. A tensor from outside the step,
    no parameter, may have a row for each of the batch, on its first axis. Cells are not compiled if
    they read or move single rows of the batch, have values with the batch on two axes or of uint64,
    or index into an axis that is made of the batch and another. Integers and booleans are those of
    NumPy to the bit.

    A function is recorded anew for other shapes, dtypes, needed gradients, and for other numbers:
    what changes from call to call is better a tensor. After 64 recordings other calls run as if it
    were not compiled. Arrays among the arguments arrive as tensors.
    """
    if isinstance(cell, Jitted):
        return cell
    if (
        isinstance(cell, Layer)
        and not isinstance(cell, Cell)
        and any(isinstance(m, Cell) or hasattr(m, "cell") for _, m in cell.named_modules())
    ):
        raise CompileError(
            f"tg.jit: {type(cell).__name__} is a layer, which runs over whole sequences (RNN, LSTM and GRU of tg.nn are compiled without tg.jit); "
            "what is compiled is one step, a cell as in tg.cells: tg.jit(tg.cells.LSTM(...)), and tg.unroll of it"
        )
    if isinstance(cell, type) or not callable(cell):
        raise CompileError(f"tg.jit: expected a function, or a cell; found {no_cell(cell)}")
    if isinstance(cell, Cell):
        return Jitted(cell)
    from .function import JittedFunction

    return JittedFunction(cell)
