"""The errors of the engine. Each says what was asked, what was found, where, and the way out."""


class TinygradError(Exception):
    """Base class of every error that this package raises on purpose."""


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


class NotDifferentiableError(TinygradError, TypeError):
    """A function that the tape cannot record."""


def restated(error: Exception, text: str) -> Exception:
    """An error of the kind of `error` (for a library's own subclass: of the built-in one) that says `text`."""
    for kind in type(error).__mro__:
        if kind.__module__ == "builtins" or issubclass(kind, TinygradError):
            try:
                made: Exception = kind(text)
                return made
            except TypeError:  # a kind that is not made of one text, such as UnicodeDecodeError
                continue
    return error
