"""Windows of one long sequence, for truncated backpropagation through time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.tensor import Tensor, tensor
from ..ops import checks
from .corpus import Corpus
from .passes import Passes

__all__ = ["Window", "Windows"]


class Window(NamedTuple):
    """One window of several streams.

    Attributes
    ----------
    inputs, targets : Tensor, shape (steps, batch, ...)
        Targets are what comes one position later.
    fresh : bool
        Whether a pass begins here. Otherwise each row goes on where that of the window before
        ended, so its state is to be carried over.
    """

    inputs: Tensor
    targets: Tensor
    fresh: bool


class Windows(Passes):
    """A long sequence cut into streams side by side, and these into windows one after the other.

    Column b of each window goes on where column b of the window before ended.

    Parameters
    ----------
    values : array or Corpus, shape (n, ...)
        Ids of a text, or a series. What is mapped from a file stays there: a window reads its own
        places. The ids of a corpus are int64 in a window.
    batch_size : int
        Streams.
    steps : int
        Positions of a window.
    rng : numpy Generator or int, optional
        If it is given, each pass begins at a random position below `steps`, so that windows are not
        cut at the same places each time.
    ahead : int
        How many positions later the targets are.

    Raises
    ------
    ShapeError
        If the sequence is too short for one window.
    """

    def __init__(
        self, values: Any, batch_size: int, steps: int, *, rng: Any = None, ahead: int = 1
    ) -> None:
        super().__init__(rng)
        self._ids = isinstance(values, Corpus)
        values = values.ids if isinstance(values, Corpus) else values
        self.values = values.numpy() if isinstance(values, Tensor) else np.asanyarray(values)
        if not self.values.ndim or self.values.dtype.kind not in "fiub":
            raise TinygradError(
                f"Windows: expected a sequence of numbers, shape (n, ...); found shape {self.values.shape} and dtype {self.values.dtype}"
            )
        self.batch_size = checks.size(batch_size, "Windows: batch_size")
        self.steps = checks.size(steps, "Windows: steps")
        self.ahead = checks.size(ahead, "Windows: ahead")
        needed = self.batch_size * self.steps + self.ahead
        if len(self.values) < needed:
            raise ShapeError(
                f"Windows: {self.batch_size} streams of {self.steps} steps need {needed} positions; found {len(self.values)}. Take fewer streams or shorter windows"
            )

    def __len__(self) -> int:
        """Return the fewest windows of a pass."""
        return self._count(self._last_start() if self.rng is not None else 0)

    def _last_start(self) -> int:
        spare = len(self.values) - self.batch_size * self.steps - self.ahead
        return min(self.steps - 1, spare)

    def _order(self) -> int:
        """Return where the pass begins."""
        return 0 if self.rng is None else int(self.rng.integers(self._last_start() + 1))

    def _length(self, start: int) -> int:
        """Return the length of a stream."""
        return (len(self.values) - start - self.ahead) // self.batch_size

    def _sizes(self) -> set[int]:
        """Return the sizes of the batches of a pass."""
        return {self.batch_size}

    def _count(self, order: Any) -> int:
        return self._length(order) // self.steps

    def _batch(self, order: Any, k: int) -> Window:
        rows = np.arange(self.batch_size)[self._mine(self.batch_size)]
        starts = order + rows * self._length(order) + k * self.steps
        places = starts + np.arange(self.steps)[:, None]
        inputs, targets = (self._at(p) for p in (places, places + self.ahead))
        return Window(inputs, targets, k == 0)

    def _at(self, places: Any) -> Tensor:
        found = self.values[places]
        return tensor(found.astype(np.int64) if self._ids else found)

    def __repr__(self) -> str:
        return f"<Windows of {self.batch_size} x {self.steps} positions: {len(self.values):,} positions, {len(self):,} windows>"
