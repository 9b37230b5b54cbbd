"""The errors of the engine: each says what was asked, what was found, where, and the way out."""

import copy
from typing import Any


class TinygradError(Exception):
    """The base class of every error that this package raises on purpose."""


class ShapeError(TinygradError, ValueError):
    """Shapes, axes or indices that do not fit an operation."""


class DtypeError(TinygradError, TypeError):
    """A dtype that the engine does not have, or two that do not mix."""


class GraphError(TinygradError, RuntimeError):
    """A graph that cannot be walked: freed, without gradients, or with a replaced value."""


class RuleError(TinygradError, RuntimeError):
    """A derivative rule that broke its contract (shape, dtype, or what it returned)."""


class TraceError(TinygradError, RuntimeError):
    """Code that needs a number where, while tracing, only shape and dtype are known."""


class AnomalyError(TinygradError, FloatingPointError):
    """The first value that is not finite, found by `detect_anomaly`.

    Attributes
    ----------
    operation : str
        The name of the operation that gave it, or through which its gradient went.
    where : tape.Where
        The source line and the mark (cell, layer, step) of that operation.
    """

    operation: str
    where: Any


class NotDifferentiableError(TinygradError, TypeError):
    """A function that the tape cannot record, or a derivative that does not exist."""


def restated(error: Exception, text: str) -> Exception:
    """Make an error of the same kind that says `text`.

    A kind of NumPy's own becomes the built-in one that it is derived from. An error of another
    library is copied, and the text added as a note.
    """
    builtin: list[type[Exception]] = [k for k in type(error).__mro__ if k.__module__ == "builtins"]
    kind = builtin[0] if type(error).__module__.startswith("numpy") else type(error)
    # a UnicodeError is not made from a text alone
    if (kind in builtin or issubclass(kind, TinygradError)) and not issubclass(kind, UnicodeError):
        return kind(text)
    twin = copy.copy(error)
    twin.add_note(text)
    return twin
