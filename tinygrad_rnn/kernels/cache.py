"""The folder of compiled modules: where it may be, what is in it, and how it stays below its limit.

A module is a file ``kernel_KEY.code``, with the machine code of its functions, and an empty lock
file. KEY is a hash of all that the machine code is made from (the source, the versions, the
processor), so files are made and removed but never changed.

Machine code is run, and it is kept as a pickle, so nothing is read that another user could have
written: `ownership` looks at the folder and at each file, and a checksum finds damage.

Whoever makes, loads or removes a module holds its lock. A module that was loaded is in memory, and
its files may go. The time of the lock file is the module's last use. Where nothing can be kept,
modules are compiled in memory, and one warning says why.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import warnings
from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from .ownership import examined, file_fault

# The rest of the standard library is imported where it is used, so that importing the package
# stays quick.
if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 512.0  # MB
_NAMES = re.compile(r"kernel_([0-9a-f]{24})(?![0-9a-f])")
_MAGIC = b"tinygrad_rnn compiled module 1\n"
_complained = False


def complain(why: str) -> None:
    """Say, once in a process, that compiled modules are not kept, or not read."""
    global _complained
    if not _complained:
        _complained = True
        warnings.warn(f"tinygrad_rnn: {why}", RuntimeWarning, stacklevel=3)


# --- the folder -----------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where compiled modules are kept.

    Attributes
    ----------
    path : Path
        The folder.
    fault : str
        Why it is not used, and the way out; empty if it is used.
    """

    path: Path
    fault: str = ""


def place() -> Place:
    """Return the folder of compiled modules, which is made if there is none.

    It is TINYGRAD_RNN_CACHE, or tinygrad_rnn in the user's cache folder. Where that cannot be made
    or written to, it is a folder of this user's in the folder for temporary files. A folder that
    somebody else could write to is not used, and no other is looked for: the user has to decide.
    """
    import tempfile
    from pathlib import Path

    named = (
        os.environ.get("TINYGRAD_RNN_CACHE")
        or os.environ.get("XDG_CACHE_HOME")
        or os.path.expanduser("~/.cache")
    )
    first = Path(named) if os.environ.get("TINYGRAD_RNN_CACHE") else Path(named, "tinygrad_rnn")
    reason = ""
    for wanted in (first, None):
        try:
            if wanted is None:
                wanted = (
                    Path(tempfile.gettempdir())
                    / f"tinygrad_rnn-{os.geteuid() if hasattr(os, 'geteuid') else 'user'}"
                )
            if str(wanted).startswith("~"):
                reason = reason or "this user has no home folder"
                continue
            found, fault = examined(os.path.abspath(wanted))
        except (OSError, ValueError) as error:
            reason = reason or getattr(error, "strerror", None) or str(error)
            continue
        if fault:
            return Place(
                wanted,
                f"{wanted} is not used for compiled code, which is compiled in memory, anew in each process: {fault}",
            )
        if os.access(
            found, os.R_OK | os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids
        ):
            return Place(Path(found))
        reason = reason or "it cannot be written to"
    fault = f"compiled code is not kept, but compiled anew in each process: {first}: {reason}; "
    return Place(first, f"{fault}name a folder of your own with TINYGRAD_RNN_CACHE=FOLDER")


def limit() -> int:
    """Return the most bytes that modules may take.

    TINYGRAD_RNN_CACHE_LIMIT says it in MB (millions of bytes); otherwise it is 512 MB.
    """
    return _limit(os.environ.get("TINYGRAD_RNN_CACHE_LIMIT", ""))


@functools.cache
def _limit(text: str) -> int:
    """Return a number of MB, given as text, in bytes; warn and take the default if it is none."""
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


# --- one module -----------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(base: Path, key: str, *, wait: bool = True) -> Iterator[bool]:
    """Context: hold the lock of a module.

    Parameters
    ----------
    base : Path
        The folder.
    key : str
        The key of the module.
    wait : bool
        Whether to wait for the lock. Otherwise False is yielded if another process holds it.

    Yields
    ------
    bool
        Whether the lock is held.

    Notes
    -----
    Where there are no locks (Windows, some network disks, a full disk) a process may compile once
    more than needed, which is harmless. The lock ends with the process, however that ends.
    """
    file: int | None = None
    try:
        import fcntl

        file = _acquired(
            base / f"kernel_{key}.lock", fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
        )
        mine = file is not None
    except (ImportError, OSError):
        mine = True
    try:
        yield mine
    finally:
        if file is not None:
            os.close(file)


def _acquired(path: Path, how: int) -> int | None:
    """Open and lock the lock file of a module.

    Returns
    -------
    int or None
        The descriptor; None if another process holds the lock and this one was not to wait.
    """
    import fcntl

    from ..files import lock_file

    try:
        return lock_file(path, lambda file: fcntl.flock(file, how), 0o600)
    except BlockingIOError:
        return None


def read(base: Path, key: str) -> dict[str, bytes]:
    """Return the machine code of a module by function; the caller holds the lock.

    The result is empty if there is none, or if it is damaged or not this user's own.
    """
    import pickle

    _, code = _content(base, key)
    known: dict[str, bytes] = pickle.loads(code) if code else {}
    return known


def _content(base: Path, key: str) -> tuple[str, bytes]:
    """Return the title and the pickled machine code of a module.

    Both are empty if it is not there, not whole or not this user's own.
    """
    from ..files import NO_DETOUR

    path = base / f"kernel_{key}.code"
    try:
        file = os.open(path, os.O_RDONLY | NO_DETOUR)
    except FileNotFoundError:
        return "", b""
    except OSError as error:
        complain(f"{path} is not read, but compiled anew: {error.strerror or error}")
        return "", b""
    try:
        about = os.fstat(file)
        fault = file_fault(about)
        content = b""
        while not fault and (part := os.read(file, max(about.st_size, 1))):
            content += part
    except OSError as error:
        fault = error.strerror or str(error)
    finally:
        os.close(file)
    if fault:
        complain(f"{path} is not read, but compiled anew: {fault}")
        return "", b""
    start = len(_MAGIC)
    digest, body = content[start : start + 32], content[start + 32 :]
    if not content.startswith(_MAGIC) or digest != _digest(key, body):
        return "", b""
    title, _, code = body.partition(b"\n")
    return title.decode("utf-8", "replace"), code


def _digest(key: str, body: bytes) -> bytes:
    """Return the checksum of what a file holds."""
    import hashlib

    return hashlib.sha256(key.encode() + b"\n" + body).digest()


def write(base: Path, key: str, title: str, functions: Mapping[str, bytes]) -> None:
    """Keep the machine code of a module; the caller holds its lock.

    A warning says if that cannot be done.

    Parameters
    ----------
    base : Path
        The folder.
    key : str
        The key of the module.
    title : str
        What it is, in a sentence.
    functions : mapping of str to bytes
        Machine code by name and signature.
    """
    import pickle
    import secrets

    from ..files import NO_DETOUR

    body = (
        title.replace("\n", " ").encode("utf-8", "replace") + b"\n" + pickle.dumps(dict(functions))
    )
    temporary = base / f"kernel_{key}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        with open(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_DETOUR, 0o600), "wb"
        ) as file:
            file.write(_MAGIC + _digest(key, body) + body)
        os.replace(temporary, base / f"kernel_{key}.code")
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        complain(
            f"{base}: compiled code cannot be kept ({error.strerror or error}); it is compiled anew in each process"
        )


def code(source: str) -> str:
    """Return the lines of a module without its title and its comments.

    Modules that compute the same may differ in those.
    """
    return "\n".join(
        line for line in source.splitlines() if not line.lstrip().startswith(("#", '"""'))
    )


def use(base: Path, key: str) -> None:
    """Note that a module is used now; the caller holds its lock."""
    with contextlib.suppress(OSError):
        os.utime(base / f"kernel_{key}.lock")


@functools.cache
def sweep(base: Path) -> None:
    """Remove what killed processes have left half-written. This is done once in a process."""
    with contextlib.suppress(OSError):
        for name in os.listdir(base):
            found = _NAMES.match(name)
            if found and name.endswith(".tmp"):
                with locked(base, found[1], wait=False) as free:
                    if free:
                        with contextlib.suppress(OSError):
                            os.unlink(base / name)


# --- all modules ----------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A module on disk.

    Attributes
    ----------
    key : str
        The hash of what it is made from.
    bytes : int
        The size of all its files.
    used : float
        When it was last used, in seconds since 1970.
    files : list of str
        The paths of its files.
    """

    key: str
    bytes: int
    used: float
    files: list[str]


def entries(base: Path) -> list[Entry]:
    """Return the modules, first the one whose last use is longest ago."""
    return [entry for entry in _groups(base) if entry.bytes]


def _groups(base: Path) -> list[Entry]:
    """Return all files by key, also those of a lock alone, which a stopped process has left."""
    found: dict[str, Entry] = {}
    for place in (base / "__pycache__", base):
        with contextlib.suppress(OSError), os.scandir(place) as files:
            for file in files:
                name = _NAMES.match(file.name)
                if name is None:
                    continue
                with contextlib.suppress(OSError):  # removed by another process in the meantime
                    about = file.stat()
                    key, size, used, paths = found.get(name[1], Entry(name[1], 0, 0.0, []))
                    if file.name.endswith(".lock"):
                        found[key] = Entry(key, size, about.st_mtime, [*paths, file.path])
                    else:
                        found[key] = Entry(key, size + about.st_size, used, [file.path, *paths])
    return sorted(found.values(), key=lambda entry: entry.used)


def _time(path: Path) -> float:
    """Return when a file was last changed, or 0 if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def title(base: Path, key: str) -> str:
    """Return what a module is: the first sentence of its docstring."""
    return _content(base, key)[0] or "not readable"


def first_sentence(source: str) -> str:
    """Return the first sentence of the docstring of a generated module."""
    line = next((line for line in source.splitlines() if not line.startswith("#")), "")
    return line.strip().strip('"').removeprefix("Generated: ").partition(". ")[0].rstrip(".")


def shrink(base: Path, most: int, spare: Container[str] = ()) -> list[Entry]:
    """Remove modules until all together take at most so many bytes.

    Those whose last use is longest ago go first. One process at a time does this; to others that
    ask in the meantime it is done.

    Parameters
    ----------
    base : Path
        The folder.
    most : int
        Bytes that may stay.
    spare : container of str
        Keys of modules that stay. Modules that another process makes or loads at this moment stay
        too.

    Returns
    -------
    list of Entry
        The modules that were removed.
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
                # Otherwise it was used while this went on.
                if free and (not entry.used or _time(lock) == entry.used):
                    for path in (*entry.files, str(lock)):
                        with contextlib.suppress(OSError):
                            os.unlink(path)
                    total -= entry.bytes
                    removed.append(entry)
    return [entry for entry in removed if entry.bytes]
