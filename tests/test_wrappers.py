"""Wrappers of cells against formulas written with NumPy alone."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.cells import LSTMState
from tinygrad_rnn.core.tree import leaves, tree_map
from tinygrad_rnn.nn.masks import Masks

T, BATCH, SIZE = 6, 4, 3
F64 = np.float64


def elman(seed: int = 0, inputs: int = SIZE, size: int = SIZE) -> Any:
    return tg.cells.Elman(inputs, size, rng=seed, dtype=F64)


def lstm(seed: int = 0, inputs: int = SIZE, size: int = SIZE) -> Any:
    return tg.cells.LSTM(inputs, size, rng=seed, dtype=F64)


def gru(seed: int = 0, inputs: int = SIZE, size: int = SIZE) -> Any:
    return tg.cells.GRU(inputs, size, rng=seed, dtype=F64)


def sigma(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def elman_step(p: dict[str, Any], x: Any, h: Any) -> Any:
    return np.tanh(x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"])


def lstm_step(p: dict[str, Any], x: Any, h: Any, c: Any) -> Any:
    i, f, g, o = np.split(x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"], 4, axis=1)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def values(cell: Any) -> dict[str, Any]:
    return {name: p.numpy() for name, p in cell.named_parameters()}


def sequence(rng: Any, steps: int = T, size: int = SIZE) -> Any:
    return rng.normal(size=(steps, BATCH, size))


def zeros(size: int = SIZE) -> Any:
    return np.zeros((BATCH, size))


def grads(module: Any) -> dict[str, Any]:
    found = {n: np.zeros(p.shape) if p.grad is None else p.grad.numpy() for n, p in module.named_parameters()}
    module.zero_grad()
    return found


# --- stacks and residual connections -------------------------------------------------------------------------------------------------


def test_stacked(rng: np.random.Generator) -> None:
    low, high = lstm(0, 2, SIZE), elman(1, SIZE, 5)
    cell, xs = tg.nn.Stacked([low, high]), sequence(rng, size=2)
    ys, state = tg.unroll(cell, xs)
    h, c, top, out = zeros(), zeros(), zeros(5), []
    for x in xs:
        h, c = lstm_step(values(low), x, h, c)
        top = elman_step(values(high), h, top)
        out.append(top)
    np.testing.assert_allclose(ys.numpy(), out, rtol=1e-12)
    assert type(state) is tuple and type(state[0]) is LSTMState
    for found, expected in zip(leaves(state), (h, c, top), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    assert next(n for n, _ in cell.named_parameters()) == "cells.0.weight_ih" and cell.input_size == 2
    layers = {(n.where.mark.cell, n.where.mark.layer) for n in tg.tape(ys) if n.op == "tanh"}
    assert layers == {("LSTM", 0), ("Elman", 1)}


def test_dropout_between_stacked_cells(rng: np.random.Generator) -> None:
    """One mask for a sequence: found from what the upper cell, a copy of its input, receives."""

    class Copy(tg.Cell):
        hidden_size = SIZE

        def forward(self, x: Any, h: Any) -> Any:
            return x, h + x

    cell, xs = tg.nn.Stacked([Copy(), Copy(), Copy()], dropout=0.4, rng=0), np.ones((T, 500, SIZE))
    ys, _ = tg.unroll(cell, xs)
    mask = ys.numpy()[0]
    assert (ys.numpy() == mask).all()
    near = [0.0, 1 / 0.6**2]  # two masks, one upon the other
    np.testing.assert_allclose(np.unique(mask), near, rtol=1e-6)
    assert abs((mask > 0).mean() - 0.36) < 0.05
    assert (tg.unroll(cell, xs)[0].numpy()[0] != mask).any()
    cell.eval()
    assert (tg.unroll(cell, xs)[0].numpy() == 1).all()


def test_residual(rng: np.random.Generator) -> None:
    inner = lstm()
    cell, xs = tg.nn.Residual(inner), sequence(rng)
    ys, state = tg.unroll(cell, xs)
    h, c = zeros(), zeros()
    for t, x in enumerate(xs):
        h, c = lstm_step(values(inner), x, h, c)
        np.testing.assert_allclose(ys.numpy()[t], h + x, rtol=1e-12)
    np.testing.assert_allclose(state.h.numpy(), h, rtol=1e-12)
    np.testing.assert_allclose(state.c.numpy(), c, rtol=1e-12)


# --- zoneout --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.3, LSTMState(h=0.2, c=0.6), (0.0, 0.5), (0.4, 0.0)])
def test_zoneout_in_evaluation(p: Any, rng: np.random.Generator) -> None:
    inner = lstm()
    cell, xs = tg.nn.Zoneout(inner, p, rng=0).eval(), sequence(rng)
    ys, state = tg.unroll(cell, xs)
    ph, pc = p if isinstance(p, tuple) else (p, p)
    h, c = zeros(), zeros()
    for t, x in enumerate(xs):
        new_h, new_c = lstm_step(values(inner), x, h, c)
        h, c = ph * h + (1 - ph) * new_h, pc * c + (1 - pc) * new_c
        np.testing.assert_allclose(ys.numpy()[t], h, rtol=1e-12, err_msg="the output is the state that was kept")
    np.testing.assert_allclose(state.c.numpy(), c, rtol=1e-12)


@pytest.mark.parametrize("p", [0.3, LSTMState(h=0.2, c=0.6), {"h": 0.1, "c": 0.5}, {"c": 0.5, "h": 0.1}])
def test_zoneout_in_training(p: Any, rng: np.random.Generator) -> None:
    """Each element is the old value or the new one; which, is read off and counted."""
    inner, batch, size = lstm(0, 2, 40), 50, 40
    wrapped: Any = inner
    if isinstance(p, dict):

        class Dict(tg.Cell):
            """Its state is a dict, whose order differs from that of the next state."""

            def initial_state(self, batch_size: int) -> Any:
                return {"c": tg.tensor(np.zeros((batch_size, size))), "h": tg.tensor(np.zeros((batch_size, size)))}

            def forward(self, x: Any, s: Any) -> Any:
                h, (_, c) = inner.forward(x, (s["h"], s["c"]))
                return h, {"h": h, "c": c}

        wrapped = Dict()
    cell, xs = tg.nn.Zoneout(wrapped, p, rng=0), rng.normal(size=(T, batch, 2))
    ys, states = tg.unroll(cell, xs, return_states=True)
    ph, pc = (p["h"], p["c"]) if isinstance(p, dict) else p if isinstance(p, tuple) else (p, p)

    def get(name: str) -> Any:
        return (states[name] if isinstance(states, dict) else getattr(states, name)).numpy()

    h = c = np.zeros((batch, size))
    kept: list[list[Any]] = [[], []]
    for t, x in enumerate(xs):
        new = lstm_step(values(inner), x, h, c)
        for k, (name, old, fresh) in enumerate((("h", h, new[0]), ("c", c, new[1]))):
            found = get(name)[t]
            from_old, from_new = (np.isclose(found, s, rtol=1e-12, atol=1e-14) for s in (old, fresh))  # terms of about 1 are added up
            assert (from_old ^ from_new).all()
            kept[k].append(from_old)
        np.testing.assert_array_equal(ys.numpy()[t], get("h")[t])
        h, c = get("h")[t], get("c")[t]
    for masks, rate in zip(kept, (ph, pc), strict=True):
        assert abs(np.mean(masks) - rate) < 0.02
        assert abs(np.mean(masks[0] & masks[1]) - rate**2) < 0.03, "steps are independent"
    assert abs(np.mean(np.array(kept[0]) & np.array(kept[1])) - ph * pc) < 0.02, "components are independent"


def test_zoneout_leaves_counters_alone() -> None:
    def counting(training: bool) -> Any:
        class Counting(tg.Cell):
            def initial_state(self, batch_size: int) -> Any:
                return {"n": tg.tensor(np.zeros((batch_size, 1), int)), "h": self.zeros(batch_size, SIZE)}

            def forward(self, x: Any, s: Any) -> Any:
                return s["h"], {"n": s["n"] + 1, "h": s["h"] + x}

        return tg.nn.Zoneout(Counting(), 0.5, rng=0).train(training)

    for training in (True, False):
        _, last = tg.unroll(counting(training), np.ones((T, BATCH, SIZE), np.float32))
        assert last["n"].dtype == int and (last["n"].numpy() == T).all() and (last["h"].numpy() < T).any()


# --- dropout that is held for a sequence -------------------------------------------------------------------------------------------------


class Echo(tg.Cell):
    """Gives what it receives: input and state side by side."""

    hidden_size = SIZE

    def initial_state(self, batch_size: int) -> Any:
        return {"rest": self.zeros(batch_size, 2), "h": tg.tensor(np.ones((batch_size, SIZE), np.float32))}

    def forward(self, x: Any, s: Any) -> Any:
        return tg.concatenate([x, s["h"], s["rest"] + 1], -1), {"rest": s["rest"], "h": s["h"] * 0 + 1}


def test_variational_dropout() -> None:
    cell = tg.nn.VariationalDropout(Echo(), input=0.2, state=0.4, rng=0)
    xs = np.ones((T, 800, SIZE), np.float32)
    ys, last = (t for t in tg.unroll(cell, xs))
    y = ys.numpy()
    assert (y == y[0]).all(), "one mask for all steps"
    for part, p in ((y[0, :, :SIZE], 0.2), (y[0, :, SIZE : 2 * SIZE], 0.4)):
        assert set(np.unique(part.round(5))) == {0, round(np.float32(1 / (1 - p)), 5)} or np.allclose(np.unique(part), [0, 1 / (1 - p)])
        assert abs((part == 0).mean() - p) < 0.04
        assert np.unique(part, axis=0).shape[0] > 4, "rows have masks of their own"
    assert (y[0, :, 2 * SIZE :] == 1).all() and (last["h"].numpy() == 1).all(), "only h, and only as it enters"
    assert (tg.unroll(cell, xs)[0].numpy() != y).any(), "another sequence, another mask"
    again = tg.nn.VariationalDropout(Echo(), input=0.2, state=0.4, rng=0)
    np.testing.assert_array_equal(tg.unroll(again, xs)[0].numpy(), y)
    other = tg.nn.VariationalDropout(Echo(), input=0.2, state=0.4, rng=1)
    assert (tg.unroll(other, xs)[0].numpy() != y).any()
    cell.eval()
    assert (tg.unroll(cell, xs)[0].numpy() == 1).all()
    output = tg.nn.VariationalDropout(Echo(), output=0.5, rng=0)
    y = tg.unroll(output, xs)[0].numpy()
    assert (y == y[0]).all() and np.allclose(np.unique(y), [0, 2]) and abs((y == 0).mean() - 0.5) < 0.04


def test_variational_dropout_with_a_tuple_as_input(rng: np.random.Generator) -> None:
    class Timed(tg.Cell):
        hidden_size = SIZE

        def forward(self, x: Any, h: Any) -> Any:
            return {"x": x[0], "gap": x[1]}, h

    xs, gaps = np.ones((T, BATCH, SIZE), np.float32), rng.normal(size=(T, BATCH, 1)).astype(np.float32)
    ys, _ = tg.unroll(tg.nn.VariationalDropout(Timed(), input=0.5, rng=0), (xs, gaps))
    np.testing.assert_array_equal(ys["gap"].numpy(), gaps)
    assert set(np.unique(ys["x"].numpy())) == {0, 2}
    ys, _ = tg.unroll(tg.nn.VariationalDropout(Timed(), output=0.5, rng=0), (xs, gaps))
    assert set(np.unique(ys["x"].numpy())) == {0, 2} and (ys["gap"].numpy() == 0).any()


def test_masks_depend_on_seed_sequence_place_and_step_alone() -> None:
    masks = [Masks(7) for _ in range(2)]
    draw = [m.keep(0.5, (4, 50), bool, per="step", place=p) for m in masks for p in (0, 1)]
    np.testing.assert_array_equal(draw[0], draw[2])
    assert (draw[0] != draw[1]).any()
    with tg.at_step(1):
        assert (masks[0].keep(0.5, (4, 50), bool, per="step") != draw[0]).any()
    assert (copy.deepcopy(masks[0]).keep(0.5, (9,), bool, per="step") == masks[0].keep(0.5, (9,), bool, per="step")).all()


def test_wrappers_can_be_copied() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cell = tg.nn.Zoneout(tg.nn.WeightDrop(lstm(), 0.5, rng=0), 0.3, rng=1)
        twin = copy.deepcopy(cell)
    xs = np.random.default_rng(0).normal(size=(T, BATCH, SIZE))
    np.testing.assert_array_equal(tg.unroll(cell, xs)[0].numpy(), tg.unroll(twin, xs)[0].numpy())


# --- weight drop ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("weight_hh",), ("weight_hh", "weight_ih"), ("bias_hh",), "weight_ih"])
def test_weight_drop(names: Any, rng: np.random.Generator) -> None:
    inner = elman()
    for p in inner.parameters():
        p.data = rng.normal(size=p.shape)
    before, xs = {n: v.copy() for n, v in values(inner).items()}, tg.tensor(sequence(rng), requires_grad=True)
    cell = tg.nn.WeightDrop(inner, 0.5, names, rng=0)
    ys, _ = tg.unroll(cell, xs)
    (ys * ys).sum().backward()
    listed = [names] if isinstance(names, str) else list(names)
    thinned, reached = dict(before), {n: inner_grad != 0 for n, inner_grad in grads(inner).items()}
    for n in listed:
        kept = reached[n]
        assert 0 < kept.sum() < kept.size, "the gradient reaches what is kept"
        thinned[n] = np.where(kept, before[n] / 0.5, 0)
    assert all(reached[n].all() for n in before if n not in listed)
    made = [n for n in tg.tape(ys) if n.op == "multiply" and n.shape in {before[k].shape for k in listed}]
    assert len(made) == len(listed), "the thinned weights are made once for all steps"
    h = zeros()
    for t, x in enumerate(xs.numpy()):  # one mask for all steps and all rows
        h = elman_step(thinned, x, h)
        np.testing.assert_allclose(ys.numpy()[t], h, rtol=1e-12)
    for n, v in values(inner).items():
        np.testing.assert_array_equal(v, before[n], err_msg="the cell's own weights stay")
    assert (tg.unroll(cell, xs)[0].numpy() != ys.numpy()).any(), "another sequence, another mask"
    cell.eval()
    np.testing.assert_array_equal(tg.unroll(cell, xs)[0].numpy(), tg.unroll(inner, xs)[0].numpy())
    assert [n for n, _ in cell.named_parameters()] == [f"cell.{n}" for n in before]


def test_weight_drop_has_the_rate_it_was_given() -> None:
    inner = elman(0, 2, 60)
    cell = tg.nn.WeightDrop(inner, 0.3, rng=0)
    rates = []
    for _ in range(3):
        tg.unroll(cell, np.ones((3, 2, 2)))[0].sum().backward()
        rates.append((grads(inner)["weight_hh"] == 0).mean())
    assert max(abs(r - 0.3) for r in rates) < 0.03 and len(set(rates)) > 1


# --- normalisation ---------------------------------------------------------------------------------------------------------------------------


def layer_norm(x: Any, gain: Any, bias: Any) -> Any:
    return gain * (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) + bias


def test_recurrent_layer_norm(rng: np.random.Generator) -> None:
    inner = lstm(0, 5)
    cell: Any = tg.nn.RecurrentLayerNorm(inner)
    xs = sequence(rng, size=5)
    for p in (cell.norm_x.weight, cell.norm_x.bias, cell.norm_h.weight, cell.norm_h.bias):
        p.data = rng.normal(size=p.shape)
    first = (rng.normal(size=(BATCH, SIZE)), rng.normal(size=(BATCH, SIZE)))
    ys, state = tg.unroll(cell, xs, first)
    h, c = first
    nx, nh = ((n.weight.numpy(), n.bias.numpy()) for n in (cell.norm_x, cell.norm_h))
    for t, x in enumerate(xs):
        h, c = lstm_step(values(inner), layer_norm(x, *nx), layer_norm(h, *nh), c)
        np.testing.assert_allclose(ys.numpy()[t], h, rtol=1e-10)
    np.testing.assert_allclose(state.c.numpy(), c, rtol=1e-10)


def test_recurrent_batch_norm(rng: np.random.Generator) -> None:
    inner, steps, momentum = elman(0, 5), 3, 0.1
    cell: Any = tg.nn.RecurrentBatchNorm(inner, steps)
    norm_x, norm_h = cell.norms
    assert (norm_x[0].weight.numpy() == 0.1).all() and norm_h[0].weight.numpy().tolist() == [0.1] * SIZE
    assert len(list(cell.parameters())) == 4 + 4, "gain and bias are shared by all steps"
    for n in (norm_x[0], norm_h[0]):
        n.weight.data, n.bias.data = rng.normal(size=n.weight.shape), rng.normal(size=n.bias.shape)
    running: dict[Any, Any] = {(k, t): (np.zeros(size), np.ones(size)) for k, size in (("x", 5), ("h", SIZE)) for t in range(steps)}

    def norm(v: Any, k: str, t: int, training: bool) -> Any:
        n, t = (norm_x if k == "x" else norm_h)[0], min(t, steps - 1)
        mean, var = (v.mean(0), v.var(0)) if training else running[k, t]
        if training:
            old = running[k, t]
            running[k, t] = tuple((1 - momentum) * o + momentum * f for o, f in zip(old, (mean, v.var(0, ddof=1)), strict=True))
        return n.weight.numpy() * (v - mean) / np.sqrt(var + 1e-5) + n.bias.numpy()

    for training in (True, True, False):
        cell.train(training)
        xs, h = sequence(rng, size=5), rng.normal(size=(BATCH, SIZE))
        ys, _ = tg.unroll(cell, xs, h)
        for t, x in enumerate(xs):
            h = elman_step(values(inner), norm(x, "x", t, training), norm(h, "h", t, training))
            np.testing.assert_allclose(ys.numpy()[t], h, rtol=1e-9, atol=1e-12)
        for k, norms in (("x", norm_x), ("h", norm_h)):
            for t in range(steps):
                np.testing.assert_allclose(norms[t].running_mean.numpy(), running[k, t][0], rtol=1e-10, atol=1e-14)
                np.testing.assert_allclose(norms[t].running_var.numpy(), running[k, t][1], rtol=1e-10)


@pytest.mark.parametrize("checkpoint", [1, 2, True])
def test_running_statistics_move_once_with_checkpoints(checkpoint: Any, rng: np.random.Generator) -> None:
    found, xs = [], sequence(rng)
    for option in (None, checkpoint):
        for nested in (False, True):
            cell = tg.nn.RecurrentBatchNorm(elman(), 3)
            step: Any = (lambda x, h, c=cell: tg.checkpoint(c, x, h)) if nested else cell
            ys, _ = tg.unroll(step, xs, zeros(), checkpoint=option)
            (ys * ys).sum().backward()
            found.append({**{n: b.numpy() for n, b in cell.named_buffers()}, **grads(cell)})
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_allclose(other[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


# --- both directions --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", ["concatenate", "sum"])
@pytest.mark.parametrize("lengths", [None, [2, 6, 1, 4]])
def test_bidirectional(lengths: Any, merge: str, rng: np.random.Generator) -> None:
    there, back = lstm(0), elman(1)
    both, xs = tg.nn.Bidirectional(there, back, merge=merge), sequence(rng)
    states = ((rng.normal(size=(BATCH, SIZE)), rng.normal(size=(BATCH, SIZE))), rng.normal(size=(BATCH, SIZE)))
    ys, (last, last_back) = both(xs, states, lengths)
    for b in range(BATCH):
        n = T if lengths is None else lengths[b]
        h, c = (s[b : b + 1] for s in states[0])
        r = states[1][b : b + 1]
        forward: list[Any] = []
        backward: list[Any] = []
        for x in xs[:n, b : b + 1]:
            h, c = lstm_step(values(there), x, h, c)
            forward.append(h[0])
        for x in xs[:n, b : b + 1][::-1]:
            r = elman_step(values(back), x, r)
            backward.insert(0, r[0])
        joined = np.concatenate([forward, backward], 1) if merge == "concatenate" else np.add(forward, backward)
        np.testing.assert_allclose(ys.numpy()[:n, b], joined, rtol=1e-10)
        assert not ys.numpy()[n:, b].any()
        for found, expected in ((last.h, h), (last.c, c), (last_back, r)):
            np.testing.assert_allclose(found.numpy()[b], expected[0], rtol=1e-10)
    ys.sum().backward()
    assert all(g.any() for g in grads(both).values())


# --- all of them -------------------------------------------------------------------------------------------------------------------------------


class Free(tg.Cell):
    """tanh(x W + h U) with whatever values are set."""

    input_size = hidden_size = 2

    def __init__(self, W: Any, U: Any) -> None:
        self.W, self.U = tg.Parameter(np.eye(2)), tg.Parameter(np.eye(2))
        object.__setattr__(self, "W", W)
        if isinstance(U, tg.Parameter):
            self.U = U
        else:
            object.__setattr__(self, "U", U)

    def initial_state(self, batch_size: int) -> Any:
        return tg.tensor(np.zeros((batch_size, 2)))

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(x @ self.W + h @ self.U)
        return h, h


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "Stacked": lambda c: tg.nn.Stacked([c, c], dropout=0.4, rng=0),
    "Residual": tg.nn.Residual,
    "Zoneout": lambda c: tg.nn.Zoneout(c, 0.4, rng=0),
    "Zoneout in evaluation": lambda c: tg.nn.Zoneout(c, 0.4, rng=0).eval(),
    "VariationalDropout": lambda c: tg.nn.VariationalDropout(c, input=0.3, state=0.3, output=0.3, rng=0),
    "RecurrentLayerNorm": tg.nn.RecurrentLayerNorm,
    "RecurrentBatchNorm": lambda c: tg.nn.RecurrentBatchNorm(c, 2, gain=0.7),
    "nested": lambda c: tg.nn.Residual(tg.nn.Zoneout(tg.nn.VariationalDropout(c, state=0.3, rng=1), 0.3, rng=0)),
}


@pytest.mark.parametrize("checkpoint", [None, 2])
@pytest.mark.parametrize("name", WRAPPERS)
def test_second_derivatives_of_wrappers(name: str, checkpoint: Any, rng: np.random.Generator) -> None:
    """The masks are a function of the seed, so the wrapper is built anew for each evaluation."""

    def run(W: Any, U: Any, xs: Any) -> Any:
        cell = WRAPPERS[name](Free(W, U))
        for p in cell.parameters():
            p.data = p.data.astype(F64)
        return tg.unroll(cell, xs, lengths=[3, 2, 3], checkpoint=checkpoint)

    scale = 1.5 if "Norm" in name else 1.0
    if "Norm" in name:  # their parameters take the dtype of the cell, which has none of its own here
        inner = WRAPPERS[name]

        def run(W: Any, U: Any, xs: Any) -> Any:
            cell = inner(elman(0, 2, 2))
            object.__setattr__(cell, "cell", Free(W, U))
            return tg.unroll(cell, xs, lengths=[3, 2, 3], checkpoint=checkpoint)

    W, U, xs = (rng.normal(size=s) * scale for s in ((2, 2), (2, 2), (3, 3, 2)))
    assert tg.gradcheck(run, W, U, xs, order=2, rtol=2e-4, atol=1e-6)


def test_second_derivatives_of_weight_drop(rng: np.random.Generator) -> None:
    inner = elman(0, 2, 2)

    def run(W: Any, xs: Any) -> Any:
        cell = tg.nn.WeightDrop(inner, 0.5, rng=3)
        object.__setattr__(cell.cell, "weight_hh", W)  # a tensor on the tape in place of the parameter
        try:
            return tg.unroll(cell, xs)
        finally:
            object.__setattr__(cell.cell, "weight_hh", original)

    original = inner.weight_hh
    assert tg.gradcheck(run, rng.normal(size=(2, 2)), rng.normal(size=(3, 2, 2)), order=2, rtol=1e-4)


ALL: dict[str, Callable[[], Any]] = {
    "Stacked": lambda: tg.nn.Stacked([lstm(), gru(1), elman(2)], dropout=0.3, rng=0),
    "Residual": lambda: tg.nn.Residual(lstm()),
    "Zoneout": lambda: tg.nn.Zoneout(lstm(), LSTMState(0.1, 0.5), rng=0),
    "VariationalDropout": lambda: tg.nn.VariationalDropout(lstm(), input=0.3, state=0.3, output=0.3, rng=0),
    "WeightDrop": lambda: tg.nn.WeightDrop(lstm(), 0.4, rng=0),
    "RecurrentLayerNorm": lambda: tg.nn.RecurrentLayerNorm(lstm()),
    "RecurrentBatchNorm": lambda: tg.nn.RecurrentBatchNorm(lstm(), 3, gain=0.7),
    "nested": lambda: tg.nn.Residual(tg.nn.Zoneout(tg.nn.Stacked([tg.nn.WeightDrop(lstm(), 0.4, rng=3), gru(1)], dropout=0.4, rng=2), 0.2, rng=1)),
    "drop in norm": lambda: tg.nn.VariationalDropout(tg.nn.RecurrentLayerNorm(tg.nn.Zoneout(gru(), 0.3, rng=5)), state=0.4, rng=4),
}


@pytest.mark.parametrize("checkpoint", [1, 2, True, 10])
@pytest.mark.parametrize("name", ALL)
def test_wrappers_with_checkpoints(name: str, checkpoint: Any, rng: np.random.Generator) -> None:
    xs, found = sequence(rng), []
    for option in (None, checkpoint):
        cell = ALL[name]()
        for _ in range(2):  # two sequences: other masks in the second
            ys, last = tg.unroll(cell, xs, lengths=[6, 3, 1, 4], checkpoint=option, reverse=True)
            ((ys * xs).sum() + sum(((s * s).sum() for s in leaves(last)), tg.tensor(np.zeros(())))).backward()
        found.append({"ys": ys.numpy(), **grads(cell), **{n: b.numpy() for n, b in cell.named_buffers()}})
    for what, value in found[0].items():
        np.testing.assert_allclose(found[1][what], value, rtol=1e-9, atol=1e-12, err_msg=what)
        assert value.any(), what


@pytest.mark.parametrize("k1, k2", [(6, 6), (2, 6), (1, 20), (4, 8)])
@pytest.mark.parametrize("name", [n for n in ALL if n != "RecurrentBatchNorm"])
def test_wrappers_with_truncation(name: str, k1: int, k2: int, rng: np.random.Generator) -> None:
    """Windows that reach back to the beginning have together the gradient of the whole."""
    xs = sequence(rng)
    cell, twin = ALL[name](), ALL[name]()
    ys, _ = tg.unroll(cell, xs)
    (ys * xs).sum().backward()
    whole = grads(cell)
    for window in tg.tbptt(twin, xs, k1, k2):
        np.testing.assert_allclose(window.ys.numpy(), ys.numpy()[window.start : window.stop], rtol=1e-11)
        window.backward((window.ys * xs[window.start : window.stop]).sum())
    for n, g in grads(twin).items():
        np.testing.assert_allclose(g, whole[n], rtol=1e-9, atol=1e-11, err_msg=n)


@pytest.mark.parametrize("name", ALL)
def test_wrappers_are_cells(name: str, rng: np.random.Generator) -> None:
    """Sizes, dtype, evaluation without randomness, saving, and steps by hand."""
    cell, xs = ALL[name](), sequence(rng)
    assert cell.input_size == SIZE and isinstance(cell, tg.Cell)
    cell.eval()
    ys, last = tg.unroll(cell, xs)
    np.testing.assert_array_equal(ys.numpy(), tg.unroll(cell, xs)[0].numpy())
    assert ys.dtype == F64 and all(s.dtype == F64 for s in leaves(last))
    state = None
    for t, x in enumerate(xs):
        y, state = cell(x, state)
        np.testing.assert_allclose(y.numpy(), ys.numpy()[t], rtol=1e-12)
    other = ALL[name]().eval()
    for p in other.parameters():
        p.data = np.zeros(p.shape)
    other.load_state_dict(cell.state_dict())
    np.testing.assert_array_equal(tg.unroll(other, xs)[0].numpy(), ys.numpy())
    expected = tree_map(lambda s: s.shape, cell.initial_state(2))
    assert leaves(expected) == leaves(tree_map(lambda s: (2, *s.shape[1:]), last))


def test_sizes_of_outputs_are_known_to_stacks() -> None:
    projected = tg.cells.LSTMP(SIZE, 5, 2, rng=0)
    for low in (projected, tg.nn.Zoneout(projected)):
        cell = tg.nn.Stacked([low, tg.cells.GRU(2, 4, rng=1)])
        ys, _ = tg.unroll(cell, np.ones((T, BATCH, SIZE), np.float32))
        assert ys.shape == (T, BATCH, 4)
    for name in tg.cells.__all__:
        kind: Any = getattr(tg.cells, name)
        if name not in ("ConvLSTM", "PhasedLSTM", "LSTMP", "PublishedCell") and isinstance(kind, type) and issubclass(kind, tg.Cell):
            make: Any = kind
            one = make(4, 4, rng=0)
            y, _ = one(np.ones((2, 4), np.float32))
            assert y.shape == (2, getattr(one, "output_size", one.hidden_size)), name
