"""How far back the gradient of a trained model reaches: the figures are those of the engine."""

from __future__ import annotations

import re

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.train.characters import CharacterLSTM
from tinygrad_rnn.train.chart import WIDTHS
from tinygrad_rnn.train.reach import MOST, reach_of


def model(hidden: int = 6) -> CharacterLSTM:
    """Return a small model."""
    return CharacterLSTM(5, 3, hidden, rng=0)


def test_the_words_are_the_figures_of_the_flow() -> None:
    network, ids = model(), np.random.default_rng(0).integers(0, 5, 40)
    found = reach_of(network, ids)
    assert found is not None and len(found.charts) == len(WIDTHS)
    network.eval()
    with tg.eager():
        loss, _ = network.loss(ids[:-1, None], ids[1:, None])
    flow = tg.gradient_flow(loss, network)
    steps, gone = flow.memory
    assert "the last of 39 predictions" in found.words
    assert (f"after {steps} of them less" if gone else f"after all {steps} more") in found.words
    assert f"a factor of {flow.rate:.2g}" in found.words
    assert network.training is False and not any(p.grad is not None for p in network.parameters())
    assert re.search(r'width="360"', found.charts[1])


def test_a_long_text_is_cut_and_a_short_one_says_nothing() -> None:
    found = reach_of(model(), np.zeros(3 * MOST, np.int64))
    assert found is not None and f"the last of {MOST} predictions" in found.words
    assert reach_of(model(), np.zeros(2, np.int64)) is None


def test_a_model_that_is_not_finite_says_nothing() -> None:
    network = model()
    network.output.weight.data = np.full(network.output.weight.shape, np.nan, np.float32)
    assert reach_of(network, np.zeros(10, np.int64)) is None
