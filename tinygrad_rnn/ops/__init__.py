"""The vocabulary of operations, by family."""

from ..core.tape import add_to_engine

add_to_engine(__path__)
