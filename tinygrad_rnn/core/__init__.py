"""The engine: read in the order errors, primitive, tape, tensor, walks, trace, tree, transforms, gradcheck."""
