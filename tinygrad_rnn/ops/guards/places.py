"""Where objects were found: what `Guard.holds` compares by identity, and how it is put back."""

from __future__ import annotations

import collections
import gc
import itertools
import sys
from collections.abc import Callable, Iterator
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from ...core.tensor import Tensor
from ...kernels import runtime
from .keys import MISSING
from .observations import file_content, instance_of, is_empty, memory, own_attributes, set_memory


class Places:
    """Flat lists of objects and of what stood in them.

    They are lists of columns, so that loops which run in C can go over them.

    Attributes
    ----------
    attributes : tuple of list
        Objects, names and values: getattr(object, name) is the value.
    entries : tuple of list
        Dicts, keys and values: dict.get(key) is the value.
    keyed, valued : list of dict
        Dicts of which all keys count, and dicts of which all values count.
    lists : list of list
        Lists of which all elements count.
    own : tuple of list
        Objects and their `__dict__`.
    types : tuple of list
        Objects and their types, which may be set.
    classes : dict
        Classes, each with the names and the values of all its entries.
    leaves : tuple of list
        Tensors that are leaves with a gradient, and the hooks of each as a tuple.
    constants : list of Tensor
        Tensors that have no gradient.
    empty : list
        Variables of closures without a value.
    results : list of (function, object, value)
        function(object) == value.
    parts : list of (function, object, list)
        The elements of function(object) are those of the list. The list holds them: if it held
        their addresses alone, another object might soon have one of them.
    """

    def __init__(self) -> None:
        self.attributes: tuple[list[Any], list[str], list[Any]] = ([], [], [])
        self.entries: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        self.keyed: list[dict[Any, Any]] = []
        self.valued: list[dict[Any, Any]] = []
        self.lists: list[list[Any]] = []
        self.own: tuple[list[Any], list[Any]] = ([], [])
        self.types: tuple[list[Any], list[Any]] = ([], [])
        self.classes: dict[type, tuple[list[Any], list[Any]]] = {}
        self.leaves: tuple[list[Tensor], list[tuple[Any, ...]]] = ([], [])
        self.constants: list[Tensor] = []
        self.empty: list[Any] = []
        self.results: list[tuple[Callable[[Any], Any], Any, Any]] = []
        self.parts: list[tuple[Callable[[Any], list[Any]], Any, list[Any]]] = []

    # --- adding ----------------------------------------------------------------------------------

    def watch(self, value: Any, name: str, found: Any) -> None:
        """Let an attribute of an object count, whose value was found."""
        for column, one in zip(self.attributes, (value, name, found), strict=True):
            column.append(one)

    def lookup(self, space: dict[str, Any], name: str) -> Any:
        """Return what stands in a namespace under a name, and let it count."""
        value = dict.get(space, name, MISSING)
        for column, one in zip(self.entries, (space, name, value), strict=True):
            column.append(one)
        return value

    def closure_variable(self, cell: Any) -> Any:
        """Return the value of a variable of a closure, or MISSING, and let it count."""
        if is_empty(cell):
            self.empty.append(cell)
            return MISSING
        found = cell.cell_contents
        self.watch(cell, "cell_contents", found)
        return found

    def hold(self, function: Callable[[Any], list[Any]], value: Any) -> list[Any]:
        """Return the parts of an object that a function gives, and let them count."""
        parts = function(value)
        self.parts.append((function, value, parts))
        return parts

    # --- comparing -------------------------------------------------------------------------------

    def checks(self, *, compiled: bool) -> Iterator[Callable[[], bool]]:
        """Return functions that compare what there is with what was found.

        There is one for each kind of place that was found, and each is a loop that runs in C; if
        they are to be compiled, one for all that are compared by identity. An exception from one of
        them means that something differs, too.
        """
        same = self._compiled() if compiled else None
        if same is not None and same():
            yield same
        else:
            yield from self._by_python()
        if self.leaves[0]:
            yield partial(_are_leaves, *self.leaves)
        if self.constants:
            yield partial(_are_constants, self.constants)
        for cell in self.empty:
            yield partial(is_empty, cell)
        for function, value, expected in self.results:
            yield partial(_gives, function, value, expected)
        for function, value, parts in self.parts:
            yield partial(_has_parts, function, value, parts)

    def _compiled(self) -> Callable[[], bool] | None:
        """Return the comparisons by identity as one foreign call; None where there is none."""
        if not runtime.is_in_use():
            return None
        from ...kernels import identity  # here, since it needs numba

        places = identity.Places(MISSING)
        for value, name, found in zip(*self.attributes, strict=True):
            places.add(identity.ATTRIBUTE, value, name, found)
        for space, key, found in zip(*self.entries, strict=True):
            places.add(identity.VALUE, space, key, found)
        for d in self.keyed:
            places.add(identity.KEYS, d, None, list(dict.keys(d)))
        for d in self.valued:
            places.add(identity.VALUES, d, None, list(dict.values(d)))
        for elements in self.lists:
            places.add(identity.ELEMENTS, elements, None, list(list.__iter__(elements)))
        for value, own in zip(*self.own, strict=True):
            places.add(identity.OWN, value, None, own)
        for value, kind in zip(*self.types, strict=True):
            places.add(identity.KIND, value, None, kind)
        for cls, (names, values) in self.classes.items():
            (entries,) = gc.get_referents(vars(cls))
            places.add(identity.KEYS, entries, None, names)
            places.add(identity.VALUES, entries, None, values)
        try:
            return places.compiled()
        except OSError as error:
            runtime.complain(error)
            return None

    def _by_python(self) -> Iterator[Callable[[], bool]]:
        """Return the same comparisons as loops over the lists."""
        chained, missing = itertools.chain.from_iterable, itertools.repeat(MISSING)
        owners, names, got = self.attributes
        spaces, keys, found = self.entries
        if owners:
            yield lambda: all(map(is_, map(getattr, owners, names, missing), got))
        if spaces:
            yield lambda: all(map(is_, map(dict.get, spaces, keys, missing), found))
        if sized := [*self.keyed, *self.lists]:
            sizes = list(map(len, sized))
            yield lambda: list(map(len, sized)) == sizes
        if keyed := self.keyed:
            every_key = list(chained(map(dict.keys, keyed)))
            yield lambda: all(map(is_, chained(map(dict.keys, keyed)), every_key))
        if valued := self.valued:
            values = list(chained(map(dict.values, valued)))
            yield lambda: all(map(is_, chained(map(dict.values, valued)), values))
        if lists := self.lists:
            elements = list(chained(map(list.__iter__, lists)))
            yield lambda: all(map(is_, chained(map(list.__iter__, lists)), elements))
        objects, dicts = self.own
        if objects:
            yield lambda: all(map(is_, map(own_attributes, objects), dicts))
        several, kinds = self.types
        if several:
            yield lambda: all(map(is_, map(type, several), kinds))
        for cls, (entries, here) in self.classes.items():
            yield partial(_same_entries, cls, entries, here)

    # --- putting back ----------------------------------------------------------------------------

    def snapshot(self) -> list[Callable[[], None]]:
        """Return functions that, called in their order, put everything back as it is now."""
        dicts = {id(d): d for d in (*self.keyed, *self.valued)}.values()
        arrays = [a for _, a, _ in (*self.results, *self.parts) if instance_of(a, np.ndarray)]
        others = [x for _, x, _ in self.parts if instance_of(x, (set, collections.deque))]
        return [
            *(partial(_restore_dict, d, dict.copy(d)) for d in dicts),
            *(partial(_restore_list, x, list(x)) for x in self.lists),
            *(partial(_restore_attribute, *place) for place in zip(*self.attributes, strict=True)),
            *(partial(_restore_entry, *place) for place in zip(*self.entries, strict=True)),
            *(partial(_restore_empty, cell) for cell in self.empty),
            *(partial(_restore_array, array, array.copy()) for array in arrays),
            *(partial(_restore_others, x, list(x)) for x in others),
            *(partial(_restore_memory, x, was) for f, x, was in self.results if f is memory),
            *(partial(_restore_file, x, *was) for f, x, was in self.results if f is file_content),
        ]


# --- comparing one kind of place ------------------------------------------------------------------


def _same_entries(cls: type, names: list[str], values: list[Any]) -> bool:
    """Whether a class has the same entries."""
    now = vars(cls)
    return (
        len(now) == len(names) and all(map(is_, now, names)) and all(map(is_, now.values(), values))
    )


def _are_leaves(tensors: list[Tensor], hooks: list[tuple[Any, ...]]) -> bool:
    """Whether all of some tensors are leaves with gradients, and have these hooks."""
    for t, known in zip(tensors, hooks, strict=True):
        node = t.node
        if node is None or not node.requires_grad or node.primitive is not None:
            return False
        if (node.hooks or known) and tuple(node.hooks or ()) != known:
            return False
    return True


def _are_constants(tensors: list[Tensor]) -> bool:
    """Whether none of some tensors has a gradient."""
    return not any(t.node is not None and t.node.requires_grad for t in tensors)


def _gives(function: Callable[[Any], Any], value: Any, expected: Any) -> bool:
    """Whether a function of an object gives an equal value."""
    return bool(function(value) == expected)


def _has_parts(function: Callable[[Any], list[Any]], value: Any, parts: list[Any]) -> bool:
    """Whether the parts of an object are the same objects."""
    now = function(value)
    return len(now) == len(parts) and all(map(is_, now, parts))


# --- putting one kind of place back ---------------------------------------------------------------


def _restore_dict(d: dict[Any, Any], before: dict[Any, Any]) -> None:
    same = len(d) == len(before) and all(map(is_, d, before))
    if not same or not all(map(is_, dict.values(d), before.values())):
        dict.clear(d)
        dict.update(d, before)


def _restore_list(x: list[Any], elements: list[Any]) -> None:
    x[:] = elements


def _restore_attribute(value: Any, name: str, before: Any) -> None:
    if getattr(value, name, MISSING) is not before:
        setattr(value, name, before) if before is not MISSING else delattr(value, name)


def _restore_entry(space: dict[str, Any], name: str, before: Any) -> None:
    if space is sys.modules or dict.get(space, name, MISSING) is before:
        return
    if before is MISSING:
        dict.pop(space, name)
    else:
        dict.__setitem__(space, name, before)


def _restore_empty(cell: Any) -> None:
    if not is_empty(cell):
        del cell.cell_contents


def _restore_array(array: Any, content: Any) -> None:
    if array.flags.writeable:
        array[...] = content


def _restore_others(several: Any, elements: list[Any]) -> None:
    several.clear()
    several.update(elements) if isinstance(several, set) else several.extend(elements)


def _restore_memory(value: Any, content: Any) -> None:
    if memory(value) != content:
        set_memory(value, content[-1])


def _restore_file(file: Any, content: Any, place: int) -> None:
    file.seek(0)
    file.truncate()
    file.write(content)
    file.seek(place)
