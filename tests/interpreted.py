"""Generated modules as plain Python.

What they compute can be checked in milliseconds, where compiling them takes seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.compiler import runner, straight, unrolled
from tinygrad_rnn.core.primitive import REGISTRY
from tinygrad_rnn.kernels import places, products, runtime
from tinygrad_rnn.loops import workspace
from tinygrad_rnn.optim.optimizer import Optimizer


class _Dotted:
    """In place of numba.

    What is asked for is itself, and calling it gives a decorator that changes nothing.
    """

    def __getattr__(self, name: str) -> _Dotted:
        return self

    def __call__(self, *args: Any, **options: Any) -> Any:
        return lambda function: function


def _select(condition: Any, a: Any, b: Any) -> Any:
    if not isinstance(condition, (bool, np.bool_)):  # which numba does not take
        raise TypeError(f"expected a boolean condition, got {type(condition).__name__}")
    return a if condition else b


def _scalar(name: str) -> Any:
    if name == "select":
        return _select
    if name == "wide_vectors":
        return lambda: None
    own = {"maximum": np.maximum, "minimum": np.minimum, "absolute": np.abs, "mod": np.mod,
           "plus": np.add, "largest": np.maximum, "smallest": np.minimum,
           "polygamma": lambda x, n: REGISTRY["polygamma"].forward(x, n=int(n))}  # fmt: skip
    return own[name] if name in own else REGISTRY[name].forward


# --- integers, by NumPy's own functions ------------------------------------------------------------


def _wrapping(function: Any) -> Any:
    def found(*values: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*(np.int64(v) for v in values))

    return found


def _whole(low: float, high: float, otherwise: int) -> Any:
    return lambda x: np.int64(x) if low <= float(x) < high else np.int64(otherwise)


INTEGERS = {
    "int_add": _wrapping(np.add),
    "int_subtract": _wrapping(np.subtract),
    "int_multiply": _wrapping(np.multiply),
    "int_negative": _wrapping(np.negative),
    "int_absolute": _wrapping(np.abs),
    "int_sign": _wrapping(np.sign),
    "int_maximum": _wrapping(np.maximum),
    "int_minimum": _wrapping(np.minimum),
    "int_mod": _wrapping(np.mod),
    "int_power": _wrapping(np.power),
    "int_floor_divide": _wrapping(np.floor_divide),
    "int_bit_and": _wrapping(np.bitwise_and),
    "int_bit_or": _wrapping(np.bitwise_or),
    "int_bit_xor": _wrapping(np.bitwise_xor),
    "int_bit_not": _wrapping(np.invert),
    "int_shift_left": _wrapping(np.left_shift),
    "int_shift_right": _wrapping(np.right_shift),
    "int_select": lambda condition, a, b: a if condition else b,
    "int64_of": _whole(-(2.0**63), 2.0**63, -(2**63)),
    "int32_of": _whole(np.nextafter(-(2.0**31) - 1, 0), 2.0**31, -(2**31)),
}


# --- what generated code calls by name: an address is an array and a place in it -------------------------------------------------


def at(array: Any, place: Any) -> Any:
    return array, int(place)


def _spread(where: Any, shape: tuple[int, ...], steps: tuple[int, ...]) -> Any:
    array, place = where
    return np.lib.stride_tricks.as_strided(
        array[place:], shape, [n * array.itemsize for n in steps]
    )


_packed: dict[int, Any] = {}
_numbers = itertools.count()  # several threads may pack at the same time


def pack(matrix: Any, N: int, K: int, row: int, column: int, B: int, packed: Any) -> None:
    if not N * K:
        return  # there is no room for a number
    number = next(_numbers)
    _packed[number] = _spread(matrix, (N, K), (row, column)).copy()
    packed[0][packed[1]] = number


def multiply(
    packed: Any, values: Any, out: Any, K: int, N: int, B: int, bias: Any, add: int
) -> None:
    total = (
        _packed[int(packed[0][packed[1]])] @ _spread(values, (K, B), (B, 1))
        if N * K
        else np.zeros((N, B), out[0].dtype)
    )
    if bias:
        total = total + _spread(bias, (N, 1), (1, 1))
    place = _spread(out, (N, B), (B, 1))
    place[...] = place + total if add else total


def transpose(
    source: Any,
    out: Any,
    steps: int,
    rows: int,
    columns: int,
    from_step: int,
    from_row: int,
    to_step: int,
    to_row: int,
) -> None:
    _spread(out, (steps, columns, rows), (to_step, to_row, 1))[...] = _spread(
        source, (steps, rows, columns), (from_step, from_row, 1)
    ).swapaxes(1, 2)


def gradient(
    left: Any,
    left_step: int,
    right: Any,
    right_step: int,
    turned: int,
    out: Any,
    sums: Any,
    scratch: Any,
    T: int,
    M: int,
    N: int,
    B: int,
    add: int,
) -> None:
    a = _spread(left, (T, M, B), (left_step, B, 1))
    b = (
        _spread(right, (T, B, N), (right_step, N, 1))
        if turned
        else _spread(right, (T, N, B), (right_step, B, 1)).swapaxes(1, 2)
    )
    places = [(_spread(out, (M, N), (N, 1)), np.einsum("tmb,tbn->mn", a, b))]
    if sums:
        places.append((_spread(sums, (M, B), (B, 1)), a.sum(axis=0)))
    for place, total in places:
        place[...] = place + total if add else total


def _moved(where: Any, elements: int) -> Any:
    return (where[0], where[1] + elements) if where else where


def pack_slices(
    matrix: Any,
    N: int,
    K: int,
    row: int,
    column: int,
    B: int,
    packed: Any,
    slices: int,
    matrix_step: int,
    packed_step: int,
) -> None:
    for k in range(slices):
        to = _moved(packed, k * packed_step)
        pack(_moved(matrix, k * matrix_step), N, K, row, column, B, to)


def multiply_slices(
    packed: Any,
    values: Any,
    out: Any,
    K: int,
    N: int,
    B: int,
    bias: Any,
    add: int,
    slices: int,
    packed_step: int,
    values_step: int,
    out_step: int,
    bias_step: int,
) -> None:
    for k in range(slices):
        p, v, o = (
            _moved(packed, k * packed_step),
            _moved(values, k * values_step),
            _moved(out, k * out_step),
        )
        multiply(p, v, o, K, N, B, _moved(bias, k * bias_step), add)


def gradient_slices(*given: Any) -> None:
    (left, left_step, right, right_step, turned, out, sums), rest = given[:7], given[7:13]
    slices, left_slice, right_slice, out_slice = given[13:]
    for k in range(slices):
        a, b = _moved(left, k * left_slice), _moved(right, k * right_slice)
        o, total = _moved(out, k * out_slice), _moved(sums, k * left_slice)
        gradient(a, left_step, b, right_step, turned, o, total, *rest)


def pointer(address: Any, like: Any) -> Any:
    """An array from there on; it ends nowhere, as a pointer does."""
    kind = np.ctypeslib.as_ctypes_type(np.asarray(like).dtype)
    return np.ctypeslib.as_array(ctypes.cast(int(address), ctypes.POINTER(kind)), (1 << 40,))


PRODUCTS = {
    "pointer": pointer,
    "carray": lambda array, shape: array,
    "start": lambda array: array,
    "at": at,
    "pack": pack,
    "multiply": multiply,
    "transpose": transpose,
    "gradient": gradient,
    "pack_slices": pack_slices,
    "multiply_slices": multiply_slices,
    "gradient_slices": gradient_slices,
}


class Interpreted:
    """The functions of a generated module."""

    def __init__(self, source: str) -> None:
        head, _, rest = source.partition("from tinygrad_rnn.kernels.scalar import ")
        names, _, body = rest.partition("\n")
        space: dict[str, Any] = {
            "np": np,
            "math": math,
            "njit": _Dotted(),
            "types": _Dotted(),
            **{n.strip(): _scalar(n.strip()) for n in names.split(",")},
        }
        text = "\n".join(
            line
            for line in f"{head}\n{body}".splitlines()
            if "import at" not in line
            and "from numba" not in line
            and "integers import" not in line
        )
        exec(compile(text, "<generated>", "exec"), space)
        space.update(PRODUCTS)
        space.update(INTEGERS)
        self.__dict__.update(space)
        self.addresses = dict.fromkeys(space, 0)


def _spoilt(array: Any) -> Any:
    """Memory in which whatever reads it before it is written is found."""
    array[...] = np.nan if array.dtype.kind == "f" else 77
    return array


class _Spoilt(workspace.Workspace):
    """Arrays of a call that hold no zeros by chance, and nothing of an earlier call."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for array in self.arrays.values():
            _spoilt(array)


def read_as_python(patch: pytest.MonkeyPatch) -> None:
    """Let Python run the text of loops from here on, in place of machine code."""
    # these loops are written by hand, for numba
    patch.setattr(places, "library", lambda array, size: None)
    patch.setattr(runtime, "load", Interpreted)
    native = runtime.native
    patch.setattr(  # what has no text for Python is machine code here too
        runtime,
        "native",
        lambda source, how: Interpreted(source) if "def " in source else native(source, how),
    )
    # there are no addresses to call
    patch.setattr(straight, "ROOM", -1)
    patch.setattr(Optimizer, "_compiled", lambda *given: None)


@contextlib.contextmanager
def interpreting() -> Iterator[None]:
    """Within, `tg.jit` runs generated code as Python, on memory that holds nan where nothing was written."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(runner, "Workspace", _Spoilt)
        patch.setattr(workspace, "pool", workspace.WorkspacePool())
        patch.setattr(workspace.WorkspacePool, "give", lambda self, workspace: None)
        for module in (runner, unrolled):
            patch.setattr(module, "empty", lambda shape, dtype: _spoilt(np.empty(shape, dtype)))
        patch.setattr(products, "library", lambda dtype: None)
        read_as_python(patch)
        yield
