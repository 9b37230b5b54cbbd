"""Modules: objects that hold parameters and other modules, and are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..core.primitive import Array
from ..core.tensor import Tensor, tensor


class Parameter(Tensor):
    """A leaf tensor that requires gradients and that a Module finds among its attributes."""

    __slots__ = ()

    def __init__(self, data: Any, name: str | None = None, *, dtype: Any = None) -> None:
        super().__init__(tensor(data, dtype).array)
        self.requires_grad = True
        self.name = name

    def __copy__(self) -> Parameter:
        twin = Parameter(self.array, self.name)
        twin.requires_grad = self.requires_grad
        return twin


class Module:
    """Base class of everything with parameters.

    Parameters and modules that are assigned as attributes (also in lists, tuples and dicts) are found by name. A subclass
    defines ``forward``; calling the module calls it.
    """

    training: bool = True

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter) and value.name is None:
            value.name = name
        if isinstance(vars(self).get(name), Parameter) and isinstance(value, Tensor) and not isinstance(value, Parameter):
            raise TinygradError(
                f"{type(self).__name__}.{name} is a parameter and would become a plain tensor, which no optimiser finds. "
                f"To change its values: {name}.data = ..., to put another in its place: tg.Parameter(...)."
            )
        object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `forward`."""
        return self.forward(*args, **kwargs)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """The module itself and those inside it, with dotted names; each once."""
        seen: set[int] = set()
        stack: list[tuple[str, Any]] = [(prefix, self)]
        while stack:
            path, value = stack.pop()
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield path, value
                stack += reversed(list(_contents(path, vars(value))))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Parameters with dotted names, each once, in order of assignment."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in _contents(path, vars(module)):
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield name, value

    def parameters(self) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (p for _, p in self.named_parameters())

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters():
            p.grad = None

    def train(self, mode: bool = True) -> Module:
        """Switch to training (dropout and the like are active), or with False to evaluation."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch to evaluation."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """The parameters' values by dotted name (copies)."""
        return {name: np.array(p.numpy()) for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the parameters; nothing is changed unless all names and shapes fit.

        Raises
        ------
        ShapeError
            For a shape that differs.
        DtypeError
            For values that are no numbers.
        TinygradError
            For names that are missing or unknown.
        """
        own = dict(self.named_parameters())
        missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
        if missing or unknown:
            raise TinygradError(
                f"load_state_dict: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}; this module has {list(own)}"
            )
        values = {name: tensor(state[name], p.dtype) for name, p in own.items()}
        for name, p in own.items():
            if values[name].shape != p.shape:
                raise ShapeError(f"load_state_dict: '{name}' has shape {p.shape}; found {values[name].shape}")
        for name, p in own.items():
            p.data = values[name]

    def __repr__(self) -> str:
        inner = [f"{name}={p.dtype}{p.shape}" for name, p in self.named_parameters()]
        return f"{type(self).__name__}({', '.join(inner)})"


def _contents(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What stands in nested lists, tuples and dicts, with dotted names."""
    if isinstance(value, (Mapping, list, tuple)):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _contents(f"{path}.{key}" if path else str(key), item)
    else:
        yield path, value
