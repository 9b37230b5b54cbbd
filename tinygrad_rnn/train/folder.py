"""The folder of a training run: what is in it, and that one run at a time works in it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ..files import lock_file, runs, sweep
from .errors import UserError

__all__ = ["CHECKPOINTS", "CORPUS", "RESULTS", "claimed", "present", "remove", "run_held"]

CHECKPOINTS = "checkpoints"
CORPUS = "corpus.ids"  # the text of a run as ids
RESULTS = (
    "model.safetensors",
    "loss.svg",
    "unrolled.svg",
    "report.html",
    "scores.json",
    "forecast.csv",
    "forecast.svg",
)
_LOCK = ".run.lock"
_FAR = 1 << 30  # on Windows a byte is locked; this one is not in the way of reading


def present(folder: Path) -> list[str]:
    """Return the names of what a run writes, and is in the folder."""
    return [name for name in (CHECKPOINTS, CORPUS, *RESULTS) if os.path.lexists(folder / name)]


def run_held(folder: Path, about: str, *, go_on: bool) -> UserError:
    """Return the error for a folder that holds a run; `go_on`: whether one can go on with it."""
    resume = "go on with it by --resume, " if go_on else ""
    return UserError(
        f"{folder} holds a run already ({about}); {resume}name another folder with --out, or replace it by --overwrite"
    )


def remove(folder: Path) -> None:
    """Remove the results of an earlier run.

    Its checkpoints stay until the first one of this run takes their place, and its text until that of
    this run does.
    """
    for name in RESULTS:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Context: no other run works in the folder.

    What killed runs left unfinished is removed. The system ends the lock with the process, however
    that ends, so the file of a killed run hinders nobody; the file says which process holds it. On
    a disk without locks the process is asked for; if it belongs to another computer, the user has
    to decide.

    Raises
    ------
    UserError
        If another run is at work there.
    """
    path = folder / _LOCK
    file = lock_file(path, lambda opened: _lock(opened, path), 0o644)
    try:
        os.ftruncate(file, 0)
        os.write(
            file,
            f"{os.getpid()} {socket.gethostname()} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode(),
        )
        sweep(folder, (CORPUS, *RESULTS), age=0.0)
        yield
    finally:
        if os.name == "posix":
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(file)
        if os.name != "posix":
            with contextlib.suppress(OSError):  # where an open file cannot be removed
                path.unlink()


def _lock(file: int, path: Path) -> None:
    """Lock an open file, or raise a UserError that says who has it."""
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(file, _FAR, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
            os.lseek(file, 0, os.SEEK_SET)
    except OSError as error:
        held = os.name != "posix" or isinstance(error, BlockingIOError)
        process, host, since = _owner(path)
        if held:
            who = f"process {process} on {host}, since {since}" if process else "another process"
            raise UserError(
                f"{path.parent}: a run is at work there ({who}); wait for it, stop it, or name another folder with --out"
            ) from None
        if process and (host != socket.gethostname() or runs(process)):
            raise UserError(
                f"{path.parent}: a run seems to be at work there (process {process} on {host}, since {since}), and the disk has no locks that "
                f"could tell; if it is not, remove {path}"
            ) from None


def _owner(path: Path) -> tuple[int, str, str]:
    """Return the process, the host and the time that a lock file names; 0 and empty for none."""
    try:
        process, host, since = (
            path.read_text(encoding="utf-8", errors="replace").strip().split(" ", 2)
        )
        return int(process), host, since
    except (OSError, ValueError):
        return 0, "", ""
