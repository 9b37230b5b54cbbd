"""Windows, convolution and pooling against plain loops and recorded figures of PyTorch.

The primitives: tests/test_primitives.py.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops.windows import unwindows, windows

TORCH = np.load(Path(__file__).parent / "data" / "torch_layers.npz")
# lengths, size, stride, dilation
GRIDS: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
    ((7,), (3,), (1,), (1,)),
    ((9,), (2,), (3,), (4,)),
    ((4,), (4,), (2,), (1,)),
    ((5,), (1,), (2,), (3,)),
    ((5, 6), (2, 3), (1, 2), (3, 1)),
    ((6, 4), (3, 1), (3, 1), (1, 2)),
    ((3, 4, 5), (2, 2, 3), (1, 2, 1), (2, 1, 2)),
]


def counts(lengths: Any, size: Any, stride: Any, dilation: Any) -> list[int]:
    """The number of windows on each axis, by trying every start."""
    return [
        sum(1 for start in range(0, n, s) if start + d * (k - 1) < n)
        for n, k, s, d in zip(lengths, size, stride, dilation, strict=True)
    ]


def places(counts: Any, size: Any, stride: Any, dilation: Any) -> Any:
    """Every (window, element of it, place of that element on the axes)."""
    for i in itertools.product(*map(range, counts)):
        for j in itertools.product(*map(range, size)):
            yield (
                i,
                j,
                tuple(a * s + b * d for a, b, s, d in zip(i, j, stride, dilation, strict=True)),
            )


# --- windows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_windows_and_their_transpose(grid: Any, rng: np.random.Generator) -> None:
    lengths, size, stride, dilation = grid
    x = rng.normal(size=(2, 3, *lengths))
    m = counts(*grid)
    parts = rng.normal(size=(2, 3, *m, *size))
    expected, added = np.full(parts.shape, np.nan), np.zeros(x.shape)
    for i, j, at in places(m, size, stride, dilation):
        expected[(slice(None), slice(None), *i, *j)] = x[(slice(None), slice(None), *at)]
        added[(slice(None), slice(None), *at)] += parts[(slice(None), slice(None), *i, *j)]
    np.testing.assert_array_equal(windows(tg.tensor(x), size, stride, dilation).numpy(), expected)
    np.testing.assert_allclose(
        unwindows(tg.tensor(parts), lengths, stride, dilation).numpy(),
        added,
        rtol=1e-13,
        atol=1e-14,
    )


def test_windows_with_one_number_for_all_axes(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.normal(size=(5, 7)))
    np.testing.assert_array_equal(windows(x, 3, 2).numpy(), windows(x, (3,), (2,), (1,)).numpy())
    np.testing.assert_array_equal(
        windows(x, [2, 3], 2, 1).numpy(), windows(x, (2, 3), (2, 2), (1, 1)).numpy()
    )


# --- convolution ----------------------------------------------------------------------------------------------------------

# shapes of x and of the weight, settings
SETTINGS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "conv1d plain": ((3, 4, 9), (5, 4, 3), {}),
    "conv1d all": ((3, 4, 11), (6, 2, 3), {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}),
    "conv1d depthwise": ((2, 3, 7), (3, 1, 2), {"groups": 3, "padding": 1}),
    "conv2d plain": ((2, 3, 6, 5), (4, 3, 3, 2), {}),
    "conv2d all": (
        (2, 4, 8, 7),
        (6, 2, 3, 2),
        {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 3), "groups": 2},
    ),
    "conv2d point": ((2, 3, 4, 3), (5, 3, 1, 1), {"stride": 2}),
}


def pair(value: Any, k: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * k


def convolved(
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Number by number."""
    k = x.ndim - 2
    stride, padding, dilation = pair(stride, k), pair(padding, k), pair(dilation, k)
    lengths, size = x.shape[2:], weight.shape[2:]
    m = counts([n + 2 * p for n, p in zip(lengths, padding, strict=True)], size, stride, dilation)
    out = np.zeros((len(x), len(weight), *m))
    inner, outer = weight.shape[1], len(weight) // groups
    for n, o in itertools.product(range(len(x)), range(len(weight))):
        out[n, o] = bias[o]
        for i, j, at in places(m, size, stride, dilation):
            inside = tuple(a - p for a, p in zip(at, padding, strict=True))
            if all(0 <= a < length for a, length in zip(inside, lengths, strict=True)):
                for c in range(inner):
                    out[(n, o, *i)] += x[(n, o // outer * inner + c, *inside)] * weight[(o, c, *j)]
    return out


def function(name: str) -> Any:
    return getattr(tg, name.split()[0])


@pytest.mark.parametrize("name", SETTINGS)
def test_convolution_against_loops(name: str, rng: np.random.Generator) -> None:
    shape, weight, settings = SETTINGS[name]
    arrays = [rng.normal(size=shape), rng.normal(size=weight), rng.normal(size=weight[0])]
    expected = convolved(*arrays, **settings)
    np.testing.assert_allclose(
        function(name)(*map(tg.tensor, arrays), **settings).numpy(),
        expected,
        rtol=1e-12,
        atol=1e-12,
    )
    without = function(name)(*map(tg.tensor, arrays[:2]), **settings).numpy()
    np.testing.assert_allclose(
        without + arrays[2].reshape(-1, *[1] * (len(shape) - 2)), expected, rtol=1e-12, atol=1e-12
    )
    single = function(name)(*[tg.tensor(a, dtype=np.float32) for a in arrays], **settings)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-4, atol=1e-5)


def check_against_torch(name: str, call: Any, keys: list[str]) -> None:
    inputs = [tg.tensor(TORCH[f"{name}/{k}"], requires_grad=True) for k in keys]
    out = call(*inputs)
    np.testing.assert_allclose(out.numpy(), TORCH[f"{name}/out"], rtol=1e-11, atol=1e-12)
    out.backward(TORCH[f"{name}/seed"])
    for key, x in zip(keys, inputs, strict=True):
        np.testing.assert_allclose(
            x.grad.numpy(), TORCH[f"{name}/d {key}"], rtol=1e-11, atol=1e-12, err_msg=key
        )


@pytest.mark.parametrize("name", SETTINGS)
def test_convolution_against_torch(name: str) -> None:
    check_against_torch(
        name, lambda *xs: function(name)(*xs, **SETTINGS[name][2]), ["x", "weight", "bias"]
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_gradients_of_convolution(name: str, rng: np.random.Generator) -> None:
    _, weight, settings = SETTINGS[name]
    channels = weight[1] * settings.get("groups", 1)
    small = {"conv1d": (2, channels, 6), "conv2d": (1, channels, 4, 4)}[name.split()[0]]
    inputs = [rng.normal(size=small), rng.normal(size=weight), rng.normal(size=weight[0])]
    tg.gradcheck(lambda *xs: function(name)(*xs, **settings), *inputs, order=2)


def test_causal_convolution_by_padding_one_side(rng: np.random.Generator) -> None:
    x, w = tg.tensor(rng.normal(size=(1, 2, 6))), tg.tensor(rng.normal(size=(2, 2, 3)))
    before = ((0, 0), (0, 0), (4, 0))
    y = tg.conv1d(tg.pad(x, before), w, dilation=2).numpy()
    changed = x.numpy().copy()
    changed[..., 4:] = 9.0
    z = tg.conv1d(tg.pad(tg.tensor(changed), before), w, dilation=2).numpy()
    assert y.shape == (1, 2, 6)
    np.testing.assert_array_equal(z[..., :4], y[..., :4])
    assert (z[..., 4:] != y[..., 4:]).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_of_an_empty_batch(groups: int) -> None:
    w = tg.tensor(np.ones((4, 2, 3, 3)), requires_grad=True)
    y = tg.conv2d(tg.tensor(np.zeros((0, 2 * groups, 5, 5))), w, groups=groups)
    assert y.shape == (0, 4, 3, 3)
    y.sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.zeros((4, 2, 3, 3)))


def test_convolution_traced_and_on_arrays(rng: np.random.Generator) -> None:
    x, w, b = rng.normal(size=(2, 3, 5, 5)), rng.normal(size=(4, 3, 2, 2)), rng.normal(size=4)
    expected = tg.conv2d(tg.tensor(x), tg.tensor(w), tg.tensor(b), padding=1).numpy()
    (traced,) = tg.trace(lambda *xs: tg.conv2d(*xs, padding=1), x, w, b)(x, w, b)
    np.testing.assert_array_equal(traced, expected)
    np.testing.assert_array_equal(tg.conv2d(x, w, b, padding=1), expected)
    (traced,) = tg.trace(lambda x: tg.max_pool2d(x, 2), x)(x)
    np.testing.assert_array_equal(traced, tg.max_pool2d(tg.tensor(x), 2).numpy())


# --- pooling --------------------------------------------------------------------------------------------------------------

POOLS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "max_pool1d plain": ((2, 3, 9), {"size": 2}),
    "max_pool1d all": ((2, 3, 9), {"size": 4, "stride": 2, "padding": 2, "dilation": 2}),
    "max_pool2d plain": ((2, 3, 7, 6), {"size": (3, 2)}),
    "max_pool2d all": (
        (2, 3, 8, 9),
        {"size": 3, "stride": (1, 2), "padding": 1, "dilation": (2, 1)},
    ),
    "avg_pool1d plain": ((2, 3, 9), {"size": 2}),
    "avg_pool1d all": (
        (2, 3, 9),
        {"size": 4, "stride": 3, "padding": 2, "count_include_pad": False},
    ),
    "avg_pool2d plain": ((2, 3, 7, 6), {"size": (3, 2)}),
    "avg_pool2d all": ((2, 3, 8, 9), {"size": 3, "stride": (1, 2), "padding": 1}),
    "avg_pool2d inside": (
        (2, 3, 8, 9),
        {"size": 3, "stride": (1, 2), "padding": (1, 0), "count_include_pad": False},
    ),
}


def pooled(
    name: str,
    x: Any,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    count_include_pad: bool = True,
) -> Any:
    k = x.ndim - 2
    size, padding, dilation = pair(size, k), pair(padding, k), pair(dilation, k)
    stride = size if stride is None else pair(stride, k)
    lengths = x.shape[2:]
    m = counts([n + 2 * p for n, p in zip(lengths, padding, strict=True)], size, stride, dilation)
    seen: dict[tuple[int, ...], list[Any]] = {}
    for i, _, at in places(m, size, stride, dilation):
        inside = tuple(a - p for a, p in zip(at, padding, strict=True))
        if all(0 <= a < length for a, length in zip(inside, lengths, strict=True)):
            seen.setdefault(i, []).append(x[(slice(None), slice(None), *inside)])
    out = np.full((*x.shape[:2], *m), np.nan)
    for i, values in seen.items():
        whole = int(np.prod(size)) if count_include_pad else len(values)
        out[(slice(None), slice(None), *i)] = (
            np.max(values, axis=0) if name.startswith("max") else sum(values) / whole
        )
    return out


@pytest.mark.parametrize("name", POOLS)
def test_pooling_against_loops(name: str, rng: np.random.Generator) -> None:
    shape, settings = POOLS[name]
    x = rng.normal(size=shape) - 3  # below zero, so that padding by zeros would show
    np.testing.assert_allclose(
        function(name)(tg.tensor(x), **settings).numpy(), pooled(name, x, **settings), rtol=1e-12
    )


@pytest.mark.parametrize("name", POOLS)
def test_pooling_against_torch(name: str) -> None:
    """The values are few integers: the largest ones tie, and the gradient goes to the first."""
    check_against_torch(name, lambda x: function(name)(x, **POOLS[name][1]), ["x"])


@pytest.mark.parametrize("name", POOLS)
def test_gradients_of_pooling(name: str, rng: np.random.Generator) -> None:
    shape, settings = POOLS[name]
    x = rng.permuted(np.linspace(-2, 2, int(np.prod(shape)))).reshape(shape)[:1, :2]
    tg.gradcheck(lambda x: function(name)(x, **settings), x, order=2)


def test_pooling_keeps_float32_and_shows_nan() -> None:
    x = tg.tensor([[[1.0, np.nan, 3.0, 4.0]]])
    out = tg.max_pool1d(x, 2)
    assert out.dtype == np.float32 and np.isnan(out.numpy()[0, 0, 0]) and out.numpy()[0, 0, 1] == 4
    for settings in ({}, {"padding": 1}, {"padding": 1, "count_include_pad": False}):
        assert tg.avg_pool1d(x, 2, **settings).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.bool_])
def test_means_of_integers_do_not_overflow(dtype: Any) -> None:
    x = np.full((1, 1, 4, 4), 200).astype(dtype)
    for settings in ({}, {"padding": 1, "count_include_pad": False}, {"ceil_mode": True}):
        out = tg.avg_pool2d(tg.tensor(x), 3, 2, **settings)
        assert out.dtype == np.float32
        np.testing.assert_array_equal(out.numpy(), np.full(out.shape, x[0, 0, 0, 0]))


def test_a_window_of_more_than_a_few_elements_is_added_up_alike(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 50))
    found = tg.avg_pool1d(tg.tensor(x), 20, 3).numpy()
    expected = np.stack([x[..., k : k + 20].mean(-1) for k in range(0, 31, 3)], -1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# --- errors ---------------------------------------------------------------------------------------------------------------


def ones(*shape: int) -> Any:
    return tg.tensor(np.ones(shape))


ERRORS: dict[str, tuple[Any, str]] = {
    "axes of x": (lambda: tg.conv2d(ones(3, 5, 5), ones(2, 3, 3, 3)), r"conv2d: expected x of shape \(batch, channels, height, width\).*\(3, 5, 5\)"),
    "axes of weight": (lambda: tg.conv1d(ones(1, 3, 5), ones(2, 3)), r"conv1d: expected x of shape \(batch, channels, length\).*\(2, 3\)"),
    "channels": (lambda: tg.conv1d(ones(1, 3, 5), ones(2, 4, 2)), r"conv1d: x has 3 channels, the weight is for 4 in each of 1 group"),
    "groups": (lambda: tg.conv1d(ones(1, 4, 5), ones(3, 2, 2), groups=2), r"3 output channels, which 2 groups do not divide"),
    "no groups": (lambda: tg.conv1d(ones(1, 4, 5), ones(3, 2, 2), groups=0), r"groups must be an integer of at least 1"),
    "bias": (lambda: tg.conv1d(ones(1, 3, 5), ones(2, 3, 2), ones(3)), r"expected a bias of shape \(2,\); found \(3,\)"),
    "stride": (lambda: tg.conv2d(ones(1, 3, 5, 5), ones(2, 3, 2, 2), stride=0), r"conv2d: stride must be an integer of at least 1, or a tuple of 2"),
    "padding": (lambda: tg.conv2d(ones(1, 3, 5, 5), ones(2, 3, 2, 2), padding=(1,)), r"padding must be .* or a tuple of 2 of them; found \(1,\)"),
    "window": (lambda: tg.conv1d(ones(1, 3, 3), ones(2, 3, 3), padding=1, dilation=3),
               r"conv1d: a window of size 3 with dilation 3 covers 7 places; axis -1 of shape \(1, 3, 5\) has 5 \(shape \(1, 3, 3\) before padding\)"),
    "windows": (lambda: windows(ones(2, 3), 4), r"windows\(float64\(2, 3\).*covers 4 places; axis -1 of shape \(2, 3\) has 3"),
    "too many axes": (lambda: windows(ones(3), (2, 2)), r"windows of 2 axes need a tensor that has as many; found shape \(3,\)"),
    "no axes": (lambda: windows(ones(3), ()), r"size must be an integer of at least 1"),
    "unwindows": (lambda: unwindows(ones(3, 2), 5), r"on axes of sizes \(5,\) there are \(4,\) windows of size \(2,\); found \(3,\)"),
    "unwindows axes": (lambda: unwindows(ones(3), 5), r"expected 1 axes of positions and 1 of windows"),
    "pool axes": (lambda: tg.max_pool1d(ones(3, 5), 2), r"max_pool1d: expected x of shape \(batch, channels, length\); found \(3, 5\)"),
    "pool padding": (lambda: tg.avg_pool1d(ones(1, 3, 5), 3, padding=2), r"avg_pool1d: padding \(2,\) is more than half of size \(3,\)"),
    "pool size": (lambda: tg.max_pool2d(ones(1, 3, 5, 1), 2), r"max_pool2d: a window of size 2 with dilation 1 covers 2 places; axis -1"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    make, message = ERRORS[name]
    with pytest.raises(tg.ShapeError, match=message):
        make()


def test_largest_of_integers_is_refused() -> None:
    with pytest.raises(tg.DtypeError, match="max_pool1d: expected floating numbers; found int64"):
        tg.max_pool1d(tg.tensor(np.ones((1, 1, 4), np.int64)), 2)
