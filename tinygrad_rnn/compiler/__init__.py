"""The compiler: from one recorded step of a cell to one function for the whole sequence."""

from .jit import Jitted, jit
from .op import CompileError

__all__ = ["CompileError", "Jitted", "jit"]
