"""Trees of values as named arrays and JSON, and back, so that a file of arrays can hold them.

Numbers, texts and structure go into the JSON, where a float keeps all its digits; arrays and tensors
are named in it. A tuple comes back as a tuple, a dict with keys that are no texts as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..core.tensor import Tensor
from .errors import CheckpointError

__all__ = ["packed", "unpacked"]

_MARK = "is"  # the entry of a JSON object that says what it stands for
_MANY = 64  # floats in a list, from which on they are one array


def packed(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """Return a value as JSON; `arrays` gets the arrays in it, by names that begin with `name`.

    Raises
    ------
    CheckpointError
        For what is neither of these: tensors, arrays, numbers, texts, None, and lists, tuples and
        dicts of them.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        arrays[name] = value.numpy()
        return {_MARK: "tensor", "at": name}
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind not in "fiub" or value.dtype.itemsize > 8 or value.dtype == np.float16:
            raise CheckpointError(
                f"a checkpoint keeps arrays of float32, float64, whole numbers and bool; {name} is {value.dtype}: convert it with .astype"
            )
        arrays[name] = np.asarray(value)
        return {_MARK: "array" if isinstance(value, np.ndarray) else "number", "at": name}
    if type(value) is list and len(value) >= _MANY and all(type(v) is float for v in value):
        arrays[name] = np.array(value)
        return {_MARK: "floats", "at": name}
    if isinstance(value, (list, tuple)):
        parts = [packed(v, f"{name}.{k}", arrays) for k, v in enumerate(value)]
        return parts if isinstance(value, list) else {_MARK: "tuple", "of": parts}
    if isinstance(value, Mapping):
        pairs = [
            [packed(k, f"{name}: a key", {}), packed(v, f"{name}.{k}", arrays)]
            for k, v in value.items()
        ]
        return {_MARK: "dict", "of": pairs}
    raise CheckpointError(
        f"a checkpoint keeps tensors, arrays, numbers, texts, None, and lists, tuples and dicts of them; {name} is a {type(value).__name__}"
    )


def unpacked(value: Any, arrays: Mapping[str, Array]) -> Any:
    """Return what `packed` was given.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is not what `packed` makes.
    """
    if isinstance(value, list):
        return [unpacked(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    kind = value[_MARK]
    if kind == "tuple":
        return tuple([unpacked(v, arrays) for v in value["of"]])
    if kind == "dict":
        return {unpacked(k, arrays): unpacked(v, arrays) for k, v in value["of"]}
    array = arrays[value["at"]]
    if kind == "tensor":
        return Tensor(array)
    if kind == "array":
        return array
    if kind == "number":
        return array[()]
    if kind == "floats":
        return array.tolist()
    raise CheckpointError(f"{kind!r} stands for nothing")
