"""The arguments of a compiled function: how they are nested, and what of them is given anew."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from ..core.tensor import Tensor, tensor
from ..module import Buffer
from ..ops.guards import Guard, plain_key


def _is_given(x: Any) -> bool:
    """Whether an argument is given to the recording at each call.

    A tensor, or an array of numbers.
    """
    return isinstance(x, Tensor) or (
        isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "fbiu"
    )


def is_buffer(t: Tensor) -> bool:
    """Whether a tensor says of itself that its values change."""
    return isinstance(t, Buffer)


def _is_nest(x: Any) -> bool:
    kind = type(x)
    return kind in (dict, tuple, list) or (isinstance(x, tuple) and hasattr(kind, "_fields"))


def structure_of(
    tree: Any, found: dict[int, Any], others: list[Any], nests: dict[int, int] | None = None
) -> Any:
    """Return how arguments are nested, as a key, with numbers and texts as they are.

    Tensors and arrays are put into `found` by identity, each once; what has to be followed to find
    out what it is goes to `others`.
    """
    kind = type(tree)
    if _is_given(tree):
        if id(tree) in found:  # the same again: which one
            return list(found).index(id(tree))
        found[id(tree)] = tree
        return kind if not isinstance(tree, Tensor) else Tensor
    if _is_nest(tree):
        nests = {} if nests is None else nests
        if id(tree) in nests:
            return (kind, nests[id(tree)])
        nests[id(tree)] = len(nests)
        if kind is dict:
            return (
                dict,
                *[
                    (type(key), key, structure_of(value, found, others, nests))
                    for key, value in tree.items()
                ],
            )
        return (kind, *[structure_of(value, found, others, nests) for value in tree])
    key = plain_key(tree)
    if key is not None:
        return key
    if type(tree) is types.MethodType:  # another object at each access
        others += (tree.__func__, tree.__self__)
        return types.MethodType
    others.append(tree)
    return None


def looked_at(args: Any, kwargs: Any) -> tuple[Any, list[Any], list[Any]]:
    """Return the structure of arguments, what of them is given anew, and what is to be followed."""
    if not kwargs and set(map(type, args)) == _TENSORS and len({*map(id, args)}) == len(args):
        structure = _flat.get(len(args))  # most are so
        if structure is None:
            structure = _flat[len(args)] = structure_of((args, kwargs), {}, [])
        return structure, list(args), []
    found: dict[int, Any] = {}
    others: list[Any] = []
    structure = structure_of((args, kwargs), found, others)
    return structure, list(found.values()), others


_TENSORS = {Tensor}
_flat: dict[int, Any] = {}  # the structures of so many tensors


def rebuilt(tree: Any, handles: dict[int, Tensor], made: dict[int, Any]) -> Any:
    """Return the same tree with tensors in place of tensors and arrays, by the identity of these.

    `made` gets the parts of it, by the identity of those of the given tree.
    """
    if _is_given(tree):
        return handles[id(tree)]
    if not _is_nest(tree):
        return tree
    if id(tree) in made:
        return made[id(tree)]
    if type(tree) is dict:
        made[id(tree)] = entries = {}
        entries.update({key: rebuilt(value, handles, made) for key, value in tree.items()})
        return entries
    if type(tree) is list:
        made[id(tree)] = several = []
        several += [rebuilt(value, handles, made) for value in tree]
        return several
    parts = [rebuilt(value, handles, made) for value in tree]
    made[id(tree)] = found = type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return found


def tensors_of(found: list[Any], guard: Guard) -> list[Tensor]:
    """Return tensors for the arguments.

    An array becomes one of the floating dtype that the tensors have.
    """
    if all(isinstance(x, Tensor) for x in found):
        return found
    dtypes = [x.dtype for x in found if isinstance(x, Tensor) and x.dtype.kind == "f"]
    dtypes = dtypes or [t.dtype for _, t in guard.tensors if t.dtype.kind == "f"]
    dtype = dtypes[0] if dtypes else None
    return [
        x if isinstance(x, Tensor) else tensor(x, dtype if x.dtype.kind == "f" else None)
        for x in found
    ]
