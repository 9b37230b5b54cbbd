"""Pictures of the tape."""

from .explorer import explore
from .heat import DrawingError
from .picture import Drawing, draw

__all__ = ["Drawing", "DrawingError", "draw", "explore"]
