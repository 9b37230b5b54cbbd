"""The flow of gradients in compiled sequences, which tell what their single steps would say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.compiler import blocks
from tinygrad_rnn.compiler.unrolled import Unrolled
from tinygrad_rnn.core.tree import leaves
from tinygrad_rnn.diagnosis import GradientFlow
from tinygrad_rnn.diagnosis import flow as flow_module
from tinygrad_rnn.kernels import row_norms

from .cell_checks import GROUPS
from .flow_runs import HIDDEN, INPUT, Plain, every, inputs, last, run

# of all kinds: a first state that needs no gradient, a state that backward does not read, the parameter
# of which parts are gradients of several products, a product with a constant, places, a window of inputs
CELLS = ["LSTM", "FastWeights", "ClockworkRNN", "AntisymmetricRNN", "PeepholeLSTM", "FastGRNN", "ConvLSTM", "QRNN",
         "ResidualLSTM", "MLSTM", "GRUResetBefore", "LIF"]  # fmt: skip
LOSSES = ["outputs", "last output", "state", "reverse", "all states"]


def loss_of(cell: Any, xs: Any, state: Any, kind: str) -> tg.Tensor:
    reverse, states = kind == "reverse", kind == "all states"
    ys, new = tg.unroll(cell, xs, state, reverse=reverse, return_states=states)
    read = [y[-1] if kind == "last output" else y for y in leaves(ys)]
    if kind in ("state", "all states"):
        floats = [s for s in leaves(new) if s.dtype.kind == "f"]
        read = floats if kind == "state" else [*read, *floats]
    return sum([(y * y).sum() for y in read], tg.tensor(np.float64(0.0)))


def figures(flow: GradientFlow) -> dict[str, Any]:
    """All figures, as numbers in dicts."""
    contributions = {name: flow.contributions(name) for name in flow.parameters}
    return {
        "states": flow.states,
        "entering": flow.entering,
        "shares": flow.shares,
        "totals": flow.totals,
        "norms": flow.norms,
        "decay": flow.decay,
        "matrix": flow.matrix(),
        "contributions": {
            n: {t: a.tolist() for t, a in c.items()} for n, c in contributions.items()
        },
        "units": {(k, u.name): [u.high, u.low, u.dead] for k, u in enumerate(flow.units)},
        "order": dict(enumerate(flow.decay)),
        "summary": {"memory": flow.memory[0], "rate": flow.rate or 0.0},
    }


def assert_same(found: Any, expected: Any, where: str, rtol: float = 1e-9) -> None:
    if isinstance(expected, dict) or hasattr(expected, "keys"):
        assert set(found) == set(expected), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where} {key}", rtol)
    else:
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-12, err_msg=where)


def opened(monkeypatch: pytest.MonkeyPatch, loss: tg.Tensor, cell: Any) -> GradientFlow:
    """The flow with all steps run one by one."""
    with monkeypatch.context() as patch:
        patch.setattr(Unrolled, "measured", lambda self: None)
        return tg.gradient_flow(loss, cell)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks in few steps."""
    for name, value in {"BLOCK": 1, "LEAST": 2, "FEW": 3}.items():
        monkeypatch.setattr(blocks, name, value)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("name", CELLS)
def test_a_compiled_sequence_tells_what_its_single_steps_say(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = GROUPS[name][0]
    cell = case.make()
    xs, state = case.draw(cell, np.random.default_rng(3))
    xs = np.concatenate([xs, 0.5 * xs[::-1]])
    loss = loss_of(tg.jit(cell), xs, state, kind)
    flow = tg.gradient_flow(loss, cell)
    assert flow.runs.compiled
    expected = opened(monkeypatch, loss, cell)
    assert not expected.runs.compiled
    assert_same(figures(flow), figures(expected), name)
    assert flow.unused == expected.unused
    if kind != "all states":  # which are further outputs of compiled steps
        with tg.eager():
            assert_same(
                tg.gradient_flow(loss_of(cell, xs, state, kind)).states, flow.states, "eager"
            )


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("lengths", [None, [9, 9, 8, 7, 6, 5]])
def test_layers_and_directions_tell_of_their_own_steps(
    lengths: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = tg.nn.GRU(INPUT, HIDDEN, num_layers=2, bidirectional=True, rng=0, dtype=np.float64)
    ys, last_state = layer(inputs(9).astype(np.float64), lengths=lengths)
    loss = every(ys) + (last_state**2).mean()
    flow, expected = tg.gradient_flow(loss, layer), opened(monkeypatch, loss, layer)
    assert len(flow.runs.compiled) == 4
    for name in ("entering", "shares", "totals", "norms", "decay"):
        assert_same(getattr(flow, name), getattr(expected, name), name)
    named = {name.replace(": state", ": h"): norms for name, norms in expected.states.items()}
    assert_same(flow.states, named, "states")


def test_runs_one_after_the_other_are_told_apart() -> None:
    cell = tg.cells.Elman(INPUT, HIDDEN, rng=0, dtype=np.float64)
    xs = inputs(8).astype(np.float64)

    def loss() -> tg.Tensor:
        fast = tg.jit(cell)
        ys, h = tg.unroll(fast, xs)
        back, _ = tg.unroll(fast, xs, h, reverse=True)  # begins in the step that was made last
        again, _ = tg.unroll(fast, xs)
        return every(ys) + every(back) + last(again)

    flow = tg.gradient_flow(loss(), cell)
    with tg.eager():
        expected = tg.gradient_flow(loss(), cell)
    times = [{lane: [*steps] for lane, steps in f.runs.times.items()} for f in (flow, expected)]
    assert times[0] == times[1] and len(times[0]) == 3
    for name in ("states", "entering", "shares", "norms"):
        assert_same(getattr(flow, name), getattr(expected, name), name)


def test_a_long_sequence_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for the table nor for the matrix, singular values or a diagnosis."""
    monkeypatch.setattr(flow_module, "opened", None)  # what would open it
    layer = tg.nn.LSTM(INPUT, HIDDEN, rng=0)
    flow = tg.gradient_flow(every(layer(inputs(3000))[0]), layer)
    assert (
        len(flow) == 3000
        and str(flow)
        and flow.matrix([2000])
        and flow.contributions("weight_hh_l0")
    )
    assert flow.spectrum(1000, 1004).values.shape == (6, 2 * HIDDEN)
    assert not tg.diagnose(flow)
    assert len(flow.runs.tape) < 30
    assert sum(map(len, flow.runs.steps.lanes.values())) < 10


def test_the_memory_is_that_of_a_block() -> None:
    """What steps find is read block by block, so its arrays do not grow with the steps."""
    layer = tg.nn.LSTM(INPUT, HIDDEN, rng=0)
    sizes = []
    for steps in (20_000, 40_000):
        loss = last(layer(inputs(steps))[0])
        flow = tg.gradient_flow(loss, layer)
        (taken,) = flow.runs.compiled.values()
        runner: Any = taken.measured
        stepwise = runner.runner.stepwise[True]
        count = stepwise._steps_at_a_time(steps, 6)
        sizes.append(sum(a.elements(count, 6) for a in stepwise.own))
        assert count < steps
    assert sizes[0] == sizes[1]


class Reading(Plain):
    """A cell whose gradient by the state is multiplied by the input, and dies out."""

    def forward(self, x: tg.Tensor, h: tg.Tensor) -> Any:
        h = tg.tanh(0.1 * h @ self.w * x[:, :1]) + tg.tanh(x[:, 1:] @ self.w_in[1:])
        return h, h


@pytest.mark.usefixtures("small_blocks")
def test_a_gradient_that_is_gone_meets_values_that_are_not_finite() -> None:
    """0 * inf is nan, so a walk may end early only where all is finite."""
    xs = inputs(60)
    for worst in (None, 3):
        if worst is not None:
            xs[worst, :, 0] = np.inf  # tanh makes 1 of it, and its rule 0 * inf
        found = []
        for way in (tg.jit(Reading()), Reading()):
            with np.errstate(all="ignore"):
                ys = run(way, xs)
                found.append(dict(tg.gradient_flow((ys[50:] ** 2).sum()).decay))
        assert_same(*found, "decay", rtol=1e-4)
        assert np.isnan(found[0][2]) == (worst is not None)
        assert worst is not None or found[0][2] == 0


def test_eager_decay_is_that_of_all_components() -> None:
    cell = tg.cells.LSTM(INPUT, HIDDEN, rng=0, dtype=np.float64)
    xs = inputs(12).astype(np.float64)
    compiled = tg.gradient_flow(every(run(tg.jit(cell), xs)))
    with tg.eager():
        eager = tg.gradient_flow(every(run(cell, xs)))
    assert_same(eager.decay, compiled.decay, "decay")
    assert_same(eager.matrix([4]), compiled.matrix([4]), "matrix")


@pytest.mark.parametrize("columns", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_of_products_and_sums(dtype: Any, columns: int) -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((5, 2, rows, columns)).astype(dtype) for rows in (6, 4))
    left[1] = 0
    if columns > 1:  # two columns that take each other away, next to the last digit
        left[2], right[2] = 0, 1
        left[2, :, :, 0], left[2, :, :, 1] = 1, -1 + 1e-6
    if columns > 2:
        left[3, 0, 0, 0] = np.nan
    with np.errstate(all="ignore"):
        for turned in (False, True):
            a, b = left, right
            if turned:  # as values of the caller lie
                a, b = (np.ascontiguousarray(s.swapaxes(2, 3)).swapaxes(2, 3) for s in (a, b))
            sides = row_norms.Side(a), row_norms.Side(b)
            product = np.matmul(*(s.astype(np.float64) for s in (a, b.swapaxes(2, 3))))
            expected = np.linalg.norm(product.reshape(5, -1), axis=1)
            np.testing.assert_allclose(row_norms.norms_of_products(*sides), expected, rtol=1e-12)
            sums = a.astype(np.float64).sum(axis=-1).reshape(5, -1)
            np.testing.assert_allclose(
                row_norms.norms_of_sums(sides[0]), np.linalg.norm(sums, axis=1), rtol=1e-12
            )
