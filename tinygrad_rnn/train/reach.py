"""How far back in a text the gradient of a trained model reaches, in words and as a chart."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.tape import eager
from ..diagnosis.flow import GradientFlow, gradient_flow
from .characters import CharacterLSTM, evaluating
from .chart import WIDTHS, Series, line_chart

MOST = 200  # characters
FEWEST = 20  # of them in the chart


class Reach(NamedTuple):
    """What was found.

    Attributes
    ----------
    words : str
    charts : list of str
        The same chart for wide and for narrow pages, as SVG.
    """

    words: str
    charts: list[str]


def reach_of(model: CharacterLSTM, ids: npt.NDArray[Any]) -> Reach | None:
    """Carry the gradient of the last prediction back through some characters.

    Parameters
    ----------
    model : CharacterLSTM
    ids : array of int, shape (n,)
        A text as numbers of symbols; the first of them are read.

    Returns
    -------
    Reach or None
        None where no gradient comes back: of a text of one step, or one that is not finite.
    """
    part = ids[: MOST + 1, None].astype(np.int64)
    with eager(), evaluating(model):  # of single steps
        loss, _ = model.loss(part[:-1], part[1:])
    flow = gradient_flow(loss, model)
    norms = np.array([*flow.decay.values()][::-1])
    if len(norms) < 2 or not np.isfinite(norms).all() or not norms.max() > 0:
        return None
    share = 100 * norms / norms.max()
    share = share[: max(2 * flow.memory[0], FEWEST)]  # beyond that the line lies on the axis
    charts = [
        line_chart(
            [Series("left", np.arange(len(share)), share)],
            x_label="characters back",
            y_label="per cent of the gradient",
            title="",
            width=width,
        )
        for width in WIDTHS
    ]
    return Reach(_words(flow, len(part) - 1), charts)


def _words(flow: GradientFlow, count: int) -> str:
    """Say how far the gradient reaches, and how fast it changes."""
    steps, gone = flow.memory
    left = f"after {steps} of them less" if gone else f"after all {steps} more"
    words = f"The gradient of the last of {count} predictions goes back through the characters before it: {left} than 1 % of its largest norm is left."
    if flow.rate is not None:
        words += f" In the older half each step back changes it by a factor of {flow.rate:.2g}."
    return words
