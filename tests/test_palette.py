"""One palette: no other file names a colour, and readers of all kinds tell its colours apart."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.drawing.boxes import Family
from tinygrad_rnn.drawing.style import KINDS
from tinygrad_rnn.palette import CIVIDIS, INKS, THEMES, Theme, ink

PACKAGE = Path(__file__).parents[1] / "tinygrad_rnn"
# How colours look to readers without one kind of cone, for linear RGB: G. M. Machado, M. M. Oliveira
# and L. A. F. Fernandes, IEEE Trans. Visualization and Computer Graphics 15 (2009) 1291.
SIGHT = {
    "all": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
APART = 9.0  # CIE 1976; 2.3 is just noticed
# told apart otherwise: a cut line is dashed and has two strokes across, arithmetic has round ends
OTHERWISE = {("read", "cut"), ("arithmetic", "input"), ("arithmetic", "shaping")}


def linear(colour: str) -> np.ndarray:
    """Return red, green and blue without the curve of screens."""
    parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* of linear RGB."""
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(a: str, b: str, sight: str) -> float:
    """Return how far apart two colours are for readers of one kind."""
    seen = [lab(np.asarray(SIGHT[sight]) @ linear(colour)) for colour in (a, b)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def contrast(a: str, b: str) -> float:
    """Return the contrast of two colours by WCAG 2."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def groups(theme: Theme) -> dict[str, dict[str, str]]:
    """Colours that are told apart beside each other."""
    lines = {kind: theme.edges[kind] for kind in KINDS if kind != "carried"}
    outlines = {f: outline for f, (_, outline) in theme.fills.items() if f not in ("gap", "delay")}
    return {"lines": lines, "outlines": outlines, "series": dict(enumerate(theme.series))}


def test_no_other_file_names_a_colour() -> None:
    colour = re.compile(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b|\brgba?\((?!0 0 0 /)\d")
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()[:80]}"
        for path in sorted(PACKAGE.rglob("*.*"))
        if path.suffix in (".py", ".js", ".css", ".html") and path.name != "palette.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if colour.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("name", THEMES)
def test_a_theme_has_every_family_and_kind(name: str) -> None:
    assert set(THEMES[name].fills) == {*Family}
    assert list(THEMES[name].edges) == list(KINDS)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("name", THEMES)
def test_colours_are_told_apart_by_all_readers(name: str, sight: str) -> None:
    for group, colours in groups(THEMES[name]).items():
        close = {
            (a, b): round(distance(colours[a], colours[b], sight), 1)
            for a, b in combinations(colours, 2)
            if (a, b) not in OTHERWISE
        }
        assert min(close.values()) >= APART, (group, min(close, key=close.__getitem__))


@pytest.mark.parametrize("name", THEMES)
def test_letters_can_be_read(name: str) -> None:
    theme = THEMES[name]
    inside = [theme.page, theme.raised, theme.soft, theme.frame[0]]
    fills = [fill for family, (fill, _) in theme.fills.items() if family != Family.DELAY]
    for ground in [*inside, *fills]:
        assert contrast(theme.text, ground) >= 4.5 and contrast(theme.faint, ground) >= 4.5, ground
    for colour in (theme.series[0], theme.series[2], theme.edges["back"]):
        assert all(contrast(colour, ground) >= 4.5 for ground in inside), colour
    for colour in theme.edges.values():
        assert contrast(colour, theme.page) >= 2.8, colour
    assert all(contrast(ink(c), c) >= 4.5 for c in CIVIDIS) and contrast(*INKS) > 15


def test_a_style_sheet_gets_its_properties() -> None:
    light = THEMES["light"]
    said = light.variables(
        {"ink": "text", "edge": "cell-edge", "first": "series-0", "no": "negative"}
    )
    assert said == (
        f"--ink: {light.text}; --edge: {light.fills['cell'][1]}; --first: {light.series[0]}; "
        f"--no: {light.signs[0]};"
    )
