"""Running a generated module on arrays.

The arrays that the code works on are a `Workspace`, which is used again by the next call of the same length and batch: the first touch of fresh
memory costs as much as the work on it. With several threads each takes a part of the batch, in a workspace of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..core.tape import Leaf
from ..core.tensor import Tensor
from ..kernels import products, runtime
from .module import Module, Slot
from .step import Op

KEPT = 4  # workspaces of one function that wait for their next use
LINE = 64  # bytes in a cache line, at which arrays begin


class Workspace:
    """Arrays of one call, by name, with their addresses."""

    __slots__ = ("addresses", "arrays", "home", "key")

    def __init__(self, slots: Sequence[Slot], T: int, batch: int, dtype: np.dtype[Any], home: list[Workspace]) -> None:
        counts = [slot.elements(T, batch) for slot in slots]
        step = LINE // dtype.itemsize
        room = [-(-count // step) * step for count in counts]
        whole = np.empty(sum(room) + step, dtype)
        begin = -_address(whole) % LINE // dtype.itemsize
        self.arrays: dict[str, Array] = {}
        self.addresses: dict[str, int] = {}
        for slot, count, size in zip(slots, counts, room, strict=True):
            self.arrays[slot.name] = part = whole[begin : begin + count]
            self.addresses[slot.name] = _address(part)
            begin += size
        self.key, self.home = (T, batch), home

    def release(self) -> None:
        """To be used by the next call."""
        self.home.append(self)
        if len(self.home) > KEPT:
            del self.home[0]


class Saved:
    """What a forward pass leaves for the backward pass; when nothing refers to it any more, its workspaces are free for another call."""

    __slots__ = ("__weakref__", "constants", "reverse", "shape", "shards", "xs")

    def __init__(self, T: int, batch: int, reverse: bool, xs: Sequence[Array], constants: dict[Op, Array]) -> None:
        self.shape, self.reverse, self.xs, self.constants = (T, batch), reverse, xs, constants
        self.shards: list[tuple[int, int, Workspace]] = []  # first row, last row + 1, arrays

    def __del__(self) -> None:
        for _, _, workspace in self.shards:
            workspace.release()


class _Function:
    """One of the two functions: its code, its arrays, and the constants that it reads."""

    def __init__(self, module: Module, which: str, code: Callable[..., None]) -> None:
        self.code, self.module = code, module
        self.slots: list[Slot] = getattr(module, f"{which}_slots")
        self.once: list[Op] = list(getattr(module, f"{which}_once").values())
        self.names = [slot.name for slot in self.slots]
        self.needed = _needed(module, self.once)

    def constants(self, known: dict[Op, Any]) -> list[Array]:
        """Those that do not vary, as flat arrays; `known` gets what is computed on the way."""
        for op in self.needed:
            if op not in known:
                known[op] = compute(op, known)
        flat = []
        for op in self.once:
            value = np.asarray(known[op], self.module.dtype, order="C").reshape(-1)
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
        library = products.library(self.dtype)
        self.transpose, self.gradient = library.transpose.ctypes, library.gradient.ctypes
        code = runtime.load(self.source, distinct=True)
        self._forward, self._backward = _Function(module, "forward", code.forward), _Function(module, "backward", code.backward)
        read = {*self._backward.names, *(module.operand(side)[0] for pair in module.products.values() for side in pair)}
        self.kept = [slot for slot in self._forward.slots if slot.name in read and slot.name[0] not in "mp" and not self._by_rows(slot.name)]
        self.fleeting = [slot for slot in self._forward.slots if slot not in self.kept]
        self.own = [slot for slot in self._backward.slots if slot.name not in {s.name for s in self.kept}]
        self.free: dict[str, list[Workspace]] = {"kept": [], "fleeting": [], "own": []}
        self.owners = [owner(op) for op in self.step.constants]
        after = [g for g in (self.step.gradients[op] for op in module.constants) if g is not None and not g.varies]
        self.after = _needed(module, [*after, *[i for op in module.post for i in op.inputs if isinstance(i, Op) and not i.varies]])

    def _by_rows(self, name: str) -> bool:
        """Whether an input is read in backward by the products over all steps alone, which take it as it was given."""
        return name[0] == "x" and name not in self._backward.names

    def _workspace(self, which: str, T: int, batch: int) -> Workspace:
        free = self.free[which]
        for k in range(len(free) - 1, -1, -1):
            if free[k].key == (T, batch):
                return free.pop(k)
        slots: list[Slot] = getattr(self, which)
        return Workspace(slots, T, batch, self.dtype, free)

    def shards(self, batch: int) -> list[tuple[int, int]]:
        """The parts of the batch that threads take."""
        count = max(1, min(runtime.threads(), batch * self.dtype.itemsize // LINE))
        bounds = [batch * k // count for k in range(count + 1)]
        return list(itertools.pairwise(bounds))

    # --- forward ----------------------------------------------------------------------------------------------------------------

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
        xs = [np.ascontiguousarray(x) for x in xs]
        states = [np.ascontiguousarray(s) for s in states]
        saved = Saved(T, batch, reverse, xs, known)
        packed = np.empty(batch * (T * sum(op.size for op in self.step.outputs) + sum(op.size for op in self.step.states)), self.dtype)
        jobs = [(saved, lo, hi, xs, states, constants, packed) for lo, hi in self.shards(batch)]
        runtime.share(self._forward_rows, jobs) if len(jobs) > 1 else self._forward_rows(*jobs[0])
        return saved, packed

    def _forward_rows(self, saved: Saved, lo: int, hi: int, xs: Any, states: Any, constants: list[Array], packed: Array) -> None:
        """`forward` of some rows of the batch."""
        (T, batch), reverse, rows = saved.shape, saved.reverse, hi - lo
        kept, fleeting = self._workspace("kept", T, rows), self._workspace("fleeting", T, rows)
        arrays = {**kept.arrays, **fleeting.arrays}
        addresses = {**kept.addresses, **fleeting.addresses}
        itemsize = self.dtype.itemsize
        for k, (op, x) in enumerate(zip(self.step.xs, xs, strict=True)):
            if f"x{k}" in arrays:
                self._inside(_address(x) + lo * op.size * itemsize, addresses[f"x{k}"], T, rows, op.size, batch)
        for k, (op, s) in enumerate(zip(self.step.states, states, strict=True)):
            if f"s{k}" in arrays:
                self._inside(_address(s) + lo * op.size * itemsize, addresses[f"s{k}"], 1, rows, op.size, rows)
        self._forward.code(T, rows, reverse, *[arrays[name] for name in self._forward.names], *constants)
        begin = _address(packed)
        for op, (kind, k) in zip(self.step.outputs, self.module.y_from, strict=True):
            place, from_step, to_step = addresses[f"{kind}{k}"], op.size * rows, op.size * batch
            target = begin + lo * op.size * itemsize
            if kind == "s":
                place += op.size * rows * itemsize
                if reverse:
                    target, to_step = target + (T - 1) * to_step * itemsize, -to_step
            self._outside(place, target, T, op.size, rows, from_step, to_step)
            begin += T * batch * op.size * itemsize
        for k, op in enumerate(self.step.states):
            place = addresses[f"s{k}"] + T * op.size * rows * itemsize
            self._outside(place, begin + lo * op.size * itemsize, 1, op.size, rows, 0, 0)
            begin += batch * op.size * itemsize
        fleeting.release()
        saved.shards.append((lo, hi, kept))

    def _inside(self, source: int, target: int, T: int, rows: int, size: int, batch: int) -> None:
        """(T, rows, features) of a batch to (T, features, rows)."""
        self.transpose(source, target, T, rows, size, batch * size, size, rows * size, rows)

    def _outside(self, source: int, target: int, T: int, size: int, rows: int, from_step: int, to_step: int) -> None:
        """(T, features, rows) to (T, rows, features)."""
        self.transpose(source, target, T, size, rows, from_step, rows, to_step, size)

    # --- backward ---------------------------------------------------------------------------------------------------------------

    def backward(self, saved: Saved, g: Array) -> dict[Op, Array]:
        """Gradients of the wanted inputs, states and constants, from that of the vector of all results."""
        T, batch = saved.shape
        g = np.ascontiguousarray(g)
        known = saved.constants
        constants = self._backward.constants(known)
        found: dict[Op, Array] = {}
        for op in self.step.states:
            found[op] = np.empty((batch, *op.features), self.dtype)
        for k in self.module.dx:
            found[self.step.xs[k]] = np.empty((T, batch, *self.step.xs[k].features), self.dtype)
        jobs = [(saved, lo, hi, kept, g, constants, found) for lo, hi, kept in saved.shards]
        parts: list[dict[Op, Array]] = [{} for _ in jobs]
        work = [(*job, part) for job, part in zip(jobs, parts, strict=True)]
        runtime.share(self._backward_rows, work) if len(work) > 1 else self._backward_rows(*work[0])
        values = {op: sum((part[op] for part in parts[1:]), parts[0][op]) for op in parts[0]}
        known = {**known, **values}
        for op in [*self.after, *self.module.post]:
            if op not in known:
                known[op] = compute(op, known)
        for op in self.module.constants:
            gradient = self.step.gradients[op]
            assert gradient is not None
            if gradient not in known:
                known[gradient] = compute(gradient, known)
            found[op] = np.asarray(known[gradient], order="C")  # ascontiguousarray would give a number an axis
        return found

    def _backward_rows(
        self, saved: Saved, lo: int, hi: int, kept: Workspace, g: Array, constants: list[Array], found: dict[Op, Array], sums: dict[Op, Array],
    ) -> None:  # fmt: skip
        """`backward` of some rows of the batch; `sums` gets the products and sums over all steps."""
        (T, batch), reverse, rows, module = saved.shape, saved.reverse, hi - lo, self.module
        own = self._workspace("own", T, rows)
        arrays = {**kept.arrays, **own.arrays}
        addresses = {**kept.addresses, **own.addresses}
        itemsize = self.dtype.itemsize
        begin = _address(g)
        for k, op in enumerate(self.step.outputs):
            if f"dy{k}" in arrays:
                self._inside(begin + lo * op.size * itemsize, addresses[f"dy{k}"], T, rows, op.size, batch)
            begin += T * batch * op.size * itemsize
        for k, op in enumerate(self.step.states):
            if f"ds{k}" in arrays:
                slot = (T - 1) % 2
                self._inside(begin + lo * op.size * itemsize, addresses[f"ds{k}"] + slot * op.size * rows * itemsize, 1, rows, op.size, rows)
            begin += batch * op.size * itemsize
        for k, x in enumerate(self.step.xs):
            if f"x{k}" in own.arrays:
                self._inside(_address(saved.xs[k]) + lo * x.size * itemsize, addresses[f"x{k}"], T, rows, x.size, batch)
        self._backward.code(T, rows, reverse, *[arrays[name] for name in self._backward.names], *constants)
        for k, op in enumerate(self.step.states):
            target = _address(found[op]) + lo * op.size * itemsize
            if f"ds{k}" in arrays:
                self._outside(addresses[f"ds{k}"] + op.size * rows * itemsize, target, 1, op.size, rows, 0, 0)  # where step 0 wrote it
            else:
                found[op][lo:hi] = 0
        for k in module.dx:
            op = self.step.xs[k]
            self._outside(addresses[f"dx{k}"], _address(found[op]) + lo * op.size * itemsize, T, op.size, rows, op.size * rows, op.size * batch)
        totals = {source: arrays[store.name].reshape((*source.features, rows)) for source, store in module.collected.items()}
        waiting = set(module.sums.values()) - set(totals)
        for op, pair in module.products.items():
            sums[op] = self._product(saved, lo, hi, arrays, pair, waiting, totals)
        for op, source in module.sums.items():
            axes = op.params["axis"]
            collected = np.moveaxis(totals[source], -1, source.batch or 0)
            sums[op] = collected.sum(axis=tuple(axes) if isinstance(axes, list) else axes, keepdims=op.params["keepdims"])
        own.release()

    def _product(
        self, saved: Saved, lo: int, hi: int, arrays: dict[str, Array], pair: tuple[Op, Op], waiting: set[Op], totals: dict[Op, Array],
    ) -> Array:  # fmt: skip
        """The sum over all steps of left (M, batch) @ right.T, and on the way that of an operand that is waited for."""
        (T, batch), rows = saved.shape, hi - lo
        left, right = pair
        turned = right in waiting or (left not in waiting and left in self.step.xs and right not in self.step.xs)
        if turned:
            left, right = right, left
        M, N = left.size, right.size
        name, begin, left_by_time = self.module.operand(left)
        source = arrays[name][begin * rows : (begin + T * M) * rows]
        other, other_begin, right_by_time = self.module.operand(right)
        opposite = saved.reverse and left_by_time != right_by_time
        whole = lo == 0 and hi == batch
        order = 0
        if right in self.step.xs and (whole or other not in arrays):
            given = saved.xs[self.step.xs.index(right)]
            values = given if whole else np.ascontiguousarray(given[:, lo:hi])
            order = 2 if opposite else 1
        else:
            values = arrays[other][other_begin * rows : (other_begin + T * N) * rows]
            if opposite:
                values = np.ascontiguousarray(values.reshape(T, -1)[::-1])
        out = np.zeros((M, N), self.dtype)
        scratch = np.empty(max(512, rows) * N, self.dtype)
        total = 0
        if left in waiting:
            waiting.discard(left)
            totals[left] = np.zeros((*left.features, rows), self.dtype)
            total = _address(totals[left])
        self.gradient(_address(source), _address(values), _address(out), total, _address(scratch), T, M, N, rows, order)
        return out.T if turned else out


def compute(op: Op, known: dict[Op, Any]) -> Any:
    """An operation that is done once for a whole sequence."""
    primitive = op.node.primitive
    assert primitive is not None
    return np.asarray(primitive.forward(*[known[i] if isinstance(i, Op) else i for i in op.inputs], **op.node.params))


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def owner(op: Op) -> Tensor:
    """The tensor that a constant belongs to, with its node and values as they are now."""
    node = op.node
    assert isinstance(node, Leaf)
    found: Tensor | None = None if node.tensor is None else node.tensor()
    return Tensor(node.value, node) if found is None else found
