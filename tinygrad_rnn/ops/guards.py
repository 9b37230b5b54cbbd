"""Guards.

What a function or a cell reads besides its arguments, and whether all of it is as it was when it
was recorded.

A recording holds for the values that its code read. A `Guard` finds them by following what the code
can reach: closures, globals, defaults, attributes of objects and of their classes, what stands in
containers. It keeps them in two forms. The `key` describes them by value, so that recordings can be
found by it. The flat lists hold the very objects; where each of them is still in its place nothing
has changed, which `holds` finds out in a few loops that run in C. Only where it has, the whole is
followed once more.

Of modules, and of plain objects of the user's classes, those attributes count whose names stand in
the code; of the package's modules and of objects of library classes, which code of libraries reads,
all of them do. What an extension keeps in memory of its own, files on disk, clocks, generators of
random numbers, memory at an address, objects of another process, locks and queues, settings of a
process other than those of NumPy, of decimals, of the directory and of the limit of recursion, and
modules that are imported by a computed name are not seen.
"""

from __future__ import annotations

import builtins
import collections
import contextvars
import dis
import functools
import gc
import io
import itertools
import os
import re
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import TraceError
from ..core.primitive import Spec
from ..core.tape import Leaf, Node
from ..core.tensor import Tensor

_PACKAGE = __name__.partition(".")[0]
# whose code stays as it is
_LIBRARIES = (sys.stdlib_module_names | {_PACKAGE, "numpy", "scipy", "numba", "llvmlite"}) - {
    "__main__"
}
_OPAQUE = {  # objects of these change while a program runs, and computations do not read them
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
# values that do not change
_BY_TEXT = {
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
_DECIMAL = ("decimal", "_decimal")
# functions that import what a text says
_IMPORTING = {"import_module", "resolve_name", "__import__", "eval", "exec"}
# functions that give how a thread or process is set
_SETTINGS = {np.geterr, np.get_printoptions, os.getcwd, sys.getrecursionlimit}
# functions and attributes that read attributes whose names do not stand in the code
_REFLECTIVE = {
    "getattr",
    "hasattr",
    "vars",
    "dir",
    "eval",
    "exec",
    "globals",
    "locals",
    "attrgetter",
    "methodcaller",
    "asdict",
    "astuple",
    "fields",
    "format",
    "format_map",
    "resolve_name",
    "getmembers",
    "getattr_static",
    "dumps",
    "setattr",
    "delattr",
    "__dict__",
    "__getattribute__",
    "__setattr__",
    "__delattr__",
    "__getstate__",
    "__reduce__",
    "__reduce_ex__",
    "__slots__",
}
_NOT_READ = {  # what Python keeps for itself in a class
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
# they run when objects come and go
_MAKING = {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__", "__del__"}
_RUNNING = (
    types.FrameType,
    types.TracebackType,
    types.CodeType,
    types.CoroutineType,
    types.AsyncGeneratorType,
)
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_PLAIN = (type(None), bool, int, str, bytes, types.EllipsisType, types.NotImplementedType)
_MISSING: Any = type("Missing", (), {"__slots__": (), "__repr__": lambda self: "nothing"})()

Path = Any  # (path of the owner, text), or None


def plain_key(value: Any) -> Any:
    """What a number, text or the like is in a key; None for an object that has to be followed."""
    kind = type(value)
    if kind in _PLAIN:
        return (kind, value)
    return (kind, value.hex()) if kind is float else None


class Same:
    """An object that is equal to itself alone.

    It is kept, so that its place in memory is not given to another.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class Key:
    """A tuple whose hash is computed once."""

    __slots__ = ("hash", "items")

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = tuple(items)
        self.hash = hash(self.items)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Key) and self.hash == other.hash and self.items == other.items
        )

    def __hash__(self) -> int:
        return self.hash


class Reads:
    """The names of attributes that code was found to read; they only become more."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.imports = False  # it imports modules by texts
        self.everything = False  # it may read attributes whose names do not stand in it

    @property
    def size(self) -> tuple[int, bool, bool]:
        """Grows when something is found."""
        return len(self.names), self.everything, self.imports


class Guards:
    """The guards of one callable: the latest that holds, or a new one.

    Parameters
    ----------
    *roots
        What is followed.
    """

    # such as those of training and evaluation; they hold what they found, so that there are few
    KEPT = 2

    def __init__(self, *roots: Any) -> None:
        self.roots, self.reads = roots, Reads()
        self.known: list[Guard] = []

    def now(self, more: Sequence[Any] = ()) -> Guard:
        """The guard of what is there now, of the roots and of further objects."""
        known = self.known
        for place, guard in enumerate(known):
            if (
                not (more or guard.more)
                or (len(guard.more) == len(more) and all(map(is_, guard.more, more)))
            ) and guard.holds():
                if place:
                    self.known = [guard, *known[:place], *known[place + 1 :]]
                return guard
        return self.keep(self.fresh(more))

    def fresh(self, more: Sequence[Any] = ()) -> Guard:
        """The guard of what is there now, found by following everything."""
        while True:
            size = self.reads.size
            guard = Guard(self.roots, more, self.reads)
            if self.reads.size == size:
                return guard

    def keep(self, guard: Guard) -> Guard:
        """Let `now` find it."""
        known = self.known
        # one object, which is compared at once
        guard.key = next((other.key for other in known if other.key == guard.key), guard.key)
        self.known = [
            guard,
            *[other for other in known if other.key is not guard.key][: self.KEPT - 1],
        ]
        return guard


class Changes:
    """What the runs of a function that is recorded change in what it reads.

    Nothing may: the assignment would be made in the recording and never again, and leave a tensor
    without values. What the first run makes once for all, such as an entry of a cache, may be.

    Parameters
    ----------
    guards : Guards
    guard : Guard
        Of before.
    what : str
        For messages.
    runs : int
        How often it was run before.
    """

    def __init__(self, guards: Guards, guard: Guard, what: str, runs: int = 0) -> None:
        self.guards, self.what, self.guard, self.runs = guards, what, guard, runs
        if name := guard.traced():
            raise TraceError(
                f"{what} reads {name}, a tensor that an earlier recording (tg.trace) has left: it has no values"
            )
        self.restore = guard.snapshot()  # puts everything back as it was
        self.states = guard.states()

    def kept(self) -> Guard:
        """The guard of the recording that was made."""
        if self.guard not in self.guards.known:
            self.guards.keep(self.guard)
        return self.guard

    def after_run(self) -> None:
        """Raise a TraceError if the run that has just ended changed something, other than the first, or left a tensor without values."""
        self.runs += 1
        before = self.guard
        if not before.holds():
            self.guard = self.guards.fresh(before.more)
            name = self.guard.traced() or (before.difference(self.guard) if self.runs > 1 else "")
            if name:
                raise TraceError(
                    f"{self.what} changes {name}. A recording runs it once for all calls, so it cannot change what is outside of it: hand the value "
                    "back as a part of the result (for a cell, of the output or the state), or run it in tg.eager()."
                )
        now = self.guard.states()
        if self.runs > 1:
            for (_, name, state), (_, _, other) in zip(self.states, now, strict=False):
                if state != other:
                    raise TraceError(
                        f"{self.what} draws random numbers from {name}: a recording would repeat those of its first run. Hand them over as an "
                        "argument, or use tg.nn's masks in a cell."
                    )
        self.states = now


class Guard:
    """What was there at one moment.

    Attributes
    ----------
    key : Key
        Equal to that of another moment if nothing that is read differs.
    tensors : list of (int, Tensor)
        The tensors that were found, and where they stand in the key.
    more : tuple
        The further objects.
    """

    def __init__(self, roots: Sequence[Any], more: Sequence[Any], reads: Reads) -> None:
        self.more = tuple(more)
        self.tensors: list[tuple[int, Tensor]] = []
        self._reads = reads
        self._items: list[Any] = []
        self._paths: list[Path] = []
        self._numbers: dict[int, int] = {}
        self._entered: set[tuple[type, bool, bool]] = set()
        self._generators: list[tuple[Any, Path]] = []
        # what has a number, so that no other object gets its place in memory
        self._kept: list[Any] = []
        # what `holds` compares
        # getattr(object, name) is value
        self._got: tuple[list[Any], list[str], list[Any]] = ([], [], [])
        self._found: tuple[list[Any], list[Any], list[Any]] = ([], [], [])  # dict.get(key) is value
        self._keyed: list[dict[Any, Any]] = []  # dicts of which all keys count,
        self._valued: list[dict[Any, Any]] = []  # and those of which all values do
        self._lists: list[list[Any]] = []
        self._owners: tuple[list[Any], list[Any]] = ([], [])  # vars(object) is dict
        self._types: tuple[list[Any], list[Any]] = ([], [])
        self._classes: dict[type, tuple[list[Any], list[Any]]] = {}
        self._leaves: list[Tensor] = []  # that have gradients
        self._constants: list[Tensor] = []
        self._empty: list[Any] = []  # variables of closures without a value
        self._other: list[tuple[Callable[[Any], Any], Any, Any]] = []  # function(object) == value
        # each of function(object) is that of the list, which holds them
        self._parts: list[tuple[Callable[[Any], list[Any]], Any, list[Any]]] = []
        self._stack: list[tuple[Any, Path]] = [
            (value, (None, _name(value))) for value in (*more, *roots)
        ]
        self._words: set[str] = set()  # texts that stand in code, and may be names of modules
        self._imported: set[str] = set()
        while self._stack:
            self._visit(*self._stack.pop())
            if not self._stack and reads.imports:
                self._named_modules()
        self._checks = list(self._checking())
        self.key = Key(self._items)

    @property
    def computed(self) -> dict[Node, Any]:
        """The values of tensors that were computed from others."""
        return {
            t.node: t.array
            for _, t in self.tensors
            if t.node is not None and not isinstance(t.node, Leaf)
        }

    # --- afterwards ---------------------------------------------------------------------------------------------------------------

    def holds(self) -> bool:
        """Whether each object is in its place still."""
        try:
            for check in self._checks:  # noqa: SIM110  (it is paid at every call)
                if not check():
                    return False
            return True
        except Exception:  # an attribute that is gone, a dict that another thread writes to, ...
            return False

    def _checking(self) -> Iterator[Callable[[], bool]]:
        """What `holds` does, for what there is: each a loop that runs in C."""
        chained, missing = itertools.chain.from_iterable, itertools.repeat(_MISSING)
        owners, names, got = self._got
        spaces, keys, found = self._found
        if owners:
            yield lambda: all(map(is_, map(getattr, owners, names, missing), got))
        if spaces:
            yield lambda: all(map(is_, map(dict.get, spaces, keys, missing), found))
        if sized := [*self._keyed, *self._lists]:
            sizes = list(map(len, sized))
            yield lambda: list(map(len, sized)) == sizes
        if keyed := self._keyed:
            every_key = list(chained(map(dict.keys, keyed)))
            yield lambda: all(map(is_, chained(map(dict.keys, keyed)), every_key))
        if valued := self._valued:
            values = list(chained(map(dict.values, valued)))
            yield lambda: all(map(is_, chained(map(dict.values, valued)), values))
        if lists := self._lists:
            elements = list(chained(map(list.__iter__, lists)))
            yield lambda: all(map(is_, chained(map(list.__iter__, lists)), elements))
        objects, dicts = self._owners
        if objects:
            yield lambda: all(map(is_, map(_own, objects), dicts))
        several, kinds = self._types
        if several:
            yield lambda: all(map(is_, map(type, several), kinds))
        for cls, (entries, here) in self._classes.items():
            yield functools.partial(_same_entries, cls, entries, here)
        if self._leaves:
            yield functools.partial(_are_leaves, self._leaves)
        if self._constants:
            yield functools.partial(_are_constants, self._constants)
        for cell in self._empty:
            yield functools.partial(_is_empty, cell)
        for function, value, expected in self._other:
            yield functools.partial(_gives, function, value, expected)
        for function, value, parts in self._parts:
            yield functools.partial(_has_parts, function, value, parts)

    def still(self, guards: Guards) -> bool:
        """Whether nothing that is read differs, though objects may be other ones with the same values."""
        return self.holds() or self.key == guards.fresh(self.more).key

    def difference(self, other: Guard) -> str:
        """The first thing that differs in another guard, as the code calls it.

        Empty if nothing does.
        """
        for (item, path), (now, _) in zip(
            zip(self._items, self._paths, strict=True),
            zip(other._items, other._paths, strict=True),
            strict=False,
        ):
            if item != now:
                names = set(item) ^ set(now) if type(item) is type(now) is _Names else set()
                return _text(path) + (f".{min(names)}" if names else "")
        return "" if len(self._items) == len(other._items) else _text(self._paths[-1])

    def traced(self) -> str:
        """The first tensor without values, which a recording has left; empty if there is none."""
        return next(
            (_text(self._paths[place]) for place, t in self.tensors if isinstance(t.array, Spec)),
            "",
        )

    def snapshot(self) -> Callable[[], None]:
        """A function that puts everything back as it is now."""
        dicts = [
            (d, dict.copy(d)) for d in {id(d): d for d in (*self._keyed, *self._valued)}.values()
        ]
        lists = [(x, list(x)) for x in self._lists]
        got, found = list(zip(*self._got, strict=True)), list(zip(*self._found, strict=True))
        tensors = [(t, t.array, t.node) for _, t in self.tensors]
        states = [(generator, _state(generator)) for generator, _, _ in self.states()]
        arrays = [(a, a.copy()) for _, a, _ in (*self._other, *self._parts) if _is(a, np.ndarray)]
        others = [(x, list(x)) for _, x, _ in self._parts if _is(x, (set, collections.deque))]
        memories = [(x, memory) for function, x, memory in self._other if function is _memory]
        files = [(x, *content) for function, x, content in self._other if function is _file]

        def restore() -> None:
            for d, before in dicts:
                if (
                    len(d) != len(before)
                    or not all(map(is_, d, before))
                    or not all(map(is_, dict.values(d), before.values()))
                ):
                    dict.clear(d)
                    dict.update(d, before)
            for x, elements in lists:
                x[:] = elements
            for value, name, before in got:
                if getattr(value, name, _MISSING) is not before:
                    setattr(value, name, before) if before is not _MISSING else delattr(value, name)
            for space, name, before in found:
                if space is not sys.modules and dict.get(space, name, _MISSING) is not before:
                    dict.__setitem__(space, name, before) if before is not _MISSING else dict.pop(
                        space, name
                    )
            for cell in self._empty:
                if not _is_empty(cell):
                    del cell.cell_contents
            for t, array, node in tensors:
                t.array, t.node = array, node
            for array, content in arrays:
                if array.flags.writeable:
                    array[...] = content
            for several, elements in others:
                several.clear()
                several.update(elements) if isinstance(several, set) else several.extend(elements)
            for value, memory in memories:
                if _memory(value) != memory:
                    _set_memory(value, memory[-1])
            for file, content, place in files:
                file.seek(0)
                file.truncate()
                file.write(content)
                file.seek(place)
            for generator, state in states:
                _set_state(generator, state)

        return restore

    def states(self) -> list[tuple[Any, str, Any]]:
        """The generators of random numbers that were found and those that everybody uses.

        What they are, their names, how they stand.
        """
        found = [
            *self._generators,
            *[
                (module, (None, name))
                for name in ("random", "numpy.random")
                if (module := sys.modules.get(name)) is not None
            ],
        ]
        return [(generator, _text(path), _frozen(_state(generator))) for generator, path in found]

    # --- following ----------------------------------------------------------------------------------------------------------------

    def _add(self, item: Any, path: Path) -> None:
        self._items.append(item)
        self._paths.append(path)

    def _again(self, value: Any, path: Path) -> bool:
        """Whether an object was met before; if not, it has a number now."""
        number = self._numbers.get(id(value))
        if number is not None:
            self._add(("again", number), path)
            return True
        self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        return False

    def _push(self, parts: Iterable[tuple[Any, Path]]) -> None:
        self._stack.extend(parts)

    def _watch(self, value: Any, name: str, found: Any) -> None:
        for several, one in zip(self._got, (value, name, found), strict=True):
            several.append(one)

    def _hold(self, function: Callable[[Any], list[Any]], value: Any) -> list[Any]:
        """The parts that a function gives of an object, which count from now on.

        They are held: an address alone may soon be another's.
        """
        parts = function(value)
        self._parts.append((function, value, parts))
        return parts

    def _lookup(self, space: dict[str, Any], name: str) -> Any:
        """What stands in a namespace, which counts from now on."""
        value = dict.get(space, name, _MISSING)
        for several, one in zip(self._found, (space, name, value), strict=True):
            several.append(one)
        return value

    def _visit(self, value: Any, path: Path) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self._add((kind, value), path)
        elif kind is float:
            self._add((kind, value.hex()), path)  # -0.0 and 0.0 differ, and nan is itself
        elif kind is complex:
            self._add((kind, value.real.hex(), value.imag.hex()), path)
        elif value is _MISSING:
            self._add(("missing",), path)
        elif _is(value, Tensor):
            self._tensor(value, path)
        elif _is(value, (np.generic, np.dtype)):
            self._add(
                (kind, value) if _is(value, np.dtype) else (kind, value.dtype, value.tobytes()),
                path,
            )
            # a row of an array of records, which shows what stands in the array
            if _is(value, np.void):
                self._other.append((np.void.tobytes, value, value.tobytes()))
        elif kind is range:
            self._add((kind, value.start, value.stop, value.step), path)
        elif kind is slice:
            self._add((kind,), path)
            self._push((part, path) for part in (value.start, value.stop, value.step))
        elif _is(value, type):
            self._class(value, path)
        elif _is(value, types.MethodType):  # another object at each access
            self._add((kind,), path)
            self._push(((value.__func__, path), (value.__self__, path)))
        elif _is(value, (types.BuiltinFunctionType, types.MethodWrapperType)):
            owner = value.__self__
            bound = owner is not None and not isinstance(owner, (types.ModuleType, type))
            self._add((kind, value.__name__) if bound else Same(value), path)
            if value.__name__ in _IMPORTING:
                self._reads.imports = True
            if value in _SETTINGS:
                self._count(_asked, value, path)
            elif not bound and value.__module__ in _DECIMAL:
                self._count(_arithmetic, None, path)
            if bound:
                self._push([(owner, path)])
        elif not self._again(value, path):
            self._compound(value, kind, path)

    def _compound(self, value: Any, kind: type, path: Path) -> None:
        """What has parts."""
        if _is(value, types.FunctionType):
            self._function(value, path)
        elif _is(value, types.ModuleType):
            self._module(value, path)
        elif _is(value, functools.partial):
            self._add((kind,), path)
            self._push(((value.func, path), (value.args, path), (value.keywords, path)))
        elif _is(value, functools._lru_cache_wrapper):
            self._add((kind, value.cache_info()[1:]), path)
            self._other.append((_cached, value, _cached(value)))
            self._push([(value.__wrapped__, path)])
        elif kind in weakref.ProxyTypes:
            self._add((kind,), path)
            try:
                self._push([(value.__init__.__self__, path)])  # which is asked of the object itself
            except ReferenceError:  # it is gone
                self._push([(None, path)])
        elif _is(value, weakref.ref):
            self._add((kind,), path)
            self._push((part, path) for part in self._hold(lambda ref: [ref()], value))
        elif _is(value, contextvars.ContextVar):
            self._add(Same(value), path)
            self._push(
                (part, path) for part in self._hold(lambda variable: [variable.get(None)], value)
            )
        elif _is(value, types.CellType):
            found = _MISSING if _is_empty(value) else value.cell_contents
            self._empty.append(value) if found is _MISSING else self._watch(
                value, "cell_contents", found
            )
            self._add((kind,), path)
            self._push([(found, path)])
        elif _is(value, contextvars.Context):
            self._add((kind,), path)
            self._push((part, path) for part in self._hold(_variables, value))
        elif _is(value, (types.MappingProxyType, *_VIEWS)):
            self._add((kind,), path)
            # the mapping that it shows
            self._push((owner, path) for owner in gc.get_referents(value))
        elif _is(value, np.ufunc):
            self._add(Same(value), path)
            # of np.frompyfunc
            self._push((part, path) for part in gc.get_referents(value) if _is_users(part))
        elif _iterates(value):
            raise TraceError(
                f"{_text(path)} is an iterator ({kind.__name__}), which gives other values each time that it is read: a recording would repeat "
                "those of the first. Hand over a list, or the values themselves as arguments."
            )
        else:
            self._object(value, kind, path)

    def _tensor(self, t: Tensor, path: Path) -> None:
        node = t.node
        gradient = node is not None and node.requires_grad
        leaf = node is None or isinstance(node, Leaf)
        self.tensors.append((len(self._items), t))
        # a leaf that has gradients is asked for its values at each run; what is computed of
        # constants alone stands in the recording as a number
        self._add((Same(t if leaf else node), gradient, None if gradient else Same(t.array)), path)
        if gradient and leaf:
            self._leaves.append(t)
        elif not leaf:
            self._watch(t, "node", node)
        else:
            self._constants.append(t)
            self._watch(t, "array", t.array)
        wanted = [name for name in ("grad", "name") if name in self._reads.names]
        if wanted and not self._again(t, path):
            for name in wanted:
                self._watch(t, name, getattr(t, name))
                self._push([(getattr(t, name), (path, f".{name}"))])

    def _function(self, f: types.FunctionType, path: Path) -> None:
        space, code = f.__globals__, f.__code__
        library = _is_library(space.get("__name__"))
        own = vars(f)
        if library and space["__name__"].partition(".")[0] == _PACKAGE:
            self._add(Same(f), path)
            if "__wrapped__" in own:  # an operation of the user's
                self._push([(own["__wrapped__"], path)])
            return
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            self._watch(f, name, getattr(f, name))
        self._add(Same(code), path)
        if library and f.__name__ in _IMPORTING:
            self._reads.imports = True
        if f in _SETTINGS:
            self._count(_asked, f, path)
        self._push(
            ((f.__defaults__, (path, " (default)")), (f.__kwdefaults__, (path, " (default)")))
        )
        if own:
            self._push([(own, path)])
        info = _read(code)
        free = dict(zip(code.co_freevars, f.__closure__ or (), strict=True))
        inside: dict[str, Any] = {}
        for name, cell in free.items():
            if _is_empty(cell):
                self._empty.append(cell)
                inside[name] = _MISSING
            else:
                inside[name] = cell.cell_contents
                self._watch(cell, "cell_contents", inside[name])
        self._kept.append(inside)
        if library:  # its globals stay as they are
            self._push((value, (None, name)) for name, value in inside.items())
            return
        reads = self._reads
        reads.names |= info.names
        reads.everything = reads.everything or info.reflective
        parts: list[tuple[Any, Path]] = []
        for name in (
            inside.keys()
            - {chain[1] for chain in info.chains if chain[0] == "free"}
            - {"__class__"}
        ):
            parts.append((inside[name], (None, name)))
        for kind, name, *attributes in info.chains:
            # a variable of this function, which a nested one uses
            if kind == "free" and name not in inside:
                reads.names |= {*attributes}
                continue
            value = inside[name] if kind == "free" else self._global(space, name)
            where: Path = (None, name)
            for k, attribute in enumerate(attributes):
                if not _is(value, types.ModuleType):
                    reads.names |= {*attributes[k:]}
                    break
                owner, value = value, self._lookup(vars(value), attribute)
                if value is _MISSING:
                    value = getattr(owner, attribute, _MISSING)
                where = (where, f".{attribute}")
            parts.append((value, where))
        parts += [(self._global(space, name), (None, name)) for name in info.texts]
        parts += [
            (self._lookup(sys.modules, name), (None, name))
            for name in _imported(info.imports, space)
        ]
        self._words |= info.words
        if any(
            value in (os.getenv, getattr(os, "getenvb", None))
            for value, _ in parts
            if _is(value, types.FunctionType)
        ):
            parts.append((os.environ, (None, "os.environ")))
        self._push(reversed(parts))

    def _named_modules(self) -> None:
        """Modules whose names are texts that were found, where the code imports by a text."""
        texts = self._words | {
            item[1] for item in self._items if type(item) is tuple and item[0] is str
        }
        words = {word for text in texts for word in re.findall(r"[^\W\d][\w.]*", text)}
        for name in sorted(words - self._imported):
            self._imported.add(name)
            self._push([(self._lookup(sys.modules, name), (None, name))])

    def _global(self, space: dict[str, Any], name: str) -> Any:
        value = self._lookup(space, name)
        if value is not _MISSING:
            return value
        known = space.get("__builtins__", builtins)
        return self._lookup(known if isinstance(known, dict) else vars(known), name)

    def _module(self, module: types.ModuleType, path: Path) -> None:
        """A module that is handed about as a value."""
        self._add(Same(module), path)
        space = vars(module)
        if _is_library(module.__name__):
            if module.__name__.partition(".")[0] != _PACKAGE:
                self._push(
                    [
                        (self._lookup(space, name), (path, f".{name}"))
                        for name in sorted(self._reads.names & space.keys())
                    ]
                )
            return
        wanted = self._reads.names | (
            {n for n in space if not n.startswith("__")} if self._reads.everything else set()
        )
        names = sorted(name for name in wanted if name in space)
        for name in wanted - set(names):
            self._lookup(space, name)
        self._add(_Names(names), path)
        self._push([(self._lookup(space, name), (path, f".{name}")) for name in names])

    def _class(self, cls: type, path: Path) -> None:
        self._add(Same(cls), path)
        if cls.__module__ in _DECIMAL:
            self._count(_arithmetic, None, path)
        if not _is_library_class(cls) and id(cls) not in self._numbers:
            self._numbers[id(cls)] = len(self._numbers)
            self._entries(cls, path, everything=self._reads.everything, called=True)
            if type(cls) is not type:
                self._class(type(cls), path)

    def _entries(self, cls: type, path: Path, *, everything: bool, called: bool) -> None:
        """Methods and attributes of the user's classes, and what was put into a class of the package.

        Those that make objects are read only where the class is `called`.
        """
        called = called or everything or "__class__" in self._reads.names
        if (cls, everything, called) in self._entered:
            return
        self._entered.add((cls, everything, called))
        for base in cls.__mro__[:-1]:
            library = _is_library_class(base)
            if library and base.__module__.partition(".")[0] != _PACKAGE:
                continue
            entries = vars(base)
            if base not in self._classes:
                self._classes[base] = (list(entries), list(entries.values()))
            for name, value in entries.items():
                special = name.startswith("__") and name.endswith("__")
                if (
                    name in _NOT_READ
                    or (name in _MAKING and not called)
                    or not (everything or special or name in self._reads.names)
                ):
                    continue
                value = (
                    getattr(value, "__func__", value)
                    if _is(value, (staticmethod, classmethod))
                    else value
                )
                if _is(value, property):
                    value = value.fget
                if _is(
                    value,
                    (
                        types.MemberDescriptorType,
                        types.GetSetDescriptorType,
                        types.WrapperDescriptorType,
                        types.MethodDescriptorType,
                    ),
                ):
                    continue
                if library and not (
                    type(value) in _PLAIN or type(value) is float or _is_users(value)
                ):
                    continue
                self._stack.append((value, (path, f".{name}")))
                self._add((name,), path)

    def _object(self, value: Any, kind: type, path: Path) -> None:
        """An array, a container, or any other object."""
        room = _room(kind)
        if room in _BY_TEXT:
            self._by_text(value, kind, path)
            return
        if (
            room in _OPAQUE
            and kind.__qualname__ != "_local"
            and not self._shared(value, kind, path)
        ):
            self._add(Same(value), path)
            return
        package = room == _PACKAGE
        if package and hasattr(kind, "plain"):  # a compiled cell or function is what it was made of
            self._add(Same(kind), path)
            self._push([(value.plain, path)])
            return
        self._types[0].append(value)
        self._types[1].append(kind)
        known = self._contents(value, kind, path)
        own = _own(value)
        modules = hasattr(kind, "named_parameters")
        bases = kind.__mro__[:-1]
        everything = modules or (
            not package
            and (
                self._reads.everything
                or any(_is_library_class(base) and base.__module__ != "typing" for base in bases)
            )
        )
        if not known:
            self._add(Same(kind), path)
            if _state(value) is not None:
                self._generators.append((value, path))
            if not _python_made(bases):  # an extension may keep what it likes in it
                self._add(Same(value), path)
                if _is(value, BaseException):
                    self._watch(value, "args", value.args)
                    self._push([(value.args, (path, ".args"))])
                elif (
                    own is None
                    and not _is(value, _RUNNING)
                    and all(_room(base) in sys.stdlib_module_names for base in bases)
                ):
                    # such as operator.methodcaller
                    self._push((part, path) for part in self._hold(_referents, value))
        if modules or not package:
            self._entries(kind, path, everything=everything, called=False)
        parts: list[tuple[Any, Path]] = []
        if isinstance(own, dict):
            self._owners[0].append(value)
            self._owners[1].append(own)
            self._keyed.append(own)
            names = list(own) if everything else [n for n in own if n in self._reads.names]
            self._add(_Names(names), path)
            if everything:
                self._valued.append(own)
                parts += [(own[n], (path, f".{n}")) for n in names if not self._unread(n, own[n])]
            else:
                parts += [(self._lookup(own, n), (path, f".{n}")) for n in names]
        for name in _slots(bases):
            if everything or name in self._reads.names:
                try:
                    found = getattr(value, name, _MISSING)
                except Exception:  # it has none, and a __getattr__ that raises
                    found = _MISSING
                self._watch(value, name, found)
                parts.append((found, (path, f".{name}")))
        # tg.custom_vjp
        if package and not modules and isinstance(own, dict) and "__wrapped__" in own:
            primitive = own["primitive"]
            self._watch(primitive, "rules", primitive.rules)
            self._watch(primitive, "tangent", primitive.tangent)
            parts += [
                (f, path)
                for f in (
                    own["__wrapped__"],
                    *[getattr(r.function, "__wrapped__", None) for r in primitive.rules],
                )
            ]
        self._push(reversed(parts))

    def _count(self, function: Callable[[Any], Any], value: Any, path: Path) -> None:
        """What a function gives of an object is a part of the key, and counts from now on."""
        found = function(value)
        self._add(found, path)
        self._other.append((function, value, found))

    def _by_text(self, value: Any, kind: type, path: Path) -> None:
        """A value of the standard library that does not change, or a context of decimals."""
        if _is(value, re.Match):
            self._add((kind, value.regs), path)
            self._push([(value.string, path), (value.re, path)])
        elif _is(value, re.Pattern):  # whose text is cut
            self._add((kind, value.pattern, value.flags), path)
        elif kind.__name__ == "Context":
            self._count(_arithmetic, value, path)
        else:
            self._add((kind, repr(value)), path)
            if _room(kind) in _DECIMAL:
                self._count(_arithmetic, None, path)

    def _shared(self, value: Any, kind: type, path: Path) -> bool:
        """What stands in memory that code reads.

        Files in memory, values of ctypes, and those that processes share.
        """
        if _is(value, (io.StringIO, io.BytesIO)):
            return self._contents(value, kind, path)
        if (
            _is(value, (io.TextIOWrapper, io.BufferedReader, io.BufferedRandom))
            and not value.closed
        ):
            self._push([(value.buffer if _is(value, io.TextIOWrapper) else value.raw, path)])
        if _room(kind) not in ("ctypes", "_ctypes", "multiprocessing"):
            return False
        if self._contents(value, kind, path):
            return True
        own = _own(value)
        if isinstance(own, dict):
            self._push(
                [(self._lookup(own, name), path) for name in ("_obj", "_buf") if name in own]
            )
        return False

    def _unread(self, name: str, value: Any) -> bool:
        """Whether an attribute is an iterator that no code names, such as one over batches."""
        return _iterates(value) and name not in self._reads.names

    def _contents(self, value: Any, kind: type, path: Path) -> bool:
        """What stands in a container or array; False if it is neither."""
        if _is(value, np.ndarray):
            plain = value.dtype.hasobject
            self._add((kind, value.shape, value.dtype) if plain else (kind, *_content(value)), path)
            if plain:
                self._other.append((_form, value, _form(value)))
                self._push((part, path) for part in self._hold(_elements, value))
            else:
                self._other.append((_content, value, _content(value)))
        elif _is(value, dict):
            self._keyed.append(value)
            self._valued.append(value)
            self._add((Same(kind), len(value)), path)
            self._push([(v, (path, f"[{k!r}]")) for k, v in dict.items(value)])
            self._push([(k, path) for k in dict.keys(value)])
            if _is(value, collections.OrderedDict):  # its order is its own
                self._push((k, path) for k in self._hold(_ordered, value))
        elif _is(value, (list, tuple)):
            self._add((Same(kind), len(value)), path)
            parts = list.__iter__(value) if _is(value, list) else tuple.__iter__(value)
            self._push([(v, (path, f"[{k}]")) for k, v in enumerate(parts)])
            if _is(value, list):
                self._lists.append(value)
        elif _is(value, (set, frozenset, collections.deque)):
            self._add((Same(kind), len(value)), path)
            self._push((part, path) for part in self._hold(list, value))
        elif _is(value, (int, float, complex, str, bytes)):  # of a class derived from these
            base = next(b for b in (bool, int, float, complex, str, bytes) if _is(value, b))
            self._add((Same(kind), base.__repr__(value)), path)
        elif _is(value, (io.StringIO, io.BytesIO)):
            self._add(Same(kind), path)
            if not value.closed:
                self._count(_file, value, path)
        elif (memory := _memory(value)) is not None:
            self._add((Same(kind), memory), path)
            self._other.append((_memory, value, memory))
            if (pointed := getattr(value, "_objects", None)) is not None:  # of a pointer of ctypes
                self._watch(value, "_objects", pointed)
                self._push([(pointed, path)])
        else:
            return False
        return True


class _Names(tuple[str, ...]):
    """The names of attributes."""

    __slots__ = ()


class _Code(NamedTuple):
    """What the code of a function reads.

    Attributes
    ----------
    chains : tuple
        ("global" or "free", name of the variable, attributes that are read from it one from another
        ...).
    names : frozenset of str
        Attributes of anything else, read or set.
    texts : tuple of str
        Globals that may be read by their names as texts.
    imports : tuple of (str, int)
        Modules that it imports, and how many packages up that begins.
    words : frozenset of str
        Texts that stand in it.
    reflective : bool
        It may read attributes whose names do not stand in it.
    """

    chains: tuple[tuple[str, ...], ...]
    names: frozenset[str]
    texts: tuple[str, ...]
    imports: tuple[tuple[str, int], ...]
    words: frozenset[str]
    reflective: bool


@functools.lru_cache(maxsize=4096)
def _read(code: types.CodeType) -> _Code:
    chains: set[tuple[str, ...]] = set()
    names: set[str] = set()
    words: set[str] = set()
    imports: set[tuple[str, int]] = set()
    reflective = False
    codes = [code]
    for each in codes:
        chain: list[str] = []
        level = 0
        for step in dis.get_instructions(each):
            op, name = step.opname, step.argval
            if op in ("LOAD_ATTR", "LOAD_METHOD") and chain:
                chain.append(name)
                continue
            if op in ("CACHE", "PUSH_NULL", "EXTENDED_ARG", "PRECALL", "NOP", "RESUME"):
                continue
            if chain:
                chains.add(tuple(chain))
                chain = []
            if op in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"):
                chain = ["global", name]
            elif op in (
                "LOAD_DEREF",
                "LOAD_CLASSDEREF",
                "LOAD_FROM_DICT_OR_DEREF",
                "STORE_DEREF",
                "DELETE_DEREF",
            ):
                chain = ["free", name]
            elif op == "IMPORT_NAME":
                imports.add((name, level))
            elif op in (
                "LOAD_ATTR",
                "LOAD_METHOD",
                "STORE_ATTR",
                "DELETE_ATTR",
                "IMPORT_FROM",
                "LOAD_SUPER_ATTR",
            ):
                names.add(name)
            elif op in ("MATCH_CLASS", "MATCH_KEYS"):
                reflective = True
            elif op == "LOAD_CONST":
                level = name if type(name) is int else level
        if chain:
            chains.add(tuple(chain))
        codes += [c for c in each.co_consts if isinstance(c, types.CodeType)]
        words |= {c for c in each.co_consts if isinstance(c, str)}
    used = names | {name for chain in chains for name in chain[1:]}
    # whose class is had, and may be called
    names |= {"__class__"} & used | ({"__class__"} if "type" in used else set())
    texts = (
        sorted({name for word in words for name in re.findall(r"[^\W\d]\w*", word)})
        if used & {"globals", "eval", "exec", "locals"}
        else []
    )
    modules = tuple(sorted(imports))
    return _Code(
        tuple(sorted(chains)),
        frozenset(names),
        tuple(texts),
        modules,
        frozenset(words),
        reflective or bool(used & _REFLECTIVE),
    )


def _imported(imports: Iterable[tuple[str, int]], space: dict[str, Any]) -> Iterable[str]:
    """The full names of modules that code imports, and of the packages that they are in."""
    for name, level in imports:
        package = space.get("__package__") or ""
        base = package.rsplit(".", level - 1)[0] if level > 1 else package
        parts = (name if not level else f"{base}.{name}" if name else base).split(".")
        yield from itertools.accumulate(parts, "{}.{}".format)


@functools.lru_cache(maxsize=1024)
def _slots(bases: tuple[type, ...]) -> tuple[str, ...]:
    """The attributes that objects have in slots."""
    found = [
        name
        for base in bases
        for name, entry in vars(base).items()
        if isinstance(entry, types.MemberDescriptorType)
    ]
    return tuple(dict.fromkeys(found))


@functools.lru_cache(maxsize=1024)
def _python_made(bases: tuple[type, ...]) -> bool:
    """Whether all of an object is in its attributes.

    No class of it is written in C, which would have methods in C of its own.
    """
    return not any(
        getattr(entry, "__objclass__", None) is base
        or (_is(entry, types.BuiltinFunctionType) and entry.__self__ is base)
        for base in bases
        for entry in vars(base).values()
        if _is(
            entry,
            (types.WrapperDescriptorType, types.MethodDescriptorType, types.BuiltinFunctionType),
        )
    )


def _room(kind: type) -> str:
    """The outermost package or module of a class."""
    return kind.__module__.partition(".")[0] if isinstance(kind.__module__, str) else ""


def _is_library_class(cls: type) -> bool:
    """The same of a class; one that was made by code without a module says that it is a builtin."""
    module = cls.__module__ if isinstance(cls.__module__, str) else ""
    return _is_library(module) and not (module == "builtins" and _python_made((cls,)))


def _is_library(module: str | None) -> bool:
    """Whether a module is Python's, NumPy's, or the package's own.

    Its code is taken to stay as it is.
    """
    return (module or "").partition(".")[0] in _LIBRARIES or module == "builtins"


def _is_users(value: Any) -> bool:
    return _is(value, types.FunctionType) and not _is_library(value.__globals__.get("__name__"))


def _iterates(value: Any) -> bool:
    kind = type(value)
    if _is(value, io.IOBase):
        return False
    return _is(value, types.GeneratorType) or (
        type(getattr(kind, "__next__", None)) is types.WrapperDescriptorType
        and _room(kind) not in _OPAQUE
    )


def _same_entries(cls: type, names: list[str], values: list[Any]) -> bool:
    """Whether a class has the same attributes."""
    now = vars(cls)
    return (
        len(now) == len(names) and all(map(is_, now, names)) and all(map(is_, now.values(), values))
    )


def _are_leaves(tensors: list[Tensor]) -> bool:
    """Whether tensors are leaves with gradients."""
    for t in tensors:
        node = t.node
        if node is None or not node.requires_grad or node.primitive is not None:
            return False
    return True


def _are_constants(tensors: list[Tensor]) -> bool:
    return not any(t.node is not None and t.node.requires_grad for t in tensors)


def _gives(function: Callable[[Any], Any], value: Any, expected: Any) -> bool:
    return bool(function(value) == expected)


def _has_parts(function: Callable[[Any], list[Any]], value: Any, parts: list[Any]) -> bool:
    now = function(value)
    return len(now) == len(parts) and all(map(is_, now, parts))


def _is(value: Any, kinds: Any) -> bool:
    """What isinstance says without asking the object, which may have a __getattribute__ of its own, or stand for another."""
    return issubclass(type(value), kinds)


def _is_empty(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False


def _content(array: Any) -> tuple[Any, ...]:
    return array.shape, array.dtype, hash(np.ndarray.tobytes(array))


def _elements(array: Any) -> list[Any]:
    """Of an array of objects."""
    return list(np.ndarray.ravel(array).tolist())


def _form(array: Any) -> tuple[Any, ...]:
    return array.shape, array.dtype


def _variables(context: Any) -> list[Any]:
    return [*context.keys(), *context.values()]


def _referents(value: Any) -> list[Any]:
    """What an object of a class written in C refers to."""
    return [part for part in gc.get_referents(value) if not _is(part, (type, types.ModuleType))]


def _ordered(d: Any) -> list[Any]:
    return list(collections.OrderedDict.__iter__(d))


def _memory(value: Any) -> Any:
    """What stands in the memory that an object shows (a memoryview, an array of Python, a value of ctypes); None if it shows none."""
    try:
        with memoryview(value) as view:
            return view.format, view.shape, view.readonly, view.tobytes()
    except (TypeError, ValueError, BufferError):
        return None


def _set_memory(value: Any, content: bytes) -> None:
    if _is(value, bytearray):
        value[:] = content
    elif hasattr(value, "frombytes"):
        del value[:]
        value.frombytes(content)
    else:
        np.frombuffer(value, np.uint8)[:] = np.frombuffer(content, np.uint8)


def _file(value: Any) -> Any:
    """What stands in a file in memory, and where it is read next."""
    return value.getvalue(), value.tell()


def _arithmetic(context: Any) -> Any:
    """How decimals are computed in a context, which is that of the thread if it is None."""
    context = context or sys.modules["decimal"].getcontext()
    names = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
    return tuple(getattr(context, name) for name in names), tuple(map(bool, context.traps.values()))


def _asked(function: Any) -> Any:
    return _frozen(function())


def _cached(function: Any) -> Any:
    return function.cache_info()[1:]


def _state(generator: Any) -> Any:
    """How a generator of random numbers stands; None for anything else."""
    owner = generator if _is(generator, types.ModuleType) else type(generator)
    if hasattr(owner, "getstate") and hasattr(owner, "setstate"):  # of the module random
        return generator.getstate()
    if _is(generator, np.random.Generator):
        return generator.bit_generator.state
    return (
        generator.get_state(legacy=False)
        if hasattr(owner, "set_state") and hasattr(owner, "get_state")
        else None
    )


def _frozen(state: Any) -> Any:
    """The same, to be compared."""
    if isinstance(state, dict):
        return tuple((key, _frozen(value)) for key, value in state.items())
    return state.tobytes() if isinstance(state, np.ndarray) else state


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif hasattr(generator, "setstate"):
        generator.setstate(state)
    else:
        generator.set_state(state)


def _own(value: Any) -> Any:
    """The attributes of an object; None if it has no dict of them."""
    look = type(value).__getattribute__
    try:
        return (look if type(look) is types.WrapperDescriptorType else object.__getattribute__)(
            value, "__dict__"
        )
    except AttributeError:
        return None


def _name(value: Any) -> str:
    return value.__name__ if _is(value, (types.FunctionType, type)) else type(value).__name__


def _text(path: Path) -> str:
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(part)
    return "".join(reversed(parts))
