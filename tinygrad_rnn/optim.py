"""Training rules: SGD with momentum, Adam; gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .core.errors import GraphError, TinygradError
from .core.primitive import Array
from .core.tensor import Tensor


class Optimizer:
    """Base class. ``step()`` gives the parameters new arrays; parameters without a gradient are left alone.

    A graph recorded before the step and walked after it is an error, because its saved values are no longer the parameters'.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        if isinstance(parameters, Tensor) or not isinstance(parameters, Iterable):
            raise TinygradError(f"the optimiser needs parameters, such as module.parameters(); found one {type(parameters).__name__}")
        self.parameters = list(parameters)
        self.lr = lr
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
                p.data = p.numpy() + self.change(i, p.grad.numpy())

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


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as in PyTorch: v = momentum * v + g; p = p - lr * v."""

    def __init__(self, parameters: Iterable[Tensor], lr: float = 0.01, *, momentum: float = 0.0) -> None:
        super().__init__(parameters, lr)
        self.momentum = momentum

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        if self.momentum:
            velocity = self.buffer("velocity")
            velocity[i] = g = self.momentum * velocity[i] + g
        return -self.lr * g


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): steps of about lr, scaled by running means of the gradient and of its square."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 0.001, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(parameters, lr)
        self.betas, self.eps = betas, eps

    def change(self, i: int, g: Array) -> Array:
        """See `Optimizer`."""
        (b1, b2), first, second = self.betas, self.buffer("first"), self.buffer("second")
        first[i] = b1 * first[i] + (1 - b1) * g
        second[i] = b2 * second[i] + (1 - b2) * (g * g)
        scale = np.sqrt(second[i] / (1 - b2 ** self.steps[i])) + self.eps
        return -(self.lr / (1 - b1 ** self.steps[i])) * first[i] / scale


def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most `max_norm` (Pascanu et al. 2013).

    Returns
    -------
    float
        The norm before; inf or nan leaves the gradients as they are, for the caller to see.
    """
    if not isinstance(parameters, Iterable):
        raise TinygradError(f"clip_grad_norm: expected tensors, such as module.parameters(); found {type(parameters).__name__}")
    graded = [(p, p.grad.numpy()) for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p.grad is not None]
    with np.errstate(over="ignore"):
        total = math.sqrt(sum(float(np.vdot(g, g)) for _, g in graded))
        if math.isinf(total):  # the squares may not fit into float32 where the norm does
            total = math.sqrt(sum(float(np.vdot(g, g)) for g in (g.astype(np.float64) for _, g in graded)))
    if math.isfinite(total) and total > max_norm:
        for p, g in graded:
            p.grad = Tensor(np.multiply(g, max_norm / total, out=np.empty_like(g)))
    return total
