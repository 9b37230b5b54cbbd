"""The comparison of BPTT, evolution and guessing.

Its searches, its problems, and that steps are counted right.
"""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train.tasks import evolution
from tinygrad_rnn.train.tasks.evolution import (
    EvolutionStrategy,
    Sequences,
    assign,
    flat,
    guess,
    outputs,
    parameters_of,
    ranks,
    right,
    two_sequences,
)
from tinygrad_rnn.train.tasks.task import Run

pytestmark = pytest.mark.usefixtures("eager")


def test_ranks_are_centred_and_ties_share_their_mean():
    np.testing.assert_allclose(ranks(np.array([3.0, 1.0, 2.0])), [0.5, -0.5, 0.0])
    np.testing.assert_allclose(ranks(np.array([5.0, 1.0, 5.0, 9.0])), [0.0, -0.5, 0.0, 0.5])
    np.testing.assert_allclose(ranks(np.full(4, 2.0)), 0.0)


def test_candidates_mirror_each_other():
    strategy = EvolutionStrategy(
        np.arange(3.0), pairs=4, sigma=0.5, lr=0.1, rng=np.random.default_rng(0)
    )
    candidates = strategy.ask()
    assert candidates.shape == (8, 3)
    np.testing.assert_allclose(
        candidates[:4] + candidates[4:], np.tile(2 * np.arange(3.0), (4, 1)), atol=1e-12
    )
    assert np.abs(candidates[:4] - candidates[4:]).min() > 0


def test_evolution_strategy_finds_the_optimum_of_a_quadratic():
    rng = np.random.default_rng(1)
    optimum, scale = rng.standard_normal(6), rng.uniform(0.5, 2, 6)
    strategy = EvolutionStrategy(np.zeros(6), pairs=16, sigma=0.05, lr=0.05, rng=rng)
    for _ in range(300):
        strategy.tell((scale * (strategy.ask() - optimum) ** 2).sum(1))
    np.testing.assert_allclose(strategy.mean.numpy(), optimum, atol=0.05)


def test_a_vector_of_parameters_goes_out_and_in():
    model = tg.nn.Linear(3, 2, rng=0)
    vector = flat(model)
    np.testing.assert_array_equal(
        vector, np.concatenate([model.weight.numpy().ravel(), model.bias.numpy()])
    )
    assign(model, vector[::-1].copy())
    np.testing.assert_array_equal(model.weight.numpy().ravel(), vector[::-1][:6])
    np.testing.assert_array_equal(model.bias.numpy(), vector[::-1][6:])


def test_two_sequences():
    sequences = two_sequences(np.random.default_rng(2), 400)
    assert sequences.xs.shape == (600, 400)
    assert (
        sequences.lengths.min() >= 500
        and sequences.lengths.max() <= 600
        and len(set(sequences.lengths)) > 50
    )
    assert sequences.targets.sum() == 200
    noise = []
    for row, length, target in zip(
        sequences.xs.T, sequences.lengths, sequences.targets, strict=True
    ):
        assert (row[: 600 - length] == 0).all()
        assert row[600 - length] == (1 if target else -1)
        noise.append(row[600 - length + 1 :])
    everything = np.concatenate(noise)
    assert abs(everything.mean()) < 0.01 and abs(everything.var() - 0.2) < 0.01


@pytest.mark.parametrize("hidden", [1, 3])
def test_networks_against_a_loop_over_units(hidden):
    rng = np.random.default_rng(3)
    sequences = two_sequences(rng, 5, 4, 9)
    weights = rng.uniform(-2, 2, (3, parameters_of(hidden))).astype(np.float32)
    units = hidden + 1
    expected = np.zeros((3, 5))
    for n, w in enumerate(weights.astype(float)):
        for b in range(5):
            h = [0.0] * units
            for x in sequences.xs[9 - sequences.lengths[b] :, b]:
                sums = [
                    x * w[j] + sum(h[i] * w[units + i * units + j] for i in range(units))
                    for j in range(units)
                ]
                h = [
                    1 / (1 + np.exp(-(s + (w[units + units**2 + j] if j < hidden else 0))))
                    for j, s in enumerate(sums)
                ]
            expected[n, b] = h[-1]
    with tg.no_grad():
        np.testing.assert_allclose(
            outputs(tg.tensor(weights), sequences, hidden).numpy(), expected, atol=1e-5
        )


def test_right_is_an_error_below_a_tenth():
    np.testing.assert_array_equal(
        right(np.array([0.95, 0.85, 0.05, 0.2]), np.array([1.0, 1.0, 0.0, 0.0])),
        [True, False, True, False],
    )


def test_a_guess_is_right_on_all_and_its_steps_are_counted(monkeypatch):
    rng = np.random.default_rng(4)
    training = two_sequences(rng, 20, 30, 40)
    lengths = training.lengths
    for _ in range(50):
        asked = []

        def spy(weights, part, asked=asked):
            asked.append(weights.shape[0] * int(part.lengths.sum()))
            return outputs(weights, part)

        monkeypatch.setattr(evolution, "outputs", spy)
        found, drawn, steps = guess(training, rng)
        assert steps == sum(asked) and asked[0] == 100 * lengths[:2].sum()
        if found is not None:
            break
    assert found is not None and 1 <= drawn <= 100 and len(asked) == 3
    with tg.no_grad():
        answers = outputs(tg.tensor(found[None]), training).numpy()[0]
    assert (np.abs(answers - training.targets) < 0.1).all()


@pytest.mark.parametrize(
    ("how", "unit"),
    [("gradient", 3 * 32 * 50), ("evolution", 32 * 32 * 50), ("guessing", 32 * 32 * 50)],
)
def test_adding_counts_its_steps(monkeypatch, how, unit):
    monkeypatch.setattr(evolution, "ADDING_BUDGET", 2 * unit)
    result = evolution._adding(Run(0, 60.0), "Elman", how)
    assert result.steps == 2 * unit
    assert result.sequences == 2 * (32 if how == "gradient" else 32 * 32)
    assert np.isfinite(result.score) and result.solved is False


def test_latching_by_gradient_counts_three_passes(monkeypatch):
    monkeypatch.setattr(evolution, "GUESSING_BUDGET", 1)
    monkeypatch.setattr(
        evolution, "two_sequences", lambda rng, count: two_sequences(rng, count, 10, 10)
    )
    assert evolution._latching(Run(0, 60.0), "gradient").steps == 3 * 20 * 10
    assert evolution._latching(Run(0, 60.0), "evolution").steps == 32 * 20 * 10


def test_parts_of_sequences():
    sequences = Sequences(
        np.arange(6.0).reshape(2, 3), np.array([2, 1, 2]), np.array([1.0, 0.0, 1.0])
    )
    part = sequences.part(slice(1, None))
    np.testing.assert_array_equal(part.xs, [[1, 2], [4, 5]])
    np.testing.assert_array_equal(part.lengths, [1, 2])
    np.testing.assert_array_equal(part.targets, [0, 1])
