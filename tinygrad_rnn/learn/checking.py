"""`check` says whether the answer to an exercise is right, and if not, what may be wrong."""

from __future__ import annotations

import linecache
import os
import pkgutil
import sysconfig
import traceback
from importlib import import_module
from typing import Any

from ..core.errors import TinygradError
from .exercise import EXERCISES, Exercise, Wrong

_FOLDER = os.path.dirname(__file__)
# files that the reader has not written: the package, and what is installed
_OTHERS = (
    os.path.dirname(_FOLDER),
    *(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")),
)


def check(name: str, *answers: Any) -> bool:
    """Say whether the answers to an exercise of the course (docs/learn) are right.

    Prints "right:" with what was tested; or "not yet:" with what is wrong and a hint that fits. An
    error that the reader's function raises is reported with their line.

    Parameters
    ----------
    name : str
        The name of the exercise, which stands in its lesson.
    *answers
        What the exercise asks for: mostly a function.

    Returns
    -------
    bool
        Whether they are right.

    Raises
    ------
    TinygradError
        If there is no exercise of this name, or if it asks for other answers.
    """
    exercise = find(name)
    exercise.refuse_others(answers)
    try:
        exercise.test(*answers)
    except Wrong as wrong:
        print(f"not yet: {wrong}")
    except Exception as error:
        print(f"not yet: {_reported(error)}")
    else:
        print(f"right: {exercise.tested}")
        return True
    return False


def exercises() -> dict[str, Exercise]:
    """Return all exercises by their names, in the order of the lessons."""
    for lesson in sorted(module.name for module in pkgutil.iter_modules([_FOLDER])):
        if lesson.startswith("lesson_"):
            import_module(f"{__package__}.{lesson}")
    return EXERCISES


def find(name: str) -> Exercise:
    """Return the exercise of a name."""
    found = exercises()
    if name not in found:
        raise TinygradError(
            f"check({name!r}): there is no exercise of this name. The exercises are {', '.join(found)}."
        )
    return found[name]


def _reported(error: Exception) -> str:
    """Say what the reader's function raised, with the line of theirs on which it happened."""
    what = f"{type(error).__name__}: {error}"
    hints = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename
        if not file.startswith("<frozen") and not os.path.abspath(file).startswith(_OTHERS):
            line = linecache.getline(file, frame.lineno or 0).strip()
            folder, name = os.path.split(file)
            # Jupyter gives each cell a file of its own, with a number as its name
            cell = os.path.basename(folder).startswith("ipykernel_")
            place = f"line {frame.lineno} of {'its cell' if cell else name}"
            return f"{frame.name} raised {what}\nat {place}{': ' + line if line else ''}{hints}"
    return f"the answer could not be tested: {what}{hints}"
