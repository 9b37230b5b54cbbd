"""Training rules: SGD, RMSprop, Adagrad, Adam and what is made of it, Lion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.tensor import Tensor
from ..ops.checks import flag, number, shown
from .given import AMOUNT, FRACTION, Number
from .optimizer import Optimizer


def _pair(name: str, betas: Any) -> tuple[float, float]:
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TinygradError(f"{name}: betas must be two numbers; found {shown(betas)}")
    return (
        number(betas[0], f"{name}: betas[0]", FRACTION),
        number(betas[1], f"{name}: betas[1]", FRACTION),
    )


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
        self.betas, self.eps = _pair(type(self).__name__, betas), eps

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return ("first", "second")

    def rates(self, count: int) -> tuple[float, ...]:
        """See `Optimizer`."""
        b1, b2 = self.betas
        return self.lr / (1 - b1**count), 1 - b2**count

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        """See `Optimizer`."""
        first, second = self._means(g, *buffers)
        return -rates[0] * first / (np.sqrt(second / rates[1]) + self.eps), first, second

    def _means(self, g: Any, first: Any, second: Any) -> tuple[Any, Any]:
        """Return the running means of the gradient and of its square, as they go on."""
        b1, b2 = self.betas
        return b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * (g * g)


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


class _OfEitherDecay(Adam):
    """Adam that says by a setting whether its weight decay is decoupled."""

    @property
    def decoupled_weight_decay(self) -> bool:
        """Whether weight decay is as in `AdamW`."""
        return self.decoupled

    @decoupled_weight_decay.setter
    def decoupled_weight_decay(self, value: bool) -> None:
        self.decoupled = flag(value, f"{type(self).__name__}: decoupled_weight_decay")


class NAdam(_OfEitherDecay):
    """Adam with Nesterov's momentum (Dozat 2016), as in PyTorch.

    The momentum of step t is betas[0] * (1 - 0.96 ** (t * momentum_decay) / 2).

    Parameters
    ----------
    parameters, betas, eps
        As in `Adam`.
    lr : float
        The learning rate.
    weight_decay : float
        Adds weight_decay * p to the gradient; or, if it is decoupled, lr * weight_decay * p is taken
        away at each step.
    momentum_decay : float
        How soon the momentum grows to betas[0].
    decoupled_weight_decay : bool
        Whether weight decay is as in `AdamW`.
    """

    momentum_decay = Number(AMOUNT)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.002,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.momentum_decay = momentum_decay
        self.decoupled_weight_decay = decoupled_weight_decay

    def rates(self, count: int) -> tuple[float, ...]:
        """See `Optimizer`."""
        now, then = (self._momentum(t) for t in (count, count + 1))
        product = self._product(count)
        return (
            self.lr * (1 - now) / (1 - product),
            self.lr * then / (1 - product * then),
            1 - self.betas[1] ** count,
        )

    def _momentum(self, count: int) -> float:
        return self.betas[0] * (1 - 0.5 * float(0.96 ** (count * self.momentum_decay)))

    def _product(self, count: int) -> float:
        """Return the product of the momenta of all steps so far, going on from the last one known."""
        known: dict[Any, tuple[int, float]] = vars(self).setdefault("_products", {})
        key = (self.betas[0], self.momentum_decay)
        last, product = known.get(key, (0, 1.0))
        if last > count:
            last, product = 0, 1.0
        for t in range(last + 1, count + 1):
            product *= self._momentum(t)
        known.clear()
        known[key] = (count, product)
        return product

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        """See `Optimizer`."""
        first, second = self._means(g, *buffers)
        size = np.sqrt(second / rates[2]) + self.eps
        return -(rates[0] * g + rates[1] * first) / size, first, second


class RAdam(_OfEitherDecay):
    """Adam whose first steps do not divide by squares of which there are few (Liu et al. 2020).

    As in PyTorch.

    Parameters
    ----------
    parameters, lr, betas, eps
        As in `Adam`.
    weight_decay, decoupled_weight_decay
        As in `NAdam`.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.decoupled_weight_decay = decoupled_weight_decay

    def rates(self, count: int) -> tuple[float, ...]:
        """See `Optimizer`.

        The step is divided by rates[1] times the root of the squares, plus rates[2].
        """
        b1, b2 = self.betas
        step, left = self.lr / (1 - b1**count), 1 - b2**count
        most = 2 / (1 - b2) - 1
        squares = most - 2 * count * b2**count / left  # of how many there is a mean, about
        if squares <= 5:
            return step, 0.0, 1.0
        share = (squares - 4) * (squares - 2) * most / ((most - 4) * (most - 2) * squares)
        return float(step * (share * left) ** 0.5), 1.0, self.eps

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        """See `Optimizer`."""
        first, second = self._means(g, *buffers)
        return -rates[0] * first / (rates[1] * np.sqrt(second) + rates[2]), first, second


class Lion(Optimizer):
    """Steps of lr in each element, with the sign of a running mean of the gradient.

    Chen et al. 2023. The steps are as long as the rate, so lr is 3 to 10 times smaller than for Adam,
    and weight_decay as many times larger.

    Parameters
    ----------
    parameters : iterable of Tensor
        What is trained.
    lr : float
        The learning rate.
    betas : (float, float)
        In [0, 1): how much of the running mean counts in the sign of a step, and how much of it stays.
    weight_decay : float
        How much of a parameter the decay takes away, times lr.
    """

    elementwise = True
    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-4,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.betas = _pair(type(self).__name__, betas)

    def buffers(self) -> tuple[str, ...]:
        """See `Optimizer`."""
        return ("mean",)

    def change(self, g: Any, rates: Sequence[Any], *buffers: Any) -> tuple[Any, ...]:
        """See `Optimizer`."""
        (b1, b2), (mean,) = self.betas, buffers
        step = np.sign(b1 * mean + (1 - b1) * g)
        return -rates[0] * step, b2 * mean + (1 - b2) * g
