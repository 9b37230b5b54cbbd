"""Cells as dynamical systems: Jacobians, points and exponents beside what is known by hand."""

from __future__ import annotations

import runpy
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tape import setting
from tinygrad_rnn.core.tree import leaves, tree_map

from .cell_checks import CASES, Case

EXAMPLE = Path(__file__).parents[1] / "examples" / "flip_flop.py"
RNG = np.random.default_rng(3)


def elman(gain: float = 1.0, size: int = 4) -> Any:
    cell = tg.cells.Elman(2, size, rng=0, dtype=np.float64)
    rng = np.random.default_rng(1)
    for p in cell.parameters():
        p.data = gain * rng.standard_normal(p.shape)
    return cell


def by_hand(cell: Any, x: Any, h: Any) -> tuple[Any, Any]:
    """A step of an Elman cell and its Jacobian, by NumPy alone."""
    w_x, w_h, b_x, b_h = (
        p.numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    )
    new = np.tanh(w_x @ x + b_x + w_h @ h + b_h)
    return new, (1 - new**2)[:, None] * w_h


class Map(tg.Cell):
    """h' = h A^T + x, with a state that is a dict of a matrix and a vector."""

    def __init__(self, a: Any) -> None:
        self.input_size = len(a)
        self.A = tg.Parameter(np.array(a, np.float64))

    def initial_state(self, batch_size: int) -> Any:
        return {"M": self.zeros(batch_size, 2, 2), "v": self.zeros(batch_size, len(self.A) - 4)}

    def forward(self, x: Any, state: Any) -> Any:
        n = x.shape[0]
        h = tg.concatenate([state["M"].reshape(n, 4), state["v"]], axis=1) @ self.A.T + x
        return h, {"M": h[:, :4].reshape(n, 2, 2), "v": h[:, 4:]}


# --- Jacobians and eigenvalues -----------------------------------------------------------------------


def test_jacobians_and_eigenvalues_of_a_small_network_are_those_by_hand() -> None:
    cell, x = elman(0.4), np.array([0.3, -0.7])
    system = tg.dynamics(cell, x)
    h = RNG.standard_normal((3, 5, 4))
    expected = [[by_hand(cell, x, row)[1] for row in rows] for rows in h]
    np.testing.assert_allclose(system.jacobians(h), expected, rtol=1e-12, atol=1e-14)
    points = system.points(count=20)
    assert len(points) == 1 and points.kind[0] == "stable" and points.starts[0] == 20
    at = np.zeros(4)
    for _ in range(2000):
        at = by_hand(cell, x, at)[0]
    np.testing.assert_allclose(points.states[0], at, rtol=1e-10)
    values = np.linalg.eigvals(by_hand(cell, x, at)[1])
    np.testing.assert_allclose(
        np.sort_complex(points.eigenvalues[0]), np.sort_complex(values), rtol=1e-9
    )
    assert (np.diff(np.abs(points.eigenvalues[0])) <= 1e-15).all()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("case", [case for case in CASES if case.smooth], ids=str)
def test_jacobians_of_every_cell_are_those_of_its_steps(case: Case) -> None:
    cell = case.make()
    xs, state = case.draw(cell, np.random.default_rng(11))
    x = tree_map(lambda a: a[0, 0], xs)
    with np.errstate(all="ignore"):
        try:
            found = tg.dynamics(cell, x).jacobians(state)
        except tg.TinygradError as error:
            assert case.cell.__name__ in ("LIF", "SkipRNN") and "derivative" in str(error)
            return

        def step(rows: Any) -> Any:
            parts, at = [], 0
            for s in leaves(state):
                n = int(np.prod(s.shape[1:]))
                parts.append(tg.tensor(rows[:, at : at + n].reshape(s.shape)))
                at += n
            given = tree_map(lambda a: tg.tensor(np.stack([a] * len(rows))), x)
            new = cell(given, _like(state, parts))[1]
            return np.concatenate([s.numpy().reshape(len(rows), -1) for s in leaves(new)], axis=1)

        h = np.concatenate([np.asarray(s).reshape(len(s), -1) for s in leaves(state)], axis=1)
        for j in range(h.shape[1]):
            up, down = h.copy(), h.copy()
            up[:, j] += 1e-6
            down[:, j] -= 1e-6
            np.testing.assert_allclose(
                found[:, :, j], (step(up) - step(down)) / 2e-6, rtol=1e-5, atol=1e-6
            )


def _like(tree: Any, parts: list[Any]) -> Any:
    given = iter(parts)
    return tree_map(lambda _: next(given), tree)


def test_compiled_jacobians_are_the_plain_ones() -> None:
    cell = tg.cells.LSTM(3, 5, rng=0)
    h = tree_map(lambda s: RNG.standard_normal((40, *s.shape[1:])), cell.initial_state(1))
    found = tg.dynamics(cell).jacobians(h)
    with tg.eager():
        plain = tg.dynamics(tg.jit(cell)).jacobians(h)
    np.testing.assert_allclose(found, plain, atol=1e-6)


# --- points --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["newton", "descent"])
def test_the_point_of_a_linear_map_with_a_tree_of_states(method: str) -> None:
    """It is (I - A)^-1 x, a saddle where A has one large eigenvalue."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    a = turn @ np.diag([1.5, 0.9, 0.5, -0.3, 0.2, 0.1]) @ turn.T
    x = np.arange(6.0)
    points = tg.dynamics(Map(a), x).points(count=30, method=method)
    expected = np.linalg.solve(np.eye(6) - a, x)
    assert list(points.kind) == ["saddle"] and points.unstable[0] == 1 and points.lost == 0
    np.testing.assert_allclose(points.states["M"][0].ravel(), expected[:4], rtol=1e-9)
    np.testing.assert_allclose(points.states["v"][0], expected[4:], rtol=1e-9)
    np.testing.assert_allclose(points.eigenvalues[0, :2], [1.5, 0.9], rtol=1e-9)
    assert points.speed[0] < 1e-12


@pytest.mark.usefixtures("eager")
def test_a_slow_point_is_told_from_a_fixed_one() -> None:
    """h + h^2 + c rests nowhere for c > 0, and is slowest at 0, where q is c^2 / 2."""

    def ghost(x: Any, h: Any) -> Any:
        return h, h + h * h + x

    def look(c: float, **options: Any) -> Any:
        system = tg.dynamics(ghost, np.array([c]), state=np.full((1, 1), -0.3))
        return system.points(count=40, noise=0.5, **options)

    slow = look(1e-3)
    assert list(slow.kind) == ["slow"]
    np.testing.assert_allclose(slow.q, 0.5e-6, rtol=1e-3)
    assert len(look(0.1)) == 0  # too fast
    halfway = look(1e-3, newton=1, slow=1.0)  # where no minimum is, a state only passes
    assert halfway.lost > 20 and (np.abs(halfway.states) < 0.02).all()
    fixed = look(-0.01)
    assert sorted(fixed.kind) == ["saddle", "stable"] or sorted(fixed.kind) == [
        "stable",
        "unstable",
    ]
    np.testing.assert_allclose(sorted(fixed.states[:, 0]), [-0.1, 0.1], rtol=1e-6)


def test_all_points_of_a_product_of_bistable_units_are_found() -> None:
    """Of tanh(2 h) in each of three units: 8 stable points, 27 in all."""
    cell = tg.cells.Elman(1, 3, rng=0, dtype=np.float64, bias=False)
    cell.weight_hh.data = 2 * np.eye(3)
    points = tg.dynamics(cell).points(count=2000)
    assert (len(points), points.stable.sum(), (points.kind == "unstable").sum()) == (27, 8, 1)
    assert points.starts.sum() + points.lost == 2000
    stable = points[points.stable]
    assert len(stable) == 8 and stable.lost == 2000 - stable.starts.sum()
    assert (np.abs(stable.states) > 0.9).all()
    text = str(points)
    assert text.startswith("Elman: 27 points of 3 numbers") and "and 7 more" in text


def test_an_orthogonal_map_is_marginal() -> None:
    cell = tg.cells.EURNN(2, 4, rng=0)
    assert set(tg.dynamics(cell).points(count=10).kind) == {"marginal"}


def test_the_example_finds_the_eight_memories(tmp_path: Any, capsys: Any) -> None:
    with setting(eager=False):
        found = runpy.run_path(str(EXAMPLE))["main"](str(tmp_path / "portrait.svg"))
    assert len(found) == len(set(found)) == 8
    assert "8 stable" in (tmp_path / "portrait.svg").read_text()


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
def test_the_eight_memories_are_found_for_every_seed(seed: int, capsys: Any) -> None:
    found = runpy.run_path(str(EXAMPLE))["main"](seed=seed)
    assert len(found) == len(set(found)) == 8


@pytest.mark.full
@pytest.mark.parametrize("kind", [tg.cells.Elman, tg.cells.GRU, tg.cells.LSTM])
def test_a_thousand_starts_of_64_units(kind: Any) -> None:
    system = tg.dynamics(kind(3, 64, rng=0))
    system.points(count=4)
    start = time.perf_counter()
    points = system.points(count=1000)
    print(f"{kind.__name__}: {time.perf_counter() - start:.1f} s, {len(points)} points")
    assert points.starts.sum() > 900


# --- Lyapunov exponents ----------------------------------------------------------------------------------


def test_exponents_of_a_linear_map_are_the_logarithms_of_its_eigenvalues() -> None:
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    sizes = np.array([1.02, 0.9, 0.5, 0.3, 0.2, 0.1])
    system = tg.dynamics(Map(turn @ np.diag(sizes) @ turn.T))
    found = system.lyapunov(steps=400, warmup=300)
    np.testing.assert_allclose(found.exponents, np.log(sizes), atol=1e-9)
    np.testing.assert_allclose(found.entropy, np.log(1.02), rtol=1e-6)
    np.testing.assert_allclose(found.dimension, 1 + np.log(1.02) / -np.log(0.9), rtol=1e-6)
    np.testing.assert_allclose(
        system.lyapunov(steps=400, warmup=300, k=2).exponents, np.log(sizes[:2]), atol=1e-9
    )


@pytest.mark.parametrize("name", ["Elman", "EURNN", "linear"])
def test_exponents_sum_to_the_mean_logarithm_of_the_determinant(name: str) -> None:
    xs = np.random.default_rng(0).standard_normal((60, 2, 2 if name != "linear" else 6))
    if name == "Elman":
        cell = elman(0.8)
        h, logs = np.zeros((2, 4)), []
        for x in xs:
            made = [by_hand(cell, *pair) for pair in zip(x, h, strict=True)]
            h = np.stack([m[0] for m in made])
            logs.append([np.linalg.slogdet(m[1])[1] for m in made])
        expected = np.mean(logs, 0)
    elif name == "EURNN":  # a unitary matrix, and modrelu without a bias
        cell, expected = tg.cells.EURNN(2, 5, rng=0, dtype=np.float64), np.zeros(2)
    else:
        a = RNG.standard_normal((6, 6)) / 3
        cell, expected = Map(a), np.full(2, np.linalg.slogdet(a)[1])
    found = tg.dynamics(cell).lyapunov(xs)
    np.testing.assert_allclose(found.each.sum(1), expected, atol=1e-9)
    assert "exponent" in str(found)


@pytest.mark.usefixtures("eager")
def test_the_largest_exponent_is_found_wherever_it_stands() -> None:
    found = tg.dynamics(Map(np.diag([0.1, 0.2, 0.3, 0.5, 0.9, 0.95]))).lyapunov(
        steps=300, warmup=200, k=1
    )
    np.testing.assert_allclose(found.exponents, [np.log(0.95)], rtol=1e-4)


@pytest.mark.usefixtures("eager")
def test_a_change_of_the_parameters_is_seen() -> None:
    cell = elman(0.3)
    system = tg.dynamics(cell)
    before = system.jacobians(np.zeros((1, 4)))
    cell.weight_hh.data = 2 * cell.weight_hh.numpy()
    np.testing.assert_allclose(system.jacobians(np.zeros((1, 4))), 2 * before)


@pytest.mark.usefixtures("eager")
def test_running_statistics_are_as_they_were_after_a_cell_is_refused() -> None:
    cell = tg.nn.RecurrentBatchNorm(tg.cells.LSTM(3, 4, rng=0), 4)
    before = {name: b.numpy().copy() for name, b in cell.named_buffers()}
    with pytest.raises(tg.TinygradError, match=r"eval\(\)"):
        tg.dynamics(cell)
    for name, b in cell.named_buffers():
        np.testing.assert_array_equal(b.numpy(), before[name])


def test_a_chaotic_network_has_a_positive_exponent_and_a_quiet_one_has_none() -> None:
    for gain, sign in ((0.5, -1), (2.5, 1)):
        cell = tg.cells.Elman(1, 40, rng=0, dtype=np.float64, bias=False)
        w = np.random.default_rng(0).standard_normal((40, 40)) / np.sqrt(40)
        cell.weight_hh.data = gain * w
        start = np.random.default_rng(1).standard_normal((3, 40))
        found = tg.dynamics(cell).lyapunov(steps=300, warmup=100, state=start, k=5)
        assert np.sign(found.exponents[0]) == sign


# --- the portrait ----------------------------------------------------------------------------------------


def test_a_portrait_shows_each_point_and_path_where_it_is(tmp_path: Any) -> None:
    cell = tg.cells.Elman(1, 3, rng=0, dtype=np.float64, bias=False)
    cell.weight_hh.data = np.diag([2.0, 1.5, 0.1])
    system = tg.dynamics(cell)
    points = system.points(count=200)
    assert len(points) == 9
    picture = system.portrait(points, np.zeros((2, 1, 3)))
    root = ElementTree.fromstring(picture.svg)
    marks = [e for e in root.iter() if e.get("class", "").startswith("mark")]
    at = np.array(sorted((float(m.get("cx")), float(m.get("cy"))) for m in marks if m.get("class") == "mark stable")[1:])  # fmt: skip
    assert len(marks) == 9 + len(set(points.kind)) and len(at) == 4
    # the plane is that of the first two units, and both axes have one scale
    sides = np.ptp(at, axis=0) / np.ptp(points.states[points.stable], axis=0)[:2]
    np.testing.assert_allclose(sides[0], sides[1], rtol=1e-2)
    assert sum(picture.explained) > 0.99
    picture.save(tmp_path / "p.svg")
    assert (tmp_path / "p.svg").read_text() == picture.svg == picture._repr_svg_()
    assert "path" in system.portrait(points).svg


# --- what is refused ---------------------------------------------------------------------------------------


class Mixing(tg.Cell):
    def __init__(self) -> None:
        self.input_size, self.hidden_size = 2, 2

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(h - h.mean(0) + x)
        return h, h


def counting(x: Any, state: Any) -> Any:
    h, n = state
    return h, (tg.tanh(h + x), n + 1)


def cut(x: Any, h: Any) -> Any:
    return h, tg.tanh(tg.stop_gradient(h) + x)


def growing(x: Any, h: Any) -> Any:
    return h, tg.concatenate([h, x], axis=1)


LSTM = tg.cells.LSTM(3, 4, rng=0)
REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda: tg.dynamics(tg.nn.LSTM(3, 4)), tg.TinygradError, "dynamics: expected a cell.*found the layer LSTM"),
    (lambda: tg.dynamics(tg.cells.LSTM), tg.TinygradError, "expected a cell.*found the class LSTM"),
    (lambda: tg.dynamics(3), tg.TinygradError, "expected a cell.*found a int"),
    (lambda: tg.dynamics(LSTM, np.zeros(2)), tg.ShapeError, r"x has shape \(2,\); expected one step.*\(batch, 3\)"),
    (lambda: tg.dynamics(LSTM, np.zeros((1, 3))), tg.ShapeError, r"x has shape \(1, 3\); expected one step of one row"),
    (lambda: tg.dynamics(LSTM, "x"), tg.TinygradError, "dynamics: x must be numbers"),
    (lambda: tg.dynamics(LSTM, state=np.zeros((1, 4))), tg.ShapeError, "dynamics: state: expected the components"),
    (lambda: tg.dynamics(LSTM, state=(np.zeros((1, 4)), np.zeros((1, 5)))), tg.ShapeError, "dynamics: state"),
    (lambda: tg.dynamics(cut), tg.TinygradError, "cut is a function, so its state is not known"),
    (lambda: tg.dynamics(cut, state=np.ones((1, 2))), tg.TinygradError, "cut is a function, so its input is not known"),
    (lambda: tg.dynamics(cut, np.ones(2), state=np.ones((1, 2))), tg.TinygradError, "cut: its derivative rules give 0 .*stop_gradient"),
    (lambda: tg.dynamics(growing, np.ones(2), state=np.ones((1, 2))), tg.ShapeError, "state"),
    (lambda: tg.dynamics(counting, np.ones(2), state=(np.ones((1, 2)), np.zeros((1, 1), int))), tg.DtypeError, "component .* is int64"),
    (lambda: tg.dynamics(Mixing()), tg.TinygradError, "Mixing: a row makes another step alone"),
    (lambda: tg.dynamics(tg.nn.Zoneout(LSTM, 0.5, rng=0)), tg.TinygradError, r"Zoneout\(LSTM\): two steps from the same state gave different states"),
    (lambda: tg.dynamics(tg.cells.LIF(3, 4, rng=0)), tg.TinygradError, "LIF: its derivative rules.*surrogate"),
    (lambda: tg.dynamics(LSTM).points(np.zeros((5, 4))), tg.ShapeError, "points: starts: expected the components"),
    (lambda: tg.dynamics(LSTM).points((np.zeros((5, 4)), np.zeros((5, 3)))), tg.ShapeError, r"points: starts: state.c has shape \(5, 3\); LSTM expects \(5, 4\)"),
    (lambda: tg.dynamics(LSTM).points((np.zeros((5, 4)), np.full((5, 4), np.nan))), tg.TinygradError, "points: starts: expected finite numbers"),
    (lambda: tg.dynamics(LSTM).points(method="both"), tg.TinygradError, "method must be 'newton' or 'descent'; found 'both'"),
    (lambda: tg.dynamics(LSTM).points(count=0), tg.ShapeError, "points: count must be at least 1; found 0"),
    (lambda: tg.dynamics(LSTM).jacobians((np.zeros(4), np.zeros(4))), tg.ShapeError, r"jacobians: states: state.h has shape \(4,\)"),
    (lambda: tg.dynamics(LSTM).lyapunov(np.zeros((5, 2, 4))), tg.ShapeError, r"lyapunov: xs has shape \(5, 2, 4\).*\(batch, 3\)"),
    (lambda: tg.dynamics(LSTM).lyapunov(np.zeros((5, 3))), tg.ShapeError, "lyapunov: xs"),
    (lambda: tg.dynamics(LSTM).lyapunov(np.zeros((5, 2, 3)), steps=5), tg.TinygradError, "steps says how often"),
    (lambda: tg.dynamics(LSTM).lyapunov(steps=5, warmup=5), tg.ShapeError, "warmup must be below 5"),
    (lambda: tg.dynamics(LSTM).lyapunov(steps=5, k=9), tg.ShapeError, "k must be at most 8.*found 9"),
    (lambda: tg.dynamics(LSTM).portrait(3), tg.TinygradError, "portrait: expected points of 8 numbers, at least one; found 3"),
]  # fmt: skip


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("k", range(len(REFUSED)))
def test_what_is_refused(k: int) -> None:
    call, kind, words = REFUSED[k]
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("inputs", "units", "seed"), [(1, 3, 0), (1, 1, 1), (2, 3, 2), (2, 3, 3)])
def test_a_surrogate_is_found_far_from_the_threshold(inputs: int, units: int, seed: int) -> None:
    """There it is small: in float32 only a little larger than the rounding of differences."""
    with pytest.raises(tg.TinygradError, match="surrogate"):
        tg.dynamics(tg.cells.LIF(inputs, units, rng=seed))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("kind", ["Elman", "LSTM", "GRU", "LayerNormLSTM"])
def test_a_step_that_curves_strongly_is_not_taken_for_a_surrogate(kind: str) -> None:
    """With weights that are ten times as large, differences are far from derivatives."""
    for units in (4, 32):
        cell = getattr(tg.cells, kind)(3, units, rng=0)
        for parameter in cell.parameters():
            parameter.data = parameter.numpy() * 10
        tg.dynamics(cell)
