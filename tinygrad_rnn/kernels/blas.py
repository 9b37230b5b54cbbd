"""How many threads NumPy's matrix products use, and how that is set.

The products of a recurrent network are small: they gain little from threads, and where another
program takes a core, OpenBLAS loses a factor of ten by waiting for its threads. So training uses
one, unless the environment says otherwise.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["description", "thread_count", "threads"]

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
    before = [get() for get, _ in _functions()]
    try:
        for _, put in _functions():
            put(count or 1)
        yield thread_count()
    finally:
        for (_, put), number in zip(_functions(), before, strict=True):
            put(number)
