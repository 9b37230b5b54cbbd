"""Vector instructions from which the register tiles are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import config

from .scalar import declared, prefer_wide_vectors

INT = ir.IntType(64)


def vector_bytes() -> int:
    """Return the length of the vectors of the processor that numba compiles for, in bytes."""
    asked: str | None = getattr(config, "CPU_FEATURES", None)
    features = {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}
    if asked is not None:
        features = {name.removeprefix("+") for name in asked.split(",") if name.startswith("+")}
    return 64 if "avx512f" in features else 32 if "avx" in features else 16


class VectorCode:
    """The instructions that tiles are made of, for vectors of one kind of number.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where the instructions go.
    bits : int
        32 or 64: the kind of number.

    Attributes
    ----------
    number, vector, mask
        The LLVM types of a number, of a vector, and of a condition for each lane.
    bytes, lanes : int
        The size of a number, and how many of them are in a vector.
    zero
        A vector of zeros.
    """

    def __init__(self, builder: Any, bits: int) -> None:
        prefer_wide_vectors(builder)
        self.builder = builder
        self.number: Any = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.bytes = bits // 8
        self.lanes = vector_bytes() // self.bytes
        self.vector = ir.VectorType(self.number, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def constant(self, value: int) -> Any:
        """Return an integer as an LLVM value."""
        return ir.Constant(INT, value)

    def at(self, address: Any, elements: Any, type_: Any) -> Any:
        """Return the pointer to what stands some elements beyond an address in bytes."""
        elements = self.constant(elements) if isinstance(elements, int) else elements
        place = self.builder.add(address, self.builder.mul(elements, self.constant(self.bytes)))
        return self.builder.inttoptr(place, type_.as_pointer())

    def function(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        """Return a function of LLVM's by its name, declared in this module."""
        return declared(self.builder.module, name, result, *arguments)

    def load(self, address: Any, elements: Any, mask: Any = None) -> Any:
        """Load a vector; lanes outside of the mask are 0, and their memory is not read."""
        pointer = self.at(address, elements, self.vector)
        if mask is None:
            return self.builder.load(pointer, align=self.bytes)
        name = f"llvm.masked.load.v{self.lanes}f{8 * self.bytes}.p0"
        load = self.function(
            name, self.vector, [pointer.type, ir.IntType(32), self.mask, self.vector]
        )
        return self.builder.call(
            load, [pointer, ir.Constant(ir.IntType(32), self.bytes), mask, self.zero]
        )

    def load_row(self, address: Any, start: Any, vectors: int, last: Any) -> list[Any]:
        """Load vectors side by side, the last of them under a mask."""
        return [
            self.load(
                address,
                self.builder.add(start, self.constant(c * self.lanes)),
                last if c == vectors - 1 else None,
            )
            for c in range(vectors)
        ]

    def store(self, value: Any, address: Any, elements: Any, mask: Any) -> None:
        """Store the lanes of a vector that a mask has."""
        pointer = self.at(address, elements, self.vector)
        name = f"llvm.masked.store.v{self.lanes}f{8 * self.bytes}.p0"
        store = self.function(
            name, ir.VoidType(), [self.vector, pointer.type, ir.IntType(32), self.mask]
        )
        self.builder.call(store, [value, pointer, ir.Constant(ir.IntType(32), self.bytes), mask])

    def prefetch(self, address: Any, elements: Any) -> None:
        """Ask for the cache line of an element, which is read soon."""
        pointer = self.at(address, elements, ir.IntType(8))
        flag = ir.IntType(32)
        function = self.function(
            "llvm.prefetch.p0", ir.VoidType(), [pointer.type, flag, flag, flag]
        )
        self.builder.call(
            function, [pointer, ir.Constant(flag, 0), ir.Constant(flag, 3), ir.Constant(flag, 1)]
        )

    def spread(self, address: Any, elements: Any) -> Any:
        """Load one number into all lanes."""
        number = self.builder.load(self.at(address, elements, self.number))
        return self.everywhere(number, self.vector)

    def begin(self, bias: Any, count: int, rows: Any) -> list[Any]:
        """Return for each of `count` rows its number of the bias in all lanes.

        The numbers are 0 if the bias has the address 0. Beyond `rows` they are any.
        """
        builder = self.builder
        name = f"tinygrad_rnn_zero_{8 * self.bytes}"
        zero = builder.module.globals.get(name)
        if zero is None:
            zero = ir.GlobalVariable(builder.module, self.number, name)
            zero.initializer, zero.global_constant, zero.linkage = (
                ir.Constant(self.number, 0.0),
                True,
                "internal",
            )
        there = builder.icmp_signed("!=", bias, self.constant(0))
        address = builder.select(there, bias, builder.ptrtoint(zero, INT))
        last = builder.select(there, builder.sub(rows, self.constant(1)), self.constant(0))
        places = [
            builder.select(builder.icmp_signed("<", self.constant(r), last), self.constant(r), last)
            for r in range(count)
        ]
        return [self.spread(address, place) for place in places]

    def everywhere(self, value: Any, type_: Any) -> Any:
        """Return a vector with one value in all lanes."""
        first = self.builder.insert_element(
            ir.Constant(type_, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
        )
        order = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, ir.Constant(type_, ir.Undefined), order)

    def first_lanes(self, count: Any) -> Any:
        """Return a mask of the first lanes: of all if the count is larger, of none if negative."""
        numbers = ir.VectorType(INT, self.lanes)
        return self.builder.icmp_signed(
            "<", ir.Constant(numbers, list(range(self.lanes))), self.everywhere(count, numbers)
        )

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c, rounded once."""
        name = f"llvm.fma.v{self.lanes}f{8 * self.bytes}"
        return self.builder.call(self.function(name, self.vector, [self.vector] * 3), [a, b, c])

    def loop(
        self, count: Any, carried: list[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """Write ``for k in range(count): carried = body(k, carried)``, and return the last values."""
        builder = self.builder
        before = builder.block
        head, inside, after = (
            builder.append_basic_block(f"tile.{name}") for name in ("head", "body", "end")
        )
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(INT)
        k.add_incoming(self.constant(0), before)
        values = [builder.phi(value.type) for value in carried]
        for phi, value in zip(values, carried, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", k, count), inside, after)
        builder.position_at_end(inside)
        results = body(k, list(values))
        k.add_incoming(builder.add(k, self.constant(1)), builder.block)
        for phi, value in zip(values, results, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return list(values)

    def put(
        self,
        sums: list[Any],
        vectors: int,
        out: Any,
        stride: Any,
        rows: Any,
        columns: Any,
        add: Any,
    ) -> None:
        """Store a tile, or add it to what is there.

        Parameters
        ----------
        sums : list
            The vectors of the tile, row after row.
        vectors : int
            How many of them are in a row.
        out, stride
            The address of the tile, and the elements from one row to the next.
        rows, columns
            How many rows, and elements of each, are stored.
        add
            Not 0 if they are added to what is there.
        """
        builder = self.builder
        adding = builder.icmp_signed("!=", add, self.constant(0))
        adding = self.everywhere(adding, self.mask)
        for r in range(len(sums) // vectors):
            with builder.if_then(builder.icmp_signed("<", self.constant(r), rows)):
                start = builder.mul(self.constant(r), stride)
                for c, value in enumerate(sums[r * vectors : (r + 1) * vectors]):
                    place = builder.add(start, self.constant(c * self.lanes))
                    mask = self.first_lanes(builder.sub(columns, self.constant(c * self.lanes)))
                    old = self.load(out, place, builder.and_(mask, adding))
                    self.store(builder.fadd(old, value), out, place, mask)

    def put_column(self, values: list[Any], out: Any, stride: Any, rows: Any, add: Any) -> None:
        """Store vectors, or add them to what is there, with `stride` between two elements.

        The arguments are those of `put`.
        """
        builder = self.builder
        numbers, pointers = (
            ir.VectorType(INT, self.lanes),
            ir.VectorType(self.number.as_pointer(), self.lanes),
        )
        adding = self.everywhere(builder.icmp_signed("!=", add, self.constant(0)), self.mask)
        kind = f"v{self.lanes}f{8 * self.bytes}.v{self.lanes}p0"
        scatter = self.function(
            f"llvm.masked.scatter.{kind}",
            ir.VoidType(),
            [self.vector, pointers, ir.IntType(32), self.mask],
        )
        gather = self.function(
            f"llvm.masked.gather.{kind}",
            self.vector,
            [pointers, ir.IntType(32), self.mask, self.vector],
        )
        aligned = ir.Constant(ir.IntType(32), self.bytes)
        for v, value in enumerate(values):
            places = builder.add(
                ir.Constant(numbers, list(range(self.lanes))),
                self.everywhere(self.constant(v * self.lanes), numbers),
            )
            mask = builder.icmp_signed("<", places, self.everywhere(rows, numbers))
            bytes_ = builder.mul(
                places, self.everywhere(builder.mul(stride, self.constant(self.bytes)), numbers)
            )
            where = builder.inttoptr(builder.add(bytes_, self.everywhere(out, numbers)), pointers)
            old = builder.call(gather, [where, aligned, builder.and_(mask, adding), self.zero])
            builder.call(scatter, [builder.fadd(old, value), where, aligned, mask])
