"""Read and write the safetensors format, without pickle.

A file is an 8-byte little-endian unsigned length ``N``, a JSON header of ``N`` bytes, and a data
buffer. The header maps each tensor name to ``{"dtype", "shape", "data_offsets": [begin, end]}``,
offsets counted from the start of the buffer, and may hold a ``"__metadata__"`` map of strings.
Data are little-endian, in C order; the tensors fill the buffer without gap or overlap.

Reading trusts nothing: a file that breaks a rule raises :class:`FormatError` before any array is
allocated for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..core.errors import TinygradError
from ..files import replacing

__all__ = ["FormatError", "read", "write"]

HEADER_LIMIT = 100_000_000
"""Longest header in bytes that is written or read; the limit of the reference implementation."""

_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_SIZE_LIMIT = 2**63 - 1
_DIMENSION_LIMIT = 32

_DTYPES: dict[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
_STORED: dict[str, str] = {**_DTYPES, "F16": "<f2", "BF16": "<u2"}


class FormatError(TinygradError, ValueError):
    """A safetensors file, or what was to be written to one, breaks a rule of the format.

    The message names the file, the tensor where there is one, what was expected and what was found.
    """


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    metadata: dict[str, str] | None = None,
) -> None:
    """Write named arrays to a safetensors file.

    `path` holds either its old content or all of the new one (see
    :func:`tinygrad_rnn.files.replacing`). Equal arguments give equal bytes: tensors are ordered by
    item size (largest first), then by name, and the header is padded with spaces so that every
    tensor is aligned.

    Parameters
    ----------
    path
        The file to create or replace.
    arrays
        Arrays of any shape by name; dtype float32, float64, int8 to int64, uint8 to uint64 or bool,
        any byte order and strides.
    metadata
        Strings by name, stored in the header.

    Raises
    ------
    FormatError
        If a name, a dtype or the metadata cannot be stored.
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    _refuse(target, arrays, metadata)
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    encoded = _header(target, {name: arrays[name] for name in order}, metadata)
    with replacing(target) as file:
        file.write(len(encoded).to_bytes(_LENGTH_BYTES, "little"))
        file.write(encoded)
        for name in order:
            array = arrays[name]
            little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
            if little.size:
                file.write(little.data.cast("B"))


def _refuse(
    target: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None
) -> None:
    """Raise a FormatError if a name, a dtype or the metadata cannot be stored."""
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise FormatError(
                f"{target}: metadata must map str to str, found {key!r}: {value!r}; convert it with str() or json.dumps()"
            )
    for name, array in arrays.items():
        if not isinstance(name, str):
            raise FormatError(
                f"{target}: tensor names must be str, found {name!r} ({type(name).__name__})"
            )
        if name == _METADATA:
            raise FormatError(
                f"{target}: a tensor cannot be named {_METADATA!r}, the format reserves it; rename it"
            )
        if not isinstance(array, np.ndarray):
            raise FormatError(
                f"{target}: tensor {name!r}: expected a numpy.ndarray, found {type(array).__name__}; use numpy.asarray"
            )
        if array.dtype.newbyteorder("<") not in _NAMES:
            raise FormatError(
                f"{target}: tensor {name!r}: expected dtype float32, float64, int8-int64, uint8-uint64 or bool, "
                f"found {array.dtype}; convert it with .astype"
            )


def _header(
    target: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None
) -> bytes:
    """Return the header of a file that holds arrays in their order, padded to 8 bytes."""
    header: dict[str, Any] = {} if metadata is None else {_METADATA: dict(metadata)}
    begin = 0
    for name, array in arrays.items():
        end = begin + array.nbytes
        dtype = _NAMES[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    try:
        encoded = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(
            f"{target}: a name or metadata string is not valid Unicode: {error}"
        ) from error
    encoded += b" " * (-len(encoded) % 8)
    if len(encoded) > HEADER_LIMIT:
        raise FormatError(
            f"{target}: the header would take {len(encoded)} bytes, the limit is {HEADER_LIMIT}; shorten the metadata"
        )
    return encoded


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read all tensors and the metadata of a safetensors file.

    Parameters
    ----------
    path
        The file to read.

    Returns
    -------
    arrays
        New, writable arrays in native byte order, by name, in the order of the header. F16 and BF16
        tensors become float32; the conversion is exact.
    metadata
        The strings under ``"__metadata__"``, or an empty dict.

    Raises
    ------
    FormatError
        If the file breaks a rule of the format or holds a dtype that has no reader.
    OSError
        If the file cannot be opened or read.
    """
    source = Path(path)
    with open(source, "rb") as file:
        file_size = os.fstat(file.fileno()).st_size
        prefix = file.read(_LENGTH_BYTES)
        if len(prefix) < _LENGTH_BYTES:
            raise FormatError(
                f"{source}: expected an {_LENGTH_BYTES}-byte header length, found {len(prefix)} bytes"
            )
        length = int.from_bytes(prefix, "little")
        if length > HEADER_LIMIT:
            raise FormatError(
                f"{source}: header length {length} exceeds the limit of {HEADER_LIMIT} bytes; "
                "this is not a safetensors file or it is damaged"
            )
        if length > file_size - _LENGTH_BYTES:
            raise FormatError(
                f"{source}: header length is {length} bytes, but only {file_size - _LENGTH_BYTES} follow; "
                "the file is truncated or not a safetensors file"
            )
        header = _parse_header(source, file.read(length))
        metadata = _check_metadata(source, header.pop(_METADATA, {}))
        entries = {name: _check_entry(source, name, entry) for name, entry in header.items()}
        _check_layout(source, entries, file_size - _LENGTH_BYTES - length)

        arrays: dict[str, np.ndarray] = {}
        for name, (dtype, shape, begin, end) in entries.items():
            file.seek(_LENGTH_BYTES + length + begin)
            arrays[name] = _read_array(
                source, name, file.read(end - begin), dtype, shape, end - begin
            )
    return arrays, metadata


_Entry = tuple[str, tuple[int, ...], int, int]  # dtype, shape, and both offsets


def _parse_header(source: Path, encoded: bytes) -> dict[str, Any]:
    """Return the JSON object of a header, or raise a FormatError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise FormatError(f"{source}: the header holds the key {key!r} twice")
            result[key] = value
        return result

    def constant(text: str) -> NoReturn:
        raise FormatError(f"{source}: the header is not valid JSON: it holds {text}")

    if not encoded.startswith(b"{"):
        raise FormatError(f"{source}: expected a header starting with '{{', found {encoded[:16]!r}")
    try:
        header = json.loads(
            encoded.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant
        )
    except FormatError:
        raise
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: the header is not UTF-8: {error}") from error
    except RecursionError as error:
        raise FormatError(f"{source}: the header is nested too deeply") from error
    except ValueError as error:
        raise FormatError(f"{source}: the header is not valid JSON: {error}") from error
    assert isinstance(header, dict)  # It starts with '{' and parsed.
    return header


def _check_metadata(source: Path, metadata: object) -> dict[str, str]:
    """Return the metadata of a header, or raise a FormatError if they are no strings."""
    if not isinstance(metadata, dict):
        raise FormatError(
            f"{source}: {_METADATA}: expected an object of strings, found {_shown(metadata)}"
        )
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise FormatError(
                f"{source}: {_METADATA}: expected a string under {key!r}, found {_shown(value)}"
            )
    return metadata


def _check_entry(source: Path, name: str, entry: object) -> _Entry:
    """Return what a header says of one tensor, or raise a FormatError if that cannot be."""
    where = f"{source}: tensor {name!r}"
    if not isinstance(entry, dict):
        raise FormatError(f"{where}: expected an object, found {_shown(entry)}")
    missing = [key for key in ("dtype", "shape", "data_offsets") if key not in entry]
    if missing:
        raise FormatError(
            f"{where}: expected the keys dtype, shape and data_offsets, {', '.join(missing)} not found"
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _STORED:
        raise FormatError(
            f"{where}: expected a dtype among {', '.join(_STORED)}, found {_shown(dtype)}"
        )
    if not isinstance(shape, list) or not all(_is_size(n) for n in shape):
        raise FormatError(
            f"{where}: expected a shape of integers from 0 to 2**63 - 1, found {_shown(shape)}"
        )
    if len(shape) > _DIMENSION_LIMIT:
        raise FormatError(
            f"{where}: expected at most {_DIMENSION_LIMIT} dimensions, found {len(shape)}"
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(n) for n in offsets):
        raise FormatError(
            f"{where}: expected data_offsets of two integers from 0 to 2**63 - 1, found {_shown(offsets)}"
        )
    begin, end = offsets
    if begin > end:
        raise FormatError(
            f"{where}: expected data_offsets in increasing order, found [{begin}, {end}]"
        )
    itemsize = np.dtype(_STORED[dtype]).itemsize
    span = itemsize
    for n in shape:
        # The extent without its zeros: NumPy cannot hold (2**40, 2**40, 0) either.
        span *= max(n, 1)
        if span > _SIZE_LIMIT:
            raise FormatError(f"{where}: shape {_shown(shape)} of {dtype} overflows a 64-bit size")
    expected = 0 if 0 in shape else span
    if end - begin != expected:
        raise FormatError(
            f"{where}: shape {_shown(shape)} of {dtype} takes {expected} bytes, data_offsets [{begin}, {end}] span {end - begin}"
        )
    return dtype, tuple(shape), begin, end


def _check_layout(source: Path, entries: dict[str, _Entry], buffer_size: int) -> None:
    """Raise a FormatError unless the tensors fill the data without gap or overlap."""
    position = 0
    previous = ""
    for name, (_, _, begin, end) in sorted(
        entries.items(), key=lambda item: (item[1][2], item[1][3])
    ):
        if end > buffer_size:
            raise FormatError(
                f"{source}: tensor {name!r}: data_offsets [{begin}, {end}] reach past the {buffer_size} bytes of data; "
                "the file is truncated"
            )
        if begin < position:
            raise FormatError(
                f"{source}: tensor {name!r}: begins at byte {begin}, inside tensor {previous!r}, which ends at byte {position}"
            )
        if begin > position:
            raise FormatError(
                f"{source}: tensor {name!r}: begins at byte {begin}, leaving a hole after byte {position}; the tensors must fill the buffer"
            )
        position, previous = end, name
    if position != buffer_size:
        raise FormatError(
            f"{source}: the tensors end at byte {position} of the data, which has {buffer_size} bytes"
        )


def _read_array(
    source: Path, name: str, data: bytes, dtype: str, shape: tuple[int, ...], size: int
) -> np.ndarray:
    """Return the array of some bytes, or raise a FormatError if there are too few of them."""
    if len(data) != size:
        raise FormatError(
            f"{source}: tensor {name!r}: expected {size} bytes of data, found {len(data)}"
        )
    stored = np.frombuffer(data, dtype=_STORED[dtype])
    if dtype == "BF16":
        flat = (stored.astype(np.uint32) << 16).view(np.float32)
    elif dtype == "F16":
        flat = stored.astype(np.float32)
    elif dtype == "BOOL":
        raw = np.frombuffer(data, dtype=np.uint8)
        if np.any(raw > 1):
            raise FormatError(
                f"{source}: tensor {name!r}: expected BOOL bytes of 0 or 1, found {int(raw.max())}"
            )
        flat = stored.astype(np.bool_)
    else:
        # astype copies: the result is writable.
        flat = stored.astype(stored.dtype.newbyteorder("="))
    return flat.reshape(shape)


def _is_size(value: object) -> bool:
    """Whether a value of a header may be a size or an offset."""
    return type(value) is int and 0 <= value <= _SIZE_LIMIT


def _shown(value: object) -> str:
    """Return a value of a header as it stands in messages."""
    try:
        text = json.dumps(value)
    except ValueError:  # An integer too long for str().
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
