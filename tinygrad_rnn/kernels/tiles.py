"""Register tiles: the inner loops of matrix products, written as vector instructions.

A tile of the result stays in registers while the loop over the inner dimension runs: at each turn a
few vectors of one factor are loaded, and each number of the other factor is spread over a vector
and multiplied with all of them. A few shapes of tile are enough for recurrent networks:

* `wide`: vectors run along the batch, numbers come from a packed matrix;
* `narrow`: for few columns vectors run along the rows of the packed matrix, numbers come from the
  columns;
* `outer`: the gradient of a matrix, a sum of outer products over steps and batch;
* `turned`: a square block, transposed.

The functions are intrinsics of numba: they exist only inside jitted code. Addresses are integers in
bytes, all else counts elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

from .scalar import _prefer_wide_vectors

_INT = ir.IntType(64)
PANEL = 6  # rows of a packed matrix that stand together
AHEAD = 1024  # elements of a packed matrix between what is read and what is asked for


def vector_bytes() -> int:
    """The length of the vectors of the processor that numba compiles for."""
    asked: str | None = getattr(config, "CPU_FEATURES", None)
    features = {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}
    if asked is not None:
        features = {name.removeprefix("+") for name in asked.split(",") if name.startswith("+")}
    return 64 if "avx512f" in features else 32 if "avx" in features else 16


def block_vectors() -> int:
    """How many vectors are side by side in a tile.

    6 rows of them fill the registers, of which AVX-512 has 32 and others have 16.
    """
    return 4 if vector_bytes() == 64 else 2


class _Code:
    """The instructions that tiles are made of, for vectors of one kind of number."""

    def __init__(self, builder: Any, bits: int) -> None:
        _prefer_wide_vectors(builder)
        self.builder = builder
        self.number: Any = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.bytes = bits // 8
        self.lanes = vector_bytes() // self.bytes
        self.vector = ir.VectorType(self.number, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def constant(self, value: int) -> Any:
        return ir.Constant(_INT, value)

    def at(self, address: Any, elements: Any, type_: Any) -> Any:
        """A pointer: an address in bytes and a number of elements further."""
        elements = self.constant(elements) if isinstance(elements, int) else elements
        place = self.builder.add(address, self.builder.mul(elements, self.constant(self.bytes)))
        return self.builder.inttoptr(place, type_.as_pointer())

    def function(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        module = self.builder.module
        found = module.globals.get(name)
        return (
            ir.Function(module, ir.FunctionType(result, arguments), name)
            if found is None
            else found
        )

    def load(self, address: Any, elements: Any, mask: Any = None) -> Any:
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

    def store(self, value: Any, address: Any, elements: Any, mask: Any) -> None:
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
        """One number in all lanes."""
        number = self.builder.load(self.at(address, elements, self.number))
        return self.everywhere(number, self.vector)

    def begin(self, bias: Any, count: int, rows: Any) -> list[Any]:
        """For each of `count` rows its number of the bias in all lanes, or 0 if the bias has the address 0; beyond `rows` any number."""
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
        address = builder.select(there, bias, builder.ptrtoint(zero, _INT))
        last = builder.select(there, builder.sub(rows, self.constant(1)), self.constant(0))
        places = [
            builder.select(builder.icmp_signed("<", self.constant(r), last), self.constant(r), last)
            for r in range(count)
        ]
        return [self.spread(address, place) for place in places]

    def everywhere(self, value: Any, type_: Any) -> Any:
        first = self.builder.insert_element(
            ir.Constant(type_, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
        )
        order = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, ir.Constant(type_, ir.Undefined), order)

    def first_lanes(self, count: Any) -> Any:
        """A mask of so many lanes; of all or none if the count is larger or negative."""
        numbers = ir.VectorType(_INT, self.lanes)
        return self.builder.icmp_signed(
            "<", ir.Constant(numbers, list(range(self.lanes))), self.everywhere(count, numbers)
        )

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        name = f"llvm.fma.v{self.lanes}f{8 * self.bytes}"
        return self.builder.call(self.function(name, self.vector, [self.vector] * 3), [a, b, c])

    def loop(
        self, count: Any, carried: list[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """``for k in range(count): carried = body(k, carried)``; the values afterwards."""
        builder = self.builder
        before = builder.block
        head, inside, after = (
            builder.append_basic_block(f"tile.{name}") for name in ("head", "body", "end")
        )
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(_INT)
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
        self, sums: list[list[Any]], out: Any, stride: Any, rows: Any, columns: Any, add: Any
    ) -> None:
        """Store a tile, or add it to what is there.

        So many of its rows, and of each so many elements.
        """
        builder = self.builder
        adding = builder.icmp_signed("!=", add, self.constant(0))
        adding = self.everywhere(adding, self.mask)
        for r, row in enumerate(sums):
            with builder.if_then(builder.icmp_signed("<", self.constant(r), rows)):
                start = builder.mul(self.constant(r), stride)
                for c, value in enumerate(row):
                    place = builder.add(start, self.constant(c * self.lanes))
                    mask = self.first_lanes(builder.sub(columns, self.constant(c * self.lanes)))
                    old = self.load(out, place, builder.and_(mask, adding))
                    self.store(builder.fadd(old, value), out, place, mask)

    def put_column(self, values: list[Any], out: Any, stride: Any, rows: Any, add: Any) -> None:
        """Store vectors, or add them to what is there, with a stride from one element to the next."""
        builder = self.builder
        numbers, pointers = (
            ir.VectorType(_INT, self.lanes),
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


@intrinsic
def pointer(typing_context: Any, address: Any, like: Any) -> Any:
    """An address as a pointer to numbers of one kind."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    kind: Any = types.CPointer
    return kind(like)(types.int64, like), generate


def _data(context: Any, builder: Any, kind: Any, given: Any) -> Any:
    """The pointer to the first element of a flat array, or a pointer."""
    return (
        given
        if isinstance(kind, types.CPointer)
        else context.make_array(kind)(context, builder, given).data
    )


@intrinsic
def at(typing_context: Any, array: Any, place: Any) -> Any:
    """The address in bytes of an element of a flat array, or of what a pointer points to."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = context.cast(builder, arguments[1], signature.args[1], types.int64)
        return builder.ptrtoint(
            builder.gep(_data(context, builder, array, arguments[0]), [place]), _INT
        )

    return types.int64(array, place), generate


@intrinsic
def start(typing_context: Any, array: Any) -> Any:
    """A pointer to the first element of a flat array.

    One argument of a call in place of the seven parts of an array; a pointer as it is.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _data(context, builder, array, arguments[0])

    kind: Any = types.CPointer
    return kind(array.dtype)(array), generate


def _tile(count: int, write: Callable[..., None]) -> Any:
    """An intrinsic of `count` integers; its code is written by ``write(code, *integers)``."""

    def make(bits: int) -> Any:
        def typer(typing_context: Any, *arguments: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
                write(_Code(builder, bits), *given)
                return context.get_dummy_value()

            return types.void(*[types.int64] * count), generate

        names = [f"a{k}" for k in range(count)]
        scope: dict[str, Any] = {"typer": typer}
        # numba reads the signature
        exec(
            f"def tile(typing_context, {', '.join(names)}):\n    return typer(typing_context, {', '.join(names)})",
            scope,
        )
        return intrinsic(scope["tile"])

    return make


def wide(panels: int, vectors: int, bits: int) -> Any:
    """``tile(packed, size, values, out, K, B, rows, columns, bias, add)``.

    Out[r, b] of PANEL * panels rows and `vectors` vectors along the batch.

    `size` is the number of elements from one packed panel to the next; values are (K, B) and the
    result (rows, B). The sums begin at the numbers of the bias, unless its address is 0.
    """

    def write(
        code: _Code,
        packed: Any,
        size: Any,
        values: Any,
        out: Any,
        K: Any,
        B: Any,
        rows: Any,
        columns: Any,
        bias: Any,
        add: Any,
    ) -> None:
        builder = code.builder
        begin = [
            number for number in code.begin(bias, PANEL * panels, rows) for _ in range(vectors)
        ]
        last = code.first_lanes(builder.sub(columns, code.constant((vectors - 1) * code.lanes)))

        def turn(k: Any, sums: list[Any]) -> list[Any]:
            start = builder.mul(k, B)
            loaded = [
                code.load(
                    values,
                    builder.add(start, code.constant(c * code.lanes)),
                    last if c == vectors - 1 else None,
                )
                for c in range(vectors)
            ]
            place = builder.mul(k, code.constant(PANEL))
            # the matrix may come from far: a page ahead, since the processor stops at its end
            for q in range(panels):
                code.prefetch(
                    packed,
                    builder.add(
                        builder.add(place, builder.mul(size, code.constant(q))),
                        code.constant(AHEAD),
                    ),
                )
            for r in range(PANEL * panels):
                where = builder.add(
                    builder.add(place, builder.mul(size, code.constant(r // PANEL))),
                    code.constant(r % PANEL),
                )
                number = code.spread(packed, where)
                for c in range(vectors):
                    sums[r * vectors + c] = code.multiply_add(
                        number, loaded[c], sums[r * vectors + c]
                    )
            return sums

        sums = code.loop(K, begin, turn)
        code.put(
            [sums[r * vectors : (r + 1) * vectors] for r in range(PANEL * panels)],
            out,
            B,
            rows,
            columns,
            add,
        )

    return _tile(10, write)(bits)


def narrow(vectors: int, bits: int) -> Any:
    """``tile(packed, values, out, K, B, rows, bias, add)``.

    Out[r, 0] of `vectors` vectors along the rows.

    Of values (K, B) and of the result (rows, B) this is one column.
    """
    turns = max(1, 8 // vectors)  # so many sums beside each other hide the time of an addition

    def write(
        code: _Code,
        packed: Any,
        values: Any,
        out: Any,
        K: Any,
        B: Any,
        rows: Any,
        bias: Any,
        add: Any,
    ) -> None:
        builder = code.builder

        def add_up(k: Any, sums: list[Any], which: int) -> None:
            start = builder.mul(k, code.constant(vectors * code.lanes))
            number = code.spread(values, builder.mul(k, B))
            for v in range(vectors):
                loaded = code.load(packed, builder.add(start, code.constant(v * code.lanes)))
                sums[which * vectors + v] = code.multiply_add(
                    number, loaded, sums[which * vectors + v]
                )

        def turn(k: Any, sums: list[Any]) -> list[Any]:
            for which in range(turns):
                add_up(
                    builder.add(builder.mul(k, code.constant(turns)), code.constant(which)),
                    sums,
                    which,
                )
            return sums

        def rest(k: Any, sums: list[Any]) -> list[Any]:
            add_up(builder.add(done, k), sums, 0)
            return sums

        given = builder.icmp_signed("!=", bias, code.constant(0))
        there = builder.select(given, rows, code.constant(0))
        # of an address that is not there, even a load of no lanes takes long
        bias = builder.select(given, bias, out)
        begin = [
            code.load(
                bias,
                v * code.lanes,
                code.first_lanes(builder.sub(there, code.constant(v * code.lanes))),
            )
            for v in range(vectors)
        ]
        full = builder.sdiv(K, code.constant(turns))
        done = builder.mul(full, code.constant(turns))
        sums = code.loop(full, begin + [code.zero] * (vectors * (turns - 1)), turn)
        sums = code.loop(builder.sub(K, done), sums, rest)
        for which in range(1, turns):
            sums[:vectors] = [
                builder.fadd(a, b)
                for a, b in zip(sums[:vectors], sums[which * vectors :], strict=False)
            ]
        with builder.if_else(builder.icmp_signed("==", B, code.constant(1))) as (alone, among):
            with alone:
                code.put([sums[:vectors]], out, B, code.constant(1), rows, add)
            with among:
                code.put_column(sums[:vectors], out, B, rows, add)

    return _tile(8, write)(bits)


def outer(vectors: int, bits: int) -> Any:
    """``tile(left, right, out, S, B, left_step, right_step, N, rows, columns)``.

    Out[m, n] += left[s, m, b] right[s, b, n], summed over s and b.

    left has B elements from one row m to the next and `left_step` from one step to the next; right
    has N from one b to the next.
    """

    def write(
        code: _Code,
        left: Any,
        right: Any,
        out: Any,
        S: Any,
        B: Any,
        left_step: Any,
        right_step: Any,
        N: Any,
        rows: Any,
        columns: Any,
    ) -> None:
        builder = code.builder
        masked = code.first_lanes(builder.sub(columns, code.constant((vectors - 1) * code.lanes)))
        last = builder.sub(rows, code.constant(1))
        starts = []  # a row beyond the last is the last once more, and is not stored
        for r in range(PANEL):
            row = builder.select(
                builder.icmp_signed("<", code.constant(r), rows), code.constant(r), last
            )
            starts.append(builder.mul(row, B))
            for c in range(vectors):  # where the sums are added in the end
                code.prefetch(out, builder.add(builder.mul(row, N), code.constant(c * code.lanes)))

        def step(s: Any, sums: list[Any]) -> list[Any]:
            from_left, from_right = builder.mul(s, left_step), builder.mul(s, right_step)
            for start in starts:
                code.prefetch(left, builder.add(builder.add(from_left, left_step), start))

            def turn(b: Any, sums: list[Any]) -> list[Any]:
                start = builder.add(from_right, builder.mul(b, N))
                loaded = [
                    code.load(
                        right,
                        builder.add(start, code.constant(c * code.lanes)),
                        masked if c == vectors - 1 else None,
                    )
                    for c in range(vectors)
                ]
                for r in range(PANEL):
                    number = code.spread(left, builder.add(builder.add(from_left, starts[r]), b))
                    for c in range(vectors):
                        sums[r * vectors + c] = code.multiply_add(
                            number, loaded[c], sums[r * vectors + c]
                        )
                return sums

            return code.loop(B, sums, turn)

        sums = code.loop(S, [code.zero] * (PANEL * vectors), step)
        code.put(
            [sums[r * vectors : (r + 1) * vectors] for r in range(PANEL)],
            out,
            N,
            rows,
            columns,
            code.constant(1),
        )

    return _tile(10, write)(bits)


def turned(bits: int) -> Any:
    """``tile(source, out, from_row, to_row, rows, columns)``.

    Out[c, r] = source[r, c] of a block with at most one vector of rows and of columns.

    `from_row` and `to_row` are the elements from one row of source, and of the result, to the next.
    """

    def write(
        code: _Code, source: Any, out: Any, from_row: Any, to_row: Any, rows: Any, columns: Any
    ) -> None:
        builder, lanes = code.builder, code.lanes
        order = ir.VectorType(ir.IntType(32), lanes)
        low = ir.Constant(order, [k // 2 + (k % 2) * lanes for k in range(lanes)])
        high = ir.Constant(order, [k // 2 + lanes // 2 + (k % 2) * lanes for k in range(lanes)])
        last, mask = builder.sub(rows, code.constant(1)), code.first_lanes(columns)
        block = []
        for r in range(lanes):
            row = builder.select(
                builder.icmp_signed("<", code.constant(r), rows), code.constant(r), last
            )
            block.append(code.load(source, builder.mul(row, from_row), mask))
        for _ in range(lanes.bit_length() - 1):  # each time the rows of both halves interleave
            pairs = list(zip(block[: lanes // 2], block[lanes // 2 :], strict=True))
            block = [builder.shuffle_vector(a, b, part) for a, b in pairs for part in (low, high)]
        mask = code.first_lanes(rows)
        for c, row in enumerate(block):
            with builder.if_then(builder.icmp_signed("<", code.constant(c), columns)):
                code.store(row, out, builder.mul(code.constant(c), to_row), mask)

    return _tile(6, write)(bits)
