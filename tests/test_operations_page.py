"""The page of operations is as made, and has a row for each function of tensors."""

from __future__ import annotations

import re

import pytest

import tinygrad_rnn as tg
from tests import operations_page
from tinygrad_rnn.core.primitive import REGISTRY

TEXT = operations_page.PAGE.read_text("utf-8")


def test_the_page_is_as_made() -> None:
    assert operations_page.page() == TEXT, "python -m tests.operations_page --write"


@pytest.mark.parametrize("name", tg.__all__)
def test_no_operation_is_missing(name: str) -> None:
    thing = getattr(tg, name)
    if str(getattr(thing, "__module__", "")).startswith("tinygrad_rnn.ops.") and callable(thing):
        apart = ("custom_vjp", "elementwise", "register_ufunc", "tape", "Tape")
        assert name in apart or f"| `tg.{name}` |" in TEXT


def test_no_entry_is_missing() -> None:
    rows = list(map(operations_page.Row, *zip(*operations_page.operations().items(), strict=True)))  # fmt: skip
    named = {row.entry.name for row in rows if row.entry} | set(re.findall(r"`(\w+)`", TEXT))
    assert {n for n in operations_page.NAMES if n in REGISTRY} <= named


def test_what_a_row_says() -> None:
    def cells(name: str) -> list[str]:
        (line,) = re.findall(rf"^\| `tg\.{re.escape(name)}` \|.*$", TEXT, re.MULTILINE)
        return [cell.strip() for cell in line.strip("|").split("|")]

    assert cells("max")[1:] == ["`np.max`", "`torch.max`", "rule", "loop", "loop", "-", "(0.5, 0.5)", "nan", "refused"]  # fmt: skip
    assert cells("floor")[3] == "0" and cells("argmax")[3] == "none"
    assert cells("sqrt")[6] == "0; inf"
    assert cells("linalg.solve")[4:6] == ["NumPy", "refused"]
    assert cells("fft.rfft")[3:6] == ["linear", "NumPy", "parts"]
