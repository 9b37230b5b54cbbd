"""Pictures where people look at them: several in one page, in notebooks, as text and as Mermaid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.drawing.boxes import Family
from tinygrad_rnn.drawing.style import BACK, STATE
from tinygrad_rnn.palette import THEMES

from .browsers import in_browser


def net(steps: int = 3, width: int = 4) -> tg.Tensor:
    """Return a loss over the outputs of an Elman cell."""
    cell = tg.cells.Elman(3, width, rng=0)
    ys, _ = tg.unroll(cell, np.random.default_rng(0).standard_normal((steps, 2, 3)))
    return (ys * ys).mean()


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


# --- one language of colour ------------------------------------------------------------------------


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorer_has_the_colours_of_drawn_pictures(
    browser: Any, tmp_path: Path, scheme: str
) -> None:
    cell = tg.cells.LSTM(3, 4, rng=0)
    with tg.eager():
        ys, _ = tg.unroll(cell, np.ones((2, 2, 3), np.float32))
    (ys * ys).mean().backward(create_graph=True)
    tg.explore((cell.weight_hh.grad**2).sum(), tmp_path / "e.html")
    page = browser.new_page(color_scheme=scheme)
    page.goto((tmp_path / "e.html").as_uri())
    theme = THEMES[scheme]
    found = page.evaluate("explorer.scene.palette")
    # also the boxes of values that are read again
    assert (found["saved"], found["saved-edge"]) == theme.fills[Family.SAVED]
    assert (found["linear"], found["linear-edge"]) == theme.fills[Family.LINEAR]
    assert found["backward"] == theme.edges[BACK] and found["state"] == theme.edges[STATE]
    page.keyboard.press("End")
    ramp = page.locator("#legend .ramp i").get_attribute("style")
    colours = [tuple(map(int, c)) for c in re.findall(r"rgb\((\d+), ?(\d+), ?(\d+)\)", ramp)]
    assert colours[0] == (0, 34, 78) and colours[-1] == (254, 232, 56)  # dark is weak in both
    page.close()


@in_browser
def test_the_explorer_is_legible_on_a_telephone(browser: Any, tmp_path: Path) -> None:
    tg.explore(net(), tmp_path / "e.html")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((tmp_path / "e.html").as_uri())
    page.keyboard.press("0")
    assert page.evaluate("11 * explorer.scene.camera.k") >= 8.5
    assert page.locator("#theme").get_attribute("title") == "Light or dark (l)"
    page.close()


@in_browser
def test_what_many_steps_add_together_does_not_flatten_the_others(
    browser: Any, tmp_path: Path
) -> None:
    cell = tg.cells.Elman(3, 4, rng=0)
    with tg.eager():
        ys, _ = tg.unroll(cell, np.random.default_rng(0).standard_normal((120, 2, 3)))
    tg.explore((ys * ys).mean(), tmp_path / "e.html", limit=200)
    page = browser.new_page()
    page.goto((tmp_path / "e.html").as_uri())
    page.keyboard.press("End")
    page.wait_for_function("document.querySelectorAll('.bar').length > 2")
    bars = page.eval_on_selector_all(
        ".bar",
        "all => all.map(b => [b.classList.contains('sum'), Number(b.getAttribute('height'))])",
    )
    assert sum(together for together, _ in bars) == 1
    assert max(height for together, height in bars if not together) > 50
    page.close()


# --- what is read out and what is measured ---------------------------------------------------------


def test_a_picture_says_what_it_is_to_those_who_do_not_see_it() -> None:
    drawing = tg.draw(net(), title="An Elman cell & its loss", detail="op")
    root = ElementTree.fromstring(drawing.svg())
    space = "{http://www.w3.org/2000/svg}"
    title, said = root.find(f"{space}title"), root.find(f"{space}desc")
    assert (
        root.get("role") == "img"
        and root.get("aria-labelledby") == f"{title.get('id')} {said.get('id')}"
    )
    assert title.text == "An Elman cell & its loss"
    assert "in 3 time steps; the result is mean" in said.text
    lines = [
        e.find(f"{space}title").text for e in root.iter(f"{space}g") if "edge" in e.get("class", "")
    ]
    assert lines and not any(re.search(r"\b[npz]\d+\b", line) for line in lines)
    assert "h = tanh \N{RIGHTWARDS ARROW} ys = stack(axis=0)" in lines


def test_memory_outside_of_the_steps_is_told_apart() -> None:
    note = tg.draw(net(), memory=True).note
    assert re.search(
        r"Saved for the backward: \d+ B at the end of the forward, the peak, \d+ B of it outside of the steps",
        note,
    )


def test_the_first_number_of_a_scale_stands_in_the_picture() -> None:
    svg = tg.draw(net(), heat=[0.0066, 0.02, 0.03]).svg()
    (legend,) = re.findall(r'id="[^"]*-legend">(.*)', svg)
    (left,) = re.findall(r'<text x="([\d.]+)" y="[\d.]+">0\.0066<', legend)
    assert float(left) - 0.64 * 8.5 * len("0.0066") / 2 >= 0


# --- notebooks -------------------------------------------------------------------------------------


def test_a_notebook_gets_html_and_svg_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = tg.draw(net())
    bundle = drawing._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/svg+xml"}
    assert set(drawing._repr_mimebundle_(exclude=["text/html"])) == {"text/plain", "image/svg+xml"}
    monkeypatch.setattr("tinygrad_rnn.drawing.picture.frame_of", None)
    assert set(drawing._repr_mimebundle_()) == {"text/plain", "image/svg+xml"}


def test_where_nothing_renders_a_notebook_that_is_not_trusted_shows_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tinygrad_rnn.drawing.picture.render", lambda *_, **__: (None, []))
    text = tg.draw(net())._repr_html_()
    # what is left of it without frames and styles
    left = re.sub(r"<iframe .*?</iframe>|<style>.*?</style>", "", text, flags=re.DOTALL)
    assert left == (
        '<div class="tg-behind"><p>The notebook is not trusted, so the picture is not shown: '
        "trust it, or run the cell.</p></div>"
    )
    monkeypatch.setattr("tinygrad_rnn.drawing.picture.render", lambda *_, **__: (b"PNG", []))
    assert 'src="data:image/png;base64,UE5H"' in tg.draw(net())._repr_html_()


@in_browser
@pytest.mark.parametrize("width", [400, 850])
def test_a_picture_in_a_notebook_fits_or_scrolls_and_says_what_boxes_are(
    browser: Any, width: int
) -> None:
    drawing = tg.draw(net(5), theme="dark", detail="op")
    page = browser.new_page(viewport={"width": width + 40, "height": 900})
    page.set_content(
        f"<style>svg{{display:none}}</style><div style='width:{width}px'>{drawing._repr_html_()}</div>"
    )
    frame = page.frames[1]
    frame.wait_for_selector("svg")
    place = page.locator("iframe").bounding_box()
    svg = frame.locator("svg").bounding_box()
    whole = drawing._layout.width * 4 / 3
    assert place["width"] <= width
    assert svg["width"] == pytest.approx(max(min(width, whole), 0.6 * whole), abs=1)
    assert svg["height"] <= place["height"] + 1  # it does not scroll upwards
    # rules of the page do not reach it, and its boxes say what they are
    assert frame.locator(".node title").first.text_content().startswith("parameter weight")
    assert page.locator(".tg-behind").is_hidden()
    page.close()


@in_browser
def test_the_explorer_steps_inside_of_a_notebook(browser: Any, tmp_path: Path) -> None:
    path = tg.explore(net(), tmp_path / "e.html")
    assert isinstance(path, Path) and path == tmp_path / "e.html"
    page = browser.new_page()
    page.set_content(path._repr_html_())
    frame = page.frames[1]
    frame.wait_for_selector("#next")
    frame.click("#next")
    frame.wait_for_function("explorer.app.step === 1")
    path.unlink()
    assert path._repr_html_() is None
    page.close()


# --- text and Mermaid ------------------------------------------------------------------------------


def test_a_drawing_as_text_has_80_columns_and_every_box() -> None:
    drawing = tg.draw(tg.cells.LSTM(3, 4, rng=0))
    lines = drawing.text().splitlines()
    assert max(map(len, lines)) == 80
    rows = {tuple(line.strip("\u2502 ").split("  ", 1)[0].split(" = ")): line for line in lines}
    assert rows["c", "+"].split("\u2190")[1].strip("\u2502 ") == "%7, %10"
    assert "weight_hh.T, h of the step before" in drawing.text()
    assert "4 of 4 steps are the same" in lines[-1]
    counted = sum(not b.port for b in drawing._sketch.boxes)
    assert len(lines) == counted + 4  # the title, the outline and the note
    narrow = drawing.text(40).splitlines()
    assert max(map(len, narrow)) <= 40
    with pytest.raises(tg.drawing.DrawingError, match="at least 40"):
        drawing.text(20)


def test_text_says_of_which_step_a_value_is() -> None:
    text = tg.draw(net(2)).text()
    assert "h (t = 0), weight_hh.T" in text
    assert re.search(r"stack\(axis=0\) .*h \(t = 0\), h", text)


def test_mermaid_has_the_boxes_the_steps_and_the_arrows(tmp_path: Path) -> None:
    drawing = tg.draw(net(2), title='a "quoted" <title>')
    drawing.save(tmp_path / "cell.mmd")
    lines = (tmp_path / "cell.mmd").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "flowchart LR"
    assert sum(line.strip().startswith("subgraph") for line in lines) == 2
    boxes = {m[1] for line in lines if (m := re.match(r"\s+([np]\d+)[(\[]", line))}
    assert boxes == {b.name for b in drawing._sketch.boxes}
    arrows = [
        m.groups() for line in lines if (m := re.match(r"\s+(\w+) (?:-->|==>|-\.->) (\w+)$", line))
    ]
    assert arrows == [(a.tail.name, a.head.name) for a in drawing._sketch.arrows]
    named = tg.tensor(np.ones(2), requires_grad=True, name='"]; end %% <b>')
    assert all(
        sign not in tg.draw(named * 2).mermaid().split("classDef")[0]
        for sign in ('"]; end', "%%", "<b>")
    )
