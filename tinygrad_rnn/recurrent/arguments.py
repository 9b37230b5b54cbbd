"""Checks of what an unrolling is given: the sequence, the first state, lengths and resets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, TraceError
from ..core.primitive import Array, Spec
from ..core.tape import Where, caller, context
from ..core.tensor import Tensor, as_array, tensor
from ..core.tree import flatten, leaves, tree_map
from ..module import Module
from ..ops.shaping import broadcast_to
from .cell import Cell, check_first_state, dtype_of, name_of, plain_of, way_to_cell


def sequences(given: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Return the parts of a sequence as tensors (T, ...) of one T, which is at least 1."""
    parts = tuple(_sequence(x) for x in given)
    if len({x.shape[0] if x.ndim else None for x in parts}) != 1 or not parts[0].ndim:
        raise ShapeError(
            f"unroll: xs must have time as their first axis, all of one length; found shapes {[x.shape for x in parts]}"
        )
    if parts[0].shape[0] == 0:
        raise ShapeError(
            f"unroll: the sequence is empty (xs has shape {parts[0].shape}; expected (T, batch, ...) with T >= 1)"
        )
    return parts


def _sequence(x: Any) -> Tensor:
    """Return one part of a sequence as a tensor."""
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


def batch_of(x: Tensor) -> int:
    """Return the size of the batch of a sequence (T, batch, ...), which is at least 1."""
    if x.ndim < 2:
        raise ShapeError(f"unroll: xs has shape {x.shape}; expected (T, batch, ...)")
    if x.shape[1] == 0:
        raise ShapeError(
            f"unroll: the batch is empty (xs has shape {x.shape}; expected (T, batch, ...) with batch >= 1)"
        )
    return x.shape[1]


# --- first states ---------------------------------------------------------------------------------


def given_state(cell: Callable[..., Any], state: Any, x: Tensor) -> Any:
    """Return a first state that was given, in tensors; None if the cell is to make it.

    Parameters
    ----------
    cell : Cell or callable
        The cell that is unrolled.
    state : tree of tensors or arrays, or None
        What was given.
    x : Tensor
        The first part of the sequence, (T, batch, ...).

    Raises
    ------
    ShapeError, DtypeError
        If the state does not fit the cell, or none was given and the cell cannot say its own.
    """
    name, plain = name_of(cell), plain_of(cell)
    if state is None:
        if isinstance(plain, Module) and not isinstance(plain, Cell):
            raise ShapeError(
                f"unroll: '{name}' is no cell but a {type(plain).__name__} module, {way_to_cell(plain)}. "
                "For a whole sequence call the module with xs; a module that makes one step may be given state=..."
            )
        if not isinstance(plain, Cell):
            raise ShapeError(
                f"unroll: '{name}' is a plain function, so it cannot say what its first state is; pass state=..."
            )
        return None
    state = _tensors(cell, state)
    for path, s in flatten(state, "state"):
        if not isinstance(s, Tensor):
            raise ShapeError(
                f"unroll: the first state's component {path} is a {type(s).__name__}; expected a tensor or an array"
            )
    if x.ndim >= 2 and isinstance(plain, Cell):
        head = f"unroll: the state does not fit cell '{name}'"
        check_first_state(cell, state, batch_of(x), head, one_row=True)
    return state


def own_state(cell: Any, batch: int) -> Any:
    """Return the first state that a cell makes itself, in tensors."""
    state = cell.initial_state(batch)
    if not all(map(_has_shape, leaves(state))):
        path, s = next(one for one in flatten(state, "state") if not _has_shape(one[1]))
        raise ShapeError(
            f"unroll: initial_state of cell '{name_of(cell)}' gave as {path} a {type(s).__name__}; expected a tensor, or a tuple, "
            "named tuple or dict of tensors"
        )
    return _tensors(cell, state)


def _has_shape(s: Any) -> bool:
    return getattr(s, "shape", None) is not None


def _tensors(cell: Any, state: Any) -> Any:
    """Return a first state in which arrays are tensors, floating ones of the cell's dtype."""
    if not any(isinstance(s, np.ndarray) for s in leaves(state)):
        return state
    own = dtype_of(cell)
    return tree_map(
        lambda s: (
            tensor(s, own if s.dtype.kind == "f" else None) if isinstance(s, np.ndarray) else s
        ),
        state,
    )


def for_every_row(state: Any, batch: int) -> Any:
    """Return a first state in which a component with one row has as many as the batch."""

    def one(s: Any) -> Any:
        return broadcast_to(s, (batch, *s.shape[1:])) if s.shape[:1] == (1,) else s

    return tree_map(one if batch > 1 else lambda s: s, state)


# --- which steps count ----------------------------------------------------------------------------


def valid_steps(lengths: Any, x: Tensor) -> Any:
    """Return which steps of which rows count, booleans (T, batch); None if all do.

    Of lengths that are an argument of a function that is recorded it is a Tensor.

    Parameters
    ----------
    lengths : integers, shape (batch,)
        How many steps of each row count.
    x : Tensor
        The first part of the sequence, (T, batch, ...).
    """
    batch, T = batch_of(x), x.shape[0]
    if isinstance(lengths, Tensor) and isinstance(lengths.array, Spec):
        return _at_each_call(lengths, x)
    array = _array(lengths)
    if array is None:
        raise DtypeError(
            f"unroll: lengths must be integers of shape ({batch},); found ragged lists {_shown(lengths)}"
        )
    if array.dtype.kind not in "iu":
        raise DtypeError(f"unroll: lengths must be integers; found {array.dtype} {_shown(array)}")
    if array.shape != (batch,):
        raise ShapeError(
            f"unroll: lengths must have shape ({batch},), one for each row of xs {x.shape}; found {array.shape}"
        )
    if array.min() < 1:
        row = int(array.argmin())
        raise ShapeError(
            f"unroll: row {row} has length {array[row]}; expected 1 to T={T}. Leave empty rows out of the batch."
        )
    if array.max() > T:
        row = int(array.argmax())
        raise ShapeError(
            f"unroll: row {row} has length {array[row]}, but xs has only T={T} steps (shape {x.shape})"
        )
    valid = steps_within(array, T)
    return None if valid.all() else valid


def _at_each_call(lengths: Tensor, x: Tensor) -> Tensor:
    """Return which steps count, in a trace; the lengths themselves are checked at each call."""
    effects = context().effects
    if effects is None or lengths.node not in context().inputs:
        raise TraceError(
            "unroll: lengths of which the numbers are not known while a function is recorded have to be an argument of the function, so that they "
            f"can be checked at each call{Where(*caller()).described()}"
        )
    shape = Tensor(Spec(x.shape, x.dtype))
    if lengths.shape != (batch_of(x),) or lengths.dtype.kind not in "iu":
        valid_steps(np.zeros(lengths.shape, lengths.dtype), shape)  # which says what is wrong
    effects.require(lengths.node, lambda array: valid_steps(array, shape))
    return steps_within(lengths, x.shape[0])  # type: ignore[no-any-return]


def steps_within(lengths: Any, T: int) -> Any:
    """Return which of T steps lie within the length of each row, booleans (T, batch).

    Of an array an array, of a Tensor a Tensor.
    """
    return np.arange(T)[:, None] < lengths


def reset_flags(resets: Any, x: Tensor) -> Any:
    """Return the resets as booleans (T, batch).

    They are a copy, since backward reads them and the caller may write to his own. In a trace they
    are the tensor that was given.
    """
    expected = (x.shape[0], batch_of(x))
    traced = isinstance(resets, Tensor) and isinstance(resets.array, Spec)
    if traced and resets.dtype == bool and resets.shape == expected:
        return resets
    array = np.zeros(resets.shape, resets.dtype) if traced else _array(resets)
    if array is None or array.dtype != bool or array.shape != expected:
        found = "ragged lists" if array is None else f"{array.dtype} {array.shape}"
        raise ShapeError(
            f"unroll: resets must be booleans of shape (T, batch) = {expected}; found {found}"
        )
    return array.copy()


def _array(given: Any) -> Array | None:
    """Return lengths or resets as an array; None for ragged lists."""
    try:
        return given.numpy() if isinstance(given, Tensor) else as_array(given)
    except ValueError:
        return None


def _shown(given: Any) -> str:
    text = str(given.tolist() if isinstance(given, np.ndarray) else given)
    return text if len(text) <= 60 else f"{text[:57]}..."
