"""The lessons hang together: exercises, answers, checks, wrong answers, notebooks, the list."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from tinygrad_rnn.learn.checking import exercises

from . import notebooks
from .lessons import LESSONS, ROOT, answers, checks, parts, title

EACH = pytest.mark.parametrize("page", LESSONS, ids=lambda page: page.stem)
COMMAND = "python -m tests.learn.notebooks writes it anew"

# Runs the cells of a notebook as a kernel does, each compiled by itself in one namespace.
KERNEL = """
import json, linecache, sys
space = {"__name__": "__main__"}
for number, source in enumerate(json.load(sys.stdin)):
    name = f"<cell {number}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), space)
"""


@EACH
def test_a_lesson_has_its_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert title(page).startswith(f"{int(page.stem[:2])}. ")
    given = [part.text for part in parts(page) if part.kind == "exercise"]
    asked = re.findall(r"^### Your turn: .+$", text, flags=re.MULTILINE)
    assert given and len(given) == len(asked) == len(answers(page)) == len(checks(page))
    assert text.count("<details><summary>An answer</summary>\n\n```python answer\n") == len(given)
    for code in given:
        compile(code, "the exercise", "exec")
    assert re.search(r"^!\[.+\]\(pictures/.+\.svg\)$", text, flags=re.MULTILINE)
    assert "\n## What you can do now\n" in text
    following = LESSONS[LESSONS.index(page) + 1 :]
    if following and following[0].stem[:2] == f"{int(page.stem[:2]) + 1:02}":
        assert f"]({following[0].name})" in text.partition("\n## What you can do now\n")[2]


def test_every_exercise_stands_in_the_page_of_its_lesson_once() -> None:
    named = [(page.stem[:2], name) for page in LESSONS for name in checks(page)]
    assert Counter(named) == Counter(
        (entry.test.__module__[-2:], name) for name, entry in exercises().items()
    )


def test_every_exercise_has_three_wrong_answers() -> None:
    numbers = [page.stem[:2] for page in LESSONS]
    modules = [import_module(f"{__package__}.test_lesson_{number}") for number in numbers]
    tried = Counter(mistake.exercise for module in modules for mistake in module.MISTAKES)
    assert not [name for name in exercises() if tried[name] < 3]


@EACH
def test_the_notebook_is_made_from_the_page(page: Path) -> None:
    written = notebooks.place(page).read_text(encoding="utf-8")
    assert written == notebooks.notebook(page), COMMAND


def test_the_list_and_the_folder_of_notebooks_are_those_of_the_pages() -> None:
    assert notebooks.INDEX.read_text(encoding="utf-8") == notebooks.index(), COMMAND
    assert not notebooks.stale(), COMMAND


def run_the_notebook(page: Path, folder: Path) -> None:
    """Run a notebook with the page's answers in the places of its exercises; all must be right."""
    cells = json.loads(notebooks.place(page).read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    given = [part.text for part in parts(page) if part.kind == "exercise"]
    written = dict(zip(given, answers(page), strict=True))
    done = subprocess.run(
        [sys.executable, "-c", KERNEL],
        input=json.dumps([written.get(source, source) for source in code]),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("right: ") == len(written) and "not yet: " not in done.stdout


def test_a_notebook_runs(tmp_path: Path) -> None:
    run_the_notebook(LESSONS[0], tmp_path)


@pytest.mark.full
@EACH
def test_every_notebook_runs(page: Path, tmp_path: Path) -> None:
    run_the_notebook(page, tmp_path)
