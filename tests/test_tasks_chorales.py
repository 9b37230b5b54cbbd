"""The chorales: from notes to rolls, the split, the figures without a network against loops, the file in the cache.

What reads the scores themselves is skipped where music21 is not installed.
"""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.train.tasks import chorales
from tinygrad_rnn.train.tasks.chorales import Chorale, Player, Sizes, piano_roll, split, together
from tinygrad_rnn.train.tasks.epochs import Plan
from tinygrad_rnn.train.tasks.task import Run, TaskError

pytestmark = pytest.mark.usefixtures("eager")


def drawn(rng: np.random.Generator, *lengths: int) -> list[Chorale]:
    return [Chorale(f"bwv{k}", rng.random((n, 88)) < 0.05) for k, n in enumerate(lengths)]


def test_a_roll_has_what_sounds_at_each_quarter_note() -> None:
    roll = piano_roll(
        [
            (0.0, 1.0, 60),
            (1.0, 0.5, 62),  # struck at step 1
            (1.5, 0.5, 64),  # between steps 1 and 2
            (1.5, 1.0, 65),  # held at step 2
            (2.0, 2.0, 67),  # at steps 2 and 3
            (0.0, 4.0, 21),
            (3.25, 0.25, 108),
        ]
    )
    found = [sorted((21 + row.nonzero()[0]).tolist()) for row in roll]
    assert found == [[21, 60], [21, 62], [21, 65, 67], [21, 67]] and roll.shape == (4, 88)
    assert piano_roll([]).shape == (0, 88)


@pytest.mark.parametrize("last", range(40, 53))
def test_the_bass_ends_on_a_c(last: int) -> None:
    notes = [(0.0, 2.0, 30), (2.0, 2.0, last + 12), (1.0, 3.0, last)]
    moved = chorales.in_c(notes)
    up = {there[2] - here[2] for here, there in zip(notes, moved, strict=True)}
    assert len(up) == 1 and -6 <= up.pop() <= 6 and moved[2][2] % 12 == 0
    assert [note[:2] for note in moved] == [note[:2] for note in notes]


def test_the_split_is_one_of_chorales_and_always_the_same(rng: np.random.Generator) -> None:
    found = drawn(rng, *[3] * 382)
    parts = split(found)
    assert [len(part) for part in parts] == [229, 76, 77]
    names = [{chorale.name for chorale in part} for part in parts]
    assert set.union(*names) == {chorale.name for chorale in found}
    assert [[c.name for c in part] for part in split(found[::-1])] == [
        [c.name for c in part] for part in parts
    ]
    variants = [Chorale(f"bwv{k}{end}", found[0].roll) for k in range(100) for end in ("-a", "-b")]
    for part in split(variants):
        assert all(c.name[:-1] + "a" in {d.name for d in part} for c in part) and len(part) % 2 == 0


def test_figures_without_a_network_against_loops(rng: np.random.Generator) -> None:
    seen, test = drawn(rng, 9, 4, 6), drawn(rng, 5, 8)
    counts, cases = (
        np.ones((3, 88)),
        np.full((3, 88), 2),
    )  # whatever was before, after off, after on
    for chorale in seen:
        for before, after in zip(chorale.roll[:-1], chorale.roll[1:], strict=True):
            for key in range(88):
                for case in (0, 1 + int(before[key])):
                    counts[case, key] += after[key]
                    cases[case, key] += 1
    chances, total, steps = counts / cases, np.zeros(2), 0
    for chorale in test:
        for before, after in zip(chorale.roll[:-1], chorale.roll[1:], strict=True):
            steps += 1
            for key in range(88):
                for k, case in enumerate((0, 1 + int(before[key]))):
                    p = chances[case, key]
                    total[k] -= math.log(p if after[key] else 1 - p)
    trained, tested = together(seen), together(test)
    found = [
        chorales.likelihood(p, tested)
        for p in (chorales.independent(trained), chorales.persistent(trained, tested))
    ]
    np.testing.assert_allclose(found, total / steps)


def test_the_loss_is_the_likelihood_and_padding_has_no_part_in_it(rng: np.random.Generator) -> None:
    found = drawn(rng, 9, 4, 6)
    model = Player("GRU", 5, 0.5, rng=rng)
    batch = together(found)
    model.eval()
    probabilities = 1 / (1 + np.exp(-model(batch).numpy().astype(float)))
    expected = chorales.likelihood(probabilities, batch)
    assert model.evaluate(batch) == pytest.approx(expected, rel=1e-5)
    alone = [model.evaluate(together([chorale])) for chorale in found]
    assert np.average(alone, weights=[8, 3, 5]) == pytest.approx(expected, rel=1e-5)
    # outputs are left out in training alone
    model.train()
    assert model.loss(batch).item() != model.loss(batch).item()


def test_the_kept_parameters_are_the_best_on_the_validation_data(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = drawn(rng, *[6] * 20)
    monkeypatch.setattr(chorales, "chorales", lambda: found)
    real, values = Player.evaluate, []

    def evaluate(model: Player, batch: Any) -> float:
        values.append(real(model, batch))
        return values[-1] if len(values) != 3 else -1.0  # the third is told to be best

    kept: list[Any] = []
    monkeypatch.setattr(Player, "evaluate", evaluate)
    load = Player.load_state_dict
    monkeypatch.setattr(Player, "load_state_dict", lambda m, s: (kept.append(s), load(m, s))[1])
    result = chorales.train(Run(0, 1e9), "GRU", Sizes(Plan(4, 5, 5, 1e-2), 0.0))
    assert len(values) == 6  # after each epoch, and on the test data
    assert (result.sequences, result.steps, result.score) == (5 * 11, 5 * 11 * 5, values[-1])
    fresh = Player("GRU", 4, 0.0, rng=0)
    fresh.load_state_dict(kept[0])
    validation, test = together(split(found).validation), together(split(found).test)
    assert real(fresh, validation) == pytest.approx(values[2], rel=1e-6)
    assert real(fresh, test) == pytest.approx(values[-1], rel=1e-6)


# --- the file in the cache, and the scores ---------------------------------------------------------------------------------


@pytest.fixture
def reads(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How often scores were read: a package of that name, and a cache of one's own."""
    found: list[int] = []
    rolls = drawn(rng, 3, 7, 5)
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "music21", types.SimpleNamespace(__version__="1.2"))  # type: ignore[arg-type]
    monkeypatch.setattr(chorales, "_parsed", lambda: (found.append(1), rolls)[1])
    return found


def test_scores_are_read_once(reads: list[int], tmp_path: Path) -> None:
    first, again = chorales.chorales.__wrapped__(), chorales.chorales.__wrapped__()
    assert len(reads) == 1 and [c.name for c in again] == ["bwv0", "bwv1", "bwv2"]
    for here, there in zip(first, again, strict=True):
        assert here.name == there.name and np.array_equal(here.roll, there.roll)
        assert there.roll.dtype == bool
    assert [path.name for path in (tmp_path / "cache").glob("chorales*")] == [
        "chorales_1.2_1.safetensors"
    ]
    sys.modules["music21"].__version__ = "1.3"  # type: ignore[attr-defined]
    chorales.chorales.__wrapped__()
    assert len(reads) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "nothing"])
def test_a_damaged_file_is_made_anew(reads: list[int], tmp_path: Path, damage: str) -> None:
    first = chorales.chorales.__wrapped__()
    (path,) = (tmp_path / "cache").glob("chorales*")
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-3],
            "flipped": content[:-1] + bytes([content[-1] ^ 1]),
            "other": b"something else",
            "nothing": b"",
        }[damage]
    )
    second = chorales.chorales.__wrapped__()
    assert len(reads) == 2 and path.read_bytes() == content
    assert all(np.array_equal(a.roll, b.roll) for a, b in zip(first, second, strict=True))


def test_without_music21(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "music21", None)
    chorales.chorales.cache_clear()
    for arm in chorales.TASKS[0].arms(None):
        with pytest.raises(TaskError, match=r"pip install tinygrad-rnn\[music\]"):
            arm.run(Run(0, 1.0))
    with pytest.raises(TaskError, match=r"the chorales come with music21"):
        chorales.TASKS[0].ready()


def test_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = pytest.importorskip(
        "music21.corpus", reason="the chorales come with music21, which is not installed"
    )
    files = [p for p in corpus.getComposer("bach") if p.stem in ("bwv66.6", "bwv1.6", "bwv846")]
    assert len(files) == 3
    monkeypatch.setattr(corpus, "getComposer", lambda name: files)
    (found,) = chorales._parsed()  # of the others one has a horn, and one is for piano
    assert found.name == "bwv66.6" and found.roll.shape == (36, 88)
    # it begins with A, A, E and C sharp, and ends on F sharp, which goes down by 6
    assert (21 + found.roll[0].nonzero()[0]).tolist() == [57 - 6, 64 - 6, 73 - 6]
    assert found.roll[-1].nonzero()[0][0] + 21 == 48


def test_the_task() -> None:
    (task,) = chorales.TASKS
    names = [arm.name for arm in task.arms(None)]
    assert names[-3:] == ["LSTM", "GRU", "Elman"] and all(a.exact for a in task.arms(None)[:2])
    assert [bool(a.published) for a in task.arms(None)] == [False, False, True, True, True]
    assert [arm.name for arm in task.arms("MGU")] == [*names[:2], "MGU"]
