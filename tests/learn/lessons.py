"""A lesson, a page of docs/learn, as its parts: text, code, exercises with their answers.

A page is Markdown. Its blocks ``python`` run in order, as one program. An exercise is

    ### Your turn: what to do

    The question, in words.

    ```python exercise
    what the reader is given to begin with
    ```

    <details><summary>An answer</summary>

    ```python answer
    what is right
    ```

    </details>

    ```python
    tg.learn.check("name-of-the-exercise", answer)
    ```
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..test_readme import LESSONS, ROOT

__all__ = ["LESSONS", "ROOT", "Part", "answers", "checks", "first_paragraph", "parts", "title"]

BLOCK = re.compile(
    r"^```python(?: (?P<kind>exercise|answer))?\n(?P<code>.*?)^```$(?:\n\n```text\n.*?^```$)?",
    flags=re.MULTILINE | re.DOTALL,
)
CHECK = re.compile(r"""^tg\.learn\.check\("([\w-]+)",""", flags=re.MULTILINE)


class Part(NamedTuple):
    """A stretch of a page: "text" (answers are part of it), "code" or "exercise"."""

    kind: str
    text: str


def parts(page: Path) -> list[Part]:
    """Divide a page into what becomes a cell of its notebook each."""
    text, found, done = page.read_text(encoding="utf-8"), [], 0
    for block in BLOCK.finditer(text):
        if block["kind"] == "answer":
            continue
        found += [
            Part("text", text[done : block.start()].strip("\n")),
            Part(block["kind"] or "code", block["code"].rstrip("\n")),
        ]
        done = block.end()
    return [part for part in [*found, Part("text", text[done:].strip("\n"))] if part.text]


def answers(page: Path) -> list[str]:
    """Return the answers that a page gives, in the order of its exercises."""
    blocks = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [block["code"].rstrip("\n") for block in blocks if block["kind"] == "answer"]


def checks(page: Path) -> list[str]:
    """Return the names of the exercises that a page checks."""
    return [
        name for part in parts(page) if part.kind == "code" for name in CHECK.findall(part.text)
    ]


def title(page: Path) -> str:
    """Return the first heading."""
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def first_paragraph(page: Path) -> str:
    """Return what a page says first, on one line: it stands in the list of lessons."""
    return " ".join(page.read_text(encoding="utf-8").split("\n\n")[1].split())
