"""The flow of gradients through time: its figures, and what is said of faults and of healthy runs."""

from __future__ import annotations

import contextlib
import linecache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from .cell_checks import GROUPS
from .flow_runs import FAULTS, HEALTHY, HIDDEN, INPUT, Plain, every, inputs, last, run

WAYS = ["eager", "compiled"]


def ran(made: Any, xs: Any, way: str) -> tg.Tensor:
    """The outputs, step by step or compiled."""
    if way == "eager":
        with tg.eager():
            return run(made, xs)
    return run(tg.jit(made) if isinstance(made, tg.Cell) else made, xs)


def close(found: Any, expected: Any) -> None:
    assert np.abs(found - expected).max() <= 1e-10 * max(1.0, np.abs(expected).max())


CELLS = ["Elman", "LSTM", "GRU", "IndRNN", "AntisymmetricRNN", "MGU", "SRU", "QRNN", "RAN", "FastGRNN", "CFN", "UGRNN", "JANET", "PeepholeLSTM",
         "NestedLSTM", "LiGRU", "MinGRU", "LEM", "CoRNN", "ExpRNN", "sLSTM", "LRU", "ClockworkRNN", "Jordan", "MultiplicativeLSTM"]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [n for n in CELLS if n in GROUPS][:20])
def test_contributions_add_up_to_the_gradient(name: str, way: str) -> None:
    case = GROUPS[name][0]
    cell = case.make()
    xs, state = case.draw(cell, np.random.default_rng(3))
    with tg.eager() if way == "eager" else contextlib.nullcontext():
        ys, _ = tg.unroll(cell if way == "eager" else tg.jit(cell), xs, state)
        loss = sum((y**2).sum() for y in tg.core.tree.leaves(ys))  # type: ignore[attr-defined]
    flow = tg.gradient_flow(loss, cell)
    loss.backward()
    checked = 0
    loss = None
    for name_, p in cell.named_parameters():
        if p.grad is not None and name_ in flow.parameters:
            close(flow.gradients[name_], p.grad.numpy())
            checked += 1
    assert checked
