"""How files are written so that they are whole, or as they were.

Each is written beside its place, and put there when it is complete.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["NO_DETOUR", "lock_file", "replace_file", "replacing", "runs", "sweep"]

# Flags with which a file is opened: no link is followed, and nobody waits at a pipe.
NO_DETOUR = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_STALE = 3600.0  # seconds without a change, after which nobody is writing an unfinished file
_NAME = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.[0-9a-f]{8}\.tmp")
_LONGEST = 40  # characters of a name that are taken over: file systems allow about 255 bytes


def replace_file(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a whole file, as `replacing` does.

    Text is written in UTF-8, with a question mark for what is no character.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Context: write to a file which takes the place of `path` at the end.

    If there is an error, all stays as it was. The content is on the disk before it takes the place
    of what was there. An old file's permissions are kept, and its owner where this user may give
    files away. A link stays, and the file that it names is replaced. What is no ordinary file (a
    pipe, /dev/null) is written to directly.

    Yields
    ------
    BinaryIO
        The file to write to.

    Raises
    ------
    OSError
        If the file cannot be written. The error names `path`.
    """
    target = Path(os.path.realpath(path))
    try:
        before = target.stat() if target.exists() else None
        if before is not None and stat.S_ISDIR(before.st_mode):
            raise IsADirectoryError(21, "Is a directory")
        if before is not None and not stat.S_ISREG(before.st_mode):
            with open(target, "wb") as file:
                yield file
            return
        sweep(target.parent, [target.name], age=_STALE)
        temporary = target.with_name(
            f".{target.name[:_LONGEST]}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        )
        try:
            with open(temporary, "xb") as file:
                if before is not None and hasattr(os, "fchmod"):
                    with contextlib.suppress(OSError):
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        if error.errno is None:
            raise
        missing = (
            ""
            if target.parent.is_dir()
            else f": there is no folder {str(Path(path).parent)!r}; make it first"
        )
        raise OSError(error.errno, f"{error.strerror}{missing}", str(path)) from error
    # The new name is on the disk too, where folders can be told so.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def lock_file(path: Path, lock: Callable[[int], None], mode: int) -> int:
    """Open a lock file, which is made if there is none, and lock it.

    Whoever holds the lock may remove the file. So the file that was locked may no longer be the one
    of this name, which is then opened anew.

    Parameters
    ----------
    path : Path
        The file.
    lock : callable
        A function that locks an open file, or raises an error, which is passed on.
    mode : int
        Permissions of a new file.

    Returns
    -------
    int
        The descriptor of the open file.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | NO_DETOUR, mode)
        try:
            lock(file)
            if os.path.samestat(os.fstat(file), os.lstat(path)):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def sweep(folder: Path, names: Iterable[str], *, age: float) -> None:
    """Remove unfinished files that a killed process has left.

    Parameters
    ----------
    folder : Path
        Where to look.
    names : iterable of str
        The names that the files were to have.
    age : float
        Seconds for which a file must not have changed.
    """
    wanted = {name[:_LONGEST] for name in names}
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            found = _NAME.fullmatch(name)
            if found is not None and found["name"] in wanted and not runs(int(found["process"])):
                with contextlib.suppress(OSError):
                    if time.time() - (folder / name).lstat().st_mtime >= age:
                        (folder / name).unlink()


def runs(process: int) -> bool:
    """Whether there is another process of this number.

    The answer is no where that cannot be asked (on Windows an open file cannot be removed anyway).
    """
    if os.name != "posix" or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        pass
    return process != os.getpid()
