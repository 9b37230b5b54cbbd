"""The picture as DOT source, with its layout in it: a graphviz engine only has to draw it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .boxes import HEIGHT, Box, Sketch
from .layout import TIP, Layout, Point
from .style import (
    CUT,
    FONT,
    GAP_STYLE,
    ROOT_WIDTH,
    SIZE,
    SMALL,
    THEMES,
    TINY,
    WIDTHS,
    dark_letters,
    kind,
    xml,
)

if TYPE_CHECKING:
    import graphviz

BLOCKS = "▁▂▃▄▅▆▇█"


def dot_source(sketch: Sketch, layout: Layout, theme: str = "light") -> str:
    """DOT source.

    Names come from counters and attributes are in a fixed order: the same tape gives the same text
    everywhere.
    """
    import graphviz

    look = THEMES["dark" if theme == "dark" else "light"]

    def at(x: float, y: float) -> str:
        return f"{x:.1f},{layout.height - y:.1f}"

    def draw(box: Box, into: graphviz.Digraph) -> None:
        fill, outline = look.fills[box.family]
        special: dict[str, str] = (
            {"style": GAP_STYLE}
            if box.gap or box.cut
            else {"penwidth": f"{ROOT_WIDTH}"}
            if box.root
            else {}
        )
        ink, faint = look.text, look.faint
        if box.delay:
            ink = faint = look.page
        if box.hatch:
            fill, special = look.page, {"style": GAP_STYLE}
        elif box.fill:
            fill = box.fill
            ink = faint = "#111111" if dark_letters(fill) else "#ffffff"
        if ink != look.text:
            special["fontcolor"] = ink
        if box.port:
            special["fontsize"] = f"{TINY}"
        if box.height != HEIGHT:
            special["height"] = f"{box.height / 72:.3f}"
        label = xml(box.title)
        if box.detail and not box.port:
            space = '<font point-size="11"> </font>'  # sets the distance between the lines
            label += f'<br/>{space}<font point-size="{SMALL}" color="{faint}">{xml(box.detail)}</font>{space}'
        if box.bars:
            # a block is about 0.8 of its size wide
            size = min((box.width - 16) / len(box.bars) / 0.8, 9.0)
            label += (
                f'<br/><font point-size="{size:.1f}" color="{outline}">{_blocks(box.bars)}</font>'
            )
        classes = " ".join(
            [
                box.family,
                *([f"port of-{box.source.name}"] if box.source else []),
                *["cut"] * bool(box.cut),
            ]
        )
        into.node(
            box.name,
            f"<{label}>",
            pos=at(box.x, box.y),
            width=f"{box.width / 72:.3f}",
            fillcolor=fill,
            color=outline,
            tooltip=_tooltip(box.tooltip),
            **{"class": classes},
            **special,
        )

    graph = graphviz.Digraph("tape")
    graph.attr(
        "graph",
        layout="nop2",
        bb=f"0,0,{layout.width:.1f},{layout.height:.1f}",
        outputorder="edgesfirst",
    )
    graph.attr("graph", fontname=FONT, tooltip=" ", bgcolor=look.page)
    graph.attr(
        "node",
        shape="box",
        style="rounded,filled",
        fixedsize="true",
        height=f"{HEIGHT / 72:.3f}",
        margin="0",
        penwidth="0.9",
    )
    graph.attr("node", fontname=FONT, fontsize=f"{SIZE}", fontcolor=look.text)
    framed = set()
    for count, frame in enumerate(layout.frames):
        with graph.subgraph(name=f"cluster_{count}") as cluster:
            cluster.attr(
                bb=f"{at(frame.left, frame.bottom)},{at(frame.right, frame.top)}",
                style="rounded,filled",
                penwidth="0.9",
            )
            words = " ".join(frame.label)
            cluster.attr(
                label=f"<{xml(words)}>",
                fontsize="10",
                fontcolor=look.faint,
                fillcolor=look.frame[0],
                color=look.frame[1],
                tooltip=" ",
            )
            cluster.attr(lp=at(frame.lx + 2.5 * len(words), frame.ly))
            for box in frame.boxes:
                draw(box, cluster)
        framed.update(frame.boxes)
    for box in sketch.boxes:
        if box not in framed:
            draw(box, graph)
    for name, text, y, letters in layout.captions:
        graph.node(
            name,
            f"<{xml(text)}>",
            shape="plaintext",
            style="",
            pos=at(layout.width / 2, y),
            fontsize=f"{letters}",
            width=f"{(layout.width - 8) / 72:.3f}",
            height="0.2",
        )
    _figures(graph, sketch, layout, at, look.frame[1])
    for arrow, path in layout.paths:
        name = kind(arrow, layout)
        points = " ".join(at(*p) for p in shortened(path))
        edges = f": {len(arrow.places):,} edges" if len(arrow.places) > 1 else ""
        dashed = {"style": "dashed"} if name == CUT else {}
        graph.edge(
            arrow.tail.name,
            arrow.head.name,
            pos=f"e,{at(*path[-1])} {points}",
            color=look.edges[name],
            penwidth=f"{WIDTHS[name]}",
            arrowsize="0.55",
            tooltip=_tooltip(f"{arrow.tail.title} to {arrow.head.title}{edges}"),
            **{"class": name},
            **dashed,
        )
    return str(graph.source)


def _figures(
    graph: graphviz.Digraph, sketch: Sketch, layout: Layout, at: object, outline: str
) -> None:
    """The rows of figures and the legend, as nodes without meaning."""
    assert callable(at)
    plain = {
        "shape": "box",
        "style": "filled",
        "fontsize": f"{SMALL}",
        "penwidth": "0.5",
        "color": outline,
    }
    count = 0

    def put(
        x: float, y: float, wide: float, tall: float, text: str, fill: str, **more: str
    ) -> None:
        nonlocal count
        ink = {"fontcolor": "#111111" if dark_letters(fill) else "#ffffff"} if fill else {}
        special = {"fillcolor": fill} if fill else {"style": "dashed"}
        graph.node(
            f"f{count}",
            f"<{xml(text) or ' '}>",
            pos=at(x, y),
            width=f"{wide / 72:.3f}",
            height=f"{tall / 72:.3f}",
            **{**plain, **ink, **special, **more, "class": "figure"},
        )
        count += 1

    bare = {"shape": "plaintext", "style": ""}
    for f in layout.figures:
        put(f.x, f.y, f.width, f.height, f.text, "" if f.fill == "hatch" else f.fill)
    for word, x, y in layout.words:
        put(x - 2.4 * len(word), y, 4.8 * len(word), 12, word, "", **bare)
    if sketch.legend is not None:
        legend, x = sketch.legend, 14.0
        notes = sum(name.startswith("note") for name, *_ in layout.captions)
        y = layout.height - 46.0 - (8 + 14 * notes) * bool(notes)
        put(
            x + 2.3 * len(legend.title),
            y + 5,
            4.6 * len(legend.title),
            12,
            legend.title,
            "",
            **bare,
        )
        wide = 150.0 / len(legend.colours)
        for k, colour in enumerate(legend.colours):
            put(x + wide * (k + 0.5), y + 18, wide, 9, "", colour, penwidth="0")
        for part, text in legend.ticks:
            put(x + 150 * part, y + 30, 30, 12, text, "", **bare)
        left = x + 174
        for fill, text in legend.marks:
            put(left + 7, y + 18, 14, 12, "", "" if fill == "hatch" else fill)
            put(left + 19 + 2.4 * len(text), y + 18, 4.8 * len(text), 12, text, "", **bare)
            left += 30 + 4.8 * len(text)


def _blocks(bars: Sequence[float]) -> str:
    """A chart of block characters."""
    most = max([v for v in bars if math.isfinite(v)], default=0.0) or 1.0
    return "".join(BLOCKS[min(int(v / most * 7.99), 7)] if math.isfinite(v) else "!" for v in bars)


def shortened(path: Sequence[Point]) -> list[Point]:
    """The path without the length of the arrow head, which is drawn beyond its end."""
    (x0, y0), (x1, y1) = path[-2:]
    part = TIP / max(math.hypot(x1 - x0, y1 - y0), TIP)
    return [*path[:-1], (x1 - (x1 - x0) * part, y1 - (y1 - y0) * part)]


def _tooltip(text: str) -> str:
    return xml(text).replace("\n", "\\n") or " "
