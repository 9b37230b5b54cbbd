"""What containers, arrays and other memory hold: how a search goes on from them."""

from __future__ import annotations

import collections
import io
import re
from typing import Any

import numpy as np

from .keys import Same
from .libraries import DECIMAL, top_package
from .observations import (
    arithmetic,
    array_content,
    array_elements,
    array_form,
    file_content,
    instance_of,
    memory,
    ordered_keys,
    own_attributes,
)
from .walk import Path, Walk


def contents(walk: Walk, value: Any, kind: type, path: Path) -> bool:
    """Follow what stands in a container, an array or a file; return False for anything else."""
    if instance_of(value, np.ndarray):
        _array(walk, value, kind, path)
    elif instance_of(value, dict):
        _dict(walk, value, kind, path)
    elif instance_of(value, (list, tuple)):
        _sequence(walk, value, kind, path)
    elif instance_of(value, (set, frozenset, collections.deque)):
        walk.add((Same(kind), len(value)), path)
        walk.push((part, path) for part in walk.places.hold(list, value))
    elif instance_of(value, (int, float, complex, str, bytes)):  # of a class derived from these
        base = next(b for b in (bool, int, float, complex, str, bytes) if instance_of(value, b))
        walk.add((Same(kind), base.__repr__(value)), path)
    elif instance_of(value, (io.StringIO, io.BytesIO)):
        walk.add(Same(kind), path)
        if not value.closed:
            walk.count(file_content, value, path)
    elif (found := memory(value)) is not None:
        walk.add((Same(kind), found), path)
        walk.places.results.append((memory, value, found))
        if (pointed := getattr(value, "_objects", None)) is not None:  # of a pointer of ctypes
            walk.places.watch(value, "_objects", pointed)
            walk.push([(pointed, path)])
    else:
        return False
    return True


def _array(walk: Walk, value: Any, kind: type, path: Path) -> None:
    """Follow an array: its bytes count, or its elements if they are objects."""
    if value.dtype.hasobject:
        walk.add((kind, value.shape, value.dtype), path)
        walk.places.results.append((array_form, value, array_form(value)))
        walk.push((part, path) for part in walk.places.hold(array_elements, value))
    else:
        found = array_content(value)
        walk.add((kind, *found), path)
        walk.places.results.append((array_content, value, found))


def _dict(walk: Walk, value: Any, kind: type, path: Path) -> None:
    """Follow the keys and values of a dict, and their order where it is the dict's own."""
    walk.places.keyed.append(value)
    walk.places.valued.append(value)
    walk.add((Same(kind), len(value)), path)
    walk.push([(v, (path, f"[{k!r}]")) for k, v in dict.items(value)])
    walk.push([(k, path) for k in dict.keys(value)])
    if instance_of(value, collections.OrderedDict):
        walk.push((k, path) for k in walk.places.hold(ordered_keys, value))


def _sequence(walk: Walk, value: Any, kind: type, path: Path) -> None:
    """Follow the elements of a list or a tuple."""
    walk.add((Same(kind), len(value)), path)
    is_list = instance_of(value, list)
    parts = list.__iter__(value) if is_list else tuple.__iter__(value)
    walk.push([(v, (path, f"[{k}]")) for k, v in enumerate(parts)])
    if is_list:
        walk.places.lists.append(value)


def shared_memory(walk: Walk, value: Any, kind: type, path: Path) -> bool:
    """Follow an object of the standard library that stands for memory; return False for others.

    Such objects are files in memory, values of ctypes, and values that processes share.
    """
    if instance_of(value, (io.StringIO, io.BytesIO)):
        return contents(walk, value, kind, path)
    files = (io.TextIOWrapper, io.BufferedReader, io.BufferedRandom)
    if instance_of(value, files) and not value.closed:
        inner = value.buffer if instance_of(value, io.TextIOWrapper) else value.raw
        walk.push([(inner, path)])
    if top_package(kind) not in ("ctypes", "_ctypes", "multiprocessing"):
        return False
    if contents(walk, value, kind, path):
        return True
    own = own_attributes(value)
    if isinstance(own, dict):
        names = [name for name in ("_obj", "_buf") if name in own]
        walk.push([(walk.places.lookup(own, name), path) for name in names])
    return False


def by_text(walk: Walk, value: Any, kind: type, path: Path) -> None:
    """Follow a value of the standard library that does not change, or a context of decimals."""
    if instance_of(value, re.Match):
        walk.add((kind, value.regs), path)
        walk.push([(value.string, path), (value.re, path)])
    elif instance_of(value, re.Pattern):  # whose repr is cut
        walk.add((kind, value.pattern, value.flags), path)
    elif kind.__name__ == "Context":
        walk.count(arithmetic, value, path)
    else:
        walk.add((kind, repr(value)), path)
        if top_package(kind) in DECIMAL:
            walk.count(arithmetic, None, path)
