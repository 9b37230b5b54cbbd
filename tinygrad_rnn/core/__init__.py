"""The engine.

Read in the order errors, primitive, tape, tensor, record, walks, tree, trace, transforms.
"""

from .tape import add_to_engine

add_to_engine(__path__)
