"""The base of training rules: `Optimizer`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..core.errors import DtypeError, GraphError, ShapeError, TinygradError
from ..core.primitive import Array
from ..core.tensor import Tensor
from ..ops.postponed import postponed
from .given import AMOUNT, Number, check_entries, entry, gradient_of, tensors_of


class Optimizer:
    """The base class of training rules; ``step()`` gives the parameters new arrays.

    Parameters without a gradient are left alone. A graph recorded before the step and walked after
    it is an error, because its saved values are no longer the parameters'. A subclass defines
    `change`, and `buffers` if it keeps arrays between steps.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaf tensors that require gradients, each once.
    lr : float
        The learning rate, at least 0.
    weight_decay : float
        What share of a parameter is added to its gradient, or, in a rule with `decoupled`, what
        share times lr the parameter loses at each step.

    Attributes
    ----------
    parameters : list of Tensor
    state : dict of str to list of array
        The arrays that are kept between steps, by their names; one for each parameter.
    steps : list of int
        How often each parameter was updated.
    """

    decoupled = False  # whether weight decay is a step of its own, not a part of the gradient
    lr = Number(AMOUNT)
    weight_decay = Number(AMOUNT)

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        if isinstance(parameters, Tensor):
            raise TinygradError(
                f"the optimiser needs parameters, such as module.parameters(); found one {type(parameters).__name__}"
            )
        self.parameters = tensors_of("the optimiser", parameters)
        self.lr, self.weight_decay = lr, weight_decay
        self.state: dict[str, list[Array]] = {}
        self.steps = [0] * len(self.parameters)  # how often each parameter was updated
        for p in self.parameters:
            if not p.is_leaf or not p.requires_grad:
                raise GraphError(
                    f"the optimiser needs leaf tensors that require gradients; found {p!r}"
                )
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise TinygradError(
                "the optimiser was given a parameter twice; it would be changed twice in every step"
            )

    def buffers(self) -> tuple[str, ...]:
        """Return the names of the arrays that are kept for each parameter between steps."""
        return ()

    def buffer(self, name: str) -> list[Array]:
        """Return the arrays of a name that are kept between steps, one for each parameter.

        They are zero at first.
        """
        if name not in self.state:
            self.state[name] = [np.zeros(p.shape, p.dtype) for p in self.parameters]
        return self.state[name]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    @postponed(lambda self: [*self.parameters, self])
    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises
        ------
        ShapeError, DtypeError, TinygradError
            If a gradient is no tensor of its parameter's shape and dtype; then nothing is updated.
        """
        for i, p, g in [
            (i, p, gradient_of(type(self).__name__, p))
            for i, p in enumerate(self.parameters)
            if p.grad is not None
        ]:
            self.steps[i] += 1
            value, decay = p.numpy(), self.weight_decay
            change = self.change(i, g + decay * value if decay and not self.decoupled else g)
            p.data = value + (
                change - self.lr * decay * value if decay and self.decoupled else change
            )

    def change(self, i: int, g: Array) -> Array:
        """Return what is added to parameter i, whose gradient is g."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the buffers and the numbers of steps, for a checkpoint.

        A buffer has the key ``name.index``.
        """
        arrays = {
            f"{name}.{i}": b.copy()
            for name, buffers in self.state.items()
            for i, b in enumerate(buffers)
        }
        return {**arrays, "steps": np.asarray(self.steps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave; nothing is changed unless all of it fits this optimiser.

        It has to be of as many parameters, of the same shapes and dtypes, and of the same rule with
        settings that keep the same arrays: one with momentum has a velocity for each parameter.

        Raises
        ------
        ShapeError, DtypeError
            For an array of another shape or dtype than its parameter.
        TinygradError
            For names that are missing or unknown, and numbers of steps that are none.
        """
        what, count = f"{type(self).__name__}.load_state_dict", len(self.parameters)
        begun = isinstance(state, Mapping) and any(name != "steps" for name in state)
        names = [f"{name}.{i}" for name in self.buffers() for i in range(count)] if begun else []
        check_entries(what, state, [*names, "steps"])
        steps = entry(what, state, "steps")
        if steps.shape != (count,):
            raise ShapeError(
                f"{what}: 'steps' has shape {steps.shape}; expected ({count},), a number for each parameter"
            )
        if steps.dtype.kind not in "iu" or (steps < 0).any():
            raise TinygradError(
                f"{what}: 'steps' must be whole numbers of at least 0; found {steps.tolist()}"
            )
        if not begun and steps.any() and self.buffers():
            raise TinygradError(
                f"{what}: after {steps.max()} steps there must be {', '.join(self.buffers())} of each parameter; found none"
            )
        found: dict[str, list[Array]] = {}
        for name in self.buffers() if begun else ():
            for i, p in enumerate(self.parameters):
                value = entry(what, state, f"{name}.{i}")
                if value.shape != p.shape:
                    raise ShapeError(
                        f"{what}: '{name}.{i}' has shape {value.shape}; parameter {i} has {p.shape}"
                    )
                if value.dtype.newbyteorder("=") != p.dtype:
                    raise DtypeError(
                        f"{what}: '{name}.{i}' is {value.dtype}; parameter {i} is {p.dtype}"
                    )
                if name in self.squares and (value < 0).any():
                    raise TinygradError(
                        f"{what}: '{name}.{i}' holds sums of squares, of which none is below 0; found {value.min()}"
                    )
                found.setdefault(name, []).append(value.astype(p.dtype))
        self.state, self.steps = found, steps.tolist()

    squares: tuple[str, ...] = ()  # which of the buffers cannot be negative

    def __repr__(self) -> str:
        numbers = sum(p.size for p in self.parameters)
        return f"{type(self).__name__}(lr={self.lr:g}, {len(self.parameters)} parameters of {numbers:,} numbers)"
