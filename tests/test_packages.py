"""The rows of versions that the package is tested with."""

from __future__ import annotations

import re
from pathlib import Path

from tests import matrix

ROOT = Path(__file__).resolve().parents[1]


def test_rows_name_tests_and_bounds_that_are_there() -> None:
    supported = re.findall(r"Python :: (3\.\d+)", " ".join(matrix.PROJECT["classifiers"]))
    assert {row.python for row in matrix.ROWS.values()} == set(supported)
    for row in matrix.ROWS.values():
        assert [f for f in row.files if not (ROOT / f"tests/test_{f}.py").is_file()] == []
        assert all("==" in matrix.lowest(name) for name in row.lowest)


def test_every_dependency_is_tested_with_its_lowest_version() -> None:
    names = {re.split(r"[><=]", requirement)[0] for requirement in matrix.PROJECT["dependencies"]}
    assert set(matrix.ROWS["oldest"].lowest) == names
    assert matrix.lowest("numba") == "numba==0.62"
