"""Sliding windows, and convolution, which is made of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Spec
from ..core.record import apply
from ..core.tensor import Tensor
from .checks import shown
from .define import operand, primitive
from .facts import Gather, Scatter
from .linear import matmul
from .shaping import INT
from .shifting import pad
from .views import Axis, Size, View

# --- windows and their transpose -----------------------------------------------------------------


def _positions(length: int, size: int, stride: int, dilation: int) -> int:
    """Return at how many places a window fits on an axis; zero or less if it fits nowhere."""
    return (length - dilation * (size - 1) - 1) // stride + 1


def windows_shape(x: Any, *, size: Any, stride: Any, dilation: Any) -> Spec:
    """Return the Spec of the windows of x, or raise a ShapeError if none fits."""
    if len(size) > x.ndim:
        raise ShapeError(
            f"windows of {len(size)} axes need a tensor that has as many; found shape {x.shape}"
        )
    lead, lengths = x.shape[: -len(size)], x.shape[-len(size) :]
    counts = [
        _positions(n, *setting) for n, *setting in zip(lengths, size, stride, dilation, strict=True)
    ]
    for i, count in enumerate(counts):
        if count < 1:
            raise ShapeError(
                f"a window of size {size[i]} with dilation {dilation[i]} covers {dilation[i] * (size[i] - 1) + 1} places; "
                f"axis {i - len(size)} of shape {x.shape} has {lengths[i]}"
            )
    return Spec((*lead, *counts, *size), x.dtype)


def _windows_rule(g: Any, like_x: Any, size: Any, stride: Any, dilation: Any) -> Any:
    return unwindows(g, like_x.shape[-len(size) :], stride, dilation)


def _windows_view(params: dict[str, Any], source: Sequence[Size], shape: Sequence[Size]) -> View:
    lead = len(source) - len(params["size"])
    axes = [Axis(((k, 1),)) for k in range(lead)]
    for k, steps in enumerate(zip(params["stride"], params["dilation"], strict=True), lead):
        axes.append(Axis(tuple(zip((k, k + len(source) - lead), steps, strict=True))))
    return View(tuple(axes), len(shape))


@primitive(
    _windows_rule,
    shape=windows_shape,
    linear="jointly",
    name="windows",
    examples=[
        ([(5,)], {"size": (2,), "stride": (1,), "dilation": (1,)}),
        ([(2, 7)], {"size": (3,), "stride": (2,), "dilation": (1,)}),
        ([(2, 8)], {"size": (2,), "stride": (3,), "dilation": (2,)}),
        ([(6,)], {"size": (2,), "stride": (3,), "dilation": (1,)}),
        ([(2, 4, 5)], {"size": (2, 3), "stride": (1, 2), "dilation": (2, 1)}),
        ([(0, 3)], {"size": (2,), "stride": (1,), "dilation": (1,)}),
    ],
    view=_windows_view,
    moves=Gather(),
)
def _windows(x: Any, *, size: Any, stride: Any, dilation: Any) -> Any:
    k = len(size)
    span = [d * (n - 1) + 1 for n, d in zip(size, dilation, strict=True)]
    every = np.lib.stride_tricks.sliding_window_view(x, span, axis=tuple(range(-k, 0)))
    steps: Any = (..., *(slice(None, None, n) for n in (*stride, *dilation)))
    return every[steps]


def windows(x: Any, size: Any, stride: Any = 1, dilation: Any = 1) -> Any:
    """Return the windows of a size that fit on the last axes of x, without copying.

    Parameters
    ----------
    x : Tensor, shape (..., n_1, ..., n_k)
    size : int or tuple of k ints
        An int: windows over the last axis.
    stride : int or tuple
        From one window to the next.
    dilation : int or tuple
        From one element of a window to the next.

    Returns
    -------
    Tensor, shape (..., m_1, ..., m_k, size_1, ..., size_k)
        ``out[..., i, j] == x[..., i * stride + j * dilation]``, with m = (n - dilation * (size - 1)
        - 1) // stride + 1. What is left over at the end of an axis is in no window.
    """
    k = len(size) if isinstance(size, (tuple, list)) else 1
    return apply(
        _windows.primitive,
        (x,),
        settings_of("windows", k, size=size, stride=stride, dilation=dilation),
    )


def _unwindows_shape(x: Any, *, shape: Any, stride: Any, dilation: Any) -> Spec:
    k = len(shape)
    if x.ndim < 2 * k:
        raise ShapeError(
            f"expected {k} axes of positions and {k} of windows at the end; found shape {x.shape}"
        )
    lead, counts, size = x.shape[: -2 * k], x.shape[-2 * k : -k], x.shape[-k:]
    expected = tuple(
        [_positions(n, *setting) for n, *setting in zip(shape, size, stride, dilation, strict=True)]
    )
    if counts != expected:
        raise ShapeError(
            f"on axes of sizes {tuple(shape)} there are {expected} windows of size {size}; found {counts} in shape {x.shape}"
        )
    return Spec((*lead, *shape), x.dtype)


def _unwindows_rule(g: Any, like_x: Any, shape: Any, stride: Any, dilation: Any) -> Any:
    return windows(g, like_x.shape[-len(shape) :], stride, dilation)


def _where_added(whole: Any, params: dict[str, Any], shape: Sequence[int]) -> Any:
    size = tuple(shape[len(shape) - len(params["shape"]) :])
    return _windows.primitive.forward(
        whole, size=size, stride=params["stride"], dilation=params["dilation"]
    )


@primitive(
    _unwindows_rule,
    shape=_unwindows_shape,
    linear="jointly",
    name="unwindows",
    examples=[
        ([(4, 2)], {"shape": (5,), "stride": (1,), "dilation": (1,)}),
        ([(2, 3, 3)], {"shape": (8,), "stride": (2,), "dilation": (1,)}),
        ([(2, 2, 2)], {"shape": (8,), "stride": (3,), "dilation": (2,)}),
        ([(2, 2, 2, 2, 3)], {"shape": (4, 5), "stride": (1, 2), "dilation": (2, 1)}),
        ([(0, 2, 2)], {"shape": (3,), "stride": (1,), "dilation": (1,)}),
    ],
    moves=Scatter(_where_added),
)
def _unwindows(x: Any, *, shape: Any, stride: Any, dilation: Any) -> Any:
    out = np.zeros(
        _unwindows_shape(x, shape=shape, stride=stride, dilation=dilation).shape, x.dtype
    )
    k = len(shape)
    counts, size = x.shape[-2 * k : -k], x.shape[-k:]
    # one addition for each element of a window: none of these meet
    for place in itertools.product(*map(range, size)):
        starts = [j * d for j, d in zip(place, dilation, strict=True)]
        target: Any = (
            ...,
            *(
                slice(start, start + s * (m - 1) + 1, s)
                for start, s, m in zip(starts, stride, counts, strict=True)
            ),
        )
        out[target] += x[(..., *place)]
    return out


def unwindows(x: Any, shape: Any, stride: Any = 1, dilation: Any = 1) -> Any:
    """Add windows up at the places where they lie: the transpose of `windows`.

    Parameters
    ----------
    x : Tensor, shape (..., m_1, ..., m_k, size_1, ..., size_k)
    shape : int or tuple of k ints
        Sizes (n_1, ..., n_k) of the axes that the windows lie on.
    stride, dilation : int or tuple
        As in `windows`.

    Returns
    -------
    Tensor, shape (..., n_1, ..., n_k)
    """
    k = len(shape) if isinstance(shape, (tuple, list)) else 1
    return apply(
        _unwindows.primitive,
        (x,),
        settings_of("unwindows", k, shape=shape, stride=stride, dilation=dilation),
    )


def settings_of(name: str, k: int, least: int = 1, **settings: Any) -> dict[str, tuple[int, ...]]:
    """Return each setting of windows over k axes as a tuple of k integers, none below `least`."""
    found = {}
    for key, value in settings.items():
        sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,) * k
        if len(sizes) == k and INT.issuperset(map(type, sizes)) and k and min(sizes) >= least:
            found[key] = sizes  # which is usual
            continue
        if (
            not sizes
            or len(sizes) != k
            or not all(
                isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= least
                for n in sizes
            )
        ):
            raise ShapeError(
                f"{name}: {key} must be an integer of at least {least}, or a tuple of {max(k, 1)} of them; found {value!r}"
            )
        found[key] = tuple([int(n) for n in sizes])
    return found


# --- convolution --------------------------------------------------------------------------------


def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Convolve along one axis, as PyTorch does: the weight is not reversed.

    Parameters
    ----------
    x : Tensor, shape (batch, in_channels, length)
    weight : Tensor, shape (out_channels, in_channels / groups, size)
    bias : Tensor, shape (out_channels,), optional
    stride, dilation : int
        As in `windows`.
    padding : int, ((before, after),), "same" or "valid"
        Zeros at both ends, or a pair of numbers of them: ``((2, 0),)`` is causal for a size of 3. "same":
        as many as leave the length as it is, for a stride of 1; "valid": none. Other borders than
        zeros are put around by `pad`.
    groups : int
        The channels are cut into so many groups, each convolved by itself; as many as channels:
        depthwise.

    Returns
    -------
    Tensor, shape (batch, out_channels, (length + 2 * padding - dilation * (size - 1) - 1) // stride
    + 1)
    """
    return _convolution("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Convolve over height and width, as PyTorch does: the weight is not reversed.

    Parameters
    ----------
    x : Tensor, shape (batch, in_channels, height, width)
    weight : Tensor, shape (out_channels, in_channels / groups, rows, columns)
    bias : Tensor, shape (out_channels,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int), a pair (before, after) for each axis, "same" or "valid"
    groups : int
        See `conv1d`.

    Returns
    -------
    Tensor, shape (batch, out_channels, new height, new width)
        Sizes as in `conv1d`.
    """
    return _convolution("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def _convolution(
    name: str,
    k: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Any:
    """Convolve by one matrix product for each group.

    It is one of (out, in * size) by (in * size, batch * positions).
    """
    layout = ("length",) if k == 1 else ("height", "width")
    x, weight = operand(x, name), operand(weight, f"{name}: weight")
    bias = None if bias is None else operand(bias, f"{name}: bias")
    if x.ndim != k + 2 or weight.ndim != k + 2:
        raise ShapeError(
            f"{name}: expected x of shape (batch, channels, {', '.join(layout)}) and a weight of shape (out, in / groups, "
            f"{', '.join(f'size_{n}' for n in layout)}); found {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    (groups,) = settings_of(name, 1, groups=groups)["groups"]
    (batch, channels), (out, inner), size = x.shape[:2], weight.shape[:2], tuple(weight.shape[2:])
    widths = borders_of(name, padding, size, stride, dilation)
    if channels != inner * groups:
        raise ShapeError(
            f"{name}: x has {channels} channels, the weight is for {inner} in each of {groups} group(s), so for {inner * groups}; "
            f"found shapes {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    if out % groups:
        raise ShapeError(
            f"{name}: the weight has {out} output channels, which {groups} groups do not divide"
        )
    if bias is not None and tuple(bias.shape) != (out,):
        raise ShapeError(f"{name}: expected a bias of shape ({out},); found {tuple(bias.shape)}")
    parts = fitting(name, x, bordered(x, widths), size=size, stride=stride, dilation=dilation)
    positions = tuple(parts.shape[2 : 2 + k])
    columns = parts.transpose((1, *range(2 + k, 2 + 2 * k), 0, *range(2, 2 + k))).reshape(
        (channels * math.prod(size), -1)
    )
    columns = _patches(columns, x, weight)
    if groups == 1:
        y = matmul(weight.reshape((out, -1)), columns)
    else:
        y = matmul(
            weight.reshape((groups, out // groups, -1)),
            columns.reshape((groups, inner * math.prod(size), -1)),
        )
    y = y.reshape((out, batch, *positions)).swapaxes(0, 1)
    return y if bias is None else y + bias.reshape((out, *[1] * k))


def _patches(columns: Any, x: Any, weight: Any) -> Any:
    """Return the columns; those of a constant, which are not recorded, with a name for pictures."""
    if isinstance(columns, np.ndarray) and columns.dtype == weight.dtype:
        columns = Tensor(columns)
    if isinstance(columns, Tensor) and columns.node is None:
        columns.name = f"patches of {getattr(x, 'name', None) or 'x'}"
    return columns


def borders_of(
    name: str, padding: Any, size: tuple[int, ...], stride: Any, dilation: Any
) -> tuple[tuple[int, int], ...]:
    """Return how much is put before and after each of the axes of windows."""
    k = len(size)
    if isinstance(padding, str):
        steps = settings_of(name, k, stride=stride, dilation=dilation)
        if padding == "valid":
            return ((0, 0),) * k
        if padding != "same" or any(n != 1 for n in steps["stride"]):
            raise ShapeError(
                f"{name}: padding must be numbers, 'valid', or 'same' with a stride of 1; found {padding!r} and stride {shown(stride)}"
            )
        spans = [d * (n - 1) for n, d in zip(size, steps["dilation"], strict=True)]
        return tuple([(n // 2, n - n // 2) for n in spans])
    if isinstance(padding, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in padding):
        pairs = [settings_of(name, 2, least=0, padding=p)["padding"] for p in padding]
        if len(pairs) != k:
            raise ShapeError(
                f"{name}: expected {k} pair(s) of padding, (before, after) for each axis; found {padding!r}"
            )
        return tuple([(a, b) for a, b in pairs])
    return tuple([(p, p) for p in settings_of(name, k, least=0, padding=padding)["padding"]])


def bordered(x: Any, widths: Any, value: float = 0.0) -> Any:
    """Return x with a border of a constant on its last axes."""
    around = ((0, 0),) * (x.ndim - len(widths)) + tuple(widths)
    return pad(x, around, value) if any(map(any, widths)) else x


def fit(name: str, x: Any, padded: Any, steps: dict[str, tuple[int, ...]]) -> None:
    """Raise an error unless a window fits on x after padding.

    It names the operation that was called and the shape that it was given.
    """
    try:
        windows_shape(Spec(padded.shape, padded.dtype), **steps)
    except ShapeError as error:
        given = "" if padded is x else f" (shape {tuple(x.shape)} before padding)"
        raise ShapeError(f"{name}: {error}{given}") from None


def fitting(name: str, x: Any, padded: Any, **settings: Any) -> Any:
    """Return the windows of x after padding; an error says what `fit` does."""
    settings = settings_of(name, len(settings["size"]), **settings)
    fit(name, x, padded, settings)
    return windows(padded, **settings)
