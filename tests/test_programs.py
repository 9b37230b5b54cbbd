"""Programs that others wrote run, and learn what they should."""

from __future__ import annotations

import pytest

from tests import programs


@pytest.mark.parametrize("name", programs.programs())
def test_it_runs(name: str) -> None:
    programs.programs()[name]()


def test_what_had_to_change_is_listed() -> None:
    assert len(programs.programs()) >= 15
    assert programs.page() == programs.PAGE.read_text("utf-8"), "python -m tests.programs --write"
