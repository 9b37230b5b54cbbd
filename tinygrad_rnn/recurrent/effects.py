"""What a step takes from outside its inputs while it runs, and what it leaves there.

Random masks, running statistics.

A step that runs by itself takes and leaves directly. Where a step stands for others, because it is
recorded to be compiled, or run again with what was taken before, an `Effects` of the sequence does
both in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..core.errors import TraceError
from ..core.tape import context

KEY = "effects"  # in what belongs to a sequence


class Effects(Protocol):
    """What serves the steps of a sequence."""

    def draw(
        self, make: Callable[[tuple[int, ...]], Any], shape: tuple[int, ...], dtype: Any, per: str
    ) -> Any:
        """What `make(shape)` would give."""

    def emit(self, receive: Callable[..., None], values: tuple[Any, ...], batch: int) -> None:
        """What `receive(*values, batch)` is for."""


def draw(
    make: Callable[[tuple[int, ...]], Any],
    shape: tuple[int, ...],
    dtype: Any,
    *,
    per: str,
    what: str,
) -> Any:
    """``make(shape)``, a constant that is found anew at each step.

    Parameters
    ----------
    make : callable
        From a shape to an array. It is called in the order of the steps, with `context()` saying
        which step it is.
    shape, dtype
        Of the array; the size of the batch among the sizes is what `make` is given for it.
    per : {"step", "sequence"}
        Another one at each step, or one for all steps of a sequence.
    what : str
        For messages.

    Raises
    ------
    TraceError
        While tracing, unless a whole sequence is being compiled.
    """
    effects = _effects(what)
    return make(shape) if effects is None else effects.draw(make, tuple(shape), dtype, per)


def emit(receive: Callable[..., None], *values: Any, batch: int, what: str) -> None:
    """``receive(*values, batch)``: after each step, in the order of the steps; see `draw`."""
    effects = _effects(what)
    if effects is None:
        receive(*values, batch)
    else:
        effects.emit(receive, values, batch)


def stands_for_others() -> bool:
    """Whether the step that runs is one for many.

    Recorded, or run again with what was taken before.
    """
    now = context()
    return KEY in (now.sequence or {}) or (now.tracing and now.mark.step is None)


def _effects(what: str) -> Effects | None:
    now = context()
    scope = now.sequence or {}
    if KEY in scope:
        found: Effects = scope[KEY]
        return found
    if now.tracing:
        where = ", in a sequence inside a step" if "outer" in scope else ""
        raise TraceError(
            f"{what} cannot be recorded{where}: a record would be of this one time alone. Run the cell as it is, or switch to "
            "evaluation with .eval(). (tg.jit(cell) may have it outside such inner sequences.)"
        )
    return None
