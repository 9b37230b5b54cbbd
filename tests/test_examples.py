"""The examples run, and show what they say."""

import runpy
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "examples"


def load(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))


def test_custom_cell_learns_to_remember(tmp_path, capsys):
    assert load("custom_cell")["main"](str(tmp_path / "cell.svg")) > 0.9
    assert "<svg" in (tmp_path / "cell.svg").read_text()


def test_own_operations(capsys):
    load("own_operations")["main"]()
    assert "second derivatives" in capsys.readouterr().out


def test_the_gradient_of_an_elman_network_vanishes_faster(capsys):
    found = load("gradient_through_time")["main"]()
    assert found["LSTM"][0] / found["LSTM"][-1] > 10 * found["Elman"][0] / found["Elman"][-1]
