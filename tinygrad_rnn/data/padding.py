"""Sequences of different lengths side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ShapeError
from ..core.tensor import Tensor, tensor
from ..ops import checks
from ..ops.shaping import stack
from ..ops.shifting import pad

Array = np.ndarray[Any, np.dtype[Any]]


class Padded(NamedTuple):
    """Sequences side by side, and how long each is: what `unroll` takes as `lengths`."""

    values: Tensor
    lengths: Array


def side_by_side(examples: Sequence[Array], value: Any = 0) -> Array:
    """Return arrays of different lengths as one, (steps, batch, ...), with a value behind shorter ones."""
    steps = max(len(example) for example in examples)
    made = np.full((steps, len(examples), *examples[0].shape[1:]), value, examples[0].dtype)
    for row, example in enumerate(examples):
        made[: len(example), row] = example
    return made


def pad_sequences(sequences: Any, value: float = 0.0, batch_first: bool = False) -> Padded:
    """Put sequences of different lengths side by side, with a value behind the shorter ones.

    Gradients pass to sequences that have them.

    Parameters
    ----------
    sequences : sequence of Tensor, array or list
        Each with time as the first axis, and otherwise of one shape and dtype.
    value : float
        What stands behind the end of a sequence.
    batch_first : bool
        Whether the result is (batch, steps, ...) and not (steps, batch, ...).

    Returns
    -------
    values : Tensor
    lengths : array of int
        For ``tg.unroll(cell, values, lengths=lengths)``, layers and masks.

    Examples
    --------
    >>> values, lengths = tg.pad_sequences([[1.0, 2.0, 3.0], [4.0]])
    """
    if not isinstance(sequences, (list, tuple)) or not sequences:
        raise ShapeError(
            f"pad_sequences: expected a list of sequences; found {checks.shown(sequences)}"
        )
    checks.of_kind(value, ["float"], "pad_sequences: value")
    checks.flag(batch_first, "pad_sequences: batch_first")
    parts = [s if isinstance(s, Tensor) else tensor(s) for s in sequences]
    whole = next((p for p in parts if p.size), parts[0])
    for k, (part, given) in enumerate(zip(parts, sequences, strict=True)):
        if not part.size and isinstance(given, (list, tuple)):  # which has no dtype or features
            parts[k] = part = tensor(np.zeros((0, *whole.shape[1:]), whole.dtype))
        if not part.ndim or part.shape[1:] != whole.shape[1:] or part.dtype != whole.dtype:
            raise ShapeError(
                f"pad_sequences: sequence {k} has shape {part.shape} and dtype {part.dtype}; expected {whole.dtype}, and the shape "
                f"{('steps', *whole.shape[1:])}"
            )
    fill = checks.fitting(value, whole.dtype, "pad_sequences: the sequences")
    lengths = np.array([len(part) for part in parts])
    if any(part.requires_grad or not isinstance(part.array, np.ndarray) for part in parts):
        still = ((0, 0),) * (whole.ndim - 1)
        padded = [
            pad(part, ((0, int(lengths.max() - n)), *still), fill.item())
            for part, n in zip(parts, lengths, strict=True)
        ]
        return Padded(stack(padded, 0 if batch_first else 1), lengths)
    found = side_by_side([part.numpy() for part in parts], fill)
    return Padded(tensor(found.swapaxes(0, 1) if batch_first else found), lengths)
