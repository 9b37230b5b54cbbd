"""A line in the terminal that says what takes long, and for how long it has."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator

PATIENCE, PERIOD = 2.0, 0.5  # seconds before the line appears, and between two figures
_running = threading.Lock()


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Say on the terminal that `what` is going on, once it has lasted PATIENCE seconds.

    The line goes away at the end. Nothing is written where there is no terminal, and of several
    that run at a time only the first has a line.
    """
    if not sys.stderr.isatty() or not _running.acquire(blocking=False):
        yield
        return
    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(what, done), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
        _running.release()


def _tell(what: str, done: threading.Event) -> None:
    started, width, wait = time.perf_counter(), 0, PATIENCE
    while not done.wait(wait):
        wait = PERIOD
        said = f": {time.perf_counter() - started:.0f} s"
        line = what[: shutil.get_terminal_size().columns - 1 - len(said)] + said
        width = max(width, len(line))
        sys.stderr.write(f"\r{line:<{width}}")
        sys.stderr.flush()
    if width:
        sys.stderr.write(f"\r{'':<{width}}\r")
        sys.stderr.flush()
