"""The film of a picture: the order of its moments, and what is seen of it in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.drawing import DrawingError
from tinygrad_rnn.drawing.film import MOST, PALE, Film
from tinygrad_rnn.drawing.picture import Drawing

from .browsers import in_browser


def net(steps: int = 3) -> tg.Tensor:
    """Return a loss over the outputs of an Elman cell."""
    xs = np.random.default_rng(0).standard_normal((steps, 2, 3))
    ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), xs)
    return (ys * ys).mean()


def cut() -> tg.Tensor:
    """Return a loss behind a state that was detached."""
    window = list(tg.tbptt(tg.cells.Elman(3, 4, rng=0), np.ones((8, 2, 3)), k1=4, k2=4))[1]
    return (window.ys**2).mean()


def both() -> tg.Tensor:
    """Return a loss over a sequence read in both directions, of which a condition takes parts."""
    ys, _ = tg.nn.GRU(3, 4, bidirectional=True, rng=0)(np.ones((3, 2, 3), np.float32))
    return tg.where(ys > 0, ys, 0.0).sum()


PICTURES: dict[str, Callable[[], Drawing]] = {
    "cells": lambda: tg.draw(net(6)),
    "operations": lambda: tg.draw(net(2), detail="op"),
    "elided": lambda: tg.draw(net(40), detail="op"),
    "cut": lambda: tg.draw(cut(), detail="op"),
    "both": lambda: tg.draw(both(), detail="op"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_values_come_before_what_reads_them_and_gradients_after(name: str) -> None:
    drawing = PICTURES[name]()
    film = Film(drawing._sketch, drawing._layout, None)
    given = {b for b, moment in film.there.items() if moment == 0}
    assert {b for b in drawing._sketch.boxes if b.leaf} <= given
    for a in drawing._sketch.arrows:
        tail = a.tail.source or a.tail
        if not (tail.gap or a.head.gap):  # what is hidden is computed and visited in between
            assert film.there[tail] < film.there[a.head] or a.head in given
            if tail in film.back and a.head in film.back:
                assert film.back[a.head] <= film.back[tail]
                assert film.back[a.head] < film.back[tail] or tail.leaf
    assert sorted(film.there[b] for b in drawing._sketch.boxes if not b.port and not b.leaf) == [
        *range(1, film.forward + 1)
    ]


def test_gradients_go_where_the_engine_takes_them() -> None:
    loss = cut()
    tape = tg.tape(loss)
    drawing = tg.draw(loss, detail="op")
    film = Film(drawing._sketch, drawing._layout, None)
    ports = sum(b.port and b.order is not None for b in drawing._sketch.boxes)
    visited = sum(n.requires_grad and n.op != "leaf" for n in tape)
    assert film.moments - film.forward == visited - ports
    assert {b.title for b in film.back if b.leaf} == {
        "weight_ih",
        "weight_hh",
        "bias_ih",
        "bias_hh",
    }
    (severed,) = [a for a in drawing._sketch.arrows if a.tail.cut]
    assert "graded" not in film.arrow(severed, "", "")
    read = next(a for a in drawing._sketch.arrows if a.head in film.back and a.tail.needs)
    assert "graded" in film.arrow(read, "", "")
    data = next(a for a in drawing._sketch.arrows if a.tail.title.startswith("x["))
    assert "graded" not in film.arrow(data, "", "")


def test_gradients_that_are_drawn_already_have_no_walk_back() -> None:
    drawing = tg.draw(net(2), backward=True)
    film = Film(drawing._sketch, drawing._layout, None)
    assert film.moments == film.forward and not film.back
    assert "backward" not in film.foot()


def test_what_makes_no_film_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DrawingError, match=r"one step for all.*fold=False"):
        tg.draw(tg.cells.LSTM(3, 4)).film(tmp_path / "f.svg")
    with pytest.raises(DrawingError, match=r"such as walk\.svg, found 'f\.gif'"):
        tg.draw(net()).film(tmp_path / "f.gif")
    with pytest.raises(DrawingError, match=rf"at most {MOST}; .*detail"):
        tg.draw(net(60), show="all", detail="op").film(tmp_path / "f.svg")
    for seconds in (0, -1.0, float("nan")):
        with pytest.raises(DrawingError, match="length of time"):
            tg.draw(net()).film(tmp_path / "f.svg", seconds=seconds)
    assert not list(tmp_path.iterdir())


def test_films_in_one_page_have_rules_of_their_own(tmp_path: Path) -> None:
    texts = []
    for k, seconds in enumerate((3.0, 7.0)):
        tg.draw(net()).film(tmp_path / f"{k}.svg", seconds=seconds)
        texts.append((tmp_path / f"{k}.svg").read_text(encoding="utf-8"))
    frames = [set(re.findall(r"@keyframes ([\w-]+)", text)) for text in texts]
    assert len(frames[0]) == len(frames[1]) > 10
    used = [set(re.findall(r"animation:([\w-]+)", text)) for text in texts]
    assert used == frames
    assert " 3.0s " in texts[0] and " 7.0s " in texts[1]
    assert not any(re.search(r"\.tg[ :]", text) for text in texts)


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("film") / "walk.svg"
    tg.draw(net(4)).film(found)
    return found


def seen(page: Any, selector: str) -> list[float]:
    """Return how opaque what is selected is."""
    return page.eval_on_selector_all(  # type: ignore[no-any-return]
        selector, "all => all.map(e => Number(getComputedStyle(e).opacity))"
    )


@in_browser
def test_a_film_begins_pale_and_ends_with_all_gradients(browser: Any, path: Path) -> None:
    page = browser.new_page()
    page.goto(path.as_uri())
    to = """part => document.getAnimations().forEach(a => {
        a.pause(); a.currentTime = a.effect.getComputedTiming().duration * part; })"""
    page.evaluate(to, 0.0)
    assert set(seen(page, ".later")) == {PALE}
    assert set(seen(page, ".graded")) == {0.0}
    page.evaluate(to, 0.3)
    assert PALE in seen(page, ".later") and 1.0 in seen(page, ".later")
    assert seen(page, ".now").count(1.0) == 1
    page.evaluate(to, 0.99)
    assert set(seen(page, ".later")) == set(seen(page, ".graded")) == {1.0}
    assert set(seen(page, ".now")) == set(seen(page, ".gone")) == {0.0}
    page.close()


@in_browser
def test_the_pointer_on_the_bar_stops_it(browser: Any, path: Path) -> None:
    page = browser.new_page()
    page.goto(path.as_uri())
    playing = "() => [...new Set(document.getAnimations().map(a => a.playState))].join()"
    assert page.evaluate(playing) == "running"
    bar = page.locator(".film .ahead").bounding_box()
    page.mouse.move(bar["x"] + 50, bar["y"] + 12)
    page.wait_for_timeout(100)
    assert page.evaluate(playing) == "paused"
    page.close()


@in_browser
def test_less_motion_is_none_and_shows_the_end(browser: Any, path: Path) -> None:
    page = browser.new_page(reduced_motion="reduce")
    page.goto(path.as_uri())
    assert page.evaluate("document.getAnimations().length") == 0
    assert set(seen(page, ".later")) == set(seen(page, ".graded")) == {1.0}
    assert set(seen(page, ".now")) == set(seen(page, ".gone")) == {0.0}
    page.close()
