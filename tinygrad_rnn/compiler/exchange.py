"""What a compiled step takes from outside and leaves there; see `recurrent/outside.py`.

While a step is recorded, a `Recorder` gives it inputs in place of what it takes, and outputs for
what it leaves. At each call `take_all` asks for the values of all steps as the plain steps would,
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

B = "B"


def sized(shape: tuple[Any, ...], batch: int) -> tuple[int, ...]:
    """A shape with a number in place of B."""
    return tuple([batch if n == B else n for n in shape])


class Taken(NamedTuple):
    """What a step takes.

    How it is found for a shape, its shape (with B), dtype, and for how long it holds.
    """

    make: Callable[[tuple[int, ...]], Any]
    shape: tuple[Any, ...]
    dtype: np.dtype[Any]
    per: str


class Recorder:
    """The exchange of a step that is recorded.

    Attributes
    ----------
    taken : list of (Taken, Leaf)
        What the step takes, and the input that it was given.
    left : list of (callable, list of Tensor)
        Who wants which values.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[Taken, Leaf]] = []
        self.left: list[tuple[Callable[..., None], list[Any]]] = []

    def take(
        self, make: Callable[[tuple[int, ...]], Any], shape: tuple[int, ...], dtype: Any, per: str
    ) -> Tensor:
        """An input in place of the value."""
        handle = Tensor(Spec(shape, dtype))
        self.taken.append((Taken(make, shape, handle.dtype, per), handle.leaf(False, "taken")))
        return handle

    def leave(self, keep: Callable[..., None], values: tuple[Any, ...], batch: int) -> None:
        """Outputs for the values."""
        self.left.append((keep, [stop_gradient(v) for v in values]))


class Player:
    """The exchange of plain steps that are run again.

    What was taken at first is taken again, what is left was left already.
    """

    def __init__(
        self, taken: Sequence[Taken], values: Sequence[Array], times: Sequence[int]
    ) -> None:
        self.taken, self.values, self.first = taken, values, min(times)
        self.found: Iterator[int] = iter(())
        self.step: int | None = None

    def take(self, make: Any, shape: tuple[int, ...], dtype: Any, per: str) -> Array:
        """The value that the compiled steps had."""
        t = context().mark.step
        if t != self.step:
            self.step, self.found = t, iter(range(len(self.taken)))
        k = next(self.found)
        value: Array = self.values[k]
        return value[(t or 0) - self.first] if self.taken[k].per == "step" else value

    def leave(self, keep: Any, values: Any, batch: int) -> None:
        """Nothing."""


def take_all(
    taken: Sequence[Taken], times: Sequence[int], batch: int, name: str, layer: int | None
) -> list[Array]:
    """The values for all steps, those of one step stacked along time; `times` in the order of the steps."""
    shapes = [sized(t.shape, batch) for t in taken]
    found: list[Any] = [
        np.empty((len(times), *s), t.dtype) if t.per == "step" else None
        for t, s in zip(taken, shapes, strict=True)
    ]
    first = min(times)
    for count, t in enumerate(times):
        with at_step(t, name, layer):
            for k, (one, shape) in enumerate(zip(taken, shapes, strict=True)):
                if one.per == "step":
                    found[k][t - first] = one.make(shape)
                elif not count:
                    found[k] = np.asarray(one.make(shape))
    return found


def leave_all(
    left: Sequence[Callable[..., None]],
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
            for keep, several in zip(left, values, strict=True):
                keep(*(v[t - first] for v in several), batch)
