"""Every command with every option given nonsense, odd names and odd surroundings.

One clear line and an exit code, never a traceback.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.command import call
from tinygrad_rnn.cli import arguments, info
from tinygrad_rnn.data import Vocabulary, split
from tinygrad_rnn.train import characters, console, demo, memory, model_files, text
from tinygrad_rnn.train.named import example, load_named
from tinygrad_rnn.train.options import Options

pytestmark = pytest.mark.usefixtures("eager")

TEXT = "".join(f"{i} times {j} is {i * j}\n" for i in range(25) for j in range(25))
SMALL = [
    "--hidden",
    "6",
    "--embedding",
    "3",
    "--batch",
    "2",
    "--window",
    "5",
    "--steps",
    "3",
    "--length",
    "20",
    "--eager",
]
ROOT = Path(__file__).resolve().parents[1]


def one_line(code: int, err: str) -> None:
    assert (
        code == 2 and err.startswith("tinygrad-rnn") and err.count("\n") == 1 and len(err) < 1500
    ), (code, err)
    assert "Traceback" not in err and "fault of this program" not in err, err


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "folder").mkdir()
    return tmp_path


# --- the parser -------------------------------------------------------------------------------------------------------------


ENDS_SOON = {  # what each command needs to run; it then finds that this cannot be done
    "demo": ["--text", "short.txt"],
    "train text": ["short.txt", "--out", "out"],
    "sample": ["missing.safetensors"],
    "train csv": ["short.txt", "--out", "out"],
    "forecast": ["missing.safetensors", "short.txt"],
    "eval": ["missing.safetensors", "short.txt"],
    "draw": ["missing.py"],
    "explore": ["missing.py"],
    "tasks run": ["missing"],
    "tasks page": ["--results", "missing"],
    "tasks list": ["nonsense"],
    "info": ["nonsense"],
}
NUMBERS = [
    "",
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e18",
    "1e400",
    "1.5",
    "x",
    "9" * 30,
    "9" * 5000,
    "0x10",
    "\u0665",
    "\u00b2",
    "1 2",
    "--",
    "\udce9",
]
NAMES = [
    "",
    " ",
    "-",
    ".",
    "..",
    "/",
    "folder",
    "short.txt",
    "missing/file",
    "a\0b",
    "x" * 300,
    "/dev/null/x",
    "caf\udce9",
    "a\nb",
    "[bold]",
    "{x}",
]


def commands(
    parser: argparse.ArgumentParser, names: tuple[str, ...] = ()
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not found:
        yield " ".join(names), parser
    for action in found:
        for name, inner in action.choices.items():
            yield from commands(inner, (*names, name))


def cases() -> Iterator[Any]:
    for name, parser in commands(arguments.parser()):
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            yield pytest.param(
                name,
                action,
                id=f"{name} {action.option_strings[0] if action.option_strings else action.dest}",
            )


def test_all_commands_are_here() -> None:
    assert {name for name, _ in commands(arguments.parser())} == ENDS_SOON.keys()


@pytest.mark.parametrize(("command", "action"), list(cases()))
def test_nonsense_takes_one_line(
    command: str, action: argparse.Action, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = (
        (NUMBERS if action.type not in (None, arguments.path) else NAMES)
        if action.nargs != 0
        else [None]
    )
    before = sorted(folder.rglob("*"))
    for value in values:
        given = [] if value is None else [value]
        if action.option_strings:
            if given and given[0].startswith("-"):
                given = []
                flag = [f"{action.option_strings[0]}={value}"]
            else:
                flag = [action.option_strings[0]]
            line = [*command.split(), *ENDS_SOON[command], *flag, *given]
        else:
            line = [*command.split(), *(["--"] if value and value.startswith("-") else []), *given]
        code, out, err = call(*line, capsys=capsys)
        one_line(code, err)
        assert "Traceback" not in out
    assert sorted(folder.rglob("*")) == before and (folder / "short.txt").read_text() == "short"


# --- where files go -----------------------------------------------------------------------------------------------------------


BAD_PLACES = ["", ".", "folder", "missing/file", "short.txt/file", "a\0b", "x" * 300, "/dev/null/x"]


@pytest.mark.parametrize("place", BAD_PLACES)
def test_places_that_no_file_can_have(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    ending = "" if place in ("", ".", "folder") else ".svg"
    one_line(*call("draw", "Elman", "--out", place + ending, capsys=capsys)[::2])
    one_line(*call("explore", "Elman", "--out", place, capsys=capsys)[::2])


@pytest.mark.parametrize("place", ["short.txt", "short.txt/file", "a\0b", "x" * 300, "/dev/null/x"])
def test_places_that_no_folder_can_have(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["demo", "--text"], ["train", "text"]):
        one_line(*call(*command, "text.txt", "--out", place, *SMALL, capsys=capsys)[::2])


def test_names_in_another_encoding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "caf\udce9.py").write_text(
        "import tinygrad_rnn as tg\nMine = tg.cells.Elman(3, 4, rng=0)\n"
    )
    (folder / "text.txt").rename("t\udce9.txt")
    for words in (
        ["draw", "caf\udce9.py:Mine", "--out", "a\udce9.svg", "--title", "\udce9"],
        ["draw", "caf\udce9.py:Mine", "--out", "a\udce9.dot", "--title", "\udce9"],
        ["draw", "caf\udce9.py:Mine", "--out", "a\udce9.html", "--steps", "2", "--heat"],
        ["explore", "caf\udce9.py:Mine", "--out", "e\udce9.html"],
        ["explore", "caf\udce9.py:Mine", "--title", "\udce9"],
        ["demo", "--text", "t\udce9.txt", "--out", "o\udce9", *SMALL],
        ["train", "text", "t\udce9.txt", "--out", "o\udce9", *SMALL, "--overwrite"],
        ["train", "text", "--out", "o\udce9", "--steps", "4", "--resume", "--eager"],
        ["sample", "o\udce9/model.safetensors", "--prompt", "\udce9", "--length", "5"],
        ["draw", "o\udce9/model.safetensors"],
    ):
        code, _, err = call(*words, capsys=capsys)
        assert (code, err) == (0, ""), words
    assert {"a\udce9.svg", "a\udce9.dot", "e\udce9.html", "explore.html", "o\udce9"} <= {
        path.name for path in folder.iterdir()
    }
    one_line(*call("explore", "n\udce9.py", capsys=capsys)[::2])
    one_line(*call("draw", "caf\udce9.py:N\udce9", capsys=capsys)[::2])


# --- files of the user that misbehave ---------------------------------------------------------------------------------------


MISBEHAVING = {
    "ended the program: SystemExit\\(3\\) \\(line 2 of mine.py\\)": "import sys\nsys.exit(3)",
    "ended the program: SystemExit\\('gone'\\)": "raise SystemExit('gone')",
    "SyntaxError": "class A(:",
    "null bytes": "x = 1\0",
    "RecursionError": "def f(): f()\nf()",
    "GeneratorExit": "raise GeneratorExit",
    "raised Odd: a b c": "class Odd(BaseException): pass\nraise Odd('a\\nb\\n\\nc')",
    "cannot be shown": "class Odd(Exception):\n    def __str__(self): return 1 / 0\nraise Odd()",
    "raised ValueError: xxx.*\\.\\.\\. \\(line 1": "raise ValueError('x' * 100_000)",
    "ModuleNotFoundError": "import there_is_no_such_module",
    "no recorded tensor, no cell": "print = None",
    "raised MemoryError": "raise MemoryError",
    "too big": "import numpy as np\nnp.zeros((1 << 30, 1 << 30))",
}


@pytest.mark.parametrize("words", MISBEHAVING)
@pytest.mark.parametrize("command", ["draw", "explore"])
def test_files_that_misbehave_when_they_are_imported(
    words: str, command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.py").write_text(MISBEHAVING[words])
    code, _, err = call(command, "mine.py", capsys=capsys)
    one_line(code, err)
    assert re.search(words, err), err


@pytest.mark.parametrize("body", ["sys.exit(3)", "raise Odd('x')", "f()", "1 / 0"])
@pytest.mark.parametrize("place", ["function", "__init__", "initial_state", "forward", "property"])
def test_code_of_the_user_that_misbehaves_when_it_is_run(
    body: str, place: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = {name: body if name == place else default for name, default in
             (("function", "pass"), ("__init__", "pass"), ("initial_state", "return tg.tensor(np.zeros((n, 3), 'f'))"), ("forward", "return x, h"),
              ("property", "return 3"))}  # fmt: skip
    (folder / "mine.py").write_text(
        "import sys\nimport numpy as np\nimport tinygrad_rnn as tg\nclass Odd(BaseException): pass\ndef f(): f()\n"
        f"def function():\n    {lines['function']}\n"
        f"class Mine(tg.Cell):\n    hidden_size = 3\n    def __init__(self):\n        {lines['__init__']}\n"
        f"    @property\n    def input_size(self):\n        {lines['property']}\n"
        f"    def initial_state(self, n):\n        {lines['initial_state']}\n"
        f"    def forward(self, x, h):\n        {lines['forward']}\n"
    )
    name = "mine.py:function" if place == "function" else "mine.py:Mine"
    for command in (["draw"], ["draw", "--steps", "2"], ["explore"]):
        code, _, err = call(*command, name, capsys=capsys)
        one_line(code, err)


def test_ctrl_c_while_a_file_is_imported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.py").write_text("raise KeyboardInterrupt")
    assert call("draw", "mine.py", capsys=capsys) == (130, "", "tinygrad-rnn: stopped\n")


def test_a_file_with_the_name_of_a_module_of_this_program(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("numpy", "colorsys", "tinygrad_rnn"):
        before = sys.modules.get(name)
        (folder / f"{name}.py").write_text(
            "from tinygrad_rnn.cells import Elman\nMine = Elman(3, 4, rng=0)\n"
        )
        assert call("draw", f"{name}.py:Mine", capsys=capsys)[0] == 0
        assert sys.modules.get(name) is before


def test_what_a_file_prints_is_seen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.py").write_text(
        "import tinygrad_rnn as tg\nprint('hello')\nMine = tg.cells.Elman(3, 4, rng=0)\n"
    )
    code, out, err = call("draw", "mine.py", capsys=capsys)
    assert code == 0 and out.startswith("hello\n") and err == ""


# --- surroundings -----------------------------------------------------------------------------------------------------------


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -m tinygrad_rnn'
    return subprocess.run(["bash", "-c", line.replace("tinygrad-rnn", command)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **environment})  # fmt: skip


TRAIN = f"tinygrad-rnn train text text.txt --out out {' '.join(SMALL)}"


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    "line",
    [
        f"{TRAIN} >&-",
        f"{TRAIN} >&- 2>&- <&-",
        f"set -o pipefail; {TRAIN} | head -1",
        f"{TRAIN} 2>&-",
        f"{TRAIN} > /dev/full",
    ],
)
def test_a_run_needs_nobody_who_reads(line: str, folder: Path) -> None:
    if "/dev/full" in line and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    done = shell(line)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    names = ["checkpoints", "corpus.ids", "loss.svg", "model.safetensors"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == names
    model_files.load_model(folder / "out" / "model.safetensors")


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_closed_stream(closed: str, folder: Path) -> None:
    program = "import os; from tinygrad_rnn.cli import streams; streams.open_streams(); os._exit(os.open('short.txt', os.O_RDONLY) <= 2)"
    assert shell(f'"{sys.executable}" -c "{program}" {closed}').returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_other_commands_without_readers(folder: Path) -> None:
    for line, code in (("tinygrad-rnn info >&-", 0), ("set -o pipefail; tinygrad-rnn --help | true", 0), ("tinygrad-rnn fly 2>&-", 2),
                       ("tinygrad-rnn draw Elman >&- 2>&-", 0)):  # fmt: skip
        done = shell(line)
        assert done.returncode == code and done.stderr == "", (line, done.stderr)
    if os.path.exists("/dev/full"):
        done = shell("tinygrad-rnn info > /dev/full")
        assert (
            done.returncode == 2
            and done.stderr.count("\n") == 1
            and os.strerror(errno.ENOSPC) in done.stderr
        )


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize("changes", [{"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"},
                                     {"COLUMNS": "20", "NO_COLOR": "1"}, {"TERM": "dumb"}])  # fmt: skip
def test_poor_terminals(changes: dict[str, str], folder: Path) -> None:
    (folder / "text.txt").write_text(TEXT.replace("times", "\u00d7 \u4e00"), encoding="utf-8")
    done = shell(
        f"tinygrad-rnn demo --text text.txt --out out {' '.join(SMALL)}; tinygrad-rnn draw Elman",
        **changes,
    )
    assert done.returncode == 0 and done.stderr == "" and "report.html" in done.stdout
    assert "NO_COLOR" not in changes or "\x1b" not in done.stdout


def test_without_programs_and_libraries_that_are_not_needed(folder: Path) -> None:
    program = f"""
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("numba", "llvmlite", "scipy", "graphviz", "pygraphviz"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "pygraphviz" else found(name, *rest)
sys.meta_path.insert(0, Missing())
from tinygrad_rnn import cli
for line in ({["train", "text", "text.txt", "--out", "out", *SMALL[:-1]]!r}, ['sample', 'out/model.safetensors', '--length', '5'],
             ['draw', 'LSTM'], ['explore', 'GRU'], ['info'], ['info', '--cache'], ['tasks', 'list']):
    assert cli.main(line) == 0, line
assert cli.main(['draw', 'LSTM', '--out', 'a.png']) == 2
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": ""})  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert (
        len(lines) == 2
        and "numba cannot be used here" in lines[0]
        and "PNG and PDF need graphviz" in lines[1]
    ), done.stderr


# --- memory, and numbers that are too large ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    [
        ["--hidden", "1000000000"],
        ["--embedding", "2147483647"],
        ["--hidden", "2147483647", "--batch", "2147483647"],
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    sizes: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call("train", "text", "text.txt", "--out", "out", *sizes, capsys=capsys)
    one_line(code, err)
    assert "GB" in err and sizes[0] in err and not (folder / "out").exists()


def test_without_enough_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "_memory", lambda: 10_000)
    one_line(*call("train", "text", "text.txt", "--out", "out", *SMALL, capsys=capsys)[::2])
    monkeypatch.setattr(memory, "_memory", lambda: None)

    def none(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(demo, "Trainer", none)
    code, _, err = call("train", "text", "text.txt", "--out", "out", *SMALL, capsys=capsys)
    one_line(code, err)
    assert "not enough memory" in err


@pytest.mark.parametrize(
    "numbers",
    [["--args", "2147483647", "2147483647"], ["--steps", "2147483647", "--batch", "2147483647"]],
)
@pytest.mark.parametrize("command", ["draw", "explore"])
def test_examples_that_do_not_fit(
    command: str, numbers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    one_line(*call(command, "LSTM", *numbers, capsys=capsys)[::2])


def test_heat_of_one_step(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call("draw", "LSTM", "--steps", "1", "--heat", capsys=capsys)
    one_line(code, err)
    assert "it has one time step; take two or more" in err
    assert call("draw", "LSTM", "--steps", "2", "--heat", capsys=capsys)[0] == 0


def test_a_fault_of_this_program_takes_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(given: argparse.Namespace) -> int:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(info, "info", broken)
    code, _, err = call("info", capsys=capsys)
    assert (
        code == 70
        and err.count("\n") == 1
        and "ZeroDivisionError: a b (line" in err
        and "TINYGRAD_RNN_TRACEBACK=1" in err
    )
    monkeypatch.setenv("TINYGRAD_RNN_TRACEBACK", "1")
    assert "Traceback" in call("info", capsys=capsys)[2]


# --- what is shown of a sample ----------------------------------------------------------------------------------------------


def test_a_sample_is_shown_as_it_is_but_for_what_controls_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text_ = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f468\u200d\U0001f469 a\u00a0b\u3000c :smile: [bold]x[/]\t\n"
    assert console.printable(text_) == text_
    assert console.printable("a\x1b[31m\x07\x9b\udce9") == "a\ufffd[31m\ufffd\ufffd\ufffd"
    console.console(width=200).print(text_, markup=False, soft_wrap=True)
    out = capsys.readouterr().out
    assert out.replace("\t", "").replace(" ", "") == text_.replace("\t", "").replace(" ", "") + "\n"


def test_the_library_says_what_the_command_line_says(folder: Path) -> None:
    """What is raised on purpose is a TinygradError, so that one except clause of a caller is enough."""
    (folder / "mine.py").write_text("import sys; sys.exit(3)")
    vocabulary = Vocabulary("ab")
    model = characters.CharacterLSTM(3, 2, 2, rng=0)
    for call_ in (
        lambda: load_named("mine.py"),
        lambda: example(3),
        lambda: text.of_path(Path("missing")),
        lambda: split("abc", 2.0),
        lambda: Vocabulary("aa"),
        lambda: vocabulary.decode([9]),
        lambda: characters.evaluate(model, [1]),
        lambda: characters.sample(model, vocabulary, -1),
        lambda: model_files.load_model("text.txt"),
        lambda: demo.run(Options(out=folder / "out", resume=True), console.console()),
        lambda: tg.save(folder / "x", np.zeros(3)),  # type: ignore[arg-type]
    ):
        with pytest.raises(tg.TinygradError):
            call_()
