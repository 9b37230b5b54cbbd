"""Cells that layers run: compiled where that can be and pays, step by step elsewhere."""

from __future__ import annotations

from typing import Any

from ..core.errors import AnomalyError, TraceError
from ..core.tape import context
from ..kernels.runtime import complain
from ..recurrent.cell import Cell, CompiledCell
from ..recurrent.sequence import Span
from .cell import Jitted
from .value import CompileError


class Automatic(Jitted):
    """A cell that nobody asked to compile, so it never fails where its plain steps do not.

    Layers get it from `tinygrad_rnn.recurrent.cell.compiled`. A segment of one step runs plainly,
    which takes less time; so do sequences that cannot be compiled, such as unsigned integers of 64
    bits.
    """

    __slots__ = ("_refused",)

    _refused: set[Any]

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        object.__setattr__(self, "_refused", set())

    def run_steps(self, span: Span) -> Any:
        """See `Jitted.run_steps`."""
        failure: Exception | None = None
        alone = len(span.times) == 1 and context().effects is None
        if not alone and not (self._refused and _kind(span) in self._refused):
            try:
                return super().run_steps(span)
            except AnomalyError:  # of the values, and not of the compiler
                raise
            except Exception as error:
                failure = error
        found = span.by(self.plain)
        if failure is not None:  # of the compiler: an error of the user's would have come again
            self._refused.add(_kind(span))
            if not isinstance(failure, (CompileError, TraceError)):
                complain(failure)
        return found


class Compiled:
    """Gives for a cell the one that runs its sequences compiled inside of a recorded function."""

    def __init__(self) -> None:
        self._made: dict[int, Jitted] = {}

    def __call__(self, cell: Any) -> CompiledCell:
        """Return the compiled cell; the same for the same cell."""
        if isinstance(cell, CompiledCell):
            return cell
        found = self._made.get(id(cell))
        if found is None:
            found = self._made[id(cell)] = Automatic(cell)  # which holds the cell
        return found


def _kind(span: Span) -> Any:
    return tuple((x.shape[2:], x.dtype) for x in span.parts)
