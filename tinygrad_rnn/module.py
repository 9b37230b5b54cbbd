"""Modules: objects that hold parameters and other modules, and are called."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import FunctionType
from typing import Any, TypeVar

import numpy as np

from .core.errors import GraphError, ShapeError, TinygradError
from .core.primitive import Array
from .core.tape import Leaf
from .core.tensor import Tensor, tensor
from .ops import names
from .ops.checks import fitting, floating, of_kind, typed

T = TypeVar("T", bound=Tensor)
M = TypeVar("M", bound="Module")
_PACKAGE = __name__.partition(".")[0]


class Parameter(Tensor):
    """A leaf tensor that requires gradients and that a Module finds among its attributes.

    Parameters
    ----------
    data : array, Tensor, or nested lists of numbers
        The first values, which are copied.
    name : str, optional
        How messages and pictures call it.
    dtype : dtype, optional
        float32 or float64; by default that of `data`, or float32 for Python numbers.
    """

    __slots__ = ()

    def __init__(self, data: Any, name: str | None = None, *, dtype: Any = None) -> None:
        super().__init__(tensor(data, dtype).array)
        of_kind(name, ["str", "None"], f"{type(self).__name__}: name")
        self.requires_grad = True
        self.name = name

    def __copy__(self) -> Parameter:
        twin = Parameter(self.numpy(), self.name)
        twin.requires_grad = self.requires_grad
        return twin


class Buffer(Tensor):
    """A tensor that belongs to a Module and is saved with it, but is not trained: a running mean.

    It never requires gradients. New values are given by ``buffer.data = ...``, which is not
    recorded.

    Parameters
    ----------
    data : array, Tensor, or nested lists of numbers
        The first values, which are copied.
    name : str, optional
        How messages and pictures call it.
    dtype : dtype, optional
        By default that of `data`, or float32 for Python floats.
    """

    __slots__ = ()

    def __init__(self, data: Any, name: str | None = None, *, dtype: Any = None) -> None:
        super().__init__(tensor(data, dtype).array)
        of_kind(name, ["str", "None"], f"{type(self).__name__}: name")
        self.name = name

    def leaf(self, requires_grad: bool = False, name: str | None = None) -> Leaf:
        """Give the tensor a new leaf, as `Tensor.leaf` does; one with gradients is refused."""
        if requires_grad:
            raise GraphError(
                f"a Buffer{f' ({name})' if name else ''} is not trained and requires no gradients; use tg.Parameter"
            )
        return super().leaf(requires_grad, name)

    def __copy__(self) -> Buffer:
        return Buffer(self.numpy(), self.name)


class Module:
    """The base class of everything with parameters.

    Parameters, buffers and modules that are assigned as attributes (also in lists, tuples and
    dicts) are found by name. A subclass defines ``forward``; calling the module calls it.
    """

    training: bool = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the settings of the package's own modules be checked against their annotations."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls) and cls.__module__.partition(".")[0] == _PACKAGE:
            cls.__init__ = typed(cls.__init__)  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        method = getattr(type(self), name, None)
        if (
            isinstance(method, FunctionType)
            and method.__module__.partition(".")[0] == _PACKAGE
            and (isinstance(value, Module) or not callable(value))
        ):
            raise TinygradError(
                f"{type(self).__name__}.{name}: {name}(...) is a method that every {method.__qualname__.partition('.')[0]} has, and "
                f"a {type(value).__name__} of this name would hide it; choose another name for the attribute"
            )
        if isinstance(value, (Parameter, Buffer)) and value.name is None:
            value.name = name
        present = vars(self).get(name)
        for kind, loss in (
            (Parameter, "which no optimiser finds"),
            (Buffer, "which is not saved with the module"),
        ):
            if (
                isinstance(present, kind)
                and isinstance(value, (Tensor, np.ndarray))
                and not isinstance(value, kind)
            ):
                plain = "a plain tensor" if isinstance(value, Tensor) else "an array"
                raise TinygradError(
                    f"{type(self).__name__}.{name} is a {kind.__name__.lower()} and would become {plain}, {loss}. "
                    f"To change its values: {name}.data = ..., to put another in its place: tg.nn.{kind.__name__}(...)."
                )
        object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what calling the module returns."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `forward`."""
        return self.forward(*args, **kwargs)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield the module itself and those inside it, with dotted names; each once."""
        seen: set[int] = set()
        stack: list[tuple[str, Any]] = [(prefix, self)]
        while stack:
            path, value = stack.pop()
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield path, value
                stack += reversed(list(_contents(path, vars(value))))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters with dotted names, each once, in order of assignment.

        Two with one name are an error.
        """
        return self._named(Parameter)

    def parameters_dict(self) -> dict[str, Parameter]:
        """Return the parameters by their dotted names, as `functional_call` and transforms take them."""
        return dict(self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Yield the buffers with dotted names, each once, in order of assignment.

        Two with one name are an error.
        """
        return self._named(Buffer)

    def tensors(self, kind: type[T]) -> Iterator[T]:
        """Yield the tensors of a kind in the module and those inside it, each once."""
        return (t for _, t in self._every(kind))

    def _named(self, *kinds: type[T]) -> Iterator[tuple[str, T]]:
        names: set[str] = set()
        for name, value in self._every(*kinds):
            if name in names:
                raise _collision(self, name)
            names.add(name)
            yield name, value

    def _every(self, *kinds: type[T]) -> Iterator[tuple[str, T]]:
        """Yield what there is of these kinds, each once, whether or not the names differ."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in _contents(path, vars(module)):
                if isinstance(value, kinds) and id(value) not in seen:
                    seen.add(id(value))
                    yield name, value

    def parameters(self) -> Iterator[Parameter]:
        """Yield the parameters, each once."""
        return (p for _, p in self._every(Parameter))

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    def num_parameters(self, trainable: bool = False) -> int:
        """Return how many numbers the parameters hold, each counted once.

        Parameters
        ----------
        trainable : bool
            Whether to count those alone that require gradients.
        """
        of_kind(trainable, ["bool"], f"{type(self).__name__}.num_parameters: trainable")
        return sum(p.size for p in self.parameters() if p.requires_grad or not trainable)

    def astype(self: M, dtype: Any) -> M:
        """Return a copy whose floating parameters, buffers and other tensors have another dtype.

        This one stays as it is, as an array does. An optimiser is made of the parameters of the copy.

        Parameters
        ----------
        dtype : dtype
            float32 or float64.
        """
        found = floating(dtype, f"{type(self).__name__}.astype: dtype")
        twin = copy.deepcopy(self)
        for t in twin.tensors(Tensor):
            if t.dtype.kind == "f" and t.dtype != found and t.is_leaf:
                needs, name, t.grad = t.requires_grad, t.name, None
                t.array = t.array.astype(found)
                t.leaf(needs, name)
        for _, module in twin.named_modules():
            module.converted(found)
        return twin

    def converted(self, dtype: np.dtype[Any]) -> None:
        """Note that the tensors of the module have another dtype now.

        A module that holds a dtype overrides this.
        """

    def train(self, mode: bool = True) -> Module:
        """Switch to training (dropout and the like are active), or with False to evaluation."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch to evaluation."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the values of parameters and buffers by dotted name."""
        return {name: np.array(t.numpy()) for name, t in self._named(Parameter, Buffer)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set parameters and buffers; nothing is changed unless all names, shapes and values fit.

        Values are rounded to the dtype of the parameter, as float64 is to float32.

        Raises
        ------
        ShapeError
            For a shape that differs.
        DtypeError
            For values that are no numbers, or that the dtype cannot hold: 1e300 for float32, 1.5
            for integers.
        TinygradError
            For names that are missing or unknown.
        """
        if not isinstance(state, Mapping):
            raise TinygradError(
                f"load_state_dict: expected a dict of arrays by name; found a {type(state).__name__}"
            )
        own: dict[str, Tensor] = dict(self._named(Parameter, Buffer))
        missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
        if missing or unknown:
            raise TinygradError(
                f"load_state_dict: missing {some_of(missing)}, unknown {some_of(unknown)}; this module has {some_of(list(own))}"
                f"{_without_prefix(missing, unknown)}"
            )
        values = {
            name: fitting(state[name], p.dtype, f"load_state_dict: '{name}'")
            for name, p in own.items()
        }
        for name, p in own.items():
            if values[name].shape != p.shape:
                raise ShapeError(
                    f"load_state_dict: '{name}' has shape {p.shape}; found {values[name].shape}"
                )
        for name, p in own.items():
            p.data = values[name]

    def cached(self) -> set[str]:
        """Return the names of attributes that the class computes when they are first read.

        These are its `functools.cached_property`.
        """
        return {
            name
            for kind in type(self).__mro__
            for name, value in vars(kind).items()
            if isinstance(value, cached_property)
        }

    def copied(
        self, convert: Callable[[Any], Any], announce: Callable[[Module], None]
    ) -> tuple[Module, dict[str, Any]]:
        """Return a module of the same class with converted attributes, and these attributes.

        Parameters
        ----------
        convert : callable
            What becomes of an attribute.
        announce : callable
            It is told of the copy before the attributes are converted, since they may lead back to
            it.
        """
        twin = object.__new__(type(self))
        announce(twin)
        content = {
            name: convert(value) for name, value in vars(self).items() if name not in self.cached()
        }
        vars(twin).update(content)
        return twin, content

    def __repr__(self) -> str:
        inner = [f"{name}={p.dtype}{p.shape}" for name, p in self.named_parameters()]
        return f"{type(self).__name__}({', '.join(inner)})"


names.give(Module, names.MODULE)


def named_tensors(module: Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a module by dotted name.

    One that stands in several places has a name for each.
    """
    found: dict[str, Tensor] = {}
    stack: list[tuple[str, Any, tuple[int, ...]]] = [("", module, ())]
    while stack:
        path, value, above = stack.pop()
        if isinstance(value, Module):
            if id(value) in above:  # it holds itself
                continue
            stack += reversed(
                [(name, item, (*above, id(value))) for name, item in _contents(path, vars(value))]
            )
        elif isinstance(value, (Parameter, Buffer)) and found.setdefault(path, value) is not value:
            raise _collision(module, path)
    return found


def _collision(module: Module, name: str) -> TinygradError:
    return TinygradError(
        f"{type(module).__name__}: two of its tensors have the name '{name}', so one would be lost. Names come from attributes, places in "
        "lists and keys of dicts, joined by dots: keys such as 1 and '1', or 'a.b' and 'b' in a dict under 'a', collide"
    )


def some_of(names: list[str], limit: int = 8) -> str:
    """Return names for a message, not all of very many."""
    return (
        f"{names[:limit]} and {len(names) - limit} more"
        if len(names) > limit
        else str(names or "nothing")
    )


def _without_prefix(missing: list[str], unknown: list[str]) -> str:
    """Say the way out if the names are those of a larger module in which this one stood."""
    prefixes = (
        {name.removesuffix(missing[0]) for name in unknown if name.endswith(f".{missing[0]}")}
        if missing
        else set()
    )
    prefix = next((p for p in prefixes if all(p + name in unknown for name in missing)), None)
    return (
        f". With {prefix!r} before each name they are there: pass {{name.removeprefix({prefix!r}): ...}}"
        if prefix
        else ""
    )


def _contents(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what stands in nested lists, tuples and dicts, with dotted names."""
    if isinstance(value, (Mapping, list, tuple)):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _contents(f"{path}.{key}" if path else str(key), item)
    else:
        yield path, value
