"""Training rules, gradient clipping, and schedules of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .core.errors import GraphError, TinygradError
from .core.primitive import Array
from .core.tensor import Tensor


class Optimizer:
    """Base class. ``step()`` gives the parameters new arrays; parameters without a gradient are left alone.

    A graph recorded before the step and walked after it is an error, because its saved values are no longer the parameters'.
    """

    decoupled = False  # whether weight decay is a step of its own, not a part of the gradient

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        if isinstance(parameters, Tensor) or not isinstance(parameters, Iterable):
            raise TinygradError(f"the optimiser needs parameters, such as module.parameters(); found one {type(parameters).__name__}")
        self.parameters = list(parameters)
        self.lr, self.weight_decay = _amount(self, "lr", lr), _amount(self, "weight_decay", weight_decay)
        self.state: dict[str, list[Array]] = {}
        self.steps = [0] * len(self.parameters)  # how often each parameter was updated
        if not self.parameters:
            raise TinygradError(
                "the optimiser was given no parameters (a module finds attributes that are tg.Parameter; tg.tensor ones it does not)"
            )
        for p in self.parameters:
            if not isinstance(p, Tensor) or not p.is_leaf or not p.requires_grad:
                raise GraphError(f"the optimiser needs leaf tensors that require gradients; found {p!r}")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise TinygradError("the optimiser was given a parameter twice; it would be changed twice in every step")

    def buffer(self, name: str) -> list[Array]:
        """An array for each parameter that is kept between steps, zero at first."""
        if name not in self.state:
            self.state[name] = [np.zeros(p.shape, p.dtype) for p in self.parameters]
        return self.state[name]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                self.steps[i] += 1
                value, g, decay = p.numpy(), p.grad.numpy(), self.weight_decay
                change = self.change(i, g + decay * value if decay and not self.decoupled else g)
                p.data = value + (change - self.lr * decay * value if decay and self.decoupled else change)

    def change(self, i: int, g: Array) -> Array:
        """What is added to parameter i with gradient g."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Buffers by ``name.index`` and the numbers of steps, as arrays, for a checkpoint."""
        arrays = {f"{name}.{i}": b for name, buffers in self.state.items() for i, b in enumerate(buffers)}
        return {**arrays, "steps": np.asarray(self.steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.steps = np.broadcast_to(state["steps"], len(self.parameters)).tolist()
        for key, value in state.items():
            name, _, i = key.rpartition(".")
            if name:
                self.buffer(name)[int(i)] = np.array(value)

    def __repr__(self) -> str:
        numbers = sum(p.size for p in self.parameters)
        return f"{type(self).__name__}(lr={self.lr:g}, {len(self.parameters)} parameters of {numbers:,} numbers)"


def _amount(owner: object, name: str, value: float) -> float:
    """A setting that must be a finite number of at least 0."""
    if not 0 <= value < math.inf:
        raise TinygradError(f"{type(owner).__name__}: {name} must be a finite number of at least 0; found {value}")
    return float(value)


def _fraction(owner: object, name: str, value: float) -> float:
    """A setting that must be in [0, 1)."""
    if not 0 <= value < 1:
        raise TinygradError(f"{type(owner).__name__}: {name} must be in [0, 1); found {value}")
    return float(value)


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as in PyTorch: v = momentum * v + g; p = p - lr * v.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    momentum : float
        In [0, 1).
    nesterov : bool
        Look one step ahead: p = p - lr * (g + momentum * v) (Nesterov 1983, in the form of Sutskever et al. 2013).
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 0.01, *, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum, self.nesterov = _fraction(self, "momentum", momentum), nesterov
        if nesterov and not momentum:
            raise TinygradError("SGD: nesterov looks ahead by the momentum, which is 0; give a momentum such as 0.9")

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        if self.momentum:
            velocity = self.buffer("velocity")
            velocity[i] = v = self.momentum * velocity[i] + g
            g = g + self.momentum * v if self.nesterov else v
        return -self.lr * g


class RMSprop(Optimizer):
    """Steps scaled by a running mean of the squared gradient (Tieleman and Hinton 2012), as in PyTorch: eps is added to the root.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    alpha : float
        In [0, 1): how much of the running mean stays at each step.
    eps : float
    momentum : float
        In [0, 1): of the scaled steps.
    centered : bool
        Scale by the running variance: the mean of the squares less the square of the mean (Graves 2013).
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

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
        self.alpha, self.momentum = _fraction(self, "alpha", alpha), _fraction(self, "momentum", momentum)
        self.eps, self.centered = _amount(self, "eps", eps), centered

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        squares = self.buffer("squares")
        squares[i] = spread = self.alpha * squares[i] + (1 - self.alpha) * (g * g)
        if self.centered:
            means = self.buffer("means")
            means[i] = self.alpha * means[i] + (1 - self.alpha) * g
            spread = np.maximum(spread - means[i] * means[i], 0)  # rounding may leave it below zero
        g = g / (np.sqrt(spread) + self.eps)
        if self.momentum:
            velocity = self.buffer("velocity")
            velocity[i] = g = self.momentum * velocity[i] + g
        return -self.lr * g


class Adagrad(Optimizer):
    """Steps scaled by the root of the sum of all squared gradients so far (Duchi, Hazan and Singer 2011), as in PyTorch.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    lr_decay : float
        Step t (from 0) uses lr / (1 + t * lr_decay).
    eps : float
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 0.01, *, lr_decay: float = 0.0, eps: float = 1e-10, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.lr_decay, self.eps = _amount(self, "lr_decay", lr_decay), _amount(self, "eps", eps)

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        sums = self.buffer("sums")
        sums[i] = sums[i] + g * g
        return -(self.lr / (1 + (self.steps[i] - 1) * self.lr_decay)) * g / (np.sqrt(sums[i]) + self.eps)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): steps of about lr, scaled by running means of the gradient and of its square.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    betas : (float, float)
        In [0, 1): how much of each running mean stays at each step.
    eps : float
    weight_decay : float
        Adds weight_decay * p to the gradient.
    """

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
        if len(betas) != 2:
            raise TinygradError(f"{type(self).__name__}: betas must be two numbers; found {betas}")
        self.betas = (_fraction(self, "betas[0]", betas[0]), _fraction(self, "betas[1]", betas[1]))
        self.eps = _amount(self, "eps", eps)

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        (b1, b2), first, second = self.betas, self.buffer("first"), self.buffer("second")
        first[i] = b1 * first[i] + (1 - b1) * g
        second[i] = b2 * second[i] + (1 - b2) * (g * g)
        scale = np.sqrt(second[i] / (1 - b2 ** self.steps[i])) + self.eps
        return -(self.lr / (1 - b1 ** self.steps[i])) * first[i] / scale


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): p shrinks by lr * weight_decay * p beside the step.

    Parameters as in `Adam`; here weight_decay does not go through the running means.
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


# --- clipping ---------------------------------------------------------------------------------------------------------------


def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most `max_norm` (Pascanu et al. 2013).

    Returns
    -------
    float
        The norm before; inf or nan leaves the gradients as they are, for the caller to see.
    """
    graded = _graded("clip_grad_norm", parameters)
    with np.errstate(over="ignore"):
        total = math.sqrt(sum(float(np.vdot(g, g)) for _, g in graded))
        if math.isinf(total):  # the squares may not fit into float32 where the norm does
            total = math.sqrt(sum(float(np.vdot(g, g)) for g in (g.astype(np.float64) for _, g in graded)))
    if math.isfinite(total) and total > max_norm:
        for p, g in graded:
            p.grad = Tensor(np.multiply(g, max_norm / total, out=np.empty_like(g)))
    return total


def clip_grad_value(parameters: Tensor | Iterable[Tensor], max_value: float) -> None:
    """Bring every element of the gradients into [-max_value, max_value]; nan stays, for the caller to see."""
    if not max_value >= 0:
        raise TinygradError(f"clip_grad_value: max_value must be at least 0; found {max_value}")
    for p, g in _graded("clip_grad_value", parameters):
        p.grad = Tensor(np.clip(g, -max_value, max_value, out=np.empty_like(g)))


def _graded(name: str, parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Array]]:
    """The tensors that have a gradient, with it."""
    if not isinstance(parameters, Iterable):
        raise TinygradError(f"{name}: expected tensors, such as module.parameters(); found {type(parameters).__name__}")
    return [(p, p.grad.numpy()) for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p.grad is not None]


# --- schedules --------------------------------------------------------------------------------------------------------------
# A schedule is a function from the number of steps done so far to a learning rate; `Schedule` applies one to an optimiser.


def step_decay(lr: float, size: int, factor: float = 0.1) -> Callable[[int], float]:
    """`lr`, multiplied by `factor` after every `size` steps."""
    _steps("step_decay", size)
    return lambda step: lr * factor ** (step // size)


def exponential_decay(lr: float, factor: float) -> Callable[[int], float]:
    """`lr`, multiplied by `factor` after every step."""
    return lambda step: lr * factor**step


def cosine(lr: float, steps: int, last: float = 0.0) -> Callable[[int], float]:
    """From `lr` down to `last` along half a cosine in `steps` steps, and `last` from then on (Loshchilov and Hutter 2017)."""
    _steps("cosine", steps)
    return lambda step: last + (lr - last) * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2


def linear_warmup(steps: int, then: float | Callable[[int], float], first: float = 0.0) -> Callable[[int], float]:
    """From `first` in a straight line up to where `then` begins, in `steps` steps; after them `then`, whose steps count from there.

    `then` is a learning rate or a schedule: ``linear_warmup(100, cosine(0.01, 900))``.
    """
    _steps("linear_warmup", steps)
    after = then if callable(then) else lambda step: then
    return lambda step: first + (after(0) - first) * step / steps if step < steps else after(step - steps)


def _steps(name: str, value: int) -> int:
    """A number of steps."""
    if value < 1:
        raise TinygradError(f"{name}: expected at least one step; found {value}")
    return value


class Schedule:
    """Sets the learning rate of an optimiser from a function of the number of steps.

    Call ``step()`` after each ``optimizer.step()`` (or after each epoch: what a step is, is the caller's choice).

    Parameters
    ----------
    optimizer : Optimizer
        Its rate is set at once, to ``function(0)``.
    function : callable
        From the number of steps done so far to a learning rate.
    """

    def __init__(self, optimizer: Optimizer, function: Callable[[int], float]) -> None:
        self.optimizer, self.function, self.count = optimizer, function, 0
        self._apply()

    def step(self) -> None:
        """Count a step and set the rate for the next one."""
        self.count += 1
        self._apply()

    def _apply(self) -> None:
        self.optimizer.lr = _amount(self, "lr", self.function(self.count))

    def state_dict(self) -> dict[str, Any]:
        """The count, for a checkpoint."""
        return {"count": np.asarray(self.count)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave, and set the rate."""
        self.count = int(state["count"])
        self._apply()


class ReduceOnPlateau:
    """Multiplies the learning rate of an optimiser by a factor when a loss stops falling.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float
        In [0, 1).
    patience : int
        So many calls in a row without an improvement are borne; the next one lowers the rate.
    threshold : float
        A loss is an improvement if it is below the best one by more than this share of it (as in PyTorch, for losses above 0).
    smallest : float
        The rate is not lowered further than this.
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 0.1, patience: int = 10, threshold: float = 1e-4, smallest: float = 0.0
    ) -> None:
        self.optimizer, self.factor = optimizer, _fraction(self, "factor", factor)
        self.patience, self.threshold = _amount(self, "patience", patience), _amount(self, "threshold", threshold)
        self.smallest = _amount(self, "smallest", smallest)
        self.best, self.bad = math.inf, 0

    def step(self, loss: float) -> None:
        """Tell it the loss, after an epoch or an evaluation; nan counts as no improvement."""
        loss = float(loss)
        if loss < self.best - self.threshold * abs(self.best) or (loss < self.best == math.inf):
            self.best, self.bad = loss, 0
        else:
            self.bad += 1
        if self.bad > self.patience:
            self.optimizer.lr, self.bad = min(self.optimizer.lr, max(self.optimizer.lr * self.factor, self.smallest)), 0

    def state_dict(self) -> dict[str, Any]:
        """The best loss, the calls without an improvement and the rate, for a checkpoint."""
        return {"best": np.asarray(self.best), "bad": np.asarray(self.bad), "lr": np.asarray(self.optimizer.lr)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave, and set the rate."""
        self.best, self.bad, self.optimizer.lr = float(state["best"]), int(state["bad"]), float(state["lr"])
