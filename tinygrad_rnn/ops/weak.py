"""Tensors that are made of Python numbers alone.

They take the floating dtype of what they meet, as Python numbers do.

``where(m, 1.0, 0.0)`` is float32. Beside a float64 tensor it is computed anew in float64, so that
0.1 is the 0.1 of that dtype.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import FLOAT32, Tensor, check_dtype

LONGEST = 32  # operations behind one another: a sum that goes on for ever would keep all its terms


class Weak(Tensor):
    """A float32 tensor that knows how it is made in another floating dtype."""

    __slots__ = ("_first", "_make", "depth")

    def __init__(self, made: Tensor, make: Callable[[Any], Any], depth: int = 0) -> None:
        super().__init__(made.array, made.node)
        self._first, self._make, self.depth = made.array, make, depth

    @property
    def weak(self) -> bool:
        """Whether the tensor still has no dtype of its own.

        It was not written to then, and there are no gradients to keep.
        """
        return self.array is self._first and not self.requires_grad

    def astype(self, dtype: Any) -> Any:
        """Return the values in another dtype.

        In a floating one they are those that are nearest to the numbers.
        """
        found = check_dtype(dtype)
        return (
            self._make(found)
            if self.weak and found.kind == "f" and found != FLOAT32
            else vars(Tensor)["astype"](self, found)
        )

    def __reduce__(self) -> Any:
        return Tensor.__reduce__(Tensor(self.array, self.node))

    def __copy__(self) -> Tensor:
        plain: Tensor = copy.copy(Tensor(self.array, self.node))
        return plain

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.deepcopy(Tensor(self.array, self.node), memo)


def of_numbers(op: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation (condition, a, b) whose result is weak if a and b are Python numbers.

    One of them has to be a float. Of a condition that is no tensor it is an array, and then of
    float64, which holds the numbers as they are; a tensor beside it takes it in its own dtype.
    """

    @functools.wraps(op)
    def chosen(condition: Any, a: Any, b: Any) -> Any:
        out = op(condition, a, b)
        numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
        if numbers and out.dtype == FLOAT32:
            if not isinstance(out, Tensor):
                return np.where(condition, np.float64(a), np.float64(b))
            return Weak(
                out, lambda dtype: op(condition, np.asarray(a, dtype), np.asarray(b, dtype))
            )
        return out

    return chosen


def passing(op: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operator or method whose result is weak where all tensors among its operands are.

    It is not weak if arrays stand beside them.
    """

    @functools.wraps(op)
    def passed(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = op(self, *args, **kwargs)
        mixed = any(
            isinstance(x, (Tensor, np.ndarray, np.generic)) and not getattr(x, "weak", False)
            for x in (self, *args)
        )
        depth = 1 + max(x.depth for x in (self, *args) if isinstance(x, Weak))
        if mixed or type(out) is not Tensor or out.dtype is not FLOAT32 or depth > LONGEST:
            return out

        def make(dtype: Any) -> Any:
            return op(
                *[x.astype(dtype) if getattr(x, "weak", False) else x for x in (self, *args)],
                **kwargs,
            )

        return Weak(out, make, depth)

    return passed
