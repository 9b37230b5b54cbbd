"""Modules: objects that hold parameters and other modules, and are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from .core.errors import GraphError, ShapeError, TinygradError
from .core.primitive import Array
from .core.tape import Leaf
from .core.tensor import Tensor, tensor

T = TypeVar("T", bound=Tensor)


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


class Buffer(Tensor):
    """A tensor that belongs to a Module and is saved with it, but is not trained: a running mean, for example.

    It never requires gradients. New values are given by ``buffer.data = ...``, which is not recorded.
    """

    __slots__ = ()

    def __init__(self, data: Any, name: str | None = None, *, dtype: Any = None) -> None:
        super().__init__(tensor(data, dtype).array)
        self.name = name

    def leaf(self, requires_grad: bool = False, name: str | None = None) -> Leaf:
        """See `Tensor`; a leaf that requires gradients is refused."""
        if requires_grad:
            raise GraphError(f"a Buffer{f' ({name})' if name else ''} is not trained and requires no gradients; use tg.Parameter")
        return super().leaf(requires_grad, name)

    def __copy__(self) -> Buffer:
        return Buffer(self.array, self.name)


class Module:
    """Base class of everything with parameters.

    Parameters, buffers and modules that are assigned as attributes (also in lists, tuples and dicts) are found by name. A
    subclass defines ``forward``; calling the module calls it.
    """

    training: bool = True

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Parameter, Buffer)) and value.name is None:
            value.name = name
        present = vars(self).get(name)
        for kind, loss in ((Parameter, "which no optimiser finds"), (Buffer, "which is not saved with the module")):
            if isinstance(present, kind) and isinstance(value, (Tensor, np.ndarray)) and not isinstance(value, kind):
                plain = "a plain tensor" if isinstance(value, Tensor) else "an array"
                raise TinygradError(
                    f"{type(self).__name__}.{name} is a {kind.__name__.lower()} and would become {plain}, {loss}. "
                    f"To change its values: {name}.data = ..., to put another in its place: tg.nn.{kind.__name__}(...)."
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
        return self._named(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Buffers with dotted names, each once, in order of assignment."""
        return self._named(Buffer)

    def _named(self, *kinds: type[T]) -> Iterator[tuple[str, T]]:
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in _contents(path, vars(module)):
                if isinstance(value, kinds) and id(value) not in seen:
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
        """The values of parameters and buffers by dotted name (copies)."""
        return {name: np.array(t.numpy()) for name, t in self._named(Parameter, Buffer)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set parameters and buffers; nothing is changed unless all names and shapes fit.

        Raises
        ------
        ShapeError
            For a shape that differs.
        DtypeError
            For values that are no numbers.
        TinygradError
            For names that are missing or unknown.
        """
        own: dict[str, Tensor] = dict(self._named(Parameter, Buffer))
        missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
        if missing or unknown:
            raise TinygradError(
                f"load_state_dict: missing {_some(missing)}, unknown {_some(unknown)}; this module has {_some(list(own))}"
                f"{_without_prefix(missing, unknown)}"
            )
        given = {name: state[name].detach() if isinstance(state[name], Tensor) else state[name] for name in own}
        values = {name: tensor(given[name], p.dtype) for name, p in own.items()}
        for name, p in own.items():
            if values[name].shape != p.shape:
                raise ShapeError(f"load_state_dict: '{name}' has shape {p.shape}; found {values[name].shape}")
        for name, p in own.items():
            p.data = values[name]

    def __repr__(self) -> str:
        inner = [f"{name}={p.dtype}{p.shape}" for name, p in self.named_parameters()]
        return f"{type(self).__name__}({', '.join(inner)})"


def _some(names: list[str], limit: int = 8) -> str:
    """Names for a message, not all of very many."""
    return f"{names[:limit]} and {len(names) - limit} more" if len(names) > limit else str(names or "nothing")


def _without_prefix(missing: list[str], unknown: list[str]) -> str:
    """The way out if the names are those of a larger module in which this one stood."""
    prefixes = {name.removesuffix(missing[0]) for name in unknown if name.endswith(f".{missing[0]}")} if missing else set()
    prefix = next((p for p in prefixes if all(p + name in unknown for name in missing)), None)
    return f". With {prefix!r} before each name they are there: pass {{name.removeprefix({prefix!r}): ...}}" if prefix else ""


def _contents(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What stands in nested lists, tuples and dicts, with dotted names."""
    if isinstance(value, (Mapping, list, tuple)):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _contents(f"{path}.{key}" if path else str(key), item)
    else:
        yield path, value
