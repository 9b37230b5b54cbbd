"""Files of trained models, and what they have in common with checkpoints: kind and checksum."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import TinygradError
from ..formats import safetensors
from .characters import CharacterLSTM
from .errors import CheckpointError
from .vocabulary import Vocabulary

__all__ = ["load_model", "read", "save_model", "write"]

_KIND = "tinygrad_rnn character LSTM"


def save_model(
    path: str | os.PathLike[str], model: CharacterLSTM, vocabulary: Vocabulary, context: str = "\n"
) -> None:
    """Write a model as a safetensors file, atomically.

    Parameters
    ----------
    path
        The file to create or replace.
    model, vocabulary
        The network and its symbols. The symbols stand in the metadata.
    context
        Text from which samples may go on; it stands in the metadata.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    metadata = {
        "kind": _KIND,
        "vocabulary": json.dumps(vocabulary.characters),
        "context": json.dumps(context),
    }
    write(path, model.state_dict(), metadata)


def write(
    path: str | os.PathLike[str], arrays: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    """Write arrays and metadata as a safetensors file, with a checksum in the metadata.

    The format has none, and weights that were damaged still look like weights.
    """
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


def load_model(path: str | os.PathLike[str]) -> tuple[CharacterLSTM, Vocabulary, str]:
    """Read what `save_model` wrote.

    Returns
    -------
    model, vocabulary
        The network and its symbols.
    context
        Text from which samples may go on.

    Raises
    ------
    CheckpointError
        If the file holds something else.
    FormatError, OSError
        If it is no valid safetensors file, or cannot be read.
    """
    arrays, metadata = read(path, _KIND, "a model written by demo or train")
    try:
        vocabulary = Vocabulary(json.loads(metadata["vocabulary"]))
        context = str(json.loads(metadata["context"]))
        symbols, embedding = arrays["embedding.weight"].shape
        model = CharacterLSTM(symbols, embedding, arrays["cell.weight_hh"].shape[1], rng=0)
        model.load_state_dict(arrays)
    except (KeyError, ValueError, TypeError, IndexError, TinygradError) as error:
        raise CheckpointError(
            f"{path}: the model in it is damaged ({type(error).__name__}: {error})"
        ) from error
    if len(vocabulary) != symbols:
        raise CheckpointError(
            f"{path}: the model has {symbols} symbols, its vocabulary {len(vocabulary)}"
        )
    return model, vocabulary, context
