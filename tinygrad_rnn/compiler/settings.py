"""What a recorded step depends on besides shapes: found anew at each unrolling, so that a change leads to another recording."""

from __future__ import annotations

import functools
import types
from typing import Any, NamedTuple

import numpy as np

from ..core.tape import Leaf, Node
from ..core.tensor import Tensor
from ..module import Module, Parameter

_PACKAGE = __name__.partition(".")[0]


class Same:
    """An object that is equal to itself alone; it is kept, so that its place in memory is not given to another."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class Settings(NamedTuple):
    """What a recorded step depends on.

    Attributes
    ----------
    key : tuple
    lending : tuple
        The same, in which tensors that may have a row for each of the batch count by their shape alone.
    lent : list of Tensor
        These tensors: no parameters, and the first axis is the batch.
    computed : dict of Node to array
        The values of tensors that were computed.
    """

    key: tuple[Any, ...]
    lending: tuple[Any, ...]
    lent: list[Tensor]
    computed: dict[Node, Any]


def settings(cell: Any, batch: int = -1) -> Settings:
    """The parameters, plain attributes such as `training`, and what a function of the user takes from outside, as a key.

    Attributes are followed through modules, lists, tuples and dicts, functions through what they close over and their globals. Other
    objects count as they are: a change inside them is not seen.
    """
    found: list[Any] = []
    lent: dict[int, tuple[int, Tensor]] = {}  # by identity: where it stands in `found`
    computed: dict[Node, Any] = {}
    stack: list[Any] = [cell]
    seen: set[int] = set()
    while stack:
        value = stack.pop()
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            found.append((kind, value))
        elif isinstance(value, Tensor):
            if value.shape[:1] == (batch,) and not isinstance(value, Parameter):
                lent.setdefault(id(value), (len(found), value))
            leaf = value.node is None or isinstance(value.node, Leaf)  # a leaf with new values is found at each run
            if not leaf:
                computed[value.node] = value.array  # type: ignore[index]
            found.append((Same(value if leaf else value.node), value.requires_grad))
            if not value.requires_grad:  # what is computed of constants alone stands in the recording as a number
                found.append(Same(value.array))
        elif isinstance(value, np.ndarray):
            found.append((value.shape, value.dtype, hash(value.tobytes()) if value.dtype.kind != "O" else Same(value)))
        elif isinstance(value, (list, tuple)):
            found.append((kind, len(value)))
            stack += value
        elif isinstance(value, dict):
            found.append((kind, tuple(map(str, value))))
            stack += value.values()
        elif id(value) in seen:
            continue
        elif isinstance(value, Module):
            seen.add(id(value))
            found.append((kind, value.training))
            stack.append(vars(value))
            for base in kind.__mro__[:-1]:  # methods and attributes of the user's classes
                if not _ours(base):
                    stack += [v for name, v in vars(base).items() if not name.startswith("__")]
        elif isinstance(value, types.FunctionType):
            seen.add(id(value))
            if not _ours(value):
                found.append(Same(value.__code__))
                stack += [value.__defaults__, value.__kwdefaults__, *_outside(value)]
        elif isinstance(value, types.MethodType):
            stack += [value.__func__, value.__self__]
        elif isinstance(value, functools.partial):
            stack += [value.func, value.args, value.keywords]
        elif not isinstance(value, (type, types.ModuleType, types.BuiltinFunctionType, np.ufunc)):
            found.append(Same(value))
    lending = list(found)
    for place, t in lent.values():
        lending[place] = (t.shape[1:], t.dtype, t.requires_grad)
    return Settings(tuple(found), ("lending", *lending), [t for _, t in lent.values()], computed)


def _ours(value: Any) -> bool:
    """Whether a class or function is the package's own."""
    return (value.__module__ or "").partition(".")[0] == _PACKAGE


def _outside(function: types.FunctionType) -> list[Any]:
    """The values that a function closes over, and its globals."""
    values = []
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not yet given a value
            continue
    codes = [function.__code__]
    for code in codes:
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
        values += [function.__globals__[name] for name in code.co_names if name in function.__globals__]
    return values
