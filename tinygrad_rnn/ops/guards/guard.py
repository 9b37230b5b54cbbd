"""What a callable reads at one moment, and whether it is so still."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from operator import is_
from typing import Any

from ...core.primitive import Spec
from ...core.tape import Leaf, Node, context
from ...core.tensor import Tensor
from .follow import follow
from .keys import Key, Names
from .observations import frozen, generator_state, set_generator_state
from .walk import Path, Reads, text_of


def _is_of_this_recording(node: Node | None) -> bool:
    """Whether a node depends on arguments of the function that is being recorded, and on values."""
    here, seen, stack = context().inputs, set[Node](), [node]
    while stack:
        n = stack.pop()
        if n in here or n in seen:
            continue
        if n is None or (n.primitive is None and isinstance(n.value, Spec)):
            return False
        seen.add(n)
        stack += [i for i in n.inputs if isinstance(i, Node)]
    return True


class Guard:
    """What was there at one moment.

    Parameters
    ----------
    roots, more : sequence
        What is followed.
    reads : Reads
        The names that code was found to read. Further ones are added to it; then this guard is to
        be made again.

    Attributes
    ----------
    key : Key
        Equal to that of another moment if nothing that is read differs.
    tensors : list of (int, Tensor)
        The tensors that were found, and where they stand in the key.
    asked : list of Tensor
        Those of them whose values do not count, since they are asked for at each call.
    more : tuple
        The further objects.
    """

    def __init__(self, roots: Sequence[Any], more: Sequence[Any], reads: Reads) -> None:
        self.more = tuple(more)
        found = follow((*more, *roots), reads)
        self.tensors, self.asked = found.tensors, list(found.asked.values())
        self._items, self._paths = found.items, found.paths
        self._generators = found.generators
        self._places = found.places
        self._kept = found.kept
        self._checks, self._compiled = list(found.places.checks(compiled=False)), False
        self.key = Key(found.items)

    @property
    def computed(self) -> dict[Node, Any]:
        """The values of tensors that were computed from others."""
        return {
            t.node: t.array
            for _, t in self.tensors
            if t.node is not None and not isinstance(t.node, Leaf)
        }

    def constants(self) -> Iterator[tuple[Tensor, Any]]:
        """Yield the tensors whose values count, each with what says which values it has."""
        asked = {id(t) for t in self.asked}
        for place, t in self.tensors:
            *_, values = self._items[place]
            if values is not None and id(t) not in asked:
                yield t, values

    @property
    def with_state(self) -> list[Any]:
        """The optimisers and schedules that were found: objects of this package with a state."""
        found = {
            id(o): o
            for o, kind in zip(*self._places.types, strict=True)
            if hasattr(kind, "state_dict") and not hasattr(kind, "named_parameters")
        }
        return list(found.values())

    def holds(self) -> bool:
        """Whether each object is in its place still."""
        try:
            for check in self._checks:
                if not check():
                    return False
            if not self._compiled:  # which takes as long as some comparisons, and pays from now on
                self._checks = list(self._places.checks(compiled=True))
                self._compiled = True
            return True
        except Exception:  # an attribute that is gone, a dict that another thread writes to, ...
            return False

    def changed(self, guards: Guards) -> str:
        """Return the first thing that differs now; other objects may have the same values."""
        if self.holds():
            return ""
        now = guards.fresh(self.more)
        return "" if self.key == now.key else self.difference(now)

    def difference(self, other: Guard) -> str:
        """Return the first thing that differs in another guard, as the code calls it.

        The text is empty if nothing differs.
        """
        for (item, path), (now, _) in zip(
            zip(self._items, self._paths, strict=True),
            zip(other._items, other._paths, strict=True),
            strict=False,
        ):
            if item != now:
                names = set(item) ^ set(now) if type(item) is type(now) is Names else set()
                return text_of(path) + (f".{min(names)}" if names else "")
        return "" if len(self._items) == len(other._items) else text_of(self._paths[-1])

    def traced(self) -> str:
        """Return what the first tensor without values is called, or an empty text.

        Such a tensor is what a recording has left. The arguments of the function that is being
        recorded, and what it has computed of them, are none of these: they may stand where a cell
        reads them (`functional_call`).
        """
        places = (
            place
            for place, t in self.tensors
            if isinstance(t.array, Spec) and not _is_of_this_recording(t.node)
        )
        return next((text_of(self._paths[place]) for place in places), "")

    def snapshot(self) -> Callable[[], None]:
        """Return a function that puts everything back as it is now."""
        places = self._places.snapshot()
        tensors = [(t, t.array, t.node) for _, t in self.tensors]
        hooks = [(n, list(n.hooks)) for _, _, n in tensors if n is not None and n.hooks]
        bare = [n for _, _, n in tensors if n is not None and not n.hooks]
        states = [(generator, generator_state(generator)) for generator, _, _ in self.states()]

        def restore() -> None:
            for put_back in places:
                put_back()
            for t, array, node in tensors:
                t.array, t.node = array, node
            for node in bare:
                node.hooks = None
            for node, several in hooks:
                node.hooks = several
            for generator, state in states:
                set_generator_state(generator, state)

        return restore

    def states(self) -> list[tuple[Any, str, Any]]:
        """Return how generators of random numbers stand: each object, its name and its state.

        They are those that were found, and those of Python and NumPy that everybody uses.
        """
        common: list[tuple[Any, Path]] = [
            (module, (None, name))
            for name in ("random", "numpy.random")
            if (module := sys.modules.get(name)) is not None
        ]
        return [
            (generator, text_of(path), frozen(generator_state(generator)))
            for generator, path in (*self._generators, *common)
        ]


class Guards:
    """The guards of one callable: the latest that holds, or a new one.

    Parameters
    ----------
    *roots
        What is followed.
    gradients : bool, optional
        Whether `.grad` of tensors is read; it can be found out later. Default: if the name stands
        in the code.
    asks : Asking, optional
        Says which tensors without gradients are asked for their values. Default: none.
    """

    # One for training and one for evaluation, say. They hold what they found, so they are few.
    KEPT = 2

    def __init__(self, *roots: Any, gradients: bool | None = None, asks: Any = None) -> None:
        self.roots, self.asks, self.reads = roots, asks, Reads(gradients, asks)
        self.known: list[Guard] = []

    def now(self, more: Sequence[Any] = ()) -> Guard:
        """Return the guard of what is there now, of the roots and of further objects."""
        known = self.known
        for place, guard in enumerate(known):
            if (
                not (more or guard.more)
                or (len(guard.more) == len(more) and all(map(is_, guard.more, more)))
            ) and guard.holds():
                if place:
                    self.known = [guard, *known[:place], *known[place + 1 :]]
                return guard
        found = self.fresh(more)
        if self.asks is not None and self.asks.notice(known, found):
            return self.again(more)
        return self.keep(found)

    def again(self, more: Sequence[Any]) -> Guard:
        """Return the guard of what is there now, when something else counts than before."""
        self.known = []
        return self.keep(self.fresh(more))

    def fresh(self, more: Sequence[Any] = ()) -> Guard:
        """Return the guard of what is there now, found by following everything."""
        while True:
            size = self.reads.size
            guard = Guard(self.roots, more, self.reads)
            if self.reads.size == size:
                return guard

    def with_read(self, asked: Any, more: Sequence[Any]) -> Guard:
        """Let the values count that a recording has read, and return the guard of what is there now."""
        self.asks.let_read(asked.read.values())
        return self.again(more)

    def with_gradients(self, more: Sequence[Any] = ()) -> Guard:
        """Let `.grad` of tensors count from now on, and return the guard of what is there now."""
        self.reads.gradients = True
        return self.again(more)

    def keep(self, guard: Guard) -> Guard:
        """Let `now` find a guard, and return it."""
        known = self.known
        # Equal keys become one object, which is compared at once.
        guard.key = next((other.key for other in known if other.key == guard.key), guard.key)
        others = [other for other in known if other.key is not guard.key]
        self.known = [guard, *others[: self.KEPT - 1]]
        return guard
