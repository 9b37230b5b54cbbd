"""The folder of generated modules.

Its limit, what goes first, and several processes that load, remove and damage the same modules.
"""

from __future__ import annotations

import os
import pickle
import random
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import cli
from tinygrad_rnn.kernels import cache, runtime

from .processes import together

ROOT = Path(__file__).resolve().parents[1]
KEYS = [f"{k:024x}" for k in range(10, 20)]


def environment(folder: Path, **changes: str) -> dict[str, str]:
    return {**os.environ, "TINYGRAD_RNN_CACHE": str(folder), "PYTHONPATH": str(ROOT), **changes}


def module(folder: Path, key: str, age: float, size: int = 1000) -> None:
    """The files of a module of so many bytes, last used so many seconds ago."""
    body = f"number {int(key, 16)}\n".encode().ljust(size - len(cache._MAGIC) - 32, b"#")
    path = folder / f"kernel_{key}.code"
    path.write_bytes(cache._MAGIC + cache._digest(key, body) + body)
    path.chmod(0o600)
    (folder / f"kernel_{key}.lock").touch()
    os.utime(folder / f"kernel_{key}.lock", (time.time() - age,) * 2)


def keys(folder: Path) -> set[str]:
    """Of all files that are there."""
    return {
        re.findall(r"[0-9a-f]{24}", path.name)[0]
        for path in folder.rglob("kernel_*")
        if path.name != "kernel_limit.lock"
    }


def test_the_least_recently_used_go_first_with_all_their_files(tmp_path: Path) -> None:
    order = random.Random(3).sample(KEYS, len(KEYS))
    for age, key in enumerate(order):
        module(tmp_path, key, 100.0 + age, size=2000 if key == order[-1] else 1000)
    found = cache.entries(tmp_path)
    sizes = {key: sum(f.stat().st_size for f in tmp_path.rglob(f"kernel_{key}*")) for key in order}
    assert [e.key for e in found] == order[::-1] and {e.key: e.bytes for e in found} == sizes
    total = sum(sizes.values())
    assert cache.shrink(tmp_path, total) == []
    removed = cache.shrink(tmp_path, total - sizes[order[-1]] - 1)
    assert [e.key for e in removed] == [order[-1], order[-2]] and keys(tmp_path) == set(order[:-2])
    removed = cache.shrink(tmp_path, 4500, spare=[order[-3]])
    assert order[-3] not in {e.key for e in removed} and keys(tmp_path) == {order[-3], *order[:3]}
    cache.shrink(tmp_path, 0)
    assert keys(tmp_path) == set() and cache.entries(tmp_path) == []


def test_what_is_being_made_or_loaded_stays(tmp_path: Path) -> None:
    for key in KEYS[:3]:
        module(tmp_path, key, 50.0)
    (tmp_path / f"kernel_{KEYS[5]}.lock").touch()  # of a process that was stopped
    with cache.locked(tmp_path, KEYS[1]):
        assert {e.key for e in cache.shrink(tmp_path, 0)} == {KEYS[0], KEYS[2]}
        with cache.locked(tmp_path, "limit"):
            assert cache.shrink(tmp_path, 0) == []
    assert keys(tmp_path) == {KEYS[1]}
    cache.shrink(tmp_path, 0)
    assert keys(tmp_path) == set()


def test_what_is_used_while_modules_are_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in KEYS[:2]:
        module(tmp_path, key, 50.0)
    found = cache._groups(tmp_path)
    cache.use(tmp_path, KEYS[0])
    monkeypatch.setattr(cache, "_groups", lambda _: found)
    assert [e.key for e in cache.shrink(tmp_path, 0)] == [KEYS[1]] and keys(tmp_path) == {KEYS[0]}


def test_a_lock_that_was_removed_is_taken_anew(tmp_path: Path) -> None:
    """Who waited for a lock file that was removed in the meantime must not believe to hold the lock of the new one."""
    program = textwrap.dedent(f"""
        from pathlib import Path
        from tinygrad_rnn.kernels import cache
        print("begin", flush=True)
        with cache.locked(Path({str(tmp_path)!r}), {KEYS[0]!r}):
            print("mine", flush=True)
    """)
    with cache.locked(tmp_path, KEYS[0]):
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(tmp_path),
        )
        assert process.stdout is not None and process.stdout.readline() == "begin\n"
        time.sleep(0.3)
        (tmp_path / f"kernel_{KEYS[0]}.lock").unlink()
        new = cache.locked(tmp_path, KEYS[0], wait=False)
        assert new.__enter__() is True
    time.sleep(0.3)
    assert process.poll() is None  # it waits for the new one
    new.__exit__(None, None, None)
    assert process.communicate(timeout=60)[0] == "mine\n"


@pytest.mark.parametrize(("text", "bytes_"), [("", 512_000_000), ("1.5", 1_500_000), ("0", 0)])
def test_the_limit_is_in_megabytes(text: str, bytes_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_CACHE_LIMIT", text)
    assert cache.limit() == bytes_


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf"])
def test_a_limit_that_is_no_number_is_said_and_not_used(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_CACHE_LIMIT", text)
    cache._limit.cache_clear()
    with pytest.warns(
        RuntimeWarning, match=f"a number of MB, at least 0; found '{text}'. 512 MB are used"
    ):
        assert cache.limit() == 512_000_000


def source(k: int) -> str:
    return (
        textwrap.dedent(f"""
        from numba import njit, types

        # times {k}
        @njit(types.float64(types.float64), cache=True)
        def f(x):
            return x * {k} + 0.5
    """)
        .strip()
        .join([f'"""Generated: times {k}. A test."""\n', "\n"])
    )


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for a process that has loaded nothing."""
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path))
    monkeypatch.setattr(runtime, "_modules", {})
    return tmp_path


def test_loading_keeps_to_the_limit_and_spares_what_this_process_uses(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, key in enumerate(KEYS[:4]):
        module(fresh, key, 100.0 + age, size=20_000)
    monkeypatch.setenv("TINYGRAD_RNN_CACHE_LIMIT", "0.05")
    assert runtime.load(source(3)).f(2.0) == 6.5
    [own] = runtime._modules
    assert KEYS[0] in keys(fresh) and keys(fresh) & {*KEYS[2:4]} == set()
    monkeypatch.setenv("TINYGRAD_RNN_CACHE_LIMIT", "0")
    assert runtime.load(source(4)).f(2.0) == 8.5
    assert keys(fresh) == {*runtime._modules} and own in keys(fresh)
    before = {e.key: e.used for e in cache.entries(fresh)}
    time.sleep(0.02)
    monkeypatch.setattr(runtime, "_modules", {})
    runtime.load(source(3))  # as another process would
    after = {e.key: e.used for e in cache.entries(fresh)}
    assert after.keys() == before.keys() and [key for key in after if after[key] > before[key]] == [
        own
    ]


def test_only_what_was_compiled_makes_room(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = source(3).replace("njit", "cfunc")
    removed: list[int] = []
    monkeypatch.setattr(cache, "shrink", lambda *_: removed.append(1))
    for expected in (1, 1):  # the second time, as in another process, from the disk
        monkeypatch.setattr(runtime, "_modules", {})
        assert runtime.load(called).f.ctypes(2.0) == 6.5 and len(removed) == expected
    for expected in (2, 2):
        monkeypatch.setattr(runtime, "_modules", {})
        assert runtime.load(source(3)).f(2.0) == 6.5 and len(removed) == expected


def test_titles(tmp_path: Path) -> None:
    for text, title in (
        ('# a comment\n"""Products of matrices.\n\nMore.\n"""\n', "Products of matrices"),
        ('"""Generated: one loop for tanh. More."""\n', "one loop for tanh"),
        ("", "not readable"),
    ):
        cache.write(tmp_path, KEYS[0], cache.first_sentence(text), {})
        assert cache.title(tmp_path, KEYS[0]) == title
    assert cache.title(tmp_path, KEYS[1]) == "not readable"


def test_title_and_comments_make_no_other_module(fresh: Path) -> None:
    one = runtime.load(source(3))
    assert (
        runtime.load(
            source(3).replace("times 3. A", "thrice. The").replace("# times 3", "# three times")
        )
        is one
    )
    assert runtime.load(source(4)) is not one
    assert len(cache.entries(fresh)) == 2
    assert {cache.title(fresh, e.key) for e in cache.entries(fresh)} == {"times 3", "times 4"}


def test_errors_of_generated_code_are_not_taken_for_damage(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numba.core.errors import TypingError

    calls: list[int] = []
    run = runtime._run
    monkeypatch.setattr(runtime, "_run", lambda *given: (calls.append(1), run(*given))[1])
    with pytest.raises(TypingError):
        runtime.load(source(3).replace("0.5", "'text'"))
    assert calls == [1]


def test_a_cell_is_named(fresh: Path) -> None:
    class Tiny(tg.Cell):
        name = 'a "strange"\\name\n'
        hidden_size = 2

        def forward(self, x: tg.Tensor, h: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
            return h, tg.tanh(x + h)

    ys, _ = tg.unroll(tg.jit(Tiny()), np.ones((3, 1, 2), np.float32))
    np.testing.assert_allclose(ys.numpy()[1], np.tanh([[1.0, 1.0]]), rtol=1e-6)
    # beside the cell, the library of products where it is new
    titles = [cache.title(fresh, entry.key) for entry in cache.entries(fresh)]
    assert "a ?strange??name? over a whole sequence; x: 2, state: 2, float32" in titles


# --- whose folder and whose files it is -------------------------------------------------------------------------------------


OTHER = 65534  # a user who is not this one
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="there are no owners and modes")
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can give files to another user",
)


class Evil:
    """Reading it back from a pickle leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (self.mark,)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in a sticky one; the names of the cache folder point into it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name).resolve()
        for variable in ("TINYGRAD_RNN_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HOME", str(path / "home"))
        monkeypatch.setattr(tempfile, "tempdir", str(path))
        (path / "home").mkdir(mode=0o755)
        yield path


def planted(folder: Path, mark: Path) -> Path:
    """The file that a process would load for source(3), whole, with a pickle that leaves a mark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "_modules", {})
        patch.setenv("TINYGRAD_RNN_CACHE", str(folder.parent / "own"))
        runtime.load(source(3))
        [key] = runtime._modules
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    body = b"times 3\n" + pickle.dumps(Evil(mark))
    path = folder / f"kernel_{key}.code"
    path.write_bytes(cache._MAGIC + cache._digest(key, body) + body)
    path.chmod(0o600)
    shutil.rmtree(folder.parent / "own")
    return path


def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Load source(3) as a new process would, and give the warnings."""
    monkeypatch.setattr(runtime, "_modules", {})
    monkeypatch.setattr(cache, "_complained", False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert runtime.load(source(3)).f(2.0) == 6.5
        runtime._modules.clear()
        assert runtime.load(source(3)).f(2.0) == 6.5
    return [str(warning.message) for warning in caught]


def test_what_is_planted_would_be_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests below could fail: in a folder of this user's own the planted pickle is read."""
    planted(home / "cache", home / "mark")
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(home / "cache"))
    monkeypatch.setattr(runtime, "_modules", {})
    with pytest.raises(AttributeError):
        runtime.load(source(3))
    assert (home / "mark").exists()


def given(path: Path) -> None:
    os.chown(path, OTHER, OTHER, follow_symlinks=False)


def of_another_user(folder: Path, file: Path) -> str:
    given(file)
    given(folder)
    return f"{folder} belongs to the user"


def with_a_parent_of_another_user(folder: Path, file: Path) -> str:
    given(folder.parent)
    return f"{folder.parent} belongs to the user"


def a_link_of_another_user(folder: Path, file: Path) -> str:
    folder.rename(folder.with_name("real"))
    folder.symlink_to("real")
    given(folder)
    return f"{folder} belongs to the user"


def a_link_to_a_folder_of_another_user(folder: Path, file: Path) -> str:
    given(file)
    given(folder)
    folder.rename(folder.with_name("real"))
    folder.symlink_to("real")
    return f"{folder.with_name('real')} belongs to the user"


def writable_by_the_group(folder: Path, file: Path) -> str:
    folder.chmod(0o770)
    return f"others may write to {folder} (mode 770); chmod 700 {folder}"


def writable_by_all(folder: Path, file: Path) -> str:
    folder.chmod(0o702)
    return f"others may write to {folder} (mode 702)"


def sticky(folder: Path, file: Path) -> str:
    folder.chmod(0o1777)
    return f"others may write to {folder} (mode 1777)"


def with_a_parent_writable_by_the_group(folder: Path, file: Path) -> str:
    folder.parent.chmod(0o770)
    return f"others may write to {folder.parent} (mode 770); chmod go-w {folder.parent}"


UNSAFE = [
    *(pytest.param(way, marks=root) for way in
      (of_another_user, with_a_parent_of_another_user, a_link_of_another_user, a_link_to_a_folder_of_another_user)),
    *(pytest.param(way, marks=posix) for way in (writable_by_the_group, writable_by_all, sticky, with_a_parent_writable_by_the_group)),
]  # fmt: skip


@pytest.mark.parametrize("where", ["named", "home", "temporary"])
@pytest.mark.parametrize("way", UNSAFE)
def test_from_a_folder_that_others_can_write_to_nothing_is_read(
    way: Callable[[Path, Path], str],
    where: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if where == "named":
        folder = home / "between" / "cache"
        monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(folder))
    elif where == "home":
        folder = home / "home" / ".cache" / "tinygrad_rnn"
    else:
        folder = home / "tmp" / f"tinygrad_rnn-{os.geteuid()}"
        monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
        (home / "file").write_text("")
        monkeypatch.setenv("HOME", str(home / "file"))
    file = planted(folder, home / "mark")
    words = way(folder, file)
    before = {path: path.lstat().st_mtime_ns for path in home.rglob("*")}
    [said] = loaded(monkeypatch)
    assert (
        words in said
        and str(folder) in said
        and "TINYGRAD_RNN_CACHE=FOLDER" in said
        and "in memory" in said
    )
    assert {path: path.lstat().st_mtime_ns for path in home.rglob("*")} == before, (
        "nothing is written, either"
    )
    assert cli.main(["info", "--cache"]) == 0 and words in capsys.readouterr().out
    assert cli.main(["info", "--cache", "--clear"]) == 2 and words in capsys.readouterr().err


@posix
@pytest.mark.parametrize("link", [False, True])
def test_below_a_sticky_folder_and_through_an_own_link_modules_are_kept(
    link: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "sticky").mkdir()
    (home / "sticky").chmod(0o1777)
    folder = home / "sticky" / "cache"
    if link:
        (home / "real").mkdir(mode=0o700)
        folder.symlink_to(Path("..", "real"))
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(folder))
    assert loaded(monkeypatch) == []
    assert cache.place() == (folder.resolve(), "") and len(cache.entries(folder)) == 1


@posix
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_folders_and_files_are_made_for_this_user_alone(
    umask: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(umask)
    try:
        assert loaded(monkeypatch) == []
    finally:
        os.umask(before)
    made = [home / "home" / ".cache", *(home / "home" / ".cache").rglob("*")]
    assert len(made) == 5
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def file_of_another_user(file: Path) -> str:
    given(file)
    return "belongs to the user"


def file_writable_by_the_group(file: Path) -> str:
    file.chmod(0o620)
    return "others may write to it (mode 620)"


def linked_file(file: Path) -> str:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")
    return "links"


def file_with_two_names(file: Path) -> str:
    os.link(file, file.with_name("elsewhere"))
    return "another name"


def pipe(file: Path) -> str:
    file.unlink()
    os.mkfifo(file)
    return "no regular file"


@posix
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(file_of_another_user, marks=root),
        file_writable_by_the_group,
        linked_file,
        file_with_two_names,
        pipe,
    ],
)
def test_a_file_that_others_could_have_written_is_replaced(
    way: Callable[[Path], str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = planted(home / "cache", home / "mark")
    words = way(file)
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(home / "cache"))
    [said] = loaded(monkeypatch)
    assert str(file) in said and words in said and not (home / "mark").exists()
    assert loaded(monkeypatch) == [] and stat.S_ISREG(file.lstat().st_mode)


@posix
@pytest.mark.parametrize("what", ["folder", "pipe", "link"])
def test_what_stands_in_the_place_of_a_lock_or_a_file_does_not_hinder(
    what: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = planted(home / "cache", home / "mark")
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(home / "cache"))
    file.unlink()
    lock = file.with_suffix(".lock")
    if what == "folder":
        lock.mkdir()
        file.mkdir()
    elif what == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to(home / "made")
    said = loaded(monkeypatch)
    assert len(said) == (what == "folder") and not (home / "made").exists()


@root
def test_a_folder_that_is_replaced_after_it_was_looked_at(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = planted(home / "other", home / "mark")
    given(file)
    folder = home / "cache"
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(folder))
    place = cache.place

    def replaced() -> cache.Place:
        found = place()
        if (home / "other").exists():
            folder.rename(home / "before")
            (home / "other").rename(folder)
        return found

    monkeypatch.setattr(cache, "place", replaced)
    [said] = loaded(monkeypatch)
    assert "belongs to the user" in said and not (home / "mark").exists()


def test_a_file_of_another_module_is_not_taken(fresh: Path) -> None:
    runtime.load(source(3))
    [three] = runtime._modules
    runtime.load(source(4))
    [four] = set(runtime._modules) - {three}
    shutil.copyfile(fresh / f"kernel_{three}.code", fresh / f"kernel_{four}.code")
    runtime._modules.clear()
    assert runtime.load(source(4)).f(2.0) == 8.5


def test_numbas_own_folders_are_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core import config

    (home / "numba").mkdir()
    monkeypatch.setattr(config, "CACHE_DIR", str(home / "numba"))
    assert loaded(monkeypatch) == [] and list((home / "numba").iterdir()) == []


# --- where nothing can be kept ----------------------------------------------------------------------------------------------


@root
@pytest.mark.parametrize("temporary", [True, False])
def test_a_user_without_a_name_and_a_home(temporary: bool) -> None:
    program = "import numpy as np, tinygrad_rnn as tg; print(tg.unroll(tg.jit(tg.cells.Elman(2, 3, rng=0)), np.ones((2, 1, 2), np.float32))[0].shape)"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o1777)
        given = {
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": folder if temporary else "/dev/null",
        }
        command = [sys.executable, "-c", program] if temporary else [
            sys.executable, "-c", f"import tempfile; tempfile.tempdir = '/dev/null'\n{program}"]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                env=given,
                cwd="/",
                user=54321,
                group=54321,
                extra_groups=[],
                capture_output=True,
                text=True,
                timeout=120,
            )
        except PermissionError:
            pytest.skip("this Python is for its owner alone")
        if "PermissionError" in done.stderr or "No module named 'tinygrad_rnn'" in done.stderr:
            pytest.skip("this checkout is for its owner alone")
        assert done.returncode == 0 and done.stdout == "(2, 1, 3)\n", done.stderr
        assert done.stderr.count("Warning") == (not temporary) == ("no home folder" in done.stderr)
        found = list(Path(folder).iterdir())
        assert [path.name for path in found] == (["tinygrad_rnn-54321"] if temporary else [])
        assert all(
            path.stat().st_uid == 54321 and stat.S_IMODE(path.stat().st_mode) == 0o700
            for path in found
        )


@posix
def test_without_a_name_and_a_home_the_folder_for_temporary_files_is_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pwd

    def nobody(number: int) -> object:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert loaded(monkeypatch) == []
    assert cache.place() == (home / f"tinygrad_rnn-{os.geteuid()}", "")
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null/none")
    [said] = loaded(monkeypatch)
    assert (
        "this user has no home folder; name a folder of your own with TINYGRAD_RNN_CACHE=FOLDER"
        in said
    )


def failing(flag: int, number: int) -> Callable[..., int]:
    real = os.open

    def opened(path: object, flags: int, *rest: int, **options: int) -> int:
        if "kernel_" in str(path) and flags & flag:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, *rest, **options)  # type: ignore[arg-type]

    return opened


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EACCES", "EROFS", "EIO"])
@pytest.mark.parametrize("when", ["opening", "writing", "renaming"])
def test_a_disk_that_takes_nothing_costs_one_warning(
    name: str, when: str, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    number = getattr(errno, name)
    raised = OSError(number, os.strerror(number))
    if when == "opening":
        monkeypatch.setattr(cache.os, "open", failing(os.O_CREAT, number))
    elif when == "renaming":
        monkeypatch.setattr(cache.os, "replace", lambda *_: (_ for _ in ()).throw(raised))
    else:

        def open_(file: int, mode: str) -> object:
            class Full:
                def __enter__(self) -> Full:
                    return self

                def write(self, content: bytes) -> None:
                    os.write(file, content[:100])
                    raise raised

                def __exit__(self, *_: object) -> None:
                    os.close(file)

            return Full()

        monkeypatch.setattr(cache, "open", open_, raising=False)
    [said] = loaded(monkeypatch)
    assert os.strerror(number) in said and str(fresh) in said
    monkeypatch.undo()
    assert not list(fresh.glob("*.tmp")) and not list(fresh.glob("*.code"))


def test_what_a_killed_process_left_is_removed_by_the_next(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [fresh / f"kernel_{key}.4711.abcd.tmp" for key in KEYS[:3]]
    kept = [fresh / "mine.tmp", fresh / f"other_{KEYS[0]}.tmp"]
    for path in (*left, *kept):
        path.write_bytes(b"half")
    cache.sweep.cache_clear()
    with cache.locked(fresh, KEYS[2]):  # another process writes this one at the moment
        assert loaded(monkeypatch) == []
    assert [path.exists() for path in (*left, *kept)] == [False, False, True, True, True]


def test_a_folder_that_is_removed_while_a_process_runs(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded(monkeypatch) == []
    shutil.rmtree(fresh)
    assert loaded(monkeypatch) == [] and len(cache.entries(fresh)) == 1


@pytest.mark.parametrize(
    "name",
    ["x" * 300, "x/" * 2500, "file/cache", "loop"],
    ids=["a long name", "a long path", "below a file", "a link to itself"],
)
def test_a_folder_that_cannot_be_is_replaced(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("")
    (home / "loop").symlink_to("loop")
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(home / name))
    assert loaded(monkeypatch) == []
    assert cache.place().path.parent == home and len(cache.entries(cache.place().path)) == 1


def test_other_versions_and_processors_have_other_modules(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llvmlite
    import numba
    from numba.core.registry import cpu_target

    codegen = type(cpu_target.target_context.codegen())
    runtime.load(source(3))
    for owner, name, value in (
        (np, "__version__", "9.9"),
        (numba, "__version__", "9.9"),
        (llvmlite, "__version__", "9.9"),
        (sys, "version", "9.9"),
        (codegen, "magic_tuple", lambda self: ("z80",)),
    ):
        before = len(runtime._modules)
        monkeypatch.setattr(owner, name, value)
        runtime.load(source(3))
        assert len(runtime._modules) == before + 1, name
        assert len(cache.entries(fresh)) == before + 1


# --- several processes ------------------------------------------------------------------------------------------------------


WORK = """
import random, sys
from pathlib import Path
from tinygrad_rnn.kernels import cache, runtime
from tests.test_cache import source
base, chance = cache.place().path, random.Random(int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    kind = chance.random()
    if kind < 0.6:
        k = chance.randrange(6)
        runtime._modules.clear()
        assert runtime.load(source(k)).f(2.0) == 2.0 * k + 0.5, k
    elif kind < 0.8:
        cache.shrink(base, chance.choice([0, 20_000, 60_000]))
    else:
        for path in chance.sample(found, min(3, len(found))) if (found := [p for p in base.rglob("kernel_*") if p.is_file()]) else []:
            try:
                content = path.read_bytes()
                if path.suffix == ".code":
                    damaged = chance.choice([b"", content[:40], b"\\x80\\x04damaged", None])
                    path.unlink() if damaged is None else path.write_bytes(damaged)
            except OSError:
                pass
"""


def test_processes_that_load_remove_and_damage_the_same_modules(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", WORK, str(k)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=environment(tmp_path, TINYGRAD_RNN_CACHE_LIMIT="0.05"))
        for k in range(3)
    ]  # fmt: skip
    together(processes)
    cache.shrink(tmp_path, 0)
    assert keys(tmp_path) == set() and not list(tmp_path.glob("*.tmp"))


# --- the command line -------------------------------------------------------------------------------------------------------


def test_info_and_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path))
    monkeypatch.setenv("TINYGRAD_RNN_CACHE_LIMIT", "3")
    for age, key in enumerate(KEYS):
        module(tmp_path, key, 100.0 + age, size=10_000 * (age + 1))
    assert cli.main(["info", "--cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["folder", str(tmp_path)] and lines[1].split() == ["modules", "10"]
    assert lines[2].startswith("size          0.55 MB of at most 3 MB")
    assert lines[3].startswith("oldest use") and lines[3].endswith("number 19")
    assert lines[4].startswith("newest use") and lines[4].endswith("number 10")
    large = [("0.10", "19"), ("0.09", "18"), ("0.08", "17"), ("0.07", "16"), ("0.06", "15")]
    assert [re.findall(r"^large +(.*) MB  number (.*)$", line)[0] for line in lines[5:]] == large
    assert cli.main(["info", "--clear"]) == 2 and "info --cache --clear" in capsys.readouterr().err
    assert len(keys(tmp_path)) == 10
    with cache.locked(tmp_path, KEYS[4]):
        assert cli.main(["info", "--cache", "--clear"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0].split() == ["removed", "9", "modules,", "0.50", "MB"]
        and "used by another process" in lines[2]
    )
    assert cli.main(["info", "--cache", "--clear"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["modules", "0"] and keys(tmp_path) == set()
