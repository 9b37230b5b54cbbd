"""Layers that bring activations to one scale: LayerNorm, RMSNorm, GroupNorm, BatchNorm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.primitive import Spec
from ..core.tape import context
from ..core.tensor import Tensor
from ..module import Buffer, Module, Parameter
from ..ops.checks import size, sizes
from ..ops.define import operand
from ..ops.elementwise import reciprocal, sqrt, square
from ..recurrent.context import sequence_context
from ..recurrent.effects import draw, emit, stands_for_others


class LayerNorm(Module):
    """Each example brought to mean 0 and variance 1 over its last axes, then scaled and shifted.

    Ba, Kiros and Hinton 2016. y = weight * (x - mean) / sqrt(variance + eps) + bias, with the
    variance over the count (not the count less one).

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Sizes of the last axes, over which mean and variance are taken.
    eps : float
        Keeps the division finite.
    elementwise_affine : bool
        Whether there are a weight (1 at first) and a bias (0 at first), both of shape
        `normalized_shape`.
    bias : bool
        Whether there is a bias beside the weight.
    dtype : dtype
        The dtype of the parameters.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        shape = _last_axes("LayerNorm", normalized_shape)
        self.normalized_shape, self.eps = shape, _positive("LayerNorm", eps)
        self.weight = Parameter(np.ones(shape, dtype)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(shape, dtype)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Any:
        """Normalise x of shape (..., *normalized_shape); the shape stays."""
        x, axes = _ending(self, x)
        centred = x - x.mean(axis=axes, keepdims=True)
        y = centred / sqrt(square(centred).mean(axis=axes, keepdims=True) + self.eps)
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias


class RMSNorm(Module):
    """Each example divided by the root of the mean of its squares over its last axes, then scaled.

    Zhang and Sennrich 2019. y = weight * x / sqrt(mean(x * x) + eps).

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Sizes of the last axes, over which the mean is taken.
    eps : float, optional
        Keeps the division finite; by default the distance from 1 to the next number of the dtype of
        x, as in PyTorch.
    elementwise_affine : bool
        Whether there is a weight (1 at first) of shape `normalized_shape`.
    dtype : dtype
        The dtype of the weight.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        self.normalized_shape = _last_axes("RMSNorm", normalized_shape)
        self.eps = None if eps is None else _positive("RMSNorm", eps)
        self.weight = (
            Parameter(np.ones(self.normalized_shape, dtype)) if elementwise_affine else None
        )

    def forward(self, x: Any) -> Any:
        """Normalise x of shape (..., *normalized_shape); the shape stays."""
        x, axes = _ending(self, x)
        eps = float(np.finfo(x.dtype).eps) if self.eps is None else self.eps
        y = x * reciprocal(sqrt(square(x).mean(axis=axes, keepdims=True) + eps))
        return y if self.weight is None else y * self.weight


class GroupNorm(Module):
    """Groups of channels of each example brought to mean 0 and variance 1, then scaled and shifted.

    Wu and He 2018. With one group all channels share mean and variance; with as many groups as
    channels each has its own (instance normalisation).

    Parameters
    ----------
    num_groups, num_channels : int
        Into how many groups how many channels, on axis 1, are cut.
    eps : float
        Keeps the division finite.
    affine : bool
        Whether there are a weight (1 at first) and a bias (0 at first), both of shape
        (num_channels,).
    dtype : dtype
        The dtype of the parameters.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        self.num_groups, self.num_channels = sizes(
            "GroupNorm", num_groups=num_groups, num_channels=num_channels
        )
        if num_channels % num_groups:
            raise ShapeError(
                f"GroupNorm: num_groups must divide the channels; found {num_groups} for {num_channels}"
            )
        self.eps = _positive("GroupNorm", eps)
        self.weight = Parameter(np.ones(num_channels, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_channels, dtype)) if affine else None

    def forward(self, x: Any) -> Any:
        """Normalise x of shape (batch, num_channels, ...); the shape stays."""
        x = operand(x, "GroupNorm")
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ShapeError(
                f"GroupNorm: expected 2 axes or more, the second of size {self.num_channels}; found shape {tuple(x.shape)}"
            )
        shape = tuple(x.shape)
        channels = (self.num_groups, self.num_channels // self.num_groups, 1)
        groups = x.reshape((shape[0], *channels[:2], math.prod(shape[2:])))
        centred = groups - groups.mean(axis=(2, 3), keepdims=True)
        scale = reciprocal(sqrt(square(centred).mean(axis=(2, 3), keepdims=True) + self.eps))
        # one number for each channel, so that all elements are multiplied once
        scale = scale if self.weight is None else scale * self.weight.reshape(channels)
        y = centred * scale
        y = y if self.bias is None else y + self.bias.reshape(channels)
        return y.reshape(shape)


def _last_axes(name: str, given: Any) -> tuple[int, ...]:
    """Return one or more sizes as a tuple."""
    shape = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if not shape or not all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 1 for n in shape
    ):
        raise ShapeError(
            f"{name}: normalized_shape must be one or more sizes of at least 1; found {given!r}"
        )
    return shape


def _ending(layer: Any, x: Any) -> tuple[Any, tuple[int, ...]]:
    """Return x, whose last axes are those of the layer, and these axes."""
    name, shape = type(layer).__name__, layer.normalized_shape
    x = operand(x, name)
    if tuple(x.shape[-len(shape) :]) != shape:
        raise ShapeError(
            f"{name}: expected the last axes to be {shape}; found shape {tuple(x.shape)}"
        )
    return x, tuple(range(-len(shape), 0))


class BatchNorm(Module):
    """Each channel brought to mean 0 and variance 1 over the batch, then scaled and shifted.

    Ioffe and Szegedy 2015. In training, mean and variance (over the count) are those of the batch,
    and the running statistics move towards them by `momentum`; in evaluation the running ones are
    used. As in PyTorch the running variance is over the count less one. A segment that is run again
    (`tg.checkpoint`, overlapping windows of `tg.tbptt`) does not move them twice.

    Parameters
    ----------
    num_features : int
        Size of axis 1, the channels.
    eps : float
        Keeps the division finite.
    momentum : float or None
        Share of the batch in the new running statistics; None: the plain mean over all batches
        seen.
    affine : bool
        Whether there are a weight (1 at first) and a bias (0 at first), both of shape
        (num_features,).
    dtype : dtype
        The dtype of parameters and statistics.

    Attributes
    ----------
    running_mean, running_var : Buffer, shape (num_features,)
        The running statistics.
    num_batches_tracked : Buffer, an int64 number
        How many batches they have seen.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        num_features = size(num_features, "BatchNorm: num_features")
        if momentum is not None and not 0 <= momentum <= 1:
            raise TinygradError(f"BatchNorm: momentum must be in [0, 1], or None; found {momentum}")
        self.num_features, self.eps, self.momentum = (
            num_features,
            _positive("BatchNorm", eps),
            momentum,
        )
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine else None
        self.running_mean = Buffer(np.zeros(num_features, dtype))
        self.running_var = Buffer(np.ones(num_features, dtype))
        self.num_batches_tracked = Buffer(np.zeros((), np.int64))

    def forward(self, x: Any) -> Any:
        """Normalise x of shape (batch, channels), (batch, channels, length) or one of images.

        Images are (batch, channels, height, width). The shape stays.
        """
        return self.normalised(x)

    def normalised(self, x: Any, steps: Sequence[BatchNorm] = ()) -> Any:
        """Return x normalised, with the running statistics of another one for each step.

        Parameters
        ----------
        x : Tensor or array
            As in `forward`.
        steps : sequence of BatchNorm, optional
            Those whose running statistics are those of each step, and of later ones those of the
            last; by default this one's are.
        """
        x = operand(x, "BatchNorm")
        if not 2 <= x.ndim <= 4 or x.shape[1] != self.num_features:
            raise ShapeError(
                f"BatchNorm: expected 2 to 4 axes, the second of size {self.num_features}; found shape {tuple(x.shape)}"
            )
        channels, places = (1, self.num_features, *[1] * (x.ndim - 2)), math.prod(x.shape[2:])
        norms = steps or (self,)

        def of_step() -> BatchNorm:
            return norms[min(context().mark.step or 0, len(norms) - 1)]

        if self.training:
            axes = (0, *range(2, x.ndim))
            mean = x.mean(axis=axes, keepdims=True)
            centred = x - mean
            variance = square(centred).mean(axis=axes, keepdims=True)
            statistics = (
                m.detach() if isinstance(m, Tensor) and not isinstance(m.array, Spec) else m
                for m in (mean, variance)
            )
            emit(
                lambda mean, variance, batch: of_step().track(mean, variance, batch * places),
                *statistics,
                batch=x.shape[0],
                what=_TRACKED,
                changes=lambda: [b for norm in norms for b in norm.tensors(Buffer)],
            )
        else:
            mean, variance = (
                _statistics(of_step, name, bool(steps)).reshape(channels)
                for name in ("running_mean", "running_var")
            )
            centred = x - mean
        y = centred / sqrt(variance + self.eps)
        y = y if self.weight is None else y * self.weight.reshape(channels)
        return y if self.bias is None else y + self.bias.reshape(channels)

    def track(self, mean: Any, variance: Any, count: int) -> None:
        """Move the running statistics towards those of a batch.

        Parameters
        ----------
        mean, variance : Tensor or array
            The statistics of the batch, with the variance over the count.
        count : int
            The number of values in each channel, at least 2.
        """
        if count < 2:
            raise ShapeError(
                f"BatchNorm: in training each channel needs at least 2 values; found {count}. For evaluation: module.eval()"
            )
        sequence = sequence_context()
        if sequence is not None and sequence.rerun:
            return
        batches = self.num_batches_tracked.item() + 1
        share = 1 / batches if self.momentum is None else self.momentum
        for running, found in (
            (self.running_mean, mean),
            (self.running_var, variance * (count / (count - 1))),
        ):
            values = found.numpy() if isinstance(found, Tensor) else found
            running.data = (1 - share) * running.numpy() + share * values.reshape(-1)
        self.num_batches_tracked.data = batches


def _statistics(of_step: Callable[[], BatchNorm], name: str, each: bool) -> Any:
    """Return a running statistic of the BatchNorm that is of the step.

    Where each step has one of its own, and one step stands for others, it is drawn at each.
    """
    here: Tensor = getattr(of_step(), name)
    if not each or not stands_for_others():
        return here
    return draw(_Statistic(of_step, name, here), here.shape, here.dtype, per="step", what=_TRACKED)


class _Statistic:
    """Gives a running statistic of the step that runs; `reads` is that of the first one."""

    def __init__(self, of_step: Callable[[], BatchNorm], name: str, reads: Tensor) -> None:
        self.of_step, self.name, self.reads = of_step, name, reads

    def __call__(self, shape: tuple[int, ...]) -> Any:
        return getattr(self.of_step(), self.name).numpy()


_TRACKED = "BatchNorm: the running statistics"


def _positive(name: str, eps: float) -> float:
    if not eps > 0:
        raise TinygradError(f"{name}: eps must be positive; found {eps}")
    return eps
