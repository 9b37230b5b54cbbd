"""The look, and words made safe for DOT and XML."""

from __future__ import annotations

import re
from html import escape

from .layout import Layout
from .sketch import ARITHMETIC, FUNCTION, GAP, INPUT, LINEAR, PARAMETER, REDUCTION, SHAPING, Arrow

FILLS = {  # family -> inside and outline of its boxes
    ARITHMETIC: ("#f4f4f0", "#8c8c84"),
    FUNCTION: ("#f8e4d7", "#bd7d55"),
    LINEAR: ("#dde9f6", "#5f88b5"),
    REDUCTION: ("#ebe2f3", "#8d70ad"),
    SHAPING: ("#e4efe3", "#7a9c7b"),
    PARAMETER: ("#fbefc6", "#bf9a2e"),
    INPUT: ("#ffffff", "#999999"),
    GAP: ("#ffffff", "#999999"),
}
FRAME = ("#f8f9fb", "#dadee3")
GAP_STYLE, ROOT_WIDTH = "rounded,filled,dashed", 2.0
FONT = "Helvetica,Arial,sans-serif"
SIZE, SMALL = 11.0, 8.5  # of letters, in points
TEXT, FAINT = "#1f2328", "#5f666e"


def stroke(arrow: Arrow, layout: Layout) -> tuple[str, float]:
    """Colour and width of an arrow: states through time, parameters, the rest."""
    if arrow in layout.states:
        return "#2f5f8f", 1.3
    return ("#c9a94e", 0.7) if arrow.tail.family == PARAMETER else ("#54585d", 0.9)


def xml(text: str) -> str:
    """For XML, HTML-like labels and quoted strings of DOT alike: what could end or change them becomes an entity."""
    allowed = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    apart = re.sub(r"\\(?=[A-Za-z\\])", "\\\\\u200b", allowed)  # graphviz would replace a backslash and a letter
    return escape(apart).replace("\\", "&#92;")
