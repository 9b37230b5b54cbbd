"""Loops of a module that are the same but for the arrays they work on become one function, which is compiled once.

Compiling takes a time that grows with the code, and a step that repeats itself (sub-steps of an
integration, a stack of layers of one kind) has the same loops again and again. What is told apart
is the text: names are numbered in the order in which they occur, and loops with equal text are one.
Arrays are handed over as pointers to their first elements, which costs a call of a few nanoseconds;
so a loop that occurs once, and short ones, stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

SAVED = 24  # lines that have to be saved at least for a loop to be shared
SCALARS = ("T", "B", "s", "t", "one", "last", "way")  # which the functions of a module have

_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_ASSIGNED = re.compile(r"^\s*(?:for (\w+) in|(\w+) = )", re.MULTILINE)
_OFFSET = re.compile(r"p\d+$")


class Part(NamedTuple):
    """A loop in a function: which lines it has, from `begin` up to `end`."""

    which: str
    begin: int
    end: int


def shared(
    lines: Mapping[str, list[str]],
    parts: Iterable[Part],
    kinds: Mapping[str, Mapping[str, str]],
    many: Container[str] = (),
) -> tuple[list[str], dict[str, list[str]]]:
    """The functions of loops that occur several times, and the lines in which they are called.

    Parameters
    ----------
    lines : dict of str to list of str
        Of each function of the module.
    parts : iterable of Part
        The loops in them.
    kinds : dict of str to dict
        For each function the kind of each array (see `lower.kind_of`).
    many : container of str
        The functions all of whose loops become functions: their arrays are no arguments, and of
        arguments alone LLVM is told that they do not overlap (`kernels.scalar.distinct_arrays`).
    """
    places: dict[tuple[str, str], list[tuple[Part, str]]] = {}
    for part in parts:
        parameters, arguments, body = _numbered(
            lines[part.which][part.begin : part.end], kinds[part.which]
        )
        places.setdefault((parameters, body), []).append((part, arguments))
    functions: list[str] = []
    calls: list[tuple[Part, str]] = []
    count = 0
    for (parameters, body), several in places.items():
        if (len(several) - 1) * body.count("\n") >= SAVED or any(
            part.which in many for part, _ in several
        ):
            functions += [
                "",
                "",
                "@njit(**of_loops)",
                f"def loop{count}({parameters}):",
                "    wide_vectors()",
                *body.splitlines(),
            ]
            calls += [(part, f"        loop{count}({arguments})") for part, arguments in several]
            count += 1
    changed = {which: list(found) for which, found in lines.items()}
    for part, call in sorted(calls, key=lambda found: found[0].begin, reverse=True):
        changed[part.which][part.begin : part.end] = [call]
    return functions, changed


def _numbered(lines: list[str], kinds: Mapping[str, str]) -> tuple[str, str, str]:
    """Parameters, arguments and text of a loop as a function.

    The same for loops that do the same with other arrays.
    """
    text = "\n".join(lines)
    own = {name for pair in _ASSIGNED.findall(text) for name in pair if name}
    names: dict[str, str] = {}
    given: dict[str, str] = {}  # of each parameter the argument

    def name_of(found: re.Match[str]) -> str:
        name = found[0]
        if name not in names:
            if name in own:
                names[name] = f"v{len(names)}"
            elif name in kinds:
                names[name] = f"{kinds[name].lower()}{len(names)}"
                # a boolean in memory is no boolean to a pointer
                given[names[name]] = name if kinds[name] == "Q" else f"start({name})"
            elif _OFFSET.match(name):
                names[name] = f"p{len(names)}"
                given[names[name]] = name
            else:
                names[name] = name
                given.update({name: name} if name in SCALARS else {})
        return names[name]

    body = "".join(f"{_NAME.sub(name_of, line[4:].partition('  # ')[0])}\n" for line in lines)
    return ", ".join(given), ", ".join(given.values()), body
