"""Texts of any size as ids in a file, and files of every kind from one command to a model and a sample."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.command import call
from tinygrad_rnn.data import Corpus, DataError, Vocabulary, Windows, encodings, split
from tinygrad_rnn.train import characters, demo, model_files

pytestmark = pytest.mark.usefixtures("eager")

ROOT = Path(__file__).resolve().parents[1]
PROSE = "Le naïf café, the quick brown fox \U0001f600 jumps over.\n" * 80
UNITS = ("characters", "words", "bytes")


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- the file ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", UNITS)
def test_a_corpus_is_the_text(units: str, tmp_path: Path) -> None:
    file = write(tmp_path / "t.txt", PROSE)
    made = Corpus.convert(file, tmp_path / "t.ids", units=units, min_count=1)
    opened = Corpus(tmp_path / "t.ids")
    for corpus in (made, opened):
        assert corpus.text() == PROSE and corpus.vocabulary == made.vocabulary
        assert isinstance(corpus.ids, np.memmap) and not corpus.ids.flags.writeable
        assert corpus.ids.dtype == np.uint8 and corpus.source == str(file)
    expected = made.vocabulary.encode(PROSE)
    np.testing.assert_array_equal(opened.ids, expected)
    assert opened[10:30].text() == opened.vocabulary.decode(expected[10:30])
    windows = [Windows(v, 3, 7, rng=5) for v in (opened, expected)]
    for a, b in zip(*windows, strict=True):
        assert a.inputs.dtype == np.int64 and a.fresh == b.fresh
        np.testing.assert_array_equal(a.inputs.numpy(), b.inputs.numpy())
        np.testing.assert_array_equal(a.targets.numpy(), b.targets.numpy())


def test_many_symbols_take_two_bytes(tmp_path: Path) -> None:
    signs = "".join(chr(0x4E00 + k) for k in range(300)) * 3
    corpus = Corpus.convert(write(tmp_path / "t", signs), tmp_path / "i", min_count=2)
    assert corpus.ids.dtype == np.uint16 and corpus.text() == signs


def test_pieces_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "t.txt", PROSE.replace("\n", "\r\n"))
    for units in UNITS:
        whole = Corpus.convert(file, tmp_path / "a", units=units)
        with monkeypatch.context() as patch:
            patch.setattr(encodings, "_PIECE", 5)
            parts = Corpus.convert(file, tmp_path / "b", units=units)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        assert whole.sha256 == parts.sha256


def test_what_is_held_out_is_not_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "t.txt", "ab" * 450 + "xy" * 50)
    corpus = Corpus.convert(file, tmp_path / "i")
    assert corpus.vocabulary.symbols == ("a", "b") and corpus.counted == 900
    train, held = split(corpus, 0.1)
    assert len(train) == 900 and not held.ids.any()
    with pytest.raises(DataError, match=r"counted on the first 900 .*convert .* held_out=0\.2"):
        split(corpus, 0.1, 0.1)
    parts = split(Corpus.convert(file, tmp_path / "i", held_out=0.2), 0.1, 0.1)
    assert [len(p) for p in parts] == [800, 100, 100]
    scored = Corpus.convert(file, tmp_path / "s", vocabulary=corpus.vocabulary)
    np.testing.assert_array_equal(scored.ids, corpus.vocabulary.encode(file.read_text()))


@pytest.mark.parametrize("count", [9, 15, 21, 1003])
@pytest.mark.parametrize("shares", [(0.05,), (0.1, 0.1), (0.07, 0.11, 0.05)])
def test_what_is_advised_for_a_split_holds(
    count: int, shares: tuple[float, ...], tmp_path: Path
) -> None:
    """Each part has one position at least, and its size is rounded by itself."""
    file, held_out = tmp_path / "t", sum(shares)
    file.write_text("ab" * (count // 2) + "a")
    for _ in range(2):
        corpus = Corpus.convert(file, tmp_path / "i", min_count=1, held_out=held_out)
        try:
            parts = split(corpus, *shares)
        except DataError as error:
            held_out = float(str(error).rpartition("held_out=")[2])
    assert sum(map(len, parts)) == count and corpus.counted <= len(parts[0])


def test_a_damaged_corpus_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "i"
    Corpus.convert(write(tmp_path / "t.txt", PROSE), path)
    data = path.read_bytes()
    for place in (70, len(data) // 2, len(data) - 60, len(data) - 20, len(data) - 3):
        write(path, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(DataError, match=r"the corpus is damaged.*Convert the text again"):
            Corpus(path)
    for length in (23, 64, 100, len(data) - 1):
        write(path, data[:length])
        with pytest.raises(DataError, match="the corpus is damaged"):
            Corpus(path)
    for other in (b"", b"a text", data[1:]):
        with pytest.raises(DataError, match="expected a corpus"):
            Corpus(write(path, other))


def test_a_conversion_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "i"
    Corpus.convert(write(tmp_path / "t.txt", PROSE), path)
    before = path.read_bytes()
    for content, more, words in (
        (PROSE.encode() + b"\xff", {}, r"offset 4240 \(line 81, column 1\)"),
        (b"", {}, "an empty file"),
        ("abc", {"min_count": 5}, "no character occurs 5 times"),
        (PROSE, {"units": "letters"}, "units is 'letters'"),
        (PROSE, {"encoding": "latin-99"}, "no encoding 'latin-99'"),
        (PROSE, {"held_out": 1.0}, "held_out"),
        (
            PROSE,
            {"units": "words", "vocabulary": Vocabulary("ab")},
            "the vocabulary has characters",
        ),
    ):
        with pytest.raises(tg.TinygradError, match=words):
            Corpus.convert(write(tmp_path / "t.txt", content), path, **more)
        assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["i", "t.txt"]


def test_a_part_is_a_slice(tmp_path: Path) -> None:
    corpus = Corpus.convert(write(tmp_path / "t.txt", PROSE), tmp_path / "i")
    for wrong in (3, slice(0, 9, 2), "a"):
        with pytest.raises(DataError, match="expected a slice"):
            corpus[wrong]  # type: ignore[index]


# --- memory -----------------------------------------------------------------------------------------------------------------


def test_a_corpus_is_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "_PIECE", 1 << 17)
    file = write(tmp_path / "t.txt", PROSE.encode() * 10_000)  # 47 MB
    tracemalloc.start()
    try:
        corpus = Corpus.convert(file, tmp_path / "i")
        train, held = split(corpus, 0.1)
        for count, _ in enumerate(Windows(train, 32, 100, rng=0)):
            if count == 30:
                break
        model = characters.CharacterLSTM(len(corpus.vocabulary), 3, 4, rng=0)
        characters.mean_bits(model, held.ids[:20_000], streams=32)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(corpus) > 38_000_000 and peak < 36e6  # of which 18 MB count characters


PEAK = """
import sys
from tinygrad_rnn import cli
assert cli.main(sys.argv[1:]) == 0
with open("/proc/self/status") as status:
    print([line for line in status if line.startswith("VmHWM")][0].split()[1])
"""


@pytest.mark.full
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="asks Linux for the peak")
@pytest.mark.parametrize("units", UNITS)
def test_memory_does_not_grow_with_the_text(units: str, tmp_path: Path) -> None:
    """400 MB take no 100 MB more than 1 MB do, in training and in scoring."""
    peaks: dict[str, list[int]] = {"train": [], "eval": []}
    for times in (2, 1000):
        out, block = tmp_path / str(times), PROSE.encode() * 100
        with open(tmp_path / "t.txt", "wb") as file:
            for _ in range(times):
                file.write(block)
        steps = ["--steps", "200", "--hidden", "16", "--eager"]
        for command in (
            ["train", "text", file.name, "--units", units, "--out", str(out), *steps],
            ["eval", str(out / "model.safetensors"), file.name, "--held-out", "0.0005"],
        ):
            done = subprocess.run(
                [sys.executable, "-c", PEAK, *command],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert done.returncode == 0, done.stderr
            peaks[command[0]].append(int(done.stdout.split()[-1]) // 1024)
    assert all(big < small + 100 for small, big in peaks.values()), peaks


# --- files of every kind ------------------------------------------------------------------------------------------------------


SMALL = ["--hidden", "6", "--embedding", "3", "--batch", "2", "--window", "5", "--steps", "3"]
SMALL += ["--length", "20"]
GOOD = {
    "plain": (PROSE, []),
    "a byte order mark": ("\ufeff" + PROSE, []),
    "line ends of Windows": (PROSE.replace("\n", "\r\n"), []),
    "line ends of an old Mac": (PROSE.replace("\n", "\r"), []),
    "Latin-1": (PROSE.replace("\U0001f600", "").encode("latin-1"), ["--encoding", "latin-1"]),
    "UTF-16": (PROSE.encode("utf-16"), ["--encoding", "utf-16"]),
    "UTF-16 of the other order": (PROSE.encode("utf-16-be"), ["--encoding", "utf-16-be"]),
    "emoji": ("\U0001f600\U0001f468\u200d\U0001f469 " * 600, []),
    "one long line": ("long " * 2000, []),
    "one distinct character": ("a" * 5000, []),
    "no line end at the end": (PROSE[:-1], []),
    "control characters": (PROSE.replace("fox", "\x1b[31m\x07"), []),
    "bytes of anything": (bytes(range(256)) * 20, ["--units", "bytes"]),
    "words": (PROSE * 8, ["--units", "words"]),
    "shorter than the windows": (PROSE, ["--window", "300", "--batch", "64"]),
}
BAD = {
    "empty": (b"", [], "expected text, found an empty file"),
    "white space": (b" \n\t" * 2000, [], "6000 characters of white space alone"),
    "short": (PROSE[:50], [], "at least 2000 characters, found 50"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 200, [], "offset 8 (line 3, column 1): this is no"),
    "a zero": (PROSE.encode() + b"\0", [], "a byte of value 0 at offset 4240 (line 81, column 1)"),
    "Latin-1 unsaid": ("caf\xe9\n".encode("latin-1") * 900, [], "(line 1, column 4), as in Latin-1"),
    "UTF-16 unsaid": (PROSE.encode("utf-16"), [], "declare the encoding utf-16"),
    "UTF-16 said wrongly": (PROSE, ["--encoding", "ascii"], "line 1, column 6: byte 5 is 0xc3"),
    "cut in a character": (PROSE.encode()[: PROSE.encode().rindex(b"\xf0") + 2], [], "the file was cut"),
    "an unknown encoding": (PROSE, ["--encoding", "utf-99"], "there is no encoding 'utf-99'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GOOD)
def test_from_a_file_to_a_model_and_a_sample(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, more = GOOD[kind]
    file, out = write(tmp_path / "t.txt", content), tmp_path / "out"
    code, _, err = call("train", "text", str(file), "--out", str(out), *SMALL, *more, capsys=capsys)
    assert code == 0 and err == ""
    names = ["checkpoints", "corpus.ids", "loss.svg", "model.safetensors"]
    assert sorted(p.name for p in out.iterdir()) == names
    model = str(out / "model.safetensors")
    code, drawn, _ = call("sample", model, "--length", "12", "--seed", "1", capsys=capsys)
    assert code == 0 and len(drawn) > 5
    declared = more if "--encoding" in more else []
    code, scored, err = call("eval", model, str(file), *declared, capsys=capsys)
    units = "bytes" if "bytes" in more else "words" if "words" in more else "characters"
    assert code == 0 and scored.endswith(f" {units}\n"), err
    assert call("eval", model, str(out / "corpus.ids"), capsys=capsys)[1] == scored


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_learnt_is_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, more, words = BAD[kind]
    file, out = write(tmp_path / "t.txt", content), tmp_path / "out"
    code, _, err = call("train", "text", str(file), "--out", str(out), *SMALL, *more, capsys=capsys)
    assert code == 2 and words in err and err.count("\n") == 1
    assert not out.exists()


def test_what_is_no_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        (".", "found a folder"),
        ("pipe", "found a pipe"),
        ("none", "no such file"),
    ):
        place = str(tmp_path / name)
        code, _, err = call("train", "text", place, "--out", str(tmp_path / "o"), capsys=capsys)
        assert code == 2 and words in err and err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pipe"]


def test_a_converted_text_is_used_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, ids, out = write(tmp_path / "t.txt", PROSE), tmp_path / "t.ids", tmp_path / "out"
    Corpus.convert(file, ids, min_count=2)
    commands = [["train", "text", str(f), "--out", str(out / f.name), *SMALL] for f in (file, ids)]
    for command in commands:
        assert call(*command, capsys=capsys)[0] == 0
    assert not (out / "t.ids" / "corpus.ids").exists()
    a, b = (model_files.load_model(out / n / "model.safetensors")[0] for n in ("t.txt", "t.ids"))
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())
    file.unlink()
    resumed = ["train", "text", "--out", str(out / "t.ids"), "--resume", "--steps", "5"]
    code, shown, _ = call(*resumed, capsys=capsys)
    assert code == 0 and "Resumed after step 3" in shown
    again = str(out / "t.txt" / "corpus.ids")  # the text of the run that is replaced
    replaced = ["train", "text", again, "--out", str(out / "t.txt"), "--overwrite", *SMALL]
    assert call(*replaced, capsys=capsys)[0] == 0 and Path(again).exists()
    code, _, err = call(*commands[1], "--units", "words", "--overwrite", capsys=capsys)
    assert code == 2 and "is a text of characters and cannot become one of words" in err
    code, _, err = call(*resumed, "--units", "words", capsys=capsys)
    assert code == 2 and "--units is characters in" in err
    other = ["train", "text", str(ids), "--out", str(out / "t.txt"), "--overwrite", *SMALL]
    assert call(*other, capsys=capsys)[0] == 0 and not Path(again).exists()


def test_a_demo_takes_no_more_of_a_converted_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "LONGEST", 3000)
    file, ids = write(tmp_path / "t.txt", PROSE), tmp_path / "t.ids"
    Corpus.convert(file, ids, min_count=2)
    line = ["demo", "--out", str(tmp_path / "out"), *SMALL, "--text"]
    code, _, err = call(*line, str(ids), capsys=capsys)
    assert code == 2 and "the demo uses at most 3,000; give the text itself" in err
    code, shown, _ = call(*line, str(file), capsys=capsys)
    assert code == 0 and "The first 3,000 characters of" in shown
    assert len(Corpus(tmp_path / "out" / "corpus.ids")) == 3000


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_signal_while_a_text_is_read(
    part: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first reading, in the counting, and in the writing."""
    opened, calls = encodings._opened, []

    def counting(source: Path) -> Any:
        calls.append(source)
        if len(calls) == part:
            signal.raise_signal(signal.SIGINT)
        return opened(source)

    monkeypatch.setattr(encodings, "_opened", counting)
    file, out = write(tmp_path / "t.txt", PROSE), tmp_path / "out"
    code, shown, err = call("train", "text", str(file), "--out", str(out), *SMALL, capsys=capsys)
    assert code == 130 and "Stopped before training began" in shown and err == ""
    assert out.exists() == (part == 3) and len(calls) == part
    assert not out.exists() or list(out.iterdir()) == []


def test_the_end_of_a_text_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "t.txt", PROSE)
    vocabulary = Vocabulary.from_text(PROSE, 2)
    model, path = characters.CharacterLSTM(len(vocabulary), 3, 5, rng=0), tmp_path / "m.safetensors"
    model_files.save_model(path, model, vocabulary)
    for more, part in (([], PROSE), (["--held-out", "0.25"], split(PROSE, 0.25)[1])):
        bits = characters.evaluate(model, vocabulary.encode(part), streams=32)
        code, out, _ = call("eval", str(path), str(file), *more, capsys=capsys)
        assert code == 0 and out == f"{bits.mean():.4f} bits for each of {len(bits):,} characters\n"
    Corpus.convert(file, tmp_path / "i", units="words")
    code, _, err = call("eval", str(path), str(tmp_path / "i"), capsys=capsys)
    assert code == 2 and "has other symbols than" in err
    assert (
        "latin-1" in call("eval", str(path), str(write(file, b"caf\xe9\n" * 9)), capsys=capsys)[2]
    )


def test_every_option_is_in_the_help() -> None:
    from tests.test_cli_nonsense import commands
    from tinygrad_rnn.cli import arguments

    bare = [
        f"{name} {action.dest}"
        for name, parser in commands(arguments.parser())
        for action in parser._actions
        if not action.help
    ]
    assert not bare


def test_batches_of_a_mapped_array_copy_what_they_give(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    made: Any = np.lib.format.open_memmap(path, "w+", np.float32, (2000, 50, 40))  # 16 MB
    made[:] = np.arange(2000, dtype=np.float32)[:, None, None]
    made.flush()
    mapped, labels = np.load(path, mmap_mode="r"), np.arange(2000)
    tracemalloc.start()
    try:
        data = tg.data.Batches(mapped, labels, batch_size=16, rng=0)
        for x, label in data:
            np.testing.assert_array_equal(x.numpy()[0, :, 0], label.numpy())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6
