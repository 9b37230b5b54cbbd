"""The layers RNN, LSTM and GRU against recorded figures of PyTorch (float32), and against their own cells step by step."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.cells import LSTMState
from tinygrad_rnn.core.tape import setting

pytestmark = pytest.mark.usefixtures("eager")

TORCH = np.load(Path(__file__).parent / "data" / "torch_recurrent.npz")
CASES = json.loads(bytes(TORCH["cases"][()]))
LENGTHS = TORCH["lengths"]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
KINDS = ("RNN", "LSTM", "GRU")


def figures(name: str) -> dict[str, Any]:
    """The arrays of one case by name, cut out of the one array in which they are kept."""
    arrays, start = {}, 0
    for key, shape in CASES[name]["shapes"].items():
        size = int(np.prod(shape))
        arrays[key] = TORCH[name][start : start + size].reshape(shape)
        start += size
    assert start == TORCH[name].size
    return arrays


def components(state: Any) -> list[Any]:
    return list(state) if isinstance(state, tuple) else [state]


def loaded(name: str, found: dict[str, Any], **options: Any) -> Any:
    case = CASES[name]
    layer = getattr(tg.nn, case["kind"])(
        found["xs"].shape[-1], 5, **case["options"], **options, rng=0
    )
    layer.load_state_dict(
        {k.removeprefix("parameter "): v for k, v in found.items() if k.startswith("parameter ")}
    )
    return layer


@pytest.mark.parametrize("name", CASES)
@pytest.mark.full
def test_figures_of_pytorch_compiled(name: str) -> None:
    with setting(eager=False):
        test_figures_of_pytorch(name, False)


@pytest.mark.parametrize("batch_first", [False, True], ids=["time first", "batch first"])
@pytest.mark.parametrize("name", CASES)
def test_figures_of_pytorch(name: str, batch_first: bool) -> None:
    found = figures(name)
    layer = loaded(name, found, batch_first=batch_first)
    turn = (lambda a: a.swapaxes(0, 1)) if batch_first else (lambda a: a)
    xs = tg.tensor(turn(found["xs"]).copy(), requires_grad=True)
    states = [
        tg.tensor(found[f"state{i}"], requires_grad=True) for i in range(2) if f"state{i}" in found
    ]
    ys, last = layer(
        xs,
        tuple(states) if len(states) == 2 else states[0],
        LENGTHS if CASES[name]["padded"] else None,
    )
    np.testing.assert_allclose(turn(ys.numpy()), found["ys"], **CLOSE)
    loss = (ys * turn(found["weights0"])).sum()
    for i, state in enumerate(components(last)):
        np.testing.assert_allclose(state.numpy(), found[f"last{i}"], **CLOSE)
        loss = loss + (state * found[f"weights{i + 1}"]).sum()
    loss.backward()
    np.testing.assert_allclose(turn(xs.grad.numpy()), found["d xs"], **CLOSE)
    for i, state in enumerate(states):
        np.testing.assert_allclose(state.grad.numpy(), found[f"d state{i}"], **CLOSE)
    for key, p in layer.named_parameters():
        assert p.grad.dtype == np.float32
        np.testing.assert_allclose(p.grad.numpy(), found[f"d {key}"], **CLOSE, err_msg=key)


def test_the_record_covers_what_there_is() -> None:
    options = [case["options"] for case in CASES.values()]
    assert {case["kind"] for case in CASES.values()} == set(KINDS)
    assert {o.get("num_layers", 1) for o in options} == {1, 2, 3}
    for key, value in (
        ("bidirectional", True),
        ("bias", False),
        ("nonlinearity", "relu"),
        ("proj_size", 2),
    ):
        assert any(o.get(key) == value for o in options)
        assert any(o.get(key) != value for o in options)


@pytest.mark.parametrize("name", CASES)
def test_names_and_order_of_pytorch(name: str) -> None:
    found = figures(name)
    case = CASES[name]
    layer = getattr(tg.nn, case["kind"])(3, 5, **case["options"])
    names = [k.removeprefix("parameter ") for k in found if k.startswith("parameter ")]
    assert list(layer.state_dict()) == names
    assert [p.name for p in layer.parameters()] == names
    assert {k: v.shape for k, v in layer.state_dict().items()} == {
        k: found[f"parameter {k}"].shape for k in names
    }


# --- first states, windows, cells -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_state_it_begins_from_zeros(kind: str, rng: np.random.Generator) -> None:
    layer = getattr(tg.nn, kind)(3, 4, 2, bidirectional=True, rng=1)
    xs = rng.standard_normal((5, 2, 3), dtype=np.float32)
    zeros = np.zeros((4, 2, 4), np.float32)
    expected = layer(xs, (zeros, zeros) if kind == "LSTM" else zeros)
    for found in (
        layer(xs),
        layer(xs, layer.initial_state(2)),
        layer(xs.astype(np.float64)),
        layer(xs.tolist()),
    ):
        np.testing.assert_array_equal(found[0].numpy(), expected[0].numpy())
        assert found[0].dtype == np.float32
        for a, b in zip(components(found[1]), components(expected[1]), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_two_windows_are_one_sequence(
    kind: str, batch_first: bool, rng: np.random.Generator
) -> None:
    layer = getattr(tg.nn, kind)(3, 4, 3, batch_first=batch_first, rng=2, dtype=np.float64)
    xs = rng.standard_normal((2, 7, 3) if batch_first else (7, 2, 3))
    first, second = np.split(xs, [3], axis=int(batch_first))
    whole, last = layer(xs)
    one, state = layer(first)
    assert isinstance(state, LSTMState) == (kind == "LSTM")
    two, end = layer(second, state)
    np.testing.assert_allclose(
        tg.concatenate([one, two], axis=int(batch_first)).numpy(),
        whole.numpy(),
        rtol=1e-12,
        atol=1e-14,
    )
    for a, b in zip(components(end), components(last), strict=True):
        assert a.shape == (3, 2, 4)
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "LSTMP", "GRU", "GRU reset before"])
def test_the_steps_are_those_of_the_cells(kind: str, rng: np.random.Generator) -> None:
    """Two levels and directions put together by hand from the layer's cells, each called step by step on each row alone."""
    options: dict[str, Any] = {
        "LSTMP": {"proj_size": 2},
        "GRU reset before": {"reset_after": False},
    }.get(kind, {})
    layer = getattr(tg.nn, kind[: 4 if kind == "LSTMP" else None].split()[0])(
        3, 4, 2, bidirectional=True, **options, rng=3, dtype=np.float64
    )
    for p in layer.parameters():
        p.data = rng.standard_normal(p.shape)
    xs, lengths = rng.standard_normal((5, 3, 3)), [4, 5, 2]
    ys, last = layer(xs, lengths=lengths)
    for row, length in enumerate(lengths):
        values = [tg.tensor(xs[t, row][None]) for t in range(length)]
        for level in range(2):
            outputs: list[list[Any]] = []
            for direction in range(2):
                cell, state = layer.cell(level, direction), None
                order = range(length - 1, -1, -1) if direction else range(length)
                done = {}
                for t in order:
                    done[t], state = cell(values[t], state)
                outputs.append([done[t] for t in range(length)])
                for a, b in zip(components(last), components(state), strict=True):
                    np.testing.assert_allclose(
                        a.numpy()[2 * level + direction, row], b.numpy()[0], rtol=1e-12
                    )
            values = [tg.concatenate(list(pair), axis=-1) for pair in zip(*outputs, strict=True)]
        np.testing.assert_allclose(
            ys.numpy()[:length, row], np.concatenate([v.numpy() for v in values]), rtol=1e-12
        )
        np.testing.assert_array_equal(ys.numpy()[length:, row], 0)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_not_looked_at(kind: str, rng: np.random.Generator) -> None:
    layer = getattr(tg.nn, kind)(3, 4, 2, bidirectional=True, rng=4)
    xs = rng.standard_normal((5, 3, 3), dtype=np.float32)
    lengths = np.array([5, 2, 3])
    spoilt = xs.copy()
    spoilt[2:, 1], spoilt[3:, 2] = np.nan, np.inf
    a, b = (tg.tensor(x, requires_grad=True) for x in (xs, spoilt))
    ya, yb = layer(a, lengths=lengths)[0], layer(b, lengths=tg.tensor(lengths))[0]
    np.testing.assert_array_equal(ya.numpy(), yb.numpy())
    np.testing.assert_array_equal(yb.numpy()[2:, 1], 0)
    np.testing.assert_array_equal(yb.numpy()[3:, 2], 0)
    (yb * yb).sum().backward()
    assert np.isfinite(b.grad.numpy()).all()
    np.testing.assert_array_equal(b.grad.numpy()[2:, 1], 0)


def test_one_row_of_state_serves_the_batch(rng: np.random.Generator) -> None:
    layer = tg.nn.GRU(3, 4, 2, rng=5, dtype=np.float64)
    h = tg.Parameter(rng.standard_normal((2, 1, 4)))
    xs = rng.standard_normal((5, 3, 3))
    ys, _ = layer(xs, h)
    np.testing.assert_array_equal(ys.numpy(), layer(xs, np.repeat(h.numpy(), 3, axis=1))[0].numpy())
    ys.sum().backward()
    assert h.grad.shape == (2, 1, 4)


def test_second_order(rng: np.random.Generator) -> None:
    layer = tg.nn.LSTM(2, 3, 2, bidirectional=True, proj_size=2, rng=6, dtype=np.float64)
    lengths = np.array([3, 2])
    tg.gradcheck(lambda xs: layer(xs, lengths=lengths)[0], rng.standard_normal((3, 2, 2)), order=2)


def test_a_replaced_parameter_is_followed(rng: np.random.Generator) -> None:
    layer = tg.nn.GRU(3, 4, 2, rng=6)
    xs = rng.standard_normal((5, 2, 3), dtype=np.float32)
    before = layer(xs)[0].numpy()
    layer.weight_hh_l1 = tg.Parameter(rng.standard_normal((12, 4), dtype=np.float32))
    assert layer.cell(1).weight_hh is layer.weight_hh_l1
    ys, _ = layer(xs)
    assert np.abs(ys.numpy() - before).max() > 1e-3
    ys.sum().backward()
    assert layer.weight_hh_l1.grad is not None
    twin = copy.deepcopy(layer)
    twin.weight_ih_l0.data = twin.weight_ih_l0.numpy() * 2
    np.testing.assert_array_equal(layer(xs)[0].numpy(), ys.numpy())
    assert np.abs(twin(xs)[0].numpy() - ys.numpy()).max() > 1e-3


def test_cells_follow_the_mode_of_the_layer() -> None:
    layer = tg.nn.LSTM(3, 4, 2, rng=0)
    assert layer.cell(1).training
    assert not layer.eval().cell(1).training
    assert type(layer.cell()) is tg.cells.LSTM
    with pytest.raises(
        tg.ShapeError, match="a level below 2 and a direction below 1; found level 2, direction 0"
    ):
        layer.cell(2)


def test_nodes_are_marked_with_layer_and_step() -> None:
    layer = tg.nn.LSTM(3, 4, 2, bidirectional=True, rng=0)
    ys, _ = layer(np.ones((3, 2, 3), np.float32))
    marks = {
        node.where.mark
        for node in tg.tape(ys)
        if node.primitive is not None and node.primitive.name == "tanh"
    }
    assert marks == {
        (name, level, t) for name in ("LSTM", "LSTM reverse") for level in (0, 1) for t in range(3)
    }


# --- dropout --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_reproducible_and_off_in_evaluation(kind: str, rng: np.random.Generator) -> None:
    xs = rng.standard_normal((6, 3, 2), dtype=np.float32)
    make = lambda p: getattr(tg.nn, kind)(2, 5, 3, dropout=p, rng=7)  # noqa: E731
    a, b, plain = make(0.4), make(0.4), make(0.0)
    first, second = a(xs)[0].numpy(), a(xs)[0].numpy()
    np.testing.assert_array_equal(first, b(xs)[0].numpy())
    np.testing.assert_array_equal(second, b(xs)[0].numpy())
    assert np.abs(first - second).max() > 1e-3  # a new mask at each call
    np.testing.assert_array_equal(a.eval()(xs)[0].numpy(), plain(xs)[0].numpy())
    assert np.abs(a.train()(xs)[0].numpy() - plain(xs)[0].numpy()).max() > 1e-3


def test_where_dropout_stands(rng: np.random.Generator) -> None:
    """After every level but the last, element by element.

    Level 1 is put together again from the masks that the generator gave.
    """
    xs = rng.standard_normal((6, 3, 2), dtype=np.float32)
    layer = tg.nn.GRU(2, 5, 3, dropout=0.25, rng=8)
    generator = copy.deepcopy(layer._rng)
    ys, last = layer(xs)
    values: Any = tg.tensor(xs)
    for level in range(3):
        values, h = tg.unroll(layer.cell(level), values)
        np.testing.assert_array_equal(h.numpy(), last.numpy()[level])  # states are not affected
        if level < 2:
            mask = generator.random(values.shape) >= 0.25
            assert 0 < mask.sum() < mask.size
            values = values * (mask / np.float32(0.75)).astype(np.float32)
    np.testing.assert_array_equal(ys.numpy(), values.numpy())


# --- files ----------------------------------------------------------------------------------------------------------------


def test_a_file_brings_back_the_layer(tmp_path: Path) -> None:
    name = "LSTMP 5"
    found = figures(name)
    layer = loaded(name, found)
    tg.save(tmp_path / "layer.safetensors", layer)
    other = tg.nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2)
    arrays = tg.load(tmp_path / "layer.safetensors", other)
    assert set(arrays) == {
        k.removeprefix("parameter ") for k in found if k.startswith("parameter ")
    }
    ys, last = other(found["xs"], LSTMState(found["state0"], found["state1"]), LENGTHS)
    np.testing.assert_allclose(ys.numpy(), found["ys"], **CLOSE)
    np.testing.assert_allclose(last.c.numpy(), found["last1"], **CLOSE)


def test_names_inside_a_model() -> None:
    class Model(tg.Module):
        def __init__(self) -> None:
            self.rnn = tg.nn.LSTM(2, 3, bias=False, bidirectional=True)
            self.head = tg.nn.Linear(6, 1)

    assert list(Model().state_dict()) == [
        *(
            f"rnn.{name}_l0{suffix}"
            for suffix in ("", "_reverse")
            for name in ("weight_ih", "weight_hh")
        ),
        "head.weight",
        "head.bias",
    ]


# --- errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: tg.nn.RNN(0, 4),
            tg.ShapeError,
            "RNN: sizes must be at least 1; found input_size=0",
        ),
        (lambda: tg.nn.GRU(3, 4, 0), tg.ShapeError, "num_layers=0"),
        (
            lambda: tg.nn.LSTM(3, 4, dropout=0.5),
            tg.TinygradError,
            r"use num_layers=2 or more, or apply tg.nn.dropout\(ys, 0.5\)",
        ),
        (
            lambda: tg.nn.LSTM(3, 4, 2, dropout=1.0),
            tg.TinygradError,
            r"a probability in \[0, 1\); found 1.0",
        ),
        (
            lambda: tg.nn.LSTM(3, 4, proj_size=4),
            tg.ShapeError,
            "proj_size must be 0 .* from 1 to hidden_size - 1 = 3; found 4",
        ),
        (lambda: tg.nn.LSTM(3, 4, proj_size=-1), tg.ShapeError, "proj_size"),
        (
            lambda: tg.nn.RNN(3, 4, nonlinearity="gelu"),
            tg.TinygradError,
            "'tanh' or 'relu'; found 'gelu'",
        ),
    ],
)
def test_errors_of_construction(make: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_errors_of_calls(rng: np.random.Generator) -> None:
    xs = rng.standard_normal((5, 2, 3), dtype=np.float32)
    lstm, gru = tg.nn.LSTM(3, 4, 2, proj_size=1, rng=0), tg.nn.GRU(3, 4, batch_first=True, rng=0)
    h, c = np.zeros((2, 2, 1), np.float32), np.zeros((2, 2, 4), np.float32)
    lstm(xs, (h, c))
    for bad, text in (
        (
            (c, c),
            r"h has shape \(2, 2, 4\); expected shape \(2, 2, 1\), that is \(num_layers \* directions, batch, output_size\)",
        ),
        ((h, c[:1]), r"c has shape \(1, 2, 4\); expected shape \(2, 2, 4\)"),
        ((h, c.swapaxes(0, 1)[:, :, :3]), r"c has shape \(2, 2, 3\)"),
        (h, r"expected the components \['state.h', 'state.c'\]; found \['state'\]"),
        ((h, c, c), "expected the components"),
        ((h, 0.0), r"c is a float; expected shape \(2, 2, 4\)"),
    ):
        with pytest.raises(tg.ShapeError, match=text):
            lstm(xs, bad)
    with pytest.raises(
        tg.ShapeError,
        match=r"h has shape \(5, 1, 4\); expected shape \(1, 5, 4\).*whether or not batch_first",
    ):
        gru(xs, np.zeros((5, 1, 4), np.float32))
    with pytest.raises(
        tg.ShapeError,
        match=r"GRU: expected a sequence of shape \(batch, time, 3\); found .*xs\[None\]",
    ):
        gru(xs[0])
    with pytest.raises(
        tg.ShapeError,
        match=r"LSTM: expected a sequence of shape \(time, batch, 3\); found .*xs\[:, None\]",
    ):
        lstm(xs[:, :, :2])
    for bad in ([5], [5, 6], [5, 0]):
        with pytest.raises(tg.ShapeError, match="length"):
            lstm(xs, lengths=bad)
    with pytest.raises(tg.DtypeError, match="integers"):
        lstm(xs, lengths=[2.0, 3.0])
