"""Where the history of a training run is written."""

from __future__ import annotations

import abc
import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import TinygradError
from ..files import replace_file

__all__ = ["Log", "logs_of"]

Rows = Sequence[dict[str, Any]]


class Log(Protocol):
    """What takes the rows of a history."""

    def write(self, history: Rows) -> None:
        """Write what is new in a history of which the last row is new."""


class _File(abc.ABC):
    """A file with all rows, which is written anew for each, so that it is whole at any moment.

    A run that is resumed has the rows up to the checkpoint, and so has its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, history: Rows) -> None:
        """See `Log`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, self.text(history))

    @abc.abstractmethod
    def text(self, history: Rows) -> str:
        """Return the content of the file."""


class _Csv(_File):
    def text(self, history: Rows) -> str:
        """See `_File`: columns are all names that occur, and a value that is missing is empty."""
        names = list(dict.fromkeys(name for row in history for name in row))
        file = io.StringIO()
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        return file.getvalue()


class _JsonLines(_File):
    def text(self, history: Rows) -> str:
        """See `_File`."""
        return "".join(json.dumps(row) + "\n" for row in history)


class _TensorBoard:
    """Event files in a folder, written by tensorboardX."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise TinygradError(
                f"fit: log={str(folder)!r} is a folder, for TensorBoard, and needs the package tensorboardX: pip install 'tinygrad-rnn[tensorboard]'. A "
                "file is named with .csv or .jsonl"
            ) from None
        self._open: Any = lambda step: SummaryWriter(str(folder), purge_step=step)
        self._writer: Any = None

    def write(self, history: Rows) -> None:
        """See `Log`."""
        row = history[-1]
        if self._writer is None:
            self._writer = self._open(row["step"])
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()


_KINDS: dict[str, Callable[[Path], Log]] = {".csv": _Csv, ".jsonl": _JsonLines, "": _TensorBoard}


def logs_of(given: Any) -> list[Log]:
    """Return what writes to the places that were given: one path, or several.

    Raises
    ------
    TinygradError
        For a name that is none of a table, JSON lines, or a folder.
    """
    if isinstance(given, (str, os.PathLike)):
        given = [given]
    if not isinstance(given, (list, tuple)) or not all(
        isinstance(p, (str, os.PathLike)) for p in given
    ):
        raise TinygradError(
            f"fit: log is a path or several; found a {type(given).__name__}: log='run.csv'"
        )
    found: list[Log] = []
    for path in map(Path, given):
        kind = _KINDS.get(path.suffix)
        if kind is None:
            raise TinygradError(
                f"fit: log={str(path)!r}: expected a name that ends in .csv or .jsonl, or a folder for TensorBoard, without a suffix"
            )
        found.append(kind(path))
    return found
