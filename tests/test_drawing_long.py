"""Pictures of long sequences: the middle of equal steps is left out early, and the picture is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import test_drawing_loops as loops
from tinygrad_rnn.drawing import picture
from tinygrad_rnn.drawing.graph import Graph


def sequence(steps: int) -> np.ndarray:
    return np.random.default_rng(steps).standard_normal((steps, 2, 3)).astype(np.float32)


def last(net: Any, steps: int = 60) -> tg.Tensor:
    with tg.eager():
        ys = (
            net(sequence(steps))[0]
            if isinstance(net, tg.Module) and not isinstance(net, tg.Cell)
            else tg.unroll(net, sequence(steps))[0]
        )
    return (ys[-1] ** 2).mean()


def every(net: Any, steps: int = 60) -> tg.Tensor:
    with tg.eager():
        ys = (
            net(sequence(steps))[0]
            if not isinstance(net, tg.Cell)
            else tg.unroll(net, sequence(steps))[0]
        )
    return (ys**2).mean()


def by_hand(steps: int = 60) -> tg.Tensor:
    cells: list[Any] = [tg.cells.GRU(3, 4, rng=0), tg.cells.Elman(4, 4, rng=1)]
    states: list[Any] = [c.initial_state(2) for c in cells]
    for x in sequence(steps):
        for k, cell in enumerate(cells):
            x, states[k] = cell(x, states[k])
    return (x * x).mean()


def as_tensor() -> tg.Tensor:
    ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), tg.tensor(sequence(60), requires_grad=True))
    return (ys**2).mean()


def losses() -> tg.Tensor:
    """Each step has a loss outside of the cell."""
    ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), sequence(60))
    return sum((y * y).mean() for y in ys)  # type: ignore[return-value]


def uneven() -> tg.Tensor:
    """Two steps differ from the others: a number, and a state that is cut."""
    W, h = loops.parameter(4, 4), loops.zeros()
    for t in range(90):
        with tg.at_step(t, cell="uneven"):
            h = h.detach() if t == 60 else h
            h = tg.tanh(h @ W) * (0.5 if t == 30 else 0.9)
    return h.mean()


def read_once() -> tg.Tensor:
    """All steps read what the first one has computed, and a later loss reads a step in the middle."""
    W, h, first, middle = loops.parameter(4, 4), loops.zeros(), None, None
    for t in range(60):
        with tg.at_step(t, cell="once"):
            h = tg.tanh(h @ W if first is None else h @ W + first)
            first = h if first is None else first
            middle = h if t == 25 else middle
    return h.mean() + middle.sum()


def changing() -> tg.Tensor:
    """A number changes in the middle."""
    W, h = loops.parameter(4, 4), loops.zeros()
    for t in range(80):
        with tg.at_step(t, cell="changing"):
            h = tg.tanh(h @ W) * (0.5 if t < 40 else 0.9)
    return h.mean()


def changing_array() -> tg.Tensor:
    """A number changes that is an array without axes."""
    W, h = loops.parameter(4, 4), loops.zeros()
    for t in range(80):
        with tg.at_step(t, cell="changing"):
            h = tg.tanh(h @ W) * tg.tensor(0.5 if t < 40 else 0.9)
    return h.mean()


def late() -> tg.Tensor:
    """The last steps have losses outside of the cell."""
    ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), sequence(60))
    return (ys[-1] ** 2).mean() + (ys[-2] ** 2).mean() + (ys[-5] ** 2).mean()


GRAPHS: list[Callable[[], tg.Tensor]] = [
    lambda: last(tg.cells.LSTM(3, 4, rng=0)),
    lambda: every(tg.cells.GRU(3, 4, rng=0)),
    lambda: every(tg.nn.LSTM(3, 4, num_layers=2, rng=0)),
    lambda: every(tg.nn.GRU(3, 4, bidirectional=True, rng=0)),
    lambda: last(tg.nn.GRU(3, 4, num_layers=2, bidirectional=True, rng=0)),
    by_hand,
    as_tensor,
    losses,
    uneven,
    read_once,
    changing,
    changing_array,
    late,
    lambda: loops.lstm(steps=60),
    lambda: loops.elman(steps=60),
]
NAMES = "lstm gru stacked bidirectional both by_hand as_tensor losses uneven once changing array late loop elman"


@pytest.mark.parametrize("make", GRAPHS, ids=NAMES.split())
@pytest.mark.parametrize(
    "how",
    [
        pytest.param({}, id="plain"),
        pytest.param({"heat": "grad"}, id="heat"),
        pytest.param({"memory": True}, id="memory"),
        pytest.param({"fold": True}, id="fold", marks=pytest.mark.full),
        pytest.param({"ledger": True}, id="ledger", marks=pytest.mark.full),
        pytest.param({"steps": 12}, id="steps", marks=pytest.mark.full),
    ],
)
def test_a_picture_is_the_same_as_that_of_the_whole_tape(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], tg.Tensor], how: Any
) -> None:
    loss = make()
    short = tg.draw(loss, **how)
    monkeypatch.setattr(picture, "Graph", lambda x, given, ends: Graph(x, given))
    assert short.svg() == tg.draw(loss, **how).svg()


@pytest.mark.parametrize(
    ("make", "whole"), [(GRAPHS[0], False), (GRAPHS[2], False), (by_hand, False), (losses, True)]
)
def test_equal_steps_are_left_out_where_nothing_reads_them(
    make: Callable[[], tg.Tensor], whole: bool
) -> None:
    graph = Graph(tg.tape(make()), (), 8)
    assert bool(graph.hidden) is not whole
    assert whole or len(graph.nodes) < 0.7 * len(graph.whole)


def test_the_work_for_a_long_sequence_is_in_one_walk() -> None:
    sizes = [
        len(Graph(tg.tape(last(tg.cells.LSTM(3, 4, rng=0), n)), (), 8).nodes) for n in (60, 240)
    ]
    assert sizes[0] == sizes[1]


def test_results_in_the_middle_are_kept() -> None:
    nodes = [n for n in tg.tape(loops.lstm(steps=60)) if n.primitive is not None]
    middle = nodes[len(nodes) // 2]
    assert Graph([nodes[-1]], (), 8).hidden
    graph = Graph([middle, nodes[-1]], (), 8)
    assert not graph.hidden and middle in graph.nodes
