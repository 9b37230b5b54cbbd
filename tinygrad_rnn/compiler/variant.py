"""The step that is compiled: that of a cell, with what a sequence adds to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..core.errors import ShapeError
from ..core.primitive import Spec
from ..core.record import describe
from ..core.tensor import Tensor
from ..core.tree import leaves, pairs, tree_map
from ..module import Module as Layer
from ..ops.elementwise import where
from ..recurrent.cell import name_of, own, returned
from ..recurrent.sequence import Span


class Form(NamedTuple):
    """How a sequence hands a step what it needs, and what it wants of it.

    Attributes
    ----------
    takes_tuple : bool
        Whether the cell is given a tuple of inputs.
    masked : bool
        Whether it is said of each row if the step counts.
    resets : bool
        Whether it is said of each row if it begins anew.
    all_states : bool
        Whether the states of all steps are wanted.
    """

    takes_tuple: bool
    masked: bool
    resets: bool
    all_states: bool


class Variant:
    """The step that is compiled.

    The cell's, with padding, resets and the states as further outputs where they are asked for.
    """

    def __init__(self, cell: Callable[..., Any], form: Form) -> None:
        self.cell, self.form = cell, form
        self.__name__ = name_of(cell)
        if not form.resets:
            # whose variables name the parts of the state
            self.__wrapped__ = cell.forward if isinstance(cell, Layer) else cell

    def __call__(self, x: tuple[Any, ...], state: Any) -> Any:
        """Compute one step, on the inputs and what the sequence adds to them."""
        form, parts, first = self.form, list(x), None
        if form.resets:
            begin, (state, first) = parts.pop(), state
            state = tree_map(lambda s, f: where(_rows(begin, s, "begins"), f, s), state, first)
        valid = parts.pop() if form.masked else None
        result = self.cell(*own(tuple(parts) if form.takes_tuple else parts[0], state))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ShapeError(
                f"tg.jit: the cell must return (output, new_state); it returned {returned(result)}"
            )
        y, new = result
        for a, b in pairs(state, new, "tg.jit: the state changed over a step"):
            if (tuple(a.shape), a.dtype) != (
                tuple(getattr(b, "shape", ())),
                getattr(b, "dtype", None),
            ):
                raise ShapeError(
                    f"tg.jit: a component of the state changed over a step: it was {describe(a)}, now {describe(b)}"
                )
        new = _in_order(state, new)
        if form.masked:
            y = tree_map(
                lambda a: where(_rows(valid, a, "valid"), a, 0.0 if a.dtype.kind == "f" else 0), y
            )
            new = tree_map(lambda a, b: where(_rows(valid, a, "valid"), a, b), new, state)
        return ((y, new) if form.all_states else y), ((new, first) if form.resets else new)


class Piece(NamedTuple):
    """Some steps of a sequence, as the compiled step is given them.

    Attributes
    ----------
    variant : Variant
        The step.
    inputs : list of Tensor
        For each step one of each: the inputs, then whether a row counts and whether it begins anew.
    carried : nest of Tensor
        The state, and where rows begin anew the first state besides.
    states : list of Tensor
        Its components.
    batch : int
    span : Span
        Which steps they are, and of which sequence.
    """

    variant: Variant
    inputs: list[Tensor]
    carried: Any
    states: list[Tensor]
    batch: int
    span: Span

    @property
    def x(self) -> tuple[Tensor, ...]:
        """The inputs of one step, without values."""
        return tuple(Tensor(Spec(x.shape[1:], x.dtype)) for x in self.inputs)

    @property
    def rows(self) -> list[bool]:
        """Which inputs and components of the state have a row for each of the batch."""
        batch = (self.batch,)
        return [
            *(x.shape[1:2] == batch for x in self.inputs),
            *(s.shape[:1] == batch for s in self.states),
        ]


def piece_of(cell: Callable[..., Any], span: Span) -> Piece:
    """Return some steps of a sequence as they are compiled for a cell."""
    sequence = span.sequence
    lo, hi = span.start - span.offset, span.stop - span.offset
    xs = [p if (lo, hi) == (0, p.shape[0]) else p[lo:hi] for p in span.parts]
    valid, resets = (
        None if mask is None else mask[span.start : span.stop]
        for mask in (sequence.valid, sequence.resets)
    )
    # in place of padding, which may hold anything, the row's last step, as in the plain loop
    if valid is not None:
        xs = [
            where(valid.reshape((*valid.shape, *[1] * (x.ndim - 2))), x, sequence.last_steps(p))
            for x, p in zip(xs, sequence.parts, strict=True)
        ]
        if resets is not None:  # a row that has ended does not begin anew
            resets = resets & valid
    carried = span.state if resets is None else (span.state, sequence.first)
    form = Form(sequence.tuple, valid is not None, resets is not None, span.return_states)
    inputs = [
        *xs,
        *(m if isinstance(m, Tensor) else Tensor(m) for m in (valid, resets) if m is not None),
    ]
    states = leaves(carried)
    sizes = (s.shape[0] for s in states if s.ndim)
    batch = xs[0].shape[1] if xs[0].ndim > 1 else next(sizes, 1)
    return Piece(Variant(cell, form), inputs, carried, states, batch, span)


def _in_order(state: Any, new: Any) -> Any:
    """Return the new state with the entries of dicts in the order of the old one."""
    if isinstance(state, dict):
        return {key: _in_order(state[key], new[key]) for key in state}
    if isinstance(state, (tuple, list)):
        parts = [_in_order(a, b) for a, b in zip(state, new, strict=True)]
        return type(new)(*parts) if hasattr(new, "_fields") else type(new)(parts)
    return new


def _rows(flags: Any, like: Any, name: str) -> Any:
    """Return flags (batch,) for values of another rank; constants have the name."""
    made = flags.reshape((flags.shape[0], *[1] * (len(like.shape) - 1)))
    if made.node is None:
        made.name = name
    return made
