"""Running a task.

Every arm over its seeds, what is shown meanwhile, the table, and the file of the results.
"""

from __future__ import annotations

import errno
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import TinygradError
from ...files import replace_file
from ...kernels import blas
from ..console import Meter, clock
from ..interrupt import Interrupted, Interrupts
from .task import Arm, Result, Run, Task, TaskError, check_cell

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "ArmResults",
    "TaskResults",
    "figure",
    "list_tasks",
    "main",
    "notes",
    "read",
    "rows",
    "run_task",
    "table",
    "write",
]

_EVERY = 10.0  # seconds between two lines where there is no terminal
OUT_OF_TIME = "ended by its budget"
HEADS = ("arm", "ours: median [min .. max]", "solved", "sequences", "steps", "seconds", "published")


@dataclass
class ArmResults:
    """The finished runs of one arm.

    Attributes
    ----------
    name, published : str
        As in `Arm`.
    seeds : list of int
        The seeds of the runs.
    results : list of Result
        What the runs gave, in the same order.
    """

    name: str
    published: str = ""
    seeds: list[int] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)


@dataclass
class TaskResults:
    """What running a task gave.

    Attributes
    ----------
    task : str
        The name of the task.
    cell : str or None
        The cell that took the place of the arms' own.
    seeds : int
        How many runs were asked for, of each arm with randomness.
    budget : float
        Seconds for one run.
    complete : bool
        Whether all runs were done. It is False if the user stopped them.
    arms : list of ArmResults
        The arms of which a run was finished.
    """

    task: str
    cell: str | None
    seeds: int
    budget: float
    complete: bool = False
    arms: list[ArmResults] = field(default_factory=list)


# --- running --------------------------------------------------------------------------------------


def main(
    tasks: Sequence[Task],
    screen: Console,
    *,
    cell: str | None,
    seeds: int | None,
    budget: float | None,
    save: Path | None,
    overwrite: bool = False,
    ranks: Any = None,
) -> int:
    """Run tasks one after the other, and print a table for each.

    Parameters
    ----------
    tasks : sequence of Task
        What is run.
    screen : Console
        Where progress and tables are printed.
    cell : str, optional
        A cell that takes the place of the arms' own.
    seeds, budget
        Runs of each arm, and seconds for one; None for those of the task.
    save : Path, optional
        Where the results go: a file .json for one task, or a folder, in which each task has
        NAME.json. It is written after each run, so what was finished is there however the program
        ends.
    overwrite : bool
        Whether to replace results that are there. Without it they are refused before anything is
        run.

    ranks : executor, optional
        Where runs are done at the same time, as `parallel.serving` gives it.

    Returns
    -------
    int
        The exit code: 0, or 128 and the signal if it was stopped.

    Raises
    ------
    TaskError
        For a cell that there is not, a package that a task needs and that is missing, one file for
        several tasks, or results that are there already.
    OSError
        If the results cannot be written.
    """
    if cell is not None:
        check_cell(cell)
    for task in tasks:
        task.ready()
    paths = _places(tasks, save, overwrite)
    with Interrupts() as interrupts, blas.threads(None):
        for place, task in enumerate(tasks):
            if place:
                screen.print()
            results, stopped = (
                TaskResults(task.name, cell, seeds or task.seeds, budget or task.budget),
                None,
            )
            path_of = paths.get(task.name)
            try:
                run_task(
                    task,
                    results,
                    screen,
                    interrupts,
                    partial(_keep, results, path_of, screen, interrupts),
                    ranks,
                )
            except Interrupted as stop:
                stopped = stop.number
            except KeyboardInterrupt:  # the user insisted, in the middle of a step
                stopped = 2
            with interrupts.deferred():
                screen.print(table(task, results), markup=False, soft_wrap=True)
                if path_of is not None and results.arms:
                    write(results, path_of)
            if stopped is not None:
                return 128 + stopped
    return 0


def _places(tasks: Sequence[Task], save: Path | None, overwrite: bool) -> dict[str, Path]:
    """Return where the results of each task go, by its name, and see that they can be written."""
    one_file = save is not None and save.suffix == ".json"
    if one_file and len(tasks) != 1:
        raise TaskError(
            f"--json: {save} is one file, for one task; for {len(tasks)} name a folder, in which each gets NAME.json"
        )
    paths = (
        {task.name: save if one_file else save / f"{task.name}.json" for task in tasks}
        if save is not None
        else {}
    )
    there = [str(path) for path in paths.values() if os.path.lexists(path)]
    if there and not overwrite:
        raise TaskError(
            f"--json: {', '.join(there)} holds results already; name another place, or replace them by --overwrite"
        )
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):  # known now, and not after hours
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return paths


def _keep(results: TaskResults, path: Path | None, screen: Console, interrupts: Interrupts) -> None:
    """Write what is finished, if it is to be written.

    Where that cannot be done, it is tried again after the next run.
    """
    if path is not None:
        with interrupts.deferred():
            try:
                write(results, path)
            except OSError as error:
                screen.print(
                    f"The results cannot be written now: {path}: {error.strerror}",
                    markup=False,
                    soft_wrap=True,
                )


def run_task(
    task: Task,
    results: TaskResults,
    screen: Console,
    interrupts: Interrupts,
    keep: Callable[[], None] = lambda: None,
    ranks: Any = None,
) -> None:
    """Do all runs of a task, and add each to `results` when it is finished.

    Parameters
    ----------
    task : Task
        What is run.
    results : TaskResults
        What is to be run, and where the results go.
    screen : Console
        Where progress is printed.
    interrupts : Interrupts
        What the user asked for.
    keep : callable
        It is called after each run.
    ranks : executor, optional
        Where runs are done at the same time.

    Raises
    ------
    Interrupted
        When the user stops it; what is finished is in `results`.
    TaskError
        If a cell that took the place of the arms' own does not fit the task.
    """
    arms = task.arms(results.cell)
    total = sum(1 if arm.exact else results.seeds for arm in arms)
    screen.print(f"[bold]{task.name}[/]", end="")
    screen.print(f": {task.title}", markup=False, soft_wrap=True)
    screen.print(
        f"{total} runs of at most {results.budget:g} s; the figure is {task.metric}.",
        markup=False,
        soft_wrap=True,
    )
    runs = [
        (k, seed) for k, arm in enumerate(arms) for seed in range(1 if arm.exact else results.seeds)
    ]
    waiting = [
        ranks.submit(_on_rank, task.name, results.cell, k, seed, results.budget)
        for k, seed in (runs if ranks is not None else ())
    ]
    for number, (k, seed) in enumerate(runs):
        arm = arms[k]
        interrupts.check()
        words = arm.name if arm.exact else f"{arm.name}, seed {seed}"
        title, start = f"  {words} ({number + 1}/{total})", time.monotonic()
        with Meter(screen, title, every=_EVERY, stays=False) as meter:

            def show(
                fraction: float, text: str, meter: Meter = meter, start: float = start
            ) -> None:
                gone = clock(time.monotonic() - start)
                meter.update(fraction, text, f"{gone} of at most {clock(results.budget)}")

            try:
                result = (
                    _done(arm, Run(seed, results.budget, show, interrupts.check))
                    if ranks is None
                    else _result(waiting, number, interrupts)
                )
            except TinygradError as error:
                if results.cell is None:
                    raise
                raise TaskError(f"{task.name} with the cell {results.cell}: {error}") from error
        if not any(done.name == arm.name for done in results.arms):
            results.arms.append(ArmResults(arm.name, arm.published))
        results.arms[-1].seeds.append(seed)
        results.arms[-1].results.append(result)
        keep()
        screen.print(f"  {words}: {_said(result, task.decimals)}", markup=False, soft_wrap=True)
    results.complete = True


def _done(arm: Arm, run: Run) -> Result:
    """Do one run of an arm, and return what it gave."""
    result = arm.run(run)
    if run.out_of_time:
        result = result._replace(note=", ".join(filter(None, [result.note, OUT_OF_TIME])))
    return result


def _on_rank(name: str, cell: str | None, k: int, seed: int, budget: float) -> Result:
    """Do one run of an arm on another rank."""
    from . import find

    return _done(find(name).arms(cell)[k], Run(seed, budget))


def _result(waiting: list[Any], number: int, interrupts: Interrupts) -> Result:
    """Wait for a run on another rank; if the user stops, those that have not begun are left out."""
    while True:
        try:
            interrupts.check()
            result: Result = waiting[number].result(timeout=0.2)
            return result
        except TimeoutError:
            continue
        except BaseException:
            for other in waiting:
                other.cancel()
            raise


def _said(result: Result, decimals: int) -> str:
    """Return a result in words."""
    words = [_number(result.score, decimals)]
    if result.solved is not None:
        words.append("solved" if result.solved else "not solved")
    if result.steps:
        words.append(f"{result.sequences:,} sequences in {result.seconds:.1f} s")
    return ", ".join([*words, *([result.note] if result.note else [])])


# --- tables ---------------------------------------------------------------------------------------


def list_tasks(tasks: Sequence[Task], screen: Console) -> None:
    """Print the names, and what a run of each takes at most."""
    lines = [
        ("task", "what it is", "runs of each arm, at most"),
        *((t.name, t.title, f"{t.seeds} x {t.budget:g} s") for t in tasks),
    ]
    screen.print(_columns(lines, "lll"), markup=False, soft_wrap=True)


def table(task: Task, results: TaskResults) -> str:
    """Return the results as plain text: a line for each arm, and the source below."""
    if not results.arms:
        return "No run was finished."
    marks = "" if results.complete else "Stopped: these are the runs that were finished.\n"
    said = "".join(f"{line}\n" for line in notes(results))
    cell = f" with the cell {results.cell}" if results.cell else ""
    return (
        f"\n{task.title}{cell}: {task.metric}\n\n{_columns([HEADS, *rows(task, results)], 'lrrrrrl')}\n\n"
        f"{said}{marks}Published: {task.source}"
    )


def rows(task: Task, results: TaskResults) -> list[tuple[str, ...]]:
    """Return a row of cells under `HEADS` for each arm.

    Where there are several runs the cells are medians, in the figure with the range.
    """
    found: list[tuple[str, ...]] = []
    for arm in results.arms:
        judged = [r.solved for r in arm.results if r.solved is not None]
        trained = [r for r in arm.results if r.steps]
        found.append(
            (
                arm.name,
                figure([r.score for r in arm.results], task.decimals),
                f"{sum(judged)}/{len(judged)}" if judged else "",
                f"{statistics.median(r.sequences for r in trained):,.0f}" if trained else "",
                f"{statistics.median(r.steps for r in trained):,.0f}" if trained else "",
                f"{statistics.median(r.seconds for r in trained):.1f}" if trained else "",
                arm.published,
            )
        )
    return found


def figure(scores: Sequence[float], decimals: int) -> str:
    """Return several scores in words: their median and range, and how many runs diverged."""
    finite = [s for s in scores if math.isfinite(s)]
    if not finite:
        return "diverged"
    words = _number(statistics.median(finite), decimals)
    if len(scores) > 1:
        words += f" [{_number(min(finite), decimals)} .. {_number(max(finite), decimals)}]"
    return words if len(finite) == len(scores) else f"{words}, {len(scores) - len(finite)} diverged"


def _number(score: float, decimals: int) -> str:
    """Return a score in words."""
    return f"{score:.{decimals}f}" if math.isfinite(score) else "diverged"


def notes(results: TaskResults) -> list[str]:
    """Return the notes of each arm's runs that have any.

    They stand in the order of the seeds, and equal ones once.
    """
    return [
        f"{arm.name}: {'; '.join(found)}"
        for arm in results.arms
        if (found := dict.fromkeys(r.note for r in arm.results if r.note))
    ]


def _columns(lines: Sequence[Sequence[str]], sides: str) -> str:
    """Return lines of cells as text, each column as wide as its widest cell.

    Parameters
    ----------
    lines : sequence of sequence of str
        The cells.
    sides : str
        For each column "l" or "r": where its cells are aligned.
    """
    widths = [max(len(line[i]) for line in lines) for i in range(len(sides))]
    return "\n".join(
        "  ".join(
            f"{cell:{'<' if side == 'l' else '>'}{width}}"
            for cell, width, side in zip(line, widths, sides, strict=True)
        ).rstrip()
        for line in lines
    )


# --- files ----------------------------------------------------------------------------------------


def write(results: TaskResults, path: Path) -> None:
    """Write the results as JSON; a score that is no number becomes null."""
    about = asdict(results)
    for arm, written in zip(results.arms, about["arms"], strict=True):
        written["results"] = [
            {**r._asdict(), "score": r.score if math.isfinite(r.score) else None}
            for r in arm.results
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(about, indent=2, allow_nan=False) + "\n")


def read(path: Path) -> TaskResults:
    """Read what `write` wrote.

    Raises
    ------
    TaskError
        If the file holds something else.
    """
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        arms = [
            ArmResults(
                **{
                    **arm,
                    "results": [
                        Result(**{**r, "score": math.nan if r["score"] is None else r["score"]})
                        for r in arm["results"]
                    ],
                }
            )
            for arm in about["arms"]
        ]
        return TaskResults(**{**about, "arms": arms})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TaskError(
            f"{path} does not hold the results of a task (tinygrad-rnn tasks run NAME --json {path}): {error}"
        ) from None
