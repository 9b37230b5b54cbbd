"""Points and paths of states in the plane of their first two principal components, as SVG."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from ..core.primitive import Array
from ..files import replace_file
from ..palette import DARK, LIGHT, MEANINGS
from .points import Points

_SIDE = 520.0  # pixels of the longer side of the plane
_LEFT, _TOP, _RIGHT, _BOTTOM = 56.0, 64.0, 24.0, 84.0
_MARKS = {  # the shape of each kind
    "stable": "disc",
    "saddle": "ring",
    "unstable": "cross",
    "marginal": "half",
    "slow": "diamond",
}
_COLOURS = {"paper": "page", "ink": "text", "muted": "faint", "rule": "frame-edge"}
_COLOURS |= {"path": "linear-edge", "still": "series-0", "moving": "series-1"}
_STYLE = (
    """
.portrait { @light@
  font-family: "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; font-size: 13px; }
@media screen and (prefers-color-scheme: dark) {
  .portrait { @dark@ }
}
.portrait .paper { fill: var(--paper); }
.portrait text { fill: var(--muted); }
.portrait .title { fill: var(--ink); font-size: 16px; font-weight: 600; }
.portrait .frame { fill: none; stroke: var(--rule); }
.portrait .path { fill: none; stroke: var(--path); stroke-width: 1; stroke-linejoin: round; opacity: 0.75; }
.portrait .end { fill: var(--path); }
.portrait .way { stroke: var(--moving); stroke-width: 1.4; }
.portrait .scale { stroke: var(--ink); stroke-width: 1.4; fill: none; }
.portrait .mark { stroke-width: 1.8; stroke: var(--moving); fill: var(--paper); }
.portrait .stable { stroke: var(--paper); fill: var(--still); stroke-width: 1.2; }
.portrait .marginal { stroke: var(--still); }
.portrait .unstable { stroke: var(--moving); fill: none; }
.portrait .slow { stroke: var(--muted); }
""".strip()
    .replace("@light@", LIGHT.variables(_COLOURS))
    .replace("@dark@", DARK.variables(_COLOURS))
)


@dataclass(frozen=True)
class Portrait:
    """A picture of the states of a cell.

    Attributes
    ----------
    svg : str
        An ``<svg>`` element.
    explained : tuple of float
        Which parts of the variance of points and paths the two axes show.
    """

    svg: str
    explained: tuple[float, float]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to an SVG file."""
        replace_file(path, self.svg)

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        first, second = self.explained
        return f"Portrait({first:.0%} and {second:.0%} of the variance; save(path) writes it)"


def portrait(name: str, points: Points, paths: Array) -> Portrait:
    """Draw points (n of them) and paths (T, batch, n); see `Dynamics.portrait`."""
    everything = np.concatenate([points.rows, paths.reshape(-1, paths.shape[-1])]).astype(float)
    middle = everything.mean(0)
    _, lengths, axes = np.linalg.svd(everything - middle, full_matrices=False)
    axes = np.concatenate([axes, np.zeros((2, axes.shape[1]))])[:2]
    # the sign of an axis means nothing: the largest part of each points up
    axes *= np.where(axes[np.arange(2), np.abs(axes).argmax(1)] < 0, -1, 1)[:, None]
    part = np.append(lengths**2, [0.0, 0.0])[:2] / max(float((lengths**2).sum()), 1e-300)
    plane = _Plane((everything - middle) @ axes.T)

    def to_paper(rows: Array) -> Array:
        return plane.pixels((rows.astype(float) - middle) @ axes.T)

    title = f"{name}: {len(points)} points" + (
        f" and {paths.shape[1]} paths" if paths.shape[1] else ""
    )
    counts = {kind: int((points.kind == kind).sum()) for kind in _MARKS}
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="portrait" width="{plane.width:.0f}" height="{plane.height:.0f}" '
        f'viewBox="0 0 {plane.width:.0f} {plane.height:.0f}" role="img"><title>{escape(title)}</title>'
        f"<desc>{escape(', '.join(f'{n} {MEANINGS[kind]}' for kind, n in counts.items()))}; "
        f"{part[0]:.0%} and {part[1]:.0%} of the variance</desc>",
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="paper" width="{plane.width:.0f}" height="{plane.height:.0f}"/>',
        f'<text class="title" x="16" y="30">{escape(title)}</text>',
        *_axes(plane, part),
        *(_path(to_paper(paths[:, k])) for k in range(paths.shape[1])),
        *_ways(points, to_paper, axes),
    ]
    at = to_paper(points.rows)
    for k in reversed(range(len(points))):  # the stable ones in front
        out.append(_mark(str(points.kind[k]), *at[k]))
    out += [*_legend(points, plane), "</svg>"]
    return Portrait("\n".join(out) + "\n", (float(part[0]), float(part[1])))


class _Plane:
    """Where the plane lies on the paper; both axes have one scale."""

    def __init__(self, at: Array) -> None:
        low, high = at.min(0), at.max(0)
        span = np.maximum(high - low, max(float((high - low).max()) * 0.35, 1e-9)) * 1.08
        self.unit = _SIDE / float(span.max())  # pixels for a length of 1
        self.side = span * self.unit
        self.middle = (low + high) / 2
        self.width = _LEFT + max(float(self.side[0]), 420.0) + _RIGHT
        self.height = _TOP + float(self.side[1]) + _BOTTOM
        self.left = (self.width - _RIGHT + _LEFT - float(self.side[0])) / 2

    def pixels(self, at: Array) -> Array:
        """Return places (..., 2) of the plane as pixels."""
        x = self.left + self.side[0] / 2 + (at[..., 0] - self.middle[0]) * self.unit
        y = _TOP + self.side[1] / 2 - (at[..., 1] - self.middle[1]) * self.unit
        return np.stack([x, y], -1)


def _axes(plane: _Plane, part: Array) -> list[str]:
    """Return the frame, what the axes are, and a length."""
    w, h = plane.side
    bottom, right = _TOP + h, plane.left + w
    length = 10.0 ** math.floor(math.log10(150 / plane.unit))
    length *= next(m for m in (5, 2, 1) if m * length * plane.unit <= 150)
    end = right - 8
    return [
        f'<rect class="frame" x="{plane.left:.1f}" y="{_TOP}" width="{w:.1f}" height="{h:.1f}"/>',
        f'<text x="{plane.left:.1f}" y="{bottom + 20:.1f}">first principal component, {part[0]:.0%} of the variance</text>',
        f'<text transform="translate({plane.left - 10:.1f} {bottom:.1f}) rotate(-90)">second, {part[1]:.0%}</text>',
        f'<path class="scale" d="M{end - length * plane.unit:.1f} {_TOP + h - 10:.1f}H{end:.1f}"/>',
        f'<text x="{end:.1f}" y="{_TOP + h - 16:.1f}" text-anchor="end">{length:g}</text>',
    ]


def _path(at: Array) -> str:
    """Return one path, with a dot where it ends."""
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
    x, y = at[-1]
    return (
        f'<path class="path" d="M{line}"/><circle class="end" cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>'
    )


def _ways(points: Points, to_paper: Callable[[Array], Array], axes: Array) -> list[str]:
    """Return a stroke through each saddle along which states leave it fastest."""
    out = []
    for k in np.flatnonzero(points.kind == "saddle"):
        values, vectors = np.linalg.eig(points.jacobians[k].astype(float))
        way = np.real(vectors[:, np.abs(values).argmax()])
        step = (axes @ (way / max(float(np.linalg.norm(way)), 1e-300))) * [1, -1]
        x, y = to_paper(points.rows[k])
        dx, dy = 26 * step  # as long as it is seen from here
        out.append(f'<path class="way" d="M{x - dx:.1f} {y - dy:.1f}L{x + dx:.1f} {y + dy:.1f}"/>')
    return out


def _mark(kind: str, x: float, y: float) -> str:
    """Return the sign of a point."""
    shape = _MARKS[kind]
    if shape == "cross":
        return f'<path class="mark {kind}" d="M{x - 4.5:.1f} {y - 4.5:.1f}l9 9m0 -9l-9 9"/>'
    if shape == "diamond":
        return f'<path class="mark {kind}" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>'
    radius = 6.0 if shape == "disc" else 4.5
    return f'<circle class="mark {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def _legend(points: Points, plane: _Plane) -> list[str]:
    """Return the signs that occur, with their numbers."""
    out, x, y = [], _LEFT, plane.height - 26
    for kind in _MARKS:
        count = int((points.kind == kind).sum())
        if count:
            text = f"{count} {MEANINGS[kind]}"
            out.append(_mark(kind, x, y - 4.5))
            out.append(f'<text x="{x + 13:.1f}" y="{y:.1f}">{text}</text>')
            x += 13 + 7.5 * len(text) + 22
    if (points.kind == "saddle").any():
        out.append(
            f'<path class="way" d="M{x:.1f} {y - 4.5:.1f}h22"/><text x="{x + 30:.1f}" y="{y:.1f}">{MEANINGS["way"]}</text>'
        )
    return out
