"""What a picture is made of, before anything has its place: boxes, arrows, rows of figures.

Every node that is drawn has one box. Beside these there are *ports*: what many steps read (a
weight, a value that the backward reads again) is drawn once, and where a step reads it stands a
small box with its name in place of a line across the picture. Steps that are not drawn have a box,
the *gap*, in their place; the arrows that enter and leave it are those of the tape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from ..core.tape import Node
from ..recurrent.moments import Lane, Moment

HEIGHT, PORT_HEIGHT = 32.0, 18.0  # of a box and of a port, in points
TIMES = "\N{MULTIPLICATION SIGN}"
TILE = 5.0  # side of one number in a map of colours
HATCH = "hatch"  # in place of a colour: what was to be measured is missing


class Family(StrEnum):
    """The families of boxes, each of which has a colour of its own."""

    ARITHMETIC = "arithmetic"
    FUNCTION = "function"
    LINEAR = "linear"
    REDUCTION = "reduction"
    SHAPING = "shaping"
    PARAMETER = "parameter"
    INPUT = "input"
    CELL = "cell"  # all operations of one time step
    GAP = "gap"
    SAVED = "saved"  # a value of the forward that a backward reads again
    DELAY = "delay"  # from one step to the next, in a folded picture


class Role(StrEnum):
    """What a leaf is to the time steps."""

    NONE = ""
    SHARED = "shared"  # many steps read it
    INITIAL = "initial"  # the state before the first step
    LOCAL = "local"  # a state that one step begins with in place of that of the step before
    SEQUENCE = "sequence"  # each step takes a part of it


class Half(NamedTuple):
    """A value in a box: a number, or a norm with a map of colours."""

    text: str
    tiles: tuple[tuple[str, ...], ...] = ()


@dataclass(eq=False)
class Box:
    """One thing with an outline: an operation, a leaf, a port, or what stands for hidden nodes.

    Attributes
    ----------
    title, detail : str
        The two lines in it.
    family : Family
    moment : Moment or None
        The lane and step to which it belongs; None if it is outside of time.
    framed : bool
        Whether it was made in that step, and does not just stand next to it.
    tooltip : str
    root : bool
        Whether it is a result.
    name : str
        By which DOT and SVG know it. It comes from a counter, so it is the same in every process.
    order : int or None
        Its place in the order of the tape; None for ports and delays.
    key
        The same for what is the same operation in every step.
    source : Box or None
        Of a port: the box that it stands for.
    role : Role
        Of a leaf.
    hides : tuple of int
        The steps that it stands for, of a gap and in a folded picture.
    reads : tuple of str
        Of a gap and of a cell: the shared leaves that it reads.
    holds : int
        Of how many operations it is, if it is of several.
    takes_part : bool
        Whether it takes a part out of an array.
    recorded_by_backward : bool
        Whether it belongs to the gradients that were recorded for this picture.
    needs : bool
        Whether a gradient is taken of what it holds.
    said : str
        Of a derivative rule: what it computes, if that is its second line.
    cut : str
        Why no gradient goes through it; empty if one does, or none was wanted.
    least : float
        Its width is not less: that of the same operation in other steps. Set by the layout.
    tall : float
        Its height, where that is not the usual one. Set by the layout.
    fill : str
        A colour in place of that of its family: a measured figure.
    hatch : bool
        Whether what was to be measured there is missing.
    bars : tuple of float
        A small chart in it.
    halves : tuple of Half
        Its value, and beside it a gradient, in place of the second line.
    x, y : float
        Its middle, in points. Set by the layout.
    """

    title: str
    detail: str
    family: Family
    moment: Moment | None = None
    framed: bool = False
    tooltip: str = ""
    root: bool = False
    name: str = ""
    order: int | None = None
    key: Any = None
    source: Box | None = None
    role: Role = Role.NONE
    hides: tuple[int, ...] = ()
    reads: tuple[str, ...] = ()
    holds: int = 0
    takes_part: bool = False
    recorded_by_backward: bool = False
    needs: bool = False
    said: str = ""
    cut: str = ""
    least: float = 0.0
    tall: float = 0.0
    fill: str = ""
    hatch: bool = False
    bars: tuple[float, ...] = ()
    halves: tuple[Half, ...] = ()
    x: float = 0.0
    y: float = 0.0

    @property
    def step(self) -> int | None:
        """The time step to which it belongs."""
        return None if self.moment is None else self.moment.step

    @property
    def lane(self) -> Lane | None:
        """The lane in one of whose frames it stands."""
        return self.moment.lane if self.moment and (self.framed or self.run) else None

    @property
    def backward(self) -> bool:
        """Whether it belongs to the steps of a backward."""
        return self.moment is not None and self.moment.lane.backward

    @property
    def gap(self) -> bool:
        """Whether it stands for nodes that are not drawn."""
        return self.family == Family.GAP

    @property
    def cell(self) -> bool:
        """Whether it is a whole time step."""
        return self.family == Family.CELL

    @property
    def run(self) -> bool:
        """Whether it stands for time steps that are not drawn."""
        return self.gap and self.moment is not None

    @property
    def leaf(self) -> bool:
        """Whether it is an array that was given."""
        return self.family in (Family.PARAMETER, Family.INPUT) and not self.port

    @property
    def port(self) -> bool:
        """Whether it stands for a box somewhere else."""
        return self.source is not None

    @property
    def delay(self) -> bool:
        """Whether it carries a value from one step to the next, in a folded picture."""
        return self.family == Family.DELAY

    @property
    def variable(self) -> str:
        """The variable that it was assigned to; empty if the title names none."""
        name, found, _ = self.title.partition(" = ")
        return name if found else ""

    @property
    def width(self) -> float:
        """Room for the label, in whatever font stands in for Helvetica."""
        if self.port:
            return max(12 + 5.4 * len(self.title), self.least)
        return max(
            self.least,
            14 + 6.6 * len(self.title),
            12 + 5.0 * len(self.detail) + 1.6 * self.detail.count(TIMES),  # a wide sign
            34.0,
            (3.4 * len(self.bars) + 14) * bool(self.bars),
            len(self.halves) * max((self._across(h) for h in self.halves), default=0.0),
        )

    @staticmethod
    def _across(half: Half) -> float:
        """Return the room that a half needs."""
        return 12 + max(5.0 * len(half.text), TILE * max(map(len, half.tiles), default=0))

    @property
    def height(self) -> float:
        """The extent from top to bottom."""
        tiles = TILE * max((len(h.tiles) for h in self.halves), default=0)
        more = 22.0 * bool(self.bars) + (tiles + 4.0) * bool(tiles)
        return self.tall or (PORT_HEIGHT if self.port else HEIGHT + more)


class Arrow(NamedTuple):
    """One or more edges of the tape, from one box to another."""

    tail: Box
    head: Box
    places: tuple[int, ...]  # which inputs of the head they are

    @property
    def through_time(self) -> bool:
        """Whether it leads from inside one time step into another."""
        return (
            self.tail.lane is not None
            and self.head.lane is not None
            and not self.tail.leaf
            and self.tail.step != self.head.step
        )


class Mark(NamedTuple):
    """A stretch of a curve where something has no place on its axis: one of `scale.MARKS`."""

    begin: float
    end: float
    what: str


class Curve(NamedTuple):
    """A curve in the unit square, y growing upwards.

    Attributes
    ----------
    pieces : tuple of tuple of (float, float, float)
        What hangs together: x, and the least and the largest y there.
    marks : tuple of Mark
    logarithmic : bool
        Whether its axis is; if not, it begins at 0.
    """

    pieces: tuple[tuple[tuple[float, float, float], ...], ...]
    marks: tuple[Mark, ...]
    logarithmic: bool


@dataclass
class Strip:
    """A row of figures under the time axis, one for each step.

    Attributes
    ----------
    title : str
        What they are.
    cells : dict of (Lane, int) to (str, str)
        The colour ("" for none, or HATCH) and the text for each lane and step.
    curves : dict of (Lane, int) to Curve
        Curves over hidden steps, by the first of these.
    """

    title: str
    cells: dict[tuple[Lane | None, int], tuple[str, str]] = field(default_factory=dict)
    curves: dict[tuple[Lane | None, int], Curve] = field(default_factory=dict)


class Legend(NamedTuple):
    """The scale of the colours.

    Attributes
    ----------
    title : str
    colours : list of str
        From the lowest figure to the highest.
    ticks : list of (float, str)
        The place of a tick, as a part of the length, and its text.
    marks : list of (str, str)
        The colour (or HATCH) and the meaning of marks for what has no place on the scale.
    """

    title: str
    colours: list[str]
    ticks: list[tuple[float, str]]
    marks: list[tuple[str, str]]


@dataclass
class Sketch:
    """A picture before it is laid out.

    Attributes
    ----------
    boxes, arrows : list
    title, note : str
        What stands over and under the picture.
    nodes : sequence of Node
        Those that have a box of their own, in the order of the boxes.
    of : dict of Node to Box
        Their boxes.
    strips : list of Strip
    legend : Legend or None
    states : dict of (Lane, key) to str
        The names of the states of each lane, as `fold.Kinds.makers` has them.
    """

    boxes: list[Box]
    arrows: list[Arrow]
    title: str = ""
    note: str = ""
    nodes: Sequence[Node] = ()
    of: dict[Node, Box] = field(default_factory=dict)
    strips: list[Strip] = field(default_factory=list)
    legend: Legend | None = None
    states: dict[tuple[Lane, Any], str] = field(default_factory=dict)
