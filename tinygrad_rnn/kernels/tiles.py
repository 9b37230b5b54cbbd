"""Register tiles: the inner loops of matrix products, written as vector instructions.

A tile of the result stays in registers while the loop over the inner dimension runs: at each turn a
few vectors of one factor are loaded, and each number of the other factor is spread over a vector
and multiplied with all of them. A few shapes of tile are enough for recurrent networks:

* `wide`: vectors run along the batch, numbers come from a packed matrix;
* `one_column`: for few columns vectors run along the rows of the packed matrix, numbers come from
  the columns;
* `outer`: the gradient of a matrix, a sum of outer products over steps and batch;
* `transposed`: a square block, transposed.

The functions are intrinsics of numba: they exist only inside jitted code. Addresses are integers in
bytes, all else counts elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .vector_code import INT, VectorCode, vector_bytes

PANEL = 6  # rows of a packed matrix that stand together
AHEAD = 1024  # elements of a packed matrix between what is read and what is asked for


def block_vectors() -> int:
    """Return how many vectors are side by side in a tile.

    6 rows of them fill the registers, of which AVX-512 has 32 and others have 16.
    """
    return 4 if vector_bytes() == 64 else 2


@intrinsic
def pointer(typing_context: Any, address: Any, like: Any) -> Any:
    """Return an address as a pointer to numbers of the kind of `like`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    kind: Any = types.CPointer
    return kind(like)(types.int64, like), generate


def _data(context: Any, builder: Any, kind: Any, given: Any) -> Any:
    """Return the pointer to the first element of a flat array, or a pointer as it is."""
    return (
        given
        if isinstance(kind, types.CPointer)
        else context.make_array(kind)(context, builder, given).data
    )


@intrinsic
def at(typing_context: Any, array: Any, place: Any) -> Any:
    """Return the address in bytes of an element of a flat array, or beyond a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = context.cast(builder, arguments[1], signature.args[1], types.int64)
        return builder.ptrtoint(
            builder.gep(_data(context, builder, array, arguments[0]), [place]), INT
        )

    return types.int64(array, place), generate


@intrinsic
def start(typing_context: Any, array: Any) -> Any:
    """Return a pointer to the first element of a flat array, or a pointer as it is.

    It is one argument of a call, in place of the seven parts of an array.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _data(context, builder, array, arguments[0])

    kind: Any = types.CPointer
    return kind(array.dtype)(array), generate


def _tile(count: int, write: Callable[..., None]) -> Any:
    """Return what makes the intrinsic of `count` integers for numbers of some bits.

    Its code is written by ``write(code, *integers)``.
    """

    def make(bits: int) -> Any:
        def typer(typing_context: Any, *arguments: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
                write(VectorCode(builder, bits), *given)
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
    """Make ``tile(packed, size, values, out, K, B, rows, columns, bias, add)``.

    It computes out[r, b] for PANEL * panels rows and `vectors` vectors along the batch. `size` is
    the number of elements from one packed panel to the next; values are (K, B) and the result
    (rows, B). The sums begin at the numbers of the bias, unless its address is 0.
    """

    def write(code: VectorCode, *integers: Any) -> None:
        packed, size, values, out, K, B, rows, columns, bias, add = integers
        builder = code.builder
        begin = [
            number for number in code.begin(bias, PANEL * panels, rows) for _ in range(vectors)
        ]
        last = code.first_lanes(builder.sub(columns, code.constant((vectors - 1) * code.lanes)))

        def turn(k: Any, sums: list[Any]) -> list[Any]:
            loaded = code.load_row(values, builder.mul(k, B), vectors, last)
            place = builder.mul(k, code.constant(PANEL))
            # The matrix may come from far: a page ahead, since the processor stops at its end.
            for q in range(panels):
                panel = builder.add(place, builder.mul(size, code.constant(q)))
                code.prefetch(packed, builder.add(panel, code.constant(AHEAD)))
            for r in range(PANEL * panels):
                panel = builder.add(place, builder.mul(size, code.constant(r // PANEL)))
                number = code.spread(packed, builder.add(panel, code.constant(r % PANEL)))
                for c in range(vectors):
                    at = r * vectors + c
                    sums[at] = code.multiply_add(number, loaded[c], sums[at])
            return sums

        code.put(code.loop(K, begin, turn), vectors, out, B, rows, columns, add)

    return _tile(10, write)(bits)


def one_column(vectors: int, bits: int) -> Any:
    """Make ``tile(packed, values, out, K, B, rows, bias, add)``.

    It computes out[r, 0] for `vectors` vectors along the rows, which is one column of values (K, B)
    and of the result (rows, B).
    """
    turns = max(1, 8 // vectors)  # so many sums beside each other hide the time of an addition

    def write(code: VectorCode, *integers: Any) -> None:
        packed, values, out, K, B, rows, bias, add = integers
        builder = code.builder

        def add_up(k: Any, sums: list[Any], which: int) -> None:
            start = builder.mul(k, code.constant(vectors * code.lanes))
            number = code.spread(values, builder.mul(k, B))
            for v in range(vectors):
                loaded = code.load(packed, builder.add(start, code.constant(v * code.lanes)))
                at = which * vectors + v
                sums[at] = code.multiply_add(number, loaded, sums[at])

        def turn(k: Any, sums: list[Any]) -> list[Any]:
            for which in range(turns):
                here = builder.add(builder.mul(k, code.constant(turns)), code.constant(which))
                add_up(here, sums, which)
            return sums

        def rest(k: Any, sums: list[Any]) -> list[Any]:
            add_up(builder.add(done, k), sums, 0)
            return sums

        given = builder.icmp_signed("!=", bias, code.constant(0))
        there = builder.select(given, rows, code.constant(0))
        # Even a load of no lanes takes long from an address that is not there.
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
                code.put(sums[:vectors], vectors, out, B, code.constant(1), rows, add)
            with among:
                code.put_column(sums[:vectors], out, B, rows, add)

    return _tile(8, write)(bits)


def outer(vectors: int, bits: int) -> Any:
    """Make ``tile(left, right, out, S, B, left_step, right_step, N, rows, columns)``.

    It computes out[m, n] += left[s, m, b] right[s, b, n], summed over s and b. left has B elements
    from one row m to the next and `left_step` from one step to the next; right has N from one b to
    the next.
    """

    def write(code: VectorCode, *integers: Any) -> None:
        left, right, out, S, B, left_step, right_step, N, rows, columns = integers
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
                loaded = code.load_row(right, start, vectors, masked)
                for r in range(PANEL):
                    number = code.spread(left, builder.add(builder.add(from_left, starts[r]), b))
                    for c in range(vectors):
                        at = r * vectors + c
                        sums[at] = code.multiply_add(number, loaded[c], sums[at])
                return sums

            return code.loop(B, sums, turn)

        sums = code.loop(S, [code.zero] * (PANEL * vectors), step)
        code.put(sums, vectors, out, N, rows, columns, code.constant(1))

    return _tile(10, write)(bits)


def transposed(bits: int) -> Any:
    """Make ``tile(source, out, from_row, to_row, rows, columns)``.

    It computes out[c, r] = source[r, c] for a block with at most one vector of rows and of columns.
    `from_row` and `to_row` are the elements from one row of source, and of the result, to the next.
    """

    def write(code: VectorCode, *integers: Any) -> None:
        source, out, from_row, to_row, rows, columns = integers
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
