"""`functional_call`: a module with other parameters, so that transforms differentiate by them."""

from __future__ import annotations

import collections
import copy
import functools
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .core.errors import DtypeError, GraphError, ShapeError, TinygradError
from .core.record import describe
from .core.tape import Node, Older, reachable
from .core.tensor import Tensor, tensor
from .core.tree import leaves
from .module import Buffer, Module, Parameter, named_tensors, some_of

_LEFT = (type, types.ModuleType, types.BuiltinFunctionType, np.generic, np.random.Generator, Tensor)


def functional_call(
    module: Module, parameters: Mapping[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """Call a module with other parameters in place of its own, which stay as they are.

    Gradients reach the given tensors, also those of higher order: a module becomes a function of
    its parameters, which `grad`, `vjp`, `jvp`, `hvp`, `jacobian` and `gradcheck` take like any
    other.

    Parameters
    ----------
    module : Module
        It may hold compiled cells (`jit`), layers, and checkpoints; a cell is called for one step,
        as ever.
    parameters : mapping of str to Tensor or array
        By the names of `Module.named_parameters`, or of `Module.named_buffers`. Parameters and
        buffers that are not named here are the module's own. A parameter that stands in several
        places is replaced in all of them, under any of its names.
    *args, **kwargs
        Of the call.

    Returns
    -------
    The result of ``module(*args, **kwargs)``.

    Raises
    ------
    GraphError
        If `forward` reaches a parameter of the module itself on a way on which it is not replaced,
        such as a global name.
    TinygradError
        For a name that the module does not have, two values for one tensor, or a `module` that is
        none.
    ShapeError
        For a value of another shape than the parameter.
    DtypeError
        For a value that is not of a floating dtype where the parameter is. float64 values for a
        module of float32 are taken: first states follow the parameters.

    Notes
    -----
    The call runs on a copy of the tree of modules that holds the given tensors, so that steps which
    run again later (checkpoints, gradients of gradients of compiled cells) find them, and so that
    other threads see no change. What `forward` assigns to attributes is assigned to the module
    itself when the call is over. A compiled cell is recorded anew for each set of tensors.

    Examples
    --------
    >>> model = tg.nn.Linear(2, 1, rng=0)
    >>> loss = lambda parameters: (tg.functional_call(model, parameters, np.ones((1, 2), np.float32)) ** 2).sum()
    >>> gradient = tg.grad(loss)(dict(model.named_parameters()))
    >>> sorted(gradient)
    ['bias', 'weight']
    """
    if not isinstance(module, Module):
        raise TinygradError(
            f"functional_call: expected a module; found a {type(module).__name__}. Of a function the tensors are arguments."
        )
    if not isinstance(parameters, Mapping):
        raise TinygradError(
            "functional_call: the parameters are a mapping of names to tensors, such as dict(module.named_parameters()); "
            f"found a {type(parameters).__name__}"
        )
    what = f"functional_call: the forward of {type(module).__name__}"
    made, finish = substituted(module, parameters, what)
    result = made(*args, **kwargs)
    finish(result)
    return result


def substituted(
    module: Module, parameters: Mapping[str, Any], what: str
) -> tuple[Any, Callable[[Any], None]]:
    """Return a copy of a module with other parameters, and what is to be called at the end.

    That is given the result: it checks that no parameter was left out, and gives the module itself
    what was assigned to attributes of the copy. `what` says for messages who computes the result.
    """
    chosen = _chosen(module, parameters)
    replaced = {
        own.node
        for own in named_tensors(module).values()
        if id(own) in chosen and own.node is not None
    }
    substitution, older = _Substitution(chosen, replaced), Older()

    def finish(result: Any) -> None:
        _check_replaced(module, parameters, result, older, what)
        substitution.write_back()

    return substitution.convert(module), finish


def _check_replaced(
    module: Module, parameters: Mapping[str, Any], result: Any, older: Older, what: str
) -> None:
    """Raise a GraphError if a result was computed from a parameter that was to be replaced."""
    own = named_tensors(module)
    ends = {
        own[name].node: name
        for name, given in parameters.items()
        if given is not own[name] and own[name].requires_grad
    }
    nodes = [
        y.node
        for y in leaves(result)
        if isinstance(y, Tensor) and y.node is not None and y.requires_grad
    ]
    for node in reachable(nodes, older) if ends else ():
        if node in ends:
            raise GraphError(
                f"{what} reaches '{ends[node]}' of the {type(module).__name__} itself on a way on which it is not replaced "
                "(a global name, for example). Reach it through the module that is given: self.... in forward, the argument of a function"
            )


def _chosen(module: Module, parameters: Mapping[str, Any]) -> dict[int, Tensor]:
    """Return for each tensor of the module that is replaced what stands in its place.

    The tensors are told apart by identity.
    """
    own = named_tensors(module)
    unknown = [name for name in parameters if name not in own]
    if unknown:
        raise TinygradError(
            f"functional_call: {type(module).__name__} has no {some_of(unknown)}; it has {some_of(list(own))}"
        )
    chosen: dict[int, Tensor] = {}
    names: dict[int, str] = {}
    for name, value in parameters.items():
        old = own[name]
        found = (
            value
            if isinstance(value, Tensor)
            else tensor(value, old.dtype if np.asarray(value).dtype.kind == "f" else None)
        )
        if found.shape != old.shape:
            raise ShapeError(
                f"functional_call: '{name}' has shape {old.shape}; found {found.shape}"
            )
        if (old.dtype.kind == "f") != (found.dtype.kind == "f"):
            raise DtypeError(
                f"functional_call: '{name}' is {old.dtype}; found {found.dtype}. Convert it with .astype(...)."
            )
        if names.setdefault(id(old), name) != name and parameters[names[id(old)]] is not value:
            raise TinygradError(
                f"functional_call: '{names[id(old)]}' and '{name}' are one tensor, for which two values were given"
            )
        chosen[id(old)] = _standing_for(found, type(old))
    return chosen


def _standing_for(given: Tensor, kind: type[Tensor]) -> Tensor:
    """Return the given tensor as one of the module's kind.

    It has the same array and node, and is found by all that looks for parameters or buffers.
    """
    if isinstance(given, kind) or kind not in (Parameter, Buffer):
        return given
    if given.node is None:
        given.leaf()  # which both hold
    made: Tensor = kind.__new__(kind)
    Tensor.__init__(made, given.array, given.node)
    return made


class _Substitution:
    """A copy of all through which a module reaches its tensors, with others in place of some."""

    def __init__(self, chosen: dict[int, Tensor], replaced: set[Node]) -> None:
        self.known: dict[int, Any] = dict(chosen)
        self.replaced = replaced  # the nodes of the originals
        self.kept: list[Any] = []  # the originals, so that their identities are not given to others
        # the original, the copy, and its attributes before the call
        self.modules: list[tuple[Module, Module, dict[str, Any]]] = []

    def convert(self, value: Any) -> Any:
        """Return the value itself if it reaches nothing that is replaced.

        Otherwise return a copy that reaches what replaces it.
        """
        if id(value) in self.known:
            return self.known[id(value)]
        if (
            isinstance(value, Tensor)
            and value.requires_grad
            and not value.is_leaf
            and value.node is not None
        ):
            self._check_derived(value)
        if value is None or isinstance(value, (bool, int, float, str, bytes, *_LEFT)):
            return value
        if isinstance(value, np.ndarray) and value.dtype != object:
            return value
        self.kept.append(value)
        if isinstance(value, Module):
            return self._module(value)
        self.known[id(value)] = value  # for what leads back to it
        made = self.known[id(value)] = self._other(value)
        return made

    def _check_derived(self, value: Tensor) -> None:
        """Raise an error for a tensor that was computed from one that is replaced.

        It would keep the old values.
        """
        if any(n in self.replaced for n in reachable([value.node])):  # type: ignore[list-item]
            raise GraphError(
                f"functional_call: the module holds {describe(value)}{value.node.where.described()}, which was computed from a parameter that is "  # type: ignore[union-attr]
                "replaced, and would keep its old values. Compute it in forward (or in a functools.cached_property)"
            )

    def _module(self, module: Module) -> Any:
        made, content = module.copied(
            self.convert, lambda twin: self.known.__setitem__(id(module), twin)
        )
        self.known[id(module)] = made
        self.modules.append((module, made, content))
        return made

    def _other(self, value: Any) -> Any:
        if isinstance(value, dict):
            items = {key: self.convert(item) for key, item in value.items()}
            if all(items[key] is item for key, item in value.items()):
                return value
            made = copy.copy(value)
            made.update(items)
            return made
        if isinstance(value, (set, frozenset, collections.deque)):
            parts = [self.convert(item) for item in value]
            if all(a is b for a, b in zip(parts, value, strict=True)):
                return value
            return (
                type(value)(parts, value.maxlen)
                if isinstance(value, collections.deque)
                else type(value)(parts)
            )
        if isinstance(value, np.ndarray):  # of objects
            array = np.empty_like(value)
            for place, item in np.ndenumerate(value):
                array[place] = self.convert(item)
            return (
                array
                if any(a is not b for a, b in zip(array.flat, value.flat, strict=True))
                else value
            )
        if isinstance(value, weakref.ref):
            return self._reference(value)
        if isinstance(value, (list, tuple)):
            parts = [self.convert(item) for item in value]
            if all(a is b for a, b in zip(parts, value, strict=True)):
                return value
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        if isinstance(value, types.MethodType):
            owner = self.convert(value.__self__)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if isinstance(value, functools.partial):
            parts = [self.convert(part) for part in (value.func, value.args, value.keywords)]
            same = all(
                a is b for a, b in zip(parts, (value.func, value.args, value.keywords), strict=True)
            )
            return value if same else functools.partial(parts[0], *parts[1], **parts[2])
        if isinstance(value, types.FunctionType):
            return self._function(value)
        return self._object(value)

    def _function(self, function: types.FunctionType) -> Any:
        """Return a function with the replaced tensors in what it closes over and its defaults."""
        cells, changed = [], False
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not yet given a value
                cells.append(cell)
                continue
            new = self.convert(content)
            changed = changed or new is not content
            cells.append(cell if new is content else types.CellType(new))
        defaults, keywords = (
            self.convert(function.__defaults__),
            self.convert(function.__kwdefaults__),
        )
        if (
            not changed
            and defaults is function.__defaults__
            and keywords is function.__kwdefaults__
        ):
            return function
        made = types.FunctionType(
            function.__code__, function.__globals__, function.__name__, defaults, tuple(cells)
        )
        made.__kwdefaults__ = keywords
        made.__dict__.update(function.__dict__)
        return made

    def _object(self, value: Any) -> Any:
        content = dict(vars(value)) if isinstance(getattr(value, "__dict__", None), dict) else {}
        for kind in type(value).__mro__:
            for name, slot in vars(kind).items():
                if isinstance(slot, types.MemberDescriptorType) and hasattr(value, name):
                    content[name] = getattr(value, name)
        changed = {
            name: new for name, item in content.items() if (new := self.convert(item)) is not item
        }
        if not changed:
            return value
        made = copy.copy(value)
        for name, new in changed.items():
            object.__setattr__(made, name, new)
        return made

    def _reference(self, value: weakref.ref[Any]) -> Any:
        """Return a weak reference to what stands for the object that it leads to."""
        found = value()
        new = self.convert(found)
        return value if new is found else weakref.ref(new)

    def write_back(self) -> None:
        """Give the originals the attributes that the call assigned to copies."""
        for module, made, before in self.modules:
            for name, value in vars(made).items():
                if name not in made.cached() and (name not in before or value is not before[name]):
                    vars(module)[name] = value
