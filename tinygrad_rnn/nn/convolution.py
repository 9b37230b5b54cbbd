"""Convolution as layers, also transposed; the functions are in ``ops/windows.py`` and ``ops/transposed.py``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError, TinygradError
from ..module import Module, Parameter
from ..ops.checks import shown
from ..ops.padding import CALLED, pad
from ..ops.transposed import conv_transpose1d, conv_transpose2d
from ..ops.windows import borders_of, conv1d, conv2d, settings_of


class _Windows(Module):
    """What convolutions and their transposes share: `axes` says over how many axes."""

    axes: int
    transposed = False

    def _made(
        self,
        in_channels: Any,
        out_channels: Any,
        kernel_size: Any,
        groups: Any,
        bias: bool,
        rng: Any,
        dtype: Any,
    ) -> tuple[int, ...]:
        """Make weight and bias, and return the size of the window."""
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
        rng = init.generator(rng)
        first, second = (
            (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        )
        shape = (first, second // groups, *size)
        bound = math.prod(shape[1:]) ** -0.5
        self.weight = Parameter(init.uniform(shape, bound, rng=rng, dtype=dtype))
        self.bias = (
            Parameter(init.uniform((out_channels,), bound, rng=rng, dtype=dtype)) if bias else None
        )
        return size


class _Convolution(_Windows):
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
        padding_mode: str = "zeros",
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        name = type(self).__name__
        size = self._made(in_channels, out_channels, kernel_size, groups, bias, rng, dtype)
        settings_of(name, self.axes, stride=stride, dilation=dilation)
        self._widths = borders_of(name, padding, size, stride, dilation)
        if padding_mode not in _BORDERS:
            raise TinygradError(
                f"{name}: padding_mode must be one of {', '.join(map(repr, _BORDERS))}; found {shown(padding_mode)}"
            )
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.padding_mode = padding_mode

    def forward(self, x: Any) -> Any:
        """Convolve x of shape (batch, in_channels, ...) to (batch, out_channels, ...)."""
        widths: Any = self._widths
        if self.padding_mode != "zeros" and any(map(any, widths)):
            x = pad(x, ((0, 0), (0, 0), *widths), mode=_BORDERS[self.padding_mode])
            widths = 0
        convolve = conv1d if self.axes == 1 else conv2d
        return convolve(x, self.weight, self.bias, self.stride, widths, self.dilation, self.groups)


# modes of padding as PyTorch calls them, and what `pad` calls them
_BORDERS = {**CALLED, "reflect": "reflect"}


class Conv1d(_Convolution):
    """Convolution along one axis: see `tinygrad_rnn.conv1d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int
        Size of the window.
    stride, dilation, groups : int
    padding : int, ((before, after),), "same" or "valid"
        As in `conv1d`.
    bias : bool
        Whether there is a bias.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What stands in the padding: zeros, or what `tinygrad_rnn.pad` puts there with the modes
        "reflect", "edge" and "wrap".
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
    stride, dilation : int or (int, int)
        As in `conv2d`.
    padding : int, (int, int), a pair (before, after) for each axis, "same" or "valid"
        As in `conv2d`.
    groups : int
        As in `conv2d`.
    bias : bool
        Whether there is a bias.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        As in `Conv1d`.
    rng : numpy Generator or int, optional
        For first values: the weight (out_channels, in_channels / groups, rows, columns) and the
        bias are drawn uniformly from ±1/sqrt(in_channels / groups * rows * columns), as in PyTorch.
    dtype : dtype
        The dtype of the parameters.
    """

    axes = 2


class _Transposed(_Windows):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        *,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        name = type(self).__name__
        self._made(in_channels, out_channels, kernel_size, groups, bias, rng, dtype)
        settings_of(name, self.axes, stride=stride, dilation=dilation)
        settings_of(name, self.axes, 0, padding=padding, output_padding=output_padding)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.output_padding = output_padding

    def forward(self, x: Any) -> Any:
        """Map x of shape (batch, in_channels, ...) to (batch, out_channels, ...)."""
        convolve = conv_transpose1d if self.axes == 1 else conv_transpose2d
        settings = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return convolve(x, self.weight, self.bias, *settings)


class ConvTranspose1d(_Transposed):
    """The transpose of a convolution along one axis: see `tinygrad_rnn.conv_transpose1d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int
        Size of the window.
    stride, padding, output_padding, groups, dilation : int
        As in `conv_transpose1d`.
    bias : bool
        Whether there is a bias.
    rng : numpy Generator or int, optional
        For first values: the weight (in_channels, out_channels / groups, size) and the bias are
        drawn uniformly from ±1/sqrt(out_channels / groups * size), as in PyTorch.
    dtype : dtype
        The dtype of the parameters.
    """

    axes = 1


class ConvTranspose2d(_Transposed):
    """The transpose of a convolution over height and width: see `tinygrad_rnn.conv_transpose2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int or (int, int)
        Rows and columns of the window.
    stride, padding, output_padding, dilation : int or (int, int)
    groups : int
        As in `conv_transpose2d`.
    bias : bool
        Whether there is a bias.
    rng : numpy Generator or int, optional
        For first values, as in `ConvTranspose1d`.
    dtype : dtype
        The dtype of the parameters.
    """

    axes = 2
