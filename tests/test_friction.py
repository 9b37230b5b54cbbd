"""What one stumbled over: ragged lists, layers before a cell in windows, weak numbers, given states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

RAGGED = [[1.0, 2.0, 3.0], [4.0], [], [5.0, 6.0]]


def test_ragged_lists_side_by_side() -> None:
    values, lengths = tg.pad_sequences(RAGGED, value=-1)
    expected = [[1, 4, -1, 5], [2, -1, -1, 6], [3, -1, -1, -1]]
    np.testing.assert_array_equal(values.numpy(), expected)
    assert values.dtype == np.float32 and lengths.tolist() == [3, 1, 0, 2]
    other = tg.pad_sequences(RAGGED, -1, batch_first=True).values
    np.testing.assert_array_equal(other.numpy(), np.transpose(expected))
    ids, _ = tg.pad_sequences([np.array([1, 2], np.int32), np.array([3], np.int32)])
    assert ids.dtype == np.int32 and ids.numpy().tolist() == [[1, 3], [2, 0]]


@pytest.mark.parametrize("batch_first", [False, True])
def test_gradients_of_ragged_sequences(batch_first: bool) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 2)) for n in (3, 1, 2)]

    def loss(*xs: Any) -> Any:
        values = tg.pad_sequences(list(xs), 0.5, batch_first).values
        return (values**2 * np.cos(np.arange(values.size)).reshape(values.shape)).sum()

    tg.gradcheck(loss, *parts, order=2)
    given = [tg.tensor(p, requires_grad=True) for p in parts]
    plain = tg.pad_sequences(parts, 0.5, batch_first).values.numpy()
    np.testing.assert_array_equal(tg.pad_sequences(given, 0.5, batch_first).values.numpy(), plain)


def test_padded_sequences_run_as_far_as_they_go() -> None:
    cell = tg.cells.GRU(1, 3, rng=0)
    values, lengths = tg.pad_sequences([np.ones((n, 1), np.float32) * n for n in (4, 2)])
    _, state = tg.unroll(cell, values, lengths=lengths)
    _, short = tg.unroll(cell, np.full((2, 1, 1), 2.0, np.float32))
    np.testing.assert_allclose(state.numpy()[1], short.numpy()[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "a list of sequences"),
        (np.ones((2, 3)), "a list of sequences"),
        ([[1.0], 2.0], "sequence 1 has shape"),
        ([np.ones((2, 3)), np.ones((2, 4))], "sequence 1 has shape"),
        ([[1.0], [2]], "dtype int64; expected float32"),
    ],
)
def test_what_is_no_list_of_sequences_is_refused(given: Any, words: str) -> None:
    with pytest.raises(tg.ShapeError, match=words):
        tg.pad_sequences(given)
    with pytest.raises(tg.DtypeError, match="cannot hold"):
        tg.pad_sequences([[1, 2], [3]], value=0.5)


class Model(tg.Cell):
    """Embedding, cell and head in one step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = tg.nn.Embedding(5, 3, rng=0)
        self.cell = tg.cells.GRU(3, 4, rng=1)
        self.head = tg.nn.Linear(4, 5, rng=2)

    def initial_state(self, batch_size: int) -> Any:
        return self.cell.initial_state(batch_size)

    def forward(self, x: Any, state: Any) -> Any:
        y, state = self.cell(self.embedding(x), state)
        return self.head(y), state


@pytest.mark.parametrize("compiled", [False, True])
def test_windows_run_the_layers_around_a_cell_anew(compiled: bool) -> None:
    """After each step of training a window sees the embedding as it is then."""
    ids = np.random.default_rng(0).integers(0, 5, (6, 2))
    trained = []
    for windows in (True, False):
        model = Model()
        optimizer = tg.optim.SGD(model.parameters(), lr=0.5)
        step = tg.jit(model) if compiled else model
        if windows:
            for window in tg.tbptt(step, ids, k1=2):
                optimizer.zero_grad()
                window.backward(tg.nn.cross_entropy(window.ys, ids[window.start : window.stop]))
                optimizer.step()
        else:  # the same by hand
            state: Any = None
            for k in range(0, 6, 2):
                optimizer.zero_grad()
                ys, state = tg.unroll(model, ids[k : k + 2], state)
                state = tg.detach(state)
                tg.nn.cross_entropy(ys, ids[k : k + 2]).backward()
                optimizer.step()
        trained.append([p.numpy() for p in model.parameters()])
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_given_state_needs_no_other_of_its_dtype(compiled: bool) -> None:
    class Own(tg.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.W = tg.Parameter(np.eye(3))

        def initial_state(self, batch_size: int) -> Any:
            return tg.tensor(np.zeros((batch_size, 3), np.float32))

        def forward(self, x: Any, h: Any) -> Any:
            h = tg.tanh(x @ self.W + h)
            return h, h

    cell = tg.jit(Own()) if compiled else Own()
    first = tg.tensor(np.zeros((2, 3)))
    assert tg.unroll(cell, np.ones((4, 2, 3)), first)[0].dtype == np.float64
    found = [w.ys.dtype for w in tg.tbptt(cell, np.ones((4, 2, 3)), 2, state=first)]
    assert found == [np.float64] * 2


@pytest.mark.parametrize("compiled", [False, True])
def test_two_numbers_take_the_dtype_of_what_they_meet(compiled: bool) -> None:
    def function(m: Any, t: Any) -> Any:
        return tg.where(m, 0.1, 0.0) * t

    run = tg.jit(function) if compiled else function
    for dtype in (np.float32, np.float64):
        found = run(tg.tensor([True, False]), tg.tensor(np.ones(2, dtype)))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.numpy(), np.array([0.1, 0.0], dtype))
