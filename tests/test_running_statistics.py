"""What recorded functions and compiled cells read and change outside of them, besides parameters.

Buffers, and constants that have changed, are asked for their values at each call; running statistics
move at each call. All is compared with the same program without tg.jit.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import interpreting
from tinygrad_rnn import cells, nn
from tinygrad_rnn.kernels.runtime import threads
from tinygrad_rnn.ops.postponed import postponed

F64 = np.float64


@pytest.fixture(autouse=True)
def by_python() -> Iterator[None]:
    with interpreting():
        yield


class Net(nn.Module):
    """A recurrent batch normalisation, and a batch normalisation of what comes out."""

    def __init__(self, momentum: float | None = 0.1) -> None:
        self.cell = nn.RecurrentBatchNorm(cells.LSTM(2, 3, rng=0, dtype=F64), 3, gain=0.7)
        self.norm = nn.BatchNorm(3, momentum=momentum, dtype=F64)
        self.out = nn.Linear(3, 1, rng=1, dtype=F64)

    def loss(self, xs: Any, lengths: Any = None) -> Any:
        ys, _ = tg.unroll(self.cell, xs, lengths=lengths)
        return (self.out(self.norm(ys[-1])) ** 2).mean()


def state(net: nn.Module) -> dict[str, Any]:
    return net.state_dict()


def trained(net: Net, compiled: bool, count: int, lengths: bool) -> tuple[list[float], Any]:
    """Losses and the state after so many training steps."""
    rule = tg.optim.Adam(net.parameters(), lr=0.01)

    def step(xs: Any, counts: Any) -> Any:
        rule.zero_grad()
        loss = net.loss(xs, counts if lengths else None)
        loss.backward()
        rule.step()
        return loss

    run = tg.jit(step) if compiled else step
    rng, losses = np.random.default_rng(3), []
    for _ in range(count):
        xs = tg.tensor(rng.standard_normal((5, 4, 2)))
        losses.append(run(xs, tg.tensor(rng.integers(1, 6, 4))).item())
    if compiled:
        assert len(run._programs) == 1
    return losses, state(net)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_training_steps_move_running_statistics(lengths: bool, momentum: float | None) -> None:
    one = trained(Net(momentum), False, 50, lengths)
    two = trained(Net(momentum), True, 50, lengths)
    np.testing.assert_allclose(two[0], one[0], rtol=1e-10, atol=1e-10)
    for name, value in one[1].items():
        np.testing.assert_allclose(two[1][name], value, rtol=1e-10, atol=1e-10, err_msg=name)
    assert one[1]["cell.norms.0.2.num_batches_tracked"] == 150  # of the third step and all later


def test_several_threads_move_statistics_alike() -> None:
    before = threads()
    try:
        tg.set_num_threads(2)
        two = trained(Net(), True, 10, True)
    finally:
        tg.set_num_threads(before)
    one = trained(Net(), False, 10, True)
    np.testing.assert_allclose(two[0], one[0], rtol=1e-10, atol=1e-10)
    for name, value in one[1].items():
        np.testing.assert_allclose(two[1][name], value, rtol=1e-10, atol=1e-10, err_msg=name)


def test_ten_sequences_are_one_recording() -> None:
    plain, own = Net().cell, Net().cell
    fast = tg.jit(own)
    rng = np.random.default_rng(0)
    for _ in range(10):
        xs = rng.standard_normal((4, 3, 2))
        expected, found = tg.unroll(plain, xs)[0], tg.unroll(fast, xs)[0]
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-12)
    assert len(fast._code.runners) == 1
    for (name, a), (_, b) in zip(plain.named_buffers(), own.named_buffers(), strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=1e-12, err_msg=name)


def test_a_failing_call_leaves_everything_as_it_was() -> None:
    net = Net()

    @postponed(lambda: [])
    def fails() -> None:
        raise KeyError("a fault")

    @tg.jit
    def step(xs: Any) -> Any:
        loss = net.loss(xs)
        fails()
        return loss

    before = state(net)
    for _ in range(2):
        with pytest.raises(KeyError, match="a fault"):
            step(tg.tensor(np.random.default_rng(0).standard_normal((5, 4, 2))))
        after = state(net)
        assert all(np.array_equal(after[n], before[n]) for n in before)


def test_one_row_has_no_statistics_and_moves_none() -> None:
    net = Net()
    fast = tg.jit(net.loss)
    before = state(net)
    with pytest.raises(tg.ShapeError, match="at least 2 values"):
        fast(tg.tensor(np.ones((5, 1, 2))))
    assert all(np.array_equal(v, before[n]) for n, v in state(net).items())


def test_statistics_that_the_function_has_moved_cannot_be_used_in_it() -> None:
    """Plainly they are the new ones; a recording would have the old ones."""
    net = Net()
    xs = tg.tensor(np.random.default_rng(0).standard_normal((5, 4, 2)))

    def both(xs: Any) -> Any:
        net.train()
        one = net.loss(xs)
        net.eval()
        return one + net.loss(xs)

    def after(xs: Any) -> Any:
        y = net.norm(tg.concatenate([xs[0], xs[1, :, :1]], axis=1))
        return y.sum() + net.norm.running_mean.sum()

    def numbers(xs: Any) -> Any:
        y = net.norm(tg.concatenate([xs[0], xs[1, :, :1]], axis=1))
        return y.sum() * float(net.norm.running_mean.sum())

    def in_cell(xs: Any) -> Any:
        y = tg.unroll(net.cell, xs)[0].sum()
        net.cell.training = False
        for norms in net.cell.norms:
            for norm in norms:
                norm.training = False
        return y + tg.unroll(net.cell, xs)[0].sum()

    for f in (both, after, numbers, in_cell):
        net.train()
        with pytest.raises(tg.TraceError):
            tg.jit(f)(xs)
    net.train()

    def before(xs: Any) -> Any:
        mean = net.norm.running_mean.sum()
        return net.norm(tg.concatenate([xs[0], xs[1, :, :1]], axis=1)).sum() + mean

    fast, found = tg.jit(before), []
    for f in (before, fast):
        net.norm.running_mean.data = np.arange(3.0)
        found.append([f(xs).item() for _ in range(3)])
    np.testing.assert_allclose(found[1], found[0])
    assert len(fast._programs) == 1


# --- constants that are asked for -----------------------------------------------------------------------------------------------------


def _float_in_try(x: Any, b: Any) -> Any:
    try:
        number = float(b)
    except Exception:
        number = 77.0
    return x * number


def _elementwise(x: Any, b: Any) -> Any:
    return x * b.scaled(x)


def _no_grad(x: Any, b: Any) -> Any:
    with tg.no_grad():
        g = tg.grad(lambda y: y * y * y)(b)
    return x * g


USES: dict[str, tuple[Callable[[Any, Any], Any], int]] = {
    "product": (lambda x, b: x * b, 1),
    "of constants alone": (lambda x, b: x * tg.tanh(b * 2 + 1), 1),
    "condition": (lambda x, b: tg.where(b > 0, x, -x), 1),
    "gradient": (lambda x, b: x * tg.grad(lambda y: y * y * y)(b), 1),
    "gradient of nothing recorded": (_no_grad, 1),
    "result": (lambda x, b: (x, b), 1),
    "NumPy's function": (lambda x, b: x * np.add(b, 1), 1),
    "copy": (lambda x, b: x * copy.copy(b), 3),
    "handle": (lambda x, b: x * b.handle(), 1),
    "detached": (lambda x, b: x * b.detach(), 1),
    "if": (lambda x, b: x if b > 0 else -x, 3),
    "float": (lambda x, b: x * float(b), 3),
    "float in try": (_float_in_try, 3),
    "float of what is computed": (lambda x, b: x * float(b * 2 + 1), 3),
    "numpy": (lambda x, b: x * b.numpy(), 3),
    "data": (lambda x, b: x * b.data, 3),
    "deep copy": (lambda x, b: x * copy.deepcopy(b), 3),
    "another tensor": (lambda x, b: x * tg.tensor(b), 3),
    "text": (lambda x, b: x * len(repr(b)), 3),
    "round": (lambda x, b: x * round(b.item()), 3),
}
NUMBERS = [1.5, 2.25, -1.0, 1.5]


def _values(y: Any) -> list[Any]:
    return [t.numpy() for t in (y if isinstance(y, tuple) else (y,))]


@pytest.mark.parametrize("buffer", [True, False])
@pytest.mark.parametrize("use", [u for u in USES if u != "deep copy"])  # which is refused
def test_functions_see_other_values(use: str, buffer: bool) -> None:
    function, count = USES[use]
    x = tg.tensor(np.linspace(-1.0, 1.0, 4))
    b: Any = nn.Buffer(np.asarray(NUMBERS[0])) if buffer else tg.tensor(np.asarray(NUMBERS[0]))
    fast = tg.jit(lambda x: function(x, b))
    for number in NUMBERS:
        b.data = np.asarray(number)
        for a, e in zip(_values(fast(x)), _values(function(x, b)), strict=True):
            np.testing.assert_allclose(a, e, atol=1e-12)
    # any other tensor is first taken for a constant; of those that are read each value is a recording
    assert len(fast._programs) <= (count if buffer else count + 1) + (count > 1)


@pytest.mark.parametrize("buffer", [True, False])
@pytest.mark.parametrize("use", [u for u in USES if u != "result"])
@pytest.mark.parametrize("inside", [False, True])
def test_cells_see_other_values(use: str, buffer: bool, inside: bool) -> None:
    function, _ = USES[use]

    class Cell(tg.Cell):
        def __init__(self) -> None:
            super().__init__()
            kind = nn.Buffer if buffer else tg.tensor
            self.b: Any = kind(np.asarray(NUMBERS[0]))
            self.w = tg.Parameter(np.full(3, 0.5))

        def forward(self, x: Any, state: Any) -> Any:
            new = tg.tanh(function(x * self.w + state * 0.5, self.b))
            return new, new

        def initial_state(self, batch: int, dtype: Any = None) -> Any:
            return tg.tensor(np.zeros((batch, 3)))

    cell, xs = Cell(), np.random.default_rng(0).standard_normal((4, 2, 3))
    compiled = tg.jit(cell)
    fast = (
        tg.jit(lambda xs: tg.unroll(cell, xs)[0])
        if inside
        else lambda xs: tg.unroll(compiled, xs)[0]
    )
    for number in NUMBERS:
        cell.b.data = np.asarray(number)
        found = []
        for run in (fast, lambda xs: tg.unroll(cell, xs)[0]):
            cell.w.grad = None
            ys = run(tg.tensor(xs))
            (ys**2).sum().backward()
            found.append((ys.numpy(), cell.w.grad.numpy()))
        for a, e in zip(*found, strict=True):
            np.testing.assert_allclose(a, e, atol=1e-12)


def test_scalar_functions_pass_on_what_they_read() -> None:
    b = nn.Buffer(np.asarray(2.0))

    @tg.elementwise
    def scaled(x: Any) -> Any:
        return x * float(b)

    x = tg.tensor(np.ones(4))
    fast = tg.jit(lambda x: scaled(x).sum())
    for number in NUMBERS:
        b.data = np.asarray(number)
        scaled(x)  # its kernel is there already when the function is recorded
        assert float(fast(x)) == pytest.approx(4 * number)


def test_flags_of_cells_pass_on_to_the_function_around() -> None:
    class Flagged(cells.Elman):
        def forward(self, x: Any, state: Any) -> Any:
            y, new = super().forward(x, state)
            return (y if self.flag > 0 else -y), new

    cell = Flagged(2, 3, rng=0, dtype=F64)
    cell.flag = nn.Buffer(np.asarray(1.0))
    compiled = tg.jit(cell)
    xs = tg.tensor(np.random.default_rng(0).standard_normal((4, 2, 2)))
    tg.unroll(compiled, xs)  # the step is recorded before the function is
    fast = tg.jit(lambda xs: tg.unroll(compiled, xs)[0])
    for flag in (1.0, -1.0, 1.0, -2.0):
        cell.flag.data = np.asarray(flag)
        np.testing.assert_allclose(fast(xs).numpy(), tg.unroll(cell, xs)[0].numpy(), atol=1e-12)


def test_masks_and_ids_are_checked_at_each_call() -> None:
    ids, weights = nn.Buffer(np.array([0, 1])), nn.Buffer(np.array([1.0, 0.5]))
    table = nn.Embedding(3, 2, rng=0, dtype=F64)
    target = tg.tensor(np.array([0, 1]))
    fast = tg.jit(lambda x: nn.cross_entropy(table(ids) * x, target, mask=weights))
    x = tg.tensor(np.ones(2))
    fast(x)
    ids.data = np.array([2, -1])
    with pytest.raises(tg.TinygradError):
        fast(x)
    ids.data = np.array([2, 0])
    fast(x)
    for bad in ([0.0, 0.0], [1.0, -1.0], [np.nan, 1.0]):
        weights.data = np.array(bad)
        with pytest.raises(tg.TinygradError):
            fast(x)


def test_gradients_of_gradients_of_a_cell_whose_buffer_has_changed_are_refused() -> None:
    class Cell(tg.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Buffer(np.ones(3))
            self.w = tg.Parameter(np.full(3, 0.5))

        def forward(self, x: Any, state: Any) -> Any:
            new = tg.tanh(x * self.w * self.b + state)
            return new, new

        def initial_state(self, batch: int, dtype: Any = None) -> Any:
            return tg.tensor(np.zeros((batch, 3)))

    cell, xs = Cell(), tg.tensor(np.ones((4, 2, 3)))
    compiled = tg.jit(cell)
    inside = tg.jit(lambda xs: tg.unroll(cell, xs)[0].sum())
    for run in (lambda xs: tg.unroll(compiled, xs)[0].sum(), inside):
        for changed in (False, True):
            y = run(xs)
            if changed:
                cell.b.data = np.full(3, 2.0)
                with pytest.raises(tg.GraphError, match="is not what it was"):
                    y.backward(create_graph=True)
            else:
                y.backward(create_graph=True)
            cell.w.grad, cell.b.data = None, np.ones(3)


def test_two_threads_record_with_one_buffer() -> None:
    b = nn.Buffer(np.asarray(1.0))
    wrong: list[Any] = []

    def work(k: int) -> None:
        for _ in range(5):
            fast = tg.jit(lambda x: (x * (b + k)).sum())
            for _ in range(3):
                if float(fast(tg.tensor(np.ones(3)))) != pytest.approx(3 * (1 + k)):
                    wrong.append(k)

    running = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert not wrong
