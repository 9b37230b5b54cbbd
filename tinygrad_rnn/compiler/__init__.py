"""The compiler: from a recorded step, or function, to loops. docs/design.md goes through its files."""

from ..core.tape import add_to_engine
from .api import jit
from .automatic import automatic
from .cell import Jitted
from .value import CompileError

__all__ = ["CompileError", "Jitted", "automatic", "jit"]

add_to_engine(__path__)
