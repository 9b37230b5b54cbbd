"""The kinds of arrows, widths and letters, and words made safe for DOT and XML."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from html import escape

from .boxes import Arrow, Family

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
GAP_STYLE, ROOT_WIDTH = "rounded,filled,dashed", 2.0
FONT = "Helvetica,Arial,sans-serif"
SIZE, SMALL, TINY = 11.0, 8.5, 9.0  # of letters, in points: titles, details, ports


def kind(arrow: Arrow, states: Collection[Arrow]) -> str:
    """Return what an arrow is, one of KINDS; `states` are those that carry one."""
    if arrow.tail.cut:
        return CUT
    backward = arrow.head.recorded_by_backward or arrow.head.backward
    if arrow in states:
        return CARRIED if backward else STATE
    if arrow.tail.family in (Family.PARAMETER, Family.SAVED):
        return WEIGHT if arrow.tail.family == Family.PARAMETER else READ
    return BACK if backward else PLAIN


@functools.lru_cache(maxsize=8192)
def xml(text: str) -> str:
    """Return a text that is safe in XML, in HTML-like labels and in quoted strings of DOT.

    What could end or change them becomes an entity.
    """
    allowed = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    # graphviz would replace a backslash and a letter
    apart = re.sub(r"\\(?=[A-Za-z\\])", "\\\\\u200b", allowed)
    return escape(apart).replace("\\", "&#92;")
