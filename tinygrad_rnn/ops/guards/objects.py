"""What classes and their objects hold: how a search goes on from them."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

from .contents import by_text, contents, shared_memory
from .keys import MISSING, PLAIN, Names, Same
from .libraries import (
    BY_TEXT,
    DECIMAL,
    MAKING,
    NOT_READ,
    OPAQUE,
    PACKAGE,
    STANDARD,
    is_library_class,
    is_users,
    iterates,
    python_made,
    slots,
    top_package,
)
from .observations import arithmetic, generator_state, instance_of, own_attributes, referents
from .walk import Path, Walk

_RUNNING = (
    types.FrameType,
    types.TracebackType,
    types.CodeType,
    types.CoroutineType,
    types.AsyncGeneratorType,
)
_DESCRIPTORS = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
)


def class_(walk: Walk, cls: type, path: Path) -> None:
    """Follow a class, its bases and its metaclass."""
    walk.add(Same(cls), path)
    if cls.__module__ in DECIMAL:
        walk.count(arithmetic, None, path)
    if not is_library_class(cls) and walk.first(cls):
        _entries(walk, cls, path, everything=walk.reads.everything, called=True)
        if type(cls) is not type:
            class_(walk, type(cls), path)


def _entries(walk: Walk, cls: type, path: Path, *, everything: bool, called: bool) -> None:
    """Follow the entries of a class and of its bases: methods and other attributes.

    They are those of the user's classes, and what users put into a class of this package.

    Parameters
    ----------
    walk, path
        The search, and how the code calls the class or an object of it.
    cls : type
        The class.
    everything : bool
        Whether all entries count, and not only those whose names were read.
    called : bool
        Whether the class may be called. Only then do the methods count that make objects.
    """
    called = called or everything or "__class__" in walk.reads.names
    if (cls, everything, called) in walk.entered:
        return
    walk.entered.add((cls, everything, called))
    for base in cls.__mro__[:-1]:
        library = is_library_class(base)
        if library and base.__module__.partition(".")[0] != PACKAGE:
            continue
        entries = vars(base)
        if base not in walk.places.classes:
            walk.places.classes[base] = (list(entries), list(entries.values()))
        for name, value in entries.items():
            special = name.startswith("__") and name.endswith("__")
            wanted = everything or special or name in walk.reads.names
            if not wanted or name in NOT_READ or (name in MAKING and not called):
                continue
            value = _unwrapped(value)
            if instance_of(value, _DESCRIPTORS):
                continue
            if not library or type(value) in PLAIN or type(value) is float or is_users(value):
                walk.stack.append((value, (path, f".{name}")))
                walk.add((name,), path)


def _unwrapped(entry: Any) -> Any:
    """Return the function of a static method, of a class method or of a property."""
    if instance_of(entry, (staticmethod, classmethod)):
        entry = getattr(entry, "__func__", entry)
    return entry.fget if instance_of(entry, property) else entry


def object_(walk: Walk, value: Any, kind: type, path: Path) -> None:
    """Follow an array, a container, or any other object."""
    room = top_package(kind)
    if room in BY_TEXT:
        by_text(walk, value, kind, path)
        return
    opaque = room in OPAQUE and kind.__qualname__ != "_local"
    if opaque and not shared_memory(walk, value, kind, path):
        walk.add(Same(value), path)
        return
    package = room == PACKAGE
    if package and hasattr(kind, "plain"):  # a compiled cell or function is what it was made of
        walk.add(Same(kind), path)
        walk.push([(value.plain, path)])
        return
    for column, one in zip(walk.places.types, (value, kind), strict=True):
        column.append(one)
    bases = kind.__mro__[:-1]
    if not contents(walk, value, kind, path):
        _opaque_part(walk, value, kind, path)
    modules = hasattr(kind, "named_parameters")
    everything = modules or (
        not package
        and (
            walk.reads.everything
            or any(is_library_class(base) and base.__module__ != "typing" for base in bases)
        )
    )
    if modules or not package:
        _entries(walk, kind, path, everything=everything, called=False)
    own = own_attributes(value)
    parts: list[tuple[Any, Path]] = []
    if isinstance(own, dict):
        parts += _own(walk, value, own, path, everything=everything)
    parts += _slots(walk, value, bases, path, everything=everything)
    if package and not modules and isinstance(own, dict) and "__wrapped__" in own:
        parts += [(f, path) for f in _rules(walk, own)]
    walk.push(reversed(parts))


def _opaque_part(walk: Walk, value: Any, kind: type, path: Path) -> None:
    """Follow what an object holds beside its attributes."""
    walk.add(Same(kind), path)
    if generator_state(value) is not None:
        walk.generators.append((value, path))
    bases = kind.__mro__[:-1]
    if python_made(bases):
        return
    walk.add(Same(value), path)  # an extension may keep what it likes in it
    if instance_of(value, BaseException):
        walk.places.watch(value, "args", value.args)
        walk.push([(value.args, (path, ".args"))])
    elif (
        own_attributes(value) is None
        and not instance_of(value, _RUNNING)
        and all(top_package(base) in STANDARD for base in bases)
    ):  # such as operator.methodcaller
        walk.push((part, path) for part in walk.places.hold(referents, value))


def _own(
    walk: Walk, value: Any, own: dict[str, Any], path: Path, *, everything: bool
) -> list[tuple[Any, Path]]:
    """Return the attributes in the `__dict__` of an object that count, with their paths."""
    places, reads = walk.places, walk.reads.names
    for column, one in zip(places.own, (value, own), strict=True):
        column.append(one)
    places.keyed.append(own)
    names = list(own) if everything else [n for n in own if n in reads]
    walk.add(Names(names), path)
    if not everything:
        return [(places.lookup(own, n), (path, f".{n}")) for n in names]
    places.valued.append(own)
    # An iterator that no code names, such as one over batches, is not read.
    return [(own[n], (path, f".{n}")) for n in names if n in reads or not iterates(own[n])]


def _slots(
    walk: Walk, value: Any, bases: tuple[type, ...], path: Path, *, everything: bool
) -> Iterator[tuple[Any, Path]]:
    """Return the attributes in the slots of an object that count, with their paths."""
    for name in slots(bases):
        if everything or name in walk.reads.names:
            try:
                found = getattr(value, name, MISSING)
            except Exception:  # it has none, and a __getattr__ that raises
                found = MISSING
            walk.places.watch(value, name, found)
            yield found, (path, f".{name}")


def _rules(walk: Walk, own: dict[str, Any]) -> list[Any]:
    """Return the functions of the user's in an operation that `custom_vjp` made."""
    primitive = own["primitive"]
    walk.places.watch(primitive, "rules", primitive.rules)
    walk.places.watch(primitive, "tangent", primitive.tangent)
    return [
        own["__wrapped__"],
        *[getattr(r.function, "__wrapped__", None) for r in primitive.rules],
    ]
