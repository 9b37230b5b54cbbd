"""Whose code and whose classes are taken to stay as they are, and what is looked at in classes."""

from __future__ import annotations

import functools
import io
import os
import sys
import types
from typing import Any

import numpy as np

from .observations import instance_of

# fmt: off  (tables)
PACKAGE = __name__.partition(".")[0]
STANDARD = sys.stdlib_module_names
# Packages whose code is taken to stay as it is.
_FIXED = (STANDARD | {PACKAGE, "numpy", "scipy", "numba", "llvmlite"}) - {"__main__"}
# Packages whose objects change while a program runs, and are not read by computations.
OPAQUE = {
    "logging",
    "threading",
    "_thread",
    "io",
    "_io",
    "abc",
    "_abc",
    "asyncio",
    "multiprocessing",
    "concurrent",
    "queue",
    "_queue",
    "socket",
    "subprocess",
    "typing",
    "inspect",
    "importlib",
    "_frozen_importlib",
    "_frozen_importlib_external",
    "warnings",
    "numba",
    "llvmlite",
    "ctypes",
    "_ctypes",
}
# Packages whose objects do not change, and are told apart by their text.
BY_TEXT = {
    "datetime",
    "decimal",
    "_decimal",
    "fractions",
    "pathlib",
    "uuid",
    "re",
    "zoneinfo",
    "ipaddress",
}
DECIMAL = ("decimal", "_decimal")
# Functions that import, or run, what a text says.
IMPORTING = {"import_module", "resolve_name", "__import__", "eval", "exec"}
# Functions that tell how a thread or a process is set.
SETTINGS = {np.geterr, np.get_printoptions, os.getcwd, sys.getrecursionlimit}
# Entries of a class that Python keeps for itself.
NOT_READ = {
    "__dict__",
    "__weakref__",
    "__module__",
    "__qualname__",
    "__doc__",
    "__annotations__",
    "__abstractmethods__",
    "_abc_impl",
    "__parameters__",
    "__orig_bases__",
    "__dataclass_params__",
    "__dataclass_fields__",
    "__static_attributes__",
    "__firstlineno__",
    "__slots__",
}
# Methods that run when objects are made and when they go.
MAKING = {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__", "__del__"}
# fmt: on


def top_package(kind: type) -> str:
    """Return the outermost package or module of a class."""
    return kind.__module__.partition(".")[0] if isinstance(kind.__module__, str) else ""


def is_library(module: str | None) -> bool:
    """Whether the code of a module, which is given by its name, is taken to stay as it is."""
    return (module or "").partition(".")[0] in _FIXED or module == "builtins"


def is_library_class(cls: type) -> bool:
    """Whether the code of a class is taken to stay as it is.

    A class that was made by code without a module says that it is a builtin, and is a user's.
    """
    module = cls.__module__ if isinstance(cls.__module__, str) else ""
    return is_library(module) and not (module == "builtins" and python_made((cls,)))


def is_users(value: Any) -> bool:
    """Whether a value is a function of the user's."""
    return instance_of(value, types.FunctionType) and not is_library(
        value.__globals__.get("__name__")
    )


def iterates(value: Any) -> bool:
    """Whether a value is an iterator, which gives other values each time that it is read."""
    kind = type(value)
    if instance_of(value, io.IOBase):
        return False
    return instance_of(value, types.GeneratorType) or (
        type(getattr(kind, "__next__", None)) is types.WrapperDescriptorType
        and top_package(kind) not in OPAQUE
    )


@functools.lru_cache(maxsize=1024)
def slots(bases: tuple[type, ...]) -> tuple[str, ...]:
    """Return the names of the attributes that objects of some classes have in slots."""
    found = [
        name
        for base in bases
        for name, entry in vars(base).items()
        if isinstance(entry, types.MemberDescriptorType)
    ]
    return tuple(dict.fromkeys(found))


@functools.lru_cache(maxsize=1024)
def python_made(bases: tuple[type, ...]) -> bool:
    """Whether all of an object of some classes stands in its attributes.

    That is so if none of the classes is written in C; such a one would have methods in C.
    """
    in_c = (types.WrapperDescriptorType, types.MethodDescriptorType, types.BuiltinFunctionType)
    return not any(
        getattr(entry, "__objclass__", None) is base
        or (instance_of(entry, types.BuiltinFunctionType) and entry.__self__ is base)
        for base in bases
        for entry in vars(base).values()
        if instance_of(entry, in_c)
    )
