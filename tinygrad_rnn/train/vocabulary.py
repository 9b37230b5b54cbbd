"""The symbols of a character model, and their ids."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError, TextError

__all__ = ["UNKNOWN", "Vocabulary"]

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""The symbol that stands for every character outside a vocabulary."""


class Vocabulary:
    """Characters and their ids.

    Id 0 is the unknown symbol and stands for every character outside the vocabulary; ids 1 to
    ``len(self) - 1`` are the characters in the order of their code points.  Scores over a
    vocabulary are scores of the encoded text: a model has to predict that a rare character comes,
    not which, and this is so for every model compared.

    Parameters
    ----------
    characters
        The characters other than the unknown symbol, in any order.  ``Vocabulary(v.characters)``
        equals ``v``.

    Raises
    ------
    ArgumentError
        If a character is given twice, or is the unknown symbol.
    """

    def __init__(self, characters: str) -> None:
        ordered = sorted(characters)
        doubled = [a for a, b in itertools.pairwise(ordered) if a == b]
        if doubled:
            raise ArgumentError(
                f"expected each character once, found {doubled[0]!r} more than once"
            )
        if UNKNOWN in ordered:
            raise ArgumentError(
                f"{UNKNOWN!r} stands for unknown characters and cannot be one of the vocabulary"
            )
        self._characters = "".join(ordered)
        self._codes = np.array([ord(c) for c in ordered], dtype=np.uint32)

    @classmethod
    def from_text(cls, text: str, min_count: int = 10) -> Vocabulary:
        """Make the vocabulary of the characters that occur at least `min_count` times in `text`.

        Take the training text only: counting held-out text would tell the models about it.

        Parameters
        ----------
        text
            The text to count in.
        min_count
            Rarer characters are left to the unknown symbol.

        Raises
        ------
        ArgumentError
            If `min_count` is below 1.
        TextError
            If no character occurs often enough.
        """
        if min_count < 1:
            raise ArgumentError(f"min_count must be at least 1, found {min_count}")
        counts = Counter(text)
        counts.pop(UNKNOWN, None)
        common = [c for c, n in counts.items() if n >= min_count]
        if not common:
            raise TextError(
                f"no character occurs {min_count} times in a text of {len(text)} characters; lower min_count or give more text"
            )
        return cls("".join(common))

    @property
    def characters(self) -> str:
        """The characters of ids 1, 2, ... as one string."""
        return self._characters

    def __len__(self) -> int:
        """Count the symbols, the unknown one included."""
        return len(self._characters) + 1

    def __contains__(self, character: object) -> bool:
        """Tell whether a character has an id of its own."""
        return isinstance(character, str) and len(character) == 1 and character in self._characters

    def __eq__(self, other: object) -> bool:
        """Compare the characters."""
        return isinstance(other, Vocabulary) and self._characters == other._characters

    def __hash__(self) -> int:
        """Hash the characters."""
        return hash(self._characters)

    def __repr__(self) -> str:
        """Show the characters."""
        return f"Vocabulary({self._characters!r})"

    def encode(self, text: str) -> npt.NDArray[np.int64]:
        """Turn text into ids.

        Parameters
        ----------
        text
            Any text; characters outside the vocabulary become 0.

        Returns
        -------
        ndarray of int64, shape (len(text),)
        """
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        if len(self._codes) == 0:
            return np.zeros(len(codes), dtype=np.int64)
        place = np.searchsorted(self._codes, codes)
        found = self._codes[np.minimum(place, len(self._codes) - 1)] == codes
        return np.where(found, place + 1, 0).astype(np.int64)

    def decode(self, ids: npt.ArrayLike) -> str:
        """Turn ids into text; id 0 becomes U+FFFD.

        Parameters
        ----------
        ids
            Integers of shape (n,), each from 0 to ``len(self) - 1``.

        Raises
        ------
        ArgumentError
            If `ids` is not one-dimensional, not of integers, or out of range.
        """
        array = np.asarray(ids)
        if array.ndim != 1:
            raise ArgumentError(f"expected ids of shape (n,), found shape {array.shape}")
        if array.size == 0:
            return ""
        if not np.issubdtype(array.dtype, np.integer):
            raise ArgumentError(f"expected ids of an integer dtype, found {array.dtype}")
        if array.min() < 0 or array.max() >= len(self):
            raise ArgumentError(
                f"expected ids from 0 to {len(self) - 1}, found {array.min()} to {array.max()}"
            )
        symbols = UNKNOWN + self._characters
        return "".join([symbols[i] for i in array.tolist()])
