"""Options of a command from a TOML file: ``--config FILE``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from ..train.errors import UserError


def with_configuration(words: Sequence[str]) -> list[str]:
    """Return the words of a command with those of its configuration before them.

    A key of the file is an option without its dashes, so ``hidden = 64`` is ``--hidden 64``; true is
    an option that takes no value. What stands on the command line counts, as it comes later.

    Raises
    ------
    UserError
        If the file is no TOML, or holds tables.
    OSError
        If it cannot be read.
    """
    found = list(words)
    if "--config" not in found:
        return found
    place = found.index("--config")
    if place + 1 == len(found):
        raise UserError("--config: expected the name of a TOML file")
    path = Path(found[place + 1])
    del found[place : place + 2]
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
    return [*found[:1], *more, *found[1:]]
