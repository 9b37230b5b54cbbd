"""Cells, unrolling, modules, losses, clipping and initial values against plain Python loops and recorded figures of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg

TORCH = np.load(Path(__file__).parent / "data" / "torch.npz")
T, BATCH, INPUT, HIDDEN = 3, 2, 2, 3


class Kind(NamedTuple):
    cell: type[tg.Cell]
    states: int
    gates: int


KINDS = {
    "Elman": Kind(tg.cells.Elman, 1, 1),
    "LSTM": Kind(tg.cells.LSTM, 2, 4),
    "GRU": Kind(tg.cells.GRU, 1, 3),
}


def with_engine(
    kind: Kind, values: dict[str, Any], weights: list[Any], hidden: int
) -> tuple[Any, list[Any], Any, dict[str, Any]]:
    """The same by `unroll`; the gradients by the names of the values."""
    cell = kind.cell(values["xs"].shape[-1], hidden, rng=0, dtype=np.float64)
    cell.load_state_dict({name: values[name] for name, _ in cell.named_parameters()})
    xs = tg.tensor(values["xs"], requires_grad=True)
    states = [tg.tensor(values[f"state{k}"], requires_grad=True) for k in range(kind.states)]
    ys, last = tg.unroll(cell, xs, tuple(states) if kind.states > 1 else states[0])
    last = list(last) if kind.states > 1 else [last]
    loss = sum(
        ((y * w).sum() for w, y in zip(weights, [ys, *last], strict=True)), tg.tensor(np.zeros(()))
    )
    loss.backward()
    leaves = {
        "xs": xs,
        **{f"state{k}": s for k, s in enumerate(states)},
        **dict(cell.named_parameters()),
    }
    return ys, last, loss, {name: leaf.grad.numpy() for name, leaf in leaves.items()}


@pytest.mark.parametrize("name", KINDS)
def test_cells_against_torch(name: str) -> None:
    kind = KINDS[name]
    recorded = {
        key.partition("/")[2]: TORCH[key] for key in TORCH.files if key.startswith(f"{name}/")
    }
    names = [
        "xs",
        "weight_ih",
        "weight_hh",
        "bias_ih",
        "bias_hh",
        *(f"state{k}" for k in range(kind.states)),
    ]
    weights = [recorded[f"weights{i}"] for i in range(1 + kind.states)]
    ys, last, _, gradients = with_engine(
        kind, {key: recorded[key] for key in names}, weights, recorded["ys"].shape[-1]
    )
    np.testing.assert_allclose(ys.numpy(), recorded["ys"], rtol=1e-10)
    for k, final in enumerate(last):
        np.testing.assert_allclose(final.numpy(), recorded[f"last{k}"], rtol=1e-10)
    for key in names:
        np.testing.assert_allclose(
            gradients[key], recorded[f"d {key}"], rtol=1e-9, atol=1e-12, err_msg=key
        )


# --- unrolling -----------------------------------------------------------------------------------------------------------------------


def test_arrays_take_the_dtype_of_the_cell(rng: np.random.Generator) -> None:
    xs = rng.normal(size=(4, 2, 2))
    for dtype in (np.float32, np.float64):
        cell = tg.cells.GRU(2, 3, rng=0, dtype=dtype)
        ys, _ = tg.unroll(cell, xs)
        assert ys.dtype == dtype
        by_hand = cell(xs[0], cell.initial_state(2))[0]
        assert by_hand.dtype == dtype
        np.testing.assert_array_equal(ys.numpy()[0], by_hand.numpy())


class Memory(NamedTuple):
    fast: Any
    slow: Any


STATES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], Any]]] = {
    "tensor": (lambda a, b: a, lambda s: (s, s)),
    "tuple": (lambda a, b: (a, b), lambda s: s),
    "named tuple": (lambda a, b: Memory(a, b), lambda s: (s.fast, s.slow)),
    "dict": (lambda a, b: {"fast": a, "slow": b}, lambda s: (s["fast"], s["slow"])),
    "list": (lambda a, b: [a, b], lambda s: tuple(s)),
    "nest": (
        lambda a, b: {"x": (a, None), "y": [Memory(a * 1, b)]},
        lambda s: (s["x"][0], s["y"][0].slow),
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_states_of_every_structure(name: str, rng: np.random.Generator) -> None:
    pack, unpack = STATES[name]
    w = tg.Parameter(rng.normal(size=(2, 2)) * 0.5)
    xs, a, b = (
        tg.tensor(rng.normal(size=shape), requires_grad=True)
        for shape in ((4, 3, 2), (3, 2), (3, 2))
    )

    def cell(x: Any, state: Any) -> Any:
        fast, slow = unpack(state)
        fast = tg.tanh(x + fast @ w)
        slow = 0.9 * slow + 0.1 * fast
        return fast * slow, pack(fast, slow)

    ys, last = tg.unroll(cell, xs, pack(a, b))
    assert type(last) is type(pack(a, b))
    weights = rng.normal(size=ys.shape)
    (
        (ys * weights).sum()
        + sum((s.sum() for s in unpack(last)), tg.tensor(0.0, dtype=np.float64))
    ).backward()
    found = [t.grad.numpy() for t in (w, xs, a)] + ([] if name == "tensor" else [b.grad.numpy()])
    for t in (w, xs, a, b):
        t.grad = None
    fast, slow, outputs = a, a if name == "tensor" else b, []
    for t in range(4):
        if name == "tensor":
            slow = fast
        fast = tg.tanh(xs[t] + fast @ w)
        slow = 0.9 * slow + 0.1 * fast
        outputs.append(fast * slow)
    ends = (fast, fast) if name == "tensor" else (fast, slow)
    ((tg.stack(outputs) * weights).sum() + ends[0].sum() + ends[1].sum()).backward()
    np.testing.assert_array_equal(ys.numpy(), tg.stack(outputs).numpy())
    for f, t in zip(found, (w, xs, a, b), strict=False):
        np.testing.assert_allclose(f, t.grad.numpy(), rtol=1e-12)


def test_a_plain_tuple_may_become_the_named_state_of_the_cell(rng: np.random.Generator) -> None:
    cell = tg.cells.LSTM(2, 3, rng=0)
    zero = cell.initial_state(1)
    xs = rng.normal(size=(3, 1, 2))
    for first in (tuple(zero), list(zero), zero, None):
        ys, last = tg.unroll(cell, xs, first)
        assert type(last) is tg.cells.LSTMState
        np.testing.assert_array_equal(ys.numpy()[-1], last.h.numpy())


def test_states_may_be_dicts_in_another_order(rng: np.random.Generator) -> None:
    def cell(x: Any, s: Any) -> Any:
        return s["a"], {"b": s["b"] * 2, "a": s["a"] + x}

    _, last = tg.unroll(
        cell, np.ones((3, 1, 2)), {"a": tg.tensor(np.zeros((1, 2))), "b": tg.tensor(np.ones(1))}
    )
    assert last["a"].tolist() == [[3, 3]] and last["b"].tolist() == [8]


def test_several_inputs_and_several_outputs(rng: np.random.Generator) -> None:
    xs, gate = tg.tensor(rng.normal(size=(5, 2, 3)), requires_grad=True), rng.normal(size=(5, 2, 1))

    def cell(inputs: Any, h: Any) -> Any:
        x, g = inputs
        h = h + g * x
        return {"h": h, "pair": (h * 2, x)}, h

    ys, last = tg.unroll(cell, (xs, gate), tg.tensor(np.zeros((2, 3))))
    expected = np.cumsum(gate * xs.numpy(), axis=0)
    np.testing.assert_allclose(ys["h"].numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(ys["pair"][0].numpy(), 2 * expected, rtol=1e-12)
    np.testing.assert_array_equal(ys["pair"][1].numpy(), xs.numpy())
    np.testing.assert_allclose(last.numpy(), expected[-1], rtol=1e-12)
    ys["h"].sum().backward()
    np.testing.assert_allclose(
        xs.grad.numpy(),
        np.broadcast_to(gate, xs.shape) * np.arange(5, 0, -1)[:, None, None],
        rtol=1e-12,
    )


def test_cells_without_output_and_integer_inputs() -> None:
    ids = np.array([[0, 1], [1, 1], [2, 0]])
    table = tg.Parameter(np.eye(3))
    ys, last = tg.unroll(
        lambda i, s: (None, s + tg.take(table, i, 0)), ids, tg.tensor(np.zeros((2, 3)))
    )
    assert ys is None and last.tolist() == [[1, 1, 1], [1, 2, 0]]
    last.sum().backward()
    np.testing.assert_array_equal(table.grad.numpy()[:, 0], [2, 3, 1])


def test_marks_name_cell_and_step(rng: np.random.Generator) -> None:
    cell = tg.cells.LSTM(2, 3, rng=0)
    ys, _ = tg.unroll(cell, rng.normal(size=(4, 1, 2)))
    marks = {
        (n.where.mark.cell, n.where.mark.step)
        for n in tg.tape(ys)
        if n.primitive is not None and n.op != "stack"
    }
    assert marks == {("LSTM", t) for t in range(4)}
    for t in range(4):
        ops = [n.op for n in tg.tape(ys) if n.where.mark.step == t and n.primitive is not None]
        assert ops.count("matmul") == 2 and ops.count("tanh") == 2 and ops.count("sigmoid") == 3
    cell.name = "encoder"
    ys, _ = tg.unroll(cell, rng.normal(size=(2, 1, 2)))
    assert "encoder" in str(tg.tape(ys))

    def doubling(x: Any, h: Any) -> Any:
        return h * 2, h * 2

    ys, _ = tg.unroll(doubling, np.ones((2, 1)), tg.tensor([1.0], requires_grad=True))
    assert {n.where.mark.cell for n in tg.tape(ys) if n.op == "multiply"} == {"doubling"}
    assert (ys * 1).node.where.mark == ("", None, None)


def test_one_step_and_the_whole(rng: np.random.Generator) -> None:
    """Windows with the state carried over give the same numbers as one long unrolling."""
    cell = tg.cells.GRU(2, 3, rng=0)
    xs = rng.normal(size=(6, 2, 2)).astype(np.float32)
    whole, last = tg.unroll(cell, xs)
    first, state = tg.unroll(cell, xs[:4])
    second, end = tg.unroll(cell, xs[4:], state)
    np.testing.assert_array_equal(whole.numpy(), np.concatenate([first.numpy(), second.numpy()]))
    np.testing.assert_array_equal(last.numpy(), end.numpy())
    one, _ = tg.unroll(cell, xs[:1])
    np.testing.assert_array_equal(one.numpy(), whole.numpy()[:1])


def test_a_learned_first_state_gets_its_gradient(rng: np.random.Generator) -> None:
    h0 = tg.Parameter(rng.normal(size=(1, 3)))
    w = rng.normal(size=(3, 3))
    _, last = tg.unroll(lambda x, h: (h, h @ w), np.zeros((3, 2, 1)), tg.broadcast_to(h0, (2, 3)))
    last.sum().backward()
    np.testing.assert_allclose(
        h0.grad.numpy()[0], 2 * np.linalg.matrix_power(w, 3).sum(1), rtol=1e-12
    )


# --- modules ---------------------------------------------------------------------------------------------------------------------------


class Block(tg.Module):
    def __init__(self, rng: Any) -> None:
        self.inner = tg.nn.Linear(3, 3, rng=rng)
        self.scale = tg.Parameter([2.0])

    def forward(self, x: Any) -> Any:
        return tg.tanh(self.inner(x)) * self.scale


class Net(tg.Module):
    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.blocks = [Block(rng), Block(rng)]
        self.table = {
            "a": tg.nn.Embedding(4, 3, rng=rng),
            "b": (tg.nn.Linear(3, 2, bias=False, rng=rng),),
        }
        self.gains = [tg.Parameter([1.0]), [tg.Parameter([3.0]), {"deep": tg.Parameter([4.0])}]]
        self.head = tg.nn.Linear(3, 2, rng=rng)
        self.tied = self.head.weight
        self.count, self.note, self.constant = 3, "text", tg.tensor([1.0])

    def forward(self, ids: Any) -> Any:
        x = self.table["a"](ids)
        for block in self.blocks:
            x = block(x)
        return (
            self.head(x) * self.gains[0]
            + self.table["b"][0](x) * self.gains[1][0] * self.gains[1][1]["deep"]
        )


NAMES = [
    "gains.0", "gains.1.0", "gains.1.1.deep", "tied", "blocks.0.scale", "blocks.0.inner.weight", "blocks.0.inner.bias", "blocks.1.scale",
    "blocks.1.inner.weight", "blocks.1.inner.bias", "table.a.weight", "table.b.0.weight", "head.bias",
]  # fmt: skip


def test_parameters_are_found_by_name_and_once() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert len({id(p) for p in net.parameters()}) == len(NAMES)
    assert dict(net.named_parameters())["tied"] is net.head.weight
    assert [name for name, _ in net.named_modules()] == [
        "",
        "blocks.0",
        "blocks.0.inner",
        "blocks.1",
        "blocks.1.inner",
        "table.a",
        "table.b.0",
        "head",
    ]
    net.blocks[0].parent = net  # a circle
    assert len(list(net.parameters())) == len(NAMES)


def test_every_parameter_is_trained_and_gradients_are_forgotten(rng: np.random.Generator) -> None:
    net = Net()
    (net(np.array([0, 1, 3, 2])) ** 2).sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.any(p.grad.numpy()), name
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_train_and_eval_reach_all_modules() -> None:
    net = Net()
    assert all(m.training for _, m in net.named_modules())
    assert net.eval() is net and not any(m.training for _, m in net.named_modules())
    net.train()
    assert all(m.training for _, m in net.named_modules())


def test_state_dict_round_trip(tmp_path: Path) -> None:
    net, other, third = Net(0), Net(1), Net(2)
    ids = np.array([0, 2, 1])
    state = net.state_dict()
    assert list(state) == NAMES
    other.load_state_dict(state)
    np.testing.assert_array_equal(other(ids).numpy(), net(ids).numpy())
    state["tied"][:] = 0
    assert np.any(net.tied.numpy()) and np.any(other.tied.numpy()), "a state is a copy"
    tg.save(tmp_path / "net.safetensors", net)
    arrays = tg.load(tmp_path / "net.safetensors", third)
    assert set(arrays) == set(NAMES)
    for name, value in third.state_dict().items():
        np.testing.assert_array_equal(value, net.state_dict()[name], err_msg=name)
        assert value.dtype == np.float32
    assert third.tied is third.head.weight and third.tied.requires_grad


def test_loading_keeps_dtype_and_identity() -> None:
    linear = tg.nn.Linear(2, 3, rng=0)
    weight = linear.weight
    linear.load_state_dict({"weight": np.ones((3, 2)), "bias": tg.tensor(np.zeros(3))})
    assert (
        linear.weight is weight and weight.dtype == np.float32 and weight.tolist() == [[1, 1]] * 3
    )
    linear(np.ones((1, 2), np.float32)).sum().backward()
    assert weight.grad is not None


def test_names_of_parameters_are_their_attributes() -> None:
    linear = tg.nn.Linear(2, 3)
    assert linear.weight.name == "weight" and linear.bias.name == "bias"
    assert "weight=float32(3, 2)" in repr(linear)


def test_linear(rng: np.random.Generator) -> None:
    linear = tg.nn.Linear(3, 4, rng=0, dtype=np.float64)
    w, b = linear.weight.numpy(), linear.bias.numpy()
    for shape in ((3,), (5, 3), (2, 5, 3), (0, 3)):
        x = tg.tensor(rng.normal(size=shape), requires_grad=True)
        y = linear(x)
        np.testing.assert_allclose(
            y.numpy(), np.einsum("...i,oi->...o", x.numpy(), w) + b, rtol=1e-12
        )
        g = rng.normal(size=y.shape)
        linear.zero_grad()
        y.backward(g)
        np.testing.assert_allclose(x.grad.numpy(), np.einsum("...o,oi->...i", g, w), rtol=1e-12)
        flat_g, flat_x = g.reshape(-1, 4), x.numpy().reshape(-1, 3)
        np.testing.assert_allclose(
            linear.weight.grad.numpy(),
            np.einsum("no,ni->oi", flat_g, flat_x),
            rtol=1e-12,
            atol=1e-15,
        )
        np.testing.assert_allclose(linear.bias.grad.numpy(), flat_g.sum(0), rtol=1e-12, atol=1e-15)
    assert tg.nn.Linear(3, 4, bias=False).bias is None


def test_embedding(rng: np.random.Generator) -> None:
    embedding = tg.nn.Embedding(5, 3, rng=0)
    for ids in (np.array([[0, 4], [4, 2]]), tg.tensor([[0, 4], [4, 2]]), [[0, 4], [4, 2]]):
        embedding.zero_grad()
        y = embedding(ids)
        np.testing.assert_array_equal(y.numpy(), embedding.weight.numpy()[[[0, 4], [4, 2]]])
        g = rng.normal(size=y.shape).astype(np.float32)
        y.backward(g)
        expected = np.zeros((5, 3), np.float32)
        expected[0], expected[2], expected[4] = g[0, 0], g[1, 1], g[0, 1] + g[1, 0]
        np.testing.assert_allclose(embedding.weight.grad.numpy(), expected, rtol=1e-6)


def test_dropout(rng: np.random.Generator) -> None:
    x = tg.tensor(np.ones((200, 200), np.float32), requires_grad=True)
    y = tg.nn.dropout(x, 0.3, rng=0)
    values = set(np.unique(y.numpy()))
    assert len(values) == 2 and 0 in values and y.dtype == np.float32
    assert abs(y.numpy().mean() - 1) < 0.02 and abs((y.numpy() == 0).mean() - 0.3) < 0.02
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert tg.nn.dropout(x, 0.3, training=False).node is x.node


# --- losses ------------------------------------------------------------------------------------------------------------------------------


def test_cross_entropy_against_torch() -> None:
    logits = tg.tensor(TORCH["cross_entropy/logits"], requires_grad=True)
    for targets in (
        TORCH["cross_entropy/targets"],
        tg.tensor(TORCH["cross_entropy/targets"]),
        TORCH["cross_entropy/targets"].tolist(),
    ):
        logits.grad = None
        loss = tg.nn.cross_entropy(logits, targets)
        np.testing.assert_allclose(loss.item(), TORCH["cross_entropy/loss"], rtol=1e-12)
        loss.backward()
        np.testing.assert_allclose(
            logits.grad.numpy(), TORCH["cross_entropy/d"], rtol=1e-10, atol=1e-15
        )


def test_cross_entropy_of_extreme_logits() -> None:
    logits = tg.tensor([[1000.0, 0.0, -1000.0], [-1000.0, -2000.0, 0.0]], requires_grad=True)
    loss = tg.nn.cross_entropy(logits, np.array([1, 2]))
    assert loss.item() == 500
    loss.backward()
    np.testing.assert_allclose(logits.grad.numpy(), [[0.5, -0.5, 0], [0, 0, 0]], atol=1e-7)


def test_mse_against_torch() -> None:
    x, y = (tg.tensor(TORCH[f"mse/{k}"], requires_grad=True) for k in "xy")
    loss = tg.nn.mse_loss(x, y)
    loss.backward()
    np.testing.assert_allclose(loss.item(), TORCH["mse/loss"], rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), TORCH["mse/dx"], rtol=1e-12)
    np.testing.assert_allclose(y.grad.numpy(), TORCH["mse/dy"], rtol=1e-12)
    np.testing.assert_allclose(
        tg.nn.mse_loss(x, TORCH["mse/y"].tolist()).item(), TORCH["mse/loss"], rtol=1e-12
    )


# --- training rules -------------------------------------------------------------------------------------------------------------------------


def test_training_keeps_dtype_and_identity() -> None:
    for rule in (tg.optim.SGD, tg.optim.Adam):
        p, scalar = tg.Parameter([1.0, 2.0]), tg.Parameter(3.0)
        optimizer = rule([p, scalar], lr=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            ((p * p).sum() * scalar).backward()
            optimizer.step()
        assert (
            p.dtype == np.float32 and p.is_leaf and p.requires_grad and optimizer.parameters[0] is p
        )
        assert p.tolist() != [1, 2] and scalar.item() != 3 and scalar.shape == ()


def test_training_reaches_the_minimum(rng: np.random.Generator) -> None:
    target, w = rng.normal(size=4), tg.Parameter(np.zeros(4))
    optimizer = tg.optim.Adam([w], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        ((w - target) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(w.numpy(), target, atol=1e-3)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping(max_norm: float, rng: np.random.Generator) -> None:
    parameters = [
        tg.Parameter(rng.normal(size=s).astype(np.float32)) for s in ((3, 2), (4,), ())
    ] + [tg.Parameter([1.0])]
    gradients = [rng.normal(size=p.shape).astype(np.float32) for p in parameters[:3]]
    for p, g in zip(parameters, gradients, strict=False):
        p.grad = tg.tensor(g)
    norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients))
    before = [p.grad for p in parameters]
    found = tg.clip_grad_norm((p for p in parameters), max_norm)
    assert type(found) is float
    np.testing.assert_allclose(found, norm, rtol=1e-6)
    for p, g, old in zip(parameters, gradients, before, strict=False):
        np.testing.assert_allclose(p.grad.numpy(), g * min(1.0, max_norm / norm), rtol=1e-6)
        assert p.grad.dtype == np.float32 and p.grad.shape == p.shape
        np.testing.assert_array_equal(old.numpy(), g)
    assert parameters[3].grad is None


def test_clipping_of_one_tensor_and_of_huge_gradients() -> None:
    p = tg.Parameter([3.0, 4.0])
    p.grad = tg.tensor([3.0, 4.0])
    assert tg.clip_grad_norm(p, 1.0) == 5
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)
    p.grad = tg.tensor([3e25, 4e25])  # the squares are too large for float32
    np.testing.assert_allclose(tg.clip_grad_norm([p], 1.0), 5e25, rtol=1e-6)
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-5)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_clipping_shows_gradients_that_are_not_finite(bad: float) -> None:
    p = tg.Parameter([1.0, 2.0])
    p.grad = tg.tensor([bad, 2.0])
    assert not math.isfinite(tg.clip_grad_norm([p], 1.0))
    assert p.grad.numpy()[1] == 2


# --- initial values ------------------------------------------------------------------------------------------------------------------------------


def test_initialisers_have_their_statistics() -> None:
    for dtype in (np.float32, np.float64):
        u = tg.init.xavier_uniform((300, 200), gain=2.0, rng=0, dtype=dtype)
        bound = 2 * math.sqrt(6 / 500)
        assert (
            u.dtype == dtype
            and np.abs(u).max() <= bound * (1 + 1e-6)
            and np.abs(u).max() > 0.99 * bound
        )
        np.testing.assert_allclose(u.std(), bound / math.sqrt(3), rtol=0.02)
        n = tg.init.xavier_normal((300, 200), rng=0, dtype=dtype)
        np.testing.assert_allclose(
            [n.mean(), n.std()], [0, math.sqrt(2 / 500)], rtol=0.02, atol=1e-3
        )
        assert (
            not tg.init.zeros((2, 3), dtype=dtype).any()
            and tg.init.zeros((2, 3), dtype=dtype).dtype == dtype
        )
    assert np.array_equal(
        tg.init.uniform((3,), 1.0, rng=5), tg.init.uniform((3,), 1.0, rng=np.random.default_rng(5))
    )
    assert not np.array_equal(tg.init.uniform((3,), 1.0), tg.init.uniform((3,), 1.0))


@pytest.mark.parametrize("shape", [(5, 5), (7, 4), (4, 7), (1, 3)])
def test_orthogonal(shape: tuple[int, int]) -> None:
    q = tg.init.orthogonal(shape, gain=1.5, rng=0, dtype=np.float64)
    assert q.shape == shape
    product = q @ q.T if shape[0] <= shape[1] else q.T @ q
    np.testing.assert_allclose(product, 2.25 * np.eye(min(shape)), atol=1e-12)


def test_orthogonal_is_uniform_over_rotations_and_reflections() -> None:
    rng = np.random.default_rng(0)
    many = np.stack([tg.init.orthogonal((2, 2), rng=rng, dtype=np.float64) for _ in range(2000)])
    assert abs(many.mean()) < 0.02 and abs((np.linalg.det(many) > 0).mean() - 0.5) < 0.05
    np.testing.assert_allclose((many**2).mean(0), 0.5, atol=0.03)


@pytest.mark.parametrize("name", KINDS)
def test_cells_begin_with_orthogonal_blocks_and_zero_biases(name: str) -> None:
    kind = KINDS[name]
    cell = kind.cell(3, 5, rng=0, dtype=np.float64)
    blocks = cell.weight_hh.numpy().reshape(kind.gates, 5, 5)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(5), atol=1e-12)
    assert all(not np.allclose(blocks[0], other) for other in blocks[1:])
    expected = np.zeros(kind.gates * 5)
    if name == "LSTM":
        expected[5:10] = 1  # the forget gate
    np.testing.assert_array_equal(cell.bias_ih.numpy() + cell.bias_hh.numpy(), expected)
    assert (
        cell.weight_ih.shape == (kind.gates * 5, 3)
        and cell.bias_ih.requires_grad
        and cell.bias_ih.name == "bias_ih"
    )
    again = kind.cell(3, 5, rng=0, dtype=np.float64)
    np.testing.assert_array_equal(again.weight_ih.numpy(), cell.weight_ih.numpy())
    state = cell.initial_state(4)
    assert all(
        s.shape == (4, 5) and s.dtype == np.float64 and not s.numpy().any()
        for s in tg.core.tree.leaves(state)
    )


def test_forget_bias() -> None:
    bias = np.arange(9.0)
    found = tg.init.forget_bias(bias, 3, 5.0, gate=2, gates=3)
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 5] and bias[6] == 6
