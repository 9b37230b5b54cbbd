"""Unrolling a cell through time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError
from ..core.tape import at_step
from ..core.tensor import Tensor, tensor
from ..core.tree import flatten, leaves, pairs, tree_map
from ..ops.shaping import stack
from .cell import Cell


def unroll(cell: Callable[[Any, Any], tuple[Any, Any]], xs: Any, state: Any = None) -> tuple[Any, Any]:
    """Run a cell over a sequence, marking every node with its step.

    Parameters
    ----------
    cell : Cell or callable
        ``(x, state) -> (output, state)``.
    xs : Tensor or array, shape (T, batch, ...)
        Time first; or a tuple of such, of which the cell is then given a tuple at each step. A floating array takes the dtype of
        the state, as arrays do beside tensors.
    state : Tensor or nest, optional
        The first state; by default ``cell.initial_state(batch)``.

    Returns
    -------
    ys : Tensor, shape (T, batch, ...)
        The outputs (a nest of them if the cell's output is one).
    state
        The last state.

    Raises
    ------
    ShapeError, DtypeError
        If the state changes its structure, a shape or a dtype over a step: the component and the step are named.
    """
    given = xs if isinstance(xs, tuple) else (xs,)
    parts = tuple(x if isinstance(x, Tensor) else tensor(x) for x in given)
    name = getattr(cell, "name", None) or getattr(cell, "__name__", None) or type(cell).__name__
    lengths = {x.shape[0] if x.ndim else None for x in parts}
    if len(lengths) != 1 or None in lengths:
        raise ShapeError(f"unroll: xs must have time as their first axis, all of one length; found shapes {[x.shape for x in parts]}")
    if 0 in lengths:
        raise ShapeError(f"unroll: the sequence is empty (xs has shape {parts[0].shape}; expected (T, batch, ...) with T >= 1)")
    if state is None:
        if not isinstance(cell, Cell):
            raise ShapeError(f"unroll: '{name}' is a plain function, so it cannot say what its first state is; pass state=...")
        if parts[0].ndim < 2:
            raise ShapeError(f"unroll: xs has shape {parts[0].shape}; expected (T, batch, ...)")
        state = cell.initial_state(parts[0].shape[1])
        for path, s in flatten(state, ""):
            _name(s, f"{path.lstrip('.') or 'state'}_0")
    own = next((p.dtype for p in cell.parameters()), None) if isinstance(cell, Cell) else None
    state = tree_map(lambda s: tensor(s, own) if isinstance(s, np.ndarray) else s, state)
    dtypes = [s.dtype for s in leaves(state) if isinstance(s, Tensor) and s.dtype.kind == "f"]
    if dtypes:
        parts = tuple(
            p.astype(dtypes[0]) if p.dtype.kind == "f" and not isinstance(x, Tensor) else p for x, p in zip(given, parts, strict=True)
        )
    outputs: list[Any] = []
    for t in range(parts[0].shape[0]):
        with at_step(t, cell=name):
            step = tuple(x[t] for x in parts)
            for x, s in zip(parts, step, strict=True):
                _name(s, f"{x.name or 'x'}[{t}]")
            result = cell(step if isinstance(xs, tuple) else step[0], state)
            if not isinstance(result, tuple) or len(result) != 2:
                found = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
                raise ShapeError(f"unroll: cell '{name}' must return (output, new_state); at step t={t} it returned {found}")
            before, (y, state) = state, result
            if outputs and not isinstance(y, Tensor):
                pairs(outputs[0], y, f"unroll: the output of cell '{name}' changed at step t={t}", "output")
            _check_state(before, state, f"unroll: the state of cell '{name}' changed over step t={t}")
            outputs.append(y)
    return tree_map(lambda *ys: stack(ys), outputs[0], *outputs[1:]), state


def _name(x: Any, name: str) -> None:
    """A name for pictures and messages, where there is none."""
    if isinstance(x, Tensor) and x.name is None:
        x.name = name


def _check_state(before: Any, after: Any, head: str) -> None:
    """That a step kept structure (a plain tuple may become the cell's named one), shapes and dtypes of the state."""
    for k, (a, b) in enumerate(pairs(before, after, head, "state")):
        shape, dtype, shape2, dtype2 = (getattr(x, what, None) for x in (a, b) for what in ("shape", "dtype"))
        if shape == shape2 and dtype == dtype2:
            continue
        path = flatten(before, "state")[k][0]
        if shape != shape2:
            raise ShapeError(
                f"{head}: {path} had shape {shape}, now {shape2}. A state keeps its shape; broadcasting a first state is not enough."
            )
        raise DtypeError(
            f"{head}: {path} was {dtype}, now {dtype2}. Make the first state {dtype2}, or cast with .astype({dtype}) in the cell."
        )
