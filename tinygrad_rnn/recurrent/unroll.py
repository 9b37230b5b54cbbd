"""Unrolling a cell through time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.primitive import Array
from ..core.tape import Where, at_step, caller, context, setting
from ..core.tensor import Tensor, as_array, tensor
from ..core.tree import flatten, leaves, pairs, tree_map
from ..module import Module
from ..ops.checks import flag
from ..ops.elementwise import where
from ..ops.shaping import broadcast_to, concatenate, stack
from .cell import (
    Cell,
    CompiledCell,
    check_first_state,
    component_names,
    dtype_of,
    matched,
    name_of,
    name_state,
    no_cell,
    own,
    plain_of,
    returned,
    way_to_cell,
)
from .checkpoint import checkpoint as checkpointed
from .context import begin_sequence, sequence_context
from .products import around, wrappers

Step = Callable[[Any, Any], tuple[Any, Any]]


NOTHING = contextlib.nullcontext()


def unroll(
    cell: Step,
    xs: Any,
    state: Any = None,
    lengths: Any = None,
    reverse: bool = False,
    checkpoint: bool | int | None = None,
    *,
    resets: Any = None,
    return_states: bool = False,
    hook: Callable[[int, Any, Any], None] | None = None,
) -> tuple[Any, Any]:
    """Run a cell over a sequence, marking every node with its step.

    Parameters
    ----------
    cell : Cell or callable
        ``(x, state) -> (output, state)``.
    xs : Tensor or array, shape (T, batch, ...)
        Time first; or a tuple of such, of which the cell is then given a tuple at each step. A
        floating array takes the dtype of the state, as arrays do beside tensors.
    state : Tensor or nest, optional
        The first state; by default ``cell.initial_state(batch)``. A component whose first axis is
        1, such as a learnable ``tg.Parameter`` of shape (1, hidden), serves every row of the batch.
    lengths : integers, shape (batch,), optional
        How many steps of each row count, from 1 to T; the rest is padding, which is not looked at
        and may hold anything. Outputs there are zero, and the state of a row stays as it was after
        its last step. The first axis of outputs and states must be the batch.
    reverse : bool
        Run from the last step to the first: in each row from the last step that counts. Outputs
        stand at the time of their input.
    checkpoint : bool or int, optional
        Keep the states between segments of so many steps only (True: about the square root of T),
        and run each segment again in backward: the same gradients, and memory of about two
        segments in place of T steps.
    resets : booleans, shape (T, batch), optional
        Where True, the row begins anew from the first state, before that step.
    return_states : bool
        Return all states in place of the last.
    hook : callable, optional
        ``hook(t, output, state)`` is called after each step, to look or to register gradient hooks.

    Returns
    -------
    ys : Tensor, shape (T, batch, ...)
        The outputs (a nest of them if the cell's output is one).
    state
        The last state; with `return_states` the states after every step, each component of shape
        (T, batch, ...).

    Raises
    ------
    ShapeError, DtypeError
        If shapes, dtypes, lengths or resets do not fit, or the state changes its structure, a shape
        or a dtype over a step: the component is named as the cell's code names it, and the step.
    """
    # a sequence inside a step has products of its own
    with setting(sequence=begin_sequence()), around(only=True) if wrappers() else NOTHING:
        return Sequence(cell, xs, state, lengths, resets).run(
            reverse, checkpoint, return_states, hook
        )


class Sequence:
    """Checked inputs of an unrolling: what `unroll` and `tbptt` have in common.

    Attributes
    ----------
    parts : tuple of Tensor
        The inputs, each (T, batch, ...).
    first : nest
        The state before the first step.
    valid : bool array (T, batch), or None
        Which steps of which rows count; None: all.
    resets : bool array (T, batch), or None
    """

    def __init__(self, cell: Step, xs: Any, state: Any, lengths: Any, resets: Any) -> None:
        if isinstance(cell, type) or not callable(cell):
            raise TinygradError(
                f"unroll: expected a cell, (x, state) -> (output, state); found {no_cell(cell)}"
            )
        self.cell, self.name = cell, name_of(cell)
        self.tuple = isinstance(xs, tuple)
        given = xs if isinstance(xs, tuple) else (xs,)
        parts = tuple(_input(x) for x in given)
        if len({x.shape[0] if x.ndim else None for x in parts}) != 1 or not parts[0].ndim:
            raise ShapeError(
                f"unroll: xs must have time as their first axis, all of one length; found shapes {[x.shape for x in parts]}"
            )
        self.T = parts[0].shape[0]
        if self.T == 0:
            raise ShapeError(
                f"unroll: the sequence is empty (xs has shape {parts[0].shape}; expected (T, batch, ...) with T >= 1)"
            )
        self.given = self._given_state(state, parts[0])
        self.first = self.first_state(parts[0])
        dtypes = [
            s.dtype for s in leaves(self.first) if isinstance(s, Tensor) and s.dtype.kind == "f"
        ] or [d for d in [dtype_of(cell)] if d]
        if dtypes:
            parts = tuple(
                p.astype(dtypes[0]) if p.dtype.kind == "f" and not isinstance(x, Tensor) else p
                for x, p in zip(given, parts, strict=True)
            )
        self.valid = None if lengths is None else self._valid(lengths, parts[0])
        self.resets = None if resets is None else self._flags(resets, parts[0])
        if self.valid is not None and any(p.shape[:2] != self.valid.shape for p in parts):
            raise ShapeError(
                f"unroll: with lengths all of xs must have shape (T, batch, ...) = {self.valid.shape}; found {[p.shape for p in parts]}"
            )
        self.parts = parts
        if self.valid is not None:
            # where the last step of each row stands
            self.ends = (self.valid.sum(0) - 1, np.arange(self.valid.shape[1]))

    def run(
        self,
        reverse: bool = False,
        checkpoint: bool | int | None = None,
        return_states: bool = False,
        hook: Any = None,
    ) -> tuple[Any, Any]:
        """Outputs of all steps and the last state (or all states)."""
        reverse, return_states = (
            flag(reverse, "unroll: reverse"),
            flag(return_states, "unroll: return_states"),
        )
        length = _segment_length(checkpoint, self.T)
        if hook is not None and not callable(hook):
            raise TinygradError(
                f"unroll: hook must be a function (t, output, state); found a {type(hook).__name__}"
            )
        if length is not None and hook is not None:
            raise TinygradError(
                "unroll: a hook sees tensors that checkpoint throws away; use one of the two"
            )
        starts = range(0, self.T, length or self.T)
        state, pieces = self.first, []
        for start in reversed(starts) if reverse else starts:
            stop = min(start + (length or self.T), self.T)
            if length is None:
                *piece, state = self.steps(
                    self.parts, state, start, stop, reverse, return_states, hook
                )
            else:
                parts = tuple(p[start:stop] for p in self.parts)
                for x, p in zip(self.parts, parts, strict=True):
                    p.name = p.name or f"{x.name or 'x'}[{start}:{stop}]"
                *piece, state = self._checkpointed(
                    parts, state, start, stop, reverse, return_states
                )
            pieces.append(piece)
        if reverse:
            pieces.reverse()
        joined = (
            pieces[0]
            if len(pieces) == 1
            else [
                tree_map(lambda *ys: concatenate(ys), *group) for group in zip(*pieces, strict=True)
            ]
        )
        return joined[0], joined[1] if return_states else state

    def _checkpointed(
        self, parts: Any, state: Any, start: int, stop: int, reverse: bool, return_states: bool
    ) -> Any:
        """`steps` as one node on the tape; marked with the step that is run last."""

        def segment(parts: Any, state: Any) -> Any:
            return self.steps(parts, state, start, stop, reverse, return_states, None, offset=start)

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
        """Steps `start` to `stop`.

        Outputs and (if wanted) states, stacked over time, and the state at the end.

        `offset` is the step at which `parts` begins.
        """
        cell, name, layer = self.cell, self.name, context().mark.layer
        if isinstance(cell, CompiledCell) and context().eager:
            cell = cell.plain
        if isinstance(cell, CompiledCell):
            if hook is not None:
                raise TinygradError(
                    "unroll: a hook looks at single steps, which a compiled cell does not have; unroll it in tg.eager()"
                )
            with at_step(start, name, layer):
                whole: tuple[Any, Any, Any] = type(cell).steps(
                    cell, self, parts, state, start, stop, reverse, return_states, offset
                )
            return whole
        outputs: list[Any] = []
        states: list[Any] = []
        known, produced = _signature(state), None
        if (scope := sequence_context()) is not None:
            scope.shared = {}
        for t in range(stop - 1, start - 1, -1) if reverse else range(start, stop):
            with at_step(t, name, layer):
                valid = None if self.valid is None or self.valid[t].all() else self.valid[t]
                resets = (
                    None
                    if self.resets is None
                    else self.resets[t]
                    if valid is None
                    else self.resets[t] & valid
                )
                if resets is not None and resets.any():
                    state = _choose(resets, self.first, state, self, "resets", t)
                if scope is not None:
                    scope.begun = 0
                step = tuple([x[t - offset] for x in parts])
                for x, s in zip(parts, step, strict=True):
                    if s.name is None:
                        s.name = f"{x.name or 'x'}[{t}]"
                # padding may hold what would spoil gradients, such as nan: in its place the row's
                # last step
                if valid is not None:
                    step = _choose(
                        valid, step, tuple([x[self.ends] for x in self.parts]), self, "lengths", t
                    )
                given = step if self.tuple else step[0]
                # a Cell does this itself
                result = cell(given, state) if isinstance(cell, Cell) else cell(*own(given, state))
                if not isinstance(result, tuple) or len(result) != 2:
                    raise ShapeError(
                        f"unroll: cell '{name}' must return (output, new_state); at step t={t} it returned {returned(result)}"
                    )
                y, new = result
                found = _signature(new)
                if found != known:
                    self._check_change(state, new, t)
                    known = found
                shown = _signature(y)
                if shown != produced:
                    self._check_output(y, y if produced is None else outputs[0], t)
                    produced = shown
                if valid is not None:
                    new = _choose(valid, new, state, self, "lengths", t)
                    y = _choose(valid, y, None, self, "lengths", t)
                state = new
            if hook is not None:
                hook(t, y, state)
            outputs.append(y)
            if return_states:
                states.append(state)
        name_state(cell, state, start if reverse else stop)
        if reverse:
            outputs.reverse()
            states.reverse()
        return _stacked(outputs), _stacked(states) if states else None, state

    # --- what is given ------------------------------------------------------------------------------------------------------

    def first_state(self, x: Tensor) -> Any:
        """The state before the first step, in new nodes.

        Each window of a truncated backpropagation frees its own.
        """
        if self.given is None:
            state = self.cell.initial_state(self._batch(x))  # type: ignore[attr-defined]
            for path, s in flatten(state, "state"):
                if getattr(s, "shape", None) is None:
                    raise ShapeError(
                        f"unroll: initial_state of cell '{self.name}' gave as {path} a {type(s).__name__}; expected a tensor, or a tuple, "
                        "named tuple or dict of tensors"
                    )
            state = self._tensors(state)
            name_state(self.cell, state, 0)
        else:
            state = self.given
        return state if x.ndim < 2 else tree_map(_spread(self._batch(x)), state)

    def _tensors(self, state: Any) -> Any:
        """A first state in which arrays are tensors, floating ones of the cell's dtype."""
        if not any(isinstance(s, np.ndarray) for s in leaves(state)):
            return state
        own = dtype_of(self.cell)
        return tree_map(
            lambda s: (
                tensor(s, own if s.dtype.kind == "f" else None) if isinstance(s, np.ndarray) else s
            ),
            state,
        )

    def _given_state(self, state: Any, x: Tensor) -> Any:
        if state is None:
            if isinstance(plain_of(self.cell), Module) and not isinstance(
                plain_of(self.cell), Cell
            ):
                module = plain_of(self.cell)
                raise ShapeError(
                    f"unroll: '{self.name}' is no cell but a {type(module).__name__} module, {way_to_cell(module)}. "
                    "For a whole sequence call the module with xs; a module that makes one step may be given state=..."
                )
            if not isinstance(plain_of(self.cell), Cell):
                raise ShapeError(
                    f"unroll: '{self.name}' is a plain function, so it cannot say what its first state is; pass state=..."
                )
            return None
        state = self._tensors(state)
        for path, s in flatten(state, "state"):
            if not isinstance(s, Tensor):
                raise ShapeError(
                    f"unroll: the first state's component {path} is a {type(s).__name__}; expected a tensor or an array"
                )
        if x.ndim >= 2 and isinstance(plain_of(self.cell), Cell):
            batch = self._batch(x)
            check_first_state(
                self.cell,
                state,
                batch,
                f"unroll: the state does not fit cell '{self.name}'",
                one_row=True,
            )
        return state

    def _batch(self, x: Tensor) -> int:
        if x.ndim < 2:
            raise ShapeError(f"unroll: xs has shape {x.shape}; expected (T, batch, ...)")
        if x.shape[1] == 0:
            raise ShapeError(
                f"unroll: the batch is empty (xs has shape {x.shape}; expected (T, batch, ...) with batch >= 1)"
            )
        return x.shape[1]

    def _valid(self, lengths: Any, x: Tensor) -> Array | None:
        batch = self._batch(x)
        array = _array(lengths)
        if array is None:
            raise DtypeError(
                f"unroll: lengths must be integers of shape ({batch},); found ragged lists {_shown(lengths)}"
            )
        if array.dtype.kind not in "iu":
            raise DtypeError(
                f"unroll: lengths must be integers; found {array.dtype} {_shown(array)}"
            )
        if array.shape != (batch,):
            raise ShapeError(
                f"unroll: lengths must have shape ({batch},), one for each row of xs {x.shape}; found {array.shape}"
            )
        if array.min() < 1:
            row = int(array.argmin())
            raise ShapeError(
                f"unroll: row {row} has length {array[row]}; expected 1 to T={self.T}. Leave empty rows out of the batch."
            )
        if array.max() > self.T:
            row = int(array.argmax())
            raise ShapeError(
                f"unroll: row {row} has length {array[row]}, but xs has only T={self.T} steps (shape {x.shape})"
            )
        valid = np.arange(self.T)[:, None] < array
        return None if valid.all() else valid

    def _flags(self, resets: Any, x: Tensor) -> Array:
        expected = (self.T, self._batch(x))
        array = _array(resets)
        if array is None or array.dtype != bool or array.shape != expected:
            found = "ragged lists" if array is None else f"{array.dtype} {array.shape}"
            raise ShapeError(
                f"unroll: resets must be booleans of shape (T, batch) = {expected}; found {found}"
            )
        return array.copy()  # backward reads it, and the caller may write into his own

    # --- states -------------------------------------------------------------------------------------------------------------

    def _check_change(self, before: Any, after: Any, t: int) -> None:
        """That a step kept structure (a plain tuple may become the cell's named one), shapes and dtypes of the state."""
        head = f"unroll: the state of cell '{self.name}' changed over step t={t}"
        for (a, b), name in zip(
            matched(self.cell, before, after, head), component_names(self.cell, before), strict=True
        ):
            shape, dtype, shape2, dtype2 = (
                getattr(x, what, None) for x in (a, b) for what in ("shape", "dtype")
            )
            if not isinstance(b, Tensor):
                raise ShapeError(
                    f"{head}: {name} is now a {type(b).__name__}; expected a tensor of shape {shape}. What is no tensor has no gradient: "
                    f"return the tensor itself, or a constant as tg.tensor(...){Where(*caller()).described()}"
                )
            if shape != shape2:
                raise ShapeError(
                    f"{head}: {name} had shape {shape}, now {shape2}. A state keeps its shape; broadcasting a first state is not enough."
                )
            if dtype != dtype2:
                raise DtypeError(
                    f"{head}: {name} was {dtype}, now {dtype2}. Make the first state {dtype2}, or cast with .astype({dtype}) in the cell."
                )

    def _check_output(self, y: Any, first: Any, t: int) -> None:
        """That the outputs of all steps can be stacked."""
        head = f"unroll: the output of cell '{self.name}'"
        for path, part in flatten(y, "output"):
            if not isinstance(part, Tensor):
                raise ShapeError(
                    f"{head} at step t={t}: {path} is a {type(part).__name__}; expected a tensor. What is no tensor has no gradient: return the "
                    f"tensor itself, or a constant as tg.tensor(...){Where(*caller()).described()}"
                )
        names = [path for path, _ in flatten(first, "output")]
        for (a, b), name in zip(
            pairs(first, y, f"{head} changed at step t={t}", "output"), names, strict=True
        ):
            shape, dtype, shape2, dtype2 = (
                getattr(x, what, None) for x in (a, b) for what in ("shape", "dtype")
            )
            if shape != shape2:
                raise ShapeError(
                    f"{head} changed at step t={t}: {name} had shape {shape}, now {shape2}. All steps must give one shape."
                )
            if dtype != dtype2:
                raise DtypeError(
                    f"{head} changed at step t={t}: {name} was {dtype}, now {dtype2}. All steps must give one dtype."
                )


def _input(x: Any) -> Tensor:
    """A tensor from what was given as a sequence."""
    try:
        return x if isinstance(x, Tensor) else tensor(x)
    except ShapeError as error:
        raise ShapeError(
            f"unroll: xs must have one shape (T, batch, ...). Pad sequences of unequal length to one array, and pass lengths=... ({error})"
        ) from error
    except DtypeError as error:
        found = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
        raise DtypeError(
            f"unroll: xs must be a tensor or an array of numbers of shape (T, batch, ...), or a tuple of such; found {found} ({error})"
        ) from error


def _array(given: Any) -> Array | None:
    """Lengths or resets as an array; None for ragged lists."""
    try:
        return given.numpy() if isinstance(given, Tensor) else as_array(given)
    except ValueError:
        return None


def _signature(tree: Any) -> tuple[Any, ...]:
    """Structure, shapes and dtypes: cheap to compare."""
    if isinstance(tree, Tensor):
        return (Tensor, tree.array.shape, tree.array.dtype)
    if isinstance(tree, dict):
        return (dict, *[(key, _signature(part)) for key, part in tree.items()])
    if isinstance(tree, (tuple, list)):
        return (type(tree), *[_signature(part) for part in tree])
    return (type(tree), getattr(tree, "shape", None), getattr(tree, "dtype", None))


def _choose(mask: Array, new: Any, old: Any, sequence: Sequence, what: str, t: int) -> Any:
    """Row by row `new` where the mask is True, else `old` (None: zeros)."""

    def one(a: Any, b: Any = None) -> Any:
        if not a.shape or a.shape[0] != mask.shape[0]:
            part = "an output" if old is None else "a component of the state"
            raise ShapeError(
                f"unroll: with {what} the first axis of states and outputs must be the batch of {mask.shape[0]}; {part} of cell "
                f"'{sequence.name}' has shape {a.shape} at step t={t}"
            )
        zero = 0.0 if a.dtype.kind == "f" else 0
        return where(mask.reshape((-1, *[1] * (len(a.shape) - 1))), a, zero if b is None else b)

    return tree_map(one, new) if old is None else tree_map(one, new, old)


def _spread(batch: int) -> Callable[[Any], Any]:
    """To the whole batch, what serves every row."""

    def one(s: Any) -> Any:
        return (
            broadcast_to(s, (batch, *s.shape[1:]))
            if batch > 1 and s.shape and s.shape[0] == 1
            else s
        )

    return one


def _stacked(values: list[Any]) -> Any:
    return tree_map(lambda *ys: stack(ys), values[0], *values[1:])


def _segment_length(checkpoint: bool | int | None, T: int) -> int | None:
    if checkpoint is None or checkpoint is False:
        return None
    if checkpoint is True:
        return max(1, round(math.sqrt(T)))
    if not isinstance(checkpoint, (int, np.integer)) or checkpoint < 1:
        raise TinygradError(
            f"unroll: checkpoint must be True or a number of steps, at least 1; found {checkpoint!r}"
        )
    return int(checkpoint)


def _shown(given: Any) -> str:
    text = str(given.tolist() if isinstance(given, np.ndarray) else given)
    return text if len(text) <= 60 else f"{text[:57]}..."
