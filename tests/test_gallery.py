"""The pictures of the gallery as a browser draws them: letters in their boxes, boxes apart, lines free."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .browsers import in_browser

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
NAMES = sorted(p.stem for p in GALLERY.glob("*.svg"))
READABLE = 9.0  # pixels of the smallest letters
SMALLEST = 8.5  # points

FAULTS = """() => {
    const found = [], at = (e) => e.getBBox(), all = (s) => [...document.querySelectorAll(s)];
    const over = (a, b, d) => a.x + d < b.x + b.width && b.x + d < a.x + a.width && a.y + d < b.y + b.height && b.y + d < a.y + a.height;
    const boxes = all(".node").map((g) => ({name: g.querySelector("text").textContent, rect: at(g.querySelector("rect")), texts: [...g.querySelectorAll(":scope > text")].map(at)}));
    for (const b of boxes) for (const t of b.texts)
        if (t.x < b.rect.x - 0.5 || t.x + t.width > b.rect.x + b.rect.width + 0.5) found.push(`letters of ${b.name} leave its box`);
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => { if (over(a.rect, b.rect, 0.5)) found.push(`${a.name} lies over ${b.name}`); }));
    const inside = (p, r) => p.x > r.x + 1 && p.x < r.x + r.width - 1 && p.y > r.y + 1 && p.y < r.y + r.height - 1;
    for (const line of all(".edge > path")) {
        const long = line.getTotalLength(), name = line.parentNode.querySelector("title").textContent;
        for (let s = 3; s < long - 3; s += 3) {
            const p = line.getPointAtLength(s), hit = boxes.find((b) => inside(p, b.rect));
            if (hit) { found.push(`${name} runs behind ${hit.name}`); break; }
        }
    }
    const [, , w, h] = document.querySelector("svg").getAttribute("viewBox").split(" ").map(Number);
    for (const t of all("svg text")) {
        const b = at(t);
        if (b.x < -1 || b.y < -1 || b.x + b.width > w + 1 || b.y + b.height > h + 1) found.push(`${t.textContent} is cut off`);
    }
    return found;
}"""


@in_browser
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_drawn_well(browser: Any, name: str) -> None:
    page = browser.new_page(reduced_motion="reduce")
    page.set_content((GALLERY / f"{name}.svg").read_text(encoding="utf-8"))
    assert page.evaluate(FAULTS) == []
    page.close()


@pytest.mark.parametrize("name", NAMES)
def test_letters_have_nine_pixels(name: str) -> None:
    text = (GALLERY / f"{name}.svg").read_text(encoding="utf-8")
    shown, whole = (
        float(re.search(p, text)[1]) for p in (r' width="(\d+)"', r'viewBox="0 0 ([\d.]+)')
    )
    assert SMALLEST * shown / whole >= READABLE - 0.05


@in_browser
def test_faults_are_found(browser: Any) -> None:
    page = browser.new_page()
    page.set_content(
        '<svg viewBox="0 0 100 100"><g class="node"><rect x="0" y="0" width="50" height="20"/><text y="10">'
        'a long text that is wider</text></g><g class="node"><rect x="20" y="5" width="50" height="20"/><text x="30" '
        'y="10">b</text></g><g class="edge"><title>a to b</title><path d="M0,50L60,10"/></g></svg>'
    )
    found = " ".join(page.evaluate(FAULTS))
    assert "leave its box" in found and "lies over" in found and "runs behind" in found
    assert "is cut off" in found
    page.close()
