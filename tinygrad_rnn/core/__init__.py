"""The engine: reverse-mode differentiation of what was recorded on a tape.

The files are read best in the order errors, primitive, tape, tensor, record, walks, tree, trace,
transforms. `attached.pyi` declares for type checkers what `ops` attaches to tensors.
"""

from .tape import add_to_engine

add_to_engine(__path__)
