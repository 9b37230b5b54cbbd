"""Loops over places along an axis: gathering, adding, writing, running extremes, largest of windows.

The text of this file is compiled once for each kind of number by `places`, with NUMBER set; it is
not imported. Arrays are (before, along, behind): the axis in question in the middle.
"""
# mypy: ignore-errors

import numpy as np
from numba import njit, types

NUMBER = types.float32
WHOLE = types.int64
GIVEN = types.Array(NUMBER, 3, "C", readonly=True)
MADE = types.Array(NUMBER, 3, "C")
PLACES = types.Array(WHOLE, 3, "C", readonly=True)
options = {"nogil": True, "error_model": "numpy", "cache": True}


@njit(types.boolean(GIVEN, PLACES, MADE), **options)
def take(x, places, out):
    """Write the elements at the places; return whether all places are on the axis."""
    n = x.shape[1]
    for a in range(places.shape[0]):
        for j in range(places.shape[1]):
            for b in range(places.shape[2]):
                k = places[a, j, b]
                if k < 0:
                    k += n
                if k < 0 or k >= n:
                    return False
                out[a, j, b] = x[a, k, b]
    return True


@njit(types.boolean(MADE, PLACES, GIVEN), **options)
def add(total, places, values):
    """Add values at the places; return whether all places are on the axis."""
    n = total.shape[1]
    if places.shape[2] == 1 and n:  # a sum at one place after the other stays in a register
        for a in range(places.shape[0]):
            last, found = 0, total[a, 0, 0]
            for j in range(places.shape[1]):
                k = places[a, j, 0]
                if k < 0:
                    k += n
                if k < 0 or k >= n:
                    return False
                if k != last:
                    total[a, last, 0] = found
                    last, found = k, total[a, k, 0]
                found += values[a, j, 0]
            total[a, last, 0] = found
        return True
    for a in range(places.shape[0]):
        for j in range(places.shape[1]):
            for b in range(places.shape[2]):
                k = places[a, j, b]
                if k < 0:
                    k += n
                if k < 0 or k >= n:
                    return False
                total[a, k, b] += values[a, j, b]
    return True


@njit(types.boolean(MADE, PLACES, GIVEN), **options)
def put(total, places, values):
    """Write values at the places, in order; return whether all places are on the axis."""
    n = total.shape[1]
    for a in range(places.shape[0]):
        for j in range(places.shape[1]):
            for b in range(places.shape[2]):
                k = places[a, j, b]
                if k < 0:
                    k += n
                if k < 0 or k >= n:
                    return False
                total[a, k, b] = values[a, j, b]
    return True


@njit(types.void(GIVEN, MADE, types.boolean), **options)
def running(x, out, largest):
    """Write the running maximum or minimum of rows, which lie along the axis in the middle."""
    n = x.shape[1]
    for a in range(x.shape[0]):
        j = 0
        while j < n:
            best = x[a, j, 0] + NUMBER(0.0)  # no -0.0
            out[a, j, 0] = best
            j += 1
            if best != best:  # nan stays
                while j < n:
                    out[a, j, 0] = best
                    j += 1
            elif largest:
                while j < n and x[a, j, 0] <= best:
                    out[a, j, 0] = best
                    j += 1
            else:
                while j < n and x[a, j, 0] >= best:
                    out[a, j, 0] = best
                    j += 1


@njit(types.void(GIVEN, types.Array(WHOLE, 3, "C")), **options)
def holders(out, places):
    """Write for each running extreme at which place it begins."""
    n, behind = out.shape[1], out.shape[2]
    for a in range(out.shape[0]):
        if behind == 1:
            holder = 0
            for j in range(n):
                before = out[a, max(j - 1, 0), 0]
                if before != out[a, j, 0] and before == before:  # after nan nothing begins
                    holder = j
                places[a, j, 0] = holder
            continue
        for b in range(behind):
            places[a, 0, b] = 0
        for j in range(1, n):
            for b in range(behind):
                before = out[a, j - 1, b]
                begins = before != out[a, j, b] and before == before
                places[a, j, b] = j if begins else places[a, j - 1, b]


@njit(types.void(GIVEN, types.UniTuple(WHOLE, 6), types.Array(WHOLE, 3, "C")), **options)
def largest(x, windows, out):
    """Write for each window of (images, rows, columns) where the first of its largest elements is.

    Places count through an image. `windows` are size, stride and dilation, of rows and of columns.
    Of a row of windows the first elements are looked at, then the second ones, and so on: this
    goes through vector registers.
    """
    size, wide, step, across, apart, beside = windows
    columns, count = x.shape[2], out.shape[2]
    best, numbers, part = (
        np.empty(count, NUMBER),
        np.empty(count, np.int32),
        np.empty(count, NUMBER),
    )
    for a in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(count):
                best[j] = x[a, i * step, j * across]
                numbers[j] = 0
            for r in range(size):
                for c in range(wide):
                    number = np.int32(r * apart * columns + c * beside)
                    row = x[a, i * step + r * apart, c * beside :]
                    if across == 2:  # which is usual; LLVM knows a vector instruction for it
                        for j in range(count):
                            part[j] = row[2 * j]
                    else:
                        for j in range(count):
                            part[j] = row[j * across]
                    for j in range(count):
                        ahead = not (part[j] <= best[j]) and best[j] == best[j]
                        best[j] = part[j] if ahead else best[j]
                        numbers[j] = number if ahead else numbers[j]
            for j in range(count):
                out[a, i, j] = i * step * columns + j * across + numbers[j]


@njit(types.void(GIVEN, types.Array(WHOLE, 3, "C")), **options)
def largest_of_parts(x, out):
    """Write for each part of (images, rows, columns) where the first of its largest elements is.

    There are as many parts as places in `out`; they count through an image.
    """
    images, rows, columns = x.shape
    down, across = out.shape[1], out.shape[2]
    for a in range(images):
        for i in range(down):
            top, bottom = i * rows // down, -(-(i + 1) * rows // down)
            for j in range(across):
                left, right = j * columns // across, -(-(j + 1) * columns // across)
                best, place = x[a, top, left], top * columns + left
                for r in range(top, bottom):
                    c = left
                    while c < right and best == best:
                        while c < right and x[a, r, c] <= best:  # mostly so: a loop of its own
                            c += 1
                        if c < right:
                            best, place = x[a, r, c], r * columns + c
                out[a, i, j] = place
