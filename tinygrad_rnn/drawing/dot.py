"""The picture as DOT source, with its layout in it: a graphviz engine only has to draw it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..palette import THEMES, ink
from .boxes import HATCH, HEIGHT, TILE, Arrow, Box, Curve, Half, Legend, Sketch
from .frames import Frame
from .key import LETTER, LINES, SWATCH, Sign
from .layout import TIP, Layout
from .stepplan import Point
from .style import CUT, FONT, GAP_STYLE, ROOT_WIDTH, SIZE, SMALL, TINY, WIDTHS, kind, xml

if TYPE_CHECKING:
    import graphviz

BLOCKS = "▁▂▃▄▅▆▇█"
FLAT = 'border="0" cellborder="0" cellspacing="0"'  # of a table
BARE = {"shape": "plaintext", "style": ""}


def dot_source(sketch: Sketch, layout: Layout, theme: str = "light") -> str:
    """Return DOT source.

    Names come from counters and attributes are in a fixed order: the same tape gives the same text
    everywhere.
    """
    return _Writer(sketch, layout, theme).source()


class _Writer:
    """One picture on its way to text."""

    def __init__(self, sketch: Sketch, layout: Layout, theme: str) -> None:
        import graphviz

        self.sketch, self.layout = sketch, layout
        self.look = THEMES["dark" if theme == "dark" else "light"]
        self.graph = graphviz.Digraph("tape")
        self.figures = 0  # so many have been written
        # figures and captions in each row: where they are, and their names
        self.under: dict[float, list[tuple[float, str]]] = {}

    def source(self) -> str:
        """Write everything, and return the text."""
        self._settings()
        framed = {box for frame in self.layout.frames for box in frame.boxes}
        for count, frame in enumerate(self.layout.frames):
            self._frame(count, frame)
        for box in self.sketch.boxes:
            if box not in framed:
                self._box(box, self.graph)
        for name, text, y, letters in self.layout.captions:
            self.graph.node(
                name,
                f"<{xml(text)}>",
                **BARE,
                pos=self._at(self.layout.width / 2, y),
                fontsize=f"{letters}",
                width=f"{(self.layout.width - 8) / 72:.3f}",
                height="0.2",
            )
            self.under.setdefault(y, []).append((0.0, name))
        self._figures()
        self._ranks()
        for arrow, path in self.layout.paths:
            self._arrow(arrow, path)
        return str(self.graph.source)

    def _at(self, x: float, y: float) -> str:
        return f"{x:.1f},{self.layout.height - y:.1f}"

    def _settings(self) -> None:
        """Write what holds for the whole graph, and for all nodes."""
        graph, look = self.graph, self.look
        graph.attr(
            "graph",
            layout="nop2",
            bb=f"0,0,{self.layout.width:.1f},{self.layout.height:.1f}",
            outputorder="edgesfirst",
            rankdir=self.layout.rankdir,
            newrank="true",
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

    def _frame(self, count: int, frame: Frame) -> None:
        """Write the outline of a time step with the boxes in it."""
        look = self.look
        with self.graph.subgraph(name=f"cluster_{count}") as cluster:
            low, high = self._at(frame.left, frame.bottom), self._at(frame.right, frame.top)
            cluster.attr(bb=f"{low},{high}", style="rounded,filled", penwidth="0.9")
            cluster.attr(
                label=f"<{xml(frame.label)}>",
                fontsize="10",
                fontcolor=look.faint,
                fillcolor=look.frame[0],
                color=look.frame[1],
                tooltip=" ",
            )
            cluster.attr(lp=self._at(frame.label_x + 2.5 * len(frame.label), frame.label_y))
            for box in frame.boxes:
                self._box(box, cluster)

    def _ranks(self) -> None:
        """Write the rows of the time steps as ranks, for a program that places everything anew."""
        down = self.layout.rankdir != "LR"
        rows: dict[float, list[Box]] = {}
        of_steps = [b for b in self.sketch.boxes if b.moment is not None]
        for box in of_steps:
            if not (box.leaf or box.port or box.delay):
                rows.setdefault(round(box.y if down else box.x, 1), []).append(box)
        for boxes in rows.values():
            names = [b.name for b in sorted(boxes, key=lambda b: b.x if down else b.y)]
            if len(names) > 1:
                self._row(names)
        if down:  # figures stand in rows under everything
            foot = max(of_steps or self.sketch.boxes, key=lambda b: b.y, default=None)
            below = [
                [name for _, name in sorted(self.under[y])]
                for y in sorted(self.under)
                if foot and y > foot.y
            ]
            for names in below:
                self._row(names)
                self._chain(names)
            firsts = [*([foot.name] if foot else []), *(names[0] for names in below)]
            self._chain(firsts[::-1] if self.layout.rankdir == "BT" else firsts)

    def _row(self, names: Sequence[str]) -> None:
        """Write that these stand beside each other."""
        with self.graph.subgraph() as row:
            row.attr(rank="same")
            for name in names:
                row.node(name)

    def _chain(self, names: Sequence[str]) -> None:
        """Write arrows that are not drawn from each to the next."""
        for tail, head in itertools.pairwise(names):
            self.graph.edge(tail, head, style="invis")

    def _box(self, box: Box, into: graphviz.Digraph) -> None:
        """Write a node."""
        look = self.look
        fill, outline = look.fills[box.family]
        letters, faint = look.text, look.faint
        special: dict[str, str] = {}
        if box.gap or box.cut or box.hatch:
            special["style"] = GAP_STYLE
        elif box.root:
            special["penwidth"] = f"{ROOT_WIDTH}"
        if box.delay:
            letters = faint = look.page
        if box.hatch:
            fill = look.page
        elif box.fill:
            fill = box.fill
            letters = faint = ink(fill)
        if letters != look.text:
            special["fontcolor"] = letters
        if box.port:
            special["fontsize"] = f"{TINY}"
        if box.height != HEIGHT:
            special["height"] = f"{box.height / 72:.3f}"
        names = [box.family, *_stands_for(box), *["cut"] * bool(box.cut)]
        into.node(
            box.name,
            f"<{_label(box, faint, outline)}>",
            pos=self._at(box.x, box.y),
            width=f"{box.width / 72:.3f}",
            fillcolor=fill,
            color=outline,
            tooltip=_tooltip(box.tooltip),
            **{"class": " ".join(names)},
            **special,
        )

    def _arrow(self, arrow: Arrow, path: Sequence[Point]) -> None:
        """Write an edge."""
        name = kind(arrow, self.layout.states)
        points = " ".join(self._at(*p) for p in _shortened(path))
        edges = f": {len(arrow.places):,} edges" if len(arrow.places) > 1 else ""
        self.graph.edge(
            arrow.tail.name,
            arrow.head.name,
            pos=f"e,{self._at(*path[-1])} {points}",
            color=self.look.edges[name],
            penwidth=f"{WIDTHS[name]}",
            arrowsize="0.55",
            tooltip=_tooltip(f"{arrow.tail.title} to {arrow.head.title}{edges}"),
            **{"class": name},
            **({"style": "dashed"} if name == CUT else {}),
            **({"constraint": "false"} if arrow.tail.delay else {}),
        )

    # --- rows of figures, and the legend: nodes without meaning -----------------------------------

    def _figures(self) -> None:
        """Write the rows of figures and the legend."""
        for f in self.layout.figures:
            text = f.text if f.curve is None else [f.text, *_curve(f.curve, f.width - 8)]
            self._figure(f.x, f.y, f.width, f.height, text, "" if f.fill == HATCH else f.fill)
        for word, x, y in self.layout.words:
            self._figure(x - 2.4 * len(word), y, 4.8 * len(word), 12, word, "", **BARE)
        if self.sketch.legend is not None:
            self._legend(self.sketch.legend, 14.0, self.layout.legend)
        for sign in self.layout.signs:
            self._sign(sign)

    def _sign(self, sign: Sign) -> None:
        """Write a sign of the legend with its meaning."""
        if sign.name in LINES:
            fill = outline = self.look.edges[sign.name]
            tall = 1.5
        else:
            fill, outline = self.look.fills[sign.family]
            tall = sign.height
        style = "filled,dashed" if sign.name == "gap" else "filled"
        thick = f"{ROOT_WIDTH}" if sign.name == "root" else "0.9"
        more = {"fillcolor": fill, "color": outline, "style": style, "penwidth": thick}
        self._figure(sign.x + SWATCH / 2, sign.y, SWATCH, tall, "", "", **more)
        wide = LETTER * len(sign.words)
        self._figure(sign.x + SWATCH + 4 + wide / 2, sign.y, wide, 12, sign.words, "", **BARE)

    def _legend(self, legend: Legend, x: float, y: float) -> None:
        """Write the scale of the colours, and the marks for what has no place on it."""
        put = self._figure
        wide = 4.6 * len(legend.title)
        put(x + wide / 2, y + 5, wide, 12, legend.title, "", **BARE)
        wide = 150.0 / len(legend.colours)
        for k, colour in enumerate(legend.colours):
            put(x + wide * (k + 0.5), y + 18, wide, 9, "", colour, penwidth="0")
        for part, text in legend.ticks:
            put(max(x + 150 * part, 17.0), y + 30, 30, 12, text, "", **BARE)
        left = x + 174
        for fill, text in legend.marks:
            put(left + 7, y + 18, 14, 12, "", "" if fill == HATCH else fill)
            put(left + 19 + 2.4 * len(text), y + 18, 4.8 * len(text), 12, text, "", **BARE)
            left += 30 + 4.8 * len(text)

    def _figure(
        self,
        x: float,
        y: float,
        wide: float,
        tall: float,
        text: str | Sequence[str],
        fill: str,
        **more: str,
    ) -> None:
        """Write a rectangle with lines of text; without a fill its outline is dashed."""
        lines = [text] if isinstance(text, str) else text
        plain = {
            "shape": "box",
            "style": "filled",
            "fontsize": f"{SMALL}",
            "penwidth": "0.5",
            "color": self.look.frame[1],
        }
        own = {"fontcolor": ink(fill), "fillcolor": fill} if fill else {"style": "dashed"}
        self.graph.node(
            f"f{self.figures}",
            f"<{'<br/>'.join(map(xml, lines)) or ' '}>",
            pos=self._at(x, y),
            width=f"{wide / 72:.3f}",
            height=f"{tall / 72:.3f}",
            **{**plain, **own, **more, "class": "figure"},
        )
        self.under.setdefault(round(y, 1), []).append((x, f"f{self.figures}"))
        self.figures += 1


def _stands_for(box: Box) -> list[str]:
    """Return the class by which a port is found from the box that it stands for."""
    return [] if box.source is None else [f"port of-{box.source.name}"]


def _label(box: Box, faint: str, outline: str) -> str:
    """Return the title of a box, its second line and its chart."""
    if any(half.tiles for half in box.halves):
        return _halves(box, faint)
    label = xml(box.title)
    if box.detail and not box.port:
        space = '<font point-size="11"> </font>'  # sets the distance between the lines
        detail = f'<font point-size="{SMALL}" color="{faint}">{xml(box.detail)}</font>'
        label += f"<br/>{space}{detail}{space}"
    if box.bars:
        # a block is about 0.8 of its size wide
        size = min((box.width - 16) / len(box.bars) / 0.8, 9.0)
        label += f'<br/><font point-size="{size:.1f}" color="{outline}">{_blocks(box.bars)}</font>'
    return label


def _halves(box: Box, faint: str) -> str:
    """Return the title of a box, and below it its value and its gradient, as a table."""
    count = len(box.halves)
    texts = [
        f'<td><font point-size="{SMALL}" color="{faint}">{xml(h.text)}</font></td>'
        for h in box.halves
    ]
    maps = [f"<td>{_tiles(h)}</td>" for h in box.halves]
    rows = [f'<td colspan="{count}">{xml(box.title)}</td>', "".join(texts), "".join(maps)]
    return f'<table {FLAT} cellpadding="2">{_rows(rows)}</table>'


def _rows(rows: Sequence[str]) -> str:
    return "".join(f"<tr>{row}</tr>" for row in rows)


def _tiles(half: Half) -> str:
    """Return a map of colours as a table."""
    if not half.tiles:
        return " "
    cell = f'<td fixedsize="true" width="{TILE:.0f}" height="{TILE:.0f}" bgcolor="'
    rows = ["".join(f'{cell}{tone}"></td>' for tone in row) for row in half.tiles]
    size = f'width="{TILE * len(half.tiles[0]):.0f}" height="{TILE * len(rows):.0f}"'
    return f'<table {FLAT} cellpadding="0" fixedsize="true" {size}>{_rows(rows)}</table>'


def _curve(curve: Curve, wide: float) -> list[str]:
    """Return a curve as one line of block characters, and what is marked in it as another."""
    count = int(wide / (0.8 * SMALL))
    line = [" "] * count
    for piece in curve.pieces:
        for x, _, most in piece:
            line[min(int(x * count), count - 1)] = BLOCKS[min(int(most * 8), 7)]
    for mark in curve.marks:
        for k in range(int(mark.begin * count), max(int(mark.end * count), 1)):
            line[k] = "." if mark.what == "0" else "!"
    said = sorted({mark.what for mark in curve.marks})
    return ["".join(line), *[", ".join(said)] * bool(said)]


def _blocks(bars: Sequence[float]) -> str:
    """Return a chart of block characters."""
    most = max([v for v in bars if math.isfinite(v)], default=0.0) or 1.0
    return "".join(BLOCKS[min(int(v / most * 7.99), 7)] if math.isfinite(v) else "!" for v in bars)


def _shortened(path: Sequence[Point]) -> list[Point]:
    """Return the path without the length of the arrow head, which is drawn beyond its end."""
    (x0, y0), (x1, y1) = path[-2:]
    part = TIP / max(math.hypot(x1 - x0, y1 - y0), TIP)
    return [*path[:-1], (x1 - (x1 - x0) * part, y1 - (y1 - y0) * part)]


def _tooltip(text: str) -> str:
    return xml(text).replace("\n", "\\n") or " "
