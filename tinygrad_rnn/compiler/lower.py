"""From the operations of one step to loops.

What is stored, which operations share a loop, and the text of the module.

Every value of a batch is laid out with the batch last, (features, batch): a gate is then one
contiguous piece of the sums of all gates, elementwise work is one flat loop over all of it, and a
product with a weight is one matrix product without a transpose.

A value is *stored* if something reads it as a whole: the products, the reductions, the next step,
or the backward walk. Everything else is written into the loop that uses it. Slices, transposes and
reshapes are no work at all: they become indices. Where a loop would write parts that come from
different places (the gradient of a slice, a concatenation), it is cut into one loop for each part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.tape import Leaf
from ..ops.define import axes_of
from .exchange import B
from .op import Op
from .scalars import Operand, converted, expression, kind_of, literal
from .views import PIECES, VIEWS, Index, Piece, Place, Restore, pieces, symbolic, view

ZERO = "zero"  # a value that is known to be zero

REDUCTIONS = ("sum", "max", "min", "any", "all")
COSTLY = (
    "exp",
    "expm1",
    "log",
    "log1p",
    "tanh",
    "sigmoid",
    "erf",
    "softplus",
    "log_sigmoid",
    "logaddexp",
    "power",
    "sin",
    "cos",
    "sqrt",
    "elu",
)


class Store:
    """An array that holds a value: one flat array of the generated code.

    Attributes
    ----------
    name : str
        Of the array in the code.
    op : Op
    base : str
        Where the value of this step begins, such as "s * 64 * B".
    wide : bool
        A value without a batch, repeated for each row, so that a loop over (features, batch) can
        walk along it.
    """

    def __init__(self, name: str, op: Op, base: str = "0", wide: bool = False) -> None:
        self.name, self.op, self.base, self.wide = name, op, base, wide
        self.strides: list[tuple[int, int]] = []  # of each axis: (constant, multiple of B)
        step = 1
        for n in reversed(op.shape):
            if n == B:
                self.strides.append((1, 0))
            else:
                self.strides.append((0, step) if op.batch is not None or wide else (step, 0))
                step *= n
        self.strides.reverse()

    @classmethod
    def at_each(cls, name: str, op: Op, which: str) -> Store:
        """An array with a value for each step: that of step `which`."""
        return cls(name, op, f"{which} * {op.size}{' * B' if op.batch is not None else ''}")

    @property
    def size(self) -> str:
        """Elements, as code."""
        return f"{self.op.size} * B" if self.op.batch is not None else str(self.op.size)

    def spot(self, place: str) -> str:
        """An element, as code."""
        return (
            f"{self.name}[{place}]" if self.base == "0" else f"{self.name}[{self.base} + {place}]"
        )

    def filled(self, value: str) -> list[str]:
        """The lines that set all elements: for numba a loop is much less work than a slice."""
        start = f"o{self.name}"
        return [
            f"{start} = U({self.base})",
            f"for q in range(U({counted(self.size)})):",
            f"    {self.name}[{start} + q] = {value}",
        ]


def counted(size: Any) -> str:
    """How often a loop runs, as code.

    For LLVM no constant, as it would write out loops over few features one by one, for minutes.
    """
    return f"{size}" if "B" in str(size) else f"{size} * one"


def linear(constant: int, batches: int) -> str:
    """``constant + batches * B`` as code."""
    parts = [f"{batches} * B" if batches != 1 else "B"] if batches else []
    return " + ".join([*parts, *([str(constant)] if constant or not parts else [])])


# --- loops -----------------------------------------------------------------------------------------------------------------------


class Loop:
    """A loop nest over one domain: reads, scalar statements and writes.

    Arrays are read at unsigned places, for which numba asks no question about negative ones; a
    slice of each would take several times as long to compile. No two loops of a function share a
    variable, which numba would have to tell apart.

    Attributes
    ----------
    domain : tuple of int or B
        B, if there, stands last.
    count : iterator of int
        The numbers of variables.
    """

    def __init__(self, domain: tuple[Any, ...], count: Iterator[int]) -> None:
        self.domain, self.count = domain, count
        self.streams: dict[tuple[str, str, tuple[tuple[int, int], ...]], str] = {}
        self.lines: list[str] = []
        self.writes: list[tuple[str, str, tuple[tuple[int, int], ...], str, str]] = []
        self.memo: dict[Any, str] = {}
        self.used: set[str] = set()

    def stream(self, store: Store, index: Index) -> tuple[str, str, tuple[tuple[int, int], ...]]:
        """Array, base and the stride of each variable."""
        strides = [(0, 0)] * len(self.domain)
        constant, batches = 0, 0
        for (var, step, offset), (c, b) in zip(index, store.strides, strict=True):
            constant, batches = constant + offset * c, batches + offset * b
            if var is not None:
                strides[var] = (strides[var][0] + step * c, strides[var][1] + step * b)
        if store.wide:
            strides[-1] = (1, 0)
        begin = linear(constant, batches)
        base = (
            store.base
            if begin == "0"
            else begin
            if store.base == "0"
            else f"{store.base} + {begin}"
        )
        return store.name, base, tuple(strides)

    def read(self, store: Store, index: Index) -> str:
        """The variable with an element of a stored value."""
        key = self.stream(store, index)
        if key not in self.streams:
            self.streams[key] = f"v{next(self.count)}"
        return self.streams[key]

    def let(self, text: str, comment: str = "") -> str:
        """A new variable with the value of an expression."""
        name = f"v{next(self.count)}"
        self.lines.append(f"{name} = {text}" + (f"  # {comment}" if comment else ""))
        return name

    def write(
        self, store: Store, index: Index, value: str, how: str = "{v}", zero: str = "F(0.0)"
    ) -> None:
        """Store an element; `how` says what of the new value {v} and of what stands there {a}."""
        if value != ZERO or how == "{v}":
            self.writes.append((*self.stream(store, index), value if value != ZERO else zero, how))

    def text(self, offsets: dict[str, str]) -> list[str]:
        """The loop nest as code.

        What it needs of places that are the same for a whole step stands in `offsets`, with their
        names.

        The longest run of last axes over which every stream is contiguous or constant is one loop.
        """
        if not self.writes:
            return []
        every = [*self.streams, *[w[:3] for w in self.writes]]
        run = 0
        for count in range(1, len(self.domain) + 1):
            if all(_flat(strides, self.domain, count) for _, _, strides in every):
                run = count
        outer = len(self.domain) - max(run, 1) if self.domain else 0
        lines: list[str] = []
        pad = ""
        for k in range(outer):
            lines.append(f"{pad}for i{k} in range({counted(self.domain[k])}):")
            pad += "    "
        inner = self.domain[outer:]
        here: dict[str, str] = {}
        length = linear_product(inner)
        body: list[str] = []

        def at(base: str, strides: tuple[tuple[int, int], ...]) -> str:
            parts = [] if base == "0" else [base]
            parts += [
                f"i{k} * ({linear(*strides[k])})" if strides[k] != (1, 0) else f"i{k}"
                for k in range(outer)
                if strides[k] != (0, 0)
            ]
            return " + ".join(parts) or "0"

        def spot(array: str, base: str, strides: tuple[tuple[int, int], ...], name: str) -> str:
            """An element; where it begins is computed before the loop."""
            kind, text = _kind(strides, inner, outer), at(base, strides)
            known = here if outer else offsets
            if text not in known:
                known[text] = f"o{name}" if outer else f"p{len(offsets)}"
                if outer:
                    lines.append(f"{pad}o{name} = U({text})")
            o = known[text]
            return (
                f"{array}[{o}]"
                if kind == "constant"
                else f"{array}[{o} + q]"
                if kind == "contiguous"
                else f"{array}[{o} + q * U({linear(*strides[-1])})]"
            )

        for (array, base, strides), name in self.streams.items():
            line = f"{name} = {spot(array, base, strides, name)}"
            if _kind(strides, inner, outer) == "constant":
                lines.append(pad + line)
            else:
                body.append(line)
        body += self.lines
        for array, base, strides, value, how in self.writes:
            place = spot(array, base, strides, f"w{next(self.count)}")
            body.append(f"{place} = {how.format(a=place, v=value)}")
        lines.append(f"{pad}for q in range(U({counted(length)})):")
        return [*lines, *(f"{pad}    {line}" for line in body)]


def linear_product(sizes: Iterable[Any]) -> str:
    """The product of sizes, as code."""
    sizes = list(sizes)
    constant = math.prod(n for n in sizes if n != B)
    return (f"{constant} * B" if constant != 1 else "B") if B in sizes else str(constant)


def _flat(strides: tuple[tuple[int, int], ...], domain: tuple[Any, ...], count: int) -> bool:
    """Whether the last `count` axes can be walked as one: contiguous, or standing still."""
    tail = strides[len(domain) - count :]
    if all(s == (0, 0) for s in tail):
        return True
    expected = (1, 0)
    for s, n in zip(reversed(tail), reversed(domain[len(domain) - count :]), strict=True):
        if s != expected and n != 1:
            return False
        expected = (0, expected[0]) if n == B else (expected[0] * n, expected[1] * n)
    return True


def _kind(strides: tuple[tuple[int, int], ...], inner: tuple[Any, ...], outer: int) -> str:
    tail = strides[outer:]
    if all(s == (0, 0) for s in tail):
        return "constant"
    return "contiguous" if _flat(strides, (*[1] * outer, *inner), len(inner)) else "strided"


# --- a program of stored values ------------------------------------------------------------------------------------------------


_Walk = Generator[tuple[Op, Index], Any, str]


class Block:
    """What loops are made of: where values are, and how others are computed from them.

    Attributes
    ----------
    stores : dict of Op to Store
        Every value that is stored, or will be.
    ready : set of Op
        Those that can be read now.
    recorded : container of Op
        The user's own operations, in which even a zero that is added counts: it makes 0 of -0.
    costly : dict of Op to set
        In which loops an expensive operation was written out.
    once : callable
        Where a value stands that is computed before the loop over time; given it, and whether it is
        to be repeated for each row.
    visits : int
        How many operations were looked at so far, all walks together: tests hold that it grows with
        the number of operations, not of paths.
    """

    def __init__(
        self,
        stores: dict[Op, Store],
        base: np.dtype[Any],
        recorded: Container[Op],
        once: Callable[[Op, bool], Store],
    ) -> None:
        self.stores, self.base, self.recorded, self.once = stores, base, recorded, once
        self.ready: set[Op] = set()
        self.costly: dict[Op, set[Loop]] = {}
        # for a domain what is known to read from one place
        self.uncut: dict[tuple[Any, ...], set[tuple[Op, Index]]] = {}
        self.visits = 0

    def value(self, loop: Loop, op: Op, index: Index, top: bool = False) -> str:
        """A variable with an element of a value, read or computed in the loop."""
        # each waits for the next: chains may be longer than Python's stack
        walks: list[_Walk] = [self._value(loop, op, index, top)]
        found: str | None = None
        while walks:
            try:
                source, place = walks[-1].send(found)
            except StopIteration as done:
                walks.pop()
                found = done.value
            else:
                walks.append(self._value(loop, source, place))
                found = None
        assert found is not None
        return found

    def _value(self, loop: Loop, op: Op, index: Index, top: bool = False) -> _Walk:
        """`value`, which yields what it needs first: values and where they are read.

        Each is answered with its variable.
        """
        if 1 in op.shape:
            index = tuple(
                (None, 1, 0) if n == 1 else p for p, n in zip(index, op.shape, strict=True)
            )
        key = (op, index)
        if key in loop.memo:
            return loop.memo[key]
        self.visits += 1
        if op in self.ready and not top:
            found = loop.read(self.stores[op], index)
        elif is_zero(op):
            found = ZERO
        elif constant(op):
            wide = bool(loop.domain) and loop.domain[-1] == B and op.size > 1
            found = loop.read(self.once(op, wide), index)
        elif op.op == "astype":
            found = self._cast(loop, op, (yield op.inputs[0], index))
        elif op.op in VIEWS and symbolic(op):
            try:
                source, place = view(op, index)
            except Restore as missing:
                if missing.op not in self.ready:
                    raise
                store = self.stores[missing.op]  # in memory the features are in the same order
                found = loop.read(Store(store.name, op, store.base, store.wide), index)
            else:
                found = yield source, place
        elif op.op in PIECES and symbolic(op):
            inside = self._piece(loop, op, index)
            found = ZERO if inside is None else (yield inside.source, inside.place(index))
        elif op.elementwise:
            texts = []
            for i in op.inputs:
                if isinstance(i, Op):
                    lead = len(op.shape) - len(i.shape)
                    i = yield (
                        i,
                        tuple(
                            (None, 1, 0) if n == 1 else p
                            for p, n in zip(index[lead:], i.shape, strict=True)
                        ),
                    )
                texts.append(i)
            found = self._elementwise(loop, op, texts)
        else:
            raise Restore(op)
        loop.memo[key] = found
        return found

    def _elementwise(self, loop: Loop, op: Op, texts: list[Any]) -> str:
        """An operation on variables (and numbers)."""
        # gradients of parts: others have none
        if op not in self.recorded and op.op in ("add", "subtract") and op.dtype.kind == "f":
            if texts[1] == ZERO:
                return str(texts[0])
            if op.op == "add" and texts[0] == ZERO:
                return str(texts[1])
        operands = []
        for text, i in zip(texts, op.inputs, strict=True):
            dtype = i.dtype if isinstance(i, Op) else None
            operands.append(
                Operand(
                    text
                    if text != ZERO or dtype is None
                    else literal(0, kind_of(dtype, self.base)),
                    dtype,
                )
            )
        text, called = expression(op, operands, self.base)
        loop.used |= called
        if op.op in COSTLY:
            self.costly.setdefault(op, set()).add(loop)
        return loop.let(text, op.op)

    def _cast(self, loop: Loop, op: Op, value: str) -> str:
        source = op.inputs[0].dtype
        if value == ZERO or op.dtype == source:
            return value
        text, called = converted(value, source, op.dtype, self.base)
        loop.used |= called
        return loop.let(text, "astype")

    def _piece(self, loop: Loop, op: Op, index: Index) -> Piece | None:
        """The piece in which a place lies, throughout the loop; None.

        Between pieces there are zeros.
        """
        for piece in pieces(op):
            touched, inside = True, True
            for (var, step, offset), bound in zip(index, piece.bounds, strict=True):
                if bound is not None:
                    if step != 1 and var is not None:
                        raise Restore(op)
                    last = offset + (loop.domain[var] - 1 if var is not None else 0)
                    touched = touched and offset < bound.stop and last >= bound.start
                    inside = inside and offset >= bound.start and last < bound.stop
            if touched and not inside:  # a loop that was not cut where the piece ends
                raise Restore(op)
            if touched:
                return piece
        return None

    def cuts(
        self, op: Op, index: Index, domain: Sequence[Any], top: bool = False
    ) -> dict[int, set[int]]:
        """Where each variable of the domain of a loop has to be cut, so that each part of it reads from one place."""
        out: dict[int, set[int]] = {}
        uncut = self.uncut.setdefault(tuple(domain), set())
        stack: list[tuple[Any, Index]] = [(op, index)]
        seen: set[tuple[Any, Index]] = set()
        while stack:
            here = op, index = stack.pop()
            if here in seen or here in uncut:
                continue
            first = not seen
            seen.add(here)
            self.visits += 1
            if (op in self.ready and not (top and first)) or is_zero(op) or constant(op):
                continue
            if op.op == "astype":
                stack.append((op.inputs[0], index))
            elif op.op in VIEWS and symbolic(op):
                try:
                    stack.append(view(op, index))
                except Restore as missing:
                    if missing.op not in self.ready:
                        raise
            elif op.op in PIECES and symbolic(op):
                touched = []
                for piece in pieces(op):
                    # of a variable: from where to where it is in the piece
                    ends: list[tuple[int, int, int]] = []
                    there = True
                    for (var, step, offset), bound in zip(index, piece.bounds, strict=True):
                        if bound is not None:
                            if step != 1 and var is not None:
                                raise Restore(op)
                            there = (
                                there
                                and offset < bound.stop
                                and offset + (0 if var is None else domain[var] - 1) >= bound.start
                            )
                            ends += (
                                []
                                if var is None
                                else [(var, bound.start - offset, bound.stop - offset)]
                            )
                    if there:
                        touched.append((piece.source, piece.place(index)))
                        for var, begin, end in ends:
                            out.setdefault(var, set()).update((begin, end))
                stack += reversed(touched)
            elif op.elementwise:
                for i in reversed(op.inputs):
                    if isinstance(i, Op):
                        lead = len(op.shape) - len(i.shape)
                        stack.append(
                            (
                                i,
                                tuple(
                                    (None, 1, 0) if n == 1 else p
                                    for p, n in zip(index[lead:], i.shape, strict=True)
                                ),
                            )
                        )
            else:
                raise Restore(op)
        if not out:
            uncut |= seen
        return out

    def joined(self, op: Op) -> bool:
        """Whether a value is put together of parts.

        By one operation, or as a sum of such values (the gradient of several slices).
        """
        stack: list[Any] = [op]
        seen: set[Op] = set()
        while stack:
            here = stack.pop()
            if here in seen:
                continue
            if not isinstance(here, Op) or here in self.ready:
                return False
            seen.add(here)
            self.visits += 1
            if here.op in ("add", "subtract"):
                stack += here.inputs
            elif not (here.op in PIECES and symbolic(here)):
                return False
        return True

    def parted(self, op: Op) -> list[Op]:
        """The values inside another that are put together of parts.

        Stored by themselves, they do not cut the loop of the other into parts too.
        """
        found: list[Op] = []
        stack = [op]
        seen: set[Op] = set()
        while stack:
            here = stack.pop()
            if here in seen or here in self.ready or not here.varies:
                continue
            seen.add(here)
            self.visits += 1
            if here is not op and self.joined(here):
                found.append(here)
            elif here.elementwise or here.op in (*VIEWS, "astype"):
                stack += [i for i in here.inputs if isinstance(i, Op)]
        return found


def constant(op: Op) -> bool:
    """Whether a value is the same in all steps and rows.

    It is computed once, before the loop over time.
    """
    return not op.varies and op.batch is None


def is_zero(op: Op) -> bool:
    """Whether a value is known to be zero, or has no elements."""
    if 0 in op.shape:
        return True
    if op.op == "constant":
        node = op.node
        # -0 is none
        return (
            isinstance(node, Leaf)
            and node.tensor is None
            and isinstance(node.value, np.ndarray)
            and not any(node.value.tobytes())
        )
    return op.op == "zeros_like" or (op.op == "broadcast_to" and is_zero(op.inputs[0]))


def identity(op: Op) -> tuple[tuple[Any, ...], Index]:
    """The domain of the loop that stores a value, the batch last, and the index of its elements."""
    order = [i for i, n in enumerate(op.shape) if n != B] + (
        [op.batch] if op.batch is not None else []
    )
    index: list[Place] = [(None, 1, 0)] * len(op.shape)
    for var, axis in enumerate(order):
        index[axis] = (var, 1, 0)
    return tuple(op.shape[axis] for axis in order), tuple(index)


def reduced_axes(op: Op) -> tuple[int, ...]:
    """The axes of the input that a reduction removes."""
    return axes_of(op.params.get("axis"), len(op.inputs[0].shape))
