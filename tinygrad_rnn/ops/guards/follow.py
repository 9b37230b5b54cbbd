"""The search through all that can be reached from some objects, by the kind of each object."""

from __future__ import annotations

import contextvars
import functools
import gc
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.errors import TraceError
from ...core.tape import Leaf
from ...core.tensor import Tensor
from . import functions, objects
from .keys import MISSING, PLAIN, Same
from .libraries import DECIMAL, IMPORTING, SETTINGS, is_users, iterates
from .observations import arithmetic, cache_counts, instance_of, setting, variables
from .walk import Path, Reads, Walk, text_of

_DICT_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


def follow(roots: Sequence[Any], reads: Reads) -> Walk:
    """Follow everything that can be reached from some objects.

    Parameters
    ----------
    roots : sequence
        Where the search begins; the last one is visited first.
    reads : Reads
        The names that code was found to read. Further ones are added to it.

    Returns
    -------
    Walk
        What was found.

    Raises
    ------
    TraceError
        If an iterator is read, which gives other values each time.
    """
    walk = Walk(reads, [(value, (None, _name(value))) for value in roots])
    while walk.stack:
        _visit(walk, *walk.stack.pop())
        if not walk.stack and reads.imports:
            functions.named_modules(walk)
    return walk


def _name(value: Any) -> str:
    """Return the name of a function or a class, or that of an object's class."""
    named = instance_of(value, (types.FunctionType, type))
    return str(value.__name__ if named else type(value).__name__)


def _visit(walk: Walk, value: Any, path: Path) -> None:
    """Add an object to the key, and go on to its parts."""
    kind = type(value)
    if kind in PLAIN:
        walk.add((kind, value), path)
    elif kind is float:
        walk.add((kind, value.hex()), path)  # -0.0 and 0.0 differ, and nan is itself
    elif kind is complex:
        walk.add((kind, value.real.hex(), value.imag.hex()), path)
    elif value is MISSING:
        walk.add(("missing",), path)
    elif instance_of(value, Tensor):
        _tensor(walk, value, path)
    elif instance_of(value, np.dtype):
        walk.add((kind, value), path)
    elif instance_of(value, np.generic):
        walk.add((kind, value.dtype, value.tobytes()), path)
        # A row of an array of records shows what stands in the array.
        if instance_of(value, np.void):
            walk.places.results.append((np.void.tobytes, value, value.tobytes()))
    elif kind is range:
        walk.add((kind, value.start, value.stop, value.step), path)
    elif kind is slice:
        walk.add((kind,), path)
        walk.push((part, path) for part in (value.start, value.stop, value.step))
    elif instance_of(value, type):
        objects.class_(walk, value, path)
    elif instance_of(value, types.MethodType):  # another object at each access
        walk.add((kind,), path)
        walk.push(((value.__func__, path), (value.__self__, path)))
    elif instance_of(value, (types.BuiltinFunctionType, types.MethodWrapperType)):
        _builtin(walk, value, path)
    elif not walk.again(value, path):
        _compound(walk, value, path)


def _tensor(walk: Walk, t: Tensor, path: Path) -> None:
    """Follow a tensor.

    A leaf that has gradients is asked for its values at each run. What is computed of constants
    alone stands in the recording as a number, unless it is asked for as well.
    """
    node = t.node
    gradient = node is not None and node.requires_grad
    leaf = node is None or isinstance(node, Leaf)
    walk.tensors.append((len(walk.items), t))
    asked = leaf and not gradient and walk.reads.asks(t)
    values = None if gradient else (t.shape, t.dtype) if asked else Same(t.array)
    walk.add((Same(t if leaf else node), gradient, values), path)
    places = walk.places
    if gradient and leaf:
        hooks = tuple(node.hooks or ()) if node is not None else ()
        places.leaves[0].append(t)
        places.leaves[1].append(hooks)
        if hooks:
            walk.add(("hooks", len(hooks)), path)
            walk.push((hook, (path, ".hooks")) for hook in hooks)
    elif not leaf:
        places.watch(t, "node", node)
    else:
        places.constants.append(t)
        if asked:
            walk.asked[id(t)] = t
        else:
            places.watch(t, "array", t.array)
    reads = walk.reads
    wanted = ["name"] if "name" in reads.names else []
    if "grad" in reads.names if reads.gradients is None else reads.gradients:
        wanted.append("grad")
    if wanted and not walk.again(t, path):
        for name in wanted:
            places.watch(t, name, getattr(t, name))
            walk.push([(getattr(t, name), (path, f".{name}"))])


def _builtin(walk: Walk, value: Any, path: Path) -> None:
    """Follow a function that is written in C, and the object of which it is a method."""
    owner = value.__self__
    bound = owner is not None and not isinstance(owner, (types.ModuleType, type))
    walk.add((type(value), value.__name__) if bound else Same(value), path)
    if value.__name__ in IMPORTING:
        walk.reads.imports = True
    if value in SETTINGS:
        walk.count(setting, value, path)
    elif not bound and value.__module__ in DECIMAL:
        walk.count(arithmetic, None, path)
    if bound:
        walk.push([(owner, path)])


def _compound(walk: Walk, value: Any, path: Path) -> None:
    """Go on to the parts of an object that has some."""
    for kinds, follower in _FOLLOWERS:
        if instance_of(value, kinds):
            follower(walk, value, path)
            return
    if iterates(value):
        raise TraceError(
            f"{text_of(path)} is an iterator ({type(value).__name__}), which gives other values each time that it is read: a recording would repeat "
            "those of the first. Hand over a list, or the values themselves as arguments."
        )
    objects.object_(walk, value, type(value), path)


# --- kinds of objects that have parts -------------------------------------------------------------


def _partial(walk: Walk, value: Any, path: Path) -> None:
    walk.add((type(value),), path)
    walk.push(((value.func, path), (value.args, path), (value.keywords, path)))


def _cached(walk: Walk, value: Any, path: Path) -> None:
    counts = cache_counts(value)
    walk.add((type(value), counts), path)
    walk.places.results.append((cache_counts, value, counts))
    walk.push([(value.__wrapped__, path)])


def _proxy(walk: Walk, value: Any, path: Path) -> None:
    walk.add((type(value),), path)
    try:
        walk.push([(value.__init__.__self__, path)])  # which is asked of the object itself
    except ReferenceError:  # it is gone
        walk.push([(None, path)])


def _reference(walk: Walk, value: Any, path: Path) -> None:
    walk.add((type(value),), path)
    walk.push((part, path) for part in walk.places.hold(lambda ref: [ref()], value))


def _context_variable(walk: Walk, value: Any, path: Path) -> None:
    walk.add(Same(value), path)
    held = walk.places.hold(lambda variable: [variable.get(None)], value)
    walk.push((part, path) for part in held)


def _closure_variable(walk: Walk, value: Any, path: Path) -> None:
    found = walk.places.closure_variable(value)
    walk.add((type(value),), path)
    walk.push([(found, path)])


def _context(walk: Walk, value: Any, path: Path) -> None:
    walk.add((type(value),), path)
    walk.push((part, path) for part in walk.places.hold(variables, value))


def _view_of_dict(walk: Walk, value: Any, path: Path) -> None:
    walk.add((type(value),), path)
    walk.push((mapping, path) for mapping in gc.get_referents(value))


def _ufunc(walk: Walk, value: Any, path: Path) -> None:
    walk.add(Same(value), path)
    # The function that was given to np.frompyfunc.
    walk.push((part, path) for part in gc.get_referents(value) if is_users(part))


_Kinds = type | tuple[type, ...]
_FOLLOWERS: list[tuple[_Kinds, Callable[[Walk, Any, Path], None]]] = [
    (types.FunctionType, functions.function),
    (types.ModuleType, functions.module),
    (functools.partial, _partial),
    (functools._lru_cache_wrapper, _cached),
    (weakref.ProxyTypes, _proxy),
    (weakref.ref, _reference),
    (contextvars.ContextVar, _context_variable),
    (types.CellType, _closure_variable),
    (contextvars.Context, _context),
    ((types.MappingProxyType, *_DICT_VIEWS), _view_of_dict),
    (np.ufunc, _ufunc),
]
