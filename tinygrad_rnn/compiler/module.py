"""The generated module of a whole sequence.

A forward and a backward function, with the loop over time inside.

``forward`` runs the step for s = 0, 1, ..., T - 1; the input of step s is that of time t, which is
s, or T - 1 - s in reverse. ``backward`` runs down. What depends on parameters alone is computed
once before; the gradients of parameters leave the loop: products with the batch are put off and
done as one product over all steps, sums are collected for each row of the batch and added up at the
end.
"""

from __future__ import annotations

import itertools
import re
from typing import Any, NamedTuple

import numpy as np

from ..kernels.products import symbol
from .affine import factors, join_sums, products
from .effects import B
from .keeping import kept
from .lower import REDUCTIONS, ZERO, Block, Loop, Store, constant, identity, is_zero, reduced_axes
from .op import Op
from .scalars import FLOATS, LEAST, MOST, kind_of, literal, wrapped
from .shared import Part, shared
from .step import Step
from .views import PIECES, VIEWS, Index, Restore, symbolic, unsupported
from .whole import ADDED, SCATTERED, WHOLE, written

WAY_OUT = "there is no code for it. Compute it outside the step and hand the result over in x"

LINEAR = (
    "transpose",
    "reshape",
    "neg",
    "add",
    "subtract",
    "scatter",
    "getitem",
    "sum",
    "concatenate",
    "stack",
    "broadcast_to",
    "positive",
    "tril",
    "triu",
    "pad",
    "astype",
)
MANY = 96  # arrays; of more an array of their places is handed over
ROUNDS = 6  # of building the code, after which what is still missing is looked for by itself
LOOPS = 4  # in more of them a value is not computed again, but stored


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

    def __init__(
        self,
        ops: list[Op],
        given: dict[Op, Store],
        wanted: dict[Op, list[tuple[Store, str]]],
        module: Module,
    ) -> None:
        self.ops = {op: k for k, op in enumerate(ops)}
        self.given, self.wanted = given, wanted
        self.module, self.once, self.table, self.base = (
            module,
            module.once,
            module.table,
            module.dtype,
        )
        self.temporary: dict[Op, Store] = {}
        # matrices of products, (name, N, K, strides), packed: the name of that array
        self.packs: dict[tuple[str, int, int, int, int], str] = {}
        # for readers: which line begins what, the operation, and its Loop or lines
        self.notes: list[tuple[int, Op, Any]]
        self.extra: set[Op] = set()  # stored besides what is wanted
        self.before: set[Op] = set()  # those that are stored before any loop reads them
        self.count = itertools.count()  # of variables
        self.builds = self.visits = 0  # work, which tests count
        self._store_first()
        done = -1
        while True:
            self.builds += 1
            missing: dict[Op, None] = {}
            self.lines, self.used = self._build(missing)
            self.visits += self.block.visits
            twice = {
                op
                for op, loops in self.block.costly.items()
                if len(loops) > 1 and op not in self.extra and op not in wanted
            }
            if not missing and not twice:
                return
            self.extra.update(missing or twice)
            if missing and self.builds == ROUNDS:
                self._follow()
                self._store_what_many_read()
            if len(self.extra) + len(self.before) == done:
                raise unsupported(next(iter(missing)), WAY_OUT)
            done = len(self.extra) + len(self.before)

    def _store_first(self) -> None:
        """Find what has to be stored in any case."""
        reached: set[Op] = set()
        stack = list(self.wanted)
        while stack:
            op = stack.pop()
            if op in reached or op in self.given or constant(op) or is_zero(op):
                continue
            reached.add(op)
            self.visits += 1
            stack += [i for i in op.inputs if isinstance(i, Op)]
            if op not in self.wanted and not self._pointwise(op):
                self.extra.add(op)
            if self._multiplied(op):
                self.extra.update(
                    value
                    for moving, _ in products(op)[0]
                    if (value := untransposed(moving)[0]) not in self.given
                    and value not in self.wanted
                )
        self.reached = sorted(reached, key=self.ops.__getitem__)
        self._store_what_many_read()

    def _store_what_many_read(self) -> None:
        """Store what would be computed by more than `LOOPS` loops.

        A loop computes what it reads down to stored values, so a chain that each of many loops
        reads one link further would be written out in all of them, and the code would grow with the
        square of its length.
        """
        order = self.reached
        # how many operations that are no part of a loop, one after the other, come before it
        stage: dict[Op, int] = {}
        for op in order:
            # what is stored is read at another place, so by a later loop
            moved = not op.elementwise
            stage[op] = max(
                (
                    stage[i] + (not self._pointwise(i) or (moved and self._readable(i)))
                    for i in op.inputs
                    if i in stage
                ),
                default=0,
            )
        loops = dict.fromkeys(order, 0)  # of each value the loops in which it is computed, as bits
        for k, op in enumerate(reversed(order)):
            if self._readable(op):
                loops[op] = 0
            if op in self.wanted or op in self.extra:
                loops[op] |= 1 << stage[op]
            known = [
                i
                for i in op.inputs
                if isinstance(i, Op) and not constant(i) and not self._readable(i)
            ]
            if loops[op].bit_count() > LOOPS and known and (op.elementwise or op.op == "astype"):
                self.extra.add(op)
                loops[op] = 1 << stage[op]
            # it has a loop of its own
            here = loops[op] if self._pointwise(op) else 1 << len(order) + k
            for i in op.inputs:
                if i in loops:
                    loops[i] |= here

    def _follow(self) -> None:
        """Find what cannot be read by index where it is computed, such as the source of a reshape that cuts axes anew."""
        block = Block({}, self.base, self.module.recorded, self.once)
        block.ready = {op for op in (*self.given, *self.extra, *self.wanted) if self._readable(op)}
        # the first one is the last
        stack = sorted(
            dict.fromkeys([*self.wanted, *self.extra]),
            key=lambda op: self.ops.get(op, -1),
            reverse=True,
        )
        while stack:
            op = stack.pop()
            sources = (
                [op]
                if self._pointwise(op)
                else []
                if self._whole(op) or self._multiplied(op)
                else [i for i in op.inputs if isinstance(i, Op)]
            )
            try:
                for source in sources:
                    if op not in self.given and not is_zero(source):
                        domain, index = identity(source)
                        block.cuts(source, index, domain, top=source is op)
            except Restore as missing:
                new = [
                    i
                    for i in missing.ops
                    if i in self.ops and i not in self.extra and i not in self.wanted
                ]
                self.extra.update(new)
                block.ready.update(new)
                stack += [op, *new] if new else []
        self.visits += block.visits

    def _readable(self, op: Op) -> bool:
        """Whether a value can be read from where it is stored; what is only added up cannot."""
        return (
            op in self.extra
            or op in self.given
            or any(how == "{v}" for _, how in self.wanted.get(op, ()))
        )

    def _build(self, missing: dict[Op, None]) -> tuple[list[str], set[str]]:
        """The code, for what is stored; `missing` gets what has to be stored besides, and then the code is not complete."""
        stores = dict(self.given)
        self.temporary = {
            op: Store(f"m{k}", op)
            for k, op in enumerate(sorted(self.extra, key=self.ops.__getitem__))
        }
        for op, places in self.wanted.items():
            first = next((store for store, how in places if how == "{v}"), None)
            if first is not None:
                stores.setdefault(op, first)
        for op in self.wanted:
            if op not in stores and not self._pointwise(op):
                self.temporary.setdefault(op, Store(f"m{len(self.temporary)}", op))
        stores.update({op: store for op, store in self.temporary.items() if op not in stores})
        self.block = block = Block(stores, self.base, self.module.recorded, self.once)
        block.ready = set(self.given)
        units = sorted(
            dict.fromkeys([*self.wanted, *self.temporary]), key=lambda op: self.ops.get(op, -1)
        )
        levels: dict[Op, int] = {}
        of_level: dict[int, list[Op]] = {}
        for op in units:
            levels[op] = self._level(op, levels)
            of_level.setdefault(levels[op], []).append(op)
        lines: list[str] = []
        offsets: dict[str, str] = {}
        used: set[str] = set()
        self.notes = []
        for _, here in sorted(of_level.items()):
            loops: dict[tuple[Any, ...], Loop] = {}
            order: list[Any] = []
            of: list[Op] = []  # what each part is for
            for op in here:
                try:
                    order += self._unit(block, op, stores, loops, used)
                except Restore as restored:
                    if restored.op not in self.ops:
                        raise unsupported(restored.op, WAY_OUT) from None
                    missing.update(dict.fromkeys(restored.ops))
                of += [op] * (len(order) - len(of))
            for part, op in zip(order, of, strict=True):
                self.notes.append((len(lines), op, part))
                if isinstance(part, Loop):
                    used |= part.used
                    part = part.text(offsets)
                lines += part
            block.ready.update(op for op in here if op in stores and not self._only_added(op))
        self.notes = [(len(offsets) + at, op, part) for at, op, part in self.notes]
        return [*(f"{name} = U({text})" for text, name in offsets.items()), *lines], used

    def _unit(
        self,
        block: Block,
        op: Op,
        stores: dict[Op, Store],
        loops: dict[tuple[Any, ...], Loop],
        used: set[str],
    ) -> list[Any]:
        """What has to be run for one stored value: loops and lines.

        Loops that are there already get another value to compute.
        """
        if op.dtype.kind in "iu" and self._whole(op):
            used.add("int_add")
        places = list(self.wanted.get(op, []))
        if not any(how == "{v}" for _, how in places) and op in self.extra:
            places.append((self.temporary[op], "{v}"))
        if self._multiplied(op):
            order: list[Any] = [self._products(block, op, stores)]
        elif op.op in ("matmul", "einsum", *REDUCTIONS) and op not in self.given:
            order = self._reduce(block, op, stores, used)
        elif self._only_added(op):
            return [part for store, _ in places for part in self._written(block, op, stores, store)]
        elif self._whole(op):
            order = self._written(block, op, stores)
        else:
            return self._loop(block, op, places, loops)
        for store, how in places:
            if store is not stores[op] and store.name != stores[op].name:
                copy = Loop(identity(op)[0], self.count)
                copy.write(store, identity(op)[1], copy.read(stores[op], identity(op)[1]), how)
                order.append(copy)
        return order

    def _only_added(self, op: Op) -> bool:
        """Whether a value is scattered right into sums, so that nothing can read it."""
        scattered = op.op in SCATTERED or (op.op in ADDED and is_zero(op.inputs[0]))
        return (
            scattered
            and self._whole(op)
            and op not in self.extra
            and all(how != "{v}" for _, how in self.wanted.get(op, ()))
        )

    # --- levels -----------------------------------------------------------------------------------------------------------------

    def _level(self, op: Op, levels: dict[Op, int]) -> int:
        """One more than what it has to wait for.

        A loop does not wait for values of its own loop.
        """
        pointwise = self._pointwise(op)
        level = 0
        for dep, same in self._reads(op):
            if dep in levels and dep is not op:
                level = max(
                    level,
                    levels[dep]
                    + (
                        0
                        if same and pointwise and self._pointwise(dep) and dep not in self.before
                        else 1
                    ),
                )
        return level

    def _pointwise(self, op: Op) -> bool:
        return (
            op in self.given
            or op.elementwise
            or (op.op in (*VIEWS, *PIECES) and symbolic(op))
            or op.op in ("zeros_like", "astype")
        )

    def _whole(self, op: Op) -> bool:
        return op not in self.given and op.op in WHOLE and not self._pointwise(op)

    def _reads(self, op: Op) -> list[tuple[Op, bool]]:
        """The stored values that are read for a value, and whether only at the same place of a domain of the same shape."""
        found: list[tuple[Op, bool]] = []
        stack = (
            [(i, op.elementwise) for i in op.inputs if isinstance(i, Op)]
            if op not in self.given
            else [(op, True)]
        )
        seen = set()
        while stack:
            source, same = stack.pop()
            if (source, same) in seen:
                continue
            seen.add((source, same))
            if source in self.wanted or source in self.extra or source in self.given:
                plain = (
                    any(how == "{v}" for _, how in self.wanted.get(source, []))
                    or source in self.extra
                    or source in self.given
                )
                found.append((source, same and source.shape == op.shape))
                if plain:
                    continue
            stack += [(i, same and source.elementwise) for i in source.inputs if isinstance(i, Op)]
        return found

    # --- code -------------------------------------------------------------------------------------------------------------------

    def _loop(
        self,
        block: Block,
        op: Op,
        places: list[tuple[Store, str]],
        loops: dict[tuple[Any, ...], Loop],
    ) -> list[Loop]:
        """Store a value that is computed element by element, in one loop, or one for each of its parts; the loops that were not there yet."""
        domain, index = identity(op)
        cuts = block.cuts(op, index, domain, top=op not in self.given)
        zero = literal(0, kind_of(op.dtype, self.base))
        parts = []
        for var, n in enumerate(domain):
            inner = (
                sorted({0, n, *(c for c in cuts.get(var, ()) if 0 < c < n)}) if n != B else [0, B]
            )
            parts.append(list(itertools.pairwise(inner)))
        if (
            any(len(p) > 1 for p in parts)
            and not block.joined(op)
            and (inside := [i for i in block.parted(op) if i in self.ops])
        ):
            self.before.update(inside)
            raise Restore(*inside)
        new = []
        for choice in itertools.product(*parts):
            sizes = tuple(B if hi == B else hi - lo for lo, hi in choice)
            if sizes not in loops:
                loops[sizes] = Loop(sizes, self.count)
                new.append(loops[sizes])
            loop = loops[sizes]
            place: Index = tuple(p if p[0] is None else (p[0], 1, choice[p[0]][0]) for p in index)
            value = block.value(loop, op, place, top=op not in self.given)
            for store, how in places:
                loop.write(store, place, value, how, zero)
        return new

    def _multiplied(self, op: Op) -> bool:
        """Whether it is made of products of the batch with matrices that do not vary."""
        return op not in self.given and (
            op.op == "affine"
            or (factors(op) is not None and all(i.dtype == self.base for i in (op, *op.inputs)))
        )

    def _products(self, block: Block, op: Op, stores: dict[Op, Store]) -> list[str]:
        """Products of the batch with matrices that do not vary, added up."""
        pairs, constant = products(op)
        bias = None if constant is None else self.once(constant, False)
        lines = []
        for k, (moving, fixed) in enumerate(pairs):
            value, _ = untransposed(moving)
            if value not in block.ready:
                raise Restore(value)
            matrix, turned = untransposed(fixed)
            rows, columns = matrix.shape
            # (batch, K) @ (K, N) is (N, K) @ (K, batch) here, and (M, K) @ (K, batch) stays as it
            # is
            first = op.inputs[2 * k] if op.op == "affine" else op.inputs[0]
            shape = (
                (columns, rows, 1, columns)
                if (moving is first) != turned
                else (rows, columns, columns, 1)
            )
            packed = self.packs.setdefault(
                (self.once(matrix, False).name, *shape), f"z{len(self.packs)}"
            )
            source, target, (N, K) = stores[value], stores[op], shape[:2]
            begin = "0" if k or bias is None else f"at({bias.name}, 0)"
            lines.append(
                f"multiply(at({packed}, 0), at({source.name}, {source.base}), at({target.name}, {target.base}), {K}, {N}, B, {begin}, {min(k, 1)})"
            )
        return lines

    def _reduce(self, block: Block, op: Op, stores: dict[Op, Store], used: set[str]) -> list[Any]:
        """A reduction or a product of two values of the batch.

        Loops that collect into the stored result.
        """
        kept, labels, terms = _terms(op)
        names = [
            *[k for k in kept if labels[k] != B],
            *[k for k in labels if k not in kept and labels[k] != B],
            *[k for k in labels if labels[k] == B],
        ]
        loop = Loop(tuple(labels[k] for k in names), self.count)

        def at(term: tuple[str, ...], source: Op) -> Index:
            return tuple(
                (None, 1, 0) if n == 1 and labels[k] != 1 else (names.index(k), 1, 0)
                for k, n in zip(term, source.shape, strict=True)
            )

        values = []
        for source, term in terms:
            cuts = block.cuts(source, at(term, source), loop.domain)
            if any(
                0 < c < loop.domain[var]
                for var, several in cuts.items()
                for c in several
                if loop.domain[var] != B
            ):
                raise Restore(source)
            values.append(block.value(loop, source, at(term, source)))
        kind = kind_of(op.dtype, self.base)
        first, how, called = _collecting(op, kind)
        value = values[0] if ZERO not in values else literal(0, kind)
        for other in values[1:] if ZERO not in values else []:
            loop.used |= {"int_multiply"} if kind == "I" else set()
            value = loop.let(
                f"int_multiply({value}, {other})"
                if kind == "I"
                else f"{value} {'and' if kind == 'Q' else '*'} {other}"
            )
        store = stores[op]
        used |= called
        out = tuple(
            (names.index(k), 1, 0) if k in names and k in kept else (None, 1, 0)
            for k in _written(op, kept, labels)
        )
        loop.write(store, out, value, how)
        used |= loop.used
        return [store.filled(first), loop]

    def _written(
        self, block: Block, op: Op, stores: dict[Op, Store], target: Store | None = None
    ) -> list[Any]:
        """An operation on whole values.

        With a target, what it scatters is added to what stands there.
        """

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
            copy.write(
                stores[op],
                index,
                block.value(copy, op.inputs[0], index),
                zero=literal(0, kind_of(op.dtype, self.base)),
            )
            found.append(copy)
        found.append(
            written(op, target or stores[op], read, self.table, self.base, target is not None)
        )
        return found


def _collecting(op: Op, kind: str) -> tuple[str, str, set[str]]:
    """Of a reduction or product.

    With what it begins, how an element {v} is put to what there is {a}, and the functions that this
    calls.
    """
    if op.op in ("all", "any"):
        return str(op.op == "all"), f"{{a}} {'and' if op.op == 'all' else 'or'} bool({{v}})", set()
    if kind == "Q":  # the smallest is whether all hold; all else is whether one does
        return str(op.op == "min"), f"{{a}} {'and' if op.op == 'min' else 'or'} {{v}}", set()
    if op.op in ("max", "min"):
        first: float = (
            (LEAST if op.op == "max" else MOST)
            if kind == "I"
            else -np.inf
            if op.op == "max"
            else np.inf
        )
        name = ("int_" if kind == "I" else "") + op.op + "imum"
        # which makes 0 of -0, so that no order of zeros counts
        value = "{v}" if kind == "I" else f"{{v}} + {literal(0.0, kind)}"
        return literal(first, kind), f"{name}({{a}}, {value})", {name}
    if kind == "I":
        return literal(0, kind), wrapped("int_add({a}, {v})", op.dtype), {"int_add"}
    return literal(0, kind), "{a} + {v}", set()


def untransposed(op: Op) -> tuple[Op, bool]:
    """Under transposes of a matrix: the operation, and whether it is turned."""
    turned = False
    while (
        op.op == "transpose"
        and len(op.shape) == 2
        and tuple(a % 2 for a in op.params["axes"]) == (1, 0)
    ):
        op, turned = op.inputs[0], not turned
    return op, turned


def _terms(op: Op) -> tuple[list[str], dict[str, Any], list[tuple[Op, tuple[str, ...]]]]:
    """Of a reduction or product.

    The labels of the result, the size of each label, and each operand with its labels.
    """
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
    functions : dict of str to Function
        "forward" and "backward".
    """

    def __init__(self, step: Step, dtype: np.dtype[Any], wanted: set[Op]) -> None:
        self.step, self.dtype, self.wanted_gradients = step, dtype, wanted
        for op in [*step.xs, *step.states, *step.fixed, *step.forward, *step.backward]:
            if (
                (op.dtype.kind == "f" and op.dtype not in FLOATS)
                or op.dtype.kind not in "fiub"
                or op.dtype == np.uint64
            ):
                raise unsupported(
                    op,
                    f"it is {op.dtype}; compiled are float32, float64, integers up to int64, and bool",
                )
        join_sums(step, dtype)
        self.recorded = set(step.forward)
        self.once_ops: dict[tuple[Op, bool], Store] = {}
        self.tables: dict[str, np.ndarray[Any, Any]] = {}
        self._forward()
        self._backward()
        self.functions = {which: self._function(which) for which in ("forward", "backward")}

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
            # a comment says what it is
            self.once_ops[op, wide] = Store(
                f"{'wide' if wide else 'c'}{len(self.once_ops)}", op, wide=wide
            )
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
        for k, op in enumerate(step.new_states):
            wanted.setdefault(op, []).append((Store.at_each(f"s{k}", op, "(s + 1)"), "{v}"))
        self.y_from: list[tuple[str, int]] = []
        for k, op in enumerate(step.outputs):
            if op in step.new_states:
                self.y_from.append(("s", step.new_states.index(op)))
                continue
            wanted.setdefault(op, []).append((Store.at_each(f"y{k}", op, "t"), "{v}"))
            self.y_from.append(("y", k))
        for k, op in enumerate(v for several in step.emitted for v in several):
            wanted.setdefault(op, []).append((Store.at_each(f"l{k}", op, "t"), "{v}"))
        read = [
            i
            for op in step.backward
            for i in op.inputs
            if isinstance(i, Op) and i in known and i.varies
        ]
        for k, op in enumerate(kept(read, {*self.given, *wanted})):
            wanted[op] = [(Store.at_each(f"k{k}", op, "s"), "{v}")]
        self.forward_schedule = Schedule([*step.forward], self.given, wanted, self)
        self.forward_wanted = wanted

    def _backward(self) -> None:
        step = self.step
        # what the backward walk finds
        given = {op: places[0][0] for op, places in self.forward_wanted.items()} | self.given
        for k, op in enumerate(step.d_outputs):
            given[op] = Store.at_each(f"dy{k}", op, "t")
        for k, op in enumerate(step.d_states):
            given[op] = Store.at_each(f"ds{k}", op, "(s % 2)")
        wanted: dict[Op, list[tuple[Store, str]]] = {}
        self.zero_states: list[int] = []
        for k, op in enumerate(step.states):
            gradient = step.gradients.get(op)
            if gradient is not None:
                wanted.setdefault(gradient, []).append(
                    (Store.at_each(f"ds{k}", op, "((s + 1) % 2)"), "{v}")
                )
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
        self.constants = [
            op
            for op in step.constants
            if op in self.wanted_gradients and step.gradients.get(op) is not None
        ]
        # of each sum over the batch: its source, or what is added up as it stands
        self.sums: dict[Op, Op] = {}
        self.collected: dict[Op, Store] = {}  # of a source that is summed within the loop: where
        self.products: dict[Op, tuple[Op, Op]] = {}
        self.post: list[Op] = []
        self._leave_the_loop([step.gradients[op] for op in self.constants], wanted, given)
        ops = [*step.forward, *step.backward]
        self.backward_schedule = Schedule(ops, given, wanted, self)
        self.backward_given, self.backward_wanted = given, wanted

    def _leave_the_loop(
        self,
        gradients: list[Any],
        wanted: dict[Op, list[tuple[Store, str]]],
        given: dict[Op, Store],
    ) -> None:
        """From the gradients of parameters back to the sums and products over the batch, where they leave the loop over time."""
        stack, seen = [g for g in gradients if g is not None], set()
        while stack:
            op = stack.pop()
            if op in seen or not op.varies:
                continue
            seen.add(op)
            if op.op == "sum" and op.inputs[0].batch is not None:
                self.sums[op] = op.inputs[0]
                continue
            if (
                op.op == "matmul"
                and len(op.shape) == 2
                and op.inputs[0].batch == 1
                and op.inputs[1].batch == 0
                and all(i.dtype == self.dtype for i in (op, *op.inputs))
            ):
                operands = []
                for side in op.inputs:
                    side, _ = untransposed(side)
                    if not at_all(given.get(side)) and not any(
                        how == "{v}" and at_all(store) for store, how in wanted.get(side, [])
                    ):
                        store = Store.at_each(f"g{sum(len(w) for w in wanted.values())}", side, "s")
                        wanted.setdefault(side, []).insert(0, (store, "{v}"))
                    operands.append(side)
                self.products[op] = (operands[0], operands[1])
                continue
            varying = [i for i in op.inputs if isinstance(i, Op) and i.varies]
            straight = (
                op.op in LINEAR
                or (op.op in ("multiply", "matmul", "where") and len(varying) == 1)
                or (op.op == "divide" and not getattr(op.inputs[1], "varies", False))
            )
            # it stays in the loop, and is added up there
            if not straight or any(i.batch is not None for i in varying):
                self.sums[op] = op
                continue
            self.post.append(op)
            stack += varying
        stored = {side for pair in self.products.values() for side in pair}
        for op, source in self.sums.items():
            if (source is op or source not in stored) and source not in self.collected:
                store = self.collected[source] = Store(f"b{len(self.collected)}", source)
                wanted.setdefault(source, []).append((store, "{a} + {v}"))
        order = {op: k for k, op in enumerate(self.step.backward)}
        self.post.sort(key=order.__getitem__)

    # --- text -------------------------------------------------------------------------------------------------------------------

    def text(self, *, sharing: bool = False) -> str:
        """The module.

        Where it is not to be read but compiled, loops that do the same are `shared`, and many
        arrays are handed over as one of places.
        """
        kind = self.dtype.name
        other = FLOATS[self.dtype == FLOATS[0]].name
        lines = {which: function.lines for which, function in self.functions.items()}
        loops: list[str] = []
        if sharing:
            many = {which for which, function in self.functions.items() if function.many}
            loops, lines = shared(
                lines,
                self._loops(),
                {which: function.kinds for which, function in self.functions.items()},
                many,
            )
            for which in many:
                names = enumerate(self.functions[which].kinds.items())
                lines[which][:2] = [
                    "@njit(types.void(*[types.int64] * 4, types.boolean, integers), **options)",
                    f"def {which}(T, B, batch, row, reverse, places):",
                    *(f"    {name} = {POINTERS[kind].format(k=k)}" for k, (name, kind) in names),
                ]
        used = sorted({"wide_vectors", *self.forward_schedule.used, *self.backward_schedule.used})
        head = [
            f'"""Generated: {self._title()}. Forward and backward; values are laid out (features, batch)."""',
            "import numpy as np",
            f"from numba import {'carray, ' if loops else ''}njit, types",
            f"from numpy import {kind} as F, {other} as D, int64 as I, uint64 as U, inf",
            f"from tinygrad_rnn.kernels.scalar import {', '.join(name for name in used if not name.startswith('int'))}",
            *(
                f"from tinygrad_rnn.kernels.integers import {name}"
                for name in used
                if name.startswith("int")
            ),
            f"from tinygrad_rnn.kernels.tiles import at{', pointer, start' if loops else ''}",
            "",
            *(
                f"{name} = types.Array(types.{dtype}, 1, 'C')"
                for name, dtype in zip(
                    ARRAYS.values(), (kind, other, "int64", "boolean"), strict=True
                )
            ),
            'options = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True, "cache": True}',
            "# A matrix (N, K) with strides is packed once, and then multiplied with (K, B) to (N, B); addresses are integers.",
            f'pack = types.ExternalFunction("{symbol("pack", self.dtype)}", types.void(*[types.int64] * 7))',
            f'multiply = types.ExternalFunction("{symbol("multiply", self.dtype)}", types.void(*[types.int64] * 8))',
            f'transpose = types.ExternalFunction("{symbol("transpose", self.dtype)}", types.void(*[types.int64] * 9))',
            f'gradient = types.ExternalFunction("{symbol("gradient", self.dtype)}", types.void(*[types.int64] * 12))',
        ]
        if loops:  # they are compiled for whoever calls them
            head.append(
                'of_loops = {"error_model": "numpy", "fastmath": {"contract"}, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}'
            )
        return "\n".join(
            [
                *head,
                *loops,
                *(line for several in lines.values() for line in ("", "", *several)),
                "",
            ]
        )

    def _loops(self) -> list[Part]:
        """Where the loops are in the lines of the functions."""
        found = []
        for which, schedule in (
            ("forward", self.forward_schedule),
            ("backward", self.backward_schedule),
        ):
            body = self.functions[which].body
            ends = [at for at, _, _ in schedule.notes[1:]] + [len(schedule.lines)]
            found += [
                Part(which, body + at, body + end)
                for (at, _, part), end in zip(schedule.notes, ends, strict=False)
                if isinstance(part, Loop) and at < end
            ]
        return found

    def made_by(self, line: int) -> Op | None:
        """The operation of which a line of the text comes, counted from 1.

        None for what belongs to no single one.
        """
        lines = self.text().splitlines()
        for which, function in self.functions.items():
            begin = next(k for k, text in enumerate(lines) if text.startswith(f"def {which}(")) - 1
            schedule = self.forward_schedule if which == "forward" else self.backward_schedule
            place = line - 1 - begin - function.body
            if not 0 <= place < len(schedule.lines):
                continue
            _, op, part = max(
                (note for note in schedule.notes if note[0] <= place), key=lambda note: note[0]
            )
            variable = lines[line - 1].split(" = ")[0].strip()
            inside = (
                [o for (o, _), name in part.memo.items() if name == variable]
                if isinstance(part, Loop)
                else []
            )
            return inside[0] if inside else op
        return None

    def _title(self) -> str:
        """What `tinygrad-rnn info --cache` says of the module.

        The cell, and the features of what it is given.
        """
        name = re.sub(r"[^\w .:<>()-]", "?", self.step.name)[:60]
        xs, states = (
            ", ".join("x".join(map(str, op.features)) or "1" for op in ops)
            for ops in (self.step.xs, self.step.states)
        )
        return f"{name} over a whole sequence; x: {xs}, state: {states}, {self.dtype.name}"

    def _function(self, which: str) -> Function:
        forward = which == "forward"
        schedule = self.forward_schedule if forward else self.backward_schedule
        after = self._results() if forward else self._gradients()
        mentioned = _words([*schedule.lines, *after])
        before = self._given(mentioned) if forward else self._seeds(mentioned)
        mentioned |= _words(before)
        packed = {matrix for matrix, *_ in schedule.packs}
        once = {
            store.name: key
            for key, store in self.once_ops.items()
            if store.name in mentioned or store.name in packed
        }
        slots = self._slots(which, mentioned)
        raw = [name for name in self._raw(forward) if name in mentioned]
        tables = [name for name in self.tables if name in mentioned]
        kinds = (
            [slot.kind for slot in slots]
            + ["F"] * len(raw)
            + [kind_of(op.dtype, self.dtype) for op, _ in once.values()]
            + ["I"] * len(tables)
        )
        lines = [
            f"@njit(types.void(*[types.int64] * 4, types.boolean, {', '.join(ARRAYS[kind] for kind in kinds)}), **options)",
            f"def {which}(T, B, batch, row, reverse, {', '.join([*(slot.name for slot in slots), *raw, *once, *tables])}):",
            "    wide_vectors()",
            "    one = min(B, 1)",
            "    last, way = (T - 1, -1) if reverse else (0, 1)  # in time, where the first step of the loop is, and how it goes on",
        ]
        for name, (op, wide) in once.items():
            lines.append(
                f"    # {name}: {op.node.name or op.op} {op.shape}{', repeated for each row' if wide else ''}"
            )
        for (matrix, N, K, row, column), name in schedule.packs.items():
            lines.append(f"    pack(at({matrix}, 0), {N}, {K}, {row}, {column}, B, at({name}, 0))")
        lines += [f"    {line}" for line in before]
        lines.append("    for s in range(T):" if forward else "    for s in range(T - 1, -1, -1):")
        lines.append("        t = last + way * s")
        if not forward:
            zeros = [
                Store.at_each(f"ds{k}", self.step.states[k], "((s + 1) % 2)")
                for k in self.zero_states
                if f"ds{k}" in mentioned
            ]
            lines += [f"        {line}" for store in zeros for line in store.filled("0")]
        body = len(lines)
        lines += [
            *(f"        {line}" for line in schedule.lines),
            *(f"    {line}" for line in after),
        ]
        names = [*(slot.name for slot in slots), *raw, *once, *tables]
        return Function(
            lines,
            body,
            slots,
            raw,
            list(once.values()),
            [self.tables[name] for name in tables],
            dict(zip(names, kinds, strict=True)),
        )

    def straight(self, op: Op) -> bool:
        """Whether a value comes and goes as it is, (batch, features) of the module's dtype.

        Others are brought into order outside.
        """
        return op.batch == 0 and op.dtype == self.dtype

    def _raw(self, forward: bool) -> list[str]:
        """Arrays as the caller has them, (T, batch, features)."""
        step = self.step
        xs, states = (
            [f"in{k}" for k in range(len(step.xs))],
            [f"first{k}" for k in range(len(step.states))],
        )
        ys, last = (
            [f"out{k}" for k in range(len(step.outputs))],
            [f"last{k}" for k in range(len(step.states))],
        )
        if forward:
            return [*xs, *states, *ys, *last]
        return [
            *xs,
            *(f"d{name}" for name in (*ys, *last, *states)),
            *(f"din{k}" for k in self.dx),
            *(f"dw{k}" for k in range(len(self.products))),
        ]

    def _given(self, mentioned: set[str]) -> list[str]:
        """Before the loop forward: what the caller gave, as the loop wants it."""
        lines = [
            _into(f"in{k}", f"x{k}", op.size)
            for k, op in enumerate(self.step.xs)
            if f"x{k}" in mentioned and self.straight(op)
        ]
        return lines + [
            _into(f"first{k}", f"s{k}", op.size, steps="1")
            for k, op in enumerate(self.step.states)
            if self.straight(op)
        ]

    def _results(self) -> list[str]:
        """After it: outputs and last states, as the caller wants them."""
        lines = []
        for j, (op, (kind, k)) in enumerate(zip(self.step.outputs, self.y_from, strict=True)):
            n = op.size
            if not self.straight(op):
                continue
            if kind == "y":  # in the order of time
                lines.append(
                    f"transpose(at(y{k}, 0), at(out{j}, row * {n}), T, {n}, B, {n} * B, B, {n} * batch, {n})"
                )
            else:
                lines.append(
                    f"transpose(at(s{k}, {n} * B), at(out{j}, (last * batch + row) * {n}), T, {n}, B, {n} * B, B, way * {n} * batch, {n})"
                )
        for k, op in enumerate(self.step.states):
            n = op.size
            if self.straight(op):
                lines.append(
                    f"transpose(at(s{k}, T * {n} * B), at(last{k}, row * {n}), 1, {n}, B, 0, B, 0, {n})"
                )
        return lines

    def _seeds(self, mentioned: set[str]) -> list[str]:
        """Before the loop backward: the gradients of the results, as the loop wants them."""
        step = self.step
        lines = [
            _into(f"in{k}", f"x{k}", op.size)
            for k, op in enumerate(step.xs)
            if f"x{k}" in mentioned and self.straight(op)
        ]
        lines += [
            _into(f"dout{k}", f"dy{k}", op.size)
            for k, op in enumerate(step.outputs)
            if f"dy{k}" in mentioned and self.straight(op)
        ]
        lines += [
            _into(f"dlast{k}", f"ds{k}", op.size, steps="1", to=f"(T - 1) % 2 * {op.size} * B")
            for k, op in enumerate(step.states)
            if f"ds{k}" in mentioned and self.straight(op)
        ]
        added = [*self.collected.values(), *(Store(f"df{k}", step.fixed[k]) for k in self.df)]
        return lines + [line for store in added for line in store.filled("0")]

    def _gradients(self) -> list[str]:
        """After it.

        The gradients of first states, inputs and matrices, as the caller wants them.
        """
        step = self.step
        lines = []
        for k, op in enumerate(step.states):
            if not self.straight(op) or step.gradients.get(op) is None:
                continue
            lines.append(
                f"transpose(at(ds{k}, {op.size} * B), at(dfirst{k}, row * {op.size}), 1, {op.size}, B, 0, B, 0, {op.size})"
            )
        for k in self.dx:
            n = step.xs[k].size
            if self.straight(step.xs[k]):
                lines.append(
                    f"transpose(at(dx{k}, 0), at(din{k}, row * {n}), T, {n}, B, {n} * B, B, {n} * batch, {n})"
                )
        self.transposed: list[Op] = []  # of the products, those of which the transpose is computed
        self.totals = {source: store.name for source, store in self.collected.items()}
        waiting = [
            source
            for op, source in self.sums.items()
            if source is not op and source not in self.totals
        ]
        by_rows = [op for op in step.xs if self.straight(op)]  # they need not be turned
        for k, (op, (left, right)) in enumerate(self.products.items()):
            if right in waiting or (
                left not in waiting and left in by_rows and right not in by_rows
            ):
                left, right = right, left
                self.transposed.append(op)
            total = "0"
            if left in waiting:
                waiting = [source for source in waiting if source is not left]
                self.totals[left] = f"b{len(self.totals)}"
                total = f"at({self.totals[left]}, 0)"
            M, N = left.size, right.size
            a, b = self.operand(left), self.operand(right)
            starts, steps = (
                [f"{a.begin} * B", f"{b.begin} * B"],
                [f"{M} * B" if a.moves else "0", f"{N} * B" if b.moves else "0"],
            )
            names = [a.name, b.name]
            if right in by_rows:
                names[1], starts[1], steps[1] = (
                    f"in{step.xs.index(right)}",
                    f"row * {N}",
                    f"{N} * batch",
                )
            for side, (one, other) in enumerate(((a, b), (b, a))):
                if one.by_time and other.moves and not other.by_time:
                    starts[side], steps[side] = (
                        f"last * {steps[side]} + {starts[side]}",
                        f"way * {steps[side]}",
                    )
            places = ", ".join(
                f"at({name}, {start}), {stride}"
                for name, start, stride in zip(names, starts, steps, strict=True)
            )
            lines.append(
                f"gradient({places}, {int(right in by_rows)}, at(dw{k}, 0), {total}, at(h0, 0), T, {M}, {N}, B)"
            )
        return lines

    def _slots(self, which: str, mentioned: set[str]) -> list[Slot]:
        """The arrays of a function, in the order of its arguments."""
        schedule, wanted = (
            (self.forward_schedule, self.forward_wanted)
            if which == "forward"
            else (self.backward_schedule, self.backward_wanted)
        )
        given = self.given if which == "forward" else self.backward_given
        stores = [store for places in wanted.values() for store, _ in places]
        stores += [store for store in given.values() if store.name in mentioned]
        if which == "forward":
            stores += [Store(f"s{k}", op) for k, op in enumerate(self.step.states)]
        found: dict[str, Slot] = {}

        def add(name: str, op: Op, times: str) -> None:
            found[name] = Slot(
                name, kind_of(op.dtype, self.dtype), op.size, op.batch is not None, times
            )

        for store in stores:
            add(
                store.name,
                store.op,
                {"s": "states", "ds": "both", "b": "once", "f": "once", "df": "once"}.get(
                    store.name.rstrip("0123456789"), "all"
                ),
            )
        for store in schedule.temporary.values():
            if store.name in mentioned:
                add(store.name, store.op, "once")
        for (_, N, K, *_), name in schedule.packs.items():
            found[name] = Slot(name, "F", (N + 16) * K, False, "once")
        if which == "backward":
            for source, name in self.totals.items():
                add(name, source, "once")
            if self.products:
                size = max(max(left.size, right.size) for left, right in self.products.values())
                found["h0"] = Slot("h0", "F", size, True, "scratch")
        return sorted(
            found.values(),
            key=lambda slot: (
                slot.name.rstrip("0123456789"),
                int(slot.name.lstrip("abcdefghijklmnopqrstuvwxyz")),
            ),
        )

    def operand(self, op: Op) -> Operand:
        """Where an operand of a product over all steps stands."""
        store = self.backward_given.get(op)
        if store is None or not at_all(store):
            store = next(
                store for store, how in self.backward_wanted[op] if how == "{v}" and at_all(store)
            )
        return Operand(
            store.name,
            op.size if "(s + 1) *" in store.base else 0,
            store.base.startswith("t "),
            store.base != "0",
        )


def at_all(store: Store | None) -> bool:
    """Whether an array has the values of all steps, or one that is the same at all."""
    return store is not None and (
        store.base.startswith(("s *", "t *", "(s + 1) *")) or store.name[0] == "f"
    )


class Operand(NamedTuple):
    """An array with the values of all steps.

    The first element (of one row), whether they stand in the order of time, and whether they move
    at all.
    """

    name: str
    begin: int
    by_time: bool
    moves: bool


def _into(source: str, target: str, size: int, *, steps: str = "T", to: str = "0") -> str:
    """The rows of a part of the batch, (steps, rows, features), as (steps, features, rows)."""
    step = f"batch * {size}, {size}, {size} * B, B" if steps == "T" else f"0, {size}, 0, B"
    return f"transpose(at({source}, row * {size}), at({target}, {to}), {steps}, B, {size}, {step})"


class Function(NamedTuple):
    """One of the two functions: its text, and its arguments after the sizes, in order.

    Attributes
    ----------
    lines : list of str
    body : int
        Which of the lines is the first of the schedule, for readers.
    slots : list of Slot
        Arrays of the code's own.
    raw : list of str
        Names of arrays of the caller.
    once : list of (Op, bool)
        What is computed once, and whether it is repeated for each row.
    tables : list of arrays
    kinds : dict of str to str
        Of all arrays, see `lower.kind_of`.
    """

    lines: list[str]
    body: int
    slots: list[Slot]
    raw: list[str]
    once: list[tuple[Op, bool]]
    tables: list[np.ndarray[Any, Any]]
    kinds: dict[str, str]

    @property
    def many(self) -> bool:
        """Whether its arrays are handed over as one array of their places.

        Each argument makes compiling all of them longer.
        """
        return len(self.kinds) > MANY


class Slot(NamedTuple):
    """An array of the generated code.

    Numbers of one step (of each row of the batch, or in all), and for how many steps it has room.

    kind: see `scalars.kind_of`. times: "all" steps, all "states" (one more), "both" (of two steps
    in turn), "once"; or "scratch".
    """

    name: str
    kind: str
    size: int
    batch: bool
    times: str

    def elements(self, T: int, B: int) -> int:
        """In all."""
        if self.times == "scratch":
            return self.size * (512 + B)
        return (
            self.size
            * (B if self.batch else 1)
            * {"all": T, "states": T + 1, "both": 2, "once": 1}[self.times]
        )


def _words(lines: list[str]) -> set[str]:
    """The names in lines of code."""
    return set(re.findall(r"[A-Za-z_]\w*", "\n".join(lines)))


# from places
POINTERS = {kind: f"pointer(places[{{k}}], {kind}(0))" for kind in "FDI"} | {
    "Q": "carray(pointer(places[{k}], False), (1,))"
}
ARRAYS = {"F": "array", "D": "others", "I": "integers", "Q": "flags"}  # their types in the code
