"""What Tensor is given by `ops`: operators, methods, and assignment.

A name that is added here is known to type checkers when `core/attached.pyi` has been made anew, by
``python -m tests.declarations``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import Tensor, attach, check_dtype
from . import (
    along,
    assignment,
    bounds,
    dispatch,
    elementwise,
    indexing,
    linear,
    numbers,
    postponed,
    reductions,
    shaping,
    shifting,
    taking,
)
from .names import TENSOR, give
from .weak import Weak, passing


def _turned(op: Callable[..., Any]) -> Callable[..., Any]:
    """Return the operator for a tensor that stands on the right of something else."""
    return lambda self, other: op(other, self)


def _equality(op: Callable[..., Any]) -> Callable[..., Any]:
    """Return == or != that leaves what is no number or array (None, a string) to Python."""
    return lambda self, other: (
        op(self, other)
        if isinstance(other, (Tensor, int, float, np.ndarray, np.generic))
        else NotImplemented
    )


def _copy(self: Tensor) -> Tensor:
    """Return the same values in a tensor of its own, to write to; gradients pass."""
    return elementwise.positive(self) if self.requires_grad else self.handle()


def _astype(self: Tensor, dtype: Any) -> Any:
    """Return the values in another dtype, in a tensor of its own."""
    found = check_dtype(dtype)
    return _copy(self) if self.dtype == found else elementwise.astype(self, found)


def _round(self: Tensor, decimals: int = 0) -> Any:
    """Return the nearest numbers of so many decimals, of two that are as near the even one."""
    return dispatch.later("elementary", "round")(self, decimals=decimals)


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": elementwise.add,
    "sub": elementwise.subtract,
    "mul": elementwise.multiply,
    "truediv": elementwise.divide,
    "pow": elementwise.power,
    "mod": elementwise.mod,
    "floordiv": dispatch.later("elementary", "floor_divide"),
    "matmul": linear.matmul,
}
_T = property(shaping.transpose, doc="The axes reversed.")

# those whose results are weak where they are made of weak tensors (ops/weak.py)
_PASSING: dict[str, Callable[..., Any]] = {
    "__neg__": elementwise.neg,
    "__pos__": elementwise.positive,
    "__abs__": elementwise.abs,
    "__getitem__": indexing.getitem,
    **{
        name: getattr(family, name)
        for family, names in (
            (
                elementwise,
                "exp expm1 log log1p sqrt square reciprocal abs sign floor sin cos tanh sigmoid "
                "relu erf maximum minimum",
            ),
            (reductions, "sum mean max min prod logsumexp var std norm"),
            (along, "softmax log_softmax cummax cummin cumsum cumprod logcumsumexp"),
            (shaping, "transpose reshape swapaxes expand_dims squeeze broadcast_to"),
            (shifting, "flip roll"),
            (taking, "take"),
            (linear, "outer"),
            (bounds, "clip"),
        )
        for name in names.split()
    },
}


def _ravel(self: Tensor) -> Any:
    """Return the values along one axis, row by row."""
    return shaping.reshape(self, -1)


def _flatten(self: Tensor, start_axis: int = 0, end_axis: int = -1) -> Any:
    """Join axes to one: all of them, or those from start_axis to end_axis."""
    from . import arranging

    return arranging.flatten(self, start_axis, end_axis)


def _repeat(self: Tensor, repeats: Any, axis: int | None = None) -> Any:
    """Repeat each element along an axis, as NumPy does."""
    from . import arranging

    return arranging.repeat(self, repeats, axis)


def _diagonal(self: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the diagonal of a matrix, or of each in a stack; it stands on the last axis.

    Parameters
    ----------
    offset : int
        Which diagonal: above 0 one that begins further right, below 0 one that begins further down.
    axis1, axis2 : int
        The axes of the rows and of the columns.
    """
    from . import diagonals

    return diagonals.diagonal(self, offset, axis1, axis2)


def _trace(self: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the sum of a diagonal.

    Parameters
    ----------
    offset : int
        Which diagonal: above 0 one that begins further right, below 0 one that begins further down.
    axis1, axis2 : int
        The axes of the rows and of the columns.
    """
    from . import diagonals

    return diagonals.trace(self, offset, axis1, axis2)


METHODS: dict[str, Any] = {
    **{f"__{name}__": op for name, op in _ARITHMETIC.items()},
    **{f"__r{name}__": _turned(op) for name, op in _ARITHMETIC.items()},
    **{f"__{name}__": op for name, op in assignment.OPERATORS.items()},
    **{f"__{r}{name}__": op for name, op in dispatch.LOGICAL.items() for r in ("", "r")},
    **numbers.METHODS,
    **_PASSING,
    **{
        f"__{r}{name}__": _turned(op) if r else op
        for name, op in dispatch.SHIFTS.items()
        for r in ("", "r")
    },
    "round": _round,
    "ravel": _ravel,
    "flatten": _flatten,
    "repeat": _repeat,
    "__eq__": _equality(elementwise.equal),
    "__ne__": _equality(elementwise.not_equal),
    "__lt__": elementwise.less,
    "__le__": elementwise.less_equal,
    "__gt__": elementwise.greater,
    "__ge__": elementwise.greater_equal,
    "__invert__": dispatch.logical_not,
    "__setitem__": assignment.setitem,
    "__array_ufunc__": dispatch.array_ufunc,
    "__array_function__": dispatch.array_function,
    "T": _T,
    "data": assignment.data,
    "grad": postponed.grad,
    "astype": _astype,
    "copy": _copy,
    "detach": elementwise.stop_gradient,
    "dot": dispatch.dot,
    "diagonal": _diagonal,
    "trace": _trace,
    "split": shaping.split,
    "argmax": reductions.argmax,
    "argmin": reductions.argmin,
    "any": reductions.any,
    "all": reductions.all,
}
attach(Tensor, **METHODS)
give(Tensor, TENSOR)

attach(
    Weak,
    T=property(passing(shaping.transpose), doc=_T.__doc__),
    **{name: passing(op) for name, op in _PASSING.items()},
    **{
        name: passing(METHODS[name])
        for plain in _ARITHMETIC
        if plain != "matmul"
        for name in (f"__{plain}__", f"__r{plain}__")
    },
)
