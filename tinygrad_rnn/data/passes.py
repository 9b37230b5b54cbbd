"""What goes over data again and again, and can go on in the middle of a pass."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..init import generator
from ..ops import checks
from ..ops.guards.observations import set_generator_state


class Passes(abc.ABC):
    """An iterable whose place is part of a checkpoint: a pass that was left begins where it was left.

    Iterating makes one pass. After `load_state_dict` the first pass goes on where the saved one
    was.

    Parameters
    ----------
    rng : numpy Generator or int, optional
        What gives each pass its order. By default the order is that of the data.

    Attributes
    ----------
    passes : int
        How many passes were made.
    position, left : int
        How many batches of the pass that is being made were given, and how many are to come.
    """

    def __init__(self, rng: Any = None) -> None:
        self.rng = None if rng is None else generator(rng)
        self.passes, self.position, self.left = 0, 0, 0
        self._began: Any = None  # the state of the generator when this pass began
        self._goes_on = False
        self._rank, self._ranks = 0, 1

    @abc.abstractmethod
    def _order(self) -> Any:
        """Draw what this pass needs to know from `rng`."""

    @abc.abstractmethod
    def _count(self, order: Any) -> int:
        """Return how many batches there are in a pass."""

    @abc.abstractmethod
    def _batch(self, order: Any, k: int) -> Any:
        """Return batch k of a pass."""

    def __iter__(self) -> Iterator[Any]:
        if self._goes_on:
            self._goes_on = False
            if self.rng is not None:
                set_generator_state(self.rng, self._began)
        else:
            self.position = 0
            self._began = None if self.rng is None else self.rng.bit_generator.state
        order = self._order()
        count = self._count(order)
        for k in range(self.position, count):
            self.position, self.left = k + 1, count - k - 1
            yield self._batch(order, k)
        self.passes, self.position = self.passes + 1, 0

    def share(self, rank: int, size: int) -> None:
        """Give from now on the rows of one of several ranks of each batch.

        Raises
        ------
        ShapeError
            If a batch cannot be shared evenly.
        """
        for rows in self._sizes():
            if rows % size:
                raise ShapeError(
                    f"{type(self).__name__}: a batch of {rows} cannot be shared evenly by {size} ranks, so the mean over the ranks would not be that of the batch. Take "
                    f"a batch size that is a multiple of {size}, and drop_last=True"
                )
        self._rank, self._ranks = rank, size

    @abc.abstractmethod
    def _sizes(self) -> set[int]:
        """Return the sizes of the batches of a pass."""

    def _mine(self, count: int) -> slice:
        """Return which of so many rows are this rank's."""
        return rows_of(count, self._rank, self._ranks)

    def state_dict(self) -> dict[str, Any]:
        """Return where the data is: passes, position, and what gives this pass its order."""
        return {"passes": self.passes, "position": self.position, "began": self._began}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next pass go on where `state_dict` was taken."""
        what = f"{type(self).__name__}.load_state_dict"
        if set(state) != {"passes", "position", "began"} or (
            (state["began"] is None) != (self.rng is None) and state["position"]
        ):
            raise TinygradError(
                f"{what}: expected passes, position and the state of a generator, as state_dict() gives them; found {sorted(state)}. Data "
                "with a random order cannot go on with what was saved of data without, and the other way round"
            )
        self.passes = checks.size(state["passes"], f"{what}: passes", 0)
        self.position = checks.size(state["position"], f"{what}: position", 0)
        self._began, self._goes_on = state["began"], self.position > 0


def rows_of(count: int, rank: int, size: int) -> slice:
    """Return which of so many rows are those of one of several ranks."""
    return slice(rank * count // size, (rank + 1) * count // size)


def shuffled(rng: np.random.Generator | None, count: int) -> np.ndarray[Any, Any]:
    """Return the numbers below `count`, in a random order if there is a generator."""
    return np.arange(count) if rng is None else rng.permutation(count)
