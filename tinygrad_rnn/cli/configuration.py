"""Options of a command from a TOML file: ``--config FILE``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from ..train.errors import UserError


def with_configuration(words: Sequence[str]) -> list[str]:
    """Return the words of a command with those of its configuration before its options.

    A key of the file is an option without its dashes, so ``hidden = 64`` is ``--hidden 64``; true is
    an option that takes no value. What stands on the command line counts, as it comes later. An
    option that takes several values would take a file's name that follows it for one of them, so
    all of them stand before an option, or at the end.

    Raises
    ------
    UserError
        If the file is no TOML, or holds tables.
    OSError
        If it cannot be read.
    """
    found = list(words)
    end = found.index("--") if "--" in found else len(found)
    place = next((k for k in range(end) if found[k].partition("=")[0] == "--config"), None)
    if place is None:
        return found
    _, joined, name = found[place].partition("=")
    if not joined and place + 1 == len(found):
        raise UserError("--config: expected the name of a TOML file")
    path = Path(name if joined else found[place + 1])
    del found[place : place + (1 if joined else 2)]
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # also for a name that no file can have
        raise UserError(f"--config: {str(path)!r} is no TOML file: {error}") from None
    more: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            raise UserError(
                f"--config: {path} has a table [{name}]; expected options such as hidden = 64"
            )
        if value is True:
            more.append(option)
        elif value is not False:
            values = value if isinstance(value, list) else [value]
            more += [option, *map(str, values)] if len(values) != 1 else [f"{option}={values[0]}"]
    first = next((k for k, word in enumerate(found) if word.startswith("-")), len(found))
    return [*found[:first], *more, *found[first:]]
