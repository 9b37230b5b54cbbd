"""The synthetic tasks against their definitions, with plain loops; and that they train."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train.tasks import adding, copying, parity, temporal_order
from tinygrad_rnn.train.tasks.fit import Batch, Fit, Reader, error_rate, fit, long_memory, streams
from tinygrad_rnn.train.tasks.synthetic import TASKS
from tinygrad_rnn.train.tasks.task import Result, Run

pytestmark = pytest.mark.usefixtures("eager")

Generator = np.random.Generator


def same(found: Batch, again: Batch) -> bool:
    return np.array_equal(found.xs, again.xs) and np.array_equal(found.targets, again.targets)


DRAWS: dict[str, Callable[[Generator], Batch]] = {
    "adding_1997": lambda rng: adding.adding_1997(rng, 9, 40),
    "adding_unit": lambda rng: adding.adding_unit(rng, 9, 40),
    "copying": lambda rng: copying.copying(rng, 9, 5),
    "temporal_order": lambda rng: temporal_order.temporal_order(rng, 9, 50),
    "parity": lambda rng: parity.parity(rng, 9, 12),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_draws_are_fixed_by_the_generator(draw: Callable[[Generator], Batch]) -> None:
    first = draw(np.random.default_rng(3))
    assert same(first, draw(np.random.default_rng(3))) and not same(
        first, draw(np.random.default_rng(4))
    )
    assert first.xs.dtype == np.float32 and first.xs.shape[1] == 9 and first.targets.shape[-1] == 9


# --- adding ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [22, 100])
def test_adding_1997(length: int, rng: Generator) -> None:
    lengths, firsts, seconds = set[int](), set[int](), set[int]()
    for _ in range(60):
        xs, targets = adding.adding_1997(rng, 50, length)
        lengths.add(len(xs))
        for b in range(50):
            marked = [t for t in range(len(xs)) if xs[t, b, 1] == 1]
            assert xs[0, b, 1] == xs[-1, b, 1] == -1 and len(marked) in (1, 2)
            assert all(xs[t, b, 1] == 0 for t in range(1, len(xs) - 1) if t not in marked)
            if len(marked) == 2:  # one of the first ten, and one of the first length/2 - 1
                assert marked[0] < min(10, length // 2 - 1) and marked[1] < max(10, length // 2 - 1)
                firsts.add(marked[0])
            assert all(-1 <= xs[t, b, 0] <= 1 for t in range(len(xs)))
            np.testing.assert_allclose(
                targets[b], 0.5 + sum(float(xs[t, b, 0]) for t in marked) / 4, rtol=1e-5
            )
            seconds.add(marked[-1])
    assert lengths == set(range(length, length + length // 10 + 1))
    assert firsts == set(range(1, 10 if length == 100 else 9)) and max(seconds) == length // 2 - 2


def test_the_places_of_adding_1997_are_uniform(rng: Generator) -> None:
    """One of the first ten, then one of the others among length/2 - 1.

    With length 22 both are among the first ten.
    """
    xs, _ = adding.adding_1997(rng, 40_000, 22)
    pairs = Counter(tuple(np.flatnonzero(column == 1)) for column in xs[:10, :, 1].T)
    assert len(pairs) == 36 + 9  # two of 1 to 9, or one of them and the first pair
    for pair, count in pairs.items():
        assert abs(count - 40_000 / 45) < 5 * math.sqrt(40_000 / 45), pair


def test_adding_unit(rng: Generator) -> None:
    places: Counter[int] = Counter()
    for length in (10, 11):
        xs, targets = adding.adding_unit(rng, 500, length)
        for b in range(500):
            marked = [t for t in range(length) if xs[t, b, 1] != 0]
            assert (
                len(marked) == 2
                and marked[0] < length // 2 <= marked[1]
                and [xs[t, b, 1] for t in marked] == [1, 1]
            )
            assert all(0 <= xs[t, b, 0] < 1 for t in range(length))
            np.testing.assert_allclose(
                targets[b], sum(float(xs[t, b, 0]) for t in marked), rtol=1e-6
            )
            places.update(marked)
    assert set(places) == set(range(11))


def test_the_baselines_of_adding(rng: Generator) -> None:
    for length in (22, 100):
        errors = (
            np.concatenate(
                [adding.adding_1997(rng, 20_000, length).targets - 0.5 for _ in range(10)]
            )
            ** 2
        )
        assert abs(
            errors.mean() - adding.mean_squared_error_1997(length)
        ) < 5 * errors.std() / math.sqrt(errors.size)
    errors = (adding.adding_unit(rng, 200_000, 10).targets - 1) ** 2
    assert abs(errors.mean() - 1 / 6) < 5 * errors.std() / math.sqrt(errors.size)


# --- copying --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [1, 2, 7])
def test_copying(pause: int, rng: Generator) -> None:
    xs, targets = copying.copying(rng, 400, pause)
    assert xs.shape == (pause + 20, 400, 10) and targets.shape == (pause + 20, 400)
    assert np.all(xs.sum(-1) == 1) and set(np.unique(xs)) == {0, 1}
    for b in range(400):
        read = [int(np.argmax(x)) for x in xs[:, b]]
        assert (
            all(0 <= s < 8 for s in read[:10]) and read[10:] == [8] * (pause - 1) + [9] + [8] * 10
        )
        assert list(targets[:, b]) == [8] * (pause + 10) + read[:10]
    assert np.allclose(np.bincount(targets[-10:].ravel(), minlength=8) / 4000, 1 / 8, atol=0.03)


def test_the_baseline_of_copying() -> None:
    """The cross entropy of the outputs that remember nothing, computed from their probabilities."""
    for pause, quoted in ((100, 0.1733), (200, 0.0945), (1000, 0.0204)):
        assert copying.baseline(pause) == pytest.approx(quoted, abs=5e-5)
    _, targets = copying.copying(np.random.default_rng(0), 5, 7)
    logits = np.full((27, 5, 9), -50.0)
    logits[:-10, :, 8] = 50
    logits[-10:, :, :8] = 0
    assert float(tg.nn.cross_entropy(tg.tensor(logits), targets)) == pytest.approx(
        copying.baseline(7), rel=1e-6
    )


# --- temporal order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [50, 73])
def test_temporal_order(length: int, rng: Generator) -> None:
    xs, classes = temporal_order.temporal_order(rng, 3000, length)
    assert (
        xs.shape == (length, 3000, 6) and np.all(xs.sum(-1) == 1) and set(np.unique(xs)) == {0, 1}
    )
    seen: tuple[set[int], set[int]] = (set(), set())
    for b in range(3000):
        symbols = [int(np.argmax(x)) for x in xs[:, b]]
        first, second = (t for t in range(length) if symbols[t] < 2)  # there are two
        assert classes[b] == ["AA", "AB", "BA", "BB"].index(
            "AB"[symbols[first]] + "AB"[symbols[second]]
        )
        seen[0].add(first)
        seen[1].add(second)
    assert seen[0] == set(range(length // 10, 2 * length // 10 + 1)) and seen[1] == set(
        range(4 * length // 10, 5 * length // 10 + 1)
    )
    assert np.allclose(np.bincount(classes) / 3000, 1 / 4, atol=0.05)
    assert np.allclose(xs[..., 2:].mean(axis=(0, 1)), (1 - 2 / length) / 4, atol=0.01)


# --- parity ---------------------------------------------------------------------------------------------------------------


def test_parity(rng: Generator) -> None:
    for length in (1, 2, 9):
        xs, targets = parity.parity(rng, 500, length)
        assert (
            xs.shape == (length, 500, 2)
            and np.all(xs.sum(-1) == 1)
            and set(np.unique(xs)) == {0, 1}
        )
        for b in range(500):
            odd = False
            for t in range(length):
                odd ^= bool(xs[t, b, 1])
            assert targets[b] == odd
        assert abs(targets.mean() - 0.5) < 0.12


class Knows:
    """Stands for a model: right up to a length, and always wrong beyond."""

    def __init__(self, up_to: int) -> None:
        self.up_to = up_to

    def __call__(self, xs: np.ndarray) -> tg.Tensor:
        odd = xs[:, :, 1].sum(0) % 2
        right = len(xs) <= self.up_to
        return tg.tensor(np.stack([1 - odd, odd], axis=-1) * (1.0 if right else -1.0))


def test_the_curriculum_grows_when_a_length_is_mastered(rng: Generator) -> None:
    course = parity.Curriculum(Knows(20), rng, np.random.default_rng(1))  # type: ignore[arg-type]
    lengths, longest = set(), [course.longest]
    for _ in range(20):
        lengths |= {len(course.draw().xs) for _ in range(60)}
        assert course.validate() == 1.0
        longest.append(course.longest)
    # 22 is not mastered
    assert longest[:8] == [3, 4, 5, 6, 8, 10, 13, 17] and longest[8:] == [22] * 13
    assert lengths <= set(range(1, 23)) and {1, 22} <= lengths
    course.model = Knows(256)  # type: ignore[assignment]
    figures = [course.validate() for _ in range(6)]
    # 29, 38, 40, then right once, and twice
    assert course.longest == 40 and figures == [1, 1, 1, 0.001, 0, 0]
    course.model = Knows(20)  # type: ignore[assignment]
    assert course.validate() == 0.5


# --- training -------------------------------------------------------------------------------------------------------------


def test_generators_have_nothing_in_common() -> None:
    drawn = [g.random() for seed in range(3) for g in streams(seed)]
    assert len(set(drawn)) == 12 and [g.random() for g in streams(0)] == drawn[:4]


def test_the_reader_reads_the_last_output_or_every_one(rng: Generator) -> None:
    xs = rng.standard_normal((5, 3, 2)).astype(np.float32)
    for every in (False, True):
        model = Reader("GRU", 2, 4, 6, every=every, rng=0)
        h = model.cell.initial_state(3)
        rows = []
        for x in xs:
            _, h = model.cell(tg.tensor(x), h)
            rows.append(h.numpy() @ model.out.weight.numpy().T + model.out.bias.numpy())
        np.testing.assert_allclose(
            model(xs).numpy(), np.stack(rows) if every else rows[-1], rtol=1e-4, atol=1e-5
        )


def test_losses_and_error_rates(rng: Generator) -> None:
    xs = rng.standard_normal((5, 8, 2)).astype(np.float32)
    model = Reader("Elman", 2, 4, 1, rng=0)
    targets = rng.standard_normal(8).astype(np.float32)
    expected = float(np.mean((model(xs).numpy()[:, 0] - targets) ** 2))
    assert float(model.loss(Batch(xs, targets))) == pytest.approx(expected, rel=1e-5)
    assert model.evaluate([Batch(xs, targets)] * 2) == pytest.approx(expected, rel=1e-5)
    model = Reader("Elman", 2, 4, 3, every=True, rng=0)
    logits = model(xs).numpy().astype(float)
    classes = logits.argmax(-1)
    classes[2, :3] = (classes[2, :3] + 1) % 3
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = float(
        -np.mean([math.log(chances[t, b, classes[t, b]]) for t in range(5) for b in range(8)])
    )
    assert float(model.loss(Batch(xs, classes))) == pytest.approx(expected, rel=1e-5)
    assert error_rate(model, [Batch(xs, classes)]) == pytest.approx(3 / 40)


def test_units_remember_over_the_steps_asked_for() -> None:
    """With no input and no other weights a unit keeps the share sigmoid(bias) of its value at each step."""
    for name, gates in (("LSTM", 4), ("GRU", 3)):
        cell = getattr(tg.cells, name)(2, 100, rng=0)
        before = cell.bias_ih.numpy().copy()
        long_memory(cell, 50, rng=1)
        after = cell.bias_ih.numpy().reshape(gates, 100)
        times = 1 + np.exp(after[1])  # 1 / (1 - sigmoid(b))
        assert times.min() >= 2 and times.max() <= 51 and abs(times.mean() - 26.5) < 7
        np.testing.assert_array_equal(after[2:], before.reshape(gates, 100)[2:])
        np.testing.assert_allclose(
            after[0], -after[1] if name == "LSTM" else before[:100], rtol=1e-6
        )
    cell = tg.cells.Elman(2, 5, rng=0)
    before = cell.bias_ih.numpy().copy()
    long_memory(cell, 50, rng=1)
    np.testing.assert_array_equal(cell.bias_ih.numpy(), before)


def trained(
    goal: float, budget: float = 60.0, **options: object
) -> tuple[Fit, Reader, list[float]]:
    training, validation = np.random.default_rng(0), np.random.default_rng(1)
    model, held = Reader("LSTM", 2, 8, 1, rng=2), [adding.adding_unit(validation, 64, 6)]
    seen = [model.evaluate(held)]

    def validate() -> float:
        seen.append(model.evaluate(held))
        return seen[-1]

    optimizer = tg.optim.Adam(model.parameters(), lr=0.02)
    draw = lambda: adding.adding_unit(training, 16, 6)  # noqa: E731
    return (
        fit(Run(0, budget), model, optimizer, draw, validate, goal, every=20, **options),
        model,
        seen,
    )  # type: ignore[arg-type]


def test_training_ends_at_the_goal() -> None:
    done, _, seen = trained(0.05)
    assert done.validation == seen[-1] <= 0.05 < min(seen[:-1])
    assert (
        done.sequences == 16 * 20 * (len(seen) - 1)
        and done.steps == 6 * done.sequences
        and 0 < done.seconds < 60
    )
    assert done.result(0.25, True, "n") == Result(
        0.25, True, done.sequences, done.steps, done.seconds, "n"
    )


def test_training_ends_with_its_budget_or_its_sequences() -> None:
    done, _, seen = trained(0.0, budget=1e-9)
    assert (done.sequences, done.validation) == (0, seen[-1])
    done, _, seen = trained(0.0, most=16 * 50)
    # after 20, 40 and all 50
    assert done.sequences == 800 and len(seen) == 1 + 2 + 1 and done.validation == seen[-1]


def test_training_that_diverges_ends() -> None:
    model = Reader("Elman", 2, 4, 1, rng=0)
    model.out.weight.data = np.full((1, 4), np.nan, np.float32)
    done = fit(
        Run(0, 60.0),
        model,
        tg.optim.SGD(model.parameters()),
        lambda: adding.adding_unit(np.random.default_rng(0), 4, 6),
        lambda: 1.0,
        0.0,
    )
    assert done.sequences == 4 and math.isnan(done.validation)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_gradients_are_clipped_only_where_asked(clip: float | None) -> None:
    """One step of SGD with rate 1 moves the parameters by the gradient."""
    model = Reader("Elman", 2, 4, 1, rng=0)
    batch = Batch(np.ones((6, 4, 2), np.float32), np.full(4, 30.0, np.float32))
    before = model.state_dict()
    fit(
        Run(0, 60.0),
        model,
        tg.optim.SGD(model.parameters(), lr=1.0),
        lambda: batch,
        lambda: 0.0,
        0.0,
        clip=clip,
        every=1,
    )
    moved = math.sqrt(
        sum(
            float(((value - before[name]) ** 2).sum()) for name, value in model.state_dict().items()
        )
    )
    assert moved == pytest.approx(0.5, rel=1e-4) if clip else moved > 5


# --- the tasks ------------------------------------------------------------------------------------------------------------


def test_the_tasks_are_described() -> None:
    assert [task.name for task in TASKS] == [
        "adding",
        "adding-unit",
        "copying",
        "temporal-order",
        "parity",
    ]
    for task in TASKS:
        assert (
            task.title
            and task.about.endswith(".")
            and task.source.endswith(".")
            and task.metric
            and task.budget <= 120
        )
        assert task.seeds == (5 if task.name == "temporal-order" else 3)
        assert len({arm.name for arm in task.arms(None)}) == len(task.arms(None))
        assert all(
            "GRU" in arm.name or arm.exact or arm.name == "Elman" for arm in task.arms("GRU")
        )


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("adding", (2 - 0.1 - 0.9 / 48) / 48),
        ("adding-unit", 1 / 6),
        ("copying", 10 * math.log(8) / 50),
        ("temporal-order", 0.75),
        ("parity", 0.5),
    ],
)
def test_the_baselines_of_the_tasks(name: str, score: float) -> None:
    [task] = [task for task in TASKS if task.name == name]
    first = task.arms(None)[0]
    assert first.exact and first.run(Run(0, 1.0)).score == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])
def test_every_arm_can_run(task: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (adding, copying, temporal_order):
        monkeypatch.setattr(module, "TESTED", 256)
        monkeypatch.setattr(module, "VALIDATED", 8)
    for module, name, value in (
        (adding, "LENGTH", 22),
        (copying, "PAUSE", 2),
        (temporal_order, "LENGTH", 10),
        (parity, "TESTED", (2, 9)),
    ):
        monkeypatch.setattr(module, name, value)
    assert task in TASKS
    for arm in task.arms(None):  # type: ignore[attr-defined]
        result = arm.run(Run(0, 1e-9))
        assert (
            math.isfinite(result.score)
            and result.solved is (None if arm.exact else False)
            and result.sequences == 0
        )
