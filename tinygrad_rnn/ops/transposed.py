"""Transposed convolution: what the derivative of a convolution by its input computes."""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ShapeError
from .define import operand
from .linear import matmul
from .windows import bordered, settings_of, unwindows


def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """Convolve with the transpose of what `conv1d` does along one axis.

    It is the derivative of `conv1d` by its input, and makes an axis longer by the stride.

    Parameters
    ----------
    x : Tensor, shape (batch, in_channels, length)
    weight : Tensor, shape (in_channels, out_channels / groups, size)
    bias : Tensor, shape (out_channels,), optional
    stride, padding, dilation, groups : int
        Those of the convolution that is transposed, so that padding takes away at both ends.
    output_padding : int
        Places that are added at the end of the result, less than the stride or the dilation: several
        lengths have a convolution of one length.

    Returns
    -------
    Tensor, shape (batch, out_channels, (length - 1) * stride - 2 * padding + dilation * (size - 1) +
    output_padding + 1)
    """
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    return _transposed("conv_transpose1d", 1, x, weight, bias, output_padding, groups, settings)


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """Convolve with the transpose of what `conv2d` does over height and width.

    Parameters
    ----------
    x : Tensor, shape (batch, in_channels, height, width)
    weight : Tensor, shape (in_channels, out_channels / groups, rows, columns)
    bias : Tensor, shape (out_channels,), optional
    stride, padding, output_padding, dilation : int or (int, int)
    groups : int
        See `conv_transpose1d`.

    Returns
    -------
    Tensor, shape (batch, out_channels, new height, new width)
        Sizes as in `conv_transpose1d`.
    """
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    return _transposed("conv_transpose2d", 2, x, weight, bias, output_padding, groups, settings)


def _transposed(
    name: str,
    k: int,
    x: Any,
    weight: Any,
    bias: Any,
    output_padding: Any,
    groups: Any,
    settings: dict[str, Any],
) -> Any:
    """Multiply by the weights at each place, and add the windows up where they lie."""
    x, weight = operand(x, name), operand(weight, f"{name}: weight")
    bias = None if bias is None else operand(bias, f"{name}: bias")
    (groups,) = settings_of(name, 1, groups=groups)["groups"]
    if x.ndim != k + 2 or weight.ndim != k + 2 or x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"{name}: expected x with {k + 2} axes, (batch, channels, ...), and a weight of shape (channels, out / groups, ...); "
            f"found {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    (batch, channels), inner, size = x.shape[:2], weight.shape[1], tuple(weight.shape[2:])
    out = inner * groups
    if channels % groups:
        raise ShapeError(f"{name}: {groups} groups do not divide {channels} channels")
    if bias is not None and tuple(bias.shape) != (out,):
        raise ShapeError(f"{name}: expected a bias of shape ({out},); found {tuple(bias.shape)}")
    lengths = tuple(x.shape[2:])
    steps, spans, ends = _spread(name, lengths, size, output_padding, settings)
    rows = x.reshape((batch, groups, channels // groups, math.prod(lengths)))
    columns = weight.reshape((groups, channels // groups, inner * math.prod(size)))
    found = matmul(columns.swapaxes(1, 2), rows).reshape((batch, out, *size, *lengths))
    order = (0, 1, *range(2 + k, 2 + 2 * k), *range(2, 2 + k))
    y = unwindows(found.transpose(order), spans, *steps)
    y = bordered(y, [(0, max(0, end - n)) for n, (_, end) in zip(spans, ends, strict=True)])
    y = y[(..., *[slice(*pair) for pair in ends])]
    return y if bias is None else y + bias.reshape((out, *[1] * k))


def _spread(
    name: str,
    lengths: tuple[int, ...],
    size: tuple[int, ...],
    output_padding: Any,
    settings: dict[str, Any],
) -> tuple[Any, tuple[int, ...], list[tuple[int, int]]]:
    """Return stride and dilation, the sizes on which windows lie, and which part of them counts."""
    k = len(size)
    steps = settings_of(name, k, stride=settings["stride"], dilation=settings["dilation"])
    padding = settings_of(name, k, least=0, padding=settings["padding"])["padding"]
    extra = settings_of(name, k, least=0, output_padding=output_padding)["output_padding"]
    each = list(zip(extra, *steps.values(), strict=True))
    if any(e >= stride and e >= dilation for e, stride, dilation in each):
        raise ShapeError(
            f"{name}: output_padding {extra} must be less than the stride {steps['stride']} or the dilation {steps['dilation']}"
        )
    spans = [
        (n - 1) * stride + dilation * (m - 1) + 1
        for n, m, (_, stride, dilation) in zip(lengths, size, each, strict=True)
    ]
    ends = [(p, n + e - p) for n, e, p in zip(spans, extra, padding, strict=True)]
    if any(start >= end for start, end in ends):
        raise ShapeError(
            f"{name}: padding {padding} takes away all of the {tuple(spans)} places that there are"
        )
    return tuple(steps.values()), tuple(spans), ends
