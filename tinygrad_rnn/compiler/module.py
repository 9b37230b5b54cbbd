"""The generated module of a whole sequence: a forward and a backward function, with the loop over time inside.

``forward`` runs the step for s = 0, 1, ..., T - 1; the input of step s is that of time t, which is s, or T - 1 - s in reverse. ``backward``
runs down. What depends on parameters alone is computed once before; the gradients of parameters leave the loop: products with the
batch are put off and done as one product over all steps, sums are collected for each row of the batch and added up at the end.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .exchange import B
from .lower import FLOATS, REDUCTIONS, ZERO, Block, Loop, Store, identity, is_zero, kind_of, literal, reduced_axes
from .op import CompileError, Op
from .step import Step
from .views import PIECES, VIEWS, Index, Restore, symbolic, unsupported
from .whole import ADDED, SCATTERED, WHOLE, written

WAY_OUT = "there is no code for it. Compute it outside the step and hand the result over in x, or run the cell as it is in place of tg.jit(cell)"

LINEAR = ("transpose", "reshape", "neg", "add", "subtract", "scatter", "getitem", "sum", "concatenate", "stack", "broadcast_to", "positive",
          "tril", "triu", "pad", "astype")  # fmt: skip


class Schedule:
    """The loops, products and reductions of one step in an order in which they can be run.

    Parameters
    ----------
    ops : list of Op
        Of the program, in order.
    given : dict of Op to Store
        What is there.
    wanted : dict of Op to list of (Store, str)
        What has to be stored where, and how ("{v}", or "{a} + {v}" to add it up).
    module : Module
        That knows what is computed once, tables, and the dtype.
    """

    def __init__(self, ops: list[Op], given: dict[Op, Store], wanted: dict[Op, list[tuple[Store, str]]], module: Module) -> None:
        self.ops = {op: k for k, op in enumerate(ops)}
        self.given, self.wanted = given, wanted
        self.once, self.table, self.base = module.once, module.table, module.dtype
        self.temporary: dict[Op, Store] = {}
        self.matrices: dict[str, tuple[int, int]] = {}  # shapes of the weights in products, by name
        self.extra: set[Op] = set()
        self.before: set[Op] = set()  # those that are stored before any loop reads them
        self.count = itertools.count()  # of variables
        for _ in range(len(ops) + 10):
            try:
                self.lines, self.used = self._build()
            except Restore as missing:
                if (missing.op in self.extra and missing.op not in self.before) or missing.op not in self.ops:
                    raise unsupported(missing.op, WAY_OUT) from None
                self.extra.add(missing.op)
                continue
            twice = {op for op, loops in self.block.costly.items() if len(loops) > 1 and op not in self.extra and op not in wanted}
            if not twice:
                return
            self.extra |= twice
        raise CompileError("tg.jit: no order was found for the operations of this step")

    def _build(self) -> tuple[list[str], set[str]]:
        stores = dict(self.given)
        for op in self.extra:
            self.temporary.setdefault(op, Store(f"m{len(self.temporary)}", op))
        for op, places in self.wanted.items():
            first = next((store for store, how in places if how == "{v}"), None)
            if first is not None:
                stores.setdefault(op, first)
        for op in self.wanted:
            if op not in stores and not self._pointwise(op):
                self.temporary.setdefault(op, Store(f"m{len(self.temporary)}", op))
        stores.update({op: store for op, store in self.temporary.items() if op not in stores})
        self.block = block = _Block(stores, self.base, self.once)
        block.ready = set(self.given)
        units = sorted({*self.wanted, *self.extra}, key=lambda op: self.ops.get(op, -1))
        levels: dict[Op, int] = {}
        for op in units:
            levels[op] = self._level(op, levels)
        lines: list[str] = []
        offsets: dict[str, str] = {}
        used: set[str] = set()
        for level in sorted(set(levels.values())):
            here = [op for op in units if levels[op] == level]
            loops: dict[tuple[Any, ...], Loop] = {}
            order: list[Any] = []
            for op in here:
                places = list(self.wanted.get(op, []))
                if op in self.extra and not any(how == "{v}" for _, how in places):
                    places.append((self.temporary[op], "{v}"))
                if op.op == "matmul" and op not in self.given and (text := self._dot(block, op, stores)) is not None:
                    order.append(text)
                elif op.op in ("matmul", "einsum", *REDUCTIONS) and op not in self.given:
                    order += self._reduce(block, op, stores, used)
                elif self._whole(op):
                    if all(how != "{v}" for _, how in places) and (op.op in SCATTERED or (op.op in ADDED and is_zero(op.inputs[0]))):
                        for store, _ in places:
                            order += self._written(block, op, stores, store)
                        continue
                    order += self._written(block, op, stores)
                else:
                    for loop in self._loop(block, op, places, loops):
                        if loop not in order:
                            order.append(loop)
                    continue
                for store, how in places:
                    if store is not stores[op] and store.name != stores[op].name:
                        copy = Loop(identity(op)[0], self.count)
                        copy.write(store, identity(op)[1], copy.read(stores[op], identity(op)[1]), how)
                        order.append(copy)
            for part in order:
                if isinstance(part, Loop):
                    used |= part.used
                    part = part.text(offsets)
                lines += part
            block.ready.update(op for op in here if op in stores)
        return [*(f"{name} = U({text})" for text, name in offsets.items()), *lines], used

    # --- levels -----------------------------------------------------------------------------------------------------------------

    def _level(self, op: Op, levels: dict[Op, int]) -> int:
        """One more than what it has to wait for; a loop does not wait for values of its own loop."""
        pointwise = self._pointwise(op)
        level = 0
        for dep, same in self._reads(op):
            if dep in levels and dep is not op:
                level = max(level, levels[dep] + (0 if same and pointwise and self._pointwise(dep) and dep not in self.before else 1))
        return level

    def _pointwise(self, op: Op) -> bool:
        return op in self.given or op.elementwise or (op.op in (*VIEWS, *PIECES) and symbolic(op)) or op.op in ("zeros_like", "astype")

    def _whole(self, op: Op) -> bool:
        return op not in self.given and op.op in WHOLE and not self._pointwise(op)

    def _reads(self, op: Op) -> list[tuple[Op, bool]]:
        """The stored values that are read for a value, and whether only at the same place of a domain of the same shape."""
        found: list[tuple[Op, bool]] = []
        stack = [(i, op.elementwise) for i in op.inputs if isinstance(i, Op)] if op not in self.given else [(op, True)]
        seen = set()
        while stack:
            source, same = stack.pop()
            if (source, same) in seen:
                continue
            seen.add((source, same))
            if source in self.wanted or source in self.extra or source in self.given:
                plain = any(how == "{v}" for _, how in self.wanted.get(source, [])) or source in self.extra or source in self.given
                found.append((source, same and source.shape == op.shape))
                if plain:
                    continue
            stack += [(i, same and source.elementwise) for i in source.inputs if isinstance(i, Op)]
        return found

    # --- code -------------------------------------------------------------------------------------------------------------------

    def _loop(self, block: Block, op: Op, places: list[tuple[Store, str]], loops: dict[tuple[Any, ...], Loop]) -> list[Loop]:
        """Store a value that is computed element by element: one loop, or one for each of its parts."""
        domain, index = identity(op)
        cuts: dict[int, set[int]] = {}
        block.cuts(op, index, cuts, top=op not in self.given)
        zero = literal(0, kind_of(op.dtype, self.base))
        parts = []
        for var, n in enumerate(domain):
            inner = sorted({0, n, *(c for c in cuts.get(var, ()) if 0 < c < n)}) if n != B else [0, B]
            parts.append(list(itertools.pairwise(inner)))
        if any(len(p) > 1 for p in parts) and not block.joined(op) and (inside := block.parted(op)) is not None and inside in self.ops:
            self.before.add(inside)
            raise Restore(inside)
        touched = []
        for choice in itertools.product(*parts):
            sizes = tuple(B if hi == B else hi - lo for lo, hi in choice)
            loop = loops.setdefault(sizes, Loop(sizes, self.count))
            place: Index = tuple(p if p[0] is None else (p[0], 1, choice[p[0]][0]) for p in index)
            value = block.value(loop, op, place, top=op not in self.given)
            for store, how in places:
                loop.write(store, place, value, how, zero)
            touched.append(loop)
        return touched

    def _matrix(self, op: Op) -> tuple[Op, bool]:
        """Under transposes: the operation, and whether it is turned."""
        turned = False
        while op.op == "transpose" and len(op.shape) == 2 and tuple(a % 2 for a in op.params["axes"]) == (1, 0):
            op, turned = op.inputs[0], not turned
        return op, turned

    def _dot(self, block: Block, op: Op, stores: dict[Op, Store]) -> list[str] | None:
        """A product of a batch with a matrix that does not vary, as one call for the whole batch."""
        a, b = op.inputs
        if not (isinstance(a, Op) and isinstance(b, Op) and a.varies != b.varies and len(op.shape) == 2):
            return None
        moving, fixed = (a, b) if a.varies else (b, a)
        if moving.batch is None or len(moving.shape) != 2 or len(fixed.shape) != 2:
            return None
        value, _ = self._matrix(moving)
        if value not in block.ready:
            raise Restore(value)
        matrix, turned = self._matrix(fixed)
        weight = self.once(matrix, False)
        rows, columns = matrix.shape
        # (batch, K) @ (K, N) is (N, K) @ (K, batch) here, and (M, K) @ (K, batch) stays as it is
        flip = (moving is a) != turned
        K, N = (rows, columns) if flip else (columns, rows)
        left = f"{weight.name}_2d.T" if flip else f"{weight.name}_2d"
        self.matrices[weight.name] = (rows, columns)
        source, target = stores[value], stores[op]
        v, o = (f"{s.name}[{s.base} : {s.base} + {n} * B]" if s.base != "0" else f"{s.name}[: {n} * B]" for s, n in ((source, K), (target, N)))
        return [f"dot({left}, {v}, {o}, {K}, {N}, B)"]

    def _reduce(self, block: Block, op: Op, stores: dict[Op, Store], used: set[str]) -> list[Any]:
        """A reduction or a product of two values of the batch: loops that collect into the stored result."""
        kept, labels, terms = _terms(op)
        names = [*[k for k in kept if labels[k] != B], *[k for k in labels if k not in kept and labels[k] != B], *[k for k in labels if labels[k] == B]]
        loop = Loop(tuple(labels[k] for k in names), self.count)

        def at(term: tuple[str, ...], source: Op) -> Index:
            return tuple((None, 1, 0) if n == 1 and labels[k] != 1 else (names.index(k), 1, 0) for k, n in zip(term, source.shape, strict=True))

        values = []
        for source, term in terms:
            cuts: dict[int, set[int]] = {}
            block.cuts(source, at(term, source), cuts)
            if any(0 < c < loop.domain[var] for var, several in cuts.items() for c in several if loop.domain[var] != B):
                raise Restore(source)
            values.append(block.value(loop, source, at(term, source)))
        how = REDUCTIONS.get(op.op, REDUCTIONS["sum"])
        kind = kind_of(op.dtype, self.base)
        first = {"all": "True", "any": "False"}.get(op.op, literal(0, kind))
        if op.op in ("max", "min"):
            first = "np.iinfo(np.int64)." + ("min" if op.op == "max" else "max") if kind == "I" else literal(-np.inf if op.op == "max" else np.inf, kind)
        value = values[0] if ZERO not in values else literal(0, kind)
        for other in values[1:] if ZERO not in values else []:
            value = loop.let(f"{value} * {other}")
        store = stores[op]
        if how.startswith("max") or how.startswith("min"):
            used.add(how.split("(")[0])
        out = tuple((names.index(k), 1, 0) if k in names and k in kept else (None, 1, 0) for k in _written(op, kept, labels))
        loop.write(store, out, value, how)
        used |= loop.used
        return [store.filled(first), loop]

    def _written(self, block: Block, op: Op, stores: dict[Op, Store], target: Store | None = None) -> list[Any]:
        """An operation on whole values; with a target, what it scatters is added to what stands there."""

        def read(source: Op) -> Store:
            if not source.varies and source.batch is None:
                return self.once(source, False)
            if source not in block.ready:
                raise Restore(source)
            return stores[source]

        found: list[Any] = []
        if op.op in (*ADDED, "setitem") and target is None:  # they begin as a copy
            domain, index = identity(op)
            copy = Loop(domain, self.count)
            copy.write(stores[op], index, block.value(copy, op.inputs[0], index), zero=literal(0, kind_of(op.dtype, self.base)))
            found.append(copy)
        found.append(written(op, target or stores[op], read, self.table, self.base, target is not None))
        return found


class _Block(Block):
    """A block that finds values which do not vary where they are computed once."""

    def __init__(self, stores: dict[Op, Store], base: np.dtype[Any], once: Callable[[Op, bool], Store]) -> None:
        super().__init__(stores, base)
        self.once = once

    def value(self, loop: Loop, op: Any, index: Index, top: bool = False) -> str:
        if not op.varies and op.batch is None and op not in self.ready and not is_zero(op):
            wide = bool(loop.domain) and loop.domain[-1] == B and op.size > 1
            key = (op, index)
            if key not in loop.memo:
                loop.memo[key] = loop.read(self.once(op, wide), index)
            return loop.memo[key]
        return super().value(loop, op, index, top)

    def cuts(self, op: Any, index: Index, out: dict[int, set[int]], top: bool = False) -> None:
        if isinstance(op, Op) and not op.varies and op.batch is None:
            return
        super().cuts(op, index, out, top)


def _terms(op: Op) -> tuple[list[str], dict[str, Any], list[tuple[Op, tuple[str, ...]]]]:
    """Of a reduction or product: the labels of the result, the size of each label, and each operand with its labels."""
    labels: dict[str, Any] = {}
    if op.op == "einsum":
        left, _, right = op.params["subscripts"].partition("->")
        written = [tuple(t) for t in left.split(",")]
        kept = list(right)
    elif op.op == "matmul":
        a, b = op.inputs
        lead = "abcdefgh"[: max(len(a.shape), len(b.shape)) - 2]
        one = (*lead[len(lead) - len(a.shape) + 2 :], "m", "k") if len(a.shape) > 1 else ("k",)
        two = (*lead[len(lead) - len(b.shape) + 2 :], "k", "n") if len(b.shape) > 1 else ("k",)
        written = [one, two]
        kept = [*lead, *(["m"] if len(a.shape) > 1 else []), *(["n"] if len(b.shape) > 1 else [])]
    else:
        source = op.inputs[0]
        written = [tuple(f"x{k}" for k in range(len(source.shape)))]
        axes = reduced_axes(op)
        kept = [f"x{k}" for k in range(len(source.shape)) if k not in axes]
    operands = [i for i in op.inputs if isinstance(i, Op)]
    for source, term in zip(operands, written, strict=True):
        for k, n in zip(term, source.shape, strict=True):
            labels[k] = n if labels.get(k, 1) == 1 else labels[k]
    return kept, labels, list(zip(operands, written, strict=True))


def _written(op: Op, kept: list[str], labels: dict[str, Any]) -> list[str]:
    """The label of each axis of the result."""
    if op.op in REDUCTIONS and op.params.get("keepdims"):
        return [f"x{k}" if f"x{k}" in kept else "" for k in range(len(op.inputs[0].shape))]
    return kept


class Module:
    """The text of the module for one step, and what its functions are given.

    Attributes
    ----------
    source : str
    """

    def __init__(self, step: Step, dtype: np.dtype[Any], wanted: set[Op]) -> None:
        self.step, self.dtype, self.wanted_gradients = step, dtype, wanted
        for op in [*step.xs, *step.states, *step.fixed, *step.forward, *step.backward]:
            if (op.dtype.kind == "f" and op.dtype not in FLOATS) or op.dtype.kind not in "fiub" or op.dtype == np.uint64:
                raise unsupported(op, f"it is {op.dtype}; compiled are float32, float64, integers up to int64, and bool")
        self.once_ops: dict[tuple[Op, bool], Store] = {}
        self.tables: dict[str, np.ndarray[Any, Any]] = {}
        self.arrays: dict[str, tuple[str, str]] = {}  # name -> (size as code, what it is)
        self._forward()
        self._backward()

    # --- what is stored where ---------------------------------------------------------------------------------------------------

    def table(self, places: np.ndarray[Any, Any]) -> str:
        """The name of an array of places; equal ones have one name."""
        for name, known in self.tables.items():
            if np.array_equal(known, places):
                return name
        self.tables[f"n{len(self.tables)}"] = np.ascontiguousarray(places, np.int64)
        return f"n{len(self.tables) - 1}"

    def once(self, op: Op, wide: bool) -> Store:
        """Where a value stands that is computed once; wide: repeated for each row."""
        if (op, wide) not in self.once_ops:
            label = "".join(ch if ch.isalnum() else "_" for ch in (op.node.name or op.op))
            self.once_ops[op, wide] = Store(f"{'wide' if wide else 'c'}{len(self.once_ops)}_{label}", op, wide=wide)
        return self.once_ops[op, wide]

    def _forward(self) -> None:
        step = self.step
        self.given: dict[Op, Store] = {}
        for k, op in enumerate(step.xs):
            self.given[op] = Store.at_each(f"x{k}", op, "t")
        for k, op in enumerate(step.states):
            self.given[op] = Store.at_each(f"s{k}", op, "s")
        for k, op in enumerate(step.fixed):
            self.given[op] = Store(f"f{k}", op)
        known = set(step.forward) | set(self.given)
        wanted: dict[Op, list[tuple[Store, str]]] = {}
        self.kept: dict[Op, Store] = {}  # what the backward walk finds
        for k, op in enumerate(step.new_states):
            wanted.setdefault(op, []).append((Store.at_each(f"s{k}", op, "(s + 1)"), "{v}"))
        self.y_from: list[tuple[str, int]] = []
        for k, op in enumerate(step.outputs):
            if op in step.new_states:
                self.y_from.append(("s", step.new_states.index(op)))
                continue
            wanted.setdefault(op, []).append((Store.at_each(f"y{k}", op, "t"), "{v}"))
            self.y_from.append(("y", k))
        for k, op in enumerate(v for several in step.told for v in several):
            wanted.setdefault(op, []).append((Store.at_each(f"l{k}", op, "t"), "{v}"))
        # What the backward walk reads: stored, but for what is cheap to compute again from what is stored.
        stack = [i for op in step.backward for i in op.inputs if isinstance(i, Op) and i in known and i.varies]
        seen: set[Op] = set()
        self.saved: list[Op] = []
        while stack:
            op = stack.pop()
            if op in seen or op in self.given:
                continue
            seen.add(op)
            if op in wanted:
                continue
            again = op.op in (*VIEWS, "astype") or op.dtype.kind == "b" or (op.elementwise and op.op in ("add", "subtract", "neg", "zeros_like", "maximum", "minimum", "relu", "abs", "sign"))
            if again:
                stack += [i for i in op.inputs if isinstance(i, Op) and i.varies]
                continue
            store = Store.at_each(f"k{len(self.saved)}", op, "s")
            wanted[op] = [(store, "{v}")]
            self.saved.append(op)
        self.forward_schedule = Schedule([*step.forward], self.given, wanted, self)
        self.kept = {op: places[0][0] for op, places in wanted.items()} | self.given
        self.forward_wanted = wanted

    def _backward(self) -> None:
        step = self.step
        given = dict(self.kept)
        for k, op in enumerate(step.d_outputs):
            given[op] = Store.at_each(f"dy{k}", op, "t")
        for k, op in enumerate(step.d_states):
            given[op] = Store.at_each(f"ds{k}", op, "(s % 2)")
        wanted: dict[Op, list[tuple[Store, str]]] = {}
        self.zero_states: list[int] = []
        for k, op in enumerate(step.states):
            gradient = step.gradients.get(op)
            if gradient is not None:
                wanted.setdefault(gradient, []).append((Store.at_each(f"ds{k}", op, "((s + 1) % 2)"), "{v}"))
            elif op.dtype.kind == "f":
                self.zero_states.append(k)
        self.dx: dict[int, Op] = {}
        for k, op in enumerate(step.xs):
            gradient = step.gradients.get(op)
            if gradient is not None and op in self.wanted_gradients:
                wanted.setdefault(gradient, []).append((Store.at_each(f"dx{k}", op, "t"), "{v}"))
                self.dx[k] = gradient
        self.df: dict[int, Op] = {}
        for k, op in enumerate(step.fixed):
            gradient = step.gradients.get(op)
            if gradient is not None and op in self.wanted_gradients:
                wanted.setdefault(gradient, []).append((Store(f"df{k}", op), "{a} + {v}"))
                self.df[k] = gradient
        self.constants = [op for op in step.constants if op in self.wanted_gradients and step.gradients.get(op) is not None]
        self.sums: dict[Op, Store] = {}
        self.products: dict[Op, tuple[Op, Op, int, int]] = {}
        self.post: list[Op] = []
        self._leave_the_loop([step.gradients[op] for op in self.constants], wanted, given)
        ops = [*step.forward, *step.backward]
        self.backward_schedule = Schedule(ops, given, wanted, self)
        self.backward_given, self.backward_wanted = given, wanted

    def _leave_the_loop(self, gradients: list[Any], wanted: dict[Op, list[tuple[Store, str]]], given: dict[Op, Store]) -> None:
        """From the gradients of parameters back to the sums and products over the batch, where they leave the loop over time."""
        stack, seen = [g for g in gradients if g is not None], set()
        while stack:
            op = stack.pop()
            if op in seen or not op.varies:
                continue
            seen.add(op)
            if op.op == "sum" and op.inputs[0].batch is not None:
                source = op.inputs[0]
                store = self.sums[op] = Store(f"b{len(self.sums)}", source)
                wanted.setdefault(source, []).append((store, "{a} + {v}"))
                continue
            if op.op == "matmul" and len(op.shape) == 2 and op.inputs[0].batch == 1 and op.inputs[1].batch == 0:
                operands = []
                for side in op.inputs:
                    while side.op == "transpose":
                        side = side.inputs[0]
                    if side not in given and not any(how == "{v}" and "s *" in store.base for store, how in wanted.get(side, [])):
                        store = Store.at_each(f"g{sum(len(w) for w in wanted.values())}", side, "s")
                        wanted.setdefault(side, []).insert(0, (store, "{v}"))
                    operands.append(side)
                self.products[op] = (operands[0], operands[1], *op.shape)
                continue
            varying = [i for i in op.inputs if isinstance(i, Op) and i.varies]
            straight = op.op in LINEAR or (op.op in ("multiply", "matmul", "where") and len(varying) == 1) or (op.op == "divide" and not getattr(op.inputs[1], "varies", False))
            if not straight or any(i.batch is not None for i in varying):  # it stays in the loop, and is added up there
                store = self.sums[op] = Store(f"b{len(self.sums)}", op)
                wanted.setdefault(op, []).append((store, "{a} + {v}"))
                continue
            self.post.append(op)
            stack += varying
        order = {op: k for k, op in enumerate(self.step.backward)}
        self.post.sort(key=order.__getitem__)

    # --- text -------------------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The module."""
        kind = self.dtype.name
        forward, backward = self._function("forward"), self._function("backward")
        other = FLOATS[self.dtype == FLOATS[0]].name
        used = sorted({"wide_vectors", *self.forward_schedule.used, *self.backward_schedule.used})
        head = [
            '"""Generated: a cell over a whole sequence, forward and backward. Values are laid out (features, batch)."""',
            "import numpy as np",
            "from numba import njit, types",
            f"from numpy import {kind} as F, {other} as D, int64 as I, uint64 as U, inf",
            f"from tinygrad_rnn.kernels.scalar import {', '.join(used)}",
            "",
            *(f"{name} = types.Array(types.{dtype}, 1, 'C')" for name, dtype in zip(ARRAYS.values(), (kind, other, "int64", "boolean"), strict=True)),
            'options = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True, "cache": True}',
            "",
            "",
            *PRELUDE.splitlines(),
        ]
        return "\n".join([*head, "", "", *forward, "", "", *backward, ""])

    def _function(self, which: str) -> list[str]:
        schedule = self.forward_schedule if which == "forward" else self.backward_schedule
        body = schedule.lines
        mentioned = {word for line in body for word in _WORDS.findall(line)}
        once = {store.name: (op, wide) for (op, wide), store in self.once_ops.items() if store.name in mentioned or f"{store.name}_2d" in mentioned}
        stores: dict[str, Store] = {}
        for places in ([*self.forward_wanted.values()] if which == "forward" else [*self.backward_wanted.values()]):
            stores |= {store.name: store for store, _ in places}
        given = self.given if which == "forward" else self.backward_given
        stores |= {store.name: store for store in given.values() if store.name in mentioned or self._in_products(store.name)}
        arguments = sorted(stores, key=lambda name: (name.rstrip("0123456789"), int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))))
        setattr(self, f"{which}_arguments", arguments)
        setattr(self, f"{which}_once", list(once))
        tables = [name for name in self.tables if name in mentioned]
        setattr(self, f"{which}_tables", tables)
        room = {store.name: store for store in schedule.temporary.values() if store.name in mentioned}
        setattr(self, f"{which}_room", list(room.values()))
        values = [*(stores[name].op for name in arguments), *(op for op, _ in once.values()), *(store.op for store in room.values())]
        kinds = [*(kind_of(op.dtype, self.dtype) for op in values), *["I"] * len(tables)]
        lines = [
            f"@njit(types.void(types.int64, types.int64, types.boolean, {', '.join(ARRAYS[kind] for kind in kinds)}), **options)",
            f"def {which}(T, B, reverse, {', '.join([*arguments, *once, *room, *tables])}):",
            "    wide_vectors()",
            "    one = min(B, 1)",
        ]
        for name, (op, wide) in once.items():
            lines.append(f"    # {name}: {op.node.name or op.op} {op.shape}{', repeated for each row' if wide else ''}")
            if name in schedule.matrices:
                rows, columns = schedule.matrices[name]
                lines.append(f"    {name}_2d = {name}.reshape({rows}, {columns})")
        if which == "forward":
            lines += ["    for s in range(T):", "        t = T - 1 - s if reverse else s"]
        else:
            lines += [f"    {name}[:] = 0" for name in [*(store.name for store in self.sums.values()), *(f"df{k}" for k in self.df)]]
            lines += ["    for s in range(T - 1, -1, -1):", "        t = T - 1 - s if reverse else s"]
            lines += [
                f"        {line}"
                for k in self.zero_states
                for line in Store.at_each(f"ds{k}", self.step.states[k], "((s + 1) % 2)").filled("0")
            ]
        lines += [f"        {line}" for line in body]
        return lines

    def operand(self, op: Op) -> tuple[str, int, bool]:
        """The array of an operand of a product over all steps, where it begins, and whether its steps stand in the order of time."""
        store = self.backward_given.get(op) or next(store for store, how in self.backward_wanted[op] if how == "{v}" and "s *" in store.base)
        return store.name, op.size if "(s + 1) *" in store.base else 0, store.base.startswith("t ")

    def _in_products(self, name: str) -> bool:
        return any(self.operand(side)[0] == name for left, right, *_ in self.products.values() for side in (left, right))


ARRAYS = {"F": "array", "D": "others", "I": "integers", "Q": "flags"}  # their types in the code
_WORDS = re.compile(r"[A-Za-z_]\w*")

PRELUDE = '''@njit(**options)
def dot(matrix, values, out, K, N, B):
    """(N, K) @ (K, B): one product for the whole batch."""
    if B == 1:
        np.dot(matrix, values, out)
    else:
        np.dot(matrix, values.reshape(K, B), out.reshape(N, B))
'''
