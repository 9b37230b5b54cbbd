"""Numbers that Python and NumPy take out of a tensor.

Examples are ``float(t)``, ``round(t)``, ``array[i] = t`` and ``np.asarray(t)``.

No gradient goes through a number. So one that is taken from a tensor with gradients is asked for:
``t.item()``, ``t.numpy()`` and ``t.detach()`` say that none is wanted. What takes it without saying
so (`float`, and all that calls it, such as ``math.exp(t)`` and an assignment to an element of an
array) is an error where a derivative is being taken and the number depends on what it is taken by;
elsewhere Python warns once for each line. Whole arrays are always refused. Where nothing is
recorded, nothing is said.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, GraphError, ShapeError
from ..core.primitive import Array, Spec
from ..core.record import describe
from ..core.tape import ENGINE_FILES, Leaf, Older, Where, caller, context, reachable
from ..core.tensor import FLOAT32, Tensor

_WAY = "so no gradient would go through it. Use tg functions and operators, or say that none is wanted: t.item() is the number, t.detach() a tensor"


def _item(self: Tensor) -> Any:
    """Return the value of a tensor with one element as a Python number."""
    if self.size != 1:
        raise ShapeError(f"item: expected one element, found shape {self.shape}")
    return self.numpy().item()


def _bool(self: Tensor) -> bool:
    if self.size != 1:
        raise ShapeError(
            f"bool: a tensor of shape {self.shape} is neither true nor false; use .any() or .all(), or tg.where to choose for each element"
        )
    return bool(self.item())


def _repr(self: Tensor) -> str:
    if context().asked:
        context().asked.reads(self)
    head = (
        self.array
        if isinstance(self.array, Spec)
        else np.array2string(self.array, separator=", ", prefix="tensor(", precision=4)
    )
    notes = (
        []
        if self.dtype in (FLOAT32, np.dtype(np.int64), np.dtype(bool))
        else [f"dtype={self.dtype}"]
    )
    if self.node is not None and not isinstance(self.node, Leaf):
        notes.append(f"from={self.node.op}")
    elif self.requires_grad:
        notes.append("requires_grad=True")
    if self.name:
        notes.append(f"name={self.name!r}")
    return f"tensor({', '.join([str(head), *notes])})"


def _number(t: Tensor, how: str) -> Any:
    """Return the value of a tensor with one element.

    The caller may not know that this cuts the tape.
    """
    found = t.item()
    if t.requires_grad and context().grad_enabled:
        _say(t, f"{how} takes a number out of a tensor that requires gradients, {_WAY}.")
    return found


def depends_on_inputs(t: Tensor) -> bool:
    """Whether the tensor depends on what a running transform or trace was given."""
    inputs = context().inputs
    return bool(inputs) and any(
        n in inputs
        for n in reachable([t.node], Older(min(n.index for n in inputs)))  # type: ignore[list-item]
    )


def _say(t: Tensor, text: str) -> None:
    """Warn, or raise if the derivative that is being taken depends on the tensor."""
    if depends_on_inputs(t):
        raise GraphError(f"{text} ({describe(t)}{Where(*caller()).described()})")
    frame, level = sys._getframe(), 1
    while frame.f_code.co_filename in ENGINE_FILES and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, RuntimeWarning, stacklevel=level)


def _array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Array:
    if self.requires_grad and context().grad_enabled:
        raise GraphError(
            "NumPy asked for the bare array of a tensor that requires gradients, which would cut the tape. "
            "Use a tg function, or t.detach() or t.numpy() if that is what you want."
        )
    return np.array(self.numpy(), dtype=dtype, copy=copy)


def _index(self: Tensor) -> int:
    if self.dtype.kind not in "iub":
        raise DtypeError(f"a {self.dtype} tensor cannot be an index; convert it with .astype(int)")
    return int(self.item())


def _tolist(self: Tensor) -> Any:
    """Return the values as nested lists."""
    found = self.numpy().tolist()
    if self.requires_grad and context().grad_enabled:
        _say(self, f"t.tolist() takes numbers out of a tensor that requires gradients, {_WAY}.")
    return found


METHODS: dict[str, Callable[..., Any]] = {
    "__array__": _array,
    "__bool__": _bool,
    "__repr__": _repr,
    "item": _item,
    "__index__": _index,
    "__float__": lambda self: float(_number(self, "float(t)")),
    "__int__": lambda self: int(_number(self, "int(t)")),
    "__complex__": lambda self: complex(_number(self, "complex(t)")),
    "__round__": lambda self, digits=None: round(_number(self, "round(t)"), digits),
    "__trunc__": lambda self: math.trunc(_number(self, "math.trunc(t)")),
    "__floor__": lambda self: math.floor(_number(self, "math.floor(t)")),
    "__ceil__": lambda self: math.ceil(_number(self, "math.ceil(t)")),
    # only looked at
    "__format__": lambda self, spec: format(self.item(), spec) if spec else str(self),
    "tolist": _tolist,
}
