"""`draw`, and the Drawing that it returns."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ..core.errors import TinygradError
from ..core.tape import Tape, tape
from ..core.trace import Program
from .dot import dot_source
from .layout import place
from .render import render
from .sketch import sketch
from .svg import plain_svg

INSTALL = "pip install tinygrad-rnn[draw]"


class DrawingError(TinygradError, RuntimeError):
    """A picture that cannot be made here, or not in this format."""


class Drawing:
    """A picture of a graph; it shows itself in Jupyter. Made by `draw`, it holds words and places, and nothing of the graph.

    Attributes
    ----------
    dot : str
        DOT source. The layout is in it (``layout=nop2``), so every graphviz viewer shows the same picture.
    note : str
        What was left out and why, and what had to be used in place of graphviz; empty if nothing was. The first is also in the picture.
    timeout : float
        Seconds that a graphviz program may take.
    """

    def __init__(self, x: Tape | Program, *, title: str, steps: int | None, limit: int, direction: str, timeout: float) -> None:
        self._sketch = sketch(x, title=title, steps=steps, limit=limit)
        self._sketch.of.clear()  # a picture does not hold on to the graph
        self._layout = place(self._sketch, direction)
        self._made: dict[str, bytes] = {}
        self.note = self._sketch.note
        self.timeout = timeout
        self.dot = dot_source(self._sketch, self._layout)

    def svg(self) -> str:
        """The picture as SVG text. Without a graphviz program, or if it takes too long, it is drawn without one."""
        if "svg" not in self._made:
            picture, reasons = render(self.dot, "svg", self.timeout)
            if picture is None:
                picture = plain_svg(self._sketch, self._layout).encode()
                why = ", ".join(reasons) or "no graphviz program was found"
                self.note = " ".join(filter(None, [self.note, f"Drawn without graphviz: {why}."]))
            self._made["svg"] = picture
        return self._made["svg"].decode()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture; the suffix says as what: ``.svg``, ``.png``, ``.pdf`` or ``.dot``.

        Raises
        ------
        DrawingError
            For another suffix; for PNG and PDF also if there is no graphviz program that works.
        """
        path = Path(path)
        form = path.suffix.lower().lstrip(".")
        if form in ("dot", "gv"):
            data = self.dot.encode()
        elif form == "svg":
            data = self.svg().encode()
        elif form in ("png", "pdf"):
            data = self._rendered(form)
        else:
            raise DrawingError(f"save: the suffix of '{path.name}' says no format that can be written; use .svg, .png, .pdf or .dot")
        path.write_bytes(data)

    def _rendered(self, form: str) -> bytes:
        if form not in self._made:
            picture, reasons = render(self.dot, form, self.timeout)
            if picture is None:
                why = f" ({', '.join(reasons)})" if reasons else ""
                raise DrawingError(f"save: {form.upper()} needs graphviz{why}: {INSTALL}, or save as .svg, which needs nothing")
            self._made[form] = picture
        return self._made[form]

    def _repr_svg_(self) -> str | None:
        try:
            return re.sub(r"^.*?(?=<svg)", "", self.svg(), flags=re.DOTALL)  # without the XML declaration: it goes into a page
        except Exception:  # a picture must not break a notebook
            return None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        svg = self._repr_svg_()
        bundle = {"text/plain": repr(self), **({} if svg is None else {"image/svg+xml": svg})}
        return {k: v for k, v in bundle.items() if (include is None or k in include) and (exclude is None or k not in exclude)}

    def __repr__(self) -> str:
        steps = f", {len(self._layout.frames)} frames" if self._layout.frames else ""
        return f"<Drawing: {len(self._sketch.boxes)} boxes{steps}{'; ' + self.note if self.note else ''}>"


def draw(
    x: Any, *, title: str | None = None, steps: int | None = None, limit: int = 250, direction: str = "LR", timeout: float = 20.0
) -> Drawing:
    """Draw what a tensor was computed from, unrolled through time.

    Parameters
    ----------
    x : Tensor, Tape or Program
        A recorded tensor (also after its backward), or a traced function.
    title : str, optional
        Stands over the picture.
    steps : int, optional
        Draw at most so many time steps: the first and the last ones.
    limit : int
        Draw about so many nodes at most. Of more, the time steps in the middle are left out, or, without time steps, what is
        farthest from `x`; a box stands for them, and picture and `Drawing.note` say so.
    direction : {"LR", "TB"}
        Where time runs: to the right or downwards. Without time steps: where the operations lead.
    timeout : float
        Seconds that a graphviz program may take before the picture is drawn without it.

    Returns
    -------
    Drawing

    Raises
    ------
    GraphError
        If the tensor was not recorded.
    DrawingError
        If `x` is none of these, or an argument is not valid.
    """
    if direction not in ("LR", "TB"):
        raise DrawingError(f"draw: direction is 'LR' or 'TB', not {direction!r}")
    if limit < 1 or (steps is not None and steps < 1):
        raise DrawingError(f"draw: limit and steps count what is drawn, so they are at least 1 (limit={limit}, steps={steps})")
    if not isinstance(x, (Tape, Program)):
        if not hasattr(x, "node"):
            raise DrawingError(
                f"draw: expected a Tensor, a Tape or a Program; found a {type(x).__name__}. What is drawn is how a result was computed: "
                "run the cell, ys, state = tg.unroll(cell, xs), and draw one tensor of it, tg.draw(ys)"
            )
        x = tape(x)
    return Drawing(x, title=title or "", steps=steps, limit=limit, direction=direction, timeout=timeout)
