"""Pages in a browser: Chromium as the system has it (the package `chromium` on Debian), driven by
playwright. Without one of them the tests that are marked `in_browser` are skipped.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

try:
    from playwright.sync_api import Page, sync_playwright
except ImportError:
    Page = Any  # type: ignore[assignment,misc]
    sync_playwright = None  # type: ignore[assignment]

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
in_browser = pytest.mark.skipif(
    BROWSER is None or sync_playwright is None,
    reason="no Chromium is installed" if BROWSER is None else "playwright is not installed",
)


@contextmanager
def launched() -> Iterator[Any]:
    """Run the browser."""
    with sync_playwright() as tool:
        found = tool.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@contextmanager
def watched(browser: Any) -> Iterator[Callable[..., Page]]:
    """Give a function that opens addresses; at the end.

    No page has complained of anything, and none has asked for anything outside of its file.
    """
    complaints: list[str] = []
    contexts = []

    def opened(address: str, *, scheme: str = "light", size: tuple[int, int] = (1280, 800)) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on(
            "request",
            lambda r: (
                None
                if r.url.startswith(("file:", "data:"))
                else complaints.append(f"asked for {r.url}")
            ),
        )
        page.goto(address)
        return page  # type: ignore[no-any-return]

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def contrast(page: Page, front: str, back: str = "body") -> float:
    """The contrast of the colour of an element with the background of another, by WCAG 2."""
    lights = []
    for selector, name in ((front, "color"), (back, "backgroundColor")):
        colour = page.evaluate(
            "([s, n]) => getComputedStyle(document.querySelector(s))[n]", [selector, name]
        )
        assert colour.startswith("rgb("), colour
        parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)
