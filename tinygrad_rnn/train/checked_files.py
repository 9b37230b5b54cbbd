"""Safetensors files of a kind, with a checksum over arrays and metadata.

The format has no checksum, and weights that were damaged still look like weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import TinygradError
from ..formats import safetensors
from .errors import CheckpointError

__all__ = ["damage_named", "read", "write"]


def write(
    path: str | os.PathLike[str], arrays: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    """Write arrays and metadata, atomically, with a checksum in the metadata."""
    safetensors.write(path, arrays, {**metadata, "sha256": _checksum(arrays, metadata)})


def _checksum(arrays: dict[str, npt.NDArray[Any]], metadata: dict[str, str]) -> str:
    """Return the SHA-256 of arrays and metadata, in hexadecimal."""
    found = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {value.dtype.str} {arrays[name].shape}".encode())
        found.update(value.tobytes())
    return found.hexdigest()


def read(
    path: str | os.PathLike[str], kind: str, what: str
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Read the arrays and the metadata of a file that `write` wrote.

    Parameters
    ----------
    path
        The file.
    kind
        The entry "kind" of its metadata.
    what
        What a file of this kind is, for messages.

    Raises
    ------
    CheckpointError
        If the file is of another kind, or damaged.
    FormatError, OSError
        If it is no valid safetensors file, or cannot be read.
    """
    arrays, metadata = safetensors.read(path)
    if metadata.get("kind") != kind:
        raise CheckpointError(
            f"{path}: expected {what}, found {metadata.get('kind', 'other tensors')!r}"
        )
    written = metadata.pop("sha256", None)
    # Files of earlier versions have no checksum.
    if written is not None and written != _checksum(arrays, metadata):
        raise CheckpointError(
            f"{path} is damaged: its content does not have the checksum that was written with it"
        )
    return arrays, metadata


@contextmanager
def damage_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Context: what does not fit together in a model that was read is a CheckpointError."""
    try:
        yield
    except (KeyError, ValueError, TypeError, IndexError, TinygradError) as error:
        raise CheckpointError(
            f"{path}: the model in it is damaged ({type(error).__name__}: {error})"
        ) from error
