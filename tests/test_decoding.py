"""Decoding against enumeration of all sequences, and draws against the probabilities they come from."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.nn.decoding import Hypothesis, beam, cut, greedy, sample

SYMBOLS, STOP, START, LENGTH = 3, 0, 2, 3


class Table:
    """A step whose logits depend on everything so far.

    The state is the sequence number and the tokens, as digits.
    """

    def __init__(
        self, rng: np.random.Generator, batch: int = 1, symbols: int = SYMBOLS, length: int = LENGTH
    ) -> None:
        self.symbols, self.length = symbols, length
        self.logits = 1.5 * rng.standard_normal((batch, (symbols + 1) ** (length + 1), symbols))
        self.calls = 0

    def first(self, batch: int = 1) -> Any:
        return {"sequence": np.arange(batch), "seen": tg.tensor(np.zeros(batch))}

    def __call__(self, ids: np.ndarray, state: Any) -> tuple[Any, Any]:
        self.calls += 1
        seen = state["seen"] * (self.symbols + 1) + tg.tensor(ids + 1.0)
        logits = self.logits[state["sequence"], seen.numpy().astype(int)]
        return tg.tensor(logits), {"sequence": state["sequence"], "seen": seen}

    def logs(self, sequence: int, tokens: tuple[int, ...]) -> list[float]:
        """Log-probability of each token in turn, computed from scratch."""
        seen, found = 0, []
        for before, token in zip((START, *tokens[:-1]), tokens, strict=True):
            seen = seen * (self.symbols + 1) + before + 1
            z = self.logits[sequence, seen]
            found.append(float(z[token]) - math.log(sum(math.exp(v) for v in z)))
        return found


def complete(
    stop: int | None, symbols: int = SYMBOLS, length: int = LENGTH
) -> list[tuple[int, ...]]:
    """All sequences that end with stop or at the full length."""
    found = []
    for n in range(1, length + 1):
        for tokens in itertools.product(range(symbols), repeat=n):
            if stop not in tokens[:-1] and (tokens[-1] == stop or n == length):
                found.append(tokens)
    return found


def penalised(table: Table, sequence: int, tokens: tuple[int, ...], exponent: float) -> float:
    return sum(table.logs(sequence, tokens)) / ((5 + len(tokens)) / 6) ** exponent


@pytest.mark.parametrize("exponent", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("stop", [STOP, None])
def test_a_wide_beam_finds_the_best_of_all(
    stop: int | None, exponent: float, rng: np.random.Generator
) -> None:
    for _ in range(10):
        table = Table(rng, batch=3)
        found = beam(table, table.first(3), START, stop, LENGTH, SYMBOLS**LENGTH, exponent)
        for b in range(3):
            best = max(complete(stop), key=lambda tokens: penalised(table, b, tokens, exponent))
            assert found[b][0].tokens == [t for t in best if t != stop]
            assert found[b][0].score == pytest.approx(penalised(table, b, best, exponent), rel=1e-9)
            assert found[b][0].log_probability == pytest.approx(sum(table.logs(b, best)), rel=1e-9)


def narrow(table: Table, width: int, exponent: float) -> tuple[float, ...]:
    """Beam search as its definition says, with lists, to the full length: the score of the best."""
    going: list[tuple[int, ...]] = [()]
    scores = []
    for n in range(1, LENGTH + 1):
        longer = sorted(
            ((*g, v) for g in going for v in range(SYMBOLS)),
            key=lambda tokens: -sum(table.logs(0, tokens)),
        )
        scores += [
            penalised(table, 0, tokens, exponent)
            for tokens in longer[:width]
            if tokens[-1] == STOP or n == LENGTH
        ]
        going = [tokens for tokens in longer if tokens[-1] != STOP][:width]
    return (max(scores),) if scores else ()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_narrow_beam_is_what_its_definition_says(width: int, rng: np.random.Generator) -> None:
    missed = 0
    for k in range(60):
        table = Table(rng)
        exponent = (0.0, 1.0)[k % 2]
        [found] = beam(table, table.first(), START, STOP, LENGTH, width, exponent)
        assert found[0].score == pytest.approx(narrow(table, width, exponent)[0], rel=1e-9)
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True) and len(
            found
        ) <= width
        missed += (
            found[0].score
            < max(penalised(table, 0, tokens, exponent) for tokens in complete(STOP)) - 1e-9
        )
    # else the test could not tell a beam from an enumeration
    assert missed if width == 1 else missed < 30


def test_a_beam_of_one_is_greedy_and_greedy_takes_the_likeliest(rng: np.random.Generator) -> None:
    for _ in range(30):
        table = Table(rng, batch=4)
        ids = greedy(table, table.first(4), START, STOP, LENGTH)
        for b in range(4):
            tokens: list[int] = []
            while len(tokens) < LENGTH and STOP not in tokens:
                tokens.append(max(range(SYMBOLS), key=lambda v: table.logs(b, (*tokens, v))[-1]))
            assert cut(ids, STOP)[b] == [t for t in tokens if t != STOP]
            assert set(ids[b, len(tokens) :]) <= {STOP}
        assert cut(ids, STOP) == [
            found[0].tokens for found in beam(table, table.first(4), START, STOP, LENGTH, 1)
        ]


def test_the_search_ends_early() -> None:
    def step(ids: np.ndarray, state: Any) -> tuple[Any, Any]:
        calls.append(len(ids))
        return np.log(np.tile([0.98, 0.01, 0.01], (len(ids), 1))), state

    calls: list[int] = []
    [found] = beam(step, np.zeros((1, 1)), START, STOP, 50, 2)
    assert found == [Hypothesis([], pytest.approx(math.log(0.98)), pytest.approx(math.log(0.98)))]
    assert calls == [2]
    assert greedy(step, np.zeros((5, 1)), START, STOP, 50).tolist() == [[STOP]] * 5
    assert calls == [2, 5]


def test_what_ends_makes_room_in_the_beam() -> None:
    # Stop is likeliest at first; the second choice goes on to a sequence that is certain, and
    # longer.
    first, later = np.log([0.5, 0.4, 0.1]), np.log([1e-9, 1.0, 1e-9])

    def step(ids: np.ndarray, state: Any) -> tuple[Any, Any]:
        return np.where((ids == START)[:, None], first, later), state

    [found] = beam(step, np.zeros((1, 1)), START, STOP, 6, 1, 2.0)
    assert found[0].tokens == [1] * 6 and found[0].score == pytest.approx(
        math.log(0.4) / (11 / 6) ** 2, rel=1e-6
    )
    assert greedy(step, np.zeros((1, 1)), START, STOP, 6).tolist() == [[STOP]]


def test_the_batch_does_not_matter(rng: np.random.Generator) -> None:
    table = Table(rng, batch=5)
    together = beam(table, table.first(5), START, STOP, LENGTH, 2, 0.5)
    for b in range(5):
        alone = beam(
            table,
            {"sequence": np.array([b]), "seen": tg.tensor(np.zeros(1))},
            START,
            STOP,
            LENGTH,
            2,
            0.5,
        )
        assert alone[0] == together[b]


def test_draws_have_the_probabilities(rng: np.random.Generator) -> None:
    logits = np.array([1.0, -0.5, 0.3, 2.0])

    def step(ids: np.ndarray, state: Any) -> tuple[Any, Any]:
        return np.tile(logits, (len(ids), 1)), state

    n = 40000
    for temperature, top_k in [(1.0, None), (0.5, None), (2.0, 3), (1.0, 1)]:
        kept = sorted(range(4), key=lambda v: -logits[v])[:top_k]
        weights = np.array(
            [math.exp(logits[v] / temperature) if v in kept else 0.0 for v in range(4)]
        )
        expected = weights / weights.sum()
        ids = sample(step, np.zeros((n, 1)), 0, None, 2, temperature, top_k, rng)
        for t in range(2):
            found = np.bincount(ids[:, t], minlength=4) / n
            assert np.all(np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / n))
        # the draws of two steps are independent
        together = np.bincount(ids[:, 0] * 4 + ids[:, 1], minlength=16) / n
        assert np.all(
            np.abs(together - np.outer(expected, expected).ravel()) < 5 * np.sqrt(0.25 / n)
        )


def test_temperature_zero_is_greedy_and_a_seed_repeats(rng: np.random.Generator) -> None:
    table = Table(rng, batch=6)
    assert np.array_equal(
        sample(table, table.first(6), START, STOP, LENGTH, 0.0),
        greedy(table, table.first(6), START, STOP, LENGTH),
    )
    drawn = [sample(table, table.first(6), START, None, LENGTH, rng=3) for _ in range(2)]
    assert np.array_equal(*drawn)
    ids = sample(table, table.first(6), START, STOP, LENGTH, 1.5, rng=rng)
    for row in ids.tolist():
        assert STOP not in row or set(row[row.index(STOP) :]) == {STOP}


def test_nothing_is_recorded_and_start_may_differ(rng: np.random.Generator) -> None:
    embedding = tg.nn.Embedding(4, 3, rng=rng)
    cell = tg.cells.LSTM(3, 5, rng=rng)
    head = tg.nn.Linear(5, 4, rng=rng)
    states: list[Any] = []

    def step(ids: np.ndarray, state: Any) -> tuple[Any, Any]:
        y, state = cell(embedding(ids), state)
        states.append(state)
        return head(y), state

    starts = np.array([1, 2, 3])
    ids = greedy(step, cell.initial_state(3), starts, None, 6)
    assert not any(s.requires_grad for state in states for s in state)
    for b, first in enumerate(starts):
        np.testing.assert_array_equal(
            greedy(step, cell.initial_state(1), int(first), None, 6)[0], ids[b]
        )
    found = beam(step, cell.initial_state(3), starts, None, 4, 4**4)
    for b, first in enumerate(starts):
        scores = {}
        for tokens in itertools.product(range(4), repeat=4):
            h, total = cell.initial_state(1), 0.0
            for before, token in zip((first, *tokens[:-1]), tokens, strict=True):
                z, h = step(np.array([before]), h)
                total += float(tg.log_softmax(z).numpy()[0, token])
            scores[tokens] = total
        assert tuple(found[b][0].tokens) == max(scores, key=scores.__getitem__)


def test_messages() -> None:
    def step(ids: np.ndarray, state: Any) -> tuple[Any, Any]:
        return np.zeros((len(ids), 3)), state

    first = np.zeros((2, 1))
    for words, call in [
        ("max_length", lambda: greedy(step, first, 0, 0, 0)),
        ("width", lambda: beam(step, first, 0, 0, 5, 0)),
        ("length_penalty", lambda: beam(step, first, 0, 0, 5, 1, -1.0)),
        ("temperature", lambda: sample(step, first, 0, 0, 5, -0.1)),
        ("temperature", lambda: sample(step, first, 0, 0, 5, math.inf)),
        ("top_k", lambda: sample(step, first, 0, 0, 5, 1.0, 0)),
        ("tells the batch", lambda: greedy(step, None, 0, 0, 5)),
        (
            "expected logits of shape",
            lambda: greedy(lambda ids, s: (np.zeros(3), s), first, 0, 0, 5),
        ),
        (
            "not a number",
            lambda: greedy(lambda ids, s: (np.full((2, 3), np.nan), s), first, 0, 0, 5),
        ),
    ]:
        with pytest.raises(tg.TinygradError, match=words):
            call()


def test_infinite_logits() -> None:
    for row in ([-np.inf, -np.inf], [np.inf, 0.0]):
        with pytest.raises(
            tg.core.errors.TinygradError, match="largest logit of a row must be finite"
        ):
            sample(
                lambda ids, s, row=row: (np.array([row]), s), np.zeros((1, 1)), 0, None, 2, rng=0
            )


def test_a_temperature_of_almost_nothing_is_greedy() -> None:
    with np.errstate(all="raise", under="ignore"):
        found = sample(
            lambda ids, s: (np.array([[1.0, 3.0, -np.inf]]), s),
            np.zeros((1, 1)),
            0,
            None,
            2,
            temperature=1e-320,
            rng=0,
        )
    np.testing.assert_array_equal(found, [[1, 1]])
