"""Random masks whose numbers depend on a seed, the sequence, and the time step alone.

A step that is run again (in a checkpointed segment, in an overlapping window of truncated
backpropagation) finds the same mask again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.primitive import Array
from ..core.tape import context
from ..init import generator
from ..recurrent.checkpoint import draw_of
from ..recurrent.effects import draw


class Masks:
    """A source of masks.

    The sequences that are unrolled with it are numbered from 0; a cell that is called by hand
    begins a new sequence at each call. A mask is a function of the seed, this number, the place
    where it is used and, for masks that are drawn anew at each step, the step.

    Parameters
    ----------
    rng : numpy Generator or int, optional
        The seed is drawn from it.
    """

    def __init__(self, rng: Any = None) -> None:
        self.seed = int(generator(rng).integers(2**63))
        self._count = 0  # sequences so far

    def keep(
        self, p: float, shape: tuple[int, ...], dtype: Any, *, per: str, place: int = 0
    ) -> Array:
        """A mask of zeros with probability p, else 1.

        Parameters
        ----------
        per : {"step", "sequence"}
            Drawn anew at each step, or once for all steps of a sequence.
        place : int
            Tells masks of one owner apart.
        """
        return draw(  # type: ignore[no-any-return]
            lambda shape: self._draw(p, shape, dtype, per, place),
            shape,
            dtype,
            per=per,
            what="a random mask",
        )

    def dropout(
        self, p: float, shape: tuple[int, ...], dtype: Any, *, per: str, place: int = 0
    ) -> Array:
        """The same, scaled by 1 / (1 - p), so that the mean of what is multiplied by it stays."""
        scale = np.asarray(1 / (1 - p), dtype)
        return draw(  # type: ignore[no-any-return]
            lambda shape: self._draw(p, shape, dtype, per, place) * scale,
            shape,
            dtype,
            per=per,
            what="a random mask",
        )

    def _draw(self, p: float, shape: tuple[int, ...], dtype: Any, per: str, place: int) -> Array:
        now = context()
        drawn = {} if now.sequence is None else now.sequence
        step = (now.mark.step or 0) + 1 if per == "step" else 0
        if per == "sequence" and (self, place, shape) in drawn:
            found: Array = drawn[self, place, shape]
            return found
        if self not in drawn:
            drawn[self], self._count = self._count, self._count + 1
        random = np.random.Generator(
            np.random.Philox(key=self.seed, counter=[0, drawn[self], step, place])
        )
        mask: Array = (random.random(shape, dtype=np.float32) >= p).astype(dtype)
        if per == "sequence":
            drawn[self, place, shape] = mask
        return mask


def drawing(
    rng: Any,
    shape: tuple[int, ...],
    dtype: Any,
    make: Callable[[np.random.Generator, tuple[int, ...]], Array],
) -> Array:
    """``make(generator, shape)``, drawn anew at each call.

    In a segment that is run again from where the generator stood in the first run.
    """

    def drawn(shape: tuple[int, ...]) -> Array:
        made, recorded = generator(rng), draw_of(context().sequence)
        return make(made if recorded is None else recorded(made), shape)

    return draw(drawn, shape, dtype, per="step", what="a random mask")  # type: ignore[no-any-return]


def probability(p: Any, what: str) -> float:
    """A checked probability in [0, 1)."""
    if (
        isinstance(p, bool)
        or not isinstance(p, (int, float, np.floating, np.integer))
        or not 0 <= p < 1
    ):
        raise TinygradError(f"{what} must be a probability in [0, 1); found {p!r}")
    return float(p)
