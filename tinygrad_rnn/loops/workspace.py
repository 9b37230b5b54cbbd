"""The arrays that compiled code works on, and the pool in which they wait for their next use.

The first touch of fresh memory costs as much as the work on it, so the arrays of a call are used
again by the next call of the same kind.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from ctypes import addressof, c_char
from typing import Any, Protocol, TypeVar

import numpy as np

from ..core.primitive import Array
from .ir import Array as Buffer
from .ir import dtype_of

IDLE = 1 << 28  # bytes of all workspaces that wait for their next use
LINE = 64  # bytes in a cache line, at which arrays begin
PAGE = (
    4096  # arrays that begin at the same place of a page would take each other's room in the cache
)


class Pooled(Protocol):
    """What waits in the pool: the memory of a call, with what is known of it."""

    key: Any
    memory: Array
    size: int
    owner: Any


P = TypeVar("P", bound=Pooled)


class WorkspacePool:
    """The workspaces that wait for a call of the same kind.

    Of those that wait longest, what is more than `IDLE` bytes is given back. Where calls have had
    more in use at one time, that and a quarter may wait: a training step uses not quite all of its
    workspaces at once, and the next one needs all again.
    """

    def __init__(self) -> None:
        # the garbage collector may release a workspace while another is being taken
        self.lock = threading.RLock()
        self.waiting: dict[Any, list[Any]] = {}
        self.size = 0  # bytes of those that wait
        self.used = self.most = 0  # bytes of those in use, now and at most

    def take(self, key: Any, make: Callable[[Find], P]) -> P:
        """Return an idle workspace with this key, or one that is made now.

        What is made may have the memory of one that waits, for another number of steps or rows.
        """
        with self.lock:
            several = self.waiting.get(key)
            found: P | None = several.pop() if several else None
            if found is not None:
                self.size -= found.size
                if not several:
                    del self.waiting[key]
        if found is None:
            found = make(lambda size: self._memory(key[:2], size))
        with self.lock:
            self.used += found.size
            self.most = max(self.most, self.used)
        return found

    def _memory(self, kind: Any, size: int) -> Array | None:
        """Return the memory of the smallest idle workspace of a kind that has room enough.

        None if there is none, or if that is more than twice as large.
        """
        with self.lock:
            fitting = [
                (several[0].size, key)
                for key, several in self.waiting.items()
                if key[:2] == kind and size <= several[0].size <= 2 * size
            ]
            if not fitting:
                return None
            key = min(fitting)[1]
            found = self.waiting[key].pop(0)
            if not self.waiting[key]:
                del self.waiting[key]
            self.size -= found.size
            memory: Array = found.memory
            return memory

    def give(self, workspace: Pooled) -> None:
        """Return a workspace to the pool, as long as its owner is there."""
        with self.lock:
            self.used -= workspace.size
            if workspace.owner() is None:
                return
            several = self.waiting.pop(workspace.key, [])
            several.append(workspace)
            self.waiting[workspace.key] = several  # now the latest
            self.size += workspace.size
            while self.size > max(IDLE, self.most * 5 // 4):
                oldest = self.waiting[next(iter(self.waiting))]
                self.size -= oldest.pop(0).size
                if not oldest:
                    del self.waiting[next(iter(self.waiting))]

    def drop(self, number: int) -> None:
        """Give back what waits for an owner that is gone."""
        with self.lock:
            for key in [key for key in self.waiting if key[0] == number]:
                self.size -= sum(workspace.size for workspace in self.waiting.pop(key))


Find = Callable[[int], Array | None]  # takes a number of bytes; see `WorkspacePool._memory`
pool = WorkspacePool()
numbers = itertools.count()  # of owners


class Workspace:
    """Arrays of one call, by name, and the address at which each begins.

    Parameters
    ----------
    arrays : sequence of ir.Array
        Those of the code.
    T, batch : int
        For how many steps and rows.
    owner : object
        The workspace is used again as long as it is there.
    key : tuple
        What calls of the same kind have in common: the number of the owner, what the arrays are
        for, and then for how many steps and rows.
    dtype : dtype
        The floating dtype of the code.
    find : callable
        Takes a number of bytes, and returns memory that is free, or None.
    """

    __slots__ = ("addresses", "arrays", "key", "memory", "owner", "size")

    def __init__(
        self,
        arrays: Sequence[Buffer],
        T: int,
        batch: int,
        owner: Any,
        key: Any,
        dtype: np.dtype[Any],
        find: Find,
    ) -> None:
        dtypes = [dtype_of(a.kind, dtype) for a in arrays]
        sizes = [a.elements(T, batch) * d.itemsize for a, d in zip(arrays, dtypes, strict=True)]
        begins, end = [], 0
        for k, size in enumerate(sizes):
            end += (k * 5 * LINE - end) % PAGE if size > PAGE else -end % LINE
            begins.append(end)
            end += size
        found = find(end + PAGE)
        self.memory = whole = np.empty(end + PAGE, np.uint8) if found is None else found
        first = address(whole)
        begin = -first % PAGE
        parts = list(zip(arrays, dtypes, begins, sizes, strict=True))
        self.arrays: dict[str, Array] = {
            a.name: whole[begin + b : begin + b + size].view(d) for a, d, b, size in parts
        }
        self.addresses = {a.name: first + begin + b for a, _, b, _ in parts}
        self.key, self.size, self.owner = key, whole.size, weakref.ref(owner)


def address(array: Array) -> int:
    """Return where an array begins in memory."""
    try:  # seven times as fast
        return addressof(_from_buffer(array))
    except (TypeError, ValueError):  # it is empty, or cannot be written to
        return int(array.__array_interface__["data"][0])


_from_buffer: Callable[[Any], Any] = c_char.from_buffer
