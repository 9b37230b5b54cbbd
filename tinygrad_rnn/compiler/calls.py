"""A compiled function with all that it is given, and what a forward pass leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..loops import workspace
from ..loops.workspace import Workspace, address
from .marshal import compute, flat, inner_dtype, needed
from .sequence import SequenceCode
from .value import Value


class Residuals:
    """What a forward pass leaves for the backward pass.

    When nothing refers to it any more, its workspaces are free for another call.

    Attributes
    ----------
    shape : (int, int)
        Steps, and rows of the batch.
    constants : dict of Value to array
        What was computed once.
    caller : dict of str to array
        Inputs as the code takes them.
    shards : list of (int, int, Workspace)
        First row, last row + 1, arrays.
    """

    __slots__ = ("__weakref__", "caller", "constants", "reverse", "shape", "shards", "xs")

    def __init__(
        self, T: int, batch: int, reverse: bool, xs: Sequence[Array], constants: dict[Value, Array]
    ) -> None:
        self.shape, self.reverse, self.xs, self.constants = (T, batch), reverse, xs, constants
        self.caller: dict[str, Array] = {}
        self.shards: list[tuple[int, int, Workspace] | None] = []

    def __del__(self) -> None:
        for shard in self.shards:
            if shard is not None:
                workspace.pool.give(shard[2])


class CompiledFunction:
    """One of the two functions: compiled, with the constants that it reads."""

    def __init__(self, code: SequenceCode, which: str, function: Callable[..., None]) -> None:
        self.call, found = function, code.functions[which]
        self.packed = found.function.packed
        self.own, self.caller = found.own, found.caller
        self.hoisted, self.tables = found.hoisted, found.tables
        self.names = [a.name for a in self.own]
        self.repeats = [k for k, (_, repeated) in enumerate(self.hoisted) if repeated]
        self.needed = needed(code.program, [v for v, _ in self.hoisted])

    def run(
        self, sizes: tuple[int, ...], workspaces: Sequence[Workspace], others: Sequence[Array]
    ) -> None:
        """Call it with arrays of workspaces, and others; if packed, with the addresses of all."""
        if self.packed:
            addresses: dict[str, int] = {}
            for w in workspaces:
                addresses |= w.addresses
            every = [*[addresses[name] for name in self.names], *map(address, others)]
            self.call(*sizes, np.array(every, np.int64))
            return
        arrays: dict[str, Array] = {}
        for w in workspaces:
            arrays |= w.arrays
        self.call(*sizes, *[arrays[name] for name in self.names], *others)

    def constants(self, known: dict[Value, Any], batch: int) -> list[Array]:
        """Return what does not vary, as flat arrays; `known` gets what is computed on the way."""
        for v in self.needed:
            if v not in known:
                known[v] = compute(v, known, batch)
        values = [flat(np.asarray(known[v], inner_dtype(v))) for v, _ in self.hoisted]
        return [*values, *self.tables]

    def repeated(self, constants: list[Array], rows: int) -> list[Array]:
        """Return the same, repeated where they are wanted for each row of the batch."""
        if not self.repeats:
            return constants
        return [np.repeat(c, rows) if k in self.repeats else c for k, c in enumerate(constants)]
