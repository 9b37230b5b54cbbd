"""`draw`, and the Drawing that it returns."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import replace_file
from ..kernels.runtime import without_collection
from ..ops.table import Tape
from ..palette import DARK, LIGHT
from ..recurrent.opened import opened, opened_all
from .backprop import Backprop
from .boxes import Sketch
from .detail import Detail
from .dot import dot_source
from .errors import DrawingError
from .film import Film
from .fitting import Made, ends_for, fitting_either_way
from .graph import Graph
from .layout import Layout, place
from .measures import Measured, check_walkable
from .notebook import SMALLEST, frame_of, size_of
from .render import render
from .selection import Request, shown_steps
from .sketch import sketch_graph
from .style import xml
from .subject import subject
from .survey import Survey
from .svg import WIDE, plain_svg
from .wishes import overlays_of
from .words import mermaid, text_of

if TYPE_CHECKING:
    import graphviz

__all__ = ["Drawing", "draw"]

INSTALL = "pip install tinygrad-rnn[draw]"
LARGEST = 10_000  # points; a PNG of more has fewer dots
PIXELS = 4 / 3  # of a page, for each point
FEW = 250  # boxes of a picture that a notebook gets as PNG too
NARROWEST = 40  # characters of a line


class Drawing:
    """A picture of a graph; it shows itself in Jupyter.

    It is made by `draw`, and holds words and places, and nothing of the graph.

    Attributes
    ----------
    note : str
        What was left out and why; it is also in the picture.
    theme : str
        "light", "dark" or "auto".
    timeout : float
        Seconds that a graphviz program may take.
    width : int
        Pixels that an SVG is made to fit, as far as its letters can then be read.
    """

    def __init__(
        self,
        sketch: Sketch,
        layout: Layout,
        *,
        theme: str = "light",
        timeout: float = 20.0,
        width: int = WIDE,
    ) -> None:
        self._sketch, self._layout = sketch, layout
        self._sketch.nodes, self._sketch.of = (), {}  # a picture does not hold on to the graph
        self._made: dict[str, bytes] = {}
        self.note, self.theme, self.timeout, self.width = sketch.note, theme, timeout, width

    @property
    def dot(self) -> str:
        """The picture as DOT source.

        The layout is in it (``layout=nop2``), so every graphviz viewer shows the same picture.
        """
        if "dot" not in self._made:
            try:
                self._made["dot"] = dot_source(self._sketch, self._layout, self.theme).encode(
                    "utf-8", "replace"
                )
            except ImportError as error:
                raise DrawingError(
                    f"DOT, PNG and PDF need graphviz ({error}): {INSTALL}, or save as .svg, which needs nothing"
                ) from error
        return self._made["dot"].decode()

    @property
    def graphviz(self) -> graphviz.Source:
        """The same as an object of the graphviz package.

        Its methods ``render`` and ``pipe`` run the `dot` program.
        """
        source = self.dot  # which says what is missing
        import graphviz

        return graphviz.Source(source)

    def svg(self) -> str:
        """Return the picture as SVG text.

        It is written without any graphviz program, so it is the same everywhere.
        """
        if "svg" not in self._made:
            self._made["svg"] = plain_svg(
                self._sketch, self._layout, self.theme, self.width
            ).encode()
        return self._made["svg"].decode()

    def film(self, path: str | os.PathLike[str], *, seconds: float | None = None) -> None:
        """Write the picture as a film: values are computed in turn, then gradients go back.

        It is an SVG that moves by itself, over and over, in a browser or on a slide. The pointer
        on the bar under it stops it; where the reader asked the system for less motion it stands still.

        Parameters
        ----------
        path : str or path
            The file, with the suffix ``.svg``.
        seconds : float, optional
            Its length; by default 0.7 for each value, there and back, and 40 at most.

        Raises
        ------
        DrawingError
            If the picture is folded or has more than 400 moments, or for another suffix.
        """
        path = Path(path)
        if path.suffix.lower() != ".svg":
            raise DrawingError(
                f"film: the film is an SVG file; expected a name such as walk.svg, found '{path.name}'"
            )
        film = Film(self._sketch, self._layout, seconds)
        text = plain_svg(self._sketch, self._layout, self.theme, self.width, film)
        replace_file(path, text.encode("utf-8", "replace"))

    def html(self) -> str:
        """Return a page of its own with the picture in it.

        It fits the window down to letters of 7 points and scrolls in a narrower one, zooms with the
        browser, and shows what each node is when the pointer rests on it.
        """
        wide = self._layout.width
        title = xml(self._sketch.title or "tinygrad_rnn")
        if self.theme == "auto":
            colour = f"background:{LIGHT.page};color-scheme:light dark"
            dark = f"@media (prefers-color-scheme:dark){{body{{background:{DARK.page}!important}}}}"
        else:
            colour, dark = f"background:{(DARK if self.theme == 'dark' else LIGHT).page}", ""
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><style>body{{margin:0;{colour}}}{dark}'
            f"main{{overflow:auto}}svg{{display:block;margin:auto;height:auto;width:100%;max-width:{wide:.0f}pt;min-width:{SMALLEST * wide:.0f}pt}}"
            f'h1{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}</style></head><body><main tabindex="0">'
            f"<h1>{title}</h1>\n{self.svg()}</main></body></html>\n"
        )

    def text(self, width: int = 80) -> str:
        """Return the picture as text, for a terminal.

        Each box has a line that says what it is made of; values without a name have numbers, and
        the steps of a sequence outlines.

        Parameters
        ----------
        width : int
            Characters of a line.
        """
        if width < NARROWEST:
            raise DrawingError(f"text: width is at least {NARROWEST} characters; found {width}")
        return text_of(self._sketch, self._layout, width)

    def mermaid(self) -> str:
        """Return the picture as a flowchart of Mermaid, which pages such as a README draw.

        Mermaid places the boxes anew; names, shapes, steps and arrows are those of the picture.
        """
        return mermaid(self._sketch, self._layout)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, in the format that its suffix says.

        Parameters
        ----------
        path : str or path
            The file, with the suffix ``.svg``, ``.html``, ``.png``, ``.pdf``, ``.dot``, ``.mmd`` (Mermaid) or
            ``.txt``.

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
            data = self.svg().encode("utf-8", "replace")
        elif form in ("html", "htm"):
            data = self.html().encode("utf-8", "replace")
        elif form in ("mmd", "mermaid"):
            data = self.mermaid().encode("utf-8", "replace")
        elif form == "txt":
            data = f"{self.text()}\n".encode("utf-8", "replace")
        elif form in ("png", "pdf"):
            data = self._rendered(form)
        else:
            raise DrawingError(
                f"save: the suffix of '{path.name}' says no format that can be written; use .svg, .html, .png, .pdf, .dot, .mmd or .txt"
            )
        replace_file(path, data)

    def _rendered(self, form: str) -> bytes:
        """Return the picture as PNG or PDF, made by a graphviz program."""
        if form not in self._made:
            picture, reasons = render(
                self.dot,
                form,
                self.timeout,
                dpi=144 if max(self._layout.width, self._layout.height) < LARGEST else 72,
            )
            if picture is None:
                why = f" ({', '.join(reasons)})" if reasons else ""
                raise DrawingError(
                    f"save: {form.upper()} needs graphviz{why}: {INSTALL}, or save as .svg, which needs nothing"
                )
            self._made[form] = picture
        return self._made[form]

    def _repr_svg_(self) -> str | None:
        try:
            return re.sub(r"^.*?(?=<svg)", "", self.svg(), flags=re.DOTALL)
        except Exception:  # a picture must not break a notebook
            return None

    def _repr_html_(self) -> str | None:
        try:
            width, height = self._layout.width * PIXELS, self._layout.height * PIXELS
            title = self._sketch.title or "Computation graph"
            return frame_of(self.html(), size_of(width, height), title, self._small_png())
        except Exception:
            return None

    def _small_png(self) -> bytes | None:
        """Return the picture as PNG where a program makes it soon; for notebooks."""
        if len(self._sketch.boxes) > FEW:
            return None
        try:
            return self._rendered("png")
        except DrawingError:
            return None

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None, **_: Any
    ) -> dict[str, Any]:
        try:
            made = {"text/html": self._repr_html_(), "image/svg+xml": self._repr_svg_()}
            bundle: dict[str, Any] = {"text/plain": repr(self)}
            bundle.update((k, v) for k, v in made.items() if v is not None)
            return {
                k: v
                for k, v in bundle.items()
                if (include is None or k in include) and (exclude is None or k not in exclude)
            }
        except Exception:
            return {"text/plain": "<Drawing>"}

    def __repr__(self) -> str:
        frames = len(self._layout.frames)
        steps = f", {frames} frame{'s' * (frames > 1)}" if frames else ""
        return f"<Drawing: {len(self._sketch.boxes)} boxes{steps}{'; ' + self.note if self.note else ''}>"


def draw(
    x: Any,
    *inputs: Any,
    title: str | None = None,
    show: Sequence[str] | str | None = None,
    steps: int | None = None,
    fold: bool | None = None,
    backward: bool = False,
    heat: Any = None,
    ledger: bool = False,
    memory: bool = False,
    values: bool | str = False,
    detail: str | None = None,
    width: int = WIDE,
    limit: int = 250,
    direction: str | None = None,
    theme: str = "light",
    legend: bool | None = None,
    timeout: float = 20.0,
) -> Drawing:
    """Draw what a tensor was computed from, or a cell, on a grid of time and depth.

    Time runs to the right; in every step the same operation stands at the same height. Inputs are
    below, outputs and losses above. A weight that many steps read stands once on the left, and a
    port with its name where it enters a step. Boxes have the names of the cell's own variables;
    what a box is, its source line, formula, derivative rules, shape and dtype show when the pointer
    rests on it.

    Parameters
    ----------
    x : Tensor, Tape, Program, Cell, function or Module
        A recorded tensor (also a gradient that was computed with ``create_graph=True``), a traced
        function, or a cell, which is run on a short sequence and drawn folded. A compiled cell
        (`tg.jit`) is opened: the steps are drawn, not the one node that the tape has.
    *inputs
        For a module: what it is called with. For a cell: the sequence, of shape (time, batch, ...),
        and a first state if it has none of its own. By default a cell with an `input_size` gets a
        random sequence.
    title : str, optional
        Stands over the picture.
    show : str or list of str, optional
        The time steps to draw: "all", or slices such as ``["t=0:3", "t=-2:"]``. By default all of
        up to 8, of more the first three and the last two. In place of the others stands a box that
        says how many they are and whether they are identical; its arrows are real.
    steps : int, optional
        Draw at most so many time steps: the first and the last ones.
    fold : bool, optional
        Draw one step for all that are the same node by node, with a delay (z⁻¹) for each state.
        Steps that differ are drawn and listed. By default for cells.
    backward : bool
        Draw backpropagation over the forward, from right to left: ∂L/∂h is the gradient of h, L
        being `x`. Each derivative rule is a box, with the rule in the names of the values, and each
        weight has one sum, to which the steps add their parts. Values that a rule reads are ports.
    heat : "grad", mapping or sequence of numbers, optional
        "grad": the norm of the gradient of `x` with respect to the states of each step, as colour.
        Or a number for each step.
    ledger : bool
        At each shared weight a bar for each step: the norm of what the step adds to the gradient of
        the weight.
    memory : bool
        Bytes that each step keeps for the backward, under the time axis.
    values : bool, "numbers" or "gradient"
        Numbers in place of shapes: of larger arrays mean and standard deviation, with "numbers" all
        of up to six. With "gradient" each box has its value and, beside it, the gradient of `x` by
        it: numbers, or of arrays the norm, and of small ones a map of colours.
    detail : {"cell", "gate", "op"}, optional
        How much of a time step is drawn: each step of each cell and layer as one box, with the
        names of its states; the values that the source names; or every operation. Of a `backward`:
        each step as one box; each derivative rule and each sum of gradients; or every operation. By
        default the finest that fits `width`, with letters of at least 9 pixels, and of long
        sequences fewer steps, where neither `show` nor `steps` asks for them. What is folded, and
        what shows `values`, has every operation by default, and a `backward` every rule.
    width : int
        Pixels. An SVG that is wider is made smaller, down to letters of 9 pixels.
    limit : int
        Draw about so many nodes at most, where `show` and `fold` do not decide. Of more, time steps
        are left out, or, without time steps, what is farthest from `x`; a box stands for them, and
        picture and `Drawing.note` say so.
    direction : {"LR", "TB"}, optional
        Where time runs: to the right (the default) or downwards. Without time steps: where the
        operations lead; by default to the right, or downwards if that fits better.
    theme : {"light", "dark", "auto"}
        Colours; "auto" follows the reader's browser (in SVG and HTML).
    legend : bool, optional
        Whether the picture says what its boxes and lines mean. By default if it has some boxes, and
        the legend is low beside them.
    timeout : float
        Seconds that a graphviz program may take before PNG or PDF is given up.

    Returns
    -------
    Drawing

    Raises
    ------
    GraphError
        If the tensor was not recorded.
    DrawingError
        If `x` is none of these, an argument is not valid, or what is to be measured was released by
        a backward.
    """
    _check(direction, theme, limit, steps, show)
    _check_detail(detail, width)
    found = subject(x, inputs)
    overlays = overlays_of(heat, ledger=ledger, memory=memory, values=values)
    tape = found.what if isinstance(found.what, Tape) else None
    walks = [o.name for o in overlays if o.walks] + ["backward"] * backward
    measured = bool(walks) or any(o.recorded for o in overlays)
    if measured and tape is None:
        raise DrawingError(
            "draw: heat, ledger, values and backward are of a recorded tensor, such as a loss; found a traced function or a cell"
        )
    fold = found.folded if fold is None else fold
    finest = Detail.GATE if backward else Detail.OP
    request = Request(steps, limit, show, fold, finest, weights=ledger)
    with without_collection():
        if tape is not None and walks:
            check_walkable(tape, walks[0])
        what = _in_steps(found.what, measured)
        tape = what if tape is not None else None
        ends = None if backward or show is not None else ends_for(request)
        graph = Graph(Backprop(what) if backward else what, found.given, ends)
        survey = Survey(graph)
        numbers = Measured(survey, tape)
        name = found.name if title is None else title

        def made(way: str, graph: Graph, request: Request) -> Made:
            sketch = sketch_graph(graph, request, name, survey)
            for overlay in overlays:
                overlay.lay(sketch, numbers)
            return sketch, place(sketch, way, legend)

        wanted = Detail(detail) if detail else finest if fold or values else None
        sketch, layout = fitting_either_way(survey, request, wanted, width, direction, made)
        return Drawing(sketch, layout, theme=theme, timeout=timeout, width=width)


def _in_steps(what: Any, measured: bool) -> Any:
    """Return what is drawn, with what ran compiled opened."""
    if isinstance(what, Tape):
        return opened(what, measured=measured)
    return opened_all(what) if isinstance(what, list) else what


def _check_detail(detail: str | None, width: int) -> None:
    """Raise a DrawingError if one of these arguments of `draw` is not valid."""
    if detail is not None and detail not in [*Detail]:
        raise DrawingError(f"draw: detail is 'cell', 'gate' or 'op', not {detail!r}")
    if width < 1:
        raise DrawingError(f"draw: width is a number of pixels, at least 1, not {width}")


def _check(direction: str | None, theme: str, limit: int, steps: int | None, show: Any) -> None:
    """Raise a DrawingError if one of these arguments of `draw` is not valid."""
    if direction not in (None, "LR", "TB"):
        raise DrawingError(f"draw: direction is 'LR' or 'TB', not {direction!r}")
    if theme not in ("light", "dark", "auto"):
        raise DrawingError(f"draw: theme is 'light', 'dark' or 'auto', not {theme!r}")
    if limit < 1 or (steps is not None and steps < 1):
        raise DrawingError(
            f"draw: limit and steps count what is drawn, so they are at least 1 (limit={limit}, steps={steps})"
        )
    if show is not None:
        try:
            shown_steps(show, [0, 1])
        except (ValueError, AttributeError, TypeError):
            raise DrawingError(
                f"draw: show is 'all', or slices of time such as ['t=0:3', 't=-2:']; found {show!r}"
            ) from None
