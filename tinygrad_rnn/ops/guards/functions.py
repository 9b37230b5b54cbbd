"""What functions and modules read: how a search goes on from them."""

from __future__ import annotations

import builtins
import os
import re
import sys
import types
from typing import Any

from .bytecode import Code, imported, read
from .keys import MISSING, Names, Same
from .libraries import IMPORTING, PACKAGE, SETTINGS, is_library
from .observations import instance_of, setting
from .walk import Path, Walk


def function(walk: Walk, f: types.FunctionType, path: Path) -> None:
    """Follow a function: its defaults, its attributes, the variables that its code reads."""
    own = vars(f)
    module = f.__globals__.get("__name__")
    library = is_library(module)
    if library and str(module).partition(".")[0] == PACKAGE:
        walk.add(Same(f), path)
        if "__wrapped__" in own:  # an operation of the user's
            walk.push([(own["__wrapped__"], path)])
        elif f.__closure__:  # such as the function that tg.grad gives, with that of the user's
            walk.push((walk.places.closure_variable(cell), path) for cell in f.__closure__)
        return
    for name in ("__code__", "__defaults__", "__kwdefaults__"):
        walk.places.watch(f, name, getattr(f, name))
    walk.add(Same(f.__code__), path)
    if library and f.__name__ in IMPORTING:
        walk.reads.imports = True
    if f in SETTINGS:
        walk.count(setting, f, path)
    default = (path, " (default)")
    walk.push(((f.__defaults__, default), (f.__kwdefaults__, default)))
    if own:
        walk.push([(own, path)])
    closure = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
    inside = {name: walk.places.closure_variable(cell) for name, cell in closure}
    walk.kept.append(inside)
    if library:  # whose globals stay as they are
        walk.push((value, (None, name)) for name, value in inside.items())
    else:
        walk.push(reversed(_variables(walk, read(f.__code__), inside, f.__globals__)))


def _variables(
    walk: Walk, code: Code, inside: dict[str, Any], space: dict[str, Any]
) -> list[tuple[Any, Path]]:
    """Return what the code of a user's function reads, from its closure and from its globals."""
    walk.reads.names |= code.names
    walk.reads.everything = walk.reads.everything or code.reflective
    walk.words |= code.words
    chained = {chain[1] for chain in code.chains if chain[0] == "free"}
    parts: list[tuple[Any, Path]] = [
        (inside[name], (None, name)) for name in sorted(inside.keys() - chained - {"__class__"})
    ]
    for kind, name, *attributes in code.chains:
        if kind == "free" and name not in inside:
            # A variable of this function itself, which a function inside it uses.
            walk.reads.names |= {*attributes}
        else:
            value = inside[name] if kind == "free" else _global(walk, space, name)
            parts.append(_chain(walk, value, name, attributes))
    parts += [(_global(walk, space, name), (None, name)) for name in code.texts]
    parts += [
        (walk.places.lookup(sys.modules, name), (None, name))
        for name in imported(code.imports, space)
    ]
    readers = (os.getenv, getattr(os, "getenvb", None))
    if any(instance_of(value, types.FunctionType) and value in readers for value, _ in parts):
        parts.append((os.environ, (None, "os.environ")))
    return parts


def _chain(walk: Walk, value: Any, name: str, attributes: list[str]) -> tuple[Any, Path]:
    """Follow a chain such as config.model.rate through modules, to the first other value."""
    path: Path = (None, name)
    for k, attribute in enumerate(attributes):
        if not instance_of(value, types.ModuleType):
            walk.reads.names |= {*attributes[k:]}
            break
        owner, value = value, walk.places.lookup(vars(value), attribute)
        if value is MISSING:
            value = getattr(owner, attribute, MISSING)
        path = (path, f".{attribute}")
    return value, path


def _global(walk: Walk, space: dict[str, Any], name: str) -> Any:
    """Return the value of a global, which may be a builtin, or MISSING."""
    value = walk.places.lookup(space, name)
    if value is not MISSING:
        return value
    known = space.get("__builtins__", builtins)
    return walk.places.lookup(known if isinstance(known, dict) else vars(known), name)


def module(walk: Walk, module: types.ModuleType, path: Path) -> None:
    """Follow a module that is handed about as a value."""
    walk.add(Same(module), path)
    space, reads, lookup = vars(module), walk.reads, walk.places.lookup
    if is_library(module.__name__):
        if module.__name__.partition(".")[0] != PACKAGE:
            names = sorted(reads.names & space.keys())
            walk.push([(lookup(space, name), (path, f".{name}")) for name in names])
        return
    wanted = reads.names | (
        {n for n in space if not n.startswith("__")} if reads.everything else set()
    )
    names = sorted(name for name in wanted if name in space)
    for name in wanted - set(names):
        lookup(space, name)
    walk.add(Names(names), path)
    walk.push([(lookup(space, name), (path, f".{name}")) for name in names])


def named_modules(walk: Walk) -> None:
    """Follow the modules whose names are texts that were found.

    It is called where the code imports by a text, after everything else was visited.
    """
    texts = walk.words | {item[1] for item in walk.items if type(item) is tuple and item[0] is str}
    words = {word for text in texts for word in re.findall(r"[^\W\d][\w.]*", text)}
    for name in sorted(words - walk.imported):
        walk.imported.add(name)
        walk.push([(walk.places.lookup(sys.modules, name), (None, name))])
