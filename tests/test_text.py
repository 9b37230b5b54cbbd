"""Corpus, vocabulary and split."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.train import encodings, text
from tinygrad_rnn.train.errors import TextError
from tinygrad_rnn.train.vocabulary import Vocabulary

FRENCH = "Il a dit : \u00ab \u00e9t\u00e9 \u00bb, et na\u00eff caf\u00e9.\n" * 60
PROSE = "The quick brown fox jumps over the lazy dog.\n" * 60


def test_topics_are_deterministic_and_shuffled() -> None:
    one, two, other = text.load_topics(), text.load(), text.load_topics(seed=1)
    assert one == two
    assert one.sha256 == two.sha256 != other.sha256
    assert sorted(one.text.split("\n")) == sorted(other.text.split("\n"))
    assert 250_000 < len(one.text) < 700_000
    assert sys.version.split()[0] in one.source


def test_topics_hold_no_long_paragraph_twice() -> None:
    paragraphs = [" ".join(p.split()) for p in text.load_topics().text.split("\n\n")]
    counts = Counter(p for p in paragraphs if len(p) >= 80)
    repeated = sum(len(p) * (n - 1) for p, n in counts.items())
    assert repeated < 0.005 * sum(map(len, paragraphs))


def test_distinct_topics() -> None:
    first = "One paragraph that is long enough to be compared with others."
    second = "Another paragraph, also of more than forty characters."
    third = "A third paragraph of some length, which stands nowhere else."
    topics = {
        "whole": f"{first}\n\n{second}\n\nNote:\n\n   indented",
        "copy": f"{second}\n",
        "wrapped": "One paragraph that is long enough\n   to be compared with others.\n",
        "mixed": f"Note:\n\n{second}\n\n{third}\n",
        "mostly": f"{first}\n\n{second}\n\nA short new end.\n",
        "empty": "",
    }
    found = text.distinct_topics(topics)
    assert found == {"whole": topics["whole"], "mixed": f"Note:\n\n{third}"}


def test_topics_missing_from_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(TextError, match=r"pydoc_data\.topics.*--text FILE"):
        text.load()


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(
        b"\xef\xbb\xbf" + ("na\u00efve \U0001f600\r\n" + PROSE).replace("dog.\n", "dog.\r").encode()
    )
    corpus = text.load(path)
    assert corpus.text == "na\u00efve \U0001f600\n" + PROSE
    assert corpus.source == str(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no such file"),
        (b"", "found an empty file"),
        (b" \n" * 3000, "found 6000 characters of white space alone"),
        (PROSE.encode()[:1999], "at least 2000 characters, found 1999"),
        (
            PROSE.encode() + b"caf\xe9 au lait",
            r"byte 0xe9 at offset 2703 \(line 61\), as in Latin-1.*iconv -f LATIN1 -t UTF-8",
        ),
        (PROSE.encode() + b"caf\xe9", "iconv -f LATIN1"),
        (PROSE.encode() + b"caf\xe9\n", "iconv -f LATIN1"),
        (
            PROSE.encode() + b"it\x92s; caf\xe9",
            r"byte 0x92 at offset 2702 \(line 61\), as in Windows-1252.*iconv -f CP1252 -t UTF-8",
        ),
        (
            FRENCH.encode() + b"\xff\n" + FRENCH.encode(),
            r"damaged in one place, the first byte 0xff at offset 2400 \(line 61\).*iconv -c",
        ),
        (FRENCH.encode()[:-2] + b"\xa0 \x80\n" + FRENCH.encode(), "damaged in 2 places"),
        (
            (FRENCH + "\u20ac").encode()[:-1],
            "the beginning of a character at its end, byte 0xe2.*line 61.*cut",
        ),
        (
            FRENCH.encode("utf-16"),
            r"found UTF-16 \(a byte order mark ff fe\); convert it with iconv -f UTF-16 -t UTF-8",
        ),
        (b"\xfe\xff" + FRENCH.encode("utf-16-be"), r"found UTF-16 \(a byte order mark fe ff\)"),
        (FRENCH.encode("utf-32"), r"UTF-32 \(a byte order mark ff fe 00 00\).*iconv -f UTF-32"),
        (b"\0\0\xfe\xff" + FRENCH.encode("utf-32-be"), r"UTF-32 \(a byte order mark 00 00 fe ff\)"),
        (
            FRENCH.encode("utf-16-le"),
            "value 0, as in UTF-16LE without a byte order mark.*iconv -f UTF-16LE",
        ),
        (
            PROSE.encode("utf-16-be"),
            "value 0, as in UTF-16BE without a byte order mark.*iconv -f UTF-16BE",
        ),
        (
            ("\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440\n" * 300).encode("utf-16-le"),
            "UTF-16LE",
        ),
        (PROSE.encode() + b"\0" + PROSE.encode(), r"a byte of value 0 at offset 2700 \(line 61\)"),
        (
            ("\u043f\u0440\u0438\u0432\u0435\u0442\n" * 400).encode("koi8-r"),
            "in another encoding.*iconv -f ENCODING",
        ),
    ],
)
def test_file_errors(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "t.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(TextError, match=message) as caught:
        text.load_file(path)
    assert str(path) in str(caught.value)


def test_long_texts_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    data = "a\u20ac\U0001f600\u00e9\n".encode() * 300
    for piece in (4, 5, 7, 64):
        monkeypatch.setattr(encodings, "_PIECE", piece)
        assert encodings._not_utf8(data) == ([], len(data))
        assert encodings._not_utf8(data[:55] + b"\xff" + data[55:110] + b"\xc3" + data[110:]) == (
            [55, 111],
            len(data) + 2,
        )


def test_a_device_is_not_read() -> None:
    for name in ("/dev/zero", "/dev/null"):
        if Path(name).exists():
            with pytest.raises(
                TextError, match=f"{name}: expected a UTF-8 text file, found a device"
            ):
                text.load_file(name)


def test_names_that_no_file_can_have() -> None:
    with pytest.raises(TextError, match="cannot be read"):
        text.load_file("a\0b")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"found a folder|cannot be read"):
        text.load_file(tmp_path)


def test_split() -> None:
    for fraction in (0.01, 0.1, 0.5, 0.9):
        train, held = text.split(PROSE, fraction)
        assert train + held == PROSE
        assert len(held) == round(len(PROSE) * fraction)
    for fraction in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            text.split(PROSE, fraction)
    with pytest.raises(TextError, match="too short"):
        text.split("abcdef", 0.1)


def test_vocabulary_by_hand() -> None:
    vocabulary = Vocabulary.from_text("abracadabra", min_count=2)
    assert vocabulary.characters == "abr"
    assert len(vocabulary) == 4
    ids = vocabulary.encode("bard a")
    assert ids.dtype == np.int64
    assert ids.tolist() == [2, 1, 3, 0, 0, 1]
    assert vocabulary.decode(ids) == "bar\ufffd\ufffda"
    assert "a" in vocabulary
    assert not any(x in vocabulary for x in ("d", "ab", "", 1))


def test_vocabulary_round_trips() -> None:
    rng = np.random.default_rng(0)
    alphabet = [*"abc \n\t\0'\u00e9\u4e2d\U0001f600\U0010ffff\ud800", "\ufffd"]
    for _ in range(200):
        string = "".join(
            rng.choice(
                alphabet, size=rng.integers(1, 60), p=rng.dirichlet(np.full(len(alphabet), 0.5))
            )
        )
        least = int(rng.integers(1, 4))
        counts = Counter(string)
        kept = {c for c in counts if counts[c] >= least and c != "\ufffd"}
        if not kept:
            with pytest.raises(TextError, match="lower min_count"):
                Vocabulary.from_text(string, least)
            continue
        vocabulary = Vocabulary.from_text(string, least)
        assert set(vocabulary.characters) == kept
        ids = vocabulary.encode(string)
        assert vocabulary.decode(ids) == "".join(c if c in kept else "\ufffd" for c in string)
        assert vocabulary.decode(np.arange(1, len(vocabulary))) == vocabulary.characters
        again = Vocabulary(vocabulary.characters[::-1])
        assert again == vocabulary
        assert hash(again) == hash(vocabulary)
        assert eval(repr(vocabulary)) == vocabulary
        assert vocabulary.encode("").shape == (0,)
        assert vocabulary.decode([]) == ""


def test_vocabulary_of_no_characters() -> None:
    vocabulary = Vocabulary("")
    assert len(vocabulary) == 1
    assert vocabulary.encode("ab").tolist() == [0, 0]


@pytest.mark.parametrize("ids", [[4], [-1], [0.0, 1.0], [[1]], ["a"]])
def test_decode_errors(ids: list[object]) -> None:
    with pytest.raises(ValueError, match="expected ids"):
        Vocabulary("abr").decode(np.array(ids))


def test_vocabulary_errors() -> None:
    with pytest.raises(ValueError, match="'a' more than once"):
        Vocabulary("aba")
    with pytest.raises(ValueError, match="unknown"):
        Vocabulary("a\ufffd")
    with pytest.raises(ValueError, match="min_count must be at least 1, found 0"):
        Vocabulary.from_text("a", 0)
