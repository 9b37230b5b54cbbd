"""Make the pictures of docs/gallery.md, and the page itself: ``python docs/gallery/make.py [NAME ...]``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg

HERE = Path(__file__).resolve().parent
Picture = Callable[[], Any]


def sequence(steps: int, features: int = 3, seed: int = 0) -> np.ndarray:
    """Random numbers of shape (steps, 2, features)."""
    return np.random.default_rng(seed).standard_normal((steps, 2, features)).astype(np.float32)


def last(cell: Any, steps: int) -> tg.Tensor:
    """A loss of the last output: what gradients have to carry back through all steps."""
    ys, _ = tg.unroll(cell, sequence(steps))
    return (ys[-1] ** 2).mean()


def mean(cell: Any, steps: int) -> tg.Tensor:
    """A loss of all outputs."""
    ys, _ = tg.unroll(cell, sequence(steps))
    return (ys**2).mean()


class AttendingDecoder(tg.Cell):
    """A GRU that looks at all outputs of an encoder before each step."""

    def __init__(self, memory: Any, input_size: int, hidden_size: int) -> None:
        self.memory, self.hidden_size = memory, hidden_size
        self.gru = tg.cells.GRU(input_size + hidden_size, hidden_size, rng=1)
        self.W = tg.Parameter(tg.init.orthogonal((hidden_size, hidden_size), rng=2))

    def forward(self, x: Any, h: Any) -> Any:
        """One step."""
        score = ((h @ self.W) * self.memory).sum(axis=-1)
        weight = tg.softmax(score, axis=0)
        context = (tg.expand_dims(weight, -1) * self.memory).sum(axis=0)
        return self.gru(tg.concatenate([x, context], axis=-1), h)


def encoder_decoder() -> tg.Tensor:
    """Three steps read, two written."""
    memory, h = tg.unroll(tg.cells.GRU(3, 4, rng=0), sequence(3))
    ys, _ = tg.unroll(AttendingDecoder(memory, 3, 4), sequence(2, seed=1), h)
    return (ys**2).mean()


def bidirectional() -> tg.Tensor:
    """Two cells over one sequence, in both directions."""
    ys, _ = tg.nn.LSTM(3, 4, bidirectional=True, rng=0)(sequence(3))
    return (ys**2).mean()


def truncated() -> tg.Tensor:
    """The loss of the second window of truncated backpropagation."""
    window = list(tg.tbptt(tg.cells.Elman(3, 4, rng=0), sequence(8), k1=4, k2=4))[1]
    return (window.ys**2).mean()


def detached() -> tg.Tensor:
    """A state that is cut from the tape before t = 2."""
    cell, xs, ys = tg.cells.Elman(3, 4, rng=0), sequence(5), []
    h = cell.initial_state(2)
    for t in range(5):
        h = tg.detach(h) if t == 2 else h
        with tg.at_step(t, cell="Elman"):
            y, h = cell(tg.tensor(xs[t], name=f"x[{t}]"), h)
        ys.append(y)
    return (tg.stack(ys) ** 2).mean()


def neuron() -> tg.Tensor:
    """A neuron of numbers."""
    x1, x2 = tg.tensor(2.0, requires_grad=True), tg.tensor(0.0, requires_grad=True)
    w1, w2 = tg.tensor(-3.0, requires_grad=True), tg.tensor(1.0, requires_grad=True)
    b = tg.tensor(6.88, requires_grad=True)
    n = x1 * w1 + x2 * w2 + b
    o = tg.tanh(n)
    return o


LSTM = "tg.cells.LSTM(3, 4, rng=0)"
PICTURES: dict[str, tuple[str, str, Picture]] = {  # file -> heading, what was called, the call
    "folded": ("A cell, folded", f"tg.draw({LSTM})", lambda: tg.draw(tg.cells.LSTM(3, 4, rng=0))),
    "unrolled": (
        "Six steps, at the level of detail that fits 850 pixels: one box for each step",
        "tg.draw(loss)",
        lambda: tg.draw(mean(tg.cells.LSTM(3, 4, rng=0), 6)),
    ),
    "gates": (
        "Two steps, with what the source names: gates and states",
        'tg.draw(loss, detail="gate")',
        lambda: tg.draw(mean(tg.cells.LSTM(3, 4, rng=0), 2), detail="gate"),
    ),
    "operations": (
        "Two steps, with every operation",
        'tg.draw(loss, detail="op")',
        lambda: tg.draw(mean(tg.cells.LSTM(3, 4, rng=0), 2), detail="op"),
    ),
    "thousand": (
        "A thousand steps: the curve is the gradient that reaches each of them",
        'tg.draw(loss, heat="grad")',
        lambda: tg.draw(last(tg.cells.LSTM(3, 4, rng=0), 1000), heat="grad", theme="auto"),
    ),
    "heat": (
        "A hundred steps, with the gradient that reaches each state, the ledger of each weight, and memory",
        'tg.draw(loss, heat="grad", ledger=True, memory=True)',
        lambda: tg.draw(
            last(tg.cells.LSTM(3, 4, rng=0), 100),
            heat="grad",
            ledger=True,
            memory=True,
            theme="auto",
        ),
    ),
    "vanishing": (
        "A gradient that vanishes: Elman, 40 steps",
        'tg.draw(loss, heat="grad")',
        lambda: tg.draw(last(tg.cells.Elman(3, 4, rng=0), 40), heat="grad", theme="auto"),
    ),
    "gated": (
        "A gated cell on the same sequence: LSTM with a forget gate that starts open",
        'tg.draw(loss, heat="grad")',
        lambda: tg.draw(last(tg.cells.LSTM(3, 4, rng=0), 40), heat="grad", theme="auto"),
    ),
    "bidirectional": ("Both directions", "tg.draw(loss)", lambda: tg.draw(bidirectional())),
    "attention": (
        "Encoder and decoder with attention",
        "tg.draw(loss)",
        lambda: tg.draw(encoder_decoder()),
    ),
    "stacked": (
        "Two layers",
        "tg.draw(loss)",
        lambda: tg.draw((tg.nn.LSTM(3, 4, num_layers=2, rng=0)(sequence(3))[0] ** 2).mean()),
    ),
    "backward": (
        "Backpropagation through time, over the forward and from right to left",
        "tg.draw(loss, backward=True)",
        lambda: tg.draw(last(tg.cells.LSTM(3, 4, rng=0), 6), backward=True),
    ),
    "rules": (
        "The same for an Elman cell, with a box for each derivative rule and each sum of gradients",
        'tg.draw(loss, backward=True, detail="gate")',
        lambda: tg.draw(
            last(tg.cells.Elman(3, 4, bias=False, rng=0), 2), backward=True, detail="gate"
        ),
    ),
    "truncated": (
        "A window of truncated backpropagation",
        "tg.draw((window.ys**2).mean())",
        lambda: tg.draw(truncated()),
    ),
    "detached": (
        "A state that was detached, found by folding",
        "tg.draw(loss, fold=True)",
        lambda: tg.draw(detached(), fold=True),
    ),
    "neuron": (
        "A neuron: in each box its value and the gradient",
        'tg.draw(o, values="gradient")',
        lambda: tg.draw(neuron(), values="gradient"),
    ),
    "gradients": (
        "Arrays: norms, and maps of colours, blue above zero and brown below it",
        'tg.draw(loss, values="gradient")',
        lambda: tg.draw(last(tg.cells.Elman(3, 4, rng=0), 2), values="gradient"),
    ),
    "values": (
        "Numbers in place of shapes, time downwards",
        'tg.draw(loss, values=True, direction="TB")',
        lambda: tg.draw(last(tg.cells.Elman(3, 4, rng=0), 2), values=True, direction="TB"),
    ),
}


def zoo() -> dict[str, Picture]:
    """A folded picture of every cell."""
    found: dict[str, Picture] = {}
    for name in sorted(tg.cells.__all__):
        kind = getattr(tg.cells, name)
        if (
            not (inspect.isclass(kind) and issubclass(kind, tg.Cell))
            or kind.forward is tg.Module.forward
        ):
            continue
        found[name] = lambda kind=kind: tg.draw(*example(kind))  # type: ignore[misc]
    return found


def example(kind: Any) -> tuple[Any, ...]:
    """A cell of this kind, and the sequence that it needs where that is not one of vectors."""
    if kind is tg.cells.LSTMP:
        return (kind(3, 4, 2, rng=0),)
    if kind is tg.cells.ConvLSTM:
        return kind(3, 4, rng=0), np.random.default_rng(0).standard_normal((4, 2, 3, 8, 8)).astype(
            np.float32
        )
    if kind is tg.cells.PhasedLSTM:
        times = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 2, 1), np.float32)
        return kind(3, 4, rng=0), (sequence(4), times)
    return (kind(3, 4, rng=0),)


def walk() -> tg.Tensor:
    """The loss of the page in which one steps through a graph."""
    ys, _ = tg.nn.LSTM(3, 4, rng=0)(sequence(3))
    return (ys**2).mean()


def page() -> str:
    """The text of gallery.md."""
    parts = [
        "# Gallery\n",
        "Pictures that `tg.draw` makes; `python docs/gallery/make.py` made these. Time runs to the right, and in every step the same operation",
        "stands at the same height: inputs below, outputs and losses above. A weight stands once on the left; the gold ports are where a step",
        "reads it. Blue lines are states, purple ones gradients. The colours of heat are logarithmic, and read alike with all kinds of colour vision.",
        'How much of a step is drawn, `detail="cell"`, `"gate"` or `"op"`, is by default what fits 850 pixels with letters of at least 9.\n',
        "[gallery/walk.html](gallery/walk.html) is a page that `tg.explore` makes, to be opened in a browser: three steps of an LSTM, forward and",
        "back, with the numbers and the rule of every operation.\n",
    ]
    for name, (heading, call, _) in PICTURES.items():
        parts += [f"## {heading}\n", f"`{call}`\n", f"![{heading}](gallery/{name}.svg)\n"]
    parts += [
        "## The cells\n",
        "Each is `tg.draw(cell)`: run on four steps, of which the picture proves that they are the same node by node, and drawn once; z⁻¹ is the",
        "delay from one step to the next.\n",
    ]
    for name in zoo():
        parts.append(f"### {name}\n\n![{name}](gallery/cells/{name}.svg)\n")
    return "\n".join(parts)


def main(names: list[str]) -> None:
    """Make all pictures, or those that are named."""
    for name, (_, _, make) in PICTURES.items():
        if not names or name in names:
            drawing = make()
            drawing.theme = "auto"
            drawing.save(HERE / f"{name}.svg")
    (HERE / "cells").mkdir(exist_ok=True)
    for name, make in zoo().items():
        if not names or name in names:
            drawing = make()
            drawing.theme = "auto"
            drawing.save(HERE / "cells" / f"{name}.svg")
    if not names or "walk" in names:
        tg.explore(walk(), HERE / "walk.html", title="LSTM, three steps")
    if not names:
        (HERE.parent / "gallery.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
