"""Standard input, output and error, and messages of one line on the last."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import Any


def open_streams() -> None:
    """Make sure that standard input, output and error exist, and that they take every character.

    Where one was closed (``>&-``), the next file that is opened would get its number, and what a
    library writes to that number would go into the file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            # It stays open until the program ends.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning in one line."""
    words = " ".join(str(message).removeprefix("tinygrad_rnn: ").split())
    with contextlib.suppress(OSError, ValueError):
        print(f"tinygrad-rnn: warning: {words}", file=sys.stderr)


def fail(message: str, code: int = 2) -> int:
    """Say what is wrong in one line, and return the exit code."""
    with contextlib.suppress(OSError, ValueError):
        if os.environ.get("TINYGRAD_RNN_TRACEBACK") and sys.exc_info()[0]:
            traceback.print_exc()
        print(f"tinygrad-rnn: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
