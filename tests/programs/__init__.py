"""Programs that others wrote, retyped in other words: what had to change stands in their docstrings.

Each is a function without arguments, which checks what it computed. Its docstring has a title, the
source, and what had to change beside the import. ``python -m tests.programs --write`` makes
docs/programs.md of these.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from . import of_numpy, of_statistics, of_torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "programs.md"
HEAD = """# Programs that others wrote

Well-known programs for other libraries, retyped in other words and run here; `tests/programs` has them, and each checks what it computed.
`python -m tests.programs --write` makes this table of their docstrings.

| program | written for | what had to change |
| --- | --- | --- |
"""


def programs() -> dict[str, Callable[[], None]]:
    """Every program by its name."""
    return {
        name: thing
        for module in (of_numpy, of_statistics, of_torch)
        for name, thing in vars(module).items()
        if inspect.isfunction(thing)
        and thing.__module__ == module.__name__
        and "Written for:" in (thing.__doc__ or "")
    }


def row(program: Callable[[], None]) -> str:
    """The row of a program in the page."""
    title, *rest = inspect.cleandoc(program.__doc__ or "").split("\n\n")
    about = " ".join(" ".join(rest).split())
    source, changed = about.removeprefix("Written for: ").split(" Changed: ")
    return f"| {title.rstrip('.')} | {source.rstrip('.')} | {changed.rstrip('.')} |"


def page() -> str:
    """The text of the page."""
    return HEAD + "\n".join(row(program) for program in programs().values()) + "\n"


def main() -> None:
    """Write the page."""
    if "--write" in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
