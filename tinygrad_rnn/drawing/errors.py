"""The error of the pictures."""

from __future__ import annotations

from ..core.errors import TinygradError


class DrawingError(TinygradError, RuntimeError):
    """A picture cannot be made here, or not in this format."""
