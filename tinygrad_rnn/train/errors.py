"""Errors of the training programs."""

from ..core.errors import TinygradError

__all__ = ["ArgumentError", "CheckpointError", "DivergedError", "UserError"]


class ArgumentError(TinygradError, ValueError):
    """A value that a function cannot use; the message says what was expected and what was found."""


class CheckpointError(TinygradError, ValueError):
    """A file is not the model or the checkpoint that was expected."""


class DivergedError(TinygradError, ArithmeticError):
    """The loss or the gradient is no longer finite; the message names the step and what to try."""


class UserError(TinygradError, ValueError):
    """What was asked for on the command line cannot be done.

    The message says why and what to do, in one line.
    """
