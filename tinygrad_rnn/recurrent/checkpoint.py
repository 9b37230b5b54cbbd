"""Checkpoints: functions that are run again when their backward needs what they computed.

T. Chen, B. Xu, C. Zhang and C. Guestrin, Training Deep Nets with Sublinear Memory Cost (2016),
arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import GraphError, TinygradError
from ..core.tape import context
from ..core.tensor import Tensor, tensor
from ..core.tree import leaves, unflatten
from .packing import cut
from .segment import Segment, as_primitive

CHECKPOINT = as_primitive("checkpoint")


def _kept(argument: Any) -> Any:
    """Return what another run is given in place of an argument.

    It is None for a tensor, and a copy of an array, since the caller may write to his own.
    """
    return (
        None
        if isinstance(argument, Tensor)
        else argument.copy()
        if isinstance(argument, np.ndarray)
        else argument
    )


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """Return ``function(*args)``, but let the tape keep the arguments alone.

    Backward runs the function again.

    Parameters
    ----------
    function : callable
        Takes trees of tensors (tensors in tuples, lists and dicts), and returns such a tree. Run
        again, it must do the same; random masks of `tg.nn` are then the same.
    *args : trees of tensors
        Arrays in them are copied; numbers and other objects are passed on as they are.

    Returns
    -------
    tree of tensors
        The results. They have gradients of any order, for the arguments and for the tensors that
        the function uses besides.

    Raises
    ------
    GraphError
        In backward, if a parameter that the function uses was given another value in between, or if
        the second run did something else than the first: another operation, number, setting,
        constant or tensor.
    DtypeError
        If the results are of several floating dtypes.
    """
    if not callable(function):
        raise TinygradError(
            f"checkpoint: expected a function and its arguments; found a {type(function).__name__}"
        )
    everything = leaves(args)
    tensors = [t for t in everything if isinstance(t, Tensor)]
    if not context().grad_enabled or context().tracing:
        return function(
            *unflatten(args, [x.handle() if isinstance(x, Tensor) else x for x in everything])
        )
    arguments, others = unflatten(args, [0] * len(everything)), [_kept(t) for t in everything]
    results_like = [None]

    def flat(*handles: Tensor) -> list[Tensor]:
        given = iter(handles)
        result = function(*unflatten(arguments, [next(given) if t is None else t for t in others]))
        found = leaves(result)
        results_like[0] = unflatten(result, [0] * len(found))
        for y in found:
            if isinstance(y, (np.ndarray, np.generic)):
                raise GraphError(
                    "checkpoint: the function returned an array, through which no gradient would flow. Return tensors; tg.tensor(array) is a constant"
                )
        return [y if isinstance(y, Tensor) else tensor(y) for y in found]

    segment = Segment(flat, len(tensors))
    results: list[Any] = segment.first_run(tensors)
    if segment.live:
        whole = segment.on_tape(
            CHECKPOINT, tensors, segment.pack([results[i].array for i in segment.live])
        )
        parts = cut(whole, [results[i].shape for i in segment.live])
        for i, part in zip(segment.live, parts, strict=True):
            results[i] = part
    return unflatten(results_like[0], results)
