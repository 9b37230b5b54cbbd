"""What an exercise is, and how an answer is compared with what is right.

The exercises of a lesson stand in ``lesson_NN.py``. Each is a function of the reader's answers that
returns where they are right, and raises `Wrong`, with a hint, where they are not::

    @exercise("slope", "the slope of tanh at 5 points")
    def slope(answer: Function) -> None:
        for x in (-2.0, -0.5, 0.0, 0.5, 2.0):
            y = math.tanh(x)
            expect(answer(x), 1 - y * y, f"at x = {x}", (1 - y, "Square the tanh: ..."))

A parameter of the type `Function` has to be given something that can be called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import TinygradError

Function = Callable[..., Any]
EXERCISES: dict[str, Exercise] = {}


class Wrong(Exception):
    """An answer is wrong: what was found, and a hint."""

    def __init__(self, found: str, hint: str = "") -> None:
        super().__init__(found + (f"\nhint: {hint}" if hint else ""))


@dataclass(frozen=True)
class Exercise:
    """One exercise of the course.

    Parameters
    ----------
    name : str
        The name that `check` is given.
    tested : str
        What was tested, which is said when the answer is right.
    test : callable
        A function of the answers, which raises `Wrong` for a wrong one.
    """

    name: str
    tested: str
    test: Function

    def refuse_others(self, answers: tuple[Any, ...]) -> None:
        """Raise `TinygradError` if the answers are not as many, or not of the kind, as are asked for."""
        asked = inspect.signature(self.test, eval_str=True).parameters
        if len(answers) != len(asked):
            raise TinygradError(
                f"check({self.name!r}) takes {len(asked)} {'answer' if len(asked) == 1 else 'answers'} after the name "
                f"({', '.join(asked)}); found {len(answers)}"
            )
        for (name, parameter), answer in zip(asked.items(), answers, strict=True):
            if parameter.annotation is Function and not callable(answer):
                raise TinygradError(
                    f"check({self.name!r}): {name} has to be a function; found {told(answer)}. "
                    f"Hand over the function itself, without calling it."
                )


def exercise(name: str, tested: str) -> Callable[[Function], Function]:
    """Make the decorated function the test of an exercise."""

    def enter(test: Function) -> Function:
        if name in EXERCISES and EXERCISES[name].test.__module__ != test.__module__:
            raise TinygradError(f"two lessons have an exercise of the name {name!r}")
        EXERCISES[name] = Exercise(name, tested, test)
        return test

    return enter


@contextmanager
def explaining(kind: type[Exception], words: str, hint: str) -> Iterator[None]:
    """Add a hint to an error of this kind that comes from the answer, if these words are in it.

    `check` says the error with the line of the reader's on which it was raised, and then the hint.
    """
    try:
        yield
    except kind as error:
        if words in str(error):
            error.add_note(f"hint: {hint}")
        raise


def expect(
    found: Any,
    right: Any,
    case: str,
    *mistakes: tuple[Any, str],
    hint: str = "",
    near: float = 1e-4,
) -> None:
    """Raise `Wrong` unless what the reader found is right.

    Parameters
    ----------
    found, right : number, text, array, tensor, or a list, tuple or dict of them
        A list may stand for a tuple or an array, and an array of one element for a number.
    case : str
        What it was asked for, such as "at x = 0.5".
    *mistakes : (value or function, str)
        What a typical mistake gives, or a function that says of `found` whether it was made; and the
        hint that fits it. The first that is met is told.
    hint : str
        The hint where no mistake is met.
    near : float
        How far numbers may be from each other, relative to their size above 1.
    """
    if same(found, right, near):
        return
    if found is None and right is not None:
        raise Wrong(f"{case}: your function returned nothing.", "Is there a return at its end?")
    for mistake, what in mistakes:
        if mistake(found) if callable(mistake) else same(found, mistake, near):
            hint = what
            break
    if isinstance(right, dict) and isinstance(found, dict) and found.keys() == right.keys():
        where = next(key for key in right if not same(found[key], right[key], near))
        case, right, found = f"{case}, [{where!r}]", right[where], found[where]
    wanted, other = told(right), told(found)
    if wanted == other:  # large arrays are told by their shapes
        other = "other numbers"
    raise Wrong(f"{case}: expected {wanted}, found {other}.", hint)


def same(found: Any, right: Any, near: float = 1e-4) -> bool:
    """Whether two values, or all that lists, tuples and dicts hold, are the same."""
    if isinstance(right, dict):
        return (
            isinstance(found, dict)
            and found.keys() == right.keys()
            and all(same(found[key], value, near) for key, value in right.items())
        )
    if isinstance(right, (list, tuple)):
        try:
            items = list(found)
        except TypeError:
            return False
        return len(items) == len(right) and all(map(same, items, right, [near] * len(items)))
    if right is None or isinstance(right, (str, bool)):
        return bool(type(found) is type(right) and found == right)
    a, b = _numbers(found), _numbers(right)
    if a is None or b is None:
        return False
    if b.ndim == 0 and a.size == 1:
        a = a.reshape(())
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=near, atol=near, equal_nan=True))


def _numbers(value: Any) -> Any:
    """Return a value as an array of numbers, or None if it is none."""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal length
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiub" else None


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Return the shape of what a reader found, or None if it is no array of numbers."""
    array = _numbers(value)
    return None if array is None else tuple(array.shape)


def told(value: Any) -> str:
    """Return a value as messages show it: small ones in full, arrays of more than 8 by their shape."""
    if isinstance(value, (list, tuple)):
        text = ", ".join(map(told, value))
        return f"[{text}]" if isinstance(value, list) else f"({text})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {told(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, (str, bool)) or callable(value):
        return repr(value)
    array = _numbers(value)
    if array is None:
        return repr(value)
    if array.size == 1 and not array.ndim:
        return f"{array.item():.6g}"
    if array.size > 8:
        return f"an array of shape {array.shape}"
    text = " ".join(np.array2string(array + 0.0, precision=4, separator=", ").split())
    return f"{text} of shape {array.shape}"
