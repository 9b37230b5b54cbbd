"""The digits.

How images become sequences, what is held out, the scores, and what happens without scikit-learn.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train.tasks import digits
from tinygrad_rnn.train.tasks.epochs import Plan
from tinygrad_rnn.train.tasks.task import Run

pytestmark = pytest.mark.usefixtures("eager")


def needs_sklearn() -> Any:
    return pytest.importorskip(
        "sklearn.datasets", reason="the digits come with scikit-learn, which is not installed"
    )


def test_images_as_sequences(rng: np.random.Generator) -> None:
    pictures = rng.random((5, 8, 8), dtype=np.float32)
    rows, pixels = digits.sequences(pictures, 8), digits.sequences(pictures, 1)
    assert rows.shape == (8, 5, 8) and pixels.shape == (64, 5, 1)
    for n in range(5):
        for i in range(8):
            for j in range(8):
                assert rows[i, n, j] == pixels[8 * i + j, n, 0] == pictures[n, i, j]


def test_the_score() -> None:
    logits = np.array([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0], [0.0, 0.5, 9.0], [5.0, 4.0, 3.0]])
    assert digits.accuracy(logits, np.array([1, 0, 2, 0])) == 1.0
    assert digits.accuracy(logits, np.array([1, 0, 1, 2])) == 0.5


def test_what_is_held_out() -> None:
    source = needs_sklearn().load_digits()
    data = digits.images(3)
    assert (
        data.training.shape == (1437, 8, 8)
        and data.held_out.shape == (360, 8, 8)
        and data.training.dtype == np.float32
    )
    found = sorted(
        (*(16 * picture).ravel().astype(int).tolist(), int(digit))
        for pictures, labels in (data[:2], data[2:])
        for picture, digit in zip(pictures, labels, strict=True)
    )
    assert found == sorted(
        (*row.astype(int).tolist(), int(digit))
        for row, digit in zip(source.data, source.target, strict=True)
    )
    again, other = digits.images(3), digits.images(4)
    assert np.array_equal(again.held_out, data.held_out) and not np.array_equal(
        other.held_out, data.held_out
    )


def test_logistic_regression_sees_no_held_out_image() -> None:
    needs_sklearn()
    data = digits.images(0)
    score = digits.linear(data)
    assert 0.93 < score < 0.995
    shuffled = data._replace(
        held_out_digits=np.random.default_rng(0).permutation(data.held_out_digits)
    )
    # the digits of the held-out images decide the score and nothing else
    assert digits.linear(shuffled) < 0.25


@pytest.mark.parametrize("name", [pytest.param("LSTM", marks=pytest.mark.full), "GRU"])
def test_a_short_training(name: str) -> None:
    needs_sklearn()
    result = digits.train(
        Run(0, 60.0),
        8,
        Plan(16, 64, 6, 2e-2),
        lambda f, h, rng: getattr(tg.cells, name)(f, h, rng=rng),
    )
    assert 0.4 < result.score < 1 and result.solved is False
    assert (result.sequences, result.steps) == (6 * 1437, 6 * 1437 * 8)


def test_the_last_output_is_classified(rng: np.random.Generator) -> None:
    cell = tg.cells.GRU(2, 4, rng=rng)
    model = digits.Classifier(cell, rng=rng)
    xs = rng.random((3, 5, 2), dtype=np.float32)
    h = cell.initial_state(5)
    for x in xs:
        _, h = cell(tg.tensor(x), h)
    expected = h.numpy() @ model.output.weight.numpy().T + model.output.bias.numpy()
    np.testing.assert_allclose(model(xs).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "sklearn":
            raise ModuleNotFoundError("No module named 'sklearn'")
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n.split(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(builtins, "__import__", missing)
    for run in (
        digits.images,
        lambda seed: digits.TASKS[0].arms(None)[-1].run(Run(seed, 1.0)),
        lambda seed: digits.TASKS[1].ready(),
    ):
        with pytest.raises(tg.TinygradError, match=r"pip install tinygrad-rnn\[tasks\]"):
            run(0)


def test_the_tasks() -> None:
    assert [task.name for task in digits.TASKS] == ["digits-rows", "digits-pixels"]
    for task in digits.TASKS:
        assert [arm.name for arm in task.arms(None)] == ["LSTM", "IRNN", "logistic regression"]
        assert [arm.name for arm in task.arms("GRU")] == ["GRU", "logistic regression"]
    published = [arm.published for arm in digits.TASKS[1].arms(None)]
    assert all("MNIST" in text for text in published[:2]) and published[2] == ""
