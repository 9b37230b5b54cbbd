"""The further activations and layers: recorded figures of PyTorch, derivatives, compiled, what is refused."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

TORCH = np.load(Path(__file__).parent / "data" / "torch_vocabulary.npz")
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def inputs_of(name: str) -> list[Any]:
    return [TORCH[f"{name}/x{k}"] for k in range(9) if f"{name}/x{k}" in TORCH]


def check(
    name: str, function: Callable[..., Any], keys: list[str], *, compiled: bool = True
) -> None:
    """The value and the gradients, plain and compiled."""
    for call in (function, tg.jit(function)) if compiled else (function,):
        inputs = [tg.tensor(TORCH[f"{name}/{key}"], requires_grad=True) for key in keys]
        out = call(*inputs)
        np.testing.assert_allclose(out.numpy(), TORCH[f"{name}/out"], **CLOSE)
        (out * TORCH[f"{name}/seed"]).sum().backward()
        for key, x in zip(keys, inputs, strict=True):
            np.testing.assert_allclose(x.grad.numpy(), TORCH[f"{name}/d {key}"], **CLOSE)


# --- functions ------------------------------------------------------------------------------------

POOLED = {
    **{f"max ceil {k}": (lambda x, s=s: tg.max_pool1d(x, *s, ceil_mode=True)) for k, s in enumerate([(2, 2), (3, 2, 1), (2, 4, 1), (3, 3, 0, 2)])},
    **{f"avg ceil {k} {pad}": (lambda x, s=s, pad=pad: tg.avg_pool1d(x, *s, ceil_mode=True, count_include_pad=pad))
       for k, s in enumerate([(2, 2), (3, 2, 1), (4, 3, 2), (2, 4, 1)]) for pad in (True, False)},
    "avg ceil 2d": lambda x: nn.AvgPool2d((3, 2), (2, 3), (1, 1), False, True)(x), "max ceil 2d": lambda x: nn.MaxPool2d((3, 2), (2, 3), (1, 1), 1, True)(x),
    **{f"adaptive avg {m}": (lambda x, m=m: nn.AdaptiveAvgPool1d(m)(x)) for m in (1, 3, 4, 8, 11)},
    **{f"adaptive max {m}": (lambda x, m=m: nn.AdaptiveMaxPool1d(m)(x)) for m in (1, 3, 4, 8, 11)},
    "adaptive avg 2d": lambda x: nn.AdaptiveAvgPool2d((4, 2))(x), "adaptive max 2d": lambda x: nn.AdaptiveMaxPool2d((4, 2))(x),
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "softplus": lambda x: tg.softplus(x, 2.5), "gelu tanh": lambda x: tg.gelu(x, "tanh"), "hardswish": tg.hardswish, "selu": tg.selu, "mish": tg.mish,
    "softsign": tg.softsign, "glu": tg.glu, "glu axis": lambda x: tg.glu(x, 1), "prelu": tg.prelu, "prelu of one": tg.prelu,
    "pad reflect": lambda x: tg.pad(x, ((0, 0), (0, 0), (2, 0), (1, 2)), mode="reflect"), "pad edge": lambda x: tg.pad(x, ((0, 0), (0, 0), (3, 0), (1, 2)), mode="edge"),
    "pad wrap": lambda x: tg.pad(x, ((0, 0), (0, 0), (3, 0), (1, 2)), mode="wrap"), "conv same": lambda x, w: tg.conv2d(x, w, padding="same", dilation=(1, 3)),
    "conv one side": lambda x, w: tg.conv2d(x, w, stride=2, padding=((1, 0), (0, 2))), "conv_transpose1d": tg.conv_transpose1d,
    "conv_transpose1d all": lambda *xs: tg.conv_transpose1d(*xs, stride=3, padding=2, output_padding=1, groups=2, dilation=2), "conv_transpose2d": tg.conv_transpose2d,
    "conv_transpose2d all": lambda *xs: tg.conv_transpose2d(*xs, stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2, dilation=(1, 2)),
    "attention": nn.scaled_dot_product_attention, "attention causal": lambda *xs: nn.scaled_dot_product_attention(*xs, is_causal=True, scale=0.3), **POOLED,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_against_torch(name: str) -> None:
    check(name, FUNCTIONS[name], [f"x{k}" for k in range(len(inputs_of(name)))])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives(name: str) -> None:
    function, xs = FUNCTIONS[name], inputs_of(name)
    if name in POOLED:  # of numbers that do not tie
        xs = [x + 0.01 * np.random.default_rng(0).permutation(x.size).reshape(x.shape) for x in xs]
    xs = [x[:1] if x.ndim == 4 and k == 0 and "attention" not in name else x for k, x in enumerate(xs)]  # fmt: skip
    tg.gradcheck(lambda *ts: tg.sin(function(*ts)).sum(), *xs, order=2)


@pytest.mark.parametrize("name", ["softplus", "gelu tanh", "hardswish", "selu", "mish", "softsign"])
def test_activations_of_all_shapes(name: str) -> None:
    """Single numbers, none, other layouts, float32, and large arrays, for which there is a kernel."""
    function = FUNCTIONS[name]
    x = TORCH[f"{name}/x0"]
    expected = TORCH[f"{name}/out"]
    for index in (np.s_[0, 0, 0], np.s_[:0], np.s_[::-1, ::2], np.s_[:, :, 1]):
        np.testing.assert_allclose(function(tg.tensor(x[index])).numpy(), expected[index], rtol=1e-13, atol=1e-15)  # fmt: skip
    np.testing.assert_allclose(function(tg.tensor(x.T)).numpy(), expected.T, rtol=1e-13, atol=1e-15)
    single = function(tg.tensor(x.astype(np.float32)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-5, atol=1e-6)
    many = tg.tensor(np.resize(x, (3, 70_000)), requires_grad=True)
    y = function(many)
    np.testing.assert_allclose(y.numpy(), np.resize(expected, (3, 70_000)), rtol=1e-12, atol=1e-15)
    y.backward(np.resize(TORCH[f"{name}/seed"], (3, 70_000)))
    slope = TORCH[f"{name}/d x0"]
    np.testing.assert_allclose(many.grad.numpy(), np.resize(slope, (3, 70_000)), **CLOSE)


@pytest.mark.parametrize(
    ("function", "x", "value", "slope"),
    [
        (tg.hardswish, [-3.0, 3.0, 0.0, -1e30, 1e30], [-0.0, 3.0, 0.0, -0.0, 1e30], [0, 1, 0.5, 0, 1]),
        (tg.selu, [0.0, -1000.0, 1000.0], [0, -1.7580993408473766, 1050.7009873554805], [1.7580993408473766, 0, 1.0507009873554805]),
        (tg.mish, [0.0, -1000.0, 1000.0], [0, -0.0, 1000], [0.6, 0, 1]),
        (tg.softsign, [0.0, 1e200, -1e200], [0, 1, -1], [1, 0, 0]),
        (lambda x: tg.gelu(x, "tanh"), [0.0, 1e150, -1e150], [0, 1e150, -0.0], [0.5, 1, 0]),
        (lambda x: tg.softplus(x, 3.0), [1000.0, -1000.0, 0.0], [1000, 0, np.log(2) / 3], [1, 0, 0.5]),
        (lambda x: tg.prelu(x, 0.5), [0.0, -2.0, 2.0], [0, -1, 2], [0.5, 0.5, 1]),
    ],
)  # fmt: skip
def test_far_out_and_at_kinks(function: Any, x: Any, value: Any, slope: Any) -> None:
    t = tg.tensor(np.array(x), requires_grad=True)
    for call in (function, tg.jit(function)):
        t.grad = None
        y = call(t)
        np.testing.assert_allclose(y.numpy(), value, rtol=1e-14)
        y.sum().backward()
        np.testing.assert_allclose(t.grad.numpy(), slope, rtol=1e-14)


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
def test_pad_is_that_of_numpy(mode: str) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for width in (0, 1, (1, 0), ((0, 1), (2, 1), (1, 3)), ((0, 0), (0, 0), (0, 2))):
        if (mode == "reflect" and width == ((0, 1), (2, 1), (1, 3))) or mode == "wrap":
            width = np.minimum(width, 1).tolist()
        expected = np.pad(x, width, mode=mode)  # type: ignore[call-overload]
        np.testing.assert_array_equal(tg.pad(x, width, mode=mode), expected)
        np.testing.assert_array_equal(np.pad(tg.tensor(x), width, mode).numpy(), expected)
    assert tg.pad(tg.tensor(x), 1, 2.0).numpy()[0, 0, 0] == 2
    assert tg.pad(tg.tensor(2.0), 0, mode=mode).numpy() == 2


# --- layers ---------------------------------------------------------------------------------------

NORMS: dict[str, Callable[[], Any]] = {
    "RMSNorm": lambda: nn.RMSNorm(5, dtype=np.float64),
    "RMSNorm 2": lambda: nn.RMSNorm((3, 5), eps=0.1, dtype=np.float64),
    "GroupNorm": lambda: nn.GroupNorm(2, 4, eps=1e-3, dtype=np.float64),
    "GroupNorm 1": lambda: nn.GroupNorm(1, 4, dtype=np.float64),
    "GroupNorm 4": lambda: nn.GroupNorm(4, 4, dtype=np.float64),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_against_torch(name: str) -> None:
    layer = NORMS[name]()
    parameters = dict(layer.named_parameters())
    check(
        name,
        lambda x, *values: tg.functional_call(layer, dict(zip(parameters, values, strict=True)), x),
        ["x", *parameters],
    )
    x = TORCH[f"{name}/x"]
    tg.gradcheck(lambda t: tg.sin(layer(t)).sum(), x[:2], order=2)
    assert layer(tg.tensor(x[:0])).shape == x[:0].shape
    np.testing.assert_allclose(layer(tg.tensor(np.asfortranarray(x))).numpy(), layer(tg.tensor(x)).numpy(), rtol=1e-13)  # fmt: skip
    plain = type(layer)(*((2, 4) if "Group" in name else (5,)), **{"affine" if "Group" in name else "elementwise_affine": False})  # fmt: skip
    assert not list(plain.parameters())


@pytest.mark.parametrize("kind", ["plain", "mask", "added"])
@pytest.mark.parametrize("name", ["heads", "heads of others"])
def test_heads_against_torch(name: str, kind: str) -> None:
    sizes = {"kdim": 3, "vdim": 6} if name != "heads" else {}
    layer = nn.MultiheadAttention(8, 2, rng=0, dtype=np.float64, **sizes)
    parameters = dict(layer.named_parameters())
    settings: dict[str, Any] = {"mask": {"mask": TORCH["heads/mask"]}, "added": {"allowed": TORCH["heads/added"]}}.get(kind, {})  # fmt: skip

    def attended(q: Any, k: Any, v: Any, *values: Any) -> Any:
        given = dict(zip(parameters, values, strict=True))
        return tg.functional_call(layer, given, q, k, v, **settings)[0]

    check(f"{name}/{kind}", attended, ["query", "key", "value", *parameters])
    layer.load_state_dict({p: TORCH[f"{name}/{kind}/{p}"] for p in parameters})
    q, k, v = (tg.tensor(TORCH[f"{name}/{kind}/{x}"]) for x in ("query", "key", "value"))
    np.testing.assert_allclose(layer(q, k, v, **settings)[1].numpy(), TORCH[f"{name}/{kind}/shares"], **CLOSE)  # fmt: skip
    layer.batch_first = True
    ys, shares = layer(*(x.swapaxes(0, 1) for x in (q, k, v)), **settings)
    np.testing.assert_allclose(ys.swapaxes(0, 1).numpy(), TORCH[f"{name}/{kind}/out"], **CLOSE)
    assert shares.shape == (3, 5, 4)


def test_masks_of_heads(rng: np.random.Generator) -> None:
    layer = nn.MultiheadAttention(4, 2, rng=0, dtype=np.float64)
    x = rng.normal(size=(5, 3, 4))
    causal = layer(tg.tensor(x), is_causal=True)[0].numpy()
    triangle = np.tril(np.ones((5, 5), bool))
    np.testing.assert_allclose(layer(tg.tensor(x), allowed=triangle)[0].numpy(), causal)
    np.testing.assert_allclose(layer(tg.tensor(x[:2]), is_causal=True)[0].numpy(), causal[:2])
    lengths = layer(tg.tensor(x), mask=[5, 2, 1])[0].numpy()
    x[2:, 1], x[1:, 2] = np.nan, np.inf  # what is not there is not read
    keys = tg.tensor(x)
    np.testing.assert_allclose(layer(tg.tensor(np.nan_to_num(x, posinf=0)), keys, mask=[5, 2, 1])[0].numpy()[:1], lengths[:1])  # fmt: skip
    both = layer(tg.tensor(x[:, :1]), mask=np.ones((1, 5), bool), allowed=triangle)[0].numpy()
    np.testing.assert_allclose(both, causal[:, :1])
    tg.gradcheck(lambda t: tg.sin(layer(t, is_causal=True)[0]).sum(), x[:3, :1], order=2)


def test_dropout_of_heads(rng: np.random.Generator) -> None:
    layer = nn.MultiheadAttention(4, 2, 0.5, rng=0)
    x = tg.tensor(rng.normal(size=(5, 3, 4)).astype(np.float32))
    assert (layer(x)[0].numpy() != layer(x)[0].numpy()).any()
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())
    q = x.swapaxes(0, 1)
    first, second = (nn.scaled_dot_product_attention(q, q, q, dropout_p=0.5, rng=1) for _ in range(2))  # fmt: skip
    np.testing.assert_array_equal(first.numpy(), second.numpy())


@pytest.mark.parametrize(
    ("mode", "name"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
def test_borders_of_convolutions(mode: str, name: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    layer = nn.Conv2d(3, 2, (3, 2), padding="same", padding_mode=mode, rng=0)
    around = tg.pad(x, ((0, 0), (0, 0), (1, 1), (0, 1)), mode=name)
    np.testing.assert_allclose(layer(x).numpy(), tg.conv2d(around, layer.weight, layer.bias).numpy(), rtol=1e-5, atol=1e-6)  # fmt: skip


def test_layers_of_windows(rng: np.random.Generator) -> None:
    """The layers call the functions, with first values as PyTorch draws them."""
    x, image = (tg.tensor(rng.normal(size=s).astype(np.float32)) for s in ((2, 4, 5), (2, 4, 5, 3)))
    one = nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, rng=0)
    np.testing.assert_array_equal(one(x).numpy(), tg.conv_transpose1d(x, one.weight, one.bias, 2, 1, 1, 2).numpy())  # fmt: skip
    two = nn.ConvTranspose2d(4, 2, (2, 3), bias=False, dilation=2, rng=0)
    np.testing.assert_array_equal(two(image).numpy(), tg.conv_transpose2d(image, two.weight, dilation=2).numpy())  # fmt: skip
    for layer, shape, fan in ((one, (4, 3, 3), 9), (two, (4, 2, 2, 3), 12)):
        assert layer.weight.shape == shape
        assert 0.8 / fan**0.5 < abs(layer.weight.numpy()).max() <= 1 / fan**0.5
    bent = nn.PReLU(4, 0.1)
    np.testing.assert_array_equal(bent(x).numpy(), tg.prelu(x, bent.weight).numpy())
    assert bent.weight.numpy().tolist() == pytest.approx([0.1] * 4)
    # of several equal elements the first has the gradient, also where parts are of unequal sizes
    for size in (2, 3):
        t = tg.tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
        nn.AdaptiveMaxPool2d(size)(t).sum().backward()
        expected = np.zeros((4, 4))
        starts = [i * 4 // size for i in range(size)]
        for i, j in itertools.product(starts, starts):
            expected[i, j] += 1
        np.testing.assert_array_equal(t.grad.numpy()[0, 0], expected)


# --- containers -----------------------------------------------------------------------------------


def test_sequential(rng: np.random.Generator) -> None:
    layers = [nn.Linear(3, 4, rng=0), tg.tanh, nn.Linear(4, 2, rng=1)]
    net = nn.Sequential(*layers)
    x = tg.tensor(rng.normal(size=(5, 3)).astype(np.float32))
    expected = layers[2](tg.tanh(layers[0](x))).numpy()
    np.testing.assert_array_equal(net(x).numpy(), expected)
    np.testing.assert_allclose(tg.jit(net)(x).numpy(), expected, rtol=1e-6)
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(net) == 3 and net[1] is tg.tanh and net[-1] is layers[2] and list(net) == layers
    assert type(net[:2]) is nn.Sequential and list(net[:2]) == layers[:2]
    named = nn.Sequential({"first": layers[0], "bend": tg.tanh, "last": layers[2]})
    assert list(named.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    np.testing.assert_array_equal(named(x).numpy(), expected)
    twin = copy.deepcopy(net).append(tg.relu)
    np.testing.assert_array_equal(twin(x).numpy(), np.maximum(expected, 0))
    assert len(net) == 3
    net[1] = tg.relu
    np.testing.assert_array_equal(net(x).numpy(), layers[2](tg.relu(layers[0](x))).numpy())
    assert not net.eval()[0].training and nn.Sequential()(x) is x


def test_lists_and_dicts_of_modules(rng: np.random.Generator) -> None:
    class Net(tg.Module):
        def __init__(self, kind: Any) -> None:
            self.layers = kind(nn.Linear(2, 2, rng=k) for k in range(3))
            self.heads = nn.ModuleDict({"a": nn.Linear(2, 1, rng=3), "b": nn.Linear(2, 2, rng=4)})

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = tg.tanh(layer(x))
            return self.heads["a"](x), self.heads["b"](x)

    net, plain = Net(nn.ModuleList), Net(list)
    x = tg.tensor(rng.normal(size=(4, 2)).astype(np.float32))
    for f, e in zip(net(x), plain(x), strict=True):
        np.testing.assert_array_equal(f.numpy(), e.numpy())
    assert list(net.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(net.state_dict())
    assert len(net.layers) == 3 and net.layers[-1] is list(net.layers)[2]
    assert [type(part) for part in (net.layers[1:], net.heads)] == [nn.ModuleList, nn.ModuleDict]
    net.layers.extend(net.layers[:1]).append(nn.Dropout(0.5))
    assert len(net.layers) == 5 and net.layers[3] is net.layers[0]
    assert len(list(net.parameters())) == 10  # each once
    assert net.heads.keys() == ["a", "b"] and "a" in net.heads and list(net.heads) == ["a", "b"]
    del net.heads["a"]
    net.heads["c"] = net.layers[0]
    assert [n for n, _ in net.heads.items()] == ["b", "c"]
    assert net.heads.values() == [net.heads["b"], net.layers[0]]


# --- what is refused ------------------------------------------------------------------------------

X = tg.tensor(np.ones((2, 3, 5), np.float32))
Q = tg.tensor(np.ones((4, 2, 6), np.float32))
HEADS = nn.MultiheadAttention(6, 2, rng=0)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "glu": (lambda: tg.glu(X), r"glu: expected an even size on axis -1.*found 5"),
    "gelu": (lambda: tg.gelu(X, "erf"), "approximate must be 'none' or 'tanh'; found 'erf'"),
    "softplus": (lambda: tg.softplus(X, 0.0), "softplus: beta must be a positive finite number; found 0.0"),
    "prelu": (lambda: tg.prelu(X, np.ones(2, np.float32)), r"one for each of the 3 channels on axis 1.*found shape \(2,\)"),
    "pad mode": (lambda: tg.pad(X, 1, mode="replicate"), "found 'replicate'; it is called 'edge' here"),
    "pad too wide": (lambda: tg.pad(X, 3, mode="reflect"), r"mode 'reflect' puts 0 to 1 places at each end of axis 0.*found \(3, 3\)"),
    "pad nothing": (lambda: tg.pad(X[:0], 1, mode="edge"), r"mode 'edge' puts 0 to 0 places"),
    "same with a stride": (lambda: tg.conv1d(X, X, padding="same", stride=2), "'same' with a stride of 1; found 'same' and stride 2"),
    "pairs": (lambda: tg.conv1d(X, X, padding=((1, 0), (0, 1))), r"expected 1 pair\(s\) of padding"),
    "padding_mode": (lambda: nn.Conv1d(3, 2, 2, padding_mode="edge"), "padding_mode must be one of 'replicate', 'circular', 'zeros', 'reflect'"),
    "transposed channels": (lambda: tg.conv_transpose1d(X, np.ones((2, 1, 2), np.float32)), r"found \(2, 3, 5\) and \(2, 1, 2\)"),
    "transposed bias": (lambda: tg.conv_transpose1d(X, np.ones((3, 2, 2), np.float32), np.ones(3)), r"bias of shape \(2,\); found \(3,\)"),
    "transposed groups": (lambda: tg.conv_transpose1d(X, np.ones((3, 2, 2), np.float32), groups=2), "2 groups do not divide 3 channels"),
    "output_padding": (lambda: tg.conv_transpose1d(X, np.ones((3, 2, 2), np.float32), stride=2, output_padding=2), r"output_padding \(2,\) must be less than the stride \(2,\)"),
    "padding takes all": (lambda: tg.conv_transpose1d(X, np.ones((3, 2, 2), np.float32), padding=3), r"padding \(3,\) takes away all"),
    "ceil_mode": (lambda: tg.max_pool1d(X, 2, ceil_mode=1), "max_pool1d: ceil_mode must be True or False; found 1"),
    "adaptive size": (lambda: nn.AdaptiveAvgPool2d((1, 0)), r"output_size must be an integer of at least 1"),
    "adaptive axes": (lambda: tg.adaptive_avg_pool2d(X, 2), r"expected x of shape \(batch, channels, height, width\)"),
    "adaptive nothing": (lambda: tg.adaptive_max_pool1d(X[:, :, :0], 2), "there is nothing to pool"),
    "rms": (lambda: nn.RMSNorm(4)(X), r"RMSNorm: expected the last axes to be \(4,\)"),
    "rms eps": (lambda: nn.RMSNorm(4, eps=0.0), "RMSNorm: eps must be positive"),
    "groups": (lambda: nn.GroupNorm(2, 3), "num_groups must divide the channels; found 2 for 3"),
    "group channels": (lambda: nn.GroupNorm(2, 4)(X), r"the second of size 4; found shape \(2, 3, 5\)"),
    "heads": (lambda: nn.MultiheadAttention(6, 4), "num_heads must divide embed_dim; found 4 for 6"),
    "heads shape": (lambda: HEADS(Q, Q[:, :1]), r"expected query, key and value as \(time, batch, features\) of one batch"),
    "heads mask": (lambda: HEADS(Q, mask=np.ones((2, 4))), "expected a bool mask"),
    "nothing to look at": (lambda: HEADS(Q, allowed=np.triu(np.ones((4, 4), bool), 1)), "leaves a query no place to look at"),
    "attention shapes": (lambda: nn.scaled_dot_product_attention(Q, Q, Q[:, :1]), "expected a query .* keys .* values"),
    "attention mask": (lambda: nn.scaled_dot_product_attention(Q, Q, Q, np.ones((2, 2), int)), "expected a mask of bools"),
    "attention mask shape": (lambda: nn.scaled_dot_product_attention(Q, Q, Q, np.ones((3, 3), bool)), r"broadcasts to \(4, 2, 2\)"),
    "sequence of layers": (lambda: nn.Sequential(nn.GRU(5, 5, rng=0), nn.Linear(5, 2, rng=0))(X), r"layer '1' would be given is a tuple of 2.*ys, state = layer\(x\)"),
    "no layer": (lambda: nn.Sequential(3), "expected modules and functions; found 3"), "class of layers": (lambda: nn.Sequential(nn.Linear), "found a class; make an object of it"),
    "no module": (lambda: nn.ModuleList([tg.tanh]), "ModuleList: expected modules"), "no list": (lambda: nn.ModuleList(nn.Linear(1, 1)), "expected an iterable of modules"),
    "place": (lambda: nn.ModuleList()[0], "expected a place from 0 to -1"), "name": (lambda: nn.ModuleDict({"forward": nn.Linear(1, 1)}), "a name must be a word"),
    "dotted name": (lambda: nn.ModuleDict({"a.b": nn.Linear(1, 1)}), "a name must be a word"), "unknown name": (lambda: nn.ModuleDict()["a"], r"no module has the name 'a'; there are \[\]"),
    "no dict": (lambda: nn.ModuleDict([nn.Linear(1, 1)]), "expected a dict of modules"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(tg.TinygradError, match=words):
        call()
