"""How many threads NumPy's matrix products use, and how that is set.

The products of a recurrent network are small: they gain little from threads, and where another
program takes a core, OpenBLAS loses a factor of ten by waiting for its threads. So training uses
one, unless the environment says otherwise.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import runtime

__all__ = ["description", "divided", "single", "thread_count", "threads"]

FEW = 100_000  # multiplications up to which a product is not worth a second thread
SPLIT = 30_000_000  # multiplications from which on a product is divided among threads

_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@cache
def _functions() -> list[tuple[Any, Any]]:
    """Return how the number of threads is read and set, for each OpenBLAS that is there.

    NumPy and SciPy may have one each.
    """
    package = Path(np.__file__).parent
    folders = (
        package.parent / "numpy.libs",
        package / ".dylibs",
        package.parent / "scipy.libs",
        package.parent / "scipy" / ".dylibs",
    )
    paths = {str(p) for folder in folders for p in folder.glob("*openblas*")}
    maps = Path("/proc/self/maps")
    if not paths and maps.exists():
        paths = {
            line.split(maxsplit=5)[-1]
            for line in maps.read_text().splitlines()
            if "openblas" in line
        }
    found = []
    for path in sorted(paths):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        names = (
            f"{prefix}openblas_%s_num_threads{suffix}"
            for prefix in ("scipy_", "")
            for suffix in ("64_", "")
        )
        name = next((name for name in names if hasattr(library, name % "set")), None)
        if name is not None:
            found.append((getattr(library, name % "get"), getattr(library, name % "set")))
    return found


def thread_count() -> int | None:
    """Return the number of threads that products use now, or None if it cannot be found out."""
    found = _functions()
    return max(int(get()) for get, _ in found) if found else None


def description() -> str:
    """Return the BLAS library that NumPy was built with, and its number of threads, in words."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    count = thread_count()
    threads = "" if count is None else f", {count} thread{'s' if count != 1 else ''}"
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip() + threads


@contextmanager
def threads(count: int | None) -> Iterator[int | None]:
    """Context: products use a number of threads.

    Parameters
    ----------
    count : int or None
        The number of threads. None means one, or what an environment variable such as
        OMP_NUM_THREADS asks for.

    Yields
    ------
    int or None
        The number of threads that products use; None if it cannot be found out.
    """
    if count is None and any(os.environ.get(name) for name in _VARIABLES):
        yield thread_count()
        return
    before = _set_threads(count or 1)
    try:
        yield thread_count()
    finally:
        _put_back(before)


def _set_threads(count: int) -> list[int]:
    """Let products use a number of threads; return the numbers from before."""
    before = [get() for get, _ in _functions()]
    for _, put in _functions():
        put(count)
    return before


def _put_back(before: list[int]) -> None:
    for (_, put), number in zip(_functions(), before, strict=True):
        put(number)


class _Single:
    """Context: each product uses one thread, while any thread of the program is within it.

    The threads of OpenBLAS spin for a while after a product, and keep the cores from those that run
    compiled loops.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            if self.inside == 1:
                self._before = _set_threads(1)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self.inside -= 1
            if not self.inside:
                _put_back(self._before)


single = _Single()


def divided(a: Any, b: Any) -> Any:
    """Return the product of two arrays of matrices, in parts by several threads.

    None if that does not pay, or if there is no simple way; and outside of `single`, where NumPy
    has threads of its own.
    """
    count = runtime.threads()
    if (
        not single.inside
        or count == 1
        or b.ndim < 2
        or a.ndim < b.ndim
        or a.size * b.shape[-1] < SPLIT
    ):
        return None
    if b.ndim > 2 and a.shape[:-2] != b.shape[:-2]:
        return None
    if b.ndim == 2:  # one product of matrices
        shape, a = (*a.shape[:-1], b.shape[1]), a.reshape(-1, a.shape[-1])
        out = np.empty((len(a), b.shape[1]), np.result_type(a, b))
    else:
        shape = (*a.shape[:-1], b.shape[-1])
        out = np.empty(shape, np.result_type(a, b))
    bounds = [len(a) * k // count for k in range(count + 1)]
    parts = [slice(lo, hi) for lo, hi in itertools.pairwise(bounds) if lo < hi]
    runtime.share(_into, [(a[p], b if b.ndim == 2 else b[p], out[p]) for p in parts])
    return out.reshape(shape)


def _into(a: Any, b: Any, out: Any) -> None:
    np.matmul(a, b, out=out)
