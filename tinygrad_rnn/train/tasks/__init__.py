"""Tasks from the literature, beside published figures where there are any.

The command is ``tinygrad-rnn tasks list | run NAME | page``.
"""

from __future__ import annotations

from importlib import import_module

from .task import Task, TaskError

__all__ = ["MODULES", "find", "tasks"]

# each has a list TASKS
MODULES = [
    "synthetic",
    "grammars",
    "translation",
    "digits",
    "chorales",
    "pronunciation",
    "forecasting",
    "evolution",
]


def tasks() -> list[Task]:
    """Return all tasks, in the order of the documentation."""
    return [task for name in MODULES for task in import_module(f"{__name__}.{name}").TASKS]


def find(name: str) -> Task:
    """Return the task of a name, or raise a TaskError that lists the names."""
    known = {task.name: task for task in tasks()}
    if name not in known:
        raise TaskError(f"there is no task '{name}'; expected one of {', '.join(known)}")
    return known[name]
