"""The harness of the tasks: runs, Ctrl-C, tables, files, the page, the command line."""

from __future__ import annotations

import functools
import io
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console

import tinygrad_rnn as tg
from tests import command
from tinygrad_rnn.core.tape import setting
from tinygrad_rnn.recurrent.cell import CompiledCell
from tinygrad_rnn.train import tasks
from tinygrad_rnn.train.interrupt import Interrupts
from tinygrad_rnn.train.tasks import page, runner
from tinygrad_rnn.train.tasks.task import Arm, Result, Run, Task, TaskError, check_cell, make_cell

pytestmark = pytest.mark.usefixtures("eager")


def scored(run: Run) -> Result:
    return Result(
        [0.5, 0.1, 0.25][run.seed],
        run.seed != 0,
        1000 * (run.seed + 1),
        20_000 * (run.seed + 1),
        1.5 + run.seed,
        f"seed {run.seed}",
    )


def arms(cell: str | None) -> Sequence[Arm]:
    return [
        Arm("baseline", lambda run: Result(1 / 3), "0.333", exact=True),
        Arm(cell or "LSTM", scored, "about 0.2"),
    ]


def fake(name: str = "fake", arms: Callable[[str | None], Sequence[Arm]] = arms) -> Task:
    return Task(
        name,
        f"{name} title",
        "What it is about.",
        "A. Author, A Paper (1999).",
        "the error",
        arms,
        seeds=3,
        budget=7.0,
    )


def screen(**options: object) -> Console:
    return Console(file=io.StringIO(), width=120, highlight=False, **options)  # type: ignore[arg-type]


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run(
    *chosen: Task,
    console: Console,
    save: Path | None = None,
    cell: str | None = None,
    seeds: int | None = None,
) -> int:
    return runner.main(chosen, console, cell=cell, seeds=seeds, budget=None, save=save)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Task]]:
    """The command line knows these tasks only."""
    known = [fake(), fake("other")]
    monkeypatch.setattr(tasks, "tasks", lambda: known)
    yield known


def test_every_arm_runs_over_its_seeds_and_exact_ones_once() -> None:
    calls: list[tuple[str, int, float]] = []

    def noting(name: str) -> Callable[[Run], Result]:
        def go(run: Run) -> Result:
            calls.append((name, run.seed, run.budget))
            return Result(0.0)

        return go

    task = fake(
        arms=lambda cell: [
            Arm("a", noting("a")),
            Arm("b", noting("b"), exact=True),
            Arm("c", noting("c")),
        ]
    )
    console = screen()
    assert runner.main([task], console, cell=None, seeds=2, budget=0.5, save=None) == 0
    assert calls == [("a", 0, 0.5), ("a", 1, 0.5), ("b", 0, 0.5), ("c", 0, 0.5), ("c", 1, 0.5)]
    assert "5 runs of at most 0.5 s; the figure is the error." in shown(console)
    calls.clear()
    run(task, console=screen())
    assert [call[1:] for call in calls] == [
        (0, 7.0),
        (1, 7.0),
        (2, 7.0),
        (0, 7.0),
        (0, 7.0),
        (1, 7.0),
        (2, 7.0),
    ]


def test_the_table() -> None:
    console = screen()
    assert run(fake(), console=console) == 0
    text = shown(console)
    assert text.startswith("fake: fake title\n4 runs of at most 7 s")
    assert "LSTM, seed 1: 0.1000, solved, 2,000 sequences in 2.5 s, seed 1" in text
    lines = text.split("\n\n")[-2].splitlines()
    assert [line.split() for line in lines] == [
        [
            "arm",
            "ours:",
            "median",
            "[min",
            "..",
            "max]",
            "solved",
            "sequences",
            "steps",
            "seconds",
            "published",
        ],
        ["baseline", "0.3333", "0.333"],
        [
            "LSTM",
            "0.2500",
            "[0.1000",
            "..",
            "0.5000]",
            "2/3",
            "2,000",
            "40,000",
            "2.5",
            "about",
            "0.2",
        ],
    ]
    assert lines[0].index("published") == lines[2].index("about 0.2") == lines[1].rindex("0.333")
    assert text.rstrip().endswith(
        "LSTM: seed 0; seed 1; seed 2\nPublished: A. Author, A Paper (1999)."
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.25], "0.250"),
        ([0.3, 0.1, 0.2], "0.200 [0.100 .. 0.300]"),
        ([0.1, 0.2], "0.150 [0.100 .. 0.200]"),
        ([math.nan, 0.1, 0.2], "0.150 [0.100 .. 0.200], 1 diverged"),
        ([math.nan, math.inf], "diverged"),
    ],
)
def test_several_scores_in_words(scores: list[float], expected: str) -> None:
    assert runner.figure(scores, 3) == expected


def stopping(at: int, number: int = signal.SIGINT) -> Callable[[str | None], Sequence[Arm]]:
    """Arms of which the run with seed `at` is interrupted in the course of its training."""

    def go(run: Run) -> Result:
        steps = 0
        while run.go_on() and steps < 3:
            steps += 1
            if run.seed == at:
                os.kill(os.getpid(), number)
        return Result(0.1 * (run.seed + 1), True, steps, 1, 1.0)

    return lambda cell: [Arm("LSTM", go), Arm("never", go)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_between_two_steps_and_keeps_what_is_finished(
    number: int, tmp_path: Path
) -> None:
    console = screen()
    before = signal.getsignal(signal.SIGINT)
    assert (
        run(fake(arms=stopping(2, number)), fake("later"), console=console, save=tmp_path)
        == 128 + number
    )
    assert signal.getsignal(signal.SIGINT) is before
    text = shown(console)
    assert (
        "Stopped: these are the runs that were finished." in text
        and "0.1500 [0.1000 .. 0.2000]" in text
    )
    assert "later" not in text and not (tmp_path / "later.json").exists()
    results = runner.read(tmp_path / "fake.json")
    assert not results.complete and [(arm.name, arm.seeds) for arm in results.arms] == [
        ("LSTM", [0, 1])
    ]


def test_ctrl_c_before_anything_is_finished(tmp_path: Path) -> None:
    console = screen()
    assert run(fake(arms=stopping(0)), console=console, save=tmp_path / "x.json") == 130
    assert "No run was finished." in shown(console) and not (tmp_path / "x.json").exists()


def test_ctrl_c_in_the_middle_of_a_step() -> None:
    def hangs(run: Run) -> Result:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the third signal ends a step that hangs")

    console = screen()
    assert (
        run(
            fake(arms=lambda cell: [Arm("fine", scored, exact=True), Arm("hangs", hangs)]),
            console=console,
        )
        == 130
    )
    assert "fine" in shown(console).split("published")[1]


def test_a_cell_that_does_not_fit_is_an_error_of_the_user() -> None:
    def wrong(run: Run) -> Result:
        raise tg.ShapeError("expected this; found that")

    task = fake(arms=lambda cell: [Arm("LSTM", wrong)])
    with pytest.raises(TaskError, match=r"^fake with the cell GRU: expected this; found that$"):
        run(task, console=screen(), cell="GRU")
    with pytest.raises(tg.ShapeError, match=r"^expected this; found that$"):
        run(task, console=screen())


def test_progress_on_a_terminal_and_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(run: Run) -> Result:
        for i in range(4):
            run.go_on(f"error 0.{i}")
        return Result(0.5)

    task = fake(arms=lambda cell: [Arm("LSTM", steps)])
    terminal = screen(force_terminal=True, _environ={"TERM": "xterm"})
    run(task, console=terminal, seeds=1)
    assert "error 0.3" in shown(terminal) and "of at most 0:07" in shown(terminal)
    monkeypatch.setattr(runner, "_EVERY", 0.0)
    plain = screen()
    run(task, console=plain, seeds=1)
    assert "  LSTM, seed 0 (1/1): error 0.1, 0:00 of at most 0:07\n" in shown(plain)
    monkeypatch.setattr(runner, "_EVERY", 60.0)
    quiet = screen()
    run(task, console=quiet, seeds=1)
    assert "at most 0:07" not in shown(quiet)


def test_a_run_that_its_budget_ended_says_so() -> None:
    def steps(run: Run) -> Result:
        count = 0
        while count < 3 and run.go_on():
            count += 1
        return Result(0.5, note="" if count == 3 else "stopped early")

    for budget, expected in ((1e-9, "stopped early, ended by its budget"), (100.0, "")):
        results = runner.TaskResults("fake", None, 1, budget)
        with Interrupts() as interrupts:
            runner.run_task(
                fake(arms=lambda cell: [Arm("LSTM", steps)]), results, screen(), interrupts
            )
        assert results.arms[0].results[0].note == expected


def test_published_figures_stand_beside_their_own_cell_alone() -> None:
    for task in tasks.tasks():
        assert all(not arm.published for arm in task.arms("MGU") if "MGU" in arm.name), task.name
        shared = {arm.name: arm.published for arm in task.arms(None)}
        assert all(
            arm.published == shared[arm.name] for arm in task.arms("MGU") if arm.name in shared
        ), task.name
    found = {
        task.name: {arm.name: arm.published for arm in task.arms(None) if arm.published}
        for task in tasks.tasks()
    }
    assert set(found["reber"]) == {"LSTM1997", "Elman"} and set(found["adding"]) == {"LSTM1997"}
    assert {arm.name: bool(arm.published) for arm in tasks.find("reber").arms("LSTM1997")} == {
        "LSTM1997": True,
        "Elman": True,
    }


REPEATED = """
import json, sys
from tinygrad_rnn.train import tasks
from tinygrad_rnn.train.tasks.task import Run
found = []
for name, cell, limits in (("reber", "GRU", {"most": 400}), ("anbncn", "LSTM1997", {"updates": 60, "networks": 2})):
    arm = tasks.find(name).arms(cell)[0]
    result = arm.run.func(Run(3, 1e9), **arm.run.keywords, **limits)
    found.append([result.score, result.sequences, result.steps, result.note])
from tinygrad_rnn.train.tasks import digits
from tinygrad_rnn.train.tasks.task import make_cell
result = digits.train(Run(3, 1e9), 8, digits.ROWS._replace(epochs=1, hidden=8), lambda f, h, rng: make_cell("GRU", f, h, rng=rng))
print(json.dumps([*found, [result.score, result.sequences, result.steps, result.note]]))
"""


@pytest.mark.full
@pytest.mark.parametrize("way", ["eager", "compiled"])
def test_a_run_repeats_in_another_process(way: str, tmp_path: Path) -> None:
    """To the last digit, if no budget ends it.

    Also where the cache of compiled code is empty, or full.
    """
    space = {
        **os.environ,
        "TINYGRAD_RNN_EAGER": str(int(way == "eager")),
        "TINYGRAD_RNN_CACHE": str(tmp_path),
    }
    runs = [
        subprocess.run(
            [sys.executable, "-c", REPEATED], env=space, capture_output=True, text=True, check=False
        )
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert runs[0].stdout == runs[1].stdout and len(json.loads(runs[0].stdout)) == 3


def test_results_are_written_and_read(tmp_path: Path) -> None:
    diverging = fake(
        arms=lambda cell: [
            Arm(
                "LSTM",
                lambda run: Result(math.nan if run.seed else 0.25, bool(run.seed), note="ä"),
                "p",
            )
        ]
    )
    file = tmp_path / "new" / "folder" / "x.json"
    assert run(diverging, console=screen(), save=file, seeds=2, cell="GRU") == 0
    about = json.loads(
        file.read_text(encoding="utf-8"),
        parse_constant=lambda name: pytest.fail(f"{name} is no JSON"),
    )
    assert (about["task"], about["cell"], about["seeds"], about["budget"], about["complete"]) == (
        "fake",
        "GRU",
        2,
        7.0,
        True,
    )
    assert [r["score"] for r in about["arms"][0]["results"]] == [0.25, None]
    [arm] = runner.read(file).arms
    assert (
        arm.results[0] == Result(0.25, False, note="ä")
        and math.isnan(arm.results[1].score)
        and arm.seeds == [0, 1]
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"arms": [{"results": [{}]}]}', '{"arms": [], "odd": 1}']
)
def test_a_file_of_something_else_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text(text)
    with pytest.raises(TaskError, match="does not hold the results of a task"):
        runner.read(tmp_path / "fake.json")


def test_several_tasks_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"one file, for one task; for 2 name a folder"):
        run(fake(), fake("other"), console=screen(), save=tmp_path / "x.json")
    run(fake(), fake("other"), console=screen(), save=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fake.json", "other.json"]


def test_a_missing_package_is_known_before_anything_is_run(tmp_path: Path) -> None:
    def missing() -> None:
        raise TaskError("the data come with a package")

    first, second = fake("first"), fake("second")._replace(ready=missing)
    with pytest.raises(TaskError, match="the data come with a package"):
        run(first, second, console=screen(), save=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_results_are_not_replaced_unasked(tmp_path: Path) -> None:
    run(fake(), console=screen(), save=tmp_path)
    before = (tmp_path / "fake.json").read_bytes()
    never = fake(arms=lambda cell: pytest.fail("it began"))
    for save in (tmp_path, tmp_path / "fake.json"):
        with pytest.raises(
            TaskError,
            match=r"fake\.json holds results already; name another place, or replace them by --overwrite",
        ):
            run(never, console=screen(), save=save)
    assert (tmp_path / "fake.json").read_bytes() == before
    assert (
        runner.main(
            [fake(arms=stopping(2))],
            screen(),
            cell=None,
            seeds=None,
            budget=None,
            save=tmp_path,
            overwrite=True,
        )
        == 130
    )
    assert not runner.read(tmp_path / "fake.json").complete


def test_results_are_kept_after_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def go(run: Run) -> Result:
        path = tmp_path / "fake.json"
        found.append(sum(len(arm.seeds) for arm in runner.read(path).arms) if path.exists() else 0)
        if len(found) == 5:
            raise MemoryError
        return Result(0.1)

    with pytest.raises(MemoryError):
        run(fake(arms=lambda cell: [Arm("a", go), Arm("b", go)]), console=screen(), save=tmp_path)
    assert found == [0, 1, 2, 3, 4]
    results = runner.read(tmp_path / "fake.json")
    assert [arm.seeds for arm in results.arms] == [[0, 1, 2], [0]] and not results.complete


def test_a_disk_that_is_full_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = runner.write, []

    def full(*given: object) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OSError(28, "No space left on device")
        real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "write", full)
    console = screen()
    assert run(fake(), console=console, save=tmp_path) == 0
    assert (
        shown(console).count("cannot be written now") == 2
        and runner.read(tmp_path / "fake.json").complete
    )


def test_a_place_that_cannot_be_written_to_is_known_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = fake(arms=lambda cell: pytest.fail("it began"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run(never, console=screen(), save=tmp_path / "file" / "x")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"fake\.json"):
        run(never, console=screen(), save=tmp_path)


def test_the_page(tmp_path: Path) -> None:
    known = [fake(), fake("left-out"), fake("other", stopping(1))]
    run(known[0], console=screen(), save=tmp_path, seeds=3, cell="GRU")
    run(known[2], console=screen(), save=tmp_path)
    found = page.collect(tmp_path, known)
    assert [task.name for task, _ in found] == ["fake", "other"]
    text = page.page(found)
    assert (
        "## fake: fake title\n\nWhat it is about.\n\nThe figure is the error.\n\n| arm | ours: median [min .. max] | solved |"
        in text
    )
    assert "| GRU | 0.2500 [0.1000 .. 0.5000] | 2/3 | 2,000 | 40,000 | 2.5 | about 0.2 |\n" in text
    assert "| baseline | 0.3333 |  |  |  |  | 0.333 |\n" in text
    assert (
        "`tinygrad-rnn tasks run fake --seeds 3 --budget 7 --cell GRU`" in text
        and "left-out" not in text
    )
    assert (
        "stopped before" not in text.split("## other")[0]
        and "stopped before" in text.split("## other")[1]
    )
    with pytest.raises(TaskError, match="holds no results"):
        page.collect(tmp_path / "nowhere", known)


def test_cells_are_compiled_unless_eager_says_otherwise() -> None:
    with setting(eager=False):
        made = make_cell("Elman", 3, 5, rng=0)
    assert isinstance(made, CompiledCell) and made._code.runners  # type: ignore[attr-defined]
    assert type(make_cell("Elman", 3, 5, rng=0)) is tg.cells.Elman


def test_cells_by_name() -> None:
    assert make_cell("GRU", 3, 5, rng=0).weight_hh.shape == (15, 5)
    for name in ("Lstm", "LSTMState", "PublishedCell", "__name__"):
        with pytest.raises(
            TaskError, match=rf"there is no cell '{name}'; expected one of .*Elman"
        ) as caught:
            check_cell(name)
        assert "LSTMState" not in str(caught.value).split("expected")[1]
    with pytest.raises(TaskError, match=r"the cell 'LSTMP' does not fit here: .*proj_size"):
        make_cell("LSTMP", 3, 5, rng=0)


def test_a_run_knows_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("tinygrad_rnn.train.tasks.task.time.monotonic", lambda: now[0])
    said: list[tuple[float, str]] = []
    with Interrupts() as interrupts:
        one = Run(0, 10.0, lambda fraction, text: said.append((fraction, text)), interrupts.check)
        for now[0], more in (
            (100.0, True),
            (105.0, True),
            (109.9, True),
            (110.0, False),
            (130.0, False),
        ):
            assert one.go_on(str(now[0])) is more
    assert (
        [fraction for fraction, _ in said] == pytest.approx([0, 0.5, 0.99, 1, 1])
        and said[1][1] == "105.0"
        and one.seconds == 30
    )


# --- the command line -----------------------------------------------------------------------------------------------------


call = functools.partial(command.call, "tasks")


def test_list(register: list[Task], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", capsys=capsys) == (
        0,
        "task   what it is   runs of each arm, at most\nfake   fake title   3 x 7 s\nother  other title  3 x 7 s\n",
        "",
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["other"], ["other"]), (["all"], ["fake", "other"]), (["other", "fake"], ["other", "fake"])],
)
def test_run(
    names: list[str],
    expected: list[str],
    register: list[Task],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = call(
        "run",
        *names,
        "--seeds",
        "2",
        "--budget",
        "3",
        "--cell",
        "GRU",
        "--json",
        str(tmp_path),
        capsys=capsys,
    )
    assert (code, err) == (0, "")
    assert [out.index(f"{name} title with the cell GRU") for name in expected] == sorted(
        out.index(f"{name} title with") for name in expected
    )
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(expected)
    results = runner.read(tmp_path / f"{expected[0]}.json")
    assert (results.cell, results.seeds, results.budget) == ("GRU", 2, 3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "odd"], "there is no task 'odd'; expected one of fake, other"),
        (["run", "fake", "--cell", "odd"], "there is no cell 'odd'; expected one of"),
        (["run", "all", "--json", "x.json"], "x.json is one file, for one task"),
        (["run", "fake", "--seeds", "0"], "expected a whole number, at least 1"),
        (["run", "fake", "--budget", "-1"], "expected a number above 0"),
        (["run"], "required: NAME"),
        ([], "required: ACTION"),
        (["page", "--results", "nowhere"], "nowhere holds no results"),
    ],
)
def test_errors_take_one_line(
    arguments: list[str], message: str, register: list[Task], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(*arguments, capsys=capsys)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def test_page(register: list[Task], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("run", "all", "--json", str(tmp_path), capsys=capsys)
    code, out, _ = call("page", "--results", str(tmp_path), capsys=capsys)
    assert code == 0 and out.startswith("# Tasks from the literature\n") and "## other" in out
    assert call(
        "page", "--results", str(tmp_path), "--out", str(tmp_path / "tasks.md"), capsys=capsys
    ) == (0, "", "")
    assert (tmp_path / "tasks.md").read_text(encoding="utf-8") == out
