"""What the docstrings of the public names say of parameters is what the signatures have."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "docs" / "site"))
reference = importlib.import_module("reference")

FROM = 3  # parameters from which on a section is wanted
MADE_BY = {  # objects that users are given; their attributes are described, and how they are made is not
    "tg.Drawing": "draw",
    "tg.Program": "trace",
    "tg.Window": "tbptt",
}


def parameters(thing: Any) -> list[str]:
    """The names in the signature of a function or a class, without self."""
    found = inspect.signature(thing).parameters
    return [name for name in found if name not in ("self", "cls")]


def section(docstring: str | None) -> list[str] | None:
    """The names that a section of parameters lists, or None if there is no section."""
    text = inspect.cleandoc(docstring or "")
    found = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    if not found:
        return None
    heads = [line.split(" : ")[0] for line in found[1].splitlines() if not line.startswith(" ")]
    return [name.strip().lstrip("*") for head in heads for name in head.split(",")]


def inherited(kind: type, name: str) -> str | None:
    """The docstring of the method that one replaces, if that has a section of parameters."""
    above = [getattr(base, name).__doc__ for base in kind.__mro__[1:] if hasattr(base, name)]
    return next((text for text in above if section(text) is not None), None)


def documented() -> Iterator[tuple[str, list[str], str | None]]:
    """Every public function, class and method: its path, its parameters and its docstring."""
    for shown, path in (entry for entries in reference.names().values() for entry in entries):
        module, _, name = path.rpartition(".")
        thing = getattr(importlib.import_module(module), name)
        if isinstance(thing, type) and issubclass(thing, Exception | tuple):
            continue  # a named tuple has fields, which its text describes
        if not callable(thing):
            continue  # it is written with brackets, which have no parameters
        yield shown, parameters(thing), thing.__doc__
        for method, made in vars(thing).items() if isinstance(thing, type) else ():
            function = getattr(made, "__func__", made)
            if not method.startswith("_") and inspect.isfunction(function):
                text = function.__doc__
                if section(text) is None and (above := inherited(thing, method)):
                    text = above
                yield f"{shown}.{method}", parameters(function), text


ALL = {path: (names, text) for path, names, text in documented() if path not in MADE_BY}


@pytest.mark.parametrize("path", [p for p, (names, _) in ALL.items() if len(names) >= FROM])
def test_several_parameters_are_described(path: str) -> None:
    assert section(ALL[path][1]) is not None


@pytest.mark.parametrize("path", [p for p, (_, text) in ALL.items() if section(text) is not None])
def test_the_parameters_are_those_of_the_signature(path: str) -> None:
    names, text = ALL[path]
    assert sorted(section(text) or []) == sorted(names)  # they may be described in another order


def test_the_walk_finds_what_there_is() -> None:
    assert {"tg.tensor", "tg.sum", "tg.cells.LSTM", "tg.nn.Conv1d", "tg.optim.Adam.change"} <= set(
        ALL
    )
    assert sum(len(names) >= FROM for names, _ in ALL.values()) > 200
    assert all(
        importlib.import_module("tinygrad_rnn").__dict__[made] for made in ("trace", "tbptt")
    )


def test_a_section_is_read() -> None:
    text = "Do it.\n\n    Parameters\n    ----------\n    a, b : int\n        Two.\n    *c\n\n    Returns\n    -------\n    d : int\n"
    assert section(text) == ["a", "b", "c"]
    assert section("Do it.") is None
