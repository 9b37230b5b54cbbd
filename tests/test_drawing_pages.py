"""Pictures where people look at them: several in one page, in notebooks, as text and as Mermaid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_rnn as tg

from .browsers import in_browser, launched


def net(steps: int = 3, width: int = 4) -> tg.Tensor:
    """Return a loss over the outputs of an Elman cell."""
    cell = tg.cells.Elman(3, width, rng=0)
    ys, _ = tg.unroll(cell, np.random.default_rng(0).standard_normal((steps, 2, 3)))
    return (ys * ys).mean()


@pytest.fixture(scope="module")
def browser() -> Any:
    with launched() as found:
        yield found


# --- several pictures in one page -----------------------------------------------------------------


def test_no_name_occurs_twice_in_a_page_of_several_pictures() -> None:
    loss = net()
    heat = [1.0, float("nan"), 2.0]
    page = "".join(
        tg.draw(x, theme=theme, heat=heat).svg()
        for x in (loss, net(3, 5))
        for theme in ("light", "dark")
    )
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(names)
    rules = "".join(re.findall("<style>(.*?)</style>", page))
    assert ".tg " not in rules and len(set(re.findall(r"\.(tg-\w+) ", rules))) == 4


@in_browser
def test_two_themes_in_one_page_keep_their_colours(browser: Any) -> None:
    loss = net()
    light, dark = (tg.draw(loss, theme=theme).svg() for theme in ("light", "dark"))
    page = browser.new_page()
    for pictures in (light + dark, dark + light):
        page.set_content(f"<body>{pictures}</body>")
        found = page.eval_on_selector_all(
            "rect.page[width='100%']", "r => r.map(e => getComputedStyle(e).fill)"
        )
        assert set(found) == {"rgb(255, 255, 255)", "rgb(23, 25, 28)"}
        assert (found[0] == "rgb(255, 255, 255)") == (pictures[: len(light)] == light)
    page.close()
