"""Compiling and calling loops, or what is said of the statement that is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.primitive import Array
from ..kernels import products, runtime
from .ir import Statement
from .lift import Lifted
from .writer import Text


class CodeRefused(Exception):
    """There are no instructions for the code.

    Attributes
    ----------
    statement : Statement or None
        The one for which there are none.
    reason : str
        The kind of the error, and the first line of the message.
    """

    def __init__(self, statement: Statement | None, reason: str) -> None:
        super().__init__(reason)
        self.statement, self.reason = statement, reason


def compiled(text: Text) -> Any:
    """Return the functions of a module, compiled; what is kept on disk is found by its text.

    Raises
    ------
    CodeRefused
        If there are no instructions for a statement.
    TinygradError, OSError, MemoryError, EOFError
        As they are: what the machine lacks is no fault of the code.
    """
    # here, since without numba there is no LLVM either
    from ..kernels import scalar
    from . import instructions, machine

    others = scalar.scipy_addresses() if text.used & scalar.OF_SCIPY.keys() else {}
    translation = runtime.Translation(
        tuple(f.name for f in text.module.functions if not f.inner),
        lambda: machine.translated(text.module, text.style),
        (machine.__file__, instructions.__file__),
        products.addresses() | others,
    )
    try:
        return runtime.native(text.text, translation)
    except (TinygradError, OSError, MemoryError, EOFError):
        raise
    except machine.Untranslated as refused:
        raise CodeRefused(refused.statement, why(refused.__cause__)) from refused
    except Exception as error:
        raise CodeRefused(None, why(error)) from error


def why(error: BaseException | None) -> str:
    """Return the kind of an error, and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines()]
    first = next((line for line in lines if line), "")
    return f"{type(error).__name__}: {first[:200]}"


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
