"""The register tiles.

Products, transposes and gradients of matrices against NumPy, and that they write nowhere else.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.kernels import products
from tinygrad_rnn.kernels.runtime import available

pytestmark = pytest.mark.skipif(not available(), reason="numba cannot be used here")

DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
GUARD = 40  # numbers before and after a result, which must stay


def close(found: Any, expected: Any, dtype: np.dtype[Any]) -> None:
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


class Guarded:
    """An array in the middle of other numbers."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.whole = np.full(values.size + 2 * GUARD, 7.25, values.dtype)
        self.array = self.whole[GUARD:-GUARD].reshape(values.shape)
        self.array[...] = values
        self.address = self.array.ctypes.data

    def check(self) -> None:
        assert (self.whole[:GUARD] == 7.25).all() and (self.whole[-GUARD:] == 7.25).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_product_with_a_packed_matrix(dtype: Any) -> None:
    library, rng = products.library(dtype), np.random.default_rng(0)
    sizes = [(1, 1), (5, 3), (6, 6), (7, 9), (24, 16), (33, 5), (64, 1), (65, 40), (130, 33)]
    for N, K in sizes:
        for batch in (1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 32, 33, 48, 64, 65, 130):
            matrix, values, bias = (
                rng.normal(size=s).astype(dtype) for s in ((N, K), (K, batch), N)
            )
            packed = Guarded(np.zeros((N + 16) * K, dtype))
            for given, row, column in ((matrix, K, 1), (np.ascontiguousarray(matrix.T), 1, N)):
                library.pack.ctypes(given.ctypes.data, N, K, row, column, batch, packed.address)
                for add in (0, 1):
                    for begin in (0, bias.ctypes.data):
                        before = rng.normal(size=(N, batch)).astype(dtype)
                        out = Guarded(before)
                        library.multiply.ctypes(
                            packed.address, values.ctypes.data, out.address, K, N, batch, begin, add
                        )
                        expected = (
                            matrix.astype(float) @ values
                            + (bias[:, None] if begin else 0)
                            + (before if add else 0)
                        )
                        close(out.array, expected, dtype)
                        out.check()
            packed.check()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_transpose_with_strides(dtype: Any) -> None:
    library, rng = products.library(dtype), np.random.default_rng(1)
    for T, rows, columns in (
        (1, 1, 1),
        (3, 1, 20),
        (2, 20, 1),
        (3, 8, 8),
        (2, 16, 16),
        (4, 17, 33),
        (2, 40, 7),
    ):
        for first, end in ((0, 0), (2, 3)):  # a part of more rows
            source = rng.normal(size=(T, first + rows + end, columns)).astype(dtype)
            out = Guarded(np.zeros((T, columns, rows), dtype))
            start = source.ctypes.data + first * columns * dtype.itemsize
            library.transpose.ctypes(
                start, out.address, T, rows, columns, source[0].size, columns, columns * rows, rows
            )
            assert (out.array == source[:, first : first + rows].swapaxes(1, 2)).all()
            out.check()
        backwards = Guarded(np.zeros((T, columns, rows), dtype))
        last = backwards.address + (T - 1) * rows * columns * dtype.itemsize
        source = rng.normal(size=(T, rows, columns)).astype(dtype)
        library.transpose.ctypes(
            source.ctypes.data,
            last,
            T,
            rows,
            columns,
            rows * columns,
            columns,
            -rows * columns,
            rows,
        )
        assert (backwards.array == source[::-1].swapaxes(1, 2)).all()
        backwards.check()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("way", [1, -1])
def test_gradient_of_a_matrix(dtype: Any, turned: int, way: int) -> None:
    library, rng = products.library(dtype), np.random.default_rng(2)
    for T, M, N, batch in (
        (1, 1, 1, 1),
        (3, 5, 7, 1),
        (40, 13, 17, 5),
        (9, 6, 64, 16),
        (100, 12, 100, 33),
        (2, 7, 3, 700),
        (3, 600, 9, 2),
    ):
        left = rng.normal(size=(T, M, batch)).astype(dtype)
        right = rng.normal(size=(T, batch, N) if turned else (T, N, batch)).astype(dtype)
        out, sums = (
            Guarded(np.full((M, N), np.nan, dtype)),
            Guarded(np.full((M, batch), np.nan, dtype)),
        )
        scratch = Guarded(np.zeros((512 + batch) * N, dtype))
        step = right[0].size
        begin = right.ctypes.data + (0 if way == 1 else (T - 1) * step * dtype.itemsize)
        # the last time it is added to what stands there
        for total, add in ((0, 0), (sums.address, 0), (sums.address, 1)):
            library.gradient.ctypes(
                *(
                    left.ctypes.data,
                    M * batch,
                    begin,
                    way * step,
                    turned,
                    out.address,
                    total,
                    scratch.address,
                    T,
                    M,
                    N,
                    batch,
                    add,
                )
            )
            ordered = right[::way].astype(float)
            expected = np.einsum(
                "tmb,tbn->mn" if turned else "tmb,tnb->mn", left.astype(float), ordered
            )
            tolerance = 1e-4 * max(1.0, np.abs(expected).max()) if dtype == np.float32 else 1e-11
            np.testing.assert_allclose(out.array, (1 + add) * expected, rtol=0, atol=2 * tolerance)
        close(sums.array, 2 * left.astype(float).sum(axis=0), dtype)
        for guarded in (out, sums, scratch):
            guarded.check()


def test_a_right_side_that_stands_still() -> None:
    """A step of 0: the same matrix at each step."""
    dtype = np.dtype(np.float64)
    library, rng = products.library(dtype), np.random.default_rng(3)
    left, right = rng.normal(size=(4, 3, 5)), rng.normal(size=(2, 5))
    out, scratch = np.zeros((3, 2)), np.zeros((512 + 5) * 2)
    library.gradient.ctypes(
        left.ctypes.data,
        15,
        right.ctypes.data,
        0,
        0,
        out.ctypes.data,
        0,
        scratch.ctypes.data,
        4,
        3,
        2,
        5,
        0,
    )
    np.testing.assert_allclose(out, np.einsum("tmb,nb->mn", left, right), rtol=1e-12)


@pytest.mark.full
@pytest.mark.parametrize(
    ("cpu", "features"),
    [
        ("haswell", "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma"),
        ("x86-64", "+sse,+sse2"),
    ],
)
def test_processors_with_shorter_vectors(cpu: str, features: str, tmp_path: Any) -> None:
    """The same tests, compiled for them."""
    if platform.machine() != "x86_64":
        pytest.skip("the names are those of x86 processors")
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": features,
        "TINYGRAD_RNN_CACHE": str(tmp_path),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-m", "not full", __file__]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout
