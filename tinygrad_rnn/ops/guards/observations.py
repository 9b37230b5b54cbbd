"""How objects are looked at without running their own code, and put back as they were.

An object may have a `__getattribute__`, a `__class__` or a `__len__` of its own, or stand for
another one. The functions of this module ask the type and not the object.
"""

from __future__ import annotations

import collections
import gc
import sys
import types
from typing import Any

import numpy as np


def instance_of(value: Any, kinds: Any) -> bool:
    """Whether the type of a value is one of some types, or derived from one.

    Other than `isinstance` this does not ask the value, whose `__class__` may say something else.
    """
    return issubclass(type(value), kinds)


def own_attributes(value: Any) -> Any:
    """Return the `__dict__` of an object, or None if it has none."""
    look = type(value).__getattribute__
    try:
        return (look if type(look) is types.WrapperDescriptorType else object.__getattribute__)(
            value, "__dict__"
        )
    except AttributeError:
        return None


def is_empty(cell: Any) -> bool:
    """Whether the variable of a closure has no value yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False


# --- arrays, files and other memory ---------------------------------------------------------------


def array_form(array: Any) -> tuple[Any, ...]:
    """Return shape and dtype of an array."""
    return array.shape, array.dtype


def array_content(array: Any) -> tuple[Any, ...]:
    """Return shape and dtype of an array, and a hash of its bytes."""
    return array.shape, array.dtype, hash(np.ndarray.tobytes(array))


def array_elements(array: Any) -> list[Any]:
    """Return the elements of an array of objects."""
    return list(np.ndarray.ravel(array).tolist())


def memory(value: Any) -> Any:
    """Return what stands in the memory that an object shows, or None if it shows none.

    Such objects are a memoryview, an `array.array`, a value of ctypes.
    """
    try:
        with memoryview(value) as view:
            return view.format, view.shape, view.readonly, view.tobytes()
    except (TypeError, ValueError, BufferError):
        return None


def set_memory(value: Any, content: bytes) -> None:
    """Write bytes into the memory that an object shows."""
    if instance_of(value, bytearray):
        value[:] = content
    elif hasattr(value, "frombytes"):
        del value[:]
        value.frombytes(content)
    else:
        np.frombuffer(value, np.uint8)[:] = np.frombuffer(content, np.uint8)


def file_content(file: Any) -> Any:
    """Return what stands in a file in memory, and where it is read next."""
    return file.getvalue(), file.tell()


# --- parts of objects -----------------------------------------------------------------------------


def ordered_keys(d: Any) -> list[Any]:
    """Return the keys of an OrderedDict, in its own order."""
    return list(collections.OrderedDict.__iter__(d))


def variables(context: Any) -> list[Any]:
    """Return the variables of a `contextvars.Context`, and their values."""
    return [*context.keys(), *context.values()]


def referents(value: Any) -> list[Any]:
    """Return the objects to which an object of a class written in C refers."""
    return [
        part for part in gc.get_referents(value) if not instance_of(part, (type, types.ModuleType))
    ]


# --- settings, counters and generators ------------------------------------------------------------


def arithmetic(context: Any) -> Any:
    """Return how decimals are computed in a context, or in that of the thread for None."""
    context = context or sys.modules["decimal"].getcontext()
    names = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
    return tuple(getattr(context, name) for name in names), tuple(map(bool, context.traps.values()))


def setting(function: Any) -> Any:
    """Return the setting that a function gives, such as `numpy.geterr`."""
    return frozen(function())


def cache_counts(function: Any) -> Any:
    """Return what a function with an `lru_cache` says of its cache, without the number of hits."""
    return function.cache_info()[1:]


def generator_state(generator: Any) -> Any:
    """Return the state of a generator of random numbers, or None for any other object."""
    owner = generator if instance_of(generator, types.ModuleType) else type(generator)
    if hasattr(owner, "getstate") and hasattr(owner, "setstate"):  # of the module random
        return generator.getstate()
    if instance_of(generator, np.random.Generator):
        return generator.bit_generator.state
    return (
        generator.get_state(legacy=False)
        if hasattr(owner, "set_state") and hasattr(owner, "get_state")
        else None
    )


def set_generator_state(generator: Any, state: Any) -> None:
    """Put a generator of random numbers into a state that `generator_state` gave."""
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif hasattr(generator, "setstate"):
        generator.setstate(state)
    else:
        generator.set_state(state)


def frozen(state: Any) -> Any:
    """Return a setting or a state of a generator in a form that can be compared."""
    if isinstance(state, dict):
        return tuple((key, frozen(value)) for key, value in state.items())
    return state.tobytes() if isinstance(state, np.ndarray) else state
