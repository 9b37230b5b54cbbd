"""Chorales by Bach: which notes sound at the next quarter note.

The scores come with music21. They stand beside what each note does by itself, without a network.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import TinygradError
from ...core.primitive import Array
from ...core.tape import no_grad
from ...data.padding import side_by_side
from ...init import generator
from ...kernels import cache
from ...module import Module
from ...nn.functional import dropout
from ...nn.layers import Linear
from ...nn.losses import bce_with_logits
from ...recurrent import unroll
from .. import checked_files
from .epochs import Plan, run_epochs, shuffled
from .task import Arm, Result, Run, Task, make_cell, needed

__all__ = [
    "TASKS",
    "Chorale",
    "Player",
    "Split",
    "chorales",
    "independent",
    "likelihood",
    "persistent",
    "piano_roll",
    "split",
    "together",
]

KEYS, LOWEST = 88, 21  # of a piano, and the MIDI number of the lowest
VOICES = 4
_SHARES = (229, 76, 77)  # chorales in the parts of the published set of 382
_FORM = "1"  # of the file in the cache; it changes with what `_parsed` makes


Note = tuple[float, float, int]  # start and length in quarter notes, and the MIDI number


class Chorale(NamedTuple):
    """A chorale.

    Attributes
    ----------
    name : str
        Its number in the catalogue, such as ``bwv269``.
    roll : boolean array, shape (steps, 88)
        Which keys of a piano sound at each quarter note.
    """

    name: str
    roll: Array


class Split(NamedTuple):
    """Chorales to train on, to choose the number of epochs by, and to be judged by."""

    training: list[Chorale]
    validation: list[Chorale]
    test: list[Chorale]


# --- data -----------------------------------------------------------------------------------------


def piano_roll(notes: Iterable[Note]) -> Array:
    """Return which of 88 keys sound at each quarter note, a boolean array of shape (steps, 88).

    Parameters
    ----------
    notes : iterable of (start, length, MIDI number)
        Times are in quarter notes from the beginning. A note sounds at a step if the step is at its
        start or before its end, so that shorter notes between two steps are left out.
    """
    found = [
        (int(np.ceil(start)), int(np.ceil(start + length)), pitch - LOWEST)
        for start, length, pitch in notes
    ]
    roll = np.zeros((max((stop for _, stop, _ in found), default=0), KEYS), bool)
    for first, stop, key in found:
        roll[first:stop, key] = True
    return roll


def in_c(notes: Sequence[Note]) -> list[Note]:
    """Return notes transposed by at most six semitones so that the lowest at the end is a C."""
    end = max(start + length for start, length, _ in notes)
    last = min(pitch for start, length, pitch in notes if start + length == end)
    up = (6 - last) % 12 - 6
    return [(start, length, pitch + up) for start, length, pitch in notes]


@functools.cache
def chorales() -> list[Chorale]:
    """Return the chorales in four parts that music21 contains, in the order of their names.

    They are transposed so that the bass ends on a C. Of those that are the same note by note then,
    the first is kept. Reading the scores takes a minute or two, so the result is kept in the folder
    of compiled code.

    Raises
    ------
    TaskError
        If music21 is not installed.
    """
    music21 = _music21()
    place = cache.place()
    path = place.path / f"chorales_{music21.__version__}_{_FORM}.safetensors"
    if not place.fault:
        with contextlib.suppress(TinygradError, OSError, ValueError, KeyError):
            arrays, about = checked_files.read(path, "chorales", "chorales")
            return _unpacked(arrays, about["names"].split())
    found = _parsed()
    if not place.fault:
        with contextlib.suppress(OSError):  # a full disk is no reason to stop
            lengths = np.array([len(chorale.roll) for chorale in found])
            packed = np.packbits(np.concatenate([chorale.roll for chorale in found]), axis=1)
            names = " ".join(chorale.name for chorale in found)
            checked_files.write(
                path, {"lengths": lengths, "rolls": packed}, {"kind": "chorales", "names": names}
            )
    return found


def _music21(name: str = "music21") -> Any:
    """Import music21, or a module of it."""
    return needed(name, "the chorales come with music21", "music")


def _unpacked(arrays: dict[str, Any], names: list[str]) -> list[Chorale]:
    """Return the chorales that a file holds."""
    rolls = np.unpackbits(arrays["rolls"], axis=1, count=KEYS).astype(bool)
    parts = np.split(rolls, np.cumsum(arrays["lengths"])[:-1])
    return [Chorale(name, roll) for name, roll in zip(names, parts, strict=True)]


def _parsed() -> list[Chorale]:
    """Return the chorales, read from the scores."""
    corpus = _music21("music21.corpus")
    files = {path.stem: path for path in corpus.getComposer("bach")}
    found: dict[bytes, Chorale] = {}
    for name in sorted(name for name in files if name.startswith("bwv")):
        parts = corpus.parse(files[name]).parts
        if len(parts) != VOICES:
            continue
        notes = [
            (float(note.offset), float(note.quarterLength), pitch.midi)
            for part in parts
            for note in part.flatten().notes
            for pitch in note.pitches
        ]
        notes = in_c(notes)
        found.setdefault(np.array(sorted(notes)).tobytes(), Chorale(name, piano_roll(notes)))
    return list(found.values())


def split(found: Sequence[Chorale]) -> Split:
    """Split chorales into three parts, with the shares of the published set.

    The order is drawn once and for all, whatever the seed of a run. Chorales whose names differ in
    what stands behind a hyphen only (``bwv18.5-l``, ``bwv18.5-w``) are in the same part.
    """
    groups: dict[str, list[Chorale]] = {}
    for chorale in found:
        groups.setdefault(chorale.name.partition("-")[0], []).append(chorale)
    names = sorted(groups)
    order = np.random.default_rng(0).permutation(len(names))
    first, second = np.cumsum(_SHARES)[:2] * len(names) // sum(_SHARES)
    parts = order[:first], order[first:second], order[second:]
    return Split(*([c for k in part.tolist() for c in groups[names[k]]] for part in parts))


class Batch(NamedTuple):
    """Chorales side by side, without their last step; and what comes next.

    Attributes
    ----------
    xs, targets : float32 array, shape (steps, batch, 88)
        What sounds, and what sounds a step later.
    lengths : integer array, shape (batch,)
        Steps of each chorale; behind them there are zeros.
    """

    xs: Array
    targets: Array
    lengths: Array

    @property
    def real(self) -> Array:
        """Which steps there are, a boolean array of shape (steps, batch)."""
        found: Array = np.arange(len(self.xs))[:, None] < self.lengths
        return found


def together(found: Sequence[Chorale]) -> Batch:
    """Return a batch of chorales."""
    rolls = [chorale.roll.astype(np.float32) for chorale in found]
    return Batch(
        side_by_side([roll[:-1] for roll in rolls]),
        side_by_side([roll[1:] for roll in rolls]),
        np.array([len(roll) - 1 for roll in rolls]),
    )


# --- predictions without a network ----------------------------------------------------------------


def likelihood(probabilities: Array, batch: Batch) -> float:
    """Return the negative log-likelihood of a step, in nats.

    It is the sum over the keys, which are independent of each other, and the mean over all steps.

    Parameters
    ----------
    probabilities : array, broadcast to the shape of ``batch.targets``
        That each key sounds.
    batch : Batch
        What comes next.
    """
    of_each = np.where(batch.targets > 0, probabilities, 1 - probabilities)[batch.real]
    return float(-np.log(of_each).sum() / len(of_each))


def independent(training: Batch) -> Array:
    """Return how often each key sounds, shape (88,); each counts as once on and once off before."""
    sounding = training.targets[training.real]
    frequencies: Array = (sounding.sum(0, dtype=np.float64) + 1) / (len(sounding) + 2)
    return frequencies


def persistent(training: Batch, batch: Batch) -> Array:
    """Return how often each key sounds after a step like the last, shape (steps, batch, 88).

    Steps are alike for a key if it sounds in both or in neither. Frequencies are those of training,
    where each key counts as once on and once off before.
    """
    before, after = (x[training.real].astype(np.float64) for x in (training.xs, training.targets))
    on = ((before * after).sum(0) + 1) / (before.sum(0) + 2)
    off = (((1 - before) * after).sum(0) + 1) / ((1 - before).sum(0) + 2)
    return np.asarray(np.where(batch.xs > 0, on, off))


# --- the network ----------------------------------------------------------------------------------


class Sizes(NamedTuple):
    """What an arm is trained with: sizes and rates, and the share of outputs that are left out."""

    plan: Plan
    dropout: float


class Player(Module):
    """A cell that reads what sounds, and a linear layer that says what sounds next."""

    def __init__(self, cell: str, hidden: int, drop: float, *, rng: Any = None) -> None:
        self._rng = generator(rng)
        self.cell = make_cell(cell, KEYS, hidden, rng=self._rng)
        with no_grad():
            y, _ = self.cell(np.zeros((1, KEYS), np.float32))
        self.output = Linear(y.shape[-1], KEYS, rng=self._rng)
        self.drop = drop

    def forward(self, batch: Batch) -> Any:
        """Return the logits of the keys, shape (steps, batch, 88)."""
        ys, _ = unroll(self.cell, batch.xs, lengths=batch.lengths)
        return self.output(dropout(ys, self.drop, training=self.training, rng=self._rng))

    def loss(self, batch: Batch) -> Any:
        """Return the negative log-likelihood of a step, in nats."""
        mask = np.broadcast_to(batch.real[..., None], batch.targets.shape)
        total = bce_with_logits(self(batch), batch.targets, mask, reduction="sum")
        return total / float(batch.lengths.sum())

    def evaluate(self, batch: Batch) -> float:
        """Return the loss without recording, and without leaving anything out."""
        self.eval()
        with no_grad():
            value = self.loss(batch).item()
        self.train()
        return float(value)


def train(run: Run, cell: str, sizes: Sizes) -> Result:
    """Train a cell, and score it with the parameters that were best on the validation data."""
    data = split(chorales())
    plan, validation = sizes.plan, together(data.validation)
    rng = np.random.default_rng([run.seed, 1])
    model = Player(cell, plan.hidden, sizes.dropout, rng=[run.seed, 0])
    best, least = model.state_dict(), math.inf

    def judge() -> None:
        nonlocal best, least
        value = model.evaluate(validation)
        if value < least:
            best, least = {name: array.copy() for name, array in model.state_dict().items()}, value

    def loss(chosen: Array) -> tuple[Any, int]:
        batch = together([data.training[k] for k in chosen])
        return model.loss(batch), len(batch.xs)

    count = len(data.training)
    used = run_epochs(run, model, plan, count, shuffled(count, plan, rng), loss, judge)
    model.load_state_dict(best)
    return Result(model.evaluate(together(data.test)), None, *used)


# --- the task -------------------------------------------------------------------------------------

PLANS = {"Elman": Sizes(Plan(hidden=200, batch=2, epochs=40, lr=1e-3), dropout=0.5)}
PLAN = Sizes(Plan(hidden=200, batch=2, epochs=40, lr=3e-3), dropout=0.5)  # of all other cells
PUBLISHED = {"LSTM": "8.45", "GRU": "8.43", "Elman": "8.91"}


def _alone(probabilities: Callable[[Batch, Batch], Array]) -> Callable[[Run], Result]:
    """Return the run of an arm without a network, from a function of training and test data."""

    def run(run: Run) -> Result:
        data = split(chorales())
        test = together(data.test)
        return Result(likelihood(probabilities(together(data.training), test), test))

    return run


def _arms(cell: str | None) -> list[Arm]:
    """Return the arms: two without a network, and the cells."""

    def train_cell(name: str) -> Callable[[Run], Result]:
        return lambda run: train(run, name, PLANS.get(name, PLAN))

    return [
        Arm("how often each note sounds", _alone(lambda seen, _: independent(seen)), exact=True),
        Arm("how often, after it did or did not", _alone(persistent), exact=True),
        *(
            Arm(
                name,
                train_cell(name),
                f"{PUBLISHED[name]} (Bai, Kolter and Koltun 2018)" if name in PUBLISHED else "",
            )
            for name in ([cell] if cell else ["LSTM", "GRU", "Elman"])
        ),
    ]


TASKS = [
    Task(
        "chorales",
        "Chorales by Bach, one quarter note ahead",
        "To say from a chorale so far which of 88 notes sound at the next quarter note, each with a probability of its own. A note "
        "that is held sounds as one that is struck again, and what is shorter than a step and between two steps is left out. The chorales "
        f"are those in four parts among the scores of the package music21, each once, transposed so that the bass ends on C: with "
        "version 10.5 363, of which 218 are for training, 72 choose the epoch whose parameters are kept, and 73 are for testing. The "
        "split is drawn once for all seeds. The published set has 382 chorales (229, 76, 77), at quarter notes too; those of its test "
        "part that were looked at end on C and have repeats written out. Its split gives no names, so it could not be taken over: the "
        "published figures are for other data of the same kind. "
        f"{PLAN.plan.hidden} units, dropout of {PLAN.dropout:g} in front of the output, Adam with rate {PLAN.plan.lr:g} (Elman "
        f"{PLANS['Elman'].plan.lr:g}) that falls to zero over {PLAN.plan.epochs} epochs, batches of {PLAN.plan.batch} chorales. "
        "The first step of a chorale is not predicted.",
        "N. Boulanger-Lewandowski, Y. Bengio and P. Vincent, Modeling Temporal Dependencies in High-Dimensional Sequences, ICML 2012, for "
        "the problem; S. Bai, J. Z. Kolter and V. Koltun (2018), arXiv:1803.01271, for the figures.",
        "the negative log-likelihood of a step of the test chorales, in nats",
        _arms,
        budget=600.0,
        decimals=2,
        ready=_music21,
    )
]
