"""Convolution and pooling as layers; the functions are in ``ops/windows.py``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..module import Module, Parameter
from ..ops.windows import (
    avg_pool1d,
    avg_pool2d,
    conv1d,
    conv2d,
    max_pool1d,
    max_pool2d,
    settings_of,
)


class _Convolution(Module):
    """What Conv1d and Conv2d share: `axes` says over how many axes."""

    axes: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        name = type(self).__name__
        size = (
            tuple(kernel_size)
            if isinstance(kernel_size, (tuple, list))
            else (kernel_size,) * self.axes
        )
        if len(size) != self.axes or not all(
            isinstance(n, (int, np.integer)) and n >= 1 for n in (*size, in_channels, out_channels)
        ):
            raise ShapeError(
                f"{name}: expected channels of at least 1 and a kernel_size of {self.axes} size(s) of at least 1; "
                f"found in_channels={in_channels}, out_channels={out_channels}, kernel_size={kernel_size}"
            )
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"{name}: groups must divide the channels; found {groups} for {in_channels} in and {out_channels} out"
            )
        settings_of(name, self.axes, stride=stride, dilation=dilation)
        settings_of(name, self.axes, 0, padding=padding)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        rng = init.generator(rng)
        shape = (out_channels, in_channels // groups, *size)
        bound = math.prod(shape[1:]) ** -0.5
        self.weight = Parameter(init.uniform(shape, bound, rng=rng, dtype=dtype))
        self.bias = (
            Parameter(init.uniform((out_channels,), bound, rng=rng, dtype=dtype)) if bias else None
        )

    def forward(self, x: Any) -> Any:
        """Convolve x of shape (batch, in_channels, ...) to (batch, out_channels, ...)."""
        convolve = conv1d if self.axes == 1 else conv2d
        return convolve(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Conv1d(_Convolution):
    """Convolution along one axis: see `tinygrad_rnn.conv1d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int
        Size of the window.
    stride, padding, dilation, groups : int
        As in `conv1d`.
    bias : bool
        Whether there is a bias.
    rng : numpy Generator or int, optional
        For first values: the weight (out_channels, in_channels / groups, size) and the bias are
        drawn uniformly from ±1/sqrt(in_channels / groups * size), as in PyTorch.
    dtype : dtype
        The dtype of the parameters.
    """

    axes = 1


class Conv2d(_Convolution):
    """Convolution over height and width: see `tinygrad_rnn.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int or (int, int)
        Rows and columns of the window.
    stride, padding, dilation : int or (int, int)
        As in `conv2d`.
    groups : int
        As in `conv2d`.
    bias : bool
        Whether there is a bias.
    rng : numpy Generator or int, optional
        For first values: the weight (out_channels, in_channels / groups, rows, columns) and the
        bias are drawn uniformly from ±1/sqrt(in_channels / groups * rows * columns), as in PyTorch.
    dtype : dtype
        The dtype of the parameters.
    """

    axes = 2


def _checked(pool: Module, padding: Any, **settings: Any) -> None:
    """Raise an error unless these are settings of a pool."""
    name = type(pool).__name__
    axes = int(name[-2])  # MaxPool1d
    settings_of(
        name,
        axes,
        **{
            key: value for key, value in settings.items() if not (key == "stride" and value is None)
        },
    )
    settings_of(name, axes, 0, padding=padding)


class _MaxPool(Module):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1
    ) -> None:
        _checked(self, padding, kernel_size=kernel_size, stride=stride, dilation=dilation)
        self.kernel_size, self.stride, self.padding, self.dilation = (
            kernel_size,
            stride,
            padding,
            dilation,
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window along the last axis.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int
        As in `max_pool1d`, where kernel_size is called size.
    """

    def forward(self, x: Any) -> Any:
        """Pool x of shape (batch, channels, length) to (batch, channels, new length)."""
        return max_pool1d(x, self.kernel_size, self.stride, self.padding, self.dilation)


class MaxPool2d(_MaxPool):
    """The largest element of each window over height and width.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int or (int, int)
        As in `max_pool2d`, where kernel_size is called size.
    """

    def forward(self, x: Any) -> Any:
        """Pool x of shape (batch, channels, height, width); the last two axes shrink."""
        return max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)


class _AvgPool(Module):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, count_include_pad: bool = True
    ) -> None:
        _checked(self, padding, kernel_size=kernel_size, stride=stride)
        self.kernel_size, self.stride, self.padding, self.count_include_pad = (
            kernel_size,
            stride,
            padding,
            count_include_pad,
        )


class AvgPool1d(_AvgPool):
    """The mean of each window along the last axis.

    Parameters
    ----------
    kernel_size, stride, padding : int
    count_include_pad : bool
        As in `avg_pool1d`, where kernel_size is called size.
    """

    def forward(self, x: Any) -> Any:
        """Pool x of shape (batch, channels, length) to (batch, channels, new length)."""
        return avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.count_include_pad)


class AvgPool2d(_AvgPool):
    """The mean of each window over height and width.

    Parameters
    ----------
    kernel_size, stride, padding : int or (int, int)
    count_include_pad : bool
        As in `avg_pool2d`, where kernel_size is called size.
    """

    def forward(self, x: Any) -> Any:
        """Pool x of shape (batch, channels, height, width); the last two axes shrink."""
        return avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.count_include_pad)
