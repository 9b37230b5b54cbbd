"""`tg.tbptt`: the gradients of every window against a graph that is cut by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import interpreting
from tinygrad_rnn.core.tree import flatten, leaves, tree_map

pytestmark = pytest.mark.usefixtures("eager")

T, BATCH, INPUT, HIDDEN = 23, 3, 2, 3
PAIRS = [(1, 1), (1, 5), (5, 5), (5, 20), (20, 20), (7, 3), (4, 9), (30, 30), (30, 4), (3, 100)]
LENGTHS = [23, 9, 14]


class Leaky(tg.Cell):
    """A dict as state, of unequal shapes; the output is none of its components."""

    def __init__(self, rng: Any) -> None:
        self.W, self.U = (
            tg.Parameter(rng.normal(size=s) * 0.5) for s in ((HIDDEN, INPUT), (HIDDEN, HIDDEN))
        )

    def initial_state(self, batch_size: int) -> Any:
        return {"h": self.zeros(batch_size, HIDDEN), "mean": self.zeros(batch_size, 1)}

    def forward(self, x: Any, state: Any) -> Any:
        h = tg.tanh(x @ self.W.T + state["h"] @ self.U.T + state["mean"])
        mean = 0.9 * state["mean"] + 0.3 * h.sum(axis=1, keepdims=True)
        return h * mean, {"h": h, "mean": mean}


CELLS: dict[str, Any] = {
    "Elman": lambda rng: tg.cells.Elman(INPUT, HIDDEN, rng=rng, dtype=np.float64),
    "LSTM": lambda rng: tg.cells.LSTM(INPUT, HIDDEN, rng=rng, dtype=np.float64),
    "dict": Leaky,
}


def taken(named: dict[str, Any]) -> dict[str, np.ndarray]:
    found = {
        name: np.zeros(t.shape) if t.grad is None else t.grad.numpy() for name, t in named.items()
    }
    for t in named.values():
        t.grad = None
    return found


def loss_of(ys: Any, start: int, stop: int) -> Any:
    """Different weights for every element of every step."""
    weights = np.random.default_rng(9).normal(size=(T, BATCH, HIDDEN))[start:stop]
    return (ys * weights + ys * ys).sum()


def cut_by_hand(
    cell: Any,
    xs: Any,
    k1: int,
    k2: int,
    named: dict[str, Any],
    first: Any = None,
    lengths: Any = None,
    resets: Any = None,
    moved: int = 0,
) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """Outputs and gradients of each window.

    The whole graph from step 0, with the state cut at step stop - k2 (+ `moved`) alone.
    """
    begin = cell.initial_state(BATCH) if first is None else first
    for start in range(0, T, k1):
        stop = min(start + k1, T)
        cut = stop - k2 + moved
        origin = tree_map(lambda s: s + np.zeros((BATCH, *s.shape[1:])), begin)
        state, ys = origin, []
        for t in range(stop):
            # before step 0 there is nothing to cut: the first state may be learnt
            if t == cut and t > 0:
                state = tree_map(lambda s: s.detach(), state)
            if t < cut:
                with tg.no_grad():
                    y, state = one_step(cell, xs[t], state, origin, t, lengths, resets)
            else:
                y, state = one_step(cell, xs[t], state, origin, t, lengths, resets)
            ys.append(y)
        newest = tg.stack(ys[start:])
        loss_of(newest, start, stop).backward()
        yield newest.numpy(), taken(named)


def one_step(cell: Any, x: Any, state: Any, origin: Any, t: int, lengths: Any, resets: Any) -> Any:
    def rows(mask: Any, a: Any, b: Any) -> Any:
        return tg.where(np.asarray(mask).reshape(-1, 1), a, b)

    going = [True] * BATCH if lengths is None else [t < n for n in lengths]
    if resets is not None:
        anew = np.asarray(resets[t]) & np.asarray(going)
        state = tree_map(lambda a, b: rows(anew, a, b), origin, state)
    y, new = cell.forward(x, state)
    return rows(going, y, 0.0), tree_map(lambda a, b: rows(going, a, b), new, state)


def windows(
    cell: Any, xs: Any, k1: int, k2: int, named: dict[str, Any], **options: Any
) -> Iterator[tuple[Any, dict[str, np.ndarray], Any]]:
    for window in tg.tbptt(cell, xs, k1, k2, **options):
        window.backward(loss_of(window.ys, window.start, window.stop))
        yield window.ys.numpy(), taken(named), window


def everything(cell: Any, **more: Any) -> dict[str, Any]:
    return {**dict(cell.named_parameters()), **more}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], what: str) -> None:
    assert list(found) == list(expected)
    for name, g in expected.items():
        np.testing.assert_allclose(
            found[name], g, rtol=1e-10, atol=1e-10, err_msg=f"{what}, {name}"
        )


@pytest.mark.parametrize("extra", ["", "lengths", "resets", "first", "all"])
@pytest.mark.parametrize("k1, k2", PAIRS)
@pytest.mark.parametrize("name", CELLS)
def test_windows_against_a_graph_cut_by_hand(
    name: str, k1: int, k2: int, extra: str, rng: np.random.Generator
) -> None:
    cell = CELLS[name](rng)
    xs = tg.tensor(rng.normal(size=(T, BATCH, INPUT)), requires_grad=True)
    named = everything(cell, xs=xs)
    options: dict[str, Any] = {}
    if extra in ("lengths", "all"):
        options["lengths"] = LENGTHS
    if extra in ("resets", "all"):
        options["resets"] = rng.random((T, BATCH)) < 0.2
    first = None
    if extra in ("first", "all"):
        first = tree_map(
            lambda s: tg.Parameter(rng.normal(size=(1, *s.shape[1:]))), cell.initial_state(BATCH)
        )
        named |= {f"first{path}": s for path, s in flatten(first)}
    expected = list(cut_by_hand(cell, xs, k1, k2, named, first, **options))
    count = 0
    for k, (ys, gradients, window) in enumerate(
        windows(cell, xs, k1, k2, named, state=first, **options)
    ):
        start, stop = k * k1, min((k + 1) * k1, T)
        assert (window.start, window.stop, window.reach) == (start, stop, max(0, stop - k2))
        np.testing.assert_allclose(ys, expected[k][0], rtol=1e-12, atol=1e-13)
        assert_equal(gradients, expected[k][1], repr(window))
        assert not gradients["xs"][: window.reach].any() and not gradients["xs"][stop:].any()
        assert all(not s.requires_grad for s in leaves(window.state))
        count += 1
    assert count == len(expected) == -(-T // k1)


@pytest.mark.parametrize("moved", [-1, 1])
@pytest.mark.parametrize("k1, k2", [(1, 5), (5, 5), (5, 20), (7, 3), (4, 9)])
@pytest.mark.parametrize("name", CELLS)
def test_a_cut_one_step_away_gives_another_gradient(
    name: str, k1: int, k2: int, moved: int, rng: np.random.Generator
) -> None:
    cell = CELLS[name](rng)
    xs = tg.tensor(rng.normal(size=(T, BATCH, INPUT)))
    named = everything(cell)
    pairs = zip(
        windows(cell, xs, k1, k2, named),
        cut_by_hand(cell, xs, k1, k2, named, moved=moved),
        strict=True,
    )
    differences = []
    for (_, found, window), (_, other) in pairs:
        if window.reach > 0:
            differences.append(max(float(np.abs(found[n] - other[n]).max()) for n in named))
    assert differences and min(differences) > 1e-7


@pytest.mark.parametrize("k1, k2", [(1, 5), (5, 5), (5, 12), (7, 3)])
@pytest.mark.parametrize("name", CELLS)
def test_an_optimiser_steps_between_windows(
    name: str, k1: int, k2: int, rng: np.random.Generator
) -> None:
    """Steps that are run again use the parameters as they are.

    The state before them was recorded with those of that time.
    """
    cell, twin = CELLS[name](np.random.default_rng(4)), CELLS[name](np.random.default_rng(4))
    xs = tg.tensor(rng.normal(size=(T, BATCH, INPUT)))
    one, two = tg.optim.SGD(cell.parameters(), lr=0.02), tg.optim.SGD(twin.parameters(), lr=0.02)
    # states by the step they enter, as the newest run left them
    entering = {0: twin.initial_state(BATCH)}
    for window in tg.tbptt(cell, xs, k1, k2):
        window.backward(loss_of(window.ys, window.start, window.stop))
        start, stop = window.start, window.stop
        begin = max(t for t in entering if t <= max(0, stop - k2))
        state, ys = entering[begin], []
        for t in range(begin, stop):
            if t == stop - k2:
                state = tg.detach(state)
            entering[t] = tg.detach(state)
            if t < stop - k2:
                with tg.no_grad():
                    y, state = twin.forward(xs[t], state)
            else:
                y, state = twin.forward(xs[t], state)
            if t >= start:
                ys.append(y)
        entering[stop] = tg.detach(state)
        newest = tg.stack(ys)
        np.testing.assert_allclose(window.ys.numpy(), newest.numpy(), rtol=1e-12, atol=1e-13)
        loss_of(newest, start, stop).backward()
        assert_equal(
            {n: p.grad.numpy() for n, p in cell.named_parameters()},
            {n: p.grad.numpy() for n, p in twin.named_parameters()},
            repr(window),
        )
        for optimizer in (one, two):
            optimizer.step()
            optimizer.zero_grad()
    for a, b in zip(cell.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10)


@pytest.mark.parametrize("k1, k2", [(3, 3), (2, 7), (5, 2)])
@pytest.mark.parametrize("name", CELLS)
def test_a_learnable_first_state_is_trained(
    name: str, k1: int, k2: int, rng: np.random.Generator
) -> None:
    """With a step of the optimiser between windows.

    The graph from the first state is new in each of them.
    """
    cell = CELLS[name](rng)
    first = tree_map(
        lambda s: tg.Parameter(rng.normal(size=(1, *s.shape[1:]))), cell.initial_state(BATCH)
    )
    optimizer = tg.optim.SGD([*leaves(first), *cell.parameters()], lr=0.01)
    resets = rng.random((T, BATCH)) < 0.2
    for window in tg.tbptt(cell, rng.normal(size=(T, BATCH, INPUT)), k1, k2, first, resets=resets):
        before = [s.numpy() for s in leaves(first)]
        window.backward(loss_of(window.ys, window.start, window.stop))
        touched = window.reach == 0 or resets[window.reach : window.stop].any()
        assert all((s.grad is not None and s.grad.numpy().any()) == touched for s in leaves(first))
        optimizer.step()
        optimizer.zero_grad()
        assert all(
            (s.numpy() != b).any() == touched for s, b in zip(leaves(first), before, strict=True)
        )


@pytest.mark.parametrize("k1, k2", [(3, 3), (2, 7), (5, 2), (40, 40)])
@pytest.mark.parametrize("name", CELLS)
def test_the_state_is_carried_into_the_next_call(
    name: str, k1: int, k2: int, rng: np.random.Generator
) -> None:
    cell, xs = CELLS[name](rng), rng.normal(size=(T, BATCH, INPUT))
    whole, last = tg.unroll(cell, xs)
    state, outputs = None, []
    for part in (xs[:8], xs[8:17], xs[17:]):
        for window in tg.tbptt(cell, part, k1, k2, state):
            outputs.append(window.ys.numpy())
        state = window.state
        assert window.stop == len(part)
    np.testing.assert_allclose(np.concatenate(outputs), whole.numpy(), rtol=1e-12)
    for a, b in zip(leaves(state), leaves(last), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@pytest.mark.parametrize("k1, k2", [(1, 4), (3, 3), (2, 7), (5, 2)])
@pytest.mark.parametrize("kind", ["VariationalDropout", "Zoneout", "WeightDrop"])
def test_masks_are_the_same_when_steps_are_run_again(
    kind: str, k1: int, k2: int, rng: np.random.Generator
) -> None:
    xs = rng.normal(size=(T, BATCH, INPUT))

    def make() -> Any:
        cell = tg.cells.LSTM(INPUT, HIDDEN, rng=0, dtype=np.float64)
        options = (
            {"input": 0.3, "state": 0.4, "output": 0.3}
            if kind == "VariationalDropout"
            else {"p": 0.4}
        )
        return getattr(tg.nn, kind)(cell, rng=1, **options)

    whole, _ = tg.unroll(make(), xs)
    cell = make()
    outputs = [window.ys.numpy() for window in tg.tbptt(cell, xs, k1, k2)]
    np.testing.assert_allclose(np.concatenate(outputs), whole.numpy(), rtol=1e-12)
    second, expected = (
        np.concatenate([w.ys.numpy() for w in tg.tbptt(c, xs, k1, k2)]) for c in (cell, make())
    )
    np.testing.assert_array_equal(expected, np.concatenate(outputs))
    assert (second != expected).any(), "another sequence has other masks"


@pytest.mark.parametrize("k1, k2", [(1, 4), (3, 3), (2, 7), (5, 2)])
def test_gradients_with_masks(k1: int, k2: int, rng: np.random.Generator) -> None:
    """Against the plain unrolling of the same masks, cut by hand."""
    xs = rng.normal(size=(T, BATCH, INPUT))

    def make() -> Any:
        return tg.nn.VariationalDropout(
            tg.cells.GRU(INPUT, HIDDEN, rng=0, dtype=np.float64), state=0.4, input=0.3, rng=1
        )

    cell = make()
    for window in tg.tbptt(cell, xs, k1, k2):
        window.backward(loss_of(window.ys, window.start, window.stop))
        found, twin = taken(everything(cell)), make()

        def step(x: Any, pair: Any, twin: Any = twin, reach: int = window.reach) -> Any:
            t, h = pair
            h = tg.where(t == reach, h.detach(), h) if reach else h
            y, h = twin(x, h)
            return y, (t + 1, h)

        start = (np.zeros((BATCH, 1), int), np.zeros((BATCH, HIDDEN)))
        ys, _ = tg.unroll(step, xs[: window.stop], start)
        middle = max(window.start, window.reach)
        loss_of(
            tg.concatenate([ys[window.start : middle].detach(), ys[middle:]]),
            window.start,
            window.stop,
        ).backward()
        assert_equal(found, taken(everything(twin)), repr(window))


@pytest.mark.parametrize("k1, k2", [(1, 4), (2, 7), (5, 2)])
def test_sequences_inside_steps_have_the_same_masks_again(
    k1: int, k2: int, rng: np.random.Generator
) -> None:
    xs = rng.normal(size=(9, BATCH, INPUT))

    def make() -> Any:
        inner = tg.nn.Zoneout(tg.cells.Elman(1, 2, rng=0, dtype=np.float64), 0.5, rng=1)

        def step(x: Any, h: Any) -> Any:
            first, _ = tg.unroll(inner, x.T[:, :, None])
            second, _ = tg.unroll(inner, 2 * x.T[:, :, None])
            h = tg.tanh(h + first[-1] - second[-1])
            return h, h

        return step

    whole, _ = tg.unroll(make(), xs, np.zeros((BATCH, 2)))
    parts = [window.ys.numpy() for window in tg.tbptt(make(), xs, k1, k2, np.zeros((BATCH, 2)))]
    np.testing.assert_allclose(np.concatenate(parts), whole.numpy(), rtol=1e-12)
    assert (tg.unroll(make(), xs[::-1], np.zeros((BATCH, 2)))[0].numpy() != whole.numpy()).any()


def test_running_statistics_move_once(rng: np.random.Generator) -> None:
    xs = rng.normal(size=(9, 6, INPUT))
    found = []
    for k1, k2 in ((9, 9), (1, 1), (2, 5), (1, 9), (4, 2), (3, 7)):
        cell = tg.nn.RecurrentBatchNorm(tg.cells.Elman(INPUT, HIDDEN, rng=0, dtype=np.float64), 4)
        for window in tg.tbptt(cell, xs, k1, k2):
            window.backward((window.ys**2).sum())
        found.append({name: b.numpy() for name, b in cell.named_buffers()})
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_allclose(other[name], value, rtol=1e-12, err_msg=name)
    counts = [v.item() for n, v in found[0].items() if n.endswith("num_batches_tracked")]
    assert counts == [1, 1, 1, 6] * 2


def test_windows_of_nests_and_of_nothing(rng: np.random.Generator) -> None:
    w = tg.Parameter(rng.normal(size=3))

    def nest(x: Any, h: Any) -> Any:
        h = tg.tanh(x[0] * w + h)
        return {"a": h, "b": (h * 2, x[1])}, h

    xs = (rng.normal(size=(7, 2, 3)), rng.normal(size=(7, 2, 1)))
    whole, _ = tg.unroll(nest, xs, np.zeros((2, 3)))
    parts = [window.ys for window in tg.tbptt(nest, xs, 3, 2, np.zeros((2, 3)))]
    for k, y in enumerate(leaves(whole)):
        np.testing.assert_array_equal(
            np.concatenate([leaves(p)[k].numpy() for p in parts]), y.numpy()
        )
    for k1, k2 in ((3, 2), (2, 5)):
        silent = list(
            tg.tbptt(lambda x, h: (None, tg.tanh(x + h * w)), xs[0], k1, k2, np.zeros((2, 3)))
        )
        assert all(window.ys is None for window in silent) and silent[-1].stop == 7


def test_a_window_shows_itself() -> None:
    cell = tg.cells.Elman(INPUT, HIDDEN, rng=0)
    shown = [repr(w) for w in tg.tbptt(cell, np.ones((5, 1, INPUT), np.float32), 2, 3)]
    assert shown == ["<Window of steps 0 to 1, graph from step 0>", "<Window of steps 2 to 3, graph from step 1>",
                     "<Window of steps 4 to 4, graph from step 2>"]  # fmt: skip


def test_marks_are_the_steps_of_the_sequence() -> None:
    cell = tg.cells.Elman(INPUT, HIDDEN, rng=0)
    for window in tg.tbptt(cell, np.ones((7, 1, INPUT), np.float32), 2, 3):
        steps = {
            n.where.mark.step
            for n in tg.tape(window.ys)
            if n.primitive is not None and n.op == "tanh"
        }
        assert steps == set(range(window.reach, window.stop))


def test_misuse_of_windows() -> None:
    cell = tg.cells.Elman(INPUT, HIDDEN, rng=0)
    xs = np.ones((6, 1, INPUT), np.float32)
    for bad, found in (
        (1.0, "a float"),
        (None, "a NoneType"),
        (tg.tensor(1.0), "a tensor without gradients"),
    ):
        window = next(iter(tg.tbptt(cell, xs, 2)))
        with pytest.raises(
            tg.GraphError,
            match=rf"window\.backward expects a loss that was computed from window\.ys; found {found}",
        ):
            window.backward(bad)  # type: ignore[arg-type]
    window = next(iter(tg.tbptt(cell, xs, 2)))
    with pytest.raises(tg.GraphError, match="not one number"):
        window.backward(window.ys)
    loss = (window.ys**2).sum()
    window.backward(loss)
    with pytest.raises(
        tg.GraphError, match=r"released by the backward of 'sum' at test_truncated\.py:\d+"
    ):
        window.backward(loss)
    for k1, k2, name in (
        (0, 1, "k1"),
        (-1, 1, "k1"),
        (1.0, 1, "k1"),
        (True, 1, "k1"),
        (1, 0, "k2"),
        (1, 2.5, "k2"),
        (1, True, "k2"),
        ("2", 2, "k1"),
    ):
        with pytest.raises(
            tg.TinygradError,
            match=rf"tbptt: {name} must be a whole number of steps, at least 1; found ",
        ):
            tg.tbptt(cell, xs, k1, k2)  # type: ignore[arg-type]
    # at the call, not at the first window
    with pytest.raises(tg.ShapeError, match="the sequence is empty"):
        tg.tbptt(cell, xs[:0], 2)


@pytest.mark.parametrize(("k1", "k2"), [(2, 2), (2, 5), (3, 2), (7, 7)])
@pytest.mark.parametrize("compiled", [False, True])
def test_layers_before_the_cell_get_their_gradients(
    k1: int, k2: int, compiled: bool, rng: np.random.Generator
) -> None:
    """As if each step had computed its own input.

    Window by window, so that an optimiser may step between.
    """
    ids = rng.integers(0, 5, (7, 2))
    table, before, cell = (
        tg.nn.Embedding(5, 3, rng=0, dtype="f8"),
        tg.nn.Linear(3, 3, rng=1, dtype="f8"),
        tg.cells.GRU(3, 4, rng=2, dtype="f8"),
    )
    modules = (table, before, cell)

    def whole(i: Any, h: Any) -> Any:
        return cell(before(table(i)), h)

    with interpreting():
        fast = tg.jit(cell)
        windows = zip(
            tg.tbptt(fast if compiled else cell, before(table(ids)), k1, k2),
            tg.tbptt(whole, ids, k1, k2, np.zeros((2, 4))),
            strict=True,
        )
        for window, expected in windows:
            found = []
            for w in (window, expected):
                for module in modules:
                    module.zero_grad()
                w.backward((w.ys**2).sum())
                found.append([p.grad.numpy() for module in modules for p in module.parameters()])
            for a, b in zip(*found, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_backward_pass_that_would_lose_the_gradients_of_earlier_layers_is_refused() -> None:
    table, cell = tg.nn.Embedding(5, 3, rng=0), tg.cells.GRU(3, 4, rng=1)
    ids = np.zeros((4, 1), int)
    window = next(iter(tg.tbptt(cell, table(ids), 2)))
    with pytest.raises(
        tg.GraphError, match=r"Call window\.backward\(loss\) in place of loss\.backward\(\)"
    ):
        (window.ys**2).sum().backward()
    whole = tg.grad(
        lambda w: sum(
            ((v.ys**2).sum() for v in tg.tbptt(cell, tg.take(w, ids, axis=0), 2)), tg.tensor(0.0)
        )
    )(tg.tensor(table.weight.numpy()))
    for window in tg.tbptt(cell, table(ids), 2):
        window.backward((window.ys**2).sum())
    np.testing.assert_allclose(table.weight.grad.numpy(), whole.numpy(), rtol=1e-5, atol=1e-7)
