"""Saving and loading modules as safetensors files: nothing is unpickled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.primitive import Array
from ..core.tensor import Tensor
from ..module import Module
from . import safetensors


def save(path: str | os.PathLike[str], module: Module | Mapping[str, Any]) -> None:
    """Write a module's parameters, or a dict of tensors or arrays, atomically."""
    if not isinstance(module, (Module, Mapping)):
        raise TinygradError(
            f"save: expected save(path, module or dict of arrays); found save({type(path).__name__}, {type(module).__name__})"
        )
    state = module.state_dict() if isinstance(module, Module) else module
    safetensors.write(path, {name: np.asarray(v.numpy() if isinstance(v, Tensor) else v) for name, v in state.items()})


def load(path: str | os.PathLike[str], module: Module | None = None) -> dict[str, Array]:
    """Read the arrays of a file, and put them into a module if one is given.

    Raises
    ------
    FormatError
        If the file is no valid safetensors file.
    TinygradError, ShapeError
        If names or shapes do not fit the module, which is then unchanged.
    """
    arrays, _ = safetensors.read(path)
    if module is not None:
        module.load_state_dict(arrays)
    return arrays
