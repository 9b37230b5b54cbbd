"""What belongs to a sequence while its steps run, beside the tape: see `SequenceContext`.

`unroll` and `tbptt` begin a sequence with `begin_sequence` and run its steps with the result as
``context().sequence``, where `sequence_context` finds it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from ..core.primitive import Array
from ..core.tape import context
from ..core.tensor import Tensor


class Effects(Protocol):
    """What answers in place of the world outside when a step draws from it or emits to it.

    See `recurrent.effects.draw` and `recurrent.effects.emit`.
    """

    def draw(
        self, make: Callable[[tuple[int, ...]], Any], shape: tuple[int, ...], dtype: Any, per: str
    ) -> Any:
        """Return what stands for ``make(shape)``."""

    def emit(
        self,
        receive: Callable[..., None],
        values: tuple[Any, ...],
        batch: int,
        changes: Callable[[], Sequence[Tensor]],
    ) -> None:
        """Take the values that ``receive(*values, batch)`` is to get, which changes tensors."""


@dataclasses.dataclass(eq=False, slots=True)
class SequenceContext:
    """What the steps of one sequence share, and how they are run at the moment.

    A step may be run twice: in backward, if it belongs to a segment (`tg.checkpoint`), and by
    `tbptt`, if it belongs to two windows. It then has to find the masks of its first run again:

    - A mask of `nn.masks.Masks` is a function of a seed, the number of the sequence (`numbers`), a
      place and, if it is drawn for each step, the step. All of them are the same in the second run.
      A mask that is held for the whole sequence is kept in `masks` besides.
    - A sequence that is unrolled within a step is begun again when the step is. It then gets the
      context that it had (`inner`), which is found by its step and by how many were begun in that
      step, or segment, before it (`begun`).
    - What is drawn from a generator directly (`nn.masks.drawing`) comes from a copy of the
      generator as it stood, which the segment hands out (`generators`).
    - The steps of a compiled sequence draw nothing themselves: `effects` hands them what was drawn.

    Attributes
    ----------
    outer : SequenceContext or None
        That of the step, or segment, within which this sequence is unrolled.
    inner : dict of (step or None, int) to SequenceContext
        Those of the sequences that are unrolled within this one.
    begun : int
        How many sequences were begun within the running step, or segment, so far.
    rerun : bool
        Whether the steps that run have run before. They move no running statistics then.
    numbers : dict of Masks to int
        For each source of masks, how many sequences it had served before this one.
    masks : dict of (Masks, place, shape) to array
        Masks that are held for the whole sequence.
    shared : dict
        What wrappers compute once for all steps that share a tape, by the wrapper. It is emptied
        when other steps begin, which may have a tape of their own.
    generators : callable or None
        The segment that is running takes a generator of which random numbers are wanted, and
        returns the one to draw them from.
    effects : Effects or None
        What the steps draw from and emit to, where one step stands for many; None: directly.
    """

    outer: SequenceContext | None = None
    inner: dict[tuple[int | None, int], SequenceContext] = dataclasses.field(default_factory=dict)
    begun: int = 0
    rerun: bool = False
    numbers: dict[Any, int] = dataclasses.field(default_factory=dict)
    masks: dict[tuple[Any, int, tuple[int, ...]], Array] = dataclasses.field(default_factory=dict)
    shared: dict[Any, Any] = dataclasses.field(default_factory=dict)
    generators: Callable[[Any], Any] | None = None
    effects: Effects | None = None

    def begin_inner(self) -> SequenceContext:
        """Return the context of the next sequence within the running step, or segment.

        It is the one that the sequence had, if it ran before.
        """
        found = self.inner.setdefault(
            (context().mark.step, self.begun), SequenceContext(outer=self)
        )
        self.begun += 1
        found.rerun = self.rerun
        return found

    @contextlib.contextmanager
    def segment(
        self, begun: int, generators: Callable[[Any], Any], *, again: bool
    ) -> Iterator[None]:
        """Within, a segment runs; afterwards the context is as it was.

        Parameters
        ----------
        begun : int
            How many sequences were begun before it, as at its first run.
        generators : callable
            See `SequenceContext.generators`.
        again : bool
            Whether it has run before. Sequences that are begun after its first run are counted on
            from those within it.
        """
        before = self.begun, self.rerun, self.shared, self.generators
        self.begun, self.rerun, self.shared, self.generators = (
            begun,
            again or self.rerun,
            {},
            generators,
        )
        try:
            yield
        finally:
            begun = self.begun
            self.begun, self.rerun, self.shared, self.generators = before
            if not again:
                self.begun = begun

    def running_generators(self) -> Callable[[Any], Any] | None:
        """Return `generators` of the innermost running segment, or None outside of segments."""
        scope: SequenceContext | None = self
        while scope is not None and scope.generators is None:
            scope = scope.outer
        return None if scope is None else scope.generators

    def with_effects(self, effects: Effects) -> SequenceContext:
        """Return a copy whose steps draw from `effects` and emit to it.

        They leave no mask in this one.
        """
        return dataclasses.replace(
            self,
            effects=effects,
            inner=dict(self.inner),
            numbers=dict(self.numbers),
            masks=dict(self.masks),
        )


def sequence_context() -> SequenceContext | None:
    """Return the context of the sequence whose step, or segment, is running, or None."""
    found: SequenceContext | None = context().sequence
    return found


def begin_sequence() -> SequenceContext:
    """Return the context of a new sequence.

    Within a step, or segment, that runs again it is the one that the sequence had.
    """
    outer = sequence_context()
    return SequenceContext() if outer is None else outer.begin_inner()
