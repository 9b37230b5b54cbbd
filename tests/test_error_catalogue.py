"""The catalogue of errors in docs/errors has all that the package raises (see error_catalogue.py)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tinygrad_rnn as tg

from . import error_catalogue as catalogue
from .test_readme import BLOCK

PAGES = catalogue.pages()
WRITE = "python -m tests.error_catalogue --write"
NO_EXAMPLE = {"A fault of the compiler": "what is known is mended"}


def test_every_raise_has_an_entry() -> None:
    _, left = catalogue.sorted_out()
    assert not left, "\n".join(f"{r.file}:{r.line}: {r.kind}: {r.message}" for r in left)


def test_every_rule_of_an_entry_has_a_raise() -> None:
    known, found = catalogue.entries(), set()
    for raised in catalogue.raises():
        found |= {next((i for i, e in enumerate(known) if e.has(raised)), -1)}
    assert not [known[i] for i in range(len(known)) if i not in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_messages_below_an_entry_are_those_of_the_package(page: Path) -> None:
    assert catalogue.filled(page) == page.read_text(encoding="utf-8"), WRITE


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem != "inside"], ids=lambda p: p.stem)
def test_an_entry_has_cause_example_and_way_out(page: Path) -> None:
    for section in catalogue.sections(page)[1:]:
        title = section.partition("\n")[0].removeprefix("## ")
        assert catalogue.RULE.search(section), title
        assert "**Cause.** " in section and "**Way out.** " in section, title
        printed = [b["output"] for b in BLOCK.finditer(section) if b["output"]]
        assert bool(printed) != (title in NO_EXAMPLE), title


def test_all_pages_are_listed() -> None:
    assert {*PAGES, catalogue.FOLDER / "README.md"} == set(catalogue.FOLDER.glob("*.md"))


def test_all_kinds_of_errors_are_in_the_table() -> None:
    table = (catalogue.FOLDER / "README.md").read_text(encoding="utf-8")
    kinds = [n for n in tg.__all__ if isinstance(getattr(tg, n), type) and n.endswith("Error")]
    assert kinds and not [name for name in kinds if f"| `tg.{name}` |" not in table]
    for kind, also in re.findall(r"^\| `tg\.(\w+)` \| `(\w+)` \|", table, re.MULTILINE):
        assert also in [base.__name__ for base in getattr(tg, kind).__mro__]


def test_the_count_is_that_of_the_syntax() -> None:
    """Each ``raise`` with an error is found, also in functions inside of functions."""
    made = sum(
        isinstance(node, ast.Raise) and node.exc is not None
        for tree in catalogue.modules().values()
        for node in ast.walk(tree)
    )
    assert len({(r.file, r.line) for r in catalogue.raises()}) == made > 700


def test_messages_are_read_from_helpers_and_variables() -> None:
    messages = {(r.file, r.kind, r.message) for r in catalogue.raises()}
    for file, kind, text in [
        ("nn/attending.py", "TinygradError", "AttentionCell has no memory to attend to; use"),
        (
            "compiler/gather.py",
            "CompileError",
            "tg.jit: <op> (of shape <shape>) cannot be compiled",
        ),
        ("cells/delayed.py", "TinygradError", "TauGRU: delay must be at least 1; found <delay>"),
    ]:
        assert any(f == file and k == kind and m.startswith(text) for f, k, m in messages), text
