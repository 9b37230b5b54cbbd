"""How the values that code reads are described in a key, by which recordings are found."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

PLAIN = (type(None), bool, int, str, bytes, types.EllipsisType, types.NotImplementedType)
MISSING: Any = type("Missing", (), {"__slots__": (), "__repr__": lambda self: "nothing"})()


def plain_key(value: Any) -> Any:
    """Return the description of a number, a text or the like, or None for any other object.

    Two floats have the same description only if they have the same bits, except that all nan are
    the same: -0.0 and 0.0 differ.
    """
    kind = type(value)
    if kind in PLAIN:
        return (kind, value)
    return (kind, value.hex()) if kind is float else None


class Same:
    """The description of an object that is equal to itself alone.

    It holds the object, so that the address in memory is not given to another one.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class Names(tuple[str, ...]):
    """The description of the names of the attributes that an object has."""

    __slots__ = ()


class Key:
    """A tuple of descriptions whose hash is computed once."""

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
