"""A compiled sequence inside of a straight program: its two functions, and what is around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.tape import Node
from ..loops import ir
from ..ops.elementwise import add
from ..ops.reductions import sum as total
from ..ops.shaping import BROADCAST_TO
from ..ops.views import Axis, View
from .calls import CompiledFunction
from .draft import Draft
from .functions import sizes_of
from .inside import Inside
from .internal import PART as BOX
from .marshal import inner_dtype, needed
from .natives import ENOUGH, LINE, OverTime, Unfit
from .runner import Runner
from .sizes import sized
from .value import Given, Value


class Run:
    """A run of a sequence inside of a program, forward or backward or both.

    Parameters
    ----------
    sequence : Inside
    program : Draft
    node : Node
        For lines of the source.

    Attributes
    ----------
    packed : Value
        Its results, one behind the other.
    """

    def __init__(self, sequence: Inside, program: Draft, node: Node) -> None:
        self.sequence, self.runner, self.program = sequence, sequence.runner, program
        runner, self.batch, self.T = sequence.runner, sequence.batch, sequence.tensors[0].shape[0]
        _check_fits(runner)
        self.node, self.dtype = node, runner.dtype
        self.sizes = [math.prod(shape) for shape in runner.shapes(self.T, self.batch)]
        self.packed = self.made((sum(self.sizes),), self.dtype)
        self.known: dict[Value, Value] = {}
        self.shards = self._shards()
        self.own: list[dict[str, Value]] = [{} for _ in self.shards]
        turned = {name for name, _ in runner.turned}
        self._kept = [a for a in runner.kept if a.name not in turned]

    def _shards(self) -> list[tuple[int, int]]:
        """Return the rows that several threads take, if there is work enough for them."""
        numbers = sum(v.size for v, _ in self.runner.function("forward").hoisted)
        if numbers * self.T * self.batch < ENOUGH:
            return [(0, self.batch)]
        found = self.runner.shards(self.batch)
        if len(found) > 1 and self.runner.turned:
            raise Unfit(f"{self.runner.step.name} has arrays that are brought into another order")
        return found

    def forward(self, inputs: list[Value], *, leaves: bool) -> None:
        """Append the forward function; `leaves`: another program has the backward function."""
        runner, program = self.runner, self.program
        self.known.update(zip(self.sequence.values, inputs, strict=True))
        for v, owner in runner.owners.items():
            if v not in self.known:
                self.known[v] = program.held(owner, v)
        self.turned = {name: self._turned(v) for name, v in runner.turned}
        self._blocks = self._keep_in(self.made) if leaves else []
        results = dict(zip(runner.results, self.parts(self.packed), strict=True))
        self.caller = {name: program.whole(self.known[v]) for name, v in runner.row_major_xs}
        firsts = zip(runner.firsts, runner.step.states, strict=True)
        caller = self.caller | results
        caller |= {name: program.whole(self.known[v]) for name, v in firsts}
        shared = [self.packed, *results.values(), *self._blocks]
        for k, own in enumerate(self.own):
            arrays = (*runner.kept, *runner.fleeting)
            own.update((a.name, self._array(a, k)) for a in arrays if a.name not in own)
            makes = [v for name, v in own.items() if name not in self.turned]
            self._call("forward", k, own, caller, [*shared, *makes])

    def _keep_in(self, make: Callable[[Sequence[int], np.dtype[Any]], Value]) -> list[Value]:
        """Let what is kept for backward stand in one array for each shard, and return these."""
        blocks = []
        for k, own in enumerate(self.own):
            size, begins = 0, []
            for a in self._kept:
                own[a.name] = found = self._array(a, k)
                begins.append((found, size))
                size += -(-found.size * inner_dtype(found).itemsize // LINE) * LINE
            block = make((max(size // 8, 1),), np.dtype(np.int64))  # of whatever numbers
            self.program.inside.update((v, (block, begin)) for v, begin in begins)
            blocks.append(block)
        return blocks

    def left(self) -> list[Value]:
        """Return what the backward function needs, if it belongs to another program."""
        constants = [self.known[v] for v in self._constants()]
        found = [*self._blocks, *self.caller.values(), *self.turned.values(), *constants]
        return [self.program.whole(v) for v in found]

    def resume(self, given: Callable[[Sequence[int], np.dtype[Any]], Value]) -> None:
        """Take what another program has left; `given` makes the values, in the order of `left`."""
        runner, T, batch = self.runner, self.T, self.batch
        self.turned = {}
        self._blocks = self._keep_in(given)
        self.caller = {
            name: given((T, *sized(v.shape, batch)), v.dtype) for name, v in runner.row_major_xs
        }
        arrays = {a.name: a for a in (*runner.kept, *runner.fleeting, *runner.own)}
        for name, v in runner.turned:
            shape = [T] * (v.given is Given.INPUT) + [*sized(v.shape, batch)]
            if v.batch is not None:
                shape.append(shape.pop(v.batch + int(v.given is Given.INPUT)))
            self.turned[name] = given(shape, v.dtype)
            count = math.prod(shape)
            assert name not in arrays or arrays[name].elements(T, batch) == count
        for own in self.own:
            own.update((name, v) for name, v in self.turned.items() if name in arrays)
        for v in self._constants():
            self.known[v] = given(v.shape, v.dtype)

    def _constants(self) -> list[Value]:
        """Return the tensors that backward reads besides what forward keeps."""
        sunk = self.runner.code.sunk
        stack = [v for v, _ in self.runner.function("backward").hoisted]
        stack += [*self.runner.after, *self.runner.constants.values()]
        seen = {*sunk.sums, *sunk.products}
        known = {*self.runner.owners, *self.sequence.values}
        found: list[Value] = []
        while stack:
            v = stack.pop()
            if v in seen:
                continue
            seen.add(v)
            stack += v.sources
            if not v.inputs and v in known:
                found.append(v)
        return found

    def _call(
        self,
        which: str,
        shard: int,
        own: Mapping[str, Value],
        caller: Mapping[str, Value],
        makes: list[Value],
    ) -> None:
        """Append one of the two functions to the program, for the rows of a shard."""
        lo, hi = self.shards[shard]
        sizes = sizes_of(self.T, self.batch, lo, hi, self.sequence.reverse)
        function, name = self.runner.function(which), f"{self.runner.step.name} {which}"
        hoisted = self._hoisted(function, hi - lo)
        self.program.order.append(OverTime(name, function, sizes, own, caller, hoisted, makes))

    def made(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Value:
        """Return a value that a function makes."""
        return Value(None, [], {}, shape, self.node, dtype=dtype, given=Given.RESIDUAL)

    def _turned(self, v: Value) -> Value:
        """Return what is given with rows first as the code has it, the batch last."""
        value = self.known[v]
        steps = int(v.given is Given.INPUT)
        if v.batch is not None:
            axes = [*range(len(value.shape))]
            axes.append(axes.pop(v.batch + steps))
            value = self.program.transposed(value, axes)
        return self.program.whole(value)

    def _array(self, array: ir.Array, shard: int) -> Value:
        """Return an array of the code's own, for the rows of a shard."""
        lo, hi = self.shards[shard]
        dtype, size = ir.dtype_of(array.kind, self.dtype), array.elements(self.T, hi - lo)
        found = self.turned.get(array.name)
        if found is None:
            return self.made((size,), dtype)
        if found.size != size or inner_dtype(found) != dtype:
            raise Unfit(f"'{array.name}' of the code has {size} elements of {dtype}")
        return found

    def parts(self, packed: Value) -> list[Value]:
        """Return the parts of packed results, or of their gradient."""
        found, begin = [], 0
        for size in self.sizes[: len(self.runner.ends)]:
            found.append(piece(packed, begin, begin + size))
            begin += size
        return found

    def _hoisted(self, function: CompiledFunction, rows: int) -> list[Value]:
        """Return what is computed once for a function; some of it stands there for each row."""
        found = [self._computed(v) for v, _ in function.hoisted]
        for v, (_, dtype) in zip(found, function.wanted, strict=True):
            if v.dtype != dtype and v.dtype.kind == "f":
                raise Unfit(f"{v.op} is {v.dtype} where the code has {dtype}")
        for k in function.repeats if rows > 1 else ():
            size = found[k].size
            column, shape = self.program.reshaped(found[k], (size, 1)), (size, rows)
            found[k] = self.program.computed(BROADCAST_TO, [column], {"shape": shape}, shape)
        return [self.program.whole(v) for v in found]

    def _computed(self, value: Value) -> Value:
        """Return a value of the step that is the same at each step, as one of the program."""
        for v in needed(self.runner.code.program, [value]):
            if v not in self.known:
                self.known[v] = self.program.clone(v, self.known, self.batch)
        if value not in self.known:
            if value.given is not Given.CONSTANT:
                raise Unfit(f"{value.op} is read before it is computed")
            self.known[value] = value
        return self.known[value]

    def gradients(self, begins: Sequence[int], pieces: Sequence[Value]) -> list[Value]:
        """Return the gradients of the `targets` of the sequence."""
        runner = self.runner
        starts = [sum(self.sizes[:k]) for k in range(len(self.sizes))]
        parts: dict[int, Value] = {}
        for begin, part in zip(begins, pieces, strict=True):
            k = starts.index(begin)
            part = self.program.reshaped(part, (self.sizes[k],))
            if k in parts:
                part = self.program.computed(add.primitive, [parts[k], part], {}, part.shape)
            parts[k] = part
        wanted = {a.name for a in runner.function("backward").caller}
        caller = dict(self.caller)
        for k, v in enumerate(runner.ends):
            name = f"d{runner.results[k]}"
            if name not in wanted or v.dtype.kind != "f":
                continue
            if k not in parts:
                parts[k] = self.program.zeros((self.sizes[k],), v.dtype)
            caller[name] = self.program.whole(parts[k])
        found: dict[Value, Value] = {}
        for name, v in runner.gradients:
            shape = sized(v.shape, self.batch)
            shape = (self.T, *shape) if v.given is Given.INPUT else shape
            found[v] = caller[name] = self.made(shape, v.dtype)
        made = [self._backward(k, caller, list(found.values())) for k in range(len(self.shards))]
        sums, *rest = [self._sums(own, matrices, k) for k, (own, matrices) in enumerate(made)]
        for more in rest:
            for v, value in more.items():
                added = [sums[v], value]
                sums[v] = self.program.computed(add.primitive, added, {}, value.shape)
        known = {**self.known, **sums}  # another backward of this run has other sums
        for v in [*runner.after, *runner.constants.values()]:
            if v not in known:
                known[v] = self.program.clone(v, known, self.batch)
        found |= {v: known[g] for v, g in runner.constants.items()}
        return [found[v] for _, v in self.sequence.targets]

    def _backward(
        self, shard: int, caller: Mapping[str, Value], found: list[Value]
    ) -> tuple[dict[str, Value], dict[Value, Value]]:
        """Append the backward function for a shard; return its arrays, and products over steps."""
        runner, code = self.runner, self.runner.code
        # forward may have had others of the same names besides those that it keeps
        arrays = {a.name: self._array(a, shard) for a in runner.own}
        own = {**arrays, **{a.name: self.own[shard][a.name] for a in runner.kept}}
        products: dict[Value, Value] = {}
        names: dict[str, Value] = {}
        for k, (v, p) in enumerate(code.sunk.products.items()):
            as_made = (p.slices, p.N, p.M) if v in code.transposed else v.shape
            names[f"dw{k}"] = products[v] = self.made(as_made, self.dtype)
        makes = [*found, *names.values()]
        makes += [own[name] for name in arrays if name not in self.turned]
        self._call("backward", shard, own, {**caller, **names}, makes)
        return own, products

    def _sums(
        self, own: Mapping[str, Value], products: Mapping[Value, Value], shard: int
    ) -> dict[Value, Value]:
        """Return what the backward function of a shard has summed over its steps and rows."""
        code, program, (lo, hi) = self.runner.code, self.program, self.shards[shard]
        sums: dict[Value, Value] = {}
        for v, out in products.items():
            turned = program.transposed(out, (0, 2, 1)) if v in code.transposed else out
            sums[v] = program.reshaped(turned, v.shape)
        for v, source in code.sunk.sums.items():
            collected = own[code.summed[source].name]
            if source is v:
                sums[v] = program.reshaped(piece(collected, 0, v.size), v.shape)
                continue
            with_rows = (*source.features, hi - lo)  # the batch is last in memory
            rows = piece(collected, 0, math.prod(with_rows))
            axes = [*range(len(source.features))]
            axes.insert(source.batch or 0, len(axes))
            rows = program.transposed(program.reshaped(rows, with_rows), axes)
            sums[v] = program.computed(total.primitive, [rows], v.params, v.shape)
        return sums


def piece(value: Value, begin: int, end: int) -> Value:
    """Return some elements of a vector, as a view."""
    if begin == end:
        raise Unfit("a part without elements")
    view = View((Axis(((0, 1),), begin),), 1)
    return Value(BOX, [value], {"view": view}, (end - begin,), value.node, dtype=value.dtype)


def _check_fits(runner: Runner) -> None:
    graded = {v for _, v in runner.gradients}
    if runner.turned_ends or runner.emitted or any(v in graded for _, v in runner.turned):
        raise Unfit(f"{runner.step.name} has arrays that are brought into another order")
