"""A compiled cell: a cell that runs whole sequences as compiled code."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.errors import GraphError, ShapeError, TraceError
from ..core.primitive import Array
from ..core.tape import context, no_grad, setting
from ..core.tensor import Tensor
from ..core.tree import leaves, unflatten
from ..kernels.runtime import available, raising
from ..module import Module as Layer
from ..ops.elementwise import where
from ..ops.guards import Guard
from ..recurrent.cell import Cell, CompiledCell, name_of
from ..recurrent.context import SequenceContext, sequence_context
from ..recurrent.sequence import Sequence as Unrolling
from .effects import Player, draw_all, emit_all
from .recordings import Recordings
from .runner import Runner
from .sizes import PROBE_BATCHES
from .unrolled import Unrolled
from .value import CompileError
from .variant import Variant

if TYPE_CHECKING:
    from .explain import Explanation
    from .names import ValueNames

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


class Piece(NamedTuple):
    """Some steps of a sequence, as they are compiled.

    Attributes
    ----------
    variant : Variant
        The step.
    inputs : list of Tensor
        For each step one of each: the inputs, then whether a row counts and whether it begins anew.
    carried : nest of Tensor
        The state, and where rows begin anew the first state besides.
    batch : int
    times : range
        In the order of the steps.
    """

    variant: Variant
    inputs: list[Tensor]
    carried: Any
    batch: int
    times: range


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

        return readable(self._names(xs, state)[1])

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

        runner, names = self._names(xs, state)
        parts = [] if xs is None else leaves(xs if isinstance(xs, tuple) else (xs,))
        steps, batch = np.shape(parts[0])[:2] if parts else (None, None)
        return Explanation(runner, names, steps, batch)

    def _names(self, xs: Any, state: Any) -> tuple[Runner, ValueNames]:
        """Return the compiled code, and what the cell's own source calls its values."""
        from .names import ValueNames

        runner, (takes_tuple, masked, resets, _) = self._recording(xs, state)
        first = runner.structure[1]
        return runner, ValueNames(runner.code, self.plain, first, takes_tuple, masked, resets)

    def _recording(self, xs: Any, state: Any) -> tuple[Runner, tuple[bool, ...]]:
        """Return the compiled code for a sequence, or the latest, and how its step is given things.

        That is whether x is a tuple, lengths and resets are given, and all states are wanted.
        """
        if xs is not None:
            unrolling = Unrolling(self, xs, state, None, None)
            variant = Variant(self.plain, unrolling.tuple, False, False, False)
            inputs = list(unrolling.parts)
            runner, *_ = self._code.find(variant, inputs, unrolling.first, inputs[0].shape[1])
            return runner, variant.flags
        runners = self._code.runners
        if not runners:
            raise CompileError(
                f"tg.jit: '{name_of(self)}' was not unrolled yet, so nothing is compiled; give an "
                "example: fast.source(xs)"
            )
        (_, shapes, _), runner = list(runners.items())[-1]
        return runner, shapes[0]

    # --- compiled ---------------------------------------------------------------------------------

    def run_steps(
        self,
        sequence: Unrolling,
        parts: Any,
        state: Any,
        start: int,
        stop: int,
        reverse: bool,
        all_states: bool,
        offset: int,
    ) -> Any:
        """Run steps `start` to `stop` of a sequence as one node on the tape; see `Sequence.steps`."""
        plain = sequence.with_cell(self.plain)
        # without numba, of which a warning has told, step by step
        if context().tracing or not available() or raising():
            return plain.steps(parts, state, start, stop, reverse, all_states, offset=offset)
        piece = self._piece(sequence, parts, state, start, stop, reverse, all_states, offset)
        try:
            runner, lent, guard = self._code.find(
                piece.variant, piece.inputs, piece.carried, piece.batch
            )
        except TraceError:
            raise
        except Exception as error:
            # a step of the cell itself says what is wrong with the shapes that were given
            with no_grad():
                first, end = (stop - 1, stop) if reverse else (start, start + 1)
                plain.steps(parts, state, first, end, reverse, offset=offset)
            explained = self._explained(error)
            if explained is error:
                raise
            raise explained from error
        step, mark = runner.step, context().mark
        name = name_of(self)
        draws = [draw for draw, _ in step.drawn]
        drawn = draw_all(draws, piece.times, piece.batch, name, mark.layer) if draws else []
        again = self._again(sequence, piece, runner, guard, drawn, start, stop, reverse)
        values = {v: found for (_, v), found in zip(step.drawn, drawn, strict=True)}
        states = leaves(piece.carried)
        unrolled = Unrolled(runner, again, piece.inputs, states, lent, piece.batch, reverse, values)
        try:
            found = unrolled.outputs()
        except (IndexError, ValueError):
            # of a place that is out of range, or a power with a negative exponent: the plain steps
            # say where
            plain.steps(parts, state, start, stop, reverse, offset=offset)
            raise
        if step.receivers:
            emit_all(step.receivers, unrolled.emitted, piece.times, piece.batch, name, mark.layer)
        return _results(runner, found, all_states, sequence.resets is not None)

    def _piece(
        self,
        sequence: Unrolling,
        parts: Sequence[Tensor],
        state: Any,
        start: int,
        stop: int,
        reverse: bool,
        all_states: bool,
        offset: int,
    ) -> Piece:
        """Return some steps of a sequence as they are compiled."""
        lo, hi = start - offset, stop - offset
        xs = [p if (lo, hi) == (0, p.shape[0]) else p[lo:hi] for p in parts]
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
        carried = state if resets is None else (state, sequence.first)
        variant = Variant(
            self.plain, sequence.tuple, valid is not None, resets is not None, all_states
        )
        inputs = [*xs, *(Tensor(m) for m in (valid, resets) if m is not None)]
        sizes = (s.shape[0] for s in leaves(carried) if s.ndim)
        batch = xs[0].shape[1] if xs[0].ndim > 1 else next(sizes, 1)
        times = range(stop - 1, start - 1, -1) if reverse else range(start, stop)
        return Piece(variant, inputs, carried, batch, times)

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
        sequence: Unrolling,
        piece: Piece,
        runner: Runner,
        guard: Guard,
        drawn: list[Array],
        start: int,
        stop: int,
        reverse: bool,
    ) -> Callable[..., list[Tensor]]:
        """Return the same steps, to be run one by one: for gradients of gradients, and tangents."""
        guards, name = self._code.guards, name_of(self)

        def again(*handles: Tensor) -> list[Tensor]:
            if not guard.still(guards):
                changed = guard.difference(guards.now())
                raise GraphError(
                    f"tg.jit: gradients of gradients, tangents and pictures run the steps of "
                    f"'{name}' again, but {changed} is not what it was when they ran compiled. "
                    "Compute them before the cell is changed, or unroll again."
                )
            count, widest = len(piece.inputs), runner.widest
            given, first = list(handles[:count]), unflatten(piece.carried, list(handles[count:]))
            plain = sequence.with_cell(piece.variant)
            plain.tuple, plain.valid, plain.resets = True, None, None
            player = Player([draw for draw, _ in runner.step.drawn], drawn, piece.times)
            running = sequence_context() or SequenceContext()
            with setting(sequence=running.with_effects(player)):
                ys, _, last = plain.steps(tuple(given), first, start, stop, reverse, offset=start)
            return [
                y.astype(widest) if y.dtype.kind == "f" and y.dtype != widest else y
                for y in (*leaves(ys), *leaves(last))
            ]

        return again


def _results(runner: Runner, found: Sequence[Tensor], all_states: bool, resets: bool) -> Any:
    """Return outputs, all states (or None) and the last state, nested as the cell returns them."""
    count = len(runner.step.outputs)
    y_tree, state_tree = runner.structure
    ys, last = unflatten(y_tree, list(found[:count])), unflatten(state_tree, list(found[count:]))
    if resets:
        last = last[0]
    return (ys[0], ys[1], last) if all_states else (ys, None, last)
