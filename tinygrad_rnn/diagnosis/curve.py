"""Numbers by time step, held as arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..core.primitive import Array


class Curve(Mapping[Any, float]):
    """A number for each of some steps; as a mapping it looks like a dict of int to float.

    Parameters
    ----------
    steps, numbers : array
    outside : float, optional
        The number of what is in no step, for which the key None stands.
    """

    def __init__(self, steps: Array, numbers: Array, outside: float | None = None) -> None:
        self.steps, self.numbers, self.outside = steps, numbers, outside

    @cached_property
    def _by_step(self) -> dict[int | None, float]:
        found: dict[int | None, float] = dict(
            zip(self.steps.tolist(), self.numbers.tolist(), strict=True)
        )
        if self.outside is not None:
            found[None] = self.outside
        return found

    def __getitem__(self, step: int | None) -> float:
        return self._by_step[step]

    def __iter__(self) -> Iterator[int | None]:
        return iter(self._by_step)

    def __len__(self) -> int:
        return len(self.steps) + (self.outside is not None)

    def __repr__(self) -> str:
        return repr(self._by_step)

    @property
    def largest(self) -> tuple[int, float] | None:
        """The step with the largest number, and this; None if there are no steps."""
        if not len(self.steps):
            return None
        k = int(np.argmax(self.numbers))
        return int(self.steps[k]), float(self.numbers[k])

    def at(self, step: int) -> float | None:
        """Return the number of a step, if it has one."""
        found = np.flatnonzero(self.steps == step)
        return float(self.numbers[found[0]]) if len(found) else None

    def falling(self, falling: bool) -> Curve:
        """Return the same with the steps in rising or in falling order."""
        if len(self.steps) < 2 or (np.diff(self.steps) * (-1 if falling else 1) > 0).all():
            return self
        order = np.argsort(self.steps, kind="stable")[:: -1 if falling else 1]
        return Curve(self.steps[order], self.numbers[order], self.outside)


class Collected:
    """Collects numbers by step, in any order; several of one step are the parts of one norm."""

    def __init__(self) -> None:
        self._single: list[tuple[int, float]] = []
        self._several: list[tuple[Array, Array]] = []
        self.outside: float | None = None

    def add(self, step: int, value: float) -> None:
        """Add the number of one step."""
        self._single.append((step, value))

    def add_all(self, steps: Array, values: Array) -> None:
        """Add the numbers of several steps, of which no two are the same."""
        self._several.append((steps, values))

    def curve(self, falling: bool = False) -> Curve:
        """Return all of them, in rising or in falling order of steps."""
        several = list(self._several)
        apart = bool(several)  # no two of one are of the same step
        if self._single:
            steps, numbers = (np.array(part) for part in zip(*self._single, strict=True))
            several.append((steps, numbers))
            apart = len(np.unique(steps)) == len(steps)
        if not several:
            return Curve(np.empty(0, int), np.empty(0), self.outside)
        if apart and all(np.array_equal(s, several[0][0]) for s, _ in several[1:]):
            numbers = functools.reduce(np.hypot, [v for _, v in several])
            return Curve(several[0][0], numbers, self.outside).falling(falling)
        every = np.concatenate([s for s, _ in several])
        steps, places = np.unique(every, return_inverse=True)
        total = np.zeros(len(steps))
        np.hypot.at(total, places, np.concatenate([v for _, v in several]))
        return Curve(steps, total, self.outside).falling(falling)


def together(curves: Sequence[Curve], falling: bool = False) -> Curve:
    """Return for each step the root of the sum of the squares of several curves."""
    found = Collected()
    for curve in curves:
        found.add_all(curve.steps, curve.numbers)
    return found.curve(falling)
