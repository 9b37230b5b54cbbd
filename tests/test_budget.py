"""`tg.unroll` with a budget of memory: the schedule, and the gradients that it gives."""

from __future__ import annotations

import functools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tree import leaves
from tinygrad_rnn.recurrent import schedule as scheduling
from tinygrad_rnn.recurrent.footprint import Footprint, footprint
from tinygrad_rnn.recurrent.schedule import Stretch, schedule, size_in_words, size_of
from tinygrad_rnn.recurrent.sequence import Sequence

T, BATCH, INPUT, HIDDEN = 24, 3, 2, 4
LENGTHS = np.array([5, T, 11])

# --- the schedule -----------------------------------------------------------------------------------


def fewest(T: int, state: int, step: int, budget: int) -> float:
    """The least number of steps that are run again, by the recurrence as it stands in the text."""

    @functools.cache
    def again(room: int, t: int) -> float:
        if t * step <= room:
            return 0
        if room < step:
            return float("inf")
        return min(y + again(room, y) + again(room - state, t - y) for y in range(1, t))

    for t in range(1, T):  # from below, since the recurrence goes as deep as t
        for room in range(budget, step - 1, -max(state, 1)):
            again(room, t)
            if not state:
                break
    return again(budget, T)


def followed(stretch: Stretch, state: int, step: int) -> tuple[int, int]:
    """Follow a schedule, and return how many steps are run again, and the most memory at a time."""
    most = again = 0
    stack: list[tuple[Stretch, int]] = [(stretch, 0)]  # what is to be worked on, with what is kept
    while stack:
        here, kept = stack.pop()
        if not here.parts:
            most = max(most, kept + here.steps * step)
            continue
        assert sum(p.steps for p in here.parts) == here.steps
        *segments, last = here.parts
        for k, segment in enumerate(segments):
            # while it runs for the first time, and again, those before it wait for their turn
            stack.append((segment, kept + k * state))
            again += segment.steps
        stack.append((last, kept + len(segments) * state))
    return again, most


@pytest.mark.parametrize("T", [1, 2, 3, 7, 20, 41, pytest.param(100, marks=pytest.mark.full)])
@pytest.mark.parametrize(("state", "step"), [(1, 1), (2, 7), (9, 4), (1, 30), (0, 3)])
def test_the_schedule_is_the_best_one(T: int, state: int, step: int) -> None:
    for share in (1.0, 0.6, 0.3, 0.12, 0.05):
        budget = max(int(T * step * share), step + state)
        found = scheduling._within(T, state, step, budget)
        expected = fewest(T, state, step, budget)
        if found is None:  # what is too deep
            assert expected > T * 3
            continue
        assert found.steps == T and found.again == expected
        again, most = followed(found, state, step)
        assert again == expected and most <= budget


@pytest.mark.parametrize(
    ("T", "budget"),
    [
        (500, 60),
        (300, 40),
        *[pytest.param(*g, marks=pytest.mark.full) for g in ((500, 150), (400, 900))],
    ],
)
def test_the_schedule_of_a_long_sequence_is_the_best_one(T: int, budget: int) -> None:
    found = schedule(T, 10, 4, budget)
    assert found.again == fewest(T, 10, 4, budget)
    again, most = followed(found, 10, 4)
    assert again == found.again and most <= budget


@pytest.mark.parametrize("T", [1025, 5000, 100_000])
def test_very_long_sequences_keep_to_the_budget(T: int) -> None:
    budget = 2 * T
    found = schedule(T, 2, 7, budget)
    again, most = followed(found, 2, 7)
    assert found.steps == T and again == found.again < T and most <= budget


@pytest.mark.parametrize(("T", "state", "step"), [(10, 5, 3), (300, 5, 3), (2000, 1, 10)])
def test_the_least_budget_that_is_said_is_enough(T: int, state: int, step: int) -> None:
    with pytest.raises(tg.TinygradError, match=f"too little for {T} steps.*a state takes") as error:
        schedule(T, state, step, 2)
    least = size_of(str(error.value).rpartition("at least ")[2])
    assert schedule(T, state, step, least).steps == T
    with pytest.raises(tg.TinygradError):
        schedule(T, state, step, least * 9 // 10)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1 B", 1), ("200 MB", 2 * 10**8), ("1.5kB", 1500), (" 2 KiB ", 2048), ("3MiB", 3 << 20), ("0.5 GB", 5 * 10**8), ("1 GiB", 1 << 30)],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "MB", "200", "200 Mb", "-1 MB", "0 MB", "1e3 MB", "2 MB 3", "0.1 B", "nan MB", "200 mb", "٣ MB"])  # fmt: skip
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(tg.TinygradError, match=r"a number above 0 and a unit .*'200 MB'; found"):
        tg.unroll(tg.cells.Elman(2, 3), np.zeros((4, 2, 2), np.float32), checkpoint=text)


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 12345, 999_950, 10**6 + 1, 10**9, 10**13 + 7])
def test_sizes_in_words_are_not_less(size: int) -> None:
    assert size <= size_of(size_in_words(size)) <= size * 1.01


# --- gradients --------------------------------------------------------------------------------------


class Two(tg.Cell):
    """A cell whose state is a dict of unequal shapes, one of integers."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.W = tg.Parameter(rng.normal(size=(INPUT, HIDDEN)) * 0.6)
        self.U = tg.Parameter(rng.normal(size=(HIDDEN, HIDDEN)) * 0.6)

    def initial_state(self, batch_size: int) -> Any:
        return {
            "h": self.zeros(batch_size, HIDDEN),
            "fast": self.zeros(batch_size, 2, HIDDEN),
            "count": tg.tensor(np.zeros(batch_size, np.int64)),
        }

    def forward(self, x: Any, state: Any) -> Any:
        h = tg.tanh(x @ self.W + state["h"] @ self.U + state["fast"].sum(axis=1))
        fast = 0.9 * state["fast"] + 0.1 * tg.stack([h, h * h], axis=1)
        return h * fast[:, 0], {"h": h, "fast": fast, "count": state["count"] + 1}


def lstm() -> tg.Cell:
    return tg.cells.LSTM(INPUT, HIDDEN, rng=1, dtype=np.float64)


def masked() -> tg.Cell:
    inner = tg.nn.VariationalDropout(lstm(), state=0.3, rng=2)
    return tg.nn.Zoneout(inner, 0.2, rng=3)


class Dropped(tg.Cell):
    """A cell with a mask that comes from a generator."""

    def __init__(self) -> None:
        self.cell, self.dropout = lstm(), tg.nn.Dropout(0.4, rng=6)

    def initial_state(self, batch_size: int) -> Any:
        return self.cell.initial_state(batch_size)

    def forward(self, x: Any, state: Any) -> Any:
        y, state = self.cell(x, state)
        return self.dropout(y), state


CELLS: dict[str, Callable[[], tg.Cell]] = {
    "LSTM": lstm,
    "dict": Two,
    "masks": masked,
    "dropout": Dropped,
    "batch norm": lambda: tg.nn.RecurrentBatchNorm(lstm(), T),
    "weight drop": lambda: tg.nn.WeightDrop(lstm(), 0.3, rng=4),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reverse": {"reverse": True},
    "lengths": {"lengths": LENGTHS},
    "resets": {"resets": np.random.default_rng(3).random((T, BATCH)) < 0.2, "lengths": LENGTHS},
    "states": {"return_states": True, "reverse": True},
}


def of_all(cell: tg.Cell, checkpoint: Any, options: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    """Results, gradients by inputs and parameters, and buffers afterwards."""
    rng = np.random.default_rng(8)
    xs = tg.tensor(rng.normal(size=(T, BATCH, INPUT)), requires_grad=True)
    ys, states = tg.unroll(cell, xs, checkpoint=checkpoint, **options)
    floats = [y for y in (*leaves(ys), *leaves(states)) if y.dtype.kind == "f"]
    sum((y * y * tg.tensor(rng.normal(size=y.shape))).sum() for y in floats).backward()
    found = [y.numpy() for y in (*leaves(ys), *leaves(states))]
    found += [xs.grad.numpy(), *[p.grad.numpy() for p in cell.parameters()]]
    return found + [np.asarray(a) for a in cell.state_dict().values()]


def budgets(cell: tg.Cell, options: dict[str, Any]) -> list[str]:
    """From one that needs no second run down to the least."""
    given = {k: v for k, v in options.items() if k in ("lengths", "resets")}
    sequence = Sequence(cell, np.zeros((T, BATCH, INPUT)), None, given.get("lengths"), given.get("resets"))  # fmt: skip
    return of_footprint(footprint(sequence, False, "return_states" in options))


def of_footprint(one: Footprint) -> list[str]:
    sizes = [one.step * T, one.step * T // 2, one.step * 5, one.step * 2 + one.state * 3]
    return [f"{size} B" for size in sizes]


@pytest.mark.parametrize("how", OPTIONS)
@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        *[pytest.param(name, False, id=f"{name}-plain") for name in CELLS],
        *[pytest.param(name, True, id=f"{name}-compiled") for name in ("LSTM", "dict", "dropout")],
        *[
            pytest.param(name, True, id=f"{name}-compiled", marks=pytest.mark.full)
            for name in ("masks", "batch norm", "weight drop")
        ],
    ],
)
def test_a_budget_changes_nothing(name: str, how: str, compiled: bool) -> None:
    if compiled and name != "LSTM" and how not in ("plain", "resets"):
        pytest.skip("what runs one by one is compiled once")

    def made() -> tg.Cell:
        cell = CELLS[name]()
        return tg.jit(cell) if compiled else cell

    options = OPTIONS[how]
    expected = of_all(made(), None, options)
    for budget in budgets(made(), options):
        for k, (a, b) in enumerate(zip(of_all(made(), budget, options), expected, strict=True)):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=f"{k} for {budget}")


def test_steps_are_run_again_as_often_as_the_schedule_says() -> None:
    ran: list[int] = []
    cell = lstm()

    def step(x: Any, state: Any) -> Any:
        ran.append(1)
        return cell(x, state)

    xs, first = np.zeros((T, BATCH, INPUT)), cell.initial_state(BATCH)
    one = footprint(Sequence(step, xs, first, None, None), False, False)
    for budget in of_footprint(one)[1:]:
        expected = schedule(T, *one, size_of(budget)).again
        ys, _ = tg.unroll(step, xs, first, checkpoint=budget)
        del ran[:]
        ys.sum().backward()
        assert len(ran) == expected > 0


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_higher_orders_with_a_budget(compiled: bool) -> None:
    rng = np.random.default_rng(0)
    cell: Any = tg.cells.GRU(1, 2, rng=0, dtype=np.float64)
    cell = tg.jit(cell) if compiled else cell
    xs, h = rng.normal(size=(6, 2, 1)), rng.normal(size=(2, 2))
    x, v = tg.tensor(xs), tg.tensor(rng.normal(size=xs.shape))
    one = footprint(Sequence(cell, x, tg.tensor(h), None, None), False, False)

    def f(x: Any, c: Any) -> Any:
        return (tg.unroll(cell, x, tg.tensor(h), checkpoint=c)[0] ** 2).sum()

    cases: list[Callable[[Any], Any]] = [
        lambda c: tg.hvp(lambda x: f(x, c), x, v),
        lambda c: tg.jvp(lambda x: f(x, c), (x,), (v,))[1],
        lambda c: tg.grad(lambda x: (tg.grad(lambda x: f(x, c))(x) ** 2).sum())(x),
        lambda c: tg.jit(tg.grad(lambda x: f(x, c)))(x),
    ]
    for k, case in enumerate(cases):
        expected = case(None).numpy()
        for size in (one.step * 3 + one.state, one.step + 2 * one.state):
            found = case(f"{size} B").numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12, err_msg=f"case {k}")


def test_within_windows_of_truncated_backpropagation() -> None:
    expected = of_windows(None)
    for budget in ("100 kB", "60 kB"):
        for a, b in zip(of_windows(budget), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def of_windows(budget: str | None) -> list[np.ndarray[Any, Any]]:
    """Gradients of a step that unrolls a sequence itself, in windows that overlap."""
    inner, outer = lstm(), tg.cells.Elman(HIDDEN, HIDDEN, rng=2, dtype=np.float64)
    dropped = tg.nn.VariationalDropout(inner, state=0.3, rng=2)
    xs = np.random.default_rng(1).normal(size=(6, 5, BATCH, INPUT))

    def step(x: Any, state: Any) -> Any:
        ys, _ = tg.unroll(dropped, x, checkpoint=budget)
        return outer(ys[-1], state)

    for window in tg.tbptt(step, xs, state=outer.initial_state(BATCH), k1=2, k2=4):
        window.backward((window.ys**2).sum())
    return [p.grad.numpy() for c in (inner, outer) for p in c.parameters()]


def test_a_budget_that_is_too_small() -> None:
    cell, xs = lstm(), np.zeros((T, BATCH, INPUT))
    with pytest.raises(tg.TinygradError, match=r"checkpoint of 10 B is too little.*least") as e:
        tg.unroll(cell, xs, checkpoint="10 B")
    least = str(e.value).rpartition("at least ")[2]
    tg.unroll(cell, xs, checkpoint=least)[0].sum().backward()
    with tg.no_grad():  # nothing is kept
        tg.unroll(cell, xs, checkpoint="10 B")
    with pytest.raises(tg.TinygradError, match="a hook sees tensors that checkpoint throws away"):
        tg.unroll(cell, xs, checkpoint=least, hook=print)


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_memory_keeps_to_the_budget(compiled: bool) -> None:
    """What is held from the forward pass, and at most in backward, for a state that is carried."""
    steps, plain = 300, tg.cells.LSTM(8, 64, rng=0)
    cell: Any = tg.jit(plain) if compiled else plain
    xs = tg.tensor(np.zeros((steps, 16, 8), np.float32))
    one = footprint(Sequence(cell, xs, None, None, None), False, False)
    outputs = steps * 16 * 64 * 4
    tg.unroll(cell, xs[:2])[0].sum().backward()
    peaks = []
    for budget in (None, one.step * steps // 12):
        tracemalloc.start()
        _, state = tg.unroll(cell, xs, checkpoint=None if budget is None else f"{budget} B")
        state.h.sum().backward()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del state
        if budget is not None:
            assert peaks[1] < budget + 6 * outputs
    assert peaks[0] > 0.7 * one.step * steps + outputs
