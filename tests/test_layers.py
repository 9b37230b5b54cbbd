"""Layers without time, buffers, losses with masks and initial values.

Plain loops, and recorded figures of PyTorch.
"""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

TORCH = np.load(Path(__file__).parent / "data" / "torch_layers.npz")


def figures(name: str, *keys: str) -> dict[str, Any]:
    return {k: TORCH[f"{name}/{k}"] for k in keys}


def check_against_torch(name: str, layer: Any, x: Any, parameters: dict[str, Any]) -> None:
    """The output and the gradients by the input and the parameters, for given values."""
    for key, p in parameters.items():
        p.data, p.grad = TORCH[f"{name}/{key}"], None
    out = layer(x)
    np.testing.assert_allclose(out.numpy(), TORCH[f"{name}/out"], rtol=1e-10, atol=1e-12)
    out.backward(TORCH[f"{name}/seed"])
    for key, t in {"x": x, **parameters}.items():
        np.testing.assert_allclose(
            t.grad.numpy(), TORCH[f"{name}/d {key}"], rtol=1e-9, atol=1e-11, err_msg=key
        )


# --- normalisation --------------------------------------------------------------------------------------------------------


def normalized(x: Any, groups: Any, eps: float) -> Any:
    """Every element less the mean of its group, over the root of the group's variance; `groups` are lists of indices."""
    out = np.full(x.shape, np.nan)
    for group in groups:
        values = [float(x[at]) for at in group]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        for at, v in zip(group, values, strict=True):
            out[at] = (v - mean) / math.sqrt(variance + eps)
    return out


@pytest.mark.parametrize("shape", [(5,), (3, 5), (4, 3, 5)])
def test_layer_norm_against_loops(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = rng.normal(2.0, 3.0, size=(4, 3, 5))
    layer = nn.LayerNorm(shape[0] if len(shape) == 1 else shape, eps=0.01, dtype=np.float64)
    layer.weight.data, layer.bias.data = rng.normal(size=shape), rng.normal(size=shape)
    k = len(shape)
    groups = [[(*lead, *at) for at in np.ndindex(shape)] for lead in np.ndindex(x.shape[: 3 - k])]
    expected = normalized(x, groups, 0.01)
    for at in np.ndindex(x.shape):
        expected[at] = (
            expected[at] * layer.weight.numpy()[at[3 - k :]] + layer.bias.numpy()[at[3 - k :]]
        )
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "shape"), [("LayerNorm 1", 5), ("LayerNorm 2", (3, 5))])
def test_layer_norm_against_torch(name: str, shape: Any) -> None:
    layer = nn.LayerNorm(shape, eps=1e-3, dtype=np.float64)
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    check_against_torch(
        name,
        layer,
        tg.tensor(TORCH[f"{name}/x"], requires_grad=True),
        dict(layer.named_parameters()),
    )


def test_layer_norm_options() -> None:
    x = tg.tensor([[1.0, 2.0, 4.0]])
    plain, weighted, full = (
        nn.LayerNorm(3, elementwise_affine=False),
        nn.LayerNorm(3, bias=False),
        nn.LayerNorm(3),
    )
    assert [len(list(m.parameters())) for m in (plain, weighted, full)] == [0, 1, 2]
    for layer in (plain, weighted, full):
        assert layer(x).dtype == np.float32
        np.testing.assert_array_equal(layer(x).numpy(), full(x).numpy())
    np.testing.assert_array_equal(nn.LayerNorm(2)(tg.tensor([[3.0, 3.0]])).numpy(), [[0, 0]])


SHAPES = {2: (6, 3), 3: (4, 3, 5), 4: (2, 3, 4, 5)}


@pytest.mark.parametrize("axes", SHAPES)
def test_batch_norm_against_loops(axes: int, rng: np.random.Generator) -> None:
    shape = SHAPES[axes]
    layer = nn.BatchNorm(3, eps=0.01, momentum=0.25, dtype=np.float64)
    layer.weight.data, layer.bias.data = rng.normal(size=3), rng.normal(size=3)
    means, variances = [0.0] * 3, [1.0] * 3
    for _ in range(3):
        x = rng.normal(2.0, 3.0, size=shape)
        groups = [[at for at in np.ndindex(shape) if at[1] == c] for c in range(3)]
        expected = normalized(x, groups, 0.01)
        for at in np.ndindex(shape):
            expected[at] = expected[at] * layer.weight.numpy()[at[1]] + layer.bias.numpy()[at[1]]
        np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), expected, rtol=1e-10, atol=1e-12)
        for c, group in enumerate(groups):
            values = [x[at] for at in group]
            mean = sum(values) / len(values)
            means[c] = 0.75 * means[c] + 0.25 * mean
            variances[c] = 0.75 * variances[c] + 0.25 * sum((v - mean) ** 2 for v in values) / (
                len(values) - 1
            )
        np.testing.assert_allclose(layer.running_mean.numpy(), means, rtol=1e-12)
        np.testing.assert_allclose(layer.running_var.numpy(), variances, rtol=1e-12)
    layer.eval()
    x = rng.normal(size=shape)
    expected = np.zeros(shape)
    for at in np.ndindex(shape):
        c = at[1]
        expected[at] = (x[at] - means[c]) / math.sqrt(variances[c] + 0.01) * layer.weight.numpy()[
            c
        ] + layer.bias.numpy()[c]
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.running_mean.numpy(), means, rtol=1e-12)
    assert layer.num_batches_tracked.item() == 3


@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("axes", SHAPES)
def test_batch_norm_against_torch(axes: int, momentum: float | None) -> None:
    layer = nn.BatchNorm(3, eps=1e-3, momentum=momentum, dtype=np.float64)
    for step in ("first", "second", "eval"):
        name = f"BatchNorm {axes} {momentum}/{step}"
        layer.train(step != "eval")
        check_against_torch(
            name,
            layer,
            tg.tensor(TORCH[f"{name}/x"], requires_grad=True),
            dict(layer.named_parameters()),
        )
        for key, buffer in layer.named_buffers():
            np.testing.assert_allclose(
                buffer.numpy(), TORCH[f"{name}/{key}"], rtol=1e-12, err_msg=key
            )


def test_batch_norm_without_weights_in_float32() -> None:
    layer = nn.BatchNorm(2, affine=False)
    assert not list(layer.parameters())
    out = layer(tg.tensor([[1.0, 5.0], [3.0, 9.0]]))
    assert (
        out.dtype == np.float32
        and layer.running_mean.dtype == layer.running_var.dtype == np.float32
    )
    np.testing.assert_allclose(out.numpy(), [[-1, -1], [1, 1]], rtol=1e-4)
    np.testing.assert_allclose(layer.running_mean.numpy(), [0.2, 0.7], rtol=1e-6)
    np.testing.assert_allclose(layer.running_var.numpy(), [0.9 + 0.1 * 2, 0.9 + 0.1 * 8], rtol=1e-6)


def test_batch_norm_does_not_learn_in_a_trace() -> None:
    layer = nn.BatchNorm(2)
    x = np.ones((3, 2), np.float32)
    with pytest.raises(
        tg.TraceError, match=r"running statistics cannot be recorded.* switch to evaluation"
    ):
        tg.trace(layer, x)
    layer.eval()
    np.testing.assert_array_equal(tg.trace(layer, x)(x)[0], layer(tg.tensor(x)).numpy())


# --- convolution and pooling as layers ------------------------------------------------------------------------------------

CONVOLUTIONS: dict[str, Any] = {
    "conv1d plain": lambda **k: nn.Conv1d(4, 5, 3, **k),
    "conv1d all": lambda **k: nn.Conv1d(4, 6, (3,), 2, 3, 2, 2, **k),
    "conv1d depthwise": lambda **k: nn.Conv1d(3, 3, 2, groups=3, padding=1, **k),
    "conv2d plain": lambda **k: nn.Conv2d(3, 4, (3, 2), **k),
    "conv2d all": lambda **k: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 3), 2, **k),
    "conv2d point": lambda **k: nn.Conv2d(3, 5, 1, stride=2, **k),
}
POOLS: dict[str, Any] = {
    "max_pool1d plain": nn.MaxPool1d(2),
    "max_pool1d all": nn.MaxPool1d(4, 2, 2, 2),
    "max_pool2d plain": nn.MaxPool2d((3, 2)),
    "max_pool2d all": nn.MaxPool2d(3, (1, 2), 1, (2, 1)),
    "avg_pool1d plain": nn.AvgPool1d(2),
    "avg_pool1d all": nn.AvgPool1d(4, 3, 2, False),
    "avg_pool2d plain": nn.AvgPool2d((3, 2)),
    "avg_pool2d all": nn.AvgPool2d(3, (1, 2), 1),
    "avg_pool2d inside": nn.AvgPool2d(3, (1, 2), (1, 0), count_include_pad=False),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_against_torch(name: str) -> None:
    layer = CONVOLUTIONS[name](dtype=np.float64)
    assert {n: p.shape for n, p in layer.named_parameters()} == {
        k: v.shape for k, v in figures(name, "weight", "bias").items()
    }
    check_against_torch(
        name,
        layer,
        tg.tensor(TORCH[f"{name}/x"], requires_grad=True),
        dict(layer.named_parameters()),
    )


@pytest.mark.parametrize("name", POOLS)
def test_pooling_against_torch(name: str) -> None:
    check_against_torch(name, POOLS[name], tg.tensor(TORCH[f"{name}/x"], requires_grad=True), {})


def test_first_values_of_convolutions() -> None:
    layer = nn.Conv2d(32, 64, (3, 2), groups=2, rng=0)
    bound = 1 / math.sqrt(16 * 3 * 2)
    for p in layer.parameters():
        values = p.numpy()
        assert values.dtype == np.float32 and np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.9 * bound and abs(values.mean()) < 0.1 * bound * math.sqrt(
            6144 / values.size
        )
    np.testing.assert_allclose(layer.weight.numpy().std(), bound / math.sqrt(3), rtol=0.03)
    again, without = (
        nn.Conv2d(32, 64, (3, 2), groups=2, rng=0),
        nn.Conv1d(2, 3, 2, bias=False, dtype=np.float64),
    )
    np.testing.assert_array_equal(again.weight.numpy(), layer.weight.numpy())
    assert without.bias is None and without.weight.dtype == np.float64
    assert without(tg.tensor(np.ones((1, 2, 4)))).shape == (1, 3, 3)


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "LayerNorm": (lambda: nn.LayerNorm((3, 2), dtype=np.float64), (2, 3, 2)),
    "BatchNorm 2": (lambda: nn.BatchNorm(2, dtype=np.float64), (4, 2)),
    "BatchNorm 3": (lambda: nn.BatchNorm(2, dtype=np.float64), (2, 2, 3)),
    "BatchNorm 4": (lambda: nn.BatchNorm(2, dtype=np.float64), (2, 2, 2, 2)),
    "BatchNorm eval": (lambda: nn.BatchNorm(2, dtype=np.float64).eval(), (2, 2, 3)),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 2, padding=1, dtype=np.float64), (2, 2, 3)),
    "Conv2d": (lambda: nn.Conv2d(2, 2, 2, stride=2, padding=1, dtype=np.float64), (1, 2, 3, 3)),
    "MaxPool1d": (lambda: nn.MaxPool1d(2, 1), (1, 2, 4)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (1, 2, 4, 4)),
    "AvgPool1d": (lambda: nn.AvgPool1d(2, 1), (1, 2, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), (1, 2, 4, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_layers(name: str, rng: np.random.Generator) -> None:
    """To second order, by the input and by every parameter."""
    make, shape = LAYERS[name]
    layer = make()
    names = [n for n, _ in layer.named_parameters()]
    values = [rng.normal(size=p.shape) for _, p in layer.named_parameters()]
    for key, buffer in layer.named_buffers():
        if buffer.dtype.kind == "f":
            buffer.data = rng.uniform(0.5, 2.0, size=buffer.shape)
        assert key

    def function(x: Any, *parameters: Any) -> Any:
        for key, p in zip(names, parameters, strict=True):
            object.__setattr__(layer, key, p)
        return tg.tanh(layer(x))

    # every call moves the running statistics: nothing that is checked may depend on that
    if isinstance(layer, nn.BatchNorm):
        layer.momentum = 0.0
    tg.gradcheck(
        function,
        rng.permuted(np.linspace(-1.5, 1.5, math.prod(shape))).reshape(shape),
        *values,
        order=2,
    )


# --- dropout --------------------------------------------------------------------------------------------------------------


def test_dropout_layer(rng: np.random.Generator) -> None:
    layer = nn.Dropout(0.3, rng=5)
    x = tg.tensor(rng.uniform(1, 2, size=(60, 50)).astype(np.float32), requires_grad=True)
    first, second = layer(x), layer(x)
    for out in (first, second):
        kept = out.numpy() != 0
        assert out.dtype == np.float32 and 0.66 < kept.mean() < 0.74
        np.testing.assert_allclose(out.numpy()[kept], (x.numpy() / 0.7)[kept], rtol=1e-6)
    assert 0.36 < ((first.numpy() != 0) != (second.numpy() != 0)).mean() < 0.48  # 2 * 0.3 * 0.7
    first.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.where(first.numpy() != 0, 1 / 0.7, 0), rtol=1e-6)
    np.testing.assert_array_equal(nn.Dropout(0.3, rng=5)(x).numpy(), first.numpy())
    model = tg.Module()
    model.inner = layer
    model.eval()
    assert layer(x).node is x.node
    model.train()
    assert (layer(x).numpy() == 0).any()
    assert nn.Dropout(0.0)(x).node is x.node


# --- buffers --------------------------------------------------------------------------------------------------------------


class Net(tg.Module):
    def __init__(self) -> None:
        self.norms = [nn.BatchNorm(2, dtype=np.float64), nn.BatchNorm(3)]
        self.linear = nn.Linear(2, 3, rng=0, dtype=np.float64)
        self.shared = self.norms[0].running_mean


def test_buffers_are_found_and_saved(rng: np.random.Generator, tmp_path: Path) -> None:
    net = Net()
    each = ["running_mean", "running_var", "num_batches_tracked"]
    assert [n for n, _ in net.named_buffers()] == [
        "shared",
        *(f"norms.0.{n}" for n in each[1:]),
        *(f"norms.1.{n}" for n in each),
    ]
    assert [n for n, _ in net.named_parameters()] == [
        "norms.0.weight", "norms.0.bias", "norms.1.weight", "norms.1.bias", "linear.weight", "linear.bias",
    ]  # fmt: skip
    assert not any(isinstance(p, nn.Buffer) for p in net.parameters())
    net.norms[0](tg.tensor(rng.normal(size=(4, 2))))
    state = net.state_dict()
    assert set(state) == {n for n, _ in net.named_parameters()} | {
        n for n, _ in net.named_buffers()
    }
    other = Net()
    other.load_state_dict(state)
    np.testing.assert_array_equal(
        other.norms[0].running_mean.numpy(), net.norms[0].running_mean.numpy()
    )
    np.testing.assert_array_equal(
        other.norms[0].running_var.numpy(), net.norms[0].running_var.numpy()
    )
    assert (
        other.norms[0].num_batches_tracked.item() == 1
        and other.norms[0].num_batches_tracked.dtype == np.int64
    )
    tg.save(tmp_path / "net.safetensors", net)
    third = Net()
    tg.load(tmp_path / "net.safetensors", third)
    for twin in (third, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        for (name, a), (_, b) in zip(net.named_buffers(), twin.named_buffers(), strict=True):
            assert type(b) is nn.Buffer and b.dtype == a.dtype and b.shape == a.shape
            np.testing.assert_array_equal(b.numpy(), a.numpy(), err_msg=name)
    with pytest.raises(tg.TinygradError, match=r"missing \['norms\.1\.running_var'\]"):
        other.load_state_dict({k: v for k, v in state.items() if k != "norms.1.running_var"})


def test_a_buffer_is_not_trained() -> None:
    buffer = nn.Buffer([1.0, 2.0])
    with pytest.raises(
        tg.GraphError, match=r"a Buffer is not trained and requires no gradients; use tg\.Parameter"
    ):
        buffer.requires_grad = True
    x = tg.tensor([3.0, 4.0], requires_grad=True)
    (x * buffer).sum().backward()
    assert not buffer.requires_grad and buffer.grad is None and x.grad.tolist() == [1, 2]
    twin = copy.copy(buffer)
    assert type(twin) is nn.Buffer and twin.tolist() == [1, 2]
    module = tg.Module()
    module.mean = buffer
    assert buffer.name == "mean"
    with pytest.raises(
        tg.TinygradError,
        match=r"Module\.mean is a buffer and would become a plain tensor, which is not saved",
    ):
        module.mean = tg.tensor([0.0, 0.0])
    module.mean = nn.Buffer([5.0])
    module.mean.data = [6.0]
    assert module.state_dict()["mean"].tolist() == [6.0]


# --- losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_binary_cross_entropy(masked: bool) -> None:
    name = "bce masked" if masked else "bce"
    logits, targets = (
        tg.tensor(TORCH[f"{name}/{k}"], requires_grad=True) for k in ("logits", "targets")
    )
    mask = TORCH["mask"] if masked else None
    loss = nn.bce_with_logits(logits, targets, mask)
    loss.backward()
    np.testing.assert_allclose(loss.item(), TORCH[f"{name}/out"], rtol=1e-12)
    for key, t in (("logits", logits), ("targets", targets)):
        np.testing.assert_allclose(
            t.grad.numpy() * TORCH[f"{name}/seed"], TORCH[f"{name}/d {key}"], rtol=1e-9, atol=1e-12
        )
    total = weight = 0.0
    for at in np.ndindex(logits.shape):
        p, t, w = (
            1 / (1 + math.exp(-logits.numpy()[at])),
            targets.numpy()[at],
            1.0 if mask is None else mask[at],
        )
        total, weight = total - w * (t * math.log(p) + (1 - t) * math.log(1 - p)), weight + w
    np.testing.assert_allclose(loss.item(), total / weight, rtol=1e-12)


def test_binary_cross_entropy_far_out() -> None:
    logits = tg.tensor([1000.0, -1000.0, 30.0, -30.0, 1000.0], requires_grad=True)
    for targets in (
        np.array([1, 0, 1, 0, 0]),
        np.array([1, 0, 1, 0, 0], bool),
        tg.tensor([1.0, 0.0, 1.0, 0.0, 0.0]),
    ):
        singles = [nn.bce_with_logits(logits[i], targets[i]).item() for i in range(5)]
        np.testing.assert_allclose(singles, [0, 0, math.exp(-30), math.exp(-30), 1000], rtol=1e-5)
        loss = nn.bce_with_logits(logits, targets)
        assert loss.dtype == np.float32
    loss.backward()
    np.testing.assert_allclose(logits.grad.numpy(), [0, 0, 0, 0, 0.2], atol=1e-7)


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_cross_entropy_with_a_mask(kind: str) -> None:
    wrap = np.asarray if kind == "array" else tg.tensor
    for name, mask in (
        ("cross_entropy masked", TORCH["mask"]),
        ("cross_entropy kept", TORCH["mask"] > 0),
    ):
        logits = tg.tensor(TORCH[f"{name}/logits"], requires_grad=True)
        # what is not counted may be anything
        classes = np.where(TORCH["mask"] > 0, TORCH["cross_entropy masked/classes"], -100)
        loss = nn.cross_entropy(logits, wrap(classes), wrap(mask))
        loss.backward()
        np.testing.assert_allclose(loss.item(), TORCH[f"{name}/out"], rtol=1e-12)
        np.testing.assert_allclose(
            logits.grad.numpy() * TORCH[f"{name}/seed"],
            TORCH[f"{name}/d logits"],
            rtol=1e-9,
            atol=1e-12,
        )
    single = nn.cross_entropy(logits.detach().astype(np.float32), classes, TORCH["mask"] > 0)
    assert single.dtype == np.float32


# --- initial values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_he(dtype: Any) -> None:
    for shape, fan in (((400, 50), 50), ((60, 10, 5, 4), 200)):
        n = tg.init.he_normal(shape, rng=0, dtype=dtype)
        np.testing.assert_allclose(n.std(), math.sqrt(2 / fan), rtol=0.03)
        assert (np.abs(n) > 3 * math.sqrt(2 / fan)).any()
        u = tg.init.he_uniform(shape, 1.5, rng=0, dtype=dtype)
        bound = 1.5 * math.sqrt(3 / fan)
        assert bound * 0.99 < np.abs(u).max() <= bound * (1 + 1e-6)
        np.testing.assert_allclose(u.std(), bound / math.sqrt(3), rtol=0.03)
        assert n.dtype == u.dtype == dtype and n.shape == u.shape == shape


def test_normal_and_identity() -> None:
    n = tg.init.normal((200, 100), 0.3, rng=1)
    np.testing.assert_allclose([n.std(), n.mean()], [0.3, 0], atol=0.006)
    assert n.dtype == np.float32
    np.testing.assert_array_equal(tg.init.identity((2, 3), 0.5), [[0.5, 0, 0], [0, 0.5, 0]])
    assert (
        tg.init.identity((2, 2)).dtype == np.float32
        and tg.init.identity((2, 2), dtype=np.float64).dtype == np.float64
    )


def test_chrono() -> None:
    bias = np.arange(4 * 2000, dtype=np.float32)
    out = tg.init.chrono(bias, 2000, 101, rng=0)
    i, f, g, o = out.reshape(4, 2000)
    np.testing.assert_array_equal(i, -f)
    np.testing.assert_array_equal([g, o], bias.reshape(4, 2000)[2:])
    assert out.dtype == np.float32 and bias[0] == 0
    u = np.exp(f)
    assert u.min() >= 1 and u.max() <= 100 * (1 + 1e-6)
    np.testing.assert_allclose(
        [np.mean(u < x) for x in (10.9, 25.75, 50.5, 75.25)], [0.1, 0.25, 0.5, 0.75], atol=0.04
    )
    # as of JANET, which has no input gate
    alone = tg.init.chrono(np.full(4, 0.5), 2, 9, forget=0, enter=None, gates=2, rng=0)
    assert (
        (alone[2:] == 0.5).all()
        and (alone[:2] >= 0).all()
        and (alone[:2] <= np.log(8)).all()
        and alone[0] != alone[1]
    )
    other = tg.init.chrono(np.zeros(6), 2, 9, forget=2, enter=1, gates=3, rng=0)
    assert (other[:2] == 0).all() and (other[4:] > 0).all() and (other[2:4] == -other[4:]).all()


# --- errors ---------------------------------------------------------------------------------------------------------------

x23 = tg.tensor(np.ones((2, 3), np.float32))
ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "layer norm shape": (lambda: nn.LayerNorm(4)(x23), tg.ShapeError, r"expected the last axes to be \(4,\); found shape \(2, 3\)"),
    "layer norm too deep": (lambda: nn.LayerNorm((1, 2, 3))(x23), tg.ShapeError, r"expected the last axes to be \(1, 2, 3\)"),
    "layer norm of nothing": (lambda: nn.LayerNorm(()), tg.ShapeError, r"one or more sizes of at least 1; found \(\)"),
    "layer norm eps": (lambda: nn.LayerNorm(3, eps=0.0), tg.TinygradError, r"LayerNorm: eps must be positive; found 0\.0"),
    "batch norm size": (lambda: nn.BatchNorm(0), tg.ShapeError, r"num_features must be at least 1; found 0"),
    "batch norm channels": (lambda: nn.BatchNorm(2)(x23), tg.ShapeError, r"2 to 4 axes, the second of size 2; found shape \(2, 3\)"),
    "batch norm axes": (lambda: nn.BatchNorm(3)(x23[0]), tg.ShapeError, r"2 to 4 axes, the second of size 3; found shape \(3,\)"),
    "batch norm of one": (lambda: nn.BatchNorm(3)(x23[:1]), tg.ShapeError, r"at least 2 values; found 1\. For evaluation: module\.eval\(\)"),
    "batch norm momentum": (lambda: nn.BatchNorm(3, momentum=2.0), tg.TinygradError, r"momentum must be in \[0, 1\], or None; found 2\.0"),
    "conv size": (lambda: nn.Conv2d(2, 3, (3,)), tg.ShapeError, r"Conv2d: expected .* a kernel_size of 2 size\(s\).*kernel_size=\(3,\)"),
    "conv channels": (lambda: nn.Conv1d(0, 3, 2), tg.ShapeError, r"Conv1d: expected channels of at least 1.*in_channels=0"),
    "conv groups": (lambda: nn.Conv1d(4, 3, 2, groups=2), tg.ShapeError, r"groups must divide the channels; found 2 for 4 in and 3 out"),
    "dropout": (lambda: nn.Dropout(1.0), tg.TinygradError, r"Dropout: p must be in \[0, 1\); found 1\.0"),
    "bce shapes": (lambda: nn.bce_with_logits(x23, np.ones(3)), tg.ShapeError, r"logits have shape \(2, 3\), targets \(3,\)"),
    "mask shape": (lambda: nn.cross_entropy(x23, [0, 1], np.ones(3)), tg.ShapeError, r"expected a mask of shape \(2,\).*found \(3,\)"),
    "mask of zeros": (lambda: nn.bce_with_logits(x23, x23, np.zeros((2, 3))), tg.ShapeError, r"add up to 0\.0, so there is nothing"),
    "target that counts": (lambda: nn.cross_entropy(x23, [-1, 5], [0, 1]), tg.ShapeError, r"targets from 0 to 5; expected 0 to 2"),
    "he shape": (lambda: tg.init.he_normal((3,)), tg.ShapeError, r"he_normal: expected the shape \(out, in, \.\.\.\)"),
    "identity shape": (lambda: tg.init.identity((2, 3, 4)), tg.ShapeError, r"identity: expected a matrix shape"),
    "chrono range": (lambda: tg.init.chrono(np.zeros(4), 1, 1.5), tg.TinygradError, r"at least 2 steps; found 1\.5"),
    "chrono shape": (lambda: tg.init.chrono(np.zeros(5), 1, 10), tg.ShapeError, r"expected a bias of shape \(4,\); found \(5,\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    make, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        make()


def test_layers_train_together(rng: np.random.Generator) -> None:
    """A small network of most of the layers learns which of three places in a sequence holds the bump."""

    class Finder(tg.Module):
        def __init__(self) -> None:
            self.convolve, self.norm, self.pool = (
                nn.Conv1d(1, 8, 3, padding=1, rng=1),
                nn.BatchNorm(8),
                nn.MaxPool1d(2),
            )
            self.layer_norm, self.out = nn.LayerNorm(24), nn.Linear(24, 3, rng=2)

        def forward(self, x: Any) -> Any:
            h = self.pool(tg.relu(self.norm(self.convolve(x))))
            return self.out(self.layer_norm(h.reshape(len(x), -1)))

    net = Finder()
    optimizer = tg.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        classes = rng.integers(3, size=32)
        x = rng.normal(0, 0.3, size=(32, 1, 6)).astype(np.float32)
        for row, c in itertools.product(range(32), range(2)):
            x[row, 0, 2 * classes[row] + c] += 1
        loss = nn.cross_entropy(net(tg.tensor(x)), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    assert nn.cross_entropy(net(tg.tensor(x)), classes).item() < 0.2
