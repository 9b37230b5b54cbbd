"""Backpropagation through time as it is drawn: names, rules, sums, and where they stand."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.test_drawing import draw
from tests.test_drawing_time import GOOD, faults, flat
from tinygrad_rnn.core.tape import reachable
from tinygrad_rnn.drawing import Drawing, DrawingError
from tinygrad_rnn.drawing.backprop import Backprop
from tinygrad_rnn.drawing.boxes import Box
from tinygrad_rnn.drawing.detail import Detail
from tinygrad_rnn.drawing.graph import Graph
from tinygrad_rnn.drawing.halves import ODD, TONES, half
from tinygrad_rnn.drawing.labels import Labels
from tinygrad_rnn.drawing.rulewords import squared
from tinygrad_rnn.drawing.selection import Request
from tinygrad_rnn.drawing.sketch import sketch_graph
from tinygrad_rnn.recurrent.ledger import reverse, values
from tinygrad_rnn.recurrent.opened import opened

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "gallery"))

LONG = 16.0  # points: a line that crosses an edge is near to it for less
DELTA = "\N{GREEK SMALL LETTER DELTA}"
PRE = "∂L/∂a"  # of what the cell calls a, before its tanh


def sequence(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def last(cell: Any, steps: int) -> tg.Tensor:
    """Return a loss of the last output: the gradient goes back through all steps."""
    ys, _ = tg.unroll(cell, sequence(steps, 2, 3))
    return (ys[-1] ** 2).mean()


def mean(cell: Any, steps: int) -> tg.Tensor:
    """Return a loss of all outputs."""
    ys, _ = tg.unroll(cell, sequence(steps, 2, 3))
    return (ys**2).mean()


def elman(steps: int) -> tg.Tensor:
    return last(tg.cells.Elman(3, 4, bias=False, rng=0), steps)


def padded() -> tg.Tensor:
    ys, _ = tg.nn.LSTM(3, 4, rng=0)(sequence(4, 2, 3), lengths=[4, 3])
    return (ys**2).mean()


def by_hand() -> tg.Tensor:
    """Steps without a cell: nothing says where one ends."""
    W, U = (tg.tensor(sequence(n, 4), requires_grad=True) for n in (3, 4))
    xs, h = sequence(3, 2, 3), tg.tensor(np.zeros((2, 4), np.float32))
    for t in range(3):
        h = tg.tanh(xs[t] @ W + h @ U)
    return (h * h).sum()


def gallery(name: str) -> Callable[[], tg.Tensor]:
    def made() -> tg.Tensor:
        import make

        return getattr(make, name)()

    return made


NETS: dict[str, Callable[[], tg.Tensor]] = {
    **{name: make for name, make in GOOD.items() if name != "long"},
    "last of an Elman": lambda: elman(3),
    "last of an LSTM": lambda: last(tg.cells.LSTM(3, 4, rng=0), 3),
    "one of the middle": lambda: (
        tg.unroll(tg.cells.GRU(3, 4, rng=0), sequence(4, 2, 3))[0][1] ** 2
    ).mean(),
    "long": lambda: last(tg.cells.LSTM(3, 4, rng=0), 30),
    "compiled": lambda: mean(tg.jit(tg.cells.LSTM(3, 4, rng=0)), 3),
    "padded": padded,
    "by hand": by_hand,
    "decoder": gallery("encoder_decoder"),
    "both directions": gallery("bidirectional"),
    "checkpointed": gallery("checkpointed"),
    "window": gallery("truncated"),
    "detached": gallery("detached"),
}


def heads() -> tg.Tensor:
    rows, W_q, W_k = (
        tg.tensor(sequence(*s), requires_grad=True) for s in ((2, 5, 4), (4, 4), (4, 4))
    )
    queries, keys = rows @ W_q, rows @ W_k
    scores = queries @ keys.swapaxes(-1, -2)
    size = tg.exp(0.1 * scores) * tg.tanh(0.1 * scores)
    L = (size * scores).sum()
    return L


RULES = {**NETS, "heads": heads}


def recorded(loss: Any) -> tg.Tensor | None:
    """Return what can be differentiated of an entry of NETS."""
    return loss if isinstance(loss, tg.Tensor) and loss.requires_grad else None


def operations(drawing: Drawing) -> list[Box]:
    """Return the boxes of a drawing that are no ports."""
    return [b for b in drawing._sketch.boxes if not b.port and not b.leaf]


def frame(drawing: Drawing, step: int) -> dict[str, str]:
    """Return what stands in the backward of one step: titles and second lines."""
    return {
        b.title: b.detail for b in operations(drawing) if b.framed and b.backward and b.step == step
    }


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_what_is_called_the_gradient_of_a_value_is_that(name: str) -> None:
    """Walked by itself, the tape gives the same numbers at the same nodes."""
    loss = recorded(NETS[name]())
    assert loss is not None
    tape = opened(tg.tape(loss), measured=True)
    back = Backprop(tape)
    arrived = {v.node: v.gradient for v in reverse(tape, np.ones(tape.root.shape, tape.root.dtype))}
    number = dict(values(reachable(back.roots, every=True)))
    assert len(back.gradient_of) > 3
    for n, forward in back.gradient_of.items():
        for f in forward:
            np.testing.assert_allclose(number[n], arrived[f], rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", NETS)
def test_what_is_drawn_in_place_of_sums_and_stacks_is_their_value(name: str) -> None:
    """A sum is that of what leads to it; a part of a stack is what the arrow to it brings."""
    loss = recorded(NETS[name]())
    assert loss is not None
    back = Backprop(opened(tg.tape(loss), measured=True))
    number = dict(values(reachable(back.roots, every=True)))
    graph = Graph(back)
    for n in graph.nodes:
        if back.is_sum(n):
            total = sum(number[i].astype(np.float64) for i in graph.inputs[n])
            np.testing.assert_allclose(number[n], total, rtol=2e-5, atol=1e-6)
    for n, source in graph.unstacked.items():
        if n in back.made:
            np.testing.assert_array_equal(number[n], number[source])


def test_a_step_of_an_elman_has_a_box_for_each_rule() -> None:
    drawing = draw(elman(3), backward=True, detail="gate")
    weights = {
        "∂L/∂weight_hh +=": f"(h.T @ {DELTA}).T",
        "∂L/∂weight_ih +=": f"(x[1].T @ {DELTA}).T",
    }
    assert frame(drawing, 1) == {
        "∂L/∂h": "t=2",  # the loss is of the last step alone
        PRE: f"{DELTA} - {DELTA} * h * h",
        "∂L/∂h (t=0) +=": f"{DELTA} @ weight_hh",
        **weights,
    }
    assert frame(drawing, 2).keys() == {"∂L/∂h (t=1) +=", PRE, "∂L/∂h", *weights}
    sums = {b.title: b.detail for b in operations(drawing) if b.root}
    assert sums == {
        "mean": "scalar",
        "∂L/∂weight_hh": "sum over t = 2, 1, 0",
        "∂L/∂weight_ih": "sum over t = 2, 1, 0",
    }
    assert f"{DELTA} is the gradient that arrives" in drawing.note


def test_the_gradient_of_a_state_says_from_where_its_parts_come() -> None:
    drawing = draw(mean(tg.cells.LSTM(3, 4, rng=0), 3), backward=True, detail="gate")
    assert frame(drawing, 1)["∂L/∂h"] == "loss + t=2"
    assert frame(drawing, 1)["∂L/∂c"] == "t=2 + tanh(c)"
    assert frame(drawing, 2)["∂L/∂c"] == f"{DELTA} - {DELTA} * tanh(c) * tanh(c)"
    assert frame(drawing, 1)["∂L/∂c (t=0) +="].startswith(f"{DELTA} * ")


def test_the_sum_at_a_weight_has_an_arrow_from_every_step() -> None:
    drawing = draw(elman(4), backward=True, detail="gate")
    for weight in ("weight_hh", "weight_ih"):
        (total,) = [b for b in operations(drawing) if b.title == f"∂L/∂{weight}"]
        parts = [a.tail for a in drawing._sketch.arrows if a.head is total]
        assert sorted(b.step for b in parts if b.step is not None) == [0, 1, 2, 3]
        assert {b.title for b in parts} == {f"∂L/∂{weight} +="}
    long = draw(elman(60), backward=True, detail="gate")
    (total,) = [b for b in operations(long) if b.title == "∂L/∂weight_hh"]
    assert total.detail == "sum over t = 59 … 0"
    assert sum(len(a.places) for a in long._sketch.arrows if a.head is total) == 60


def test_at_the_level_of_cells_a_step_is_called_by_the_gradients_of_its_states() -> None:
    drawing = draw(last(tg.cells.LSTM(3, 4, rng=0), 3), backward=True, detail="cell")
    for t in range(3):
        assert frame(drawing, t) == {"∂L/∂h, ∂L/∂c": f"∂ LSTM · t = {t}"}
    cells = [a for a in drawing._sketch.arrows if a.tail.cell and a.head.cell and a.tail.backward]
    assert {(a.tail.step, a.head.step) for a in cells} == {(1, 0), (2, 1)}


def test_a_short_expression_has_one_box_for_each_rule() -> None:
    a, b = tg.tensor(0.5, requires_grad=True), tg.tensor(0.3, requires_grad=True)
    L = tg.tanh(a * b + a)
    found = {x.title: x.detail for x in operations(tg.draw(L, backward=True))}
    assert found["∂L/∂(a * b + a)"] == f"{DELTA} - {DELTA} * L * L"
    assert found["∂L/∂b"] == f"{DELTA} * a" and found["∂L/∂a +="] == f"{DELTA} * b"
    numbers = {x.title: x.detail for x in operations(tg.draw(L, backward=True, values=True))}
    assert numbers[f"∂L/∂b = {DELTA} * a"] == f"{(1 - np.tanh(0.65) ** 2) * 0.5:.3g}"


@pytest.mark.parametrize("name", ["elman", "layers", "last of an LSTM"])
@pytest.mark.parametrize("detail", ["gate", "op"])
def test_ports_and_inputs_of_a_backward_have_names(name: str, detail: str) -> None:
    drawing = draw(NETS[name](), backward=True, detail=detail, show="all")
    for b in drawing._sketch.boxes:
        if b.port or (b.leaf and b.recorded_by_backward):
            assert b.title != "constant" and "scatter" not in b.title and b.title[0] != "[", b.title


def test_a_transposed_input_is_a_port_of_the_input() -> None:
    drawing = draw(elman(2), backward=True, detail="op")
    by_name = {b.title: b for b in drawing._sketch.boxes if not b.port}
    for name in ("x[0]", "x[1]", "h_0"):
        (port,) = [b for b in drawing._sketch.boxes if b.title == f"{name}.T"]
        assert port.source is by_name[name]


def test_a_long_rule_is_said_with_squares_and_a_long_sum_by_its_number() -> None:
    class Cell(tg.cells.LSTM):
        def forward(self, x: Any, state: Any) -> Any:
            h, c = state
            gates = x @ self.weight_ih.T + h @ self.weight_hh.T
            i, f, g, o = tg.split(gates, 4, axis=-1)
            c_new = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h_new = tg.sigmoid(o) * tg.tanh(c_new)
            return h_new, (h_new, c_new)

    drawing = draw(last(Cell(3, 4, rng=0), 2), backward=True, detail="gate")
    assert frame(drawing, 1)["∂L/∂c_new"] == f"{DELTA} - {DELTA} * tanh(c_new)²"
    assert frame(drawing, 1)["∂L/∂gates"] == "o + g + f + i"


class Array(np.ndarray):
    """An array that knows the words of rules."""

    @property
    def mT(self) -> Any:
        """With the last two axes exchanged."""
        return self.swapaxes(-1, -2)


@pytest.mark.parametrize("name", ["last of an Elman", "last of an LSTM", "gru", "decoder", "heads"])
def test_the_words_of_a_rule_compute_what_its_box_holds(name: str) -> None:
    """With the values of what is called so, and of the gradient that arrives."""
    back = Backprop(opened(tg.tape(RULES[name]()), measured=True))
    number = {n: np.asarray(v) for n, v in values(reachable(back.roots, every=True))}
    graph = Graph(back)
    sketch = sketch_graph(graph, Request(show="all", limit=10**6, detail=Detail.GATE))
    names = Labels(graph, graph.nodes)
    called = {n: names.names.get(n) or names.short.get(n) for n in graph.nodes}
    whole = {f: n for n, forward in back.gradient_of.items() for f in forward}
    checked = 0
    for n, box in sketch.of.items():
        made = back.results.get(n)
        if made is None or made.rule is None or not box.said or "·" in box.said:
            continue
        inner = next((i for i in n.inputs if i in back.results and i not in sketch.of), None)
        rule = back.results[inner] if inner and box.said.endswith(("T", "…)")) else made
        known = {called[i]: number[i] for i in [*rule.by.inputs, rule.by] if called.get(i)}
        if rule.by not in whole:  # the gradient that arrives is a constant
            continue
        known[DELTA] = number[whole[rule.by]]
        text, scope = box.said.replace("²", " ** 2"), {"sum": lambda v: v}
        for k, word in enumerate(sorted(known, key=len, reverse=True)):
            text = re.sub(rf"(?<![\w.]){re.escape(word)}(?![\w(])", f"v{k}", text)
            scope[f"v{k}"] = known[word].view(Array)
        try:
            found = eval(text, {"__builtins__": {}}, scope)
        except NameError:
            continue
        if found.shape != number[n].shape:  # what was spread is summed
            found = found.sum(axis=tuple(range(found.ndim - number[n].ndim)))
            axes = [k for k, size in enumerate(number[n].shape) if size != found.shape[k]]
            found = found.sum(axis=tuple(axes), keepdims=True)
        np.testing.assert_allclose(found, number[n], rtol=2e-4, atol=1e-6, err_msg=box.said)
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("g - g * tanh(c) * tanh(c)", "g - g * tanh(c)²"),
        ("x * x + xx * x", "x² + xx * x"),
        ("a / x * x", "a / x * x"),
        ("a @ x * x", "a @ x * x"),
        ("a ** x * x", "a ** x * x"),
        ("x * x ** 3", "x * x ** 3"),
        ("x * x.T", "x * x.T"),
        ("f(x) * x", "f(x) * x"),
        ("2 * 2", "2 * 2"),
    ],
)
def test_squares_stand_only_where_they_are_the_same(text: str, short: str) -> None:
    assert squared(text) == short


def test_products_of_stacks_say_which_axes_are_exchanged() -> None:
    a, W = tg.tensor(sequence(2, 3, 4), requires_grad=True), tg.tensor(sequence(2, 4, 5))
    W.requires_grad = True
    y = (a @ W).sum()
    found = {b.title: b.detail for b in operations(tg.draw(y, backward=True))}
    assert found["∂L/∂a"] == f"{DELTA} @ W.mT" and found["∂L/∂W"] == f"a.mT @ {DELTA}"


def test_a_port_says_of_which_other_step_its_value_is() -> None:
    drawing = draw(elman(3), backward=True, detail="gate")
    read = [
        (a.tail.title, a.head.title)
        for a in drawing._sketch.arrows
        if a.tail.port and a.head.step == 2 and a.tail.title.startswith("h")
    ]
    assert sorted(read) == [("h", PRE), ("h (t=1)", "∂L/∂weight_hh +=")]


# --- value and gradient in a box ------------------------------------------------------------------


def neuron() -> tuple[tg.Tensor, list[tg.Tensor]]:
    """Return the output of a neuron of numbers, and its inputs."""
    named = {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}
    found = [tg.tensor(v, requires_grad=True, name=name) for name, v in named.items()]
    x1, x2, w1, w2, b = found
    return tg.tanh(x1 * w1 + x2 * w2 + b), found


def test_each_box_has_its_number_and_its_gradient() -> None:
    o, inputs = neuron()
    drawing = tg.draw(o, values="gradient")
    found = {b.title: b.detail for b in drawing._sketch.boxes}
    assert found["x1"] == "2 | -1.5" and found["w1"] == "-3 | 1" and found["b"] == "6.88 | 0.5"
    assert found["x2"] == "0 | 0.5" and found["w2"] == "1 | 0"
    assert [d for t, d in found.items() if "tanh" in t] == ["0.707 | 1"]
    assert all(t.grad is None for t in inputs)
    assert faults(drawing) == [] and "gradient of the result" in drawing.note


def test_an_array_has_its_norm_and_a_map_and_a_constant_has_no_gradient() -> None:
    cell = tg.cells.Elman(3, 4, rng=0)
    drawing = draw(last(cell, 2), values="gradient")
    found = {b.title: b for b in drawing._sketch.boxes if b.leaf}
    last(cell, 2).backward()
    for name, p in (("weight_ih", cell.weight_ih), ("weight_hh", cell.weight_hh)):
        value, gradient = found[name].halves
        assert value.text == f"‖{np.linalg.norm(p.numpy()):.3g}‖"
        assert gradient.text == f"‖{np.linalg.norm(p.grad.numpy()):.3g}‖"
        assert (len(value.tiles), len(value.tiles[0])) == p.shape
    assert [h.text for h in found["x[0]"].halves][1] == "\N{EN DASH}"
    svg = drawing.svg()
    assert svg.count('class="tiles"') == sum(
        bool(h.tiles) for b in drawing._sketch.boxes for h in b.halves
    )
    assert "bgcolor" in drawing.dot


def test_a_map_has_a_colour_for_each_sign_and_marks_what_is_no_number() -> None:
    low, zero, high = TONES
    found = half(np.array([[2.0, -2.0, 0.0], [np.nan, np.inf, 1.0]]))
    assert found.tiles[0] == (high, low, zero)
    assert found.tiles[1][:2] == (ODD, ODD) and found.tiles[1][2] not in TONES
    assert found.text == "‖nan‖"
    assert half(np.zeros((2, 2))).tiles == ((zero, zero),) * 2
    assert half(np.ones((7, 2))).tiles == half(np.ones((2, 13))).tiles == ()
    assert half(np.ones((0, 3))).text == "‖0‖"
    assert half(np.array([np.nan])).text == "nan"


@pytest.mark.parametrize("direction", ["LR", "TB"])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ["lstm", "elman", "stacked", "decoder", "padded"])
def test_nothing_overlaps_with_values_and_gradients(
    name: str, backward: bool, direction: str
) -> None:
    drawing = draw(NETS[name](), values="gradient", backward=backward, direction=direction)
    assert faults(drawing) == []


def test_another_word_for_values_is_refused() -> None:
    with pytest.raises(DrawingError, match="values is True, 'numbers' or 'gradient'; found 'grad'"):
        tg.draw(neuron()[0], values="grad")


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detail", "direction"),
    [
        *[(detail, "LR") for detail in ("cell", "gate", "op")],
        ("op", "TB"),
        *[pytest.param(detail, "TB", marks=pytest.mark.full) for detail in ("cell", "gate")],
    ],
)
@pytest.mark.parametrize("name", NETS)
def test_nothing_overlaps_in_a_backward(name: str, detail: str, direction: str) -> None:
    loss = recorded(NETS[name]())
    drawing = draw(loss, backward=True, detail=detail, direction=direction)
    assert faults(drawing) == [] and beside_frames(drawing) == []


@pytest.mark.parametrize("name", ["elman", "lstm", "last of an Elman"])
def test_a_folded_backward_says_of_which_step_things_are(name: str) -> None:
    drawing = draw(NETS[name](), backward=True, detail="gate", fold=True)
    assert faults(drawing) == []


def test_a_folded_step_of_a_backward_counts_from_itself() -> None:
    drawing = draw(elman(8), backward=True, detail="gate", fold=True)
    folded = {b.title: b.detail for b in operations(drawing) if b.backward and len(b.hides) > 1}
    assert folded["∂L/∂h"] == "t+1" and "∂L/∂h (t-1) +=" in folded
    assert folded["∂L/∂weight_ih +="] == f"(x[t].T @ {DELTA}).T"


@pytest.mark.parametrize("backward", [False, True])
def test_states_that_leave_side_by_side_keep_clear_of_the_frame(backward: bool) -> None:
    w = tg.tensor(sequence(4), requires_grad=True, name="w")

    def cell(x: Any, state: Any) -> Any:
        a, b, c = state
        a, b, c = tg.tanh(x + a * w), tg.sigmoid(x + b * w), tg.exp(x + c * w)
        return a, (a, b, c)

    zero = tg.tensor(np.zeros((2, 4), np.float32))
    _, (a, b, c) = tg.unroll(cell, sequence(3, 2, 4), (zero, zero, zero))
    drawing = draw((a + b + c).sum(), backward=backward)
    assert faults(drawing) == [] and beside_frames(drawing) == []


def beside_frames(drawing: Drawing) -> list[str]:
    """Return the lines that run along the edge of a frame, so that they look like a part of it."""
    found = []
    for arrow, path in drawing._layout.paths:
        points = flat(path)
        for f in drawing._layout.frames:
            if arrow not in drawing._layout.states and {arrow.tail, arrow.head} & {*f.boxes}:
                continue  # it crosses the edge of its own frame
            for k, edges in ((0, (f.left, f.right)), (1, (f.top, f.bottom))):
                begin, end = (f.top, f.bottom) if k == 0 else (f.left, f.right)
                for edge in edges:
                    near = np.abs(points[:, k] - edge) < 3
                    here = np.clip(points[:, 1 - k], begin, end)
                    if np.abs(np.diff(here))[near[1:] & near[:-1]].sum() > LONG:
                        found.append(f"{arrow.tail.title} to {arrow.head.title} along {f.label}")
    return found
