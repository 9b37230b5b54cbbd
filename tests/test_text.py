"""Texts in pieces, their encodings, and vocabularies."""

from __future__ import annotations

import errno
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.data import DataError, Vocabulary, encodings
from tinygrad_rnn.data.corpus import Text
from tinygrad_rnn.data.vocabulary import split_pieces
from tinygrad_rnn.train import text

FRENCH = "Il a dit : \u00ab \u00e9t\u00e9 \u00bb, et na\u00eff caf\u00e9.\n" * 60
PROSE = "The quick brown fox jumps over the lazy dog.\n" * 60


def test_topics_are_deterministic_and_shuffled() -> None:
    texts = text.load_topics(), text.load_topics(), text.load_topics(seed=1)
    one, two, other = ("".join(t.pieces()) for t in texts)
    assert one == two != other
    assert sorted(one.split("\n")) == sorted(other.split("\n"))
    assert 250_000 < len(one) < 700_000
    assert sys.version.split()[0] in texts[0].source
    assert text.of_path(None).sha256 == texts[1].measure().sha256 != texts[2].measure().sha256


def test_topics_hold_no_long_paragraph_twice() -> None:
    paragraphs = [" ".join(p.split()) for p in "".join(text.load_topics().pieces()).split("\n\n")]
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
    with pytest.raises(DataError, match=r"pydoc_data\.topics.*--text FILE"):
        text.of_path(None)


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(
        b"\xef\xbb\xbf" + ("na\u00efve \U0001f600\r\n" + PROSE).replace("dog.\n", "dog.\r").encode()
    )
    found = Text.of_file(path)
    assert "".join(found.chunks()) == "na\u00efve \U0001f600\n" + PROSE
    assert found.source == str(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no such file"),
        (b"", "found an empty file"),
        (b" \n" * 3000, "found 6000 characters of white space alone"),
        (PROSE.encode()[:1999], "at least 2000 characters, found 1999"),
        (
            PROSE.encode() + b"caf\xe9 au lait",
            r"byte 0xe9 at offset 2703 \(line 61, column 4\), as in Latin-1.*declare the encoding latin-1",
        ),
        (PROSE.encode() + b"caf\xe9", "declare the encoding latin-1"),
        (PROSE.encode() + b"caf\xe9\n", "declare the encoding latin-1"),
        (
            PROSE.encode() + b"it\x92s; caf\xe9",
            r"byte 0x92 at offset 2702 \(line 61, column 3\), as in Windows-1252.*declare the encoding cp1252",
        ),
        (
            FRENCH.encode() + b"\xff\n" + FRENCH.encode(),
            r"damaged in one place, the first byte 0xff at offset 2400 \(line 61, column 1\).*iconv -c",
        ),
        (FRENCH.encode()[:-2] + b"\xa0 \x80\n" + FRENCH.encode(), "damaged in 2 places"),
        (
            (FRENCH + "\u20ac").encode()[:-1],
            "the beginning of a character at its end, byte 0xe2.*line 61.*cut",
        ),
        (
            FRENCH.encode("utf-16"),
            r"found UTF-16 \(a byte order mark ff fe\); declare the encoding utf-16",
        ),
        (b"\xfe\xff" + FRENCH.encode("utf-16-be"), r"found UTF-16 \(a byte order mark fe ff\)"),
        (FRENCH.encode("utf-32"), r"UTF-32 \(a byte order mark ff fe 00 00\).*the encoding utf-32"),
        (b"\0\0\xfe\xff" + FRENCH.encode("utf-32-be"), r"UTF-32 \(a byte order mark 00 00 fe ff\)"),
        (
            FRENCH.encode("utf-16-le"),
            "value 0, as in UTF-16-LE without a byte order mark.*the encoding utf-16-le",
        ),
        (
            PROSE.encode("utf-16-be"),
            "value 0, as in UTF-16-BE without a byte order mark.*the encoding utf-16-be",
        ),
        (
            ("\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440\n" * 300).encode("utf-16-le"),
            "UTF-16-LE",
        ),
        (
            PROSE.encode() + b"\0" + PROSE.encode(),
            r"a byte of value 0 at offset 2700 \(line 61, column 1\)",
        ),
        (
            ("\u043f\u0440\u0438\u0432\u0435\u0442\n" * 400).encode("koi8-r"),
            "in another encoding; declare it",
        ),
    ],
)
def test_file_errors(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "t.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        text.of_path(path)
    assert str(path) in str(caught.value)


def test_long_texts_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "a\u20ac \U0001f600\u00e9\r\n"
    path = tmp_path / "t.txt"
    for piece in (1, 4, 5, 7, 64):
        monkeypatch.setattr(encodings, "_PIECE", piece)
        for encoding in ("utf-8", "utf-16", "utf-16-le"):
            path.write_bytes((words * 30).encode(encoding))
            found = Text.of_file(path, encoding=encoding)
            assert "".join(found.chunks()) == (words * 30).replace("\r", "")
            assert "".join(found.chunks(7)) == words.replace("\r", "") + "a"
        data = words.encode() * 30
        path.write_bytes(data[:70] + b"\xff" + data[70:])
        monkeypatch.setattr(encodings, "_AROUND", 40)
        with pytest.raises(DataError, match=r"damaged.*0xff at offset 70 \(line 6, column 4\)"):
            Text.of_file(path).measure()


def test_a_window_of_a_text_is_judged_as_the_text() -> None:
    data = "a\u20ac\U0001f600\u00e9\n".encode() * 30
    assert encodings._not_utf8(data) == ([], len(data))
    for cut in range(6):
        for end in range(6):
            part = data[cut : len(data) - end]
            assert encodings._not_utf8(part, begun=True, ends=False)[0] == []
    assert encodings._not_utf8(data[:55] + b"\xff" + data[55:110] + b"\xc3" + data[110:]) == (
        [55, 111],
        len(data) + 2,
    )


def test_a_text_in_a_declared_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    for encoding in ("latin-1", "cp1252", "utf-16", "utf-16-be", "utf-32", "utf-8"):
        path.write_bytes(FRENCH.encode(encoding))
        assert "".join(Text.of_file(path, encoding=encoding).chunks()) == FRENCH
    for encoding, data, words in (
        ("ascii", b"ab\ncd\xe9\n", r"t\.txt, line 2, column 3: byte 5 is 0xe9, .*in ascii"),
        ("utf-16", "ab\ncd".encode("utf-16") + b"\0", r"line 2, column 3: byte 12 is 0x00"),
        ("latin-1", b"ab\n\xe9\0\n", r"line 2, column 2: a character of value 0"),
        ("utf-16-le", "ab\n\0".encode("utf-16-le"), r"line 2, column 1: a character of value 0"),
        ("hex", b"ab", "there is no encoding 'hex'; utf-8"),
        ("none", b"ab", "there is no encoding 'none'"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=words):
            Text.of_file(path, encoding=encoding).measure()


def test_a_device_is_not_read() -> None:
    for name in ("/dev/zero", "/dev/null"):
        if Path(name).exists():
            with pytest.raises(DataError, match=f"{name}: expected a text file, found a device"):
                text.of_path(Path(name))


def test_names_that_no_file_can_have() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        text.of_path(Path("a\0b"))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found a folder|cannot be read"):
        text.of_path(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes with names")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="found a pipe, which can be read once"):
        text.of_path(tmp_path / "pipe")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.txt"
    path.write_text(PROSE)

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(encodings, "open", refused, raising=False)
    with pytest.raises(DataError, match=r"t\.txt: cannot be read: Permission denied"):
        text.of_path(path)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(PROSE)
    found = Text.of_file(path)
    measure = found.measure()
    for content in (PROSE + "more", PROSE.upper()):
        path.write_text(content)
        os.utime(path, (len(content), 1))
        with pytest.raises(DataError, match="changed while it was read"):
            found.write(tmp_path / "t.ids", measure, Vocabulary("a"), 0)
        assert not (tmp_path / "t.ids").exists()


def test_words_do_not_depend_on_the_pieces(rng: np.random.Generator) -> None:
    for _ in range(100):
        string = "".join(rng.choice([*"ab  .,\n\t\u00e9"], size=int(rng.integers(1, 300))))
        string += "long" * int(rng.integers(0, 40))
        cuts = sorted(rng.integers(0, len(string) + 1, size=4))
        pieces = [string[a:b] for a, b in zip([0, *cuts], [*cuts, len(string)], strict=True)]
        found = [word for words in split_pieces(pieces, "words") for word in words]
        assert "".join(found) == string and max(map(len, found)) <= 65
        assert found == [w for words in split_pieces([string], "words") for w in words]
    assert found[-1].strip(" ").isalpha()


def test_words_and_bytes() -> None:
    string = "The cell, the cells.\n  the end\n"
    vocabulary = Vocabulary.from_text(string, 2, "words")
    assert vocabulary.symbols == ("\n", " the")
    assert vocabulary.decode(vocabulary.encode(string)).endswith(" the\ufffd\n")
    assert vocabulary.unit == "word" and vocabulary.drawn_from == 1
    every = Vocabulary.from_text(string, 1, "words")
    assert every.decode(every.encode(string)) == string
    assert eval(repr(every)) == every != vocabulary
    of_bytes = Vocabulary(units="bytes")
    assert len(of_bytes) == 256 and of_bytes.drawn_from == 0 and of_bytes.dtype == np.uint8
    assert of_bytes.encode("\u00e9a").tolist() == [0xC3, 0xA9, 97]
    assert of_bytes.decode([0xC3, 0xA9, 97]) == "\u00e9a" and of_bytes.decode([0xFF]) == "\ufffd"
    for wrong, words in (
        (lambda: Vocabulary("a", "bytes"), "the bytes are its symbols"),
        (lambda: Vocabulary(["ab"]), "cannot have the symbol 'ab'"),
        (lambda: Vocabulary(["a b"], "words"), "cannot have the symbol 'a b'"),
        (lambda: Vocabulary(units="letters"), "expected one of characters, bytes, words"),
    ):
        with pytest.raises(DataError, match=words):
            wrong()


def test_vocabulary_by_hand() -> None:
    vocabulary = Vocabulary.from_text("abracadabra", min_count=2)
    assert "".join(vocabulary.symbols) == "abr"
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
            with pytest.raises(DataError, match="lower min_count"):
                Vocabulary.from_text(string, least)
            continue
        vocabulary = Vocabulary.from_text(string, least)
        assert set(vocabulary.symbols) == kept
        ids = vocabulary.encode(string)
        assert vocabulary.decode(ids) == "".join(c if c in kept else "\ufffd" for c in string)
        assert vocabulary.decode(np.arange(1, len(vocabulary))) == "".join(vocabulary.symbols)
        again = Vocabulary(vocabulary.symbols[::-1])
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
