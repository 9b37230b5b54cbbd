"""The compiler: from one recorded step of a cell to one function for the whole sequence."""

from .automatic import automatic
from .jit import Jitted, jit
from .value import CompileError

__all__ = ["CompileError", "Jitted", "automatic", "jit"]
