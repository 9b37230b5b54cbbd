"""The lessons as notebooks, and the list of them.

``python -m tests.learn.notebooks`` writes docs/learn/notebooks and the list in docs/learn/README.md
anew, from the pages. A notebook has no outputs. What an exercise gives to begin with is a code cell;
its answer is folded, in a cell of text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .lessons import LESSONS, ROOT, first_paragraph, parts, title

FOLDER = ROOT / "docs" / "learn" / "notebooks"
INDEX = ROOT / "docs" / "learn" / "README.md"
LIST = re.compile(r"(?<=<!-- lessons -->\n).*?(?=<!-- end -->)", flags=re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s]+)\)")


def place(page: Path) -> Path:
    """Return the file of the notebook of a lesson."""
    return FOLDER / f"{page.stem}.ipynb"


def _link(match: re.Match[str]) -> str:
    """Return a link of a page as it is from the folder of notebooks: lessons become notebooks."""
    lesson = re.fullmatch(r"(\d\d-[\w-]+)\.md(#.*)?", match[1])
    return f"]({lesson[1]}.ipynb{lesson[2] or ''})" if lesson else f"](../{match[1]})"


def _cell(kind: str, text: str, number: int) -> dict[str, Any]:
    common = {"id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
    if kind == "text":
        return {"cell_type": "markdown", **common}
    return {"cell_type": "code", "execution_count": None, "outputs": [], **common}


def notebook(page: Path) -> str:
    """Return the notebook of a lesson as the text of its file."""
    found = []
    for kind, text in parts(page):
        if kind == "text":
            text = LINK.sub(_link, text.replace("```python answer\n", "```python\n"))
        found.append(_cell(kind, text, len(found)))
    made = _cell(
        "text",
        f"This notebook is made from the page [{page.name}](../{page.name}). "
        f"Run its cells in order, and write your own code where an exercise asks for it.",
        len(found),
    )
    whole = {
        "cells": [found[0], made, *found[1:]],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def index() -> str:
    """Return the page that lists the lessons."""
    lines = (
        f"- [{title(page)}]({page.name}) ([notebook](notebooks/{place(page).name})): {first_paragraph(page)}\n"
        for page in LESSONS
    )
    written = "".join(lines)
    return LIST.sub(lambda _: written, INDEX.read_text(encoding="utf-8"))


def stale() -> list[Path]:
    """Return the notebooks that no lesson has."""
    return sorted(set(FOLDER.glob("*.ipynb")) - set(map(place, LESSONS)))


def write() -> None:
    """Write the notebooks and the list of lessons, and remove what is left of lessons that have gone."""
    FOLDER.mkdir(exist_ok=True)
    for page in LESSONS:
        place(page).write_text(notebook(page), encoding="utf-8")
    for path in stale():
        path.unlink()
    INDEX.write_text(index(), encoding="utf-8")


if __name__ == "__main__":
    write()
