"""GradBench's LSTM: the passes by hand against loops over numbers and finite differences, and ours against them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.benchmarks import gradbench


def loops(main: np.ndarray, extra: np.ndarray, state: np.ndarray, sequence: np.ndarray) -> float:
    """The objective as it is defined, number by number."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    bits, total, count = sequence.shape[1], 0.0, 0
    hidden, memory = state[::2].tolist(), state[1::2].tolist()
    for t in range(len(sequence) - 1):
        seen = [sequence[t, i] * extra[0, i] for i in range(bits)]
        for k in range(len(main) // 2):
            for i in range(bits):
                w, b = main[2 * k, i::bits], main[2 * k + 1, i::bits]
                forget, enter = sigmoid(seen[i] * w[0] + b[0]), sigmoid(hidden[k][i] * w[1] + b[1])
                leave, change = (
                    sigmoid(seen[i] * w[2] + b[2]),
                    math.tanh(hidden[k][i] * w[3] + b[3]),
                )
                memory[k][i] = memory[k][i] * forget + enter * change
                hidden[k][i] = seen[i] = leave * math.tanh(memory[k][i])
        y = [seen[i] * extra[1, i] + extra[2, i] for i in range(bits)]
        norm = math.log(sum(map(math.exp, y)) + 2)
        total += sum(sequence[t + 1, i] * (y[i] - norm) for i in range(bits))
        count += bits
    return -total / count


def test_the_passes_by_hand() -> None:
    main, extra, state, sequence = gradbench.data(3, 7)
    value, gradient = gradbench.by_hand(main, extra, state, sequence)
    assert value == pytest.approx(loops(main, extra, state, sequence), rel=1e-13)
    found, step = [], 1e-4
    for array in (main, extra):
        for place in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = array.copy()
                moved[place] += sign * step
                both = (moved, extra) if array is main else (main, moved)
                sides.append(gradbench.by_hand(*both, state, sequence)[0])
            found.append((sides[0] - sides[1]) / (2 * step))
    np.testing.assert_allclose(gradient, found, rtol=1e-6, atol=1e-11)


@pytest.mark.parametrize("layers", [2, 3])
def test_what_is_timed_is_right(layers: int) -> None:
    problem = gradbench.data(layers, 20)
    before = [array.copy() for array in problem]
    value, jacobian = gradbench.ours(*problem)
    expected = gradbench.by_hand(*problem)
    for _ in range(2):
        assert value() == pytest.approx(expected[0], rel=1e-13)
        assert gradbench.difference(jacobian(), expected[1]) < 1e-12
    assert all(np.array_equal(a, b) for a, b in zip(problem, before, strict=True))


def test_data_as_the_generator_draws_them() -> None:
    main, extra, state, sequence = gradbench.data(4, 1024)
    assert (main.shape, extra.shape, state.shape) == ((8, 56), (3, 14), (8, 14))
    assert sequence.shape == (1024, 14) and set(np.unique(sequence)) == {0, 1}
    letters = {int("".join(str(int(bit)) for bit in row), 2) for row in sequence}
    assert {chr(code) for code in letters} == set("etaoinshrdlu ,\u2019\n")


def test_who_is_wrong_is_not_timed_and_the_command_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gradbench, "LAYERS", (2,))
    monkeypatch.setattr(gradbench, "CHARACTERS", (12,))
    monkeypatch.setattr(gradbench, "SECONDS", 0.0)
    monkeypatch.setattr(gradbench, "SIDES", {"ours": gradbench.SIDES["ours"]})
    monkeypatch.setattr(gradbench, "run", gradbench.worker)
    right = gradbench.by_hand
    with tg.eager():
        assert gradbench.main() and "nan" not in capsys.readouterr().out
        monkeypatch.setattr(
            gradbench, "by_hand", lambda *p: (right(*p)[0], right(*p)[1] * (1 + 1e-9))
        )
        assert not gradbench.main() and "nan" in capsys.readouterr().out
