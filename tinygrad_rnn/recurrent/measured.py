"""What each step of a compiled sequence finds in a reverse walk, as its piece of code tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from ..core.primitive import Array

Figures = tuple[Array, Array]  # a number for each step, and whether anything comes to it at all


class Walked(NamedTuple):
    """What a reverse walk through a compiled sequence has found.

    All arrays are in the order in which the steps ran.

    Attributes
    ----------
    gradients : tuple of array or None
        Of each input of the node; where only states were asked for, of first states.
    states : list of Figures or None
        For each component of the state, the norm of the gradient by what each step hands on.
    shares : dict of int to Figures
        For each input of the node that was asked for, the norm of what each step adds to its
        gradient.
    entering : Figures or None
        The norm of what comes into each step from outside.
    """

    gradients: tuple[Array | None, ...]
    states: list[Figures | None]
    shares: dict[int, Figures]
    entering: Figures | None


class Measurable(Protocol):
    """A compiled sequence that tells what each of its steps finds.

    Its results, which are counted as they stand in the vector of the node, are outputs of all steps
    and components of the last state. `parts` are the gradients by some of them.

    Attributes
    ----------
    times : range
        The steps, in the order in which they ran.
    first : int
        The first of them in time.
    live : sequence of int
        Which outputs and last states the results are.
    begins : list of int
        Where each result begins in the vector.
    outputs : int
        How many of the results are outputs; they come first.
    components : int
        How many components the state has.
    inputs : list of array
        What the steps are given, (T, ...).
    separable : bool
        Whether a row of the batch can stand for any step: all that a step is given has rows.
    """

    times: range
    first: int
    live: Sequence[int]
    begins: list[int]
    outputs: int
    components: int
    inputs: list[Array]
    separable: bool

    def walked(
        self,
        parts: Mapping[int, Array],
        entering: Mapping[int, Array] | None = None,
        wanted: Sequence[int] | None = None,
        last: int | None = None,
    ) -> Walked:
        """Walk back.

        Parameters
        ----------
        parts : mapping of int to array
        entering : mapping of int to array, optional
            The part of these that comes from outside of the run.
        wanted : sequence of int, optional
            The inputs of the node of which shares are asked for. Default: only states are.
        last : int, optional
            The only step into which these gradients come.
        """

    def states(self, steps: Sequence[int], after: int = 0) -> list[Array]:
        """Return the components of the state before some steps, or `after` so many more, (steps, ...)."""

    def contributions(self, parts: Mapping[int, Array], k: int) -> Iterator[tuple[int, Array]]:
        """Yield the steps, the last first, with what each adds to the gradient of an input."""
