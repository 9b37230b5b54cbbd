"""What axe-core finds on the pages that are written: nothing, at three widths, in light and dark.

axe-core comes with the package axe-playwright-python; where it is missing these tests are skipped.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train.chart import WIDTHS, Series, line_chart
from tinygrad_rnn.train.report import Row, write_report

from .browsers import in_browser

FOUND = importlib.util.find_spec("axe_playwright_python")
AXE = Path(FOUND.origin).with_name("axe.min.js") if FOUND and FOUND.origin else None
SIZES = [(390, 844), (850, 900), (1400, 900)]

pytestmark = [
    in_browser,
    pytest.mark.skipif(AXE is None, reason="axe-playwright-python is not installed"),
]


def loss() -> tg.Tensor:
    """Return a loss over an LSTM."""
    with tg.eager():
        ys, _ = tg.unroll(tg.cells.LSTM(3, 4, rng=0), np.ones((3, 2, 3), np.float32))
    return (ys * ys).mean()


def explorer(path: Path) -> None:
    """Write the explorer's page."""
    tg.explore(loss(), path, title="LSTM")


def report(path: Path) -> None:
    """Write a report of a run."""
    charts = [
        line_chart(
            [Series("training", [0, 1, 2], [3.0, 2.0, 1.5]), Series("held out", [1, 2], [2.5, 2])],
            x_label="million characters read; training with dropout, held out without",
            y_label="bits per character",
            title="",
            references=[("bigram", 2.2)],
            width=width,
        )
        for width in WIDTHS
    ]
    write_report(
        path,
        title="A character LSTM",
        table=[Row("LSTM", 1.5, ours=True, note="all"), Row("bigram", 2.2, note="one")],
        sample="import this\n" * 3,
        loss=charts,
        graph_svg=tg.draw(loss(), theme="auto").svg(),
        facts={"Network": "LSTM 4"},
        reach=("The gradient goes back.", charts),
    )


def picture(path: Path) -> None:
    """Write a picture as a page."""
    tg.draw(loss(), detail="op", theme="auto").save(path)


def gradients(path: Path) -> None:
    """Write a picture with figures as a page."""
    tg.draw(loss(), heat="grad", ledger=True, memory=True, theme="auto").save(path)


PAGES: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (explorer, report, picture, gradients)
}


def violations(page: Any) -> list[str]:
    """Return what axe-core finds."""
    assert AXE is not None
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document)")["violations"]
    return [f"{v['id']}: {node['html'][:120]}" for v in found for node in v["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browser: Any, tmp_path: Path, name: str, scheme: str) -> None:
    path = tmp_path / f"{name}.html"
    PAGES[name](path)
    for width, height in SIZES:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        page.goto(path.as_uri())
        assert violations(page) == [], width
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        if name == "explorer":
            for key in ("b", "End", "?"):
                page.keyboard.press(key)
                page.wait_for_timeout(100)
                assert violations(page) == [], (width, key)
        context.close()


def test_a_fault_is_found(browser: Any) -> None:
    page = browser.new_page()
    page.set_content("<!doctype html><html lang='en'><title>t</title><main><h1>t</h1><img src=''>")
    assert any(v.startswith("image-alt") for v in violations(page))
    page.close()
