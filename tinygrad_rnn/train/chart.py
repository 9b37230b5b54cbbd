"""A line chart as SVG text, for loss curves.

The chart has one y axis, labels at the ends of the lines in place of a legend, and dashed
horizontal references. It follows the reader's light or dark colour scheme, alone or inside a page;
a page can set ``--chart-paper`` on the ``svg.line-chart`` element to put it on another ground.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from ..palette import DARK, LIGHT
from .axis import padded, round_ticks, short, spread, text_width, tick_texts
from .errors import ArgumentError

__all__ = ["Series", "line_chart", "moving_average"]

FloatArray = npt.NDArray[np.float64]
_Number = TypeVar("_Number", float, npt.NDArray[np.float64])

_COLOURS = {
    "chart-paper": "page",
    "chart-ink": "text",
    "chart-muted": "faint",
    "chart-rule": "rule",
}
_COLOURS |= {f"chart-{k}": f"series-{k}" for k in range(len(LIGHT.series))}

WIDTHS = (760.0, 360.0)  # pixels: on a page, and on a telephone
_PLOT_LEAST = 0.42  # of the width, between the axis and the labels
_PLOT_HEIGHT = 300.0
_LABEL_GAP = 17.0  # between the baselines of two labels in the right margin
_LINE = 18.0  # of the label of the x axis
_LABEL_OFFSET = 22.0  # from the end of the lines to the labels

_STYLE = (
    """
.line-chart { %(light)s
  font-family: "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; font-size: 13px; }
@media screen and (prefers-color-scheme: dark) {
  .line-chart { %(dark)s }
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
    % {"light": LIGHT.variables(_COLOURS), "dark": DARK.variables(_COLOURS)}
)


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes
    ----------
    name
        Its label. Series of the same name share a colour and one label.
    x, y
        Numbers, one-dimensional and of equal length.  Where x or y is not finite the line is
        broken.
    faint
        Whether it is drawn thin, pale and without a label, as the raw values behind a smoothed
        line.
    markers
        Whether each point has a dot, for values that are measured now and then.
    """

    name: str
    x: npt.ArrayLike
    y: npt.ArrayLike
    faint: bool = False
    markers: bool = False


def moving_average(values: npt.ArrayLike, span: int) -> FloatArray:
    """Return the average over a centred window.

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
    width: float = WIDTHS[0],
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
    width
        Pixels; with long labels it is wider.

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
    lines = [_Line(one, *_points(one)) for one in series]
    marks = [(str(label), float(y)) for label, y in references]
    for name, height in marks:
        if not math.isfinite(height):
            raise ArgumentError(f"reference {name!r}: expected a finite height, found {height}")
    if not any(line.finite.any() for line in lines):
        raise ArgumentError("expected a series with at least one finite point, found none")
    colours: dict[str, int] = {}
    for one in series:
        colours.setdefault(one.name, len(colours) % len(LIGHT.series))
    labels = _labels(lines, marks, colours)
    frame = _frame(lines, marks, labels, bool(title), width, x_label)
    # Faint ones come first, and the most important series comes last, in front of all.
    faint = [line for line in reversed(lines) if line.series.faint]
    drawn = faint + [line for line in reversed(lines) if not line.series.faint]
    out = [
        *_head(frame, title, y_label, labels),
        *_axes(frame, x_label),
        *(_reference(frame, height) for _, height in marks),
        *(text for line in drawn for text in _curve(frame, line, colours[line.series.name])),
        *_label_texts(frame, labels),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


@dataclass(frozen=True)
class _Line:
    """A series with its numbers as arrays; `finite` says where both are."""

    series: Series
    x: FloatArray
    y: FloatArray

    @property
    def finite(self) -> npt.NDArray[np.bool_]:
        return np.isfinite(self.x) & np.isfinite(self.y)


@dataclass(frozen=True)
class _Label:
    """What stands at the end of a line: a name, its last value, and the height of it."""

    text: str
    value: str
    height: float
    colour: int | None


@dataclass(frozen=True)
class _Frame:
    """Where the axes are in pixels, and what they measure."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    x_ticks: list[float]
    y_ticks: list[float]

    def to_x(self, value: _Number) -> _Number:
        """Return the pixel of a value on the x axis."""
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * (
            self.right - self.left
        )

    def to_y(self, value: _Number) -> _Number:
        """Return the pixel of a value on the y axis."""
        return self.bottom - (value - self.y_low) / (self.y_high - self.y_low) * (
            self.bottom - self.top
        )


def _labels(
    lines: Sequence[_Line], marks: Sequence[tuple[str, float]], colours: dict[str, int]
) -> list[_Label]:
    """Return a label for each reference, and for each name of a series."""
    whole = all(_whole(line.y[line.finite]) for line in lines)
    labels = [_Label(label, short(y, whole), y, None) for label, y in marks]
    labelled: set[str] = set()
    for line in lines:
        name = line.series.name
        if not line.series.faint and name not in labelled and line.finite.any():
            last = float(line.y[line.finite][-1])
            labels.append(_Label(name, short(last, whole), last, colours[name]))
            labelled.add(name)
    return labels


def _whole(values: FloatArray) -> bool:
    """Whether all are whole numbers, as years and counts are."""
    return bool(np.all(values == np.round(values)))


def _frame(
    lines: Sequence[_Line],
    marks: Sequence[tuple[str, float]],
    labels: Sequence[_Label],
    titled: bool,
    width: float,
    x_label: str,
) -> _Frame:
    """Choose the ranges of the axes, and make room for what stands around them."""
    all_x = np.concatenate([line.x[line.finite] for line in lines])
    all_y = np.concatenate([*[line.y[line.finite] for line in lines], [y for _, y in marks]])
    x_low, x_high = padded(float(all_x.min()), float(all_x.max()), 0.0)
    y_low, y_high = padded(float(all_y.min()), float(all_y.max()), 0.04)
    y_ticks = round_ticks(y_low, y_high, 8)
    y_low, y_high = min(y_low, y_ticks[0]), max(y_high, y_ticks[-1])
    left = 16.0 + max(text_width(text) for text in tick_texts(y_ticks)) + 8.0
    labelled = max((text_width(a.text + "  " + a.value) for a in labels), default=0.0)
    margin = _LABEL_OFFSET + labelled * 1.04 + 12.0
    top = 24.0 + (30.0 if titled else 0.0) + 22.0
    width = max(width, left + _PLOT_LEAST * width + margin)
    bottom = top + max(_PLOT_HEIGHT, _LABEL_GAP * len(labels))
    return _Frame(
        width=width,
        height=bottom + 40.0 + _LINE * len(_wrapped(x_label, width - 32)),
        left=left,
        right=width - margin,
        top=top,
        bottom=bottom,
        x_low=x_low,
        x_high=x_high,
        y_low=y_low,
        y_high=y_high,
        x_ticks=round_ticks(
            x_low, x_high, max(2, min(6, int((width - margin - left) / 45))), _whole(all_x)
        ),
        y_ticks=y_ticks,
    )


def _head(frame: _Frame, title: str, y_label: str, labels: Sequence[_Label]) -> Iterator[str]:
    """Return the beginning of the picture: size, style, ground, title and label of the y axis."""
    width, height = _c(frame.width), _c(frame.height)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="line-chart" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label={_attribute(title or y_label)}><title>{_text(title or y_label)}</title>'
        f"<desc>{_text(_summary(title, y_label, labels))}</desc>"
    )
    yield f"<style>\n{_STYLE}\n</style>"
    yield f'<rect class="paper" width="{width}" height="{height}"/>'
    if title:
        yield f'<text class="title" x="16" y="30">{_text(title)}</text>'
    yield f'<text class="muted" x="16" y="{_c(frame.top - 18)}">{_text(y_label)}</text>'


def _axes(frame: _Frame, x_label: str) -> Iterator[str]:
    """Return the grid, the x axis, and what is written at both axes."""
    left, right, bottom = _c(frame.left), _c(frame.right), frame.bottom
    for value, text in zip(frame.y_ticks, tick_texts(frame.y_ticks), strict=True):
        at = _c(frame.to_y(value))
        yield f'<path class="grid" d="M{left} {at}H{right}"/>'
        yield f'<text class="muted" x="{_c(frame.left - 8)}" y="{at}" dy="4.5" text-anchor="end">{text}</text>'
    yield f'<path class="axis" d="M{left} {_c(bottom)}H{right}"/>'
    for value, text in zip(frame.x_ticks, tick_texts(frame.x_ticks), strict=True):
        at = _c(frame.to_x(value))
        yield f'<path class="axis" d="M{at} {_c(bottom)}v5"/>'
        yield f'<text class="muted" x="{at}" y="{_c(bottom + 20)}" text-anchor="middle">{text}</text>'
    wide = text_width(x_label)
    middle = max(min((frame.left + frame.right) / 2, frame.width - 16 - wide / 2), 16 + wide / 2)
    lines = _wrapped(x_label, frame.width - 32)
    if len(lines) > 1:
        middle = frame.width / 2
    for k, line in enumerate(lines):
        yield f'<text class="muted" x="{_c(middle)}" y="{_c(bottom + 43 + _LINE * k)}" text-anchor="middle">{_text(line)}</text>'


def _wrapped(text: str, wide: float) -> list[str]:
    """Return a text as lines that are not wider, as far as its words allow."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > wide:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _reference(frame: _Frame, height: float) -> str:
    """Return a dashed horizontal line."""
    return f'<path class="reference" d="M{_c(frame.left)} {_c(frame.to_y(height))}H{_c(frame.right)}"/>'


def _label_texts(frame: _Frame, labels: Sequence[_Label]) -> Iterator[str]:
    """Return the labels, with a thin line to the end of their curve where they had to move."""
    ends = [frame.to_y(a.height) for a in labels]
    places = spread(ends, _LABEL_GAP, frame.top, frame.bottom)
    for label, start, place in zip(labels, ends, places, strict=True):
        if abs(place - start) > 1.0:
            turn = frame.right + _LABEL_OFFSET - 4
            yield f'<path class="leader" d="M{_c(frame.right + 4)} {_c(start)}L{_c(turn)} {_c(place)}"/>'
        if label.colour is None:
            opening = '<text class="muted"'
        else:
            opening = f'<text class="name" style="fill: var(--chart-{label.colour})"'
        yield (
            f'{opening} x="{_c(frame.right + _LABEL_OFFSET)}" y="{_c(place + 4.5)}">{_text(label.text)}<tspan dx="6">{label.value}</tspan></text>'
        )


def _points(one: Series) -> tuple[FloatArray, FloatArray]:
    """Return the numbers of a series as arrays, or raise an ArgumentError if they do not fit."""
    x, y = np.asarray(one.x, dtype=np.float64), np.asarray(one.y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ArgumentError(
            f"series {one.name!r}: expected x and y of equal shape (n,), found {x.shape} and {y.shape}"
        )
    return x, y


def _curve(frame: _Frame, line: _Line, colour: int) -> list[str]:
    """Return the paths and dots of one series; a value that is not finite breaks its line."""
    good = line.finite
    x = np.where(good, frame.to_x(np.where(good, line.x, frame.x_low)), np.nan)
    y = np.where(good, frame.to_y(np.where(good, line.y, frame.y_low)), np.nan)
    stops = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    commands = []
    lone = []
    for begin, end in zip(stops[::2], stops[1::2], strict=True):
        px, py = _thinned(x[begin:end], y[begin:end])
        if len(px) == 1:
            lone.append((px[0], py[0]))
        else:
            commands.append("M" + "L".join(f"{_c(a)} {_c(b)}" for a, b in zip(px, py, strict=True)))
    kind = "curve faint" if line.series.faint else "curve"
    out = []
    if commands:
        out.append(
            f'<path class="{kind}" style="stroke: var(--chart-{colour})" d="{"".join(commands)}"/>'
        )
    dots = list(zip(x[good], y[good], strict=True)) if line.series.markers else lone
    for a, b in dots:
        out.append(f'<circle cx="{_c(a)}" cy="{_c(b)}" r="3" style="fill: var(--chart-{colour})"/>')
    return out


def _thinned(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keep the first, the lowest, the highest and the last point of each column of pixels.

    The line looks the same.
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
    """Return what the chart shows in words, for readers who do not see it."""
    listed = "; ".join(f"{a.text} {a.value}" for a in labels)
    return ". ".join(
        part for part in (title, f"{y_label}: {listed}" if listed else y_label) if part
    )


def _c(value: float) -> str:
    """Return a coordinate as text, with at most two decimals and none that is not needed."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _text(text: str) -> str:
    """Return a text as it stands between tags."""
    return escape(_printable(text))


def _attribute(text: str) -> str:
    """Return a text as the value of an attribute, with its quotation marks."""
    return quoteattr(_printable(text))


def _printable(text: str) -> str:
    """Return a text in which characters that XML cannot hold are replaced by U+FFFD."""
    return "".join(
        c
        if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
        else "\ufffd"
        for c in text
    )
