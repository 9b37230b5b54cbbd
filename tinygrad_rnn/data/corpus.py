"""Texts of any size as ids: converted once into a file, of which memory holds what is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..files import replacing
from ..ops import checks
from .encodings import pieces_of
from .errors import DataError
from .vocabulary import Vocabulary, checked_units, split_pieces

__all__ = ["Corpus", "Text", "is_corpus"]

_MAGIC = b"tinygrad_rnn corpus, 1\n"
_HEAD = 64  # bytes before the ids
_BLOCK = 1 << 24  # bytes of a file that are read together to compare its checksum


class Measure(NamedTuple):
    """How many units a text has, the SHA-256 of its UTF-8, and whether it is white space alone."""

    length: int
    sha256: str
    blank: bool


@dataclass(frozen=True)
class Text:
    """A text that is read in pieces, as often as need be.

    Attributes
    ----------
    source
        Where it is from, in a few words.
    pieces
        Gives its pieces, of text or of bytes, from the beginning.
    units
        "characters", "words" or "bytes".
    limit
        If given, only so many units count.
    """

    source: str
    pieces: Callable[[], Iterator[Any]]
    units: str = "characters"
    limit: int | None = None

    @classmethod
    def of_file(
        cls,
        path: str | os.PathLike[str],
        *,
        units: str = "characters",
        encoding: str = "utf-8",
        limit: int | None = None,
    ) -> Text:
        """Return the text of a file; bytes are taken as they are. Reading raises a DataError."""
        of_text = checked_units(units) != "bytes"
        return cls(str(path), pieces_of(path, encoding if of_text else None), units, limit)

    def chunks(self, until: int | None = None) -> Iterator[Any]:
        """Yield the first `until` units in chunks, as a `Vocabulary` takes them."""
        most = [n for n in (self.limit, until) if n is not None]
        left = min(most) if most else None
        for chunk in split_pieces(self.pieces(), self.units):
            if left is not None and len(chunk) >= left:
                if left:
                    yield chunk[:left]
                return
            left = None if left is None else left - len(chunk)
            yield chunk

    def measure(self) -> Measure:
        """Read the text once."""
        count, blank, check = 0, True, hashlib.sha256()
        for chunk in self.chunks():
            count += len(chunk)
            part = "".join(chunk) if self.units == "words" else chunk
            blank = blank and not part.strip()
            check.update(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass"))
        return Measure(count, check.hexdigest(), blank)

    def vocabulary(self, until: int, min_count: int) -> Vocabulary:
        """Count the first `until` units; the rest stays unknown to the vocabulary."""
        return Vocabulary.counted(self.chunks(until), min_count, self.units)

    def write(
        self, path: str | os.PathLike[str], found: Measure, vocabulary: Vocabulary, counted: int
    ) -> None:
        """Write the ids of the text as a `Corpus`, atomically."""
        facts = {
            "count": found.length,
            "dtype": vocabulary.dtype.name,
            "units": vocabulary.units,
            "symbols": vocabulary.symbols,
            "source": self.source,
            "sha256": found.sha256,
            "counted": counted,
        }
        told = json.dumps(facts).encode()
        check, written = hashlib.sha256(), 0
        with replacing(path) as file:
            file.write(_MAGIC.ljust(_HEAD, b"\0"))
            for chunk in self.chunks():
                ids = vocabulary.ids(chunk)
                block = ids.astype(ids.dtype.newbyteorder("<"), copy=False).tobytes()
                file.write(block)
                check.update(block)
                written += len(ids)
            if written != found.length:
                raise DataError(
                    f"{self.source}: the text was changed while it was read: it had {found.length:,} {self.units}, and now {written:,}"
                )
            check.update(told)
            file.write(told + check.digest() + len(told).to_bytes(8, "little"))


def held_out_of(count: int, share: float) -> int:
    """Return how many of so many positions a share holds out: one at least, and none for 0."""
    return max(1, round(count * share)) if share else 0


def is_corpus(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is a file at `path` that `Corpus.convert` wrote."""
    try:
        if not Path(path).is_file():
            return False
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


class Corpus:
    """A text as ids in a file, which `convert` has written.

    The file is mapped into memory: the system reads what is asked for, and may forget it again, so
    a corpus may be larger than the memory. Opening it reads it once, to compare its checksum. A
    slice is a corpus too, of the same file; `tg.data.Windows` takes either.

    Parameters
    ----------
    path : str or path
        The file.

    Attributes
    ----------
    ids : array of uint8, uint16 or uint32, shape (n,)
        They cannot be written to.
    vocabulary : Vocabulary
        With `encode`, `decode` and `len`.
    source, sha256 : str
        The file that was converted, and the SHA-256 of its text in UTF-8.
    counted : int
        The vocabulary is that of so many characters, words or bytes at the beginning.

    Raises
    ------
    DataError
        If the file is no corpus, or damaged.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> corpus = tg.data.Corpus.convert("letters.txt", "letters.ids")
    >>> train, held_out = tg.data.split(corpus, 0.1)
    >>> windows = tg.data.Windows(train, batch_size=32, steps=64, rng=0)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_HEAD)
            if not head.startswith(_MAGIC):
                raise DataError(
                    f"{path}: expected a corpus, as tg.data.Corpus.convert writes it; found another file"
                )
            file.seek(max(0, size - 8))
            length = int.from_bytes(file.read(8), "little")
            begin = size - 8 - 32 - length
            if size < _HEAD + 40 or begin < _HEAD:
                raise self._damaged("it was cut")
            file.seek(begin)
            told, check = file.read(length), file.read(32)
            if _checksum(file, begin, told) != check:
                raise self._damaged(
                    "its content does not have the checksum that was written with it"
                )
        facts = json.loads(told)
        dtype = np.dtype(facts["dtype"]).newbyteorder("<")
        self.ids: npt.NDArray[Any] = np.memmap(
            self.path, dtype, "r", offset=_HEAD, shape=(facts["count"],)
        )
        self.vocabulary = Vocabulary(facts["symbols"], facts["units"])
        self.source, self.sha256 = str(facts["source"]), str(facts["sha256"])
        self.counted = int(facts["counted"])

    def _damaged(self, why: str) -> DataError:
        return DataError(f"{self.path}: the corpus is damaged: {why}. Convert the text again")

    @classmethod
    def convert(
        cls,
        text: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        units: str = "characters",
        encoding: str = "utf-8",
        vocabulary: Vocabulary | None = None,
        min_count: int = 10,
        held_out: float = 0.1,
    ) -> Corpus:
        r"""Convert a text file, which is read in pieces: first to count, then to write the ids.

        Parameters
        ----------
        text : str or path
            The text file.
        path : str or path
            The file to create or replace. It is whole, or as it was.
        units : {"characters", "words", "bytes"}
            What gets an id. Bytes are those of the file, whatever it holds.
        encoding : str
            Of the file, such as ``"latin-1"``. A byte order mark is dropped, and line ends become
            ``"\\n"``.
        vocabulary : Vocabulary, optional
            That of another corpus, to score a text by a model of that one. By default it is
            counted.
        min_count : int
            What is rarer is unknown, and has the id 0.
        held_out : float
            The share at the end of the text that is not counted, so that a model knows nothing of
            it.

        Returns
        -------
        Corpus

        Raises
        ------
        DataError
            If the file cannot be read, is empty, or not in the encoding: by offset, line and column.
        OSError
            If `path` cannot be written.
        """
        given = Text.of_file(text, units=units, encoding=encoding)
        checks.number(held_out, "Corpus.convert: held_out", "[0, 1)")
        if vocabulary is not None and vocabulary.units != units:
            raise DataError(
                f"Corpus.convert: units is {units!r}, and the vocabulary has {vocabulary.units}"
            )
        found = given.measure()
        if not found.length:
            raise DataError(f"{given.source}: expected text, found an empty file")
        counted = found.length - held_out_of(found.length, held_out) if vocabulary is None else 0
        if vocabulary is None:
            vocabulary = given.vocabulary(
                counted, checks.size(min_count, "Corpus.convert: min_count")
            )
        given.write(path, found, vocabulary, counted)
        return cls(path)

    def __len__(self) -> int:
        """Count the characters, words or bytes."""
        return len(self.ids)

    def __getitem__(self, part: slice) -> Corpus:
        """Return a part of the corpus."""
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise DataError(
                f"Corpus: expected a slice without a step, such as corpus[:1000]; found {part!r}. The ids are corpus.ids"
            )
        found = copy(self)
        found.ids = self.ids[part]
        return found

    def text(self) -> str:
        """Return the text; what is not in the vocabulary is U+FFFD."""
        return self.vocabulary.decode(self.ids)

    def __repr__(self) -> str:
        return f"<Corpus of {len(self):,} {self.vocabulary.units}, {len(self.vocabulary):,} symbols: {self.path}>"


def _checksum(file: Any, end: int, told: bytes) -> bytes:
    """Return the SHA-256 of the ids in an open file, and of what is told of them."""
    check = hashlib.sha256()
    file.seek(_HEAD)
    left = end - _HEAD
    while left and (block := file.read(min(left, _BLOCK))):
        check.update(block)
        left -= len(block)
    check.update(told)
    return check.digest()
