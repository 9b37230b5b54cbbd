"""Runs with a planted fault, and healthy ones, on which `diagnose` is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg

T, BATCH, INPUT, HIDDEN = 40, 6, 3, 8


def inputs(steps: int = T, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((steps, BATCH, INPUT)).astype(np.float32)


def last(ys: tg.Tensor) -> tg.Tensor:
    return (ys[-1] ** 2).sum()


def every(ys: tg.Tensor) -> tg.Tensor:
    return (ys**2).mean()


class Plain(tg.Cell):
    """An Elman cell with faults to be switched on."""

    def __init__(self, fault: str = "", scale: float = 0.95) -> None:
        rng = np.random.default_rng(1)
        self.input_size, self.hidden_size, self.fault = INPUT, HIDDEN, fault
        self.w_in = tg.Parameter(0.4 * rng.standard_normal((INPUT, HIDDEN)).astype(np.float32))
        matrix = np.linalg.qr(rng.standard_normal((HIDDEN, HIDDEN)))[0]
        self.w = tg.Parameter((scale * matrix).astype(np.float32))
        self.bias = tg.Parameter(np.zeros(HIDDEN, np.float32))
        self.spare = tg.Parameter(np.ones(HIDDEN, np.float32)) if fault == "unused" else None

    def forward(self, x: tg.Tensor, h: tg.Tensor) -> Any:
        if self.fault == "cut":
            h = h.detach()
        z = h @ self.w + self.bias  # the state
        if self.fault != "ignored":
            z = z + x @ self.w_in  # the input
        if self.fault == "dead":
            h = tg.relu(z - 50.0)
        elif self.fault == "linear":
            h = z * 1.0  # linear
        else:
            h = tg.tanh(0.5 * z if self.fault == "shrink" else z)
        return h, h


class Gated(tg.Cell):
    """A cell with one gate, which may be saturated."""

    def __init__(self, shift: float) -> None:
        rng = np.random.default_rng(2)
        self.input_size, self.hidden_size, self.shift = INPUT, HIDDEN, shift
        self.w_in = tg.Parameter(0.4 * rng.standard_normal((INPUT, HIDDEN)).astype(np.float32))
        self.w = tg.Parameter(0.3 * rng.standard_normal((HIDDEN, HIDDEN)).astype(np.float32))

    def forward(self, x: tg.Tensor, h: tg.Tensor) -> Any:
        z = x @ self.w_in + h @ self.w
        gate = tg.sigmoid(z + self.shift)  # the gate
        h = gate * h + (1 - gate) * tg.tanh(z)
        return h, h


class Fault(NamedTuple):
    """A run, and what has to be said of it: kind, operation, a word of the line, and the step."""

    make: Callable[[], Any]
    kind: str
    operation: str = ""
    line: str = ""
    step: Callable[[int], bool] = lambda t: True
    xs: Callable[[], Any] = inputs
    loss: Callable[[tg.Tensor], tg.Tensor] = last
    options: dict[str, Any] = {}  # noqa: RUF012


FAULTS = {
    "vanishing": Fault(lambda: Plain("shrink"), "vanishing", "tanh", "0.5 * z", lambda t: 10 < t < 30),
    "vanishing layer": Fault(
        lambda: tg.nn.RNN(INPUT, HIDDEN, rng=0), "vanishing", "tanh", "", lambda t: 0 < t < 39, lambda: inputs(60)
    ),
    "exploding": Fault(lambda: Plain("linear", 1.4), "exploding", "multiply", "# linear", lambda t: 10 < t < 30),
    "exploding, loss everywhere": Fault(
        lambda: Plain("linear", 1.5), "exploding", "multiply", "# linear", lambda t: 0 < t < 35, loss=every
    ),
    "saturated high": Fault(lambda: Gated(12.0), "saturated", "sigmoid", "# the gate"),
    "saturated low": Fault(lambda: Gated(-14.0), "saturated", "sigmoid", "# the gate"),
    "dead": Fault(lambda: Plain("dead"), "dead", "relu", "50.0", loss=every),
    "cut": Fault(lambda: Plain("cut"), "cut", "matmul", "# the state", lambda t: t == 1),
    "cut, loss everywhere": Fault(
        lambda: Plain("cut"), "cut", "matmul", "# the state", lambda t: t == 1, loss=every
    ),
    "unused": Fault(lambda: Plain("unused"), "unused"),
    "unused in a layer": Fault(lambda: WithHead(), "unused"),
    "ignored input": Fault(lambda: Plain("ignored"), "ignored input"),
    "input by zeros": Fault(lambda: zero_input(), "ignored input", "matmul", "# the input"),
    "constant input": Fault(
        lambda: Plain(), "constant input", "matmul", "# the input", lambda t: t == 0,
        lambda: np.full((T, BATCH, INPUT), 0.3, np.float32),
    ),
    "learning rate": Fault(lambda: Plain(), "learning rate", loss=every, options={"lr": 1e4}),
}  # fmt: skip


class WithHead(tg.Module):
    """A layer, and a second one that nothing reads."""

    def __init__(self) -> None:
        self.layer = tg.nn.GRU(INPUT, HIDDEN, rng=0)
        self.head = tg.nn.Linear(HIDDEN, 2, rng=1)

    def forward(self, xs: Any) -> Any:
        return self.layer(xs)


def zero_input() -> Plain:
    cell = Plain()
    cell.w_in.data = np.zeros((INPUT, HIDDEN), np.float32)
    return cell


class Healthy(NamedTuple):
    """A run of which nothing is to be said."""

    make: Callable[[], Any]
    loss: Callable[[tg.Tensor], tg.Tensor] = every
    xs: Callable[[], Any] = inputs
    options: dict[str, Any] = {}  # noqa: RUF012


HEALTHY = {
    "orthogonal": Healthy(lambda: Plain(), last),
    "orthogonal, loss everywhere": Healthy(lambda: Plain()),
    "gated": Healthy(lambda: Gated(1.0), last),
    "lstm cell": Healthy(lambda: tg.cells.LSTM(INPUT, HIDDEN, rng=0)),
    "lstm, last": Healthy(lambda: tg.cells.LSTM(INPUT, HIDDEN, rng=0), last),
    "gru cell": Healthy(lambda: tg.cells.GRU(INPUT, HIDDEN, rng=0)),
    "gru, last": Healthy(lambda: tg.cells.GRU(INPUT, HIDDEN, rng=0), last),
    "elman, short": Healthy(lambda: tg.cells.Elman(INPUT, HIDDEN, rng=0), last, lambda: inputs(10)),
    "elman, loss everywhere": Healthy(lambda: tg.cells.Elman(INPUT, HIDDEN, rng=0)),
    "indrnn": Healthy(lambda: tg.cells.IndRNN(INPUT, HIDDEN, rng=0)),
    "layer": Healthy(lambda: tg.nn.LSTM(INPUT, HIDDEN, rng=0)),
    "two levels": Healthy(lambda: tg.nn.GRU(INPUT, HIDDEN, num_layers=2, rng=0)),
    "both directions": Healthy(lambda: tg.nn.LSTM(INPUT, HIDDEN, bidirectional=True, rng=0)),
    "dropout": Healthy(lambda: tg.nn.LSTM(INPUT, HIDDEN, num_layers=2, dropout=0.3, rng=0)),
    "long": Healthy(lambda: tg.cells.LSTM(INPUT, HIDDEN, rng=0), every, lambda: inputs(300)),
}


def run(made: Any, xs: Any) -> Any:
    """The outputs of a cell or a module over a sequence."""
    if isinstance(made, tg.Cell):
        return tg.unroll(made, xs)[0]
    return made(xs)[0]
