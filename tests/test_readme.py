"""The Python blocks of some pages run, each page as one program, and print what the pages say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<output>.*?)```$)?",
    flags=re.MULTILINE | re.DOTALL,
)
SEPARATOR = "<<< end of block >>>"


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
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.split(SEPARATOR + "\n")
    return [(b["output"], text) for b, text in zip(blocks, printed, strict=True)]


@pytest.mark.parametrize("page", ["README.md", "docs/design.md", "docs/guide.md", "docs/time.md"])
def test_the_page_is_true(page: str, tmp_path: Path) -> None:
    for expected, printed in run(ROOT / page, tmp_path):
        if expected is not None:
            assert printed == expected


def fill(page: Path, folder: Path) -> None:
    """Put what the blocks print into the page: ``python -m tests.test_readme docs/guide.md``."""
    outputs = iter([printed for _, printed in run(page, folder)])

    def filled(match: re.Match[str]) -> str:
        printed = next(outputs)
        return (
            match[0]
            if match["output"] is None
            else f"```python\n{match['code']}```\n\n```text\n{printed}```"
        )

    page.write_text(BLOCK.sub(filled, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        fill(ROOT / sys.argv[1], Path(name))
