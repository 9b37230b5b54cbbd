"""Borders around a tensor: of a constant, or of what is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import ShapeError, TinygradError
from . import shifting
from .checks import shown
from .define import numpys, operand
from .shaping import broadcast_to, concatenate
from .shifting import flip, pairs_of

CALLED = {"replicate": "edge", "circular": "wrap", "zeros": "constant"}  # in PyTorch


@numpys()
def pad(x: Any, pad_width: Any, value: Any = 0.0, mode: str = "constant") -> Any:
    """Put a border around a tensor.

    Parameters
    ----------
    x : Tensor, array or number
    pad_width : int, (int, int), or a pair for each axis
        How many places are put before and after: a number for both ends of all axes, or a pair
        (before, after).
    value : float
        What stands there for the mode "constant"; it may be nan.
    mode : {"constant", "edge", "reflect", "symmetric", "wrap"}
        What stands there, in the words of NumPy: a constant, the element at the edge, the elements
        in reverse without the one at the edge or with it, or those from the other end. Of these last
        three no more than there are.
    """
    if isinstance(mode, str) and mode == "constant":
        return shifting.pad(x, pad_width, value)
    if not isinstance(mode, str) or mode not in _MODES:
        hint = f"; it is called '{CALLED[mode]}' here" if str(mode) in CALLED else ""
        raise TinygradError(
            f"pad: mode must be 'constant', 'edge', 'reflect', 'symmetric' or 'wrap'; found {shown(mode)}{hint}"
        )
    x = operand(x, "pad")
    for axis, (before, after) in enumerate(pairs_of(pad_width, x.ndim)):
        if before or after:
            x = _bordered(x, axis, before, after, mode)
    return x


def _bordered(x: Any, axis: int, before: int, after: int, mode: str) -> Any:
    n = x.shape[axis]
    most = {"edge": max(before, after) if n else 0, "reflect": n - 1}.get(mode, n)
    if before < 0 or after < 0 or max(before, after) > most:
        raise ShapeError(
            f"pad: mode '{mode}' puts 0 to {max(most, 0)} places at each end of axis {axis} of shape {tuple(x.shape)}; found ({before}, {after})"
        )

    def part(start: int, stop: int) -> Any:
        return x[(*[slice(None)] * axis, slice(start, stop))]

    sides = _MODES[mode](part, axis, n, before, after)
    return concatenate([s for s in (sides[0], x, sides[1]) if s.shape[axis]], axis)


def _edge(part: Callable[..., Any], axis: int, n: int, before: int, after: int) -> Any:
    def spread(one: Any, count: int) -> Any:
        return broadcast_to(one, (*one.shape[:axis], count, *one.shape[axis + 1 :]))

    return spread(part(0, 1), before), spread(part(n - 1, n), after)


def _reflect(part: Callable[..., Any], axis: int, n: int, before: int, after: int) -> Any:
    return flip(part(1, 1 + before), axis), flip(part(n - 1 - after, n - 1), axis)


def _symmetric(part: Callable[..., Any], axis: int, n: int, before: int, after: int) -> Any:
    return flip(part(0, before), axis), flip(part(n - after, n), axis)


def _wrap(part: Callable[..., Any], axis: int, n: int, before: int, after: int) -> Any:
    return part(n - before, n), part(0, after)


_MODES = {"edge": _edge, "reflect": _reflect, "symmetric": _symmetric, "wrap": _wrap}
