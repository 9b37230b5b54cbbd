"""The colours of everything that is shown, in light and in dark, and what they mean.

Pictures, the explorer, charts and reports take their colours from here, and no other file names
one. Blue is a state on its way through time, plum a gradient on its way back, gold a weight, rust a
value that a backward reads again. What is told apart by colour alone differs also for readers who
do not see red, green or blue (`tests/test_palette.py` computes how far); other pairs differ by a
dash, a shape or a mark as well. Heat is the only colour with a scale: cividis (J. R. Nunez, C. R.
Anderton and R. S. Renslow, PLOS ONE 13 (2018) e0199239), which all readers see alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Pair = tuple[str, str]


class Theme(NamedTuple):
    """The colours on a light or on a dark page.

    Attributes
    ----------
    page, raised, soft, rule : str
        The page, what lies on it, fields in it, and lines between parts.
    text, faint : str
        Letters, and letters of lesser weight.
    frame : (str, str)
        Inside and outline of a time step.
    fills : dict of str to (str, str)
        Inside and outline of boxes, by the family of the operation.
    edges : dict of str to str
        Of arrows, by their kinds.
    series : tuple of str
        Of the lines of a chart, the most important first.
    signs : (str, str, str)
        Of negative numbers, of zero and of positive ones.
    mark : str
        Behind a marked text.
    """

    page: str
    raised: str
    soft: str
    rule: str
    text: str
    faint: str
    frame: Pair
    fills: dict[str, Pair]
    edges: dict[str, str]
    series: tuple[str, ...]
    signs: tuple[str, str, str]
    mark: str

    def variables(self, names: Mapping[str, str]) -> str:
        """Return custom properties for a style sheet, such as ``--ink: #1f2328;``.

        Parameters
        ----------
        names : mapping of str to str
            From the name of the property to that of the colour: an attribute, a kind of arrows, a
            family (``NAME-edge`` is its outline), or a part, such as ``frame-edge``, ``series-0``,
            ``negative`` or ``on-dark``.
        """
        found: dict[str, str] = {k: v for k, v in self._asdict().items() if isinstance(v, str)}
        found |= self.edges | dict(zip(("on-light", "on-dark"), INKS, strict=True))
        found |= dict(zip(("frame", "frame-edge"), self.frame, strict=True))
        found |= dict(zip(("negative", "middle", "positive"), self.signs, strict=True))
        found |= {f"series-{k}": colour for k, colour in enumerate(self.series)}
        for family, (inside, outline) in self.fills.items():
            found |= {family: inside, f"{family}-edge": outline}
        return " ".join(f"--{name}: {found[colour]};" for name, colour in names.items())


LIGHT = Theme(
    page="#ffffff",
    raised="#ffffff",
    soft="#f5f6f8",
    rule="#e2e5e9",
    text="#1f2328",
    faint="#5f666e",
    frame=("#f7f8fa", "#d5dae0"),
    fills={
        "arithmetic": ("#f6f6f2", "#8a8a82"),
        "function": ("#fbe6d8", "#bd7d55"),
        "linear": ("#dde9f6", "#5f88b5"),
        "reduction": ("#ebe2f3", "#5c2a80"),
        "shaping": ("#e6f0e5", "#7a9c7b"),
        "parameter": ("#fbefc6", "#bf9a2e"),
        "input": ("#ffffff", "#8f959c"),
        "cell": ("#e6eef7", "#2f5f8f"),
        "gap": ("#ffffff", "#9aa0a6"),
        "saved": ("#fdeee6", "#b5532f"),
        "delay": ("#2f5f8f", "#2f5f8f"),
    },
    edges={
        "state": "#2f5f8f",
        "plain": "#5b6066",
        "weight": "#b8922a",
        "read": "#b5532f",
        "cut": "#c0392b",
        "back": "#741f70",
        "carried": "#741f70",
    },
    series=("#0a5fa5", "#c24a00", "#00755b", "#741f70", "#6b7280", "#1f2328"),
    signs=("#b35806", "#f5f6f7", "#2166ac"),
    mark="#fff0c2",
)
DARK = Theme(
    page="#17191c",
    raised="#1d2125",
    soft="#20252a",
    rule="#30363d",
    text="#e6e8ea",
    faint="#a3a9b0",
    frame=("#1d2024", "#3a3f45"),
    fills={
        "arithmetic": ("#2b2d30", "#85887f"),
        "function": ("#47301f", "#c98a61"),
        "linear": ("#1f3550", "#6f9bcb"),
        "reduction": ("#372a48", "#9f62cc"),
        "shaping": ("#233424", "#85ab86"),
        "parameter": ("#453a12", "#d3ad3f"),
        "input": ("#17191c", "#8f959c"),
        "cell": ("#1c2f45", "#8ab4dd"),
        "gap": ("#17191c", "#80868b"),
        "saved": ("#472418", "#e2603a"),
        "delay": ("#8ab4dd", "#8ab4dd"),
    },
    edges={
        "state": "#8ab4dd",
        "plain": "#868c93",
        "weight": "#d3ad3f",
        "read": "#e2603a",
        "cut": "#ff7b6b",
        "back": "#debace",
        "carried": "#debace",
    },
    series=("#6db5f2", "#ff9a57", "#41c9a0", "#debace", "#8b9197", "#e6e8ea"),
    signs=("#f0a35e", "#2b3036", "#62b0e8"),
    mark="#4a3f1c",
)
THEMES = {"light": LIGHT, "dark": DARK}

CIVIDIS = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)
# zero, NaN and infinity, which have no place on the scale
ODD = ("#ffffff", "#c0392b", "#8e44ad")
# What boxes, lines and points mean, in the order in which a legend has them.
MEANINGS = {
    "parameter": "weight, or what gets a gradient",
    "port": "read here, drawn elsewhere",
    "input": "input or constant",
    "linear": "matrix product",
    "function": "function of each number",
    "arithmetic": "arithmetic",
    "reduction": "sum or mean",
    "shaping": "parts and shapes",
    "cell": "a time step",
    "gap": "not drawn",
    "saved": "value read again",
    "delay": "delay to the next step",
    "root": "result",
    "state": "state",
    "back": "gradient",
    "cut": "no gradient goes back",
    "stable": "stable",
    "saddle": "saddles",
    "unstable": "unstable",
    "marginal": "marginal",
    "slow": "slow",
    "way": "the way out",
}
INKS = ("#111111", "#ffffff")  # letters on a light and on a dark colour


def ink(fill: str) -> str:
    """Return the colour of letters on this colour: dark ones if it is light."""
    red, green, blue = (int(fill[k : k + 2], 16) for k in (1, 3, 5))
    return INKS[0] if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else INKS[1]
