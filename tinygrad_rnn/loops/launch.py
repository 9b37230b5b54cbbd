"""Compiling and calling what was written.

Or what numba says of the statement that it refuses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.primitive import Array
from ..kernels import runtime
from .ir import Statement
from .lift import Lifted
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


class Launch:
    """How loops that threads may share are called: a function of code and arrays to new arrays.

    Parameters
    ----------
    lifted : Lifted
        The function, with its sizes and numbers.
    count : int
        How often its first loop runs.
    made : sequence of (shape, dtype)
        What it makes.
    summed : sequence of bool
        Which of these are sums over the whole: each thread makes one of its own.
    shared : bool
        Whether several threads are worth while.
    """

    def __init__(
        self,
        lifted: Lifted,
        count: int,
        made: Sequence[tuple[tuple[int, ...], Any]],
        summed: Sequence[bool],
        shared: bool,
    ) -> None:
        self.lifted, self.count, self.shared = lifted, count, shared
        self.made = [(*one, sums) for one, sums in zip(made, summed, strict=True)]
        self.flat = [
            (np.zeros if sums else np.empty, math.prod(shape), dtype)
            for shape, dtype, sums in self.made
        ]
        self.sums = any(summed)

    def __call__(self, code: Callable[..., None], arrays: Sequence[Array]) -> list[Array]:
        """Return new arrays, from compiled code."""
        given = (self.lifted.sizes, self.lifted.numbers, *arrays)
        parts = min(runtime.threads(), self.count) if self.shared else 1
        if parts > 1:
            outs = self._by_threads(code, given, parts)
        else:
            flat = [make(size, dtype) for make, size, dtype in self.flat]
            code(0, self.count, *given, *flat)
            outs = [o.reshape(shape) for o, (shape, _, _) in zip(flat, self.made, strict=True)]
        if self.sums:  # some were added up in float64
            dtype = self.lifted.numbers.dtype
            made = zip(outs, self.made, strict=True)
            outs = [np.asarray(o, dtype) if sums else o for o, (_, _, sums) in made]
        return outs

    def _by_threads(self, code: Callable[..., None], given: Any, parts: int) -> list[Array]:
        outs = [
            np.zeros((parts, *shape), dtype) if sums else np.empty(shape, dtype)
            for shape, dtype, sums in self.made
        ]
        jobs = []
        for i in range(parts):
            lo, hi = self.count * i // parts, self.count * (i + 1) // parts
            made = zip(outs, self.made, strict=True)
            mine = [(o[i : i + 1] if sums else o).reshape(-1) for o, (_, _, sums) in made]
            jobs.append((lo, hi, *given, *mine))
        runtime.share(code, jobs)
        made = zip(outs, self.made, strict=True)
        return [o.sum(axis=0) if sums else o for o, (_, _, sums) in made]
