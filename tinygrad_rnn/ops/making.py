"""Tensors that are made of sizes and numbers: zeros, ones, full, arange, linspace, eye, and the like.

They are constants: no gradient goes to the numbers, so a tensor that requires gradients is refused
where a number is wanted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Array
from ..core.tensor import FLOAT32, Tensor, check_dtype, tensor
from .checks import fitting, flag, number, of_kind, size
from .define import operand
from .shaping import whole_numbers


def _made(values: Array, requires_grad: bool, what: str, dtype: Any = None) -> Tensor:
    return tensor(values, dtype, requires_grad=flag(requires_grad, f"{what}: requires_grad"))


def shape_of(given: tuple[Any, ...], what: str) -> tuple[int, ...]:
    """Return the sizes of a tensor to be made, given one by one or as one sequence."""
    found = whole_numbers(given, f"{what}: shape")
    if any(n < 0 for n in found):
        raise ShapeError(f"{what}: sizes must be at least 0; found {found}")
    return found


def _dtype_of(dtype: Any) -> np.dtype[Any]:
    return FLOAT32 if dtype is None else check_dtype(dtype)


def zeros(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros of a shape.

    Parameters
    ----------
    *shape : int
        The sizes, one by one or as one tuple.
    dtype : dtype, optional
        By default float32.
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    return _made(np.zeros(shape_of(shape, "zeros"), _dtype_of(dtype)), requires_grad, "zeros")


def ones(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones of a shape.

    Parameters
    ----------
    *shape : int
        The sizes, one by one or as one tuple.
    dtype : dtype, optional
        By default float32.
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    return _made(np.ones(shape_of(shape, "ones"), _dtype_of(dtype)), requires_grad, "ones")


def empty(*shape: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor whose values are to be written: until then they are nan, or 0 for integers.

    NumPy leaves there what was in memory. Nan is found by whoever reads it too early.

    Parameters
    ----------
    *shape : int
        The sizes, one by one or as one tuple.
    dtype : dtype, optional
        By default float32.
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    return _made(_unset(shape_of(shape, "empty"), _dtype_of(dtype)), requires_grad, "empty")


def _unset(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.full(shape, math.nan if dtype.kind == "f" else 0, dtype)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of one value.

    Parameters
    ----------
    shape : int or tuple of int
        The sizes.
    fill_value : float or array_like
        The value, which is broadcast to the shape.
    dtype : dtype, optional
        By default that which `tensor` gives the value: float32 for a Python float.
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    return _made(
        _filled(shape_of((shape,), "full"), fill_value, dtype, "full"), requires_grad, "full"
    )


def _filled(shape: tuple[int, ...], value: Any, dtype: Any, what: str) -> Array:
    if isinstance(value, Tensor):
        value = tensor(value)  # which refuses one that requires gradients
    given = tensor(value).array if dtype is None else fitting(value, check_dtype(dtype), what)
    try:
        return np.broadcast_to(given, shape)
    except ValueError:
        raise ShapeError(
            f"{what}: a value of shape {given.shape} cannot be spread to {shape}"
        ) from None


def _dtype_like(x: Any, dtype: Any) -> Any:
    return x.dtype if dtype is None else check_dtype(dtype)


def ones_like(x: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones of the shape of x, and of its dtype if no other is given.

    Parameters
    ----------
    x : Tensor, array or number
    dtype : dtype, optional
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    x = operand(x, "ones_like")
    return _made(np.ones(x.shape, _dtype_like(x, dtype)), requires_grad, "ones_like")


def full_like(x: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of one value with the shape of x, and its dtype if no other is given.

    Parameters
    ----------
    x : Tensor, array or number
    fill_value : float or array_like
        The value, which is broadcast to the shape; the dtype has to be able to hold it.
    dtype : dtype, optional
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    x = operand(x, "full_like")
    found = x.dtype if dtype is None else dtype
    values = _filled(tuple(x.shape), fill_value, found, "full_like")
    return _made(values, requires_grad, "full_like")


def empty_like(x: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor as `empty` does, of the shape of x, and its dtype if no other is given.

    Parameters
    ----------
    x : Tensor, array or number
    dtype : dtype, optional
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    x = operand(x, "empty_like")
    return _made(_unset(x.shape, _dtype_like(x, dtype)), requires_grad, "empty_like")


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return the numbers from start (0 if only stop is given), by steps, as long as they are below stop.

    Whole numbers give int64, others float32, unless a dtype is given.

    Parameters
    ----------
    start : float
    stop : float, optional
        It does not belong to the result.
    step : float
        Not 0; below 0 the numbers go down, as long as they are above stop.
    dtype : dtype, optional
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    first, last = (0, start) if stop is None else (start, stop)
    given = {"start": first, "stop": last, "step": step}
    for name, value in given.items():
        number(value, f"arange: {name}")
    if step == 0:
        raise ShapeError("arange: step must not be 0")
    if dtype is None:
        dtype = np.result_type(*given.values())
        dtype = dtype if dtype.kind == "i" else FLOAT32
    numbers = np.arange(first, last, step)
    return _made(numbers, requires_grad, "arange", check_dtype(dtype))


def linspace(
    start: float,
    stop: float,
    num: int = 50,
    *,
    endpoint: bool = True,
    dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers at equal distances, from start to stop.

    Parameters
    ----------
    start, stop : float
    num : int
        How many.
    endpoint : bool
        Whether stop is the last of them.
    dtype : dtype, optional
        By default float32.
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    first, last = number(start, "linspace: start"), number(stop, "linspace: stop")
    count, closed = size(num, "linspace: num", 0), flag(endpoint, "linspace: endpoint")
    numbers = np.linspace(first, last, count, closed)
    return _made(numbers, requires_grad, "linspace", _dtype_of(dtype))


def eye(
    n: int, m: int | None = None, k: int = 0, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return a matrix with ones on a diagonal and zeros elsewhere.

    Parameters
    ----------
    n : int
        The number of rows.
    m : int, optional
        The number of columns; by default that of the rows.
    k : int
        Which diagonal: 0 the main one, above it for k > 0, below it for k < 0.
    dtype : dtype, optional
        By default float32.
    requires_grad : bool
        Whether `backward` is to fill `.grad`.
    """
    rows = size(n, "eye: n", 0)
    columns = rows if m is None else size(m, "eye: m", 0)
    of_kind(k, ["int"], "eye: k")
    return _made(np.eye(rows, columns, k, _dtype_of(dtype)), requires_grad, "eye")


def _pair(found: tuple[Array, ...]) -> tuple[Tensor, ...]:
    return tuple([tensor(places, np.int64) for places in found])


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """Return the rows and the columns of the elements on a diagonal and below it, to index with.

    Parameters
    ----------
    n : int
        The number of rows.
    k : int
        Which diagonal, as in `eye`.
    m : int, optional
        The number of columns; by default that of the rows.
    """
    return _pair(np.tril_indices(*_of_triangle("tril_indices", n, k, m)))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """Return the rows and the columns of the elements on a diagonal and above it, to index with.

    Parameters
    ----------
    n : int
        The number of rows.
    k : int
        Which diagonal, as in `eye`.
    m : int, optional
        The number of columns; by default that of the rows.
    """
    return _pair(np.triu_indices(*_of_triangle("triu_indices", n, k, m)))


def _of_triangle(name: str, n: Any, k: Any, m: Any) -> tuple[int, int, int]:
    rows = size(n, f"{name}: n", 0)
    of_kind(k, ["int"], f"{name}: k")
    return rows, int(k), rows if m is None else size(m, f"{name}: m", 0)


def diag_indices(n: int, ndim: int = 2) -> tuple[Tensor, ...]:
    """Return the places of the main diagonal along each axis, to index with.

    Parameters
    ----------
    n : int
        The size of each axis.
    ndim : int
        How many axes there are.
    """
    return _pair(np.diag_indices(size(n, "diag_indices: n", 0), size(ndim, "diag_indices: ndim")))
