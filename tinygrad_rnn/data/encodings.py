"""Text files in pieces: what they say in the declared encoding, and where and why they are no such text."""

from __future__ import annotations

import codecs
import io
import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import DataError

__all__ = ["codec_of", "pieces_of"]

_MARKS = (  # the longer first: that of UTF-32-LE begins with that of UTF-16-LE
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = {
    "cp1252": "Windows-1252 (Western European, with curved quotation marks)",
    "latin-1": "Latin-1 or Windows-1252 (Western European)",
}
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"  # the byte order mark, as a character
_PIECE = 1 << 20  # bytes that are read together
_AROUND = 1 << 19  # bytes before and behind a fault by which the encoding is judged
_ENOUGH = 1000  # places by which an encoding is judged


def codec_of(encoding: str) -> codecs.CodecInfo:
    """Return the codec of a declared encoding, or raise a DataError if there is none."""
    try:
        found = codecs.lookup(encoding)
    except (LookupError, TypeError, ValueError):
        found = None
    if found is None or not found._is_text_encoding or found.incrementaldecoder is None:
        raise DataError(f"there is no encoding {encoding!r}; utf-8, latin-1 and utf-16 are some")
    return found


def pieces_of(path: str | os.PathLike[str], encoding: str | None) -> Callable[[], Iterator[Any]]:
    r"""Return a function that reads a text file from its beginning, in pieces.

    A byte order mark is dropped, and line ends become ``"\n"``.

    Parameters
    ----------
    path
        The file.
    encoding
        What it is in; None for its bytes as they are.

    Raises
    ------
    DataError
        For an encoding that is unknown. While it is read: if the file is missing, a folder, a pipe,
        a device, or unreadable; if it is not as declared, by offset, line and column, with what it
        seems to be; or if it is not what it was when it was read before.
    """
    source = Path(path)
    codec = None if encoding is None else codec_of(encoding)
    seen: list[tuple[int, int]] = []

    def pieces() -> Iterator[Any]:
        with _opened(source) as file:
            seen.append(_state(file))
            read = _blocks(file, source)
            yield from read if codec is None else _decoded(read, source, codec)
            seen.append(_state(file))
        if len(set(seen)) > 1:
            raise DataError(f"{source}: the file was changed while it was read; try again")

    return pieces


def _state(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _opened(source: Path) -> BinaryIO:
    """Open a file that can be read again and again."""
    try:
        kind = source.stat().st_mode
        for what, is_one in (
            ("a folder", stat.S_ISDIR),
            ("a device", lambda m: stat.S_ISCHR(m) or stat.S_ISBLK(m)),  # /dev/zero has no end
            ("a pipe, which can be read once: write it into a file first", stat.S_ISFIFO),
            ("a socket", stat.S_ISSOCK),
        ):
            if is_one(kind):
                raise DataError(f"{source}: expected a text file, found {what}")
        return open(source, "rb")
    except FileNotFoundError as error:
        raise DataError(f"{source}: expected a text file, no such file found") from error
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
    except DataError:
        raise
    except ValueError as error:  # a name that no file can have
        raise DataError(f"{str(source)!r}: cannot be read: {error}") from error


def _blocks(file: BinaryIO, source: Path) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    while True:
        try:
            block = file.read(_PIECE)
        except OSError as error:
            raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
        if not block:
            return
        yield block


def _decoded(blocks: Iterator[bytes], source: Path, codec: codecs.CodecInfo) -> Iterator[str]:
    """Yield the text of a file."""
    decoder = _decoder(codec, "strict")
    done, first = 0, True
    for block in _and_end(blocks):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            begin = done + len(block) - len(getattr(error, "object", block))
            raise _fault(source, codec, begin + getattr(error, "start", 0), str(error)) from None
        if "\0" in text:
            raise _zero(source, codec, done + block.find(b"\0"))
        done += len(block)
        if first and text:
            text, first = text.removeprefix(_MARK), False
        if text:
            yield text


def _decoder(codec: codecs.CodecInfo, errors: str) -> io.IncrementalNewlineDecoder:
    made: Any = codec.incrementaldecoder
    return io.IncrementalNewlineDecoder(made(errors), translate=True)


def _and_end(blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield from blocks
    yield b""


# --- faults ---------------------------------------------------------------------------------------


def _fault(source: Path, codec: codecs.CodecInfo, offset: int, why: str) -> DataError:
    """Return the error for a file that is not in its encoding; `offset` is where that is found."""
    if codec.name == "utf-8":
        return _no_utf8(source, codec, offset)
    with open(source, "rb") as file:
        file.seek(offset)
        found = " ".join(f"0x{byte:02x}" for byte in file.read(1)) or "missing"
    return DataError(
        f"{source}, {_place(source, codec, offset)}: byte {offset} is {found}, which cannot stand there in {codec.name} "
        f"({why.rpartition(': ')[2]}). Declare the encoding that the file is in"
    )


def _zero(source: Path, codec: codecs.CodecInfo, offset: int) -> DataError:
    """Return the error for a file with a character of value 0; `offset` is a byte of that value."""
    if codec.name == "utf-8":
        return _no_utf8(source, codec, offset)
    return DataError(
        f"{source}, {_place(source, codec, None)}: a character of value 0, so this is no text in {codec.name}"
    )


def _no_utf8(source: Path, codec: codecs.CodecInfo, offset: int) -> DataError:
    """Return the error for a file that is no UTF-8 text, as the bytes around a fault show."""
    begin = max(0, offset - _AROUND)
    with open(source, "rb") as file:
        file.seek(begin)
        data = file.read(2 * _AROUND)
        ends = not file.read(1)
    found = why_not_utf8(data, lambda at: _place(source, codec, at), begin=begin, ends=ends)
    return DataError(f"{source}: expected a UTF-8 text, found {found}")


def _place(source: Path, codec: codecs.CodecInfo, offset: int | None) -> str:
    """Return line and column of a byte, or of the first character of value 0; a column is a character."""
    decoder = _decoder(codec, "replace")
    line = column = 1
    first, left = True, math.inf if offset is None else offset
    with open(source, "rb") as file:
        while block := file.read(int(min(left, _PIECE))):
            left -= len(block)
            text, zero, _ = decoder.decode(block).partition("\0")
            if first:
                text, first = text.removeprefix(_MARK), False
            before, cut, rest = text.rpartition("\n")
            line += before.count("\n") + len(cut)
            column = len(rest) + (1 if cut else column)
            if zero:
                break
    return f"line {line}, column {column}"


def why_not_utf8(
    data: bytes, where: Callable[[int], str], *, begin: int = 0, ends: bool = True
) -> str:
    """Return why bytes are no UTF-8 text, with the way out if it can be known.

    The result is empty if they are such a text.

    Text in another encoding is told by its byte order mark, or by where its zero bytes are. Of
    single bytes above 127 those from 0x80 to 0x9f are quotation marks and dashes in Windows-1252
    and control characters in Latin-1, so they tell the two apart. Where most of such bytes do form
    UTF-8 characters, the file is UTF-8 with damage, and another encoding would spoil the rest.

    Parameters
    ----------
    data
        The bytes of a file around the first fault.
    where
        Gives the line and the column of a place in the file.
    begin
        Where they begin in the file.
    ends
        Whether the file ends with them.
    """
    for mark, name in _MARKS:
        if not begin and data.startswith(mark):
            return (
                f"{name.upper()} (a byte order mark {mark.hex(' ')}); declare the encoding {name}"
            )
    if b"\0" in data:
        return _with_zeros(data, where, begin)
    wrong, seen = _not_utf8(data, begin > 0, ends)
    if not wrong:
        return ""
    at = begin + wrong[0]
    place = f"byte 0x{data[wrong[0]]:02x} at offset {at} ({where(at)})"
    high = [byte for byte in data[:seen] if byte >= 0x80]
    # How many characters of several bytes there are.
    whole = sum(byte >= 0xC2 for byte in high) - sum(data[place] >= 0xC2 for place in wrong)
    rest = data[wrong[0] + 1 :][:4]
    if (
        ends
        and 0xC2 <= data[wrong[0]] < 0xF5
        and len(rest) < 3
        and (whole or rest)
        and all(0x80 <= byte < 0xC0 for byte in rest)
    ):
        return f"the beginning of a character at its end, {place}: the file was cut; leave that out with iconv -c -f UTF-8 -t UTF-8"
    if whole > len(wrong):
        return f"UTF-8 that is damaged in {_count(wrong)}, the first {place}; mend it there, or leave such bytes out with iconv -c -f UTF-8 -t UTF-8"
    # There are too many such bytes for a Western text, or some that it never has.
    if len(high) > 0.3 * seen or {0x81, 0x8D, 0x8F, 0x90, 0x9D} & {*high}:
        return f"{place}, in another encoding; declare it, such as cp1251 or shift_jis"
    name = "cp1252" if min(high) < 0xA0 else "latin-1"
    return f"{place}, as in {_WESTERN[name]}; if it is that, declare the encoding {name}"


def _with_zeros(data: bytes, where: Callable[[int], str], begin: int) -> str:
    """Return what bytes are among which some are 0."""
    place = begin + data.index(b"\0")
    sides = [data[(side + begin) % 2 :: 2].count(0) / max(len(data) // 2, 1) for side in (0, 1)]
    for name, own, other in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        if sides[own] > 0.02 and sides[own] > 8 * sides[other]:
            return f"bytes of value 0, as in {name.upper()} without a byte order mark; declare the encoding {name}"
    return f"a byte of value 0 at offset {place} ({where(place)}): this is no text, or in an encoding such as UTF-16 or UTF-32"


def _not_utf8(data: bytes, begun: bool = False, ends: bool = True) -> tuple[list[int], int]:
    """Find bytes that belong to no UTF-8 character.

    Parameters
    ----------
    data
        The bytes.
    begun, ends
        Whether they begin in the middle of a text, and whether the text ends with them. A character
        that is cut there is no fault.

    Returns
    -------
    list of int
        Where they are: at most `_ENOUGH` places.
    int
        How many bytes were looked at.
    """
    wrong: list[int] = []
    start = 0
    while begun and start < min(3, len(data)) and 0x80 <= data[start] < 0xC0:
        start += 1
    while start < len(data) and len(wrong) < _ENOUGH:
        try:
            data[start:].decode("utf-8")
            start = len(data)
        except UnicodeDecodeError as error:
            start += error.start
            if "end of data" in error.reason and not ends:
                break
            wrong.append(start)
            start += error.end - error.start
    return wrong, start


def _count(places: list[int]) -> str:
    """Return how many places there are, in words."""
    if len(places) == 1:
        return "one place"
    return f"{len(places)} places" if len(places) < _ENOUGH else "many places"
