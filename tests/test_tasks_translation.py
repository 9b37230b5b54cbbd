"""The generators of the translation tasks against other definitions of the same, and their scores on made-up translations."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train.tasks import translation
from tinygrad_rnn.train.tasks.epochs import Plan, run_epochs
from tinygrad_rnn.train.tasks.task import Run
from tinygrad_rnn.train.tasks.translation import FORMATS, Pair, additions, dates, exact, written

pytestmark = pytest.mark.usefixtures("eager")


@pytest.mark.parametrize("reverse", [True, False])
def test_questions_and_answers(reverse: bool, rng: np.random.Generator) -> None:
    split = additions(rng, reverse=reverse)
    questions: list[list[tuple[int, int]]] = [[], []]
    for pairs, found in zip(split, questions, strict=True):
        for pair in pairs:
            text = pair.source[::-1] if reverse else pair.source
            assert len(text) == 5
            a, b = map(int, re.fullmatch(r"(0|[1-9]\d?)\+(0|[1-9]\d?) *", text).groups())  # type: ignore[union-attr]
            assert pair.target == str(a + b)
            found.append((a, b))
    training, held_out = questions
    # both ways round, each once
    assert {(b, a) for a, b in training} == set(training) and len(set(training)) == len(training)
    assert (
        len({frozenset(q) for q in training}) == 4500
        and len({frozenset(q) for q in held_out}) == len(held_out) == 500
    )
    assert not set(training) & set(held_out)


def test_questions_of_more_digits_and_of_a_seed() -> None:
    first, second = (additions(np.random.default_rng(5), 3, 2000, 100) for _ in range(2))
    assert first == second != additions(np.random.default_rng(6), 3, 2000, 100)
    lengths = [len(str(int(n))) for p in first.training for n in p.source[::-1].split("+")]
    assert {len(p.source) for p in first.training} == {7}
    assert all(0.2 < lengths.count(d) / len(lengths) < 0.45 for d in (1, 2, 3))


PARSERS = {  # from a text, with the standard library's parser
    FORMATS[0]: "%d %B %Y",
    FORMATS[1]: "%B %d, %Y",
    FORMATS[2]: "%d %b %Y",
    FORMATS[3]: "%b %d %Y",
    FORMATS[4]: "%d/%m/%y",
    FORMATS[5]: "%d.%m.%Y",
    FORMATS[6]: "%d %b %y",
    FORMATS[7]: "the %d of %B %Y",
    FORMATS[8]: "%A %d %B %Y",
    FORMATS[9]: "%A, %B %d, %Y",
}


def parsed(text: str, pattern: str) -> datetime.date:
    if "the" in pattern:
        text = re.sub(r"(?<=\d)(st|nd|rd|th)", "", text)
    day = datetime.datetime.strptime(text, pattern).date()
    century = 1900 if day.year % 100 >= 50 else 2000  # the standard library turns at 69
    return day.replace(year=century + day.year % 100) if "%y" in pattern else day


def test_every_format_says_the_date(rng: np.random.Generator) -> None:
    assert set(PARSERS) == set(FORMATS)
    for form, pattern in PARSERS.items():
        for ordinal in rng.integers(
            translation.FIRST.toordinal(), translation.LAST.toordinal() + 1, 200
        ).tolist():
            day = datetime.date.fromordinal(ordinal)
            text = written(day, form)
            assert parsed(text, pattern) == day, text
            if "%A" in pattern:
                assert text.startswith(day.strftime("%A").lower())
    assert [
        written(datetime.date(2001, 1, d), FORMATS[7]).split()[1]
        for d in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31)
    ] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th", "31st"]
    )
    assert written(datetime.date(2005, 3, 7), FORMATS[4]) == "07/03/05"


def test_dates_are_apart_and_their_texts_mean_them(rng: np.random.Generator) -> None:
    split = dates(rng, 3000, 500)
    assert (len(split.training), len(split.held_out)) == (3000, 500)
    assert not {p.target for p in split.training} & {p.target for p in split.held_out}
    used = dict.fromkeys(FORMATS, 0)
    for pair in split.training + split.held_out:
        day = datetime.date.fromisoformat(pair.target)
        assert 1950 <= day.year <= 2049
        forms = [f for f in FORMATS if written(day, f) == pair.source]
        assert len(forms) == 1 or (forms and day.month == 5)  # may is its own abbreviation
        used[forms[0]] += 1
    assert all(0.06 < n / 3500 < 0.14 for n in used.values())


def test_the_score_counts_whole_translations() -> None:
    pairs = [Pair("1+1", "2"), Pair("5+5", "10"), Pair("9+9", "18"), Pair("40+2", "42")]
    assert exact(["2", "10", "18", "42"], pairs) == 1.0
    assert exact(["2", "1", "19", ""], pairs) == 0.25
    assert exact(["", "10 ", "18", "42"], pairs) == 0.5


@pytest.mark.parametrize("attention", [True, False])
def test_the_model(attention: bool, rng: np.random.Generator) -> None:
    pairs = [Pair("abc", "x"), Pair("a", "yyx"), Pair("cabba", "xy")]
    source, target = (translation.Alphabet([p[k] for p in pairs]) for k in (0, 1))
    assert (source.characters, target.characters) == (["\n", "a", "b", "c"], ["\n", "x", "y"])
    model = translation.Translator("LSTM", source, target, 5, attention=attention, rng=0)
    loss, steps = model.loss(pairs)
    assert steps == 5 + 4
    loss.backward()
    assert all(p.grad is not None and p.grad.numpy().any() for p in model.parameters())

    total = 0.0  # each pair alone, without padding of its source, and one character after the other
    for text, translated in pairs:
        cell, state = model.read([text])
        before = 0
        for c in translated.ljust(4, "\n"):
            y, state = cell(target.one_hot(np.array([before])), state)
            before = target.characters.index(c)
            total -= float(tg.log_softmax(model.output(y)).numpy()[0, before])
    assert loss.item() == pytest.approx(total / 12, rel=1e-5)
    together = model.translate([p.source for p in pairs], 6)
    assert together == [model.translate([p.source], 6)[0] for p in pairs]


@pytest.mark.parametrize("attention", [True, False])
def test_it_learns_and_ends_with_its_budget(attention: bool) -> None:
    texts = ["ab", "ba", "aab", "bb", "a", "b"]
    pairs = [Pair(t, t.upper()) for t in texts]
    split = translation.Split(pairs, pairs)
    result = translation.train(
        Run(0, 60.0), split, Plan(16, 3, 150, 2e-2), "GRU", attention=attention
    )
    assert (result.score, result.solved, result.sequences, result.note) == (1.0, True, 900, "")
    assert result.steps >= 900 * 3
    short = translation.train(
        Run(0, 1e-9), split, Plan(16, 3, 150, 2e-2), "GRU", attention=attention
    )
    assert (
        short.sequences == 0 and not short.solved and short.note.startswith("wrong, for example: ")
    )


def test_batches_hold_every_pair_once_in_an_epoch(rng: np.random.Generator) -> None:
    pairs = [Pair("a" * int(n), str(k)) for k, n in enumerate(rng.integers(1, 30, 100))]
    found = list(translation.batches(pairs, 8, 3, rng))
    assert len(found) == 3 * 13
    for epoch in range(3):
        assert sorted(p for batch in found[13 * epoch : 13 * (epoch + 1)] for p in batch) == sorted(
            pairs
        )
    assert found[:13] != found[13:26]


class Ticking(Run):
    """A run whose clock goes on by a second from one training step to the next."""

    ticks = 0

    @property
    def seconds(self) -> float:
        return float(self.ticks)

    def go_on(self, text: str = "") -> bool:
        self.ticks += 1
        return self.ticks < self.budget


def test_the_rate_falls_with_the_epochs_alone_and_training_stops_with_the_budget_or_a_loss_that_is_not_finite() -> (
    None
):
    class Line(tg.Module):
        def __init__(self) -> None:
            self.w = tg.Parameter(np.array([1.0]))

    def trained(budget: float, loss: Any) -> tuple[float, Any]:
        model = Line()
        used = run_epochs(
            Run(0, budget),
            model,
            Plan(1, 2, 100, 0.1),
            2,
            ([0, 0] for _ in range(100)),
            lambda b: loss(model.w, b),
        )
        return float(model.w.numpy()[0]), used

    # a steady gradient: Adam moves by the rate in each step
    w, used = trained(1e9, lambda w, b: (w.sum(), 7))
    rates = [0.1 * min(1, (k + 1) / 50) * (1 - k / 100) for k in range(100)]
    assert w == pytest.approx(1 - sum(rates), rel=1e-3) and used[:2] == (200, 1400)

    model = Line()
    used = run_epochs(
        Ticking(0, 20.0),
        model,
        Plan(1, 2, 100, 0.1),
        2,
        ([0, 0] for _ in range(100)),
        lambda b: (model.w.sum(), 7),
    )
    rates = [0.1 * (k + 1) / 50 * (1 - k / 100) for k in range(19)]  # the clock has no part in it
    assert float(model.w.numpy()[0]) == pytest.approx(1 - sum(rates), rel=1e-4) and used == (
        38,
        266,
        20.0,
    )
    w, used = trained(1e9, lambda w, b: (w.sum() * np.inf, 7))
    assert w == 1.0 and used.sequences == 0


def test_what_comes_after_each_epoch() -> None:
    w, said = tg.Parameter(np.array([1.0])), list[str]()
    model = tg.Module()
    model.w = w
    run_epochs(
        Run(0, 1e9),
        model,
        Plan(1, 2, 2, 0.1),
        5,
        "abcdef",
        lambda batch: (said.append(batch), (w.sum(), 1))[1],
        lambda: said.append("|"),
    )
    assert "".join(said) == "abc|def|"


def test_the_tasks() -> None:
    assert [task.name for task in translation.TASKS] == ["addition", "dates"]
    for task in translation.TASKS:
        names = [[arm.name for arm in task.arms(cell)] for cell in (None, "GRU")]
        assert (
            len(names[0]) == len(names[1]) == 2
            and all("LSTM" in n for n in names[0])
            and all("GRU" in n for n in names[1])
        )
