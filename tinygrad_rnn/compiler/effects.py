"""The effects of a compiled step: what it draws from outside, and what it emits.

`recurrent/effects.py` says what these are. While a step is recorded, a `Recorder` gives it inputs
in place of what it draws, and makes outputs of what it emits. At each call `draw_all` draws the
values of all steps as the plain steps would, in their order, and `emit_all` hands over what they
emitted; a `Player` hands the same values to plain steps that are run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Array, Spec
from ..core.tape import Leaf, at_step, context
from ..core.tensor import Tensor
from ..ops.elementwise import stop_gradient
from .sizes import sized
from .variant import Piece


class Drawn(NamedTuple):
    """Something that a step draws.

    Attributes
    ----------
    make : callable
        Makes its value for a shape.
    shape : tuple
        Its shape, with B for the batch.
    dtype : dtype
        Its dtype.
    per : {"step", "sequence"}
        For how long a value holds.
    """

    make: Callable[[tuple[int, ...]], Any]
    shape: tuple[Any, ...]
    dtype: np.dtype[Any]
    per: str


class Recorder:
    """The effects of a step that is recorded.

    Attributes
    ----------
    drawn : list of (Drawn, Leaf)
        What the step draws, and the input that it was given in its place.
    emitted : list of (callable, list of Tensor)
        Who receives which values.
    changes : list of Tensor
        What those give other values.
    """

    def __init__(self) -> None:
        self.drawn: list[tuple[Drawn, Leaf]] = []
        self.emitted: list[tuple[Callable[..., None], list[Any]]] = []
        self.changes: list[Tensor] = []

    def draw(
        self, make: Callable[[tuple[int, ...]], Any], shape: tuple[int, ...], dtype: Any, per: str
    ) -> Tensor:
        """Return an input in place of the value."""
        handle = Tensor(Spec(shape, dtype))
        self.drawn.append((Drawn(make, shape, handle.dtype, per), handle.leaf(False, "drawn")))
        return handle

    def emit(
        self,
        receive: Callable[..., None],
        values: tuple[Any, ...],
        batch: int,
        changes: Callable[[], Sequence[Tensor]],
    ) -> None:
        """Make the values outputs of the recorded step."""
        self.changes += changes()
        self.emitted.append((receive, [stop_gradient(v) for v in values]))


class Player:
    """The effects of plain steps that are run again, after they ran compiled.

    Parameters
    ----------
    drawn : sequence of Drawn
        What a step draws.
    values : sequence of array or Tensor
        The values that the compiled steps had, one for each of `drawn`; those of a step (T, ...).
    times : sequence of int
        The steps, in rising or in falling order.
    """

    def __init__(self, drawn: Sequence[Drawn], values: Sequence[Any], times: Sequence[int]) -> None:
        self.drawn, self.values, self.first = drawn, values, min(times[0], times[-1])
        self.found: Iterator[int] = iter(())
        self.step: int | None = None

    def draw(self, make: Any, shape: tuple[int, ...], dtype: Any, per: str) -> Any:
        """Return the value that the compiled step had."""
        t = context().mark.step
        if t != self.step:
            self.step, self.found = t, iter(range(len(self.drawn)))
        k = next(self.found)
        value = self.values[k]
        return value[(t or 0) - self.first] if self.drawn[k].per == "step" else value

    def emit(self, receive: Any, values: Any, batch: int, changes: Any) -> None:
        """Ignore the values: the first run has already handed them over."""


def draw_all(drawn: Sequence[Drawn], piece: Piece) -> list[Array]:
    """Draw the values for all steps.

    Parameters
    ----------
    drawn : sequence of Drawn
        What a step draws.
    piece : Piece
        The steps.

    Returns
    -------
    list of array
        The values, those that each step has of its own stacked along time.
    """
    times, first = piece.span.times, piece.span.start
    shapes = [sized(t.shape, piece.batch) for t in drawn]
    found: list[Any] = [
        np.empty((len(times), *s), t.dtype) if t.per == "step" else None
        for t, s in zip(drawn, shapes, strict=True)
    ]
    for count, t in enumerate(times):
        with _at(t, piece):
            for k, (one, shape) in enumerate(zip(drawn, shapes, strict=True)):
                if one.per == "step":
                    found[k][t - first] = one.make(shape)
                elif not count:
                    found[k] = np.asarray(one.make(shape))
    return found


def emit_all(
    receivers: Sequence[Callable[..., None]], values: Sequence[Sequence[Array]], piece: Piece
) -> None:
    """Hand over what the steps emitted, in the order in which they ran.

    Parameters
    ----------
    receivers : sequence of callable
        Who receives values of each step.
    values : sequence of sequence of array
        The values for each receiver, (steps, ...) in the order of time.
    piece : Piece
        The steps.
    """
    first = piece.span.start
    for t in piece.span.times:
        with _at(t, piece):
            for receive, several in zip(receivers, values, strict=True):
                receive(*(v[t - first] for v in several), piece.batch)


def _at(t: int, piece: Piece) -> Any:
    """Return the context of a step, as the plain steps have it."""
    return at_step(t, piece.variant.__name__, context().mark.layer)
