"""The address of the explorer's page: a link to a step of the walk, in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from .browsers import in_browser, watched

pytestmark = in_browser
STEPS = 4


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("link") / "e.html"
    with tg.eager():
        ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), np.ones((STEPS, 2, 3), np.float32))
    tg.explore((ys * ys).mean(), path)
    return path.as_uri()


@pytest.fixture
def at(browser: Any, address: str) -> Iterator[Callable[[str], Any]]:
    """Give a function that opens a link."""
    with watched(browser) as opened:
        yield lambda link: opened(address + link)


def until(page: Any, said: str) -> None:
    """Wait until an expression holds; the page forbids texts that become programs."""
    for _ in range(100):
        if page.evaluate(said):
            return
        page.wait_for_timeout(20)
    raise AssertionError(said)


def stand(page: Any) -> tuple[int, int | None, int | None]:
    """Return the step, the number on the tape of the node in hand, and of that looked at."""
    return tuple(
        page.evaluate(
            """() => { const {app, data, forward: F} = explorer, of = (k) => k < 0 ? null : data.boxes[k].tape,
            s = app.step, hand = s === 0 ? -1 : s <= F ? data.forward[s - 1] : data.backward[s - F - 1].box;
            return [s, of(hand), of(app.selected)] }"""
        )
    )


def test_each_step_has_a_link_that_leads_to_it(at: Callable[[str], Any]) -> None:
    page = at("")
    steps = page.evaluate("explorer.steps")
    links = page.evaluate(
        "() => Array.from({length: explorer.steps + 1}, (_, s) => { explorer.go(s); return explorer.link(); })"
    )
    assert links[0] == "" and len(set(links)) == steps + 1
    assert any(link.startswith("#t=3,node=") for link in links)
    for step in range(1, steps + 1, 5):
        page.evaluate("link => { location.hash = link }", links[step])
        until(page, f"explorer.app.step === {step}")
    page = at(links[-1])
    assert stand(page)[0] == steps and page.locator("#where b").inner_text().startswith("Backward")


def test_a_link_says_step_node_and_direction(at: Callable[[str], Any]) -> None:
    page = at("#t=3")
    first = stand(page)
    assert page.evaluate("n => explorer.data.boxes.find(b => b.tape === n).step", first[1]) == 3
    _, node, _ = stand(at(f"#t=3,node={first[1]}"))
    assert node == first[1]
    back = stand(at(f"#t=3,node={first[1]},back"))
    assert back[1] == first[1] and back[0] > page.evaluate("explorer.forward") >= first[0]
    looked = stand(at(f"#t=3,node={first[1]},see=0"))
    assert looked == (first[0], first[1], 0)
    assert stand(at("#back"))[0] == page.evaluate("explorer.forward") + 1
    # what is given is looked at before the first step
    assert stand(at("#node=0")) == (0, None, 0)
    visible = page.evaluate(
        "() => { const [x, y] = explorer.screen(explorer.data.forward[explorer.app.step - 1]); return x > 0 && y > 0 && x < 1280 && y < 800 }"
    )
    assert visible


def test_the_address_follows_the_steps(at: Callable[[str], Any]) -> None:
    page = at("")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    until(page, "location.hash === explorer.link() && location.hash !== ''")
    page.evaluate("explorer.select(0)")
    until(page, "location.hash.endsWith(',see=0')")
    page.keyboard.press("Home")
    until(page, "location.hash === ''")


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("#t=99", "no step at t = 99"),
        ("#node=9999", "does not show node 9999"),
        ("#t=3,node=0", "not of t = 3"),
        ("#step=100000", "The walk has"),
        ("#nonsense", "says no place"),
        ("#t=1,see=9999", "does not show node 9999"),
    ],
)
def test_a_link_that_leads_nowhere_says_so(at: Callable[[str], Any], link: str, words: str) -> None:
    page = at(link)
    assert words in page.locator("#note").inner_text()
    assert stand(page)[0] == 0
