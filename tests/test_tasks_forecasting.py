"""The forecasting tasks.

Data, baselines against plain loops, and networks that see nothing of the test values.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.train.tasks import forecasting as f
from tinygrad_rnn.train.tasks.fit import Reader
from tinygrad_rnn.train.tasks.task import Run

pytestmark = pytest.mark.usefixtures("eager")

DATA = Path(f.__file__).parent.parent / "data"


def fitted(values: list[float], split: int, order: int) -> list[float]:
    """Least squares by the normal equations, in a loop; the prediction of each test value."""
    normal, right = np.zeros((order + 1, order + 1)), np.zeros(order + 1)
    for t in range(order, split):
        row = np.array([1.0, *(values[t - k] for k in range(1, order + 1))])
        normal += np.outer(row, row)
        right += row * values[t]
    weights = np.linalg.solve(normal, right)
    found = []
    for t in range(split, len(values)):
        found.append(weights[0] + sum(weights[k] * values[t - k] for k in range(1, order + 1)))
    return found


def series(n: int = 60, split: int = 40, season: int = 4, seed: int = 0) -> f.Series:
    rng = np.random.default_rng(seed)
    return f.Series(
        np.exp(rng.normal(size=n).cumsum() / 5 + np.sin(np.arange(n) * 2 * np.pi / season)),
        split,
        season,
    )


@pytest.mark.parametrize(
    ("name", "count", "first", "last", "total"),
    [("sunspots", 309, 5, 2.9, 15373.4), ("airline", 144, 112, 432, 40363)],
)
def test_data(name: str, count: int, first: float, last: float, total: float) -> None:
    values = f.load(name)
    assert (len(values), values[0], values[-1]) == (count, first, last)
    assert values.sum() == pytest.approx(total)
    lines = (DATA / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and len(lines) == count + 1
    times = [line.split(",")[0] for line in lines[1:]]
    if name == "sunspots":
        assert times == [str(year) for year in range(1700, 2009)]
    else:
        assert times == [
            f"{year}-{month:02}" for year in range(1949, 1961) for month in range(1, 13)
        ]


def test_splits() -> None:
    assert (
        len(f.SUNSPOTS.values) == 280
        and f.SUNSPOTS.split == 221
        and len(f.SUNSPOTS.tested) == 35 + 24
    )
    assert f.SUNSPOTS.tested[36] == f.SUNSPOTS.values.max() == 190.2  # 1957
    assert len(f.AIRLINE.tested) == 48 and f.AIRLINE.tested[0] == 315  # January 1957


def test_baselines_against_loops() -> None:
    s = series()
    y = s.values.tolist()
    places = range(s.split, len(y))
    np.testing.assert_array_equal(f.persistence(s), [y[t - 1] for t in places])
    np.testing.assert_array_equal(f.seasonal(s), [y[t - 4] for t in places])
    np.testing.assert_allclose(
        f.seasonal_growth(s), [y[t - 1] * y[t - 4] / y[t - 5] for t in places], rtol=1e-14
    )
    for order in (1, 3, 5):
        np.testing.assert_allclose(f.autoregression(s, order), fitted(y, s.split, order), rtol=1e-8)
    logs = [math.log(b / a) for a, b in itertools.pairwise(y)]  # one shorter
    grown = [
        y[t - 1] * math.exp(z) for t, z in zip(places, fitted(logs, s.split - 1, 3), strict=True)
    ]
    np.testing.assert_allclose(f.autoregression(s, 3, f.log_differences), grown, rtol=1e-8)


def airline_error(predictions: Any) -> float:
    return math.sqrt(
        sum((a - b) ** 2 for a, b in zip(predictions, f.AIRLINE.tested, strict=True)) / 48
    )


def test_known_figures_of_the_airline() -> None:
    s = f.AIRLINE
    found = [airline_error(p) for p in (f.persistence(s), f.seasonal(s), f.seasonal_growth(s))]
    assert [round(e, 2) for e in found] == [48.04, 41.85, 15.62]
    found = [airline_error(f.autoregression(s, p)) for p in (1, 3, 12, 13)]
    assert [round(e, 2) for e in found] == [48.09, 44.46, 20.95, 14.26]


def test_relative_variance() -> None:
    y = f.SUNSPOTS.values.tolist()
    mean = sum(y) / 280
    variance = sum((v - mean) ** 2 for v in y) / 280
    predicted = np.full(59, 50.0)
    early = sum((v - 50) ** 2 for v in y[221:256]) / 35 / variance
    late = sum((v - 50) ** 2 for v in y[256:]) / 24 / variance
    np.testing.assert_allclose(f.relative_variance(predicted), (early, late))


@pytest.mark.parametrize("form", [f.plain, f.log_differences])
def test_forms(form: Any) -> None:
    s = series()
    found = form(s)
    known = found.values[found.first : s.split]
    assert abs(known.mean()) < 1e-12 and abs(known.std() - 1) < 1e-12
    np.testing.assert_allclose(found.back(found.values[s.split :]), s.tested)  # perfect predictions
    changed = s._replace(values=np.concatenate([s.values[: s.split], s.tested * 3]))
    np.testing.assert_array_equal(form(changed).values[found.first : s.split], known)


def test_windows() -> None:
    s = series()
    found = f.plain(s)
    xs, targets = f.windows(found, 3, np.arange(7, 11))
    assert xs.shape == (3, 4, 1) and xs.dtype == targets.dtype == np.float32
    for row, t in enumerate(range(7, 11)):
        np.testing.assert_array_equal(xs[:, row, 0], found.values[t - 3 : t].astype(np.float32))
        assert targets[row] == np.float32(found.values[t])


def lstm(rng: np.random.Generator) -> Any:
    return Reader("LSTM", 1, 4, 1, rng=rng)


@pytest.mark.parametrize("place", [40, 50], ids=["all test values", "later ones"])
@pytest.mark.parametrize("form", [f.plain, f.log_differences])
def test_a_network_sees_no_future(form: Any, place: int) -> None:
    """What comes later changes neither the training nor earlier predictions."""
    s = series()
    plan = f.Plan(3, 0.05, steps=20)
    before, result = f.network(Run(1, 60), s, form, plan, lstm)
    values = s.values.copy()
    values[place:] *= 2
    after, again = f.network(Run(1, 60), s._replace(values=values), form, plan, lstm)
    known = place + 1 - s.split  # the first changed value is first read for the one after it
    np.testing.assert_array_equal(before[:known], after[:known])
    assert (before[known:] != after[known:]).all()
    assert result.sequences == again.sequences and result.steps == 3 * result.sequences


def test_a_linear_window_finds_what_least_squares_finds() -> None:
    rng = np.random.default_rng(0)
    s = f.Series(np.sin(np.arange(300.0)) + rng.normal(size=300) / 5, 250, 1)
    plan = f.Plan(2, 0.05, steps=400)
    found, result = f.network(Run(0, 60), s, f.plain, plan, lambda rng: f.LinearWindow(2, rng=rng))
    exact = f.root_mean_square(f.autoregression(s, 2) - s.tested)
    assert abs(f.root_mean_square(found - s.tested) - exact) < 0.02 * exact
    assert result.steps == result.sequences


def test_the_number_of_steps_is_that_of_the_least_validation_error() -> None:
    s = series(80, 60, seed=3)
    form, plan = f.plain(s), f.Plan(3, 0.05, steps=60)
    training, held_out = np.arange(3, 45), np.arange(45, 60)
    best, used = f.steps_with_least_error(
        Run(0, 60), form, plan, lstm(np.random.default_rng(5)), training, held_out
    )
    errors = {}
    for steps in range(5, 61, 5):
        model = lstm(np.random.default_rng(5))
        optimizer = f.Adam(model.parameters(), lr=plan.lr)
        for _ in range(steps):
            f._step(model, optimizer, *f.windows(form, 3, training))
        xs, targets = f.windows(form, 3, held_out)
        errors[steps] = float(np.mean((model(xs).numpy()[:, 0] - targets) ** 2))
    assert best == min(errors, key=lambda k: errors[k])
    assert used == 60 * len(training)


def test_a_run_keeps_to_its_budget() -> None:
    s, run = series(), Run(0, 0.05)
    f.network(run, s, f.plain, f.Plan(3, 0.01, steps=10**9), lstm)
    f.tutorial(run, s, "GRU")
    assert run.seconds < 5


@pytest.mark.parametrize("name", ["sunspots", "airline"])
def test_the_arms(name: str) -> None:
    task = {task.name: task for task in f.TASKS}[name]
    arms = {arm.name: arm for arm in task.arms(None)}
    exact = {arm_name: arm.run(Run(0, 1)) for arm_name, arm in arms.items() if arm.exact}
    bar = "AR(12), least squares" if name == "sunspots" else "AR(13), least squares"
    assert exact[bar].solved is None
    assert all(
        r.solved == (r.score < exact[bar].score) for arm_name, r in exact.items() if arm_name != bar
    )
    trained = [arm_name for arm_name, arm in arms.items() if not arm.exact]
    assert len(trained) == 4
    for arm_name in trained:  # a moment of each
        assert math.isfinite(arms[arm_name].run(Run(0, 0.2)).score)
    assert any(arm.name.startswith("GRU, window of 12") for arm in task.arms("GRU"))


def test_figures_of_the_sunspots() -> None:
    """The published network is compared by the same measure.

    A linear model has 0.130 and 0.37 in it.
    """
    early, late = f.relative_variance(f.autoregression(f.SUNSPOTS, 12))
    assert (round(early, 3), round(late, 2)) == (0.130, 0.37)
