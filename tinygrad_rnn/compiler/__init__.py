"""The compiler: from one recorded step of a cell to one function for the whole sequence."""

from .api import jit
from .automatic import automatic
from .cell import Jitted
from .value import CompileError

__all__ = ["CompileError", "Jitted", "automatic", "jit"]
