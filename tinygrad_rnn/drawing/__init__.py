"""Pictures of the tape."""

from .picture import Drawing, DrawingError, draw

__all__ = ["Drawing", "DrawingError", "draw"]
