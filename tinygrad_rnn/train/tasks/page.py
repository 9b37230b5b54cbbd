"""The results of tasks as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .runner import HEADS, TaskResults, notes, read, rows
from .task import Task, TaskError

__all__ = ["collect", "page"]

_HEAD = """\
# Tasks from the literature

Each task compares a few arms: cells, ways of training, baselines. An arm is run once for each seed; a run trains on fresh data, stops when
its criterion is met on validation data or its budget is used, and is scored on test data that it has not seen. The table gives
the median over the seeds and in brackets the range; sequences, steps (time steps computed forward in training) and seconds are
medians too. Training ran on one core in float32, with cells compiled for whole sequences (`--eager` runs them step by step).

The last column has the figure that the source gives for the arm's cell and set-up, with what it was measured on; where it is empty the source
has none that could stand there. How our set-up differs from the paper's is said with each task.

Seconds depend on the machine. On one machine, with the same versions of everything, a run repeats to the last digit, unless its note says that
it was ended by its budget. On another processor, or with other versions, sums are rounded in another order, and training magnifies such
differences: there a run is like one with another seed.

Images, scores and pronunciations come with packages that `pip install tinygrad-rnn[tasks,music,g2p]` installs. This page is made from files of results: `tinygrad-rnn tasks run all --json results`, then
`tinygrad-rnn tasks page --results results --out docs/tasks.md`.
"""


def collect(folder: Path, tasks: Sequence[Task]) -> list[tuple[Task, TaskResults]]:
    """Read the results in a folder, NAME.json for each task, in the order of `tasks`.

    Raises
    ------
    TaskError
        If there is none.
    """
    found = [
        (task, read(folder / f"{task.name}.json"))
        for task in tasks
        if (folder / f"{task.name}.json").exists()
    ]
    if not found:
        raise TaskError(
            f"{folder} holds no results; expected NAME.json, made by: tinygrad-rnn tasks run NAME --json {folder}"
        )
    return found


def page(found: Sequence[tuple[Task, TaskResults]]) -> str:
    """Return a page of Markdown: for each task what it is, its table, and the source."""
    return "\n".join([_HEAD, *(_section(task, results) for task, results in found)])


def _section(task: Task, results: TaskResults) -> str:
    """Return the part of the page about one task."""
    command = (
        f"tinygrad-rnn tasks run {task.name} --seeds {results.seeds} --budget {results.budget:g}"
    )
    if results.cell:
        command += f" --cell {results.cell}"
    lines = [HEADS, ("---", "---:", "---:", "---:", "---:", "---:", "---"), *rows(task, results)]
    said = [f"{line}." for line in notes(results)]
    if not results.complete:
        said.append("The run was stopped before all seeds were done.")
    parts = [
        f"## {task.name}: {task.title}",
        task.about,
        f"The figure is {task.metric}.",
        "\n".join(
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
        ),
        *([" ".join(said)] if said else []),
        f"Published: {task.source}",
        f"`{command}`",
    ]
    return "\n\n".join(parts) + "\n"
