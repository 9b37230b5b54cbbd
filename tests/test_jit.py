"""Compiled cells: the same numbers and gradients as the steps one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tree import leaves, unflatten

from .cell_checks import CASES, GROUPS, Case
from .interpreted import interpreting

# compiled in every run of the tests, as that takes seconds; the others run as Python there
OFTEN = ("LSTM", "GRU", "NAS")


def outcome(cell: Any, case: Case, xs: Any, state: Any, dtype: Any, **how: Any) -> list[np.ndarray]:
    """Outputs, last states, and the gradients of a random sum of them by inputs, first state and parameters."""
    rng = np.random.default_rng(2)
    inputs = [
        tg.tensor(np.asarray(x, dtype), requires_grad=True)
        for x in (xs if isinstance(xs, tuple) else (xs,))
    ]
    first = [tg.tensor(np.asarray(s, dtype), requires_grad=True) for s in leaves(state)]
    cell.zero_grad()
    ys, last = tg.unroll(
        cell,
        tuple(inputs) if isinstance(xs, tuple) else inputs[0],
        unflatten(state, list(first)),
        **how,
    )
    results = [*leaves(ys), *leaves(last)]
    sum(
        ((y * rng.normal(size=y.shape)).sum() for y in results), tg.tensor(np.zeros((), dtype))
    ).backward()
    given = [*inputs, *first, *cell.parameters()]
    return [
        *(y.numpy() for y in results),
        *(np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in given),
    ]


def check(case: Case, dtype: Any, **how: Any) -> None:
    cell = case.make(dtype)
    xs, state = case.draw(cell, np.random.default_rng(4))
    tolerance = (
        {"rtol": 1e-10, "atol": 1e-12} if dtype == np.float64 else {"rtol": 2e-5, "atol": 2e-5}
    )
    plain, compiled = (outcome(c, case, xs, state, dtype, **how) for c in (cell, tg.jit(cell)))
    for k, (a, b) in enumerate(zip(compiled, plain, strict=True)):
        assert a.dtype == dtype or not a.any()
        np.testing.assert_allclose(a, b, **tolerance, err_msg=f"value {k} of {len(plain)}")


def named(names: tuple[str, ...], inside: bool = True) -> list[Case]:
    return [c for c in CASES if (c.cell.__name__ in names) == inside]


@pytest.mark.parametrize("case", named(OFTEN), ids=str)
def test_equal_to_the_steps_one_by_one(case: Case) -> None:
    check(case, np.float64)
    check(case, np.float64, reverse=True, lengths=np.array([1, 3]))


@pytest.mark.parametrize("case", [group[0] for group in GROUPS.values()], ids=str)
def test_every_cell_of_the_zoo_as_python(case: Case) -> None:
    with interpreting():
        check(case, np.float64, reverse=True, lengths=np.array([1, 3]))


@pytest.mark.full
@pytest.mark.parametrize("case", named(OFTEN, inside=False), ids=str)
def test_every_other_cell_of_the_zoo(case: Case) -> None:
    check(case, np.float64)
    check(case, np.float64, reverse=True, lengths=np.array([1, 3]))


@pytest.mark.full
@pytest.mark.parametrize("case", named((), inside=False), ids=str)
def test_float32(case: Case) -> None:
    check(case, np.float32)


def drawn(case: Case, cell: Any, T: int, batch: int) -> tuple[Any, Any]:
    """A sequence of so many steps and rows, of several that the case draws, and a first state."""
    draws = [
        [case.draw(cell, np.random.default_rng(100 * i + j)) for j in range(batch // 2 + 1)]
        for i in range(T // 3 + 1)
    ]

    def joined(k: Any) -> np.ndarray:
        parts = [[xs if k is None else xs[k] for xs, _ in row] for row in draws]
        return np.concatenate([np.concatenate(row, axis=1) for row in parts], axis=0)[:T, :batch]

    xs, state = draws[0][0]
    given = tuple(joined(k) for k in range(len(xs))) if isinstance(xs, tuple) else joined(None)
    rows = [
        np.concatenate(parts)[:batch]
        for parts in zip(*(leaves(s) for _, s in draws[0]), strict=True)
    ]
    return given, unflatten(state, rows)


@pytest.mark.full
@pytest.mark.parametrize("case", [group[0] for group in GROUPS.values()], ids=str)
def test_every_cell_for_every_batch_and_length(case: Case) -> None:
    """One program for all; then gradients of gradients."""
    cell = case.make(np.float64)
    fast = tg.jit(cell)
    for T in (1, 2, 17):
        for batch in (1, 3, 32):
            xs, state = drawn(case, cell, T, batch)
            plain, compiled = (outcome(c, case, xs, state, np.float64) for c in (cell, fast))
            for k, (a, b) in enumerate(zip(compiled, plain, strict=True)):
                np.testing.assert_allclose(
                    a,
                    b,
                    rtol=1e-9,
                    atol=1e-11,
                    err_msg=f"T={T}, batch={batch}: value {k} of {len(plain)}",
                )
    xs, state = drawn(case, cell, 2, 3)
    found = []
    for one in (cell, fast):
        first = [tg.tensor(np.asarray(s), requires_grad=True) for s in leaves(state)]
        ys, last = tg.unroll(
            one,
            tuple(map(tg.tensor, xs)) if isinstance(xs, tuple) else tg.tensor(xs),
            unflatten(state, list(first)),
        )
        total = sum(
            ((y * y).sum() for y in [*leaves(ys), *leaves(last)]), tg.tensor(0.0, np.float64)
        )
        cell.zero_grad()
        total.backward(create_graph=True)
        norms = [(p.grad * p.grad).sum() for p in cell.parameters() if p.grad is not None]
        for p in cell.parameters():
            p.grad = None
        if norms and sum(norms).requires_grad:
            sum(norms).backward()
        found.append(
            [np.zeros(p.shape) if p.grad is None else p.grad.numpy() for p in cell.parameters()]
        )
    for k, (a, b) in enumerate(zip(*found, strict=True)):
        np.testing.assert_allclose(
            b, a, rtol=1e-9, atol=1e-10, err_msg=f"second order: parameter {k}"
        )


@pytest.mark.full
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "Elman", "PeepholeLSTM", "LayerNormLSTM", "CoRNN"])
def test_sizes_that_are_no_multiple_of_a_vector(name: str, dtype: Any) -> None:
    rng = np.random.default_rng(5)
    for inputs, hidden, batch in ((3, 5, 7), (17, 33, 20), (30, 70, 1)):
        cell = getattr(tg.cells, name)(inputs, hidden, rng=0, dtype=dtype)
        xs = rng.normal(size=(9, batch, inputs)).astype(dtype)
        lengths = rng.integers(1, 10, batch)
        found = []
        for one in (cell, tg.jit(cell)):
            cell.zero_grad()
            ys, last = tg.unroll(one, xs, lengths=lengths)
            (sum((s * s).sum() for s in leaves(last)) + (ys * ys).sum()).backward()
            found.append(
                [
                    ys.numpy(),
                    *(s.numpy() for s in leaves(last)),
                    *(p.grad.numpy() for p in cell.parameters()),
                ]
            )
        tolerance = 1e-10 if dtype == np.float64 else 2e-5
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(
                b, a, rtol=tolerance, atol=tolerance * max(1.0, np.abs(a).max())
            )


@pytest.fixture(scope="module")
def lstm() -> tuple[Any, Any]:
    cell = tg.cells.LSTM(3, 5, rng=0, dtype=np.float64)
    return cell, tg.jit(cell)


@pytest.mark.parametrize("batch", [1, 3, 32])
@pytest.mark.parametrize("T", [1, 2, 17])
@pytest.mark.parametrize(
    "how", ["plain", "reverse", "lengths", "resets", "return_states", "checkpoint"]
)
def test_one_program_for_every_batch_and_length(lstm: Any, batch: int, T: int, how: str) -> None:
    rng = np.random.default_rng(T + batch)
    options: dict[str, Any] = {
        "plain": {},
        "reverse": {"reverse": True},
        "lengths": {"lengths": rng.integers(1, T + 1, batch)},
        "resets": {"resets": rng.random((T, batch)) < 0.3},
        "return_states": {"return_states": True},
        "checkpoint": {"checkpoint": 4},
    }[how]
    xs = rng.normal(size=(T, batch, 3))
    found = []
    for cell in lstm:
        lstm[0].zero_grad()
        x = tg.tensor(xs, requires_grad=True)
        ys, state = tg.unroll(cell, x, **options)
        ((ys * ys).sum() + sum((s * s * s).sum() for s in leaves(state))).backward()
        found.append(
            [
                ys.numpy(),
                *(s.numpy() for s in leaves(state)),
                x.grad.numpy(),
                *(p.grad.numpy() for p in lstm[0].parameters()),
            ]
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


def test_a_row_that_has_ended_does_not_begin_anew() -> None:
    def leaky(x: Any, h: Any) -> Any:
        h = 0.5 * h + x
        return h, h

    resets = np.zeros((4, 2), bool)
    resets[3] = True
    found = []
    for cell in (leaky, tg.jit(leaky)):
        x = tg.tensor(np.random.default_rng(0).normal(size=(4, 2, 1)), requires_grad=True)
        ys, states = tg.unroll(
            cell, x, np.ones((2, 1)), lengths=np.array([2, 4]), resets=resets, return_states=True
        )
        (ys.sum() + (states * states).sum()).backward()
        found.append([ys.numpy(), states.numpy(), x.grad.numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)


def test_random_numbers_of_numpy_are_found_out() -> None:
    def step(x: Any, h: Any) -> Any:
        h = h + x * np.random.default_rng().random(3)
        return h, h

    with pytest.raises(
        tg.CompileError, match=r"was not the same in its two recordings: random numbers"
    ):
        tg.unroll(tg.jit(step), np.ones((4, 2, 3)), np.zeros((2, 3)))


def test_derivatives_of_higher_order_and_forward_mode(lstm: Any) -> None:
    assert tg.gradcheck(
        lambda x: tg.unroll(lstm[1], x),
        np.random.default_rng(0).normal(size=(4, 2, 3)),
        order=2,
        rtol=1e-4,
    )


def test_truncated_backpropagation(lstm: Any) -> None:
    xs = np.random.default_rng(1).normal(size=(11, 2, 3))
    found: list[list[np.ndarray]] = []
    for cell in lstm:
        found.append([])
        for window in tg.tbptt(cell, xs, 3, 5):
            lstm[0].zero_grad()
            window.backward((window.ys * window.ys).sum())
            found[-1] += [window.ys.numpy(), *(p.grad.numpy() for p in lstm[0].parameters())]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


def test_parameters_are_read_at_each_call(lstm: Any) -> None:
    cell = tg.cells.LSTM(3, 5, rng=1, dtype=np.float64)
    fast = tg.jit(cell)
    xs = np.random.default_rng(1).normal(size=(4, 2, 3))
    tg.unroll(fast, xs)
    cell.load_state_dict(lstm[0].state_dict())
    np.testing.assert_allclose(
        tg.unroll(fast, xs)[0].numpy(), tg.unroll(cell, xs)[0].numpy(), rtol=1e-12
    )
    fast.bias_ih = tg.Parameter(np.ones(20))
    np.testing.assert_allclose(
        tg.unroll(fast, xs)[0].numpy(), tg.unroll(cell, xs)[0].numpy(), rtol=1e-12
    )
    assert [n for n, _ in fast.named_parameters()] == [n for n, _ in cell.named_parameters()]


def test_padding_may_hold_anything(lstm: Any) -> None:
    xs = np.random.default_rng(1).normal(size=(4, 2, 3))
    xs[2:, 0] = np.nan
    ys, _ = tg.unroll(lstm[1], xs, lengths=np.array([2, 4]))
    lstm[0].zero_grad()
    (ys * ys).sum().backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in lstm[0].parameters())


def test_what_cannot_be_compiled_is_named() -> None:
    outside = np.ones((2, 3), np.float32)
    with pytest.raises(tg.CompileError, match=r"batches of 11 and 13 rows.*has to be a tensor"):
        tg.unroll(
            tg.jit(lambda x, h: (h * outside, h + x)),
            np.ones((4, 2, 3), np.float32),
            np.zeros((2, 3), np.float32),
        )
    with pytest.raises(tg.CompileError, match="LSTM is a layer"):
        tg.jit(tg.nn.LSTM(2, 3))
    with pytest.raises(tg.TinygradError, match="hook looks at single steps"):
        tg.unroll(
            tg.jit(tg.cells.GRU(3, 3, rng=0)),
            np.ones((4, 2, 3), np.float32),
            hook=lambda t, y, s: None,
        )


def test_no_memory_is_held_between_training_steps(lstm: Any) -> None:
    import gc

    xs = np.random.default_rng(1).normal(size=(5, 2, 3))
    counts = []
    gc.disable()
    try:
        for _ in range(6):
            lstm[0].zero_grad()
            ys, _ = tg.unroll(lstm[1], xs)
            (ys * ys).sum().backward()
            del ys
            counts.append(len(gc.get_objects()))
    finally:
        gc.enable()
    assert counts[-1] == counts[2]


def test_source_is_the_module(lstm: Any) -> None:
    tg.unroll(lstm[1], np.zeros((2, 1, 3)))
    text = lstm[1].source()
    compile(text, "generated", "exec")
    assert "def forward(T, B, " in text and "def backward(" in text and "weight_hh" in text
    with pytest.raises(tg.CompileError, match=r"not unrolled yet.*give an example"):
        tg.jit(tg.cells.GRU(2, 3)).source()
