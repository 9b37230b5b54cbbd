"""What a compiled step takes from outside and leaves there; see `recurrent/effects.py`.

While a step is recorded, a `Recorder` gives it inputs in place of what it takes, and outputs for
what it leaves. At each call `draw_all` asks for the values of all steps as the plain steps would,
in their order; a `Player` hands the same values to plain steps that are run again.
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


class Drawn(NamedTuple):
    """What a step takes.

    How it is found for a shape, its shape (with B), dtype, and for how long it holds.
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
        What the step takes, and the input that it was given.
    emitted : list of (callable, list of Tensor)
        Who wants which values.
    """

    def __init__(self) -> None:
        self.drawn: list[tuple[Drawn, Leaf]] = []
        self.emitted: list[tuple[Callable[..., None], list[Any]]] = []

    def draw(
        self, make: Callable[[tuple[int, ...]], Any], shape: tuple[int, ...], dtype: Any, per: str
    ) -> Tensor:
        """An input in place of the value."""
        handle = Tensor(Spec(shape, dtype))
        self.drawn.append((Drawn(make, shape, handle.dtype, per), handle.leaf(False, "drawn")))
        return handle

    def emit(self, receive: Callable[..., None], values: tuple[Any, ...], batch: int) -> None:
        """Outputs for the values."""
        self.emitted.append((receive, [stop_gradient(v) for v in values]))


class Player:
    """The effects of plain steps that are run again.

    What was drawn at first is drawn again, what is left was left already.
    """

    def __init__(
        self, drawn: Sequence[Drawn], values: Sequence[Array], times: Sequence[int]
    ) -> None:
        self.drawn, self.values, self.first = drawn, values, min(times)
        self.found: Iterator[int] = iter(())
        self.step: int | None = None

    def draw(self, make: Any, shape: tuple[int, ...], dtype: Any, per: str) -> Array:
        """The value that the compiled steps had."""
        t = context().mark.step
        if t != self.step:
            self.step, self.found = t, iter(range(len(self.drawn)))
        k = next(self.found)
        value: Array = self.values[k]
        return value[(t or 0) - self.first] if self.drawn[k].per == "step" else value

    def emit(self, receive: Any, values: Any, batch: int) -> None:
        """Nothing."""


def draw_all(
    drawn: Sequence[Drawn], times: Sequence[int], batch: int, name: str, layer: int | None
) -> list[Array]:
    """The values for all steps, those of one step stacked along time; `times` in the order of the steps."""
    shapes = [sized(t.shape, batch) for t in drawn]
    found: list[Any] = [
        np.empty((len(times), *s), t.dtype) if t.per == "step" else None
        for t, s in zip(drawn, shapes, strict=True)
    ]
    first = min(times)
    for count, t in enumerate(times):
        with at_step(t, name, layer):
            for k, (one, shape) in enumerate(zip(drawn, shapes, strict=True)):
                if one.per == "step":
                    found[k][t - first] = one.make(shape)
                elif not count:
                    found[k] = np.asarray(one.make(shape))
    return found


def emit_all(
    receivers: Sequence[Callable[..., None]],
    values: Sequence[Sequence[Array]],
    times: Sequence[int],
    batch: int,
    name: str,
    layer: int | None,
) -> None:
    """Hand over what the steps left, in their order.

    Each value is (steps, ...) in the order of time.
    """
    first = min(times)
    for t in times:
        with at_step(t, name, layer):
            for receive, several in zip(receivers, values, strict=True):
                receive(*(v[t - first] for v in several), batch)
