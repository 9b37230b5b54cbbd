"""Training rules: SGD, RMSprop, Adagrad, Adam, AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tensor import Tensor
from ..ops.checks import flag, number, shown
from .given import AMOUNT, FRACTION, Number
from .optimizer import Optimizer


class _WithMomentum(Optimizer):
    """A rule that may move on with a part of its last change."""

    elementwise = True
    momentum = Number(FRACTION)


class SGD(_WithMomentum):
    """Stochastic gradient descent, with momentum as in PyTorch.

    v = momentum * v + g; p = p - lr * v.

    Parameters
    ----------
    parameters : iterable of Tensor
        What is trained.
    lr : float
        The learning rate.
    momentum : float
        In [0, 1): how much of the velocity v stays at each step.
    nesterov : bool
        Whether to look one step ahead: p = p - lr * (g + momentum * v) (Nesterov 1983, in the form
        of Sutskever et al. 2013).
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum, self.nesterov = momentum, flag(nesterov, "SGD: nesterov")
        if nesterov and not momentum:
            raise TinygradError(
                "SGD: nesterov looks ahead by the momentum, which is 0; give a momentum such as 0.9"
            )

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return ("velocity",) if self.momentum else ()

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        """See `Optimizer`."""
        if not self.momentum:
            return (-rates[0] * g,)
        velocity = self.momentum * buffers[0] + g
        ahead = g + self.momentum * velocity if self.nesterov else velocity
        return -rates[0] * ahead, velocity


class RMSprop(_WithMomentum):
    """Steps scaled by a running mean of the squared gradient (Tieleman and Hinton 2012).

    As in PyTorch, eps is added to the root.

    Parameters
    ----------
    parameters : iterable of Tensor
        What is trained.
    lr : float
        The learning rate.
    alpha : float
        In [0, 1): how much of the running mean stays at each step.
    eps : float
        Keeps the division finite.
    momentum : float
        In [0, 1): the momentum of the scaled steps.
    centered : bool
        Whether to scale by the running variance: the mean of the squares less the square of the
        mean (Graves 2013).
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    squares = ("squares",)
    alpha = Number(FRACTION)
    eps = Number(AMOUNT)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.alpha, self.momentum, self.eps, self.centered = (
            alpha,
            momentum,
            eps,
            flag(centered, "RMSprop: centered"),
        )

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return (
            "squares",
            *(["means"] if self.centered else []),
            *(["velocity"] if self.momentum else []),
        )

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        """See `Optimizer`."""
        held = dict(zip(self.buffers(), buffers, strict=True))
        held["squares"] = spread = self.alpha * held["squares"] + (1 - self.alpha) * (g * g)
        if self.centered:
            held["means"] = mean = self.alpha * held["means"] + (1 - self.alpha) * g
            spread = np.maximum(spread - mean * mean, 0)  # rounding may leave it below zero
        g = g / (np.sqrt(spread) + self.eps)
        if self.momentum:
            held["velocity"] = g = self.momentum * held["velocity"] + g
        return -rates[0] * g, *held.values()


class Adagrad(Optimizer):
    """Steps scaled by the root of the sum of all squared gradients so far, as in PyTorch.

    Duchi, Hazan and Singer 2011.

    Parameters
    ----------
    parameters : iterable of Tensor
        What is trained.
    lr : float
        The learning rate.
    lr_decay : float
        Step t (from 0) uses lr / (1 + t * lr_decay).
    eps : float
        Keeps the division finite.
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    squares = ("sums",)
    elementwise = True
    lr_decay = Number(AMOUNT)
    eps = Number(AMOUNT)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        *,
        lr_decay: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.lr_decay, self.eps = lr_decay, eps

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return ("sums",)

    def rates(self, count: int) -> tuple[float, ...]:
        """See `Optimizer`."""
        return (self.lr / (1 + (count - 1) * self.lr_decay),)

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        """See `Optimizer`."""
        sums = buffers[0] + g * g
        return -rates[0] * g / (np.sqrt(sums) + self.eps), sums


class Adam(Optimizer):
    """Steps of about lr, scaled by running means of the gradient and of its square.

    Kingma and Ba 2015.

    Parameters
    ----------
    parameters : iterable of Tensor
        What is trained.
    lr : float
        The learning rate.
    betas : (float, float)
        In [0, 1): how much of each running mean stays at each step.
    eps : float
        Keeps the division finite.
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    elementwise = True
    squares = ("second",)
    eps = Number(AMOUNT)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        name = type(self).__name__
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TinygradError(f"{name}: betas must be two numbers; found {shown(betas)}")
        self.betas = (
            number(betas[0], f"{name}: betas[0]", FRACTION),
            number(betas[1], f"{name}: betas[1]", FRACTION),
        )
        self.eps = eps

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return ("first", "second")

    def rates(self, count: int) -> tuple[float, ...]:
        """See `Optimizer`."""
        b1, b2 = self.betas
        return self.lr / (1 - b1**count), 1 - b2**count

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        """See `Optimizer`."""
        (b1, b2), (first, second) = self.betas, buffers
        first = b1 * first + (1 - b1) * g
        second = b2 * second + (1 - b2) * (g * g)
        return -rates[0] * first / (np.sqrt(second / rates[1]) + self.eps), first, second


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    p shrinks by lr * weight_decay * p beside the step; the decay does not go through the running
    means.

    Parameters
    ----------
    parameters, lr, betas, eps
        As in `Adam`.
    weight_decay : float
        How much of a parameter the decay takes away, times lr.
    """

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)
