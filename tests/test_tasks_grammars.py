"""The grammars.

Strings and legal symbols against definitions written again, and what counts as right.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train.tasks import grammars
from tinygrad_rnn.train.tasks.grammars import largest
from tinygrad_rnn.train.tasks.strings import (
    REBER,
    accepted,
    counting,
    most_active,
    reber_stream,
    reber_string,
    strings_right,
    together,
)
from tinygrad_rnn.train.tasks.task import Run

pytestmark = pytest.mark.usefixtures("eager")

# The Reber grammar as arcs between its nodes, all strings of which are enumerated here up to a
# length.
ARCS = [(0, "B", 1), (1, "T", 2), (1, "P", 3), (2, "S", 2), (2, "X", 4), (3, "T", 3), (3, "V", 5)]
ARCS += [(4, "X", 3), (4, "S", 6), (5, "P", 4), (5, "V", 6), (6, "E", 7)]


def all_strings(longest):
    """Every string of the embedded grammar with at most so many symbols."""
    found, open_ones = set(), [("", 0)]
    while open_ones:
        text, node = open_ones.pop()
        if node == 7:
            found |= {f"B{outer}{text}{outer}E" for outer in "TP"}
        elif len(text) < longest - 4:
            open_ones += [(text + symbol, end) for start, symbol, end in ARCS if start == node]
    return found


STRINGS = all_strings(22)


def legal_after(prefix, strings):
    return {s[len(prefix)] for s in strings if s.startswith(prefix) and len(s) > len(prefix)}


def some_strings(count, seed=0):
    rng = np.random.default_rng(seed)
    return [reber_string(rng) for _ in range(count)]


def test_strings_are_in_the_grammar_and_all_short_ones_occur():
    drawn = [s for s, _ in some_strings(3000)]
    short = {s for s in drawn if len(s) <= 22}
    assert short <= STRINGS
    assert {s for s in STRINGS if len(s) <= 10} <= short
    assert min(map(len, drawn)) == 9
    assert abs(np.mean([s[1] == "T" for s in drawn]) - 0.5) < 0.05


def test_legal_symbols_against_all_strings():
    for string, legal in some_strings(200):
        assert len(legal) == len(string) and legal[-1] == "B"
        # up to here the enumeration has every continuation
        for t in range(min(len(string) - 1, 9)):
            assert set(legal[t]) == legal_after(string[: t + 1], STRINGS), (string, t)
        for symbol, allowed in zip(string[1:], legal, strict=False):
            assert symbol in allowed


def test_stream_is_strings_one_after_the_other():
    symbols, legal, starts = reber_stream(np.random.default_rng(1), 500)
    assert len(symbols) == len(legal) == 500 and starts[0] == 0
    parts = [symbols[a:b] for a, b in pairwise(starts)]
    assert len(parts) > 20 and {p for p in parts if len(p) <= 22} <= STRINGS
    assert all(legal[b - 1] == "B" for b in starts[1:])
    assert all(after in allowed for after, allowed in zip(symbols[1:], legal, strict=False))


@pytest.mark.parametrize("letters", ["ab", "abc"])
def test_counting_against_all_strings(letters):
    language = ["S" + "".join(x * n for x in letters) + "T" for n in range(1, 12)]
    for n in range(1, 11):  # with one longer string in the language than any that is checked
        symbols, legal = counting(letters, n)
        assert re.fullmatch("S" + "".join(f"{x}{{{n}}}" for x in letters), symbols)
        assert [set(x) for x in legal] == [
            legal_after(symbols[: t + 1], language) for t in range(len(symbols))
        ]


def test_batch_of_strings_on_the_next_symbol():
    strings = some_strings(5)
    batch = together(strings, "BTPSXVE", train_on="next")
    assert (
        batch.inputs.shape
        == batch.targets.shape
        == batch.legal.shape
        == (max(len(s) for s, _ in strings) - 1, 5, 7)
    )
    for b, (s, after) in enumerate(strings):
        n = len(s) - 1
        assert "".join("BTPSXVE"[k] for k in batch.inputs[:n, b].argmax(-1)) == s[:-1]
        assert "".join("BTPSXVE"[k] for k in batch.targets[:n, b].argmax(-1)) == s[1:]
        np.testing.assert_array_equal(batch.inputs[:n, b].sum(-1), 1)
        assert [{"BTPSXVE"[k] for k in np.flatnonzero(row)} for row in batch.legal[:n, b]] == [
            set(x) for x in after[:-1]
        ]
        assert (
            batch.real[:n, b].all()
            and not batch.real[n:, b].any()
            and not batch.inputs[n:, b].any()
        )


def test_batch_of_strings_on_the_legal_symbols():
    batch = together([counting("ab", 2), counting("ab", 1)], "SabT", train_on="legal")
    np.testing.assert_array_equal(batch.inputs.argmax(-1)[:, 0], [0, 1, 1, 2, 2])
    np.testing.assert_array_equal(
        batch.targets[:, 0], [[0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    np.testing.assert_array_equal(batch.targets, batch.legal)
    np.testing.assert_array_equal(batch.real[:, 1], [True, True, True, False, False])


class Oracle:
    """Stands for a network.

    The logits that it is given, with the last T or P wrong in some strings.
    """

    def __init__(self, legal, wrong=()):
        self.logits = np.where(legal, 2.0, -2.0).astype(np.float32)
        for b in wrong:
            t = next(
                t
                for t in range(legal.shape[0])[::-1]
                if legal[t, b, 1] != legal[t, b, 2] and legal[t, b].sum() == 1
            )
            self.logits[t, b, [1, 2]] = self.logits[t, b, [2, 1]]

    def __call__(self, xs, state=None):
        return tg.tensor(self.logits), (tg.tensor(np.full((xs.shape[1], 4), 3.0)),)


def test_share_of_strings_needs_the_last_t_or_p():
    batch = together(some_strings(20), REBER, train_on="next")
    assert grammars._share(Oracle(batch.legal), batch) == 1.0
    assert grammars._share(Oracle(batch.legal, wrong=[2, 7, 11]), batch) == 17 / 20


def test_most_active():
    legal = np.array([True, True, False, False])
    logits = np.array(
        [[0.2, 0.3, 0.1, -1], [-3, -2, -4, -5], [0.2, 0.3, 0.25, -1], [0.2, 0.3, 0.2, -1]]
    )
    np.testing.assert_array_equal(most_active(logits, legal), [True, True, False, False])


def test_accepted():
    legal = np.array([True, True, False])
    np.testing.assert_array_equal(
        accepted(np.array([[1.0, 0.1, -1], [1, -0.1, -1], [1, 1, 0.1]]), legal),
        [True, False, False],
    )


def test_strings_of_a_stream():
    steps = np.array([True, True, True, False, True, True, True, False])
    # the last string is cut
    np.testing.assert_array_equal(strings_right(steps, [0, 2, 5, 7]), [True, False, True])


def test_share_of_a_stream_and_norm():
    streams = [reber_stream(np.random.default_rng(k), 200) for k in range(3)]
    legal = together([(s, after) for s, after, _ in streams], REBER, train_on="legal").legal
    share, norm = grammars._continual_share(Oracle(legal), streams)
    assert share == 1.0 and norm == pytest.approx(6.0)
    oracle = Oracle(legal)
    oracle.logits[streams[0][2][3] + 4, 0] *= -1  # one step of one string
    strings = sum(len(starts) - 1 for _, _, starts in streams)
    assert grammars._continual_share(oracle, streams)[0] == pytest.approx(1 - 1 / strings)


def test_largest_stops_at_the_first_error():
    def model(xs, state=None):
        """Counts right, except in the string with 73 a."""
        n = int(np.asarray(xs)[:, 0, 1].sum())
        batch = together(
            [counting("ab", k) for k in range(n, n + xs.shape[1])], "SabT", train_on="legal"
        )
        logits = np.where(batch.legal, 1.0, -1.0)
        if n <= 73 < n + xs.shape[1]:
            logits[80, 73 - n] *= -1
        return tg.tensor(logits), None

    assert largest(model, "ab") == 72
    assert largest(model, "ab", cap=60) == 60


def test_loss_is_a_mean_over_real_steps():
    batch = together(some_strings(3), REBER, train_on="next")
    rng = np.random.default_rng(5)
    logits = rng.standard_normal(batch.inputs.shape).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(float)))
    each = -np.where(batch.targets > 0, np.log(p), np.log(1 - p)).sum(-1)
    assert float(grammars._loss(tg.tensor(logits), batch).item()) == pytest.approx(
        each[batch.real].mean(), rel=1e-5
    )


def test_counting_trains_networks_until_one_reaches_the_goal(monkeypatch):
    reaches = iter([3, 5, 2, 4, 7])  # at the checks; two for each network
    monkeypatch.setattr(
        grammars, "largest", lambda model, letters, cap=1000: 9 if cap == 1000 else next(reaches)
    )
    result = grammars._count(Run(0, 60.0), "GRU", "ab", 7, updates=4, check=2)
    steps = sum(2 * n + 1 for n in range(1, 11))
    assert result[:4] == (9.0, True, 10 * 10, 10 * steps)
    assert result.note == "network 3; the first reached n = 5"
