"""Checks of what is given beside tensors: numbers, sizes, switches. Each raises an error with the name of the setting, or gives it back."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.tensor import Tensor

_WORDS = {"[0, inf)": "a finite number of at least 0", "(0, inf)": "a positive finite number", "(-inf, inf)": "a finite number"}


def number(value: Any, what: str, inside: str = "(-inf, inf)") -> float:
    """A real number in an interval, which is written as in mathematics: "[0, 1)". A Tensor, a bool, nan and 1j are none."""
    low, high = (float(end) for end in inside[1:-1].split(","))
    fits = isinstance(value, Real) and not isinstance(value, bool)
    if fits:
        fits = (value > low or (inside[0] == "[" and value == low)) and (value < high or (inside[-1] == "]" and value == high))
    if not fits:
        raise TinygradError(f"{what} must be {_WORDS.get(inside, f'in {inside}')}; found {shown(value)}")
    return float(value)


def size(value: Any, what: str, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if not _whole(value) or value < least:
        raise ShapeError(f"{what} must be {'' if _whole(value) else 'a whole number, '}at least {least}; found {shown(value)}")
    return int(value)


def sizes(what: str, **values: Any) -> tuple[int, ...]:
    """Several whole numbers of at least 1, by their names."""
    if not all(_whole(n) and n >= 1 for n in values.values()):
        whole = "" if all(map(_whole, values.values())) else "whole numbers, "
        found = ", ".join(f"{name}={shown(n)}" for name, n in values.items())
        raise ShapeError(f"{what}: sizes must be {whole}at least 1; found {found}")
    return tuple(map(int, values.values()))


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def flag(value: Any, what: str) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TinygradError(f"{what} must be True or False; found {shown(value)}")
    return bool(value)


def array(given: Any, what: str) -> Any:
    """Numbers as an array with the dtype that NumPy gives them; what holds none, ragged lists and masked arrays are refused."""
    if isinstance(given, np.ma.MaskedArray):
        raise TinygradError(f"{what}: a masked array would lose its mask; give its values (.filled(0)) and the mask by themselves")
    try:
        found = given.numpy() if isinstance(given, Tensor) else np.asarray(given)
    except ValueError:
        raise ShapeError(f"{what} has no shape: its lists are ragged") from None
    if found.dtype.kind not in "fiub":
        raise DtypeError(f"{what} must be numbers; found {shown(given) if found.dtype.kind == 'O' else found.dtype}")
    return found


def shown(value: Any) -> str:
    """What was found, for a message: short, and with a word on what a tensor would have to be."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {value.shape}" + ("; .item() makes a number of it" if math.prod(value.shape) == 1 else "")
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
