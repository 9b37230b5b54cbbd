"""Batches of examples that are kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.primitive import Array
from ..core.tensor import Tensor, tensor
from ..ops import checks
from .padding import side_by_side
from .passes import Passes, shuffled

__all__ = ["Batches"]

_TOGETHER = 50  # batches of which the examples are ordered by length, where they are bucketed


class Batches(Passes):
    """Batches of examples; sequences become time-major, and those of different lengths are padded.

    Parameters
    ----------
    *arrays : array, or list of arrays
        Each has one entry for each example, along its first axis: arrays (examples, ...), or lists
        of sequences (steps, ...) whose lengths differ.
    batch_size : int
        Examples in a batch. The last batch of a pass may have fewer.
    time : sequence of bool, optional
        Which of the arrays are sequences, with time as the axis after that of the examples. By
        default the first, and each list of arrays whose lengths differ.
    rng : numpy Generator or int, optional
        Shuffles the examples anew for each pass. By default they come in their order.
    bucket : bool
        Put sequences of about equal lengths into one batch, so that little is padded. What comes
        together is drawn anew for each pass all the same.
    drop_last : bool
        Leave out the examples of a last batch that is not full.

    Yields
    ------
    tuple of Tensor
        One for each array: sequences (steps, batch, ...), others (batch, ...). If lengths differ,
        the lengths (batch,) come last.

    Raises
    ------
    ShapeError
        If the arrays have different numbers of examples, or two sequences of one example different
        lengths.

    Examples
    --------
    >>> data = tg.data.Batches(xs, labels, batch_size=32, rng=0)     # (N, T, F) and (N,)
    >>> for x, label in data:                                        # (T, 32, F) and (32,)
    ...     ...
    """

    def __init__(
        self,
        *arrays: Any,
        batch_size: int,
        time: Sequence[bool] | None = None,
        rng: Any = None,
        bucket: bool = False,
        drop_last: bool = False,
    ) -> None:
        super().__init__(rng)
        if not arrays:
            raise TinygradError("Batches: expected at least one array of examples; found none")
        self.batch_size = checks.size(batch_size, "Batches: batch_size")
        self.drop_last = checks.flag(drop_last, "Batches: drop_last")
        self.bucket = checks.flag(bucket, "Batches: bucket")
        self._parts = [_examples(a, k) for k, a in enumerate(arrays)]
        counts = {len(part) for part in self._parts}
        if len(counts) > 1 or counts == {0}:
            raise ShapeError(
                f"Batches: each array has an entry for each example; found {', '.join(str(len(p)) for p in self._parts)} entries"
            )
        if time is None:
            time = [k == 0 or _ragged(part) for k, part in enumerate(self._parts)]
        if len(time) != len(arrays):
            raise TinygradError(
                f"Batches: time says of each array whether it is a sequence; expected {len(arrays)} values, found {len(time)}"
            )
        self.time = [checks.flag(t, "Batches: time") for t in time]
        self.lengths = self._lengths()
        self.ragged = len(set(self.lengths.tolist())) > 1

    def _lengths(self) -> Array:
        """Return the length of each example's sequences; of none it is 1."""
        found: Array | None = None
        for k, (part, sequence) in enumerate(zip(self._parts, self.time, strict=True)):
            if not sequence:
                continue
            array = isinstance(part, np.ndarray)  # of which examples need not be looked at
            if part.ndim < 2 if array else any(np.ndim(example) == 0 for example in part):
                raise ShapeError(
                    f"Batches: array {k} is a sequence, so each example needs an axis of time; found single numbers. Say which arrays are sequences with "
                    "time=, such as time=[True, False]"
                )
            lengths = np.full(len(part), part.shape[1]) if array else np.array([*map(len, part)])
            if found is not None and (found != lengths).any():
                place = int((found != lengths).argmax())
                raise ShapeError(
                    f"Batches: the sequences of one example have one length; of example {place} they have {found[place]} and {lengths[place]}"
                )
            found = lengths
        return np.ones(len(self._parts[0]), np.int64) if found is None else found

    def __len__(self) -> int:
        """Return the number of batches in a pass."""
        whole, rest = divmod(len(self.lengths), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def _order(self) -> list[Array]:
        """Return the examples of each batch."""
        order = shuffled(self.rng, len(self.lengths))
        if self.bucket:
            size = self.batch_size * _TOGETHER
            groups = [order[k : k + size] for k in range(0, len(order), size)]
            groups = [g[np.argsort(self.lengths[g], kind="stable")] for g in groups]
            order = np.concatenate(groups)
        found = [order[k : k + self.batch_size] for k in range(0, len(order), self.batch_size)]
        if self.drop_last:
            found = [g for g in found if len(g) == self.batch_size]
        if self.bucket and self.rng is not None:
            found = [found[k] for k in self.rng.permutation(len(found))]
        return found

    def _sizes(self) -> set[int]:
        """Return the sizes of the batches of a pass."""
        last = len(self.lengths) % self.batch_size
        found = {self.batch_size} if len(self.lengths) >= self.batch_size else set()
        return found | ({last} if last and not self.drop_last else set())

    def _count(self, order: Any) -> int:
        return len(order)

    def _batch(self, order: Any, k: int) -> tuple[Tensor, ...]:
        places = order[k][self._mine(len(order[k]))]
        found = [
            self._sequences(part, places) if sequence else np.stack([part[i] for i in places])
            for part, sequence in zip(self._parts, self.time, strict=True)
        ]
        if self.ragged:
            found.append(self.lengths[places])
        return tuple([tensor(a) for a in found])

    def _sequences(self, part: Any, places: Array) -> Array:
        """Return some sequences side by side, (steps, batch, ...), with zeros behind shorter ones."""
        return side_by_side([np.asarray(part[i]) for i in places])

    def __repr__(self) -> str:
        return (
            f"<Batches of {self.batch_size}: {len(self.lengths):,} examples, {len(self):,} batches>"
        )


def _examples(given: Any, k: int) -> Any:
    """Return what was given as an array, or as a list of arrays of different lengths."""
    if isinstance(given, Tensor):
        return given.numpy()
    if isinstance(given, np.ndarray) and given.ndim:
        return given
    if not isinstance(given, (list, tuple)) or not given:
        raise TinygradError(
            f"Batches: array {k} is a {type(given).__name__}; expected an array with an entry for each example, or a list of sequences"
        )
    parts = [np.asarray(one.numpy() if isinstance(one, Tensor) else one) for one in given]
    for place, part in enumerate(parts):
        if part.dtype.kind not in "fiub" or part.shape[1:] != parts[0].shape[1:]:
            raise ShapeError(
                f"Batches: entry {place} of array {k} has shape {part.shape} and dtype {part.dtype}; expected numbers, and the shape {parts[0].shape} of the "
                "first entry except for the length"
            )
    return parts if len({p.shape for p in parts}) > 1 else np.stack(parts)


def _ragged(part: Any) -> bool:
    return isinstance(part, list)
