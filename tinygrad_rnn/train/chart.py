"""A line chart as SVG text, for loss curves.

The chart has one y axis, direct labels at the line ends instead of a legend, and dashed horizontal
references.  It follows the reader's light or dark colour scheme, alone or inside a page; a page can
set ``--chart-paper`` on the ``svg.line-chart`` element to put it on another ground.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError

__all__ = ["Series", "line_chart", "moving_average"]

FloatArray = npt.NDArray[np.float64]
_Number = TypeVar("_Number", float, npt.NDArray[np.float64])

# Blue, vermilion, green and purple after Okabe and Ito, darkened for text on white and lightened
# for text on black.
_LIGHT = ("#0a5fa5", "#c24a00", "#00755b", "#95417f")
_DARK = ("#6db5f2", "#ff9a57", "#41c9a0", "#e39ccb")

_WIDTH = 760.0
_PLOT_WIDTH_LEAST = 320.0
_PLOT_HEIGHT = 300.0
_LABEL_GAP = 17.0  # between the baselines of two labels in the right margin
_LABEL_OFFSET = 22.0  # from the end of the lines to the labels
_FONT = 13.0

_STYLE = (
    """
.line-chart { --chart-paper: #fff; --chart-ink: #1c1c1c; --chart-muted: #5f5f5f; --chart-rule: #e7e7e4; %(light)s
  font-family: "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; font-size: 13px; }
@media screen and (prefers-color-scheme: dark) {
  .line-chart { --chart-paper: #16181b; --chart-ink: #ececea; --chart-muted: #a4a6a8; --chart-rule: #2d3034; %(dark)s }
}
.line-chart .paper { fill: var(--chart-paper); }
.line-chart text { fill: var(--chart-ink); font-variant-numeric: tabular-nums; }
.line-chart .title { font-size: 16px; font-weight: 600; }
.line-chart .muted { fill: var(--chart-muted); }
.line-chart .name { font-weight: 600; }
.line-chart .grid { stroke: var(--chart-rule); stroke-width: 1; }
.line-chart .axis { stroke: var(--chart-ink); stroke-width: 1; }
.line-chart .reference { stroke: var(--chart-muted); stroke-width: 1.1; stroke-dasharray: 5 4; }
.line-chart .leader { fill: none; stroke: var(--chart-muted); stroke-width: 0.8; }
.line-chart .curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line-chart .faint { stroke-width: 1; opacity: 0.35; }
""".strip()
    % {
        "light": " ".join(f"--chart-{i}: {c};" for i, c in enumerate(_LIGHT)),
        "dark": " ".join(f"--chart-{i}: {c};" for i, c in enumerate(_DARK)),
    }
)


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes
    ----------
    name
        Its label.  Series of the same name share a colour and one label.
    x, y
        Numbers, one-dimensional and of equal length.  Where x or y is not finite the line is
        broken.
    faint
        Draw it thin, pale and without a label: for the raw values behind a smoothed line.
    markers
        Draw a dot at each point: for values measured now and then.
    """

    name: str
    x: npt.ArrayLike
    y: npt.ArrayLike
    faint: bool = False
    markers: bool = False


def moving_average(values: npt.ArrayLike, span: int) -> FloatArray:
    """Average over a centred window.

    Near the start the window is narrowed on both sides, so that a steep beginning keeps its height;
    at the end it is cut off on the right only, so that the last value is a mean too and not one
    noisy number.

    Parameters
    ----------
    values
        Numbers of shape (n,).
    span
        Width of the window, at least 1; an even width is taken one larger.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    ArgumentError
        If `values` is not one-dimensional or `span` is below 1.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or span < 1:
        raise ArgumentError(
            f"expected values of shape (n,) and a span of at least 1, found {array.shape} and {span}"
        )
    n, half = len(array), span // 2
    sums = np.concatenate([[0.0], np.cumsum(array)])
    position = np.arange(n)
    back = np.minimum(half, position)
    ahead = np.minimum(back, n - 1 - position)
    result: FloatArray = (sums[position + ahead + 1] - sums[position - back]) / (ahead + back + 1)
    return result


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    title: str,
    references: Iterable[tuple[str, float]] = (),
) -> str:
    """Draw a line chart.

    Parameters
    ----------
    series
        The lines, the most important first: it is drawn in front, in blue.  At least one finite
        point in all.
    x_label, y_label
        What the axes measure, with units.
    title
        One line above the chart; may be empty.
    references
        Labels and heights of dashed horizontal lines.

    Returns
    -------
    str
        An ``<svg>`` element without XML declaration.  The same arguments give the same text.

    Raises
    ------
    ArgumentError
        If a series has arrays of unequal length or of more than one dimension, if no point is
        finite, or if a reference is not finite.
    """
    lines = [(one, *_points(one)) for one in series]
    marks = [(str(label), float(y)) for label, y in references]
    for name, height_of in marks:
        if not math.isfinite(height_of):
            raise ArgumentError(f"reference {name!r}: expected a finite height, found {height_of}")
    finite = [np.isfinite(x) & np.isfinite(y) for _, x, y in lines]
    if not any(mask.any() for mask in finite):
        raise ArgumentError("expected a series with at least one finite point, found none")
    all_x = np.concatenate([x[mask] for (_, x, _), mask in zip(lines, finite, strict=True)])
    all_y = np.concatenate(
        [y[mask] for (_, _, y), mask in zip(lines, finite, strict=True)] + [[y for _, y in marks]]
    )

    x_low, x_high = _padded(float(all_x.min()), float(all_x.max()), 0.0)
    y_low, y_high = _padded(float(all_y.min()), float(all_y.max()), 0.04)
    y_ticks = _ticks(y_low, y_high, 8)
    y_low, y_high = min(y_low, y_ticks[0]), max(y_high, y_ticks[-1])
    x_ticks = _ticks(x_low, x_high, 6)
    x_texts, y_texts = _tick_texts(x_ticks), _tick_texts(y_ticks)

    colours: dict[str, int] = {}
    for one in series:
        colours.setdefault(one.name, len(colours) % len(_LIGHT))
    labels = [_Label(label, _number(y), y, None) for label, y in marks]
    labelled: set[str] = set()
    for (one, _, y), mask in zip(lines, finite, strict=True):
        if not one.faint and one.name not in labelled and mask.any():
            last = float(y[mask][-1])
            labels.append(_Label(one.name, _number(last), last, colours[one.name]))
            labelled.add(one.name)

    left = 16.0 + max(_text_width(text) for text in y_texts) + 8.0
    right = (
        _LABEL_OFFSET
        + max((_text_width(a.text + "  " + a.value) for a in labels), default=0.0) * 1.04
        + 12.0
    )
    top = 24.0 + (30.0 if title else 0.0) + 22.0
    width = max(_WIDTH, left + _PLOT_WIDTH_LEAST + right)
    plot_width = width - left - right
    plot_height = max(_PLOT_HEIGHT, _LABEL_GAP * len(labels))
    bottom, end = top + plot_height, left + plot_width
    height = bottom + 58.0

    def to_x(value: _Number) -> _Number:
        return left + (value - x_low) / (x_high - x_low) * plot_width

    def to_y(value: _Number) -> _Number:
        return bottom - (value - y_low) / (y_high - y_low) * plot_height

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="line-chart" width="{_c(width)}" height="{_c(height)}" '
        f'viewBox="0 0 {_c(width)} {_c(height)}" role="img" aria-label={_attribute(_summary(title, y_label, labels))}>',
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="paper" width="{_c(width)}" height="{_c(height)}"/>',
    ]
    if title:
        out.append(f'<text class="title" x="16" y="30">{_text(title)}</text>')
    out.append(f'<text class="muted" x="16" y="{_c(top - 18)}">{_text(y_label)}</text>')

    for value, text in zip(y_ticks, y_texts, strict=True):
        at = _c(to_y(value))
        out.append(f'<path class="grid" d="M{_c(left)} {at}H{_c(end)}"/>')
        out.append(
            f'<text class="muted" x="{_c(left - 8)}" y="{at}" dy="4.5" text-anchor="end">{text}</text>'
        )
    out.append(f'<path class="axis" d="M{_c(left)} {_c(bottom)}H{_c(end)}"/>')
    for value, text in zip(x_ticks, x_texts, strict=True):
        at = _c(to_x(value))
        out.append(f'<path class="axis" d="M{at} {_c(bottom)}v5"/>')
        out.append(
            f'<text class="muted" x="{at}" y="{_c(bottom + 20)}" text-anchor="middle">{text}</text>'
        )
    middle = (left + end) / 2
    out.append(
        f'<text class="muted" x="{_c(middle)}" y="{_c(bottom + 43)}" text-anchor="middle">{_text(x_label)}</text>'
    )

    for _, reference in marks:
        at = _c(to_y(reference))
        out.append(f'<path class="reference" d="M{_c(left)} {at}H{_c(end)}"/>')
    drawn = sorted(
        zip(reversed(lines), reversed(finite), strict=True), key=lambda item: not item[0][0].faint
    )
    for (one, x_values, y_values), mask in drawn:
        x_places = np.where(mask, to_x(np.where(mask, x_values, x_low)), np.nan)
        y_places = np.where(mask, to_y(np.where(mask, y_values, y_low)), np.nan)
        out += _curve(one, colours[one.name], x_places, y_places)

    ends = [to_y(a.height) for a in labels]
    places = _spread(ends, _LABEL_GAP, top, bottom)
    for label, start, place in zip(labels, ends, places, strict=True):
        if abs(place - start) > 1.0:
            turn = end + _LABEL_OFFSET - 4
            out.append(
                f'<path class="leader" d="M{_c(end + 4)} {_c(start)}L{_c(turn)} {_c(place)}"/>'
            )
        if label.colour is None:
            opening = '<text class="muted"'
        else:
            opening = f'<text class="name" style="fill: var(--chart-{label.colour})"'
        out.append(
            f'{opening} x="{_c(end + _LABEL_OFFSET)}" y="{_c(place + 4.5)}">{_text(label.text)}<tspan dx="6">{label.value}</tspan></text>'
        )
    out.append("</svg>")
    return "\n".join(out) + "\n"


@dataclass(frozen=True)
class _Label:
    text: str
    value: str
    height: float
    colour: int | None


def _points(one: Series) -> tuple[FloatArray, FloatArray]:
    x, y = np.asarray(one.x, dtype=np.float64), np.asarray(one.y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ArgumentError(
            f"series {one.name!r}: expected x and y of equal shape (n,), found {x.shape} and {y.shape}"
        )
    return x, y


def _padded(low: float, high: float, fraction: float) -> tuple[float, float]:
    """Widen an interval by a fraction of its length, and one of no length by more, so that it can be divided by."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.5 if low == 0 else abs(low) * 0.1
    else:
        margin = (high - low) * fraction
    return low - margin, high + margin


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    """Give round numbers inside an interval, 1, 2 or 5 times a power of ten apart.

    At most `wanted` + 1.
    """
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step + 0.0 for i in range(first, last + 1)]


def _tick_texts(ticks: Sequence[float]) -> list[str]:
    """Write ticks with the decimals their distance needs, and a thin space between thousands."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1.0
    largest = max(abs(t) for t in ticks)
    if largest >= 1e9 or step < 1e-5:
        digits = math.ceil(math.log10(largest / step) + 1e-9) + 1 if largest else 1
        return [_grouped(f"{t:.{digits}g}") for t in ticks]
    decimals = max(0, -math.floor(math.log10(step * (1 + 1e-9))))
    return [_grouped(f"{t:,.{decimals}f}") for t in ticks]


def _grouped(text: str) -> str:
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")


def _number(value: float) -> str:
    """Write a value beside a label.

    Two decimals, or three significant digits when that says more.
    """
    text = f"{value:,.2f}" if 0.1 <= abs(value) < 1e6 or value == 0 else f"{value:.3g}"
    return _grouped(text)


def _text_width(text: str) -> float:
    """Estimate the width of text in pixels, a little too wide rather than too narrow."""
    widths = {
        " ": 0.28,
        ".": 0.28,
        ",": 0.28,
        "i": 0.25,
        "l": 0.25,
        "t": 0.3,
        "f": 0.3,
        "r": 0.36,
        "-": 0.36,
    }
    ems = sum(
        widths.get(c, 0.62 if c.islower() or c.isdigit() else 1.0 if ord(c) > 0x2E80 else 0.72)
        for c in text
    )
    return ems * _FONT


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions as little as possible so that neighbours are `gap` apart, within `low` to `high` if they fit.

    Positions that collide are joined to a block centred on their mean, until no blocks overlap.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, list[int]]] = []  # centre, members

    def centre(members: list[int]) -> float:
        half = gap * (len(members) - 1) / 2
        mean = sum(wanted[i] for i in members) / len(members)
        return max(min(mean, high - half), low + half)

    for i in order:
        members = [i]
        at = centre(members)
        while blocks and at - blocks[-1][0] < gap * (len(members) + len(blocks[-1][1])) / 2:
            members = blocks.pop()[1] + members
            at = centre(members)
        blocks.append((at, members))
    result = [0.0] * len(wanted)
    for at, members in blocks:
        for j, i in enumerate(members):
            result[i] = at + gap * (j - (len(members) - 1) / 2)
    return result


def _curve(one: Series, colour: int, x: FloatArray, y: FloatArray) -> list[str]:
    """Draw one series from pixel positions; NaN breaks the line."""
    good = np.isfinite(x)
    stops = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    commands = []
    lone = []
    for begin, end in zip(stops[::2], stops[1::2], strict=True):
        px, py = _thinned(x[begin:end], y[begin:end])
        if len(px) == 1:
            lone.append((px[0], py[0]))
        else:
            commands.append("M" + "L".join(f"{_c(a)} {_c(b)}" for a, b in zip(px, py, strict=True)))
    kind = "curve faint" if one.faint else "curve"
    out = []
    if commands:
        out.append(
            f'<path class="{kind}" style="stroke: var(--chart-{colour})" d="{"".join(commands)}"/>'
        )
    dots = list(zip(x[good], y[good], strict=True)) if one.markers else lone
    for a, b in dots:
        out.append(f'<circle cx="{_c(a)}" cy="{_c(b)}" r="3" style="fill: var(--chart-{colour})"/>')
    return out


def _thinned(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keep the first, lowest, highest and last point of each pixel column.

    What is left looks the same.
    """
    if len(x) <= 4 or np.any(np.diff(x) < 0):
        return x, y
    column = np.floor(x)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(column) > 0]))
    keep: set[int] = set()
    for begin, end in zip(starts, [*starts[1:], len(x)], strict=True):
        part = y[begin:end]
        keep.update(
            (int(begin), int(begin + part.argmin()), int(begin + part.argmax()), int(end - 1))
        )
    index = np.array(sorted(keep))
    return x[index], y[index]


def _summary(title: str, y_label: str, labels: Sequence[_Label]) -> str:
    listed = "; ".join(f"{a.text} {a.value}" for a in labels)
    return ". ".join(
        part for part in (title, f"{y_label}: {listed}" if listed else y_label) if part
    )


def _c(value: float) -> str:
    """Write a coordinate: at most two decimals, none that are not needed."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _text(text: str) -> str:
    return escape(_printable(text))


def _attribute(text: str) -> str:
    return quoteattr(_printable(text))


def _printable(text: str) -> str:
    """Replace characters that XML cannot hold."""
    return "".join(
        c
        if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
        else "\ufffd"
        for c in text
    )
