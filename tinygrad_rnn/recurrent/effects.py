"""The effects of a step: what it draws from outside while it runs, and what it emits.

It draws random masks and statistics that each step has of its own, and emits statistics that move.

A step that runs by itself does both directly. Where one step stands for many, because it is
recorded to be compiled, or run again with what was drawn before, the `effects` of its
`SequenceContext` do both in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import TraceError
from ..core.primitive import Spec
from ..core.tape import context, setting
from ..core.tensor import Tensor
from .context import Effects, SequenceContext, begin_sequence, sequence_context


def draw(
    make: Callable[[tuple[int, ...]], Any],
    shape: tuple[int, ...],
    dtype: Any,
    *,
    per: str,
    what: str,
) -> Any:
    """Return ``make(shape)``, a constant that is found anew at each step.

    Parameters
    ----------
    make : callable
        Makes an array of a shape. It is called in the order of the steps, with `context()` saying
        which step it is.
    shape : tuple
        The shape of the array; `make` is given it with the size of the batch that comes.
    dtype : dtype
        The dtype of the array.
    per : {"step", "sequence"}
        Whether each step draws its own, or all steps of a sequence have one.
    what : str
        What is drawn, for messages.

    Returns
    -------
    array, or Tensor
        A Tensor while a step is recorded.

    Raises
    ------
    TraceError
        While tracing, unless a whole sequence is being compiled.
    """
    effects = _effects(what)
    return make(shape) if effects is None else effects.draw(make, tuple(shape), dtype, per)


def emit(
    receive: Callable[..., None],
    *values: Any,
    batch: int,
    what: str,
    changes: Callable[[], Sequence[Tensor]] = tuple,
) -> None:
    """Call ``receive(*values, batch)`` after this step; all steps do so in their order.

    Parameters
    ----------
    receive : callable
        Where the values go.
    *values : Tensor or array
        What the step has computed.
    batch : int
        The size of the batch.
    what : str
        What is emitted, for messages.
    changes : callable, optional
        Returns the tensors that `receive` gives other values, in any step.

    Raises
    ------
    TraceError
        While tracing, unless a whole sequence is being compiled.
    """
    effects = _effects(what)
    if effects is None:
        receive(*values, batch)
    else:
        effects.emit(receive, values, batch, changes)


def stands_for_others() -> bool:
    """Whether the running step is one for many: recorded, or run again with what was drawn."""
    now, sequence = context(), sequence_context()
    return (sequence is not None and sequence.effects is not None) or (
        now.tracing and now.mark.step is None
    )


def _effects(what: str) -> Effects | None:
    """Return the effects of the running step, or None where it has them directly."""
    sequence = sequence_context()
    if sequence is not None and sequence.effects is not None:
        return sequence.effects
    now = context()
    if now.tracing and now.effects is not None:
        return _OfFunction()
    if now.tracing:
        inner = sequence is not None and sequence.outer is not None
        where = ", in a sequence inside a step" if inner else ""
        raise TraceError(
            f"{what} cannot be recorded{where}: a record would be of this one time alone. Run the cell as it is, or switch to "
            "evaluation with .eval(). (tg.jit(cell) may have it outside such inner sequences.)"
        )
    return None


class _OfFunction:
    """The effects of a function that is recorded: it draws at each call what it drew in this one.

    Draws of one sequence share what belongs to it, as they do where nothing is recorded.
    """

    def draw(
        self, make: Callable[[tuple[int, ...]], Any], shape: tuple[int, ...], dtype: Any, per: str
    ) -> Any:
        """Return a tensor in place of the value."""

        def drawn() -> list[Any]:
            return [np.asarray(make(shape))]

        return context().effects.draw(in_place(drawn), [Spec(shape, dtype)], [make])[0]

    def emit(
        self,
        receive: Callable[..., None],
        values: tuple[Any, ...],
        batch: int,
        changes: Callable[[], Sequence[Tensor]],
    ) -> None:
        """Let the values be handed over when the call has computed them."""
        context().effects.emit(in_place(lambda *v: receive(*v, batch)), values, changes())


def in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is called later as if it were here: in this step, this sequence.

    It is given what stands for the sequences of the recording at a call (`Sequences`), then what
    the function takes.
    """
    here, mark = sequence_context(), context().mark

    def later(sequences: Sequences, *given: Any) -> Any:
        if here is None:  # in the step, if the function is called in one
            return function(*given)
        with setting(sequence=sequences[here], mark=mark):
            return function(*given)

    return later


class Sequences(dict[SequenceContext, SequenceContext]):
    """For each sequence of a recording the one that stands for it at a call."""

    def __missing__(self, recorded: SequenceContext) -> SequenceContext:
        """Begin a sequence."""
        made = self[recorded] = begin_sequence()
        return made
