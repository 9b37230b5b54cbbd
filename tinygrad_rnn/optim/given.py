"""Checks of what optimisers, clipping and schedules are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..core.errors import DtypeError, GraphError, ShapeError, TinygradError
from ..core.primitive import Array
from ..core.record import describe
from ..core.tensor import Tensor
from ..ops import checks
from ..ops.checks import number, shown

AMOUNT, FRACTION = "[0, inf)", "[0, 1)"  # intervals of settings


class Number:
    """A setting of an optimiser: a number in an interval, checked whenever it is set."""

    def __init__(self, inside: str) -> None:
        self.inside = inside

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, kind: Any = None) -> float:
        return self if owner is None else vars(owner)[self.name]  # type: ignore[return-value]

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)[self.name] = number(value, f"{type(owner).__name__}: {self.name}", self.inside)


def tensors_of(what: str, given: Any) -> list[Tensor]:
    """Return the tensors of an iterable, or the one that was given, as a list.

    Parameters
    ----------
    what : str
        Who asks, for messages.
    given : Tensor, iterable or mapping of Tensor
        What was given. If it is empty, that is an error, as it is nearly always an iterator that
        was used up.

    Raises
    ------
    TinygradError, GraphError
        For what is no iterable of tensors, and for none.
    """
    if isinstance(given, Tensor):
        return [given]
    if not isinstance(given, Iterable):
        raise TinygradError(
            f"{what} needs parameters, such as module.parameters(); found one {type(given).__name__}"
        )
    found = list(given.values() if isinstance(given, Mapping) else given)
    for p in found:
        if not isinstance(p, Tensor):
            raise GraphError(
                f"{what} needs tensors, such as module.parameters() gives; among them found a {type(p).__name__}: {shown(p)}"
            )
    if not found and isinstance(given, Iterator):
        raise TinygradError(
            f"{what} was given no parameters: the iterator is at its end. One from module.parameters() can be read once; keep "
            "list(module.parameters()) to use it again. (A module finds attributes that are tg.Parameter; tg.tensor ones it does not.)"
        )
    if not found:
        raise TinygradError(
            f"{what} was given no parameters (a module finds attributes that are tg.Parameter; tg.tensor ones it does not)"
        )
    return found


def gradient_of(what: str, p: Tensor) -> Array:
    """Return the array of ``p.grad``, which may have been set by hand.

    Parameters
    ----------
    what : str
        Who asks, for messages.
    p : Tensor
        A parameter with a gradient.

    Raises
    ------
    ShapeError, DtypeError, TinygradError
        If the gradient is no tensor of the shape and dtype of `p`.
    """
    g: Any = p._grad
    if type(g) is Tensor and g.array.shape == p.array.shape and g.array.dtype is p.array.dtype:
        return g.array  # type: ignore[no-any-return]
    if not isinstance(g, Tensor):
        raise TinygradError(
            f"{what}: the .grad of {describe(p)} is a {type(g).__name__}; expected a tensor: p.grad = tg.tensor(...)"
        )
    if g.shape != p.shape:
        raise ShapeError(
            f"{what}: the .grad of {describe(p)} has shape {g.shape}; expected {p.shape}"
        )
    if g.dtype != p.dtype:
        raise DtypeError(
            f"{what}: the .grad of {describe(p)} is {g.dtype}; expected {p.dtype}. Convert it with .astype({p.dtype})"
        )
    found: Array = g.numpy()
    return found


def check_entries(what: str, state: Any, names: list[str]) -> None:
    """Raise an error unless a dict of states has these names and no others."""
    if not isinstance(state, Mapping):
        raise TinygradError(
            f"{what}: expected what state_dict() gave, a dict of arrays; found a {type(state).__name__}"
        )
    missing, unknown = [n for n in names if n not in state], [n for n in state if n not in names]
    if missing or unknown:
        raise TinygradError(
            f"{what}: missing {missing[:8] or 'nothing'}, unknown {unknown[:8] or 'nothing'}; expected {names[:8]}"
            f"{' and more' if len(names) > 8 else ''}: the state of another rule, of other settings, or of other parameters does not fit"
        )


def entry(what: str, state: Mapping[str, Any], name: str) -> Array:
    """Return an entry of a dict of states as an array of numbers."""
    value: Array = checks.array(state[name], f"{what}: '{name}'")
    return value


def scalar(what: str, state: Mapping[str, Any], name: str) -> Any:
    """Return an entry of a dict of states that is one number."""
    value = entry(what, state, name)
    if value.size != 1:
        raise ShapeError(f"{what}: '{name}' must be one number; found shape {value.shape}")
    return value.item()
