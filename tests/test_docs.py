"""The catalogue in docs/cells.md is that of the code."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from .cell_checks import GROUPS, classes

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "cells.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `(?P<name>\w+)` \| (?P<year>\d{4}) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$",
    flags=re.MULTILINE,
)


class Row(NamedTuple):
    """A row of a table of cells."""

    name: str
    year: str
    paper: str
    state: str
    special: str


ROWS = [Row(*match.groups()) for match in ROW.finditer(PAGE)]


def folded(text: str | None) -> str:
    return " ".join((text or "").split())


def test_every_row_of_a_table_is_read() -> None:
    heads = [line for line in PAGE.splitlines() if line.startswith(("| class", "| ---"))]
    assert len(ROWS) + len(heads) == sum(line.startswith("|") for line in PAGE.splitlines())


def test_every_cell_stands_in_the_page_once() -> None:
    assert Counter(row.name for row in ROWS) == Counter(list(classes()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_true(row: Row) -> None:
    """Year, first author and arXiv number stand in the docstring.

    The state is the one that the cell makes.
    """
    text = folded(classes()[row.name].__doc__)
    assert re.search(rf"\b{row.year}\b", text), row.year
    assert re.match(r"van der \w+|\w+", row.paper)[0] in text, row.paper  # type: ignore[index]
    for number in re.findall(r"arXiv:[\dv.]+", row.paper):
        assert number in text, number
    state = GROUPS[row.name][0].make().initial_state(2)
    names = getattr(type(state), "_fields", None)
    assert row.state == f"({', '.join(names)})" if names else row.state.isidentifier()
    assert row.special.strip()


def test_rows_of_a_table_are_in_the_order_of_their_years() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE):
        years = [match["year"] for match in ROW.finditer(table)]
        assert years == sorted(years)


def test_names_of_cells_in_the_text_exist() -> None:
    section = PAGE.split("## Where sources disagree")[1].split("## How each cell is verified")[0]
    named = re.findall(r"^- ((?:`\w+`(?:, )?)+):", section, flags=re.MULTILINE)
    assert len(named) == sum(line.startswith("- ") for line in section.splitlines())
    assert {name for group in named for name in re.findall(r"`(\w+)`", group)} <= set(classes())
