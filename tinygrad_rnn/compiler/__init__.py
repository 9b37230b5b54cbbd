"""The compiler: from one recorded step of a cell to one function for the whole sequence."""

from ..core.tape import add_to_engine
from .automatic import automatic
from .jit import Jitted, jit
from .op import CompileError

__all__ = ["CompileError", "Jitted", "automatic", "jit"]

add_to_engine(__path__)
