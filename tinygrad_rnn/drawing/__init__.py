"""Pictures of the tape."""

from .errors import DrawingError
from .explorer import explore
from .picture import Drawing, draw

__all__ = ["Drawing", "DrawingError", "draw", "explore"]
