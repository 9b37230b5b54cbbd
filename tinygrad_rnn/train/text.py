"""The text a character model is trained and scored on: corpus, vocabulary, split and batches.

The default corpus is the English reference text that every Python ships in ``pydoc_data.topics``.
Its topics overlap: many are a copy of a part of a longer one ("if" stands in "compound" again).
Copies would put held-out text into the training text, so they are removed first
(:func:`load_topics`).
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import os
import random
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.errors import TinygradError
from .errors import ArgumentError

__all__ = [
    "Corpus",
    "TextError",
    "Vocabulary",
    "Window",
    "endless_windows",
    "load",
    "load_file",
    "load_topics",
    "split",
    "windows",
]

IntArray = npt.NDArray[np.int64]

MINIMUM_LENGTH = 2000
"""Fewest characters of a corpus that is worth training and scoring on."""

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""The symbol that stands for every character outside a vocabulary."""

_REPEAT_LENGTH = 40  # A shorter paragraph ("Note:", "For example:") may stand several times.


class TextError(TinygradError, ValueError):
    """A corpus cannot be loaded, or is too short for what is asked of it."""


@dataclass(frozen=True)
class Corpus:
    r"""A text and where it is from.

    Attributes
    ----------
    text
        The characters, with ``"\n"`` line ends.
    source
        A short description for a report.
    """

    text: str
    source: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the text in UTF-8, in hexadecimal: equal for equal text."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


def load(path: str | os.PathLike[str] | None = None, *, seed: int = 0) -> Corpus:
    """Load the corpus: the file at `path`, or the Python reference if `path` is None.

    Parameters
    ----------
    path
        A UTF-8 text file, or None.
    seed
        Seed of the order of topics; without effect on a file.

    Raises
    ------
    TextError
        See :func:`load_file` and :func:`load_topics`.
    """
    return load_topics(seed=seed) if path is None else load_file(path)


def load_topics(*, seed: int = 0) -> Corpus:
    """Load the language reference that ships with this Python, ``pydoc_data.topics``.

    The topics are taken longest first.  A topic of which less than half is new is left out; from
    the others, paragraphs that stood in an earlier topic are removed (paragraphs under 40
    characters stay).  What is left, about four fifths of the characters, is shuffled by topic, so
    that the end of the text, which :func:`split` holds out, is of the same kind as its beginning.
    The result depends on the Python version and `seed` only.

    Parameters
    ----------
    seed
        Seed of the shuffle.

    Raises
    ------
    TextError
        If this Python was installed without ``pydoc_data``.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise TextError(
            "expected the module pydoc_data.topics of the standard library, not found in this Python; "
            "give a UTF-8 text file instead (--text FILE)"
        ) from error
    parts = distinct_topics(topics)
    names = sorted(parts)
    random.Random(seed).shuffle(names)
    text = "\n\n\n".join(parts[name] for name in names) + "\n"
    version = ".".join(map(str, sys.version_info[:3]))
    return _checked(Corpus(text, f"language reference of Python {version} (pydoc_data.topics)"))


def distinct_topics(topics: Mapping[str, str]) -> dict[str, str]:
    """Remove what is repeated between topics.

    Parameters
    ----------
    topics
        Text by name.

    Returns
    -------
    dict of str to str
        The topics of which at least half is new, without the paragraphs that a longer topic (of
        equally long ones, the first by name) has already; whitespace is ignored in comparing.
    """
    seen: set[str] = set()
    result: dict[str, str] = {}
    for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
        paragraphs = re.split(r"\n[ \t]*\n", topics[name].strip("\n"))
        keys = [" ".join(paragraph.split()) for paragraph in paragraphs]
        new = sum(len(key) for key in keys if key not in seen)
        if 2 * new >= sum(map(len, keys)) and new > 0:
            pairs = zip(keys, paragraphs, strict=True)
            result[name] = "\n\n".join(
                text for key, text in pairs if len(key) < _REPEAT_LENGTH or key not in seen
            )
        seen.update(keys)
    return result


def load_file(path: str | os.PathLike[str]) -> Corpus:
    r"""Load a UTF-8 text file; a byte order mark is dropped, line ends become ``"\n"``.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    TextError
        If the file is missing, a folder, unreadable, empty, white space alone, not UTF-8 (the
        message says what it seems to be, and the command that converts it), with bytes of value 0,
        or shorter than 2000 characters.
    """
    source = Path(path)
    try:
        kind = source.stat().st_mode
        if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):  # reading /dev/zero would not end
            raise TextError(f"{source}: expected a UTF-8 text file, found a device")
        data = source.read_bytes()
    except FileNotFoundError as error:
        raise TextError(f"{source}: expected a UTF-8 text file, no such file found") from error
    except IsADirectoryError as error:
        raise TextError(f"{source}: expected a UTF-8 text file, found a folder") from error
    except OSError as error:
        raise TextError(f"{source}: cannot be read: {error.strerror or error}") from error
    except TextError:
        raise
    except ValueError as error:  # a name that no file can have
        raise TextError(f"{str(source)!r}: cannot be read: {error}") from error
    if fault := _fault(data):
        raise TextError(f"{source}: expected a UTF-8 text, found {fault}")
    text = data.decode("utf-8-sig")
    return _checked(Corpus(text.replace("\r\n", "\n").replace("\r", "\n"), str(source)))


_MARKS = (  # the longer first: that of UTF-32-LE begins with that of UTF-16-LE
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def _fault(data: bytes) -> str:
    """Why bytes are no UTF-8 text, and the command that mends it if it can be known; or "".

    What is not UTF-8 is told by its byte order mark, or by where its zero bytes are. Of single
    bytes above 127 those from 0x80 to 0x9f are quotation marks and dashes in Windows-1252 and
    control characters in Latin-1, so they tell the two apart. Where most of such bytes do form
    UTF-8 characters, the file is UTF-8 with damage, and converting it would spoil the rest.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return f"{name} (a byte order mark {mark.hex(' ')}); convert it with {_iconv(name)}"
    if b"\0" in data:
        place = data.index(b"\0")
        sides = [data[side::2].count(0) / max(len(data) // 2, 1) for side in (0, 1)]
        for name, own, other in (("UTF-16LE", 1, 0), ("UTF-16BE", 0, 1)):
            if sides[own] > 0.02 and sides[own] > 8 * sides[other]:
                return f"bytes of value 0, as in {name} without a byte order mark; convert it with {_iconv(name)}"
        return f"a byte of value 0 at offset {place} ({_line(data, place)}): this is no text, or in an encoding such as UTF-16 or UTF-32"
    wrong, seen = _not_utf8(data)
    if not wrong:
        return ""
    where = f"byte 0x{data[wrong[0]]:02x} at offset {wrong[0]} ({_line(data, wrong[0])})"
    high = [byte for byte in data[:seen] if byte >= 0x80]
    # characters of several bytes
    whole = sum(byte >= 0xC2 for byte in high) - sum(data[place] >= 0xC2 for place in wrong)
    rest = data[wrong[0] + 1 :][:4]
    if (
        0xC2 <= data[wrong[0]] < 0xF5
        and len(rest) < 3
        and (whole or rest)
        and all(0x80 <= byte < 0xC0 for byte in rest)
    ):
        return f"the beginning of a character at its end, {where}: the file was cut; leave that out with iconv -c -f UTF-8 -t UTF-8"
    if whole > len(wrong):
        count = (
            "one place"
            if len(wrong) == 1
            else f"{len(wrong)} places"
            if len(wrong) < _ENOUGH
            else "many places"
        )
        return f"UTF-8 that is damaged in {count}, the first {where}; mend it there, or leave such bytes out with iconv -c -f UTF-8 -t UTF-8"
    # too many for a Western text, or none of its characters
    if len(high) > 0.3 * seen or {0x81, 0x8D, 0x8F, 0x90, 0x9D} & {*high}:
        return f"{where}, in another encoding; convert it with {_iconv('ENCODING')}, where ENCODING is its name, such as CP1251 or SHIFT_JIS"
    name = "CP1252" if min(high) < 0xA0 else "LATIN1"
    return f"{where}, as in {_WESTERN[name]}; if it is that, convert it with {_iconv(name)}"


def _not_utf8(data: bytes) -> tuple[list[int], int]:
    """Where bytes are that belong to no UTF-8 character, at most `_ENOUGH` places.

    And how many bytes were looked at.
    """
    wrong: list[int] = []
    start = 0
    while start < len(data) and len(wrong) < _ENOUGH:
        piece = data[start : start + _PIECE]
        try:
            piece.decode("utf-8")
            start += len(piece)
        except UnicodeDecodeError as error:
            divided = (
                error.end == len(piece)
                and start + len(piece) < len(data)
                and error.start
                and "end of data" in error.reason
            )
            if not divided:
                wrong.append(start + error.start)
            start += error.start if divided else error.end
    return wrong, start


_PIECE = 1 << 20  # bytes that are looked at together
_ENOUGH = 1000  # places by which an encoding is judged
_WESTERN = {
    "CP1252": "Windows-1252 (Western European, with curved quotation marks)",
    "LATIN1": "Latin-1 or Windows-1252 (Western European)",
}


def _iconv(encoding: str) -> str:
    return f"iconv -f {encoding} -t UTF-8"


def _line(data: bytes, place: int) -> str:
    return f"line {data.count(bytes([10]), 0, place) + 1}"


def _checked(corpus: Corpus) -> Corpus:
    if not corpus.text.strip():
        found = (
            f"{len(corpus.text)} characters of white space alone"
            if corpus.text
            else "an empty file"
        )
        raise TextError(f"{corpus.source}: expected text, found {found}")
    if len(corpus.text) < MINIMUM_LENGTH:
        raise TextError(
            f"{corpus.source}: expected at least {MINIMUM_LENGTH} characters, found {len(corpus.text)}; "
            "give a longer text (100 000 characters or more to learn from)"
        )
    return corpus


def split(text: str, held_out: float = 0.1) -> tuple[str, str]:
    """Cut a text in two: the beginning to train on and the end to score on.

    Parameters
    ----------
    text
        The whole text.
    held_out
        Fraction of the characters to hold out, above 0 and below 1.

    Returns
    -------
    train, held
        Contiguous; ``train + held == text``.

    Raises
    ------
    ArgumentError
        If `held_out` is not between 0 and 1.
    TextError
        If either part would have less than two characters.
    """
    if not 0.0 < held_out < 1.0:
        raise ArgumentError(f"held_out must be a fraction above 0 and below 1, found {held_out}")
    cut = len(text) - round(len(text) * held_out)
    if cut < 2 or len(text) - cut < 2:
        raise TextError(
            f"a text of {len(text)} characters is too short to hold out the fraction {held_out} of it"
        )
    return text[:cut], text[cut:]


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

    def encode(self, text: str) -> IntArray:
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


class Window(NamedTuple):
    """One step of truncated backpropagation through time.

    Attributes
    ----------
    inputs, targets
        int64 arrays of shape (steps, batch); ``targets`` are the ids one position later.
    fresh
        True where a pass begins: reset the hidden state.  Otherwise the rows continue those of the
        window before.
    """

    inputs: IntArray
    targets: IntArray
    fresh: bool


def windows(
    ids: npt.ArrayLike, batch_size: int, steps: int, *, partial: bool = False
) -> Iterator[tuple[IntArray, IntArray]]:
    """Cut ids into windows for one pass of truncated backpropagation through time.

    The ids are cut into `batch_size` contiguous streams of ``(len(ids) - 1) // batch_size``
    positions, one per column. Column b of each window continues column b of the window before, so
    the hidden state can be carried over.

    With ``batch_size=1, partial=True`` the targets are exactly ``ids[1:]``: the characters the
    baselines are scored on.

    Parameters
    ----------
    ids
        Integers of shape (n,).
    batch_size
        Number of streams, at least 1.
    steps
        Positions per window, at least 1.
    partial
        Whether to yield what remains of the streams at the end as a shorter window.

    Yields
    ------
    inputs, targets : ndarray of int64, shape (steps, batch_size)
        Time-major; ``targets`` are the ids that follow ``inputs``.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    TextError
        If the text is too short for a single window.
    """
    inputs, targets = _streams(ids, batch_size, steps, 1 if partial else steps)
    return _cut(inputs, targets, steps, partial)


def endless_windows(
    ids: npt.ArrayLike, batch_size: int, steps: int, *, rng: np.random.Generator | None = None
) -> Iterator[Window]:
    """Repeat the passes of :func:`windows` without end.

    Parameters
    ----------
    ids, batch_size, steps
        As in :func:`windows`.
    rng
        If given, each pass starts at a random position below `steps` where the length allows, so
        that windows are not cut at the same places in every pass.

    Yields
    ------
    Window
        With ``fresh`` True on the first window of each pass.

    Raises
    ------
    ArgumentError, TextError
        As :func:`windows`.
    """
    array, spare = _streams_checked(ids, batch_size, steps, steps)
    return _repeat(array, batch_size, steps, rng, min(steps - 1, spare))


def _streams_checked(
    ids: npt.ArrayLike, batch_size: int, steps: int, needed: int
) -> tuple[IntArray, int]:
    array = np.asarray(ids)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ArgumentError(
            f"expected integer ids of shape (n,), found {array.dtype} of shape {array.shape}"
        )
    if batch_size < 1 or steps < 1:
        raise ArgumentError(
            f"batch_size and steps must be at least 1, found {batch_size} and {steps}"
        )
    spare = len(array) - 1 - batch_size * needed
    if spare < 0:
        raise TextError(
            f"{batch_size} streams of {needed} steps need {batch_size * needed + 1} characters, found {len(array)}; "
            "lower the batch size or the steps, or give more text"
        )
    return array.astype(np.int64), spare


def _streams(
    ids: npt.ArrayLike, batch_size: int, steps: int, needed: int
) -> tuple[IntArray, IntArray]:
    array, _ = _streams_checked(ids, batch_size, steps, needed)
    length = (len(array) - 1) // batch_size
    used = length * batch_size
    inputs = array[:used].reshape(batch_size, length).T
    targets = array[1 : used + 1].reshape(batch_size, length).T
    return inputs, targets


def _cut(
    inputs: IntArray, targets: IntArray, steps: int, partial: bool
) -> Iterator[tuple[IntArray, IntArray]]:
    length = len(inputs)
    for t in range(0, length if partial else length - steps + 1, steps):
        yield (
            np.ascontiguousarray(inputs[t : t + steps]),
            np.ascontiguousarray(targets[t : t + steps]),
        )


def _repeat(
    array: IntArray, batch_size: int, steps: int, rng: np.random.Generator | None, last_start: int
) -> Iterator[Window]:
    while True:
        start = 0 if rng is None else int(rng.integers(last_start + 1))
        inputs, targets = _streams(array[start:], batch_size, steps, steps)
        for number, (x, y) in enumerate(_cut(inputs, targets, steps, False)):
            yield Window(x, y, number == 0)
