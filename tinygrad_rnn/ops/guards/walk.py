"""The state of one search through all that can be reached from some objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...core.tensor import Tensor
from .places import Places

Path = Any  # None, or the path of the owner and a text: how the code calls an object


def text_of(path: Path) -> str:
    """Return a path as it stands in messages, such as "config.rates[0]"."""
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(part)
    return "".join(reversed(parts))


class Reads:
    """The names of attributes that code was found to read.

    They only become more, and what follows from an object depends on them. So a search is made
    again as long as it finds new ones.
    """

    def __init__(
        self, gradients: bool | None = None, asks: Callable[[Tensor], bool] | None = None
    ) -> None:
        self.asks = asks or (lambda t: False)  # see `asked.Asking`
        self.names: set[str] = set()
        # whether `.grad` of tensors is read; None: if the name stands in the code
        self.gradients = gradients
        self.imports = False  # the code imports modules by texts
        self.everything = False  # the code may read attributes whose names do not stand in it

    @property
    def size(self) -> tuple[Any, ...]:
        """A value that changes whenever something is found."""
        return len(self.names), self.everything, self.imports, self.gradients


class Walk:
    """One search: what is still to be visited, and what was found.

    Attributes
    ----------
    reads : Reads
    stack : list of (object, Path)
        What is still to be visited. The last one comes next.
    places : Places
    items : list
        The key: a description of each object that was visited.
    paths : list of Path
        How the code calls it.
    tensors : list of (int, Tensor)
        The tensors that were found, and where they stand in the key.
    asked : dict of int to Tensor
        Those of them, by id, whose values do not count.
    generators : list of (object, Path)
        Generators of random numbers.
    entered : set
        Classes whose entries were visited, and which of them.
    words : set of str
        Texts that stand in code, and may be names of modules.
    imported : set of str
        Names of modules that were looked for.
    kept : list
        The objects that have a number, so that no other object gets the same address.
    """

    def __init__(self, reads: Reads, stack: list[tuple[Any, Path]]) -> None:
        self.reads = reads
        self.stack = stack
        self.places = Places()
        self.items: list[Any] = []
        self.paths: list[Path] = []
        self.tensors: list[tuple[int, Tensor]] = []
        self.asked: dict[int, Tensor] = {}
        self.generators: list[tuple[Any, Path]] = []
        self.entered: set[tuple[type, bool, bool]] = set()
        self.words: set[str] = set()
        self.imported: set[str] = set()
        self.kept: list[Any] = []
        self._numbers: dict[int, int] = {}

    def add(self, item: Any, path: Path) -> None:
        """Add a description to the key."""
        self.items.append(item)
        self.paths.append(path)

    def push(self, parts: Iterable[tuple[Any, Path]]) -> None:
        """Let objects be visited, the last one first."""
        self.stack.extend(parts)

    def again(self, value: Any, path: Path) -> bool:
        """Whether an object was met before; then its number is in the key.

        An object that was not met before gets a number now.
        """
        number = self._numbers.get(id(value))
        if number is not None:
            self.add(("again", number), path)
            return True
        self._numbers[id(value)] = len(self._numbers)
        self.kept.append(value)
        return False

    def first(self, cls: type) -> bool:
        """Whether a class was not met before; it gets a number now, and the key says nothing."""
        if id(cls) in self._numbers:
            return False
        self._numbers[id(cls)] = len(self._numbers)
        return True

    def count(self, function: Callable[[Any], Any], value: Any, path: Path) -> None:
        """Make what a function gives of an object a part of the key, and let it count."""
        found = function(value)
        self.add(found, path)
        self.places.results.append((function, value, found))
