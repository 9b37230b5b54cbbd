"""Translation of characters with an encoder and a decoder.

Additions are translated to their sums, and dates to the form year-month-day.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.primitive import Array
from ...core.tape import no_grad
from ...module import Module
from ...nn.attending import AttentionCell
from ...nn.attention import LuongAttention
from ...nn.decoding import cut, greedy
from ...nn.layers import Linear
from ...nn.losses import cross_entropy
from ...recurrent import unroll
from .epochs import Plan, run_epochs
from .task import Arm, Result, Run, Task, make_cell

__all__ = ["FORMATS", "TASKS", "Pair", "Translator", "additions", "dates", "exact", "written"]

END = "\n"  # stands before the first character of a translation, and after the last
SOLVED = 0.99


class Pair(NamedTuple):
    """A text and its translation."""

    source: str
    target: str


class Split(NamedTuple):
    """Pairs to train on, and pairs to be judged by."""

    training: list[Pair]
    held_out: list[Pair]


# --- additions ------------------------------------------------------------------------------------


def additions(
    rng: np.random.Generator,
    digits: int = 2,
    count: int = 5000,
    held_out: int = 500,
    *,
    reverse: bool = True,
) -> Split:
    """Draw different questions such as ``12+34``, and their answers, such as ``46``.

    Numbers have at most `digits` digits. Of a+b and b+a one is drawn. What is trained on is there
    both ways round; what is held out is not in training either way. Questions are padded with
    spaces at the end and then, with `reverse`, turned round: ``"43+21"``.
    """
    drawn: dict[tuple[int, int], tuple[int, int]] = {}
    while len(drawn) < count:
        for a, b in rng.integers(10 ** rng.integers(1, digits + 1, (count, 2))).tolist():
            drawn.setdefault((min(a, b), max(a, b)), (a, b))
    numbers = list(drawn.values())[:count]
    # small numbers are found early and large ones late
    numbers = [numbers[i] for i in rng.permutation(count)]
    training = [(a, b) for a, b in numbers[held_out:]] + [
        (b, a) for a, b in numbers[held_out:] if a != b
    ]

    def pair(a: int, b: int) -> Pair:
        question = f"{a}+{b}".ljust(2 * digits + 1)
        return Pair(question[::-1] if reverse else question, str(a + b))

    return Split([pair(a, b) for a, b in training], [pair(a, b) for a, b in numbers[:held_out]])


# --- dates ----------------------------------------------------------------------------------------

MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
FORMATS = (
    "{day} {month} {year}",
    "{month} {day}, {year}",
    "{day} {mon} {year}",
    "{mon} {day} {year}",
    "{day:02}/{number:02}/{short:02}",
    "{day}.{number}.{year}",
    "{day} {mon} {short:02}",
    "the {day}{suffix} of {month} {year}",
    "{weekday} {day} {month} {year}",
    "{weekday}, {month} {day}, {year}",
)
# a century, so that two digits say which year is meant
FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)


def written(day: datetime.date, form: str) -> str:
    """Return a date in one of the `FORMATS`."""
    suffix = (
        "th" if day.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    )
    month = MONTHS[day.month - 1]
    return form.format(
        day=day.day,
        suffix=suffix,
        number=day.month,
        month=month,
        mon=month[:3],
        year=day.year,
        short=day.year % 100,
        weekday=DAYS[day.weekday()],
    )


def dates(rng: np.random.Generator, count: int = 10000, held_out: int = 1000) -> Split:
    """Draw dates from `FIRST` to `LAST`, each in a random format and in the form ``1991-03-03``.

    No day that is held out occurs in training, in whatever format.
    """
    ordinals = rng.permutation(np.arange(FIRST.toordinal(), LAST.toordinal() + 1))[
        : count + held_out
    ]
    found = []
    for ordinal in ordinals.tolist():
        day = datetime.date.fromordinal(ordinal)
        found.append(Pair(written(day, FORMATS[rng.integers(len(FORMATS))]), day.isoformat()))
    return Split(found[held_out:], found[:held_out])


# --- the model ------------------------------------------------------------------------------------


class Alphabet:
    """The characters of some texts, by number; `END` has number 0."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.characters = [END, *sorted(set("".join(texts)))]
        self._number = {c: i for i, c in enumerate(self.characters)}
        self._one_hot = np.eye(len(self.characters), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, texts: Sequence[str], extra: int = 0) -> Array:
        """Return texts as numbers, shape (T, batch).

        They are padded with `END` to the longest, and by `extra` more.
        """
        length = max(map(len, texts)) + extra
        return np.array([[self._number[c] for c in text.ljust(length, END)] for text in texts]).T

    def decode(self, numbers: Sequence[int]) -> str:
        """Return numbers as text."""
        return "".join(self.characters[i] for i in numbers)

    def one_hot(self, numbers: Array) -> Array:
        """Return numbers of shape (...) as float32 vectors of shape (..., characters)."""
        vectors: Array = self._one_hot[numbers]
        return vectors


class Translator(Module):
    """A cell that reads a text, and another that writes its translation.

    The second begins with the state in which the first ended.

    Parameters
    ----------
    cell : str
        The name of the class of both cells.
    source, target : Alphabet
        The characters of texts and translations.
    hidden : int
        The size of both cells.
    attention : bool
        Whether the writing cell attends to the outputs of the reading one, by Luong's "general"
        score and with input feeding.
    rng : numpy Generator or int
        Generator or seed of the weights.
    """

    def __init__(
        self,
        cell: str,
        source: Alphabet,
        target: Alphabet,
        hidden: int,
        *,
        attention: bool,
        rng: Any,
    ) -> None:
        rng = np.random.default_rng(rng)
        self.source, self.target = source, target
        self.encoder = make_cell(cell, len(source), hidden, rng=rng)
        inner = make_cell(cell, len(target) + hidden * attention, hidden, rng=rng)
        self.decoder = (
            AttentionCell(inner, LuongAttention(hidden, hidden, "general", rng=rng), rng=rng)
            if attention
            else inner
        )
        self.output = Linear(hidden, len(target), rng=rng)

    def read(self, texts: Sequence[str]) -> tuple[Any, Any]:
        """Read texts: return the cell that writes their translations, and its first state."""
        lengths = np.array([len(text) for text in texts])
        some = None if (lengths == lengths[0]).all() else lengths
        memory, state = unroll(
            self.encoder, self.source.one_hot(self.source.encode(texts)), lengths=some
        )
        if not isinstance(self.decoder, AttentionCell):
            return self.decoder, state
        cell = self.decoder.attending(memory.swapaxes(0, 1), lengths)
        return cell, cell.initial_state(len(texts), state)

    def loss(self, pairs: Sequence[Pair]) -> tuple[Any, int]:
        """Return the mean cross entropy of a character of the translations.

        Each is predicted from the true ones before it. The second value is the number of steps.
        """
        cell, state = self.read([p.source for p in pairs])
        targets = self.target.encode([p.target for p in pairs], 1)
        before = np.concatenate([np.zeros_like(targets[:1]), targets[:-1]])
        ys, _ = unroll(cell, self.target.one_hot(before), state)
        return cross_entropy(self.output(ys), targets), max(len(p.source) for p in pairs) + len(
            targets
        )

    def translate(self, texts: Sequence[str], max_length: int) -> list[str]:
        """Return translations, of which each character is the likeliest after those before it."""
        with no_grad():
            cell, state = self.read(texts)

        def step(numbers: Array, state: Any) -> tuple[Any, Any]:
            y, state = cell(self.target.one_hot(numbers), state)
            return self.output(y), state

        return [self.target.decode(row) for row in cut(greedy(step, state, 0, 0, max_length), 0)]


def exact(translations: Sequence[str], pairs: Sequence[Pair]) -> float:
    """Return the share of translations that are right in every character."""
    return sum(text == pair.target for text, pair in zip(translations, pairs, strict=True)) / len(
        pairs
    )


def batches(
    pairs: Sequence[Pair], size: int, epochs: int, rng: np.random.Generator, pool: int = 8
) -> Iterator[list[Pair]]:
    """Yield all pairs in random order, again and again.

    Within `pool` batches texts of similar length come together, to save padding.
    """
    for _ in range(epochs):
        order = rng.permutation(len(pairs)).tolist()
        for start in range(0, len(order), size * pool):
            part = sorted(order[start : start + size * pool], key=lambda i: len(pairs[i].source))
            groups = [part[k : k + size] for k in range(0, len(part), size)]
            for k in rng.permutation(len(groups)).tolist():
                yield [pairs[i] for i in groups[k]]


def train(run: Run, split: Split, plan: Plan, cell: str, *, attention: bool) -> Result:
    """Train, and translate what is held out."""
    pairs = split.training + split.held_out
    source, target = Alphabet([p.source for p in pairs]), Alphabet([p.target for p in pairs])
    model = Translator(cell, source, target, plan.hidden, attention=attention, rng=[run.seed, 1])
    chosen = batches(split.training, plan.batch, plan.epochs, np.random.default_rng([run.seed, 2]))
    used = run_epochs(run, model, plan, len(split.training), chosen, model.loss)
    longest = max(len(p.target) for p in pairs) + 1
    translations = model.translate([p.source for p in split.held_out], longest)
    score = exact(translations, split.held_out)
    wrong = next(
        ((t, p) for t, p in zip(translations, split.held_out, strict=True) if t != p.target), None
    )
    note = f"wrong, for example: {wrong[0]} for {wrong[1].target}" if wrong else ""
    return Result(score, score > SOLVED, *used, note)


# --- the tasks ------------------------------------------------------------------------------------


def _additions(cell: str | None) -> list[Arm]:
    """Return the arms of the task with additions."""
    name = cell or "LSTM"

    def arm(reverse: bool) -> Any:
        def run(run: Run) -> Result:
            split = additions(np.random.default_rng([run.seed, 0]), reverse=reverse)
            return train(run, split, ADDITION, name, attention=False)

        return run

    return [
        Arm(
            f"{name}, questions reversed",
            arm(True),
            "99 % of characters after 55 epochs of 5,000 questions" if name == "LSTM" else "",
        ),
        Arm(f"{name}, questions as they are", arm(False)),
    ]


def _dates(cell: str | None) -> list[Arm]:
    """Return the arms of the task with dates."""
    name = cell or "LSTM"

    def arm(attention: bool) -> Any:
        def run(run: Run) -> Result:
            return train(
                run, dates(np.random.default_rng([run.seed, 0])), DATES, name, attention=attention
            )

        return run

    return [Arm(f"{name}, with attention", arm(True)), Arm(f"{name}, without", arm(False))]


ADDITION = Plan(hidden=128, batch=64, epochs=40, lr=1e-2)
DATES = Plan(hidden=64, batch=64, epochs=10, lr=1e-2)

TASKS = [
    Task(
        "addition",
        "To add two numbers, character by character",
        "From questions such as 12+34, of numbers with one or two digits, to answers such as 46. 4,500 questions are trained on, "
        "each both ways round (12+34 and 34+12), and 500 are held out, which are not in training either way. A run is solved if more than 99 % "
        "of the answers are right in every character. The published figure is for single characters, of which more are right; its training "
        "has each question one way round, and its decoder is not shown the true answer.",
        "Keras example addition_rnn, 2015; after I. Sutskever, O. Vinyals and Q. V. Le, Sequence to Sequence Learning with Neural Networks, "
        "2014, arXiv:1409.3215",
        "answers right in every character, share of 500 held out",
        _additions,
        budget=150.0,
    ),
    Task(
        "dates",
        "To bring dates into one form, with attention and without",
        f"From dates in {len(FORMATS)} forms, such as 3 march 1991, 03/03/91 or sunday, march 3, 1991, to 1991-03-03. 10,000 dates are trained "
        "on and 1,000 held out; no held-out day occurs in training. A run is solved if more than 99 % are right in every character. Both arms "
        "are trained alike; the plain one must carry the whole date in its last state.",
        "M.-T. Luong, H. Pham and C. D. Manning, Effective Approaches to Attention-based Neural Machine Translation, 2015, arXiv:1508.04025",
        "dates right in every character, share of 1,000 held out",
        _dates,
        budget=180.0,
    ),
]
