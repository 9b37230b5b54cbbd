"""Commands whose folders cannot be written, and whose disk becomes full."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.command import call
from tests.disks import read_only, small_disk
from tinygrad_rnn.formats import safetensors
from tinygrad_rnn.train import demo
from tinygrad_rnn.train.trainer import SavedRun, Trainer

pytestmark = [
    pytest.mark.usefixtures("eager"),
    pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system"),
]

ROOT = Path(__file__).resolve().parents[1]
TEXT = "".join(f"{i} times {j} is {i * j}\n" for i in range(25) for j in range(25))
TABLE = "a,b\n" + "".join(f"{k % 7},{k % 5}\n" for k in range(80))
SMALL = ["--hidden", "6", "--embedding", "3", "--batch", "2", "--window", "5", "--length", "9"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a text, a table, and a folder for results."""
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "table.csv").write_text(TABLE)
    (tmp_path / "out").mkdir()
    return tmp_path


def lines(place: Path, out: Path) -> dict[str, list[str]]:
    """Return each command that trains."""
    of_text = [*SMALL, "--steps", "3", "--out", str(out)]
    return {
        "train text": ["train", "text", str(place / "text.txt"), *of_text],
        "demo": ["demo", "--text", str(place / "text.txt"), *of_text],
        "train csv": ["train", "csv", str(place / "table.csv"), "--out", str(out), "--steps", "3"],
    }


COMMANDS = [*lines(Path(), Path())]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_written(
    command: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "out"
    with read_only(out):
        for there in (out, out / "new"):
            code, _, err = call(*lines(place, there)[command], capsys=capsys)
            assert code == 2 and err.count("\n") == 1, err
            assert re.search(r"out.*(Read-only file system|Permission denied)", err), err
    assert list(out.iterdir()) == []
    assert call(*lines(place, out)[command], capsys=capsys)[0] == 0


def test_what_is_read_may_lie_where_nothing_can_be_written(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = place / "inputs", place / "out"
    inputs.mkdir()
    for name in ("text.txt", "table.csv"):
        (place / name).rename(inputs / name)
    monkeypatch.chdir(inputs)
    with read_only(inputs):
        for command in COMMANDS:
            code, _, err = call(*lines(inputs, out / command)[command], capsys=capsys)
            assert code == 0 and err == ""
        model, table = str(out / "train text" / "model.safetensors"), str(inputs / "table.csv")
        assert call("eval", model, str(inputs / "text.txt"), capsys=capsys)[0] == 0
        model = str(out / "train csv" / "model.safetensors")
        assert call("forecast", model, table, "--steps", "2", capsys=capsys)[0] == 0


@pytest.mark.full
def test_a_cache_that_cannot_be_written(place: Path) -> None:
    """Compiled code is then kept nowhere, and the run is the same."""
    cache = place / "cache"
    cache.mkdir()
    with read_only(cache):
        done = subprocess.run(
            [sys.executable, "-m", "tinygrad_rnn", *lines(place, place / "out")["train text"]],
            env={
                **{k: v for k, v in os.environ.items() if k != "TINYGRAD_RNN_CACHE"},
                "XDG_CACHE_HOME": str(cache),
                "PYTHONPATH": str(ROOT),
                "TINYGRAD_RNN_EAGER": "",
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    assert (place / "out" / "model.safetensors").exists() and list(cache.iterdir()) == []


def test_a_disk_without_room_for_the_text(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "text.txt").write_text(TEXT * 20)
    with small_disk(place / "out", "64k"):
        code, _, err = call(*lines(place, place / "out")["train text"], capsys=capsys)
        assert code == 2 and "corpus.ids" in err and "No space left" in err
        assert err.count("\n") == 1 and list((place / "out").iterdir()) == []


def test_a_disk_that_becomes_full_loses_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saves fail, training goes on, the results cannot be written; with room again, the run goes on."""
    monkeypatch.setattr(demo, "SAVE_EVERY", 0.0)
    out, step = place / "out", Trainer.step
    filler = out / "filler"
    line = [*lines(place, out)["train text"], "--steps", "20"]
    assert (
        call(*lines(place, place / "whole")["train text"], "--steps", "20", capsys=capsys)[0] == 0
    )

    def filling(self: Trainer, fraction: float) -> float:
        if self.steps == 8:
            with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
                while True:
                    file.write(bytes(4096))
        return step(self, fraction)

    with small_disk(out, "300k"):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", filling)
            code, shown, err = call(*line, capsys=capsys)
        assert code == 2 and "No space left" in err and err.count("\n") == 1
        assert shown.count("The checkpoint cannot be written now") == 1
        kept = len(SavedRun.read(out / "checkpoints").losses)
        assert 0 < kept <= 8 and not (out / "model.safetensors").exists()
        filler.unlink()
        assert call(*line, "--resume", capsys=capsys)[0] == 0
        a, b = (safetensors.read(f / "model.safetensors")[0] for f in (out, place / "whole"))
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)
