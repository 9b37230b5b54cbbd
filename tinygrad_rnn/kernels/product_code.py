"""Matrix products of recurrent networks, as machine code that generated modules call by name.

The text of this file is compiled once for each kind of number by `products`, with BITS set; it is
not imported. Values of a batch are laid out (features, batch), and addresses are integers in bytes,
see `tiles`.
"""
# mypy: ignore-errors

import numpy as np
from numba import carray, cfunc, njit, types

from tinygrad_rnn.kernels import tiles, vector_code
from tinygrad_rnn.kernels.tiles import pointer

BITS = 32
SIZE = BITS // 8
LANES = vector_code.vector_bytes() // SIZE
PANEL = tiles.PANEL
BLOCK = tiles.block_vectors()
WIDTH = BLOCK * LANES
ZERO = np.float32(0) if BITS == 32 else np.float64(0)
INT = types.int64
options = {"nogil": True, "error_model": "numpy", "cache": True}

TALL = BLOCK  # panels in a tile of one vector
wide_1_1, wide_tall_1 = tiles.wide(1, 1, BITS), tiles.wide(TALL, 1, BITS)
wide_1_2, wide_2_2 = tiles.wide(1, 2, BITS), tiles.wide(2, 2, BITS)
wide_1_3, wide_1_4 = tiles.wide(1, 3, BITS), tiles.wide(1, 4, BITS)
narrow_1, narrow_2, narrow_3, narrow_4 = (
    tiles.one_column(1, BITS),
    tiles.one_column(2, BITS),
    tiles.one_column(3, BITS),
    tiles.one_column(4, BITS),
)
turned = tiles.transposed(BITS)
outer_1, outer_2, outer_3, outer_4 = (
    tiles.outer(1, BITS),
    tiles.outer(2, BITS),
    tiles.outer(3, BITS),
    tiles.outer(4, BITS),
)


@njit(types.void(INT, INT, INT, INT, INT, INT, INT), **options)
def packed_once(matrix, N, K, row, column, B, packed):
    """A matrix (N, K), with these strides, in the order in which `multiply` reads it for a batch of B."""
    source = carray(pointer(matrix, ZERO), (N * K,))
    out = carray(pointer(packed, ZERO), ((N + 16) * K,))
    height = PANEL if 2 * B >= LANES else WIDTH
    place = 0
    for begin in range(0, N, height):
        rows = min(height, N - begin)
        whole = PANEL if height == PANEL else (rows + LANES - 1) // LANES * LANES
        if row == 1:
            for k in range(K):
                for r in range(rows):
                    out[place + k * whole + r] = source[begin + r + k * column]
        else:
            for r in range(rows):
                for k in range(K):
                    out[place + k * whole + r] = source[(begin + r) * row + k * column]
        for r in range(rows, whole):
            for k in range(K):
                out[place + k * whole + r] = 0.0
        place += whole * K


@cfunc(types.void(INT, INT, INT, INT, INT, INT, INT), **options)
def pack(matrix, N, K, row, column, B, packed):
    """`packed_once`, for callers outside."""
    packed_once(matrix, N, K, row, column, B, packed)


@cfunc(types.void(INT, INT, INT, INT, INT, INT, INT, INT, INT, INT), **options)
def pack_slices(matrix, N, K, row, column, B, packed, slices, matrix_step, packed_step):
    """`pack` for several matrices, which are so many elements apart."""
    for k in range(slices):
        to = packed + k * packed_step * SIZE
        packed_once(matrix + k * matrix_step * SIZE, N, K, row, column, B, to)


@njit(types.void(INT, INT, INT, INT, INT, INT, INT, INT), **options)
def product(packed, values, out, K, N, B, bias, add):
    """out (N, B) = or += matrix (N, K) @ values (K, B) + bias (N,), if its address is not 0."""
    if 2 * B >= LANES:
        panels = (N + PANEL - 1) // PANEL
        size = PANEL * K
        for first in range(0, B, WIDTH):
            columns = min(B - first, WIDTH)
            vectors = (columns + LANES - 1) // LANES
            v = values + first * SIZE
            q = 0
            while q < panels:
                p = packed + q * size * SIZE
                o = out + (q * PANEL * B + first) * SIZE
                b = bias + q * PANEL * SIZE if bias else 0
                rows = N - q * PANEL
                if BLOCK == 4 and vectors == 4:
                    wide_1_4(p, size, v, o, K, B, rows, columns, b, add)
                    q += 1
                elif BLOCK == 4 and vectors == 3:
                    wide_1_3(p, size, v, o, K, B, rows, columns, b, add)
                    q += 1
                elif BLOCK == 4 and vectors == 2 and q + 2 <= panels:
                    wide_2_2(p, size, v, o, K, B, rows, columns, b, add)
                    q += 2
                elif vectors == 2:
                    wide_1_2(p, size, v, o, K, B, rows, columns, b, add)
                    q += 1
                elif q + TALL <= panels:
                    wide_tall_1(p, size, v, o, K, B, rows, columns, b, add)
                    q += TALL
                else:
                    wide_1_1(p, size, v, o, K, B, rows, columns, b, add)
                    q += 1
        return
    for column in range(B):
        p = packed
        for begin in range(0, N, WIDTH):
            rows = min(N - begin, WIDTH)
            vectors = (rows + LANES - 1) // LANES
            v = values + column * SIZE
            o = out + (begin * B + column) * SIZE
            b = bias + begin * SIZE if bias else 0
            if vectors == 4:
                narrow_4(p, v, o, K, B, rows, b, add)
            elif vectors == 3:
                narrow_3(p, v, o, K, B, rows, b, add)
            elif vectors == 2:
                narrow_2(p, v, o, K, B, rows, b, add)
            else:
                narrow_1(p, v, o, K, B, rows, b, add)
            p += vectors * LANES * K * SIZE


@cfunc(types.void(INT, INT, INT, INT, INT, INT, INT, INT), **options)
def multiply(packed, values, out, K, N, B, bias, add):
    """`product`, for callers outside."""
    product(packed, values, out, K, N, B, bias, add)


@cfunc(types.void(INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT), **options)
def multiply_slices(
    packed, values, out, K, N, B, bias, add, slices, packed_step, values_step, out_step, bias_step
):
    """`multiply` for several slices of its operands, which are so many elements apart."""
    for k in range(slices):
        p, v, o = packed_step * k, values_step * k, out_step * k
        b = bias + bias_step * k * SIZE if bias else 0
        product(packed + p * SIZE, values + v * SIZE, out + o * SIZE, K, N, B, b, add)


@njit(types.void(INT, INT, INT, INT, INT, INT, INT, INT, INT), **options)
def turn(source, out, steps, rows, columns, from_step, from_row, to_step, to_row):
    """out[s, c, r] = source[s, r, c], with these strides."""
    for s in range(steps):
        for r in range(0, rows, LANES):
            for c in range(0, columns, LANES):
                start, end = s * from_step + r * from_row + c, s * to_step + c * to_row + r
                turned(
                    source + start * SIZE,
                    out + end * SIZE,
                    from_row,
                    to_row,
                    min(rows - r, LANES),
                    min(columns - c, LANES),
                )


@cfunc(types.void(INT, INT, INT, INT, INT, INT, INT, INT, INT), **options)
def transpose(source, out, steps, rows, columns, from_step, from_row, to_step, to_row):
    """`turn`, for callers outside."""
    turn(source, out, steps, rows, columns, from_step, from_row, to_step, to_row)


@njit(types.void(INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT), **options)
def over_steps(left, left_step, right, right_step, turned, out, sums, scratch, T, M, N, B, add):
    """out (M, N) = or += the sum over T steps of left (M, B) @ right.T, and sums (M, B) likewise that of left, if its address is not 0.

    right is (N, B) at each step, or with `turned` already (B, N); the steps of both are so many
    elements apart. scratch has room for 512 + B times N elements.
    """
    total = carray(pointer(out, ZERO), (M * N,))
    if not add:
        total[:] = ZERO
    if sums:
        total = carray(pointer(sums, ZERO), (M * B,))
        if not add:
            total[:] = ZERO
    chunk = min(max(min(100000 // N, 512) // B, 1), T)  # steps of which right stays in the cache
    for first in range(0, T, chunk):
        steps = min(T - first, chunk)
        a = left + first * left_step * SIZE
        r = right + first * right_step * SIZE
        step = right_step
        if not turned and B > 1:
            turn(r, scratch, steps, N, B, right_step, B, B * N, N)
            r, step = scratch, B * N
        if sums:
            for s in range(steps):
                values = carray(pointer(a + s * left_step * SIZE, ZERO), (M * B,))
                for k in range(M * B):
                    total[k] += values[k]
        for m in range(0, M, PANEL):
            height = min(M - m, PANEL)
            for n in range(0, N, WIDTH):
                columns = min(N - n, WIDTH)
                vectors = (columns + LANES - 1) // LANES
                p, q, o = a + m * B * SIZE, r + n * SIZE, out + (m * N + n) * SIZE
                if vectors == 4:
                    outer_4(p, q, o, steps, B, left_step, step, N, height, columns)
                elif vectors == 3:
                    outer_3(p, q, o, steps, B, left_step, step, N, height, columns)
                elif vectors == 2:
                    outer_2(p, q, o, steps, B, left_step, step, N, height, columns)
                else:
                    outer_1(p, q, o, steps, B, left_step, step, N, height, columns)


@cfunc(types.void(INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT), **options)
def gradient(left, left_step, right, right_step, turned, out, sums, scratch, T, M, N, B, add):
    """`over_steps`, for callers outside."""
    over_steps(left, left_step, right, right_step, turned, out, sums, scratch, T, M, N, B, add)


@cfunc(types.void(*[INT] * 17), **options)
def gradient_slices(
    left,
    left_step,
    right,
    right_step,
    turned,
    out,
    sums,
    scratch,
    T,
    M,
    N,
    B,
    add,
    slices,
    left_slice,
    right_slice,
    out_slice,
):
    """`gradient` for several slices of both sides, which are so many elements apart."""
    for k in range(slices):
        a, b, o = (
            left + left_slice * k * SIZE,
            right + right_slice * k * SIZE,
            out + out_slice * k * SIZE,
        )
        total = sums + left_slice * k * SIZE if sums else 0
        over_steps(a, left_step, b, right_step, turned, o, total, scratch, T, M, N, B, add)
