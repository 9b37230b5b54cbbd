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


def expression() -> tg.Tensor:
    """Four operations on three numbers."""
    a, b, c = (
        tg.tensor(v, requires_grad=True, name=n) for n, v in (("a", 2.0), ("b", -3.0), ("c", 10.0))
    )
    d = a * b + c
    L = tg.tanh(d) * a
    return L


class Perceptron(tg.nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        self.hidden, self.out = tg.nn.Linear(4, 16, rng=0), tg.nn.Linear(16, 3, rng=1)

    def forward(self, x: Any) -> Any:
        """Scores of three classes."""
        h = tg.relu(self.hidden(x))
        return self.out(h)


def perceptron() -> tg.Tensor:
    """Two layers on a batch of eight, and the cross-entropy."""
    rng = np.random.default_rng(0)
    x = tg.tensor(rng.standard_normal((8, 4)).astype(np.float32), name="x")
    logits = Perceptron()(x)
    loss = tg.nn.cross_entropy(logits, rng.integers(0, 3, 8))
    return loss


class Convolutional(tg.nn.Module):
    """A convolution with pooling, and a layer that reads it out."""

    def __init__(self) -> None:
        self.filters, self.out = tg.nn.Conv2d(1, 4, 3, rng=0), tg.nn.Linear(4 * 13 * 13, 10, rng=2)

    def forward(self, image: Any) -> Any:
        """Scores of ten classes."""
        features = tg.relu(self.filters(image))
        pooled = tg.max_pool2d(features, 2)
        return self.out(pooled.reshape(len(image), -1))


def convolutional() -> tg.Tensor:
    """The loss of two images."""
    rng = np.random.default_rng(0)
    image = tg.tensor(rng.standard_normal((2, 1, 28, 28)).astype(np.float32), name="image")
    logits = Convolutional()(image)
    loss = tg.nn.cross_entropy(logits, np.array([3, 7]))
    return loss


def second_order() -> tg.Tensor:
    """The squared norm of a gradient."""
    x = tg.tensor([0.5, -1.0], requires_grad=True, name="x")
    y = tg.tanh(x * x).sum()
    y.backward(create_graph=True)
    return (x.grad**2).sum()


def by_hand() -> tg.Tensor:
    """A loop over time that nobody marked."""
    rng = np.random.default_rng(0)
    W = tg.Parameter(rng.standard_normal((3, 4)).astype(np.float32), name="W")
    U = tg.Parameter(0.5 * rng.standard_normal((4, 4)).astype(np.float32), name="U")
    h = tg.tensor(np.zeros((2, 4), np.float32), name="h")
    for x in sequence(4):
        h = tg.tanh(x @ W + h @ U)
    return (h**2).mean()


def compiled() -> tg.Tensor:
    """A compiled cell: one node on the tape, and its steps in the picture."""
    ys, _ = tg.unroll(tg.jit(tg.cells.GRU(3, 4, rng=0)), sequence(5))
    return (ys**2).mean()


def padded() -> tg.Tensor:
    """Two sequences of different lengths in one batch."""
    _, state = tg.unroll(tg.cells.Elman(3, 4, rng=0), sequence(3), lengths=[3, 2])
    return (state**2).mean()


def checkpointed() -> tg.Tensor:
    """Eight steps of which two segments are run again in the backward."""
    ys, _ = tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(8), checkpoint=4)
    return (ys**2).mean()


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
    "expression": (
        "An expression, with its numbers",
        'tg.draw(L, values="numbers")',
        lambda: tg.draw(expression(), values="numbers"),
    ),
    "perceptron": ("Two layers and a loss", "tg.draw(loss)", lambda: tg.draw(perceptron())),
    "convolutional": ("A convolutional net", "tg.draw(loss)", lambda: tg.draw(convolutional())),
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
    "long": (
        "A hundred thousand steps of a cell whose gradient explodes: in the red part it is no number",
        'tg.draw(loss, heat="grad")',
        lambda: tg.draw(
            last(tg.cells.AntisymmetricRNN(3, 4, rng=0), 100_000), heat="grad", theme="auto"
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
    "checkpoint": (
        "Segments that are not kept and run again",
        "tg.draw(loss)",
        lambda: tg.draw(checkpointed()),
    ),
    "lengths": (
        "Sequences of different lengths in one batch",
        "tg.draw(loss)",
        lambda: tg.draw(padded()),
    ),
    "jitted": ("A compiled cell, opened", "tg.draw(loss)", lambda: tg.draw(compiled())),
    "handwritten": ("A loop written by hand", "tg.draw(loss)", lambda: tg.draw(by_hand())),
    "second": (
        "The gradient of a gradient",
        "tg.draw((x.grad**2).sum())",
        lambda: tg.draw(second_order()),
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
        "stands at the same height: inputs below, outputs and losses above. A weight stands once on the left, with a small box where a step reads",
        "it. What colours, shapes and lines mean stands under each picture that is not small.",
        "The colours of heat are logarithmic, and read alike with all kinds of colour vision.",
        'How much of a step is drawn, `detail="cell"`, `"gate"` or `"op"`, is by default what fits 850 pixels with letters of at least 9.\n',
        "[gallery/walk.html](gallery/walk.html) is a page that `tg.explore` makes, to be opened in a browser: three steps of an LSTM, forward and",
        "back, with the numbers and the rule of every operation. Its address is a link to a step: `walk.html#t=1,node=40`.\n",
        "## A film\n",
        '`tg.draw(loss).film("film.svg")`: values are computed in turn, then gradients go back.\n',
        "![A film](gallery/film.svg)\n",
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
    if not names or "film" in names:
        tg.draw(mean(tg.cells.LSTM(3, 4, rng=0), 6), theme="auto").film(HERE / "film.svg")
    if not names or "walk" in names:
        tg.explore(walk(), HERE / "walk.html", title="LSTM, three steps")
    if not names:
        (HERE.parent / "gallery.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
