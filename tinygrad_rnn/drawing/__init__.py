"""Pictures of the tape."""

from .heat import DrawingError
from .picture import Drawing, draw

__all__ = ["Drawing", "DrawingError", "draw"]
