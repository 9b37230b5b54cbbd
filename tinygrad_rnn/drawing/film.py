"""A picture as a film: values are computed one after the other, then gradients go back.

It is the same SVG, with rules that move it, so it plays wherever an SVG is shown and needs no
script. For readers who asked their system for less motion it stands still, at its end; it waits
while the pointer rests on the bar under it.
"""

from __future__ import annotations

from .boxes import Arrow, Box, Family, Sketch
from .errors import DrawingError
from .layout import Layout
from .style import CUT, kind, xml

MOST = 400  # moments of a film
MOMENT, LONGEST = 0.7, 40.0  # seconds: of one moment, and of a film that has no length of its own
BAR = 34.0  # points under the picture, where the film says how far it is
REST = 3  # moments at the end, at which it stands still
PALE = 0.16  # of what is not computed yet


class Film:
    """When each box and each arrow of a picture is seen.

    Parameters
    ----------
    sketch : Sketch
    layout : Layout
    seconds : float or None
        Length; by default a moment for each box, there and back.

    Attributes
    ----------
    there, back : dict of Box to int
        The moment at which a box is computed (0: it is given), and at which the walk back is there.

    Raises
    ------
    DrawingError
        If the picture is folded, or has too many boxes, or `seconds` is not positive.
    """

    def __init__(self, sketch: Sketch, layout: Layout, seconds: float | None) -> None:
        if any(b.delay for b in sketch.boxes):
            raise DrawingError(
                "film: a folded picture has one step for all, so there is no walk through it; draw what ran on a "
                "sequence, unfolded: ys, state = tg.unroll(cell, xs), then tg.draw(ys.sum(), fold=False).film(path)"
            )
        self.arrows, self.states = sketch.arrows, layout.states
        self.height, self.width = layout.height, layout.width
        made = sorted(
            (b for b in sketch.boxes if b.order is not None and not (b.leaf or b.port)),
            key=lambda b: b.order or 0,
        )
        recorded = any(b.recorded_by_backward for b in made)  # then the way back is drawn already
        visits = [] if recorded else [b for b in reversed(made) if b.needs]
        self.forward, self.moments = len(made), len(made) + len(visits)
        if self.moments > MOST:
            raise DrawingError(
                f"film: the picture has {self.moments} moments and a film at most {MOST}; draw less, with "
                'detail="cell" or steps=6'
            )
        self.length = min(MOMENT * (self.moments + REST), LONGEST) if seconds is None else seconds
        if not self.length > 0:
            raise DrawingError(f"film: seconds is a length of time, not {seconds!r}")
        self.there = {b: k for k, b in enumerate(made, 1)}
        self.back = {b: k for k, b in enumerate(visits, self.forward + 1)}
        self._add_leaves_and_ports(sketch)

    def _add_leaves_and_ports(self, sketch: Sketch) -> None:
        """Find the moments of what is given, and of the small boxes that stand for others."""
        for a in self.arrows:
            if a.tail.port:
                seen = self.there.get(a.tail, self.moments)
                self.there[a.tail] = min(seen, self.there.get(a.head, 0))
        for b in sketch.boxes:
            self.there.setdefault(b, 0)
        for a in self.arrows:  # a gradient is complete when the last one has arrived
            tail = a.tail.source or a.tail
            if tail.leaf and tail.needs and a.head in self.back:
                self.back[tail] = max(self.back.get(tail, 0), self.back[a.head])

    def box(self, b: Box, drawn: str) -> str:
        """Return a box that is pale until it is computed, with the outlines that move."""
        left, top = b.x - b.width / 2 - 3, b.y - b.height / 2 - 3
        bend = b.height / 2 + 3 if b.family == Family.ARITHMETIC else 9
        ring = f'x="{left:.1f}" y="{top:.1f}" width="{b.width + 6:.1f}" height="{b.height + 6:.1f}" rx="{bend:.0f}"/>'
        out, there = drawn, self.there[b]
        if there:
            out = f'<g class="later m{there}">{out}</g>'
            if not b.port:
                out += f'<rect class="now n{there}" {ring}'
        if b in self.back:
            out += f'<rect class="graded m{self.back[b]}" {ring}'
        return out

    def arrow(self, arrow: Arrow, drawn: str, turned: str) -> str:
        """Return an arrow that is pale until its head is computed, and the gradient along it.

        `turned` is the arrow in the other direction.
        """
        out, there = drawn, self.there[arrow.head]
        if there:
            out = f'<g class="later m{there}">{out}</g>'
        moment = self.back.get(arrow.head)
        tail = arrow.tail.source or arrow.tail
        if moment and tail.needs and kind(arrow, self.states) != CUT:
            out = f'<g class="gone m{moment}">{out}</g>'
            out += f'<g class="graded m{moment}">{turned}</g>'
        return out

    def foot(self) -> str:
        """Return the bar under the picture."""
        y, left = self.height + 12, 14.0
        wide = self.width - 28
        middle = left + wide * self.forward / max(self.moments, 1)
        parts = [
            f'<rect class="page" x="0" y="{self.height:.1f}" width="{self.width:.1f}" height="{BAR}"/>',
            f'<rect class="ahead" x="{left}" y="{y:.1f}" width="{middle - left:.1f}" height="5"/>',
            f'<text x="{left}" y="{y + 17:.1f}">forward: each value from those before it</text>',
        ]
        if middle < left + wide - 1:
            parts.append(
                f'<rect class="home" x="{middle:.1f}" y="{y:.1f}" width="{left + wide - middle:.1f}" height="5"/>'
            )
            text = "backward: gradients, to where they came from"
            parts.append(
                f'<text x="{left + wide:.1f}" y="{y + 17:.1f}" class="end">{xml(text)}</text>'
            )
        parts.append(f'<circle class="head" cx="{left}" cy="{y + 2.5:.1f}" r="5.5"/>')
        return f'<g class="film">{"".join(parts)}</g>'

    def rules(self) -> str:
        """Return the rules that move it; names of moments begin with ``film-``."""
        total = self.moments + REST
        length, wide = f"{self.length:.1f}s", self.width - 28
        frames, uses = [], []
        for k in range(1, self.moments + 1):
            begin, after, end = (100 * (k + part) / total for part in (-0.6, -0.3, 0.7))
            frames.append(
                f"@keyframes film-m{k}{{0%,{begin:.2f}%{{opacity:var(--before)}}{after:.2f}%,to{{opacity:var(--then)}}}}"
            )
            uses.append(f".tg .m{k}{{animation:film-m{k} {length} linear infinite}}")
            if k <= self.forward:
                frames.append(
                    f"@keyframes film-n{k}{{0%,{begin:.2f}%{{opacity:0}}{after:.2f}%,{end - 6 / total:.2f}%{{opacity:1}}{end:.2f}%,to{{opacity:0}}}}"
                )
                uses.append(f".tg .n{k}{{animation:film-n{k} {length} linear infinite}}")
        stop = 100 * self.moments / total
        frames.append(
            f"@keyframes film-head{{0%{{transform:none}}{stop:.2f}%,to{{transform:translateX({wide:.1f}px)}}}}"
        )
        uses.append(f".tg .film .head{{animation:film-head {length} linear infinite}}")
        still = (
            f".tg .later{{--before:{PALE};--then:1}}.tg .graded{{--before:0;--then:1}}"
            ".tg .gone{--before:1;--then:0;opacity:0}.tg .now{opacity:0}"
            ".tg rect.now,.tg rect.graded{fill:none;stroke-width:2.2}.tg .film text{font-size:10px}"
            f".tg .film .end{{text-anchor:end}}.tg .film .head{{transform:translateX({wide:.1f}px)}}"
            ".tg:has(.film:hover) *{animation-play-state:paused!important}"
        )
        return f"{still}@media (prefers-reduced-motion:no-preference){{{''.join(uses)}}}{''.join(frames)}"
