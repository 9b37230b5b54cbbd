"""`explore`: one page in which a learner steps through a recorded graph, forward and backward.

The page holds all it shows (`contents`): places of the boxes (from `layout`), the numbers (from
`ledger`), the rules in words (from `rules`) and the user's source lines (from `source`). What it
does with them is in ``page/``: ``state.js`` has the steps of the two walks, ``scene.js`` the graph,
``panel.js`` the numbers of the node in hand, ``link.js`` the address, ``app.js`` keys and controls. Nothing is loaded from
anywhere.
"""

from __future__ import annotations

import json
import os
import re
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import GraphError
from ..core.tensor import Tensor
from ..core.trace import Program
from ..core.walks import like
from ..files import replace_file
from ..ops.table import Tape
from ..palette import DARK, LIGHT
from ..recurrent.ledger import check_walkable
from ..recurrent.opened import opened
from .contents import Contents
from .errors import DrawingError
from .notebook import frame_of
from .style import BACK, PLAIN, STATE, WEIGHT

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("state.js", "scene.js", "panel.js", "link.js", "app.js")
COLOURS = {  # what the page calls a colour, and what the palette does
    **{name: name for name in ("page", "raised", "soft", "rule", "text", "faint", "mark")},
    **{name: name for name in ("frame", "frame-edge", "negative", "middle", "positive")},
    **{name: name for name in ("on-light", "on-dark")},
    **{"line": PLAIN, "state": STATE, "weight": WEIGHT, "backward": BACK},
    **{"stage": "page", "focus": "text", "forward": "series-0", "found": "series-2"},
    **{name: name for family in LIGHT.fills for name in (family, f"{family}-edge")},
}


class Page(type(Path())):  # type: ignore[misc]
    """The path of a page that was written; a notebook shows the page itself."""

    def _repr_html_(self) -> str | None:
        try:
            page = self.read_text(encoding="utf-8")
        except OSError:
            return None
        return frame_of(page, "width:100%;height:800px", "Explore a graph")


def explore(
    x: Any,
    path: str | os.PathLike[str],
    *,
    gradient: Any = None,
    title: str | None = None,
    limit: int | None = None,
) -> Path:
    """Write a page in which one can step through the computation of a tensor, and back.

    Back is through its reverse-mode differentiation. The page is one file that needs no network and no server: graph, values, gradients, derivative
    rules with numbers, source lines. Its address says where one stands, so it is a link to a step:
    ``explore.html#t=3,node=12``, with ``,back`` on the way back. The gradients are computed for it: `.grad`, hooks and the
    graph itself are left alone, so `backward` can follow. A gradient hook that changes gradients is
    not applied; the page marks its node. What ran compiled is run again for it, step by step.

    Parameters
    ----------
    x : Tensor or Tape
        A recorded result, usually a loss.
    path : str or path
        The file to write, such as ``explore.html``.
    gradient : array or Tensor, optional
        The gradient that arrives at `x`, as for `backward`; needed if `x` is not one number.
    title : str, optional
        Stands over the page.
    limit : int, optional
        Show about so many nodes at most (default: 3000, and 500 of a graph without time steps,
        which cannot be folded). Of more, the time steps in the middle, or what is farthest from
        `x`, are one box, and the page says so. The numbers take all of them into account.

    Returns
    -------
    Path
        The file; as the result of a notebook's cell it shows the page.

    Raises
    ------
    GraphError
        If the tensor was not recorded, or a backward has released what its graph saved.
    DrawingError
        If `x` is neither, or is traced and so has no numbers.
    """
    if isinstance(x, Program):
        raise DrawingError(
            "explore: a traced Program has shapes and no numbers; run the function on tensors and explore its result"
        )
    if limit is not None and limit < 1:
        raise DrawingError(
            f"explore: limit counts the nodes that are shown, so it is at least 1 (limit={limit})"
        )
    if isinstance(x, Tape):
        root = x.root
        # backward asks for no more than shape and dtype
        x = Tensor(np.zeros(root.shape, root.dtype), root)
    if not isinstance(x, Tensor):
        raise DrawingError(
            f"explore: expected a Tensor or a Tape; found a {type(x).__name__}. What is explored is how a result was computed: run the "
            "cell, ys, state = tg.unroll(cell, xs), make one number of it, and explore that: tg.explore((ys * ys).mean(), 'explore.html')"
        )
    if x.node is None or not x.node.requires_grad:
        raise GraphError(
            "explore: this tensor was not recorded: nothing it was made from requires gradients. Set requires_grad=True on an input, or "
            "use a module's parameters, outside of tg.no_grad()."
        )
    if gradient is None and x.size != 1:
        raise GraphError(
            f"explore: a tensor of shape {x.shape} is not one number; sum it, or pass gradient= of that shape."
        )
    seed = like(
        x, np.ones(x.shape) if gradient is None else gradient, "explore: the gradient"
    ).array
    tape = Tape(x.node)
    check_walkable(tape, "explore")
    tape = opened(tape, measured=True)
    path = Page(path)
    replace_file(
        path, _html(Contents(tape, seed, title or "", limit).data(), title or "Explore a graph")
    )
    return path


def _html(data: dict[str, Any], title: str) -> str:
    """Return the page: the files of ``page/`` in one, with the data."""

    def read(name: str) -> str:
        return (PAGE / name).read_text(encoding="utf-8")

    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    parts = {
        "TITLE": escape(title),
        "STYLE": f":root {{ {LIGHT.variables(COLOURS)} }}\n:root[data-theme=dark] {{ {DARK.variables(COLOURS)} }}\n{read('style.css')}",
        "SCRIPT": "\n".join(map(read, SCRIPTS)),
        "DATA": text.replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029"),
    }
    return re.sub(r"@(TITLE|STYLE|SCRIPT|DATA)@", lambda found: parts[found[1]], read("page.html"))
