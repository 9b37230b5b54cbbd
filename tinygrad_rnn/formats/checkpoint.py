"""Saving and loading modules as safetensors files: nothing is unpickled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..core.errors import TinygradError
from ..core.primitive import Array
from ..module import Module
from ..ops.checks import array
from . import safetensors


def save(path: str | os.PathLike[str], module: Module | Mapping[str, Any]) -> None:
    """Write a module's parameters, or a flat dict of tensors or arrays by name, atomically.

    Parameters
    ----------
    path : str or path
        The file to create or replace.
    module : Module or mapping
        What is written: the state dict of a module, or a mapping itself.

    Raises
    ------
    TinygradError
        If two parameters have one name, or a value is no array, such as a dict in a dict.
    OSError
        If the file cannot be written.
    """
    if not isinstance(module, (Module, Mapping)):
        raise TinygradError(
            f"save: expected save(path, module or dict of arrays); found save({type(path).__name__}, {type(module).__name__})"
            + (". Of an optimiser: its state_dict()" if hasattr(module, "state_dict") else "")
        )
    state = (
        module.state_dict()
        if isinstance(module, Module)
        else {name: _array(name, value) for name, value in module.items()}
    )
    safetensors.write(path, state)


def _array(name: Any, value: Any) -> Array:
    """Return a value of a dict that is to be saved as an array."""
    if isinstance(value, (Mapping, Module)):
        first = next(iter(value if isinstance(value, Mapping) else value.state_dict()), "name")
        raise TinygradError(
            f"save: '{name}' is a {type(value).__name__}; a file is flat, so give what is in it names of their own, such as '{name}.{first}'"
        )
    found: Array = array(value, f"save: '{name}'")
    return found


def load(path: str | os.PathLike[str], module: Module | None = None) -> dict[str, Array]:
    """Read the arrays of a file, and put them into a module if one is given.

    Parameters
    ----------
    path : str or path
        The file.
    module : Module, optional
        Its parameters get the values.

    Returns
    -------
    dict of ndarray
        The arrays of the file by name.

    Raises
    ------
    FormatError
        If the file is no valid safetensors file.
    TinygradError, ShapeError
        If names or shapes do not fit the module, which is then unchanged.
    OSError
        If the file cannot be read.
    """
    if module is not None and not isinstance(module, Module):
        raise TinygradError(
            f"load: expected load(path, module); found a {type(module).__name__} in place of the module"
        )
    arrays, _ = safetensors.read(path)
    if module is not None:
        module.load_state_dict(arrays)
    return arrays
