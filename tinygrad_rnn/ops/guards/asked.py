"""Constants that stand in a recording as inputs: their values are asked for at each call.

They are tensors without gradients that are expected to get other values, such as buffers. What Python
code reads of one while the function is recorded, as in ``if flag > 0``, stands in the recording as it
is. So such a tensor is noted, and the function has to be recorded again with it as a constant.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, MutableMapping

from ...core.errors import TraceError
from ...core.primitive import Spec
from ...core.record import describe
from ...core.tape import Leaf, Node, reachable
from ...core.tensor import Tensor
from .guard import Guard

_Tensors = MutableMapping[int, Tensor]


class Asked:
    """The tensors that one recording asks for.

    Parameters
    ----------
    tensors : iterable of Tensor
        Constants, each of which gets a leaf of its own.

    Attributes
    ----------
    tensors : dict of Node to Tensor
        Each by its leaf.
    read : dict of int to Tensor
        Those, by their id, whose values were read while the function was recorded.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors: dict[Node, Tensor] = {}
        self.read: dict[int, Tensor] = {}
        for t in tensors:
            node = t.node
            own = isinstance(node, Leaf) and node.tensor is not None and node.tensor() is t
            self.tensors[node if own and node is not None else t.leaf(False, t.name)] = t
        self._arrays = [t.array for t in self.tensors.values()]

    def __contains__(self, node: object) -> bool:
        return node in self.tensors

    def __bool__(self) -> bool:
        return bool(self.tensors)

    def reads(self, t: Tensor) -> bool:
        """Note that values are read; return False if they depend on more than these constants."""
        if isinstance(t.array, Spec) or t.node is None:
            return False
        nodes = reachable([t.node], self.tensors, every=True)
        if any(n.requires_grad for n in nodes):
            return False
        self.read.update((id(x), x) for n in nodes if (x := self.tensors.get(n)) is not None)
        return True

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Let a recording fail silently if values were read, as it has to be made again then."""
        try:
            yield
        except Exception:
            if not self.read:
                raise

    def note(self, guard: Guard) -> None:
        """Note what a part of the recording, which was made with this guard, has as numbers."""
        self.read.update((id(t), t) for t, _ in guard.constants() if t.node in self.tensors)

    def check(self) -> None:
        """Raise a TraceError if a tensor was changed while the function was recorded."""
        for (leaf, t), array in zip(self.tensors.items(), self._arrays, strict=True):
            if t.node is not leaf or t.array is not array:
                raise TraceError(
                    f"tg.jit: {describe(t)} got other values while a function that uses it was recorded, in that function or in another thread. "
                    "A recording cannot change what is outside of it: hand the value back as a part of the result"
                )


class Asking:
    """Which tensors the recordings of one function ask for.

    Parameters
    ----------
    expected : callable
        Whether a tensor is one of those that are expected to change. Any other is asked for as soon
        as it has changed.
    """

    def __init__(self, expected: Callable[[Tensor], bool]) -> None:
        self._expected = expected
        # by id; a tensor that is gone is forgotten, as its id may be that of another one soon
        self._changed: _Tensors = weakref.WeakValueDictionary()
        self._read: _Tensors = weakref.WeakValueDictionary()

    def __call__(self, t: Tensor) -> bool:
        """Whether the values of a tensor are asked for at each call."""
        return id(t) not in self._read and (id(t) in self._changed or self._expected(t))

    def let_read(self, tensors: Iterable[Tensor]) -> None:
        """Let tensors stand in recordings with the values that they have."""
        self._read.update((id(t), t) for t in tensors)

    def notice(self, before: Iterable[Guard], now: Guard) -> bool:
        """Note constants that have changed since; return whether there are some."""
        earlier = {id(t): found for guard in before for t, found in guard.constants()}
        changed = [
            t
            for t, found in now.constants()
            if id(t) not in self._read and earlier.get(id(t), found) != found
        ]
        self._changed.update((id(t), t) for t in changed)
        return bool(changed)
