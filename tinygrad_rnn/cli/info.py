"""The command `info`: what is installed, and what of this machine is used."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

from .streams import fail


def info(given: argparse.Namespace) -> int:
    """Print the versions and settings, or with `--cache` what is in the cache of compiled code."""
    import platform
    import shutil

    from ..kernels import blas, cache, runtime
    from ..version import __version__

    if given.cache:
        return _cache(clear=given.clear)
    if given.clear:
        return fail(
            "info --clear empties the cache only together with --cache: info --cache --clear"
        )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        usable = runtime.available()
    reason = next(
        (str(w.message) for w in caught if "tinygrad_rnn" in str(w.message)), "not usable"
    )
    folder, fault = cache.place()
    modules = [] if fault else cache.entries(folder)
    kept = f"{len(modules)} modules, {_megabytes(modules)} MB; info --cache says more"
    dot = shutil.which("dot")
    for name, value in (
        ("tinygrad_rnn", __version__),
        ("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        ("NumPy", _version("numpy")),
        ("SciPy", _version("scipy")),
        ("numba", _version("numba")),
        ("kernels", "compiled by numba" if usable else reason.removeprefix("tinygrad_rnn: ")),
        ("threads", f"{runtime.threads()} for kernels on large arrays"),
        ("BLAS", blas.description()),
        ("cache", fault or f"{folder} ({kept})"),
        ("graphviz", _version("graphviz")),
        ("pygraphviz", _version("pygraphviz")),
        ("dot", dot or "not found"),
        ("rich", _version("rich")),
    ):
        print(f"{name:<13} {value}")
    return 0


def _version(package: str) -> str:
    """Return the version of an installed package."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cache(*, clear: bool) -> int:
    """Print what is in the folder of compiled modules, which is emptied first with `clear`."""
    import time

    from ..kernels import cache

    (folder, fault), most = cache.place(), cache.limit()
    if fault:
        if clear:
            return fail(fault)
        print(f"folder        {fault}")
        return 0
    if clear:
        removed = cache.shrink(folder, 0)
        print(f"removed       {len(removed)} modules, {_megabytes(removed)} MB")
    modules = cache.entries(folder)
    print(f"folder        {folder}")
    print(
        f"modules       {len(modules)}"
        + (", used by another process at this moment" if clear and modules else "")
    )
    print(
        f"size          {_megabytes(modules)} MB of at most {most / 1e6:g} MB (TINYGRAD_RNN_CACHE_LIMIT)"
    )
    if modules:
        for name, entry in (("oldest use", modules[0]), ("newest use", modules[-1])):
            print(
                f"{name:<13} {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(entry.used))}  {cache.title(folder, entry.key)}"
            )
        for entry in sorted(modules, key=lambda entry: -entry.bytes)[:5]:
            print(f"large         {_megabytes([entry])} MB  {cache.title(folder, entry.key)}")
    return 0


def _megabytes(modules: Sequence[Any]) -> str:
    """Return the size of some modules in megabytes."""
    return f"{sum(entry.bytes for entry in modules) / 1e6:.2f}"
