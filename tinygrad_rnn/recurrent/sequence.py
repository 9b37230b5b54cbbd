"""One sequence for one cell: what `unroll` and `tbptt` run their steps with."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ShapeError, TinygradError, TraceError
from ..core.primitive import Array
from ..core.tape import Where, at_step, caller, context, setting
from ..core.tensor import Tensor
from ..core.tree import leaves, tree_map
from ..ops.checks import flag
from ..ops.elementwise import where
from ..ops.shaping import broadcast_to, concatenate, stack
from ..ops.taking import take_along_axis
from .arguments import (
    batch_of,
    for_every_row,
    given_state,
    own_state,
    reset_flags,
    sequences,
    valid_steps,
)
from .cell import Cell, CompiledCell, dtype_of, name_of, name_state, no_cell, own, returned
from .checkpoint import checkpoint as checkpointed
from .context import sequence_context
from .footprint import footprint
from .returned import Returned
from .schedule import Stretch, even, schedule, size_of

Step = Callable[[Any, Any], tuple[Any, Any]]


class Sequence:
    """A sequence that a cell runs over, with all that was given checked.

    Parameters
    ----------
    cell, xs, state, lengths, resets
        As `unroll` is given them.

    Attributes
    ----------
    parts : tuple of Tensor
        The inputs, each (T, batch, ...).
    tuple : bool
        Whether the cell is given a tuple of them at each step, or the only one.
    T : int
        The number of steps.
    given : tree of tensors, or None
        The first state, if one was given.
    first : tree of tensors
        The state before the first step.
    valid : bool array (T, batch), or None
        Which steps of which rows count; None: all.
    resets : bool array (T, batch), or None
        Which rows begin anew from the first state before which step.
    """

    def __init__(self, cell: Step, xs: Any, state: Any, lengths: Any, resets: Any) -> None:
        if isinstance(cell, type) or not callable(cell):
            raise TinygradError(
                f"unroll: expected a cell, (x, state) -> (output, state); found {no_cell(cell)}"
            )
        self.cell, self.name = cell, name_of(cell)
        self.tuple = isinstance(xs, tuple)
        given = xs if isinstance(xs, tuple) else (xs,)
        parts = sequences(given)
        self.T = parts[0].shape[0]
        self.given = given_state(cell, state, parts[0])
        self.first = self.first_state(parts[0])
        dtypes = [
            s.dtype for s in leaves(self.first) if isinstance(s, Tensor) and s.dtype.kind == "f"
        ] or [d for d in [dtype_of(cell)] if d]
        if dtypes:
            parts = tuple(
                p.astype(dtypes[0]) if p.dtype.kind == "f" and not isinstance(x, Tensor) else p
                for x, p in zip(given, parts, strict=True)
            )
        self.valid = None if lengths is None else valid_steps(lengths, parts[0])
        self.resets = None if resets is None else reset_flags(resets, parts[0])
        if self.valid is not None and any(p.shape[:2] != self.valid.shape for p in parts):
            raise ShapeError(
                f"unroll: with lengths all of xs must have shape (T, batch, ...) = {self.valid.shape}; found {[p.shape for p in parts]}"
            )
        self.parts = parts

    def last_steps(self, x: Tensor) -> Tensor:
        """Return the last step of each row that counts, of one of the inputs."""
        valid: Any = self.valid
        last = valid.sum(0) - 1
        if not isinstance(last, Tensor):
            return x[last, np.arange(x.shape[1])]
        places = broadcast_to(last.reshape((1, -1, *[1] * (x.ndim - 2))), (1, *x.shape[1:]))
        found: Tensor = take_along_axis(x, places, 0)[0]
        return found

    def first_state(self, x: Tensor) -> Any:
        """Return the state before the first step, in new nodes.

        Each window of a truncated backpropagation frees its own.
        """
        state = self.given
        if state is None:
            state = own_state(self.cell, batch_of(x))
            name_state(self.cell, state, 0)
        return state if x.ndim < 2 else for_every_row(state, batch_of(x))

    def with_cell(self, cell: Step) -> Sequence:
        """Return the same sequence for another cell.

        In messages and marks it keeps the name of this one.
        """
        other = copy.copy(self)
        other.cell = cell
        return other

    def span(self, reverse: bool, return_states: bool) -> Span:
        """Return all steps, as a compiled cell is told to run them."""
        return Span(self, self.parts, self.first, 0, self.T, reverse, return_states, 0)

    # --- running ----------------------------------------------------------------------------------

    def run(
        self,
        reverse: bool = False,
        checkpoint: bool | int | str | None = None,
        return_states: bool = False,
        hook: Any = None,
    ) -> tuple[Any, Any]:
        """Return the outputs of all steps, and the last state or all states; see `unroll`."""
        reverse, return_states = (
            flag(reverse, "unroll: reverse"),
            flag(return_states, "unroll: return_states"),
        )
        if hook is not None and not callable(hook):
            raise TinygradError(
                f"unroll: hook must be a function (t, output, state); found a {type(hook).__name__}"
            )
        stretch = self._stretch(checkpoint, reverse, return_states)
        if stretch.parts and hook is not None:
            raise TinygradError(
                "unroll: a hook sees tensors that checkpoint throws away; use one of the two"
            )
        ys, states, last = self._run(
            stretch, self.parts, self.first, 0, self.T, reverse, return_states, hook
        )
        return ys, states if return_states else last

    def _stretch(
        self, checkpoint: bool | int | str | None, reverse: bool, return_states: bool
    ) -> Stretch:
        """Return how the steps are run with `checkpoint`, as `unroll` was given it."""
        if isinstance(checkpoint, str):
            budget, now = size_of(checkpoint), context()
            if now.tracing or not now.grad_enabled:  # where nothing is kept
                return Stretch(self.T)
            return schedule(self.T, *footprint(self, reverse, return_states), budget)
        length = _segment_length(checkpoint, self.T)
        return Stretch(self.T) if length is None else even(self.T, length)

    def _run(
        self,
        stretch: Stretch,
        parts: Any,
        state: Any,
        start: int,
        stop: int,
        reverse: bool,
        return_states: bool,
        hook: Any = None,
        offset: int = 0,
    ) -> tuple[Any, Any, Any]:
        """Run `steps` in the way that a stretch says."""
        if not stretch.parts:
            return self.steps(parts, state, start, stop, reverse, return_states, hook, offset)
        pieces = []
        *segments, last = stretch.parts
        for segment in segments:
            lo, hi = (stop - segment.steps, stop) if reverse else (start, start + segment.steps)
            given = tuple(p[lo - offset : hi - offset] for p in parts)
            for x, p in zip(parts, given, strict=True):
                p.name = p.name or f"{(x.name or 'x').partition('[')[0]}[{lo}:{hi}]"
            *piece, state = self._checkpointed(
                segment, given, state, lo, hi, reverse, return_states
            )
            pieces.append(piece)
            start, stop = (start, lo) if reverse else (hi, stop)
        if last.steps:
            *piece, state = self.steps(
                parts, state, start, stop, reverse, return_states, None, offset
            )
            pieces.append(piece)
        if reverse:
            pieces.reverse()
        ys, states = (
            pieces[0]
            if len(pieces) == 1
            else [
                tree_map(lambda *ys: concatenate(ys), *group) for group in zip(*pieces, strict=True)
            ]
        )
        return ys, states, state

    def _checkpointed(
        self,
        stretch: Stretch,
        parts: Any,
        state: Any,
        start: int,
        stop: int,
        reverse: bool,
        return_states: bool,
    ) -> Any:
        """Run `steps` as one node on the tape, which is marked with the step that is run last."""

        def segment(parts: Any, state: Any) -> Any:
            return self._run(
                stretch, parts, state, start, stop, reverse, return_states, offset=start
            )

        with at_step(start if reverse else stop - 1, cell=self.name, layer=context().mark.layer):
            ys, states, last = checkpointed(segment, parts, state)
        name_state(self.cell, last, start if reverse else stop)
        return ys, states, last

    def steps(
        self,
        parts: Any,
        state: Any,
        start: int,
        stop: int,
        reverse: bool = False,
        return_states: bool = False,
        hook: Any = None,
        offset: int = 0,
    ) -> tuple[Any, Any, Any]:
        """Run steps `start` to `stop`.

        Parameters
        ----------
        parts : tuple of Tensor
            The inputs of these steps, at least.
        state : tree of tensors
            The state before the step that is run first.
        start, stop : int
            The steps are start, ..., stop - 1.
        reverse, return_states, hook
            As in `unroll`.
        offset : int
            The step at which `parts` begins.

        Returns
        -------
        outputs : tree of Tensor
            Stacked over time.
        states : tree of Tensor, or None
            The same for the states, with `return_states`.
        state : tree of tensors
            The state after the step that is run last.
        """
        now = context()
        cell, layer = self.cell, now.mark.layer
        if now.eager:
            cell = cell.plain if isinstance(cell, CompiledCell) else cell
        elif now.effects is not None and hook is None:  # it is recorded as one
            cell = now.effects.whole(cell)
        if isinstance(cell, CompiledCell):
            if hook is not None:
                raise TinygradError(
                    "unroll: a hook looks at single steps, which a compiled cell does not have; unroll it in tg.eager()"
                )
            with at_step(start, self.name, layer):
                whole: tuple[Any, Any, Any] = cell.run_steps(
                    Span(self, parts, state, start, stop, reverse, return_states, offset)
                )
            return whole
        if isinstance(self.valid, Tensor) or isinstance(self.resets, Tensor):
            raise TraceError(
                f"unroll: the steps of '{self.name}' are recorded one by one here, for which the numbers of lengths and resets have to be known: hand them "
                f"over as a list, or from outside of the function{Where(*caller()).described()}"
            )
        found = Returned(self.cell, self.name, state)
        states: list[Any] = []
        scope = sequence_context()
        if scope is not None:
            scope.shared = {}
        for t in range(stop - 1, start - 1, -1) if reverse else range(start, stop):
            with at_step(t, self.name, layer):
                if scope is not None:
                    scope.begun = 0
                y, state = self._step(cell, parts, state, t, offset, found)
            if hook is not None:
                hook(t, y, state)
            found.outputs.append(y)
            if return_states:
                states.append(state)
        name_state(cell, state, start if reverse else stop)
        outputs = found.outputs
        if reverse:
            outputs.reverse()
            states.reverse()
        return _stacked(outputs), _stacked(states) if states else None, state

    def _step(
        self, cell: Step, parts: Any, state: Any, t: int, offset: int, found: Returned
    ) -> tuple[Any, Any]:
        """Run step t of a cell from a state, and return its output and the state after it."""
        valid = None if self.valid is None or self.valid[t].all() else self.valid[t]
        if self.resets is not None:
            resets = self.resets[t] if valid is None else self.resets[t] & valid
            if resets.any():
                state = _choose(resets, self.first, state, self, "resets", t)
        step = tuple([x[t - offset] for x in parts])
        for x, s in zip(parts, step, strict=True):
            if s.name is None:
                s.name = f"{x.name or 'x'}[{t}]"
        if valid is not None:
            # padding may hold what would spoil gradients, such as nan: in its place stands the last
            # step of the row
            last = tuple([self.last_steps(x) for x in self.parts])
            chosen = _choose(valid, step, last, self, "lengths", t)
            for s, new in zip(step, chosen, strict=True):
                if new.node is None:
                    new.name = s.name
            step = chosen
        given = step if self.tuple else step[0]
        # a Cell makes handles of its own
        result = cell(given, state) if isinstance(cell, Cell) else cell(*own(given, state))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ShapeError(
                f"unroll: cell '{self.name}' must return (output, new_state); at step t={t} it returned {returned(result)}"
            )
        y, new = result
        found.check(y, state, new, t)
        if valid is not None:
            new = _choose(valid, new, state, self, "lengths", t)
            name_state(self.cell, new, t + 1)
            y = _choose(valid, y, None, self, "lengths", t)
        return y, new


class Span(NamedTuple):
    """Some steps of a sequence, as a compiled cell is told to run them.

    Attributes
    ----------
    sequence : Sequence
    parts, state, start, stop, reverse, return_states, offset
        As `Sequence.steps` is given them.
    """

    sequence: Sequence
    parts: Any
    state: Any
    start: int
    stop: int
    reverse: bool
    return_states: bool
    offset: int

    def by(self, cell: Step) -> tuple[Any, Any, Any]:
        """Run the steps with another cell, one by one; see `Sequence.steps`."""
        effects = context().effects
        if effects is not None:
            effects.one_by_one.add(self.sequence.name)
        with setting(effects=None):
            return self.sequence.with_cell(cell).steps(
                self.parts,
                self.state,
                self.start,
                self.stop,
                self.reverse,
                self.return_states,
                offset=self.offset,
            )

    @property
    def times(self) -> range:
        """The steps, in the order in which they run."""
        steps = range(self.start, self.stop)
        return steps[::-1] if self.reverse else steps


def _choose(mask: Array, new: Any, old: Any, sequence: Sequence, what: str, t: int) -> Any:
    """Return row by row `new` where the mask is True, else `old` (None: zeros)."""

    def one(a: Any, b: Any = None) -> Any:
        if not a.shape or a.shape[0] != mask.shape[0]:
            part = "an output" if old is None else "a component of the state"
            raise ShapeError(
                f"unroll: with {what} the first axis of states and outputs must be the batch of {mask.shape[0]}; {part} of cell "
                f"'{sequence.name}' has shape {a.shape} at step t={t}"
            )
        zero = 0.0 if a.dtype.kind == "f" else 0
        rows = Tensor(mask.reshape((-1, *[1] * (len(a.shape) - 1))))
        rows.leaf(name="valid" if what == "lengths" else "begins")
        return where(rows, a, zero if b is None else b)

    return tree_map(one, new) if old is None else tree_map(one, new, old)


def _stacked(values: list[Any]) -> Any:
    return tree_map(lambda *ys: stack(ys), values[0], *values[1:])


def _segment_length(checkpoint: bool | int | None, T: int) -> int | None:
    """Return the number of steps of a segment, as `unroll` was given it; None: no segments."""
    if checkpoint is None or checkpoint is False:
        return None
    if checkpoint is True:
        return max(1, round(math.sqrt(T)))
    if not isinstance(checkpoint, (int, np.integer)) or checkpoint < 1:
        raise TinygradError(
            f"unroll: checkpoint must be True or a number of steps, at least 1, or a size of memory such as '200 MB'; found {checkpoint!r}"
        )
    return int(checkpoint)
