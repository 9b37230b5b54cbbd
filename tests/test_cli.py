"""The command line, mostly in processes of its own."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tinygrad_rnn as tg
from tests.command import call
from tinygrad_rnn.core.tape import context, setting
from tinygrad_rnn.data import Vocabulary
from tinygrad_rnn.train import characters, model_files
from tinygrad_rnn.train.options import Options
from tinygrad_rnn.train.trainer import SavedRun, Settings

pytestmark = pytest.mark.usefixtures("eager")

TEXT = "".join(f"{i} times {j} is {i * j}\n" for i in range(25) for j in range(25))
SMALL = ["--hidden", "12", "--embedding", "5", "--batch", "4", "--window", "10"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    vocabulary = Vocabulary.from_text(TEXT, 2)
    model_files.save_model(
        tmp_path / "model.safetensors",
        characters.CharacterLSTM(len(vocabulary), 4, 8, rng=0),
        vocabulary,
    )
    return tmp_path / "model.safetensors"


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version", capsys=capsys) == (0, f"tinygrad-rnn {tg.__version__}\n", "")
    code, out, _ = call(capsys=capsys)
    assert code == 0 and all(name in out for name in ("demo", "train", "sample", "info"))
    for command in (["demo"], ["train", "text"], ["tasks", "run"]):
        code, out, _ = call(*command, "--help", capsys=capsys)
        assert code == 0 and "--budget" in out and "--eager" in out
    code, out, _ = call("info", "--help", capsys=capsys)
    assert code == 0 and "--cache" in out and "--clear" in out


def test_help_says_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call("train", "text", "--help", capsys=capsys)
    assert code == 0
    found = re.findall(r"--([\w-]+) [NX]\s[^(]*\(default\s+([\d.]+)\)", out)
    said = {name.replace("-", "_"): float(value) for name, value in found}
    settings = dataclasses.asdict(Settings())
    assert {name: said[name] for name in settings} == settings


def test_what_is_given_gets_into_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[Options] = []
    monkeypatch.setattr("tinygrad_rnn.train.demo.run", lambda o, _: found.append(o) or 0)
    changed = ["--embedding-dropout", "0", "--dropout", "0.5", "--lr", "0.1", "--seed", "3"]
    assert call("demo", *changed, capsys=capsys)[0] == 0
    expected = {"embedding_dropout": 0.0, "dropout": 0.5, "lr": 0.1, "seed": 3}
    assert found[0].settings == expected


@pytest.mark.parametrize(
    "command", [["demo"], ["train", "text", "t", "--out", "x"], ["tasks", "run", "parity"]]
)
def test_eager_is_one_switch(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for module in ("train.demo.run", "train.tasks.runner.main"):
        monkeypatch.setattr(
            f"tinygrad_rnn.{module}", lambda *_, **__: found.append(context().eager) or 0
        )
    with setting(eager=False):
        assert [call(*command, *more, capsys=capsys)[0] for more in ([], ["--eager"])] == [0, 0]
        assert found == [False, True] and not context().eager


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call("info", capsys=capsys)
    assert code == 0 and err == ""
    for name in (
        "tinygrad_rnn",
        "Python",
        "NumPy",
        "numba",
        "kernels",
        "threads",
        "BLAS",
        "cache",
        "graphviz",
    ):
        assert re.search(rf"^{name} +\S", out, re.MULTILINE), name


def test_info_says_why_there_are_no_kernels() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_rnn", "info"],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        timeout=60,
    )
    assert done.returncode == 0 and "NUMBA_DISABLE_JIT is set" in done.stdout and done.stderr == ""


def test_samples_are_fixed_by_the_seed(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = [
        call(
            "sample",
            str(model),
            "--prompt",
            "7 times",
            "--length",
            "40",
            "--seed",
            seed,
            capsys=capsys,
        )
        for seed in ("1", "1", "2")
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    code, out, _ = drawn[0]
    assert code == 0 and out.startswith("7 times") and len(out) == len("7 times") + 40 + 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "invalid choice"),
        (["demo", "--budget", "0"], "above 0, found '0'"),
        (["demo", "--budget", "nan"], "above 0, found 'nan'"),
        (["demo", "--budget", "1", "--steps", "1"], "not allowed with"),
        (["demo", "--hidden", "1.5"], "whole number, at least 1"),
        (["demo", "--dropout", "1"], "below 1, found '1'"),
        (["demo", "--temperature", "-1"], "at least 0"),
        (["demo", "--text", "missing.txt"], "no such file"),
        (
            ["demo", "--resume"],
            "no checkpoint found in demo-run/checkpoints; start without --resume",
        ),
        (["train"], "KIND"),
        (["train", "text", "t"], "--out"),
        (["train", "text", "--out", "x"], "expected FILE"),
        (["demo", "--bud", "1"], "unrecognized arguments: --bud"),
        (["sample"], "MODEL"),
        (["sample", "missing.safetensors"], "missing.safetensors: No such file"),
    ],
)
def test_errors_take_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(*arguments, capsys=capsys)
    assert code == 2 and words in err and err.count("\n") == 1 and err.startswith("tinygrad-rnn")
    assert list(tmp_path.iterdir()) == []


def test_wrong_files_take_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "noise").write_bytes(b"\x00\x01")
    for arguments in (["demo", "--text", str(tmp_path / "short.txt")], ["sample", str(tmp_path / "noise")], ["sample", str(tmp_path)],
                      ["demo", "--text", str(tmp_path / "short.txt"), "--out", str(model)]):  # fmt: skip
        code, _, err = call(*arguments, capsys=capsys)
        assert code == 2 and err.count("\n") == 1, arguments


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until the file exists."""
    for _ in range(600):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.05)


def test_ctrl_c_keeps_a_checkpoint(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-u",
        "-m",
        "tinygrad_rnn",
        "train",
        "text",
        str(file),
        "--out",
        str(out),
    ]
    with subprocess.Popen(
        [*command, *SMALL, "--budget", "60", "--eager"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(out / "checkpoints", process)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        shown, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and errors == ""
    assert (
        "Stopped after step" in shown and f"--out {out} --resume" in shown and "\x1b" not in shown
    )
    checkpoint = SavedRun.read(out / "checkpoints")
    steps = len(checkpoint.losses)
    done = subprocess.run(  # compiled
        [*command, "--resume", "--steps", str(steps + 5)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (
        done.returncode == 0
        and f"Resumed after step {steps:,}" in done.stdout
        and done.stderr == ""
    )
    assert (out / "model.safetensors").exists() and list(out.glob("*.tmp")) == []
    assert len(SavedRun.read(out / "checkpoints").losses) == steps + 5
