"""Random masks whose numbers depend on a seed, the sequence, and the time step alone.

A step that is run again, in a checkpointed segment or in an overlapping window of truncated
backpropagation, finds the same mask again; `recurrent.context.SequenceContext` says how.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, TinygradError, TraceError
from ..core.primitive import Array
from ..core.record import describe
from ..core.tape import context
from ..init import generator
from ..recurrent.context import SequenceContext, sequence_context
from ..recurrent.effects import draw


class Masks:
    """A source of masks.

    The sequences that are unrolled with it are numbered from 0; a cell that is called by hand
    begins a new sequence at each call. A mask is a function of the seed, this number, the place
    where it is used and, for masks that are drawn anew at each step, the step.

    Parameters
    ----------
    rng : numpy Generator or int, optional
        Where the seed is drawn from.
    """

    def __init__(self, rng: Any = None) -> None:
        self.seed = int(generator(rng).integers(2**63))
        self._count = 0  # sequences so far

    @property
    def state(self) -> tuple[int, int]:
        """The seed, and how many sequences there were: what a checkpoint keeps."""
        return self.seed, self._count

    @state.setter
    def state(self, state: tuple[int, int]) -> None:
        self.seed, self._count = state

    def keep(
        self, p: float, shape: tuple[int, ...], dtype: Any, *, per: str, place: int = 0
    ) -> Array:
        """Return a mask whose elements are 0 with probability p, else 1.

        Parameters
        ----------
        p : float
            The probability, in [0, 1).
        shape : tuple of int
            The shape of the mask.
        dtype : dtype
            The dtype of the mask.
        per : {"step", "sequence"}
            Whether a mask is drawn anew at each step, or once for all steps of a sequence.
        place : int
            Tells the masks of one owner apart.
        """
        return self._drawn(p, shape, dtype, per, place, None)

    def dropout(
        self, p: float, shape: tuple[int, ...], dtype: Any, *, per: str, place: int = 0
    ) -> Array:
        """Return the mask of `keep`, scaled by 1 / (1 - p).

        So the mean of what is multiplied by it stays. The parameters are those of `keep`.
        """
        return self._drawn(p, shape, dtype, per, place, np.asarray(1 / (1 - p), dtype))

    def _drawn(
        self, p: float, shape: tuple[int, ...], dtype: Any, per: str, place: int, scale: Any
    ) -> Array:
        def make(shape: tuple[int, ...]) -> Array:
            mask = self._draw(p, shape, dtype, per, place)
            return mask if scale is None else mask * scale

        make.owner = self  # type: ignore[attr-defined]  # whose count a draw moves
        return draw(make, shape, dtype, per=per, what="a random mask")  # type: ignore[no-any-return]

    def _draw(self, p: float, shape: tuple[int, ...], dtype: Any, per: str, place: int) -> Array:
        sequence = sequence_context() or SequenceContext()
        key = (self, place, shape)
        if per == "sequence" and key in sequence.masks:
            return sequence.masks[key]
        if self not in sequence.numbers:
            sequence.numbers[self], self._count = self._count, self._count + 1
        step = (context().mark.step or 0) + 1 if per == "step" else 0
        counter = [0, sequence.numbers[self], step, place]
        random = np.random.Generator(np.random.Philox(key=self.seed, counter=counter))
        mask: Array = (random.random(shape, dtype=np.float32) >= p).astype(dtype)
        if per == "sequence":
            sequence.masks[key] = mask
        return mask


def drawing(
    rng: Any,
    shape: tuple[int, ...],
    dtype: Any,
    make: Callable[[np.random.Generator, tuple[int, ...]], Array],
) -> Array:
    """Return ``make(generator, shape)``, drawn anew at each call.

    A segment that is run again draws from the generator as it stood at this draw in the first run.

    Parameters
    ----------
    rng : numpy Generator or int, optional
        What to draw from.
    shape : tuple of int
        The shape of the mask.
    dtype : dtype
        The dtype of the mask.
    make : callable
        ``make(generator, shape)`` makes the mask.
    """
    now = context()
    known = now.effects.generators if now.tracing and now.effects is not None else [rng]
    if isinstance(rng, np.random.Generator) and not any(rng is g for g in known):
        # at each call it would be a new one
        raise TraceError(
            "a random mask is drawn from a generator that the recorded function makes: give a seed, rng=0, or a generator from outside"
        )

    def drawn(shape: tuple[int, ...]) -> Array:
        sequence, found = sequence_context(), generator(rng)
        generators = None if sequence is None else sequence.running_generators()
        return make(found if generators is None else generators(found), shape)

    mask: Array = draw(drawn, shape, dtype, per="step", what="a random mask")
    return mask


def dropped(x: Any, masks: Masks, p: float, place: int) -> Any:
    """Return x under a mask that is held for the sequence."""
    return x * masks.dropout(p, x.shape, x.dtype, per="sequence", place=place)


def floating(x: Any, what: str) -> Any:
    """Return x if it has floating numbers, which can be scaled, or raise a DtypeError."""
    if np.dtype(x.dtype).kind != "f":
        raise DtypeError(f"{what} needs floating features; found {describe(x)}")
    return x


def probability(p: Any, what: str) -> float:
    """Return a probability in [0, 1), or raise an error that begins with `what`."""
    if (
        isinstance(p, bool)
        or not isinstance(p, (int, float, np.floating, np.integer))
        or not 0 <= p < 1
    ):
        raise TinygradError(f"{what} must be a probability in [0, 1); found {p!r}")
    return float(p)
