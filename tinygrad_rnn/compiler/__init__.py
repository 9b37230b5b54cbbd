"""The compiler: from a recorded step, or function, to loops. docs/design.md goes through its files."""

from ..core.tape import add_to_engine
from .api import jit
from .automatic import Automatic
from .cell import Jitted
from .value import CompileError

__all__ = ["Automatic", "CompileError", "Jitted", "jit"]

add_to_engine(__path__)
