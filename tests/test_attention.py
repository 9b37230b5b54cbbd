"""Attention and the cell that attends, against plain Python loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.attending import AttentionCell
from tinygrad_rnn.nn.attention import Attention, BahdanauAttention, LuongAttention

BATCH, PLACES, QUERY, MEMORY = 2, 3, 3, 2


def dot(a: Any, b: Any) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def additive(p: dict[str, Any], q: Any, m: Any) -> float:
    return sum(
        p["v"][k] * math.tanh(dot(p["weight_query"][k], q) + dot(p["weight_memory"][k], m))
        for k in range(len(p["v"]))
    )


def general(p: dict[str, Any], q: Any, m: Any) -> float:
    return sum(q[i] * p["weight"][i][j] * m[j] for i in range(len(q)) for j in range(len(m)))


def concat(p: dict[str, Any], q: Any, m: Any) -> float:
    both = [*q, *m]
    return sum(p["v"][k] * math.tanh(dot(p["weight"][k], both)) for k in range(len(p["v"])))


KINDS: dict[str, tuple[Callable[..., Attention], Callable[..., float]]] = {
    "bahdanau": (lambda **o: BahdanauAttention(QUERY, MEMORY, 4, **o), additive),
    "dot": (lambda **o: LuongAttention(QUERY, QUERY, "dot", **o), lambda p, q, m: dot(q, m)),
    "general": (lambda **o: LuongAttention(QUERY, MEMORY, "general", **o), general),
    "concat": (lambda **o: LuongAttention(QUERY, MEMORY, "concat", **o), concat),
}


def in_loops(
    score: Any, p: dict[str, Any], query: Any, memory: Any, present: Any
) -> tuple[np.ndarray, np.ndarray]:
    context, weights = np.zeros((len(query), memory.shape[2])), np.zeros(memory.shape[:2])
    for b in range(len(query)):
        places = [s for s in range(memory.shape[1]) if present[b][s]]
        powers = {s: math.exp(score(p, query[b], memory[b, s])) for s in places}
        for s in places:
            weights[b, s] = powers[s] / sum(powers.values())
            context[b] += weights[b, s] * memory[b, s]
    return context, weights


def made(kind: str, rng: np.random.Generator, dtype: Any = np.float64) -> tuple[Any, Any, Any, Any]:
    make, score = KINDS[kind]
    attention = make(rng=rng, dtype=dtype)
    for p in attention.parameters():
        p.data = rng.standard_normal(p.shape).astype(dtype)
    query = rng.standard_normal((BATCH, attention.query_size)).astype(dtype)
    return (
        attention,
        score,
        query,
        rng.standard_normal((BATCH, PLACES, attention.memory_size)).astype(dtype),
    )


MASKS = {
    "none": (None, np.ones((BATCH, PLACES), bool)),
    "lengths": (np.array([3, 1]), np.array([[True, True, True], [True, False, False]])),
    "holes": (np.array([[False, True, True], [True, False, True]]),) * 2,
}


@pytest.mark.parametrize("masked", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_context_and_weights(kind: str, masked: str, rng: np.random.Generator) -> None:
    attention, score, query, memory = made(kind, rng)
    mask, present = MASKS[masked]
    context, weights = attention(tg.tensor(query), tg.tensor(memory), mask)
    expected = in_loops(score, attention.state_dict(), query, memory, present)
    np.testing.assert_allclose(context.numpy(), expected[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(weights.numpy(), expected[1], rtol=1e-12, atol=1e-15)
    again = attention(
        tg.tensor(query), tg.tensor(memory), mask, keys=attention.keys(tg.tensor(memory))
    )
    np.testing.assert_array_equal(again[0].numpy(), context.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_to_second_order(kind: str, rng: np.random.Generator) -> None:
    attention, _, query, memory = made(kind, rng)
    names = [name for name, _ in attention.named_parameters()]
    lengths = np.array([3, 2])

    def f(q: Any, m: Any, *parameters: Any) -> Any:
        for name, p in zip(names, parameters, strict=True):
            object.__setattr__(attention, name, p)
        return attention(q, m, lengths)

    tg.gradcheck(f, query, memory, *[p.numpy() for p in attention.parameters()], order=2)


def test_what_is_masked_gets_no_gradient(rng: np.random.Generator) -> None:
    attention, _, query, memory = made("bahdanau", rng)
    m = tg.tensor(memory, requires_grad=True)
    (attention(tg.tensor(query), m, np.array([2, 1]))[0] ** 2).sum().backward()
    gradient = m.grad.numpy()
    assert not gradient[0, 2].any() and not gradient[1, 1:].any()
    assert gradient[0, :2].all() and gradient[1, 0].all()


def test_float32_stays(rng: np.random.Generator) -> None:
    for kind in KINDS:
        attention, _, query, memory = made(kind, rng, np.float32)
        context, weights = attention(tg.tensor(query), tg.tensor(memory), np.array([2, 1]))
        assert context.dtype == weights.dtype == np.float32


def test_messages(rng: np.random.Generator) -> None:
    attention, _, query, memory = made("general", rng)
    q, m = tg.tensor(query), tg.tensor(memory)
    for mask, error, words in [
        (np.array([0, 1]), tg.ShapeError, "expected 1 to 3"),
        (np.array([4, 1]), tg.ShapeError, "expected 1 to 3"),
        (np.ones((2, 3)), tg.DtypeError, "bool mask of shape"),
        (np.ones((2, 4), bool), tg.ShapeError, r"\(2, 3\)"),
        (np.array([[True] * 3, [False] * 3]), tg.ShapeError, "sequence 1 .*no place"),
    ]:
        with pytest.raises(error, match=words):
            attention(q, m, mask)
    with pytest.raises(tg.ShapeError, match="swapaxes"):
        attention(q, m.swapaxes(1, 2))
    with pytest.raises(tg.ShapeError, match="query of shape"):
        attention(q[:1], m)
    with pytest.raises(tg.ShapeError, match="'general'"):
        LuongAttention(3, 2)
    with pytest.raises(tg.TinygradError, match="'dot', 'general' or 'concat'"):
        LuongAttention(3, 3, "cosine")
    with pytest.raises(tg.ShapeError, match="at least 1"):
        BahdanauAttention(3, 0, 1)
    with pytest.raises(tg.ShapeError, match="at least 1"):
        BahdanauAttention(3, 1, 0)


# --- the cell --------------------------------------------------------------------------------------------------------------------

INPUT, HIDDEN, STEPS = 2, 3, 3


def pair(rng: np.random.Generator, dtype: Any = np.float64) -> tuple[Any, Any, Any, Any]:
    encoder = tg.cells.Elman(INPUT, MEMORY, rng=rng, dtype=dtype)
    inner = tg.cells.Elman(INPUT + 4, HIDDEN, rng=rng, dtype=dtype)
    decoder = AttentionCell(
        inner, LuongAttention(HIDDEN, MEMORY, "general", rng=rng, dtype=dtype), 4, rng=rng
    )
    source, target = (rng.standard_normal((n, BATCH, INPUT)).astype(dtype) for n in (PLACES, STEPS))
    return encoder, decoder, source, target


def test_the_cell_step_by_step(rng: np.random.Generator) -> None:
    _, decoder, _, target = pair(rng)
    p = decoder.state_dict()
    memory = rng.standard_normal((BATCH, PLACES, MEMORY))
    present = np.arange(PLACES) < np.array([[3], [2]])
    bound = decoder.attending(memory, np.array([3, 2]))
    first = rng.standard_normal((BATCH, HIDDEN))
    ys, last = tg.unroll(bound, target, bound.initial_state(BATCH, tg.tensor(first)))
    for b in range(BATCH):
        h, attended = first[b], np.zeros(4)
        for t in range(STEPS):
            x = [*target[t, b], *attended]
            h = [
                math.tanh(
                    dot(p["cell.weight_ih"][j], x)
                    + p["cell.bias_ih"][j]
                    + dot(p["cell.weight_hh"][j], h)
                    + p["cell.bias_hh"][j]
                )
                for j in range(HIDDEN)
            ]
            context, weights = in_loops(
                general,
                {"weight": p["attention.weight"]},
                [h],
                memory[b : b + 1],
                present[b : b + 1],
            )
            attended = np.array(
                [math.tanh(dot(p["weight"][j], [*context[0], *h])) for j in range(4)]
            )
            np.testing.assert_allclose(ys.numpy()[t, b], attended, rtol=1e-12)
        np.testing.assert_allclose(last.inner.numpy()[b], h, rtol=1e-12)
        np.testing.assert_allclose(last.attended.numpy()[b], attended, rtol=1e-12)
        np.testing.assert_allclose(last.weights.numpy()[b], weights[0], rtol=1e-12)


def test_derivatives_reach_the_encoder(rng: np.random.Generator) -> None:
    encoder, decoder, source, target = pair(rng)
    both = tg.Module()
    both.encoder, both.decoder = encoder, decoder
    places = list(both.named_parameters())

    def f(xs: Any, ys: Any, *parameters: Any) -> Any:
        for (path, _), value in zip(places, parameters, strict=True):
            owner: Any = both
            *outer, name = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            object.__setattr__(owner, name, value)
        memory, _ = tg.unroll(encoder, xs, tg.tensor(np.zeros((BATCH, MEMORY))))
        bound = decoder.attending(memory.swapaxes(0, 1), np.array([3, 2]))
        return tg.unroll(
            bound, ys, bound.initial_state(BATCH, tg.tensor(np.zeros((BATCH, HIDDEN))))
        )[0]

    tg.gradcheck(f, source, target, *[p.numpy() for _, p in places])


def test_second_order_through_the_cell(rng: np.random.Generator) -> None:
    _, decoder, _, target = pair(rng)

    def f(memory: Any, ys: Any) -> Any:
        return tg.unroll(decoder.attending(memory, np.array([3, 2])), ys)[0]

    tg.gradcheck(f, rng.standard_normal((BATCH, PLACES, MEMORY)), target[:2], order=2)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "Elman"])
def test_any_cell_learns_and_is_saved(name: str, rng: np.random.Generator, tmp_path: Any) -> None:
    cell = getattr(tg.cells, name)(INPUT + HIDDEN, HIDDEN, rng=rng)
    decoder = AttentionCell(cell, BahdanauAttention(HIDDEN, MEMORY, 4, rng=rng), rng=rng)
    bound = decoder.attending(rng.standard_normal((BATCH, PLACES, MEMORY)))
    ys, _ = tg.unroll(bound, rng.standard_normal((STEPS, BATCH, INPUT), dtype=np.float32))
    assert ys.shape == (STEPS, BATCH, HIDDEN) and ys.dtype == np.float32
    (ys * ys).sum().backward()
    assert all(p.grad is not None and p.grad.numpy().any() for p in decoder.parameters())
    tg.save(tmp_path / "decoder.safetensors", decoder)
    twin = AttentionCell(
        getattr(tg.cells, name)(INPUT + HIDDEN, HIDDEN, rng=1),
        BahdanauAttention(HIDDEN, MEMORY, 4, rng=1),
        rng=1,
    )
    tg.load(tmp_path / "decoder.safetensors", twin)
    for key, value in decoder.state_dict().items():
        np.testing.assert_array_equal(twin.state_dict()[key], value)


def test_messages_of_the_cell(rng: np.random.Generator) -> None:
    _, decoder, _, target = pair(rng)
    with pytest.raises(tg.TinygradError, match="attending"):
        tg.unroll(decoder, target)
    with pytest.raises(tg.TinygradError, match="attending"):
        decoder(tg.tensor(target[0]), tg.tensor(np.zeros((BATCH, HIDDEN))))
    with pytest.raises(tg.ShapeError, match="batch of 5, the sequence one of 2"):
        tg.unroll(decoder.attending(np.zeros((5, PLACES, MEMORY))), target)
    with pytest.raises(tg.ShapeError, match="memory of shape"):
        decoder.attending(np.zeros((5, PLACES, MEMORY + 1)))
    with pytest.raises(tg.ShapeError, match="more than 3; found 3"):
        AttentionCell(tg.cells.GRU(3, 3), LuongAttention(3, 3))


@pytest.mark.parametrize("score", ["dot", "general", "concat", "additive"])
def test_places_without_memory_may_hold_anything(score: str, rng: np.random.Generator) -> None:
    kind = (
        nn.BahdanauAttention(3, 3, 4, rng=0, dtype="f8")
        if score == "additive"
        else nn.LuongAttention(3, 3, score, rng=0, dtype="f8")
    )
    clean, query = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 3))
    lengths = np.array([2, 3])
    spoilt = clean.copy()
    spoilt[0, 2:], spoilt[1, 3:] = np.nan, -np.inf
    cell = nn.AttentionCell(tg.cells.Elman(5, 3, rng=0, dtype="f8"), kind, rng=0)
    xs = rng.standard_normal((3, 2, 2))

    def bound(memory: tg.Tensor) -> tg.Tensor:
        attending = cell.attending(memory, lengths)
        return (tg.unroll(attending, xs)[0] ** 2).sum()

    for of_memory in (lambda m: (kind(tg.tensor(query), m, lengths)[0] ** 2).sum(), bound):
        found = []
        for values in (clean, spoilt):
            memory = tg.tensor(values, requires_grad=True)
            y = of_memory(memory)
            y.backward()
            found.append((y.item(), memory.grad.numpy()))  # type: ignore[union-attr]
        assert found[0][0] == found[1][0]
        np.testing.assert_array_equal(found[0][1], found[1][1])
        assert not found[1][1][0, 2:].any() and found[1][1][0, :2].all()


def test_a_cell_without_sizes_says_what_is_missing() -> None:
    class Bare(tg.Cell):
        def __init__(self) -> None:
            self.W = tg.Parameter(np.ones((4, 6), np.float32))

        def initial_state(self, batch_size: int) -> Any:
            return self.zeros(batch_size, 4)

        def forward(self, x: Any, h: Any) -> Any:
            h = tg.tanh(x @ self.W.T + h)
            return h, h

    with pytest.raises(
        tg.TinygradError,
        match="'Bare' has no hidden_size, so say how many features are attended to: attended_size",
    ):
        AttentionCell(Bare(), LuongAttention(4, 3, "general"))
    bound = AttentionCell(
        Bare(), LuongAttention(4, 3, "general", rng=0), attended_size=4, rng=0
    ).attending(np.ones((2, 5, 3), np.float32))
    ys, _ = tg.unroll(bound, np.ones((3, 2, 2), np.float32))
    assert ys.shape == (3, 2, 4)
    step = AttentionCell(
        lambda x, h: (h, h), LuongAttention(4, 3, "general"), attended_size=4
    ).attending(np.ones((2, 5, 3), np.float32))
    with pytest.raises(
        tg.TinygradError, match="has no first state of its own; give one: initial_state"
    ):
        step.initial_state(2)
