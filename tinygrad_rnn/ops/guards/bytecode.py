"""What the code of a function reads, as its bytecode says."""

from __future__ import annotations

import dis
import functools
import itertools
import re
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

# fmt: off  (tables)
# Functions and attributes that read attributes whose names do not stand in the code.
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
_NOTHING = {"CACHE", "PUSH_NULL", "EXTENDED_ARG", "PRECALL", "NOP", "RESUME"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"}
_FREE = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF", "STORE_DEREF", "DELETE_DEREF"}
_NAMED = _ATTRIBUTE | {"STORE_ATTR", "DELETE_ATTR", "IMPORT_FROM", "LOAD_SUPER_ATTR"}
_MATCHING = {"MATCH_CLASS", "MATCH_KEYS"}
# fmt: on


class Code(NamedTuple):
    """What the code of a function, and of the functions inside it, reads.

    Attributes
    ----------
    chains : tuple
        Each is "global" or "free", the name of a variable, and the attributes that are read one
        after the other from its value.
    names : frozenset of str
        Attributes of anything else that are read or set.
    texts : tuple of str
        Globals that may be read by their names as texts.
    imports : tuple of (str, int)
        Modules that it imports, and how many packages up the search begins.
    words : frozenset of str
        Texts that stand in it.
    reflective : bool
        Whether it may read attributes whose names do not stand in it.
    """

    chains: tuple[tuple[str, ...], ...]
    names: frozenset[str]
    texts: tuple[str, ...]
    imports: tuple[tuple[str, int], ...]
    words: frozenset[str]
    reflective: bool


@functools.lru_cache(maxsize=4096)
def read(code: types.CodeType) -> Code:
    """Return what a code object reads."""
    scan = _Scan()
    words: set[str] = set()
    codes = [code]
    for each in codes:
        scan.add(each)
        codes += [c for c in each.co_consts if isinstance(c, types.CodeType)]
        words |= {c for c in each.co_consts if isinstance(c, str)}
    names = scan.names
    used = names | {name for chain in scan.chains for name in chain[1:]}
    # An object whose class is asked for may be the class that is called.
    names |= {"__class__"} & used | ({"__class__"} if "type" in used else set())
    texts = (
        sorted({name for word in words for name in re.findall(r"[^\W\d]\w*", word)})
        if used & {"globals", "eval", "exec", "locals"}
        else []
    )
    return Code(
        tuple(sorted(scan.chains)),
        frozenset(names),
        tuple(texts),
        tuple(sorted(scan.imports)),
        frozenset(words),
        scan.reflective or bool(used & _REFLECTIVE),
    )


class _Scan:
    """The instructions of some code objects, sorted by what they read."""

    def __init__(self) -> None:
        self.chains: set[tuple[str, ...]] = set()
        self.names: set[str] = set()
        self.imports: set[tuple[str, int]] = set()
        self.reflective = False

    def add(self, code: types.CodeType) -> None:
        """Add what the instructions of one code object read."""
        chain: list[str] = []
        level = 0
        for step in dis.get_instructions(code):
            op, name = step.opname, step.argval
            if op in _ATTRIBUTE and chain:
                chain.append(name)
                continue
            if op in _NOTHING:
                continue
            if chain:
                self.chains.add(tuple(chain))
                chain = []
            if op in _GLOBAL:
                chain = ["global", name]
            elif op in _FREE:
                chain = ["free", name]
            elif op == "IMPORT_NAME":
                self.imports.add((name, level))
            elif op in _NAMED:
                self.names.add(name)
            elif op in _MATCHING:
                self.reflective = True
            elif op == "LOAD_CONST":
                level = name if type(name) is int else level
        if chain:
            self.chains.add(tuple(chain))


def imported(imports: Iterable[tuple[str, int]], space: dict[str, Any]) -> Iterable[str]:
    """Return the full names of modules that code imports, and of the packages they are in.

    Parameters
    ----------
    imports : iterable of (str, int)
        As `Code.imports`.
    space : dict
        The globals of the code, which know its package.
    """
    for name, level in imports:
        package = space.get("__package__") or ""
        base = package.rsplit(".", level - 1)[0] if level > 1 else package
        parts = (name if not level else f"{base}.{name}" if name else base).split(".")
        yield from itertools.accumulate(parts, "{}.{}".format)
