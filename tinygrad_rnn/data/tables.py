"""Series of numbers from CSV files: what each cell means is declared, and what does not fit is refused by line and column."""

from __future__ import annotations

import csv
import io
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Array
from .errors import DataError

__all__ = ["Series", "read_csv"]

MISSING = ("refuse", "interpolate", "previous")


class Series(NamedTuple):
    """Several quantities at the same moments.

    Attributes
    ----------
    values : array of float64, shape (moments, quantities)
    names : tuple of str
        Of the quantities.
    times : array of datetime64, or None
        The moments, if a column of them was declared; they rise.
    source : str
        Where it is from.
    """

    values: Array
    names: tuple[str, ...]
    times: Array | None
    source: str


def read_csv(
    path: str | os.PathLike[str],
    *,
    columns: Any = None,
    time: str | None = None,
    separator: str = ",",
    decimal: str = ".",
    thousands: str | None = None,
    date_format: str | None = None,
    missing: str = "refuse",
    encoding: str = "utf-8",
) -> Series:
    r"""Read quantities over time from a CSV file with a line of names, through pandas.

    Parameters
    ----------
    path : str or path
    columns : list of str, optional
        The quantities; by default all columns besides `time`.
    time : str, optional
        The column of moments, which have to rise from line to line.
    separator : str
        What stands between cells: ``","``, ``";"``, ``"\t"``.
    decimal, thousands : str
        What stands before decimals, and between groups of three digits, as in ``1.234,5``. By
        default there is nothing between them.
    date_format : str, optional
        As of `datetime.strptime`, such as ``"%d.%m.%Y"``; by default ISO 8601, ``2024-03-01``.
    missing : {"refuse", "interpolate", "previous"}
        What a cell that is empty becomes: an error, a point on the line between its neighbours, or
        what stood there before.
    encoding : str
        Of the file, such as ``"latin-1"``. A byte order mark is dropped.

    Returns
    -------
    Series

    Raises
    ------
    DataError
        For what is not as declared; the message names line and column. If pandas is not installed.
    OSError
        If the file cannot be read.
    """
    if missing not in MISSING:
        raise DataError(f"read_csv: missing is {missing!r}; expected one of {', '.join(MISSING)}")
    told = _Told(path, separator, decimal, thousands)
    cells = _cells(Path(path), separator, encoding)
    told.lines = cells.index.tolist()
    names = [str(name) for name in cells.columns]
    wanted = [n for n in names if n != time] if columns is None else list(columns)
    if columns is None:
        told.check_names(wanted)
    for name in [*wanted, *([] if time is None else [time])]:
        if name not in names:
            raise DataError(f"{path}: there is no column {name!r}; it has {', '.join(names)}")
        if names.count(name) > 1:
            raise DataError(
                f"{path}, line 1: two columns have the name {name!r}; give them different ones"
            )
    if not wanted:
        raise DataError(f"{path}: there is no column besides that of the time")
    if not len(cells):
        raise DataError(f"{path}: there is no line below the names of the columns")
    parts = [told.numbers(name, cells[name].tolist(), missing) for name in wanted]
    times = None if time is None else told.times(time, cells[time].tolist(), date_format)
    return Series(np.stack(parts, axis=1), tuple(wanted), times, str(path))


def _cells(path: Path, separator: str, encoding: str) -> Any:
    """Return all cells of a file as texts."""
    try:
        import pandas
    except ImportError:
        raise DataError(
            "read_csv needs pandas, which is not installed: pip install 'tinygrad-rnn[data]'"
        ) from None
    if not (path.is_file() or path.is_fifo()) and path.exists():  # /dev/zero has no end
        what = "a folder" if path.is_dir() else "a device"
        raise DataError(f"{path}: expected a table, found {what}")
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte {error.start} is {data[error.start]:#04x}, which is no {encoding}; declare the encoding, such as latin-1 or utf-16"
        ) from None
    except (LookupError, ValueError):
        raise DataError(f"read_csv: there is no encoding {encoding!r}") from None
    if "\0" in text:
        raise DataError(f"{path}: it holds bytes of value 0, and is no text in {encoding}")
    if not text.strip():
        raise DataError(f"{path}: it is empty")
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        found = pandas.read_csv(
            io.StringIO(lines),
            header=None,  # of fewer names than cells pandas would drop the cells
            sep=separator,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            index_col=False,
            on_bad_lines="error",
            engine="c",
        )
    except pandas.errors.ParserError as error:
        raise DataError(
            f"{path}: {str(error).strip()}; is {separator!r} what stands between the cells?"
        ) from None
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {error}") from None
    begins = _begins(path, lines, separator, found.shape[1])
    while len(found) and not any(found.iloc[-1].astype(str).str.strip()):
        found = found.iloc[:-1]  # empty lines at the end
    found.index = begins[: len(found)]
    found.columns = [name.strip() for name in found.iloc[0]]
    return found.iloc[1:]


def _begins(path: Path, lines: str, separator: str, width: int) -> list[int]:
    """Return the line at which each row of a table begins, as a cell may have several.

    Raises
    ------
    DataError
        For a row that ends too soon, of which pandas makes one with empty cells.
    """
    begins, reader = [], csv.reader(io.StringIO(lines), delimiter=separator)
    try:
        line = 1
        for row in reader:
            if len(row) < width and any(cell.strip() for cell in row):
                raise DataError(
                    f"{path}, line {line}: the number of cells is {len(row)}, and that of names in line 1 is {width}"
                )
            begins.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    return begins


class _Told:
    """What was declared of the cells of a file."""

    def __init__(self, path: Any, separator: str, decimal: str, thousands: str | None) -> None:
        for name, sign in (
            ("separator", separator),
            ("decimal", decimal),
            ("thousands", thousands),
        ):
            if sign is not None and len(sign) != 1:
                raise DataError(f"read_csv: {name} is {sign!r}; expected one character")
        if decimal == thousands:
            raise DataError(f"read_csv: decimal and thousands are both {decimal!r}")
        self.path, self.separator = path, separator
        self.decimal, self.thousands = decimal, thousands
        self.lines: list[int] = []  # where each row begins
        point, group = re.escape(decimal), re.escape(thousands or "")
        # 1.5 with points between thousands is not 15
        whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)" if thousands else r"\d+"
        self.form = re.compile(
            rf"[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?", re.ASCII
        )

    def check_names(self, names: list[str]) -> None:
        """Raise a DataError if the first line has no names, or one is missing."""
        if names and all(self.form.fullmatch(name) for name in names):
            raise DataError(
                f"{self.path}, line 1: there are numbers where the names of the columns are expected; add a line of names, or say by columns that they are the names"
            )
        if "" in names:
            raise DataError(
                f"{self.path}, line 1: column {names.index('') + 1} has no name; give it one, or say by columns which quantities there are"
            )

    def where(self, k: int, name: str) -> str:
        """Return where a cell is."""
        return f"{self.path}, line {self.lines[k]}, column {name!r}"

    def number(self, text: str) -> float:
        """Return the number of a cell; a ValueError if it is none."""
        text = text.strip()
        if self.form.fullmatch(text) is None:
            raise ValueError("no number")
        return float(text.replace(self.thousands or "", "").replace(self.decimal, "."))

    def numbers(self, name: str, cells: list[str], missing: str) -> Array:
        """Return a column of numbers."""
        found = np.full(len(cells), np.nan)
        for k, text in enumerate(cells):
            if not text.strip():
                if missing == "refuse":
                    raise DataError(
                        f"{self.where(k, name)}: the cell is empty. Say what is to stand there, by missing: interpolate or previous"
                    )
                continue
            try:
                found[k] = self.number(text)
            except ValueError:
                raise DataError(
                    f"{self.where(k, name)}: {text.strip()!r} is no number with the decimal sign {self.decimal!r}"
                    + (f" and {self.thousands!r} between thousands" if self.thousands else "")
                    + f". Declare separator (it is {self.separator!r}), decimal and thousands, or choose other columns"
                ) from None
        return self._filled(name, found, missing)

    def _filled(self, name: str, values: Array, missing: str) -> Array:
        there = np.flatnonzero(~np.isnan(values))
        if not len(there):
            raise DataError(f"{self.path}, column {name!r}: there is no number in it")
        if missing == "interpolate":
            return np.interp(np.arange(len(values)), there, values[there])
        if there[0] and missing == "previous":
            raise DataError(
                f"{self.where(0, name)}: the cell is empty, and nothing stands before it"
            )
        last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
        return np.asarray(values[last])

    def times(self, name: str, cells: list[str], form: str | None) -> Array:
        """Return a column of moments, which rise."""
        found: list[datetime] = []
        for k, text in enumerate(cells):
            try:
                moment = (
                    datetime.fromisoformat(text.strip())
                    if form is None
                    else datetime.strptime(text.strip(), form)
                )
            except ValueError:
                raise DataError(
                    f"{self.where(k, name)}: {text.strip()!r} is no date of the form {form or 'YYYY-MM-DD'}; declare it by date_format, such as %d.%m.%Y"
                ) from None
            if moment.tzinfo is not None:
                moment = moment.astimezone(UTC).replace(tzinfo=None)
            if found and moment <= found[-1]:
                raise DataError(
                    f"{self.where(k, name)}: {text.strip()} does not come after {cells[k - 1].strip()} of the line before"
                )
            found.append(moment)
        return np.array(found, "datetime64[s]")
