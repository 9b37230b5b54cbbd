"""Where everything goes: a column for each time step, and in every column the same operation at the same height.

It is computed here, in time about linear in what is drawn: general layout programs take minutes for an unrolled network, and do
not know that its steps are alike. All lengths are in points. The code speaks of time running to the right and of depth growing
downwards; for the other direction the two axes are exchanged at the end.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..core.tape import Mark
from .sketch import Arrow, Box, Sketch

HEIGHT = 32.0  # of a box
DOWN, APART = 24.0, 14.0  # between rows; between boxes of a row
TIP = 5.5  # length of an arrow head
MARGIN, LABEL = 12.0, 12.0  # between a frame and its boxes; for each line of its label
BETWEEN, LINE, CORNER, DROP = 10.0, 6.0, 7.0, 7.0  # beside the lines of a channel; from line to line; radius of their bends; see there
SWEEPS = 12

BEND = ""
FIRST, LAST = -math.inf, sys.float_info.max  # "steps" of initial states: what comes before all steps is None, what comes after them inf
Point = tuple[float, float]


class Frame(NamedTuple):
    """The outline of a time step."""

    label: list[str]  # lines
    boxes: list[Box]
    left: float
    top: float
    right: float
    bottom: float


class Layout(NamedTuple):
    """What a renderer needs. A path is its start and then, three by three, the points of cubic Bezier curves."""

    width: float
    height: float
    frames: list[Frame]
    paths: list[tuple[Arrow, list[Point]]]
    states: set[Arrow]  # the arrows that carry a state from step to step, or into the first one
    captions: list[tuple[str, str, float, float]]  # name, text, y, size of its letters; in the middle of the width


def place(sketch: Sketch, direction: str = "LR") -> Layout:
    """Set x and y (the middle, y growing downwards) of every box; find the frames and the paths of the arrows.

    `direction` is that of time, "LR" or "TB": the operations of a step run across it. Without steps it is that of the operations.
    """
    turned = (direction == "TB") == any(box.framed for box in sketch.boxes)
    plan = _Plan(sketch, turned)
    frames, paths = plan.frames(), [(arrow, path) for arrow in sketch.arrows for path in plan.paths(arrow)]
    if turned:
        for b in sketch.boxes:
            b.x, b.y = b.y, b.x
        frames = [f._replace(left=f.top, top=f.left, right=f.bottom, bottom=f.right) for f in frames]
        paths = [(arrow, [(y, x) for x, y in path]) for arrow, path in paths]
    frames = [f._replace(bottom=f.bottom + plan.foot) for f in frames]
    corners = [(b.x + side * b.width / 2, b.y + side * HEIGHT / 2) for b in sketch.boxes for side in (-1, 1)]
    corners += [(0.0, 0.0)] * (not corners)
    corners += [corner for f in frames for corner in ((f.left, f.top), (f.right, f.bottom))]
    xs, ys = zip(*corners, *(point for _, path in paths for point in path), strict=True)
    inner = max(xs) - min(xs) + 2 * MARGIN
    width = max(inner, 8 * len(sketch.title), 5.5 * len(sketch.note) + 2 * MARGIN)
    head, foot = 26.0 if sketch.title else 0.0, 24.0 if sketch.note else 0.0
    dx, dy = MARGIN - min(xs) + (width - inner) / 2, MARGIN - min(ys) + head
    height = max(ys) + dy + MARGIN + foot
    for b in sketch.boxes:
        b.x, b.y = b.x + dx, b.y + dy
    frames = [f._replace(left=f.left + dx, top=f.top + dy, right=f.right + dx, bottom=f.bottom + dy) for f in frames]
    paths = [(arrow, [(x + dx, y + dy) for x, y in path]) for arrow, path in paths]
    states = {a for a in sketch.arrows if a.through_time or a.tail in plan.beside}
    captions = [("title", sketch.title, MARGIN + 7, 14.0), ("note", sketch.note, height - MARGIN - 4, 10.0)]
    return Layout(width, height, frames, paths, states, [c for c in captions if c[1]])


class _Plan:
    """The work of `place`.

    Boxes stand in columns. Between two columns is a channel for the lines that lead from one to the other; lines that go further
    run below all columns, and those of what all steps read (parameters, and operations outside of the steps) above, each on a
    rail from which every step takes. Where a neighbour stands between a box and the channel, a line runs between the rows.
    """

    def __init__(self, sketch: Sketch, turned: bool) -> None:
        self.boxes, self.arrows, self.turned = sketch.boxes, sketch.arrows, turned
        self.heads: dict[Box, list[Box]] = {b: [] for b in self.boxes}
        for tail, head, _ in self.arrows:
            self.heads[tail].append(head)
        self.rails: dict[Box, None] = {}  # an ordered set: leaves that every step reads
        self.led: dict[Box, float] = {}  # operations outside of the steps that are led to them like that -> depth of the rail
        self.above: dict[Box, None] = {}  # what is given to one step only
        self.beside: dict[Box, Box] = {}  # an initial state -> what reads it
        self.readers: dict[Box, int] = {}  # operations that read a state, also an initial one -> side it comes from, -1 is the left
        self.foot = LABEL * max((len(_label(b.mark)) for b in self.boxes if b.framed and b.mark), default=0)
        self._leaves()
        self.drops = {h for rail in self.rails for h in self.heads[rail]}  # where lines may come down from the rails
        # What follows the last step, and nothing else, stands to the right of it; what follows every step, below it.
        after = {b.step for b in self.boxes if b.mark and not b.lane and b not in self.above and b not in self.beside}
        self.last = max(b.step for b in self.boxes if b.step is not None) if after else None
        self.last = self.last if after == {self.last} else None
        inside = [b for b in self.boxes if b not in self.rails]
        self.steps = sorted({self.step(b) for b in inside}, key=lambda s: (s is not None, s or 0))
        place_of = {step: k for k, step in enumerate(self.steps)}
        self.column = {b: place_of[self.step(b)] for b in inside}
        self.led = dict.fromkeys((b for b in inside if self._is_led(b)), 0.0)
        self.pitch = max(map(self.deep, self.boxes), default=0) + DOWN
        self.bends: dict[Box, dict[float, Box]] = {b: {} for b in self.boxes}  # where its lines pass through rows they do not end in
        self._rows()
        self.columns: list[list[Box]] = [[] for _ in self.steps]
        for b in inside:
            self.columns[self.column[b]].append(b)
        for boxes in self.columns:
            self._arrange(boxes)
            boxes.extend([bend for b in boxes for bend in self.bends[b].values()])
        self.beside_of: dict[Box, list[Box]] = {}  # the boxes in the rows through which a line passes
        for boxes in self.columns:
            rows: dict[float, list[Box]] = {}
            for b in boxes:
                rows.setdefault(b.y, []).append(b)
            self.beside_of.update((b, [o for o in rows[b.y] if o.family != BEND]) for b in boxes if b.family == BEND)
        self.channels: list[dict[Any, int]] = [{} for _ in range(len(self.steps) + 1)]  # what a line belongs to -> its place
        self.below: dict[Box, int] = {}
        self._channels()

    def wide(self, b: Box) -> float:
        """Its extent along time."""
        return 8.0 if b.family == BEND else HEIGHT if self.turned else b.width

    def deep(self, b: Box) -> float:
        """Its extent along depth."""
        return b.width if self.turned else HEIGHT

    def step(self, b: Box) -> float | None:
        """The step in whose column it stands."""
        if b in self.beside:
            return FIRST if self.readers[self.beside[b]] < 0 else LAST
        return math.inf if b.step == self.last is not None and not b.lane and b not in self.above else b.step

    def _leaves(self) -> None:
        """Find the rails, the initial states and what stands above a step."""
        number: dict[Box, int] = {}
        counts: dict[Any, int] = {}
        for b in self.boxes:
            if b.framed and not b.leaf:
                number[b] = counts[b.mark] = counts.get(b.mark, -1) + 1
        # An argument is a state if, in any step, it comes from another step.
        through = [a for a in self.arrows if a.through_time and a.head in number]
        states = {(a.head.lane, number[a.head], k) for a in through for k in a.places}
        numbers = {(lane, count) for lane, count, _ in states}
        backward = {a.head.lane for a in through if (a.head.step or 0) < (a.tail.step or 0)}  # cells that run against time
        self.readers = {b: 1 if b.lane in backward else -1 for b in number if (b.lane, number[b]) in numbers}
        uses: dict[Box, list[bool]] = {}
        for tail, head, places in self.arrows:
            uses.setdefault(tail, []).extend((head.lane, number.get(head), k) in states for k in places)
        for b in self.boxes:
            inside = [h for h in self.heads[b] if h.lane]
            steps = {h.step for h in self.heads[b]} - {None}
            if not b.leaf or not steps:
                continue
            if inside and all(uses[b]):
                self.beside[b] = inside[0]
                b.framed = False  # it may have been made in the first step
            elif inside and not b.framed and (b.mark or len(steps) == 1 < len({c.step for c in number})):
                b.mark = b.mark or inside[0].mark
                self.above[b] = None
            elif b.mark is None:
                self.rails[b] = None

    def _rows(self) -> None:
        """How far down each box is: below what it reads in its own step, and each cell or layer below those before it."""
        row = dict.fromkeys(self.boxes, 0.0)
        for tail, head, _ in self.arrows:  # in the order of their heads
            if self.column.get(tail) == self.column[head] and tail.lane == head.lane:
                row[head] = max(row[head], row[tail] + 1)
        for b in reversed(self.boxes):
            if b.leaf or b.gap:
                next_ = [row[h] for h in self.heads[b] if self.column[h] == self.column.get(b) and h.lane == b.lane]
                row[b] = min(next_, default=1.0) - 1
        lanes: dict[Any, float] = {}
        for b in self.boxes:
            if b.lane:
                lanes[b.lane] = max(lanes.get(b.lane, 1.0), row[b] + 1)
        base, start = {}, 0.0
        for lane, rows in lanes.items():
            base[lane], start = start, start + rows + 1
        for b in self.boxes:
            if b.gap and b.lane:
                row[b] = (lanes[b.lane] - 1) / 2
            b.y = self.pitch * (row[b] + base.get(b.lane, start if b.mark else 0.0))
        if self.last is not None:
            ends = [a.tail.y for a in self.arrows if self.step(a.head) == math.inf != self.step(a.tail) and a.tail.lane]
            for b in self.boxes:
                b.y += (max(ends, default=0.0) - self.pitch * start) * (self.step(b) == math.inf)  # level with the last state
        for b, reader in self.beside.items():
            b.y = reader.y
        for b in self.above:
            b.y = -self.pitch

    def _arrange(self, boxes: Sequence[Box]) -> None:
        """Place the boxes of a column side by side, near to what they are connected with, around 0."""
        rows: dict[float, list[Box]] = {}
        for b in sorted(boxes, key=lambda b: (self.readers.get(b, 0), b.leaf)):  # readers of states where these come from
            rows.setdefault(b.y, []).append(b)
        order = sorted(rows)
        rank = {y: k for k, y in enumerate(order)}
        near: dict[Box, list[Box]] = {b: [] for b in boxes}
        for tail in boxes:
            for head in self.heads[tail]:
                if head in near:
                    last = tail
                    for y in order[rank[tail.y] + 1 : rank[head.y]]:
                        if y not in self.bends[tail]:
                            bend = self.bends[tail][y] = Box("", "", BEND, y=y)
                            rows[y].append(bend)
                            near[bend] = [last]
                            near[last].append(bend)
                        last = self.bends[tail][y]
                    near[last].append(head)
                    near[head].append(last)
        for row in rows.values():
            self._spread(row, [0.0] * len(row))
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            for y in order if down else reversed(order):
                wish = {}
                for b in rows[y]:
                    seen = [n.x for n in near[b] if (not n.leaf if sweep >= SWEEPS // 2 else (n.y < y) == down)]  # leaves follow
                    wish[b] = sum(seen) / len(seen) if seen else b.x
                if sweep < SWEEPS // 2:
                    rows[y].sort(key=lambda b: (self.readers.get(b, 0), wish[b]))
                self._spread(rows[y], [wish[b] for b in rows[y]])
        given: dict[Box, float] = {}
        for b in boxes:
            if b in self.above:
                head = self.heads[b][0]
                given[b] = head.x + (self.wide(head) / 2 - DROP - 5 - self.wide(b) / 2) * (head in self.drops)
        row = sorted(given, key=lambda b: given[b])
        self._spread(row, [given[b] for b in row])

    def _spread(self, row: Sequence[Box], wish: Sequence[float]) -> None:
        """Put boxes as near to their wishes as they can be without touching: half way between packing from the left and the right."""
        low, high, edge = [], [], float("-inf")
        for b, w in zip(row, wish, strict=True):
            low.append(max(w, edge + self.wide(b) / 2))
            edge = low[-1] + self.wide(b) / 2 + APART
        edge = float("inf")
        for b, w in zip(reversed(row), reversed(wish), strict=True):
            high.append(min(w, edge - self.wide(b) / 2))
            edge = high[-1] - self.wide(b) / 2 - APART
        for b, x1, x2 in zip(row, low, reversed(high), strict=True):
            b.x = (x1 + x2) / 2

    def _is_led(self, b: Box) -> bool:
        """Whether an operation before or after all steps is read where its line would have to pass other columns."""
        if self.step(b) not in (None, math.inf) or b.gap:
            return False
        columns = {self.column[h] for h in self.heads[b]} - {self.column[b]}
        return len(columns) > 1 or any(not self._near(self.column[b], j) for j in columns)

    def _near(self, i: int, j: int) -> bool:
        """Whether there is nothing but initial states between two columns."""
        return all(step in (FIRST, LAST) for step in self.steps[min(i, j) + 1 : max(i, j)])

    def _leftward(self, b: Box) -> bool:
        """Whether the line of an operation goes up to its rail on the left."""
        return self.steps[self.column[b]] == math.inf

    def _channels(self) -> None:
        """Give every line its place between, below or above the columns, and move the columns apart to make room."""
        self.direct: dict[Arrow, float] = {}  # arrows that come straight down from a rail: x, seen from the head
        self.tracks: dict[tuple[int, float], dict[Any, int]] = {}  # the same for the room between two rows of a column
        self.ports: dict[tuple[Box, int], dict[Any, int]] = {}  # and for the lines that end at the left of a top, or begin at a bottom
        for arrow in self.arrows:
            tail, head, _ = arrow
            i, j = self.column.get(tail), self.column[head]
            if i is None or (tail in self.led and i != j):
                if i is not None:
                    self._take(i + (not self._leftward(tail)), tail)
                half, taken = self.wide(head) / 2 - DROP, {x for a, x in self.direct.items() if a.head is head}
                places = [half - LINE * k for k in range(int(half // LINE) + 1)]
                if not self._free(head, -1):
                    places += [-x for x in places]
                x = next((x for x in places if x not in taken and self._falls(head, x)), None)
                if x is None:
                    self._take(j, tail)
                else:
                    self.direct[arrow] = x
            elif i == j:
                if tail.y >= head.y:
                    self._take(i + 1, tail)
            elif abs(i - j) == 1:
                self._take(max(i, j), tail)
            else:
                self._take(i + 1 if i < j or not self._near(i, j) else i, tail)
                self._take(j if i < j or not self._near(i, j) else j + 1, (head,))
                if not self._near(i, j):
                    self.below.setdefault(head, len(self.below))
        self.lines, x = [], 0.0
        for k, boxes in enumerate(self.columns):
            self.lines.append(x + BETWEEN)
            x += 2 * BETWEEN + LINE * len(self.channels[k]) + MARGIN
            shift = x - min(b.x - self.wide(b) / 2 for b in boxes)
            for b in boxes:
                b.x += shift
            x = max(b.x + self.wide(b) / 2 for b in boxes) + MARGIN + self.foot * self.turned
        self.lines.append(x + BETWEEN)
        self.bottom = max((b.y + self.deep(b) / 2 for b in self.boxes), default=0.0) + MARGIN + self.foot * (not self.turned) + BETWEEN
        top = min((b.y - self.deep(b) / 2 for b in self.column), default=0.0) - DOWN
        for b in reversed(self.led):
            self.led[b] = top
            top -= BETWEEN
        tapped = any(self.column[h] == 0 for b in self.rails for h in self.heads[b])
        outside = self.steps and self.steps[0] in (None, FIRST) and not tapped
        right = max(b.x + self.wide(b) / 2 for b in self.columns[0]) if outside else 0.0
        for b in reversed(self.rails):
            b.x, b.y = right - self.wide(b) / 2, top - self.deep(b) / 2
            top -= self.deep(b) + BETWEEN

    def _falls(self, head: Box, x: float) -> bool:
        """Whether a line can come straight down to a box, at this distance from its middle."""
        return all(b.y >= head.y or abs(b.x - head.x - x) > self.wide(b) / 2 + 2 for b in self.columns[self.column[head]])

    def _free(self, box: Box, side: int, depth: float = 0.0) -> bool:
        """Whether there is nothing between a box and the channel to its left (-1) or right (1)."""
        return not any(
            (b.x - box.x) * side > 0 and b.family != BEND and abs(b.y - box.y - depth) < self.deep(b) / 2 + 1
            for b in self.columns[self.column[box]]
        )

    def _clear(self, i: int, j: int, y: float) -> bool:
        """Whether a line at this depth meets no box in the columns between two."""
        between = (b for boxes in self.columns[min(i, j) + 1 : max(i, j)] for b in boxes)
        return all(abs(b.y - y) > self.deep(b) / 2 + 1 for b in between)

    def _take(self, channel: int, key: Any) -> None:
        self.channels[channel].setdefault(key, len(self.channels[channel]))

    def _line(self, channel: int, key: Any) -> float:
        return self.lines[channel] + LINE * self.channels[channel][key]

    def paths(self, arrow: Arrow) -> list[list[Point]]:
        """The way of an arrow; for an operation that uses one thing twice (x * x), two ways side by side."""
        copies = 1 if arrow.tail.gap or arrow.head.gap or arrow.tail in self.rails else min(len(arrow.places), 3)
        dx, dy = (8.0, 0.0) if self.column.get(arrow.tail) == self.column[arrow.head] else (0.0, 8.0)
        path = self.path(arrow)
        return [[(x + dx * k, y + dy * k) for x, y in path] for k in (i - (copies - 1) / 2 for i in range(copies))]

    def path(self, arrow: Arrow) -> list[Point]:
        """One way of an arrow."""
        tail, head, _ = arrow
        i, j = self.column.get(tail), self.column[head]
        if i == j and tail.y < head.y:
            return self._curve(tail, head)
        if i is None or (tail in self.led and i != j):
            start, y = [(tail.x + self.wide(tail) / 2, tail.y)], tail.y
            if i is not None:
                x, y = self._line(i + (not self._leftward(tail)), tail), self.led[tail]
                start = [*self._out(tail, -1 if self._leftward(tail) else 1, x), (x, y)]
            if arrow in self.direct:
                x = head.x + self.direct[arrow]
                return _rounded([*start, (x, y), (x, head.y - self.deep(head) / 2)])
            x = self._line(j, tail)
            return _rounded([*start, (x, y), *self._in(head, -1, x, tail, self.deep(head) / 4)])
        if i == j:
            x = self._line(i + 1, tail)
            return _rounded([*self._out(tail, 1, x), *self._in(head, 1, x, tail)])
        side = 1 if i < j else -1
        if abs(i - j) == 1:
            x = self._line(max(i, j), tail)
            return _rounded([*self._out(tail, side, x), *self._in(head, -side, x, tail)])
        if self._near(i, j):  # past initial states
            out, back = self._line(i + (side > 0), tail), self._line(j + (side < 0), (head,))
            start, end = self._out(tail, side, out), self._in(head, -side, back, tail)
            y = end[0][1]
            if not self._clear(i, j, y):
                y = next((y for y in (start[-1][1], head.y + self.pitch / 2) if self._clear(i, j, y)), self.bottom)
            return _rounded([*start, (out, y), (back, y), *end])
        out, back, y = self._line(i + 1, tail), self._line(j, (head,)), self.bottom + LINE * self.below[head]
        return _rounded([*self._out(tail, 1, out), (out, y), (back, y), *self._in(head, -1, back, (head,))])

    def _out(self, tail: Box, side: int, x: float) -> list[Point]:
        """From a box into the channel at its side: straight, or through the room below it."""
        if self._free(tail, side):
            return [(tail.x + side * self.wide(tail) / 2, tail.y), (x, tail.y)]
        y, start = self._between(tail, 1, tail), tail.x + self._port(tail, side, tail)
        return [(start, tail.y + self.deep(tail) / 2), (start, y), (x, y)]

    def _in(self, head: Box, side: int, x: float, key: Any, shift: float = 0.0) -> list[Point]:
        """From the channel at its side into a box: straight, or through the room above it."""
        if self._free(head, side):
            return [(x, head.y + shift), (head.x + side * self.wide(head) / 2, head.y + shift)]
        y, end = self._between(head, -1, key), head.x + self._port(head, side, key)
        return [(x, y), (end, y), (end, head.y - self.deep(head) / 2)]

    def _between(self, box: Box, side: int, key: Any) -> float:
        """The depth of a line between the row of a box and the one above (-1) or below it (1)."""
        y = box.y + side * self.pitch / 2
        track = self.tracks.setdefault((self.column[box], y), {}).setdefault(key, len(self.tracks[self.column[box], y]))
        return y + (0, 4, -4, 8)[track % 4]

    def _port(self, box: Box, side: int, key: Any) -> float:
        """Where on its top or bottom a line through the room between rows ends or begins, seen from the middle."""
        taken = self.ports.setdefault((box, side), {})
        return side * max(self.wide(box) / 4 - LINE * taken.setdefault(key, len(taken)), 0.0)

    def _curve(self, tail: Box, head: Box) -> list[Point]:
        """Down through a column, past the boxes on the way."""
        stops = [bend for y, bend in sorted(self.bends[tail].items(), key=lambda item: item[0]) if y < head.y]
        xs = [b.x for b in (tail, *stops, head)]
        ends = [_toward(xs[1], xs[0], self.wide(tail)), *xs[1:-1], _toward(xs[-2], xs[-1], self.wide(head))]
        ys = [tail.y + self.deep(tail) / 2, *(b.y for b in stops), head.y - self.deep(head) / 2]
        path = _smooth(ends, ys)
        if any(self._touches(path[3 * k : 3 * k + 7], b) for k, stop in enumerate(stops) for b in self.beside_of[stop]):
            # Straight past the boxes, and to the side only between the rows.
            past = [(x, y + side * self.pitch / 2 - side * DOWN / 2) for x, y in zip(ends[1:-1], ys[1:-1], strict=True) for side in (-1, 1)]
            path = _steps([(ends[0], ys[0]), *past, (ends[-1], ys[-1])])
        return path

    def _touches(self, path: Sequence[Point], b: Box) -> bool:
        """Whether a curve comes into the outline of a box."""
        xs, half = [x for x, _ in path], self.wide(b) / 2 + 1
        if max(xs) < b.x - half or min(xs) > b.x + half:  # it stays between its points
            return False
        return any(abs(x - b.x) < half and abs(y - b.y) < self.deep(b) / 2 + 1 for x, y in _sampled(path))

    def frames(self) -> list[Frame]:
        """The outlines of the steps."""
        groups: dict[Any, list[Box]] = {}
        for b in self.boxes:
            if b.framed:
                groups.setdefault(b.mark, []).append(b)
        found = []
        for mark, boxes in groups.items():
            xs = [b.x + side * self.wide(b) / 2 for b in boxes for side in (-1, 1)]
            ys = [b.y + side * self.deep(b) / 2 for b in boxes for side in (-1, 1)]
            found.append(Frame(_label(mark), boxes, min(xs) - MARGIN, min(ys) - MARGIN, max(xs) + MARGIN, max(ys) + MARGIN))
        return found


def _label(mark: Mark) -> list[str]:
    """The lines below a frame: narrow, because arrows leave it in the middle."""
    cell, layer, step = mark
    return [f"t = {step}", *([cell] if cell else []), *([f"layer {layer}"] if layer is not None else [])]


def _smooth(xs: Sequence[float], ys: Sequence[float]) -> list[Point]:
    """A curve downwards through points, upright at its ends."""
    path = [(xs[0], ys[0])]
    slopes = [0.0, *((xs[k + 1] - xs[k - 1]) / (ys[k + 1] - ys[k - 1]) for k in range(1, len(ys) - 1)), 0.0]
    for k in range(1, len(ys)):
        reach = (ys[k] - ys[k - 1]) * 0.45
        path += [(xs[k - 1] + slopes[k - 1] * reach, ys[k - 1] + reach), (xs[k] - slopes[k] * reach, ys[k] - reach), (xs[k], ys[k])]
    return path


def _steps(points: Sequence[Point]) -> list[Point]:
    """A curve downwards through points, upright at every one."""
    path = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        path += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
    return path


def _sampled(path: Sequence[Point]) -> Iterator[Point]:
    """Points on a path, close together."""
    for k in range(0, len(path) - 1, 3):
        for step in range(13):
            t = step / 12
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            yield (sum(w * p[0] for w, p in zip(weights, path[k : k + 4], strict=True)),
                   sum(w * p[1] for w, p in zip(weights, path[k : k + 4], strict=True)))  # fmt: skip


def _toward(there: float, here: float, wide: float) -> float:
    """Where on the edge of a box a line begins or ends: a little to the side it comes from."""
    return here + min(max((there - here) / 5, -wide / 3), wide / 3)


def _rounded(points: Sequence[Point]) -> list[Point]:
    """Straight lines through points, with round corners."""
    points = [p for k, p in enumerate(points) if k == 0 or p != points[k - 1]]
    path = [points[0]]
    for k in range(1, len(points)):
        (x, y), end = points[k], k + 1 == len(points)
        before = math.dist(points[k - 1], points[k])
        after = math.inf if end else math.dist(points[k], points[k + 1])
        radius = 0.0 if end else min(CORNER, before / 2, after / 2)
        start, stop = path[-1], _along(points[k], points[k - 1], radius)
        path += [_along(start, stop, math.dist(start, stop) / 3), _along(stop, start, math.dist(start, stop) / 3), stop]
        if not end:
            leave = _along((x, y), points[k + 1], radius)
            path += [_along(stop, (x, y), radius * 0.55), _along(leave, (x, y), radius * 0.55), leave]
    return path


def _along(start: Point, end: Point, distance: float) -> Point:
    """The point at this distance from the start, on the way to the end."""
    part = distance / (math.dist(start, end) or 1.0)
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part
