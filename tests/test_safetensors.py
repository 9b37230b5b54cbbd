"""The safetensors reader and writer, against bytes made by hand, random arrays and the reference package."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.formats import safetensors
from tinygrad_rnn.formats.safetensors import FormatError

DTYPES = ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


def random_arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Make up to six arrays of random dtype, shape, byte order and strides.

    Some have no elements.
    """
    arrays = {}
    for i in range(rng.integers(0, 7)):
        shape = tuple(int(n) for n in rng.integers(0, 4, size=rng.integers(0, 4)))
        dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
        raw = rng.integers(0, 256, size=(*shape, dtype.itemsize), dtype=np.uint8)
        if dtype.kind == "b":
            raw &= 1
        array = raw.view(dtype)[..., 0]
        if rng.random() < 0.3:
            array = array.astype(dtype.newbyteorder(">"))
        if rng.random() < 0.3:
            array = np.asfortranarray(array)
        if array.ndim and rng.random() < 0.3:
            array = array[::-1]
        arrays[f'layer.{i} \N{GREEK SMALL LETTER ALPHA}"\\'] = array
    return arrays


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Compare names, dtypes, shapes and bits (NaN payloads too)."""
    assert set(found) == set(expected)
    for name, array in expected.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert found[name].dtype == native.dtype
        assert found[name].shape == native.shape
        assert found[name].tobytes() == native.tobytes()


def raw_file(path: Path, header: object, data: bytes = b"") -> Path:
    """Write a file from a header (bytes as they are, other values as JSON) and data."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
    return path


def entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, Any]:
    """Make one tensor's header entry."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "m.safetensors"
    for _ in range(80):
        arrays = random_arrays(rng)
        metadata = {f"k{i}": "\N{SNOWMAN}\n" * i for i in range(rng.integers(0, 3))}
        safetensors.write(path, arrays, metadata)
        found, found_metadata = safetensors.read(path)
        assert_same(found, arrays)
        assert found_metadata == metadata
        assert all(array.flags.writeable and array.flags.aligned for array in found.values())
        assert os.listdir(tmp_path) == ["m.safetensors"]


def test_bytes_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    safetensors.write(
        path, {"b": np.array([True]), "a": np.array([[1.0, -2.0]], dtype=">f4")}, {"x": "y"}
    )
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length]) == {
        "__metadata__": {"x": "y"},
        "a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
        "b": {"dtype": "BOOL", "shape": [1], "data_offsets": [8, 9]},
    }
    assert data[8 + length :] == struct.pack("<ff?", 1.0, -2.0, True)


def test_bytes_do_not_depend_on_order(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(3),
        "b": np.ones(2, np.float32),
        "c": np.array([True]),
    }
    safetensors.write(tmp_path / "1", arrays)
    safetensors.write(tmp_path / "2", dict(reversed(arrays.items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    every = np.arange(2**16, dtype=np.uint16)
    header = {"h": entry("F16", [2**16], [0, 2**17]), "b": entry("BF16", [2**16], [2**17, 2**18])}
    path = raw_file(tmp_path / "m", header, every.astype("<u2").tobytes() * 2)
    arrays, _ = safetensors.read(path)
    assert arrays["h"].dtype == arrays["b"].dtype == np.float32
    np.testing.assert_array_equal(arrays["h"], every.view(np.float16).astype(np.float64))
    sign, exponent, fraction = every >> 15, (every >> 7 & 255).astype(int), (every & 127) / 128
    with np.errstate(over="ignore"):
        value = np.where(
            exponent > 0, (1 + fraction) * 2.0 ** (exponent - 127), fraction * 2.0**-126
        )
    value = np.where(exponent == 255, np.where(fraction == 0, np.inf, np.nan), value) * np.where(
        sign, -1.0, 1.0
    )
    np.testing.assert_array_equal(arrays["b"], value)


GOOD = entry()
BAD_FILES: list[tuple[object, bytes, str]] = [
    (b"", b"", "starting with '{'"),
    (b"[]", b"", "starting with '{'"),
    (b' {"a": 1}', b"", "starting with '{'"),
    (b'{"a": ', b"", "not valid JSON"),
    (b"{} {}", b"", "not valid JSON"),
    (b'{"a": NaN}', b"", "NaN"),
    (b'{"a": ' + b"[" * 100_000, b"", "nested too deeply|not valid JSON"),
    (b'{"a": ' + b"9" * 10_000 + b"}", b"", "JSON"),
    (b'{"\xff": 1}', b"", "not UTF-8"),
    (
        b'{"a": {"dtype": "U8", "shape": [], "data_offsets": [0, 1], "dtype": "I8"}}',
        b"0",
        "'dtype' twice",
    ),
    (b'{"a": {}, "a": {}}', b"", "'a' twice"),
    ({"__metadata__": {"k": 1}}, b"", "expected a string under 'k', found 1"),
    ({"__metadata__": ["k"]}, b"", "expected an object of strings"),
    ({"a": 3}, b"", "tensor 'a': expected an object, found 3"),
    ({"a": {"dtype": "F32", "shape": [1]}}, b"0000", "data_offsets not found"),
    ({"a": entry(dtype="C64")}, b"0000", "tensor 'a': expected a dtype among .* found \"C64\""),
    ({"a": entry(dtype=["F32"])}, b"0000", "expected a dtype"),
    ({"a": entry(shape=1)}, b"0000", "expected a shape"),
    ({"a": entry(shape=[-1])}, b"0000", r"expected a shape .* found \[-1\]"),
    ({"a": entry(shape=[1.0])}, b"0000", "expected a shape"),
    ({"a": entry(shape=[True])}, b"0000", "expected a shape"),
    ({"a": entry(shape=[2**63])}, b"0000", "expected a shape"),
    ({"a": entry(shape=[1] * 40)}, b"0000", "at most 32 dimensions, found 40"),
    ({"a": entry(shape=[2**62, 2**62])}, b"0000", "overflows"),
    ({"a": entry(shape=[2**40, 2**40, 0], offsets=[0, 0])}, b"", "overflows"),
    ({"a": entry(shape=[0, 2**40, 2**40], offsets=[0, 0])}, b"", "overflows"),
    ({"a": entry(shape=[2**32, 2**32], offsets=[0, 0])}, b"", "overflows"),
    ({"a": entry(offsets=[0, 4, 8])}, b"0000", "expected data_offsets"),
    ({"a": entry(offsets=[0, 4.0])}, b"0000", "expected data_offsets"),
    ({"a": entry(offsets=[-4, 0])}, b"0000", "expected data_offsets"),
    ({"a": entry(offsets=[4, 0])}, b"0000", "increasing order"),
    ({"a": entry(offsets=[0, 3])}, b"000", r"takes 4 bytes, data_offsets \[0, 3\] span 3"),
    ({"a": entry(shape=[0], offsets=[0, 4])}, b"0000", "takes 0 bytes"),
    ({"a": GOOD}, b"000", r"reach past the 3 bytes"),
    ({"a": GOOD}, b"00000", "end at byte 4 of the data, which has 5"),
    ({}, b"0", "end at byte 0"),
    ({"a": GOOD, "b": GOOD}, b"0000", "inside tensor 'a'"),
    (
        {"a": GOOD, "b": entry(offsets=[2, 6])},
        b"000000",
        "'b': begins at byte 2, inside tensor 'a', .* byte 4",
    ),
    (
        {"a": entry(shape=[2], offsets=[0, 8]), "b": entry(shape=[0], offsets=[4, 4])},
        b"0" * 8,
        "inside tensor",
    ),
    ({"a": entry(offsets=[4, 8])}, b"0" * 8, "hole after byte 0"),
    (
        {"a": GOOD, "b": entry(offsets=[8, 12])},
        b"0" * 12,
        "'b': begins at byte 8, leaving a hole after byte 4",
    ),
    ({"a": entry("BOOL", [2], [0, 2])}, b"\x00\x02", "BOOL bytes of 0 or 1, found 2"),
]


@pytest.mark.parametrize(("header", "data", "message"), BAD_FILES)
def test_broken_files(tmp_path: Path, header: object, data: bytes, message: str) -> None:
    path = raw_file(tmp_path / "broken", header, data)
    with pytest.raises(FormatError, match=message) as caught:
        safetensors.read(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < len(str(path)) + 400


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found 0 bytes"),
        (b"1234567", "found 7 bytes"),
        (struct.pack("<Q", 3) + b"{}", "only 2 follow"),
        (struct.pack("<Q", 2**63 + 1) + b"{}", "exceeds the limit"),
        (struct.pack("<Q", 100_000_001) + b"{}", "exceeds the limit"),
    ],
)
def test_broken_lengths(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "broken"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message):
        safetensors.read(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m"
    safetensors.write(path, {"a": np.arange(5.0), "b": np.array([True, False])}, {"k": "v"})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError):
            safetensors.read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(FormatError):
        safetensors.read(path)


def test_random_damage_raises_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    path = tmp_path / "m"
    safetensors.write(
        path, {"weight": np.arange(6.0).reshape(2, 3), "step": np.array(3)}, {"k": "v"}
    )
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    refused = 0
    for _ in range(500):
        damaged = whole.copy()
        place = rng.integers(0, len(whole) - 56, size=rng.integers(1, 4))
        damaged[place] = rng.integers(0, 256, size=len(place))
        path.write_bytes(damaged.tobytes())
        try:
            safetensors.read(path)
        except FormatError:
            refused += 1
    assert 350 < refused < 500


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        safetensors.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("arrays", "metadata", "message"),
    [
        ({"a": np.ones(1, np.float16)}, None, "tensor 'a': expected dtype float32.* found float16"),
        ({"a": np.ones(1, complex)}, None, "found complex128"),
        ({"a": np.array([None])}, None, "found object"),
        ({"a": np.array(["x"])}, None, "expected dtype"),
        ({"a": [1.0]}, None, "expected a numpy.ndarray, found list"),
        ({1: np.ones(1)}, None, "names must be str"),
        ({"__metadata__": np.ones(1)}, None, "reserves"),
        ({"\ud800": np.ones(1)}, None, "not valid Unicode"),
        ({}, {"k": 1}, "metadata must map str to str, found 'k': 1"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, arrays: Any, metadata: Any, message: str) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"before")
    with pytest.raises(FormatError, match=message):
        safetensors.write(path, arrays, metadata)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["m"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    safetensors.write(path, {"a": np.arange(3)})
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        safetensors.write(path, {"a": np.arange(4)})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


def test_against_the_reference_package(tmp_path: Path) -> None:
    reference = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(3)
    path = tmp_path / "m"
    for _ in range(40):
        arrays = random_arrays(rng)
        safetensors.write(path, arrays, {"k": "v"})
        assert_same(reference.load_file(path), arrays)
        ours = path.read_bytes()
        plain = {
            name: np.ascontiguousarray(a.astype(a.dtype.newbyteorder("="))).reshape(a.shape)
            for name, a in arrays.items()
        }
        reference.save_file(plain, path, metadata={"k": "v"})
        found, metadata = safetensors.read(path)
        assert_same(found, arrays)
        assert metadata == {"k": "v"}
        assert len(ours) == len(path.read_bytes())
