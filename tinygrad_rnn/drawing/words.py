"""The picture as text: for a terminal, and as Mermaid for pages that draw it themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ..palette import LIGHT
from .boxes import Box, Family, Sketch
from .layout import Layout
from .style import CARRIED, STATE, WEIGHT, kind

ARROWS = {
    STATE: "==>",
    CARRIED: "==>",
    WEIGHT: "-.->",
}  # of Mermaid, for what time carries and weights
SHAPES = {  # of Mermaid: what stands around the text of a box
    Family.ARITHMETIC: ("([", "])"),
    Family.PARAMETER: ("[/", "/]"),
    Family.INPUT: ("[", "]"),
    Family.DELAY: ("((", "))"),
}


def text_of(sketch: Sketch, layout: Layout, width: int) -> str:
    """Return the picture in lines of at most so many characters.

    Each box has a line, with what it is made of; steps have outlines.
    """
    called = _called(sketch)
    inputs: dict[Box, list[Box]] = {}
    for arrow in sketch.arrows:
        for _ in arrow.places:
            inputs.setdefault(arrow.head, []).append(arrow.tail)
    drawn = [b for b in sketch.boxes if not b.port]
    titles = max((len(_title(b, called)) for b in drawn), default=0)
    details = max((len(b.detail) for b in drawn), default=0)

    def line(b: Box, room: int) -> list[str]:
        made = ", ".join(_read(i, b, called) for i in inputs.get(b, ()))
        start = f"{_title(b, called):<{titles}}  {b.detail:<{details}}"
        first = f"{start}  \N{LEFTWARDS ARROW} {made}" if made else start.rstrip()
        return textwrap.wrap(
            first, room, subsequent_indent=" " * min(titles + details + 6, room // 2)
        )

    lines = textwrap.wrap(sketch.title, width)
    waiting = {id(f) for f in layout.frames}
    frame_of = {b: f for f in layout.frames for b in f.boxes}
    for b in sorted(drawn, key=lambda b: (b.order is None, b.order or 0)):
        found = frame_of.get(b)
        if found is None:
            lines += line(b, width)
        if found is None or id(found) not in waiting:
            continue
        waiting.remove(id(found))
        label = f" {found.label} "[: width - 4]
        lines.append(f"\u250c\u2500{label}{chr(0x2500) * (width - 3 - len(label))}\u2510")
        own = [b for b in found.boxes if not b.port]
        for member in sorted(own, key=lambda b: (b.order is None, b.order or 0)):
            lines += [f"\u2502 {text:<{width - 4}} \u2502" for text in line(member, width - 4)]
        lines.append(f"\u2514{chr(0x2500) * (width - 2)}\u2518")
    return "\n".join([*lines, *textwrap.wrap(sketch.note, width)])


def _called(sketch: Sketch) -> dict[Box, str]:
    """Return what each box is called where others read it: its variable, or a number."""
    found: dict[Box, str] = {}
    number = 0
    for b in sorted(sketch.boxes, key=lambda b: (b.order is None, b.order or 0)):
        if b.port:
            continue
        if b.delay:
            found[b] = f"{b.detail} of the step before"
        elif b.leaf or b.gap or (b.takes_part and b.title.isidentifier()):
            found[b] = b.title
        elif b.variable:
            found[b] = b.variable
        else:
            number += 1
            found[b] = f"%{number}"
    found.update(
        (b, b.title if b.family == Family.PARAMETER else found[b.source])
        for b in sketch.boxes
        if b.source is not None
    )
    return found


def _read(i: Box, b: Box, called: dict[Box, str]) -> str:
    """Return what a box is called where another reads it: a variable of another step says its step."""
    elsewhere = i.variable and not i.hides and i.framed and i.step is not None and i.step != b.step
    return f"{called[i]} (t = {i.step})" if elsewhere else called[i]


def _title(b: Box, called: dict[Box, str]) -> str:
    """Return the title of a box, with the number that others call it by."""
    return f"{called[b]} = {b.title}" if called[b].startswith("%") else b.title


def mermaid(sketch: Sketch, layout: Layout) -> str:
    """Return the picture as a flowchart in the language of Mermaid."""
    lines = ["flowchart LR"]
    inside = {b for f in layout.frames for b in f.boxes}
    for k, f in enumerate(layout.frames):
        lines += [f'  subgraph step{k}["{_safe(f.label)}"]']
        lines += [f"    {_node(b)}" for b in f.boxes]
        lines += ["  end"]
    lines += [f"  {_node(b)}" for b in sketch.boxes if b not in inside]
    for arrow in sketch.arrows:
        sign = ARROWS.get(kind(arrow, layout.states), "-->")
        lines.append(f"  {arrow.tail.name} {sign} {arrow.head.name}")
    families = {b.family for b in sketch.boxes}
    for family, (fill, outline) in LIGHT.fills.items():
        if family in families:
            ink = LIGHT.page if family == Family.DELAY else LIGHT.text
            lines.append(f"  classDef {family} fill:{fill},stroke:{outline},color:{ink}")
    return "\n".join([*lines, ""])


def _node(b: Box) -> str:
    before, after = SHAPES.get(b.family, ("(", ")"))
    return f'{b.name}{before}"{_lines([b.title, b.detail])}"{after}:::{b.family}'


def _lines(texts: Sequence[str]) -> str:
    return "<br>".join(_safe(text) for text in texts if text)


def _safe(text: str) -> str:
    """Return a text in which nothing has a meaning for Mermaid: other signs become entities."""
    return "".join(c if c.isalnum() or c in " ,.=_()" else f"#{ord(c)};" for c in text)
