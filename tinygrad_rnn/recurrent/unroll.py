"""Unrolling a cell through time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from ..core.tape import setting
from .context import begin_sequence
from .products import around, wrappers
from .sequence import Sequence, Step

_NOTHING = contextlib.nullcontext()


def unroll(
    cell: Step,
    xs: Any,
    state: Any = None,
    lengths: Any = None,
    reverse: bool = False,
    checkpoint: bool | int | str | None = None,
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
        The sequence, time first; or a tuple of such, and then the cell is given a tuple at each
        step. A floating array takes the dtype of the state, as arrays do beside tensors.
    state : Tensor or tree of tensors, optional
        The first state; by default ``cell.initial_state(batch)``. A component whose first axis is
        1, such as a learnable ``tg.Parameter`` of shape (1, hidden), serves every row of the batch.
    lengths : integers, shape (batch,), optional
        How many steps of each row count, from 1 to T; the rest is padding, which is not looked at
        and may hold anything. Outputs there are zero, and the state of a row stays as it was after
        its last step. The first axis of outputs and states must be the batch.
    reverse : bool
        Whether to run from the last step to the first: in each row from the last step that counts.
        Outputs stand at the time of their input.
    checkpoint : bool, int or str, optional
        Keep the states between segments of so many steps only (True: about the square root of T),
        and run each segment again in backward: the same gradients, and memory of about two
        segments in place of T steps. Or a budget such as ``"200 MB"``: states that are kept, and
        what recorded steps keep for backward, take no more than that at any time, and as few steps
        as possible are run again. What is given and returned is not counted.
    resets : booleans, shape (T, batch), optional
        Where True, the row begins anew from the first state, before that step.
    return_states : bool
        Whether to return all states in place of the last.
    hook : callable, optional
        ``hook(t, output, state)`` is called after each step, to look or to register gradient hooks.

    Returns
    -------
    ys : Tensor, shape (T, batch, ...)
        The outputs; a tree of tensors if the cell's output is one.
    state : tree of tensors
        The last state; with `return_states` the states after every step, each component of shape
        (T, batch, ...).

    Raises
    ------
    TinygradError
        If a budget is too small. The message says the least that is enough.
    ShapeError, DtypeError
        If shapes, dtypes, lengths or resets do not fit, or the state changes its structure, a shape
        or a dtype over a step. The message names the step, and the component as the cell's code
        does.
    """
    # a sequence inside a step has products of its own
    with setting(sequence=begin_sequence()), around(only=True) if wrappers() else _NOTHING:
        return Sequence(cell, xs, state, lengths, resets).run(
            reverse, checkpoint, return_states, hook
        )
