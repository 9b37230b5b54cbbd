"""The symbols of a text (its characters, bytes or words), and their ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import DataError

__all__ = ["UNITS", "UNKNOWN", "Vocabulary"]

UNITS = {"characters": "character", "bytes": "byte", "words": "word"}
"""What a text is made of, and the word for one of them."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""The symbol that stands for every character or word outside a vocabulary."""

_WORD = re.compile(r" ?\w{1,64}| ?[^\w\s]{1,64}|\s")
_MOST_WORDS = 5_000_000  # different ones that are counted: they take about half a gigabyte


class Vocabulary:
    """Symbols and their ids.

    Id 0 is the unknown symbol and stands for everything outside the vocabulary; ids 1 to
    ``len(self) - 1`` are the symbols in the order of their code points.  Scores over a
    vocabulary are scores of the encoded text: a model has to predict that a rare character comes,
    not which, and this is so for every model compared.

    A word is what stands between white space and signs, a run of signs is a word too, and the space
    before a word belongs to it; other white space is a word for each character. So the words of a
    text, one after the other, are the text. Words longer than 64 characters are cut.

    Bytes need no list of symbols: their ids are their values, 0 to 255, and none is unknown.

    Parameters
    ----------
    symbols
        The characters or words other than the unknown symbol, in any order.
        ``Vocabulary(v.symbols, v.units)`` equals ``v``.
    units
        "characters", "words" or "bytes".

    Raises
    ------
    DataError
        If a symbol is given twice, is the unknown symbol, or is no unit.
    """

    def __init__(self, symbols: Iterable[str] = (), units: str = "characters") -> None:
        self.units = checked_units(units)
        self.symbols = tuple(sorted(symbols))
        for before, symbol in zip(("", *self.symbols), self.symbols, strict=False):
            if symbol == before:
                raise DataError(
                    f"expected each symbol of a vocabulary once, found {symbol!r} more than once"
                )
            if symbol == UNKNOWN:
                raise DataError(
                    f"{UNKNOWN!r} stands for unknown symbols and cannot be one of the vocabulary"
                )
            if units == "bytes" or list(split(symbol, units)) != [symbol]:
                raise DataError(
                    f"a vocabulary of {units} cannot have the symbol {symbol!r}"
                    + (": the bytes are its symbols" if units == "bytes" else "")
                )
        if units == "characters":
            codes = [ord(symbol) for symbol in self.symbols]
            # one place more, which is that of all codes above
            self._table = np.zeros(max(codes, default=-1) + 2, self.dtype)
            self._table[codes] = np.arange(1, len(codes) + 1)
        self._places = {symbol: k for k, symbol in enumerate(self.symbols, 1)}

    @classmethod
    def from_text(cls, text: str, min_count: int = 10, units: str = "characters") -> Vocabulary:
        """Make the vocabulary of what occurs at least `min_count` times in `text`.

        Take the training text only: counting held-out text would tell the models about it.

        Parameters
        ----------
        text
            The text to count in.
        min_count
            Rarer symbols are left to the unknown symbol.
        units
            "characters", "words" or "bytes".

        Raises
        ------
        DataError
            If `min_count` is below 1, or nothing occurs often enough.
        """
        return cls.counted([split(text, units)], min_count, units)

    @classmethod
    def counted(
        cls, chunks: Iterable[Any], min_count: int = 10, units: str = "characters"
    ) -> Vocabulary:
        """Make the vocabulary of a text that comes in chunks, which are not kept.

        Parameters
        ----------
        chunks
            Parts of the text, as `split` gives them.
        min_count, units
            As of `from_text`, which raises the same.
        """
        if min_count < 1:
            raise DataError(f"min_count must be at least 1, found {min_count}")
        if checked_units(units) == "bytes":
            return cls((), units)
        total = 0
        words: Counter[str] = Counter()
        codes = np.zeros(0x110000, np.int64)
        for chunk in chunks:
            total += len(chunk)
            if units == "characters":
                codes += np.bincount(_codes(chunk), minlength=len(codes))
                continue
            words.update(chunk)
            if len(words) > _MOST_WORDS:
                raise DataError(
                    f"the text has more than {_MOST_WORDS:,} different words; take characters or bytes"
                )
        if units == "characters":
            common = [chr(code) for code in np.flatnonzero(codes >= min_count)]
        else:
            common = [word for word, n in words.items() if n >= min_count]
        common = [symbol for symbol in common if symbol != UNKNOWN]
        if not common:
            raise DataError(
                f"no {UNITS[units]} occurs {min_count} times in a text of {total:,} {units}; lower min_count or give more text"
            )
        return cls(common, units)

    @property
    def unit(self) -> str:
        """The word for one of the units."""
        return UNITS[self.units]

    @property
    def drawn_from(self) -> int:
        """The first id that may be drawn: the unknown symbol is none that could be written."""
        return 0 if self.units == "bytes" else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest dtype that holds all ids."""
        return np.dtype(np.min_scalar_type(len(self) - 1))

    def __len__(self) -> int:
        """Count the symbols, the unknown one included."""
        return 256 if self.units == "bytes" else len(self.symbols) + 1

    def __contains__(self, symbol: object) -> bool:
        """Tell whether a character or word has an id of its own."""
        return symbol in self._places

    def __eq__(self, other: object) -> bool:
        """Compare units and symbols."""
        return (
            isinstance(other, Vocabulary)
            and (self.units, self.symbols) == (other.units, other.symbols)
        )  # fmt: skip

    def __hash__(self) -> int:
        """Hash units and symbols."""
        return hash((self.units, self.symbols))

    def __repr__(self) -> str:
        """Show the symbols."""
        if self.units == "characters":
            return f"Vocabulary({''.join(self.symbols)!r})"
        return f"Vocabulary({list(self.symbols)!r}, {self.units!r})"

    def encode(self, text: str) -> npt.NDArray[np.int64]:
        """Turn text into ids.

        Parameters
        ----------
        text
            Any text; what is outside the vocabulary becomes 0.

        Returns
        -------
        ndarray of int64, shape (n,), n the number of characters, words, or bytes in UTF-8
        """
        return self.ids(split(text, self.units)).astype(np.int64)

    def ids(self, chunk: Any) -> npt.NDArray[Any]:
        """Return the ids of a chunk of a text, as `split` gives it, in the narrowest dtype."""
        if self.units == "bytes":
            return np.frombuffer(chunk, np.uint8)
        if self.units == "words":
            return np.fromiter((self._places.get(w, 0) for w in chunk), self.dtype, len(chunk))
        return self._table[np.minimum(_codes(chunk), len(self._table) - 1)]

    def decode(self, ids: npt.ArrayLike) -> str:
        """Turn ids into text; id 0 becomes U+FFFD, and so do bytes that are no UTF-8.

        Parameters
        ----------
        ids
            Integers of shape (n,), each from 0 to ``len(self) - 1``.

        Raises
        ------
        DataError
            If `ids` is not one-dimensional, not of integers, or out of range.
        """
        array = np.asarray(ids)
        if array.ndim != 1:
            raise DataError(f"expected ids of shape (n,), found shape {array.shape}")
        if array.size == 0:
            return ""
        if not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"expected ids of an integer dtype, found {array.dtype}")
        if array.min() < 0 or array.max() >= len(self):
            raise DataError(
                f"expected ids from 0 to {len(self) - 1}, found {array.min()} to {array.max()}"
            )
        if self.units == "bytes":
            return array.astype(np.uint8).tobytes().decode("utf-8", "replace")
        symbols = (UNKNOWN, *self.symbols)
        return "".join([symbols[i] for i in array.tolist()])


def checked_units(units: str) -> str:
    """Return units, or raise a DataError if there are none of this name."""
    if units not in UNITS:
        raise DataError(f"units is {units!r}; expected one of {', '.join(UNITS)}")
    return units


def split(text: str, units: str) -> Any:
    """Return the units of a whole text: the text, its bytes in UTF-8, or a list of its words."""
    if units == "bytes":
        return text.encode("utf-8", "surrogatepass")
    return _WORD.findall(text) if units == "words" else text


def split_pieces(pieces: Iterable[Any], units: str) -> Iterator[Any]:
    """Yield the units of a text that comes in pieces; pieces of bytes are bytes.

    The last word of a piece may go on in the next one. All others are the same, whatever follows.
    """
    if units != "words":
        yield from pieces
        return
    rest = ""
    for piece in pieces:
        words = _WORD.findall(rest + piece)
        rest = words.pop() if words else ""
        if words:
            yield words
    if rest:
        yield [rest]


def _codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
