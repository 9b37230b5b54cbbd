"""What a task is: arms, which are run over several seeds, and what was published."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import TinygradError
from ...core.tape import context

__all__ = ["Arm", "Result", "Run", "Task", "TaskError", "check_cell", "make_cell", "needed"]


class TaskError(TinygradError):
    """What was asked for cannot be done; the message says why and what to do, in one line."""


class Result(NamedTuple):
    """What one run of one arm gave.

    Attributes
    ----------
    score : float
        The task's metric on data that training has not seen.
    solved : bool or None
        Whether the task's own criterion was met; None where it has none.
    sequences : int
        Training sequences that were used.
    steps : int
        Time steps that were computed forward in training: sequences times their length.
    seconds : float
        How long training took.
    note : str
        What else is worth a word in the table.
    """

    score: float
    solved: bool | None = None
    sequences: int = 0
    steps: int = 0
    seconds: float = 0.0
    note: str = ""


class Run:
    """One run: its seed, its budget, and the clock.

    Parameters
    ----------
    seed : int
        The seed.
    budget : float
        Seconds of training. A run may end earlier, when it has reached its criterion.
    report : callable, optional
        ``report(fraction, text)`` is called now and then with the share of the budget that is used
        and the figure that matters.
    check : callable, optional
        It is called between two training steps, and raises when the user wants to stop.

    Attributes
    ----------
    out_of_time : bool
        Whether the budget ended the run.
    """

    def __init__(
        self,
        seed: int,
        budget: float,
        report: Callable[[float, str], None] | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.seed, self.budget = seed, budget
        self._report, self._check = report, check
        self.out_of_time = False  # whether the budget ended it
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.start

    def go_on(self, text: str = "") -> bool:
        """Whether there is budget left, which is to be asked between two training steps.

        Parameters
        ----------
        text : str
            The figure that matters.
        """
        if self._check is not None:
            self._check()
        used = self.seconds / self.budget
        self.out_of_time = self.out_of_time or used >= 1.0
        if self._report is not None:
            self._report(min(used, 1.0), text)
        return used < 1.0


class Arm(NamedTuple):
    """One of the things that a task compares: a model, a way of training, or a baseline.

    Attributes
    ----------
    name : str
        What it is called in the table.
    run : callable
        ``run(Run) -> Result``.
    published : str
        The figure that the source gives for this cell and set-up, with what it was measured on. It
        is empty if the source has none, and never that of another cell.
    exact : bool
        Whether it has no randomness, so that one run says it all.
    """

    name: str
    run: Callable[[Run], Result]
    published: str = ""
    exact: bool = False


class Task(NamedTuple):
    """A task from the literature.

    Attributes
    ----------
    name : str
        The name on the command line.
    title, about : str
        A line, and a few sentences: what is learnt from what, and what the criterion is.
    source : str
        The paper: authors, year, title, where.
    metric : str
        What `Result.score` is, with its unit.
    arms : callable
        ``arms(cell) -> sequence of Arm``; `cell` is the name of a class in `tinygrad_rnn.cells`
        that takes the place of the arms' own, or None.
    seeds : int
        How many runs each arm has by default.
    budget : float
        Seconds for one run by default.
    decimals : int
        Decimals of the score in the table.
    ready : callable
        It raises a TaskError if a package is missing that the task needs. It is called before
        anything is run.
    """

    name: str
    title: str
    about: str
    source: str
    metric: str
    arms: Callable[[str | None], Sequence[Arm]]
    seeds: int = 3
    budget: float = 60.0
    decimals: int = 4
    ready: Callable[[], object] = lambda: None


def needed(module: str, why: str, extra: str) -> Any:
    """Import a module of a package that only some tasks need.

    Parameters
    ----------
    module : str
        Its name.
    why : str
        What comes with the package, for the message.
    extra : str
        The extra of this package that installs it.

    Raises
    ------
    TaskError
        If it cannot be imported; the message says what installs it.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise TaskError(
            f"{why}, which could not be imported ({error}); pip install tinygrad-rnn[{extra}] installs it"
        ) from error


def make_cell(name: str, *sizes: Any, **options: Any) -> Any:
    """Make a cell of `tinygrad_rnn.cells` by its name.

    It is compiled for whole sequences, unless `tg.eager` says otherwise.

    Raises
    ------
    TaskError
        If there is none of this name, or it needs more arguments than these.
    """
    from ... import cells

    check_cell(name)
    try:
        cell = getattr(cells, name)(*sizes, **options)
    except TypeError as error:
        raise TaskError(f"the cell '{name}' does not fit here: {error}") from None
    return cell if context().eager else fast(cell, sizes[0])


def fast(cell: Any, input_size: int) -> Any:
    """Return a cell compiled for whole sequences.

    If it cannot be compiled, a warning says so, and the cell is returned as it is.
    """
    from ...compiler import CompileError, jit
    from ...recurrent import unroll

    made = jit(cell)
    try:
        unroll(made, np.zeros((2, 2, input_size), np.float32))  # compiles it
    except CompileError as error:
        warnings.warn(
            f"{type(cell).__name__} runs step by step: {error}", RuntimeWarning, stacklevel=3
        )
        return cell
    return made


def check_cell(name: str) -> None:
    """Raise a TaskError that lists the names if there is no such cell."""
    from ... import cells
    from ...recurrent import Cell

    kinds = {n: getattr(cells, n) for n in cells.__all__}
    names = [
        n
        for n, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Cell) and kind is not cells.PublishedCell
    ]
    if name not in names:
        raise TaskError(f"there is no cell '{name}'; expected one of {', '.join(names)}")
