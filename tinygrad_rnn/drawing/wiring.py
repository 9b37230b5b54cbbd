"""The arrows of a picture, and the small boxes that take the place of long ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.tape import Node
from ..recurrent.moments import Lane
from .boxes import Arrow, Box, Family, Role
from .facts import element_of, transposes
from .labels import short

MANY = 12  # what more operations read stands once, and has ports where they read it

# from one box to another: which inputs of the second one the arrow is
Ends = dict[tuple[Box, Box], list[int]]


class Wiring:
    """The arrows between the boxes of a picture.

    Parameters
    ----------
    boxes : mapping of key to Box
        A node is the key of its box.
    ends : dict of (Box, Box) to list of int
        The arrows, with the places of the inputs that they are.
    returning : dict of (Box, Box) to list of int
        In a folded picture, those that lead from one step into the next.

    Attributes
    ----------
    arrows : list of Arrow
    added : list of Box
        The ports and delays.
    """

    def __init__(self, boxes: Mapping[Any, Box], ends: Ends, returning: Ends) -> None:
        self.boxes, self.returning = boxes, returning
        self.arrows = [Arrow(*pair, tuple(found)) for pair, found in ends.items()]
        self.added: list[Box] = []
        self._group()

    def _group(self) -> None:
        """Sort the arrows by where they begin."""
        self.heads: dict[Box, list[Arrow]] = {}
        for a in self.arrows:
            self.heads.setdefault(a.tail, []).append(a)

    # --- what leaves are --------------------------------------------------------------------------

    def find_roles(self) -> None:
        """Find out which leaves are initial states, and which cut the gradient."""
        states = self._state_inputs()
        steps: dict[Lane, list[int]] = {}
        for b in self.boxes.values():
            if b.lane and b.step is not None and not b.leaf:
                steps.setdefault(b.lane, []).append(b.step)
        against_time = {
            a.head.lane
            for a in self.arrows
            if a.through_time
            and a.head.lane == a.tail.lane
            and (a.head.step or 0) < (a.tail.step or 0)
        }
        for b in self.boxes.values():
            heads = [
                a
                for a in self.heads.get(b, ())
                if a.head.lane and not a.head.backward and not a.head.gap
            ]
            if (
                not b.leaf
                or not heads
                or not all((a.head.lane, a.head.key, k) in states for a in heads for k in a.places)
            ):
                continue
            reader = heads[0].head
            assert reader.lane is not None
            ends = steps[reader.lane]
            from_right = reader.lane in against_time
            first = reader.step == (max(ends) if from_right else min(ends))
            b.moment, b.framed = reader.moment, not first
            b.role = Role.INITIAL if first else Role.LOCAL
            b.key = (b.role, *b.key)
            if b.family != Family.INPUT or b.title.endswith("_0"):
                continue
            if not first:
                b.cut, b.detail = "the gradient ends here: the state was detached", "detached"
            elif reader.step != 0 and not from_right:
                b.cut = f"the gradient ends here: the graph begins at t = {reader.step}"
                b.detail = "cut"

    def _state_inputs(self) -> set[tuple[Lane | None, Any, int]]:
        """Return the inputs of operations that, in any step, come from another step."""
        states = {
            (a.head.lane, a.head.key, k)
            for a in self.arrows
            if a.through_time and not a.head.gap
            for k in a.places
        }
        return states | {
            (head.lane, head.key, k) for (_, head), found in self.returning.items() for k in found
        }

    # --- ports ------------------------------------------------------------------------------------

    def make_ports(self) -> None:
        """Put small boxes, with the name of what is drawn elsewhere, in place of long lines."""
        gone: set[Arrow] = set()
        new: list[Arrow] = []
        columns: dict[Box, set[Any]] = {}
        for a in self.arrows:
            if a.head.moment:
                columns.setdefault(a.tail, set()).add((a.head.moment, a.head.framed))
        # what takes one step's part out of an array; what transposes one
        self.taking = {b for n, b in self.boxes.items() if _element(n)}
        self.turning = {b for n, b in self.boxes.items() if isinstance(n, Node) and transposes(n)}
        for tail, arrows in self.heads.items():
            if tail.gap:
                gone.update(a for a in arrows if self._reads_steps(a))
                continue
            shared = self._is_shared(tail, arrows, len(columns.get(tail, ())))
            far = self._is_read_far(tail, arrows)
            for arrow in arrows:
                head = arrow.head
                if head.gap:
                    if shared or self._reads_steps(arrow):
                        gone.add(arrow)
                        head.reads = (*head.reads, tail.title)
                    continue
                if shared and (head.cell or head.holds > 1):
                    gone.add(arrow)
                    head.reads = (*head.reads, tail.title)
                    continue
                saved = (
                    tail.moment is not None
                    and not tail.backward
                    and not tail.recorded_by_backward
                    and head.backward
                    and (head.lane is not None or tail.lane is not None)
                )
                if head.cell and (saved or tail.port):
                    gone.add(arrow)
                    when = f" at t = {tail.step}" if tail.cell else ""
                    head.reads = (*head.reads, f"{tail.title}{when}")
                    continue
                away = far and head.step != tail.step and head.lane is not None
                if not (shared or saved or away):
                    continue
                gone.add(arrow)
                if shared and head in self.turning and head.framed and not head.root:
                    head.family, head.source = Family.PARAMETER, tail
                    head.title, head.detail = f"{tail.title}.T", ""
                else:
                    new.append(self._port(arrow, shared, saved))
        self.arrows = [a for a in self.arrows if a not in gone] + new
        self._group()

    def _reads_steps(self, a: Arrow) -> bool:
        """Whether a backward reads values of steps of the forward, one of which is not drawn."""
        forward = a.tail.lane is not None and not a.tail.backward and a.tail.framed
        return forward and a.head.backward and a.head.lane is not None and a.head.framed

    def _is_shared(self, tail: Box, arrows: list[Arrow], columns: int) -> bool:
        """Whether a leaf stands once beside the picture; note its role."""
        shared = (
            tail.leaf
            and tail.moment is None
            and (
                columns > 1
                or len(arrows) > MANY
                or (tail.family == Family.PARAMETER and any(a.head.lane for a in arrows))
            )
        )
        if not shared:
            return False
        parts = [a.head.step for a in arrows if a.head in self.taking]
        if len(set(parts)) > 1 and len(set(parts)) == len(parts) == sum(
            not a.head.gap for a in arrows
        ):
            tail.role = Role.SEQUENCE
            return False
        tail.role = Role.SHARED
        return True

    def _is_read_far(self, tail: Box, arrows: list[Arrow]) -> bool:
        """Whether more than two steps of the own cell read what an operation of one step made."""
        if tail.lane is None or tail.leaf:
            return False
        own = _named(tail.lane)
        steps = {a.head.step for a in arrows if a.head.lane and _named(a.head.lane) == own}
        return len(steps) > 2

    def _port(self, arrow: Arrow, shared: bool, saved: bool) -> Arrow:
        """Make a port in place of an arrow; return the arrow that leads from the port."""
        tail, head, places = arrow
        words = tail.variable or tail.title
        if saved and tail.framed and tail.step != head.step and not (tail.hides or head.hides):
            words += f" (t={tail.step})"
        port = Box(
            short(words),
            "",
            tail.family if shared and not saved else Family.SAVED,
            head.moment,
            head.framed,
            f"{words}: drawn once, as {tail.name}\n{tail.tooltip}",
            name=f"p{len(self.added)}",
            key=("port", tail.title if shared else tail.key, head.key, places),
            source=tail,
        )
        self.added.append(port)
        return Arrow(port, head, places)

    def leads_on(self, b: Box) -> bool:
        """Whether an arrow or a port leads from a box to another."""
        return bool(self.heads.get(b)) or any(port.source is b for port in self.added)

    # --- delays -----------------------------------------------------------------------------------

    def make_delays(self) -> None:
        """Put a box z⁻¹ on the way of each state from step to step, in a folded picture."""
        made: dict[Box, Box] = {}
        for (tail, head), found in self.returning.items():
            if tail.port or head.port:
                continue
            delay = made.get(tail)
            if delay is None:
                delay = made[tail] = Box(
                    "z⁻¹",
                    tail.variable or tail.title,
                    Family.DELAY,
                    tail.moment,
                    tooltip=f"the value of the step before of {tail.title}",
                    name=f"z{len(made)}",
                    key=("delay", tail.key),
                )
                self.added.append(delay)
                self.arrows.append(Arrow(tail, delay, (0,)))
            self.arrows.append(Arrow(delay, head, tuple(found)))


def _element(n: Any) -> bool:
    return isinstance(n, Node) and element_of(n) is not None


def _named(lane: Lane) -> Lane:
    """Return a lane without its layer."""
    return lane._replace(layer=None)
