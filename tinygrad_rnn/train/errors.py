"""Errors of the training programs."""

from ..core.errors import TinygradError

__all__ = ["ArgumentError", "UserError"]


class ArgumentError(TinygradError, ValueError):
    """A value that a function cannot use; the message says what was expected and what was found."""


class UserError(TinygradError, ValueError):
    """What was asked for on the command line cannot be done.

    The message says why and what to do, in one line.
    """
