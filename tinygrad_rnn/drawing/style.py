"""The look, in light and in dark, and words made safe for DOT and XML.

Colour says what a thing is: the family of an operation, a weight (gold), a state on its way through
time (blue), a gradient on its way back (purple), a value that is read again by a backward (rust).
Heat is the only colour with a scale. All of them are told apart in grey and by colour-blind readers
by their lightness, or by a dash or a mark beside the colour.
"""

from __future__ import annotations

import functools
import re
from html import escape
from typing import NamedTuple

from .boxes import Arrow, Family
from .layout import Layout

FILLS = {  # family -> inside and outline of its boxes
    Family.ARITHMETIC: ("#f6f6f2", "#8a8a82"),
    Family.FUNCTION: ("#fbe6d8", "#bd7d55"),
    Family.LINEAR: ("#dde9f6", "#5f88b5"),
    Family.REDUCTION: ("#ebe2f3", "#8d70ad"),
    Family.SHAPING: ("#e6f0e5", "#7a9c7b"),
    Family.PARAMETER: ("#fbefc6", "#bf9a2e"),
    Family.INPUT: ("#ffffff", "#8f959c"),
    Family.CELL: ("#e6eef7", "#2f5f8f"),
    Family.GAP: ("#ffffff", "#9aa0a6"),
    Family.SAVED: ("#fdeee6", "#b5532f"),
    Family.DELAY: ("#2f5f8f", "#2f5f8f"),
}
DARK_FILLS = {
    Family.ARITHMETIC: ("#2b2d30", "#85887f"),
    Family.FUNCTION: ("#47301f", "#c98a61"),
    Family.LINEAR: ("#1f3550", "#6f9bcb"),
    Family.REDUCTION: ("#372a48", "#a58bc4"),
    Family.SHAPING: ("#233424", "#85ab86"),
    Family.PARAMETER: ("#453a12", "#d3ad3f"),
    Family.INPUT: ("#17191c", "#8f959c"),
    Family.CELL: ("#1c2f45", "#8ab4dd"),
    Family.GAP: ("#17191c", "#80868b"),
    Family.SAVED: ("#472418", "#d3734e"),
    Family.DELAY: ("#8ab4dd", "#8ab4dd"),
}


class Theme(NamedTuple):
    """The colours of a picture.

    Attributes
    ----------
    page, text, faint : str
        The background, letters, and letters of lesser weight.
    frame : (str, str)
        Inside and outline of a time step.
    fills : dict of Family to (str, str)
        Inside and outline of the boxes.
    edges : dict of str to str
        Of the kinds of arrows.
    """

    page: str
    text: str
    faint: str
    frame: tuple[str, str]
    fills: dict[Family, tuple[str, str]]
    edges: dict[str, str]


# of arrows; the last two are gradients within a step, and from step to step
STATE, PLAIN, WEIGHT, READ, CUT, BACK, CARRIED = KINDS = (
    "state",
    "plain",
    "weight",
    "read",
    "cut",
    "back",
    "carried",
)
WIDTHS = {STATE: 1.5, PLAIN: 0.9, WEIGHT: 0.8, READ: 0.8, CUT: 1.3, BACK: 0.9, CARRIED: 1.5}
LIGHT = Theme(
    "#ffffff",
    "#1f2328",
    "#5f666e",
    ("#f7f8fa", "#d5dae0"),
    FILLS,
    {
        STATE: "#2f5f8f",
        PLAIN: "#5b6066",
        WEIGHT: "#b8922a",
        READ: "#b5532f",
        CUT: "#c0392b",
        BACK: "#8a4b7d",
        CARRIED: "#8a4b7d",
    },
)
DARK = Theme(
    "#17191c",
    "#e6e8ea",
    "#a3a9b0",
    ("#1d2024", "#3a3f45"),
    DARK_FILLS,
    {
        STATE: "#8ab4dd",
        PLAIN: "#9aa0a6",
        WEIGHT: "#d3ad3f",
        READ: "#d3734e",
        CUT: "#ff7b6b",
        BACK: "#c68ab9",
        CARRIED: "#c68ab9",
    },
)
THEMES = {"light": LIGHT, "dark": DARK}

GAP_STYLE, ROOT_WIDTH = "rounded,filled,dashed", 2.0
FONT = "Helvetica,Arial,sans-serif"
SIZE, SMALL, TINY = 11.0, 8.5, 9.0  # of letters, in points: titles, details, ports
TEXT = LIGHT.text


def kind(arrow: Arrow, layout: Layout) -> str:
    """Return what an arrow is: one of KINDS."""
    if arrow.tail.cut:
        return CUT
    backward = arrow.head.recorded_by_backward or arrow.head.backward
    if arrow in layout.states:
        return CARRIED if backward else STATE
    if arrow.tail.family in (Family.PARAMETER, Family.SAVED):
        return WEIGHT if arrow.tail.family == Family.PARAMETER else READ
    return BACK if backward else PLAIN


def ink(fill: str) -> str:
    """Return the colour of letters on this colour: dark ones if it is light."""
    red, green, blue = (int(fill[k : k + 2], 16) for k in (1, 3, 5))
    return "#111111" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"


@functools.lru_cache(maxsize=8192)
def xml(text: str) -> str:
    """Return a text that is safe in XML, in HTML-like labels and in quoted strings of DOT.

    What could end or change them becomes an entity.
    """
    allowed = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    # graphviz would replace a backslash and a letter
    apart = re.sub(r"\\(?=[A-Za-z\\])", "\\\\\u200b", allowed)
    return escape(apart).replace("\\", "&#92;")
