"""`tg.unroll`.

Lengths, reverse, resets, first states, checkpoints and marks, against plain loops over single rows.
"""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tape import Node
from tinygrad_rnn.core.tree import flatten, leaves, tree_map, unflatten

pytestmark = pytest.mark.usefixtures("eager")

T, BATCH, INPUT, HIDDEN = 7, 4, 3, 3
LENGTHS = np.array([3, 7, 1, 5])


# --- cells of many kinds -----------------------------------------------------------------------------------------------------------


def grad_of(t: Any) -> Any:
    return t.grad.numpy()


def normal(rng: Any, *shape: int) -> Any:
    return tg.Parameter(rng.normal(size=shape) * 0.6)


class Shapes(tg.Cell):
    """State of unequal shapes and ranks, one of them an outer product.

    The output is none of them.
    """

    def __init__(self, rng: Any) -> None:
        self.W, self.U, self.V = (
            normal(rng, HIDDEN, INPUT),
            normal(rng, HIDDEN, HIDDEN),
            normal(rng, 2, HIDDEN),
        )

    def initial_state(self, batch_size: int) -> Any:
        return {
            "h": self.zeros(batch_size, HIDDEN),
            "fast": self.zeros(batch_size, 2, HIDDEN),
            "count": self.zeros(batch_size),
        }

    def forward(self, x: Any, state: Any) -> Any:
        h = tg.tanh(x @ self.W.T + state["h"] @ self.U.T + state["fast"].sum(axis=1))
        fast = 0.8 * state["fast"] + 0.1 * (h @ self.V.T)[:, :, None] * h[:, None, :]
        count = state["count"] + (h * h).sum(axis=1)
        return tg.concatenate([h * 2, count[:, None]], -1), {"h": h, "fast": fast, "count": count}


class Gaps(tg.Cell):
    """Input (features, time gap), of which the gap is divided by.

    Padding of zeros would spoil the gradients.
    """

    hidden_size = HIDDEN

    def __init__(self, rng: Any) -> None:
        self.W, self.U, self.rate = (
            normal(rng, HIDDEN, INPUT),
            normal(rng, HIDDEN, HIDDEN),
            normal(rng, HIDDEN),
        )

    def forward(self, x: Any, h: Any) -> Any:
        features, gap = x
        h = tg.tanh(
            features @ self.W.T + tg.exp(-tg.exp(self.rate) / gap) * (h @ self.U.T) + tg.log(gap)
        )
        return h, h


class Pair(NamedTuple):
    low: Any
    rest: Any


class Nested(tg.Cell):
    """A nest as state and as output."""

    def __init__(self, rng: Any) -> None:
        self.W, self.U = normal(rng, HIDDEN, INPUT), normal(rng, HIDDEN, HIDDEN)

    def initial_state(self, batch_size: int) -> Any:
        return Pair(
            self.zeros(batch_size, HIDDEN),
            [{"mean": self.zeros(batch_size, 1), "high": (self.zeros(batch_size, HIDDEN), None)}],
        )

    def forward(self, x: Any, state: Any) -> Any:
        inner = state.rest[0]
        low = tg.sigmoid(x @ self.W.T + state.low @ self.U.T)
        high = tg.tanh(inner["high"][0] + low * inner["mean"])
        mean = 0.5 * inner["mean"] + high.mean(axis=1, keepdims=True)
        return {"y": high * low, "parts": (low, mean)}, Pair(
            low, [{"mean": mean, "high": (high, None)}]
        )


class Tokens(tg.Cell):
    """Integer inputs."""

    hidden_size = HIDDEN

    def __init__(self, rng: Any) -> None:
        self.table, self.U = normal(rng, 5, HIDDEN), normal(rng, HIDDEN, HIDDEN)

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(tg.take(self.table, x, 0) + h @ self.U.T)
        return h * h, h


def features(rng: Any, steps: int = T) -> Any:
    return rng.normal(size=(steps, BATCH, INPUT))


class Kind(NamedTuple):
    make: Callable[[Any], tg.Cell]
    inputs: Callable[[Any], Any] = features


KINDS = {
    "Elman": Kind(lambda rng: tg.cells.Elman(INPUT, HIDDEN, rng=rng, dtype=np.float64)),
    "LSTM": Kind(lambda rng: tg.cells.LSTM(INPUT, HIDDEN, rng=rng, dtype=np.float64)),
    "GRU": Kind(lambda rng: tg.cells.GRU(INPUT, HIDDEN, rng=rng, dtype=np.float64)),
    "shapes": Kind(Shapes),
    "gaps": Kind(Gaps, lambda rng: (features(rng), rng.uniform(0.5, 2, size=(T, BATCH, 1)))),
    "nested": Kind(Nested),
    "tokens": Kind(Tokens, lambda rng: rng.integers(0, 5, size=(T, BATCH))),
}


class Result(NamedTuple):
    ys: Any
    states: Any
    last: Any
    gradients: dict[str, np.ndarray]


def variables(xs: Any) -> Any:
    return tree_map(lambda x: tg.tensor(x, requires_grad=x.dtype.kind == "f"), xs)


def random_state(cell: tg.Cell, rng: Any, batch: int = BATCH) -> Any:
    return tree_map(
        lambda s: tg.tensor(rng.normal(size=s.shape), requires_grad=True), cell.initial_state(batch)
    )


def weights_like(tree: Any) -> Any:
    """Fixed random weights for every output element, so that no two gradients are alike."""
    rng = np.random.default_rng(5)
    return tree_map(lambda y: rng.normal(size=y.shape), tree)


def weighted(tree: Any, weights: Any) -> Any:
    total = tg.tensor(np.zeros(()))
    for y, w in zip(leaves(tree), leaves(weights), strict=True):
        total = total + (y * w).sum()
    return total


def gradients_of(cell: Any, xs: Any, state: Any) -> dict[str, np.ndarray]:
    named = [
        *cell.named_parameters(),
        *((f"xs{p}", x) for p, x in flatten(xs)),
        *((f"state{p}", s) for p, s in flatten(state)),
    ]
    found = {
        n: np.zeros(t.shape) if t.grad is None else grad_of(t) for n, t in named if t.requires_grad
    }
    for _, t in named:
        t.grad = None
    return found


def engine(cell: tg.Cell, xs: Any, state: Any, **options: Any) -> Result:
    """Outputs, all states, last state and all gradients by `unroll`.

    The loss uses outputs and last state.
    """
    with tg.no_grad():
        _, states = tg.unroll(cell, xs, state, return_states=True, **options)
    ys, last = tg.unroll(cell, xs, state, **options)
    weighted((ys, last), weights_like((ys, last))).backward()
    return Result(tree_map(lambda t: t.numpy(), ys), tree_map(lambda t: t.numpy(), states), tree_map(lambda t: t.numpy(), last),
                  gradients_of(cell, xs, state))  # fmt: skip


def by_rows(
    cell: tg.Cell,
    xs: Any,
    state: Any,
    lengths: Any = None,
    reverse: bool = False,
    resets: Any = None,
    first: Any = None,
) -> Result:
    """The same, each row alone and without its padding, in a loop over `cell.forward`."""
    count = leaves(xs)[0].shape[0]
    lengths = np.full(BATCH, count) if lengths is None else lengths
    first = cell.initial_state(BATCH) if state is None else state
    ys: list[list[Any]] = [[None] * BATCH for _ in range(count)]
    states: list[list[Any]] = [[None] * BATCH for _ in range(count)]
    ends: list[Any] = [None] * BATCH
    for b in range(BATCH):

        def row(s: Any, b: int = b) -> Any:
            return s[b : b + 1] if s.shape[0] == BATCH else s[0:1]

        begin = now = tree_map(row, first)
        order = range(lengths[b])
        for t in reversed(order) if reverse else order:
            if resets is not None and resets[t, b]:
                now = begin
            ys[t][b], now = cell.forward(tree_map(lambda x, t=t, b=b: x[t, b : b + 1], xs), now)
            states[t][b] = now
        ends[b] = now
        missing = range(lengths[b], count)
        for t in missing:
            ys[t][b] = tree_map(lambda y: tg.tensor(np.zeros(y.shape)), ys[0][b])
            states[t][b] = begin if reverse else ends[b]

    def joined(rows: list[Any]) -> Any:
        return tree_map(lambda *parts: tg.concatenate(parts), *rows)

    def over_time(steps: list[list[Any]]) -> Any:
        return tree_map(lambda *parts: tg.stack(parts), *[joined(rows) for rows in steps])

    out, last = over_time(ys), joined(ends)
    weighted((out, last), weights_like((out, last))).backward()
    return Result(tree_map(lambda t: t.numpy(), out), tree_map(lambda t: t.numpy(), over_time(states)),
                  tree_map(lambda t: t.numpy(), last), gradients_of(cell, xs, state))  # fmt: skip


def assert_same(found: Result, expected: Result, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    for what in ("ys", "states", "last"):
        one, other = flatten(getattr(found, what), what), flatten(getattr(expected, what), what)
        assert [p for p, _ in one] == [p for p, _ in other]
        for (path, a), (_, b) in zip(one, other, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape, path
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=path)
    assert list(found.gradients) == list(expected.gradients)
    for name, g in expected.gradients.items():
        np.testing.assert_allclose(found.gradients[name], g, rtol=rtol, atol=atol, err_msg=name)
        assert np.isfinite(g).all() and g.any(), name


# --- lengths, reverse, resets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resetting", [False, True], ids=["", "resets"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", KINDS)
def test_rows_are_what_they_are_alone(
    name: str, lengths: Any, reverse: bool, resetting: bool, rng: np.random.Generator
) -> None:
    cell = KINDS[name].make(rng)
    xs, state = variables(KINDS[name].inputs(rng)), random_state(cell, rng)
    resets = None
    if resetting:
        resets = rng.random((T, BATCH)) < 0.4
        resets[6, :] = True  # also where rows have ended: their last state stays
        resets[2, 2] = resets[1, 1] = True
    found = engine(cell, xs, state, lengths=lengths, reverse=reverse, resets=resets)
    assert_same(found, by_rows(cell, xs, state, lengths, reverse, resets))
    if lengths is not None:
        for y in leaves(found.ys):
            assert all(not y[n:, b].any() and y[:n, b].any() for b, n in enumerate(lengths))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_padding_may_hold_anything(
    name: str, junk: float, reverse: bool, rng: np.random.Generator
) -> None:
    cell = KINDS[name].make(rng)
    xs, state = KINDS[name].inputs(rng), random_state(cell, rng)
    padded = tree_map(np.array, xs)
    for x in leaves(padded):
        for b, n in enumerate(LENGTHS):
            x[n:, b] = junk if x.dtype.kind == "f" else 10**6
    for checkpoint in (None, 2):
        found = engine(
            cell, variables(padded), state, lengths=LENGTHS, reverse=reverse, checkpoint=checkpoint
        )
        assert_same(found, engine(cell, variables(xs), state, lengths=LENGTHS, reverse=reverse))
    for path, g in found.gradients.items():
        if path.startswith("xs"):
            assert all(not g[n:, b].any() for b, n in enumerate(LENGTHS)), path


@pytest.mark.parametrize("given", ["list", "array", "int32", "uint8", "tensor", "full"])
def test_lengths_in_every_form(given: str, rng: np.random.Generator) -> None:
    cell = KINDS["GRU"].make(rng)
    xs, state = variables(features(rng)), random_state(cell, rng)
    lengths: Any = {"list": LENGTHS.tolist(), "array": LENGTHS, "int32": LENGTHS.astype(np.int32), "uint8": LENGTHS.astype(np.uint8),
                    "tensor": tg.tensor(LENGTHS), "full": np.full(BATCH, T)}[given]  # fmt: skip
    expected = by_rows(cell, xs, state, np.full(BATCH, T) if given == "full" else LENGTHS)
    assert_same(engine(cell, xs, state, lengths=lengths), expected)


def test_reverse_is_the_mirror_image(rng: np.random.Generator) -> None:
    cell, xs = KINDS["LSTM"].make(rng), features(rng)
    ys, last = tg.unroll(cell, xs, reverse=True)
    mirrored, end = tg.unroll(cell, xs[::-1])
    np.testing.assert_array_equal(ys.numpy(), mirrored.numpy()[::-1])
    np.testing.assert_array_equal(last.c.numpy(), end.c.numpy())


def test_a_reset_is_a_new_sequence(rng: np.random.Generator) -> None:
    cell, xs = KINDS["GRU"].make(rng), features(rng)
    resets = np.zeros((T, BATCH), bool)
    resets[3] = True
    ys, last = tg.unroll(cell, xs, resets=resets)
    second, end = tg.unroll(cell, xs[3:])
    np.testing.assert_array_equal(ys.numpy()[3:], second.numpy())
    np.testing.assert_array_equal(last.numpy(), end.numpy())
    np.testing.assert_array_equal(
        tg.unroll(cell, xs, resets=tg.tensor(resets))[0].numpy(), ys.numpy()
    )
    np.testing.assert_array_equal(
        tg.unroll(cell, xs, resets=resets.tolist())[0].numpy(), ys.numpy()
    )


# --- first states ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", [None, 3])
@pytest.mark.parametrize("name", ["Elman", "LSTM", "shapes", "nested"])
def test_a_learnable_first_state_serves_every_row(
    name: str, checkpoint: Any, rng: np.random.Generator
) -> None:
    cell = KINDS[name].make(rng)
    xs = variables(features(rng))
    state = tree_map(
        lambda s: tg.Parameter(rng.normal(size=(1, *s.shape[1:]))), cell.initial_state(BATCH)
    )
    resets = rng.random((T, BATCH)) < 0.3
    found = engine(cell, xs, state, lengths=LENGTHS, resets=resets, checkpoint=checkpoint)
    assert all(found.gradients[f"state{p}"].shape[0] == 1 for p, _ in flatten(state))
    assert_same(found, by_rows(cell, xs, state, LENGTHS, resets=resets))


@pytest.mark.parametrize("name", KINDS)
def test_first_states_as_arrays_tensors_and_none(name: str, rng: np.random.Generator) -> None:
    cell, xs = KINDS[name].make(rng), KINDS[name].inputs(rng)
    values = tree_map(lambda s: rng.normal(size=s.shape), cell.initial_state(BATCH))
    from_arrays, from_tensors = (
        tg.unroll(cell, xs, s) for s in (values, tree_map(tg.tensor, values))
    )
    for a, b in zip(leaves(from_arrays), leaves(from_tensors), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    from_none, from_zeros = (
        tg.unroll(cell, xs),
        tg.unroll(cell, xs, tree_map(np.zeros_like, values)),
    )
    for a, b, c in zip(leaves(from_none), leaves(from_zeros), leaves(from_arrays), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert (a.numpy() != c.numpy()).any()


def test_arrays_take_the_dtype_of_the_cell() -> None:
    for dtype in (np.float32, np.float64):
        for other in (np.float32, np.float64):
            cell = tg.cells.LSTM(INPUT, HIDDEN, rng=0, dtype=dtype)
            state = (np.ones((BATCH, HIDDEN), other), np.ones((1, HIDDEN), other))
            ys, last = tg.unroll(cell, np.ones((T, BATCH, INPUT), other), state)
            assert ys.dtype == last.c.dtype == dtype
            (window,) = tg.tbptt(cell, np.ones((T, BATCH, INPUT), other), T, state=state)
            assert window.ys.dtype == dtype


def test_a_list_of_steps_is_a_sequence(rng: np.random.Generator) -> None:
    cell, xs = tg.cells.Elman(INPUT, HIDDEN, rng=0), features(rng).astype(np.float32)
    for given in (list(xs), [tg.tensor(x) for x in xs], xs.tolist()):
        np.testing.assert_array_equal(
            tg.unroll(cell, given)[0].numpy(), tg.unroll(cell, xs)[0].numpy()
        )


# --- all states, hooks -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", [None, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_reach_all_states(
    reverse: bool, checkpoint: Any, rng: np.random.Generator
) -> None:
    cell, xs = KINDS["shapes"].make(rng), features(rng)
    ys, states = tg.unroll(
        cell, xs, reverse=reverse, return_states=True, checkpoint=checkpoint, lengths=LENGTHS
    )
    weights = weights_like((ys, states))
    weighted((ys, states), weights).backward()
    found = gradients_of(cell, (), ())
    state, total = cell.initial_state(BATCH), tg.tensor(np.zeros(()))
    for t in reversed(range(T)) if reverse else range(T):
        y, new = cell.forward(tg.tensor(xs[t]), state)
        m = np.asarray(t < LENGTHS)

        def chosen(a: Any, b: Any, m: Any = m) -> Any:
            return tg.where(m.reshape(-1, *[1] * (a.ndim - 1)), a, b)

        state = tree_map(chosen, new, state)
        total = total + weighted((chosen(y, 0.0), state), tree_map(lambda w, t=t: w[t], weights))
        for a, b in zip(leaves(states), leaves(state), strict=True):
            np.testing.assert_allclose(a.numpy()[t], b.numpy(), rtol=1e-12, atol=1e-15)
    total.backward()
    for name, g in gradients_of(cell, (), ()).items():
        np.testing.assert_allclose(found[name], g, rtol=1e-10, err_msg=name)


@pytest.mark.parametrize("reverse", [False, True])
def test_hooks_see_each_step(reverse: bool, rng: np.random.Generator) -> None:
    cell, xs, seen, norms = KINDS["LSTM"].make(rng), features(rng), [], {}

    def hook(t: int, y: Any, state: Any) -> None:
        seen.append((t, y.numpy(), state.c.numpy()))
        state.c.register_hook(lambda g: norms.update({t: g.numpy()}))

    ys, states = tg.unroll(cell, xs, reverse=reverse, return_states=True, hook=hook)
    assert [t for t, _, _ in seen] == (list(range(T))[::-1] if reverse else list(range(T)))
    for t, y, c in seen:
        np.testing.assert_array_equal(y, ys.numpy()[t])
        np.testing.assert_array_equal(c, states.c.numpy()[t])
    (ys * ys).sum().backward()
    assert sorted(norms) == list(range(T)) and all(
        g.shape == (BATCH, HIDDEN) for g in norms.values()
    )


# --- checkpoints --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", [1, 2, 3, True, T, T + 5, np.int64(4)])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", KINDS)
def test_checkpoints_change_nothing(
    name: str, reverse: bool, checkpoint: Any, rng: np.random.Generator
) -> None:
    cell = KINDS[name].make(rng)
    xs, state, resets = (
        variables(KINDS[name].inputs(rng)),
        random_state(cell, rng),
        rng.random((T, BATCH)) < 0.3,
    )
    options: dict[str, Any] = {"lengths": LENGTHS, "reverse": reverse, "resets": resets}
    plain = engine(cell, xs, state, **options)
    assert_same(
        engine(cell, xs, state, checkpoint=checkpoint, **options), plain, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("checkpoint", [1, 2, True, 50])
def test_a_computed_tensor_that_all_segments_use(checkpoint: Any, rng: np.random.Generator) -> None:
    w, xs = (tg.Parameter(rng.normal(size=s) * 0.5) for s in ((HIDDEN, HIDDEN), (T, BATCH, HIDDEN)))
    found = []
    for option in (None, checkpoint):
        scaled = tg.sin(w) * 2

        def step(x: Any, h: Any, scaled: Any = scaled) -> Any:
            h = tg.tanh(x + h @ scaled)
            return h, h

        ys, last = tg.unroll(step, xs, np.zeros((BATCH, HIDDEN)), checkpoint=option)
        ((ys * ys).sum() + last.sum() + scaled.sum()).backward()
        found.append([grad_of(t) for t in (w, xs)])
        w.grad = xs.grad = None
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("checkpoint", [1, 3, True])
def test_attention_over_a_memory(checkpoint: Any, rng: np.random.Generator) -> None:
    encoder = tg.cells.GRU(INPUT, HIDDEN, rng=1, dtype=np.float64)
    attention = tg.nn.BahdanauAttention(HIDDEN, HIDDEN, 2, rng=2, dtype=np.float64)
    decoder = tg.nn.AttentionCell(
        tg.cells.LSTM(INPUT + HIDDEN, HIDDEN, rng=3, dtype=np.float64), attention, rng=4
    )
    source, target = features(rng, 5), features(rng)
    found = []
    for option in (None, checkpoint):
        memory, _ = tg.unroll(encoder, source, lengths=[5, 2, 3, 1], checkpoint=option)
        bound = decoder.attending(memory.swapaxes(0, 1), [5, 2, 3, 1])
        ys, last = tg.unroll(bound, target, checkpoint=option, lengths=LENGTHS)
        weighted((ys, last), weights_like((ys, last))).backward()
        found.append(
            {
                **gradients_of(encoder, (), ()),
                **{f"d{n}": g for n, g in gradients_of(decoder, (), ()).items()},
            }
        )
    assert len(found[0]) == 12 and all(g.any() for g in found[0].values())
    for name, g in found[0].items():
        np.testing.assert_allclose(found[1][name], g, rtol=1e-10, atol=1e-13, err_msg=name)


def unrolled_energy(cell: tg.Cell, checkpoint: Any, names: list[str]) -> Callable[..., Any]:
    """A function of the parameters, the first state and the inputs."""

    def f(parameters: Any, state: Any, xs: Any) -> Any:
        for n, p in zip(names, parameters, strict=True):
            object.__setattr__(cell, n, p)
        ys, last = tg.unroll(cell, xs, state, checkpoint=checkpoint, lengths=[3, 2])
        return (ys * ys).sum() + sum(
            (tg.sin(s).sum() for s in leaves(last)), tg.tensor(np.zeros(()))
        )

    return f


@pytest.mark.parametrize("checkpoint", [1, 2])
@pytest.mark.parametrize("kind", ["Elman", "LSTM"])
def test_second_derivatives_through_checkpoints(
    kind: str, checkpoint: int, rng: np.random.Generator
) -> None:
    cell = getattr(tg.cells, kind)(1, 2, rng=0, dtype=np.float64)
    names = ["weight_ih", "weight_hh"]
    parameters = [rng.normal(size=getattr(cell, n).shape) for n in names]
    state = tree_map(lambda s: rng.normal(size=s.shape), cell.initial_state(2))
    point = (parameters, state, rng.normal(size=(3, 2, 1)))
    assert tg.gradcheck(unrolled_energy(cell, checkpoint, names), *point, order=2, rtol=1e-4)


def test_hvp_jvp_and_nested_transforms_through_checkpoints(rng: np.random.Generator) -> None:
    cell = tg.cells.GRU(1, 2, rng=0, dtype=np.float64)
    xs, h = rng.normal(size=(4, 2, 1)), rng.normal(size=(2, 2))
    x, v = tg.tensor(xs), tg.tensor(rng.normal(size=xs.shape))

    def f(x: Any, c: Any) -> Any:
        return (tg.unroll(cell, x, tg.tensor(h), checkpoint=c)[0] ** 2).sum()

    cases: list[Callable[[Any], Any]] = [
        lambda c: tg.hvp(lambda x: f(x, c), x, v),
        lambda c: tg.jvp(lambda x: f(x, c), (x,), (v,))[1],
        lambda c: tg.jvp(lambda x: tg.jvp(lambda x: f(x, c), (x,), (v,))[1], (x,), (v,))[1],
        lambda c: tg.grad(lambda x: (tg.grad(lambda x: f(x, c))(x) ** 2).sum())(x),
        lambda c: tg.grad(
            lambda x: tg.grad(lambda x: (tg.grad(lambda x: f(x, c))(x) ** 2).sum())(x).sum()
        )(x),
        lambda c: tg.hessian(lambda x: f(x, c))(x),
        lambda c: tg.vjp(lambda x: tg.unroll(cell, x, tg.tensor(h), checkpoint=c)[1], x)[1](
            tg.tensor(h)
        )[0],
    ]
    for k, case in enumerate(cases):
        expected = case(None).numpy()
        assert np.abs(expected).max() > 1e-4
        for c in (1, 2, True):
            np.testing.assert_allclose(
                case(c).numpy(),
                expected,
                rtol=1e-10,
                atol=1e-12,
                err_msg=f"case {k}, checkpoint {c}",
            )


def test_create_graph_and_two_walks_through_checkpoints(rng: np.random.Generator) -> None:
    cell, xs = KINDS["LSTM"].make(rng), features(rng)
    found = []
    for checkpoint in (None, 2):
        ys, last = tg.unroll(cell, xs, checkpoint=checkpoint)
        loss = (ys * ys).sum() + (last.c**3).sum()
        loss.backward(create_graph=True)
        slopes: list[Any] = [p.grad for p in cell.parameters()]
        cell.zero_grad()
        sum(((g * g).sum() for g in slopes), tg.tensor(np.zeros(()))).backward()
        second = [grad_of(p) for p in cell.parameters()]
        cell.zero_grad()
        ys, last = tg.unroll(cell, xs, checkpoint=checkpoint)
        loss = (ys * ys).sum() + (last.c**3).sum()
        loss.backward(retain_graph=True)
        once = [grad_of(p) for p in cell.parameters()]
        loss.backward(retain_graph=True)
        loss.backward()
        for p, g in zip(cell.parameters(), once, strict=True):
            np.testing.assert_allclose(grad_of(p), 3 * g, rtol=1e-12)
        with pytest.raises(tg.GraphError, match="were released by the backward"):
            loss.backward()
        cell.zero_grad()
        found.append([*[g.numpy() for g in slopes], *second, *once])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_nothing_is_recorded_without_gradients(rng: np.random.Generator) -> None:
    cell, xs = KINDS["GRU"].make(rng), features(rng)
    with tg.no_grad():
        ys, last = tg.unroll(cell, xs, checkpoint=2)
    assert not ys.requires_grad and not last.requires_grad
    np.testing.assert_array_equal(ys.numpy(), tg.unroll(cell, xs)[0].numpy())


def test_integer_states_and_outputs_go_through_checkpoints() -> None:
    w = tg.Parameter(np.ones(2))

    def cell(x: Any, state: Any) -> Any:
        return {"even": state["n"] % 2, "y": x * w}, {
            "n": state["n"] + 1,
            "sum": state["sum"] + x * w * state["n"],
        }

    first = {"n": np.zeros((2, 1), int), "sum": np.zeros((2, 2))}
    xs = np.arange(20.0).reshape(5, 2, 2)
    found = []
    for checkpoint in (None, 2):
        ys, last = tg.unroll(cell, xs, first, checkpoint=checkpoint, lengths=[5, 3])
        (last["sum"].sum() + ys["y"].sum()).backward()
        found.append(
            [
                ys["even"].numpy(),
                ys["y"].numpy(),
                last["n"].numpy(),
                last["sum"].numpy(),
                grad_of(w),
            ]
        )
        w.grad = None
    assert found[0][2].ravel().tolist() == [5, 3] and found[0][2].dtype == int
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


# --- tg.checkpoint on ordinary functions --------------------------------------------------------------------------------------------------


def test_checkpoint_of_a_function(rng: np.random.Generator) -> None:
    w, x, y = (tg.tensor(rng.normal(size=(3, 3)), requires_grad=True) for _ in range(3))
    captured = tg.exp(w)

    def f(first: Any, options: Any, scale: float, table: Any) -> Any:
        a = tg.tanh(first @ captured) * scale
        return {
            "a": a,
            "b": (a * options["y"] + table, first),
            "count": tg.argmax(a),
            "c": captured,
            "n": 3,
        }

    results = []
    for run in (lambda *args: tg.checkpoint(f, *args), f):
        out = run(x, {"y": y}, 2.0, np.ones((3, 3)))
        assert int(out["n"]) == 3
        loss = sum(
            ((k + 1) * (t * t).sum() for k, t in enumerate([out["a"], *out["b"], out["c"]])),
            captured.sum(),
        )
        loss.backward(retain_graph=True)
        results.append(
            [
                out["a"].numpy(),
                out["b"][0].numpy(),
                out["count"].numpy(),
                *[grad_of(t) for t in (w, x, y)],
            ]
        )
        w.grad = x.grad = y.grad = None
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    u = [rng.normal(size=(2, 2)) for _ in range(2)]
    assert tg.gradcheck(
        lambda a, b: tg.checkpoint(lambda p, q: (tg.tanh(p @ q), p * p), a, b),
        *u,
        order=2,
        rtol=1e-4,
    )
    assert tg.gradcheck(
        lambda a, b: tg.checkpoint(lambda p: tg.checkpoint(lambda q: tg.sin(q) * b, p) * a, a),
        *u,
        order=2,
        rtol=1e-4,
    )


def test_checkpoint_of_parts_that_need_no_gradient(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.normal(size=3))
    assert not tg.checkpoint(tg.tanh, x).requires_grad
    w = tg.Parameter(rng.normal(size=3))
    a, b = tg.checkpoint(lambda x: (x * 2, w * x), x)
    assert not a.requires_grad and b.requires_grad
    b.sum().backward()
    np.testing.assert_array_equal(grad_of(w), x.numpy())
    w.grad = None
    a, b = tg.checkpoint(lambda v: (v * 2, v * v), w)  # one result is not used
    a.sum().backward()
    np.testing.assert_array_equal(grad_of(w), np.full(3, 2.0))


def nodes_alive() -> int:
    # isinstance would look through dead weak proxies of others
    return sum(issubclass(type(x), Node) for x in gc.get_objects())


def test_checkpoint_keeps_the_arguments_only() -> None:
    w, counts = tg.Parameter(np.ones(10)), []

    def f(x: Any) -> Any:
        for _ in range(50):
            x = tg.tanh(x)
        counts.append(nodes_alive())
        return x

    gc.collect()
    before = nodes_alive()
    y = tg.checkpoint(f, w)
    assert counts[0] >= before + 50 and nodes_alive() < before + 10
    y.sum().backward()
    assert len(counts) == 2 and counts[1] >= before + 50 and nodes_alive() < before + 10


def test_an_error_in_a_checkpointed_function_comes_through() -> None:
    def f(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tg.checkpoint(f, tg.Parameter(np.ones(2)))
    with pytest.raises(
        tg.DtypeError,
        match=r"checkpoint: the results are float64\(2,\), float32\(2,\); expected one dtype",
    ):
        tg.checkpoint(lambda x: (x * 1, x.astype(np.float32)), tg.Parameter(np.ones(2)))


@pytest.mark.parametrize("checkpoint", [1, 3, True])
def test_a_replaced_parameter_is_found_out(checkpoint: Any, rng: np.random.Generator) -> None:
    cell, xs = tg.cells.Elman(INPUT, HIDDEN, rng=0), features(rng)
    ys, _ = tg.unroll(cell, xs, checkpoint=checkpoint)
    cell.weight_hh.data = np.zeros((HIDDEN, HIDDEN))
    with pytest.raises(tg.GraphError) as caught:
        ys.sum().backward()
    for words in (
        "runs a checkpointed segment again",
        "weight_hh float32(3, 3)",
        "test_unroll.py:",
        "before the parameters are changed",
    ):
        assert words in str(caught.value)
    w = tg.Parameter(np.ones(3))
    y = tg.checkpoint(tg.sin, w)
    w.data = np.zeros(3)
    with pytest.raises(tg.GraphError, match="array was replaced at"):
        y.sum().backward()


@pytest.mark.parametrize("checkpoint", [1, 2, True])
def test_random_masks_are_the_same_when_a_segment_is_run_again(
    checkpoint: Any, rng: np.random.Generator
) -> None:
    xs = features(rng)
    found = []
    for option in (None, checkpoint):
        cell = tg.nn.Zoneout(tg.cells.LSTM(INPUT, HIDDEN, rng=0, dtype=np.float64), 0.4, rng=1)
        ys, last = tg.unroll(cell, xs, checkpoint=option)
        weighted((ys, last), weights_like((ys, last))).backward()
        found.append([ys.numpy(), *gradients_of(cell, (), ()).values()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


class Noisy(tg.Cell):
    """Dropout of nn at each step, a sequence unrolled inside each step, and a checkpoint inside the step."""

    hidden_size = HIDDEN

    def __init__(self, *, nested: bool) -> None:
        self.W, self.drop = (
            normal(np.random.default_rng(3), HIDDEN, INPUT),
            tg.nn.Dropout(0.4, rng=7),
        )
        self.inner = tg.nn.Zoneout(tg.cells.Elman(1, 2, rng=0, dtype=np.float64), 0.5, rng=8)
        self.nested = nested

    def forward(self, x: Any, h: Any) -> Any:
        def step(x: Any, h: Any) -> Any:
            h = tg.tanh(self.drop(x @ self.W.T) + h)
            ys, _ = tg.unroll(self.inner, h.T[:, :, None])
            more, _ = tg.unroll(self.inner, h.T[:, :, None] * 2)
            return self.drop(h) + ys.sum() + more.sum(), h

        return tg.checkpoint(step, x, h) if self.nested else step(x, h)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("checkpoint", [None, 1, 2, True])
def test_every_random_number_is_the_same_again(
    checkpoint: Any, nested: bool, rng: np.random.Generator
) -> None:
    xs, found = variables(features(rng)), []
    for option, inside in ((None, False), (checkpoint, nested)):
        cell = Noisy(nested=inside)
        ys, last = tg.unroll(cell, xs, checkpoint=option)
        weighted((ys, last), weights_like((ys, last))).backward(retain_graph=True)
        once = gradients_of(cell, xs, ())
        weighted((ys, last), weights_like((ys, last))).backward()  # and a second time
        found.append([ys.numpy(), *once.values(), *gradients_of(cell, xs, ()).values()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_a_checkpointed_call_of_a_layer_with_dropout(rng: np.random.Generator) -> None:
    xs, found = features(rng), []
    for run in (lambda f, *a: f(*a), tg.checkpoint):
        layer = tg.nn.LSTM(INPUT, HIDDEN, 2, dropout=0.5, rng=0, dtype=np.float64)
        other = tg.nn.VariationalDropout(
            tg.cells.GRU(HIDDEN, HIDDEN, rng=1, dtype=np.float64), state=0.5, input=0.3, rng=2
        )
        ys = run(lambda x, a=layer, b=other: tg.unroll(b, a(x)[0])[0], tg.tensor(xs))
        (ys * ys).sum().backward()
        found.append(
            [
                ys.numpy(),
                *gradients_of(layer, (), ()).values(),
                *gradients_of(other, (), ()).values(),
            ]
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_thinned_weights_inside_checkpointed_steps(rng: np.random.Generator) -> None:
    xs, found = features(rng), []
    for nested in (False, True):
        cell = tg.nn.WeightDrop(tg.cells.Elman(INPUT, HIDDEN, rng=0, dtype=np.float64), 0.5, rng=1)
        step = (lambda x, h, c=cell: tg.checkpoint(c, x, h)) if nested else cell
        ys, _ = tg.unroll(step, xs, np.zeros((BATCH, HIDDEN)))
        (ys * ys).sum().backward()
        found.append([ys.numpy(), *gradients_of(cell, (), ()).values()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


# --- memory and depth ----------------------------------------------------------------------------------------------------------------------


def most(steps: int, checkpoint: Any) -> int:
    """Bytes at the peak of forward and backward, of a cell without output."""
    xs, h = (
        tg.tensor(np.ones((steps, 1, 1), np.float32)),
        tg.Parameter(np.ones((8, 256), np.float32)),
    )
    gc.collect()
    tracemalloc.start()
    _, last = tg.unroll(lambda x, h: (None, tg.tanh(x + h)), xs, h, checkpoint=checkpoint)
    last.sum().backward()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_memory_grows_with_the_root_of_the_length() -> None:
    most(10, True)
    rooted = {steps: most(steps, True) for steps in (400, 1600)}
    plain = {steps: most(steps, None) for steps in (100, 400)}
    assert plain[400] > 3.5 * plain[100]
    assert rooted[1600] < 2.8 * rooted[400]  # 2 for the root; 4 would be linear
    assert rooted[1600] < plain[400] / 2


def test_long_sequences_need_no_depth(rng: np.random.Generator) -> None:
    cell = tg.cells.Elman(1, 4, rng=0)
    xs = rng.normal(size=(2000, 1, 1)).astype(np.float32)
    limit = sys.getrecursionlimit()
    frame: Any = sys._getframe()
    depth = 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    sys.setrecursionlimit(depth + 60)
    try:
        ys, last = tg.unroll(cell, xs, checkpoint=True)
        (ys * ys).mean().backward()
        del ys, last
    finally:
        sys.setrecursionlimit(limit)
    assert all(np.isfinite(g).all() and g.any() for g in gradients_of(cell, (), ()).values())


@pytest.mark.parametrize("checkpoint", [None, 2])
def test_graphs_are_freed_without_the_collector(checkpoint: Any, rng: np.random.Generator) -> None:
    cell, xs = KINDS["LSTM"].make(rng), features(rng)
    gc.collect()
    gc.disable()
    try:
        ys, last = tg.unroll(cell, xs, checkpoint=checkpoint, lengths=LENGTHS)
        nodes = [weakref.ref(t) for t in (ys, last.h, last.c)]
        loss = (ys * ys).sum()
        loss.backward()
        held = [weakref.ref(ys)]
        del ys, last, loss
        assert not any(r() for r in [*nodes, *held])
        assert gc.collect() == 0
    finally:
        gc.enable()


# --- marks and names ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LSTM", "shapes", "gaps"])
def test_every_node_of_a_step_carries_step_and_cell(name: str, rng: np.random.Generator) -> None:
    cell = KINDS[name].make(rng)
    cell.name = "encoder"
    parameters = {p.node for p in cell.parameters()}
    for lengths in (None, LENGTHS):
        ys, last = tg.unroll(cell, variables(KINDS[name].inputs(rng)), lengths=lengths)
        nodes = [n for n in tg.tape(ys) if n.primitive is not None and n.op != "stack"]
        assert {n.where.mark.cell for n in nodes} == {"encoder"} and {
            n.where.mark.step for n in nodes
        } == set(range(T))
        # what a step reads was made in it, in the step before, or is a parameter or input
        for t in range(1, T):
            for n in nodes:
                if n.where.mark.step == t:
                    for source in n.inputs:
                        if getattr(source, "primitive", None) is not None:
                            assert source.where.mark.step in (t, t - 1), (n, source)
                        elif hasattr(source, "primitive") and source.requires_grad:
                            assert (
                                source in parameters
                                or source.name is None
                                or source.name.startswith("x")
                            )
        names = {s.name for s in leaves(last)}
        assert names <= {f"{p}_{T}" for p in ("h", "c", "fast", "count")} and len(names) == len(
            leaves(last)
        )


def test_lines_are_those_of_the_user(rng: np.random.Generator) -> None:
    cell, xs = KINDS["GRU"].make(rng), features(rng)
    for options in ({}, {"checkpoint": 2}, {"lengths": LENGTHS}, {"reverse": True}):
        line = sys._getframe().f_lineno + 1
        ys, _ = tg.unroll(cell, xs, **options)
        shown = {str(n.where) for n in tg.tape(ys) if n.primitive is not None}
        assert shown <= {f"test_unroll.py:{line}"} | {
            s for s in shown if s.startswith(("gru.py", "base.py"))
        }, shown
        assert f"test_unroll.py:{line}" in shown


# --- a state that is carried over with its tape -----------------------------------------------------------------------------------------------------


def messages() -> Iterator[tuple[str, str]]:
    xs = np.random.default_rng(0).normal(size=(40, 2, INPUT)).astype(np.float32)
    for kind in ("Elman", "GRU", "LSTM"):
        for form in ("unroll", "loop", "layer", "checkpoint", "function"):
            if form == "function" and kind == "LSTM":
                continue
            cell = getattr(tg.cells, kind)(INPUT, HIDDEN, rng=0)
            cell.name = "encoder"
            layer = getattr(tg.nn, "RNN" if kind == "Elman" else kind)(INPUT, HIDDEN, rng=0)
            state: Any = None
            with pytest.raises(tg.GraphError) as caught:
                for start in (0, 20):
                    window, loss = xs[start : start + 20], tg.tensor(0.0)
                    if form == "loop":
                        for x in window:
                            y, state = cell(x, state)
                            loss = loss + (y * y).mean()
                    elif form == "layer":
                        ys, state = layer(window, state)
                        loss = (ys * ys).mean()
                    elif form == "function":
                        h0 = cell.initial_state(2) if state is None else state
                        ys, state = tg.unroll(cell.forward, window, h0)
                        loss = (ys * ys).mean()
                    else:
                        ys, state = tg.unroll(
                            cell, window, state, checkpoint=5 if form == "checkpoint" else None
                        )
                        loss = (ys * ys).mean()
                    loss.backward()
            yield f"{kind} {form}", str(caught.value)


def test_a_state_carried_over_with_its_tape_is_named() -> None:
    count = 0
    for what, text in messages():
        count += 1
        assert "step t=19" in text, f"{what}: {text}"
        assert "state = tg.detach(state)" in text, f"{what}: {text}"
        assert "released by the backward of" in text and "test_unroll.py:" in text, (
            f"{what}: {text}"
        )
        cell = {
            "layer": "'RNN'" if "Elman" in what else f"'{what.split()[0]}'",
            "function": "'forward'",
        }.get(what.split()[1], "'encoder'")
        assert f"in cell {cell}" in text, f"{what}: {text}"
        if "checkpoint" not in what:
            assert "'h_20'" in text, f"{what}: {text}"
            assert f"{what.split()[0].lower()}.py:" in text, f"{what}: {text}"
    assert count == 14


def test_cells_called_by_hand_are_marked_too(rng: np.random.Generator) -> None:
    cell, xs = (
        tg.nn.Stacked([tg.cells.LSTM(INPUT, HIDDEN, rng=0), tg.cells.GRU(HIDDEN, 2, rng=0)]),
        features(rng),
    )
    state, ys = None, []
    for x in xs:
        y, state = cell(x, state)
        ys.append(y)
    nodes = [n for n in tg.tape(tg.stack(ys)) if n.primitive is not None and n.op != "stack"]
    for t in range(T):
        assert {
            (n.where.mark.cell, n.where.mark.layer) for n in nodes if n.where.mark.step == t
        } == {("LSTM", 0), ("GRU", 1)}
    assert {n.where.mark.step for n in nodes} == set(range(T))
    np.testing.assert_array_equal(np.stack([y.numpy() for y in ys]), tg.unroll(cell, xs)[0].numpy())
    _, again = cell(xs[0], tg.detach(state))
    assert {n.where.mark.step for n in tg.tape(again[1]) if n.primitive is not None} == {0}
    with tg.no_grad():
        assert cell(xs[0])[0].node is None or not cell(xs[0])[0].requires_grad
    assert (ys[0] * 1).node.where.mark == ("", None, None)


def test_structures_of_states_by_hand(rng: np.random.Generator) -> None:
    """`unflatten` and `flatten` of the test's own cells agree with what `unroll` returns."""
    cell = KINDS["nested"].make(rng)
    _, last = tg.unroll(cell, features(rng))
    assert type(last) is Pair and [p for p, _ in flatten(last)] == [
        ".low",
        ".rest[0]['mean']",
        ".rest[0]['high'][0]",
    ]
    assert last.rest[0]["high"][1] is None
    assert unflatten(last, [1, 2, 3]).rest[0]["high"] == (3, None)


def test_a_graph_with_a_checkpoint_is_not_pickled(rng: np.random.Generator) -> None:
    ys, _ = tg.unroll(
        tg.cells.GRU(INPUT, HIDDEN, rng=0),
        rng.normal(size=(T, 2, INPUT)).astype(np.float32),
        checkpoint=2,
    )
    with pytest.raises(tg.GraphError, match=r"cannot be pickled.*detach"):
        pickle.dumps(ys)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ys.detach())).numpy(), ys.numpy())


LONG = """
from pathlib import Path
import numpy as np
import tinygrad_rnn as tg

cell = tg.cells.Elman(32, 32, rng=0)
xs = np.random.default_rng(0).standard_normal((100_000, 1, 32), dtype=np.float32)
ys, _ = tg.unroll(cell, xs, checkpoint=True)
(ys * ys).mean().backward()
assert all(np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any() for p in cell.parameters())
lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(lines["VmHWM"].split()[0]) / 1024)  # ru_maxrss would begin with the peak of the process that started this one
"""


@pytest.mark.full
@pytest.mark.skipif(
    sys.platform != "linux", reason="the peak of memory is read as Linux reports it"
)
def test_a_hundred_thousand_steps_in_200_megabytes() -> None:
    """The peak of the whole process, with Python and NumPy in it."""
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 200
