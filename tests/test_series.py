"""Series from CSV files of many kinds, and from one command to a model, a score and a forecast."""

from __future__ import annotations

import csv
import datetime
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command import call
from tinygrad_rnn.data import DataError, read_csv
from tinygrad_rnn.train import forecaster

pytest.importorskip("pandas")
pytestmark = pytest.mark.usefixtures("eager")

GERMAN = {"separator": ";", "decimal": ",", "thousands": "."}


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "declared", "values"),
    [
        ("a,b\n1,2\n3,4\n", {}, [[1, 2], [3, 4]]),
        ("\ufeffa,b\n1,2\n", {}, [[1, 2]]),  # a byte order mark
        ("a,b\r\n1,2\r\n3,4", {}, [[1, 2], [3, 4]]),
        ("a,b\r1,2\r3,4\r", {}, [[1, 2], [3, 4]]),
        ("a,b\n1,2\n\n\n", {}, [[1, 2]]),
        ('a,b\n"1",-2.5e3\n', {}, [[1, -2500]]),
        ("a;b\n1.234,5;-0,25\n", GERMAN, [[1234.5, -0.25]]),
        ("a\tb\n1\t2\n", {"separator": "\t"}, [[1, 2]]),
        ("Größe\n1\n".encode("latin-1"), {"encoding": "latin-1"}, [[1]]),
        ("a,b\n1,2\n".encode("utf-16"), {"encoding": "utf-16"}, [[1, 2]]),
        ("\N{SNOWMAN},b\n1,2\n", {"columns": ["\N{SNOWMAN}"]}, [[1]]),
        ("a,b\n1,x\n2,y\n", {"columns": ["a"]}, [[1], [2]]),
        ("t,a\n2024-01-01,1\n2024-01-02 06:00,2\n", {"time": "t"}, [[1], [2]]),
        ("t,a\n31.01.24,1\n01.02.24,2\n", {"time": "t", "date_format": "%d.%m.%y"}, [[1], [2]]),
        ("a,b\n1,5\n,6\n4,7\n", {"missing": "interpolate"}, [[1, 5], [2.5, 6], [4, 7]]),
        ("a,b\n1,5\n,6\n4,7\n", {"missing": "previous"}, [[1, 5], [1, 6], [4, 7]]),
        ("a,b\n,5\n3,\n", {"missing": "interpolate"}, [[3, 5], [3, 5]]),
        ('a,b\n"1\n",2\n', {}, [[1, 2]]),
        ("1990,1991\n1,2\n", {"columns": ["1990", "1991"]}, [[1, 2]]),
        ("t,2000\n2024-01-01,1\n2024-01-02,2\n", {"time": "t", "columns": ["2000"]}, [[1], [2]]),
        (
            "a\n1 234.5\n12\n1234\n.5\n+3.\n",
            {"thousands": " "},
            [[1234.5], [12], [1234], [0.5], [3]],
        ),
        ('a,b\n"1,5","1.234,25"\n', {"decimal": ",", "thousands": "."}, [[1.5, 1234.25]]),
        (",a\n0,2\n1,4\n", {"columns": ["a"]}, [[2], [4]]),
        ("a , b\n 1, 2 \n", {}, [[1, 2]]),
    ],
)
def test_files_of_many_kinds(
    text: Any, declared: dict[str, Any], values: Any, tmp_path: Path
) -> None:
    found = read_csv(write(tmp_path / "s.csv", text), **declared)
    np.testing.assert_array_equal(found.values, np.array(values, float))


@pytest.mark.parametrize(
    ("text", "declared", "message"),
    [
        ("a,b\n1,2\n3,x\n", {}, r"s\.csv, line 3, column 'b': 'x' is no number"),
        ("a,b\n1,2\n3,\n", {}, r"line 3, column 'b': the cell is empty.*interpolate or previous"),
        ("a,b\n1,nan\n", {}, r"line 2, column 'b': 'nan' is no number"),
        ("a,b\n1,inf\n", {}, r"'inf' is no number"),
        ("a\n1_0\n", {}, r"'1_0' is no number"),
        ("a;b\n1;2\n", {}, r"line 2, column 'a;b': '1;2' is no number.*Declare separator"),
        ("a;b\n1,5;2\n", {"separator": ";"}, r"column 'a': '1,5' is no number.*decimal"),
        ("a;b\n1.5;2\n", {"separator": ";", "decimal": ","}, r"'1\.5' is no number"),
        ("a,b\n1,2\n3,4,5\n", {}, r"Expected 2 fields in line 3, saw 3"),
        ("a,b\n1,2\n", {"columns": ["c"]}, r"there is no column 'c'; it has a, b"),
        ("t,a\n2024-01-02,1\n2024-01-01,2\n", {"time": "t"}, r"line 3, column 't'.*does not come"),
        ("t,a\n2024-01-01,1\n2024-01-01,2\n", {"time": "t"}, r"does not come after"),
        ("t,a\n1.2.2024,1\n", {"time": "t"}, r"line 2, column 't': '1\.2\.2024' is no date"),
        ("t\n2024-01-01\n", {"time": "t"}, r"no column besides"),
        ("a,b\n", {}, r"no line below the names"),
        ("", {}, r"it is empty"),
        ("\n\n", {}, r"it is empty"),
        ("a,b\n1,2\n\n3,4\n", {}, r"line 3, column 'a': the cell is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", {}, r"line 1: byte 0 is 0x89, which is no utf-8"),
        (b"a,b\n1,\xe4\n", {}, r"line 2: byte 6 is 0xe4, which is no utf-8.*latin-1"),
        (b"a,b\n\0\0,1\n", {}, r"bytes of value 0"),
        ("a\n1\n", {"encoding": "latin-99"}, r"no encoding 'latin-99'"),
        ("a\n1\n", {"missing": "zero"}, r"missing is 'zero'"),
        ("a,b\n,1\n2,2\n", {"missing": "previous"}, r"nothing stands before it"),
        ("a,b\n,1\n,2\n", {"missing": "interpolate"}, r"column 'a': there is no number in it"),
        (
            "a\n1.5\n",
            {"decimal": ",", "thousands": "."},
            r"line 2, column 'a': '1\.5' is no number",
        ),
        ("a;b\n1,5;2\n", {"separator": ";", "thousands": ","}, r"'1,5' is no number"),
        ("a;b\n1,23,456;2\n", {"separator": ";", "thousands": ","}, r"'1,23,456' is no number"),
        ("a\n1.234.5\n", {"decimal": ",", "thousands": "."}, r"'1\.234\.5' is no number"),
        ("a\n\u0663\n", {}, r"is no number"),
        ("a\n0x10\n", {}, r"'0x10' is no number"),
        ("a\n5 %\n", {}, r"'5 %' is no number"),
        ("1,2\n3,4\n", {}, r"line 1: there are numbers where the names .* say by columns"),
        ("t,1\n2024-01-01,2\n", {"time": "t"}, r"line 1: there are numbers where the names"),
        ("a,a\n1,2\n", {}, r"line 1: two columns have the name 'a'"),
        (",a\n0,2\n", {}, r"line 1: column 1 has no name"),
        ("a,b\n1,2,3\n4,5,6\n", {}, r"Expected 2 fields in line 2, saw 3"),
        ("a,b\n1,2,\n4,5,\n", {}, r"Expected 2 fields in line 2, saw 3"),
        ("a,b\n1,2\n3\n", {}, r"line 3: the number of cells is 1, .* is 2"),
        (
            "a,b,c\n1,2,3\n3,4\n",
            {"missing": "interpolate"},
            r"line 3: the number of cells is 2, .* is 3",
        ),
        ('a,b\n"1\n",2\n3,x\n', {}, r"line 4, column 'b': 'x' is no number"),
        ("a\n1\n", {"separator": "ab"}, r"separator is 'ab'; expected one character"),
        ("a\n1\n", {"decimal": ",", "thousands": ","}, r"decimal and thousands are both ','"),
    ],
)
def test_what_is_not_as_declared_is_refused(
    text: Any, declared: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_csv(write(tmp_path / "s.csv", text), **declared)


def test_pandas_is_named_when_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=r"pip install 'tinygrad-rnn\[data\]'"):
        read_csv(write(tmp_path / "s.csv", "a\n1\n"))


def waves(path: Path, count: int = 160, last: float = 0.0) -> Path:
    """Two waves by day, with decimal commas."""
    lines = ["day;height;width"]
    for k in range(count):
        day = datetime.date(2024, 1, 1) + datetime.timedelta(days=k)
        numbers = (1000 * np.sin(k / 3) + (last if k == count - 1 else 0), 5 + np.cos(k / 5))
        cells = [f"{x:,.3f}".translate(str.maketrans(",.", ".,")) for x in numbers]
        lines.append(";".join([day.strftime("%d.%m.%Y"), *cells]))
    return write(path, "\r\n".join(lines) + "\r\n")


DECLARED = ["--separator", ";", "--decimal", ",", "--thousands", ".", "--time", "day"]
DECLARED += ["--date-format", "%d.%m.%Y"]
SMALL = ["--hidden", "8", "--steps", "60"]


def test_from_a_file_to_a_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = waves(tmp_path / "waves.csv"), tmp_path / "out"
    command = ["train", "csv", str(file), "--out", str(out), *DECLARED, *SMALL]
    code, shown, err = call(*command, "--ahead", "5", capsys=capsys)
    assert code == 0 and err == "" and "160 moments of height, width" in shown
    names = ["checkpoints", "forecast-2.svg", "forecast.csv", "forecast.svg"]
    names += ["model.safetensors", "scores.json"]
    assert sorted(p.name for p in out.iterdir()) == names
    scores = json.loads((out / "scores.json").read_text())
    assert scores["height"]["model"] < scores["height"]["last value"]
    rows = list(csv.reader((out / "forecast.csv").read_text().splitlines()))
    assert rows[0] == ["moment", "height", "width"] and len(rows) == 6
    assert rows[1][0] == "2024-06-09 00:00:00"
    assert "5 moments ahead" in (out / "forecast.svg").read_text()
    model = str(out / "model.safetensors")
    code, again, _ = call("forecast", model, str(file), *DECLARED, "--steps", "5", capsys=capsys)
    assert code == 0 and again == (out / "forecast.csv").read_text()
    code, scored, _ = call("eval", model, str(file), *DECLARED, capsys=capsys)
    assert code == 0 and "height" in scored
    code, _, err = call(*command, capsys=capsys)
    assert code == 2 and "holds a run already" in err
    code, shown, _ = call(*command[:-1], "80", "--resume", capsys=capsys)
    assert code == 0 and "Resumed after step 60" in shown
    assert call(*command, "--overwrite", capsys=capsys)[0] == 0
    for changed, words in (
        (["--window", "9"], "window is 24 in it and cannot become 9"),
        (["--held-out", "0.3"], "held_out is 0.2 in it"),
        (["--columns", "width"], "it is of another series"),
    ):
        code, _, err = call(*command, "--resume", *changed, capsys=capsys)
        assert code == 2 and words in err and err.count("\n") == 1
    lost = ["train", "csv", str(file), "--out", str(out / "none"), *DECLARED, "--resume"]
    assert "no checkpoint found" in call(*lost, capsys=capsys)[2] and not (out / "none").exists()


def test_a_damaged_checkpoint_of_a_forecaster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = waves(tmp_path / "waves.csv"), tmp_path / "out"
    command = ["train", "csv", str(file), "--out", str(out), *DECLARED, *SMALL]
    for steps in ("20", "30"):
        more = [] if steps == "20" else ["--resume"]
        assert call(*command, "--steps", steps, *more, capsys=capsys)[0] == 0
    last = sorted((out / "checkpoints").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-9])
    code, shown, err = call(*command, "--steps", "40", "--resume", capsys=capsys)
    assert code == 0 and "Resumed after step 20" in shown and "going on from the save" in err


def test_ctrl_c_keeps_a_checkpoint_of_a_forecaster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = waves(tmp_path / "waves.csv"), tmp_path / "out"
    command = ["train", "csv", str(file), "--out", str(out), *DECLARED, *SMALL]
    original = forecaster.fit

    def signalled(run: Any) -> None:
        if run.step == 9:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(forecaster, "fit", lambda *a, **k: original(*a, **k, callbacks=[signalled]))
        code, shown, err = call(*command, capsys=capsys)
    assert code == 130 and "Stopped after step 9" in shown and "--resume goes on" in shown
    assert err == "" and [p.name for p in out.iterdir()] == ["checkpoints"]
    code, shown, _ = call(*command, "--resume", capsys=capsys)
    assert code == 0 and "Resumed after step 9" in shown
    again = tmp_path / "whole"
    command[command.index(str(out))] = str(again)
    assert call(*command, capsys=capsys)[0] == 0
    for name in ("scores.json", "forecast.csv"):
        assert (again / name).read_text() == (out / name).read_text()


def test_gaps_in_time_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = waves(tmp_path / "waves.csv")
    lines = file.read_text().splitlines(keepends=True)
    for left_out, words in (
        (slice(0, 0), None),
        (slice(9, 12), "1 gaps, the longest between 2024-01-08"),
    ):
        rest = [line for line in lines if line not in lines[left_out]]
        file.write_text("".join(rest))
        command = ["train", "csv", str(file), "--out", str(tmp_path / f"{len(rest)}"), *DECLARED]
        shown = call(*command, "--steps", "2", capsys=capsys)[1]
        assert ("not equally far apart" in shown) == (words is not None)
        assert words is None or words in shown


@pytest.mark.parametrize("name", [".", "/dev/zero"])
def test_what_is_no_table(name: str, tmp_path: Path) -> None:
    if (tmp_path / name).exists():
        with pytest.raises(DataError, match=r"expected a table, found a (folder|device)"):
            read_csv(tmp_path / name)


def test_a_stopped_training_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecaster, "SAVE_EVERY", 0.0)
    series = read_csv(waves(tmp_path / "s.csv"), time="day", date_format="%d.%m.%Y", **GERMAN)
    settings = forecaster.ForecastSettings(hidden=6, steps=40)
    whole, _ = forecaster.train(series, settings, progress=False)

    class Stop(Exception):
        pass

    def fail(run: Any) -> None:
        if run.step == 24:
            raise Stop

    original = forecaster.fit
    try:
        forecaster.fit = lambda *a, **k: original(*a, **k, callbacks=[fail])
        with pytest.raises(Stop):
            forecaster.train(series, settings, checkpoint=tmp_path / "run", progress=False)
    finally:
        forecaster.fit = original
    rest, _ = forecaster.train(series, settings, checkpoint=tmp_path / "run", progress=False)
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_nothing_of_the_end_is_known_before(tmp_path: Path) -> None:
    """A jump of the last value changes nothing of the model that is trained on what was before."""
    found = []
    for last in (0.0, 1e6):
        path = waves(tmp_path / f"{last}.csv", last=last)
        series = read_csv(path, time="day", date_format="%d.%m.%Y", **GERMAN)
        model, _ = forecaster.train(
            series, forecaster.ForecastSettings(hidden=4, steps=5), progress=False
        )
        found.append([p.numpy() for p in model.parameters()] + [model.mean, model.scale])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("rows", "message"), [(2, "too few"), (30, "one value only")])
def test_series_that_cannot_be_learnt(rows: int, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "a\n" + "1\n" * rows)
    with pytest.raises(DataError, match=message):
        forecaster.train(read_csv(path), forecaster.ForecastSettings(steps=1), progress=False)


def test_a_model_of_other_columns_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = waves(tmp_path / "s.csv"), tmp_path / "out"
    call(
        "train",
        "csv",
        str(file),
        "--out",
        str(out),
        *DECLARED,
        *SMALL,
        "--steps",
        "2",
        capsys=capsys,
    )
    other = write(tmp_path / "o.csv", "a,b\n1,2\n3,4\n")
    code, _, err = call("forecast", str(out / "model.safetensors"), str(other), capsys=capsys)
    assert code == 2 and "there is no column 'height'; it has a, b" in err


def test_options_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = waves(tmp_path / "s.csv"), tmp_path / "out"
    config = write(
        tmp_path / "run.toml",
        """
        separator = ";"
        decimal = ","
        thousands = "."
        columns = ["height"]
        hidden = 4
        steps = 7
        overwrite = true
        resume = false
        """,
    )
    command = ["train", "csv", str(file), "--out", str(out), "--config", str(config)]
    code, shown, _ = call(*command, "--steps", "3", capsys=capsys)
    assert code == 0 and "moments of height;" in shown and "Trained 3 steps" in shown
    assert "Trained 7 steps" in call(*command, capsys=capsys)[1]
    for text, words in (("hidden = -1", "--hidden"), ("x = 1", "--x=1"), ("[a]\nb = 1", "a table")):
        write(config, text)
        code, _, err = call(*command, capsys=capsys)
        assert code == 2 and words in err
    write(config, 'missing = "previous"\ncolumns = ["height", "width"]')
    rest = ["--out", str(out), *DECLARED, *SMALL, "--overwrite"]
    for line in (  # no name of a file is taken for a column
        ["--config", str(config), str(file), *rest],
        [str(file), f"--config={config}", *rest],
        [*rest, "--config", str(config), "--", str(file)],
    ):
        code, shown, err = call("train", "csv", *line, capsys=capsys)
        assert code == 0 and "moments of height, width;" in shown, err
    code, _, err = call("train", "csv", "--conf", str(config), str(file), capsys=capsys)
    assert code == 2 and err.count("\n") == 1
    write(config, "no toml")
    assert "is no TOML file" in call(*command, capsys=capsys)[2]
    assert "No such file" in call(*command[:-1], "none.toml", capsys=capsys)[2]
