"""Weights of Keras and ONNX.

Their equations in their layouts, row by row and step by step, against the layers after conversion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.cells.lstm_variants import PeepholeLSTM
from tinygrad_rnn.formats import keras, onnx

pytestmark = pytest.mark.usefixtures("eager")

T, BATCH, INPUT, H = 3, 2, 2, 3
Arrays = list[Any]


def sigma(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


# --- Keras: x @ kernel, one row at a time; the state is [h] or [h, c] ----------------------------------------------------------


def keras_simple_rnn(w: Arrays, x: Any, state: Arrays) -> Arrays:
    kernel, recurrent_kernel, *bias = w
    return [np.tanh(x @ kernel + sum(bias) + state[0] @ recurrent_kernel)]


def keras_lstm(w: Arrays, x: Any, state: Arrays) -> Arrays:
    kernel, recurrent_kernel, *bias = w
    h, c = state
    z = x @ kernel + h @ recurrent_kernel + sum(bias)
    i, f, o = sigma(z[:H]), sigma(z[H : 2 * H]), sigma(z[3 * H :])
    c = f * c + i * np.tanh(z[2 * H : 3 * H])
    return [o * np.tanh(c), c]


def keras_gru_after(w: Arrays, x: Any, state: Arrays) -> Arrays:
    kernel, recurrent_kernel, *bias = w
    h = state[0]
    input_bias, recurrent_bias = bias[0] if bias else (0, 0)
    matrix_x = x @ kernel + input_bias
    matrix_inner = h @ recurrent_kernel + recurrent_bias
    z = sigma(matrix_x[:H] + matrix_inner[:H])
    r = sigma(matrix_x[H : 2 * H] + matrix_inner[H : 2 * H])
    hh = np.tanh(matrix_x[2 * H :] + r * matrix_inner[2 * H :])
    return [z * h + (1 - z) * hh]


def keras_gru_before(w: Arrays, x: Any, state: Arrays) -> Arrays:
    kernel, recurrent_kernel, *bias = w
    h = state[0]
    matrix_x = x @ kernel + sum(bias)
    z = sigma(matrix_x[:H] + h @ recurrent_kernel[:, :H])
    r = sigma(matrix_x[H : 2 * H] + h @ recurrent_kernel[:, H : 2 * H])
    hh = np.tanh(matrix_x[2 * H :] + (r * h) @ recurrent_kernel[:, 2 * H :])
    return [z * h + (1 - z) * hh]


# --- ONNX: W @ x of one direction, with its names: Wi, Ri, Wbi, Rbi, ... --------------------------------------------------------


def onnx_parts(w: Arrays, gates: str) -> dict[str, Any]:
    W, R, *B = w
    Wb, Rb = np.split(B[0], 2) if B else np.zeros((2, len(gates) * H))
    parts = {}
    for k, gate in enumerate(gates):
        rows = slice(k * H, (k + 1) * H)
        parts |= {
            "W" + gate: W[rows],
            "R" + gate: R[rows],
            "Wb" + gate: Wb[rows],
            "Rb" + gate: Rb[rows],
        }
    return parts


def onnx_rnn(w: Arrays, x: Any, state: Arrays) -> Arrays:
    p = onnx_parts(w, "i")
    return [np.tanh(p["Wi"] @ x + p["Ri"] @ state[0] + p["Wbi"] + p["Rbi"])]


def onnx_rnn_relu(w: Arrays, x: Any, state: Arrays) -> Arrays:
    p = onnx_parts(w, "i")
    return [np.maximum(p["Wi"] @ x + p["Ri"] @ state[0] + p["Wbi"] + p["Rbi"], 0)]


def onnx_lstm(w: Arrays, x: Any, state: Arrays) -> Arrays:
    p = onnx_parts(w, "iofc")
    h, c = state
    i, o, f, candidate = (
        p["W" + g] @ x + p["R" + g] @ h + p["Wb" + g] + p["Rb" + g] for g in "iofc"
    )
    c = sigma(f) * c + sigma(i) * np.tanh(candidate)
    return [sigma(o) * np.tanh(c), c]


def onnx_peephole(w: Arrays, x: Any, state: Arrays) -> Arrays:
    p = onnx_parts(w[:3], "iofc")
    Pi, Po, Pf = np.split(w[3], 3)
    h, c = state
    i, o, f, candidate = (
        p["W" + g] @ x + p["R" + g] @ h + p["Wb" + g] + p["Rb" + g] for g in "iofc"
    )
    i, f = sigma(i + Pi * c), sigma(f + Pf * c)
    c = f * c + i * np.tanh(candidate)
    return [sigma(o + Po * c) * np.tanh(c), c]


def onnx_gru(w: Arrays, x: Any, state: Arrays, linear_before_reset: int) -> Arrays:
    p = onnx_parts(w, "zrh")
    h = state[0]
    z = sigma(p["Wz"] @ x + p["Rz"] @ h + p["Rbz"] + p["Wbz"])
    r = sigma(p["Wr"] @ x + p["Rr"] @ h + p["Rbr"] + p["Wbr"])
    if linear_before_reset:
        candidate = np.tanh(p["Wh"] @ x + r * (p["Rh"] @ h + p["Rbh"]) + p["Wbh"])
    else:
        candidate = np.tanh(p["Wh"] @ x + p["Rh"] @ (r * h) + p["Rbh"] + p["Wbh"])
    return [(1 - z) * candidate + z * h]


# --- what is compared: the step in its own layout, the shapes of its weights, the conversion, and our layer ---------------------


def k(gates: int, *bias: int) -> tuple[tuple[int, ...], ...]:
    return (INPUT, gates * H), (H, gates * H), bias


def o(gates: int) -> tuple[tuple[int, ...], ...]:
    return (gates * H, INPUT), (gates * H, H), (2 * gates * H,)


def one(f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """An ONNX conversion of one direction, whose arrays have no axis for directions."""
    return lambda *w, reverse=False: f(
        *[np.asarray(a)[None] for a in w], reverse=reverse, **options
    )


FORMATS: dict[str, tuple[Any, Any, Any, Any]] = {
    "Keras SimpleRNN": (keras_simple_rnn, k(1, H), keras.from_keras_simple_rnn, lambda **o: tg.nn.RNN(INPUT, H, **o)),
    "Keras LSTM": (keras_lstm, k(4, 4 * H), keras.from_keras_lstm, lambda **o: tg.nn.LSTM(INPUT, H, **o)),
    "Keras GRU": (keras_gru_after, k(3, 2, 3 * H), keras.from_keras_gru, lambda **o: tg.nn.GRU(INPUT, H, **o)),
    "Keras GRU reset before": (
        keras_gru_before,
        k(3, 3 * H),
        lambda *w, reverse=False: keras.from_keras_gru(*w, reset_after=False, reverse=reverse) if len(w) == 3
        else keras.from_keras_gru(*w, None, False, reverse=reverse),
        lambda **o: tg.nn.GRU(INPUT, H, reset_after=False, **o),
    ),
    "ONNX RNN": (onnx_rnn, o(1), one(onnx.from_onnx_rnn), lambda **o: tg.nn.RNN(INPUT, H, **o)),
    "ONNX RNN relu": (
        onnx_rnn_relu, o(1), one(onnx.from_onnx_rnn, activations=["Relu"]), lambda **o: tg.nn.RNN(INPUT, H, nonlinearity="relu", **o)
    ),
    "ONNX LSTM": (onnx_lstm, o(4), one(onnx.from_onnx_lstm), lambda **o: tg.nn.LSTM(INPUT, H, **o)),
    "ONNX GRU 1": (
        lambda *a: onnx_gru(*a, 1), o(3), one(onnx.from_onnx_gru, linear_before_reset=1), lambda **o: tg.nn.GRU(INPUT, H, **o)
    ),
    "ONNX GRU 0": (
        lambda *a: onnx_gru(*a, 0), o(3), one(onnx.from_onnx_gru), lambda **o: tg.nn.GRU(INPUT, H, reset_after=False, **o)
    ),
}  # fmt: skip


def run(step: Any, w: Arrays, xs: Any, states: Arrays, reverse: bool = False) -> Arrays:
    """Outputs (T, BATCH, H) and last states (BATCH, H) of an equation, each row by itself."""
    ys, last = np.zeros((T, BATCH, H)), [np.zeros((BATCH, H)) for _ in states]
    for row in range(BATCH):
        state = [s[row] for s in states]
        for t in reversed(range(T)) if reverse else range(T):
            state = step(w, xs[t, row], state)
            ys[t, row] = state[0]
        for total, s in zip(last, state, strict=True):
            total[row] = s
    return [ys, *last]


def difference(f: Callable[[], float], array: Any) -> Any:
    """The gradient of f with respect to an array that it reads, by central differences."""
    found = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        value, ends = array[index], []
        for end in (1e-6, -1e-6):
            array[index] = value + end
            ends.append(f())
        array[index] = value
        found[index] = (ends[0] - ends[1]) / 2e-6
    return found


def values_of(result: Any) -> Arrays:
    ys, state = result
    return [ys, *(state if isinstance(state, tuple) else [state])]


def given(states: Arrays) -> Any:
    return tuple(states) if len(states) == 2 else states[0]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_layer_computes_what_the_equations_say(
    name: str, bias: bool, rng: np.random.Generator
) -> None:
    step, shapes, convert, make = FORMATS[name]
    w = [rng.standard_normal(shape) for shape in shapes[: 3 if bias else 2]]
    xs = rng.standard_normal((T, BATCH, INPUT))
    states = [rng.standard_normal((BATCH, H)) for _ in range(1 + ("LSTM" in name))]
    layer = make(bias=bias, dtype=np.float64)
    layer.load_state_dict(convert(*w))
    x = tg.tensor(xs, requires_grad=True)
    first = [tg.tensor(s[None], requires_grad=True) for s in states]
    found = values_of(layer(x, given(first)))
    expected = run(step, w, xs, states)
    np.testing.assert_allclose(found[0].numpy(), expected[0], rtol=1e-12, atol=1e-14)
    for a, b in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(a.numpy()[0], b, rtol=1e-12, atol=1e-14)

    weights = [rng.standard_normal(a.shape) for a in expected]
    loss = (found[0] * weights[0]).sum()
    for a, v in zip(found[1:], weights[1:], strict=True):
        loss = loss + (a[0] * v).sum()
    loss.backward()
    close = {"rtol": 1e-6, "atol": 1e-7}

    def f() -> float:
        return float(
            sum((v * a).sum() for v, a in zip(weights, run(step, w, xs, states), strict=True))
        )

    np.testing.assert_allclose(x.grad.numpy(), difference(f, xs), **close)
    for tensor, s in zip(first, states, strict=True):
        np.testing.assert_allclose(tensor.grad.numpy()[0], difference(f, s), **close)
    gradients = {key: p.grad.numpy() for key, p in layer.named_parameters()}
    for position, array in enumerate(w):
        # a conversion is linear, so an element's derivative is the product of the layer's gradient
        # with what that element becomes
        found_gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            unit = [np.zeros_like(a) for a in w]
            unit[position][index] = 1
            found_gradient[index] = sum(
                (gradients[key] * v).sum() for key, v in convert(*unit).items()
            )
        np.testing.assert_allclose(found_gradient, difference(f, array), **close)


@pytest.mark.parametrize("name", FORMATS)
def test_two_directions(name: str, rng: np.random.Generator) -> None:
    step, shapes, convert, make = FORMATS[name]
    forward, backward = ([rng.standard_normal(shape) for shape in shapes] for _ in range(2))
    xs = rng.standard_normal((T, BATCH, INPUT))
    layer = make(bidirectional=True, dtype=np.float64)
    layer.load_state_dict(convert(*forward) | convert(*backward, reverse=True))
    found = values_of(layer(xs))
    zeros = [np.zeros((BATCH, H))] * (len(found) - 1)
    a, b = run(step, forward, xs, zeros), run(step, backward, xs, zeros, reverse=True)
    np.testing.assert_allclose(
        found[0].numpy(), np.concatenate([a[0], b[0]], -1), rtol=1e-12, atol=1e-14
    )
    for state, one_way, other_way in zip(found[1:], a[1:], b[1:], strict=True):
        np.testing.assert_allclose(
            state.numpy(), np.stack([one_way, other_way]), rtol=1e-12, atol=1e-14
        )


# --- round trips --------------------------------------------------------------------------------------------------------------

BACK: dict[str, Any] = {
    "Keras SimpleRNN": keras.to_keras_simple_rnn,
    "Keras LSTM": keras.to_keras_lstm,
    "Keras GRU": keras.to_keras_gru,
    "Keras GRU reset before": lambda state, **o: keras.to_keras_gru(state, reset_after=False, **o),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", BACK)
def test_keras_and_back(name: str, bias: bool, rng: np.random.Generator) -> None:
    _, shapes, convert, _ = FORMATS[name]
    w = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes[: 3 if bias else 2]]
    state = convert(*w, reverse=True)
    assert set(state) == {
        f"{n}_l0_reverse"
        for n in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if bias else ()))
    }
    back = BACK[name](state, reverse=True)
    for a, b in zip(back, w, strict=False):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)
    assert (back[2] is None) == (not bias)


@pytest.mark.parametrize("name", BACK)
def test_from_here_to_keras(name: str, rng: np.random.Generator) -> None:
    """Every bias has its part.

    The Keras equation with the weights that come out gives what the layer gives.
    """
    step, _, _, make = FORMATS[name]
    layer = make(dtype=np.float64)
    layer.load_state_dict(
        {key: rng.standard_normal(v.shape) for key, v in layer.state_dict().items()}
    )
    xs = rng.standard_normal((T, BATCH, INPUT))
    found = values_of(layer(xs))
    expected = run(
        step, list(BACK[name](layer.state_dict())), xs, [np.zeros((BATCH, H))] * (len(found) - 1)
    )
    np.testing.assert_allclose(found[0].numpy(), expected[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("kind", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_onnx_and_back(
    kind: str, gates: int, directions: int, bias: bool, rng: np.random.Generator
) -> None:
    w = [
        rng.standard_normal((directions, *shape), dtype=np.float32)
        for shape in o(gates)[: 3 if bias else 2]
    ]
    options = {"linear_before_reset": 1} if kind == "gru" else {}
    state = getattr(onnx, f"from_onnx_{kind}")(*w, **options, layer=1)
    assert all(key.endswith("_l1_reverse" if "reverse" in key else "_l1") for key in state)
    assert len(state) == (4 if bias else 2) * directions
    back = getattr(onnx, f"to_onnx_{kind}")(state, **options, layer=1)
    for a, b in zip(back, w, strict=False):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32
    assert (back[2] is None) == (not bias)


@pytest.mark.parametrize("name", ["ONNX RNN", "ONNX LSTM", "ONNX GRU 1", "ONNX GRU 0"])
def test_from_here_to_onnx(name: str, rng: np.random.Generator) -> None:
    step, _, _, make = FORMATS[name]
    layer = make(num_layers=2, bidirectional=True, dtype=np.float64)
    layer.load_state_dict(
        {key: rng.standard_normal(v.shape) for key, v in layer.state_dict().items()}
    )
    values: Any = rng.standard_normal((T, BATCH, INPUT))
    ys = values_of(layer(values))[0]
    for level in range(2):
        options = {"linear_before_reset": int(name[-1])} if "GRU" in name else {}
        W, R, B = getattr(onnx, f"to_onnx_{name.split()[1].lower()}")(
            layer.state_dict(), **options, layer=level
        )
        zeros = [np.zeros((BATCH, H))] * (1 + ("LSTM" in name))
        values = np.concatenate(
            [run(step, [W[d], R[d], B[d]], values, zeros, reverse=d == 1)[0] for d in range(2)], -1
        )
    np.testing.assert_allclose(ys.numpy(), values, rtol=1e-12, atol=1e-14)


def test_peepholes(rng: np.random.Generator) -> None:
    """To the cell that has them, and back."""
    w = [rng.standard_normal((1, *shape)) for shape in (*o(4), (3 * H,))]
    xs, states = (
        rng.standard_normal((T, BATCH, INPUT)),
        [rng.standard_normal((BATCH, H)) for _ in range(2)],
    )
    cell = PeepholeLSTM(INPUT, H, dtype=np.float64)
    cell.load_state_dict(onnx.from_onnx_peephole_lstm(*w))
    expected = run(onnx_peephole, [a[0] for a in w], xs, states)
    for a, b in zip(values_of(tg.unroll(cell, xs, tuple(states))), expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-12, atol=1e-14)
    back = onnx.to_onnx_peephole_lstm(cell.state_dict())
    for a, b in zip(run(onnx_peephole, [a[0] for a in back], xs, states), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    for position in (0, 1, 3):
        np.testing.assert_array_equal(back[position], w[position])
    without = onnx.from_onnx_peephole_lstm(*w[:2], None, w[3])
    np.testing.assert_array_equal(without["b"], 0)
    with pytest.raises(
        tg.ShapeError,
        match=r"P has shape \(2, 9\); expected \(1, 9\): blocks i, o, f of one direction",
    ):
        onnx.from_onnx_peephole_lstm(*w[:3], np.ones((2, 9)))
    with pytest.raises(tg.TinygradError, match=r"has no \['p'\]"):
        onnx.to_onnx_peephole_lstm({key: v for key, v in cell.state_dict().items() if key != "p"})
    with pytest.raises(tg.TinygradError, match="input_forget=1 couples"):
        onnx.from_onnx_peephole_lstm(*w, input_forget=1)


def test_where_the_blocks_go() -> None:
    """Blocks of one number each, as letters of their gates."""
    letters = {"i": 1.0, "f": 2.0, "g": 3.0, "o": 4.0, "r": 5.0, "z": 6.0, "n": 7.0}
    blocks = lambda gates: np.array([[letters[g]] for g in gates])  # noqa: E731
    lstm = {
        "weight_ih_l0": blocks("ifgo"),
        "weight_hh_l0": blocks("ifgo"),
        "bias_ih_l0": blocks("ifgo")[:, 0],
        "bias_hh_l0": np.zeros(4),
    }
    gru = {
        "weight_ih_l0": blocks("rzn"),
        "weight_hh_l0": blocks("rzn"),
        "bias_ih_l0": blocks("rzn")[:, 0],
        "bias_hh_l0": np.ones(3),
    }
    W, R, B = onnx.to_onnx_lstm(lstm)
    np.testing.assert_array_equal(W[0], blocks("iofg"))
    np.testing.assert_array_equal(R[0], blocks("iofg"))
    np.testing.assert_array_equal(B[0], [1, 4, 2, 3, 0, 0, 0, 0])
    W, R, B = onnx.to_onnx_gru(gru, linear_before_reset=1)
    np.testing.assert_array_equal(W[0], blocks("zrn"))
    np.testing.assert_array_equal(B[0], [6, 5, 7, 1, 1, 1])
    np.testing.assert_array_equal(
        onnx.to_onnx_gru(gru, linear_before_reset=0)[2], [[7, 6, 8, 0, 0, 0]]
    )
    kernel, recurrent, bias = keras.to_keras_gru(gru)
    np.testing.assert_array_equal(kernel, blocks("zrn").T)
    np.testing.assert_array_equal(bias, [[6, 5, 7], [1, 1, 1]])
    np.testing.assert_array_equal(keras.to_keras_lstm(lstm)[0], blocks("ifgo").T)
    tensors = {key: tg.tensor(v) for key, v in gru.items()}
    np.testing.assert_array_equal(keras.to_keras_gru(tensors)[1], recurrent)


def test_results_are_copies(rng: np.random.Generator) -> None:
    kernel, recurrent, bias = (rng.standard_normal(shape) for shape in k(4, 4 * H))
    state = keras.from_keras_lstm(kernel, recurrent, bias)
    before = {key: v.copy() for key, v in state.items()}
    kernel[:], recurrent[:], bias[:] = 0, 0, 0
    for key, v in state.items():
        np.testing.assert_array_equal(v, before[key])


# --- what cannot be converted ------------------------------------------------------------------------------------------------

a = np.ones
PROJECTED = tg.nn.LSTM(INPUT, H, proj_size=2, rng=0).state_dict()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: keras.from_keras_gru(a((2, 9)), a((3, 9)), a(9)),
            tg.ShapeError,
            "that of a layer with reset_after=False; this is",
        ),
        (
            lambda: keras.from_keras_gru(a((2, 9)), a((3, 9)), a((2, 9)), False),
            tg.ShapeError,
            "that of a layer with reset_after=True",
        ),
        (
            lambda: keras.from_keras_gru(a((2, 9)), a((3, 9)), a(18)),
            tg.ShapeError,
            r"bias has shape \(18,\); expected \(2, 9\)",
        ),
        (
            lambda: keras.from_keras_lstm(a((12, 2)), a((12, 3))),
            tg.ShapeError,
            r"recurrent_kernel has shape \(12, 3\); expected \(12, 48\)",
        ),
        (
            lambda: keras.from_keras_lstm(a((2, 9)), a((3, 12))),
            tg.ShapeError,
            r"kernel has shape \(2, 9\); expected \(2, 12\)",
        ),
        (
            lambda: keras.from_keras_lstm(a((2, 12)), a((3, 12)), a(3)),
            tg.ShapeError,
            r"bias has shape \(3,\); expected \(12,\)",
        ),
        (
            lambda: keras.from_keras_lstm(a((2, 12), int), a((3, 12))),
            tg.DtypeError,
            "from_keras_lstm: kernel must be floating",
        ),
        (
            lambda: keras.from_keras_simple_rnn(a((2, 3)), a((3, 3)), layer=-1),
            tg.ShapeError,
            "layer must be at least 0; found -1",
        ),
        (
            lambda: keras.to_keras_lstm(PROJECTED),
            tg.TinygradError,
            "weight_hr_l0 is the projection .* proj_size=0",
        ),
        (lambda: onnx.to_onnx_lstm(PROJECTED), tg.TinygradError, "weight_hr_l0 is the projection"),
        (
            lambda: keras.to_keras_gru({"weight_ih_l0": a((9, 2))}),
            tg.TinygradError,
            r"has no \['weight_hh_l0'\]; it has \['weight_ih_l0'\]",
        ),
        (
            lambda: keras.to_keras_gru(
                {"weight_ih_l0": a((9, 2)), "weight_hh_l0": a((9, 3)), "bias_hh_l0": a(9)}
            ),
            tg.TinygradError,
            r"has no \['bias_ih_l0'\]",
        ),
        (
            lambda: onnx.to_onnx_gru(tg.nn.LSTM(2, 3).state_dict(), linear_before_reset=1),
            tg.ShapeError,
            r"weight_hh_l0 has shape \(12, 3\); expected \(9, 3\): 3 blocks",
        ),
        (
            lambda: onnx.from_onnx_lstm(a((1, 12, 2)), a((1, 12, 3)), P=a((1, 9))),
            tg.TinygradError,
            "P holds peephole weights.*from_onnx_peephole_lstm",
        ),
        (
            lambda: onnx.from_onnx_lstm(a((1, 12, 2)), a((1, 12, 3)), input_forget=1),
            tg.TinygradError,
            r"couples the gates \(i = 1 - f\)",
        ),
        (
            lambda: onnx.from_onnx_gru(a((1, 9, 2)), a((1, 9, 3)), clip=3.0),
            tg.TinygradError,
            "clip=3.0 bounds what goes into the",
        ),
        (
            lambda: onnx.from_onnx_gru(
                a((1, 9, 2)), a((1, 9, 3)), activations=["HardSigmoid", "Tanh"]
            ),
            tg.TinygradError,
            r"\['HardSigmoid', 'Tanh'\]; the layer has \['Sigmoid', 'Tanh'\] in each direction",
        ),
        (
            lambda: onnx.from_onnx_rnn(a((2, 3, 2)), a((2, 3, 3)), activations=["Tanh", "Relu"]),
            tg.TinygradError,
            "activations=",
        ),
        (
            lambda: onnx.from_onnx_gru(a((1, 9, 2)), a((1, 9, 3)), linear_before_reset=2),
            tg.TinygradError,
            "must be 0 or 1; found 2",
        ),
        (
            lambda: onnx.from_onnx_gru(a((9, 2)), a((1, 9, 3))),
            tg.ShapeError,
            r"W has shape \(9, 2\); expected \(directions, 3 \*",
        ),
        (
            lambda: onnx.from_onnx_gru(a((1, 9, 2)), a((1, 12, 3))),
            tg.ShapeError,
            r"R has shape \(1, 12, 3\); expected \(1, 9, 3\)",
        ),
        (
            lambda: onnx.from_onnx_gru(a((1, 9, 2)), a((1, 9, 3)), a((1, 9))),
            tg.ShapeError,
            r"B has shape \(1, 9\); expected \(1, 18\)",
        ),
        (
            lambda: onnx.from_onnx_rnn(a((2, 3, 2)), a((2, 3, 3)), reverse=True),
            tg.ShapeError,
            "reverse=True names one direction",
        ),
    ],
)
def test_errors(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_activations_that_are_the_layers_own(rng: np.random.Generator) -> None:
    w = [rng.standard_normal((2, *shape)) for shape in o(4)]
    plain = onnx.from_onnx_lstm(*w)
    same = onnx.from_onnx_lstm(
        *w, np.zeros((2, 3 * H)), activations=["Sigmoid", "Tanh", "Tanh"] * 2
    )
    assert same.keys() == plain.keys()
    for key, v in plain.items():
        np.testing.assert_array_equal(same[key], v)
