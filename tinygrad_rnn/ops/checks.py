"""Checks of what is given beside tensors: numbers, sizes, switches.

Each raises an error with the name of the setting, or gives it back.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar, cast

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.tensor import Tensor, as_array, check_dtype


class OutOfRangeError(ShapeError, IndexError):
    """An index, or an axis, beyond what there is; also what Python calls an IndexError."""


class SettingError(TinygradError, ValueError, TypeError):
    """A setting of another kind or size than it has to be; also a ValueError and a TypeError."""


F = TypeVar("F", bound=Callable[..., Any])
_WORDS = {
    "[0, inf)": "a finite number of at least 0",
    "(0, inf)": "a positive finite number",
    "(-inf, inf)": "a finite number",
}


def number(value: Any, what: str, inside: str = "(-inf, inf)") -> float:
    """Return a real number in an interval, which is written as in mathematics: "[0, 1)".

    A Tensor, a bool, nan and 1j are no real numbers.
    """
    low, high = (float(end) for end in inside[1:-1].split(","))
    fits = isinstance(value, Real) and not isinstance(value, bool)
    if fits:
        fits = (value > low or (inside[0] == "[" and value == low)) and (
            value < high or (inside[-1] == "]" and value == high)
        )
    if not fits:
        raise SettingError(
            f"{what} must be {_WORDS.get(inside, f'in {inside}')}; found {shown(value)}"
        )
    return float(value)


def size(value: Any, what: str, least: int = 1) -> int:
    """Return a whole number of at least `least`."""
    if not _whole(value) or value < least:
        raise ShapeError(
            f"{what} must be {'' if _whole(value) else 'a whole number, '}at least {least}; found {shown(value)}"
        )
    return int(value)


def sizes(what: str, **values: Any) -> tuple[int, ...]:
    """Return several whole numbers of at least 1, which are given by their names."""
    if not all(_whole(n) and n >= 1 for n in values.values()):
        whole = "" if all(map(_whole, values.values())) else "whole numbers, "
        found = ", ".join(f"{name}={shown(n)}" for name, n in values.items())
        raise ShapeError(f"{what}: sizes must be {whole}at least 1; found {found}")
    return tuple(map(int, values.values()))


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def flag(value: Any, what: str) -> bool:
    """Return True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise SettingError(f"{what} must be True or False; found {shown(value)}")
    return bool(value)


def floating(dtype: Any, what: str) -> np.dtype[Any]:
    """Return float32 or float64, the dtypes of parameters."""
    try:
        found = check_dtype("" if dtype is None else dtype)
    except DtypeError:
        found = None
    if found is None or found.kind != "f":
        raise DtypeError(
            f"{what} must be float32 or float64, of which gradients can be taken; found {shown(dtype)}"
        )
    return found


def typed(function: F) -> F:
    """Return a function with a check of what it is given.

    Checked are the parameters that are annotated as int, float, bool, str or Mapping, or are called
    dtype. So the kind of every setting is stated once, in the signature; in which range it must be,
    the function says.
    """
    names, kinds = (
        function.__code__.co_varnames[: function.__code__.co_argcount],
        kinds_of(function),
    )
    method = names[:1] == ("self",)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in kinds:
                of_kind(
                    value,
                    kinds[name],
                    f"{type(args[0]).__name__ if method else function.__name__}: {name}",
                )
        return function(*args, **kwargs)

    return cast("F", checked)


def kinds_of(function: Callable[..., Any]) -> dict[str, list[str]]:
    """Return the parameters of a function that are numbers, switches or words, each with its kinds.

    The annotations say which they are; a parameter called dtype belongs to them.
    """
    code = function.__code__
    names, optional = (
        code.co_varnames[: code.co_argcount],
        {name for name, value in (function.__kwdefaults__ or {}).items() if value is None},
    )
    optional |= {
        name
        for name, value in zip(reversed(names), reversed(function.__defaults__ or ()), strict=False)
        if value is None
    }
    found: dict[str, list[str]] = {}
    for name, annotation in function.__annotations__.items():
        words = (
            ["dtype"] if name == "dtype" else [word.strip() for word in str(annotation).split("|")]
        )
        if set(words) <= _KINDS.keys():
            found[name] = [*words, *(["None"] if name in optional and "None" not in words else [])]
    return found


def of_kind(value: Any, kinds: list[str], what: str) -> None:
    """Raise an error unless the value is of one of these kinds."""
    if "dtype" in kinds and not (value is None and "None" in kinds):
        floating(value, what)
    elif not any(_KINDS[kind][0](value) for kind in kinds):
        raise SettingError(
            f"{what} must be {' or '.join(_KINDS[kind][1] for kind in kinds)}; found {shown(value)}"
        )


def plain_types(kinds: list[str] | None) -> frozenset[type]:
    """Return types of which every value is of one of these kinds; None is any kind of setting.

    Whoever is called often looks at the type first, and asks `of_kind` about the others.
    """
    if kinds is None:
        return frozenset((int, float, bool, str, tuple, type(None)))
    return frozenset(_PLAIN[kind] for kind in kinds if kind in _PLAIN)


# a float may be nan, which is no number
_PLAIN = {"int": int, "float": int, "bool": bool, "str": str, "None": type(None)}
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (_whole, "a whole number"),
    "float": (
        lambda value: isinstance(value, Real) and not isinstance(value, bool) and value == value,
        "a number",
    ),
    "bool": (lambda value: isinstance(value, (bool, np.bool_)), "True or False"),
    "str": (lambda value: isinstance(value, str), "a word"),
    "Mapping[str, Any]": (lambda value: isinstance(value, Mapping), "a dict of arrays by name"),
    "Sequence[str]": (
        lambda value: (
            isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)
        ),
        "a list of words",
    ),
    "tuple[int, int]": (
        lambda value: (
            isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_whole, value))
        ),
        "a pair of whole numbers",
    ),
    "dtype": (lambda value: True, ""),
    "None": (lambda value: value is None, "None"),
}


def array(given: Any, what: str) -> Any:
    """Return numbers as an array with the dtype that NumPy gives them.

    What holds none, ragged lists and masked arrays are refused.
    """
    try:
        found = given.numpy() if isinstance(given, Tensor) else as_array(given)
    except DtypeError as error:
        raise DtypeError(f"{what}: {error}") from None
    except ValueError:
        raise ShapeError(f"{what} has no shape: its lists are ragged") from None
    if found.dtype.kind not in "fiub":
        raise DtypeError(
            f"{what} must be numbers; found {shown(given) if found.dtype.kind == 'O' else found.dtype}"
        )
    return found


def fitting(given: Any, dtype: Any, what: str) -> Any:
    """Return numbers as an array of this dtype, or raise an error that says which it cannot hold.

    Roundings are no error.
    """
    source = array(given, what)
    with np.errstate(all="ignore"):
        made = source.astype(dtype)
        wrong = (
            np.isfinite(source) & ~np.isfinite(made) if made.dtype.kind == "f" else made != source
        )
    if wrong.any():
        raise DtypeError(
            f"{what} is {dtype}, which cannot hold the value {source[wrong].flat[0]} that was found"
        )
    return made


def shown(value: Any) -> str:
    """Return words for what was found, for a message.

    They are short, and say what a tensor would have to be.
    """
    if isinstance(value, Tensor):
        return f"a tensor of shape {value.shape}" + (
            "; .item() makes a number of it" if math.prod(value.shape) == 1 else ""
        )
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
