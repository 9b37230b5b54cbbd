"""The folder of generated modules: what is in it, who may touch what, and how it is kept below its limit.

A module is the files whose names begin with ``kernel_KEY``: its source, the machine code that numba keeps in ``__pycache__``, and an
empty lock file. KEY is a hash of all that the machine code is made from, so files are made and removed but never changed.

Whoever makes, loads or removes a module holds its lock. A module that was loaded is in memory, and its files may go. The time of
the lock file is the module's last use; that of the source is not free for this, since numba compares it with the machine code's.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import warnings
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the rest of the standard library is imported where it is used: importing the package stays quick
    from pathlib import Path

LIMIT = 512.0  # MB
_NAMES = re.compile(r"kernel_([0-9a-f]{24})(?![0-9a-f])")


def folder() -> Path:
    """Where generated modules and their machine code are kept: TINYGRAD_RNN_CACHE, or the user's cache folder."""
    import tempfile
    from pathlib import Path

    named = os.environ.get("TINYGRAD_RNN_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_rnn"
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=base):
            pass
    except OSError:
        base = Path(tempfile.gettempdir()) / f"tinygrad_rnn-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and (base.stat().st_uid != os.getuid() or base.stat().st_mode & 0o022):
            base = Path(tempfile.mkdtemp(prefix="tinygrad_rnn-"))  # what lies there is executed, so it must be ours alone
    return base


def limit() -> int:
    """The most bytes that modules may take: TINYGRAD_RNN_CACHE_LIMIT in MB (millions of bytes), or 512 MB."""
    return _limit(os.environ.get("TINYGRAD_RNN_CACHE_LIMIT", ""))


@functools.cache
def _limit(text: str) -> int:
    try:
        megabytes = float(text or LIMIT)
    except ValueError:
        megabytes = -1.0
    if not 0 <= megabytes < 1e12:
        warnings.warn(
            f"tinygrad_rnn: TINYGRAD_RNN_CACHE_LIMIT must be a number of MB, at least 0; found {text!r}. {LIMIT:g} MB are used.",
            RuntimeWarning,
            stacklevel=3,
        )
        megabytes = LIMIT
    return int(megabytes * 1e6)


# --- one module -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(base: Path, key: str, *, wait: bool = True) -> Iterator[bool]:
    """Context: hold the lock of a module, and yield True; without `wait` False if another holds it.

    Without fcntl (Windows) a process may compile once more than needed, which is harmless.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    file = _acquired(base / f"kernel_{key}.lock", fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    try:
        yield file is not None
    finally:
        if file is not None:
            os.close(file)


def _acquired(path: Path, how: int) -> int | None:
    import fcntl

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, how)
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except FileNotFoundError:
            pass
        os.close(file)  # removed with its module while this waited: the lock is another file now


def write(base: Path, key: str, source: str) -> Path:
    """The path of a module's source, which is written where it is missing or damaged. The lock is held."""
    import tempfile

    path = base / f"kernel_{key}.py"
    try:
        whole = code(path.read_text(encoding="utf-8")) == code(source)
    except (OSError, UnicodeDecodeError):
        whole = False
    if not whole:
        with tempfile.NamedTemporaryFile("w", dir=base, prefix=f"kernel_{key}.", suffix=".tmp", delete=False, encoding="utf-8") as file:
            file.write(source)
        os.replace(file.name, path)
    return path


def code(source: str) -> str:
    """The lines of a module without its title and comments, which may differ between modules that compute the same."""
    return "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("#", '"""')))


def use(base: Path, key: str) -> None:
    """Note that a module is used now. The lock is held."""
    with contextlib.suppress(OSError):
        os.utime(base / f"kernel_{key}.lock")


def discard(base: Path, key: str) -> None:
    """Remove what may be damaged of a module. The lock is held."""
    for path in (*base.glob(f"__pycache__/kernel_{key}*"), base / f"kernel_{key}.py"):
        with contextlib.suppress(OSError):
            path.unlink()


# --- all modules ----------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A module on disk.

    Attributes
    ----------
    key : str
    bytes : int
        Of all its files.
    used : float
        When it was last used, in seconds since 1970.
    files : list of str
        Their paths.
    """

    key: str
    bytes: int
    used: float
    files: list[str]


def entries(base: Path) -> list[Entry]:
    """The modules, the one whose last use is longest ago first."""
    return [entry for entry in _groups(base) if entry.bytes]


def _groups(base: Path) -> list[Entry]:
    """All files by key: also what is no module but a lock, left by a process that was stopped."""
    found: dict[str, Entry] = {}
    for place in (base / "__pycache__", base):
        with contextlib.suppress(OSError), os.scandir(place) as files:
            for file in files:
                name = _NAMES.match(file.name)
                if name is None:
                    continue
                with contextlib.suppress(OSError):  # removed by another process in the meantime
                    about, (key, size, used, paths) = file.stat(), found.get(name[1], Entry(name[1], 0, 0.0, []))
                    if file.name.endswith(".lock"):
                        found[key] = Entry(key, size, about.st_mtime, [*paths, file.path])
                    else:
                        found[key] = Entry(key, size + about.st_size, used, [file.path, *paths])
    return sorted(found.values(), key=lambda entry: entry.used)


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def title(base: Path, key: str) -> str:
    """What a module is: the first sentence of its docstring."""
    try:
        with open(base / f"kernel_{key}.py", encoding="utf-8") as file:
            line = next(line for line in file if not line.startswith("#"))
        return line.strip().strip('"').removeprefix("Generated: ").partition(". ")[0].rstrip(".")
    except (OSError, UnicodeDecodeError, StopIteration):
        return "machine code without its source"


def shrink(base: Path, most: int, spare: Container[str] = ()) -> list[Entry]:
    """Remove modules until all take at most so many bytes: those not used for longest first.

    Modules that another process makes or loads at this moment stay, and those in `spare`. One process at a time does this; to others
    that ask in the meantime it is done.

    Returns
    -------
    list of Entry
        What was removed.
    """
    removed = []
    with locked(base, "limit", wait=False) as mine:
        found = _groups(base) if mine else []
        total = sum(entry.bytes for entry in found)
        for entry in found:
            if entry.key in spare or (entry.bytes and total <= most):
                continue
            with locked(base, entry.key, wait=False) as free:
                lock = base / f"kernel_{entry.key}.lock"
                if free and (not entry.used or _time(lock) == entry.used):  # else it was used while this went on
                    for path in (*entry.files, str(lock)):
                        with contextlib.suppress(OSError):
                            os.unlink(path)
                    total -= entry.bytes
                    removed.append(entry)
    return [entry for entry in removed if entry.bytes]
