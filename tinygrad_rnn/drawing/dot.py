"""The picture as DOT source, with its layout in it: a graphviz engine only has to draw it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .layout import HEIGHT, LABEL, TIP, Layout, Point
from .sketch import Box, Sketch
from .style import FAINT, FILLS, FONT, FRAME, GAP_STYLE, ROOT_WIDTH, SIZE, SMALL, TEXT, stroke, xml

if TYPE_CHECKING:
    import graphviz


def dot_source(sketch: Sketch, layout: Layout) -> str:
    """DOT source. Names come from counters and attributes are in a fixed order: the same tape gives the same text everywhere."""
    import graphviz

    def at(x: float, y: float) -> str:
        return f"{x:.1f},{layout.height - y:.1f}"

    def draw(box: Box, into: graphviz.Digraph) -> None:
        fill, outline = FILLS[box.family]
        space = '<font point-size="11"> </font>'  # sets the distance between the lines
        small = f'<font point-size="{SMALL}" color="{FAINT}">{xml(box.detail)}</font>'
        special = {"style": GAP_STYLE} if box.gap else {"penwidth": f"{ROOT_WIDTH}"} if box.root else {}
        into.node(box.name, f"<{xml(box.title)}<br/>{space}{small}{space}>", pos=at(box.x, box.y), width=f"{box.width / 72:.3f}",
                  fillcolor=fill, color=outline, tooltip=_tooltip(box.tooltip), **special)  # fmt: skip

    graph = graphviz.Digraph("tape")
    graph.attr("graph", layout="nop2", bb=f"0,0,{layout.width:.1f},{layout.height:.1f}", outputorder="edgesfirst")
    graph.attr("graph", fontname=FONT, tooltip=" ")
    graph.attr("node", shape="box", style="rounded,filled", fixedsize="true", height=f"{HEIGHT / 72:.3f}", margin="0", penwidth="0.9")
    graph.attr("node", fontname=FONT, fontsize=f"{SIZE}", fontcolor=TEXT)
    framed = set()
    for count, frame in enumerate(layout.frames):
        with graph.subgraph(name=f"cluster_{count}") as cluster:
            cluster.attr(bb=f"{at(frame.left, frame.bottom)},{at(frame.right, frame.top)}", style="rounded,filled", penwidth="0.9")
            lines = "".join(f'{xml(words)}<br align="left"/>' for words in frame.label)
            cluster.attr(label=f"<{lines}>", fontsize="10", fontcolor=FAINT, fillcolor=FRAME[0], color=FRAME[1], tooltip=" ")
            cluster.attr(lp=at(frame.left + 10 + 2.6 * max(map(len, frame.label)), frame.bottom - LABEL * len(frame.label) / 2 - 2))
            for box in frame.boxes:
                draw(box, cluster)
        framed.update(frame.boxes)
    for box in sketch.boxes:
        if box not in framed:
            draw(box, graph)
    for name, text, y, letters in layout.captions:
        graph.node(name, f"<{xml(text)}>", shape="plaintext", style="", pos=at(layout.width / 2, y), fontsize=f"{letters}",
                   width=f"{(layout.width - 8) / 72:.3f}", height="0.2")  # fmt: skip
    for arrow, path in layout.paths:
        colour, width = stroke(arrow, layout)
        points = " ".join(at(*p) for p in shortened(path))
        edges = f": {len(arrow.places):,} edges" if len(arrow.places) > 1 else ""
        graph.edge(arrow.tail.name, arrow.head.name, pos=f"e,{at(*path[-1])} {points}", color=colour, penwidth=f"{width}", arrowsize="0.55",
                   tooltip=_tooltip(f"{arrow.tail.title} to {arrow.head.title}{edges}"))  # fmt: skip
    return str(graph.source)


def shortened(path: Sequence[Point]) -> list[Point]:
    """The path without the length of the arrow head, which is drawn beyond its end."""
    (x0, y0), (x1, y1) = path[-2:]
    part = TIP / max(math.hypot(x1 - x0, y1 - y0), TIP)
    return [*path[:-1], (x1 - (x1 - x0) * part, y1 - (y1 - y0) * part)]


def _tooltip(text: str) -> str:
    return xml(text).replace("\n", "\\n") or " "
