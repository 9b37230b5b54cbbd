"""A compiled cell: a cell that runs whole sequences as compiled code."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import GraphError, ShapeError, TraceError
from ..core.primitive import Array, Spec
from ..core.record import describe
from ..core.tape import at_step, context, no_grad, setting
from ..core.tensor import Tensor
from ..core.tree import leaves, unflatten
from ..kernels.runtime import available, raising, refusal
from ..module import Module as Layer
from ..ops.guards import Guard
from ..recurrent.cell import Cell, CompiledCell, name_of
from ..recurrent.context import SequenceContext, sequence_context
from ..recurrent.effects import in_place
from ..recurrent.sequence import Sequence as Unrolling
from ..recurrent.sequence import Span
from .effects import Drawn, Player, draw_all, emit_all
from .inside import Inside, fits
from .recording import standing_for
from .recordings import Recordings
from .runner import Runner
from .sizes import PROBE_BATCHES, sized
from .step import StepProgram
from .unrolled import Unrolled
from .value import CompileError, Value
from .variant import Piece, piece_of

if TYPE_CHECKING:
    from .explain import Explanation

EAGER = "Within 'with tg.eager():' the steps run one by one, not compiled."


class _Forwarded:
    """An attribute that a compiled cell takes from its cell, if that is one, and gives to it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        plain = None if instance is None else instance.plain
        if isinstance(plain, Cell):
            return getattr(plain, self.name)
        found = getattr(Cell, self.name)
        return found.__get__(instance, owner) if hasattr(found, "__get__") else found

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance.plain, self.name, value)


class Jitted(CompiledCell):
    """A cell that `unroll` and `tbptt` run as one compiled function for the whole sequence.

    Made by `jit`. It holds the cell and forwards to it: parameters, their names and settings are
    those of the cell, and a change of one is a change of the other. Calling it computes one ordinary
    step.

    Attributes
    ----------
    plain : Cell or callable
        The cell that was given.
    """

    __slots__ = ("_code",)

    _code: Recordings

    def __init__(self, cell: Callable[..., Any]) -> None:
        object.__setattr__(self, "plain", cell)
        object.__setattr__(self, "_code", Recordings(cell))

    # --- what it has of its cell ------------------------------------------------------------------

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The attributes of the cell, for whoever goes through those of a module."""
        return vars(self.plain) if isinstance(self.plain, Layer) else {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.plain, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.plain, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.plain, name)

    training = _Forwarded()
    input_size = _Forwarded()
    bookkeeping = _Forwarded()
    joined = _Forwarded()
    initial_state = _Forwarded()
    check = _Forwarded()
    zeros = _Forwarded()
    example_input = _Forwarded()
    mask_places = _Forwarded()

    def forward(self, x: Any, state: Any) -> Any:
        """Compute one step, not compiled."""
        return self.plain(x, state)

    def copied(
        self, convert: Callable[[Any], Any], announce: Callable[[Layer], None]
    ) -> tuple[Jitted, dict[str, Any]]:
        """See `Module.copied`: the cell is copied, and gives the copy its attributes."""
        made = type(self)(convert(self.plain))
        return made, dict(vars(made))

    def __copy__(self) -> Jitted:
        return type(self)(copy.copy(self.plain))  # which has attributes of its own

    def __reduce__(self) -> Any:
        # for deep copies and pickles: the code is made anew where it runs
        return type(self), (self.plain,)

    def compile(self, xs: Any, state: Any = None) -> Jitted:
        """Compile the cell for such a sequence now, forward and backward, and return this object.

        Otherwise that is done when the cell is first unrolled over one.

        Parameters
        ----------
        xs : Tensor or array, shape (T, batch, ...)
            As for `unroll`. The code serves any T and any batch.
        state : Tensor or nest, optional
            The first state.
        """
        self._recording(xs, state)
        return self

    # --- what it says of itself -------------------------------------------------------------------

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
        from .readable import readable

        return readable(self._recording(xs, state))

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
        from .explain import Explanation

        runner = self._recording(xs, state)
        sizes = () if xs is None else np.shape(leaves(xs if isinstance(xs, tuple) else (xs,))[0])
        steps, batch = (*sizes[:2], None, None)[:2]
        return Explanation(runner, steps, batch)

    def _recording(self, xs: Any, state: Any) -> Runner:
        """Return the compiled code for a sequence, or the latest."""
        self._needs_a_compiler()
        if xs is not None:
            given = Unrolling(self, xs, state, None, None)
            return self._code.find(piece_of(self.plain, given.span(False, False)))[0]
        runners = self._code.runners
        if not runners:
            raise CompileError(
                f"tg.jit: '{name_of(self)}' was not unrolled yet, so nothing is compiled; give an "
                "example: fast.source(xs)"
            )
        return list(runners.values())[-1]

    def _needs_a_compiler(self) -> None:
        """Raise a CompileError where nothing can be compiled."""
        if not available():
            raise CompileError(
                f"tg.jit: there is no code of '{name_of(self)}', which runs through NumPy: {refusal()}"
            )

    # --- compiled ---------------------------------------------------------------------------------

    def run_steps(self, span: Span) -> Any:
        """Run some steps of a sequence as one node on the tape; see `Sequence.steps`."""
        now = context()
        if not self._runs_compiled():
            return span.by(self.plain)
        with at_step(None, now.mark.cell, now.mark.layer):  # what prepares all steps is in none
            piece = piece_of(self.plain, span)
        try:
            runner, lent, guard = self._code.find(piece)
        except TraceError:
            raise
        except Exception as error:
            # a step of the cell itself says what is wrong with the shapes that were given
            with no_grad():
                first = span.times[0]
                span._replace(start=first, stop=first + 1).by(self.plain)
            explained = self._explained(error)
            if explained is error:
                raise
            raise explained from error
        step = runner.step
        if now.asked:  # what the step has as numbers, the function that is recorded has so too
            now.asked.note(guard)
        if now.tracing and not fits(runner):
            return span.by(self.plain)
        draws = [draw for draw, _ in step.drawn]
        if now.tracing:
            handles = _drawn_later(draws, piece) if draws else []
            held = held_arguments(runner, guard)
            if any(isinstance(o.array, Spec) and v not in held for v, o in runner.owners.items()):
                return span.by(self.plain)
            again = self._again(piece, runner, guard, None, list(held.values()))
            made = Inside(runner, piece, lent, handles, held, again).results()
            if step.receivers:
                receive = functools.partial(_emitted, step, piece)
                now.effects.emit(in_place(receive), made[len(runner.ends) :], step.changes)
            return _results(runner, made[: len(runner.ends)])
        drawn = draw_all(draws, piece) if draws else []
        again = self._again(piece, runner, guard, drawn)
        unrolled = Unrolled(runner, piece, lent, drawn, again)
        try:
            found = unrolled.outputs()
        except (IndexError, ValueError):
            # of a place that is out of range, or a power with a negative exponent: the plain steps
            # say where
            span.by(self.plain)
            raise
        if step.receivers:
            emit_all(step.receivers, unrolled.emitted, piece)
        return _results(runner, found)

    def _runs_compiled(self) -> bool:
        """Whether sequences run compiled here; without numba, of which a warning has told, not."""
        now = context()
        return not (now.tracing and now.effects is None) and available() and not raising()

    def step_bytes(self, span: Span) -> int | None:
        """See `CompiledCell.step_bytes`."""
        if not self._runs_compiled():
            return None
        piece = piece_of(self.plain, span)
        try:
            runner = self._code.find(piece)[0]
        except Exception:  # which the run says
            return None
        padded = 0 if span.sequence.valid is None else sum(x.array[:1].nbytes for x in piece.inputs)
        return runner.step_bytes(piece.batch) + padded

    def _explained(self, error: Exception) -> Exception:
        """Return the error for a step that cannot be recorded or compiled, with the way out."""
        if isinstance(error, CompileError):
            said = "tg.eager()" in str(error)  # the way out
            return error if said else CompileError(f"{error}. {EAGER}")
        if not isinstance(error, ShapeError):
            return error
        one, two = PROBE_BATCHES
        return CompileError(
            f"tg.jit: a step of '{name_of(self)}' is recorded with batches of {one} and {two} rows, "
            f"to serve any, and does not run with them: {error}. What has a row for each of the "
            "batch and is used from outside the step has to be a tensor, no array of NumPy and no "
            "parameter, and the batch its first axis (held so by the cell, it may be transposed "
            f"inside the step); else hand it over in x or in the state. {EAGER}"
        )

    def _again(
        self,
        piece: Piece,
        runner: Runner,
        guard: Guard,
        drawn: list[Array] | None,
        held: Sequence[list[Tensor]] = (),
    ) -> Callable[..., list[Tensor]]:
        """Return the same steps, to be run one by one: for gradients of gradients, and tangents.

        Without `drawn` the function is given that as well, behind inputs and states, and then
        tensors in place of each of those that are `held`.
        """
        guards, name, span = self._code.guards, name_of(self), piece.span
        # what is recorded in a function asks for the values at each call
        asked = [] if drawn is None else [(t, t.array) for t in runner.owners.values()]
        asked = [(t, array) for t, array in asked if not t.requires_grad]
        start, stop, reverse = span.start, span.stop, span.reverse

        def again(*handles: Tensor, times: Sequence[int] | None = None) -> list[Any]:
            others = (describe(t) for t, array in asked if t.array is not array)
            changed = next(others, "") or guard.changed(guards)
            if changed:
                raise GraphError(
                    f"tg.jit: gradients of gradients, tangents and pictures run the steps of "
                    f"'{name}' again, but {changed} is not what it was when they ran compiled. "
                    "Compute them before the cell is changed, or unroll again."
                )
            count, widest = len(piece.inputs), runner.widest
            end = count + len(piece.states)
            given, first = handles[:count], unflatten(piece.carried, list(handles[count:end]))
            behind = len(handles) - len(held)
            values = handles[end:behind] if drawn is None else drawn
            plain = span.sequence.with_cell(piece.variant)
            plain.tuple, plain.valid, plain.resets = True, None, None
            player = Player([draw for draw, _ in runner.step.drawn], values, span.times)
            running = sequence_context() or SequenceContext()
            with (
                standing_for(
                    (t, handle.array, handle.node)
                    for several, handle in zip(held, handles[behind:], strict=True)
                    for t in several
                ),
                setting(sequence=running.with_effects(player), effects=None),
            ):
                if times is not None:  # outputs and state of each of these, the first ones
                    found, state = [], first
                    for t in times:
                        ys, _, state = plain.steps(given, state, t, t + 1, reverse, offset=start)
                        found.append([*leaves(ys), *leaves(state)])
                    return found
                ys, _, last = plain.steps(given, first, start, stop, reverse, offset=start)
            return [
                y.astype(widest) if y.dtype.kind == "f" and y.dtype != widest else y
                for y in (*leaves(ys), *leaves(last))
            ]

        return again


def held_arguments(runner: Runner, guard: Guard) -> dict[Value, list[Tensor]]:
    """Return the arguments of the function that is being recorded which a cell holds and reads.

    For what the step calls each of them, the tensors by which the cell has it.
    """
    arguments: dict[Any, list[Tensor]] = {}
    for _, t in guard.tensors:
        if isinstance(t.array, Spec):
            arguments.setdefault(t.node, []).append(t)
    return {v: arguments[o.node] for v, o in runner.owners.items() if o.node in arguments}


def _results(runner: Runner, found: Sequence[Tensor]) -> Any:
    """Return outputs, all states (or None) and the last state, nested as the cell returns them."""
    count, form = len(runner.step.outputs), runner.variant.form
    y_tree, state_tree = runner.structure
    ys, last = unflatten(y_tree, list(found[:count])), unflatten(state_tree, list(found[count:]))
    if form.resets:
        last = last[0]
    return (ys[0], ys[1], last) if form.all_states else (ys, None, last)


def _emitted(step: StepProgram, piece: Piece, *values: Array) -> None:
    """Hand over what steps inside of a recorded function emitted."""
    rest = iter(values)
    emit_all(step.receivers, [[next(rest) for _ in several] for several in step.emitted], piece)


def _drawn_later(draws: Sequence[Drawn], piece: Piece) -> list[Tensor]:
    """Return tensors in place of what the steps draw, which is drawn at each call."""
    steps = (len(piece.span.times),)
    shapes = [
        (*steps, *sized(d.shape, piece.batch)) if d.per == "step" else sized(d.shape, piece.batch)
        for d in draws
    ]
    specs = [Spec(shape, d.dtype) for shape, d in zip(shapes, draws, strict=True)]
    makers = [d.make for d in draws]
    later = in_place(lambda: draw_all(draws, piece))
    found: list[Tensor] = context().effects.draw(later, specs, makers)
    return found
