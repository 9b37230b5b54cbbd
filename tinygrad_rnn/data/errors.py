"""The error for files that do not hold what was declared."""

from ..core.errors import TinygradError

__all__ = ["DataError"]


class DataError(TinygradError, ValueError):
    """A file does not hold what was declared; the message has file, line and column."""
