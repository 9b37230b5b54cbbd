"""Pictures of the tape."""

from .explorer import explore
from .picture import Drawing, DrawingError, draw

__all__ = ["Drawing", "DrawingError", "draw", "explore"]
