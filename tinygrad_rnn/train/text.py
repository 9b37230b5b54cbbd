"""The text that a character model is trained and scored on: where it is from, and its split.

The default corpus is the English reference text that every Python ships in ``pydoc_data.topics``.
Its topics overlap: many are a copy of a part of a longer one ("if" stands in "compound" again).
Copies would put held-out text into the training text, so they are removed first
(:func:`load_topics`).
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .encodings import why_not_utf8
from .errors import ArgumentError, TextError

__all__ = ["Corpus", "distinct_topics", "load", "load_file", "load_topics", "split"]

MINIMUM_LENGTH = 2000
"""Fewest characters of a corpus that is worth training and scoring on."""

_REPEAT_LENGTH = 40  # A shorter paragraph ("Note:", "For example:") may stand several times.


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
    r"""Load a UTF-8 text file. A byte order mark is dropped, and line ends become ``"\n"``.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    TextError
        If the file is missing, a folder, or unreadable; if it is empty, holds white space alone or
        fewer than 2000 characters; if it holds bytes of value 0, or is not UTF-8. Then the message
        says what it seems to be, and the command that converts it.
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
    if fault := why_not_utf8(data):
        raise TextError(f"{source}: expected a UTF-8 text, found {fault}")
    text = data.decode("utf-8-sig")
    return _checked(Corpus(text.replace("\r\n", "\n").replace("\r", "\n"), str(source)))


def _checked(corpus: Corpus) -> Corpus:
    """Return a corpus, or raise a TextError if it is too short to learn from."""
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
