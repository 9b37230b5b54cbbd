"""Running a generated module on arrays.

The arrays that the code works on are a `Workspace`, which is used again by the next call of the
same length and batch: the first touch of fresh memory costs as much as the work on it. With several
threads each takes a part of the batch, in a workspace of its own.
"""

from __future__ import annotations

import itertools
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.memory import empty
from ..core.primitive import Array
from ..core.tape import Node
from ..core.tensor import Tensor
from ..kernels import products, runtime
from ..recurrent.captured import owner_of, value_of
from .effects import sized
from .module import Module, Slot
from .op import CompileError, Op
from .scalars import FLOATS, kind_of
from .step import Sized
from .views import unsupported

IDLE = 1 << 28  # bytes of all workspaces that wait for their next use
LINE = 64  # bytes in a cache line, at which arrays begin
# arrays that begin at the same place of a page would take each other's room in the cache
PAGE = 4096


class Idle:
    """The workspaces that wait for a call of the same kind.

    Of those that wait longest, what is more than `IDLE` bytes is given back.
    """

    def __init__(self) -> None:
        # the collector of garbage may give one while another is taken
        self.lock = threading.RLock()
        self.waiting: dict[Any, list[Workspace]] = {}
        self.size = 0

    def take(self, key: Any) -> Workspace | None:
        """One with this key."""
        with self.lock:
            several = self.waiting.get(key)
            if not several:
                return None
            found = several.pop()
            if not several:
                del self.waiting[key]
            self.size -= found.size
            return found

    def give(self, workspace: Workspace) -> None:
        """To be taken again, as long as its runner is there."""
        with self.lock:
            if workspace.runner() is None:
                return
            several = self.waiting.pop(workspace.key, [])
            several.append(workspace)
            self.waiting[workspace.key] = several  # now the latest
            self.size += workspace.size
            while self.size > IDLE:
                oldest = self.waiting[next(iter(self.waiting))]
                self.size -= oldest.pop(0).size
                if not oldest:
                    del self.waiting[next(iter(self.waiting))]

    def drop(self, number: int) -> None:
        """Give back what waits for a runner that is gone."""
        with self.lock:
            for key in [key for key in self.waiting if key[0] == number]:
                self.size -= sum(workspace.size for workspace in self.waiting.pop(key))


_idle = Idle()
_numbers = itertools.count()  # of runners


class Workspace:
    """Arrays of one call, by name, and where each begins."""

    __slots__ = ("arrays", "key", "places", "runner", "size")

    def __init__(self, slots: Sequence[Slot], T: int, batch: int, runner: Runner, key: Any) -> None:
        dtypes = runner.dtypes
        sizes = [slot.elements(T, batch) * dtypes[slot.kind].itemsize for slot in slots]
        begins, end = [], 0
        for k, size in enumerate(sizes):
            end += (k * 5 * LINE - end) % PAGE if size > PAGE else -end % LINE
            begins.append(end)
            end += size
        whole = np.empty(end + PAGE, np.uint8)
        address = _address(whole)
        begin = -address % PAGE
        parts = zip(slots, begins, sizes, strict=True)
        self.arrays: dict[str, Array] = {
            slot.name: whole[begin + b : begin + b + size].view(dtypes[slot.kind])
            for slot, b, size in parts
        }
        self.places = {
            slot.name: address + begin + b for slot, b in zip(slots, begins, strict=True)
        }
        self.key, self.size, self.runner = key, whole.size, weakref.ref(runner)


class Saved:
    """What a forward pass leaves for the backward pass.

    When nothing refers to it any more, its workspaces are free for another call.
    """

    __slots__ = ("__weakref__", "constants", "raw", "reverse", "shape", "shards", "xs")

    def __init__(
        self, T: int, batch: int, reverse: bool, xs: Sequence[Array], constants: dict[Op, Array]
    ) -> None:
        self.shape, self.reverse, self.xs, self.constants = (T, batch), reverse, xs, constants
        self.raw: dict[str, Array] = {}  # inputs as the code takes them
        self.shards: list[tuple[int, int, Workspace] | None] = []  # first row, last row + 1, arrays

    def __del__(self) -> None:
        for shard in self.shards:
            if shard is not None:
                _idle.give(shard[2])


class _Function:
    """One of the two functions: its code, its arrays, and the constants that it reads."""

    def __init__(self, module: Module, which: str, code: Callable[..., None]) -> None:
        self.code, self.many = code, module.functions[which].many
        _, _, self.slots, self.raw, self.once, self.tables, _ = module.functions[which]
        self.names = [slot.name for slot in self.slots]
        self.wide = [k for k, (_, wide) in enumerate(self.once) if wide]
        self.needed = _needed(module, [op for op, _ in self.once])

    def run(
        self, sizes: tuple[Any, ...], workspaces: Sequence[Workspace], others: Sequence[Array]
    ) -> None:
        """Call it with arrays of workspaces, and others; of many it is given the places."""
        arrays: dict[str, Array] = {}
        places: dict[str, int] = {}
        for workspace in workspaces:
            arrays |= workspace.arrays
            if self.many:
                places |= workspace.places
        if self.many:
            self.code(
                *sizes,
                np.array(
                    [*[places[name] for name in self.names], *map(_address, others)], np.int64
                ),
            )
        else:
            self.code(*sizes, *[arrays[name] for name in self.names], *others)

    def constants(self, known: dict[Op, Any], batch: int) -> list[Array]:
        """Those that do not vary, as flat arrays; `known` gets what is computed on the way."""
        for op in self.needed:
            if op not in known:
                known[op] = compute(op, known, batch)
        return [
            *[_flat(np.asarray(known[op], inner_dtype(op))) for op, _ in self.once],
            *self.tables,
        ]

    def repeated(self, constants: list[Array], rows: int) -> list[Array]:
        """The same, where they are wanted for each row of the batch so often."""
        return (
            [np.repeat(c, rows) if k in self.wide else c for k, c in enumerate(constants)]
            if self.wide
            else constants
        )


def _needed(module: Module, ends: Iterable[Op]) -> list[Op]:
    """Operations that do not vary, in order, from constants up to these."""
    wanted, stack = set(), list(ends)
    while stack:
        op = stack.pop()
        if op not in wanted and op.inputs:
            wanted.add(op)
            stack += [i for i in op.inputs if isinstance(i, Op)]
    return [
        op
        for op in [*module.step.forward, *module.step.backward]
        if op in wanted and not op.varies and op.batch is None
    ]


class Runner:
    """A compiled step, to be run over sequences.

    Attributes
    ----------
    source : str
        The generated module, in which all loops stand where they are run.
    """

    def __init__(self, module: Module, computed: Mapping[Node, Array]) -> None:
        self.module, self.step, self.dtype = module, module.step, module.dtype
        self.structure: Any = None  # how outputs and states were nested
        self.source = module.text()
        products.library(self.dtype)  # whose functions the module calls by name
        code = self._compiled()
        self._forward, self._backward = (
            _Function(module, "forward", code.forward),
            _Function(module, "backward", code.backward),
        )
        read = {slot.name for slot in self._backward.slots if slot.name[0] in "ksyf"}
        self.kept = [slot for slot in self._forward.slots if slot.name in read]
        self.fleeting = [slot for slot in self._forward.slots if slot.name not in read]
        self.own = [
            slot
            for slot in self._backward.slots
            if slot.name not in {one.name for one in self.kept}
        ]
        self.number = next(_numbers)
        self.dtypes = {
            kind_of(dtype, self.dtype): dtype
            for dtype in (*FLOATS, np.dtype(np.int64), np.dtype(np.bool_))
        }
        self.owners = {op: owner(op.node, computed) for op in self.step.constants}
        self.wanted = [self.owners[op] for op in module.constants]  # to which gradients go
        self.straight_xs = [
            (f"in{k}", k) for k, op in enumerate(self.step.xs) if module.straight(op)
        ]
        self.firsts = [f"first{k}" for k in range(len(self.step.states))]
        self.results = [
            *(f"out{k}" for k in range(len(self.step.outputs))),
            *(f"last{k}" for k in range(len(self.step.states))),
        ]
        self._shapes: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        self._live: dict[Any, list[int]] = {}
        self.emitted = [op for several in self.step.emitted for op in several]
        self.ends = [*self.step.outputs, *self.step.states]
        floats = [op.dtype for op in self.ends if op.dtype.kind == "f"]  # which may have gradients
        # they are written where they stand one after the other
        self.one = all(dtype == self.dtype for dtype in floats)
        self.widest = np.result_type(*floats, np.float32)  # in which they stand otherwise
        self.bent = {  # what is brought into order here, see `Module.straight`
            kind: [
                (k, op, f"{kind}{k}")
                for k, op in enumerate(ops)
                if kind == "f" or not module.straight(op)
            ]
            for kind, ops in (
                ("x", self.step.xs),
                ("s", self.step.states),
                ("f", self.step.fixed),
                ("y", self.step.outputs),
            )
        }
        after = [
            g
            for g in (self.step.gradients[op] for op in module.constants)
            if g is not None and not g.varies
        ]
        self.after = _needed(
            module,
            [
                *after,
                *[i for op in module.post for i in op.inputs if isinstance(i, Op) and not i.varies],
            ],
        )
        rows = [
            *self.step.xs,
            *self.step.states,
            *self.step.fixed,
            *[op for op in self.step.forward if op.varies],
        ]
        self.divisible = all(
            op.batch is not None and not any(isinstance(i, Sized) for i in op.inputs) for op in rows
        )

    def _compiled(self) -> Any:
        """The module, compiled.

        A CompileError that names the operation which numba does not take.
        """
        error: Exception | None = None
        # in the second each line is found
        for text in dict.fromkeys((self.module.text(sharing=True), self.source)):
            try:
                code = runtime.load(text, distinct=True)
                if error is None:
                    return code
            except (TinygradError, OSError, MemoryError):
                raise
            except Exception as failed:
                error = failed
        lines = [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", str(error)).splitlines()]
        said = next(
            (
                line
                for line in lines
                if line and not line.startswith(("Failed in", "File ", "During: "))
            ),
            "",
        )[:200]
        place = getattr(error, "lineno", None) or next(
            (int(found[1]) for line in lines if (found := re.search(r", line (\d+)", line))), 0
        )
        # of which numba does not say where it stands
        if not place and (unknown := re.search(r"name '(\w+)' is not defined", said)):
            place = next(
                (
                    k
                    for k, line in enumerate(self.source.splitlines(), 1)
                    if re.search(rf"\b{unknown[1]}\b", line)
                ),
                0,
            )
        why = f"the code for it is refused ({type(error).__name__}: {said})"
        op = self.module.made_by(place)
        raise (
            CompileError(f"tg.jit: {self.step.name}: {why}") if op is None else unsupported(op, why)
        ) from error

    def _workspace(self, which: str, T: int, rows: int) -> Workspace:
        key = (self.number, which, T, rows)
        found = _idle.take(key)
        return Workspace(getattr(self, which), T, rows, self, key) if found is None else found

    def __del__(self) -> None:
        # it was made, and the program does not end
        if hasattr(self, "number") and _idle is not None:
            _idle.drop(self.number)

    def shapes(self, T: int, batch: int) -> list[tuple[int, ...]]:
        """Of the outputs, over all steps, of the last states, and of what the steps leave outside."""
        found = self._shapes.get((T, batch))
        if found is None:
            if len(self._shapes) > 64:
                self._shapes = {}
            of_one = [sized(op.shape, batch) for op in (*self.ends, *self.emitted)]
            split = range(len(self.step.outputs), len(self.results))
            found = self._shapes[T, batch] = [
                shape if k in split else (T, *shape) for k, shape in enumerate(of_one)
            ]
        return found

    def live(self, needs: tuple[bool, ...], xs: int, lent: int, T: int) -> list[int]:
        """Which outputs and last states have a gradient after T steps.

        `needs` says of the first `xs` inputs, the first states, as many borrowed tensors as `lent`,
        and the constants whether they have one.
        """
        key = (needs, xs, lent, T)
        found = self._live.get(key)
        if found is None:
            if len(self._live) > 64:
                self._live = {}
            step = self.step
            places = [*step.xs[:xs], *step.states, *step.fixed[:lent], *self.owners]
            found = self._live[key] = self._reached(
                {op for op, needed in zip(places, needs, strict=True) if needed}, T
            )
        return found

    def _reached(self, given: set[Op], T: int) -> list[int]:
        """The outputs and last states to which a gradient leads from these."""
        count, states = len(self.step.outputs), self.step.states
        outputs: set[int] = set()
        carried = {op for op in states if op in given}
        rest = given - carried
        for _ in range(T):
            here = rest | carried
            found = [
                k for k, sources in enumerate(self.step.reaches) if not sources.isdisjoint(here)
            ]
            outputs.update(k for k in found if k < count)
            before, carried = carried, {states[k - count] for k in found if k >= count}
            if carried == before:
                break
        return [*sorted(outputs), *(count + k for k, op in enumerate(states) if op in carried)]

    def shards(self, batch: int) -> list[tuple[int, int]]:
        """The parts of the batch that threads take; one, if the rows depend on each other."""
        count = (
            max(1, min(runtime.threads(), batch * self.dtype.itemsize // LINE))
            if self.divisible
            else 1
        )
        bounds = [batch * k // count for k in range(count + 1)]
        return list(itertools.pairwise(bounds))

    def forward(
        self,
        xs: Sequence[Array],
        states: Sequence[Array],
        fixed: Sequence[Array],
        asked: Mapping[Op, Array],
        batch: int,
        reverse: bool,
        out: Sequence[Array],
    ) -> Saved:
        """Run all steps.

        Parameters
        ----------
        xs : arrays (T, batch, ...)
        states : arrays (batch, ...)
        fixed : arrays (batch, ...)
            What is the same at each step.
        asked : dict
            Values of constants that are found anew for each sequence.
        out : arrays
            Where the outputs (T, batch, ...), the last states (batch, ...) and what the steps leave
            outside (T, batch, ...) go.
        """
        T = xs[0].shape[0]
        known: dict[Op, Any] = {op: owner.array for op, owner in self.owners.items()}
        known.update(asked)
        constants = self._forward.constants(known, batch)
        saved = Saved(T, batch, reverse, xs, known)
        saved.raw = {name: _flat(xs[k]) for name, k in self.straight_xs}
        raw = dict(saved.raw)
        for names, arrays in ((self.firsts, states), (self.results, out)):
            raw.update(zip(names, [_flat(a) for a in arrays], strict=False))
        arguments = [raw[name] for name in self._forward.raw]
        shards = self.shards(batch)
        # in order, so that gradients are added up in the same order each time
        saved.shards = [None] * len(shards)
        jobs = [
            (saved, k, lo, hi, (xs, states, fixed), arguments, constants, out)
            for k, (lo, hi) in enumerate(shards)
        ]
        runtime.share(self._forward_rows, jobs) if len(jobs) > 1 else self._forward_rows(*jobs[0])
        return saved

    def _forward_rows(
        self,
        saved: Saved,
        number: int,
        lo: int,
        hi: int,
        given: Sequence[Sequence[Array]],
        arguments: list[Array],
        constants: list[Array],
        out: Sequence[Array],
    ) -> None:
        """`forward` of some rows of the batch."""
        (T, batch), step, bent = saved.shape, self.step, self.bent
        kept, fleeting = (
            self._workspace("kept", T, hi - lo),
            self._workspace("fleeting", T, hi - lo),
        )
        arrays = {**kept.arrays, **fleeting.arrays}
        for kind, values, lead in (("x", given[0], 1), ("s", given[1], 0), ("f", given[2], 0)):
            for k, op, name in bent[kind]:
                if name in arrays:
                    bring(op, values[k], lead, lo, hi, arrays[name])
        constants = self._forward.repeated(constants, hi - lo)
        self._forward.run(
            (T, hi - lo, batch, lo, saved.reverse), (kept, fleeting), [*arguments, *constants]
        )
        for j, op, _ in bent["y"]:
            kind, k = self.module.y_from[j]
            whole, place = arrays[f"{kind}{k}"], out[j]
            if kind == "s":
                whole, place = (
                    whole[elements(op, hi - lo) :],
                    place[::-1] if saved.reverse else place,
                )
            fetch(op, whole, 1, lo, hi, place)
        for k, op, name in bent["s"]:
            fetch(
                op, arrays[name][T * elements(op, hi - lo) :], 0, lo, hi, out[len(step.outputs) + k]
            )
        for k, (op, place) in enumerate(zip(self.emitted, out[len(self.results) :], strict=True)):
            fetch(op, arrays[f"l{k}"], 1, lo, hi, place)
        _idle.give(fleeting)
        saved.shards[number] = (lo, hi, kept)

    def backward(self, saved: Saved, gradients: Sequence[Array | None]) -> dict[Op, Array]:
        """Gradients of the wanted inputs, states, fixed inputs and constants, from those of the outputs and last states; None for what has none."""
        T, batch = saved.shape
        module, step = self.module, self.step
        constants = self._backward.constants(saved.constants, batch)
        raw = {
            **saved.raw,
            **{
                f"d{name}": _flat(g)
                for name, g in zip(self.results, gradients, strict=True)
                if g is not None
            },
        }
        found: dict[Op, Array] = {}
        for name, op in zip(self.firsts, step.states, strict=True):
            if step.gradients.get(op) is not None:
                found[op] = empty(sized(op.shape, batch), op.dtype)
                raw[f"d{name}"] = found[op].reshape(-1)
        for k in module.dx:
            op = step.xs[k]
            found[op] = empty((T, *sized(op.shape, batch)), op.dtype)
            raw[f"din{k}"] = found[op].reshape(-1)
        for k in module.df:
            op = step.fixed[k]
            found[op] = empty(sized(op.shape, batch), op.dtype)
        shards = [shard for shard in saved.shards if shard is not None]
        parts: list[dict[Op, Array]] = [{} for _ in shards]
        jobs = [
            (saved, *shard, gradients, raw, constants, found, part)
            for shard, part in zip(shards, parts, strict=True)
        ]
        runtime.share(self._backward_rows, jobs) if len(jobs) > 1 else self._backward_rows(*jobs[0])
        known = {**saved.constants, **parts[0]}
        for part in parts[1:]:
            for op, value in part.items():
                known[op] = known[op] + value
        for op in [*self.after, *module.post]:
            if op not in known:
                known[op] = compute(op, known, batch)
        for op in module.constants:
            gradient = step.gradients[op]
            assert gradient is not None
            if gradient not in known:
                known[gradient] = compute(gradient, known, batch)
            # ascontiguousarray would give a number an axis
            found[op] = np.asarray(known[gradient], order="C")
        return found

    def _backward_rows(
        self,
        saved: Saved,
        lo: int,
        hi: int,
        kept: Workspace,
        gradients: Sequence[Array | None],
        raw: dict[str, Array],
        constants: list[Array],
        found: dict[Op, Array],
        sums: dict[Op, Array],
    ) -> None:
        """`backward` of some rows of the batch; `sums` gets the products and sums over all steps."""
        (T, batch), rows, module, step = saved.shape, hi - lo, self.module, self.step
        own = self._workspace("own", T, rows)
        arrays = {**kept.arrays, **own.arrays}
        for k, op, name in self.bent["x"]:
            if name in arrays:
                bring(op, saved.xs[k], 1, lo, hi, arrays[name])
        for k, op, name in self.bent["y"]:
            g = gradients[k]
            if f"d{name}" in arrays and g is not None:
                bring(op, g, 1, lo, hi, arrays[f"d{name}"])
        for k, op, name in self.bent["s"]:
            g = gradients[len(step.outputs) + k]
            if f"d{name}" in arrays and g is not None:
                bring(op, g, 0, lo, hi, arrays[f"d{name}"][(T - 1) % 2 * elements(op, rows) :])
        raw = dict(raw)
        for k, (op, (left, right)) in enumerate(module.products.items()):
            raw[f"dw{k}"] = out = empty((left.size * right.size,), self.dtype)
            sums[op] = (
                out.reshape(right.size, left.size).T
                if op in module.transposed
                else out.reshape(left.size, right.size)
            )
        others = [
            *[raw[name] for name in self._backward.raw],
            *self._backward.repeated(constants, rows),
        ]
        self._backward.run((T, rows, batch, lo, saved.reverse), (kept, own), others)
        for _, op, name in self.bent["s"]:
            if op in found and step.gradients.get(op) is not None:
                # where step 0 wrote it
                fetch(op, arrays[f"d{name}"][elements(op, rows) :], 0, lo, hi, found[op])
        for k, op, name in self.bent["x"]:
            if k in module.dx:
                fetch(op, arrays[f"d{name}"], 1, lo, hi, found[op])
        for k in module.df:
            fetch(step.fixed[k], arrays[f"df{k}"], 0, lo, hi, found[step.fixed[k]])
        over_rows: dict[Op, Array] = {}
        for op, source in module.sums.items():
            total = arrays[module.totals[source]]
            if source is op:  # added up as it stands
                sums[op] = total.reshape(op.shape).copy()
                continue
            axes = op.params["axis"]
            if op.shape == source.features and axes in (source.batch, (source.batch,)):
                if source not in over_rows:
                    over_rows[source] = total.reshape(-1, rows).sum(axis=1)
                sums[op] = over_rows[source].reshape(op.shape)
            else:
                total = np.moveaxis(total.reshape((*source.features, rows)), -1, source.batch or 0)
                sums[op] = total.sum(
                    axis=tuple(axes) if isinstance(axes, list) else axes,
                    keepdims=op.params["keepdims"],
                )
        _idle.give(own)


def elements(op: Op, rows: int) -> int:
    """How many numbers a value has."""
    return op.size * (rows if op.batch is not None else 1)


def inner_dtype(op: Op) -> np.dtype[Any]:
    """In which type the code has a value: integers are int64."""
    return np.dtype(np.int64) if op.dtype.kind in "iu" else op.dtype


def bring(op: Op, value: Array, lead: int, lo: int, hi: int, place: Array) -> None:
    """Some rows of a value as the code has them: flat, the batch last; `lead` axes stand before those of the value."""
    if op.batch is not None:
        value = np.moveaxis(value, op.batch + lead, -1)[..., lo:hi]
    place[: value.size].reshape(value.shape)[...] = value


def fetch(op: Op, values: Array, lead: int, lo: int, hi: int, place: Array) -> None:
    """The opposite: into the rows of an array as the caller wants it."""
    if op.batch is not None:
        place = np.moveaxis(place, op.batch + lead, -1)[..., lo:hi]
    place[...] = values[: place.size].reshape(place.shape)


def compute(op: Op, known: dict[Op, Any], batch: int) -> Any:
    """An operation that is done once for a whole sequence."""
    primitive = op.node.primitive
    assert primitive is not None
    inputs = [
        known[i] if isinstance(i, Op) else i.at(batch) if isinstance(i, Sized) else i
        for i in op.inputs
    ]
    return np.asarray(primitive.forward(*inputs, **op.node.params))


def _flat(array: Array) -> Array:
    """In one row; compiled code wants arrays that could be written to."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.flags.writeable else flat.copy()


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def owner(node: Node, computed: Mapping[Node, Array]) -> Tensor:
    """The tensor that a constant of a recording belongs to.

    A leaf's with its values as they are now, one that was computed with those that it has.
    """
    found = owner_of(node)
    return Tensor(value_of(node, computed), node) if found is None else found
