"""Files of trained models."""

from __future__ import annotations

import json
import os

from ..data import Vocabulary
from . import checked_files
from .characters import CharacterLSTM
from .errors import CheckpointError

__all__ = ["load_model", "save_model"]

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
        "vocabulary": json.dumps({"symbols": vocabulary.symbols, "units": vocabulary.units}),
        "context": json.dumps(context),
    }
    checked_files.write(path, model.state_dict(), metadata)


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
    arrays, metadata = checked_files.read(path, _KIND, "a model written by demo or train text")
    with checked_files.damage_named(path):
        vocabulary = Vocabulary(**json.loads(metadata["vocabulary"]))
        context = str(json.loads(metadata["context"]))
        symbols, embedding = arrays["embedding.weight"].shape
        model = CharacterLSTM(symbols, embedding, arrays["cell.weight_hh"].shape[1], rng=0)
        model.load_state_dict(arrays)
    if len(vocabulary) != symbols:
        raise CheckpointError(
            f"{path}: the model has {symbols} symbols, its vocabulary {len(vocabulary)}"
        )
    return model, vocabulary, context
