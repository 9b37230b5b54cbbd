"""The step that is compiled: that of a cell, with what a sequence adds to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import ShapeError
from ..core.record import describe
from ..core.tree import pairs, tree_map
from ..module import Module as Layer
from ..ops.elementwise import where
from ..recurrent.cell import name_of, own, returned


class Variant:
    """The step that is compiled.

    The cell's, with padding, resets and the states as further outputs where they are asked for.
    """

    def __init__(
        self,
        cell: Callable[..., Any],
        takes_tuple: bool,
        masked: bool,
        resets: bool,
        all_states: bool,
    ) -> None:
        self.cell, self.flags = cell, (takes_tuple, masked, resets, all_states)
        self.__name__ = name_of(cell)
        if not resets:
            # whose variables name the parts of the state
            self.__wrapped__ = cell.forward if isinstance(cell, Layer) else cell

    def __call__(self, x: tuple[Any, ...], state: Any) -> Any:
        """Compute one step, on the inputs and what the sequence adds to them."""
        takes_tuple, masked, resets, all_states = self.flags
        parts, first = list(x), None
        if resets:
            begin, (state, first) = parts.pop(), state
            state = tree_map(lambda s, f: where(_rows(begin, s), f, s), state, first)
        valid = parts.pop() if masked else None
        result = self.cell(*own(tuple(parts) if takes_tuple else parts[0], state))
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
        if masked:
            y = tree_map(lambda a: where(_rows(valid, a), a, 0.0 if a.dtype.kind == "f" else 0), y)
            new = tree_map(lambda a, b: where(_rows(valid, a), a, b), new, state)
        return ((y, new) if all_states else y), ((new, first) if resets else new)


def _in_order(state: Any, new: Any) -> Any:
    """The new state with the entries of dicts in the order of the old one."""
    if isinstance(state, dict):
        return {key: _in_order(state[key], new[key]) for key in state}
    if isinstance(state, (tuple, list)):
        parts = [_in_order(a, b) for a, b in zip(state, new, strict=True)]
        return type(new)(*parts) if hasattr(new, "_fields") else type(new)(parts)
    return new


def _rows(flags: Any, like: Any) -> Any:
    """Flags (batch,) for values of another rank."""
    return flags.reshape((flags.shape[0], *[1] * (len(like.shape) - 1)))
