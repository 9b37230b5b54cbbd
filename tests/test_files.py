"""Files that are whole or as they were, and the folder of a training run that one run at a time works in."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import files
from tinygrad_rnn.data import Corpus
from tinygrad_rnn.formats import safetensors
from tinygrad_rnn.train import console, demo, folder, model_files, text
from tinygrad_rnn.train.errors import UserError
from tinygrad_rnn.train.options import Options
from tinygrad_rnn.train.report import Row, write_report
from tinygrad_rnn.train.tasks import runner
from tinygrad_rnn.train.trainer import SavedRun, Settings, Trainer

from .processes import together

pytestmark = pytest.mark.usefixtures("eager")

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
ROOT = Path(__file__).resolve().parents[1]
TEXT = "".join(f"{i} times {j} is {i * j}\n" for i in range(25) for j in range(25))
SMALL = Settings(hidden=6, embedding=3, batch=2, window=5)


def content(place: Path) -> dict[str, Any]:
    """What the files of a folder hold, by name; of a folder in it, the same."""
    return {
        path.name: content(path) if path.is_dir() else path.read_bytes() for path in place.iterdir()
    }


# --- single files -----------------------------------------------------------------------------------------------------------


def by_replacing(path: Path) -> None:
    files.replace_file(path, "new")


def by_save(path: Path) -> None:
    tg.save(path, {"a": np.arange(3.0)})


def by_drawing(path: Path) -> None:
    tg.draw(tg.cells.Elman(2, 3, rng=0)).save(path)


def by_exploring(path: Path) -> None:
    tg.explore((tg.tensor([1.0, 2.0], requires_grad=True) * 2).sum(), path)


def by_reporting(path: Path) -> None:
    write_report(
        path,
        title="t",
        table=[Row("a", 1.0, ours=True)],
        sample="s",
        loss=["<svg></svg>"],
        graph_svg=None,
        facts={},
    )


def by_tasks(path: Path) -> None:
    runner.write(runner.TaskResults("t", None, 1, 1.0), path)


WRITERS = [by_replacing, by_save, by_drawing, by_exploring, by_reporting, by_tasks]


@pytest.fixture(params=WRITERS, ids=lambda writer: writer.__name__)
def write(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    found: Callable[[Path], None] = request.param
    return found


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_after_a_failure_the_old_file_is_there(
    write: Callable[[Path], None],
    call: str,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number), "a name that says nothing")

    path = tmp_path / "file.svg"
    path.write_text("old")
    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError) as caught:
        write(path)
    assert caught.value.filename == str(path) and caught.value.errno == number
    assert content(tmp_path) == {"file.svg": b"old"}


def test_what_is_written_is_on_the_disk_before_it_takes_the_place(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(file: int) -> None:
        done.append(
            f"sync {'folder' if stat.S_ISDIR(os.fstat(file).st_mode) else os.fstat(file).st_size > 0}"
        )
        sync(file)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(
        files.os, "replace", lambda *given: (done.append("replace"), replace(*given))
    )
    write(tmp_path / "file.svg")
    assert done == ["sync True", "replace", *(["sync folder"] if os.name == "posix" else [])]


@posix
def test_permissions_and_links_stay(write: Callable[[Path], None], tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        path, link = tmp_path / "file.svg", tmp_path / "link.svg"
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        path.write_text("old")
        link.symlink_to("file.svg")
        write(link)
        assert (
            link.is_symlink()
            and stat.S_IMODE(path.stat().st_mode) == 0o604
            and path.read_text("latin-1") != "old"
        )
        (tmp_path / "ahead.svg").symlink_to("new.svg")
        write(tmp_path / "ahead.svg")
        assert (tmp_path / "ahead.svg").is_symlink() and (tmp_path / "new.svg").stat().st_size
    finally:
        os.umask(umask)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can give files to another user",
)
def test_a_file_stays_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    os.chown(path, 65534, 65534)
    by_save(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


@posix
def test_a_pipe_is_written_to_and_not_replaced(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "file.svg"
    os.mkfifo(path)
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as reader:
        write(path)
        assert len(reader.communicate(timeout=30)[0]) > 2
    assert stat.S_ISFIFO(path.lstat().st_mode)


def test_errors_name_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for name, kind in (
        ("none/m.svg", FileNotFoundError),
        ("file/m.svg", NotADirectoryError),
        (".", IsADirectoryError),
        ("x" * 300 + ".svg", OSError),
    ):
        for write in (by_replacing, by_save):
            with pytest.raises(kind) as caught:
                write(Path(name))
            assert caught.value.filename == name
    by_save(Path("\u00e4" * 120))  # a long name, too
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "\u00e4" * 120]


KILLED = """
import os, signal, sys
import numpy as np
import tinygrad_rnn as tg
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
tg.save(sys.argv[1], {"a": np.zeros(1000)})
"""


@posix
def test_what_a_killed_process_left_goes_when_nobody_can_be_at_it(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    by_save(path)
    whole = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL and path.read_bytes() == whole
    [left] = tmp_path.glob(".m.safetensors.*.tmp")
    others = [
        tmp_path / name
        for name in (
            ".m.safetensors.tmp",
            ".other.safetensors.12.abcdef01.tmp",
            f".m.safetensors.{os.getppid()}.abcdef01.tmp",
        )
    ]
    for other in others:
        other.write_text("")
        os.utime(other, (1, 1))
    by_save(path)
    assert left.exists()  # it is new: another computer may be writing it
    os.utime(left, (1, 1))
    by_save(path)
    assert not left.exists() and all(other.exists() for other in others)


# --- the folder of a run ----------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def options(file: Path, **changes: Any) -> Options:
    settings = {k: getattr(SMALL, k) for k in ("hidden", "embedding", "batch", "window")}
    return Options(
        **{
            "out": file.parent / "out",
            "command": "train text",
            "text": file,
            "steps": 4,
            "length": 10,
            "settings": settings,
            **changes,
        }
    )


def run(o: Options) -> int:
    return demo.run(o, console.console(width=200))


def steps(place: Path) -> int:
    return len(SavedRun.read(place / "checkpoints").losses)


@pytest.mark.parametrize("command", ["train text", "demo"])
def test_a_run_replaces_no_other_unasked(
    command: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = file.parent / "out"
    assert run(options(file, command=command)) == 0
    before = content(out)
    for _ in range(2):
        with pytest.raises(
            UserError,
            match=r"out holds a run already \(checkpoints, .*; 4 steps, .*--resume.*--out.*--overwrite",
        ):
            run(options(file, steps=2))
    with pytest.raises(UserError, match="holds a run already"):  # before the text is looked at
        run(options(file, text=file.parent / "missing"))
    assert content(out) == before
    with pytest.raises(tg.TinygradError, match="no such file"):
        run(options(file, text=file.parent / "missing", overwrite=True))
    assert content(out) == before
    assert run(options(file, steps=6, resume=True)) == 0 and steps(out) == 6
    assert run(options(file, steps=2, overwrite=True)) == 0 and steps(out) == 2
    assert run(options(file, steps=2, out=out / "new")) == 0 and steps(out / "new") == 2


@pytest.mark.parametrize("name", [folder.CHECKPOINTS, *folder.RESULTS])
def test_a_file_of_any_result_is_enough_to_refuse(name: str, file: Path) -> None:
    out = file.parent / "out"
    out.mkdir()
    (out / name).write_text("mine")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=f"holds a run already .{name}"):
        run(options(file))
    assert content(out) == {name: b"mine", "notes.txt": b"mine"}


def test_a_run_that_replaces_another_leaves_nothing_of_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = file.parent / "out"
    run(options(file, command="demo"))
    (out / "notes.txt").write_text("mine")

    def stop(self: Trainer, fraction: float) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "step", stop)
    assert run(options(file, overwrite=True)) == 130
    assert sorted(content(out)) == ["checkpoints", "corpus.ids", "notes.txt"] and steps(out) == 0


HOLD = """
import sys
from pathlib import Path
from tinygrad_rnn.train.folder import claimed
with claimed(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_two_runs_do_not_share_a_folder(file: Path) -> None:
    out = file.parent / "out"
    assert run(options(file)) == 0
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    before = content(out)
    for changes in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(
            UserError, match=f"a run is at work there .process {process.pid} on .*--out"
        ):
            run(options(file, **changes))
    assert content(out) == before
    process.kill()  # without a word
    process.wait()
    assert (out / ".run.lock").exists()
    assert run(options(file, resume=True, steps=5)) == 0 and steps(out) == 5
    assert not (out / ".run.lock").exists()


BEGIN = """
import sys
from tinygrad_rnn import cli
import tinygrad_rnn.train.demo
print("ready", flush=True)
sys.stdin.readline()
code = cli.main(["train", "text", sys.argv[1], "--out", sys.argv[2], "--steps", sys.argv[3], "--eager", "--hidden", "6", "--batch", "2"])
print(code, flush=True)
"""


def test_of_runs_that_begin_together_one_works(file: Path) -> None:
    out = file.parent / "out"
    processes = [
        subprocess.Popen([sys.executable, "-c", BEGIN, str(file), str(out), str(20 + k)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        for k in range(3)
    ]  # fmt: skip
    codes = [found.split()[-1] for found in together(processes)]
    assert sorted(codes) == ["0", "2", "2"]
    assert steps(out) == 20 + codes.index("0") and sorted(content(out)) == [
        "checkpoints",
        "corpus.ids",
        "loss.svg",
        "model.safetensors",
    ]


def test_a_run_that_ends_while_another_begins_is_not_replaced(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = file.parent / "out"
    read = text.of_path

    def late(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(text, "of_path", read)
        run(options(file, steps=3))
        return read(*given, **more)

    monkeypatch.setattr(text, "of_path", late)
    with pytest.raises(UserError, match="holds a run already"):
        run(options(file, steps=2))
    assert steps(out) == 3 and not (out / ".run.lock").exists()


@posix
def test_a_lock_that_its_owner_has_just_removed_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = folder._lock, []

    def late(file: int, path: Path) -> None:
        if not calls:
            path.unlink()
        calls.append(1)
        lock(file, path)

    monkeypatch.setattr(folder, "_lock", late)
    with folder.claimed(tmp_path):
        assert len(calls) == 2 and (tmp_path / ".run.lock").exists()
        with pytest.raises(UserError), folder.claimed(tmp_path):
            pass


@posix
def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import socket

    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    lock = tmp_path / ".run.lock"
    gone = subprocess.Popen(["true"])
    gone.wait()
    for owner, free in ((f"{os.getppid()} {socket.gethostname()} now", False), (f"{gone.pid} {socket.gethostname()} now", True),
                        (f"{gone.pid} elsewhere now", False), ("damaged", True), ("", True), (f"{10**30} {socket.gethostname()} now", True)):  # fmt: skip
        lock.write_text(owner)
        if free:
            with folder.claimed(tmp_path):
                assert lock.read_text().startswith(f"{os.getpid()} ")
            assert not lock.exists()
        else:
            with (
                pytest.raises(UserError, match=r"seems to be at work there .*remove .*run\.lock"),
                folder.claimed(tmp_path),
            ):
                pass
            assert lock.read_text() == owner


@posix
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_something_else_in_the_place_of_the_lock(kind: str, tmp_path: Path) -> None:
    lock = tmp_path / ".run.lock"
    if kind == "link":
        (tmp_path / "victim").write_text("mine")
        lock.symlink_to("victim")
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    with pytest.raises(OSError), folder.claimed(tmp_path):
        pass
    assert kind != "link" or (tmp_path / "victim").read_text() == "mine"


def test_the_next_run_removes_what_a_killed_one_left(file: Path) -> None:
    out = file.parent / "out"
    run(options(file))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    step = "checkpoints/.step-000000000003.safetensors"
    left = [out / f".{name}.{gone.pid}.0123abcd.tmp" for name in folder.RESULTS]
    left.append(out / f"{step}.{gone.pid}.0123abcd.tmp")
    kept = [
        out / f".notes.txt.{gone.pid}.0123abcd.tmp",
        out / f"{step}.swp",
        out / f"{step}.{os.getppid()}.0123abcd.tmp",
    ]
    for path in (*left, *(kept if os.name == "posix" else kept[:2])):
        path.write_text("half")
    run(options(file, resume=True, steps=5))
    assert not any(path.exists() for path in left) and all(
        path.exists() for path in kept[:2] + (kept[2:] if os.name == "posix" else [])
    )


KILLED_RUN = """
import os, signal, sys
from tinygrad_rnn import cli
from tinygrad_rnn.train import demo
demo.SAVE_EVERY = 0.0
saves, sync = [], os.fsync
def killing(file):
    saves.append(1)
    if len(saves) == 17:  # two for the text, and two for each checkpoint
        os.kill(os.getpid(), signal.SIGKILL)
    sync(file)
os.fsync = killing
cli.main(["train", "text", sys.argv[1], "--out", sys.argv[2], "--steps", "40", "--eager", "--hidden", "6", "--batch", "2"])
"""


@posix
def test_a_run_that_was_killed_while_it_wrote_goes_on(file: Path) -> None:
    out = file.parent / "out"
    done = subprocess.run([sys.executable, "-c", KILLED_RUN, str(file), str(out)], env={**os.environ, "PYTHONPATH": str(ROOT)},
                          capture_output=True, timeout=60)  # fmt: skip
    assert (
        done.returncode == -signal.SIGKILL
        and len(list(out.glob("checkpoints/.*.tmp"))) == 1
        and steps(out) == 6
    )
    assert run(options(file, resume=True, settings={}, steps=8, text=None)) == 0
    assert (
        sorted(content(out)) == ["checkpoints", "corpus.ids", "loss.svg", "model.safetensors"]
        and steps(out) == 8
    )


# --- a run that meets trouble -----------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_for_a_while_loses_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(options(file, out=file.parent / "whole", steps=12))
    monkeypatch.setattr(demo, "SAVE_EVERY", 0.0)
    sync, calls = os.fsync, []

    def full(file: int) -> None:
        calls.append(1)
        if 7 <= len(calls) < 14:  # two were for the text
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    monkeypatch.setattr(files.os, "fsync", full)
    capsys.readouterr()
    assert run(options(file, steps=12)) == 0
    assert capsys.readouterr().out.count("cannot be written now") == 1
    a, b = (
        safetensors.read(file.parent / name / "model.safetensors")[0] for name in ("whole", "out")
    )
    assert (
        all(np.array_equal(value, b[name]) for name, value in a.items())
        and steps(file.parent / "out") == 12
    )


def test_a_disk_that_stays_full_keeps_the_last_checkpoint(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SAVE_EVERY", 0.0)
    sync, calls = os.fsync, []

    def full(file: int) -> None:
        calls.append(1)
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run(options(file, steps=12))
    assert "go on with" in capsys.readouterr().out and sorted(content(file.parent / "out")) == [
        "checkpoints",
        "corpus.ids",
    ]
    monkeypatch.undo()
    assert 0 < steps(file.parent / "out") < 12
    assert run(options(file, resume=True, steps=12)) == 0 and steps(file.parent / "out") == 12


def test_a_folder_that_goes_while_a_run_works(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    step = Trainer.step

    def removing(self: Trainer, fraction: float) -> float:
        if self.steps == 2:
            shutil.rmtree(file.parent / "out")
        return step(self, fraction)

    monkeypatch.setattr(Trainer, "step", removing)
    assert run(options(file)) == 0 and steps(file.parent / "out") == 4


def test_who_insists_in_the_middle_of_a_step_does_not_spoil_the_checkpoint(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(options(file, out=file.parent / "whole", steps=9))
    update, calls = tg.optim.Adam.step, []
    monkeypatch.setattr(demo, "SAVE_EVERY", 0.0)

    def interrupted(self: Any) -> None:
        update(self)
        calls.append(1)
        if len(calls) == 5:  # the parameters have changed, the rest of the step is not done
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(tg.optim.Adam, "step", interrupted)
    assert (
        run(options(file, steps=9)) == 130 and "in the middle of a step" in capsys.readouterr().out
    )
    monkeypatch.undo()
    assert steps(file.parent / "out") == 4
    assert run(options(file, resume=True, steps=9)) == 0
    a, b = (
        safetensors.read(file.parent / name / "model.safetensors")[0] for name in ("whole", "out")
    )
    assert all(np.array_equal(value, b[name]) for name, value in a.items())


@posix
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)]
)
def test_signals_that_end_a_program_keep_a_checkpoint(
    number: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def signalled(self: Trainer, fraction: float) -> float:
        if self.steps == 2:
            signal.raise_signal(number)
        return step(self, fraction)

    monkeypatch.setattr(Trainer, "step", signalled)
    before = signal.getsignal(number)
    try:
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
        assert run(options(file)) == 128 + number and steps(file.parent / "out") == 3
        if number == getattr(signal, "SIGHUP", None):
            signal.signal(number, signal.SIG_IGN)
            assert (
                run(options(file, overwrite=True)) == 0
                and signal.getsignal(number) == signal.SIG_IGN
            )
    finally:
        signal.signal(number, before)


def damage(whole: bytes) -> list[bytes]:
    """The content of a file after accidents of several kinds."""
    bit = whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:]
    return [b"", whole[:100], whole[:-7], bit, b"x" * 500]


def test_a_checkpoint_that_is_damaged(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = file.parent / "out"
    run(options(file))
    _, last = sorted((out / "checkpoints").iterdir())
    for damaged in damage(last.read_bytes()):
        last.write_bytes(damaged)
        capsys.readouterr()
        assert run(options(file, resume=True, steps=6)) == 0 and steps(out) == 6
        assert "going on from the save before it, step 0." in capsys.readouterr().out
        assert last.with_name(f"{last.name}.damaged").read_bytes() == damaged
        assert run(options(file, overwrite=True)) == 0 and last.exists()


def test_if_all_checkpoints_are_damaged_they_stay(file: Path) -> None:
    out = file.parent / "out"
    run(options(file))
    paths = sorted((out / "checkpoints").iterdir())
    for path in paths:
        path.write_bytes(path.read_bytes()[:-7])
    before = content(out)
    with pytest.raises(tg.TinygradError, match=r"none of its 2 checkpoints can be read"):
        run(options(file, resume=True, steps=6))
    with pytest.raises(UserError, match="the checkpoint cannot be read"):
        run(options(file))
    assert content(out) == before


def test_going_on_when_the_text_was_moved_or_changed(file: Path) -> None:
    """A run has its text in its folder, and needs the file no more."""
    out = file.parent / "out"
    run(options(file))
    moved = file.with_name("moved.txt")
    file.rename(moved)
    assert run(options(file, resume=True, steps=6, text=None, settings={})) == 0
    file.write_text(TEXT + "more")
    assert run(options(file, resume=True, steps=7, text=None, settings={})) == 0
    with pytest.raises(UserError, match=r"text\.txt is not the text that the run in"):
        run(options(file, resume=True, steps=8, settings={}))
    file.unlink()
    (moved.parent / "other.txt").write_text(TEXT[::-1])
    Corpus.convert(moved.parent / "other.txt", moved.parent / "other.ids")
    other = (moved.parent / "other.ids").read_bytes()
    for damaged in (b"", (out / "corpus.ids").read_bytes()[:-1], other):
        (out / "corpus.ids").write_bytes(damaged)
        with pytest.raises(
            UserError, match=r"corpus\.ids cannot be used, and .*text\.txt.*name the"
        ):
            run(options(file, resume=True, steps=8, text=None, settings={}))
    assert run(options(file, resume=True, steps=8, text=moved, settings={})) == 0
    assert run(options(file, resume=True, steps=9, text=None, settings={})) == 0 and steps(out) == 9


def test_a_model_can_be_read_at_any_moment_of_a_run(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = file.parent / "out"
    run(options(file))
    replace, read = os.replace, []

    def replaced(*given: Any) -> None:
        read.append(model_files.load_model(out / "model.safetensors")[0].size)
        replace(*given)
        read.append(model_files.load_model(out / "model.safetensors")[0].size)

    monkeypatch.setattr(files.os, "replace", replaced)
    run(options(file, resume=True, steps=6))
    assert len(read) >= 6 and len(set(read)) == 1


def test_the_clock_may_be_wrong(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(options(file))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    os.utime(file.parent / "out" / "checkpoints", (2**33, 2**33))
    with pytest.raises(UserError, match="holds a run already"):
        run(options(file))
    assert run(options(file, resume=True, steps=5)) == 0
