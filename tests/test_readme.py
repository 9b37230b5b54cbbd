"""The Python blocks of some pages run, each page as one program, and print what the pages say.

A picture that a page shows from a folder ``pictures`` is the one that its program writes, into the
folder it runs in. Of an exercise in a lesson (docs/learn) the answer runs, a block ``python answer``,
and not what the reader is given to begin with, a block ``python exercise``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"^```python(?: answer)?\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<output>.*?)```$)?",
    flags=re.MULTILINE | re.DOTALL,
)
PICTURE = re.compile(r"^!\[.+\]\(([\w/]*pictures/.+)\)$", flags=re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
COLOUR = re.compile(r"#[0-9a-f]{6}")
SEPARATOR = "<<< end of block >>>"
LESSONS = sorted((ROOT / "docs" / "learn").glob("[0-9][0-9]-*.md"))
ERRORS = [p for p in sorted((ROOT / "docs" / "errors").glob("*.md")) if p.stem != "inside"]
PAGES = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("tour", "design", "guide", "time", "training", "coming-from")
    ),
    *LESSONS,
    *ERRORS,
]


def run(page: Path, folder: Path) -> list[tuple[str | None, str]]:
    """What each block is said to print (None: nothing is said), and what it prints."""
    blocks = list(BLOCK.finditer(page.read_text(encoding="utf-8")))
    assert blocks
    script = folder / "page.py"
    script.write_text(f"\nprint({SEPARATOR!r})\n".join(b["code"] for b in blocks), encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=folder,  # pictures are written here
        env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nexit code {done.returncode}"
    printed = done.stdout.split(SEPARATOR + "\n")
    return [(b["output"], text) for b, text in zip(blocks, printed, strict=True)]


def pictures(page: Path) -> list[Path]:
    """The pictures that a page shows and its program writes."""
    return [page.parent / place for place in PICTURE.findall(page.read_text(encoding="utf-8"))]


def same_picture(made: str, shown: str) -> bool:
    """Whether two pictures are the same, but for what another NumPy may round otherwise.

    That is half a pixel of a place, a fiftieth of a number in a text, and a colour.
    """
    parts = [re.split(r"(<[^>]*>)", COLOUR.sub("", text)) for text in (made, shown)]
    return len(parts[0]) == len(parts[1]) and all(  # texts and tags in turn
        NUMBER.sub("#", a) == NUMBER.sub("#", b)
        and np.allclose(
            [float(n) for n in NUMBER.findall(a)],
            [float(n) for n in NUMBER.findall(b)],
            rtol=0 if k % 2 else 0.02,
            atol=0.5 if k % 2 else 1e-9,
        )
        for k, (a, b) in enumerate(zip(*parts, strict=True))
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_page_is_true(page: Path, tmp_path: Path) -> None:
    for expected, printed in run(page, tmp_path):
        if expected is not None:
            assert printed == expected
    for shown in pictures(page):
        made = tmp_path / shown.name
        assert made.exists(), f"no block of the page writes {shown.name}"
        assert same_picture(made.read_text("utf-8"), shown.read_text("utf-8")), shown.name


def test_figures_of_speed_are_those_of_the_page_of_speed() -> None:
    """The rows of the table in the README are the first of their names, which one core gave."""
    rows = re.findall(
        r"^\| (\w+, \w+) \|(.*)\|$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE
    )
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert len(rows) == 6
    for name, figures in rows:
        line = re.search(rf"^  {name}  +(.*)$", page, re.MULTILINE)
        numbers = figures.replace("|", " ").split()
        assert line and numbers == line[1].split()[: len(numbers)]


def fill(page: Path, folder: Path) -> None:
    """Put what the blocks print into the page, and what they draw where the page shows it.

    ``python -m tests.test_readme docs/guide.md``
    """
    outputs = iter([printed for _, printed in run(page, folder)])
    for shown in pictures(page):
        shutil.copyfile(folder / shown.name, shown)

    def filled(match: re.Match[str]) -> str:
        printed = next(outputs)
        return (
            match[0]
            if match["output"] is None
            else f"{match[0].partition('```text')[0]}```text\n{printed}```"
        )

    page.write_text(BLOCK.sub(filled, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        fill(ROOT / sys.argv[1], Path(name))
