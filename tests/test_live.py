"""The live page of the course: its numbers are the engine's, and it can be used by everybody."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.drawing.explorer import COLOURS
from tinygrad_rnn.palette import DARK, LIGHT

from .browsers import Page, contrast, in_browser, watched

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "learn" / "live.html"
TEXT = PAGE.read_text(encoding="utf-8")
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": tg.tanh,
    "relu": tg.relu,
    "linear": lambda a: a,
    "sigmoid": tg.sigmoid,
}
SETTINGS = [
    "",
    "gain=0.5",
    "gain=1.4&T=100",
    "gain=2.5&T=100&n=8",
    "T=2&n=1",
    "gain=0.05&T=100&n=8&W=orthogonal",
    "gain=1.1&T=60&n=8&window=7",
    "gain=1&n=3&W=identity&window=1&seed=5",
    "T=30&n=5&loss=every&seed=2",
    "gain=1.2&T=30&n=2&W=orthogonal&loss=every&window=6&seed=3",
]


@pytest.fixture
def live(browser: Any) -> Iterator[Callable[..., Page]]:
    """Open the page with some settings."""
    with watched(browser) as opened:
        yield lambda settings="", **options: opened(f"{PAGE.as_uri()}#{settings}", **options)


# --- numbers --------------------------------------------------------------------------------------


class Net(tg.Cell):
    """The net of the page, with the weights of the page."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.W = tg.Parameter(np.array(found["W"], np.float64))
        self.u = tg.Parameter(np.array(found["u"], np.float64))
        self.function = FUNCTIONS[found["settings"]["f"]]

    def initial_state(self, batch_size: int) -> tg.Tensor:
        return self.zeros(batch_size, len(self.u))

    def forward(self, x: Any, h: Any) -> Any:
        h = self.function(h @ self.W.T + x * self.u)
        return h, h


def numbers(found: dict[str, Any], reach: int) -> dict[str, Any]:
    """What the engine says: for each loss, the steps that it reaches are unrolled anew."""
    net, v, x = Net(found), np.array(found["v"]), np.array(found["x"]).reshape(-1, 1, 1)
    steps, every = len(x), found["settings"]["loss"] == "every"
    states = tg.unroll(net, x)[0].numpy()
    gradients, parts = np.zeros(states.shape), np.zeros((steps, *net.W.shape))
    value = 0.0
    for s in range(steps) if every else [steps - 1]:
        start = max(0, s - reach + 1)
        reached: list[tg.Tensor] = []
        ys, _ = tg.unroll(
            net,
            x[start : s + 1],
            tg.tensor(states[start - 1]) if start else None,
            hook=lambda t, output, state, reached=reached: reached.append(
                output.retain_grad() or output
            ),
        )
        loss = 0.5 * ((ys[-1] * v).sum() - x[0, 0, 0]) ** 2
        flow = tg.gradient_flow(loss, net)
        for t, part in flow.contributions("W").items():
            parts[start + t] += part
        loss.backward()
        for t, state in enumerate(reached):
            gradients[start + t] += 0.0 if state.grad is None else state.grad.numpy()
        value += loss.item()
    return {
        "h": states[:, 0],
        "loss": value,
        "gradients": gradients[:, 0],
        "parts": parts.reshape(steps, -1),
        "dW": net.W.grad.numpy().ravel(),
    }


def lengths(rows: np.ndarray) -> np.ndarray:
    """Norms of rows, also of those whose squares are too small for float64."""
    top = np.abs(rows).max(axis=1)
    return top * np.linalg.norm(rows / np.where(top == 0, 1, top)[:, None], axis=1)


def jacobians(found: dict[str, Any], states: np.ndarray) -> np.ndarray:
    """The norms of the products of the Jacobians of the steps, each by forward mode."""
    net, x = Net(found), np.array(found["x"]).reshape(-1, 1)
    product, norms = np.eye(states.shape[1]), [1.0]
    for t in range(len(x) - 1, 0, -1):
        step = tg.jacobian(lambda h, t=t: net(tg.tensor(x[t]), h)[1])
        product = product @ step(tg.tensor(states[t - 1])).numpy()
        norms.append(np.linalg.norm(product, 2))
    return np.array(norms[::-1])


@in_browser
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_numbers_are_the_engines(function: str, settings: str, live: Callable[..., Page]) -> None:
    found = live(f"f={function}&{settings}").evaluate("live.result")
    window, steps = found["settings"]["window"], found["settings"]["T"]
    expected = numbers(found, window)
    whole = numbers(found, steps)
    norms = jacobians(found, expected["h"])
    expected |= {
        "gradientNorms": lengths(expected["gradients"]),
        "partNorms": lengths(expected["parts"]),
        "wholeNorms": lengths(whole["gradients"]),
        "wholeW": whole["dW"],
        "jacobians": norms,
        "singular": np.linalg.norm(found["W"], 2),
        "radius": np.abs(np.linalg.eigvals(found["W"])).max(),
    }
    for name, values in expected.items():
        scale = np.abs(values).max(axis=-1, keepdims=True) if np.ndim(values) > 1 else 0
        error = np.abs(np.array(found[name]) - values)
        assert (error <= 1e-10 * np.maximum(np.abs(values), scale) + 1e-300).all(), name


@in_browser
def test_a_window_is_that_of_truncated_backpropagation(live: Callable[..., Page]) -> None:
    found = live("T=20&loss=every&window=6").evaluate("live.result")
    net, v, x = Net(found), np.array(found["v"]), np.array(found["x"]).reshape(-1, 1, 1)
    for window in tg.tbptt(net, x, k1=1, k2=6):
        window.backward(0.5 * ((window.ys[-1] * v).sum() - x[0, 0, 0]) ** 2)
    np.testing.assert_allclose(net.W.grad.numpy().ravel(), found["dW"], rtol=1e-10)


@in_browser
def test_the_spectrum_of_a_product_is_that_of_the_flow(live: Callable[..., Page]) -> None:
    found = live("gain=1.2&T=25").evaluate("live.result")
    ys, _ = tg.unroll(Net(found), np.array(found["x"]).reshape(-1, 1, 1))
    flow = tg.gradient_flow(ys[-1].sum())
    for start in (3, 11, 20):
        largest = flow.spectrum(start, 24).values[0, 0]
        np.testing.assert_allclose(found["jacobians"][start], largest, rtol=1e-10)


@in_browser
def test_weights_are_what_the_page_says(live: Callable[..., Page]) -> None:
    page = live("W=orthogonal&gain=0.7&n=8")
    weights = np.array(page.evaluate("live.result.W"))
    np.testing.assert_allclose(weights @ weights.T, 0.49 * np.eye(8), atol=1e-14)
    inputs = page.evaluate("live.result.x")
    first = page.evaluate("live.result.W")
    for seed in range(1, 12):  # one unit always has the gain as its weight
        page.evaluate(f"location.hash = 'n=1&gain=0.5&seed={seed}'")
        page.wait_for_function(f"live.settings.seed === {seed} && live.settings.n === 1")
        assert page.evaluate("live.result.W") == [[pytest.approx(0.5, abs=1e-14)]]
    page.evaluate("location.hash = 'W=orthogonal&gain=0.7&n=8&T=90'")
    page.wait_for_function("live.settings.T === 90")  # more steps begin as fewer do
    assert page.evaluate("live.result.W") == first
    assert page.evaluate("live.result.x")[:40] == inputs


# --- words ----------------------------------------------------------------------------------------

RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def said(words: str) -> float:
    """A number as the page writes it."""
    times, power = re.fullmatch(r"([\d.]+)?·?(?:10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", words).groups()
    return float(times or 1) * 10.0 ** int((power or "0").translate(RAISED))


@in_browser
@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ("gain=0.5", "vanishing"),
        ("gain=0.9", "vanishing"),
        ("gain=0.6&f=sigmoid&T=12&loss=every", "vanishing"),
        ("gain=1.3&f=linear", "exploding"),
        ("gain=1.1&f=linear&T=90&n=7", "exploding"),
        ("gain=2.5&f=linear", "exploding"),
        ("gain=1&f=linear&W=orthogonal&T=100", "roughly keeps its size"),
        ("gain=1&f=relu&W=identity&n=1", "ends at step|roughly keeps its size"),
    ],
)
def test_the_sentence_says_what_the_numbers_are(
    settings: str, kind: str, live: Callable[..., Page]
) -> None:
    page = live(settings)
    found, sentence = page.evaluate("live.result"), page.locator("#seen").inner_text()
    assert re.search(kind, sentence), sentence
    whole = numbers(found | {"settings": found["settings"] | {"loss": "last"}}, 100)["gradients"]
    norms = lengths(whole)
    if "ends at step" in sentence:
        first = int(re.search(r"step (\d+):", sentence)[1])
        assert norms[first] > 0 and (norms[:first] == 0).all()
        return
    left = norms[0] / norms[-1]
    factor = left ** (1 / (len(norms) - 1))
    number = r"([\d.]+(?:·10)?[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]*)"
    written = re.search(rf"[Aa]t step 0,?(?: it is)? {number} (?:of|times)", sentence)
    assert said(written[1]) == pytest.approx(left, rel=0.051)
    if kind in ("vanishing", "exploding"):
        assert (factor < 1) == (kind == "vanishing")
        if every := re.search(rf"(halves|doubles) every {number} steps", sentence):
            assert (every[1] == "halves") == (factor < 1)
            steps = math.log(2) / abs(math.log(factor))
            assert said(every[2]) == pytest.approx(steps, rel=0.051)
        else:
            step = re.search(rf"(?:shrinks to|grows) {number} (?:of its size|times) at", sentence)
            assert said(step[1]) == pytest.approx(factor, rel=0.051)


@in_browser
def test_what_else_is_said(live: Callable[..., Page]) -> None:
    def more(settings: str) -> tuple[str, dict[str, Any]]:
        page = live(settings)
        return page.locator("#more").inner_text(), page.evaluate("live.result")

    text, found = more("gain=0.5&W=orthogonal")
    assert (
        "γσ₁ = 1 \u00d7 0.5 = 0.5 is below 1: over many steps the gradient has to vanish." in text
    )
    text, found = more("gain=1.5&f=sigmoid")
    assert f"γσ₁ = 0.25 \u00d7 {found['singular']:.3g} = {found['bound']:.3g} is below 1" in text
    text, found = more("gain=2.5&window=8")
    slopes = 1 - np.array(found["h"]) ** 2
    share = re.search(r"([\d.]+) % of the states are saturated", text)
    assert float(share[1]) == pytest.approx(100 * (slopes < 0.1).mean(), rel=0.051)
    part, whole = np.array(found["dW"]), np.array(found["wholeW"])
    sizes = np.linalg.norm(part) / np.linalg.norm(whole)
    angle = math.degrees(math.acos(part @ whole / np.linalg.norm(part) / np.linalg.norm(whole)))
    written = re.search(r"window of 8 steps dL/dW is (?:(.+) times )?as long .* points (.+)°", text)
    assert said(written[1] or "1") == pytest.approx(sizes, rel=0.051)
    assert said(written[2]) == pytest.approx(angle, rel=0.051)
    text, _ = more("gain=2.5&f=linear&T=100")
    assert "In float32, some of these numbers are infinite." in text
    text, found = more("gain=0.3&f=sigmoid&T=100")
    step = int(re.search(r"In float32, the gradient is 0 before step (\d+)", text)[1])
    small = np.array(found["last"]).astype(np.float32)
    assert small[step] > 0 and (small[:step] == 0).all()
    text, _ = more("T=10&window=1&n=1&gain=0.5")
    assert "With a window of 1 step dL/dW" in text


# --- the page -------------------------------------------------------------------------------------


def test_one_file_that_asks_for_nothing_in_the_colours_of_the_explorer() -> None:
    assert "<!doctype html>" in TEXT and "default-src 'none'" in TEXT
    assert not re.findall(
        r"https?:|<link(?! rel=\"icon\" href=\"data:,\")|<script src|@import", TEXT
    )
    for theme, palette in ((r":root \{", LIGHT), (r':root\[data-theme="dark"\] \{', DARK)):
        ours = re.findall(r"--[\w-]+: #\w+;", re.search(theme + r"(.*?)\}", TEXT, re.S)[1])
        theirs = re.findall(r"--[\w-]+: #\w+;", palette.variables(COLOURS))
        assert len(ours) > 10 and set(ours) <= set(theirs)


@in_browser
def test_settings_stand_in_the_address(live: Callable[..., Page]) -> None:
    page = live()
    page.locator("#gain").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("location.hash") == "#gain=0.91"
    page.locator("#window").focus()
    page.keyboard.press("ArrowLeft")
    page.locator("#f-tanh").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("location.hash") == "#gain=0.91&f=relu&window=39"
    page.locator("#again").press("Enter")
    before = page.evaluate("live.result.dW")
    again = live(page.evaluate("location.hash.slice(1)"))
    assert again.evaluate("live.result.dW") == before
    assert again.evaluate("live.settings.seed") == 2
    page.locator("#T").focus()
    page.keyboard.press("ArrowRight")  # a window that cuts stays, one that does not grows
    assert page.evaluate("live.settings.window") == 39
    free = live()
    free.locator("#T").focus()
    free.keyboard.press("ArrowRight")
    assert free.evaluate("live.settings.window") == free.evaluate("live.settings.T") == 41


@in_browser
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("gain=7", "gain=7: expected a number from 0.05 to 2.5"),
        ("T=4.5", "T=4.5: expected a whole number from 2 to 100"),
        ("f=gelu", "f=gelu: expected tanh, relu, linear, sigmoid"),
        ("f=toString", "f=toString: expected tanh"),
        ("n=nine&T=30", "n=nine: expected a whole number from 1 to 8"),
        ("units=3", "units: expected one of gain, T, window"),
    ],
)
def test_an_address_that_is_wrong_is_said(
    address: str, words: str, live: Callable[..., Page]
) -> None:
    page = live(address)
    assert words in page.locator("#note").inner_text()
    usual = {"gain": 0.9, "f": "tanh", "n": 4, "T": 30 if "T=30" in address else 40}
    assert page.evaluate("live.settings").items() >= usual.items()
    page.locator("#gain").focus()
    page.keyboard.press("ArrowRight")
    assert not page.locator("#note").is_visible()


@in_browser
def test_links_of_the_pages_ask_for_settings_that_there_are(live: Callable[..., Page]) -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")]
    asked = {
        (path.name, link)
        for path in pages
        for link in re.findall(r"live\.html#([^)\s\"`]+)", path.read_text(encoding="utf-8"))
    }
    page = live()
    wrong = [
        (name, link) for name, link in sorted(asked) if page.evaluate("t => live.read(t)[1]", link)
    ]
    assert not wrong
    assert page.evaluate("live.read('gain=3')[1]") != []


@in_browser
def test_all_by_the_keyboard_and_for_readers(live: Callable[..., Page]) -> None:
    page = live("n=3")
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        shown = "#" + reached[-1] + " + span" if "-" in reached[-1] else ":focus"
        assert page.evaluate(
            "s => document.activeElement === document.body || getComputedStyle(document.querySelector(s)).outlineStyle !== 'none'",
            shown,
        ), reached[-1]
    order = ["again", "theme", "gain", "T", "window", "n", "f-tanh", "W-random", "loss-last"]
    assert reached[: len(order) + 2] == [*order, "at", "SUMMARY"]
    page.locator("#at").focus()
    page.keyboard.press("Home")
    assert page.locator("#numbers").inner_text().startswith("h = (")
    assert page.locator("#at-value").inner_text() == "t = 0"
    page.locator("summary").press("Enter")
    page.wait_for_selector("#table tbody tr")
    assert page.locator("#table tbody tr").count() == 40
    assert page.locator("#table thead th").count() == 1 + 1 + 3 + 4
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, button, [role=img], [role=region], form')].filter(e => !(e.labels?.length"
        " || e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert page.locator("#seen").get_attribute("role") == "status"
    assert "at step 39" in page.locator("#gradients").get_attribute("aria-label")
    assert page.locator("#window").get_attribute("aria-valuetext") == "all steps"
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(390, 844), (1400, 900)])
def test_narrow_and_wide_light_and_dark(
    size: tuple[int, int], scheme: str, live: Callable[..., Page]
) -> None:
    page = live("gain=2.5&f=linear&T=100&window=12&n=8", scheme=scheme, size=size)
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    for selector in ("#seen", "#more", "figcaption", "summary", "label", "#formula"):
        assert contrast(page, selector) > 4.5
    assert contrast(page, "#numbers", "#look") > 4.5
    outside = page.evaluate(
        "[...document.querySelectorAll('figure svg')].flatMap(svg => [...svg.querySelectorAll('text')].filter(t => {"
        " const a = t.getBoundingClientRect(), b = svg.getBoundingClientRect();"
        " return a.left < b.left - 1 || a.right > b.right + 1; }).map(t => t.textContent))"
    )
    assert outside == []
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") != scheme
    page.mouse.wheel(0, 2000)
    page.wait_for_timeout(100)
    assert page.locator("#gain").is_visible()
    box = page.locator("#gain").bounding_box()
    assert size[0] > 860 or 0 <= box["y"] < 200  # sliders stay in sight on a phone


@in_browser
def test_curves_and_controls_show_the_numbers(live: Callable[..., Page]) -> None:
    page = live("gain=1.3&f=relu&T=50&window=20&n=5&W=orthogonal&loss=every")
    found = page.evaluate("live.result")
    for chart, kind, values in (
        ("gradients", "gradient", np.log10(found["gradientNorms"])),
        ("gradients", "whole", np.log10(found["wholeNorms"])),
        ("jacobians", "limit", np.log10(found["bounds"])),
        ("states", "state", np.array(found["h"])[:, 0]),
    ):
        path = page.locator(f"#{chart} path.{kind}").first.get_attribute("d")
        x, y = np.array(re.findall(r"([\d.]+),([\d.]+)", path), float).T
        slope, height = np.polyfit(values, y, 1)
        assert slope < 0 and np.abs(slope * values + height - y).max() < 0.11
        assert np.ptp(np.diff(x)) < 0.21 and len(x) == 50
    bars = page.evaluate(
        "[...document.querySelectorAll('.bar')].map(b => Number(b.getAttribute('height')))"
    )
    parts = np.array(found["partNorms"])
    np.testing.assert_allclose(
        np.array(bars) / max(bars), parts[parts > 0] / parts.max(), rtol=1e-9
    )
    checked = page.evaluate("[...document.querySelectorAll('input:checked')].map(e => e.id)")
    assert checked == ["f-relu", "W-orthogonal", "loss-every"]
    sliders = page.evaluate(
        "['gain', 'T', 'window', 'n'].map(k => document.getElementById(k).value)"
    )
    assert sliders == ["1.3", "50", "20", "5"]
    written = page.locator("#sliders output").all_inner_texts()
    assert written == ["1.30", "50", "20 steps", "5"]
