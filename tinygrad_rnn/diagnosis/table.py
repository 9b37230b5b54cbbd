"""How a gradient flow is shown: as a table, and as a picture of one size for any number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import TinygradError
from ..files import replace_file
from ..ops.table import columns
from .curve import Curve
from .units import Unit

COLOURS = ("#00224e", "#c0392b", "#7f6000", "#1b7f5c", "#8e44ad", "#575d6d")
WIDTH, HEIGHT, LEFT, TOP, RIGHT = 860, 210, 64, 30, 190  # of one panel, and its margins
MOST = 400  # points of a line; of more the largest and the smallest of each stretch
DECADES = 30  # of the axis at most, from the largest number down


class Figures(Protocol):
    """What is shown: the attributes of a `GradientFlow`, and its steps."""

    states: dict[str, Curve]
    shares: dict[str, Curve]
    totals: dict[str, float]
    unused: list[str]

    @property
    def norms(self) -> Curve:
        """See `GradientFlow`."""

    @property
    def decay(self) -> Curve:
        """See `GradientFlow`."""

    @property
    def rate(self) -> float | None:
        """See `GradientFlow`."""

    @property
    def memory(self) -> tuple[int, bool]:
        """See `GradientFlow`."""

    @property
    def units(self) -> list[Unit]:
        """See `GradientFlow`."""


def table(flow: Figures) -> str:
    """Return the norms of gradients by states and parameters, and what follows from them."""
    steps = flow.norms.steps.tolist()
    first, last = (steps[0], steps[-1]) if steps else (0, 0)
    rows: list[tuple[str, ...]] = [("state", f"t={first}", "middle", f"t={last}", "largest", "at")]
    for name, norms in flow.states.items():
        found = [norms.at(t) for t in (first, steps[len(steps) // 2] if steps else 0, last)]
        top = norms.largest
        rows.append((name, *map(_figure, found), *_largest(top)))
    parts = (
        ["gradient flow: no step hands on a state that a gradient reaches"]
        if not steps
        else [
            f"gradient flow over {len(steps)} steps, t = {first} to {last}: norms of dL/dstate",
            *columns(rows, range(1, len(rows[0]))),
        ]
    )
    rows = [("parameter", "dL/dW", "largest step", "at", "outside of steps")]
    for name, shares in flow.shares.items():
        rows.append(
            (
                name,
                _figure(flow.totals.get(name)),
                *_largest(shares.largest),
                "" if shares.outside is None else _figure(shares.outside),
            )
        )
    parts += ["", *columns(rows, range(1, len(rows[0]))), "", *_summary(flow)]
    return "\n".join(parts)


def _summary(flow: Figures) -> list[str]:
    """Return the rate, the memory, and the shares of saturated gates as lines."""
    lines = []
    if flow.rate is not None:
        lines.append(f"one step back changes the gradient by a factor of {flow.rate:.3g}")
    steps, gone = flow.memory
    if steps:
        lines.append(
            f"after {steps} steps back less than 1 % of the gradient is left"
            if gone
            else f"more than 1 % of the gradient is left after all {steps} steps"
        )
    for unit in flow.units:
        if unit.share > 0:
            word = "zeros" if unit.node.op == "relu" else "saturated"
            lines.append(
                f"{unit.name} ({unit.node.op}): {unit.share:.0%} {word}, {unit.dead:.0%} of the units always"
            )
    if flow.unused:
        lines.append(f"without a gradient: {', '.join(flow.unused)}")
    return lines


def _largest(top: tuple[int, float] | None) -> tuple[str, str]:
    return ("none", "") if top is None else (_figure(top[1]), f"t={top[0]}")


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def picture(flow: Figures, path: Any) -> None:
    """Write panels: gradients by states, how that of one step decays, and what steps add to parameters."""
    path = Path(path)
    if path.suffix.lower() != ".svg":
        raise TinygradError(
            f"plot: the picture is an SVG file; expected a name such as flow.svg, found '{path.name}'"
        )
    shares = {
        name: {t: v for t, v in found.items() if t is not None}
        for name, found in flow.shares.items()
    }
    largest = sorted(shares, key=lambda name: -flow.totals.get(name, 0.0))[: len(COLOURS)]
    panels: list[tuple[str, Mapping[str, Mapping[int, float]]]] = [
        ("norm of the gradient by the state after step t", flow.states),
        (_title_of_decay(flow), {"whole state": flow.decay}),
        (
            "norm of what step t adds to the gradient of a parameter",
            {n: shares[n] for n in largest},
        ),
    ]
    height = HEIGHT * len(panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for k, (title, curves) in enumerate(panels):
        lines += _panel(title, curves, k * HEIGHT)
    replace_file(path, "\n".join([*lines, "</svg>", ""]))


def _title_of_decay(flow: Figures) -> str:
    rate = "" if flow.rate is None else f": a factor of {flow.rate:.3g} for each step back"
    return f"decay of the gradient that enters last{rate}"


def _panel(title: str, curves: Mapping[str, Mapping[int, float]], top: float) -> list[str]:
    """Return a panel with a line for each of some curves, over time, on a logarithmic axis."""
    found = [v for norms in curves.values() for v in norms.values() if 0 < v < math.inf]
    high = math.log10(max(found, default=1.0))
    low = max(math.log10(min(found, default=1.0)), high - DECADES)
    low, high = (low - 0.2, high + 0.2) if high - low > 0.4 else (low - 0.5, high + 0.5)
    steps = [t for norms in curves.values() for t in norms]
    first, last = min(steps, default=0), max(steps, default=0)
    right, base = WIDTH - RIGHT, top + HEIGHT - 34

    def x(t: float) -> float:
        return LEFT + (right - LEFT) * ((t - first) / (last - first) if last > first else 0.5)

    def y(v: float) -> float:
        part = (math.log10(v) - low) / (high - low)
        return base - (base - top - TOP) * min(max(part, 0.0), 1.0)

    out = [f'<text x="{LEFT}" y="{top + 18}" font-weight="bold">{escape(title)}</text>']
    every = max(1, math.ceil((high - low) / 5))
    ticks = [10.0**k for k in range(math.ceil(low), math.floor(high) + 1) if k % every == 0]
    if len(ticks) < 2:  # less than two decades
        ticks = [10 ** (low + part * (high - low)) for part in (0.1, 0.5, 0.9)]
    for v in ticks:
        out.append(
            f'<path d="M{LEFT} {y(v):.1f}H{right}" stroke="#dddddd"/><text x="{LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.2g}</text>'
        )
    for t in sorted({first, (first + last) // 2, last}):
        out.append(f'<text x="{x(t):.1f}" y="{base + 16}" text-anchor="middle">t = {t}</text>')
    out.append(f'<path d="M{LEFT} {top + TOP}V{base}H{right}" stroke="#333333" fill="none"/>')
    for k, (name, norms) in enumerate(curves.items()):
        colour = COLOURS[k % len(COLOURS)]
        dash = ' stroke-dasharray="5 3"' if k >= len(COLOURS) else ""
        # what lies below the axis is left out, as zeros are
        for run in _lines({t: v if v >= 10**low else 0.0 for t, v in norms.items()}):
            points = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in run)
            shape = (
                f'<circle cx="{x(run[0][0]):.1f}" cy="{y(run[0][1]):.1f}" r="2" fill="{colour}"/>'
                if len(run) == 1
                else f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'
            )
            out.append(shape)
        place = top + TOP + 8 + 15 * k
        if place < base:
            out.append(
                f'<path d="M{right + 12} {place - 4}h16" stroke="{colour}" stroke-width="2"{dash}/>'
                f'<text x="{right + 34}" y="{place}">{escape(name)}</text>'
            )
    return out


def _lines(norms: Mapping[int, float]) -> list[list[tuple[int, float]]]:
    """Return the points of a curve, in a list for each stretch without zeros or gaps."""
    runs: list[list[tuple[int, float]]] = [[]]
    before: int | None = None
    for t in sorted(norms):
        v = norms[t]
        if not 0 < v < math.inf or (before is not None and t != before + 1):
            runs.append([])
        if 0 < v < math.inf:
            runs[-1].append((t, v))
        before = t
    total = sum(map(len, runs))
    return [_thinned(run, math.ceil(2 * total / MOST)) for run in runs if run]


def _thinned(run: list[tuple[int, float]], stretch: int) -> list[tuple[int, float]]:
    """Return of each stretch of points the smallest and the largest, so that no peak is lost."""
    if stretch <= 2:
        return run
    found = []
    for k in range(0, len(run), stretch):
        part = run[k : k + stretch]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        found += sorted(ends)
    return found
