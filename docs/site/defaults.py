"""Parameters that a docstring describes together, as in ``stride, padding : int``, each with its own default."""

from __future__ import annotations

from typing import Any

import griffe


class Defaults(griffe.Extension):
    """Take each default from the signature; the parser gives all of a group that of the first."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Go through all that was loaded."""
        stack: list[Any] = [pkg]
        while stack:
            thing = stack.pop()
            if thing.is_alias:
                continue
            stack += thing.members.values()
            if thing.docstring and (thing.is_function or thing.is_class):
                correct(thing)


def correct(thing: Any) -> None:
    """Put the defaults of a function or class into the parameters of its docstring."""
    signature = {p.name: p.default for p in thing.parameters}
    for section in thing.docstring.parsed if signature else ():
        if section.kind is griffe.DocstringSectionKind.parameters:
            for parameter in section.value:
                parameter.value = signature.get(parameter.name, parameter.value)
