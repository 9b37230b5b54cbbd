"""Compiling what was written: the functions of a module, or the statement that numba refuses."""

from __future__ import annotations

import re
from typing import Any

from ..core.errors import TinygradError
from ..kernels import runtime
from .ir import Statement
from .writer import Text

SKIPPED = ("Failed in", "During:", "File ")  # lines of numba's messages that say nothing


class CodeRefused(Exception):
    """numba does not take the code.

    Attributes
    ----------
    statement : Statement or None
        The one that it does not take, as far as its message says.
    reason : str
        The kind of the error, and the first line of the message.
    """

    def __init__(self, statement: Statement | None, reason: str) -> None:
        super().__init__(reason)
        self.statement, self.reason = statement, reason


def compiled(text: Text, *plainer: Text) -> Any:
    """Compile a module.

    Parameters
    ----------
    text : Text
    *plainer : Text
        Versions in which a statement that is refused is easier to find; tried only then.

    Raises
    ------
    CodeRefused
        If numba does not take the code.
    TinygradError, OSError, MemoryError, EOFError
        As they are: what the machine lacks is no fault of the code.
    """
    versions, error = {t.text: t for t in (text, *plainer)}, None
    for version in versions:
        try:
            module = runtime.load(version, distinct=True)
            if error is None:
                return module
        except (TinygradError, OSError, MemoryError, EOFError):
            raise
        except Exception as failed:
            error = failed
    assert error is not None
    raise CodeRefused(_statement(error, list(versions.values())[-1]), why(error)) from error


def why(error: BaseException | None) -> str:
    """Return the kind of an error, and the first line of its message that says something."""
    lines = [line.strip() for line in _plain(error).splitlines()]
    first = next((line for line in lines if line and not line.startswith(SKIPPED)), "")
    return f"{type(error).__name__}: {first[:200]}"


def _plain(error: BaseException | None) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", str(error))  # without colours


def _statement(error: Exception, text: Text) -> Statement | None:
    """Return the statement of the line that a message names."""
    said = _plain(error)
    places = [getattr(error, "lineno", None), *map(int, re.findall(r", line (\d+)", said))]
    unknown = re.search(r"name '(\w+)' is not defined", said)
    if unknown is not None:  # of which numba does not say where it stands
        lines = enumerate(text.text.splitlines(), 1)
        places += [n for n, line in lines if re.search(rf"\b{unknown[1]}\b", line)][:1]
    there = (
        text.statements[n - 1] for n in places if n is not None and 0 < n <= len(text.statements)
    )
    return next((s for s in there if s is not None and s.origin is not None), None)
