"""Every value that the source of a network names is called so, wherever it is shown.

That is in the tape, in the picture, in the explorer and in generated code.

What the source names is seen while it runs: a trace function looks at the variables after each line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tape import Node
from tinygrad_rnn.core.tensor import Tensor
from tinygrad_rnn.drawing.contents import Contents
from tinygrad_rnn.drawing.graph import Graph
from tinygrad_rnn.drawing.selection import Request
from tinygrad_rnn.drawing.sketch import sketch_graph
from tinygrad_rnn.ops.source import names_of

HERE = str(Path(__file__))
PACKAGE = str(Path(tg.__file__).parent)
SOURCES = (HERE, f"{PACKAGE}/cells/", f"{PACKAGE}/nn/")


class Observed:
    """The variables of the code of networks while it runs.

    Attributes
    ----------
    names : dict of Node to set of str
        What each value was assigned to.
    replaced : set of (Node, str)
        Where the same variable held another value later in the same call.
    """

    def __init__(self) -> None:
        self.names: dict[Node, set[str]] = {}
        self.replaced: set[tuple[Node, str]] = set()
        self._held: dict[tuple[int, str], tuple[FrameType, Tensor]] = {}

    def call(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Look at the calls of functions in the sources of networks."""
        return self.line if frame.f_code.co_filename.startswith(SOURCES) else None

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Look at all variables, but not at parameters: these are somebody else's values."""
        code = frame.f_code
        given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        for name, value in [*frame.f_locals.items()]:
            if name in given or name[0] in "._" or not isinstance(value, Tensor):
                continue
            before = self._held.get((id(frame), name))
            if before is not None and before[1] is not value and before[1].node is not None:
                self.replaced.add((before[1].node, name))
            self._held[id(frame), name] = (frame, value)
            if value.node is not None:
                self.names.setdefault(value.node, set()).add(name)
        return self.line


def sequence(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def weight(*shape: int) -> tg.Tensor:
    return tg.tensor(sequence(*shape), requires_grad=True)


# --- networks -------------------------------------------------------------------------------------


def perceptron() -> tg.Tensor:
    inputs, W1, b1, W2 = tg.tensor(sequence(4, 3)), weight(3, 5), weight(5), weight(5, 2)
    hidden = tg.relu(inputs @ W1 + b1)
    logits = hidden @ W2
    p = tg.softmax(logits, axis=-1)
    loss = -tg.log(p[:, 0]).mean()
    return loss


def convolution() -> tg.Tensor:
    first, second = tg.nn.Conv2d(1, 2, 3, rng=0), tg.nn.Conv2d(2, 2, 3, rng=1)
    maps = tg.relu(first(sequence(2, 1, 8, 8)))
    pooled = tg.max_pool2d(maps, 2)
    loss = second(pooled).mean()
    return loss


class OwnLSTM(tg.cells.LSTM):
    """With gates that take the names of the parts."""

    def forward(self, x: Any, state: Any) -> Any:
        """One step."""
        h, c = state
        gates = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
        i, f, g, o = tg.split(gates, 4, axis=-1)
        i, f, g, o = tg.sigmoid(i), tg.sigmoid(f), tg.tanh(g), tg.sigmoid(o)
        c_new = f * c + i * g
        h_new = o * tg.tanh(c_new)
        return h_new, (h_new, c_new)


class Helped(tg.Cell):
    """With a function of its own, whose result has a name where it is called."""

    def __init__(self) -> None:
        self.W, self.U = tg.Parameter(sequence(4, 3)), tg.Parameter(sequence(4, 4))
        self.hidden_size = 4

    def drive(self, x: Any, h: Any) -> Any:
        """What goes into the function."""
        return x @ self.W.T + h @ self.U.T

    def pair(self, a: Any) -> Any:
        """Two results."""
        return tg.sigmoid(a), tg.tanh(a)

    def forward(self, x: Any, h: Any) -> Any:
        """One step."""
        drive = self.drive(x, h)
        gate, content = self.pair(drive)
        h = gate * content + (1 - gate) * h
        return h, h


def unrolled(cell: Any) -> Callable[[], tg.Tensor]:
    def run() -> tg.Tensor:
        outputs, _ = tg.unroll(cell, sequence(3, 2, 3))
        loss = (outputs**2).mean()
        return loss

    return run


def stacked() -> tg.Tensor:
    ys, _ = tg.nn.LSTM(3, 4, num_layers=2, rng=0)(sequence(3, 2, 3))
    loss = (ys * ys).sum()
    return loss


def both_ways() -> tg.Tensor:
    ys, _ = tg.nn.GRU(3, 4, bidirectional=True, rng=0)(sequence(3, 2, 3))
    loss = (ys * ys).sum()
    return loss


def padded() -> tg.Tensor:
    outputs, _ = tg.nn.LSTM(3, 4, rng=0)(sequence(4, 2, 3), lengths=[4, 2])
    loss = (outputs * outputs).sum()
    return loss


def windowed() -> tg.Tensor:
    loss = None
    for window in tg.tbptt(tg.cells.GRU(3, 4, rng=0), sequence(6, 2, 3), k1=2, k2=4):
        loss = window.ys.sum()
    assert loss is not None
    return loss


def by_hand() -> tg.Tensor:
    W, U, xs = weight(3, 4), weight(4, 4), sequence(3, 2, 3)
    h, loss = tg.tensor(np.zeros((2, 4), np.float32)), 0.0
    for t in range(3):
        a = xs[t] @ W + h @ U
        h = tg.tanh(a)
        loss = loss + (h * h).mean()
    return loss


def attention() -> tg.Tensor:
    rows, W_q, W_k, W_v = weight(2, 5, 4), weight(4, 4), weight(4, 4), weight(4, 4)
    queries, keys, values = rows @ W_q, rows @ W_k, rows @ W_v
    scores = queries @ keys.swapaxes(-1, -2)
    weights = tg.softmax(scores, axis=-1)
    context = weights @ values
    loss = context.sum()
    return loss


NETWORKS: dict[str, Callable[[], tg.Tensor]] = {
    "perceptron": perceptron,
    "convolution": convolution,
    "Elman": unrolled(tg.cells.Elman(3, 4, rng=0)),
    "LSTM": unrolled(tg.cells.LSTM(3, 4, rng=0)),
    "own LSTM": unrolled(OwnLSTM(3, 4, rng=0)),
    "helped": unrolled(Helped()),
    "GRU": unrolled(tg.cells.GRU(3, 4, rng=0)),
    "layer norm": unrolled(tg.cells.LayerNormLSTM(3, 4, rng=0)),
    "intersection": unrolled(tg.cells.IntersectionRNN(3, 3, rng=0)),
    "matrix": unrolled(tg.cells.MLSTM(3, 4, rng=0)),
    "variants": unrolled(tg.cells.CoupledLSTM(3, 4, rng=0)),
    "stacked": stacked,
    "both ways": both_ways,
    "padded": padded,
    "windowed": windowed,
    "by hand": by_hand,
    "attention": attention,
}


def observed(make: Callable[[], tg.Tensor]) -> tuple[tg.Tensor, dict[Node, set[str]]]:
    """Run a network; return its loss, and what the source names of all that led to it.

    A part of an array whose variable was assigned again leaves its name to what that holds then.
    """
    seen, before = Observed(), sys.gettrace()
    with tg.eager():
        sys.settrace(seen.call)
        try:
            loss = make()
        finally:
            sys.settrace(before)
    assert loss.node is not None
    found = {}
    for n in tg.tape(loss).nodes:
        names = seen.names.get(n, set())
        if n.primitive is not None and "index" in n.params:
            names = {name for name in names if (n, name) not in seen.replaced}
        if names:
            found[n] = names
    return loss, found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_value_that_the_source_names_is_called_so(name: str) -> None:
    loss, expected = observed(NETWORKS[name])
    tape = tg.tape(loss)
    assert len(expected) >= 3
    names = names_of(tape.nodes)
    wrong = {n: (names.get(n), e) for n, e in expected.items() if names.get(n) not in e}
    assert not {n: found for n, found in wrong.items() if n.name is None}
    # the tape
    rows = tape.table(None).splitlines()
    begin, end = rows[0].index("name"), rows[0].index("line")
    for row, n in zip(rows[1:], tape, strict=True):
        assert n not in expected or row[begin:end].strip() == names[n]
    # the picture
    of = sketch_graph(Graph(tape), Request(show="all", limit=10**6)).of
    for n in {n for n in expected if n in of}:
        title = of[n].title.partition(" = ")[0]
        assert title == names[n], title
    # the explorer
    data = Contents(tape, np.ones((), loss.dtype), "", 10**6).data()
    told = {b["tape"]: b["name"] for b in data["boxes"] if "tape" in b}
    assert all(told[k] == names[n] for k, n in enumerate(tape) if n in expected and k in told)


CELLS = {
    "own LSTM": (OwnLSTM(3, 4, rng=0), "gates i f g o c_new h_new"),
    "helped": (Helped(), "gate content"),
    "GRU": (tg.cells.GRU(3, 4, rng=0), "r z n"),
    "Elman": (tg.cells.Elman(3, 4, rng=0), "a"),
    "LiGRU": (tg.cells.LiGRU(3, 4, rng=0), "z n"),
    "MLSTM": (tg.cells.MLSTM(3, 4, rng=0), "i f k m_new"),
}


@pytest.mark.parametrize("name", CELLS)
def test_generated_code_has_the_variables_of_the_cell(name: str) -> None:
    cell, names = CELLS[name]
    text = tg.jit(cell).source(sequence(2, 2, 3))
    for variable in names.split():
        assert re.search(rf"\b{variable}\b", text), variable
    if name == "own LSTM":
        assert not re.search(r"\b[ifgo]_2\b", text)  # the gate has the name, and not its part


# --- what is beyond doubt, and what is not --------------------------------------------------------


def test_a_part_leaves_its_name_to_the_gate() -> None:
    loss, _ = observed(NETWORKS["own LSTM"])
    found = names_of(tg.tape(loss).nodes)
    assert {n.op for n, name in found.items() if name in ("i", "f", "o")} == {"sigmoid"}
    assert {n.op for n, name in found.items() if name == "g"} == {"tanh"}


def test_the_operands_of_an_einsum_are_told_apart() -> None:
    W, m = weight(3, 4), tg.tensor(sequence(2, 4))
    y = tg.einsum("ij,bj->bi", W, m)
    leaves = {n.shape: name for n, name in names_of(tg.tape(y).nodes).items() if not n.primitive}
    assert leaves == {(3, 4): "W", (2, 4): "m"}


def test_what_takes_the_rest_leaves_the_names_of_the_others() -> None:
    z = weight(2, 8)
    *rest, last = tg.split(z, 4, axis=-1)
    first, *_ = tg.split(z, 4, axis=-1)
    y = last * first + rest[0] * rest[1]
    found = names_of(tg.tape(y).nodes)
    assert sorted(name for n, name in found.items() if n.op == "getitem") == ["first", "last"]
    assert found[last.node] == "last" and found[first.node] == "first"


def test_parts_have_their_names_though_others_lead_nowhere() -> None:
    z = weight(2, 8)
    a, b, c, d = tg.split(z, 4, axis=-1)
    found = names_of(tg.tape(c * b).nodes)
    assert found[b.node] == "b" and found[c.node] == "c"
    assert a is not d


def twice(v: tg.Tensor) -> tg.Tensor:
    return v * 2.0


def once(v: tg.Tensor) -> tg.Tensor:
    return v * 3.0


def test_a_result_that_is_called_two_things_has_no_name() -> None:
    x = weight(2)
    left = twice(x)
    right = twice(left)
    only = once(right)
    found = names_of(tg.tape(only).nodes)
    assert left.node not in found and right.node not in found
    assert found[only.node] == "only"


class Doubling:
    def part(self, v: tg.Tensor) -> tg.Tensor:
        return v * 2.0


class Halving:
    def part(self, v: tg.Tensor) -> tg.Tensor:
        return v * 0.5


def halved(v: tg.Tensor) -> tg.Tensor:
    y = Halving().part(v)
    return y


def test_which_of_two_methods_of_one_name_was_called_is_not_guessed() -> None:
    y = Doubling().part(weight(2))
    found = names_of(tg.tape(halved(y)).nodes)
    assert [n.op for n in found if n.primitive] == []


def test_a_constant_image_has_a_name_in_the_picture() -> None:
    net = tg.nn.Conv2d(1, 2, 3, rng=0)
    image = tg.tensor(sequence(2, 1, 8, 8), name="image")
    for x, name in ((image, "patches of image"), (sequence(2, 1, 8, 8), "patches of x")):
        titles = [b.title for b in tg.draw(net(x).mean())._sketch.boxes]
        assert name in titles and "constant" not in titles


def test_masks_have_names_where_the_layer_ran_compiled() -> None:
    ys, _ = tg.nn.LSTM(3, 4, rng=0)(sequence(4, 2, 3), lengths=[4, 2])
    titles = [b.title for b in tg.draw(ys.sum(), detail="op", show="all")._sketch.boxes]
    assert "constant" not in titles and "valid" in titles
