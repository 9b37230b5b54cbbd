"""Why bytes are no UTF-8 text, and the command that mends it."""

from __future__ import annotations

import codecs

_MARKS = (  # the longer first: that of UTF-32-LE begins with that of UTF-16-LE
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_WESTERN = {
    "CP1252": "Windows-1252 (Western European, with curved quotation marks)",
    "LATIN1": "Latin-1 or Windows-1252 (Western European)",
}
_PIECE = 1 << 20  # bytes that are looked at together
_ENOUGH = 1000  # places by which an encoding is judged


def why_not_utf8(data: bytes) -> str:
    """Return why bytes are no UTF-8 text, with the command that mends it if it can be known.

    The result is empty if they are such a text.

    Text in another encoding is told by its byte order mark, or by where its zero bytes are. Of
    single bytes above 127 those from 0x80 to 0x9f are quotation marks and dashes in Windows-1252
    and control characters in Latin-1, so they tell the two apart. Where most of such bytes do form
    UTF-8 characters, the file is UTF-8 with damage, and converting it would spoil the rest.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return f"{name} (a byte order mark {mark.hex(' ')}); convert it with {_iconv(name)}"
    if b"\0" in data:
        return _with_zeros(data)
    wrong, seen = _not_utf8(data)
    if not wrong:
        return ""
    where = f"byte 0x{data[wrong[0]]:02x} at offset {wrong[0]} ({_line(data, wrong[0])})"
    high = [byte for byte in data[:seen] if byte >= 0x80]
    # How many characters of several bytes there are.
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
        return f"UTF-8 that is damaged in {_count(wrong)}, the first {where}; mend it there, or leave such bytes out with iconv -c -f UTF-8 -t UTF-8"
    # There are too many such bytes for a Western text, or some that it never has.
    if len(high) > 0.3 * seen or {0x81, 0x8D, 0x8F, 0x90, 0x9D} & {*high}:
        return f"{where}, in another encoding; convert it with {_iconv('ENCODING')}, where ENCODING is its name, such as CP1251 or SHIFT_JIS"
    name = "CP1252" if min(high) < 0xA0 else "LATIN1"
    return f"{where}, as in {_WESTERN[name]}; if it is that, convert it with {_iconv(name)}"


def _with_zeros(data: bytes) -> str:
    """Return what bytes are among which some are 0."""
    place = data.index(b"\0")
    sides = [data[side::2].count(0) / max(len(data) // 2, 1) for side in (0, 1)]
    for name, own, other in (("UTF-16LE", 1, 0), ("UTF-16BE", 0, 1)):
        if sides[own] > 0.02 and sides[own] > 8 * sides[other]:
            return f"bytes of value 0, as in {name} without a byte order mark; convert it with {_iconv(name)}"
    return f"a byte of value 0 at offset {place} ({_line(data, place)}): this is no text, or in an encoding such as UTF-16 or UTF-32"


def _not_utf8(data: bytes) -> tuple[list[int], int]:
    """Find bytes that belong to no UTF-8 character.

    Returns
    -------
    list of int
        Where they are: at most `_ENOUGH` places.
    int
        How many bytes were looked at.
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


def _count(places: list[int]) -> str:
    """Return how many places there are, in words."""
    if len(places) == 1:
        return "one place"
    return f"{len(places)} places" if len(places) < _ENOUGH else "many places"


def _iconv(encoding: str) -> str:
    """Return the command that converts a text from an encoding."""
    return f"iconv -f {encoding} -t UTF-8"


def _line(data: bytes, place: int) -> str:
    """Return the line of a place, in words."""
    return f"line {data.count(bytes([10]), 0, place) + 1}"
