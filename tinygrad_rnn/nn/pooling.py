"""Pooling as layers; the functions are in ``ops/pooling.py``."""

from __future__ import annotations

from typing import Any

from ..module import Module
from ..ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from ..ops.windows import settings_of


def _checked(pool: Any, padding: Any, **settings: Any) -> None:
    """Raise an error unless these are settings of a pool."""
    name = type(pool).__name__
    axes = pool.axes
    settings_of(
        name,
        axes,
        **{
            key: value for key, value in settings.items() if not (key == "stride" and value is None)
        },
    )
    settings_of(name, axes, 0, padding=padding)


class _MaxPool(Module):
    axes: int

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> None:
        _checked(self, padding, kernel_size=kernel_size, stride=stride, dilation=dilation)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def forward(self, x: Any) -> Any:
        """Pool x of shape (batch, channels, ...); the axes after these shrink."""
        pool = max_pool1d if self.axes == 1 else max_pool2d
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class MaxPool1d(_MaxPool):
    """The largest element of each window along the last axis.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int
    ceil_mode : bool
        As in `max_pool1d`, where kernel_size is called size.
    """

    axes = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window over height and width.

    Parameters
    ----------
    kernel_size, stride, padding, dilation : int or (int, int)
    ceil_mode : bool
        As in `max_pool2d`, where kernel_size is called size.
    """

    axes = 2


class _AvgPool(Module):
    axes: int

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        count_include_pad: bool = True,
        ceil_mode: bool = False,
    ) -> None:
        _checked(self, padding, kernel_size=kernel_size, stride=stride)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad, self.ceil_mode = count_include_pad, ceil_mode

    def forward(self, x: Any) -> Any:
        """Pool x of shape (batch, channels, ...); the axes after these shrink."""
        pool = avg_pool1d if self.axes == 1 else avg_pool2d
        settings = (self.kernel_size, self.stride, self.padding)
        return pool(x, *settings, self.count_include_pad, self.ceil_mode)


class AvgPool1d(_AvgPool):
    """The mean of each window along the last axis.

    Parameters
    ----------
    kernel_size, stride, padding : int
    count_include_pad, ceil_mode : bool
        As in `avg_pool1d`, where kernel_size is called size.
    """

    axes = 1


class AvgPool2d(_AvgPool):
    """The mean of each window over height and width.

    Parameters
    ----------
    kernel_size, stride, padding : int or (int, int)
    count_include_pad, ceil_mode : bool
        As in `avg_pool2d`, where kernel_size is called size.
    """

    axes = 2


class _Adaptive(Module):
    axes: int
    pool: Any

    def __init__(self, output_size: Any) -> None:
        settings_of(type(self).__name__, self.axes, output_size=output_size)
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        """Pool x of shape (batch, channels, ...) to (batch, channels, *output_size)."""
        return type(self).pool(x, self.output_size)


class AdaptiveAvgPool1d(_Adaptive):
    """The means of as many parts of the last axis as are asked for.

    Parameters
    ----------
    output_size : int
        As size in `tinygrad_rnn.adaptive_avg_pool1d`.
    """

    axes, pool = 1, staticmethod(adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_Adaptive):
    """The means of as many parts of height and width as are asked for.

    Parameters
    ----------
    output_size : int or (int, int)
        As size in `tinygrad_rnn.adaptive_avg_pool2d`.
    """

    axes, pool = 2, staticmethod(adaptive_avg_pool2d)


class AdaptiveMaxPool1d(_Adaptive):
    """The largest elements of as many parts of the last axis as are asked for.

    Parameters
    ----------
    output_size : int
        As size in `tinygrad_rnn.adaptive_max_pool1d`.
    """

    axes, pool = 1, staticmethod(adaptive_max_pool1d)


class AdaptiveMaxPool2d(_Adaptive):
    """The largest elements of as many parts of height and width as are asked for.

    Parameters
    ----------
    output_size : int or (int, int)
        As size in `tinygrad_rnn.adaptive_max_pool2d`.
    """

    axes, pool = 2, staticmethod(adaptive_max_pool2d)
