"""The picture as SVG, written without graphviz."""

from __future__ import annotations

import math

from .layout import HEIGHT, LABEL, TIP, Layout
from .sketch import Sketch
from .style import FAINT, FILLS, FONT, FRAME, ROOT_WIDTH, SIZE, SMALL, TEXT, stroke, xml


def plain_svg(sketch: Sketch, layout: Layout) -> str:
    """The same picture as graphviz draws from the DOT source."""
    w, h = layout.width, layout.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w:.0f}pt" height="{h:.0f}pt" viewBox="0 0 {w:.1f} {h:.1f}" '
        f'font-family="{FONT}" font-size="{SIZE}" fill="{TEXT}"><rect width="100%" height="100%" fill="white"/>'
    ]
    for f in layout.frames:
        parts.append(
            f'<rect x="{f.left:.1f}" y="{f.top:.1f}" width="{f.right - f.left:.1f}" height="{f.bottom - f.top:.1f}" rx="9" '
            f'fill="{FRAME[0]}" stroke="{FRAME[1]}"/>'
        )
        for k, words in enumerate(f.label):
            y = f.bottom - LABEL * (len(f.label) - k) + 7
            parts.append(f'<text x="{f.left + 10:.1f}" y="{y:.1f}" font-size="10" fill="{FAINT}">{xml(words)}</text>')
    for arrow, path in layout.paths:
        colour, width = stroke(arrow, layout)
        (x0, y0), (x1, y1) = path[-2:]
        long = math.hypot(x1 - x0, y1 - y0) or 1.0
        ux, uy = (x1 - x0) / long * TIP, (y1 - y0) / long * TIP
        curve = " ".join(f"{x:.1f},{y:.1f}" for x, y in path[1:])
        tip = f"{x1:.1f},{y1:.1f} {x1 - ux - uy * 0.35:.1f},{y1 - uy + ux * 0.35:.1f} {x1 - ux + uy * 0.35:.1f},{y1 - uy - ux * 0.35:.1f}"
        parts.append(
            f'<path d="M{path[0][0]:.1f},{path[0][1]:.1f} C{curve}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
            f'<polygon points="{tip}" fill="{colour}"/>'
        )
    for b in sketch.boxes:
        fill, outline = FILLS[b.family]
        extra = ' stroke-dasharray="4 3"' if b.gap else f' stroke-width="{ROOT_WIDTH}"' if b.root else ""
        parts.append(
            f'<g id="{b.name}"><title>{xml(b.tooltip)}</title><rect x="{b.x - b.width / 2:.1f}" y="{b.y - HEIGHT / 2:.1f}" '
            f'width="{b.width:.1f}" height="{HEIGHT}" rx="8" fill="{fill}" stroke="{outline}"{extra}/>'
            f'<text x="{b.x:.1f}" y="{b.y - 1:.1f}" text-anchor="middle">{xml(b.title)}</text>'
            f'<text x="{b.x:.1f}" y="{b.y + 10:.1f}" text-anchor="middle" font-size="{SMALL}" fill="{FAINT}">{xml(b.detail)}</text></g>'
        )
    for name, text, y, size in layout.captions:
        parts.append(f'<text id="{name}" x="{w / 2:.1f}" y="{y + size / 3:.1f}" text-anchor="middle" font-size="{size}">{xml(text)}</text>')
    return "\n".join([*parts, "</svg>\n"])
