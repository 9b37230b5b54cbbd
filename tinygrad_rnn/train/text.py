"""The text that a character model is trained and scored on: where it is from, and its ids.

The default text is the English language reference that every Python ships in ``pydoc_data.topics``.
Its topics overlap: many are a copy of a part of a longer one ("if" stands in "compound" again).
Copies would put held-out text into the training text, so they are removed first
(:func:`load_topics`).
"""

from __future__ import annotations

import contextlib
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..data import Corpus, DataError, Vocabulary, split
from ..data.corpus import Measure, Text, held_out_of, is_corpus
from .errors import UserError
from .folder import CORPUS

__all__ = ["Material", "Source", "distinct_topics", "load_topics", "of_path", "of_run"]

MINIMUM_LENGTH = 2000
"""Fewest characters of a text that is worth training and scoring on."""
HELD_OUT = 100_000  # most characters held out; else a tenth
CONTEXT = 200  # characters that a sample goes on from

_REPEAT_LENGTH = 40  # A shorter paragraph ("Note:", "For example:") may stand several times.


@dataclass(frozen=True)
class Material:
    """What a run learns from and is scored on.

    Attributes
    ----------
    whole, train, held
        The text as ids, what is trained on, and what comes after it and is held out.
    context
        The end of the training text, from which samples go on.
    """

    whole: Corpus
    train: Corpus
    held: Corpus
    context: str

    @classmethod
    def of(cls, whole: Corpus) -> Material:
        """Cut a text in two: the beginning to train on, and the end to score on."""
        train, held = split(whole, _share(len(whole)))
        return cls(whole, train, held, train[-CONTEXT:].text())

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols."""
        return self.whole.vocabulary


@dataclass(frozen=True)
class Source:
    """The text of a run that is to begin or to go on; nothing is written yet.

    Attributes
    ----------
    corpus
        The text as ids, if it is in a file already.
    text, found, vocabulary
        Otherwise the text, how long it is, and its symbols.
    path
        The file that was named, or None for the reference of Python.
    """

    corpus: Corpus | None = None
    text: Text | None = None
    found: Measure | None = None
    vocabulary: Vocabulary | None = None
    path: Path | None = None

    @property
    def symbols(self) -> Vocabulary:
        """The symbols of the text."""
        found = self.vocabulary if self.corpus is None else self.corpus.vocabulary
        assert found is not None
        return found

    @property
    def sha256(self) -> str:
        """SHA-256 of the text in UTF-8: equal for equal text."""
        return (self.corpus or self.found).sha256  # type: ignore[union-attr]

    @property
    def count(self) -> int:
        """The length of the text."""
        return len(self.corpus) if self.corpus is not None else self.found.length  # type: ignore[union-attr]

    @property
    def trained_on(self) -> int:
        """How much of the text comes before what is held out."""
        return _counted(self.count)

    def in_folder(self, folder: Path) -> Material:
        """Write the ids into the folder of the run, unless they are in a file already."""
        path = folder / CORPUS
        if self.corpus is None:
            assert self.text is not None and self.found is not None
            self.text.write(path, self.found, self.symbols, self.trained_on)
            return Material.of(Corpus(path))
        if not (path.exists() and path.samefile(self.corpus.path)):
            with contextlib.suppress(FileNotFoundError):  # that of a run which is replaced
                path.unlink()
        return Material.of(self.corpus)


def _share(count: int) -> float:
    """Return which share of a text is held out."""
    return min(0.1, HELD_OUT / count)


def _counted(count: int) -> int:
    """Return on how much of a text its vocabulary is counted."""
    return count - held_out_of(count, _share(count))


def of_path(
    path: Path | None,
    *,
    units: str | None = None,
    encoding: str = "utf-8",
    limit: int | None = None,
    vocabulary: Vocabulary | None = None,
    between: Callable[[], None] = lambda: None,
) -> Source:
    """Read a text, or one that was converted.

    Parameters
    ----------
    path
        A text file, a file that `tg.data.Corpus.convert` wrote, or None for the Python reference.
    units, encoding
        What gets an id (by default characters), and what the file is in.
    limit
        If given, only so many units are used.
    vocabulary
        The symbols, where they are not to be counted.
    between
        It is called now and then, and what it raises ends the reading.

    Raises
    ------
    DataError
        If the file cannot be read, is not as declared, or too short.
    """
    if path is not None and is_corpus(path):
        return Source(corpus=_converted(path, units, limit), path=path)
    text = (
        load_topics()
        if path is None
        else Text.of_file(path, units=units or "characters", encoding=encoding, limit=limit)
    )
    text = replace(text, pieces=partial(_watched, text.pieces, between))
    found = text.measure()
    _check(text.source, found.length, text.units, blank=found.blank)
    if vocabulary is None:
        counted = _counted(found.length)
        vocabulary = text.vocabulary(counted, 10 if counted >= 50_000 else 2)
    return Source(text=text, found=found, vocabulary=vocabulary, path=path)


def _converted(path: Path, units: str | None, limit: int | None) -> Corpus:
    """Open a text that was converted, if a run can use it."""
    corpus = Corpus(path)
    there = corpus.vocabulary.units
    if units not in (None, there):
        raise UserError(
            f"{path} is a text of {there} and cannot become one of {units}; convert it anew"
        )
    if limit is not None and len(corpus) > limit:
        raise UserError(
            f"{path} has {len(corpus):,} {there}, and the demo uses at most {limit:,}; give the text itself, or use train text"
        )
    _check(corpus.source, len(corpus), there, blank=False)
    return corpus


def of_run(
    path: Path | None, folder: Path, about: Mapping[str, Any], vocabulary: Vocabulary, **more: Any
) -> Source:
    """Return the text of a run that goes on: its ids in the folder, unless a file is named.

    Raises
    ------
    UserError
        If it is not the text of the run, or is no longer there.
    """
    if path is None:
        with contextlib.suppress(OSError, DataError):  # then the text is read again
            corpus = Corpus(folder / CORPUS)
            if corpus.sha256 == about.get("sha256") and corpus.vocabulary == vocabulary:
                return Source(corpus=corpus, path=_named(about))
    named = path or _named(about)
    if path is None and named is not None and not named.exists():
        raise UserError(
            f"--resume: {folder / CORPUS} cannot be used, and {named}, the text of this run, is no longer there; name the text again"
        )
    source = of_path(named, vocabulary=vocabulary, **more)
    if about.get("sha256") != source.sha256 or source.symbols != vocabulary:
        raise UserError(
            f"--resume: {named or 'the reference of this Python'} is not the text that the run in {folder} was trained on; name that"
        )
    return source


def _named(about: Mapping[str, Any]) -> Path | None:
    """Return the file of a run's text; of the reference of Python there is none."""
    return Path(about["text"]) if about.get("text") else None


def _watched(pieces: Callable[[], Iterator[Any]], between: Callable[[], None]) -> Iterator[Any]:
    for piece in pieces():
        between()
        yield piece


def _check(source: str, count: int, units: str, *, blank: bool) -> None:
    """Raise a DataError if a text is too short to learn from."""
    if blank:
        found = f"{count} {units} of white space alone" if count else "an empty file"
        raise DataError(f"{source}: expected text, found {found}")
    if count < MINIMUM_LENGTH:
        raise DataError(
            f"{source}: expected at least {MINIMUM_LENGTH} {units}, found {count}; give a longer text (100 000 or more to learn from)"
        )


def load_topics(*, seed: int = 0) -> Text:
    """Load the language reference that ships with this Python, ``pydoc_data.topics``.

    The topics are taken longest first.  A topic of which less than half is new is left out; from
    the others, paragraphs that stood in an earlier topic are removed (paragraphs under 40
    characters stay).  What is left, about four fifths of the characters, is shuffled by topic, so
    that the end of the text, which is held out, is of the same kind as its beginning.
    The result depends on the Python version and `seed` only.

    Parameters
    ----------
    seed
        Seed of the shuffle.

    Raises
    ------
    DataError
        If this Python was installed without ``pydoc_data``.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "expected the module pydoc_data.topics of the standard library, not found in this Python; "
            "give a text file instead (--text FILE)"
        ) from error
    parts = distinct_topics(topics)
    names = sorted(parts)
    random.Random(seed).shuffle(names)
    text = "\n\n\n".join(parts[name] for name in names) + "\n"
    version = ".".join(map(str, sys.version_info[:3]))
    source = f"language reference of Python {version} (pydoc_data.topics)"
    return Text(source, lambda: iter([text]))


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
