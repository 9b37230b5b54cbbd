"""Pictures at the size at which people look: levels of detail, and what fits a width."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.test_drawing import CROWDED, behind, elman, lstm, parameter, two_layers
from tests.test_drawing_time import GOOD, faults, frames, sequence
from tinygrad_rnn.drawing import Drawing, DrawingError, draw, picture
from tinygrad_rnn.drawing.curves import Axis
from tinygrad_rnn.drawing.fold import Kinds
from tinygrad_rnn.drawing.graph import Graph
from tinygrad_rnn.drawing.measures import Gradients

sys.path.append(str(Path(__file__).parents[1] / "docs" / "gallery"))

SVG = "{http://www.w3.org/2000/svg}"
SMALLEST = 8.5  # of the letters in an SVG, in its own units


def boxes(drawing: Drawing) -> list[tuple[str, str]]:
    return [(b.title, b.detail) for b in drawing._sketch.boxes]


def arrows(drawing: Drawing) -> set[tuple[str, str]]:
    return {
        tuple(f"{b.title} {b.detail}" for b in (a.tail, a.head)) for a in drawing._sketch.arrows
    }  # type: ignore[misc]


def wide(drawing: Drawing) -> tuple[float, float]:
    """The pixels across, and those of the smallest letters."""
    root = ElementTree.fromstring(drawing.svg())
    across = float(root.get("width", "nan"))
    return across, SMALLEST * across / float(root.get("viewBox", "").split()[2])


# --- cells ------------------------------------------------------------------------------------------------------------------


def test_a_cell_is_one_box_for_each_step_with_the_names_of_its_states() -> None:
    ys, _ = tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(3))
    drawing = draw(ys, detail="cell")
    step = "h, c = LSTM t ="
    assert arrows(drawing) == {
        *((f"x[{t}] 2\N{MULTIPLICATION SIGN}3", f"{step} {t}") for t in range(3)),
        *((f"{s}_0 2\N{MULTIPLICATION SIGN}4", f"{step} 0") for s in "hc"),
        *((f"{step} {t}", f"{step} {t + 1}") for t in range(2)),
        *(
            (f"{step} {t}", "ys = stack(axis=0) 3\N{MULTIPLICATION SIGN}2\N{MULTIPLICATION SIGN}4")
            for t in range(3)
        ),
    }
    assert frames(drawing) == []
    states = [a for a in drawing._sketch.arrows if a in drawing._layout.states]
    assert len(states) == 4
    cell = next(b for b in drawing._sketch.boxes if b.cell)
    assert (
        "reads weight_ih, bias_ih, weight_hh, bias_hh" in cell.tooltip
        and "states: h, c" in cell.tooltip
    )


def test_every_edge_between_steps_is_drawn_at_each_level() -> None:
    """What leads from one step, or from outside, into another is the same at all levels."""
    for make in (lambda: lstm(4), lambda: two_layers(3), lambda: GOOD["layers"]()):
        loss = make()
        found = {}
        for detail in ("cell", "gate", "op"):
            sketch = draw(loss, detail=detail)._sketch
            found[detail] = {
                tuple(
                    b.moment if b.lane and not b.leaf else (b.title, b.moment)
                    for b in (a.tail, a.head)
                )
                for a in sketch.arrows
                if not a.tail.port and a.tail.role != "shared"
                if (a.tail.moment, a.tail.framed) != (a.head.moment, a.head.framed)
            }
        assert found["cell"] == found["op"] == found["gate"]


def test_a_result_that_is_a_state_is_marked_and_a_cut_state_too() -> None:
    import make

    h = tg.unroll(tg.cells.GRU(3, 4, rng=0), sequence(3))[1]
    assert [b.detail for b in draw(h, detail="cell")._sketch.boxes if b.root] == ["t = 2"]
    drawing = draw(make.detached(), detail="cell")
    (cut,) = [a for a in drawing._sketch.arrows if a.tail.cut]
    assert (cut.tail.detail, cut.head.detail) == ("detached", "t = 2")


def test_a_folded_cell_has_a_delay_for_its_states() -> None:
    drawing = draw(tg.cells.LSTM(3, 4, rng=0), detail="cell")
    assert ("h, c = LSTM", "t = 0 … 3") in boxes(drawing) and ("z⁻¹", "h, c") in boxes(drawing)
    assert ("x[t]", "2\N{MULTIPLICATION SIGN}3") in boxes(drawing)


def test_the_heat_of_a_cell_is_the_norm_of_all_its_states_together() -> None:
    loss = (tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(5))[0][-1] ** 2).mean()
    graph = Graph(tg.tape(loss))
    norms = Gradients(tg.tape(loss), graph, Kinds(graph)).norms
    drawing = draw(loss, heat="grad", detail="cell")
    for b in drawing._sketch.boxes:
        if b.cell:
            expected = np.hypot(*[steps[b.step] for steps in norms.values()])
            assert f"‖∂L/∂state‖ = {expected:.2g}" in b.tooltip and b.fill
    assert [s.title for s in drawing._sketch.strips] == ["‖∂L/∂h‖", "‖∂L/∂c‖"]


def test_the_ledger_keeps_the_weights() -> None:
    found = draw(elman(12), ledger=True, detail="cell")._sketch.boxes
    assert {b.title for b in found if b.bars} == {"W_ih", "W_hh", "b"}
    assert not any(b.title == "W_ih" for b in draw(elman(12), detail="cell")._sketch.boxes)


def test_steps_that_read_each_other_are_refused_as_cells() -> None:
    """Two steps of two cells, each of which reads the middle of the other."""
    w, h = parameter("W", 4, 4), parameter("h", 2, 4)
    with tg.at_step(0, cell="a"):
        a = h @ w
    with tg.at_step(0, cell="b"):
        b = tg.tanh(a)
    with tg.at_step(0, cell="a"):
        loss = (a * b).sum()
    assert draw(loss, detail="op").svg() and draw(loss).svg()
    with pytest.raises(DrawingError, match=r"each other's values.*detail='op'"):
        draw(loss, detail="cell")


# --- gates ------------------------------------------------------------------------------------------------------------------


def test_a_gate_is_a_named_value_with_the_expression_of_the_source() -> None:
    loss = lstm(2)
    drawing = draw(loss, detail="gate")
    inside = [b for b in drawing._sketch.boxes if b.step == 1 and b.framed and not b.leaf]
    assert all(b.holds >= 1 for b in inside)
    assert sum(b.holds for b in inside) == sum(
        m is not None and m.step == 1 and n.primitive is not None and n in graph.framed
        for graph in [Graph(tg.tape(loss))]
        for n, m in graph.moments.items()
    )
    assert not any(b.port for b in inside)
    (c,) = [b for b in inside if b.title == "c"]
    assert c.holds > 1 and "*" in c.detail and c.tooltip.startswith(c.detail.rstrip("…"))


# --- what fits --------------------------------------------------------------------------------------------------------------


FITTING: dict[str, Callable[[], Any]] = {
    "lstm": lambda: lstm(6),
    "long lstm": lambda: lstm(200),
    "gru": lambda: tg.unroll(tg.cells.GRU(3, 4, rng=0), sequence(100))[0].sum(),
    "both ways": GOOD["layers"],
    "two layers": lambda: two_layers(40),
    "one step": lambda: elman(1),
}


@pytest.mark.parametrize("name", FITTING)
def test_the_default_picture_fits_with_letters_that_can_be_read(name: str) -> None:
    drawing = draw(FITTING[name]())
    across, letters = wide(drawing)
    assert across <= 850 and letters >= 9
    assert faults(drawing) == []


def test_the_finest_level_that_fits_is_taken() -> None:
    assert any(b.cell for b in draw(lstm(6))._sketch.boxes)
    assert not any(b.cell for b in draw(lstm(6), width=4000)._sketch.boxes)
    assert any(b.port for b in draw(lstm(6), width=4000)._sketch.boxes)
    assert any(b.port for b in draw(lstm(2), values=True)._sketch.boxes)


def test_what_does_not_fit_gets_letters_of_nine_pixels_and_small_pictures_stay_as_they_are() -> (
    None
):
    across, letters = wide(draw(lstm(6), detail="op"))
    assert across > 850 and letters == pytest.approx(9, abs=0.02)
    across, letters = wide(draw(elman(2), detail="cell", width=5000))
    assert letters == pytest.approx(SMALLEST * 4 / 3, abs=0.05)


def test_levels_are_tried_without_the_middle_of_a_long_sequence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    whole = picture.sketch_graph

    def counted(graph: Graph, *rest: Any) -> Any:
        seen.append(len(graph.nodes))
        return whole(graph, *rest)

    monkeypatch.setattr(picture, "sketch_graph", counted)
    loss = lstm(300)
    drawing = draw(loss, heat="grad")
    assert max(seen) < 700 and len(seen) > 2
    (gap,) = [b for b in drawing._sketch.boxes if b.run and b.framed]
    assert len(gap.hides) + sum(b.cell for b in drawing._sketch.boxes) == 300


def test_steps_that_were_left_out_to_fit_say_so() -> None:
    loss = (tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(1000))[0][-1] ** 2).mean()
    drawing = draw(loss, heat="grad", width=600)
    assert drawing.note == (
        "998 of 1,000 time steps are not drawn (to fit the width; show='all' draws them)."
    )
    assert "(steps=3)" in draw(loss, steps=3).note


def test_steps_with_one_gate_are_drawn_as_cells() -> None:
    loss = (tg.unroll(tg.cells.Elman(3, 4, rng=0), sequence(40))[0][-1] ** 2).mean()
    assert sum(b.cell for b in draw(loss)._sketch.boxes) == 5


def test_very_many_steps_on_a_line_are_drawn_as_cells() -> None:
    drawing = draw(elman(100), show="all")
    assert sum(b.cell for b in drawing._sketch.boxes) == 100 and wide(drawing)[1] >= 8.99


@pytest.mark.parametrize("wrong", [{"detail": "box"}, {"width": 0}])
def test_wrong_levels_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(DrawingError, match=next(iter(wrong))):
        draw(elman(2), **wrong)


# --- curves over hidden steps ------------------------------------------------------------------------------------------------


def test_a_curve_has_every_hidden_step_on_an_axis_from_the_least_to_the_largest() -> None:
    curve = Axis([1e-30, 1.0], logarithmic=True).curve([10.0**-k for k in range(31)])
    (piece,) = curve.pieces
    assert [x for x, _, _ in piece] == pytest.approx(np.linspace(0, 1, 31))
    assert [y for _, y, _ in piece] == pytest.approx(np.linspace(1, 0, 31))
    assert all(least == most for _, least, most in piece) and not curve.marks
    line = Axis([5.0, 10.0], logarithmic=False).curve([10.0, 5.0, 0.0])
    assert [y for _, y, _ in line.pieces[0]] == [1.0, 0.5, 0.0]


def test_a_curve_of_very_many_steps_loses_none() -> None:
    numbers: list[Any] = [1.0] * 100_000
    numbers[31_234], numbers[71_500], numbers[90_001], numbers[5] = 1e-8, float("nan"), 1e8, None
    numbers[50_000], numbers[60_000] = 0.0, float("inf")
    curve = Axis(numbers, logarithmic=True).curve(numbers)
    (piece,) = curve.pieces  # no place along it has nothing but marks
    assert (min(p[1] for p in piece), max(p[2] for p in piece)) == (0.0, 1.0)
    assert {m.what: round(m.begin, 3) for m in curve.marks} == {
        "0": 0.5,
        "NaN": 0.71,
        "infinite": 0.6,
        "no gradient": 0.0,
    }


def test_a_curve_is_broken_where_there_is_nothing_to_draw() -> None:
    numbers = [1.0, 0.1, float("nan"), 0.1, 0.0, 0.0, 1.0]
    curve = Axis(numbers, logarithmic=True).curve(numbers)
    assert [len(piece) for piece in curve.pieces] == [2, 1, 1]
    assert [(m.what, round(m.begin * 7), round(m.end * 7)) for m in curve.marks] == [
        ("0", 4, 6),
        ("NaN", 2, 3),
    ]
    nothing = Axis([None, 0.0], logarithmic=True).curve([None, 0.0, 0.0])
    assert not nothing.pieces and len(nothing.marks) == 2
    flat = Axis([2.0] * 4, logarithmic=True).curve([2.0] * 4)
    assert {p[1] for p in flat.pieces[0]} == {0.5}


@pytest.mark.parametrize("detail", ["cell", "gate", "op"])
def test_the_decay_over_hidden_steps_is_a_curve_in_the_picture(detail: str) -> None:
    loss = (tg.unroll(tg.cells.Elman(3, 4, rng=0), sequence(60))[0][-1] ** 2).mean()
    graph = Graph(tg.tape(loss))
    (norms,) = Gradients(tg.tape(loss), graph, Kinds(graph)).norms.values()
    drawing = draw(loss, heat="grad", detail=detail, show=["t=0:2", "t=30", "t=-1"])
    curves = [f for f in drawing._layout.figures if f.curve]
    assert len(curves) == 2 and faults(drawing) == []
    hidden = [*range(2, 30), *range(31, 59)]
    levels = np.log10([norms[t] for t in hidden])
    expected = (levels - levels.min()) / (levels.max() - levels.min())
    points = [p for f in sorted(curves) for p in f.curve.pieces[0]]
    assert [p[1] for p in points] == pytest.approx(expected)
    assert drawing.svg().count('class="curve"') == 2
    assert "log" in next(
        w.text for w in drawing._layout.words if "state" in w.text or "h" in w.text
    )
    assert re.search("[▁▂▃▄▅▆▇█]{20}", drawing.dot)


def test_curves_stay_inside_of_their_frames_and_marks_are_seen() -> None:
    heat = [10.0 ** -(t % 9) for t in range(60)]
    heat[20:24] = [float("nan"), float("inf"), 0.0, float("inf")]
    drawing = draw(elman(60), heat=heat, memory=True)
    root = ElementTree.fromstring(drawing.svg())
    figures = [g for g in root.iter(f"{SVG}g") if g.get("class") == "figure"]
    seen = 0
    for g in figures:
        outline = g.find(f"{SVG}rect")
        for path in g.findall(f"{SVG}path"):
            assert outline is not None
            x, y, w, h = (float(outline.get(k, "nan")) for k in ("x", "y", "width", "height"))
            points = re.findall(r"([\d.]+),([\d.]+)", path.get("d", ""))
            # the text is in the upper part
            assert all(x < float(a) < x + w and y + 12 < float(b) < y + h for a, b in points)
            seen += 1
    marks = [t.text for g in figures for t in g.iter(f"{SVG}title")]
    assert seen >= 3 and sorted(marks) == ["0", "NaN", "infinite", "infinite"]


@pytest.mark.parametrize("direction", ["LR", "TB"])
def test_figures_do_not_cover_each_other_or_a_box(direction: str) -> None:
    drawing = draw(lstm(40), heat="grad", memory=True, direction=direction)
    things = [*drawing._layout.figures, *drawing._sketch.boxes]
    for k, f in enumerate(drawing._layout.figures):
        for g in things[k + 1 :]:
            apart = (
                abs(f.x - g.x) - (f.width + g.width) / 2,
                abs(f.y - g.y) - (f.height + g.height) / 2,
            )
            assert max(apart) > -0.5, (f, g)


# --- the pictures are good --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["LR", "TB"])
@pytest.mark.parametrize("detail", ["cell", "gate"])
@pytest.mark.parametrize("name", [*GOOD, *CROWDED])
def test_nothing_overlaps_at_any_level(name: str, detail: str, direction: str) -> None:
    drawing = draw({**CROWDED, **GOOD}[name](), detail=detail, direction=direction)
    assert faults(drawing) == [] and behind(drawing) == []


@pytest.mark.parametrize("detail", ["cell", "gate"])
def test_the_pictures_of_the_gallery_are_good_at_each_level(detail: str) -> None:
    import make

    for make_one in (make.encoder_decoder, make.bidirectional, make.truncated, make.detached):
        for fold in (False, True):
            drawing = draw(make_one(), detail=detail, fold=fold)
            assert faults(drawing) == [], make_one
            assert re.match(r"digraph", drawing.dot)


def test_a_graph_without_steps_runs_downwards_where_that_fits_better() -> None:
    x = tg.tensor(np.ones((2, 3), np.float32), requires_grad=True, name="x")
    y = x
    for k in range(16):  # another number each time: these are no steps that are the same
        y = tg.tanh(y) + (k + 1.0)
    long, short = y.sum(), (tg.tanh(x) + 1.0).sum()
    layout = tg.draw(long)._layout
    assert layout.height > layout.width and layout.width * 4 / 3 < 850
    wide = tg.draw(long, direction="LR")._layout
    assert wide.width * 4 / 3 > 850 and tg.draw(long, direction="TB")._layout.width == layout.width
    # what fits, and what has time steps, runs to the right
    assert tg.draw(short)._layout.width > tg.draw(short)._layout.height
    assert tg.draw(short).svg() == tg.draw(short, direction="LR").svg()


def test_the_box_of_segments_that_run_again_says_so() -> None:
    xs = np.ones((8, 2, 3), np.float32)
    ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), xs, checkpoint=4)
    found = [b.detail for b in tg.draw(ys.sum(), detail="cell")._sketch.boxes if b.cell]
    assert found == ["up to t = 3, run again", "up to t = 7, run again"]
