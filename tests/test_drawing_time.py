"""Pictures of time: steps that are left out, folded and proved alike, coloured, measured and cut.

And that the pictures are good.
"""

from __future__ import annotations

import inspect
import itertools
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.test_drawing import (
    GRAPHS,
    Source,
    against_time,
    both_ways,
    constant,
    draw,
    elman,
    flat,
    lstm,
    meets,
    parameter,
    stacked,
    two_layers,
)
from tinygrad_rnn import cli
from tinygrad_rnn.drawing import Drawing, DrawingError
from tinygrad_rnn.drawing.fold import Kinds
from tinygrad_rnn.drawing.graph import Graph
from tinygrad_rnn.drawing.key import SWATCH
from tinygrad_rnn.drawing.measures import Gradients
from tinygrad_rnn.drawing.scale import Scale
from tinygrad_rnn.drawing.selection import shown_steps
from tinygrad_rnn.drawing.sketch import sketch
from tinygrad_rnn.recurrent.moments import Lane

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"
sys.path.append(str(ROOT / "docs" / "gallery"))


def sequence(steps: int, features: int = 3) -> np.ndarray:
    return np.random.default_rng(steps).normal(size=(steps, 2, features)).astype(np.float32)


def titles(drawing: Drawing) -> Counter[str]:
    return Counter(b.title for b in drawing._sketch.boxes)


def frames(drawing: Drawing) -> list[str]:
    return [f.label for f in drawing._layout.frames]


# --- which steps are drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        ("all", range(10)),
        ("t=0:3", [0, 1, 2]),
        (["t=0:2", "t=-2:"], [0, 1, 8, 9]),
        ("t=-1", [9]),
        ("3", [3]),
        (["t=4", "t=99"], [4]),
        ("t=7:", [7, 8, 9]),
    ],
)
def test_show_names_steps_as_slices(show: Any, expected: Any) -> None:
    assert shown_steps(show, range(10)) == set(expected)


def test_shown_steps_are_drawn_and_each_run_of_others_has_its_own_gap() -> None:
    drawing = draw(elman(20), show=["t=0:2", "t=10", "t=-1:"])
    assert frames(drawing) == ["t = 0 · elman", "t = 1", "t = 10", "t = 19"]
    gaps = [b for b in drawing._sketch.boxes if b.run]
    assert [(b.title, b.detail) for b in gaps] == [
        ("⋯ 8 identical steps", "t = 2 … 9"),
        ("⋯ 8 identical steps", "t = 11 … 18"),
    ]
    source = Source(drawing.dot)
    for gap in gaps:
        into = [source.titles[a] for a, b in source.edges if b == gap.name]
        out = [source.titles[b] for a, b in source.edges if a == gap.name]
        assert (into, out) == (["h = tanh"], ["matmul"])
    assert gaps[0].reads == ("W_ih", "W_hh", "b")


def test_everything_is_drawn_when_asked_for_and_three_first_and_two_last_by_default() -> None:
    assert len(frames(draw(elman(30), show="all"))) == 30
    assert frames(draw(elman(30))) == ["t = 0 · elman", "t = 1", "t = 2", "t = 28", "t = 29"]
    assert len(frames(draw(elman(8)))) == 8


def uneven(steps: int, odd: int, how: str) -> tg.Tensor:
    """Steps that are alike but for one."""
    w, v, h = parameter("W", 4, 4), parameter("V", 4, 4), constant("h0", 2, 4)
    for t in range(steps):
        with tg.at_step(t, cell="uneven"):
            x = constant(f"x{t}", 2, 4)
            here = how if t == odd else ""
            z = h @ (v if here == "weight" else w)
            z = z * (0.8 if here == "number" else 0.9)
            if here == "cut":
                z = h.detach() @ w * 0.9
            if here == "roll":
                z = tg.roll(z, 1, axis=-1)
            else:
                z = tg.roll(z, 2, axis=-1)
            if here == "extra":
                z = z + x
            h = tg.tanh(z if here == "input" else z + x)
    return h.sum()


@pytest.mark.parametrize("how", ["", "weight", "number", "cut", "roll", "extra", "input"])
def test_steps_are_alike_only_if_every_node_is(how: str) -> None:
    graph = Graph(tg.tape(uneven(9, 4, how)))
    kinds = Kinds(graph)
    (lane,) = kinds.steps
    alike = len(set(kinds.kind[lane].values())) == 1
    if how == "cut":  # before it, nothing is on the tape
        assert sorted(kinds.kind[lane]) == [4, 5, 6, 7, 8]
        return
    assert alike == (how == "")
    assert kinds.runs(lane) == (
        [list(range(9))] if how == "" else [[0, 1, 2, 3], [4], [5, 6, 7, 8]]
    )
    gap = next(b for b in draw(uneven(9, 4, how), show=["t=0", "t=8"])._sketch.boxes if b.run)
    assert gap.title == ("⋯ 7 identical steps" if how == "" else "⋯ 7 steps")


# --- folded -------------------------------------------------------------------------------------------------------------------


def test_an_lstm_is_folded_into_one_step_with_a_delay_for_each_state() -> None:
    drawing = draw((tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(50))[0] ** 2).mean(), fold=True)
    assert frames(drawing) == ["t = 0 … 49 · LSTM"]
    assert drawing.note == "LSTM: 50 of 50 steps are the same node by node."
    boxes = drawing._sketch.boxes
    delays = {b.detail: b for b in boxes if b.family == "delay"}
    assert set(delays) == {"h", "c"}
    arrows = [(a.tail, a.head) for a in drawing._sketch.arrows]
    for name, delay in delays.items():
        (before,) = [t for t, h in arrows if h is delay]
        (after,) = [h for t, h in arrows if t is delay]
        (initial,) = [b for b in boxes if b.title == f"{name}_0"]
        assert before.title.startswith(f"{name} = ")
        assert [h for t, h in arrows if t is initial] == [after]
    assert titles(drawing)["x[t]"] == titles(drawing)["tanh(g)"] == titles(drawing)["tanh(c)"] == 1
    assert [b.title for b in boxes if b.role == "shared"] == [
        "weight_ih",
        "weight_hh",
        "bias_hh",
        "bias_ih",
    ]


@pytest.mark.parametrize("direction", ["LR", "TB"])
def test_a_loss_that_is_added_up_outside_of_the_steps_is_folded_too(direction: str) -> None:
    drawing = draw(two_layers(4), fold=True, direction=direction)
    assert faults(drawing) == []
    arrows = [(a.tail.title, a.head.title) for a in drawing._sketch.arrows]
    assert ("total = +", "z⁻¹") in arrows and ("z⁻¹", "total = +") in arrows


@pytest.mark.parametrize("how", ["weight", "number", "roll", "extra"])
def test_a_step_that_differs_is_drawn_and_named(how: str) -> None:
    drawing = draw(uneven(9, 4, how), fold=True)
    assert frames(drawing) == ["t = 0 … 3 · uneven", "t = 4", "t = 5 … 8"]
    assert re.search(r"8 of 9 steps are the same node by node\. t = 4: \w+", drawing.note)


def test_a_cut_state_is_found_by_folding_and_marked() -> None:
    from make import detached

    drawing = draw(detached(), fold=True)
    assert frames(drawing) == ["t = 0 … 1 · Elman", "t = 2", "t = 3 … 4"]
    assert "t = 2: matmul begins anew from a constant: the state was cut" in drawing.note
    (cut,) = [b for b in drawing._sketch.boxes if b.cut]
    assert cut.detail == "detached" and 'class="edge cut"' in drawing.svg()


def zoo() -> list[str]:
    import make

    return list(make.zoo())


@pytest.mark.parametrize("name", zoo())
def test_every_cell_is_folded_into_one_step(name: str) -> None:
    import make

    drawing = make.zoo()[name]()
    assert faults(drawing) == []
    assert len(frames(drawing)) == 1
    assert re.fullmatch(r"\w+: 4 of 4 steps are the same node by node\.", drawing.note)
    assert any(b.family == "delay" for b in drawing._sketch.boxes)


def test_a_compiled_cell_shows_the_step_inside() -> None:
    cell = tg.cells.LSTM(3, 4, rng=0)
    plain = titles(draw(cell))
    assert titles(draw(tg.jit(cell))) == plain
    one = draw((tg.unroll(cell, sequence(6))[0] ** 2).mean())
    other = draw((tg.unroll(tg.jit(cell), sequence(6))[0] ** 2).mean())
    assert frames(one) == frames(other)
    # the whole sequence, of which steps take parts
    assert set(titles(other) - titles(one)) <= {"constant"}
    assert not titles(one) - titles(other)


# --- figures ------------------------------------------------------------------------------------------------------------------


def measured(loss: tg.Tensor) -> Any:
    tape = tg.tape(loss)
    graph = Graph(tape)
    return Gradients(tape, graph, Kinds(graph))


def test_heat_is_the_norm_of_the_gradient_of_every_state() -> None:
    rng = np.random.default_rng(3)
    cell, states = tg.cells.LSTM(3, 4, rng=1), []

    def keep(t: int, y: Any, state: Any) -> None:
        for s in state:
            s.retain_grad()
        states.append(state)

    ys, _ = tg.unroll(cell, rng.normal(size=(7, 2, 3)).astype(np.float32), hook=keep)
    loss = (ys[-1] * rng.normal(size=(2, 4)).astype(np.float32)).sum() + (ys[3] ** 2).sum()
    norms = measured(loss).norms
    loss.backward()
    found = sorted(tuple(steps[t] for t in range(7)) for steps in norms.values())
    expected = sorted(
        tuple(float(np.linalg.norm(state[k].grad.numpy())) for state in states) for k in (0, 1)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_ledger_is_what_each_step_adds_to_the_gradient_of_each_weight() -> None:
    rng = np.random.default_rng(4)
    xs, values = rng.normal(size=(5, 2, 3)), [rng.normal(size=s) for s in ((3, 4), (4, 4), (4,))]

    def run(weights: Callable[[int], list[Any]]) -> tg.Tensor:
        h = tg.tensor(np.zeros((2, 4)))
        for t in range(5):
            w, u, b = weights(t)
            with tg.at_step(t, cell="elman"):
                h = tg.tanh(tg.tensor(xs[t]) @ w + h @ u @ u + b)  # one weight twice in a step
        return (h**2).sum()

    shared = [tg.tensor(v, requires_grad=True, name=n) for v, n in zip(values, "wub", strict=True)]
    # a copy for each step
    apart = [[tg.tensor(v, requires_grad=True) for v in values] for _ in range(5)]
    shares = measured(run(lambda t: shared)).shares
    run(lambda t: apart[t]).backward()
    by_name = {leaf.name: steps for leaf, steps in shares.items()}
    for k, name in enumerate("wub"):
        for t in range(5):
            assert by_name[name].get(t, 0.0) == pytest.approx(
                float(np.linalg.norm(apart[t][k].grad.numpy())), rel=1e-9, abs=1e-15
            )
    drawing = draw(run(lambda t: shared), ledger=True)
    bars = {b.title: b.bars for b in drawing._sketch.boxes if b.bars}
    assert set(bars) == {"w", "u", "b"}
    np.testing.assert_allclose(bars["b"], [by_name["b"][t] for t in range(5)])


def test_measuring_leaves_the_graph_as_it_was() -> None:
    cell, calls = tg.cells.Elman(3, 4, rng=0), []
    weight, loss = cell.weight_hh, tg.unroll(cell, sequence(4))[0].sum()
    weight.register_hook(calls.append)
    draw(loss, heat="grad", ledger=True, memory=True, values=True, backward=True)
    assert weight.grad is None and calls == []
    loss.backward()
    assert weight.grad is not None and len(calls) == 1


@pytest.mark.parametrize("what", [{"heat": "grad"}, {"ledger": True}, {"backward": True}])
def test_after_a_backward_what_needs_the_saved_values_says_so(what: Any) -> None:
    loss = elman(3)
    loss.backward()
    with pytest.raises(
        DrawingError, match=r"released them\. Draw before the backward, or keep the graph"
    ):
        draw(loss, **what)
    assert (
        "so far" in {s.title for s in draw(loss, memory=True)._sketch.strips}
        or "released by a backward" in draw(loss, memory=True).note
    )


def test_marks_for_what_has_no_place_on_a_scale() -> None:
    given = {0: 1e-9, 1: 0.0, 2: float("nan"), 3: float("inf"), 5: 1.0}
    drawing = draw(elman(6), heat=given)
    (strip,) = drawing._sketch.strips
    cells = {step: cell for (_, step), cell in strip.cells.items()}
    assert [cells[t][1] for t in range(6)] == ["1e-09", "0", "NaN", "∞", "none", "1"]
    assert len({cells[t][0] for t in range(6)}) == 6
    assert {text for _, text in drawing._sketch.legend.marks} == {
        "0",
        "NaN",
        "infinite",
        "no gradient",
    }
    svg = drawing.svg()
    assert re.search(r"url\(#tg-\w+-hatch\)", svg) and ">1e-09<" in svg


def test_the_scale_is_logarithmic_and_grows_lighter() -> None:
    def light(colour: str) -> float:
        return float(np.dot([int(colour[k : k + 2], 16) for k in (1, 3, 5)], [0.299, 0.587, 0.114]))

    scale = Scale([10.0**-k for k in range(9)])
    steps = [light(scale.colour(10.0**-k)) for k in range(9)]
    assert all(a > b + 8 for a, b in itertools.pairwise(steps))
    assert np.ptp(np.diff(steps)) < 25  # even steps for even factors
    assert [text for _, text in scale.legend("").ticks][-1] == "1"


def test_a_gradient_that_is_zero_or_broken_is_seen() -> None:
    w, h = parameter("w", 2), constant("h0", 2)
    for t in range(5):
        with tg.at_step(t, cell="c"):
            h = h * w * (0.0 if t == 3 else 1.0)
    drawing = draw(h.sum(), heat="grad")
    (strip,) = drawing._sketch.strips
    assert [strip.cells[Lane("c"), t][1] for t in range(5)][:3] == ["0"] * 3


def test_hidden_steps_are_summed_up() -> None:
    drawing = draw(elman(50), heat=[10.0**-t for t in range(50)])
    (strip,) = drawing._sketch.strips
    assert strip.cells[Lane("elman"), 3][1] == "1e-47 … 0.001"
    bad = [float("nan") if t == 20 else 1.0 for t in range(50)]
    assert draw(elman(50), heat=bad)._sketch.strips[0].cells[Lane("elman"), 3][1] == "1 are NaN"


@pytest.mark.parametrize("wrong", ["norm", [1.0, 2.0], object()])
def test_heat_that_is_none(wrong: Any) -> None:
    with pytest.raises(DrawingError, match="heat"):
        draw(elman(3), heat=wrong)


def test_memory_is_what_the_tape_keeps() -> None:
    w, h = parameter("w", 2, 4), constant("h0", 2, 4)
    for t in range(5):
        with tg.at_step(t, cell="c"):
            # keeps its output, which the next step's product keeps too; the first product keeps
            # leaves
            h = tg.tanh(h * w)
    drawing = draw(h.sum(), memory=True)
    own, total = drawing._sketch.strips
    assert [own.cells[Lane("c"), t][1] for t in range(5)] == ["32 B"] * 5
    assert [total.cells[Lane("c"), t][1] for t in range(5)] == [
        f"{32 * (t + 1)} B" for t in range(5)
    ]
    assert drawing.note == "Saved for the backward: 160 B at the end of the forward, the peak."


def test_values_stand_in_the_boxes() -> None:
    x = tg.tensor([1.0, 3.0], requires_grad=True, name="x")
    y = (x * 2).sum()
    details = {b.title: b.detail for b in draw(y, values=True)._sketch.boxes}
    assert details == {"x": "2 ± 1", "· \N{MULTIPLICATION SIGN} 2": "4 ± 2", "y = sum": "8"}
    assert {b.title: b.detail for b in draw(y, values="numbers")._sketch.boxes}["x"] == "1, 3"


def test_a_window_of_truncated_backpropagation_begins_with_a_cut() -> None:
    window = list(tg.tbptt(tg.cells.Elman(3, 4, rng=0), sequence(8), k1=4, k2=4))[1]
    drawing = draw((window.ys**2).mean())
    (cut,) = [b for b in drawing._sketch.boxes if b.cut]
    assert cut.role == "initial" and "begins at t = 4" in cut.cut
    assert not [b for b in draw(elman(3))._sketch.boxes if b.cut]


def test_checkpoints_are_boxes_of_their_own() -> None:
    ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), sequence(6), checkpoint=3)
    found = [b for b in draw(ys.sum())._sketch.boxes if b.title == "checkpoint"]
    assert [b.detail for b in found] == ["not kept, run again"] * 2
    assert not [b for b in draw(ys.sum())._sketch.boxes if b.cut]


def test_the_backward_stands_over_the_forward_and_reads_it_through_ports() -> None:
    ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), sequence(3))
    loss = (ys**2).mean()
    plain, both = draw(loss), draw(loss, backward=True)
    assert frames(both)[:3] == frames(plain) and sorted(frames(both)[3:]) == [
        "t = 0 · ∂ Elman",
        "t = 1",
        "t = 2",
    ]
    there, back = both._layout.frames[:3], both._layout.frames[3:]
    assert max(f.bottom for f in back) < min(f.top for f in there)
    assert titles(both)["∂L/∂weight_hh = +"] == 1  # to which all steps add
    assert any(b.family == "saved" for b in both._sketch.boxes)
    assert faults(both) == []
    # of a long one, the steps in the middle are left out of both
    long = draw(elman(200), backward=True)
    assert (
        len(frames(long)) <= 10
        and len({f.split(" · ")[0] for f in frames(long)}) == len(frames(long)) // 2
    )


def test_a_gradient_that_was_recorded_is_drawn_as_one() -> None:
    w, h = parameter("w", 4, 4), constant("h0", 2, 4)
    for t in range(3):
        with tg.at_step(t, cell="c"):
            h = tg.tanh(h @ w + 1.0)
    h.sum().backward(create_graph=True)
    drawing = draw(w.grad)
    assert {f.split(" · ")[-1] for f in frames(drawing) if "·" in f} == {"c", "∂ c"}


def test_nothing_is_read_out_of_the_name_of_a_cell() -> None:
    w, h = parameter("w", 4, 4), constant("h0", 2, 4)
    for t in range(4):
        for name in ("c", "c (2)", "∂ c"):
            with tg.at_step(t, cell=name):
                h = tg.tanh(h @ w)
    drawing = draw(h.sum(), memory=True)
    assert not any(b.backward for b in drawing._sketch.boxes)
    strips = {lane for strip in drawing._sketch.strips for lane, _ in strip.cells}
    assert strips == {Lane("c"), Lane("c (2)"), Lane("∂ c")}


def test_two_cells_of_one_name_are_two_bands() -> None:
    ys, _ = tg.unroll(tg.cells.GRU(3, 4, rng=0), sequence(3))
    ys, _ = tg.unroll(tg.cells.GRU(4, 4, rng=1), ys)
    drawing = draw(ys.sum())
    lower, upper = drawing._layout.frames[:3], drawing._layout.frames[3:]
    assert [f.label for f in (lower[0], upper[0])] == ["t = 0 · GRU", "t = 0 · GRU (2)"]
    assert all(
        u.bottom < f.top and abs(u.left + u.right - f.left - f.right) < 60
        for u, f in zip(upper, lower, strict=True)
    )
    assert (
        sum("stack" in title for title in titles(drawing)) == 1
    )  # that between the layers is no more than wires


def test_a_decoder_begins_where_its_encoder_ends() -> None:
    from make import encoder_decoder

    encoder, decoder = (lambda f: (f[:3], f[3:]))(draw(encoder_decoder())._layout.frames)
    assert max(f.right for f in encoder) < min(f.left for f in decoder)
    assert max(f.bottom for f in decoder) < min(f.top for f in encoder)


def test_inputs_are_below_and_losses_above() -> None:
    drawing = draw((tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(4))[0] ** 2).mean())
    heights = {
        title: [b.y for b in drawing._sketch.boxes if b.title == title] for title in titles(drawing)
    }
    tops, bottoms = (
        [f.top for f in drawing._layout.frames],
        [f.bottom for f in drawing._layout.frames],
    )
    assert heights["mean"][0] < min(tops)
    assert min(heights[f"x[{t}]"][0] for t in range(4)) > max(bottoms)


# --- the pictures are good ----------------------------------------------------------------------------------------------------


def faults(drawing: Drawing) -> list[str]:
    """Boxes that overlap, words that do not fit, lines behind boxes or out of the picture, arrows that end beside their boxes."""
    boxes, layout, found = drawing._sketch.boxes, drawing._layout, []
    x, y, w, h = (
        np.array([getattr(b, name) for b in boxes]) for name in ("x", "y", "width", "height")
    )
    near = (np.abs(x[:, None] - x) < (w[:, None] + w) / 2 - 0.5) & (
        np.abs(y[:, None] - y) < (h[:, None] + h) / 2 - 0.5
    )
    found += [
        f"{boxes[i].title} over {boxes[j].title}"
        for i, j in zip(*np.nonzero(near), strict=True)
        if i < j
    ]
    found += [
        f"'{b.title}' is wider than its box"
        for b in boxes
        if text_width(b.title, 9 if b.port else 11) > b.width - 2
    ]
    found += [
        f"'{b.detail}' is wider than its box"
        for b in boxes
        if not b.port and text_width(b.detail, 8.5) > b.width - 2
    ]
    for arrow, path in layout.paths:
        points = flat(path)
        low, high = points.min(0), points.max(0)
        if low.min() < 0 or high[0] > layout.width or high[1] > layout.height:
            found.append(f"{arrow.tail.title} to {arrow.head.title} leaves the picture")
        hit = np.nonzero(
            (low[0] < x + w / 2)
            & (high[0] > x - w / 2)
            & (low[1] < y + h / 2)
            & (high[1] > y - h / 2)
        )[0]
        for box in (boxes[k] for k in hit):
            if box is not arrow.tail and box is not arrow.head and crosses(points, box):
                found.append(f"{arrow.tail.title} to {arrow.head.title} behind {box.title}")
        for box, (px, py) in ((arrow.tail, path[0]), (arrow.head, path[-1])):
            dx, dy = abs(px - box.x) - box.width / 2, abs(py - box.y) - box.height / 2
            if max(dx, dy) > 1 or max(dx, dy) < -3:
                found.append(
                    f"{arrow.tail.title} to {arrow.head.title} does not end at {box.title} ({dx:.1f}, {dy:.1f})"
                )
    found += faults_of_the_legend(drawing)
    for f in layout.frames:
        found += [
            f"{b.title} is not inside its frame"
            for b in f.boxes
            if not (
                f.left <= b.x - b.width / 2
                and b.x + b.width / 2 <= f.right
                and f.top <= b.y - b.height / 2
                and b.y + b.height / 2 <= f.bottom
            )
        ]
    return found


def faults_of_the_legend(drawing: Drawing) -> list[str]:
    """Words of the legend that leave the picture or cover each other, and a legend over boxes."""
    layout, signs = drawing._layout, drawing._layout.signs
    feet = [b.y + b.height / 2 for b in drawing._sketch.boxes]
    feet += [f.bottom for f in layout.frames] + [f.y + f.height / 2 for f in layout.figures]
    ends = [s.x + SWATCH + 4 + text_width(s.words, 8.5) for s in signs]
    found = [f"'{s.words}' is cut off" for s, end in zip(signs, ends) if end > layout.width]
    for (one, end), other in zip(zip(signs, ends), signs[1:]):
        if one.y == other.y and end > other.x:
            found.append(f"'{one.words}' meets '{other.words}'")
    if signs and max(feet) > signs[0].y - 5:
        found.append("the legend lies over something")
    return found + [f"{s.words} is low" for s in signs if s.y + 5 > layout.height]


def crosses(points: np.ndarray, box: Any) -> bool:
    half = type("Half", (), {"x": box.x, "y": box.y * 32 / box.height, "width": box.width})
    return meets(points * [1, 32 / box.height], half)


def text_width(text: str, size: float) -> float:
    """About that of Helvetica."""
    narrow = sum(c in "iljtf.,:;'|[]()! " for c in text)
    return size * (0.3 * narrow + 0.56 * (len(text) - narrow))


GOOD: dict[str, Callable[[], Any]] = {
    "lstm": lambda: lstm(6),
    "elman": lambda: elman(3),
    "two layers": lambda: two_layers(3),
    "stacked": lambda: stacked(3),
    "both ways": lambda: both_ways(tg.cells.GRU, 3),
    "against time": lambda: against_time(3),
    "gru": lambda: tg.unroll(tg.cells.GRU(3, 4, rng=0), sequence(3))[0].sum(),
    "layers": lambda: (
        tg.nn.LSTM(3, 4, num_layers=2, bidirectional=True, rng=0)(sequence(3))[0] ** 2
    ).mean(),
    "long": lambda: lstm(60),
}


@pytest.mark.parametrize("direction", ["LR", "TB"])
@pytest.mark.parametrize("name", GOOD)
def test_nothing_overlaps_is_clipped_or_runs_behind_something(name: str, direction: str) -> None:
    assert faults(draw(GOOD[name](), direction=direction)) == []


@pytest.mark.parametrize("name", GRAPHS)
def test_the_golden_pictures_are_good_too(name: str) -> None:
    assert faults(GRAPHS[name]()) == []


def test_the_gallery_is_good_and_its_page_is_the_one_that_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import make

    assert (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8") == make.page()
    files = re.findall(r"\]\((gallery/[\w/]+\.svg)\)", make.page())
    assert all((ROOT / "docs" / f).is_file() for f in files)
    assert len(files) == len(make.PICTURES) + len(make.zoo()) + 1  # the film
    for name in ("attention", "bidirectional", "heat", "detached", "values"):
        assert faults(make.PICTURES[name][2]()) == [], name
    assert "](gallery/walk.html)" in make.page()
    monkeypatch.setattr(make, "HERE", tmp_path)
    make.main(["truncated", "Elman", "walk"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells", "truncated.svg", "walk.html"]
    assert [p.name for p in (tmp_path / "cells").iterdir()] == ["Elman.svg"]
    pages = [
        (folder / "walk.html").read_text(encoding="utf-8")
        for folder in (ROOT / "docs" / "gallery", tmp_path)
    ]
    # numbers differ in their last digits
    one, other = (re.sub(r'(?s)(id="data">).*?</script>', r"\1", text) for text in pages)
    assert one == other


def test_the_same_operation_stands_at_one_height_in_every_step_even_if_steps_differ() -> None:
    drawing = draw(uneven(6, 3, "extra"))
    heights: dict[Any, set[float]] = {}
    for b in drawing._sketch.boxes:
        if b.framed and not b.port and not b.leaf:
            heights.setdefault(b.key, set()).add(round(b.y, 3))
    assert heights and all(len(found) == 1 for found in heights.values())


# --- light, dark, and without programs ------------------------------------------------------------------------------------------


def test_themes() -> None:
    light, dark, auto = (draw(elman(2), theme=theme) for theme in ("light", "dark", "auto"))
    assert "#17191c" in dark.svg() and "#17191c" not in light.svg()
    assert "prefers-color-scheme" in auto.svg() and "prefers-color-scheme" not in dark.svg()
    assert 'bgcolor="#17191c"' in dark.dot
    with pytest.raises(DrawingError, match="theme"):
        draw(elman(2), theme="blue")


def test_without_any_program_svg_html_and_jupyter_work_and_png_says_one_sentence(
    tmp_path: Path,
) -> None:
    code = f"""
import sys; sys.modules["pygraphviz"] = None
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "pygraphviz" else found(name, *a)
from tests.test_drawing import elman
import tinygrad_rnn as tg
d = tg.draw(elman(3), heat="grad")
d.save({str(tmp_path / "x.svg")!r}); d.save({str(tmp_path / "x.html")!r}); d.save({str(tmp_path / "x.dot")!r})
assert d._repr_mimebundle_()["image/svg+xml"].startswith("<svg")
for form in ("png", "pdf"):
    try: d.save({str(tmp_path)!r} + "/x." + form)
    except tg.TinygradError as e: print(e)
"""
    env = {**os.environ, "PATH": "", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert [line.split(":")[1].split()[0] for line in lines] == ["PNG", "PDF"] and all(
        "pip install tinygrad-rnn[draw]" in line for line in lines
    )
    ElementTree.parse(tmp_path / "x.svg")
    assert "<svg" in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_a_page_of_its_own_and_the_graphviz_object() -> None:
    drawing = draw(elman(2), title="A <title>")
    html = drawing.html()
    assert html.startswith("<!doctype html>") and "<title>A &lt;title&gt;</title>" in html
    assert drawing.graphviz.source.rstrip() == drawing.dot.rstrip()


def test_nodes_and_boxes_correspond() -> None:
    tape = tg.tape(two_layers(3))
    made = sketch(tape, limit=10**6)
    assert [b.name for b in made.boxes[: len(made.nodes)]] == [
        f"n{k}" for k in range(len(made.nodes))
    ]
    for n, b in zip(made.nodes, made.boxes, strict=False):
        assert made.of[n] is b
    assert draw(tape)._sketch.nodes == () and draw(tape)._sketch.of == {}


# --- what can be drawn, and how long it takes --------------------------------------------------------------------------------------


def test_a_plain_function_with_its_first_state_is_a_cell() -> None:
    w = parameter("w", 4, 4)

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(x + h @ w)
        return h, h

    drawing = draw(step, sequence(5, 4), np.zeros((2, 4), np.float32))
    assert frames(drawing) == ["t = 0 … 4 · step"] and titles(drawing)["h = tanh"] == 1


def test_a_layer_is_drawn_unrolled() -> None:
    assert len(frames(draw(tg.nn.GRU(3, 4)))) == 4
    assert titles(draw(tg.nn.Linear(3, 4), sequence(1)[0]))["y = matmul"] == 1


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda: draw(tg.cells.LSTM), "is a class; make one"),
        (lambda: draw(tg.nn.Linear(3, 4)), "pass what the module Linear is called with"),
        (lambda: draw(3), "expected a Tensor"),
        (lambda: draw(elman(2), show="t=a"), "show"),
        (lambda: draw(elman(2), show=3), "show"),
        (
            lambda: draw(tg.cells.LSTM(3, 4), heat="grad"),
            "heat, ledger, values and backward are of a recorded tensor",
        ),
        (lambda: draw(parameter("w", 2).sum(), heat="grad"), "no time steps"),
    ],
    ids=["class", "module", "number", "word", "integer", "cell", "no steps"],
)
def test_what_cannot_be_drawn_is_said(what: Any, words: str) -> None:
    with pytest.raises(DrawingError, match=words):
        what()


def test_the_work_is_linear_in_the_number_of_steps() -> None:
    def cost(steps: int) -> float:
        loss = lstm(steps)
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            draw(loss, show="all").svg()
            best = min(best, time.process_time() - start)
        return best

    cost(10)
    assert cost(320) < 16 * cost(40)  # 8 if it were exactly linear; 64 if it were quadratic


@pytest.mark.full
@pytest.mark.parametrize(
    ("steps", "show", "seconds"), [(1000, "all", 5.0), (1000, None, 1.0), (10_000, None, 3.0)]
)
def test_a_long_lstm_is_drawn_in_time(steps: int, show: str | None, seconds: float) -> None:
    loss = (tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(steps))[0] ** 2).mean()
    draw(lstm(3))
    start = time.process_time()
    svg = draw(loss, show=show).svg()
    assert time.process_time() - start < seconds
    classes = Counter(
        (g.get("class") or "").split(" ")[0] for g in ElementTree.fromstring(svg).iter(f"{SVG}g")
    )
    assert classes["cluster"] == (steps if show else 5) and classes["node"] and classes["edge"]


def test_the_command_draws_cells_modules_and_saved_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinygrad_rnn.data import Vocabulary
    from tinygrad_rnn.train.characters import CharacterLSTM
    from tinygrad_rnn.train.model_files import save_model

    monkeypatch.chdir(tmp_path)
    save_model("model.safetensors", CharacterLSTM(3, 2, 4, rng=0), Vocabulary(["b", "c"]), "abcab")
    (tmp_path / "mine.py").write_text(
        "import tinygrad_rnn as tg\nclass Mine(tg.cells.Elman):\n    pass\nmade = tg.nn.GRU(2, 3)\n",
        encoding="utf-8",
    )
    for arguments in (
        ["LSTM", "--out", "a.svg"],
        [
            "tinygrad_rnn.cells:GRU",
            "--steps",
            "12",
            "--heat",
            "--ledger",
            "--memory",
            "--values",
            "--theme",
            "dark",
            "--out",
            "b.html",
        ],
        [
            "mine.py:Mine",
            "--args",
            "5",
            "6",
            "--show",
            "t=0",
            "t=-1:",
            "--steps",
            "9",
            "--detail",
            "op",
            "--out",
            "c.dot",
        ],
        ["mine.py:made", "--out", "d.svg"],
        ["model.safetensors", "--backward", "--out", "e.svg"],
    ):
        assert cli.main(["draw", *arguments]) == 0
    assert "t = 0 … 3 · LSTM" in Path("a.svg").read_text(encoding="utf-8")
    assert (
        "dot" in Path("c.dot").name
        and Path("c.dot").read_text(encoding="utf-8").count("subgraph") == 2
    )
    assert "∂ LSTM" in Path("e.svg").read_text(encoding="utf-8")
    capsys.readouterr()
    for arguments, words in (
        (["Nothing"], "there is no Nothing"),
        (["no.such:Thing"], "there is no module"),
        (["gone.py:Thing"], "there is no such file"),
        (["LSTM", "--out", "x.jpg"], "x.jpg"),
        (["LSTM", "--args", "1"], "give 2 numbers"),
        (["gone.safetensors"], "gone.safetensors"),
    ):
        assert cli.main(["draw", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_names_come_from_the_variables_of_the_cell() -> None:
    found = titles(draw(tg.cells.LSTM(3, 4, rng=0)))
    assert {"i", "f", "g", "o", "x[t]", "h_0", "c_0"} <= set(found)
    assert {name for name in found if " = " in name} == {"c = +", "h = \N{MULTIPLICATION SIGN}"}


def test_a_tooltip_says_formula_derivative_shape_and_line() -> None:
    boxes = draw(tg.cells.LSTM(3, 4, rng=0))._sketch.boxes
    tooltip = next(
        b.tooltip for b in boxes if b.title == "tanh(g)" and b.detail == "2\N{MULTIPLICATION SIGN}4"
    )
    line = inspect.getsourcelines(tg.cells.LSTM.forward)[1]
    what, rule, shape, place = tooltip.splitlines()
    assert what == "tanh: tanh(x)" or what.startswith("tanh")
    assert rule.startswith("d x = ") and "out" in rule
    assert shape == "2\N{MULTIPLICATION SIGN}4 float32"
    number = re.search(r"at lstm\.py:(\d+)$", place)
    assert number and line < int(number[1]) < line + 10


def test_a_cell_is_drawn_also_where_nothing_is_recorded() -> None:
    cell = tg.cells.GRU(3, 4, rng=0)
    with tg.no_grad():
        assert titles(draw(cell)) == titles(draw(cell))
        assert titles(draw(cell))["n = tanh"] == 1
