"""The engine.

Read in the order errors, primitive, tape, tensor, record, walks, tree, trace, transforms.
"""
