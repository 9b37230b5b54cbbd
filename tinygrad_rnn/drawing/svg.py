"""The picture as SVG, written without graphviz.

It has the structure that graphviz gives its SVG, so that programs find nodes, edges and clusters by
the same classes, and in addition tooltips, and colours for light and dark.
"""

from __future__ import annotations

import hashlib
import math
import re

from ..palette import DARK, LIGHT, Theme, ink
from .boxes import HATCH, TILE, Arrow, Box, Family, Legend, Sketch
from .film import BAR, Film
from .frames import CURVE, Figure, Frame
from .key import LINES, SWATCH, Sign
from .layout import TIP, Layout
from .scale import MARKS
from .stepplan import Point
from .style import BACK, CUT, FONT, KINDS, ROOT_WIDTH, SIZE, SMALL, TINY, WIDTHS, kind, xml

WIDE = 850  # pixels of a column in a notebook or on a page
POINT = 4 / 3  # pixels
READABLE = 9.0  # pixels of the smallest letters


def pixels(layout: Layout, wide: int) -> float:
    """Return how many pixels a picture is wide that is to fit so many, with letters to be read."""
    own = layout.width * POINT
    return min(own, max(wide, own * READABLE / (SMALL * POINT)))


def plain_svg(
    sketch: Sketch, layout: Layout, theme: str = "light", wide: int = WIDE, film: Film | None = None
) -> str:
    """Return the same picture as graphviz draws from the DOT source.

    Parameters
    ----------
    sketch : Sketch
    layout : Layout
    theme : {"light", "dark", "auto"}
        "auto" is as the reader's browser is set.
    wide : int
        How many pixels it should not be wider than; see `pixels`.
    film : Film, optional
        When each part is seen; by default everything always is.
    """
    w, h = layout.width, layout.height + (BAR if film else 0.0)
    across = pixels(layout, wide)
    parts = [
        '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="5" height="5" class="page"/><line y2="5" class="hatch"/></pattern></defs>'
        '<rect width="100%" height="100%" class="page"/>\n<g id="graph0" class="graph">'
    ]
    parts += [_frame(k, f) for k, f in enumerate(layout.frames)]
    for arrow, path in layout.paths:
        drawn = _edge(arrow, path, kind(arrow, layout.states))
        parts.append(film.arrow(arrow, drawn, _edge(arrow, path[::-1], BACK)) if film else drawn)
    parts += [film.box(b, _node(b)) if film else _node(b) for b in sketch.boxes]
    parts += [_figure(g) for g in layout.figures]
    for word, x, y in layout.words:
        parts.append(f'<text class="word" x="{x:.1f}" y="{y + 3:.1f}">{xml(word)}</text>')
    for name, text, y, size in layout.captions:
        parts.append(
            f'<text id="{name}" class="caption" x="{w / 2:.1f}" y="{y + size / 3:.1f}" font-size="{size}">{xml(text)}</text>'
        )
    if sketch.legend is not None:
        parts.append(_legend(sketch.legend, 14.0, layout.legend))
    if layout.signs:
        parts.append(f'<g id="key" class="key">{"".join(map(_sign, layout.signs))}</g>')
    if film:
        parts.append(film.foot())
    body = "\n".join([*parts, "</g></svg>\n"])
    # several pictures may stand in one page: the rules and the names of each are for it alone
    scope = f"tg-{hashlib.sha256(f'{theme} {body}'.encode('utf-8', 'replace')).hexdigest()[:8]}"
    # quotes are entities in all texts, so these are attributes
    body = re.sub(r' id="([\w-]+)"', rf' id="{scope}-\1"', body)
    body = re.sub(r'((?:="|:)url\(#)hatch\)(?=")', rf"\1{scope}-hatch)", body)
    rules = re.sub(r"\.tg(?=[ :])", f".{scope}", _rules(theme) + (film.rules() if film else ""))
    rules = rules.replace("film-", f"{scope}-")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tg {scope}" width="{across:.0f}" height="{across * h / w:.0f}" viewBox="0 0 {w:.1f} {h:.1f}" '
        f'font-family="{FONT}" font-size="{SIZE}" role="img" aria-labelledby="{scope}-name {scope}-said"><title id="{scope}-name">{xml(sketch.title or "Computation graph")}</title>'
        f'<desc id="{scope}-said">{xml(_said(sketch, layout))}</desc><style>{rules}</style>{body}'
    )


def _said(sketch: Sketch, layout: Layout) -> str:
    """Return what is seen, for those who do not see it."""
    results = ", ".join(dict.fromkeys(b.title for b in sketch.boxes if b.root))
    steps = f" in {len(layout.frames)} time steps" if layout.frames else ""
    counted = f"{sum(not b.port for b in sketch.boxes)} boxes{steps}"
    return f"{counted}; the result is {results}. {sketch.note}".strip()


def _rules(theme: str) -> str:
    if theme == "auto":
        return f"{_colours(LIGHT)}@media (prefers-color-scheme: dark){{{_colours(DARK)}}}{STILL}"
    return _colours(DARK if theme == "dark" else LIGHT) + STILL


def _colours(t: Theme) -> str:
    """Return the rules for the colours of a theme."""
    boxes = "".join(
        f".tg .{family}>rect{{fill:{inside};stroke:{outline}}}"
        for family, (inside, outline) in t.fills.items()
    )
    lines = "".join(
        f".tg .{name}>path{{stroke:{t.edges[name]}}}.tg .{name}>polygon{{fill:{t.edges[name]}}}"
        for name in KINDS
    )
    return (
        f".tg .page{{fill:{t.page}}}.tg text{{fill:{t.text}}}.tg .hatch{{stroke:{t.faint}}}{boxes}{lines}"
        f".tg .cluster rect{{fill:{t.frame[0]};stroke:{t.frame[1]}}}.tg .cluster text,.tg .detail,.tg .word{{fill:{t.faint}}}"
        f".tg .{Family.DELAY} text{{fill:{t.page}}}.tg .figure rect{{stroke:{t.frame[1]}}}.tg .bar{{fill:{t.fills[Family.PARAMETER][1]}}}"
        f".tg .curve{{fill:{t.edges['state']};stroke:{t.edges['state']}}}.tg .figure .mark{{fill:{t.text};stroke:none}}"
        f".tg .cutmark{{stroke:{t.edges['cut']}}}.tg .now{{stroke:{t.series[0]}}}.tg rect.graded{{stroke:{t.edges['back']}}}"
        f".tg .ahead,.tg .film .head{{fill:{t.series[0]}}}.tg .home{{fill:{t.edges['back']}}}"
        f".tg .gradient{{fill:{t.edges['back']}}}.tg .between,.tg .tiles rect{{stroke:{t.frame[1]}}}"
    )


STILL = (
    "".join(f".tg .{name}>path{{fill:none;stroke-width:{WIDTHS[name]}}}" for name in KINDS)
    + f".tg .node text,.tg .figure text,.tg .caption{{text-anchor:middle}}.tg .detail,.tg .figure text,.tg .key text{{font-size:{SMALL}px}}"
    f".tg .cluster text,.tg .word{{font-size:10px}}.tg .word{{text-anchor:end}}.tg .port text{{font-size:{TINY}px}}"
    f".tg .node>rect,.tg .sign>rect{{stroke-width:.9}}.tg .root>rect{{stroke-width:{ROOT_WIDTH}}}.tg .gap>rect{{stroke-dasharray:5 3}}"
    ".tg .cut>rect{stroke-dasharray:3 2}.tg .cut>path{stroke-dasharray:4 3}.tg .cutmark{stroke-width:1.6}.tg .figure rect{stroke-width:.6}"
    ".tg .tiles rect{stroke-width:.4}.tg .curve{stroke-width:1.2;stroke-linejoin:round}.tg .node:hover>rect{stroke-width:2}"
)


def _frame(k: int, f: Frame) -> str:
    return (
        f'<g id="clust{k + 1}" class="cluster"><title>cluster_{k}</title><rect x="{f.left:.1f}" y="{f.top:.1f}" '
        f'width="{f.right - f.left:.1f}" height="{f.bottom - f.top:.1f}" rx="8"/>'
        f'<text x="{f.label_x:.1f}" y="{f.label_y + 3:.1f}">{xml(f.label)}</text></g>'
    )


def _figure(g: Figure) -> str:
    fill = f'fill="{_fill(g.fill) or "none"}"'
    return (
        f'<g class="figure"><rect x="{g.x - g.width / 2:.1f}" y="{g.y - g.height / 2:.1f}" width="{g.width:.1f}" height="{g.height:.1f}" {fill}/>'
        f'{_curve(g)}<text x="{g.x:.1f}" y="{g.y + 3 - (CURVE / 2 if g.curve else 0):.1f}"{_ink(g.fill)}>{xml(g.text)}</text></g>'
    )


def _curve(g: Figure) -> str:
    """Return the curve in a figure, and the marks in it."""
    if g.curve is None:
        return ""
    left, wide, low, tall = g.x - g.width / 2 + 4, g.width - 8, g.y + g.height / 2 - 4, CURVE - 6
    parts = []
    for m in g.curve.marks:
        x, across = left + m.begin * wide, max((m.end - m.begin) * wide, 1.5)
        high = 2.0 if m.what == "0" else tall
        fill = "" if m.what == "0" else f' style="fill:{_fill(MARKS[m.what])}"'
        parts.append(
            f'<rect class="mark" x="{x:.1f}" y="{low - high:.1f}" width="{across:.1f}" height="{high:.1f}"{fill}>'
            f"<title>{m.what}</title></rect>"
        )
    for piece in g.curve.pieces:
        there = [f"{left + x * wide:.1f},{low - most * tall:.1f}" for x, _, most in piece]
        back = [f"{left + x * wide:.1f},{low - least * tall:.1f}" for x, least, _ in piece[::-1]]
        parts.append(f'<path class="curve" d="M{"L".join([*there, *back])}Z"/>')
    return "".join(parts)


def _fill(colour: str) -> str:
    """Return a colour, or the pattern for what is missing."""
    return "url(#hatch)" if colour == HATCH else colour


def _ink(fill: str) -> str:
    """Return the attribute that gives letters on this colour theirs."""
    return f' style="fill:{ink(fill)}"' if fill and fill != HATCH else ""


def _node(b: Box) -> str:
    classes = " ".join(
        [
            "node",
            b.family,
            *["root"] * b.root,
            *([f"port of-{b.source.name}"] if b.source else []),
            *["cut"] * bool(b.cut),
        ]
    )
    left, top = b.x - b.width / 2, b.y - b.height / 2
    bend = (
        b.height / 2
        if b.family in (Family.ARITHMETIC, Family.DELAY) and not b.port
        else 5
        if b.port
        else 7
    )
    bend = min(bend, 10.0) if b.halves else bend
    fill = HATCH if b.hatch else b.fill
    own = f' style="fill:{_fill(fill)}"' if fill else ""
    letters = _ink(fill)
    made = (
        f'<g id="{b.name}" class="{classes}"><title>{xml(b.tooltip)}</title><rect x="{left:.1f}" y="{top:.1f}" '
        f'width="{b.width:.1f}" height="{b.height:.1f}" rx="{bend:.0f}"{own}/>'
    )
    if b.halves:
        return made + _halves(b, letters)
    if b.port or not b.detail:
        return made + f'<text x="{b.x:.1f}" y="{b.y + 3.5:.1f}"{letters}>{xml(b.title)}</text></g>'
    y = b.y - 11.0 * bool(b.bars)
    made += (
        f'<text x="{b.x:.1f}" y="{y - 1.5:.1f}"{letters}>{xml(b.title)}</text>'
        f'<text x="{b.x:.1f}" y="{y + 10:.1f}" class="detail"{letters}>{xml(b.detail)}</text>'
    )
    if b.bars:
        made += _bars(b)
    return made + "</g>"


def _halves(b: Box, letters: str) -> str:
    """Return the title of a box, and side by side its value and its gradient."""
    top, wide = b.y - b.height / 2, b.width / len(b.halves)
    parts = [f'<text x="{b.x:.1f}" y="{top + 13:.1f}"{letters}>{xml(b.title)}</text>']
    if len(b.halves) > 1:
        parts.append(
            f'<path class="between" d="M{b.x:.1f},{top + 17:.1f}V{b.y + b.height / 2:.1f}"/>'
        )
    for k, half in enumerate(b.halves):
        x = b.x - b.width / 2 + wide * (k + 0.5)
        name = "detail gradient" if k else "detail"
        parts.append(
            f'<text x="{x:.1f}" y="{top + 26:.1f}" class="{name}"{letters}>{xml(half.text)}</text>'
        )
        tiles = []
        for row, tones in enumerate(half.tiles):
            left, y = x - TILE * len(tones) / 2, top + 30 + TILE * row
            tiles += [
                f'<rect x="{left + TILE * i:.1f}" y="{y:.1f}" width="{TILE:.0f}" height="{TILE:.0f}" style="fill:{tone}"/>'
                for i, tone in enumerate(tones)
            ]
        parts.append(f'<g class="tiles">{"".join(tiles)}</g>' if tiles else "")
    return "".join(parts) + "</g>"


def _bars(b: Box) -> str:
    """Return a small chart: one bar for each step."""
    most, count = max([v for v in b.bars if math.isfinite(v)], default=0.0) or 1.0, len(b.bars)
    room = b.width - 12
    wide = room / count
    parts = []
    for k, v in enumerate(b.bars):
        tall = 18.0 * v / most if math.isfinite(v) else 18.0
        parts.append(
            f'<rect class="bar" x="{b.x - room / 2 + k * wide:.2f}" y="{b.y + b.height / 2 - 4 - tall:.1f}" width="{max(wide - 0.6, 0.4):.2f}" height="{tall:.1f}"/>'
        )
    return f'<g class="bars">{"".join(parts)}</g>'


def _edge(arrow: Arrow, path: list[Point], name: str) -> str:
    (x0, y0), (x1, y1) = path[-2:]
    long = math.hypot(x1 - x0, y1 - y0) or 1.0
    ux, uy = (x1 - x0) / long * TIP, (y1 - y0) / long * TIP
    curve = " ".join([f"{x:.1f},{y:.1f}" for x, y in path[1:-1]])
    mark = ""
    if name == CUT:
        mark = _cut_mark(path)
    many = f" ({len(arrow.places)} edges)" if len(arrow.places) > 1 else ""
    said = f"{xml(arrow.tail.title)} \N{RIGHTWARDS ARROW} {xml(arrow.head.title)}{many}"
    return (
        f'<g class="edge {name}"><title>{said}</title>'
        f'<path d="M{path[0][0]:.1f},{path[0][1]:.1f}C{curve} {x1 - ux * 0.8:.1f},{y1 - uy * 0.8:.1f}"/><polygon points="{x1:.1f},{y1:.1f} '
        f'{x1 - ux - uy * 0.38:.1f},{y1 - uy + ux * 0.38:.1f} {x1 - ux + uy * 0.38:.1f},{y1 - uy - ux * 0.38:.1f}"/>{mark}</g>'
    )


def _cut_mark(path: list[Point]) -> str:
    """Return two strokes across the beginning of a line: no gradient goes back through it."""
    (x0, y0), (x1, y1) = path[0], path[3]
    long = math.hypot(x1 - x0, y1 - y0) or 1.0
    ux, uy = (x1 - x0) / long, (y1 - y0) / long
    parts = []
    for along in (5.0, 8.5):
        x, y = x0 + ux * along, y0 + uy * along
        parts.append(
            f'<line class="cutmark" x1="{x + uy * 5 - ux * 2:.1f}" y1="{y - ux * 5 - uy * 2:.1f}" x2="{x - uy * 5 + ux * 2:.1f}" y2="{y + ux * 5 + uy * 2:.1f}"/>'
        )
    return "".join(parts)


def _sign(sign: Sign) -> str:
    """Return a sign of the legend with its meaning."""
    x, y, wide = sign.x, sign.y, SWATCH
    look = f"root {sign.family}" if sign.name == "root" else sign.family
    if sign.name in LINES:
        end = x + wide
        mark = _cut_mark([(x, y), (x, y), (x, y), (end, y)]) if sign.name == CUT else ""
        drawn = f'<path d="M{x:.1f},{y:.1f}H{end - 4:.1f}"/><polygon points="{end:.1f},{y:.1f} {end - TIP:.1f},{y - 2:.1f} {end - TIP:.1f},{y + 2:.1f}"/>{mark}'
    else:
        tall, bend = sign.height, 5 if sign.family in (Family.ARITHMETIC, Family.DELAY) else 2.5
        drawn = (
            f'<rect x="{x:.1f}" y="{y - tall / 2:.1f}" width="{wide}" height="{tall}" rx="{bend}"/>'
        )
    return f'<g class="sign {look}">{drawn}</g><text x="{x + wide + 4:.1f}" y="{y + 3:.1f}">{xml(sign.words)}</text>'


def _legend(legend: Legend, x: float, y: float) -> str:
    """Return the scale of the colours, and the marks for what has no place on it."""
    wide, count = 150.0, len(legend.colours)
    parts = [
        f'<g class="figure" id="legend"><text x="{x:.1f}" y="{y + 9:.1f}" style="text-anchor:start">{xml(legend.title)}</text>'
    ]
    for k, colour in enumerate(legend.colours):
        parts.append(
            f'<rect x="{x + wide * k / count:.1f}" y="{y + 14:.1f}" width="{wide / count + 0.3:.1f}" height="9" style="fill:{colour};stroke:none"/>'
        )
    for part, text in legend.ticks:
        at = max(x + wide * part, 2 + 2.8 * len(text))  # a long number begins in the picture
        parts.append(f'<text x="{at:.1f}" y="{y + 33:.1f}">{xml(text)}</text>')
    left = x + wide + 24
    for fill, text in legend.marks:
        inside = _fill(fill)
        parts.append(
            f'<rect x="{left:.1f}" y="{y + 12:.1f}" width="14" height="12" style="fill:{inside}"/>'
        )
        parts.append(
            f'<text x="{left + 19:.1f}" y="{y + 22:.1f}" style="text-anchor:start">{xml(text)}</text>'
        )
        left += 30 + 4.8 * len(text)
    return "".join(parts) + "</g>"
