"""The compiler: from one recorded step of a cell to one function for the whole sequence."""

from ..core.tape import add_to_engine
from .api import jit
from .automatic import automatic
from .cell import Jitted
from .value import CompileError

__all__ = ["CompileError", "Jitted", "automatic", "jit"]

add_to_engine(__path__)
