"""The folder of generated modules: its limit, what goes first, and several processes that load, remove and damage the same modules."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import textwrap
import time
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
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / f"kernel_{key}.py").write_bytes(b'"""Generated: number %d. More."""\n' % int(key, 16) + b"#" * (size - 534))
    (folder / "__pycache__" / f"kernel_{key}.f-1.py311.nbi").write_bytes(b"i" * 100)
    (folder / "__pycache__" / f"kernel_{key}.f-1.py311.1.nbc").write_bytes(b"c" * 400)
    (folder / f"kernel_{key}.lock").touch()
    os.utime(folder / f"kernel_{key}.lock", (time.time() - age,) * 2)


def keys(folder: Path) -> set[str]:
    """Of all files that are there."""
    return {re.findall(r"[0-9a-f]{24}", path.name)[0] for path in folder.rglob("kernel_*") if path.name != "kernel_limit.lock"}


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


def test_what_is_used_while_modules_are_removed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment(tmp_path))
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
def test_a_limit_that_is_no_number_is_said_and_not_used(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_CACHE_LIMIT", text)
    cache._limit.cache_clear()
    with pytest.warns(RuntimeWarning, match=f"a number of MB, at least 0; found '{text}'. 512 MB are used"):
        assert cache.limit() == 512_000_000


def source(k: int) -> str:
    return textwrap.dedent(f'''
        from numba import njit, types

        # times {k}
        @njit(types.float64(types.float64), cache=True)
        def f(x):
            return x * {k} + 0.5
    ''').strip().join([f'"""Generated: times {k}. A test."""\n', "\n"])


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for a process that has loaded nothing."""
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path))
    monkeypatch.setattr(runtime, "_modules", {})
    return tmp_path


def test_loading_keeps_to_the_limit_and_spares_what_this_process_uses(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert after.keys() == before.keys() and [key for key in after if after[key] > before[key]] == [own]


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
        ('"""Generated: one loop for tanh."""\n', "one loop for tanh"),
        ("", "machine code without its source"),
    ):
        (tmp_path / f"kernel_{KEYS[0]}.py").write_text(text)
        assert cache.title(tmp_path, KEYS[0]) == title


def test_title_and_comments_make_no_other_module(fresh: Path) -> None:
    one = runtime.load(source(3))
    assert runtime.load(source(3).replace("times 3. A", "thrice. The").replace("# times 3", "# three times")) is one
    assert runtime.load(source(4)) is not one
    assert len(cache.entries(fresh)) == 2
    assert {cache.title(fresh, e.key) for e in cache.entries(fresh)} == {"times 3", "times 4"}


def test_errors_of_generated_code_are_not_taken_for_damage(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.errors import TypingError

    monkeypatch.setattr(cache, "discard", lambda *_: pytest.fail("tried again"))
    with pytest.raises(TypingError):
        runtime.load(source(3).replace("0.5", "'text'"))


def test_a_cell_is_named(fresh: Path) -> None:
    class Tiny(tg.Cell):
        name = 'a "strange"\\name\n'
        hidden_size = 2

        def forward(self, x: tg.Tensor, h: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
            return h, tg.tanh(x + h)

    ys, _ = tg.unroll(tg.jit(Tiny()), np.ones((3, 1, 2), np.float32))
    np.testing.assert_allclose(ys.numpy()[1], np.tanh([[1.0, 1.0]]), rtol=1e-6)
    titles = [cache.title(fresh, entry.key) for entry in cache.entries(fresh)]  # beside the cell, the library of products where it is new
    assert "a ?strange??name? over a whole sequence; x: 2, state: 2, float32" in titles


# --- several processes ------------------------------------------------------------------------------------------------------


WORK = """
import random, sys
from pathlib import Path
from tinygrad_rnn.kernels import cache, runtime
from tests.test_cache import source
base, chance = cache.folder(), random.Random(int(sys.argv[1]))
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
                if path.suffix in (".py", ".nbi", ".nbc"):
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


def test_info_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert lines[0].split() == ["removed", "9", "modules,", "0.50", "MB"] and "used by another process" in lines[2]
    assert cli.main(["info", "--cache", "--clear"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["modules", "0"] and keys(tmp_path) == set()
