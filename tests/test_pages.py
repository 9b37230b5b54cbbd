"""The pages: links lead somewhere, decisions are complete, and CONTRIBUTING.md is one screen."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import tinygrad_rnn as tg

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [t for t in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in t]
    missing = [t for t in targets if not (page.parent / t.partition("#")[0]).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    """Files in backticks: a path from the root or from the package, or the name of some file there."""
    named = re.findall(r"`([\w./]+\.py)`", page.read_text(encoding="utf-8"))
    known = {path.name for path in (ROOT / "tinygrad_rnn").rglob("*.py")}
    paths = [n for n in named if n not in known]
    assert not [n for n in paths if not any((ROOT / f / n).exists() for f in ("", "tinygrad_rnn"))]


def test_every_decision_is_in_the_list_and_has_its_parts() -> None:
    page = ROOT / "docs" / "decisions" / "README.md"
    listed = re.findall(r"^(\d+)\. \[(.+)\]\((.+)\)$", page.read_text("utf-8"), re.MULTILINE)
    assert [name for _, _, name in listed] == [path.name for path in DECISIONS]
    for (number, title, _), path in zip(listed, DECISIONS, strict=True):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. {title}\n\nDate: 20") and int(path.name[:4]) == int(
            number
        )
        heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert heads == ["Context", "Decision", "Rejected", "What follows"]


def test_contributing_is_one_screen_and_what_it_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 55 and max(map(len, lines)) <= 100
    named = re.findall(r"(?<![\w.])((?:tests|tinygrad_rnn|docs|kernels)/[\w/.]*\w/?)", text)
    missing = [n for n in named if not any((ROOT / f / n).exists() for f in ("", "tinygrad_rnn"))]
    assert named and not missing
    commands = set(re.findall(r"`make ([a-z-]+)`", text))
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert commands and commands <= set(rules)


def test_the_citation_has_the_version_of_the_package() -> None:
    import tinygrad_rnn

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nversion: {tinygrad_rnn.__version__}\n" in citation
    assert f"\nlicense: {project['license']}\n" in citation


def test_every_public_name_is_in_the_reference() -> None:
    sys.path.append(str(ROOT / "docs" / "site"))
    import reference

    listed = {path.rpartition(".")[2] for names in reference.names().values() for _, path in names}
    for space in (tg, tg.nn, tg.cells, tg.optim):
        offered = {n for n in space.__all__ if not isinstance(getattr(space, n), ModuleType)}
        assert offered <= listed, offered - listed
