"""What `ops` gives to Tensor: operators, methods, assignment, and NumPy's dispatch protocols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, GraphError, NotDifferentiableError
from ..core.record import apply, describe
from ..core.tape import context
from ..core.tensor import Tensor, check_dtype
from . import elementwise, linear, reductions, shaping
from .custom import UFUNCS

_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": elementwise.add,
    "sub": elementwise.subtract,
    "mul": elementwise.multiply,
    "truediv": elementwise.divide,
    "pow": elementwise.power,
    "mod": elementwise.mod,
    "matmul": linear.matmul,
    "lt": elementwise.less,
    "le": elementwise.less_equal,
    "gt": elementwise.greater,
    "ge": elementwise.greater_equal,
}
for _name, _op in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _op)
    setattr(Tensor, f"__r{_name}__", lambda self, other, op=_op: op(other, self))


def _equality(op: Callable[..., Any]) -> Callable[..., Any]:
    """== and != with something that is no number or array (None, a string) are left to Python."""
    return lambda self, other: op(self, other) if isinstance(other, (Tensor, int, float, np.ndarray, np.generic)) else NotImplemented


Tensor.__eq__ = _equality(elementwise.equal)  # type: ignore[method-assign]
Tensor.__ne__ = _equality(elementwise.not_equal)  # type: ignore[method-assign]

_METHODS: dict[str, Callable[..., Any]] = {
    "__neg__": elementwise.neg,
    "__pos__": elementwise.positive,
    "__abs__": elementwise.abs,
    "__getitem__": shaping.getitem,
    "detach": elementwise.stop_gradient,
    "transpose": shaping.transpose,
    "reshape": shaping.reshape,
    "var": reductions.var,
    "std": reductions.std,
    "norm": reductions.norm,
    "outer": linear.outer,
}
for _name in ("exp", "expm1", "log", "log1p", "sqrt", "square", "reciprocal", "abs", "sign", "floor", "sin", "cos", "tanh", "sigmoid",
              "relu", "erf", "clip", "maximum", "minimum"):  # fmt: skip
    _METHODS[_name] = getattr(elementwise, _name)
for _name in (
    "sum",
    "mean",
    "max",
    "min",
    "prod",
    "logsumexp",
    "softmax",
    "log_softmax",
    "cumsum",
    "cumprod",
    "argmax",
    "argmin",
    "any",
    "all",
):
    _METHODS[_name] = getattr(reductions, _name)
for _name in ("swapaxes", "expand_dims", "squeeze", "broadcast_to", "split", "flip", "roll", "take"):
    _METHODS[_name] = getattr(shaping, _name)
for _name, _op in _METHODS.items():
    setattr(Tensor, _name, _op)


def _astype(self: Tensor, dtype: Any) -> Any:
    """The values in another dtype."""
    found = check_dtype(dtype)
    return self if self.dtype == found else elementwise.astype(self, found)


def _setitem(self: Tensor, index: Any, value: Any) -> None:
    """``t[i] = v``: records a copy with the new values; other handles on the old values are not affected."""
    if isinstance(value, Tensor) and value.dtype != self.dtype:
        value = _astype(value, self.dtype)
    elif isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) and v.requires_grad for v in value):
        raise GraphError("assignment of a list of recorded tensors would cut the tape; join them first with tg.stack")
    elif not isinstance(value, Tensor):
        value = np.asarray(value, self.dtype)
    new = apply(shaping.setitem.primitive, (self, value), {"index": shaping._index(index)})
    if self.is_leaf and self.requires_grad:
        if context().grad_enabled:
            raise GraphError(
                f"assignment to {self.name or 'a leaf that requires gradients'}: its gradient would be lost. "
                "Assign to a copy (t = t + 0), or inside tg.no_grad() if the new values are to be the leaf's."
            )
        self.data = new
    elif self.requires_grad and not context().grad_enabled:
        raise GraphError(
            "assignment inside no_grad to a tensor that was computed would cut it from its tape; assign outside, or to t.detach()"
        )
    else:
        self.array, self.node = new.array, new.node


def _shape_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy functions that look at shape and dtype, or compare values, and have no gradient to lose."""

    def call(*args: Any, **kwargs: Any) -> Any:
        bare = [a.numpy() if isinstance(a, Tensor) else a for a in args]
        return function(*bare, **{k: v.numpy() if isinstance(v, Tensor) else v for k, v in kwargs.items()})

    return call


def _flat_without_axis(op: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's default where ours is a certain axis: flattened."""

    def call(x: Any, *args: Any, axis: Any = None) -> Any:
        count = op is shaping.take  # the indices come before the axis
        values, axis = args[:count], args[count] if len(args) > count else axis
        return op(x.reshape(-1) if axis is None else x, *values, axis=0 if axis is None else axis)

    return call


_FUNCTIONS: dict[Any, Callable[..., Any]] = {f: _shape_only(f) for f in (
    np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.array_equal, np.allclose, np.isclose,
    np.result_type, np.can_cast, np.array_repr, np.array_str, np.array2string)}  # fmt: skip

for _module, _names in (
    (elementwise, "abs add clip cos divide equal exp expm1 floor greater greater_equal isfinite isnan less less_equal log log1p logaddexp "
                  "logical_and logical_not logical_or maximum minimum mod multiply not_equal positive power reciprocal sign sin sqrt "
                  "square subtract tanh where"),
    (reductions, "all any argmax argmin cumprod cumsum max mean min prod std sum var"),
    (linear, "einsum matmul outer"),
    (shaping, "broadcast_to concatenate expand_dims flip pad reshape roll split squeeze stack swapaxes take take_along_axis transpose tril triu"),
):  # fmt: skip
    for _name in _names.split():
        _target = UFUNCS if isinstance(getattr(np, _name), np.ufunc) else _FUNCTIONS
        _target[getattr(np, _name)] = getattr(_module, _name)
UFUNCS[np.negative] = elementwise.neg


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord not in (None, 2, "fro") or (ord == 2 and axis is None and x.ndim > 1):
        raise _unknown(f"linalg.norm with ord={ord}", "")
    return reductions.norm(x, axis, keepdims)


def _dot(a: Any, b: Any) -> Any:
    left, right = getattr(a, "ndim", 0), getattr(b, "ndim", 0)
    if left > 2 or right > 2:
        raise _unknown("dot of more than two axes", "Write it with @ or np.einsum. ")
    return linear.matmul(a, b) if left and right else a * b


def _of_bools(op: Callable[..., Any], symbol: str) -> Callable[..., Any]:
    """The operators & | ^ ~ on booleans; on integers they would be bitwise, which there is not."""

    def checked(*operands: Any) -> Any:
        if any(getattr(x, "dtype", np.dtype(type(x))) != np.bool_ for x in operands):
            raise DtypeError(
                f"{symbol} is for boolean tensors; found {', '.join(describe(x) for x in operands)}. Compare first, as in (t > 0)"
            )
        return op(*operands)

    return checked


_FUNCTIONS[np.linalg.norm] = _norm
_FUNCTIONS[np.amax], _FUNCTIONS[np.amin] = reductions.max, reductions.min
for _function in (np.cumsum, np.cumprod, np.take):
    _FUNCTIONS[_function] = _flat_without_axis(_FUNCTIONS[_function])
_FUNCTIONS[np.dot] = _dot
Tensor.dot = _dot  # type: ignore[attr-defined]
for _symbol, _name, _op in (("&", "and", elementwise.logical_and), ("|", "or", elementwise.logical_or), ("^", "xor", elementwise.not_equal)):
    _checked = _of_bools(_op, _symbol)
    UFUNCS[getattr(np, f"bitwise_{_name}")] = _checked  # which an array of NumPy calls where it stands on the left
    setattr(Tensor, f"__{_name}__", _checked)
    setattr(Tensor, f"__r{_name}__", _checked)
setattr(Tensor, "__invert__", _of_bools(elementwise.logical_not, "~"))  # noqa: B010  (an operator)
_REDUCE = {np.add: reductions.sum, np.multiply: reductions.prod, np.maximum: reductions.max, np.minimum: reductions.min}


def _array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    if kwargs.get("out") is not None:
        raise NotDifferentiableError(
            f"np.{ufunc.__name__} was asked to write its result into an existing array (out=, or an operator such as += on an ndarray); "
            "the tape cannot record that. Use the result instead: a = a + t."
        )
    if method == "__call__" and ufunc in UFUNCS and not kwargs:
        return UFUNCS[ufunc](*inputs)
    if method == "reduce" and ufunc in _REDUCE and set(kwargs) <= {"axis", "keepdims"}:
        return _REDUCE[ufunc](inputs[0], axis=kwargs.get("axis", 0), keepdims=kwargs.get("keepdims", False))
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    extra = f" with {sorted(kwargs)}" if kwargs else ""
    raise _unknown(name + extra, "tg.register_ufunc states the derivative of a ufunc; ")


def _array_function(self: Tensor, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    op = _FUNCTIONS.get(function)
    if op is None:
        raise _unknown(f"{function.__module__.removeprefix('numpy')}.{function.__name__}".lstrip("."), "")
    renames = {"a_min": "low", "a_max": "high", "min": "low", "max": "high"} if op is elementwise.clip else {"ddof": "correction"}
    renames |= {"constant_values": "value", "a": "x", "a1": "axis1"} if op is shaping.pad else {}
    kwargs = {renames.get(k, k): v for k, v in kwargs.items() if not (k == "mode" and v == "constant")}
    if op is shaping.pad and len(args) > 2:
        if args[2] != "constant":
            raise _unknown(f"pad with mode={args[2]!r}", "")
        args = (*args[:2], *args[3:])
    try:
        return op(*args, **kwargs)
    except TypeError as error:
        if isinstance(error, NotDifferentiableError) or kwargs == {}:
            raise
        raise _unknown(f"{function.__name__} with {sorted(kwargs)}", "") from error


def _unknown(name: str, hint: str) -> NotDifferentiableError:
    return NotDifferentiableError(
        f"np.{name} has no derivative here, and converting the tensor would cut the tape. {hint}"
        "t.numpy() or t.detach().numpy() gives NumPy the values where no gradient is wanted."
    )


Tensor.astype = _astype  # type: ignore[attr-defined]
Tensor.__setitem__ = _setitem  # type: ignore[method-assign]
Tensor.__array_ufunc__ = _array_ufunc  # type: ignore[attr-defined]
Tensor.__array_function__ = _array_function  # type: ignore[attr-defined]
Tensor.T = property(shaping.transpose, doc="The axes reversed.")  # type: ignore[attr-defined]
