"""Small programs as one foreign call: equal to plain ones, and refused or run by lines where they do not fit."""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import test_whole_programs as whole
from tests.cell_checks import CASES, Case
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import straight
from tinygrad_rnn.compiler.natives import LINE, Memory
from tinygrad_rnn.compiler.recorded import Recording
from tinygrad_rnn.core.tree import leaves
from tinygrad_rnn.kernels import driver, runtime
from tinygrad_rnn.kernels.table import Call, Given, Inside, Place, Table
from tinygrad_rnn.loops import workspace

GAP = 4096  # bytes between values, which nothing may write to


@pytest.fixture(autouse=True)
def spoilt(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Memory in which whatever reads it before it is written is found, and what writes beyond a value.

    Returns
    -------
    list
        Programs that were made one call, and that could not be called with what they were given.
    """
    by_lines: list[Any] = []

    def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return filled(np.empty(shape, dtype))

    def filled(array: np.ndarray) -> np.ndarray:
        array.reshape(-1).view(np.uint8)[...] = 255  # nan, or -1
        return array

    def room(memory: Any, size: int) -> Place:
        found = Place(memory.block, memory.size)
        memory.size += -(-size // LINE) * LINE + GAP
        memory.__dict__.setdefault("gaps", []).append((found.begin + size, memory.size))
        return found

    def run(one: Any, tables: Any, arrays: Any) -> bool:
        wrong = make_calls(one, tables, arrays)
        for begin, end in one.memory.__dict__.get("gaps", ()):
            assert (arrays[-1][begin:end] == 255).all(), "something was written behind a value"
        if wrong:
            by_lines.append(one)
        return wrong

    make_calls, fresh = straight.Straight._run, straight.Straight.fresh
    monkeypatch.setattr(workspace.WorkspacePool, "give", lambda self, workspace: None)
    monkeypatch.setattr(straight, "empty", empty)
    monkeypatch.setattr(Memory, "room", room)
    monkeypatch.setattr(straight.Straight, "fresh", lambda one: list(map(filled, fresh(one))))
    monkeypatch.setattr(straight.Straight, "_run", run)
    return by_lines


def recordings(jitted: Any) -> list[Recording]:
    return [r for k, r in jitted._programs.items() if k != "full"]


def in_one_call(recording: Recording) -> bool:
    """Whether the forward program is one call: by itself, or with all that a step changes."""
    wholes = recording._wholes
    assert wholes is None or "fault" not in wholes.unfit, wholes.unfit
    known = wholes is not None and wholes.source() != ""
    return known or recording._forward._straight is not None


def is_one_call(jitted: Any) -> list[bool]:
    """Whether the forward programs are one call, by the latest recording last."""
    return list(map(in_one_call, recordings(jitted)))


def outcome(function: Any, *arrays: np.ndarray, **how: Any) -> list[np.ndarray]:
    """Value and gradients by all arguments of floats."""
    places = tuple(k for k, a in enumerate(arrays) if a.dtype.kind == "f")
    run = tg.value_and_grad(function, argnums=places)
    jitted = tg.jit(run)
    found: list[np.ndarray] = []
    for _ in range(2):  # the second call has the memory of the first
        value, gradients = jitted(*map(tg.tensor, arrays))
        found = [value.numpy(), *[g.numpy() for g in gradients]]
    assert is_one_call(jitted) == [how.get("one", True)]
    return found


def plain(function: Any, *arrays: np.ndarray) -> list[np.ndarray]:
    places = tuple(k for k, a in enumerate(arrays) if a.dtype.kind == "f")
    with tg.eager():
        value, gradients = tg.value_and_grad(function, argnums=places)(*map(tg.tensor, arrays))
    return [value.numpy(), *[g.numpy() for g in gradients]]


def agree(function: Any, *arrays: np.ndarray, tolerance: float = 1e-10, **how: Any) -> None:
    for a, b in zip(outcome(function, *arrays, **how), plain(function, *arrays), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# --- whole programs -------------------------------------------------------------------------------


def trained(program: whole.Program, xs: list[np.ndarray], compiled: bool, inside: bool) -> Any:
    """Losses and gradients by all parameters, from steps with `backward` inside or outside."""

    def step(x: Any) -> Any:
        loss = program.function(x)
        if inside:
            loss.backward()
        return loss

    run, found = tg.jit(step) if compiled else step, []
    for x in xs:
        for p in program.parameters():
            p.grad = None
        loss = run(tg.tensor(x))
        if not inside:
            loss.backward()
        found += [loss.numpy(), *[p.grad.numpy() for p in program.parameters()]]
    return run, found


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
@pytest.mark.parametrize("make", whole.PROGRAMS, ids=lambda f: f.__name__)
def test_programs_with_sequences(make: Any, inside: bool, spoilt: list[Any]) -> None:
    xs = [whole.normal(whole.T, whole.BATCH, whole.INPUT, seed=seed) for seed in range(3)]
    run, found = trained(make(), xs, True, inside)
    with tg.eager():
        _, expected = trained(make(), xs, False, inside)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    (recording,) = recordings(run)
    assert in_one_call(recording), recording._forward.unfit
    assert inside or recording._backward._straight is not None, recording._backward.unfit
    assert not spoilt


BY_LINES = {"EURNN", "QRNN-window=1-pooling=ifo"}  # they have arrays without elements
FEW = ("LSTM", "LayerNormLSTM", "ClockworkRNN", "SLSTM", "NeuralTuringMachine", "ConvLSTM")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, id=str(c), marks=[] if c.cell.__name__ in FEW else pytest.mark.full)
        for c in CASES
    ],
)
def test_every_cell(case: Case) -> None:
    """A step with backward inside, of the cells of the zoo."""
    cell = case.make()
    xs, _ = case.draw(cell, np.random.default_rng(3))
    parameters = [p for p in cell.parameters() if p.requires_grad]

    def step(*xs: Any) -> Any:
        for p in parameters:
            p.grad = None
        ys, _ = tg.unroll(cell, xs if len(xs) > 1 else xs[0])
        loss = sum((y * y).sum() for y in leaves(ys))
        loss.backward()
        return loss

    given = [tg.tensor(x) for x in (xs if isinstance(xs, tuple) else (xs,))]
    run = tg.jit(step)

    def gradients(function: Any) -> list[np.ndarray]:
        loss = function(*given)
        return [loss.numpy(), *[p.grad.numpy() for p in parameters if p.grad is not None]]

    found = [gradients(run) for _ in range(2)][-1]
    with tg.eager():
        expected = gradients(step)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    (recording,) = recordings(run)
    lines = not in_one_call(recording)
    assert not lines or str(case) in BY_LINES, recording._forward.unfit
    assert "fault" not in recording._forward.unfit


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 5, 24, 40])
def test_models_of_tokens(threads: int, batch: int) -> None:
    """Embedding, levels, read-out; some batches are shared among threads."""
    T, size, units, kinds = 9, 12, 72, 11
    embedding = nn.Embedding(kinds, size, rng=1, dtype=np.float64)
    layer = nn.LSTM(size, units, num_layers=2, rng=2, dtype=np.float64)
    out = nn.Linear(units, kinds, rng=3, dtype=np.float64)
    parameters = [p for m in (embedding, layer, out) for p in m.parameters()]
    rng = np.random.default_rng(batch)
    ids, targets = (tg.tensor(rng.integers(0, kinds, (T, batch))) for _ in range(2))

    def step(ids: Any, targets: Any) -> Any:
        for p in parameters:
            p.grad = None
        loss = nn.cross_entropy(out(layer(embedding(ids))[0]), targets)
        loss.backward()
        return loss

    def gradients(function: Any) -> list[np.ndarray]:
        loss = function(ids, targets)
        return [loss.numpy(), *[p.grad.numpy() for p in parameters]]

    before = runtime.threads()
    runtime.set_num_threads(threads)
    try:
        run = tg.jit(step)
        found = [gradients(run) for _ in range(2)][-1]
        assert is_one_call(run) == [True]
        text = run.source()
    finally:
        runtime.set_num_threads(before)
    assert bool(re.search(r"\d of 40 rows", text)) == (threads == 2 and batch == 40)
    with tg.eager():
        expected = gradients(step)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_what_calls_leave_is_their_own() -> None:
    """Backward of an earlier call, after a later one, and twice."""
    program = whole.layers()
    xs = [whole.normal(whole.T, whole.BATCH, whole.INPUT, seed=seed) for seed in range(2)]
    run = tg.jit(program.function)

    def gradients(function: Any) -> list[np.ndarray]:
        losses = [function(tg.tensor(x)) for x in xs]
        found = []
        for loss in (losses[0], losses[1], losses[0]):
            for p in program.parameters():
                p.grad = None
            loss.backward(retain_graph=True)
            found += [p.grad.numpy() for p in program.parameters()]
        return found

    found = gradients(run)
    assert is_one_call(run) == [True]
    with tg.eager():
        expected = gradients(program.function)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_backward_is_one_call_whatever_form_the_inputs_have(spoilt: list[Any]) -> None:
    cell = whole.lstm()
    resets = np.random.default_rng(1).random((whole.T, whole.BATCH)) < 0.3
    shape = (whole.T, whole.BATCH, whole.INPUT)

    def loss(x: Any, resets: Any) -> Any:
        return (tg.unroll(cell, x.reshape(shape), resets=resets)[0] ** 2).sum()

    def gradients(function: Any) -> list[np.ndarray]:
        for p in cell.parameters():
            p.grad = None
        x = whole.normal(whole.T * whole.BATCH, whole.INPUT)
        function(tg.tensor(x), tg.tensor(resets)).backward()
        return [p.grad.numpy() for p in cell.parameters()]

    found = gradients(tg.jit(loss))
    assert not spoilt
    with tg.eager():
        for a, b in zip(found, gradients(loss), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_backward_by_lines_after_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    program = whole.backwards_and_on()
    x = whole.normal(whole.T, whole.BATCH, whole.INPUT)
    run = tg.jit(program.function)
    loss = run(tg.tensor(x))
    assert is_one_call(run) == [True]
    monkeypatch.setattr(straight, "ROOM", 0)
    loss.backward()
    assert recordings(run)[0]._backward._straight is None
    found = [p.grad.numpy() for p in program.parameters()]
    with tg.eager():
        _, (_, *expected) = trained(whole.backwards_and_on(), [x], False, False)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_gradients_of_gradients_after_one_call() -> None:
    program, x = whole.plain_cell(), whole.normal(whole.T, whole.BATCH, whole.INPUT)

    def twice(function: Any) -> np.ndarray:
        given = tg.tensor(x, requires_grad=True)
        function(given).backward(create_graph=True)
        (given.grad**2).sum().backward()
        return next(iter(program.parameters())).grad.numpy()

    run = tg.jit(program.function)
    found = twice(run)
    assert is_one_call(run) == [True]
    program = whole.plain_cell()
    with tg.eager():
        np.testing.assert_allclose(found, twice(program.function), rtol=1e-9, atol=1e-11)


def test_two_backwards_through_one_sequence() -> None:
    cell, x = whole.lstm(), whole.normal(whole.T, whole.BATCH, whole.INPUT)
    parameters = list(cell.parameters())

    def step(x: Any) -> Any:
        for p in parameters:
            p.grad = None
        ys, (h, _) = tg.unroll(cell, x)
        (ys**2).sum().backward(retain_graph=True)
        first = [p.grad * 1.0 for p in parameters]
        for p in parameters:
            p.grad = None
        (tg.tanh(h) * ys[0]).sum().backward()
        return first

    def gradients(function: Any) -> list[np.ndarray]:
        return [*[g.numpy() for g in function(tg.tensor(x))], *[p.grad.numpy() for p in parameters]]

    run = tg.jit(step)
    found = gradients(run)
    assert is_one_call(run) == [True]
    with tg.eager():
        for a, b in zip(found, gradients(step), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_tensors_without_gradient_are_read_at_each_call() -> None:
    cell = whole.lstm()
    parameters = list(cell.parameters())
    for p in parameters[2:]:
        p.requires_grad = False
    x = whole.normal(whole.T, whole.BATCH, whole.INPUT)

    def loss(x: Any) -> Any:
        return (tg.unroll(cell, x)[0] ** 2).sum()

    run = tg.jit(loss)
    for k in range(3):
        parameters[-1].data = parameters[-1].numpy() + 0.1 * k
        found = run(tg.tensor(x)).item()
        with tg.eager():
            assert found == pytest.approx(loss(tg.tensor(x)).item(), rel=1e-12)
    assert all(is_one_call(run))


# --- operations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_all_layouts(dtype: Any) -> None:
    rng = np.random.default_rng(3)

    def made(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    a, b = made(5, 7), made(7, 3)
    products: list[tuple[Callable[..., Any], list[np.ndarray]]] = [
        (lambda a, b: (a @ b) ** 2, [a, b]),
        (lambda a, b: (a.T @ b) ** 2, [made(7, 5), b]),
        (lambda a, b: (a @ b.T) ** 2, [a, made(3, 7)]),
        (lambda a, b: (a.T @ b.T) ** 2, [made(7, 5), made(3, 7)]),
        (lambda a, b: (a[1:4, ::-1] @ b[:, 1:]) ** 2, [a, b]),
        (lambda a, b: (a[::2] @ b[:, ::2]) ** 2, [a, b]),
        (lambda a, b: (a @ b) ** 2, [made(4, 5, 7), b]),
        (lambda a, b: (tg.transpose(a, (1, 0, 2)) @ b) ** 2, [made(4, 5, 7), b]),
        (lambda a, b: (a @ b) ** 2, [a, made(7)]),
        (lambda a, b: (a @ b) ** 2, [made(7), b]),
        (lambda a, b: (a @ b) ** 2, [made(7), made(7)]),
        (lambda a, b: (tg.broadcast_to(a, (5, 7)) @ b) ** 2, [made(1, 7), b]),
        (lambda a, b: (a @ b) ** 2, [made(40, 33), made(33, 50)]),
        (lambda a, b: (a @ b) ** 2, [made(1, 33), made(33, 1)]),
    ]
    for function, arrays in products:
        total = lambda *xs, function=function: tg.tanh(function(*xs)).sum()  # noqa: E731
        agree(total, *arrays, tolerance=1e-10 if dtype is np.float64 else 1e-4)


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int32, np.int64])
def test_integers_that_are_given_and_returned(kind: Any) -> None:
    rng = np.random.default_rng(4)
    table, ids = rng.normal(size=(6, 4)), rng.integers(0, 6, (3, 5)).astype(kind)

    def function(table: Any, ids: Any) -> Any:
        rows = table[ids]
        return rows * 2, ids + 1, tg.argmax(rows, axis=-1), rows > 0

    run = tg.jit(function)
    found = [run(tg.tensor(table), tg.tensor(ids)) for _ in range(2)][-1]
    assert is_one_call(run) == [True]
    for a, b in zip(found, function(tg.tensor(table), tg.tensor(ids)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_integers_beyond_int64_run_by_lines() -> None:
    a = np.array([3, 2**63 + 5, 2**64 - 1, 2**63 - 1, 0], np.uint64)
    b = np.array([5, 2, 2**63, 9, 1], np.uint64)

    def function(a: Any, b: Any, c: Any) -> Any:
        found = abs(a - b), a > b, tg.maximum(a, b), a % 3, a / b, tg.argmax(a), a * c, tg.relu(a)
        return found

    given = [tg.tensor(x) for x in (a, b, np.linspace(0.5, 1.5, 5))]
    run = tg.jit(function)
    for x, y in zip(run(*given), function(*given), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x.numpy(), y.numpy())
    assert is_one_call(run) == [False]


def test_small_losses() -> None:
    rng = np.random.default_rng(5)
    logits, targets = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    agree(lambda x: nn.cross_entropy(x, targets), logits)
    agree(lambda x: nn.mse_loss(tg.softmax(x, -1), np.ones((6, 5))), logits)
    agree(lambda x: tg.logsumexp(x, axis=0).mean() + tg.cumsum(x, 1).var(), logits)
    agree(lambda x: (x / x.sum(axis=0, keepdims=True)).max() + abs(x).min(), logits)
    agree(lambda x, y: (x * y).sum() + y[:, None].mean(), logits, rng.normal(size=5))
    agree(lambda x: x * 2.0 + 1.0, np.array(3.0))


def test_sums_of_many_numbers_are_as_exact_as_those_of_numpy() -> None:
    x = np.random.default_rng(6).normal(size=(300, 400)).astype(np.float32) + 1
    run = tg.jit(lambda x: ((x * x).sum(), x.sum(axis=0), x.mean(axis=1)))
    found = [y.numpy() for y in run(tg.tensor(x))]
    assert is_one_call(run) == [True]
    wide = x.astype(np.float64)
    for a, b in zip(found, [(wide * wide).sum(), wide.sum(axis=0), wide.mean(axis=1)], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5)


# --- what is no such program ----------------------------------------------------------------------


def test_arrays_without_elements_and_large_ones_run_by_lines() -> None:
    run = tg.jit(lambda x: (x * 2 + 1).sum())
    assert run(tg.tensor(np.zeros((0, 3)))).item() == 0
    large = np.ones(straight.ROOM // 8 + 1)
    assert run(tg.tensor(large)).item() == 3 * large.size
    assert is_one_call(run) == [False, False]


def test_an_index_out_of_range_is_the_error_of_the_plain_function() -> None:
    table = tg.tensor(np.arange(12.0).reshape(4, 3))
    run = tg.jit(lambda ids: tg.take(table, ids, 0).sum(axis=-1) * 2)
    assert run(tg.tensor([0, -1])).tolist() == [6, 60]
    assert is_one_call(run) == [True]
    with pytest.raises(tg.TinygradError) as plain:
        tg.take(table, tg.tensor([0, 4]), 0)
    with pytest.raises(type(plain.value), match="4"):
        run(tg.tensor([0, 4]))
    assert run(tg.tensor([3, 0])).tolist() == [60, 6]


def test_arrays_with_gaps_are_run_by_lines() -> None:
    x = np.random.default_rng(7).normal(size=(6, 8))
    run = tg.jit(lambda x: tg.tanh(x @ x.T).sum(axis=0) + 1)
    for given in (x, x[:, ::-1], np.asfortranarray(x), x):
        np.testing.assert_allclose(
            run(tg.tensor(given)).numpy(), np.tanh(given @ given.T).sum(0) + 1
        )
    assert all(is_one_call(run))


def test_numerical_faults_are_raised_in_backward_too() -> None:
    step = tg.jit(lambda x, h: (tg.sqrt(x) + h, h))
    x = tg.tensor(np.zeros((2, 1, 2)), requires_grad=True)
    for f in (
        tg.jit(lambda x: tg.sqrt(x).sum()),
        lambda x: tg.unroll(step, x, np.zeros((1, 2)))[0].sum(),
    ):
        total = f(x)
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
            total.backward()


def test_results_are_new_arrays() -> None:
    run = tg.jit(lambda x: (x * 2, x + 1))
    first = run(tg.tensor([1.0, 2.0]))
    second = run(tg.tensor([3.0, 4.0]))
    assert first[0].tolist() == [2, 4] and second[0].tolist() == [6, 8]
    assert first[1].tolist() == [2, 3] and is_one_call(run) == [True]


def test_several_threads_call_one_program() -> None:
    run = tg.jit(lambda x: tg.tanh(x @ x.T).sum(axis=0))
    xs = [np.random.default_rng(k).normal(size=(20, 20)) for k in range(4)]
    run(tg.tensor(xs[0]))
    wrong: list[int] = []

    def work(k: int) -> None:
        expected = np.tanh(xs[k] @ xs[k].T).sum(axis=0)
        for _ in range(300):
            if not np.allclose(run(tg.tensor(xs[k])).numpy(), expected):
                wrong.append(k)

    several = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in several:
        t.start()
    for t in several:
        t.join()
    assert not wrong and is_one_call(run) == [True]


def test_the_text_says_what_is_called() -> None:
    w = tg.tensor(np.ones((3, 2)), requires_grad=True)
    run = tg.jit(lambda x: tg.tanh(x @ w).sum())
    run(tg.tensor(np.ones((4, 3))))
    text = run.source()
    assert "one call" in text and "(4, 3) @ (3, 2)" in text and "tanh test_straight.py" in text


# --- the driver -----------------------------------------------------------------------------------


def _memset() -> int:
    found = ctypes.cast(ctypes.CDLL(None).memset, ctypes.c_void_p).value
    assert found is not None
    return found


def test_the_driver_looks_at_the_arrays() -> None:
    a = np.ones((3, 4), np.float32)
    table = Table([Given((3, 4), a.dtype, True)], [Call(_memset(), False, [Place(0, 16), 0, 16])])
    drive, numbers = driver.drive(), table.copy()
    assert drive(numbers, a) == 0
    np.testing.assert_array_equal(a, [[1] * 4, [0] * 4, [1] * 4])
    frozen = np.ones((3, 4), np.float32)
    frozen.flags.writeable = False
    swapped = a.astype(a.dtype.newbyteorder())
    for wrong in (a.T, a[:2], a.astype(np.float64), swapped, frozen, a[:, ::-1], [1], None):
        assert drive(numbers, wrong) == -2
    assert drive(numbers) == drive(numbers, a, a) == drive(a, a) == drive() == -1


def test_the_driver_says_which_call_went_wrong() -> None:
    table = Table([], [Call(_memset(), False, [0, 0, 0]), Call(_memset(), True, [7, 0, 0])])
    assert driver.drive()(table.copy()) == 2  # memset returns its first argument


def test_numbers_inside_of_a_table_belong_to_it() -> None:
    copy = ctypes.cast(ctypes.CDLL(None).memcpy, ctypes.c_void_p).value
    a = np.zeros(2, np.int64)
    table = Table([Given((2,), a.dtype, True)], [Call(copy, False, [Place(0), Inside([5, 6]), 16])])
    one, other = table.copy(), table.copy()
    one[-2:] = 8, 9
    assert driver.drive()(other, a) == 0 and a.tolist() == [5, 6]
    assert driver.drive()(one, a) == 0 and a.tolist() == [8, 9]


@pytest.mark.parametrize("wrong", [None, 0, 1, 2])
def test_of_several_tables_each_may_be_what_is_wrong(wrong: int | None) -> None:
    a = np.ones(3, np.int64)

    def made(k: int) -> Any:
        calls = [Call(_memset(), False, [Place(0, 8 * k), 0, 8])]
        fails = Call(_memset(), True, [7, 0, 0])
        return Table([Given((3,), a.dtype, True)], [*calls, fails] if k == wrong else calls).copy()

    assert driver.make_calls([made(k) for k in range(3)], [a]) is (wrong is not None)
    assert not a.any()
    assert driver.make_calls([made(1)], [a]) is (wrong == 1)
