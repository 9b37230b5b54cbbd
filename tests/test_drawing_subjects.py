"""What people draw, with the default settings: it fits 850 pixels, and can be read, in a browser."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import test_drawing_loops as loops
from tests.browsers import in_browser, launched
from tests.test_drawing_time import faults, sequence

sys.path.append(str(Path(__file__).parents[1] / "docs" / "gallery"))


def expression() -> tg.Tensor:
    a, b = (tg.tensor(v, requires_grad=True, name=n) for v, n in ((2.0, "a"), (-3.0, "b")))
    c = tg.tanh(a * b + a)
    return (c - 1) ** 2


def mlp() -> tg.Tensor:
    layers = [tg.nn.Linear(n, m, rng=n) for n, m in ((8, 16), (16, 16), (16, 3))]
    h = tg.tensor(np.ones((5, 8), np.float32), name="x")
    for layer in layers[:-1]:
        h = tg.relu(layer(h))
    return tg.nn.cross_entropy(layers[-1](h), np.array([0, 1, 2, 0, 1]))


def conv_net() -> tg.Tensor:
    conv = tg.nn.Conv2d(1, 4, 3, rng=0)
    out = tg.nn.Linear(4, 3, rng=1)
    image = tg.tensor(np.ones((2, 1, 8, 8), np.float32), name="image")
    features = tg.relu(conv(image)).mean(axis=(2, 3))
    return tg.nn.cross_entropy(out(features), np.array([0, 2]))


def lstm(steps: int, cell: Any = None, **how: Any) -> tg.Tensor:
    xs = np.random.default_rng(0).standard_normal((steps, 2, 3)).astype(np.float32)
    ys, _ = tg.unroll(cell or tg.cells.LSTM(3, 4, rng=0), xs, **how)
    return (ys[-1] ** 2).mean()


def layers(**how: Any) -> tg.Tensor:
    ys, _ = tg.nn.LSTM(3, 4, rng=0, **how)(sequence(12))
    return (ys**2).mean()


def windows() -> tg.Tensor:
    found = list(tg.tbptt(tg.cells.LSTM(3, 4, rng=0), sequence(12), k1=4, k2=8))
    return (found[-1].ys ** 2).mean()


def second_order() -> tg.Tensor:
    cell = tg.cells.Elman(3, 4, rng=0)
    ys, _ = tg.unroll(cell, sequence(3))
    (ys**2).mean().backward(create_graph=True)
    return (next(cell.parameters()).grad ** 2).sum()


def two_cells_by_hand() -> tg.Tensor:
    cells: list[Any] = [tg.cells.GRU(3, 4, rng=0), tg.cells.LSTM(4, 4, rng=1)]
    states, loss = [c.initial_state(2) for c in cells], 0.0
    for x in sequence(6):
        for k, cell in enumerate(cells):
            x, states[k] = cell(x, states[k])
        loss = loss + (x * x).mean()
    return loss


def attention() -> Any:
    import make

    return make.encoder_decoder()


SUBJECTS: dict[str, Callable[[], Any]] = {
    "expression": expression,
    "mlp": mlp,
    "conv net": conv_net,
    "lstm 6": lambda: lstm(6),
    "lstm 100": lambda: lstm(100),
    "lstm 1000": lambda: lstm(1000),
    "stacked": lambda: layers(num_layers=2),
    "bidirectional": lambda: layers(bidirectional=True),
    "both": lambda: layers(num_layers=2, bidirectional=True),
    "attention": attention,
    "windows": windows,
    "second order": second_order,
    "loop": loops.elman,
    "loop 1000": lambda: loops.lstm(steps=1000),
    "loop with losses": loops.from_nothing,
    "loop of layers": loops.two_layers,
    "loop of gates": loops.gru,
    "losses after a loop": loops.listed,
    "cells by hand": two_cells_by_hand,
    "jitted": lambda: lstm(8, tg.jit(tg.cells.GRU(3, 4, rng=0))),
    "lengths": lambda: lstm(6, lengths=np.array([6, 3])),
    "checkpoint": lambda: lstm(12, checkpoint=4),
    "elman": lambda: tg.cells.Elman(3, 4, rng=0),
    "lstm cell": lambda: tg.cells.LSTM(3, 4, rng=0),
    "gru cell": lambda: tg.cells.GRU(3, 4, rng=0),
    "lstm 100000": lambda: lstm(100_000),
}
HEATED = [
    "lstm 6",
    "lstm 100",
    "lstm 1000",
    "stacked",
    "both",
    "loop",
    "loop 1000",
    "cells by hand",
    "lstm 100000",
]
HEAVY = {"lstm 100000"}


def subjects(names: Any) -> list[Any]:
    return [pytest.param(n, marks=pytest.mark.full) if n in HEAVY else n for n in names]


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with launched() as browser:
        found = browser.new_page(viewport={"width": 850, "height": 600})
        found.set_content("<body style='margin:0'></body>")
        yield found


LOOK = """
() => {
  const svg = document.querySelector('svg'), said = [];
  const across = svg.getBoundingClientRect().width;
  if (across > 850.5) said.push(`${across} pixels`);
  const scale = across / svg.viewBox.baseVal.width;
  for (const t of svg.querySelectorAll('text')) {
    const size = parseFloat(getComputedStyle(t).fontSize) * scale;
    if (size < 8.99) said.push(`letters of ${size.toFixed(2)} pixels: ${t.textContent}`);
  }
  for (const g of svg.querySelectorAll('g.node')) {
    const shape = [...g.querySelectorAll('rect,ellipse,path,polygon')].map(e => e.getBoundingClientRect())
      .sort((a, b) => b.width * b.height - a.width * a.height)[0];
    if (!shape) continue;
    for (const t of g.querySelectorAll('text')) {
      const r = t.getBoundingClientRect();
      if (r.left < shape.left - 0.5 || r.right > shape.right + 0.5)
        said.push(`outside of its box: ${t.textContent}`);
    }
  }
  return said;
}
"""


@in_browser
@pytest.mark.parametrize("name", subjects(SUBJECTS))
def test_a_subject_can_be_read_at_850_pixels(page: Any, name: str) -> None:
    check(page, tg.draw(SUBJECTS[name]()))


@in_browser
@pytest.mark.parametrize("name", subjects(HEATED))
def test_a_subject_can_be_read_with_heat_and_curves(page: Any, name: str) -> None:
    check(page, tg.draw(SUBJECTS[name](), heat="grad"))


@in_browser
@pytest.mark.full
def test_all_cells_can_be_read(page: Any) -> None:
    import make

    for name, draw in make.zoo().items():
        assert faults(draw()) == [], name


def check(page: Any, drawing: tg.Drawing) -> None:
    svg = drawing.svg()
    page.evaluate("svg => { document.body.innerHTML = svg }", svg[svg.index("<svg") :])
    assert faults(drawing) == []
    assert page.evaluate(LOOK) == []
