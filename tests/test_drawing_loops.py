"""Loops of the user's own: their steps are found, where they are proved to be the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tape import Mark
from tinygrad_rnn.ops.repeats import marks_of

Step = Callable[[int], Any]  # a context in which a step of a loop is computed
XS = np.random.default_rng(0).standard_normal((6, 2, 3)).astype(np.float32)


def parameter(*shape: int) -> tg.Tensor:
    numbers = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    return tg.tensor(0.3 * numbers, requires_grad=True)


def zeros() -> tg.Tensor:
    return tg.tensor(np.zeros((2, 4), np.float32))


def unmarked(t: int) -> Any:
    return contextlib.nullcontext()


def elman(step: Step = unmarked, steps: int = 6) -> tg.Tensor:
    W, U, h = parameter(3, 4), parameter(4, 4), zeros()
    for t in range(steps):
        with step(t):
            h = tg.tanh(XS[t % 6] @ W + h @ U)
    return (h * h).mean()


def from_nothing(step: Step = unmarked) -> tg.Tensor:
    """The first state is an array, and each step has a loss."""
    W, U, V, h, loss = parameter(3, 4), parameter(4, 4), parameter(4, 2), np.zeros((2, 4)), 0.0
    for t in range(5):
        with step(t):
            h = tg.tanh(XS[t] @ W + h @ U)
            y = h @ V
            loss = loss + (y * y).mean()
    return loss


def lstm(step: Step = unmarked, steps: int = 4) -> tg.Tensor:
    W, U, h, c = parameter(3, 16), parameter(4, 16), zeros(), zeros()
    for t in range(steps):
        with step(t):
            i, f, g, o = tg.split(XS[t % 6] @ W + h @ U, 4, axis=-1)
            c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
    return (h * h).mean()


def linear(x: Any, W: Any, h: Any, U: Any) -> Any:
    return x @ W + h @ U


def gru(step: Step = unmarked) -> tg.Tensor:
    """A function computes three sums, and the first state is learned."""
    Ws, Us, h = [parameter(3, 4) for _ in "zrn"], [parameter(4, 4) for _ in "zrn"], parameter(2, 4)
    for t in range(5):
        with step(t):
            z = tg.sigmoid(linear(XS[t], Ws[0], h, Us[0]))
            r = tg.sigmoid(linear(XS[t], Ws[1], h, Us[1]))
            n = tg.tanh(linear(XS[t], Ws[2], r * h, Us[2]))
            h = (1 - z) * n + z * h
    return (h * h).mean()


def two_layers(step: Step = unmarked) -> tg.Tensor:
    """A loop over layers in the loop over time."""
    weights, hs = [(parameter(3, 4), parameter(4, 4)), (parameter(4, 4), parameter(4, 4))], []
    hs = [zeros(), zeros()]
    for t in range(5):
        with step(t):
            x: Any = XS[t]
            for k, (W, U) in enumerate(weights):
                x = hs[k] = tg.tanh(linear(x, W, hs[k], U))
    return (x * x).mean()


def over_rows(step: Step = unmarked) -> tg.Tensor:
    W, U, h = parameter(3, 4), parameter(4, 4), zeros()
    for x in tg.tensor(XS, requires_grad=True):
        h = tg.tanh(x @ W + h @ U)
    return (h * h).mean()


def listed(step: Step = unmarked) -> tg.Tensor:
    """Losses are added up after the loop."""
    W, U, V, h, ys = parameter(3, 4), parameter(4, 4), parameter(4, 2), zeros(), []
    for t in range(5):
        with step(t):
            h = tg.tanh(XS[t] @ W + h @ U)
            ys.append(h)
    return sum(((y @ V) ** 2).mean() for y in ys)  # type: ignore[return-value]


LOOPS = [elman, from_nothing, lstm, gru, two_layers, listed]


def steps_of(loss: tg.Tensor) -> list[int | None]:
    """Return the step of each operation."""
    nodes = tg.tape(loss).nodes
    marks = marks_of(nodes)
    return [marks.get(n, n.origin[2]).step for n in nodes if n.primitive is not None]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
def test_steps_are_found_as_if_they_were_marked(loop: Callable[..., tg.Tensor]) -> None:
    plain, marked = loop(), loop(tg.at_step)
    assert max(s for s in steps_of(marked) if s is not None) >= 3
    assert steps_of(plain) == steps_of(marked)
    drawn, wanted = (
        tg.draw(plain, show="all", detail="op"),
        tg.draw(marked, show="all", detail="op"),
    )
    assert [f.label.split(" · ")[0] for f in drawn._layout.frames] == [
        f.label for f in wanted._layout.frames
    ]
    assert [(b.title, b.x, b.y) for b in drawn._sketch.boxes] == [
        (b.title, b.x, b.y) for b in wanted._sketch.boxes
    ]


def test_what_a_loop_takes_belongs_to_its_step() -> None:
    nodes = [n for n in tg.tape(over_rows()) if n.primitive is not None]
    assert [(n.op, mark.step) for n in nodes if (mark := marks_of(nodes).get(n))] == [
        (op, t) for t in range(6) for op in ("getitem", "matmul", "matmul", "add", "tanh")
    ]


def test_tape_flow_fold_and_explorer_know_the_steps(tmp_path: Path) -> None:
    loss = elman()
    rows = str(tg.tape(loss)).splitlines()
    assert [row.split()[1] for row in rows if "tanh" in row] == list("012345")
    flow = tg.gradient_flow(loss)
    assert sorted(flow.states["h"]) == [*range(6)]
    folded = tg.draw(loss, fold=True)
    assert folded.note == "elman: 6 of 6 steps are the same node by node."
    assert [f.label for f in folded._layout.frames] == ["t = 0 … 5 · elman"]
    page = tg.explore(loss, tmp_path / "loop.html").read_text()
    assert all(f'"step":{t},"cell":"elman"' in page for t in range(6))


def test_hidden_steps_are_counted_and_have_curves() -> None:
    drawing = tg.draw(lstm(steps=1000), heat="grad")
    (gap,) = [b for b in drawing._sketch.boxes if b.run]
    drawn = sum(b.cell for b in drawing._sketch.boxes)
    assert gap.title == f"⋯ {1000 - drawn} identical steps" and drawn < 8
    assert [s.title for s in drawing._sketch.strips] == ["‖∂L/∂h‖", "‖∂L/∂c‖"]
    assert all(s.curves for s in drawing._sketch.strips)


def test_what_a_backward_records_has_the_steps_of_its_loop() -> None:
    drawing = tg.draw(elman(steps=4), backward=True, detail="op")
    wanted = tg.draw(elman(tg.at_step, steps=4), backward=True, detail="op")
    assert [f.label for f in drawing._layout.frames if "∂" in f.label] == ["t = 0 · ∂ elman"]
    assert len(drawing._layout.frames) == len(wanted._layout.frames) == 8
    assert len(drawing._sketch.boxes) == len(wanted._sketch.boxes)


def test_steps_before_those_that_are_the_same_count() -> None:
    W, U, h = parameter(3, 4), parameter(4, 4), None
    for t in range(5):
        z = XS[t] @ W if h is None else XS[t] @ W + h @ U
        h = tg.tanh(z)
    assert steps_of(h) == [None, None, *(t for t in range(1, 5) for _ in range(4))]


def test_loops_of_one_function_are_told_apart() -> None:
    loss = elman() + elman()
    nodes = tg.tape(loss).nodes
    assert {m.cell for m in marks_of(nodes).values()} == {"elman", "elman 2"}
    assert max(marks_of(nodes).values()) == Mark("elman 2", None, 5)


def deep() -> tg.Tensor:
    x = zeros()
    for W in [parameter(4, 4) for _ in range(6)]:
        x = tg.tanh(x @ W)
    return x.mean()


def in_turns() -> tg.Tensor:
    """Two steps in turns: pairs of them are the same, and are no steps."""
    x = zeros()
    Ws = [parameter(4, 4), parameter(4, 4)]
    for t in range(8):
        x = tg.tanh(linear(x, Ws[t % 2], x, Ws[1]))
    return x.mean()


def one_of_three() -> tg.Tensor:
    x = parameter(4)
    for t in range(12):
        x = tg.tanh(x) if t % 3 else x * 0.5
    return x.mean()


def numbers() -> tg.Tensor:
    x = parameter(4)
    for t in range(6):
        x = tg.tanh(x * (t + 0.5))
    return x.mean()


def odd() -> tg.Tensor:
    """One of the steps differs."""
    W, U, h = parameter(3, 4), parameter(4, 4), zeros()
    for t in range(9):
        z = XS[t % 6] @ W + h @ U
        h = tg.tanh(z * 0.5 if t == 4 else z)
    return h.mean()


def apart() -> tg.Tensor:
    """Steps that hand nothing on."""
    W = parameter(3, 4)
    return sum(tg.tanh(XS[t] @ W).mean() for t in range(6))  # type: ignore[return-value]


def twice() -> tg.Tensor:
    return tg.tanh(tg.tanh(parameter(3)))


def jumping() -> tg.Tensor:
    """Each step reads another earlier state, not always the last."""
    hs = [parameter(4), parameter(4)]
    for t in range(8):
        hs.append(tg.tanh(hs[-1] + hs[t // 2]))
    return hs[-1].mean()


@pytest.mark.parametrize(
    "loop",
    [deep, in_turns, one_of_three, numbers, odd, apart, twice, jumping],
    ids=lambda f: f.__name__,
)
def test_what_is_not_proved_stays_as_it_is(loop: Callable[[], tg.Tensor]) -> None:
    assert marks_of(tg.tape(loop()).nodes) == {}


def test_the_tape_is_not_changed() -> None:
    loss = elman()
    before = [n.origin for n in tg.tape(loss)]
    tg.draw(loss, backward=True)
    assert [n.origin for n in tg.tape(loss)] == before
