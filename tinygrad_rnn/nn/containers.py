"""Modules that hold others: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..core.errors import ShapeError, TinygradError
from ..module import Module
from ..ops.checks import shown


class _Items(Module):
    """What holds modules under names: the numbers of their places, or words."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def _put(self, name: str, item: Any) -> None:
        if name not in self._names:
            self._names.append(name)
        setattr(self, name, item)

    def _all(self) -> list[Any]:
        return [getattr(self, name) for name in self._names]

    def __len__(self) -> int:
        return len(self._names)


class _InOrder(_Items):
    def _place(self, k: Any) -> str:
        """Return the name of a place, which may be counted from the end."""
        if not isinstance(k, int) or isinstance(k, bool) or not -len(self) <= k < len(self):
            raise ShapeError(
                f"{type(self).__name__}: expected a place from {-len(self)} to {len(self) - 1}, or a slice; found {shown(k)}"
            )
        return str(k % len(self))

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return type(self)._of(self._all()[k])
        return getattr(self, self._place(k))

    def __setitem__(self, k: int, item: Any) -> None:
        self._put(self._place(k), self._checked(item))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def append(self, item: Any) -> Any:
        """Put a module at the end, and return self."""
        self._put(str(len(self)), self._checked(item))
        return self

    def extend(self, items: Iterable[Any]) -> Any:
        """Put modules at the end, and return self."""
        for item in list(items):
            self.append(item)
        return self

    def _checked(self, item: Any) -> Any:
        if not isinstance(item, Module):
            raise TinygradError(f"{type(self).__name__}: expected modules; found {shown(item)}")
        return item

    @classmethod
    def _of(cls, items: list[Any]) -> Any:
        return cls(items)  # type: ignore[call-arg]


class ModuleList(_InOrder):
    """Modules in a list, whose parameters have the names "0.weight", "1.weight", ... as in PyTorch.

    A plain list in an attribute is found as well, and gives the same names. This one takes modules
    alone, and says so where something else is put in.

    Parameters
    ----------
    modules : iterable of Module
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        if not isinstance(modules, Iterable) or isinstance(modules, str):
            raise TinygradError(
                f"ModuleList: expected an iterable of modules; found {shown(modules)}"
            )
        self.extend(modules)


class Sequential(_InOrder):
    """Modules and functions that are called one after the other.

    Parameters
    ----------
    *layers : Module or callable
        Each takes what the one before returned: ``tg.nn.Sequential(tg.nn.Linear(3, 4), tg.tanh)``.
        Or one dict of them by name, by which the parameters are then called.
    """

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            for name, layer in layers[0].items():
                self._put(_word("Sequential", name, self), self._checked(layer))
        else:
            self.extend(layers)

    def _place(self, k: Any) -> str:
        return self._names[int(super()._place(k))]

    def _checked(self, item: Any) -> Any:
        if isinstance(item, type) or not callable(item):
            what = "a class; make an object of it" if isinstance(item, type) else shown(item)
            raise TinygradError(f"Sequential: expected modules and functions; found {what}")
        return item

    @classmethod
    def _of(cls, items: list[Any]) -> Sequential:
        return cls(*items)

    def forward(self, x: Any) -> Any:
        """Call the layers in their order, the first with x."""
        for name in self._names:
            if isinstance(x, (tuple, list)):
                raise TinygradError(
                    f"Sequential: what layer '{name}' would be given is a {type(x).__name__} of {len(x)}, and it hands one tensor on. A recurrent "
                    "layer returns (outputs, state): write a forward that takes the outputs, ys, state = layer(x)"
                )
            x = getattr(self, name)(x)
        return x


class ModuleDict(_Items):
    """Modules by name, as in a dict; the names of their parameters begin with these.

    Parameters
    ----------
    modules : mapping of str to Module
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, self._known(name))

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TinygradError(f"ModuleDict: expected modules; found {shown(module)}")
        self._put(_word("ModuleDict", name, self), module)

    def __delitem__(self, name: str) -> None:
        delattr(self, self._known(name))
        self._names.remove(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._names))

    def keys(self) -> list[str]:
        """Return the names, in the order in which they came."""
        return list(self._names)

    def values(self) -> list[Any]:
        """Return the modules."""
        return self._all()

    def items(self) -> list[tuple[str, Any]]:
        """Return names and modules."""
        return list(zip(self._names, self._all(), strict=True))

    def update(self, modules: Mapping[str, Module]) -> None:
        """Put modules in under their names."""
        if not isinstance(modules, (Mapping, ModuleDict)):
            raise TinygradError(
                f"ModuleDict: expected a dict of modules by name; found {shown(modules)}"
            )
        for name, module in modules.items():
            self[name] = module

    def _known(self, name: Any) -> str:
        if name not in self._names:
            raise TinygradError(
                f"ModuleDict: no module has the name {shown(name)}; there are {self._names}"
            )
        return str(name)


def _word(what: str, name: Any, owner: Module) -> str:
    """Return a name under which a module may stand in another one."""
    taken = isinstance(name, str) and hasattr(type(owner), name)
    if not isinstance(name, str) or not name or "." in name or name.startswith("_") or taken:
        raise TinygradError(
            f"{what}: a name must be a word without dots that does not begin with '_' and is no method of the module; found {shown(name)}"
        )
    return name
