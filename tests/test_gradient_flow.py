"""The flow of gradients through time: its figures, and what is said of faults and of healthy runs."""

from __future__ import annotations

import contextlib
import linecache
import re
import xml.dom.minidom
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tree import leaves

from .cell_checks import GROUPS
from .flow_runs import FAULTS, HEALTHY, HIDDEN, INPUT, Plain, every, inputs, last, run

WAYS = ["eager", "compiled"]
CELLS = ["Elman", "LSTM", "GRU", "IndRNN", "AntisymmetricRNN", "MGU", "SRU", "QRNN", "RAN", "FastGRNN", "CFN", "UGRNN", "JANET",
         "PeepholeLSTM", "LiGRU", "MinGRU", "LEM", "CoRNN", "ClockworkRNN", "MultiplicativeLSTM"]  # fmt: skip


def ran(made: Any, xs: Any, way: str) -> tg.Tensor:
    """The outputs, step by step or compiled."""
    if way == "eager":
        with tg.eager():
            return run(made, xs)
    return run(tg.jit(made) if isinstance(made, tg.Cell) else made, xs)


def close(found: Any, expected: Any) -> None:
    assert np.abs(found - expected).max() <= 1e-10 * max(1.0, np.abs(expected).max())


# --- figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CELLS)
def test_contributions_add_up_to_the_gradient(name: str, way: str) -> None:
    case = GROUPS[name][0]
    cell = case.make()
    xs, state = case.draw(cell, np.random.default_rng(3))
    with tg.eager() if way == "eager" else contextlib.nullcontext():
        ys, _ = tg.unroll(tg.jit(cell), xs, state)
        loss = sum([(y * y).sum() for y in leaves(ys)], tg.tensor(np.float64(0.0)))
    flow = tg.gradient_flow(loss, cell)
    found = {name: flow.contributions(name) for name in flow.parameters}
    loss.backward()
    assert flow.parameters and flow.states
    for name, p in cell.named_parameters():
        if p.grad is None or name in flow.unused:
            assert p.grad is None or not p.grad.numpy().any()
            continue
        close(sum(found[name].values()), p.grad.numpy())
        close(flow.gradients[name], p.grad.numpy())
        for t, share in found[name].items():
            assert flow.shares[name][t] == pytest.approx(np.linalg.norm(share), rel=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_norms_are_those_of_the_gradients_by_states(way: str) -> None:
    """Beside a loop by hand, whose states are asked for their gradients."""
    cell = tg.cells.LSTM(INPUT, HIDDEN, dtype=np.float64, rng=0)
    xs = inputs(9).astype(np.float64)
    h, c = cell.initial_state(xs.shape[1])
    loss, states = tg.tensor(np.float64(0.0)), []
    for t in range(9):
        y, (h, c) = cell(tg.tensor(xs[t]), (h, c))
        states.append((h, c))
        loss = loss + (y * y).sum() * (t + 1.0)
    seen: dict[Any, float] = {}
    for t, pair in enumerate(states):
        for name, s in zip("hc", pair, strict=True):
            s.register_hook(lambda g, key=(name, t): seen.update({key: np.linalg.norm(g.numpy())}))
    loss.backward()
    ys = ran(cell, xs, way)
    flow = tg.gradient_flow((ys * ys * np.arange(1.0, 10.0).reshape(9, 1, 1)).sum())
    assert [*flow.states] == ["h", "c"]
    for name, norms in flow.states.items():
        assert norms == pytest.approx({t: seen[name, t] for t in range(9)}, rel=1e-10)
    assert flow[3] == pytest.approx(np.hypot(seen["h", 3], seen["c", 3]))


def test_rows_of_the_matrix_are_gradients_of_losses_of_single_steps() -> None:
    cell = tg.cells.GRU(INPUT, HIDDEN, dtype=np.float64, rng=0)
    xs = inputs(8).astype(np.float64)
    matrix = tg.gradient_flow(every(ran(cell, xs, "compiled"))).matrix()
    assert [*matrix] == list(range(8))
    for s in (0, 4, 7):
        ys = ran(cell, xs, "eager")
        alone = tg.gradient_flow((ys[s] ** 2).sum() * (1 / ys.size))
        expected = {t: v for t, v in alone.items() if t <= s}
        assert matrix[s] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("scale", [0.6, 0.9, 1.1])
@pytest.mark.parametrize("way", WAYS)
def test_the_rate_is_that_of_the_singular_values(way: str, scale: float) -> None:
    rng = np.random.default_rng(5)
    cell = tg.cells.Elman(INPUT, 16, dtype=np.float64, rng=0)
    cell.weight_hh.data = scale * np.linalg.qr(rng.standard_normal((16, 16)))[0]
    xs = 0.3 * inputs(160).astype(np.float64)
    flow = tg.gradient_flow(last(ran(cell, xs, way)))
    spectrum = flow.spectrum(0, 79)
    assert spectrum.apart and spectrum.values.shape == (xs.shape[1], 16)
    assert flow.rate == pytest.approx(spectrum.rate, rel=0.05)
    assert scale < 1 or flow.rate < scale  # tanh flattens what it is given


def test_singular_values_are_those_of_the_product_of_jacobians() -> None:
    cell = tg.cells.LSTM(INPUT, 3, dtype=np.float64, rng=0)
    xs = inputs(6).astype(np.float64)
    spectrum = tg.gradient_flow(every(ran(cell, xs, "compiled"))).spectrum(1, 4)
    _, (h, c) = tg.unroll(cell, xs[:2])

    def after(z: tg.Tensor) -> tg.Tensor:
        _, state = tg.unroll(cell, xs[2:5, :1], (z[:, :3], z[:, 3:]))
        return tg.concatenate(list(state), axis=-1)

    first = tg.concatenate([h, c], axis=-1).detach()[:1]
    assert spectrum.states == ("h", "c")
    product = tg.jacobian(after)(first).numpy().reshape(6, 6)
    np.testing.assert_allclose(
        spectrum.values[0], np.linalg.svd(product, compute_uv=False), rtol=1e-9
    )


def test_memory_is_counted_in_steps() -> None:
    with tg.eager():
        flow = tg.gradient_flow(last(run(Plain("linear", 0.5), inputs())))
    assert flow.memory == (7, True)  # 0.5 ** 7 is below 1 %
    assert flow.rate == pytest.approx(0.5, rel=1e-4)
    with tg.eager():
        flow = tg.gradient_flow(last(run(Plain("linear", 1.0), inputs())))
    assert flow.memory == (40, False)


def test_the_rate_is_not_measured_where_digits_are_lost() -> None:
    """In single precision the gradient is 0 after 150 steps, and has few digits before."""
    with tg.eager():
        flow = tg.gradient_flow(last(run(Plain("linear", 0.5), inputs(200))))
    assert flow.rate == pytest.approx(0.5, rel=1e-5)
    assert 0 < min(v for v in flow.decay.values() if v) < 1e-40


@pytest.mark.parametrize("way", WAYS)
def test_a_run_in_reverse_decays_towards_its_own_first_step(way: str) -> None:
    cell = tg.jit(Plain("linear", 0.5))
    with tg.eager() if way == "eager" else contextlib.nullcontext():
        ys, _ = tg.unroll(cell, inputs(), reverse=True)
    for loss in (every(ys), (ys[0] ** 2).sum()):
        flow = tg.gradient_flow(loss)
        assert [*flow.decay] == list(range(39, -1, -1))
        assert flow.rate == pytest.approx(0.5, rel=1e-3) and flow.memory == (7, True)


def test_other_ways_to_run_steps() -> None:
    cell = Plain()
    xs = inputs(12)
    expected = tg.gradient_flow(every(ran(cell, xs, "eager")), cell)

    def by_hand() -> tg.Tensor:
        h, ys = cell.initial_state(xs.shape[1]), []
        for t in range(12):
            with tg.at_step(t):
                y, h = cell(tg.tensor(xs[t]), h)
            ys.append(y)
        return every(tg.stack(ys))

    whole = tg.jit(lambda x: every(tg.unroll(cell, x)[0]))
    segments = every(tg.unroll(cell, xs, checkpoint=4)[0])
    compiled = every(tg.unroll(tg.jit(cell), xs, checkpoint=5)[0])
    for loss in (by_hand(), whole(tg.tensor(xs)), segments, compiled):
        flow = tg.gradient_flow(loss, cell)
        assert dict(flow) == pytest.approx(dict(expected), rel=1e-4)
        assert flow.shares["w"] == pytest.approx(expected.shares["w"], rel=1e-4)


def test_what_several_runs_and_layers_do_stands_apart() -> None:
    layer = tg.nn.LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=True, rng=0)
    flow = tg.gradient_flow(every(layer(inputs(6), lengths=[6, 6, 5, 4, 3, 2])[0]), layer)
    assert len(flow.states) == 8 and not flow.unused
    assert "LSTM reverse layer 1: c" in flow.states
    assert all(len(norms) >= 5 for norms in flow.states.values())


class Cached(Plain):
    """A cell whose first step computes a matrix that all steps read."""

    made: Any = None

    def forward(self, x: tg.Tensor, h: tg.Tensor) -> Any:
        if self.made is None:
            self.made = self.w * 0.9
        h = tg.tanh(x @ self.w_in + h @ self.made)
        return h, h


def test_what_is_computed_once_is_no_state() -> None:
    cell = Cached()
    with tg.eager():
        ys, _ = tg.unroll(cell, inputs(6))
    penalty = (cell.w * cell.w).sum() + cell.w.sum() + cell.w.mean()
    loss = last(ys) + penalty
    flow = tg.gradient_flow(loss, cell)
    assert [*flow.states] == ["h"] and [*flow.matrix()] == [5]
    parts = flow.contributions("w")
    assert set(parts) == {None, 0}  # all steps reach it through the first
    assert flow.shares["w"][None] == pytest.approx(np.linalg.norm(parts[None]), rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(sum(parts.values()), cell.w.grad.numpy(), rtol=1e-5)


class Silent(Plain):
    """A cell whose state is zero, and that reads a constant of zeros."""

    def forward(self, x: tg.Tensor, h: tg.Tensor) -> Any:
        h = tg.relu(x @ self.w_in + h @ self.w - 50.0 + tg.tensor(np.zeros(h.shape, np.float32)))
        return h, h


def test_a_constant_of_zeros_is_no_state_that_was_cut() -> None:
    found = tg.diagnose(every(ran(Silent(), inputs(), "eager")))
    assert [f.kind for f in found] == ["dead"]


# --- nothing is changed -------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_changed(way: str) -> None:
    """Neither `.grad`, nor the graph, nor what draws random masks; hooks are not called."""
    layer = tg.nn.LSTM(INPUT, HIDDEN, num_layers=2, dropout=0.5, rng=0)
    found = []
    for looked in (False, True):
        layer = tg.nn.LSTM(INPUT, HIDDEN, num_layers=2, dropout=0.5, rng=0)
        for _ in range(2):
            loss, called = every(ran(layer, inputs(7), way)), []
            loss.register_hook(called.append)
            if looked:
                flow = tg.gradient_flow(loss, layer)
                flow.matrix()
                flow.spectrum(0, 2)
                str(flow)
                tg.diagnose(flow)
                assert not called
            loss.backward()
        found.append([p.grad.numpy() for p in layer.parameters()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_be_measured_is_refused() -> None:
    with tg.eager():
        ys = run(Plain(), inputs())
    flow = tg.gradient_flow(every(ys))
    for wrong, words in [
        (lambda: tg.gradient_flow(ys), "expected one number"),
        (lambda: tg.gradient_flow(3.0), "expected a loss"),  # type: ignore[arg-type]
        (lambda: tg.gradient_flow(tg.tensor(1.0)), "not recorded"),
        (lambda: tg.gradient_flow(tg.Parameter(1.0) * 2), "no time steps"),
        (lambda: tg.gradient_flow(every(ys), "cell"), "cell must be"),  # type: ignore[arg-type]
        (lambda: tg.diagnose(flow, Plain()), "give it there"),
        (lambda: tg.diagnose(flow, optimizer="Adam"), "optimiser"),  # type: ignore[arg-type]
        (lambda: flow.contributions("nothing"), "no gradient arrives at"),
        (lambda: flow.matrix([99]), "no loss enters at step 99"),
        (lambda: flow.spectrum(3, 3), "the earlier first"),
        (lambda: flow.plot("flow.txt"), "SVG file"),
    ]:
        with pytest.raises(tg.TinygradError, match=words):
            wrong()  # type: ignore[no-untyped-call]
    cell = Plain()
    ys_ = ran(cell, inputs(), "compiled")
    cell.fault = "linear"
    with pytest.raises(tg.GraphError, match="cannot be run once more"):
        tg.gradient_flow(every(ys_))
    loss = every(ys)
    kept = tg.gradient_flow(loss)
    loss.backward()
    for again in (lambda: tg.gradient_flow(loss), lambda: kept.contributions("w"), kept.matrix):
        with pytest.raises(tg.GraphError, match="released by the backward"):
            again()
    with tg.eager():
        text = str(tg.gradient_flow(every(run(Plain("cut"), inputs()))))
    assert "no step hands on a state" in text


# --- table and pictures -------------------------------------------------------------------------


def test_the_table_and_the_pictures(tmp_path: Path) -> None:
    for steps in (2, 40, 1500):
        flow = tg.gradient_flow(
            last(ran(tg.cells.LSTM(INPUT, HIDDEN, rng=0), inputs(steps), "eager"))
        )
        flow.plot(tmp_path / "flow.svg")
        text = (tmp_path / "flow.svg").read_text("utf-8")
        xml.dom.minidom.parseString(text)
        assert text.count("<polyline") >= 3 and len(text) < 80_000
        assert "decay of the gradient that enters last" in text
        assert re.search(r"^h +\S+", str(flow), re.MULTILINE)
    loss = last(ran(Plain(), inputs(5), "compiled"))
    flow = tg.gradient_flow(loss)
    assert tg.draw(loss, heat=flow).svg().count("heat")
    assert f"{flow[2]:.2g}" in tg.draw(loss, heat=flow).svg()


# --- diagnose -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, way: str) -> None:
    fault = FAULTS[name]
    made = fault.make()
    found = tg.diagnose(fault.loss(ran(made, fault.xs(), way)), made, **fault.options)
    (finding,) = [f for f in found if f.kind == fault.kind]
    assert finding.says in str(found) and finding.remedy
    if fault.operation:
        assert finding.operation == fault.operation
        assert finding.step is not None and fault.step(finding.step)
        assert f"step t={finding.step}" in finding.says
    if fault.line:
        file, number = finding.line.split(":")
        assert file == "flow_runs.py"
        path = str(Path(__file__).with_name(file))
        assert fault.line in linecache.getline(path, int(number))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_said_of_a_healthy_run(name: str, way: str) -> None:
    healthy = HEALTHY[name]
    made = healthy.make()
    optimizer = tg.optim.Adam(made.parameters(), lr=0.01)
    loss = healthy.loss(ran(made, healthy.xs(), way))
    found = tg.diagnose(loss, made, optimizer=optimizer)
    assert not found, found
    assert "nothing is wrong" in str(found)


@pytest.mark.parametrize("rule", [tg.optim.SGD, tg.optim.Adam, tg.optim.RMSprop])
def test_a_step_that_is_judged_is_the_step_that_is_taken(rule: Any) -> None:
    cell = tg.cells.GRU(INPUT, HIDDEN, rng=0)
    optimizer = rule(cell.parameters(), lr=3.0)
    for _ in range(2):
        loss = every(ran(cell, inputs(), "compiled"))
        flow = tg.gradient_flow(loss, cell)
        names = [name for name, _ in cell.named_parameters()]
        expected = optimizer.would_add([flow.gradients[name] for name in names])
        large = tg.diagnose(flow, optimizer=optimizer)
        assert rule is tg.optim.SGD or [f.kind for f in large] == ["learning rate"]
        before = [p.numpy().copy() for p in cell.parameters()]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for p, old, change in zip(cell.parameters(), before, expected, strict=True):
            np.testing.assert_allclose(p.numpy() - old, change, rtol=1e-4, atol=1e-6)
        for p, old in zip(cell.parameters(), before, strict=True):
            p.data = old  # large steps would leave nothing to compare


def test_rows_that_begin_anew_are_no_cut() -> None:
    resets = np.zeros((40, 6), bool)
    resets[20] = True
    for way in WAYS:
        cell = Plain()
        with tg.eager() if way == "eager" else contextlib.nullcontext():
            ys, _ = tg.unroll(tg.jit(cell), inputs(), resets=resets)
        assert not tg.diagnose(last(ys), cell)
