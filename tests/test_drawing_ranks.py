"""DOT without its layout: plain `dot` places the steps in time and the operations in depth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.drawing.picture import Drawing
from tinygrad_rnn.drawing.render import render, renderers

pytestmark = pytest.mark.skipif(
    not list(renderers("plain", 72)), reason="no graphviz program is installed"
)


def lstm(steps: int) -> tg.Tensor:
    """Return a loss over an LSTM."""
    ys, _ = tg.unroll(tg.cells.LSTM(3, 4, rng=0), np.ones((steps, 2, 3), np.float32))
    return (ys * ys).mean()


PICTURES: dict[str, Callable[[], Drawing]] = {
    "cells": lambda: tg.draw(lstm(6)),
    "gates": lambda: tg.draw(lstm(3), detail="gate"),
    "operations": lambda: tg.draw(lstm(3), detail="op"),
    "heat": lambda: tg.draw(lstm(30), heat="grad"),
}


def placed(drawing: Drawing) -> dict[str, tuple[float, float]]:
    """Return where dot places the nodes; y grows upwards."""
    assert " layout=nop2" in drawing.dot
    text, reasons = render(drawing.dot.replace(" layout=nop2", ""), "plain", 30)
    assert text is not None, reasons
    lines = [line.split() for line in text.decode().splitlines() if line.startswith("node ")]
    return {line[1]: (float(line[2]), float(line[3])) for line in lines}


@pytest.mark.parametrize("name", PICTURES)
def test_plain_dot_has_time_to_the_right_and_depth_upwards(name: str) -> None:
    drawing = PICTURES[name]()
    at = placed(drawing)
    boxes = [b for b in drawing._sketch.boxes if b.framed and not (b.leaf or b.port)]
    for b in boxes:
        for other in boxes:
            if b.y == other.y and (b.step or 0) < (other.step or 0):
                assert at[b.name][0] < at[other.name][0]  # an earlier step stands to the left
                assert at[b.name][1] == at[other.name][1]
    for a in drawing._sketch.arrows:
        if a.tail in boxes and a.head in boxes and a.tail.step == a.head.step:
            assert at[a.tail.name][1] < at[a.head.name][1]
    figures = [y for name, (_, y) in at.items() if name.startswith("f")]
    assert max(figures) < min(at[b.name][1] for b in boxes)  # the legend is below


def test_a_folded_cell_stands_upright() -> None:
    drawing = tg.draw(tg.cells.GRU(3, 4, rng=0))
    at = placed(drawing)
    for a in drawing._sketch.arrows:
        if a.head.framed and a.tail.framed and not (a.tail.leaf or a.tail.port):
            assert at[a.tail.name][1] < at[a.head.name][1]


@pytest.mark.parametrize(("direction", "leads"), [("LR", "BT"), ("TB", "LR")])
def test_a_few_boxes_of_one_step_lead_across_its_time(direction: str, leads: str) -> None:
    ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), np.ones((1, 2, 3), np.float32))
    drawing = tg.draw((ys[-1] ** 2).mean(), limit=8, direction=direction)
    assert f"rankdir={leads}]" in drawing.dot.splitlines()[1]
