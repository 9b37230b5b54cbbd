"""Where everything goes: a grid of time and depth.

A column is a time step; a band is a cell with its layer (a row of frames, one for each step), or
the operations outside of cells that follow it. Bands are stacked from what is given to what is
computed: inputs below, losses above. A step is laid out once for all columns (`cellplan`), so the
same operation stands at the same height in every step, and the work is linear in what is drawn.

Between columns are channels, between bands gaps; nothing stands in them but lines. A line leaves
its cell upwards into the gap above it, or sideways into the channel beside it, and reaches the
other cell through channels and gaps. So no line runs behind a box.

It is computed here, and not by a general layout program: these take minutes for an unrolled
network, and do not know that its steps are alike. All lengths are in points. The code speaks of u,
along time, and d, the depth, which grows upwards on the page; for time that runs downwards the axes
are exchanged at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .boxes import HEIGHT, Arrow, Box, Family, Role, Sketch, Strip
from .cellplan import FOOT, CellPlan, Item, smooth
from .moments import Lane, Moment

DOWN = 24.0  # between rows
TIP = 5.5  # length of an arrow head
MARGIN = 11.0  # between a frame and its boxes
# beside the lines of a channel; from line to line; radius of their bends
BETWEEN, LINE, CORNER = 11.0, 6.0, 6.0
CELL = 15.0  # depth of a row of figures

Point = tuple[float, float]


class Frame(NamedTuple):
    """The outline of a time step."""

    label: list[str]  # lines
    boxes: list[Box]
    left: float
    top: float
    right: float
    bottom: float
    lx: float = 0.0  # where the label begins, and its middle from above
    ly: float = 0.0


class Figure(NamedTuple):
    """One figure of a strip: a rectangle with a colour and a text."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    text: str


class Layout(NamedTuple):
    """What a renderer needs.

    A path is its start and then, three by three, the points of cubic Bezier curves.
    """

    width: float
    height: float
    frames: list[Frame]
    paths: list[tuple[Arrow, list[Point]]]
    states: set[Arrow]  # the arrows that carry a state from step to step, or into the first one
    # name, text, y, size of its letters; in the middle of the width
    captions: list[tuple[str, str, float, float]]
    figures: list[Figure] = []  # noqa: RUF012  (never changed in place)
    words: list[tuple[str, float, float]] = []  # noqa: RUF012  text that ends at x, and its middle y


def place(sketch: Sketch, direction: str = "LR") -> Layout:
    """Set x and y (the middle, y growing downwards) of every box.

    Find the frames and the paths of the arrows.

    `direction` is that of time, "LR" or "TB": the operations of a step run across it. Without steps
    it is that of the operations.
    """
    steps = any(box.framed or box.run for box in sketch.boxes)
    turned = (direction == "TB") == steps
    upwards = steps and not turned
    plan = _Plan(sketch, turned)
    turn = (
        (lambda p: (p[1], p[0]))
        if turned
        else (lambda p: (p[0], -p[1]))
        if upwards
        else (lambda p: p)
    )
    for b in sketch.boxes:
        b.x, b.y = turn(plan.at[b])
    frames = [
        f._replace(
            left=min(p[0], q[0]), top=min(p[1], q[1]), right=max(p[0], q[0]), bottom=max(p[1], q[1])
        )
        for f, p, q in (
            (f, turn((f.left, f.top)), turn((f.right, f.bottom))) for f in plan.frames()
        )
    ]
    frames = [f._replace(lx=f.left + (8 if turned else f.lx), ly=f.bottom - 8) for f in frames]
    paths = [
        (arrow, [turn(p) for p in path]) for arrow in sketch.arrows for path in plan.paths(arrow)
    ]
    figures, words = plan.strips(sketch.strips)
    placed = [f._replace(x=p[0], y=p[1]) for f in figures for p in [turn((f.x, f.y))]]
    texts = [(word, *turn((x, y))) for word, x, y in [*words, *plan.names]]
    return _framed(sketch, Layout(0.0, 0.0, frames, paths, plan.states, [], placed, texts))


def _framed(sketch: Sketch, layout: Layout) -> Layout:
    """Move everything to begin at 0, 0, with room for margins and captions."""
    xs, ys = [0.0] * (not sketch.boxes), [0.0] * (not sketch.boxes)
    for b in sketch.boxes:
        xs += [b.x - b.width / 2, b.x + b.width / 2]
        ys += [b.y - b.height / 2, b.y + b.height / 2]
    for f in layout.frames:
        xs += [f.left, f.right, f.lx + 4.6 * max(map(len, f.label), default=0)]
        ys += [f.top, f.bottom]
    for _, path in layout.paths:
        xs += [min(p[0] for p in path), max(p[0] for p in path)]
        ys += [min(p[1] for p in path), max(p[1] for p in path)]
    for g in layout.figures:
        xs += [g.x - g.width / 2, g.x + g.width / 2]
        ys += [g.y - g.height / 2, g.y + g.height / 2]
    for word, x, y in layout.words:
        xs.append(x - 5.0 * len(word))
        ys += [y - 6, y + 6]
    inner = max(xs) - min(xs) + 2 * MARGIN
    legend = 46.0 if sketch.legend is not None else 0.0
    width = max(
        inner,
        8 * len(sketch.title) + 2 * MARGIN,
        5.3 * min(len(sketch.note), 150) + 2 * MARGIN,
        330.0 if legend else 0.0,
    )
    notes = _wrapped(sketch.note, max(40, int((width - 2 * MARGIN) / 5.0)))
    head, foot = 26.0 if sketch.title else 0.0, (8.0 + 14.0 * len(notes)) * bool(notes) + legend
    dx, dy = MARGIN - min(xs) + (width - inner) / 2, MARGIN - min(ys) + head
    height = max(ys) + dy + MARGIN + foot
    for b in sketch.boxes:
        b.x, b.y = b.x + dx, b.y + dy
    frames = [
        f._replace(
            left=f.left + dx,
            top=f.top + dy,
            right=f.right + dx,
            bottom=f.bottom + dy,
            lx=f.lx + dx,
            ly=f.ly + dy,
        )
        for f in layout.frames
    ]
    paths = [(arrow, [(x + dx, y + dy) for x, y in path]) for arrow, path in layout.paths]
    captions = [("title", sketch.title, MARGIN + 7, 14.0)] * bool(sketch.title)
    captions += [
        (f"note{k or ''}", text, height - MARGIN - 4 - 14 * (len(notes) - 1 - k), 10.0)
        for k, text in enumerate(notes)
    ]
    figures = [g._replace(x=g.x + dx, y=g.y + dy) for g in layout.figures]
    words = [(word, x + dx, y + dy) for word, x, y in layout.words]
    return Layout(width, height, frames, paths, layout.states, captions, figures, words)


def _wrapped(text: str, columns: int) -> list[str]:
    """Lines of about so many characters."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


class _Route(NamedTuple):
    """How an arrow gets from one cell to another."""

    out: str  # "up", "right", "left": where it leaves the cell of its tail
    into: str  # "down", "left", "right": where it enters that of its head
    start: int | None  # the channel beside the tail
    gap: int | None  # the gap that it runs along
    stop: int | None  # the channel beside the head
    key: Any  # lines with one key are one line


class _Plan:
    """The work of `place`; places are (u, d)."""

    def __init__(self, sketch: Sketch, turned: bool) -> None:
        self.boxes, self.arrows, self.turned = sketch.boxes, sketch.arrows, turned
        self.at: dict[Box, Point] = {}
        # of bands whose frames are too narrow for them
        self.names: list[tuple[str, float, float]] = []
        self.heads: dict[Box, list[Arrow]] = {b: [] for b in self.boxes}
        self.tails: dict[Box, list[Arrow]] = {b: [] for b in self.boxes}
        for a in self.arrows:
            self.heads[a.tail].append(a)
            self.tails[a.head].append(a)
        # An argument is a state if, in any step, it comes from another step.
        through = [a for a in self.arrows if a.through_time and a.tail.lane == a.head.lane]
        self.entering = {
            (a.head.lane, a.head.key, k) for a in through if not a.head.run for k in a.places
        }
        self.entering |= {
            (a.head.lane, a.head.key, k)
            for a in self.arrows
            if a.tail.role == Role.INITIAL or a.tail.delay
            for k in a.places
        }
        self.backward = {a.head.lane for a in through if (a.head.step or 0) < (a.tail.step or 0)}
        self.states = {a for a in self.arrows if self._is_state(a)}
        self._bands()
        self._columns()
        self._cells()
        self._routes()
        self._plans()
        self._lines()
        self._settle()

    def wide(self, b: Box) -> float:
        """Its extent along time."""
        return b.height if self.turned else b.width

    def deep(self, b: Box) -> float:
        """Its extent along depth."""
        return b.width if self.turned else b.height

    def _is_state(self, a: Arrow) -> bool:
        if (
            a.tail.role == Role.INITIAL
            or (a.through_time and a.tail.lane == a.head.lane)
            or a.tail.delay
            or a.head.delay
        ):
            return True
        return (
            a.head.lane is not None
            and not a.tail.leaf
            and not a.head.run
            and self._enters(a)
            and a.tail.moment != a.head.moment
        )

    def _enters(self, a: Arrow) -> bool:
        """Whether it gives an operation the state that the step begins with."""
        return any((a.head.lane, a.head.key, k) in self.entering for k in a.places)

    # --- the grid ---------------------------------------------------------------------------------------------------------------

    def _bands(self) -> None:
        """A band for each cell and layer, and one for what follows it; -1 is before all."""
        self.lanes = list(
            dict.fromkeys(
                b.lane for b in self.boxes if b.framed and b.lane and not b.leaf and not b.port
            )
        )
        number = {lane: k for k, lane in enumerate(self.lanes)}
        after: dict[Box, int] = {}
        for b in self.boxes:
            if b.framed and b.lane in number:
                after[b] = number[b.lane]
            else:
                own = number.get(b.moment.lane, -1) if b.moment and not b.leaf else -1
                after[b] = max([own, *(after.get(a.tail, -1) for a in self.tails[b])])
        self.band_of: dict[Box, tuple[int, bool]] = {}  # (lane, whether it follows it)
        self.rail = [b for b in self.boxes if b.role == Role.SHARED]
        for b in self.boxes:
            if b.role != Role.SHARED:
                self.band_of[b] = (after[b], not (b.framed and b.lane in number))
        for b in reversed(self.boxes):  # what is only read goes with its first reader
            if (
                b in self.band_of
                and (b.leaf or b.port)
                and self.heads[b]
                and b.role != Role.SEQUENCE
            ):
                self.band_of[b] = self.band_of[self.heads[b][0].head]
        used = sorted(set(self.band_of.values()))
        self.bands = {band: k for k, band in enumerate(used)}

    def _columns(self) -> None:
        """A column for each step.

        A cell that starts from what another one ends with begins to the right of it.
        """
        ends: dict[Any, list[int]] = {lane: [] for lane in self.lanes}
        for b in self.boxes:
            if b.lane in ends and b.step is not None and b.framed:
                ends[b.lane].append(b.step)
        self.offset: dict[Any, int] = dict.fromkeys(self.lanes, 0)
        number = {lane: k for k, lane in enumerate(self.lanes)}
        for lane in self.lanes:
            twin = Lane(lane.cell, lane.layer)
            if lane.backward and twin in self.offset:
                self.offset[lane] = self.offset[twin]
                continue
            least = 0
            for b in self.boxes:
                if b.lane != lane or b.leaf or b.port or b.run:
                    continue
                for a in self.tails[b]:
                    other = (
                        a.tail.moment.lane
                        if a.tail.moment and not a.tail.leaf and not a.tail.port
                        else None
                    )
                    if (
                        other is None
                        or other == lane
                        or other not in number
                        or number[other] > number[lane]
                    ):
                        continue
                    begins = min(ends[lane]) if lane not in self.backward else max(ends[lane])
                    if (
                        self._enters(a)
                        and b.step == begins
                        and a.tail.step == max(ends[other])
                        and len(ends[other]) > 0
                    ):
                        least = max(
                            least, self.offset[other] + max(ends[other]) + 1 - min(ends[lane])
                        )
                    elif a.tail.framed and a.tail.step == b.step:
                        least = max(least, self.offset[other])
            self.offset[lane] = least
        self.first = {
            lane: (max(s) if lane in self.backward else min(s)) + self.offset[lane]
            for lane, s in ends.items()
            if s
        }
        columns: dict[Box, int] = {}
        before = min(self.first.values(), default=0) - 1
        for b in self.boxes:
            if b.role == Role.SHARED:
                continue
            if b.moment is None:
                columns[b] = before
            else:
                columns[b] = b.moment.step + self.offset.get(b.moment.lane, 0)
        for b in reversed(self.boxes):
            if b in columns and (b.leaf or b.port) and self.heads[b] and b.role != Role.SEQUENCE:
                head = self.heads[b][0].head
                columns[b] = columns[head]
                if b.role == Role.INITIAL:
                    columns[b] += 1 if head.lane in self.backward else -1
        names = sorted(set(columns.values()))
        index = {c: k for k, c in enumerate(names)}
        self.column = {b: index[c] for b, c in columns.items()}
        self.count = len(names)

    def _cells(self) -> None:
        """What stands in each crossing of a band and a column."""
        self.cells: dict[tuple[int, int], list[Box]] = {}
        self.beside: dict[tuple[int, int], list[Box]] = {}  # initial states
        self.place_of: dict[Box, tuple[int, int]] = {}
        for b in self.boxes:
            if b.role == Role.SHARED:
                continue
            where = self.place_of[b] = (self.bands[self.band_of[b]], self.column[b])
            (self.beside if b.role == Role.INITIAL else self.cells).setdefault(where, []).append(b)

    def _route(self, a: Arrow) -> _Route | None:
        """None within a cell."""
        (bt, ct), (bh, ch) = self.place_of[a.tail], self.place_of[a.head]
        delay = a.tail.delay and not a.tail.framed
        if (bt, ct) == (bh, ch):
            return None
        aside = (
            a.tail.role == Role.INITIAL
            or delay
            or (bt == bh and ct != ch)
            or bh < bt
            or (self._enters(a) and a.head.lane is not None and ct != ch and not a.head.run)
        )
        if aside:
            if ct == ch:
                left = a.head.lane not in self.backward
                out, into, start = ("left", "left", ct) if left else ("right", "right", ct + 1)
                return _Route(out, into, start, None, None, ("from", a.tail))
            out, into = ("right", "left") if ct < ch else ("left", "right")
            start, stop = (ct + 1, ch) if ct < ch else (ct, ch + 1)
            if start == stop:
                return _Route(out, into, start, None, None, ("from", a.tail))
            return _Route(out, into, start, min(bt, bh), stop, ("from", a.tail))
        many = (
            sum(self.place_of.get(b.tail, (bh, ch))[1] != ch for b in self.tails[a.head])
            if len(self.tails[a.head]) < 3
            else 3
        )
        key = ("to", a.head) if many > 2 else ("from", a.tail)
        if bh == bt + 1:
            return _Route("up", "down", None, None if ct == ch and many < 3 else bt, None, key)
        side = ct + 1 if ch >= ct else ct
        return _Route("up", "down", side, bt, None, key)

    def _routes(self) -> None:
        self.routes: dict[Arrow, _Route] = {}
        for a in self.arrows:
            if a.tail.role != Role.SHARED and (route := self._route(a)) is not None:
                self.routes[a] = route

    # --- cells ------------------------------------------------------------------------------------------------------------------

    def _plans(self) -> None:
        """The plan of each cell: one for all of a band, unless its steps have little in common."""
        self.plan: dict[tuple[int, int], CellPlan] = {}
        self.key: dict[Box, Any] = {}
        by_band: dict[int, list[tuple[int, int]]] = {}
        for where in self.cells:
            by_band.setdefault(where[0], []).append(where)
        arrows: dict[tuple[int, int], list[Arrow]] = {where: [] for where in self.cells}
        for a in self.arrows:
            if a.tail.role != Role.SHARED and a not in self.routes:
                arrows[self.place_of[a.head]].append(a)
        for wheres in by_band.values():
            boxes = {where: [b for b in self.cells[where] if not b.run] for where in wheres}
            most = max(map(len, boxes.values()))
            keys = {b: b.key for found in boxes.values() for b in found}
            if (
                len(wheres) > 1
                and len(set(keys.values())) <= 2.5 * most + 8
                and all(len({keys[b] for b in found}) == len(found) for found in boxes.values())
            ):
                try:
                    plan = self._plan(wheres, boxes, arrows, keys)
                except ValueError:
                    plan = None
                if plan is not None:
                    self.plan.update(dict.fromkeys(wheres, plan))
                    self.key.update(keys)
                    continue
            for where in wheres:
                own = {b: b for b in boxes[where]}
                self.plan[where] = self._plan([where], boxes, arrows, own)
                self.key.update(own)

    def _plan(
        self,
        wheres: Sequence[tuple[int, int]],
        boxes: dict[Any, list[Box]],
        arrows: dict[Any, list[Arrow]],
        keys: dict[Box, Any],
    ) -> CellPlan:
        items: dict[Any, Item] = {}
        edges: dict[tuple[Any, Any], None] = {}
        ups: dict[Any, None] = {}
        downs: dict[Any, None] = {}
        for where in wheres:
            for b in boxes[where]:
                low = self._is_input(b)
                left = right = False
                for a in self.tails[b]:
                    if a in self.routes:
                        left, right = (
                            left or self.routes[a].into == "left",
                            right or self.routes[a].into == "right",
                        )
                        if self.routes[a].into == "down":
                            downs[keys[b]] = None
                for a in self.heads[b]:
                    if a in self.routes:
                        left, right = (
                            left or self.routes[a].out == "left",
                            right or self.routes[a].out == "right",
                        )
                        if self.routes[a].out == "up":
                            ups[keys[b]] = None
                late = b.leaf or b.port
                item = Item(self.wide(b), self.deep(b), low, late, left, right)
                old = items.get(keys[b])
                items[keys[b]] = (
                    item
                    if old is None
                    else Item(
                        max(item.wide, old.wide),
                        max(item.deep, old.deep),
                        low or old.low,
                        late,
                        left or old.left,
                        right or old.right,
                    )
                )
            for a in arrows[where]:
                if not a.tail.run and not a.head.run:
                    edges[keys[a.tail], keys[a.head]] = None
        for where in wheres:
            for b in boxes[where]:
                b.least = items[keys[b]].deep if self.turned else items[keys[b]].wide
        return CellPlan(items, edges, ups, downs, DOWN)

    def _is_input(self, b: Box) -> bool:
        """Whether it stands below the frame of its step: what the step is given."""
        if b.port or (
            b.lane is None
            and not (b.leaf and b.moment and self.heads[b] and self.heads[b][0].head.lane)
        ):
            return False
        if b.leaf:
            return not b.role and b.family != Family.PARAMETER
        inner = [a for a in self.tails[b] if a not in self.routes]
        return (
            b.takes_part
            and not inner
            and bool(self.tails[b])
            and all(self.routes[a].into == "down" for a in self.tails[b])
        )

    # --- lines between cells ----------------------------------------------------------------------------------------------------

    def _level(self, b: Box) -> float:
        """Where in the stack of bands it stands: the number of the band and a fraction."""
        where = self.place_of[b]
        plan = self.plan.get(where)
        if b not in self.key or plan is None:
            return where[0] + 0.5
        return (
            where[0]
            + 0.1
            + 0.8 * (plan.row[self.key[b]] - plan.first) / (plan.last - plan.first + 1)
        )

    def _lines(self) -> None:
        """Which of the lines of a channel or a gap each arrow takes."""
        upright: dict[int, dict[Any, list[float]]] = {}
        level: dict[int, dict[Any, list[float]]] = {}

        def use(where: dict[int, dict[Any, list[float]]], k: int, key: Any, *ends: float) -> None:
            found = where.setdefault(k, {}).setdefault(key, [math.inf, -math.inf])
            found[0], found[1] = min(found[0], *ends), max(found[1], *ends)

        for a, r in self.routes.items():
            t, h = self._level(a.tail), self._level(a.head)
            (bt, ct), (bh, ch) = self.place_of[a.tail], self.place_of[a.head]
            if r.out == "up":
                if r.start is None:
                    if r.gap is not None:
                        use(level, r.gap, r.key, ct, ch)
                else:
                    use(level, bt, r.key, ct, r.start - 0.5)
                    use(upright, r.start, r.key, bt + 0.95, bh - 0.05)
                    use(level, bh - 1, r.key, r.start - 0.5, ch)
            elif r.gap is None:
                assert r.start is not None
                use(upright, r.start, r.key, t, h)
            else:
                assert r.start is not None and r.stop is not None
                use(upright, r.start, r.key, t, r.gap + 0.95)
                use(level, r.gap, r.key, r.start - 0.5, r.stop - 0.5)
                use(upright, r.stop, r.key, r.gap + 0.95, h)
        self.upright = {k: _packed(found) for k, found in upright.items()}
        self.level_lines = {k: _packed(found) for k, found in level.items()}

    def _settle(self) -> None:
        """Coordinates."""
        count = len(self.bands)
        low, high = [0.0] * self.count, [0.0] * self.count
        for (_, c), plan in ((w, p) for w, p in self.plan.items()):
            if any(not b.run for b in self.cells[(_, c)]):
                low[c], high[c] = min(low[c], plan.left), max(high[c], plan.right)
        for (_, c), found in [*self.cells.items(), *self.beside.items()]:
            wide = max(
                (self.wide(b) / 2 for b in found if b.run or b.role == Role.INITIAL), default=0.0
            )
            low[c], high[c] = min(low[c], -wide), max(high[c], wide)
        self.channel, u = [], 0.0
        self.middle = [0.0] * self.count
        for c in range(self.count + 1):
            self.channel.append(u + BETWEEN)
            lines = max(self.upright.get(c, {"": 0}).values(), default=0) + (c in self.upright)
            u += 2 * BETWEEN + LINE * max(lines - 1, 0) if lines or 0 < c < self.count else 0.0
            if c < self.count:
                u += MARGIN
                self.middle[c] = u - low[c]
                u += high[c] - low[c] + MARGIN
        self.base, self.gap = [0.0] * count, [0.0] * (count + 1)
        self.tall = [0.0] * count
        self.floor = [0.0] * count
        lanes = sorted(self.bands, key=lambda band: self.bands[band])
        d = 0.0
        for b in range(count):
            plans = [p for w, p in self.plan.items() if w[0] == b]
            framed = not lanes[b][1]
            foot = (MARGIN if self.turned else FOOT) * framed
            self.base[b] = d
            self.floor[b] = max((p.floor - p.base for p in plans), default=0.0)
            self.tall[b] = max((p.top - p.base for p in plans), default=HEIGHT) or HEIGHT
            if not self.floor[b]:
                self.base[b] = d = d + foot
            d += self.tall[b] + (MARGIN if framed else 0.0)
            used = max(self.level_lines.get(b, {"": -1}).values(), default=-1) + 1
            self.gap[b] = d + BETWEEN + 4
            crossed = (
                any(r.out == "up" and self.place_of[a.tail][0] == b for a, r in self.routes.items())
                if b + 1 < count
                else False
            )
            d += 2 * BETWEEN + 8 + LINE * max(used - 1, 0) if used else 26.0 if crossed else 18.0
        for where, found in self.cells.items():
            plan = self.plan[where]
            for box in found:
                if box.run:
                    continue
                x, y = plan.at[self.key[box]]
                self.at[box] = (self.middle[where[1]] + x, self.base[where[0]] + y)
        self._gaps()
        self._first_states()
        self._rail()

    def _gaps(self) -> None:
        """What stands for hidden steps is as tall as a step."""
        for where, found in self.cells.items():
            for b in found:
                if b.run:
                    low, high = (
                        self.base[where[0]] + self.floor[where[0]],
                        self.base[where[0]] + self.tall[where[0]],
                    )
                    if not self.turned and b.framed:
                        b.tall = high - low
                    self.at[b] = (self.middle[where[1]], (low + high) / 2)

    def _first_states(self) -> None:
        """At the height at which they enter; two for one height side by side along the depth."""
        for where, found in self.beside.items():
            wish = sorted(
                (self._entry(next(a for a in self.heads[b]), where)[0][1], k)
                for k, b in enumerate(found)
            )
            edge = -math.inf
            for y, k in wish:
                b = found[k]
                y = max(y, edge + self.deep(b) / 2)
                self.at[b] = (self.middle[where[1]], y)
                edge = y + self.deep(b) / 2 + 6

    def _rail(self) -> None:
        """The shared weights, in a row along the depth before everything."""
        if not self.rail:
            return
        left = (
            min((self.at[b][0] - self.wide(b) / 2 for b in self.at), default=0.0) - MARGIN - BETWEEN
        )
        groups: dict[int, list[Box]] = {}
        reader = {}
        for b in self.boxes:  # the lowest band with a port of it
            if b.port and b.source not in reader:
                reader[b.source] = self.place_of[b][0]
        for b in self.rail:
            groups.setdefault(reader.get(b, 0), []).append(b)
        u = left - 14.0 - max(self.wide(b) for b in self.rail) / 2
        edge = -math.inf
        for band in sorted(groups):
            total = sum(self.deep(b) + 8 for b in groups[band]) - 8
            d = max(self.base[band] + (self.floor[band] + self.tall[band] - total) / 2, edge)
            for b in reversed(groups[band]):
                self.at[b] = (u, d + self.deep(b) / 2)
                d += self.deep(b) + 8
            edge = d + 6

    # --- paths ------------------------------------------------------------------------------------------------------------------

    def paths(self, arrow: Arrow) -> list[list[Point]]:
        """The way of an arrow.

        For an operation that uses one thing twice (x * x), two ways side by side.
        """
        single = (
            arrow.tail.run
            or arrow.head.run
            or arrow.tail.port
            or len(arrow.tail.hides) > 1
            or len(arrow.places) > 3
        )
        copies = 1 if single else min(len(arrow.places), 3)
        path = self.path(arrow)
        if arrow in self.routes and self.routes[arrow].out != "up":
            copies = 1
        return [
            [(u + 7.0 * k, d) for u, d in path]
            for k in (i - (copies - 1) / 2 for i in range(copies))
        ]

    def path(self, arrow: Arrow) -> list[Point]:
        """One way of an arrow."""
        tail, head, _ = arrow
        route = self.routes.get(arrow)
        if route is None:
            return smooth(
                self._moved(
                    tail, self.plan[self.place_of[tail]].line(self.key[tail], self.key[head])
                )
            )
        into = self._arrival(arrow, route)
        out = self._departure(arrow, route)
        (bt, _), (bh, _) = self.place_of[tail], self.place_of[head]
        if route.out == "up":
            if route.start is None and route.gap is None:
                return smooth([*out, *into])
            corners: list[Point] = []
            y = self._along(bt, route.key)
            corners += [(out[-1][0], y)]
            if route.start is not None:
                x, z = self._beside(route.start, route.key), self._along(bh - 1, route.key)
                corners += [(x, y), (x, z), (into[0][0], z)]
            else:
                corners += [(into[0][0], y)]
            middle = _rounded([out[-1], *corners, into[0]])
            return [*smooth(out), *middle[1:], *smooth(into)[1:]]
        assert route.start is not None
        x = self._beside(route.start, route.key)
        if tail.run:
            out = [
                (
                    self.at[tail][0] + self.wide(tail) / 2 * (1 if route.out == "right" else -1),
                    self._clamped(tail, into[0][1]),
                )
            ]
        if head.run:
            into = [
                (
                    self.at[head][0] - self.wide(head) / 2 * (1 if route.into == "left" else -1),
                    self._clamped(head, out[-1][1]),
                )
            ]
        if route.gap is None:
            return _rounded([*out, (x, out[-1][1]), (x, into[0][1]), *into])
        assert route.stop is not None
        y, z = self._along(route.gap, route.key), self._beside(route.stop, route.key)
        return _rounded([*out, (x, out[-1][1]), (x, y), (z, y), (z, into[0][1]), *into])

    def _moved(self, b: Box, points: Sequence[Point]) -> list[Point]:
        band, column = self.place_of[b]
        u, d = self.middle[column], self.base[band]
        return [(x + u, y + d) for x, y in points]

    def _along(self, gap: int, key: Any) -> float:
        return self.gap[gap] + LINE * self.level_lines[gap][key]

    def _beside(self, channel: int, key: Any) -> float:
        return self.channel[channel] + LINE * self.upright[channel][key]

    def _clamped(self, b: Box, d: float) -> float:
        half = max(self.deep(b) / 2 - 8, 0.0)
        return min(max(d, self.at[b][1] - half), self.at[b][1] + half)

    def _departure(self, a: Arrow, route: _Route) -> list[Point]:
        """From the box to the edge of its cell."""
        b = a.tail
        if route.out == "up":
            if b.run:
                return [(self.at[b][0], self.at[b][1] + self.deep(b) / 2)]
            return self._moved(b, self.plan[self.place_of[b]].up(self.key[b]))
        side = 1 if route.out == "right" else -1
        if b.run or b.role == Role.INITIAL:
            return [(self.at[b][0] + side * self.wide(b) / 2, self.at[b][1])]
        return self._aside(b, side, 1)

    def _arrival(self, a: Arrow, route: _Route) -> list[Point]:
        """From the edge of the cell to the box."""
        b = a.head
        if route.into == "down":
            if b.run:
                return [(self.at[b][0], self.at[b][1] - self.deep(b) / 2)]
            return self._moved(b, self.plan[self.place_of[b]].down(self.key[b]))
        return self._entry(a, self.place_of[a.tail])

    def _entry(self, a: Arrow, where: tuple[int, int]) -> list[Point]:
        b = a.head
        route = self.routes[a]
        side = -1 if route.into == "left" else 1
        if b.run:
            return [(self.at[b][0] + side * self.wide(b) / 2, self.at[b][1])]
        return list(reversed(self._aside(b, side, -1)))

    def _aside(self, b: Box, side: int, way: int) -> list[Point]:
        """From a box to the side of its cell.

        Straight, or through the room above (1) or below (-1) its row.
        """
        u, d = self.at[b]
        plan, key = self.plan[self.place_of[b]], self.key[b]
        if plan.beside(key, side):
            return [(u + side * self.wide(b) / 2, d)]
        y = self.base[self.place_of[b][0]] + plan.between(key, way)
        x = u + side * max(self.wide(b) / 2 - 8, 0.0)
        return [(x, d + way * self.deep(b) / 2), (x, y)]

    # --- frames and figures -----------------------------------------------------------------------------------------------------

    def frames(self) -> list[Frame]:
        """The outlines of the steps."""
        groups: dict[tuple[int, int], list[Box]] = {}
        names: dict[tuple[int, int], Moment] = {}
        for where, found in self.cells.items():
            if self._has_frame(where):
                boxes = [b for b in found if b.framed]
                groups[where], names[where] = (
                    boxes,
                    next(b.moment for b in boxes if b.moment and not b.port and not b.leaf),
                )
        shown: set[Any] = set()
        made = []
        for where, boxes in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1])):
            plan, mark = self.plan[where], names[where]
            (band, column) = where
            left, right = (
                self.middle[column] + plan.left - MARGIN / 2 - 2,
                self.middle[column] + plan.right + MARGIN / 2 + 2,
            )
            low, high = (
                self.base[band] + self.floor[band],
                self.base[band] + self.tall[band] + MARGIN,
            )
            low -= MARGIN if self.turned else FOOT
            steps = max((b.hides for b in boxes), key=len, default=())
            own = "" if mark.lane in shown else mark.lane.described(" · ")
            label = [f"t = {mark.step} … {steps[-1]}" if len(steps) > 1 else f"t = {mark.step}"]
            if own and 5.2 * (len(own) + len(label[0]) + 3) < right - left - 16:
                label[0] += f" · {own}"
            elif own:
                self.names.append((own, left - 8, low + 8))
            shown.add(mark.lane)
            wide, room = (
                5.0 * len(label[0]) + 6,
                [
                    (self.middle[column] + a - 4, self.middle[column] + b + 4)
                    for a, b in plan.entering()
                ],
            )
            spots = [
                left + 8 + k * 6 for k in range(int(max(right - left - 12 - wide, 0) // 6) + 1)
            ]
            at = [x for x in spots if not any(x < b and a < x + wide for a, b in room)]
            made.append(
                Frame(
                    label,
                    [b for b in boxes if not self._is_input(b)],
                    left,
                    high,
                    right,
                    low,
                    (at or [left + 8])[0] - left,
                )
            )
        return sorted(made, key=lambda f: min(b.order for b in f.boxes if b.order is not None))

    def _has_frame(self, where: tuple[int, int]) -> bool:
        return any(b.framed and not b.leaf and not b.port and not b.run for b in self.cells[where])

    def strips(
        self, strips: Sequence[Strip]
    ) -> tuple[list[Figure], list[tuple[str, float, float]]]:
        """Rows of figures below everything, one for each column that has one."""
        figures: list[Figure] = []
        words: list[tuple[str, float, float]] = []
        if not strips or not self.at:
            return figures, words
        bottom = (
            min(
                min(self.at[b][1] - self.deep(b) / 2 for b in self.at),
                min(
                    (self.base[k] + self.floor[k] - 20 for k in range(len(self.base))), default=0.0
                ),
            )
            - 12
        )
        steps: dict[tuple[Any, int], tuple[float, float]] = {}
        for where, found in self.cells.items():
            lane = next((b.lane for b in found if b.framed and b.lane and not b.leaf), None)
            if lane is None or lane.backward:
                continue
            step = next(b.step for b in found if b.framed and b.step is not None and not b.leaf)
            plan = self.plan[where]
            gap = [b for b in found if b.run]
            half = max(self.wide(b) / 2 for b in gap) if gap else 0.0
            ends = (
                (self.middle[where[1]] - half, self.middle[where[1]] + half)
                if gap
                else (self.middle[where[1]] + plan.left, self.middle[where[1]] + plan.right)
            )
            steps.setdefault((lane, step), ends)
        for k, strip in enumerate(strips):
            y = bottom - CELL * (k + 0.5) - 3 * k
            for place, (fill, text) in strip.cells.items():
                if place in steps:
                    a, b = steps[place]
                    figures.append(Figure((a + b) / 2, y, b - a, CELL, fill, text))
            left = min((f.x - f.width / 2 for f in figures), default=0.0)
            words.append((strip.title, left - 8, y))
        return figures, words


def _packed(found: dict[Any, list[float]]) -> dict[Any, int]:
    """A line for each key, so that keys whose intervals overlap are on different ones."""
    ends: list[float] = []
    lines: dict[Any, int] = {}
    for key, (low, high) in sorted(
        found.items(), key=lambda item: (item[1][0], item[1][1] - item[1][0])
    ):
        k = next((k for k, end in enumerate(ends) if end < low), len(ends))
        if k == len(ends):
            ends.append(high)
        ends[k] = high
        lines[key] = k
    return lines


def _rounded(points: Sequence[Point]) -> list[Point]:
    """Straight lines through points, with round corners."""
    points = [p for k, p in enumerate(points) if k == 0 or p != points[k - 1]]
    path = [points[0]]
    for k in range(1, len(points)):
        (x, y), end = points[k], k + 1 == len(points)
        before = math.dist(points[k - 1], points[k])
        after = math.inf if end else math.dist(points[k], points[k + 1])
        radius = 0.0 if end else min(CORNER, before / 2, after / 2)
        start, stop = path[-1], _towards(points[k], points[k - 1], radius)
        path += [
            _towards(start, stop, math.dist(start, stop) / 3),
            _towards(stop, start, math.dist(start, stop) / 3),
            stop,
        ]
        if not end:
            leave = _towards((x, y), points[k + 1], radius)
            path += [
                _towards(stop, (x, y), radius * 0.55),
                _towards(leave, (x, y), radius * 0.55),
                leave,
            ]
    return path


def _towards(start: Point, end: Point, distance: float) -> Point:
    """The point at this distance from the start, on the way to the end."""
    part = distance / (math.dist(start, end) or 1.0)
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part
