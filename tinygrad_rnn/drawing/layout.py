"""Where everything goes: a grid of time and depth.

A column is a time step; a band is a cell with its layer (a row of frames, one for each step), or
the operations outside of cells that follow it (`grid`). A step is laid out once for all columns
(`plans`), so the same operation stands at the same height in every step, and the work is linear in
what is drawn. Lines run between columns and bands (`routes`, `lines`), never behind a box.

It is computed here, and not by a general layout program: these take minutes for an unrolled
network, and do not know that its steps are alike. All lengths are in points. The code speaks of u,
along time, and d, the depth, which grows upwards on the page; for time that runs downwards the axes
are exchanged at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .boxes import Arrow, Box, Sketch
from .frames import Figure, Frame, Word, figures_of, frames_of
from .key import ROW, Sign, signs_of
from .paths import paths_of
from .places import MARGIN, Places
from .stepplan import Point

TIP = 5.5  # length of an arrow head
LEGEND = 46.0  # room for the scale of the colours
NOTE_LINE = 14.0


class Caption(NamedTuple):
    """A line of text in the middle of the width, over or under everything."""

    name: str
    text: str
    y: float
    size: float  # of its letters


class Layout(NamedTuple):
    """What a renderer needs.

    Attributes
    ----------
    width, height : float
    frames : list of Frame
    paths : list of (Arrow, list of (float, float))
        A path is its start and then, three by three, the points of cubic Bezier curves.
    states : set of Arrow
        The arrows that carry a state from step to step, or into the first one.
    captions : list of Caption
    figures : list of Figure
    words : list of Word
    legend : float
        Where the scale of the colours begins, from above.
    signs : list of Sign
        What boxes and lines mean.
    rankdir : {"LR", "TB", "BT"}
        Where the operations lead, in the words of graphviz.
    """

    width: float
    height: float
    frames: list[Frame]
    paths: list[tuple[Arrow, list[Point]]]
    states: set[Arrow]
    captions: list[Caption]
    figures: list[Figure]
    words: list[Word]
    legend: float = 0.0
    signs: Sequence[Sign] = ()
    rankdir: str = "LR"


def place(sketch: Sketch, direction: str = "LR", explained: bool | None = False) -> Layout:
    """Set x and y (the middle, y growing downwards) of every box; find frames and paths.

    Parameters
    ----------
    sketch : Sketch
    direction : {"LR", "TB"}
        That of time: the operations of a step run across it. Without steps it is that of the
        operations.
    explained : bool or None
        Whether there is a legend of boxes and lines; None if that depends on the picture.
    """
    steps = any(box.framed or box.run for box in sketch.boxes)
    turned = (direction == "TB") == steps
    places = Places(sketch, turned)
    turn = _turn(turned, steps)
    for b in sketch.boxes:
        b.x, b.y = turn(places.at[b])
    found, names = frames_of(places)
    frames = []
    for f in found:
        (left, right), (top, bottom) = map(
            sorted, zip(turn((f.left, f.top)), turn((f.right, f.bottom)), strict=True)
        )
        label_x = left + (8 if turned else f.label_x)
        frames.append(Frame(f.label, f.boxes, left, top, right, bottom, label_x, bottom - 8))
    paths = [
        (arrow, [turn(p) for p in path])
        for arrow in sketch.arrows
        for path in paths_of(places, arrow)
    ]
    figures, words = figures_of(places, sketch.strips)
    for k, g in enumerate(figures):
        x, y = turn((g.x, g.y))
        figures[k] = g._replace(x=x, y=y)
    texts = [Word(word, *turn((x, y))) for word, x, y in [*words, *names]]
    layout = Layout(0.0, 0.0, frames, paths, places.grid.states, [], figures, texts)
    rankdir = "LR" if turned else "BT" if steps else "TB"
    return _framed(sketch, layout._replace(rankdir=rankdir), explained)


def _turn(turned: bool, steps: bool) -> Callable[[Point], Point]:
    """Return the function from (u, d) to (x, y)."""
    if turned:
        return lambda p: (p[1], p[0])
    return (lambda p: (p[0], -p[1])) if steps else (lambda p: p)


def _framed(sketch: Sketch, layout: Layout, explained: bool | None) -> Layout:
    """Move everything to begin at 0, 0, with room for margins, captions and legends."""
    xs, ys = _extent(sketch, layout)
    inner = max(xs) - min(xs) + 2 * MARGIN
    legend = LEGEND if sketch.legend is not None else 0.0
    width = max(
        inner,
        8 * len(sketch.title) + 2 * MARGIN,
        5.3 * min(len(sketch.note), 150) + 2 * MARGIN,
        330.0 if legend else 0.0,
    )
    notes = _wrapped(sketch.note, max(40, int((width - 2 * MARGIN) / 5.0)))
    head = 26.0 if sketch.title else 0.0
    foot = (8.0 + NOTE_LINE * len(notes)) * bool(notes)
    dx, dy = MARGIN - min(xs) + (width - inner) / 2, MARGIN - min(ys) + head
    height = max(ys) + dy + MARGIN + foot + legend
    signs = signs_of(sketch, layout.states, width - 2 * MARGIN, height, explained)
    key = signs[-1].y + ROW / 2 + 4 if signs else 0.0
    height += key
    captions = [Caption("title", sketch.title, MARGIN + 7, 14.0)] * bool(sketch.title)
    for k, text in enumerate(notes):
        y = height - MARGIN - 4 - NOTE_LINE * (len(notes) - 1 - k)
        captions.append(Caption(f"note{k or ''}", text, y, 10.0))
    for b in sketch.boxes:
        b.x, b.y = b.x + dx, b.y + dy
    return Layout(
        width,
        height,
        [_moved(f, dx, dy) for f in layout.frames],
        [(arrow, [(x + dx, y + dy) for x, y in path]) for arrow, path in layout.paths],
        layout.states,
        captions,
        [g._replace(x=g.x + dx, y=g.y + dy) for g in layout.figures],
        [Word(text, x + dx, y + dy) for text, x, y in layout.words],
        height - foot - key - legend,
        [s._replace(x=s.x + MARGIN, y=s.y + height - foot - key - 4) for s in signs],
        layout.rankdir,
    )


def _extent(sketch: Sketch, layout: Layout) -> tuple[list[float], list[float]]:
    """Return the coordinates between which everything lies: those along x, and those along y."""
    xs, ys = [0.0] * (not sketch.boxes), [0.0] * (not sketch.boxes)
    things: list[Box | Figure] = [*sketch.boxes, *layout.figures]
    for b in things:
        xs += [b.x - b.width / 2, b.x + b.width / 2]
        ys += [b.y - b.height / 2, b.y + b.height / 2]
    for f in layout.frames:
        xs += [f.left, f.right, f.label_x + 4.6 * len(f.label)]
        ys += [f.top, f.bottom]
    for _, path in layout.paths:
        xs += [min(p[0] for p in path), max(p[0] for p in path)]
        ys += [min(p[1] for p in path), max(p[1] for p in path)]
    for text, x, y in layout.words:
        xs.append(x - 5.0 * len(text))
        ys += [y - 6, y + 6]
    return xs, ys


def _moved(f: Frame, dx: float, dy: float) -> Frame:
    return Frame(
        f.label,
        f.boxes,
        f.left + dx,
        f.top + dy,
        f.right + dx,
        f.bottom + dy,
        f.label_x + dx,
        f.label_y + dy,
    )


def _wrapped(text: str, columns: int) -> list[str]:
    """Return lines of about so many characters."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
