"""Running a generated module on arrays.

The arrays that the code works on are a `Workspace`, which is used again by the next call of the same length and batch: the first touch of fresh
memory costs as much as the work on it. With several threads each takes a part of the batch, in a workspace of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.memory import empty
from ..core.primitive import Array
from ..core.tape import Leaf
from ..core.tensor import Tensor
from ..kernels import products, runtime
from .module import Module, Slot
from .step import Op

KEPT = 4  # workspaces of one function that wait for their next use
LINE = 64  # bytes in a cache line, at which arrays begin
PAGE = 4096  # arrays that begin at the same place of a page would take each other's room in the cache


class Workspace:
    """Arrays of one call, by name."""

    __slots__ = ("arrays", "home", "key")

    def __init__(self, slots: Sequence[Slot], T: int, batch: int, dtype: np.dtype[Any], home: list[Workspace]) -> None:
        counts = [slot.elements(T, batch) for slot in slots]
        line, page = LINE // dtype.itemsize, PAGE // dtype.itemsize
        begins, end = [], 0
        for k, count in enumerate(counts):
            end += (k * 5 * line - end) % page if count > page else -end % line
            begins.append(end)
            end += count
        whole = np.empty(end + page, dtype)
        begin = -_address(whole) % PAGE // dtype.itemsize
        self.arrays = {slot.name: whole[begin + b : begin + b + count] for slot, b, count in zip(slots, begins, counts, strict=True)}
        self.key, self.home = (T, batch), home

    def release(self) -> None:
        """To be used by the next call."""
        self.home.append(self)
        if len(self.home) > KEPT:
            del self.home[0]


class Saved:
    """What a forward pass leaves for the backward pass; when nothing refers to it any more, its workspaces are free for another call."""

    __slots__ = ("__weakref__", "constants", "reverse", "shape", "shards", "xs")

    def __init__(self, T: int, batch: int, reverse: bool, xs: dict[str, Array], constants: dict[Op, Array]) -> None:
        self.shape, self.reverse, self.xs, self.constants = (T, batch), reverse, xs, constants
        self.shards: list[tuple[int, int, Workspace]] = []  # first row, last row + 1, arrays

    def __del__(self) -> None:
        for _, _, workspace in self.shards:
            workspace.release()


class _Function:
    """One of the two functions: its code, its arrays, and the constants that it reads."""

    def __init__(self, module: Module, which: str, code: Callable[..., None]) -> None:
        self.code, self.dtype = code, module.dtype
        self.slots: list[Slot] = getattr(module, f"{which}_slots")
        self.raw: list[str] = getattr(module, f"{which}_raw")
        self.once: list[Op] = list(getattr(module, f"{which}_once").values())
        self.needed = _needed(module, self.once)

    def constants(self, known: dict[Op, Any]) -> list[Array]:
        """Those that do not vary, as flat arrays; `known` gets what is computed on the way."""
        for op in self.needed:
            if op not in known:
                known[op] = compute(op, known)
        flat = []
        for op in self.once:
            value = np.asarray(known[op], self.dtype, order="C").reshape(-1)
            flat.append(value if value.flags.writeable else value.copy())  # compiled for arrays that can be written to
        return flat


def _needed(module: Module, ends: Iterable[Op]) -> list[Op]:
    """Operations that do not vary, in order, from constants up to these."""
    wanted, stack = set(), list(ends)
    while stack:
        op = stack.pop()
        if op not in wanted and op.inputs:
            wanted.add(op)
            stack += [i for i in op.inputs if isinstance(i, Op)]
    return [op for op in [*module.step.forward, *module.step.backward] if op in wanted and not op.varies]


class Runner:
    """A compiled step, to be run over sequences.

    Attributes
    ----------
    source : str
        The generated module.
    """

    def __init__(self, module: Module) -> None:
        self.module, self.step, self.dtype = module, module.step, module.dtype
        self.structure: Any = None  # how outputs and states were nested
        self.source = module.text()
        products.library(self.dtype)  # whose functions the module calls by name
        code = runtime.load(self.source, distinct=True)
        self._forward, self._backward = _Function(module, "forward", code.forward), _Function(module, "backward", code.backward)
        read = {slot.name for slot in self._backward.slots if slot.name[0] in "ksy"}
        self.kept = [slot for slot in self._forward.slots if slot.name in read]
        self.fleeting = [slot for slot in self._forward.slots if slot.name not in read]
        self.own = [slot for slot in self._backward.slots if slot not in self.kept]
        self.free: dict[str, list[Workspace]] = {"kept": [], "fleeting": [], "own": []}
        self.owners = [owner(op) for op in self.step.constants]
        self.wanted = [owner(op) for op in module.constants]  # to which gradients go
        after = [g for g in (self.step.gradients[op] for op in module.constants) if g is not None and not g.varies]
        self.after = _needed(module, [*after, *[i for op in module.post for i in op.inputs if isinstance(i, Op) and not i.varies]])
        self.result = sum(op.size for op in self.step.outputs), sum(op.size for op in self.step.states)

    def _workspace(self, which: str, T: int, rows: int) -> Workspace:
        free = self.free[which]
        for k in range(len(free) - 1, -1, -1):
            if free[k].key == (T, rows):
                return free.pop(k)
        slots: list[Slot] = getattr(self, which)
        return Workspace(slots, T, rows, self.dtype, free)

    def shards(self, batch: int) -> list[tuple[int, int]]:
        """The parts of the batch that threads take."""
        count = max(1, min(runtime.threads(), batch * self.dtype.itemsize // LINE))
        bounds = [batch * k // count for k in range(count + 1)]
        return list(itertools.pairwise(bounds))

    def forward(self, xs: Sequence[Array], states: Sequence[Array], reverse: bool) -> tuple[Saved, Array]:
        """Run all steps.

        Parameters
        ----------
        xs : arrays (T, batch, ...)
        states : arrays (batch, ...)

        Returns
        -------
        Saved
            For `backward`.
        array
            One vector of all outputs (T, batch, ...) and last states (batch, ...), one after the other.
        """
        T, batch = xs[0].shape[:2]
        known: dict[Op, Any] = {op: owner.array for op, owner in zip(self.step.constants, self.owners, strict=True)}
        constants = self._forward.constants(known)
        out = empty((batch * (T * self.result[0] + self.result[1]),), self.dtype)
        raw = {f"in{k}": _flat(x) for k, x in enumerate(xs)}
        saved = Saved(T, batch, reverse, dict(raw), known)
        raw.update({f"first{k}": _flat(s) for k, s in enumerate(states)}, out=out)
        arguments = [*[raw[name] for name in self._forward.raw], *constants]
        jobs = [(saved, lo, hi, arguments) for lo, hi in self.shards(batch)]
        runtime.share(self._forward_rows, jobs) if len(jobs) > 1 else self._forward_rows(*jobs[0])
        return saved, out

    def _forward_rows(self, saved: Saved, lo: int, hi: int, arguments: list[Array]) -> None:
        """`forward` of some rows of the batch."""
        T, batch = saved.shape
        kept, fleeting = self._workspace("kept", T, hi - lo), self._workspace("fleeting", T, hi - lo)
        arrays = {**kept.arrays, **fleeting.arrays}
        self._forward.code(T, hi - lo, batch, lo, saved.reverse, *[arrays[slot.name] for slot in self._forward.slots], *arguments)
        fleeting.release()
        saved.shards.append((lo, hi, kept))

    def backward(self, saved: Saved, g: Array) -> dict[Op, Array]:
        """Gradients of the wanted inputs, states and constants, from that of the vector of all results."""
        T, batch = saved.shape
        module, step = self.module, self.step
        constants = self._backward.constants(saved.constants)
        raw = {**saved.xs, "dout": _flat(g)}
        raw.update({f"dfirst{k}": empty((batch * op.size,), self.dtype) for k, op in enumerate(step.states)})
        raw.update({f"din{k}": empty((T * batch * step.xs[k].size,), self.dtype) for k in module.dx})
        parts: list[dict[Op, Array]] = [{} for _ in saved.shards]
        jobs = [(saved, *shard, raw, constants, part) for shard, part in zip(saved.shards, parts, strict=True)]
        runtime.share(self._backward_rows, jobs) if len(jobs) > 1 else self._backward_rows(*jobs[0])
        known = {**saved.constants, **parts[0]}
        for part in parts[1:]:
            for op, value in part.items():
                known[op] = known[op] + value
        for op in [*self.after, *module.post]:
            if op not in known:
                known[op] = compute(op, known)
        found = {op: raw[f"dfirst{k}"].reshape((batch, *op.features)) for k, op in enumerate(step.states)}
        found.update({step.xs[k]: raw[f"din{k}"].reshape((T, batch, *step.xs[k].features)) for k in module.dx})
        for op in module.constants:
            gradient = step.gradients[op]
            assert gradient is not None
            if gradient not in known:
                known[gradient] = compute(gradient, known)
            found[op] = np.asarray(known[gradient], order="C")  # ascontiguousarray would give a number an axis
        return found

    def _backward_rows(
        self, saved: Saved, lo: int, hi: int, kept: Workspace, raw: dict[str, Array], constants: list[Array], sums: dict[Op, Array],
    ) -> None:  # fmt: skip
        """`backward` of some rows of the batch; `sums` gets the products and sums over all steps."""
        (T, batch), rows, module = saved.shape, hi - lo, self.module
        own = self._workspace("own", T, rows)
        arrays = {**kept.arrays, **own.arrays}
        raw = dict(raw)
        for k, (op, (left, right)) in enumerate(module.products.items()):
            raw[f"dw{k}"] = out = empty((left.size * right.size,), self.dtype)
            sums[op] = out.reshape(right.size, left.size).T if op in module.transposed else out.reshape(left.size, right.size)
        given = [*[arrays[slot.name] for slot in self._backward.slots], *[raw[name] for name in self._backward.raw]]
        self._backward.code(T, rows, batch, lo, saved.reverse, *given, *constants)
        totals = {source: arrays[name].reshape(-1, rows) for source, name in module.totals.items()}
        over_rows = {source: total.sum(axis=1) for source, total in totals.items()}
        for op, source in module.sums.items():
            axes = op.params["axis"]
            if op.shape == source.features and axes in (source.batch, (source.batch,)):
                sums[op] = over_rows[source].reshape(op.shape)
            else:
                total = np.moveaxis(totals[source].reshape((*source.features, rows)), -1, source.batch or 0)
                sums[op] = total.sum(axis=tuple(axes) if isinstance(axes, list) else axes, keepdims=op.params["keepdims"])
        own.release()


def compute(op: Op, known: dict[Op, Any]) -> Any:
    """An operation that is done once for a whole sequence."""
    primitive = op.node.primitive
    assert primitive is not None
    return np.asarray(primitive.forward(*[known[i] if isinstance(i, Op) else i for i in op.inputs], **op.node.params))


def _flat(array: Array) -> Array:
    """In one row; compiled code wants arrays that could be written to."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.flags.writeable else flat.copy()


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def owner(op: Op) -> Tensor:
    """The tensor that a constant belongs to, with its node and values as they are now."""
    node = op.node
    assert isinstance(node, Leaf)
    found: Tensor | None = None if node.tensor is None else node.tensor()
    return Tensor(node.value, node) if found is None else found
