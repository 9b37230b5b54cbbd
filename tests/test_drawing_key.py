"""The legend of pictures: what it says, when it is there, and how it looks in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.drawing.boxes import Family
from tinygrad_rnn.drawing.key import ROW
from tinygrad_rnn.drawing.style import BACK, CUT, STATE
from tinygrad_rnn.palette import MEANINGS, THEMES

from .browsers import in_browser


def net(steps: int = 3) -> tg.Tensor:
    """Return a loss over the outputs of an LSTM."""
    ys, _ = tg.unroll(tg.cells.LSTM(3, 4, rng=0), np.ones((steps, 2, 3), np.float32))
    return (ys * ys).mean()


def cut() -> tg.Tensor:
    """Return a loss behind a state that was detached."""
    window = list(tg.tbptt(tg.cells.Elman(3, 4, rng=0), np.ones((8, 2, 3)), k1=4, k2=4))[1]
    return (window.ys**2).mean()


def names(drawing: Any) -> set[str]:
    """Return what the legend of a picture explains."""
    return {s.name for s in drawing._layout.signs}


def test_a_legend_says_what_occurs_and_nothing_else() -> None:
    cells, gates = tg.draw(net(6)), tg.draw(net(2), detail="op")
    assert {"cell", "input", STATE, "root"} <= names(cells)
    assert not names(cells) & {"parameter", "port", "delay", "gap", BACK, CUT}
    assert {"parameter", "port", "linear", "function", STATE} <= names(gates)
    assert "cell" not in names(gates)
    assert {"gap"} <= names(tg.draw(net(40))) and {"delay"} <= names(tg.draw(tg.cells.LSTM(3, 4)))
    assert {BACK, "saved"} <= names(tg.draw(net(2), backward=True, detail="op", legend=True))
    assert CUT in names(tg.draw(cut())) and CUT not in names(cells)
    # what is coloured by heat has not the colour of its family
    assert "cell" not in names(tg.draw(net(6), heat="grad"))


def test_small_pictures_have_none_and_it_can_be_asked_for_or_left_out() -> None:
    a = tg.tensor(2.0, requires_grad=True, name="a")
    small = tg.tanh(a * 3.0 + a)
    assert not tg.draw(small)._layout.signs and not tg.draw(net(), legend=False)._layout.signs
    assert names(tg.draw(small, legend=True)) >= {"parameter", "arithmetic", "function", "root"}
    assert not tg.draw(tg.cells.LSTM(3, 4), legend=False)._layout.signs


def test_a_legend_does_not_make_a_picture_much_larger() -> None:
    for make in (lambda **k: tg.draw(net(6), **k), lambda **k: tg.draw(tg.cells.GRU(3, 4), **k)):
        bare, explained = make(legend=False)._layout, make()._layout
        assert explained.signs and explained.width == bare.width
        assert bare.height < explained.height <= 1.15 * bare.height + ROW


def test_every_family_and_line_has_a_meaning() -> None:
    assert {*Family, STATE, BACK, CUT, "port", "root"} <= set(MEANINGS)
    assert len(set(MEANINGS.values())) == len(MEANINGS)


def test_dot_has_the_legend_too() -> None:
    drawing = tg.draw(net(2), detail="op")
    for sign in drawing._layout.signs:
        assert f"<{sign.words}>" in drawing.dot


@in_browser
@pytest.mark.parametrize("scheme", THEMES)
def test_signs_have_the_colours_and_strokes_of_what_they_explain(browser: Any, scheme: str) -> None:
    theme = THEMES[scheme]
    page = browser.new_page(color_scheme=scheme)
    page.set_content(tg.draw(cut(), theme="auto", detail="op", legend=True).svg())
    style = """([s, n]) => getComputedStyle(document.querySelector(".key ." + s))[n]"""

    def shown(selector: str, name: str) -> str:
        found = page.evaluate(style, [selector, name])
        rgb = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", found)
        return "#" + "".join(f"{int(v):02x}" for v in rgb.groups()) if rgb else found

    inside, outline = theme.fills[Family.PARAMETER]
    assert shown("parameter>rect", "fill") == inside
    assert shown("parameter>rect", "stroke") == outline
    assert shown("state>path", "stroke") == theme.edges[STATE]
    assert shown("cut>path", "strokeDasharray") != "none"
    assert float(shown("root>rect", "strokeWidth").removesuffix("px")) == 2
    page.close()


@in_browser
@pytest.mark.parametrize("make", [lambda: net(6), lambda: net(2), cut], ids=["cell", "op", "cut"])
def test_words_of_the_legend_stay_apart_and_in_the_picture(
    browser: Any, make: Callable[[], tg.Tensor]
) -> None:
    page = browser.new_page()
    for direction in ("LR", "TB"):
        page.set_content(tg.draw(make(), direction=direction, legend=True).svg())
        boxes = page.eval_on_selector_all(
            ".key text, .key .sign",
            "all => all.map(e => e.getBBox()).map(b => [b.x, b.y, b.x + b.width, b.y + b.height])",
        )
        _, _, width, height = page.eval_on_selector("svg", "e => e.getAttribute('viewBox')").split()
        for k, (x0, y0, x1, y1) in enumerate(boxes):
            assert x0 >= 0 and x1 <= float(width) and y1 <= float(height)
            for a0, b0, a1, b1 in boxes[:k]:
                assert x0 >= a1 or x1 <= a0 or y0 >= b1 or y1 <= b0
    page.close()
