"""A compiled function with all that it is given, and what a forward pass leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..core.primitive import Array
from ..loops import workspace
from ..loops.workspace import Workspace, address
from .marshal import compute, flat, inner_dtype, needed
from .sequence import SequenceCode
from .value import Value


class Shard(NamedTuple):
    """The rows `lo` to `hi` of a batch, which one thread takes, and what it leaves of them."""

    lo: int
    hi: int
    kept: Workspace


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
    turned : dict of Value to array
        Inputs that are brought into the order of the code first.
    shards : list of Shard
    """

    __slots__ = ("__weakref__", "caller", "constants", "reverse", "shape", "shards", "turned")

    def __init__(self, T: int, batch: int, reverse: bool, constants: dict[Value, Array]) -> None:
        self.shape, self.reverse, self.constants = (T, batch), reverse, constants
        self.caller: dict[str, Array] = {}
        self.turned: dict[Value, Array] = {}
        self.shards: list[Shard] = []

    @property
    def nbytes(self) -> int:
        """The bytes of the workspaces."""
        return sum(shard.kept.size for shard in self.shards)

    def __del__(self) -> None:
        for shard in self.shards:
            workspace.pool.give(shard.kept)


class Arrays(Protocol):
    """Arrays by name, and the address at which each begins, as a workspace has them."""

    arrays: dict[str, Array]
    addresses: dict[str, int]


class Arguments(NamedTuple):
    """What a function is given besides its workspaces.

    Attributes
    ----------
    caller : mapping of str to array
        Arrays of the caller, by the names that they have in the code.
    constants : list of array
        What does not vary.
    """

    caller: Mapping[str, Array]
    constants: list[Array]


class CompiledFunction:
    """One of the two functions: compiled, with the constants that it reads."""

    def __init__(self, code: SequenceCode, which: str, module: Any) -> None:
        self.call: Callable[..., None] = getattr(module, which)
        self.address: int = module.addresses[which]
        found = code.functions[which]
        self.packed = found.function.packed
        self.own, self.caller = found.own, found.caller
        self.hoisted, self.tables = found.hoisted, found.tables
        self.names = [a.name for a in self.own]
        self.repeats = [k for k, (_, repeated) in enumerate(self.hoisted) if repeated]
        self.wanted = [(v, inner_dtype(v)) for v, _ in self.hoisted]
        self.needed = needed(code.program, [v for v, _ in self.hoisted])

    def run(
        self, sizes: tuple[int, ...], workspaces: Sequence[Arrays], arguments: Arguments
    ) -> None:
        """Call it with arrays of workspaces, and others; if packed, with the addresses of all."""
        caller, constants = arguments
        if self.repeats:  # for each row of the batch
            constants = [
                np.repeat(c, sizes[1]) if k in self.repeats else c for k, c in enumerate(constants)
            ]
        others = [*[caller[a.name] for a in self.caller], *constants]
        own: dict[str, Any] = {}
        for w in workspaces:
            own |= w.addresses if self.packed else w.arrays
        given = [own[name] for name in self.names]
        if self.packed:
            self.call(*sizes, np.array([*given, *map(address, others)], np.int64))
        else:
            self.call(*sizes, *given, *others)

    def constants(self, known: dict[Value, Any], batch: int) -> list[Array]:
        """Return what does not vary, as flat arrays; `known` gets what is computed on the way."""
        for v in self.needed:
            if v not in known:
                known[v] = compute(v, known, batch)
        values = [flat(np.asarray(known[v], dtype)) for v, dtype in self.wanted]
        return [*values, *self.tables]
