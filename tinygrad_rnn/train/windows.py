"""The windows of text on which a character model is trained by truncated backpropagation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError, TextError

__all__ = ["Window", "endless_windows", "windows"]

IntArray = npt.NDArray[np.int64]


class Window(NamedTuple):
    """One step of truncated backpropagation through time.

    Attributes
    ----------
    inputs, targets
        int64 arrays of shape (steps, batch); ``targets`` are the ids one position later.
    fresh
        True where a pass begins: reset the hidden state.  Otherwise the rows continue those of the
        window before.
    """

    inputs: IntArray
    targets: IntArray
    fresh: bool


def windows(
    ids: npt.ArrayLike, batch_size: int, steps: int, *, partial: bool = False
) -> Iterator[tuple[IntArray, IntArray]]:
    """Cut ids into windows for one pass of truncated backpropagation through time.

    The ids are cut into `batch_size` contiguous streams of ``(len(ids) - 1) // batch_size``
    positions, one per column. Column b of each window continues column b of the window before, so
    the hidden state can be carried over.

    With ``batch_size=1, partial=True`` the targets are exactly ``ids[1:]``: the characters the
    baselines are scored on.

    Parameters
    ----------
    ids
        Integers of shape (n,).
    batch_size
        Number of streams, at least 1.
    steps
        Positions per window, at least 1.
    partial
        Whether to yield what remains of the streams at the end as a shorter window.

    Yields
    ------
    inputs, targets : ndarray of int64, shape (steps, batch_size)
        Time-major; ``targets`` are the ids that follow ``inputs``.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    TextError
        If the text is too short for a single window.
    """
    inputs, targets = _streams(ids, batch_size, steps, 1 if partial else steps)
    return _cut(inputs, targets, steps, partial)


def endless_windows(
    ids: npt.ArrayLike, batch_size: int, steps: int, *, rng: np.random.Generator | None = None
) -> Iterator[Window]:
    """Repeat the passes of :func:`windows` without end.

    Parameters
    ----------
    ids, batch_size, steps
        As in :func:`windows`.
    rng
        If given, each pass starts at a random position below `steps` where the length allows, so
        that windows are not cut at the same places in every pass.

    Yields
    ------
    Window
        With ``fresh`` True on the first window of each pass.

    Raises
    ------
    ArgumentError, TextError
        As :func:`windows`.
    """
    array, spare = _streams_checked(ids, batch_size, steps, steps)
    return _repeat(array, batch_size, steps, rng, min(steps - 1, spare))


def _streams_checked(
    ids: npt.ArrayLike, batch_size: int, steps: int, needed: int
) -> tuple[IntArray, int]:
    """Return ids as an array, and how many more of them there are than `needed` steps take."""
    array = np.asarray(ids)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ArgumentError(
            f"expected integer ids of shape (n,), found {array.dtype} of shape {array.shape}"
        )
    if batch_size < 1 or steps < 1:
        raise ArgumentError(
            f"batch_size and steps must be at least 1, found {batch_size} and {steps}"
        )
    spare = len(array) - 1 - batch_size * needed
    if spare < 0:
        raise TextError(
            f"{batch_size} streams of {needed} steps need {batch_size * needed + 1} characters, found {len(array)}; "
            "lower the batch size or the steps, or give more text"
        )
    return array.astype(np.int64), spare


def _streams(
    ids: npt.ArrayLike, batch_size: int, steps: int, needed: int
) -> tuple[IntArray, IntArray]:
    """Return inputs and targets as streams side by side, each of shape (length, batch_size)."""
    array, _ = _streams_checked(ids, batch_size, steps, needed)
    length = (len(array) - 1) // batch_size
    used = length * batch_size
    inputs = array[:used].reshape(batch_size, length).T
    targets = array[1 : used + 1].reshape(batch_size, length).T
    return inputs, targets


def _cut(
    inputs: IntArray, targets: IntArray, steps: int, partial: bool
) -> Iterator[tuple[IntArray, IntArray]]:
    """Cut streams into windows of `steps` positions."""
    length = len(inputs)
    for t in range(0, length if partial else length - steps + 1, steps):
        yield (
            np.ascontiguousarray(inputs[t : t + steps]),
            np.ascontiguousarray(targets[t : t + steps]),
        )


def _repeat(
    array: IntArray, batch_size: int, steps: int, rng: np.random.Generator | None, last_start: int
) -> Iterator[Window]:
    """Repeat the passes without end, each from a random start below `last_start` + 1."""
    while True:
        start = 0 if rng is None else int(rng.integers(last_start + 1))
        inputs, targets = _streams(array[start:], batch_size, steps, steps)
        for number, (x, y) in enumerate(_cut(inputs, targets, steps, False)):
            yield Window(x, y, number == 0)
