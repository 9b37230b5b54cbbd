"""The counting models against plain loops over dictionaries, and against what any probability must satisfy."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from tinygrad_rnn.data import Vocabulary, split
from tinygrad_rnn.train import text
from tinygrad_rnn.train.baselines import (
    CharacterModel,
    KneserNey,
    Uniform,
    Unigram,
    score_baselines,
)


class SlowKneserNey:
    """The equations of the module's text, read off one by one; no arrays."""

    def __init__(self, ids: list[int], size: int, order: int) -> None:
        self.size, self.order = size, order
        self.a: dict[int, Counter[tuple[int, ...]]] = {}
        for k in range(1, order + 1):
            self.a[k] = Counter()
            if k == order:
                for i in range(len(ids) - k + 1):
                    self.a[k][tuple(ids[i : i + k])] += 1
            else:
                before: dict[tuple[int, ...], set[int]] = {}
                for i in range(1, len(ids) - k + 1):
                    before.setdefault(tuple(ids[i : i + k]), set()).add(ids[i - 1])
                for gram, symbols in before.items():
                    self.a[k][gram] = len(symbols)
        self.modified = {k: self.estimate(k)[1] for k in self.a}

    def estimate(self, k: int) -> tuple[list[float], bool]:
        n = Counter(self.a[k].values())
        y = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
        if all(n[i] for i in (1, 2, 3, 4)):
            d = [i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)]
            if all(0 < d[i - 1] < i for i in (1, 2, 3)):
                return d, True
        return [y, y, y], False

    def p(self, w: int, context: tuple[int, ...]) -> float:
        h = context[max(0, len(context) - self.order + 1) :]
        return self.level(len(h) + 1, h, w)

    def level(self, k: int, h: tuple[int, ...], w: int) -> float:
        if k == 0:
            return 1 / self.size
        counts = [(gram[-1], c) for gram, c in self.a[k].items() if gram[:-1] == h]
        lower = self.level(k - 1, h[1:], w)
        if not counts:
            return lower
        d, _ = self.estimate(k)
        total = sum(c for _, c in counts)
        own = sum(max(c - d[min(c, 3) - 1], 0.0) for symbol, c in counts if symbol == w)
        left = sum(d[min(c, 3) - 1] for _, c in counts)
        return own / total + left / total * lower


def skewed_ids(rng: np.random.Generator, length: int, size: int) -> list[int]:
    """Make text whose symbols depend on the symbol before.

    The last of `size` symbols never occurs.
    """
    table = rng.dirichlet(np.full(size - 1, 0.25), size=size - 1)
    ids = [0]
    for _ in range(length - 1):
        ids.append(int(rng.choice(size - 1, p=table[ids[-1]])))
    return ids


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_kneser_ney_against_plain_loops(order: int) -> None:
    rng = np.random.default_rng(order)
    discounts = set()
    for length, size in [
        (order, 3),
        (order + 1, 3),
        (12, 5),
        (60, 4),
        (300, 7),
        (900, 9),
        (2500, 16),
    ]:
        train = skewed_ids(rng, length, size)
        slow, fast = SlowKneserNey(train, size, order), KneserNey(np.array(train), size, order)
        discounts |= set(slow.modified.values())
        held = rng.integers(size, size=25).tolist() + train[:15]
        expected = [-math.log2(slow.p(w, tuple(held[:i]))) for i, w in enumerate(held)][1:]
        np.testing.assert_allclose(fast.bits(np.array(held)), expected, rtol=1e-12)
        for n in range(order + 1):
            context = [int(i) for i in rng.integers(size, size=n)]
            row = [slow.p(w, tuple(context)) for w in range(size)]
            np.testing.assert_allclose(fast.distribution(context), row, rtol=1e-12)
    assert order == 1 or discounts == {True, False}, "both kinds of discount should have been met"


def test_kneser_ney_by_hand() -> None:
    # a b a b a c as 0 1 0 1 0 2 of 4 symbols; bigrams ab 2, ba 2, ac 1; distinct symbols before: a
    # 1, b 1, c 1.
    model = KneserNey(np.array([0, 1, 0, 1, 0, 2]), 4, 2)
    d2 = 1 / (1 + 2 * 2)  # n1 = 1 (ac), n2 = 2 (ab, ba)
    unigram = [(1 - 0.5) / 3 + 0.5 / 4] * 3 + [0.5 / 4]  # n2 = 0: the discount is 1/2
    expected = [unigram[w] * 2 * d2 / 3 for w in range(4)]
    expected[1] += (2 - d2) / 3
    expected[2] += (1 - d2) / 3
    np.testing.assert_allclose(model.distribution([0]), expected, rtol=1e-14)
    np.testing.assert_allclose(model.distribution([]), unigram, rtol=1e-14)
    # c is followed by nothing
    np.testing.assert_allclose(model.distribution([2]), unigram, rtol=1e-14)


def test_frequent_in_one_context_is_unlikely_in_a_new_one() -> None:
    # Symbol 1 is the most frequent, but always after 0; symbol 2 follows four different symbols.
    train = np.array([0, 1] * 30 + [3, 2, 4, 2, 5, 2, 0, 2])
    model = KneserNey(train, 7, 2)
    new = model.distribution([6])
    assert Unigram(train, 7).distribution([])[1] > Unigram(train, 7).distribution([])[2]
    assert new[2] > new[1]


@pytest.fixture(scope="module")
def corpus_ids() -> tuple[np.ndarray, np.ndarray, int]:
    """Give train and held-out ids of the Python reference, and the vocabulary's size."""
    train, held = split("".join(text.load_topics().pieces()), 0.1)
    vocabulary = Vocabulary.from_text(train)
    return vocabulary.encode(train), vocabulary.encode(held), len(vocabulary)


def test_probabilities_sum_to_one(corpus_ids: tuple[np.ndarray, np.ndarray, int]) -> None:
    train, held, size = corpus_ids
    rng = np.random.default_rng(5)
    models: list[CharacterModel] = [Uniform(size), Unigram(train, size)]
    models += [KneserNey(train, size, n) for n in (1, 2, 3, 5)]
    for model in models:
        for place in rng.integers(8, len(held), size=40):
            for context in (
                held[:place],
                rng.integers(size, size=6),
                held[place : place + 1],
                held[:0],
            ):
                p = model.distribution(context.tolist())
                assert p.shape == (size,)
                assert p.min() > 0
                assert abs(p.sum() - 1) < 1e-12


def test_bits_are_those_of_the_distributions(
    corpus_ids: tuple[np.ndarray, np.ndarray, int],
) -> None:
    train, held, size = corpus_ids
    models: list[CharacterModel] = [Uniform(size), Unigram(train, size), KneserNey(train, size, 3)]
    for model in models:
        bits = model.bits(held[:300])
        assert bits.shape == (299,)
        expected = [
            -math.log2(model.distribution(held[:i].tolist())[held[i]]) for i in range(1, 300)
        ]
        np.testing.assert_allclose(bits, expected, rtol=1e-11)


def test_bits_look_only_backwards(corpus_ids: tuple[np.ndarray, np.ndarray, int]) -> None:
    train, held, size = corpus_ids
    model = KneserNey(train, size, 3)
    np.testing.assert_array_equal(model.bits(held)[:99], model.bits(held[:100]))


def test_scores_on_the_reference(corpus_ids: tuple[np.ndarray, np.ndarray, int]) -> None:
    train, held, size = corpus_ids
    scores = score_baselines(train, held, size)
    assert [s.name for s in scores] == ["uniform", "unigram", "bigram", "trigram"]
    assert {s.characters for s in scores} == {len(held) - 1}
    assert scores[0].bits == pytest.approx(math.log2(size))
    bits = [s.bits for s in scores]
    assert bits == sorted(bits, reverse=True)
    assert 4.2 < bits[1] < 5.2
    assert 2.8 < bits[2] < 4.0
    assert 2.0 < bits[3] < 3.0


def test_learns_the_entropy_of_a_known_source() -> None:
    rng = np.random.default_rng(6)
    table = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]])
    draws = rng.random(120_000)
    ids = np.zeros(len(draws), dtype=np.int64)
    edges = table.cumsum(axis=1)
    for i in range(1, len(ids)):
        ids[i] = np.searchsorted(edges[ids[i - 1]], draws[i])
    stationary = np.linalg.matrix_power(table, 200)[0]
    entropy = float(-(stationary[:, None] * table * np.log2(table)).sum())
    for score in score_baselines(ids[:80_000], ids[80_000:], 3)[2:]:
        assert score.bits == pytest.approx(entropy, abs=0.01)
    unigram = score_baselines(ids[:80_000], ids[80_000:], 3)[1].bits
    assert unigram == pytest.approx(float(-(stationary * np.log2(stationary)).sum()), abs=0.01)


def test_unigram_by_hand() -> None:
    np.testing.assert_allclose(Unigram([0, 0, 1], 4).distribution([]), np.array([3, 2, 1, 1]) / 7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Uniform(0), "at least 1 symbol"),
        (lambda: Unigram([0, 4], 4), "from 0 to 3, found 0 to 4"),
        (lambda: Unigram([-1], 4), "from 0 to 3"),
        (lambda: Unigram([0.5], 4), "integer ids"),
        (lambda: Unigram([], 4), "n at least 1"),
        (lambda: KneserNey([[0]], 4, 2), "shape"),
        (lambda: KneserNey([0], 4, 2), "at least 2 ids to count 2-grams, found 1"),
        (lambda: KneserNey([0, 1], 4, 0), "order must be at least 1"),
        (lambda: KneserNey(list(range(40)), 100, 10), "lower the order"),
        (lambda: KneserNey([0, 1, 1], 4, 2).distribution([4]), "from 0 to 3"),
        (lambda: KneserNey([0, 1, 1], 4, 2).bits([4]), "from 0 to 3"),
        (lambda: score_baselines([0, 1, 1], [0], 2), "at least 2 held-out"),
    ],
)
def test_errors(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
