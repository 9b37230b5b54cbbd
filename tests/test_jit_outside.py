"""Compiled cells that take something from outside the step.

Random masks, statistics of each step, tensors that the cell holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tree import leaves

from .interpreted import interpreting

nn, cells = tg.nn, tg.cells
T, BATCH = 5, 3
WRAPPERS: dict[str, Callable[[], Any]] = {
    "zoneout": lambda: nn.Zoneout(cells.LSTM(2, 3, rng=0, dtype=np.float64), 0.4, rng=1),
    "zoneout-of-each": lambda: nn.Zoneout(cells.LSTM(2, 3, rng=0, dtype=np.float64), (0.3, 0.6), rng=1),
    "variational": lambda: nn.VariationalDropout(cells.GRU(2, 3, rng=0, dtype=np.float64), input=0.3, state=0.4, output=0.5, rng=2),
    "weight-drop": lambda: nn.WeightDrop(cells.LSTM(2, 3, rng=0, dtype=np.float64), 0.5, ("weight_hh", "weight_ih"), rng=3),
    "stacked": lambda: nn.Stacked([cells.LSTM(2, 3, rng=0, dtype=np.float64), cells.GRU(3, 4, rng=1, dtype=np.float64)], dropout=0.5, rng=4),
    "nested": lambda: nn.Zoneout(nn.VariationalDropout(nn.WeightDrop(cells.Elman(2, 3, rng=0, dtype=np.float64), 0.5, rng=5), state=0.4, rng=5), 0.3, rng=5),
    "dropout": lambda: Dropped(),
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reverse": {"reverse": True},
    "lengths": {"lengths": np.array([2, 5, 3])},
    "lengths-reverse": {"lengths": np.array([2, 5, 3]), "reverse": True},
    "resets": {"resets": np.arange(T * BATCH).reshape(T, BATCH) % 4 == 1},
    "checkpoint": {"checkpoint": 2},
    "states": {"return_states": True},
}


class Dropped(tg.Cell):
    """A cell with dropout whose masks come from a generator that is moved on."""

    hidden_size = 2

    def __init__(self) -> None:
        self.W = tg.Parameter(np.random.default_rng(3).normal(size=(2, 2)))
        self.rng = np.random.default_rng(4)

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(nn.functional.dropout(x @ self.W.T + h, 0.4, rng=self.rng))
        return nn.functional.dropout(h, 0.5, rng=self.rng), h


@pytest.fixture(autouse=True, params=["python", pytest.param("compiled", marks=pytest.mark.full)])
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    with interpreting() if request.param == "python" else contextlib.nullcontext():
        yield


def results(
    make: Callable[[], Any], compiled: bool, sequences: int = 2, **how: Any
) -> list[np.ndarray]:
    """Outputs, states and gradients of several sequences of one cell."""
    cell = make()
    run = tg.jit(cell) if compiled else cell
    found = []
    for k in range(sequences):
        x = tg.tensor(np.random.default_rng(k).normal(size=(T, BATCH, 2)), requires_grad=True)
        cell.zero_grad()
        ys, state = tg.unroll(run, x, **how)
        sum(
            ((y * np.cos(np.arange(y.size)).reshape(y.shape)).sum() for y in [ys, *leaves(state)]),
            tg.tensor(0.0, np.float64),
        ).backward()
        found += [
            ys.numpy(),
            *(s.numpy() for s in leaves(state)),
            x.grad.numpy(),
            *(p.grad.numpy() for p in cell.parameters()),
        ]
    return found


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(
            a, b, rtol=1e-10, atol=1e-12, err_msg=f"value {k} of {len(expected)}"
        )


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_masks_are_those_of_the_plain_steps(wrapper: str, how: str) -> None:
    make, options = WRAPPERS[wrapper], WAYS[how]
    same(results(make, True, **options), results(make, False, **options))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_windows_that_overlap_have_the_same_masks(wrapper: str) -> None:
    if wrapper == "dropout":
        pytest.skip("draws anew in each window")
    found: list[list[np.ndarray]] = []
    for compiled in (False, True):
        cell = WRAPPERS[wrapper]()
        found.append([])
        xs = np.random.default_rng(0).normal(size=(9, BATCH, 2))
        for window in tg.tbptt(tg.jit(cell) if compiled else cell, xs, 2, 5):
            cell.zero_grad()
            window.backward((window.ys * window.ys).sum())
            found[-1] += [window.ys.numpy(), *(p.grad.numpy() for p in cell.parameters())]
    same(found[1], found[0])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_gradients_of_gradients(wrapper: str) -> None:
    found = []
    for compiled in (False, True):
        cell = WRAPPERS[wrapper]()
        run = tg.jit(cell) if compiled else cell
        x = tg.tensor(np.random.default_rng(0).normal(size=(T, BATCH, 2)), requires_grad=True)
        ys, _ = tg.unroll(run, x, reverse=True)
        (ys * ys).sum().backward(create_graph=True)
        first = x.grad
        x.grad = None
        cell.zero_grad()
        (first * first).sum().backward()
        found.append([first.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in cell.parameters())])
    same(found[1], found[0])


def test_masks_differ_between_sequences_and_steps() -> None:
    cell = nn.Zoneout(cells.Elman(2, 3, rng=0), 0.5, rng=1)
    fast = tg.jit(cell)
    xs = np.ones((T, BATCH, 2), np.float32)
    one, two = (tg.unroll(fast, xs)[0].numpy() for _ in range(2))
    assert not np.array_equal(one, two)
    assert cell.masks._count == 2


def batch_norm() -> Any:
    return nn.RecurrentBatchNorm(cells.LSTM(2, 3, rng=0, dtype=np.float64), 3, gain=0.7)


@pytest.mark.parametrize("how", ["plain", "reverse", "lengths", "checkpoint", "states"])
def test_statistics_of_each_step(how: str) -> None:
    options = WAYS[how]
    same(results(batch_norm, True, **options), results(batch_norm, False, **options))
    states: list[list[np.ndarray]] = []
    for compiled in (False, True):
        cell = batch_norm()
        for k in range(2):
            ys, _ = tg.unroll(
                tg.jit(cell) if compiled else cell,
                tg.tensor(np.random.default_rng(k).normal(size=(T, BATCH, 2)), requires_grad=True),
                **options,
            )
            ys.sum().backward()
        cell.eval()
        ys, _ = tg.unroll(
            tg.jit(cell) if compiled else cell,
            np.random.default_rng(5).normal(size=(T, BATCH, 2)),
            **options,
        )
        states.append([ys.numpy(), *(b.numpy() for _, b in cell.named_buffers())])
    same(states[1], states[0])
    with pytest.raises(tg.ShapeError, match="at least 2 values"):
        tg.unroll(tg.jit(batch_norm()), np.ones((T, 1, 2)))


def test_a_mask_in_a_sequence_inside_a_step_is_refused() -> None:
    inner = nn.Zoneout(cells.Elman(2, 2, rng=0), 0.5, rng=1)

    def step(x: Any, h: Any) -> Any:
        ys, _ = tg.unroll(inner, tg.stack([x, x]), h)
        return ys[-1], ys[-1]

    with pytest.raises(
        tg.TraceError, match="a random mask cannot be recorded, in a sequence inside a step"
    ):
        tg.unroll(
            tg.jit(step), np.ones((T, BATCH, 2), np.float32), np.zeros((BATCH, 2), np.float32)
        )


def attended(
    compiled: bool, how: dict[str, Any], batch: int = BATCH, order: int = 1
) -> list[np.ndarray]:
    """A decoder that attends to what an encoder made.

    The gradients reach the encoder through what the cell holds.
    """
    rng = np.random.default_rng(1)
    encoder = cells.GRU(2, 3, rng=0, dtype=np.float64)
    decoder = nn.AttentionCell(
        cells.LSTM(2 + 4, 4, rng=1, dtype=np.float64),
        nn.BahdanauAttention(4, 3, 5, rng=2, dtype=np.float64),
        rng=3,
    )
    source, target = (tg.tensor(rng.normal(size=(n, batch, 2)), requires_grad=True) for n in (6, T))
    memory, _ = tg.unroll(encoder, source)
    bound = decoder.attending(memory.swapaxes(0, 1), rng.integers(1, 7, batch))
    ys, state = tg.unroll(tg.jit(bound) if compiled else bound, target, **how)
    loss = (ys * ys).sum() + (state.weights * state.weights).sum()
    given = [source, target, *encoder.parameters(), *decoder.parameters()]
    if order == 2:
        loss.backward(create_graph=True)
        loss = sum(((t.grad * t.grad).sum() for t in (source, target)), tg.tensor(0.0, np.float64))
        for t in given:
            t.grad = None
    loss.backward()
    return [ys.numpy(), state.weights.numpy(), *(t.grad.numpy() for t in given)]


@pytest.mark.parametrize("batch", [1, 3, 11])
@pytest.mark.parametrize("how", ["plain", "reverse", "lengths", "checkpoint"])
def test_attention_to_a_memory_that_the_cell_holds(how: str, batch: int) -> None:
    if how == "lengths" and batch != BATCH:
        pytest.skip("lengths are of three rows")
    same(attended(True, WAYS[how], batch), attended(False, WAYS[how], batch))


def test_gradients_of_gradients_through_a_memory() -> None:
    same(attended(True, {}, order=2), attended(False, {}, order=2))


def test_a_captured_tensor_is_not_recorded_anew_when_it_is_another_one() -> None:
    held = {"keys": tg.tensor(np.ones((BATCH, 2)))}

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(h + x * held["keys"])
        return h, h

    fast = tg.jit(step)
    for k in range(3):
        held["keys"] = tg.tensor(
            np.random.default_rng(k).normal(size=(BATCH, 2)), requires_grad=True
        )
        xs = np.random.default_rng(k).normal(size=(T, BATCH, 2))
        found = []
        for run in (step, fast):
            held["keys"].grad = None
            ys, _ = tg.unroll(run, xs, np.zeros((BATCH, 2)))
            ys.sum().backward()
            found.append([ys.numpy(), held["keys"].grad.numpy()])
        same(found[1], found[0])
    assert len(fast._code.runners) == 1
